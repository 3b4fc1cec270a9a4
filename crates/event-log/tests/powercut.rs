//! The power goes: every page not yet on the disk is gone. What was acknowledged is still there, and sled still opens.
//!
//! The log lies on a loop-mounted ext4 of its own, which is shut down in the middle of writing without flushing its
//! journal: dirty pages and uncommitted metadata vanish. This is the kind case of a power cut: the disk's own cache
//! and half-written sectors are not modelled. Needs root, loop devices and `mkfs.ext4`; says so where they are not.
//!
//! Sled as it comes does not survive this: its file is unreadable after most such cuts. With the `durable` module in
//! the way of its syncs it does, with and without our journal beside it.

#![allow(clippy::unwrap_used)] // Tests say what they expect by what they unwrap.
#![allow(unsafe_code)] // One ioctl, to take the disk away.

mod support;

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use support::{Dice, Writer, assert_history, from_environment, open, read_all};
use tagtrail_event_log::Log;
use tagtrail_event_log::journal::JournalReader;

/// `EXT4_IOC_SHUTDOWN` and its flag `EXT4_GOING_FLAGS_NOLOGFLUSH`, from the kernel's `ext4.h`.
const SHUTDOWN: libc::c_ulong = 0x8004_587D;
const WITHOUT_LOG_FLUSH: u32 = 2;

/// A file system in a file, mounted as long as this value lives.
struct Disk {
    image: PathBuf,
    mount: PathBuf,
}

impl Disk {
    /// `Err` says what is missing on this machine.
    fn new(dir: &Path) -> Result<Disk, String> {
        let disk = Disk { image: dir.join("disk.img"), mount: dir.join("mount") };
        fs::create_dir(&disk.mount).unwrap();
        File::create(&disk.image).unwrap().set_len(256 * 1024 * 1024).unwrap();
        run("mkfs.ext4", &["-q".as_ref(), disk.image.as_ref()])?;
        disk.plug_in()?;
        Ok(disk)
    }

    /// Mounting replays the file system's own journal, as after any power cut.
    fn plug_in(&self) -> Result<(), String> {
        // `-o loop` sets up a loop device that goes with the mount.
        run("mount", &["-o".as_ref(), "loop".as_ref(), self.image.as_ref(), self.mount.as_ref()])
    }

    fn cut_power(&self) {
        let root = File::open(&self.mount).unwrap();
        // SAFETY: the request reads one u32 from the address given, which outlives the call.
        let answer = unsafe { libc::ioctl(root.as_raw_fd(), SHUTDOWN, &WITHOUT_LOG_FLUSH) };
        assert_eq!(answer, 0, "the shutdown of the file system: {}", std::io::Error::last_os_error());
    }

    fn unplug(&self) -> Result<(), String> {
        // A sled database closed in this process lets go of its file a little later.
        for _ in 0..50 {
            if run("umount", &[self.mount.as_ref()]).is_ok() {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(100));
        }
        Err(format!("{} stays in use", self.mount.display()))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Also after a failed assertion, and also if something still holds on to it.
        if is_mounted(&self.mount) && self.unplug().is_err() {
            let _ = run("umount", &["--lazy".as_ref(), self.mount.as_ref()]);
        }
    }
}

fn is_mounted(path: &Path) -> bool {
    fs::read_to_string("/proc/self/mounts").unwrap().contains(&*path.to_string_lossy())
}

fn run(program: &str, args: &[&Path]) -> Result<(), String> {
    let output = Command::new(program).args(args).output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

/// Cuts the power of a process that runs the test `writer`, again and again. `check` looks at what is left in the data
/// directory and gives the last event there; it must be no earlier than the last one acknowledged.
fn cut_power_of(writer: &str, mut check: impl FnMut(&Path) -> u64) {
    let dir = tempfile::tempdir().unwrap();
    let disk = match Disk::new(dir.path()) {
        Ok(disk) => disk,
        Err(missing) => return say(&format!("the power-cut test is skipped: {missing}")),
    };
    let data = disk.mount.join("data");
    let mut dice = Dice(1);
    let (mut head, mut written) = (0, 0);
    let cuts = from_environment("TAGTRAIL_POWER_CUTS", 8);
    for cut in 1..=cuts {
        let writer = Writer::start(&data, writer);
        writer.wait_until_writing();
        thread::sleep(Duration::from_millis(200 + dice.below(800)));
        // Before the cut: a sync that is under way when the file system is shut down may say that it succeeded (seen once in
        // some hundred cuts), which no disk without power can.
        let acknowledged = writer.acknowledged();
        disk.cut_power();
        writer.kill();
        disk.unplug().unwrap();
        disk.plug_in().unwrap();

        assert!(acknowledged > head, "cut {cut}: the writer got to write");
        let found = check(&data);
        assert!(found >= acknowledged, "cut {cut}: {acknowledged} was acknowledged, and {found} is the last");
        written += found - head;
        head = found;
        if head > 60_000 {
            // The disk is small: begin again.
            fs::remove_dir_all(&data).unwrap();
            head = 0;
        }
    }
    say(&format!("{cuts} power cuts, {written} events, none lost"));
}

/// Past the test harness, which keeps to itself what a passing test prints.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Not a test by itself: a process whose disk is taken away.
#[test]
fn writer() {
    support::write_for_ever_if_asked();
}

/// `TAGTRAIL_POWER_CUTS=100` for a longer run.
#[test]
fn what_was_acknowledged_survives_a_power_cut() {
    cut_power_of("writer", |data| {
        let (log, report) = open(data).unwrap();
        assert!(!report.rebuilt_sled(), "{report}");
        assert_history(read_all(&log).into_iter(), log.head());
        let journal = JournalReader::open_read_only(&data.join("journal")).unwrap();
        assert_history(journal.events(1).map(Result::unwrap), log.head());
        log.head()
    });
}

/// Not a test by itself either: sled without our journal beside it, flushed after every eight events.
#[test]
fn sled_writer() {
    let Some(dir) = support::asked_to_write_into() else { return };
    let db = open_sled(&dir);
    let mut head = last_key(&db);
    loop {
        let mut batch = sled::Batch::default();
        for sequence in head + 1..=head + 8 {
            batch.insert(&sequence.to_be_bytes(), vec![sequence as u8; 300]);
        }
        head += 8;
        if db.apply_batch(batch).and_then(|()| db.flush()).is_err() {
            std::process::exit(1);
        }
        support::acknowledge(head);
    }
}

/// In the log, every `fdatasync` of the journal makes ext4 write down sled's new length too, which hides what sled
/// does not sync itself. So here is sled alone: with the `durable` module in its way, a flush is durable. Without it
/// this test fails at the first cut: sled panics in opening, or opens empty.
#[test]
fn a_flush_of_sled_survives_a_power_cut() {
    cut_power_of("sled_writer", |data| {
        let db = open_sled(data);
        let head = last_key(&db);
        for (entry, sequence) in db.iter().zip(1u64..) {
            let (key, value) = entry.unwrap();
            assert_eq!((&key[..], &value[..]), (&sequence.to_be_bytes()[..], &[sequence as u8; 300][..]));
        }
        head
    });
}

fn open_sled(dir: &Path) -> sled::Db {
    sled::Config::new().path(dir).cache_capacity(16 << 20).flush_every_ms(None).open().unwrap()
}

fn last_key(db: &sled::Db) -> u64 {
    db.last().unwrap().map_or(0, |(key, _)| u64::from_be_bytes(key.as_ref().try_into().unwrap()))
}
