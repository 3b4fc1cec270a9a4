//! The server ends, in every way; and clients that end before it answers.

use std::time::{Duration, Instant};

use tagtrail_tests::chance::Chance;
use tagtrail_tests::server::Options;

use crate::world::{Manner, World};
use crate::{from_environment, say};

/// The longest time between the first write of a round and its kill. Most are shorter.
const STORM_MS: u64 = 60;

/// `TAGTRAIL_FAULT_KILLS=10000` for a longer run.
#[test]
fn f01_sigkill_at_any_moment() {
    let kills = from_environment("TAGTRAIL_FAULT_KILLS", 200);
    let mut world = World::start(Options::default());
    let mut chance = Chance(1);
    let (began, mut cut_off) = (Instant::now(), 0);
    for kill in 1..=kills {
        let wait = Duration::from_millis(chance.below(STORM_MS));
        world.storm(Manner::GiveUp, |world| {
            std::thread::sleep(wait);
            world.server.kill().expect("it can be killed");
        });
        cut_off += world.unanswered();
        // One in four once more while it starts: what it mends is not to be half mended.
        if chance.below(4) == 0 {
            let after = Duration::from_millis(chance.below(STORM_MS));
            world.server.kill_while_starting(after).expect("it can be killed");
        }
        world.server.restart().unwrap_or_else(|error| panic!("after kill {kill}: {error:#}"));
        world.settle(&format!("kill {kill}"));
        // The whole oracle takes as long as the log is long, so not every time.
        if kill % 50.max(kills / 20) == 0 || kill == kills {
            world.check(&format!("kill {kill}"));
        }
    }
    let (acknowledged, kills) = (world.acknowledged(), kills as usize);
    assert!(acknowledged > kills, "only {acknowledged} writes were acknowledged: this has shown nothing");
    assert!(cut_off > kills, "only {cut_off} writes were cut off: this has shown nothing");
    say(&format!(
        "{kills} kills in {:.0?}: {acknowledged} acknowledged writes, {cut_off} cut off, {} events, none lost",
        began.elapsed(),
        world.head()
    ));
}

#[test]
fn f02_sigterm_under_load() {
    let mut world = World::start(Options::default());
    for round in 1..=4 {
        world.storm(Manner::GiveUp, |world| {
            std::thread::sleep(Duration::from_millis(150));
            let status = world.server.terminate().expect("it ends when asked to");
            assert_eq!(status.code(), Some(0), "{}", world.server.log());
        });
        world.server.restart().expect("it starts again");
        // What was acknowledged is in every copy, so there is nothing to mend.
        assert_eq!(world.findings(), Vec::<String>::new());
        world.check(&format!("the end of round {round}"));
    }
    assert!(world.acknowledged() > 20, "only {} writes were acknowledged", world.acknowledged());
}

/// A request whose client has gone is done or not done, and once when it is sent again.
#[test]
fn f11_clients_that_hang_up_and_ask_again() {
    let mut world = World::start(Options::default());
    world.storm(Manner::HangUp, |_| std::thread::sleep(Duration::from_secs(3)));
    world.check("the hanging up");
    assert!(world.acknowledged() > 20, "only {} writes were acknowledged", world.acknowledged());
}
