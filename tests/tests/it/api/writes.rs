//! What every write promises: it happens once, on the condition that was given, and the log says who and why.

use std::fmt::Debug;
use std::fs;

use tagtrail_api::v1::event::Fact;
use tagtrail_api::v1::*;
use tagtrail_tests::faulty::{Fault, Faulty};
use tagtrail_tests::server::{Options, Server};
use tokio::task::JoinSet;
use tonic::Code;

use super::{Api, HERE, copy, create, delete, get, import, point, source, under};

/// Makes again a request that was made, and says when, where the answer is another.
type Again = Box<dyn Fn(&Api, &str)>;

/// Makes a request under an id. Made again, it must answer the same, and say that it is a repeat.
macro_rules! made {
    ($api:expr, $service:ident.$call:ident, $request:expr) => {{
        let request = $request;
        let call = move |api: &Api| api.ok(api.$service().$call(request.clone()));
        let first = call($api);
        assert!(!first.result.as_ref().expect("a write has a result").repeated);
        let again = move |api: &Api, when: &str| {
            let mut again = call(api);
            let result = again.result.as_mut().expect("a write has a result");
            let what = format!("{} {when}", stringify!($call));
            assert!(std::mem::take(&mut result.repeated), "{what} was done again");
            same(&what, &again, &first);
        };
        Box::new(again) as Again
    }};
}

fn same(what: &str, ours: &impl Debug, first: &impl Debug) {
    let (ours, first) = (format!("{ours:#?}"), format!("{first:#?}"));
    let diff = tagtrail_tests::compare::difference(&first, &ours);
    assert_eq!(diff, None, "{what}\n{}", diff.as_deref().unwrap_or_default());
}

/// A repeat gets the first answer: whatever has happened since, after a kill, and from a view built anew.
#[test]
fn a_repeat_gets_the_first_answer() {
    let registry = Faulty::start().expect("a registry");
    let mut server = Server::start(Options::default()).expect("the server starts");
    let api = Api::of(&server);
    let mut made = Vec::new();
    made.push(made!(
        &api,
        streams.create_image_stream,
        CreateImageStreamRequest { write: under("1"), ..create("app") }
    ));
    made.push(made!(
        &api,
        imports.import,
        ImportRequest { write: under("2"), ..import("app", "v1", &registry) }
    ));
    registry.turn(Fault::InternalError);
    let failing = ImportRequest { write: under("3"), ..import("app", "bad", &registry) };
    made.push(made!(&api, imports.import, failing));
    let whole = ImportRequest {
        from: format!("{}/team/app", registry.host()),
        all: true,
        write: under("9"),
        ..import("app", "", &registry)
    };
    made.push(made!(&api, imports.import, whole));
    registry.turn(Fault::None);
    made.push(made!(
        &api,
        tags.set_tag,
        SetTagRequest { write: under("4"), ..copy("app", "copy", "app:v1") }
    ));
    made.push(made!(
        &api,
        tags.set_tag,
        SetTagRequest { alias: true, write: under("5"), ..copy("app", "alias", "app:v1") }
    ));
    made.push(made!(
        &api,
        streams.update_metadata,
        UpdateMetadataRequest {
            namespace: HERE.into(),
            name: "app".into(),
            set_annotations: [("note".to_owned(), "hi".to_owned())].into(),
            write: under("6"),
            ..Default::default()
        }
    ));
    made.push(made!(
        &api,
        streams.set_lookup_policy,
        SetLookupPolicyRequest {
            namespace: HERE.into(),
            name: "app".into(),
            local: true,
            dry_run: false,
            write: under("7")
        }
    ));
    made.push(made!(
        &api,
        tags.delete_tag,
        DeleteTagRequest {
            namespace: HERE.into(),
            name: "app".into(),
            tag: "alias".into(),
            expected_image: String::new(),
            write: under("8")
        }
    ));
    // The world moves on: the source of the copy, and of the import, is another now.
    registry.rebuild();
    api.ok(api.imports().import(import("app", "v1", &registry)));
    let head = api.head();
    let asked = registry.asked();
    let again = |api: &Api, when: &str| {
        made.iter().for_each(|again| again(api, when));
        assert_eq!((api.head(), registry.asked()), (head, asked), "{when}");
    };
    again(&api, "in the same run");
    server.kill().expect("the server can be killed");
    server.restart().expect("it starts again");
    again(&Api::of(&server), "after a kill");
    server.terminate().expect("it ends");
    fs::remove_dir_all(server.data().join("view")).expect("the view is a directory of its own");
    server.restart().expect("it starts again");
    again(&Api::of(&server), "from a view built anew");
}

