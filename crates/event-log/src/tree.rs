//! The Merkle tree over the events, in plain files: what a checkpoint stands for and what proofs are made of.
//!
//! | file           | what it is                                                                                |
//! |----------------|-------------------------------------------------------------------------------------------|
//! | `tree/0`       | the leaf of each event: the hash of its bytes exactly as they were appended                |
//! | `tree/1`, …    | the roots of full subtrees of 256 leaves, of 256² leaves, and so on                        |
//! | `tree/synced`  | up to which size all of them were synced, and the root over these leaves                   |
//!
//! Hash `i` of a level is the 32 bytes from `32 * i`, so tile `n` of a level is the 8192 bytes from `8192 * n`, ready
//! to be served. Hashes are only ever added; each is a function of the events alone, so that writing one twice does no
//! harm. A new event costs its leaf and, one time in 256, a hash of the next level: the same at any size.
//!
//! Nobody who appends waits for the tree: it takes the events from the log after they are durable. It may be deleted at
//! any time, and then comes back from the events. Syncing it therefore only saves work at the next start, and is done
//! now and then. What was never synced is not believed but taken from the log again: after a power cut a file may have
//! its length and not its bytes.
//!
//! What opening checks is the right edge: the root that was synced, the newest full tile of each level against the
//! hash above it, the newest leaves against the log. [`TreeFiles::verify_levels`] and [`Comparison`] check the rest.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use tagtrail_transparency::tile::{HEIGHT, WIDTH};
use tagtrail_transparency::{Frontier, Hash, Hashes, hash, source};
use tokio::sync::watch;

use crate::files::{at, create_dir, sync_dir};
use crate::{Log, ReadError, Stored};

mod files;
mod synced;

pub use files::{Comparison, TreeFiles};
use synced::Synced;

/// After how many new leaves the tree is synced; as many are taken from the log again after a kill.
const SYNC_EVERY: u64 = 10_000;

/// How many events are read from the log at once, and of how many bytes.
const PAGE: (usize, usize) = (4096, 4 * 1024 * 1024);

/// The index of an event's leaf: events count from 1, leaves from 0. `None` for 0, which is no event.
///
/// Together with [`sequence_of`] the only place where one becomes the other. The size of a tree needs no conversion:
/// the tree of size `n` has the events 1 to `n`.
pub fn leaf_index(sequence: u64) -> Option<u64> {
    sequence.checked_sub(1)
}

/// The sequence of the event whose leaf has this index.
pub fn sequence_of(leaf_index: u64) -> u64 {
    leaf_index + 1
}

/// Of how many events the tree of a data directory has the leaves: so many were durable once. 0 where nothing can be told.
pub(crate) fn hashed(data_dir: &Path) -> u64 {
    TreeFiles::open_read_only(data_dir).map_or(0, |tree| tree.size())
}

/// How many hashes of a level a tree of this size has.
fn hashes_at(level: u8, size: u64) -> u64 {
    size.checked_shr(u32::from(level) * HEIGHT).unwrap_or(0)
}

/// Where a hash stands in the file of its level.
fn byte_of(index: u64) -> u64 {
    index * Hash::BYTES as u64
}

/// The file of a level.
fn level_path(dir: &Path, level: u8) -> PathBuf {
    dir.join(level.to_string())
}

/// How many levels the largest tree has.
const LEVELS: u8 = (u64::BITS / HEIGHT) as u8;

/// The writing end of the tree. There is one, held by whoever has the log open.
#[derive(Debug)]
pub struct Tree {
    dir: PathBuf,
    /// The file of each level, as far as there are any.
    levels: Vec<File>,
    edge: Frontier,
    /// The size that was last synced.
    synced: u64,
    /// Why nothing is called synced any more.
    failed: Option<String>,
    /// What readers may read. Moves after all hashes up to there are written.
    size: watch::Sender<u64>,
}

