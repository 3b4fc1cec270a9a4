//! `describe is`: an image stream in words (spec §4.6).

use tagtrail_api::v1::{
    HistoryItem, ImageStream, ImageStreamDescription, ImportCondition, ReferencePolicy, SourceKind,
    TagDescription, TagSpec,
};

use crate::k8s;
use crate::print::age::Now;
use crate::print::hold::held;
use crate::print::sections::Sections;
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
    if let Some(hold) = &tag.hold {
        text.line(&format!("  held {}", held(hold, now)));
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
pub(crate) fn source(spec: Option<&TagSpec>, namespace: &str) -> String {
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
        (SourceKind::DockerImage, false, true) => {
            let interval = spec.import_policy.as_ref().and_then(k8s::interval);
            let every = interval.map(|interval| format!(", every {interval}")).unwrap_or_default();
            format!("updates automatically from registry {name}{every}")
        }
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

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeSet;

    use tagtrail_api::v1::{Entry, Hold, ImportPolicy, TagSource};

    use super::*;
    use crate::recorded;

    /// Puts a recorded stream into the words the server would choose. Which blocks there are, and in which order,
    /// is the server's to say: here the recorded text says it.
    pub(crate) fn described(stream: &ImageStream, text: &str) -> ImageStreamDescription {
        let body = text.split_once("\n\n").map_or("", |(_, body)| body);
        let headings = body.lines().filter(|line| !line.is_empty() && !line.starts_with([' ', '\t']));
        let headings =
            headings.take_while(|line| !line.starts_with("Image Name:") && !line.starts_with("Name:"));
        let block = |heading: &str| {
            let (tag, aliases) = match heading.split_once(" (") {
                Some((tag, aliases)) => {
                    (tag, aliases.trim_end_matches(')').split(", ").map(str::to_owned).collect())
                }
                None => (heading, Vec::new()),
            };
            let spec =
                stream.tags.iter().find(|known| known.name == tag).and_then(|known| known.spec.clone());
            let status = stream.statuses.iter().find(|status| status.tag == tag).cloned().unwrap_or_default();
            let observed = [
                status.items.first().map(|item| item.generation),
                status.import_failure.as_ref().map(|c| c.generation),
            ];
            let wanted = spec
                .as_ref()
                .filter(|spec| spec.source.is_some() && !spec.reference)
                .map(|spec| spec.generation);
            TagDescription {
                tag: tag.to_owned(),
                aliases,
                spec,
                importing: wanted > Some(observed.into_iter().flatten().max().unwrap_or(0)),
                import_failure: status.import_failure,
                history_length: status.history_length,
                items: status.items,
                hold: status.hold,
            }
        };
        let tags: BTreeSet<&str> = stream
            .tags
            .iter()
            .map(|tag| &*tag.name)
            .chain(stream.statuses.iter().map(|status| &*status.tag))
            .collect();
        let images: BTreeSet<&str> =
            stream.statuses.iter().flat_map(|status| &status.items).map(|item| &*item.image).collect();
        ImageStreamDescription {
            stream: Some(stream.clone()),
            unique_images: images.len() as u64,
            tag_count: tags.len() as u64,
            tags: headings.map(block).collect(),
        }
    }

    #[test]
    fn everything_recorded_is_described_the_same() {
        let mut seen = 0;
        for step in recorded::steps() {
            let is_stream = step.argv.get(1).is_some_and(|word| word == "is" || word.starts_with("is/"));
            if step.argv[0] != "describe" || step.rc != 0 || !is_stream {
                continue;
            }
            let namespace =
                step.argv.iter().skip_while(|word| *word != "-n").nth(1).map_or("test", String::as_str);
            let name = step.argv[1].strip_prefix("is/").or(step.argv.get(2).map(String::as_str));
            let meant = |stream: &&ImageStream| {
                stream.namespace == namespace && name.is_none_or(|name| name == stream.name)
            };
            let parts: Vec<&str> = step.stdout.split("\n\n\nName:").collect();
            let texts: Vec<String> = step
                .state
                .iter()
                .filter(meant)
                .zip(parts)
                .map(|(one, text)| stream(&described(one, text), recorded::now()))
                .collect();
            assert_eq!(recorded::normalised(&texts.join("\n\n")), step.stdout, "{}", step.place);
            seen += 1;
        }
        assert!(seen > 60, "only {seen} recorded descriptions were replayed");
    }

    #[test]
    fn notes_of_several_lines_are_laid_out_as_oc_lays_them_out() {
        let annotations = [
            ("description", "A multi\nline description"),
            ("multi", "a\nb\n"),
            ("openshift.io/display-name", "Lab"),
            ("zzz", "last\nvalue"),
        ];
        let description = ImageStreamDescription {
            stream: Some(ImageStream {
                namespace: "test".into(),
                name: "lab".into(),
                labels: [("app", "demo"), ("tier", "back")].map(|(k, v)| (k.into(), v.into())).into(),
                annotations: annotations.map(|(k, v)| (k.into(), v.into())).into(),
                repository: "r/test/lab".into(),
                ..ImageStream::default()
            }),
            ..ImageStreamDescription::default()
        };
        let want = "Name:\t\tlab
Namespace:\ttest
Labels:\t\tapp=demo
\t\ttier=back
Description:\tA multi
\t\tline description
Annotations:\tmulti=a
\t\tb
\t\t
\t\topenshift.io/display-name=Lab
\t\tzzz=last
value
Image Repository:\tr/test/lab
Image Lookup:\t\tlocal=false
Tags:\t\t\t<none>
";
        assert_eq!(stream(&description, recorded::now()), want);
    }

    #[test]
    fn a_source_is_told_in_one_line() {
        let check = |kind: SourceKind, from: &str, flags: &str, want: &str| {
            let (namespace, name) =
                from.split_once('/').filter(|_| kind != SourceKind::DockerImage).unwrap_or(("", from));
            let spec = TagSpec {
                source: Some(TagSource { kind: kind.into(), namespace: namespace.into(), name: name.into() }),
                reference: flags.contains("reference"),
                import_policy: Some(ImportPolicy {
                    scheduled: flags.contains("scheduled"),
                    interval_seconds: if flags.contains("5400") { 5400 } else { 0 },
                    ..ImportPolicy::default()
                }),
                ..TagSpec::default()
            };
            assert_eq!(source(Some(&spec), "test"), want);
        };
        check(SourceKind::DockerImage, "quay.io/o/a:1", "", "tagged from quay.io/o/a:1");
        check(SourceKind::DockerImage, "a:1", "scheduled", "updates automatically from registry a:1");
        check(
            SourceKind::DockerImage,
            "a:1",
            "scheduled 5400",
            "updates automatically from registry a:1, every 1h30m",
        );
        check(SourceKind::DockerImage, "a:1", "reference scheduled 5400", "reference to registry a:1");
        check(SourceKind::DockerImage, "a:1", "reference scheduled", "reference to registry a:1");
        check(SourceKind::ImageStreamTag, "app:v1", "", "tagged from app:v1");
        check(SourceKind::ImageStreamTag, "test/app:v1", "", "tagged from app:v1");
        check(SourceKind::ImageStreamTag, "other/app:v1", "reference", "reference to other/app:v1");
        check(SourceKind::ImageStreamImage, "other/app@d", "", "tagged from other/app@d");
        check(SourceKind::ImageStreamImage, "app@d", "reference", "reference to image app@d");
        assert_eq!(source(None, "test"), "no spec tag");
        assert_eq!(source(Some(&TagSpec::default()), "test"), "tag without source image");
    }

    #[test]
    fn a_hold_is_told_in_one_line() {
        let now = recorded::now();
        let time =
            |hours: i64| prost_types::Timestamp { seconds: now.0.timestamp() + hours * 3600, nanos: 0 };
        let check = |reason: &str, until: Option<i64>, want: &str| {
            let hold = Hold {
                held_by: "alice".into(),
                reason: reason.into(),
                since: Some(time(-2)),
                expires_at: until.map(time),
                ..Hold::default()
            };
            let tag = TagDescription { tag: "1".into(), hold: Some(hold), ..TagDescription::default() };
            let mut text = Sections::default();
            block(&mut text, &tag, "test", now);
            assert_eq!(text.0, format!("1\n  no spec tag\n  {want}\n\n"));
        };
        check("", None, "held by alice since 2 hours ago");
        check("CVE-2026-1", None, "held by alice since 2 hours ago: CVE-2026-1");
        check("", Some(21), "held by alice since 2 hours ago until 2026-11-24T09:00:00Z");
        check("a\nb", Some(21), "held by alice since 2 hours ago until 2026-11-24T09:00:00Z: a b");
    }

    #[test]
    fn a_tag_shows_its_notes_and_its_troubles() {
        let entry = |(key, value): (&str, &str)| Entry { key: key.into(), value: value.into() };
        let item = |image: &str, reference: &str| HistoryItem {
            image: image.into(),
            docker_image_reference: reference.into(),
            ..HistoryItem::default()
        };
        let tag = TagDescription {
            tag: "1".into(),
            aliases: vec!["a".into(), "b".into()],
            spec: Some(TagSpec {
                import_policy: Some(ImportPolicy { insecure: true, ..ImportPolicy::default() }),
                reference_policy: ReferencePolicy::Local.into(),
                annotations: [
                    ("description", "mine"),
                    ("sampleRepo", "https://r"),
                    ("supports", "x,y"),
                    ("tags", "p,q"),
                ]
                .map(entry)
                .into(),
                ..TagSpec::default()
            }),
            importing: true,
            items: vec![item("sha256:1", "a@sha256:1"), item("sha256:2", "a@sha256:3"), item("", "a:x")],
            ..TagDescription::default()
        };
        let mut text = Sections::default();
        block(&mut text, &tag, "test", recorded::now());
        let want = "1 (a, b)
  tag without source image
    will use insecure HTTPS or HTTP connections
    prefer registry pullthrough when referencing this tag

  mine
  Tags: p, q
  Supports: x, y
  Example Repo: https://r

  ~ importing latest image ...
  * a@sha256:1
      292 years ago
    a@sha256:3
      292 years ago\tsha256:2
    a:x
      292 years ago
";
        assert_eq!(text.0, want);
    }
}
