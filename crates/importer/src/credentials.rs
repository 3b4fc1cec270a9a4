//! Secrets for registries: Docker's `config.json` and its credential helpers (spec §3.5).
//!
//! The file is looked at again before every connection and reread when it has changed, so a `docker login` works
//! at once. A file that cannot be read or understood is reported in the log, without a word of its content, and
//! what it said before stays in force.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use tagtrail_domain::reference::DOCKER_HUB;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::config::canonical;
use crate::limits;
use crate::memory::Memory;
use crate::pull_secrets::PullSecrets;

/// How Docker writes Docker Hub in its configuration and to its helpers.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

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
    /// A token to get tokens with (OAuth2 refresh token, Docker's "identity token").
    Identity(Secret),
}

impl Credential {
    /// Everything in it that must not be repeated.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = &str> {
        match self {
            Self::Anonymous => None,
            Self::Password { password: secret, .. } | Self::Identity(secret) => Some(secret.expose()),
        }
        .into_iter()
    }
}

/// The credentials this server has of its own.
pub(crate) struct Credentials {
    file: Option<PathBuf>,
    loaded: Mutex<Loaded>,
    /// What helpers have said, so that importing many tags does not start as many programs.
    helped: Memory<(String, String), Option<Credential>>,
}

#[derive(Default)]
struct Loaded {
    /// Modification time and length of the file that was read last.
    stamp: Option<(SystemTime, u64)>,
    config: Arc<DockerConfig>,
}

impl Credentials {
    /// `directory` is the folder of `config.json`.
    pub(crate) fn new(directory: Option<&Path>) -> Self {
        Self {
            file: directory.map(|directory| directory.join("config.json")),
            loaded: Mutex::default(),
            helped: Memory::default(),
        }
    }

    /// What may open `repository` on `host`, in the order in which it is tried: what the namespace has handed over,
    /// then what is this server's own. Of each the most specific first.
    pub(crate) async fn find(&self, secrets: &PullSecrets, host: &str, repository: &str) -> Vec<Credential> {
        let mut found = secrets.matching(host, repository);
        // Each side for itself: a namespace that hands over many does not shut out the server's own.
        found.truncate(limits::CREDENTIALS);
        let config = self.current();
        let mut own = Vec::new();
        if let Some(helper) = config.helper(host) {
            own.extend(self.ask(helper, host).await);
        }
        own.extend(config.matching(host, repository));
        own.truncate(limits::CREDENTIALS);
        // A registry counts wrong passwords: none is shown to it twice.
        for credential in own {
            if !found.contains(&credential) {
                found.push(credential);
            }
        }
        found
    }

    /// The configuration as it is on disk now.
    fn current(&self) -> Arc<DockerConfig> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(file) = &self.file else { return Arc::clone(&loaded.config) };
        let stamp = std::fs::metadata(file).ok().and_then(|m| Some((m.modified().ok()?, m.len())));
        if stamp != loaded.stamp {
            match stamp {
                None => loaded.config = Arc::default(), // It was taken away: so were its credentials.
                Some((_, length)) => match DockerConfig::read(file, length) {
                    Ok(config) => loaded.config = Arc::new(config),
                    Err(why) => {
                        tracing::warn!(file = %file.display(), "registry credentials were not read: {why}")
                    }
                },
            }
            loaded.stamp = stamp;
        }
        Arc::clone(&loaded.config)
    }

    async fn ask(&self, helper: &str, host: &str) -> Option<Credential> {
        let key = (helper.to_owned(), host.to_owned());
        if let Some(credential) = self.helped.recall(&key) {
            return credential;
        }
        let credential = match run_helper(helper, server_name(host)).await {
            Ok(credential) => credential,
            Err(why) => {
                tracing::warn!(helper, host, "the credential helper gave nothing: {why}");
                None
            }
        };
        self.helped.remember(key, credential.clone(), limits::PING_TTL);
        credential
    }
}

/// The name a registry goes by with credential helpers.
fn server_name(host: &str) -> &str {
    if canonical(host) == DOCKER_HUB { DOCKER_HUB_KEY } else { host }
}

/// Docker's `config.json`, as far as it is about credentials.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DockerConfig {
    #[serde(default)]
    auths: Auths,
    #[serde(default)]
    creds_store: String,
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
}

