//! The clock jumps. Sequences are the only order there is: times inform, and never go back in the log.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tagtrail_tests::server::Options;

use crate::say;
use crate::world::{Manner, World};

/// Debian's `faketime`: a library between the program and its clock. It rereads the file at every look at the clock.
fn library() -> Option<PathBuf> {
    let places = ["x86_64-linux-gnu", "aarch64-linux-gnu"];
    let libraries = places.map(|place| Path::new("/usr/lib").join(place).join("faketime/libfaketime.so.1"));
    let found = libraries.into_iter().find(|path| path.exists());
    if found.is_none() {
        say("f08 is skipped: there is no libfaketime; `apt-get install faketime` brings it");
    }
    found
}

/// Forth and back by an hour and by ten years, while it serves and across a restart.
#[test]
fn f08_the_clock_jumps() {
    let Some(library) = library() else { return };
    let files = tempfile::tempdir().expect("a directory");
    let clock = files.path().join("clock");
    let set = |offset: &str| fs::write(&clock, offset).expect("a file");
    set("+0");
    let env = [
        ("LD_PRELOAD", library.display().to_string()),
        ("FAKETIME_TIMESTAMP_FILE", clock.display().to_string()),
        ("FAKETIME_NO_CACHE", "1".into()),
        // As a clock that is set: what counts time goes on evenly.
        ("DONT_FAKE_MONOTONIC", "1".into()),
    ];
    let env = env.map(|(name, value)| (name.to_owned(), value)).to_vec();
    let mut world = World::start(Options { env, ..Options::default() });
    for offset in ["+1h", "-1h", "+3650d", "+0"] {
        world.storm(Manner::Insist, |world| {
            std::thread::sleep(Duration::from_millis(200));
            set(offset);
            std::thread::sleep(Duration::from_millis(400));
            world.server.kill().expect("it can be killed");
            world.server.restart().expect("it starts at any time");
            std::thread::sleep(Duration::from_millis(200));
        });
        world.check(&format!("the clock jumped to {offset}"));
    }
    let times = world.times();
    assert!(times.is_sorted(), "time goes back in the log");
    let (first, last) = (times[0], times[times.len() - 1]);
    assert!(last - first > 9 * 365 * 24 * 3600, "the clock did not jump: this has shown nothing");
}
