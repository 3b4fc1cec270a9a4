//! What happens to the read model when things go wrong.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use tagtrail_domain::event::{Actor, Event, HistoryChange, LogContinued, MoveCause, Recorded, Run, TagMoved};
use tagtrail_domain::tag::{Entries, TagSpec};
use tagtrail_domain::{Digest, Fact, HistoryItem, StreamKey, TagName, Timestamp, World};
use tagtrail_event_log::{Log, LogId, MemoryLog, codec};

use crate::view::{Opened, View};
use crate::{keys, rows};

fn key() -> StreamKey {
    StreamKey::parse("test", "app").expect("valid")
}

fn tag(n: u64) -> TagName {
    TagName::parse(&format!("t{n}")).expect("valid")
}

fn created() -> Fact {
    Fact::StreamCreated { lookup_local: false, labels: Entries::new(), annotations: Entries::new() }
}

fn set(n: u64) -> Fact {
    Fact::TagSet { tag: tag(n), spec: TagSpec::default() }
}

/// A tag moves to an image whose digest is made of one hex digit.
fn moved(n: u64, digit: char) -> Fact {
    let digest = format!("sha256:{}", digit.to_string().repeat(64));
    let item = HistoryItem {
        created: Timestamp::new(1, 0),
        reference: format!("quay.io/a/b@{digest}"),
        image: Some(Digest::parse(&digest).expect("valid")),
        generation: 1,
        media_type: String::new(),
        platform: None,
        index: None,
    };
    Fact::TagMoved(Box::new(TagMoved {
        tag: tag(n),
        item,
        change: HistoryChange::Added,
        previous: None,
        replaces_sequence: 0,
        cause: MoveCause::Tag,
        source: String::new(),
        copied_from: 0,
    }))
}

/// Appends facts as one command.
fn append(log: &MemoryLog, facts: Vec<Fact>) {
    let head = log.head();
    let run = Run { first_sequence: head + 1, length: u32::try_from(facts.len()).expect("few") };
    let event = |(sequence, fact)| {
        codec::encode(&Recorded {
            sequence,
            revision: sequence,
            recorded_at: Timestamp::new(i64::try_from(sequence).expect("small"), 0),
            run,
            stream: key(),
            actor: Actor::default(),
            reason: String::new(),
            command: String::new(),
            request_id: String::new(),
            request_digest: Vec::new(),
            caused_by: 0,
            traceparent: String::new(),
            event: Event { stream_uid: "uid".into(), generation: 1, fact },
        })
    };
    let run = (head + 1..).zip(facts).map(event).collect();
    log.append(head, &[run]).expect("memory takes everything");
}

fn log_of(runs: Vec<Vec<Fact>>) -> MemoryLog {
    let log = MemoryLog::new(LogId::from_bytes([1; 16]));
    runs.into_iter().for_each(|run| append(&log, run));
    log
}

fn caught_up(directory: &Path, log: &MemoryLog) -> View {
    let (view, _) = View::open(directory, log).expect("opens");
    view.catch_up(log, log.head(), &mut |_| {}).expect("catches up");
    view
}

/// What the log tells of itself stands under a name where no stream lives; everything else is as before.
#[test]
fn the_log_tells_of_itself() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = log_of(vec![vec![created(), set(1)]]);
    for (revision, sequence) in [(1, 3), (2, 4)] {
        let continued = LogContinued {
            old_log_id: "00112233445566778899aabbccddeeff".into(),
            old_origin: "example.com/log".into(),
            old_checkpoint: String::new(),
            head: sequence - 1,
        };
        let fact = Fact::LogContinued(Box::new(continued));
        let event = codec::encode(&Recorded {
            sequence,
            revision,
            recorded_at: Timestamp::new(9, 0),
            run: Run { first_sequence: sequence, length: 1 },
            stream: StreamKey::of_log(),
            actor: Actor::default(),
            reason: String::new(),
            command: "serve".into(),
            request_id: String::new(),
            request_digest: Vec::new(),
            caused_by: 0,
            traceparent: String::new(),
            event: Event { stream_uid: String::new(), generation: 0, fact },
        });
        log.append(sequence - 1, &[vec![event]]).expect("memory takes everything");
    }
    let view = caught_up(&dir.path().join("view"), &log);
    let state = view.stream(&StreamKey::of_log());
    assert_eq!((state.revision, state.sequence, &state.life), (2, 4, &None));
    assert_eq!(view.events_of_before(&StreamKey::of_log(), u64::MAX, 9), [4, 3]);
    assert_eq!(view.list(None, None, 9).len(), 1, "no stream came of it");
    assert_eq!(view.stream(&key()).sequence, 2);
}

