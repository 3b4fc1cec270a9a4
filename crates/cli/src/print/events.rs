//! Events of the log as lines: for people, and as JSON in protobuf's own mapping for programs.

use serde_json::{Map, Value, json};
use tagtrail_api::v1::{
    Entry, Event, Failure, HistoryChange, HistoryItem, ImportMode, ImportPolicy, MoveCause, ReferencePolicy,
    SourceKind, TagSource, TagSpec, event::Fact,
};

use crate::print::age::rfc3339;

/// One event for people: `12  test/app  tag  developer  v1 -> sha256:…`.
pub(crate) fn line(event: &Event) -> String {
    let when = event.recorded_at.as_ref().map(rfc3339).unwrap_or_default();
    let who = event.actor.as_ref().map_or("", |actor| &actor.name);
    let what = event.fact.as_ref().map(in_words).unwrap_or_default();
    let why = if event.reason.is_empty() {
        String::new()
    } else {
        format!("  ({})", event.reason.replace('\n', " "))
    };
    let Event { sequence, namespace, stream, .. } = event;
    format!("{sequence}  {when}  {namespace}/{stream}  {who}  {what}{why}\n")
}

/// One event as JSON, on one line.
pub(crate) fn json_line(event: &Event) -> String {
    format!("{}\n", in_json(event))
}

fn in_words(fact: &Fact) -> String {
    let reference = |item: Option<&HistoryItem>| {
        item.map_or_else(|| "nothing".into(), |i| i.docker_image_reference.clone())
    };
    match fact {
        Fact::StreamCreated(_) => "created".into(),
        Fact::StreamDeleted(_) => "deleted".into(),
        Fact::StreamMetadataSet(_) => "labels or annotations set".into(),
        Fact::LookupPolicySet(set) => format!("local lookup {}", if set.local { "on" } else { "off" }),
        Fact::TagSet(set) => {
            let source = set.spec.as_ref().and_then(|spec| spec.source.as_ref());
            format!("{} follows {}", set.tag, source.map_or("nothing", |source| &source.name))
        }
        Fact::TagDeleted(deleted) => format!("{} deleted", deleted.tag),
        Fact::TagMoved(moved) if moved.change() == HistoryChange::Renewed => {
            format!("{} still is {}", moved.tag, reference(moved.item.as_ref()))
        }
        Fact::TagMoved(moved) => {
            let was = moved
                .previous
                .as_ref()
                .map(|item| format!(" (was {})", reference(Some(item))))
                .unwrap_or_default();
            format!("{} -> {}{was}", moved.tag, reference(moved.item.as_ref()))
        }
        Fact::ImportFailed(failed) => {
            let failure = failed.failure.as_ref().map_or("", |failure| &failure.message);
            format!("{} import failed: {failure}", failed.tag)
        }
        Fact::FailureCleared(cleared) => format!("{} failure cleared", cleared.tag),
        Fact::ImageRecorded(image) => format!("image {}", image.docker_image_reference),
        Fact::ImportFinished(finished) => match finished.outcomes.as_slice() {
            [outcome] => format!("import of {} finished", outcome.tag),
            outcomes => format!("import of {} tags finished", outcomes.len()),
        },
        Fact::RepositoryImportFailed(failed) => {
            let failure = failed.failure.as_ref().map_or("", |failure| &failure.message);
            format!("import of all of {} failed: {failure}", failed.repository)
        }
    }
}

fn in_json(event: &Event) -> Value {
    let mut object = Fields::default();
    object.put("sequence", event.sequence);
    object.put("revision", event.revision);
    object.time("recordedAt", event.recorded_at.as_ref());
    if let Some(run) = &event.run {
        object.put("run", json!({ "firstSequence": run.first_sequence, "length": run.length }));
    }
    object.text("namespace", &event.namespace);
    object.text("stream", &event.stream);
    object.text("streamUid", &event.stream_uid);
    object.put("generation", event.generation);
    if let Some(actor) = &event.actor {
        object.put("actor", json!({ "name": actor.name, "authenticated": actor.authenticated }));
    }
    object.text("reason", &event.reason);
    object.text("command", &event.command);
    object.text("requestId", &event.request_id);
    if event.caused_by != 0 {
        object.put("causedBy", event.caused_by);
    }
    if let Some(fact) = &event.fact {
        let (name, value) = fact_json(fact);
        object.put(name, value);
    }
    object.0.into()
}

