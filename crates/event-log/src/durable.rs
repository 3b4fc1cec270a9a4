//! Makes sled's `flush` reach the disk, and proves at start that it does.
//!
//! On Linux, sled 0.34 makes its writes durable with `sync_file_range`, which writes the data out but neither the
//! file's new length nor its extents, and which leaves the disk's own cache alone. After a power cut its file is
//! then often unreadable. This module defines the symbol `sync_file_range` itself, as `fdatasync`: an executable's
//! own symbol goes before the C library's, so every sync of sled becomes a real one.
//!
//! Should the symbol ever not be linked (a static C library, another link order), `SledCopy::prove_durable` notices, and the log
//! refuses to open rather than promise what it cannot keep.

#![allow(unsafe_code)] // The only place: one foreign symbol, defined and called with the C library's own types.

#[cfg(not(target_os = "linux"))]
compile_error!("the log's durability is built and proven for Linux only");

use std::sync::atomic::{AtomicU64, Ordering};

use libc::{c_int, c_uint, off64_t};

/// How often [`sync_file_range`] was called in this process.
static CALLS: AtomicU64 = AtomicU64::new(0);

/// Syncs the whole file, whatever range was asked for. Takes the place of the C library's function of this name.
///
/// # Safety
/// None beyond the C library's: a bad descriptor is answered with −1 and `errno`.
#[unsafe(no_mangle)]
pub extern "C" fn sync_file_range(fd: c_int, _offset: off64_t, _bytes: off64_t, _flags: c_uint) -> c_int {
    CALLS.fetch_add(1, Ordering::Relaxed);
    // SAFETY: fdatasync takes any number for a descriptor and touches no memory of ours.
    unsafe { libc::fdatasync(fd) }
}

/// Sled's flush did not come through this module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this build of the program cannot make sled durable (its own sync_file_range is not linked in): do not use it"
)]
pub struct NotInterposed;

/// How many syncs came through here. A flush of sled that wrote something and did not move this was not durable.
pub(crate) fn syncs() -> u64 {
    CALLS.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn a_sync_is_counted_and_its_error_passed_on() {
        let file = tempfile::tempfile().unwrap();
        let before = syncs();
        assert_eq!(sync_file_range(file.as_raw_fd(), 0, 0, 0), 0);
        assert!(syncs() > before);
        assert_eq!(sync_file_range(-1, 0, 0, 0), -1);
    }
}
