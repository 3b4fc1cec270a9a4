//! Setting and deleting tags (spec §2.2, §2.3, §2.5, §2.8).

use std::collections::BTreeSet;

use super::{Draft, World};
use crate::command::{Expectation, SetTag};
use crate::event::{Fact, MoveCause};
use crate::names::{StreamKey, TagName};
use crate::reference::ImageReference;
use crate::refusal::{Refusal, Subject};
use crate::state::{Current, HistoryItem};
use crate::tag::{Entries, SourceKind, TagSource, TagSpec};

/// Most tags of a circle that a refusal names.
const SHOWN_HOPS: usize = 8;

pub(super) fn set(draft: &mut Draft<'_>, world: &impl World, wish: &SetTag) -> Result<(), Refusal> {
    let (key, tag) = (draft.key, &wish.tag);
    let old = draft.spec(tag).cloned();
    draft.expect_image(tag.as_str(), wish.expect.as_ref())?;
    if wish.create && old.is_some() {
        let name = format!("{}:{tag}", key.name);
        return Err(Refusal::AlreadyExists { resource: crate::refusal::resource::TAG, name });
    }
    draft.refuse_held(tag)?;
    super::metadata::check_annotations(&Subject::tag(key, tag.as_str()), &wish.annotations)?;
    draft.check_room([tag])?;
    let (source, copied_from) = resolve(draft, world, wish)?;
    let is_image = source.as_ref().is_some_and(|s| s.kind == SourceKind::DockerImage);
    if wish.import_policy.scheduled && !is_image {
        let message = "tag.importPolicy.scheduled: Invalid value: true: only tags pointing to Docker repositories may be scheduled for background import";
        return Err(Refusal::invalid_tag(key, tag.as_str(), message.into()));
    }
    wish.import_policy.check()?;
    if let Some(followed) = source.as_ref().and_then(|source| source.followed_tag(key)) {
        refuse_circle(draft, tag, followed)?;
    }
    let mut spec = TagSpec {
        source,
        reference: wish.reference,
        generation: old.as_ref().map_or(0, |old| old.generation),
        import_policy: wish.import_policy,
        reference_policy: wish.reference_policy,
        annotations: wish.annotations.clone(),
    };
    let retargeted = old.as_ref().is_none_or(|old| spec.differs_in_target(old, key));
    // A container image is always a new wish: "look again", even if nothing else is new (spec §2.2). A tag that is only
    // pointed at it is not looked at, so its history waits for another target.
    let renewed = is_image || retargeted;
    // What the tag will point to is looked up before anything happens: a source that is not there refuses it all.
    let item = match item_from_source(draft, world, wish, &spec) {
        Err(_) if !retargeted => None,
        item => item?.filter(|item| retargeted || taken_back(draft, tag, &item.item)),
    };
    let renewed = renewed || item.is_some();
    if !renewed && old.as_ref() == Some(&spec) {
        return Ok(());
    }
    if draft.life().is_none() {
        draft.create_stream(false, Entries::new(), Entries::new());
    } else {
        draft.change_spec();
    }
    if renewed {
        spec.generation = draft.generation;
    }
    let followed = spec.source.as_ref().and_then(|source| source.followed_tag(key));
    draft.happen(Fact::TagSet { tag: tag.clone(), spec });
    if let Some(Current { item, sequence }) = item {
        let copied_from = if copied_from == 0 { sequence } else { copied_from };
        let confirmed = followed.as_ref().filter(|followed| confirms(draft, followed));
        for (tag, copied_from) in std::iter::once((tag, copied_from)).chain(confirmed.map(|tag| (tag, 0))) {
            let item = HistoryItem { generation: draft.generation, ..item.clone() };
            if draft.add_item(tag, item, MoveCause::Tag, copied_from) {
                draft.moved.push(tag.clone());
            }
        }
    }
    Ok(())
}

/// Whether a rollback took the tag away from what its spec still names, so that to set it to the same is a wish.
fn taken_back(draft: &Draft<'_>, tag: &TagName, named: &HistoryItem) -> bool {
    let state = draft.life().and_then(|stream| stream.tags.get(tag));
    let Some(current) = state.and_then(|state| state.current.as_ref()).map(|current| &current.item) else {
        return false;
    };
    match &named.image {
        Some(image) => current.image.as_ref() != Some(image),
        // A reference tag that was imported by hand has an image, and keeps it (spec §2.3).
        None => current.image.is_none() && current.reference != named.reference,
    }
}

