//! Changes to the rows that are not yet there: what a batch of commands has decided so far.
//!
//! Reads go through to the rows below, so each command is decided on what the ones before it in the same batch
//! have made of the world. When the events are durable, all changes become rows in one atomic batch; if they never
//! become durable, the stage is dropped and nothing has happened.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use sled::IVec;
use tagtrail_domain::check;
use tagtrail_domain::event::{HistoryChange, TagMoved, TagRestored};
use tagtrail_domain::state::Current;
use tagtrail_domain::{
    Digest, Fact, Position, Recorded, StreamKey, StreamState, TagName, TagState, World, apply,
};

use crate::keys;
use crate::rows::{self, HistoryRow, ImageRow, RequestRow, StreamRow, TagRow};
use crate::table::Layer;
use crate::view::View;

/// After how many events of a stream it is kept as it is, at least. With more tags it is kept less often, so that an event never
/// costs more than an eighth of a row.
const SNAPSHOT_EVENTS: u64 = 256;

/// What the rows would be after some more events.
pub struct Stage<'v> {
    view: &'v View,
    /// `None`: the row is to go.
    changes: Layer,
    /// The streams touched, decoded.
    streams: BTreeMap<StreamKey, Arc<StreamState>>,
    /// How many different images the history of the stream at hand holds.
    images: u64,
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
    pub(crate) rows: Layer,
    pub(crate) streams: BTreeMap<StreamKey, Arc<StreamState>>,
    pub(crate) last: Option<Last>,
}

impl<'v> Stage<'v> {
    pub(crate) fn new(view: &'v View) -> Self {
        Self { view, changes: Layer::new(), streams: BTreeMap::new(), images: 0, last: None }
    }

    pub(crate) fn into_changes(mut self) -> Changes {
        // Once for all of its events: it looks at every tag.
        for (key, state) in std::mem::take(&mut self.streams) {
            self.write_work(&key, &state);
            self.streams.insert(key, state);
        }
        Changes { rows: self.changes, streams: self.streams, last: self.last }
    }

