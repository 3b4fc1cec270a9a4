//! The bytes of one segment file: a header, then one record per append.
//!
//! A power cut persists the pages of an unfinished append in any order, or not at all. Because an append is one
//! record under one checksum, and the next append begins only after the last one is durable, whatever is left of
//! it is one bad record with no good record behind it. So: bad at the end means *unfinished*, bad before something
//! good means *damaged*.

use bytes::{Buf, BufMut, Bytes};

use crate::{LogId, MAX_APPEND_BYTES, Stored, frame};

/// The bytes of a segment before its first record: magic (8), format version (4), log id (16), first sequence (8),
/// CRC-32C over these (4).
pub(crate) const SEGMENT_HEADER_BYTES: usize = 40;

/// The bytes of a record before its frames: magic (4), length of the frames in bytes (4), first sequence (8),
/// number of frames (4), CRC-32C over the log id, these fields and the frames (4).
pub(crate) const RECORD_HEADER_BYTES: usize = 24;

/// The version of both, in the segment header.
pub(crate) const SEGMENT_VERSION: u32 = 1;

const SEGMENT_MAGIC: [u8; 8] = *b"tagtrail";
/// Its first byte occurs in no UTF-8 text, so that looking for the next record in a damaged one stumbles rarely.
const RECORD_MAGIC: [u8; 4] = [0xF7, b'r', b'e', b'c'];
pub(crate) const RECORD_CRC_AT: usize = 20;

/// Why bytes are not the header of the segment that was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SegmentError {
    /// Shorter than a header.
    #[error("its header is cut off after {0} bytes")]
    CutOff(usize),
    /// Not the bytes that were written.
    #[error("its header is damaged")]
    Damaged,
    /// Written by a later version of this program.
    #[error("it has format version {0}, and this program knows version 1: use a newer tagtrail")]
    Newer(u32),
    /// Part of another log.
    #[error("it belongs to log {0}")]
    Foreign(LogId),
    /// The file has been renamed.
    #[error("it begins with sequence {0}, which is not what its name says")]
    Renamed(u64),
}

/// Why bytes are not the next record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RecordError {
    /// The file ends in the middle.
    #[error("the record is cut off")]
    CutOff,
    /// No record begins here.
    #[error("there is no record here")]
    NoRecord,
    /// Not the bytes that were written.
    #[error("the record fails its checksum")]
    Checksum,
    /// A whole record, but not the next one.
    #[error("the record begins with sequence {found} where {expected} was due")]
    OutOfOrder {
        /// The sequence that was due.
        expected: u64,
        /// The sequence found.
        found: u64,
    },
    /// A record that passes its checksum and still holds something else than it says.
    #[error("the record holds a bad frame: {0}")]
    Frame(String),
}

/// The header of a segment.
pub(crate) fn encode_header(id: LogId, first: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(SEGMENT_HEADER_BYTES);
    out.put_slice(&SEGMENT_MAGIC);
    out.put_u32(SEGMENT_VERSION);
    out.put_slice(id.as_bytes());
    out.put_u64(first);
    out.put_u32(crc32c::crc32c(&out));
    out
}

/// Reads the log and the first sequence from the header of a segment.
pub(crate) fn decode_header(bytes: &[u8]) -> Result<(LogId, u64), SegmentError> {
    if bytes.len() < SEGMENT_HEADER_BYTES {
        return Err(SegmentError::CutOff(bytes.len()));
    }
    let (covered, mut crc) = bytes[..SEGMENT_HEADER_BYTES].split_at(SEGMENT_HEADER_BYTES - 4);
    if covered[..8] != SEGMENT_MAGIC || crc32c::crc32c(covered) != crc.get_u32() {
        return Err(SegmentError::Damaged);
    }
    let mut fields = &covered[8..];
    let version = fields.get_u32();
    if version != SEGMENT_VERSION {
        return Err(SegmentError::Newer(version));
    }
    let mut id = [0; 16];
    fields.copy_to_slice(&mut id);
    Ok((LogId::from_bytes(id), fields.get_u64()))
}

