//! One event as it stands on the disk, the same bytes in the journal and in sled.
//!
//! | offset | bytes | field                                                                      |
//! |-------:|------:|----------------------------------------------------------------------------|
//! |      0 |     1 | version of the frame: 1                                                    |
//! |      1 |     1 | flags: bit 0 set on the last event of its run; the others are 0            |
//! |      2 |     8 | sequence                                                                   |
//! |     10 |     4 | length of the payload in bytes                                             |
//! |     14 |     4 | CRC-32C over everything else: bytes 0 to 13, then the payload              |
//! |     18 |     … | payload                                                                    |
//!
//! Integers are big-endian. `docs/formats/journal.md` is the same page for people without this code, and a test
//! holds its example bytes against it.

use bytes::{Buf, BufMut, Bytes};

use crate::{MAX_PAYLOAD_BYTES, Stored};

/// The bytes of a frame before its payload.
pub const HEADER_BYTES: usize = 18;

const VERSION: u8 = 1;
const LAST_OF_RUN: u8 = 1;
pub(crate) const CRC_AT: usize = 14;

/// Why bytes are not a frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Fewer bytes than the frame says it has, or than any frame has.
    #[error("the frame is cut off after {0} bytes")]
    CutOff(usize),
    /// Written by a later version of this program, or not a frame at all.
    #[error("the frame has version {0}, and this program knows version 1")]
    UnknownVersion(u8),
    /// Flags that version 1 does not have.
    #[error("the frame has unknown flags {0:#04x}")]
    UnknownFlags(u8),
    /// A length that no writer would have accepted.
    #[error("the frame claims a payload of {0} bytes, more than an event may have")]
    TooLong(u32),
    /// The bytes are not those that were written.
    #[error("the frame fails its checksum")]
    Checksum,
    /// Something follows where the frame should end.
    #[error("{0} bytes follow the frame")]
    Trailing(usize),
}

/// Appends the frame of one event to `out`.
pub fn encode(out: &mut Vec<u8>, sequence: u64, last_of_run: bool, payload: &[u8]) {
    let start = out.len();
    let length = u32::try_from(payload.len()).expect("payloads are limited long before 4 GiB");
    out.put_u8(VERSION);
    out.put_u8(if last_of_run { LAST_OF_RUN } else { 0 });
    out.put_u64(sequence);
    out.put_u32(length);
    out.put_u32(crc32c::crc32c_append(crc32c::crc32c(&out[start..]), payload));
    out.put_slice(payload);
}

/// Takes the first frame off `bytes`. The payload shares their memory.
pub fn take(bytes: &mut Bytes) -> Result<Stored, FrameError> {
    if bytes.len() < HEADER_BYTES {
        return Err(FrameError::CutOff(bytes.len()));
    }
    let head: [u8; CRC_AT] = bytes[..CRC_AT].try_into().expect("the length was checked above");
    let mut fields = &bytes[..HEADER_BYTES];
    let (version, flags) = (fields.get_u8(), fields.get_u8());
    let (sequence, length, crc) = (fields.get_u64(), fields.get_u32(), fields.get_u32());
    if version != VERSION {
        return Err(FrameError::UnknownVersion(version));
    }
    if flags & !LAST_OF_RUN != 0 {
        return Err(FrameError::UnknownFlags(flags));
    }
    let size = length as usize;
    if size > MAX_PAYLOAD_BYTES {
        return Err(FrameError::TooLong(length));
    }
    if bytes.len() < HEADER_BYTES + size {
        return Err(FrameError::CutOff(bytes.len()));
    }
    let payload = bytes.slice(HEADER_BYTES..HEADER_BYTES + size);
    if crc32c::crc32c_append(crc32c::crc32c(&head), &payload) != crc {
        return Err(FrameError::Checksum);
    }
    bytes.advance(HEADER_BYTES + size);
    Ok(Stored { sequence, last_of_run: flags & LAST_OF_RUN != 0, payload })
}

/// Decodes bytes that are one frame and nothing else.
pub fn decode(bytes: &[u8]) -> Result<Stored, FrameError> {
    let mut rest = Bytes::copy_from_slice(bytes);
    let stored = take(&mut rest)?;
    if rest.is_empty() { Ok(stored) } else { Err(FrameError::Trailing(rest.len())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(sequence: u64, last_of_run: bool, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(&mut out, sequence, last_of_run, payload);
        out
    }

    #[test]
    fn what_goes_in_comes_out() {
        for (sequence, last, payload) in
            [(1, true, &b""[..]), (u64::MAX, false, b"x"), (7, true, &[0xAB; MAX_PAYLOAD_BYTES])]
        {
            let stored = decode(&encoded(sequence, last, payload)).unwrap();
            assert_eq!((stored.sequence, stored.last_of_run, &stored.payload[..]), (sequence, last, payload));
        }
    }

    #[test]
    fn no_changed_byte_goes_unnoticed() {
        let good = encoded(42, true, b"an event");
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                assert!(decode(&bad).is_err(), "bit {bit} of byte {at}");
            }
            assert!(decode(&good[..at]).is_err(), "cut after {at} bytes");
        }
        assert_eq!(decode(&[&good[..], b"?"].concat()), Err(FrameError::Trailing(1)));
    }

    #[test]
    fn each_fault_has_its_sentence() {
        let good = encoded(42, true, b"an event");
        let changed = |at: usize, to: u8| {
            let mut bytes = good.clone();
            bytes[at] = to;
            decode(&bytes).unwrap_err()
        };
        assert_eq!(changed(0, 2), FrameError::UnknownVersion(2));
        assert_eq!(changed(1, 0x80), FrameError::UnknownFlags(0x80));
        assert_eq!(changed(10, 1), FrameError::TooLong(0x0100_0008));
        assert_eq!(changed(20, b'?'), FrameError::Checksum);
        assert_eq!(decode(&good[..20]), Err(FrameError::CutOff(20)));
    }
}
