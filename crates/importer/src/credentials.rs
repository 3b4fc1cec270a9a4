//! Secrets for registries.

use std::fmt;

/// Text that is shown to nobody but the one it is for.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Secret(String);

impl Secret {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself. Every call is a place to look at twice.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// What a registry or its token service wants to see.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Credential {
    /// Nothing at all.
    Anonymous,
    /// A user name and password.
    Password { user: String, password: Secret },
    /// A token to get tokens with (OAuth2 refresh token).
    Identity(Secret),
}
