//! Commands that watch: what they print while things happen, and after the server was away.

use std::time::Duration;

use tagtrail_tests::client::Client;
use tagtrail_tests::process::{Process, free_port};
use tagtrail_tests::server::{Options, Server};
use tagtrail_tests::wait;

const SOON: Duration = Duration::from_secs(30);

/// A command that watches.
struct Watching {
    process: Process,
    words: String,
    _files: tempfile::TempDir,
}

impl Watching {
    fn start(client: &Client, words: &str) -> Watching {
        let files = tempfile::tempdir().expect("a directory");
        let arguments: Vec<&str> = words.split(' ').collect();
        let process = client.start(&arguments, &files.path().join("printed")).expect("it starts");
        Watching { process, words: words.to_owned(), _files: files }
    }

    /// What it has printed once that has so many lines, ages taken out.
    fn lines(&self, count: usize) -> Vec<String> {
        let printed = || Some(self.process.log()).filter(|text| text.lines().count() >= count);
        let text = wait::until(SOON, printed).unwrap_or_else(|| self.process.log());
        let age = regex::Regex::new(r"(Less than a second|1 second|\d+ seconds) ago").expect("a pattern");
        let lines: Vec<String> = text.lines().map(|line| age.replace(line, "<AGE>").into_owned()).collect();
        assert_eq!(lines.len(), count, "tagtrail {}:\n{text}", self.words);
        lines
    }
}

/// Each on ports that stay the same when it is started again.
fn start() -> Server {
    let ports = (free_port().expect("a port"), free_port().expect("a port"));
    let config = "[repository]\ninternal = \"registry.example\"\n".to_owned();
    Server::start(Options { config, ports: Some(ports), ..Options::default() }).expect("a server")
}

/// Points a tag at an image that is never imported.
fn point(client: &Client, tag: &str, image: u32) {
    let image = format!("registry.example/team/app:{image}");
    let printed = client.run(&["tag", "--source=docker", "--reference", &image, tag]).expect("it runs");
    assert_eq!(printed.rc, 0, "{}", printed.stderr);
}

#[test]
fn get_prints_what_there_is_and_every_change() {
    let mut server = start();
    let client = server.client();
    point(&client, "app:v1", 1);
    let table = Watching::start(&client, "get is --watch");
    let events = Watching::start(&client, "get is app -w --no-headers --output-watch-events");
    let json = Watching::start(&client, "get is -w -o json --output-watch-events");
    let names = Watching::start(&client, "get is --watch-only -o name -l tier=web");
    let elsewhere = Watching::start(&client, "get is -w -n elsewhere");
    table.lines(2);
    events.lines(1);
    json.lines(1);
    // Nothing tells when these two listen: nothing is there to be shown.
    let listening = || server.metric("tagtrail_watchers").ok().filter(|watchers| *watchers == 5.0);
    wait::until(SOON, listening).expect("five watch");

    point(&client, "a-longer-name:v1", 1);
    let labelled = client.run(&["label", "is", "app", "tier=web"]).expect("it runs");
    assert_eq!(labelled.rc, 0, "{}", labelled.stderr);
    assert_eq!(client.run(&["delete", "is", "app"]).expect("it runs").rc, 0);
    let header = "NAME   IMAGE REPOSITORY            TAGS   UPDATED";
    let want = [
        header,
        "app    registry.example/test/app   v1     <AGE>",
        "a-longer-name   registry.example/test/a-longer-name   v1     <AGE>",
        "app             registry.example/test/app             v1     <AGE>",
        "app             registry.example/test/app             v1     <AGE>",
    ];
    assert_eq!(table.lines(5), want);

    // It goes on when the server is back. All of them have heard of all of it by then.
    events.lines(3);
    json.lines(4);
    names.lines(2);
    server.kill().expect("it can be killed");
    server.restart().expect("it starts");
    point(&client, "app:v2", 2);
    let lines = table.lines(8);
    assert!(lines[5].starts_with("the watch is interrupted after sequence "), "{}", lines[5]);
    assert!(lines[6].starts_with("the watch goes on after sequence "), "{}", lines[6]);
    assert_eq!(lines[7], "app             registry.example/test/app             v2     <AGE>");

    let lines = events.lines(6);
    let told = [&lines[0], &lines[1], &lines[2], &lines[5]];
    let rows = ["ADDED      app", "MODIFIED   app", "DELETED    app", "ADDED      app"];
    assert!(told.iter().zip(rows).all(|(line, row)| line.starts_with(&format!("{row}   reg"))), "{lines:?}");
    let lines = json.lines(7);
    let object = |line: &str| serde_json::from_str::<serde_json::Value>(line).expect("an object on one line");
    let deleted = object(&lines[3]);
    assert_eq!(deleted["type"], "DELETED");
    assert_eq!(deleted["object"]["metadata"]["labels"]["tier"], "web", "as it was before");
    assert_eq!(object(&lines[6])["object"]["spec"]["tags"][0]["name"], "v2");
    let shown = names.lines(4); // It began to match, and was deleted.
    assert_eq!(shown[..2], ["imagestream.image.openshift.io/app"; 2]);
    let quiet = elsewhere.lines(2);
    assert!(quiet.iter().all(|line| line.starts_with("the watch ")), "{quiet:?}");
}

