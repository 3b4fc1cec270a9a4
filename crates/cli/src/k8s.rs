//! What the API server would have answered: the objects of `image.openshift.io/v1` as JSON (spec §1.1).
//!
//! The keys, which of them are left out when empty, and which are `null` instead, are the interface that scripts
//! know. They stand in the order of the API's own types, which commands that print what they hold in such a type keep;
//! everything else sorts them.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use tagtrail_api::v1::{
    Entry, HistoryItem, Hold, Image, ImageStream, ImageStreamTag, ImportMode, ImportPolicy, ReferencePolicy,
    SourceKind, TagSource, TagSpec, TagStatus,
};
use tagtrail_domain::Interval;

use crate::print::age::rfc3339;
use crate::print::image::annotations as image_annotations;

const API_VERSION: &str = "image.openshift.io/v1";

/// An `ImageStream`.
pub(crate) fn image_stream(stream: &ImageStream) -> Value {
    let mut spec = json!({ "lookupPolicy": { "local": stream.lookup_local } });
    if !stream.tags.is_empty() {
        let tags = stream.tags.iter().map(|tag| tag_reference(&tag.name, tag.spec.as_ref()));
        spec["tags"] = tags.collect();
    }
    let mut status = json!({ "dockerImageRepository": stream.repository });
    put_text(&mut status, "publicDockerImageRepository", &stream.public_repository);
    if !stream.statuses.is_empty() {
        status["tags"] = stream.statuses.iter().map(tag_history).collect();
    }
    json!({
        "kind": "ImageStream",
        "apiVersion": API_VERSION,
        "metadata": metadata(stream, &stream.name, &stream.annotations, true),
        "spec": spec,
        "status": status,
    })
}

/// An `ImageStreamTag`: a tag with its present image.
pub(crate) fn image_stream_tag(tag: &ImageStreamTag) -> Value {
    let stream = tag.stream.clone().unwrap_or_default();
    let spec = stream.tags.first().and_then(|tag| tag.spec.as_ref());
    let newest = newest(&stream);
    let annotations = spec.map(|spec| entries(&spec.annotations)).unwrap_or_default();
    let mut metadata = metadata(&stream, &format!("{}:{}", stream.name, tag.tag), &annotations, false);
    if let Some(created) = newest.and_then(|item| item.created.as_ref()) {
        metadata["creationTimestamp"] = rfc3339(created).into();
    }
    let mut object = json!({
        "kind": "ImageStreamTag",
        "apiVersion": API_VERSION,
        "metadata": metadata,
        "tag": spec.map_or(Value::Null, |spec| tag_reference(&tag.tag, Some(spec))),
        "generation": newest.map_or(0, |item| item.generation),
        "lookupPolicy": { "local": stream.lookup_local },
    });
    if let Some(conditions) = stream.statuses.first().and_then(conditions) {
        object["conditions"] = conditions;
    }
    if let Some(held) = stream.statuses.first().and_then(|status| status.hold.as_ref()) {
        object["hold"] = hold(held);
    }
    let found = tag.image.clone().unwrap_or_default();
    object["image"] = image(&found, Some(&tag.resolved_reference), &annotations);
    object
}

/// An `ImageTag`: what a tag shall follow and what it has pointed to.
pub(crate) fn image_tag(tag: &ImageStreamTag) -> Value {
    let stream = tag.stream.clone().unwrap_or_default();
    let spec = stream.tags.first().and_then(|tag| tag.spec.as_ref());
    let name = format!("{}:{}", stream.name, tag.tag);
    let mut object = json!({
        "apiVersion": API_VERSION,
        "kind": "ImageTag",
        "metadata": metadata(&stream, &name, &stream.annotations, true),
        "spec": spec.map_or(Value::Null, |spec| tag_reference(&tag.tag, Some(spec))),
        "status": stream.statuses.first().map_or(Value::Null, tag_history),
    });
    // A list names no images.
    if let Some(found) = tag.image.as_ref().filter(|image| !is_only_named(image)) {
        object["image"] = image(found, Some(&tag.resolved_reference), &BTreeMap::new());
    }
    object
}

