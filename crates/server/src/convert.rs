//! What the read model knows, in the words of the wire; and the wishes of the wire, as the domain's.

use std::collections::BTreeSet;

use tagtrail_api::v1;
use tagtrail_domain::command::Expectation;
use tagtrail_domain::state::CHECK_ANNOTATION;
use tagtrail_domain::tag::{ImportMode, ImportPolicy, ReferencePolicy, SourceKind, TagSource, TagSpec};
use tagtrail_domain::{
    Digest, HistoryItem, ImageReference, Interval, Model, Namespace, Refusal, StreamKey, StreamState,
    TagName, TagState, Timestamp, World, limits,
};
use tagtrail_event_log::codec::to_proto;
use tagtrail_projection::{Look, describe};

use crate::config::Repository;

/// Most history items of a tag in one answer.
pub(crate) const HISTORY_LIMIT: usize = 1_000;
/// Most history items in one stream's answer, of all tags together: about 15 MiB, and an import answers with two.
/// Each tag gets its share, and at least its newest item; `ListHistory` gives the rest.
const ITEMS_PER_STREAM: usize = 32_768;

/// Puts streams into the words of the wire, as they are, or were, at one moment.
pub(crate) struct Shown<'a, H = Look<'a>> {
    pub(crate) look: H,
    pub(crate) repository: &'a Repository,
}

/// The histories that go with a stream's state: those of now, or those of then.
pub(crate) trait Histories {
    /// At most `limit` items of a tag, newest first, older than number `before` (the oldest is 0).
    fn older(&self, key: &StreamKey, tag: &TagName, before: u64, limit: usize) -> Vec<HistoryItem>;

    /// How many different images the history of a stream holds. Items without an image count as one (spec §4.6).
    fn unique_images(&self, key: &StreamKey) -> u64;
}

impl Histories for Look<'_> {
    fn older(&self, key: &StreamKey, tag: &TagName, before: u64, limit: usize) -> Vec<HistoryItem> {
        self.history(key, tag, before, limit).into_iter().map(|(_, current)| current.item).collect()
    }

    fn unique_images(&self, key: &StreamKey) -> u64 {
        Look::unique_images(self, key)
    }
}

impl Histories for &Model {
    fn older(&self, key: &StreamKey, tag: &TagName, before: u64, limit: usize) -> Vec<HistoryItem> {
        let items = self.history(key, tag);
        let older = items.len().min(usize::try_from(before).unwrap_or(usize::MAX));
        items[..older].iter().rev().take(limit).map(|current| current.item.clone()).collect()
    }

    fn unique_images(&self, key: &StreamKey) -> u64 {
        let state = self.stream(key);
        let tags = state.life.iter().flat_map(|stream| stream.tags.keys());
        let items = tags.flat_map(|tag| self.history(key, tag));
        items.map(|current| &current.item.image).collect::<BTreeSet<_>>().len() as u64
    }
}