/// Checks that `bytes` begin with the header of the segment of this log that begins with `first`.
pub(crate) fn check_header(bytes: &[u8], id: LogId, first: u64) -> Result<(), SegmentError> {
    match decode_header(bytes)? {
        (found, _) if found != id => Err(SegmentError::Foreign(found)),
        (_, found) if found != first => Err(SegmentError::Renamed(found)),
        _ => Ok(()),
    }
}

/// Writes the record of these events into `out`, which is emptied first. The first event gets the sequence `first`.
pub(crate) fn encode_record<'a>(
    out: &mut Vec<u8>,
    id: LogId,
    first: u64,
    events: impl IntoIterator<Item = (bool, &'a [u8])>,
) {
    out.clear();
    out.resize(RECORD_HEADER_BYTES, 0);
    let mut count = 0u32;
    for (last_of_run, payload) in events {
        frame::encode(out, first + u64::from(count), last_of_run, payload);
        count += 1;
    }
    let length =
        u32::try_from(out.len() - RECORD_HEADER_BYTES).expect("appends are limited long before 4 GiB");
    let mut header = &mut out[..RECORD_HEADER_BYTES];
    header.put_slice(&RECORD_MAGIC);
    header.put_u32(length);
    header.put_u64(first);
    header.put_u32(count);
    let crc = record_crc(id, &out[..RECORD_CRC_AT], &out[RECORD_HEADER_BYTES..]);
    out[RECORD_CRC_AT..RECORD_HEADER_BYTES].copy_from_slice(&crc.to_be_bytes());
}

/// The log id is part of the sum, so that no record of another log passes for one of this.
fn record_crc(id: LogId, header: &[u8], frames: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(id.as_bytes()), header), frames)
}

/// A whole record.
#[derive(Debug)]
pub(crate) struct Record {
    /// Its first event has this sequence; the others follow without gap.
    pub first: u64,
    /// At least one event. They share the memory of the segment.
    pub events: Vec<Stored>,
    /// Where the next record begins.
    end: usize,
}

impl Record {
    /// The sequence of its last event.
    pub(crate) fn last(&self) -> u64 {
        self.first + self.events.len() as u64 - 1
    }
}

/// What stands in a segment, piece by piece.
#[derive(Debug)]
pub(crate) enum Piece {
    /// The next record.
    Record(Record),
    /// Bytes that are not the next record, up to the next good one or the end of the file.
    Bad {
        /// Where they begin in the file.
        offset: usize,
        /// Where they end; equal to `offset` where only sequences are missing.
        end: usize,
        /// What is wrong at `offset`.
        error: RecordError,
    },
}

/// Walks through the records of a segment, past its header, whatever state they are in.
#[derive(Debug)]
pub(crate) struct Pieces {
    bytes: Bytes,
    id: LogId,
    offset: usize,
    /// The sequence that is due next.
    next: u64,
    /// A good record found behind bad bytes.
    found: Option<Record>,
}

impl Pieces {
    /// Begins behind the header of a segment whose first sequence is `first`.
    pub(crate) fn of(bytes: Bytes, id: LogId, first: u64) -> Pieces {
        let offset = SEGMENT_HEADER_BYTES.min(bytes.len());
        Pieces { bytes, id, offset, next: first, found: None }
    }

    /// Where the walk stands in the file.
    pub(crate) fn offset(&self) -> usize {
        self.offset
    }

    /// The sequence that is due next: one past the last record.
    pub(crate) fn next_sequence(&self) -> u64 {
        self.next
    }

    /// Whether nothing follows the bad bytes that end at `end`.
    pub(crate) fn is_end(&self, end: usize) -> bool {
        end == self.bytes.len()
    }

    /// Goes on in a newer reading of the same file, where a writer may have finished what was unfinished.
    pub(crate) fn reread(&mut self, bytes: Bytes, offset: usize) {
        *self = Pieces { bytes, id: self.id, offset, next: self.next, found: None };
    }

    fn take(&mut self, record: Record) -> Piece {
        self.offset = record.end;
        self.next = record.last() + 1;
        Piece::Record(record)
    }

