//! The event log: what happened, in order, once. All else in this workspace can be rebuilt from here.
//!
//! The log itself knows bytes, not image streams: a payload is an encoded event. Only [`codec`] knows which.
//!
//! | module          | the one idea                                                                       |
//! |-----------------|------------------------------------------------------------------------------------|
//! | [`frame`]       | one event as it stands on the disk: version, flags, sequence, checksum, payload    |
//! | [`journal`]     | plain append-only files; its `fdatasync` is the commit point                       |
//! | [`sled_log`]    | the log that serves: the journal and an indexed sled copy, each rebuilding the other |
//! | [`tree`]        | the Merkle tree over the events, in plain files: what checkpoints and proofs are made of |
//! | [`directory`]   | the data directory: whose it is, and who has it open                               |
//! | [`salvage`]     | what can be had of a log that has lost events in both copies, and what cannot       |
//! | [`continuation`] | a log goes on under a new identity, with everything it has                        |
//! | [`backup`]      | the log at one checkpoint in one file, and a data directory made of such files     |
//! | `reserve`       | room that is kept back, so that a full disk is a refusal and not a failure          |
//! | [`durable`]     | makes sled's `flush` reach the disk, and proves it at start                        |
//! | [`memory`]      | the same log without a disk, for tests                                             |
//! | [`blobs`]       | manifests and configurations by their digest, written before the event naming them |
//! | [`codec`]       | domain events as the bytes that are kept for ever, and back                        |
//! | `conformance`   | what every implementation of [`Log`] must do (feature `conformance`)               |
//!
//! *Sequence*: the position of an event in the whole log: 1, 2, 3 …, no gaps, and the only order there is.
//! *Head*: the newest durable sequence; 0 for an empty log. *Readers* never look past it.
//! *Durable*: on the disk when [`Log::append`] returns.
//! *Run*: the events of one command. A run is stored whole or not at all.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use tokio::sync::watch;

pub mod backup;
pub mod blobs;
pub mod codec;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod continuation;
pub mod directory;
pub mod durable;
mod files;
pub mod frame;
#[cfg(feature = "fuzz")]
pub mod fuzz;
pub mod journal;
pub mod memory;
mod page;
mod reserve;
pub mod sled_log;
pub mod tree;

pub use memory::MemoryLog;
pub use sled_log::{OpenError, OpenReport, Options, SledLog, salvage};
pub use tree::{Tree, TreeFiles};

/// The largest payload of one event, in bytes. An event is a fact about one tag, not a place for files.
pub const MAX_PAYLOAD_BYTES: usize = 60 * 1024;

/// The largest sum of the events of one append, each with its frame, in bytes. An append is one record of the journal and is read back
/// as one, so it must fit into memory several times over.
pub const MAX_APPEND_BYTES: usize = 16 * 1024 * 1024;

/// The events of one command, encoded, in order. Stored whole or not at all. A run without events is no news
/// and leaves no trace.
pub type Run = Vec<Bytes>;

/// An event as it stands in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its position in the whole log, from 1.
    pub sequence: u64,
    /// Whether it is the last event of its command: between two events of one run nobody may stop and look.
    pub last_of_run: bool,
    /// The encoded event, exactly as it was appended.
    pub payload: Bytes,
}

/// An append-only log of events.
///
/// Small on purpose, so that another engine can stand behind it. `conformance::check` says what these
/// methods must do, and every implementation has to pass it.
pub trait Log: Send + Sync {
    /// The identity of this log, given at its creation and never changed.
    fn id(&self) -> LogId;

    /// The newest durable sequence; 0 if nothing has happened yet.
    fn head(&self) -> u64;

    /// Appends runs after `expected_head` and returns the new head.
    ///
    /// The events get the sequences `expected_head + 1 ..`, in the order given. The whole call is atomic, and
    /// durable when it returns. Followers hear of it only then.
    fn append(&self, expected_head: u64, runs: &[Run]) -> Result<u64, AppendError>;

    /// Reads events in order, from the sequence `from` (0 means 1), never past the head.
    ///
    /// Stops at `max_events` or before the payloads exceed `max_bytes`, but gives at least one event if there is
    /// one. Empty at the end of the log. What it gives has passed its checksum.
    fn read(&self, from: u64, max_events: usize, max_bytes: usize) -> Result<Vec<Stored>, ReadError>;

    /// Follows the head. It moves only after the events up to it are durable and can be read.
    fn follow(&self) -> watch::Receiver<u64>;
}

