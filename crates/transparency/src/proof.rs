//! This entry is in that tree; that tree goes on from this one.
//!
//! Proofs are made from stored hashes (RFC 6962 sections 2.1.1 and 2.1.2) and checked without them (RFC 9162 sections
//! 2.1.3.2 and 2.1.4.2). A check is strict: a proof with a hash too many or too few proves nothing.
//!
//! Both checks are also there for *subtrees*, the entries from `start` to before `end` as a tree of their own, where
//! `start` is a multiple of the smallest power of two that is not less than `end - start` (Merkle Tree Certificates,
//! draft-ietf-plants-merkle-tree-certs). A whole tree is the subtree that starts at 0.

use crate::hash::{self, Hash};
use crate::source::{Hashes, Tree};

/// The most hashes a proof can have: an inclusion proof one for each height of the tree, a consistency proof one more.
pub const MAX_HASHES: usize = 65;

/// Makes the proof that the entry at `index` is in the tree of the first `size` entries, the sibling of the leaf first
/// (RFC 6962 section 2.1.1, `PATH`).
pub fn inclusion<S: Hashes>(source: &S, index: u64, size: u64) -> Result<Vec<Hash>, ProveError<S::Error>> {
    if index >= size {
        return Err(ProveError::NoSuchEntry { index, size });
    }
    let mut tree = Tree::new(source, size);
    let mut hashes = Vec::new();
    let (mut start, mut end) = (0, size);
    while end - start > 1 {
        let middle = split(start, end);
        if index < middle {
            hashes.push(tree.range(middle, end).map_err(ProveError::Source)?);
            end = middle;
        } else {
            hashes.push(tree.range(start, middle).map_err(ProveError::Source)?);
            start = middle;
        }
    }
    hashes.reverse();
    Ok(hashes)
}

/// Makes the proof that the tree of the first `to` entries goes on from the tree of the first `from` (RFC 6962 section
/// 2.1.2, `PROOF`). It is empty between equal sizes, and from the empty tree, which every tree goes on from.
pub fn consistency<S: Hashes>(source: &S, from: u64, to: u64) -> Result<Vec<Hash>, ProveError<S::Error>> {
    if from > to {
        return Err(ProveError::Shrunk { from, to });
    }
    if from == 0 || from == to {
        return Ok(Vec::new());
    }
    let mut tree = Tree::new(source, to);
    let mut hashes = Vec::new();
    let (mut start, mut end) = (0, to);
    // Down to the subtree that is full in the old tree, along its right edge.
    while from < end {
        let middle = split(start, end);
        if from <= middle {
            hashes.push(tree.range(middle, end).map_err(ProveError::Source)?);
            end = middle;
        } else {
            hashes.push(tree.range(start, middle).map_err(ProveError::Source)?);
            start = middle;
        }
    }
    // Whoever checks the proof has the old root, and needs no other hash if that subtree is the old tree.
    if start > 0 {
        hashes.push(tree.range(start, end).map_err(ProveError::Source)?);
    }
    hashes.reverse();
    Ok(hashes)
}

/// Where RFC 6962 cuts a range of at least two entries: after the largest power of two less than its length.
fn split(start: u64, end: u64) -> u64 {
    start + (1 << (end - start - 1).ilog2())
}

/// Why a proof was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProveError<E> {
    /// The tree does not reach so far.
    #[error(
        "a tree of {size} entries has no entry with index {index}: indexes count from 0, so ask for a larger tree"
    )]
    NoSuchEntry {
        /// The index asked for.
        index: u64,
        /// The size of the tree asked for.
        size: u64,
    },
    /// The tree to come from is larger than the one to go to.
    #[error("a tree of {to} entries does not go on from one of {from}: ask from the smaller to the larger")]
    Shrunk {
        /// The size to come from.
        from: u64,
        /// The size to go to.
        to: u64,
    },
    /// A stored hash could not be read.
    #[error("a stored hash cannot be read: {0}")]
    Source(#[source] E),
}

/// Checks that the entry with this leaf hash stands at `index` in the tree of `size` entries with this root.
pub fn verify_inclusion(
    leaf: &Hash,
    index: u64,
    size: u64,
    proof: &[Hash],
    root: &Hash,
) -> Result<(), ProofError> {
    verify_subtree_inclusion(leaf, index, 0, size, proof, root)
}

/// Checks that the entry with this leaf hash stands at `index`, counted from the start of the whole tree, in the
/// subtree from `start` to before `end` with this root.
pub fn verify_subtree_inclusion(
    leaf: &Hash,
    index: u64,
    start: u64,
    end: u64,
    proof: &[Hash],
    root: &Hash,
) -> Result<(), ProofError> {
    check_subtree(start, end)?;
    if index < start || index >= end {
        return Err(ProofError::IndexOutside { index, start, end });
    }
    // `at` is the node on the way from the leaf to the root, `last` the rightmost one of its height. A node without
    // a sibling moves up as it is.
    let (mut at, mut last) = (index - start, end - start - 1);
    let mut hash = *leaf;
    for sibling in proof {
        if last == 0 {
            return Err(ProofError::TooLong);
        }
        if at & 1 == 1 || at == last {
            hash = hash::node(sibling, &hash);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            hash = hash::node(&hash, sibling);
        }
        at >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(ProofError::TooShort);
    }
    if hash != *root {
        return Err(ProofError::OtherRoot { computed: hash, given: *root });
    }
    Ok(())
}

