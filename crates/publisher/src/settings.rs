//! What the publisher is told, and what is wrong with it.

use std::path::PathBuf;
use std::time::Duration;

use async_nats::ServerAddr;

use crate::message::Encoding;

/// The least that a limit of a stream's bytes can be: some of the largest messages there are.
const LEAST_BYTES: u64 = 1 << 20;

/// Everything the publisher is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How to reach the broker.
    pub connection: Connection,
    /// Where events go.
    pub stream: StreamSettings,
    /// The key-value bucket that holds what each tag points to now. `None`: there is none.
    pub bucket: Option<String>,
}

/// How to reach the broker.
#[derive(Clone, Default)]
pub struct Connection {
    /// `nats://host:4222`, or several of one cluster, separated by commas; `tls://` where TLS is a must.
    pub url: String,
    /// A file with a JWT and its key, as `nsc` writes it.
    pub credentials_file: Option<PathBuf>,
    /// A user, with `password`.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<String>,
    /// A token.
    pub token: Option<String>,
    /// Certificates to trust beyond the system's, PEM.
    pub ca_file: Option<PathBuf>,
    /// The certificate to show, PEM, with `client_key_file`.
    pub client_cert_file: Option<PathBuf>,
    /// The key of that certificate, PEM.
    pub client_key_file: Option<PathBuf>,
}

/// Passwords and tokens are nobody's business, and an address may hold both.
impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("url", &self.shown_url()).finish_non_exhaustive()
    }
}

impl Connection {
    /// The addresses without users, passwords and tokens.
    #[must_use]
    pub fn shown_url(&self) -> String {
        self.addresses().map(|(address, _)| address).collect::<Vec<_>>().join(",")
    }

    /// Each address, and apart from it who is named in it: a user with a password, or a token.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = (String, Option<ServerAddr>)> {
        self.url.split(',').map(str::trim).map(|text| {
            // What cannot be read cannot be shown either: any part of it may be a secret.
            let Ok(address) = text.parse::<ServerAddr>() else { return ("?".to_owned(), None) };
            let host = match address.host() {
                host if host.contains(':') => format!("[{host}]"),
                host => host.to_owned(),
            };
            let shown = format!("{}://{host}:{}", address.scheme(), address.port());
            (shown, address.username().is_some().then_some(address))
        })
    }
}

/// Where events go, and how they are kept there.
#[derive(Clone, Debug)]
pub struct StreamSettings {
    /// The JetStream stream. Created if there is none.
    pub name: String,
    /// What every subject begins with.
    pub subject_prefix: String,
    /// On how many servers of a cluster each message is kept: 1 to 5.
    pub replicas: usize,
    /// How events are written.
    pub encoding: Encoding,
    /// How long messages are kept. Zero: for ever.
    pub max_age: Duration,
    /// How many bytes are kept; the oldest messages go first. 0: no limit.
    pub max_bytes: u64,
    /// How long the broker recognises a repeated message by its id.
    pub duplicate_window: Duration,
    /// Whether a stream that was lost or wiped is filled from the log again. False: nothing is published until somebody says
    /// what is to be done.
    pub rebuild_lost: bool,
}

impl Default for StreamSettings {
    fn default() -> Self {
        Self {
            name: "TAGTRAIL".into(),
            subject_prefix: "tagtrail".into(),
            replicas: 1,
            encoding: Encoding::Json,
            max_age: Duration::ZERO,
            max_bytes: 0,
            duplicate_window: Duration::from_secs(120),
            rebuild_lost: true,
        }
    }
}

/// Why settings cannot be used: which, and what is wrong with it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key} cannot be used: {reason}")]
pub struct SettingsError {
    /// The setting, by its name here.
    pub key: &'static str,
    /// What is wrong.
    pub reason: String,
}

impl Settings {
    /// Checks what can be checked without a broker.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn check(&self) -> Result<(), SettingsError> {
        self.connection.check()?;
        self.stream.check()?;
        if let Some(bucket) = &self.bucket
            && !is_name(bucket)
        {
            return fail("bucket", format!("\"{bucket}\" is no name: use letters, digits, '_' and '-'"));
        }
        Ok(())
    }
}

impl Connection {
    fn check(&self) -> Result<(), SettingsError> {
        for (number, url) in self.url.split(',').map(str::trim).enumerate() {
            if url.parse::<ServerAddr>().is_err() || url.is_empty() {
                // Repeated only where no password can be in it.
                let which = if self.url.contains('@') {
                    format!("address {}", number + 1)
                } else {
                    format!("\"{url}\"")
                };
                return fail("url", format!("{which} is none such as nats://127.0.0.1:4222"));
            }
        }
        let ways = [self.credentials_file.is_some(), self.user.is_some(), self.token.is_some()];
        if ways.iter().filter(|given| **given).count() > 1 {
            return fail("user", "give one of credentials_file, user with password, and token".into());
        }
        if self.user.is_some() != self.password.is_some() {
            return fail("user", "user and password go together".into());
        }
        if self.client_cert_file.is_some() != self.client_key_file.is_some() {
            return fail("client_cert_file", "client_cert_file and client_key_file go together".into());
        }
        let files = [
            ("credentials_file", &self.credentials_file),
            ("ca_file", &self.ca_file),
            ("client_cert_file", &self.client_cert_file),
            ("client_key_file", &self.client_key_file),
        ];
        for (key, file) in files {
            if let Some(file) = file
                && let Err(error) = std::fs::read(file)
            {
                return fail(key, format!("{}: {error}", file.display()));
            }
        }
        Ok(())
    }
}

