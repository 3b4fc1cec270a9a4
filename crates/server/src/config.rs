//! What the server is told: flags over environment over file over defaults.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use tagtrail_domain::limits;
use tagtrail_importer::RegistryConfig;

/// Everything the server is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the log, the read model and the blobs stand.
    pub data_dir: PathBuf,
    /// Where gRPC is served.
    pub listen: SocketAddr,
    /// Where `/metrics`, `/healthz` and `/readyz` are served.
    pub http_listen: SocketAddr,
    /// What "Image Repository" shows.
    pub repository: Repository,
    /// How images are imported.
    pub import: Import,
    /// Registries that need more than the defaults.
    pub registries: Vec<RegistryConfig>,
    /// The folder of Docker's `config.json`.
    pub docker_config_dir: Option<PathBuf>,
}

/// What "Image Repository" shows.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Repository {
    /// Host of the internal registry. Empty: none.
    pub internal: String,
    /// Host under which others reach it. Empty: none.
    pub public: String,
}

/// How images are imported.
#[derive(Clone, Debug)]
pub struct Import {
    /// How often scheduled tags are checked, and failed ones tried again.
    pub intervals: Intervals,
    /// How many tags of a whole repository are imported at once, by priority.
    pub max_images_per_repository: usize,
    /// Whether registries in private networks may be asked.
    pub allow_private_networks: bool,
    /// How many requests a second one registry host gets from what is done in the background.
    pub requests_per_second: f64,
}

/// How often tags are checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Intervals {
    /// A tag on the schedule that has no interval of its own.
    pub scheduled: Duration,
    /// When a failed tag is tried again first. After each further failure it is twice as long,
    pub first_retry: Duration,
    /// up to this.
    pub longest_retry: Duration,
}

impl Default for Intervals {
    /// The schedule is OpenShift's (spec §3.8).
    fn default() -> Self {
        Self {
            scheduled: Duration::from_secs(900),
            first_retry: Duration::from_secs(60),
            longest_retry: Duration::from_secs(3600),
        }
    }
}

/// What flags say; they win over everything else.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--data-dir`.
    pub data_dir: Option<PathBuf>,
    /// `--listen`.
    pub listen: Option<String>,
    /// `--http-listen`.
    pub http_listen: Option<String>,
    /// `--allow-unauthenticated`.
    pub allow_unauthenticated: bool,
}

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file, or a variable, is not what it should be.
    #[error("{place} cannot be used: {reason}")]
    Content {
        /// Which file or variable.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// Everybody could reach a server that asks nobody who they are.
    #[error(
        "{listen} can be reached from other machines, and this server does not check who calls; listen on 127.0.0.1, or give --allow-unauthenticated if the network itself keeps strangers out"
    )]
    Exposed {
        /// The address.
        listen: SocketAddr,
    },
}

