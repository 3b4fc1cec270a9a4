//! What the server is told: flags over environment over file over defaults.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use tagtrail_domain::Interval;
use tagtrail_domain::limits::{ACTOR_BYTES, REASON_BYTES, TAGS_PER_COMMAND};
use tagtrail_importer::RegistryConfig;
use tagtrail_publisher::Settings as Nats;

pub mod limits;
mod nats;

use self::limits::{Limits, LimitsSection};
use nats::NatsSection;

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
    /// Where events are published to. `None`: nowhere.
    pub nats: Option<Nats>,
    /// How the log proves itself.
    pub audit: Audit,
    /// What may be asked for.
    pub limits: Limits,
    /// Who accepts that events are lost, and why. `None`: nobody does.
    pub accept_rollback: Option<Accepted>,
}

/// How the log proves itself.
#[derive(Clone, Debug)]
pub struct Audit {
    /// What the log's name begins with; its id follows. It stays as long as the log lives.
    pub name: String,
    /// The file of the key that signs. `None`: `log.key` in the data directory.
    pub key_file: Option<PathBuf>,
    /// The second place of the newest checkpoint. `None`: there is none.
    pub checkpoint_copy: Option<PathBuf>,
    /// Whether somebody has chosen that place. Where nobody has, the log does without it if it cannot be written.
    pub copy_is_chosen: bool,
}

impl Audit {
    /// The file of the key that signs.
    pub(crate) fn key_file(&self, data_dir: &Path) -> PathBuf {
        self.key_file.clone().unwrap_or_else(|| data_dir.join("log.key"))
    }
}

/// That somebody accepts that events are lost.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
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
    /// `--nats-url`.
    pub nats_url: Option<String>,
    /// `--accept-rollback`.
    pub accept_rollback: Option<Accepted>,
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
const MAX_IMAGES_PER_REPOSITORY: usize = TAGS_PER_COMMAND;

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
    nats: NatsSection,
    audit: AuditSection,
    limits: LimitsSection,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct AuditSection {
    name: Option<String>,
    key_file: Option<PathBuf>,
    checkpoint_copy: Option<PathBuf>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct ImportSection {
    scheduled_interval: Option<toml::Value>,
    first_retry: Option<toml::Value>,
    longest_retry: Option<toml::Value>,
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
const TABLES: [&str; 5] = ["repository", "import", "nats", "audit", "limits"];
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
        let mut table = toml::Table::new();
        if let Some(path) = path {
            table = read(path)?;
            // By itself first: what is wrong after that is the environment's.
            understand(table.clone(), || path.display().to_string())?;
        }
        overlay(&mut table, &environment)?;
        let file = understand(table, || "the environment".to_owned())?;

        let listen = address("listen", overrides.listen.or(file.listen), "127.0.0.1:7400")?;
        let http_listen =
            address("http_listen", overrides.http_listen.or(file.http_listen), "127.0.0.1:7401")?;
        if !listen.ip().is_loopback() && !overrides.allow_unauthenticated && !file.allow_unauthenticated {
            return Err(ConfigError::Exposed { listen });
        }
        let home =
            variable("HOME").filter(|home| !home.is_empty()).map(|home| Path::new(&home).join(".docker"));
        let data_dir = overrides.data_dir.or(file.data_dir).unwrap_or_else(|| "tagtrail-data".into());
        if let Some(Accepted { by, reason }) = &overrides.accept_rollback {
            for (what, text, limit) in [("the reason", reason, REASON_BYTES), ("the actor", by, ACTOR_BYTES)]
            {
                if text.len() > limit {
                    return Err(ConfigError::Content {
                        place: "--accept-rollback".into(),
                        reason: format!("{what} has {} bytes, and may have {limit}", text.len()),
                    });
                }
            }
        }
        Ok(Self {
            audit: file.audit.check(&data_dir)?,
            accept_rollback: overrides.accept_rollback,
            data_dir,
            listen,
            http_listen,
            repository: file.repository,
            import: file.import.check(listen)?,
            registries: file.registry.into_iter().map(Into::into).collect(),
            docker_config_dir: variable("DOCKER_CONFIG").filter(|d| !d.is_empty()).map(Into::into).or(home),
            nats: file.nats.check(overrides.nats_url)?,
            limits: file.limits.check()?,
        })
    }
}

