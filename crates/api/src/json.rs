//! Events as JSON, in protobuf's own mapping (<https://protobuf.dev/programming-guides/json/>), which any protobuf library
//! reads back into an `Event`.
//!
//! Written straight into text: a publisher has thousands of them to write a second. Of what that mapping leaves open: numbers of 64 bits are JSON numbers, which every reader of the mapping takes, and a
//! value that is not set is left out, but for yes and no. `proto/tagtrail/v1/event.schema.json` is the schema.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost_types::Timestamp;

use crate::v1::event::Fact;
use crate::v1::{
    Actor, Entry, Event, Failure, FailureCleared, HistoryItem, ImageRecorded, ImportFailed, ImportFinished,
    ImportOutcome, ImportPolicy, LogContinued, LookupPolicySet, MoveWithheld, Platform,
    RepositoryImportFailed, Run, StreamCreated, StreamDeleted, StreamMetadataSet, TagDeleted, TagHeld,
    TagMoved, TagReleased, TagRestored, TagSet, TagSource, TagSpec, TestimonyTaken,
};

/// An event, on one line.
#[must_use]
pub fn event(event: &Event) -> String {
    let mut text = Vec::with_capacity(1_024);
    Fields::of(&mut text)
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
        .bytes("requestDigest", &event.request_digest)
        .number("causedBy", event.caused_by)
        .text("traceparent", &event.traceparent)
        .fact(event.fact.as_ref())
        .end();
    String::from_utf8(text).expect("JSON is text")
}

fn run(fields: Fields<'_>, run: &Run) {
    fields.number("firstSequence", run.first_sequence).number("length", run.length).end();
}

fn actor(fields: Fields<'_>, actor: &Actor) {
    fields.text("name", &actor.name).yes_or_no("authenticated", actor.authenticated).end();
}

fn stream_created(fields: Fields<'_>, created: &StreamCreated) {
    fields
        .yes_or_no("lookupLocal", created.lookup_local)
        .list("labels", &created.labels, entry)
        .list("annotations", &created.annotations, entry)
        .end();
}

fn stream_deleted(fields: Fields<'_>, deleted: &StreamDeleted) {
    fields.texts("tags", &deleted.tags).end();
}

fn stream_metadata_set(fields: Fields<'_>, set: &StreamMetadataSet) {
    fields.list("labels", &set.labels, entry).list("annotations", &set.annotations, entry).end();
}

fn lookup_policy_set(fields: Fields<'_>, set: &LookupPolicySet) {
    fields.yes_or_no("local", set.local).end();
}

fn tag_set(fields: Fields<'_>, set: &TagSet) {
    fields.text("tag", &set.tag).message("spec", set.spec.as_ref(), tag_spec).end();
}

fn tag_deleted(fields: Fields<'_>, deleted: &TagDeleted) {
    fields
        .text("tag", &deleted.tag)
        .yes_or_no("hadSpec", deleted.had_spec)
        .message("last", deleted.last.as_ref(), history_item)
        .end();
}

fn tag_moved(fields: Fields<'_>, moved: &TagMoved) {
    fields
        .text("tag", &moved.tag)
        .message("item", moved.item.as_ref(), history_item)
        .word("change", moved.change, moved.change().as_str_name())
        .message("previous", moved.previous.as_ref(), history_item)
        .number("replacesSequence", moved.replaces_sequence)
        .word("cause", moved.cause, moved.cause().as_str_name())
        .text("followedTag", &moved.followed_tag)
        .text("source", &moved.source)
        .number("copiedFromSequence", moved.copied_from_sequence)
        .end();
}

fn tag_held(fields: Fields<'_>, held: &TagHeld) {
    fields
        .text("tag", &held.tag)
        .text("heldBy", &held.held_by)
        .text("reason", &held.reason)
        .time("expiresAt", held.expires_at.as_ref())
        .end();
}

fn tag_released(fields: Fields<'_>, released: &TagReleased) {
    fields.text("tag", &released.tag).yes_or_no("expired", released.expired).end();
}

