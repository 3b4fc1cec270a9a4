//! `tagtrail audit`: checks a log without trusting whoever keeps it. The work is `tagtrail-replay`'s.

mod diff;
mod key;
mod mirror;
mod receipt;
mod replay;
pub(super) mod verify;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tagtrail_api::v1::{GetStatusRequest, GetStatusResponse};
use tagtrail_replay::SourceError;
use tagtrail_replay::source::{self, Source};
use tagtrail_transparency::{Policy, VerifierKey};

use crate::context::Context;
use crate::failure::Failure;
use crate::progress;

/// What exit codes say, and what can be looked at.
const HELP: &str = "\
WHAT is the URL of a log (http://127.0.0.1:7401/log), a data directory, a mirror made by 'audit mirror', or a backup. Nothing of it is \
changed, and a server may be at work in a directory meanwhile. Without it, the server of this command is meant.

Exit codes: 0: all is well. 1: something is wrong, and is named. 2: it could not be checked.";

/// Check a log without trusting whoever keeps it.
///
/// Each command exits with 0 if all is well, with 1 if something is wrong, and with 2 if it could not be checked.
#[derive(clap::Subcommand)]
pub(crate) enum Audit {
    Key(key::Args),
    Verify(verify::Args),
    Replay(replay::Args),
    Diff(diff::Args),
    Mirror(mirror::Args),
    Prove(receipt::ProveArgs),
    Check(receipt::CheckArgs),
}

/// Audits. Blocks, so not to be called from `async` code.
pub(crate) fn run(audit: Audit, context: &mut Context) -> Result<(), Failure> {
    let result = match audit {
        Audit::Key(args) => key::run(&args, context),
        Audit::Verify(args) => verify::run(args, context),
        Audit::Replay(args) => replay::run(&args, context),
        Audit::Diff(args) => diff::run(&args, context),
        Audit::Mirror(args) => mirror::run(&args, context),
        Audit::Prove(args) => receipt::prove(args, context),
        Audit::Check(args) => receipt::check(&args, context),
    };
    result.map_err(|error| match error {
        AuditError::Found(message) => Failure::Client(message),
        AuditError::Unchecked(failure @ Failure::Output(_)) if failure.is_closed_pipe() => failure,
        AuditError::Unchecked(failure) => Failure::Unchecked(Box::new(failure)),
    })
}

/// How an audit ends that does not end well.
enum AuditError {
    /// Something is wrong, and this says what.
    Found(String),
    /// It could not be done.
    Unchecked(Failure),
}

impl From<Failure> for AuditError {
    fn from(failure: Failure) -> AuditError {
        AuditError::Unchecked(failure)
    }
}

impl From<SourceError> for AuditError {
    fn from(error: SourceError) -> AuditError {
        match error {
            SourceError::Wrong(wrong) => AuditError::Found(format!("{}: {wrong}", wrong.kind())),
            SourceError::Unreadable(why) => AuditError::Unchecked(Failure::Client(why)),
        }
    }
}

/// Where a log is.
#[derive(clap::Args)]
struct What {
    /// The URL of a log, a data directory, a mirror or a backup [default: the server's log]
    #[arg(value_name = "WHAT")]
    what: Option<String>,
    /// The URL of the server's log, if it is not where the server says [default: http://HOST:PORT/log]
    #[arg(long, value_name = "URL", env = "TAGTRAIL_LOG_URL")]
    log_url: Option<String>,
}

impl What {
    /// Whether the server that this command asks is meant.
    fn is_the_server(&self) -> bool {
        self.what.is_none()
    }

    fn open(&self, context: &Context) -> Result<Box<dyn Source>, AuditError> {
        if let Some(what) = self.what.as_ref().or(self.log_url.as_ref()) {
            return Ok(source::open(what)?);
        }
        let port = status(context)?.http_port;
        let url = log_url(&context.server, port);
        source::open(&url).map_err(|error| match error {
            SourceError::Unreadable(why) => Failure::client(format!(
                "{why} (the server says that its log is on port {port}; if it is reached otherwise, say so with --log-url)"
            ))
            .into(),
            wrong @ SourceError::Wrong(_) => wrong.into(),
        })
    }
}

