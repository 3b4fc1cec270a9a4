//! Bytes changed, cut off and taken away, in either copy: the log mends itself from the other, or refuses and names
//! the first event that is lost. It never serves something else than what was acknowledged.

#![allow(clippy::unwrap_used)] // Tests say what they expect by what they unwrap.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::damage::{
    Damaged, copy_dir, cut_off, expect, flip, flip_at_percent, flip_every, truncate, whole, zero,
};
use support::{Dice, ID, assert_history, open, options, read_all, runs_at, write};
use tagtrail_event_log::journal::JournalReader;
use tagtrail_event_log::{Log, LogId, OpenError, Options, SledLog, Tree, salvage};
use tempfile::TempDir;

/// Opens a damaged copy of the whole log and tells what happened; wherever it opens, the history must be whole.
fn after(damage: impl FnOnce(&Damaged)) -> String {
    let (original, head) = whole();
    let dir = tempfile::tempdir().unwrap();
    copy_dir(original.path(), dir.path());
    let damaged = Damaged(dir.path().to_owned());
    damage(&damaged);
    let before = damaged.journal_bytes();
    let told = match open(dir.path()) {
        Ok((log, report)) => {
            assert_history(read_all(&log).into_iter(), *head);
            write(&log, head + 10);
            let head = log.head();
            drop(log);
            // What was mended stays so, and the other copy has it too.
            let (log, again) =
                SledLog::open(dir.path(), Options { compare_everything: true, ..options() }).unwrap();
            assert_eq!(again.findings, [], "after: {report}");
            assert_history(read_all(&log).into_iter(), head);
            let journal = JournalReader::open_read_only(&dir.path().join("journal")).unwrap();
            assert_history(journal.events(1).map(Result::unwrap), head);
            report.to_string()
        }
        Err(error) => {
            assert_eq!(damaged.journal_bytes(), before, "a refused log must stay as it was: {error}");
            assert!(!dir.path().join("log.damaged-1").exists());
            error.to_string()
        }
    };
    told.replace(&dir.path().display().to_string(), "DIR").replace(&ID.to_string(), "ID")
}

#[test]
fn an_undamaged_log_has_nothing_to_report() {
    assert_eq!(after(|_| {}), format!("opened log ID at event {}; journal and sled agree", whole().1));
}

#[test]
fn sled_is_rebuilt_from_the_journal() {
    let rebuilt =
        ["sled could not be used", "rebuilt from the journal (what was there is kept as DIR/log.damaged-1)"];
    expect(&after(|log| flip_every(&log.sled(), b"event 77, ")), &rebuilt);
    expect(&after(|log| truncate(&log.sled(), 75)), &rebuilt);
    expect(&after(|log| truncate(&log.sled(), 0)), &rebuilt);
    expect(
        &after(|log| {
            log.without_sled();
        }),
        &["sled could not be used (it was not there)"],
    );
}

/// Anywhere at all. Sled gives up, or forgets its newest events, or does not notice because it has left that part:
/// no matter which.
#[test]
fn no_byte_of_sled_matters() {
    let harmless =
        |told: String| told.contains(" from the journal") || told.ends_with("journal and sled agree");
    for percent in [10, 30, 50, 70, 90] {
        assert!(harmless(after(|log| flip_at_percent(&log.sled(), percent))), "{percent} %");
        assert!(harmless(after(|log| zero(&log.sled(), percent, 4096))), "{percent} %");
    }
    assert!(harmless(after(|log| zero(&log.sled(), 0, 4096))));
    let newest = format!("event {}, ", whole().1);
    assert!(harmless(after(|log| flip_every(&log.sled(), newest.as_bytes()))));
    assert!(harmless(after(|log| cut_off(&log.sled(), 4096))));
}

/// Why sled is never believed on its own word: of damage it makes a panic, an error, or a database that opens with
/// some of the events, or none, and does not say so.
#[test]
fn what_sled_makes_of_damage() {
    let (original, head) = whole();
    let opens = |damage: &dyn Fn(&Path)| {
        let dir = tempfile::tempdir().unwrap();
        copy_dir(&original.path().join("log"), dir.path());
        damage(&dir.path().join("db"));
        let path = dir.path().to_owned();
        let opened =
            std::panic::catch_unwind(move || sled::open(path)?.open_tree("events").map(|tree| tree.len()));
        opened.ok()?.ok()
    };
    assert_eq!(opens(&|_| ()), Some(*head as usize));
    let flipped: Vec<_> =
        [1, 10, 30, 75, 90].iter().map(|percent| opens(&|db| flip_at_percent(db, *percent))).collect();
    assert!(flipped.contains(&None), "one byte, and it does not open: {flipped:?}");
    let cut: Vec<_> = [1, 10, 30, 90].iter().map(|percent| opens(&|db| truncate(db, *percent))).collect();
    assert!(cut.contains(&Some(0)), "cut off, and it opens empty: {cut:?}");
    assert!(
        cut.iter().flatten().any(|events| (1..*head as usize).contains(events)),
        "or with a part: {cut:?}"
    );
}

