//! The hashes that tiles keep, and every other hash of the tree computed from them.
//!
//! Tiles keep each eighth level of the tree: the leaves, the roots of full subtrees of 256 leaves, of 256² leaves, and
//! so on. Any hash in between is at most 255 node hashes away, within one tile. So each tile is read once, however many
//! of its hashes a proof needs: a root takes one read a level, a proof at most two a level.

use std::collections::BTreeMap;

use crate::hash::{self, Hash};
use crate::tile;
use crate::tree::Frontier;

/// Where stored hashes come from: a disk, a table, tiles of somebody else.
///
/// Hash `index` of `level` is the root of the full subtree of `256^level` leaves that starts at leaf
/// `index * 256^level`; at level 0 it is the hash of a leaf. Only hashes of subtrees that lie within the size somebody
/// asked about are read, so a tree may grow while it is read.
pub trait Hashes {
    /// Why a hash cannot be read.
    type Error;

    /// Reads one hash.
    fn tile_hash(&self, level: u8, index: u64) -> Result<Hash, Self::Error>;

    /// Reads `count` consecutive hashes of a level, at most 256 and all of one tile. Gives exactly as many.
    fn tile_hashes(&self, level: u8, first: u64, count: usize) -> Result<Vec<Hash>, Self::Error> {
        (first..).take(count).map(|index| self.tile_hash(level, index)).collect()
    }
}

impl<S: Hashes + ?Sized> Hashes for &S {
    type Error = S::Error;

    fn tile_hash(&self, level: u8, index: u64) -> Result<Hash, S::Error> {
        (**self).tile_hash(level, index)
    }

    fn tile_hashes(&self, level: u8, first: u64, count: usize) -> Result<Vec<Hash>, S::Error> {
        (**self).tile_hashes(level, first, count)
    }
}

/// The root over the first `size` entries: now, or at any earlier time.
pub fn root<S: Hashes>(source: &S, size: u64) -> Result<Hash, S::Error> {
    Ok(frontier(source, size)?.root())
}

/// The right edge of the tree of the first `size` entries, to go on from.
pub fn frontier<S: Hashes>(source: &S, size: u64) -> Result<Frontier, S::Error> {
    let mut tree = Tree::new(source, size);
    let mut peaks = Vec::with_capacity(size.count_ones() as usize);
    let mut start = 0;
    for height in (0..u64::BITS).rev().filter(|height| (size >> height) & 1 == 1) {
        peaks.push(tree.full(height, start >> height)?);
        start += 1 << height;
    }
    Ok(Frontier::from_peaks(size, peaks).expect("one peak was found for each bit set in the size"))
}

/// A tree of one size whose hashes are read as they are needed, each tile once.
pub(crate) struct Tree<'s, S> {
    source: &'s S,
    size: u64,
    tiles: BTreeMap<(u8, u64), Vec<Hash>>,
}

impl<'s, S: Hashes> Tree<'s, S> {
    /// The tree of the first `size` entries.
    pub(crate) fn new(source: &'s S, size: u64) -> Tree<'s, S> {
        Tree { source, size, tiles: BTreeMap::new() }
    }

    /// The hash over the entries from `start` to before `end`, as a tree of their own (RFC 6962 section 2.1).
    ///
    /// The range is one that such trees are cut into: not empty, and `start` a multiple of the smallest power of two
    /// that is not less than its length.
    pub(crate) fn range(&mut self, start: u64, end: u64) -> Result<Hash, S::Error> {
        let length = end - start;
        if length.is_power_of_two() {
            let height = length.trailing_zeros();
            return self.full(height, start >> height);
        }
        let left = 1 << length.ilog2();
        let left_hash = self.range(start, start + left)?;
        Ok(hash::node(&left_hash, &self.range(start + left, end)?))
    }

    /// The root of the full subtree of `2^height` leaves with this index among those of its height.
    fn full(&mut self, height: u32, index: u64) -> Result<Hash, S::Error> {
        let level = (height / tile::HEIGHT) as u8;
        let below = height % tile::HEIGHT;
        let first = index << below;
        let start = (first % tile::WIDTH) as usize;
        let mut hashes = self.tile(level, first / tile::WIDTH)?[start..start + (1 << below)].to_vec();
        while hashes.len() > 1 {
            hashes = hashes.chunks_exact(2).map(|pair| hash::node(&pair[0], &pair[1])).collect();
        }
        Ok(hashes[0])
    }

    /// The hashes of a tile, as many as a tree of this size has of them.
    fn tile(&mut self, level: u8, index: u64) -> Result<&[Hash], S::Error> {
        if !self.tiles.contains_key(&(level, index)) {
            let first = index * tile::WIDTH;
            let in_level = self.size >> (u32::from(level) * tile::HEIGHT);
            let width = (in_level - first).min(tile::WIDTH) as usize;
            let hashes = self.source.tile_hashes(level, first, width)?;
            assert_eq!(hashes.len(), width, "a source gives exactly as many hashes as it was asked for");
            self.tiles.insert((level, index), hashes);
        }
        Ok(&self.tiles[&(level, index)])
    }
}
