//! Annotations and labels: what `oc annotate` and `oc label` may change.

use super::Draft;
use crate::command::UpdateMetadata;
use crate::event::Fact;
use crate::limits;
use crate::refusal::{Refusal, Subject};
use crate::state::CHECK_ANNOTATION;
use crate::tag::{Entries, TagSpec};

pub(super) fn decide(draft: &mut Draft<'_>, update: &UpdateMetadata) -> Result<(), Refusal> {
    let key = draft.key;
    let subject = match &update.tag {
        None => Subject::stream(key.name.as_str()),
        Some(tag) => Subject::tag(key, tag.as_str()),
    };
    check_annotations(&subject, &update.set_annotations)?;
    check_labels(&subject, &update.set_labels)?;
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
        // Those it shows are its stream's.
        let message = "metadata: Invalid value: \"\": may not update fields other than metadata.annotations";
        return Err(Refusal::Invalid { subject, message: message.into() });
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
        draft.change_spec();
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

/// `subject` is the object the annotations are to stand on.
pub(super) fn check_annotations(subject: &Subject, entries: &Entries) -> Result<(), Refusal> {
    for key in entries.keys() {
        if key == CHECK_ANNOTATION {
            return Err(kept_by_server());
        }
        check_key(subject, "metadata.annotations", key)?;
    }
    check_size(entries)
}

pub(super) fn check_labels(subject: &Subject, entries: &Entries) -> Result<(), Refusal> {
    for (key, value) in entries {
        check_key(subject, "metadata.labels", key)?;
        if value.len() > limits::LABEL_VALUE_BYTES {
            let why = format!("must be no more than {} bytes", limits::LABEL_VALUE_BYTES);
            return Err(invalid(subject, "metadata.labels", value, &why));
        }
        if !value.is_empty() && !is_name(value) {
            let why = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
            return Err(invalid(subject, "metadata.labels", value, why));
        }
    }
    check_size(entries)
}

fn kept_by_server() -> Refusal {
    Refusal::Usage(format!(
        "the annotation \"{CHECK_ANNOTATION}\" is kept by the server and cannot be set or removed"
    ))
}

fn invalid(subject: &Subject, field: &str, value: &str, why: &str) -> Refusal {
    let message = format!("{field}: Invalid value: \"{value}\": {why}");
    Refusal::Invalid { subject: subject.clone(), message }
}

/// A qualified name: an optional DNS name and `/`, then at most 63 letters, digits, `-`, `_`, `.`. Refused in
/// Kubernetes' words.
fn check_key(subject: &Subject, field: &str, key: &str) -> Result<(), Refusal> {
    const NAME: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
    const PREFIX: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
    let is_dns = |text: &str| {
        text.split('.').all(|label| {
            is_name(label) && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        })
    };
    let mut flaws: Vec<String> = Vec::new();
    let (prefix, name) = match key.split('/').collect::<Vec<_>>()[..] {
        [name] => (None, name),
        [prefix, name] => (Some(prefix), name),
        _ => {
            let why = format!(
                "a qualified name {NAME} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            );
            return Err(invalid(subject, field, key, &why));
        }
    };
    match prefix {
        Some("") => flaws.push("prefix part must be non-empty".into()),
        Some(long) if long.len() > 253 => flaws.push("prefix part must be no more than 253 bytes".into()),
        Some(prefix) if !is_dns(prefix) => flaws.push(format!("prefix part {PREFIX}")),
        Some(_) | None => {}
    }
    match name {
        "" => flaws.push("name part must be non-empty".into()),
        long if long.len() > 63 => flaws.push("name part must be no more than 63 bytes".into()),
        _ => {}
    }
    if !is_name(name) {
        flaws.push(format!("name part {NAME}"));
    }
    if flaws.is_empty() {
        return Ok(());
    }
    let each = flaws.iter().map(|why| format!("{field}: Invalid value: \"{key}\": {why}"));
    Err(Refusal::Invalid { subject: subject.clone(), message: each.collect::<Vec<_>>().join("\n") })
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
