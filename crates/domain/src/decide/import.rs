//! Taking over what registries answered (spec §3.6).

use super::{Draft, World};
use crate::command::{Import, ImportOrigin, ImportTarget, ImportedImage};
use crate::digest::Digest;
use crate::event::{Fact, ImageRecorded, ImportFinished, ImportOutcome, MoveCause};
use crate::image::{Failure, Image, Platform};
use crate::limits;
use crate::refusal::Refusal;
use crate::state::{HistoryItem, TagState};
use crate::tag::{Entries, SourceKind, TagSource, TagSpec};

pub(super) fn decide(draft: &mut Draft<'_>, world: &impl World, import: &Import) -> Result<(), Refusal> {
    let Some(targets) = still_wanted(draft, import)? else { return Ok(()) };
    draft.check_room(targets.iter().map(|target| &target.tag))?;
    if draft.life().is_none() {
        draft.create_stream(false, Entries::new(), Entries::new());
    }
    let events_before = draft.events.len();
    // Any change to a spec takes the stream to the next generation; so do the items and failures that come with it.
    let next = draft.next_generation;
    let plans: Vec<Plan<'_>> =
        targets.into_iter().map(|target| Plan::new(draft, import.origin, target, next)).collect();
    plans.iter().try_for_each(|plan| plan.check(draft))?;
    if plans.iter().any(|plan| plan.spec.is_some()) {
        draft.change_spec();
    }
    let cause = match import.origin {
        ImportOrigin::Request | ImportOrigin::Background => MoveCause::Import,
        ImportOrigin::Schedule => MoveCause::ScheduledImport,
    };
    let mut recorded = Vec::new();
    let mut moved = Vec::new();
    let mut outcomes = Vec::new();
    for plan in plans {
        let tag = &plan.target.tag;
        if let Some(spec) = plan.spec {
            draft.happen(Fact::TagSet { tag: tag.clone(), spec });
        }
        let result = match &plan.target.outcome {
            Ok(imported) => {
                for image in imported.children.iter().chain([&imported.image]) {
                    let of_index = image.digest == imported.image.digest;
                    let manifests: &[Image] = if of_index { &imported.children } else { &[] };
                    record(draft, world, &mut recorded, image, manifests);
                }
                if let Some(item) = plan.item
                    && draft.arrive(tag, item, cause.clone(), 0)
                {
                    moved.push(tag.clone());
                }
                let failed = draft.stream().tags.get(tag).is_some_and(|state| state.condition.is_some());
                if failed {
                    draft.happen(Fact::FailureCleared { tag: tag.clone() });
                }
                Ok(imported.image.digest.clone())
            }
            Err(failure) => {
                if plan.new_failure {
                    draft.happen(Fact::ImportFailed {
                        tag: tag.clone(),
                        source: plan.target.from.clone(),
                        failure: bounded(failure),
                        generation: if plan.held { draft.generation } else { next },
                        told_since: None,
                    });
                }
                Err(failure.reason.clone())
            }
        };
        outcomes.push(ImportOutcome { tag: tag.clone(), result });
    }
    draft.follow_aliases(moved);
    // Told to somebody who asked, so it is written each time; it is no change to the stream.
    let changed = draft.events.len() > events_before;
    if let Some(failure) = &import.repository_failure {
        draft.happen(Fact::RepositoryImportFailed {
            repository: import.repository.clone(),
            failure: bounded(failure),
        });
    }
    outcomes.truncate(limits::OUTCOMES_PER_IMPORT);
    // An import that found nothing new writes nothing, unless the stream has never been looked after before.
    if changed || draft.stream().checked_at.is_none() {
        draft.happen(Fact::ImportFinished(Box::new(ImportFinished {
            checked_at: draft.context.now,
            outcomes,
            scheduled: import.origin == ImportOrigin::Schedule,
            repository: import.repository.clone(),
            additional_tags: import.additional_tags,
        })));
    }
    Ok(())
}

