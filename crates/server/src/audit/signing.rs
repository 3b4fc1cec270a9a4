//! The tree follows the log. Its root is signed once a second at most while events come, and soon after the last one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tagtrail_event_log::Log;
use tagtrail_event_log::tree::{Tree, TreeError};
use tagtrail_transparency::Checkpoint;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::kept::{KeepError, Kept};
use super::{Audit, ONLY_READ, Opened, Signed, another_history, damaged_tree, differing};

/// The shortest time between two checkpoints.
const CADENCE: Duration = Duration::from_secs(1);
/// How soon it is tried again after a failure of the disk.
const PAUSE: Duration = Duration::from_secs(5);
/// How often a long way is told of, in events.
const TOLD: u64 = 500_000;

/// Why there is no newer checkpoint.
enum SignError {
    /// It may be tried again.
    Failed(String),
    /// It is not to be tried again.
    Suspended(String),
}

impl Opened {
    /// Signs what there is, and then what comes, until `stop` turns true; and once more then.
    pub(crate) fn start(self, stop: watch::Receiver<bool>) -> JoinHandle<()> {
        let Self { audit, tree, kept, .. } = self;
        if audit.suspended().is_some() {
            return tokio::spawn(async {});
        }
        let looking = look_over(audit.clone(), stop.clone());
        let following = follow(Signer { audit, tree, kept }, stop);
        tokio::spawn(async { _ = tokio::join!(looking, following) })
    }
}

/// Holds each event that was there at the start against the hash it had when it was written: what opening looked at is the end of the
/// log. Beside everything else, for it takes some seconds for a million events.
pub(super) async fn look_over(audit: Arc<Audit>, stop: watch::Receiver<bool>) {
    let looking = audit.clone();
    let looked = tokio::task::spawn_blocking(move || {
        differing(&*looking.log, &looking.tree, || !*stop.borrow() && looking.suspended().is_none())
    });
    match looked.await {
        Ok(Ok(None)) => {}
        Ok(Ok(Some(sequence))) => {
            let why = another_history(sequence) + ONLY_READ;
            tracing::error!(why, "the log is not signed any more, and only read");
            audit.suspend(why);
        }
        Ok(Err(error)) => tracing::error!("{}", damaged_tree(&error)),
        Err(error) => tracing::error!(%error, "the log could not be compared with its tree"),
    }
}

/// What signs.
struct Signer {
    audit: Arc<Audit>,
    tree: Tree,
    kept: Kept,
}

async fn follow(mut signer: Signer, mut stop: watch::Receiver<bool>) {
    let audit = signer.audit.clone();
    let mut head = audit.log.follow();
    loop {
        if audit.suspended().is_some() {
            return;
        }
        let began = Instant::now();
        let stopping = *stop.borrow();
        head.mark_unchanged();
        let (back, signed) = match tokio::task::spawn_blocking(move || {
            let signed = signer.sign();
            (signer, signed)
        })
        .await
        {
            Ok(done) => done,
            Err(error) => {
                tracing::error!(%error, "the log is not signed any more");
                audit.fail(format!("signing broke off ({error}); restart the server"));
                return;
            }
        };
        let pause = match signed {
            Ok(()) => CADENCE,
            Err(SignError::Failed(why)) => {
                tracing::error!(why, "the newest events could not be signed");
                audit.fail(why);
                PAUSE
            }
            Err(SignError::Suspended(why)) => {
                tracing::error!(why, "the log is not signed any more, and only read");
                audit.suspend(why);
                return;
            }
        };
        signer = back;
        if stopping {
            signer.tree.sync().ok();
            return;
        }
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => continue,
            () = tokio::time::sleep(pause.saturating_sub(began.elapsed())) => {}
        }
        if pause == CADENCE {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => {}
                changed = head.changed() => if changed.is_err() { return },
            }
        }
    }
}

impl Signer {
    /// Brings the tree up to the log, and signs its root, if that is new. Kept before anybody sees it.
    fn sign(&mut self) -> Result<(), SignError> {
        catch_up(&mut self.tree, &*self.audit.log).map_err(|error| SignError::Failed(error.to_string()))?;
        let size = self.tree.size();
        let newest = self.audit.newest();
        if newest.is_some_and(|newest| newest.checkpoint.size() == size) {
            return Ok(());
        }
        let key = &self.audit.key;
        let checkpoint = Checkpoint::new(key.name(), size, self.tree.root())
            .map_err(|error| SignError::Failed(error.to_string()))?;
        let note = checkpoint.sign(key).map_err(|error| SignError::Failed(error.to_string()))?.to_string();
        self.kept.keep(&note).map_err(|error| match error {
            KeepError::Io(error) => SignError::Failed(error.to_string()),
            KeepError::Taken(path) => SignError::Suspended(format!(
                "{} holds a checkpoint that is not the one this server has put there: another server signs as this log",
                path.display()
            )),
        })?;
        self.audit.change(|state| state.problem = None);
        crate::metrics::signed(size);
        self.audit.newest.send_replace(Some(Arc::new(Signed { checkpoint, note })));
        Ok(())
    }
}

impl Audit {
    fn fail(&self, why: String) {
        self.change(|state| state.problem = Some(why));
        // Whoever waits for a newer one hears of it.
        self.newest.send_modify(|_| {});
    }

    fn suspend(&self, why: String) {
        self.change(|state| state.suspended = Some(why));
        // Whoever waits for a newer one hears of it.
        self.newest.send_replace(None);
    }
}

/// Gives the tree the events that it does not have, and tells of it where that takes long.
pub(super) fn catch_up(tree: &mut Tree, log: &dyn Log) -> Result<(), TreeError> {
    let mut told = tree.size() / TOLD;
    tree.catch_up(log, |at, head| {
        if at / TOLD != told {
            told = at / TOLD;
            tracing::info!(at, head, "hashing the log");
        }
    })
}
