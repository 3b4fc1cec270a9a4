//! What is known of an image, and why an import of one failed.

use crate::digest::Digest;
use crate::time::Timestamp;

/// What an image runs on (OCI image index, "platform").
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Platform {
    /// Operating system, such as `linux`. Empty if the image does not say.
    pub os: String,
    /// Processor architecture, such as `amd64`. Empty if the image does not say.
    pub architecture: String,
    /// Variant of the architecture, such as `v8`. Mostly empty.
    pub variant: String,
}

/// One entry of an image index (manifest list).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ManifestEntry {
    /// The manifest it names.
    pub digest: Digest,
    /// That manifest's media type.
    pub media_type: String,
    /// That manifest's size in bytes.
    pub size: i64,
    /// What it runs on.
    pub platform: Platform,
}

/// One layer of an image.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Layer {
    /// The layer blob.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: i64,
    /// Its media type.
    pub media_type: String,
}

/// The immutable facts of one image, taken from its manifest and configuration when it was imported. The
/// bytes themselves stand in the blob store under `digest` and `config`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Image {
    /// Its name: the digest of the manifest bytes.
    pub digest: Digest,
    /// Where it was first imported from, at its digest, in the user's spelling (spec §1.1, Image).
    pub reference: String,
    /// Media type of the manifest.
    pub media_type: String,
    /// Digest of the configuration blob. `None` for an image index and for schema 1.
    pub config: Option<Digest>,
    /// Bytes of the configuration and of all distinct layers together; 0 for an index (spec §1.1, Image).
    pub size: i64,
    /// What it runs on. Empty for an index.
    pub platform: Platform,
    /// When the image says it was built. For an index the time of import, as OpenShift has it.
    pub built_at: Option<Timestamp>,
    /// Oldest first. Empty for an index.
    pub layers: Vec<Layer>,
    /// The entries of an index, in its order. Empty otherwise.
    pub manifests: Vec<ManifestEntry>,
}

/// Why an import failed, as machines tell failures apart. [`Failure::reason`] is what people see.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum FailureKind {
    /// The registry knows no such repository, tag or digest (404).
    NotFound,
    /// The registry wants other credentials (401).
    Unauthorized,
    /// The registry knows who asks and refuses (403).
    Denied,
    /// Too many requests (429).
    RateLimited,
    /// No answer: refused, timed out, no such host, broken off, bad certificate.
    Unreachable,
    /// An answer that is no answer: 5xx, garbage, too large, a digest that does not fit its bytes.
    BadAnswer,
    /// The reference cannot be fetched at all: it does not parse.
    InvalidReference,
    /// Our own configuration forbids it: a blocked registry, a private network.
    Forbidden,
    /// An image we cannot use: unknown manifest type.
    Unsupported,
}

/// A reasoned failure of an import (spec §3.7).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// For machines.
    pub kind: FailureKind,
    /// OpenShift's word for it, as shown in conditions: `NotFound`, `Unauthorized`, `InternalError`, ...
    pub reason: String,
    /// One sentence for people, in OpenShift's words where it has them.
    pub message: String,
}
