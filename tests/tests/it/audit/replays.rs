//! What `audit replay` makes of the events is what the server shows.

use std::path::Path;

use serde_json::Value;
use tagtrail_tests::server::{Options, Server};

use super::{covering, done, fails, fill, key};
use crate::api::Api;

/// An audit in which nobody speaks for the events is none, and one that looks at the wrong thing says so.
#[test]
fn who_speaks_for_the_events() {
    let server = Server::start(Options::default()).expect("the server starts");
    let (client, api) = (server.client(), Api::of(&server));
    let head = fill(&api, 5);
    let files = tempfile::tempdir().expect("a directory");
    let kept = files.path().join("kept");
    std::fs::write(&kept, covering(&api, head).checkpoint).expect("a file");
    let (log, kept, vkey) = (server.log_url(), kept.display().to_string(), key(&client));
    fails(&client, &["audit", "verify", &log], 2, "no signature was checked");
    let by_kept = done(&client, &["audit", "verify", &log, "--checkpoint", &kept]);
    assert!(by_kept.contains("up to the checkpoint that you kept"), "{by_kept}");
    // The server of the command names its key, and where its log is.
    let own = done(&client, &["audit", "verify"]);
    assert!(own.contains("if the log's own key is the one it always had") && own.contains("Shown"), "{own}");
    let given = done(&client, &["audit", "verify", "--vkey", &vkey]);
    assert!(given.contains("All is well."), "{given}");

    // Another log than that of the server which is asked is no false alarm.
    let another = Server::start(Options::default()).expect("the server starts");
    covering(&Api::of(&another), fill(&Api::of(&another), 3));
    fails(&client, &["audit", "verify", "--log-url", &another.log_url()], 2, "keeps the log");

    let printed = client.run(&["audit", "replay", "--vkey", &vkey]).expect("tagtrail runs");
    assert!(printed.stderr.contains(&format!("As of event {head}, recorded at ")), "{printed:?}");
    assert!(printed.stderr.contains("signatures were checked against the key that was given"), "{printed:?}");
    let beyond = (head + 1).to_string();
    fails(&client, &["audit", "replay", "--until", &beyond], 2, "lies beyond it");
    fails(
        &client,
        &["audit", "replay", "--stream", "nope"],
        2,
        "no event up to there is of an image stream test/nope",
    );

    let other = files.path().join("other");
    std::fs::create_dir(&other).expect("a directory");
    std::fs::write(other.join("mine"), "").expect("a file");
    let other = other.display().to_string();
    fails(&client, &["audit", "mirror", &log, &other, "--once"], 2, "neither empty nor a mirror");
}

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
