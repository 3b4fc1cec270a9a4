//! A registry that answers whatever the test says, over plain HTTP, and remembers what it was asked.

use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// One request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// `GET`, `HEAD`, `POST`.
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    /// The `Authorization` header, or nothing.
    pub(crate) authorization: String,
    /// Everything, for canaries.
    pub(crate) raw: String,
}

/// One answer.
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Body,
}

enum Body {
    Bytes(Vec<u8>),
    /// Claims another length than it has.
    Claims(usize, Vec<u8>),
    /// A byte, a pause, a byte, ...
    Drip(Duration),
    /// Goes on as long as someone reads.
    Endless,
    /// 2^30 spaces, announced or in chunks.
    Gigabyte {
        chunked: bool,
    },
    /// Nothing, not even a status, for a long time.
    Silence,
}

impl Reply {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: Body::Bytes(body.into()) }
    }

    pub(crate) fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self::new(200, body)
    }

    pub(crate) fn cut_short(body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        Self::claims(body.len() + 100, body)
    }

    /// A body that is announced with this length.
    pub(crate) fn claims(length: usize, body: impl Into<Vec<u8>>) -> Self {
        Self { body: Body::Claims(length, body.into()), ..Self::ok("") }
    }

    pub(crate) fn gigabyte(status: u16, chunked: bool) -> Self {
        Self { body: Body::Gigabyte { chunked }, ..Self::new(status, "") }
    }

    pub(crate) fn silence() -> Self {
        Self { body: Body::Silence, ..Self::ok("") }
    }

    pub(crate) fn drip(pause: Duration) -> Self {
        Self { body: Body::Drip(pause), ..Self::ok("") }
    }

    pub(crate) fn endless() -> Self {
        Self { body: Body::Endless, ..Self::ok("") }
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

type Handler = dyn Fn(&Asked) -> Reply + Send + Sync;

/// A running fake; ended with the test.
pub(crate) struct Fake {
    pub(crate) host: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: JoinHandle<()>,
}

/// Lets somebody listen to everything that is logged, before anything is. What is first logged while nobody listens can stay
/// unheard for the whole process, also for the one test that looks at it.
pub(crate) fn hear_everything() {
    static HEARD: Once = Once::new();
    HEARD.call_once(|| {
        let everything = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE);
        let nobody = everything.with_writer(std::io::sink).finish();
        tracing::subscriber::set_global_default(nobody).expect("nobody else listens");
    });
}

impl Fake {
    pub(crate) async fn start(handler: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        hear_everything();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let host = listener.local_addr().expect("an address").to_string();
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let handler: Arc<Handler> = Arc::new(handler);
        let seen = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&handler), Arc::clone(&seen)));
            }
        });
        Self { host, asked, task }
    }

    /// All requests so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("no test panicked here").clone()
    }

    /// How often a path was asked for.
    pub(crate) fn count(&self, path: &str) -> usize {
        self.asked().iter().filter(|asked| asked.target.contains(path)).count()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One request, one answer, end of connection. Errors mean that the client has gone, which is its right.
async fn serve(mut stream: TcpStream, handler: Arc<Handler>, seen: Arc<Mutex<Vec<Asked>>>) {
    let mut raw = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer).await {
            Ok(n) if n > 0 => raw.extend_from_slice(&buffer[..n]),
            _ => return,
        }
        if raw[0] == 0x16 {
            // A TLS handshake. Say what Go's server says.
            let _ = stream.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n").await;
            return;
        }
        let text = String::from_utf8_lossy(&raw);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let header = |name: &str| {
            let line = head.lines().find(|l| l.to_ascii_lowercase().starts_with(&format!("{name}:")));
            line.and_then(|l| l.split_once(':')).map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        if body.len() >= header("content-length").parse().unwrap_or(0) {
            let asked = Asked {
                method: head.split(' ').next().unwrap_or_default().to_owned(),
                target: head.split(' ').nth(1).unwrap_or_default().to_owned(),
                authorization: header("authorization"),
                raw: text.clone().into_owned(),
            };
            seen.lock().expect("no test panicked here").push(asked.clone());
            let _ = answer(&mut stream, handler(&asked), asked.method == "HEAD").await;
            return;
        }
    }
}

async fn answer(stream: &mut TcpStream, reply: Reply, head_only: bool) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {} X\r\nConnection: close\r\n", reply.status);
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    match reply.body {
        Body::Bytes(bytes) => {
            let head = format!("{head}Content-Length: {}\r\n\r\n", bytes.len());
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(if head_only { b"" } else { &bytes }).await
        }
        Body::Claims(length, bytes) => {
            let head = format!("{head}Content-Length: {length}\r\n\r\n");
            stream.write_all(&[head.as_bytes(), &bytes].concat()).await
        }
        Body::Gigabyte { chunked } => {
            const PIECE: usize = 1 << 16;
            let (length, mut piece) = if chunked {
                ("Transfer-Encoding: chunked".to_owned(), format!("{PIECE:x}\r\n").into_bytes())
            } else {
                (format!("Content-Length: {}", 1 << 30), Vec::new())
            };
            piece.extend([b' '; PIECE]);
            piece.extend(if chunked { b"\r\n".as_slice() } else { b"" });
            stream.write_all(format!("{head}{length}\r\n\r\n").as_bytes()).await?;
            for _ in 0..(1 << 30) / PIECE {
                stream.write_all(&piece).await?;
            }
            stream.write_all(if chunked { b"0\r\n\r\n" } else { b"" }).await
        }
        Body::Silence => {
            tokio::time::sleep(Duration::from_secs(600)).await;
            Ok(())
        }
        Body::Drip(pause) => {
            stream.write_all(format!("{head}\r\n").as_bytes()).await?;
            loop {
                stream.write_all(b" ").await?;
                tokio::time::sleep(pause).await;
            }
        }
        Body::Endless => {
            stream.write_all(format!("{head}\r\n").as_bytes()).await?;
            loop {
                stream.write_all(&[b' '; 65_536]).await?;
            }
        }
    }
}

/// The digest of some bytes.
pub(crate) fn sha(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

pub(crate) const CONFIG: &str = r#"{"os":"linux","architecture":"amd64"}"#;

/// The manifest of an image with the configuration [`CONFIG`] and no layers.
pub(crate) fn manifest() -> String {
    manifest_of(CONFIG)
}

/// The manifest of an image with this configuration and no layers.
pub(crate) fn manifest_of(config: &str) -> String {
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{{"digest":"{}","size":{}}},"layers":[]}}"#,
        sha(config.as_bytes()),
        config.len()
    )
}

/// An index with one entry.
pub(crate) fn index_of(manifest: &str) -> String {
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{{"digest":"{}","size":{},"mediaType":"m"}}]}}"#,
        sha(manifest.as_bytes()),
        manifest.len()
    )
}

/// Serves the image [`manifest`] properly.
pub(crate) fn good(asked: &Asked) -> Reply {
    match asked.target.as_str() {
        "/v2/" => Reply::ok("{}"),
        target if target.contains("/manifests/") => {
            Reply::ok(manifest()).header("Content-Type", OCI_MANIFEST)
        }
        target if target.contains("/blobs/") => Reply::ok(CONFIG),
        _ => Reply::new(404, r#"{"errors":[{"code":"NAME_UNKNOWN"}]}"#),
    }
}