impl StreamSettings {
    /// Checks what can be checked without a broker.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn check(&self) -> Result<(), SettingsError> {
        if !is_name(&self.name) {
            return fail("stream", format!("\"{}\" is no name: use letters, digits, '_' and '-'", self.name));
        }
        if !self.subject_prefix.split('.').all(is_name) {
            let reason = format!(
                "\"{}\" is no beginning of subjects: use words of letters, digits, '_' and '-', with dots between them",
                self.subject_prefix
            );
            return fail("subject_prefix", reason);
        }
        if !(1..=5).contains(&self.replicas) {
            return fail("replicas", format!("{} is not between 1 and 5", self.replicas));
        }
        if (1..LEAST_BYTES).contains(&self.max_bytes) {
            let reason = format!(
                "{} bytes hold next to nothing; give at least {LEAST_BYTES}, or 0 for no limit",
                self.max_bytes
            );
            return fail("max_bytes", reason);
        }
        if self.duplicate_window < Duration::from_millis(100) {
            return fail("duplicate_window", "it is shorter than 100ms, the shortest there is".into());
        }
        if !self.max_age.is_zero() && self.max_age < self.duplicate_window {
            return fail("max_age", "it is shorter than duplicate_window".into());
        }
        Ok(())
    }
}

/// What NATS takes as the name of a stream and of a bucket, and as a part of a subject.
fn is_name(text: &str) -> bool {
    (1..=200).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

fn fail(key: &'static str, reason: String) -> Result<(), SettingsError> {
    Err(SettingsError { key, reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(change: impl Fn(&mut Settings)) -> Settings {
        let mut settings = Settings {
            connection: Connection { url: "nats://127.0.0.1:4222".into(), ..Connection::default() },
            stream: StreamSettings::default(),
            bucket: None,
        };
        change(&mut settings);
        settings
    }

    #[test]
    fn mistakes_are_named() {
        let check = |change: &dyn Fn(&mut Settings), said: &str| {
            let error = settings(change).check().expect_err(said).to_string();
            assert!(error.starts_with(said), "{error}");
        };
        assert_eq!(settings(|_| {}).check(), Ok(()));
        assert_eq!(settings(|s| s.connection.url = "tls://a:1, nats://b:2".into()).check(), Ok(()));
        check(&|s| s.connection.url = String::new(), "url cannot be used: \"\" is none such as nats://");
        check(&|s| s.connection.url = "nats://a b".into(), "url cannot be used: \"nats://a b\" is none");
        check(
            &|s| s.connection.url = "nats://u:pa,ss@h:1".into(),
            "url cannot be used: address 1 is none such",
        );
        check(&|s| s.connection.user = Some("u".into()), "user cannot be used: user and password go");
        check(
            &|s| {
                s.connection.token = Some("t".into());
                (s.connection.user, s.connection.password) = (Some("u".into()), Some("p".into()));
            },
            "user cannot be used: give one of",
        );
        check(
            &|s| s.connection.ca_file = Some("/no/such.pem".into()),
            "ca_file cannot be used: /no/such.pem: No",
        );
        check(&|s| s.stream.name = "A.B".into(), "stream cannot be used: \"A.B\" is no name");
        check(&|s| s.stream.subject_prefix = "a..b".into(), "subject_prefix cannot be used: \"a..b\" is");
        check(&|s| s.stream.subject_prefix = "a.>".into(), "subject_prefix cannot be used");
        check(&|s| s.stream.replicas = 6, "replicas cannot be used: 6 is not between 1 and 5");
        check(&|s| s.stream.max_age = Duration::from_secs(1), "max_age cannot be used: it is shorter than");
        check(&|s| s.stream.max_bytes = 20, "max_bytes cannot be used: 20 bytes hold next to nothing");
        check(&|s| s.bucket = Some("a.b".into()), "bucket cannot be used: \"a.b\" is no name");
    }

    #[test]
    fn secrets_are_not_shown() {
        let connection = Connection {
            url: "nats://user:secret@a:1,nats://token@b:2,nats://c:3".into(),
            password: Some("secret".into()),
            ..Connection::default()
        };
        assert_eq!(connection.shown_url(), "nats://a:1,nats://b:2,nats://c:3");
        let odd = Connection { url: "nats://u:pa,ss@h:1, h, tls://[::1]:7".into(), ..Connection::default() };
        assert_eq!(odd.shown_url(), "?,nats://h:1,nats://h:4222,tls://[::1]:7");
        assert!(!format!("{connection:?}").contains("secret"));
    }
}
