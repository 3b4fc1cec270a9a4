//! An image stream as an object of OpenShift's API tells of it, in the words of the wire (spec §1.1).

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use prost_types::Timestamp;
use serde_json::Value;
use tagtrail_api::v1::{
    Entry, Failure, HistoryItem, ImageStream, ImportCondition, ImportMode, ImportPolicy, ReferencePolicy,
    SourceKind, Tag, TagSource, TagSpec, TagStatus,
};
use tagtrail_domain::Interval;

use crate::moment;

/// An image stream that a document tells of.
#[derive(Debug)]
pub(crate) struct Told {
    /// The stream, as it was there.
    pub(crate) stream: ImageStream,
    /// Its resource version there.
    pub(crate) resource_version: String,
    /// What it has that is not taken over, a line each.
    pub(crate) left_out: Vec<String>,
}

/// What an object is: its kind, and its name in its namespace. `None`: it does not say that it is an object at all.
pub(crate) fn kind_and_name(object: &Value) -> Option<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let kind = object.get("kind").map(text).filter(|kind| !kind.is_empty())?;
    let (namespace, name) = (text(&object["metadata"]["namespace"]), text(&object["metadata"]["name"]));
    Some((kind, if namespace.is_empty() { name } else { format!("{namespace}/{name}") }))
}

/// Whether an object is an image stream. Before it had groups, the API's version was `v1` alone.
pub(crate) fn is_stream(object: &Value) -> bool {
    let version = object["apiVersion"].as_str().unwrap_or_default();
    let ours = matches!(version, "" | "v1") || version.starts_with("image.openshift.io/");
    object["kind"] == "ImageStream" && ours
}

/// Reads an image stream.
///
/// # Errors
/// What is wrong, and at which field.
pub(crate) fn read(object: &Value) -> Result<Told, String> {
    let object = At { path: String::new(), value: object };
    let (metadata, spec, status) = (object.field("metadata"), object.field("spec"), object.field("status"));
    let mut left_out = Vec::new();
    let repository = spec.field("dockerImageRepository").text()?;
    if !repository.is_empty() {
        left_out
            .push(format!("spec.dockerImageRepository ({repository}): import the tags that you want of it"));
    }
    let tags = spec.field("tags").list("name")?.iter().map(tag).collect::<Result<_, _>>()?;
    let statuses = status.field("tags").list("tag")?;
    for status in statuses.iter().filter(|status| !status.field("hold").value.is_null()) {
        left_out.push(format!("{}.hold: hold the tag again", status.path));
    }
    let name = metadata.field("name");
    if name.text()?.is_empty() {
        return Err(format!("{}: there is none", name.path));
    }
    Ok(Told {
        resource_version: metadata.field("resourceVersion").text()?,
        stream: ImageStream {
            namespace: metadata.field("namespace").text()?,
            name: name.text()?,
            uid: metadata.field("uid").text()?,
            generation: metadata.field("generation").number()?,
            created: metadata.field("creationTimestamp").time()?,
            labels: metadata.field("labels").texts()?,
            annotations: metadata.field("annotations").texts()?,
            lookup_local: spec.field("lookupPolicy").field("local").flag()?,
            tags,
            statuses: statuses.iter().map(tag_status).collect::<Result<_, _>>()?,
            ..ImageStream::default()
        },
        left_out,
    })
}

fn tag(tag: &At<'_>) -> Result<Tag, String> {
    let (import, reference) = (tag.field("importPolicy"), tag.field("referencePolicy"));
    let mode = import.field("importMode").word(&[
        ("", ImportMode::Legacy),
        ("Legacy", ImportMode::Legacy),
        ("PreserveOriginal", ImportMode::PreserveOriginal),
    ])?;
    let policy = reference.field("type").word(&[
        ("", ReferencePolicy::Source),
        ("Source", ReferencePolicy::Source),
        ("Local", ReferencePolicy::Local),
    ])?;
    let from = tag.field("from");
    let source = if from.value.is_null() { None } else { Some(source(&from)?) };
    let annotations = tag.field("annotations").texts()?;
    let spec = TagSpec {
        source,
        reference: tag.field("reference").flag()?,
        generation: tag.field("generation").number()?,
        import_policy: Some(ImportPolicy {
            insecure: import.field("insecure").flag()?,
            scheduled: import.field("scheduled").flag()?,
            import_mode: mode.into(),
            interval_seconds: interval(&import.field("interval"))?,
        }),
        reference_policy: policy.into(),
        annotations: annotations.into_iter().map(|(key, value)| Entry { key, value }).collect(),
    };
    Ok(Tag { name: tag.field("name").text()?, spec: Some(spec) })
}

