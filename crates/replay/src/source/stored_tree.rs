//! The files `tree/<level>` of a data directory.

use std::path::{Path, PathBuf};

use tagtrail_event_log::tree::{TreeError, TreeFiles};
use tagtrail_transparency::{Hash, Hashes};

use super::{SourceError, StoredHashes};
use crate::wrong::Wrong;

/// The hashes that a data directory keeps.
#[derive(Debug)]
pub(super) struct StoredTree {
    dir: PathBuf,
    files: TreeFiles,
}

impl StoredTree {
    /// Opens the tree of a data directory, if it has one.
    pub(super) fn open(data_dir: &Path) -> Result<Option<StoredTree>, SourceError> {
        let dir = data_dir.join("tree");
        if !dir.join("0").exists() {
            return Ok(None);
        }
        match TreeFiles::open_read_only(data_dir) {
            Ok(files) => Ok(Some(StoredTree { dir, files })),
            Err(error) => Err(SourceError::Unreadable(error.to_string())),
        }
    }

    fn told(&self, error: TreeError, level: u8, index: u64) -> SourceError {
        match error {
            TreeError::Io(error) if error.kind() != std::io::ErrorKind::NotFound => {
                SourceError::Unreadable(error.to_string())
            }
            // The size is taken from the lowest level: a higher one is short, or not there.
            _ => Wrong::TileMissing { place: self.place(level, index), level, index }.into(),
        }
    }
}

impl Hashes for StoredTree {
    type Error = SourceError;

    fn tile_hash(&self, level: u8, index: u64) -> Result<Hash, SourceError> {
        self.files.tile_hash(level, index).map_err(|error| self.told(error, level, index))
    }

    fn tile_hashes(&self, level: u8, first: u64, count: usize) -> Result<Vec<Hash>, SourceError> {
        self.files.tile_hashes(level, first, count).map_err(|error| self.told(error, level, first))
    }
}

impl StoredHashes for StoredTree {
    fn size(&self) -> u64 {
        self.files.size()
    }

    fn place(&self, level: u8, index: u64) -> String {
        format!("{} at byte {}", self.dir.join(level.to_string()).display(), index * Hash::BYTES as u64)
    }
}
