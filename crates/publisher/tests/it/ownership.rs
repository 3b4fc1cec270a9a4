//! A stream that is somebody else's, or not as it should be: refused, said why, and left alone.

use std::collections::HashMap;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::stream::{Config, PersistenceMode, RetentionPolicy, StorageType};
use tagtrail_event_log::LogId;
use tagtrail_tests::broker::Broker;

use crate::support::{Running, all, event, events_in, fill, fill_with, jetstream, open, open_as, settings};

fn broker() -> Broker {
    Broker::start(Default::default()).unwrap()
}

/// Publishes into a broker that holds this stream already, and gives what is said.
async fn refused(config: Config) -> String {
    let broker = broker();
    let jetstream = jetstream(&broker).await;
    jetstream.create_stream(config.clone()).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    fill(&*log, 5);
    let running = Running::start(settings(&broker), log, dir.path());
    let said = running.refused().await;
    let stream = jetstream.get_stream(&config.name).await.unwrap();
    assert_eq!(stream.cached_info().state.last_sequence, 0, "it was left alone");
    assert_eq!(stream.cached_info().config.subjects, config.subjects);
    said
}

fn ours() -> Config {
    Config { name: "TAGTRAIL".into(), subjects: vec!["tagtrail.events.>".into()], ..Config::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_not_as_it_should_be() {
    let check = async |config: Config, part: &str| {
        let said = refused(config).await;
        assert!(said.contains(part), "{said}");
    };
    check(
        Config { subjects: vec!["orders.>".into()], ..ours() },
        "the stream TAGTRAIL takes messages on orders.>, not on tagtrail.events.>; set nats.stream and",
    )
    .await;
    check(
        Config { name: "ALL".into(), subjects: vec!["tagtrail.>".into()], ..ours() },
        "cannot be created: another one takes messages on tagtrail.events.>; set",
    )
    .await;
    check(Config { storage: StorageType::Memory, ..ours() }, "is kept in memory and goes with its broker")
        .await;
    check(
        Config { retention: RetentionPolicy::WorkQueue, ..ours() },
        "drops messages once they are consumed, whoever else wants them; delete it, and it is created anew",
    )
    .await;
    check(Config { no_ack: true, ..ours() }, "is sealed, acknowledges nothing, or copies").await;
    check(Config { max_messages_per_subject: 1, ..ours() }, "keeps only 1 messages of each subject").await;
    check(Config { persist_mode: Some(PersistenceMode::Async), ..ours() }, "what it has not stored (persist")
        .await;
    let metadata = HashMap::from([("tagtrail-log".to_owned(), "ab".repeat(16))]);
    let said = refused(Config { metadata, ..ours() }).await;
    assert!(
        said.starts_with("the stream TAGTRAIL belongs to another server: it is kept for the log abab"),
        "{said}"
    );
    assert!(said.contains("and this server's is 5a5a5a5a"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_somebody_else() {
    let broker = broker();
    let jetstream = jetstream(&broker).await;
    jetstream.create_stream(ours()).await.unwrap();
    jetstream.publish("tagtrail.events.a.b.c.d", "hello".into()).await.unwrap().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    fill(&*log, 5);
    let running = Running::start(settings(&broker), log, dir.path());
    let said = running.refused().await;
    let expected = "the stream TAGTRAIL is somebody else's: its newest message is on tagtrail.events.a.b.c.d and no event of \
                    Tagtrail; set nats.stream and nats.subject_prefix to names that nothing else uses";
    assert_eq!(said, expected);
}

/// A stream that an operator has made, with limits of their own, is taken over as long as it is empty.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_made_by_hand() {
    let broker = broker();
    let jetstream = jetstream(&broker).await;
    jetstream.create_stream(Config { max_messages: 1_000, ..ours() }).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    fill(&*log, 5);
    let running = Running::start(settings(&broker), log.clone(), dir.path());
    running.published(5).await;
    let config = jetstream.get_stream("TAGTRAIL").await.unwrap().cached_info().config.clone();
    assert_eq!(config.metadata["tagtrail-log"], "5a".repeat(16), "from now on it says whose it is");
    assert_eq!(config.max_messages, 1_000, "what we have no wish about stays");
    assert!(config.deny_delete && config.deny_purge, "what is in the middle stays");
    running.stop().await;

    // The configuration changes, and so does the stream.
    let mut changed = settings(&broker);
    changed.stream.max_age = Duration::from_secs(3_600);
    changed.stream.max_bytes = 1 << 20;
    let running = Running::start(changed, log, dir.path());
    running.published(5).await;
    let config = jetstream.get_stream("TAGTRAIL").await.unwrap().cached_info().config.clone();
    assert_eq!((config.max_age, config.max_bytes), (Duration::from_secs(3_600), 1 << 20));
    assert_eq!(events_in(&broker, "TAGTRAIL").await, all(5));
}

/// Two servers, each with a log of its own, are told to publish to one stream.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_log() {
    let broker = broker();
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let first = open(dirs[0].path());
    fill(&*first, 5);
    let one = Running::start(settings(&broker), first.clone(), dirs[0].path());
    one.published(5).await;
    let second = open_as(dirs[1].path(), LogId::from_bytes([0xC3; 16]));
    fill(&*second, 9);
    let two = Running::start(settings(&broker), second, dirs[1].path());
    let said = two.refused().await;
    assert!(said.contains("belongs to another server: it is kept for the log 5a5a"), "{said}");
    fill(&*first, 12);
    one.published(12).await;
    assert_eq!(events_in(&broker, "TAGTRAIL").await, all(12));
}

/// A data directory was copied, and both servers go on from it: their logs have one id, and different events.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_the_log() {
    let broker = broker();
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [first, copy] = [0, 1].map(|n| open(dirs[n].path()));
    fill(&*first, 5);
    fill(&*copy, 5);
    let one = Running::start(settings(&broker), first.clone(), dirs[0].path());
    one.published(5).await;
    // As long as they say the same, there is nothing to tell them apart by, and nothing to be harmed.
    let two = Running::start(settings(&broker), copy.clone(), dirs[1].path());
    two.published(5).await;
    fill(&*first, 8);
    one.published(8).await;
    fill_with(&*copy, 7, |sequence| event(sequence, 1_000));
    let said = two.refused().await;
    assert!(
        said.contains("ends with event 8 of this log, and the log itself with 7: an older copy"),
        "{said}"
    );
    two.forget();
    fill_with(&*copy, 20, |sequence| event(sequence, 1_000));
    let said = two.refused().await;
    assert!(said.contains("the stream TAGTRAIL holds another event 8 than this log"), "{said}");
    fill(&*first, 12);
    one.published(12).await;
    assert_eq!(events_in(&broker, "TAGTRAIL").await, all(12), "the other has put nothing in");
}

/// Somebody writes into the stream while it is published to. What we have not sent is not ours to be confused by.
#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_among_our_messages() {
    let broker = broker();
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    fill(&*log, 5);
    let running = Running::start(settings(&broker), log.clone(), dir.path());
    running.published(5).await;
    let mut headers = HeaderMap::new();
    headers.insert("ce-source", "/somebody");
    let jetstream = jetstream(&broker).await;
    let sent = jetstream.publish_with_headers("tagtrail.events.x", headers, "?".into()).await.unwrap();
    sent.await.unwrap();
    fill(&*log, 6);
    let said = running.refused().await;
    assert!(said.contains("is somebody else's: its newest message is from /somebody;"), "{said}");
}

/// Somebody's message takes the place of the first of several that are sent together: those behind it find the number they expect,
/// and must not be stored all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_in_the_place_of_one_of_several() {
    let broker = broker();
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    fill(&*log, 5);
    let running = Running::start(settings(&broker), log.clone(), dir.path());
    running.published(5).await;
    let client = jetstream(&broker).await;
    client.publish("tagtrail.events.x", "?".into()).await.unwrap().await.unwrap();
    fill(&*log, 30);
    let said = running.refused().await;
    assert!(said.contains("is somebody else's: its newest message is on tagtrail.events.x"), "{said}");
    let stream = client.get_stream("TAGTRAIL").await.unwrap();
    assert_eq!(stream.cached_info().state.last_sequence, 6, "nothing was stored behind it");
}

/// Both copies go on, the second with more events at once: what it sends behind the first one's event is not stored.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_the_log_that_writes_more_at_once() {
    let broker = broker();
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [first, copy] = [0, 1].map(|n| open(dirs[n].path()));
    fill(&*first, 5);
    fill(&*copy, 5);
    let one = Running::start(settings(&broker), first.clone(), dirs[0].path());
    let two = Running::start(settings(&broker), copy.clone(), dirs[1].path());
    one.published(5).await;
    two.published(5).await;
    fill(&*first, 6);
    one.published(6).await;
    fill_with(&*copy, 30, |sequence| event(sequence, 1_000));
    let said = two.refused().await;
    assert!(said.contains("the stream TAGTRAIL holds another event 6 than this log"), "{said}");
    fill(&*first, 12);
    one.published(12).await;
    assert_eq!(events_in(&broker, "TAGTRAIL").await, all(12));
}
