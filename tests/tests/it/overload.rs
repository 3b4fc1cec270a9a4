//! More than the server takes: it turns away what it cannot do, does what it has taken, and is afterwards as before.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tagtrail_api::v1::event_service_client::EventServiceClient;
use tagtrail_api::v1::image_stream_service_client::ImageStreamServiceClient;
use tagtrail_api::v1::watch_request::Begin;
use tagtrail_api::v1::watch_response::Answer;
use tagtrail_api::v1::*;
use tagtrail_tests::server::{Options, Server};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::limits::{is_told_to_come_back, refused};
use crate::storm::connect;

const LIMIT: &str = "concurrent_requests";
const CLIENTS: usize = 96;
const CONNECTIONS: usize = 12;
const EACH: usize = 120;
/// Far more than anything takes, and far less than waiting in a queue would.
const QUICKLY: Duration = Duration::from_secs(5);

/// What one client heard.
#[derive(Default)]
struct Heard {
    written: Vec<u64>,
    read: usize,
    refused: u64,
    slowest_refusal: Duration,
}

#[test]
fn a_storm_passes() {
    let config = format!("[limits]\n{LIMIT} = 3\nwaiting_writes = 8\n");
    let server = Server::start(Options { config, ..Options::default() }).expect("a server");
    let runtime = Runtime::new().expect("a runtime");
    let watchers: Vec<_> = (0..3).map(|_| runtime.spawn(watch(&runtime, &server))).collect();
    let before = server.memory().expect("it runs");

    // While it lasts, those who look after the server are answered.
    let over = Arc::new(AtomicBool::new(false));
    let (storm, most, looks) = std::thread::scope(|scope| {
        let storm = scope.spawn(|| {
            let heard = runtime.block_on(storm(&server));
            over.store(true, Ordering::SeqCst);
            heard
        });
        let (mut most, mut looks) = (0, 0);
        let health = runtime.block_on(connect(&server));
        while !over.load(Ordering::SeqCst) {
            let began = Instant::now();
            let request = HealthCheckRequest::default();
            runtime.block_on(HealthClient::new(health.clone()).check(request)).expect("it says how it is");
            assert_eq!(server.get("/readyz").expect("it answers").status, 200);
            let printed = server.client().run(&["status"]).expect("tagtrail runs");
            assert_eq!(printed.rc, 0, "{}", printed.stderr);
            assert!(began.elapsed() < 3 * QUICKLY, "looking after it took {:?}", began.elapsed());
            most = most.max(server.memory().expect("it runs"));
            looks += 1;
        }
        (storm.join().expect("nobody panicked"), most, looks)
    });

    let turned_away: u64 = storm.iter().map(|heard| heard.refused).sum();
    let written: Vec<u64> = storm.iter().flat_map(|heard| heard.written.iter().copied()).collect();
    let read: usize = storm.iter().map(|heard| heard.read).sum();
    let asked = (CLIENTS * EACH) as u64;
    assert_eq!(turned_away + (written.len() + read) as u64, asked);
    assert!(
        turned_away > asked / 10 && !written.is_empty() && read > 0,
        "no storm: {turned_away} of {asked}"
    );
    assert_eq!(refused(&server, LIMIT), turned_away);
    let slowest = storm.iter().map(|heard| heard.slowest_refusal).max().expect("clients");
    assert!(slowest < QUICKLY, "somebody heard of it after {slowest:?}");
    assert!(looks > 0, "nobody looked");
    let grown = most.saturating_sub(before) >> 20;
    assert!(grown < 128, "it has grown by {grown} MiB");

    // What was acknowledged is there, and what was refused is not: each write that happened makes one event.
    let distinct: BTreeSet<u64> = written.iter().copied().collect();
    assert_eq!(distinct.len(), written.len());
    let head = server.client().head().expect("a status");
    assert_eq!(distinct, (1..=head).collect());

    // The storm is over, and nothing is left of it.
    runtime.block_on(async {
        let mut streams = ImageStreamServiceClient::new(connect(&server).await);
        for n in 0..50 {
            streams.create_image_stream(create(format!("after-{n}"))).await.expect("as before");
        }
    });
    assert_eq!(refused(&server, LIMIT), turned_away, "nobody is turned away any more");
    assert_eq!(server.metric("tagtrail_requests").expect("a gauge"), 0.0);
    let head = server.client().head().expect("a status");
    for watcher in watchers {
        let heard = runtime.block_on(async { tokio::time::timeout(Duration::from_secs(60), watcher).await });
        assert_eq!(heard.expect("in time").expect("nobody panicked"), (1..=head).collect::<Vec<_>>());
    }
}

fn create(name: String) -> CreateImageStreamRequest {
    CreateImageStreamRequest { namespace: "test".into(), name, ..Default::default() }
}

/// Everybody at once, writes and reads in turn, without a pause after a refusal.
async fn storm(server: &Server) -> Vec<Heard> {
    let mut channels = Vec::new();
    for _ in 0..CONNECTIONS {
        channels.push(connect(server).await);
    }
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        clients.spawn(client(channels[number % CONNECTIONS].clone(), number));
    }
    clients.join_all().await
}

async fn client(channel: Channel, number: usize) -> Heard {
    let mut streams = ImageStreamServiceClient::new(channel);
    let mut heard = Heard::default();
    for n in 0..EACH {
        let began = Instant::now();
        let answer = if n % 2 == 0 {
            let written = streams.create_image_stream(create(format!("s{number}-{n}"))).await;
            written.map(|written| {
                let result = written.into_inner().result.expect("every write answers with its result");
                heard.written.push(result.sequence);
            })
        } else {
            let listed = streams.list_image_streams(ListImageStreamsRequest::default()).await;
            listed.map(|_| heard.read += 1)
        };
        if let Err(status) = answer {
            is_told_to_come_back(&status, LIMIT).expect("nothing else goes wrong");
            heard.refused += 1;
            heard.slowest_refusal = heard.slowest_refusal.max(began.elapsed());
        }
    }
    heard
}

/// Hears of everything up to the last stream that is made after the storm.
fn watch(runtime: &Runtime, server: &Server) -> impl Future<Output = Vec<u64>> + Send + 'static {
    let channel = runtime.block_on(connect(server));
    async move {
        let request = WatchRequest { begin: Some(Begin::AfterSequence(0)), ..Default::default() };
        let mut answers =
            EventServiceClient::new(channel).watch(request).await.expect("a watch").into_inner();
        let mut heard = Vec::new();
        while let Some(answer) = answers.message().await.expect("the watch goes on") {
            if let Some(Answer::Event(event)) = answer.answer {
                heard.push(event.sequence);
                if event.stream == "after-49" {
                    break;
                }
            }
        }
        heard
    }
}
