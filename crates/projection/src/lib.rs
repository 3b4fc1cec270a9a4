//! Ways of looking at the log. Everything here can be deleted: the log is enough.
//!
//! | module     | the one idea                                                                  |
//! |------------|-------------------------------------------------------------------------------|
//! | `view`     | the read model: rows in a sled database of its own, and the questions it answers |
//! | `stage`    | changes to the rows that are not yet there                                    |
//! | `keys`     | where each row stands                                                         |
//! | `rows`     | what stands in it                                                             |
//! | `describe` | a stream put into words                                                       |
//! | `labels`   | which streams a label selector means                                          |
//!
//! A row's cost never grows with the length of a history: history items are rows of their own.

pub mod describe;
mod keys;
pub mod labels;
mod rows;
mod stage;
mod view;

pub use stage::Stage;
pub use view::{KnownImage, Opened, PastRequest, View, ViewError};
