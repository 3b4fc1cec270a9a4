//! A real registry, Debian's `docker-registry`, with the standard content of the recorded runs.
//!
//! Filling takes seconds, copying what a fill left on disk a tenth of one: the first test that needs the content
//! makes it, everyone else copies it, or shares it to read only. A copy is private: push and delete as you like.

use std::collections::hash_map::DefaultHasher;
use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use chrono::DateTime;
use tempfile::TempDir;

use crate::process::{Process, free_port};
use crate::{binary, wait};

/// The user every registry with passwords knows, and the password.
pub const USER: (&str, &str) = ("puller", "s3cret");

/// `USER` as `htpasswd -B` writes it. The cost is the lowest there is: this guards nothing.
const HTPASSWD: &str = "puller:$2y$04$DpHyC2ptl3qYd/DQ9cZezubdZOdO8Y0lEC2jy/oGQeKW06pmRzxvm\n";

/// Where a registry writes what it says, and what it is asked.
const LOG: &str = "registry.log";
const READY_WITHIN: Duration = Duration::from_secs(10);

/// A running registry on 127.0.0.1 over plain HTTP. It ends when dropped.
pub struct Registry {
    port: u16,
    _process: Process,
    files: TempDir,
}

/// One request that a registry was sent.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Asked {
    /// The second in which it was answered, since 1970.
    pub second: i64,
    /// `GET`, `HEAD`, ...
    pub method: String,
    /// Such as `/v2/team/app/manifests/v1`.
    pub path: String,
}

/// What a registry does before it answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Answers anyone.
    Anonymous,
    /// Asks for [`USER`] by basic authentication.
    Password,
}

impl Registry {
    /// Starts a registry on a free port, with the standard content of its own.
    pub fn start() -> Result<(Registry, Storage)> {
        let storage = Storage::filled()?;
        let registry = Registry::serve(&storage, free_port()?, Access::Anonymous)?;
        Ok((registry, storage))
    }

    /// Serves `storage` on `port`, and returns when it answers. Several registries may serve one storage.
    pub fn serve(storage: &Storage, port: u16, access: Access) -> Result<Registry> {
        let files = tempfile::tempdir()?;
        let config = files.path().join("config.yml");
        let log = files.path().join(LOG);
        fs::write(files.path().join("htpasswd"), HTPASSWD)?;
        fs::write(&config, configuration(storage.path(), port, access, files.path()))?;
        let mut process = Process::start(Command::new("docker-registry").arg("serve").arg(&config), &log)?;
        let ready = wait::until(READY_WITHIN, || match status_of_v2(port) {
            Ok(status) => Some(Ok(status)),
            Err(_) => process.ended().map(Err),
        });
        let expected = if access == Access::Password { 401 } else { 200 };
        match ready {
            Some(Ok(status)) if status == expected => Ok(Registry { port, _process: process, files }),
            other => bail!("no registry on port {port} ({other:?}):\n{}", process.last_words()),
        }
    }

    /// `127.0.0.1:PORT`, as it stands before the first slash of a reference.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Everything the registry was asked, in order, from its access log.
    pub fn asked(&self) -> Result<Vec<Asked>> {
        let log = fs::read_to_string(self.files.path().join(LOG))?;
        Ok(log.lines().filter_map(asked).collect())
    }

    /// Calls `fill_registry.py` with `arguments` against this registry: `push`, `retag`, `delete`, ...
    pub fn fill(&self, arguments: &[impl AsRef<str>]) -> Result<Output> {
        Command::new("python3")
            .arg(data("fill_registry.py"))
            .args(arguments.iter().map(AsRef::as_ref))
            .env("REGISTRY_URL", format!("http://{}", self.host()))
            .output()
            .context("could not start python3")
    }
}

/// A registry's files. Files of one's own are gone when this is dropped.
pub struct Storage {
    path: PathBuf,
    _own: Option<TempDir>,
}

impl Storage {
    /// Files of a registry that holds nothing.
    pub fn empty() -> Result<Storage> {
        Ok(Storage::own(tempfile::tempdir()?))
    }