/// A run longer than what is read at once was once applied in pieces: a crash in between left half a command.
#[test]
fn a_run_is_applied_whole_however_long_it_is() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = log_of(vec![vec![created()], (1..=2_500).map(set).collect(), vec![set(1)]]);
    let (view, _) = View::open(&dir.path().join("view"), &log).expect("opens");
    let mut stops = Vec::new();
    view.catch_up(&log, 5, &mut |at| stops.push(at)).expect("catches up");
    assert_eq!(stops, [1, 2_501], "asked for the middle of a run, it goes to its end");
    view.catch_up(&log, log.head(), &mut |at| stops.push(at)).expect("catches up");
    assert_eq!(stops, [1, 2_501, 2_502]);
    assert_eq!(view.stream(&key()).life.as_ref().expect("lives").tags.len(), 2_500);
}

fn close(view: View) {
    view.flush().expect("it is written down");
}

/// A kill at any point of writing down: before the redo file has its name nothing was written, and from then on everything is.
#[test]
fn what_was_being_written_down_is_written_down() {
    let log = log_of(vec![vec![created(), set(1), moved(1, 'a')]]);
    let more = || append(&log, vec![moved(1, 'b'), set(2), moved(2, 'a')]);
    let head = log.head();
    more();
    let whole = tempfile::tempdir().expect("a directory");
    let whole = caught_up(&whole.path().join("view"), &log);
    let mut stops = 0;
    for stop in 0.. {
        let dir = tempfile::tempdir().expect("a directory");
        let place = dir.path().join("view");
        let (view, _) = View::open(&place, &log).expect("opens");
        view.catch_up(&log, head, &mut |_| {}).expect("catches up");
        view.flush().expect("it is written down");
        view.catch_up(&log, log.head(), &mut |_| {}).expect("catches up");
        let rows = view.stop_writing_after(stop);
        drop(view);
        let (view, opened) = View::open(&place, &log).expect("opens");
        assert_eq!(opened, Opened::Kept(log.head()), "stopped after {stop} of {rows} rows");
        assert_eq!(view.compare(&whole, 9).1, Vec::<String>::new(), "stopped after {stop} of {rows} rows");
        drop(view);
        assert_eq!(View::open(&place, &log).expect("opens").1, Opened::Kept(log.head()));
        stops += 1;
        if stop > rows {
            break;
        }
    }
    assert!(stops > 10, "{stops} stops");
}

/// Without the rest of what was being written the rows are somewhere between two commits: they are not to be used.
#[test]
fn a_damaged_redo_file_is_noticed() {
    for damage in [0, 9, 200] {
        let dir = tempfile::tempdir().expect("a directory");
        let place = dir.path().join("view");
        let log = log_of(vec![vec![created(), set(1), moved(1, 'a')]]);
        let view = caught_up(&place, &log);
        view.stop_writing_after(3);
        drop(view);
        let redo = place.join("redo");
        let mut bytes = std::fs::read(&redo).expect("it is there");
        bytes[damage] ^= 1;
        std::fs::write(&redo, bytes).expect("it can be written");
        let (_, opened) = View::open(&place, &log).expect("opens");
        assert!(matches!(&opened, Opened::Discarded(why) if why.contains("damaged")), "{opened:?}");
    }
}

