//! A real `tagtrail serve`, which may be killed, ended and started again on the same data.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::binary;
use crate::client::Client;
use crate::process::{Process, free_port};

const READY_WITHIN: Duration = Duration::from_secs(30);
const STOPPED_WITHIN: Duration = Duration::from_secs(20);
/// Between two looks at a server that is starting: a restart is often the thing being repeated.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// How a server is started. `default()` is what `tagtrail serve` does by itself, on free ports.
#[derive(Clone, Default, Debug)]
pub struct Options {
    /// The configuration file's text; no file where empty.
    pub config: String,
    /// Further environment variables.
    pub env: Vec<(String, String)>,
    /// gRPC and HTTP port; free ones where `None`.
    pub ports: Option<(u16, u16)>,
    /// Further arguments of `tagtrail serve`. They win over those it is always given.
    pub arguments: Vec<String>,
    /// Where the data is kept, if it is to lie on another disk.
    pub data_dir: Option<PathBuf>,
    /// What starts it, such as `prlimit --nofile=64`. It has to become the server by `exec`.
    pub under: Vec<String>,
}

/// What the server's HTTP side answers.
#[derive(Clone, Debug)]
pub struct Page {
    /// `200`.
    pub status: u16,
    /// All headers, with their names in small letters.
    pub headers: BTreeMap<String, String>,
    /// The body as it came.
    pub body: Vec<u8>,
}

impl Page {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// One header, or nothing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// A server and its data, which are gone when this is dropped.
pub struct Server {
    options: Options,
    ports: (u16, u16),
    process: Option<Process>,
    files: TempDir,
}

impl Server {
    /// Starts a server on an empty data directory and returns when its health check says SERVING.
    pub fn start(options: Options) -> Result<Server> {
        let files = tempfile::tempdir()?;
        fs::create_dir(files.path().join("home"))?;
        if !options.config.is_empty() {
            fs::write(files.path().join("tagtrail.toml"), &options.config)?;
        }
        let mut server = Server { ports: (0, 0), options, process: None, files };
        server.restart()?;
        Ok(server)
    }

    /// Starts the server again on the same data; on other ports where none were asked for.
    pub fn restart(&mut self) -> Result<()> {
        let mut failure = None;
        // A free port can be taken by someone else between its choice and its use.
        for _ in 0..3 {
            self.ports = match self.options.ports {
                Some(ports) => ports,
                None => (free_port()?, free_port()?),
            };
            match self.launch() {
                Ok(process) => {
                    self.process = Some(process);
                    return Ok(());
                }
                Err(error) if self.log().contains("in use") => failure = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(failure.context("three attempts were made")?)
    }

    /// Starts the server again in the same way, with further arguments for this one time.
    pub fn restart_with(&mut self, arguments: &[&str]) -> Result<()> {
        let usual = self.options.arguments.clone();
        self.options.arguments.extend(arguments.iter().map(|&argument| argument.to_owned()));
        let started = self.restart();
        self.options.arguments = usual;
        started
    }

    /// Changes the configuration file, for the next start. There has to be one.
    pub fn configure(&mut self, config: impl Into<String>) -> Result<()> {
        self.options.config = config.into();
        Ok(fs::write(self.files.path().join("tagtrail.toml"), &self.options.config)?)
    }

    /// Kills the server with SIGKILL, as a crash would.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.kill()?;
        }
        Ok(())
    }

    /// Stops the server where it stands: no system call of it is under way when this returns.
    pub fn pause(&self) -> Result<()> {
        self.process.as_ref().context("the server does not run")?.pause()
    }

    /// Lets a paused server go on.
    pub fn resume(&self) -> Result<()> {
        self.process.as_ref().context("the server does not run")?.resume()
    }

    /// Starts the server and kills it so much later, whether or not it serves by then.
    pub fn kill_while_starting(&self, after: Duration) -> Result<()> {
        let mut process = Process::start(&mut self.command(), &self.log_file())?;
        std::thread::sleep(after);
        process.kill().map(drop)
    }

    /// Ends the server with SIGTERM and says how it ended.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        let mut process = self.process.take().context("the server does not run")?;
        process.terminate(STOPPED_WITHIN)
    }

