//! `describe is`: an image stream in words (spec §4.6).

use std::collections::BTreeMap;

use tagtrail_api::v1::{
    HistoryItem, ImageStream, ImageStreamDescription, ImportCondition, ReferencePolicy, SourceKind,
    TagDescription, TagSpec,
};

use crate::print::age::Now;
use crate::print::tabs;

/// The whole description, its columns lined up.
pub(crate) fn stream(description: &ImageStreamDescription, now: Now) -> String {
    let stream = description.stream.clone().unwrap_or_default();
    let mut text = Sections::default();
    header(&mut text, &stream, now);
    if description.tag_count == 0 {
        text.pair("Tags", "");
    } else {
        text.pair("Unique Images", &description.unique_images.to_string());
        text.pair("Tags", &description.tag_count.to_string());
    }
    for tag in &description.tags {
        text.line("");
        block(&mut text, tag, &stream.namespace, now);
    }
    tabs::elastic(&text.0)
}

fn header(text: &mut Sections, stream: &ImageStream, now: Now) {
    text.pair("Name", &stream.name);
    if !stream.namespace.is_empty() {
        text.pair("Namespace", &stream.namespace);
    }
    if stream.created.is_some() {
        text.pair("Created", &now.ago(stream.created.as_ref()));
    }
    text.map("Labels", &stream.labels);
    text.annotations(&stream.annotations);
    let public = &stream.public_repository;
    text.pair("Image Repository", if public.is_empty() { &stream.repository } else { public });
    text.pair("Image Lookup", &format!("local={}", stream.lookup_local));
}

fn block(text: &mut Sections, tag: &TagDescription, namespace: &str, now: Now) {
    match tag.aliases.as_slice() {
        [] => text.line(&tag.tag),
        aliases => text.line(&format!("{} ({})", tag.tag, aliases.join(", "))),
    }
    text.line(&format!("  {}", source(tag.spec.as_ref(), namespace)));
    if let Some(spec) = &tag.spec {
        if spec.import_policy.is_some_and(|policy| policy.insecure) {
            text.line("    will use insecure HTTPS or HTTP connections");
        }
        if spec.reference_policy() == ReferencePolicy::Local {
            text.line("    prefer registry pullthrough when referencing this tag");
        }
    }
    text.line("");
    notes(text, tag.spec.as_ref());
    if tag.importing {
        text.line("  ~ importing latest image ...");
    }
    if let Some(condition) = &tag.import_failure {
        failure(text, condition, now);
    }
    for (index, item) in tag.items.iter().enumerate() {
        history(text, item, index == 0, now);
    }
}

/// What a tag follows, in one line.
fn source(spec: Option<&TagSpec>, namespace: &str) -> String {
    let Some(spec) = spec else { return "no spec tag".into() };
    let Some(from) = &spec.source else { return "tag without source image".into() };
    let name = if from.namespace.is_empty() || from.namespace == namespace {
        from.name.clone()
    } else {
        format!("{}/{}", from.namespace, from.name)
    };
    let scheduled = spec.import_policy.is_some_and(|policy| policy.scheduled);
    match (from.kind(), spec.reference, scheduled) {
        (SourceKind::ImageStreamTag, true, _) => format!("reference to {name}"),
        (SourceKind::ImageStreamTag, false, true) => format!("updates automatically from {name}"),
        (SourceKind::DockerImage, true, _) => format!("reference to registry {name}"),
        (SourceKind::DockerImage, false, true) => format!("updates automatically from registry {name}"),
        (SourceKind::ImageStreamImage, true, _) => format!("reference to image {name}"),
        (SourceKind::Unspecified, true, _) => format!("reference to {name}"),
        (SourceKind::Unspecified, false, _) => format!("updates from {name}"),
        (SourceKind::ImageStreamTag | SourceKind::DockerImage | SourceKind::ImageStreamImage, false, _) => {
            format!("tagged from {name}")
        }
    }
}

/// What a tag's well-known annotations say.
fn notes(text: &mut Sections, spec: Option<&TagSpec>) {
    let annotation = |key: &str| {
        let entries = spec.map_or(&[][..], |spec| &spec.annotations);
        entries
            .iter()
            .find(|entry| entry.key == key)
            .map(|entry| entry.value.as_str())
            .filter(|v| !v.is_empty())
    };
    let spaced = |list: &str| list.split(',').map(str::trim).collect::<Vec<_>>().join(", ");
    let lines = [
        annotation("description").map(|text| format!("  {text}")),
        annotation("tags").map(|tags| format!("  Tags: {}", spaced(tags))),
        annotation("supports").map(|supports| format!("  Supports: {}", spaced(supports))),
        annotation("sampleRepo").map(|repo| format!("  Example Repo: {repo}")),
    ];
    let mut any = false;
    for line in lines.into_iter().flatten() {
        text.line(&line);
        any = true;
    }
    if any {
        text.line("");
    }
}

fn failure(text: &mut Sections, condition: &ImportCondition, now: Now) {
    let failure = condition.failure.clone().unwrap_or_default();
    text.line(&format!("  ! error: Import failed ({}): {}", failure.reason, failure.message));
    text.line(&format!("      {}", now.ago(condition.last_transition_time.as_ref())));
}

fn history(text: &mut Sections, item: &HistoryItem, newest: bool, now: Now) {
    let reference = &item.docker_image_reference;
    text.line(&format!("  {} {reference}", if newest { '*' } else { ' ' }));
    let age = now.ago(item.created.as_ref());
    let told = reference.split_once('@').map_or("", |(_, digest)| digest);
    if item.image.is_empty() || told == item.image {
        text.line(&format!("      {age}"));
    } else {
        text.line(&format!("      {age}\t{}", item.image));
    }
}

/// Lines of `label:<TAB>value`, before their columns are lined up.
#[derive(Default)]
pub(crate) struct Sections(pub(crate) String);

impl Sections {
    /// A line as it is.
    pub(crate) fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    /// A label and its value. Further lines of the value stand below its first.
    pub(crate) fn pair(&mut self, label: &str, value: &str) {
        let value = if value.is_empty() { "<none>" } else { value };
        self.line(&format!("{label}:\t{}", value.replace('\n', "\n\t")));
    }

    /// A value that goes on below the one before it. Printed raw: its own newlines start at column 0.
    pub(crate) fn more(&mut self, value: &str) {
        self.line(&format!("\t{value}"));
    }

    /// Keys and values, sorted by key.
    pub(crate) fn map(&mut self, label: &str, map: &BTreeMap<String, String>) {
        if map.is_empty() {
            self.pair(label, "");
        }
        for (index, (key, value)) in map.iter().enumerate() {
            let entry = format!("{key}={value}");
            if index == 0 { self.pair(label, &entry) } else { self.more(&entry) }
        }
    }

    /// Annotations, with the description on a line of its own.
    pub(crate) fn annotations(&mut self, annotations: &BTreeMap<String, String>) {
        let mut rest = annotations.clone();
        if let Some(description) = rest.remove("description").filter(|text| !text.is_empty()) {
            self.pair("Description", &description);
        }
        self.map("Annotations", &rest);
    }
}
