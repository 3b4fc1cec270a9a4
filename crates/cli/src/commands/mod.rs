//! A file per command. Each asks the server and prints what it says.

pub(crate) mod admin;
pub(crate) mod annotate;
pub(crate) mod completion;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod describe;
pub(crate) mod events;
mod finder;
pub(crate) mod get;
mod get_watch;
pub(crate) mod history;
pub(crate) mod hold;
pub(crate) mod import_image;
pub(crate) mod label;
mod metadata;
pub(crate) mod project;
pub(crate) mod promote;
pub(crate) mod restore;
pub(crate) mod rollback;
pub(crate) mod secret;
pub(crate) mod serve;
pub(crate) mod set;
pub(crate) mod status;
pub(crate) mod tag;
pub(crate) mod version;
pub(crate) mod watch;
