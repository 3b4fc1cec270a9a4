//! Opening: both copies are looked at, then it is decided which one to believe where, and only then anything is
//! written.
//!
//! The journal is believed wherever it is whole, because its sync is the commit point. What it lacks is taken from
//! sled, which never holds an event before the journal does. What sled lacks, or holds otherwise, it gets from the
//! journal.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Options;
use super::copy::{CopyError, SledCopy};
use super::report::{Finding, OpenError};
use crate::directory::DataDirectory;
use crate::files::{at, create_dir, free_aside, sync_dir};
use crate::journal::{self, Fault, Journal, JournalReader, ReadJournalError, Runs, Survey, SurveyError};
use crate::{LogId, Stored, tree};

/// Unless everything is compared, this many of the newest events are, and about as many spread over the rest.
const SAMPLE: u64 = 1024;

/// A log put in order.
pub(super) struct Recovered {
    pub journal: Journal,
    pub copy: SledCopy,
    pub head: u64,
    pub findings: Vec<Finding>,
}

/// What may be done with the sled database that was found.
pub(super) enum Found {
    /// It agrees with the journal wherever both were compared.
    Good(SledCopy),
    /// It has to be rebuilt. What can still be read in it may be used to mend the journal, if it is there.
    Bad { reason: String, source: Option<SledCopy> },
    /// There is none.
    Absent,
}

impl Found {
    pub(super) fn source(&self) -> Option<&SledCopy> {
        match self {
            Found::Good(copy) => Some(copy),
            Found::Bad { source, .. } => source.as_ref(),
            Found::Absent => None,
        }
    }

    pub(super) fn fetch(&self, sequence: u64) -> Result<Stored, String> {
        match (self.source(), self) {
            (Some(copy), _) => copy.get(sequence),
            (None, Found::Bad { reason, .. }) => Err(reason.clone()),
            (None, _) => Err("there is none".to_owned()),
        }
    }
}

/// Puts the log in a directory in order.
pub(super) fn recover(directory: &DataDirectory, options: &mut Options) -> Result<Recovered, OpenError> {
    let id = directory.log_id();
    let journal_dir = directory.journal();
    create_dir(&journal_dir)?;

    // Look. (Opening sled writes, but only what sled itself would recover; it cannot be looked at otherwise.)
    let sled = open_sled(&directory.sled(), options.cache_bytes, id)?;
    let everything = options.compare_everything || directory.suspicion().exists();
    let (survey, sled) = compare(&journal_dir, id, sled, everything)?;

    // Decide. From here on it is known that every acknowledged event is in one copy or the other.
    let sled_head = decide(directory, &survey, &sled)?;

    // Act: the journal first, from what sled has, then sled from the journal.
    let mut findings = Vec::new();
    let journal = mend_journal(&journal_dir, id, options, &survey, &sled, sled_head, &mut findings)?;
    let head = survey.head.max(sled_head);
    let copy = mend_sled(directory, options, sled, head, &mut findings)?;
    copy.prove_durable().map_err(OpenError::Sled)??;
    if directory.suspicion().exists() {
        fs::remove_file(directory.suspicion())?;
    }
    Ok(Recovered { journal, copy, head, findings })
}

pub(super) fn open_sled(path: &Path, cache_bytes: u64, id: LogId) -> Result<Found, OpenError> {
    if !path.exists() {
        return Ok(Found::Absent);
    }
    match SledCopy::open(path, cache_bytes, id) {
        Ok(copy) => Ok(Found::Good(copy)),
        Err(CopyError::Unusable(reason)) => Ok(Found::Bad { reason, source: None }),
        Err(CopyError::Refused(reason)) => Err(OpenError::Sled(reason)),
    }
}

