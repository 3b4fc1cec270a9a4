//! A small disk of its own: a file system in a file or in memory, mounted as long as it is needed. It can be full, stop taking
//! anything, and lose its power. Needs root, and mounts; where they are not, the tests say so and are skipped.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::say;

/// `EXT4_IOC_SHUTDOWN` with `EXT4_GOING_FLAGS_NOLOGFLUSH`, from the kernel's `ext4.h`: from here on, everything fails, and what
/// was not on the disk is gone. Python, which the tests need anyway, can do this without unsafe code.
const SHUTDOWN: &str = "import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack('I', 2))";

/// A mounted file system. It is gone when this is dropped.
pub(crate) struct Disk {
    mount: PathBuf,
    /// The file it lies in, and the disk that the file lies on.
    image: Option<PathBuf>,
    below: Option<Box<Disk>>,
    _files: TempDir,
}

impl Disk {
    /// In memory, so large.
    pub(crate) fn in_memory(mib: u64) -> Result<Disk, String> {
        let disk = Disk::unmounted(None)?;
        let size = format!("size={mib}m");
        run(
            "mount",
            &["-t".as_ref(), "tmpfs".as_ref(), "-o".as_ref(), size.as_ref(), "tmpfs".as_ref(), &disk.mount],
        )?;
        Ok(disk)
    }

    /// Ext4 in a file.
    pub(crate) fn ext4(mib: u64) -> Result<Disk, String> {
        let mut disk = Disk::unmounted(None)?;
        disk.format(disk._files.path().join("image"), mib)?;
        Ok(disk)
    }

    /// Ext4 in a file that says it is larger than the disk it lies on. Where that one is full, this one takes what is written,
    /// and fails when it is synced, as a disk with a bad sector does.
    pub(crate) fn thin(mib: u64, really: u64) -> Result<Disk, String> {
        let below = Disk::in_memory(really)?;
        let image = below.path("image");
        let mut disk = Disk::unmounted(Some(Box::new(below)))?;
        disk.format(image, mib)?;
        Ok(disk)
    }

    /// The same, or a sentence that says why this machine cannot.
    pub(crate) fn or_skip(disk: Result<Disk, String>, test: &str) -> Option<Disk> {
        disk.inspect_err(|missing| {
            say(&format!("{test} is skipped: no disk of its own can be mounted here: {missing}"))
        })
        .ok()
    }

    /// A path on it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.mount.join(name)
    }

    /// Fills it to the last byte, with a pause after each MiB.
    pub(crate) fn fill(&self, pause: Duration) {
        let mut filling =
            File::options().create(true).append(true).open(self.path("filling")).expect("a file");
        for bytes in [1 << 20, 1 << 12, 1] {
            while filling.write_all(&vec![1; bytes]).is_ok() {
                thread::sleep(if bytes == 1 << 20 { pause } else { Duration::ZERO });
            }
        }
    }

    /// Takes away what [`Disk::fill`] has put there.
    pub(crate) fn free(&self) {
        fs::remove_file(self.path("filling")).expect("it was filled");
    }

    /// The disk that this one's file lies on.
    pub(crate) fn below(&self) -> &Disk {
        self.below.as_ref().expect("a thin disk")
    }

    /// From now on nothing can be written or synced; and what had not been synced is lost.
    pub(crate) fn shut_down(&self) {
        run("python3", &["-c".as_ref(), SHUTDOWN.as_ref(), &self.mount]).expect("ext4 can be shut down");
    }

    /// Takes it out and puts it in again. Nothing may be open on it.
    pub(crate) fn replug(&self) {
        self.unplug().expect("nothing is open on it");
        self.plug_in().expect("it was mounted before");
    }

    fn unmounted(below: Option<Box<Disk>>) -> Result<Disk, String> {
        let files = tempfile::tempdir().map_err(|error| error.to_string())?;
        let mount = files.path().join("mount");
        fs::create_dir(&mount).map_err(|error| error.to_string())?;
        Ok(Disk { mount, image: None, below, _files: files })
    }

    fn format(&mut self, image: PathBuf, mib: u64) -> Result<(), String> {
        let file = File::create(&image).map_err(|error| error.to_string())?;
        file.set_len(mib << 20).map_err(|error| error.to_string())?;
        run("mkfs.ext4", &["-q".as_ref(), "-E".as_ref(), "lazy_itable_init=0".as_ref(), &image])?;
        self.image = Some(image);
        self.plug_in()
    }

    /// Mounting replays the file system's own journal, as after any power cut.
    fn plug_in(&self) -> Result<(), String> {
        let image = self.image.as_ref().expect("only what lies in a file is taken out");
        // `-o loop` sets up a loop device that goes with the mount.
        run("mount", &["-o".as_ref(), "loop".as_ref(), image, &self.mount])
    }

    fn unplug(&self) -> Result<(), String> {
        let mut done = Ok(());
        for _ in 0..50 {
            done = run("umount", &[&self.mount]);
            if done.is_ok() {
                break;
            }
            thread::sleep(Duration::from_millis(100));
        }
        done
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        if mounts.contains(&*self.mount.to_string_lossy()) {
            // Also after a failed assertion, and also if something still holds on to it.
            let _ = run("umount", &["--lazy".as_ref(), &self.mount]);
        }
    }
}

fn run(program: &str, arguments: &[&Path]) -> Result<(), String> {
    let output =
        Command::new(program).args(arguments).output().map_err(|error| format!("{program}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}
