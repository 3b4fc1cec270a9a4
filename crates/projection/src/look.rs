//! Questions about one stream, all answered from one moment.
//!
//! A stream's state and its histories are different rows. Read one after the other, a command could land in between,
//! and the answer would show half of it.

use std::sync::{Arc, RwLockReadGuard};

use tagtrail_domain::state::Current;
use tagtrail_domain::{Digest, StreamKey, StreamState, TagName};

use crate::keys;
use crate::rows::{self, HistoryRow, StreamRow, TagRow};
use crate::view::{Rows, View};

/// The rows at one moment. The writer waits while it lives, so it is not to be kept: build one answer and let go.
/// Meanwhile ask it, not the [`View`]: behind a writer that waits, a second look of the same thread would wait for the
/// first to end.
pub struct Look<'v> {
    pub(crate) view: &'v View,
    pub(crate) rows: RwLockReadGuard<'v, Rows>,
}

impl Look<'_> {
    /// The state of a stream's name.
    #[must_use]
    pub fn stream(&self, key: &StreamKey) -> Arc<StreamState> {
        if let Some(state) = self.view.cache().get(key) {
            return state;
        }
        let state = Arc::new(self.read_stream(key));
        // The rows are still held: the writer cannot have moved on meanwhile.
        self.view.cache().put(key.clone(), state.clone());
        state
    }

    fn read_stream(&self, key: &StreamKey) -> StreamState {
        let row = self.rows.db.get(keys::stream(keys::STREAM, key));
        let Some(row) = row.unwrap_or_else(|error| self.view.damaged(&error)) else {
            return StreamState::default();
        };
        let row: StreamRow = self.decode(&row, "a stream");
        let mut life = row.life.map(rows::LifeRow::into_stream);
        if let Some(stream) = &mut life {
            for entry in self.rows.db.scan_prefix(keys::stream(keys::TAG, key)) {
                let (row, value) = entry.unwrap_or_else(|error| self.view.damaged(&error));
                let tag = keys::texts(&row).nth(2).and_then(|text| TagName::parse(text).ok());
                let state = rows::decode::<TagRow>(&value).and_then(TagRow::into_state);
                let (tag, state) = tag.zip(state).unwrap_or_else(|| self.view.damaged(&"a tag"));
                stream.tags.insert(tag, Arc::new(state));
            }
        }
        StreamState { revision: row.revision, sequence: row.sequence, life }
    }

    /// A tag's history as OpenShift shows it, newest first: at most `limit` items older than number `before` (items
    /// are numbered from 0, the oldest).
    #[must_use]
    pub fn history(&self, key: &StreamKey, tag: &TagName, before: u64, limit: usize) -> Vec<(u64, Current)> {
        let (from, to) = (keys::history(key, tag, 0), keys::history(key, tag, before));
        let item = |entry: sled::Result<(sled::IVec, sled::IVec)>| {
            let (key, value) = entry.unwrap_or_else(|error| self.view.damaged(&error));
            let current = self.decode::<HistoryRow>(&value, "a history item").into_current();
            (keys::number(&key), current.unwrap_or_else(|| self.view.damaged(&"a history item")))
        };
        self.rows.db.range(from..to).rev().take(limit).map(item).collect()
    }

    /// How many different images the history of a stream holds. All items without an image count as one, as
    /// OpenShift has it (spec §4.6).
    #[must_use]
    pub fn unique_images(&self, key: &StreamKey) -> u64 {
        let (mut count, mut last) = (0, None);
        for row in self.rows.db.scan_prefix(keys::stream(keys::STREAM_IMAGE, key)).keys() {
            let row = row.unwrap_or_else(|error| self.view.damaged(&error));
            let image = keys::texts(&row).nth(2).map(str::to_owned);
            if image != last {
                (count, last) = (count + 1, image);
            }
        }
        count
    }

    /// All images in the history of a stream, once each.
    #[must_use]
    pub fn stream_images(&self, key: &StreamKey) -> Vec<Digest> {
        let rows = self.rows.db.scan_prefix(keys::stream(keys::STREAM_IMAGE, key)).keys();
        let rows = rows.map(|row| row.unwrap_or_else(|error| self.view.damaged(&error)));
        let mut digests: Vec<Digest> = rows
            .filter_map(|row| keys::texts(&row).nth(2).and_then(|text| Digest::parse(text).ok()))
            .collect();
        digests.dedup();
        digests
    }

    fn decode<T: for<'a> serde::Deserialize<'a>>(&self, row: &[u8], what: &str) -> T {
        rows::decode(row).unwrap_or_else(|| self.view.damaged(&what))
    }
}
