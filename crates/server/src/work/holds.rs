//! Holds that end by themselves.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tagtrail_domain::{Fact, Recorded, StreamKey, StreamState, TagName, TagState, Timestamp};
use tokio::sync::Notify;

/// The holds that end by themselves, and when.
#[derive(Default)]
pub(crate) struct Holds {
    ends: Mutex<BTreeMap<StreamKey, Ends>>,
    /// Rung when one came or went.
    pub changed: Notify,
}

/// When the holds of a stream end, as they stood after an event.
struct Ends {
    sequence: u64,
    tags: BTreeMap<TagName, Timestamp>,
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
    /// Takes up the holds of a stream as it is, or was: two may look at it at the same time, and what is newer stays.
    pub(crate) fn fill(&self, key: &StreamKey, state: &StreamState) {
        let tags = state.life.iter().flat_map(|stream| &stream.tags);
        let end = |(tag, state): (&TagName, &Arc<TagState>)| {
            Some((tag.clone(), state.hold.as_ref()?.terms.expires_at?))
        };
        let ends = Ends { sequence: state.sequence, tags: tags.filter_map(end).collect() };
        let mut all = self.lock();
        let known = all.get(key).map_or(0, |known| known.sequence);
        if known > ends.sequence {
            return;
        }
        if known > 0 || !ends.tags.is_empty() {
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
            | Fact::MoveWithheld(_)
            | Fact::TestimonyTaken(_)
            | Fact::LogContinued(_) => false,
        };
        if events.iter().any(matters) {
            self.fill(key, state);
        }
    }

    /// The hold that ends next.
    pub(crate) fn next(&self) -> Option<Ending> {
        let all = self.lock();
        let ends = all.iter().flat_map(|(key, ends)| ends.tags.iter().map(move |(tag, at)| (*at, key, tag)));
        ends.min().map(|(at, key, tag)| Ending { key: key.clone(), tag: tag.clone(), at })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<StreamKey, Ends>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
