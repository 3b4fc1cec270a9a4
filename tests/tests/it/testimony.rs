//! Image streams of OpenShift, taken over: shown as they were there, told and not observed, and alive afterwards.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tagtrail_tests::case::{self, Recorded, State, Step};
use tagtrail_tests::client::Client;
use tagtrail_tests::compare::{Chance, canonical, canonical_state, difference};
use tagtrail_tests::faulty::Faulty;
use tagtrail_tests::normalise;
use tagtrail_tests::server::{Options, Server};
use tagtrail_tests::wait;

/// As the recorded server was configured, with registries where nothing answers.
const CONFIGURATION: &str = r#"
[repository]
internal = "image-registry.openshift-image-registry.svc:5000"
public = "default-route-openshift-image-registry.apps-crc.testing"
[[registry]]
host = "docker.io"
mirrors = ["127.0.0.1:9"]
mirror_only = true
insecure = true
[[registry]]
host = "quay.io"
mirrors = ["127.0.0.1:9"]
mirror_only = true
insecure = true
"#;

fn server() -> Server {
    Server::start(Options { config: CONFIGURATION.into(), ..Options::default() }).expect("the server starts")
}

/// A document of `tests/testimony`.
fn document(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testimony").join(name)
}

fn text(name: &str) -> String {
    fs::read_to_string(document(name)).expect("a document")
}

/// Runs a command that has to succeed.
fn ok(client: &Client, line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let printed = client.run(&words).expect("tagtrail runs");
    assert_eq!(printed.rc, 0, "{line}: {printed:?}");
    printed.stdout
}

/// Hands a document over on standard input. Gives the exit code and both outputs.
fn import(client: &Client, document: &str, more: &[&str]) -> (i32, String, String) {
    let words = [&["import-openshift", "-"], more].concat();
    let printed = client.run_with(&words, document).expect("tagtrail runs");
    (printed.rc, printed.stdout, printed.stderr)
}

fn shop(server: &Server) -> Client {
    Client { namespace: "shop".into(), ..server.client() }
}

/// What is the same there and here: not the uid and the version.
fn comparable(mut stream: Value) -> Value {
    let metadata = stream["metadata"].as_object_mut().expect("metadata");
    for name in ["uid", "resourceVersion"] {
        metadata.shift_remove(name);
    }
    stream
}

/// A recorded state as a document, with times in place of those that the recorder took out: what has a higher generation is newer.
fn told(state: &State, place: &str) -> String {
    let minute = |number: i64| format!("2020-01-02T{:02}:{:02}:00Z", 3 + number / 60, number % 60);
    let stream = |(key, stream): (&String, &Value)| {
        let mut stream = stream.clone();
        stream["kind"] = "ImageStream".into();
        stream["apiVersion"] = "image.openshift.io/v1".into();
        stream["metadata"]["uid"] = format!("{place} {key}").into();
        stream["metadata"]["creationTimestamp"] = minute(0).into();
        if let Some(annotations) = stream["metadata"].get_mut("annotations").and_then(Value::as_object_mut) {
            let times = annotations.values_mut().filter(|value| **value == "<TIME>");
            times.for_each(|value| *value = minute(0).into());
        }
        let tags = stream["status"].get_mut("tags").and_then(Value::as_array_mut);
        for tag in tags.into_iter().flatten() {
            for (list, field) in [("items", "created"), ("conditions", "lastTransitionTime")] {
                for item in tag.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
                    item[field] = minute(item["generation"].as_i64().expect("a generation")).into();
                }
            }
        }
        stream
    };
    let items: Vec<Value> = state.iter().map(stream).collect();
    json!({ "apiVersion": "v1", "kind": "List", "items": items }).to_string()
}

/// Every state that was recorded in the real system, with the descriptions that were recorded of it.
#[test]
fn what_openshift_showed_is_shown() {
    let server = server();
    let client = server.client();
    let mut described = 0;
    for case in case::load(&["all"]).expect("the cases") {
        let commands = case.steps.iter().enumerate().filter_map(|(number, step)| match step {
            Step::Command(recorded) if recorded.argv[0] == "describe" && recorded.rc == 0 => {
                Some((number + 1, recorded))
            }
            _ => None,
        });
        for (number, recorded) in commands {
            if !matches!(recorded.argv[1].as_str(), "is" | "imagestream")
                && !recorded.argv[1].starts_with("is/")
            {
                continue;
            }
            let place = format!("{} step {number}", case.name);
            show_again(&client, recorded, &place);
            described += 1;
        }
    }
    assert!(described > 80, "{described} descriptions are not all there are");
}

