//! The newest checkpoint, kept in two places: beside the log, and where a restored copy of the log does not bring an older one.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use tagtrail_event_log::LogId;
use tagtrail_event_log::tree::TreeFiles;
use tagtrail_transparency::{Checkpoint, Note, SigningKey};

use super::root;

/// The newest checkpoint's name in the data directory.
pub(super) const BESIDE: &str = "checkpoint";

/// The places in which the newest checkpoint is kept.
pub(super) struct Kept {
    places: Vec<Place>,
    /// While it is held, no other server keeps a checkpoint in the second place: two that looked at the same moment would both find
    /// what they expect.
    _lock: Option<File>,
}

struct Place {
    path: PathBuf,
    /// What stood there last, as far as this server knows. `None`: nothing.
    held: Option<Vec<u8>>,
    /// What may stand there instead, since the disk failed in the middle.
    perhaps: Option<Vec<u8>>,
    /// Why it could not be read.
    unreadable: Option<String>,
}

/// Why a checkpoint was not kept.
pub(super) enum KeepError {
    /// The disk. It may be tried again.
    Io(io::Error),
    /// Somebody else has kept another one there.
    Taken(PathBuf),
}

/// Whether a checkpoint stands there, or could: the directory above a data directory is not always ours to write to.
pub(super) fn can_keep(path: &Path) -> bool {
    let mut trial = path.as_os_str().to_owned();
    trial.push(".trial");
    let written = path.exists() || fs::write(&trial, "").is_ok();
    fs::remove_file(&trial).ok();
    written
}

impl Kept {
    /// Reads what is kept.
    pub(super) fn open(data_dir: &Path, copy: Option<PathBuf>, findings: &mut Vec<String>) -> Self {
        if copy.is_none() {
            findings.push(
                "the newest checkpoint is kept in the data directory only: an older copy of that directory put in its place would not be noticed; set audit.checkpoint_copy to a file elsewhere that the server may write"
                    .into(),
            );
        }
        let lock = copy.as_deref().map(lock);
        let place = |path: PathBuf| match fs::read(&path) {
            Ok(held) => Place { path, held: Some(held), perhaps: None, unreadable: None },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Place { path, held: None, perhaps: None, unreadable: None }
            }
            Err(error) => {
                let why = format!("{} cannot be read: {error}", path.display());
                Place { path, held: None, perhaps: None, unreadable: Some(why) }
            }
        };
        let mut places: Vec<Place> =
            [Some(data_dir.join(BESIDE)), copy].into_iter().flatten().map(place).collect();
        let lock = match lock {
            None => None,
            Some(Ok(lock)) => Some(lock),
            Some(Err(why)) => {
                if let Some(place) = places.last_mut() {
                    place.unreadable = Some(why);
                }
                None
            }
        };
        Self { places, _lock: lock }
    }

    /// Whether nothing is kept anywhere.
    pub(super) fn is_empty(&self) -> bool {
        self.places.iter().all(|place| place.held.is_none() && place.unreadable.is_none())
    }

    /// Why the log does not go on from what is kept. `None`: it does.
    pub(super) fn contradiction(&self, key: &SigningKey, tree: &TreeFiles) -> Option<String> {
        self.places.iter().find_map(|place| place.contradiction(key, tree))
    }

    /// Whether a checkpoint of the log with this id is kept, whoever signed it.
    pub(super) fn is_of(&self, id: LogId) -> bool {
        self.newest(id).is_some()
    }

    /// The largest checkpoint of the log with this id that is kept, as the files hold it, whoever signed it.
    pub(super) fn newest(&self, id: LogId) -> Option<(Checkpoint, String)> {
        let notes = self.places.iter().filter_map(|place| Note::parse(place.held.as_deref()?).ok());
        let read = notes.filter_map(|note| Some((note.text().parse::<Checkpoint>().ok()?, note.to_string())));
        let id = format!("/{id}");
        read.filter(|(checkpoint, _)| checkpoint.origin().ends_with(&id))
            .max_by_key(|(checkpoint, _)| checkpoint.size())
    }

    /// Keeps a checkpoint, durable in every place when this returns. Never over what somebody else has put there.
    pub(super) fn keep(&mut self, note: &str) -> Result<(), KeepError> {
        // All are looked at before any is written: beside the log, too, nothing is to be signed that cannot be kept.
        self.places.iter().try_for_each(Place::look)?;
        self.places.iter_mut().try_for_each(|place| place.keep(note))
    }
}

