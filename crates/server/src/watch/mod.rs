//! Following the log: what is asked for of the past, then everything as it happens.
//!
//! | module    | the one idea                                                                      |
//! |-----------|-----------------------------------------------------------------------------------|
//! | `tail`    | the newest events, in memory once for all watchers, fed by the writer             |
//! | `filter`  | what a watcher asks for, and which events that means                              |
//! | `pace`    | how fast a watcher has to be, and when it hears that nothing happens              |
//! | `reading` | what only the disk knows: older events, and streams as they were                  |
//! | `watcher` | one watcher: where it is, and what it is handed next                              |
//!
//! A watcher is pulled: it looks for its next answer when the one before was taken, and keeps no more than a small page
//! of events. One that has stopped costs that page; one that is slow reads the log, however far it is behind.

pub(crate) mod filter;
mod pace;
mod reading;
pub(crate) mod tail;
mod watcher;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};

use crate::config::Repository;
use crate::past::{Past, PastError};
use filter::Wish;
use reading::Reader;
use tail::Tail;
pub(crate) use watcher::Watcher;

/// How many watchers may read the disk at the same time.
const READERS: usize = 4;

/// What all watchers share.
#[derive(Clone)]
pub(crate) struct Watches {
    tail: Arc<Tail>,
    reader: Arc<Reader>,
    stopped: watch::Receiver<bool>,
    patience: Duration,
}

/// Why a watch ends before its watcher goes away. `after` is the position to resume from; `None`: the snapshot was not
/// complete, and has to be asked for again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum End {
    /// The watcher has let an answer lie for too long.
    #[error("the watch was cut off: its watcher took no answer for {} seconds; {}", patience.as_secs(), resume(*after))]
    Slow { after: Option<u64>, patience: Duration },
    /// The server stops.
    #[error("the server is stopping; {}", resume(*after))]
    Stopping { after: Option<u64> },
    /// The log could not be read.
    #[error(transparent)]
    Unreadable(#[from] PastError),
    /// Something that cannot be; in words.
    #[error("{0}")]
    Broken(String),
}

fn resume(after: Option<u64>) -> String {
    match after {
        Some(after) => format!("resume with after_sequence {after}"),
        None => "the snapshot was not complete: ask for it again".into(),
    }
}

impl Watches {
    /// Lets the log be watched until `stopped` turns true. `patience` is how long an answer may lie ready.
    pub(crate) fn new(
        past: Past,
        repository: Repository,
        stopped: watch::Receiver<bool>,
        patience: Duration,
    ) -> Self {
        Self {
            // When an event came has to be known only as exactly as patience is measured.
            tail: Arc::new(Tail::new(patience / 32)),
            reader: Arc::new(Reader { past, repository, permits: Arc::new(Semaphore::new(READERS)) }),
            stopped,
            patience,
        }
    }

    /// What the writer tells of its commits.
    pub(crate) fn tail(&self) -> Arc<Tail> {
        self.tail.clone()
    }

    /// Begins to watch.
    pub(crate) fn watch(&self, wish: Wish) -> Watcher {
        Watcher::new(self.clone(), wish)
    }
}
