//! A promotion is whole or not at all, whenever the server is killed.
//!
//! Fifty tags of six streams in two namespaces are promoted at once. What a kill can leave on the disk is, in this order:
//! the journal with some of the command's bytes, with all of them (the commit point), the log's database with them, the read
//! model with them. Each of these is laid out from copies of the data directory from before and after, and a server started
//! on it. Besides, a server is really killed in the middle, at times that chance gives.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tagtrail_api::v1::tag_service_client::TagServiceClient;
use tagtrail_api::v1::*;
use tagtrail_tests::chance::Chance;
use tagtrail_tests::faulty::Faulty;
use tagtrail_tests::server::{Options, Server};
use tokio::runtime::Runtime;
use tonic::Code;

use crate::api::Api;
use crate::pool::{Pool, image};
use crate::storm::connect;

const TAGS: usize = 50;
/// How often the server is really killed.
const KILLS: u64 = 25;
/// Bytes of a segment's header, of a record's, and of a frame's (docs/formats/journal.md).
const RECORD_HEADER: usize = 24;
const FRAME_HEADER: usize = 18;

/// The place of a promoted tag.
fn place(number: usize) -> (String, String, String) {
    let namespace = if number % 6 < 3 { "test" } else { "prod" };
    (namespace.into(), format!("app-{}", number % 6), format!("t{number}"))
}

fn promotion(number: usize, digest: &str, expected: &str) -> Promotion {
    let (namespace, name, tag) = place(number);
    let expected_image = expected.to_owned();
    Promotion { namespace, name, tag, source: Some(image(digest)), expected_image }
}

fn promote(digest: &str, expected: &str) -> PromoteRequest {
    let promotions = (0..TAGS).map(|number| promotion(number, digest, expected)).collect();
    PromoteRequest { promotions, ..PromoteRequest::default() }
}

/// What all of the tags point to, if it is the same.
fn all_point_to(api: &Api) -> Result<String, Vec<String>> {
    let digest = |number| {
        let (namespace, name, tag) = place(number);
        let request = GetTagRequest { namespace, name, tag, ..GetTagRequest::default() };
        api.ok(api.tags().get_tag(request)).tag.and_then(|tag| tag.image).expect("an image").digest
    };
    let digests: Vec<String> = (0..TAGS).map(digest).collect();
    if digests.iter().all(|digest| *digest == digests[0]) { Ok(digests[0].clone()) } else { Err(digests) }
}

struct World {
    server: Server,
    old: String,
    new: String,
    _registry: Faulty,
}

/// A server on which all tags point to the old image.
fn world() -> World {
    let registry = Faulty::start().expect("a registry");
    let server = Server::start(Options::default()).expect("the server starts");
    let api = Api::of(&server);
    let pool = Pool::filled(&api, &registry, 2);
    let (old, new) = (pool.0[0].clone(), pool.0[1].clone());
    api.ok(api.tags().promote(promote(&old, "none")));
    assert_eq!(all_point_to(&api), Ok(old.clone()));
    World { server, old, new, _registry: registry }
}

#[test]
fn one_run_or_none() {
    let World { server, old, new, _registry } = &world();
    let api = Api::of(server);
    let head = api.head();
    // One of them expects another image: nothing moves.
    let mut request = promote(new, old);
    request.promotions[TAGS / 2].expected_image.clone_from(new);
    api.refused(api.tags().promote(request), Code::Aborted, &format!("points to {old}, not to {new}"));
    assert_eq!((api.head(), all_point_to(&api)), (head, Ok(old.clone())));
    // Only tried.
    let tried = api.ok(api.tags().promote(PromoteRequest { dry_run: true, ..promote(new, old) }));
    assert_eq!((api.head(), tried.tags.len()), (head, TAGS));
    // Done.
    let done = api.ok(api.tags().promote(promote(new, old)));
    assert_eq!(all_point_to(&api), Ok(new.clone()));
    for (number, promoted) in done.tags.iter().enumerate() {
        assert_eq!((promoted.namespace.clone(), promoted.name.clone(), promoted.tag.clone()), place(number));
        let digest = |item: &Option<HistoryItem>| item.as_ref().map(|item| item.image.clone());
        assert_eq!((digest(&promoted.from), digest(&promoted.to)), (Some(old.clone()), Some(new.clone())));
        let before = &tried.tags[number];
        assert_eq!((digest(&before.from), digest(&before.to)), (Some(old.clone()), Some(new.clone())));
    }
    let events = api.events_after(head);
    let run = events[0].run.expect("a run");
    assert_eq!((run.first_sequence, run.length as usize), (head + 1, events.len()));
    assert!(events.iter().all(|event| event.run == Some(run) && event.command == "promote"));
    let of_stream = |event: &Event| (event.namespace.clone(), event.stream.clone());
    let streams: std::collections::BTreeSet<_> = events.iter().map(of_stream).collect();
    assert_eq!(streams.len(), 6);
}