    fn record_at(&self, offset: usize) -> Result<Record, RecordError> {
        let rest = self.bytes.get(offset..).unwrap_or_default();
        if rest.len() < RECORD_HEADER_BYTES {
            return Err(RecordError::CutOff);
        }
        let mut fields = &rest[RECORD_MAGIC.len()..];
        let (length, first) = (fields.get_u32() as usize, fields.get_u64());
        let (count, crc) = (fields.get_u32(), fields.get_u32());
        if rest[..RECORD_MAGIC.len()] != RECORD_MAGIC || length > MAX_APPEND_BYTES || count == 0 {
            return Err(RecordError::NoRecord);
        }
        let end = offset + RECORD_HEADER_BYTES + length;
        if self.bytes.len() < end {
            return Err(RecordError::CutOff);
        }
        let mut frames = self.bytes.slice(offset + RECORD_HEADER_BYTES..end);
        if record_crc(self.id, &rest[..RECORD_CRC_AT], &frames) != crc {
            return Err(RecordError::Checksum);
        }
        let mut events = Vec::with_capacity((count as usize).min(length / frame::HEADER_BYTES));
        while !frames.is_empty() {
            let stored = frame::take(&mut frames).map_err(|error| RecordError::Frame(error.to_string()))?;
            if stored.sequence != first + events.len() as u64 {
                return Err(RecordError::Frame(format!("sequence {} is out of place", stored.sequence)));
            }
            events.push(stored);
        }
        if events.len() != count as usize {
            return Err(RecordError::Frame(format!("{} frames instead of {count}", events.len())));
        }
        Ok(Record { first, events, end })
    }

    /// The next good record at or behind `from` that is due or later, and where it begins.
    fn look_for_record(&self, mut from: usize) -> Option<(usize, Record)> {
        loop {
            let rest = self.bytes.get(from..)?;
            from += rest.windows(RECORD_MAGIC.len()).position(|bytes| bytes == RECORD_MAGIC)?;
            match self.record_at(from) {
                Ok(record) if record.first >= self.next => return Some((from, record)),
                _ => from += 1,
            }
        }
    }
}

impl Iterator for Pieces {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        if let Some(record) = self.found.take() {
            return Some(self.take(record));
        }
        if self.offset == self.bytes.len() {
            return None;
        }
        let (offset, expected) = (self.offset, self.next);
        let error = match self.record_at(offset) {
            Ok(record) if record.first == expected => return Some(self.take(record)),
            Ok(record) => RecordError::OutOfOrder { expected, found: record.first },
            Err(error) => error,
        };
        let end = match self.look_for_record(offset) {
            Some((at, record)) => {
                self.found = Some(record);
                at
            }
            None => self.bytes.len(),
        };
        self.offset = end;
        Some(Piece::Bad { offset, end, error })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: LogId = LogId::from_bytes([0x11; 16]);

    /// A segment that begins with sequence `first` and has one record per word; each letter is an event.
    fn segment(first: u64, words: &str) -> Vec<u8> {
        let mut bytes = encode_header(ID, first);
        let (mut next, mut record) = (first, Vec::new());
        for word in words.split_whitespace() {
            let events = word.as_bytes().chunks(1).enumerate().map(|(i, event)| (i + 1 == word.len(), event));
            encode_record(&mut record, ID, next, events);
            bytes.extend_from_slice(&record);
            next += word.len() as u64;
        }
        bytes
    }

