//! Which tags serve this image, among a thousand, ten thousand and a hundred thousand streams of ten tags? And what do a page
//! of the list and the server's memory cost then?
//!
//! One tag in a thousand points to the image that is asked for. *Floor* is a call that reads nothing (`GetStatus`).

#![allow(clippy::print_stdout, clippy::unwrap_used)] // A program that prints its measurement or falls over.

use std::time::{Duration, Instant};

use tagtrail_api::v1::*;
use tagtrail_benches::{Calls, quantile};
use tagtrail_tests::faulty::Faulty;
use tagtrail_tests::server::{Options, Server};

const STREAMS: [usize; 3] = [1_000, 10_000, 100_000];
const TAGS: usize = 10;
const IMAGES: usize = 1_000;
/// Tags that are set by one command.
const AT_ONCE: usize = 1_000;
/// How often each call is made.
const TURNS: usize = 30;

fn main() {
    println!("us, p50 of {TURNS}; (x): times the floor; filling: tags set in a second");
    println!("streams   floor   where (tags found)   per tag   page of the list   memory, MiB   filling");
    for streams in STREAMS {
        let registry = Faulty::start().unwrap();
        let server = Server::start(Options::default()).unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let calls = Calls::to(&server.url()).await;
            let images = calls.import(&registry.host(), IMAGES, || registry.rebuild()).await;
            let filling = fill(&calls, &images, streams).await;
            measure(&calls, &server, &images[IMAGES / 2], streams, filling).await;
        });
    }
}

/// Sets all tags, and gives how many in a second.
async fn fill(calls: &Calls, images: &[String], streams: usize) -> f64 {
    let start = Instant::now();
    let all: Vec<usize> = (0..streams * TAGS).collect();
    for numbers in all.chunks(AT_ONCE) {
        let promotion = |number: &usize| Promotion {
            namespace: "bench".into(),
            name: format!("app-{:06}", number / TAGS),
            tag: format!("v{}", number % TAGS),
            source: Calls::set("", "", &images[number % IMAGES]).source,
            expected_image: String::new(),
        };
        let promotions = numbers.iter().map(promotion).collect();
        calls.tags().promote(PromoteRequest { promotions, ..Default::default() }).await.unwrap();
    }
    all.len() as f64 / start.elapsed().as_secs_f64()
}

async fn measure(calls: &Calls, server: &Server, image: &str, streams: usize, filling: f64) {
    let request = WhereRequest { digest: image.into(), ..Default::default() };
    let list = ListImageStreamsRequest { namespace: "bench".into(), page_size: 100, ..Default::default() };
    let mut times: [Vec<Duration>; 3] = Default::default();
    let mut found = 0;
    for _ in 0..TURNS {
        let start = Instant::now();
        calls.admin().get_status(GetStatusRequest {}).await.unwrap();
        times[0].push(start.elapsed());
        let start = Instant::now();
        found = calls.histories().r#where(request.clone()).await.unwrap().into_inner().tags.len();
        times[1].push(start.elapsed());
        let start = Instant::now();
        calls.streams().list_image_streams(list.clone()).await.unwrap();
        times[2].push(start.elapsed());
    }
    let p50 = times.map(|mut times| quantile(&mut times, 50));
    let ratio = |us: u128| format!("{us} ({:.1})", us as f64 / p50[0] as f64);
    println!(
        "{streams:>7}   {:>5}   {:>18}   {:>7.1}   {:>16}   {:>11}   {filling:>7.0}",
        p50[0],
        format!("{} ({found})", p50[1]),
        p50[1] as f64 / found as f64,
        ratio(p50[2]),
        server.memory().unwrap() >> 20
    );
}