/// A new alias confirms the newest item of the tag it follows: both get the alias's generation, as in OpenShift. Not while
/// that tag waits for an import, which would then count as done, or is held.
fn confirms(draft: &Draft<'_>, followed: &TagName) -> bool {
    let state = draft.stream().tags.get(followed);
    state.is_some_and(|state| !state.needs_import() && state.hold.is_none())
}

/// A stream tag that is not to be followed becomes the image it points to now (spec §2.5); with it comes the sequence of
/// the event that set that.
fn resolve(
    draft: &Draft<'_>,
    world: &impl World,
    wish: &SetTag,
) -> Result<(Option<TagSource>, u64), Refusal> {
    let Some(source) = &wish.source else { return Ok((None, 0)) };
    let invalid = |message: String| Err(Refusal::invalid_tag(draft.key, wish.tag.as_str(), message));
    if source.name.is_empty() {
        return invalid("tag.from.name: Required value".into());
    }
    match source.kind {
        SourceKind::DockerImage => match ImageReference::parse(&source.name) {
            // A dotted name alone reads as a registry (spec §1.2), and then nothing is left to import.
            Ok(reference) if reference.name.is_empty() => invalid("tag.from.name: Required value".into()),
            Ok(_) => Ok((Some(source.clone()), 0)),
            Err(error) => invalid(format!("tag.from.name: Invalid value: \"{}\": {error}", source.name)),
        },
        SourceKind::ImageStreamTag if !wish.alias => {
            let (stream, tag) = source.target(draft.key).ok_or_else(|| malformed(draft.key, wish, source))?;
            let from = world.stream(&stream);
            let life = from.life.as_ref().ok_or_else(|| Refusal::no_stream(&stream))?;
            let current = TagName::parse(&tag).ok().and_then(|tag| life.tags.get(&tag)?.current.as_ref());
            let Some(current) = current else {
                return Err(Refusal::Usage(format!(
                    "\"{}\" is not currently pointing to an image, cannot use it as the source of a tag",
                    source.name
                )));
            };
            let source = match &current.item.image {
                Some(image) => TagSource {
                    kind: SourceKind::ImageStreamImage,
                    namespace: source.namespace.clone(),
                    name: format!("{}@{image}", stream.name),
                },
                None => TagSource {
                    kind: SourceKind::DockerImage,
                    namespace: None,
                    name: current.item.reference.clone(),
                },
            };
            Ok((Some(source), current.sequence))
        }
        SourceKind::ImageStreamTag | SourceKind::ImageStreamImage => Ok((Some(source.clone()), 0)),
    }
}

/// Refuses a tag that has come back and leads back to itself.
pub(super) fn refuse_circle_at(draft: &Draft<'_>, tag: &TagName) -> Result<(), Refusal> {
    let followed = draft.spec(tag).and_then(|spec| spec.source.as_ref()?.followed_tag(draft.key));
    followed.map_or(Ok(()), |followed| refuse_circle(draft, tag, followed))
}

/// A tag that follows itself, over whatever hops, would never move again, and `describe` would show a source that is
/// none. OpenShift accepts it (spec §2.4). An older log may hold circles, and so may a testimony: the walk ends in them as well.
fn refuse_circle(draft: &Draft<'_>, tag: &TagName, followed: TagName) -> Result<(), Refusal> {
    let mut way = vec![followed.clone()];
    let mut seen = BTreeSet::from([followed]);
    while let Some(at) = way.last().filter(|at| *at != tag) {
        let source = draft.spec(at).and_then(|spec| spec.source.as_ref());
        match source.and_then(|source| source.followed_tag(draft.key)) {
            Some(next) if seen.insert(next.clone()) => way.push(next),
            _ => return Ok(()),
        }
    }
    let name = |tag: &TagName| format!("{}:{tag}", draft.key.name);
    let why = if way.len() == 1 {
        "a tag cannot follow itself: it would never move again; let it follow an image or another tag".into()
    } else {
        let mut shown: Vec<String> = std::iter::once(tag).chain(&way).map(name).collect();
        if shown.len() > SHOWN_HOPS {
            shown.splice(SHOWN_HOPS - 2..shown.len() - 2, ["...".to_owned()]);
        }
        format!(
            "it leads back to \"{}\" ({}), so none of these tags would ever move again; let one of them follow an image instead",
            name(tag),
            shown.join(" -> ")
        )
    };
    let message = format!("tag.from.name: Invalid value: \"{}\": {why}", name(&way[0]));
    Err(Refusal::invalid_tag(draft.key, tag.as_str(), message))
}

