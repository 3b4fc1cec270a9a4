//! How many durable moves of a tag does a second have, against etcd's puts of the same size and against what gRPC alone allows?
//!
//! Four servers, each in a process of its own, are asked by turns in one run, by the same client over as many connections: Tagtrail, one
//! move of a tag a call (two events, which name their images: no registry is asked); etcd 3.4 or later on a single node, one put of a
//! fresh key a call, with as many bytes in its value as the two events have; and *echo*, the least that tonic can do: it takes the
//! same request, gives an answer like ours, and keeps nothing. *Raw* is a plain file on the same disk: the same bytes for each
//! call, and `fdatasync` for as many calls together as there are callers, which is the most that can share one.
//!
//! Without `etcd` on the PATH (Debian: `etcd-server`; `just bench-peers` installs it) its columns stay empty.

#![allow(clippy::print_stdout, clippy::unwrap_used)] // A program that prints its measurement or falls over.

use std::convert::Infallible;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::pin::Pin;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tagtrail_api::v1::tag_service_client::TagServiceClient;
use tagtrail_api::v1::{SetTagRequest, SetTagResponse};
use tagtrail_benches::{point, quantile};
use tagtrail_tests::process::{Process, free_port};
use tagtrail_tests::server::{Options, Server};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tonic::body::Body;
use tonic::codegen::http;
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

const CALLERS: [usize; 4] = [1, 16, 64, 256];
/// How many callers share a connection.
const PER_CONNECTION: usize = 16;
const TURNS: usize = 3;
const LASTING: Duration = Duration::from_secs(3);
/// What two events of a move take.
const WRITE_BYTES: usize = 600;
/// This program again, as the server that does nothing.
const ECHO: &str = "TAGTRAIL_BENCH_ECHO";

/// etcd's `PutRequest`, as far as it is used.
#[derive(Clone, PartialEq, prost::Message)]
struct PutRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// etcd's `PutResponse`, of which nothing is used.
#[derive(Clone, PartialEq, prost::Message)]
struct PutResponse {}

/// Answers like ours, at once.
#[derive(Clone)]
struct Echo(SetTagResponse);

impl UnaryService<SetTagRequest> for Echo {
    type Response = SetTagResponse;
    type Future = std::future::Ready<Result<Response<SetTagResponse>, Status>>;

    fn call(&mut self, _: Request<SetTagRequest>) -> Self::Future {
        std::future::ready(Ok(Response::new(self.0.clone())))
    }
}

impl NamedService for Echo {
    const NAME: &'static str = "tagtrail.v1.TagService";
}

impl tower_service::Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let echo = self.clone();
        Box::pin(async move {
            let codec: ProstCodec<SetTagResponse, SetTagRequest> = ProstCodec::default();
            Ok(Grpc::new(codec).unary(echo, request).await)
        })
    }
}

fn serve_echo(port: u16, answer: SetTagResponse) {
    let address = ([127, 0, 0, 1], port).into();
    let server = tonic::transport::Server::builder().add_service(Echo(answer)).serve(address);
    Runtime::new().unwrap().block_on(server).unwrap();
}

/// Whoever takes calls.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Peer {
    Tagtrail,
    Etcd,
    Echo,
}

struct Peers {
    urls: Vec<(Peer, String)>,
    _server: Server,
    _processes: Vec<Process>,
}

fn listening(port: u16) {
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn etcd(dir: &Path) -> Option<(Process, String)> {
    let (port, peers) = (free_port().unwrap(), free_port().unwrap());
    let (clients, peers) = (format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{peers}"));
    let mut command = Command::new("etcd");
    command.arg("--data-dir").arg(dir.join("etcd")).args(["--log-level", "error"]);
    command.args(["--listen-client-urls", &clients, "--advertise-client-urls", &clients]);
    command.args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers]);
    command.args(["--initial-cluster", &format!("default={peers}")]);
    // Room for what a run writes.
    command.args(["--quota-backend-bytes", "8000000000"]);
    let process = Process::start(&mut command, &dir.join("etcd.log")).ok()?;
    listening(port);
    // It listens before it has elected itself.
    std::thread::sleep(Duration::from_secs(2));
    Some((process, clients))
}

fn start(dir: &Path) -> Peers {
    let server = Server::start(Options::default()).unwrap();
    let mut urls = vec![(Peer::Tagtrail, server.url())];
    let mut processes = Vec::new();
    if let Some((process, url)) = etcd(dir) {
        processes.push(process);
        urls.push((Peer::Etcd, url));
    }
    // The same answer as ours, so that it is as long.
    let answer = Runtime::new().unwrap().block_on(async {
        let channel = Endpoint::from_shared(server.url()).unwrap().connect().await.unwrap();
        TagServiceClient::new(channel).set_tag(point(u64::MAX, 1)).await.unwrap().into_inner()
    });
    let port = free_port().unwrap();
    let answer: String =
        prost::Message::encode_to_vec(&answer).iter().map(|byte| format!("{byte:02x}")).collect();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env(ECHO, format!("{port} {answer}"));
    processes.push(Process::start(&mut command, &dir.join("echo.log")).unwrap());
    listening(port);
    urls.push((Peer::Echo, format!("http://127.0.0.1:{port}")));
    Peers { urls, _server: server, _processes: processes }
}

