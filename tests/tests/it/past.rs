//! Nothing is ever unsaid: for every sequence of the log, each stream is shown at it as it was shown live, when the command
//! that the sequence belongs to was done. Random commands of every kind write the log, deletions and new lives among them;
//! after each one everything is looked at and kept.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use tagtrail_api::v1::moment::When;
use tagtrail_api::v1::*;
use tagtrail_tests::chance::Chance;
use tagtrail_tests::compare::difference;
use tagtrail_tests::faulty::{Fault, Faulty};
use tagtrail_tests::server::{Options, Server};
use tonic::{Code, Response, Status};

use crate::api::Api;
use crate::pool::{HERE, Pool, image, set, tag};

const STREAMS: [&str; 3] = ["app", "base", "web"];
const TAGS: [&str; 4] = ["v1", "v2", "edge", "prod"];
/// How many commands are given, unless `TAGTRAIL_COMMANDS` says otherwise.
const COMMANDS: u64 = 400;

/// What was seen of the streams after a command: what `get` and `describe` answer, or that there is nothing.
#[derive(PartialEq, Debug)]
struct Seen {
    streams: BTreeMap<&'static str, Option<(ImageStream, ImageStreamDescription)>>,
    list: Vec<ImageStream>,
}

#[test]
fn every_moment_is_shown_as_it_was_seen() {
    let commands = std::env::var("TAGTRAIL_COMMANDS").map_or(COMMANDS, |n| n.parse().expect("a number"));
    let registry = Faulty::start().expect("a registry");
    let mut server = Server::start(Options::default()).expect("the server starts");
    let api = Api::of(&server);
    let pool = Pool::filled(&api, &registry, 5);
    let mut seen = BTreeMap::from([look_now(&api)]);
    let mut done: BTreeMap<&str, u32> = BTreeMap::new();
    let mut chance = Chance(5);
    for _ in 0..commands {
        let (word, came) = command(&api, &registry, &pool, &mut chance);
        if came.is_ok() {
            *done.entry(word).or_default() += 1;
        }
        if !seen.contains_key(&api.head()) {
            seen.extend([look_now(&api)]);
        }
    }
    // Otherwise this has shown nothing.
    for word in WORDS {
        assert!(done.get(word).is_some_and(|times| *times >= 3), "`{word}` was hardly ever done: {done:?}");
    }
    check(&api, &seen);
    // And from rows that were built anew.
    drop(api);
    server.terminate().expect("the server ends when asked to");
    std::fs::remove_dir_all(server.data().join("view")).expect("the view is a directory of its own");
    server.restart().expect("a server without a view starts");
    check(&Api::of(&server), &seen);
}

fn check(api: &Api, seen: &BTreeMap<u64, Seen>) {
    let first = *seen.keys().next().expect("something was seen");
    for sequence in first..=api.head() {
        let end = end_of_command(api, sequence);
        // A background import may have ended before anybody could look.
        let Some(expected) = seen.get(&end) else { continue };
        let shown = look(api, Some(When::Sequence(sequence)));
        if let Some(diff) = difference(&format!("{expected:#?}"), &format!("{shown:#?}")) {
            panic!("at {sequence}, of the command that ends at {end}:\n{diff}");
        }
    }
    // The same by the time at which an event was recorded.
    let (last, expected) = seen.iter().nth(20).expect("there are more");
    let event = api.events_after(last - 1).into_iter().next().expect("it is there");
    let time = event.recorded_at.expect("it was recorded");
    assert_eq!(look(api, Some(When::Time(time))), *expected);
}

/// The last event of the command that an event belongs to.
fn end_of_command(api: &Api, sequence: u64) -> u64 {
    let at = Some(Moment { when: Some(When::Sequence(sequence)) });
    let request = ListImageStreamsRequest { page_size: 1, history_limit: 1, at, ..Default::default() };
    let page = api.ok(api.streams().list_image_streams(request));
    page.at.expect("a moment was asked for").sequence
}

const WORDS: [&str; 13] = [
    "create",
    "delete",
    "copy",
    "alias",
    "reference",
    "annotate",
    "untag",
    "hold",
    "release",
    "rollback",
    "restore",
    "promote",
    "import",
];

type Came = Result<(), Status>;

