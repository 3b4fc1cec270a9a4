//! The data directory: whose it is, and who has it open.
//!
//! | entry      | what it is                                                                                  |
//! |------------|---------------------------------------------------------------------------------------------|
//! | `FORMAT`   | three lines: what this is, the version of the layout, the log's identity. Written last       |
//! | `LOCK`     | locked by the process that has the log open, and holding its process id                      |
//! | `journal/` | see [`crate::journal`]                                                                       |
//! | `journal.<id>/` | the journal of the log that this one goes on from, see [`crate::continuation`]           |
//! | `journal.damaged-<n>/`, `log.damaged-<n>/` | what a repair set aside, for whoever wants to look            |
//! | `journal.new/`, `journal.writing/` | a journal on its way; the next start finishes or removes it            |
//! | `log/`     | the sled copy, see [`crate::sled_log`]                                                       |
//! | `log.suspect` | stands from the moment a reader met damage in `log/` until it is rebuilt                  |
//! | `tree/`    | the Merkle tree over the events, see [`crate::tree`]; may be deleted at any time             |
//! | `blobs/`   | see [`crate::blobs`]                                                                         |
//! | `view/`, `secrets/` | the server's: its read model, and credentials that no event may hold                |
//! | `reserve`  | room that is kept back; holds nothing, and may be deleted at any time                       |
//! | `published` | the server's: up to where events were published                                          |
//!
//! A directory without `FORMAT` is somebody else's unless it is empty, and is never written into.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::LogId;
use crate::files::{at, create_dir, replace};
use crate::journal::{self, list_segments};

pub(crate) mod exchange;

/// The version of the layout this program writes, and the newest it can open.
pub const FORMAT_VERSION: u32 = 1;

const FORMAT: &str = "FORMAT";
const FORMAT_NEW: &str = "FORMAT.new";
const LOCK: &str = "LOCK";
const JOURNAL: &str = "journal";
const SLED: &str = "log";
const TITLE: &str = "tagtrail data directory";

/// Why a directory was not taken.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The directory holds something, and nothing says that it is ours. Nothing was written into it.
    #[error(
        "{} is not empty and not a tagtrail data directory (it has no FORMAT file, but `{entry}`): \
         give an empty or a new directory",
        dir.display()
    )]
    Foreign {
        /// The directory that was given.
        dir: PathBuf,
        /// Something found in it.
        entry: String,
    },
    /// A later version of this program has written it. Nothing was written into it.
    #[error("{} has format {found}, and this program knows up to {FORMAT_VERSION}: use a newer tagtrail", dir.display())]
    Newer {
        /// The directory that was given.
        dir: PathBuf,
        /// Its format.
        found: u32,
    },
    /// The `FORMAT` file is not what this program writes. Nothing was written.
    #[error("{} is damaged: it should say `{TITLE}`, `format {FORMAT_VERSION}` and `log <id>` on a line each", path.display())]
    BadFormat {
        /// The file.
        path: PathBuf,
    },
    /// `FORMAT` is missing or damaged, and the journal does not tell whose the directory is, or tells several logs.
    #[error(
        "{} cannot be written anew: {journals} logs are named in the journal's files. If you know which log it was,          write the lines `{TITLE}`, `format {FORMAT_VERSION}` and `log <id>` into it",
        path.display()
    )]
    Nameless {
        /// The file.
        path: PathBuf,
        /// How many logs the journal names.
        journals: usize,
    },
    /// `FORMAT` names one log, and the journal's files another.
    #[error(
        "{} names the log {format}, and the journal is that of log {journal}: put the right journal there, or, if it \
         is the right one, remove the file and try again",
        path.display()
    )]
    OtherLog {
        /// The file.
        path: PathBuf,
        /// The log it names.
        format: LogId,
        /// A log that the journal names.
        journal: LogId,
    },
    /// Another process has it open.
    #[error("{} is in use by another process{}: stop it first, or give another directory", dir.display(), holder(.pid))]
    InUse {
        /// The directory that was given.
        dir: PathBuf,
        /// The process that has it open, if it said so.
        pid: Option<u32>,
    },
    /// The disk did not answer.
    #[error(transparent)]
    Io(#[from] io::Error),
}

fn holder(pid: &Option<u32>) -> String {
    pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
}

/// A data directory, locked as long as this value lives.
#[derive(Debug)]
pub struct DataDirectory {
    path: PathBuf,
    id: LogId,
    created: bool,
    _lock: File,
}

