//! A TCP port that stays one's own, also while nobody listens on it.

use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::net::TcpListener;
use std::process;
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Context, Result, bail};
use rustix::process::getuid;

/// Below what systems hand out for outgoing connections (Linux: from 32,768), so that none of those ever takes one of ours
/// while its owner is down.
const FIRST: u16 = 20_000;
const COUNT: u16 = 10_000;

/// A port on 127.0.0.1, reserved until this is dropped or the process ends, however it ends.
///
/// Others who reserve in this way, in this process or another, get other ports: each port is a locked file.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _lock: File,
}

impl Port {
    /// Reserves a port that nothing listens on.
    pub fn reserve() -> Result<Port> {
        static TRIED: AtomicU16 = AtomicU16::new(0);
        let directory = std::env::temp_dir().join(format!("tagtrail-test-ports-{}", getuid().as_raw()));
        fs::create_dir_all(&directory)?;
        // Processes that run at the same time begin at different places, only to be quicker.
        let begin = (process::id() % u32::from(COUNT)) as u16;
        for _ in 0..COUNT {
            let next = TRIED.fetch_add(1, Ordering::Relaxed) % COUNT;
            let number = FIRST + ((u32::from(begin) + u32::from(next)) % u32::from(COUNT)) as u16;
            let path = directory.join(number.to_string());
            let lock = File::options().create(true).append(true).open(&path);
            let lock = lock.with_context(|| format!("could not open {}", path.display()))?;
            match lock.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => continue,
                Err(TryLockError::Error(error)) => {
                    return Err(error).with_context(|| format!("could not lock {}", path.display()));
                }
            }
            match TcpListener::bind(("127.0.0.1", number)) {
                Ok(_) => return Ok(Port { number, _lock: lock }),
                // Somebody who does not reserve.
                Err(error) if error.kind() == ErrorKind::AddrInUse => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("could not listen on port {number}"));
                }
            }
        }
        bail!("none of the ports {FIRST} to {} is free", FIRST + COUNT - 1)
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.number
    }
}