/// The registry was asked outside the writer, and the world may have moved meanwhile. An answer to a question that
/// nobody asks any more is dropped; to a person that is a conflict. `None`: there is nothing left to do.
fn still_wanted<'i>(draft: &Draft<'_>, import: &'i Import) -> Result<Option<Vec<&'i ImportTarget>>, Refusal> {
    let uid = draft.life().map(|stream| stream.uid.as_str());
    let for_person = import.origin == ImportOrigin::Request;
    let same_life = uid == import.planned_uid.as_deref();
    if uid.is_none() && (!import.create_stream || !same_life) {
        return if for_person { Err(Refusal::no_stream(draft.key)) } else { Ok(None) };
    }
    let wanted = |target: &&ImportTarget| {
        let state = draft.life().and_then(|stream| stream.tags.get(&target.tag));
        same_life && still_asked(state.map(AsRef::as_ref), target.planned.as_ref())
    };
    let targets: Vec<_> = import.targets.iter().filter(wanted).collect();
    if for_person && (!same_life || targets.len() < import.targets.len()) {
        return Err(Refusal::Conflict(format!(
            "Operation cannot be fulfilled on imagestream.image.openshift.io \"{}\": the image stream was updated while the image was imported; import it again",
            draft.key.name
        )));
    }
    Ok((for_person || !targets.is_empty()).then_some(targets))
}

/// Whether a tag still asks the question that an import was planned for. Another import that landed first does not
/// matter, even though it took the tag to a new generation. Another source or policy does, and so does an open wish
/// to look again: an answer fetched before a wish cannot fulfil it.
fn still_asked(state: Option<&TagState>, planned: Option<&TagSpec>) -> bool {
    let now = state.and_then(|state| state.spec.as_ref());
    let (Some(now), Some(planned)) = (now, planned) else { return now.is_none() && planned.is_none() };
    let open = state.is_some_and(TagState::needs_import) && now.generation > planned.generation;
    now.source == planned.source
        && now.reference == planned.reference
        && now.import_policy == planned.import_policy
        && !open
}

/// What one answer will change, decided on the state before the import.
struct Plan<'i> {
    target: &'i ImportTarget,
    /// The tag's new spec, if it changes.
    spec: Option<TagSpec>,
    /// The tag's new history item, if the answer counts as a change.
    item: Option<HistoryItem>,
    /// Whether the failure is not the one that is shown already.
    new_failure: bool,
    /// Whether the tag is held: then its spec stays, and its history.
    held: bool,
}

impl<'i> Plan<'i> {
    fn new(draft: &Draft<'_>, origin: ImportOrigin, target: &'i ImportTarget, next: i64) -> Self {
        let state = draft.stream().tags.get(&target.tag);
        let old = state.and_then(|state| state.spec.as_ref());
        let held = state.is_some_and(|state| state.hold.is_some());
        let fresh = || TagSpec {
            source: Some(docker_image(&target.from)),
            generation: next,
            import_policy: target.policy,
            reference_policy: target.reference_policy,
            ..TagSpec::default()
        };
        match &target.outcome {
            Ok(imported) => {
                let item = history_item(draft, imported, next);
                let current = state.and_then(|state| state.current.as_ref()).map(|current| &current.item);
                let same = current.is_some_and(|c| c.reference == item.reference && c.image == item.image);
                let answered = match (old, current) {
                    (Some(spec), Some(current)) => spec.generation <= current.generation,
                    _ => false,
                };
                // What was only told is confirmed by the first import that finds it: now it is known what the image is.
                let told = current.is_some_and(HistoryItem::is_only_told);
                let changed = !same || !answered || told;
                let spec = match old {
                    None => fresh(),
                    // How a held tag is imported can be changed. What it follows cannot.
                    Some(old) if held => TagSpec { import_policy: target.policy, ..old.clone() },
                    // The reference flag, the annotations and the reference policy are the tag's own.
                    Some(old) if changed => TagSpec {
                        source: Some(docker_image(&target.from)),
                        generation: next,
                        import_policy: target.policy,
                        ..old.clone()
                    },
                    Some(old) => {
                        let spec = TagSpec { import_policy: target.policy, ..old.clone() };
                        let renewed = spec.differs_in_target(old, draft.key);
                        TagSpec { generation: if renewed { next } else { old.generation }, ..spec }
                    }
                };
                // A held tag would have moved, unless it follows something else than a registry.
                let wanted = if held { old.is_none_or(TagSpec::is_importable) } else { changed };
                let own = old.is_some_and(TagSpec::is_importable);
                let spec = (old != Some(&spec) && (!held || own)).then_some(spec);
                Self { target, spec, item: wanted.then_some(item), new_failure: false, held }
            }
            Err(failure) => {
                let new_failure = state.is_none_or(|state| !is_shown(state, &bounded(failure), origin));
                let spec = match old {
                    _ if held => None,
                    Some(old) => new_failure.then(|| TagSpec { generation: next, ..old.clone() }),
                    None if target.from_repository => None,
                    None => Some(fresh()),
                };
                Self { target, spec, item: None, new_failure, held }
            }
        }
    }
}

