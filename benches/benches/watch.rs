//! How many events reach 1, 100 and 1,000 watchers in a second, and how soon after the write was acknowledged?
//!
//! A real server in a process of its own, and watchers that take everything at once. In turn with it a *bare* server, also in
//! a process of its own: tonic, the same service and events like ours, which it has in memory and sends to everybody as fast
//! as they take them. What is above it is the price of a log.

#![allow(clippy::print_stdout, clippy::unwrap_used)] // A program that prints its measurement or falls over.

use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tagtrail_api::v1::event_service_client::EventServiceClient;
use tagtrail_api::v1::event_service_server::{EventService, EventServiceServer};
use tagtrail_api::v1::tag_service_client::TagServiceClient;
use tagtrail_api::v1::watch_request::Begin;
use tagtrail_api::v1::watch_response::Answer;
use tagtrail_api::v1::*;
use tagtrail_benches::{point, quantile};
use tagtrail_tests::process::free_port;
use tagtrail_tests::server::{Options, Server};
use tokio::runtime::Runtime;
use tokio::sync::broadcast;
use tokio::task::JoinSet;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};

const WATCHERS: [usize; 3] = [1, 100, 1_000];
/// Over how many connections they come.
const CONNECTIONS: usize = 8;
/// What each watcher takes: less than the server has in memory.
const EVENTS: u64 = 4_000;
/// How many answers are counted, at least.
const COUNTED: u64 = 400_000;
/// How many writes in a second are watched while little happens, and while much does.
const RATES: [(&str, u64); 2] = [("idle", 20), ("load", 150)];
const LASTING: Duration = Duration::from_secs(4);

/// The least that a server can do.
struct Bare {
    events: Arc<Vec<Event>>,
    news: broadcast::Sender<Event>,
}

#[tonic::async_trait]
impl EventService for Bare {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchResponse, Status>> + Send>>;

    async fn read_events(
        &self,
        _: Request<ReadEventsRequest>,
    ) -> Result<Response<ReadEventsResponse>, Status> {
        Err(Status::unimplemented("watching only"))
    }

    /// After 0: all there is. From now: what is told, each at its time.
    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let answer = |event| Ok(WatchResponse { answer: Some(Answer::Event(event)) });
        if request.into_inner().begin.is_some() {
            let events = self.events.clone();
            let all = (0..events.len()).map(move |n| answer(events[n].clone()));
            return Ok(Response::new(Box::pin(tokio_stream::iter(all))));
        }
        let news = BroadcastStream::new(self.news.subscribe());
        Ok(Response::new(Box::pin(news.map(move |event| answer(event.expect("nobody lags so far"))))))
    }
}

/// Serves events like ours: as many as one takes for watchers from the start, and two at a time, as a write makes them, so often
/// in a second for those from now.
fn serve_bare(port: u16, rate: u64, like: Event) {
    Runtime::new().unwrap().block_on(async {
        let numbered = |sequence| Event { sequence, ..like.clone() };
        let events = Arc::new((1..=EVENTS).map(numbered).collect());
        let news = broadcast::Sender::new(65_536);
        let service = EventServiceServer::new(Bare { events, news: news.clone() });
        tokio::spawn(async move {
            let mut turns = tokio::time::interval(Duration::from_secs(1) / u32::try_from(rate).unwrap());
            for turn in 0.. {
                turns.tick().await;
                let recorded_at = Some(SystemTime::now().into());
                for sequence in [2 * turn, 2 * turn + 1] {
                    news.send(Event { sequence, recorded_at, ..like.clone() }).ok();
                }
            }
        });
        let address = ([127, 0, 0, 1], port).into();
        tonic::transport::Server::builder().add_service(service).serve(address).await.unwrap();
    });
}

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// This program again, as the bare server.
fn start_bare(rate: u64, like: &Event) -> (Process, String) {
    let port = free_port().unwrap();
    let like =
        prost::Message::encode_to_vec(like).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--bare", &port.to_string(), &rate.to_string(), &like]).stdin(Stdio::null());
    let process = Process(command.spawn().unwrap());
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        std::thread::sleep(Duration::from_millis(5));
    }
    (process, format!("http://127.0.0.1:{port}"))
}

