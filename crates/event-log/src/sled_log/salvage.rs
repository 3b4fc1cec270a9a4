//! What can be had of a log that has lost events in both of its copies, and what cannot.
//!
//! Opening refuses such a log, because serving on would deny that something happened. Whoever cannot restore a backup
//! salvages it, and is told exactly what that costs. The log then ends with the last whole run before the first event
//! that neither copy has. It is written as a new journal; the damaged copies are set aside whole, with everything
//! behind the loss that can still be read.
//!
//! The log keeps its identity, for which checkpoints may have been signed that cover more than what is left. If so, it
//! must go on under another: see [`crate::continuation`].
//!
//! A kill at any moment leaves the damaged log or the salvaged one. What was damaged is never deleted.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::recovery::{Found, compare, open_sled};
use super::{OpenError, Options};
use crate::directory::{self, DataDirectory, DirectoryError, exchange};
use crate::files::{create_dir, free_aside};
use crate::journal::{self, Runs, Survey, SurveyError};
use crate::{LogId, Stored, tree};

/// What there was to salvage. Written to be read by whoever looks after the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SalvageReport {
    /// The log's identity.
    pub id: LogId,
    /// Whether `FORMAT` was missing or damaged, so that the identity was taken from the journal.
    pub format_lost: bool,
    /// The last event that is kept, and the last of a whole run. All before it are kept, too.
    pub kept: u64,
    /// What neither copy has, in order. Empty if nothing is lost: then the log opens, and mends itself.
    pub lost: Vec<Lost>,
    /// The last event that the tree has the hash of. So many were written once.
    pub hashed: u64,
    /// How many events behind the last one kept can still be read, in the copies set aside.
    pub behind: u64,
    /// Where the damaged journal and the sled copy were set aside.
    pub aside: Vec<PathBuf>,
}

/// Events that neither copy has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// The first of them.
    pub first: u64,
    /// The last of them; `None` where nothing tells how many they were.
    pub last: Option<u64>,
    /// What is wrong in the journal.
    pub journal: String,
    /// What is wrong in sled.
    pub sled: String,
}

/// Why nothing was salvaged. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum SalvageError {
    /// The directory is not ours, or in use.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// Not a single run can be had.
    #[error("no event can be had from either copy: restore the directory from a backup")]
    NothingLeft,
    /// The copies cannot be looked at.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The disk did not answer.
    #[error("the log cannot be salvaged: {0}")]
    Io(#[from] io::Error),
}

/// Tells what [`salvage`] would do with this data directory, and does nothing of it. (Sled cannot be looked at without
/// its recovering what it can: where that matters, examine a copy.)
pub fn examine(dir: &Path) -> Result<SalvageReport, SalvageError> {
    Ok(Salvage::prepare(dir)?.report)
}

/// Salvages the log in this data directory. Nobody may have it open.
///
/// Where nothing is lost, at most `FORMAT` is written anew; opening the log does the rest.
pub fn salvage(dir: &Path) -> Result<SalvageReport, SalvageError> {
    Salvage::prepare(dir)?.carry_out()
}

/// Both copies, looked at.
struct Salvage {
    directory: DataDirectory,
    sled: Found,
    report: SalvageReport,
}

impl Salvage {
    fn prepare(dir: &Path) -> Result<Salvage, SalvageError> {
        let (directory, format_well) = DataDirectory::take_damaged(dir)?;
        let id = directory.log_id();
        create_dir(&directory.journal())?;
        let sled = open_sled(&directory.sled(), Options::new(id).cache_bytes, id)?;
        let (survey, sled) = compare(&directory.journal(), id, sled, true)?;
        let sled_head = sled.source().map_or(0, |copy| copy.head().unwrap_or(0));
        let (lost, from_sled) = lost(&survey, &sled, sled_head);
        let report = SalvageReport {
            id,
            format_lost: !format_well,
            kept: survey.head.max(sled_head),
            lost,
            hashed: tree::hashed(directory.path()),
            behind: 0,
            aside: Vec::new(),
        };
        let mut salvage = Salvage { directory, sled, report };
        if !salvage.report.lost.is_empty() {
            salvage.report.kept = 0;
            let mut kept = 0;
            let from_journal = salvage.walk(|stored| {
                if stored.last_of_run {
                    kept = stored.sequence;
                }
                Ok(())
            })?;
            salvage.report.kept = kept;
            salvage.report.behind = from_journal + from_sled - kept;
        }
        // A new log has no events either, but a journal.
        let new = salvage.report.lost.is_empty() && survey.segments > 0;
        if salvage.report.kept > 0 || new { Ok(salvage) } else { Err(SalvageError::NothingLeft) }
    }

