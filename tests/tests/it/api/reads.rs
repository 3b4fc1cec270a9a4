//! What every read promises: whole pages, in order, and a word where there is nothing.

use std::collections::BTreeSet;

use tagtrail_api::v1::*;
use tagtrail_tests::faulty::{self, Fault, Faulty};
use tagtrail_tests::server::{Options, Server};
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServiceResponse};

use super::{Api, HERE, copy, create, delete, describe, get, import, point};

#[test]
fn events_from_a_sequence_on() {
    let server = Server::start(Options::default()).expect("the server starts");
    let api = Api::of(&server);
    let read = |from_sequence, page_size, namespace: &str, stream: &str| ReadEventsRequest {
        from_sequence,
        page_size,
        namespace: namespace.into(),
        stream: stream.into(),
    };
    let sequences = |request: ReadEventsRequest| -> (Vec<u64>, u64, u64) {
        let page = api.ok(api.events().read_events(request));
        (page.events.iter().map(|event| event.sequence).collect(), page.next_sequence, page.head)
    };
    assert_eq!(sequences(read(0, 0, "", "")), (vec![], 1, 0), "an empty log");
    assert_eq!(sequences(read(1, 0, "", "")), (vec![], 1, 0), "where an empty log goes on");

    // Sequences 1 to 3, 4 to 5, 6, 7: a stream with a tag, another tag, and two streams.
    api.ok(api.tags().set_tag(point("app", "v1", "x/y:1")));
    api.ok(api.tags().set_tag(point("app", "v2", "x/y:2")));
    api.ok(api.streams().create_image_stream(create("other")));
    let elsewhere = CreateImageStreamRequest { namespace: "prod".into(), ..create("app") };
    api.ok(api.streams().create_image_stream(elsewhere));
    assert_eq!(sequences(read(0, 0, "", "")), ((1..=7).collect(), 8, 7));
    assert_eq!(sequences(read(6, 0, "", "")), (vec![6, 7], 8, 7));
    assert_eq!(sequences(read(8, 0, "", "")), (vec![], 8, 7), "nothing new yet");
    assert_eq!(sequences(read(2, 2, "", "")), (vec![2, 3], 4, 7), "a page may end within a run");
    assert_eq!(sequences(read(7, 1, "", "")), (vec![7], 8, 7));
    assert_eq!(sequences(read(0, 0, "prod", "")), (vec![7], 8, 7));
    assert_eq!(sequences(read(0, 2, HERE, "")), (vec![1, 2], 3, 7));
    assert_eq!(sequences(read(0, 0, "nowhere", "")), (vec![], 8, 7));
    assert_eq!(sequences(read(0, 0, HERE, "app")), (vec![1, 2, 3, 4, 5], 8, 7));
    assert_eq!(sequences(read(0, 2, HERE, "app")), (vec![1, 2], 3, 7));
    assert_eq!(sequences(read(5, 2, HERE, "app")), (vec![5], 8, 7));
    assert_eq!(sequences(read(0, 0, HERE, "nosuch")), (vec![], 8, 7));

    let refused = |request, code, words| api.refused(api.events().read_events(request), code, words);
    refused(read(9, 0, "", ""), Code::OutOfRange, "the log ends at sequence 7; 9 lies beyond it");
    refused(read(u64::MAX, 0, "", ""), Code::OutOfRange, "lies beyond it");
    refused(read(0, 0, "", "app"), Code::InvalidArgument, "a stream needs its namespace");

    // What happened to a stream that is gone can still be read.
    api.ok(api.streams().delete_image_stream(delete("app")));
    assert_eq!(sequences(read(0, 0, HERE, "app")), (vec![1, 2, 3, 4, 5, 8], 9, 8));
}

