//! The bytes of a backup's file. `docs/formats/backup.md` is the same for people without this code.
//!
//! ```text
//! magic (8)  version (4)  | a zstd frame: records |  SHA-256 of all bytes before (32)
//! record: kind (1)  length of the body (4)  CRC-32C of kind, length and body (4)  body
//! ```

use bytes::{Buf, BufMut, Bytes};
use tagtrail_transparency::Hash;

use super::parts::{Contents, Header, Part, bits, text};
use crate::{LogId, frame};

/// What every backup begins with. The first byte occurs in no UTF-8 text.
pub(super) const MAGIC: [u8; 8] = *b"\xF7tagback";
/// The version of the format that this program writes and reads.
pub(super) const VERSION: u32 = 1;
/// Magic and version.
pub(super) const PREFIX_BYTES: usize = 12;
/// The SHA-256 at the end.
pub(super) const SUM_BYTES: usize = 32;
/// Kind, length, checksum.
pub(super) const RECORD_HEADER_BYTES: usize = 9;
/// The largest body of a record. What a run of events or a blob may have is less.
pub(super) const MAX_BODY_BYTES: usize = 32 << 20;
/// The largest window of zstd that a reader gives memory to: 8 MiB.
pub(super) const WINDOW_LOG: u32 = 23;

pub(super) const HEADER: u8 = 1;
const EVENTS: u8 = 2;
const BLOB: u8 = 3;
const LOST: u8 = 4;
pub(super) const END: u8 = 5;

/// Whether a file begins as a backup does.
#[must_use]
pub fn is_one(beginning: &[u8]) -> bool {
    beginning.starts_with(&MAGIC)
}

/// Writes a record into `out`, which is emptied first.
pub(super) fn encode(out: &mut Vec<u8>, kind: u8, body: impl FnOnce(&mut Vec<u8>)) {
    out.clear();
    out.resize(RECORD_HEADER_BYTES, 0);
    body(out);
    let length = u32::try_from(out.len() - RECORD_HEADER_BYTES).expect("parts are limited long before 4 GiB");
    out[0] = kind;
    out[1..5].copy_from_slice(&length.to_be_bytes());
    let crc = crc(&out[..5], &out[RECORD_HEADER_BYTES..]);
    out[5..RECORD_HEADER_BYTES].copy_from_slice(&crc.to_be_bytes());
}

/// The checksum of a record.
pub(super) fn crc(head: &[u8], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(head), body)
}

pub(super) fn header(out: &mut Vec<u8>, header: &Header) {
    encode(out, HEADER, |out| {
        out.put_slice(header.log_id.as_bytes());
        out.put_u64(header.first);
        out.put_u8(u8::try_from(header.peaks.len()).expect("a tree has at most 64 peaks"));
        header.peaks.iter().for_each(|peak| out.put_slice(peak.as_bytes()));
        for text in [&header.vkey, &header.checkpoint] {
            out.put_u32(u32::try_from(text.len()).expect("keys and notes are small"));
            out.put_slice(text.as_bytes());
        }
    });
}

pub(super) fn part(out: &mut Vec<u8>, part: &Part) {
    let named = |out: &mut Vec<u8>, digest: &str, rest: &[u8]| {
        out.put_slice(&bits(digest).expect("only what an event names by SHA-256 is a part"));
        out.put_slice(rest);
    };
    match part {
        Part::Events(events) => encode(out, EVENTS, |out| {
            for stored in events {
                frame::encode(out, stored.sequence, stored.last_of_run, &stored.payload);
            }
        }),
        Part::Blob { digest, bytes } => encode(out, BLOB, |out| named(out, digest, bytes)),
        Part::Lost { digest, why } => encode(out, LOST, |out| named(out, digest, why.as_bytes())),
    }
}

pub(super) fn end(out: &mut Vec<u8>, contents: &Contents) {
    encode(out, END, |out| counts(contents).into_iter().for_each(|count| out.put_u64(count)));
}

/// What the end says of everything before it.
pub(super) fn counts(contents: &Contents) -> [u64; 3] {
    [contents.events, contents.blobs, contents.lost.len() as u64]
}

pub(crate) fn read_header(mut body: Bytes) -> Option<Header> {
    let mut id = [0; 16];
    if body.len() < 25 {
        return None;
    }
    body.copy_to_slice(&mut id);
    let first = body.get_u64();
    let count = usize::from(body.get_u8());
    if body.len() < count * Hash::BYTES {
        return None;
    }
    let mut peak = || {
        let mut bytes = [0; Hash::BYTES];
        body.copy_to_slice(&mut bytes);
        Hash::from_bytes(bytes)
    };
    let peaks = (0..count).map(|_| peak()).collect();
    let mut text = || {
        let length = body.try_get_u32().ok()? as usize;
        (body.len() >= length).then(|| String::from_utf8(body.split_to(length).into()).ok())?
    };
    let (vkey, checkpoint) = (text()?, text()?);
    body.is_empty().then(|| Header { log_id: LogId::from_bytes(id), first, peaks, vkey, checkpoint })
}

/// What a record after the header says. An inner `None`: it is the end, with these counts.
pub(crate) fn read_part(kind: u8, mut body: Bytes) -> Result<Result<Part, [u64; 3]>, String> {
    match kind {
        EVENTS => {
            let mut events = Vec::new();
            while !body.is_empty() {
                events.push(frame::take(&mut body).map_err(|error| error.to_string())?);
            }
            match events.last() {
                Some(last) if last.last_of_run => Ok(Ok(Part::Events(events))),
                _ => Err("its events do not end with the last one of a command".into()),
            }
        }
        BLOB | LOST => {
            let mut digest = [0; 32];
            body.try_copy_to_slice(&mut digest).map_err(|_| "the name of a blob is cut off".to_owned())?;
            let digest = text(&digest);
            if kind == BLOB {
                return Ok(Ok(Part::Blob { digest, bytes: body }));
            }
            let why = String::from_utf8(body.into()).map_err(|_| "a text is not UTF-8".to_owned())?;
            Ok(Ok(Part::Lost { digest, why }))
        }
        END if body.len() == 24 => Ok(Err([body.get_u64(), body.get_u64(), body.get_u64()])),
        END => Err("its end has another length".into()),
        HEADER => Err("a second header stands in it".into()),
        other => Err(format!("a record of the unknown kind {other} stands in it")),
    }
}
