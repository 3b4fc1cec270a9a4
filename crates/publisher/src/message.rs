//! An event as a CloudEvent 1.0 in binary mode (the NATS binding, version 1.0.2): its attributes in headers, the event in the
//! payload.
//!
//! | header | value |
//! |---|---|
//! | `ce-id` | `<log id>-<sequence>`: the same for every copy of this event |
//! | `Nats-Msg-Id` | the same and a checksum of the event, so that not even another history of this log has it |
//! | `ce-source` | `/tagtrail/logs/<log id>` |
//! | `ce-type` | `tagtrail.v1.<kind>` |
//! | `ce-subject` | `<namespace>/<stream>` or `<namespace>/<stream>:<tag>` |
//! | `ce-time` | when it was recorded (RFC 3339) |
//! | `ce-sequence` | the sequence, 20 digits: as the CloudEvents extension wants it, it sorts as text |
//! | `traceparent` | of the request, where it had one |
//! | `content-type` | `application/json` or `application/protobuf` |

use async_nats::HeaderMap;
use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream::message::StreamMessage;
use bytes::Bytes;
use prost::Message as _;
use tagtrail_api::kind::{self, Kind};
use tagtrail_api::v1::Event;
use tagtrail_event_log::{Log, LogId, Stored};

use crate::{Trouble, subject};

/// What the names of `ce-type` begin with: the package of the protobuf `Event`.
const TYPE: &str = "tagtrail.v1";
/// Most bytes of events that are read at once.
const PAGE_BYTES: usize = 4 << 20;

/// How the payload is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Encoding {
    /// Protobuf's JSON mapping of the event.
    Json,
    /// The bytes of the event, exactly as the log keeps them.
    Protobuf,
}

impl Encoding {
    fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Protobuf => "application/protobuf",
        }
    }
}

/// How the events of one log become messages.
#[derive(Clone, Debug)]
pub(crate) struct Form {
    pub(crate) log: LogId,
    pub(crate) prefix: String,
    pub(crate) encoding: Encoding,
}

/// An event on its way.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    /// The event's sequence.
    pub(crate) event: u64,
    /// `Nats-Msg-Id`: what the next message is conditional on.
    pub(crate) id: String,
    pub(crate) subject: String,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Bytes,
}

impl Form {
    /// The event as a message.
    pub(crate) fn message(&self, stored: &Stored) -> Result<Message, Trouble> {
        let (event, kind) = read(stored)?;
        let tag = kind::tag(&event);
        let mut headers = attributes(self.log, &event, kind);
        let id = format!("{}-{:08x}", id(self.log, stored.sequence), crc32c::crc32c(&stored.payload));
        headers.insert(NATS_MESSAGE_ID, &*id);
        headers.insert("content-type", self.encoding.content_type());
        if !event.traceparent.is_empty() {
            headers.insert("traceparent", &*event.traceparent);
        }
        let payload = match self.encoding {
            Encoding::Json => tagtrail_api::json::event(&event).into(),
            Encoding::Protobuf => stored.payload.clone(),
        };
        let subject = subject::of_event(&self.prefix, &event.namespace, &event.stream, tag, kind);
        Ok(Message { event: stored.sequence, id, subject, headers, payload })
    }
}

/// The CloudEvents attributes of an event.
pub(crate) fn attributes(log: LogId, event: &Event, kind: Kind) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("ce-specversion", "1.0");
    headers.insert("ce-id", id(log, event.sequence));
    headers.insert("ce-source", source(log));
    headers.insert("ce-type", format!("{TYPE}.{kind}"));
    headers.insert("ce-subject", about(event, kind::tag(event)));
    headers.insert("ce-time", time(event));
    headers.insert("ce-sequence", format!("{:020}", event.sequence));
    headers
}

/// The one id of an event.
fn id(log: LogId, sequence: u64) -> String {
    format!("{log}-{sequence}")
}

/// Events from a sequence on, as many as are asked for and fit.
pub(crate) fn read_page(log: &dyn Log, from: u64, count: usize) -> Result<Vec<Stored>, Trouble> {
    let events = log.read(from, count, PAGE_BYTES).map_err(|error| Trouble::Refused(error.to_string()))?;
    if events.is_empty() {
        return Err(Trouble::Refused(format!("event {from} is not in the log")));
    }
    Ok(events)
}

/// A stored event and its kind.
pub(crate) fn read(stored: &Stored) -> Result<(Event, Kind), Trouble> {
    let newer = |why: &dyn std::fmt::Display| {
        Trouble::Refused(format!("event {} cannot be published: {why}", stored.sequence))
    };
    let event = Event::decode(stored.payload.clone()).map_err(|error| newer(&error))?;
    let kind = Kind::of(&event).ok_or_else(|| newer(&"only a newer version knows what it says"))?;
    Ok((event, kind))
}

/// Which log a message is from: the `ce-source`.
pub(crate) fn source(log: LogId) -> String {
    format!("/tagtrail/logs/{log}")
}

fn about(event: &Event, tag: Option<&str>) -> String {
    let Event { namespace, stream, .. } = event;
    match tag {
        Some(tag) => format!("{namespace}/{stream}:{tag}"),
        None => format!("{namespace}/{stream}"),
    }
}

fn time(event: &Event) -> String {
    event.recorded_at.as_ref().map(ToString::to_string).unwrap_or_default()
}

