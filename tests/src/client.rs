//! A real `tagtrail` command line, in an environment that holds nothing of the machine it runs on.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::binary;
use crate::process::Process;

/// Someone at a terminal: a server, a namespace and a configuration file of their own.
#[derive(Clone, Debug)]
pub struct Client {
    /// `TAGTRAIL_SERVER`.
    pub server: String,
    /// `TAGTRAIL_NAMESPACE`.
    pub namespace: String,
    /// `HOME`, where nothing is, and `TAGTRAIL_CONFIG` in it.
    pub home: PathBuf,
}

/// What a command printed, and how it ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Printed {
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// The exit code; -1 where a signal ended it.
    pub rc: i32,
}

impl Client {
    /// Runs `tagtrail` with `arguments`.
    pub fn run(&self, arguments: &[impl AsRef<str>]) -> Result<Printed> {
        self.run_with(arguments, "")
    }

    /// Runs `tagtrail` with `arguments` and `stdin`.
    pub fn run_with(&self, arguments: &[impl AsRef<str>], stdin: &str) -> Result<Printed> {
        let mut child = self
            .command()
            .args(arguments.iter().map(AsRef::as_ref))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("could not start tagtrail")?;
        let mut input = child.stdin.take().context("stdin is piped")?;
        // A command that does not read its input may be gone before all of it is written.
        let _ = input.write_all(stdin.as_bytes());
        drop(input);
        let output = child.wait_with_output()?;
        Ok(Printed {
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            rc: output.status.code().unwrap_or(-1),
        })
    }

    /// Starts a command that goes on, such as `watch`. What it prints, on either output, is appended to the file `log`.
    pub fn start(&self, arguments: &[impl AsRef<str>], log: &Path) -> Result<Process> {
        Process::start(self.command().args(arguments.iter().map(AsRef::as_ref)), log)
    }

    /// Runs a command that has to succeed and to print JSON, such as `get is -A -o json` or `status -o json`.
    pub fn json(&self, arguments: &[impl AsRef<str>]) -> Result<Value> {
        let printed = self.run(arguments)?;
        let line: Vec<&str> = arguments.iter().map(AsRef::as_ref).collect();
        ensure!(printed.rc == 0, "tagtrail {} ended with {}: {}", line.join(" "), printed.rc, printed.stderr);
        serde_json::from_str(&printed.stdout).with_context(|| format!("tagtrail {}", line.join(" ")))
    }

    /// The sequence of the newest event, from `tagtrail status`.
    pub fn head(&self) -> Result<u64> {
        let status = self.json(&["status", "-o", "json"])?;
        status["head"].as_u64().with_context(|| format!("no head in {status}"))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(binary::tagtrail());
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &self.home)
            .env("TAGTRAIL_SERVER", &self.server)
            .env("TAGTRAIL_NAMESPACE", &self.namespace)
            .env("TAGTRAIL_ACTOR", "developer")
            .env("TAGTRAIL_CONFIG", self.home.join("client.toml"));
        command
    }
}
