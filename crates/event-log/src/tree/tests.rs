use std::fs;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::{LogId, MemoryLog};

fn payload(sequence: u64) -> Bytes {
    Bytes::from(format!("event {sequence}"))
}

/// A log of so many events, each a run.
fn log_of(events: u64) -> MemoryLog {
    let log = MemoryLog::new(LogId::from_bytes([4; 16]));
    extend(&log, events);
    log
}

fn extend(log: &MemoryLog, events: u64) {
    let runs: Vec<_> = (log.head() + 1..=events).map(|sequence| vec![payload(sequence)]).collect();
    log.append(log.head(), &runs).unwrap();
}

/// The tree as the definition has it, without files.
fn tree_of(events: u64) -> Frontier {
    let mut tree = Frontier::new();
    (1..=events).for_each(|sequence| tree.push(hash::leaf(&payload(sequence))));
    tree
}

/// Opens the tree, gives it what it lacks, and tells what opening found and what the root is.
fn open_and_catch_up(dir: &Path, log: &MemoryLog) -> (String, Hash) {
    let (mut tree, findings) = Tree::open(dir, log).unwrap();
    assert!(tree.size() <= log.head());
    tree.catch_up(log, |_, _| ()).unwrap();
    assert_eq!(tree.size(), log.head());
    assert_eq!(source::root(&tree.files(), tree.size()).unwrap(), tree.root());
    for level in 0..LEVELS {
        let length = fs::metadata(level_path(&dir.join("tree"), level)).map_or(0, |file| file.len());
        assert_eq!(length, byte_of(hashes_at(level, log.head())), "level {level}");
    }
    tree.sync().unwrap();
    let told: Vec<String> = findings.iter().map(Finding::to_string).collect();
    (told.join("; ").replace(&dir.join("tree").display().to_string(), "TREE"), tree.root())
}

/// The same, with every hash of it checked.
fn open_and_check(dir: &Path, log: &MemoryLog) -> String {
    let told = open_and_catch_up(dir, log).0;
    check(&TreeFiles::open_read_only(dir).unwrap(), log);
    told
}

/// Checks every hash of a tree against the events and against each other.
fn check(files: &TreeFiles, log: &MemoryLog) {
    files.verify_levels(|done, of| assert!(done <= of)).unwrap();
    let mut comparison = Comparison::new(files);
    let events = log.read(1, usize::MAX, usize::MAX).unwrap();
    for stored in &events[..comparison.size() as usize] {
        comparison.push(stored).unwrap();
    }
    let tree = comparison.finish().unwrap();
    assert_eq!(source::frontier(files, tree.size()).unwrap(), tree);
}

/// A tree of so many leaves in a data directory of its own, synced.
fn tree_in_files(events: u64) -> (TempDir, MemoryLog) {
    let (dir, log) = (tempfile::tempdir().unwrap(), log_of(events));
    assert_eq!(open_and_check(dir.path(), &log), "");
    (dir, log)
}

#[test]
fn a_sequence_is_one_more_than_its_leaf() {
    assert_eq!((leaf_index(0), leaf_index(1), sequence_of(0)), (None, Some(0), 1));
}

#[test]
fn the_root_is_the_root_at_every_size() {
    let (dir, log) = (tempfile::tempdir().unwrap(), log_of(0));
    let (mut tree, findings) = Tree::open(dir.path(), &log).unwrap();
    assert_eq!((findings, tree.size(), tree.root()), (vec![], 0, hash::empty_root()));
    let files = tree.files();
    let mut expected = Frontier::new();
    for sequence in 1..=66_000_u64 {
        let event = Stored { sequence, last_of_run: true, payload: payload(sequence) };
        expected.push(hash::leaf(&event.payload));
        tree.append(&[event]).unwrap();
        if sequence < 600 || sequence % 2560 <= 1 || (65_500..65_600).contains(&sequence) {
            assert_eq!(tree.root(), expected.root(), "{sequence}");
            assert_eq!(source::root(&files, sequence).unwrap(), expected.root(), "{sequence}");
        }
    }
    // However it is cut into appends, the files are the same.
    let (at_once, log) = tree_in_files(66_000);
    check(&files, &log);
    for level in ["0", "1", "2"] {
        let bytes = |dir: &TempDir| fs::read(dir.path().join("tree").join(level)).unwrap();
        assert_eq!(bytes(&dir), bytes(&at_once), "level {level}");
    }
}

