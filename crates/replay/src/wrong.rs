//! Everything that an audit can find, each under one name.

use std::fmt;
use std::path::PathBuf;

use tagtrail_domain::StreamKey;
use tagtrail_transparency::Hash;

/// One thing that is wrong. Its text says what, where, and what it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// An event cannot be had from the journal: bytes were changed, cut off, or taken away.
    JournalDamaged {
        /// The first event that cannot be read.
        sequence: u64,
        /// The file.
        file: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        reason: String,
    },
    /// A backup is not what was written, or not what was signed.
    BackupDamaged {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// An event says that it is another one than its place says.
    WrongSequence {
        /// Its place.
        sequence: u64,
        /// What it says.
        said: u64,
    },
    /// An event is not the next one of its stream.
    WrongRevision {
        /// The event.
        sequence: u64,
        /// Its stream.
        stream: StreamKey,
        /// Which one of its stream is due.
        due: u64,
        /// Which one it says it is.
        said: u64,
    },
    /// The events of one command are not together, or not all there.
    RunBroken {
        /// The event.
        sequence: u64,
        /// What is wrong.
        why: String,
    },
    /// The stored bytes are no event, or one that only a newer version knows.
    Undecodable {
        /// The event.
        sequence: u64,
        /// What is wrong.
        why: String,
    },
    /// No server that keeps the rules has written this event here.
    RuleBroken {
        /// The event.
        sequence: u64,
        /// Its stream.
        stream: StreamKey,
        /// Which rule.
        why: String,
    },
    /// A stored hash of the tree is not the hash of the events.
    TileDiffers {
        /// The level.
        level: u8,
        /// Which hash of that level, from 0.
        index: u64,
        /// Where it stands.
        place: String,
    },
    /// A stored hash, or entry bundle, that a tree of this size has is not there.
    TileMissing {
        /// Where it should be.
        place: String,
        /// The level.
        level: u8,
        /// The first hash or entry that is missing, from 0.
        index: u64,
    },
    /// A tile or entry bundle is not one.
    TileUnreadable {
        /// Where it is.
        place: String,
        /// The first event under it.
        first: u64,
        /// The last event under it.
        last: u64,
        /// What is wrong with it.
        why: String,
    },
    /// Stored hashes are there of more events than the log has.
    TreeNewerThanLog {
        /// How many events the tree is of.
        tree: u64,
        /// How many there are.
        log: u64,
    },
    /// A checkpoint is not one.
    CheckpointUnreadable {
        /// Which one.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// A checkpoint is not signed by whom it must be.
    CheckpointSignature {
        /// Which one.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// The log has fewer events than it has signed: they were cut off, or an old copy was put back.
    CheckpointNewerThanLog {
        /// The checkpoint.
        name: String,
        /// How many events it is of.
        size: u64,
        /// How many there are.
        log: u64,
    },
    /// The log is not the one that was signed: it was rewritten.
    CheckpointInconsistent {
        /// The checkpoint.
        name: String,
        /// How many events it is of.
        size: u64,
        /// The root that was signed.
        signed: Hash,
        /// The root of the events that are there.
        computed: Hash,
        /// The first event that can differ.
        first: u64,
        /// The last event that the first difference can be; the same as `first` where it is known.
        last: u64,
    },
    /// Two signed checkpoints of one size say different things: whoever signed them told two stories.
    Fork {
        /// The one checkpoint.
        one: String,
        /// The other.
        other: String,
        /// The size of both.
        size: u64,
    },
    /// A server shows fewer events than it did before, and they are the same.
    RolledBack {
        /// The checkpoint it shows.
        name: String,
        /// How many events that is of.
        size: u64,
        /// How many it had shown.
        seen: u64,
    },
    /// Events that were signed were given up when the log went on under a new id.
    GivenUp {
        /// The checkpoint, of the log as it was.
        name: String,
        /// How many events that is of.
        size: u64,
        /// How many it had when it went on.
        head: u64,
        /// The event that says so.
        sequence: u64,
    },
    /// Something belongs to another log.
    OtherLog {
        /// What.
        what: String,
        /// Which log it says.
        said: String,
        /// Which one it must be.
        expected: String,
    },
    /// The file with the log's own key is no key.
    KeyUnreadable {
        /// The file.
        file: PathBuf,
    },
    /// The directory does not say whose it is.
    FormatUnreadable {
        /// The file.
        file: PathBuf,
    },
    /// A manifest or configuration that an event names is not there.
    MissingBlob {
        /// The event.
        sequence: u64,
        /// What is missing.
        digest: String,
    },
    /// A manifest or configuration is not what its name says.
    BlobDamaged {
        /// The event that names it.
        sequence: u64,
        /// What is damaged.
        digest: String,
        /// What is wrong with it.
        why: String,
    },
    /// What is shown of a stream is not what its events make of it.
    ProjectionDiffers {
        /// The stream.
        stream: String,
        /// The moment that was looked at.
        at: u64,
        /// What differs.
        what: String,
    },
}

impl Wrong {
    /// Its name: one for each kind, for machines.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Wrong::JournalDamaged { .. } => "JournalDamaged",
            Wrong::WrongSequence { .. } => "WrongSequence",
            Wrong::WrongRevision { .. } => "WrongRevision",
            Wrong::RunBroken { .. } => "RunBroken",
            Wrong::Undecodable { .. } => "Undecodable",
            Wrong::RuleBroken { .. } => "RuleBroken",
            Wrong::TileDiffers { .. } => "TileDiffers",
            Wrong::TileMissing { .. } => "TileMissing",
            Wrong::TileUnreadable { .. } => "TileUnreadable",
            Wrong::TreeNewerThanLog { .. } => "TreeNewerThanLog",
            Wrong::CheckpointUnreadable { .. } => "CheckpointUnreadable",
            Wrong::CheckpointSignature { .. } => "CheckpointSignature",
            Wrong::CheckpointNewerThanLog { .. } => "CheckpointNewerThanLog",
            Wrong::CheckpointInconsistent { .. } => "CheckpointInconsistent",
            Wrong::Fork { .. } => "Fork",
            Wrong::RolledBack { .. } => "RolledBack",
            Wrong::GivenUp { .. } => "GivenUp",
            Wrong::OtherLog { .. } => "OtherLog",
            Wrong::KeyUnreadable { .. } => "KeyUnreadable",
            Wrong::FormatUnreadable { .. } => "FormatUnreadable",
            Wrong::BackupDamaged { .. } => "BackupDamaged",
            Wrong::MissingBlob { .. } => "MissingBlob",
            Wrong::BlobDamaged { .. } => "BlobDamaged",
            Wrong::ProjectionDiffers { .. } => "ProjectionDiffers",
        }
    }

    /// The first event that it is about, if it is about events.
    #[must_use]
    pub fn sequence(&self) -> Option<u64> {
        match self {
            Wrong::JournalDamaged { sequence, .. }
            | Wrong::WrongSequence { sequence, .. }
            | Wrong::WrongRevision { sequence, .. }
            | Wrong::RunBroken { sequence, .. }
            | Wrong::Undecodable { sequence, .. }
            | Wrong::RuleBroken { sequence, .. }
            | Wrong::MissingBlob { sequence, .. }
            | Wrong::BlobDamaged { sequence, .. } => Some(*sequence),
            Wrong::TileDiffers { level, index, .. } | Wrong::TileMissing { level, index, .. } => {
                Some(under(*level, *index).0)
            }
            Wrong::TileUnreadable { first, .. } | Wrong::CheckpointInconsistent { first, .. } => Some(*first),
            Wrong::CheckpointNewerThanLog { log, .. } | Wrong::TreeNewerThanLog { log, .. } => Some(log + 1),
            Wrong::RolledBack { size, .. } => Some(size + 1),
            Wrong::GivenUp { head, .. } => Some(head + 1),
            Wrong::CheckpointUnreadable { .. }
            | Wrong::CheckpointSignature { .. }
            | Wrong::Fork { .. }
            | Wrong::OtherLog { .. }
            | Wrong::KeyUnreadable { .. }
            | Wrong::FormatUnreadable { .. }
            | Wrong::BackupDamaged { .. }
            | Wrong::ProjectionDiffers { .. } => None,
        }
    }
}

