//! What does not fit the log is thrown away and rebuilt, whatever has happened to it.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tagtrail_domain::tag::SourceKind;
use tagtrail_event_log::{Log, LogId, MemoryLog};
use tagtrail_projection::{Opened, View};

use crate::wishes::{Wish, key, set_tag, source, tag};
use crate::world::{Live, files, rebuilt};

/// Two images that a tag can move between, and some moves.
fn moved(moves: usize) -> Live {
    let mut live = Live::new();
    live.round(&[Wish::import(0, 0, 0), Wish::import(0, 1, 1)]);
    live.round(&(0..moves).map(a_move).collect::<Vec<_>>());
    live
}

/// The tag moves to the other of the two images.
fn a_move(number: usize) -> Wish {
    let from = tag(if number.is_multiple_of(2) { 0 } else { 1 });
    let from = source(SourceKind::ImageStreamTag, format!("{}:{from}", key(0).name));
    Wish::set_tag(0, set_tag(3, Some(from)))
}

/// Opens the read model of a log that is not the one it was built from. It is rebuilt, and says what the log means.
fn check_discarded(mut live: Live, log: &MemoryLog, expected: &str) {
    let opened = live.reopen_on(log);
    let Opened::Discarded(why) = &opened else { panic!("{opened:?}, not because {expected}") };
    assert!(why.contains(expected), "because {why}, not because {expected}");
    live.catch_up();
    assert_eq!(live.compare(&rebuilt(log, log.head()).view), Vec::<String>::new());
}

fn log_like(live: &Live, id: u8, events: usize) -> MemoryLog {
    let log = MemoryLog::new(LogId::from_bytes([id; 16]));
    let mut run = Vec::new();
    for event in live.events().into_iter().take(events) {
        run.push(event.payload);
        if event.last_of_run {
            log.append(log.head(), &[std::mem::take(&mut run)]).expect("it is in memory");
        }
    }
    log
}

#[test]
fn another_log() {
    let live = moved(10);
    let other = log_like(&live, 8, usize::MAX);
    check_discarded(live, &other, "it belongs to the log 0707");
}

#[test]
fn a_log_that_is_behind() {
    let live = moved(10);
    let behind = log_like(&live, 7, 14);
    assert!(behind.head() > 0 && behind.head() < live.head());
    check_discarded(live, &behind, "ahead of the log");
}

/// The same id and at least as long, but another history: a log that was restored from a backup and went on.
#[test]
fn a_log_that_took_another_way() {
    let live = moved(10);
    let mut other = moved(2);
    other.round(&[Wish::import(1, 0, 2), Wish::import(1, 1, 3)]);
    other.round(&(3..20).map(a_move).collect::<Vec<_>>());
    assert!(other.head() > live.head());
    let log = other.log.clone();
    check_discarded(live, &log, "is not the one it was built from");
}

#[test]
fn another_version() {
    let mut live = moved(10);
    live.close();
    let db = open_sled(&live);
    let meta = db.get([0]).expect("the disk is well").expect("what the rows are");
    let mut newer = meta.to_vec();
    newer[0] += 1;
    db.insert([0], newer).expect("the disk is well");
    drop(db);
    let log = live.log.clone();
    check_discarded(live, &log, "it has version");
}

#[test]
fn something_else_in_its_place() {
    for place in ["nothing", "text", "a directory"] {
        let mut live = moved(3);
        live.close();
        fs::remove_dir_all(live.path()).expect("it can be deleted");
        fs::create_dir(live.path()).expect("a directory");
        match place {
            "text" => fs::write(live.path().join("db"), "not a database").expect("a file"),
            "a directory" => fs::create_dir(live.path().join("db")).expect("a directory"),
            _ => {}
        }
        let log = live.log.clone();
        check_discarded(live, &log, "");
    }
}

/// Whoever has it open keeps it: it is not deleted under their hands.
#[test]
fn it_is_opened_once() {
    let live = moved(3);
    let Err(error) = View::open(&live.path(), &live.log) else { panic!("it was opened twice") };
    assert!(error.to_string().contains("somebody else has it open"), "{error}");
    live.check();
    assert!(!files(&live.path()).is_empty());
}

/// A byte that is not what it was, or an end that is missing: either it does not matter, or it is noticed, at the start
/// or when the row is read, and the start after that rebuilds. Never is anything made up.
#[test]
fn damaged_files() {
    let whole = {
        let mut live = moved(60);
        live.close();
        live
    };
    let names = files(&whole.path());
    let (mut kept, mut discarded, mut noticed) = (0, 0, 0);
    for name in &names {
        let bytes = fs::read(name).expect("a file");
        let written = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        for damage in 0..16 {
            let damaged = if damage % 4 == 3 {
                bytes[..written * damage / 16].to_vec()
            } else {
                let mut bytes = bytes.clone();
                if written > 0 {
                    bytes[(written * damage / 16 + damage * 7) % written] ^= 1 << (damage % 8);
                }
                bytes
            };
            let what = format!("damage {damage} of {}", name.display());
            let mut live = moved(60);
            live.close();
            let file = name.strip_prefix(whole.path()).expect("it lies there");
            // Names of sled's snapshots tell what they cover, and each run makes the same.
            fs::write(live.path().join(file), damaged).expect("a file");
            match live.reopen() {
                Opened::Kept(_) => kept += 1,
                Opened::Discarded(_) => discarded += 1,
                Opened::New => panic!("{what}: it is there"),
            }
            let sound = |live: &Live| {
                live.catch_up();
                live.check();
                assert_eq!(
                    live.compare(&rebuilt(&live.log, live.head()).view),
                    Vec::<String>::new(),
                    "{what}"
                );
            };
            if catch_unwind(AssertUnwindSafe(|| sound(&live))).is_err() {
                noticed += 1;
                assert!(matches!(live.reopen(), Opened::Discarded(_)), "{what}: noticed, and forgotten");
                sound(&live);
            }
        }
    }
    assert!(discarded > 0, "{kept} kept, {discarded} discarded, {noticed} noticed later");
}

fn open_sled(live: &Live) -> sled::Db {
    for _ in 0..100 {
        match sled::open(live.path()) {
            Ok(db) => return db,
            // Its lock is let go some time after it was closed.
            Err(_) => std::thread::sleep(std::time::Duration::from_millis(20)),
        }
    }
    panic!("sled does not open");
}

/// A move changes as many rows after ten thousand others as after ten.
#[test]
fn a_move_changes_few_rows_however_long_the_history_is() {
    let rows_of_a_move = |moves: usize| {
        let mut live = moved(0);
        for batch in (0..moves).collect::<Vec<_>>().chunks(500) {
            live.round(&batch.iter().copied().map(a_move).collect::<Vec<_>>());
        }
        let before = rebuilt(&live.log, live.head());
        live.round(&[a_move(moves)]);
        before.view.compare(&live.view, usize::MAX).1.len()
    };
    let few = rows_of_a_move(10);
    assert!((1..=12).contains(&few), "{few} rows");
    assert_eq!(rows_of_a_move(10_000), few);
}