    /// Tells in words what stands in a segment.
    fn tell(bytes: Vec<u8>, first: u64) -> String {
        let len = bytes.len();
        let pieces = Pieces::of(Bytes::from(bytes), ID, first).map(|piece| match piece {
            Piece::Record(record) => {
                let letters: Vec<u8> =
                    record.events.iter().flat_map(|event| event.payload.to_vec()).collect();
                format!("{}={}", record.first, String::from_utf8(letters).unwrap())
            }
            Piece::Bad { end, error, .. } => format!("{}({error})", if end == len { "end" } else { "bad" }),
        });
        pieces.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_segment_tells_its_records() {
        assert_eq!(tell(segment(1, "abc d ef"), 1), "1=abc 4=d 5=ef");
        assert_eq!(tell(segment(1, ""), 1), "");
        let (abc, d) = (RECORD_HEADER_BYTES + 3 * 19, RECORD_HEADER_BYTES + 19);

        let mut middle = segment(1, "abc d ef");
        middle[SEGMENT_HEADER_BYTES + abc + d - 1] ^= 1;
        assert_eq!(tell(middle, 1), "1=abc bad(the record fails its checksum) 5=ef");

        let mut header = segment(1, "abc d ef");
        header[SEGMENT_HEADER_BYTES + abc] ^= 1;
        assert_eq!(tell(header, 1), "1=abc bad(there is no record here) 5=ef");

        let mut gone = segment(1, "abc d ef");
        gone.drain(SEGMENT_HEADER_BYTES + abc..SEGMENT_HEADER_BYTES + abc + d);
        assert_eq!(tell(gone, 1), "1=abc bad(the record begins with sequence 5 where 4 was due) 5=ef");

        let mut twice = segment(1, "abc d");
        twice.extend_from_slice(&segment(4, "d ef")[SEGMENT_HEADER_BYTES..]);
        assert_eq!(tell(twice, 1), "1=abc 4=d bad(the record begins with sequence 4 where 5 was due) 5=ef");
    }

    /// Whatever part of the last append reached the disk, what was before it is whole, and nothing else is taken
    /// for an event.
    #[test]
    fn an_unfinished_append_is_one_bad_end() {
        let acknowledged = segment(1, "abc d");
        let whole = segment(1, "abc d ef");
        for cut in acknowledged.len() + 1..whole.len() {
            let told = tell(whole[..cut].to_vec(), 1);
            assert!(told.starts_with("1=abc 4=d end("), "cut at {cut}: {told}");

            let mut zeros = whole.clone();
            zeros[cut..].fill(0);
            let told = tell(zeros, 1);
            assert!(told.starts_with("1=abc 4=d end(") || told.ends_with("5=ef"), "zeros from {cut}: {told}");

            let mut late = whole.clone();
            late[acknowledged.len()..cut].fill(0);
            assert!(tell(late, 1).starts_with("1=abc 4=d end("), "zeros up to {cut}");
        }
    }

    #[test]
    fn a_record_of_another_log_is_none() {
        let other = LogId::from_bytes([0x22; 16]);
        let mut record = Vec::new();
        encode_record(&mut record, other, 1, [(true, &b"a"[..])]);
        let bytes = [encode_header(ID, 1), record].concat();
        assert_eq!(tell(bytes, 1), "end(the record fails its checksum)");
    }

    #[test]
    fn each_bad_header_has_its_sentence() {
        let good = encode_header(ID, 7);
        assert_eq!(decode_header(&good), Ok((ID, 7)));
        assert_eq!(check_header(&good, ID, 7), Ok(()));
        assert_eq!(check_header(&good, ID, 8), Err(SegmentError::Renamed(7)));
        let other = LogId::from_bytes([0x22; 16]);
        assert_eq!(check_header(&good, other, 7), Err(SegmentError::Foreign(ID)));
        assert_eq!(decode_header(&good[..39]), Err(SegmentError::CutOff(39)));
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert_eq!(decode_header(&bad), Err(SegmentError::Damaged), "byte {at}");
        }
        let mut newer = good.clone();
        newer[11] = 2;
        let crc = crc32c::crc32c(&newer[..36]);
        newer[36..].copy_from_slice(&crc.to_be_bytes());
        assert_eq!(decode_header(&newer), Err(SegmentError::Newer(2)));
    }

    /// The example of `docs/formats/journal.md`, byte for byte. If this fails, logs already written cannot be read.
    #[test]
    fn golden_bytes() {
        let id: LogId = "000102030405060708090a0b0c0d0e0f".parse().unwrap();
        let mut record = Vec::new();
        encode_record(&mut record, id, 1, [(false, &b"first"[..]), (true, &b"second"[..])]);
        let bytes = [encode_header(id, 1), record].concat();

        let page = include_str!("../../../../docs/formats/journal.md");
        let example = page.split("```hex\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        let golden: Vec<u8> = example
            .lines()
            .flat_map(|line| line.split('#').next().unwrap_or_default().split_whitespace())
            .map(|byte| u8::from_str_radix(byte, 16).unwrap())
            .collect();
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" ");
        assert_eq!(hex(&golden), hex(&bytes));

        let mut pieces = Pieces::of(Bytes::from(golden), id, 1);
        let Some(Piece::Record(read)) = pieces.next() else { panic!("the example is one whole record") };
        assert_eq!(read.events[1].payload, &b"second"[..]);
        assert!(pieces.next().is_none());
    }
}
