//! How fast is a rebuild of the read model, against reading the same journal raw?
//!
//! Both start from the files of one data directory, turn by turn. Reading raw is the least a rebuild can cost: every
//! event's bytes, checked. The log's own answer stands between them: what the read model is given to work with.

#![allow(clippy::print_stdout, clippy::unwrap_used)] // A program that prints its measurement or falls over.

use std::path::Path;
use std::time::{Duration, Instant};

use tagtrail_benches::imports;
use tagtrail_event_log::journal::JournalReader;
use tagtrail_event_log::{Log, LogId, Options, SledLog};
use tagtrail_projection::View;

const EVENTS: [u64; 2] = [10_000, 100_000];
const TURNS: usize = 5;

fn time(what: impl FnOnce() -> u64) -> (u64, Duration) {
    let start = Instant::now();
    let events = what();
    (events, start.elapsed())
}

fn read_raw(journal: &Path) -> u64 {
    let mut events = 0;
    for event in JournalReader::open_read_only(journal).unwrap().events(1) {
        events = event.unwrap().sequence;
    }
    events
}

fn read_log(log: &dyn Log) -> u64 {
    let mut at = 0;
    while let Some(last) = log.read(at + 1, 1_000, 4 << 20).unwrap().last() {
        at = last.sequence;
    }
    at
}

fn rebuild(log: &dyn Log, directory: &Path) -> u64 {
    let (view, _) = View::open(directory, log).unwrap();
    view.catch_up(log, log.head(), &mut |_| {}).unwrap();
    view.flush().unwrap();
    let position = view.position();
    view.discard().unwrap();
    position
}

fn main() {
    println!(" events   events/s raw      log   rebuild   ratio raw / rebuild   us per event");
    for wanted in EVENTS {
        // Where cargo builds is a real disk; the system's temporary directory may be memory.
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let data = dir.path().join("data");
        let (log, _) = SledLog::open(&data, Options::new(LogId::from_bytes([1; 16]))).unwrap();
        for runs in imports(wanted).chunks(256) {
            log.append(log.head(), runs).unwrap();
        }
        let mut times = [const { Vec::new() }; 3];
        for turn in 0..TURNS {
            let (raw, took) = time(|| read_raw(&data.join("journal")));
            times[0].push(took);
            let (read, took) = time(|| read_log(&log));
            times[1].push(took);
            let (rebuilt, took) = time(|| rebuild(&log, &dir.path().join(format!("view-{turn}"))));
            times[2].push(took);
            assert_eq!([raw, read, rebuilt], [log.head(); 3]);
        }
        let seconds = times.map(|mut times| {
            times.sort();
            times[TURNS / 2].as_secs_f64()
        });
        let [raw, read, rebuilt] = seconds.map(|seconds| log.head() as f64 / seconds);
        println!(
            "{:>7}   {raw:>12.0} {read:>8.0}   {rebuilt:>7.0}   {:>19.1}   {:>12.1}",
            log.head(),
            raw / rebuilt,
            1e6 / rebuilt,
        );
    }
}
