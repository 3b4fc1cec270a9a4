//! What gRPC proves, and when: checkpoints, inclusion, consistency; once a second at most, and never two histories.

use std::time::{Duration, Instant};

use tagtrail_api::v1::*;
use tagtrail_tests::chance::Chance;
use tagtrail_tests::server::{Options, Server};
use tagtrail_transparency::{Checkpoint, Hash, Receipt, VerifierKey, hash, proof};
use tokio::runtime::Runtime;
use tonic::Code;

use super::{covering, fill, goes_on, open, point};
use crate::api::Api;
use crate::storm::storm;

/// How often the server is killed.
const KILLS: u64 = 8;

fn hashes(hashes: &[Vec<u8>]) -> Vec<Hash> {
    let hash = |bytes: &Vec<u8>| Hash::from_bytes(bytes.as_slice().try_into().expect("32 bytes"));
    hashes.iter().map(hash).collect()
}

/// The second of two checkpoints goes on from the first.
fn consistent(api: &Api, old: &Checkpoint, new: &Checkpoint) {
    if old.size() == 0 {
        return; // Every log does.
    }
    let request = GetConsistencyProofRequest { from_size: old.size(), to_size: new.size() };
    let answer = api.ok(api.audits().get_consistency_proof(request));
    assert_eq!(answer.to_size, new.size());
    proof::verify_consistency(old.size(), new.size(), &hashes(&answer.hashes), old.root(), new.root())
        .unwrap_or_else(|error| panic!("{} to {}: {error}", old.size(), new.size()));
}

#[test]
fn checkpoints_and_proofs() {
    let server = Server::start(Options::default()).expect("the server starts");
    let api = Api::of(&server);
    // A log in which nothing happened yet.
    let empty = covering(&api, 0);
    assert_eq!((empty.size, empty.root.as_slice()), (0, hash::empty_root().as_bytes().as_slice()));
    let key = empty.verifier_key;
    assert!(key.starts_with(&empty.origin), "{key}");

    let mut seen = Vec::new();
    for _ in 0..3 {
        let head = fill(&api, 5);
        // Nothing is signed for up to a second, and this waits for it.
        let answer = covering(&api, head);
        assert!(answer.size >= head, "{} of {head}", answer.size);
        let checkpoint = open(&answer.checkpoint, &key);
        assert_eq!((checkpoint.origin(), checkpoint.size()), (answer.origin.as_str(), answer.size));
        assert_eq!(checkpoint.root().as_bytes().as_slice(), answer.root);
        seen.push(checkpoint);
    }
    for (number, new) in seen.iter().enumerate() {
        seen[..=number].iter().for_each(|old| consistent(&api, old, new));
    }
    // Every event, also the one that was written a moment ago.
    let vkey: VerifierKey = key.parse().expect("a key");
    let head = fill(&api, 1);
    for sequence in 1..=head {
        let proven = api.ok(api.audits().get_inclusion_proof(GetInclusionProofRequest { sequence }));
        let receipt = Receipt::parse(proven.receipt.as_bytes()).expect("a receipt");
        let leaf = hash::leaf(&proven.event);
        let checkpoint = receipt.verify(&leaf, &vkey).unwrap_or_else(|error| panic!("{sequence}: {error}"));
        assert_eq!((proven.index, proven.size), (sequence - 1, checkpoint.size()));
        assert_eq!(receipt.extra(), Some(proven.event.as_slice()));
        proof::verify_inclusion(&leaf, proven.index, proven.size, &hashes(&proven.hashes), checkpoint.root())
            .unwrap_or_else(|error| panic!("{sequence}: {error}"));
        let event =
            <Event as prost_reflect::prost::Message>::decode(proven.event.as_slice()).expect("an event");
        assert_eq!(event.sequence, sequence);
    }
    let whole =
        api.ok(api.audits().get_consistency_proof(GetConsistencyProofRequest { from_size: 1, to_size: 0 }));
    assert_eq!(whole.to_size, head, "0 is the newest");

    let beyond = "beyond";
    for covers_sequence in [head + 1, u64::MAX] {
        let request = GetCheckpointRequest { covers_sequence };
        api.refused(api.audits().get_checkpoint(request), Code::OutOfRange, beyond);
    }
    let included = |sequence, code, words| {
        api.refused(api.audits().get_inclusion_proof(GetInclusionProofRequest { sequence }), code, words);
    };
    included(0, Code::InvalidArgument, "the first event has sequence 1");
    included(head + 1, Code::OutOfRange, beyond);
    included(u64::MAX, Code::OutOfRange, beyond);
    let goes_on = |from_size, to_size, code, words| {
        let request = GetConsistencyProofRequest { from_size, to_size };
        api.refused(api.audits().get_consistency_proof(request), code, words);
    };
    goes_on(0, 3, Code::InvalidArgument, "between 1 and the second");
    goes_on(4, 3, Code::InvalidArgument, "between 1 and the second");
    goes_on(1, head + 1, Code::OutOfRange, beyond);
    goes_on(head + 1, 0, Code::InvalidArgument, "between 1 and the second");
}

