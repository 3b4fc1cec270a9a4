//! Annotations and labels: what `oc annotate` and `oc label` may change.

use super::Draft;
use crate::command::UpdateMetadata;
use crate::event::Fact;
use crate::limits;
use crate::refusal::Refusal;
use crate::state::CHECK_ANNOTATION;
use crate::tag::{Entries, TagSpec};

pub(super) fn decide(draft: &mut Draft<'_>, update: &UpdateMetadata) -> Result<(), Refusal> {
    let key = draft.key;
    check_annotations(&update.set_annotations)?;
    check_labels(&update.set_labels)?;
    if update.remove_annotations.iter().any(|name| name == CHECK_ANNOTATION) {
        return Err(kept_by_server());
    }
    let Some(tag) = &update.tag else {
        let stream = draft.life().ok_or_else(|| Refusal::no_stream(key))?;
        let mut annotations = stream.annotations.clone();
        let mut labels = stream.labels.clone();
        merge(
            Kind::Annotation,
            &mut annotations,
            &update.set_annotations,
            &update.remove_annotations,
            update.overwrite,
        )?;
        merge(Kind::Label, &mut labels, &update.set_labels, &update.remove_labels, update.overwrite)?;
        check_size(&annotations)?;
        check_size(&labels)?;
        if annotations != stream.annotations || labels != stream.labels {
            draft.happen(Fact::StreamMetadataSet { labels, annotations });
        }
        return Ok(());
    };
    let Some(stream) = draft.life() else { return Err(Refusal::no_tag(key, tag.as_str(), false)) };
    let Some(state) = stream.tags.get(tag) else { return Err(Refusal::no_tag(key, tag.as_str(), true)) };
    if !update.set_labels.is_empty() || !update.remove_labels.is_empty() {
        return Err(Refusal::Usage(format!(
            "a tag has no labels of its own; label the image stream \"{}\" instead",
            key.name
        )));
    }
    let Some(spec) = state.spec.clone() else {
        return Err(Refusal::BadRequest(format!(
            "imagestreamtag {tag} is not a spec tag in imagestream {key}, cannot be updated"
        )));
    };
    let mut annotations = spec.annotations.clone();
    merge(
        Kind::Annotation,
        &mut annotations,
        &update.set_annotations,
        &update.remove_annotations,
        update.overwrite,
    )?;
    check_size(&annotations)?;
    if annotations != spec.annotations {
        // The stream's generation counts it, the tag's does not: nothing new is to be imported (spec §2.2).
        draft.generation += 1;
        draft.happen(Fact::TagSet { tag: tag.clone(), spec: TagSpec { annotations, ..spec } });
    }
    Ok(())
}

/// The two kinds of metadata. They differ in their texts, which are those of `oc annotate` and `oc label`.
#[derive(Clone, Copy)]
enum Kind {
    Annotation,
    Label,
}

fn merge(
    kind: Kind,
    entries: &mut Entries,
    set: &Entries,
    remove: &[String],
    overwrite: bool,
) -> Result<(), Refusal> {
    let both: Vec<&str> = remove.iter().filter(|key| set.contains_key(*key)).map(String::as_str).collect();
    if !both.is_empty() {
        return Err(Refusal::Usage(match kind {
            Kind::Annotation => format!(
                "can not both modify and remove the following annotation(s) in the same command: {}",
                both.join(", ")
            ),
            Kind::Label => "can not both modify and remove a label in the same command".into(),
        }));
    }
    let taken: Vec<String> = set
        .iter()
        .filter(|(key, value)| !overwrite && entries.get(*key).is_some_and(|old| old != *value))
        .map(|(key, _)| format!("'{key}' already has a value ({})", entries[key]))
        .collect();
    if !taken.is_empty() {
        return Err(Refusal::Usage(match kind {
            Kind::Annotation => format!(
                "--overwrite is false but found the following declared annotation(s): {}",
                taken.join("; ")
            ),
            // Each is an error of its own, on a line of its own.
            Kind::Label => {
                taken.iter().map(|t| format!("{t}, and --overwrite is false")).collect::<Vec<_>>().join("\n")
            }
        }));
    }
    for key in remove {
        entries.remove(key);
    }
    entries.extend(set.clone());
    Ok(())
}

pub(super) fn check_annotations(entries: &Entries) -> Result<(), Refusal> {
    for key in entries.keys() {
        if key == CHECK_ANNOTATION {
            return Err(kept_by_server());
        }
        check_key("annotation", key)?;
    }
    check_size(entries)
}

pub(super) fn check_labels(entries: &Entries) -> Result<(), Refusal> {
    for (key, value) in entries {
        check_key("label", key)?;
        let fits = value.is_empty() || (value.len() <= limits::LABEL_VALUE_BYTES && is_name(value));
        if !fits {
            return Err(Refusal::Usage(format!(
                "invalid label value: \"{value}\": use at most {} letters, digits, '-', '_' or '.', starting and ending with a letter or digit",
                limits::LABEL_VALUE_BYTES
            )));
        }
    }
    check_size(entries)
}

fn kept_by_server() -> Refusal {
    Refusal::Usage(format!(
        "the annotation \"{CHECK_ANNOTATION}\" is kept by the server and cannot be set or removed"
    ))
}

/// A qualified name: an optional DNS name and `/`, then at most 63 letters, digits, `-`, `_`, `.`.
fn check_key(what: &str, key: &str) -> Result<(), Refusal> {
    let (prefix, name) = match key.rsplit_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    let is_dns = |text: &str| {
        text.len() <= 253
            && text.split('.').all(|label| {
                is_name(label)
                    && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            })
    };
    if name.len() <= 63 && is_name(name) && prefix.is_none_or(is_dns) {
        return Ok(());
    }
    Err(Refusal::Usage(format!(
        "invalid {what} key \"{key}\": use [prefix/]name, the name of at most 63 letters, digits, '-', '_' or '.', starting and ending with a letter or digit"
    )))
}

fn is_name(text: &str) -> bool {
    let end = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    end(bytes.first())
        && end(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

fn check_size(entries: &Entries) -> Result<(), Refusal> {
    let size: usize =
        entries.iter().map(|(key, value)| key.len() + value.len() + limits::ENTRY_OVERHEAD_BYTES).sum();
    if size > limits::ENTRIES_BYTES {
        return Err(Refusal::Usage(format!(
            "labels or annotations of {size} bytes are too long: at most {} bytes in total",
            limits::ENTRIES_BYTES
        )));
    }
    Ok(())
}
