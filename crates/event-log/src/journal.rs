//! The journal: every event in plain append-only files, and the commit point of the log.
//!
//! | file                               | what it is                                                           |
//! |------------------------------------|----------------------------------------------------------------------|
//! | `<first sequence, 20 digits>.seg`  | a segment: a header, then one record per append                      |
//! | `….seg.new`                        | a segment being repaired; worthless until renamed                    |
//! | `….seg.damaged-<n>`                | a damaged segment set aside by a repair, for whoever wants to look    |
//!
//! The bytes are described in `docs/formats/journal.md`. They are never changed once they are durable.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::files::{at, sync_dir};
use crate::{LogId, Stored};

mod reader;
mod repair;
pub(crate) mod segment;
mod survey;

pub use reader::{Events, JournalReader, ReadJournalError, Unfinished};
pub(crate) use repair::{Runs, cut_tail, remove_unfinished, restore};
use segment::{SEGMENT_HEADER_BYTES, decode_header, encode_header};
pub(crate) use survey::{Fault, Survey, SurveyError, survey};

/// How large a segment grows before the next one is begun, in bytes.
pub const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;

/// A segment file, found by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SegmentFile {
    pub first: u64,
    pub path: PathBuf,
}

/// The path of the segment that begins with the sequence `first`.
pub(crate) fn segment_path(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}.seg"))
}

/// The segments in a directory, in order. Other files are none of our business.
pub(crate) fn list_segments(dir: &Path) -> io::Result<Vec<SegmentFile>> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(dir).map_err(at(dir))? {
        let path = entry.map_err(at(dir))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let digits = name.strip_suffix(".seg").filter(|digits| digits.len() == 20);
        if let Some(first) = digits.and_then(|digits| digits.parse().ok()) {
            segments.push(SegmentFile { first, path });
        }
    }
    segments.sort_by_key(|segment| segment.first);
    Ok(segments)
}

/// Reads the header of a segment, or what there is of it.
fn read_header(path: &Path) -> io::Result<Vec<u8>> {
    let mut header = Vec::with_capacity(SEGMENT_HEADER_BYTES);
    let file = File::open(path).map_err(at(path))?;
    file.take(SEGMENT_HEADER_BYTES as u64).read_to_end(&mut header).map_err(at(path))?;
    Ok(header)
}

/// The logs that the segments of a directory name in their headers, each as often as it is named.
pub(crate) fn identities(dir: &Path) -> io::Result<Vec<LogId>> {
    let mut ids = Vec::new();
    for segment in list_segments(dir)? {
        ids.extend(decode_header(&read_header(&segment.path)?).ok().map(|(id, _)| id));
    }
    Ok(ids)
}

/// Reads a whole segment. A segment is limited in size, so this is the simple way that is also the fast one.
pub(crate) fn read_segment(path: &Path) -> io::Result<Bytes> {
    fs::read(path).map(Bytes::from).map_err(at(path))
}

/// Creates a segment and makes it durable, name and all.
fn create_segment(path: &Path, id: LogId, first: u64) -> io::Result<File> {
    let mut file = OpenOptions::new().append(true).create_new(true).open(path).map_err(at(path))?;
    file.write_all(&encode_header(id, first)).map_err(at(path))?;
    file.sync_all().map_err(at(path))?;
    // Before any record goes into it: a record in a file that a power cut takes away is not durable.
    sync_dir(path.parent().expect("a segment lies in the journal's directory"))?;
    Ok(file)
}

/// Creates the journal of a new log: a first segment without events.
pub(crate) fn create(dir: &Path, id: LogId) -> io::Result<()> {
    create_segment(&segment_path(dir, 1), id, 1).map(drop)
}

/// Whether a directory holds nothing but segments too short for an event.
pub(crate) fn holds_no_event(dir: &Path) -> io::Result<bool> {
    let segments = list_segments(dir)?;
    let entries = fs::read_dir(dir).map_err(at(dir))?.count();
    let short = |segment: &SegmentFile| {
        fs::metadata(&segment.path).is_ok_and(|file| file.len() <= SEGMENT_HEADER_BYTES as u64)
    };
    Ok(entries == segments.len() && segments.iter().all(short))
}

/// The writing end of the journal. There is one, and it holds the next sequence number.
///
/// After an error it must not be used again: how much is on the disk is unknown until the journal is surveyed anew.
#[derive(Debug)]
pub(crate) struct Journal {
    dir: PathBuf,
    id: LogId,
    segment_bytes: u64,
    /// The newest segment, opened for appending, and its length in bytes.
    file: File,
    length: u64,
    next: u64,
    /// Reused from append to append.
    record: Vec<u8>,
}

