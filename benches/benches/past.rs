//! Does a long past make anything slow? One tag that has moved a thousand, ten thousand and a hundred thousand times: what it
//! is now, a page of its history, what it was in the middle, why it is so, and how much memory the server takes.
//!
//! *Floor* is a call that reads nothing (`GetStatus`), made in turn with the others.

#![allow(clippy::print_stdout, clippy::unwrap_used)] // A program that prints its measurement or falls over.

use std::future::Future;
use std::time::{Duration, Instant};

use tagtrail_api::v1::moment::When;
use tagtrail_api::v1::*;
use tagtrail_benches::{Calls, quantile};
use tagtrail_tests::faulty::Faulty;
use tagtrail_tests::server::{Options, Server};
use tokio::task::JoinSet;

const MOVES: [u64; 3] = [1_000, 10_000, 100_000];
const WRITERS: u64 = 64;
const IMAGES: usize = 8;
/// How often each call is made.
const TURNS: usize = 30;

fn main() {
    println!("us, p50 of {TURNS}; (x): times the floor");
    println!(
        "  moves   floor   describe now   page of history   describe in the middle      why   memory, MiB"
    );
    for moves in MOVES {
        let registry = Faulty::start().unwrap();
        let server = Server::start(Options::default()).unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let calls = Calls::to(&server.url()).await;
            let images = calls.import(&registry.host(), IMAGES, || registry.rebuild()).await;
            move_it(&server, &images, moves).await;
            measure(&calls, &server, moves).await;
        });
    }
}

/// Moves one tag to and fro, from many sides.
async fn move_it(server: &Server, images: &[String], moves: u64) {
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let calls = Calls::to(&server.url()).await;
        let images = images.to_vec();
        writers.spawn(async move {
            for number in 0..moves / WRITERS + 1 {
                let image = &images[usize::try_from(writer * 5 + number).unwrap() % images.len()];
                calls.tags().set_tag(Calls::set("app", "prod", image)).await.unwrap();
            }
        });
    }
    writers.join_all().await;
}

async fn measure(calls: &Calls, server: &Server, moves: u64) {
    let head = calls.admin().get_status(GetStatusRequest {}).await.unwrap().into_inner().head;
    let at = Some(Moment { when: Some(When::Sequence(head / 2)) });
    let describe = |at| DescribeImageStreamRequest {
        namespace: "bench".into(),
        name: "app".into(),
        history_limit: 100,
        at,
    };
    let page = ListEntriesRequest {
        namespace: "bench".into(),
        name: "app".into(),
        tag: "prod".into(),
        page_size: 100,
        ..Default::default()
    };
    let why = WhyRequest {
        namespace: "bench".into(),
        name: "app".into(),
        tag: "prod".into(),
        ..Default::default()
    };
    let mut times: [Vec<Duration>; 5] = Default::default();
    for _ in 0..TURNS {
        times[0].push(time(calls.admin().get_status(GetStatusRequest {})).await);
        times[1].push(time(calls.streams().describe_image_stream(describe(None))).await);
        times[2].push(time(calls.histories().list_entries(page.clone())).await);
        times[3].push(time(calls.streams().describe_image_stream(describe(at))).await);
        times[4].push(time(calls.histories().why(why.clone())).await);
    }
    let p50 = times.map(|mut times| quantile(&mut times, 50));
    let ratio = |us: u128| format!("{us} ({:.1})", us as f64 / p50[0] as f64);
    println!(
        "{moves:>7}   {:>5}   {:>12}   {:>15}   {:>22}   {:>6}   {:>11}",
        p50[0],
        ratio(p50[1]),
        ratio(p50[2]),
        ratio(p50[3]),
        ratio(p50[4]),
        server.memory().unwrap() >> 20
    );
}

async fn time<T>(call: impl Future<Output = Result<T, tonic::Status>>) -> Duration {
    let start = Instant::now();
    call.await.unwrap();
    start.elapsed()
}
