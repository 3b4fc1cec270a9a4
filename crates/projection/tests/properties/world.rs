//! A log in memory, the read model over it on the disk, and beside them what the log means.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use tagtrail_domain::check;
use tagtrail_domain::state::Current;
use tagtrail_domain::*;
use tagtrail_event_log::{Log, LogId, MemoryLog, Run as Encoded, codec};
use tagtrail_projection::{Opened, PastRequest, Stage, View};
use tempfile::TempDir;

use crate::wishes::{IMAGES, STREAMS, TAGS, Wish, digest, key, tag};

/// The log and its read model.
pub(crate) struct Live {
    pub(crate) log: MemoryLog,
    pub(crate) view: View,
    directory: TempDir,
    model: Model,
    requests: BTreeMap<String, PastRequest>,
    /// Sequences of the events of each name.
    sequences: BTreeMap<StreamKey, Vec<u64>>,
    /// The event that recorded each image.
    recorded: BTreeMap<Digest, u64>,
    wishes: i64,
    closed: u32,
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
            requests: BTreeMap::new(),
            sequences: BTreeMap::new(),
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
        let mut stage = self.view.stage();
        let (runs, events) = decide_all(&mut stage, self.log.head(), &mut self.wishes, wishes);
        self.log.append(self.log.head(), &runs).expect("it is in memory");
        self.view.commit(stage, &self.log).expect("the disk is well");
        self.account(events);
    }

    /// The same, but killed just after the commit point.
    pub(crate) fn round_without_commit(&mut self, wishes: &[Wish]) {
        let mut stage = self.view.stage();
        let (runs, events) = decide_all(&mut stage, self.log.head(), &mut self.wishes, wishes);
        self.log.append(self.log.head(), &runs).expect("it is in memory");
        self.account(events);
    }

    fn account(&mut self, events: Vec<Recorded>) {
        for event in events {
            let at = Position { sequence: event.sequence, recorded_at: event.recorded_at };
            self.model.apply(&event.stream, &event.event, at);
            self.sequences.entry(event.stream.clone()).or_default().push(event.sequence);
            if let Fact::ImageRecorded(image) = &event.event.fact {
                self.recorded.insert(image.digest.clone(), event.sequence);
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
        for (id, past) in &self.requests {
            assert_eq!(view.request(id).as_ref(), Some(past), "request {id}");
        }
        for image in (0..IMAGES).map(digest) {
            let known = view.image(&image).map(|known| known.sequence);
            assert_eq!(known, self.recorded.get(&image).copied(), "{image}");
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
    }
}

/// Decides wishes on a stage, each on what the ones before it have made of the world.
fn decide_all(
    stage: &mut Stage<'_>,
    head: u64,
    number: &mut i64,
    wishes: &[Wish],
) -> (Vec<Encoded>, Vec<Recorded>) {
    let (mut runs, mut all) = (Vec::new(), Vec::new());
    for wish in wishes {
        *number += 1;
        let first = head + all.len() as u64 + 1;
        let context = Context {
            now: Timestamp::new(*number, 0),
            next_sequence: first,
            fresh_uids: vec![format!("uid-{number}")],
            expected_revision: None,
            internal_registry: None,
        };
        let key = wish.key();
        let Some(command) = wish.command(stage) else { continue };
        let Ok(events) = decide(stage, &key, &context, &command) else { continue };
        let id = if wish.identified { format!("request-{number}") } else { String::new() };
        let revision = stage.stream(&key).revision;
        let length = u32::try_from(events.len()).expect("few events");
        let recorded = (0..).zip(events).map(|(index, event)| Recorded {
            sequence: first + index,
            revision: revision + index + 1,
            recorded_at: context.now,
            run: Run { first_sequence: first, length },
            stream: key.clone(),
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
        all.extend(recorded);
    }
    (runs, all)
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
