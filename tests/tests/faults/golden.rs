//! Data directories that earlier versions have written, kept for ever under `golden/<format>/`: a later version opens them and gives
//! the same answers. `scripts/golden-data` makes one for the present format; one that is there is never changed.
//!
//! | file          | what it is                                                                     |
//! |---------------|--------------------------------------------------------------------------------|
//! | `data.tar.gz` | the data directory, and the checkpoint kept beside it                          |
//! | `streams.json`| what `tagtrail get is -A -o json` printed                                      |
//! | `events.jsonl`| every event as JSON                                                            |
//! | `key`         | the public key that checks the checkpoint                                      |

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tagtrail_tests::client::Client;
use tagtrail_tests::faulty::Faulty;
use tagtrail_tests::server::{Options, Server};

/// The format that this version writes, the second line of `FORMAT`.
const FORMAT: &str = "1";
/// Nothing that the machine or the port gives is to be in the answers.
const CONFIG: &str = "[repository]\ninternal = \"registry.example\"\n";

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults/golden")
}

fn done(client: &Client, words: &[&str]) -> String {
    let printed = client.run(words).expect("tagtrail runs");
    assert_eq!(printed.rc, 0, "{words:?}: {printed:?}");
    printed.stdout
}

fn tar(arguments: &[&str], directory: &Path) {
    let status = Command::new("tar").args(arguments).current_dir(directory).status().expect("tar runs");
    assert!(status.success(), "tar {arguments:?}");
}

fn events(client: &Client) -> String {
    done(client, &["events", "-o", "json"])
}

fn streams(client: &Client) -> String {
    done(client, &["get", "is", "-A", "-o", "json"])
}

#[test]
fn f16_every_format_can_be_read_for_ever() {
    let mut formats = Vec::new();
    for entry in fs::read_dir(golden()).expect("the golden directories") {
        let kept = entry.expect("an entry").path();
        let name = kept.file_name().expect("a name").to_string_lossy().into_owned();
        let files = tempfile::tempdir().expect("a directory");
        let archive = kept.join("data.tar.gz").display().to_string();
        tar(&["-xzf", &archive], files.path());
        let data_dir = Some(files.path().join("data"));
        let server = Server::start(Options { config: CONFIG.into(), data_dir, ..Options::default() });
        let server = server.unwrap_or_else(|error| panic!("format {name}: {error:#}"));
        let client = server.client();
        let read = |file: &str| fs::read_to_string(kept.join(file)).expect("it is kept");
        assert_eq!(streams(&client), read("streams.json"), "format {name}");
        assert_eq!(events(&client), read("events.jsonl"), "format {name}");
        // What was signed then is what is there now.
        let checkpoint = files.path().join("data.checkpoint").display().to_string();
        let (log, key) = (server.log_url(), read("key"));
        done(&client, &["audit", "verify", &log, "--vkey", key.trim(), "--checkpoint", &checkpoint]);
        done(&client, &["admin", "rebuild", "--verify"]);
        // And it goes on.
        done(&client, &["create", "imagestream", "later"]);
        formats.push(name);
    }
    assert!(formats.iter().any(|name| name == FORMAT), "the present format is not kept: {formats:?}");
}

/// Not a test by itself: `scripts/golden-data` runs it.
#[test]
#[ignore = "writes golden/<format>"]
fn write_golden_data() {
    let kept = golden().join(FORMAT);
    fs::create_dir_all(golden()).expect("a directory");
    fs::create_dir(&kept).expect("a format is written down once");
    let registry = Faulty::start().expect("a registry");
    let mut server =
        Server::start(Options { config: CONFIG.into(), ..Options::default() }).expect("it starts");
    let client = server.client();
    let run = |words: &str| done(&client, &words.split(' ').collect::<Vec<_>>());
    let from = format!("{}/team/app:v1", registry.host());
    for _ in 0..3 {
        registry.rebuild();
        run(&format!("import-image app:v1 --from={from} --confirm --insecure"));
    }
    run("tag app:v1 app:live");
    run("tag --reference registry.example/team/web:2 web:v2");
    run("tag --alias app:v1 app:newest");
    run("promote shop:live=app:v1 shop:next=app:v1");
    registry.rebuild();
    run("import-image app:v1 --insecure");
    run("rollback app:v1");
    run("release app:v1");
    run("hold app:live");
    run("annotate is app owner=ana");
    run("label is app tier=front");
    run("set image-lookup app");
    run("tag web:v2 -d");
    run("delete is web");
    run("restore web");
    run("create imagestream gone");
    run("delete is gone");
    fs::write(kept.join("streams.json"), streams(&client)).expect("a file");
    fs::write(kept.join("events.jsonl"), events(&client)).expect("a file");
    fs::write(kept.join("key"), run("audit key")).expect("a file");
    server.terminate().expect("it ends, and signs the last event");
    let archive = kept.join("data.tar.gz").display().to_string();
    let words =
        ["--exclude=data/reserve", "--exclude=data/LOCK", "-czf", &archive, "data", "data.checkpoint"];
    tar(&words, server.files());
}
