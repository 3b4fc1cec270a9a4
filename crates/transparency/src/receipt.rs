//! A proof with its checkpoint in one file, to be checked without the log (C2SP `tlog-proof`; such files end in
//! `.tlog-proof`).
//!
//! ```text
//! c2sp.org/tlog-proof@v1
//! extra base64                       only if there is something to go with it
//! index 73894                        of the entry, from 0
//! gSKyXoYZUgZ6jduWYrkDOARinOMG…      the inclusion proof, the sibling of the leaf first
//! B95lDa8R83lS8n0eG+o0buTxRKQT…
//!
//! the signed checkpoint
//! ```
//!
//! The entry itself is not in it: whoever checks has it, or its leaf hash.

use std::fmt;

use crate::checkpoint::{Checkpoint, OpenError};
use crate::hash::Hash;
use crate::note::{Note, NoteError, VerifierKey};
use crate::policy::{Accepted, Policy, Refusal};
use crate::proof::{self, ProofError};
use crate::text;

/// The largest receipt that is read, in bytes.
pub const MAX_RECEIPT_BYTES: usize = 2_000_000;

/// The first line of a receipt.
const HEADER: &str = "c2sp.org/tlog-proof@v1";

/// The proof that an entry is in a log, with the signed checkpoint it leads to. Its text is the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    extra: Option<Vec<u8>>,
    index: u64,
    proof: Vec<Hash>,
    checkpoint: Note,
}

impl Receipt {
    /// The receipt for the entry at `index`, counted from 0, with its inclusion proof in the tree of this checkpoint.
    pub fn new(index: u64, proof: Vec<Hash>, checkpoint: Note) -> Receipt {
        Receipt { extra: None, index, proof, checkpoint }
    }

    /// The same with bytes that go with it. Nothing proves them.
    pub fn with_extra(self, extra: Vec<u8>) -> Receipt {
        Receipt { extra: Some(extra), ..self }
    }

    /// Reads a receipt. Nothing is checked: see [`Receipt::verify`].
    pub fn parse(receipt: &[u8]) -> Result<Receipt, ReceiptError> {
        if receipt.len() > MAX_RECEIPT_BYTES {
            return Err(ReceiptError::TooLarge { size: receipt.len() });
        }
        let receipt = str::from_utf8(receipt).map_err(|_| ReceiptError::NotUtf8)?;
        let rest = receipt
            .strip_prefix(HEADER)
            .and_then(|rest| rest.strip_prefix('\n'))
            .ok_or(ReceiptError::Header)?;
        let (head, checkpoint) = rest.split_once("\n\n").ok_or(ReceiptError::NoCheckpoint)?;
        let mut lines = head.split('\n').peekable();
        let extra = match lines.next_if(|line| line.starts_with("extra ")) {
            Some(line) => Some(text::from_base64(&line["extra ".len()..]).ok_or(ReceiptError::Extra)?),
            None => None,
        };
        let index = lines.next().and_then(|line| line.strip_prefix("index ")).and_then(text::decimal);
        let index = index.ok_or(ReceiptError::Index)?;
        let mut proof = Vec::new();
        for line in lines {
            if proof.len() == proof::MAX_HASHES {
                return Err(ReceiptError::TooManyHashes);
            }
            proof.push(line.parse().map_err(|_| ReceiptError::Hash { number: proof.len() + 1 })?);
        }
        Ok(Receipt { extra, index, proof, checkpoint: Note::parse(checkpoint.as_bytes())? })
    }

    /// The index of the entry, from 0. To be believed only once the receipt was checked.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// The inclusion proof, the sibling of the leaf first.
    pub fn proof(&self) -> &[Hash] {
        &self.proof
    }

    /// What was added to it. Nothing proves it, even once the receipt was checked.
    pub fn extra(&self) -> Option<&[u8]> {
        self.extra.as_deref()
    }

    /// The checkpoint with its signatures.
    pub fn checkpoint(&self) -> &Note {
        &self.checkpoint
    }

    /// Checks that the log that `key` belongs to has the entry with this leaf hash at the index of the receipt, and gives
    /// the checkpoint that says so. [`hash::leaf`](crate::hash::leaf) makes the leaf hash of an entry.
    pub fn verify(&self, leaf: &Hash, key: &VerifierKey) -> Result<Checkpoint, VerifyError> {
        let checkpoint = Checkpoint::of(&self.checkpoint, key)?;
        self.verify_inclusion(leaf, &checkpoint)?;
        Ok(checkpoint)
    }

    /// Checks that a log of the policy has the entry with this leaf hash at the index of the receipt, and that enough
    /// witnesses saw its checkpoint.
    pub fn verify_by<'p>(&self, leaf: &Hash, policy: &'p Policy) -> Result<Accepted<'p>, VerifyError> {
        let accepted = policy.check(&self.checkpoint)?;
        self.verify_inclusion(leaf, &accepted.checkpoint)?;
        Ok(accepted)
    }

    fn verify_inclusion(&self, leaf: &Hash, checkpoint: &Checkpoint) -> Result<(), ProofError> {
        proof::verify_inclusion(leaf, self.index, checkpoint.size(), &self.proof, checkpoint.root())
    }
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        if let Some(extra) = &self.extra {
            writeln!(f, "extra {}", text::base64(extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        self.proof.iter().try_for_each(|hash| writeln!(f, "{hash}"))?;
        write!(f, "\n{}", self.checkpoint)
    }
}

/// Why something is not a receipt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// It is larger than [`MAX_RECEIPT_BYTES`].
    #[error("a receipt of {size} bytes is larger than the {limit} bytes that are read", limit = MAX_RECEIPT_BYTES)]
    TooLarge {
        /// Its size in bytes.
        size: usize,
    },
    /// It is not UTF-8.
    #[error("the receipt is not UTF-8: it was damaged on its way, or is something else")]
    NotUtf8,
    /// The first line is another.
    #[error("this is not a receipt, or one of another version: the first line must be `{HEADER}`")]
    Header,
    /// The line of extra data is not base64.
    #[error("the extra data of the receipt is not standard base64: it was damaged on its way")]
    Extra,
    /// There is no index where it must be.
    #[error(
        "the receipt must say `index` and a decimal number without leading zeros, right after its first \
         line or the extra data"
    )]
    Index,
    /// A line of the proof is not a hash.
    #[error(
        "hash {number} of the receipt, counted from 1, is not 32 bytes in standard base64: it was damaged on its way"
    )]
    Hash {
        /// Which hash of the proof, from 1.
        number: usize,
    },
    /// The proof is longer than any tree needs.
    #[error("the receipt has more hashes than the {limit} that any tree needs: it is wrong", limit = proof::MAX_HASHES)]
    TooManyHashes,
    /// There is no empty line with a checkpoint after it.
    #[error("the receipt has no checkpoint: it must follow after an empty line")]
    NoCheckpoint,
    /// What follows the empty line is not a signed note.
    #[error("the checkpoint of the receipt cannot be read: {0}")]
    Checkpoint(#[from] NoteError),
}

/// Why a receipt proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The checkpoint is not one of the log.
    #[error("the checkpoint of the receipt is not to be believed: {0}")]
    Checkpoint(#[from] OpenError),
    /// The checkpoint is not one that the policy accepts.
    #[error("the policy does not accept the checkpoint of the receipt: {0}")]
    Policy(#[from] Refusal),
    /// The checkpoint is good, and the entry is not proven to be in it.
    #[error("the entry is not proven to be in the log: {0}")]
    Proof(#[from] ProofError),
}