impl<H: Histories> Shown<'_, H> {
    /// A living stream with all tags, and at most `limit` history items of each. `None`: it does not live.
    pub(crate) fn stream(
        &self,
        key: &StreamKey,
        state: &StreamState,
        limit: usize,
    ) -> Option<v1::ImageStream> {
        let stream = state.life.as_ref()?;
        let limit = share(limit, stream.tags.len());
        let mut shown = self.header(key, state)?;
        for (tag, state) in &stream.tags {
            self.add_tag(&mut shown, key, tag, state, limit);
        }
        Some(shown)
    }

    /// One tag of a living stream with at most `limit` history items, still without its image. `None`: there is no such tag.
    pub(crate) fn tag(
        &self,
        key: &StreamKey,
        state: &StreamState,
        tag: &TagName,
        limit: usize,
    ) -> Option<v1::ImageStreamTag> {
        let tag_state = state.tag(tag)?;
        let mut stream = self.header(key, state)?;
        self.add_tag(&mut stream, key, tag, tag_state, limit);
        Some(v1::ImageStreamTag {
            stream: Some(stream),
            tag: tag.to_string(),
            image: None,
            resolved_reference: self.resolved_reference(key, state, tag),
        })
    }

    fn add_tag(
        &self,
        shown: &mut v1::ImageStream,
        key: &StreamKey,
        tag: &TagName,
        state: &TagState,
        limit: usize,
    ) {
        if let Some(spec) = &state.spec {
            shown.tags.push(v1::Tag { name: tag.to_string(), spec: Some(to_proto::tag_spec(spec)) });
        }
        if state.has_status() {
            shown.statuses.push(v1::TagStatus {
                tag: tag.to_string(),
                items: self.items(key, tag, state, limit),
                history_length: state.history_length,
                import_failure: state.condition.as_ref().map(to_proto::import_condition),
                hold: state.hold.as_ref().map(to_proto::hold),
            });
        }
    }

    /// The same without tags.
    pub(crate) fn header(&self, key: &StreamKey, state: &StreamState) -> Option<v1::ImageStream> {
        let stream = state.life.as_ref()?;
        let mut annotations = stream.annotations.clone();
        if let Some(at) = stream.checked_at {
            annotations.insert(CHECK_ANNOTATION.into(), rfc3339(at));
        }
        let place = |host: &str| if host.is_empty() { String::new() } else { format!("{host}/{key}") };
        Some(v1::ImageStream {
            namespace: key.namespace.to_string(),
            name: key.name.to_string(),
            uid: stream.uid.clone(),
            revision: state.revision,
            resource_version: state.sequence,
            generation: stream.generation,
            created: Some(to_proto::timestamp(stream.created)),
            labels: stream.labels.clone(),
            annotations,
            lookup_local: stream.lookup_local,
            repository: place(&self.repository.internal),
            public_repository: place(&self.repository.public),
            tags: Vec::new(),
            statuses: Vec::new(),
        })
    }

    /// The newest item as the state has it, and those below it, which never change.
    fn items(&self, key: &StreamKey, tag: &TagName, state: &TagState, limit: usize) -> Vec<v1::HistoryItem> {
        let Some(newest) = &state.current else { return Vec::new() };
        let below = state.history_length.saturating_sub(1);
        let older = self.look.older(key, tag, below, limit.saturating_sub(1));
        std::iter::once(&newest.item).chain(&older).map(to_proto::history_item).collect()
    }

    /// A living stream put into words.
    pub(crate) fn description(
        &self,
        key: &StreamKey,
        state: &StreamState,
        limit: usize,
    ) -> Option<v1::ImageStreamDescription> {
        let stream = state.life.as_ref()?;
        let limit = share(limit, stream.tags.len());
        let block = |block: describe::Block<'_>| v1::TagDescription {
            tag: block.tag.to_string(),
            aliases: block.aliases.iter().map(ToString::to_string).collect(),
            spec: block.state.spec.as_ref().map(to_proto::tag_spec),
            importing: block.importing,
            import_failure: block.state.condition.as_ref().map(to_proto::import_condition),
            items: self.items(key, &block.tag, block.state, limit),
            history_length: block.state.history_length,
            hold: block.state.hold.as_ref().map(to_proto::hold),
        };
        Some(v1::ImageStreamDescription {
            stream: self.header(key, state),
            unique_images: self.look.unique_images(key),
            tag_count: stream.tags.len() as u64,
            tags: describe::blocks(key, stream).into_iter().map(block).collect(),
        })
    }

    /// Where consumers pull a tag's present image from (spec §2.9).
    fn resolved_reference(&self, key: &StreamKey, state: &StreamState, tag: &TagName) -> String {
        let Some(tag) = state.tag(tag) else {
            return String::new();
        };
        let Some(current) = &tag.current else { return String::new() };
        let local = tag.spec.as_ref().is_some_and(|spec| spec.reference_policy == ReferencePolicy::Local);
        let repository = self.header(key, state).map(|stream| stream.repository).unwrap_or_default();
        match (&current.item.image, ImageReference::parse(&repository)) {
            (Some(image), Ok(repository)) if local => repository.at_digest(image).to_string(),
            _ => current.item.reference.clone(),
        }
    }
}

/// A history limit of the wire: 0 means the most there is.
pub(crate) fn history_limit(asked: u32) -> usize {
    match asked as usize {
        0 => HISTORY_LIMIT,
        limit => limit.min(HISTORY_LIMIT),
    }
}

/// How many items of each tag are shown, where a stream has so many tags.
pub(crate) fn share(limit: usize, tags: usize) -> usize {
    limit.min(ITEMS_PER_STREAM / tags.max(1)).max(1)
}

