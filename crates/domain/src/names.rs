//! The names of things: namespaces, image streams, tags. Text becomes a name once, at the edge.

use std::fmt;
use std::sync::Arc;

use crate::limits;
use crate::reference::is_tag;

/// The namespace of [`LOG_STREAM`]. Otherwise it is one like any other.
pub const SYSTEM_NAMESPACE: &str = "tagtrail-system";
/// The name in [`SYSTEM_NAMESPACE`] that events about the log itself stand under. No image stream can have it, so that nobody
/// mistakes them for a stream's.
pub const LOG_STREAM: &str = "log";

/// Why a text is not the name it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not a namespace.
    #[error(
        "\"{0}\" is not a namespace: use lowercase letters, digits and '-', starting and ending with a letter or digit, at most {max} characters",
        max = limits::NAMESPACE_BYTES
    )]
    Namespace(String),
    /// Not an image stream name (spec §1.3).
    #[error("must match \"[a-z0-9]+(?:[._-][a-z0-9]+)*\"")]
    Stream(String),
    /// Not an image stream name, for it would not stand as one word in a path.
    #[error("{why}")]
    StreamPath {
        /// The text.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Namespace and name together are too long (spec §1.3).
    #[error("'namespace/name' cannot be longer than {} characters", limits::STREAM_KEY_BYTES)]
    StreamTooLong(String),
    /// Not a tag (spec §1.3).
    #[error(
        "invalid tag \"{0}\" format, tags must start with an alphanumeric character followed by alphanumeric, '.' or '-' characters, and have a maximum of 128 characters"
    )]
    Tag(String),
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text of the name.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name_type! {
    /// A namespace: a DNS label (RFC 1123), as Kubernetes has it. It comes into being when first used.
    Namespace
}
name_type! {
    /// The name of an image stream in its namespace: `[a-z0-9]+(?:[._-][a-z0-9]+)*` (spec §1.3).
    StreamName
}
name_type! {
    /// A tag: `[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}` (spec §1.2). OpenShift's server takes any text for a tag
    /// and only its client checks; here nothing else is ever a tag.
    TagName
}

impl Namespace {
    /// The one door in.
    ///
    /// # Errors
    /// [`NameError::Namespace`].
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let good = (1..=limits::NAMESPACE_BYTES).contains(&text.len())
            && text.bytes().all(inner)
            && !text.starts_with('-')
            && !text.ends_with('-');
        if good { Ok(Self(text.into())) } else { Err(NameError::Namespace(text.into())) }
    }
}

impl StreamName {
    /// The one door in. The length is checked together with the namespace, by [`StreamKey::parse`].
    ///
    /// # Errors
    /// [`NameError::StreamPath`] or [`NameError::Stream`].
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let in_path = match text {
            "." => Some("may not be '.'"),
            ".." => Some("may not be '..'"),
            _ if text.contains('/') => Some("may not contain '/'"),
            _ if text.contains('%') => Some("may not contain '%'"),
            _ => None,
        };
        if let Some(why) = in_path {
            return Err(NameError::StreamPath { name: text.into(), why });
        }
        let good = text.split(['.', '_', '-']).all(|word| {
            !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        });
        if good { Ok(Self(text.into())) } else { Err(NameError::Stream(text.into())) }
    }
}

impl TagName {
    /// The one door in.
    ///
    /// # Errors
    /// [`NameError::Tag`].
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if is_tag(text) { Ok(Self(text.into())) } else { Err(NameError::Tag(text.into())) }
    }

    /// The tag meant when none is given.
    #[must_use]
    pub fn latest() -> Self {
        Self("latest".into())
    }
}

/// Which image stream: its namespace and its name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamKey {
    /// The namespace it lives in.
    pub namespace: Namespace,
    /// Its name there.
    pub name: StreamName,
}

impl StreamKey {
    /// Puts a key together.
    #[must_use]
    pub fn new(namespace: Namespace, name: StreamName) -> Self {
        Self { namespace, name }
    }

    /// The one door in.
    ///
    /// # Errors
    /// [`NameError`] for either part, or for both together being too long.
    pub fn parse(namespace: &str, name: &str) -> Result<Self, NameError> {
        let key = Self { namespace: Namespace::parse(namespace)?, name: StreamName::parse(name)? };
        if namespace.len() + 1 + name.len() > limits::STREAM_KEY_BYTES {
            return Err(NameError::StreamTooLong(name.into()));
        }
        Ok(key)
    }
}

impl StreamKey {
    /// The name under which the log tells of itself. No image stream can be there.
    #[must_use]
    pub fn of_log() -> Self {
        Self { namespace: Namespace(SYSTEM_NAMESPACE.into()), name: StreamName(LOG_STREAM.into()) }
    }

    /// Whether it is [`StreamKey::of_log`].
    #[must_use]
    pub fn is_of_log(&self) -> bool {
        self.namespace.as_str() == SYSTEM_NAMESPACE && self.name.as_str() == LOG_STREAM
    }
}

impl fmt::Display for StreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl fmt::Debug for StreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespace_and_name_share_one_length() {
        assert!(StreamKey::parse("test", &"a".repeat(250)).is_ok());
        let refused = StreamKey::parse("test", &"a".repeat(251)).expect_err("too long");
        assert_eq!(refused.to_string(), "'namespace/name' cannot be longer than 255 characters");
    }

    #[test]
    fn the_log_has_a_name() {
        let key = StreamKey::parse(SYSTEM_NAMESPACE, LOG_STREAM).expect("a name like any other");
        assert_eq!(key, StreamKey::of_log());
        assert!(key.is_of_log());
        assert!(!StreamKey::parse("test", LOG_STREAM).expect("valid").is_of_log());
    }

    #[test]
    fn stream_names_are_one_word_of_a_path() {
        let why = |text| StreamName::parse(text).map_err(|error| error.to_string());
        assert_eq!(why("."), Err("may not be '.'".into()));
        assert_eq!(why(".."), Err("may not be '..'".into()));
        assert_eq!(why("a/B"), Err("may not contain '/'".into()));
        assert_eq!(why("50%"), Err("may not contain '%'".into()));
        assert_eq!(why("a..b"), Err("must match \"[a-z0-9]+(?:[._-][a-z0-9]+)*\"".into()));
    }

    #[test]
    fn namespaces_are_dns_labels() {
        assert!(Namespace::parse("team-a").is_ok());
        for bad in ["", "Team", "a.b", "-a", "a-", &"n".repeat(64)] {
            assert!(Namespace::parse(bad).is_err(), "{bad}");
        }
    }
}