impl DataDirectory {
    /// Takes a data directory, or makes one for the log `new_id` where there is nothing yet.
    pub fn take(path: &Path, new_id: LogId) -> Result<DataDirectory, DirectoryError> {
        // Look before touching anything: even a lock file is a trace in a directory that is not ours.
        identity(path)?;
        create_dir(path).map_err(at(path))?;
        let lock = lock(path)?;
        // Look again: another process may have made it ours between the look and the lock.
        let known = read_identity(path)?;
        let id = match known {
            Some(id) => id,
            None => create(path, new_id)?,
        };
        exchange::settle(path, id)?;
        Ok(DataDirectory { path: path.to_owned(), id, created: known.is_none(), _lock: lock })
    }

    /// Takes a data directory whose `FORMAT` may be missing or damaged, if its journal tells whose it is. The second
    /// value says whether `FORMAT` is well.
    pub(crate) fn take_damaged(path: &Path) -> Result<(DataDirectory, bool), DirectoryError> {
        identify(path)?; // Look before touching anything.
        let lock = lock(path)?;
        let (id, well) = identify(path)?;
        if well {
            exchange::settle(path, id)?;
        }
        Ok((DataDirectory { path: path.to_owned(), id, created: false, _lock: lock }, well))
    }

    /// The log this directory holds.
    pub fn log_id(&self) -> LogId {
        self.id
    }

    /// Whether this is a new directory.
    pub fn created(&self) -> bool {
        self.created
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the journal is.
    pub fn journal(&self) -> PathBuf {
        self.path.join(JOURNAL)
    }

    /// Where the sled copy is.
    pub fn sled(&self) -> PathBuf {
        self.path.join(SLED)
    }

    /// Stands while something that sled gave back was found damaged: the next start compares everything.
    pub(crate) fn suspicion(&self) -> PathBuf {
        self.path.join("log.suspect")
    }
}

/// Reads which log is in a directory, whoever has it open. `None` if there is none yet. Nothing is written.
pub fn identity(dir: &Path) -> Result<Option<LogId>, DirectoryError> {
    if dir.exists() { read_identity(dir) } else { Ok(None) }
}

/// Finds out whose directory this is from `FORMAT` and the journal, and whether `FORMAT` is well.
fn identify(dir: &Path) -> Result<(LogId, bool), DirectoryError> {
    let told = match identity(dir) {
        Ok(told) => told,
        Err(DirectoryError::Foreign { .. } | DirectoryError::BadFormat { .. }) => None,
        Err(error) => return Err(error),
    };
    let journals = exchange::journals(dir)?;
    match (told, journals.as_slice()) {
        (Some(id), journals) if journals.is_empty() || journals.contains(&id) => Ok((id, true)),
        (Some(format), [journal, ..]) => {
            Err(DirectoryError::OtherLog { path: dir.join(FORMAT), format, journal: *journal })
        }
        (None, [id]) => Ok((*id, false)),
        _ => Err(DirectoryError::Nameless { path: dir.join(FORMAT), journals: journals.len() }),
    }
}

/// Reads whose directory this is. `None` means: nobody's yet, and it may become ours.
fn read_identity(dir: &Path) -> Result<Option<LogId>, DirectoryError> {
    let path = dir.join(FORMAT);
    let text = match fs::read(&path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return match stranger(dir)? {
                None => Ok(None),
                Some(entry) => Err(DirectoryError::Foreign { dir: dir.to_owned(), entry }),
            };
        }
        Err(error) => return Err(at(&path)(error).into()),
    };
    let mut lines = text.lines();
    let bad = || DirectoryError::BadFormat { path: path.clone() };
    if lines.next() != Some(TITLE) {
        return Err(bad());
    }
    // Before anything else is understood: a later version may have changed the rest.
    let version = lines.next().and_then(|line| line.strip_prefix("format ")).and_then(|n| n.parse().ok());
    match version {
        Some(found) if found > FORMAT_VERSION => {
            return Err(DirectoryError::Newer { dir: dir.to_owned(), found });
        }
        Some(FORMAT_VERSION) => {}
        _ => return Err(bad()),
    }
    let id = lines.next().and_then(|line| line.strip_prefix("log ")).and_then(|id| id.parse().ok());
    match (id, lines.next()) {
        (Some(id), None) => Ok(Some(id)),
        _ => Err(bad()),
    }
}

/// Says whose this directory is from now on.
pub(crate) fn write_identity(dir: &Path, id: LogId) -> io::Result<()> {
    replace(&dir.join(FORMAT), &format!("{TITLE}\nformat {FORMAT_VERSION}\nlog {id}\n"))
}

