//! Changes to the rows that are not yet there: what a batch of commands has decided so far.
//!
//! Reads go through to the rows below, so each command is decided on what the ones before it in the same batch
//! have made of the world. When the events are durable, all changes become rows in one atomic batch; if they never
//! become durable, the stage is dropped and nothing has happened.

use std::collections::BTreeMap;
use std::sync::Arc;

use tagtrail_domain::check;
use tagtrail_domain::event::{HistoryChange, TagMoved};
use tagtrail_domain::state::Current;
use tagtrail_domain::{
    Digest, Fact, HistoryItem, Position, Recorded, StreamKey, StreamState, TagName, World, apply,
};

use crate::keys;
use crate::rows::{self, HistoryRow, ImageRow, RequestRow, StreamRow, TagRow};
use crate::view::View;

/// What the rows would be after some more events.
pub struct Stage<'v> {
    view: &'v View,
    /// `None`: the row is to go.
    changes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    /// The streams touched, decoded.
    streams: BTreeMap<StreamKey, Arc<StreamState>>,
    last: Option<Last>,
}

/// The last event of a stage.
#[derive(Clone, Copy)]
pub(crate) struct Last {
    pub(crate) sequence: u64,
    pub(crate) recorded_at: tagtrail_domain::Timestamp,
    /// Checksum of its stored bytes.
    pub(crate) checksum: u32,
}

pub(crate) struct Changes {
    pub(crate) rows: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    pub(crate) streams: BTreeMap<StreamKey, Arc<StreamState>>,
    pub(crate) last: Option<Last>,
}

impl<'v> Stage<'v> {
    pub(crate) fn new(view: &'v View) -> Self {
        Self { view, changes: BTreeMap::new(), streams: BTreeMap::new(), last: None }
    }

    pub(crate) fn into_changes(self) -> Changes {
        Changes { rows: self.changes, streams: self.streams, last: self.last }
    }

    /// Takes one more event into account. `stored` are its bytes as the log keeps them.
    pub fn apply(&mut self, recorded: &Recorded, stored: &[u8]) {
        let key = &recorded.stream;
        let position = Position { sequence: recorded.sequence, recorded_at: recorded.recorded_at };
        let before = self.streams.remove(key).unwrap_or_else(|| self.view.stream(key));
        let tags_before: Vec<TagName> = match (&recorded.event.fact, &before.life) {
            (Fact::StreamDeleted { .. }, Some(stream)) => stream.tags.keys().cloned().collect(),
            _ => Vec::new(),
        };
        let after = Arc::new(apply(Arc::unwrap_or_clone(before), &recorded.event, position));
        self.streams.insert(key.clone(), after.clone());

        let life = after.life.as_ref();
        let row =
            StreamRow { revision: after.revision, sequence: after.sequence, life: life.map(Into::into) };
        self.put(keys::stream(keys::STREAM, key), rows::encode(&row));
        self.put(keys::stream_event(key, recorded.sequence), Vec::new());
        if !recorded.request_id.is_empty() && recorded.sequence == recorded.run.first_sequence {
            let row = RequestRow {
                first_sequence: recorded.run.first_sequence,
                length: recorded.run.length,
                digest: recorded.request_digest.clone(),
            };
            self.put(keys::request(&recorded.request_id), rows::encode(&row));
        }
        match &recorded.event.fact {
            Fact::StreamDeleted { .. } => {
                for tag in &tags_before {
                    self.remove_tag(key, tag);
                }
            }
            Fact::TagDeleted { tag, .. } => self.remove_tag(key, tag),
            Fact::TagMoved(moved) => {
                self.write_history(key, moved, &after, recorded.sequence);
                self.write_tag(key, &moved.tag, &after);
            }
            Fact::TagSet { tag, .. } | Fact::ImportFailed { tag, .. } | Fact::FailureCleared { tag } => {
                self.write_tag(key, tag, &after);
            }
            Fact::ImageRecorded(image) => {
                let row = ImageRow::new(image, recorded.recorded_at, recorded.sequence);
                self.put(keys::image(&image.digest), rows::encode(&row));
            }
            Fact::StreamCreated { .. }
            | Fact::StreamMetadataSet { .. }
            | Fact::LookupPolicySet { .. }
            | Fact::ImportFinished(_)
            | Fact::RepositoryImportFailed { .. } => {}
        }
        self.write_work(key, &after);
        self.last = Some(Last {
            sequence: recorded.sequence,
            recorded_at: recorded.recorded_at,
            checksum: crc32c::crc32c(stored),
        });
    }

    fn write_tag(&mut self, key: &StreamKey, tag: &TagName, after: &StreamState) {
        let row = keys::tag(keys::TAG, key, tag);
        match after.life.as_ref().and_then(|stream| stream.tags.get(tag)) {
            Some(state) => self.put(row, rows::encode(&TagRow::from(&**state))),
            None => self.remove(row),
        }
    }

