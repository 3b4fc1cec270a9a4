//! A file that is there whole or not at all, and never takes the place of another.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// A file being written under another name, `<file>.partial`. Dropped, it is gone.
pub(super) struct Place {
    path: PathBuf,
    partial: PathBuf,
    file: File,
    kept: bool,
}

impl Place {
    /// Begins, if nothing is there yet. What an interrupted one has left is written over.
    pub(super) fn take(path: &Path) -> Result<Self, Failure> {
        if fs::symlink_metadata(path).is_ok() {
            return Err(taken(path));
        }
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        let cannot = |error: io::Error| cannot(&partial, &error);
        let file =
            OpenOptions::new().write(true).create(true).truncate(false).open(&partial).map_err(cannot)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let shown = partial.display();
                return Err(Failure::client(format!(
                    "{shown} is being written by another process: wait, or give another file"
                )));
            }
            Err(TryLockError::Error(error)) => return Err(cannot(error)),
        }
        file.set_len(0).map_err(cannot)?;
        Ok(Self { path: path.to_owned(), partial, file, kept: false })
    }

    /// What is written, until it is kept.
    pub(super) fn partial(&self) -> &Path {
        &self.partial
    }

    /// Another handle to write with.
    pub(super) fn writer(&self) -> Result<File, Failure> {
        self.file.try_clone().map_err(|error| cannot(&self.partial, &error))
    }

    /// Appends.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.file.write_all(bytes).map_err(|error| cannot(&self.partial, &error))
    }

    /// Makes durable what was written.
    pub(super) fn sync(&self) -> Result<(), Failure> {
        self.file.sync_all().map_err(|error| cannot(&self.partial, &error))
    }

    /// Gives it its name, durable when this returns.
    pub(super) fn keep(mut self) -> Result<(), Failure> {
        self.sync()?;
        // Unlike a rename, a link never takes the place of what somebody has put there meanwhile.
        match fs::hard_link(&self.partial, &self.path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(taken(&self.path)),
            // Not every file system has links.
            Err(_) => {
                if fs::symlink_metadata(&self.path).is_ok() {
                    return Err(taken(&self.path));
                }
                fs::rename(&self.partial, &self.path).map_err(|error| cannot(&self.path, &error))?;
                self.kept = true;
            }
        }
        if !self.kept {
            fs::remove_file(&self.partial).map_err(|error| cannot(&self.partial, &error))?;
            self.kept = true;
        }
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let synced = File::open(parent.unwrap_or(Path::new("."))).and_then(|dir| dir.sync_all());
        synced.map_err(|error| cannot(&self.path, &error))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.kept {
            _ = fs::remove_file(&self.partial);
        }
    }
}

fn taken(path: &Path) -> Failure {
    let shown = path.display();
    Failure::client(format!(
        "{shown} is there already, and is not written over: give another name, or remove it"
    ))
}

fn cannot(path: &Path, error: &io::Error) -> Failure {
    Failure::client(format!("cannot write {}: {error}", path.display()))
}
