//! The same log without a disk, for tests of everything above it. Durable only as long as the process.

use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::watch;

use crate::page::Page;
use crate::{AppendError, Log, LogId, ReadError, Run, Stored, admit};

/// A log in memory. Clones share it, as two handles of one log.
#[derive(Clone, Debug)]
pub struct MemoryLog {
    id: LogId,
    events: Arc<Mutex<Vec<Stored>>>,
    head: watch::Sender<u64>,
}

impl MemoryLog {
    /// An empty log with this identity.
    pub fn new(id: LogId) -> MemoryLog {
        MemoryLog { id, events: Arc::default(), head: watch::Sender::new(0) }
    }

    fn events(&self) -> MutexGuard<'_, Vec<Stored>> {
        self.events.lock().expect("no holder of this lock panics")
    }
}

impl Log for MemoryLog {
    fn id(&self) -> LogId {
        self.id
    }

    fn head(&self) -> u64 {
        *self.head.borrow()
    }

    fn append(&self, expected_head: u64, runs: &[Run]) -> Result<u64, AppendError> {
        let mut events = self.events();
        let mut sequence = events.len() as u64;
        for (last_of_run, payload) in admit(sequence, expected_head, runs)? {
            sequence += 1;
            events.push(Stored { sequence, last_of_run, payload: payload.clone() });
        }
        if sequence > expected_head {
            self.head.send_replace(sequence);
        }
        Ok(sequence)
    }

    fn read(&self, from: u64, max_events: usize, max_bytes: usize) -> Result<Vec<Stored>, ReadError> {
        let events = self.events();
        let skipped = usize::try_from(from.max(1) - 1).unwrap_or(usize::MAX);
        let mut page = Page::new(max_events, max_bytes);
        for stored in events.iter().skip(skipped) {
            if !page.take(stored.clone()) {
                break;
            }
        }
        Ok(page.into_events())
    }

    fn follow(&self) -> watch::Receiver<u64> {
        self.head.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance;

    #[test]
    fn conforms() {
        conformance::check(|| {
            let log = MemoryLog::new(LogId::from_bytes([7; 16]));
            move || log.clone()
        });
    }
}
