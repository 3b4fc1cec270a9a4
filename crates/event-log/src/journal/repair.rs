//! Writing a damaged stretch of the journal anew. What was there is set aside, never overwritten.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::segment::{Piece, Pieces, encode_header, encode_record};
use super::{Fault, read_segment, segment_path};
use crate::files::{at, free_aside, sync_dir};
use crate::{LogId, Stored, frame};

/// Restored records grow to this many bytes before the next is begun.
const RECORD_BYTES: usize = 1024 * 1024;

/// Gathers events in order into groups of whole runs, each fit to be one record.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    group: Vec<Stored>,
    group_bytes: usize,
    run: Vec<Stored>,
    run_bytes: usize,
}

impl Runs {
    /// Takes the next event; gives a group whenever one is full.
    pub(crate) fn push(&mut self, stored: Stored) -> Option<Vec<Stored>> {
        self.run_bytes += frame::HEADER_BYTES + stored.payload.len();
        let last_of_run = stored.last_of_run;
        self.run.push(stored);
        if !last_of_run {
            return None;
        }
        let full = !self.group.is_empty() && self.group_bytes + self.run_bytes > RECORD_BYTES;
        let full = full.then(|| self.take());
        self.group.append(&mut self.run);
        self.group_bytes += std::mem::take(&mut self.run_bytes);
        full
    }

    /// Gives the last group, which is empty if nothing is left. Events that end in the middle of a run are an error.
    pub(crate) fn finish(mut self) -> io::Result<Vec<Stored>> {
        match self.run.last() {
            None => Ok(self.take()),
            Some(stored) => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("the events end with {}, in the middle of a command", stored.sequence),
            )),
        }
    }

    /// Gives the last group without the run that was begun and not finished.
    pub(crate) fn finish_whole(mut self) -> Vec<Stored> {
        self.take()
    }

    fn take(&mut self) -> Vec<Stored> {
        self.group_bytes = 0;
        std::mem::take(&mut self.group)
    }
}

/// Writes the stretch of a fault anew, from what its segment still holds and, for what is missing, from `fetch`.
///
/// Returns where the damaged segment was set aside. A crash at any moment leaves either the old state or one with
/// less missing, which the next survey finds.
pub(crate) fn restore(
    dir: &Path,
    id: LogId,
    segment_bytes: u64,
    fault: &Fault,
    mut fetch: impl FnMut(u64) -> io::Result<Stored>,
) -> io::Result<Option<PathBuf>> {
    let aside = match &fault.segment {
        Some(segment) => Some(keep_aside(&segment.path)?),
        None => None,
    };
    // What replaces a segment takes its place in one rename: were it two files, a crash between them would lose
    // what only the damaged one holds.
    let segment_bytes = if aside.is_some() { u64::MAX } else { segment_bytes };
    let mut rewrite = Rewrite { dir, id, segment_bytes, runs: Runs::default(), open: None };
    let mut next = fault.first;
    if let Some(segment) = &fault.segment {
        for piece in Pieces::of(read_segment(&segment.path)?, id, segment.first) {
            let Piece::Record(record) = piece else { continue };
            while next < record.first {
                rewrite.push(fetch(next)?)?;
                next += 1;
            }
            next = record.last() + 1;
            record.events.into_iter().try_for_each(|stored| rewrite.push(stored))?;
        }
    }
    for sequence in next..=fault.last {
        rewrite.push(fetch(sequence)?)?;
    }
    rewrite.finish()?;
    if let (Some(segment), true) = (&fault.segment, fault.last < fault.first) {
        // Nothing is left of the newest segment. Its events come back by being appended again.
        fs::remove_file(&segment.path).map_err(at(&segment.path))?;
    }
    sync_dir(dir)?;
    Ok(aside)
}

/// Cuts the bad end off the newest segment. With `keep`, the segment as it was is set aside first.
pub(crate) fn cut_tail(segment: &Path, offset: u64, keep: bool) -> io::Result<Option<PathBuf>> {
    let aside = if keep {
        let aside = free_aside(segment);
        fs::copy(segment, &aside).map_err(at(&aside))?;
        Some(aside)
    } else {
        None
    };
    let file = OpenOptions::new().write(true).open(segment).map_err(at(segment))?;
    file.set_len(offset).map_err(at(segment))?;
    file.sync_all().map_err(at(segment))?;
    Ok(aside)
}

/// Removes what an interrupted repair or rotation left: files that never held an event of their own.
pub(crate) fn remove_unfinished(dir: &Path, unfinished: Option<&Path>) -> io::Result<()> {
    for entry in fs::read_dir(dir).map_err(at(dir))? {
        let path = entry.map_err(at(dir))?.path();
        if path.extension().is_some_and(|extension| extension == "new") || Some(path.as_path()) == unfinished
        {
            fs::remove_file(&path).map_err(at(&path))?;
        }
    }
    sync_dir(dir)
}

/// Gives the damaged file a second name. The first stays until a repaired file takes its place.
fn keep_aside(path: &Path) -> io::Result<PathBuf> {
    let aside = free_aside(path);
    fs::hard_link(path, &aside).map_err(at(&aside))?;
    Ok(aside)
}

/// New segments on their way to their place.
struct Rewrite<'a> {
    dir: &'a Path,
    id: LogId,
    segment_bytes: u64,
    runs: Runs,
    /// The segment being written, its first sequence and its length.
    open: Option<(File, u64, u64)>,
}

impl Rewrite<'_> {
    fn push(&mut self, stored: Stored) -> io::Result<()> {
        match self.runs.push(stored) {
            Some(group) => self.write(&group),
            None => Ok(()),
        }
    }

    fn write(&mut self, group: &[Stored]) -> io::Result<()> {
        let Some(first) = group.first().map(|stored| stored.sequence) else { return Ok(()) };
        let mut record = Vec::new();
        let events = group.iter().map(|stored| (stored.last_of_run, &stored.payload[..]));
        encode_record(&mut record, self.id, first, events);
        if self.open.as_ref().is_some_and(|(_, _, length)| length + record.len() as u64 > self.segment_bytes)
        {
            self.place()?;
        }
        let (file, _, length) = match &mut self.open {
            Some(open) => open,
            None => {
                let header = encode_header(self.id, first);
                let mut file = File::create(self.new_path(first))?;
                file.write_all(&header)?;
                self.open.insert((file, first, header.len() as u64))
            }
        };
        file.write_all(&record)?;
        *length += record.len() as u64;
        Ok(())
    }

    /// Puts the segment being written in its place, whole and synced or not at all.
    fn place(&mut self) -> io::Result<()> {
        let Some((file, first, _)) = self.open.take() else { return Ok(()) };
        file.sync_all()?;
        fs::rename(self.new_path(first), segment_path(self.dir, first))?;
        sync_dir(self.dir)
    }

    fn finish(mut self) -> io::Result<()> {
        let rest = std::mem::take(&mut self.runs).finish()?;
        self.write(&rest)?;
        self.place()
    }

    fn new_path(&self, first: u64) -> PathBuf {
        segment_path(self.dir, first).with_extension("seg.new")
    }
}