/// An `ImageStreamImage`, by the name it was asked for. Of its stream it has the namespace and the annotations only.
pub(crate) fn image_stream_image(stream: &ImageStream, found: &Image, name: &str) -> Value {
    let mut metadata = json!({ "name": name, "namespace": stream.namespace });
    if let Some(created) = &found.created {
        metadata["creationTimestamp"] = rfc3339(created).into();
    }
    put_map(&mut metadata, "annotations", &stream.annotations);
    json!({
        "apiVersion": API_VERSION,
        "kind": "ImageStreamImage",
        "metadata": metadata,
        "image": image(found, None, &BTreeMap::new()),
    })
}

/// An `Image` of its own.
pub(crate) fn whole_image(found: &Image) -> Value {
    let mut object = image(found, None, &BTreeMap::new());
    object["apiVersion"] = API_VERSION.into();
    object["kind"] = "Image".into();
    object
}

/// An `ImageStreamTag` that no server has seen: only what was asked for stands in it.
pub(crate) fn wished_tag(name: &str, spec: &TagSpec) -> Value {
    let mut tag = tag_reference("", Some(spec));
    tag["generation"] = Value::Null;
    // What is asked for anyway is left to the server.
    if spec.import_policy.unwrap_or_default().import_mode() != ImportMode::PreserveOriginal {
        tag["importPolicy"].as_object_mut().and_then(|policy| policy.remove("importMode"));
    }
    if spec.reference_policy() == ReferencePolicy::Unspecified {
        tag["referencePolicy"]["type"] = "".into();
    }
    let mut metadata = json!({ "name": name });
    put_map(&mut metadata, "annotations", &entries(&spec.annotations));
    json!({
        "kind": "ImageStreamTag",
        "apiVersion": API_VERSION,
        "metadata": metadata,
        "tag": tag,
        "generation": 0,
        "lookupPolicy": { "local": false },
        "image": { "metadata": {}, "dockerImageMetadata": null },
    })
}

/// Several objects as one.
pub(crate) fn list(items: Vec<Value>) -> Value {
    json!({ "apiVersion": "v1", "kind": "List", "metadata": { "resourceVersion": "" }, "items": items })
}

/// Entries of a stored list as a map.
pub(crate) fn entries(list: &[Entry]) -> BTreeMap<String, String> {
    list.iter().map(|entry| (entry.key.clone(), entry.value.clone())).collect()
}

/// The word for a kind of source, as `from.kind` has it.
pub(crate) fn source_kind(kind: SourceKind) -> &'static str {
    match kind {
        SourceKind::Unspecified => "",
        SourceKind::DockerImage => "DockerImage",
        SourceKind::ImageStreamTag => "ImageStreamTag",
        SourceKind::ImageStreamImage => "ImageStreamImage",
    }
}

fn newest(stream: &ImageStream) -> Option<&HistoryItem> {
    stream.statuses.first().and_then(|status| status.items.first())
}

fn metadata(
    stream: &ImageStream,
    name: &str,
    annotations: &BTreeMap<String, String>,
    generation: bool,
) -> Value {
    let mut metadata = json!({ "name": name });
    put_text(&mut metadata, "namespace", &stream.namespace);
    put_text(&mut metadata, "uid", &stream.uid);
    // What no server has stored has no version.
    if stream.resource_version != 0 {
        metadata["resourceVersion"] = stream.resource_version.to_string().into();
    }
    if generation && stream.generation != 0 {
        metadata["generation"] = stream.generation.into();
    }
    if let Some(created) = &stream.created {
        metadata["creationTimestamp"] = rfc3339(created).into();
    }
    put_map(&mut metadata, "labels", &stream.labels);
    put_map(&mut metadata, "annotations", annotations);
    metadata
}

