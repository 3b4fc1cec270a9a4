//! What the importer is told about registries.

use std::path::PathBuf;
use std::time::Duration;

use tagtrail_domain::reference::{DOCKER_HUB, is_docker_hub};

use crate::pace;

/// What one registry host needs beyond the defaults.
#[derive(Clone, Default, Debug, PartialEq)]
pub struct RegistryConfig {
    /// Host and port as in a reference. Docker Hub may be given under any of its names.
    pub host: String,
    /// Asked in order before the host itself, for everything. `host[:port][/path]`.
    pub mirrors: Vec<String>,
    /// Never fall back to the host itself.
    pub mirror_only: bool,
    /// Do without certificates and fall back to plain HTTP, for the host and its mirrors.
    pub insecure: bool,
    /// Never import from here. Without effect on a host with mirrors (spec §3.3).
    pub blocked: bool,
    /// PEM file of certificates to trust beyond the system's.
    pub ca_file: Option<PathBuf>,
    /// The host may be in a private network even if others may not. Mirrors always may: the operator has
    /// named them.
    pub private_network: bool,
    /// Requests a second that background work may send to the host. `None`: [`Config::requests_per_second`].
    pub requests_per_second: Option<f64>,
}

/// How long to wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection.
    pub connect: Duration,
    /// For the next piece of an answer.
    pub read: Duration,
    /// For one request, its body included.
    pub request: Duration,
    /// For one image, everything included.
    pub image: Duration,
    /// Between a failed request and the next try, before jitter.
    pub retry_delay: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            read: Duration::from_secs(15),
            request: Duration::from_secs(30),
            image: Duration::from_secs(60),
            retry_delay: Duration::from_secs(1),
        }
    }
}

/// All the importer is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Registries that need more than the defaults.
    pub registries: Vec<RegistryConfig>,
    /// Whether connections to loopback, link-local and private addresses are allowed. Without them, proxies
    /// from the environment are not used either: they would connect on our behalf, out of sight.
    pub allow_private_networks: bool,
    /// The folder of Docker's `config.json`: `$DOCKER_CONFIG`, else `$HOME/.docker`. `None`: no credentials.
    pub docker_config_dir: Option<PathBuf>,
    /// Requests a second that background work may send to one host, after as many at once. Above 0. What people
    /// ask for is counted too, but never held up.
    pub requests_per_second: f64,
    /// How long to wait.
    pub timeouts: Timeouts,
    /// What to call ourselves.
    pub user_agent: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            registries: Vec::new(),
            allow_private_networks: false,
            docker_config_dir: None,
            requests_per_second: 20.0,
            timeouts: Timeouts::default(),
            user_agent: concat!("tagtrail/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// A registry or mirror is not written `host[:port]`.
    #[error(
        "{0:?} is not a registry: write host or host:port, without scheme (and for mirrors a path if needed)"
    )]
    Host(String),
    /// The same host twice.
    #[error("the registry {0:?} is configured twice")]
    Twice(String),
    /// `mirror_only` without a mirror.
    #[error("the registry {0:?} is mirror_only but has no mirrors")]
    NoMirror(String),
    /// A budget that lets nothing through, or is no number.
    #[error("requests_per_second{of} is {given}: give a number above 0, such as 20")]
    Rate {
        /// ` of registry "..."`, or nothing for the one that holds for all.
        of: String,
        /// The number as configured.
        given: f64,
    },
    /// The CA file is not there.
    #[error("the CA file {file} of registry {host:?} cannot be read: {why}")]
    CaFile {
        /// The registry.
        host: String,
        /// The file as configured.
        file: String,
        /// The system's words.
        why: String,
    },
}

impl Config {
    /// Looks for mistakes before they hurt.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        check_rate(self.requests_per_second, String::new)?;
        let mut seen = Vec::new();
        for registry in &self.registries {
            let host = canonical(&registry.host);
            if !is_host(host) {
                return Err(ConfigError::Host(registry.host.clone()));
            }
            if seen.contains(&host) {
                return Err(ConfigError::Twice(registry.host.clone()));
            }
            seen.push(host);
            if let Some(bad) = registry.mirrors.iter().find(|mirror| !is_host(mirror_host(mirror))) {
                return Err(ConfigError::Host(bad.clone()));
            }
            if registry.mirror_only && registry.mirrors.is_empty() {
                return Err(ConfigError::NoMirror(registry.host.clone()));
            }
            if let Some(rate) = registry.requests_per_second {
                check_rate(rate, || format!(" of registry {:?}", registry.host))?;
            }
            if let Some(file) = &registry.ca_file {
                std::fs::metadata(file).map_err(|e| ConfigError::CaFile {
                    host: registry.host.clone(),
                    file: file.display().to_string(),
                    why: e.to_string(),
                })?;
            }
        }
        Ok(())
    }

    /// What is configured for a host.
    pub(crate) fn registry(&self, host: &str) -> Option<&RegistryConfig> {
        self.registries.iter().find(|r| canonical(&r.host).eq_ignore_ascii_case(canonical(host)))
    }

    /// Requests a second that background work may send to a host.
    pub(crate) fn rate(&self, host: &str) -> f64 {
        let is_host = |r: &&RegistryConfig| pace::key(canonical(&r.host)) == pace::key(canonical(host));
        let own = self.registries.iter().find(is_host).and_then(|r| r.requests_per_second);
        own.unwrap_or(self.requests_per_second)
    }

    /// Whether connections to a host may go to a private network.
    pub(crate) fn may_be_private(&self, host: &str) -> bool {
        self.allow_private_networks
            || self.registry(host).is_some_and(|r| r.private_network)
            || self.registries.iter().flat_map(|r| &r.mirrors).any(|m| mirror_host(m) == host)
    }

    /// The certificates to trust beyond the system's when talking to a host.
    pub(crate) fn ca_file(&self, host: &str) -> Option<PathBuf> {
        self.registry(host)
            .or_else(|| self.registries.iter().find(|r| r.mirrors.iter().any(|m| mirror_host(m) == host)))
            .and_then(|r| r.ca_file.clone())
    }
}