#[test]
fn streams_page_by_page() {
    let server = Server::start(Options::default()).expect("the server starts");
    let api = Api::of(&server);
    for (namespace, name, team) in [
        ("a", "one", "red"),
        ("a", "two", "blue"),
        ("b", "one", "red"),
        ("b", "three", ""),
        // Sorts before "b/one" as text, and after it as a name in a namespace.
        ("b-b", "one", "red"),
        ("c", "gone", "red"),
        ("c", "one", "red"),
    ] {
        let labels = match team {
            "" => Default::default(),
            team => [("team".to_owned(), team.to_owned())].into(),
        };
        let request = CreateImageStreamRequest { namespace: namespace.into(), labels, ..create(name) };
        api.ok(api.streams().create_image_stream(request));
    }
    let gone = DeleteImageStreamRequest { namespace: "c".into(), ..delete("gone") };
    api.ok(api.streams().delete_image_stream(gone));

    let list = |request: ListImageStreamsRequest| api.ok(api.streams().list_image_streams(request));
    let check = |namespace: &str, selector: &str, expected: &[&str]| {
        for page_size in [0, 1, 2, 3, 7] {
            let (mut names, mut page_token, mut sizes) = (Vec::new(), String::new(), Vec::new());
            loop {
                let page = list(ListImageStreamsRequest {
                    namespace: namespace.into(),
                    label_selector: selector.into(),
                    page_size,
                    page_token,
                    history_limit: 0,
                    at: None,
                });
                sizes.push(page.streams.len());
                names.extend(page.streams.iter().map(|s| format!("{}/{}", s.namespace, s.name)));
                page_token = page.next_page_token;
                if page_token.is_empty() {
                    break;
                }
            }
            assert_eq!(names, expected, "{namespace:?} {selector:?} by {page_size}");
            // What a selector leaves out does not make a page shorter: only the last one is.
            let full = sizes[..sizes.len() - 1].iter().all(|size| *size == page_size as usize);
            assert!(full, "{namespace:?} {selector:?} by {page_size}: {sizes:?}");
        }
    };
    check("", "", &["a/one", "a/two", "b/one", "b/three", "b-b/one", "c/one"]);
    check("b", "", &["b/one", "b/three"]);
    check("c", "", &["c/one"]);
    check("d", "", &[]);
    check("", "team=red", &["a/one", "b/one", "b-b/one", "c/one"]);
    check("", "team!=red", &["a/two", "b/three"]);
    check("", "team in (blue,green)", &["a/two"]);
    check("", "!team", &["b/three"]);
    check("b", "team", &["b/one"]);

    let refused = |token: &str, selector: &str, words| {
        let request = ListImageStreamsRequest {
            page_token: token.into(),
            label_selector: selector.into(),
            ..Default::default()
        };
        api.refused(api.streams().list_image_streams(request), Code::InvalidArgument, words);
    };
    refused("garbage", "", "\"garbage\" is not a page token");
    refused("No/such", "", "\"No/such\" is not a page token");
    refused("", "a==b==c", "unable to parse label selector \"a==b==c\"");
}