fn source(from: &At<'_>) -> Result<TagSource, String> {
    let kind = from.field("kind").word(&[
        ("DockerImage", SourceKind::DockerImage),
        ("ImageStreamTag", SourceKind::ImageStreamTag),
        ("ImageStreamImage", SourceKind::ImageStreamImage),
    ])?;
    let (namespace, name) = (from.field("namespace").text()?, from.field("name").text()?);
    Ok(TagSource { kind: kind.into(), namespace, name })
}

/// OpenShift has none; what this program wrote itself has.
fn interval(at: &At<'_>) -> Result<u32, String> {
    match at.text()?.as_str() {
        "" => Ok(0),
        text => Interval::parse(text).map(Interval::seconds).map_err(|why| format!("{}: {why}", at.path)),
    }
}

fn tag_status(status: &At<'_>) -> Result<TagStatus, String> {
    let items: Vec<HistoryItem> =
        status.field("items").list("")?.iter().map(history_item).collect::<Result<_, _>>()?;
    let mut import_failure = None;
    for condition in status.field("conditions").list("")? {
        let is = |name: &str, word: &str| condition.field(name).value == word;
        if is("type", "ImportSuccess") && is("status", "False") && import_failure.is_none() {
            import_failure = Some(ImportCondition {
                failure: Some(Failure {
                    reason: condition.field("reason").text()?,
                    message: condition.field("message").text()?,
                    ..Failure::default()
                }),
                generation: condition.field("generation").number()?,
                last_transition_time: condition.field("lastTransitionTime").time()?,
            });
        }
    }
    Ok(TagStatus {
        tag: status.field("tag").text()?,
        history_length: items.len() as u64,
        items,
        import_failure,
        hold: None,
    })
}

fn history_item(item: &At<'_>) -> Result<HistoryItem, String> {
    let created = item.field("created");
    Ok(HistoryItem {
        created: Some(created.time()?.ok_or_else(|| format!("{}: there is none", created.path))?),
        docker_image_reference: item.field("dockerImageReference").text()?,
        image: item.field("image").text()?,
        generation: item.field("generation").number()?,
        ..HistoryItem::default()
    })
}

/// A value, and where it stands. What is not there is null.
struct At<'v> {
    path: String,
    value: &'v Value,
}