    fn carry_out(mut self) -> Result<SalvageReport, SalvageError> {
        let (dir, id) = (self.directory.path().to_owned(), self.report.id);
        if self.report.format_lost {
            directory::write_identity(&dir, id)?;
        }
        if self.report.lost.is_empty() {
            return Ok(self.report);
        }
        let sled = self.directory.sled();
        self.report.aside.push(exchange::aside(&dir, None));
        self.report.aside.extend(sled.exists().then(|| free_aside(&sled)));
        // The last thing this does is the commit point.
        exchange::propose(&dir, id, |journal| -> io::Result<()> {
            let mut runs = Runs::default();
            self.walk(|stored| match runs.push(stored) {
                Some(group) => journal.append_stored(&group),
                None => Ok(()),
            })?;
            journal.append_stored(&runs.finish_whole())
        })?;
        if let Found::Good(copy) | Found::Bad { source: Some(copy), .. } = self.sled {
            copy.abandon();
        }
        exchange::finish(&dir, id)?;
        Ok(self.report)
    }

    /// Visits the events before the first lost one, from whichever copy has them. Returns how many events the journal
    /// has in all.
    fn walk(&self, mut visit: impl FnMut(Stored) -> io::Result<()>) -> io::Result<u64> {
        let end = self.report.lost.first().map_or(u64::MAX, |lost| lost.first);
        let (mut next, mut in_journal, mut result) = (1, 0, Ok(()));
        let mut visit_up_to = |next: &mut u64, up_to: u64, stored: Option<&Stored>| {
            while *next < up_to.min(end) {
                visit(self.sled.fetch(*next).map_err(io::Error::other)?)?;
                *next += 1;
            }
            match stored.filter(|stored| stored.sequence < end) {
                Some(stored) => visit(stored.clone()).inspect(|()| *next += 1),
                None => Ok(()),
            }
        };
        let surveyed = journal::survey(&self.directory.journal(), self.report.id, |stored| {
            in_journal += 1;
            if result.is_ok() {
                result = visit_up_to(&mut next, stored.sequence, Some(stored));
            }
        });
        surveyed.map_err(|error| match error {
            SurveyError::Io(error) => error,
            error => io::Error::other(error.to_string()),
        })?;
        result?;
        visit_up_to(&mut next, end, None)?;
        Ok(in_journal)
    }
}

/// What neither copy has; and how many events only sled has.
fn lost(survey: &Survey, sled: &Found, sled_head: u64) -> (Vec<Lost>, u64) {
    let mut search = Search { sled, sled_head, lost: Vec::new(), from_sled: 0 };
    for fault in &survey.faults {
        fault.missing.iter().for_each(|(first, last)| search.look_for(*first, *last, &fault.reason));
        if fault.last < fault.first && sled_head < fault.first {
            // Nothing is left of the newest segment, and nothing tells how far it went.
            search.add(fault.first, None, &fault.reason, || sled.fetch(fault.first).err());
        }
    }
    if sled_head > survey.head {
        let newest = survey.faults.last().filter(|fault| fault.last < fault.first);
        let reason = newest
            .map_or_else(|| format!("it ends with event {}", survey.head), |fault| fault.reason.clone());
        search.look_for(survey.head + 1, sled_head, &reason);
    }
    (search.lost, search.from_sled)
}

/// Looks in sled for what the journal lacks.
struct Search<'a> {
    sled: &'a Found,
    sled_head: u64,
    lost: Vec<Lost>,
    from_sled: u64,
}

impl Search<'_> {
    /// Looks for a stretch that ends with the end of a run.
    fn look_for(&mut self, first: u64, last: u64, journal: &str) {
        let mut whole = true;
        for sequence in first..=last.min(self.sled_head) {
            match self.sled.fetch(sequence) {
                Ok(stored) => {
                    self.from_sled += 1;
                    whole = stored.last_of_run;
                }
                Err(reason) => {
                    whole = true;
                    self.add(sequence, Some(sequence), journal, || Some(reason));
                }
            }
        }
        if last > self.sled_head {
            let first = first.max(self.sled_head + 1);
            self.add(first, Some(last), journal, || self.sled.fetch(first).err());
        } else if !whole {
            self.add(last, Some(last), journal, || Some("the rest of its command is missing".to_owned()));
        }
    }

    /// Adds to what is lost, as one stretch with what comes before it if the reasons are the same.
    fn add(&mut self, first: u64, last: Option<u64>, journal: &str, sled: impl FnOnce() -> Option<String>) {
        let sled = sled().unwrap_or_default();
        match self.lost.last_mut() {
            Some(lost) if lost.last == Some(first - 1) && lost.journal == journal && lost.sled == sled => {
                lost.last = last;
            }
            _ => self.lost.push(Lost { first, last, journal: journal.to_owned(), sled }),
        }
    }
}