/// Gives one command, which may well be refused.
fn command(api: &Api, registry: &Faulty, pool: &Pool, chance: &mut Chance) -> (&'static str, Came) {
    let word = WORDS[usize::try_from(chance.below(WORDS.len() as u64)).expect("small")];
    let pick = |chance: &mut Chance, of: &[&'static str]| {
        of[usize::try_from(chance.below(of.len() as u64)).expect("small")]
    };
    let (name, tag_name) = (pick(chance, &STREAMS), pick(chance, &TAGS));
    let (other, other_tag) = (pick(chance, &STREAMS), pick(chance, &TAGS));
    let digest = &pool.0[usize::try_from(chance.below(pool.0.len() as u64)).expect("small")];
    let (namespace, name_text, tag_text) = (HERE.to_owned(), name.to_owned(), tag_name.to_owned());
    let write =
        Some(WriteOptions { reason: format!("{word} it"), actor: "ana".into(), ..Default::default() });
    let came = match word {
        "create" => came(api.call(api.streams().create_image_stream(CreateImageStreamRequest {
            namespace,
            name: name_text,
            labels: [("team".to_owned(), "red".to_owned())].into(),
            write,
            ..Default::default()
        }))),
        "delete" if chance.below(3) > 0 => Err(Status::cancelled("rarer")),
        "delete" => came(api.call(api.streams().delete_image_stream(DeleteImageStreamRequest {
            namespace,
            name: name_text,
            write,
        }))),
        "copy" => came(api.call(api.tags().set_tag(set(name, tag_name, image(digest))))),
        "alias" => {
            let source = tag(&format!("{name}:{other_tag}"));
            came(api.call(api.tags().set_tag(SetTagRequest { alias: true, ..set(name, tag_name, source) })))
        }
        "reference" => {
            let source = TagSource {
                kind: SourceKind::DockerImage.into(),
                namespace: String::new(),
                name: format!("quay.io/team/app:{}", chance.below(3)),
            };
            came(
                api.call(
                    api.tags().set_tag(SetTagRequest { reference: true, ..set(name, tag_name, source) }),
                ),
            )
        }
        "annotate" => came(api.call(api.streams().update_metadata(UpdateMetadataRequest {
            namespace,
            name: name_text,
            set_annotations: [("note".to_owned(), chance.below(100).to_string())].into(),
            overwrite: true,
            write,
            ..Default::default()
        }))),
        "untag" => came(api.call(api.tags().delete_tag(DeleteTagRequest {
            namespace,
            name: name_text,
            tag: tag_text,
            write,
            ..Default::default()
        }))),
        "hold" => came(api.call(api.tags().hold(HoldRequest {
            namespace,
            name: name_text,
            tag: tag_text,
            expires_at:
                (chance.below(2) == 0).then(|| (UNIX_EPOCH + Duration::from_secs(4_000_000_000)).into()),
            write,
            ..Default::default()
        }))),
        "release" => came(api.call(api.tags().release(ReleaseRequest {
            namespace,
            name: name_text,
            tag: tag_text,
            write,
        }))),
        "rollback" => came(api.call(api.tags().rollback(RollbackRequest {
            namespace,
            name: name_text,
            tag: tag_text,
            to: (chance.below(2) == 0).then(|| rollback_request::To::Digest(digest.clone())),
            write,
            ..Default::default()
        }))),
        "restore" => came(api.call(api.tags().restore(RestoreRequest {
            namespace,
            name: name_text,
            tag: if chance.below(2) == 0 { String::new() } else { tag_text },
            write,
            ..Default::default()
        }))),
        "promote" => {
            let promotion = |(name, tag_name): (&str, &str), source| Promotion {
                namespace: HERE.into(),
                name: name.into(),
                tag: tag_name.into(),
                source: Some(source),
                expected_image: String::new(),
            };
            let promotions = vec![
                promotion((name, tag_name), image(digest)),
                promotion((other, other_tag), tag(&format!("{name}:{tag_name}"))),
            ];
            came(api.call(api.tags().promote(PromoteRequest { promotions, write, ..Default::default() })))
        }
        "import" => {
            let fault = [Fault::None, Fault::NotFound, Fault::InternalError];
            registry.turn(fault[usize::try_from(chance.below(3)).expect("small")]);
            registry.rebuild();
            let came = came(api.call(api.imports().import(ImportRequest {
                namespace,
                name: name_text,
                tag: tag_text,
                from: format!("{}/team/app:v1", registry.host()),
                confirm: true,
                insecure: Some(true),
                write,
                ..Default::default()
            })));
            registry.turn(Fault::None);
            came
        }
        _ => unreachable!("all words are there"),
    };
    (word, came)
}

fn came<T>(answer: Result<Response<T>, Status>) -> Came {
    match answer {
        Ok(_) => Ok(()),
        Err(status) if matches!(status.code(), Code::Internal | Code::Unknown | Code::Unavailable) => {
            panic!("{:?}: {}", status.code(), status.message())
        }
        Err(status) => Err(status),
    }
}

/// Looks at all streams as they are, until nothing happens meanwhile: some imports end in the background.
fn look_now(api: &Api) -> (u64, Seen) {
    loop {
        let (head, seen) = (api.head(), look(api, None));
        if api.head() == head {
            return (head, seen);
        }
    }
}

/// Looks at all streams, now or at a moment.
fn look(api: &Api, when: Option<When>) -> Seen {
    let at = when.map(|when| Moment { when: Some(when) });
    let stream = |name: &&'static str| {
        let (namespace, name) = (HERE.to_owned(), (*name).to_owned());
        let get =
            GetImageStreamRequest { namespace: namespace.clone(), name: name.clone(), history_limit: 0, at };
        let describe = DescribeImageStreamRequest { namespace, name, history_limit: 0, at };
        let got = api.call(api.streams().get_image_stream(get));
        let described = api.call(api.streams().describe_image_stream(describe));
        match (got, described) {
            (Ok(got), Ok(described)) => {
                let (got, described) = (got.into_inner(), described.into_inner());
                assert_eq!((got.at.is_some(), described.at.is_some()), (at.is_some(), at.is_some()));
                Some((got.stream.expect("a stream"), described.description.expect("a description")))
            }
            (Err(got), Err(described)) => {
                assert_eq!(
                    (got.code(), described.code()),
                    (Code::NotFound, Code::NotFound),
                    "{}",
                    got.message()
                );
                None
            }
            (got, described) => panic!("{got:?}, but {described:?}"),
        }
    };
    let list = ListImageStreamsRequest { namespace: HERE.into(), at, ..Default::default() };
    let list = api.ok(api.streams().list_image_streams(list));
    assert_eq!(list.next_page_token, "");
    Seen { streams: STREAMS.iter().map(|name| (*name, stream(name))).collect(), list: list.streams }
}
