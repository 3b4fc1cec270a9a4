//! Questions about one stream, all answered from one moment.
//!
//! A stream's state and its histories are different rows. Read one after the other, a command could land in between,
//! and the answer would show half of it.

use std::ops::Bound;
use std::sync::{Arc, RwLockReadGuard};

use sled::IVec;
use tagtrail_domain::state::Current;
use tagtrail_domain::{Digest, StreamKey, StreamState, TagName};

use crate::keys;
use crate::rows::{self, HistoryRow};
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
        let row = self.rows.table.get(&keys::stream(keys::STREAM, key));
        let Some(row) = row.unwrap_or_else(|error| self.view.damaged(&error)) else {
            return StreamState::default();
        };
        let rows = self.rows.table.scan(&keys::stream(keys::TAG, key));
        let tags = self.view.read(rows).map(|(row, value)| {
            let tag = keys::texts(&row).nth(2).and_then(|text| TagName::parse(text).ok());
            (tag.unwrap_or_else(|| self.view.damaged(&"a tag")), value)
        });
        self.view.state_of(&row, tags)
    }

    /// A tag's history as OpenShift shows it, newest first: at most `limit` items older than number `before` (items
    /// are numbered from 0, the oldest).
    #[must_use]
    pub fn history(&self, key: &StreamKey, tag: &TagName, before: u64, limit: usize) -> Vec<(u64, Current)> {
        let (from, to) = (keys::history(key, tag, 0), keys::history(key, tag, before));
        let rows = self.rows.table.range_back(from, Bound::Excluded(to));
        let item = |(key, value): (IVec, IVec)| {
            let current = self.decode::<HistoryRow>(&value, "a history item").into_current();
            (keys::number(&key), current.unwrap_or_else(|| self.view.damaged(&"a history item")))
        };
        self.view.read(rows).take(limit).map(item).collect()
    }

    /// How many different images the history of a stream holds. All items without an image count as one, as
    /// OpenShift has it (spec §4.6).
    #[must_use]
    pub fn unique_images(&self, key: &StreamKey) -> u64 {
        self.view.images_in(&self.rows.table, key, self.stream(key).sequence)
    }

    /// All images in the history of a stream, once each.
    #[must_use]
    pub fn stream_images(&self, key: &StreamKey) -> Vec<Digest> {
        let rows = self.view.read(self.rows.table.scan(&keys::stream(keys::STREAM_IMAGE, key)));
        let mut digests: Vec<Digest> = rows
            .filter_map(|(row, _)| keys::texts(&row).nth(2).and_then(|text| Digest::parse(text).ok()))
            .collect();
        digests.dedup();
        digests
    }

    fn decode<T: for<'a> serde::Deserialize<'a>>(&self, row: &[u8], what: &str) -> T {
        rows::decode(row).unwrap_or_else(|| self.view.damaged(&what))
    }
}
