//! What is to be done without anybody asking: tags that wait for their import, and tags on the schedule. All of it
//! can be read from the read model; this is where it is kept at hand.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tagtrail_domain::import_plan::is_scheduled;
use tagtrail_domain::{StreamKey, StreamState, TagName};
use tokio::sync::Notify;

/// What is to be done.
pub(crate) struct Work {
    interval: Duration,
    list: Mutex<List>,
    /// Rung when there is something new to do.
    pub arrived: Notify,
    /// Rung when an import has ended, whatever it came to.
    pub ended: Notify,
}

#[derive(Default)]
struct List {
    /// Streams in which a tag may wait for an import.
    pending: BTreeSet<StreamKey>,
    /// When each stream with a scheduled tag is to be looked after.
    schedule: BTreeMap<StreamKey, Instant>,
    /// Streams being imported right now: one import at a time for each.
    running: BTreeSet<StreamKey>,
    /// Up to which generation a waiting tag was tried. A failure that repeats the last one writes nothing, so the tag
    /// goes on waiting (spec §3.6); it is not tried again and again.
    tried: BTreeMap<(StreamKey, TagName), i64>,
}

/// What to do next.
pub(crate) enum Task {
    /// Import what waits in this stream.
    Pending(StreamKey),
    /// Look after the scheduled tags of this stream.
    Scheduled(StreamKey),
    /// Nothing before this moment.
    WaitUntil(Option<Instant>),
}

impl Work {
    /// No work yet. Scheduled tags are looked after once in `interval`.
    #[must_use]
    pub(crate) fn new(interval: Duration) -> Self {
        Self { interval, list: Mutex::default(), arrived: Notify::new(), ended: Notify::new() }
    }

    /// Takes up the work that a start finds. What was due while the server was down is spread over one interval.
    pub(crate) fn fill(&self, pending: Vec<StreamKey>, scheduled: Vec<StreamKey>, now: Instant) {
        let share = self.interval / u32::try_from(scheduled.len().max(1)).unwrap_or(u32::MAX);
        let mut list = self.lock();
        list.pending.extend(pending);
        list.schedule.extend(scheduled.into_iter().zip(1..).map(|(key, n)| (key, now + share * n)));
        drop(list);
        self.arrived.notify_one();
    }

    /// A stream has changed.
    pub(crate) fn changed(&self, key: &StreamKey, state: &StreamState) {
        let mut list = self.lock();
        let mut rings = false;
        if waits(&list, key, state) {
            rings |= list.pending.insert(key.clone());
        }
        let scheduled = state.life.iter().flat_map(|stream| stream.tags.values()).any(is_scheduled);
        if !scheduled {
            list.schedule.remove(key);
        } else if !list.schedule.contains_key(key) {
            list.schedule.insert(key.clone(), Instant::now() + self.interval);
            rings = true;
        }
        if state.life.is_none() {
            list.tried.retain(|(stream, _), _| stream != key);
        }
        drop(list);
        if rings {
            self.arrived.notify_one();
        }
    }

    /// Takes the next task. The stream counts as running until [`Work::done`].
    pub(crate) fn next(&self, now: Instant) -> Task {
        let mut list = self.lock();
        if let Some(key) = list.pending.iter().find(|key| !list.running.contains(*key)).cloned() {
            list.pending.remove(&key);
            list.running.insert(key.clone());
            return Task::Pending(key);
        }
        let due =
            list.schedule.iter().filter(|(key, _)| !list.running.contains(*key)).min_by_key(|(_, at)| **at);
        match due.map(|(key, at)| (key.clone(), *at)) {
            Some((key, at)) if at <= now => {
                list.schedule.insert(key.clone(), now + self.interval);
                list.running.insert(key.clone());
                Task::Scheduled(key)
            }
            next => Task::WaitUntil(next.map(|(_, at)| at)),
        }
    }

    /// Notes that the waiting tags of a stream are being tried, as they stand in `state`.
    pub(crate) fn trying(&self, key: &StreamKey, state: &StreamState) {
        let mut list = self.lock();
        for (tag, state) in state.life.iter().flat_map(|stream| &stream.tags) {
            if let Some(spec) = state.spec.as_ref().filter(|_| state.needs_import()) {
                list.tried.insert((key.clone(), tag.clone()), spec.generation);
            } else {
                list.tried.remove(&(key.clone(), tag.clone()));
            }
        }
    }

    /// A stream's import has ended; `state` is what it left.
    pub(crate) fn done(&self, key: &StreamKey, state: &StreamState) {
        let mut list = self.lock();
        list.running.remove(key);
        if waits(&list, key, state) {
            list.pending.insert(key.clone());
        }
        drop(list);
        self.arrived.notify_one();
        self.ended.notify_waiters();
    }

    /// Whether a tag waits for an import that has not been tried to its end.
    #[must_use]
    pub(crate) fn is_importing(&self, key: &StreamKey, tag: &TagName, state: &StreamState) -> bool {
        let list = self.lock();
        let Some(tag_state) = state.life.as_ref().and_then(|stream| stream.tags.get(tag)) else {
            return false;
        };
        tag_state.needs_import() && (list.running.contains(key) || untried(&list, key, tag, tag_state))
    }

    /// How many streams are being imported or wait for it.
    #[must_use]
    pub(crate) fn size(&self) -> usize {
        let list = self.lock();
        list.running.len() + list.pending.len()
    }

    fn lock(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn waits(list: &List, key: &StreamKey, state: &StreamState) -> bool {
    let tags = state.life.iter().flat_map(|stream| &stream.tags);
    tags.into_iter().any(|(tag, state)| state.needs_import() && untried(list, key, tag, state))
}

fn untried(list: &List, key: &StreamKey, tag: &TagName, state: &tagtrail_domain::TagState) -> bool {
    let generation = state.spec.as_ref().map_or(0, |spec| spec.generation);
    list.tried.get(&(key.clone(), tag.clone())).is_none_or(|tried| *tried < generation)
}