/// Most images of one repository import: its events are one indivisible run.
const MAX_IMAGES_PER_REPOSITORY: usize = limits::TAGS_PER_COMMAND;
/// As for the interval of a tag of its own.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(*limits::INTERVAL_SECONDS.start() as u64);
const LONGEST_INTERVAL: Duration = Duration::from_secs(*limits::INTERVAL_SECONDS.end() as u64);

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct File {
    data_dir: Option<PathBuf>,
    listen: Option<String>,
    http_listen: Option<String>,
    allow_unauthenticated: bool,
    repository: Repository,
    import: ImportSection,
    registry: Vec<RegistrySection>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct ImportSection {
    scheduled_interval: Option<String>,
    first_retry: Option<String>,
    longest_retry: Option<String>,
    max_images_per_repository: Option<i64>,
    allow_private_networks: Option<bool>,
    requests_per_second: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RegistrySection {
    host: String,
    #[serde(default)]
    mirrors: Vec<String>,
    #[serde(default)]
    mirror_only: bool,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    blocked: bool,
    ca_file: Option<PathBuf>,
    #[serde(default)]
    private_network: bool,
    requests_per_second: Option<f64>,
}

/// The tables and the single keys that an environment variable may set: `TAGTRAIL_<TABLE>__<KEY>`, `TAGTRAIL_<KEY>`.
const TABLES: [&str; 2] = ["repository", "import"];
const KEYS: [&str; 4] = ["data_dir", "listen", "http_listen", "allow_unauthenticated"];

impl Config {
    /// Reads the file, if one is named, and lays the environment and the flags over it.
    ///
    /// # Errors
    /// [`ConfigError`] says where and what. Unknown keys are errors: they are mistakes that would otherwise be silent.
    pub fn load(
        path: Option<&Path>,
        overrides: Overrides,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let environment: Vec<_> = environment.into_iter().collect();
        let variable = |name: &str| environment.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
        let mut table = match path {
            Some(path) => read(path)?,
            None => toml::Table::new(),
        };
        overlay(&mut table, &environment)?;
        let place = || path.map_or("the environment".to_owned(), |path| path.display().to_string());
        let file: File = table.try_into().map_err(|e: toml::de::Error| ConfigError::Content {
            place: place(),
            reason: e.message().to_owned(),
        })?;

        let listen = address("listen", overrides.listen.or(file.listen), "127.0.0.1:7400")?;
        let http_listen =
            address("http_listen", overrides.http_listen.or(file.http_listen), "127.0.0.1:7401")?;
        if !listen.ip().is_loopback() && !overrides.allow_unauthenticated && !file.allow_unauthenticated {
            return Err(ConfigError::Exposed { listen });
        }
        let home =
            variable("HOME").filter(|home| !home.is_empty()).map(|home| Path::new(&home).join(".docker"));
        Ok(Self {
            data_dir: overrides.data_dir.or(file.data_dir).unwrap_or_else(|| "tagtrail-data".into()),
            listen,
            http_listen,
            repository: file.repository,
            import: file.import.check(listen)?,
            registries: file.registry.into_iter().map(Into::into).collect(),
            docker_config_dir: variable("DOCKER_CONFIG").filter(|d| !d.is_empty()).map(Into::into).or(home),
        })
    }
}

impl ImportSection {
    fn check(self, listen: SocketAddr) -> Result<Import, ConfigError> {
        fn fail<T>(key: &str, reason: String) -> Result<T, ConfigError> {
            Err(ConfigError::Content { place: format!("import.{key}"), reason })
        }
        let usual = Intervals::default();
        let interval = |key: &str, text: Option<String>, usual: Duration| {
            let Some(text) = text else { return Ok(usual) };
            match humantime::parse_duration(&text) {
                Ok(interval) if (SHORTEST_INTERVAL..=LONGEST_INTERVAL).contains(&interval) => Ok(interval),
                Ok(_) => fail(key, format!("\"{text}\" is not between one second and 30 days")),
                Err(e) => fail(key, format!("\"{text}\" is no duration such as 15m: {e}")),
            }
        };
        let intervals = Intervals {
            scheduled: interval("scheduled_interval", self.scheduled_interval, usual.scheduled)?,
            first_retry: interval("first_retry", self.first_retry, usual.first_retry)?,
            longest_retry: interval("longest_retry", self.longest_retry, usual.longest_retry)?,
        };
        if intervals.longest_retry < intervals.first_retry {
            fail("longest_retry", "it is shorter than first_retry".into())?;
        }
        let max_images_per_repository = match self.max_images_per_repository.unwrap_or(50) {
            // OpenShift's word for "all of them", as far as one import can go.
            -1 => MAX_IMAGES_PER_REPOSITORY,
            asked => match usize::try_from(asked) {
                Ok(n @ 1..=MAX_IMAGES_PER_REPOSITORY) => n,
                _ => {
                    let reason = format!("{asked} is not between 1 and {MAX_IMAGES_PER_REPOSITORY}, nor -1");
                    return fail("max_images_per_repository", reason);
                }
            },
        };
        let allow_private_networks = self.allow_private_networks.unwrap_or(listen.ip().is_loopback());
        let usual = tagtrail_importer::Config::default().requests_per_second;
        let requests_per_second = self.requests_per_second.unwrap_or(usual);
        Ok(Import { intervals, max_images_per_repository, allow_private_networks, requests_per_second })
    }
}

impl From<RegistrySection> for RegistryConfig {
    fn from(section: RegistrySection) -> Self {
        Self {
            host: section.host,
            mirrors: section.mirrors,
            mirror_only: section.mirror_only,
            insecure: section.insecure,
            blocked: section.blocked,
            ca_file: section.ca_file,
            private_network: section.private_network,
            requests_per_second: section.requests_per_second,
        }
    }
}

fn read(path: &Path) -> Result<toml::Table, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::File { path: path.to_owned(), source })?;
    text.parse().map_err(|e: toml::de::Error| ConfigError::Content {
        place: path.display().to_string(),
        reason: e.to_string().trim_end().to_owned(),
    })
}

