//! A log to publish, a publisher that can be watched, and what a stream holds in the end.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::jetstream::{self, Context};
use bytes::Bytes;
use prost::Message as _;
use prost_types::Timestamp;
use tagtrail_api::v1::event::Fact;
use tagtrail_api::v1::{
    Event, Failure, HistoryChange, HistoryItem, ImportFailed, StreamCreated, StreamDeleted, TagDeleted,
    TagMoved, TagRestored,
};
use tagtrail_event_log::{Log, LogId, Options, SledLog};
use tagtrail_publisher::{Connection, Observer, Publisher, Settings, Step, StreamSettings};
use tagtrail_tests::broker::Broker;
use tokio::sync::watch;

pub(crate) const ID: LogId = LogId::from_bytes([0x5A; 16]);

/// Longest wait for something that takes a moment.
const WITHIN: Duration = Duration::from_secs(30);

/// A log on the disk, alone in a directory.
pub(crate) fn open(dir: &Path) -> Arc<dyn Log> {
    open_as(dir, ID)
}

pub(crate) fn open_as(dir: &Path, id: LogId) -> Arc<dyn Log> {
    Arc::new(SledLog::open(&dir.join("data"), Options::new(id)).unwrap().0)
}

/// An event of each kind that matters, in a fixed row; `seed` tells one history from another.
pub(crate) fn event(sequence: u64, seed: i64) -> Event {
    let tag = || format!("v{}.0", sequence % 3);
    let item = |n: u64| HistoryItem {
        image: format!("sha256:{n:064x}"),
        docker_image_reference: format!("quay.io/a/b@sha256:{n:064x}"),
        ..HistoryItem::default()
    };
    let fact = match sequence % 7 {
        1 => Fact::StreamCreated(StreamCreated::default()),
        5 => Fact::ImportFailed(ImportFailed {
            tag: tag(),
            failure: Some(Failure { message: "no such host".into(), ..Failure::default() }),
            ..ImportFailed::default()
        }),
        6 => Fact::TagDeleted(TagDeleted { tag: tag(), had_spec: true, last: Some(item(sequence - 1)) }),
        0 if sequence.is_multiple_of(14) => {
            Fact::StreamDeleted(StreamDeleted { tags: (0..3).map(|n| format!("v{n}.0")).collect() })
        }
        0 => Fact::TagRestored(TagRestored {
            tag: tag(),
            items: vec![item(sequence), item(1)],
            ..TagRestored::default()
        }),
        _ => Fact::TagMoved(TagMoved {
            tag: tag(),
            item: Some(item(sequence)),
            previous: Some(item(sequence - 1)),
            replaces_sequence: sequence - 1,
            change: HistoryChange::Added.into(),
            ..TagMoved::default()
        }),
    };
    Event {
        sequence,
        namespace: "test".into(),
        stream: "my.app".into(),
        recorded_at: Some(Timestamp { seconds: 1_700_000_000 + seed + sequence as i64, nanos: 0 }),
        fact: Some(fact),
        ..Event::default()
    }
}

/// Appends the events of the row up to a sequence.
pub(crate) fn fill(log: &dyn Log, up_to: u64) {
    fill_with(log, up_to, |sequence| event(sequence, 0));
}

pub(crate) fn fill_with(log: &dyn Log, up_to: u64, event: impl Fn(u64) -> Event) {
    while log.head() < up_to {
        let head = log.head();
        let runs = (head + 1..=up_to.min(head + 200))
            .map(|sequence| vec![Bytes::from(event(sequence).encode_to_vec())])
            .collect::<Vec<_>>();
        log.append(head, &runs).unwrap();
    }
}

pub(crate) fn settings(broker: &Broker) -> Settings {
    Settings {
        connection: Connection { url: broker.url(), ..Connection::default() },
        stream: StreamSettings::default(),
        bucket: None,
    }
}

/// Hears all steps.
#[derive(Default)]
pub(crate) struct Heard(Mutex<Vec<Step>>);

impl Observer for Heard {
    fn step(&self, step: Step) {
        self.0.lock().unwrap().push(step);
    }
}

