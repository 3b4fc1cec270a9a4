//! The log that serves: a journal, and an indexed copy in sled that every reader reads.
//!
//! One append, in this order:
//!
//! 1. the events go to the journal as one record, and `fdatasync` makes them durable: **the commit point**;
//! 2. one batch puts them into sled, atomic and not yet durable there;
//! 3. the head moves, and with it everybody who follows.
//!
//! Sled is synced now and then, and on close. What it lost of its end comes back from the journal when the log is
//! opened; and what the journal lost comes back from sled. Two formats, two code paths: no single fault takes both.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Mutex;

use tokio::sync::watch;

use crate::directory::DataDirectory;
use crate::journal::{self, Journal, JournalReader, ReadJournalError};
use crate::page::Page;
use crate::reserve::{NoRoom, Reserve};
use crate::{AppendError, Log, LogId, ReadError, Run, Stored, admit};

mod copy;
mod recovery;
mod report;
pub mod salvage;

use copy::{Damage, SledCopy};
pub use report::{Finding, OpenError, OpenReport};

/// Told while sled is being filled: how many events are done, of how many.
pub type Progress = Box<dyn FnMut(u64, u64) + Send>;

/// How a log is opened.
pub struct Options {
    /// The identity a new log gets: 128 random bits. Of no use where there is a log already.
    pub new_log_id: LogId,
    /// How large a segment of the journal grows, in bytes. Default: [`journal::SEGMENT_BYTES`].
    pub segment_bytes: u64,
    /// Sled's cache, in bytes. Default: 64 MiB.
    pub cache_bytes: u64,
    /// After how many events sled is synced; as many are read back from the journal after a kill, at about 100,000 a
    /// second. Default: 10,000.
    pub flush_every_events: u64,
    /// Compares the two copies event by event, instead of the newest ones and a sample. Default: false.
    pub compare_everything: bool,
    /// How much room is kept back on the disk, in bytes; as much has to be left beside it, or appends are refused as
    /// [`AppendError::Full`]. Default: 0, nothing is kept back.
    pub reserve_bytes: u64,
    /// Told while sled is being filled, which takes a second per 100,000 events.
    pub progress: Option<Progress>,
}

impl Options {
    /// The defaults, with the identity for a log that does not exist yet.
    pub fn new(new_log_id: LogId) -> Options {
        Options {
            new_log_id,
            segment_bytes: journal::SEGMENT_BYTES,
            cache_bytes: 64 * 1024 * 1024,
            flush_every_events: 10_000,
            compare_everything: false,
            reserve_bytes: 0,
            progress: None,
        }
    }
}

/// A log in a data directory. See the module's description.
pub struct SledLog {
    head: watch::Sender<u64>,
    writer: Mutex<Writer>,
    copy: SledCopy,
    flush_every_events: u64,
    /// Last, so that the directory is unlocked after everything in it is closed.
    directory: DataDirectory,
}

/// What only one append at a time may touch.
struct Writer {
    journal: Journal,
    reserve: Reserve,
    /// Events in sled that it has not been asked to sync.
    unflushed: u64,
    /// Why the log takes no more events.
    failed: Option<String>,
}

impl SledLog {
    /// Opens the log in this directory, or creates one where there is nothing yet.
    ///
    /// Both copies are checked and, where one lacks what the other has, mended; the report says so. Where neither
    /// has an acknowledged event, or the directory is not ours, opening refuses and changes nothing.
    pub fn open(dir: &Path, mut options: Options) -> Result<(SledLog, OpenReport), OpenError> {
        let directory = DataDirectory::take(dir, options.new_log_id)?;
        // First: on a full disk it gives the room that opening sled needs.
        let reserve = Reserve::open(directory.path(), options.reserve_bytes);
        let recovered = recovery::recover(&directory, &mut options)?;
        let report = OpenReport {
            id: directory.log_id(),
            head: recovered.head,
            created: directory.created(),
            findings: recovered.findings,
        };
        let log = SledLog {
            head: watch::Sender::new(recovered.head),
            writer: Mutex::new(Writer { journal: recovered.journal, reserve, unflushed: 0, failed: None }),
            copy: recovered.copy,
            flush_every_events: options.flush_every_events,
            directory,
        };
        Ok((log, report))
    }