fn move_withheld(fields: Fields<'_>, withheld: &MoveWithheld) {
    fields
        .text("tag", &withheld.tag)
        .message("item", withheld.item.as_ref(), history_item)
        .word("cause", withheld.cause, withheld.cause().as_str_name())
        .text("followedTag", &withheld.followed_tag)
        .text("source", &withheld.source)
        .number("copiedFromSequence", withheld.copied_from_sequence)
        .end();
}

fn tag_restored(fields: Fields<'_>, restored: &TagRestored) {
    fields
        .text("tag", &restored.tag)
        .message("spec", restored.spec.as_ref(), tag_spec)
        .list("items", &restored.items, history_item)
        .message("hold", restored.hold.as_ref(), tag_held)
        .number("asOfSequence", restored.as_of_sequence)
        .end();
}

fn import_failed(fields: Fields<'_>, failed: &ImportFailed) {
    fields
        .text("tag", &failed.tag)
        .text("source", &failed.source)
        .message("failure", failed.failure.as_ref(), failure)
        .number("generation", failed.generation)
        .time("toldSince", failed.told_since.as_ref())
        .end();
}

fn failure_cleared(fields: Fields<'_>, cleared: &FailureCleared) {
    fields.text("tag", &cleared.tag).end();
}

fn image_recorded(fields: Fields<'_>, image: &ImageRecorded) {
    fields
        .text("digest", &image.digest)
        .text("dockerImageReference", &image.docker_image_reference)
        .text("mediaType", &image.media_type)
        .text("config", &image.config)
        .number("size", image.size)
        .message("platform", image.platform.as_ref(), platform)
        .time("builtAt", image.built_at.as_ref())
        .texts("manifests", &image.manifests)
        .end();
}

fn import_finished(fields: Fields<'_>, finished: &ImportFinished) {
    fields
        .time("checkedAt", finished.checked_at.as_ref())
        .list("outcomes", &finished.outcomes, outcome)
        .yes_or_no("scheduled", finished.scheduled)
        .text("repository", &finished.repository)
        .number("additionalTags", finished.additional_tags)
        .end();
}

fn repository_import_failed(fields: Fields<'_>, failed: &RepositoryImportFailed) {
    fields.text("repository", &failed.repository).message("failure", failed.failure.as_ref(), failure).end();
}

fn testimony_taken(fields: Fields<'_>, told: &TestimonyTaken) {
    fields
        .text("document", &told.document)
        .text("documentDigest", &told.document_digest)
        .text("namespace", &told.namespace)
        .text("name", &told.name)
        .text("uid", &told.uid)
        .text("resourceVersion", &told.resource_version)
        .time("created", told.created.as_ref())
        .time("checkedAt", told.checked_at.as_ref())
        .number("itemsLeftOut", told.items_left_out)
        .end();
}

fn log_continued(fields: Fields<'_>, continued: &LogContinued) {
    fields
        .text("oldLogId", &continued.old_log_id)
        .text("oldOrigin", &continued.old_origin)
        .text("oldCheckpoint", &continued.old_checkpoint)
        .number("head", continued.head)
        .end();
}

fn tag_spec(fields: Fields<'_>, spec: &TagSpec) {
    fields
        .message("source", spec.source.as_ref(), tag_source)
        .yes_or_no("reference", spec.reference)
        .number("generation", spec.generation)
        .message("importPolicy", spec.import_policy.as_ref(), import_policy)
        .word("referencePolicy", spec.reference_policy, spec.reference_policy().as_str_name())
        .list("annotations", &spec.annotations, entry)
        .end();
}

fn tag_source(fields: Fields<'_>, source: &TagSource) {
    fields
        .word("kind", source.kind, source.kind().as_str_name())
        .text("namespace", &source.namespace)
        .text("name", &source.name)
        .end();
}

fn import_policy(fields: Fields<'_>, policy: &ImportPolicy) {
    fields
        .yes_or_no("insecure", policy.insecure)
        .yes_or_no("scheduled", policy.scheduled)
        .word("importMode", policy.import_mode, policy.import_mode().as_str_name())
        .number("intervalSeconds", policy.interval_seconds)
        .end();
}

fn history_item(fields: Fields<'_>, item: &HistoryItem) {
    fields
        .time("created", item.created.as_ref())
        .text("dockerImageReference", &item.docker_image_reference)
        .text("image", &item.image)
        .number("generation", item.generation)
        .text("mediaType", &item.media_type)
        .message("platform", item.platform.as_ref(), platform)
        .text("index", &item.index)
        .end();
}

