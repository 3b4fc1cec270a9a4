//! The read model: rows in a sled database of its own, which may be deleted at will.

use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use lru::LruCache;
use tagtrail_domain::event::ImageRecorded;
use tagtrail_domain::state::Current;
use tagtrail_domain::{Digest, HistoryItem, Namespace, StreamKey, StreamState, TagName, Timestamp, World};
use tagtrail_event_log::codec::{self, DecodeError};
use tagtrail_event_log::{Log, ReadError};

use crate::keys;
use crate::rows::{self, HistoryRow, ImageRow, MetaRow, RequestRow, StreamRow, TagRow};
use crate::stage::{Changes, Stage};

/// How many events are read and applied at once while catching up.
const CATCH_UP_EVENTS: usize = 1_000;
const CATCH_UP_BYTES: usize = 4 << 20;
/// How many streams are kept decoded.
const CACHED_STREAMS: NonZeroUsize = NonZeroUsize::new(4_096).expect("not zero");
const SLED_CACHE_BYTES: u64 = 64 << 20;

/// The read model. One writer changes it; any number of readers look at any time.
///
/// Everything in it comes from the log. What does not fit the log (another version, another log, a position the log
/// has never reached, a file that does not open) is thrown away and rebuilt.
pub struct View {
    directory: PathBuf,
    rows: RwLock<Rows>,
    cache: Mutex<LruCache<StreamKey, Arc<StreamState>>>,
}

struct Rows {
    db: sled::Db,
    position: u64,
    recorded_at: Timestamp,
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

/// What a request id made before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastRequest {
    /// Sequence of the first event it made.
    pub first_sequence: u64,
    /// How many events it made.
    pub length: u32,
    /// SHA-256 of the request.
    pub digest: Vec<u8>,
}

impl From<RequestRow> for PastRequest {
    fn from(row: RequestRow) -> Self {
        Self { first_sequence: row.first_sequence, length: row.length, digest: row.digest }
    }
}

/// An image as the read model knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownImage {
    /// Its facts.
    pub image: ImageRecorded,
    /// When it was recorded.
    pub recorded_at: Timestamp,
    /// Sequence of the event that recorded it.
    pub sequence: u64,
}

impl View {
    /// Opens the read model in a directory of its own, or makes a new one. It may be behind the log: see
    /// [`View::catch_up`].
    ///
    /// # Errors
    /// [`ViewError::Database`] if not even a new one can be made.
    pub fn open(directory: &Path, log: &dyn Log) -> Result<(Self, Opened), ViewError> {
        let kept = if directory.exists() { Some(open_fitting(directory, log)) } else { None };
        let (rows, opened) = match kept {
            Some(Ok(rows)) => {
                let position = rows.position;
                (rows, Opened::Kept(position))
            }
            Some(Err(why)) => {
                std::fs::remove_dir_all(directory).map_err(|e| database(directory, &e))?;
                (open_new(directory, log)?, Opened::Discarded(why))
            }
            None => (open_new(directory, log)?, Opened::New),
        };
        let view = Self {
            directory: directory.to_owned(),
            rows: RwLock::new(rows),
            cache: Mutex::new(LruCache::new(CACHED_STREAMS)),
        };
        Ok((view, opened))
    }