    /// The gRPC address, as a socket takes it.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.ports.0)
    }

    /// The gRPC address, as `TAGTRAIL_SERVER` takes it.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.0)
    }

    /// The address of the log's files: checkpoint and tiles.
    pub fn log_url(&self) -> String {
        format!("http://127.0.0.1:{}/log", self.ports.1)
    }

    /// What the HTTP side answers under a path such as `/log/checkpoint`.
    pub fn get(&self, path: &str) -> Result<Page> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.ports.1))?;
        stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let end =
            answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").context("no end of the headers")?;
        let head = String::from_utf8_lossy(&answer[..end]);
        let status = head.split(' ').nth(1).context("no status")?.parse()?;
        let header = |line: &str| {
            line.split_once(": ").map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        };
        let headers = head.lines().skip(1).filter_map(header).collect();
        Ok(Page { status, headers, body: answer[end + 4..].to_vec() })
    }

    /// All that `/metrics` says.
    pub fn metrics(&self) -> Result<String> {
        Ok(self.get("/metrics")?.text())
    }

    /// What `/metrics` says of a counter or a gauge without labels.
    pub fn metric(&self, name: &str) -> Result<f64> {
        let answer = self.metrics()?;
        let value = answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(value.with_context(|| format!("no {name} in:\n{answer}"))?.parse()?)
    }

    /// Changes how the server is started, for the next start.
    pub fn options(&mut self) -> &mut Options {
        &mut self.options
    }

    /// The server's process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// Waits until the server has ended by itself, and says how; `None` if it still runs after `deadline`.
    pub fn ended(&mut self, deadline: Duration) -> Option<ExitStatus> {
        let process = self.process.as_mut()?;
        let status = crate::wait::until(deadline, || process.ended())?;
        self.process = None;
        Some(status)
    }

    /// How much processor time the server has used since it was started.
    pub fn processor_time(&self) -> Result<Duration> {
        self.process.as_ref().context("the server does not run")?.processor_time()
    }

    /// How much memory the server has in use (resident), in bytes.
    pub fn memory(&self) -> Result<u64> {
        self.process.as_ref().context("the server does not run")?.memory()
    }

    /// A directory of this server's own, gone with it. The data directory stands in it.
    pub fn files(&self) -> &Path {
        self.files.path()
    }

    /// Where the server keeps its data.
    pub fn data(&self) -> PathBuf {
        self.options.data_dir.clone().unwrap_or_else(|| self.files.path().join("data"))
    }

    /// Where the server looks for registry credentials (`DOCKER_CONFIG`); empty at first.
    pub fn docker_config(&self) -> PathBuf {
        self.files.path().join("home")
    }

    /// A client of this server, in namespace `test`.
    pub fn client(&self) -> Client {
        Client { server: self.url(), namespace: "test".into(), home: self.files.path().join("home") }
    }

    /// Everything the server has printed, over all its starts.
    pub fn log(&self) -> String {
        fs::read(self.log_file())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    fn log_file(&self) -> PathBuf {
        self.files.path().join("server.log")
    }

    fn launch(&self) -> Result<Process> {
        let mut process = Process::start(&mut self.command(), &self.log_file())?;
        let start = Instant::now();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        while !runtime.block_on(serving(&self.url())) {
            if let Some(status) = process.ended() {
                bail!("tagtrail serve ended with {status}:\n{}", process.last_words());
            }
            if start.elapsed() > READY_WITHIN {
                bail!("tagtrail serve is not SERVING after {READY_WITHIN:?}:\n{}", process.last_words());
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(process)
    }

    fn command(&self) -> Command {
        let home: &Path = &self.docker_config();
        let program = binary::tagtrail();
        let mut command = match self.options.under.split_first() {
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(program);
                command
            }
            None => Command::new(program),
        };
        command
            .arg("serve")
            .arg("--data-dir")
            .arg(self.data())
            .args(["--listen", &format!("127.0.0.1:{}", self.ports.0)])
            .args(["--http-listen", &format!("127.0.0.1:{}", self.ports.1)])
            .args(&self.options.arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", home)
            .env("DOCKER_CONFIG", home)
            .envs(self.options.env.iter().map(|(name, value)| (name, value)));
        if !self.options.config.is_empty() {
            command.arg("--config").arg(self.files.path().join("tagtrail.toml"));
        }
        command
    }
}

/// Whether the server at `url` says SERVING. Anything else, and nothing at all, is a no.
async fn serving(url: &str) -> bool {
    let ask = async {
        let channel = Endpoint::from_shared(url.to_owned()).ok()?.connect().await.ok()?;
        let request = HealthCheckRequest { service: String::new() };
        let answer = HealthClient::new(channel).check(request).await.ok()?;
        Some(answer.into_inner().status() == ServingStatus::Serving)
    };
    matches!(tokio::time::timeout(Duration::from_secs(2), ask).await, Ok(Some(true)))
}
