//! The indexed copy of the log: a sled database that can always be rebuilt from the journal.
//!
//! | tree     | key                       | value                                            |
//! |----------|---------------------------|--------------------------------------------------|
//! | `events` | sequence, big-endian u64  | a frame, see [`crate::frame`]                    |
//! | `meta`   | `log`                     | the log's identity, 16 bytes                     |
//! | `meta`   | `probe`                   | big-endian u64, one more at every start          |
//!
//! Sled panics where it meets damage, in opening as in reading, so nothing of it is called but from here, and
//! everything from here turns a panic into an error.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use sled::{Batch, Db, Tree};

use crate::durable::{self, NotInterposed};
use crate::page::Page;
use crate::{LogId, Stored, frame};

const LOG: &[u8] = b"log";
const PROBE: &[u8] = b"probe";

/// How long to wait for sled's own lock. We hold the directory, so its holder can only be an earlier handle of this
/// process that sled is still closing behind our back.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// Why the sled copy could not be opened.
#[derive(Debug)]
pub(crate) enum CopyError {
    /// It is damaged, empty or another log's: set it aside and rebuild.
    Unusable(String),
    /// The system refused, which says nothing about the file: it is to stay where it is.
    Refused(String),
}

/// The first event that could not be read.
#[derive(Debug)]
pub(crate) struct Damage {
    pub sequence: u64,
    pub reason: String,
}

/// The sled database, open.
pub(crate) struct SledCopy {
    db: Db,
    events: Tree,
    meta: Tree,
}

impl SledCopy {
    /// Makes an empty copy for this log.
    pub(crate) fn create(path: &Path, cache_bytes: u64, id: LogId) -> Result<SledCopy, CopyError> {
        let copy = SledCopy::open_any(path, cache_bytes)?;
        let marked = guarded(|| copy.meta.insert(LOG, id.as_bytes()).map(drop)).and_then(|()| copy.flush());
        marked.map(|()| copy).map_err(CopyError::Refused)
    }

    /// Opens the copy of this log.
    pub(crate) fn open(path: &Path, cache_bytes: u64, id: LogId) -> Result<SledCopy, CopyError> {
        let copy = SledCopy::open_any(path, cache_bytes)?;
        match guarded(|| copy.meta.get(LOG)) {
            Ok(Some(found)) if found == id.as_bytes() => Ok(copy),
            // Truncated in the wrong place, sled opens without a word and without contents.
            Ok(None) => Err(CopyError::Unusable("it opens, but empty".to_owned())),
            Ok(Some(_)) => Err(CopyError::Unusable("it belongs to another log".to_owned())),
            Err(reason) => Err(CopyError::Unusable(reason)),
        }
    }

    fn open_any(path: &Path, cache_bytes: u64) -> Result<SledCopy, CopyError> {
        let config = sled::Config::new().path(path).cache_capacity(cache_bytes).flush_every_ms(None);
        let open = || {
            let db = config.open()?;
            let (events, meta) = (db.open_tree("events")?, db.open_tree("meta")?);
            Ok(SledCopy { db, events, meta })
        };
        let deadline = Instant::now() + LOCK_PATIENCE;
        loop {
            match catch_unwind(AssertUnwindSafe(open)) {
                Ok(Ok(copy)) => return Ok(copy),
                Ok(Err(error)) if is_locked(&error) && Instant::now() < deadline => {
                    thread::sleep(Duration::from_millis(10));
                }
                Ok(Err(error)) if is_refusal(&error) => return Err(CopyError::Refused(error.to_string())),
                Ok(Err(error)) => return Err(CopyError::Unusable(error.to_string())),
                Err(panic) => return Err(CopyError::Unusable(panic_text(&*panic))),
            }
        }
    }

    /// Writes something and checks that it was synced through [`crate::durable`].
    pub(crate) fn prove_durable(&self) -> Result<Result<(), NotInterposed>, String> {
        guarded(|| {
            let last = self.meta.get(PROBE)?;
            let last = last.and_then(|value| value.as_ref().try_into().ok()).map_or(0, u64::from_be_bytes);
            // Another value every time: sled writes nothing for a value that is there already.
            self.meta.insert(PROBE, &last.wrapping_add(1).to_be_bytes()).map(drop)
        })?;
        let before = durable::syncs();
        self.flush()?;
        Ok(if durable::syncs() > before { Ok(()) } else { Err(NotInterposed) })
    }

