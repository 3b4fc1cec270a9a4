//! A log in memory, the read model over it on the disk, and beside them what the log means.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use tagtrail_domain::check;
use tagtrail_domain::state::Current;
use tagtrail_domain::*;
use tagtrail_event_log::{Log, LogId, MemoryLog, Run as Encoded, codec};
use tagtrail_projection::{Opened, PastRequest, Span, Stage, View, Within};
use tempfile::TempDir;

use crate::wishes::{IMAGES, STREAMS, TAGS, Wish, digest, key, tag};

/// The log and its read model.
pub(crate) struct Live {
    pub(crate) log: MemoryLog,
    pub(crate) view: View,
    directory: TempDir,
    model: Model,
    /// All events.
    happened: Vec<Recorded>,
    requests: BTreeMap<String, PastRequest>,
    /// Sequences of the events of each name.
    sequences: BTreeMap<StreamKey, Vec<u64>>,
    /// Sequences of the events of each tag.
    tag_sequences: BTreeMap<(StreamKey, TagName), Vec<u64>>,
    /// What each tag ever pointed to, and from when to when.
    spans: Vec<Span>,
    /// The indexes that hold each image.
    indexes: BTreeMap<Digest, BTreeSet<Digest>>,
    /// The event that recorded each image.
    recorded: BTreeMap<Digest, u64>,
    wishes: i64,
    closed: u32,
}

/// All streams at one moment.
#[derive(Debug, PartialEq)]
pub(crate) struct Moment {
    pub(crate) position: u64,
    streams: Vec<Shown>,
}

/// What a description of a stream is made of.
#[derive(Debug, PartialEq)]
struct Shown {
    state: Arc<StreamState>,
    /// Of each tag, oldest first.
    histories: Vec<Vec<Current>>,
    images: Vec<(Digest, Current)>,
}

/// A read model that was built from the log alone.
pub(crate) struct Rebuilt {
    pub(crate) view: View,
    _directory: TempDir,
}

/// Builds a read model from nothing, at least up to a sequence.
pub(crate) fn rebuilt(log: &MemoryLog, until: u64) -> Rebuilt {
    let directory = tempfile::tempdir().expect("a directory");
    let (view, opened) = View::open(&directory.path().join("view"), log).expect("a view");
    assert_eq!(opened, Opened::New);
    view.catch_up(log, until, &mut |_| {}).expect("the log is well");
    Rebuilt { view, _directory: directory }
}

impl Rebuilt {
    pub(crate) fn catch_up(&self, log: &MemoryLog) {
        self.view.catch_up(log, log.head(), &mut |_| {}).expect("the log is well");
    }
}

impl Live {
    pub(crate) fn new() -> Live {
        let log = MemoryLog::new(LogId::from_bytes([7; 16]));
        let directory = tempfile::tempdir().expect("a directory");
        let (view, opened) = View::open(&directory.path().join("view"), &log).expect("a view");
        assert_eq!(opened, Opened::New);
        Live {
            log,
            view,
            directory,
            model: Model::default(),
            happened: Vec::new(),
            requests: BTreeMap::new(),
            sequences: BTreeMap::new(),
            tag_sequences: BTreeMap::new(),
            spans: Vec::new(),
            indexes: BTreeMap::new(),
            recorded: BTreeMap::new(),
            wishes: 0,
            closed: 0,
        }
    }

    pub(crate) fn path(&self) -> std::path::PathBuf {
        self.directory.path().join("view")
    }

    pub(crate) fn head(&self) -> u64 {
        self.log.head()
    }

    pub(crate) fn events(&self) -> Vec<tagtrail_event_log::Stored> {
        self.log.read(1, usize::MAX, usize::MAX).expect("it is in memory")
    }

    /// Decides wishes as one batch, makes them durable, makes them visible: what the writer does in one round.
    pub(crate) fn round(&mut self, wishes: &[Wish]) {
        let before = self.happened.len();
        let mut stage = self.view.stage();
        let runs = decide_all(&mut stage, &mut self.happened, &mut self.wishes, wishes);
        self.log.append(self.log.head(), &runs).expect("it is in memory");
        self.view.commit(stage, &self.log).expect("the disk is well");
        self.account(before);
    }

    /// The same, but killed just after the commit point.
    pub(crate) fn round_without_commit(&mut self, wishes: &[Wish]) {
        let before = self.happened.len();
        let mut stage = self.view.stage();
        let runs = decide_all(&mut stage, &mut self.happened, &mut self.wishes, wishes);
        self.log.append(self.log.head(), &runs).expect("it is in memory");
        self.account(before);
    }

