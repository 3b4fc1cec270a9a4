//! The log proves itself: a Merkle tree over the stored events, and checkpoints of it that are signed.
//!
//! | module    | the one idea                                                                        |
//! |-----------|-------------------------------------------------------------------------------------|
//! | `key`     | the key that signs: made once, and kept to itself                                   |
//! | `kept`    | the newest checkpoint, kept in two places                                           |
//! | `signing` | the tree follows the log; once a second at most its root is signed                  |
//! | `tiles`   | the same for everybody, as files over HTTP                                          |
//! | `rollback`| the log goes on as another one, after somebody has accepted that events are lost    |
//!
//! Nothing of this is on the way of a write: an event is durable and acknowledged before the tree hears of it. A checkpoint
//! is kept before anybody sees it, so that no start can forget what was signed.

mod kept;
mod key;
mod rollback;
mod signing;
#[cfg(test)]
mod tests;
mod tiles;

use std::sync::{Arc, Mutex, PoisonError};

use tagtrail_api::v1;
use tagtrail_event_log::tree::{self, Comparison, Finding, Tree, TreeError, TreeFiles};
use tagtrail_event_log::{Log, ReadError};
use tagtrail_transparency::tile::WIDTH;
use tagtrail_transparency::{Checkpoint, Hashes as _, Receipt, SigningKey, hash, proof, source};
use tokio::sync::watch;

use crate::config::Config;
use kept::Kept;

pub(crate) use rollback::go_on;
pub(crate) use tiles::routes;

/// The tree of a log, and what was signed of it.
pub(crate) struct Audit {
    log: Arc<dyn Log>,
    tree: TreeFiles,
    key: SigningKey,
    /// The newest checkpoint. `None`: nothing is signed yet, or any more.
    newest: watch::Sender<Option<Arc<Signed>>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Why the log does not go on from what was signed. It is then only read.
    suspended: Option<String>,
    /// Why the newest events are not signed yet.
    problem: Option<String>,
}