/// Each of sled's files, changed, cut off or taken away: whatever sled makes of it, the log has every event.
#[test]
fn no_file_of_sled_matters() {
    // Sled writes its snapshot when it opens what is there already.
    let reopened = |log: &Damaged| {
        open(&log.0).unwrap().0.close().unwrap();
        let files = fs::read_dir(log.0.join("log")).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<PathBuf> = files.filter(|path| path.is_file()).collect();
        files.sort();
        assert_eq!(files.len(), 3, "{files:?}");
        files
    };
    let harmless = |damage: &dyn Fn(&Path), file: usize| {
        let told = after(|log| damage(&reopened(log)[file]));
        assert!(told.starts_with("opened log ID at event "), "{told}");
    };
    for file in 0..3 {
        for percent in [0, 25, 75, 99] {
            harmless(&|path| flip_at_percent(path, percent), file);
            harmless(&|path| truncate(path, percent as u64), file);
        }
        harmless(&|path| fs::remove_file(path).unwrap(), file);
    }
}

#[test]
fn another_sled_is_not_taken_for_ours() {
    let elsewhere = |id, marker: &'static str| {
        let dir = tempfile::tempdir().unwrap();
        let (log, _) = SledLog::open(dir.path(), Options::new(id)).unwrap();
        while log.head() < whole().1 + 50 {
            log.append(log.head(), &[vec![marker.into()]]).unwrap();
        }
        log.close().unwrap();
        dir
    };
    let swap = |log: &Damaged, other: &TempDir| {
        log.without_sled();
        copy_dir(&other.path().join("log"), &log.0.join("log"));
    };
    let stranger = elsewhere(LogId::from_bytes([1; 16]), "x");
    expect(&after(|log| swap(log, &stranger)), &["sled could not be used (it belongs to another log)"]);
    // The same log with another history, and even a longer one: the journal is believed.
    let twin = elsewhere(ID, "x");
    expect(
        &after(|log| swap(log, &twin)),
        &["sled could not be used (event ", " differs from the journal's)"],
    );
}

#[test]
fn the_journal_is_restored_from_sled() {
    let restored = [
        "the journal was damaged (",
        "restored, ",
        " from sled",
        "is kept as DIR/journal/",
        ".seg.damaged-1)",
    ];
    for segment in [0, 3] {
        for percent in [0, 1, 50, 100] {
            let told = after(|log| {
                let path = &log.segments()[segment];
                let length = fs::metadata(path).unwrap().len() as usize;
                flip(path, (length * percent / 100).min(length - 1));
            });
            expect(&told, &restored);
        }
        expect(&after(|log| truncate(&log.segments()[segment], 50)), &restored);
        expect(&after(|log| truncate(&log.segments()[segment], 0)), &restored);
        expect(&after(|log| zero(&log.segments()[segment], 50, 4096)), &restored);
        expect(
            &after(|log| {
                log.without(segment);
            }),
            &["the journal was damaged (no segment holds the events "],
        );
    }
    expect(&after(|log| flip_at_percent(&log.segments()[log.newest()], 50)), &restored);
    expect(&after(|log| flip(&log.segments()[log.newest()], 20)), &restored);
}

#[test]
fn the_end_of_the_journal_comes_back_from_sled() {
    let head = whole().1;
    let behind = ["the journal ended with event ", &format!("completed from sled up to event {head}")];
    expect(&after(|log| truncate(&log.segments()[log.newest()], 50)), &behind);
    expect(
        &after(|log| {
            log.without(log.newest());
        }),
        &behind,
    );
    expect(
        &after(|log| {
            log.without(log.newest()).without(log.newest());
        }),
        &behind,
    );
    expect(&after(|log| truncate(&log.segments()[log.newest()], 0)), &behind);
    expect(&after(|log| fs::remove_dir_all(log.0.join("journal")).unwrap()), &behind);
    // The very last record: bad at the end, but sled knows that it was acknowledged.
    let told = after(|log| {
        let path = &log.segments()[log.newest()];
        flip(path, fs::metadata(path).unwrap().len() as usize - 1);
    });
    expect(&told, &behind);
    expect(&told, &["is kept as DIR/journal/"]);
}