/// What a message in a stream says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Seen {
    /// Its place in the stream.
    pub(crate) place: u64,
    /// `ce-source`. Empty: it is no event of any log.
    pub(crate) source: String,
    /// The sequence of its event. 0: it is none.
    pub(crate) event: u64,
    /// Its subject.
    pub(crate) subject: String,
    /// What else tells one event from another of the same number: `ce-subject`, `ce-type`, `ce-time`.
    pub(crate) mark: [String; 3],
}

impl Seen {
    /// Reads a message of a stream.
    pub(crate) fn of(message: &StreamMessage) -> Self {
        Self::new(message.sequence, message.subject.as_str(), &message.headers)
    }

    /// What an event of ours would say, standing there.
    pub(crate) fn expected(place: u64, message: &Message) -> Self {
        Self::new(place, &message.subject, &message.headers)
    }

    /// Whether it says the same of its event as the attributes of another do.
    pub(crate) fn is_of(&self, attributes: &HeaderMap) -> bool {
        Self { subject: String::new(), ..self.clone() } == Self::new(self.place, "", attributes)
    }

    fn new(place: u64, subject: &str, headers: &HeaderMap) -> Self {
        let header =
            |name: &str| headers.get(name).map(|value| value.as_str().to_owned()).unwrap_or_default();
        Self {
            place,
            source: header("ce-source"),
            event: header("ce-sequence").parse().unwrap_or(0),
            subject: subject.to_owned(),
            mark: ["ce-subject", "ce-type", "ce-time"].map(header),
        }
    }
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;
    use tagtrail_api::v1::event::Fact;
    use tagtrail_api::v1::{HistoryChange, HistoryItem, TagMoved};

    use super::*;

    fn stored(event: &Event) -> Stored {
        Stored { sequence: event.sequence, last_of_run: true, payload: event.encode_to_vec().into() }
    }

    fn moved() -> Event {
        let item = |image: &str| HistoryItem { image: image.into(), ..HistoryItem::default() };
        Event {
            sequence: 12,
            namespace: "test".into(),
            stream: "python".into(),
            recorded_at: Some(Timestamp { seconds: 1_700_000_002, nanos: 5_000_000 }),
            reason: "tested".into(),
            traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into(),
            fact: Some(Fact::TagMoved(TagMoved {
                tag: "3.6".into(),
                item: Some(item("sha256:b")),
                previous: Some(item("sha256:a")),
                replaces_sequence: 9,
                change: HistoryChange::Added.into(),
                ..TagMoved::default()
            })),
            ..Event::default()
        }
    }

    fn form(encoding: Encoding) -> Form {
        Form { log: LogId::from_bytes([0xAB; 16]), prefix: "tagtrail".into(), encoding }
    }

    #[test]
    fn an_event_is_a_cloud_event() {
        let message = form(Encoding::Json).message(&stored(&moved())).expect("a message");
        assert_eq!(message.subject, "tagtrail.events.test.python.3=2E6.tag-moved");
        let log = "ab".repeat(16);
        let expected = [
            ("Nats-Msg-Id", message.id.clone()),
            ("ce-specversion", "1.0".into()),
            ("ce-id", format!("{log}-12")),
            ("ce-source", format!("/tagtrail/logs/{log}")),
            ("ce-type", "tagtrail.v1.tag-moved".into()),
            ("ce-subject", "test/python:3.6".into()),
            ("ce-time", "2023-11-14T22:13:22.005Z".into()),
            ("ce-sequence", "00000000000000000012".into()),
            ("content-type", "application/json".into()),
            ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into()),
        ];
        for (name, value) in &expected {
            assert_eq!(message.headers.get(*name).map(|v| v.as_str()), Some(value.as_str()), "{name}");
        }
        assert_eq!(message.headers.len(), expected.len());
        assert!(message.id.starts_with(&format!("{log}-12-")), "{}", message.id);
        let json: serde_json::Value = serde_json::from_slice(&message.payload).expect("JSON");
        assert_eq!(json["tagMoved"]["item"]["image"], "sha256:b");
        assert_eq!(json["tagMoved"]["previous"]["image"], "sha256:a");
        assert_eq!(json["tagMoved"]["replacesSequence"], 9);
        assert_eq!(json["reason"], "tested");
    }

    #[test]
    fn as_protobuf_it_is_the_very_bytes_of_the_log() {
        let stored = stored(&moved());
        let message = form(Encoding::Protobuf).message(&stored).expect("a message");
        assert_eq!(message.payload, stored.payload);
        assert_eq!(message.headers.get("content-type").expect("one").as_str(), "application/protobuf");
    }

    #[test]
    fn what_is_sent_can_be_recognised() {
        let message = form(Encoding::Json).message(&stored(&moved())).expect("a message");
        let seen = Seen::expected(7, &message);
        assert_eq!((seen.place, seen.event), (7, 12));
        assert_eq!(seen.source, source(LogId::from_bytes([0xAB; 16])));
        let other = Event { recorded_at: Some(Timestamp { seconds: 1, nanos: 0 }), ..moved() };
        let other = form(Encoding::Json).message(&self::stored(&other)).expect("a message");
        assert_ne!(Seen::expected(7, &other), seen, "another event of the same number");
        assert_ne!(other.id, message.id);
    }

    #[test]
    fn what_this_version_does_not_know_is_not_published() {
        let error = form(Encoding::Json).message(&stored(&Event { fact: None, ..moved() })).expect_err("no");
        let said = "event 12 cannot be published: only a newer version knows what it says";
        assert_eq!(error.to_string(), said);
    }
}
