//! Ways to reach a broker: users, tokens, TLS; and what is said where there is none.

use tagtrail_publisher::{Connection, Encoding, Settings, Step};
use tagtrail_tests::broker::{Broker, Options};

use crate::support::{Running, all, event, events_in, fill, jetstream, open, settings};

fn broker(config: &str) -> Broker {
    Broker::start(Options { config: config.into(), ..Options::default() }).unwrap()
}

async fn publishes(settings: Settings) {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    fill(&*log, 5);
    let running = Running::start(settings, log, dir.path());
    running.published(5).await;
    running.stop().await;
}

/// What is told, as soon as it is told with these words in it.
async fn told(settings: Settings, part: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    fill(&*log, 5);
    let running = Running::start(settings, log, dir.path());
    let has = |step: &Step| matches!(step, Step::Trouble { problem, .. } if problem.contains(part));
    match running.until(part, has).await {
        Step::Trouble { problem, .. } => problem,
        _ => unreachable!("asked for trouble"),
    }
}

fn as_user(broker: &Broker, password: &str) -> Settings {
    let mut settings = settings(broker);
    settings.connection =
        Connection { user: Some("trail".into()), password: Some(password.into()), ..settings.connection };
    settings
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_and_a_token() {
    let broker = broker("authorization { user: trail, password: \"s3cret\" }");
    publishes(as_user(&broker, "s3cret")).await;
    let said = told(as_user(&broker, "wr0ng"), "authorization").await;
    assert!(said.contains("authorization violation") && !said.contains("wr0ng"), "{said}");

    let broker = self::broker("authorization { token: \"t0ken\" }");
    let mut with_token = settings(&broker);
    with_token.connection.token = Some("t0ken".into());
    publishes(with_token).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_without_jetstream() {
    let broker = broker("accounts { A { users: [{ user: trail, password: p }] } }");
    let said = told(as_user(&broker, "p"), "JetStream").await;
    assert!(said.starts_with("the NATS server has no JetStream for this account: start it with"), "{said}");
}

/// What a broker cannot take is named, with what to do; what comes before it is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_takes_only_small_messages() {
    let broker = broker("max_payload: 4096");
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    fill(&*log, 3);
    let large = |sequence| tagtrail_api::v1::Event { reason: "x".repeat(5_000), ..event(sequence, 0) };
    crate::support::fill_with(&*log, 4, large);
    let running = Running::start(settings(&broker), log, dir.path());
    let said = running.refused().await;
    assert!(said.starts_with("event 4 makes a message of 5"), "{said}");
    assert!(said.ends_with("and the NATS server takes at most 4096: raise its max_payload"), "{said}");
    running.stop().await;
    assert_eq!(events_in(&broker, "TAGTRAIL").await, all(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bytes_of_the_log_where_they_are_asked_for() {
    let broker = broker("");
    let mut as_protobuf = settings(&broker);
    as_protobuf.stream.encoding = Encoding::Protobuf;
    publishes(as_protobuf).await;
    let stream = jetstream(&broker).await.get_stream("TAGTRAIL").await.unwrap();
    let message = stream.direct_get(3).await.unwrap();
    let read = <tagtrail_api::v1::Event as prost::Message>::decode(message.payload).unwrap();
    assert_eq!(read, event(3, 0));
}
