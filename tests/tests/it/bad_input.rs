//! Whatever is wrong with what comes in, it is said in one clear sentence, nothing is lost and nothing is half done.

use std::fs;

use serde_json::Value;
use tagtrail_api::v1::ReadEventsRequest;
use tagtrail_api::v1::event::Fact;
use tagtrail_api::v1::event_service_client::EventServiceClient;
use tagtrail_tests::client::{Client, Printed};
use tagtrail_tests::faulty::{self, Fault, Faulty};
use tagtrail_tests::server::{Options, Server};

/// Runs a command line that has to be refused, and sees that nothing happened.
struct Refusals {
    client: Client,
    head: u64,
}

impl Refusals {
    fn of(server: &Server) -> Refusals {
        let client = server.client();
        let head = client.head().expect("status");
        Refusals { client, head }
    }

    /// Words are separated by blanks; a sentence contains `expected`.
    fn check(&self, line: &str, expected: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        self.check_words(&words, expected);
    }

    fn check_words(&self, words: &[&str], expected: &str) {
        let printed = self.client.run(words).expect("tagtrail runs");
        let shown = words.join(" ").chars().take(100).collect::<String>();
        assert_eq!(printed.rc, 1, "{shown}: {printed:?}");
        assert_eq!(printed.stdout, "", "{shown}");
        let sentence = one_sentence(&printed).unwrap_or_else(|what| panic!("{shown}: {what}: {printed:?}"));
        assert!(sentence.contains(expected), "{shown}\n  says {sentence}\n  not  {expected}");
        assert_eq!(self.client.head().expect("status"), self.head, "{shown} changed something");
    }
}

/// The one line of stderr that says what was wrong. A second line may point to the help.
fn one_sentence(printed: &Printed) -> Result<&str, &'static str> {
    let mut lines = printed.stderr.lines();
    let sentence = lines.next().ok_or("says nothing")?;
    if lines.next().is_some_and(|line| !line.starts_with("See '")) || lines.next().is_some() {
        return Err("says more than a sentence");
    }
    // OpenShift's sentences repeat what was typed, however long that was: nobody has to read it again.
    let read: Vec<&str> = sentence.split(' ').filter(|word| word.len() < 100).collect();
    if !is_for_people(&read.join(" ")) {
        return Err("speaks to programmers");
    }
    Ok(sentence)
}

/// No trace of a panic, of debug output or of a backtrace, and not longer than one would read.
fn is_for_people(sentence: &str) -> bool {
    let inner = ["panicked", "Some(", "Err(", " { ", "message: \"", "reqwest", "tonic", "backtrace", "RUST_"];
    (10..=600).contains(&sentence.len()) && !inner.iter().any(|mark| sentence.contains(mark))
}

/// Streams `app` (tag `v1`, an image of `faulty`) in namespace `test`.
fn server_with_app(faulty: &Faulty) -> Server {
    let server = Server::start(Options::default()).expect("the server starts");
    let from = format!("--from={}/team/app:v1", faulty.host());
    let printed =
        server.client().run(&["import-image", "app:v1", &from, "--insecure", "--confirm"]).expect("tagtrail");
    assert_eq!(printed.rc, 0, "{printed:?}");
    server
}

