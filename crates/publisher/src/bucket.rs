//! What each tag points to now, as a JetStream key-value bucket, for whoever wants the present and no history.
//!
//! A key is `<namespace>.<stream>.<tag>`, each part escaped as in subjects; its value is JSON: `image`, `reference`, and
//! the `sequence` and `recordedAt` of the event that moved the tag there. A tag that points to nothing has no key.
//!
//! The bucket tells by itself how far it is: each entry carries the attributes of its event, as messages do. So a bucket that
//! is lost, or new, is filled from the log; one whose newest entries were purged is brought up from what is left. Of several
//! changes of one key that are read together only the last is written.

use std::collections::{BTreeMap, HashMap};
use std::future::IntoFuture;
use std::sync::Arc;

use async_nats::HeaderMap;
use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{Config, DiscardPolicy, Info, RetentionPolicy, StorageType, Stream};
use bytes::Bytes;
use serde_json::json;
use tagtrail_api::kind::Kind;
use tagtrail_api::v1::Event;
use tagtrail_api::v1::event::Fact;
use tagtrail_domain::limits;
use tagtrail_event_log::{Log, LogId, Stored};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::link::Link;
use crate::message::{self, Seen, read, read_page};
use crate::observer::{Observer, Step};
use crate::outbox::WINDOW;
use crate::session::{IDLE_LOOK, KeptUp, turned_true};
use crate::stream::{self, LOG, Wanted, told};
use crate::{Trouble, subject};

/// Most events that are read together.
const PAGE_EVENTS: usize = 1_000;

/// Keeps the bucket up to the log.
pub(crate) struct Bucket {
    name: String,
    replicas: usize,
    log: Arc<dyn Log>,
    visible: watch::Receiver<u64>,
    link: Arc<Link>,
    observer: Arc<dyn Observer>,
}

/// What becomes of a key.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Change {
    key: String,
    /// The event that says so: its sequence and its attributes.
    event: u64,
    attributes: HeaderMap,
    /// The new value. `None`: the key goes.
    value: Option<Bytes>,
}

/// What a page of events makes of the bucket.
#[derive(Default, PartialEq, Eq, Debug)]
struct Changes {
    /// In order of their events, each key once.
    changes: Vec<Change>,
    /// A stream that was deleted with more tags than its event could name: whatever is left of it goes, after the changes.
    emptied: Option<Emptied>,
    /// Up to which event this goes.
    last: u64,
}

/// Where the bucket ends: the place of the last entry, and its id if it is ours of this session.
struct End {
    place: u64,
    id: Option<String>,
}

#[derive(PartialEq, Eq, Debug)]
struct Emptied {
    namespace: String,
    stream: String,
    attributes: HeaderMap,
}

impl Bucket {
    pub(crate) fn new(
        name: String,
        replicas: usize,
        log: Arc<dyn Log>,
        visible: watch::Receiver<u64>,
        link: Arc<Link>,
        observer: Arc<dyn Observer>,
    ) -> Self {
        Self { name, replicas, log, visible, link, observer }
    }
}

impl KeptUp for Bucket {
    async fn session(&self, mut stop: watch::Receiver<bool>, moved: &mut bool) -> Result<(), Trouble> {
        let breaks = self.link.breaks();
        let taken = tokio::select! {
            taken = stream::take(&self.link.jetstream, self.log.id(), self.wanted()) => {
                taken.map_err(|trouble| self.link.explained(trouble))?
            }
            () = self.link.broken(breaks) => return Err(self.link.broke()),
            () = turned_true(&mut stop) => return Ok(()),
        };
        // The same event may make other entries this time, so late ones of before must not come between.
        stream::keeps_still(&taken.stream, taken.last_place).await?;
        let mut visible = self.visible.clone();
        // The event of the newest entry again: it may have changed more keys than those that were written.
        let mut next = match &taken.newest {
            Some(newest) => self.same_history(newest)?,
            None => 1,
        };
        let mut end = End { place: taken.last_place, id: None };
        self.observer.step(Step::BucketTrouble(String::new()));
        let mut look = Instant::now() + IDLE_LOOK;
        loop {
            let last = *visible.borrow_and_update();
            while next <= last {
                let changes = self.read(next, last).await?;
                if self.write(&taken.stream, &changes, &mut end, breaks).await? {
                    look = Instant::now() + IDLE_LOOK;
                }
                *moved = true;
                next = changes.last + 1;
                self.observer.step(Step::BucketAt(changes.last));
                if *stop.borrow() {
                    return Ok(());
                }
            }
            tokio::select! {
                () = turned_true(&mut stop) => return Ok(()),
                () = self.link.broken(breaks) => return Err(self.link.broke()),
                changed = visible.changed() => if changed.is_err() { return Ok(()) },
                // Events that move no tag are not written, and tell nothing of how the bucket is.
                () = tokio::time::sleep_until(look) => {
                    stream::still_ends_with(&taken.stream, end.place).await?;
                    look = Instant::now() + IDLE_LOOK;
                }
            }
        }
    }