/// The first and the last event under a hash of the tree.
pub(crate) fn under(level: u8, index: u64) -> (u64, u64) {
    let height = 8 * u32::from(level);
    let first = index.checked_shl(height).unwrap_or(u64::MAX);
    let count = 1_u64.checked_shl(height).unwrap_or(u64::MAX);
    (first.saturating_add(1), first.saturating_add(count))
}

/// `event 7`, `one of the events 1 to 256`.
fn events(first: u64, last: u64) -> String {
    if first == last { format!("event {first}") } else { format!("one of the events {first} to {last}") }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wrong::JournalDamaged { sequence, file, offset, reason } => write!(
                f,
                "event {sequence} cannot be read from {} at byte {offset}: {reason}",
                file.display()
            ),
            Wrong::WrongSequence { sequence, said } => {
                write!(
                    f,
                    "event {sequence} says that it is event {said}: events were moved, taken away or put in"
                )
            }
            Wrong::WrongRevision { sequence, stream, due, said } => write!(
                f,
                "event {sequence} says that it is event {said} of {stream}, of which event {due} is due: events were taken \
                 away or put in"
            ),
            Wrong::RunBroken { sequence, why } => write!(f, "event {sequence} does not belong here: {why}"),
            Wrong::Undecodable { sequence, why } => write!(
                f,
                "event {sequence} cannot be understood: {why}. Either it was not written by tagtrail, or by a newer one: \
                 then audit with that"
            ),
            Wrong::RuleBroken { sequence, stream, why } => {
                write!(f, "event {sequence}, of {stream}, is none that the rules allow here: {why}")
            }
            Wrong::TileDiffers { level, index, place } => {
                let (first, last) = under(*level, *index);
                match level {
                    0 => write!(f, "the stored hash of event {first} is not that of its bytes ({place})"),
                    _ => {
                        write!(f, "the stored hash over the events {first} to {last} is not theirs ({place})")
                    }
                }
            }
            Wrong::TileMissing { place, level, index } => {
                let (first, _) = under(*level, *index);
                write!(f, "{place} is not there or too short, where event {first} is due")
            }
            Wrong::TileUnreadable { place, first, last, why } => {
                write!(f, "{place}, with the events {first} to {last}, cannot be read: {why}")
            }
            Wrong::TreeNewerThanLog { tree, log } => write!(
                f,
                "there are hashes of {tree} events, and only {log} events: events were cut off, or an old copy was put back"
            ),
            Wrong::CheckpointUnreadable { name, why } => {
                write!(f, "the checkpoint {name} cannot be read: {why}")
            }
            Wrong::CheckpointSignature { name, why } => {
                write!(f, "the checkpoint {name} is not to be believed: {why}")
            }
            Wrong::CheckpointNewerThanLog { name, size, log } => write!(
                f,
                "the checkpoint {name} is of {size} events, and only {log} are there: events were cut off, or an old copy was \
                 put back"
            ),
            Wrong::CheckpointInconsistent { name, size, signed, computed, first, last } => write!(
                f,
                "the log is not the one that was signed: {} is another now. The checkpoint {name} says that the root of the \
                 first {size} is {signed}, and it is {computed}",
                events(*first, *last)
            ),
            Wrong::Fork { one, other, size } => write!(
                f,
                "the log told two stories: the checkpoints {one} and {other} are both of {size} events, both signed, and \
                 differ. Keep both: they are the evidence"
            ),
            Wrong::RolledBack { name, size, seen } => write!(
                f,
                "the checkpoint {name} is of {size} events, and {seen} were seen: the log was taken back to an older state, or \
                 an old copy answers in its place"
            ),
            Wrong::GivenUp { name, size, head, sequence } => write!(
                f,
                "the checkpoint {name} is of {size} events, and the log went on under a new id after {head} of them, as event \
                 {sequence} says: those between are given up"
            ),
            Wrong::OtherLog { what, said, expected } => {
                write!(f, "the {what} is of the log {said}, not of {expected}")
            }
            Wrong::KeyUnreadable { file } => write!(
                f,
                "{} is no key, so the log itself does not say who signs for it: give the key with --vkey",
                file.display()
            ),
            Wrong::FormatUnreadable { file } => {
                write!(f, "{} does not say in its third line whose directory this is", file.display())
            }
            Wrong::BackupDamaged { file, why } => write!(f, "{}: {why}", file.display()),
            Wrong::MissingBlob { sequence, digest } => {
                write!(f, "event {sequence} names {digest}, and there is no such manifest or configuration")
            }
            Wrong::BlobDamaged { sequence, digest, why } => {
                write!(f, "event {sequence} names {digest}, which is damaged: {why}")
            }
            Wrong::ProjectionDiffers { stream, at, what } => {
                write!(f, "{stream} is not shown as its events made it, at event {at}: {what}")
            }
        }
    }
}
