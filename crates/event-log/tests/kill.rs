//! SIGKILL at any moment, again and again: every acknowledged event stays, in order, without gap or half run.

#![allow(clippy::unwrap_used)] // Tests say what they expect by what they unwrap.

mod support;

use std::thread;
use std::time::Duration;

use support::{Dice, Writer, assert_history, from_environment, open, read_all};
use tagtrail_event_log::Log;

/// Not a test by itself: the process that is killed.
#[test]
fn writer() {
    support::write_for_ever_if_asked();
}

/// `TAGTRAIL_KILLS=1000` for a longer run.
#[test]
fn what_was_acknowledged_survives_a_kill() {
    let mut dir = tempfile::tempdir().unwrap();
    let mut dice = Dice(20);
    let (mut acknowledged, mut rebuilt) = (0, 0);
    let kills = from_environment("TAGTRAIL_KILLS", 60);
    for kill in 1..=kills {
        let writer = Writer::start(dir.path(), "writer");
        // One in four in the middle of starting and opening, the others in the middle of writing.
        if dice.below(4) > 0 {
            writer.wait_until_writing();
        }
        thread::sleep(Duration::from_millis(dice.below(40)));
        let heard = writer.kill();
        acknowledged = acknowledged.max(heard);

        // Two kills in a row now and then, without a clean close between them.
        if dice.below(3) == 0 {
            continue;
        }
        let (log, report) = open(dir.path()).unwrap();
        let head = log.head();
        assert!(
            head >= acknowledged,
            "kill {kill}: {acknowledged} was acknowledged, and the log ends with {head}"
        );
        // Sled itself does not survive every kill: about one in a thousand leaves it unreadable. The log does.
        rebuilt += u64::from(report.rebuilt_sled());
        assert_history(read_all(&log).into_iter(), head);
        acknowledged = head;
        if head > 5000 {
            // Opening a long history takes longer than the writers live.
            dir = tempfile::tempdir().unwrap();
            acknowledged = 0;
        }
    }
    assert!(rebuilt <= 1 + kills / 20, "sled had to be rebuilt after {rebuilt} of {kills} kills");
}
