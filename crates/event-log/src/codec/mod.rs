//! Domain events as the bytes that are kept for ever, and back.
//!
//! The stored form is the public protobuf `Event` (`proto/tagtrail/v1/event.proto`). It is encoded once, when it is
//! appended; those bytes are the truth and are never encoded again.

mod from_proto;
pub mod to_proto;

use bytes::Bytes;
use prost::Message;
use tagtrail_api::v1;
use tagtrail_domain::Recorded;

/// Why stored bytes are not an event this build can read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not protobuf at all, although the checksum held: written by something else.
    #[error("the stored bytes are not an event: {0}")]
    Protobuf(#[from] prost::DecodeError),
    /// A part that every event has is not there.
    #[error("the event has no {0}")]
    Missing(&'static str),
    /// A name, digest or kind that does not follow its grammar, or that only a newer version knows.
    #[error("the event's {part} \"{value}\" is not one this version knows")]
    Unknown {
        /// Which part.
        part: &'static str,
        /// What stands there.
        value: String,
    },
}

/// The bytes to be stored for an event.
#[must_use]
pub fn encode(event: &Recorded) -> Bytes {
    to_proto::event(event).encode_to_vec().into()
}

/// The event that stored bytes hold.
///
/// # Errors
/// [`DecodeError`] if they hold none, or one that only a newer version knows.
pub fn decode(bytes: &[u8]) -> Result<Recorded, DecodeError> {
    from_proto::event(v1::Event::decode(bytes)?)
}

#[cfg(test)]
mod tests;