/// Something in a directory without `FORMAT` that an interrupted creation of ours does not leave.
fn stranger(dir: &Path) -> io::Result<Option<String>> {
    for entry in fs::read_dir(dir).map_err(at(dir))? {
        let entry = entry.map_err(at(dir))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let ours = match name.as_str() {
            LOCK | FORMAT_NEW | "lost+found" => true,
            // The first segment is made before `FORMAT`; as long as it holds no event, nothing can be lost.
            JOURNAL => journal::holds_no_event(&entry.path())?,
            _ => false,
        };
        if !ours {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

pub(crate) fn lock(dir: &Path) -> Result<File, DirectoryError> {
    let path = dir.join(LOCK);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false) // The holder's process id must survive our asking.
        .open(&path)
        .map_err(at(&path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let pid = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
            return Err(DirectoryError::InUse { dir: dir.to_owned(), pid });
        }
        Err(TryLockError::Error(error)) => return Err(at(&path)(error).into()),
    }
    let pid = format!("{}\n", std::process::id());
    // Over what is there, and then cut off: the other way round would need room, which a full disk does not have.
    file.write_all(pid.as_bytes()).map_err(at(&path))?;
    file.set_len(pid.len() as u64).map_err(at(&path))?;
    Ok(file)
}

/// Makes an empty directory ours. `FORMAT` comes last, so where it stands, the journal has stood: from then on a
/// missing journal is a loss and not a beginning.
fn create(dir: &Path, id: LogId) -> io::Result<LogId> {
    let journal_dir = dir.join(JOURNAL);
    create_dir(&journal_dir)?;
    for segment in list_segments(&journal_dir)? {
        fs::remove_file(&segment.path).map_err(at(&segment.path))?;
    }
    journal::create(&journal_dir, id)?;
    write_identity(dir, id)?;
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: LogId = LogId::from_bytes([1; 16]);
    const OTHER: LogId = LogId::from_bytes([2; 16]);

    fn taken(dir: &Path) -> String {
        let place = dir.display().to_string();
        match DataDirectory::take(dir, ID) {
            Ok(directory) if directory.created() => format!("created for {}", directory.log_id()),
            Ok(directory) => format!("opened with {}", directory.log_id()),
            Err(error) => error.to_string().replace(&place, "DIR"),
        }
    }

    /// Gives what happens to a directory holding these files, and checks that a refusal leaves no trace.
    fn check(files: &[(&str, &str)], expected: &str) {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("data");
        for (name, text) in files {
            let path = dir.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let entries = || fs::read_dir(&dir).map(Iterator::count).unwrap_or(0);
        let before = entries();
        let told = taken(&dir);
        assert!(told.starts_with(expected), "{files:?}: {told}");
        if !told.starts_with("created") && !told.starts_with("opened") {
            assert_eq!(entries(), before, "a refused directory must stay as it was");
        }
    }

    #[test]
    fn a_directory_is_ours_or_left_alone() {
        let first = "journal/00000000000000000001.seg";
        let opened = format!("tagtrail data directory\nformat 1\nlog {OTHER}\n");
        check(&[], "created for 01010101");
        check(&[("lost+found/x", "")], "created");
        check(&[("FORMAT", &opened)], "opened with 02020202");
        // An interrupted creation is taken up again, but only as long as it cannot hold an event.
        check(&[("LOCK", "7\n"), (first, "tagtr"), ("FORMAT.new", "tag")], "created");
        check(&[(first, &"x".repeat(41))], "DIR is not empty and not a tagtrail data directory");
        check(&[("journal/notes.txt", "")], "DIR is not empty and not a tagtrail data directory");
        check(
            &[("thesis.tex", "")],
            "DIR is not empty and not a tagtrail data directory (it has no FORMAT file, but `thesis.tex`)",
        );
        check(
            &[("FORMAT", "tagtrail data directory\nformat 2\nshards 9\n")],
            "DIR has format 2, and this program knows up to 1",
        );
        check(&[("FORMAT", "tagtrail data directory\nformat 1\nlog 12\n")], "DIR/FORMAT is damaged");
        check(&[("FORMAT", "")], "DIR/FORMAT is damaged");
    }

    #[test]
    fn only_one_may_have_it_open() {
        let dir = tempfile::tempdir().unwrap();
        let held = DataDirectory::take(dir.path(), ID).unwrap();
        let expected =
            format!("DIR is in use by another process (process {}): stop it first", std::process::id());
        let told = taken(dir.path());
        assert!(told.starts_with(&expected), "{told}");
        drop(held);
        assert!(taken(dir.path()).starts_with("opened"));
    }
}
