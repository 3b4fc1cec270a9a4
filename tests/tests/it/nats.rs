//! Every change on NATS, seen from where subscribers stand: a real server, a real broker, and trouble with both.

#![allow(clippy::unwrap_used)] // Tests say what they expect by what they unwrap.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_nats::jetstream;
use tagtrail_api::v1::admin_service_client::AdminServiceClient;
use tagtrail_api::v1::event_service_client::EventServiceClient;
use tagtrail_api::v1::tag_service_client::TagServiceClient;
use tagtrail_api::v1::{
    Event, GetStatusRequest, GetStatusResponse, ReadEventsRequest, SetTagRequest, SourceKind, TagSource,
    WriteOptions,
};
use tagtrail_tests::broker::{self, Broker};
use tagtrail_tests::server::{Options, Server};
use tokio::task::{JoinHandle, JoinSet, block_in_place};
use tonic::transport::{Channel, Endpoint};

/// How long the broker recognises a repeated message: outages are longer.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(1);

fn server(broker: &Broker, more: &str) -> Server {
    let config = format!("[nats]\nurl = \"{}\"\nduplicate_window = \"1s\"\n{more}", broker.url());
    block_in_place(|| Server::start(Options { config, ..Options::default() })).expect("the server starts")
}

async fn connect(server: &Server) -> Channel {
    Endpoint::from_shared(server.url()).unwrap().connect().await.expect("the server answers")
}

async fn status(server: &Server) -> GetStatusResponse {
    let mut admin = AdminServiceClient::new(connect(server).await);
    admin.get_status(GetStatusRequest {}).await.expect("a status").into_inner()
}

/// The whole log.
async fn events(server: &Server) -> Vec<Event> {
    let mut client = EventServiceClient::new(connect(server).await);
    let mut events = Vec::new();
    loop {
        let from_sequence = events.len() as u64 + 1;
        let request = ReadEventsRequest { from_sequence, ..ReadEventsRequest::default() };
        let page = client.read_events(request).await.expect("events").into_inner();
        events.extend(page.events);
        if page.next_sequence > page.head {
            return events;
        }
    }
}

