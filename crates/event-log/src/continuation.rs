//! A log goes on under a new identity, with everything it has.
//!
//! A log must never sign two checkpoints of which neither goes on from the other. Once it has lost events that a
//! checkpoint covers, because it was restored from an older backup or salvaged, it cannot go on as itself: the events
//! to come would take the place of the lost ones. Under a new identity it can. All its events keep their bytes, their
//! sequences and their runs, so that its Merkle tree and its blobs stay as they are; one event more says which log
//! they come from, and why.
//!
//! | step | what happens                                                              | a kill after it leaves |
//! |-----:|---------------------------------------------------------------------------|------------------------|
//! |    1 | the journal is opened, and mended if it has to be                          | the old log            |
//! |    2 | it is written anew with the new event, as `journal.new`, and synced        | the old log            |
//! |    3 | `FORMAT` names the new identity: **the commit point**                      | the new log            |
//! |    4 | the old sled copy is removed; it is rebuilt when the log is opened         | the new log            |
//! |    5 | the old journal becomes `journal.<old identity>`, and is never touched again | the new log          |
//! |    6 | `journal.new` becomes `journal`                                            | the new log            |
//!
//! Whoever opens the directory next undoes steps 1 and 2, or does what is left of 4 to 6.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::directory::{self, DirectoryError, exchange};
use crate::journal::{Journal, JournalReader, ReadJournalError, Runs};
use crate::{AppendError, LogId, OpenError, OpenReport, Options, SledLog, admit};

/// What became of the log.
#[derive(Debug)]
pub struct Continued {
    /// The log that ended. What opening it found is here as well.
    pub old: OpenReport,
    /// The identity it goes on under.
    pub id: LogId,
    /// The sequence of the new event, which is the head.
    pub head: u64,
    /// Where the old journal is.
    pub old_journal: PathBuf,
}

