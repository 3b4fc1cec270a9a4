//! `proto/tagtrail/v1/event.schema.json`: what `event.proto` says of events, for those who read them as JSON.
//!
//! The file is made of the proto, word for word, by the rules of protobuf's JSON mapping and by those that Tagtrail adds where
//! the mapping leaves something open (`crates/api/src/json.rs`). The published schema lets everything pass that a newer version
//! may add. [`strict`] does not.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use prost_reflect::{
    DescriptorPool, EnumDescriptor, FieldDescriptor, FileDescriptor, Kind, MessageDescriptor,
};
use serde_json::{Map, Value, json};

const TIMESTAMP: &str = "google.protobuf.Timestamp";
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";
const TITLE: &str = "An event of Tagtrail";
const DESCRIPTION: &str = "One thing that happened. Never edited, never deleted. This is the payload of messages on NATS and what \
    `tagtrail events -o json` prints: the message Event of event.proto in protobuf's JSON mapping, with 64-bit numbers as JSON \
    numbers. What is not set is left out, but for yes and no. It has exactly one of the properties from streamCreated on, which \
    says what happened. Newer versions may add properties and words: pass over what you do not know.";
/// What no event is without. The rest may be missing from events of earlier versions.
const ALWAYS: [&str; 4] = ["sequence", "recordedAt", "namespace", "stream"];
/// Marks the alternative of an enum that stands for words to come.
const NEWER_WORD: &str = "A word of a newer version, or its number.";

/// Where the published schema lies.
pub fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto/tagtrail/v1/event.schema.json")
}

/// The published schema.
pub fn published() -> Result<Value> {
    let text = fs::read(path()).with_context(|| format!("{} cannot be read", path().display()))?;
    Ok(serde_json::from_slice(&text)?)
}

/// The message `Event`, by its descriptor.
pub fn event() -> MessageDescriptor {
    let pool = DescriptorPool::decode(tagtrail_api::v1::FILE_DESCRIPTOR_SET).expect("our own descriptors");
    pool.get_message_by_name("tagtrail.v1.Event").expect("there is an Event")
}

/// The schema as the proto would have it.
pub fn from_proto() -> Value {
    let mut definitions = Definitions::default();
    let event = event();
    let Value::Object(body) = definitions.object(&event, &ALWAYS) else { unreachable!("an object") };
    let mut schema = Map::new();
    schema.insert("$schema".into(), DIALECT.into());
    schema.insert("$id".into(), format!("urn:{}", event.full_name().replace('.', ":")).into());
    schema.insert("title".into(), TITLE.into());
    schema.insert("description".into(), DESCRIPTION.into());
    schema.extend(body.into_iter().filter(|(key, _)| key != "description"));
    schema.insert("$defs".into(), definitions.0.into());
    schema.into()
}

/// The same schema, for our own messages: nothing passes that is not in it.
pub fn strict(schema: &Value) -> Value {
    match schema {
        Value::Object(object) => {
            let mut object: Map<String, Value> =
                object.iter().map(|(key, value)| (key.clone(), strict(value))).collect();
            if object.get("type").is_some_and(|kind| kind == "object") {
                object.insert("additionalProperties".into(), false.into());
            }
            object.into()
        }
        Value::Array(list) => {
            list.iter().filter(|item| item["description"] != NEWER_WORD).map(strict).collect()
        }
        other => other.clone(),
    }
}

/// The messages and enums that an event is made of, in the order in which they are first met.
#[derive(Default)]
struct Definitions(Map<String, Value>);

impl Definitions {
    fn object(&mut self, message: &MessageDescriptor, always: &[&str]) -> Value {
        let mut properties = Map::new();
        let mut required: Vec<Value> = always.iter().map(|name| (*name).into()).collect();
        for field in message.fields() {
            properties.insert(field.json_name().into(), self.property(&field));
            if field.kind() == Kind::Bool {
                required.push(field.json_name().into());
            }
        }
        let mut object = Map::new();
        object.insert("description".into(), comment(&message.parent_file(), message.path()).into());
        object.insert("type".into(), "object".into());
        object.insert("properties".into(), properties.into());
        if !required.is_empty() {
            object.insert("required".into(), required.into());
        }
        object.into()
    }

    fn property(&mut self, field: &FieldDescriptor) -> Value {
        let mut property = Map::new();
        property.insert("description".into(), comment(&field.parent_file(), field.path()).into());
        let value = self.value(field);
        if field.is_list() {
            property.insert("type".into(), "array".into());
            property.insert("items".into(), value);
            property.insert("minItems".into(), 1.into());
        } else if let Value::Object(value) = value {
            property.extend(value);
        }
        property.into()
    }

    fn value(&mut self, field: &FieldDescriptor) -> Value {
        match field.kind() {
            Kind::Bool => json!({ "type": "boolean" }),
            Kind::String => json!({ "type": "string" }),
            Kind::Bytes => json!({ "type": "string", "contentEncoding": "base64" }),
            // Zero is left out.
            Kind::Uint32 => json!({ "type": "integer", "minimum": 1, "maximum": u32::MAX }),
            Kind::Uint64 => json!({ "type": "integer", "minimum": 1, "maximum": u64::MAX }),
            Kind::Int64 => json!({ "type": "integer", "minimum": i64::MIN, "maximum": i64::MAX }),
            Kind::Message(message) if message.full_name() == TIMESTAMP => {
                json!({ "type": "string", "format": "date-time" })
            }
            Kind::Message(message) => {
                self.define(message.name(), |definitions| definitions.object(&message, &[]))
            }
            Kind::Enum(words) => self.define(words.name(), |_| words_of(&words)),
            other => {
                unreachable!("event.proto has no fields of kind {other:?}; say here how they are written")
            }
        }
    }

    fn define(&mut self, name: &str, definition: impl FnOnce(&mut Definitions) -> Value) -> Value {
        if !self.0.contains_key(name) {
            // Its place comes before those of what it is made of.
            self.0.insert(name.into(), Value::Null);
            let definition = definition(self);
            self.0.insert(name.into(), definition);
        }
        json!({ "$ref": format!("#/$defs/{name}") })
    }
}

fn words_of(words: &EnumDescriptor) -> Value {
    let file = words.parent_file();
    // What is not given is left out.
    let given = words.values().filter(|word| word.number() != 0);
    let mut any: Vec<Value> = given
        .map(|word| json!({ "const": word.name(), "description": comment(&file, word.path()) }))
        .collect();
    any.push(json!({ "type": ["string", "integer"], "description": NEWER_WORD }));
    json!({ "description": comment(&file, words.path()), "anyOf": any })
}

/// What stands above something in the proto.
fn comment(file: &FileDescriptor, path: &[i32]) -> String {
    let places = file.file_descriptor_proto().source_code_info.as_ref().map(|info| &info.location);
    let place = places.into_iter().flatten().find(|place| place.path == path);
    let text = place.map(|place| place.leading_comments()).unwrap_or_default();
    let text: Vec<&str> = text.split_whitespace().collect();
    text.join(" ")
}