/// Checks that the tree of `to` entries with the root `to_root` goes on from the tree of `from` entries with the root
/// `from_root`.
///
/// From the empty tree there is nothing to check, which is not the same as a check that went well: it is refused, unless
/// both trees are empty. (RFC 9162 section 2.1.4 has no proof from it.)
pub fn verify_consistency(
    from: u64,
    to: u64,
    proof: &[Hash],
    from_root: &Hash,
    to_root: &Hash,
) -> Result<(), ProofError> {
    if from > to {
        return Err(ProofError::Shrunk { from, to });
    }
    if from == 0 && to > 0 {
        return Err(ProofError::FromEmpty);
    }
    if from == to && from_root != to_root {
        return Err(ProofError::OtherRoot { computed: *from_root, given: *to_root });
    }
    verify_subtree_consistency(0, from, to, proof, from_root, to_root)
}

/// Checks that the subtree from `start` to before `end`, with the root `subtree_root`, is part of the tree of `size`
/// entries with the root `root`. An empty subtree is part of every tree; its root must be that of the empty tree.
pub fn verify_subtree_consistency(
    start: u64,
    end: u64,
    size: u64,
    proof: &[Hash],
    subtree_root: &Hash,
    root: &Hash,
) -> Result<(), ProofError> {
    check_subtree(start, end)?;
    if end > size {
        return Err(ProofError::Shrunk { from: end, to: size });
    }
    if start == end {
        let empty = hash::empty_root();
        return match proof {
            [] if *subtree_root == empty => Ok(()),
            [] => Err(ProofError::OtherRoot { computed: empty, given: *subtree_root }),
            _ => Err(ProofError::TooLong),
        };
    }
    // Up to where the right edge of the subtree is no longer that of a full subtree, nothing has to be proven.
    let mut at = Row { first: start, last: end - 1, tree: size - 1 };
    while at.first != at.last && (at.last == at.tree || at.last & 1 == 1) {
        at.up();
    }
    let mut rest = proof.iter();
    let seed = if at.first == at.last { subtree_root } else { rest.next().ok_or(ProofError::TooShort)? };
    let (mut old, mut new) = (*seed, *seed);
    for sibling in rest {
        if at.tree == 0 {
            return Err(ProofError::TooLong);
        }
        if at.last & 1 == 1 || at.last == at.tree {
            if at.first < at.last {
                old = hash::node(sibling, &old);
            }
            new = hash::node(sibling, &new);
            while at.last & 1 == 0 && at.last != 0 {
                at.up();
            }
        } else {
            new = hash::node(&new, sibling);
        }
        at.up();
    }
    if at.tree != 0 {
        return Err(ProofError::TooShort);
    }
    if old != *subtree_root {
        return Err(ProofError::OtherRoot { computed: old, given: *subtree_root });
    }
    if new != *root {
        return Err(ProofError::OtherRoot { computed: new, given: *root });
    }
    Ok(())
}

/// The nodes of one height of a tree: the outermost two of a subtree, and the last of the tree.
struct Row {
    first: u64,
    last: u64,
    tree: u64,
}

impl Row {
    /// Goes to their parents.
    fn up(&mut self) {
        self.first >>= 1;
        self.last >>= 1;
        self.tree >>= 1;
    }
}

/// Checks that a tree can be cut so that these entries are a subtree.
fn check_subtree(start: u64, end: u64) -> Result<(), ProofError> {
    let not_a_subtree = ProofError::NotASubtree { start, end };
    let length = end.checked_sub(start).ok_or(not_a_subtree.clone())?;
    match length.checked_next_power_of_two() {
        Some(width) if start.is_multiple_of(width) => Ok(()),
        None if start == 0 => Ok(()),
        Some(_) | None => Err(not_a_subtree),
    }
}

/// Why a proof proves nothing. Whoever gave it is wrong, or lies, or the proof belongs to another tree or entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The entry is said to stand where the tree has none.
    #[error(
        "index {index} is not among the entries from {start} to before {end}: take the checkpoint the proof was made for"
    )]
    IndexOutside {
        /// The index, counted from 0.
        index: u64,
        /// The first entry of the tree, 0 for a whole tree.
        start: u64,
        /// The end of the tree, its size for a whole tree.
        end: u64,
    },
    /// The later tree is smaller than the earlier one.
    #[error(
        "a tree of {to} entries cannot go on from one of {from}: entries are missing, or the two were swapped"
    )]
    Shrunk {
        /// The size to come from.
        from: u64,
        /// The size to go to.
        to: u64,
    },
    /// There is nothing to come from.
    #[error(
        "every tree goes on from the empty one, so there is nothing to check: do not ask for a proof from size 0"
    )]
    FromEmpty,
    /// No tree is cut in this way.
    #[error(
        "the entries from {start} to before {end} are no subtree: the start must be a multiple of the smallest power of \
         two not less than their number"
    )]
    NotASubtree {
        /// The first entry.
        start: u64,
        /// The entry after the last.
        end: u64,
    },
    /// The proof has more hashes than trees of these sizes need.
    #[error("the proof has too many hashes for these sizes: ask for one made for exactly these")]
    TooLong,
    /// The proof has fewer hashes than trees of these sizes need.
    #[error("the proof has too few hashes for these sizes: ask for one made for exactly these")]
    TooShort,
    /// The hashes do not lead to the root. Keep both: they are the evidence.
    #[error("the proof leads to the root {computed}, not to {given}: what was proven is not what was signed")]
    OtherRoot {
        /// The root the proof leads to.
        computed: Hash,
        /// The root it should lead to.
        given: Hash,
    },
}
