//! Reading the tree, beside whoever writes it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tagtrail_transparency::tile::{HEIGHT, WIDTH};
use tagtrail_transparency::{Frontier, Hash, Hashes, hash};
use tokio::sync::watch;

use super::{LEVELS, TreeError, byte_of, hashes_at, level_path, sequence_of};
use crate::Stored;
use crate::files::at;

const EVENTS: &str = "the events";
const HASHES: &str = "the hashes below it";

/// The hashes of a tree, for reading only. Clones read the same tree.
///
/// Only what the writer has finished is read, so it goes on meanwhile.
#[derive(Clone, Debug)]
pub struct TreeFiles {
    dir: Arc<PathBuf>,
    size: watch::Receiver<u64>,
}

impl TreeFiles {
    pub(super) fn new(dir: &Path, size: watch::Receiver<u64>) -> TreeFiles {
        TreeFiles { dir: Arc::new(dir.to_owned()), size }
    }

    /// What files with this many leaves hold, whether they do or not.
    pub(super) fn of_size(dir: &Path, size: u64) -> TreeFiles {
        TreeFiles::new(dir, watch::Sender::new(size).subscribe())
    }

    /// Opens the tree of a data directory that another process may have open. Nothing is written, nothing locked.
    ///
    /// Its size stays the one it has now. After a power cut the newest hashes may be worthless until the log has been
    /// opened again: hold the root against a checkpoint.
    pub fn open_read_only(data_dir: &Path) -> io::Result<TreeFiles> {
        let dir = data_dir.join("tree");
        let path = level_path(&dir, 0);
        let bytes = match path.metadata() {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(at(&path)(error)),
        };
        Ok(TreeFiles::of_size(&dir, bytes / Hash::BYTES as u64))
    }

    /// How many leaves it has by now.
    pub fn size(&self) -> u64 {
        *self.size.borrow()
    }

    /// Follows the size. It moves only after the hashes up to there can be read.
    pub fn follow(&self) -> watch::Receiver<u64> {
        self.size.clone()
    }

    /// Checks that every hash of every level but the lowest is the root of its 256 hashes below, and names the first
    /// that is not. `progress` is told how many are done, of how many.
    ///
    /// Whether the lowest level is right only the events can tell: see [`Comparison`].
    pub fn verify_levels(&self, mut progress: impl FnMut(u64, u64)) -> Result<(), TreeError> {
        let size = self.size();
        let all = (1..LEVELS).map(|level| hashes_at(level, size)).sum();
        let mut done = 0;
        for level in 1..LEVELS {
            for index in 0..hashes_at(level, size) {
                self.verify_hash(level, index)?;
                done += 1;
                progress(done, all);
            }
        }
        Ok(())
    }

    /// Checks that a hash is the root of its tile below.
    pub(super) fn verify_hash(&self, level: u8, index: u64) -> Result<(), TreeError> {
        let mut tile = Frontier::new();
        let below = self.tile_hashes(level - 1, index * WIDTH, WIDTH as usize)?;
        below.into_iter().for_each(|hash| tile.push(hash));
        if self.tile_hash(level, index)? == tile.root() {
            Ok(())
        } else {
            Err(self.wrong(level, index, HASHES))
        }
    }

    fn wrong(&self, level: u8, index: u64, below: &'static str) -> TreeError {
        let height = u32::from(level) * HEIGHT;
        TreeError::Wrong {
            path: level_path(&self.dir, level),
            level,
            index,
            first: sequence_of(index << height),
            last: sequence_of(((index + 1) << height) - 1),
            below,
        }
    }
}

impl Hashes for TreeFiles {
    type Error = TreeError;

    fn tile_hash(&self, level: u8, index: u64) -> Result<Hash, TreeError> {
        Ok(self.tile_hashes(level, index, 1)?[0])
    }

    fn tile_hashes(&self, level: u8, first: u64, count: usize) -> Result<Vec<Hash>, TreeError> {
        let size = self.size();
        let end = first.saturating_add(count as u64);
        let last = end.saturating_sub(1);
        if end > hashes_at(level, size) {
            return Err(TreeError::Beyond { level, index: last, size });
        }
        let path = level_path(&self.dir, level);
        let mut bytes = vec![0; count * Hash::BYTES];
        let file = File::open(&path).map_err(at(&path))?;
        match file.read_exact_at(&mut bytes, byte_of(first)) {
            Ok(()) => Ok(bytes.as_chunks().0.iter().map(|bytes| Hash::from_bytes(*bytes)).collect()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(TreeError::CutOff { path, index: last, end: byte_of(end) })
            }
            Err(error) => Err(at(&path)(error).into()),
        }
    }
}

/// Holds the tree against the events, hash by hash: the audit that believes neither.
#[derive(Debug)]
pub struct Comparison {
    files: TreeFiles,
    size: u64,
    edge: Frontier,
    /// For each level the hashes that follow from the events and were not compared yet, and the index of the first.
    due: Vec<(u64, Vec<Hash>)>,
}

impl Comparison {
    /// Compares with the tree as large as it is now.
    pub fn new(files: &TreeFiles) -> Comparison {
        Comparison { files: files.clone(), size: files.size(), edge: Frontier::new(), due: Vec::new() }
    }

    /// How many leaves of the tree are compared: as many events are to be given.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Takes the next event. Fails at the first hash that is not what follows from the events.
    pub fn push(&mut self, stored: &Stored) -> Result<(), TreeError> {
        let due = sequence_of(self.edge.size());
        if stored.sequence != due {
            return Err(TreeError::OutOfOrder { due, found: stored.sequence });
        }
        let due = &mut self.due;
        self.edge.push_and_keep(hash::leaf(&stored.payload), |level, index, hash| {
            if due.len() == usize::from(level) {
                due.push((index, Vec::new()));
            }
            due[usize::from(level)].1.push(hash);
        });
        self.compare(WIDTH as usize)
    }

    /// Compares what is left, and gives the tree that follows from the events.
    pub fn finish(mut self) -> Result<Frontier, TreeError> {
        self.compare(1)?;
        Ok(self.edge)
    }

    /// Compares each level of which at least so many hashes wait.
    fn compare(&mut self, at_least: usize) -> Result<(), TreeError> {
        for (level, (first, hashes)) in (0..).zip(&mut self.due) {
            if hashes.len() < at_least {
                continue;
            }
            let found = self.files.tile_hashes(level, *first, hashes.len())?;
            if let Some(i) = (0..hashes.len()).find(|i| found[*i] != hashes[*i]) {
                return Err(self.files.wrong(level, *first + i as u64, EVENTS));
            }
            *first += hashes.len() as u64;
            hashes.clear();
        }
        Ok(())
    }
}