fn show_again(client: &Client, recorded: &Recorded, place: &str) {
    let document = told(&recorded.state, place);
    let (rc, _, complaint) = import(client, &document, &[]);
    assert_eq!((rc, complaint.as_str()), (0, ""), "{place}");
    // The background goes on at once. As it was told is as it was right after the last of them.
    let events = client.run(&["events", "-A", "-o", "json"]).expect("tagtrail runs").stdout;
    let events = events.lines().map(|line| serde_json::from_str::<Value>(line).expect("an event"));
    let mut of_import = events.filter(|event| event["command"] == "import-openshift");
    let at = of_import.next_back().expect("something was told")["sequence"].to_string();

    let chance = Chance { tag_order: true, ..Chance::default() };
    let shown: Vec<&str> = recorded.argv.iter().map(String::as_str).chain(["--at", &at]).collect();
    let shown = client.run(&shown).expect("tagtrail runs");
    let ours = canonical(&recorded.argv, &shown.stdout, chance);
    let wanted = canonical(&recorded.argv, &recorded.stdout, chance);
    if let Some(difference) = difference(&wanted, &ours) {
        panic!("{place}: {:?}\n{difference}", recorded.argv);
    }
    let ours = recorded.state.keys().map(|key| {
        let (namespace, name) = key.split_once('/').expect("a stream");
        let stream = client.json(&["get", "is", name, "-n", namespace, "-o", "json", "--at", &at]);
        (key.clone(), stream.expect("the stream"))
    });
    let ours = canonical_state(&ours.collect(), chance);
    if let Some(difference) = difference(&canonical_state(&recorded.state, chance), &ours) {
        panic!("{place}: the state\n{difference}");
    }
    for key in recorded.state.keys() {
        let (namespace, name) = key.split_once('/').expect("a stream");
        ok(client, &format!("delete is {name} -n {namespace}"));
    }
}

#[test]
fn a_list_is_taken_over_stream_by_stream() {
    let mut server = server();
    let client = shop(&server);
    let path = document("streams.yaml");
    let path = path.to_str().expect("a path");

    let dry = client.run(&["import-openshift", path, "--dry-run"]).expect("tagtrail runs");
    let lines = "imagestream.image.openshift.io/app imported (6 tags, 9 history items)
imagestream.image.openshift.io/python imported (2 tags, 5 history items)
";
    let skipped = format!("skipped Secret \"shop/pull\" of {path}: it is no image stream\n");
    assert_eq!(dry.stdout, lines.replace(")\n", ") (dry run)\n"));
    assert_eq!((dry.rc, &dry.stderr, client.head().expect("status")), (0, &skipped, 0));

    let printed =
        client.run(&["import-openshift", path, "--reason", "the cluster goes"]).expect("tagtrail runs");
    assert_eq!((printed.rc, printed.stdout.as_str(), &printed.stderr), (0, lines, &skipped));
    // The runs of both: the creation, the testimony, four specs and a failure and nine items; then two specs and five items.
    let (app, all) = ("17", "26");

    // As `oc` showed it, to the letter.
    let described = |client: &Client| normalise::text(&ok(client, &format!("describe is app --at {all}")));
    assert_eq!(described(&client), text("app.describe.txt"));
    let shown = client.json(&["get", "is", "python", "-o", "json", "--at", all]).expect("the stream");
    let yaml = ok(&client, &format!("get is python -o yaml --at {all}"));
    let without = |yaml: &str| -> Vec<String> {
        let other = |line: &&str| !line.starts_with("  uid: ") && !line.starts_with("  resourceVersion: ");
        yaml.lines().filter(other).map(str::to_owned).collect()
    };
    assert_eq!(without(&yaml), without(&text("python.yaml")));

    // Before it there was nothing; between the two there was the one.
    let before = client.run(&["get", "is", "--at", "0"]).expect("tagtrail runs");
    assert!(!before.stdout.contains("app"), "{before:?}");
    let between = ok(&client, &format!("get is -o name --at {app}"));
    assert_eq!(between, "imagestream.image.openshift.io/app\n");

    // Who told what, and that nobody saw it.
    let history = client.json(&["history", "app:prod", "--until", all, "-o", "json"]).expect("a history");
    let history = history.as_array().or_else(|| history["entries"].as_array()).expect("entries").clone();
    assert_eq!(history.len(), 3);
    for entry in &history {
        assert_eq!((&entry["cause"], &entry["actor"]), (&json!("testimony"), &json!("developer")));
        assert_eq!(entry["reason"], "the cluster goes");
    }
    let table = ok(&client, &format!("history app --until {all}"));
    assert!(table.contains("testimony (2018-09-11T07:15:00Z)"), "{table}");
    assert!(table.contains("testimony of a failed import: dockerimage.image.openshift.io"), "{table}");
    let why = ok(&client, &format!("why app:live --at {all}"));
    let digest = client_digest(path);
    let last = format!("     told by {path} ({digest}), not observed\n");
    assert!(why.ends_with(&last), "{why}");

    // Its digests are found.
    let pushed = "sha256:b77f399d988cdaefde8935e45fe96dc70fdd914b6b18d13bb87a84030b46fa5a";
    assert!(ok(&client, &format!("where {pushed}")).contains("app:pushed"));

    // A second time nothing happens, also after a restart; and it is what it was.
    let told = |client: &Client| {
        let events = ok(client, "events -o json");
        events.lines().filter(|line| line.contains("\"command\":\"import-openshift\"")).count()
    };
    assert_eq!(told(&client), 26);
    server.kill().expect("the server can be killed");
    server.restart().expect("the server starts");
    let client = shop(&server);
    let again =
        client.run(&["import-openshift", path, "--reason", "the cluster goes"]).expect("tagtrail runs");
    let unchanged =
        "imagestream.image.openshift.io/app unchanged\nimagestream.image.openshift.io/python unchanged\n";
    assert_eq!((again.rc, again.stdout.as_str()), (0, unchanged));
    assert_eq!(told(&client), 26);
    assert_eq!(client.json(&["get", "is", "python", "-o", "json", "--at", all]).expect("the stream"), shown);
    // So after the read model was built anew.
    ok(&client, "admin rebuild");
    assert_eq!(client.json(&["get", "is", "python", "-o", "json", "--at", all]).expect("the stream"), shown);
    assert_eq!(described(&client), text("app.describe.txt"));
}

