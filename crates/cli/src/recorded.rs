//! For tests: what the real programs printed, and the state it was printed from (`tests/conformance`).

use std::fs;
use std::path::Path;

use chrono::{DateTime, Utc};
use prost_types::Timestamp;
use serde_json::Value;
use tagtrail_api::v1::{
    Entry, Failure, HistoryItem, Image, ImageConfig, ImageStream, ImportCondition, ImportMode, ImportPolicy,
    Layer, ManifestEntry, Platform, ReferencePolicy, SourceKind, Tag, TagSource, TagSpec, TagStatus,
};

use crate::print::age::Now;

/// One command and what it did.
pub(crate) struct Step {
    /// `071-get-is-formats[3]`
    pub(crate) place: String,
    /// The words after the program's name.
    pub(crate) argv: Vec<String>,
    /// What it printed, normalised.
    pub(crate) stdout: String,
    /// What it printed, as it was.
    pub(crate) raw: String,
    /// What it complained about, normalised.
    pub(crate) stderr: String,
    /// Its exit code.
    pub(crate) rc: i64,
    /// All image streams afterwards, sorted by namespace and name.
    pub(crate) state: Vec<ImageStream>,
}

/// All recorded commands of all cases.
pub(crate) fn steps() -> Vec<Step> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/conformance/cases");
    let mut paths: Vec<_> =
        fs::read_dir(folder).expect("cases").map(|entry| entry.expect("a file").path()).collect();
    paths.sort();
    paths.iter().flat_map(|path| steps_of(path)).collect()
}

fn steps_of(path: &Path) -> Vec<Step> {
    let case: Value = serde_json::from_slice(&fs::read(path).expect("a case")).expect("JSON");
    let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
    let step = |(index, step): (usize, &Value)| {
        let argv = step["argv"].as_array()?.iter().map(text).collect();
        let state = step["state"].as_object().expect("a state");
        Some(Step {
            place: format!("{name}[{index}]"),
            argv,
            stdout: text(&step["stdout_norm"]),
            raw: text(&step["stdout"]),
            stderr: text(&step["stderr_norm"]),
            rc: step["rc"].as_i64().expect("an exit code"),
            state: state
                .iter()
                .map(|(key, value)| stream(key.split('/').next().expect("namespace"), value))
                .collect(),
        })
    };
    case["steps"].as_array().expect("steps").iter().enumerate().filter_map(step).collect()
}

/// The moment that stands for every normalised time, and for now.
const MOMENT: &str = "2026-11-23T12:00:00Z";
const UID: &str = "uid-of-a-test";
const RESOURCE_VERSION: u64 = 987_654_321;

/// The moment tests happen at: everything is less than a second old.
pub(crate) fn now() -> Now {
    Now(DateTime::parse_from_rfc3339(MOMENT).expect("a time").with_timezone(&Utc))
}

/// Normalises what was printed from a recorded state at [`now`].
pub(crate) fn normalised(text: &str) -> String {
    text.replace("Less than a second ago", "<AGE>")
        .replace(MOMENT, "<TIME>")
        .replace(UID, "<UID>")
        .replace(&RESOURCE_VERSION.to_string(), "<RV>")
}

/// An image stream from the API's JSON, normalised or not.
pub(crate) fn stream(namespace: &str, value: &Value) -> ImageStream {
    let (metadata, spec, status) = (&value["metadata"], &value["spec"], &value["status"]);
    ImageStream {
        namespace: namespace.to_owned(),
        name: text(&metadata["name"]),
        uid: metadata["uid"].as_str().unwrap_or(UID).to_owned(),
        resource_version: text(&metadata["resourceVersion"]).parse().unwrap_or(RESOURCE_VERSION),
        generation: metadata["generation"].as_i64().unwrap_or(0),
        created: time(&metadata["creationTimestamp"]),
        labels: pairs(&metadata["labels"]),
        annotations: pairs(&metadata["annotations"]),
        lookup_local: spec["lookupPolicy"]["local"] == true,
        repository: text(&status["dockerImageRepository"]),
        public_repository: text(&status["publicDockerImageRepository"]),
        tags: list(&spec["tags"])
            .map(|tag| Tag { name: text(&tag["name"]), spec: Some(tag_spec(tag)) })
            .collect(),
        statuses: list(&status["tags"]).map(tag_status).collect(),
        ..ImageStream::default()
    }
}

