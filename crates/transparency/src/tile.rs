//! Which hashes and which entries stand together in one file, under which path, in which form (C2SP `tlog-tiles`).
//!
//! A tile has 256 hashes of one level of the tree, 8192 bytes; an entry bundle has the 256 entries under one tile of
//! level 0. The last one of a level may be *partial*: it has fewer, its path says how many, and its place is taken by
//! the full one later. Neither changes once it exists.
//!
//! ```text
//! tile/0/x001/x234/067          hashes of level 0, the 1,234,067th such tile from 0
//! tile/1/000.p/17               the first 17 hashes of level 1
//! tile/entries/004.p/3          the entries 1024, 1025 and 1026
//! ```

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use crate::hash::Hash;
use crate::text;

/// How many levels of the tree a tile spans.
pub const HEIGHT: u32 = 8;

/// How many hashes or entries a full tile has.
pub const WIDTH: u64 = 1 << HEIGHT;

/// The largest entry a bundle can hold, in bytes: its length is written in 16 bits.
pub const MAX_ENTRY_BYTES: usize = u16::MAX as usize;

/// The highest level that a path may name.
const MAX_LEVEL: u64 = 63;

/// How many levels a tree of fewer than 2^64 entries has.
const LEVELS: u8 = (u64::BITS / HEIGHT) as u8;

/// What a tile is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Hashes of this level: roots of full subtrees of `256^level` leaves.
    Hashes(u8),
    /// Entries.
    Entries,
}

impl Kind {
    /// The level at which one item of the tile stands.
    fn level(self) -> u8 {
        match self {
            Kind::Hashes(level) => level,
            Kind::Entries => 0,
        }
    }

    /// How many items of this kind a tree of `size` entries has.
    fn items(self, size: u64) -> u64 {
        size.checked_shr(u32::from(self.level()) * HEIGHT).unwrap_or(0)
    }
}

/// One tile or entry bundle that some tree has. Its text is its path, without a leading slash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tile {
    kind: Kind,
    index: u64,
    width: u16,
}

impl Tile {
    /// The tile with this index among those of its kind, with the first `width` of its items, 1 to 256.
    pub fn new(kind: Kind, index: u64, width: u16) -> Result<Tile, TileError> {
        if width == 0 || u64::from(width) > WIDTH {
            return Err(TileError::Width(u64::from(width)));
        }
        // Where the tile ends, in entries: it must be a size that a tree can have.
        let items = u128::from(index) * u128::from(WIDTH) + u128::from(width);
        let beyond =
            kind.level() >= LEVELS || items << (u32::from(kind.level()) * HEIGHT) > u128::from(u64::MAX);
        if beyond { Err(TileError::Beyond) } else { Ok(Tile { kind, index, width }) }
    }

    /// The tile in which a tree of `size` entries has the item `item` of this kind, full or partial; `None` if the
    /// tree has no such item.
    pub fn of(kind: Kind, item: u64, size: u64) -> Option<Tile> {
        let items = kind.items(size);
        let index = item / WIDTH;
        (item < items).then(|| Tile { kind, index, width: (items - index * WIDTH).min(WIDTH) as u16 })
    }

    /// The tiles of a kind that a tree of `to` entries has and one of `from` entries does not have, or only with fewer
    /// items, from left to right.
    pub fn new_between(kind: Kind, from: u64, to: u64) -> impl Iterator<Item = Tile> {
        let (had, has) = (kind.items(from), kind.items(to));
        let indexes = if had < has { had / WIDTH..has.div_ceil(WIDTH) } else { 0..0 };
        indexes.filter_map(move |index| Tile::of(kind, index * WIDTH, to))
    }

    /// All tiles of hashes that a tree of `to` entries has and one of `from` entries does not have, or only with fewer
    /// items, lowest level first. From 0, these are all tiles of a tree.
    pub fn hashes_between(from: u64, to: u64) -> impl Iterator<Item = Tile> {
        (0..LEVELS).flat_map(move |level| Tile::new_between(Kind::Hashes(level), from, to))
    }

    /// What it is made of.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its index among the tiles of its kind, from 0.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// How many hashes or entries it has, 1 to 256.
    pub fn width(&self) -> u16 {
        self.width
    }

    /// Whether it has all that a tile can have, so that no other takes its place later.
    pub fn is_full(&self) -> bool {
        u64::from(self.width) == WIDTH
    }

    /// The full tile in the same place, if a tree can have it.
    pub fn full(&self) -> Option<Tile> {
        Tile::new(self.kind, self.index, WIDTH as u16).ok()
    }

    /// Its items among all of its kind: which hashes of its level, or which entries.
    pub fn items(&self) -> Range<u64> {
        let first = self.index * WIDTH;
        first..first + u64::from(self.width)
    }

    /// The entries under it. A tree has the tile if its size is at least the end.
    pub fn entries(&self) -> Range<u64> {
        let height = u32::from(self.kind.level()) * HEIGHT;
        let items = self.items();
        items.start << height..items.end << height
    }
}

impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Hashes(level) => write!(f, "tile/{level}/")?,
            Kind::Entries => f.write_str("tile/entries/")?,
        }
        let mut thousands = 1_u64;
        while self.index / thousands >= 1000 {
            thousands *= 1000;
        }
        while thousands > 1 {
            write!(f, "x{:03}/", self.index / thousands % 1000)?;
            thousands /= 1000;
        }
        write!(f, "{:03}", self.index % 1000)?;
        if self.is_full() { Ok(()) } else { write!(f, ".p/{}", self.width) }
    }
}

impl FromStr for Tile {
    type Err = TileError;

