//! Tags that wait for the import that was asked for, by stream.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tagtrail_domain::{Stream, StreamKey, StreamState, TagName};
use tokio::sync::Notify;

/// After which time an import is tried again that came to nothing for a reason of our own: a full queue, a disk.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// The imports that were asked for.
#[derive(Default)]
pub(crate) struct Pending {
    list: Mutex<List>,
    /// Rung when there is something new to do.
    pub arrived: Notify,
    /// Rung when an import has ended, whatever it came to, and when no more will end.
    pub ended: Notify,
}

#[derive(Default)]
struct List {
    /// Streams in which a tag may wait for an import.
    pending: Agenda,
    /// Streams being imported right now: one import at a time for each.
    running: BTreeSet<StreamKey>,
    /// What was tried and waits on: a failure that repeats the last one writes nothing (spec §3.6), and is not tried
    /// again and again.
    tried: BTreeMap<StreamKey, Tried>,
    /// Nothing is imported any more.
    stopped: bool,
}

/// The tags of one life of a stream that were tried, and up to which generation.
#[derive(PartialEq, Eq, Debug)]
struct Tried {
    uid: String,
    tags: BTreeMap<TagName, i64>,
}

/// What to do next.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Task {
    /// Import what waits in this stream.
    Import(StreamKey),
    /// Nothing before this moment.
    WaitUntil(Option<Instant>),
}

/// What an import of waiting tags came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Imported {
    /// The registry has answered, and the answer was taken over or is not wanted any more.
    Answered,
    /// We could not take it over. It is to be tried again.
    Failed,
}

impl Pending {
    /// Takes up the streams that a start finds.
    pub(crate) fn fill(&self, streams: Vec<StreamKey>, now: Instant) {
        let mut list = self.lock();
        for key in streams {
            list.pending.put(key, now);
        }
        drop(list);
        self.arrived.notify_one();
    }

    /// A stream has changed.
    pub(crate) fn changed(&self, key: &StreamKey, state: &StreamState, now: Instant) {
        let mut list = self.lock();
        // What waits already keeps its turn, but a new wish does not wait for a retry.
        let rings = waits(&list, key, state) && list.pending.due(key).is_none_or(|due| due > now);
        if rings {
            list.pending.put(key.clone(), now);
        }
        drop(list);
        if rings {
            self.arrived.notify_one();
        }
    }

    /// Takes what has been due the longest. The stream counts as running until [`Pending::done`].
    pub(crate) fn next(&self, now: Instant) -> Task {
        let mut list = self.lock();
        match list.pending.first_but(&list.running) {
            Some((due, key)) if due <= now => {
                list.pending.remove(&key);
                list.running.insert(key.clone());
                Task::Import(key)
            }
            first => Task::WaitUntil(first.map(|(due, _)| due)),
        }
    }

    /// Notes that the waiting tags of a stream are being tried, as they stand in it.
    pub(crate) fn trying(&self, key: &StreamKey, stream: &Stream) {
        let waiting = stream.tags.iter().filter(|(_, state)| state.needs_import());
        let tags = waiting.filter_map(|(tag, state)| Some((tag.clone(), state.spec.as_ref()?.generation)));
        let tried = Tried { uid: stream.uid.clone(), tags: tags.collect() };
        self.lock().tried.insert(key.clone(), tried);
    }

    /// A stream's import has ended; `state` is what it left.
    pub(crate) fn done(&self, key: &StreamKey, state: &StreamState, outcome: Imported, now: Instant) {
        let mut list = self.lock();
        list.running.remove(key);
        let waiting = state.life.iter().flat_map(|stream| stream.tags.values()).any(|tag| tag.needs_import());
        // Nothing of it is remembered that cannot matter any more.
        if !waiting || outcome == Imported::Failed {
            list.tried.remove(key);
        }
        if waits(&list, key, state) {
            let due = if outcome == Imported::Failed { now + RETRY_AFTER } else { now };
            list.pending.put(key.clone(), due);
        }
        drop(list);
        self.arrived.notify_one();
        self.ended.notify_waiters();
    }

    /// No import will end any more: nobody is to wait for one.
    pub(crate) fn stop(&self) {
        self.lock().stopped = true;
        self.ended.notify_waiters();
    }

    /// Whether imports are still carried out.
    #[must_use]
    pub(crate) fn is_going_on(&self) -> bool {
        !self.lock().stopped
    }

