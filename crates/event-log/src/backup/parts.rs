//! What a backup consists of, and what must be true of it, in whatever format it stands.
//!
//! A header; then events, whole commands, and behind them the blobs that they are the first of this backup to name, in
//! that order; then the end, which says how much there was.

use std::collections::{HashSet, VecDeque};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tagtrail_transparency::{Checkpoint, Frontier, Hash, VerifierKey, hash};

use crate::blobs::{SHA256, named_by};
use crate::{LogId, MAX_APPEND_BYTES, MAX_PAYLOAD_BYTES, Stored, codec, frame};

/// What a backup is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The log.
    pub log_id: LogId,
    /// The sequence of its first event: 1 for a backup of everything.
    pub first: u64,
    /// The peaks of the tree over the events before that one, the largest first; see [`Frontier`].
    pub peaks: Vec<Hash>,
    /// The public key that the checkpoint is signed with, as the log itself names it.
    pub vkey: String,
    /// The signed checkpoint that this is consistent with, byte for byte. Its size is the last sequence.
    pub checkpoint: String,
}

impl Header {
    /// How many events come before it.
    #[must_use]
    pub fn goes_on_from(&self) -> u64 {
        self.first.saturating_sub(1)
    }

    /// The checkpoint, if it is this log's and `key`, or the key that the header names, has signed it.
    ///
    /// # Errors
    /// [`Contradiction`].
    pub fn opened(&self, key: Option<&VerifierKey>) -> Result<Checkpoint, Contradiction> {
        let own;
        let key = match key {
            Some(key) => key,
            None => {
                own = self.vkey.parse::<VerifierKey>();
                own.as_ref().map_err(|error| Contradiction(format!("the key it names is none: {error}")))?
            }
        };
        let checkpoint = Checkpoint::open(self.checkpoint.as_bytes(), key)
            .map_err(|error| Contradiction(format!("its checkpoint is not to be believed: {error}")))?;
        let of = checkpoint.origin().rsplit('/').next();
        if of != Some(self.log_id.to_string().as_str()) {
            let (origin, id) = (checkpoint.origin(), self.log_id);
            return Err(Contradiction(format!("its checkpoint is of {origin}, and it is of the log {id}")));
        }
        Ok(checkpoint)
    }

    /// The tree over the events before it. Whether it is the right one shows in the root.
    ///
    /// # Errors
    /// [`Contradiction`]: these are not the peaks of such a tree.
    pub fn base(&self) -> Result<Frontier, Contradiction> {
        if self.first == 0 {
            return Err(Contradiction("it begins with event 0, and the first one is 1".into()));
        }
        Frontier::from_peaks(self.first - 1, self.peaks.clone())
            .map_err(|error| Contradiction(error.to_string()))
    }
}

/// A part of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// The next events: whole commands.
    Events(Vec<Stored>),
    /// A blob that an event just before has named.
    Blob {
        /// Its digest, `sha256:<hex>`.
        digest: String,
        /// The blob.
        bytes: Bytes,
    },
    /// A blob that an event just before has named, and that the log had lost when the backup was taken.
    Lost {
        /// Its digest, `sha256:<hex>`.
        digest: String,
        /// What was wrong with it.
        why: String,
    },
}

/// What a whole backup has.
#[derive(Clone, Debug)]
pub struct Contents {
    /// The sequence of the first event.
    pub first: u64,
    /// How many events.
    pub events: u64,
    /// How many blobs.
    pub blobs: u64,
    /// The digests of blobs that the log had lost.
    pub lost: Vec<String>,
    /// What it is consistent with.
    pub checkpoint: Checkpoint,
    /// The tree over everything up to its last event.
    pub tree: Frontier,
}

impl Contents {
    /// Its events in words: `events 1 to 20`.
    #[must_use]
    pub fn range(&self) -> String {
        match self.events {
            0 => "no events".into(),
            1 => format!("event {}", self.first),
            _ => format!("events {} to {}", self.first, self.tree.size()),
        }
    }
}

/// What a backup says is not so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Contradiction(pub String);

/// Looks at the parts of a backup as they go by.
#[derive(Debug)]
pub struct Check {
    contents: Contents,
    /// Whether the newest event ended its command.
    between_runs: bool,
    /// The blobs that were named, and those of them that are due.
    named: HashSet<[u8; 32]>,
    due: VecDeque<[u8; 32]>,
}

impl Check {
    /// Begins with a header. The checkpoint's signature must be of `key`, or of the key that the header names.
    ///
    /// # Errors
    /// [`Contradiction`].
    pub fn new(header: &Header, key: Option<&VerifierKey>) -> Result<Check, Contradiction> {
        let (checkpoint, tree) = (header.opened(key)?, header.base()?);
        if tree.size() > checkpoint.size() {
            let (first, size) = (header.first, checkpoint.size());
            return Err(Contradiction(format!("it begins with event {first}, and was signed at {size}")));
        }
        let (first, lost) = (header.first, Vec::new());
        Ok(Check {
            contents: Contents { first, events: 0, blobs: 0, lost, checkpoint, tree },
            between_runs: true,
            named: HashSet::new(),
            due: VecDeque::new(),
        })
    }