/// Also the deletion of a stream can be repeated, and what was done to the stream before it.
#[test]
fn a_repeat_after_the_stream_is_gone() {
    let server = Server::start(Options::default()).expect("the server starts");
    let api = Api::of(&server);
    let created = made!(
        &api,
        streams.create_image_stream,
        CreateImageStreamRequest { write: under("1"), ..create("app") }
    );
    let set = made!(&api, tags.set_tag, SetTagRequest { write: under("2"), ..point("app", "v1", "x/y:1") });
    let deleted = made!(
        &api,
        streams.delete_image_stream,
        DeleteImageStreamRequest { write: under("3"), ..delete("app") }
    );
    for again in [created, set, deleted] {
        again(&api, "afterwards");
    }
    api.refused(api.streams().get_image_stream(get("app")), Code::NotFound, "not found");
}

#[test]
fn an_id_belongs_to_one_request() {
    let registry = Faulty::start().expect("a registry");
    let server = Server::start(Options::default()).expect("the server starts");
    let api = Api::of(&server);
    let first = SetTagRequest { write: under("mine"), ..point("app", "v1", "x/y:1") };
    api.ok(api.tags().set_tag(first.clone()));
    let head = api.head();
    let words = "request id \"mine\" was used before for another request";
    let check = |other: SetTagRequest| api.refused(api.tags().set_tag(other), Code::AlreadyExists, words);
    check(SetTagRequest { tag: "v2".into(), ..first.clone() });
    check(SetTagRequest { name: "other".into(), ..first.clone() });
    check(SetTagRequest { reference: false, ..first.clone() });
    check(SetTagRequest { source: source(SourceKind::DockerImage, "x/y:2"), ..first.clone() });
    let because = Some(WriteOptions { reason: "because".into(), ..under("mine").unwrap_or_default() });
    check(SetTagRequest { write: because, ..first.clone() });
    let expecting = Some(WriteOptions { expected_revision: Some(1), ..under("mine").unwrap_or_default() });
    check(SetTagRequest { write: expecting, ..first.clone() });
    // Another kind of request, and one that would ask a registry first.
    let other = DeleteImageStreamRequest { write: under("mine"), ..delete("app") };
    api.refused(api.streams().delete_image_stream(other), Code::AlreadyExists, words);
    let other = ImportRequest { write: under("mine"), ..import("app", "v1", &registry) };
    api.refused(api.imports().import(other), Code::AlreadyExists, words);
    assert_eq!((api.head(), registry.asked()), (head, 0));
    // How long one waits for the answer does not make it another request; nor does who says to have made it.
    let who =
        Some(WriteOptions { actor: "me, from another shell".into(), ..under("mine").unwrap_or_default() });
    let again = api.ok(api.tags().set_tag(SetTagRequest { wait_ms: 10, write: who, ..first }));
    assert!(again.result.expect("a result").repeated);
}

/// A command that made no event has left no trace, so its id is free.
#[test]
fn an_id_without_an_event_is_free() {
    let server = Server::start(Options::default()).expect("the server starts");
    let api = Api::of(&server);
    let early = SetTagRequest { write: under("mine"), ..copy("app", "v2", "app:v1") };
    api.refused(api.tags().set_tag(early.clone()), Code::NotFound, "not found");
    api.ok(api.tags().set_tag(point("app", "v1", "x/y:1")));
    let done = api.ok(api.tags().set_tag(early)).result.expect("a result");
    assert!(!done.repeated && done.sequence > 0, "{done:?}");
}

