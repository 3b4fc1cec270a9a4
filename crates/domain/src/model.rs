//! The state of all streams in memory, with every history whole: what a log means. Tests compare with it; an
//! audit rebuilds it; looking at the past folds a stream's own events into it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::apply::{Position, apply};
use crate::decide::World;
use crate::digest::Digest;
use crate::event::{Event, Fact, HistoryChange};
use crate::names::{StreamKey, TagName};
use crate::state::{Current, HistoryItem, StreamState};

/// The state of all streams, with every history whole.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Model {
    streams: BTreeMap<StreamKey, Arc<StreamState>>,
    histories: BTreeMap<StreamKey, BTreeMap<TagName, Vec<Current>>>,
    images: BTreeSet<Digest>,
}

impl Model {
    /// The model after an event of the stream `key`.
    pub fn apply(&mut self, key: &StreamKey, event: &Event, at: Position) {
        let state = self.streams.remove(key).map(Arc::unwrap_or_clone).unwrap_or_default();
        self.streams.insert(key.clone(), Arc::new(apply(state, event, at)));
        let histories = self.histories.entry(key.clone()).or_default();
        match &event.fact {
            Fact::TagMoved(moved) => {
                let items = histories.entry(moved.tag.clone()).or_default();
                if moved.change != HistoryChange::Added {
                    items.pop();
                }
                items.push(Current { item: moved.item.clone(), sequence: at.sequence });
            }
            Fact::TagDeleted { tag, .. } => {
                histories.remove(tag);
            }
            Fact::StreamDeleted { .. } => histories.clear(),
            Fact::TagRestored(restored) => {
                let current = |item: &HistoryItem| Current { item: item.clone(), sequence: at.sequence };
                histories.insert(restored.tag.clone(), restored.items.iter().rev().map(current).collect());
            }
            Fact::ImageRecorded(image) => {
                self.images.insert(image.digest.clone());
            }
            Fact::StreamCreated { .. }
            | Fact::StreamMetadataSet { .. }
            | Fact::LookupPolicySet { .. }
            | Fact::TagSet { .. }
            | Fact::ImportFailed { .. }
            | Fact::FailureCleared { .. }
            | Fact::TagHeld { .. }
            | Fact::TagReleased { .. }
            | Fact::MoveWithheld(_)
            | Fact::ImportFinished(_)
            | Fact::RepositoryImportFailed { .. }
            | Fact::TestimonyTaken(_)
            | Fact::LogContinued(_) => {}
        }
    }

    /// All names that ever had an event, with their state.
    pub fn streams(&self) -> impl Iterator<Item = (&StreamKey, &StreamState)> {
        self.streams.iter().map(|(key, state)| (key, &**state))
    }

    /// A tag's history as OpenShift shows it, oldest first.
    #[must_use]
    pub fn history(&self, key: &StreamKey, tag: &TagName) -> &[Current] {
        self.histories.get(key).and_then(|tags| tags.get(tag)).map_or(&[], Vec::as_slice)
    }
}

impl World for Model {
    fn stream(&self, key: &StreamKey) -> Arc<StreamState> {
        self.streams.get(key).cloned().unwrap_or_default()
    }

    fn find_image(&self, key: &StreamKey, prefix: &str) -> Vec<(Digest, Current)> {
        let mut newest: BTreeMap<Digest, &Current> = BTreeMap::new();
        for current in self.histories.get(key).into_iter().flat_map(BTreeMap::values).flatten() {
            let Some(image) = current.item.image.as_ref().filter(|image| image.matches_prefix(prefix)) else {
                continue;
            };
            let best = newest.entry(image.clone()).or_insert(current);
            // Items that came back together have one sequence: the newest of them comes last.
            if best.sequence <= current.sequence {
                *best = current;
            }
        }
        newest.into_iter().map(|(digest, current)| (digest, current.clone())).collect()
    }

    fn knows_image(&self, digest: &Digest) -> bool {
        self.images.contains(digest)
    }
}