/// Whole seconds, as Kubernetes writes times.
pub(crate) fn rfc3339(at: Timestamp) -> String {
    let time = chrono::DateTime::from_timestamp(at.seconds, 0).unwrap_or_default();
    time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

/// The name of a stream to be looked at or deleted. A text that is no name is a stream that does not exist.
pub(crate) fn existing(namespace: &str, name: &str) -> Result<StreamKey, Refusal> {
    let no_namespace = |_| Refusal::NotFound { resource: "namespaces", name: namespace.to_owned() };
    Namespace::parse(namespace).map_err(no_namespace)?;
    StreamKey::parse(namespace, name).map_err(|_| Refusal::NotFound {
        resource: tagtrail_domain::refusal::resource::STREAMS,
        name: name.to_owned(),
    })
}

/// The name of a stream to be written.
pub(crate) fn key(namespace: &str, name: &str) -> Result<StreamKey, Refusal> {
    StreamKey::parse(namespace, name).map_err(|error| {
        count_long(namespace, limits::NAMESPACE_BYTES);
        count_long(name, limits::STREAM_KEY_BYTES - 1 - namespace.len().min(limits::NAMESPACE_BYTES));
        Refusal::bad_name(&error)
    })
}

/// What a tag is expected to point to. `None`: whatever it points to.
pub(crate) fn expectation(text: &str) -> Result<Option<Expectation>, Refusal> {
    match text {
        "" => Ok(None),
        "none" => Ok(Some(Expectation::Nothing)),
        _ => Digest::parse(text).map(|image| Some(Expectation::Image(image))).map_err(|error| {
            Refusal::Malformed(format!(
                "\"{text}\" is no image to expect: {error}; give a whole digest, such as sha256: and 64 digits, or none"
            ))
        }),
    }
}

/// A tag to be written.
pub(crate) fn tag(text: &str) -> Result<TagName, Refusal> {
    TagName::parse(text).map_err(|error| {
        count_long(text, limits::TAG_BYTES);
        Refusal::bad_name(&error)
    })
}

/// A name that is refused may be so for its length.
fn count_long(name: &str, most: usize) {
    if name.len() > most {
        crate::metrics::refused("name_bytes");
    }
}

pub(crate) fn source(source: v1::TagSource) -> Result<TagSource, Refusal> {
    let kind = match source.kind() {
        v1::SourceKind::DockerImage => SourceKind::DockerImage,
        v1::SourceKind::ImageStreamTag => SourceKind::ImageStreamTag,
        v1::SourceKind::ImageStreamImage => SourceKind::ImageStreamImage,
        v1::SourceKind::Unspecified => {
            let text = "the source has no kind: give docker image, image stream tag or image stream image";
            return Err(Refusal::Usage(text.into()));
        }
    };
    let namespace = match source.namespace.as_str() {
        "" => None,
        text => Some(Namespace::parse(text).map_err(|error| Refusal::bad_name(&error))?),
    };
    Ok(TagSource { kind, namespace, name: source.name })
}

pub(crate) fn import_mode(mode: v1::ImportMode) -> ImportMode {
    match mode {
        v1::ImportMode::PreserveOriginal => ImportMode::PreserveOriginal,
        v1::ImportMode::Legacy | v1::ImportMode::Unspecified => ImportMode::Legacy,
    }
}

pub(crate) fn import_policy(policy: Option<v1::ImportPolicy>) -> Result<ImportPolicy, Refusal> {
    let policy = policy.unwrap_or_default();
    Ok(ImportPolicy {
        insecure: policy.insecure,
        scheduled: policy.scheduled,
        mode: import_mode(policy.import_mode()),
        interval: interval(policy.interval_seconds)?,
    })
}

/// An interval of the wire, where 0 means none.
pub(crate) fn interval(seconds: u32) -> Result<Option<Interval>, Refusal> {
    let given = (seconds != 0).then(|| Interval::from_seconds(seconds));
    given.transpose().map_err(|error| Refusal::Malformed(error.to_string()))
}

pub(crate) fn reference_policy(policy: v1::ReferencePolicy) -> ReferencePolicy {
    match policy {
        v1::ReferencePolicy::Local => ReferencePolicy::Local,
        v1::ReferencePolicy::Source | v1::ReferencePolicy::Unspecified => ReferencePolicy::Source,
    }
}

/// The source that a tag has, in the words of the wire.
pub(crate) fn current_source(state: &StreamState, tag: &TagName) -> Option<v1::TagSource> {
    let spec: Option<&TagSpec> = state.tag(tag)?.spec.as_ref();
    spec?.source.as_ref().map(to_proto::tag_source)
}