/// The same request from all sides at once happens once, and everybody hears the same.
#[test]
fn concurrent_repeats_are_one_run() {
    let registry = Faulty::start().expect("a registry");
    let server = Server::start(Options::default()).expect("the server starts");
    let api = Api::of(&server);
    let set = SetTagRequest { write: under("set"), ..point("app", "v1", "x/y:1") };
    let imported = ImportRequest { write: under("import"), ..import("app", "v2", &registry) };
    let mut calls = JoinSet::new();
    for _ in 0..16 {
        let (mut tags, request) = (api.tags(), set.clone());
        calls.spawn_on(
            async move { tags.set_tag(request).await.map(|r| ("set", r.into_inner().result)) },
            api.runtime.handle(),
        );
    }
    let mut results: Vec<_> = api.runtime.block_on(calls.join_all());
    let mut calls = JoinSet::new();
    for _ in 0..16 {
        let (mut imports, request) = (api.imports(), imported.clone());
        calls.spawn_on(
            async move { imports.import(request).await.map(|r| ("import", r.into_inner().result)) },
            api.runtime.handle(),
        );
    }
    results.extend(api.runtime.block_on(calls.join_all()));
    let results: Vec<_> = results
        .into_iter()
        .map(|result| result.expect("every call is answered"))
        .map(|(what, result)| (what, result.expect("a write has a result")))
        .collect();
    for what in ["set", "import"] {
        let of = || results.iter().filter(|(name, _)| *name == what).map(|(_, result)| result);
        assert_eq!(of().filter(|result| !result.repeated).count(), 1, "{what} happened once");
        let first = of().next().expect("there are sixteen");
        assert!(of().all(|r| (r.sequence, r.revision) == (first.sequence, first.revision)), "{results:?}");
    }
    let runs: Vec<u64> = api
        .events_after(0)
        .iter()
        .map(|event| event.run.as_ref().expect("every event has a run").first_sequence)
        .collect();
    let mut starts = runs.clone();
    starts.dedup();
    assert_eq!(starts.len(), 2, "{runs:?}");
}

#[test]
fn a_write_may_expect_a_revision() {
    let registry = Faulty::start().expect("a registry");
    let server = Server::start(Options::default()).expect("the server starts");
    let api = Api::of(&server);
    let expecting = |revision| Some(WriteOptions { expected_revision: Some(revision), ..Default::default() });
    let set =
        |tag: &str, revision| SetTagRequest { write: expecting(revision), ..point("app", tag, "x/y:1") };
    let conflict = |request: SetTagRequest, words: &str| {
        let head = api.head();
        api.refused(api.tags().set_tag(request), Code::Aborted, words);
        assert_eq!(api.head(), head);
    };

    conflict(set("v1", 1), "does not exist, not at revision 1");
    let result = api.ok(api.tags().set_tag(set("v1", 0))).result.expect("a result");
    conflict(set("v2", 0), &format!("is at revision {}, not at revision 0", result.revision));
    conflict(set("v2", result.revision - 1), "look again and retry");
    conflict(set("v2", result.revision + 1), "look again and retry");
    let result = api.ok(api.tags().set_tag(set("v2", result.revision))).result.expect("a result");
    let stream = api.ok(api.streams().get_image_stream(get("app"))).stream.expect("the stream");
    assert_eq!(stream.revision, result.revision);

    // An import is refused before the registry is asked.
    let wrong = ImportRequest { write: expecting(1), ..import("app", "v3", &registry) };
    api.refused(api.imports().import(wrong), Code::Aborted, "look again and retry");
    assert_eq!(registry.asked(), 0);
    let right = ImportRequest { write: expecting(result.revision), ..import("app", "v3", &registry) };
    api.ok(api.imports().import(right));

    // Gone is gone, and the numbers go on.
    let last = api.ok(api.streams().delete_image_stream(delete("app"))).result.expect("a result");
    conflict(set("v1", last.revision), "does not exist");
    let result = api.ok(api.tags().set_tag(set("v1", 0))).result.expect("a result");
    assert!(result.revision > last.revision);
}

