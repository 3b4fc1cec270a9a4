//! The log proves itself, and a server that cannot prove it says so: seen from outside, through a real server.
//!
//! | module     | idea                                                                               |
//! |------------|------------------------------------------------------------------------------------|
//! | `receipts` | a write's proof in a file, checked without a server                                 |
//! | `proofs`   | what gRPC proves, and how often a checkpoint comes, through kills too              |
//! | `replays`  | what the events make of the state is what the server shows                          |
//! | `files`    | the same for everybody: checkpoint, tiles and entries over HTTP                    |
//! | `rollback` | an older copy of the data, another history, a lost key; and how the log goes on     |
//! | `places`   | where the key and the newest checkpoint are kept, and what becomes of them          |

mod files;
mod places;
mod proofs;
mod receipts;
mod replays;
mod rollback;

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tagtrail_api::v1::*;
use tagtrail_tests::client::{Client, Printed};
use tagtrail_tests::server::Server;
use tagtrail_tests::wait;
use tagtrail_transparency::{Checkpoint, VerifierKey};

use crate::api::Api;
use crate::pool::set;

/// Much longer than anything here takes, on a machine that has a lot to do.
const SOON: Duration = Duration::from_secs(30);

/// Points a tag at an image that nobody looks up: one event, or three with a stream that is new.
fn point(tag: &str, image: u64) -> SetTagRequest {
    let name = format!("registry.example/team/app:{image}");
    let source = TagSource { kind: SourceKind::DockerImage.into(), namespace: String::new(), name };
    SetTagRequest { reference: true, ..set("app", tag, source) }
}

/// Writes so many events or a few more, and gives the head.
fn fill(api: &Api, events: u64) -> u64 {
    let (mut head, from) = (api.head(), api.head());
    while head < from + events {
        let result = api.ok(api.tags().set_tag(point("v1", head))).result;
        head = result.expect("every write answers with its result").sequence;
    }
    head
}

/// The newest checkpoint, once it covers a sequence.
fn covering(api: &Api, covers_sequence: u64) -> GetCheckpointResponse {
    api.ok(api.audits().get_checkpoint(GetCheckpointRequest { covers_sequence }))
}

/// Reads a checkpoint, with the key that is right.
fn open(note: &str, key: &str) -> Checkpoint {
    let key: VerifierKey = key.parse().expect("a key");
    Checkpoint::open(note.as_bytes(), &key).unwrap_or_else(|error| panic!("{error}:\n{note}"))
}

/// Runs a command that has to succeed, and gives what it prints.
fn done(client: &Client, arguments: &[&str]) -> String {
    let printed = client.run(arguments).expect("tagtrail runs");
    assert_eq!(printed.rc, 0, "{arguments:?}: {printed:?}");
    printed.stdout
}

/// Runs a command that has to fail in this way, with these words.
fn fails(client: &Client, arguments: &[&str], rc: i32, words: &str) -> Printed {
    let printed = client.run(arguments).expect("tagtrail runs");
    assert_eq!(printed.rc, rc, "{arguments:?}: {printed:?}");
    assert!(printed.stderr.contains(words), "{arguments:?}: says {}\nnot  {words}", printed.stderr);
    printed
}

/// What `status` knows of signing.
fn status(client: &Client) -> Value {
    client.json(&["status", "-o", "json"]).expect("status")["audit"].clone()
}

/// What is wrong with signing, as `status` says it.
fn problem(client: &Client) -> String {
    status(client)["problem"].as_str().expect("a text").to_owned()
}

/// What the start found worth telling.
fn findings(client: &Client) -> String {
    client.json(&["status", "-o", "json"]).expect("status")["findings"].to_string()
}

/// The key that checks the log's signatures.
fn key(client: &Client) -> String {
    status(client)["verifierKey"].as_str().expect("a text").to_owned()
}

/// The log is only read, for this reason: nobody can write, everybody can read, and everything says why.
fn only_read(server: &Server, why: &str) {
    let client = server.client();
    assert!(problem(&client).contains(why), "says {}\nnot  {why}", problem(&client));
    assert!(findings(&client).contains("nothing is written or signed"), "{}", findings(&client));
    let api = Api::of(server);
    let head = api.head();
    let refused = api.call(api.tags().set_tag(point("v1", 9_999))).expect_err("nothing is written");
    assert_eq!(refused.code(), tonic::Code::FailedPrecondition, "{refused:?}");
    let details = tonic_types::StatusExt::get_error_details(&refused);
    assert_eq!(details.error_info().map(|info| info.reason.as_str()), Some("READ_ONLY"), "{refused:?}");
    assert!(refused.message().contains(why), "{refused:?}");
    let unsigned = api.call(api.audits().get_checkpoint(GetCheckpointRequest::default()));
    assert_eq!(unsigned.expect_err("nothing is signed").code(), tonic::Code::FailedPrecondition);
    for path in ["/log/checkpoint", "/log/tile/0/000.p/1", "/log/tile/entries/000.p/1"] {
        let page = server.get(path).expect("an answer");
        assert_eq!(page.status, 503, "{path}: {}", page.text());
        assert!(page.text().contains(why), "{path}: {}", page.text());
    }
    assert_eq!(server.metric("tagtrail_read_only").expect("a metric"), 1.0);
    // Whoever audits hears it too, and does not take it for a server that is away.
    let log = server.log_url();
    fails(&client, &["audit", "verify", &log], 2, &why[..why.len().min(40)]);
    // Readers are served as ever.
    assert_eq!(api.head(), head);
    done(&client, &["get", "is", "-A"]);
    assert_eq!(api.events_after(head.saturating_sub(2)).len() as u64, head.min(2));
}

/// The log is written, signed and whole.
fn goes_on(server: &Server) {
    let (api, client) = (Api::of(server), server.client());
    let head = fill(&api, 1);
    let checkpoint = covering(&api, head);
    open(&checkpoint.checkpoint, &checkpoint.verifier_key);
    assert_eq!(problem(&client), "");
    for metric in ["tagtrail_read_only", "tagtrail_signing_failed"] {
        assert_eq!(server.metric(metric).expect("a metric"), 0.0, "{metric}");
    }
    let key = key(&client);
    let data = server.data();
    for log in [&server.log_url(), data.to_str().expect("a plain path")] {
        let words = done(&client, &["audit", "verify", log, "--vkey", &key]);
        assert!(words.contains("All is well."), "{words}");
    }
}

/// Waits until a condition of the server holds.
fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    wait::until(SOON, look).unwrap_or_else(|| panic!("{what}: not within {SOON:?}"))
}

/// Puts a copy of a directory in the place of another, if there is one.
fn copy(from: &Path, to: &Path) {
    if to.exists() {
        fs::remove_dir_all(to).expect("it can be removed");
    }
    fs::create_dir(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type().expect("a type").is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(&from, &to).expect("a copy");
        }
    }
}