fn fact_json(fact: &Fact) -> (&'static str, Value) {
    let mut object = Fields::default();
    let name = match fact {
        Fact::StreamCreated(created) => {
            object.put("lookupLocal", created.lookup_local);
            object.put("labels", entries(&created.labels));
            object.put("annotations", entries(&created.annotations));
            "streamCreated"
        }
        Fact::StreamDeleted(deleted) => {
            object.put("tags", deleted.tags.clone());
            "streamDeleted"
        }
        Fact::StreamMetadataSet(set) => {
            object.put("labels", entries(&set.labels));
            object.put("annotations", entries(&set.annotations));
            "streamMetadataSet"
        }
        Fact::LookupPolicySet(set) => {
            object.put("local", set.local);
            "lookupPolicySet"
        }
        Fact::TagSet(set) => {
            object.text("tag", &set.tag);
            object.put("spec", set.spec.as_ref().map(spec));
            "tagSet"
        }
        Fact::TagDeleted(deleted) => {
            object.text("tag", &deleted.tag);
            object.put("hadSpec", deleted.had_spec);
            object.put("last", deleted.last.as_ref().map(item));
            "tagDeleted"
        }
        Fact::TagMoved(moved) => {
            object.text("tag", &moved.tag);
            object.put("item", moved.item.as_ref().map(item));
            object.put("change", change(moved.change()));
            object.put("previous", moved.previous.as_ref().map(item));
            object.put("replacesSequence", moved.replaces_sequence);
            object.put("cause", cause(moved.cause()));
            object.text("followedTag", &moved.followed_tag);
            object.text("source", &moved.source);
            "tagMoved"
        }
        Fact::ImportFailed(failed) => {
            object.text("tag", &failed.tag);
            object.text("source", &failed.source);
            object.put("failure", failed.failure.as_ref().map(failure));
            object.put("generation", failed.generation);
            "importFailed"
        }
        Fact::FailureCleared(cleared) => {
            object.text("tag", &cleared.tag);
            "failureCleared"
        }
        Fact::ImageRecorded(image) => {
            object.text("digest", &image.digest);
            object.text("dockerImageReference", &image.docker_image_reference);
            object.text("mediaType", &image.media_type);
            object.text("config", &image.config);
            object.put("size", image.size);
            object.put("platform", image.platform.as_ref().map(platform));
            object.time("builtAt", image.built_at.as_ref());
            "imageRecorded"
        }
        Fact::ImportFinished(finished) => {
            object.time("checkedAt", finished.checked_at.as_ref());
            let outcome = |outcome: &tagtrail_api::v1::ImportOutcome| json!({ "tag": outcome.tag, "image": outcome.image, "failureReason": outcome.failure_reason });
            object.put("outcomes", finished.outcomes.iter().map(outcome).collect::<Value>());
            object.put("scheduled", finished.scheduled);
            object.text("repository", &finished.repository);
            object.put("additionalTags", finished.additional_tags);
            "importFinished"
        }
        Fact::RepositoryImportFailed(failed) => {
            object.text("repository", &failed.repository);
            object.put("failure", failed.failure.as_ref().map(failure));
            "repositoryImportFailed"
        }
    };
    (name, object.0.into())
}

fn spec(spec: &TagSpec) -> Value {
    let mut object = Fields::default();
    object.put("source", spec.source.as_ref().map(source));
    object.put("reference", spec.reference);
    object.put("generation", spec.generation);
    object.put("importPolicy", spec.import_policy.as_ref().map(import_policy));
    object.put(
        "referencePolicy",
        match spec.reference_policy() {
            ReferencePolicy::Unspecified => Value::Null,
            ReferencePolicy::Source => "Source".into(),
            ReferencePolicy::Local => "Local".into(),
        },
    );
    object.put("annotations", entries(&spec.annotations));
    object.0.into()
}

fn source(source: &TagSource) -> Value {
    let kind = match source.kind() {
        SourceKind::Unspecified => "",
        SourceKind::DockerImage => "DockerImage",
        SourceKind::ImageStreamTag => "ImageStreamTag",
        SourceKind::ImageStreamImage => "ImageStreamImage",
    };
    json!({ "kind": kind, "namespace": source.namespace, "name": source.name })
}

fn import_policy(policy: &ImportPolicy) -> Value {
    let mode = match policy.import_mode() {
        ImportMode::Unspecified | ImportMode::Legacy => "Legacy",
        ImportMode::PreserveOriginal => "PreserveOriginal",
    };
    let mut json = json!({ "insecure": policy.insecure, "scheduled": policy.scheduled, "importMode": mode });
    if policy.interval_seconds != 0 {
        json["intervalSeconds"] = policy.interval_seconds.into();
    }
    json
}

