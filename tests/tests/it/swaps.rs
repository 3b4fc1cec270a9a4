//! Compare-and-swap: of all who expect the same image, one wins. Sixty-four writers do nothing else, and what each of them
//! heard, and when, has to be explained by one order of all calls that fits the times (linearizability).
//!
//! Every write puts another image, so the order of the writes is told by what each expected. A refused call has read what
//! the tag points to, so it has to fit between the write that put it there and the next one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use tagtrail_api::v1::tag_service_client::TagServiceClient;
use tagtrail_api::v1::{GetTagRequest, SetTagRequest};
use tagtrail_tests::faulty::Faulty;
use tagtrail_tests::server::{Options, Server};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::api::Api;
use crate::pool::{HERE, Pool, set};
use crate::storm::connect;

const WRITERS: usize = 64;
const SWAPS_PER_WRITER: usize = 4;

/// A call, from when it was made to when its answer came.
struct Call {
    made: Instant,
    answered: Instant,
    what: What,
}

/// What a call did, by its answer.
#[derive(Debug)]
enum What {
    /// The tag pointed to this image.
    Read(String),
    /// It pointed to the first, and points to the second.
    Swapped(String, String),
}

#[test]
fn of_all_who_expect_the_same_one_wins() {
    let registry = Faulty::start().expect("a registry");
    let server = Server::start(Options::default()).expect("the server starts");
    let api = Api::of(&server);
    let pool = Pool::filled(&api, &registry, WRITERS * SWAPS_PER_WRITER + 1);
    api.ok(api.tags().set_tag(set("app", "prod", pool.image(0))));

    let runtime = Runtime::new().expect("a runtime");
    let first = pool.0[0].clone();
    let pool = Arc::new(pool);
    let calls = runtime.block_on(async {
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            let tags = TagServiceClient::new(connect(&server).await);
            writers.spawn(swap(tags, writer, pool.clone()));
        }
        writers.join_all().await.into_iter().flatten().collect::<Vec<_>>()
    });
    let swaps = calls.iter().filter(|call| matches!(call.what, What::Swapped(..))).count();
    assert!(swaps > SWAPS_PER_WRITER, "only {swaps} swaps: this has shown nothing");
    assert!(calls.len() > swaps * 2, "nobody was refused: this has shown nothing");
    linearizable(&first, &calls).unwrap_or_else(|why| panic!("{why}"));
}

/// Looks, and then puts an image of its own there if nothing has changed, again and again.
async fn swap(
    mut tags: TagServiceClient<tonic::transport::Channel>,
    writer: usize,
    pool: Arc<Pool>,
) -> Vec<Call> {
    let mut calls = Vec::new();
    for turn in 0..SWAPS_PER_WRITER {
        let made = Instant::now();
        let request = GetTagRequest {
            namespace: HERE.into(),
            name: "app".into(),
            tag: "prod".into(),
            ..GetTagRequest::default()
        };
        let tag = tags.get_tag(request).await.expect("the tag is there").into_inner().tag;
        let seen = tag.and_then(|tag| tag.image).expect("it has an image").digest;
        calls.push(Call { made, answered: Instant::now(), what: What::Read(seen.clone()) });

        let number = 1 + writer * SWAPS_PER_WRITER + turn;
        let ours = pool.0[number].clone();
        let request =
            SetTagRequest { expected_image: seen.clone(), ..set("app", "prod", pool.image(number)) };
        let made = Instant::now();
        let what = match tags.set_tag(request).await {
            Ok(_) => What::Swapped(seen, ours),
            Err(status) => What::Read(there_is(&status)),
        };
        calls.push(Call { made, answered: Instant::now(), what });
    }
    calls
}

/// What a refusal says the tag points to.
fn there_is(status: &Status) -> String {
    assert_eq!(status.code(), Code::Aborted, "{}", status.message());
    let info = status.get_details_error_info().expect("a refusal tells more");
    assert_eq!(info.reason, "CONFLICT");
    let there = info.metadata.get("image").expect("it says what is there").clone();
    assert!(status.message().contains(&there), "{}", status.message());
    assert!(info.metadata.contains_key("sequence"));
    there
}

/// Whether one order of all calls explains every answer and fits the times.
fn linearizable(first: &str, calls: &[Call]) -> Result<(), String> {
    let mut by_expected = HashMap::new();
    for call in calls {
        if let What::Swapped(expected, _) = &call.what
            && by_expected.insert(expected.as_str(), call).is_some()
        {
            return Err(format!("two writers that expected {expected} have won"));
        }
    }
    // The chain of writes; and in which of its links each image was there.
    let mut places = HashMap::from([(first, 0_usize)]);
    let (mut at, mut length) = (first, 0);
    while let Some(Call { what: What::Swapped(_, next), .. }) = by_expected.get(at) {
        length += 1;
        places.insert(next, length);
        at = next;
    }
    if length != by_expected.len() {
        return Err(format!("{} writers have won, but the chain has {length} links", by_expected.len()));
    }
    // A write stands before the reads of what it put there. Calls with one place may have any order, so their times give it.
    let mut placed = Vec::new();
    for call in calls {
        let place = match &call.what {
            What::Swapped(_, put) => places.get(put.as_str()).map(|place| place * 2),
            What::Read(seen) => places.get(seen.as_str()).map(|place| place * 2 + 1),
        };
        placed.push((place.ok_or_else(|| format!("{:?}: nobody ever put that there", call.what))?, call));
    }
    placed.sort_by_key(|(place, _)| *place);
    // No call may stand behind one that was made only after its own answer had come.
    let mut latest: Option<&Call> = None;
    for same_place in placed.chunk_by(|one, next| one.0 == next.0) {
        for (place, call) in same_place {
            if let Some(other) = latest.filter(|other| other.made > call.answered) {
                return Err(format!(
                    "{:?} stands at {place}, behind {:?}, which was made only after its answer",
                    call.what, other.what
                ));
            }
        }
        let made = same_place.iter().map(|(_, call)| *call).chain(latest);
        latest = made.max_by_key(|call| call.made);
    }
    Ok(())
}

/// The check itself tells a stale read and a lost write.
#[test]
fn the_check_can_fail() {
    let start = Instant::now();
    let at = |from: u64, to: u64, what| Call {
        made: start + std::time::Duration::from_secs(from),
        answered: start + std::time::Duration::from_secs(to),
        what,
    };
    let read = |image: &str| What::Read(image.into());
    let swapped = |from: &str, to: &str| What::Swapped(from.into(), to.into());
    let check = |calls: &[Call]| linearizable("a", calls).is_ok();
    assert!(check(&[at(0, 2, swapped("a", "b")), at(1, 3, read("a")), at(1, 3, read("b"))]));
    assert!(!check(&[at(0, 1, swapped("a", "b")), at(2, 3, read("a"))]), "a stale read");
    assert!(!check(&[at(0, 1, read("b")), at(2, 3, swapped("a", "b"))]), "a read of the future");
    assert!(!check(&[at(0, 9, swapped("a", "b")), at(0, 9, swapped("a", "c"))]), "two winners");
    assert!(!check(&[at(0, 9, swapped("a", "b")), at(0, 9, swapped("x", "c"))]), "no chain");
    let back = [at(0, 9, swapped("a", "b")), at(1, 2, read("b")), at(3, 4, read("a"))];
    assert!(!check(&back), "back in time");
}