    fn write_history(&mut self, key: &StreamKey, moved: &TagMoved, after: &StreamState, sequence: u64) {
        let (tag, image) = (&moved.tag, moved.item.image.as_ref());
        let state = after.life.as_ref().and_then(|stream| stream.tags.get(tag));
        let newest = state.map_or(0, |state| state.history_length).saturating_sub(1);
        let place = keys::history(key, tag, newest);
        let index = keys::stream_image(key, image, tag);
        let edited: Option<HistoryRow> = match moved.change {
            HistoryChange::Added => None,
            HistoryChange::Replaced | HistoryChange::Renewed => {
                self.get(&place).map(|value| self.view.decode(&value, "a history item"))
            }
        };
        let lost =
            moved.previous.as_ref().map(|previous| previous.image.as_ref()).filter(|old| *old != image);
        let older = match (edited, lost) {
            (Some(edited), None) => edited.older,
            (edited, lost) => {
                // The newest item loses an image in place: the index goes back to the item below that has it.
                if let Some((edited, lost)) = edited.zip(lost) {
                    let index = keys::stream_image(key, lost, tag);
                    match edited.older {
                        Some(number) => self.put(index, rows::encode(&number)),
                        None => self.remove(index),
                    }
                }
                self.get(&index).map(|number| self.view.decode(&number, "an image's place"))
            }
        };
        let current = Current { item: moved.item.clone(), sequence };
        let mut row = HistoryRow::from(&current);
        row.older = older;
        self.put(place, rows::encode(&row));
        self.put(index, rows::encode(&newest));
    }

    /// The rows of a tag go, its history with it: that is how OpenShift shows a deletion. The events stay.
    fn remove_tag(&mut self, key: &StreamKey, tag: &TagName) {
        for (row, value) in self.scan(&keys::tag(keys::HISTORY, key, tag)) {
            let current = self.current(&value);
            self.remove(keys::stream_image(key, current.item.image.as_ref(), tag));
            self.remove(row);
        }
        self.remove(keys::tag(keys::TAG, key, tag));
    }

    /// Notes whether there is work to do on the stream: what a restart has to go on with.
    fn write_work(&mut self, key: &StreamKey, after: &StreamState) {
        let tags = || after.life.iter().flat_map(|stream| stream.tags.values()).map(AsRef::as_ref);
        let pending = tags().any(tagtrail_domain::TagState::needs_import);
        let checked = tags().any(|tag| check::reason(tag).is_some());
        for (table, there) in [(keys::PENDING, pending), (keys::CHECKED, checked)] {
            let row = keys::stream(table, key);
            if there {
                self.put(row, Vec::new());
            } else if self.get(&row).is_some() {
                self.remove(row);
            }
        }
    }

    /// The history item of a row, if there is such a row.
    fn item(&self, row: &[u8]) -> Option<Current> {
        self.get(row).map(|value| self.current(&value))
    }

    fn current(&self, value: &[u8]) -> Current {
        let row: HistoryRow = self.view.decode(value, "a history item");
        row.into_current().unwrap_or_else(|| self.view.damaged(&"a history item"))
    }

    /// A row, as this batch leaves it.
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        match self.changes.get(key) {
            Some(change) => change.clone(),
            None => self.view.get(key),
        }
    }

    /// All rows that start with `prefix`, in order.
    fn scan(&self, prefix: &[u8]) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let mut found: BTreeMap<_, _> = self.view.scan(prefix).collect();
        for (key, change) in
            self.changes.range(prefix.to_vec()..).take_while(|(key, _)| key.starts_with(prefix))
        {
            match change {
                Some(value) => found.insert(key.clone(), value.clone()),
                None => found.remove(key),
            };
        }
        found
    }

    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.changes.insert(key, Some(value));
    }

    fn remove(&mut self, key: Vec<u8>) {
        self.changes.insert(key, None);
    }

    /// What a request id made before, in this batch or ever.
    #[must_use]
    pub fn request(&self, id: &str) -> Option<crate::view::PastRequest> {
        self.get(&keys::request(id)).map(|row| self.view.decode::<RequestRow>(&row, "a request").into())
    }
}

impl World for Stage<'_> {
    fn stream(&self, key: &StreamKey) -> Arc<StreamState> {
        self.streams.get(key).cloned().unwrap_or_else(|| self.view.stream(key))
    }

    fn find_image(&self, key: &StreamKey, prefix: &str) -> Vec<(Digest, HistoryItem)> {
        let mut newest: BTreeMap<Digest, Current> = BTreeMap::new();
        // The rows are sorted by the whole text of the digest, so only those that match are read.
        for algorithm in ["", "sha256:", "sha384:", "sha512:"] {
            let mut start = keys::stream(keys::STREAM_IMAGE, key);
            start.extend(algorithm.bytes().chain(prefix.bytes()));
            for (row, number) in self.scan(&start) {
                let mut texts = keys::texts(&row).skip(2);
                let (Some(Ok(digest)), Some(Ok(tag))) =
                    (texts.next().map(Digest::parse), texts.next().map(TagName::parse))
                else {
                    continue; // A reference, which has no image.
                };
                let number = self.view.decode(&number, "an image's number");
                let Some(current) = self.item(&keys::history(key, &tag, number)) else {
                    self.view.damaged(&"a history item is missing")
                };
                if newest.get(&digest).is_none_or(|best| best.sequence < current.sequence) {
                    newest.insert(digest, current);
                }
            }
        }
        newest.retain(|digest, _| digest.matches_prefix(prefix));
        newest.into_iter().map(|(digest, current)| (digest, current.item)).collect()
    }

    fn knows_image(&self, digest: &Digest) -> bool {
        self.get(&keys::image(digest)).is_some()
    }
}
