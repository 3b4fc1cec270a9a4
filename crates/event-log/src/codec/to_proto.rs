//! Domain types in the words of the wire. The server says the same things in the same words.

use prost_types::Timestamp as ProtoTimestamp;
use tagtrail_api::v1;
use tagtrail_domain::event::{
    HistoryChange, ImageRecorded, ImportFinished, LogContinued, MoveCause, MoveWithheld, Recorded, TagMoved,
    TagRestored, TestimonyTaken,
};
use tagtrail_domain::state::{Hold, HoldTerms};
use tagtrail_domain::tag::{
    Entries, ImportCondition, ImportMode, ImportPolicy, ReferencePolicy, SourceKind, TagSource, TagSpec,
};
use tagtrail_domain::{Fact, Failure, FailureKind, HistoryItem, Interval, Platform, TagName, Timestamp};
use v1::event::Fact as ProtoFact;

/// An event with its envelope.
#[must_use]
pub fn event(recorded: &Recorded) -> v1::Event {
    v1::Event {
        sequence: recorded.sequence,
        revision: recorded.revision,
        recorded_at: Some(timestamp(recorded.recorded_at)),
        run: Some(v1::Run { first_sequence: recorded.run.first_sequence, length: recorded.run.length }),
        namespace: recorded.stream.namespace.to_string(),
        stream: recorded.stream.name.to_string(),
        stream_uid: recorded.event.stream_uid.clone(),
        generation: recorded.event.generation,
        actor: Some(v1::Actor {
            name: recorded.actor.name.clone(),
            authenticated: recorded.actor.authenticated,
        }),
        reason: recorded.reason.clone(),
        command: recorded.command.clone(),
        request_id: recorded.request_id.clone(),
        request_digest: recorded.request_digest.clone(),
        caused_by: recorded.caused_by,
        traceparent: recorded.traceparent.clone(),
        fact: Some(fact(&recorded.event.fact)),
    }
}

fn fact(fact: &Fact) -> ProtoFact {
    match fact {
        Fact::StreamCreated { lookup_local, labels, annotations } => {
            ProtoFact::StreamCreated(v1::StreamCreated {
                lookup_local: *lookup_local,
                labels: entries(labels),
                annotations: entries(annotations),
            })
        }
        Fact::StreamDeleted { tags } => ProtoFact::StreamDeleted(v1::StreamDeleted {
            tags: tags.iter().map(ToString::to_string).collect(),
        }),
        Fact::StreamMetadataSet { labels, annotations } => {
            ProtoFact::StreamMetadataSet(v1::StreamMetadataSet {
                labels: entries(labels),
                annotations: entries(annotations),
            })
        }
        Fact::LookupPolicySet { local } => ProtoFact::LookupPolicySet(v1::LookupPolicySet { local: *local }),
        Fact::TagSet { tag, spec } => {
            ProtoFact::TagSet(v1::TagSet { tag: tag.to_string(), spec: Some(tag_spec(spec)) })
        }
        Fact::TagDeleted { tag, had_spec, last } => ProtoFact::TagDeleted(v1::TagDeleted {
            tag: tag.to_string(),
            had_spec: *had_spec,
            last: last.as_ref().map(history_item),
        }),
        Fact::TagMoved(moved) => ProtoFact::TagMoved(tag_moved(moved)),
        Fact::ImportFailed { tag, source, failure: why, generation, told_since } => {
            ProtoFact::ImportFailed(v1::ImportFailed {
                tag: tag.to_string(),
                source: source.clone(),
                failure: Some(failure(why)),
                generation: *generation,
                told_since: told_since.map(timestamp),
            })
        }
        Fact::FailureCleared { tag } => {
            ProtoFact::FailureCleared(v1::FailureCleared { tag: tag.to_string() })
        }
        Fact::ImageRecorded(image) => ProtoFact::ImageRecorded(image_recorded(image)),
        Fact::ImportFinished(import) => ProtoFact::ImportFinished(import_finished(import)),
        Fact::RepositoryImportFailed { repository, failure: why } => {
            ProtoFact::RepositoryImportFailed(v1::RepositoryImportFailed {
                repository: repository.clone(),
                failure: Some(failure(why)),
            })
        }
        Fact::TagHeld { tag, terms } => ProtoFact::TagHeld(tag_held(tag, terms)),
        Fact::TagReleased { tag, expired } => {
            ProtoFact::TagReleased(v1::TagReleased { tag: tag.to_string(), expired: *expired })
        }
        Fact::MoveWithheld(withheld) => ProtoFact::MoveWithheld(move_withheld(withheld)),
        Fact::TagRestored(restored) => ProtoFact::TagRestored(tag_restored(restored)),
        Fact::TestimonyTaken(told) => ProtoFact::TestimonyTaken(testimony_taken(told)),
        Fact::LogContinued(continued) => ProtoFact::LogContinued(log_continued(continued)),
    }
}

