//! A registry that lies, for faults that a real one cannot be made to show.
//!
//! It holds one repository, `team/app`, with one image that changes with [`Faulty::rebuild`], and answers honestly until it
//! is told of a [`Fault`]. It speaks just enough HTTP/1.1 for that, one request per connection.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use chrono::{DateTime, Utc};
use serde_json::json;
use sha2::{Digest, Sha256};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// What is wrong with a registry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Nothing.
    None,
    /// The header `Docker-Content-Digest` names another digest than that of the manifest's bytes.
    LyingHeader,
    /// The manifest, asked for by digest, is another image's.
    OtherManifest,
    /// The configuration is as long as it should be, and another.
    OtherConfig,
    /// A web page, with status 200, where a manifest should be.
    WebPage,
    /// A manifest that is no JSON, in spite of its media type.
    NoJson,
    /// A manifest of JSON arrays, one in another, ten thousand deep.
    DeepJson,
    /// A manifest that names no configuration.
    NoConfig,
    /// Bytes that are not HTTP.
    NoHttp,
    /// Less than the length that was announced, then the end.
    CutShort,
    /// A manifest that never ends.
    Endless,
    /// The connection is closed without an answer.
    HangUp,
    /// No answer, and the connection stays open, for as long as this is what is wrong.
    Silent,
    /// Status 500.
    InternalError,
    /// Status 404: no such manifest.
    NotFound,
    /// Status 401.
    Unauthorized,
    /// Status 403.
    Denied,
    /// Status 403, with another message each time.
    DeniedAnew,
    /// Status 429.
    TooManyRequests,
    /// Status 429, and for how many seconds one shall wait.
    BusyFor(u32),
    /// The same, as the time at which one may come again.
    BusyUntil(SystemTime),
    /// A redirection to where it came from.
    RedirectLoop,
}

/// A running registry on 127.0.0.1 over plain HTTP. It ends when dropped.
pub struct Faulty {
    port: u16,
    content: Arc<Mutex<Content>>,
    stopped: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    fetched: Arc<AtomicUsize>,
}

impl Faulty {
    /// Starts an honest registry on a free port.
    pub fn start() -> Result<Faulty> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let content = Arc::new(Mutex::new(Content { fault: Fault::None, build: 1 }));
        let stopped = Arc::new(AtomicBool::new(false));
        let (asked, fetched) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (shared, stop) = (Arc::clone(&content), Arc::clone(&stopped));
        let counters = (Arc::clone(&asked), Arc::clone(&fetched));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let shared = Arc::clone(&shared);
                let (stop, counters) = (Arc::clone(&stop), counters.clone());
                // A client that goes away in the middle of an answer is no failure of ours.
                thread::spawn(move || drop(answer(stream, &shared, &stop, (&counters.0, &counters.1))));
            }
        });
        Ok(Faulty { port, content, stopped, asked, fetched })
    }

    /// `127.0.0.1:PORT`, as it stands before the first slash of a reference.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// From now on, this is what is wrong.
    pub fn turn(&self, fault: Fault) {
        self.content().fault = fault;
    }

    /// Replaces the image by a new one.
    pub fn rebuild(&self) {
        self.content().build += 1;
    }

    /// How often a manifest has been fetched, and not only looked at by HEAD.
    pub fn fetched(&self) -> usize {
        self.fetched.load(Ordering::Relaxed)
    }

    /// How often a manifest has been asked for.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    /// The digest of the image's manifest, as an honest registry says it.
    pub fn digest(&self) -> String {
        digest(self.content().manifest().as_bytes())
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().expect("no one panics with the content")
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        // Wakes the listener, so that it sees the flag.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

#[derive(Clone, Copy)]
struct Content {
    fault: Fault,
    build: u32,
}

impl Content {
    fn config(self) -> String {
        let labels = json!({ "build": format!("{:08}", self.build) });
        json!({
            "architecture": "amd64", "os": "linux", "created": "2021-01-01T10:00:00Z",
            "config": { "Labels": labels }, "rootfs": { "type": "layers", "diff_ids": [] }, "history": [],
        })
        .to_string()
    }

    fn manifest(self) -> String {
        let config = self.config();
        json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": { "mediaType": CONFIG, "size": config.len(), "digest": digest(config.as_bytes()) },
            "layers": [],
        })
        .to_string()
    }
}

/// `sha256:` and the digest of `bytes`.
pub fn digest(bytes: &[u8]) -> String {
    let hex: Vec<String> = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{}", hex.concat())
}