async fn connect(url: &str) -> Vec<Channel> {
    let mut channels = Vec::new();
    for _ in 0..CONNECTIONS {
        channels.push(Endpoint::from_shared(url.to_owned()).unwrap().connect().await.unwrap());
    }
    channels
}

/// How many events a second reach so many watchers that each take all of them from the start.
async fn rate(url: &str, watchers: usize) -> f64 {
    let channels = connect(url).await;
    let rounds = COUNTED.div_ceil(EVENTS * watchers as u64);
    let begun = Instant::now();
    for _ in 0..rounds {
        let mut tasks = JoinSet::new();
        for watcher in 0..watchers {
            let mut client = EventServiceClient::new(channels[watcher % CONNECTIONS].clone());
            tasks.spawn(async move {
                let request = WatchRequest { begin: Some(Begin::AfterSequence(0)), ..Default::default() };
                let mut answers = client.watch(request).await.unwrap().into_inner();
                for sequence in 1..=EVENTS {
                    match answers.message().await.unwrap().unwrap().answer {
                        Some(Answer::Event(event)) => assert_eq!(event.sequence, sequence),
                        other => panic!("{other:?}"),
                    }
                }
            });
        }
        tasks.join_all().await;
    }
    (rounds * EVENTS * watchers as u64) as f64 / begun.elapsed().as_secs_f64()
}

async fn write(tags: &mut TagServiceClient<Channel>, writer: u64, number: u64) -> u64 {
    let request = point(writer, number);
    tags.set_tag(request).await.unwrap().into_inner().result.unwrap().sequence
}

/// What watchers from now on receive until the time is over: sequence, when it was recorded, and when it came.
async fn watch(url: &str, watchers: usize) -> JoinSet<Vec<(u64, SystemTime, SystemTime)>> {
    let channels = connect(url).await;
    let mut tasks = JoinSet::new();
    for watcher in 0..watchers {
        let mut client = EventServiceClient::new(channels[watcher % CONNECTIONS].clone());
        let mut answers = client.watch(WatchRequest::default()).await.unwrap().into_inner();
        tasks.spawn(async move {
            let (mut came, end) =
                (Vec::new(), tokio::time::Instant::now() + LASTING + Duration::from_secs(1));
            while let Ok(answer) = tokio::time::timeout_at(end, answers.message()).await {
                if let Some(Answer::Event(event)) = answer.unwrap().unwrap().answer {
                    let recorded = event.recorded_at.unwrap().try_into().unwrap();
                    came.push((event.sequence, recorded, SystemTime::now()));
                }
            }
            came
        });
    }
    tasks
}

/// How long after it was sent the second of two events of the bare server came.
async fn bare_delays(url: &str, watchers: usize) -> Vec<Duration> {
    let came = watch(url, watchers).await.join_all().await;
    let delay =
        |(_, sent, came): (u64, SystemTime, SystemTime)| came.duration_since(sent).unwrap_or_default();
    came.into_iter().flatten().map(delay).collect()
}

/// How long after its write was acknowledged, and after it was decided, the last event of a command came. It may come before
/// the acknowledgement: then at once.
async fn delays(url: &str, watchers: usize, rate: u64) -> (Vec<Duration>, Vec<Duration>) {
    const WRITERS: u64 = 4;
    let watching = watch(url, watchers).await;
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let mut tags = TagServiceClient::new(connect(url).await.remove(0));
        writers.spawn(async move {
            let mut acknowledged = Vec::new();
            let pause =
                Duration::from_secs(1) * u32::try_from(WRITERS).unwrap() / u32::try_from(rate).unwrap();
            let (begun, mut turns) = (Instant::now(), tokio::time::interval(pause));
            while begun.elapsed() < LASTING {
                turns.tick().await;
                let number = acknowledged.len() as u64;
                acknowledged.push((write(&mut tags, writer, number).await, SystemTime::now()));
            }
            acknowledged
        });
    }
    let acknowledged: std::collections::HashMap<_, _> =
        writers.join_all().await.into_iter().flatten().collect();
    let delay = |(sequence, decided, came): (u64, SystemTime, SystemTime)| {
        let after = |moment| came.duration_since(moment).unwrap_or_default();
        acknowledged.get(&sequence).map(|at| (after(*at), after(decided)))
    };
    let delays: Vec<_> = watching.join_all().await.into_iter().flatten().filter_map(delay).collect();
    assert_eq!(delays.len(), acknowledged.len() * watchers, "each watcher hears of each write");
    delays.into_iter().unzip()
}