/// However many events come, a checkpoint comes once a second at most; and soon after the last event.
#[test]
fn a_checkpoint_a_second() {
    let server = Server::start(Options::default()).expect("the server starts");
    let api = Api::of(&server);
    let mut sizes = vec![covering(&api, 0).size];
    let began = Instant::now();
    let mut head = 0;
    while began.elapsed() < Duration::from_secs(4) {
        head = fill(&api, 1);
        let size = covering(&api, 0).size;
        if sizes.last() != Some(&size) {
            sizes.push(size);
        }
    }
    let seconds = began.elapsed().as_secs_f64().ceil() as usize;
    assert!(sizes.is_sorted(), "{sizes:?}");
    // One that was late may be followed by one that is not.
    assert!(sizes.len() <= seconds + 2, "{sizes:?} in {seconds} seconds");
    assert!(sizes.len() >= 3, "{sizes:?} in {seconds} seconds");
    // Nothing more has to happen for the rest.
    assert_eq!(covering(&api, head).size, head);
    let rest = Instant::now();
    assert_eq!(covering(&api, head).size, head);
    assert!(rest.elapsed() < Duration::from_secs(1), "what is signed is not waited for");
}

/// Killed at any time: what was signed stays signed, and every checkpoint goes on from all that were seen before.
#[test]
fn no_kill_makes_a_second_history() {
    let mut server = Server::start(Options::default()).expect("the server starts");
    let runtime = Runtime::new().expect("a runtime");
    let mut seen: Vec<Checkpoint> = Vec::new();
    let mut key = String::new();
    let mut chance = Chance(11);
    for round in 0..KILLS {
        let api = Api::of(&server);
        let answer = covering(&api, api.head());
        assert!(key.is_empty() || key == answer.verifier_key, "the key is another one after kill {round}");
        key = answer.verifier_key;
        let checkpoint = open(&answer.checkpoint, &key);
        seen.iter().for_each(|old| consistent(&api, old, &checkpoint));
        seen.push(checkpoint);
        let killed = Duration::from_millis(chance.below(700));
        runtime.block_on(async {
            let name = format!("kill-{round}");
            tokio::time::timeout(Duration::from_millis(400), storm(&server, &name, 2)).await.ok();
        });
        std::thread::sleep(killed);
        // What is seen last may be newer than what the next start finds first.
        let page = server.get("/log/checkpoint").expect("an answer");
        seen.push(open(&page.text(), &key));
        server.kill().expect("the server can be killed");
        server.restart().unwrap_or_else(|error| panic!("after kill {round}: {error:#}"));
    }
    let api = Api::of(&server);
    let newest = open(&covering(&api, api.head()).checkpoint, &key);
    seen.iter().for_each(|old| consistent(&api, old, &newest));
    let sizes: Vec<u64> = seen.iter().map(Checkpoint::size).collect();
    assert!(sizes.is_sorted(), "{sizes:?}");
    assert!(newest.size() > KILLS, "{sizes:?}");
    goes_on(&server);
}

/// Asked to end, a server signs what is not signed yet.
#[test]
fn the_last_event_is_signed_before_the_end() {
    let mut server = Server::start(Options::default()).expect("the server starts");
    let api = Api::of(&server);
    let key = covering(&api, 0).verifier_key;
    fill(&api, 4);
    api.ok(api.tags().set_tag(point("v2", 1)));
    let head = api.head();
    server.terminate().expect("the server ends");
    for place in ["data/checkpoint", "data.checkpoint"] {
        let note = std::fs::read_to_string(server.files().join(place)).expect("a checkpoint");
        assert_eq!(open(&note, &key).size(), head, "{place}");
    }
}