fn platform(fields: Fields<'_>, platform: &Platform) {
    fields
        .text("os", &platform.os)
        .text("architecture", &platform.architecture)
        .text("variant", &platform.variant)
        .end();
}

fn failure(fields: Fields<'_>, failure: &Failure) {
    fields
        .word("kind", failure.kind, failure.kind().as_str_name())
        .text("reason", &failure.reason)
        .text("message", &failure.message)
        .end();
}

fn outcome(fields: Fields<'_>, outcome: &ImportOutcome) {
    fields
        .text("tag", &outcome.tag)
        .text("image", &outcome.image)
        .text("failureReason", &outcome.failure_reason)
        .end();
}

fn entry(fields: Fields<'_>, entry: &Entry) {
    fields.text("key", &entry.key).text("value", &entry.value).end();
}

/// The fields of a message, written in the order of the proto as they are named. [`Fields::end`] closes it.
struct Fields<'t> {
    text: &'t mut Vec<u8>,
    /// What stands before the next field.
    before: u8,
}

impl<'t> Fields<'t> {
    fn of(text: &'t mut Vec<u8>) -> Self {
        Self { text, before: b'{' }
    }

    fn end(self) {
        if self.before == b'{' {
            self.text.push(b'{');
        }
        self.text.push(b'}');
    }

    /// A field's name, which needs no escapes.
    fn name(&mut self, name: &str) -> &mut Vec<u8> {
        self.text.push(self.before);
        self.before = b',';
        self.text.push(b'"');
        self.text.extend(name.as_bytes());
        self.text.extend(b"\":");
        self.text
    }

    fn value(mut self, name: &str, value: &(impl serde::Serialize + ?Sized)) -> Self {
        write(self.name(name), value);
        self
    }

    fn text(self, name: &str, text: &str) -> Self {
        if text.is_empty() { self } else { self.value(name, text) }
    }

    fn texts(self, name: &str, texts: &[String]) -> Self {
        if texts.is_empty() { self } else { self.value(name, texts) }
    }

    fn number<N: serde::Serialize + PartialEq + Default>(self, name: &str, number: N) -> Self {
        if number == N::default() { self } else { self.value(name, &number) }
    }

    fn yes_or_no(self, name: &str, value: bool) -> Self {
        self.value(name, &value)
    }

    /// Standard base64 with padding (RFC 4648, section 4), the mapping's form of bytes.
    fn bytes(self, name: &str, bytes: &[u8]) -> Self {
        self.text(name, &STANDARD.encode(bytes))
    }

    /// One of an enum's values. A number that this version has no word for stays a number, as the mapping has it.
    fn word(self, name: &str, number: i32, word: &str) -> Self {
        match number {
            0 => self,
            number if word.ends_with("_UNSPECIFIED") => self.value(name, &number),
            _ => self.value(name, word),
        }
    }

    fn time(self, name: &str, time: Option<&Timestamp>) -> Self {
        match time {
            Some(time) => self.value(name, &time.to_string()),
            None => self,
        }
    }