fn tag_reference(name: &str, spec: Option<&TagSpec>) -> Value {
    let nothing = TagSpec::default();
    let spec = spec.unwrap_or(&nothing);
    let policy = spec.import_policy.unwrap_or_default();
    let mut import_policy = json!({});
    put_true(&mut import_policy, "insecure", policy.insecure);
    put_true(&mut import_policy, "scheduled", policy.scheduled);
    import_policy["importMode"] = match policy.import_mode() {
        ImportMode::Unspecified | ImportMode::Legacy => "Legacy",
        ImportMode::PreserveOriginal => "PreserveOriginal",
    }
    .into();
    put_text(&mut import_policy, "interval", &interval(&policy).unwrap_or_default());
    let annotations = entries(&spec.annotations);
    let mut tag = json!({
        "name": name,
        "annotations": if annotations.is_empty() { Value::Null } else { json!(annotations) },
    });
    if let Some(source) = &spec.source {
        tag["from"] = object_reference(source);
    }
    put_true(&mut tag, "reference", spec.reference);
    tag["generation"] = spec.generation.into();
    tag["importPolicy"] = import_policy;
    tag["referencePolicy"] = json!({ "type": match spec.reference_policy() {
        ReferencePolicy::Unspecified | ReferencePolicy::Source => "Source",
        ReferencePolicy::Local => "Local",
    } });
    tag
}

/// How often a tag is looked at, where it says so itself: `5m`.
pub(crate) fn interval(policy: &ImportPolicy) -> Option<String> {
    Interval::from_seconds(policy.interval_seconds).ok().map(|interval| interval.to_string())
}

fn object_reference(source: &TagSource) -> Value {
    let mut from = json!({ "kind": source_kind(source.kind()) });
    put_text(&mut from, "namespace", &source.namespace);
    from["name"] = source.name.clone().into();
    from
}

fn tag_history(status: &TagStatus) -> Value {
    let items: Vec<Value> = status.items.iter().map(tag_event).collect();
    let mut history = json!({
        "tag": status.tag,
        "items": if items.is_empty() { Value::Null } else { items.into() },
    });
    if let Some(conditions) = conditions(status) {
        history["conditions"] = conditions;
    }
    if let Some(held) = &status.hold {
        history["hold"] = hold(held);
    }
    history
}

fn tag_event(item: &HistoryItem) -> Value {
    json!({
        "created": item.created.as_ref().map(rfc3339),
        "dockerImageReference": item.docker_image_reference,
        "image": item.image,
        "generation": item.generation,
    })
}

/// What keeps a tag where it is. OpenShift has no such thing, so that the key is there only where there is a hold.
fn hold(hold: &Hold) -> Value {
    let mut object = json!({ "heldBy": hold.held_by });
    put_text(&mut object, "reason", &hold.reason);
    object["since"] = hold.since.as_ref().map(rfc3339).into();
    if let Some(expires) = &hold.expires_at {
        object["expiresAt"] = rfc3339(expires).into();
    }
    object["sequence"] = hold.sequence.into();
    if let Some(withheld) = &hold.withheld {
        object["withheld"] = tag_event(withheld);
    }
    object
}

fn conditions(status: &TagStatus) -> Option<Value> {
    let condition = status.import_failure.as_ref()?;
    let failure = condition.failure.clone().unwrap_or_default();
    Some(json!([{
        "type": "ImportSuccess",
        "status": "False",
        "lastTransitionTime": condition.last_transition_time.as_ref().map(rfc3339),
        "reason": failure.reason,
        "message": failure.message,
        "generation": condition.generation,
    }]))
}

/// A list of tags names its images only; everything else comes with the image itself.
fn is_only_named(image: &Image) -> bool {
    image.media_type.is_empty()
}

