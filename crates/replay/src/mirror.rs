//! Following a log and keeping a copy of it, as the files its server gives (C2SP `tlog-tiles`). What does not go on from what
//! was seen before is not taken, and an alarm: a fork, or a rollback.
//!
//! ```text
//! DIR/checkpoint               the newest one, written last: all that it is of is there
//! DIR/checkpoints/<size>       each one that was seen
//! DIR/tile/…                   hashes and entries
//! DIR/log.vkey                 the key that the log is followed by
//! DIR/evidence/…               signed checkpoints that do not go on from those
//! ```
//!
//! Only events are fetched. The hashes are computed from them, and must lead to the root that was signed.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tagtrail_transparency::tile::{self, Kind, Tile, WIDTH};
use tagtrail_transparency::{Checkpoint, Frontier, Hash, Policy, hash, source as stored};

use crate::source::{Mirror, Server, Source, SourceError, StoredHashes};
use crate::trust::Trust;
use crate::verify::stored_root;
use crate::wrong::Wrong;

/// The file with the key.
const KEY: &str = crate::source::mirror::KEY;

/// A log that is followed.
#[derive(Debug)]
pub struct Follower {
    url: String,
    dir: PathBuf,
    trust: Trust,
    /// The key that was given, to be kept once it has proved to be the log's.
    given: Option<String>,
    /// What was seen last, and its tree.
    newest: Option<Checkpoint>,
    tree: Frontier,
}

/// What one look brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// Nothing new.
    Same {
        /// How many events there are.
        size: u64,
    },
    /// The log has gone on, and all of it is here.
    Grown {
        /// From so many events.
        from: u64,
        /// To so many.
        to: u64,
    },
}

