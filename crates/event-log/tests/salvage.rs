//! Logs that opening refuses: salvage keeps all that can be had of them, says what that is, and deletes nothing.

#![allow(clippy::unwrap_used)] // Tests say what they expect by what they unwrap.

mod support;

use std::fs;
use std::path::Path;

use support::damage::{Damaged, copy_dir, expect, flip, truncate, whole};
use support::{ID, assert_history, open, options, read_all, write};
use tagtrail_event_log::continuation::continue_as;
use tagtrail_event_log::directory::DirectoryError;
use tagtrail_event_log::journal::JournalReader;
use tagtrail_event_log::salvage::{SalvageError, SalvageReport, examine, salvage};
use tagtrail_event_log::tree::Finding;
use tagtrail_event_log::{Log, LogId, Options, SledLog, Tree};
use tagtrail_transparency::source;
use tempfile::TempDir;

fn damaged(damage: impl FnOnce(&Damaged)) -> (TempDir, Damaged) {
    let dir = tempfile::tempdir().unwrap();
    copy_dir(whole().0.path(), dir.path());
    let log = Damaged(dir.path().to_owned());
    damage(&log);
    (dir, log)
}

/// The bytes of every file under a directory but the lock, in order.
fn bytes_in(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(bytes_in(&path));
        } else if path.file_name().unwrap() != "LOCK" {
            files.push((path.display().to_string(), fs::read(path).unwrap()));
        }
    }
    files.sort();
    files
}

/// Salvages a damaged copy of the whole log, which opening must have refused, and checks that what is kept is a
/// history, and that what is not is still there.
fn salvaged(damage: impl FnOnce(&Damaged)) -> (SalvageReport, String) {
    let (dir, log) = damaged(damage);
    assert!(open(dir.path()).is_err(), "it must be refused before it is salvaged");
    let journal = log.journal_bytes();
    let planned = examine(dir.path()).unwrap();
    assert_eq!(log.journal_bytes(), journal, "examining changes nothing");
    let report = salvage(dir.path()).unwrap();
    assert_eq!(SalvageReport { aside: vec![], ..report.clone() }, planned);

    // Every byte of the old journal is where the report says.
    let aside = dir.path().join("journal.damaged-1");
    assert_eq!(report.aside.first(), Some(&aside));
    for (path, bytes) in journal {
        assert_eq!(fs::read(aside.join(path.file_name().unwrap())).unwrap(), bytes);
    }
    // The log is one again, and goes on.
    let (opened, _) = open(dir.path()).unwrap();
    assert_eq!(opened.id(), ID);
    assert_history(read_all(&opened).into_iter(), report.kept);
    opened.append(report.kept, &[vec!["it goes on".into()]]).unwrap();
    opened.close().unwrap();
    let (_, again) = SledLog::open(dir.path(), Options { compare_everything: true, ..options() }).unwrap();
    assert_eq!((again.head, again.findings), (report.kept + 1, vec![]));
    let told = report.to_string();
    (report, told.replace(&dir.path().display().to_string(), "DIR").replace(&ID.to_string(), "ID"))
}

#[test]
fn all_before_the_first_lost_event_is_kept() {
    let head = whole().1;
    let log = Damaged(whole().0.path().to_owned());
    let (first, next) = (log.first_of(3), log.first_of(4));
    let in_segment = |bytes: u64| head - first + 1 - bytes;

    let (report, told) = salvaged(|log| flip(&log.without_sled().segments()[3], 80));
    assert_eq!((report.kept, report.lost[0].first), (first - 1, first));
    let last = report.lost[0].last.unwrap();
    assert_eq!(report.behind, in_segment(last - first + 1));
    let lost = if last == first {
        format!("event {first} is lost")
    } else {
        format!("the events {first} to {last} are lost")
    };
    assert_eq!(
        told,
        format!(
            "log ID: the events 1 to {} can be had; {lost} (journal: the record fails its checksum, at byte 40, where \
         event {first} was due; sled: there is none); {} events after {} can still be read, but not kept; what was \
         there is kept as DIR/journal.damaged-1",
            first - 1,
            report.behind,
            first - 1
        )
    );

    let (report, told) = salvaged(|log| {
        log.without_sled().without(3);
    });
    assert_eq!((report.kept, report.behind), (first - 1, head - next + 1));
    let gone = format!("no segment holds the events {first} to {}", next - 1);
    expect(
        &told,
        &[&format!("the events {first} to {} are lost (journal: {gone}; sled: there is none)", next - 1)],
    );

    // Sled is there, and of no use. It is set aside, too.
    let (report, told) = salvaged(|log| {
        flip(&log.segments()[3], 80);
        truncate(&log.sled(), 10);
    });
    assert_eq!(report.kept, first - 1);
    expect(&told, &["sled: it opens, but empty", "; what was there is kept as DIR/log.damaged-1"]);

    // Two holes: both are named, and the log ends before the first.
    let (report, _) = salvaged(|log| {
        flip(&log.without_sled().segments()[2], 80);
        flip(&log.segments()[4], 80);
    });
    assert_eq!(report.lost.len(), 2);
    assert_eq!((report.kept, report.lost[1].first), (log.first_of(2) - 1, log.first_of(4)));

    // The newest segment, as a whole: nothing tells how much that was.
    let first = log.first_of(log.newest());
    let (report, told) = salvaged(|log| {
        let newest = &log.without_sled().segments()[log.newest()];
        let zeros = vec![0; fs::metadata(newest).unwrap().len() as usize];
        fs::write(newest, zeros).unwrap();
    });
    assert_eq!((report.kept, report.behind, report.lost[0].last), (first - 1, 0, None));
    expect(
        &told,
        &[&format!("event {first} and what came after it are lost (journal: its header is damaged;")],
    );
}