impl Tree {
    /// Opens the tree of the log in this data directory, or begins one.
    ///
    /// Only what follows from the events of this log is kept; the findings say what was not, or had to be mended. In
    /// any case the tree is then right and perhaps short: [`catch_up`](Tree::catch_up) gives it the rest.
    pub fn open(data_dir: &Path, log: &dyn Log) -> Result<(Tree, Vec<Finding>), TreeError> {
        let dir = data_dir.join("tree");
        create_dir(&dir)?;
        let mut tree = Tree {
            dir,
            levels: Vec::new(),
            edge: Frontier::new(),
            synced: 0,
            failed: None,
            size: watch::Sender::new(0),
        };
        let mut findings = Vec::new();
        let found = TreeFiles::open_read_only(data_dir)?.size();
        if let Err(reason) = tree.recover(log, found, &mut findings)? {
            tree.edge = Frontier::new();
            findings.push(Finding::Discarded { reason });
        }
        tree.cut()?;
        tree.synced = tree.size();
        if !findings.is_empty() || Synced::read(&tree.dir).is_none() {
            tree.write_synced()?;
        }
        tree.size.send_replace(tree.size());
        Ok((tree, findings))
    }

    /// Builds the tree anew from the log, and believes nothing of what is there. `progress` is told how many leaves it
    /// has, of how many.
    pub fn rebuild(
        data_dir: &Path,
        log: &dyn Log,
        progress: impl FnMut(u64, u64),
    ) -> Result<Tree, TreeError> {
        let dir = data_dir.join("tree");
        if dir.exists() {
            fs::remove_dir_all(&dir).map_err(at(&dir))?;
        }
        let (mut tree, _) = Tree::open(data_dir, log)?;
        tree.catch_up(log, progress)?;
        tree.sync()?;
        Ok(tree)
    }

    /// How many leaves it has, which is the sequence of the last event in it.
    pub fn size(&self) -> u64 {
        self.edge.size()
    }

    /// The root over all of them.
    pub fn root(&self) -> Hash {
        self.edge.root()
    }

    /// A handle to read it while it grows.
    pub fn files(&self) -> TreeFiles {
        TreeFiles::new(&self.dir, self.size.subscribe())
    }

    /// Adds the next events. If that fails, nothing was added, and it may be tried again.
    ///
    /// Readers see all of them or none. A tree that ends within a run is one that nobody should sign.
    pub fn append(&mut self, events: &[Stored]) -> Result<(), TreeError> {
        for (stored, due) in events.iter().zip(sequence_of(self.size())..) {
            if stored.sequence != due {
                return Err(TreeError::OutOfOrder { due, found: stored.sequence });
            }
        }
        self.grow(events.iter().map(|stored| hash::leaf(&stored.payload)))?;
        self.size.send_replace(self.size());
        if self.size() - self.synced >= SYNC_EVERY
            && self.failed.is_none()
            && let Err(error) = self.sync()
        {
            tracing::warn!(%error, "the Merkle tree cannot be synced: the next start takes longer");
        }
        Ok(())
    }

    /// Adds the events it lacks, up to the head the log has now. `progress` is told how many it has, of how many.
    pub fn catch_up(&mut self, log: &dyn Log, mut progress: impl FnMut(u64, u64)) -> Result<(), TreeError> {
        let head = log.head();
        while self.size() < head {
            let lacking = usize::try_from(head - self.size()).unwrap_or(usize::MAX);
            self.append(&log.read(sequence_of(self.size()), lacking.min(PAGE.0), PAGE.1)?)?;
            progress(self.size(), head);
        }
        Ok(())
    }

    /// Makes durable what is there, so that the next start need not take it from the log. To be called before the tree
    /// is closed; in between it happens by itself.
    ///
    /// No checkpoint has to wait for it: the events are durable, and the same tree comes back from them.
    pub fn sync(&mut self) -> io::Result<()> {
        if self.synced == self.size() {
            return Ok(());
        }
        // A failed sync is never tried again: the next one may report success for bytes that are nowhere.
        if let Some(reason) = &self.failed {
            return Err(io::Error::other(reason.clone()));
        }
        self.write_synced().inspect_err(|error| self.failed = Some(error.to_string()))
    }