/// Surveys the journal and holds sled against it on the way.
pub(super) fn compare(
    dir: &Path,
    id: LogId,
    sled: Found,
    everything: bool,
) -> Result<(Survey, Found), OpenError> {
    let (copy, head) = match &sled {
        Found::Good(copy) => (Some(copy), copy.head()),
        _ => (None, Ok(0)),
    };
    let mut damage = head.as_ref().err().cloned();
    let mut differs = None;
    let head = head.unwrap_or(0);
    let stride = (head / SAMPLE).max(1);
    let survey = journal::survey(dir, id, |stored| {
        let sequence = stored.sequence;
        let chosen = everything || sequence + SAMPLE > head || sequence.is_multiple_of(stride);
        let Some(copy) = copy.filter(|_| sequence <= head && chosen && damage.is_none() && differs.is_none())
        else {
            return;
        };
        match copy.get(sequence) {
            Ok(found) if found == *stored => {}
            Ok(_) => differs = Some(format!("event {sequence} differs from the journal's")),
            Err(reason) => damage = Some(format!("event {sequence}: {reason}")),
        }
    });
    let survey = survey.map_err(|error| match error {
        SurveyError::Io(error) => OpenError::Io(error),
        error => OpenError::Journal(error.to_string()),
    })?;
    let sled = match (sled, differs, damage) {
        // Another history: nothing in it may be taken for ours.
        (Found::Good(copy), Some(reason), _) => {
            copy.abandon();
            Found::Bad { reason, source: None }
        }
        (Found::Good(copy), None, Some(reason)) => Found::Bad { reason, source: Some(copy) },
        (sled, _, _) => sled,
    };
    Ok((survey, sled))
}

/// Refuses unless sled has all that the journal lacks. Returns the newest event that sled has to give, 0 if none.
fn decide(directory: &DataDirectory, survey: &Survey, sled: &Found) -> Result<u64, OpenError> {
    let needed = |first: u64, last: u64, journal: &str| {
        let lost = |sequence: u64, sled: String| OpenError::BothDamaged {
            sequence,
            journal: journal.to_owned(),
            sled,
        };
        let mut whole = true;
        for sequence in first..=last {
            whole = sled.fetch(sequence).map_err(|reason| lost(sequence, reason))?.last_of_run;
        }
        if whole { Ok(()) } else { Err(lost(last + 1, "it ends in the middle of a command".to_owned())) }
    };
    let sled_head = match sled.source() {
        Some(copy) => copy.head().unwrap_or(0),
        None => 0,
    };
    for fault in &survey.faults {
        for (first, last) in &fault.missing {
            needed(*first, *last, &fault.reason)?;
        }
        if fault.last < fault.first {
            // Nothing is left of the newest segment, so nothing says how far it went but sled.
            needed(fault.first, sled_head.max(fault.first), &fault.reason)?;
        }
    }
    if sled_head > survey.head {
        let reason = format!("it ends with event {}", survey.head);
        needed(survey.head + 1, sled_head, &reason)?;
    } else if survey.segments == 0 {
        // A directory of ours has had a journal from its first moment.
        let sled = sled.fetch(1).err().unwrap_or_else(|| "it is empty".to_owned());
        let journal = format!("there is no segment in {}", directory.journal().display());
        return Err(OpenError::BothDamaged { sequence: 1, journal, sled });
    }
    Ok(sled_head)
}

/// Restores, cuts and completes the journal, and opens it for appending.
fn mend_journal(
    dir: &Path,
    id: LogId,
    options: &Options,
    survey: &Survey,
    sled: &Found,
    sled_head: u64,
    findings: &mut Vec<Finding>,
) -> Result<Journal, OpenError> {
    let fetch = |sequence| sled.fetch(sequence).map_err(io::Error::other);
    journal::remove_unfinished(dir, survey.unfinished.as_deref())?;
    if survey.unfinished.is_some() {
        findings.push(Finding::UnfinishedSegment);
    }
    let behind = sled_head > survey.head;
    let mut aside = None;
    if let Some(tail) = &survey.tail {
        // With sled or the tree ahead, these bytes were acknowledged once: keep them to be looked at.
        let hashed = tree::hashed(dir.parent().unwrap_or(dir));
        let lost = !behind && hashed > survey.head;
        aside = journal::cut_tail(&tail.segment, tail.offset, behind || lost)?;
        if lost {
            findings.push(Finding::EndLost { after: survey.head, hashed, aside: aside.clone() });
        } else if !behind {
            findings.push(Finding::UnfinishedAppend { after: survey.head, bytes: tail.bytes });
        }
    }
    for fault in &survey.faults {
        let aside = journal::restore(dir, id, options.segment_bytes, fault, fetch)?;
        findings.push(restored(fault, aside));
    }
    let mut journal = Journal::resume(dir, id, options.segment_bytes, survey.head)?;
    if behind {
        let mut runs = Runs::default();
        for sequence in survey.head + 1..=sled_head {
            if let Some(group) = runs.push(fetch(sequence)?) {
                journal.append_stored(&group)?;
            }
        }
        journal.append_stored(&runs.finish()?)?;
        findings.push(Finding::JournalBehind { journal: survey.head, sled: sled_head, aside });
    }
    Ok(journal)
}

