//! What does one durable append cost, alone and with 64 waiting?
//!
//! Held against the least that durability can cost: appending the same bytes to a plain file and `fdatasync`, on the
//! same disk, in the same run, in turns. The ratio is the answer; the absolute numbers are the disk's.

#![allow(clippy::print_stdout, clippy::unwrap_used)] // A program that prints its measurement or falls over.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tagtrail_event_log::{Log, LogId, Options, Run, SledLog};

/// About what a tag event takes.
const EVENT_BYTES: usize = 300;
const WAITING: [usize; 2] = [1, 64];
const ROUNDS: usize = 5;
const CELL: Duration = Duration::from_millis(1500);

/// The times of the appends of one cell, or of several.
#[derive(Default)]
struct Cell(Vec<Duration>);

impl Cell {
    /// Appends for a while.
    fn measure(mut append: impl FnMut()) -> Cell {
        let (begin, mut times) = (Instant::now(), Vec::new());
        while begin.elapsed() < CELL {
            let start = Instant::now();
            append();
            times.push(start.elapsed());
        }
        Cell(times)
    }

    fn per_second(&self) -> f64 {
        self.0.len() as f64 / self.0.iter().sum::<Duration>().as_secs_f64()
    }

    fn quantile_us(&mut self, of_hundred: usize) -> u128 {
        self.0.sort();
        self.0[self.0.len() * of_hundred / 100].as_micros()
    }
}

fn raw(dir: &Path, waiting: usize) -> Cell {
    let mut file = File::create(dir.join("raw")).unwrap();
    let bytes = vec![0xAB; EVENT_BYTES * waiting];
    Cell::measure(|| {
        file.write_all(&bytes).unwrap();
        file.sync_data().unwrap();
    })
}

fn log(dir: &Path, waiting: usize) -> Cell {
    let (log, _) = SledLog::open(&dir.join("log"), Options::new(LogId::from_bytes([1; 16]))).unwrap();
    let runs: Vec<Run> = vec![vec![Bytes::from(vec![0xAB; EVENT_BYTES])]; waiting];
    let cell = Cell::measure(|| {
        log.append(log.head(), &runs).unwrap();
    });
    log.close().unwrap();
    cell
}

fn main() {
    println!("waiting   raw/s   log/s   log/raw   events/s   p50 us raw, log   p99 us raw, log");
    for waiting in WAITING {
        let (mut raws, mut logs, mut rates) = (Cell::default(), Cell::default(), Vec::new());
        for _ in 0..ROUNDS {
            // Where cargo builds is a real disk; the system's temporary directory may be memory.
            let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
            let (raw, log) = (raw(dir.path(), waiting), log(dir.path(), waiting));
            rates.push((log.per_second() / raw.per_second(), raw.per_second(), log.per_second()));
            raws.0.extend(raw.0);
            logs.0.extend(log.0);
        }
        rates.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (ratio, raw, log) = rates[ROUNDS / 2];
        println!(
            "{waiting:>7}  {raw:>6.0}  {log:>6.0}  {ratio:>8.2}  {:>9.0}  {:>8}, {:>5}  {:>9}, {:>5}",
            log * waiting as f64,
            raws.quantile_us(50),
            logs.quantile_us(50),
            raws.quantile_us(99),
            logs.quantile_us(99),
        );
    }
}