/// What a new wish does to the history at once (spec §2.3), with the sequence of the event it is copied from.
/// `None`: nothing; an importer may act later.
fn item_from_source(
    draft: &Draft<'_>,
    world: &impl World,
    wish: &SetTag,
    spec: &TagSpec,
) -> Result<Option<Current>, Refusal> {
    let Some(source) = &spec.source else { return Ok(None) };
    let key = draft.key;
    if source.kind == SourceKind::DockerImage {
        let item = HistoryItem {
            created: draft.context.now,
            reference: source.name.clone(),
            image: None,
            generation: 0,
            media_type: String::new(),
            platform: None,
            index: None,
        };
        return Ok(spec.reference.then_some(Current { item, sequence: 0 }));
    }
    let (stream, id) = source.target(key).ok_or_else(|| malformed(key, wish, source))?;
    let from = world.stream(&stream);
    // A tag may be set up before the stream it names is complete, but another stream must be there.
    if stream != *key && from.life.is_none() {
        return Err(inner_error(key, wish, &format!("Not found: \"{}\"", source.name)));
    }
    let found = if source.kind == SourceKind::ImageStreamTag {
        TagName::parse(&id).ok().and_then(|tag| from.points_to(&tag).cloned())
    } else {
        let mut found = world.find_image(&stream, &id);
        let unfit = |why: String| {
            let text = format!("Invalid value: \"{}\": error generating tag event: {why}", source.name);
            Err(inner_error(key, wish, &text))
        };
        match found.len() {
            0 => return unfit(format!("{} \"{id}\" not found", crate::refusal::resource::STREAM_IMAGE)),
            1 => found.pop().map(|(_, Current { item, sequence })| Current {
                item: HistoryItem { created: draft.context.now, ..item },
                sequence,
            }),
            _ => {
                let all = found.iter().map(|(digest, _)| digest.as_str()).collect::<Vec<_>>().join(", ");
                return unfit(format!(
                    "Operation cannot be fulfilled on {} \"{id}\": multiple images match the prefix \"{id}\": {all}",
                    crate::refusal::resource::STREAM_IMAGE
                ));
            }
        }
    };
    Ok(found.map(|Current { item, sequence }| {
        let item = if spec.reference { item } else { pulled_from_here(draft, &stream, item) };
        Current { item, sequence }
    }))
}

/// A reference to the source stream's own repository in the internal registry becomes one to this stream's, so
/// that pulls come from here (spec §2.3).
fn pulled_from_here(draft: &Draft<'_>, source: &StreamKey, item: HistoryItem) -> HistoryItem {
    let Some(internal) = &draft.context.internal_registry else { return item };
    let Ok(mut reference) = ImageReference::parse(&item.reference) else { return item };
    let own = reference.registry == *internal
        && reference.namespace == source.namespace.as_str()
        && reference.name == source.name.as_str();
    if !own {
        return item;
    }
    reference.namespace = draft.key.namespace.to_string();
    reference.name = draft.key.name.to_string();
    HistoryItem { reference: reference.to_string(), ..item }
}

fn malformed(key: &StreamKey, wish: &SetTag, source: &TagSource) -> Refusal {
    let form = "must be of the form <tag>, <repo>:<tag>, <id>, or <repo>@<id>";
    inner_error(key, wish, &format!("Invalid value: \"{}\": {form}", source.name))
}

/// OpenShift finds these out while it processes the tag, and wraps them (spec §1.3).
fn inner_error(key: &StreamKey, wish: &SetTag, text: &str) -> Refusal {
    let (name, tag) = (&key.name, &wish.tag);
    let message =
        format!("[]: Internal error: imagestreams \"{name}\" is invalid: spec.tags[{tag}].from.name: {text}");
    Refusal::invalid_stream(name.as_str(), message)
}

pub(super) fn delete(draft: &mut Draft<'_>, tag: &str, expect: Option<&Expectation>) -> Result<(), Refusal> {
    let key = draft.key;
    draft.expect_image(tag, expect)?;
    let Some(stream) = draft.life() else { return Err(Refusal::no_tag(key, tag, false)) };
    let found = TagName::parse(tag).ok().and_then(|name| stream.tags.get_key_value(&name));
    let Some((name, state)) = found else { return Err(Refusal::no_tag(key, tag, true)) };
    let fact = Fact::TagDeleted {
        tag: name.clone(),
        had_spec: state.spec.is_some(),
        last: state.current.as_ref().map(|current| current.item.clone()),
    };
    if state.spec.is_some() {
        draft.change_spec();
    }
    draft.happen(fact);
    Ok(())
}
