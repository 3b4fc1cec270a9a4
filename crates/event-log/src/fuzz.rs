//! What reads stored bytes, for the fuzz target: each parser under its name, with what has to hold of what it understood. It says
//! whether it understood anything.
//!
//! A checksum keeps almost every changed byte out. So each is tried once more with the sum put right: then what lies behind it is
//! reached, as it is by whoever can write to the disk.

use std::io::Cursor;

use bytes::{BufMut as _, Bytes};

use crate::backup::{self, format};
use crate::frame::{self, HEADER_BYTES};
use crate::journal::segment::{
    self, Piece, Pieces, RECORD_CRC_AT, RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES,
};
use crate::{MAX_APPEND_BYTES, codec};

/// A parser under its name.
pub type Parser = (&'static str, fn(&[u8]) -> bool);

/// Every parser of stored bytes.
pub const PARSERS: [Parser; 5] = [
    ("event", event),
    ("frame", |bytes| with_sum(bytes, frame::CRC_AT, HEADER_BYTES, 0, &frame)),
    ("journal", journal),
    ("backup", backup),
    ("backup-part", backup_part),
];

/// What was decoded is encoded to something that says the same.
fn event(bytes: &[u8]) -> bool {
    let Ok(event) = codec::decode(bytes) else { return false };
    let again = codec::encode(&event);
    assert_eq!(codec::decode(&again).expect("what was written can be read"), event);
    assert_eq!(codec::encode(&event), again);
    true
}

fn frame(bytes: &[u8]) -> bool {
    let Ok(stored) = frame::decode(bytes) else { return false };
    let mut again = Vec::new();
    frame::encode(&mut again, stored.sequence, stored.last_of_run, &stored.payload);
    assert_eq!(again, bytes);
    true
}

/// Tries bytes as they are, and with the sum that stands at `at` put right for what is before it and behind `behind`.
fn with_sum(bytes: &[u8], at: usize, behind: usize, seed: u32, parse: &dyn Fn(&[u8]) -> bool) -> bool {
    let understood = parse(bytes);
    let (Some(before), Some(after)) = (bytes.get(..at), bytes.get(behind..)) else { return understood };
    let sum = crc32c::crc32c_append(crc32c::crc32c_append(seed, before), after);
    let mut mended = bytes.to_vec();
    mended[at..at + 4].copy_from_slice(&sum.to_be_bytes());
    parse(&mended) || understood
}

/// A segment as it is, and with a header and the sum of its first record put right.
fn journal(bytes: &[u8]) -> bool {
    let understood = segment(bytes);
    let Some((header, record)) = bytes.split_at_checked(SEGMENT_HEADER_BYTES) else { return understood };
    let (covered, _) = header.split_at(SEGMENT_HEADER_BYTES - 4);
    let mut mended = covered.to_vec();
    mended.put_u32(crc32c::crc32c(covered));
    let Ok((id, _)) = segment::decode_header(&mended) else { return understood };
    let seed = crc32c::crc32c(id.as_bytes());
    let whole = |record: &[u8]| segment(&[&mended, record].concat());
    with_sum(record, RECORD_CRC_AT, RECORD_HEADER_BYTES, seed, &whole) || understood
}

/// The walk through a segment ends, and leaves no byte out.
fn segment(bytes: &[u8]) -> bool {
    let Ok((id, first)) = segment::decode_header(bytes) else { return false };
    let mut at = SEGMENT_HEADER_BYTES;
    let mut understood = false;
    let mut pieces = Pieces::of(Bytes::copy_from_slice(bytes), id, first);
    while let Some(piece) = pieces.next() {
        match piece {
            Piece::Record(record) => {
                assert!(!record.events.is_empty() && record.last() >= record.first);
                understood = true;
            }
            Piece::Bad { offset, end, .. } => assert!(at <= offset && offset <= end && end <= bytes.len()),
        }
        assert!(pieces.offset() >= at, "the walk goes on");
        at = pieces.offset();
    }
    understood
}

/// A whole backup, by whose own key it may be signed.
fn backup(bytes: &[u8]) -> bool {
    let Ok(reader) = backup::Reader::open(Cursor::new(bytes), None) else { return false };
    let mut size = 0;
    for part in reader {
        match part {
            Ok(backup::Part::Events(events)) => {
                size += events.iter().map(|event| event.payload.len()).sum::<usize>()
            }
            Ok(_) => {}
            Err(_) => return false,
        }
        assert!(size <= MAX_APPEND_BYTES, "more than the tests' backups hold");
    }
    true
}

/// What stands in a backup once it is unpacked: a kind, and a body.
fn backup_part(bytes: &[u8]) -> bool {
    let Some((kind, body)) = bytes.split_first() else { return false };
    let body = Bytes::copy_from_slice(body);
    format::read_header(body.clone()).is_some() | format::read_part(*kind, body).is_ok()
}
