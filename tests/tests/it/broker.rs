//! The broker of the tests is what they take it for: it loses nothing when it is killed, comes back where it was, and forgets
//! when it is told to.

use std::time::Duration;

use async_nats::jetstream::{self, stream::Config};
use tagtrail_tests::broker::{Broker, Options};
use tagtrail_tests::port::Port;
use tagtrail_tests::tls::{Certificates, Pair};
use tokio::time::timeout;

/// Longer than any answer takes that comes at all.
const SOON: Duration = Duration::from_secs(10);

async fn jetstream(broker: &Broker) -> jetstream::Context {
    jetstream::new(async_nats::connect(broker.url()).await.expect("a connection"))
}

/// How many messages the stream `S` holds, made if it is not there.
async fn messages(broker: &Broker) -> u64 {
    let config = Config { name: "S".into(), subjects: vec!["s.>".into()], ..Config::default() };
    let mut stream = jetstream(broker).await.get_or_create_stream(config).await.expect("a stream");
    stream.info().await.expect("its state").state.messages
}

async fn publish(broker: &Broker) {
    let context = jetstream(broker).await;
    let sent = context.publish("s.one", "1".into()).await.expect("a message is sent");
    sent.await.expect("it is acknowledged");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_comes_back_with_its_data_until_it_is_wiped() {
    let mut broker = Broker::start(Options::default()).expect("a broker");
    let url = broker.url();
    assert_eq!(messages(&broker).await, 0);
    publish(&broker).await;

    broker.kill().expect("it dies");
    assert!(async_nats::connect(&url).await.is_err(), "a dead broker answers");
    broker.restart().expect("it starts again");
    assert_eq!(broker.url(), url);
    assert_eq!(messages(&broker).await, 1);

    publish(&broker).await;
    broker.restart().expect("it ends when asked to, and starts again");
    assert_eq!(messages(&broker).await, 2);

    assert!(broker.wipe().is_err(), "it runs");
    broker.terminate().expect("it ends when asked to");
    broker.wipe().expect("its files are gone");
    broker.restart().expect("it starts with nothing");
    assert_eq!(messages(&broker).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_broker_is_silent_and_goes_on() {
    let broker = Broker::start(Options::default()).expect("a broker");
    let client = async_nats::connect(broker.url()).await.expect("a connection");
    client.flush().await.expect("it answers");
    broker.pause().expect("it stops");
    let context = jetstream::new(client.clone());
    let asked = timeout(Duration::from_millis(300), context.query_account());
    assert!(asked.await.is_err(), "a paused broker answers");
    broker.resume().expect("it goes on");
    timeout(SOON, context.query_account()).await.expect("in time").expect("an answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn further_configuration_holds() {
    let config = "max_payload: 2KB\nauthorization { user: ana, password: secret }\n";
    let broker = Broker::start(Options { config: config.into(), ..Options::default() }).expect("a broker");
    assert!(async_nats::connect(broker.url()).await.is_err(), "anyone comes in");
    let options = async_nats::ConnectOptions::with_user_and_password("ana".into(), "secret".into());
    let client = options.connect(broker.url()).await.expect("ana comes in");
    assert_eq!(client.server_info().max_payload, 2048);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_with_tls_knows_its_own() {
    let files = tempfile::tempdir().expect("a directory");
    let certificates = Certificates::make(files.path()).expect("certificates");
    let options = Options { config: certificates.nats(true), tls: true, ..Options::default() };
    let broker = Broker::start(options).expect("a broker");
    let url = broker.url();
    assert!(async_nats::connect(&url).await.is_err(), "an unknown authority is trusted");
    let trusting = async_nats::ConnectOptions::new().add_root_certificates(certificates.ca.clone());
    assert!(trusting.clone().connect(&url).await.is_err(), "anyone comes in");
    let Pair { certificate, key } = certificates.client;
    trusting.add_client_certificate(certificate, key).connect(&url).await.expect("a known client comes in");
}

#[test]
fn a_broker_that_cannot_start_says_why() {
    let options = Options { config: "no_such_setting: 1".into(), ..Options::default() };
    let said = format!("{:#}", Broker::start(options).expect_err("it does not start"));
    assert!(said.contains("no_such_setting"), "{said}");
}

#[test]
fn a_reserved_port_is_nobody_elses() {
    let ports: Vec<Port> = (0..50).map(|_| Port::reserve().expect("a port")).collect();
    let mut numbers: Vec<u16> = ports.iter().map(Port::number).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), 50);
}
