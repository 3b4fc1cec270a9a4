//! Looking at the whole journal before it is trusted: what is whole, what is missing, what was never finished.
//!
//! A survey writes nothing. What to do about its faults is decided with both copies in view.

use std::io;
use std::path::{Path, PathBuf};

use super::segment::{Piece, Pieces, SEGMENT_HEADER_BYTES, SegmentError, check_header};
use super::{SegmentFile, list_segments, read_segment};
use crate::{LogId, Stored};

/// What a survey found.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// How many segments there are.
    pub segments: usize,
    /// The newest sequence the journal holds; 0 if it holds none.
    pub head: u64,
    /// Damage of what was acknowledged, in order.
    pub faults: Vec<Fault>,
    /// The bad end of the newest segment.
    pub tail: Option<TornTail>,
    /// The newest segment, where it was created and not finished: no event was ever in it.
    pub unfinished: Option<PathBuf>,
}

/// A stretch of the journal that has to be written anew.
#[derive(Debug)]
pub(crate) struct Fault {
    /// The damaged segment; none if it is gone.
    pub segment: Option<SegmentFile>,
    /// The first and the last sequence of the stretch. The last is below the first where nothing is left of the
    /// newest segment.
    pub first: u64,
    /// See `first`.
    pub last: u64,
    /// The sequences that the journal does not have, as ranges with both ends.
    pub missing: Vec<(u64, u64)>,
    /// What is wrong, in words.
    pub reason: String,
}

/// Bytes at the end of the newest segment that are no record, with nothing good behind them.
#[derive(Debug)]
pub(crate) struct TornTail {
    pub segment: PathBuf,
    /// Where they begin: the length of what is whole.
    pub offset: u64,
    /// How many they are.
    pub bytes: u64,
}

/// Why a journal could not be surveyed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SurveyError {
    #[error("{} cannot be opened: {error}", segment.display())]
    Newer { segment: PathBuf, error: SegmentError },
    #[error("{} begins with sequence {first}, which an earlier segment holds already: move one of them away", segment.display())]
    Overlap { segment: PathBuf, first: u64 },
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Reads the whole journal, handing each event that is whole to `visit`.
pub(crate) fn survey(dir: &Path, id: LogId, mut visit: impl FnMut(&Stored)) -> Result<Survey, SurveyError> {
    let segments = list_segments(dir)?;
    let mut survey = Survey { segments: segments.len(), ..Survey::default() };
    for (i, segment) in segments.iter().enumerate() {
        let due = survey.head + 1;
        if segment.first < due {
            return Err(SurveyError::Overlap { segment: segment.path.clone(), first: segment.first });
        }
        if segment.first > due {
            let last = segment.first - 1;
            let reason = format!("no segment holds the events {due} to {last}");
            survey.faults.push(Fault { segment: None, first: due, last, missing: vec![(due, last)], reason });
        }
        let until = segments.get(i + 1).map(|next| next.first - 1);
        survey_segment(&mut survey, id, segment, until, &mut visit)?;
    }
    Ok(survey)
}

/// Surveys one segment. A later segment says up to which sequence it was filled; for the newest nobody does.
fn survey_segment(
    survey: &mut Survey,
    id: LogId,
    segment: &SegmentFile,
    until: Option<u64>,
    visit: &mut impl FnMut(&Stored),
) -> Result<(), SurveyError> {
    let bytes = read_segment(&segment.path)?;
    let length = bytes.len() as u64;
    let newest = until.is_none();
    let mut reason = match check_header(&bytes, id, segment.first) {
        Ok(()) => None,
        Err(error @ SegmentError::Newer(_)) => {
            return Err(SurveyError::Newer { segment: segment.path.clone(), error });
        }
        // The header is synced before the first record is written, so here was never one. (The very first segment
        // is whole before the directory becomes ours.)
        Err(_) if newest && segment.first > 1 && bytes.len() <= SEGMENT_HEADER_BYTES => {
            survey.unfinished = Some(segment.path.clone());
            survey.head = segment.first - 1;
            return Ok(());
        }
        Err(error) => Some(error.to_string()),
    };
    let mut missing = Vec::new();
    let mut torn = None;
    let mut pieces = Pieces::of(bytes, id, segment.first);
    loop {
        let due = pieces.next_sequence();
        match pieces.next() {
            Some(Piece::Record(record)) => {
                if record.first > due {
                    missing.push((due, record.first - 1));
                }
                record.events.iter().for_each(&mut *visit);
            }
            Some(Piece::Bad { offset, end, error }) => {
                let offset = offset as u64;
                if pieces.is_end(end) && newest {
                    torn = Some(TornTail { segment: segment.path.clone(), offset, bytes: length - offset });
                } else {
                    reason.get_or_insert_with(|| {
                        format!("{error}, at byte {offset}, where event {due} was due")
                    });
                }
            }
            None => break,
        }
    }
    let mut last = pieces.next_sequence() - 1;
    if let (Some(until), Some(_)) = (until, &reason)
        && last < until
    {
        missing.push((last + 1, until));
        last = until;
    }
    survey.head = last;
    // In a segment with a bad header and nothing good, even the newest, the bytes were once acknowledged events.
    let nothing_left = reason.is_some() && last < segment.first;
    survey.tail = torn.filter(|_| !nothing_left);
    if let Some(reason) = reason {
        let segment_file = Some(segment.clone());
        survey.faults.push(Fault { segment: segment_file, first: segment.first, last, missing, reason });
    }
    Ok(())
}
