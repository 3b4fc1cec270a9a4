//! A server that gives a log away over HTTP (C2SP `tlog-tiles`), of this program or any other.

use std::time::Duration;

use tagtrail_event_log::LogId;
use tokio::runtime::Runtime;

use super::tiles::{Files, Tiles, id_of, read_checkpoint, said};
use super::{Entries, Source, SourceError, StoredHashes};

/// How long a connection may take, and how long an answer may be silent.
const PATIENCE: Duration = Duration::from_secs(30);
/// The most that is shown of what a server says instead of an answer, in bytes.
const WORDS_BYTES: usize = 1_000;

/// A log behind a URL, as it was when this was opened: a log that grows meanwhile is looked at up to there.
#[derive(Debug)]
pub struct Server {
    name: String,
    checkpoint: Option<Vec<u8>>,
    size: u64,
    tiles: Tiles<Http>,
}

/// Files behind a URL.
#[derive(Debug)]
struct Http {
    /// Without a slash at its end.
    url: String,
    client: reqwest::Client,
    runtime: Runtime,
}

impl Http {
    fn new(url: &str) -> Result<Http, SourceError> {
        let unreadable =
            |why: &dyn std::fmt::Display| SourceError::Unreadable(format!("{url} cannot be asked: {why}"));
        // Whoever came first has chosen; all of this program chooses the same.
        _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .user_agent(concat!("tagtrail-audit/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(PATIENCE)
            .read_timeout(PATIENCE)
            .build()
            .map_err(|error| unreadable(&innermost(&error)))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| unreadable(&error))?;
        Ok(Http { url: url.trim_end_matches('/').to_owned(), client, runtime })
    }

    async fn get(&self, url: &str, limit: usize) -> Result<Option<Vec<u8>>, String> {
        let told = |error: reqwest::Error| innermost(&error);
        let mut answer = self.client.get(url).send().await.map_err(told)?;
        match answer.status().as_u16() {
            200 => {}
            404 | 410 => return Ok(None),
            status => {
                // A log that is not signed says why.
                let words = answer.chunk().await.ok().flatten().unwrap_or_default();
                let words = String::from_utf8_lossy(&words[..words.len().min(WORDS_BYTES)]).into_owned();
                let words = words.trim().replace(char::is_control, " ");
                let told = if words.is_empty() { String::new() } else { format!(": {words}") };
                return Err(format!("it answers with status {status}{told}"));
            }
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(told)? {
            bytes.extend_from_slice(&chunk);
            // What is too long shows as that.
            if bytes.len() > limit {
                bytes.truncate(limit + 1);
                break;
            }
        }
        Ok(Some(bytes))
    }
}

/// What it came from, in the end.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

impl Files for Http {
    fn fetch(&self, path: &str, limit: usize) -> Result<Option<Vec<u8>>, SourceError> {
        let url = self.place(path);
        let fetched = self.runtime.block_on(self.get(&url, limit));
        fetched.map_err(|why| SourceError::Unreadable(format!("{url} cannot be fetched: {why}")))
    }

    fn place(&self, path: &str) -> String {
        format!("{}/{path}", self.url)
    }
}

impl Server {
    /// Asks for the newest checkpoint of a log. Blocks, so not to be called from `async` code.
    ///
    /// # Errors
    /// [`SourceError::Unreadable`].
    pub fn open(url: &str) -> Result<Server, SourceError> {
        let files = Http::new(url)?;
        let (checkpoint, size) = read_checkpoint(&files)?;
        if checkpoint.is_none() {
            return Err(SourceError::Unreadable(format!(
                "{} is not there: give the URL of a log, such as http://127.0.0.1:7401/log",
                files.place("checkpoint")
            )));
        }
        Ok(Server { name: files.url.clone(), checkpoint, size, tiles: Tiles::new(files, size) })
    }
}

impl Source for Server {
    fn name(&self) -> &str {
        &self.name
    }

    fn log_id(&self) -> Option<LogId> {
        id_of(said(self.checkpoint()?)?.origin())
    }

    fn checkpoint(&self) -> Option<&[u8]> {
        self.checkpoint.as_deref()
    }

    fn about(&self) -> Option<u64> {
        Some(self.size)
    }

    fn entries(&self, from: u64) -> Result<Box<dyn Entries + '_>, SourceError> {
        Ok(Box::new(self.tiles.entries(from)))
    }

    fn hashes(&self) -> Option<&dyn StoredHashes> {
        Some(&self.tiles)
    }

    fn not_looked_at(&self) -> &'static [&'static str] {
        &["manifests and configurations: a log gives away only the events, which name them by their digests"]
    }
}
