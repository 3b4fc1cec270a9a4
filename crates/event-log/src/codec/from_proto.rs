//! The words of the wire as domain types, each through its one door.

use tagtrail_api::v1;
use tagtrail_domain::event::{
    Actor, Event, HistoryChange, ImageRecorded, ImportFinished, ImportOutcome, LogContinued, MoveCause,
    MoveWithheld, Recorded, Run, TagMoved, TagRestored, TestimonyTaken,
};
use tagtrail_domain::state::HoldTerms;
use tagtrail_domain::tag::{
    Entries, ImportMode, ImportPolicy, ReferencePolicy, SourceKind, TagSource, TagSpec,
};
use tagtrail_domain::{
    Digest, Fact, Failure, FailureKind, HistoryItem, Interval, Namespace, Platform, StreamKey, TagName,
    Timestamp,
};
use v1::event::Fact as ProtoFact;

use super::DecodeError;

type Decoded<T> = Result<T, DecodeError>;

pub(super) fn event(event: v1::Event) -> Decoded<Recorded> {
    let run = event.run.ok_or(DecodeError::Missing("run"))?;
    let actor = event.actor.unwrap_or_default();
    let stream = StreamKey::parse(&event.namespace, &event.stream)
        .map_err(|_| unknown("stream", format!("{}/{}", event.namespace, event.stream)))?;
    Ok(Recorded {
        sequence: event.sequence,
        revision: event.revision,
        recorded_at: timestamp(event.recorded_at)?,
        run: Run { first_sequence: run.first_sequence, length: run.length },
        stream,
        actor: Actor { name: actor.name, authenticated: actor.authenticated },
        reason: event.reason,
        command: event.command,
        request_id: event.request_id,
        request_digest: event.request_digest,
        caused_by: event.caused_by,
        traceparent: event.traceparent,
        event: Event {
            stream_uid: event.stream_uid,
            generation: event.generation,
            fact: fact(event.fact.ok_or(DecodeError::Missing("fact that this version knows"))?)?,
        },
    })
}

fn fact(fact: ProtoFact) -> Decoded<Fact> {
    Ok(match fact {
        ProtoFact::StreamCreated(created) => Fact::StreamCreated {
            lookup_local: created.lookup_local,
            labels: entries(created.labels),
            annotations: entries(created.annotations),
        },
        ProtoFact::StreamDeleted(deleted) => {
            Fact::StreamDeleted { tags: deleted.tags.iter().map(|t| tag(t)).collect::<Decoded<_>>()? }
        }
        ProtoFact::StreamMetadataSet(set) => {
            Fact::StreamMetadataSet { labels: entries(set.labels), annotations: entries(set.annotations) }
        }
        ProtoFact::LookupPolicySet(set) => Fact::LookupPolicySet { local: set.local },
        ProtoFact::TagSet(set) => Fact::TagSet {
            tag: tag(&set.tag)?,
            spec: tag_spec(set.spec.ok_or(DecodeError::Missing("tag spec"))?)?,
        },
        ProtoFact::TagDeleted(deleted) => Fact::TagDeleted {
            tag: tag(&deleted.tag)?,
            had_spec: deleted.had_spec,
            last: deleted.last.map(history_item).transpose()?,
        },
        ProtoFact::TagMoved(moved) => Fact::TagMoved(Box::new(tag_moved(moved)?)),
        ProtoFact::ImportFailed(failed) => Fact::ImportFailed {
            tag: tag(&failed.tag)?,
            source: failed.source,
            failure: failure(failed.failure.ok_or(DecodeError::Missing("failure"))?)?,
            generation: failed.generation,
            told_since: optional_timestamp(failed.told_since)?,
        },
        ProtoFact::FailureCleared(cleared) => Fact::FailureCleared { tag: tag(&cleared.tag)? },
        ProtoFact::ImageRecorded(image) => Fact::ImageRecorded(Box::new(image_recorded(image)?)),
        ProtoFact::ImportFinished(import) => Fact::ImportFinished(Box::new(import_finished(import)?)),
        ProtoFact::RepositoryImportFailed(failed) => Fact::RepositoryImportFailed {
            repository: failed.repository,
            failure: failure(failed.failure.ok_or(DecodeError::Missing("failure"))?)?,
        },
        ProtoFact::TagHeld(held) => {
            let (tag, terms) = tag_held(held)?;
            Fact::TagHeld { tag, terms }
        }
        ProtoFact::TagReleased(released) => {
            Fact::TagReleased { tag: tag(&released.tag)?, expired: released.expired }
        }
        ProtoFact::MoveWithheld(withheld) => Fact::MoveWithheld(Box::new(move_withheld(withheld)?)),
        ProtoFact::TagRestored(restored) => Fact::TagRestored(Box::new(tag_restored(restored)?)),
        ProtoFact::TestimonyTaken(told) => Fact::TestimonyTaken(Box::new(testimony_taken(told)?)),
        ProtoFact::LogContinued(continued) => Fact::LogContinued(Box::new(LogContinued {
            old_log_id: continued.old_log_id,
            old_origin: continued.old_origin,
            old_checkpoint: continued.old_checkpoint,
            head: continued.head,
        })),
    })
}

