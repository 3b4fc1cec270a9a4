//! Ways to reach a broker: users, tokens, TLS; and what is said where there is none.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use serde_json::json;
use tagtrail_publisher::{Connection, Encoding, Settings, Step};
use tagtrail_tests::broker::{Broker, Options};
use tagtrail_tests::tls::Certificates;

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

    let mut in_address = settings(&broker);
    in_address.connection.url = broker.url().replace("://", "://trail:s3cret@");
    publishes(in_address).await;

    let broker = self::broker("authorization { token: \"t0ken\" }");
    let mut with_token = settings(&broker);
    with_token.connection.token = Some("t0ken".into());
    publishes(with_token).await;
    let mut in_address = settings(&broker);
    in_address.connection.url = broker.url().replace("://", "://t0ken@");
    publishes(in_address).await;
}

/// A broker whose users are known by keys: what `nsc` makes, made by hand.
#[tokio::test(flavor = "multi_thread")]
async fn a_credentials_file() {
    let [operator, user] = [KeyPair::new_operator(), KeyPair::new_user()];
    let [account, system] = [KeyPair::new_account(), KeyPair::new_account()];
    let token = |name: &str, subject: &KeyPair, by: &KeyPair, nats: serde_json::Value| {
        let claims = json!({
            "jti": name, "iat": 1_700_000_000, "iss": by.public_key(), "name": name, "sub": subject.public_key(), "nats": nats,
        });
        let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(json!({ "typ": "JWT", "alg": "ed25519-nkey" })), part(claims));
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(by.sign(signed.as_bytes()).unwrap()))
    };
    let free = json!({ "type": "account", "version": 2, "limits": {
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "conn": -1, "leaf": -1, "wildcards": true,
        "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1,
    } });
    let operator_token = token("O", &operator, &operator, json!({ "type": "operator", "version": 2 }));
    let account_token = token("A", &account, &operator, free);
    let system_token = token("S", &system, &operator, json!({ "type": "account", "version": 2 }));
    let anything = json!({ "type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1 });
    let user_token = token("U", &user, &account, anything);
    let broker = broker(&format!(
        "operator: {operator_token}\nresolver: MEMORY\nsystem_account: {system}\n\
         resolver_preload: {{ {}: {account_token}, {system}: {system_token} }}",
        account.public_key(),
        system = system.public_key(),
    ));
    let file = broker.directory().join("trail.creds");
    let credentials = format!(
        "-----BEGIN NATS USER JWT-----\n{user_token}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
        user.seed().unwrap()
    );
    std::fs::write(&file, credentials).unwrap();
    let mut with_file = settings(&broker);
    with_file.connection.credentials_file = Some(file.clone());
    publishes(with_file.clone()).await;
    // Renewed in place while it runs: the next connection reads it.
    let whole = std::fs::read_to_string(&file).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    fill(&*log, 5);
    std::fs::write(&file, whole.replace(&user_token, "eyJ.stale.one")).unwrap();
    let running = Running::start(with_file.clone(), log, dir.path());
    running.until("a refusal", |step| matches!(step, Step::Trouble { .. })).await;
    std::fs::write(&file, whole).unwrap();
    running.published(5).await;
    running.stop().await;
    std::fs::write(&file, "nothing").unwrap();
    let said = told(with_file, "holds no").await;
    assert_eq!(said, format!("{} holds no user JWT and seed, as `nsc` writes them", file.display()));
    let said = told(settings(&broker), "cannot connect").await;
    assert!(said.contains("authorization violation"), "{said}");
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
    // With its headers it is too large, by itself it is not.
    let large = |sequence| tagtrail_api::v1::Event { reason: "x".repeat(3_500), ..event(sequence, 0) };
    crate::support::fill_with(&*log, 4, large);
    let running = Running::start(settings(&broker), log, dir.path());
    let said = running.refused().await;
    let expected = "event 4 makes a message that is larger than the 4096 bytes the NATS server takes: raise its max_payload";
    assert_eq!(said, expected);
    running.stop().await;
    assert_eq!(events_in(&broker, "TAGTRAIL").await, all(3));
}

/// The same of a stream with a limit of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_takes_only_small_messages() {
    let broker = broker("");
    let config = async_nats::jetstream::stream::Config {
        name: "TAGTRAIL".into(),
        subjects: vec!["tagtrail.events.>".into()],
        max_message_size: 100,
        ..Default::default()
    };
    jetstream(&broker).await.create_stream(config).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    fill(&*log, 3);
    let running = Running::start(settings(&broker), log, dir.path());
    let said = running.refused().await;
    let expected = "event 1 makes a message that is larger than the 100 bytes the stream TAGTRAIL takes: raise its max_msg_size";
    assert_eq!(said, expected);
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

#[tokio::test(flavor = "multi_thread")]
async fn tls_and_who_is_let_in() {
    let files = tempfile::tempdir().unwrap();
    let certificates = Certificates::make(files.path()).unwrap();
    let options = Options { config: certificates.nats(true), tls: true, ..Options::default() };
    let broker = Broker::start(options).unwrap();
    let mut known = settings(&broker);
    known.connection.ca_file = Some(certificates.ca.clone());
    let stranger = known.clone();
    known.connection.client_cert_file = Some(certificates.client.certificate.clone());
    known.connection.client_key_file = Some(certificates.client.key.clone());
    publishes(known.clone()).await;
    let address = broker.url();
    let said = told(stranger.clone(), "cannot connect").await;
    assert!(said.starts_with(&format!("cannot connect to {address}: ")), "{said}");
    known.connection.ca_file = None;
    let said = told(known, "cannot connect").await;
    assert!(said.starts_with(&format!("cannot connect to {address}: ")), "{said}");
}

/// Who may not do what it takes is told what it is.
#[tokio::test(flavor = "multi_thread")]
async fn permissions_that_are_missing() {
    let allowed = |subjects: &str| {
        broker(&format!(
            "authorization {{ users: [{{ user: trail, password: p, permissions: {{ publish: {{ allow: [{subjects}] }}, \
             subscribe: \"_INBOX.>\" }} }}] }}"
        ))
    };
    let nothing = allowed("\"x\"");
    let said = told(as_user(&nothing, "p"), "ermissions").await.to_lowercase();
    assert!(said.contains("permissions violation for publish to \"$js.api.stream.info.tagtrail\""), "{said}");
    let no_events = allowed("\"$JS.API.>\"");
    let said = told(as_user(&no_events, "p"), "ermissions").await.to_lowercase();
    assert!(said.contains("event 1 was not stored: no acknowledgement came"), "{said}");
    assert!(said.contains("violation for publish to \"tagtrail.events.test.my=2eapp."), "{said}");
}
