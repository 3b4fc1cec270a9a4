//! Image references, to the grammar of spec §1.2:
//!
//! ```text
//! reference  = name [":" tag] ["@" digest]           whole string anchored
//! name       = [hostname "/"] component *("/" component)      total length <= 255
//! hostname   = label *("." label) [":" digits]
//! component  = [a-z0-9]+ *( sep [a-z0-9]+ )           sep: "." | "_" | "__" | any number of "-"
//! tag        = [A-Za-z0-9_][A-Za-z0-9_.-]{0,127}
//! digest     = [A-Za-z][A-Za-z0-9]* *( [-_+.] [A-Za-z][A-Za-z0-9]* ) ":" hex{32,}
//! ```
//!
//! `tests/tables/references.txt` has hundreds of examples.

use std::fmt;

use crate::digest::{Digest, DigestError};
use crate::limits;

/// Docker Hub's canonical name in a reference.
pub const DOCKER_HUB: &str = "docker.io";

/// A pull spec, split into the parts the user typed. Nothing is filled in: `python` stays `python`.
///
/// Empty text means "not given".
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ImageReference {
    /// Host and port, such as `quay.io` or `127.0.0.1:5001`.
    pub registry: String,
    /// First path component when there are several: `library`, `centos`.
    pub namespace: String,
    /// The rest of the path. May hold further `/`.
    pub name: String,
    /// The tag, without its colon.
    pub tag: String,
    /// The digest.
    pub digest: Option<Digest>,
}

/// Why a text is not an image reference. The texts are those OpenShift prints.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// Nothing was given.
    #[error("repository name must have at least one component")]
    Empty,
    /// Correct but for capital letters.
    #[error("repository name must be lowercase")]
    Uppercase,
    /// Anything else that does not follow the grammar.
    #[error("invalid reference format")]
    Format,
    /// The name is longer than 255 bytes.
    #[error("repository name must not be more than {} characters", limits::REPOSITORY_NAME_BYTES)]
    TooLong,
    /// The digest part is not a digest.
    #[error(transparent)]
    Digest(#[from] DigestError),
}

impl ImageReference {
    /// The one door in.
    ///
    /// # Errors
    /// [`ReferenceError`] with the words OpenShift uses for the same mistake.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        let Some(parts) = split(text) else {
            return Err(match text {
                "" => ReferenceError::Empty,
                _ if split(&text.to_lowercase()).is_some() => ReferenceError::Uppercase,
                _ => ReferenceError::Format,
            });
        };
        if parts.name.len() > limits::REPOSITORY_NAME_BYTES {
            return Err(ReferenceError::TooLong);
        }
        let digest = parts.digest.map(Digest::parse).transpose()?;
        let mut reference = Self { tag: parts.tag.unwrap_or_default().into(), digest, ..Self::default() };
        let path = match parts.name.split_once('/') {
            // A dotted name alone reads as a registry, whole text and all: `my.app:1` (spec §1.2, rule 1).
            None if parts.name.contains('.') || parts.name.starts_with("localhost") => {
                return Ok(Self { registry: text.into(), ..Self::default() });
            }
            Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => {
                reference.registry = host.into();
                path
            }
            _ => parts.name,
        };
        match path.split_once('/') {
            Some((namespace, name)) => {
                reference.namespace = namespace.into();
                reference.name = name.into();
            }
            None => reference.name = path.into(),
        }
        Ok(reference)
    }

    /// Registry, namespace and name as typed, without tag and digest.
    #[must_use]
    pub fn repository(&self) -> String {
        let parts = [&self.registry, &self.namespace, &self.name];
        parts.iter().filter(|part| !part.is_empty()).map(|part| part.as_str()).collect::<Vec<_>>().join("/")
    }

    /// The same repository, pointing at `digest` instead of a tag: what a history item records (spec §3.4).
    #[must_use]
    pub fn at_digest(&self, digest: &Digest) -> Self {
        Self { tag: String::new(), digest: Some(digest.clone()), ..self.clone() }
    }

    /// The same repository at a tag.
    #[must_use]
    pub fn at_tag(&self, tag: &str) -> Self {
        Self { tag: tag.into(), digest: None, ..self.clone() }
    }

    /// Fills in what a Docker client would: registry `docker.io`, namespace `library` on Docker Hub, tag
    /// `latest` (spec §1.2). For network access, comparison and error texts; never stored.
    #[must_use]
    pub fn with_defaults(&self) -> Self {
        let mut full = self.clone();
        if full.registry.is_empty() {
            full.registry = DOCKER_HUB.into();
        }
        if full.namespace.is_empty() && is_docker_hub(&full.registry) {
            full.namespace = "library".into();
        }
        if full.tag.is_empty() && full.digest.is_none() {
            full.tag = "latest".into();
        }
        full
    }
}

/// Whether a registry host is Docker Hub under one of its three names.
#[must_use]
pub fn is_docker_hub(registry: &str) -> bool {
    matches!(registry, DOCKER_HUB | "index.docker.io" | "registry-1.docker.io")
}

impl fmt::Display for ImageReference {
    /// The exact form: only what is set.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repository())?;
        if !self.tag.is_empty() {
            write!(f, ":{}", self.tag)?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

struct Parts<'a> {
    name: &'a str,
    tag: Option<&'a str>,
    digest: Option<&'a str>,
}

/// Splits by the grammar, or gives `None` where the text does not follow it. Unambiguous: neither a tag nor
/// a name holds `@`, and no tag holds `/` or `:`.
fn split(text: &str) -> Option<Parts<'_>> {
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (text, None),
    };
    let path_end = rest.rfind('/').map_or(0, |slash| slash + 1);
    let (name, tag) = match rest[path_end..].split_once(':') {
        Some((last, tag)) => (&rest[..path_end + last.len()], Some(tag)),
        None => (rest, None),
    };
    let mut components = name.split('/');
    let first = components.next()?;
    let first_ok = is_component(first) || (name.contains('/') && is_hostname(first));
    (first_ok
        && components.all(is_component)
        && tag.is_none_or(is_tag)
        && digest.is_none_or(has_digest_shape))
    .then_some(Parts { name, tag, digest })
}

/// Whether a text is a tag by the reference grammar.
pub(crate) fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let bytes = text.as_bytes();
    (1..=limits::TAG_BYTES).contains(&bytes.len())
        && word(bytes[0])
        && bytes.iter().all(|&b| word(b) || matches!(b, b'.' | b'-'))
}

fn is_component(text: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let separator = |text: &str| {
        matches!(text, "." | "_" | "__") || (!text.is_empty() && text.bytes().all(|b| b == b'-'))
    };
    let mut rest = text;
    loop {
        let word = rest.bytes().take_while(|&b| alphanumeric(b)).count();
        if word == 0 {
            return false;
        }
        rest = &rest[word..];
        if rest.is_empty() {
            return true;
        }
        let gap = rest.bytes().take_while(|&b| matches!(b, b'.' | b'_' | b'-')).count();
        if !separator(&rest[..gap]) {
            return false;
        }
        rest = &rest[gap..];
    }
}

fn is_hostname(text: &str) -> bool {
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    host.split('.').all(label)
        && port.is_none_or(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()))
}

fn has_digest_shape(text: &str) -> bool {
    let Some((algorithm, hex)) = text.split_once(':') else { return false };
    let word = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_alphabetic()) && word.bytes().all(|b| b.is_ascii_alphanumeric())
    };
    algorithm.split(['-', '_', '+', '.']).all(word)
        && hex.len() >= 32
        && hex.bytes().all(|b| b.is_ascii_hexdigit())
}
