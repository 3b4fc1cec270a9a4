//! How fast do events reach NATS, and how soon does a subscriber hear of a write?
//!
//! Fast: a log is published to an empty stream, turn by turn with a bare publisher of the same client library that sends the
//! same messages, as many under way, and asks for nothing but acknowledgements. Soon: from the moment a write is
//! acknowledged to its delivery at a subscriber with a JetStream consumer; and, in the same run, from a bare
//! message's acknowledgement to its delivery.
//!
//! Twice: on a broker that syncs before it acknowledges, and on one with JetStream's default, which does not.

#![allow(clippy::print_stdout, clippy::unwrap_used)] // A program that prints its measurement or falls over.

use std::collections::{HashMap, VecDeque};
use std::future::IntoFuture;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::Config;
use async_nats::jetstream::{self, Context};
use bytes::Bytes;
use tagtrail_api::v1::tag_service_client::TagServiceClient;
use tagtrail_benches::{imports, point, quantile};
use tagtrail_event_log::{Log, LogId, Options as LogOptions, SledLog};
use tagtrail_publisher::{Connection, Observer, Publisher, Settings, Step, StreamSettings};
use tagtrail_tests::broker::{Broker, Options as BrokerOptions};
use tagtrail_tests::server::{Options, Server};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_stream::StreamExt as _;
use tonic::transport::Endpoint;

const WINDOW: usize = 256;
const ROUNDS: usize = 3;
const LASTING: Duration = Duration::from_secs(6);
/// Writers in the second half, and the pause of each between two writes: nothing else goes on, or as much as a broker that
/// syncs each message can carry.
const LOADS: [(u64, Duration); 2] = [(1, Duration::from_millis(20)), (8, Duration::from_millis(50))];

fn broker(sync_interval: &str) -> Broker {
    Broker::start(BrokerOptions { sync_interval: sync_interval.into(), ..Default::default() }).unwrap()
}

async fn client(broker: &Broker) -> Context {
    jetstream::new(async_nats::connect(broker.url()).await.unwrap())
}

/// Tells when the last event is acknowledged.
struct Finish {
    last: u64,
    tell: mpsc::UnboundedSender<()>,
}

impl Observer for Finish {
    fn step(&self, step: Step) {
        if step == Step::Acknowledged(self.last) {
            self.tell.send(()).unwrap();
        }
    }
}

/// Gives the stream, and how long it took to fill it.
async fn ours(broker: &Broker, log: Arc<dyn Log>, dir: &Path) -> (String, Duration) {
    let name = format!("OURS{}", fresh());
    let stream =
        StreamSettings { subject_prefix: name.to_lowercase(), name: name.clone(), ..Default::default() };
    let connection = Connection { url: broker.url(), ..Connection::default() };
    let (tell, mut told) = mpsc::unbounded_channel();
    let finish = Arc::new(Finish { last: log.head(), tell });
    let settings = Settings { connection, stream, bucket: None };
    let visible = log.follow();
    let publisher = Publisher::new(settings, log, visible, dir.join("published"), finish);
    let (stop, stopped) = watch::channel(false);
    let begun = Instant::now();
    let running = tokio::spawn(publisher.run(stopped));
    told.recv().await.unwrap();
    let took = begun.elapsed();
    stop.send_replace(true);
    running.await.unwrap();
    std::fs::remove_file(dir.join("published")).unwrap();
    (name, took)
}

/// The messages of a stream, without the conditions they were sent on.
async fn messages_of(broker: &Broker, stream: &str) -> Vec<(HeaderMap, Bytes)> {
    let stream = client(broker).await.get_stream(stream).await.unwrap();
    let count = stream.cached_info().state.messages;
    let config = pull::OrderedConfig { deliver_policy: DeliverPolicy::All, ..Default::default() };
    let mut delivered = stream.create_consumer(config).await.unwrap().messages().await.unwrap();
    let mut messages = Vec::new();
    for _ in 0..count {
        let message = delivered.next().await.unwrap().unwrap();
        let mut headers = HeaderMap::new();
        for (name, values) in message.headers.as_ref().unwrap().iter() {
            if !name.to_string().starts_with("Nats-Expected") {
                headers.insert(name.clone(), values[0].clone());
            }
        }
        messages.push((headers, message.payload.clone()));
    }
    messages
}

/// The same messages, made before the clock runs.
async fn bare(broker: &Broker, messages: Vec<(HeaderMap, Bytes)>) -> Duration {
    let name = format!("BARE{}", fresh());
    let jetstream = client(broker).await;
    let config = Config { subjects: vec![format!("{name}.>")], name: name.clone(), ..Config::default() };
    jetstream.create_stream(config).await.unwrap();
    let mut under_way = VecDeque::new();
    let begun = Instant::now();
    for (headers, payload) in messages {
        if under_way.len() == WINDOW {
            let oldest: jetstream::context::PublishAckFuture = under_way.pop_front().unwrap();
            oldest.into_future().await.unwrap();
        }
        let message = PublishMessage::build().headers(headers).payload(payload);
        let subject = format!("{name}.events.bench.app.v1.tag-moved");
        under_way.push_back(jetstream.send_publish(subject, message).await.unwrap());
    }
    for ack in under_way {
        ack.into_future().await.unwrap();
    }
    begun.elapsed()
}

fn fresh() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

