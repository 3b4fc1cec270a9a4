//! Room that is kept back on the disk, so that a full disk is a refusal and not a failure.
//!
//! Neither sled nor the journal takes a write that fails half way lightly: after it, the log has to be opened again. So an append
//! is not begun where little room is left. And a log that is opened on a full disk, to be read, needs some room for that: it gets
//! that of a file which holds nothing, and which is made anew when there is room for both again.
//!
//! Somebody else may still fill the disk between the look and the write. Then the log takes no more until it is opened again, as
//! after any failure of the disk.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::io::Errno;

/// The file, and nothing but zeros.
const NAME: &str = "reserve";

/// The room that is kept back, and whether it still is.
#[derive(Debug)]
pub(crate) struct Reserve {
    dir: PathBuf,
    /// How much is kept back; and as much has to be left beside it. 0: nothing is looked at.
    bytes: u64,
    held: bool,
    /// Whether the last append was refused.
    refused: bool,
}

/// There is too little room left for an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoRoom {
    pub(crate) left: u64,
    pub(crate) needed: u64,
}

impl Reserve {
    /// Keeps room back in a data directory; or gives up what was kept, where that is needed for opening what is there.
    pub(crate) fn open(dir: &Path, bytes: u64) -> Reserve {
        let path = dir.join(NAME);
        let held = fs::metadata(&path).is_ok_and(|file| file.len() >= bytes);
        let mut reserve = Reserve { dir: dir.to_owned(), bytes, held, refused: false };
        if reserve.room().is_err() && reserve.held {
            reserve.held = false;
            match fs::remove_file(&path) {
                Ok(()) => tracing::warn!("the room that was kept back on the disk is given up"),
                Err(error) => tracing::error!(%error, "the room that was kept back could not be given up"),
            }
        }
        reserve
    }

    /// Whether an append may be begun.
    pub(crate) fn room(&mut self) -> Result<(), NoRoom> {
        if self.bytes == 0 {
            return Ok(());
        }
        let left = match statvfs(&self.dir) {
            Ok(disk) => disk.f_bavail.saturating_mul(disk.f_frsize),
            // What is wrong there, the append will tell.
            Err(_) => return Ok(()),
        };
        // What was given up is no room for appends.
        let needed = if self.held { self.bytes } else { self.bytes.saturating_mul(2) };
        if left < needed || !(self.held || self.take()) {
            if !std::mem::replace(&mut self.refused, true) {
                tracing::error!(
                    left,
                    needed,
                    "the disk is full: nothing is written until there is room again; what is there can be read"
                );
            }
            return Err(NoRoom { left, needed });
        }
        self.held = true;
        if std::mem::take(&mut self.refused) {
            tracing::info!(left, "there is room on the disk again: writing goes on");
        }
        Ok(())
    }

    /// As if the disk had grown or shrunk.
    #[cfg(test)]
    pub(crate) fn ask_for(&mut self, bytes: u64) {
        self.bytes = bytes;
    }

    /// Makes the file. Gives whether it is there.
    fn take(&self) -> bool {
        let path = self.dir.join(NAME);
        let take = || {
            let mut file = File::create(&path)?;
            match fallocate(&file, FallocateFlags::empty(), 0, self.bytes) {
                // A file system that cannot: then with zeros.
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                    io::copy(&mut io::Read::take(io::repeat(0), self.bytes), &mut file)?;
                    file.flush()
                }
                taken => taken.map_err(io::Error::from),
            }
        };
        match take() {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(%error, "no room could be kept back");
                fs::remove_file(&path).ok();
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// More than any disk has.
    const TOO_MUCH: u64 = 1 << 62;

    #[test]
    fn the_file_is_made_kept_and_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let length = || fs::metadata(dir.path().join(NAME)).ok().map(|file| file.len());
        assert_eq!((Reserve::open(dir.path(), 0).room(), length()), (Ok(()), None));
        assert_eq!((Reserve::open(dir.path(), 4096).room(), length()), (Ok(()), Some(4096)));

        // As if the disk were much too small: appends are refused, and the room stays for the next start.
        let mut reserve = Reserve::open(dir.path(), 4096);
        reserve.bytes = TOO_MUCH;
        assert_eq!(reserve.room().unwrap_err().needed, TOO_MUCH);
        assert_eq!(length(), Some(4096));
        reserve.bytes = 4096;
        assert_eq!(reserve.room(), Ok(()));

        // The next start gives it up; then there has to be room for it too.
        let mut full = Reserve { bytes: TOO_MUCH / 2, held: false, ..reserve };
        assert_eq!(full.room().unwrap_err().needed, TOO_MUCH);
        fs::remove_file(dir.path().join(NAME)).unwrap();
        full.bytes = 4096;
        assert_eq!((full.room(), length()), (Ok(()), Some(4096)));
    }

    #[test]
    fn a_start_on_a_full_disk_gives_it_up() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(NAME);
        // A file of that length that takes no room.
        File::create(&file).unwrap().set_len(1 << 42).unwrap();
        let reserve = Reserve::open(dir.path(), 1 << 42);
        assert!(!reserve.held && !file.exists());
    }
}
