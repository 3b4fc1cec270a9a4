//! Checks that nobody asks for: each tag once in its interval, however many there are; registries spared; failures
//! tried again; and a list that tells of all this.

use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;
use tagtrail_api::v1::event::Fact;
use tagtrail_api::v1::{Event, FailureKind};
use tagtrail_tests::client::Client;
use tagtrail_tests::faulty::{Fault, Faulty};
use tagtrail_tests::process::free_port;
use tagtrail_tests::registry::{Access, Asked, Registry, Storage};
use tagtrail_tests::server::{Options, Server};
use tagtrail_tests::wait;

use crate::api::Api;

const SOON: Duration = Duration::from_secs(20);

fn configured(import: &str) -> Server {
    let options = Options { config: format!("[import]\n{import}\n"), ..Options::default() };
    Server::start(options).expect("the server starts")
}

fn done(client: &Client, line: &str) {
    let printed = client.run(&line.split(' ').collect::<Vec<_>>()).expect("tagtrail runs");
    assert_eq!(printed.rc, 0, "{line}: {printed:?}");
}

fn fails(client: &Client, line: &str) {
    let printed = client.run(&line.split(' ').collect::<Vec<_>>()).expect("tagtrail runs");
    assert_eq!(printed.rc, 1, "{line}: {printed:?}");
}

/// What `get schedule` knows of a tag.
fn known(client: &Client, tag: &str) -> Value {
    client.json(&["get", "schedule", tag, "-o", "json"]).expect("the tag is on the list")
}

fn failures(events: &[Event]) -> Vec<FailureKind> {
    let failure = |event: &Event| match &event.fact {
        Some(Fact::ImportFailed(failed)) => failed.failure.as_ref().map(|failure| failure.kind()),
        _ => None,
    };
    events.iter().filter_map(failure).collect()
}

/// The image is not there when the tag is set, and comes later. Meanwhile the same failure is not written twice.
#[test]
fn a_tag_that_failed_is_tried_again_until_it_works() {
    let registry = Faulty::start().expect("a registry");
    let server = configured("first_retry = '1s'\nlongest_retry = '2s'");
    let client = server.client();
    registry.turn(Fault::NotFound);
    fails(&client, &format!("tag {}/team/app:v1 app:v1 --insecure --wait", registry.host()));
    let failed = client.head().expect("status");
    assert_eq!(known(&client, "app:v1")["spec"]["scheduled"], false);
    wait::until(SOON, || (registry.asked() >= 4).then_some(())).expect("it is asked again and again");
    assert_eq!(client.head().expect("status"), failed, "the same failure is not news");
    let schedule = known(&client, "app:v1");
    assert_eq!(schedule["status"]["result"], "failed", "{schedule}");
    assert_eq!(schedule["status"]["failure"], "not found", "{schedule}");

    registry.turn(Fault::None);
    let moved = || {
        let events = Api::of(&server).events_after(failed);
        events.into_iter().find(|event| matches!(event.fact, Some(Fact::TagMoved(_))))
    };
    let moved = wait::until(SOON, moved).expect("the image is imported at last");
    assert_eq!(moved.command, "background-import");
    // By the failure before it, and that by the wish.
    let cause = |event: &Event| Api::of(&server).events_after(event.caused_by - 1).remove(0);
    let failure = cause(&moved);
    let wish = cause(&failure);
    assert_eq!((failure.command.as_str(), wish.command.as_str()), ("background-import", "tag"));
    assert_eq!(wish.caused_by, 0);
    let gone = client.run(&["get", "schedule", "app:v1"]).expect("tagtrail runs");
    assert_eq!(gone.rc, 1, "there is nothing to check any more: {gone:?}");
}

/// Registries put request ids into what they say. To a check that is the same failure; a person hears all of it.
#[test]
fn a_failure_in_other_words_is_written_for_people_only() {
    let registry = Faulty::start().expect("a registry");
    let server = configured("scheduled_interval = '1s'\nfirst_retry = '1s'\nlongest_retry = '1s'");
    let client = server.client();
    registry.turn(Fault::DeniedAnew);
    for (tag, schedule) in [("failed", ""), ("scheduled", " --scheduled")] {
        let before = registry.asked();
        fails(&client, &format!("tag {}/team/app:v1 app:{tag} --insecure{schedule} --wait", registry.host()));
        let head = client.head().expect("status");
        wait::until(SOON, || (registry.asked() >= before + 5).then_some(())).expect("it is tried again");
        assert_eq!(client.head().expect("status"), head, "{tag}: the same failure in other words is no news");
    }
    let before = client.head().expect("status");
    fails(&client, "import-image app:failed");
    assert_eq!(failures(&Api::of(&server).events_after(before)), [FailureKind::Denied]);
}

