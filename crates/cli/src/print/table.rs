//! The rows of `get`, and the objects they stand for (spec §4.4, §4.5).

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde_json::Value;
use tagtrail_api::v1::{
    HistoryItem, Image, ImageStream, ImageStreamTag, ReferencePolicy, ScheduledTag, Secret, SourceKind,
    TagSpec, TagStatus,
};

use crate::k8s;
use crate::kinds::Kind;
use crate::print::age::Now;
use crate::print::{schedule, secret, tabs};

/// Something `get` can show.
#[derive(Clone, Debug)]
pub(crate) enum Object {
    /// An image stream.
    Stream(ImageStream),
    /// A tag with its present image.
    StreamTag(ImageStreamTag),
    /// A tag with or without an image.
    ImageTag(ImageStreamTag),
    /// An image of a stream, by the name it was asked for.
    StreamImage {
        /// The stream it was asked of.
        stream: ImageStream,
        /// The image.
        image: Image,
        /// `stream@id`, as typed.
        name: String,
    },
    /// An image.
    Image(Image),
    /// A tag that is checked again without anybody asking.
    Scheduled(ScheduledTag),
    /// Credentials for registries, without their value.
    Secret(Secret),
}

/// How the rows are to be shown.
#[derive(Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "flags")]
pub(crate) struct Layout {
    /// With the columns of `-o wide`.
    pub(crate) wide: bool,
    /// With the namespace in front.
    pub(crate) namespaces: bool,
    /// With the labels at the end.
    pub(crate) labels: bool,
    /// With the kind before the name.
    pub(crate) kinds: bool,
    /// Without the headers.
    pub(crate) no_headers: bool,
    /// Labels that have a column each, before that of all labels.
    pub(crate) label_columns: Vec<String>,
}

impl Object {
    /// What it is.
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Stream(_) => Kind::Stream,
            Self::StreamTag(_) => Kind::StreamTag,
            Self::ImageTag(_) => Kind::ImageTag,
            Self::StreamImage { .. } => Kind::StreamImage,
            Self::Image(_) => Kind::Image,
            Self::Scheduled(_) => Kind::Scheduled,
            Self::Secret(_) => Kind::Secret,
        }
    }

    /// Its name: `app`, `app:v1`, `app@sha256:…`, `sha256:…`.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Stream(stream) => stream.name.clone(),
            Self::StreamTag(tag) | Self::ImageTag(tag) => {
                format!("{}:{}", tag.stream.as_ref().map_or("", |stream| &stream.name), tag.tag)
            }
            Self::StreamImage { name, .. } => name.clone(),
            Self::Image(image) => image.digest.clone(),
            Self::Scheduled(tag) => format!("{}:{}", tag.stream, tag.tag),
            Self::Secret(secret) => secret.name.clone(),
        }
    }

    /// The stream it belongs to. An image alone belongs to none.
    pub(crate) fn stream(&self) -> Option<&ImageStream> {
        match self {
            Self::Stream(stream) | Self::StreamImage { stream, .. } => Some(stream),
            Self::StreamTag(tag) | Self::ImageTag(tag) => tag.stream.as_ref(),
            Self::Image(_) | Self::Scheduled(_) | Self::Secret(_) => None,
        }
    }

    /// The namespace it lives in. An image lives in none.
    pub(crate) fn namespace(&self) -> &str {
        match self {
            Self::Scheduled(tag) => &tag.namespace,
            Self::Secret(secret) => &secret.namespace,
            other => other.stream().map(|stream| stream.namespace.as_str()).unwrap_or_default(),
        }
    }

    /// It, as the API has it.
    pub(crate) fn to_json(&self) -> Value {
        match self {
            Self::Stream(stream) => k8s::image_stream(stream),
            Self::StreamTag(tag) => k8s::image_stream_tag(tag),
            Self::ImageTag(tag) => k8s::image_tag(tag),
            Self::StreamImage { stream, image, name } => k8s::image_stream_image(stream, image, name),
            Self::Image(image) => k8s::whole_image(image),
            Self::Scheduled(tag) => schedule::in_json(tag),
            Self::Secret(secret) => secret::in_json(secret),
        }
    }

    fn cells(&self, wide: bool, now: Now) -> Vec<String> {
        let age = |item: Option<&HistoryItem>| {
            item.and_then(|item| item.created.as_ref())
                .map(|created| now.ago(Some(created)))
                .unwrap_or_default()
        };
        match self {
            Self::Stream(stream) => {
                let newest = stream.statuses.iter().filter_map(|status| status.items.first());
                let newest =
                    newest.max_by_key(|item| item.created.map_or(i64::MIN, |created| created.seconds));
                vec![
                    shown_repository(stream).to_owned(),
                    short_tags(&tags_by_age(&stream.statuses)),
                    age(newest),
                ]
            }
            Self::StreamTag(tag) => {
                let item = newest_item(tag);
                let mut cells = vec![tag.resolved_reference.clone(), age(item)];
                cells.extend(wide.then(|| item.map(|item| item.image.clone()).unwrap_or_default()));
                cells
            }
            Self::ImageTag(tag) => image_tag_cells(tag, now),
            Self::StreamImage { image, .. } => {
                let mut cells =
                    vec![image.created.as_ref().map(|created| now.ago(Some(created))).unwrap_or_default()];
                if wide {
                    cells.extend([image.docker_image_reference.clone(), image.digest.clone()]);
                }
                cells
            }
            Self::Image(image) => vec![image.docker_image_reference.clone()],
            Self::Scheduled(tag) => schedule::cells(tag, wide, now),
            Self::Secret(secret) => secret::cells(secret, now),
        }
    }
}

