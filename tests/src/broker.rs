//! A real `nats-server` with JetStream, which may be killed, ended, stopped for a while, robbed of its data, and started
//! again on the same port.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use async_nats::jetstream;
use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use tempfile::TempDir;
use tokio_stream::StreamExt as _;

use crate::port::Port;
use crate::process::Process;
use crate::{binary, wait};

/// What a server has to be. Older ones acknowledge before they sync and cannot be told otherwise, or lack what the publisher
/// asks for.
const AT_LEAST: (u32, u32) = (2, 12);
const READY_WITHIN: Duration = Duration::from_secs(20);
const STOPPED_WITHIN: Duration = Duration::from_secs(20);

/// Follows the server's stream on a broker from its first message on, as long as there is this stream, and gives each message to
/// `hear`. An end, of whatever kind, is where one begins anew.
pub async fn follow(
    url: &str,
    mut hear: impl FnMut(&async_nats::Message) -> Result<(), async_nats::Error>,
) -> Result<(), async_nats::Error> {
    let jetstream = jetstream::new(async_nats::connect(url).await?);
    let stream = jetstream.get_stream("TAGTRAIL").await?;
    let config = pull::OrderedConfig { deliver_policy: DeliverPolicy::All, ..Default::default() };
    let mut messages = stream.create_consumer(config).await?.messages().await?;
    loop {
        // A stream that was made anew tells nobody: its consumer is silent.
        match tokio::time::timeout(Duration::from_secs(2), messages.next()).await {
            Ok(Some(message)) => hear(&message?.message)?,
            Ok(None) => return Ok(()),
            Err(_) if stream.get_info().await?.created == stream.cached_info().created => {}
            Err(_) => return Ok(()),
        }
    }
}

/// How a broker is started. `default()` is one that keeps what it acknowledges and lets anyone do anything.
#[derive(Clone, Debug)]
pub struct Options {
    /// When JetStream syncs its files: `always` is before each acknowledgement; or a time such as `2m`, its own default.
    pub sync_interval: String,
    /// Further text of the configuration file: `authorization`, `accounts`, `tls`, `max_payload`, ... An `@DIR@` in it
    /// becomes the broker's own directory, for files that it names.
    pub config: String,
    /// Whether the address begins with `tls://`, as it has to where `config` asks for TLS.
    pub tls: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options { sync_interval: "always".into(), config: String::new(), tls: false }
    }
}

/// A broker and its data, which are gone when this is dropped.
#[derive(Debug)]
pub struct Broker {
    options: Options,
    port: Port,
    process: Option<Process>,
    files: TempDir,
}

impl Broker {
    /// Starts a broker that holds nothing, and returns when it answers.
    pub fn start(options: Options) -> Result<Broker> {
        let mut broker = Broker::stopped(options)?;
        broker.restart()?;
        Ok(broker)
    }

    /// A broker that was not started yet. Its port is its own already: nobody answers there.
    pub fn stopped(options: Options) -> Result<Broker> {
        Ok(Broker { options, port: Port::reserve()?, process: None, files: tempfile::tempdir()? })
    }

    /// Starts the broker again, on the same port and with what is left of its data; ends it first if it runs.
    pub fn restart(&mut self) -> Result<()> {
        if self.process.is_some() {
            self.terminate()?;
        }
        let config = self.directory().join("nats.conf");
        fs::write(&config, self.configuration()?)?;
        let mut command = Command::new(program()?);
        let mut process = Process::start(command.arg("--config").arg(&config), &self.log_file())?;
        let ready = wait::until(READY_WITHIN, || match greeting(self.port()) {
            Ok(_) => Some(Ok(())),
            Err(error) => process.ended().map(|status| Err(error.context(format!("it ended with {status}")))),
        });
        match ready {
            Some(Ok(())) => self.process = Some(process),
            Some(Err(error)) => bail!("no nats-server ({error:#}):\n{}", process.last_words()),
            None => bail!("nats-server does not answer after {READY_WITHIN:?}:\n{}", process.last_words()),
        }
        Ok(())
    }