/// Entries by registry, as a person wrote it.
pub(crate) type Auths = BTreeMap<String, Auth>;

/// One entry.
#[derive(Deserialize, Default)]
pub(crate) struct Auth {
    /// `user:password` in base64.
    #[serde(default)]
    pub(crate) auth: String,
    #[serde(default)]
    pub(crate) username: String,
    #[serde(default)]
    pub(crate) password: String,
    #[serde(default)]
    pub(crate) identitytoken: String,
}

impl DockerConfig {
    /// The error is for the log: a place in the file, never its text.
    fn read(file: &Path, length: u64) -> Result<Self, String> {
        if length > limits::CREDENTIALS_FILE_BYTES {
            return Err(format!("it is larger than {} bytes", limits::CREDENTIALS_FILE_BYTES));
        }
        Self::parse(&std::fs::read(file).map_err(|e| e.to_string())?)
    }

    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes)
            .map_err(|e| format!("line {}, column {} is not as expected", e.line(), e.column()))
    }

    /// The helper in charge of a host.
    pub(crate) fn helper(&self, host: &str) -> Option<&str> {
        let own =
            self.cred_helpers.iter().find(|(key, _)| Pattern::parse(key).is_some_and(|p| p.is_host(host)));
        own.map(|(_, helper)| helper)
            .or(Some(&self.creds_store))
            .map(String::as_str)
            .filter(|h| !h.is_empty())
    }

    pub(crate) fn matching(&self, host: &str, repository: &str) -> Vec<Credential> {
        matching(&self.auths, host, repository)
    }
}

/// What may open `repository` on `host`, the most specific first.
pub(crate) fn matching<'a>(
    entries: impl IntoIterator<Item = (&'a String, &'a Auth)>,
    host: &str,
    repository: &str,
) -> Vec<Credential> {
    let mut matches: Vec<_> = entries
        .into_iter()
        .filter_map(|(key, auth)| Some((Pattern::parse(key)?, auth)))
        .filter(|(pattern, _)| pattern.matches(host, repository))
        .collect();
    // Stable: what is equally specific stays in its order.
    matches.sort_by_key(|(pattern, _)| std::cmp::Reverse(pattern.specificity()));
    matches.into_iter().filter_map(|(_, auth)| auth.credential()).collect()
}

impl Auth {
    /// `None` for the empty entries that `docker login` leaves when a helper keeps the secret.
    pub(crate) fn credential(&self) -> Option<Credential> {
        if !self.identitytoken.is_empty() {
            return Some(Credential::Identity(Secret::new(&*self.identitytoken)));
        }
        if !self.username.is_empty() {
            return Some(Credential::Password {
                user: self.username.clone(),
                password: Secret::new(&*self.password),
            });
        }
        let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
        let decoder = GeneralPurpose::new(&base64::alphabet::STANDARD, config);
        let text = String::from_utf8(decoder.decode(self.auth.trim()).ok()?).ok()?;
        let (user, password) = text.split_once(':')?;
        let password = password.trim_end_matches('\0');
        (!user.is_empty())
            .then(|| Credential::Password { user: user.to_owned(), password: Secret::new(password) })
    }
}

/// The key of an entry: `host[:port][/path]`, labels of the host with `*`, perhaps dressed up as a URL.
pub(crate) struct Pattern<'a> {
    host: &'a str,
    port: &'a str,
    path: &'a str,
}

impl<'a> Pattern<'a> {
    pub(crate) fn parse(key: &'a str) -> Option<Self> {
        let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
        let (host, path) = key.split_once('/').unwrap_or((key, ""));
        let path = path.trim_matches('/');
        // What registries of the first days put behind their names.
        let path = if matches!(path, "v1" | "v2") { "" } else { path };
        let (host, port) = host.split_once(':').unwrap_or((host, ""));
        // A user name in the key would make the host look like another.
        (!host.is_empty() && !key.contains('@')).then_some(Self { host: canonical(host), port, path })
    }

    fn is_host(&self, host: &str) -> bool {
        let (host, port) = host.split_once(':').unwrap_or((host, ""));
        let (mut ours, mut theirs) = (self.host.split('.'), canonical(host).split('.'));
        let labels = loop {
            match (ours.next(), theirs.next()) {
                (None, None) => break true,
                (Some(pattern), Some(label)) if glob(pattern, label) => {}
                _ => break false,
            }
        };
        labels && self.port == port
    }

