//! A data directory: the journal, and what stands beside it. A server may be at work in it meanwhile.
//!
//! sled is never opened: opening it writes. Nothing is lost by that, for the journal has every event.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tagtrail_event_log::LogId;
use tagtrail_event_log::blobs::BlobStore;
use tagtrail_event_log::journal::{Events, JournalReader, ReadJournalError};
use tagtrail_transparency::{SigningKey, VerifierKey};

use super::stored_tree::StoredTree;
use super::{Blobs, Entries, Entry, Source, SourceError, StoredHashes};
use crate::wrong::Wrong;

/// A data directory, open for reading only.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    name: String,
    log_id: Option<LogId>,
    checkpoint: Option<Vec<u8>>,
    journal: JournalReader,
    tree: Option<StoredTree>,
    blobs: BlobStore,
}

impl Directory {
    /// Whether this is a data directory.
    #[must_use]
    pub fn is_one(path: &Path) -> bool {
        path.join("journal").is_dir()
    }

    /// Opens a data directory. The checkpoint is read first: the journal has at least what it is of.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn open(path: &Path) -> Result<Directory, SourceError> {
        let checkpoint = read(&path.join("checkpoint"))?;
        let tree = StoredTree::open(path)?;
        let journal = JournalReader::open_read_only(&path.join("journal")).map_err(told)?;
        Ok(Directory {
            path: path.to_owned(),
            name: path.display().to_string(),
            log_id: format_id(path)?,
            checkpoint,
            journal,
            tree,
            blobs: BlobStore::read_only(path),
        })
    }
}

/// What `FORMAT` says whose directory it is, in its third line.
fn format_id(path: &Path) -> Result<Option<LogId>, SourceError> {
    let format = path.join("FORMAT");
    let Some(bytes) = read(&format)? else { return Ok(None) };
    let text = String::from_utf8_lossy(&bytes);
    let id = text.lines().nth(2).and_then(|line| line.strip_prefix("log ")).and_then(|id| id.parse().ok());
    match id {
        Some(id) => Ok(Some(id)),
        None => Err(Wrong::FormatUnreadable { file: format }.into()),
    }
}

/// A file, if it is there.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, SourceError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(SourceError::Unreadable(format!("{} cannot be read: {error}", path.display()))),
    }
}

fn told(error: ReadJournalError) -> SourceError {
    match error {
        ReadJournalError::Damaged { segment, offset, sequence, reason } => {
            Wrong::JournalDamaged { sequence, file: segment, offset, reason }.into()
        }
        ReadJournalError::NoJournal { dir } => {
            let reason = "there is no readable segment".to_owned();
            Wrong::JournalDamaged { sequence: 1, file: dir, offset: 0, reason }.into()
        }
        ReadJournalError::Io(error) => SourceError::Unreadable(error.to_string()),
    }
}

impl Source for Directory {
    fn name(&self) -> &str {
        &self.name
    }

    fn log_id(&self) -> Option<LogId> {
        // The segments agree with one another, or the journal is damaged.
        Some(self.log_id.unwrap_or(self.journal.log_id()))
    }

    fn checkpoint(&self) -> Option<&[u8]> {
        self.checkpoint.as_deref()
    }

    fn own_key(&self) -> Result<Option<VerifierKey>, SourceError> {
        let file = self.path.join("log.key");
        let Some(bytes) = read(&file)? else { return Ok(None) };
        let key = String::from_utf8(bytes).ok().and_then(|text| text.trim().parse::<SigningKey>().ok());
        match key {
            Some(key) => Ok(Some(key.verifier())),
            None => Err(Wrong::KeyUnreadable { file }.into()),
        }
    }

    fn about(&self) -> Option<u64> {
        let stored = self.tree.as_ref().map(|tree| tree.size());
        stored.filter(|size| *size > 0)
    }

    fn entries(&self, from: u64) -> Result<Box<dyn Entries + '_>, SourceError> {
        if let Some(format) = self.log_id
            && format != self.journal.log_id()
        {
            return Err(Wrong::OtherLog {
                what: "journal".into(),
                said: self.journal.log_id().to_string(),
                expected: format.to_string(),
            }
            .into());
        }
        Ok(Box::new(FromJournal(self.journal.events(from))))
    }

    fn hashes(&self) -> Option<&dyn StoredHashes> {
        self.tree.as_ref().map(|tree| tree as &dyn StoredHashes)
    }

    fn blobs(&self) -> Option<&dyn Blobs> {
        Some(&self.blobs)
    }

    fn not_looked_at(&self) -> &'static [&'static str] {
        &[
            "log/ and view/, the copies in sled: opening them writes. Every start of the server compares or rebuilds them",
        ]
    }
}

/// The events of a journal.
struct FromJournal(Events);

impl Iterator for FromJournal {
    type Item = Result<Entry, SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        let stored = self.0.next()?.map_err(told);
        Some(stored.map(|stored| Entry {
            sequence: stored.sequence,
            last_of_run: Some(stored.last_of_run),
            payload: stored.payload,
        }))
    }
}

impl Entries for FromJournal {
    fn passed_over(&self) -> Option<String> {
        let end = self.0.unfinished()?;
        Some(format!(
            "the bytes of {} from {} on are no whole record ({}): an append that was never acknowledged, or is under way",
            end.segment.display(),
            end.offset,
            end.reason
        ))
    }
}
