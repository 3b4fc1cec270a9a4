//! The streams that were looked at last, kept decoded.

use std::sync::Arc;

use lru::LruCache;
use tagtrail_domain::{StreamKey, StreamState};

/// How many streams and tags together are kept. A tag with its annotations is about a kilobyte.
const CACHED: usize = 100_000;

/// The streams that were looked at last. Bounded by their tags: one stream may have as many as a thousand others.
pub(crate) struct Cache {
    streams: LruCache<StreamKey, Arc<StreamState>>,
    size: usize,
}

impl Cache {
    pub(crate) fn new() -> Self {
        Self { streams: LruCache::unbounded(), size: 0 }
    }

    pub(crate) fn get(&mut self, key: &StreamKey) -> Option<Arc<StreamState>> {
        self.streams.get(key).cloned()
    }

    pub(crate) fn put(&mut self, key: StreamKey, state: Arc<StreamState>) {
        self.size += size(&state);
        if let Some((_, replaced)) = self.streams.push(key, state) {
            self.size -= size(&replaced);
        }
        // The newest stays, however large it is: it is what is being worked on.
        while self.size > CACHED && self.streams.len() > 1 {
            if let Some((_, oldest)) = self.streams.pop_lru() {
                self.size -= size(&oldest);
            }
        }
    }

    pub(crate) fn clear(&mut self) {
        self.streams.clear();
        self.size = 0;
    }
}

fn size(state: &StreamState) -> usize {
    1 + state.life.as_ref().map_or(0, |stream| stream.tags.len())
}

#[cfg(test)]
mod tests {
    use tagtrail_domain::{Stream, TagName, TagState, Timestamp};

    use super::*;

    fn stream(tags: usize) -> Arc<StreamState> {
        let tag =
            |n: usize| (TagName::parse(&format!("t{n}")).expect("valid"), Arc::new(TagState::default()));
        let life = Stream {
            uid: String::new(),
            created: Timestamp::default(),
            generation: 1,
            lookup_local: false,
            labels: Default::default(),
            annotations: Default::default(),
            checked_at: None,
            tags: (0..tags).map(tag).collect(),
        };
        Arc::new(StreamState { life: Some(life), ..StreamState::default() })
    }

    #[test]
    fn what_was_looked_at_longest_ago_makes_room() {
        let key = |name: &str| StreamKey::parse("test", name).expect("valid");
        let mut cache = Cache::new();
        cache.put(key("a"), stream(CACHED / 2));
        cache.put(key("b"), stream(1));
        cache.put(key("b"), stream(2)); // Replaced, not counted twice.
        assert_eq!(cache.size, CACHED / 2 + 1 + 3);
        cache.get(&key("a"));
        cache.put(key("c"), stream(CACHED / 2));
        assert!(cache.get(&key("b")).is_none());
        assert!(cache.get(&key("a")).is_none(), "it does not fit beside the new one either");
        assert!(cache.get(&key("c")).is_some());
        cache.put(key("d"), stream(CACHED * 2));
        assert!(cache.get(&key("d")).is_some(), "larger than all there is room for, but in use");
    }
}
