//! What a wish to import means for a stream as it is now (spec §2.10): which images to ask which registry for, and
//! which tags get the answers. OpenShift's client decides this; here the server does, for every client.

use std::collections::{BTreeMap, BTreeSet};

use crate::interval::Interval;
use crate::limits;
use crate::names::{StreamKey, TagName};
use crate::reference::ImageReference;
use crate::refusal::{Refusal, Subject};
use crate::state::{INSECURE_ANNOTATION, Stream, TagState};
use crate::tag::{ImportMode, ImportPolicy, ReferencePolicy, SourceKind, TagSpec};

/// A wish to import (`oc import-image`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ImportWish {
    /// The tag. `None`: `latest`, or all with `all`.
    pub tag: Option<TagName>,
    /// The target as it was typed: the source of a new stream where no other is given.
    pub target_text: String,
    /// Where from, as it was typed. Empty: from where the tag came before.
    pub from: String,
    /// All tags, or the whole repository.
    pub all: bool,
    /// Create the stream, or change what it imports.
    pub confirm: bool,
    /// Look again and again from now on.
    pub scheduled: bool,
    /// How often to look from now on. `None`: as often as the tag says, if it says.
    pub interval: Option<Interval>,
    /// Allow plain HTTP and unverified certificates. `None`: as the stream says.
    pub insecure: Option<bool>,
    /// What to make of an image index.
    pub mode: ImportMode,
    /// How consumers shall pull, for tags that this import creates.
    pub reference_policy: ReferencePolicy,
}

/// What to ask registries for.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct ImportPlan {
    /// A whole repository.
    pub repository: Option<PlannedRepository>,
    /// Single images.
    pub images: Vec<PlannedImage>,
    /// Whether the stream is created by this import.
    pub create_stream: bool,
    /// Which life of the stream it was planned for.
    pub uid: Option<String>,
}

/// A whole repository to import.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlannedRepository {
    /// The repository as it was typed.
    pub from: String,
    /// The same, parsed. It has neither tag nor digest.
    pub reference: ImageReference,
    /// How to import, and how to go on.
    pub policy: ImportPolicy,
    /// How consumers shall pull.
    pub reference_policy: ReferencePolicy,
}

/// One image to import.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlannedImage {
    /// The tag that gets it.
    pub tag: TagName,
    /// Where from, as it was typed.
    pub from: String,
    /// The same, parsed.
    pub reference: ImageReference,
    /// How to import, and how to go on.
    pub policy: ImportPolicy,
    /// How consumers shall pull.
    pub reference_policy: ReferencePolicy,
    /// What the tag follows now. `None`: it has no spec.
    pub planned: Option<TagSpec>,
    /// The operating system to prefer in an index, from the tag's annotations.
    pub prefer_os: Option<String>,
    /// The architecture to prefer in an index, from the tag's annotations.
    pub prefer_architecture: Option<String>,
}

/// Annotation of a tag: the architecture to prefer in an image index (spec §3.4).
const PREFER_ARCHITECTURE: &str = "importer.image.openshift.io/prefer-arch";
/// Annotation of a tag: the operating system to prefer in an image index (spec §3.4).
const PREFER_OS: &str = "importer.image.openshift.io/prefer-os";

/// Plans what a person asked for.
///
/// # Errors
/// [`Refusal`] in the words of OpenShift's client.
pub fn plan(key: &StreamKey, stream: Option<&Stream>, wish: &ImportWish) -> Result<ImportPlan, Refusal> {
    if wish.all && wish.tag.is_some() {
        let text = format!("cannot specify a tag \"{}\" as well as --all", wish.target_text);
        return Err(Refusal::Usage(text));
    }
    let Some(stream) = stream else { return plan_new(key, wish) };
    let planner = Planner { key, stream, wish };
    let mut plan = ImportPlan { uid: Some(stream.uid.clone()), ..ImportPlan::default() };
    if wish.all {
        planner.all(&mut plan)?;
    } else {
        plan.images.push(planner.single()?);
    }
    Ok(plan)
}

/// Plans what tags wait for: those that were set and not yet imported.
#[must_use]
pub fn plan_pending(stream: &Stream) -> ImportPlan {
    let pending = stream.tags.iter().filter(|(_, state)| state.needs_import());
    let images = pending.filter_map(|(tag, state)| plan_tag(tag, state)).collect();
    ImportPlan { images, uid: Some(stream.uid.clone()), ..ImportPlan::default() }
}

/// Plans the import of one tag as it says itself. `None`: its spec names nothing that could be imported.
#[must_use]
pub fn plan_tag(tag: &TagName, state: &TagState) -> Option<PlannedImage> {
    background_image(tag, state.spec.as_ref().filter(|spec| spec.is_importable())?)
}