    /// Kills the broker with SIGKILL, as a crash would. What its kernel was given is still there afterwards: this is no power
    /// cut.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.kill()?;
        }
        Ok(())
    }

    /// Ends the broker with SIGTERM and says how it ended.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        let mut process = self.process.take().context("the broker does not run")?;
        process.terminate(STOPPED_WITHIN)
    }

    /// Removes everything the broker has stored. It has to be down.
    pub fn wipe(&mut self) -> Result<()> {
        ensure!(self.process.is_none(), "a broker that runs cannot be robbed of its data");
        match fs::remove_dir_all(self.store()) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Stops the broker where it stands: connections stay, and nothing is answered.
    pub fn pause(&self) -> Result<()> {
        self.running()?.pause()
    }

    /// Lets a paused broker go on.
    pub fn resume(&self) -> Result<()> {
        self.running()?.resume()
    }

    /// Its address, without user or password.
    pub fn url(&self) -> String {
        let scheme = if self.options.tls { "tls" } else { "nats" };
        format!("{scheme}://127.0.0.1:{}", self.port())
    }

    /// Its port for clients.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// A directory of the broker's own, for files that its configuration names. [`Broker::wipe`] leaves them.
    pub fn directory(&self) -> &Path {
        self.files.path()
    }

    /// Where JetStream keeps its files.
    pub fn store(&self) -> PathBuf {
        self.directory().join("store")
    }

    /// Changes the further text of the configuration file, for the next start.
    pub fn configure(&mut self, config: impl Into<String>) {
        self.options.config = config.into();
    }

    /// Everything the broker has printed, over all its starts.
    pub fn log(&self) -> String {
        fs::read(self.log_file())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    fn log_file(&self) -> PathBuf {
        self.directory().join("nats.log")
    }

    fn running(&self) -> Result<&Process> {
        self.process.as_ref().context("the broker does not run")
    }

    fn configuration(&self) -> Result<String> {
        let mut text = String::new();
        writeln!(text, "listen: \"127.0.0.1:{}\"", self.port())?;
        writeln!(text, "server_name: \"broker-{}\"", self.port())?;
        let sync = &self.options.sync_interval;
        writeln!(text, "jetstream {{ store_dir: \"{}\", sync_interval: {sync} }}", self.store().display())?;
        text += &self.options.config.replace("@DIR@", &self.directory().display().to_string());
        Ok(text + "\n")
    }
}

/// The `nats-server` that is run: `$TAGTRAIL_TEST_NATS_SERVER`, else the one on `PATH` if it is new enough, else the one that
/// `scripts/test-tools` has put under the target directory.
pub fn program() -> Result<PathBuf> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    let find = || {
        if let Some(named) = env::var_os("TAGTRAIL_TEST_NATS_SERVER") {
            return Some(PathBuf::from(named));
        }
        let installed = binary::tools_directory().join("nats").join("nats-server");
        [PathBuf::from("nats-server"), installed].into_iter().find(|program| is_new_enough(program))
    };
    FOUND.get_or_init(find).clone().with_context(|| {
        let (major, minor) = AT_LEAST;
        format!("there is no nats-server {major}.{minor} or newer; scripts/test-tools installs one")
    })
}

/// Whether the program says `nats-server: v2.15.1` or something newer than [`AT_LEAST`].
fn is_new_enough(program: &Path) -> bool {
    let version = || {
        let output = Command::new(program).arg("--version").output().ok()?;
        let said = String::from_utf8(output.stdout).ok()?;
        let mut numbers = said.trim().rsplit_once('v')?.1.split('.');
        Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    };
    version().is_some_and(|version| version >= AT_LEAST)
}

/// What a NATS server says to whoever connects, `INFO {...}`, before it wants to know who that is. It says so when JetStream
/// has read its files.
pub fn greeting(port: u16) -> Result<serde_json::Value> {
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(READY_WITHIN))?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    let info = line.strip_prefix("INFO ").with_context(|| format!("no NATS server says {line:?}"))?;
    Ok(serde_json::from_str(info)?)
}
