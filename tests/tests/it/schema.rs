//! The JSON schema of events says what is in the proto, what we write, and nothing else.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::slice::from_ref;
use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::consumer::pull;
use prost_reflect::prost::Message as _;
use prost_reflect::{
    DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage as _, Value as Held,
};
use serde_json::{Map, Value, json};
use tagtrail_api::v1::Event;
use tagtrail_tests::broker::{self, Broker};
use tagtrail_tests::registry::Registry;
use tagtrail_tests::server::{Options, Server};
use tagtrail_tests::{binary, schema};
use tokio::runtime::Runtime;
use tokio::time::timeout;
use tokio_stream::StreamExt as _;

/// At least as many as the longest enum has words: each turn gives every enum another one.
const TURNS: usize = 12;

/// `TAGTRAIL_WRITE_SCHEMA=1 cargo test -p tagtrail-tests schema` writes the file after a change of the proto.
#[test]
fn the_published_schema_is_what_the_proto_says() {
    let wanted = serde_json::to_string_pretty(&schema::from_proto()).expect("JSON") + "\n";
    if env::var_os("TAGTRAIL_WRITE_SCHEMA").is_some() {
        fs::write(schema::path(), &wanted).expect("the schema is written");
    }
    let published = fs::read_to_string(schema::path()).expect("the schema");
    assert!(
        published == wanted,
        "event.schema.json is not what event.proto says; TAGTRAIL_WRITE_SCHEMA=1 writes it"
    );
    assert!(!wanted.contains(r#""description": """#), "everything has a comment");
}

/// Every field and every word of the proto, written by us, is what the schema says; and the schema has no more.
#[test]
fn what_is_written_and_the_schema_are_the_same() {
    let descriptor = schema::event();
    let facts: Vec<FieldDescriptor> =
        descriptor.fields().filter(|field| field.containing_oneof().is_some()).collect();
    let events: Vec<Value> =
        facts.iter().flat_map(|fact| (0..TURNS).map(|turn| written(&descriptor, fact, turn))).collect();
    let published = schema::published().expect("the schema");
    assert_eq!(wrong(&published, &events), "");

    // Nothing that is not in the schema, and nothing left out that is: of the facts there is one.
    let mut complete = complete(&schema::strict(&published));
    let required = complete["required"].as_array_mut().expect("a list");
    required.retain(|name| facts.iter().all(|fact| fact.json_name() != name));
    assert_eq!(wrong(&complete, &events), "");

    let (mut known, mut used) = (BTreeSet::new(), BTreeSet::new());
    words_of(&complete, &mut known);
    events.iter().for_each(|event| texts_of(event, &mut used));
    let unused: Vec<_> = known.difference(&used).collect();
    assert!(!known.is_empty() && unused.is_empty(), "in the schema and never written: {unused:?}");
}

/// What a newer version may add does not make our events invalid for whoever checks them; what is wrong does.
#[test]
fn a_newer_version_may_add() {
    let published = schema::published().expect("the schema");
    let event = |more: Value| {
        let mut event = json!({
            "sequence": 7, "recordedAt": "2026-11-23T12:00:00Z", "namespace": "test", "stream": "app",
            "tagMoved": { "tag": "v1", "cause": "MOVE_CAUSE_TAG" },
        });
        let (event_fields, more) =
            (event.as_object_mut().expect("an object"), more.as_object().expect("an object").clone());
        event_fields.extend(more);
        event
    };
    let newer = [
        json!({ "mood": "good" }),
        json!({ "tagMoved": { "tag": "v1", "colour": "red" } }),
        json!({ "tagMoved": { "tag": "v1", "cause": "MOVE_CAUSE_WHIM" } }),
        json!({ "tagMoved": { "tag": "v1", "cause": 99 } }),
    ];
    for more in newer.map(event) {
        assert_eq!(wrong(&published, from_ref(&more)), "");
        assert_ne!(wrong(&schema::strict(&published), from_ref(&more)), "", "{more}");
    }
    let broken = [
        json!({ "sequence": "7" }),
        json!({ "sequence": 0 }),
        json!({ "stream": null }),
        json!({ "actor": { "name": "ana" } }),
        json!({ "tagMoved": { "tag": 1 } }),
        json!({ "tagMoved": { "cause": true } }),
    ];
    for more in broken.map(event) {
        assert_ne!(wrong(&published, from_ref(&more)), "", "{more}");
    }
    assert_eq!(wrong(&schema::strict(&published), &[event(json!({}))]), "");
}

/// Real events of nearly every kind: what the command line prints, and the very same as payloads on NATS.
#[test]
fn real_events_pass() {
    let broker = Broker::start(broker::Options::default()).expect("a broker");
    let (registry, _storage) = Registry::start().expect("a registry");
    let config = format!(
        "[nats]\nurl = \"{}\"\n[[registry]]\nhost = \"{}\"\ninsecure = true\n",
        broker.url(),
        registry.host()
    );
    let server = Server::start(Options { config, ..Options::default() }).expect("a server");
    let image = |tag: &str| format!("{}/{tag}", registry.host());
    for command in [
        vec!["import-image", "app:v1", &format!("--from={}", image("team/app:v1.0.0")), "--confirm"],
        vec!["import-image", "app:v1"],
        vec!["tag", "app:v1", "app:prod", "--alias"],
        vec!["tag", "--source=docker", &image("team/app:v9"), "app:v1", "--wait"],
        vec!["tag", "--source=docker", &image("team/app:v1.2.0"), "app:v1", "--wait"],
        vec!["import-image", "all", &format!("--from={}", image("team/app")), "--confirm", "--all"],
        vec!["import-image", "none", &format!("--from={}", image("team/none")), "--confirm", "--all"],
        vec!["import-image", "app:lost", &format!("--from={}", image("team/app:lost")), "--confirm"],
        vec!["annotate", "is", "app", "owner=ana"],
        vec!["set", "image-lookup", "app"],
        vec!["tag", "-d", "app:prod"],
        vec!["delete", "is", "all"],
    ] {
        // Some imports are meant to fail, and exit codes are others' tests.
        server.client().run(&command).expect("tagtrail runs");
    }
    let printed = server.client().run(&["events", "-A", "-o", "json"]).expect("events");
    let events: Vec<Value> =
        printed.stdout.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    let published = schema::published().expect("the schema");
    assert_eq!(wrong(&schema::strict(&published), &events), "");
    let facts: BTreeSet<&str> = [
        "streamCreated",
        "streamDeleted",
        "streamMetadataSet",
        "lookupPolicySet",
        "tagSet",
        "tagDeleted",
        "tagMoved",
        "importFailed",
        "imageRecorded",
        "importFinished",
        "repositoryImportFailed",
    ]
    .into();
    let missing: Vec<_> =
        facts.into_iter().filter(|fact| !events.iter().any(|event| event.get(fact).is_some())).collect();
    assert!(missing.is_empty(), "{missing:?} did not happen:\n{}", printed.stdout);

    let payloads: Vec<Value> = Runtime::new().expect("a runtime").block_on(async {
        let context = jetstream::new(async_nats::connect(broker.url()).await.expect("a connection"));
        let stream = context.get_stream("TAGTRAIL").await.expect("the stream");
        let consumer = stream.create_consumer(pull::OrderedConfig::default()).await.expect("a consumer");
        let mut messages = consumer.messages().await.expect("messages");
        let mut payloads = Vec::new();
        while payloads.len() < events.len() {
            let message = timeout(Duration::from_secs(30), messages.next()).await.expect("in time");
            let message = message.expect("one").expect("a message");
            payloads.push(serde_json::from_slice(&message.payload).expect("JSON"));
        }
        payloads
    });
    assert_eq!(payloads, events);
}

/// What an independent implementation of JSON Schema finds wrong.
fn wrong(schema: &Value, values: &[Value]) -> String {
    let mut child = Command::new(binary::python())
        .args(["-c", include_str!("../../src/validate.py")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("scripts/test-tools has installed Python and its packages");
    let mut input = child.stdin.take().expect("stdin is piped");
    let asked = json!({ "schema": schema, "values": values }).to_string();
    let writer = std::thread::spawn(move || input.write_all(asked.as_bytes()));
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("it does not panic").expect("it is written");
    assert!(output.status.success(), "the schema itself is wrong; see above");
    String::from_utf8(output.stdout).expect("text")
}

/// An event with every field set, as we write it.
fn written(descriptor: &MessageDescriptor, fact: &FieldDescriptor, turn: usize) -> Value {
    let mut message = DynamicMessage::new(descriptor.clone());
    for field in descriptor.fields().filter(|field| field.containing_oneof().is_none() || field == fact) {
        message.set_field(&field, filled(&field, turn));
    }
    let event = Event::decode(message.encode_to_vec().as_slice()).expect("an event");
    serde_json::from_str(&tagtrail_api::json::event(&event)).expect("JSON")
}

fn filled(field: &FieldDescriptor, turn: usize) -> Held {
    let one = match field.kind() {
        Kind::Bool => Held::Bool(turn.is_multiple_of(2)),
        Kind::String => Held::String(format!("{} {turn}", field.name())),
        Kind::Bytes => Held::Bytes(vec![0xfb, 0xff, 0xfe].into()),
        Kind::Uint32 => Held::U32(u32::MAX),
        Kind::Uint64 => Held::U64(u64::MAX),
        Kind::Int64 => Held::I64(if turn.is_multiple_of(2) { i64::MAX } else { i64::MIN }),
        Kind::Enum(words) => {
            let given: Vec<i32> =
                words.values().map(|word| word.number()).filter(|number| *number != 0).collect();
            assert!(given.len() <= TURNS, "{} needs more turns", words.name());
            Held::EnumNumber(given[turn % given.len()])
        }
        Kind::Message(message) if message.full_name() == "google.protobuf.Timestamp" => {
            let mut time = DynamicMessage::new(message);
            time.set_field_by_name("seconds", Held::I64(1_700_000_000));
            time.set_field_by_name("nanos", Held::I32(5_000_000));
            Held::Message(time)
        }
        Kind::Message(message) => {
            let mut inner = DynamicMessage::new(message);
            for field in inner.descriptor().fields() {
                inner.set_field(&field, filled(&field, turn));
            }
            Held::Message(inner)
        }
        other => unreachable!("event.proto has no fields of kind {other:?}"),
    };
    if field.is_list() { Held::List(vec![one.clone(), one]) } else { one }
}

/// The schema of events that have everything.
fn complete(schema: &Value) -> Value {
    match schema {
        Value::Object(object) => {
            let mut object: Map<String, Value> =
                object.iter().map(|(key, value)| (key.clone(), complete(value))).collect();
            if let Some(properties) = object.get("properties").and_then(Value::as_object) {
                let all: Value = properties.keys().cloned().collect();
                object.insert("required".into(), all);
            }
            object.into()
        }
        Value::Array(list) => list.iter().map(complete).collect(),
        other => other.clone(),
    }
}

/// The words of enums in a schema.
fn words_of(schema: &Value, words: &mut BTreeSet<String>) {
    match schema {
        Value::Object(object) => {
            words.extend(object.get("const").and_then(Value::as_str).map(str::to_owned));
            object.values().for_each(|value| words_of(value, words));
        }
        Value::Array(list) => list.iter().for_each(|value| words_of(value, words)),
        _ => {}
    }
}

/// All texts in a value.
fn texts_of(value: &Value, texts: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => object.values().for_each(|value| texts_of(value, texts)),
        Value::Array(list) => list.iter().for_each(|value| texts_of(value, texts)),
        Value::String(text) => _ = texts.insert(text.clone()),
        _ => {}
    }
}
