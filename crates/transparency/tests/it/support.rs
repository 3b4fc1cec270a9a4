//! Trees in memory, and RFC 6962 as it is written down: slow, short, and independent of the crate but for the two hashes.

use std::convert::Infallible;

use tagtrail_transparency::hash::{self, Hash};
use tagtrail_transparency::{Frontier, Hashes, SigningKey, VerifierKey};

/// The eight entries of the reference tree of transparency-dev/merkle (`testonly`).
pub(crate) const REFERENCE: [&[u8]; 8] = [
    b"",
    b"\x00",
    b"\x10",
    b"\x20\x21",
    b"\x30\x31",
    b"\x40\x41\x42\x43",
    b"\x50\x51\x52\x53\x54\x55\x56\x57",
    b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
];

/// The entries of the little log in the test data of Tessera.
pub(crate) const LITTLE_LOG: [&str; 15] = [
    "one", "two", "three", "four", "five", "six", "seven", "eit", "nain", "ten", "ileven", "twelf",
    "threeten", "fourten", "fivten",
];

/// The key of that log.
pub(crate) const LOG_KEY: &str =
    "example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx";

/// Its checkpoint with all fifteen entries.
pub(crate) const LOG: &str = "example.com/log/testdata\n15\nrKbDipCvhuX1GZ7g5BBe8sA6BbJ7ja/1nk427v383cs=\n\n\
    — example.com/log/testdata \
    M9e0luh4jTG+UMBqOUo9/q+yAEvx1ilBEniMvjf1zfcBOhg+CKubMt53MvIt/uEWP6zdkdIQzd/fmwlM/dlPWF74ewI=\n";

/// The key of a witness, and its cosignature of that checkpoint: made with another implementation of Ed25519, from a
/// seed of 32 times 7.
pub(crate) const WITNESS_KEY: &str =
    "witness.example.com/w1+8122a5ab+BOpKbGPinFIKvvVQexMuxfmVR3auvr57kkIe6mkURtIs";
pub(crate) const COSIGNATURE: &str = "— witness.example.com/w1 \
    gSKlqwAAAABkGFDLvzPVBugxcc/Tl1ynGkL1WsBzKf/V1zMZkodEQ/E4V3rpqbhV++xDmskcc1voKX8sRJ8AsNXt+I7c/4Xhd/cHAw==";
pub(crate) const COSIGNED_AT: u64 = 1_679_315_147;

pub(crate) fn key(vkey: &str) -> VerifierKey {
    vkey.parse().unwrap()
}

pub(crate) fn signing(name: &str, seed: u8) -> SigningKey {
    SigningKey::from_seed(name, &[seed; 32]).unwrap()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A tree whose stored hashes are kept in memory, level by level.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) frontier: Frontier,
    pub(crate) levels: Vec<Vec<Hash>>,
}

impl Memory {
    pub(crate) fn of(leaves: impl IntoIterator<Item = Hash>) -> Memory {
        let mut memory = Memory::default();
        for leaf in leaves {
            memory.push(leaf);
        }
        memory
    }

    pub(crate) fn push(&mut self, leaf: Hash) {
        let levels = &mut self.levels;
        self.frontier.push_and_keep(leaf, |level, index, hash| {
            levels.resize_with(levels.len().max(usize::from(level) + 1), Vec::new);
            assert_eq!(levels[usize::from(level)].len() as u64, index);
            levels[usize::from(level)].push(hash);
        });
    }
}

impl Hashes for Memory {
    type Error = Infallible;

    fn tile_hash(&self, level: u8, index: u64) -> Result<Hash, Infallible> {
        Ok(self.levels[usize::from(level)][usize::try_from(index).unwrap()])
    }
}

/// A tree of `n` entries, each the eight bytes of its index.
pub(crate) fn leaves(n: usize) -> Vec<Hash> {
    (0..n as u64).map(|i| hash::leaf(&i.to_be_bytes())).collect()
}

/// `MTH(D[n])` of RFC 6962 section 2.1.
pub(crate) fn mth(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => hash::empty_root(),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(k(leaves.len()));
            hash::node(&mth(left), &mth(right))
        }
    }
}

/// `PATH(m, D[n])` of RFC 6962 section 2.1.1.
pub(crate) fn path(m: usize, leaves: &[Hash]) -> Vec<Hash> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let k = k(leaves.len());
    let (left, right) = leaves.split_at(k);
    if m < k {
        [path(m, left), vec![mth(right)]].concat()
    } else {
        [path(m - k, right), vec![mth(left)]].concat()
    }
}

/// `PROOF(m, D[n])` of RFC 6962 section 2.1.2, for `0 < m`.
pub(crate) fn proof(m: usize, leaves: &[Hash]) -> Vec<Hash> {
    subproof(m, leaves, true)
}

fn subproof(m: usize, leaves: &[Hash], known: bool) -> Vec<Hash> {
    if m == leaves.len() {
        return if known { Vec::new() } else { vec![mth(leaves)] };
    }
    let k = k(leaves.len());
    let (left, right) = leaves.split_at(k);
    if m <= k {
        [subproof(m, left, known), vec![mth(right)]].concat()
    } else {
        [subproof(m - k, right, false), vec![mth(left)]].concat()
    }
}

/// The proof that a subtree is part of a tree, as draft-ietf-plants-merkle-tree-certs writes it down.
pub(crate) fn subtree_proof(start: usize, end: usize, leaves: &[Hash], known: bool) -> Vec<Hash> {
    if start == 0 && end == leaves.len() {
        return if known { Vec::new() } else { vec![mth(leaves)] };
    }
    let k = k(leaves.len());
    let (left, right) = leaves.split_at(k);
    if end <= k {
        [subtree_proof(start, end, left, known), vec![mth(right)]].concat()
    } else if k <= start {
        [subtree_proof(start - k, end - k, right, known), vec![mth(left)]].concat()
    } else {
        assert_eq!(start, 0, "only a subtree from 0 can lie on both sides");
        [subtree_proof(0, end - k, right, false), vec![mth(left)]].concat()
    }
}

fn k(n: usize) -> usize {
    n.next_power_of_two() / 2
}
