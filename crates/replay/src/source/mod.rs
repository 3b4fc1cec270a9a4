//! Where a log can be read from: without its server's help, and without changing anything.
//!
//! | source        | events                   | hashes of the tree | checkpoint         | blobs |
//! |---------------|--------------------------|--------------------|--------------------|-------|
//! | [`directory`] | the journal              | `tree/<level>`     | `checkpoint`       | yes   |
//! | [`mirror`]    | `tile/entries/…`         | `tile/<level>/…`   | `checkpoint`       | no    |
//! | [`server`]    | the same, over HTTP      | the same           | the same           | no    |
//! | [`backup`]    | in the file              | no                 | in the file        | yes   |
//!
//! A source says what is there. It believes nothing and checks no more than it must to read on.

pub mod backup;
pub mod directory;
pub mod mirror;
pub mod server;
mod stored_tree;
mod tiles;

use std::path::Path;

use bytes::Bytes;
use tagtrail_event_log::LogId;
use tagtrail_event_log::blobs::{BlobError, BlobStore};
use tagtrail_transparency::tile::WIDTH;
use tagtrail_transparency::{Hash, Hashes, VerifierKey};

use crate::wrong::Wrong;

pub use backup::Backup;
pub use directory::Directory;
pub use mirror::Mirror;
pub use server::Server;

/// An event as it stands in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the log, from 1. What the event itself says of it is another matter.
    pub sequence: u64,
    /// Whether it is marked as the last of its run, where there are such marks.
    pub last_of_run: Option<bool>,
    /// The stored bytes: the leaf of the tree.
    pub payload: Bytes,
}

/// Why a source gives no more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// What is there is not what a log has there. This is what an audit looks for.
    #[error("{0}")]
    Wrong(Box<Wrong>),
    /// It could not be looked at: nothing is known.
    #[error("{0}")]
    Unreadable(String),
}

impl From<Wrong> for SourceError {
    fn from(wrong: Wrong) -> SourceError {
        SourceError::Wrong(Box::new(wrong))
    }
}

/// The events of a source in order. After an error there are no more.
pub trait Entries: Iterator<Item = Result<Entry, SourceError>> {
    /// What was passed over at the end, in words.
    fn passed_over(&self) -> Option<String> {
        None
    }
}

/// Stored hashes of the tree, as [`Hashes`] that may fail like everything of a source.
pub trait StoredHashes: Hashes<Error = SourceError> {
    /// How many leaves it has hashes of.
    fn size(&self) -> u64;

    /// Where a hash stands, for people.
    fn place(&self, level: u8, index: u64) -> String;
}

/// The manifests and configurations of a source.
pub trait Blobs: Sync {
    /// Whether the blob of this digest is there, and what its digest says.
    ///
    /// # Errors
    /// [`BlobError`] says what is wrong with it.
    fn check(&self, digest: &str) -> Result<(), BlobError>;
}

impl Blobs for BlobStore {
    fn check(&self, digest: &str) -> Result<(), BlobError> {
        self.get(digest).map(drop)
    }
}

/// A place where a log can be read.
pub trait Source {
    /// What it is, for people.
    fn name(&self) -> &str;

    /// Which log it says it is of, apart from its checkpoint.
    fn log_id(&self) -> Option<LogId>;

    /// Its newest signed checkpoint, as it stands there. It was read when the source was opened.
    fn checkpoint(&self) -> Option<&[u8]>;

    /// The key that the source itself says is the log's. Whoever can change the source can change it too.
    fn own_key(&self) -> Result<Option<VerifierKey>, SourceError> {
        Ok(None)
    }

    /// About how many events there are, for telling how far something is.
    fn about(&self) -> Option<u64>;

    /// The events from a sequence on.
    fn entries(&self, from: u64) -> Result<Box<dyn Entries + '_>, SourceError>;

    /// The hashes it has stored.
    fn hashes(&self) -> Option<&dyn StoredHashes>;

    /// The manifests and configurations it has.
    fn blobs(&self) -> Option<&dyn Blobs> {
        None
    }

    /// What is in it that is not looked at, and why.
    fn not_looked_at(&self) -> &'static [&'static str];
}

/// Opens what `what` names: the URL of a log, a data directory, the directory of a mirror, or the file of a backup.
///
/// # Errors
/// [`SourceError`]: it is not there, or nothing that is known.
pub fn open(what: &str) -> Result<Box<dyn Source>, SourceError> {
    if what.starts_with("http://") || what.starts_with("https://") {
        return Ok(Box::new(Server::open(what)?));
    }
    let path = Path::new(what);
    if !path.exists() {
        return Err(SourceError::Unreadable(format!("there is no {what}")));
    }
    if Directory::is_one(path) {
        return Ok(Box::new(Directory::open(path)?));
    }
    if Backup::is_one(path) {
        return Ok(Box::new(Backup::open(path)?));
    }
    if Mirror::is_one(path) {
        return Ok(Box::new(Mirror::open(path)?));
    }
    Err(SourceError::Unreadable(format!(
        "{what} is neither a data directory (it has no journal), nor a mirror (it has no tile), nor a backup: give one of \
         these, or the URL of a log"
    )))
}

/// What was stored, read a tile at a time as a whole log goes by.
pub(crate) struct Ahead<'s> {
    stored: &'s dyn StoredHashes,
    /// For each level, the tile at hand: its first index, and its hashes.
    tiles: Vec<(u64, Vec<Hash>)>,
}

impl<'s> Ahead<'s> {
    pub(crate) fn of(stored: &'s dyn StoredHashes) -> Ahead<'s> {
        Ahead { stored, tiles: Vec::new() }
    }

    /// One stored hash. `None`: it lies beyond what is stored.
    pub(crate) fn hash(&mut self, level: u8, index: u64) -> Result<Option<Hash>, SourceError> {
        let has = self.stored.size().checked_shr(8 * u32::from(level)).unwrap_or(0);
        if index >= has {
            return Ok(None);
        }
        let slot = usize::from(level);
        if self.tiles.len() <= slot {
            self.tiles.resize(slot + 1, (0, Vec::new()));
        }
        let first = index / WIDTH * WIDTH;
        if self.tiles[slot].0 != first || self.tiles[slot].1.is_empty() {
            let count = (has - first).min(WIDTH) as usize;
            self.tiles[slot] = (first, self.stored.tile_hashes(level, first, count)?);
        }
        Ok(self.tiles[slot].1.get((index - first) as usize).copied())
    }
}