async fn throughput(sync_interval: &str, events: u64) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (log, _) =
        SledLog::open(&dir.path().join("data"), LogOptions::new(LogId::from_bytes([1; 16]))).unwrap();
    for runs in imports(events).chunks(100) {
        log.append(log.head(), runs).unwrap();
    }
    let log: Arc<dyn Log> = Arc::new(log);
    let broker = broker(sync_interval);
    let (mut our, mut bared) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (stream, took) = ours(&broker, log.clone(), dir.path()).await;
        our.push(took);
        bared.push(bare(&broker, messages_of(&broker, &stream).await).await);
    }
    let per_second = |times: &mut Vec<Duration>| {
        times.sort_unstable();
        log.head() as f64 / times[ROUNDS / 2].as_secs_f64()
    };
    let (our, bare) = (per_second(&mut our), per_second(&mut bared));
    println!("{sync_interval:>8}   {:>6}   {our:>8.0}   {bare:>8.0}   {:>11.2}", log.head(), our / bare);
}

/// When each event of the server's stream was delivered, by its sequence.
async fn deliveries(broker: &Broker, stream: &str) -> mpsc::UnboundedReceiver<(u64, Instant)> {
    let jetstream = client(broker).await;
    let (tell, told) = mpsc::unbounded_channel();
    let stream = loop {
        match jetstream.get_stream(stream).await {
            Ok(stream) => break stream,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    let config = pull::OrderedConfig { deliver_policy: DeliverPolicy::All, ..Default::default() };
    let mut messages = stream.create_consumer(config).await.unwrap().messages().await.unwrap();
    tokio::spawn(async move {
        while let Some(Ok(message)) = messages.next().await {
            let now = Instant::now();
            let headers = message.headers.as_ref().unwrap();
            let sequence = headers.get("ce-sequence").map_or("0", |value| value.as_str()).parse().unwrap();
            if tell.send((sequence, now)).is_err() {
                return;
            }
        }
    });
    told
}

/// Moves a tag again and again, and gives when each write was acknowledged, by its sequence.
async fn write(url: String, writer: u64, pause: Duration) -> HashMap<u64, Instant> {
    let channel = Endpoint::from_shared(url).unwrap().connect().await.unwrap();
    let mut tags = TagServiceClient::new(channel);
    let (begun, mut acknowledged) = (Instant::now(), HashMap::new());
    while begun.elapsed() < LASTING {
        let request = point(writer, acknowledged.len() as u64);
        let answer = tags.set_tag(request).await.unwrap().into_inner();
        acknowledged.insert(answer.result.unwrap().sequence, Instant::now());
        tokio::time::sleep(pause).await;
    }
    acknowledged
}

/// From a bare message's acknowledgement to its delivery.
async fn bare_delay(broker: &Broker) -> Vec<Duration> {
    let jetstream = client(broker).await;
    let config = Config { name: "DELAY".into(), subjects: vec!["delay".into()], ..Config::default() };
    jetstream.create_stream(config).await.unwrap();
    let mut delivered = deliveries(broker, "DELAY").await;
    let mut delays = Vec::new();
    for number in 1..=100_u64 {
        let mut headers = HeaderMap::new();
        headers.insert("ce-sequence", number.to_string());
        let sent = jetstream.publish_with_headers("delay", headers, vec![0xAB; 600].into()).await.unwrap();
        sent.await.unwrap();
        let acknowledged = Instant::now();
        let (_, at) = delivered.recv().await.unwrap();
        delays.push(at.saturating_duration_since(acknowledged));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    delays
}

fn delay(sync_interval: &str, (writers, pause): (u64, Duration), runtime: &tokio::runtime::Runtime) {
    let broker = broker(sync_interval);
    let config = format!("[nats]\nurl = \"{}\"\n", broker.url());
    // The server's data lies in `TMPDIR`, which is to be a real disk.
    let server = Server::start(Options { config, ..Options::default() }).unwrap();
    let (mut delays, mut bare) = runtime.block_on(async {
        let bare = bare_delay(&broker).await;
        let mut delivered = deliveries(&broker, "TAGTRAIL").await;
        let mut tasks = JoinSet::new();
        for writer in 0..writers {
            tasks.spawn(write(server.url(), writer, pause));
        }
        let mut waiting: HashMap<u64, Instant> = HashMap::new();
        for acknowledged in tasks.join_all().await {
            waiting.extend(acknowledged);
        }
        let mut delays = Vec::new();
        while !waiting.is_empty() {
            let (sequence, at) = delivered.recv().await.unwrap();
            if let Some(acknowledged) = waiting.remove(&sequence) {
                delays.push(at.saturating_duration_since(acknowledged));
            }
        }
        (delays, bare)
    });
    let writes = delays.len() as f64 / LASTING.as_secs_f64();
    let [p50, p99] = [50, 99].map(|of| quantile(&mut delays, of));
    let [bare50, bare99] = [50, 99].map(|of| quantile(&mut bare, of));
    println!(
        "{sync_interval:>8}   {writers:>7}   {writes:>8.0}   {p50:>8}   {p99:>8}   {bare50:>8}   {bare99:>8}"
    );
}

fn main() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    println!("    sync   events     ours/s     bare/s   ours / bare");
    runtime.block_on(throughput("always", 8_000));
    runtime.block_on(throughput("2m", 40_000));
    println!("\n    sync   writers   writes/s     p50 us     p99 us   bare p50   bare p99");
    for sync_interval in ["always", "2m"] {
        for load in LOADS {
            delay(sync_interval, load, &runtime);
        }
    }
}