/// A tag with more moves than one answer holds: every page, and whatever a person looks at, has them all.
#[test]
fn a_long_history() {
    const MOVES: usize = 1_050;
    let registry = Faulty::start().expect("a registry");
    let server = Server::start(Options::default()).expect("the server starts");
    let api = Api::of(&server);
    let digests: Vec<String> = ["one", "two"]
        .into_iter()
        .map(|tag| {
            registry.rebuild();
            api.ok(api.imports().import(import("app", tag, &registry)));
            registry.digest()
        })
        .collect();
    for number in 0..MOVES {
        let from = if number % 2 == 0 { "app:one" } else { "app:two" };
        let stream = api.ok(api.tags().set_tag(copy("app", "moving", from))).tag.and_then(|tag| tag.stream);
        // The answer is as short after a thousand moves as after one.
        let status = stream.expect("the tag is there").statuses.remove(0);
        assert_eq!((status.items.len(), status.history_length), (1, number as u64 + 1));
    }

    let list = |page_size, page_token: &str| ListHistoryRequest {
        namespace: HERE.into(),
        name: "app".into(),
        tag: "moving".into(),
        page_size,
        page_token: page_token.into(),
        at: None,
    };
    for page_size in [0, 1_000, 400, 525] {
        let (mut images, mut token) = (Vec::new(), String::new());
        loop {
            let page = api.ok(api.streams().list_history(list(page_size, &token)));
            images.extend(page.items.into_iter().map(|item| item.image));
            token = page.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(images.len(), MOVES, "by {page_size}");
        let newest_first = (0..MOVES).rev().map(|number| &digests[number % 2]);
        assert!(images.iter().eq(newest_first), "by {page_size}");
    }
    // A page stays what it was while the tag moves on.
    let first = api.ok(api.streams().list_history(list(100, "")));
    let second = api.ok(api.streams().list_history(list(100, &first.next_page_token)));
    api.ok(api.tags().set_tag(copy("app", "moving", "app:one")));
    assert_eq!(second, api.ok(api.streams().list_history(list(100, &first.next_page_token))));

    for token in ["garbage", "-1", "1.5", "99999999999999999999"] {
        let words = format!("\"{token}\" is not a page token");
        api.refused(api.streams().list_history(list(0, token)), Code::InvalidArgument, &words);
    }
    let beyond = api.ok(api.streams().list_history(list(10, "5000")));
    assert_eq!(beyond.items.len(), 10, "a token beyond the end begins at the end");
    let nothing = ListHistoryRequest { tag: "nosuch".into(), ..list(0, "") };
    api.refused(api.streams().list_history(nothing), Code::NotFound, "app:nosuch");

    let stream = api.ok(api.streams().get_image_stream(get("app"))).stream.expect("the stream");
    let status = stream.statuses.iter().find(|status| status.tag == "moving").expect("it moved");
    assert_eq!((status.items.len(), status.history_length), (1_000, MOVES as u64 + 1));
    let client = server.client();
    let printed = client.run(&["describe", "is", "app"]).expect("tagtrail").stdout;
    let lines = digests.iter().map(|digest| printed.matches(&**digest).count()).sum::<usize>();
    assert!(lines > MOVES, "describe shows {lines} of {MOVES} items");
    let json = client.json(&["get", "is", "app", "-o", "json"]).expect("tagtrail");
    let moving = json["status"]["tags"].as_array().expect("tags").iter().find(|tag| tag["tag"] == "moving");
    let items = moving.and_then(|tag| tag["items"].as_array()).map_or(0, Vec::len);
    assert_eq!(items, MOVES + 1);
}

#[test]
fn images_by_digest() {
    let registry = Faulty::start().expect("a registry");
    let server = Server::start(Options::default()).expect("the server starts");
    let api = Api::of(&server);
    api.ok(api.imports().import(import("app", "v1", &registry)));
    let of = |digest: &str, include_manifest| GetImageRequest { digest: digest.into(), include_manifest };
    let digest = registry.digest();

    let image = api.ok(api.images().get_image(of(&digest, true))).image.expect("the image");
    assert_eq!(image.digest, digest);
    assert_eq!(faulty::digest(&image.raw_manifest), digest);
    assert_eq!(faulty::digest(&image.raw_config), image.config_digest);
    assert_eq!(image.media_type, "application/vnd.oci.image.manifest.v1+json");
    assert_eq!(image.size, image.raw_config.len() as i64, "it has no layers");
    assert_eq!(image.docker_image_reference, format!("{}/team/app@{digest}", registry.host()));
    assert_eq!(image.built_at.map(|at| at.seconds), Some(1_609_495_200), "2021-01-01T10:00:00Z");
    let config = image.config.clone().expect("it has a configuration");
    assert_eq!((config.os.as_str(), config.architecture.as_str()), ("linux", "amd64"));
    assert!(config.labels.contains_key("build"), "{config:?}");
    assert_eq!(image.recorded_sequence, 3);
    let bare = api.ok(api.images().get_image(of(&digest, false))).image.expect("the image");
    assert_eq!(bare, Image { raw_manifest: Vec::new(), ..image });

    let nobody = format!("sha256:{}", "0".repeat(64));
    for unknown in [nobody.as_str(), "sha256:1", "garbage", ""] {
        api.refused(api.images().get_image(of(unknown, false)), Code::NotFound, "not found");
    }

    // An image of a stream may be named by the start of its digest, as long as that means one image.
    let in_stream = |id: &str| GetImageStreamImageRequest {
        namespace: HERE.into(),
        name: "app".into(),
        id: id.into(),
        at: None,
    };
    for id in [&digest[..], &digest[..12], &digest[7..20], "sha256:"] {
        let found = api.ok(api.images().get_image_stream_image(in_stream(id))).image.expect("the image");
        assert_eq!(found.digest, digest, "{id}");
    }
    registry.rebuild();
    api.ok(api.imports().import(import("app", "v1", &registry)));
    let refused =
        |id: &str, code, words| api.refused(api.images().get_image_stream_image(in_stream(id)), code, words);
    refused("sha256:", Code::Aborted, "multiple images match the prefix \"sha256:\"");
    refused(&nobody, Code::NotFound, "not found");
}

/// The structure behind `describe`: a block for each tag that is no alias, and what is true of it.
#[test]
fn a_description() {
    let registry = Faulty::start().expect("a registry");
    let server = Server::start(Options::default()).expect("the server starts");
    let api = Api::of(&server);
    for tag in ["1.0", "2.0", "dev"] {
        api.ok(api.imports().import(import("app", tag, &registry)));
    }
    registry.rebuild();
    api.ok(api.imports().import(import("app", "dev", &registry)));
    registry.turn(Fault::InternalError);
    api.ok(api.imports().import(import("app", "2.0", &registry)));
    let follow = |tag: &str, of: &str| SetTagRequest { alias: true, ..copy("app", tag, of) };
    api.ok(api.tags().set_tag(follow("stable", "app:1.0")));
    api.ok(api.tags().set_tag(follow("also", "app:stable")));
    api.ok(api.tags().set_tag(follow("lost", "app:nosuch")));
    api.ok(api.tags().set_tag(point("app", "named", "x/y:1")));
    registry.turn(Fault::Silent);
    let mut waiting = point("app", "waiting", &format!("{}/team/app:v1", registry.host()));
    waiting.reference = false;
    waiting.import_policy = Some(ImportPolicy { insecure: true, ..Default::default() });
    api.ok(api.tags().set_tag(waiting));

    let described = api.ok(api.streams().describe_image_stream(describe("app"))).description;
    let described = described.expect("a description");
    let stream = described.stream.clone().expect("the stream");
    assert!(stream.tags.is_empty() && stream.statuses.is_empty(), "{stream:?}");
    // Two images, and one item without an image.
    assert_eq!((described.unique_images, described.tag_count), (3, 8));
    let shown: Vec<String> = described
        .tags
        .iter()
        .map(|block| {
            let aliases = block.aliases.join(",");
            let importing = if block.importing { " importing" } else { "" };
            let failed = block.import_failure.as_ref().map_or("", |_| " failed");
            format!("{}[{aliases}] {}{importing}{failed}", block.tag, block.history_length)
        })
        .collect();
    let expected = [
        "2.0[] 1 failed",
        "1.0[also,stable] 1",
        "dev[] 2",
        "lost[] 0 importing",
        "named[] 1",
        "waiting[] 0 importing",
    ];
    assert_eq!(shown, expected);
    let dev = &described.tags[2];
    assert_eq!(dev.items[0].image, registry.digest());
    assert_eq!(dev.items.len(), 2);
    let short = DescribeImageStreamRequest { history_limit: 1, ..describe("app") };
    let short = api.ok(api.streams().describe_image_stream(short)).description.expect("a description");
    assert_eq!((short.tags[2].items.len(), short.tags[2].history_length), (1, 2));
}

#[test]
fn health_and_reflection() {
    let server = Server::start(Options::default()).expect("the server starts");
    let api = Api::of(&server);
    let mut health = HealthClient::new(api.channel.clone());
    let answer = api.ok(health.check(HealthCheckRequest { service: String::new() }));
    assert_eq!(answer.status(), ServingStatus::Serving);
    let unknown = health.check(HealthCheckRequest { service: "nosuch".into() });
    api.refused(unknown, Code::NotFound, "");

    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut reflection = ServerReflectionClient::new(api.channel.clone());
    let answer = api.runtime.block_on(async {
        let mut answers = reflection
            .server_reflection_info(tokio_stream::once(request))
            .await
            .expect("an answer")
            .into_inner();
        answers.message().await.expect("a message").expect("one answer to one question")
    });
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
        panic!("{answer:?}")
    };
    let names: BTreeSet<String> = list.service.into_iter().map(|ServiceResponse { name }| name).collect();
    for service in ["Admin", "Event", "Image", "ImageStream", "Import", "Schedule", "Secret", "Tag"] {
        assert!(names.contains(&format!("tagtrail.v1.{service}Service")), "{names:?}");
    }
    assert!(names.contains("grpc.health.v1.Health"), "{names:?}");
}