    /// Whether a tag waits for an import that has not been tried to its end.
    #[must_use]
    pub(crate) fn is_importing(&self, key: &StreamKey, tag: &TagName, state: &StreamState) -> bool {
        let list = self.lock();
        let Some(stream) = &state.life else { return false };
        let needs_import = stream.tags.get(tag).is_some_and(|state| state.needs_import());
        needs_import && (list.running.contains(key) || untried(&list, key, stream, tag))
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
    let Some(stream) = &state.life else { return false };
    stream.tags.iter().any(|(tag, state)| state.needs_import() && untried(list, key, stream, tag))
}

fn untried(list: &List, key: &StreamKey, stream: &Stream, tag: &TagName) -> bool {
    let generation = stream.tags.get(tag).and_then(|state| state.spec.as_ref()).map_or(0, |s| s.generation);
    // Another life of the name starts to count anew.
    let tried = list.tried.get(key).filter(|tried| tried.uid == stream.uid);
    tried.and_then(|tried| tried.tags.get(tag)).is_none_or(|tried| *tried < generation)
}

/// Streams, and when each is due. The longest due comes first, so that none is overtaken for ever.
#[derive(Default)]
struct Agenda {
    times: BTreeMap<StreamKey, Instant>,
    order: BTreeSet<(Instant, StreamKey)>,
}

impl Agenda {
    fn due(&self, key: &StreamKey) -> Option<Instant> {
        self.times.get(key).copied()
    }

    fn put(&mut self, key: StreamKey, due: Instant) {
        self.remove(&key);
        self.times.insert(key.clone(), due);
        self.order.insert((due, key));
    }

    fn remove(&mut self, key: &StreamKey) {
        if let Some(due) = self.times.remove(key) {
            self.order.remove(&(due, key.clone()));
        }
    }

    /// The first that is not among `busy`, of which there are few.
    fn first_but(&self, busy: &BTreeSet<StreamKey>) -> Option<(Instant, StreamKey)> {
        self.order.iter().find(|(_, key)| !busy.contains(key)).cloned()
    }

    fn len(&self) -> usize {
        self.times.len()
    }
}

#[cfg(test)]
mod tests {
    use tagtrail_domain::tag::{ImportPolicy, SourceKind, TagSource, TagSpec};
    use tagtrail_domain::{TagState, Timestamp};

    use std::sync::Arc;

    use super::*;

    fn key(name: &str) -> StreamKey {
        StreamKey::parse("test", name).expect("valid")
    }

    fn tag(name: &str) -> TagName {
        TagName::parse(name).expect("valid")
    }

    /// A stream in a few words: its life, then tags at a generation, `!` for those on the schedule. All wait.
    fn stream(words: &str) -> StreamState {
        let mut words = words.split_whitespace();
        let Some(uid) = words.next() else { return StreamState::default() };
        let spec = |generation: i64, scheduled: bool| TagSpec {
            source: Some(TagSource {
                kind: SourceKind::DockerImage,
                namespace: None,
                name: "quay.io/a/b".into(),
            }),
            generation,
            import_policy: ImportPolicy { scheduled, ..ImportPolicy::default() },
            ..TagSpec::default()
        };
        let tags = words.map(|word| {
            let (name, generation) = word.trim_end_matches('!').split_once('@').expect("tag@generation");
            let spec = spec(generation.parse().expect("a number"), word.ends_with('!'));
            (tag(name), Arc::new(TagState { spec: Some(spec), ..TagState::default() }))
        });
        let life = Stream {
            uid: uid.into(),
            created: Timestamp::default(),
            generation: 1,
            lookup_local: false,
            labels: Default::default(),
            annotations: Default::default(),
            checked_at: None,
            tags: tags.collect(),
        };
        StreamState { revision: 1, sequence: 1, life: Some(life) }
    }

    /// The same stream in which every tag has got its image.
    fn imported(mut state: StreamState) -> StreamState {
        for tag in state.life.iter_mut().flat_map(|stream| stream.tags.values_mut()) {
            let spec = tag.spec.clone().map(|spec| TagSpec { generation: 0, ..spec });
            Arc::make_mut(tag).spec = spec;
        }
        state
    }

    struct Day {
        work: Pending,
        start: Instant,
    }

    impl Day {
        fn new() -> Self {
            Self { work: Pending::default(), start: Instant::now() }
        }