impl AuditSection {
    fn check(self, data_dir: &Path) -> Result<Audit, ConfigError> {
        let name = self.name.unwrap_or_else(|| "tagtrail".into());
        let fits = |c: char| c.is_ascii_alphanumeric() || ".-_/:".contains(c);
        if name.is_empty() || name.len() > 200 || name.ends_with('/') || !name.chars().all(fits) {
            return Err(ConfigError::Content {
                place: "audit.name".into(),
                reason: format!(
                    "\"{name}\" cannot begin the name of a log: give the address of the log without https://, such as \"tagtrail.example.com/log\""
                ),
            });
        }
        let beside = || {
            // The directory's own name, whatever it was called by.
            let whole = std::path::absolute(data_dir).unwrap_or_else(|_| data_dir.to_owned());
            let name = whole.file_name()?.to_str()?.to_owned() + ".checkpoint";
            Some(whole.with_file_name(name))
        };
        let copy_is_chosen = self.checkpoint_copy.is_some();
        let checkpoint_copy = match self.checkpoint_copy {
            Some(path) if path.as_os_str().is_empty() => None,
            Some(path) => Some(path),
            None => beside(),
        };
        let key_file = self.key_file.filter(|path| !path.as_os_str().is_empty());
        Ok(Audit { name, key_file, checkpoint_copy, copy_is_chosen })
    }
}