/// Lays out objects of one kind.
pub(crate) fn print(objects: &[Object], layout: &Layout, now: Now) -> String {
    tabs::table(&rows(objects, layout, now), tabs::GET)
}

/// The headers and the cells of objects of one kind. No objects: no headers either.
pub(crate) fn rows(objects: &[Object], layout: &Layout, now: Now) -> Vec<Vec<String>> {
    let Some(first) = objects.first() else { return Vec::new() };
    // Images are in no namespace.
    let namespaces = layout.namespaces && first.kind() != Kind::Image;
    let mut rows = Vec::with_capacity(objects.len() + 1);
    if !layout.no_headers {
        let mut row: Vec<String> = Vec::new();
        row.extend(namespaces.then(|| "NAMESPACE".into()));
        row.push("NAME".into());
        row.extend(headers(first.kind(), layout.wide).iter().map(ToString::to_string));
        // A label's column is named by what stands behind the last slash.
        let named = |key: &String| key.rsplit('/').next().unwrap_or(key).to_uppercase();
        row.extend(layout.label_columns.iter().map(named));
        row.extend(layout.labels.then(|| "LABELS".into()));
        rows.push(row);
    }
    for object in objects {
        let stream = object.stream();
        let mut row: Vec<String> = Vec::new();
        row.extend(namespaces.then(|| object.namespace().to_owned()));
        let name = object.name();
        row.push(if layout.kinds { format!("{}/{name}", object.kind().singular()) } else { name });
        row.extend(object.cells(layout.wide, now).iter().map(|cell| tabs::one_line(cell)));
        let label = |key: &String| stream.and_then(|stream| stream.labels.get(key).cloned());
        row.extend(layout.label_columns.iter().map(|key| label(key).unwrap_or_default()));
        row.extend(layout.labels.then(|| labels(stream.map(|stream| &stream.labels))));
        rows.push(row);
    }
    rows
}

/// Makes the tags of a stream out of its listing, in the order of their names. `with_image`: only those that
/// have one, which is what OpenShift's ImageStreamTag means.
pub(crate) fn tags_of(stream: &ImageStream, with_image: bool) -> Vec<ImageStreamTag> {
    let mut names: Vec<&str> = stream.tags.iter().map(|tag| tag.name.as_str()).collect();
    names.extend(stream.statuses.iter().map(|status| status.tag.as_str()));
    names.sort_unstable();
    names.dedup();
    let tag = |name: &str| {
        let mut one = stream.clone();
        one.tags.retain(|tag| tag.name == name);
        one.statuses.retain(|status| status.tag == name);
        let item = one.statuses.first().and_then(|status| status.items.first()).cloned();
        let image = item.as_ref().filter(|item| !item.image.is_empty());
        let spec = one.tags.first().and_then(|tag| tag.spec.as_ref());
        let resolved_reference = item.as_ref().map(|item| resolved(item, spec, stream)).unwrap_or_default();
        let image = image.map(|item| Image { digest: item.image.clone(), ..Image::default() });
        ImageStreamTag { stream: Some(one), tag: name.to_owned(), image, resolved_reference }
    };
    names.into_iter().map(tag).filter(|tag| !with_image || tag.image.is_some()).collect()
}

