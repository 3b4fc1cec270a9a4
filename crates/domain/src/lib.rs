//! What may happen to an image stream. Pure: no clock, disk, network, randomness, `async` or serde.
//!
//! One idea carries the rest: a tag's history is a list of facts; everything else is a way of looking at it.
//!
//! | module        | what it holds                                                       |
//! |---------------|---------------------------------------------------------------------|
//! | `names`, `digest`, `reference`, `interval` | words as types, one door in each       |
//! | `tag`, `state`, `image`        | what is true of tags, streams and images           |
//! | `command`     | wishes                                                              |
//! | `event`       | facts                                                               |
//! | `decide`      | wish + state → facts, or a `Refusal`                                |
//! | `apply`       | state + fact → state                                                |
//! | `check`       | which tags a registry is asked about again                         |
//! | `import_plan` | which images a wish to import asks for                              |
//! | `model`       | all streams in memory: what a log means                             |
//! | `order`       | the order in which tags are shown                                   |
//! | `permitted`   | whether a log is one that `decide` could have written               |

pub mod apply;
pub mod check;
pub mod command;
pub mod decide;
pub mod digest;
pub mod event;
pub mod image;
pub mod import_plan;
pub mod interval;
pub mod limits;
pub mod model;
pub mod names;
pub mod order;
pub mod permitted;
pub mod reference;
pub mod refusal;
pub mod state;
pub mod tag;
pub mod time;

pub use apply::{Position, apply};
pub use command::{Command, Context};
pub use decide::{World, decide, decide_together};
pub use digest::Digest;
pub use event::{Actor, Event, Fact, Recorded, Run};
pub use image::{Failure, FailureKind, Image, Platform};
pub use interval::Interval;
pub use model::Model;
pub use names::{NameError, Namespace, StreamKey, StreamName, TagName};
pub use reference::ImageReference;
pub use refusal::Refusal;
pub use state::{HistoryItem, Stream, StreamState, TagState};
pub use time::Timestamp;