impl Follower {
    /// Gets ready to follow a log into a directory, going on from what is there. That is checked against its own
    /// checkpoint first.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn open(url: &str, dir: &Path, policy: Option<Policy>) -> Result<Follower, SourceError> {
        fs::create_dir_all(dir).map_err(|error| unwritten(dir, &error))?;
        let mut there = fs::read_dir(dir).map_err(|error| unwritten(dir, &error))?;
        let is_followed = ["tile", "checkpoints", KEY].iter().any(|name| dir.join(name).exists());
        if there.any(|entry| entry.is_ok_and(|entry| entry.file_name() != "lost+found")) && !is_followed {
            return Err(SourceError::Unreadable(format!(
                "{} is neither empty nor a mirror: give a directory of its own",
                dir.display()
            )));
        }
        let mirror = Mirror::open(dir)?;
        // The key that it has been followed by. One that was mistyped does not take its place.
        let given = match policy.as_ref().map(Policy::logs) {
            Some([log]) => Some(log.key.to_string()),
            Some(_) | None => None,
        };
        if let (Some(given), Some(own)) = (&given, mirror.own_key()?)
            && *given != own.to_string()
        {
            return Err(SourceError::Unreadable(format!(
                "{} has followed its log by the key {own}, and this is {given}: another log, which needs a mirror in a directory of its \
                 own, or a slip",
                dir.display()
            )));
        }
        let trust = Trust::of(policy, &mirror)?;
        let (mut newest, mut tree) = (None, Frontier::new());
        if let (Some(note), Some(hashes)) = (mirror.checkpoint(), mirror.hashes()) {
            let name = format!("of {}", mirror.name());
            let checkpoint = trust.open(&name, note)?;
            tree = stored::frontier(&hashes, checkpoint.size())?;
            if tree.root() != *checkpoint.root() {
                return Err(inconsistent(name, &checkpoint, tree.root(), (1, checkpoint.size())));
            }
            newest = Some(checkpoint);
        }
        Ok(Follower { url: url.to_owned(), dir: dir.to_owned(), trust, given, newest, tree })
    }

    /// Whose signature is asked for.
    #[must_use]
    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    /// Looks whether the log has gone on, and takes what is new. Blocks, so not to be called from `async` code.
    ///
    /// # Errors
    /// [`SourceError::Wrong`] is the alarm; the checkpoint that raised it is kept in `evidence/`.
    pub fn look(&mut self) -> Result<Look, SourceError> {
        let server = Server::open(&self.url)?;
        let note = server.checkpoint().unwrap_or_default().to_vec();
        let name = format!("of {}", server.name());
        let checkpoint = match self.trust.open(&name, &note) {
            Ok(checkpoint) => checkpoint,
            // What is shown instead of the log is evidence too.
            Err(wrong) => {
                let name =
                    format!("unbelieved-{}", hash::leaf(&note).to_string().replace(['/', '+', '='], "-"));
                write(&self.dir.join("evidence").join(&name[..name.len().min(24)]), &note)?;
                return Err(wrong.into());
            }
        };
        if let Some(given) = self.given.take() {
            write(&self.dir.join(KEY), format!("{given}\n").as_bytes())?;
        }
        match self.take(&server, &name, &checkpoint) {
            Ok(Some((tree, from))) => {
                let to = checkpoint.size();
                write(&self.dir.join("checkpoints").join(to.to_string()), &note)?;
                // Last: whoever reads the mirror believes only what this is of.
                write(&self.dir.join("checkpoint"), &note)?;
                (self.tree, self.newest) = (tree, Some(checkpoint));
                self.remove_partials(from, to)?;
                Ok(Look::Grown { from, to })
            }
            Ok(None) => Ok(Look::Same { size: checkpoint.size() }),
            Err(SourceError::Wrong(wrong)) => {
                let root: String =
                    checkpoint.root().as_bytes()[..4].iter().map(|b| format!("{b:02x}")).collect();
                let kept = self.dir.join("evidence").join(format!("{}-{root}", checkpoint.size()));
                write(&kept, &note)?;
                Err(SourceError::Wrong(wrong))
            }
            Err(error) => Err(error),
        }
    }

    /// Takes what is new. `None`: nothing is.
    fn take(
        &self,
        server: &Server,
        name: &str,
        checkpoint: &Checkpoint,
    ) -> Result<Option<(Frontier, u64)>, SourceError> {
        let (from, to) = (self.tree.size(), checkpoint.size());
        if let Some(newest) = &self.newest {
            if newest.origin() != checkpoint.origin() {
                let (said, expected) = (checkpoint.origin().to_owned(), newest.origin().to_owned());
                return Err(Wrong::OtherLog { what: format!("checkpoint {name}"), said, expected }.into());
            }
            if to <= from {
                return self.went_back(name, newest, checkpoint);
            }
        }
        let mut writing = Writing::new(&self.dir, from)?;
        let mut tree = self.tree.clone();
        let mut hashes = Vec::new();
        for entry in server.entries(from + 1)? {
            let payload = entry?.payload;
            hashes.clear();
            tree.push_and_keep(hash::leaf(&payload), |level, _, hash| hashes.push((level, hash)));
            writing.add(payload, &hashes)?;
        }
        if tree.root() != *checkpoint.root() {
            return Err(self.told_otherwise(server, name, checkpoint, tree.root())?);
        }
        writing.finish()?;
        Ok(Some((tree, from)))
    }

    /// The server shows a checkpoint of no more events than were seen.
    fn went_back(
        &self,
        name: &str,
        newest: &Checkpoint,
        checkpoint: &Checkpoint,
    ) -> Result<Option<(Frontier, u64)>, SourceError> {
        let (seen, size) = (newest.size(), checkpoint.size());
        let mirror = Mirror::open(&self.dir)?;
        let before = match mirror.hashes() {
            Some(hashes) => stored_root(hashes, size)?,
            None => hash::empty_root(),
        };
        match (before == *checkpoint.root(), size == seen) {
            (true, true) => Ok(None),
            (true, false) => Err(Wrong::RolledBack { name: name.to_owned(), size, seen }.into()),
            (false, true) => {
                let one = format!("of {}", mirror.name());
                Err(Wrong::Fork { one, other: name.to_owned(), size }.into())
            }
            (false, false) => Err(inconsistent(name.to_owned(), checkpoint, before, (1, size))),
        }
    }

    /// Why events that were fetched do not lead to what was signed: the log was rewritten, or the server gives away others
    /// than those it signed.
    fn told_otherwise(
        &self,
        server: &Server,
        name: &str,
        checkpoint: &Checkpoint,
        computed: Hash,
    ) -> Result<SourceError, SourceError> {
        let (from, to) = (self.tree.size(), checkpoint.size());
        let new = || inconsistent(name.to_owned(), checkpoint, computed, (from + 1, to));
        let (Some(newest), Some(theirs)) = (&self.newest, server.hashes()) else { return Ok(new()) };
        if stored_root(theirs, from)? == *newest.root() {
            return Ok(new());
        }
        let mirror = Mirror::open(&self.dir)?;
        let range = match mirror.hashes() {
            Some(ours) => first_difference(&mirror, ours, server, theirs, from)?,
            None => (1, from),
        };
        let name = format!("of {}", mirror.name());
        Ok(inconsistent(name, newest, stored_root(theirs, from)?, range))
    }

    /// Removes partial tiles whose place a full one has taken.
    fn remove_partials(&self, from: u64, to: u64) -> Result<(), SourceError> {
        let bundles = Tile::new_between(Kind::Entries, from, to);
        for tile in Tile::hashes_between(from, to).chain(bundles).filter(Tile::is_full) {
            let partials = self.dir.join(format!("{tile}.p"));
            match fs::remove_dir_all(&partials) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(unwritten(&partials, &error)),
            }
        }
        Ok(())
    }
}