fn tag_spec(value: &Value) -> TagSpec {
    let from = value.get("from").map(|from| TagSource {
        kind: match &*text(&from["kind"]) {
            "DockerImage" => SourceKind::DockerImage,
            "ImageStreamTag" => SourceKind::ImageStreamTag,
            _ => SourceKind::ImageStreamImage,
        }
        .into(),
        namespace: text(&from["namespace"]),
        name: text(&from["name"]),
    });
    let mode = match &*text(&value["importPolicy"]["importMode"]) {
        "PreserveOriginal" => ImportMode::PreserveOriginal,
        _ => ImportMode::Legacy,
    };
    let policy = if value["referencePolicy"]["type"] == "Local" {
        ReferencePolicy::Local
    } else {
        ReferencePolicy::Source
    };
    TagSpec {
        source: from,
        reference: value["reference"] == true,
        generation: value["generation"].as_i64().unwrap_or(0),
        import_policy: Some(ImportPolicy {
            insecure: value["importPolicy"]["insecure"] == true,
            scheduled: value["importPolicy"]["scheduled"] == true,
            import_mode: mode.into(),
            interval_seconds: 0,
        }),
        reference_policy: policy.into(),
        annotations: pairs(&value["annotations"])
            .into_iter()
            .map(|(key, value)| Entry { key, value })
            .collect(),
    }
}

fn tag_status(value: &Value) -> TagStatus {
    let items: Vec<HistoryItem> = list(&value["items"])
        .map(|item| HistoryItem {
            created: time(&item["created"]),
            docker_image_reference: text(&item["dockerImageReference"]),
            image: text(&item["image"]),
            generation: item["generation"].as_i64().unwrap_or(0),
            ..HistoryItem::default()
        })
        .collect();
    let import_failure = list(&value["conditions"]).next().map(|condition| ImportCondition {
        failure: Some(Failure {
            reason: text(&condition["reason"]),
            message: text(&condition["message"]),
            ..Failure::default()
        }),
        generation: condition["generation"].as_i64().unwrap_or(0),
        last_transition_time: time(&condition["lastTransitionTime"]),
    });
    TagStatus {
        tag: text(&value["tag"]),
        history_length: items.len() as u64,
        items,
        import_failure,
        hold: None,
    }
}

/// An image from the API's JSON, as the server would give it.
pub(crate) fn image(value: &Value) -> Image {
    let docker = &value["dockerImageMetadata"];
    let config = &docker["Config"];
    let manifests: Vec<ManifestEntry> = list(&value["dockerImageManifests"])
        .map(|entry| ManifestEntry {
            digest: text(&entry["digest"]),
            media_type: text(&entry["mediaType"]),
            size: entry["manifestSize"].as_i64().unwrap_or(0),
            platform: Some(Platform {
                os: text(&entry["os"]),
                architecture: text(&entry["architecture"]),
                variant: text(&entry["variant"]),
            }),
        })
        .collect();
    let index = !manifests.is_empty();
    let texts = |value: &Value| list(value).map(text).collect::<Vec<_>>();
    // The configuration as Docker writes it, so that the way back is tested too.
    let raw = serde_json::json!({
        "architecture": docker["Architecture"], "config": config, "container": docker["Container"],
        "docker_version": docker["DockerVersion"], "author": docker["Author"],
    });
    Image {
        digest: text(&value["metadata"]["name"]),
        docker_image_reference: text(&value["dockerImageReference"]),
        media_type: text(&value["dockerImageManifestMediaType"]),
        created: time(&value["metadata"]["creationTimestamp"]),
        recorded_sequence: text(&value["metadata"]["resourceVersion"]).parse().unwrap_or(RESOURCE_VERSION),
        size: docker["Size"].as_i64().unwrap_or(0),
        layers: list(&value["dockerImageLayers"])
            .map(|layer| Layer {
                digest: text(&layer["name"]),
                size: layer["size"].as_i64().unwrap_or(0),
                media_type: text(&layer["mediaType"]),
            })
            .collect(),
        manifests,
        config_digest: if index { String::new() } else { text(&docker["Id"]) },
        config: (!index).then(|| ImageConfig {
            architecture: text(&docker["Architecture"]),
            author: text(&docker["Author"]),
            entrypoint: texts(&config["Entrypoint"]),
            command: texts(&config["Cmd"]),
            working_dir: text(&config["WorkingDir"]),
            user: text(&config["User"]),
            labels: pairs(&config["Labels"]),
            environment: texts(&config["Env"]),
            ..ImageConfig::default()
        }),
        raw_config: if index { Vec::new() } else { raw.to_string().into_bytes() },
        built_at: time(&docker["Created"]),
        ..Image::default()
    }
}

fn text(value: &Value) -> String {
    let text = value.as_str().unwrap_or_default();
    if text == "<TIME>" { MOMENT.to_owned() } else { text.to_owned() }
}

fn time(value: &Value) -> Option<Timestamp> {
    let time = DateTime::parse_from_rfc3339(&text(value)).ok()?;
    Some(Timestamp { seconds: time.timestamp(), nanos: 0 })
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn pairs(value: &Value) -> std::collections::BTreeMap<String, String> {
    value.as_object().into_iter().flatten().map(|(key, value)| (key.clone(), text(value))).collect()
}