#[test]
fn a_damaged_row_is_an_error_and_the_next_start_rebuilds() {
    let check = |row: &dyn Fn(&StreamKey) -> Vec<u8>, ask: &dyn Fn(&View)| {
        let dir = tempfile::tempdir().expect("a directory");
        let place = dir.path().join("view");
        let log = log_of(vec![vec![created(), set(1), moved(1, 'a')]]);
        close(caught_up(&place, &log));
        let (view, opened) = View::open(&place, &log).expect("opens");
        assert_eq!(opened, Opened::Kept(3));
        view.overwrite(&row(&key()), b"garbage");
        let panic = catch_unwind(AssertUnwindSafe(|| ask(&view))).expect_err("nothing is made up");
        let words = panic.downcast_ref::<String>().expect("words");
        assert!(words.contains("the read model is damaged"), "{words}");
        drop(view);
        let (view, opened) = View::open(&place, &log).expect("opens");
        assert!(matches!(&opened, Opened::Discarded(why) if why.contains("damaged")), "{opened:?}");
        view.catch_up(&log, log.head(), &mut |_| {}).expect("catches up");
        ask(&view);
        close(view);
        assert_eq!(View::open(&place, &log).expect("opens").1, Opened::Kept(3));
    };
    check(&|key| keys::stream(keys::STREAM, key), &|view| assert!(view.stream(&key()).life.is_some()));
    check(&|key| keys::tag(keys::TAG, key, &tag(1)), &|view| assert!(view.stream(&key()).life.is_some()));
    check(&|key| keys::stream(keys::STREAM, key), &|view| assert_eq!(view.list(None, None, 9).len(), 1));
    check(&|key| keys::history(key, &tag(1), 0), &|view| {
        assert_eq!(view.history(&key(), &tag(1), 1, 9).len(), 1);
    });
}

#[test]
fn one_built_beside_takes_the_place() {
    let dir = tempfile::tempdir().expect("a directory");
    let (place, beside) = (dir.path().join("view"), dir.path().join("view.new"));
    let log = log_of(vec![vec![created(), set(1)]]);
    let live = caught_up(&place, &log);
    live.overwrite(&keys::tag(keys::TAG, &key(), &tag(7)), &rows::encode(&0_u8));

    let rebuilt = caught_up(&beside, &log);
    assert_eq!(
        live.compare(&rebuilt, 9).1,
        ["row 2:test/app/t7/ differs from, or is missing in, the rebuilt one"]
    );
    live.replace(rebuilt).expect("replaces");
    assert!(!beside.exists() && !dir.path().join("view.old").exists());
    append(&log, vec![moved(1, 'a')]);
    live.catch_up(&log, log.head(), &mut |_| {}).expect("goes on");
    close(live);
    let (live, opened) = View::open(&place, &log).expect("opens");
    assert_eq!(opened, Opened::Kept(3));

    // The writer was not held: what it did meanwhile would be lost.
    let rebuilt = caught_up(&beside, &log);
    append(&log, vec![moved(1, 'b')]);
    live.catch_up(&log, log.head(), &mut |_| {}).expect("goes on");
    let error = live.replace(rebuilt).expect_err("behind").to_string();
    assert!(error.contains("moved on to 4 while it was built anew to 3"), "{error}");
    assert_eq!(live.history(&key(), &tag(1), 9, 9).len(), 2);
}

#[test]
fn an_image_is_found_by_the_start_of_its_digest() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = log_of(vec![vec![created(), moved(1, 'a'), moved(2, 'a'), moved(1, 'b')]]);
    let view = caught_up(&dir.path().join("view"), &log);
    let check = |prefix: &str, digits: &[&str]| {
        let found = view.stage().find_image(&key(), prefix);
        let found: Vec<_> = found.iter().map(|(digest, _)| &digest.hex()[..1]).collect();
        assert_eq!(found, digits, "{prefix}");
    };
    check("", &["a", "b"]);
    check("a", &["a"]);
    check("sha256:b", &["b"]);
    check("sha", &["a", "b"]);
    check("sha256:c", &[]);
    check("sha512:a", &[]);
    check("b\0t", &[]);
}