fn restored(fault: &Fault, aside: Option<PathBuf>) -> Finding {
    let from_sled = fault.missing.iter().map(|(first, last)| last - first + 1).sum();
    Finding::JournalRestored { reason: fault.reason.clone(), from_sled, aside }
}

/// Completes or rebuilds sled from the journal, which is whole by now.
fn mend_sled(
    directory: &DataDirectory,
    options: &mut Options,
    sled: Found,
    head: u64,
    findings: &mut Vec<Finding>,
) -> Result<SledCopy, OpenError> {
    let (copy, finding) = match sled {
        Found::Good(copy) => {
            let sled = copy.head().map_err(OpenError::Sled)?;
            (copy, (sled < head).then_some(Finding::SledBehind { sled, journal: head }))
        }
        Found::Bad { reason, source } => {
            if let Some(copy) = source {
                copy.abandon();
            }
            let path = directory.sled();
            let aside = free_aside(&path);
            fs::rename(&path, &aside).map_err(at(&path))?;
            sync_dir(directory.path())?;
            (create_sled(directory, options)?, Some(Finding::SledRebuilt { reason, aside: Some(aside) }))
        }
        Found::Absent => {
            let reason = || "it was not there".to_owned();
            let finding =
                (!directory.created()).then(|| Finding::SledRebuilt { reason: reason(), aside: None });
            (create_sled(directory, options)?, finding)
        }
    };
    fill(&copy, directory, options, head)?;
    findings.extend(finding);
    Ok(copy)
}

fn create_sled(directory: &DataDirectory, options: &Options) -> Result<SledCopy, OpenError> {
    let copy = match SledCopy::create(&directory.sled(), options.cache_bytes, directory.log_id()) {
        Ok(copy) => copy,
        Err(CopyError::Unusable(reason) | CopyError::Refused(reason)) => return Err(OpenError::Sled(reason)),
    };
    sync_dir(directory.path())?;
    Ok(copy)
}

/// Gives sled what it lacks.
fn fill(
    copy: &SledCopy,
    directory: &DataDirectory,
    options: &mut Options,
    head: u64,
) -> Result<(), OpenError> {
    let begin = copy.head().map_err(OpenError::Sled)?;
    if begin == head {
        return Ok(());
    }
    let mut insert = |group: &[Stored]| -> Result<(), OpenError> {
        let Some(newest) = group.last() else { return Ok(()) };
        let events = group.iter().map(|stored| (stored.sequence, stored.last_of_run, &stored.payload[..]));
        copy.insert(events).map_err(OpenError::Sled)?;
        if let Some(progress) = &mut options.progress {
            progress(newest.sequence - begin, head - begin);
        }
        Ok(())
    };
    let mut runs = Runs::default();
    for stored in JournalReader::of(&directory.journal(), directory.log_id()).events(begin + 1) {
        let stored = stored.map_err(|error| match error {
            ReadJournalError::Io(error) => OpenError::Io(error),
            error => OpenError::Journal(error.to_string()),
        })?;
        if let Some(group) = runs.push(stored) {
            insert(&group)?;
        }
    }
    insert(&runs.finish()?)?;
    copy.flush().map_err(OpenError::Sled)?;
    match copy.head().map_err(OpenError::Sled)? {
        reached if reached == head => Ok(()),
        reached => Err(OpenError::Sled(format!("it ends with event {reached} after it was given {head}"))),
    }
}
