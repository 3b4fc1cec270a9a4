//! The read model: rows in a sled database of its own, which may be deleted at will.

use std::fs::{self, File};
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use sled::IVec;

use tagtrail_domain::Timestamp;
use tagtrail_event_log::codec::{self, DecodeError};
use tagtrail_event_log::{Log, ReadError, Stored};

use crate::cache::Cache;
use crate::keys;
use crate::rows::{self, MetaRow};
use crate::stage::Stage;
use crate::table::{self, Table};
use crate::writing::{self, Writing};

/// How many events are read and applied at once while catching up.
const CATCH_UP_EVENTS: usize = 1_000;
const CATCH_UP_BYTES: usize = 4 << 20;
/// After how many changed rows these are written down. A kill loses as many, and the next start applies their events again: that is
/// less than a second's work.
const WRITE_ROWS: usize = 20_000;
/// How many may wait while those before them are still being written. Then whoever commits waits too.
const WAITING_ROWS: usize = 5 * WRITE_ROWS;
const SLED_CACHE_BYTES: u64 = 64 << 20;
/// A file in the read model's own directory that says why it is not to be trusted. It goes when that goes.
const SUSPICION: &str = "SUSPECT";
/// How often, and after which pause, a locked database is tried again.
const LOCKED: (u32, Duration) = (100, Duration::from_millis(20));

/// The read model. One writer changes it; any number of readers look at any time.
///
/// Everything in it comes from the log. What does not fit the log (another version, another log, a position the log
/// has never reached, a file that does not open) is thrown away and rebuilt. So is, at the next start, what cannot be
/// read while it serves: whoever asked for it meets a panic, because neither an answer nor a decision may be made up.
pub struct View {
    directory: PathBuf,
    rows: Arc<RwLock<Rows>>,
    cache: Mutex<Cache>,
    /// Writes down what was committed a while ago.
    writing: Mutex<Option<JoinHandle<Result<(), String>>>>,
}

pub(crate) struct Rows {
    pub(crate) table: Table,
    /// What they are.
    meta: MetaRow,
}

/// What opening the read model found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// It fits the log, and goes on from this sequence.
    Kept(u64),
    /// There was none.
    New,
    /// It did not fit, and is rebuilt from the first event.
    Discarded(String),
}

/// Why the read model could not be brought up to the log.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// Its own database failed. It can be deleted: it will be rebuilt.
    #[error("the read model in {} failed: {reason}; stop the server and delete that directory, it is rebuilt from the log", directory.display())]
    Database {
        /// Where it stands.
        directory: PathBuf,
        /// What failed.
        reason: String,
    },
    /// The log could not be read.
    #[error(transparent)]
    Log(#[from] ReadError),
    /// An event is not one this version can read. A newer version has written it.
    #[error("event {sequence} cannot be understood: {source}; it was written by a newer version")]
    Event {
        /// Its sequence.
        sequence: u64,
        /// Why.
        source: DecodeError,
    },
}

impl View {
    /// Opens the read model in a directory of its own, or makes a new one. It may be behind the log: see
    /// [`View::catch_up`].
    ///
    /// # Errors
    /// [`ViewError::Database`] if somebody else has it open, or if not even a new one can be made.
    pub fn open(directory: &Path, log: &dyn Log) -> Result<(Self, Opened), ViewError> {
        let kept = if directory.exists() { Some(open_fitting(directory, log)) } else { None };
        let (rows, opened) = match kept {
            Some(Ok(rows)) => {
                let position = rows.meta.position;
                (rows, Opened::Kept(position))
            }
            Some(Err(in_use @ Misfit::InUse)) => return Err(database(directory, &in_use)),
            Some(Err(Misfit::Discard(why))) => {
                fs::remove_dir_all(directory).map_err(|e| database(directory, &e))?;
                (open_new(directory, log)?, Opened::Discarded(why))
            }
            None => (open_new(directory, log)?, Opened::New),
        };
        let view = Self {
            directory: directory.to_owned(),
            rows: Arc::new(RwLock::new(rows)),
            cache: Mutex::new(Cache::new()),
            writing: Mutex::new(None),
        };
        Ok((view, opened))
    }