/// Two damaged copies, each with what the other lacks in the one place and not in the other.
#[test]
fn what_one_copy_lacks_is_taken_from_the_other() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path()).unwrap();
    write(&log, 400);
    let sled_head = log.head();
    log.close().unwrap();
    // Sled ends here, and the journal goes on.
    let short = tempfile::tempdir().unwrap();
    copy_dir(&dir.path().join("log"), short.path());
    let (log, _) = open(dir.path()).unwrap();
    write(&log, 6000);
    let head = log.head();
    log.close().unwrap();
    fs::remove_dir_all(dir.path().join("log")).unwrap();
    copy_dir(short.path(), &dir.path().join("log"));
    let journal = Damaged(dir.path().to_owned());
    // The first record sled still has; the first of a later segment it has not.
    flip(&journal.segments()[0], 80);
    let first_lost = journal.first_of(2);
    flip(&journal.segments()[2], 80);

    let error = open(dir.path()).map(drop).unwrap_err().to_string();
    expect(&error, &[&format!("event {first_lost} is lost in both copies")]);
    let report = salvage(dir.path()).unwrap();
    assert!(report.kept > sled_head);
    assert_eq!((report.kept, report.lost.len(), report.lost[0].first), (first_lost - 1, 1, first_lost));
    let lost = report.lost[0].last.unwrap() - first_lost + 1;
    assert_eq!(report.behind, head - report.kept - lost);
    let (log, _) = open(dir.path()).unwrap();
    assert_history(read_all(&log).into_iter(), report.kept);
}

#[test]
fn where_nothing_is_lost_nothing_is_done() {
    for damage in [
        |_: &Damaged| {},
        |log: &Damaged| flip(&log.segments()[3], 80),
        |log: &Damaged| truncate(&log.sled(), 75),
        |log: &Damaged| fs::remove_dir_all(log.0.join("journal")).unwrap(),
    ] {
        let (dir, log) = damaged(damage);
        let before = log.journal_bytes();
        let report = salvage(dir.path()).unwrap();
        assert_eq!((report.kept, report.aside), (whole().1, vec![]));
        assert_eq!(log.journal_bytes(), before);
        let (log, _) = open(dir.path()).unwrap();
        assert_history(read_all(&log).into_iter(), whole().1);
    }
}

#[test]
fn the_journal_tells_whose_the_directory_is() {
    let format = |log: &Damaged| log.0.join("FORMAT");
    let (dir, log) = damaged(|log| fs::remove_file(format(log)).unwrap());
    assert!(open(dir.path()).map(drop).unwrap_err().to_string().contains("it has no FORMAT file"));
    assert!(examine(dir.path()).unwrap().format_lost);
    assert!(!format(&log).exists());
    let report = salvage(dir.path()).unwrap();
    let told = format!("log {ID}: no event is lost up to {}; FORMAT was missing or damaged", whole().1);
    assert_eq!(report.to_string(), told);
    assert_history(read_all(&open(dir.path()).unwrap().0).into_iter(), whole().1);

    let (dir, _) = damaged(|log| fs::write(format(log), "tagtrail data dir").unwrap());
    salvage(dir.path()).unwrap();
    assert_eq!(open(dir.path()).unwrap().0.id(), ID);

    // Together with a loss.
    let (dir, log) = damaged(|log| {
        fs::remove_file(format(log)).unwrap();
        flip(&log.without_sled().segments()[3], 80);
    });
    let kept = log.first_of(3) - 1;
    assert_eq!(salvage(dir.path()).unwrap().kept, kept);
    assert_history(read_all(&open(dir.path()).unwrap().0).into_iter(), kept);
}