    fn matches(&self, host: &str, repository: &str) -> bool {
        let below = repository.strip_prefix(self.path);
        self.is_host(host)
            && (self.path.is_empty() || below.is_some_and(|b| b.is_empty() || b.starts_with('/')))
    }

    /// Longer paths before shorter ones, plain hosts before patterns, long patterns before short ones.
    fn specificity(&self) -> (usize, bool, usize) {
        (self.path.len(), !self.host.contains('*'), self.host.len())
    }
}

/// Whether a label matches a pattern in which `*` stands for any text.
fn glob(pattern: &str, label: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return pattern.eq_ignore_ascii_case(label);
    };
    let starts = label.get(..start.len()).is_some_and(|l| l.eq_ignore_ascii_case(start));
    starts && (start.len()..=label.len()).any(|at| label.is_char_boundary(at) && glob(rest, &label[at..]))
}

/// Runs `docker-credential-<name> get` (docker-credential-helpers, "Development").
async fn run_helper(name: &str, server: &str) -> Result<Option<Credential>, String> {
    // The name comes from a file and becomes a program's name.
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')) {
        return Err("its name may only hold letters, digits, dots, dashes and underscores".into());
    }
    let work = async {
        let mut child = tokio::process::Command::new(format!("docker-credential-{name}"))
            .arg("get")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| format!("docker-credential-{name} cannot be run: {e}"))?;
        let mut stdin = child.stdin.take().expect("stdin was asked for");
        // A helper that does not read what it is asked may still answer.
        let _ = stdin.write_all(server.as_bytes()).await;
        drop(stdin);
        let stdout = child.stdout.take().expect("stdout was asked for");
        let mut output = Vec::new();
        let limit = limits::TOKEN_BYTES as u64;
        stdout.take(limit + 1).read_to_end(&mut output).await.map_err(|e| e.to_string())?;
        if output.len() as u64 > limit {
            return Err(format!("it printed more than {limit} bytes"));
        }
        let status = child.wait().await.map_err(|e| e.to_string())?;
        Ok((status, output))
    };
    let (status, output) = tokio::time::timeout(limits::HELPER_TIME, work)
        .await
        .map_err(|_| format!("it took more than {} s", limits::HELPER_TIME.as_secs()))??;
    if !status.success() {
        // Its way of saying that it has none is not an error.
        let none = output.starts_with(b"credentials not found");
        return if none { Ok(None) } else { Err(format!("it ended with {status}")) };
    }
    parse_helper(&output).map(Some).ok_or_else(|| "it did not print what a helper prints".into())
}

