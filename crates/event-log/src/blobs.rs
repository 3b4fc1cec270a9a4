//! Manifests and image configurations, each a file named by its digest: `blobs/sha256/<hex>`, as in an OCI layout.
//!
//! A blob is put before the event that names it is appended, and [`BlobStore::put`] returns only when it is durable.
//! So an event in the log never names a blob that a power cut took away. Blobs are never changed and never removed.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tagtrail_domain::event::Fact;
use tagtrail_domain::{Digest as ImageDigest, Recorded};

use crate::files::{at, create_dir, sync_dir};

pub(crate) const SHA256: &str = "sha256:";

/// The blobs that an event names: an image's manifest, and its configuration. Only those named by SHA-256 are kept here.
pub fn named_by(recorded: &Recorded) -> impl Iterator<Item = &ImageDigest> {
    let image = match &recorded.event.fact {
        Fact::ImageRecorded(image) => Some(image),
        _ => None,
    };
    image.into_iter().flat_map(|image| [Some(&image.digest), image.config.as_ref()]).flatten()
}

/// Why a blob cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The text is not a digest that names a blob here.
    #[error("`{0}` does not name a blob: it must be `sha256:` and 64 lowercase hexadecimal digits")]
    InvalidDigest(String),
    /// No such blob.
    #[error("blob {digest} is missing: there is no {}", path.display())]
    Missing {
        /// The digest asked for.
        digest: String,
        /// Where it should be.
        path: PathBuf,
    },
    /// The file holds something else than its name says.
    #[error("blob {digest} is damaged: {} has the digest {actual}", path.display())]
    Damaged {
        /// The digest asked for.
        digest: String,
        /// The digest of what is there.
        actual: String,
        /// The file.
        path: PathBuf,
    },
    /// The disk did not answer.
    #[error("blob {digest} cannot be read: {source}")]
    Io {
        /// The digest asked for.
        digest: String,
        /// What the system said.
        source: io::Error,
    },
}

/// The blobs of a data directory.
#[derive(Debug)]
pub struct BlobStore {
    dir: PathBuf,
    /// Makes the names of files being written unique.
    writes: AtomicU64,
}

impl BlobStore {
    /// Opens the blobs of a data directory for writing, and removes what an interrupted [`put`](BlobStore::put)
    /// left. Only for whoever holds the data directory's lock.
    pub fn open(data_dir: &Path) -> io::Result<BlobStore> {
        let store = BlobStore::read_only(data_dir);
        create_dir(&data_dir.join("blobs"))?;
        create_dir(&store.dir)?;
        for entry in fs::read_dir(&store.dir).map_err(at(&store.dir))? {
            let path = entry.map_err(at(&store.dir))?.path();
            if path.extension().is_some_and(|extension| extension == "new") {
                fs::remove_file(&path).map_err(at(&path))?;
            }
        }
        Ok(store)
    }

    /// The blobs of a data directory that somebody else may be writing. Touches nothing.
    pub fn read_only(data_dir: &Path) -> BlobStore {
        BlobStore { dir: data_dir.join("blobs").join("sha256"), writes: AtomicU64::new(0) }
    }

    /// Stores bytes and returns their digest, `sha256:<hex>`, once they are durable.
    ///
    /// What is there already is not written again, unless it is damaged.
    pub fn put(&self, bytes: &[u8]) -> io::Result<String> {
        let digest = digest_of(bytes);
        let path = self.dir.join(&digest[SHA256.len()..]);
        if fs::read(&path).is_ok_and(|there| there == bytes) {
            // It may be there and not yet durable, if whoever wrote it was killed in the middle.
            File::open(&path).and_then(|file| file.sync_all()).map_err(at(&path))?;
        } else {
            let new = path.with_extension(format!("{}.new", self.writes.fetch_add(1, Ordering::Relaxed)));
            let mut file = File::create(&new).map_err(at(&new))?;
            file.write_all(bytes).map_err(at(&new))?;
            file.sync_all().map_err(at(&new))?;
            // Whole and synced before it gets its name: nobody ever sees half a blob.
            fs::rename(&new, &path).map_err(at(&path))?;
        }
        sync_dir(&self.dir)?;
        Ok(digest)
    }