/// Lays variables over the file. A value that reads as a TOML number or boolean is one, anything else is text.
fn overlay(table: &mut toml::Table, environment: &[(String, String)]) -> Result<(), ConfigError> {
    for (name, value) in environment {
        let Some(path) = name.strip_prefix("TAGTRAIL_").map(str::to_lowercase) else { continue };
        let value = match value.parse::<toml::Value>() {
            Ok(value @ (toml::Value::Integer(_) | toml::Value::Float(_) | toml::Value::Boolean(_))) => value,
            _ => toml::Value::String(value.clone()),
        };
        match path.split_once("__") {
            // Other variables of that name belong to the client.
            None if KEYS.contains(&path.as_str()) => {
                table.insert(path, value);
            }
            None => {}
            Some((section, key)) if TABLES.contains(&section) => {
                let section = table.entry(section).or_insert_with(|| toml::Table::new().into());
                if let Some(section) = section.as_table_mut() {
                    section.insert(key.to_owned(), value);
                }
            }
            Some((section, _)) => {
                return Err(ConfigError::Content {
                    place: format!("the environment variable {name}"),
                    reason: format!("there is no section \"{section}\" that a variable can set"),
                });
            }
        }
    }
    Ok(())
}

fn address(key: &str, text: Option<String>, default: &str) -> Result<SocketAddr, ConfigError> {
    let text = text.unwrap_or_else(|| default.to_owned());
    let parsed = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}").parse(),
        None => text.parse(),
    };
    parsed.map_err(|_| ConfigError::Content {
        place: key.to_owned(),
        reason: format!("\"{text}\" is not an address and port such as {default}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(toml: &str, flags: Overrides, env: &[(&str, &str)]) -> Result<Config, String> {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("tagtrail.toml");
        std::fs::write(&path, toml).expect("a file");
        let env = env.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
        Config::load(Some(&path), flags, env)
            .map_err(|e| e.to_string().replace(&path.display().to_string(), "FILE"))
    }

    #[test]
    fn it_runs_with_nothing_at_all() {
        let config = Config::load(None, Overrides::default(), []).expect("defaults");
        assert_eq!(config.listen.to_string(), "127.0.0.1:7400");
        assert_eq!(config.http_listen.to_string(), "127.0.0.1:7401");
        assert_eq!(config.data_dir, Path::new("tagtrail-data"));
        assert_eq!(config.import.intervals.scheduled, Duration::from_secs(900));
        assert_eq!(config.import.max_images_per_repository, 50);
        assert!(config.import.allow_private_networks);
    }

    #[test]
    fn the_flag_wins_over_the_environment_and_that_over_the_file() {
        let toml =
            "listen = '127.0.0.1:1'\nhttp_listen = '127.0.0.1:2'\n[import]\nscheduled_interval = '1h'\n";
        let flags = Overrides { listen: Some("127.0.0.1:9".into()), ..Overrides::default() };
        let env = [("TAGTRAIL_LISTEN", "127.0.0.1:5"), ("TAGTRAIL_IMPORT__SCHEDULED_INTERVAL", "2s")];
        let config = load(toml, flags, &env).expect("good");
        assert_eq!(config.listen.port(), 9);
        assert_eq!(config.http_listen.port(), 2);
        assert_eq!(config.import.intervals.scheduled, Duration::from_secs(2));
    }

    #[test]
    fn mistakes_are_named() {
        let check = |toml: &str, env: &[(&str, &str)], part: &str| {
            let error = load(toml, Overrides::default(), env).expect_err(toml);
            assert!(error.contains(part), "{error}");
        };
        check("[import]\nscheduled_intervall = '1m'", &[], "unknown field `scheduled_intervall`");
        check(
            "[import]\nscheduled_interval = 'soon'",
            &[],
            "import.scheduled_interval cannot be used: \"soon\"",
        );
        check("[import]\nscheduled_interval = '1ms'", &[], "not between one second and 30 days");
        check("[import]\nlongest_retry = '30s'", &[], "import.longest_retry cannot be used: it is shorter");
        check("[import]\nmax_images_per_repository = 0", &[], "0 is not between 1 and 1000, nor -1");
        check("listen = 'here'", &[], "\"here\" is not an address");
        check("listen = '0.0.0.0:7400'", &[], "--allow-unauthenticated");
        check("", &[("TAGTRAIL_IMPORTS__X", "1")], "no section \"imports\"");
        check("", &[("TAGTRAIL_IMPORT__X", "1")], "unknown field `x`");
        check("[[registry]]\nmirrors = []", &[], "missing field `host`");
        check("a = ", &[], "FILE cannot be used");
    }

    #[test]
    fn a_public_address_closes_private_networks() {
        let toml = "listen = '0.0.0.0:7400'\nallow_unauthenticated = true";
        let config = load(toml, Overrides::default(), &[]).expect("allowed");
        assert!(!config.import.allow_private_networks);
    }
}