/// An image, seen through a tag's reference and with its annotations where there is one.
fn image(image: &Image, reference: Option<&str>, annotations: &BTreeMap<String, String>) -> Value {
    let mut all = image_annotations(image);
    if !is_only_named(image) {
        all.extend(annotations.clone());
    }
    let mut metadata = json!({});
    put_text(&mut metadata, "name", &image.digest);
    if image.recorded_sequence != 0 {
        metadata["uid"] = uid(&image.digest).into();
        metadata["resourceVersion"] = image.recorded_sequence.to_string().into();
    }
    if let Some(created) = &image.created {
        metadata["creationTimestamp"] = rfc3339(created).into();
    }
    put_map(&mut metadata, "annotations", &all);
    let mut object = json!({ "metadata": metadata });
    put_text(&mut object, "dockerImageReference", reference.unwrap_or(&image.docker_image_reference));
    object["dockerImageMetadata"] = docker_image(image);
    object["dockerImageMetadataVersion"] = "1.0".into();
    if is_only_named(image) {
        return object;
    }
    if !image.layers.is_empty() {
        let layer = |layer: &tagtrail_api::v1::Layer| json!({ "name": layer.digest, "size": layer.size, "mediaType": layer.media_type });
        object["dockerImageLayers"] = image.layers.iter().map(layer).collect();
    }
    object["dockerImageManifestMediaType"] = image.media_type.clone().into();
    if !image.manifests.is_empty() {
        object["dockerImageManifests"] = image.manifests.iter().map(manifest).collect();
    }
    object
}

fn manifest(entry: &tagtrail_api::v1::ManifestEntry) -> Value {
    let platform = entry.platform.clone().unwrap_or_default();
    let mut manifest = json!({
        "digest": entry.digest,
        "mediaType": entry.media_type,
        "manifestSize": entry.size,
        "architecture": platform.architecture,
        "os": platform.os,
    });
    put_text(&mut manifest, "variant", &platform.variant);
    manifest
}

/// OpenShift's `DockerImage`: what the configuration says, in the capitals of Docker's old API.
fn docker_image(image: &Image) -> Value {
    let raw: Map<String, Value> = serde_json::from_slice(&image.raw_config).unwrap_or_default();
    let is_index = image.config_digest.is_empty();
    let text = |object: &mut Value, key: &str, in_config: &str| {
        put_text(object, key, raw.get(in_config).and_then(Value::as_str).unwrap_or_default());
    };
    let config = |in_config: &str| raw.get(in_config).and_then(Value::as_object).map(docker_config);
    let id = match (is_only_named(image), is_index) {
        (true, _) => "",
        (false, true) => &image.digest,
        (false, false) => &image.config_digest,
    };
    let mut object = json!({ "kind": "DockerImage", "apiVersion": "image.openshift.io/1.0", "Id": id });
    text(&mut object, "Parent", "parent");
    text(&mut object, "Comment", "comment");
    object["Created"] = image.built_at.as_ref().map(rfc3339).into();
    text(&mut object, "Container", "container");
    object["ContainerConfig"] = config("container_config").unwrap_or_default().into();
    text(&mut object, "DockerVersion", "docker_version");
    text(&mut object, "Author", "author");
    if let Some(config) = config("config") {
        object["Config"] = config.into();
    }
    text(&mut object, "Architecture", "architecture");
    if image.size != 0 && !is_index {
        object["Size"] = image.size.into();
    }
    object
}

