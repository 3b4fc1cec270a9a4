//! Rollback that sticks: the tag stays where it was taken back to, whatever the registry, the schedule or another tag does,
//! over restarts; and goes on where it would be when it is released.

use std::time::Duration;

use tagtrail_api::v1::event::Fact;
use tagtrail_api::v1::*;
use tagtrail_tests::faulty::{Fault, Faulty};
use tagtrail_tests::server::{Options, Server};
use tagtrail_tests::wait;
use tonic::Code;

use crate::api::Api;
use crate::pool::{HERE, Pool, image, set, tag};

/// Every second, so that a test need not wait long.
const SCHEDULED: ImportPolicy =
    ImportPolicy { insecure: true, scheduled: true, import_mode: 0, interval_seconds: 1 };

fn rollback(tag: &str) -> RollbackRequest {
    let write = Some(WriteOptions {
        actor: "ana".into(),
        reason: "the new one is broken".into(),
        ..WriteOptions::default()
    });
    RollbackRequest {
        namespace: HERE.into(),
        name: "app".into(),
        tag: tag.into(),
        write,
        ..Default::default()
    }
}

fn release(tag: &str) -> ReleaseRequest {
    ReleaseRequest { namespace: HERE.into(), name: "app".into(), tag: tag.into(), write: None }
}

/// Waits until something is so.
fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let found = wait::until(Duration::from_secs(30), || is_so().then_some(()));
    assert!(found.is_some(), "{what}: not within 30 seconds");
}

/// The digest that a tag points to.
fn points_to(api: &Api, tag: &str) -> String {
    let request =
        GetTagRequest { namespace: HERE.into(), name: "app".into(), tag: tag.into(), ..Default::default() };
    api.ok(api.tags().get_tag(request)).tag.and_then(|tag| tag.image).expect("an image").digest
}

/// What a held tag would point to.
fn withheld(api: &Api, tag: &str) -> Option<String> {
    let request = GetImageStreamRequest { namespace: HERE.into(), name: "app".into(), ..Default::default() };
    let stream = api.ok(api.streams().get_image_stream(request)).stream.expect("a stream");
    let status = stream.statuses.into_iter().find(|status| status.tag == tag).expect("the tag");
    status.hold.expect("it is held").withheld.map(|item| item.image)
}