#[test]
fn it_goes_on_where_it_was() {
    let (dir, log) = tree_in_files(0);
    let mut expected = Frontier::new();
    for size in [1, 2, 255, 256, 257, 511, 512, 65_535, 65_536, 65_537, 65_792, 65_793] {
        extend(&log, size);
        (expected.size() + 1..=size).for_each(|sequence| expected.push(hash::leaf(&payload(sequence))));
        let same = (String::new(), expected.root());
        assert_eq!(open_and_catch_up(dir.path(), &log), same, "up to {size}");
        assert_eq!(open_and_catch_up(dir.path(), &log), same, "at {size}");
    }
}

#[test]
fn only_the_next_event_is_taken() {
    let (dir, log) = tree_in_files(3);
    let (mut tree, _) = Tree::open(dir.path(), &log).unwrap();
    let events = log_of(9).read(1, 9, 1000).unwrap();
    let error = tree.append(&events[4..]).unwrap_err().to_string();
    assert_eq!(error, "the Merkle tree was given event 5 where 4 was due");
    assert!(tree.append(&[events[3].clone(), events[3].clone()]).is_err());
    assert_eq!(tree.root(), tree_of(3).root(), "nothing was added");
    tree.append(&events[3..]).unwrap();
    assert_eq!(tree.root(), tree_of(9).root());
}

/// A synced tree, to be damaged as copies.
struct Whole {
    dir: TempDir,
    log: MemoryLog,
}

impl Whole {
    fn of(events: u64) -> Whole {
        let (dir, log) = tree_in_files(events);
        Whole { dir, log }
    }

    fn damaged(&self, damage: impl FnOnce(&Path)) -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        fs::create_dir(&tree).unwrap();
        for entry in fs::read_dir(self.dir.path().join("tree")).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, tree.join(path.file_name().unwrap())).unwrap();
        }
        damage(&tree);
        dir
    }

    /// Opens a damaged copy and checks what that tells, and that it is then the whole tree again, byte for byte.
    #[track_caller]
    fn after(&self, damage: impl FnOnce(&Path), expected: &str) {
        let dir = self.damaged(damage);
        let (told, _) = open_and_catch_up(dir.path(), &self.log);
        assert!(told.starts_with(expected), "`{expected}` is not what was told: {told}");
        for entry in fs::read_dir(self.dir.path().join("tree")).unwrap() {
            let path = entry.unwrap().path();
            let mended = fs::read(dir.path().join("tree").join(path.file_name().unwrap())).unwrap();
            assert!(fs::read(&path).unwrap() == mended, "{} is as it was", path.display());
        }
        assert_eq!(open_and_catch_up(dir.path(), &self.log).0, "", "what was mended stays so");
    }
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn truncate(path: &Path, length: u64) {
    OpenOptions::new().write(true).open(path).unwrap().set_len(length).unwrap();
}

fn extend_by(path: &Path, bytes: usize) {
    let mut there = fs::read(path).unwrap_or_default();
    there.resize(there.len() + bytes, 0xAA);
    fs::write(path, there).unwrap();
}

#[test]
fn damage_is_mended_at_the_next_start() {
    let anew = "the Merkle tree could not be used (";
    let mended = "the Merkle tree was damaged (";
    let remove = |name: &'static str| move |tree: &Path| fs::remove_file(tree.join(name)).unwrap();
    for events in [255, 256, 257, 600, 65_793] {
        let whole = Whole::of(events);
        whole.after(remove("0"), anew);
        whole.after(remove("synced"), "the Merkle tree could not be used (nothing says that it was synced)");
        whole.after(|tree| truncate(&tree.join("0"), byte_of(events) - 1), anew);
        // The newest leaf is in the root, or under the newest hash of level 1.
        whole.after(|tree| flip(&tree.join("0"), byte_of(events) as usize - 1), anew);
        // Half a hash was never finished, and whole ones were never synced.
        whole.after(|tree| extend_by(&tree.join("0"), 31), "");
        let unsynced = format!("the Merkle tree was synced up to event {events} of {}", events + 2);
        whole.after(|tree| extend_by(&tree.join("0"), 64), &unsynced);
        whole.after(|tree| extend_by(&tree.join("7"), 64), "");
    }
    for events in [256, 257, 600, 65_536] {
        let whole = Whole::of(events);
        let newest = byte_of(hashes_at(1, events));
        whole.after(remove("1"), mended);
        whole.after(|tree| truncate(&tree.join("1"), newest - 1), mended);
        whole.after(|tree| flip(&tree.join("1"), newest as usize - 1), mended);
        whole.after(|tree| extend_by(&tree.join("1"), 33), "");
        if events == 65_536 {
            whole.after(remove("2"), mended);
            whole.after(|tree| flip(&tree.join("2"), 0), mended);
        }
    }
}

