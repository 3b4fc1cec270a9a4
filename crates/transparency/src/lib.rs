//! The log proves itself: whoever kept a checkpoint can check, without trusting whoever keeps the log, that nothing
//! was changed, taken away or put in between.
//!
//! Every entry is a leaf of one Merkle tree, which only grows. The root over the first `n` entries stands for all of
//! them; signed, it is a checkpoint. Hashes of the tree are published in tiles, plain files that never change, and any
//! proof can be computed from them.
//!
//! | module          | the one idea                                                                        |
//! |-----------------|-------------------------------------------------------------------------------------|
//! | [`hash`]        | leaves and nodes (RFC 6962)                                                          |
//! | [`tree`]        | the right edge of a growing tree: an entry in, the new root out                      |
//! | [`tile`]        | which hashes and entries stand together in one file, under which path, in which form |
//! | [`source`]      | the hashes that tiles keep, and every other hash of the tree computed from them      |
//! | [`proof`]       | this entry is in that tree; that tree goes on from this one                          |
//! | [`note`]        | text with signatures, and the keys that make and check them                          |
//! | [`checkpoint`]  | what a log signs: its name, its size, its root                                       |
//! | [`cosignature`] | what a witness signs: that it saw the log only grow                                  |
//! | [`receipt`]     | a proof with its checkpoint in one file, to be checked without the log               |
//! | [`policy`]      | which logs are believed, and how many witnesses are enough                           |
//!
//! The formats are those of RFC 6962 and of C2SP (`c2sp.org/<name>`: `signed-note`, `tlog-checkpoint`, `tlog-tiles`,
//! `tlog-proof`, `tlog-cosignature`, `tlog-policy`), so that verifiers in other languages come to the same verdict.
//!
//! ```
//! use tagtrail_transparency::{Checkpoint, Frontier, Receipt, SigningKey, hash};
//!
//! // The log: two entries, signed.
//! let key = SigningKey::from_seed("example.com/log", &[7; 32])?;
//! let (one, two) = (hash::leaf(b"one"), hash::leaf(b"two"));
//! let mut tree = Frontier::new();
//! tree.push(one);
//! tree.push(two);
//! let checkpoint = Checkpoint::new("example.com/log", tree.size(), tree.root())?.sign(&key)?;
//!
//! // A receipt for the first one: beside it, only the second is needed to come to the root.
//! let file = Receipt::new(0, vec![two], checkpoint).to_string();
//!
//! // Whoever has the entry, the file and the public key needs nobody else.
//! let checkpoint = Receipt::parse(file.as_bytes())?.verify(&hash::leaf(b"one"), &key.verifier())?;
//! assert_eq!(checkpoint.size(), 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! An *entry* is any bytes. Its *index* counts from 0. *Size*: how many entries a tree has.
//! Nothing in here reads a disk, a clock or randomness: keys, times and stored hashes come in from outside.

pub mod checkpoint;
pub mod cosignature;
pub mod hash;
pub mod note;

pub mod policy;
pub mod proof;
pub mod receipt;
pub mod source;
mod text;
pub mod tile;
pub mod tree;

pub use checkpoint::Checkpoint;
pub use hash::Hash;
pub use note::{Note, SigningKey, VerifierKey};
pub use policy::Policy;
pub use receipt::Receipt;
pub use source::Hashes;
pub use tile::Tile;
pub use tree::Frontier;