    /// The newest sequence in the copy, 0 if there is none.
    pub(crate) fn head(&self) -> Result<u64, String> {
        let last = guarded(|| self.events.last())?;
        last.map_or(Ok(0), |(key, _)| sequence_of(&key))
    }

    /// Reads one event.
    pub(crate) fn get(&self, sequence: u64) -> Result<Stored, String> {
        let value = guarded(|| self.events.get(sequence.to_be_bytes()))?;
        decode(sequence, &value.ok_or_else(|| "it is missing".to_owned())?)
    }

    /// Reads events from `from` up to `head`, both at least 1, as far as the page takes them.
    pub(crate) fn read(&self, from: u64, head: u64, page: &mut Page) -> Result<(), Damage> {
        let range = from.to_be_bytes()..=head.to_be_bytes();
        let mut next = from;
        let read = guarded(|| {
            for entry in self.events.range(range) {
                if page.is_full() {
                    return Ok(Ok(true));
                }
                let (key, value) = entry?;
                let stored = match sequence_of(&key) {
                    Ok(sequence) if sequence == next => decode(next, &value),
                    _ => Err("it is missing".to_owned()),
                };
                match stored.map(|stored| page.take(stored)) {
                    Ok(true) => next += 1,
                    Ok(false) => return Ok(Ok(true)),
                    Err(reason) => return Ok(Err(reason)),
                }
            }
            Ok(Ok(next > head))
        });
        match read.and_then(|read| read) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Damage { sequence: next, reason: "it is missing".to_owned() }),
            Err(reason) => Err(Damage { sequence: next, reason }),
        }
    }

    /// Inserts events, all or none. Durable only after the next flush.
    pub(crate) fn insert<'a>(
        &self,
        events: impl Iterator<Item = (u64, bool, &'a [u8])>,
    ) -> Result<(), String> {
        let mut batch = Batch::default();
        for (sequence, last_of_run, payload) in events {
            let mut value = Vec::with_capacity(frame::HEADER_BYTES + payload.len());
            frame::encode(&mut value, sequence, last_of_run, payload);
            batch.insert(&sequence.to_be_bytes(), value);
        }
        guarded(|| self.events.apply_batch(batch))
    }

    /// Makes everything inserted so far durable.
    pub(crate) fn flush(&self) -> Result<(), String> {
        guarded(|| self.db.flush().map(drop))
    }

    /// Damages one event.
    #[cfg(test)]
    pub(crate) fn spoil(&self, sequence: u64) {
        self.events.insert(sequence.to_be_bytes(), &b"not a frame"[..]).unwrap();
    }

    /// Lets go of a damaged database, which may panic in closing as it may in anything else.
    pub(crate) fn abandon(self) {
        let _ = catch_unwind(AssertUnwindSafe(|| drop(self)));
    }
}

fn sequence_of(key: &[u8]) -> Result<u64, String> {
    key.try_into().map(u64::from_be_bytes).map_err(|_| format!("a key has {} bytes instead of 8", key.len()))
}

fn decode(sequence: u64, value: &[u8]) -> Result<Stored, String> {
    let stored = frame::decode(value).map_err(|error| error.to_string())?;
    if stored.sequence == sequence {
        Ok(stored)
    } else {
        Err(format!("event {} stands there", stored.sequence))
    }
}

/// Calls sled; a panic is an error like any other.
fn guarded<T>(call: impl FnOnce() -> sled::Result<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(panic) => Err(panic_text(&*panic)),
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    format!("sled gave up: {}", text.unwrap_or("it did not say why"))
}

fn is_locked(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(error) if error.to_string().starts_with("could not acquire lock"))
}

/// Errors that say something about the system and nothing about the file.
fn is_refusal(error: &sled::Error) -> bool {
    use std::io::ErrorKind::{OutOfMemory, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    match error {
        sled::Error::Io(io) => {
            is_locked(error)
                || matches!(
                    io.kind(),
                    OutOfMemory | PermissionDenied | QuotaExceeded | ReadOnlyFilesystem | StorageFull
                )
        }
        _ => false,
    }
}
