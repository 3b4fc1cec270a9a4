//! What does one acknowledged write cost through gRPC, from one writer and from 64?
//!
//! A real server in a process of its own, and writers that each wait for their answer before they send the next wish.
//! Before and after, the least that durability can cost on the same disk: the same bytes appended to a plain file, and
//! `fdatasync`.

#![allow(clippy::print_stdout, clippy::unwrap_used)] // A program that prints its measurement or falls over.

use std::fs::File;
use std::io::Write;
use std::time::{Duration, Instant};

use tagtrail_api::v1::tag_service_client::TagServiceClient;
use tagtrail_benches::{point, quantile};
use tagtrail_tests::server::{Options, Server};
use tokio::task::JoinSet;
use tonic::transport::Endpoint;

const WRITERS: [u64; 2] = [1, 64];
const LASTING: Duration = Duration::from_secs(5);
/// About what the two events of one write take.
const WRITE_BYTES: usize = 600;

fn raw() -> Vec<Duration> {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut file = File::create(dir.path().join("raw")).unwrap();
    let mut times = Vec::new();
    for _ in 0..1_000 {
        let start = Instant::now();
        file.write_all(&[0xAB; WRITE_BYTES]).unwrap();
        file.sync_data().unwrap();
        times.push(start.elapsed());
    }
    times
}

/// One writer on a connection and a stream of its own: how long each write took.
async fn write(url: String, writer: u64) -> Vec<Duration> {
    let channel = Endpoint::from_shared(url).unwrap().connect().await.unwrap();
    let mut tags = TagServiceClient::new(channel);
    let (begun, mut times) = (Instant::now(), Vec::new());
    while begun.elapsed() < LASTING {
        let request = point(writer, times.len() as u64);
        let start = Instant::now();
        tags.set_tag(request).await.unwrap();
        times.push(start.elapsed());
    }
    times
}

fn main() {
    println!("writers   raw p50 us   p50 us   p99 us   p50 / raw   writes/s");
    for writers in WRITERS {
        // The server's data lies in `TMPDIR`, which is to be a real disk.
        let server = Server::start(Options::default()).unwrap();
        let mut raws = raw();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let mut all = runtime.block_on(async {
            let mut tasks = JoinSet::new();
            for writer in 0..writers {
                tasks.spawn(write(server.url(), writer));
            }
            tasks.join_all().await.concat()
        });
        raws.extend(raw());
        let raw = quantile(&mut raws, 50);
        let per_second = all.len() as f64 / LASTING.as_secs_f64();
        let (p50, p99) = (quantile(&mut all, 50), quantile(&mut all, 99));
        println!(
            "{writers:>7}   {raw:>10}   {p50:>6}   {p99:>6}   {:>9.1}   {per_second:>8.0}",
            p50 as f64 / raw as f64
        );
    }
}
