//! What a log signs: its name, its size, its root (C2SP `tlog-checkpoint`).
//!
//! ```text
//! example.com/log              origin: which log
//! 109482                       size: how many entries
//! sFodV/vSp5O8n9a8QpW6PRY9…    root over them, in base64
//! ```
//!
//! A log that signs two checkpoints of which neither goes on from the other has been caught lying.

use std::fmt;
use std::str::FromStr;

use crate::hash::{self, Hash};
use crate::note::{Note, NoteError, SigningKey, VerifierKey, VerifyError};
use crate::text;

/// The state of a log at one size. Its text is the text of the note, and has one form only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    origin: String,
    size: u64,
    root: Hash,
    extensions: Vec<String>,
}

impl Checkpoint {
    /// The checkpoint of the log named `origin`, at `size` entries with this root. The origin should be a URL without
    /// scheme and final slash, under which the log is served, and must be the name of the log's key.
    pub fn new(origin: impl Into<String>, size: u64, root: Hash) -> Result<Checkpoint, CheckpointError> {
        let origin = origin.into();
        if !is_line(&origin) {
            return Err(CheckpointError::Origin);
        }
        if size == 0 && root != hash::empty_root() {
            return Err(CheckpointError::EmptyRoot);
        }
        Ok(Checkpoint { origin, size, root, extensions: Vec::new() })
    }

    /// The same with extension lines, which the specification does not recommend: nobody can audit them.
    pub fn with_extensions(mut self, lines: Vec<String>) -> Result<Checkpoint, CheckpointError> {
        if !lines.iter().all(|line| is_line(line)) {
            return Err(CheckpointError::Extension);
        }
        self.extensions = lines;
        Ok(self)
    }

    /// Which log it is.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// How many entries the log has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The root over them.
    pub fn root(&self) -> &Hash {
        &self.root
    }

    /// The lines after the root.
    pub fn extensions(&self) -> &[String] {
        &self.extensions
    }

    /// Signs it as the log it names.
    ///
    /// What was signed cannot be taken back: the caller has made sure that this checkpoint goes on from every one the
    /// log signed before.
    pub fn sign(&self, key: &SigningKey) -> Result<Note, OtherOrigin> {
        self.check_origin(key.name())?;
        let mut note = Note::new(self.to_string()).expect("the lines of a checkpoint are the text of a note");
        note.sign(key);
        Ok(note)
    }

    /// Reads a signed checkpoint, if the log that `key` belongs to signed it as its own.
    pub fn open(note: &[u8], key: &VerifierKey) -> Result<Checkpoint, OpenError> {
        Checkpoint::of(&Note::parse(note)?, key)
    }

    /// The checkpoint in a note, if the log that `key` belongs to signed it as its own.
    pub fn of(note: &Note, key: &VerifierKey) -> Result<Checkpoint, OpenError> {
        note.verify([key])?;
        let checkpoint: Checkpoint = note.text().parse()?;
        checkpoint.check_origin(key.name())?;
        Ok(checkpoint)
    }

    /// A log's key is named like the log, so that one log cannot speak for another.
    fn check_origin(&self, key_name: &str) -> Result<(), OtherOrigin> {
        if self.origin == key_name {
            Ok(())
        } else {
            Err(OtherOrigin { origin: self.origin.clone(), key: key_name.to_owned() })
        }
    }
}

/// Whether something is one line that is not empty, without control characters.
fn is_line(text: &str) -> bool {
    !text.is_empty() && !text.bytes().any(|b| b < 0x20)
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}\n{}", self.origin, self.size, self.root)?;
        self.extensions.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

impl FromStr for Checkpoint {
    type Err = CheckpointError;

    fn from_str(text: &str) -> Result<Checkpoint, CheckpointError> {
        let text = text.strip_suffix('\n').ok_or(CheckpointError::Lines)?;
        let mut lines = text.split('\n');
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next()) else {
            return Err(CheckpointError::Lines);
        };
        let size = text::decimal(size).ok_or(CheckpointError::Size)?;
        let root = root.parse().map_err(|_| CheckpointError::Root)?;
        Checkpoint::new(origin, size, root)?.with_extensions(lines.map(str::to_owned).collect())
    }
}

/// Why a text is not a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// It has fewer than three lines, or the last one has no newline.
    #[error("a checkpoint has at least three lines, each with a newline: the log's name, its size, its root")]
    Lines,
    /// The first line is empty or has control characters.
    #[error(
        "the first line of a checkpoint must be the name of the log: not empty, without control characters"
    )]
    Origin,
    /// The second line is not a size.
    #[error(
        "the second line of a checkpoint must be the size of the log, a decimal number without leading zeros"
    )]
    Size,
    /// The third line is not a hash.
    #[error("the third line of a checkpoint must be the root of the log, 32 bytes in standard base64")]
    Root,
    /// An empty log has only one root.
    #[error("the checkpoint is of an empty log and has another root than the empty tree: the log is wrong")]
    EmptyRoot,
    /// A line after the third is empty or has control characters.
    #[error("the lines after the root of a checkpoint must not be empty and must have no control characters")]
    Extension,
}

/// The key belongs to another log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the checkpoint is of the log `{origin}`, the key of `{key}`: take the key of that log")]
pub struct OtherOrigin {
    /// The log the checkpoint names.
    pub origin: String,
    /// The name of the key.
    pub key: String,
}

/// Why a signed checkpoint is not to be believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// It is not a note.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// It was not signed with the key.
    #[error(transparent)]
    Signature(#[from] VerifyError),
    /// It was signed, and is not a checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// It is of another log.
    #[error(transparent)]
    OtherOrigin(#[from] OtherOrigin),
}
