//! The few file operations whose order and syncing matter, in one place.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Makes the names in a directory durable. A file that was synced can still be lost with its name.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Creates a directory if it is not there, and makes its name durable.
pub(crate) fn create_dir(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(dir)?;
    match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_dir(parent),
        _ => sync_dir(Path::new(".")),
    }
}

/// Puts a small file in its place, whole and synced: whenever the power goes, it holds the old text or the new one.
pub(crate) fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    let mut file = File::create(&new).map_err(at(&new))?;
    file.write_all(text.as_bytes()).map_err(at(&new))?;
    file.sync_all().map_err(at(&new))?;
    fs::rename(&new, path).map_err(at(path))?;
    sync_dir(path.parent().expect("a file has a directory"))
}

/// The first free name `<path>.damaged-<n>`.
pub(crate) fn free_aside(path: &Path) -> PathBuf {
    let name = path.file_name().expect("only named files are moved aside").to_string_lossy();
    (1u32..)
        .map(|n| path.with_file_name(format!("{name}.damaged-{n}")))
        .find(|aside| fs::symlink_metadata(aside).is_err())
        .expect("a directory has fewer than 2^32 entries")
}

/// Adds the path to an error of the operating system, which never names one.
pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> io::Error + '_ {
    move |error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
