//! The audit: rebuild everything from the log and compare. It trusts neither a server, nor its operator, nor its disk, and
//! changes nothing.
//!
//! | module     | the one idea                                                                             |
//! |------------|------------------------------------------------------------------------------------------|
//! | [`source`] | where a log can be read: a data directory, a mirror of its tiles, a server               |
//! | [`trust`]  | whose signature counts: a key from elsewhere, or the one the log itself names            |
//! | [`mod@verify`] | the whole log against its hashes, its signatures, its blobs and the rules                |
//! | [`wrong`]  | everything that can be found, each under one name                                        |
//! | [`shown`]  | streams as their events made them, to print, and to compare with what a server shows     |
//! | [`replay`] | what the log says up to a moment: events, or the streams they make                       |
//! | [`diff`]   | two logs, and where they part                                                            |
//! | [`mirror`] | following a log and keeping a copy of it, with an alarm if it tells another story        |
//! | [`receipt`]| one event with its proof in a file, and checking such a file without the log             |

pub mod diff;
pub mod mirror;
pub mod receipt;
pub mod replay;
pub mod shown;
pub mod source;
pub mod trust;
pub mod verify;
pub mod wrong;

pub use source::{Source, SourceError};
pub use trust::Trust;
pub use verify::{Against, Verdict, verify};
pub use wrong::Wrong;