#[test]
fn a_rollback_holds_against_the_schedule() {
    let registry = Faulty::start().expect("a registry");
    let mut server = Server::start(Options::default()).expect("the server starts");
    let api = Api::of(&server);
    let source = TagSource {
        kind: SourceKind::DockerImage.into(),
        namespace: String::new(),
        name: format!("{}/team/app:v1", registry.host()),
    };
    let set = SetTagRequest { import_policy: Some(SCHEDULED), wait_ms: 30_000, ..set("app", "prod", source) };
    api.ok(api.tags().set_tag(set));
    let first = registry.digest();
    api.ok(api
        .tags()
        .set_tag(SetTagRequest { alias: true, ..crate::pool::set("app", "live", tag("app:prod")) }));
    registry.rebuild();
    let second = registry.digest();
    eventually("the schedule moves the tag", || points_to(&api, "prod") == second);
    assert_eq!(points_to(&api, "live"), second);

    // Back, and the alias with it. What it follows, and its schedule, are as they were.
    let back = api.ok(api.tags().rollback(rollback("prod")));
    assert_eq!(back.to.as_ref().map(|item| item.image.clone()), Some(first.clone()));
    assert_eq!(back.from.as_ref().map(|item| item.image.clone()), Some(second.clone()));
    assert_eq!((points_to(&api, "prod"), points_to(&api, "live")), (first.clone(), first.clone()));
    let spec = |api: &Api| {
        let request =
            GetImageStreamRequest { namespace: HERE.into(), name: "app".into(), ..Default::default() };
        let stream = api.ok(api.streams().get_image_stream(request)).stream.expect("a stream");
        stream.tags.into_iter().find(|tag| tag.name == "prod").and_then(|tag| tag.spec).expect("a spec")
    };
    assert_eq!(spec(&api).import_policy.map(|policy| policy.scheduled), Some(true));
    assert!(spec(&api).source.expect("a source").name.ends_with("/team/app:v1"));

    // The schedule still looks. It tells once what it would have done.
    eventually("the schedule finds it again", || withheld(&api, "prod") == Some(second.clone()));
    let told = |api: &Api, digest: &str| {
        let of = |event: &&Event| matches!(&event.fact, Some(Fact::MoveWithheld(withheld)) if withheld.item.as_ref().is_some_and(|item| item.image == digest));
        api.events_after(0).iter().filter(of).count()
    };
    let (asked, head) = (registry.asked(), api.head());
    eventually("it was checked some more times", || registry.asked() >= asked + 3);
    assert_eq!((told(&api, &second), api.head()), (1, head), "told once");
    // Nor does anybody who asks for an import move it, or a restart.
    registry.rebuild();
    let third = registry.digest();
    let import = ImportRequest {
        namespace: HERE.into(),
        name: "app".into(),
        tag: "prod".into(),
        ..Default::default()
    };
    let answer = api.ok(api.imports().import(import));
    let hold = answer.results[0].hold.as_ref().expect("the answer tells of the hold");
    assert_eq!((hold.held_by.as_str(), hold.reason.as_str()), ("ana", "the new one is broken"));
    assert_eq!(withheld(&api, "prod"), Some(third.clone()));
    drop(api);
    server.kill().expect("the server can be killed");
    server.restart().expect("the server starts");
    let api = Api::of(&server);
    let asked = registry.asked();
    eventually("it is checked after the restart", || registry.asked() >= asked + 2);
    assert_eq!((points_to(&api, "prod"), points_to(&api, "live")), (first.clone(), first.clone()));
    // A failing registry is told as ever.
    registry.turn(Fault::NotFound);
    eventually("the failure shows", || {
        api.events_after(0)
            .iter()
            .any(|event| matches!(&event.fact, Some(Fact::ImportFailed(failed)) if failed.tag == "prod"))
    });
    registry.turn(Fault::None);
    assert_eq!(points_to(&api, "prod"), first);

    // Nobody sets it by the way.
    let words = "\"test/app:prod\" is held by ana (the new one is broken): nothing but a rollback moves it until it is released";
    let copy = crate::pool::set("app", "prod", tag("app:live"));
    api.refused(api.tags().set_tag(copy), Code::FailedPrecondition, words);

    // Released, it moves with the next check.
    api.ok(api.tags().release(release("prod")));
    eventually("the schedule moves the tag", || points_to(&api, "prod") == third);
    assert_eq!(points_to(&api, "live"), third);
    api.refused(api.tags().release(release("prod")), Code::FailedPrecondition, "\"app:prod\" is not held");
}

#[test]
fn a_hold_ends_when_its_time_is_up_over_a_restart() {
    let registry = Faulty::start().expect("a registry");
    let mut server = Server::start(Options::default()).expect("the server starts");
    let api = Api::of(&server);
    let pool = Pool::filled(&api, &registry, 2);
    api.ok(api.tags().set_tag(set("app", "edge", image(&pool.0[0]))));
    api.ok(api.tags().set_tag(SetTagRequest { alias: true, ..set("app", "prod", tag("app:edge")) }));
    let now = std::time::SystemTime::now();
    let hold = |ends: Duration| HoldRequest {
        namespace: HERE.into(),
        name: "app".into(),
        tag: "prod".into(),
        expires_at: Some((now + ends).into()),
        ..HoldRequest::default()
    };
    api.ok(api.tags().hold(hold(Duration::from_secs(3))));
    api.ok(api.tags().set_tag(set("app", "edge", image(&pool.0[1]))));
    assert_eq!(
        (points_to(&api, "prod"), withheld(&api, "prod")),
        (pool.0[0].clone(), Some(pool.0[1].clone()))
    );
    let past =
        HoldRequest { expires_at: Some((now - Duration::from_secs(5)).into()), ..hold(Duration::ZERO) };
    api.refused(api.tags().hold(past), Code::InvalidArgument, "the hold would end before it begins");
    drop(api);
    server.kill().expect("the server can be killed");
    server.restart().expect("the server starts");
    let api = Api::of(&server);
    // An alias follows at once.
    eventually("the tag is released", || points_to(&api, "prod") == pool.0[1]);
    let events = api.events_after(0);
    let released = events
        .iter()
        .find(|event| matches!(&event.fact, Some(Fact::TagReleased(released)) if released.expired));
    let released = released.expect("it was released");
    let actor = released.actor.as_ref().expect("an actor");
    assert_eq!(
        (actor.name.as_str(), actor.authenticated, released.command.as_str()),
        ("tagtrail", true, "release")
    );
    assert!(matches!(
        events
            .iter()
            .find(|event| event.sequence == released.caused_by)
            .and_then(|event| event.fact.as_ref()),
        Some(Fact::TagHeld(_))
    ));
}

