//! The log, out to NATS: every event, in order, at least once, each recognisable when it comes twice.
//!
//! The log is the truth and the outbox; a JetStream stream is a delivery buffer, which may lose its end or be lost as a
//! whole. So the publisher believes nothing but the stream itself: whenever it begins, and after every trouble, it asks the
//! stream for its newest message and goes on with the event after that one. Each message is sent on the condition that the
//! stream ends with the one before it, so a second publisher, or a message that arrives late, is refused by the broker
//! instead of breaking the order.
//!
//! | module      | the one idea                                                                |
//! |-------------|-----------------------------------------------------------------------------|
//! | `settings`  | what the publisher is told, and what is wrong with it                       |
//! | `subject`   | an event's subject: its parts, escaped                                      |
//! | `message`   | an event as a CloudEvent, and what can be read back from one                |
//! | `link`      | the connection, and what becomes of it                                      |
//! | `stream`    | the stream is there, is as it should be, and is ours                        |
//! | `resume`    | where to go on                                                              |
//! | `outbox`    | events into messages, a bounded number of them under way                    |
//! | `position`  | how far it came, remembered on this side                                    |
//! | `bucket`    | what each tag points to now, as a key-value bucket                          |
//! | `republish` | a part of the log once more, into another stream                            |
//! | `session`   | keeping something up over one connection, trying again after trouble        |
//! | `observer`  | what is done, step by step, for whoever measures it                         |
//! | `publisher` | all of it, for as long as the server runs                                   |
//!
//! *Published*: everything up to that sequence was acknowledged by the broker. It moves over contiguous events only, and
//! never beyond the durable head.

mod bucket;
mod link;
mod message;
mod observer;
mod outbox;
mod position;
mod publisher;
mod republish;
mod resume;
mod session;
mod settings;
mod stream;
mod subject;

pub use message::Encoding;
pub use observer::{Observer, Step};
pub use publisher::Publisher;
pub use republish::{Republish, RepublishError};
pub use settings::{Connection, Settings, SettingsError, StreamSettings};

/// Why publishing does not go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    /// Something between here and there broke. Trying again by itself may help, and is safe.
    #[error("{0}")]
    Broken(String),
    /// To go on would do harm. Somebody has to change something.
    #[error("{0}")]
    Refused(String),
}
