//! What opening a log found and did about it, and why it refused.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::LogId;
use crate::directory::DirectoryError;
use crate::durable::NotInterposed;

/// What opening a log found. Written to be read by whoever looks after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenReport {
    /// The log's identity.
    pub id: LogId,
    /// Its head.
    pub head: u64,
    /// Whether it was created just now.
    pub created: bool,
    /// What was not as it should be, and what was done. Empty after a clean shutdown.
    pub findings: Vec<Finding>,
}

impl OpenReport {
    /// Whether one of the two copies was damaged or missing, so that an event may be another than it was.
    pub fn is_doubtful(&self) -> bool {
        let usual = |finding: &Finding| {
            matches!(
                finding,
                Finding::UnfinishedAppend { .. } | Finding::UnfinishedSegment | Finding::SledBehind { .. }
            )
        };
        !self.findings.iter().all(usual)
    }

    /// Whether sled had to be thrown away and rebuilt from the journal.
    pub fn rebuilt_sled(&self) -> bool {
        self.findings.iter().any(|finding| matches!(finding, Finding::SledRebuilt { .. }))
    }
}

impl fmt::Display for OpenReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.created, self.findings.is_empty()) {
            (true, _) => write!(f, "created log {}", self.id)?,
            (false, true) => {
                write!(f, "opened log {} at event {}; journal and sled agree", self.id, self.head)?;
            }
            (false, false) => write!(f, "opened log {} at event {}", self.id, self.head)?,
        }
        self.findings.iter().try_for_each(|finding| write!(f, "; {finding}"))
    }
}

/// One thing that was not as it should be, and what was done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The journal ended in the middle of an append that nobody was told of. Its bytes were cut off.
    UnfinishedAppend {
        /// The newest event before it.
        after: u64,
        /// How many bytes were cut off.
        bytes: u64,
    },
    /// A segment had been created and not finished when the process ended. It was removed.
    UnfinishedSegment,
    /// The end of the journal is damaged, and sled does not have it either, though it was written once: the tree has its hashes.
    EndLost {
        /// The last event that is left.
        after: u64,
        /// The last event that was hashed.
        hashed: u64,
        /// Where the segment is kept as it was.
        aside: Option<PathBuf>,
    },
    /// A part of the journal was written anew.
    JournalRestored {
        /// What was wrong.
        reason: String,
        /// How many events came from sled. The rest was still whole in the damaged segment.
        from_sled: u64,
        /// Where the damaged segment was set aside.
        aside: Option<PathBuf>,
    },
    /// The journal ended before sled did. It was completed from sled.
    JournalBehind {
        /// The newest event the journal held.
        journal: u64,
        /// The newest event sled held.
        sled: u64,
        /// Where the damaged segment was set aside, if its end was bad.
        aside: Option<PathBuf>,
    },
    /// Sled lacked the newest events, which is usual after a kill. They were added from the journal.
    SledBehind {
        /// The newest event sled held.
        sled: u64,
        /// The newest event the journal holds.
        journal: u64,
    },
    /// Sled could not be used. It was rebuilt from the journal.
    SledRebuilt {
        /// What was wrong.
        reason: String,
        /// Where the unusable one was set aside.
        aside: Option<PathBuf>,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept = |aside: &Option<PathBuf>| match aside {
            Some(path) => format!(" (what was there is kept as {})", path.display()),
            None => String::new(),
        };
        match self {
            Finding::UnfinishedAppend { after, bytes } => {
                write!(
                    f,
                    "cut off {bytes} bytes of an append after event {after} that was never acknowledged"
                )
            }
            Finding::EndLost { after, hashed, aside } => {
                let kept = kept(aside);
                write!(
                    f,
                    "the journal is damaged after event {after}, and the events {} to {hashed}, which were written once, are in no copy{kept}",
                    after + 1
                )
            }
            Finding::UnfinishedSegment => write!(f, "removed a journal segment that was never used"),
            Finding::JournalRestored { reason, from_sled, aside } => {
                let kept = kept(aside);
                write!(
                    f,
                    "the journal was damaged ({reason}): restored, {from_sled} events of it from sled{kept}"
                )
            }
            Finding::JournalBehind { journal, sled, aside } => {
                let kept = kept(aside);
                write!(
                    f,
                    "the journal ended with event {journal}: completed from sled up to event {sled}{kept}"
                )
            }
            Finding::SledBehind { sled, journal } => {
                write!(f, "sled ended with event {sled}: completed from the journal up to event {journal}")
            }
            Finding::SledRebuilt { reason, aside } => {
                write!(f, "sled could not be used ({reason}): rebuilt from the journal{}", kept(aside))
            }
        }
    }
}

/// Why a log was not opened. Whatever the reason, what was there is still there.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory is not ours to open.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// An acknowledged event is in neither copy. Serving on would deny that it happened.
    #[error(
        "event {sequence} is lost in both copies (journal: {journal}; sled: {sled}): \
         restore the directory from a backup, or salvage what is left"
    )]
    BothDamaged {
        /// The first event that neither copy has.
        sequence: u64,
        /// What is wrong in the journal.
        journal: String,
        /// What is wrong in sled.
        sled: String,
    },
    /// A segment of the journal cannot be dealt with by this program.
    #[error("the journal cannot be opened: {0}")]
    Journal(String),
    /// Sled failed for a reason that is not damage.
    #[error("sled cannot be used: {0}")]
    Sled(String),
    /// Nothing that this process writes to sled would survive a power cut.
    #[error(transparent)]
    NotDurable(#[from] NotInterposed),
    /// The disk did not answer.
    #[error("the log cannot be opened: {0}")]
    Io(#[from] io::Error),
}