        fn at(&self, seconds: u64) -> Instant {
            self.start + Duration::from_secs(seconds)
        }

        fn changed(&self, seconds: u64, name: &str, state: &StreamState) {
            self.work.changed(&key(name), state, self.at(seconds));
        }

        /// The next task in a few words.
        fn next(&self, seconds: u64) -> String {
            match self.work.next(self.at(seconds)) {
                Task::Import(key) => format!("import {}", key.name),
                Task::WaitUntil(None) => "wait".into(),
                Task::WaitUntil(Some(at)) => format!("wait until {}", (at - self.start).as_secs()),
            }
        }

        fn try_it(&self, name: &str, state: &StreamState) {
            self.work.trying(&key(name), state.life.as_ref().expect("lives"));
        }

        fn done(&self, seconds: u64, name: &str, state: &StreamState, outcome: Imported) {
            self.work.done(&key(name), state, outcome, self.at(seconds));
        }
    }

    #[test]
    fn a_wish_is_tried_once() {
        let day = Day::new();
        let state = stream("u a@1");
        day.changed(0, "p", &state);
        assert!(day.work.is_importing(&key("p"), &tag("a"), &state));
        assert_eq!(day.next(0), "import p");
        day.try_it("p", &state);
        assert!(day.work.is_importing(&key("p"), &tag("a"), &state), "until it has ended");
        // The failure repeats the last one, so the tag goes on waiting.
        day.done(1, "p", &state, Imported::Answered);
        assert!(!day.work.is_importing(&key("p"), &tag("a"), &state));
        day.changed(2, "p", &state);
        assert_eq!(day.next(3), "wait");
        // Until somebody wishes anew.
        day.changed(4, "p", &stream("u a@2"));
        assert_eq!(day.next(4), "import p");
    }

    #[test]
    fn what_failed_on_our_side_is_tried_again() {
        let day = Day::new();
        let state = stream("u a@1");
        day.changed(0, "p", &state);
        assert_eq!(day.next(0), "import p");
        day.try_it("p", &state);
        day.done(1, "p", &state, Imported::Failed);
        assert_eq!(day.next(1), "wait until 11");
        assert_eq!(day.next(11), "import p");
        day.try_it("p", &state);
        day.done(12, "p", &state, Imported::Failed);
        // A new wish need not wait for that.
        day.changed(13, "p", &stream("u a@1 b@2"));
        assert_eq!(day.next(13), "import p");
    }

    #[test]
    fn a_wish_that_comes_while_its_stream_is_imported_is_next() {
        let day = Day::new();
        day.changed(0, "p", &stream("u a@1"));
        assert_eq!(day.next(0), "import p");
        day.try_it("p", &stream("u a@1"));
        day.changed(1, "p", &stream("u a@1 b@2"));
        assert_eq!(day.next(1), "wait", "one import of a stream at a time");
        day.done(2, "p", &stream("u a@1 b@2"), Imported::Answered);
        assert_eq!(day.next(2), "import p");
    }

    /// Generations start anew in another life of the name: what was tried in the last one says nothing.
    #[test]
    fn a_recreated_stream_is_imported() {
        let day = Day::new();
        day.changed(0, "p", &stream("old a@7"));
        assert_eq!(day.next(0), "import p");
        day.try_it("p", &stream("old a@7"));
        // Deleted and created in one group commit: only the end is seen.
        day.changed(1, "p", &stream("new a@1"));
        day.done(2, "p", &stream("new a@1"), Imported::Answered);
        assert_eq!(day.next(2), "import p");
        day.try_it("p", &stream("new a@1"));
        day.done(3, "p", &imported(stream("new a@1")), Imported::Answered);
        assert_eq!(day.next(3), "wait");
        assert!(day.work.lock().tried.is_empty(), "nothing is kept for ever");
        day.changed(4, "p", &StreamState::default());
        assert_eq!(day.next(4), "wait");
    }

    #[test]
    fn the_first_to_wish_is_the_first_to_be_imported() {
        let day = Day::new();
        day.work.fill(vec![key("p")], day.start);
        day.changed(1, "z", &stream("u a@1"));
        day.changed(2, "a", &stream("u a@1"));
        assert_eq!(day.work.size(), 3);
        assert_eq!(day.next(2), "import p");
        assert_eq!(day.next(2), "import z");
        assert_eq!(day.next(2), "import a");
        assert_eq!(day.next(2), "wait");
    }
}