    fn trouble(&self, trouble: &Trouble) {
        let problem = trouble.to_string();
        tracing::warn!(problem, bucket = self.name, "the bucket is not kept up");
        self.observer.step(Step::BucketTrouble(problem));
    }
}

impl Bucket {
    /// Makes sure that the newest entry is of an event of this log, and gives its sequence.
    fn same_history(&self, newest: &Seen) -> Result<u64, Trouble> {
        let (name, event, head) = (&self.name, newest.event, self.log.head());
        let delete = "delete the bucket to have it filled from this log";
        if event > head {
            return Err(Trouble::Refused(format!(
                "the bucket {name} is at event {event} of this log, and the log ends with {head}: an older copy of the data directory \
                 was put back; {delete}"
            )));
        }
        let (ours, kind) = read(&read_page(&*self.log, event, 1)?[0])?;
        if !newest.is_of(&message::attributes(self.log.id(), &ours, kind)) {
            return Err(Trouble::Refused(format!(
                "the bucket {name} holds another event {event} than this log: two servers went on from copies of one data directory; \
                 end the wrong one, and {delete}"
            )));
        }
        Ok(event)
    }

    /// The stream behind the bucket, as the key-value design of JetStream (ADR-8) has it.
    fn wanted(&self) -> Wanted {
        let config = Config {
            name: stream_of(&self.name),
            description: Some("What each tag of Tagtrail's image streams points to now".into()),
            subjects: vec![format!("{}>", self.subjects())],
            storage: StorageType::File,
            retention: RetentionPolicy::Limits,
            discard: DiscardPolicy::New,
            num_replicas: self.replicas,
            max_bytes: -1,
            max_messages: -1,
            max_messages_per_subject: 1,
            max_consumers: -1,
            duplicate_window: std::time::Duration::from_secs(120),
            deny_delete: true,
            allow_rollup: true,
            allow_direct: true,
            metadata: HashMap::from([(LOG.to_owned(), self.log.id().to_string())]),
            ..Config::default()
        };
        Wanted { config, remedy: "set nats.bucket to a name that nothing else uses" }
    }

    fn subjects(&self) -> String {
        format!("$KV.{}.", self.name)
    }

    async fn read(&self, from: u64, last: u64) -> Result<Changes, Trouble> {
        let log = self.log.clone();
        let count = usize::try_from(last + 1 - from).unwrap_or(usize::MAX).min(PAGE_EVENTS);
        let read = move || changes(log.id(), &read_page(&*log, from, count)?);
        tokio::task::spawn_blocking(read).await.map_err(|error| Trouble::Broken(error.to_string()))?
    }

    /// Writes what events make of the bucket, and gives whether that was anything.
    async fn write(
        &self,
        stream: &Stream<Info>,
        changes: &Changes,
        end: &mut End,
        breaks: u64,
    ) -> Result<bool, Trouble> {
        let before = end.place;
        let write_all = async {
            self.send(&changes.changes, end).await?;
            if let Some(Emptied { namespace, stream: name, attributes }) = &changes.emptied {
                let left = self.left_of(stream, namespace, name).await?;
                let gone =
                    |key| Change { key, event: changes.last, attributes: attributes.clone(), value: None };
                self.send(&left.into_iter().map(gone).collect::<Vec<_>>(), end).await?;
            }
            Ok(end.place > before)
        };
        tokio::select! {
            written = write_all => written,
            () = self.link.broken(breaks) => Err(self.link.broke()),
        }
    }