    /// Syncs sled and closes the log. Without it nothing is lost either; the next start only takes longer.
    pub fn close(self) -> io::Result<()> {
        self.copy.flush().map_err(io::Error::other)
    }

    /// Closes the log and keeps the directory locked.
    pub(crate) fn into_directory(self) -> DataDirectory {
        self.directory
    }

    /// Reads from the journal what sled could not give, and says so: in the service's log, and to the next start.
    fn read_journal(
        &self,
        damage: &Damage,
        from: u64,
        head: u64,
        mut page: Page,
    ) -> Result<Vec<Stored>, ReadError> {
        let Damage { sequence, reason } = damage;
        tracing::error!(
            sequence,
            reason,
            "sled is damaged; reading from the journal, which is slower: restart the service to rebuild sled"
        );
        if let Err(error) = File::create(self.directory.suspicion()).and_then(|file| file.sync_all()) {
            tracing::error!(%error, "could not note the damage for the next start");
        }
        let mut events = JournalReader::of(&self.directory.journal(), self.id()).events(from);
        for sequence in from..=head {
            let stored = match events.next() {
                Some(Ok(stored)) => stored,
                Some(Err(ReadJournalError::Io(error))) => return Err(ReadError::Io(error)),
                Some(Err(error)) => return Err(ReadError::Damaged { sequence, reason: error.to_string() }),
                None => {
                    let reason = "the journal ends before it".to_owned();
                    return Err(ReadError::Damaged { sequence, reason });
                }
            };
            if !page.take(stored) {
                break;
            }
        }
        Ok(page.into_events())
    }
}

impl Log for SledLog {
    fn id(&self) -> LogId {
        self.directory.log_id()
    }

    fn head(&self) -> u64 {
        *self.head.borrow()
    }

    fn append(&self, expected_head: u64, runs: &[Run]) -> Result<u64, AppendError> {
        let mut writer = match self.writer.lock() {
            Ok(writer) => writer,
            Err(_) => return Err(AppendError::Poisoned { reason: "a thread panicked in it".to_owned() }),
        };
        if let Some(reason) = &writer.failed {
            return Err(AppendError::Poisoned { reason: reason.clone() });
        }
        let head = self.head();
        let events = admit(head, expected_head, runs)?;
        if events.is_empty() {
            return Ok(head);
        }
        let new_head = head + events.len() as u64;
        writer.reserve.room().map_err(|NoRoom { left, needed }| AppendError::Full { left, needed })?;

        let journaled = events.iter().map(|(last_of_run, payload)| (*last_of_run, &payload[..]));
        if let Err(error) = writer.journal.append(journaled) {
            return Err(writer.fail(format!("the journal: {error}")));
        }
        // The commit point is behind us: it has happened, whatever fails from here on.
        let copied =
            (head + 1..).zip(&events).map(|(n, (last_of_run, payload))| (n, *last_of_run, &payload[..]));
        if let Err(reason) = self.copy.insert(copied) {
            return Err(writer.fail(format!("sled: {reason}")));
        }
        // Only now may anybody hear of it.
        self.head.send_replace(new_head);

        writer.unflushed += events.len() as u64;
        if writer.unflushed >= self.flush_every_events {
            writer.unflushed = 0;
            if let Err(reason) = self.copy.flush() {
                // These events are safe in the journal; the next ones are not taken.
                writer.fail(format!("sled: {reason}"));
            }
        }
        Ok(new_head)
    }

    fn read(&self, from: u64, max_events: usize, max_bytes: usize) -> Result<Vec<Stored>, ReadError> {
        let (from, head) = (from.max(1), self.head());
        if from > head {
            return Ok(Vec::new());
        }
        let mut page = Page::new(max_events, max_bytes);
        match self.copy.read(from, head, &mut page) {
            Ok(()) => Ok(page.into_events()),
            Err(damage) => self.read_journal(&damage, from, head, Page::new(max_events, max_bytes)),
        }
    }

    fn follow(&self) -> watch::Receiver<u64> {
        self.head.subscribe()
    }
}