#[test]
fn watch_prints_events_as_they_happen() {
    let mut server = start();
    let client = server.client();
    point(&client, "app:v1", 1);
    let all = Watching::start(&client, "watch --after 0");
    let moves = Watching::start(&client, "watch app:v1 --kind tag-moved -o json --after 0");
    all.lines(3);
    moves.lines(1);
    point(&client, "app:v1", 2);
    point(&client, "web:v1", 1);
    let printed = client.run(&["events"]).expect("it runs");
    let before: Vec<&str> = printed.stdout.lines().collect();
    assert_eq!(all.lines(before.len()), before);

    server.terminate().expect("it ends when asked to");
    server.restart().expect("it starts");
    point(&client, "app:v1", 3);
    let printed = client.run(&["events"]).expect("it runs");
    let after: Vec<&str> = printed.stdout.lines().collect();
    let lines = all.lines(after.len() + 2);
    let position = before.len();
    let interrupted = format!(
        "the watch is interrupted after sequence {position}: the server is stopping; resume with after_sequence {position}"
    );
    assert_eq!(lines[before.len()], interrupted);
    assert_eq!(lines[before.len() + 1], format!("the watch goes on after sequence {position}"));
    assert_eq!(lines[before.len() + 2..], after[before.len()..]);
    let lines = moves.lines(5);
    let moved: Vec<_> =
        [0, 1, 4].iter().map(|n| serde_json::from_str::<serde_json::Value>(&lines[*n])).collect();
    let to: Vec<_> = moved
        .into_iter()
        .map(|event| event.expect("an event on one line")["tagMoved"]["item"]["dockerImageReference"].clone())
        .collect();
    assert_eq!(to, [1, 2, 3].map(|n| format!("registry.example/team/app:{n}")));

    // For scripts.
    let check = |words: &str, stdout: usize, stderr: &str, rc| {
        let words: Vec<&str> = words.split(' ').collect();
        let printed = client.run(&words).expect("it runs");
        let got = (printed.stdout.lines().count(), &*printed.stderr, printed.rc);
        assert_eq!(got, (stdout, stderr, rc), "{words:?}");
    };
    check("watch --after 0 --count 2", 2, "", 0);
    check("watch --after 0 --timeout 300ms", after.len(), "", 0);
    let fewer = "error: timed out after 300ms: there were fewer events than asked for\n";
    check("watch web --tag none --count 1 --timeout 300ms", 0, fewer, 1);
    let beyond = "error: the log ends at sequence 10; after 999 nothing can be watched yet\n";
    check("watch --after 999", 0, beyond, 1);
}

#[test]
fn what_cannot_be_watched_is_refused_as_kubectl_does() {
    let server = start();
    let client = server.client();
    point(&client, "app:v1", 1);
    let check = |words: &str, stdout: usize, stderr: &str| {
        let words: Vec<&str> = words.split(' ').collect();
        let printed = client.run(&words).expect("it runs");
        let got = (printed.stdout.lines().count(), &*printed.stderr, printed.rc);
        assert_eq!(got, (stdout, stderr, 1), "{words:?}");
    };
    let not_allowed = "Error from server (MethodNotAllowed): the server does not allow this method on the requested resource";
    check("get itag -w", 2, &format!("{not_allowed} (get imagetags.image.openshift.io)\n"));
    check("get istag --watch-only", 0, &format!("{not_allowed} (get imagestreamtags.image.openshift.io)\n"));
    check(
        "get is app app -w",
        3,
        "error: you may only watch a single resource or type of resource at a time\n",
    );
    check("get is,istag -w", 0, "error: you may only specify a single resource type\n");
    check(
        "get is none -w",
        0,
        "Error from server (NotFound): imagestreams.image.openshift.io \"none\" not found\n",
    );
    check(
        "get is --output-watch-events",
        0,
        "error: --output-watch-events option can only be used with --watch or --watch-only\n",
    );
}

/// Its sequences would mean other events.
#[test]
fn another_log_behind_the_same_address_ends_a_watch() {
    let mut server = start();
    let client = server.client();
    let watching = Watching::start(&client, "watch -A --after 0");
    point(&client, "app:v1", 1);
    watching.lines(3);
    server.kill().expect("it can be killed");
    std::fs::remove_dir_all(server.data()).expect("its data can be removed");
    // And what would tell of the log that was there. Without a checkpoint, if the kill came first.
    std::fs::remove_file(server.files().join("data.checkpoint")).ok();
    server.restart().expect("it starts with a new log");
    point(&client, "other:v1", 1);
    let lines = watching.lines(5);
    assert!(lines[3].starts_with("the watch is interrupted after sequence 3: "), "{}", lines[3]);
    assert!(lines[4].starts_with("error: this server has the log "), "{}", lines[4]);
    assert!(lines[4].ends_with(": a position in one is none in the other; begin anew"), "{}", lines[4]);
}