/// What `sha256sum` says of a file.
fn client_digest(path: &str) -> String {
    let output = std::process::Command::new("sha256sum").arg(path).output().expect("sha256sum");
    let text = String::from_utf8(output.stdout).expect("text");
    format!("sha256:{}", text.split(' ').next().expect("a digest"))
}

#[test]
fn what_was_told_goes_on() {
    let registry = Faulty::start().expect("a registry");
    let server = server();
    let client = shop(&server);
    let source = format!("{}/team/app:v1", registry.host());
    let old = "sha256:5eb7e725e6bac43f2a906437aa7be080081de786a7d12f7b9649be47b69d6ca0";
    let item = |created: &str, image: &str, generation: u32| {
        json!({
            "created": created, "dockerImageReference": format!("{}/team/app@{image}", registry.host()),
            "image": image, "generation": generation,
        })
    };
    let now = registry.digest();
    let tag = |name: &str, kind: &str, from: &str, generation: u32, scheduled: bool| {
        json!({
            "name": name, "from": { "kind": kind, "name": from }, "generation": generation,
            // Tagtrail's own word, so that the test need not wait for a quarter of an hour.
            "importPolicy": { "insecure": true, "scheduled": scheduled, "interval": if scheduled { "1s" } else { "" } },
        })
    };
    let stream = json!({
        "apiVersion": "image.openshift.io/v1", "kind": "ImageStream",
        "metadata": { "name": "app", "namespace": "shop", "generation": 3, "creationTimestamp": "2018-02-01T09:00:00Z" },
        "spec": { "tags": [
            tag("live", "ImageStreamTag", "app:prod", 2, false),
            tag("new", "DockerImage", &source, 3, false),
            tag("prod", "DockerImage", &source, 1, true),
        ] },
        "status": { "tags": [
            { "tag": "live", "items": [item("2018-02-02T09:00:00Z", &now, 2), item("2018-02-01T09:00:00Z", old, 2)] },
            { "tag": "prod", "items": [item("2018-02-02T09:00:00Z", &now, 2), item("2018-02-01T09:00:00Z", old, 1)] },
        ] },
    });
    let line = "imagestream.image.openshift.io/app imported (3 tags, 4 history items)\n";
    assert_eq!(import(&client, &stream.to_string(), &[]), (0, line.into(), String::new()));

    let points_to = |tag: &str| {
        let stream = client.json(&["get", "is", "app", "-o", "json"]).expect("the stream");
        let tags = stream["status"]["tags"].as_array().expect("tags").clone();
        let status = tags.iter().find(|status| status["tag"] == tag)?.clone();
        Some((status["items"][0]["image"].as_str()?.to_owned(), status["items"].as_array()?.len()))
    };
    let eventually = |what: &str, is_so: &dyn Fn() -> bool| {
        let found = wait::until(Duration::from_secs(60), || is_so().then_some(()));
        assert!(found.is_some(), "{what}: not within a minute; {}", server.log());
    };
    // What waited is imported.
    eventually("the tag that waits is imported", &|| points_to("new") == Some((now.clone(), 1)));
    // The first check confirms what was told: the same image, no new item, and now it is known what it is.
    eventually("the check has seen the image", &|| {
        let events = ok(&client, "events");
        ["prod still is", "live still is", "import of prod finished"].iter().all(|line| events.contains(line))
    });
    ok(&client, "describe istag app:live");
    assert_eq!((points_to("prod"), points_to("live")), (Some((now.clone(), 2)), Some((now.clone(), 2))));
    let head = client.head().expect("status");
    let asked = registry.asked();
    eventually("it is checked some more times", &|| registry.asked() >= asked + 3);
    assert_eq!(client.head().expect("status"), head, "what has not moved writes nothing");
    // Who asks why hears of the document still.
    assert!(ok(&client, "why app:prod").contains("told by standard input (sha256:"));

    // The schedule moves the tag, and the alias follows.
    registry.rebuild();
    let next = registry.digest();
    eventually("the schedule moves the tag", &|| points_to("prod") == Some((next.clone(), 3)));
    assert_eq!(points_to("live"), Some((next, 3)));
    // What was only told can be copied and gone back to.
    ok(&client, &format!("tag app@{old} app:oldest"));
    assert_eq!(points_to("oldest"), Some((old.into(), 1)));
    let back = ok(&client, &format!("rollback app:prod --to {old}"));
    assert!(back.contains(old), "{back}");
    assert_eq!(points_to("live").map(|(image, _)| image), Some(old.into()));
}