async fn put(channel: &Channel, caller: u64, number: u64) {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let key = format!("bench/app-{caller}/{number}").into_bytes();
    let request = Request::new(PutRequest { key, value: vec![0xAB; WRITE_BYTES] });
    let codec: ProstCodec<PutRequest, PutResponse> = ProstCodec::default();
    let path = http::uri::PathAndQuery::from_static("/etcdserverpb.KV/Put");
    client.unary(request, path, codec).await.unwrap();
}

/// Calls, each caller one after the other: how many a second, and how long each took.
async fn calls(peer: Peer, url: &str, callers: usize, numbers: &AtomicU64) -> (f64, Vec<Duration>) {
    let mut channels = Vec::new();
    for _ in 0..callers.div_ceil(PER_CONNECTION) {
        channels.push(Endpoint::from_shared(url.to_owned()).unwrap().connect().await.unwrap());
    }
    let first = numbers.fetch_add(1_000_000_000, Ordering::Relaxed);
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for caller in 0..callers {
        let channel = channels[caller % channels.len()].clone();
        tasks.spawn(async move {
            let mut tags = TagServiceClient::new(channel.clone());
            let mut times = Vec::new();
            while begun.elapsed() < LASTING {
                let (caller, number) = (caller as u64, first + times.len() as u64);
                let start = Instant::now();
                match peer {
                    Peer::Etcd => put(&channel, caller, number).await,
                    Peer::Tagtrail | Peer::Echo => drop(tags.set_tag(point(caller, number)).await.unwrap()),
                }
                times.push(start.elapsed());
            }
            times
        });
    }
    let times = tasks.join_all().await.concat();
    (times.len() as f64 / begun.elapsed().as_secs_f64(), times)
}

/// Calls a second, if each only had to be synced with as many others as there are callers.
fn raw(dir: &Path, callers: usize) -> f64 {
    let mut file = File::create(dir.join("raw")).unwrap();
    let (begun, bytes) = (Instant::now(), vec![0xAB; callers * WRITE_BYTES]);
    let mut calls = 0;
    while begun.elapsed() < LASTING / 3 {
        file.write_all(&bytes).unwrap();
        file.sync_data().unwrap();
        calls += callers;
    }
    calls as f64 / begun.elapsed().as_secs_f64()
}

fn middle(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of.get(of.len() / 2).copied().unwrap_or(f64::NAN)
}

fn main() {
    if let Ok(told) = std::env::var(ECHO) {
        let (port, answer) = told.split_once(' ').unwrap();
        let bytes: Vec<u8> = (0..answer.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&answer[at..at + 2], 16).unwrap())
            .collect();
        return serve_echo(port.parse().unwrap(), prost::Message::decode(&*bytes).unwrap());
    }
    // Where cargo builds is a real disk; the system's temporary directory may be memory.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (peers, runtime, numbers) = (start(dir.path()), Runtime::new().unwrap(), AtomicU64::new(0));
    println!(
        "callers      moves/s  p50 us  p99 us   etcd puts/s  p50 us  p99 us      echo/s        raw/s   / etcd  / echo   / raw"
    );
    for callers in CALLERS {
        let mut rates = [const { Vec::new() }; 4];
        let mut times = [const { Vec::new() }; 3];
        for _ in 0..TURNS {
            for (peer, url) in &peers.urls {
                let (rate, took) = runtime.block_on(calls(*peer, url, callers, &numbers));
                rates[*peer as usize].push(rate);
                times[*peer as usize].extend(took);
            }
            rates[3].push(raw(dir.path(), callers));
        }
        let [ours, etcd, echo, raw] = rates.map(middle);
        let [[p50, p99], [etcd_p50, etcd_p99], _] = times.map(|mut times| {
            if times.is_empty() {
                [0, 0]
            } else {
                [50, 99].map(|of_hundred| quantile(&mut times, of_hundred))
            }
        });
        println!(
            "{callers:>7}   {ours:>10.0}  {p50:>6}  {p99:>6}    {etcd:>10.0}  {etcd_p50:>6}  {etcd_p99:>6}  {echo:>10.0}   {raw:>10.0}   {:>6.2}  {:>6.2}  {:>6.2}",
            ours / etcd,
            ours / echo,
            ours / raw
        );
    }
}