/// Where consumers pull an item from, by the reference policy of its tag (spec §2.9).
fn resolved(item: &HistoryItem, spec: Option<&TagSpec>, stream: &ImageStream) -> String {
    let local = spec.is_some_and(|spec| spec.reference_policy() == ReferencePolicy::Local);
    if local && !stream.repository.is_empty() && !item.image.is_empty() {
        format!("{}@{}", stream.repository, item.image)
    } else {
        item.docker_image_reference.clone()
    }
}

fn headers(kind: Kind, wide: bool) -> &'static [&'static str] {
    match (kind, wide) {
        (Kind::Stream, _) => &["IMAGE REPOSITORY", "TAGS", "UPDATED"],
        (Kind::StreamTag, false) => &["IMAGE REFERENCE", "UPDATED"],
        (Kind::StreamTag, true) => &["IMAGE REFERENCE", "UPDATED", "IMAGE NAME"],
        (Kind::ImageTag, _) => &["SPEC", "STATUS", "HISTORY", "UPDATED"],
        (Kind::StreamImage, false) => &["UPDATED"],
        (Kind::StreamImage, true) => &["UPDATED", "IMAGE REFERENCE", "IMAGE NAME"],
        (Kind::Image, _) => &["IMAGE REFERENCE"],
        (Kind::Scheduled, wide) => schedule::headers(wide),
        (Kind::Secret, _) => secret::HEADERS,
    }
}

fn shown_repository(stream: &ImageStream) -> &str {
    if stream.public_repository.is_empty() { &stream.repository } else { &stream.public_repository }
}

fn labels(labels: Option<&BTreeMap<String, String>>) -> String {
    let pairs: Vec<String> =
        labels.into_iter().flatten().map(|(key, value)| format!("{key}={value}")).collect();
    if pairs.is_empty() { "<none>".into() } else { pairs.join(",") }
}

/// The tags that have pointed to something or failed to: newest first by whole seconds, then by name.
fn tags_by_age(statuses: &[TagStatus]) -> Vec<&str> {
    let mut tags: Vec<(Reverse<i64>, &str)> = statuses
        .iter()
        .map(|status| {
            let created = status.items.first().and_then(|item| item.created);
            (Reverse(created.map_or(i64::MIN, |created| created.seconds)), status.tag.as_str())
        })
        .collect();
    tags.sort_unstable();
    tags.into_iter().map(|(_, tag)| tag).collect()
}

/// Joins as many tags as fit into about 40 columns. A long tag may stick out if it comes early enough.
fn short_tags(tags: &[&str]) -> String {
    const COLUMNS: i64 = 40;
    const TOLERANCE: i64 = 10;
    let mut remaining = COLUMNS;
    let mut shown = tags.len();
    for (index, tag) in tags.iter().enumerate() {
        let length = i64::try_from(tag.len()).unwrap_or(COLUMNS);
        remaining -= length + 1;
        if remaining >= 0 {
            continue;
        }
        if index == 0 {
            shown = 1;
            break;
        }
        if TOLERANCE < remaining + length && TOLERANCE >= -remaining {
            continue;
        }
        shown = index;
        break;
    }
    let list = tags[..shown].join(",");
    match tags.len() - shown {
        0 => list,
        hidden => format!("{list} + {hidden} more..."),
    }
}

fn newest_item(tag: &ImageStreamTag) -> Option<&HistoryItem> {
    tag.stream.as_ref()?.statuses.first()?.items.first()
}

