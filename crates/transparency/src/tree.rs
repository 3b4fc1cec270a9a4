//! The right edge of a growing tree: enough of it to take the next entry and to say the root.
//!
//! A tree of size `n` is, from left to right, one full subtree for each bit that is set in `n`. Their roots are the
//! *peaks*. A new leaf joins the peaks of its own height one after the other, as a carry runs through a binary number,
//! so `n` leaves cost fewer than `n` node hashes in all.

use crate::hash::{self, Hash};
use crate::tile;

/// The right edge of a tree that only grows: its size and its peaks, at most 64.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Frontier {
    size: u64,
    peaks: Vec<Hash>,
}

impl Frontier {
    /// The empty tree.
    pub fn new() -> Frontier {
        Frontier::default()
    }

    /// The tree of `size` entries with these peaks, the largest first. [`source::frontier`](crate::source::frontier)
    /// finds them among stored hashes. That they are the right ones shows only in the root.
    pub fn from_peaks(size: u64, peaks: Vec<Hash>) -> Result<Frontier, WrongPeaks> {
        let expected = size.count_ones() as usize;
        if peaks.len() != expected {
            return Err(WrongPeaks { size, expected, actual: peaks.len() });
        }
        Ok(Frontier { size, peaks })
    }

    /// How many leaves the tree has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The roots of the full subtrees the tree consists of, the largest first.
    pub fn peaks(&self) -> &[Hash] {
        &self.peaks
    }

    /// Adds a leaf at the right.
    pub fn push(&mut self, leaf: Hash) {
        self.push_and_keep(leaf, |_, _, _| ());
    }

    /// Adds a leaf at the right and names every hash that tiles keep and that this leaf completes: the leaf itself as
    /// hash `size` of level 0, then, whenever a subtree of 256, 256², … leaves is full, its root as a hash of level
    /// 1, 2, … . `keep` gets the level, the index in that level, and the hash.
    pub fn push_and_keep(&mut self, leaf: Hash, mut keep: impl FnMut(u8, u64, Hash)) {
        keep(0, self.size, leaf);
        let mut hash = leaf;
        let mut height = 0;
        while (self.size >> height) & 1 == 1 {
            let left = self.peaks.pop().expect("a tree has a peak for each bit set in its size");
            hash = hash::node(&left, &hash);
            height += 1;
            if height % tile::HEIGHT == 0 {
                keep((height / tile::HEIGHT) as u8, self.size >> height, hash);
            }
        }
        self.peaks.push(hash);
        self.size = self.size.checked_add(1).expect("a tree has fewer than 2^64 leaves");
    }

    /// The root over all leaves (RFC 6962 section 2.1, `MTH`). Costs a node hash for each peak but one.
    pub fn root(&self) -> Hash {
        let right_to_left = self.peaks.iter().rev().copied();
        right_to_left.reduce(|right, left| hash::node(&left, &right)).unwrap_or_else(hash::empty_root)
    }
}

/// The peaks do not belong to a tree of that size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a tree of {size} leaves has {expected} peaks, not {actual}: give the root of one full subtree for each bit set \
     in the size, the largest first"
)]
pub struct WrongPeaks {
    /// How many leaves the tree was said to have.
    pub size: u64,
    /// How many peaks such a tree has.
    pub expected: usize,
    /// How many were given.
    pub actual: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peaks_must_fit_the_size() {
        let mut tree = Frontier::new();
        for size in 0..=300_u64 {
            assert_eq!(tree.peaks().len(), size.count_ones() as usize);
            assert_eq!(Frontier::from_peaks(size, tree.peaks().to_vec()).as_ref(), Ok(&tree));
            tree.push(hash::leaf(&size.to_be_bytes()));
        }
        let wrong = Frontier::from_peaks(6, vec![hash::empty_root()]);
        assert_eq!(wrong, Err(WrongPeaks { size: 6, expected: 2, actual: 1 }));
    }

    /// 65,536 leaves complete 256 hashes of level 1 and one of level 2, which is the root.
    #[test]
    fn completed_subtrees_are_named_once() {
        let mut tree = Frontier::new();
        let mut next = [0_u64; 4];
        let mut newest = None;
        for i in 0..65_536_u64 {
            tree.push_and_keep(hash::leaf(&i.to_be_bytes()), |level, index, hash| {
                assert_eq!(index, next[usize::from(level)]);
                next[usize::from(level)] += 1;
                newest = Some(hash);
            });
        }
        assert_eq!((next, newest), ([65_536, 256, 1, 0], Some(tree.root())));
    }
}