/// Both copies damaged, at different places: each has what the other lacks.
#[test]
fn two_damaged_copies_make_a_whole_one() {
    let told = after(|log| {
        flip_at_percent(&log.segments()[2], 50);
        cut_off(&log.sled(), 4096);
    });
    // Sled may also refuse to open at all, and then the events in the hole are lost.
    assert!(told.contains("the journal was damaged") || told.contains("is lost in both copies"), "{told}");
}

#[test]
fn what_neither_copy_has_is_named_and_refused() {
    let lost = |sequence: u64, why: &str| format!("event {sequence} is lost in both copies (journal: {why}");
    let mut first = 0;
    let told = after(|log| {
        first = log.first_of(3);
        flip(&log.without_sled().segments()[3], 80); // In the first record.
    });
    expect(&told, &[&lost(first, "the record fails its checksum, at byte 40"), "sled: there is none"]);
    let told = after(|log| {
        log.without_sled().without(3);
    });
    expect(&told, &[&lost(first, "no segment holds the events")]);
    let told = after(|log| {
        flip(&log.segments()[3], 80);
        truncate(&log.sled(), 75);
    });
    expect(&told, &[&lost(first, "the record fails its checksum, at byte 40"), "sled: "]);
    let told = after(|log| {
        first = log.first_of(log.newest());
        zero(&log.without_sled().segments()[log.newest()], 0, usize::MAX / 2);
    });
    expect(&told, &[&lost(first, "its header is damaged")]);
    let told = after(|log| fs::remove_dir_all(log.without_sled().0.join("journal")).unwrap());
    expect(&told, &[&lost(1, "there is no segment in DIR/journal"), "sled: there is none"]);
    let told = after(|log| {
        log.without_sled();
        while log.newest() > 0 {
            log.without(1);
        }
        truncate(&log.segments()[0], 0);
    });
    expect(&told, &[&lost(1, "its header is cut off after 0 bytes")]);
}

#[test]
fn the_journal_names_its_first_bad_record() {
    let (original, head) = whole();
    let dir = tempfile::tempdir().unwrap();
    copy_dir(original.path(), dir.path());
    let log = Damaged(dir.path().to_owned());
    let first = log.first_of(3);
    flip(&log.segments()[3], 80);
    let journal = JournalReader::open_read_only(&dir.path().join("journal")).unwrap();
    assert_eq!(journal.log_id(), ID);
    let mut events = journal.events(1);
    let good = events.by_ref().map_while(Result::ok).count() as u64;
    assert_eq!(good, first - 1);
    assert!(events.next().is_none(), "after an error there is nothing more");
    let error = journal.events(first).next().unwrap().unwrap_err().to_string();
    assert!(error.starts_with(&format!("event {first} cannot be read from ")), "{error}");
    assert!(error.ends_with("at byte 40: the record fails its checksum"), "{error}");
    assert_eq!(journal.events(log.first_of(4)).count() as u64, head - log.first_of(4) + 1);
    assert!(JournalReader::open_read_only(&dir.path().join("log")).is_err());
}

/// A log, closed, and what one more append makes of its journal.
struct LastAppend {
    /// A copy from before the append.
    before: TempDir,
    /// Its head.
    head: u64,
    /// Bytes of its journal.
    acknowledged: usize,
    /// The journal with the append.
    whole: Vec<u8>,
}

impl LastAppend {
    fn of(events: u64, run: Vec<bytes::Bytes>) -> LastAppend {
        let dir = tempfile::tempdir().unwrap();
        let (log, _) = open(dir.path()).unwrap();
        write(&log, events);
        let head = log.head();
        log.close().unwrap();
        let before = tempfile::tempdir().unwrap();
        copy_dir(dir.path(), before.path());
        let acknowledged = fs::read(segment(dir.path())).unwrap().len();
        let (log, _) = open(dir.path()).unwrap();
        log.append(head, &[run]).unwrap();
        drop(log);
        let whole = fs::read(segment(dir.path())).unwrap();
        LastAppend { before, head, acknowledged, whole }
    }
}

/// The first file of a journal.
fn segment(dir: &Path) -> PathBuf {
    Damaged(dir.to_owned()).segments()[0].clone()
}

