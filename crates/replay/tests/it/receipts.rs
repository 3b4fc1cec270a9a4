//! One event with its proof in a file.

use std::fs;

use tagtrail_event_log::codec;
use tagtrail_replay::receipt::{ReceiptFailure, check, prove};
use tagtrail_replay::source::Directory;
use tagtrail_replay::{SourceError, Trust};
use tagtrail_transparency::{Policy, SigningKey};

use crate::history::{Journal, history, key, origin, vkey};

fn trust() -> Trust {
    Trust::Own(Box::new(vkey()))
}

#[test]
fn each_event_can_be_proven() {
    let with_tree = Directory::open(history().dir()).unwrap();
    let copy = history().copy();
    fs::remove_dir_all(copy.path().join("tree")).unwrap();
    let without = Directory::open(copy.path()).unwrap();
    let policy = Policy::of_log(vkey());
    for sequence in [1, 2, 100, 256, 257, history().size()] {
        let receipt = prove(&with_tree, &trust(), sequence).unwrap();
        assert_eq!(receipt, prove(&without, &trust(), sequence).unwrap());
        let proven = check(receipt.to_string().as_bytes(), &policy, None).unwrap();
        assert_eq!((proven.sequence, proven.event.sequence), (sequence, sequence));
        assert_eq!(proven.checkpoint.size(), history().size());
        let recorded = codec::decode(&history().payloads[sequence as usize - 1]).unwrap();
        assert_eq!(proven.event, codec::to_proto::event(&recorded));
    }
    for sequence in [0, history().size() + 1] {
        assert!(matches!(prove(&with_tree, &trust(), sequence), Err(ReceiptFailure::NoSuchEvent { .. })));
    }
}

/// A receipt with any bit changed proves nothing, or the same.
#[test]
fn a_changed_receipt_proves_nothing_else() {
    let directory = Directory::open(history().dir()).unwrap();
    let good = prove(&directory, &trust(), 123).unwrap().to_string().into_bytes();
    let policy = Policy::of_log(vkey());
    let event = check(&good, &policy, None).unwrap().event;
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 7);
        if let Ok(proven) = check(&bad, &policy, None) {
            assert_eq!((proven.sequence, &proven.event), (123, &event), "byte {at}");
        }
    }
    let other = SigningKey::from_seed(origin(), &[8; 32]).unwrap().verifier();
    assert!(matches!(check(&good, &Policy::of_log(other), None), Err(ReceiptFailure::Proves(_))));
    // Another event in its place.
    let another = history().payloads[7].clone();
    assert!(matches!(check(&good, &policy, Some(another)), Err(ReceiptFailure::Proves(_))));
}

/// A wrong hash beside it does no harm, for the events tell the right one. A changed event cannot be proven, whichever it is.
#[test]
fn no_receipt_for_what_was_changed() {
    let copy = history().copy();
    let tree = copy.path().join("tree/0");
    let mut bytes = fs::read(&tree).unwrap();
    bytes[32 * 123] ^= 1;
    fs::write(&tree, bytes).unwrap();
    let untouched = Directory::open(history().dir()).unwrap();
    let directory = Directory::open(copy.path()).unwrap();
    assert_eq!(prove(&directory, &trust(), 123).unwrap(), prove(&untouched, &trust(), 123).unwrap());

    let mut journal = Journal::read(copy.path());
    let mut records = journal.records();
    records[0][0].1 = history().payloads[1].clone();
    journal.set_records(records);
    journal.write();
    let directory = Directory::open(copy.path()).unwrap();
    let failure = prove(&directory, &Trust::Own(Box::new(key().verifier())), 123).unwrap_err();
    let ReceiptFailure::Source(SourceError::Wrong(wrong)) = failure else { panic!("{failure}") };
    assert_eq!(wrong.kind(), "CheckpointInconsistent");
}