/// Whether a tag is to be looked after again and again. An image named by its digest cannot change: once it was
/// imported there is nothing to look for (spec §3.8).
#[must_use]
pub fn is_scheduled(state: &TagState) -> bool {
    let Some(spec) = &state.spec else { return false };
    // An older item may be of another source, and a failure is no image.
    let imported = state.current.as_ref().is_some_and(|current| current.item.generation >= spec.generation);
    let by_digest = || {
        let source = spec.source.as_ref().map(|source| ImageReference::parse(&source.name));
        matches!(source, Some(Ok(reference)) if reference.digest.is_some())
    };
    spec.import_policy.scheduled && spec.is_importable() && !(imported && by_digest())
}

/// The operating system and the architecture to prefer in an image index, from a tag's annotations (spec §3.4).
#[must_use]
pub fn preferred_platform(spec: &TagSpec) -> (Option<String>, Option<String>) {
    (spec.annotations.get(PREFER_OS).cloned(), spec.annotations.get(PREFER_ARCHITECTURE).cloned())
}

fn background_image(tag: &TagName, spec: &TagSpec) -> Option<PlannedImage> {
    let source = spec.source.as_ref()?;
    let reference = ImageReference::parse(&source.name).ok()?;
    let (prefer_os, prefer_architecture) = preferred_platform(spec);
    Some(PlannedImage {
        tag: tag.clone(),
        from: source.name.clone(),
        reference,
        policy: spec.import_policy,
        reference_policy: spec.reference_policy,
        planned: Some(spec.clone()),
        prefer_os,
        prefer_architecture,
    })
}

fn plan_new(key: &StreamKey, wish: &ImportWish) -> Result<ImportPlan, Refusal> {
    if !wish.confirm {
        return Err(Refusal::Usage(format!(
            "no image stream named \"{}\" exists, pass --confirm to create and import",
            key.name
        )));
    }
    let from = if wish.from.is_empty() { &wish.target_text } else { &wish.from };
    let policy = ImportPolicy {
        insecure: wish.insecure.unwrap_or(false),
        scheduled: wish.scheduled,
        mode: wish.mode,
        interval: wish.interval,
    };
    policy.check()?;
    let mut plan = ImportPlan { create_stream: true, ..ImportPlan::default() };
    if wish.all {
        plan.repository = Some(repository(key, from, policy, wish.reference_policy)?);
    } else {
        plan.images.push(PlannedImage {
            tag: wish.tag.clone().unwrap_or_else(TagName::latest),
            from: from.clone(),
            reference: image_reference(key, from)?,
            policy,
            reference_policy: wish.reference_policy,
            planned: None,
            prefer_os: None,
            prefer_architecture: None,
        });
    }
    Ok(plan)
}

struct Planner<'a> {
    key: &'a StreamKey,
    stream: &'a Stream,
    wish: &'a ImportWish,
}

