//! Ways of looking at the log. Everything here can be deleted: the log is enough.
//!
//! | module     | the one idea                                                                  |
//! |------------|-------------------------------------------------------------------------------|
//! | `view`     | the read model: rows in a sled database of its own, kept up to the log        |
//! | `questions`| what it answers from them: streams, tags' pasts, images, what is to be done   |
//! | `look`     | questions about one stream, answered from one moment                          |
//! | `cache`    | the streams that were looked at last                                          |
//! | `stage`    | changes to the rows that are not yet there                                    |
//! | `table`    | all rows: those of the database, and over them what is not in it yet           |
//! | `writing`  | what is not in it yet is written down, whole                                  |
//! | `keys`     | where each row stands                                                         |
//! | `rows`     | what stands in it                                                             |
//! | `describe` | a stream put into words                                                       |
//! | `diff`     | what differs between two moments of image streams                             |
//! | `labels`   | which streams a label selector means                                          |
//!
//! A row's cost never grows with the length of a history: history items are rows of their own.

mod cache;
pub mod describe;
pub mod diff;
mod keys;
pub mod labels;
mod look;
mod questions;
mod rows;
mod stage;
mod table;
#[cfg(test)]
mod tests;
mod view;
mod writing;

pub use look::Look;
pub use questions::{KnownImage, PastRequest, Span, Within};
pub use stage::Stage;
pub use view::{Opened, View, ViewError};
