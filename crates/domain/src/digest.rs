//! Content digests: the immutable name of an image.

use std::fmt;
use std::sync::Arc;

/// A content digest, such as `sha256:` and its 64 lowercase hex digits.
///
/// Text becomes a `Digest` once, at the edge. A `Digest` never becomes another kind of name:
///
/// ```compile_fail
/// # use tagtrail_domain::{Digest, TagName};
/// fn history(tag: &TagName) {}
/// fn mixed_up(digest: &Digest) { history(digest) }
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(Arc<str>);

/// Why a text is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// No `algorithm:hex` at all.
    #[error("invalid checksum digest format")]
    Format,
    /// The algorithm is none of sha256, sha384, sha512.
    #[error("unsupported digest algorithm")]
    Algorithm,
    /// The number of hex digits does not fit the algorithm.
    #[error("invalid checksum digest length")]
    Length,
}

impl Digest {
    /// The one door in: `sha256:`, `sha384:` or `sha512:` and exactly as many lowercase hex digits as the
    /// algorithm gives (OCI image specification, "Digests").
    ///
    /// # Errors
    /// [`DigestError`] says which part is wrong.
    pub fn parse(text: &str) -> Result<Self, DigestError> {
        let (algorithm, hex) = text.split_once(':').ok_or(DigestError::Format)?;
        let digits = match algorithm {
            "sha256" => 64,
            "sha384" => 96,
            "sha512" => 128,
            _ => return Err(DigestError::Algorithm),
        };
        if !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(DigestError::Format);
        }
        if hex.len() != digits {
            return Err(DigestError::Length);
        }
        Ok(Self(text.into()))
    }

    /// The whole text, algorithm included.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The hex digits alone.
    #[must_use]
    pub fn hex(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, hex)| hex)
    }

    /// Whether `prefix` names this digest: the start of the hex digits or of the whole text (spec §2.7).
    #[must_use]
    pub fn matches_prefix(&self, prefix: &str) -> bool {
        self.hex().starts_with(prefix) || self.0.starts_with(prefix)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_has_an_algorithm_and_its_digits() {
        let hex = "ab".repeat(32);
        assert_eq!(Digest::parse(&format!("sha256:{hex}")).expect("valid").hex(), hex);
        let check = |text: &str, why: DigestError| assert_eq!(Digest::parse(text), Err(why), "{text}");
        check(&hex, DigestError::Format);
        check(&format!("sha256:{}", hex.to_uppercase()), DigestError::Format);
        check("sha256:abcd", DigestError::Length);
        check(&format!("md5:{hex}"), DigestError::Algorithm);
    }

    #[test]
    fn a_prefix_matches_with_or_without_the_algorithm() {
        let digest = Digest::parse(&format!("sha256:7866{}", "0".repeat(60))).expect("valid");
        assert!(digest.matches_prefix("7866"));
        assert!(digest.matches_prefix("sha256:78"));
        assert!(!digest.matches_prefix("6678"));
    }
}