impl Place {
    fn contradiction(&self, key: &SigningKey, tree: &TreeFiles) -> Option<String> {
        let shown = self.path.display();
        if let Some(why) = &self.unreadable {
            return Some(format!("the checkpoint kept in {why}"));
        }
        let held = self.held.as_deref()?;
        let checkpoint = match Checkpoint::open(held, &key.verifier()) {
            Ok(checkpoint) => checkpoint,
            Err(error) => {
                let of = Note::parse(held).ok().and_then(|note| note.text().parse::<Checkpoint>().ok());
                return Some(match of {
                    // Nothing that anybody could miss.
                    Some(other) if other.origin() != key.name() && other.size() == 0 => return None,
                    Some(other) if other.origin() != key.name() => format!(
                        "{shown} holds a checkpoint of another log, {} with {} events, and this is {} (if that log was thrown away on purpose, delete the file)",
                        other.origin(),
                        other.size(),
                        key.name()
                    ),
                    _ => format!("{shown} holds no checkpoint that this log's key has signed ({error})"),
                });
            }
        };
        let size = checkpoint.size();
        if size > tree.size() {
            return Some(format!(
                "this log has {} events, and a checkpoint over {size} was signed ({shown}): the last {} are missing, as after an older copy was put back",
                tree.size(),
                size - tree.size()
            ));
        }
        match root(tree, size) {
            Ok(root) if root == *checkpoint.root() => None,
            Ok(_) => Some(format!(
                "the first {size} events are not those that were signed ({shown}): this is another history"
            )),
            Err(error) => Some(format!("the tree cannot be read: {error}")),
        }
    }

    /// Looks whether what stands there may be replaced.
    fn look(&self) -> Result<(), KeepError> {
        let there = match fs::read(&self.path) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(KeepError::Io(self.about(&error))),
        };
        // A place that was emptied holds nothing that could be forgotten; another checkpoint is another server's.
        if there.is_some() && there != self.held && there != self.perhaps {
            return Err(KeepError::Taken(self.path.clone()));
        }
        Ok(())
    }

    fn keep(&mut self, note: &str) -> Result<(), KeepError> {
        self.look()?;
        self.perhaps = Some(note.as_bytes().to_vec());
        self.write(note).map_err(|error| KeepError::Io(self.about(&error)))?;
        self.held = self.perhaps.take();
        Ok(())
    }

    fn write(&self, note: &str) -> io::Result<()> {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let new = self.path.with_file_name(name);
        let mut file = File::create(&new)?;
        file.write_all(note.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &self.path)?;
        sync_parent(&self.path)
    }

    fn about(&self, error: &io::Error) -> io::Error {
        io::Error::new(error.kind(), format!("{}: {error}", self.path.display()))
    }
}

/// Makes the second place this server's as long as it runs, by a file beside it. The error is the rest of a sentence.
fn lock(copy: &Path) -> Result<File, String> {
    let mut name = copy.as_os_str().to_owned();
    name.push(".lock");
    let name = PathBuf::from(name);
    let cannot =
        |error: io::Error| format!("{} cannot be locked: {}: {error}", copy.display(), name.display());
    let file = File::options().write(true).create(true).truncate(false).open(&name).map_err(cannot)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(format!(
            "{} is another server's, which is running: two servers must not sign as the same log, and two logs need a place each",
            copy.display()
        )),
        Err(TryLockError::Error(error)) => Err(cannot(error)),
    }
}

/// Makes a name durable.
pub(super) fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}
