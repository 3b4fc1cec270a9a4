//! Taking over an image stream as a document tells of it: its tags, what they follow, and what they have pointed to.
//!
//! What was told stays as it was told, also where it could not come about here: a tag that lags behind the one it follows, or
//! twice the same item on top of one another. The rules of history are for what happens here.

use std::collections::BTreeSet;

use super::{Draft, metadata};
use crate::command::{Testimony, ToldFailure, ToldTag};
use crate::event::{Fact, HistoryChange, MoveCause, TagMoved, TestimonyTaken};
use crate::limits;
use crate::names::{StreamKey, TagName};
use crate::reference::ImageReference;
use crate::refusal::{Refusal, Subject};
use crate::state::HistoryItem;
use crate::tag::{Entries, SourceKind, TagSource, TagSpec};

/// Annotations that tell of the tool which wrote the object, and not of the object.
const OF_TOOLS: [&str; 1] = ["kubectl.kubernetes.io/last-applied-configuration"];
/// What an event takes beside its envelope and its texts, in bytes, at most: tags of fields, numbers, times, and its frame.
const EVENT_OVERHEAD: usize = 160;
/// The same for a history item in it.
const ITEM_OVERHEAD: usize = 64;

pub(super) fn decide(draft: &mut Draft<'_>, testimony: &Testimony) -> Result<(), Refusal> {
    let told = &testimony.told;
    let annotations: Entries = testimony
        .annotations
        .iter()
        .filter(|(key, _)| !OF_TOOLS.contains(&key.as_str()))
        .map(owned)
        .collect();
    check_whole(draft, testimony, &annotations)?;
    let mut seen = BTreeSet::new();
    for tag in &testimony.tags {
        if !seen.insert(&tag.tag) {
            let name = draft.key.name.as_str();
            return Err(Refusal::Malformed(format!("the tag {name}:{} is told of twice", tag.tag)));
        }
        check_tag(draft.key, tag)?;
    }
    draft.refuse_existing()?;
    draft.check_room(testimony.tags.iter().map(|tag| &tag.tag))?;
    let kept = items_kept(draft.key, testimony)?;
    // A stream's generation counts what happened to its tags, so it is not behind theirs.
    let of_tags = testimony.tags.iter().flat_map(generations);
    draft.generation = of_tags.chain([testimony.generation, 1]).max().unwrap_or(1);
    draft.happen(Fact::StreamCreated {
        lookup_local: testimony.lookup_local,
        labels: testimony.labels.clone(),
        annotations,
    });
    let left_out: usize = testimony.tags.iter().map(|tag| tag.items.len().saturating_sub(kept)).sum();
    draft.happen(Fact::TestimonyTaken(Box::new(TestimonyTaken {
        items_left_out: u32::try_from(left_out).unwrap_or(u32::MAX),
        ..told.clone()
    })));
    for tag in &testimony.tags {
        take(draft, told, tag, kept);
    }
    Ok(())
}

fn owned((key, value): (&String, &String)) -> (String, String) {
    (key.clone(), value.clone())
}

fn take(draft: &mut Draft<'_>, told: &TestimonyTaken, tag: &ToldTag, kept: usize) {
    let name = &tag.tag;
    if let Some(spec) = &tag.spec {
        let newest = tag.items.first().map(|item| item.generation);
        let generation = match spec.generation {
            // Not told: then nothing is known to wait.
            0 => newest.filter(|generation| *generation > 0).unwrap_or(draft.generation),
            generation => generation,
        };
        let source = spec.source.clone().map(|source| at_home(source, told, draft.key));
        let spec = TagSpec { source, generation, ..spec.clone() };
        draft.happen(Fact::TagSet { tag: name.clone(), spec });
    }
    for item in tag.items.iter().take(kept).rev() {
        let before = draft.state.points_to(name).cloned();
        let (previous, replaces_sequence) = before.map_or((None, 0), |c| (Some(c.item), c.sequence));
        draft.happen(Fact::TagMoved(Box::new(TagMoved {
            tag: name.clone(),
            item: item.clone(),
            change: HistoryChange::Added,
            previous,
            replaces_sequence,
            cause: MoveCause::Testimony,
            source: String::new(), // What the tag followed then, nobody told.
            copied_from: 0,
        })));
    }
    if let Some(ToldFailure { failure, generation, since }) = &tag.failure {
        draft.happen(Fact::ImportFailed {
            tag: name.clone(),
            source: draft.source_text(name),
            failure: failure.clone(),
            generation: *generation,
            told_since: *since,
        });
    }
}