    /// Applies what the log has and the rows have not, up to `until` (inclusive), in whole runs. `progress` hears how
    /// far it is.
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
            let events = log.read(self.position() + 1, CATCH_UP_EVENTS, CATCH_UP_BYTES)?;
            // Half a command is never shown, not even by a crash in the middle of catching up.
            let whole =
                events.iter().rposition(|event| event.last_of_run).map_or(events.len(), |last| last + 1);
            let mut stage = self.stage();
            for event in events.iter().take(whole).take_while(|event| event.sequence <= until) {
                let recorded = codec::decode(&event.payload)
                    .map_err(|source| ViewError::Event { sequence: event.sequence, source })?;
                stage.apply(&recorded, &event.payload);
            }
            let changes = stage.into_changes();
            if changes.last.is_none() {
                break;
            }
            self.commit_changes(changes, log)?;
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
        self.commit_changes(stage.into_changes(), log)
    }

    fn commit_changes(&self, changes: Changes, log: &dyn Log) -> Result<(), ViewError> {
        let Some(last) = changes.last else { return Ok(()) };
        let mut batch = sled::Batch::default();
        for (key, change) in changes.rows {
            match change {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        let meta = MetaRow {
            version: rows::VERSION,
            log_id: log.id().to_string(),
            position: last.sequence,
            checksum: last.checksum,
            recorded_at: last.recorded_at.into(),
        };
        batch.insert(keys::table(keys::META), rows::encode(&meta));
        let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        rows.db.apply_batch(batch).map_err(|e| database(&self.directory, &e))?;
        rows.position = last.sequence;
        rows.recorded_at = last.recorded_at;
        // Under the same lock, so that no reader can put an older state back into the cache.
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, state) in changes.streams {
            cache.put(key, state);
        }
        Ok(())
    }

    /// Everything up to this sequence is in the rows.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.rows().position
    }

    /// When the event at [`View::position`] was recorded.
    #[must_use]
    pub fn recorded_at(&self) -> Timestamp {
        self.rows().recorded_at
    }

    /// Writes what is still in memory. Without it nothing is lost; the next start only has more to catch up.
    ///
    /// # Errors
    /// [`ViewError::Database`].
    pub fn flush(&self) -> Result<(), ViewError> {
        let db = self.rows().db.clone();
        db.flush().map(|_| ()).map_err(|e| database(&self.directory, &e))
    }

    /// Puts a read model that was built beside this one in its place. The caller has stopped the writer.
    ///
    /// # Errors
    /// [`ViewError::Database`] if the directories cannot be exchanged; then this one stays.
    pub fn replace(&self, newer: Self) -> Result<(), ViewError> {
        let old_place = self.directory.with_extension("old");
        let fail = |e: std::io::Error| database(&self.directory, &e);
        newer.flush()?;
        let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        if old_place.exists() {
            std::fs::remove_dir_all(&old_place).map_err(fail)?;
        }
        std::fs::rename(&self.directory, &old_place).map_err(fail)?;
        std::fs::rename(&newer.directory, &self.directory).map_err(fail)?;
        *rows = newer.rows.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.cache.lock().unwrap_or_else(PoisonError::into_inner).clear();
        drop(rows);
        std::fs::remove_dir_all(&old_place).map_err(fail)
    }

    /// Deletes a read model that was only built to compare with.
    ///
    /// # Errors
    /// [`ViewError::Database`] if its directory cannot be deleted.
    pub fn discard(self) -> Result<(), ViewError> {
        let directory = self.directory.clone();
        drop(self);
        std::fs::remove_dir_all(&directory).map_err(|e| database(&directory, &e))
    }

    /// What differs between two read models at the same position, at most `limit` sentences, and how many rows were
    /// compared.
    #[must_use]
    pub fn compare(&self, other: &Self, limit: usize) -> (u64, Vec<String>) {
        let (ours, theirs) = (self.rows().db.clone(), other.rows().db.clone());
        let mut differences = Vec::new();
        let mut rows = 0;
        for (key, value) in ours.iter().flatten() {
            rows += 1;
            if theirs.get(&key).ok().flatten().as_ref() != Some(&value) && differences.len() < limit {
                differences
                    .push(format!("row {} differs from, or is missing in, the rebuilt one", show(&key)));
            }
        }
        for (key, _) in theirs.iter().flatten() {
            if ours.get(&key).ok().flatten().is_none() && differences.len() < limit {
                differences.push(format!("row {} is missing in the live one", show(&key)));
            }
        }
        (rows, differences)
    }

    /// The state of a stream's name.
    #[must_use]
    pub fn stream(&self, key: &StreamKey) -> Arc<StreamState> {
        let rows = self.rows();
        if let Some(state) = self.cache.lock().unwrap_or_else(PoisonError::into_inner).get(key) {
            return state.clone();
        }
        let state = Arc::new(read_stream(&rows.db, key));
        // `rows` is still held for reading: the writer cannot have moved on meanwhile.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner).put(key.clone(), state.clone());
        state
    }

    /// Living streams in order of namespace and name, after `after`, at most `limit`.
    #[must_use]
    pub fn list(
        &self,
        namespace: Option<&Namespace>,
        after: Option<&StreamKey>,
        limit: usize,
    ) -> Vec<StreamKey> {
        let prefix = match namespace {
            Some(namespace) => keys::namespace(keys::STREAM, namespace.as_str()),
            None => keys::table(keys::STREAM),
        };
        let start = match after {
            Some(key) => {
                let mut start = keys::stream(keys::STREAM, key);
                start.push(0xff);
                start.max(prefix.clone())
            }
            None => prefix.clone(),
        };
        let rows = self.rows();
        rows.db
            .range(start..)
            .map_while(Result::ok)
            .take_while(|(key, _)| key.starts_with(&prefix))
            .filter(|(_, value)| rows::decode::<StreamRow>(value).is_some_and(|row| row.life.is_some()))
            .filter_map(|(key, _)| stream_key(&key))
            .take(limit)
            .collect()
    }

    /// A tag's history as OpenShift shows it, newest first: at most `limit` items older than number `before` (items
    /// are numbered from 0, the oldest).
    #[must_use]
    pub fn history(&self, key: &StreamKey, tag: &TagName, before: u64, limit: usize) -> Vec<(u64, Current)> {
        let (from, to) = (keys::history(key, tag, 0), keys::history(key, tag, before));
        let rows = self.rows();
        rows.db
            .range(from..to)
            .rev()
            .map_while(Result::ok)
            .take(limit)
            .filter_map(|(key, value)| {
                Some((keys::number(&key), rows::decode::<HistoryRow>(&value)?.into_current()?))
            })
            .collect()
    }

    /// How many different images the history of a stream holds. All items without an image count as one, as
    /// OpenShift has it (spec §4.6).
    #[must_use]
    pub fn unique_images(&self, key: &StreamKey) -> u64 {
        let mut digests: Vec<String> = self
            .scan(&keys::stream(keys::STREAM_IMAGE, key))
            .filter_map(|(row, _)| keys::texts(&row).nth(2).map(str::to_owned))
            .collect();
        digests.dedup();
        digests.len() as u64
    }

    /// The images in the history of a stream whose digest starts with `prefix`: see [`World::find_image`].
    #[must_use]
    pub fn find_image(&self, key: &StreamKey, prefix: &str) -> Vec<(Digest, HistoryItem)> {
        self.stage().find_image(key, prefix)
    }

    /// All images in the history of a stream, once each.
    #[must_use]
    pub fn stream_images(&self, key: &StreamKey) -> Vec<Digest> {
        let mut digests: Vec<Digest> = self
            .scan(&keys::stream(keys::STREAM_IMAGE, key))
            .filter_map(|(row, _)| keys::texts(&row).nth(2).and_then(|text| Digest::parse(text).ok()))
            .collect();
        digests.dedup();
        digests
    }

    /// What is known of an image.
    #[must_use]
    pub fn image(&self, digest: &Digest) -> Option<KnownImage> {
        let row: ImageRow = rows::decode(&self.get(&keys::image(digest))?)?;
        let (recorded_at, sequence) = (row.recorded_at.into(), row.sequence);
        Some(KnownImage { image: row.into_image(digest.clone())?, recorded_at, sequence })
    }

    /// All images ever recorded, by digest, after `after`, at most `limit`.
    #[must_use]
    pub fn images(&self, after: Option<&Digest>, limit: usize) -> Vec<Digest> {
        let table = keys::table(keys::IMAGE);
        let start = after.map_or(table.clone(), |digest| {
            let mut start = keys::image(digest);
            start.push(0xff);
            start
        });
        let rows = self.rows();
        rows.db
            .range(start..)
            .keys()
            .map_while(Result::ok)
            .take_while(|key| key.starts_with(&table))
            .take(limit)
            .filter_map(|key| Digest::parse(keys::texts(&key).next()?).ok())
            .collect()
    }

    /// What a request id made before.
    #[must_use]
    pub fn request(&self, id: &str) -> Option<PastRequest> {
        self.get(&keys::request(id)).and_then(|row| rows::decode::<RequestRow>(&row)).map(Into::into)
    }

    /// Sequences of the events of a stream's name, from `from` on, at most `limit`.
    #[must_use]
    pub fn events_of(&self, key: &StreamKey, from: u64, limit: usize) -> Vec<u64> {
        let prefix = keys::stream(keys::STREAM_EVENT, key);
        let rows = self.rows();
        rows.db
            .range(keys::stream_event(key, from)..)
            .keys()
            .map_while(Result::ok)
            .take_while(|key| key.starts_with(&prefix))
            .take(limit)
            .map(|key| keys::number(&key))
            .collect()
    }

    /// Streams in which a tag waits for an import.
    #[must_use]
    pub fn pending(&self) -> Vec<StreamKey> {
        self.scan(&keys::table(keys::PENDING)).filter_map(|(key, _)| stream_key(&key)).collect()
    }

    /// Streams in which a tag is on the schedule.
    #[must_use]
    pub fn scheduled(&self) -> Vec<StreamKey> {
        self.scan(&keys::table(keys::SCHEDULED)).filter_map(|(key, _)| stream_key(&key)).collect()
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.rows().db.get(key).ok().flatten().map(|value| value.to_vec())
    }

    pub(crate) fn scan(&self, prefix: &[u8]) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> + use<> {
        self.rows()
            .db
            .scan_prefix(prefix)
            .map_while(Result::ok)
            .map(|(key, value)| (key.to_vec(), value.to_vec()))
    }

    fn rows(&self) -> std::sync::RwLockReadGuard<'_, Rows> {
        self.rows.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read_stream(db: &sled::Db, key: &StreamKey) -> StreamState {
    let row = db.get(keys::stream(keys::STREAM, key)).ok().flatten();
    let Some(row) = row.and_then(|row| rows::decode::<StreamRow>(&row)) else {
        return StreamState::default();
    };
    let mut life = row.life.map(rows::LifeRow::into_stream);
    if let Some(stream) = &mut life {
        for (row, value) in db.scan_prefix(keys::stream(keys::TAG, key)).map_while(Result::ok) {
            let tag = keys::texts(&row).nth(2).and_then(|text| TagName::parse(text).ok());
            let state = rows::decode::<TagRow>(&value).and_then(TagRow::into_state);
            let (tag, state) =
                tag.zip(state).expect("rows were written by this version, which the start checks");
            stream.tags.insert(tag, state);
        }
    }
    StreamState { revision: row.revision, sequence: row.sequence, life }
}