/// Neither a stranger's directory nor a log that another identity is claimed for is touched.
#[test]
fn what_is_not_clear_is_left_alone() {
    let refused = |dir: &Path, expected: &str| {
        let before = bytes_in(dir);
        let error = salvage(dir).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert_eq!(bytes_in(dir), before);
    };
    let stranger = tempfile::tempdir().unwrap();
    fs::write(stranger.path().join("thesis.tex"), "x").unwrap();
    refused(stranger.path(), "FORMAT cannot be written anew: 0 logs are named in the journal's files");
    assert!(!stranger.path().join("LOCK").exists());
    assert!(salvage(&stranger.path().join("nowhere")).is_err());
    assert!(!stranger.path().join("nowhere").exists());

    let other = LogId::from_bytes([7; 16]);
    let (dir, log) = damaged(|log| {
        let text = fs::read_to_string(log.0.join("FORMAT")).unwrap();
        fs::write(log.0.join("FORMAT"), text.replace(&ID.to_string(), &other.to_string())).unwrap();
    });
    refused(dir.path(), &format!("names the log {other}, and the journal is that of log {ID}"));
    // Two logs in one journal, and nobody to say which.
    let elsewhere = tempfile::tempdir().unwrap();
    drop(SledLog::open(elsewhere.path(), Options::new(other)).unwrap());
    fs::remove_file(dir.path().join("FORMAT")).unwrap();
    fs::copy(elsewhere.path().join("journal/00000000000000000001.seg"), &log.segments()[0]).unwrap();
    refused(dir.path(), "2 logs are named in the journal's files");

    let (dir, _) = damaged(|log| {
        fs::remove_dir_all(log.without_sled().0.join("journal")).unwrap();
    });
    assert!(matches!(salvage(dir.path()), Err(SalvageError::NothingLeft)));
    let (dir, _) = damaged(|log| flip(&log.without_sled().segments()[0], 80));
    assert!(matches!(salvage(dir.path()), Err(SalvageError::NothingLeft)));

    let (dir, _) = damaged(|_| {});
    let _open = open(dir.path()).unwrap();
    let error = salvage(dir.path()).unwrap_err();
    assert!(matches!(error, SalvageError::Directory(DirectoryError::InUse { .. })), "{error}");
}

/// Killed before the new journal was whole, the log is as damaged as before; killed after, it is the salvaged one.
#[test]
fn a_kill_leaves_the_damaged_log_or_the_salvaged_one() {
    let (dir, log) = damaged(|log| flip(&log.without_sled().segments()[3], 80));
    let kept = log.first_of(3) - 1;
    let writing = dir.path().join("journal.writing");
    fs::create_dir(&writing).unwrap();
    fs::copy(&log.segments()[0], writing.join("00000000000000000001.seg")).unwrap();
    assert!(open(dir.path()).map(drop).unwrap_err().to_string().contains("is lost in both copies"));
    assert!(!writing.exists());
    let finished = tempfile::tempdir().unwrap();
    copy_dir(dir.path(), finished.path());
    salvage(finished.path()).unwrap();

    // The new journal has its name; whoever opens the log puts it in its place.
    copy_dir(&finished.path().join("journal"), &dir.path().join("journal.new"));
    let (opened, _) = open(dir.path()).unwrap();
    assert_history(read_all(&opened).into_iter(), kept);
    let aside = JournalReader::open_read_only(&dir.path().join("journal.damaged-1")).unwrap();
    assert_eq!(aside.events(1).map_while(Result::ok).count() as u64, kept);
    assert!(!dir.path().join("journal.new").exists());
}

/// What a checkpoint may cover is gone, so the log goes on as another. The Merkle tree notices, and stays what it was up
/// to there.
#[test]
fn a_salvaged_log_goes_on_under_another_identity() {
    let (dir, log) = damaged(|_| {});
    let (opened, _) = open(dir.path()).unwrap();
    let (mut tree, _) = Tree::open(dir.path(), &opened).unwrap();
    tree.catch_up(&opened, |_, _| ()).unwrap();
    tree.sync().unwrap();
    let kept = log.first_of(3) - 1;
    let root = source::root(&tree.files(), kept).unwrap();
    opened.close().unwrap();
    flip(&log.without_sled().segments()[3], 80);

    assert_eq!(salvage(dir.path()).unwrap().kept, kept);
    let id = LogId::from_bytes([8; 16]);
    continue_as(dir.path(), id, kept, "it goes on".into()).unwrap();
    let (opened, _) = open(dir.path()).unwrap();
    assert_eq!((opened.id(), opened.head()), (id, kept + 1));
    let (mut tree, findings) = Tree::open(dir.path(), &opened).unwrap();
    // The leaf of the first lost event is not that of the new one.
    let reason = format!("event {} of the log is not the one it was built from", kept + 1);
    let longer = Finding::Longer { size: whole().1, head: kept + 1 };
    assert_eq!(findings, [longer, Finding::Discarded { reason }]);
    tree.catch_up(&opened, |_, _| ()).unwrap();
    assert_eq!(source::root(&tree.files(), kept).unwrap(), root);
}