    /// Takes the events into account that came after the first `before`.
    fn account(&mut self, before: usize) {
        for index in before..self.happened.len() {
            let event = self.happened[index].clone();
            let at = Position { sequence: event.sequence, recorded_at: event.recorded_at };
            let before = self.model.stream(&event.stream);
            self.model.apply(&event.stream, &event.event, at);
            self.sequences.entry(event.stream.clone()).or_default().push(event.sequence);
            self.account_tags(&event, before.life.as_ref());
            if let Fact::ImageRecorded(image) = &event.event.fact {
                self.recorded.insert(image.digest.clone(), event.sequence);
                for manifest in &image.manifests {
                    self.indexes.entry(manifest.clone()).or_default().insert(image.digest.clone());
                }
            }
            if !event.request_id.is_empty() {
                let past = PastRequest {
                    first_sequence: event.run.first_sequence,
                    length: event.run.length,
                    digest: event.request_digest,
                };
                self.requests.insert(event.request_id, past);
            }
        }
    }

    /// What an event did to the tags of its stream, found by looking at all of them before and after.
    fn account_tags(&mut self, event: &Recorded, before: Option<&Stream>) {
        let key = &event.stream;
        let after = self.model.stream(key);
        let deletes_all = matches!(event.event.fact, Fact::StreamDeleted { .. });
        for tag in (0..TAGS).map(tag) {
            let there = before.is_some_and(|stream| stream.tags.contains_key(&tag));
            if event.event.fact.tag() == Some(&tag) || (deletes_all && there) {
                self.tag_sequences.entry((key.clone(), tag.clone())).or_default().push(event.sequence);
            }
            let (was, is) = (points_to(before, &tag), points_to(after.life.as_ref(), &tag));
            if was == is {
                continue;
            }
            let lasting = |span: &&mut Span| (&span.stream, &span.tag, span.until) == (key, &tag, 0);
            if let Some(span) = self.spans.iter_mut().rev().find(lasting) {
                span.until = event.sequence;
            }
            if let Some(image) = is {
                self.spans.push(Span { image, stream: key.clone(), tag, since: event.sequence, until: 0 });
            }
        }
    }

    /// Closes the read model without writing anything down, as a kill does, and opens it again.
    pub(crate) fn kill(&mut self) -> Opened {
        self.stand_in();
        let (view, opened) = View::open(&self.path(), &self.log).expect("a view");
        self.view = view;
        opened
    }

    /// Closes the read model and opens it again.
    pub(crate) fn reopen(&mut self) -> Opened {
        let log = self.log.clone();
        self.reopen_on(&log)
    }

    /// Closes the read model, and opens it as that of another log.
    pub(crate) fn reopen_on(&mut self, log: &MemoryLog) -> Opened {
        self.close();
        let (view, opened) = View::open(&self.path(), log).expect("a view");
        (self.view, self.log) = (view, log.clone());
        opened
    }

    /// Closes the read model; a new one, elsewhere, stands in for it.
    pub(crate) fn close(&mut self) {
        self.view.flush().expect("the disk is well");
        self.stand_in();
    }

    fn stand_in(&mut self) {
        self.closed += 1;
        let elsewhere = self.directory.path().join(format!("elsewhere-{}", self.closed));
        let (view, _) = View::open(&elsewhere, &self.log).expect("a view");
        drop(std::mem::replace(&mut self.view, view));
    }

    pub(crate) fn catch_up(&self) {
        self.view.catch_up(&self.log, self.log.head(), &mut |_| {}).expect("the log is well");
    }

    /// What differs between these rows and others; also looks the other way round.
    pub(crate) fn compare(&self, other: &View) -> Vec<String> {
        let (rows, mut differences) = self.view.compare(other, 10);
        let (others, more) = other.compare(&self.view, 10);
        differences.extend(more);
        if rows != others {
            differences.push(format!("{rows} rows and {others} rows"));
        }
        differences
    }