/// Each byte of a small tree, cut off or changed. What opening cannot see in the middle, the audit names.
#[test]
fn no_byte_goes_unnoticed() {
    let whole = Whole::of(600);
    for cut in 0..64 {
        whole.after(|tree| truncate(&tree.join("1"), cut), "the Merkle tree was damaged (");
        whole.after(|tree| truncate(&tree.join("0"), cut * 300), "the Merkle tree could not be used (");
    }
    for at in (0..byte_of(600) as usize).step_by(397) {
        let dir = whole.damaged(|tree| flip(&tree.join("0"), at));
        let files = TreeFiles::open_read_only(dir.path()).unwrap();
        let mut comparison = Comparison::new(&files);
        let events = whole.log.read(1, 600, usize::MAX).unwrap();
        let compared = events.iter().try_for_each(|stored| comparison.push(stored));
        let error = compared.and_then(|()| comparison.finish().map(drop)).unwrap_err().to_string();
        let (index, event) = (at / 32, at / 32 + 1);
        assert_eq!(
            error,
            format!(
                "{} is damaged: hash {index} of level 0, over the events {event} to {event}, is not what follows \
                 from the events",
                dir.path().join("tree/0").display()
            )
        );
        // Within full tiles, the tree alone shows it too; the partial one is in the root.
        assert_eq!(files.verify_levels(|_, _| ()).is_err(), at < 512 * 32);
        if at >= 256 * 32 {
            let anew = "the Merkle tree could not be used (";
            whole.after(|tree| flip(&tree.join("0"), at), anew);
        }
    }
    let dir = whole.damaged(|tree| flip(&tree.join("0"), 40));
    let tree = Tree::rebuild(dir.path(), &whole.log, |_, _| ()).unwrap();
    check(&tree.files(), &whole.log);

    let dir = whole.damaged(|tree| flip(&tree.join("1"), 40));
    let files = TreeFiles::open_read_only(dir.path()).unwrap();
    let error = files.verify_levels(|_, _| ()).unwrap_err().to_string();
    assert!(error.ends_with(
        "hash 1 of level 1, over the events 257 to 512, is not what follows from the hashes below it"
    ));
}

#[test]
fn a_log_that_is_another_or_older_is_noticed() {
    let (dir, _) = tree_in_files(600);
    let older = log_of(300);
    let told = open_and_check(dir.path(), &older);
    assert_eq!(
        told,
        "the Merkle tree went up to event 600, and the log ends with 300: cut; has an older log been restored?"
    );
    // It goes on otherwise.
    older.append(300, &[vec![Bytes::from_static(b"another event 301")]]).unwrap();
    let (dir, _) = tree_in_files(301);
    let (tree, findings) = Tree::open(dir.path(), &older).unwrap();
    let reason = "event 301 of the log is not the one it was built from".to_owned();
    assert_eq!((tree.size(), findings), (0, vec![Finding::Discarded { reason }]));
}

