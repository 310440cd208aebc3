//! An artifact as what differs from another one. Settings change a few hundred bytes of a policy's compiled code: who has
//! it under other settings need not be sent it again.
//!
//! A patch is little-endian: the target's length as `u64`, then runs, in order: offset in the target as `u64`, length as
//! `u64`, that many bytes. What no run covers is as in the base. Whoever applies one checks the result's digest.

/// Bytes that are compared, and sent, together.
const BLOCK: usize = 64;

/// Why a patch can't be applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// It ends within a run.
    #[error("the patch is cut off")]
    Truncated,
    /// The target is longer than is accepted.
    #[error("it makes {length} bytes, more than the {limit} that are accepted")]
    TooLong {
        /// Of the target.
        length: u64,
        /// Most that is accepted.
        limit: u64,
    },
    /// A run lies outside the target.
    #[error("a run of it lies outside of what it makes")]
    OutOfBounds,
    /// The base ends before what the patch takes from it.
    #[error("it takes more than there is to take")]
    Uncovered,
}

/// The patch that makes `target` of `base`; `None`: it would be longer than half the target.
#[must_use]
pub fn between(base: &[u8], target: &[u8]) -> Option<Vec<u8>> {
    let mut patch = (target.len() as u64).to_le_bytes().to_vec();
    let mut from = None;
    let mut blocks = target.chunks(BLOCK).enumerate().peekable();
    while let Some((number, block)) = blocks.next() {
        let at = number * BLOCK;
        let same = base.get(at..at + block.len()) == Some(block);
        if !same {
            from.get_or_insert(at);
        }
        let last = blocks.peek().is_none();
        if let Some(start) = from.filter(|_| same || last) {
            let run = &target[start..if same { at } else { at + block.len() }];
            patch.extend_from_slice(&(start as u64).to_le_bytes());
            patch.extend_from_slice(&(run.len() as u64).to_le_bytes());
            patch.extend_from_slice(run);
            from = None;
        }
        if patch.len() > target.len() / 2 {
            return None;
        }
    }
    Some(patch)
}

/// What `patch` makes of `base`; at most `limit` bytes.
pub fn apply(base: &[u8], mut patch: &[u8], limit: u64) -> Result<Vec<u8>, PatchError> {
    let length = number(&mut patch)?;
    let size = usize::try_from(length).ok().filter(|_| length <= limit);
    let size = size.ok_or(PatchError::TooLong { length, limit })?;
    let mut target = base[..size.min(base.len())].to_vec();
    let mut covered = target.len();
    target.resize(size, 0);
    while !patch.is_empty() {
        let (offset, length) = (number(&mut patch)?, number(&mut patch)?);
        let offset = usize::try_from(offset).map_err(|_| PatchError::OutOfBounds)?;
        let length = usize::try_from(length).map_err(|_| PatchError::OutOfBounds)?;
        let end = offset.checked_add(length).filter(|end| *end <= size).ok_or(PatchError::OutOfBounds)?;
        let (run, rest) = patch.split_at_checked(length).ok_or(PatchError::Truncated)?;
        target[offset..end].copy_from_slice(run);
        patch = rest;
        if offset <= covered {
            covered = covered.max(end);
        }
    }
    if covered < size { Err(PatchError::Uncovered) } else { Ok(target) }
}

fn number(patch: &mut &[u8]) -> Result<u64, PatchError> {
    let (number, rest) = patch.split_first_chunk().ok_or(PatchError::Truncated)?;
    *patch = rest;
    Ok(u64::from_le_bytes(*number))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u64 = 1 << 20;

    fn numbered(length: usize) -> Vec<u8> {
        (0..length).map(|n| (n % 251) as u8).collect()
    }

    /// A target that is made of numbered bytes by `change`, and the longest its patch may be; `None`: there is none.
    fn made(base: usize, change: impl Fn(&mut Vec<u8>), most: Option<usize>) {
        let base = numbered(base);
        let mut target = base.clone();
        change(&mut target);
        let patch = between(&base, &target);
        assert_eq!(patch.is_some(), most.is_some());
        if let (Some(patch), Some(most)) = (patch, most) {
            assert!(patch.len() <= most, "{} bytes", patch.len());
            assert_eq!(apply(&base, &patch, LIMIT), Ok(target));
        }
    }

    #[test]
    fn a_patch_makes_the_target() {
        made(100_000, |_| {}, Some(8));
        made(100_000, |target| target[0] ^= 1, Some(8 + 16 + 64));
        made(100_000, |target| target[99_999] ^= 1, Some(8 + 16 + 64));
        made(100_000, |target| target[64_000..64_200].fill(0), Some(8 + 16 + 256));
        made(100_000, |target| target.truncate(64_001), Some(8));
        made(100_000, Vec::clear, Some(8));
        made(100_000, |target| target.extend_from_slice(&[7; 999]), Some(8 + 16 + 1100));
        made(100_000, |target| (0..100_000).step_by(6_400).for_each(|at| target[at] ^= 1), Some(8 + 16 * 80));
    }

    #[test]
    fn what_has_little_in_common_is_sent_whole() {
        made(100_000, |target| target.fill(0), None);
        made(100_000, |target| target[..].rotate_left(1), None);
        made(0, |target| target.extend_from_slice(&[1; 500]), None);
    }

    /// What comes of a patch that says these numbers, then these bytes, to a base of a hundred bytes.
    fn refused(numbers: &[u64], bytes: usize, error: PatchError) {
        let mut patch: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        patch.resize(patch.len() + bytes, 0);
        assert_eq!(apply(&[1; 100], &patch, LIMIT), Err(error), "{numbers:?} and {bytes} bytes");
    }

    #[test]
    fn patches_that_lie_are_refused() {
        refused(&[], 0, PatchError::Truncated);
        refused(&[], 7, PatchError::Truncated);
        refused(&[100, 0], 0, PatchError::Truncated);
        refused(&[100, 0, 10], 9, PatchError::Truncated);
        refused(&[100, 95, 6], 6, PatchError::OutOfBounds);
        refused(&[100, u64::MAX, 6], 6, PatchError::OutOfBounds);
        refused(&[100, 6, u64::MAX], 6, PatchError::OutOfBounds);
        refused(&[u64::MAX], 0, PatchError::TooLong { length: u64::MAX, limit: LIMIT });
        refused(&[LIMIT + 1], 0, PatchError::TooLong { length: LIMIT + 1, limit: LIMIT });
        refused(&[101], 0, PatchError::Uncovered);
        refused(&[110, 105, 5], 5, PatchError::Uncovered);
    }
}