impl<'v> At<'v> {
    fn field(&self, name: &str) -> At<'v> {
        let path = if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) };
        At { path, value: self.value.get(name).unwrap_or(&Value::Null) }
    }

    fn wrong(&self, wanted: &str) -> String {
        let (is, hint) = match self.value {
            Value::Null => ("nothing".to_owned(), ""),
            Value::Bool(value) => (format!("{value} without quotes"), ""),
            Value::Number(number) => (format!("the number {number}"), ""),
            Value::String(text) => (format!("\"{text}\""), ""),
            Value::Array(_) => ("a list".to_owned(), ""),
            Value::Object(_) => ("an object".to_owned(), ""),
        };
        format!("{}: {wanted} should stand here, and there is {is}{hint}", self.path)
    }

    fn text(&self) -> Result<String, String> {
        match self.value {
            Value::Null => Ok(String::new()),
            Value::String(text) => Ok(text.clone()),
            _ => Err(self.wrong("a text (in quotes, where it looks like a number)")),
        }
    }

    fn word<T: Copy>(&self, words: &[(&str, T)]) -> Result<T, String> {
        let text = self.text()?;
        let known = words.iter().find(|(word, _)| *word == text);
        known.map(|(_, value)| *value).ok_or_else(|| {
            let all: Vec<&str> =
                words.iter().map(|(word, _)| *word).filter(|word| !word.is_empty()).collect();
            self.wrong(&format!("one of {}", all.join(", ")))
        })
    }

    fn number(&self) -> Result<i64, String> {
        match self.value {
            Value::Null => Ok(0),
            value => value.as_i64().ok_or_else(|| self.wrong("a whole number")),
        }
    }

    fn flag(&self) -> Result<bool, String> {
        match self.value {
            Value::Null => Ok(false),
            value => value.as_bool().ok_or_else(|| self.wrong("true or false")),
        }
    }

    fn time(&self) -> Result<Option<Timestamp>, String> {
        if self.value.is_null() {
            return Ok(None);
        }
        let time = self.value.as_str().and_then(|text| DateTime::parse_from_rfc3339(text).ok());
        let time = time.ok_or_else(|| self.wrong("a time, such as 2018-11-27T14:03:05Z,"))?;
        Ok(Some(moment::timestamp(time.with_timezone(&Utc))))
    }

    /// The items, each named by one of its fields, or by its number.
    fn list(&self, name: &str) -> Result<Vec<At<'v>>, String> {
        let items = match self.value {
            Value::Null => return Ok(Vec::new()),
            Value::Array(items) => items,
            _ => return Err(self.wrong("a list")),
        };
        let item = |(number, value): (usize, &'v Value)| {
            let named = value.get(name).and_then(Value::as_str);
            let place = named.map_or_else(|| number.to_string(), str::to_owned);
            let at = At { path: format!("{}[{place}]", self.path), value };
            if value.is_object() { Ok(at) } else { Err(at.wrong("an object")) }
        };
        items.iter().enumerate().map(item).collect()
    }

    fn texts(&self) -> Result<BTreeMap<String, String>, String> {
        match self.value {
            Value::Null => Ok(BTreeMap::new()),
            Value::Object(fields) => {
                fields.keys().map(|key| Ok((key.clone(), self.field(key).text()?))).collect()
            }
            _ => Err(self.wrong("an object")),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{k8s, recorded};

    fn stream() -> Value {
        json!({
            "apiVersion": "image.openshift.io/v1",
            "kind": "ImageStream",
            "metadata": {
                "name": "python", "namespace": "test", "uid": "4c11", "resourceVersion": "236", "generation": 3,
                "creationTimestamp": "2018-11-27T14:03:05Z",
                "labels": { "app": "web" },
                "annotations": { "openshift.io/image.dockerRepositoryCheck": "2018-11-27T14:03:06Z" },
            },
            "spec": {
                "lookupPolicy": { "local": true },
                "tags": [{
                    "name": "3.6", "annotations": { "note": "hi" }, "generation": 2, "reference": true,
                    "from": { "kind": "ImageStreamTag", "namespace": "base", "name": "python:3" },
                    "importPolicy": { "importMode": "PreserveOriginal", "insecure": true, "scheduled": true },
                    "referencePolicy": { "type": "Local" },
                }],
            },
            "status": {
                "dockerImageRepository": "registry:5000/test/python",
                "publicDockerImageRepository": "example.com/test/python",
                "tags": [{
                    "tag": "3.6",
                    "items": [{
                        "created": "2018-11-27T14:03:06Z", "generation": 2,
                        "dockerImageReference": "quay.io/a/b@sha256:1", "image": "sha256:1",
                    }],
                    "conditions": [{
                        "type": "ImportSuccess", "status": "False", "reason": "NotFound", "message": "gone",
                        "lastTransitionTime": "2018-11-28T14:03:06Z", "generation": 3,
                    }],
                }],
            },
        })
    }

    /// What the server would show of it is what was read, but for the names it gives itself.
    #[test]
    fn everything_is_read() {
        let told = read(&stream()).expect("an image stream");
        assert_eq!(told.resource_version, "236");
        assert_eq!(told.left_out, Vec::<String>::new());
        assert_eq!(
            told.stream,
            ImageStream {
                resource_version: 0,
                repository: String::new(),
                public_repository: String::new(),
                ..recorded::stream("test", &stream())
            }
        );
        let shown = k8s::image_stream(&told.stream);
        assert_eq!(shown["spec"], stream()["spec"]);
        assert_eq!(shown["status"]["tags"], stream()["status"]["tags"]);
    }

    #[test]
    fn little_is_enough() {
        let told = read(&json!({ "kind": "ImageStream", "metadata": { "name": "p" } })).expect("a stream");
        assert_eq!(told.stream, ImageStream { name: "p".into(), ..ImageStream::default() });
        let is = |object: Value| is_stream(&object);
        assert!(is(json!({ "kind": "ImageStream", "apiVersion": "v1" })));
        assert!(is(json!({ "kind": "ImageStream", "apiVersion": "image.openshift.io/v1" })));
        assert!(!is(json!({ "kind": "ImageStream", "apiVersion": "example.com/v1" })));
        assert!(!is(json!({ "kind": "Secret", "apiVersion": "v1" })));
        let named = |object: Value| kind_and_name(&object);
        let secret = json!({ "kind": "Secret", "metadata": { "name": "s", "namespace": "n" } });
        assert_eq!(named(secret), Some(("Secret".into(), "n/s".into())));
        assert_eq!(named(json!({ "kind": "Secret" })), Some(("Secret".into(), String::new())));
        assert_eq!(named(json!({ "a": 1 })), None);
    }

    #[test]
    fn mistakes_name_their_place() {
        let check = |pointer: &str, value: Value, want: &str| {
            let mut object = stream();
            *object.pointer_mut(pointer).expect(pointer) = value;
            let error = read(&object).expect_err(pointer);
            assert!(error.starts_with(want), "{pointer}: {error}");
        };
        check("/metadata/name", json!(null), "metadata.name: there is none");
        check(
            "/metadata/name",
            json!(7),
            "metadata.name: a text (in quotes, where it looks like a number) should stand here, and there is the number 7",
        );
        check(
            "/metadata/creationTimestamp",
            json!("monday"),
            "metadata.creationTimestamp: a time, such as 2018-11-27T14:03:05Z, should stand here, and there is \"monday\"",
        );
        check(
            "/metadata/labels",
            json!([]),
            "metadata.labels: an object should stand here, and there is a list",
        );
        check("/metadata/labels/app", json!(true), "metadata.labels.app: a text");
        check("/metadata/generation", json!("3"), "metadata.generation: a whole number");
        check("/spec/lookupPolicy/local", json!("yes"), "spec.lookupPolicy.local: true or false");
        check(
            "/spec/tags/0/from/kind",
            json!("Docker"),
            "spec.tags[3.6].from.kind: one of DockerImage, ImageStreamTag, ImageStreamImage should stand here, and there is \"Docker\"",
        );
        check("/spec/tags/0/name", json!(3.6), "spec.tags[0].name: a text");
        check(
            "/spec/tags/0/importPolicy/importMode",
            json!("All"),
            "spec.tags[3.6].importPolicy.importMode: one of Legacy, PreserveOriginal",
        );
        check("/spec/tags/0", json!("3.6"), "spec.tags[0]: an object");
        check("/status/tags", json!("3.6"), "status.tags: a list");
        check(
            "/status/tags/0/items/0/created",
            json!(null),
            "status.tags[3.6].items[0].created: there is none",
        );
        check("/status/tags/0/items/0/created", json!("2018"), "status.tags[3.6].items[0].created: a time");
    }

    #[test]
    fn what_is_not_taken_over_is_said() {
        let mut object = stream();
        object["spec"]["dockerImageRepository"] = "quay.io/a/b".into();
        object["status"]["tags"][0]["hold"] = json!({ "heldBy": "ana" });
        let told = read(&object).expect("a stream");
        let want = [
            "spec.dockerImageRepository (quay.io/a/b): import the tags that you want of it",
            "status.tags[3.6].hold: hold the tag again",
        ];
        assert_eq!(told.left_out, want);
    }
}