/// A signed checkpoint.
#[derive(Debug)]
pub(crate) struct Signed {
    /// What is signed.
    pub(crate) checkpoint: Checkpoint,
    /// The note, byte for byte.
    pub(crate) note: String,
}

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuditError {
    /// The log is not signed.
    #[error("the log is not signed: {0}")]
    Suspended(String),
    /// The newest events cannot be signed for now.
    #[error("it is not signed yet: {0}")]
    Unsigned(String),
    /// The log does not have it.
    #[error("{0}")]
    OutOfRange(String),
    /// It cannot be asked for.
    #[error("{0}")]
    Malformed(String),
    /// The server stops, or has not begun.
    #[error("the server is starting or stopping")]
    NotReady,
    /// The log could not be read.
    #[error(transparent)]
    Log(#[from] ReadError),
    /// The tree could not be read.
    #[error("{0}; restart the server, and the tree is built anew from the log")]
    Tree(String),
}

/// Why the log cannot be proved at all.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The disk, with the key or a checkpoint.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The tree.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// What is there when the server starts: the key, and what was signed before.
pub(crate) struct Opened {
    pub(crate) audit: Arc<Audit>,
    /// What is worth telling.
    pub(crate) findings: Vec<String>,
    tree: Tree,
    kept: Kept,
}

/// What opening the log found.
#[derive(Clone, Copy, Default)]
pub(crate) struct Opening {
    /// It was made just now.
    pub(crate) created: bool,
    /// One of its copies was damaged or missing, and made anew from the other.
    pub(crate) doubtful: bool,
}

/// What follows from its not being the log that was signed.
const ONLY_READ: &str = "; the log is only read. Put back what is missing, or, if the loss is to be accepted, start once with --accept-rollback: the log then goes on under a new id, and its next event tells of this";

fn another_history(sequence: u64) -> String {
    format!("event {sequence} is not the one that was hashed when it was written: this is another history")
}

/// The first event that is not the one its leaf was made of, as far as there is time to look.
fn differing(log: &dyn Log, tree: &TreeFiles, goes_on: impl Fn() -> bool) -> Result<Option<u64>, OpenError> {
    let mut comparison = Comparison::new(tree);
    let size = comparison.size().min(log.head());
    let mut next = 1;
    while next <= size && goes_on() {
        let wanted = usize::try_from(size + 1 - next).unwrap_or(usize::MAX).min(4096);
        for stored in log.read(next, wanted, 4 << 20).map_err(TreeError::from)? {
            if let Err(error) = comparison.push(&stored) {
                // It may also be a hash above leaves that are well: that is damage to the tree, and no other history.
                return match first_differing(log, tree, stored.sequence)? {
                    Some(sequence) => Ok(Some(sequence)),
                    None => Err(error.into()),
                };
            }
            next = stored.sequence + 1;
        }
    }
    Ok(None)
}

/// The same, among those that were compared together with an event.
fn first_differing(log: &dyn Log, tree: &TreeFiles, until: u64) -> Result<Option<u64>, OpenError> {
    for sequence in until.saturating_sub(2 * WIDTH).max(1)..=until {
        let stored = log.read(sequence, 1, usize::MAX).map_err(TreeError::from)?;
        let leaf = tree.tile_hash(0, sequence - 1).map_err(OpenError::from)?;
        if stored.first().is_none_or(|stored| hash::leaf(&stored.payload) != leaf) {
            return Ok(Some(sequence));
        }
    }
    Ok(None)
}

/// A tree that is not the one of events that are well.
fn damaged_tree(error: &OpenError) -> String {
    format!(
        "the Merkle tree is damaged ({error}): stop the server, delete tree/, and start it, and it comes back from the events"
    )
}

impl Audit {
    /// Brings the tree up to the log, and looks whether it goes on from what was signed before. Where it does not, nothing is
    /// signed, and the log is only to be read.
    pub(crate) fn open(
        config: &Config,
        log: Arc<dyn Log>,
        opening: Opening,
        seed: impl FnOnce() -> [u8; 32],
    ) -> Result<Opened, OpenError> {
        let mut findings = Vec::new();
        let was_hashed = TreeFiles::open_read_only(&config.data_dir).is_ok_and(|tree| tree.size() > 0);
        let (mut tree, mended) = Tree::open(&config.data_dir, &*log)?;
        // That the newest hashes were not synced is usual after a kill.
        let unusual = mended.iter().filter(|finding| !matches!(finding, Finding::Unsynced { .. }));
        findings.extend(unusual.map(ToString::to_string));
        // What opening the tree looks at is its end. Where an older event may be another than it was, all are looked at.
        let differs = match opening.doubtful.then(|| differing(&*log, &tree.files(), || true)) {
            Some(Ok(differs)) => differs,
            Some(Err(error)) => {
                findings.push(damaged_tree(&error));
                None
            }
            None => None,
        };
        signing::catch_up(&mut tree, &*log)?;
        let copy = config.audit.checkpoint_copy.clone();
        let copy = copy.filter(|path| config.audit.copy_is_chosen || kept::can_keep(path));
        let kept = Kept::open(&config.data_dir, copy, &mut findings);
        let origin = format!("{}/{}", config.audit.name, log.id());
        // A log of which events were hashed has had a key, unless it has just become another log.
        let continued = || rollback::continued_before(&*log).map_err(TreeError::from);
        let unsigned = kept.is_empty() && (!was_hashed || continued()?);
        let key = key::load(
            &config.audit.key_file(&config.data_dir),
            &origin,
            seed,
            opening.created || log.head() == 0 || unsigned,
        );
        let (key, mut suspended) = match key {
            Ok((key, finding)) => {
                findings.extend(finding);
                let suspended = kept.contradiction(&key, &tree.files()).or(differs.map(another_history));
                (key, suspended)
            }
            Err(key::KeyError::Io(error)) => return Err(error.into()),
            // Something has to stand for it. It signs nothing.
            Err(key::KeyError::Gone(why)) => {
                let nobody = SigningKey::from_seed(&origin, &[0; 32]).map_err(std::io::Error::other)?;
                (nobody, Some(why))
            }
        };
        if let Some(why) = &mut suspended {
            why.push_str(ONLY_READ);
            findings.push(format!("nothing is written or signed: {why}"));
        }
        let audit = Arc::new(Self {
            log,
            tree: tree.files(),
            key,
            newest: watch::Sender::new(None),
            state: Mutex::default(),
        });
        audit.change(|state| state.suspended = suspended);
        Ok(Opened { audit, findings, tree, kept })
    }

    /// Why the log is only read. `None`: it takes events.
    pub(crate) fn suspended(&self) -> Option<String> {
        self.lock().suspended.clone()
    }

    /// Returns when the log is only read, which may be never.
    pub(crate) async fn until_suspended(&self) {
        let mut newest = self.newest.subscribe();
        newest.mark_changed();
        while newest.changed().await.is_ok() && self.suspended().is_none() {}
    }

    /// How it is, in the words of the wire.
    pub(crate) fn status(&self) -> v1::AuditStatus {
        let State { suspended, problem } = &*self.lock();
        let problem = suspended.as_ref().or(problem.as_ref()).cloned().unwrap_or_default();
        v1::AuditStatus {
            origin: self.key.name().to_owned(),
            verifier_key: if suspended.is_some() { String::new() } else { self.key.verifier().to_string() },
            signed: self.newest.borrow().as_ref().map_or(0, |signed| signed.checkpoint.size()),
            problem,
        }
    }

    /// The hashes of the tree, which grows.
    pub(crate) fn tree(&self) -> &TreeFiles {
        &self.tree
    }

    /// The newest checkpoint, if there is one.
    pub(crate) fn newest(&self) -> Option<Arc<Signed>> {
        self.newest.borrow().clone()
    }

    /// The newest checkpoint, once it covers a sequence.
    pub(crate) async fn covering(&self, sequence: u64) -> Result<Arc<Signed>, AuditError> {
        let head = self.log.head();
        if sequence > head {
            return Err(AuditError::OutOfRange(format!(
                "the log ends at sequence {head}; {sequence} lies beyond it"
            )));
        }
        let mut newest = self.newest.subscribe();
        loop {
            if let Some(why) = self.suspended() {
                return Err(AuditError::Suspended(why));
            }
            if let Some(signed) = &*newest.borrow_and_update()
                && signed.checkpoint.size() >= sequence
            {
                return Ok(signed.clone());
            }
            // Nobody can say how long that takes.
            if let Some(why) = self.lock().problem.clone() {
                return Err(AuditError::Unsigned(why));
            }
            newest.changed().await.map_err(|_| AuditError::NotReady)?;
        }
    }

    /// The receipt for an event: that it is in the log that the checkpoint is of.
    pub(crate) fn receipt(&self, sequence: u64, signed: &Signed) -> Result<Proven, AuditError> {
        let index = tree::leaf_index(sequence).ok_or_else(|| {
            AuditError::Malformed("the first event has sequence 1; there is none with 0".into())
        })?;
        let size = signed.checkpoint.size();
        let hashes = proof::inclusion(&self.tree, index, size).map_err(unproven)?;
        let event = self.log.read(sequence, 1, usize::MAX)?.remove(0).payload;
        let leaf = hash::leaf(&event);
        // What is handed out holds: better no receipt than one that a stranger finds to be wrong.
        proof::verify_inclusion(&leaf, index, size, &hashes, signed.checkpoint.root())
            .map_err(|error| AuditError::Tree(format!("the tree does not fit event {sequence} ({error})")))?;
        let note = tagtrail_transparency::Note::parse(signed.note.as_bytes()).expect("it was signed here");
        let receipt = Receipt::new(index, hashes.clone(), note).with_extra(event.to_vec());
        Ok(Proven { event, index, size, hashes, receipt: receipt.to_string() })
    }

    /// That the log of one size goes on from the log of another.
    pub(crate) fn consistency(&self, from: u64, to: u64) -> Result<Vec<hash::Hash>, AuditError> {
        let size = self.newest().map_or(0, |signed| signed.checkpoint.size());
        if to > size {
            return Err(AuditError::OutOfRange(format!(
                "the newest checkpoint has size {size}; {to} lies beyond it"
            )));
        }
        if from == 0 || from > to {
            let text = format!("the first size, {from}, has to be between 1 and the second, {to}");
            return Err(AuditError::Malformed(text));
        }
        proof::consistency(&self.tree, from, to).map_err(unproven)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        crate::metrics::audit(state.suspended.is_some(), state.problem.is_some());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An event, and what proves it.
pub(crate) struct Proven {
    /// As it is stored.
    pub(crate) event: bytes::Bytes,
    /// Its leaf's index.
    pub(crate) index: u64,
    /// Size of the tree.
    pub(crate) size: u64,
    /// The proof.
    pub(crate) hashes: Vec<hash::Hash>,
    /// The receipt, as a file.
    pub(crate) receipt: String,
}

fn unproven<E: std::fmt::Display>(error: proof::ProveError<E>) -> AuditError {
    AuditError::Tree(error.to_string())
}

/// The root of the tree at a size.
fn root(tree: &TreeFiles, size: u64) -> Result<hash::Hash, String> {
    source::root(tree, size).map_err(|error| error.to_string())
}
