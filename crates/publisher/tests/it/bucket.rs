//! The bucket holds what each tag points to now: what folding the log gives.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use async_nats::jetstream::kv::Operation;
use futures_util::{StreamExt as _, TryStreamExt as _};
use tagtrail_api::v1::event::Fact;
use tagtrail_api::v1::{Event, HistoryItem, StreamDeleted, TagMoved};
use tagtrail_event_log::Log;
use tagtrail_publisher::{Settings, Step};
use tagtrail_tests::broker::Broker;

use crate::support::{Running, event, fill, fill_with, jetstream, open, settings};

fn with_bucket(broker: &Broker) -> Settings {
    Settings { bucket: Some("tags".into()), ..settings(broker) }
}

/// What the bucket holds: the sequence of each key.
async fn held(broker: &Broker) -> BTreeMap<String, u64> {
    let store = jetstream(broker).await.get_key_value("tags").await.unwrap();
    let keys: Vec<String> = store.keys().await.unwrap().try_collect().await.unwrap();
    let mut held = BTreeMap::new();
    for key in keys {
        let entry = store.entry(&key).await.unwrap().unwrap();
        assert_eq!(entry.operation, Operation::Put);
        let value: serde_json::Value = serde_json::from_slice(&entry.value).unwrap();
        let sequence = value["sequence"].as_u64().unwrap();
        assert_eq!(value["image"], format!("sha256:{sequence:064x}"), "{key}");
        assert_eq!(value["reference"], format!("quay.io/a/b@sha256:{sequence:064x}"));
        held.insert(key, sequence);
    }
    held
}

/// The same from the log.
fn folded(log: &dyn Log) -> BTreeMap<String, u64> {
    let mut tags = BTreeMap::new();
    for sequence in 1..=log.head() {
        match event(sequence, 0).fact.unwrap() {
            Fact::TagMoved(moved) => _ = tags.insert(key(&moved.tag), sequence),
            Fact::TagRestored(restored) => _ = tags.insert(key(&restored.tag), sequence),
            Fact::TagDeleted(deleted) => _ = tags.remove(&key(&deleted.tag)),
            Fact::StreamDeleted(_) => tags.clear(),
            _ => {}
        }
    }
    tags
}

fn key(tag: &str) -> String {
    format!("test.my=2Eapp.{}", tag.replace('.', "=2E"))
}

