//! The files `tree/<level>` of a data directory: hash after hash.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use tagtrail_transparency::{Hash, Hashes};

use super::{SourceError, StoredHashes};
use crate::wrong::Wrong;

/// The hashes that a data directory keeps.
#[derive(Debug)]
pub(super) struct StoredTree {
    dir: PathBuf,
    levels: Vec<File>,
    size: u64,
}

impl StoredTree {
    /// Opens the tree of a data directory, if it has one.
    pub(super) fn open(data_dir: &Path) -> Result<Option<StoredTree>, SourceError> {
        let dir = data_dir.join("tree");
        let mut levels = Vec::new();
        for level in 0..8 {
            let path = dir.join(level.to_string());
            match File::open(&path) {
                Ok(file) => levels.push(file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                Err(error) => return Err(unreadable(&path, &error)),
            }
        }
        let Some(leaves) = levels.first() else { return Ok(None) };
        let length = leaves.metadata().map_err(|error| unreadable(&dir, &error))?.len();
        let size = length / Hash::BYTES as u64;
        Ok(Some(StoredTree { dir, levels, size }))
    }

    fn path(&self, level: u8) -> PathBuf {
        self.dir.join(level.to_string())
    }
}

fn unreadable(path: &Path, error: &io::Error) -> SourceError {
    SourceError::Unreadable(format!("{} cannot be read: {error}", path.display()))
}

impl Hashes for StoredTree {
    type Error = SourceError;

    fn tile_hash(&self, level: u8, index: u64) -> Result<Hash, SourceError> {
        let mut hashes = self.tile_hashes(level, index, 1)?;
        Ok(hashes.remove(0))
    }

    fn tile_hashes(&self, level: u8, first: u64, count: usize) -> Result<Vec<Hash>, SourceError> {
        let missing = || {
            let place = self.path(level).display().to_string();
            SourceError::from(Wrong::TileMissing { place, level, index: first })
        };
        let file = self.levels.get(usize::from(level)).ok_or_else(missing)?;
        let mut bytes = vec![0; count * Hash::BYTES];
        match file.read_exact_at(&mut bytes, first * Hash::BYTES as u64) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(missing()),
            Err(error) => return Err(unreadable(&self.path(level), &error)),
        }
        let (hashes, _) = bytes.as_chunks();
        Ok(hashes.iter().map(|bytes| Hash::from_bytes(*bytes)).collect())
    }
}

impl StoredHashes for StoredTree {
    fn size(&self) -> u64 {
        self.size
    }

    fn place(&self, level: u8, index: u64) -> String {
        format!("{} at byte {}", self.path(level).display(), index * Hash::BYTES as u64)
    }
}
