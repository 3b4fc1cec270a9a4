//! How far publishing came, remembered on this side.
//!
//! The stream itself is asked first; this is for when it has no message left to tell by, because they grew too old, and to
//! notice that a stream was lost. It may be behind what the broker has, never ahead of it. Lost or damaged, it costs repeats,
//! nothing else; one from an older copy of the data directory is told by the places of the stream, as far as they tell.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Where publishing stood.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub(crate) struct Position {
    /// The log.
    pub(crate) log: String,
    /// The stream.
    pub(crate) stream: String,
    /// When the stream was created: which life of that name it was.
    pub(crate) created: String,
    /// The newest event that was acknowledged, all before it included.
    pub(crate) event: u64,
    /// The place of its message in the stream.
    pub(crate) place: u64,
}

/// The file it is kept in.
#[derive(Clone, Debug)]
pub(crate) struct PositionFile(PathBuf);

impl PositionFile {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// What was remembered of this log and stream.
    pub(crate) fn load(&self, log: &str, stream: &str) -> Option<Position> {
        let bytes = match fs::read(&self.0) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(%error, file = %self.0.display(), "cannot read up to where was published; going by the stream alone");
                return None;
            }
        };
        let position = serde_json::from_slice::<Position>(&bytes)
            .inspect_err(|error| {
                tracing::warn!(%error, file = %self.0.display(), "the file is damaged; going by the stream alone");
            })
            .ok()?;
        (position.log == log && position.stream == stream).then_some(position)
    }

    /// Remembers, durably. The old file stays until the new one is whole.
    pub(crate) fn save(&self, position: &Position) -> io::Result<()> {
        let new = self.0.with_extension("new");
        let mut file = File::create(&new)?;
        file.write_all(&serde_json::to_vec(position).expect("plain fields"))?;
        file.sync_all()?;
        fs::rename(&new, &self.0)?;
        File::open(self.0.parent().unwrap_or(Path::new("/")))?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_this_streams_is_not_remembered() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = PositionFile::new(dir.path().join("published"));
        assert_eq!(file.load("log", "S"), None);
        let position =
            Position { log: "log".into(), stream: "S".into(), created: "c".into(), event: 7, place: 9 };
        file.save(&position).expect("saved");
        assert_eq!(file.load("log", "S"), Some(position.clone()));
        assert_eq!(file.load("other", "S"), None);
        assert_eq!(file.load("log", "T"), None);
        fs::write(dir.path().join("published"), b"{\"log\":").expect("damaged");
        assert_eq!(file.load("log", "S"), None);
        file.save(&position).expect("saved over it");
        assert_eq!(file.load("log", "S"), Some(position));
    }
}
