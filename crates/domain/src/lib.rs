//! What may happen to an image stream. Pure: no clock, disk, network, randomness, `async` or serde.

pub mod digest;
pub mod image;
pub mod limits;
pub mod names;
pub mod reference;
pub mod time;

pub use digest::Digest;
pub use image::{Failure, FailureKind, Image, Platform};
pub use names::{NameError, Namespace, StreamKey, StreamName, TagName};
pub use reference::ImageReference;
pub use time::Timestamp;