impl fmt::Display for SalvageReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (id, kept, hashed) = (self.id, self.kept, self.hashed);
        if self.lost.is_empty() && hashed <= kept {
            write!(f, "log {id}: no event is lost up to {kept}")?;
        } else {
            write!(f, "log {id}: the events 1 to {kept} can be had")?;
        }
        if self.lost.is_empty() && hashed > kept {
            let first = kept + 1;
            write!(
                f,
                "; the events {first} to {hashed} were hashed when they were written, and are in neither copy"
            )?;
        }
        if self.format_lost {
            write!(f, "; FORMAT was missing or damaged")?;
        }
        self.lost.iter().try_for_each(|lost| write!(f, "; {lost}"))?;
        if self.behind > 0 {
            write!(f, "; {} events after {} can still be read, but not kept", self.behind, self.kept)?;
        }
        self.aside.iter().try_for_each(|path| write!(f, "; what was there is kept as {}", path.display()))
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.last {
            Some(last) if last == self.first => write!(f, "event {last} is lost")?,
            Some(last) => write!(f, "the events {} to {last} are lost", self.first)?,
            None => write!(f, "event {} and what came after it are lost", self.first)?,
        }
        write!(f, " (journal: {}; sled: {})", self.journal, self.sled)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{Log, SledLog};

    const ID: LogId = LogId::from_bytes([6; 16]);

    /// A log of the runs `a`, `b c d` and `e`, each an append. In the journal the second is damaged, in sled some
    /// events of it: tells what is left.
    fn salvaged(spoiled_in_sled: &[u64]) -> String {
        let dir = tempfile::tempdir().unwrap();
        let (log, _) = SledLog::open(dir.path(), Options::new(ID)).unwrap();
        let events: [&[&'static str]; 3] = [&["a"], &["b", "c", "d"], &["e"]];
        for run in events {
            log.append(log.head(), &[run.iter().map(|event| (*event).into()).collect()]).unwrap();
        }
        spoiled_in_sled.iter().for_each(|sequence| log.copy.spoil(*sequence));
        log.close().unwrap();
        let segment = dir.path().join("journal/00000000000000000001.seg");
        let mut bytes = fs::read(&segment).unwrap();
        let b = bytes.iter().position(|byte| *byte == b'b').unwrap();
        bytes[b] ^= 1;
        fs::write(&segment, bytes).unwrap();

        let report = salvage(dir.path()).unwrap();
        let (log, _) = SledLog::open(dir.path(), Options::new(ID)).unwrap();
        let events = log.read(1, 10, 1000).unwrap();
        assert!(events.last().is_some_and(|event| event.last_of_run && event.sequence == report.kept));
        let letters: Vec<u8> = events.iter().flat_map(|event| event.payload.to_vec()).collect();
        let lost = report.lost.iter().map(|lost| format!(" lost {}-{}", lost.first, lost.last.unwrap()));
        format!(
            "{}{} behind {}",
            String::from_utf8(letters).unwrap(),
            lost.collect::<String>(),
            report.behind
        )
    }

    #[test]
    fn a_run_is_kept_whole_or_not_at_all() {
        assert_eq!(salvaged(&[]), "abcde behind 0");
        assert_eq!(salvaged(&[5]), "abcde behind 0"); // The journal has it.
        assert_eq!(salvaged(&[2]), "a lost 2-2 behind 3");
        assert_eq!(salvaged(&[4]), "a lost 4-4 behind 3"); // `b` and `c` can be read, but `d` belongs to them.
        assert_eq!(salvaged(&[3, 4]), "a lost 3-4 behind 2");
        assert_eq!(salvaged(&[2, 4]), "a lost 2-2 lost 4-4 behind 2");
    }

    #[test]
    fn what_is_lost_is_said_in_one_sentence() {
        let lost = |first, last| Lost { first, last, journal: "j".to_owned(), sled: "s".to_owned() };
        assert_eq!(lost(4, Some(4)).to_string(), "event 4 is lost (journal: j; sled: s)");
        assert_eq!(lost(4, Some(7)).to_string(), "the events 4 to 7 are lost (journal: j; sled: s)");
        assert_eq!(
            lost(4, None).to_string(),
            "event 4 and what came after it are lost (journal: j; sled: s)"
        );
    }
}
