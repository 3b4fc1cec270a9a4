//! A host that answers as a test says, over plain HTTP, and writes down every byte it is sent: what it has not been sent, it
//! does not know.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use anyhow::Result;

/// Longest body that is read, in bytes. No request of a test has a longer one.
const BODY_BYTES: u64 = 1 << 20;

/// One request as it came.
#[derive(Clone, Default, Debug)]
pub struct Request {
    /// `GET`, `HEAD`, `POST`.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// The `Authorization` header, or nothing.
    pub authorization: String,
    /// The whole of it, headers and body.
    pub raw: String,
}

/// One answer.
#[derive(Clone, Debug)]
pub struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
}

impl Answer {
    /// An answer without further headers.
    pub fn new(status: u16, body: impl Into<String>) -> Answer {
        Answer { status, headers: Vec::new(), body: body.into() }
    }

    /// The same with one more header.
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Answer {
        self.headers.push((name, value.into()));
        self
    }

    /// A redirection.
    pub fn redirect(to: impl Into<String>) -> Answer {
        Answer::new(307, "").header("Location", to)
    }
}

type Answers = dyn Fn(&Request) -> Answer + Send + Sync;

/// A running host. It ends when dropped.
pub struct Host {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Request>>>,
    stopped: Arc<AtomicBool>,
}

impl Host {
    /// Starts a host on a free port of 127.0.0.1.
    pub fn start(answers: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Result<Host> {
        Host::start_at("127.0.0.1:0", answers)
    }

    /// Starts a host at an address such as `[::1]:0`.
    pub fn start_at(
        address: &str,
        answers: impl Fn(&Request) -> Answer + Send + Sync + 'static,
    ) -> Result<Host> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let (asked, stopped) = (Arc::<Mutex<Vec<Request>>>::default(), Arc::<AtomicBool>::default());
        let answers: Arc<Answers> = Arc::new(answers);
        let (page, stop) = (Arc::clone(&asked), Arc::clone(&stopped));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let (page, answers) = (Arc::clone(&page), Arc::clone(&answers));
                // A client that goes away in the middle of an answer is no failure of ours.
                thread::spawn(move || drop(serve(stream, &page, &*answers)));
            }
        });
        Ok(Host { address, asked, stopped })
    }

    /// `127.0.0.1:PORT`, as it stands before the first slash of a reference.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// All that it was sent, in order; a connection over which nothing sensible came, such as the beginning of a TLS
    /// session, is there as well.
    pub fn asked(&self) -> Vec<Request> {
        self.asked.lock().expect("no one panics with the page").clone()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        // Wakes the listener, so that it sees the flag.
        let _ = TcpStream::connect(self.address);
    }
}

/// Reads one request, writes it down, and answers it.
fn serve(mut stream: TcpStream, page: &Mutex<Vec<Request>>, answers: &Answers) -> Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let write_down = |request: Request| page.lock().expect("no one panics with the page").push(request);
    let start = reader.fill_buf()?;
    if !start.first().is_some_and(u8::is_ascii_uppercase) {
        write_down(Request { raw: String::from_utf8_lossy(start).into_owned(), ..Request::default() });
        return Ok(());
    }
    let mut request = Request::default();
    reader.read_line(&mut request.raw)?;
    let mut words = request.raw.split(' ').map(str::to_owned);
    (request.method, request.target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        request.raw += &line;
        match line.trim_end().split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("authorization") => {
                request.authorization = value.to_owned();
            }
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.parse()?,
            Some(_) => {}
            None => break,
        }
    }
    let mut body = Vec::new();
    reader.take(BODY_BYTES.min(length)).read_to_end(&mut body)?;
    request.raw += &String::from_utf8_lossy(&body);
    let answer = answers(&request);
    let head_only = request.method == "HEAD";
    write_down(request);

    let mut text = format!("HTTP/1.1 {} Whatever\r\nConnection: close\r\n", answer.status);
    for (name, value) in &answer.headers {
        text += &format!("{name}: {value}\r\n");
    }
    text += &format!("Content-Length: {}\r\n\r\n", answer.body.len());
    if !head_only {
        text += &answer.body;
    }
    stream.write_all(text.as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    Ok(())
}
