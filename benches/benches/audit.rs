//! How long does an audit take, and a start, of a log of one and of five million events, against reading and hashing alone?
//!
//! Everything is measured on the files of one data directory, in the same run, each in a process of its own, so that its memory
//! is its own too. *read* gives every event's bytes, checked by its CRC; *sha256* hashes these bytes as one stream: the least that
//! an audit can cost. *replay* decodes each event and applies it, on one thread. *verify* is all of `tagtrail audit verify`: hashes,
//! tree, rules, on two threads. *tree* builds the Merkle tree's files from the log; *rebuild* is the read model from nothing, and
//! *rows* puts the rows that came of it, in order, into another sled database: what the storage alone costs. A cold start opens log,
//! tree and read model.

#![allow(clippy::print_stdout, clippy::unwrap_used)] // A program that prints its measurement or falls over.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};
use tagtrail_benches::import_log;
use tagtrail_domain::{Position, StreamKey, StreamState, apply};
use tagtrail_event_log::journal::JournalReader;
use tagtrail_event_log::{Log, LogId, Options, SledLog, Tree, codec};
use tagtrail_projection::View;
use tagtrail_replay::source::{Entries, StoredHashes};
use tagtrail_replay::{Against, Source, SourceError, Trust, source, verify};
use tagtrail_transparency::VerifierKey;

/// How many events; `TAGTRAIL_BENCH_EVENTS=1000000,5000000` gives others.
const EVENTS: [u64; 2] = [1_000_000, 5_000_000];
/// What is measured, in this order; `TAGTRAIL_BENCH_ONLY=read,verify` gives fewer, of those that come after `fill`.
const PHASES: [&str; 9] =
    ["read", "sha256", "replay", "tree", "verify", "rebuild", "rows", "start", "start-view"];
/// Which of them a child process measures, and where.
const PHASE: &str = "TAGTRAIL_BENCH_PHASE";
/// How many rows are put into a database at once.
const ROWS_AT_ONCE: usize = 10_000;

/// A data directory without its blobs: what is compared is what is done with the bytes of the events.
struct OfEvents(Box<dyn Source>);

impl Source for OfEvents {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn log_id(&self) -> Option<LogId> {
        self.0.log_id()
    }

    fn checkpoint(&self) -> Option<&[u8]> {
        self.0.checkpoint()
    }

    fn own_key(&self) -> Result<Option<VerifierKey>, SourceError> {
        self.0.own_key()
    }

    fn about(&self) -> Option<u64> {
        self.0.about()
    }

    fn entries(&self, from: u64) -> Result<Box<dyn Entries + '_>, SourceError> {
        self.0.entries(from)
    }

    fn hashes(&self) -> Option<&dyn StoredHashes> {
        self.0.hashes()
    }

    fn not_looked_at(&self) -> &'static [&'static str] {
        &["blobs"]
    }
}

fn time<T>(what: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let result = what();
    (result, start.elapsed())
}

/// The most memory that this process has had, in MiB.
fn memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    kib >> 10
}

fn payloads(journal: &Path, mut take: impl FnMut(&[u8])) -> u64 {
    let mut bytes = 0;
    for event in JournalReader::open_read_only(journal).unwrap().events(1) {
        let event = event.unwrap();
        bytes += event.payload.len() as u64;
        take(&event.payload);
    }
    bytes
}

fn open(data: &Path) -> SledLog {
    SledLog::open(data, Options::new(LogId::from_bytes([1; 16]))).unwrap().0
}

fn fill(data: &Path, events: u64) {
    let log = open(data);
    import_log(events, 256, |runs| {
        log.append(log.head(), &runs).unwrap();
    });
    log.close().unwrap();
}

fn replay(journal: &Path) {
    let mut streams: HashMap<StreamKey, StreamState> = HashMap::new();
    payloads(journal, |payload| {
        let recorded = codec::decode(payload).unwrap();
        let at = Position { sequence: recorded.sequence, recorded_at: recorded.recorded_at };
        let state = streams.entry(recorded.stream.clone()).or_default();
        *state = apply(std::mem::take(state), &recorded.event, at);
    });
}

fn build_tree(data: &Path) -> Duration {
    let log = open(data);
    let start = Instant::now();
    let mut tree = Tree::open(data, &log).unwrap().0;
    tree.catch_up(&log, |_, _| ()).unwrap();
    tree.sync().unwrap();
    start.elapsed()
}

fn rebuild(data: &Path) -> Duration {
    let log = open(data);
    let start = Instant::now();
    let (view, _) = View::open(&data.join("view"), &log).unwrap();
    view.catch_up(&log, log.head(), &mut |_| {}).unwrap();
    view.flush().unwrap();
    start.elapsed()
}

