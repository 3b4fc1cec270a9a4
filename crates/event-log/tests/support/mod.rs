//! A history whose every event can be recognised, for tests that take the log apart and look what is left.

#![allow(dead_code)] // Each test binary uses its part.
#![allow(clippy::unwrap_used)] // Tests say what they expect by what they unwrap.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use tagtrail_event_log::{Log, LogId, OpenError, OpenReport, Options, Run, SledLog, Stored};

pub(crate) mod damage;

/// The log of every test.
pub(crate) const ID: LogId = LogId::from_bytes([0x5A; 16]);

/// Set for a process that is to write into a directory until it is killed.
const WRITE_INTO: &str = "TAGTRAIL_TEST_WRITE_INTO";

/// Small segments and frequent syncs, so that a short history crosses many boundaries.
pub(crate) fn options() -> Options {
    Options { segment_bytes: 256 * 1024, flush_every_events: 500, ..Options::new(ID) }
}

pub(crate) fn open(dir: &Path) -> Result<(SledLog, OpenReport), OpenError> {
    SledLog::open(dir, options())
}

/// What is appended at a head: one to four runs of one to three events, the same whenever it is asked for.
pub(crate) fn runs_at(head: u64) -> Vec<Run> {
    let mut sequence = head;
    let mut run = |length: u64| -> Run {
        (1..=length)
            .map(|i| {
                sequence += 1;
                payload(sequence, i, length)
            })
            .collect()
    };
    (0..1 + head % 4).map(|i| run(1 + (head + i) % 3)).collect()
}

/// The event tells its sequence and its place in its run, and has a length of its own.
fn payload(sequence: u64, place: u64, length: u64) -> Bytes {
    let filler = "x".repeat((sequence * 37 % 500) as usize);
    Bytes::from(format!("event {sequence}, {place} of {length} {filler}"))
}

/// Appends whole appends until the head is at least `events`.
pub(crate) fn write(log: &impl Log, events: u64) {
    while log.head() < events {
        log.append(log.head(), &runs_at(log.head())).unwrap();
    }
}

/// Checks that these are the events of the history from the first to the last, and that they end with a whole run.
pub(crate) fn assert_history(events: impl Iterator<Item = Stored>, last: u64) {
    let (mut next, mut whole) = (1, true);
    for event in events {
        let text = String::from_utf8_lossy(&event.payload).into_owned();
        assert_eq!(event.sequence, next, "no gap, nothing twice: {text}");
        assert!(text.starts_with(&format!("event {next}, ")), "event {next} is itself: {text}");
        let words: Vec<&str> = text.split_whitespace().collect();
        let (place, length): (u64, u64) = (words[2].parse().unwrap(), words[4].parse().unwrap());
        assert_eq!(event.last_of_run, place == length, "the end of a run is marked: {text}");
        assert_eq!(event.payload, payload(next, place, length), "every byte is there");
        whole = event.last_of_run;
        next += 1;
    }
    assert_eq!(next - 1, last, "the history ends where it should");
    assert!(whole, "no half run at the end");
}

/// Reads the whole log as a client would, page by page.
pub(crate) fn read_all(log: &impl Log) -> Vec<Stored> {
    let mut events: Vec<Stored> = Vec::new();
    loop {
        let page = log.read(events.len() as u64 + 1, 1000, 100_000).unwrap();
        if page.is_empty() {
            return events;
        }
        events.extend(page);
    }
}

/// In a writing process: appends for ever and prints the head each time an append was acknowledged. In any other:
/// returns at once.
///
/// A test binary that needs such a process has a test that calls this, and [`Writer::start`] with its name.
pub(crate) fn write_for_ever_if_asked() {
    let Some(dir) = asked_to_write_into() else { return };
    let (log, _) = open(&dir).unwrap();
    loop {
        // Like the service: when the disk fails, stop.
        let Ok(head) = log.append(log.head(), &runs_at(log.head())) else { std::process::exit(1) };
        acknowledge(head);
    }
}

/// Where this process is to write for ever, if it is one that was started for that.
pub(crate) fn asked_to_write_into() -> Option<PathBuf> {
    std::env::var_os(WRITE_INTO).map(PathBuf::from)
}

/// Says that everything up to here is durable.
pub(crate) fn acknowledge(head: u64) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "acknowledged {head}").unwrap();
}

/// A process that writes into a directory until it is killed.
pub(crate) struct Writer {
    child: Child,
    heard: JoinHandle<u64>,
    newest: Arc<AtomicU64>,
    writing: Receiver<()>,
}

impl Writer {
    /// Starts this test binary again, to run only the test of this name.
    pub(crate) fn start(dir: &Path, test: &str) -> Writer {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(WRITE_INTO, dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::null()) // It may well complain when its disk is taken away.
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        // Heard as it is said: a full pipe would stop the writer.
        let (sender, writing) = mpsc::channel();
        let newest = Arc::new(AtomicU64::new(0));
        let noted = newest.clone();
        let heard = thread::spawn(move || newest_acknowledged(lines, &noted, &sender));
        Writer { child, heard, newest, writing }
    }

    /// The newest head it has acknowledged by now.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.newest.load(Ordering::SeqCst)
    }

    /// Waits until it has acknowledged something.
    pub(crate) fn wait_until_writing(&self) {
        self.writing.recv_timeout(Duration::from_secs(60)).expect("the writer opens its log and writes");
    }

    /// Kills it, wherever it is, and gives the newest head it has acknowledged, 0 if none.
    pub(crate) fn kill(mut self) -> u64 {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.heard.join().unwrap()
    }
}

fn newest_acknowledged(mut lines: impl BufRead, noted: &AtomicU64, writing: &Sender<()>) -> u64 {
    let (mut newest, mut line) = (0, String::new());
    while lines.read_line(&mut line).unwrap() > 0 {
        // The last line may be cut off; then it was not heard.
        let heard = line.strip_suffix('\n').and_then(|line| line.strip_prefix("acknowledged "));
        if let Some(head) = heard {
            newest = head.parse().unwrap();
            noted.store(newest, Ordering::SeqCst);
            let _ = writing.send(()); // Nobody need be waiting.
        }
        line.clear();
    }
    newest
}

/// A row of numbers that look random, the same for the same seed.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % limit
    }
}

/// A number from the environment, for runs longer than the usual ones.
pub(crate) fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap())
}