    /// Whether the rows say what the log means.
    pub(crate) fn check(&self) {
        let (view, model) = (&self.view, &self.model);
        assert_eq!(view.position(), self.log.head());
        for stream in 0..STREAMS {
            self.check_stream(&key(stream));
        }
        let keys = |is: &dyn Fn(&StreamState) -> bool| -> Vec<StreamKey> {
            model.streams().filter(|(_, state)| is(state)).map(|(key, _)| key.clone()).collect()
        };
        let any = |is: fn(&TagState) -> bool| {
            keys(&|state| state.life.iter().flat_map(|stream| stream.tags.values()).any(|tag| is(tag)))
        };
        assert_eq!(view.list(None, None, usize::MAX), keys(&|state| state.life.is_some()), "list");
        assert_eq!(view.pending(), any(TagState::needs_import), "pending");
        assert_eq!(view.checked(), any(|tag| check::reason(tag).is_some()), "checked");
        let ends = |tag: &TagState| tag.hold.as_ref().is_some_and(|hold| hold.terms.expires_at.is_some());
        assert_eq!(view.expiring(), any(ends), "expiring");
        self.check_images();
        for (id, past) in &self.requests {
            assert_eq!(view.request(id).as_ref(), Some(past), "request {id}");
        }
        for image in (0..IMAGES).map(digest) {
            let known = view.image(&image).map(|known| known.sequence);
            assert_eq!(known, self.recorded.get(&image).copied(), "{image}");
        }
    }

    /// Which tags point or pointed to which images, and which indexes hold them.
    fn check_images(&self) {
        let view = &self.view;
        let mut known: Vec<Digest> = self.spans.iter().map(|span| span.image.clone()).collect();
        known.extend(self.indexes.keys().cloned());
        known.sort();
        known.dedup();
        let next = |after: &Option<Digest>| view.next_image("sha256:", after.as_ref()).map(Some);
        let found: Vec<_> = std::iter::successors(next(&None), next).flatten().collect();
        assert_eq!(found, known, "images that tags ever pointed to");
        for image in (0..2 * IMAGES).map(digest) {
            let indexes: Vec<Digest> = self.indexes.get(&image).into_iter().flatten().cloned().collect();
            assert_eq!(view.indexes_of(&image), indexes, "indexes of {image}");
            let mut spans: Vec<Span> =
                self.spans.iter().filter(|span| span.image == image).cloned().collect();
            spans.sort_by(|one, other| {
                (&one.stream, &one.tag, one.since).cmp(&(&other.stream, &other.tag, other.since))
            });
            assert_eq!(view.spans(&image, Within::Everything, None, usize::MAX), spans, "spans of {image}");
            let mut paged: Vec<Span> = Vec::new();
            for _ in 0..=spans.len() / 2 {
                paged.extend(view.spans(&image, Within::Everything, paged.last(), 2));
            }
            assert_eq!(paged, spans, "pages of spans of {image}");
            for key in (0..STREAMS).map(key) {
                let of = |within, is: &dyn Fn(&Span) -> bool| {
                    let spans: Vec<Span> = spans.iter().filter(|span| is(span)).cloned().collect();
                    assert_eq!(view.spans(&image, within, None, usize::MAX), spans, "{image} in {key}");
                };
                of(Within::Stream(&key), &|span| span.stream == key);
                of(Within::Namespace(&key.namespace), &|span| span.stream.namespace == key.namespace);
            }
        }
    }

    fn check_stream(&self, key: &StreamKey) {
        let (view, model) = (&self.view, &self.model);
        assert_eq!(view.stream(key), model.stream(key), "{key}");
        let mut images = BTreeSet::new();
        for tag in (0..TAGS).map(tag) {
            let history = model.history(key, &tag);
            let mut newest_first: Vec<(u64, Current)> = (0..).zip(history.iter().cloned()).collect();
            newest_first.reverse();
            assert_eq!(view.history(key, &tag, u64::MAX, usize::MAX), newest_first, "{key}:{tag}");
            images.extend(history.iter().map(|current| current.item.image.clone()));
        }
        assert_eq!(view.unique_images(key), images.len() as u64, "{key}: unique images");
        assert_eq!(
            view.stream_images(key),
            images.into_iter().flatten().collect::<Vec<_>>(),
            "{key}: images"
        );
        for image in 0..IMAGES {
            let all = digest(image);
            for prefix in [all.as_str(), &all.as_str()[..9], &all.as_str()[7..9], "sha256:", "f"] {
                assert_eq!(view.find_image(key, prefix), model.find_image(key, prefix), "{key}@{prefix}");
            }
        }
        let sequences = self.sequences.get(key).cloned().unwrap_or_default();
        assert_eq!(view.events_of(key, 0, usize::MAX), sequences, "{key}: events");
        let newest_first = |sequences: &[u64], before: u64| -> Vec<u64> {
            sequences.iter().copied().filter(|sequence| *sequence < before).rev().collect()
        };
        let middle = self.head() / 2;
        for before in [u64::MAX, middle, 1] {
            let expected = newest_first(&sequences, before);
            assert_eq!(view.events_of_before(key, before, usize::MAX), expected, "{key}: before {before}");
            for tag in (0..TAGS).map(tag) {
                let place = (key.clone(), tag);
                let sequences = self.tag_sequences.get(&place).map_or(&[][..], Vec::as_slice);
                let mut expected = newest_first(sequences, before);
                let found = |limit| view.events_of_tag_before(key, &place.1, before, limit);
                assert_eq!(found(usize::MAX), expected, "{key}:{}: before {before}", place.1);
                expected.truncate(2);
                assert_eq!(found(2), expected, "{key}:{}: the two before {before}", place.1);
            }
        }
    }