/// Why events were not appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Another writer was first. Nothing was written: read on, decide again, retry.
    #[error("the log is at sequence {actual}, not {expected}: something was appended meanwhile")]
    Conflict {
        /// The head the caller decided upon.
        expected: u64,
        /// The head there is.
        actual: u64,
    },
    /// An event is larger than [`MAX_PAYLOAD_BYTES`]. Nothing was written.
    #[error("an event of {size} bytes is larger than the {limit} bytes one event may have", limit = MAX_PAYLOAD_BYTES)]
    EventTooLarge {
        /// Its size in bytes.
        size: usize,
    },
    /// The events together are larger than [`MAX_APPEND_BYTES`]. Nothing was written: append fewer runs at once.
    #[error("{size} bytes of events are more than the {limit} bytes one append may have", limit = MAX_APPEND_BYTES)]
    AppendTooLarge {
        /// The sum of their sizes in bytes.
        size: usize,
    },
    /// The disk is full, or nearly. Nothing was written, and nothing is wrong with what is there: when there is room again, appends
    /// are taken again.
    #[error(
        "the disk is full: {} MiB are left where the log is, and {} MiB have to be; nothing was written, and writing goes on by itself \
         when there is room",
        left >> 20,
        needed >> 20
    )]
    Full {
        /// How much room is left, in bytes.
        left: u64,
        /// How much has to be, in bytes.
        needed: u64,
    },
    /// The disk failed, and the events may or may not be on it. Do not retry: stop, open the log again, and
    /// recovery will tell.
    #[error("could not make the events durable; the log takes no more until it is opened again: {reason}")]
    Uncertain {
        /// What failed.
        reason: String,
    },
    /// An earlier append failed on the disk. Nothing was written by this one; stop and open the log again.
    #[error("the log takes no events since an earlier append failed: {reason}")]
    Poisoned {
        /// What failed then.
        reason: String,
    },
}

/// Why events could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A stored event is missing or fails its checksum, in every copy there is. Events before it are well.
    #[error("event {sequence} cannot be read: {reason}")]
    Damaged {
        /// The first sequence that cannot be read.
        sequence: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The disk did not answer.
    #[error("the log cannot be read: {0}")]
    Io(#[from] std::io::Error),
}

/// The identity of a log: 128 random bits, written as 32 lowercase hexadecimal digits.
///
/// Whoever creates a log draws it; this crate has no randomness.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId([u8; 16]);

impl LogId {
    /// The identity with these bits.
    pub const fn from_bytes(bytes: [u8; 16]) -> LogId {
        LogId(bytes)
    }

    /// The bits of this identity.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogId({self})")
    }
}

/// The text is not the identity of a log.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a log id: it must be 32 lowercase hexadecimal digits")]
pub struct InvalidLogId(String);

impl FromStr for LogId {
    type Err = InvalidLogId;

    fn from_str(text: &str) -> Result<LogId, InvalidLogId> {
        let invalid = || InvalidLogId(text.to_owned());
        if text.len() != 32 || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(invalid());
        }
        u128::from_str_radix(text, 16).map(|bits| LogId(bits.to_be_bytes())).map_err(|_| invalid())
    }
}

/// Checks what any log must refuse before it writes, and gives the events that are left: each payload with
/// whether it is the last of its run.
fn admit(actual: u64, expected: u64, runs: &[Run]) -> Result<Vec<(bool, &Bytes)>, AppendError> {
    if expected != actual {
        return Err(AppendError::Conflict { expected, actual });
    }
    let events: Vec<(bool, &Bytes)> = runs
        .iter()
        .flat_map(|run| run.iter().enumerate().map(|(i, payload)| (i + 1 == run.len(), payload)))
        .collect();
    if let Some((_, payload)) = events.iter().find(|(_, payload)| payload.len() > MAX_PAYLOAD_BYTES) {
        return Err(AppendError::EventTooLarge { size: payload.len() });
    }
    let size = events.iter().map(|(_, payload)| frame::HEADER_BYTES + payload.len()).sum();
    if size > MAX_APPEND_BYTES {
        return Err(AppendError::AppendTooLarge { size });
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_id_is_its_hexadecimal_text() {
        let text = "000102030405060708090a0b0c0d0eff";
        let id: LogId = text.parse().unwrap();
        assert_eq!(id.to_string(), text);
        assert_eq!(id.as_bytes()[15], 0xff);
        for bad in ["", "00", "000102030405060708090A0B0C0D0EFF", "+00102030405060708090a0b0c0d0eff"] {
            assert_eq!(bad.parse::<LogId>(), Err(InvalidLogId(bad.to_owned())));
        }
    }
}
