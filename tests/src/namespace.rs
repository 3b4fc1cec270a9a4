//! A network of one's own.
//!
//! Recorded runs name fixed ports. In a network namespace with nothing but a loopback device these ports are free for
//! every case, and cases run side by side. Where namespaces are not permitted, cases take turns on the machine's own
//! ports.

use std::ffi::OsStr;
use std::fs::File;
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};

/// The ways to a network namespace: as root, or as a user who may become root in a user namespace of their own.
const WAYS: [&[&str]; 2] = [&["--net"], &["--user", "--map-root-user", "--net"]];

/// A command that runs `program` in a network namespace of its own, or `None` where that is not permitted.
///
/// The program has to call [`enter`] before it uses the network.
pub fn command(program: impl AsRef<OsStr>) -> Option<Command> {
    static WAY: OnceLock<Option<&[&str]>> = OnceLock::new();
    let way = WAY.get_or_init(|| WAYS.into_iter().find(|way| permitted(way)));
    way.map(|way| {
        let mut command = Command::new("unshare");
        command.args(way).arg("--").arg(program);
        command
    })
}

/// Brings up the loopback device of the namespace this process has been started in.
pub fn enter() -> Result<()> {
    let status = Command::new("ip")
        .args(["link", "set", "lo", "up"])
        .status()
        .context("could not start `ip`; install iproute2")?;
    ensure!(status.success(), "could not bring up the loopback device");
    Ok(())
}

/// Waits until no one else uses the machine's own ports; the turn ends when the file is dropped.
pub fn take_turn() -> Result<File> {
    let turn = File::create(std::env::temp_dir().join("tagtrail-tests-fixed-ports.lock"))?;
    turn.lock()?;
    Ok(turn)
}

fn permitted(way: &[&str]) -> bool {
    let trial = Command::new("unshare").args(way).args(["--", "ip", "link", "set", "lo", "up"]).output();
    trial.is_ok_and(|output| output.status.success())
}
