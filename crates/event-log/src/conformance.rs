//! What every implementation of [`Log`] must do. Whoever brings another engine calls [`check`] with it.
//!
//! Each rule is told in the text of its assertion, so that a failure reads as the rule that was broken.

use std::sync::Arc;
use std::thread;

use bytes::Bytes;

use crate::{AppendError, Log, MAX_APPEND_BYTES, MAX_PAYLOAD_BYTES, Run, Stored};

/// Holds an implementation against all rules.
///
/// `fresh` makes an empty log somewhere and returns how to open it. It is opened again and again, each time after
/// the last handle was dropped, and must then hold what it held.
///
/// # Panics
///
/// Panics with the rule that was broken.
pub fn check<L: Log + 'static, O: FnMut() -> L>(fresh: impl Fn() -> O) {
    a_new_log_is_empty(fresh()());
    sequences_are_gapless_from_one(fresh()());
    runs_keep_their_ends(fresh()());
    only_the_expected_head_is_appended_to(fresh()());
    what_is_too_large_leaves_no_trace(fresh()());
    a_read_stays_within_its_limits(fresh()());
    followers_hear_of_what_can_be_read(fresh()());
    competing_writers_lose_nothing(fresh()());
    a_log_opened_again_holds_what_it_held(fresh());
}

fn run(payloads: &[&str]) -> Run {
    payloads.iter().map(|payload| Bytes::copy_from_slice(payload.as_bytes())).collect()
}

fn all(log: &impl Log) -> Vec<Stored> {
    log.read(1, usize::MAX, usize::MAX).expect("a whole log can be read")
}

/// The log in one line: `1=a 2=b| 3=c|`, where `|` ends a run.
fn told(events: &[Stored]) -> String {
    let tell = |event: &Stored| {
        let end = if event.last_of_run { "|" } else { "" };
        format!("{}={}{end}", event.sequence, String::from_utf8_lossy(&event.payload))
    };
    events.iter().map(tell).collect::<Vec<_>>().join(" ")
}

fn a_new_log_is_empty(log: impl Log) {
    assert_eq!(log.head(), 0, "the head of an empty log is 0");
    assert_eq!(*log.follow().borrow(), 0, "a follower of an empty log sees 0");
    assert_eq!(all(&log), [], "an empty log has no events");
    assert_eq!(log.append(0, &[]).expect("appending nothing succeeds"), 0, "nothing appended moves nothing");
    assert_eq!(
        log.append(0, &[Run::new()]).expect("an empty run is no news"),
        0,
        "an empty run moves nothing"
    );
}

fn sequences_are_gapless_from_one(log: impl Log) {
    assert_eq!(log.append(0, &[run(&["a"])]).expect("an append succeeds"), 1, "the first sequence is 1");
    assert_eq!(log.append(1, &[run(&["b", "c"]), run(&["d"])]).expect("an append succeeds"), 4);
    assert_eq!(log.head(), 4, "the head is the newest sequence");
    assert_eq!(told(&all(&log)), "1=a| 2=b 3=c| 4=d|", "sequences follow in the order given, without gap");
}

fn runs_keep_their_ends(log: impl Log) {
    let runs = [run(&["a", "b"]), Run::new(), run(&["c"]), run(&["d", "e", ""])];
    log.append(0, &runs).expect("an append succeeds");
    assert_eq!(told(&all(&log)), "1=a 2=b| 3=c| 4=d 5=e 6=|", "exactly the last event of a run ends it");
}

fn only_the_expected_head_is_appended_to(log: impl Log) {
    log.append(0, &[run(&["a", "b"])]).expect("an append succeeds");
    for expected in [0, 1, 3, u64::MAX] {
        match log.append(expected, &[run(&["x"])]) {
            Err(AppendError::Conflict { expected: e, actual: 2 }) if e == expected => {}
            other => {
                panic!("an append at {expected} to a log at 2 is a conflict that names both, not {other:?}")
            }
        }
    }
    assert_eq!(told(&all(&log)), "1=a 2=b|", "a conflict writes nothing");
    log.append(2, &[run(&["c"])]).expect("a conflict leaves the log usable");
}