impl Plan<'_> {
    /// A whole repository may name a tag that follows another one here, and has the very image it points to: then the
    /// tag keeps its source, and gets the policy of the import.
    fn check(&self, draft: &Draft<'_>) -> Result<(), Refusal> {
        let Some(spec) = &self.spec else { return Ok(()) };
        let is_image = spec.source.as_ref().is_none_or(|source| source.kind == SourceKind::DockerImage);
        if is_image || !spec.import_policy.scheduled {
            return Ok(());
        }
        let message = format!(
            "spec.tags[{}].importPolicy.scheduled: Invalid value: true: only tags pointing to Docker repositories may be scheduled for background import",
            self.target.tag
        );
        Err(Refusal::invalid_stream(draft.key.name.as_str(), message))
    }
}

/// Whether a tag shows a failure already. To whoever wished for an answer another message is another failure (spec
/// §3.6). A check that nobody wished for finds the same failure again if it is of the same kind: registries put ports,
/// times and request ids into their messages, and each check would be news for ever.
fn is_shown(state: &TagState, failure: &Failure, origin: ImportOrigin) -> bool {
    let Some(shown) = state.condition.as_ref().map(|condition| &condition.failure) else { return false };
    let wished = origin == ImportOrigin::Request || state.needs_import();
    let same = if wished { shown.message == failure.message } else { shown.kind == failure.kind };
    shown.reason == failure.reason && same
}

fn docker_image(from: &str) -> TagSource {
    TagSource { kind: SourceKind::DockerImage, namespace: None, name: from.to_owned() }
}

fn history_item(draft: &Draft<'_>, imported: &ImportedImage, generation: i64) -> HistoryItem {
    let image = &imported.image;
    HistoryItem {
        created: draft.context.now,
        reference: image.reference.clone(),
        image: Some(image.digest.clone()),
        generation,
        media_type: image.media_type.clone(),
        platform: platform(image),
        index: imported.index.clone(),
    }
}

fn platform(image: &Image) -> Option<Platform> {
    (image.platform != Platform::default()).then(|| image.platform.clone())
}

/// An image is recorded once, whoever imports it first (spec §1.1, Image).
fn record(
    draft: &mut Draft<'_>,
    world: &impl World,
    recorded: &mut Vec<Digest>,
    image: &Image,
    manifests: &[Image],
) {
    if world.knows_image(&image.digest) || recorded.contains(&image.digest) {
        return;
    }
    recorded.push(image.digest.clone());
    draft.happen(Fact::ImageRecorded(Box::new(ImageRecorded {
        digest: image.digest.clone(),
        reference: image.reference.clone(),
        media_type: image.media_type.clone(),
        config: image.config.clone(),
        size: image.size,
        platform: platform(image),
        built_at: image.built_at,
        manifests: manifests
            .iter()
            .map(|image| image.digest.clone())
            .take(limits::MANIFESTS_PER_INDEX)
            .collect(),
    })));
}

/// A registry can say anything at any length; what is kept for ever is bounded.
fn bounded(failure: &Failure) -> Failure {
    let mut failure = failure.clone();
    if failure.message.is_empty() {
        failure.message = "unknown error prevented import".into();
    }
    if failure.message.len() > limits::FAILURE_MESSAGE_BYTES {
        let cut = failure.message.floor_char_boundary(limits::FAILURE_MESSAGE_BYTES);
        failure.message.truncate(cut);
    }
    failure
}
