//! What every command needs: whom to ask, about which namespace, who asks, and where to print.

use std::env;
use std::fs;
use std::io::{self, BufWriter, Stdout, Write as _};

use tagtrail_api::v1::WriteOptions;

use crate::client::Client;
use crate::failure::Failure;

/// What every command needs.
pub(crate) struct Context {
    /// URL of the server, as it was given.
    pub(crate) server: String,
    /// The namespace that is meant where none is written.
    pub(crate) namespace: String,
    /// Whether that namespace was typed for this command.
    pub(crate) namespace_typed: bool,
    /// Who asks, why, and on what condition.
    pub(crate) write: WriteOptions,
    out: BufWriter<Stdout>,
}

impl Context {
    /// Puts together what every command needs.
    pub(crate) fn new(server: String, namespace: String, write: WriteOptions) -> Self {
        Self { server, namespace, namespace_typed: false, write, out: BufWriter::new(io::stdout()) }
    }

    /// The server to ask.
    ///
    /// # Errors
    /// [`Failure::Client`] for what is no URL.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        Client::new(&self.server)
    }

    /// The options of one of several writes of this command. A request id stands for one write, so that those
    /// after the first get ids made from it.
    pub(crate) fn write_options(&self, index: usize) -> WriteOptions {
        let mut options = self.write.clone();
        if index > 0 && !options.request_id.is_empty() {
            options.request_id = format!("{}#{}", options.request_id, index + 1);
        }
        options
    }

    /// Refuses a condition on one revision for several writes: it could hold for the first of them only.
    ///
    /// # Errors
    /// [`Failure::Client`].
    pub(crate) fn expect_writes(&self, count: usize) -> Result<(), Failure> {
        match self.write.expected_revision {
            Some(_) if count > 1 => {
                Err(Failure::client("--expect-revision goes with one image stream or tag at a time"))
            }
            _ => Ok(()),
        }
    }

    /// Prints to standard output.
    ///
    /// # Errors
    /// [`Failure::Output`].
    pub(crate) fn print(&mut self, text: &str) -> Result<(), Failure> {
        self.out.write_all(text.as_bytes()).map_err(Failure::Output)
    }

    /// Prints a line to standard error, after all that was printed to standard output.
    ///
    /// # Errors
    /// [`Failure::Output`].
    pub(crate) fn warn(&mut self, line: &str) -> Result<(), Failure> {
        self.flush()?;
        writeln!(io::stderr(), "{line}").map_err(Failure::Output)
    }

    /// Sends off what was printed.
    ///
    /// # Errors
    /// [`Failure::Output`].
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.out.flush().map_err(Failure::Output)
    }
}

/// Who asks, where nobody says: `user@host`.
pub(crate) fn user_at_host() -> String {
    let variable = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    let user = variable("USER").or_else(|| variable("LOGNAME")).or_else(account);
    let user = user.unwrap_or_else(|| "unknown".into());
    let host = fs::read_to_string("/proc/sys/kernel/hostname").ok().map(|name| name.trim().to_owned());
    let host = host.filter(|name| !name.is_empty()).or_else(|| variable("HOSTNAME"));
    format!("{user}@{}", host.unwrap_or_else(|| "localhost".into()))
}

/// The name of this process's account, where no variable tells it: its owner in `/proc`, by `/etc/passwd`.
fn account() -> Option<String> {
    use std::os::unix::fs::MetadataExt as _;
    let uid = fs::metadata("/proc/self").ok()?.uid().to_string();
    let accounts = fs::read_to_string("/etc/passwd").ok()?;
    accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    })
}
