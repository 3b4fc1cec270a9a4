//! `[nats]`: where events are published to.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use tagtrail_publisher::{Connection, Encoding, Settings, StreamSettings};

use super::ConfigError;

/// The keys that are text whatever they look like: a password of digits is no number.
pub(super) const TEXTS: [&str; 14] = [
    "url",
    "credentials_file",
    "user",
    "password",
    "token",
    "ca_file",
    "client_cert_file",
    "client_key_file",
    "stream",
    "subject_prefix",
    "encoding",
    "max_age",
    "duplicate_window",
    "bucket",
];

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct NatsSection {
    url: Option<String>,
    credentials_file: Option<PathBuf>,
    user: Option<String>,
    password: Option<String>,
    token: Option<String>,
    ca_file: Option<PathBuf>,
    client_cert_file: Option<PathBuf>,
    client_key_file: Option<PathBuf>,
    stream: Option<String>,
    subject_prefix: Option<String>,
    replicas: Option<usize>,
    encoding: Option<String>,
    max_age: Option<String>,
    max_bytes: Option<u64>,
    duplicate_window: Option<String>,
    rebuild_lost_stream: Option<bool>,
    bucket: Option<String>,
}

impl NatsSection {
    /// Lays the address that a flag gave over it. `None`: nothing is published.
    pub(super) fn check(self, url: Option<String>) -> Result<Option<Settings>, ConfigError> {
        let Some(url) = url.or(self.url).filter(|url| !url.is_empty()) else { return Ok(None) };
        let usual = StreamSettings::default();
        let settings = Settings {
            connection: Connection {
                url,
                credentials_file: self.credentials_file,
                user: self.user,
                password: self.password,
                token: self.token,
                ca_file: self.ca_file,
                client_cert_file: self.client_cert_file,
                client_key_file: self.client_key_file,
            },
            stream: StreamSettings {
                name: self.stream.unwrap_or(usual.name),
                subject_prefix: self.subject_prefix.unwrap_or(usual.subject_prefix),
                replicas: self.replicas.unwrap_or(usual.replicas),
                encoding: match self.encoding.as_deref() {
                    None | Some("json") => Encoding::Json,
                    Some("protobuf") => Encoding::Protobuf,
                    Some(other) => {
                        return fail("encoding", format!("\"{other}\" is neither json nor protobuf"));
                    }
                },
                max_age: duration("max_age", self.max_age, usual.max_age)?,
                max_bytes: self.max_bytes.unwrap_or(usual.max_bytes),
                duplicate_window: duration(
                    "duplicate_window",
                    self.duplicate_window,
                    usual.duplicate_window,
                )?,
                rebuild_lost: self.rebuild_lost_stream.unwrap_or(usual.rebuild_lost),
            },
            bucket: self.bucket.filter(|bucket| !bucket.is_empty()),
        };
        settings.check().or_else(|error| fail(error.key, error.reason))?;
        Ok(Some(settings))
    }
}

fn duration(key: &str, text: Option<String>, usual: Duration) -> Result<Duration, ConfigError> {
    let Some(text) = text else { return Ok(usual) };
    humantime::parse_duration(&text)
        .or_else(|_| fail(key, format!("\"{text}\" is no time such as \"2m\", \"30d\" or \"0s\"")))
}

fn fail<T>(key: &str, reason: String) -> Result<T, ConfigError> {
    Err(ConfigError::Content { place: format!("nats.{key}"), reason })
}
