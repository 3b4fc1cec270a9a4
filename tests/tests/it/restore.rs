//! Undelete: what was deleted comes back as it was.

use tagtrail_api::v1::moment::When;
use tagtrail_api::v1::*;
use tagtrail_tests::faulty::Faulty;
use tagtrail_tests::server::{Options, Server};
use tonic::Code;

use crate::api::Api;
use crate::pool::{HERE, Pool, image, set, tag};

fn restore(tag: &str) -> RestoreRequest {
    RestoreRequest { namespace: HERE.into(), name: "app".into(), tag: tag.into(), ..Default::default() }
}

fn untag(tag: &str) -> DeleteTagRequest {
    DeleteTagRequest { namespace: HERE.into(), name: "app".into(), tag: tag.into(), ..Default::default() }
}

fn delete() -> DeleteImageStreamRequest {
    DeleteImageStreamRequest { namespace: HERE.into(), name: "app".into(), write: None }
}

/// What each tag points to and pointed to, newest first, and what it follows.
fn tags(api: &Api) -> Vec<(String, Vec<String>, String, bool)> {
    let request =
        DescribeImageStreamRequest { namespace: HERE.into(), name: "app".into(), ..Default::default() };
    let described = api.ok(api.streams().describe_image_stream(request)).description.expect("a description");
    let tag = |tag: TagDescription| {
        let follows = tag.spec.and_then(|spec| spec.source).map(|source| source.name).unwrap_or_default();
        let name = format!("{}{}", tag.tag, tag.aliases.iter().map(|a| format!(",{a}")).collect::<String>());
        (name, tag.items.into_iter().map(|item| item.image).collect(), follows, tag.hold.is_some())
    };
    described.tags.into_iter().map(tag).collect()
}

#[test]
fn what_was_deleted_comes_back_as_it_was() {
    let registry = Faulty::start().expect("a registry");
    let server = Server::start(Options::default()).expect("the server starts");
    let api = Api::of(&server);
    let pool = Pool::filled(&api, &registry, 3);
    for digest in &pool.0 {
        api.ok(api.tags().set_tag(set("app", "prod", image(digest))));
    }
    api.ok(api.tags().set_tag(SetTagRequest { alias: true, ..set("app", "live", tag("app:prod")) }));
    let before = tags(&api);

    // A tag.
    api.ok(api.tags().delete_tag(untag("prod")));
    let restored = api.ok(api.tags().restore(restore("prod")));
    assert_eq!(restored.tags, ["prod"]);
    assert_eq!(tags(&api), before);
    // A stream, with a hold; the tag that was deleted before stays away.
    let hold =
        HoldRequest { namespace: HERE.into(), name: "app".into(), tag: "prod".into(), ..Default::default() };
    api.ok(api.tags().hold(hold));
    api.ok(api.tags().set_tag(set("app", "old", image(&pool.0[0]))));
    let with_old = api.head();
    api.ok(api.tags().delete_tag(untag("old")));
    let before = tags(&api);
    assert!(before[0].3, "held");
    let first_life = api.head();
    api.ok(api.streams().delete_image_stream(delete()));
    let tried = api.ok(api.tags().restore(RestoreRequest { dry_run: true, ..restore("") }));
    assert_eq!((tried.tags, api.head()), (vec!["live".to_owned(), "prod".to_owned()], first_life + 1));
    let restored = api.ok(api.tags().restore(restore("")));
    assert_eq!((restored.at.map(|at| at.sequence), tags(&api)), (Some(first_life), before.clone()));
    // A tag of before, at a moment.
    let at = |sequence| Some(Moment { when: Some(When::Sequence(sequence)) });
    let restored = api.ok(api.tags().restore(RestoreRequest { at: at(with_old), ..restore("old") }));
    assert_eq!((restored.tags, restored.at.map(|at| at.sequence)), (vec!["old".to_owned()], Some(with_old)));
    // A single tag of a stream that is gone brings the stream with it.
    api.ok(api.streams().delete_image_stream(delete()));
    api.ok(api.tags().restore(restore("prod")));
    assert_eq!(tags(&api).len(), 1);

    // A repeat of a request gets its first answer.
    api.ok(api.tags().delete_tag(untag("prod")));
    let write = Some(WriteOptions { request_id: "once".into(), ..WriteOptions::default() });
    let once = RestoreRequest { write, ..restore("prod") };
    let first = api.ok(api.tags().restore(once.clone()));
    let again = api.ok(api.tags().restore(once));
    assert!(again.result.is_some_and(|result| result.repeated));
    assert_eq!((again.tags, again.at), (first.tags, first.at));

    // What cannot come back.
    let refused = |request, code, words: &str| api.refused(api.tags().restore(request), code, words);
    refused(restore("prod"), Code::AlreadyExists, "\"app:prod\" already exists");
    refused(restore(""), Code::AlreadyExists, "\"app\" already exists");
    refused(restore("nope"), Code::NotFound, "\"app:nope\" not found");
    refused(RestoreRequest { name: "nope".into(), ..restore("") }, Code::NotFound, "\"nope\" not found");
    let too_early = RestoreRequest { at: at(1), ..restore("old") };
    refused(too_early, Code::FailedPrecondition, "did not exist at sequence");
}
