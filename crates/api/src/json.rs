//! Events as JSON, in protobuf's own mapping (<https://protobuf.dev/programming-guides/json/>), which any protobuf library
//! reads back into an `Event`.
//!
//! Of what that mapping leaves open: numbers of 64 bits are JSON numbers, which every reader of the mapping takes, and a
//! value that is not set is left out, but for yes and no. `proto/tagtrail/v1/event.schema.json` is the schema.

use prost_types::Timestamp;
use serde_json::{Map, Value};

use crate::v1::event::Fact;
use crate::v1::{
    Actor, Entry, Event, Failure, HistoryItem, ImportOutcome, ImportPolicy, Platform, Run, TagSource, TagSpec,
};

/// An event.
#[must_use]
pub fn event(event: &Event) -> Value {
    Fields::default()
        .number("sequence", event.sequence)
        .number("revision", event.revision)
        .time("recordedAt", event.recorded_at.as_ref())
        .message("run", event.run.as_ref(), run)
        .text("namespace", &event.namespace)
        .text("stream", &event.stream)
        .text("streamUid", &event.stream_uid)
        .number("generation", event.generation)
        .message("actor", event.actor.as_ref(), actor)
        .text("reason", &event.reason)
        .text("command", &event.command)
        .text("requestId", &event.request_id)
        .text("requestDigest", &base64(&event.request_digest))
        .number("causedBy", event.caused_by)
        .text("traceparent", &event.traceparent)
        .fact(event.fact.as_ref())
        .value()
}

fn run(run: &Run) -> Value {
    Fields::default().number("firstSequence", run.first_sequence).number("length", run.length).value()
}

fn actor(actor: &Actor) -> Value {
    Fields::default().text("name", &actor.name).yes_or_no("authenticated", actor.authenticated).value()
}

fn fact(fact: &Fact) -> (&'static str, Value) {
    let fields = Fields::default();
    let (name, fields) = match fact {
        Fact::StreamCreated(created) => (
            "streamCreated",
            fields
                .yes_or_no("lookupLocal", created.lookup_local)
                .list("labels", &created.labels, entry)
                .list("annotations", &created.annotations, entry),
        ),
        Fact::StreamDeleted(deleted) => {
            ("streamDeleted", fields.list("tags", &deleted.tags, |tag| tag.as_str().into()))
        }
        Fact::StreamMetadataSet(set) => (
            "streamMetadataSet",
            fields.list("labels", &set.labels, entry).list("annotations", &set.annotations, entry),
        ),
        Fact::LookupPolicySet(set) => ("lookupPolicySet", fields.yes_or_no("local", set.local)),
        Fact::TagSet(set) => {
            ("tagSet", fields.text("tag", &set.tag).message("spec", set.spec.as_ref(), tag_spec))
        }
        Fact::TagDeleted(deleted) => (
            "tagDeleted",
            fields.text("tag", &deleted.tag).yes_or_no("hadSpec", deleted.had_spec).message(
                "last",
                deleted.last.as_ref(),
                history_item,
            ),
        ),
        Fact::TagMoved(moved) => (
            "tagMoved",
            fields
                .text("tag", &moved.tag)
                .message("item", moved.item.as_ref(), history_item)
                .word("change", moved.change, moved.change().as_str_name())
                .message("previous", moved.previous.as_ref(), history_item)
                .number("replacesSequence", moved.replaces_sequence)
                .word("cause", moved.cause, moved.cause().as_str_name())
                .text("followedTag", &moved.followed_tag)
                .text("source", &moved.source),
        ),
        Fact::ImportFailed(failed) => (
            "importFailed",
            fields
                .text("tag", &failed.tag)
                .text("source", &failed.source)
                .message("failure", failed.failure.as_ref(), failure)
                .number("generation", failed.generation),
        ),
        Fact::FailureCleared(cleared) => ("failureCleared", fields.text("tag", &cleared.tag)),
        Fact::ImageRecorded(image) => (
            "imageRecorded",
            fields
                .text("digest", &image.digest)
                .text("dockerImageReference", &image.docker_image_reference)
                .text("mediaType", &image.media_type)
                .text("config", &image.config)
                .number("size", image.size)
                .message("platform", image.platform.as_ref(), platform)
                .time("builtAt", image.built_at.as_ref()),
        ),
        Fact::ImportFinished(finished) => (
            "importFinished",
            fields
                .time("checkedAt", finished.checked_at.as_ref())
                .list("outcomes", &finished.outcomes, outcome)
                .yes_or_no("scheduled", finished.scheduled)
                .text("repository", &finished.repository)
                .number("additionalTags", finished.additional_tags),
        ),
        Fact::RepositoryImportFailed(failed) => (
            "repositoryImportFailed",
            fields.text("repository", &failed.repository).message(
                "failure",
                failed.failure.as_ref(),
                failure,
            ),
        ),
    };
    (name, fields.value())
}