#[test]
fn who_and_why_are_kept_as_they_were_given() {
    let server = Server::start(Options::default()).expect("the server starts");
    let api = Api::of(&server);
    let options = WriteOptions {
        request_id: format!("id/{}", "i".repeat(125)),
        expected_revision: None,
        reason: "w".repeat(4_090) + "\n\t„ü“",
        actor: format!("Ünal <u@example.org> {}", "a".repeat(234)),
    };
    assert_eq!((options.request_id.len(), options.actor.len()), (128, 256));
    assert!(options.reason.len() > 4_090 && options.reason.len() <= 4_100);
    let options = WriteOptions { reason: options.reason[5..].to_owned(), ..options };
    assert_eq!(options.reason.len(), 4_095);
    api.ok(api.tags().set_tag(SetTagRequest { write: Some(options.clone()), ..point("app", "v1", "x/y:1") }));
    let events = api.events_after(0);
    assert_eq!(events.len(), 3, "a stream, a tag, a move: {events:?}");
    for event in events {
        let actor = event.actor.expect("every event has an actor");
        assert_eq!((actor.name, actor.authenticated), (options.actor.clone(), false));
        assert_eq!((event.reason, event.request_id), (options.reason.clone(), options.request_id.clone()));
        assert_eq!((event.command.as_str(), event.caused_by), ("tag", 0));
        assert_eq!(event.request_digest.len(), 32);
    }
    api.ok(api.tags().set_tag(point("app", "v2", "x/y:1")));
    let event = api.events_after(3).remove(0);
    let actor = event.actor.unwrap_or_default();
    assert_eq!((actor.name.as_str(), actor.authenticated, event.reason.as_str()), ("", false, ""));
    assert_eq!((event.request_id.as_str(), event.request_digest.len()), ("", 0));
}

#[test]
fn what_is_too_long_is_refused_before_anything_happens() {
    let server = Server::start(Options::default()).expect("the server starts");
    let api = Api::of(&server);
    let check = |options: WriteOptions, words: &str| {
        let request = CreateImageStreamRequest { write: Some(options), ..create("app") };
        api.refused(api.streams().create_image_stream(request), Code::InvalidArgument, words);
    };
    let none = WriteOptions::default;
    check(WriteOptions { reason: "w".repeat(4_097), ..none() }, "the reason has 4097 bytes; at most 4096");
    check(WriteOptions { actor: "a".repeat(257), ..none() }, "the actor has 257 bytes; at most 256");
    check(
        WriteOptions { request_id: "i".repeat(129), ..none() },
        "the request id has 129 bytes; at most 128",
    );
    check(WriteOptions { request_id: "a\nb".into(), ..none() }, "must not have control characters");
    let big = [("note".to_owned(), "x".repeat(2 << 20))].into();
    let request = CreateImageStreamRequest { annotations: big, ..create("app") };
    api.refused(
        api.streams().create_image_stream(request),
        Code::ResourceExhausted,
        "the request is too large: found",
    );
    let large = [("note".to_owned(), "x".repeat(25_000))].into();
    let request = CreateImageStreamRequest { annotations: large, ..create("app") };
    api.refused(api.streams().create_image_stream(request), Code::FailedPrecondition, "at most 24576 bytes");
    assert_eq!(api.head(), 0);
}

/// A dry run answers as if, and writes nothing.
#[test]
fn a_dry_run_writes_nothing() {
    let registry = Faulty::start().expect("a registry");
    let server = Server::start(Options::default()).expect("the server starts");
    let api = Api::of(&server);
    api.ok(api.streams().create_image_stream(CreateImageStreamRequest { dry_run: true, ..create("app") }));
    let looked =
        api.ok(api.imports().import(ImportRequest { dry_run: true, ..import("app", "v1", &registry) }));
    assert_eq!(looked.results[0].image.as_ref().map(|image| image.digest.clone()), Some(registry.digest()));
    assert_eq!(api.head(), 0);
    api.ok(api.streams().create_image_stream(create("app")));
    let again = CreateImageStreamRequest { dry_run: true, ..create("app") };
    api.refused(api.streams().create_image_stream(again), Code::AlreadyExists, "already exists");
}

