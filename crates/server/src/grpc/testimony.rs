//! Taking over image streams from elsewhere: the wire's stream as a testimony, and what became of it.

use std::collections::BTreeSet;

use tagtrail_api::v1;
use tagtrail_domain::command::{Testimony, ToldFailure, ToldTag};
use tagtrail_domain::event::TestimonyTaken;
use tagtrail_domain::state::CHECK_ANNOTATION;
use tagtrail_domain::tag::{Entries, TagSpec};
use tagtrail_domain::{
    Command, Digest, Event, Fact, Failure, FailureKind, HistoryItem, Platform, Refusal, StreamKey, TagName,
    Timestamp,
};
use tonic::{Request, Status};

use super::{Services, check, opened, result};
use crate::convert;
use crate::moment::timestamp;
use crate::writer::Origin;

/// What an envelope takes beside its texts, in bytes, at most: numbers, times, an id of a stream, and the tags of all fields.
const ENVELOPE_BYTES: usize = 160;
/// The first and the last second that RFC 3339 can write: years 1 to 9999.
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

impl Services {
    pub(super) async fn taken(
        &self,
        request: Request<v1::TakeTestimonyRequest>,
    ) -> Result<v1::TakeTestimonyResponse, Status> {
        let (request, origin) = opened(request)?;
        let key = check(convert::key(&request.namespace, &request.name))?;
        let dry_run = request.dry_run;
        let testimony = check(testimony(&key, request, &origin))?;
        let command = Command::TakeTestimony(Box::new(testimony));
        if dry_run {
            let events = check(self.try_together(&[(key, command)], &origin))?;
            let events: Vec<&Event> = events.iter().map(|(_, event)| event).collect();
            return Ok(v1::TakeTestimonyResponse { there: true, ..brought(&events) });
        }
        let written = self.write(&key, command, origin).await?;
        let events: Vec<&Event> = written.events.iter().map(|recorded| &recorded.event).collect();
        let now = self.view.stream(&key);
        let lives = now.life.as_ref().map(|stream| stream.uid.as_str());
        let there = lives == events.first().map(|event| event.stream_uid.as_str());
        Ok(v1::TakeTestimonyResponse { there, result: Some(result(&written)), ..brought(&events) })
    }
}

/// What a testimony brought, as its events tell.
fn brought(events: &[&Event]) -> v1::TakeTestimonyResponse {
    let tags: BTreeSet<&TagName> = events.iter().filter_map(|event| event.fact.tag()).collect();
    let items = events.iter().filter(|event| matches!(event.fact, Fact::TagMoved(_)));
    let left_out = events.iter().find_map(|event| match &event.fact {
        Fact::TestimonyTaken(told) => Some(told.items_left_out),
        _ => None,
    });
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    v1::TakeTestimonyResponse {
        tags: number(tags.len()),
        items: number(items.count()),
        items_left_out: left_out.unwrap_or(0),
        ..v1::TakeTestimonyResponse::default()
    }
}

fn testimony(
    key: &StreamKey,
    request: v1::TakeTestimonyRequest,
    origin: &Origin,
) -> Result<Testimony, Refusal> {
    let stream = request.stream.unwrap_or_default();
    let document_digest = Digest::parse(&request.document_digest).map_err(|why| {
        let text = &request.document_digest;
        Refusal::Malformed(format!("the document's digest \"{text}\" is none: {why}"))
    })?;
    let mut annotations = stream.annotations;
    // The server keeps it itself, and shows it as an annotation again.
    let checked_at = annotations.remove(CHECK_ANNOTATION).map(|text| {
        let at = chrono::DateTime::parse_from_rfc3339(&text).ok();
        let field = || format!("metadata.annotations[{CHECK_ANNOTATION}]");
        at.map(|at| Timestamp::new(at.timestamp(), 0)).ok_or_else(|| wrong(key, &field(), &text, NO_TIME))
    });
    let told = TestimonyTaken {
        document: request.document,
        document_digest,
        namespace: stream.namespace,
        name: stream.name,
        uid: stream.uid,
        resource_version: request.resource_version,
        created: time(key, "metadata.creationTimestamp", stream.created)?,
        checked_at: checked_at.transpose()?,
        items_left_out: 0,
    };
    Ok(Testimony {
        told,
        generation: stream.generation,
        lookup_local: stream.lookup_local,
        labels: stream.labels,
        annotations,
        tags: tags(key, stream.tags, stream.statuses)?,
        envelope_bytes: envelope_bytes(key, origin),
    })
}