/// Whatever part of the last append reached the disk: it is there as a whole or not at all, and all before it is.
#[test]
fn a_torn_append_never_happened() {
    let LastAppend { before, head, acknowledged, whole } = LastAppend::of(5, vec!["a".into(), "b".into()]);
    let check = |bytes: &[u8], expected: &str| {
        fs::write(segment(before.path()), bytes).unwrap();
        let (log, report) = open(before.path()).unwrap();
        let told = report.to_string();
        assert!(told.ends_with(expected), "{expected}: {told}");
        assert_eq!(log.head(), head);
        assert_history(read_all(&log).into_iter(), head);
    };
    check(&whole[..acknowledged], "journal and sled agree");
    for cut in acknowledged + 1..whole.len() {
        let bytes = whole.len() - acknowledged;
        // The end is missing; the end was never written; the beginning was never written.
        check(
            &whole[..cut],
            &format!(
                "cut off {} bytes of an append after event {head} that was never acknowledged",
                cut - acknowledged
            ),
        );
        let mut zeros = whole.clone();
        zeros[cut..].fill(0);
        check(
            &zeros,
            &format!("cut off {bytes} bytes of an append after event {head} that was never acknowledged"),
        );
        let mut zeros = whole.clone();
        zeros[acknowledged..cut].fill(0);
        check(
            &zeros,
            &format!("cut off {bytes} bytes of an append after event {head} that was never acknowledged"),
        );
    }
    // And all of it: then it happened, although nobody was told.
    fs::write(segment(before.path()), &whole).unwrap();
    let (log, report) = open(before.path()).unwrap();
    assert_eq!(log.head(), head + 2);
    assert!(report.to_string().ends_with(&format!(
        "sled ended with event {head}: completed from the journal up to event {}",
        head + 2
    )));
}

/// A disk writes sectors, in any order: of an append over many of them, any may be on the disk and any not, with the file's new
/// length or without. It is there as a whole or never was.
#[test]
fn any_sectors_of_the_last_append() {
    let run = (0..12).map(|event| vec![b'a' + event; 3_000].into()).collect();
    let LastAppend { before, head, acknowledged, whole } = LastAppend::of(40, run);
    let mut dice = Dice(4096);
    for round in 0..120 {
        let sector = [512, 4096][round % 2];
        let mut torn = whole.clone();
        let mut lost = 0;
        for start in (acknowledged / sector * sector..whole.len()).step_by(sector) {
            if dice.below(4) == 0 {
                lost += 1;
                torn[start.max(acknowledged)..(start + sector).min(whole.len())].fill(0);
            }
        }
        // One in four without the new length, or with a part of it.
        if lost == 0 || dice.below(4) == 0 {
            let length = (whole.len() - acknowledged) as u64;
            torn.truncate(acknowledged + dice.below(length) as usize);
        }
        let copy = tempfile::tempdir().unwrap();
        copy_dir(before.path(), copy.path());
        fs::write(segment(copy.path()), &torn).unwrap();
        let (log, report) = open(copy.path()).unwrap();
        assert_eq!(log.head(), head, "round {round}: {report}");
        assert_history(read_all(&log).into_iter(), head);
        write(&log, head + 5);
        assert_history(read_all(&log).into_iter(), log.head());
    }
}

#[test]
fn a_second_process_is_told_who_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path()).unwrap();
    log.append(0, &runs_at(0)).unwrap();
    let Err(error) = open(dir.path()) else { panic!("a log must not be opened twice") };
    assert!(matches!(error, OpenError::Directory(_)));
    let expected = format!("is in use by another process (process {})", std::process::id());
    assert!(error.to_string().contains(&expected), "{error}");
    log.append(log.head(), &runs_at(log.head())).unwrap();
}

/// The last append is damaged and sled is gone, as right after a restore. It was hashed, so it was acknowledged: it is not called an
/// append that never happened, and what is left of it is kept to be looked at.
#[test]
fn an_end_that_was_hashed_is_lost_and_not_unfinished() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path()).unwrap();
    write(&log, 40);
    let head = log.head();
    log.append(head, &[vec!["a".into(), "b".into()]]).unwrap();
    let (mut tree, _) = Tree::open(dir.path(), &log).unwrap();
    tree.catch_up(&log, |_, _| ()).unwrap();
    tree.sync().unwrap();
    log.close().unwrap();
    fs::remove_dir_all(dir.path().join("log")).unwrap();
    let segment = segment(dir.path());
    let mut bytes = fs::read(&segment).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&segment, &bytes).unwrap();

    let planned = salvage::examine(dir.path()).unwrap().to_string();
    let lost = format!("the events {} to {} were hashed when they were written", head + 1, head + 2);
    assert!(planned.contains(&lost), "{planned}");
    let (log, report) = open(dir.path()).unwrap();
    assert_eq!(log.head(), head);
    let told = report.to_string();
    let lost = format!("the events {} to {}, which were written once, are in no copy", head + 1, head + 2);
    assert!(told.contains(&lost) && !told.contains("never acknowledged"), "{told}");
    assert!(report.is_doubtful());
    let aside =
        segment.with_file_name(format!("{}.damaged-1", segment.file_name().unwrap().to_str().unwrap()));
    assert_eq!(fs::read(aside).unwrap(), bytes);
}