#[test]
fn names_references_and_digests() {
    let faulty = Faulty::start().expect("a registry");
    let server = server_with_app(&faulty);
    let refused = Refusals::of(&server);
    let long = |length: usize| "x".repeat(length);

    let image_name =
        "error: the image name must be a valid container image pull spec or reference to an image stream";
    refused.check("import-image App:v1 --from=team/app:v1 --confirm", image_name);
    refused.check("import-image app:-bad --from=team/app:v1 --confirm", image_name);
    refused.check("import-image app: --from=team/app:v1 --confirm", image_name);
    refused.check("import-image", image_name);
    refused.check("import-image new:v1 --from=team/App:v1 --confirm", "repository name must be lowercase");
    refused.check("import-image new:v1 --from=a/b/c/d:v1:x --confirm", "invalid reference format");
    refused.check("import-image new:v1 --from=team/app@sha256:123 --confirm", "invalid reference format");
    refused.check(
        &format!("import-image new:v1 --from=team/{} --confirm", long(5_000)),
        "repository name must not be",
    );
    refused.check(
        "import-image new:v1 --from=team/app:v1",
        "no image stream named \"new\" exists, pass --confirm",
    );

    refused.check("tag app:v1 app:-bad", "invalid tag \"-bad\" format");
    refused.check(&format!("tag app:v1 app:{}", long(129)), "have a maximum of 128 characters");
    refused.check("tag app:v1 app:v1:x", "invalid tag \"v1:x\" format");
    refused.check("tag app:v1 app", "\"app\" must be of the form <stream_name>:<tag>");
    refused.check("tag app:v1 App:x", "The ImageStream \"App\" is invalid: metadata.name");
    refused.check("tag app:v1", "at least a destination is required");
    refused.check("tag", "you must specify a source and at least one destination");
    refused.check("tag a/b/c:v1 app:ok", "invalid resource name \"b/c\"");
    refused.check("tag app:v1 app:x --reference-policy=bogus", "'source' or 'local'");
    refused.check("tag app:v1 app:x --import-mode=Bogus", "Legacy or PreserveOriginal");

    refused.check("create imagestream App", "App");
    refused.check(&format!("create imagestream {}", long(300)), "is invalid");
    refused.check("create istag app", "app");
    refused.check("get istag app", "ImageStreamTags must be retrieved with <name>:<tag>");
    refused.check("get isimage app", "ImageStreamImages must be retrieved with <name>@<id>");
    refused.check("get nonsense", "nonsense");
    refused.check("get is -o nonsense", "nonsense");
    refused.check("get is -l a==b==c", "a==b==c");
    refused.check("create secret docker-registry reg", "either --from-file or the combination of");
    refused.check("create secret docker-registry", "exactly one NAME is required, got 0");
    refused.check("create secret generic reg", "give --type=kubernetes.io/dockerconfigjson");
    refused.check(
        "create secret docker-registry reg --from-file=/no/such",
        "error reading /no/such: no such file",
    );
    refused.check("create secret docker-registry reg --from-file=/dev/null", "is not a Docker configuration");
    refused.check("get secret reg", "secrets \"reg\" not found");
    refused.check("delete secret reg", "secrets \"reg\" not found");
    refused.check("delete secrets -l a=b", "secrets have no labels");
    refused.check("delete secret reg --request-id=x", "--request-id is for what stands in the log");
    // A namespace that cannot be holds nothing, and nothing can be put there.
    refused.check("get is app -n No/Such", "No/Such");
    refused.check("create imagestream new -n No/Such", "No/Such");
}

#[test]
fn unknown_things() {
    let faulty = Faulty::start().expect("a registry");
    let server = server_with_app(&faulty);
    let refused = Refusals::of(&server);
    let stream = "imagestreams.image.openshift.io \"nosuch\" not found";

    refused.check("get is nosuch", stream);
    refused.check("describe is nosuch", stream);
    refused.check("delete is nosuch", stream);
    refused.check("annotate is nosuch a=b", stream);
    refused.check("label is nosuch a=b", stream);
    refused.check("set image-lookup nosuch", stream);
    refused.check("tag nosuch:v1 app:x", "nosuch");
    refused.check("tag app:nosuch app:x", "nosuch");
    refused.check("tag -d nosuch:x", "nosuch");
    refused.check("tag -d app:nosuch", "nosuch");
    refused.check("import-image nosuch", "no image stream named \"nosuch\" exists");
    refused.check("get istag app:nosuch", "imagestreamtags.image.openshift.io \"app:nosuch\" not found");
    refused.check("delete istag app:nosuch", "app:nosuch");
    refused.check("get isimage app@sha256:ffff", "app@sha256:ffff");
}

