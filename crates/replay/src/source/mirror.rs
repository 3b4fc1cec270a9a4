//! A directory with the files of a log, under the paths by which a server gives them.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use tagtrail_event_log::LogId;
use tagtrail_transparency::VerifierKey;

use super::directory::read;
use super::tiles::{Files, Tiles, id_of, read_checkpoint, said};
use super::{Entries, Source, SourceError, StoredHashes};
use crate::wrong::Wrong;

/// The file of a mirror with the key that its log was followed by.
pub(crate) const KEY: &str = "log.vkey";

/// A mirror of a log.
#[derive(Debug)]
pub struct Mirror {
    path: PathBuf,
    name: String,
    checkpoint: Option<Vec<u8>>,
    size: u64,
    tiles: Tiles<Dir>,
}

/// Files on the disk.
#[derive(Clone, Debug)]
struct Dir(PathBuf);

impl Files for Dir {
    fn fetch(&self, path: &str, limit: usize) -> Result<Option<Vec<u8>>, SourceError> {
        let path = self.0.join(path);
        let unreadable =
            |error: io::Error| SourceError::Unreadable(format!("{} cannot be read: {error}", path.display()));
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(error)),
        };
        // One more than there may be: what is too long shows as that.
        let mut bytes = Vec::new();
        file.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        Ok(Some(bytes))
    }

    fn place(&self, path: &str) -> String {
        self.0.join(path).display().to_string()
    }
}

impl Mirror {
    /// Whether this is the directory of a mirror.
    #[must_use]
    pub fn is_one(path: &Path) -> bool {
        path.join("tile").is_dir() || path.join("checkpoint").is_file()
    }

    /// Opens a mirror.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn open(path: &Path) -> Result<Mirror, SourceError> {
        let files = Dir(path.to_owned());
        let (checkpoint, size) = read_checkpoint(&files)?;
        let (path, name) = (path.to_owned(), path.display().to_string());
        Ok(Mirror { path, name, checkpoint, size, tiles: Tiles::new(files, size) })
    }
}

impl Source for Mirror {
    fn name(&self) -> &str {
        &self.name
    }

    fn log_id(&self) -> Option<LogId> {
        id_of(said(self.checkpoint()?)?.origin())
    }

    fn checkpoint(&self) -> Option<&[u8]> {
        self.checkpoint.as_deref()
    }

    fn own_key(&self) -> Result<Option<VerifierKey>, SourceError> {
        let file = self.path.join(KEY);
        let Some(bytes) = read(&file)? else { return Ok(None) };
        match String::from_utf8(bytes).ok().and_then(|text| text.trim().parse().ok()) {
            Some(key) => Ok(Some(key)),
            None => Err(Wrong::KeyUnreadable { file }.into()),
        }
    }

    fn about(&self) -> Option<u64> {
        Some(self.size)
    }

    fn entries(&self, from: u64) -> Result<Box<dyn Entries + '_>, SourceError> {
        Ok(Box::new(self.tiles.entries(from)))
    }

    fn hashes(&self) -> Option<&dyn StoredHashes> {
        Some(&self.tiles)
    }

    fn not_looked_at(&self) -> &'static [&'static str] {
        &["manifests and configurations: a mirror has only the events, which name them by their digests"]
    }
}
