//! Reading the journal without sled, without writing and without a lock: for audit, backup and fast replay.
//!
//! A writer may be at work meanwhile. The reader then stops at the last whole record; that record may be an append
//! that is being synced at this moment, so only the service itself knows whether it is durable yet.

use std::io;
use std::path::{Path, PathBuf};
use std::vec;

use super::segment::{Piece, Pieces, SegmentError, check_header, decode_header};
use super::{SegmentFile, list_segments, read_header, read_segment};
use crate::{LogId, Stored};

/// Why the journal cannot be read any further.
#[derive(Debug, thiserror::Error)]
pub enum ReadJournalError {
    /// The directory holds no journal.
    #[error("{} holds no journal: there is no readable segment in it", dir.display())]
    NoJournal {
        /// The directory that was given.
        dir: PathBuf,
    },
    /// The first event that cannot be had. All before it is well.
    #[error("event {sequence} cannot be read from {} at byte {offset}: {reason}", segment.display())]
    Damaged {
        /// The file.
        segment: PathBuf,
        /// Where in the file the bad record begins.
        offset: u64,
        /// The first sequence that cannot be read.
        sequence: u64,
        /// What is wrong there.
        reason: String,
    },
    /// The disk did not answer.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A journal, opened for reading only.
#[derive(Clone, Debug)]
pub struct JournalReader {
    dir: PathBuf,
    id: LogId,
}

impl JournalReader {
    /// Opens the journal in this directory (the one holding the `.seg` files). Nothing is written, nothing locked.
    pub fn open_read_only(dir: &Path) -> Result<JournalReader, ReadJournalError> {
        for segment in list_segments(dir)? {
            // Any good header will do to learn whose journal this is; a bad one is reported when it is reached.
            match decode_header(&read_header(&segment.path)?) {
                Ok((id, _)) => return Ok(JournalReader { dir: dir.to_owned(), id }),
                Err(SegmentError::Newer(version)) => {
                    return Err(damaged(&segment, 0, segment.first, SegmentError::Newer(version)));
                }
                Err(_) => {}
            }
        }
        Err(ReadJournalError::NoJournal { dir: dir.to_owned() })
    }

    /// The reader of a journal whose log is known.
    pub(crate) fn of(dir: &Path, id: LogId) -> JournalReader {
        JournalReader { dir: dir.to_owned(), id }
    }

    /// The log this journal belongs to.
    pub fn log_id(&self) -> LogId {
        self.id
    }

    /// The events from the sequence `from` (0 means 1) to the last whole record.
    ///
    /// After an error there are no more.
    pub fn events(&self, from: u64) -> Events {
        Events {
            journal: self.clone(),
            next: from.max(1),
            place: Place::Start,
            record: Vec::new().into_iter(),
            unfinished: None,
        }
    }
}

fn damaged(segment: &SegmentFile, offset: usize, sequence: u64, reason: impl ToString) -> ReadJournalError {
    ReadJournalError::Damaged {
        segment: segment.path.clone(),
        offset: offset as u64,
        sequence,
        reason: reason.to_string(),
    }
}

/// The events of a journal in order. See [`JournalReader::events`].
#[derive(Debug)]
pub struct Events {
    journal: JournalReader,
    /// The sequence to be given next.
    next: u64,
    place: Place,
    /// What is left of the record being read.
    record: vec::IntoIter<Stored>,
    unfinished: Option<Unfinished>,
}

/// Bytes at the very end of a journal that are no whole record: an append that was never acknowledged, or is under way. Whoever
/// knows that more events were acknowledged than were read knows that it is damage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// The file.
    pub segment: PathBuf,
    /// Where in the file they begin.
    pub offset: u64,
    /// Why they are no record.
    pub reason: String,
}

#[derive(Debug)]
enum Place {
    Start,
    In {
        segment: SegmentFile,
        pieces: Pieces,
        /// Read again since the last good record: a writer had its chance to finish, and what is bad stays bad.
        reread: bool,
    },
    End,
}

impl Iterator for Events {
    type Item = Result<Stored, ReadJournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(stored) = self.record.next() {
                if stored.sequence < self.next {
                    continue; // The segment begins before the sequence asked for.
                }
                self.next = stored.sequence + 1;
                return Some(Ok(stored));
            }
            match self.advance() {
                Ok(true) => {}
                Ok(false) => {
                    self.place = Place::End;
                    return None;
                }
                Err(error) => {
                    self.place = Place::End;
                    return Some(Err(error));
                }
            }
        }
    }
}

impl Events {
    /// What was passed over at the end of the journal, once the end was reached.
    pub fn unfinished(&self) -> Option<&Unfinished> {
        self.unfinished.as_ref()
    }

    /// Takes one step towards the next record. `false` at the end of the journal.
    fn advance(&mut self) -> Result<bool, ReadJournalError> {
        let (segment, pieces, reread) = match &mut self.place {
            Place::End => return Ok(false),
            Place::Start => return self.start(),
            Place::In { segment, pieces, reread } => (segment, pieces, reread),
        };
        let before = pieces.offset();
        let piece = pieces.next();
        if let Some(Piece::Record(record)) = piece {
            *reread = false;
            self.record = record.events.into_iter();
            return Ok(true);
        }
        // The end of the file, or something bad in it. Is there a later segment?
        let due = pieces.next_sequence();
        let later = list_segments(&self.journal.dir)?.into_iter().find(|later| later.first > segment.first);
        if piece.is_none() && later.as_ref().is_some_and(|later| later.first == due) {
            return self.enter(later.expect("just looked at"));
        }
        if piece.is_none() && later.is_none() {
            return Ok(false);
        }
        if !*reread {
            // The file was read while it was being written: what was missing then may be there now.
            *reread = true;
            pieces.reread(read_segment(&segment.path)?, before);
            return Ok(true);
        }
        match (piece, later) {
            (Some(Piece::Bad { offset, end, error }), None) if pieces.is_end(end) => {
                let (segment, offset) = (segment.path.clone(), offset as u64);
                self.unfinished = Some(Unfinished { segment, offset, reason: error.to_string() });
                Ok(false)
            }
            (Some(Piece::Bad { offset, error, .. }), _) => Err(damaged(segment, offset, due, error)),
            (_, Some(later)) => {
                let reason = format!("the next segment begins with sequence {}", later.first);
                Err(damaged(segment, before, due, reason))
            }
            (_, None) => Ok(false),
        }
    }

    fn start(&mut self) -> Result<bool, ReadJournalError> {
        let segments = list_segments(&self.journal.dir)?;
        match segments.iter().rfind(|segment| segment.first <= self.next) {
            Some(segment) => self.enter(segment.clone()),
            None => match segments.first() {
                Some(first) => {
                    let reason = format!("the journal begins with sequence {}", first.first);
                    Err(damaged(first, 0, self.next, reason))
                }
                None => Ok(false),
            },
        }
    }

    fn enter(&mut self, segment: SegmentFile) -> Result<bool, ReadJournalError> {
        let bytes = read_segment(&segment.path)?;
        match check_header(&bytes, self.journal.id, segment.first) {
            Ok(()) => {}
            // A writer has just created it and not yet written its header.
            Err(SegmentError::CutOff(_)) if list_segments(&self.journal.dir)?.last() == Some(&segment) => {
                return Ok(false);
            }
            Err(error) => return Err(damaged(&segment, 0, segment.first.max(self.next), error)),
        }
        let pieces = Pieces::of(bytes, self.journal.id, segment.first);
        self.place = Place::In { segment, pieces, reread: false };
        Ok(true)
    }
}
