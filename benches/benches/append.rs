//! What does one durable append cost, alone and with 64 waiting?
//!
//! Held against the least that durability can cost: appending the same bytes to a plain file and `fdatasync`, on the
//! same disk, turn by turn, so that whatever else the machine does meets both alike. The ratio is the answer; the
//! times are the disk's.

#![allow(clippy::print_stdout, clippy::unwrap_used)] // A program that prints its measurement or falls over.

use std::fs::File;
use std::io::Write;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tagtrail_benches::quantile;
use tagtrail_event_log::{Log, LogId, Options, Run, SledLog};

/// About what a tag event takes.
const EVENT_BYTES: usize = 300;
/// Group commit: this many callers get their answers from one append.
const WAITING: [usize; 2] = [1, 64];
const TURNS: usize = 5000;

fn time(what: impl FnOnce()) -> Duration {
    let start = Instant::now();
    what();
    start.elapsed()
}

fn main() {
    println!("waiting   p50 us raw, log   ratio   p99 us raw, log   us per event   events/s");
    for waiting in WAITING {
        // Where cargo builds is a real disk; the system's temporary directory may be memory.
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let mut file = File::create(dir.path().join("raw")).unwrap();
        let bytes = vec![0xAB; EVENT_BYTES * waiting];
        let options = Options::new(LogId::from_bytes([1; 16]));
        let (log, _) = SledLog::open(&dir.path().join("log"), options).unwrap();
        let runs: Vec<Run> = vec![vec![Bytes::from(vec![0xAB; EVENT_BYTES])]; waiting];

        let (mut raws, mut logs) = (Vec::new(), Vec::new());
        for _ in 0..TURNS {
            raws.push(time(|| {
                file.write_all(&bytes).unwrap();
                file.sync_data().unwrap();
            }));
            logs.push(time(|| assert!(log.append(log.head(), &runs).is_ok())));
        }
        let spent: Duration = logs.iter().sum();
        let per_second = (TURNS * waiting) as f64 / spent.as_secs_f64();
        let (raw, log) = (quantile(&mut raws, 50), quantile(&mut logs, 50));
        println!(
            "{waiting:>7}   {raw:>10}, {log:>4}   {:>5.2}   {:>10}, {:>4}   {:>12.1}   {per_second:>8.0}",
            log as f64 / raw as f64,
            quantile(&mut raws, 99),
            quantile(&mut logs, 99),
            log as f64 / waiting as f64,
        );
    }
}