impl Journal {
    /// Opens a surveyed and repaired journal for appending after the sequence `head`.
    pub(crate) fn resume(dir: &Path, id: LogId, segment_bytes: u64, head: u64) -> io::Result<Journal> {
        let file = match list_segments(dir)?.pop() {
            Some(segment) => {
                let file = OpenOptions::new().append(true).open(&segment.path).map_err(at(&segment.path))?;
                // A killed writer may have left a whole record that was never synced. It is about to be believed.
                file.sync_all().map_err(at(&segment.path))?;
                sync_dir(dir)?;
                file
            }
            None => create_segment(&segment_path(dir, head + 1), id, head + 1)?,
        };
        let length = file.metadata()?.len();
        let dir = dir.to_owned();
        Ok(Journal { dir, id, segment_bytes, file, length, next: head + 1, record: Vec::new() })
    }

    /// Appends events as one record and makes them durable. When this returns, they have happened.
    ///
    /// Each event is its payload, with whether it is the last of its run.
    pub(crate) fn append<'a>(
        &mut self,
        events: impl IntoIterator<Item = (bool, &'a [u8])>,
    ) -> io::Result<()> {
        let mut count = 0;
        let events = events.into_iter().inspect(|_| count += 1);
        segment::encode_record(&mut self.record, self.id, self.next, events);
        let size = self.record.len() as u64;
        if self.length > SEGMENT_HEADER_BYTES as u64 && self.length + size > self.segment_bytes {
            self.file = create_segment(&segment_path(&self.dir, self.next), self.id, self.next)?;
            self.length = SEGMENT_HEADER_BYTES as u64;
        }
        // One write, one sync. A failed fdatasync is never tried again: the kernel may have dropped the pages and
        // would then report success for bytes that are nowhere.
        if let Err(error) = self.file.write_all(&self.record).and_then(|()| self.file.sync_data()) {
            // Nobody was told of these events. Take them back if the disk still lets us, so that no reader of the
            // page cache takes them for durable.
            let _ = self.file.set_len(self.length);
            return Err(error);
        }
        self.length += size;
        self.next += count;
        Ok(())
    }

    /// Appends events that are in a journal already, in another place or under another identity.
    pub(crate) fn append_stored(&mut self, group: &[Stored]) -> io::Result<()> {
        if group.is_empty() {
            return Ok(());
        }
        self.append(group.iter().map(|stored| (stored.last_of_run, &stored.payload[..])))
    }

    /// The newest sequence in it.
    pub(crate) fn head(&self) -> u64 {
        self.next - 1
    }

    /// Puts a socket in the place of the file: it takes the write and refuses the sync, as a failing disk does.
    #[cfg(test)]
    pub(crate) fn break_disk(&mut self) {
        let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        self.file = File::from(std::os::fd::OwnedFd::from(ours));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame;

    const ID: LogId = LogId::from_bytes([3; 16]);

    fn append(journal: &mut Journal, payloads: &[&str]) {
        journal.append(payloads.iter().map(|payload| (true, payload.as_bytes()))).unwrap();
    }

    #[test]
    fn a_full_segment_is_followed_by_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let one_record =
            (SEGMENT_HEADER_BYTES + segment::RECORD_HEADER_BYTES + frame::HEADER_BYTES + 3) as u64;
        let mut journal = Journal::resume(dir.path(), ID, one_record, 0).unwrap();
        append(&mut journal, &["one"]);
        append(&mut journal, &["two", "three"]); // Larger than a segment, so it gets one of its own.
        append(&mut journal, &["fou"]);
        drop(journal);
        let mut journal = Journal::resume(dir.path(), ID, one_record, 4).unwrap();
        append(&mut journal, &["fiv"]);

        let firsts: Vec<u64> =
            list_segments(dir.path()).unwrap().iter().map(|segment| segment.first).collect();
        assert_eq!(firsts, [1, 2, 4, 5]);
        let reader = JournalReader::open_read_only(dir.path()).unwrap();
        let events: Vec<_> = reader.events(2).map(|event| event.unwrap().payload).collect();
        assert_eq!(events, ["two", "three", "fou", "fiv"]);
    }

    /// A reader sees a prefix of what is being written, whole and in order, across the ends of segments.
    #[test]
    fn reading_beside_a_writer() {
        const EVENTS: u64 = 400;
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::resume(dir.path(), ID, 500, 0).unwrap();
        let reader = JournalReader::open_read_only(dir.path()).unwrap();
        let writer = std::thread::spawn(move || {
            (1..=EVENTS).for_each(|sequence| append(&mut journal, &[&format!("event {sequence}")]));
        });
        let (mut seen, mut rounds) = (0, 0);
        while seen < EVENTS {
            let events: Vec<_> = reader.events(1).map(Result::unwrap).collect();
            for (event, sequence) in events.iter().zip(1..) {
                assert_eq!(
                    (event.sequence, &event.payload[..]),
                    (sequence, format!("event {sequence}").as_bytes())
                );
            }
            assert!(events.len() as u64 >= seen, "what was seen stays");
            (seen, rounds) = (events.len() as u64, rounds + 1);
        }
        writer.join().unwrap();
        assert!(rounds > 1, "the reader was beside the writer, not after it");
    }
}