/// Why a log does not go on under a new identity. It is the log it was, unless the disk failed: then it is one or the
/// other, and opening it tells which.
#[derive(Debug, thiserror::Error)]
pub enum ContinueError {
    /// There is nothing to go on from.
    #[error("there is no log in {}", dir.display())]
    NoLog {
        /// The directory that was given.
        dir: PathBuf,
    },
    /// The new identity is the old one.
    #[error("the log already is {0}: draw another identity")]
    SameIdentity(LogId),
    /// The event cannot be appended, or the log has gone on meanwhile.
    #[error(transparent)]
    Event(#[from] AppendError),
    /// The directory was not taken.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The log cannot be opened as it is.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The journal cannot be read to its end.
    #[error(transparent)]
    Journal(#[from] ReadJournalError),
    /// The disk did not answer.
    #[error("the log cannot go on under a new identity: {0}")]
    Io(#[from] io::Error),
}

/// Makes the log in this data directory go on as `new_id`, with `event` as the one after `expected_head`. Nobody may
/// have it open.
///
/// The event is for the caller to encode, who has looked at the log before; it is a run of its own.
pub fn continue_as(
    dir: &Path,
    new_id: LogId,
    expected_head: u64,
    event: Bytes,
) -> Result<Continued, ContinueError> {
    let Some(old_id) = directory::identity(dir)? else {
        return Err(ContinueError::NoLog { dir: dir.to_owned() });
    };
    if old_id == new_id {
        return Err(ContinueError::SameIdentity(new_id));
    }
    // Both copies are whole after this, and nobody else can come in between.
    let (log, old) = SledLog::open(dir, Options::new(new_id))?;
    let directory = log.into_directory();
    admit(old.head, expected_head, &[vec![event.clone()]])?;

    exchange::propose(dir, new_id, |journal| -> Result<(), ContinueError> {
        copy(&JournalReader::of(&directory.journal(), old.id), old.head, journal)?;
        Ok(journal.append([(true, &event[..])])?)
    })?;
    let old_journal = exchange::aside(dir, Some(old.id));
    // The commit point.
    directory::write_identity(dir, new_id)?;
    exchange::finish(dir, new_id)?;
    Ok(Continued { head: old.head + 1, old, id: new_id, old_journal })
}

/// Copies the events up to `head`. Their frames stay what they are; only the records around them name another log.
fn copy(from: &JournalReader, head: u64, to: &mut Journal) -> Result<(), ContinueError> {
    let mut runs = Runs::default();
    for stored in from.events(1) {
        if let Some(group) = runs.push(stored?) {
            to.append_stored(&group)?;
        }
    }
    to.append_stored(&runs.finish()?)?;
    if to.head() == head {
        Ok(())
    } else {
        Err(io::Error::other(format!("the journal ends with event {} instead of {head}", to.head())).into())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{Log, Stored};

    const OLD: LogId = LogId::from_bytes([1; 16]);
    const NEW: LogId = LogId::from_bytes([2; 16]);

    fn open(dir: &Path) -> (SledLog, OpenReport) {
        let options = Options { compare_everything: true, ..Options::new(LogId::from_bytes([9; 16])) };
        SledLog::open(dir, options).unwrap()
    }

    fn events(log: &SledLog) -> Vec<Stored> {
        log.read(1, usize::MAX, usize::MAX).unwrap()
    }

    /// A log of four events in two runs, closed.
    fn old_log(dir: &Path) -> Vec<Stored> {
        let (log, _) = SledLog::open(dir, Options::new(OLD)).unwrap();
        log.append(0, &[vec!["a".into(), "b".into(), "c".into()]]).unwrap();
        log.append(3, &[vec!["d".into()]]).unwrap();
        let events = events(&log);
        log.close().unwrap();
        events
    }

    fn goes_on(dir: &Path) -> Result<Continued, ContinueError> {
        continue_as(dir, NEW, 4, "it goes on".into())
    }

    /// Checks that a directory holds the new log, whole, and the old journal as it was.
    fn check_new(dir: &Path, old: &[Stored]) {
        let (log, _) = open(dir);
        let new = Stored { sequence: 5, last_of_run: true, payload: "it goes on".into() };
        assert_eq!((log.id(), events(&log)), (NEW, [old, &[new]].concat()));
        log.append(5, &[vec!["e".into()]]).unwrap();
        log.close().unwrap();
        let (_, report) = open(dir);
        assert_eq!((report.id, report.head, report.findings), (NEW, 6, vec![]));
        let aside = JournalReader::open_read_only(&dir.join(format!("journal.{OLD}"))).unwrap();
        assert_eq!(aside.log_id(), OLD);
        assert_eq!(aside.events(1).map(Result::unwrap).collect::<Vec<_>>(), old);
        for left in ["journal.new", "journal.writing", "FORMAT.new"] {
            assert!(!dir.join(left).exists(), "{left}");
        }
    }

    #[test]
    fn everything_stays_but_the_name() {
        let dir = tempfile::tempdir().unwrap();
        let old = old_log(dir.path());
        let continued = goes_on(dir.path()).unwrap();
        assert_eq!((continued.old.id, continued.old.head, continued.id, continued.head), (OLD, 4, NEW, 5));
        assert_eq!(continued.old_journal, dir.path().join(format!("journal.{OLD}")));
        check_new(dir.path(), &old);
    }

    #[test]
    fn it_can_happen_again() {
        let dir = tempfile::tempdir().unwrap();
        old_log(dir.path());
        goes_on(dir.path()).unwrap();
        let third = LogId::from_bytes([3; 16]);
        continue_as(dir.path(), third, 5, "again".into()).unwrap();
        let (log, _) = open(dir.path());
        assert_eq!((log.id(), log.head()), (third, 6));
    }

    /// The process is killed after each step in turn, and within the writing of the new journal.
    #[test]
    fn a_kill_leaves_the_old_log_or_the_new_one() {
        let killed_after = |step: usize| {
            let dir = tempfile::tempdir().unwrap();
            let old = old_log(dir.path());
            if step >= 2 {
                exchange::propose(dir.path(), NEW, |journal| {
                    copy(&JournalReader::of(&dir.path().join("journal"), OLD), 4, journal)?;
                    journal.append([(true, &b"it goes on"[..])]).map_err(ContinueError::from)
                })
                .unwrap();
            }
            if step >= 3 {
                directory::write_identity(dir.path(), NEW).unwrap();
            }
            exchange::STEPS.iter().take(step.saturating_sub(3)).for_each(|run| run(dir.path(), NEW).unwrap());
            (dir, old)
        };
        for step in 1..=6 {
            let (dir, old) = killed_after(step);
            if step < 3 {
                let (log, report) = open(dir.path());
                assert_eq!((log.id(), events(&log)), (OLD, old.clone()), "after step {step}");
                assert_eq!(report.findings, [], "after step {step}");
                assert!(!dir.path().join("journal.new").exists());
                drop(log);
                goes_on(dir.path()).unwrap();
            }
            check_new(dir.path(), &old);
        }

        let (whole, _) = killed_after(2);
        let segment = fs::read(whole.path().join("journal.new/00000000000000000001.seg")).unwrap();
        for cut in 0..segment.len() {
            let (dir, old) = killed_after(1);
            fs::create_dir(dir.path().join("journal.writing")).unwrap();
            fs::write(dir.path().join("journal.writing/00000000000000000001.seg"), &segment[..cut]).unwrap();
            let (log, report) = open(dir.path());
            assert_eq!((log.id(), report.findings, events(&log)), (OLD, vec![], old), "after {cut} bytes");
            assert!(!dir.path().join("journal.writing").exists());
        }
    }

    #[test]
    fn what_cannot_go_on_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let refused = |new_id, head, event: Vec<u8>| {
            continue_as(dir.path(), new_id, head, event.into()).unwrap_err().to_string()
        };
        assert_eq!(refused(NEW, 0, vec![]), format!("there is no log in {}", dir.path().display()));
        let old = old_log(dir.path());
        assert!(refused(OLD, 4, vec![]).starts_with("the log already is 01010101"));
        assert!(refused(NEW, 3, vec![]).starts_with("the log is at sequence 4, not 3"));
        assert!(
            refused(NEW, 4, vec![0; crate::MAX_PAYLOAD_BYTES + 1]).starts_with("an event of 61441 bytes")
        );
        let (log, report) = open(dir.path());
        assert_eq!((events(&log), report.findings), (old, vec![]));
        assert!(refused(NEW, 4, vec![]).contains("is in use by another process"));
    }
}