fn tag_held(tag: &TagName, terms: &HoldTerms) -> v1::TagHeld {
    v1::TagHeld {
        tag: tag.to_string(),
        held_by: terms.held_by.clone(),
        reason: terms.reason.clone(),
        expires_at: terms.expires_at.map(timestamp),
    }
}

fn move_withheld(withheld: &MoveWithheld) -> v1::MoveWithheld {
    let (cause, followed_tag) = cause(&withheld.cause);
    v1::MoveWithheld {
        tag: withheld.tag.to_string(),
        item: Some(history_item(&withheld.item)),
        cause: cause.into(),
        followed_tag,
        source: withheld.source.clone(),
        copied_from_sequence: withheld.copied_from,
    }
}

fn tag_restored(restored: &TagRestored) -> v1::TagRestored {
    v1::TagRestored {
        tag: restored.tag.to_string(),
        spec: restored.spec.as_ref().map(tag_spec),
        items: restored.items.iter().map(history_item).collect(),
        hold: restored.hold.as_ref().map(|terms| tag_held(&restored.tag, terms)),
        as_of_sequence: restored.as_of,
    }
}

fn testimony_taken(told: &TestimonyTaken) -> v1::TestimonyTaken {
    v1::TestimonyTaken {
        document: told.document.clone(),
        document_digest: told.document_digest.to_string(),
        namespace: told.namespace.clone(),
        name: told.name.clone(),
        uid: told.uid.clone(),
        resource_version: told.resource_version.clone(),
        created: told.created.map(timestamp),
        checked_at: told.checked_at.map(timestamp),
        items_left_out: told.items_left_out,
    }
}

fn log_continued(continued: &LogContinued) -> v1::LogContinued {
    v1::LogContinued {
        old_log_id: continued.old_log_id.clone(),
        old_origin: continued.old_origin.clone(),
        old_checkpoint: continued.old_checkpoint.clone(),
        head: continued.head,
    }
}

fn cause(cause: &MoveCause) -> (v1::MoveCause, String) {
    match cause {
        MoveCause::Import => (v1::MoveCause::Import, String::new()),
        MoveCause::ScheduledImport => (v1::MoveCause::ScheduledImport, String::new()),
        MoveCause::Tag => (v1::MoveCause::Tag, String::new()),
        MoveCause::Alias(tag) => (v1::MoveCause::Alias, tag.to_string()),
        MoveCause::Rollback => (v1::MoveCause::Rollback, String::new()),
        MoveCause::Testimony => (v1::MoveCause::Testimony, String::new()),
    }
}

fn tag_moved(moved: &TagMoved) -> v1::TagMoved {
    let change = match moved.change {
        HistoryChange::Added => v1::HistoryChange::Added,
        HistoryChange::Replaced => v1::HistoryChange::Replaced,
        HistoryChange::Renewed => v1::HistoryChange::Renewed,
    };
    let (cause, followed_tag) = cause(&moved.cause);
    v1::TagMoved {
        tag: moved.tag.to_string(),
        item: Some(history_item(&moved.item)),
        change: change.into(),
        previous: moved.previous.as_ref().map(history_item),
        replaces_sequence: moved.replaces_sequence,
        cause: cause.into(),
        followed_tag,
        source: moved.source.clone(),
        copied_from_sequence: moved.copied_from,
    }
}

fn image_recorded(image: &ImageRecorded) -> v1::ImageRecorded {
    v1::ImageRecorded {
        digest: image.digest.to_string(),
        docker_image_reference: image.reference.clone(),
        media_type: image.media_type.clone(),
        config: image.config.as_ref().map(ToString::to_string).unwrap_or_default(),
        size: image.size,
        platform: image.platform.as_ref().map(platform),
        built_at: image.built_at.map(timestamp),
        manifests: image.manifests.iter().map(ToString::to_string).collect(),
    }
}

fn import_finished(import: &ImportFinished) -> v1::ImportFinished {
    let outcomes = import.outcomes.iter().map(|outcome| {
        let (image, failure_reason) = match &outcome.result {
            Ok(image) => (image.to_string(), String::new()),
            Err(reason) => (String::new(), reason.clone()),
        };
        v1::ImportOutcome { tag: outcome.tag.to_string(), image, failure_reason }
    });
    v1::ImportFinished {
        checked_at: Some(timestamp(import.checked_at)),
        outcomes: outcomes.collect(),
        scheduled: import.scheduled,
        repository: import.repository.clone(),
        additional_tags: import.additional_tags,
    }
}