#[test]
fn one_that_fails_does_not_stop_the_others() {
    let server = server();
    let client = shop(&server);
    ok(&client, "create is app");
    let head = client.head().expect("status");
    let (rc, printed, complaint) = import(&client, &text("streams.yaml"), &[]);
    assert_eq!(rc, 1);
    assert_eq!(printed, "imagestream.image.openshift.io/python imported (2 tags, 5 history items)\n");
    let exists = "Error from server (AlreadyExists): imagestreams.image.openshift.io \"app\" already exists; it stays as it is; --to-namespace puts this one elsewhere\n";
    assert!(complaint.ends_with(exists), "{complaint}");
    assert_eq!(client.head().expect("status"), head + 9);
    // Elsewhere, by either flag; several documents; several files, one of which is not there.
    let twice =
        format!("{}---\n{}", text("python.yaml"), text("python.yaml").replace("name: python", "name: py"));
    let (rc, printed, _) = import(&client, &twice, &["--to-namespace", "archive"]);
    let both = "imagestream.image.openshift.io/python imported into archive (2 tags, 5 history items)\nimagestream.image.openshift.io/py imported into archive (2 tags, 5 history items)\n";
    assert_eq!((rc, printed.as_str()), (0, both));
    // An alias follows the tag of its own stream there, too.
    let alias =
        client.json(&["get", "itag", "python:latest", "-n", "archive", "-o", "json"]).expect("the tag");
    assert_eq!(alias["spec"]["from"], json!({ "kind": "ImageStreamTag", "name": "python:3.6" }));
    let python = document("python.yaml");
    let words = ["import-openshift", "/nowhere.yaml", python.to_str().expect("a path"), "-n", "old"];
    let printed = client.run(&words).expect("tagtrail runs");
    assert_eq!(printed.rc, 1);
    assert_eq!(printed.stderr, "error: cannot read /nowhere.yaml: No such file or directory (os error 2)\n");
    assert!(printed.stdout.starts_with("imagestream.image.openshift.io/python imported"), "{printed:?}");
}

#[test]
fn what_was_deleted_since_does_not_come_back_by_itself() {
    let server = server();
    let client = shop(&server);
    let python = text("python.yaml");
    assert_eq!(import(&client, &python, &[]).0, 0);
    ok(&client, "delete is python");
    let (rc, printed, complaint) = import(&client, &python, &[]);
    assert_eq!((rc, printed.as_str()), (1, ""));
    assert!(
        complaint.contains("has been deleted since: 'tagtrail restore python' brings it back"),
        "{complaint}"
    );
    assert_eq!(import(&client, &python, &["--request-id", "once more"]).0, 0);
    assert!(ok(&client, "describe is python").contains("3.6 (latest)"));
}