pub(crate) fn parse_helper(output: &[u8]) -> Option<Credential> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Output {
        username: String,
        secret: String,
    }
    let output: Output = serde_json::from_slice(output).ok()?;
    let secret = Secret::new(output.secret);
    Some(match output.username.as_str() {
        "<token>" => Credential::Identity(secret),
        user => Credential::Password { user: user.to_owned(), password: secret },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who would be tried, in order.
    fn tried(config: &str, host: &str, repository: &str) -> String {
        let config: DockerConfig = serde_json::from_str(config).expect(config);
        let users = config.matching(host, repository).into_iter().map(|credential| match credential {
            Credential::Password { user, .. } => user,
            Credential::Identity(token) => format!("token {}", token.expose()),
            Credential::Anonymous => "nobody".into(),
        });
        users.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_most_specific_credentials_come_first() {
        let config = r#"{"auths": {
            "quay.io": {"username": "host", "password": "p"},
            "quay.io/org": {"username": "org", "password": "p"},
            "https://quay.io/org/app": {"username": "app", "password": "p"},
            "*.io": {"username": "glob", "password": "p"},
            "https://index.docker.io/v1/": {"username": "hub", "password": "p"},
            "localhost:5000": {"username": "local", "password": "p"},
            "a*c.example.com": {"username": "abc", "password": "p"},
            "http://old.example.com/v2/": {"username": "old", "password": "p"},
            "user@evil.io": {"username": "evil", "password": "p"},
            "empty.io": {}
        }}"#;
        let check = |host: &str, repository: &str, users: &str| {
            assert_eq!(tried(config, host, repository), users, "{host}/{repository}");
        };
        check("quay.io", "org/app", "app org host glob");
        check("quay.io", "org/app/deep", "app org host glob");
        check("quay.io", "org/application", "org host glob");
        check("quay.io", "organisation/app", "host glob");
        check("quay.io:443", "org/app", ""); // Ports must agree.
        check("registry-1.docker.io", "library/python", "hub glob");
        check("docker.io", "library/python", "hub glob");
        check("localhost:5000", "a", "local");
        check("localhost:5001", "a", "");
        check("abc.example.com", "a", "abc");
        check("a.c.example.com", "a", ""); // A star stays within its label.
        check("old.example.com", "a", "old");
        check("evil.io", "a", "glob");
        check("empty.io", "a", "glob");
        check("notquay.io.example.org", "org/app", "");
    }

    #[test]
    fn an_entry_has_several_forms() {
        let check = |entry: &str, users: &str| {
            assert_eq!(tried(&format!(r#"{{"auths":{{"a.b":{entry}}}}}"#), "a.b", "x"), users, "{entry}");
        };
        check(r#"{"auth":"dXNlcjpwYXNz"}"#, "user");
        check(r#"{"auth":"dXNlcjpwYQ"}"#, "user"); // Padding is often lost.
        check(r#"{"auth":"dXNlcjpwYXNz","identitytoken":"id"}"#, "token id");
        check(r#"{"username":"u","password":"p"}"#, "u");
        check(r#"{"auth":"!"}"#, "");
        check(r#"{"auth":"dXNlcg=="}"#, "");
    }

    #[test]
    fn each_host_has_its_helper() {
        let config = r#"{"credsStore":"all","credHelpers":{"gcr.io":"gcr","https://index.docker.io/v1/":"hub","x.io":""}}"#;
        let config: DockerConfig = serde_json::from_str(config).expect(config);
        let check = |host: &str, helper: &str| assert_eq!(config.helper(host), Some(helper), "{host}");
        check("gcr.io", "gcr");
        check("registry-1.docker.io", "hub");
        check("quay.io", "all");
        assert_eq!(config.helper("x.io"), None);
        assert_eq!(server_name("docker.io"), DOCKER_HUB_KEY);
    }

    #[test]
    fn a_helper_prints_a_password_or_a_token() {
        let check = |output: &str, expected: Option<Credential>| {
            assert_eq!(parse_helper(output.as_bytes()), expected, "{output}");
        };
        check(
            r#"{"ServerURL":"x","Username":"u","Secret":"s"}"#,
            Some(Credential::Password { user: "u".into(), password: Secret::new("s") }),
        );
        check(r#"{"Username":"<token>","Secret":"s"}"#, Some(Credential::Identity(Secret::new("s"))));
        check("nonsense", None);
    }

    #[tokio::test]
    async fn a_helpers_name_is_no_path() {
        let error = run_helper("../../bin/sh", "x").await.expect_err("refused");
        assert!(error.starts_with("its name may only hold"), "{error}");
        let error = run_helper("surely-not-installed", "x").await.expect_err("missing");
        assert!(error.contains("cannot be run"), "{error}");
    }

    #[tokio::test]
    async fn the_file_is_reread_when_it_changes() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("config.json");
        let credentials = Credentials::new(Some(directory.path()));
        let users = async || credentials.find(&PullSecrets::default(), "a.b", "x").await.len();
        assert_eq!(users().await, 0, "no file, no credentials");
        std::fs::write(&file, r#"{"auths":{"a.b":{"auth":"dXNlcjpwYXNz"}}}"#).expect("written");
        assert_eq!(users().await, 1);
        std::fs::write(&file, r#"{"auths":{"a.b":"half a fi"#).expect("written");
        assert_eq!(users().await, 1, "what cannot be understood changes nothing");
        std::fs::write(&file, "{}").expect("written");
        assert_eq!(users().await, 0);
    }

    #[test]
    fn secrets_are_not_shown() {
        let credential = Credential::Password { user: "u".into(), password: Secret::new("canary") };
        assert!(!format!("{credential:?}").contains("canary"));
    }
}