fn tag_held(held: v1::TagHeld) -> Decoded<(TagName, HoldTerms)> {
    let expires_at = optional_timestamp(held.expires_at)?;
    Ok((tag(&held.tag)?, HoldTerms { held_by: held.held_by, reason: held.reason, expires_at }))
}

fn move_withheld(withheld: v1::MoveWithheld) -> Decoded<MoveWithheld> {
    Ok(MoveWithheld {
        tag: tag(&withheld.tag)?,
        cause: cause(withheld.cause, &withheld.followed_tag)?,
        item: history_item(withheld.item.ok_or(DecodeError::Missing("history item"))?)?,
        source: withheld.source,
        copied_from: withheld.copied_from_sequence,
    })
}

fn tag_restored(restored: v1::TagRestored) -> Decoded<TagRestored> {
    Ok(TagRestored {
        tag: tag(&restored.tag)?,
        spec: restored.spec.map(tag_spec).transpose()?,
        items: restored.items.into_iter().map(history_item).collect::<Decoded<_>>()?,
        hold: restored.hold.map(tag_held).transpose()?.map(|(_, terms)| terms),
        as_of: restored.as_of_sequence,
    })
}

fn testimony_taken(told: v1::TestimonyTaken) -> Decoded<TestimonyTaken> {
    Ok(TestimonyTaken {
        document: told.document,
        document_digest: digest(&told.document_digest)?,
        namespace: told.namespace,
        name: told.name,
        uid: told.uid,
        resource_version: told.resource_version,
        created: optional_timestamp(told.created)?,
        checked_at: optional_timestamp(told.checked_at)?,
        items_left_out: told.items_left_out,
    })
}

fn cause(value: i32, followed_tag: &str) -> Decoded<MoveCause> {
    Ok(match v1::MoveCause::try_from(value) {
        Ok(v1::MoveCause::Import) => MoveCause::Import,
        Ok(v1::MoveCause::ScheduledImport) => MoveCause::ScheduledImport,
        Ok(v1::MoveCause::Tag) => MoveCause::Tag,
        Ok(v1::MoveCause::Alias) => MoveCause::Alias(tag(followed_tag)?),
        Ok(v1::MoveCause::Rollback) => MoveCause::Rollback,
        Ok(v1::MoveCause::Testimony) => MoveCause::Testimony,
        Ok(v1::MoveCause::Unspecified) | Err(_) => return Err(unknown("cause", value)),
    })
}

fn tag_moved(moved: v1::TagMoved) -> Decoded<TagMoved> {
    Ok(TagMoved {
        tag: tag(&moved.tag)?,
        change: match moved.change() {
            v1::HistoryChange::Added => HistoryChange::Added,
            v1::HistoryChange::Replaced => HistoryChange::Replaced,
            v1::HistoryChange::Renewed => HistoryChange::Renewed,
            v1::HistoryChange::Unspecified => return Err(unknown("history change", moved.change)),
        },
        cause: cause(moved.cause, &moved.followed_tag)?,
        item: history_item(moved.item.ok_or(DecodeError::Missing("history item"))?)?,
        previous: moved.previous.map(history_item).transpose()?,
        replaces_sequence: moved.replaces_sequence,
        source: moved.source,
        copied_from: moved.copied_from_sequence,
    })
}

fn image_recorded(image: v1::ImageRecorded) -> Decoded<ImageRecorded> {
    Ok(ImageRecorded {
        digest: digest(&image.digest)?,
        reference: image.docker_image_reference,
        media_type: image.media_type,
        config: optional_digest(&image.config)?,
        size: image.size,
        platform: image.platform.map(platform),
        built_at: optional_timestamp(image.built_at)?,
        manifests: image.manifests.iter().map(|text| digest(text)).collect::<Decoded<_>>()?,
    })
}

fn import_finished(import: v1::ImportFinished) -> Decoded<ImportFinished> {
    let outcome = |outcome: v1::ImportOutcome| -> Decoded<ImportOutcome> {
        let result = match optional_digest(&outcome.image)? {
            Some(image) => Ok(image),
            None => Err(outcome.failure_reason),
        };
        Ok(ImportOutcome { tag: tag(&outcome.tag)?, result })
    };
    Ok(ImportFinished {
        checked_at: timestamp(import.checked_at)?,
        outcomes: import.outcomes.into_iter().map(outcome).collect::<Decoded<_>>()?,
        scheduled: import.scheduled,
        repository: import.repository,
        additional_tags: import.additional_tags,
    })
}