#[test]
fn one_rollback_after_another_goes_further_back() {
    let registry = Faulty::start().expect("a registry");
    let server = Server::start(Options::default()).expect("the server starts");
    let api = Api::of(&server);
    let pool = Pool::filled(&api, &registry, 4);
    for digest in &pool.0 {
        api.ok(api.tags().set_tag(set("app", "prod", image(digest))));
    }
    for digest in pool.0.iter().rev().skip(1) {
        api.ok(api.tags().rollback(rollback("prod")));
        assert_eq!(points_to(&api, "prod"), *digest);
    }
    api.refused(
        api.tags().rollback(rollback("prod")),
        Code::FailedPrecondition,
        "has come from nothing else since it was created",
    );
    // To a sequence, to an image, to the beginning of its digest; and what is neither.
    let to = |to| RollbackRequest { to: Some(to), ..rollback("prod") };
    let third = api.events_after(0).iter().find(|event| {
        matches!(&event.fact, Some(Fact::TagMoved(moved)) if moved.tag == "prod" && moved.item.as_ref().is_some_and(|item| item.image == pool.0[2]))
    }).map(|event| event.sequence).expect("it was there");
    let back = api.ok(api.tags().rollback(to(rollback_request::To::Sequence(third))));
    assert_eq!((points_to(&api, "prod"), back.restored_sequence), (pool.0[2].clone(), third));
    api.ok(api.tags().rollback(to(rollback_request::To::Digest(pool.0[3].clone()))));
    assert_eq!(points_to(&api, "prod"), pool.0[3]);
    api.ok(api.tags().rollback(to(rollback_request::To::Digest(pool.0[1][..20].into()))));
    assert_eq!(points_to(&api, "prod"), pool.0[1]);
    let refused = |request, code, words| api.refused(api.tags().rollback(request), code, words);
    refused(
        to(rollback_request::To::Digest(pool.0[1].clone())),
        Code::FailedPrecondition,
        "already; to keep it there, hold it",
    );
    refused(
        to(rollback_request::To::Digest("sha256:0000".into())),
        Code::FailedPrecondition,
        "has never pointed to an image sha256:0000",
    );
    refused(
        to(rollback_request::To::Sequence(1)),
        Code::FailedPrecondition,
        "pointed to nothing at sequence 1",
    );
    refused(to(rollback_request::To::Sequence(1 << 40)), Code::OutOfRange, "the log ends at sequence");
    refused(rollback("nope"), Code::NotFound, "\"app:nope\" not found");
    // On a condition.
    let expecting = RollbackRequest {
        expected_image: pool.0[0].clone(),
        ..to(rollback_request::To::Digest(pool.0[2].clone()))
    };
    refused(expecting, Code::Aborted, "look again and retry");
    // Only tried.
    let head = api.head();
    let tried = api.ok(api
        .tags()
        .rollback(RollbackRequest { dry_run: true, ..to(rollback_request::To::Digest(pool.0[2].clone())) }));
    assert_eq!((api.head(), tried.to.map(|item| item.image)), (head, Some(pool.0[2].clone())));
}
