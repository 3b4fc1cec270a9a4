//! The parts of one or more backups, as a new data directory.
//!
//! `FORMAT` is written last, after everything was read back from the disk and led to the root that was signed. Before,
//! there is nothing that a server would take for a log; and what fails takes away again what it has written.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use tagtrail_transparency::{Checkpoint, Frontier, SigningKey, hash};

use super::parts::{Contents, Contradiction, Header, Part, bits};
use super::reader::{BackupError, Reader};
use crate::blobs::{BlobError, BlobStore, named_by};
use crate::directory::{self, DirectoryError};
use crate::files::{at, create_dir, replace, sync_dir};
use crate::journal::{Journal, JournalReader, ReadJournalError, SEGMENT_BYTES};
use crate::{LogId, codec};

const JOURNAL: &str = "journal";
/// Where a server keeps the newest checkpoint and its key, if it is not told another place.
const CHECKPOINT: &str = "checkpoint";
const KEY: &str = "log.key";
/// Everything that a restore makes, the file first that would make a server believe the rest.
const MADE: [&str; 9] = [
    "FORMAT",
    "FORMAT.new",
    "checkpoint",
    "checkpoint.new",
    "log.key",
    "log.key.new",
    JOURNAL,
    "blobs",
    "LOCK",
];

/// Why nothing was restored. What was written is gone again.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// There is something already.
    #[error(
        "{} is not empty (there is `{entry}`), and a log is never restored over something: give an empty or a new \
         directory. What an interrupted restore has left, without a file FORMAT, may be removed",
        dir.display()
    )]
    NotEmpty {
        /// The directory that was given.
        dir: PathBuf,
        /// Something found in it.
        entry: String,
    },
    /// The directory cannot be had.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The backup cannot be read.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The backups do not fit together.
    #[error("{0}")]
    Unfit(#[from] Contradiction),
    /// What was written is not there when it is read.
    #[error("what was written cannot be read back: {0}. Do not trust this disk")]
    ReadBack(String),
    /// The disk did not answer.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What was restored.
#[derive(Debug)]
pub struct Restored {
    /// The log.
    pub log_id: LogId,
    /// What it is consistent with. Its size is the newest sequence.
    pub checkpoint: Checkpoint,
    /// How many blobs there are.
    pub blobs: u64,
    /// The digests of blobs that the log had lost before.
    pub lost: Vec<String>,
}

/// A data directory being made. Dropped, it is taken away again, unless it was committed.
pub struct Restoring {
    dir: PathBuf,
    made_dir: bool,
    committed: bool,
    journal: Journal,
    blobs: BlobStore,
    log_id: LogId,
    /// How far it is, by the backups that were whole.
    done: Option<(Header, Contents)>,
    _lock: File,
}

impl Restoring {
    /// Takes an empty or a new directory.
    ///
    /// # Errors
    /// [`RestoreError`]. Nothing was written then.
    pub fn begin(dir: &Path, log_id: LogId) -> Result<Restoring, RestoreError> {
        let made_dir = !dir.exists();
        if !made_dir {
            empty(dir, &[])?;
        }
        create_dir(dir).map_err(at(dir))?;
        let lock = directory::lock(dir)?;
        // Another process may have come between the look and the lock.
        empty(dir, &["LOCK"])?;
        let begun = || -> io::Result<(Journal, BlobStore)> {
            create_dir(&dir.join(JOURNAL))?;
            Ok((Journal::resume(&dir.join(JOURNAL), log_id, SEGMENT_BYTES, 0)?, BlobStore::open(dir)?))
        };
        match begun() {
            Ok((journal, blobs)) => Ok(Restoring {
                dir: dir.to_owned(),
                made_dir,
                committed: false,
                journal,
                blobs,
                log_id,
                done: None,
                _lock: lock,
            }),
            Err(error) => {
                take_away(dir, made_dir);
                Err(error.into())
            }
        }
    }

    /// Whether a backup is the next one: the first is of everything, and each later one goes on where the one before it
    /// ends.
    ///
    /// # Errors
    /// [`Contradiction`] says which one is due.
    pub fn expect(&self, header: &Header) -> Result<(), Contradiction> {
        let base = header.base()?;
        let Some((before, contents)) = &self.done else {
            return if header.first == 1 {
                Ok(())
            } else {
                let (first, size) = (header.first, header.goes_on_from());
                Err(Contradiction(format!(
                    "it begins with event {first}: give the backup before it first, which ends with event {size}"
                )))
            };
        };
        if header.log_id != before.log_id || header.vkey != before.vkey {
            let (log, before) = (header.log_id, before.log_id);
            return Err(Contradiction(format!(
                "it is of the log {log}, and the one before it of {before}, or their keys differ"
            )));
        }
        if header.goes_on_from() != contents.tree.size() {
            let (first, due) = (header.first, contents.tree.size() + 1);
            return Err(Contradiction(format!(
                "it begins with event {first}, and after the one before it event {due} is due: give the backups in order, \
                 without a gap"
            )));
        }
        if base != contents.tree {
            let size = base.size();
            return Err(Contradiction(format!(
                "it goes on from other events than those of the backup before it, although both have {size}: one of the two \
                 is of a log that was changed"
            )));
        }
        Ok(())
    }

    /// Takes a whole backup. `progress` is told the newest sequence now and then.
    ///
    /// # Errors
    /// [`RestoreError`].
    pub fn take<R: BufRead>(
        &mut self,
        mut backup: Reader<R>,
        mut progress: impl FnMut(u64),
    ) -> Result<(), RestoreError> {
        let header = backup.header().clone();
        self.expect(&header)?;
        for part in backup.by_ref() {
            self.part(&part?)?;
            progress(self.journal.head());
        }
        let contents = backup.contents().cloned();
        let contents = contents.ok_or_else(|| Contradiction("it has no end".into()))?;
        self.end(header, contents);
        Ok(())
    }

    /// Takes the next part, which was checked.
    ///
    /// # Errors
    /// [`io::Error`].
    pub fn part(&mut self, part: &Part) -> io::Result<()> {
        match part {
            Part::Events(events) => self.journal.append_stored(events),
            Part::Blob { digest, bytes } => self.blobs.put_new(digest, bytes),
            Part::Lost { .. } => Ok(()),
        }
    }

    /// A backup has come to its end, and everything was well.
    pub fn end(&mut self, header: Header, contents: Contents) {
        let before = self.done.take().map(|(_, before)| before);
        let (blobs, mut lost) = before.map_or((0, Vec::new()), |before| (before.blobs, before.lost));
        lost.extend(contents.lost.iter().cloned());
        self.done = Some((header, Contents { blobs: blobs + contents.blobs, lost, ..contents }));
    }

    /// Reads everything back, and makes it a data directory. With `key`, the server goes on signing at once. `progress`
    /// is told how many events were read.
    ///
    /// # Errors
    /// [`RestoreError`].
    pub fn commit(
        mut self,
        key: Option<&SigningKey>,
        progress: impl FnMut(u64),
    ) -> Result<Restored, RestoreError> {
        let Some((header, contents)) = self.done.take() else {
            return Err(Contradiction("there is no backup to restore".into()).into());
        };
        if let Some(key) = key {
            Checkpoint::open(header.checkpoint.as_bytes(), &key.verifier()).map_err(|error| {
                Contradiction(format!("the key is not the one that has signed the checkpoint ({error}): give the log's key, or none"))
            })?;
        }
        self.blobs.sync()?;
        let (blobs, lost) = self.read_back(&contents, progress)?;
        if let Some(key) = key {
            self.write_key(key)?;
        }
        replace(&self.dir.join(CHECKPOINT), &header.checkpoint)?;
        sync_dir(&self.dir)?;
        // From here on it is a log.
        directory::write_identity(&self.dir, self.log_id)?;
        self.committed = true;
        Ok(Restored { log_id: self.log_id, checkpoint: contents.checkpoint, blobs, lost })
    }

    /// Gives how many blobs there are, and which are lost.
    fn read_back(
        &self,
        contents: &Contents,
        mut progress: impl FnMut(u64),
    ) -> Result<(u64, Vec<String>), RestoreError> {
        let bad = |why: String| RestoreError::ReadBack(why);
        let mut lost: Vec<String> = contents.lost.clone();
        let mut named = HashSet::new();
        let mut tree = Frontier::new();
        for stored in JournalReader::of(&self.dir.join(JOURNAL), self.log_id).events(1) {
            let stored = stored.map_err(|error| match error {
                ReadJournalError::Io(error) => RestoreError::Io(error),
                other => bad(other.to_string()),
            })?;
            tree.push(hash::leaf(&stored.payload));
            let recorded = codec::decode(&stored.payload).map_err(|error| bad(error.to_string()))?;
            for digest in named_by(&recorded).filter_map(|digest| bits(digest.as_str())) {
                if !named.insert(digest) {
                    continue;
                }
                let digest = super::parts::text(&digest);
                match self.blobs.get(&digest) {
                    // A later backup may have what an earlier one did not.
                    Ok(_) => lost.retain(|other| *other != digest),
                    Err(BlobError::Missing { .. }) if lost.contains(&digest) => {
                        named.remove(&bits(&digest).unwrap_or_default());
                    }
                    Err(error) => return Err(bad(error.to_string())),
                }
            }
            if tree.size().is_multiple_of(1024) {
                progress(tree.size());
            }
        }
        if tree != contents.tree || tree.root() != *contents.checkpoint.root() {
            let (size, due) = (tree.size(), contents.tree.size());
            return Err(bad(format!("{size} events are there, not the {due} that were written")));
        }
        Ok((named.len() as u64, lost))
    }

    fn write_key(&self, key: &SigningKey) -> io::Result<()> {
        let (path, new) = (self.dir.join(KEY), self.dir.join(format!("{KEY}.new")));
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new).map_err(at(&new))?;
        writeln!(file, "{}", key.to_private_text()).map_err(at(&new))?;
        file.sync_all().map_err(at(&new))?;
        fs::rename(&new, &path).map_err(at(&path))
    }
}

impl Drop for Restoring {
    fn drop(&mut self) {
        if !self.committed {
            take_away(&self.dir, self.made_dir);
        }
    }
}

/// Refuses a directory with something in it that is not listed.
fn empty(dir: &Path, but: &[&str]) -> Result<(), RestoreError> {
    for entry in fs::read_dir(dir).map_err(at(dir))? {
        let entry = entry.map_err(at(dir))?.file_name().to_string_lossy().into_owned();
        if entry != "lost+found" && !but.contains(&entry.as_str()) {
            return Err(RestoreError::NotEmpty { dir: dir.to_owned(), entry });
        }
    }
    Ok(())
}

/// Removes what a restore has made. What cannot be removed is no log: it has no `FORMAT`.
fn take_away(dir: &Path, made_dir: bool) {
    for name in MADE {
        let path = dir.join(name);
        _ = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
    }
    if made_dir {
        _ = fs::remove_dir(dir);
    }
}
