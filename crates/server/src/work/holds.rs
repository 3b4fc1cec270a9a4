//! Holds that end by themselves.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tagtrail_domain::{Fact, Recorded, StreamKey, StreamState, TagName, Timestamp};
use tokio::sync::Notify;

/// The holds that end by themselves, and when.
#[derive(Default)]
pub(crate) struct Holds {
    ends: Mutex<BTreeMap<StreamKey, BTreeMap<TagName, Timestamp>>>,
    /// Rung when one came or went.
    pub changed: Notify,
}

/// A hold that ends by itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Ending {
    /// The stream.
    pub key: StreamKey,
    /// The tag.
    pub tag: TagName,
    /// When.
    pub at: Timestamp,
}

impl Holds {
    /// Takes up the holds of a stream as it is now.
    pub(crate) fn fill(&self, key: &StreamKey, state: &StreamState) {
        let tags = state.life.iter().flat_map(|stream| &stream.tags);
        let ends: BTreeMap<_, _> = tags
            .filter_map(|(tag, state)| Some((tag.clone(), state.hold.as_ref()?.terms.expires_at?)))
            .collect();
        let mut all = self.lock();
        if ends.is_empty() {
            all.remove(key);
        } else {
            all.insert(key.clone(), ends);
        }
        drop(all);
        self.changed.notify_one();
    }

    /// A command has changed a stream.
    pub(crate) fn changed(&self, key: &StreamKey, events: &[Recorded], state: &StreamState) {
        let matters = |recorded: &Recorded| match &recorded.event.fact {
            Fact::TagHeld { .. }
            | Fact::TagReleased { .. }
            | Fact::TagRestored(_)
            | Fact::TagDeleted { .. }
            | Fact::StreamDeleted { .. } => true,
            Fact::StreamCreated { .. }
            | Fact::StreamMetadataSet { .. }
            | Fact::LookupPolicySet { .. }
            | Fact::TagSet { .. }
            | Fact::TagMoved(_)
            | Fact::ImportFailed { .. }
            | Fact::FailureCleared { .. }
            | Fact::ImageRecorded(_)
            | Fact::ImportFinished(_)
            | Fact::RepositoryImportFailed { .. }
            | Fact::MoveWithheld(_) => false,
        };
        if events.iter().any(matters) {
            self.fill(key, state);
        }
    }

    /// The hold that ends next.
    pub(crate) fn next(&self) -> Option<Ending> {
        let all = self.lock();
        let ends = all.iter().flat_map(|(key, tags)| tags.iter().map(move |(tag, at)| (*at, key, tag)));
        ends.min().map(|(at, key, tag)| Ending { key: key.clone(), tag: tag.clone(), at })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<StreamKey, BTreeMap<TagName, Timestamp>>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