/// Finds by bisection over the trees the first event of the first `size` in which two logs differ. Hashes that others give
/// away may lie, so the events themselves have the last word.
fn first_difference(
    one: &dyn Source,
    ours: &dyn StoredHashes,
    other: &dyn Source,
    theirs: &dyn StoredHashes,
    size: u64,
) -> Result<(u64, u64), SourceError> {
    // The trees of `same` events are the same, those of `differ` are not.
    let (mut same, mut differ) = (0, size);
    while differ - same > 1 {
        let middle = same + (differ - same) / 2;
        if stored_root(ours, middle)? == stored_root(theirs, middle)? {
            same = middle;
        } else {
            differ = middle;
        }
    }
    let payload = |of: &dyn Source| -> Result<Option<Bytes>, SourceError> {
        Ok(of.entries(differ)?.next().transpose()?.map(|entry| entry.payload))
    };
    let differs = payload(one)? != payload(other)?;
    Ok(if differs { (differ, differ) } else { (1, size) })
}

fn inconsistent(
    name: String,
    checkpoint: &Checkpoint,
    computed: Hash,
    (first, last): (u64, u64),
) -> SourceError {
    let (size, signed) = (checkpoint.size(), *checkpoint.root());
    Wrong::CheckpointInconsistent { name, size, signed, computed, first, last }.into()
}

/// Tiles that are being filled.
struct Writing<'d> {
    dir: &'d Path,
    /// For each level, how many hashes it has, and those of its newest tile.
    levels: Vec<(u64, Vec<Hash>)>,
    size: u64,
    bundle: Vec<Bytes>,
}

impl<'d> Writing<'d> {
    /// Goes on from the tiles of a tree of so many events.
    fn new(dir: &'d Path, from: u64) -> Result<Writing<'d>, SourceError> {
        let mut writing = Writing { dir, levels: Vec::new(), size: from, bundle: Vec::new() };
        if from == 0 {
            return Ok(writing);
        }
        let mirror = Mirror::open(dir)?;
        let Some(hashes) = mirror.hashes() else { return Ok(writing) };
        for level in 0..8_u8 {
            let count = from.checked_shr(8 * u32::from(level)).unwrap_or(0);
            if count == 0 {
                break;
            }
            let first = count / WIDTH * WIDTH;
            let tile = match (count - first) as usize {
                0 => Vec::new(),
                width => hashes.tile_hashes(level, first, width)?,
            };
            writing.levels.push((count, tile));
        }
        let first = from / WIDTH * WIDTH;
        for entry in mirror.entries(first + 1)?.take((from - first) as usize) {
            writing.bundle.push(entry?.payload);
        }
        Ok(writing)
    }

    fn add(&mut self, payload: Bytes, hashes: &[(u8, Hash)]) -> Result<(), SourceError> {
        self.bundle.push(payload);
        self.size += 1;
        if self.bundle.len() as u64 == WIDTH {
            self.write_bundle()?;
            self.bundle.clear();
        }
        for (level, hash) in hashes {
            let slot = usize::from(*level);
            if self.levels.len() == slot {
                self.levels.push((0, Vec::new()));
            }
            self.levels[slot].0 += 1;
            self.levels[slot].1.push(*hash);
            if self.levels[slot].1.len() as u64 == WIDTH {
                self.write_hashes(slot)?;
                self.levels[slot].1.clear();
            }
        }
        Ok(())
    }

    /// Writes the partial tiles.
    fn finish(self) -> Result<(), SourceError> {
        if !self.bundle.is_empty() {
            self.write_bundle()?;
        }
        (0..self.levels.len())
            .filter(|slot| !self.levels[*slot].1.is_empty())
            .try_for_each(|slot| self.write_hashes(slot))
    }

    fn write_bundle(&self) -> Result<(), SourceError> {
        let bytes =
            tile::encode_entries(&self.bundle).map_err(|why| SourceError::Unreadable(why.to_string()))?;
        self.write(Kind::Entries, self.size, self.bundle.len(), &bytes)
    }

    fn write_hashes(&self, slot: usize) -> Result<(), SourceError> {
        let (count, hashes) = &self.levels[slot];
        self.write(Kind::Hashes(slot as u8), *count, hashes.len(), &tile::encode_hashes(hashes))
    }

    /// Writes the tile that has the last of so many items.
    fn write(&self, kind: Kind, items: u64, width: usize, bytes: &[u8]) -> Result<(), SourceError> {
        let tile = Tile::new(kind, (items - 1) / WIDTH, width as u16);
        let tile = tile.map_err(|why| SourceError::Unreadable(why.to_string()))?;
        write(&self.dir.join(tile.to_string()), bytes)
    }
}

/// Writes a file whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> Result<(), SourceError> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    let written = || -> io::Result<()> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let mut file = File::create(&new)?;
        file.write_all(bytes)?;
        file.sync_data()?;
        fs::rename(&new, path)
    };
    written().map_err(|error| unwritten(path, &error))
}

fn unwritten(path: &Path, error: &io::Error) -> SourceError {
    SourceError::Unreadable(format!("{} cannot be written: {error}", path.display()))
}