/// Waits until everything that is in the log is published, and gives the head.
async fn all_published(server: &Server) -> u64 {
    let begun = Instant::now();
    loop {
        let status = status(server).await;
        if status.published == Some(status.head) {
            return status.head;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "not all is published: {status:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Somebody who wants to know of everything: begins again whenever something breaks, and drops what is not news.
struct Subscriber {
    /// What was news, in the order in which it came.
    news: Arc<Mutex<Vec<u64>>>,
    /// What came under each id, news or not.
    seen: Arc<Mutex<HashMap<String, Vec<u8>>>>,
    repeats: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Subscriber {
    fn start(url: String) -> Subscriber {
        let (news, seen, repeats) =
            <(Arc<Mutex<Vec<u64>>>, Arc<Mutex<HashMap<_, _>>>, Arc<AtomicU64>)>::default();
        let (news_of, seen_of, repeats_of) = (news.clone(), seen.clone(), repeats.clone());
        let task = tokio::spawn(async move {
            loop {
                // Whatever ends it, it is begun again; what was heard before is not heard twice.
                _ = follow(&url, &news_of, &seen_of, &repeats_of).await;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        Subscriber { news, seen, repeats, task }
    }

    async fn has(&self, head: u64) -> Vec<u64> {
        let begun = Instant::now();
        loop {
            let news = self.news.lock().unwrap().clone();
            if news.last() == Some(&head) || begun.elapsed() > Duration::from_secs(60) {
                return news;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow(
    url: &str,
    news: &Mutex<Vec<u64>>,
    seen: &Mutex<HashMap<String, Vec<u8>>>,
    repeats: &AtomicU64,
) -> Result<(), async_nats::Error> {
    broker::follow(url, |message| {
        let headers = message.headers.clone().unwrap_or_default();
        let header =
            |name: &str| headers.get(name).map(|value| value.as_str().to_owned()).unwrap_or_default();
        let sequence: u64 = header("ce-sequence").parse()?;
        let mut seen = seen.lock().unwrap();
        if let Some(before) = seen.insert(header("ce-id"), message.payload.to_vec()) {
            assert_eq!(before, message.payload.to_vec(), "one id, one event");
            repeats.fetch_add(1, Ordering::Relaxed);
        }
        let mut news = news.lock().unwrap();
        if news.last().is_none_or(|last| *last < sequence) {
            news.push(sequence);
        }
        Ok(())
    })
    .await
}

/// Writers that go on until they are told to stop, over restarts of the server.
fn writers(url: Arc<Mutex<String>>, over: Arc<AtomicBool>) -> JoinSet<()> {
    let mut writers = JoinSet::new();
    for writer in 0..6 {
        let (url, over) = (url.clone(), over.clone());
        writers.spawn(async move {
            let mut number = 0_u64;
            while !over.load(Ordering::Relaxed) {
                let endpoint = Endpoint::from_shared(url.lock().unwrap().clone()).unwrap();
                let Ok(channel) = endpoint.connect().await else {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                };
                let mut tags = TagServiceClient::new(channel);
                while !over.load(Ordering::Relaxed) && set(&mut tags, writer, number).await {
                    number += 1;
                    tokio::time::sleep(Duration::from_millis(4)).await;
                }
            }
        });
    }
    writers
}

async fn set(tags: &mut TagServiceClient<Channel>, writer: u64, number: u64) -> bool {
    let source = TagSource {
        kind: SourceKind::DockerImage.into(),
        name: format!("registry.example/team/app:{number}"),
        ..TagSource::default()
    };
    let request = SetTagRequest {
        namespace: "storm".into(),
        name: format!("app-{}", writer % 3),
        tag: format!("v{writer}.0"),
        source: Some(source),
        reference: true,
        write: Some(WriteOptions { request_id: format!("{writer}-{number}"), ..WriteOptions::default() }),
        ..SetTagRequest::default()
    };
    tags.set_tag(request).await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_with_a_broker_that_dies_and_loses_everything() {
    let mut broker = Broker::start(Default::default()).expect("a broker");
    let mut server = server(&broker, "bucket = \"tags\"\n");
    let subscriber = Subscriber::start(broker.url());
    let (url, over) = (Arc::new(Mutex::new(server.url())), Arc::new(AtomicBool::new(false)));
    let mut writing = writers(url.clone(), over.clone());
    let a_while = || tokio::time::sleep(Duration::from_millis(700));

    a_while().await;
    for _ in 0..3 {
        broker.kill().unwrap();
        broker.restart().unwrap();
        a_while().await;
    }
    // Down for longer than it remembers ids.
    broker.terminate().unwrap();
    tokio::time::sleep(DUPLICATE_WINDOW * 2).await;
    broker.restart().unwrap();
    a_while().await;
    // Its stream is deleted, in the midst of it.
    let client = jetstream::new(async_nats::connect(broker.url()).await.unwrap());
    client.delete_stream("TAGTRAIL").await.unwrap();
    a_while().await;
    // Silent, with its connections open.
    broker.pause().unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    broker.resume().unwrap();
    // The server itself dies, and the broker again while it is down.
    server.kill().unwrap();
    broker.kill().unwrap();
    broker.restart().unwrap();
    block_in_place(|| server.restart()).unwrap();
    *url.lock().unwrap() = server.url();
    a_while().await;
    // The broker comes back with nothing at all.
    broker.kill().unwrap();
    broker.wipe().unwrap();
    broker.restart().unwrap();
    a_while().await;
    over.store(true, Ordering::Relaxed);
    while let Some(ended) = writing.join_next().await {
        ended.expect("writers only end when told to");
    }

    let head = all_published(&server).await;
    assert!(head > 500, "only {head} events: this was no storm");
    let news = subscriber.has(head).await;
    assert_eq!(news, (1..=head).collect::<Vec<_>>(), "complete, and in order");
    assert!(subscriber.repeats.load(Ordering::Relaxed) > 0, "a stream that is filled again repeats");
    // What came is what the log says, and nothing else came.
    let seen = subscriber.seen.lock().unwrap().clone();
    let events = events(&server).await;
    assert_eq!((seen.len(), events.len()), (events.len(), usize::try_from(head).unwrap()));
    let log = status(&server).await.log_id;
    for event in &events {
        let payload = &seen[&format!("{log}-{}", event.sequence)];
        assert_eq!(*payload, tagtrail_api::json::event(event).into_bytes());
    }
    the_bucket_is(&broker, &events).await;
}

/// The bucket holds what the events come to.
async fn the_bucket_is(broker: &Broker, events: &[Event]) {
    let mut expected: HashMap<String, u64> = HashMap::new();
    for event in events {
        if let Some(tagtrail_api::v1::event::Fact::TagMoved(moved)) = &event.fact {
            let key = format!("{}.{}.{}", event.namespace, event.stream, moved.tag.replace('.', "=2E"));
            expected.insert(key, event.sequence);
        }
    }
    let client = jetstream::new(async_nats::connect(broker.url()).await.unwrap());
    let begun = Instant::now();
    loop {
        let store = client.get_key_value("tags").await.expect("the bucket");
        let mut held = HashMap::new();
        for key in expected.keys() {
            if let Some(value) = store.get(key).await.expect("an answer") {
                let value: serde_json::Value = serde_json::from_slice(&value).expect("JSON");
                held.insert(key.clone(), value["sequence"].as_u64().expect("a sequence"));
            }
        }
        if held == expected {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{held:?} is not {expected:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Writing goes on as ever while there is no broker, and the log keeps everything for later.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_broker_the_log_keeps_everything() {
    let mut broker = Broker::stopped(Default::default()).expect("a port");
    let server = server(&broker, "");
    let printed = server.client().run(&["create", "imagestream", "app"]).expect("tagtrail");
    assert_eq!(printed.rc, 0, "{printed:?}");
    let told = status(&server).await;
    let publisher = told.publisher.expect("a broker is configured");
    assert_eq!((told.head, told.published, publisher.connected), (1, None, false));
    assert!(publisher.problem.starts_with("cannot connect to nats://127.0.0.1:"), "{}", publisher.problem);
    assert_eq!(server.metric("tagtrail_nats_connected").unwrap(), 0.0);
    assert_eq!(server.metric("tagtrail_publish_lag_events").unwrap(), 1.0);
    assert!(server.metric("tagtrail_publish_lag_seconds").unwrap() > 0.0);
    let words = server.client().run(&["status"]).expect("tagtrail").stdout;
    assert!(words.contains("Publishing To:\t\tstream TAGTRAIL, tagtrail.events.>\n"), "{words}");
    broker.restart().unwrap();
    assert_eq!(all_published(&server).await, 1);
    let words = server.client().run(&["status"]).expect("tagtrail").stdout;
    assert!(words.contains("Publishing:\t\tconnected\n"), "{words}");
    assert_eq!(server.metric("tagtrail_published_sequence").unwrap(), 1.0);
    assert_eq!(server.metric("tagtrail_publish_lag_seconds").unwrap(), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_pointed_at_one_stream() {
    let broker = Broker::start(Default::default()).expect("a broker");
    let (first, second) = (server(&broker, ""), server(&broker, ""));
    let create = |server: &Server| {
        let printed = server.client().run(&["create", "imagestream", "app"]).expect("tagtrail");
        assert_eq!(printed.rc, 0, "{printed:?}");
    };
    create(&first);
    // Whichever came first has it; both took their look at the same time.
    let begun = Instant::now();
    let (owner, other) = loop {
        let [one, two] =
            [status(&first).await, status(&second).await].map(|told| told.publisher.unwrap().problem);
        match (one.is_empty(), two.is_empty()) {
            (true, false) => break (&first, &second),
            (false, true) => break (&second, &first),
            _ => assert!(begun.elapsed() < Duration::from_secs(20), "{one:?} {two:?}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let problem = status(other).await.publisher.unwrap().problem;
    let id = status(owner).await.log_id;
    assert!(
        problem.contains(&format!("belongs to another server: it is kept for the log {id}")),
        "{problem}"
    );
    assert!(problem.ends_with("set nats.stream and nats.subject_prefix to names that nothing else uses"));
    assert!(other.log().contains("nothing is published"), "the operator's log says so too");
    assert_eq!(other.metric("tagtrail_publisher_refused").unwrap(), 1.0);
    // It serves all the same, and the owner is not disturbed.
    for server in [other, owner] {
        let printed = server.client().run(&["create", "imagestream", "more"]).expect("tagtrail");
        assert_eq!(printed.rc, 0, "{printed:?}");
    }
    let head = all_published(owner).await;
    let subscriber = Subscriber::start(broker.url());
    assert_eq!(subscriber.has(head).await, (1..=head).collect::<Vec<_>>());
}

/// A trace goes with what it caused, from the request to the message.
#[tokio::test(flavor = "multi_thread")]
async fn a_traceparent_goes_along() {
    let broker = Broker::start(Default::default()).expect("a broker");
    let server = server(&broker, "");
    let channel = connect(&server).await;
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let with_parent = move |mut request: tonic::Request<()>| {
        request.metadata_mut().insert("traceparent", parent.parse().expect("ASCII"));
        Ok(request)
    };
    let mut tags = TagServiceClient::with_interceptor(channel, with_parent);
    let source = TagSource {
        kind: SourceKind::DockerImage.into(),
        name: "quay.io/a/b:1".into(),
        ..Default::default()
    };
    let request = SetTagRequest {
        namespace: "test".into(),
        name: "app".into(),
        tag: "v1".into(),
        source: Some(source),
        reference: true,
        ..SetTagRequest::default()
    };
    tags.set_tag(request).await.expect("set");
    let head = all_published(&server).await;
    let client = jetstream::new(async_nats::connect(broker.url()).await.unwrap());
    let stream = client.get_stream("TAGTRAIL").await.unwrap();
    for place in 1..=head {
        let message = stream.get_raw_message(place).await.unwrap();
        assert_eq!(message.headers.get("traceparent").map(|value| value.as_str()), Some(parent));
    }
}

/// The command line tells how far it is, and what cannot be.
#[tokio::test(flavor = "multi_thread")]
async fn republish_by_hand() {
    let broker = Broker::start(Default::default()).expect("a broker");
    let server = server(&broker, "");
    let client = server.client();
    let run = |words: &[&str]| client.run(words).expect("tagtrail");
    run(&["create", "imagestream", "app"]);
    run(&["create", "imagestream", "base"]);
    let printed = run(&["admin", "republish", "--prefix", "audit.copy", "--from", "2"]);
    let said = "Published 1 events; the stream AUDIT_COPY holds them up to 2 under audit.copy.events.>\n";
    assert_eq!((printed.rc, printed.stdout.as_str()), (0, said));
    let printed = run(&["admin", "republish", "--stream", "TAGTRAIL"]);
    assert!(
        printed.stderr.starts_with("error: the server publishes to the stream TAGTRAIL under"),
        "{printed:?}"
    );
    let printed = run(&["admin", "republish", "--stream", "X", "--from", "9"]);
    assert_eq!(printed.stderr, "error: there are no events 9 to 2: the log has 1 to 2\n");
    let printed = run(&["admin", "republish"]);
    assert!(printed.stderr.contains("--prefix"), "{printed:?}");
    let silent = block_in_place(|| Server::start(Options::default())).expect("the server starts");
    let printed = silent.client().run(&["admin", "republish", "--stream", "X"]).expect("tagtrail");
    let said = "error: this server publishes nothing: set nats.url, or start it with --nats-url\n";
    assert_eq!((printed.rc, printed.stderr.as_str()), (1, said));
}

/// Whatever is wanted of the log: a password for the broker is not in it, nor in what is told of it.
#[tokio::test(flavor = "multi_thread")]
async fn passwords_are_told_to_the_broker_alone() {
    let options = tagtrail_tests::broker::Options {
        config: "authorization { user: trail, password: \"canary-4711\" }".into(),
        ..Default::default()
    };
    let mut broker = Broker::start(options).expect("a broker");
    let in_address = broker.url().replace("://", "://trail:canary-4711@");
    let by_key = format!("url = \"{}\"\nuser = \"trail\"\npassword = \"canary-4711\"\n", broker.url());
    for nats in [format!("url = \"{in_address}\"\n"), by_key] {
        let options = Options {
            config: format!("[nats]\n{nats}"),
            env: vec![("RUST_LOG".into(), "trace".into())],
            ..Options::default()
        };
        let server = block_in_place(|| Server::start(options)).expect("the server starts");
        assert_eq!(server.client().run(&["create", "imagestream", "app"]).expect("tagtrail").rc, 0);
        all_published(&server).await;
        broker.kill().unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
        let told = server.client().run(&["status", "-o", "json"]).expect("tagtrail").stdout;
        broker.restart().unwrap();
        all_published(&server).await;
        let printed = server.log() + &told + &server.metrics().unwrap();
        assert!(printed.contains("cannot connect to nats://127.0.0.1:"), "it was told of");
        assert!(!printed.contains("canary"), "{printed}");
        let known = async_nats::ConnectOptions::with_user_and_password("trail".into(), "canary-4711".into());
        let client = jetstream::new(known.connect(broker.url()).await.unwrap());
        client.delete_stream("TAGTRAIL").await.unwrap();
    }
}
