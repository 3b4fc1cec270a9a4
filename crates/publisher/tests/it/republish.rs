//! A part of the log once more, into another stream.

use tagtrail_publisher::{Republish, RepublishError};
use tagtrail_tests::broker::Broker;

use crate::support::{Running, all, events_in, fill, open, settings};

#[tokio::test(flavor = "multi_thread")]
async fn beside_the_live_stream() {
    let broker = Broker::start(Default::default()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    fill(&*log, 600);
    let running = Running::start(settings(&broker), log.clone(), dir.path());
    let again = |range, stream: &str, prefix: &str| {
        Republish::new(&settings(&broker), log.clone(), range, stream, prefix)
    };
    let run = async |republish: Republish| {
        let mut told = Vec::new();
        republish.run(|event, count| told.push((event, count))).await.unwrap();
        *told.last().unwrap()
    };
    assert_eq!(run(again((0, 0), "", "copy.of").unwrap()).await, (600, 600));
    assert_eq!(events_in(&broker, "COPY_OF").await, all(600));
    // Asked again it goes on, or has nothing to do.
    assert_eq!(run(again((0, 0), "", "copy.of").unwrap()).await, (600, 0));
    fill(&*log, 605);
    assert_eq!(run(again((0, 0), "", "copy.of").unwrap()).await, (605, 5));
    assert_eq!(run(again((100, 120), "PART", "").unwrap()).await, (120, 21));
    assert_eq!(events_in(&broker, "PART").await, (100..=120).collect::<Vec<_>>());
    // What it holds has no gap, and begins where it began.
    let gap = async |range| match again(range, "PART", "").unwrap().run(|_, _| {}).await.unwrap_err() {
        RepublishError::Refused(why) => why,
        other => panic!("{other}"),
    };
    let said = "the stream PART is for events from 100 on, and ends with 120: begin between 100 and 121, or name another stream";
    assert_eq!(gap((1, 10)).await, said);
    assert_eq!(gap((130, 140)).await, said);
    assert_eq!(run(again((110, 125), "PART", "").unwrap()).await, (125, 5));
    assert_eq!(events_in(&broker, "PART").await, (100..=125).collect::<Vec<_>>());
    running.published(605).await;
    assert_eq!(events_in(&broker, "TAGTRAIL").await, all(605), "the live one is what it was");

    let refused = |range, stream, prefix| match again(range, stream, prefix) {
        Err(error) => error,
        Ok(_) => panic!("{range:?} {stream} {prefix} is taken"),
    };
    assert!(
        matches!(refused((0, 0), "TAGTRAIL", "x"), RepublishError::Refused(why) if why.contains("behind new ones"))
    );
    assert!(matches!(refused((0, 0), "X", "tagtrail"), RepublishError::Refused(_)));
    assert!(matches!(refused((0, 0), "", ""), RepublishError::Refused(_)));
    assert!(matches!(refused((0, 0), "A B", ""), RepublishError::Refused(why) if why.contains("is no name")));
    assert!(matches!(refused((9, 8), "X", ""), RepublishError::OutOfRange(_)));
    assert!(
        matches!(refused((1, 606), "X", ""), RepublishError::OutOfRange(why) if why.contains("has 1 to 605"))
    );
    // Under the live prefix's own subjects there is no place for another stream.
    let error = again((0, 0), "INSIDE", "tagtrail.events").unwrap().run(|_, _| {}).await.unwrap_err();
    assert!(
        matches!(&error, RepublishError::Refused(why) if why.contains("another one takes messages")),
        "{error}"
    );
}

/// Asked while there is no broker: an answer, and nobody who goes on dialling.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_broker() {
    let broker = Broker::stopped(Default::default()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    fill(&*log, 5);
    let republish = Republish::new(&settings(&broker), log, (0, 0), "X", "").unwrap();
    let error = republish.run(|_, _| {}).await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot connect to {}: ", broker.url())), "{error}");
    assert!(error.ends_with("; ask again to go on from there"), "{error}");
}
