//! The guest's allocator: bumps a pointer, and keeps freed blocks in lists by size.
//!
//! An instance usually lives for one decision, so what counts is to touch little memory and to run few instructions:
//! blocks lie side by side, carry no headers, and are never coalesced or given back. The lists only matter to policies
//! that are bound with `reuse`, whose memory must not grow with each decision.
#![allow(unsafe_code)]

use core::alloc::{GlobalAlloc, Layout};
use core::arch::wasm32::{memory_grow, memory_size};
use core::cell::UnsafeCell;
use core::ptr::null_mut;

const PAGE: usize = 64 * 1024;
/// Blocks up to this many bytes come in multiples of [`STEP`]; longer ones in powers of two.
const SMALL: usize = 1024;
const STEP: usize = 16;
const SMALL_CLASSES: usize = SMALL / STEP;
const CLASSES: usize = SMALL_CLASSES + usize::BITS as usize;

#[global_allocator]
static ALLOCATOR: Bump = Bump { state: UnsafeCell::new(State { next: 0, end: 0, free: [0; CLASSES] }) };

struct Bump {
    state: UnsafeCell<State>,
}

struct State {
    /// First unused byte; 0 before the first allocation.
    next: usize,
    /// End of the linear memory.
    end: usize,
    /// Heads of the lists of freed blocks, whose first word is the next block's address; 0: empty.
    free: [usize; CLASSES],
}

// SAFETY: `wasm32-unknown-unknown` without the `atomics` feature, which the contract's components never enable, has one
// thread; and nothing here calls back into code that allocates.
unsafe impl Sync for Bump {}

unsafe extern "C" {
    /// Where the linker put the end of stack and data. Only its address means anything.
    static __heap_base: u8;
}

/// The list a block belongs to, and the bytes it really takes. `None`: more than the address space.
#[inline]
fn class(size: usize) -> Option<(usize, usize)> {
    if size <= SMALL {
        let steps = size.max(1).div_ceil(STEP);
        return Some((steps - 1, steps * STEP));
    }
    let size = size.checked_next_power_of_two()?;
    Some((SMALL_CLASSES + size.trailing_zeros() as usize, size))
}

impl State {
    fn bump(&mut self, size: usize, align: usize) -> *mut u8 {
        if self.next == 0 {
            self.next = (&raw const __heap_base) as usize;
            self.end = memory_size(0) * PAGE;
        }
        let Some(start) = self.next.checked_add(align - 1).map(|next| next & !(align - 1)) else { return null_mut() };
        let Some(end) = start.checked_add(size) else { return null_mut() };
        if end > self.end {
            let pages = (end - self.end).div_ceil(PAGE);
            if memory_grow(0, pages) == usize::MAX {
                return null_mut();
            }
            self.end += pages * PAGE;
        }
        self.next = end;
        start as *mut u8
    }
}

// SAFETY: every block is a range of the linear memory that no other live block overlaps: `bump` hands out each address
// once, and a list holds only blocks that were freed, all of its class's size and aligned to at least `STEP`. Layouts
// aligned more strictly than that never enter a list.
unsafe impl GlobalAlloc for Bump {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: one thread, and no reference to the state outlives a call.
        let state = unsafe { &mut *self.state.get() };
        let Some((list, size)) = class(layout.size()) else { return null_mut() };
        let head = state.free[list];
        if head != 0 && layout.align() <= STEP {
            // SAFETY: a listed block is at least one word long, and its first word was written by `dealloc`.
            state.free[list] = unsafe { *(head as *const usize) };
            return head as *mut u8;
        }
        state.bump(size, layout.align().max(STEP))
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as in `alloc`.
        let state = unsafe { &mut *self.state.get() };
        let Some((list, size)) = class(layout.size()) else { return };
        if block as usize + size == state.next {
            state.next = block as usize;
        } else if layout.align() <= STEP {
            // SAFETY: the caller gives the block up; it is at least `STEP` bytes long and aligned to a word.
            unsafe { *block.cast::<usize>() = state.free[list] };
            state.free[list] = block as usize;
        }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let (Some((_, old)), Some((_, new))) = (class(layout.size()), class(new_size)) else { return null_mut() };
        if new == old {
            return block;
        }
        {
            // SAFETY: as in `alloc`.
            let state = unsafe { &mut *self.state.get() };
            if block as usize + old == state.next && new > old {
                // The last block grows where it stands. A refused growth leaves it as it was.
                return if state.bump(new - old, 1).is_null() { null_mut() } else { block };
            }
        }
        // SAFETY: the layout is valid, since the caller promises that `new_size` rounded up to `align` is.
        let moved = unsafe { self.alloc(Layout::from_size_align_unchecked(new_size, layout.align())) };
        if !moved.is_null() {
            // SAFETY: both blocks are live, distinct, and at least as long as what is copied.
            unsafe {
                core::ptr::copy_nonoverlapping(block, moved, layout.size().min(new_size));
                self.dealloc(block, layout);
            }
        }
        moved
    }
}