    /// Writes changes, each on the condition that the bucket ends with the one before it: see `outbox`.
    async fn send(&self, changes: &[Change], end: &mut End) -> Result<(), Trouble> {
        for window in changes.chunks(WINDOW) {
            let mut acks = Vec::with_capacity(window.len());
            for change in window {
                let mut headers = change.attributes.clone();
                if change.value.is_none() {
                    headers.insert("KV-Operation", "DEL");
                }
                let place = end.place + 1;
                // Of this place: an entry that is written once more is no repeat to be dropped.
                let id = format!("{}-{}-{place}-{}", self.log.id(), change.event, change.key);
                headers.insert(NATS_MESSAGE_ID, &*id);
                let mut publish = PublishMessage::build()
                    .headers(headers)
                    .payload(change.value.clone().unwrap_or_default())
                    .expected_stream(stream_of(&self.name))
                    .expected_last_sequence(end.place);
                if let Some(id) = &end.id {
                    publish = publish.expected_last_message_id(id);
                }
                let subject = self.subjects() + &change.key;
                let sent = self.link.jetstream.send_publish(subject, publish).await;
                acks.push((place, sent.map_err(|error| Trouble::Broken(told(&error)))?.into_future()));
                *end = End { place, id: Some(id) };
            }
            for (place, ack) in acks {
                let not_stored = |why: String| Trouble::Broken(format!("an entry was not stored: {why}"));
                let stored = ack.await.map_err(|error| not_stored(told(&error)))?;
                if stored.duplicate || stored.sequence != place {
                    return Err(not_stored(format!("message {} was taken for the same", stored.sequence)));
                }
            }
        }
        Ok(())
    }

    /// The keys that a stream has left, those of deleted tags included.
    async fn left_of(
        &self,
        bucket: &Stream<Info>,
        namespace: &str,
        name: &str,
    ) -> Result<Vec<String>, Trouble> {
        let filter = format!("{}{}", self.subjects(), subject::key(namespace, name, "*").replace("=2A", "*"));
        let mut left = Vec::new();
        let broken = |error: &dyn std::error::Error| Trouble::Broken(told(error));
        let mut subjects = bucket.info_with_subjects(filter).await.map_err(|error| broken(&error))?;
        while let Some(subject) = futures_util::StreamExt::next(&mut subjects).await {
            let (subject, _) = subject.map_err(|error| broken(&error))?;
            left.extend(subject.strip_prefix(&self.subjects()).map(str::to_owned));
        }
        Ok(left)
    }
}

/// The stream that a bucket is.
fn stream_of(bucket: &str) -> String {
    format!("KV_{bucket}")
}

/// What events make of the bucket: all of them, or those up to a stream that has to be emptied.
fn changes(log: LogId, events: &[Stored]) -> Result<Changes, Trouble> {
    let mut keys: BTreeMap<String, Change> = BTreeMap::new();
    let mut emptied = None;
    let mut last = 0;
    for stored in events {
        let (event, kind) = read(stored)?;
        last = stored.sequence;
        let attributes = message::attributes(log, &event, kind);
        let mut change = |tag: &str, value: Option<Bytes>| {
            let key = subject::key(&event.namespace, &event.stream, tag);
            let attributes = attributes.clone();
            keys.insert(key.clone(), Change { key, event: last, attributes, value });
        };
        match &event.fact {
            Some(Fact::TagMoved(moved)) if kind == Kind::TagMoved => {
                change(&moved.tag, Some(value(&event, moved.item.as_ref())));
            }
            Some(Fact::TagDeleted(deleted)) if deleted.last.is_some() => change(&deleted.tag, None),
            Some(Fact::TagRestored(restored)) if !restored.items.is_empty() => {
                change(&restored.tag, Some(value(&event, restored.items.first())));
            }
            Some(Fact::StreamDeleted(deleted)) => {
                deleted.tags.iter().for_each(|tag| change(tag, None));
                if deleted.tags.len() >= limits::TAGS_PER_DELETION {
                    let (namespace, stream) = (event.namespace.clone(), event.stream.clone());
                    emptied = Some(Emptied { namespace, stream, attributes });
                    break;
                }
            }
            _ => {}
        }
    }
    let mut changes: Vec<Change> = keys.into_values().collect();
    changes.sort_by_key(|change| change.event);
    Ok(Changes { changes, emptied, last })
}

