//! A backup: a log as it was at one checkpoint, in one file, or what came after another backup.
//!
//! | module      | the one idea                                                                         |
//! |-------------|--------------------------------------------------------------------------------------|
//! | [`parts`]   | what a backup consists of, and what must be true of it: the same for every format     |
//! | `format`    | the bytes of the file, which `docs/formats/backup.md` describes                       |
//! | [`writer`]  | a log in, the bytes of a backup out                                                   |
//! | [`reader`]  | the bytes of a backup in, its parts out, each of them checked                         |
//! | [`restore`] | the parts of one or more backups, as a new data directory                             |
//!
//! Whoever writes a backup has checked it as whoever reads it will: the events lead to the root that was signed, and
//! the blobs they name are there. Nothing holds more of it in memory than one part, and 32 bytes for each blob.

pub(crate) mod format;
pub mod parts;
pub mod reader;
pub mod restore;
pub mod writer;

pub use format::is_one;
pub use parts::{Check, Contents, Contradiction, Header, Part};
pub use reader::{BackupError, Reader};
pub use restore::{RestoreError, Restored, Restoring};
pub use writer::{WriteError, write};

#[cfg(test)]
mod tests;