fn item(item: &HistoryItem) -> Value {
    let mut object = Fields::default();
    object.time("created", item.created.as_ref());
    object.text("dockerImageReference", &item.docker_image_reference);
    object.text("image", &item.image);
    object.put("generation", item.generation);
    object.text("mediaType", &item.media_type);
    object.put("platform", item.platform.as_ref().map(platform));
    object.text("index", &item.index);
    object.0.into()
}

fn platform(platform: &tagtrail_api::v1::Platform) -> Value {
    json!({ "os": platform.os, "architecture": platform.architecture, "variant": platform.variant })
}

fn failure(failure: &Failure) -> Value {
    // `FAILURE_KIND_NOT_FOUND`: the proto's own word.
    json!({ "kind": failure.kind().as_str_name(), "reason": failure.reason, "message": failure.message })
}

fn change(change: HistoryChange) -> &'static str {
    match change {
        HistoryChange::Unspecified => "",
        HistoryChange::Added => "added",
        HistoryChange::Replaced => "replaced",
        HistoryChange::Renewed => "renewed",
    }
}

fn cause(cause: MoveCause) -> &'static str {
    match cause {
        MoveCause::Unspecified => "",
        MoveCause::Import => "import",
        MoveCause::ScheduledImport => "scheduled-import",
        MoveCause::Tag => "tag",
        MoveCause::Alias => "alias",
    }
}

fn entries(entries: &[Entry]) -> Value {
    entries
        .iter()
        .map(|entry| (entry.key.clone(), Value::from(entry.value.clone())))
        .collect::<Map<_, _>>()
        .into()
}

/// Keys in the order of the proto. What is not set, or empty, is left out.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, key: &str, value: impl Into<Value>) {
        let value = value.into();
        let empty = match &value {
            Value::Null => true,
            Value::Object(map) => map.is_empty(),
            Value::Array(items) => items.is_empty(),
            _ => false,
        };
        if !empty {
            self.0.insert(key.to_owned(), value);
        }
    }

    fn text(&mut self, key: &str, text: &str) {
        if !text.is_empty() {
            self.put(key, text);
        }
    }

    fn time(&mut self, key: &str, time: Option<&prost_types::Timestamp>) {
        self.put(key, time.map(rfc3339));
    }
}

#[cfg(test)]
mod tests {
    use tagtrail_api::v1::{Actor, TagMoved};

    use super::*;

    #[test]
    fn an_event_is_a_line() {
        let moved = TagMoved {
            tag: "v1".into(),
            item: Some(HistoryItem { docker_image_reference: "a@sha256:1".into(), ..HistoryItem::default() }),
            change: HistoryChange::Added.into(),
            cause: MoveCause::Import.into(),
            ..TagMoved::default()
        };
        let event = Event {
            sequence: 7,
            namespace: "test".into(),
            stream: "app".into(),
            recorded_at: Some(prost_types::Timestamp { seconds: 0, nanos: 0 }),
            actor: Some(Actor { name: "developer".into(), authenticated: false }),
            reason: "because".into(),
            fact: Some(Fact::TagMoved(moved)),
            ..Event::default()
        };
        assert_eq!(
            line(&event),
            "7  1970-01-01T00:00:00Z  test/app  developer  v1 -> a@sha256:1  (because)\n"
        );
        let value: Value = serde_json::from_str(&json_line(&event)).expect("JSON");
        assert_eq!(value["tagMoved"]["item"]["dockerImageReference"], "a@sha256:1");
        assert_eq!(value["tagMoved"]["cause"], "import");
        assert_eq!(value["actor"]["name"], "developer");
    }

    #[test]
    fn what_is_not_in_openshift_is_told_where_it_is_there() {
        let policy =
            |interval_seconds| ImportPolicy { interval_seconds, scheduled: true, ..Default::default() };
        assert_eq!(import_policy(&policy(300))["intervalSeconds"], 300);
        assert_eq!(import_policy(&policy(0)).get("intervalSeconds"), None);
        let chosen = |index: &str| item(&HistoryItem { index: index.into(), ..HistoryItem::default() });
        assert_eq!(chosen("sha256:1")["index"], "sha256:1");
        assert_eq!(chosen("").get("index"), None);
        let failed = Fact::RepositoryImportFailed(tagtrail_api::v1::RepositoryImportFailed {
            repository: "quay.io/acme/app".into(),
            failure: Some(Failure { message: "no such host".into(), ..Failure::default() }),
        });
        assert_eq!(in_words(&failed), "import of all of quay.io/acme/app failed: no such host");
        let (name, value) = fact_json(&failed);
        assert_eq!((name, &value["repository"]), ("repositoryImportFailed", &json!("quay.io/acme/app")));
        assert_eq!(value["failure"]["message"], "no such host");
    }
}
