//! One journal takes the place of another, whole: whenever the process is killed, the old log is there or the new one.
//!
//! | entry             | what it is                                                                        |
//! |-------------------|-----------------------------------------------------------------------------------|
//! | `journal.writing` | a journal being written; worthless                                                |
//! | `journal.new`     | a whole journal; the log's as soon as `FORMAT` names the same identity             |
//!
//! So there are two ways to commit. A log that keeps its identity is exchanged when `journal.new` gets its name. A log
//! that gets another one is exchanged when `FORMAT` says so. What is left to do then is done by whoever takes the
//! directory next, in steps that may be repeated.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{JOURNAL, SLED};
use crate::LogId;
use crate::files::{at, create_dir, free_aside, sync_dir};
use crate::journal::{self, Journal, JournalReader, SEGMENT_BYTES};

const WRITING: &str = "journal.writing";
const NEW: &str = "journal.new";

/// Writes a whole new journal for the log `id`, and synced as it is gives it the name `journal.new`.
pub(crate) fn propose<E: From<io::Error>>(
    dir: &Path,
    id: LogId,
    write: impl FnOnce(&mut Journal) -> Result<(), E>,
) -> Result<(), E> {
    let writing = dir.join(WRITING);
    remove(&writing)?;
    create_dir(&writing)?;
    write(&mut Journal::resume(&writing, id, SEGMENT_BYTES, 0)?)?;
    remove(&dir.join(NEW))?;
    rename(&writing, &dir.join(NEW))?;
    Ok(())
}

/// Finishes or undoes an exchange that was interrupted, in the directory of the log `id`.
pub(crate) fn settle(dir: &Path, id: LogId) -> io::Result<()> {
    remove(&dir.join(WRITING))?;
    match (log_of(&dir.join(JOURNAL)), log_of(&dir.join(NEW))) {
        (_, None) => Ok(()),
        (_, Some(new)) if new == id => finish(dir, id),
        // Never committed, and all of it but its newest event is in the journal.
        (Some(old), Some(_)) if old == id => remove(&dir.join(NEW)),
        // Nothing an exchange leaves. It harms nobody where it is.
        (_, Some(_)) => Ok(()),
    }
}

/// Puts a committed journal in its place.
pub(crate) fn finish(dir: &Path, id: LogId) -> io::Result<()> {
    STEPS.iter().try_for_each(|step| step(dir, id))
}

/// Each of these finds out by itself whether it was done. The last one is what the others were for: while `journal.new`
/// is there, something is left to do.
pub(crate) const STEPS: [fn(&Path, LogId) -> io::Result<()>; 3] = [clear_sled, set_aside, put_in_place];

/// Takes away the sled copy, which is rebuilt from the new journal. After a log that was whole, it is of no more use;
/// otherwise it may hold what nothing else does.
fn clear_sled(dir: &Path, id: LogId) -> io::Result<()> {
    let sled = dir.join(SLED);
    if !sled.exists() {
        return Ok(());
    }
    match predecessor(dir, id)? {
        Some(_) => remove(&sled),
        None => rename(&sled, &free_aside(&sled)),
    }
}

fn set_aside(dir: &Path, id: LogId) -> io::Result<()> {
    let journal = dir.join(JOURNAL);
    if !journal.exists() {
        return Ok(());
    }
    rename(&journal, &aside(dir, predecessor(dir, id)?))
}

fn put_in_place(dir: &Path, _: LogId) -> io::Result<()> {
    rename(&dir.join(NEW), &dir.join(JOURNAL))
}

/// The log that goes on as `id`, if it is another one's journal that `journal.new` takes the place of. None if it is a
/// damaged journal of the same log.
fn predecessor(dir: &Path, id: LogId) -> io::Result<Option<LogId>> {
    let journal = dir.join(JOURNAL);
    let mut ids = if journal.exists() { journal::identities(&journal)? } else { Vec::new() };
    ids.dedup();
    Ok(
        if let [old] = ids[..]
            && old != id
        {
            Some(old)
        } else {
            None
        },
    )
}

/// Where the old journal goes: under the name of its log, if that is another one.
pub(crate) fn aside(dir: &Path, old: Option<LogId>) -> PathBuf {
    match old.map(|old| dir.join(format!("{JOURNAL}.{old}"))) {
        Some(path) if !path.exists() => path,
        _ => free_aside(&dir.join(JOURNAL)),
    }
}

/// The log whose journal is in this directory, if there is one with a good header.
pub(crate) fn log_of(journal: &Path) -> Option<LogId> {
    JournalReader::open_read_only(journal).ok().map(|journal| journal.log_id())
}

/// All logs that the good headers in the directory's journals name.
pub(crate) fn journals(dir: &Path) -> io::Result<Vec<LogId>> {
    let mut ids = Vec::new();
    for journal in [JOURNAL, NEW].map(|name| dir.join(name)) {
        if journal.is_dir() {
            ids.extend(journal::identities(&journal)?);
        }
    }
    ids.sort();
    ids.dedup();
    Ok(ids)
}

fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to).map_err(at(from))?;
    sync_dir(from.parent().expect("everything here is in the data directory"))
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(path)(error)),
        _ => Ok(()),
    }
}