    /// Applies what the log has and the rows have not, in whole runs, up to the end of the run that holds `until`.
    /// `progress` hears how far it is.
    ///
    /// # Errors
    /// [`ViewError`]; what was applied before stays.
    pub fn catch_up(
        &self,
        log: &dyn Log,
        until: u64,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), ViewError> {
        while self.position() < until {
            let mut events = whole_runs(log, self.position() + 1)?;
            if let Some(last) = events.iter().position(|event| event.last_of_run && event.sequence >= until) {
                events.truncate(last + 1);
            }
            if events.is_empty() {
                let next = self.position() + 1;
                if next > log.head() {
                    break;
                }
                let reason = "the log ends in the middle of a command".to_owned();
                return Err(ReadError::Damaged { sequence: next, reason }.into());
            }
            let mut stage = self.stage();
            for event in &events {
                let recorded = codec::decode(&event.payload)
                    .map_err(|source| ViewError::Event { sequence: event.sequence, source })?;
                stage.apply(&recorded, &event.payload);
            }
            self.commit(stage, log)?;
            progress(self.position());
        }
        Ok(())
    }

    /// Starts to collect changes.
    #[must_use]
    pub fn stage(&self) -> Stage<'_> {
        Stage::new(self)
    }

    /// Makes the changes of a stage rows, all at once. To be called only when their events are durable.
    ///
    /// # Errors
    /// [`ViewError::Database`]. The rows are then what they were; the log is ahead of them.
    pub fn commit(&self, stage: Stage<'_>, log: &dyn Log) -> Result<(), ViewError> {
        let changes = stage.into_changes();
        let Some(last) = changes.last else { return Ok(()) };
        let meta = MetaRow {
            version: rows::VERSION,
            log_id: log.id().to_string(),
            position: last.sequence,
            checksum: last.checksum,
            recorded_at: last.recorded_at.into(),
            whole: true,
        };
        let mut changed = changes.rows;
        changed.insert(keys::table(keys::META).into(), Some(rows::encode(&meta).into()));
        let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        rows.table.push(changed);
        rows.meta = meta;
        // Under the same lock, so that no reader can put an older state back into the cache.
        let mut cache = self.cache();
        for (key, state) in changes.streams {
            cache.put(key, state);
        }
        drop(cache);
        let waiting = rows.table.waiting();
        drop(rows);
        if waiting >= WRITE_ROWS { self.write_down(waiting >= WAITING_ROWS) } else { Ok(()) }
    }

    /// Begins to write down what waits, unless something is still being written; `patiently`: once that is done.
    fn write_down(&self, patiently: bool) -> Result<(), ViewError> {
        let mut writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = writing.take_if(|before| patiently || before.is_finished()) {
            self.written(before)?;
        }
        if writing.is_none() {
            let (work, rows) = (self.begin_writing(), self.rows.clone());
            let thread = thread::Builder::new().name("rows".into()).spawn(move || work.carry_out(&rows));
            *writing = Some(thread.map_err(|e| database(&self.directory, &e))?);
        }
        Ok(())
    }

    fn begin_writing(&self) -> Writing {
        let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        Writing { directory: self.directory.clone(), db: rows.table.db().clone(), layers: rows.table.leave() }
    }

    /// Waits for what is being written.
    fn written(&self, writing: JoinHandle<Result<(), String>>) -> Result<(), ViewError> {
        // sled panics on damage instead of telling.
        let written = writing.join().unwrap_or_else(|_| Err("writing it down broke off".into()));
        written.map_err(|reason| database(&self.directory, &reason))
    }

    /// Everything up to this sequence is in the rows.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.rows().meta.position
    }

    /// When the event at [`View::position`] was recorded.
    #[must_use]
    pub fn recorded_at(&self) -> Timestamp {
        self.rows().meta.recorded_at.into()
    }

    /// Writes down what is still in memory. Without it nothing is lost; the next start only has more to catch up.
    ///
    /// # Errors
    /// [`ViewError::Database`].
    pub fn flush(&self) -> Result<(), ViewError> {
        let mut writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = writing.take() {
            self.written(before)?;
        }
        let work = self.begin_writing();
        if work.layers.is_empty() {
            return Ok(());
        }
        work.carry_out(&self.rows).map_err(|reason| database(&self.directory, &reason))
    }

    /// Puts a read model that was built beside this one, up to the same event, in its place. The caller has stopped
    /// the writer.
    ///
    /// A crash in the middle leaves either of the two, or none, in the place of this one; none is built anew.
    ///
    /// # Errors
    /// [`ViewError::Database`] if the directories cannot be exchanged; then this one stays.
    pub fn replace(&self, newer: Self) -> Result<(), ViewError> {
        newer.flush()?;
        let (beside, meta) = (newer.directory.clone(), newer.rows().meta.clone());
        // Sled finds some of its files by the path it was opened at, so it is closed before that changes.
        drop(newer);
        let old_place = self.directory.with_extension("old");
        let fail = |e: std::io::Error| database(&self.directory, &e);
        let exchange = |newer: &Path, here: &Path, aside: &Path| {
            fs::rename(here, aside).map_err(fail)?;
            fs::rename(newer, here).map_err(|error| {
                fs::rename(aside, here).ok();
                fail(error)
            })
        };
        // Nothing writes to what is put aside.
        self.flush()?;
        let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        let (position, newest) = (rows.meta.position, meta.position);
        if position != newest {
            let reason = format!("it moved on to {position} while it was built anew to {newest}");
            return Err(database(&self.directory, &reason));
        }
        if old_place.exists() {
            fs::remove_dir_all(&old_place).map_err(fail)?;
        }
        exchange(&beside, &self.directory, &old_place)?;
        let db = match open_sled(&self.directory) {
            Ok(db) => db,
            Err(reason) => {
                exchange(&old_place, &self.directory, &beside)?;
                return Err(database(&self.directory, &reason));
            }
        };
        *rows = Rows { table: Table::new(db), meta };
        self.cache().clear();
        drop(rows);
        fs::remove_dir_all(&old_place).map_err(fail)
    }

    /// Notes that the rows are not to be trusted: the next start builds them anew.
    pub fn suspect(&self, why: &str) {
        let note = || {
            let mut file = File::create(self.directory.join(SUSPICION))?;
            file.write_all(why.as_bytes())?;
            file.sync_all()
        };
        if let Err(error) = note() {
            tracing::error!(%error, why, "could not note that the read model is damaged");
        }
    }

    /// A row that cannot be read. To go on would be to make things up.
    pub(crate) fn damaged(&self, why: &dyn std::fmt::Display) -> ! {
        tracing::error!(%why, "the read model is damaged");
        self.suspect(&format!("a row could not be read: {why}"));
        panic!("the read model is damaged ({why}); restart the server, and it is rebuilt from the log");
    }

    /// Deletes a read model that was only built to compare with.
    ///
    /// # Errors
    /// [`ViewError::Database`] if its directory cannot be deleted.
    pub fn discard(self) -> Result<(), ViewError> {
        let directory = self.directory.clone();
        drop(self);
        fs::remove_dir_all(&directory).map_err(|e| database(&directory, &e))
    }

    /// How many rows there are. Counts them.
    #[must_use]
    pub fn row_count(&self) -> u64 {
        self.scan(&[]).count() as u64
    }

    /// What differs between two read models at the same position, at most `limit` sentences, and how many rows were
    /// compared.
    #[must_use]
    pub fn compare(&self, other: &Self, limit: usize) -> (u64, Vec<String>) {
        let (ours, theirs) = (self.rows().table.clone(), other.rows().table.clone());
        let mut differences = Vec::new();
        let mut differs = |text: String| {
            if differences.len() < limit {
                differences.push(text);
            }
        };
        let mut rows = 0;
        let mut last = IVec::default();
        for row in ours.scan(&[]) {
            match row {
                // A damaged tree can lead in a circle: rows come in ascending order, or something is wrong.
                Ok((key, value)) if rows == 0 || key > last => {
                    rows += 1;
                    if !matches!(theirs.get(&key), Ok(Some(other)) if other == value) {
                        differs(format!(
                            "row {} differs from, or is missing in, the rebuilt one",
                            show(&key)
                        ));
                    }
                    last = key;
                }
                Ok((key, _)) => {
                    differs(format!("the live one is damaged: row {} comes twice", show(&key)));
                    return (rows, differences);
                }
                // sled would give the same error for ever.
                Err(error) => {
                    differs(format!("the live one is damaged: {error}"));
                    return (rows, differences);
                }
            }
        }
        for row in theirs.scan(&[]) {
            match row {
                Ok((key, _)) if matches!(ours.get(&key), Ok(Some(_))) => {}
                Ok((key, _)) => differs(format!("row {} is missing in the live one", show(&key))),
                Err(error) => {
                    differs(format!("the rebuilt one is damaged: {error}"));
                    return (rows, differences);
                }
            }
        }
        (rows, differences)
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<IVec> {
        let row = self.rows().table.get(key);
        row.unwrap_or_else(|error| self.damaged(&error))
    }

    pub(crate) fn scan(&self, prefix: &[u8]) -> impl Iterator<Item = (IVec, IVec)> + use<'_> {
        self.read(self.rows().table.scan(prefix))
    }

    /// Rows, or a panic where one cannot be read.
    pub(crate) fn read(&self, rows: table::Rows) -> impl Iterator<Item = (IVec, IVec)> + use<'_> {
        rows.map(|row| row.unwrap_or_else(|error| self.damaged(&error)))
    }

    pub(crate) fn decode<T: for<'a> serde::Deserialize<'a>>(&self, row: &[u8], what: &str) -> T {
        rows::decode(row).unwrap_or_else(|| self.damaged(&what))
    }

    /// Begins to write down, and stops after so many rows, as a kill would. Gives how many there were.
    #[cfg(test)]
    pub(crate) fn stop_writing_after(&self, rows: usize) -> usize {
        self.begin_writing().stop_after(rows)
    }

    /// Damages a row.
    #[cfg(test)]
    pub(crate) fn overwrite(&self, row: &[u8], value: &[u8]) {
        let mut rows = self.rows.write().expect("nobody fell over it");
        rows.table.push([(row.into(), Some(value.into()))].into());
        drop(rows);
        self.cache().clear();
    }

    pub(crate) fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn rows(&self) -> RwLockReadGuard<'_, Rows> {
        self.rows.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for View {
    /// Waits for what is being written, so that whoever opens the directory next finds it free.
    fn drop(&mut self) {
        let writing = self.writing.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Err(error)) = writing.map(|writing| self.written(writing)) {
            tracing::error!(%error, "the read model was not written down");
        }
    }
}