fn what_is_too_large_leaves_no_trace(log: impl Log) {
    let limit = Bytes::from(vec![b'x'; MAX_PAYLOAD_BYTES]);
    let above = Bytes::from(vec![b'x'; MAX_PAYLOAD_BYTES + 1]);
    match log.append(0, &[run(&["a"]), vec![limit.clone(), above]]) {
        Err(AppendError::EventTooLarge { size }) if size == MAX_PAYLOAD_BYTES + 1 => {}
        other => panic!("an event above the limit is refused with its size, not answered {other:?}"),
    }
    let many = vec![limit.clone(); MAX_APPEND_BYTES / MAX_PAYLOAD_BYTES + 1];
    match log.append(0, &[many]) {
        Err(AppendError::AppendTooLarge { .. }) => {}
        other => panic!("an append above the limit is refused, not answered {other:?}"),
    }
    assert_eq!(
        (log.head(), all(&log).len()),
        (0, 0),
        "a refused append writes nothing, not even its good part"
    );
    log.append(0, &[vec![limit.clone()]]).expect("an event of exactly the limit is taken");
    assert_eq!(all(&log)[0].payload, limit, "a large event comes back as it was");
}

fn a_read_stays_within_its_limits(log: impl Log) {
    log.append(0, &[run(&["aaaa", "bb"]), run(&["cccc"]), run(&["dd"])]).expect("an append succeeds");
    let check = |from, max_events, max_bytes, expected: &str| {
        let events = log.read(from, max_events, max_bytes).expect("reading succeeds");
        assert_eq!(told(&events), expected, "read({from}, {max_events}, {max_bytes})");
    };
    check(1, 2, 100, "1=aaaa 2=bb|");
    check(0, 1, 100, "1=aaaa"); // From 0 is from the beginning.
    check(3, 100, 100, "3=cccc| 4=dd|");
    check(2, 100, 6, "2=bb| 3=cccc|"); // Exactly full.
    check(2, 100, 5, "2=bb|"); // The next would be one byte too much.
    check(1, 100, 1, "1=aaaa"); // At least one, however large.
    check(1, 0, 0, "1=aaaa");
    check(5, 100, 100, ""); // Never past the head.
    check(u64::MAX, 100, 100, "");
}

fn followers_hear_of_what_can_be_read(log: impl Log + 'static) {
    const EVENTS: u64 = 50;
    let log = Arc::new(log);
    let mut follower = log.follow();
    let writer = thread::spawn({
        let log = Arc::clone(&log);
        move || {
            for head in 0..EVENTS {
                log.append(head, &[run(&[&format!("event {}", head + 1)])]).expect("an append succeeds");
            }
        }
    });
    let mut seen = 0;
    while seen < EVENTS {
        let head = *follower.borrow_and_update();
        assert!(head >= seen, "the head never moves back: {head} after {seen}");
        if head > seen {
            assert!(log.head() >= head, "a follower is never ahead of the log");
            let newest = log.read(head, 1, usize::MAX).expect("reading succeeds");
            assert_eq!(newest[0].sequence, head, "what a follower hears of can be read");
            seen = head;
        }
        thread::yield_now();
    }
    writer.join().expect("the writer does not panic");
}

fn competing_writers_lose_nothing(log: impl Log + 'static) {
    const WRITERS: usize = 4;
    const EACH: usize = 10;
    let log = Arc::new(log);
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let log = Arc::clone(&log);
            thread::spawn(move || {
                for i in 0..EACH {
                    let text = format!("{writer}.{i}");
                    loop {
                        match log.append(log.head(), &[run(&[&text, &text])]) {
                            Ok(_) => break,
                            Err(AppendError::Conflict { .. }) => {} // Somebody was first.
                            Err(error) => panic!("competing writers only meet conflicts, not {error}"),
                        }
                    }
                }
            })
        })
        .collect();
    writers.into_iter().for_each(|writer| writer.join().expect("a writer does not panic"));
    let events = all(&*log);
    assert_eq!(events.len(), WRITERS * EACH * 2, "each append happened once");
    for (pair, first) in events.chunks(2).zip((1..).step_by(2)) {
        assert_eq!((pair[0].sequence, pair[1].sequence), (first, first + 1), "no gap, nothing twice");
        assert_eq!(pair[0].payload, pair[1].payload, "nothing comes between the events of a run");
    }
}

fn a_log_opened_again_holds_what_it_held<L: Log>(mut open: impl FnMut() -> L) {
    let log = open();
    let id = log.id();
    log.append(0, &[run(&["a", "b"])]).expect("an append succeeds");
    log.append(2, &[run(&["c"])]).expect("an append succeeds");
    drop(log);
    for round in 0..3u64 {
        let log = open();
        assert_eq!(log.id(), id, "a log keeps its identity");
        assert_eq!(log.head(), 3 + round, "a log keeps its head");
        assert_eq!(*log.follow().borrow(), 3 + round, "a follower begins at the head");
        assert!(told(&all(&log)).starts_with("1=a 2=b| 3=c|"), "a log keeps its events");
        log.append(3 + round, &[run(&["more"])]).expect("a log opened again takes events");
    }
}