    /// Takes one more event into account. `stored` are its bytes as the log keeps them.
    pub fn apply(&mut self, recorded: &Recorded, stored: &[u8]) {
        let key = &recorded.stream;
        let position = Position { sequence: recorded.sequence, recorded_at: recorded.recorded_at };
        let before = self.streams.remove(key).unwrap_or_else(|| self.view.stream(key));
        let gone: Vec<(TagName, Option<Digest>)> = match (&recorded.event.fact, &before.life) {
            (Fact::StreamDeleted { .. }, Some(stream)) => {
                stream.tags.iter().map(|(tag, state)| (tag.clone(), pointed_to(state).cloned())).collect()
            }
            _ => Vec::new(),
        };
        self.images = self.images_after(key, before.sequence);
        let after = Arc::new(apply(Arc::unwrap_or_clone(before), &recorded.event, position));
        self.streams.insert(key.clone(), after.clone());

        let life = after.life.as_ref();
        let row =
            StreamRow { revision: after.revision, sequence: after.sequence, life: life.map(Into::into) };
        let row = rows::encode(&row);
        self.put(keys::stream(keys::STREAM, key), row.clone());
        if let Some(tag) = recorded.event.fact.tag() {
            self.put(keys::tag_event(key, tag, recorded.sequence), Vec::new());
        }
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
                for (tag, image) in &gone {
                    self.put(keys::tag_event(key, tag, recorded.sequence), Vec::new());
                    self.write_span(key, tag, image.as_ref(), None, recorded.sequence);
                    self.remove_rows_of_tag(key, tag);
                }
                // Not counted down: many tags may have the same image, and each would look for the others.
                self.images = 0;
            }
            Fact::TagDeleted { tag, last, .. } => {
                let image = last.as_ref().and_then(|item| item.image.as_ref());
                self.write_span(key, tag, image, None, recorded.sequence);
                self.remove_tag(key, tag);
            }
            Fact::TagMoved(moved) => {
                let before = moved.previous.as_ref().and_then(|item| item.image.as_ref());
                self.write_span(key, &moved.tag, before, moved.item.image.as_ref(), recorded.sequence);
                self.write_history(key, moved, &after, recorded.sequence);
                self.write_tag(key, &moved.tag, &after);
            }
            Fact::TagRestored(restored) => {
                let image = restored.items.first().and_then(|item| item.image.as_ref());
                self.write_span(key, &restored.tag, None, image, recorded.sequence);
                self.write_whole_history(key, restored, recorded.sequence);
                self.write_tag(key, &restored.tag, &after);
            }
            Fact::TagSet { tag, .. }
            | Fact::ImportFailed { tag, .. }
            | Fact::FailureCleared { tag }
            | Fact::TagHeld { tag, .. }
            | Fact::TagReleased { tag, .. } => self.write_tag(key, tag, &after),
            Fact::MoveWithheld(withheld) => self.write_tag(key, &withheld.tag, &after),
            Fact::ImageRecorded(image) => {
                for manifest in &image.manifests {
                    self.put(keys::index(manifest, &image.digest), Vec::new());
                }
                let row = ImageRow::new(image, recorded.recorded_at, recorded.sequence);
                self.put(keys::image(&image.digest), rows::encode(&row));
            }
            Fact::StreamCreated { .. }
            | Fact::StreamMetadataSet { .. }
            | Fact::LookupPolicySet { .. }
            | Fact::ImportFinished(_)
            | Fact::RepositoryImportFailed { .. }
            | Fact::TestimonyTaken(_)
            | Fact::LogContinued(_) => {}
        }
        self.put(keys::stream_event(key, recorded.sequence), rows::encode(&self.images));
        self.write_snapshot(key, &after, row);
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
                    match edited.older {
                        Some(number) => self.put_image(key, lost, tag, number),
                        None => self.remove_image(key, lost, tag),
                    }
                }
                self.get(&index).map(|number| self.view.decode(&number, "an image's place"))
            }
        };
        let current = Current { item: moved.item.clone(), sequence };
        let mut row = HistoryRow::from(&current);
        row.older = older;
        self.put(place, rows::encode(&row));
        self.put_image(key, image, tag, newest);
    }

    /// The history of a tag that has none yet.
    fn write_whole_history(&mut self, key: &StreamKey, restored: &TagRestored, sequence: u64) {
        let tag = &restored.tag;
        let mut newest: BTreeMap<Option<&Digest>, u64> = BTreeMap::new();
        for (number, item) in (0..).zip(restored.items.iter().rev()) {
            let mut row = HistoryRow::from(&Current { item: item.clone(), sequence });
            row.older = newest.insert(item.image.as_ref(), number);
            self.put(keys::history(key, tag, number), rows::encode(&row));
        }
        for (image, number) in newest {
            self.put_image(key, image, tag, number);
        }
    }

    /// The newest item of a tag that has an image.
    fn put_image(&mut self, key: &StreamKey, image: Option<&Digest>, tag: &TagName, number: u64) {
        let row = keys::stream_image(key, image, tag);
        if self.get(&row).is_none() && !self.any(&keys::stream_images(key, image)) {
            self.images += 1;
        }
        self.put(row, rows::encode(&number));
    }

    /// No item of a tag has an image any more.
    fn remove_image(&mut self, key: &StreamKey, image: Option<&Digest>, tag: &TagName) {
        let row = keys::stream_image(key, image, tag);
        if self.get(&row).is_none() {
            return;
        }
        self.remove(row);
        if !self.any(&keys::stream_images(key, image)) {
            self.images -= 1;
        }
    }

    /// How many different images the history of a stream held right after one of its events.
    fn images_after(&self, key: &StreamKey, sequence: u64) -> u64 {
        if sequence == 0 {
            return 0;
        }
        let row = self.get(&keys::stream_event(key, sequence));
        let row = row.unwrap_or_else(|| self.view.damaged(&"an event of a stream is missing"));
        self.view.decode(&row, "an event of a stream")
    }

    /// Keeps the stream as it is, now and then, so that what it was need not be told from its first event on. When depends
    /// on nothing but its events: whoever builds these rows anew keeps the same.
    fn write_snapshot(&mut self, key: &StreamKey, after: &StreamState, row: Vec<u8>) {
        let tags = after.life.as_ref().map(|stream| &stream.tags);
        let count = tags.map_or(0, BTreeMap::len) as u64;
        if !after.revision.is_multiple_of((8 * count).next_power_of_two().max(SNAPSHOT_EVENTS)) {
            return;
        }
        self.put(keys::snapshot(key, after.sequence), row);
        for (tag, state) in tags.into_iter().flatten() {
            self.put(keys::snapshot_tag(key, after.sequence, tag), rows::encode(&TagRow::from(&**state)));
        }
    }

    /// A tag that pointed to the one image points to the other from now on.
    fn write_span(
        &mut self,
        key: &StreamKey,
        tag: &TagName,
        before: Option<&Digest>,
        after: Option<&Digest>,
        now: u64,
    ) {
        if before == after {
            return;
        }
        if let Some(before) = before {
            let lasting = keys::span(before, key, tag, keys::LASTS);
            let since = self.get(&lasting).unwrap_or_else(|| self.view.damaged(&"a span is missing"));
            let since: u64 = self.view.decode(&since, "a span");
            self.remove(lasting);
            self.put(keys::span(before, key, tag, since), rows::encode(&now));
        }
        if let Some(after) = after {
            self.put(keys::span(after, key, tag, keys::LASTS), rows::encode(&now));
        }
    }

    /// A tag goes, its history with it: that is how OpenShift shows a deletion. The events stay.
    fn remove_tag(&mut self, key: &StreamKey, tag: &TagName) {
        for image in self.remove_rows_of_tag(key, tag) {
            if !self.any(&keys::stream_images(key, image.as_ref())) {
                self.images -= 1;
            }
        }
    }

    /// The rows of a tag go. Gives the images that its history held.
    fn remove_rows_of_tag(&mut self, key: &StreamKey, tag: &TagName) -> BTreeSet<Option<Digest>> {
        let mut images = BTreeSet::new();
        for (row, value) in self.scan(&keys::tag(keys::HISTORY, key, tag)) {
            let image = self.current(&value).item.image;
            self.remove(keys::stream_image(key, image.as_ref(), tag));
            self.remove(row);
            images.insert(image);
        }
        self.remove(keys::tag(keys::TAG, key, tag));
        images
    }

    /// Notes whether there is work to do on the stream: what a restart has to go on with.
    fn write_work(&mut self, key: &StreamKey, after: &StreamState) {
        let tags = || after.life.iter().flat_map(|stream| stream.tags.values()).map(AsRef::as_ref);
        let pending = tags().any(tagtrail_domain::TagState::needs_import);
        let checked = tags().any(|tag| check::reason(tag).is_some());
        let expiring =
            tags().any(|tag| tag.hold.as_ref().is_some_and(|hold| hold.terms.expires_at.is_some()));
        for (table, there) in [(keys::PENDING, pending), (keys::CHECKED, checked), (keys::EXPIRING, expiring)]
        {
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
    fn get(&self, key: &[u8]) -> Option<IVec> {
        match self.changes.get(key) {
            Some(change) => change.clone(),
            None => self.view.get(key),
        }
    }

    /// All rows that start with `prefix`, in order.
    fn scan(&self, prefix: &[u8]) -> BTreeMap<IVec, IVec> {
        let mut found: BTreeMap<_, _> = self.view.scan(prefix).collect();
        for (key, change) in self
            .changes
            .range::<[u8], _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
        {
            match change {
                Some(value) => found.insert(key.clone(), value.clone()),
                None => found.remove(key),
            };
        }
        found
    }

    /// Whether there is a row that starts with `prefix`.
    fn any(&self, prefix: &[u8]) -> bool {
        let mut changed = self
            .changes
            .range::<[u8], _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix));
        changed.any(|(_, change)| change.is_some())
            || self.view.scan(prefix).any(|(key, _)| !self.changes.contains_key(&key))
    }

    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.changes.insert(key.into(), Some(value.into()));
    }

    fn remove(&mut self, key: impl Into<IVec>) {
        self.changes.insert(key.into(), None);
    }

    /// What a request id made before, in this batch or ever.
    #[must_use]
    pub fn request(&self, id: &str) -> Option<crate::questions::PastRequest> {
        self.get(&keys::request(id)).map(|row| self.view.decode::<RequestRow>(&row, "a request").into())
    }
}

fn pointed_to(state: &TagState) -> Option<&Digest> {
    state.current.as_ref()?.item.image.as_ref()
}

impl World for Stage<'_> {
    fn stream(&self, key: &StreamKey) -> Arc<StreamState> {
        self.streams.get(key).cloned().unwrap_or_else(|| self.view.stream(key))
    }

    fn find_image(&self, key: &StreamKey, prefix: &str) -> Vec<(Digest, Current)> {
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
        newest.into_iter().collect()
    }

    fn knows_image(&self, digest: &Digest) -> bool {
        self.get(&keys::image(digest)).is_some()
    }
}
