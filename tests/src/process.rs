//! A child process that never outlives its owner.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use crate::wait;

/// A running child. Dropping it kills it (SIGKILL, by its own pid) and reaps it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with no stdin and with both outputs appended to the file `log`.
    pub fn start(command: &mut Command, log: &Path) -> Result<Process> {
        let program = command.get_program().to_string_lossy().into_owned();
        let file = File::options().create(true).append(true).open(log)?;
        let child =
            command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).spawn().with_context(
                || format!("could not start {program}; scripts/test installs what tests need"),
            )?;
        Ok(Process { child, log: log.to_owned() })
    }

    /// Kills with SIGKILL, as a crash would, and waits until the process is gone.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.child.kill()?;
        Ok(self.child.wait()?)
    }

    /// Asks with SIGTERM and waits for the end, at most `deadline`.
    pub fn terminate(&mut self, deadline: Duration) -> Result<ExitStatus> {
        let pid = Pid::from_child(&self.child);
        // A child that has ended on its own cannot be signalled, and its status tells why.
        if self.child.try_wait()?.is_none() {
            kill_process(pid, Signal::TERM)?;
        }
        wait::until(deadline, || self.child.try_wait().transpose())
            .ok_or_else(|| anyhow!("pid {} still runs {deadline:?} after SIGTERM", self.child.id()))?
            .context("waiting for the process to end")
    }

    /// Stops it where it stands (SIGSTOP), and returns when all of it has stopped.
    pub fn pause(&self) -> Result<()> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::STOP)?;
        // The signal is only sent: threads on other processors run on for a moment.
        let look = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let status = waitid(WaitId::Pid(pid), look)?;
        ensure!(status.is_some_and(|status| status.stopped()), "pid {} has ended", self.child.id());
        Ok(())
    }

    /// Lets it go on (SIGCONT).
    pub fn resume(&self) -> Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), Signal::CONT)?)
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How the process ended, or `None` while it runs.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// How much processor time the process has used.
    pub fn processor_time(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name of the program, in brackets, may hold anything; user and system time are the 14th and 15th of all fields.
        let (_, fields) = stat.rsplit_once(')').context("a program in brackets")?;
        let ticks = fields.split_ascii_whitespace().skip(11).take(2).map(str::parse::<u64>);
        let ticks = ticks.sum::<Result<u64, _>>()?;
        Ok(Duration::from_millis(ticks * 1_000 / rustix::param::clock_ticks_per_second()))
    }

    /// How much memory the process has in use (resident), in bytes.
    pub fn memory(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
        let kib: u64 = line.with_context(|| format!("no VmRSS in:\n{status}"))?.parse()?;
        Ok(kib << 10)
    }

    /// Everything the process has printed, of all starts that shared this log.
    pub fn log(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// The last lines of the log, for a failure message.
    pub fn last_words(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only when the child is already gone, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A TCP port on 127.0.0.1 that nothing listens on at this moment.
///
/// Another process may take it before its user does; whoever starts something on it tries again with another. Whoever needs
/// to come back on the same one reserves a [`Port`](crate::port::Port).
pub fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
