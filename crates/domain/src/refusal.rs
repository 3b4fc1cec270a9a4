//! Why a command was not carried out. Nothing was written: a refusal is an answer, not a fault.

use crate::names::{NameError, StreamKey};

/// What a refusal is about: OpenShift's kind and name of the object.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Subject {
    /// OpenShift's kind, such as `ImageStreamTag`. Empty where there is none.
    pub kind: &'static str,
    /// The object's name.
    pub name: String,
}

impl Subject {
    /// An image stream.
    #[must_use]
    pub fn stream(name: &str) -> Self {
        Self { kind: "ImageStream", name: name.into() }
    }

    /// A tag of an image stream.
    #[must_use]
    pub fn tag(key: &StreamKey, tag: &str) -> Self {
        Self { kind: "ImageStreamTag", name: format!("{}:{tag}", key.name) }
    }
}

/// Why a command was not carried out. The texts are those people know from `oc`.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// There is no such thing.
    #[error("{resource} \"{name}\" not found")]
    NotFound {
        /// OpenShift's resource, such as `imagestreams.image.openshift.io`.
        resource: &'static str,
        /// The name that was looked for.
        name: String,
    },
    /// There is one already.
    #[error("{resource} \"{name}\" already exists")]
    AlreadyExists {
        /// OpenShift's resource.
        resource: &'static str,
        /// The name.
        name: String,
    },
    /// The world moved: the expectation no longer holds. Look again and decide again.
    #[error("{0}")]
    Conflict(String),
    /// The tag does not point to what it was expected to point to.
    #[error("{message}")]
    Moved {
        /// What it was expected to point to, and what it points to.
        message: String,
        /// The image it points to; the reference of a reference tag; `none`.
        image: String,
        /// Sequence of the event that set it. 0: none did.
        sequence: u64,
    },
    /// The tag is held.
    #[error("{0}")]
    Held(String),
    /// The stream has as many tags as it may have.
    #[error("{0}")]
    TooManyTags(String),
    /// A request id was used before for another request.
    #[error("request id \"{0}\" was used before for another request; use a new id")]
    RequestIdReused(String),
    /// The object can never be as wished. `message` is a field path and what is wrong there.
    #[error("{message}")]
    Invalid {
        /// What the refusal is about.
        subject: Subject,
        /// `field.path: what is wrong`; several are separate lines.
        message: String,
    },
    /// The name of a tag is not a `<name>:<tag>`.
    #[error("{0}")]
    BadRequest(String),
    /// The request can never be carried out, whatever the state of the stream.
    #[error("{0}")]
    Malformed(String),
    /// OpenShift's own client would have refused before asking a server.
    #[error("{0}")]
    Usage(String),
}

/// OpenShift's resource names, as they stand in messages.
pub mod resource {
    /// Image streams.
    pub const STREAMS: &str = "imagestreams.image.openshift.io";
    /// Tags of image streams.
    pub const TAGS: &str = "imagestreamtags.image.openshift.io";
    /// One tag; the form that "already exists" takes.
    pub const TAG: &str = "imagestreamtag.image.openshift.io";
    /// Images of image streams, when the stream is missing.
    pub const STREAM_IMAGES: &str = "imagestreamimages.image.openshift.io";
    /// One image of an image stream.
    pub const STREAM_IMAGE: &str = "imagestreamimage.image.openshift.io";
    /// Images.
    pub const IMAGES: &str = "images.image.openshift.io";
}

impl Refusal {
    /// No such stream.
    #[must_use]
    pub fn no_stream(key: &StreamKey) -> Self {
        Self::NotFound { resource: resource::STREAMS, name: key.name.to_string() }
    }

    /// No such tag. OpenShift names the stream alone where that is missing (spec §2.8).
    #[must_use]
    pub fn no_tag(key: &StreamKey, tag: &str, stream_exists: bool) -> Self {
        let name = if stream_exists { format!("{}:{tag}", key.name) } else { key.name.to_string() };
        Self::NotFound { resource: resource::TAGS, name }
    }

    /// Something is wrong with an image stream.
    #[must_use]
    pub fn invalid_stream(name: &str, message: String) -> Self {
        Self::Invalid { subject: Subject::stream(name), message }
    }

    /// Something is wrong with a tag.
    #[must_use]
    pub fn invalid_tag(key: &StreamKey, tag: &str, message: String) -> Self {
        Self::Invalid { subject: Subject::tag(key, tag), message }
    }

    /// A name that is none.
    #[must_use]
    pub fn bad_name(error: &NameError) -> Self {
        match error {
            NameError::Stream(name) | NameError::StreamTooLong(name) | NameError::StreamPath { name, .. } => {
                Self::invalid_stream(name, format!("metadata.name: Invalid value: \"{name}\": {error}"))
            }
            NameError::Namespace(_) | NameError::Tag(_) => Self::Malformed(error.to_string()),
        }
    }
}
