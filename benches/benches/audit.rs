//! How long does an audit take, and a start, of a log of one and of five million events, against reading and hashing alone?
//!
//! Everything is measured on the files of one data directory, in the same run. *read* gives every event's bytes, checked by its
//! CRC; *sha256* hashes these bytes as one stream: the least that an audit can cost. *tree* builds the Merkle tree's files from the
//! log; *verify* is all of `tagtrail audit verify`: hashes, tree, rules, on two threads; *rebuild* is the read model from nothing. A
//! cold start opens log, tree and read model.

#![allow(clippy::print_stdout, clippy::unwrap_used)] // A program that prints its measurement or falls over.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};
use tagtrail_benches::imports;
use tagtrail_event_log::journal::JournalReader;
use tagtrail_event_log::{Log, LogId, Options, SledLog, Tree};
use tagtrail_projection::View;
use tagtrail_replay::{Against, Trust, source, verify};

/// How many events; `TAGTRAIL_BENCH_EVENTS=1000000,5000000` gives others.
const EVENTS: [u64; 2] = [1_000_000, 5_000_000];

fn time<T>(what: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let result = what();
    (result, start.elapsed())
}

/// The most memory that this process has had since the last call, in MiB.
fn memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    fs::write("/proc/self/clear_refs", "5").unwrap();
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
    for runs in imports(events).chunks(256) {
        log.append(log.head(), runs).unwrap();
    }
    log.close().unwrap();
}

fn main() {
    let told = std::env::var("TAGTRAIL_BENCH_EVENTS").ok();
    let told = told.map(|told| told.split(',').map(|n| n.parse().unwrap()).collect::<Vec<u64>>());
    for wanted in told.unwrap_or_else(|| EVENTS.to_vec()) {
        // Where cargo builds is a real disk; the system's temporary directory may be memory.
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let data = dir.path().join("data");
        fill(&data, wanted);
        memory();

        let journal = data.join("journal");
        // Once for nothing, so that everybody finds the files in memory.
        payloads(&journal, |_| ());
        let (bytes, read) = time(|| payloads(&journal, |_| ()));
        let (_, hash) = time(|| {
            let mut hash = Sha256::new();
            payloads(&journal, |payload| hash.update(payload));
            hash.finalize()
        });
        memory();
        let log = open(&data);
        let head = log.head();
        let (_, tree) = time(|| {
            let mut tree = Tree::open(&data, &log).unwrap().0;
            tree.catch_up(&log, |_, _| ()).unwrap();
            tree.sync().unwrap();
        });
        let of_tree = memory();
        let (_, rebuild) = time(|| {
            let (view, _) = View::open(&data.join("view"), &log).unwrap();
            view.catch_up(&log, head, &mut |_| {}).unwrap();
            view.flush().unwrap();
        });
        let of_rebuild = memory();
        log.close().unwrap();
        memory();
        let (verdict, verified) = time(|| {
            let source = source::open(&data.display().to_string()).unwrap();
            let against = Against { trust: Trust::Nobody, checkpoints: Vec::new() };
            verify(&*source, against, &mut |_| {}).unwrap()
        });
        assert_eq!((verdict.size, verdict.permitted), (head, head), "{:?}", verdict.wrong.first());
        let of_verify = memory();
        let (log, of_log) = time(|| open(&data));
        let (_, of_hashes) = time(|| Tree::open(&data, &log).unwrap());
        let (_, of_view) = time(|| View::open(&data.join("view"), &log).unwrap());
        let start = memory();

        let mib = bytes >> 20;
        println!("{head} events, {mib} MiB: {} bytes each", bytes / head);
        let line = |name: &str, time: Duration, memory: Option<u64>| {
            let rate = head as f64 / time.as_secs_f64();
            let of_hash = hash.as_secs_f64() / time.as_secs_f64();
            let memory = memory.map(|mib| format!("{mib} MiB at most")).unwrap_or_default();
            println!(
                "  {name:<8} {:>7.2} s {rate:>11.0} events/s   {of_hash:>5.2} of sha256's speed   {memory}",
                time.as_secs_f64()
            );
        };
        line("read", read, None);
        line("sha256", hash, None);
        line("tree", tree, Some(of_tree));
        line("verify", verified, Some(of_verify));
        line("rebuild", rebuild, Some(of_rebuild));
        println!(
            "  a cold start: log {:.2} s, tree {:.2} s, read model {:.2} s; {start} MiB at most\n",
            of_log.as_secs_f64(),
            of_hashes.as_secs_f64(),
            of_view.as_secs_f64()
        );
    }
}