/// One command is one run: its events name it, and nobody else's stand in between.
#[test]
fn a_run_is_whole() {
    let registry = Faulty::start().expect("a registry");
    let server = Server::start(Options::default()).expect("the server starts");
    let api = Api::of(&server);
    let result = api.ok(api.imports().import(import("app", "v1", &registry))).result.expect("a result");
    let events = api.events_after(0);
    let facts: Vec<&str> = events
        .iter()
        .map(|event| match event.fact.as_ref().expect("every event says what happened") {
            Fact::StreamCreated(_) => "created",
            Fact::TagSet(_) => "set",
            Fact::ImageRecorded(_) => "recorded",
            Fact::TagMoved(_) => "moved",
            Fact::ImportFinished(_) => "finished",
            _ => "something else",
        })
        .collect();
    assert_eq!(facts, ["created", "set", "recorded", "moved", "finished"]);
    assert_eq!((result.sequence, result.revision), (5, 5));
    for (event, number) in events.iter().zip(1..) {
        assert_eq!((event.sequence, event.revision), (number, number));
        assert_eq!(event.run, Some(Run { first_sequence: 1, length: 5 }));
        assert_eq!(event.recorded_at, events[0].recorded_at);
        assert_eq!(event.stream_uid, events[0].stream_uid);
    }
}

/// Tags that are made to follow each other in a circle, all at the same moment: the writer takes one after the other,
/// so the last of them is refused, whichever it is.
#[test]
fn of_a_circle_one_is_refused() {
    const TAGS: usize = 16;
    let server = Server::start(Options::default()).expect("the server starts");
    let api = Api::of(&server);
    let mut calls = JoinSet::new();
    for tag in 0..TAGS {
        let followed = format!("app:v{}", (tag + 1) % TAGS);
        let request = SetTagRequest { alias: true, ..copy("app", &format!("v{tag}"), &followed) };
        let mut tags = api.tags();
        calls.spawn_on(async move { tags.set_tag(request).await }, api.runtime.handle());
    }
    let answers = api.runtime.block_on(calls.join_all());
    let refused: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().err()).collect();
    let [status] = refused[..] else { panic!("one is refused, not {refused:?}") };
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("none of these tags would ever move again"), "{}", status.message());
    assert_eq!(api.head(), TAGS as u64, "the stream, and all tags but one");
}

/// An interval is kept as it was asked for, and refused where it can be none.
#[test]
fn an_interval_of_its_own() {
    let registry = Faulty::start().expect("a registry");
    let server = Server::start(Options::default()).expect("the server starts");
    let api = Api::of(&server);
    let tag = |scheduled, interval_seconds| {
        let import_policy =
            Some(ImportPolicy { scheduled, interval_seconds, insecure: true, ..Default::default() });
        let from = format!("{}/team/app:v1", registry.host());
        SetTagRequest { reference: false, import_policy, ..point("app", "v1", &from) }
    };
    let interval = || {
        let stream = api.ok(api.streams().get_image_stream(get("app"))).stream.expect("there is one");
        stream.tags[0].spec.as_ref().expect("it is set").import_policy.expect("it has one").interval_seconds
    };
    api.ok(api.tags().set_tag(tag(true, 2_592_000)));
    assert_eq!(interval(), 2_592_000);
    api.ok(api.imports().import(ImportRequest { interval_seconds: 3_600, ..import("app", "v1", &registry) }));
    assert_eq!(interval(), 3_600);
    api.ok(api.imports().import(import("app", "v1", &registry)));
    assert_eq!(interval(), 3_600);
    let head = api.head();
    let range = "\"2592001s\" is no interval: give 1s to 30d";
    api.refused(api.tags().set_tag(tag(true, 2_592_001)), Code::InvalidArgument, range);
    let imported = ImportRequest { interval_seconds: 2_592_001, ..import("app", "v1", &registry) };
    api.refused(api.imports().import(imported), Code::InvalidArgument, range);
    api.refused(api.tags().set_tag(tag(false, 60)), Code::FailedPrecondition, "give --scheduled as well");
    assert_eq!(api.head(), head);
    api.ok(api.tags().set_tag(tag(true, 0)));
    assert_eq!(interval(), 0);
}
