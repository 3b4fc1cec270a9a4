//! The broker dies, hangs, loses its end, loses everything: nothing is lost for who follows.

use std::time::Duration;

use tagtrail_publisher::{Settings, Step, StreamSettings};
use tagtrail_tests::broker::Broker;
use tempfile::TempDir;

use crate::support::{
    Running, all, event, events_in, fill, fill_with, is_empty, jetstream, open, position_file, settings,
};

fn start() -> (Broker, TempDir) {
    (Broker::start(Default::default()).unwrap(), tempfile::tempdir().unwrap())
}

fn with(settings: Settings, change: impl Fn(&mut StreamSettings)) -> Settings {
    let mut settings = settings;
    change(&mut settings.stream);
    settings
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_comes_later_gets_everything() {
    let mut broker = Broker::stopped(Default::default()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    fill(&*log, 50);
    let running = Running::start(settings(&broker), log.clone(), dir.path());
    let step = running.until("trouble", |step| matches!(step, Step::Trouble { .. })).await;
    let Step::Trouble { problem, refused } = step else { unreachable!("asked for") };
    let said = format!("cannot connect to {}: nobody answers there, or the answer broke off", broker.url());
    assert_eq!((problem, refused), (said, false));
    broker.restart().unwrap();
    running.published(50).await;
    assert_eq!(events_in(&broker, "TAGTRAIL").await, all(50));
}

/// Killed and started again, time after time, while events keep coming; each start finds its data.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_dies_again_and_again() {
    let (mut broker, dir) = start();
    let log = open(dir.path());
    let running = Running::start(settings(&broker), log.clone(), dir.path());
    let writer = {
        let log = log.clone();
        tokio::task::spawn_blocking(move || {
            for n in 1..=60 {
                fill(&*log, n * 50);
                std::thread::sleep(Duration::from_millis(50));
            }
        })
    };
    for n in 0..5 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        broker.kill().unwrap();
        tokio::time::sleep(Duration::from_millis(60 * n)).await;
        broker.restart().unwrap();
    }
    writer.await.unwrap();
    running.published(3_000).await;
    assert_eq!(events_in(&broker, "TAGTRAIL").await, all(3_000));
    assert!(running.has_heard(|step| *step == Step::Disconnected));
}

/// Its connections stay, and nothing is answered: acknowledgements run out of time, and some of them were on their way.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_hangs() {
    let (broker, dir) = start();
    let log = open(dir.path());
    let running = Running::start(settings(&broker), log.clone(), dir.path());
    fill(&*log, 10);
    running.published(10).await;
    broker.pause().unwrap();
    fill(&*log, 400);
    running.until("a time-out", |step| matches!(step, Step::Trouble { refused: false, .. })).await;
    broker.resume().unwrap();
    running.published(400).await;
    assert_eq!(events_in(&broker, "TAGTRAIL").await, all(400));
}

/// Deleted under way, wiped while it was down, deleted while nothing happened: filled again from the first event.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_stream_is_filled_again() {
    let (mut broker, dir) = start();
    let log = open(dir.path());
    let running = Running::start(settings(&broker), log.clone(), dir.path());
    fill(&*log, 100);
    running.published(100).await;

    jetstream(&broker).await.delete_stream("TAGTRAIL").await.unwrap();
    running.forget();
    fill(&*log, 110);
    running.published(110).await;
    assert_eq!(events_in(&broker, "TAGTRAIL").await, all(110));

    broker.terminate().unwrap();
    broker.wipe().unwrap();
    running.forget();
    broker.restart().unwrap();
    running.published(110).await;
    assert_eq!(events_in(&broker, "TAGTRAIL").await, all(110));

    jetstream(&broker).await.delete_stream("TAGTRAIL").await.unwrap();
    running.forget();
    running.published(110).await; // Without any event: it is looked after.
    assert_eq!(events_in(&broker, "TAGTRAIL").await, all(110));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_stream_waits_for_somebody_where_it_is_told_to() {
    let (mut broker, dir) = start();
    let log = open(dir.path());
    let careful = with(settings(&broker), |stream| stream.rebuild_lost = false);
    let running = Running::start(careful.clone(), log.clone(), dir.path());
    fill(&*log, 20);
    running.published(20).await;
    running.until("remembered", |step| *step == Step::Remembered(20)).await;
    broker.terminate().unwrap();
    broker.wipe().unwrap();
    broker.restart().unwrap();
    let said = running.refused().await;
    assert!(
        said.starts_with("the stream TAGTRAIL was lost or emptied: 20 events had been published"),
        "{said}"
    );
    running.stop().await;
    // Somebody decides.
    let running = Running::start(settings(&broker), log.clone(), dir.path());
    running.published(20).await;
    assert_eq!(events_in(&broker, "TAGTRAIL").await, all(20));
}

