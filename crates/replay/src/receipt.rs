//! One event with its proof in a file (C2SP `tlog-proof`), and checking such a file without the log.
//!
//! The stored bytes of the event go with the proof, as its extra data: so the file alone says what it proves.

use bytes::Bytes;
use tagtrail_api::v1;
use tagtrail_event_log::codec;
use tagtrail_transparency::receipt::VerifyError;
use tagtrail_transparency::{Checkpoint, Hash, Hashes, Note, Policy, Receipt, hash, proof};

use crate::source::{Source, SourceError, StoredHashes};
use crate::trust::Trust;
use crate::verify::stored_root;
use crate::wrong::Wrong;

/// Why there is no receipt, or a receipt proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReceiptFailure {
    /// The source gives no proof, or a wrong one.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The event is not in the log, or no checkpoint is of it yet.
    #[error(
        "there is no event {sequence} in the {size} events that are signed: sequences count from 1, and an event that was just \
         written is signed a moment later"
    )]
    NoSuchEvent {
        /// What was asked for.
        sequence: u64,
        /// How many are signed.
        size: u64,
    },
    /// There is no checkpoint.
    #[error("{0} has no checkpoint, so there is nothing that anybody has signed")]
    NoCheckpoint(String),
    /// The file is no receipt.
    #[error(transparent)]
    NotAReceipt(#[from] tagtrail_transparency::receipt::ReceiptError),
    /// The file has no event in it.
    #[error("the receipt does not hold the event itself: give the event's stored bytes with --entry")]
    NoEntry,
    /// It proves nothing.
    #[error("the receipt proves nothing: {0}")]
    Proves(#[from] VerifyError),
    /// It proves that the log has these bytes, and they are no event.
    #[error("the receipt proves bytes that are no event of this version, at sequence {sequence}: {why}")]
    NotAnEvent {
        /// Where they stand.
        sequence: u64,
        /// What is wrong.
        why: String,
    },
}

/// Makes the receipt for an event, in the tree of the newest checkpoint. It is checked before it is given.
///
/// # Errors
/// [`ReceiptFailure`].
pub fn prove(source: &dyn Source, trust: &Trust, sequence: u64) -> Result<Receipt, ReceiptFailure> {
    let note = source.checkpoint().ok_or_else(|| ReceiptFailure::NoCheckpoint(source.name().to_owned()))?;
    let name = format!("of {}", source.name());
    let checkpoint = trust.open(&name, note).map_err(SourceError::from)?;
    let size = checkpoint.size();
    if sequence == 0 || sequence > size {
        return Err(ReceiptFailure::NoSuchEvent { sequence, size });
    }
    let index = sequence - 1;
    let entry = source.entries(sequence)?.next().transpose()?.filter(|entry| entry.sequence == sequence);
    let entry = entry.ok_or_else(|| {
        SourceError::from(Wrong::CheckpointNewerThanLog { name: name.clone(), size, log: sequence - 1 })
    })?;
    let leaf = hash::leaf(&entry.payload);
    let proves = |made: &[Hash]| proof::verify_inclusion(&leaf, index, size, made, checkpoint.root()).is_ok();
    let stored = source.hashes().filter(|stored| stored.size() >= size);
    let made = match stored.map(|stored| inclusion(stored, index, size)) {
        Some(Ok(made)) if proves(&made) => made,
        Some(Err(error @ SourceError::Unreadable(_))) => return Err(error.into()),
        // Stored hashes may be wrong where the events are not, and they follow from these.
        Some(_) | None => {
            let built = Built::of(source, size)?;
            let made = inclusion(&built, index, size)?;
            if !proves(&made) {
                let (signed, computed) = (*checkpoint.root(), stored_root(&built, size)?);
                let wrong =
                    Wrong::CheckpointInconsistent { name, size, signed, computed, first: 1, last: size };
                return Err(SourceError::from(wrong).into());
            }
            made
        }
    };
    let note = Note::parse(note).map_err(|why| SourceError::Unreadable(why.to_string()))?;
    Ok(Receipt::new(index, made, note).with_extra(entry.payload.to_vec()))
}

fn inclusion(hashes: &dyn StoredHashes, index: u64, size: u64) -> Result<Vec<Hash>, SourceError> {
    proof::inclusion(&hashes, index, size).map_err(|error| match error {
        proof::ProveError::Source(error) => error,
        other => SourceError::Unreadable(other.to_string()),
    })
}

/// What a receipt proves.
#[derive(Clone, Debug)]
pub struct Proven {
    /// The event.
    pub event: v1::Event,
    /// Where it stands in the log.
    pub sequence: u64,
    /// The checkpoint that says so.
    pub checkpoint: Checkpoint,
    /// The witnesses that saw it, and when, in seconds since 1970.
    pub witnesses: Vec<(String, u64)>,
}

/// Checks a receipt without its log. `entry`: the stored bytes of the event, if the receipt has none.
///
/// # Errors
/// [`ReceiptFailure`].
pub fn check(file: &[u8], policy: &Policy, entry: Option<Bytes>) -> Result<Proven, ReceiptFailure> {
    let receipt = Receipt::parse(file)?;
    let entry = match (entry, receipt.extra()) {
        (Some(entry), _) => entry,
        (None, Some(extra)) => Bytes::copy_from_slice(extra),
        (None, None) => return Err(ReceiptFailure::NoEntry),
    };
    let accepted = receipt.verify_by(&hash::leaf(&entry), policy)?;
    let sequence = receipt.index() + 1;
    let not_an_event = |why: String| ReceiptFailure::NotAnEvent { sequence, why };
    let recorded = codec::decode(&entry).map_err(|why| not_an_event(why.to_string()))?;
    if recorded.sequence != sequence {
        return Err(not_an_event(format!("it says that it is event {}", recorded.sequence)));
    }
    let witnesses =
        accepted.witnesses.iter().map(|(witness, time)| (witness.name.to_string(), *time)).collect();
    let event = codec::to_proto::event(&recorded);
    Ok(Proven { event, sequence, checkpoint: accepted.checkpoint, witnesses })
}

/// A tree in memory, of a log that keeps none.
struct Built {
    levels: Vec<Vec<Hash>>,
}

impl Built {
    fn of(source: &dyn Source, size: u64) -> Result<Built, SourceError> {
        let mut tree = tagtrail_transparency::Frontier::new();
        let mut levels: Vec<Vec<Hash>> = Vec::new();
        for entry in source.entries(1)?.take(size as usize) {
            tree.push_and_keep(hash::leaf(&entry?.payload), |level, _, hash| {
                let level = usize::from(level);
                if levels.len() <= level {
                    levels.resize_with(level + 1, Vec::new);
                }
                levels[level].push(hash);
            });
        }
        if tree.size() < size {
            let name = format!("of {}", source.name());
            return Err(Wrong::CheckpointNewerThanLog { name, size, log: tree.size() }.into());
        }
        Ok(Built { levels })
    }
}

impl Hashes for Built {
    type Error = SourceError;

    fn tile_hash(&self, level: u8, index: u64) -> Result<Hash, SourceError> {
        let found = self.levels.get(usize::from(level)).and_then(|hashes| hashes.get(index as usize));
        found
            .copied()
            .ok_or_else(|| Wrong::TileMissing { place: self.place(level, index), level, index }.into())
    }
}

impl StoredHashes for Built {
    fn size(&self) -> u64 {
        self.levels.first().map_or(0, |leaves| leaves.len() as u64)
    }

    fn place(&self, level: u8, index: u64) -> String {
        format!("hash {index} of level {level}")
    }
}
