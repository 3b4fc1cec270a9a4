//! The file of a backup. It is read whole when it is opened: only then is it known whether it is whole.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::vec;

use tagtrail_event_log::backup::{BackupError, Header, Part, Reader, is_one};
use tagtrail_event_log::blobs::BlobError;
use tagtrail_event_log::{LogId, Stored};
use tagtrail_transparency::VerifierKey;

use super::{Blobs, Entries, Entry, Source, SourceError, StoredHashes};
use crate::wrong::Wrong;

/// A backup, whole.
#[derive(Debug)]
pub struct Backup {
    name: String,
    header: Header,
    size: u64,
    blobs: InFile,
}

/// The blobs of the file, by digest: they were hashed when it was opened.
#[derive(Debug)]
struct InFile {
    path: PathBuf,
    there: BTreeSet<String>,
}

impl Backup {
    /// Whether this is the file of a backup.
    #[must_use]
    pub fn is_one(path: &Path) -> bool {
        let mut beginning = Vec::new();
        let read = path.is_file().then(|| File::open(path)?.take(8).read_to_end(&mut beginning));
        matches!(read, Some(Ok(_))) && is_one(&beginning)
    }

    /// Reads a backup through.
    ///
    /// # Errors
    /// [`SourceError::Wrong`] if it is not whole, or not what was signed. What goes on from another backup cannot be looked at
    /// by itself.
    pub fn open(path: &Path) -> Result<Backup, SourceError> {
        let mut parts = read(path)?;
        let mut there = BTreeSet::new();
        for part in parts.by_ref() {
            if let Part::Blob { digest, .. } = part.map_err(|error| told(path, error))? {
                there.insert(digest);
            }
        }
        let (header, size) =
            (parts.header().clone(), parts.contents().map_or(0, |contents| contents.tree.size()));
        let (path, name) = (path.to_owned(), path.display().to_string());
        if header.first > 1 {
            return Err(SourceError::Unreadable(format!(
                "{name} is whole and was signed, but goes on from another backup, and begins with event {}: restore it together \
                 with the backups before it, and look at that directory",
                header.first
            )));
        }
        Ok(Backup { name, header, size, blobs: InFile { path, there } })
    }
}

fn read(path: &Path) -> Result<Reader<BufReader<File>>, SourceError> {
    let file = File::open(path).map_err(|error| told(path, error.into()))?;
    Reader::open(BufReader::new(file), None).map_err(|error| told(path, error))
}

fn told(path: &Path, error: BackupError) -> SourceError {
    match error {
        BackupError::Io(_) | BackupError::Newer(_) => {
            SourceError::Unreadable(format!("{}: {error}", path.display()))
        }
        BackupError::NotOne | BackupError::Damaged(_) | BackupError::Contradiction(_) => {
            Wrong::BackupDamaged { file: path.to_owned(), why: error.to_string() }.into()
        }
    }
}

impl Blobs for InFile {
    fn check(&self, digest: &str) -> Result<(), BlobError> {
        if !digest.starts_with("sha256:") {
            return Err(BlobError::InvalidDigest(digest.to_owned()));
        }
        if self.there.contains(digest) {
            return Ok(());
        }
        Err(BlobError::Missing { digest: digest.to_owned(), path: self.path.clone() })
    }
}

impl Source for Backup {
    fn name(&self) -> &str {
        &self.name
    }

    fn log_id(&self) -> Option<LogId> {
        Some(self.header.log_id)
    }

    fn checkpoint(&self) -> Option<&[u8]> {
        Some(self.header.checkpoint.as_bytes())
    }

    fn own_key(&self) -> Result<Option<VerifierKey>, SourceError> {
        match self.header.vkey.parse() {
            Ok(key) => Ok(Some(key)),
            Err(_) => Err(Wrong::KeyUnreadable { file: self.blobs.path.clone() }.into()),
        }
    }

    fn about(&self) -> Option<u64> {
        Some(self.size)
    }

    fn entries(&self, from: u64) -> Result<Box<dyn Entries + '_>, SourceError> {
        let path = &self.blobs.path;
        Ok(Box::new(FromBackup {
            path,
            parts: read(path)?,
            events: Vec::new().into_iter(),
            from,
            over: false,
        }))
    }

    fn hashes(&self) -> Option<&dyn StoredHashes> {
        None
    }

    fn blobs(&self) -> Option<&dyn Blobs> {
        Some(&self.blobs)
    }

    fn not_looked_at(&self) -> &'static [&'static str] {
        &[]
    }
}

/// The events of a backup.
struct FromBackup<'b> {
    path: &'b Path,
    parts: Reader<BufReader<File>>,
    events: vec::IntoIter<Stored>,
    from: u64,
    over: bool,
}

impl Iterator for FromBackup<'_> {
    type Item = Result<Entry, SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.over {
            if let Some(stored) = self.events.find(|stored| stored.sequence >= self.from) {
                let Stored { sequence, last_of_run, payload } = stored;
                return Some(Ok(Entry { sequence, last_of_run: Some(last_of_run), payload }));
            }
            match self.parts.next() {
                Some(Ok(Part::Events(events))) => self.events = events.into_iter(),
                Some(Ok(Part::Blob { .. } | Part::Lost { .. })) => {}
                Some(Err(error)) => {
                    self.over = true;
                    return Some(Err(told(self.path, error)));
                }
                None => self.over = true,
            }
        }
        None
    }
}

impl Entries for FromBackup<'_> {}