/// A publisher at work.
pub(crate) struct Running {
    pub(crate) heard: Arc<Heard>,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    pub(crate) fn start(settings: Settings, log: Arc<dyn Log>, dir: &Path) -> Running {
        let heard = Arc::new(Heard::default());
        let (stop, stopped) = watch::channel(false);
        let visible = log.follow();
        let publisher = Publisher::new(settings, log, visible, position_file(dir), heard.clone());
        Running { heard, stop, task: tokio::spawn(publisher.run(stopped)) }
    }

    /// Waits until a step is heard that is as asked for, and gives it.
    pub(crate) async fn until(&self, what: &str, wanted: impl Fn(&Step) -> bool) -> Step {
        let deadline = tokio::time::Instant::now() + WITHIN;
        loop {
            if let Some(step) = self.heard.0.lock().unwrap().iter().rev().find(|step| wanted(step)) {
                return step.clone();
            }
            let heard = || self.heard.0.lock().unwrap().iter().rev().take(20).cloned().collect::<Vec<_>>();
            assert!(tokio::time::Instant::now() < deadline, "{what} does not come; last: {:?}", heard());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) async fn published(&self, event: u64) {
        let at_least = |step: &Step| matches!(step, Step::Acknowledged(n) | Step::Resumed(n) if *n >= event);
        self.until(&format!("event {event}"), at_least).await;
    }

    /// Waits for a problem that needs somebody, and gives its words.
    pub(crate) async fn refused(&self) -> String {
        let step = self.until("a refusal", |step| matches!(step, Step::Trouble { refused: true, .. })).await;
        match step {
            Step::Trouble { problem, .. } => problem,
            _ => unreachable!("asked for trouble"),
        }
    }

    /// Forgets what was heard, so that the next wait is for something new.
    pub(crate) fn forget(&self) {
        self.heard.0.lock().unwrap().clear();
    }

    pub(crate) fn has_heard(&self, wanted: impl Fn(&Step) -> bool) -> bool {
        self.heard.0.lock().unwrap().iter().any(wanted)
    }

    pub(crate) fn heard_steps(&self) -> Vec<Step> {
        let quiet = |step: &&Step| !matches!(step, Step::Sending(_) | Step::Sent(_) | Step::Acknowledged(_));
        self.heard.0.lock().unwrap().iter().filter(quiet).cloned().collect()
    }

    pub(crate) async fn stop(self) {
        self.stop.send_replace(true);
        self.task.await.unwrap();
    }
}

pub(crate) fn position_file(dir: &Path) -> PathBuf {
    dir.join("published")
}

/// A client of its own, which sees what a subscriber sees.
pub(crate) async fn jetstream(broker: &Broker) -> Context {
    jetstream::new(async_nats::connect(broker.url()).await.unwrap())
}

/// All messages of a stream: the sequence of each one's event.
pub(crate) async fn events_in(broker: &Broker, stream: &str) -> Vec<u64> {
    let jetstream = jetstream(broker).await;
    let stream = jetstream.get_stream(stream).await.unwrap();
    let state = &stream.cached_info().state;
    let mut events = Vec::new();
    if state.messages == 0 {
        return events;
    }
    for place in state.first_sequence..=state.last_sequence {
        let message = stream.get_raw_message(place).await.unwrap();
        let id = message.headers.get("Nats-Msg-Id").unwrap().as_str().to_owned();
        let sequence: u64 = message.headers.get("ce-sequence").unwrap().as_str().parse().unwrap();
        assert!(id.starts_with(&format!("{ID}-{sequence}-")), "an event has one id: {id}");
        events.push(sequence);
    }
    events
}

/// Whether a stream holds nothing at the moment.
pub(crate) async fn is_empty(broker: &Broker, stream: &str) -> bool {
    let stream = jetstream(broker).await.get_stream(stream).await.unwrap();
    stream.cached_info().state.messages == 0
}

pub(crate) fn all(up_to: u64) -> Vec<u64> {
    (1..=up_to).collect()
}