fn image_tag_cells(tag: &ImageStreamTag, now: Now) -> Vec<String> {
    let stream = tag.stream.clone().unwrap_or_default();
    let spec = stream.tags.first().and_then(|tag| tag.spec.as_ref());
    let status = stream.statuses.first();
    let item = newest_item(tag);
    let condition = status.and_then(|status| status.import_failure.as_ref());
    let wanted = spec.map_or(0, |spec| spec.generation);
    let had = item.map_or(0, |item| item.generation);

    let from = spec.and_then(|spec| spec.source.as_ref());
    let tracks =
        from.is_some_and(|from| from.kind() == SourceKind::ImageStreamTag && !from.name.contains(':'));
    let spec_cell = match spec {
        None if status.is_some() => "Push",
        None => "",
        Some(_) if tracks => "Track",
        Some(_) if had > wanted && wanted > 0 => "Push",
        Some(_) if from.is_none() => "",
        Some(spec) if spec.reference => "Ref",
        Some(spec) if spec.import_policy.is_some_and(|policy| policy.scheduled) => "Scheduled",
        Some(_) => "Tag",
    };
    let status_cell = if let Some(condition) = condition {
        let reason = condition.failure.as_ref().map_or("", |failure| &failure.reason);
        format!("ImportFailed ({reason})")
    } else if had > 0 && had < wanted {
        "Importing".into()
    } else {
        match (item, from) {
            (Some(item), _) if !item.image.is_empty() => format!("image/{}", item.image),
            (Some(item), _) => item.docker_image_reference.clone(),
            (None, Some(from)) => source_cell(from.kind(), &from.namespace, &from.name),
            (None, None) => String::new(),
        }
    };
    let history = status.map_or(0, |status| status.history_length);
    let times = [item.and_then(|item| item.created), condition.and_then(|c| c.last_transition_time)];
    let updated = times.into_iter().flatten().max_by_key(|time| time.seconds);
    vec![
        spec_cell.to_owned(),
        status_cell,
        if history == 0 { String::new() } else { history.to_string() },
        updated.map(|time| now.ago(Some(&time))).unwrap_or_default(),
    ]
}

fn source_cell(kind: SourceKind, namespace: &str, name: &str) -> String {
    match kind {
        SourceKind::DockerImage => name.to_owned(),
        SourceKind::ImageStreamImage => match name.split_once('@') {
            Some((_, id)) => format!("image/{id}"),
            None => "InvalidRefName".into(),
        },
        SourceKind::ImageStreamTag if namespace.is_empty() => format!("istag/{name}"),
        SourceKind::ImageStreamTag => format!("istag {namespace}/{name}"),
        SourceKind::Unspecified => "InvalidRefKind".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_tag_stands_first() {
        // Tags with the second in which each was set; without one it has no item.
        let check = |tags: &str, want: &str| {
            let status = |text: &str| {
                let (tag, second) = text.split_once('@').unwrap_or((text, ""));
                let seconds = second.parse::<i64>().ok();
                let created = seconds.map(|seconds| prost_types::Timestamp { seconds, nanos: 0 });
                let items = created.map(|_| HistoryItem { created, ..HistoryItem::default() });
                TagStatus { tag: tag.to_owned(), items: items.into_iter().collect(), ..TagStatus::default() }
            };
            let statuses: Vec<TagStatus> = tags.split(' ').map(status).collect();
            assert_eq!(tags_by_age(&statuses).join(" "), want, "{tags}");
        };
        check("a@1 b@2 c@3", "c b a");
        check("c@1 b@1 a@1", "a b c"); // In one second: by name.
        check("latest@1 1.0@2 v2@2", "1.0 v2 latest"); // Not by what the names mean.
        check("failed a@1", "a failed");
        check("b a z@0", "z a b"); // Those without an item are as old as can be.
        check("v10@5 v9@5 V1@5", "V1 v10 v9");
    }

    #[test]
    fn tags_are_cut_at_about_forty_columns() {
        let check =
            |tags: &str, want: &str| assert_eq!(short_tags(&tags.split(',').collect::<Vec<_>>()), want);
        check("v2,v1", "v2,v1");
        check("1.0,1.1,1.1.3,latest,v2.0", "1.0,1.1,1.1.3,latest,v2.0");
        let nines = "ddddddddd,eeeeeeeee,fffffffff,aaaaaaaaa";
        check(&format!("{nines},bbbbbbbbb,ccccccccc"), &format!("{nines} + 2 more..."));
        check(&format!("gg,{nines},bbbbbbbbb,ccccccccc"), "gg,ddddddddd,eeeeeeeee,fffffffff + 3 more...");
        let long = "this-is-a-very-long-tag-name-that-exceeds-forty-characters";
        check(&format!("b,{long}"), "b + 1 more...");
        check(&format!("{long},b"), &format!("{long} + 1 more..."));
        assert_eq!(short_tags(&[]), "");
        let lab = "2.0-rc10,LATEST,v2-slim,zeta,1.0-alpine,9";
        check(lab, "2.0-rc10,LATEST,v2-slim,zeta,1.0-alpine + 1 more...");
    }
}