/// A page of events that ends where a run ends, however long the run is: half a command is never shown, not even by
/// a crash in the middle of catching up. One append bounds what one run may hold.
fn whole_runs(log: &dyn Log, from: u64) -> Result<Vec<Stored>, ReadError> {
    let mut events = log.read(from, CATCH_UP_EVENTS, CATCH_UP_BYTES)?;
    loop {
        if let Some(last) = events.iter().rposition(|event| event.last_of_run) {
            events.truncate(last + 1);
            return Ok(events);
        }
        let next = events.last().map_or(from, |event| event.sequence + 1);
        let more = log.read(next, CATCH_UP_EVENTS, CATCH_UP_BYTES)?;
        if more.is_empty() {
            return Ok(more);
        }
        events.extend(more);
    }
}

/// A key for people: the table's number and its texts.
fn show(key: &[u8]) -> String {
    let texts = String::from_utf8_lossy(key.get(1..).unwrap_or_default()).replace('\0', "/");
    format!("{}:{texts}", key.first().copied().unwrap_or_default())
}

/// Why what is there cannot be used.
enum Misfit {
    /// It may be well, and is not ours to delete.
    InUse,
    /// It does not fit the log; in words.
    Discard(String),
}

impl std::fmt::Display for Misfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::InUse => "somebody else has it open",
            Self::Discard(why) => why,
        })
    }
}

