//! What the log says up to a moment: its events, and the streams they make.

use prost_types::Timestamp as ProtoTimestamp;
use serde_json::{Map, Value};
use tagtrail_api::kind::{self, Kind};
use tagtrail_api::v1;
use tagtrail_domain::apply::Position;
use tagtrail_domain::permitted::Checker;
use tagtrail_domain::{Model, Recorded, Timestamp};
use tagtrail_event_log::codec;
use tagtrail_transparency::{Checkpoint, Frontier, hash};

use crate::source::{Source, SourceError};
use crate::trust::Trust;
use crate::verify;
use crate::wrong::Wrong;

/// Up to where.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Until {
    /// To the end.
    End,
    /// To the end of the command that this event belongs to. 0: before everything.
    Sequence(u64),
    /// To the last event that was recorded then.
    Time(Timestamp),
}

impl Until {
    /// Whether an event is past it.
    fn is_before(self, recorded: &Recorded) -> bool {
        match self {
            Until::End => false,
            Until::Sequence(sequence) => recorded.run.first_sequence > sequence,
            Until::Time(time) => recorded.recorded_at > time,
        }
    }
}

/// One event of a replay.
#[derive(Debug)]
pub struct Step<'a> {
    /// The event.
    pub recorded: &'a Recorded,
    /// The same in the words of the wire.
    pub event: v1::Event,
    /// Whether it is the last of its run: only then may somebody stop and look.
    pub ends_run: bool,
}

/// What a replay came to.
#[derive(Debug)]
pub struct Replayed {
    /// The streams, as they are in the end.
    pub model: Model,
    /// The last event that was replayed, and when it was recorded. `None`: none was.
    pub last: Option<(u64, Timestamp)>,
    /// How many events the checkpoint is of that they lead to. 0: there is none.
    pub signed: u64,
}

/// Goes through a log event by event, checking that each may stand where it stands, and gives the streams as they are in the
/// end. `visit` sees each event with the streams after it.
///
/// The log's own checkpoint must be one to believe, and the events must lead to its root: they are read up to there, also where less
/// is asked for. What `visit` saw is what was signed only if this ends well.
///
/// # Errors
/// What the source or `visit` says, or [`Wrong`].
pub fn replay<E: From<SourceError>>(
    source: &dyn Source,
    trust: &Trust,
    until: Until,
    mut visit: impl FnMut(&Step<'_>, &Model) -> Result<(), E>,
) -> Result<Replayed, E> {
    let wrong = |wrong: Wrong| E::from(wrong.into());
    let name = format!("of {}", source.name());
    let signed = source.checkpoint().map(|note| trust.open(&name, note)).transpose().map_err(wrong)?;
    if let (None, Trust::Given(_)) = (&signed, trust) {
        let why = format!("{} has no checkpoint, so nobody has signed for its events", source.name());
        return Err(SourceError::Unreadable(why).into());
    }
    let due = signed.as_ref().map_or(0, Checkpoint::size);
    let mut checker = Checker::default();
    let mut tree = Frontier::new();
    let mut replayed = Replayed { model: Model::default(), last: None, signed: 0 };
    let mut over = false;
    for entry in source.entries(1).map_err(E::from)? {
        let entry = entry.map_err(E::from)?;
        if !over {
            // Before it is applied: an event that does not belong there cannot be.
            let recorded = verify::check(&mut checker, &entry).map_err(wrong)?;
            over = until.is_before(&recorded);
            if !over {
                step(&recorded, &mut replayed, &mut visit)?;
            }
        }
        if over && tree.size() >= due {
            break;
        }
        tree.push(hash::leaf(&entry.payload));
        if let Some(signed) = signed.as_ref().filter(|_| tree.size() == due) {
            agree(&name, signed, &tree).map_err(wrong)?;
            replayed.signed = due;
        }
    }
    if tree.size() < due {
        return Err(wrong(Wrong::CheckpointNewerThanLog { name, size: due, log: tree.size() }));
    }
    Ok(replayed)
}

fn step<E>(
    recorded: &Recorded,
    replayed: &mut Replayed,
    visit: &mut impl FnMut(&Step<'_>, &Model) -> Result<(), E>,
) -> Result<(), E> {
    let at = Position { sequence: recorded.sequence, recorded_at: recorded.recorded_at };
    replayed.model.apply(&recorded.stream, &recorded.event, at);
    replayed.last = Some((at.sequence, at.recorded_at));
    let ends_run = recorded.sequence + 1 == recorded.run.first_sequence + u64::from(recorded.run.length);
    let event = codec::to_proto::event(recorded);
    visit(&Step { recorded, event, ends_run }, &replayed.model)
}

/// The events lead to what was signed.
fn agree(name: &str, signed: &Checkpoint, tree: &Frontier) -> Result<(), Wrong> {
    let (size, computed) = (signed.size(), tree.root());
    if computed == *signed.root() {
        return Ok(());
    }
    let (name, signed) = (name.to_owned(), *signed.root());
    Err(Wrong::CheckpointInconsistent { name, size, signed, computed, first: 1, last: size })
}

/// An event as a CloudEvent 1.0 in structured mode, on one line: the attributes that a publisher puts into headers, and the
/// event as its data.
///
/// # Errors
/// If only a newer version knows what the event says.
pub fn cloud_event(log: &str, event: &v1::Event) -> Result<String, NoCloudEvent> {
    let sequence = event.sequence;
    let kind = Kind::of(event).ok_or(NoCloudEvent { sequence })?;
    let data =
        serde_json::from_str(&tagtrail_api::json::event(event)).map_err(|_| NoCloudEvent { sequence })?;
    let stream = format!("{}/{}", event.namespace, event.stream);
    let subject = kind::tag(event).map_or(stream.clone(), |tag| format!("{stream}:{tag}"));
    let time = event.recorded_at.as_ref().map(ProtoTimestamp::to_string).unwrap_or_default();
    let mut fields = Map::new();
    let mut field = |name: &str, value: String| fields.insert(name.into(), Value::String(value));
    field("specversion", "1.0".into());
    field("id", format!("{log}-{sequence}"));
    field("source", format!("/tagtrail/logs/{log}"));
    field("type", format!("tagtrail.v1.{kind}"));
    field("subject", subject);
    field("time", time);
    field("sequence", format!("{sequence:020}"));
    if !event.traceparent.is_empty() {
        field("traceparent", event.traceparent.clone());
    }
    field("datacontenttype", "application/json".into());
    fields.insert("data".into(), data);
    Ok(Value::Object(fields).to_string())
}

/// The event has no kind that this version knows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("event {sequence} is of a kind that only a newer version knows: use that")]
pub struct NoCloudEvent {
    /// The event.
    pub sequence: u64,
}