    /// What the rows say of all streams.
    pub(crate) fn moment(&self) -> Moment {
        let streams = (0..STREAMS).map(key).map(|key| {
            let histories = (0..TAGS).map(tag).map(|tag| {
                let history = self.view.history(&key, &tag, u64::MAX, usize::MAX);
                history.into_iter().rev().map(|(_, current)| current).collect()
            });
            Shown {
                state: self.view.stream(&key),
                histories: histories.collect(),
                images: self.view.find_image(&key, ""),
            }
        });
        Moment { position: self.view.position(), streams: streams.collect() }
    }

    /// The same moment, read from the events of each stream alone, which the rows name.
    pub(crate) fn moment_at(&self, position: u64) -> Moment {
        let events = self.events();
        let streams = (0..STREAMS).map(key).map(|key| {
            let mut model = Model::default();
            for sequence in self.view.events_of(&key, 1, usize::MAX) {
                if sequence <= position {
                    let stored = &events[usize::try_from(sequence).expect("few events") - 1];
                    let Recorded { event, recorded_at, .. } =
                        codec::decode(&stored.payload).expect("an event");
                    model.apply(&key, &event, Position { sequence, recorded_at });
                }
            }
            let histories = (0..TAGS).map(tag).map(|tag| model.history(&key, &tag).to_vec());
            let (state, images) = (model.stream(&key), model.find_image(&key, ""));
            Shown { state, histories: histories.collect(), images }
        });
        Moment { position, streams: streams.collect() }
    }
}

/// Decides wishes on a stage, each on what the ones before it have made of the world.
fn decide_all(
    stage: &mut Stage<'_>,
    happened: &mut Vec<Recorded>,
    number: &mut i64,
    wishes: &[Wish],
) -> Vec<Encoded> {
    let mut runs = Vec::new();
    for wish in wishes {
        *number += 1;
        let first = happened.len() as u64 + 1;
        let Some(commands) = wish.commands(stage, happened) else { continue };
        let context = Context {
            now: Timestamp::new(*number, 0),
            next_sequence: first,
            fresh_uids: (0..commands.len()).map(|stream| format!("uid-{number}-{stream}")).collect(),
            expected_revision: None,
            internal_registry: None,
            tags_per_stream: usize::MAX,
        };
        let Ok(events) = decide_together(stage, &context, &commands) else { continue };
        let id = if wish.identified { format!("request-{number}") } else { String::new() };
        let length = u32::try_from(events.len()).expect("few events");
        let mut revisions: BTreeMap<StreamKey, u64> = BTreeMap::new();
        let mut next_revision = |key: &StreamKey| {
            let revision = revisions.entry(key.clone()).or_insert_with(|| stage.stream(key).revision);
            *revision += 1;
            *revision
        };
        let recorded = (first..).zip(events).map(|(sequence, (key, event))| Recorded {
            sequence,
            revision: next_revision(&key),
            recorded_at: context.now,
            run: Run { first_sequence: first, length },
            stream: key,
            actor: Actor::default(),
            reason: String::new(),
            command: "test".into(),
            request_digest: id.clone().into_bytes(),
            request_id: id.clone(),
            caused_by: 0,
            traceparent: String::new(),
            event,
        });
        let recorded: Vec<Recorded> = recorded.collect();
        let run: Encoded = recorded.iter().map(codec::encode).collect();
        for (event, stored) in recorded.iter().zip(&run) {
            stage.apply(event, stored);
        }
        if !run.is_empty() {
            runs.push(run);
        }
        happened.extend(recorded);
    }
    runs
}

/// The image that a tag points to.
fn points_to(stream: Option<&Stream>, tag: &TagName) -> Option<Digest> {
    stream?.tags.get(tag)?.current.as_ref()?.item.image.clone()
}

/// All files of a directory, the largest first.
pub(crate) fn files(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { files.extend(self::files(&path)) } else { files.push(path) }
    }
    files.sort_by_key(|path| std::cmp::Reverse(std::fs::metadata(path).map_or(0, |file| file.len())));
    files
}