/// A moment.
#[must_use]
pub fn timestamp(at: Timestamp) -> ProtoTimestamp {
    // A domain timestamp's nanoseconds are below one second, which fits.
    ProtoTimestamp { seconds: at.seconds, nanos: i32::try_from(at.nanos).unwrap_or(0) }
}

/// Annotations or labels, sorted by key.
#[must_use]
pub fn entries(entries: &Entries) -> Vec<v1::Entry> {
    entries.iter().map(|(key, value)| v1::Entry { key: key.clone(), value: value.clone() }).collect()
}

/// What a tag shall follow.
#[must_use]
pub fn tag_spec(spec: &TagSpec) -> v1::TagSpec {
    v1::TagSpec {
        source: spec.source.as_ref().map(tag_source),
        reference: spec.reference,
        generation: spec.generation,
        import_policy: Some(import_policy(spec.import_policy)),
        reference_policy: match spec.reference_policy {
            ReferencePolicy::Source => v1::ReferencePolicy::Source,
            ReferencePolicy::Local => v1::ReferencePolicy::Local,
        }
        .into(),
        annotations: entries(&spec.annotations),
    }
}

/// Where a tag's image comes from.
#[must_use]
pub fn tag_source(source: &TagSource) -> v1::TagSource {
    v1::TagSource {
        kind: match source.kind {
            SourceKind::DockerImage => v1::SourceKind::DockerImage,
            SourceKind::ImageStreamTag => v1::SourceKind::ImageStreamTag,
            SourceKind::ImageStreamImage => v1::SourceKind::ImageStreamImage,
        }
        .into(),
        namespace: source.namespace.as_ref().map(ToString::to_string).unwrap_or_default(),
        name: source.name.clone(),
    }
}

fn import_policy(policy: ImportPolicy) -> v1::ImportPolicy {
    v1::ImportPolicy {
        insecure: policy.insecure,
        scheduled: policy.scheduled,
        import_mode: match policy.mode {
            ImportMode::Legacy => v1::ImportMode::Legacy,
            ImportMode::PreserveOriginal => v1::ImportMode::PreserveOriginal,
        }
        .into(),
        interval_seconds: policy.interval.map_or(0, Interval::seconds),
    }
}

/// One entry of a tag's history.
#[must_use]
pub fn history_item(item: &HistoryItem) -> v1::HistoryItem {
    v1::HistoryItem {
        created: Some(timestamp(item.created)),
        docker_image_reference: item.reference.clone(),
        image: item.image.as_ref().map(ToString::to_string).unwrap_or_default(),
        generation: item.generation,
        media_type: item.media_type.clone(),
        platform: item.platform.as_ref().map(platform),
        index: item.index.as_ref().map(ToString::to_string).unwrap_or_default(),
    }
}

/// What an image runs on.
#[must_use]
pub fn platform(platform: &Platform) -> v1::Platform {
    v1::Platform {
        os: platform.os.clone(),
        architecture: platform.architecture.clone(),
        variant: platform.variant.clone(),
    }
}

/// Why an import failed.
#[must_use]
pub fn failure(failure: &Failure) -> v1::Failure {
    let kind = match failure.kind {
        FailureKind::NotFound => v1::FailureKind::NotFound,
        FailureKind::Unauthorized => v1::FailureKind::Unauthorized,
        FailureKind::Denied => v1::FailureKind::Denied,
        FailureKind::RateLimited => v1::FailureKind::RateLimited,
        FailureKind::Unreachable => v1::FailureKind::Unreachable,
        FailureKind::BadAnswer => v1::FailureKind::BadAnswer,
        FailureKind::InvalidReference => v1::FailureKind::InvalidReference,
        FailureKind::Forbidden => v1::FailureKind::Forbidden,
        FailureKind::Unsupported => v1::FailureKind::Unsupported,
    };
    v1::Failure { kind: kind.into(), reason: failure.reason.clone(), message: failure.message.clone() }
}

/// What keeps a tag where it is.
#[must_use]
pub fn hold(hold: &Hold) -> v1::Hold {
    v1::Hold {
        held_by: hold.terms.held_by.clone(),
        reason: hold.terms.reason.clone(),
        since: Some(timestamp(hold.since)),
        expires_at: hold.terms.expires_at.map(timestamp),
        sequence: hold.sequence,
        withheld: hold.withheld.as_ref().map(history_item),
    }
}

/// A failure that holds at present.
#[must_use]
pub fn import_condition(condition: &ImportCondition) -> v1::ImportCondition {
    v1::ImportCondition {
        failure: Some(failure(&condition.failure)),
        generation: condition.generation,
        last_transition_time: Some(timestamp(condition.since)),
    }
}