/// The tags, in the order of their specs, then those with history only.
fn tags(key: &StreamKey, specs: Vec<v1::Tag>, statuses: Vec<v1::TagStatus>) -> Result<Vec<ToldTag>, Refusal> {
    let mut tags: Vec<ToldTag> = Vec::new();
    for v1::Tag { name, spec } in specs {
        let tag = tag_name(key, "spec", &name)?;
        let spec = Some(tag_spec(key, &tag, spec.unwrap_or_default())?);
        tags.push(ToldTag { tag, spec, items: Vec::new(), failure: None });
    }
    let mut seen = BTreeSet::new();
    for status in statuses {
        let tag = tag_name(key, "status", &status.tag)?;
        if !seen.insert(tag.clone()) {
            return Err(Refusal::Malformed(format!("the history of {}:{tag} is told twice", key.name)));
        }
        let items = status.items.into_iter().enumerate();
        let items =
            items.map(|(number, item)| history_item(key, &tag, number, item)).collect::<Result<_, _>>()?;
        let failure = status.import_failure.map(|failure| told_failure(key, &tag, failure)).transpose()?;
        match tags.iter_mut().find(|told| told.tag == tag) {
            Some(told) => (told.items, told.failure) = (items, failure),
            None => tags.push(ToldTag { tag, spec: None, items, failure }),
        }
    }
    tags.sort_by(|one, other| one.tag.cmp(&other.tag));
    Ok(tags)
}

fn tag_name(key: &StreamKey, part: &str, name: &str) -> Result<TagName, Refusal> {
    TagName::parse(name)
        .map_err(|error| Refusal::invalid_stream(key.name.as_str(), format!("{part}.tags[{name}]: {error}")))
}

fn tag_spec(key: &StreamKey, tag: &TagName, spec: v1::TagSpec) -> Result<TagSpec, Refusal> {
    let annotations: Entries = spec.annotations.into_iter().map(|entry| (entry.key, entry.value)).collect();
    let at_tag = |refusal: Refusal| {
        Refusal::invalid_stream(key.name.as_str(), format!("spec.tags[{tag}].from: {refusal}"))
    };
    Ok(TagSpec {
        reference: spec.reference,
        generation: spec.generation,
        reference_policy: convert::reference_policy(
            v1::ReferencePolicy::try_from(spec.reference_policy).unwrap_or_default(),
        ),
        import_policy: convert::import_policy(spec.import_policy)?,
        source: spec.source.map(convert::source).transpose().map_err(at_tag)?,
        annotations,
    })
}

fn history_item(
    key: &StreamKey,
    tag: &TagName,
    number: usize,
    item: v1::HistoryItem,
) -> Result<HistoryItem, Refusal> {
    let field = |name: &str| format!("status.tags[{tag}].items[{number}].{name}");
    let digest = |name: &str, text: &str| match text {
        "" => Ok(None),
        _ => Digest::parse(text).map(Some).map_err(|why| wrong(key, &field(name), text, &why.to_string())),
    };
    let created = time(key, &field("created"), item.created)?;
    let missing =
        || Refusal::invalid_stream(key.name.as_str(), format!("{}: Required value", field("created")));
    Ok(HistoryItem {
        created: created.ok_or_else(missing)?,
        image: digest("image", &item.image)?,
        index: digest("index", &item.index)?,
        reference: item.docker_image_reference,
        generation: item.generation,
        // Said by a document, they would be taken for seen.
        media_type: String::new(),
        platform: None::<Platform>,
    })
}

fn told_failure(key: &StreamKey, tag: &TagName, told: v1::ImportCondition) -> Result<ToldFailure, Refusal> {
    let failure = told.failure.unwrap_or_default();
    let field = format!("status.tags[{tag}].conditions.lastTransitionTime");
    Ok(ToldFailure {
        failure: Failure { kind: kind_of(&failure.reason), reason: failure.reason, message: failure.message },
        generation: told.generation,
        since: time(key, &field, told.last_transition_time)?,
    })
}

/// What kind of failure OpenShift's word stands for. Most of what goes wrong it calls `InternalError`.
fn kind_of(reason: &str) -> FailureKind {
    match reason {
        "NotFound" => FailureKind::NotFound,
        "Unauthorized" => FailureKind::Unauthorized,
        "Forbidden" => FailureKind::Forbidden,
        "TooManyRequests" => FailureKind::RateLimited,
        "Invalid" => FailureKind::InvalidReference,
        _ => FailureKind::BadAnswer,
    }
}

const NO_TIME: &str = "must be a time of the years 1 to 9999, as RFC 3339 has it";

fn time(
    key: &StreamKey,
    field: &str,
    at: Option<prost_types::Timestamp>,
) -> Result<Option<Timestamp>, Refusal> {
    let Some(at) = at else { return Ok(None) };
    let told = timestamp(at.seconds, at.nanos).filter(|_| SECONDS.contains(&at.seconds));
    told.map(Some).ok_or_else(|| wrong(key, field, &format!("{}.{:09}", at.seconds, at.nanos), NO_TIME))
}

fn wrong(key: &StreamKey, field: &str, value: &str, why: &str) -> Refusal {
    Refusal::invalid_stream(key.name.as_str(), format!("{field}: Invalid value: \"{value}\": {why}"))
}

/// What the envelope of each event takes at most: its texts are in every one of them.
fn envelope_bytes(key: &StreamKey, origin: &Origin) -> usize {
    ENVELOPE_BYTES
        + key.namespace.as_str().len()
        + key.name.as_str().len()
        + origin.name.len()
        + origin.actor.name.len()
        + origin.reason.len()
        + origin.request_id.len()
        + origin.request_digest.len()
        + origin.traceparent.len()
}