#[test]
fn what_a_registry_refuses_is_told_apart() {
    let registry = Faulty::start().expect("a registry");
    let server = configured("");
    let client = server.client();
    for (fault, kind) in [
        (Fault::NotFound, FailureKind::NotFound),
        (Fault::Unauthorized, FailureKind::Unauthorized),
        (Fault::Denied, FailureKind::Denied),
        (Fault::TooManyRequests, FailureKind::RateLimited),
        (Fault::InternalError, FailureKind::BadAnswer),
    ] {
        registry.turn(fault);
        let before = client.head().expect("status");
        fails(&client, &format!("tag {}/team/app:v1 app:v1 --insecure --wait", registry.host()));
        assert_eq!(failures(&Api::of(&server).events_after(before)), [kind], "{fault:?}");
    }
}

/// A registry that has much to do is left alone for as long as it says, in seconds or as a time; that says nothing of
/// the tag, so that nothing is written.
#[test]
fn a_registry_that_wants_to_be_left_alone_is() {
    for date in [false, true] {
        let registry = Faulty::start().expect("a registry");
        let server = configured("scheduled_interval = '1s'");
        let client = server.client();
        for tag in ["v1", "v2", "v3"] {
            done(
                &client,
                &format!("tag {}/team/app:v1 app:{tag} --insecure --scheduled --wait", registry.host()),
            );
        }
        let head = client.head().expect("status");
        let until = SystemTime::now() + Duration::from_secs(5);
        registry.turn(if date { Fault::BusyUntil(until) } else { Fault::BusyFor(4) });
        let asked = registry.asked();
        let busy = wait::until(SOON, || (registry.asked() > asked).then_some(Instant::now()));
        let busy = busy.expect("it is asked at least once");
        // Those that were under way.
        sleep(Duration::from_millis(500));
        let asked = registry.asked();
        let schedule = client.json(&["get", "schedule", "-o", "json"]).expect("the list");
        let results: Vec<&Value> = ["0", "1", "2"]
            .iter()
            .map(|n| &schedule["items"][n.parse::<usize>().expect("a number")]["status"])
            .filter(|status| status["result"] == "put off")
            .collect();
        assert!(!results.is_empty(), "{schedule}");
        assert!(results.iter().all(|status| status["failure"] == "rate limited"), "{schedule}");
        registry.turn(Fault::None);
        while busy.elapsed() < Duration::from_millis(2_800) {
            assert_eq!(registry.asked(), asked, "it is left alone, {:?} after it said so", busy.elapsed());
            sleep(Duration::from_millis(20));
        }
        let resumed = wait::until(SOON, || (registry.asked() >= asked + 3).then_some(()));
        resumed.expect("afterwards it is asked again");
        assert_eq!(client.head().expect("status"), head, "nothing has moved and nothing is written");
    }
}

/// What is late gets later while nothing happens at all, and whoever measures it is told.
#[test]
fn an_alarm_hears_of_late_checks() {
    let registry = Faulty::start().expect("a registry");
    let server = configured("scheduled_interval = '1s'\nrequests_per_second = 0.1");
    let client = server.client();
    // The import has spent what the check needs.
    done(&client, &format!("tag {}/team/app:v1 app:v1 --insecure --scheduled --wait", registry.host()));
    let late = || known(&client, "app:v1")["status"]["lateSeconds"].as_f64().filter(|late| *late >= 3.0);
    let late = wait::until(SOON, late).expect("the check waits for its turn");
    let measured = server.metric("tagtrail_checks_late_seconds").expect("it is measured");
    assert!(measured >= late, "{measured} s at {late} s");
    let why = known(&client, "app:v1")["status"]["lateBecause"].to_string();
    assert!(why.contains("(requests_per_second); checks before it: 0"), "{why}");
}