/// A broker that acknowledges before it syncs comes back from a power cut with less than it had said: here, with a copy of
/// its files from before.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_broker_lost_of_its_end_is_sent_again() {
    let (mut broker, dir) = start();
    let log = open(dir.path());
    let running = Running::start(settings(&broker), log.clone(), dir.path());
    fill(&*log, 60);
    running.published(60).await;
    broker.terminate().unwrap();
    let copy = dir.path().join("copy");
    copy_tree(&broker.store(), &copy);
    broker.restart().unwrap();
    fill(&*log, 90);
    running.published(90).await;
    broker.kill().unwrap();
    broker.wipe().unwrap();
    copy_tree(&copy, &broker.store());
    running.forget();
    broker.restart().unwrap();
    running.until("a look", |step| *step == Step::Resumed(60)).await;
    running.published(90).await;
    assert_eq!(events_in(&broker, "TAGTRAIL").await, all(90));
}

/// Nothing left to tell by: the position remembered here is what keeps old events from coming once more.
#[tokio::test(flavor = "multi_thread")]
async fn messages_that_grew_too_old_are_not_sent_again() {
    let (broker, dir) = start();
    let log = open(dir.path());
    let short = with(settings(&broker), |stream| {
        stream.max_age = Duration::from_secs(1);
        stream.duplicate_window = Duration::from_millis(200);
    });
    let running = Running::start(short.clone(), log.clone(), dir.path());
    fill(&*log, 30);
    running.published(30).await;
    running.stop().await;
    empty(&broker).await;
    let running = Running::start(short.clone(), log.clone(), dir.path());
    running.until("a look", |step| *step == Step::Resumed(30)).await;
    fill(&*log, 33);
    running.published(33).await;
    let stream = jetstream(&broker).await.get_stream("TAGTRAIL").await.unwrap();
    assert_eq!(stream.cached_info().state.last_sequence, 33, "three more messages, and no old ones");
    running.stop().await;
    // Without it, better twice than not at all.
    std::fs::remove_file(position_file(dir.path())).unwrap();
    empty(&broker).await;
    let running = Running::start(short, log, dir.path());
    running.until("a look", |step| *step == Step::Resumed(0)).await;
    running.published(33).await;
}

/// Waits until all messages grew too old.
async fn empty(broker: &Broker) {
    let begun = std::time::Instant::now();
    while !is_empty(broker, "TAGTRAIL").await {
        assert!(begun.elapsed() < Duration::from_secs(20), "they do not grow too old");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The stream has nothing left to tell by, and the data directory is one from before: its next events would go out under
/// ids that other events have had.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_copy_of_the_log_is_found_out_by_an_empty_stream_too() {
    let (broker, dir) = start();
    let short = with(settings(&broker), |stream| {
        stream.max_age = Duration::from_secs(1);
        stream.duplicate_window = Duration::from_millis(200);
    });
    let log = open(dir.path());
    fill(&*log, 10);
    let running = Running::start(short.clone(), log.clone(), dir.path());
    running.published(10).await;
    running.stop().await;
    drop(log);
    let copy = tempfile::tempdir().unwrap();
    copy_tree(dir.path(), copy.path());
    let log = open(dir.path());
    fill(&*log, 15);
    let running = Running::start(short.clone(), log, dir.path());
    running.published(15).await;
    running.stop().await;
    empty(&broker).await;
    let older = open(copy.path());
    fill_with(&*older, 12, |sequence| event(sequence, 1_000));
    let running = Running::start(short, older, copy.path());
    let said = running.refused().await;
    assert!(said.starts_with("event 15 of this log was published to the stream TAGTRAIL, and"), "{said}");
    assert!(is_empty(&broker, "TAGTRAIL").await);
}

fn copy_tree(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