#[test]
fn what_was_not_synced_is_taken_from_the_log_again() {
    let (dir, log) = (tempfile::tempdir().unwrap(), log_of(500));
    let (mut tree, _) = Tree::open(dir.path(), &log).unwrap();
    tree.catch_up(&log, |_, _| ()).unwrap();
    drop(tree); // As a kill would.
    assert_eq!(
        open_and_check(dir.path(), &log),
        "the Merkle tree was synced up to event 0 of 500: the rest is taken from the log"
    );
    // In a long run it is synced now and then.
    extend(&log, 500 + SYNC_EVERY + 1);
    let (mut tree, _) = Tree::open(dir.path(), &log).unwrap();
    tree.catch_up(&log, |_, _| ()).unwrap();
    drop(tree);
    assert!(Synced::read(&dir.path().join("tree")).unwrap().size >= SYNC_EVERY);
    open_and_check(dir.path(), &log);
}

/// Readers see a tree that is whole at every size they are told of, in this process and in others.
#[test]
fn reading_beside_the_writer() {
    const EVENTS: u64 = 10_000;
    let (dir, log) = (tempfile::tempdir().unwrap(), log_of(EVENTS));
    let (mut tree, _) = Tree::open(dir.path(), &log).unwrap();
    let files = tree.files();
    let writer = std::thread::spawn({
        let log = log.clone();
        move || {
            for (from, step) in (1..=EVENTS).step_by(7).zip([1, 7].into_iter().cycle()) {
                for part in log.read(from, 7, usize::MAX).unwrap().chunks(step) {
                    tree.append(part).unwrap();
                }
            }
        }
    });
    let mut expected = Frontier::new();
    let mut rounds = 0;
    while expected.size() < EVENTS {
        let other_process = TreeFiles::open_read_only(dir.path()).unwrap();
        let size = files.size();
        while expected.size() < size {
            expected.push(hash::leaf(&payload(sequence_of(expected.size()))));
        }
        assert_eq!(source::root(&files, size).unwrap(), expected.root(), "{size}");
        // What such a reader finds is whole, too.
        source::root(&other_process, other_process.size()).unwrap();
        let error = files.tile_hash(0, EVENTS).unwrap_err();
        assert!(matches!(error, TreeError::Beyond { level: 0, index: EVENTS, .. }), "{error}");
        rounds += 1;
    }
    writer.join().unwrap();
    assert!(rounds > 1, "the reader was beside the writer, not after it");
    check(&files, &log);
}

/// What is cut off under a reader is an error that names the file.
#[test]
fn a_short_file_is_an_error() {
    let (dir, log) = tree_in_files(300);
    let (tree, _) = Tree::open(dir.path(), &log).unwrap();
    truncate(&dir.path().join("tree/0"), 100);
    let error = tree.files().tile_hashes(0, 2, 3).unwrap_err().to_string();
    let path = dir.path().join("tree/0");
    assert_eq!(error, format!("{} is cut off: hash 4 should end at byte 160", path.display()));
    fs::remove_file(&path).unwrap();
    assert!(tree.files().tile_hash(0, 0).unwrap_err().to_string().contains("tree/0: No such file"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever a crash did to the ends of the files, the tree is right after it was given what it lacks.
    #[test]
    fn a_crash_leaves_nothing_wrong(
        synced in 0..700_u64,
        more in 0..700_u64,
        kept in vec(0.0..1.0_f64, 3),
        zeros in vec(0..100_usize, 3),
    ) {
        let (dir, log) = tree_in_files(synced);
        let before: Vec<u64> = ["0", "1", "2"]
            .map(|name| fs::metadata(dir.path().join("tree").join(name)).map_or(0, |file| file.len()))
            .to_vec();
        extend(&log, synced + more);
        let (mut tree, _) = Tree::open(dir.path(), &log).unwrap();
        tree.catch_up(&log, |_, _| ()).unwrap();
        drop(tree);
        // Of what was not synced, some part is there, and then zeros.
        for (level, name) in ["0", "1", "2"].into_iter().enumerate() {
            let path = dir.path().join("tree").join(name);
            let Ok(mut bytes) = fs::read(&path) else { continue };
            let unsynced = bytes.len() - before[level] as usize;
            bytes.truncate(before[level] as usize + (unsynced as f64 * kept[level]) as usize);
            bytes.resize(bytes.len() + zeros[level], 0);
            fs::write(&path, bytes).unwrap();
        }
        let told = open_and_check(dir.path(), &log);
        prop_assert!(!told.contains("damaged") && !told.contains("could not"), "{}", told);
    }
}
