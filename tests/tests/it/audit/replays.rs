//! What `audit replay` makes of the events is what the server shows.

use std::path::Path;

use serde_json::Value;
use tagtrail_tests::server::{Options, Server};

use super::{done, fails, fill};
use crate::api::Api;

/// The state as JSON is, but for what only a server knows, what `get is -o json` prints of each stream: with every history whole, in
/// deleted streams' absence, and at a moment too.
#[test]
fn the_state_as_json() {
    let server = Server::start(Options::default()).expect("the server starts");
    let client = server.client();
    fill(&Api::of(&server), 12);
    let told = Path::new(env!("CARGO_MANIFEST_DIR")).join("testimony/streams.yaml");
    done(&client, &["import-openshift", &told.display().to_string()]);
    done(&client, &["tag", "--reference", "quay.io/a/b:2", "other:v1"]);
    done(&client, &["label", "is", "other", "team=x"]);
    let before = done(&client, &["get", "is", "-A", "-o", "json"]);
    let other: Value =
        serde_json::from_str(&done(&client, &["get", "is", "other", "-o", "json"])).expect("JSON");
    let moment = other["metadata"]["resourceVersion"].as_str().expect("a sequence").to_owned();
    done(&client, &["delete", "is/other"]);

    let data = server.data().display().to_string();
    let replayed = |arguments: &[&str]| {
        let printed = done(&client, &[&["audit", "replay", &data, "-o", "json"], arguments].concat());
        serde_json::from_str::<Value>(&printed).expect("JSON")
    };
    let longest = |list: &Value| {
        let tags = list["items"]
            .as_array()
            .expect("a list")
            .iter()
            .flat_map(|stream| stream["status"]["tags"].as_array());
        tags.flatten().filter_map(|tag| tag["items"].as_array()).map(Vec::len).max()
    };
    let shown = |text: &str| {
        let mut shown: Value = serde_json::from_str(text).expect("JSON");
        for stream in shown["items"].as_array_mut().expect("a list") {
            let status = stream["status"].as_object_mut().expect("a status");
            // By which addresses it is reached only the server knows.
            status.remove("publicDockerImageRepository");
            status.insert("dockerImageRepository".into(), "".into());
        }
        shown
    };
    assert_eq!(replayed(&["--until", &moment]), shown(&before));
    assert!(longest(&replayed(&[])) > Some(1), "a history is among them");
    assert_eq!(replayed(&[]), shown(&done(&client, &["get", "is", "-A", "-o", "json"])));
    assert_eq!(replayed(&["--stream", "other"])["items"], Value::Array(Vec::new()));
    fails(&client, &["audit", "replay", &data, "-o", "json", "--step"], 2, "json is one document");
}
