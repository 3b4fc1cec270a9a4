//! Certificates for one test: an authority, a server's for 127.0.0.1, and a client's.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Where they lie, as PEM. [`Certificates::make`] says who signed whom.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// The authority that signed the other two.
    pub ca: PathBuf,
    /// A server's, for `127.0.0.1` and `localhost`.
    pub server: Pair,
    /// A client's, for the user `tagtrail`.
    pub client: Pair,
}

/// A certificate and its key.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl Certificates {
    /// Makes an authority that nobody else knows, and what it signs, in `directory`.
    pub fn make(directory: &Path) -> Result<Certificates> {
        let authority = pair(directory, "ca");
        let name = ["-subj", "/CN=Tests of Tagtrail"];
        request(&authority, &[&name[..], &["-addext", "keyUsage=critical,keyCertSign"]].concat(), None)?;
        let server = pair(directory, "server");
        let addresses = "subjectAltName=IP:127.0.0.1,DNS:localhost";
        request(&server, &["-subj", "/CN=server", "-addext", addresses], Some(&authority))?;
        let client = pair(directory, "client");
        request(
            &client,
            &["-subj", "/CN=tagtrail", "-addext", "subjectAltName=DNS:tagtrail"],
            Some(&authority),
        )?;
        Ok(Certificates { ca: authority.certificate, server, client })
    }

    /// The part of a broker's configuration that asks for TLS; with `verify`, for a client's certificate as well.
    pub fn nats(&self, verify: bool) -> String {
        let (cert, key) = (self.server.certificate.display(), self.server.key.display());
        let ca = self.ca.display();
        format!("tls {{ cert_file: \"{cert}\", key_file: \"{key}\", ca_file: \"{ca}\", verify: {verify} }}\n")
    }
}

fn pair(directory: &Path, name: &str) -> Pair {
    let file = |kind: &str| directory.join(format!("{name}{kind}.pem"));
    Pair { certificate: file(""), key: file("-key") }
}

/// Has a certificate made with a key of its own, signed by itself where no `authority` is given.
fn request(pair: &Pair, arguments: &[&str], authority: Option<&Pair>) -> Result<()> {
    let mut command = Command::new("openssl");
    command.args([
        "req",
        "-x509",
        "-days",
        "2",
        "-nodes",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
    ]);
    command.args(arguments).arg("-out").arg(&pair.certificate).arg("-keyout").arg(&pair.key);
    if let Some(authority) = authority {
        command.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
        command.arg("-CA").arg(&authority.certificate).arg("-CAkey").arg(&authority.key);
    }
    let output = command.output().context("could not start openssl; scripts/test-tools installs it")?;
    ensure!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