    /// Files of a registry that holds the standard content and may be changed.
    pub fn filled() -> Result<Storage> {
        let storage = Storage::empty()?;
        copy(&standard_content()?, storage.path())?;
        Ok(storage)
    }

    /// The standard content itself, for those who only read.
    pub fn shared() -> Result<Storage> {
        Ok(Storage { path: standard_content()?, _own: None })
    }

    /// Where the files are.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the image of a tag to more tags of its repository.
    pub fn copy_tag(&self, repository: &str, tag: &str, to: impl IntoIterator<Item = String>) -> Result<()> {
        let tags = self.repository(repository).join("_manifests/tags");
        to.into_iter().try_for_each(|to| copy(&tags.join(tag), &tags.join(to)))
    }

    /// Copies a repository with all of its tags.
    pub fn copy_repository(&self, from: &str, to: &str) -> Result<()> {
        copy(&self.repository(from), &self.repository(to))
    }

    fn repository(&self, name: &str) -> PathBuf {
        self.path.join("docker/registry/v2/repositories").join(name)
    }

    fn own(directory: TempDir) -> Storage {
        Storage { path: directory.path().to_owned(), _own: Some(directory) }
    }
}

/// A file of the recorded data, such as `cases/000-lab.json`.
pub fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance").join(name)
}

/// A line such as `127.0.0.1 - - [23/Nov/2026:12:00:00 +0000] "GET /v2/ HTTP/1.1" 200 2 "" "tagtrail/0.1.0"`.
fn asked(line: &str) -> Option<Asked> {
    let (time, rest) = line.split_once('[')?.1.split_once("] \"")?;
    let mut words = rest.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let second = DateTime::parse_from_str(time, "%d/%b/%Y:%H:%M:%S %z").ok()?.timestamp();
    Some(Asked { second, method, path })
}

fn configuration(storage: &Path, port: u16, access: Access, files: &Path) -> String {
    let mut text = format!(
        "version: 0.1\n\
         log: {{level: error}}\n\
         storage:\n\
         \x20 filesystem: {{rootdirectory: \"{}\"}}\n\
         \x20 delete: {{enabled: true}}\n\
         \x20 maintenance: {{uploadpurging: {{enabled: false}}}}\n\
         http: {{addr: \"127.0.0.1:{port}\", secret: tests}}\n",
        storage.display()
    );
    if access == Access::Password {
        let path = files.join("htpasswd");
        text += &format!("auth: {{htpasswd: {{realm: tests, path: \"{}\"}}}}\n", path.display());
    }
    text
}

/// The directory with the standard content, made by the first who asks. Its name follows the script that fills it.
fn standard_content() -> Result<PathBuf> {
    let script = fs::read(data("fill_registry.py"))?;
    let mut hasher = DefaultHasher::new();
    script.hash(&mut hasher);
    let parent = binary::output_directory().join("registry-content");
    fs::create_dir_all(&parent)?;
    let filled = parent.join(format!("{:016x}", hasher.finish()));

    // One fills, the others wait: tests are threads of one process or processes of their own.
    let lock = File::create(parent.join("lock"))?;
    lock.lock()?;
    if !filled.exists() {
        let directory = tempfile::tempdir_in(&parent)?;
        let storage = Storage { path: directory.path().to_owned(), _own: None };
        let registry = Registry::serve(&storage, free_port()?, Access::Anonymous)?;
        let output = registry.fill(&["fill"])?;
        ensure!(output.status.success(), "fill_registry.py: {}", String::from_utf8_lossy(&output.stderr));
        drop(registry);
        // Only a complete fill gets the name others look for.
        fs::rename(directory.keep(), &filled)?;
    }
    Ok(filled)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// The HTTP status of `GET /v2/`, which every registry answers.
fn status_of_v2(port: u16) -> Result<u16> {
    let mut stream = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port)))?;
    stream.set_read_timeout(Some(READY_WITHIN))?;
    stream.write_all(b"GET /v2/ HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split_ascii_whitespace().nth(1).context("an HTTP status line")?;
    Ok(status.parse()?)
}
