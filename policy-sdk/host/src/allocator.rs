//! How the C library's allocator spends memory, in processes that hold modules.
#![allow(unsafe_code)]

/// From this size on, in bytes, an allocation is a mapping of its own, which goes back to the system when it is freed
/// (`mallopt(3)`, `M_MMAP_THRESHOLD`). Left alone, glibc raises its threshold to the size of whatever large was freed last: a
/// policy's artifact. The next one then lies on the heap of the thread that loads it, one such heap after the other: in
/// two thousand pushes a supervisor grew from 31 to 41 MB. With this it stays at 24 MB.
#[cfg(target_env = "gnu")]
const OWN_MAPPING: libc::c_int = 1 << 20;

/// Keeps what is large off the heaps. For a process that has no second thread yet.
pub fn map_what_is_large() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it only sets a number that the allocator reads, and no other thread allocates yet.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, OWN_MAPPING);
    }
}

/// Gives free memory of all heaps back to the system (`malloc_trim(3)`): after work that took much for a short time, like compiling.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes a number, may be called at any time, and touches only what is free.
    unsafe {
        libc::malloc_trim(0);
    }
}