    /// Stores the blob of this digest where there is none yet. [`sync`](BlobStore::sync) has to follow before anybody is
    /// told: where many are stored, their names are made durable together.
    pub(crate) fn put_new(&self, digest: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.path(digest).map_err(io::Error::other)?;
        let mut file = File::create(&path).map_err(at(&path))?;
        file.write_all(bytes).map_err(at(&path))?;
        file.sync_all().map_err(at(&path))
    }

    /// Makes the names of all blobs durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        sync_dir(&self.dir)
    }

    /// Reads a blob and checks that it is what its digest says.
    pub fn get(&self, digest: &str) -> Result<Bytes, BlobError> {
        let path = self.path(digest)?;
        let digest = digest.to_owned();
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(BlobError::Missing { digest, path });
            }
            Err(source) => return Err(BlobError::Io { digest, source }),
        };
        let actual = digest_of(&bytes);
        if actual == digest {
            Ok(Bytes::from(bytes))
        } else {
            Err(BlobError::Damaged { digest, actual, path })
        }
    }

    /// Names those of the wanted blobs that are missing or damaged, each with what is wrong. Reads every one of them.
    ///
    /// Which are wanted, the events tell.
    pub fn missing<D: AsRef<str>>(
        &self,
        wanted: impl IntoIterator<Item = D>,
    ) -> impl Iterator<Item = BlobError> {
        wanted.into_iter().filter_map(|digest| self.get(digest.as_ref()).err())
    }

    /// Where the blob of this digest is, or would be. Only a well-formed digest becomes part of a path.
    fn path(&self, digest: &str) -> Result<PathBuf, BlobError> {
        let hex = digest.strip_prefix(SHA256).unwrap_or_default();
        if hex.len() != 64 || !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(BlobError::InvalidDigest(digest.to_owned()));
        }
        Ok(self.dir.join(hex))
    }
}

fn digest_of(bytes: &[u8]) -> String {
    format!("{SHA256}{:x}", Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn what_is_put_can_be_got() {
        let dir = tempfile::tempdir().unwrap();
        let store = BlobStore::open(dir.path()).unwrap();
        assert_eq!(store.put(b"").unwrap(), EMPTY);
        let digest = store.put(b"a manifest").unwrap();
        assert_eq!(store.put(b"a manifest").unwrap(), digest);
        assert_eq!(store.get(&digest).unwrap(), "a manifest");
        assert_eq!(fs::read_dir(dir.path().join("blobs/sha256")).unwrap().count(), 2);
        assert_eq!(BlobStore::read_only(dir.path()).get(EMPTY).unwrap(), "");
    }

    #[test]
    fn a_damaged_blob_is_named_and_can_be_put_again() {
        let dir = tempfile::tempdir().unwrap();
        let store = BlobStore::open(dir.path()).unwrap();
        let digest = store.put(b"a manifest").unwrap();
        let path = store.path(&digest).unwrap();
        fs::write(&path, b"").unwrap();
        let error = store.get(&digest).unwrap_err().to_string();
        assert_eq!(error, format!("blob {digest} is damaged: {} has the digest {EMPTY}", path.display()));
        store.put(b"a manifest").unwrap();
        assert_eq!(store.get(&digest).unwrap(), "a manifest");
        fs::remove_file(&path).unwrap();
        store.put(b"").unwrap();
        let missing = format!("blob {digest} is missing: there is no {}", path.display());
        assert_eq!(store.get(&digest).unwrap_err().to_string(), missing);
        let told: Vec<String> = store.missing([EMPTY, &digest]).map(|error| error.to_string()).collect();
        assert_eq!(told, [missing]);
    }

    #[test]
    fn only_a_digest_names_a_blob() {
        let dir = tempfile::tempdir().unwrap();
        let store = BlobStore::open(dir.path()).unwrap();
        let upper = EMPTY.to_uppercase();
        for text in ["", "sha256:", "sha256:../../FORMAT", "sha512:00", &EMPTY[7..], &upper] {
            assert!(matches!(store.get(text), Err(BlobError::InvalidDigest(_))), "{text}");
        }
    }

    #[test]
    fn an_interrupted_put_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        drop(BlobStore::open(dir.path()).unwrap());
        let left = dir.path().join("blobs/sha256/e3b0.0.new");
        fs::write(&left, "half").unwrap();
        BlobStore::open(dir.path()).unwrap();
        assert!(!left.exists());
    }
}