/// The keys OpenShift keeps of a container's configuration. What is empty is left out.
fn docker_config(config: &Map<String, Value>) -> Map<String, Value> {
    const KEPT: [(&str, &str); 26] = [
        ("Hostname", "Hostname"),
        ("Domainname", "Domainname"),
        ("User", "User"),
        ("Memory", "Memory"),
        ("MemorySwap", "MemorySwap"),
        ("CpuShares", "CpuShares"),
        ("Cpuset", "Cpuset"),
        ("AttachStdin", "AttachStdin"),
        ("AttachStdout", "AttachStdout"),
        ("AttachStderr", "AttachStderr"),
        ("PortSpecs", "PortSpecs"),
        ("ExposedPorts", "ExposedPorts"),
        ("Tty", "Tty"),
        ("OpenStdin", "OpenStdin"),
        ("StdinOnce", "StdinOnce"),
        ("Env", "Env"),
        ("Cmd", "Cmd"),
        ("DNS", "Dns"),
        ("Image", "Image"),
        ("Volumes", "Volumes"),
        ("VolumesFrom", "VolumesFrom"),
        ("WorkingDir", "WorkingDir"),
        ("Entrypoint", "Entrypoint"),
        ("NetworkDisabled", "NetworkDisabled"),
        ("SecurityOpts", "SecurityOpts"),
        ("OnBuild", "OnBuild"),
    ];
    let empty = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
    };
    let kept = KEPT.iter().chain(&[("Labels", "Labels")]);
    kept.filter_map(|(from, to)| Some((*to, config.get(*from)?)))
        .filter(|(_, value)| !empty(value))
        .map(|(key, value)| (key.to_owned(), value.clone()))
        .collect()
}

/// The same digest always gives the same id. It only looks like a drawn one.
fn uid(digest: &str) -> String {
    let hex = digest.split_once(':').map_or(digest, |(_, hex)| hex);
    match hex.get(..32) {
        Some(hex) => {
            format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
        }
        None => hex.to_owned(),
    }
}

fn put_text(object: &mut Value, key: &str, text: &str) {
    if !text.is_empty() {
        object[key] = text.into();
    }
}

fn put_true(object: &mut Value, key: &str, value: bool) {
    if value {
        object[key] = true.into();
    }
}

fn put_map(object: &mut Value, key: &str, map: &BTreeMap<String, String>) {
    if !map.is_empty() {
        object[key] = json!(map);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_shows_only_where_there_is_one() {
        let shown = |hold| tag_history(&TagStatus { tag: "v1".into(), hold, ..TagStatus::default() });
        assert_eq!(shown(None), json!({ "tag": "v1", "items": null }));
        let hold =
            Hold { held_by: "ana".into(), sequence: 7, since: Some(Default::default()), ..Hold::default() };
        let want = json!({ "heldBy": "ana", "since": "1970-01-01T00:00:00Z", "sequence": 7 });
        assert_eq!(shown(Some(hold.clone()))["hold"], want);
        let of_tag = |hold| {
            let statuses = vec![TagStatus { hold, ..TagStatus::default() }];
            let stream = Some(ImageStream { statuses, ..ImageStream::default() });
            image_stream_tag(&ImageStreamTag { stream, ..ImageStreamTag::default() }).get("hold").cloned()
        };
        assert_eq!((of_tag(None), of_tag(Some(hold.clone()))), (None, Some(want)));
        let withheld = HistoryItem { image: "sha256:1".into(), ..HistoryItem::default() };
        let expires_at = Some(Default::default());
        let all = Hold { reason: "CVE".into(), expires_at, withheld: Some(withheld), ..hold };
        let shown = shown(Some(all));
        assert_eq!(shown["hold"]["reason"], "CVE");
        assert_eq!(shown["hold"]["expiresAt"], "1970-01-01T00:00:00Z");
        assert_eq!(shown["hold"]["withheld"]["image"], "sha256:1");
    }

    #[test]
    fn an_interval_shows_only_where_it_is_set() {
        let shown = |interval_seconds| {
            let import_policy =
                Some(ImportPolicy { interval_seconds, scheduled: true, ..Default::default() });
            let spec = TagSpec { import_policy, ..TagSpec::default() };
            tag_reference("v1", Some(&spec))["importPolicy"].clone()
        };
        assert_eq!(shown(300), json!({ "importMode": "Legacy", "scheduled": true, "interval": "5m" }));
        assert_eq!(shown(0), json!({ "importMode": "Legacy", "scheduled": true }));
    }
}