fn open_rows(directory: &Path) -> sled::Db {
    sled::Config::new().path(directory).cache_capacity(64 << 20).flush_every_ms(None).open().unwrap()
}

fn rows(data: &Path) -> Duration {
    let from = open_rows(&data.join("view"));
    let copy = tempfile::tempdir_in(data).unwrap();
    let to = open_rows(copy.path());
    let (mut rows, mut spent) = (from.iter(), Duration::ZERO);
    loop {
        let mut batch = sled::Batch::default();
        let mut count = 0;
        for row in rows.by_ref().take(ROWS_AT_ONCE) {
            let (key, value) = row.unwrap();
            batch.insert(key, value);
            count += 1;
        }
        if count == 0 {
            break;
        }
        spent += time(|| to.apply_batch(batch).unwrap()).1;
    }
    spent + time(|| to.flush().unwrap()).1
}

/// What one phase takes.
fn measure(phase: &str, data: &Path) -> Duration {
    let journal = data.join("journal");
    // Once for nothing, so that everybody finds the files in memory.
    let warmed = |what: &dyn Fn()| {
        payloads(&journal, |_| ());
        time(what).1
    };
    match phase {
        "read" => warmed(&|| _ = payloads(&journal, |_| ())),
        "sha256" => warmed(&|| {
            let mut hash = Sha256::new();
            payloads(&journal, |payload| hash.update(payload));
            std::hint::black_box(hash.finalize());
        }),
        "replay" => warmed(&|| replay(&journal)),
        "tree" => build_tree(data),
        "rebuild" => rebuild(data),
        "rows" => rows(data),
        "verify" => warmed(&|| {
            let source = OfEvents(source::open(&data.display().to_string()).unwrap());
            let against = Against { trust: Trust::Nobody, checkpoints: Vec::new() };
            let verdict = verify(&source, against, &mut |_| {}).unwrap();
            assert!(verdict.wrong.is_empty() && verdict.permitted == verdict.size, "{:?}", verdict.wrong);
        }),
        "start" => {
            let (log, opened) = time(|| open(data));
            opened + time(|| Tree::open(data, &log).unwrap()).1
        }
        "start-view" => {
            let log = open(data);
            time(|| View::open(&data.join("view"), &log).unwrap()).1
        }
        other => panic!("{other} is none of {PHASES:?}"),
    }
}

fn main() {
    if let Ok(told) = std::env::var(PHASE) {
        let (phase, data) = told.split_once(' ').unwrap();
        let took = measure(phase, Path::new(data));
        println!("{} {}", took.as_secs_f64(), memory());
        return;
    }
    let told = |name: &str| std::env::var(name).ok().map(|told| told.split(',').map(String::from).collect());
    let sizes: Option<Vec<String>> = told("TAGTRAIL_BENCH_EVENTS");
    let sizes = sizes.map(|sizes| sizes.iter().map(|n| n.parse().unwrap()).collect::<Vec<u64>>());
    let only: Option<Vec<String>> = told("TAGTRAIL_BENCH_ONLY");
    for wanted in sizes.unwrap_or_else(|| EVENTS.to_vec()) {
        // Where cargo builds is a real disk; the system's temporary directory may be memory.
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let data = dir.path().join("data");
        let (_, filled) = time(|| fill(&data, wanted));
        let (mut head, mut hash) = (0, None);
        let bytes = payloads(&data.join("journal"), |_| head += 1);
        println!(
            "{head} events, {} MiB: {} bytes each; filling {:.0} s",
            bytes >> 20,
            bytes / head,
            filled.as_secs_f64()
        );
        for phase in
            PHASES.iter().filter(|phase| only.as_ref().is_none_or(|only| only.iter().any(|o| o == *phase)))
        {
            let child = Command::new(std::env::current_exe().unwrap())
                .env(PHASE, format!("{phase} {}", data.display()))
                .output()
                .unwrap();
            assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
            let answer = String::from_utf8(child.stdout).unwrap();
            let (seconds, mib) = answer.trim().split_once(' ').unwrap();
            let seconds: f64 = seconds.parse().unwrap();
            if *phase == "sha256" {
                hash = Some(seconds);
            }
            let of_hash =
                hash.map(|hash| format!("{:>6.2} of sha256's speed", hash / seconds)).unwrap_or_default();
            println!(
                "  {phase:<10} {seconds:>8.2} s {:>11.0} events/s   {mib:>5} MiB at most {of_hash}",
                head as f64 / seconds
            );
        }
        println!();
    }
}