impl<T: Into<String>> From<T> for Misfit {
    fn from(why: T) -> Self {
        Self::Discard(why.into())
    }
}

/// Opens what is there, if it fits the log.
fn open_fitting(directory: &Path, log: &dyn Log) -> Result<Rows, Misfit> {
    if let Ok(why) = fs::read_to_string(directory.join(SUSPICION)) {
        return Err(format!("it was found to be damaged: {why}").into());
    }
    let db = open_sled(directory)?;
    writing::redo(directory, &db)?;
    let meta = writing::meta(&db)?;
    if meta.version != rows::VERSION {
        return Err(format!("it has version {}, this is version {}", meta.version, rows::VERSION).into());
    }
    if meta.log_id != log.id().to_string() {
        return Err(format!("it belongs to the log {}", meta.log_id).into());
    }
    if !meta.whole {
        return Err("it lost what was written last".into());
    }
    if meta.position > log.head() {
        return Err(format!("it is at sequence {}, ahead of the log at {}", meta.position, log.head()).into());
    }
    if meta.position > 0 {
        let event = log.read(meta.position, 1, usize::MAX).map_err(|e| e.to_string())?;
        if event.first().map(|event| crc32c::crc32c(&event.payload)) != Some(meta.checksum) {
            return Err(format!("event {} of the log is not the one it was built from", meta.position).into());
        }
    }
    Ok(Rows { table: Table::new(db), meta })
}