impl ImportSection {
    fn check(self, listen: SocketAddr) -> Result<Import, ConfigError> {
        fn fail<T>(key: &str, reason: String) -> Result<T, ConfigError> {
            Err(ConfigError::Content { place: format!("import.{key}"), reason })
        }
        let usual = Intervals::default();
        // A bare number, and what reads as one, is told of like any other text.
        let interval = |key: &str, value: Option<toml::Value>, usual: Duration| {
            let Some(value) = value else { return Ok(usual) };
            let text = match value {
                toml::Value::String(text) => text,
                toml::Value::Integer(number) => number.to_string(),
                _ => return fail(key, "give a text such as \"15m\"".into()),
            };
            Interval::parse(&text).map(Interval::duration).or_else(|error| fail(key, error.to_string()))
        };
        let intervals = Intervals {
            scheduled: interval("scheduled_interval", self.scheduled_interval, usual.scheduled)?,
            first_retry: interval("first_retry", self.first_retry, usual.first_retry)?,
            longest_retry: interval("longest_retry", self.longest_retry, usual.longest_retry)?,
        };
        if intervals.longest_retry < intervals.first_retry {
            let [longest, first] =
                [intervals.longest_retry, intervals.first_retry].map(humantime::format_duration);
            fail("longest_retry", format!("{longest} is shorter than import.first_retry, which is {first}"))?;
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

fn understand(table: toml::Table, place: impl Fn() -> String) -> Result<File, ConfigError> {
    if table.get("registry").is_some_and(toml::Value::is_table) {
        let reason = "there may be several registries: write [[registry]] for each".into();
        return Err(ConfigError::Content { place: place(), reason });
    }
    table.try_into().map_err(|error: toml::de::Error| ConfigError::Content {
        place: place(),
        // The second line names the key.
        reason: error.to_string().trim_end().replace('\n', " "),
    })
}

/// Lays variables over the file. A value that reads as a TOML number or boolean is one, anything else is text.
fn overlay(table: &mut toml::Table, environment: &[(String, String)]) -> Result<(), ConfigError> {
    for (name, told) in environment {
        let Some(path) = name.strip_prefix("TAGTRAIL_").map(str::to_lowercase) else { continue };
        let value = match told.parse::<toml::Value>() {
            Ok(value @ (toml::Value::Integer(_) | toml::Value::Float(_) | toml::Value::Boolean(_))) => value,
            _ => toml::Value::String(told.clone()),
        };
        match path.split_once("__") {
            None if KEYS.contains(&path.as_str()) => {
                table.insert(path, value);
            }
            // Other variables of that name belong to the client; one like these would be a mistake in silence.
            None => {
                let key =
                    |section: &&str| path.strip_prefix(*section)?.strip_prefix('_').map(str::to_uppercase);
                if let Some((section, key)) = TABLES.iter().find_map(|section| Some((section, key(section)?)))
                {
                    let section = section.to_uppercase();
                    return Err(ConfigError::Content {
                        place: format!("the environment variable {name}"),
                        reason: format!("two underscores follow the section: TAGTRAIL_{section}__{key}"),
                    });
                }
            }
            Some((section, key)) if TABLES.contains(&section) => {
                let text = match section {
                    "nats" => nats::TEXTS.contains(&key),
                    "limits" => limits::TEXTS.contains(&key),
                    _ => false,
                };
                let value = if text { toml::Value::String(told.clone()) } else { value };
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
            "import.scheduled_interval cannot be used: \"soon\" is no interval: give 1s to 30d",
        );
        check("[import]\nscheduled_interval = '1ms'", &[], "\"1ms\" is no interval");
        check("[import]\nfirst_retry = 5", &[], "import.first_retry cannot be used: \"5\" is no interval");
        check("", &[("TAGTRAIL_IMPORT__FIRST_RETRY", "5")], "import.first_retry cannot be used: \"5\" is");
        check("[import]\nlongest_retry = '40d'", &[], "import.longest_retry cannot be used: \"40d\" is");
        check(
            "[import]\nlongest_retry = '30s'",
            &[],
            "import.longest_retry cannot be used: 30s is shorter than import.first_retry, which is 1m",
        );
        check(
            "[import]\nrequests_per_second = 'x'",
            &[],
            "FILE cannot be used: invalid type: string \"x\", expected f64 in `import.requests_per_second`",
        );
        check(
            "[import]\nrequests_per_second = 5",
            &[("TAGTRAIL_IMPORT__REQUESTS_PER_SECOND", "x")],
            "the environment cannot be used: invalid type: string \"x\", expected f64 in `import.requests_per_second`",
        );
        check(
            "",
            &[("TAGTRAIL_IMPORT_FIRST_RETRY", "5s")],
            "TAGTRAIL_IMPORT_FIRST_RETRY cannot be used: two underscores follow the section: TAGTRAIL_IMPORT__FIRST_RETRY",
        );
        check("[import]\nmax_images_per_repository = 0", &[], "0 is not between 1 and 1000, nor -1");
        check("listen = 'here'", &[], "\"here\" is not an address");
        check("listen = '0.0.0.0:7400'", &[], "--allow-unauthenticated");
        check("", &[("TAGTRAIL_IMPORTS__X", "1")], "no section \"imports\"");
        check("", &[("TAGTRAIL_IMPORT__X", "1")], "unknown field `x`");
        check("[limits]\nwatches = 0", &[], "limits.watches cannot be used: 0 is not between 1 and 1000000");
        check("", &[("TAGTRAIL_LIMITS__WATCHES", "0")], "limits.watches cannot be used: 0 is not between");
        check(
            "",
            &[("TAGTRAIL_LIMITS__REQUEST_TIMEOUT", "5")],
            "limits.request_timeout cannot be used: \"5\" is no such time: give 1s to 1day",
        );
        check("[limits]\nrequest_timeout = 5", &[], "expected a string in `limits.request_timeout`");
        check(
            "[registry]\nhost = 'quay.io'",
            &[],
            "FILE cannot be used: there may be several registries: write [[",
        );
        check("[[registry]]\nmirrors = []", &[], "missing field `host`");
        check("a = ", &[], "FILE cannot be used");
    }

    #[test]
    fn events_go_where_they_are_told_to() {
        let nats =
            |toml: &str, flags: Overrides, env: &[(&str, &str)]| load(toml, flags, env).expect("good").nats;
        assert!(nats("", Overrides::default(), &[]).is_none());
        assert!(
            nats("[nats]\nstream = 'S'", Overrides::default(), &[]).is_none(),
            "no address, no publishing"
        );
        let env = [("TAGTRAIL_NATS__URL", "nats://e:1"), ("TAGTRAIL_NATS__TOKEN", "1e5")];
        let by_variable = nats("[nats]\nmax_age = '30d'", Overrides::default(), &env).expect("told");
        assert_eq!(by_variable.connection.url, "nats://e:1");
        assert_eq!(by_variable.connection.token.as_deref(), Some("1e5"), "no number");
        assert_eq!(by_variable.stream.max_age, Duration::from_secs(30 * 24 * 3600));
        assert_eq!((by_variable.stream.name.as_str(), by_variable.stream.replicas), ("TAGTRAIL", 1));
        let flags = Overrides { nats_url: Some("nats://f:1".into()), ..Overrides::default() };
        assert_eq!(nats("", flags, &env).expect("told").connection.url, "nats://f:1");
        let mistake = |toml: &str, part: &str| {
            let toml = format!("[nats]\nurl = 'nats://h:1'\n{toml}");
            let error = load(&toml, Overrides::default(), &[]).expect_err(&toml);
            assert!(error.contains(part), "{error}");
        };
        mistake("encoding = 'xml'", "nats.encoding cannot be used: \"xml\" is neither json nor protobuf");
        mistake("max_age = 'long'", "nats.max_age cannot be used: \"long\" is no time such as");
        mistake("user = 'u'", "nats.user cannot be used: user and password go together");
        mistake("subject_prefix = 'a b'", "nats.subject_prefix cannot be used: \"a b\" is no beginning");
        mistake("streams = 'a'", "unknown field `streams`");
    }

    #[test]
    fn a_public_address_closes_private_networks() {
        let toml = "listen = '0.0.0.0:7400'\nallow_unauthenticated = true";
        let config = load(toml, Overrides::default(), &[]).expect("allowed");
        assert!(!config.import.allow_private_networks);
    }
}