#[test]
fn too_much() {
    let faulty = Faulty::start().expect("a registry");
    let server = server_with_app(&faulty);
    let refused = Refusals::of(&server);
    let long = |length: usize| "x".repeat(length);

    // One argument of a command line is 128 KiB at most, so the total of 256 KiB takes three.
    let annotations: Vec<String> = (0..3).map(|i| format!("big{i}={}", long(100_000))).collect();
    let mut words = vec!["annotate", "is", "app"];
    words.extend(annotations.iter().map(String::as_str));
    refused.check_words(&words, "annotations");
    refused.check(&format!("label is app a={}", long(64)), "63");
    refused.check(&format!("label is app {}=b", long(64)), "63");
    refused.check("label is app a/b/c=d", "a/b/c");
    refused.check(&format!("tag app:v1 app:x --reason {}", long(4_097)), "4096");
    refused.check(&format!("tag app:v1 app:x --request-id {}", long(129)), "128");
    refused.check("tag app:v1 app:x --expect-revision 12345", "12345");
}

#[test]
fn a_server_that_is_not_there() {
    let faulty = Faulty::start().expect("a registry");
    let server = server_with_app(&faulty);
    let client = server.client();
    for (url, expected) in
        [("http://127.0.0.1:1", "127.0.0.1:1"), ("not a url", "not a url"), ("http://", "http://")]
    {
        let printed = client.run(&["get", "is", "--server", url]).expect("tagtrail runs");
        assert_eq!(printed.rc, 1, "{url}: {printed:?}");
        let sentence = one_sentence(&printed).unwrap_or_else(|what| panic!("{url}: {what}: {printed:?}"));
        assert!(sentence.contains(expected), "{url}: {sentence}");
    }
}

/// A registry's fault leaves a good tag as it is: the log gets the failure, and nothing else. (The tag's spec moves to the
/// generation that the failure answers, or it would be tried for ever; specification §3.6.)
#[test]
fn a_registry_that_does_wrong() {
    let faulty = Faulty::start().expect("a registry");
    let server = server_with_app(&faulty);
    let check = |fault: Fault, expected: &str| failed_import(&server, &faulty, fault, expected);
    check(Fault::OtherConfig, "digest");
    check(Fault::WebPage, "invalid character '<' looking for beginning of value");
    check(Fault::NoJson, "");
    check(Fault::DeepJson, "");
    check(Fault::NoConfig, "config");
    check(Fault::NoHttp, "");
    check(Fault::CutShort, "");
    check(Fault::Endless, "");
    check(Fault::HangUp, "");
    check(Fault::InternalError, "received unexpected HTTP status: 500 Internal Server Error");
    check(Fault::TooManyRequests, "toomanyrequests: You have reached your pull rate limit.");
    check(Fault::RedirectLoop, "redirect");
    every_blob_is_what_it_is_called(&server);
}

/// A digest is computed from the bytes that came; what a registry says about them is not even looked at.
#[test]
fn a_header_that_lies_about_a_digest() {
    let faulty = Faulty::start().expect("a registry");
    let server = server_with_app(&faulty);
    faulty.rebuild();
    faulty.turn(Fault::LyingHeader);
    let printed = server.client().run(&["import-image", "app:v1"]).expect("tagtrail");
    assert_eq!(printed.rc, 0, "{printed:?}");
    assert_eq!(items(&server)[0]["image"], *faulty.digest());
    every_blob_is_what_it_is_called(&server);
}

/// A digest that was asked for is what comes, or nothing does.
#[test]
fn another_image_under_a_digest() {
    let faulty = Faulty::start().expect("a registry");
    let server = server_with_app(&faulty);
    faulty.rebuild();
    faulty.turn(Fault::OtherManifest);
    let from = format!("--from={}/team/app@{}", faulty.host(), faulty.digest());
    let printed =
        server.client().run(&["import-image", "new:v1", &from, "--insecure", "--confirm"]).expect("tagtrail");
    let sentence = failure(&printed).unwrap_or_else(|what| panic!("{what}: {printed:?}"));
    assert!(sentence.contains("digest"), "{sentence}");
    every_blob_is_what_it_is_called(&server);
}