/// How the server of this command is.
fn status(context: &Context) -> Result<GetStatusResponse, Failure> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::Output)?;
    runtime.block_on(async {
        let client = context.client()?;
        let answer = client.admin().get_status(GetStatusRequest {}).await;
        Ok(answer.map_err(|status| client.refusal(&status))?.into_inner())
    })
}

/// The URL of the log of a server that says on which port it is.
fn log_url(server: &str, port: u32) -> String {
    let rest = server.split_once("://").map_or(server, |(_, rest)| rest);
    let host = rest.split('/').next().unwrap_or_default();
    let name = match host.rsplit_once(':') {
        // Not within the brackets of an IPv6 address.
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        Some(_) | None => host,
    };
    format!("http://{name}:{port}/log")
}

/// Whom to believe.
#[derive(clap::Args)]
struct Keys {
    /// The public key of the log, as 'audit key' prints it
    #[arg(long, value_name = "KEY", conflicts_with = "policy")]
    vkey: Option<String>,
    /// A file that says which logs and witnesses to believe (C2SP tlog-policy)
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
}

impl Keys {
    fn policy(&self) -> Result<Option<Policy>, Failure> {
        if let Some(vkey) = &self.vkey {
            let key: VerifierKey =
                vkey.trim().parse().map_err(|why| Failure::client(format!("--vkey: {why}")))?;
            return Ok(Some(Policy::of_log(key)));
        }
        let Some(path) = &self.policy else { return Ok(None) };
        let policy = Policy::parse(&read(path)?);
        policy.map(Some).map_err(|why| Failure::client(format!("{}: {why}", path.display())))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|error| Failure::client(format!("cannot read {}: {error}", path.display())))
}

/// Tells how far something is, ten times a second at most.
struct Progress {
    line: progress::Progress,
    told: Option<Instant>,
}

impl Progress {
    fn new() -> Self {
        Self { line: progress::Progress::new(), told: None }
    }

    fn say(&mut self, at: tagtrail_replay::verify::Progress) {
        if self.told.is_some_and(|told| told.elapsed() < Duration::from_millis(100)) {
            return;
        }
        self.told = Some(Instant::now());
        self.line.say(&far(at));
    }
}

/// `120000 of 300000 events, 40000 a second, 5 s left`.
fn far(at: tagtrail_replay::verify::Progress) -> String {
    let rate = at.done as f64 / at.elapsed.as_secs_f64().max(1e-3);
    let (of, left) = match at.of.filter(|of| *of >= at.done) {
        Some(of) => (format!(" of {of}"), format!(", {:.0} s left", (of - at.done) as f64 / rate.max(1.0))),
        None => (String::new(), String::new()),
    };
    format!("{}{of} events, {rate:.0} a second{left}", at.done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_of_a_server_is_beside_it() {
        for (server, url) in [
            ("http://127.0.0.1:9000", "http://127.0.0.1:7401/log"),
            ("http://tagtrail.example", "http://tagtrail.example:7401/log"),
            ("tagtrail.example:9000/", "http://tagtrail.example:7401/log"),
            ("http://[::1]:7400", "http://[::1]:7401/log"),
            ("http://[::1]", "http://[::1]:7401/log"),
        ] {
            assert_eq!(log_url(server, 7401), url, "{server}");
        }
    }

    #[test]
    fn how_far_it_is() {
        let at = |done, of| tagtrail_replay::verify::Progress { done, of, elapsed: Duration::from_secs(2) };
        assert_eq!(far(at(1000, Some(4000))), "1000 of 4000 events, 500 a second, 6 s left");
        assert_eq!(far(at(1000, None)), "1000 events, 500 a second");
        // More came than there seemed to be.
        assert_eq!(far(at(1000, Some(10))), "1000 events, 500 a second");
    }
}
