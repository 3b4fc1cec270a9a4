//! The power goes: every page not yet on the disk is gone. What was acknowledged is still there, and sled still opens.
//!
//! The log lies on a loop-mounted ext4 of its own, which is shut down in the middle of writing without flushing its
//! journal: dirty pages and uncommitted metadata vanish. This is the kind case of a power cut: the disk's own cache
//! and half-written sectors are not modelled. Needs root, loop devices and `mkfs.ext4`; says so where they are not.
//!
//! Sled as it comes does not survive this: its file was unreadable after most such cuts. With the `durable` module in
//! the way of its syncs it does, which is what the last assertion is about.

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

/// Not a test by itself: the process whose disk is taken away.
#[test]
fn writer() {
    support::write_for_ever_if_asked();
}

/// `TAGTRAIL_POWER_CUTS=100` for a longer run.
#[test]
fn what_was_acknowledged_survives_a_power_cut() {
    let dir = tempfile::tempdir().unwrap();
    let disk = match Disk::new(dir.path()) {
        Ok(disk) => disk,
        Err(missing) => {
            // Past the test harness, which keeps the output of tests that pass to itself.
            let _ = writeln!(std::io::stderr(), "the power-cut test is skipped: {missing}");
            return;
        }
    };
    let data = disk.mount.join("data");
    let mut dice = Dice(1);
    let cuts = from_environment("TAGTRAIL_POWER_CUTS", 8);
    let (mut acknowledged, mut events, mut rebuilt) = (0, 0, Vec::new());
    for cut in 1..=cuts {
        let writer = Writer::start(&data, "writer");
        writer.wait_until_writing();
        thread::sleep(Duration::from_millis(dice.below(800)));
        disk.cut_power();
        let heard = writer.kill();
        disk.unplug().unwrap();
        disk.plug_in().unwrap();

        let (log, report) = open(&data).unwrap();
        let head = log.head();
        assert!(heard > acknowledged, "cut {cut}: the writer got to write");
        assert!(head >= heard, "cut {cut}: {heard} was acknowledged, and the log ends with {head}: {report}");
        assert_history(read_all(&log).into_iter(), head);
        let journal = JournalReader::open_read_only(&data.join("journal")).unwrap();
        assert_history(journal.events(1).map(Result::unwrap), head);
        if report.rebuilt_sled() {
            rebuilt.push(report.to_string());
        }
        events += head - acknowledged;
        acknowledged = head;
        if acknowledged > 60_000 {
            // A small disk: begin again.
            drop(log);
            fs::remove_dir_all(&data).unwrap();
            acknowledged = 0;
        }
    }
    let _ = writeln!(
        std::io::stderr(),
        "{cuts} power cuts, {events} events, none lost; sled rebuilt {} times",
        rebuilt.len()
    );
    assert!(rebuilt.len() as u64 <= cuts / 8, "sled did not survive: {rebuilt:#?}");
}