fn tag_spec(spec: &TagSpec) -> Value {
    Fields::default()
        .message("source", spec.source.as_ref(), tag_source)
        .yes_or_no("reference", spec.reference)
        .number("generation", spec.generation)
        .message("importPolicy", spec.import_policy.as_ref(), import_policy)
        .word("referencePolicy", spec.reference_policy, spec.reference_policy().as_str_name())
        .list("annotations", &spec.annotations, entry)
        .value()
}

fn tag_source(source: &TagSource) -> Value {
    Fields::default()
        .word("kind", source.kind, source.kind().as_str_name())
        .text("namespace", &source.namespace)
        .text("name", &source.name)
        .value()
}

fn import_policy(policy: &ImportPolicy) -> Value {
    Fields::default()
        .yes_or_no("insecure", policy.insecure)
        .yes_or_no("scheduled", policy.scheduled)
        .word("importMode", policy.import_mode, policy.import_mode().as_str_name())
        .number("intervalSeconds", policy.interval_seconds)
        .value()
}

fn history_item(item: &HistoryItem) -> Value {
    Fields::default()
        .time("created", item.created.as_ref())
        .text("dockerImageReference", &item.docker_image_reference)
        .text("image", &item.image)
        .number("generation", item.generation)
        .text("mediaType", &item.media_type)
        .message("platform", item.platform.as_ref(), platform)
        .text("index", &item.index)
        .value()
}

fn platform(platform: &Platform) -> Value {
    Fields::default()
        .text("os", &platform.os)
        .text("architecture", &platform.architecture)
        .text("variant", &platform.variant)
        .value()
}

fn failure(failure: &Failure) -> Value {
    Fields::default()
        .word("kind", failure.kind, failure.kind().as_str_name())
        .text("reason", &failure.reason)
        .text("message", &failure.message)
        .value()
}

fn outcome(outcome: &ImportOutcome) -> Value {
    Fields::default()
        .text("tag", &outcome.tag)
        .text("image", &outcome.image)
        .text("failureReason", &outcome.failure_reason)
        .value()
}

fn entry(entry: &Entry) -> Value {
    Fields::default().text("key", &entry.key).text("value", &entry.value).value()
}

/// The fields of a message, in the order of the proto.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn put(mut self, key: &str, value: Option<Value>) -> Self {
        if let Some(value) = value {
            self.0.insert(key.to_owned(), value);
        }
        self
    }

    fn text(self, key: &str, text: &str) -> Self {
        self.put(key, (!text.is_empty()).then(|| text.into()))
    }

    fn number<N: Into<Value> + PartialEq + Default>(self, key: &str, number: N) -> Self {
        self.put(key, (number != N::default()).then(|| number.into()))
    }

    fn yes_or_no(self, key: &str, value: bool) -> Self {
        self.put(key, Some(value.into()))
    }

    /// One of an enum's values. A number that this version has no word for stays a number, as the mapping has it.
    fn word(self, key: &str, number: i32, name: &str) -> Self {
        let known = number == 0 || !name.ends_with("_UNSPECIFIED");
        self.put(key, (number != 0).then(|| if known { name.into() } else { number.into() }))
    }

    fn time(self, key: &str, time: Option<&Timestamp>) -> Self {
        self.put(key, time.map(|time| time.to_string().into()))
    }

    fn message<M>(self, key: &str, message: Option<&M>, json: impl Fn(&M) -> Value) -> Self {
        self.put(key, message.map(json))
    }

    fn list<M>(self, key: &str, list: &[M], json: impl Fn(&M) -> Value) -> Self {
        self.put(key, (!list.is_empty()).then(|| list.iter().map(json).collect()))
    }

    fn fact(self, set: Option<&Fact>) -> Self {
        match set.map(fact) {
            Some((name, value)) => self.put(name, Some(value)),
            None => self,
        }
    }

    fn value(self) -> Value {
        self.0.into()
    }
}

