//! What a tag shall follow: OpenShift's `spec.tags` entry (spec §1.1, TagReference).

use std::collections::BTreeMap;
use std::fmt;

use crate::image::Failure;
use crate::interval::Interval;
use crate::names::{Namespace, StreamKey, StreamName, TagName};
use crate::reference::is_tag;
use crate::refusal::Refusal;
use crate::time::Timestamp;

/// Annotations or labels, by key.
pub type Entries = BTreeMap<String, String>;

/// What a tag source names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum SourceKind {
    /// An image in a registry; the name is a pull spec as it was typed.
    DockerImage,
    /// A tag of an image stream; the name is `stream:tag`, or `tag` of the same stream.
    ImageStreamTag,
    /// An image in the history of an image stream; the name is `stream@digest`, or `digest` of the same stream.
    ImageStreamImage,
}

impl fmt::Display for SourceKind {
    /// OpenShift's word.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DockerImage => "DockerImage",
            Self::ImageStreamTag => "ImageStreamTag",
            Self::ImageStreamImage => "ImageStreamImage",
        })
    }
}

/// Where a tag's image comes from.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TagSource {
    /// What kind of thing the name names.
    pub kind: SourceKind,
    /// Namespace of the source stream, where it was given. `None`: the tag's own.
    pub namespace: Option<Namespace>,
    /// The name, stored as typed.
    pub name: String,
}

impl TagSource {
    /// The tag of the same stream that this source follows, if it is an alias in the stream `key` (spec §2.4).
    #[must_use]
    pub fn followed_tag(&self, key: &StreamKey) -> Option<TagName> {
        if self.kind != SourceKind::ImageStreamTag
            || self.namespace.as_ref().is_some_and(|n| *n != key.namespace)
        {
            return None;
        }
        match self.name.split_once(':') {
            Some((stream, tag)) if stream == key.name.as_str() => TagName::parse(tag).ok(),
            Some(_) => None,
            None => TagName::parse(&self.name).ok(),
        }
    }

    /// Splits a stream source into the stream and what is wanted of it: a tag or (the start of) a digest.
    /// `None` if the name has not one of the forms `tag`, `stream:tag`, `id`, `stream@id` (spec §1.3).
    #[must_use]
    pub fn target(&self, key: &StreamKey) -> Option<(StreamKey, String)> {
        let separator = match self.kind {
            SourceKind::DockerImage => return None,
            SourceKind::ImageStreamTag => ':',
            SourceKind::ImageStreamImage => '@',
        };
        let namespace = self.namespace.clone().unwrap_or_else(|| key.namespace.clone());
        let (stream, id) = match self.name.split_once(separator) {
            Some((stream, id)) => (StreamName::parse(stream).ok()?, id),
            None => (key.name.clone(), self.name.as_str()),
        };
        let whole = if separator == ':' { is_tag(id) } else { !id.is_empty() && !id.contains('@') };
        whole.then(|| (StreamKey::new(namespace, stream), id.to_owned()))
    }
}

/// What to make of an image index (manifest list).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub enum ImportMode {
    /// Keep the image of one platform.
    #[default]
    Legacy,
    /// Keep the index and all of its images.
    PreserveOriginal,
}

/// How to import.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct ImportPolicy {
    /// Whether plain HTTP and unverified certificates are allowed.
    pub insecure: bool,
    /// Whether to look again and again.
    pub scheduled: bool,
    /// What to make of an image index.
    pub mode: ImportMode,
    /// How often to look, for a scheduled tag. `None`: as often as the server looks at all of them.
    pub interval: Option<Interval>,
}

impl ImportPolicy {
    /// Only what is scheduled can have an interval.
    ///
    /// # Errors
    /// [`Refusal::Usage`] says what to do.
    pub fn check(&self) -> Result<(), Refusal> {
        match self.interval {
            Some(interval) if !self.scheduled => Err(Refusal::Usage(format!(
                "an interval ({interval}) is only for a tag that is looked at again and again; give --scheduled as well"
            ))),
            _ => Ok(()),
        }
    }
}

/// How consumers shall pull.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub enum ReferencePolicy {
    /// From where the image came.
    #[default]
    Source,
    /// Through the image stream's own repository.
    Local,
}

/// What a tag shall follow.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct TagSpec {
    /// Where its image comes from. `None`: a tag without source.
    pub source: Option<TagSource>,
    /// Only point at the source, never import it.
    pub reference: bool,
    /// The stream's generation when this was last set in a way that matters (spec §2.2).
    pub generation: i64,
    /// How to import.
    pub import_policy: ImportPolicy,
    /// How consumers shall pull.
    pub reference_policy: ReferencePolicy,
    /// Annotations of the tag.
    pub annotations: Entries,
}

impl TagSpec {
    /// Whether an importer has to do with this tag at all: a container image that is not a mere reference.
    #[must_use]
    pub fn is_importable(&self) -> bool {
        !self.reference && self.source.as_ref().is_some_and(|s| s.kind == SourceKind::DockerImage)
    }

    /// Whether a change from `old` counts as a new wish for the tag's history (spec §2.2, *changed*): the source,
    /// `reference`, or the import mode. Not its schedule and interval, policies or annotations. OpenShift leaves out the source's
    /// kind, so that an alias can say it follows a tag that it never looked at; here the kind counts.
    #[must_use]
    pub fn differs_in_target(&self, old: &Self, key: &StreamKey) -> bool {
        let namespace = |spec: &Self| {
            let source = spec.source.as_ref();
            source.map(|s| s.namespace.clone().unwrap_or_else(|| key.namespace.clone()))
        };
        let name = |spec: &Self| spec.source.as_ref().map(|s| (s.kind, s.name.clone()));
        namespace(self) != namespace(old)
            || name(self) != name(old)
            || self.reference != old.reference
            || self.import_policy.mode != old.import_policy.mode
    }
}

/// A failure of the last import of a tag (OpenShift's condition `ImportSuccess=False`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ImportCondition {
    /// Why.
    pub failure: Failure,
    /// The generation it stands for.
    pub generation: i64,
    /// When it first held. A repetition does not move it (spec §3.6).
    pub since: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_follows_a_tag_of_its_own_stream() {
        let key = StreamKey::parse("test", "p").expect("valid");
        let check = |kind, namespace: Option<&str>, name: &str, followed: Option<&str>| {
            let namespace = namespace.map(|n| Namespace::parse(n).expect("valid"));
            let source = TagSource { kind, namespace, name: name.into() };
            assert_eq!(source.followed_tag(&key).as_ref().map(TagName::as_str), followed, "{name}");
        };
        check(SourceKind::ImageStreamTag, None, "p:a", Some("a"));
        check(SourceKind::ImageStreamTag, None, "a", Some("a")); // The legacy form.
        check(SourceKind::ImageStreamTag, Some("test"), "p:a", Some("a"));
        check(SourceKind::ImageStreamTag, Some("other"), "p:a", None);
        check(SourceKind::ImageStreamTag, None, "q:a", None);
        check(SourceKind::DockerImage, None, "p:a", None);
    }
}
