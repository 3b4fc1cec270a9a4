//! A log, and the ways to damage it.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use tagtrail_event_log::Log;
use tempfile::TempDir;

use super::{open, write};

pub(crate) const EVENTS: u64 = 6000;

/// A log of about [`EVENTS`] events in about eight segments, closed. Made once, damaged as copies.
pub(crate) fn whole() -> &'static (TempDir, u64) {
    static WHOLE: OnceLock<(TempDir, u64)> = OnceLock::new();
    WHOLE.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let (log, report) = open(dir.path()).unwrap();
        assert!(report.created);
        write(&log, EVENTS);
        let head = log.head();
        log.close().unwrap();
        (dir, head)
    })
}

pub(crate) fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_dir(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

/// A data directory, and the ways to damage it.
pub(crate) struct Damaged(pub(crate) PathBuf);

impl Damaged {
    pub(crate) fn segments(&self) -> Vec<PathBuf> {
        let mut paths: Vec<PathBuf> =
            fs::read_dir(self.0.join("journal")).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "seg"));
        paths.sort();
        paths
    }

    pub(crate) fn first_of(&self, segment: usize) -> u64 {
        self.segments()[segment].file_stem().unwrap().to_str().unwrap().parse().unwrap()
    }

    pub(crate) fn newest(&self) -> usize {
        self.segments().len() - 1
    }

    pub(crate) fn journal_bytes(&self) -> Vec<(PathBuf, Vec<u8>)> {
        if !self.0.join("journal").exists() {
            return Vec::new();
        }
        self.segments().into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
    }

    pub(crate) fn sled(&self) -> PathBuf {
        self.0.join("log").join("db")
    }

    pub(crate) fn without_sled(&self) -> &Damaged {
        fs::remove_dir_all(self.0.join("log")).unwrap();
        self
    }

    pub(crate) fn without(&self, segment: usize) -> &Damaged {
        fs::remove_file(&self.segments()[segment]).unwrap();
        self
    }
}

pub(crate) fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x40;
    fs::write(path, bytes).unwrap();
}

pub(crate) fn flip_at_percent(path: &Path, percent: usize) {
    flip(path, fs::metadata(path).unwrap().len() as usize * percent / 100);
}

/// Flips a bit in every place that begins like this: sled keeps older copies about.
pub(crate) fn flip_every(path: &Path, text: &[u8]) {
    let bytes = fs::read(path).unwrap();
    let places: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(text)).collect();
    assert!(!places.is_empty());
    places.into_iter().for_each(|at| flip(path, at));
}

pub(crate) fn truncate(path: &Path, percent: u64) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(file.metadata().unwrap().len() * percent / 100).unwrap();
}

pub(crate) fn cut_off(path: &Path, bytes: u64) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(file.metadata().unwrap().len() - bytes).unwrap();
}

pub(crate) fn zero(path: &Path, percent: usize, length: usize) {
    let mut bytes = fs::read(path).unwrap();
    let from = bytes.len() * percent / 100;
    let to = (from + length).min(bytes.len());
    bytes[from..to].fill(0);
    fs::write(path, bytes).unwrap();
}

#[track_caller]
pub(crate) fn expect(told: &str, parts: &[&str]) {
    for part in parts {
        assert!(told.contains(part), "`{part}` is not in: {told}");
    }
}
