//! Leaves and nodes: how entries become hashes, and two hashes become one (RFC 6962 section 2.1).
//!
//! A leaf and a node start with different bytes, so that nobody can show a node as an entry.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use crate::text;

/// A SHA-256 hash of a leaf or of a subtree. Its text is standard base64 with padding, 44 characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash([u8; Hash::BYTES]);

impl Hash {
    /// How many bytes a hash has.
    pub const BYTES: usize = 32;

    /// The hash with these bytes.
    pub const fn from_bytes(bytes: [u8; Hash::BYTES]) -> Hash {
        Hash(bytes)
    }

    /// The bytes of this hash.
    pub const fn as_bytes(&self) -> &[u8; Hash::BYTES] {
        &self.0
    }
}

/// The hash of an entry as a leaf: `SHA-256(0x00 || entry)`.
pub fn leaf(entry: &[u8]) -> Hash {
    Hash(Sha256::new_with_prefix([0]).chain_update(entry).finalize().into())
}

/// The hash of two subtrees side by side: `SHA-256(0x01 || left || right)`.
pub fn node(left: &Hash, right: &Hash) -> Hash {
    Hash(Sha256::new_with_prefix([1]).chain_update(left.0).chain_update(right.0).finalize().into())
}

/// The root of the tree without entries: `SHA-256("")`.
pub fn empty_root() -> Hash {
    Hash(Sha256::digest([]).into())
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text::base64(&self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({self})")
    }
}

/// The text is not a hash.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a hash: it must be 32 bytes in standard base64, 44 characters with the `=` at the end")]
pub struct InvalidHash(String);

impl FromStr for Hash {
    type Err = InvalidHash;

    fn from_str(text: &str) -> Result<Hash, InvalidHash> {
        let bytes = if text.len() == 44 { text::from_base64(text) } else { None };
        match bytes.map(TryInto::try_into) {
            Some(Ok(bytes)) => Ok(Hash(bytes)),
            Some(Err(_)) | None => Err(InvalidHash(text.chars().take(64).collect())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_its_base64_text() {
        let text = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
        assert_eq!(empty_root().to_string(), text);
        assert_eq!(text.parse(), Ok(empty_root()));
        let unused_bits_set = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFV=";
        for bad in ["", "AA==", &text[..43], &format!("{text}\n"), unused_bits_set, &text.replace('+', "-")] {
            assert!(bad.parse::<Hash>().is_err(), "{bad}");
        }
    }
}
