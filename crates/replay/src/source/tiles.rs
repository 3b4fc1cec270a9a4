//! A log as files that never change: entry bundles and tiles of hashes, wherever they are fetched from.

use std::collections::VecDeque;

use bytes::Bytes;
use tagtrail_event_log::LogId;
use tagtrail_transparency::tile::{self, Kind, Tile, WIDTH};
use tagtrail_transparency::{Checkpoint, Hash, Hashes, Note};

use super::{Entries, Entry, SourceError, StoredHashes};
use crate::wrong::Wrong;

/// Where the files are.
pub(super) trait Files {
    /// A file by its path below the log, if it is there; at most so many bytes of it.
    fn fetch(&self, path: &str, limit: usize) -> Result<Option<Vec<u8>>, SourceError>;

    /// Where a file is, for people.
    fn place(&self, path: &str) -> String;
}

/// The largest entry bundle, in bytes.
const BUNDLE_BYTES: usize = WIDTH as usize * (2 + tile::MAX_ENTRY_BYTES);

/// A tree of one size, in files.
#[derive(Debug)]
pub(super) struct Tiles<F> {
    files: F,
    /// What the checkpoint says. To be believed only as a size to ask for.
    size: u64,
}

/// The checkpoint that stands with the files, and what it says.
pub(super) fn read_checkpoint(files: &impl Files) -> Result<(Option<Vec<u8>>, u64), SourceError> {
    let bytes = files.fetch("checkpoint", tagtrail_transparency::note::MAX_NOTE_BYTES)?;
    let size = bytes.as_deref().and_then(said).map_or(0, |checkpoint| checkpoint.size());
    Ok((bytes, size))
}

/// What a note says, whoever signed it.
pub(crate) fn said(note: &[u8]) -> Option<Checkpoint> {
    Note::parse(note).ok()?.text().parse().ok()
}

/// The log that an origin names in its last part.
pub(crate) fn id_of(origin: &str) -> Option<LogId> {
    origin.rsplit('/').next()?.parse().ok()
}

impl<F: Files> Tiles<F> {
    pub(super) fn new(files: F, size: u64) -> Tiles<F> {
        Tiles { files, size }
    }

    /// A tile of the tree with at least the items that the tree has, from a full one if the partial one is gone.
    fn tile(&self, kind: Kind, item: u64, limit: usize) -> Result<(Tile, Vec<u8>), SourceError> {
        let beyond = || {
            let place = self.files.place(&format!("{kind:?}"));
            SourceError::from(Wrong::TileMissing { place, level: level(kind), index: item })
        };
        let asked = Tile::of(kind, item, self.size).ok_or_else(beyond)?;
        let candidates = [Some(asked), (!asked.is_full()).then(|| asked.full()).flatten()];
        for tile in candidates.into_iter().flatten() {
            if let Some(bytes) = self.files.fetch(&tile.to_string(), limit)? {
                return Ok((tile, bytes));
            }
        }
        let place = self.files.place(&asked.to_string());
        Err(Wrong::TileMissing { place, level: level(kind), index: asked.items().start }.into())
    }

    fn unreadable(&self, tile: &Tile, why: &dyn std::fmt::Display) -> SourceError {
        let entries = tile.entries();
        Wrong::TileUnreadable {
            place: self.files.place(&tile.to_string()),
            first: entries.start + 1,
            last: entries.end,
            why: why.to_string(),
        }
        .into()
    }

    pub(super) fn entries(&self, from: u64) -> FromTiles<'_, F> {
        FromTiles { tiles: self, next: from.max(1), bundle: VecDeque::new(), over: false }
    }

    /// The entries of the bundle that holds an index, from it on.
    fn bundle(&self, index: u64) -> Result<VecDeque<Bytes>, SourceError> {
        let (tile, bytes) = self.tile(Kind::Entries, index, BUNDLE_BYTES)?;
        let bytes = Bytes::from(bytes);
        let entries =
            tile::decode_entries(&bytes, tile.width()).map_err(|why| self.unreadable(&tile, &why))?;
        let skipped = (index - tile.items().start) as usize;
        let wanted = (self.size - tile.items().start).min(WIDTH) as usize;
        Ok(entries[skipped..wanted].iter().map(|entry| bytes.slice_ref(entry)).collect())
    }
}

fn level(kind: Kind) -> u8 {
    match kind {
        Kind::Hashes(level) => level,
        Kind::Entries => 0,
    }
}

impl<F: Files> Hashes for Tiles<F> {
    type Error = SourceError;

    fn tile_hash(&self, level: u8, index: u64) -> Result<Hash, SourceError> {
        let mut hashes = self.tile_hashes(level, index, 1)?;
        Ok(hashes.remove(0))
    }

    fn tile_hashes(&self, level: u8, first: u64, count: usize) -> Result<Vec<Hash>, SourceError> {
        let last = first + count as u64 - 1;
        let limit = WIDTH as usize * Hash::BYTES;
        let (tile, bytes) = self.tile(Kind::Hashes(level), last, limit)?;
        let hashes = tile::decode_hashes(&bytes, tile.width()).map_err(|why| self.unreadable(&tile, &why))?;
        let start = (first - tile.items().start) as usize;
        Ok(hashes[start..start + count].to_vec())
    }
}

impl<F: Files> StoredHashes for Tiles<F> {
    fn size(&self) -> u64 {
        self.size
    }

    fn place(&self, level: u8, index: u64) -> String {
        match Tile::of(Kind::Hashes(level), index, self.size) {
            Some(tile) => self.files.place(&tile.to_string()),
            None => self.files.place("tile"),
        }
    }
}

/// The entries of a tree in order.
pub(super) struct FromTiles<'t, F> {
    tiles: &'t Tiles<F>,
    /// The sequence that is due next.
    next: u64,
    bundle: VecDeque<Bytes>,
    over: bool,
}

impl<F: Files> Iterator for FromTiles<'_, F> {
    type Item = Result<Entry, SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over || self.next > self.tiles.size {
            return None;
        }
        if self.bundle.is_empty() {
            match self.tiles.bundle(self.next - 1) {
                Ok(bundle) => self.bundle = bundle,
                Err(error) => {
                    self.over = true;
                    return Some(Err(error));
                }
            }
        }
        let payload = self.bundle.pop_front()?;
        let sequence = self.next;
        self.next += 1;
        Some(Ok(Entry { sequence, last_of_run: None, payload }))
    }
}

impl<F: Files> Entries for FromTiles<'_, F> {}