#[test]
fn bad_documents_are_refused_in_a_sentence() {
    let server = server();
    let client = shop(&server);
    let python = text("python.yaml");
    let check = |document: &str, want: &str| {
        let (rc, printed, complaint) = import(&client, document, &[]);
        assert_eq!((rc, printed.as_str()), (1, ""), "{want}");
        let last = complaint.lines().last().expect("a sentence");
        assert!(last.contains(want), "{last}\n is not \n{want}");
        assert_eq!(client.head().expect("status"), 0, "{want}");
    };
    check("", "standard input: there is no image stream in it");
    check("NAME   TAGS\n", "standard input: line 1: there is no object here, such as an image stream");
    check("a: [\n", "standard input: it is not YAML: line ");
    check("{\"kind\": ", "standard input: it is not JSON: EOF while parsing a value at line 1 column 9");
    check("kind: Secret\nmetadata:\n  name: x\n", "standard input: there is no image stream in it");
    let changed = |from: &str, to: &str| {
        assert!(python.contains(from), "{from}");
        python.replacen(from, to, 1)
    };
    let first = "53db7cb8e11d4fe478424106b625a9523933805cb4c2b6b84adc80b63dc47c2e";
    check(
        &changed(&format!("image: sha256:{first}"), "image: sha256:12"),
        "The ImageStream \"python\" is invalid: status.tags[3.6].items[0].image: Invalid value: \"sha256:12\": ",
    );
    check(
        &changed("2018-01-15T06:00:00Z", "in January"),
        "standard input: the image stream \"shop/python\" cannot be read: status.tags[3.6].items[1].created: a time, such as 2018-11-27T14:03:05Z, should stand here, and there is \"in January\"",
    );
    check(
        &changed("name: latest", "name: the latest"),
        "spec.tags[the latest]: invalid tag \"the latest\" format",
    );
    check(
        &changed("name: python\n", "name: Python\n"),
        "The ImageStream \"Python\" is invalid: metadata.name",
    );
    check(
        &changed("generation: 4\n", "generation: four\n"),
        "metadata.generation: a whole number should stand here",
    );
    check(&changed("namespace: shop", "namespace: Shop"), "\"Shop\" is not a namespace");
    check(
        &changed("  name: python\n  namespace: shop\n", "  name: log\n  namespace: tagtrail-system\n"),
        "\"tagtrail-system/log\" is the name under which the log tells of itself",
    );
    check(
        &changed("kind: ImageStream\n", "kind: ImageStream\nitems: &all []\n"),
        "anchors (&) and aliases (*)",
    );
}

/// A thousand items of each of twenty tags are more than a run takes: the oldest are left out, and it is said how many.
#[test]
fn a_very_long_history_is_cut_and_said() {
    let server = server();
    let client = shop(&server);
    let item = |number: usize| {
        let image = format!("sha256:{number:064x}");
        json!({
            "created": "2018-02-01T09:00:00Z", "dockerImageReference": format!("quay.io/shop/app@{image}"),
            "image": image, "generation": 1,
        })
    };
    let tags: Vec<Value> = (0..20)
        .map(|tag| json!({ "tag": format!("t{tag}"), "items": (0..1000).map(|n| item(tag * 1000 + n)).collect::<Vec<_>>() }))
        .collect();
    let stream = json!({ "kind": "ImageStream", "metadata": { "name": "app" }, "status": { "tags": tags } });
    let (rc, printed, complaint) =
        import(&client, &stream.to_string(), &["--reason", &"because ".repeat(60)]);
    assert_eq!((rc, complaint.as_str()), (0, ""));
    let numbers: Vec<usize> =
        printed.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect();
    let [tags, items, left_out] = numbers[..] else { panic!("{printed}") };
    assert_eq!((tags, items + left_out), (20, 20_000), "{printed}");
    assert!(items > 5_000 && left_out > 0, "{printed}");
    // The newest stay.
    let newest = client.json(&["get", "is", "app", "-o", "json"]).expect("the stream");
    let newest = comparable(newest);
    assert_eq!(newest["status"]["tags"][0]["items"][0]["image"], format!("sha256:{:064x}", 0));
}