    fn message<M>(mut self, name: &str, message: Option<&M>, fields: fn(Fields<'_>, &M)) -> Self {
        if let Some(message) = message {
            fields(Fields::of(self.name(name)), message);
        }
        self
    }

    fn list<M>(mut self, name: &str, list: &[M], fields: fn(Fields<'_>, &M)) -> Self {
        if !list.is_empty() {
            let text = self.name(name);
            for (number, message) in list.iter().enumerate() {
                text.push(if number == 0 { b'[' } else { b',' });
                fields(Fields::of(text), message);
            }
            text.push(b']');
        }
        self
    }

    fn fact(self, fact: Option<&Fact>) -> Self {
        match fact {
            None => self,
            Some(Fact::StreamCreated(fact)) => self.message("streamCreated", Some(fact), stream_created),
            Some(Fact::StreamDeleted(fact)) => self.message("streamDeleted", Some(fact), stream_deleted),
            Some(Fact::StreamMetadataSet(fact)) => {
                self.message("streamMetadataSet", Some(fact), stream_metadata_set)
            }
            Some(Fact::LookupPolicySet(fact)) => {
                self.message("lookupPolicySet", Some(fact), lookup_policy_set)
            }
            Some(Fact::TagSet(fact)) => self.message("tagSet", Some(fact), tag_set),
            Some(Fact::TagDeleted(fact)) => self.message("tagDeleted", Some(fact), tag_deleted),
            Some(Fact::TagMoved(fact)) => self.message("tagMoved", Some(fact), tag_moved),
            Some(Fact::ImportFailed(fact)) => self.message("importFailed", Some(fact), import_failed),
            Some(Fact::FailureCleared(fact)) => self.message("failureCleared", Some(fact), failure_cleared),
            Some(Fact::ImageRecorded(fact)) => self.message("imageRecorded", Some(fact), image_recorded),
            Some(Fact::ImportFinished(fact)) => self.message("importFinished", Some(fact), import_finished),
            Some(Fact::RepositoryImportFailed(fact)) => {
                self.message("repositoryImportFailed", Some(fact), repository_import_failed)
            }
            Some(Fact::TagHeld(fact)) => self.message("tagHeld", Some(fact), tag_held),
            Some(Fact::TagReleased(fact)) => self.message("tagReleased", Some(fact), tag_released),
            Some(Fact::MoveWithheld(fact)) => self.message("moveWithheld", Some(fact), move_withheld),
            Some(Fact::TagRestored(fact)) => self.message("tagRestored", Some(fact), tag_restored),
            Some(Fact::TestimonyTaken(fact)) => self.message("testimonyTaken", Some(fact), testimony_taken),
            Some(Fact::LogContinued(fact)) => self.message("logContinued", Some(fact), log_continued),
        }
    }
}

fn write(text: &mut Vec<u8>, value: &(impl serde::Serialize + ?Sized)) {
    serde_json::to_writer(text, value).expect("memory takes everything, and these values can all be written");
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
        let json: serde_json::Value = serde_json::from_str(&json).unwrap_or_else(|e| panic!("{e}: {json}"));
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
        let held = TagHeld { tag: tag(), held_by: "ana".into(), reason: "why".into(), expires_at: time() };
        vec![
            Fact::TagHeld(held.clone()),
            Fact::TagReleased(TagReleased { tag: tag(), expired: true }),
            Fact::MoveWithheld(MoveWithheld {
                tag: tag(),
                item: Some(item()),
                cause: MoveCause::Alias.into(),
                followed_tag: "2".into(),
                source: "app:2".into(),
                copied_from_sequence: 4,
            }),
            Fact::TagRestored(TagRestored {
                tag: tag(),
                spec: Some(spec.clone()),
                items: vec![item(), item()],
                hold: Some(held),
                as_of_sequence: 7,
            }),
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
                copied_from_sequence: 39,
            }),
            Fact::ImportFailed(ImportFailed {
                tag: tag(),
                source: "s".into(),
                failure: why(),
                generation: 3,
                told_since: time(),
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
                manifests: vec!["sha256:4".into(), "sha256:5".into()],
            }),
            Fact::ImportFinished(ImportFinished {
                checked_at: time(),
                outcomes: vec![outcome("sha256:1", ""), outcome("", "NotFound")],
                scheduled: true,
                repository: "r".into(),
                additional_tags: 2,
            }),
            Fact::RepositoryImportFailed(RepositoryImportFailed { repository: "r".into(), failure: why() }),
            Fact::TestimonyTaken(TestimonyTaken {
                document: "old cluster.yaml".into(),
                document_digest: "sha256:6".into(),
                namespace: "base".into(),
                name: "app".into(),
                uid: "4c11".into(),
                resource_version: "236".into(),
                created: time(),
                checked_at: time(),
                items_left_out: 2,
            }),
            Fact::LogContinued(LogContinued {
                old_log_id: "0b5f".into(),
                old_origin: "tagtrail.example.com/log".into(),
                old_checkpoint: "tagtrail.example.com/log\n41\n".into(),
                head: 40,
            }),
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
        assert_eq!(json, r#"{"sequence":7,"actor":{"name":"ana","authenticated":false}}"#);
    }
}