    fn write_synced(&mut self) -> io::Result<()> {
        for (level, file) in (0..).zip(&self.levels) {
            file.sync_data().map_err(at(&level_path(&self.dir, level)))?;
        }
        sync_dir(&self.dir)?;
        Synced { size: self.size(), root: self.root() }.write(&self.dir)?;
        self.synced = self.size();
        Ok(())
    }

    /// Adds leaves, and whatever they complete.
    fn grow(&mut self, leaves: impl IntoIterator<Item = Hash>) -> io::Result<()> {
        let mut edge = self.edge.clone();
        // For each level its new hashes, and the index of the first.
        let mut new: Vec<(u64, Vec<u8>)> = Vec::new();
        for leaf in leaves {
            edge.push_and_keep(leaf, |level, index, hash| {
                if new.len() == usize::from(level) {
                    new.push((index, Vec::new()));
                }
                new[usize::from(level)].1.extend_from_slice(hash.as_bytes());
            });
        }
        self.open_levels(new.len())?;
        // The leaves last: to other processes their number is the size of the tree.
        for (level, (first, bytes)) in new.iter().enumerate().rev() {
            let path = level_path(&self.dir, level as u8);
            self.levels[level].write_all_at(bytes, byte_of(*first)).map_err(at(&path))?;
        }
        self.edge = edge;
        Ok(())
    }

    fn open_levels(&mut self, count: usize) -> io::Result<()> {
        for level in self.levels.len()..count {
            let path = level_path(&self.dir, level as u8);
            let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
            self.levels.push(file.map_err(at(&path))?);
        }
        Ok(())
    }

    /// Finds how much of the `found` leaves can be kept. An inner error says why it is nothing at all.
    fn recover(
        &mut self,
        log: &dyn Log,
        found: u64,
        findings: &mut Vec<Finding>,
    ) -> Result<Result<(), String>, TreeError> {
        let Some(synced) = Synced::read(&self.dir) else {
            return Ok(if found == 0 { Ok(()) } else { Err("nothing says that it was synced".to_owned()) });
        };
        let files = TreeFiles::of_size(&self.dir, synced.size);
        if let Err(error) = check_edge(&files, &synced) {
            let reason = error.to_string();
            // The leaves may still be well, and all else follows from them.
            match self.grow_from_leaves(&files) {
                Ok(()) if self.root() == synced.root => findings.push(Finding::Mended { reason }),
                _ => return Ok(Err(reason)),
            }
        }
        let (head, size) = (log.head(), synced.size);
        if found > size {
            findings.push(Finding::Unsynced { synced: size, found });
        }
        if size > head {
            findings.push(Finding::Longer { size, head });
        }
        self.edge = match source::frontier(&files, size.min(head)) {
            Ok(edge) => edge,
            Err(error) => return Ok(Err(error.to_string())),
        };
        self.check_newest_leaves(&files, log)
    }

    /// Computes the whole tree anew from its level 0.
    fn grow_from_leaves(&mut self, files: &TreeFiles) -> Result<(), TreeError> {
        for first in (0..files.size()).step_by(WIDTH as usize) {
            let count = (files.size() - first).min(WIDTH) as usize;
            self.grow(files.tile_hashes(0, first, count)?)?;
        }
        Ok(())
    }

    /// Whether the newest leaves are those of the log's events: it may be another log, or have gone on otherwise.
    fn check_newest_leaves(&self, files: &TreeFiles, log: &dyn Log) -> Result<Result<(), String>, TreeError> {
        let mut index = self.size().saturating_sub(1) / WIDTH * WIDTH;
        while index < self.size() {
            let count = (self.size() - index) as usize;
            for stored in log.read(sequence_of(index), count, PAGE.1)? {
                if files.tile_hash(0, index)? != hash::leaf(&stored.payload) {
                    return Ok(Err(format!(
                        "event {} of the log is not the one it was built from",
                        stored.sequence
                    )));
                }
                index += 1;
            }
        }
        Ok(Ok(()))
    }