fn stream_key(row: &[u8]) -> Option<StreamKey> {
    let mut texts = keys::texts(row);
    StreamKey::parse(texts.next()?, texts.next()?).ok()
}

/// A key for people: the table's number and its texts.
fn show(key: &[u8]) -> String {
    let texts = String::from_utf8_lossy(key.get(1..).unwrap_or_default()).replace('\0', "/");
    format!("{}:{texts}", key.first().copied().unwrap_or_default())
}

/// Opens what is there, if it fits the log. The error says in words why it does not.
fn open_fitting(directory: &Path, log: &dyn Log) -> Result<Rows, String> {
    let db = open_sled(directory)?;
    let meta = db.get(keys::table(keys::META)).map_err(|e| e.to_string())?;
    let meta = meta.ok_or("it is empty")?;
    let meta: MetaRow = rows::decode(&meta).ok_or("its version is unknown")?;
    if meta.version != rows::VERSION {
        return Err(format!("it has version {}, this is version {}", meta.version, rows::VERSION));
    }
    if meta.log_id != log.id().to_string() {
        return Err(format!("it belongs to the log {}", meta.log_id));
    }
    if meta.position > log.head() {
        return Err(format!("it is at sequence {}, ahead of the log at {}", meta.position, log.head()));
    }
    if meta.position > 0 {
        let event = log.read(meta.position, 1, usize::MAX).map_err(|e| e.to_string())?;
        if event.first().map(|event| crc32c::crc32c(&event.payload)) != Some(meta.checksum) {
            return Err(format!("event {} of the log is not the one it was built from", meta.position));
        }
    }
    Ok(Rows { db, position: meta.position, recorded_at: meta.recorded_at.into() })
}

fn open_new(directory: &Path, log: &dyn Log) -> Result<Rows, ViewError> {
    let db = open_sled(directory).map_err(|e| database(directory, &e))?;
    let recorded_at = Timestamp::default();
    let meta = MetaRow {
        version: rows::VERSION,
        log_id: log.id().to_string(),
        position: 0,
        checksum: 0,
        recorded_at: recorded_at.into(),
    };
    db.insert(keys::table(keys::META), rows::encode(&meta)).map_err(|e| database(directory, &e))?;
    Ok(Rows { db, position: 0, recorded_at })
}

/// Sled panics on damage instead of telling, so it is opened where a panic is an answer.
fn open_sled(directory: &Path) -> Result<sled::Db, String> {
    let open =
        || sled::Config::new().path(directory).cache_capacity(SLED_CACHE_BYTES).flush_every_ms(None).open();
    match catch_unwind(AssertUnwindSafe(open)) {
        Ok(Ok(db)) => Ok(db),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("its file is damaged".to_owned()),
    }
}

fn database(directory: &Path, error: &impl ToString) -> ViewError {
    ViewError::Database { directory: directory.to_owned(), reason: error.to_string() }
}