/// Reads one request and answers it, or does what the fault says instead.
fn answer(
    mut stream: TcpStream,
    shared: &Mutex<Content>,
    stop: &AtomicBool,
    (asked, fetched): (&AtomicUsize, &AtomicUsize),
) -> Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let Some(request) = lines.next().transpose()? else { return Ok(()) };
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let content = *shared.lock().expect("no one panics with the content");
    let path = request.split(' ').nth(1).unwrap_or_default();
    let head_only = request.starts_with("HEAD ");
    let mut send = |status: &str, kind: &str, more: &str, body: &str| -> Result<()> {
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n{more}\r\n"
        );
        stream.write_all(head.as_bytes())?;
        if !head_only {
            stream.write_all(body.as_bytes())?;
        }
        stream.shutdown(Shutdown::Write)?;
        Ok(())
    };

    match (path, content.fault) {
        ("/v2/", _) => return send("200 OK", "application/json", "", "{}"),
        ("/v2/team/app/tags/list", _) => {
            return send("200 OK", "application/json", "", r#"{"name":"team/app","tags":["v1"]}"#);
        }
        (path, fault) if path.starts_with("/v2/team/app/blobs/") => {
            let mut config = content.config();
            if fault == Fault::OtherConfig {
                config = config.replace("amd64", "wrong");
            }
            return send("200 OK", "application/octet-stream", "", &config);
        }
        (path, _) if path.starts_with("/v2/team/app/manifests/") => {
            asked.fetch_add(1, Ordering::Relaxed);
            fetched.fetch_add(usize::from(!head_only), Ordering::Relaxed);
        }
        _ => return send("404 Not Found", "application/json", "", r#"{"errors":[{"code":"NAME_UNKNOWN"}]}"#),
    }

    let honest = content.manifest();
    let named = |bytes: &str| format!("Docker-Content-Digest: {}\r\n", digest(bytes.as_bytes()));
    let another = Content { build: content.build + 1_000, ..content }.manifest();
    match content.fault {
        Fault::None | Fault::OtherConfig => send("200 OK", MANIFEST, &named(&honest), &honest),
        Fault::LyingHeader => send("200 OK", MANIFEST, &named(&another), &honest),
        // It does not even know that it lies: its header fits the bytes.
        Fault::OtherManifest => send("200 OK", MANIFEST, &named(&another), &another),
        Fault::WebPage => {
            send("200 OK", "text/html", "", "<!DOCTYPE html><title>Welcome to the hotel</title>")
        }
        Fault::NoJson => send("200 OK", MANIFEST, &named("{oops"), "{oops"),
        Fault::DeepJson => {
            let deep = "[".repeat(10_000) + &"]".repeat(10_000);
            send("200 OK", MANIFEST, &named(&deep), &deep)
        }
        Fault::NoConfig => {
            let bare = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "layers": [] }).to_string();
            send("200 OK", MANIFEST, &named(&bare), &bare)
        }
        Fault::InternalError => send("500 Internal Server Error", "text/plain", "", "out of everything"),
        Fault::TooManyRequests => {
            let body = r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit."}]}"#;
            send("429 Too Many Requests", "application/json", "", body)
        }
        Fault::BusyFor(seconds) => {
            send("429 Too Many Requests", "text/plain", &format!("Retry-After: {seconds}\r\n"), "busy")
        }
        Fault::BusyUntil(time) => {
            let time = DateTime::<Utc>::from(time).format("%a, %d %b %Y %H:%M:%S GMT");
            send("429 Too Many Requests", "text/plain", &format!("Retry-After: {time}\r\n"), "busy")
        }
        Fault::NotFound => {
            send("404 Not Found", "application/json", "", r#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#)
        }
        Fault::Unauthorized => {
            send("401 Unauthorized", "application/json", "", r#"{"errors":[{"code":"UNAUTHORIZED"}]}"#)
        }
        Fault::Denied => {
            let body =
                r#"{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}"#;
            send("403 Forbidden", "application/json", "", body)
        }
        Fault::DeniedAnew => {
            let request = asked.load(Ordering::Relaxed);
            let body =
                format!(r#"{{"errors":[{{"code":"DENIED","message":"denied (request {request})"}}]}}"#);
            send("403 Forbidden", "application/json", "", &body)
        }
        Fault::RedirectLoop => send("302 Found", "text/plain", &format!("Location: {path}\r\n"), ""),
        Fault::NoHttp => Ok(stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n")?),
        Fault::HangUp => Ok(()),
        Fault::Silent => {
            let silent = || shared.lock().expect("no one panics with the content").fault == Fault::Silent;
            while silent() && !stop.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(5));
            }
            Ok(())
        }
        Fault::CutShort => {
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: {MANIFEST}\r\nContent-Length: {}\r\n\r\n",
                honest.len()
            );
            Ok(stream.write_all((head + &honest[..honest.len() / 2]).as_bytes())?)
        }
        Fault::Endless => {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {MANIFEST}\r\nConnection: close\r\n\r\n[0");
            stream.write_all(head.as_bytes())?;
            stream.set_write_timeout(Some(Duration::from_secs(60)))?;
            while !stop.load(Ordering::Relaxed) {
                stream.write_all(&b",0".repeat(32 * 1024))?;
            }
            Ok(())
        }
    }
}