fn check_rate(given: f64, of: impl FnOnce() -> String) -> Result<(), ConfigError> {
    if given.is_finite() && given > 0.0 { Ok(()) } else { Err(ConfigError::Rate { of: of(), given }) }
}

/// Docker Hub under its one name, every other host as it is.
pub(crate) fn canonical(host: &str) -> &str {
    if is_docker_hub(host) { DOCKER_HUB } else { host }
}

/// The host of `host[:port][/path]`.
pub(crate) fn mirror_host(mirror: &str) -> &str {
    mirror.split_once('/').map_or(mirror, |(host, _)| host)
}

fn is_host(text: &str) -> bool {
    let (host, port) = text.split_once(':').unwrap_or((text, "443"));
    !host.is_empty()
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'))
        && port.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_named() {
        let check = |registry: RegistryConfig, error: &str| {
            let config = Config { registries: vec![registry], ..Config::default() };
            assert_eq!(config.check().err().map(|e| e.to_string()).unwrap_or_default(), error);
        };
        let host = |host: &str| RegistryConfig { host: host.into(), ..RegistryConfig::default() };
        check(host("quay.io"), "");
        check(host("localhost:5000"), "");
        check(
            RegistryConfig {
                mirrors: vec!["mirror:5000/hub".into()],
                mirror_only: true,
                ..host("docker.io")
            },
            "",
        );
        check(
            host("https://quay.io"),
            "\"https://quay.io\" is not a registry: write host or host:port, without scheme (and for mirrors a path \
             if needed)",
        );
        check(
            RegistryConfig { mirror_only: true, ..host("quay.io") },
            "the registry \"quay.io\" is mirror_only but has no mirrors",
        );
        let paced = |rate: f64| RegistryConfig { requests_per_second: Some(rate), ..host("quay.io") };
        check(paced(0.5), "");
        for (rate, shown) in [(0.0, "0"), (-1.0, "-1"), (f64::NAN, "NaN"), (f64::INFINITY, "inf")] {
            check(
                paced(rate),
                &format!(
                    "requests_per_second of registry \"quay.io\" is {shown}: give a number above 0, such as 20"
                ),
            );
        }
        let all = Config { requests_per_second: 0.0, ..Config::default() }.check().expect_err("no budget");
        assert_eq!(all.to_string(), "requests_per_second is 0: give a number above 0, such as 20");
        let twice =
            Config { registries: vec![host("docker.io"), host("index.docker.io")], ..Config::default() };
        assert_eq!(twice.check(), Err(ConfigError::Twice("index.docker.io".into())));
    }

    #[test]
    fn each_host_has_its_budget() {
        let paced = |host: &str, rate| RegistryConfig {
            host: host.into(),
            requests_per_second: rate,
            ..RegistryConfig::default()
        };
        let registries =
            vec![paced("docker.io", Some(2.0)), paced("quay.io:443", Some(5.0)), paced("gcr.io", None)];
        let config = Config { registries, ..Config::default() };
        let check = |host: &str, rate: f64| assert!((config.rate(host) - rate).abs() < 1e-9, "{host}");
        check("registry-1.docker.io", 2.0);
        check("Quay.io", 5.0);
        check("quay.io:8443", 20.0);
        check("gcr.io", 20.0);
        check("auth.docker.io", 20.0);
    }

    #[test]
    fn only_named_hosts_may_be_private() {
        let config = Config {
            registries: vec![
                RegistryConfig {
                    host: "docker.io".into(),
                    mirrors: vec!["127.0.0.1:5001/hub".into()],
                    ..RegistryConfig::default()
                },
                RegistryConfig {
                    host: "lan:5000".into(),
                    private_network: true,
                    ..RegistryConfig::default()
                },
            ],
            ..Config::default()
        };
        let check = |host: &str, private: bool| assert_eq!(config.may_be_private(host), private, "{host}");
        check("127.0.0.1:5001", true);
        check("lan:5000", true);
        check("127.0.0.1:5002", false);
        check("registry-1.docker.io", false);
    }
}