/// One event of the server, and so many events in its log.
async fn fill(url: &str) -> Event {
    let channel = connect(url).await.remove(0);
    let mut writers = JoinSet::new();
    for writer in 0..16 {
        let mut tags = TagServiceClient::new(channel.clone());
        writers.spawn(async move {
            for number in 0..EVENTS / 32 {
                write(&mut tags, writer, number).await;
            }
        });
    }
    writers.join_all().await;
    let request = ReadEventsRequest { from_sequence: EVENTS, ..Default::default() };
    let page = EventServiceClient::new(channel).read_events(request).await.unwrap().into_inner();
    page.events.into_iter().next().unwrap()
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(place) = arguments.iter().position(|word| word == "--bare") {
        let like = &arguments[place + 3];
        let bytes = (0..like.len()).step_by(2).map(|n| u8::from_str_radix(&like[n..n + 2], 16).unwrap());
        let like = prost::Message::decode(bytes.collect::<Vec<u8>>().as_slice()).unwrap();
        return serve_bare(
            arguments[place + 1].parse().unwrap(),
            arguments[place + 2].parse().unwrap(),
            like,
        );
    }
    let runtime = Runtime::new().unwrap();
    // The server's data lies in `TMPDIR`, which is to be a real disk.
    let server = Server::start(Options::default()).unwrap();
    let url = server.url();
    let like = runtime.block_on(fill(&url));
    println!("event of {} bytes", prost::Message::encoded_len(&like));

    println!("watchers   bare events/s   from memory   ratio   from the log   ratio");
    let (_bare, bare_url) = start_bare(1, &like);
    let turn = |url: &str, watchers| runtime.block_on(rate(url, watchers));
    let mut measured: Vec<(usize, f64, f64)> = Vec::new();
    for watchers in WATCHERS {
        let (first, memory, second) =
            (turn(&bare_url, watchers), turn(&url, watchers), turn(&bare_url, watchers));
        measured.push((watchers, f64::midpoint(first, second), memory));
    }
    // So many more that the first ones are in memory no longer.
    for _ in 0..2 {
        runtime.block_on(fill(&url));
    }
    for (watchers, bare, memory) in measured {
        let log = turn(&url, watchers);
        println!(
            "{watchers:>8}   {bare:>13.0}   {memory:>11.0}   {:>5.2}   {log:>12.0}   {:>5.2}",
            memory / bare,
            log / bare
        );
    }

    println!("                  bare              after the decision   after the answer");
    println!("watchers          p50 us   p99 us   p50 us   p99 us      p50 us   p99 us");
    for (name, rate) in RATES {
        let (_bare, bare_url) = start_bare(rate, &like);
        for watchers in WATCHERS {
            let mut bare = runtime.block_on(bare_delays(&bare_url, watchers));
            let (mut answered, mut decided) = runtime.block_on(delays(&url, watchers, rate));
            let both = |times: &mut Vec<Duration>| [50, 99].map(|of_hundred| quantile(times, of_hundred));
            let ([bare50, bare99], [after50, after99]) = (both(&mut bare), both(&mut decided));
            let [p50, p99] = both(&mut answered);
            println!(
                "{watchers:>8}   {name:>4}   {bare50:>6}   {bare99:>6}   {after50:>6}   {after99:>6}      {p50:>6}   {p99:>6}"
            );
        }
    }
}