#[test]
fn a_registry_that_is_down() {
    let faulty = Faulty::start().expect("a registry");
    let server = server_with_app(&faulty);
    let host = faulty.host();
    drop(faulty);
    let before = items(&server);
    let printed = server.client().run(&["import-image", "app:v1"]).expect("tagtrail");
    let sentence = failure(&printed).unwrap_or_else(|what| panic!("{what}: {printed:?}"));
    assert!(sentence.contains(&format!("dial tcp {host}: connect: connection refused")), "{sentence}");
    assert_eq!(items(&server), before);
}

fn failed_import(server: &Server, faulty: &Faulty, fault: Fault, expected: &str) {
    let client = server.client();
    let (before, head) = (items(server), client.head().expect("status"));
    // Were the fault not seen, the tag would move.
    faulty.rebuild();
    faulty.turn(fault);
    let printed = client.run(&["import-image", "app:v1"]).expect("tagtrail");
    let sentence = failure(&printed).unwrap_or_else(|what| panic!("{fault:?}: {what}: {printed:?}"));
    assert!(sentence.contains(expected), "{fault:?}: {sentence}");
    assert_eq!(items(server), before, "{fault:?}: history");
    let facts = facts_after(server, head);
    assert_eq!(facts, ["set", "failed", "finished"], "{fault:?}");

    faulty.turn(Fault::None);
    let printed = client.run(&["import-image", "app:v1"]).expect("tagtrail");
    assert_eq!(printed.rc, 0, "honest after {fault:?}: {printed:?}");
    assert_eq!(items(server)[0]["image"], *faulty.digest(), "honest after {fault:?}");
}

/// The sentence of a failed import; `oc` adds a second line that says no more.
fn failure(printed: &Printed) -> Result<&str, &'static str> {
    if printed.rc != 1 {
        return Err("does not fail");
    }
    let lines: Vec<&str> = printed.stderr.lines().collect();
    match lines[..] {
        [sentence, "error: imported completed with errors"] if is_for_people(sentence) => {
            let told = sentence.starts_with("error: tag v1 failed: ")
                || sentence.starts_with("error: tag  failed: ");
            if told { Ok(sentence) } else { Err("does not say which tag") }
        }
        _ => Err("says something else than one sentence"),
    }
}

/// The history of `app:v1`.
fn items(server: &Server) -> Value {
    let stream = server.client().json(&["get", "is", "app", "-o", "json"]).expect("the stream");
    stream["status"]["tags"][0]["items"].clone()
}

/// The kinds of what has happened since `head`.
fn facts_after(server: &Server, head: u64) -> Vec<&'static str> {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let events = runtime.block_on(async {
        let mut client = EventServiceClient::connect(server.url()).await.expect("a connection");
        let request = ReadEventsRequest { from_sequence: head + 1, ..Default::default() };
        client.read_events(request).await.expect("events").into_inner().events
    });
    let kind = |fact: Option<Fact>| match fact.expect("every event says what happened") {
        Fact::TagSet(_) => "set",
        Fact::ImportFailed(_) => "failed",
        Fact::ImportFinished(_) => "finished",
        _ => "something else",
    };
    events.into_iter().map(|event| kind(event.fact)).collect()
}

/// Nothing a registry sent is kept under a digest that is not its own.
fn every_blob_is_what_it_is_called(server: &Server) {
    let mut blobs = 0;
    for entry in fs::read_dir(server.data().join("blobs").join("sha256")).expect("there are blobs") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        assert_eq!(faulty::digest(&fs::read(&path).expect("a blob")), format!("sha256:{name}"));
        blobs += 1;
    }
    assert!(blobs > 0);
}
