//! `tree/synced`: up to which size the levels were synced, and the root they gave.
//!
//! ```text
//! size 70000
//! root 47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=
//! ```
//!
//! No checksum: a damaged one does not fit the hashes.

use std::fs;
use std::io;
use std::path::Path;

use tagtrail_transparency::Hash;

use crate::files::replace;

const SYNCED: &str = "synced";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Synced {
    pub(super) size: u64,
    pub(super) root: Hash,
}

impl Synced {
    /// What was written last; `None` if nothing that can be read was.
    pub(super) fn read(dir: &Path) -> Option<Synced> {
        let text = fs::read_to_string(dir.join(SYNCED)).ok()?;
        let (size, root) = text.strip_prefix("size ")?.strip_suffix('\n')?.split_once("\nroot ")?;
        Some(Synced { size: size.parse().ok()?, root: root.parse().ok()? })
    }

    pub(super) fn write(&self, dir: &Path) -> io::Result<()> {
        replace(&dir.join(SYNCED), &format!("size {}\nroot {}\n", self.size, self.root))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Synced::read(dir.path()), None);
        let synced = Synced { size: 70_000, root: tagtrail_transparency::hash::empty_root() };
        synced.write(dir.path()).unwrap();
        assert_eq!(Synced::read(dir.path()), Some(synced));
        let good = fs::read_to_string(dir.path().join(SYNCED)).unwrap();
        for cut in 0..good.len() {
            fs::write(dir.path().join(SYNCED), &good[..cut]).unwrap();
            assert_eq!(Synced::read(dir.path()), None, "cut after {cut} bytes");
        }
    }
}