    /// Cuts every level to what a tree of this size has.
    fn cut(&mut self) -> io::Result<()> {
        let there = (0..LEVELS).rev().find(|level| level_path(&self.dir, *level).exists());
        self.open_levels(there.map_or(0, |level| usize::from(level) + 1))?;
        for (level, file) in (0..).zip(&self.levels) {
            let length = byte_of(hashes_at(level, self.size()));
            if file.metadata()?.len() != length {
                file.set_len(length).map_err(at(&level_path(&self.dir, level)))?;
            }
        }
        Ok(())
    }
}

/// Checks the root that was synced, which covers each partial tile, and the newest full tile of each level against the
/// hash above it.
fn check_edge(files: &TreeFiles, synced: &Synced) -> Result<(), TreeError> {
    if source::root(files, synced.size)? != synced.root {
        return Err(TreeError::WrongRoot { size: synced.size });
    }
    (1..LEVELS).try_for_each(|level| match hashes_at(level, synced.size) {
        0 => Ok(()),
        count => files.verify_hash(level, count - 1),
    })
}

/// One thing that was not as it should be when the tree was opened, and what was done about it. Nothing of it touches
/// the events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The newest leaves had not been synced, which is usual after a kill. They are taken from the log again.
    Unsynced {
        /// Up to which size it was synced.
        synced: u64,
        /// The size it had.
        found: u64,
    },
    /// It had more leaves than the log has events: the log is older than the tree. It was cut.
    Longer {
        /// Its size.
        size: u64,
        /// The head of the log.
        head: u64,
    },
    /// Its upper levels were damaged. They were computed anew from its leaves.
    Mended {
        /// What was wrong.
        reason: String,
    },
    /// Nothing of it could be used. It is built anew from the log.
    Discarded {
        /// What was wrong.
        reason: String,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::Unsynced { synced, found } => {
                write!(
                    f,
                    "the Merkle tree was synced up to event {synced} of {found}: the rest is taken from the log"
                )
            }
            Finding::Longer { size, head } => {
                write!(
                    f,
                    "the Merkle tree went up to event {size}, and the log ends with {head}: cut; has an older log been \
                     restored?"
                )
            }
            Finding::Mended { reason } => {
                write!(f, "the Merkle tree was damaged ({reason}): computed anew from its leaves")
            }
            Finding::Discarded { reason } => {
                write!(f, "the Merkle tree could not be used ({reason}): it is built anew from the log")
            }
        }
    }
}

/// Why the tree cannot be written, read or believed. It can always be had again: delete `tree` and open the log.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// The events given are not the next ones.
    #[error("the Merkle tree was given event {found} where {due} was due")]
    OutOfOrder {
        /// The sequence that was due.
        due: u64,
        /// The sequence that was given.
        found: u64,
    },
    /// More was asked for than there is.
    #[error("the Merkle tree of {size} leaves has no hash {index} of level {level}")]
    Beyond {
        /// The level asked for.
        level: u8,
        /// The last index asked for.
        index: u64,
        /// How many leaves the tree has.
        size: u64,
    },
    /// A file is shorter than the tree needs it.
    #[error("{} is cut off: hash {index} should end at byte {end}", path.display())]
    CutOff {
        /// The file.
        path: PathBuf,
        /// The last hash that was to be read.
        index: u64,
        /// Where it should end.
        end: u64,
    },
    /// A hash does not follow from what is below it.
    #[error(
        "{} is damaged: hash {index} of level {level}, over the events {first} to {last}, is not what follows from {below}",
        path.display()
    )]
    Wrong {
        /// The file.
        path: PathBuf,
        /// The level, from 0.
        level: u8,
        /// The index in the level, from 0.
        index: u64,
        /// The first event it covers.
        first: u64,
        /// The last event it covers.
        last: u64,
        /// What it should follow from: the events, or the hashes of the level below.
        below: &'static str,
    },
    /// The root is not the one that was synced.
    #[error("the root over its first {size} leaves is not the one it had when it was synced")]
    WrongRoot {
        /// How many leaves.
        size: u64,
    },
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] ReadError),
    /// The disk did not answer.
    #[error("the Merkle tree: {0}")]
    Io(#[from] io::Error),
}

#[cfg(test)]
mod tests;
