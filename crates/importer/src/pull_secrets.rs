//! Credentials that belong to a namespace (spec §3.5): Docker configurations that its people have handed over. They are
//! strangers' text, so nothing in them but passwords and tokens counts: a configuration that names a credential
//! helper would have this machine run a program of their choice.

use std::fmt;
use std::sync::Arc;

use crate::credentials::{Auth, Auths, Credential, Pattern, matching};
use crate::limits;

/// One Docker configuration, read and found useful. `Debug` shows nothing of it.
pub struct PullSecret(Auths);

/// Why a text is no pull secret. None of these sentences repeats any of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PullSecretError {
    /// More than anybody's credentials take.
    #[error("it has {0} bytes; at most {max} are kept", max = limits::PULL_SECRET_BYTES)]
    TooLarge(usize),
    /// Not the JSON it should be.
    #[error(
        "it is not a Docker configuration such as {{\"auths\":{{\"quay.io\":{{\"auth\":\"...\"}}}}}}: line {line}, column {column} is not as expected"
    )]
    Json {
        /// Where reading stopped, counted from 1.
        line: usize,
        /// Where in that line, in bytes.
        column: usize,
    },
    /// An entry is for no registry.
    #[error("a key of \"auths\" is not a registry: write host, host:port or host/path, without a user")]
    Registry,
    /// An entry opens nothing.
    #[error(
        "an entry of \"auths\" has no credentials: give username and password, identitytoken, or auth, which is user:password in base64"
    )]
    Entry,
    /// There is nothing in it.
    #[error("it holds no credentials: \"auths\" is empty, as it is where a credential helper keeps them")]
    Nothing,
}

impl PullSecret {
    /// Reads a Docker configuration, which is also the `.dockerconfigjson` of a Kubernetes secret.
    ///
    /// # Errors
    /// [`PullSecretError`]: what could not be used is refused now, and not found out by an import that fails.
    pub fn parse(config: &[u8]) -> Result<Self, PullSecretError> {
        #[derive(serde::Deserialize)]
        struct Config {
            #[serde(default)]
            auths: Auths,
        }
        if config.len() > limits::PULL_SECRET_BYTES {
            return Err(PullSecretError::TooLarge(config.len()));
        }
        // The error's own words may quote a value: only the place is told.
        let Config { mut auths } = serde_json::from_slice(config)
            .map_err(|e| PullSecretError::Json { line: e.line(), column: e.column() })?;
        // `docker login` leaves these behind where a helper keeps the password.
        auths.retain(|_, auth| !auth.is_empty());
        if auths.is_empty() {
            return Err(PullSecretError::Nothing);
        }
        if auths.keys().any(|key| Pattern::parse(key).is_none()) {
            return Err(PullSecretError::Registry);
        }
        if auths.values().any(|auth| auth.credential().is_none()) {
            return Err(PullSecretError::Entry);
        }
        Ok(Self(auths))
    }
}

impl fmt::Debug for PullSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[pull secret]")
    }
}

/// The pull secrets of one namespace, in the order of their names. Cheap to clone.
#[derive(Clone, Default, Debug)]
pub struct PullSecrets(Arc<[Arc<PullSecret>]>);

impl FromIterator<Arc<PullSecret>> for PullSecrets {
    fn from_iter<I: IntoIterator<Item = Arc<PullSecret>>>(secrets: I) -> Self {
        Self(secrets.into_iter().collect())
    }
}

impl PullSecrets {
    /// What may open `repository` on `host`, the most specific first, whichever secret it is in.
    pub(crate) fn matching(&self, host: &str, repository: &str) -> Vec<Credential> {
        let entries = self.0.iter().flat_map(|secret| &secret.0);
        matching(entries, host, repository)
    }
}

impl Auth {
    fn is_empty(&self) -> bool {
        [&self.auth, &self.username, &self.password, &self.identitytoken].iter().all(|text| text.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_used_is_refused_without_a_word_of_it() {
        let check = |config: &str, expected: &str| {
            let told = PullSecret::parse(config.as_bytes()).map(|_| ()).map_err(|e| e.to_string());
            let told = told.err().unwrap_or_default();
            assert!(!told.contains("canary"), "{told}");
            assert!(told.contains(expected) && told.is_empty() == expected.is_empty(), "{config}: {told}");
        };
        check(r#"{"auths":{"quay.io":{"auth":"dXNlcjpwYXNz","email":"a@b"}}}"#, "");
        check(r#"{"auths":{"quay.io":{"username":"u","password":"p"},"empty.io":{}}}"#, "");
        check(r#"{"auths":{"https://index.docker.io/v1/":{"identitytoken":"t"}}}"#, "");
        check("", "line 1, column 0");
        check("canary", "line 1, column 1");
        check(r#"{"auths":{"quay.io":"canary"}}"#, "line 1, column 28 is not as expected");
        check(r#"{"auths":{"canary@quay.io":{"auth":"dXNlcjpwYXNz"}}}"#, "is not a registry");
        check(r#"{"auths":{"quay.io":{"auth":"canary"}}}"#, "an entry of \"auths\" has no credentials");
        check(r#"{"auths":{"quay.io":{"password":"canary"}}}"#, "an entry of \"auths\" has no credentials");
        check(r#"{"auths":{"quay.io":{}},"credsStore":"canary"}"#, "holds no credentials");
        check("{}", "holds no credentials");
        check(&" ".repeat(65_537), "it has 65537 bytes; at most 65536 are kept");
    }

    #[test]
    fn secrets_are_one_ring_of_keys() {
        let secret = |config: &str| Arc::new(PullSecret::parse(config.as_bytes()).expect(config));
        let secrets: PullSecrets = [
            secret(r#"{"auths":{"quay.io":{"username":"a-host","password":"p"}},"credsStore":"ignored"}"#),
            secret(r#"{"auths":{"quay.io":{"username":"b-host","password":"p"},"quay.io/org":{"username":"b-org","password":"p"}}}"#),
        ]
        .into_iter()
        .collect();
        let users: Vec<_> = secrets
            .matching("quay.io", "org/app")
            .into_iter()
            .map(|credential| match credential {
                Credential::Password { user, .. } => user,
                other => format!("{other:?}"),
            })
            .collect();
        assert_eq!(users, ["b-org", "a-host", "b-host"]);
        assert_eq!(secrets.matching("gcr.io", "org/app").len(), 0);
        assert_eq!(format!("{secrets:?}"), "PullSecrets([[pull secret], [pull secret]])");
    }
}