async fn up_to(running: &Running, log: &Arc<dyn Log>) {
    let head = log.head();
    running.until("the bucket", |step| *step == Step::BucketAt(head)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_each_tag_points_to_now() {
    let mut broker = Broker::start(Default::default()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let running = Running::start(with_bucket(&broker), log.clone(), dir.path());
    for head in [2, 3, 6, 7, 13, 14, 15, 25] {
        fill(&*log, head);
        up_to(&running, &log).await;
        assert_eq!(held(&broker).await, folded(&*log), "at {head}");
    }
    // Killed in the midst of many, and again filled from nothing.
    fill(&*log, 4_000);
    broker.kill().unwrap();
    broker.restart().unwrap();
    up_to(&running, &log).await;
    assert_eq!(held(&broker).await, folded(&*log));
    broker.terminate().unwrap();
    broker.wipe().unwrap();
    running.forget();
    broker.restart().unwrap();
    up_to(&running, &log).await;
    assert_eq!(held(&broker).await, folded(&*log));
    running.stop().await;
    // Somebody deletes it, and another server starts later.
    jetstream(&broker).await.delete_key_value("tags").await.unwrap();
    let running = Running::start(with_bucket(&broker), log.clone(), dir.path());
    up_to(&running, &log).await;
    assert_eq!(held(&broker).await, folded(&*log));
}

/// Cut off between two keys that one event changes: what was left of it is done first.
#[tokio::test(flavor = "multi_thread")]
async fn half_of_an_event_is_not_taken_for_all_of_it() {
    let broker = Broker::start(Default::default()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    fill(&*log, 13);
    let running = Running::start(with_bucket(&broker), log.clone(), dir.path());
    up_to(&running, &log).await;
    running.stop().await;
    let before = held(&broker).await;
    assert!(before.len() > 1, "{before:?}");
    // Event 14 deletes the stream. As if the publisher had died after its first key:
    fill(&*log, 14);
    let mut headers = async_nats::HeaderMap::new();
    for (name, value) in [
        ("ce-source", format!("/tagtrail/logs/{}", log.id()).as_str()),
        ("ce-sequence", "00000000000000000014"),
        ("ce-subject", "test/my.app"),
        ("ce-type", "tagtrail.v1.stream-deleted"),
        ("ce-time", "2023-11-14T22:13:34Z"),
        ("KV-Operation", "DEL"),
    ] {
        headers.insert(name, value);
    }
    let first = format!("$KV.tags.{}", before.keys().next().unwrap());
    let client = jetstream(&broker).await;
    let sent = client.publish_with_headers(first, headers, "".into()).await.unwrap();
    sent.await.unwrap();
    let running = Running::start(with_bucket(&broker), log.clone(), dir.path());
    up_to(&running, &log).await;
    assert_eq!(held(&broker).await, BTreeMap::new());
}

/// Who watches a key hears of each change, deletions too.
#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_of_the_bucket() {
    let broker = Broker::start(Default::default()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let running = Running::start(with_bucket(&broker), log.clone(), dir.path());
    running.until("the bucket", |step| *step == Step::BucketTrouble(String::new())).await;
    let store = jetstream(&broker).await.get_key_value("tags").await.unwrap();
    let mut watch = store.watch("test.my=2Eapp.v0=2E0").await.unwrap();
    for head in [3, 6] {
        fill(&*log, head);
        up_to(&running, &log).await;
    }
    let heard = [watch.next().await.unwrap().unwrap(), watch.next().await.unwrap().unwrap()];
    assert_eq!(heard.map(|entry| entry.operation), [Operation::Put, Operation::Delete]);
}

/// The event of a stream's deletion names only its first tags.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_with_very_many_tags_goes_whole() {
    let broker = Broker::start(Default::default()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let tags: Vec<String> = (0..450).map(|n| format!("t{n:03}")).collect();
    let moved = |sequence: u64, tag: &str| Event {
        fact: Some(Fact::TagMoved(TagMoved {
            tag: tag.into(),
            item: Some(HistoryItem { image: format!("sha256:{sequence:064x}"), ..HistoryItem::default() }),
            ..TagMoved::default()
        })),
        ..event(sequence, 0)
    };
    let number = |sequence: u64| usize::try_from(sequence).unwrap();
    fill_with(&*log, 450, |sequence| moved(sequence, &tags[number(sequence) - 1]));
    let first: Vec<String> = tags[..400].to_vec();
    let deleted = Fact::StreamDeleted(StreamDeleted { tags: first });
    fill_with(&*log, 451, |sequence| Event { fact: Some(deleted.clone()), ..event(sequence, 0) });
    fill_with(&*log, 452, |sequence| moved(sequence, "t449"));
    let running = Running::start(with_bucket(&broker), log.clone(), dir.path());
    up_to(&running, &log).await;
    let store = jetstream(&broker).await.get_key_value("tags").await.unwrap();
    let keys: Vec<String> = store.keys().await.unwrap().try_collect().await.unwrap();
    assert_eq!(keys, ["test.my=2Eapp.t449"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_somebody_elses() {
    let broker = Broker::start(Default::default()).unwrap();
    let config = async_nats::jetstream::kv::Config { bucket: "tags".into(), ..Default::default() };
    let store = jetstream(&broker).await.create_key_value(config).await.unwrap();
    store.put("theirs", "x".into()).await.unwrap();
    let dir: &Path = &tempfile::tempdir().unwrap().keep();
    let log = open(dir);
    fill(&*log, 5);
    let running = Running::start(with_bucket(&broker), log, dir);
    let step =
        running.until("trouble", |step| matches!(step, Step::BucketTrouble(why) if !why.is_empty())).await;
    let Step::BucketTrouble(why) = step else { unreachable!("asked for") };
    assert!(why.contains("KV_tags is somebody else's"), "{why}");
    assert!(why.ends_with("set nats.bucket to a name that nothing else uses"), "{why}");
    running.published(5).await; // The events do not wait for it.
}

/// Two servers went on from copies of one data directory: what one has written the other does not go on with.
#[tokio::test(flavor = "multi_thread")]
async fn the_bucket_of_another_history() {
    let broker = Broker::start(Default::default()).unwrap();
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [first, copy] = [0, 1].map(|n| open(dirs[n].path()));
    fill(&*first, 10);
    let running = Running::start(with_bucket(&broker), first.clone(), dirs[0].path());
    up_to(&running, &first).await;
    running.stop().await;
    fill(&*copy, 3);
    let said = bucket_trouble(&broker, &copy, dirs[1].path(), "ends with 3").await;
    assert!(said.starts_with("the bucket tags is at event 10 of this log"), "{said}");
    fill_with(&*copy, 20, |sequence| event(sequence, 1_000));
    let said = bucket_trouble(&broker, &copy, dirs[1].path(), "another event").await;
    assert!(said.starts_with("the bucket tags holds another event 10 than this log"), "{said}");
    assert_eq!(held(&broker).await, folded(&*first), "it is as it was");
}

async fn bucket_trouble(broker: &Broker, log: &Arc<dyn Log>, dir: &Path, part: &str) -> String {
    let running = Running::start(with_bucket(broker), log.clone(), dir);
    let has = |step: &Step| matches!(step, Step::BucketTrouble(why) if why.contains(part));
    let step = running.until(part, has).await;
    running.stop().await;
    match step {
        Step::BucketTrouble(why) => why,
        _ => unreachable!("asked for trouble"),
    }
}

/// `nats kv compact`, or somebody who tidies up: what it tells by is gone, and nothing of the present with it.
#[tokio::test(flavor = "multi_thread")]
async fn newest_entries_that_were_purged() {
    let broker = Broker::start(Default::default()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    fill(&*log, 6); // The newest entry is a deletion.
    let running = Running::start(with_bucket(&broker), log.clone(), dir.path());
    up_to(&running, &log).await;
    running.stop().await;
    let client = jetstream(&broker).await;
    let stream = client.get_stream("KV_tags").await.unwrap();
    let newest = stream.get_raw_message(stream.cached_info().state.last_sequence).await.unwrap();
    stream.purge().filter(newest.subject.as_str()).await.unwrap();
    fill(&*log, 13);
    let running = Running::start(with_bucket(&broker), log.clone(), dir.path());
    up_to(&running, &log).await;
    assert_eq!(held(&broker).await, folded(&*log));
}

/// Failed imports come and go, and none of them is written: a bucket that is gone is missed all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_deleted_while_nothing_moves() {
    let broker = Broker::start(Default::default()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    fill(&*log, 4);
    let running = Running::start(with_bucket(&broker), log.clone(), dir.path());
    up_to(&running, &log).await;
    jetstream(&broker).await.delete_key_value("tags").await.unwrap();
    let failed = |sequence| Event { fact: event(5, 0).fact, ..event(sequence, 0) };
    let begun = std::time::Instant::now();
    let filled = async || {
        jetstream(&broker).await.get_key_value("tags").await.is_ok() && held(&broker).await.len() == 3
    };
    while !filled().await {
        assert!(begun.elapsed() < std::time::Duration::from_secs(25), "nobody misses it");
        fill_with(&*log, log.head() + 1, failed);
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
}
