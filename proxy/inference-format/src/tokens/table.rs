//! Tokens and their ranks, and the merging of bytes into them.

use std::sync::LazyLock;

static DATA: &[u8] = include_bytes!("../../data/o200k.bin");
/// Slots of the index: a power of two, so that two in five are taken.
const SLOTS: usize = 1 << 19;
/// Bits of a slot that hold a rank; the others hold part of a hash.
const RANK_BITS: u32 = 18;
const EMPTY: u32 = u32::MAX;
/// No token.
const NONE: u32 = u32::MAX;

/// Every token by its bytes.
pub struct Table {
    /// Where each token's bytes begin in [`DATA`]; one more for the end.
    starts: Vec<u32>,
    /// Rank and part of the hash, by hash.
    slots: Vec<u32>,
}

impl Table {
    /// The table, made when it is first asked for.
    pub fn get() -> &'static Self {
        static TABLE: LazyLock<Table> = LazyLock::new(Table::new);
        &TABLE
    }

    fn new() -> Self {
        let number = u32::from_le_bytes([DATA[0], DATA[1], DATA[2], DATA[3]]) as usize;
        let mut starts = Vec::with_capacity(number + 1);
        let mut at = 4 + number;
        for &length in &DATA[4..4 + number] {
            starts.push(at as u32);
            at += usize::from(length);
        }
        starts.push(at as u32);
        let mut slots = vec![EMPTY; SLOTS];
        for rank in 0..number {
            let hash = hash(&DATA[starts[rank] as usize..starts[rank + 1] as usize]);
            let mut slot = hash as usize % SLOTS;
            while slots[slot] != EMPTY {
                slot = (slot + 1) % SLOTS;
            }
            slots[slot] = mark(hash) << RANK_BITS | rank as u32;
        }
        Self { starts, slots }
    }

    /// The rank of a token, or [`NONE`].
    fn rank(&self, token: &[u8]) -> u32 {
        let hash = hash(token);
        let mut slot = hash as usize % SLOTS;
        loop {
            let held = self.slots[slot];
            if held == EMPTY {
                return NONE;
            }
            if held >> RANK_BITS == mark(hash) {
                let rank = held & ((1 << RANK_BITS) - 1);
                let (start, end) = (self.starts[rank as usize] as usize, self.starts[rank as usize + 1] as usize);
                if DATA[start..end] == *token {
                    return rank;
                }
            }
            slot = (slot + 1) % SLOTS;
        }
    }

    /// Tokens that a piece merges into: always the pair of lowest rank first, the leftmost of equal ones.
    pub fn count(&self, piece: &[u8]) -> u64 {
        if piece.len() <= 1 || self.rank(piece) != NONE {
            return piece.len().min(1) as u64;
        }
        // Where each part begins, and the rank of it together with the next one.
        let mut parts: Vec<(usize, u32)> = (0..piece.len() - 1)
            .map(|i| (i, self.rank(&piece[i..i + 2])))
            .chain([(piece.len() - 1, NONE), (piece.len(), NONE)])
            .collect();
        loop {
            let mut best = (NONE, 0);
            for (i, &(_, rank)) in parts[..parts.len() - 1].iter().enumerate() {
                if rank < best.0 {
                    best = (rank, i);
                }
            }
            let (rank, i) = best;
            if rank == NONE {
                return parts.len() as u64 - 1;
            }
            parts.remove(i + 1);
            let pair = |parts: &[(usize, u32)], i: usize| match parts.get(i + 2) {
                Some(&(end, _)) => self.rank(&piece[parts[i].0..end]),
                None => NONE,
            };
            parts[i].1 = pair(&parts, i);
            if i > 0 {
                parts[i - 1].1 = pair(&parts, i - 1);
            }
        }
    }
}

/// The part of a hash that a slot holds: thirteen bits, so that no slot looks empty.
fn mark(hash: u64) -> u32 {
    ((hash >> 40) as u32) & 0x1fff
}

fn hash(bytes: &[u8]) -> u64 {
    const K: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut hash = bytes.len() as u64 ^ K;
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        hash = (hash ^ u64::from_le_bytes(word)).wrapping_mul(K);
        hash ^= hash >> 29;
    }
    hash
}