impl Planner<'_> {
    fn all(&self, plan: &mut ImportPlan) -> Result<(), Refusal> {
        let wish = self.wish;
        if wish.from.is_empty() {
            return self.all_tags(plan);
        }
        if !wish.confirm {
            let text = "the image stream does not currently import an entire Docker repository, pass --confirm to update";
            return Err(Refusal::Usage(text.into()));
        }
        let policy = self.policy(None)?;
        plan.repository = Some(repository(self.key, &wish.from, policy, wish.reference_policy)?);
        Ok(())
    }

    fn all_tags(&self, plan: &mut ImportPlan) -> Result<(), Refusal> {
        for (tag, state) in &self.stream.tags {
            let Some(spec) = &state.spec else { continue };
            let Some(source) = spec.source.as_ref().filter(|s| s.kind == SourceKind::DockerImage) else {
                continue;
            };
            plan.images.push(self.image(tag, &source.name, Some(spec))?);
        }
        match plan.images.len() {
            0 => {
                let text = "image stream does not have tags pointing to external container images";
                Err(Refusal::Usage(text.into()))
            }
            1..=limits::TAGS_PER_COMMAND => Ok(()),
            tags => Err(Refusal::Usage(format!(
                "the image stream has {tags} tags to import, at most {} can be imported at once; import them tag by tag",
                limits::TAGS_PER_COMMAND
            ))),
        }
    }

    fn single(&self) -> Result<PlannedImage, Refusal> {
        let (wish, stream) = (self.wish, self.stream);
        let asked = wish.tag.clone().unwrap_or_else(TagName::latest);
        let usage = |text: String| Err(Refusal::Usage(text));
        let (tag, spec, hops) = match follow(stream, self.key, &asked) {
            Followed::End { tag, spec, hops } => (tag, spec, hops),
            Followed::Missing if !wish.from.is_empty() => return self.image(&asked, &wish.from, None),
            Followed::Missing => {
                return usage(format!(
                    "the tag \"{asked}\" does not exist on the image stream - choose an existing tag to import or use the 'tag' command to create a new tag"
                ));
            }
            Followed::Circular => {
                return usage(format!("tag \"{asked}\" on the image stream is a reference to same tag"));
            }
            Followed::OtherStream => {
                return usage(format!(
                    "tag \"{asked}\" points to an imagestreamtag from another ImageStream"
                ));
            }
            Followed::Malformed => {
                return usage(format!("tag \"{asked}\" points to an invalid imagestreamtag"));
            }
        };
        let Some(source) = &spec.source else {
            return usage(format!(
                "tag \"{asked}\" already exists - you must use the 'tag' command if you want to change the source to \"{}\"",
                wish.from
            ));
        };
        if source.kind != SourceKind::DockerImage {
            return usage(format!(
                "tag \"{asked}\" points to existing {} \"{}\", it cannot be re-imported",
                source.kind, source.name
            ));
        }
        if !wish.from.is_empty() && wish.from != source.name {
            let through =
                if hops > 0 { format!("points to the tag \"{tag}\" which ") } else { String::new() };
            return usage(format!(
                "the tag \"{asked}\" {through}points to \"{}\" - use the 'tag' command if you want to change the source to \"{}\"",
                source.name, wish.from
            ));
        }
        self.image(&tag, &source.name, Some(spec))
    }

    fn image(&self, tag: &TagName, from: &str, spec: Option<&TagSpec>) -> Result<PlannedImage, Refusal> {
        // An alias that leads nowhere is imported as a new tag (`spec` is `None`), but is what the tag follows now.
        let planned = self.stream.tags.get(tag).and_then(|state| state.spec.clone());
        let (prefer_os, prefer_architecture) = planned.as_ref().map(preferred_platform).unwrap_or_default();
        Ok(PlannedImage {
            tag: tag.clone(),
            from: from.to_owned(),
            reference: image_reference(self.key, from)?,
            policy: self.policy(spec)?,
            reference_policy: self.wish.reference_policy,
            planned,
            prefer_os,
            prefer_architecture,
        })
    }

    /// What is asked for now, together with what the tag had: an import cannot turn a flag off (spec §2.10).
    fn policy(&self, spec: Option<&TagSpec>) -> Result<ImportPolicy, Refusal> {
        let had = spec.map(|spec| spec.import_policy).unwrap_or_default();
        let of_stream = || self.stream.annotations.get(INSECURE_ANNOTATION).is_some_and(|v| v == "true");
        let policy = ImportPolicy {
            insecure: self.wish.insecure.unwrap_or_else(of_stream) || had.insecure,
            scheduled: self.wish.scheduled || had.scheduled,
            mode: self.wish.mode,
            interval: self.wish.interval.or(had.interval),
        };
        policy.check().map(|()| policy)
    }
}

fn repository(
    key: &StreamKey,
    from: &str,
    policy: ImportPolicy,
    reference_policy: ReferencePolicy,
) -> Result<PlannedRepository, Refusal> {
    let reference = parse_source(key, "spec.repository", from)?;
    if !reference.tag.is_empty() || reference.digest.is_some() {
        let why = "you must specify an image repository, not a tag or ID";
        return Err(invalid_source(key, "spec.repository", from, why));
    }
    Ok(PlannedRepository { from: from.to_owned(), reference, policy, reference_policy })
}

fn image_reference(key: &StreamKey, from: &str) -> Result<ImageReference, Refusal> {
    parse_source(key, "spec.images[0]", from)
}

fn parse_source(key: &StreamKey, field: &str, from: &str) -> Result<ImageReference, Refusal> {
    let reference =
        ImageReference::parse(from).map_err(|error| invalid_source(key, field, from, &error.to_string()))?;
    if reference.name.is_empty() {
        let why =
            "this reads as a registry without an image; put a registry or a namespace in front of the name";
        return Err(invalid_source(key, field, from, why));
    }
    Ok(reference)
}

fn invalid_source(key: &StreamKey, field: &str, from: &str, why: &str) -> Refusal {
    let message = format!("{field}.from.name: Invalid value: \"{from}\": {why}");
    Refusal::Invalid { subject: Subject { kind: "ImageStreamImport", name: key.name.to_string() }, message }
}

/// Where following a tag through its stream leads.
pub(crate) enum Followed<'s> {
    /// To a tag that is no alias, after so many aliases.
    End { tag: TagName, spec: &'s TagSpec, hops: usize },
    /// To a tag without spec.
    Missing,
    /// In a circle.
    Circular,
    /// To another stream.
    OtherStream,
    /// Nowhere: the source is no tag.
    Malformed,
}