    /// What has gone by so far.
    #[must_use]
    pub fn so_far(&self) -> &Contents {
        &self.contents
    }

    /// The next part.
    ///
    /// # Errors
    /// [`Contradiction`].
    pub fn part(&mut self, part: &Part) -> Result<(), Contradiction> {
        match part {
            Part::Events(events) => self.events(events),
            Part::Blob { digest, bytes } => {
                self.take(digest)?;
                if digest_of(bytes) != bits(digest) {
                    return Err(Contradiction(format!("the blob {digest} has another digest")));
                }
                self.contents.blobs += 1;
                Ok(())
            }
            Part::Lost { digest, .. } => {
                self.take(digest)?;
                self.contents.lost.push(digest.clone());
                Ok(())
            }
        }
    }

    /// The next events.
    ///
    /// # Errors
    /// [`Contradiction`].
    pub fn events(&mut self, events: &[Stored]) -> Result<(), Contradiction> {
        let size: usize = events.iter().map(|stored| frame::HEADER_BYTES + stored.payload.len()).sum();
        if size > MAX_APPEND_BYTES || events.iter().any(|stored| stored.payload.len() > MAX_PAYLOAD_BYTES) {
            return Err(Contradiction("an event or a command is larger than one may be".into()));
        }
        for stored in events {
            let due = self.contents.tree.size() + 1;
            if stored.sequence != due {
                let found = stored.sequence;
                return Err(Contradiction(format!("event {found} stands where event {due} is due")));
            }
            let recorded = codec::decode(&stored.payload).map_err(|error| {
                Contradiction(format!("event {due} cannot be understood ({error}): use a newer tagtrail"))
            })?;
            let run = recorded.run;
            let ends = due.wrapping_sub(run.first_sequence).wrapping_add(1) == u64::from(run.length);
            if recorded.sequence != due || stored.last_of_run != ends {
                // The mark is not a part of what was signed, and the event is.
                return Err(Contradiction(format!(
                    "event {due} is not marked as it says itself: its sequence, or where its command ends"
                )));
            }
            for digest in named_by(&recorded) {
                if let Some(bits) = bits(digest.as_str())
                    && self.named.insert(bits)
                {
                    self.due.push_back(bits);
                }
            }
            self.contents.tree.push(hash::leaf(&stored.payload));
            self.contents.events += 1;
            self.between_runs = stored.last_of_run;
        }
        let (size, signed) = (self.contents.tree.size(), self.contents.checkpoint.size());
        if size > signed {
            return Err(Contradiction(format!("it goes up to event {size}, and was signed at {signed}")));
        }
        Ok(())
    }

    /// The digest of the blob that is due next.
    #[must_use]
    pub fn due(&self) -> Option<String> {
        self.due.front().map(text)
    }

    /// The end.
    ///
    /// # Errors
    /// [`Contradiction`]: it is not all there, or not what was signed.
    pub fn end(self) -> Result<Contents, Contradiction> {
        self.nothing_is_due()?;
        let (tree, checkpoint) = (&self.contents.tree, &self.contents.checkpoint);
        if tree.size() != checkpoint.size() {
            let (size, signed) = (tree.size(), checkpoint.size());
            return Err(Contradiction(format!("it ends with event {size}, and was signed at {signed}")));
        }
        if !self.between_runs {
            return Err(Contradiction(format!(
                "it ends with event {}, in the middle of a command",
                tree.size()
            )));
        }
        if tree.root() != *checkpoint.root() {
            return Err(Contradiction(format!(
                "its events are not those that were signed: the root over {} events is {}, and that of the checkpoint {}",
                tree.size(),
                tree.root(),
                checkpoint.root()
            )));
        }
        Ok(self.contents)
    }

    fn nothing_is_due(&self) -> Result<(), Contradiction> {
        match self.due() {
            None => Ok(()),
            Some(digest) => {
                Err(Contradiction(format!("the blob {digest} is named by an event, and does not follow")))
            }
        }
    }

    fn take(&mut self, digest: &str) -> Result<(), Contradiction> {
        match (self.due.pop_front(), bits(digest)) {
            (Some(due), Some(found)) if due == found => Ok(()),
            (Some(due), _) => {
                Err(Contradiction(format!("the blob {digest} stands where {} is due", text(&due))))
            }
            (None, _) => Err(Contradiction(format!("the blob {digest} is not named by an event before it"))),
        }
    }
}

fn digest_of(bytes: &[u8]) -> Option<[u8; 32]> {
    Some(Sha256::digest(bytes).into())
}

/// The digest of a blob, for people.
pub(super) fn text(bits: &[u8; 32]) -> String {
    let hex: String = bits.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{SHA256}{hex}")
}

/// The bits of a digest that names a blob. Images by another algorithm have none.
pub(super) fn bits(digest: &str) -> Option<[u8; 32]> {
    let hex = digest.strip_prefix(SHA256)?;
    if hex.len() != 64 || !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let mut bits = [0; 32];
    for (at, byte) in bits.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bits)
}