    fn from_str(path: &str) -> Result<Tile, TileError> {
        let rest = path.strip_prefix("tile/").ok_or(TileError::Path)?;
        let (kind, rest) = rest.split_once('/').ok_or(TileError::Path)?;
        let kind = match kind {
            "entries" => Kind::Entries,
            level => match text::decimal(level) {
                Some(level) if level <= MAX_LEVEL => Kind::Hashes(level as u8),
                Some(_) | None => return Err(TileError::Level),
            },
        };
        let (index, width) = match rest.split_once(".p/") {
            None => (rest, WIDTH),
            Some((index, width)) => match text::decimal(width) {
                Some(width) if (1..WIDTH).contains(&width) => (index, width),
                Some(width) => return Err(TileError::Width(width)),
                None => return Err(TileError::Path),
            },
        };
        let tile = Tile::new(kind, parse_index(index)?, width as u16)?;
        // Each tile has one path: groups of zeros in front of an index would be a second.
        if tile.to_string() == path { Ok(tile) } else { Err(TileError::Path) }
    }
}

/// Reads an index from groups of three digits, all but the last after an `x`.
fn parse_index(groups: &str) -> Result<u64, TileError> {
    let mut index = 0_u64;
    let mut groups = groups.split('/').peekable();
    while let Some(group) = groups.next() {
        let digits = if groups.peek().is_some() { group.strip_prefix('x') } else { Some(group) };
        let digits = digits.filter(|digits| digits.len() == 3 && digits.bytes().all(|b| b.is_ascii_digit()));
        let group = digits.and_then(|digits| digits.parse::<u64>().ok()).ok_or(TileError::Path)?;
        index = index.checked_mul(1000).and_then(|i| i.checked_add(group)).ok_or(TileError::Beyond)?;
    }
    Ok(index)
}

/// Why something is not a tile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TileError {
    /// The path has another form.
    #[error(
        "this is not the path of a tile: write `tile/<level or entries>/<index>`, the index in groups of three \
         digits, all but the last after an `x`, and `.p/<width>` only for a partial tile"
    )]
    Path,
    /// No such level may be named.
    #[error("the level of a tile is a number from 0 to 63 without leading zeros, or `entries`")]
    Level,
    /// A tile cannot have so many items.
    #[error(
        "a tile cannot have {0} items: a full one has 256 and no `.p` in its path, a partial one 1 to 255"
    )]
    Width(u64),
    /// It would end after the last entry that any tree can have.
    #[error("no tree is large enough to have this tile: take a lower level or index")]
    Beyond,
}

/// The bytes of a tile of hashes: one after the other.
pub fn encode_hashes(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| *hash.as_bytes()).collect()
}

/// Reads the bytes of a tile of hashes that has `width` of them.
pub fn decode_hashes(bytes: &[u8], width: u16) -> Result<Vec<Hash>, ContentError> {
    let (hashes, rest) = bytes.as_chunks::<{ Hash::BYTES }>();
    if !rest.is_empty() || hashes.len() != usize::from(width) {
        return Err(ContentError::TileLength {
            expected: usize::from(width) * Hash::BYTES,
            actual: bytes.len(),
        });
    }
    Ok(hashes.iter().map(|bytes| Hash::from_bytes(*bytes)).collect())
}

/// The bytes of an entry bundle: each entry after its length, two bytes, the higher one first.
pub fn encode_entries<E: AsRef<[u8]>>(entries: impl IntoIterator<Item = E>) -> Result<Vec<u8>, ContentError> {
    let mut bundle = Vec::new();
    for entry in entries {
        let entry = entry.as_ref();
        let length =
            u16::try_from(entry.len()).map_err(|_| ContentError::EntryTooLarge { size: entry.len() })?;
        bundle.extend_from_slice(&length.to_be_bytes());
        bundle.extend_from_slice(entry);
    }
    Ok(bundle)
}

/// Reads the bytes of an entry bundle that has `width` entries.
pub fn decode_entries(bundle: &[u8], width: u16) -> Result<Vec<&[u8]>, ContentError> {
    let mut entries = Vec::with_capacity(usize::from(width));
    let mut rest = bundle;
    for index in 0..width {
        let cut_off = ContentError::EntryCutOff { index };
        let (length, after) = rest.split_first_chunk::<2>().ok_or(cut_off.clone())?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (entry, after) = after.split_at_checked(length).ok_or(cut_off)?;
        entries.push(entry);
        rest = after;
    }
    if rest.is_empty() { Ok(entries) } else { Err(ContentError::AfterLastEntry { bytes: rest.len() }) }
}

/// Why bytes are not the content of a tile. If they come from elsewhere, fetch them again: tiles never change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContentError {
    /// A tile of hashes has another length.
    #[error(
        "the tile has {actual} bytes where its width asks for {expected}: it was cut off, or belongs to another path"
    )]
    TileLength {
        /// How many bytes the width asks for.
        expected: usize,
        /// How many there are.
        actual: usize,
    },
    /// The entry does not fit the format.
    #[error("an entry of {size} bytes is larger than the {limit} bytes a bundle can hold", limit = MAX_ENTRY_BYTES)]
    EntryTooLarge {
        /// Its size in bytes.
        size: usize,
    },
    /// The bundle ends within an entry, or has fewer entries.
    #[error(
        "the bundle ends before or within its entry {index}, counted from 0: it was cut off, or belongs to another path"
    )]
    EntryCutOff {
        /// The entry, counted from 0 in the bundle.
        index: u16,
    },
    /// The bundle goes on after its last entry.
    #[error("{bytes} bytes follow the last entry of the bundle: it belongs to a path with a larger width")]
    AfterLastEntry {
        /// How many bytes.
        bytes: usize,
    },
}