/// A source in the stream itself stays one in the stream itself, wherever the stream is put.
fn at_home(source: TagSource, told: &TestimonyTaken, key: &StreamKey) -> TagSource {
    let there = source.namespace.as_ref().is_some_and(|namespace| namespace.as_str() == told.namespace);
    let own = source.target(key).is_some_and(|(stream, _)| stream.name == key.name);
    if there && own { TagSource { namespace: None, ..source } } else { source }
}

fn check_whole(draft: &Draft<'_>, testimony: &Testimony, annotations: &Entries) -> Result<(), Refusal> {
    let TestimonyTaken { document, namespace, name, uid, resource_version, .. } = &testimony.told;
    let key = draft.key;
    if document.len() > limits::DOCUMENT_NAME_BYTES {
        return Err(Refusal::Malformed(format!(
            "the document's name has {} bytes; at most {} are kept",
            document.len(),
            limits::DOCUMENT_NAME_BYTES
        )));
    }
    for (field, text) in [
        ("metadata.namespace", namespace),
        ("metadata.name", name),
        ("metadata.uid", uid),
        ("metadata.resourceVersion", resource_version),
    ] {
        check_word(key, field, text)?;
    }
    check_generation(key, "metadata.generation", testimony.generation)?;
    let subject = Subject::stream(key.name.as_str());
    metadata::check_annotations(&subject, annotations)?;
    metadata::check_labels(&subject, &testimony.labels)
}

fn check_tag(key: &StreamKey, told: &ToldTag) -> Result<(), Refusal> {
    let tag = &told.tag;
    if let Some(spec) = &told.spec {
        check_spec(key, tag, spec)?;
    }
    for (number, item) in told.items.iter().enumerate() {
        let field = |name: &str| format!("status.tags[{tag}].items[{number}].{name}");
        check_word(key, &field("dockerImageReference"), &item.reference)?;
        check_generation(key, &field("generation"), item.generation)?;
        if item.reference.is_empty() && item.image.is_none() {
            return Err(invalid(key, &field("dockerImageReference"), "Required value"));
        }
    }
    if let Some(ToldFailure { failure, generation, .. }) = &told.failure {
        let field = |name: &str| format!("status.tags[{tag}].conditions.{name}");
        check_generation(key, &field("generation"), *generation)?;
        check_word(key, &field("reason"), &failure.reason)?;
        if failure.message.len() > limits::FAILURE_MESSAGE_BYTES {
            let why = format!(
                "has {} bytes; at most {} are kept",
                failure.message.len(),
                limits::FAILURE_MESSAGE_BYTES
            );
            return Err(invalid(key, &field("message"), &why));
        }
    }
    Ok(())
}

fn check_spec(key: &StreamKey, tag: &TagName, spec: &TagSpec) -> Result<(), Refusal> {
    let field = |name: &str| format!("spec.tags[{tag}].{name}");
    check_generation(key, &field("generation"), spec.generation)?;
    metadata::check_annotations(&Subject::tag(key, tag.as_str()), &spec.annotations)?;
    let scheduled = spec.import_policy.scheduled;
    let is_image = spec.source.as_ref().is_some_and(|source| source.kind == SourceKind::DockerImage);
    if scheduled && !is_image {
        let why = "Invalid value: true: only tags pointing to Docker repositories may be scheduled for background import";
        return Err(invalid(key, &field("importPolicy.scheduled"), why));
    }
    spec.import_policy.check()?;
    let Some(source) = &spec.source else { return Ok(()) };
    let field = field("from.name");
    check_word(key, &field, &source.name)?;
    if source.name.is_empty() {
        return Err(invalid(key, &field, "Required value"));
    }
    let wrong = |why: &str| Err(invalid(key, &field, &format!("Invalid value: \"{}\": {why}", source.name)));
    match source.kind {
        SourceKind::DockerImage => match ImageReference::parse(&source.name) {
            Ok(_) => Ok(()),
            Err(error) => wrong(&error.to_string()),
        },
        SourceKind::ImageStreamTag | SourceKind::ImageStreamImage => match source.target(key) {
            Some(_) => Ok(()),
            None => wrong("must be of the form <tag>, <repo>:<tag>, <id>, or <repo>@<id>"),
        },
    }
}