fn tag_spec(spec: v1::TagSpec) -> Decoded<TagSpec> {
    let policy = spec.import_policy.unwrap_or_default();
    Ok(TagSpec {
        reference: spec.reference,
        generation: spec.generation,
        import_policy: ImportPolicy {
            insecure: policy.insecure,
            scheduled: policy.scheduled,
            mode: match known("import mode", policy.import_mode)? {
                v1::ImportMode::PreserveOriginal => ImportMode::PreserveOriginal,
                v1::ImportMode::Legacy | v1::ImportMode::Unspecified => ImportMode::Legacy,
            },
            interval: interval(policy.interval_seconds)?,
        },
        reference_policy: match known("reference policy", spec.reference_policy)? {
            v1::ReferencePolicy::Local => ReferencePolicy::Local,
            v1::ReferencePolicy::Source | v1::ReferencePolicy::Unspecified => ReferencePolicy::Source,
        },
        source: spec.source.map(tag_source).transpose()?,
        annotations: entries(spec.annotations),
    })
}

fn tag_source(source: v1::TagSource) -> Decoded<TagSource> {
    let kind = match source.kind() {
        v1::SourceKind::DockerImage => SourceKind::DockerImage,
        v1::SourceKind::ImageStreamTag => SourceKind::ImageStreamTag,
        v1::SourceKind::ImageStreamImage => SourceKind::ImageStreamImage,
        v1::SourceKind::Unspecified => return Err(unknown("source kind", source.kind)),
    };
    let namespace = match source.namespace.as_str() {
        "" => None,
        text => Some(Namespace::parse(text).map_err(|_| unknown("namespace", text))?),
    };
    Ok(TagSource { kind, namespace, name: source.name })
}

fn history_item(item: v1::HistoryItem) -> Decoded<HistoryItem> {
    Ok(HistoryItem {
        created: timestamp(item.created)?,
        reference: item.docker_image_reference,
        image: optional_digest(&item.image)?,
        generation: item.generation,
        media_type: item.media_type,
        platform: item.platform.map(platform),
        index: optional_digest(&item.index)?,
    })
}

fn platform(platform: v1::Platform) -> Platform {
    Platform { os: platform.os, architecture: platform.architecture, variant: platform.variant }
}

fn failure(failure: v1::Failure) -> Decoded<Failure> {
    let kind = match failure.kind() {
        v1::FailureKind::NotFound => FailureKind::NotFound,
        v1::FailureKind::Unauthorized => FailureKind::Unauthorized,
        v1::FailureKind::Denied => FailureKind::Denied,
        v1::FailureKind::RateLimited => FailureKind::RateLimited,
        v1::FailureKind::Unreachable => FailureKind::Unreachable,
        v1::FailureKind::BadAnswer => FailureKind::BadAnswer,
        v1::FailureKind::InvalidReference => FailureKind::InvalidReference,
        v1::FailureKind::Forbidden => FailureKind::Forbidden,
        v1::FailureKind::Unsupported => FailureKind::Unsupported,
        v1::FailureKind::Unspecified => return Err(unknown("failure kind", failure.kind)),
    };
    Ok(Failure { kind, reason: failure.reason, message: failure.message })
}

fn entries(entries: Vec<v1::Entry>) -> Entries {
    entries.into_iter().map(|entry| (entry.key, entry.value)).collect()
}

fn timestamp(at: Option<prost_types::Timestamp>) -> Decoded<Timestamp> {
    let at = at.ok_or(DecodeError::Missing("time"))?;
    match u32::try_from(at.nanos) {
        Ok(nanos @ 0..1_000_000_000) => Ok(Timestamp::new(at.seconds, nanos)),
        _ => Err(unknown("time", format!("{}.{:09}", at.seconds, at.nanos))),
    }
}

fn optional_timestamp(at: Option<prost_types::Timestamp>) -> Decoded<Option<Timestamp>> {
    at.map(|at| timestamp(Some(at))).transpose()
}

fn tag(text: &str) -> Decoded<TagName> {
    TagName::parse(text).map_err(|_| unknown("tag", text))
}

fn digest(text: &str) -> Decoded<Digest> {
    Digest::parse(text).map_err(|_| unknown("digest", text))
}

fn optional_digest(text: &str) -> Decoded<Option<Digest>> {
    if text.is_empty() { Ok(None) } else { digest(text).map(Some) }
}

fn interval(seconds: u32) -> Decoded<Option<Interval>> {
    match seconds {
        0 => Ok(None),
        seconds => Interval::from_seconds(seconds).map(Some).map_err(|_| unknown("interval", seconds)),
    }
}

/// A value that this version knows. Where `Unspecified` means something, prost's own reading would quietly take a
/// newer version's value for it.
fn known<E: TryFrom<i32>>(part: &'static str, value: i32) -> Decoded<E> {
    E::try_from(value).map_err(|_| unknown(part, value))
}

fn unknown(part: &'static str, value: impl ToString) -> DecodeError {
    DecodeError::Unknown { part, value: value.to_string() }
}