/// A HEAD tells that nothing has moved, also after a restart, and also for one image of an index.
#[test]
fn an_unchanged_tag_costs_no_pull() {
    let storage = Storage::shared().expect("the standard content");
    let registry =
        Registry::serve(&storage, free_port().expect("a port"), Access::Anonymous).expect("a registry");
    let mut server = configured("scheduled_interval = '1s'");
    for (source, tag) in [("library/python:3.7", "plain"), ("team/multi:list", "index")] {
        let line = format!("tag {}/{source} app:{tag} --insecure --scheduled --wait", registry.host());
        done(&server.client(), &line);
    }
    for restarted in [false, true] {
        if restarted {
            server.kill().expect("it can be killed");
            server.restart().expect("it starts again");
        }
        let before = registry.asked().expect("a log").len();
        let head = server.client().head().expect("status");
        let heads = |asked: &[Asked]| asked.iter().filter(|asked| asked.method == "HEAD").count();
        let asked = || registry.asked().expect("a log").split_off(before);
        wait::until(SOON, || (heads(&asked()) >= 6).then_some(())).expect("both are looked at");
        let pulls: Vec<Asked> =
            asked().into_iter().filter(|a| a.method == "GET" && a.path != "/v2/").collect();
        assert_eq!(pulls, [], "restarted: {restarted}");
        assert_eq!(server.client().head().expect("status"), head);
    }
}

/// What was pushed together arrives in one commit, whichever of the tags was due first. What has not moved stays.
#[test]
fn tags_that_moved_together_move_in_one_commit() {
    let storage = Storage::filled().expect("the standard content");
    let push = |from: &str, to: &[&str]| {
        let to = to.iter().map(|tag| (*tag).to_owned());
        storage.copy_tag("team/moving", from, to).expect("tags");
    };
    push("previous", &["a", "b", "c"]);
    let registry =
        Registry::serve(&storage, free_port().expect("a port"), Access::Anonymous).expect("a registry");
    let server = configured("scheduled_interval = '3s'");
    let client = server.client();
    for tag in ["a", "b", "c"] {
        let source = format!("{}/team/moving:{tag}", registry.host());
        done(&client, &format!("tag {source} app:{tag} --insecure --scheduled --wait"));
    }
    done(&client, "tag app:b app:alias --alias");
    let generation = |stream: &Value| stream["metadata"]["generation"].as_u64().expect("a generation");
    let before = generation(&client.json(&["get", "is", "app", "-o", "json"]).expect("the stream"));
    push("current", &["a", "b"]);
    let stream = wait::until(SOON, || {
        let stream = client.json(&["get", "is", "app", "-o", "json"]).expect("the stream");
        (generation(&stream) > before).then_some(stream)
    });
    let stream = stream.expect("it follows");
    let items: Vec<usize> = stream["status"]["tags"]
        .as_array()
        .expect("tags")
        .iter()
        .map(|tag| tag["items"].as_array().expect("items").len())
        .collect();
    assert_eq!(items, [2, 2, 2, 1], "a, alias, b and c: {stream:#}");
    assert_eq!(generation(&stream), before + 1);
}

#[test]
fn a_tag_may_have_an_interval_of_its_own() {
    let registry = Faulty::start().expect("a registry");
    let server = configured("");
    let client = server.client();
    let source = format!("{}/team/app:v1", registry.host());
    done(&client, &format!("tag {source} app:often --insecure --scheduled --interval 1s --wait"));
    done(&client, &format!("tag {source} app:seldom --insecure --scheduled --wait"));
    assert_eq!(known(&client, "app:seldom")["spec"]["interval"], "15m");
    assert_eq!(known(&client, "app:often")["spec"]["interval"], "1s");
    registry.rebuild();
    let stream = || client.json(&["get", "is", "app", "-o", "json"]).expect("the stream");
    let newest = |stream: &Value, tag: &str| {
        let tags = stream["status"]["tags"].as_array().cloned().unwrap_or_default();
        let tag = tags.into_iter().find(|status| status["tag"] == tag).expect("the tag");
        tag["items"][0]["image"].as_str().unwrap_or_default().to_owned()
    };
    let moved = wait::until(SOON, || (newest(&stream(), "often") == registry.digest()).then_some(()));
    moved.expect("it follows");
    assert_ne!(newest(&stream(), "seldom"), registry.digest());
    assert_eq!(known(&client, "app:often")["metadata"]["name"], "app:often");
}