impl Writer {
    /// Takes no more events: what is on the disk is only known after it has been read again.
    fn fail(&mut self, reason: String) -> AppendError {
        self.failed = Some(reason.clone());
        AppendError::Uncertain { reason }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::conformance;

    const ID: LogId = LogId::from_bytes([9; 16]);

    #[test]
    fn conforms() {
        conformance::check(|| {
            let dir = tempfile::tempdir().unwrap();
            move || SledLog::open(dir.path(), Options::new(ID)).unwrap().0
        });
    }

    fn events(log: &SledLog) -> Vec<Bytes> {
        log.read(1, 100, 1000).unwrap().into_iter().map(|event| event.payload).collect()
    }

    fn three_events(dir: &Path) -> SledLog {
        let (log, _) = SledLog::open(dir, Options::new(ID)).unwrap();
        log.append(0, &[vec!["a".into(), "b".into()], vec!["c".into()]]).unwrap();
        log
    }

    #[test]
    fn after_a_failed_sync_nothing_more_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let log = three_events(dir.path());
        let follower = log.follow();
        log.writer.lock().unwrap().journal.break_disk();
        let error = log.append(3, &[vec!["d".into()]]).unwrap_err();
        assert!(matches!(error, AppendError::Uncertain { .. }), "{error}");
        // Not even with a disk that works again: what the failed sync lost is lost.
        let error = log.append(3, &[vec!["d".into()]]).unwrap_err();
        assert!(matches!(error, AppendError::Poisoned { .. }), "{error}");
        assert_eq!((log.head(), follower.has_changed().unwrap()), (3, false), "nobody heard of it");
        assert_eq!(events(&log), ["a", "b", "c"]);
        drop(log);
        let (log, _) = SledLog::open(dir.path(), Options::new(ID)).unwrap();
        assert_eq!(log.append(3, &[vec!["d".into()]]).unwrap(), 4);
    }

    #[test]
    fn a_full_disk_refuses_and_breaks_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let log = three_events(dir.path());
        log.writer.lock().unwrap().reserve.ask_for(1 << 62);
        for _ in 0..2 {
            let error = log.append(3, &[vec!["d".into()]]).unwrap_err();
            assert!(matches!(error, AppendError::Full { .. }), "{error}");
        }
        assert_eq!((log.head(), events(&log).len()), (3, 3));
        log.writer.lock().unwrap().reserve.ask_for(4096);
        assert_eq!(log.append(3, &[vec!["d".into()]]).unwrap(), 4);
    }

    /// Readers get the truth from the journal meanwhile; the next start looks at everything and rebuilds sled.
    #[test]
    fn damage_met_while_serving_is_mended_at_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let log = three_events(dir.path());
        log.copy.spoil(2);
        assert_eq!(log.read(1, 1, 1000).unwrap().len(), 1, "what comes before is read as ever");
        assert!(!log.directory.suspicion().exists());
        assert_eq!(events(&log), ["a", "b", "c"]);
        assert!(log.directory.suspicion().exists());
        log.close().unwrap();

        let (log, report) = SledLog::open(dir.path(), Options::new(ID)).unwrap();
        assert!(report.to_string().contains("sled could not be used (event 2: "), "{report}");
        assert_eq!(events(&log), ["a", "b", "c"]);
        assert!(!log.directory.suspicion().exists());
    }

    #[test]
    fn a_rebuild_tells_its_progress() {
        let dir = tempfile::tempdir().unwrap();
        let log = three_events(dir.path());
        let sled = log.directory.sled();
        log.close().unwrap();
        std::fs::remove_dir_all(sled).unwrap();
        let (sender, told) = std::sync::mpsc::channel();
        let progress: Progress = Box::new(move |done, of| sender.send((done, of)).unwrap());
        SledLog::open(dir.path(), Options { progress: Some(progress), ..Options::new(ID) }).unwrap();
        assert_eq!(told.into_iter().last(), Some((3, 3)));
    }

    /// With small segments and a sync of sled at every turn, every boundary is crossed.
    #[test]
    fn conforms_in_small_steps() {
        conformance::check(|| {
            let dir = tempfile::tempdir().unwrap();
            move || {
                let options = Options { segment_bytes: 200, flush_every_events: 3, ..Options::new(ID) };
                SledLog::open(dir.path(), options).unwrap().0
            }
        });
    }
}