#[test]
fn what_any_kill_leaves_is_all_or_nothing() {
    let World { mut server, old, new, _registry } = world();
    server.terminate().expect("the server ends");
    let files = tempfile::tempdir().expect("a directory");
    let (before, after) = (files.path().join("before"), files.path().join("after"));
    copy(&server.data(), &before);
    server.restart().expect("the server starts");
    let api = Api::of(&server);
    api.ok(api.tags().promote(promote(&new, &old)));
    drop(api);
    server.kill().expect("the server can be killed");
    copy(&server.data(), &after);

    let segment = grown(&before, &after);
    let (was, is) = (read(&before.join(&segment)), read(&after.join(&segment)));
    assert!(is.starts_with(&was), "a journal only grows");
    // The journal with some of the record's bytes: nothing was acknowledged, nothing has happened.
    for cut in cuts(&is[was.len()..]) {
        lay_out(&server, &before);
        fs::write(server.data().join(&segment), &is[..was.len() + cut]).expect("it can be written");
        server.restart().unwrap_or_else(|error| panic!("cut at {cut}: {error:#}"));
        assert_eq!(all_point_to(&Api::of(&server)), Ok(old.clone()), "cut at {cut}");
        server.kill().expect("the server can be killed");
    }
    // The journal with all of it, then the log's database, then the read model: it has happened.
    for parts in [&["journal"][..], &["journal", "log"], &["journal", "log", "view"]] {
        lay_out(&server, &before);
        for part in parts {
            fs::remove_dir_all(server.data().join(part)).expect("it is a directory");
            copy(&after.join(part), &server.data().join(part));
        }
        server.restart().unwrap_or_else(|error| panic!("{parts:?}: {error:#}"));
        assert_eq!(all_point_to(&Api::of(&server)), Ok(new.clone()), "{parts:?}");
        server.kill().expect("the server can be killed");
    }
}

#[test]
fn a_killed_promotion_is_all_or_nothing() {
    let World { mut server, old, new, _registry } = world();
    let runtime = Runtime::new().expect("a runtime");
    let mut chance = Chance(7);
    // About as long as it takes by itself: some are cut off, and some answered.
    let begun = Instant::now();
    let api = Api::of(&server);
    api.ok(api.tags().promote(promote(&new, &old)));
    drop(api);
    let most_us = u64::try_from(begun.elapsed().as_micros()).expect("soon") * 2;
    let (mut there, mut answered, mut cut_off, mut moved) = (new.clone(), 0, 0, 0);
    for kill in 0..KILLS {
        let next = if there == old { &new } else { &old };
        let request = promote(next, &there);
        let wait = Duration::from_micros(chance.below(most_us));
        let answer = runtime.block_on(async {
            let mut tags = TagServiceClient::new(connect(&server).await);
            let mut call = tokio::spawn(async move { tags.promote(request).await });
            // One in three right after the answer: then it has to be there.
            if kill % 3 == 0 {
                let answer = (&mut call).await;
                server.kill().expect("the server can be killed");
                return answer;
            }
            tokio::time::sleep(wait).await;
            server.kill().expect("the server can be killed");
            call.await
        });
        let answer = answer.expect("it does not panic");
        server.restart().unwrap_or_else(|error| panic!("after kill {kill}: {error:#}"));
        let now = all_point_to(&Api::of(&server))
            .unwrap_or_else(|half| panic!("after kill {kill}, half a promotion: {half:#?}"));
        if answer.is_ok() {
            answered += 1;
            assert_eq!(&now, next, "kill {kill}: it was acknowledged");
        } else {
            cut_off += 1;
        }
        moved += u32::from(now != there);
        there = now;
    }
    assert!(
        answered > 0 && cut_off > 0 && moved > 0,
        "{answered} answered, {cut_off} cut off, {moved} moved"
    );
}

/// The places inside a record at which a write may end: in its header, and at, behind and inside each of its frames.
fn cuts(record: &[u8]) -> Vec<usize> {
    let mut cuts = vec![1, RECORD_HEADER / 2];
    let mut at = RECORD_HEADER;
    while at < record.len() {
        cuts.push(at);
        let length = u32::from_be_bytes(record[at + 10..at + 14].try_into().expect("four bytes"));
        at += FRAME_HEADER + length as usize;
    }
    assert_eq!(at, record.len(), "one record, of whole frames");
    assert!(cuts.len() > TAGS, "there are as many events as tags at least");
    // A start takes a while: those at both ends, and one in eight between them.
    let last = cuts.len() - 3;
    let mut cuts: Vec<usize> = cuts
        .into_iter()
        .enumerate()
        .filter(|(n, _)| *n < 5 || n % 8 == 0 || *n >= last)
        .map(|(_, cut)| cut)
        .collect();
    cuts.extend([record.len() - FRAME_HEADER, record.len() - 1]);
    cuts
}

/// The one file of the journal that is longer, as a path in the data directory.
fn grown(before: &Path, after: &Path) -> PathBuf {
    let length = |path: &Path| fs::metadata(path).map_or(0, |file| file.len());
    let names = fs::read_dir(after.join("journal")).expect("a directory");
    let names = names.map(|entry| Path::new("journal").join(entry.expect("a file").file_name()));
    let grown: Vec<_> = names.filter(|name| length(&after.join(name)) > length(&before.join(name))).collect();
    assert_eq!(grown.len(), 1, "{grown:?}");
    grown.into_iter().next().expect("one")
}

fn lay_out(server: &Server, from: &Path) {
    fs::remove_dir_all(server.data()).expect("it is a directory");
    copy(from, &server.data());
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("it can be made");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("it can be copied");
        }
    }
}