fn open_new(directory: &Path, log: &dyn Log) -> Result<Rows, ViewError> {
    let db = open_sled(directory).map_err(|e| database(directory, &e))?;
    let meta = MetaRow {
        version: rows::VERSION,
        log_id: log.id().to_string(),
        position: 0,
        checksum: 0,
        recorded_at: Timestamp::default().into(),
        whole: true,
    };
    writing::put_meta(&db, &meta).map_err(|e| database(directory, &e))?;
    // So that one that was killed before anything was written down is none that lost something.
    db.flush().map_err(|e| database(directory, &e))?;
    Ok(Rows { table: Table::new(db), meta })
}

/// Sled panics on damage instead of telling, so it is opened where a panic is an answer. It lets go of its lock only
/// some time after it was closed, so what this process had open a moment ago may need some patience.
fn open_sled(directory: &Path) -> Result<sled::Db, Misfit> {
    let open =
        || sled::Config::new().path(directory).cache_capacity(SLED_CACHE_BYTES).flush_every_ms(None).open();
    let (times, pause) = LOCKED;
    for _ in 0..times {
        match catch_unwind(AssertUnwindSafe(open)) {
            Ok(Ok(db)) => return Ok(db),
            Ok(Err(error)) if error.to_string().contains("could not acquire lock") => {
                std::thread::sleep(pause);
            }
            Ok(Err(error)) => return Err(error.to_string().into()),
            Err(_) => return Err("its file is damaged".into()),
        }
    }
    Err(Misfit::InUse)
}

fn database(directory: &Path, error: &impl ToString) -> ViewError {
    ViewError::Database { directory: directory.to_owned(), reason: error.to_string() }
}