/// Follows aliases within the stream.
pub(crate) fn follow<'s>(stream: &'s Stream, key: &StreamKey, tag: &TagName) -> Followed<'s> {
    let mut seen = BTreeSet::from([tag.clone()]);
    let mut last = tag.clone();
    loop {
        let Some(spec) = stream.tags.get(&last).and_then(|state| state.spec.as_ref()) else {
            return Followed::Missing;
        };
        let Some(source) = spec.source.as_ref().filter(|s| s.kind == SourceKind::ImageStreamTag) else {
            return Followed::End { tag: last, spec, hops: seen.len() - 1 };
        };
        match source.followed_tag(key) {
            Some(next) if seen.insert(next.clone()) => last = next,
            Some(_) => return Followed::Circular,
            None if source.target(key).is_some() => return Followed::OtherStream,
            None => return Followed::Malformed,
        }
    }
}

/// The tag that each alias ends at, where following it within its stream ends well. `describe` shows such tags behind
/// the one they end at (spec §4.6). A held alias is an end itself: it does not point to where its tag does. Every tag is looked
/// at once, however long the chains are.
#[must_use]
pub fn alias_ends<'s>(stream: &'s Stream, key: &StreamKey) -> BTreeMap<&'s TagName, &'s TagName> {
    let mut ends: BTreeMap<&TagName, Option<&TagName>> = BTreeMap::new();
    for start in stream.tags.keys() {
        let mut walked = Vec::new();
        let mut next = Some(start);
        let mut end = None;
        while let Some(tag) = next {
            if let Some(known) = ends.get(tag) {
                end = *known;
                break;
            }
            // It stays so if the way leads nowhere, or in a circle.
            ends.insert(tag, None);
            walked.push(tag);
            let state = &stream.tags[tag];
            let spec = state.spec.as_ref();
            // A held tag follows nothing for the time being.
            let followed =
                |spec: &'s TagSpec| spec.source.as_ref().filter(|s| s.kind == SourceKind::ImageStreamTag);
            let alias = if state.hold.is_some() { Some(None) } else { spec.map(followed) };
            (next, end) = match alias {
                None => (None, None),
                Some(None) => (None, Some(tag)),
                Some(Some(source)) => {
                    let followed = source.followed_tag(key);
                    (followed.and_then(|tag| stream.tags.get_key_value(&tag)).map(|(tag, _)| tag), None)
                }
            };
        }
        ends.extend(walked.into_iter().map(|tag| (tag, end)));
    }
    ends.into_iter().filter_map(|(tag, end)| Some((tag, end?))).filter(|(tag, end)| tag != end).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::tag::TagSource;
    use crate::time::Timestamp;

    #[test]
    fn aliases_end_where_following_them_ends() {
        let key = StreamKey::parse("test", "p").expect("valid");
        let tag = |text: &str| TagName::parse(text).expect("valid");
        // `a=x` follows a container image, `a>b` a tag of the stream, `a` has no spec.
        let check = |tags: &str, ends: &[&str]| {
            let state = |word: &str| {
                let source = |kind, name: &str| TagSource { kind, namespace: None, name: name.into() };
                let (name, source) = match (word.split_once('>'), word.split_once('=')) {
                    (Some((name, to)), _) => (name, Some(source(SourceKind::ImageStreamTag, to))),
                    (_, Some((name, from))) => (name, Some(source(SourceKind::DockerImage, from))),
                    _ => (word, None),
                };
                let spec = source.map(|source| TagSpec { source: Some(source), ..TagSpec::default() });
                (tag(name), Arc::new(TagState { spec, ..TagState::default() }))
            };
            let stream = Stream {
                uid: String::new(),
                created: Timestamp::default(),
                generation: 1,
                lookup_local: false,
                labels: BTreeMap::new(),
                annotations: BTreeMap::new(),
                checked_at: None,
                tags: tags.split(' ').map(state).collect(),
            };
            let found = alias_ends(&stream, &key);
            let told: Vec<String> = found.iter().map(|(tag, end)| format!("{tag}>{end}")).collect();
            assert_eq!(told, ends, "{tags}");
            // One tag alone is followed to the same end.
            for name in stream.tags.keys() {
                let end = match follow(&stream, &key, name) {
                    Followed::End { tag, hops: 1.., .. } => Some(tag),
                    _ => None,
                };
                assert_eq!(found.get(name).copied(), end.as_ref(), "{tags}: {name}");
            }
        };
        check("a=x b>a c>b d>p:c", &["b>a", "c>a", "d>a"]);
        check("a>b b>c c=x d>b", &["a>c", "b>c", "d>c"]);
        // To a tag that is not there, without spec, of another stream, or none at all.
        check("a>z b>a c d>c e>q:a f>b:c:d g=x", &[]);
        // Into a circle, and around in it: only an older log has one.
        check("a>b b>c c>b d>d e>d f>a g=x h>g", &["h>g"]);
    }
}