fn value(event: &Event, item: Option<&tagtrail_api::v1::HistoryItem>) -> Bytes {
    let item = item.cloned().unwrap_or_default();
    let recorded_at = event.recorded_at.as_ref().map(ToString::to_string);
    let mut value = json!({
        "image": item.image,
        "reference": item.docker_image_reference,
        "sequence": event.sequence,
        "recordedAt": recorded_at,
    });
    if item.image.is_empty() {
        // A tag that is only pointed at a name has no image.
        value.as_object_mut().expect("an object").shift_remove("image");
    }
    value.to_string().into()
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use tagtrail_api::v1::{
        HistoryChange, HistoryItem, MoveWithheld, StreamDeleted, TagDeleted, TagHeld, TagMoved, TagRestored,
    };

    use super::*;

    const LOG_ID: LogId = LogId::from_bytes([7; 16]);

    fn stored(sequence: u64, stream: &str, fact: Fact) -> Stored {
        let event = Event {
            sequence,
            namespace: "test".into(),
            stream: stream.into(),
            fact: Some(fact),
            ..Event::default()
        };
        Stored { sequence, last_of_run: true, payload: event.encode_to_vec().into() }
    }

    fn moved(tag: &str, image: &str, change: HistoryChange) -> Fact {
        let item = HistoryItem {
            image: image.into(),
            docker_image_reference: format!("r@{image}"),
            ..HistoryItem::default()
        };
        Fact::TagMoved(TagMoved {
            tag: tag.into(),
            item: Some(item),
            change: change.into(),
            ..TagMoved::default()
        })
    }

    fn deleted(tag: &str) -> Fact {
        let last = Some(HistoryItem::default());
        Fact::TagDeleted(TagDeleted { tag: tag.into(), had_spec: true, last })
    }

    fn in_words(events: &[Stored]) -> String {
        let changes = changes(LOG_ID, events).expect("events");
        let word = |change: &Change| {
            let value: Option<serde_json::Value> =
                change.value.as_ref().map(|value| serde_json::from_slice(value).expect("JSON"));
            let image = value.map_or("gone".into(), |v| v["image"].as_str().unwrap_or("no image").to_owned());
            format!("{} {} {image}", change.event, change.key)
        };
        changes.changes.iter().map(word).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn the_last_change_of_a_key_counts() {
        use HistoryChange::{Added, Renewed};
        let events = [
            stored(1, "app", moved("1.0", "a", Added)),
            stored(2, "app", moved("2", "b", Added)),
            stored(3, "app", moved("1.0", "c", Added)),
            stored(4, "app", moved("2", "b", Renewed)),
        ];
        assert_eq!(in_words(&events), "2 test.app.2 b, 3 test.app.1=2E0 c");
        let more = [stored(5, "app", deleted("2")), stored(6, "app", moved("3", "", Added))];
        assert_eq!(in_words(&more), "5 test.app.2 gone, 6 test.app.3 no image");
        let end = Fact::StreamDeleted(StreamDeleted { tags: vec!["1.0".into(), "3".into()] });
        let again = [stored(7, "app", end), stored(8, "app", moved("3", "d", Added))];
        assert_eq!(in_words(&again), "7 test.app.1=2E0 gone, 8 test.app.3 d");
    }

    #[test]
    fn a_tag_that_comes_back_has_its_key_again() {
        let items = |images: &[&str]| {
            let item = |image: &&str| HistoryItem { image: (*image).into(), ..HistoryItem::default() };
            images.iter().map(item).collect()
        };
        let restored = |tag: &str, images: &[&str]| {
            Fact::TagRestored(TagRestored { tag: tag.into(), items: items(images), ..TagRestored::default() })
        };
        // What it points to is the first of its items. One that pointed to nothing still has no key.
        let events = [
            stored(1, "app", deleted("1")),
            stored(2, "app", restored("1", &["b", "a"])),
            stored(3, "app", restored("2", &[])),
        ];
        assert_eq!(in_words(&events), "2 test.app.1 b");
        // A hold changes nothing, nor does what it keeps away.
        let withheld = MoveWithheld { tag: "1".into(), item: items(&["c"]).pop(), ..MoveWithheld::default() };
        let events = [
            stored(4, "app", Fact::TagHeld(TagHeld { tag: "1".into(), ..TagHeld::default() })),
            stored(5, "app", Fact::MoveWithheld(withheld)),
        ];
        assert_eq!(in_words(&events), "");
    }

    #[test]
    fn a_stream_with_very_many_tags_is_emptied_whole() {
        let tags = (0..limits::TAGS_PER_DELETION).map(|n| n.to_string()).collect();
        let events = [
            stored(1, "app", Fact::StreamDeleted(StreamDeleted { tags })),
            stored(2, "app", moved("3", "d", HistoryChange::Added)),
        ];
        let changes = changes(LOG_ID, &events).expect("events");
        let emptied = changes.emptied.expect("it has too many tags");
        assert_eq!((&*emptied.namespace, &*emptied.stream), ("test", "app"));
        assert_eq!(changes.last, 1, "what comes after waits until it is empty");
    }
}