/// Standard base64 with padding (RFC 4648, section 4), the mapping's form of bytes.
fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use prost_reflect::{DescriptorPool, DynamicMessage};

    use super::*;
    use crate::v1::*;

    /// A library that follows the mapping reads our JSON back into the same event.
    fn round_trip(event: &Event) {
        let json = super::event(event);
        let pool = DescriptorPool::decode(v1_descriptors()).expect("our own descriptors");
        let descriptor = pool.get_message_by_name("tagtrail.v1.Event").expect("there is an Event");
        let read = DynamicMessage::deserialize(descriptor, json.clone());
        let read = read.unwrap_or_else(|error| panic!("{error}: {json:#}"));
        assert_eq!(Event::decode(read.encode_to_vec().as_slice()).expect("an event"), *event, "{json:#}");
    }

    fn v1_descriptors() -> &'static [u8] {
        crate::v1::FILE_DESCRIPTOR_SET
    }

    fn time() -> Option<Timestamp> {
        Some(Timestamp { seconds: 1_700_000_002, nanos: 123_000_000 })
    }

    fn entries() -> Vec<Entry> {
        vec![
            Entry { key: "a".into(), value: "\"é\"".into() },
            Entry { key: "b".into(), value: String::new() },
        ]
    }

    fn item() -> HistoryItem {
        HistoryItem {
            created: time(),
            docker_image_reference: "quay.io/a/b@sha256:1".into(),
            image: "sha256:1".into(),
            generation: 7,
            media_type: "m".into(),
            platform: Some(Platform {
                os: "linux".into(),
                architecture: "arm64".into(),
                variant: "v8".into(),
            }),
            index: "sha256:2".into(),
        }
    }

    fn why() -> Option<Failure> {
        let kind = FailureKind::RateLimited.into();
        Some(Failure { kind, reason: "TooManyRequests".into(), message: "later".into() })
    }

    fn facts() -> Vec<Fact> {
        let tag = || "v1".to_owned();
        let spec = TagSpec {
            source: Some(TagSource {
                kind: SourceKind::ImageStreamTag.into(),
                namespace: "base".into(),
                name: "app:1".into(),
            }),
            reference: true,
            generation: -1,
            import_policy: Some(ImportPolicy {
                insecure: true,
                scheduled: true,
                import_mode: ImportMode::PreserveOriginal.into(),
                interval_seconds: 60,
            }),
            reference_policy: ReferencePolicy::Local.into(),
            annotations: entries(),
        };
        let outcome = |image: &str, failure_reason: &str| ImportOutcome {
            tag: tag(),
            image: image.into(),
            failure_reason: failure_reason.into(),
        };
        vec![
            Fact::StreamCreated(StreamCreated {
                lookup_local: true,
                labels: entries(),
                annotations: entries(),
            }),
            Fact::StreamDeleted(StreamDeleted { tags: vec![tag(), "2".into()] }),
            Fact::StreamMetadataSet(StreamMetadataSet { labels: entries(), annotations: Vec::new() }),
            Fact::LookupPolicySet(LookupPolicySet { local: true }),
            Fact::TagSet(TagSet { tag: tag(), spec: Some(spec) }),
            Fact::TagDeleted(TagDeleted { tag: tag(), had_spec: true, last: Some(item()) }),
            Fact::TagMoved(TagMoved {
                tag: tag(),
                item: Some(item()),
                change: HistoryChange::Replaced.into(),
                previous: Some(HistoryItem::default()),
                replaces_sequence: 40,
                cause: MoveCause::Alias.into(),
                followed_tag: "2".into(),
                source: "app:2".into(),
            }),
            Fact::ImportFailed(ImportFailed {
                tag: tag(),
                source: "s".into(),
                failure: why(),
                generation: 3,
            }),
            Fact::FailureCleared(FailureCleared { tag: tag() }),
            Fact::ImageRecorded(ImageRecorded {
                digest: "sha256:1".into(),
                docker_image_reference: "r".into(),
                media_type: "m".into(),
                config: "sha256:3".into(),
                size: i64::MAX,
                platform: item().platform,
                built_at: time(),
            }),
            Fact::ImportFinished(ImportFinished {
                checked_at: time(),
                outcomes: vec![outcome("sha256:1", ""), outcome("", "NotFound")],
                scheduled: true,
                repository: "r".into(),
                additional_tags: 2,
            }),
            Fact::RepositoryImportFailed(RepositoryImportFailed { repository: "r".into(), failure: why() }),
        ]
    }

    #[test]
    fn it_is_protobufs_own_mapping() {
        let envelope = |fact| Event {
            sequence: u64::MAX,
            revision: 9,
            recorded_at: time(),
            run: Some(Run { first_sequence: 41, length: 3 }),
            namespace: "shop".into(),
            stream: "app".into(),
            stream_uid: "0b5f".into(),
            generation: 7,
            actor: Some(Actor { name: "ana@laptop".into(), authenticated: true }),
            reason: "release\n1.0".into(),
            command: "import".into(),
            request_id: "4f0c".into(),
            request_digest: (0..32).collect(),
            caused_by: 39,
            traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into(),
            fact,
        };
        for fact in facts() {
            round_trip(&envelope(Some(fact)));
        }
        round_trip(&envelope(None));
        round_trip(&Event::default());
        // Words that only a newer version has.
        let change = TagMoved { change: 99, cause: 98, ..TagMoved::default() };
        round_trip(&envelope(Some(Fact::TagMoved(change))));
    }

    #[test]
    fn what_was_not_proven_says_so() {
        let actor = Some(Actor { name: "ana".into(), authenticated: false });
        let json = super::event(&Event { sequence: 7, actor, ..Event::default() });
        assert_eq!(json.to_string(), r#"{"sequence":7,"actor":{"name":"ana","authenticated":false}}"#);
    }
}