fn check_word(key: &StreamKey, field: &str, text: &str) -> Result<(), Refusal> {
    if text.len() <= limits::TOLD_WORD_BYTES {
        return Ok(());
    }
    let why = format!("has {} bytes; at most {} are kept", text.len(), limits::TOLD_WORD_BYTES);
    Err(invalid(key, field, &why))
}

fn check_generation(key: &StreamKey, field: &str, generation: i64) -> Result<(), Refusal> {
    if (0..=limits::TOLD_GENERATION).contains(&generation) {
        return Ok(());
    }
    let why = format!("Invalid value: {generation}: must be from 0 to {}", limits::TOLD_GENERATION);
    Err(invalid(key, field, &why))
}

fn invalid(key: &StreamKey, field: &str, why: &str) -> Refusal {
    Refusal::invalid_stream(key.name.as_str(), format!("{field}: {why}"))
}

fn generations(tag: &ToldTag) -> impl Iterator<Item = i64> {
    let spec = tag.spec.as_ref().map(|spec| spec.generation);
    let failure = tag.failure.as_ref().map(|failure| failure.generation);
    tag.items.iter().map(|item| item.generation).chain(spec).chain(failure)
}

/// How many items of each tag, from the newest, one command can bring.
fn items_kept(key: &StreamKey, testimony: &Testimony) -> Result<usize, Refusal> {
    let longest = testimony.tags.iter().map(|tag| tag.items.len()).max().unwrap_or(0);
    let mut kept = longest;
    while bytes(testimony, kept) > limits::TESTIMONY_BYTES {
        if kept <= 1 {
            return Err(Refusal::Usage(format!(
                "the image stream \"{}\" takes more than {} bytes to take over, even with only the newest item of each tag; take it over in parts, under several names",
                key.name,
                limits::TESTIMONY_BYTES
            )));
        }
        kept -= kept.div_ceil(8);
    }
    Ok(kept)
}

/// What the events take at most, with so many items of each tag.
fn bytes(testimony: &Testimony, kept: usize) -> usize {
    let of_event = testimony.envelope_bytes + EVENT_OVERHEAD;
    let of_item = |item: &HistoryItem| {
        let image = item.image.as_ref().map_or(0, |image| image.as_str().len());
        item.reference.len() + image + ITEM_OVERHEAD
    };
    let of_entries = |entries: &Entries| -> usize {
        entries.iter().map(|(key, value)| key.len() + value.len() + limits::ENTRY_OVERHEAD_BYTES).sum()
    };
    let of_tag = |tag: &ToldTag| {
        let name = tag.tag.as_str().len();
        let spec = tag.spec.as_ref().map_or(0, |spec| {
            let source = spec.source.as_ref().map_or(0, |source| source.name.len() + limits::NAMESPACE_BYTES);
            of_event + name + source + of_entries(&spec.annotations)
        });
        let failure = tag.failure.as_ref().map_or(0, |told| {
            of_event + name + limits::TOLD_WORD_BYTES + told.failure.reason.len() + told.failure.message.len()
        });
        // Each item stands in its own event, and as the previous one in the next.
        let items: usize = tag.items.iter().take(kept).map(|item| of_event + name + 2 * of_item(item)).sum();
        spec + failure + items
    };
    let whole = 2 * of_event
        + 5 * limits::TOLD_WORD_BYTES
        + of_entries(&testimony.labels)
        + of_entries(&testimony.annotations);
    whole + testimony.tags.iter().map(of_tag).sum::<usize>()
}
