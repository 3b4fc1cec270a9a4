//! HTTP as a registry client needs it: every answer bounded in size and time, every hop of a redirect guarded,
//! credentials only for the host they are meant for, a second try where one makes sense.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::{Bytes, BytesMut};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Method, StatusCode};
use url::Url;

use crate::config::{Config, Timeouts};
use crate::credentials::Secret;
use crate::failure::{self, Cause, Fault};
use crate::guard::{self, Resolver};
use crate::pace::{Pace, Turn};
use crate::scrub::scrub;
use crate::{go_net, limits};

/// What is asked.
#[derive(Clone, Copy)]
pub(crate) enum Ask<'a> {
    /// For a body.
    Get,
    /// For the headers alone.
    Head,
    /// For an answer to a form. The form holds secrets: it is sent to the URL's own host only.
    Post(&'a Secret),
}

impl Ask<'_> {
    fn method(self) -> Method {
        match self {
            Self::Get => Method::GET,
            Self::Head => Method::HEAD,
            Self::Post(_) => Method::POST,
        }
    }
}

/// One request.
pub(crate) struct Request<'a> {
    pub(crate) url: Url,
    pub(crate) accept: &'a str,
    /// The whole header value. Sent to `url`'s own host only.
    pub(crate) authorization: Option<&'a Secret>,
    pub(crate) ask: Ask<'a>,
    /// Do without certificates, and allow plain HTTP.
    pub(crate) insecure: bool,
    /// Longest body that is read if the status is a success, in bytes.
    pub(crate) limit: usize,
    /// What the body is, for the sentence that says it is too large.
    pub(crate) what: &'static str,
    /// Further tries after the first.
    pub(crate) retries: u32,
    /// Pays for the first request to its host, if it has not paid yet.
    pub(crate) turn: Option<&'a Turn>,
}

/// An answer of whatever status. `Debug` shows no body.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Where it came from in the end.
    pub(crate) url: Url,
}

impl Answer {
    /// The answer if its status is a success, else the fault it tells of, without the secrets it may repeat.
    pub(crate) fn success(self, secrets: &[&str]) -> Result<Self, Fault> {
        if self.status.is_success() {
            return Ok(self);
        }
        // Before the text is taken apart and after: escapes hide a secret from the first look.
        let body = scrub(&String::from_utf8_lossy(&self.body), secrets);
        let body = if secrets.is_empty() { &self.body } else { body.as_bytes() };
        let fault = failure::from_status(self.status, body).scrubbed(secrets.iter().copied());
        Err(self.with_retry_after(fault))
    }

    /// As [`Self::success`], for the answer to a HEAD, which has no body that could tell more.
    pub(crate) fn success_of_head(self) -> Result<Self, Fault> {
        if self.status.is_success() {
            return Ok(self);
        }
        let fault = match failure::from_status(self.status, b"") {
            // The words of the code's definition (distribution specification, "Error Codes").
            Fault { cause: Cause::RateLimited, .. } => {
                Fault::new(Cause::RateLimited, "toomanyrequests: too many requests")
            }
            fault => fault,
        };
        Err(self.with_retry_after(fault))
    }

    fn with_retry_after(&self, fault: Fault) -> Fault {
        Fault { retry_after: retry_after(&self.headers, SystemTime::now()), ..fault }
    }

    /// A header as text; `None` if absent or not ASCII.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} from {} ({} bytes)", self.status, go_net::shown(&self.url), self.body.len())
    }
}

/// Clients differ in what they trust. Each is made when first needed, because reading the system's
/// certificates takes time and a plain HTTP setup may have none.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Trust {
    guarded: bool,
    insecure: bool,
    ca_file: Option<PathBuf>,
}

/// The HTTP side of the importer.
pub(crate) struct Client {
    config: Arc<Config>,
    clients: Mutex<HashMap<Trust, reqwest::Client>>,
    pace: Pace,
}

impl Client {
    pub(crate) fn new(config: Arc<Config>) -> Self {
        Self { config, clients: Mutex::default(), pace: Pace::default() }
    }

    fn timeouts(&self) -> &Timeouts {
        &self.config.timeouts
    }

    /// Sends a request until it is answered, following redirects and trying again after temporary trouble.
    pub(crate) async fn send(&self, request: &Request<'_>) -> Result<Answer, Fault> {
        let mut tries = 0;
        loop {
            let result = self.follow(request).await;
            let pause = match &result {
                Ok(answer) => match answer.status {
                    StatusCode::TOO_MANY_REQUESTS
                    | StatusCode::BAD_GATEWAY
                    | StatusCode::SERVICE_UNAVAILABLE
                    | StatusCode::GATEWAY_TIMEOUT => self.pause_before_retry(answer),
                    _ => None,
                },
                Err(fault) if fault.cause == Cause::Flaky => Some(jitter(self.timeouts().retry_delay)),
                Err(_) => None,
            };
            match pause {
                Some(pause) if tries < request.retries => {
                    tries += 1;
                    tracing::debug!(
                        url = go_net::shown(&request.url),
                        tries,
                        ?pause,
                        "registry request is tried again"
                    );
                    tokio::time::sleep(pause).await;
                }
                _ => return result,
            }
        }
    }

    /// `None` if the registry wants more patience than a waiting person has: then the caller is told instead.
    fn pause_before_retry(&self, answer: &Answer) -> Option<Duration> {
        let asked = retry_after(&answer.headers, SystemTime::now());
        let busy = answer.status == StatusCode::TOO_MANY_REQUESTS;
        if let Some(asked) = asked.or(busy.then_some(limits::USUAL_HOLD)) {
            self.hold(&guard::authority(&answer.url), asked);
        }
        match asked {
            Some(asked) if asked > limits::LONGEST_RETRY_AFTER => None,
            Some(asked) => Some(asked),
            // Too many requests, and no word of when there will be fewer: another one is no help.
            None if busy => None,
            None => Some(jitter(self.timeouts().retry_delay)),
        }
    }

    /// A host is to be left alone for so long.
    pub(crate) fn hold(&self, host: &str, time: Duration) {
        self.pace.hold(host, self.config.rate(host), time, Instant::now());
    }

    /// How much longer a host wants to be left alone.
    pub(crate) fn held(&self, host: &str) -> Option<Duration> {
        self.pace.held(host, Instant::now())
    }

    /// A turn to ask a host, or how long until there is one.
    pub(crate) fn turn(&self, host: &str) -> Result<Turn, Duration> {
        self.pace.turn(host, self.config.rate(host), Instant::now())
    }

    /// Takes back a turn.
    pub(crate) fn give_back(&self, turn: Turn) {
        self.pace.give_back(turn);
    }

    async fn follow(&self, request: &Request<'_>) -> Result<Answer, Fault> {
        let mut url = request.url.clone();
        for _ in 0..=limits::REDIRECTS {
            let answer = self.hop(request, &url).await?;
            let location = match answer.status {
                StatusCode::MOVED_PERMANENTLY
                | StatusCode::FOUND
                | StatusCode::SEE_OTHER
                | StatusCode::TEMPORARY_REDIRECT
                | StatusCode::PERMANENT_REDIRECT => answer.headers.get(LOCATION),
                _ => None,
            };
            let Some(location) = location else { return Ok(answer) };
            if matches!(request.ask, Ask::Post(_)) {
                // The form holds a token for this service and for no other.
                return Err(wrong(&url, "the token service redirects, which is not followed"));
            }
            url = next_hop(&url, location, request.insecure).map_err(|words| wrong(&url, words))?;
        }
        Err(wrong(&url, &format!("stopped after {} redirects", limits::REDIRECTS)))
    }

    async fn hop(&self, request: &Request<'_>, url: &Url) -> Result<Answer, Fault> {
        let client = self.client_for(url, request.insecure)?;
        let method = request.ask.method();
        let host = guard::authority(url);
        self.pace.charge(&host, self.config.rate(&host), request.turn, Instant::now());
        let mut builder = client
            .request(method.clone(), url.clone())
            .timeout(self.timeouts().request)
            .header(ACCEPT, request.accept);
        // Whoever we are sent to must not see what we showed the first host.
        if let Some(authorization) = request.authorization
            && same_origin(&request.url, url)
        {
            builder = builder.header(AUTHORIZATION, sensitive(authorization.expose())?);
        }
        if let Ask::Post(form) = request.ask {
            builder = builder
                .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(form.expose().to_owned());
        }
        let mut response = match builder.send().await {
            Ok(response) => response,
            Err(e) => return Err(go_net::explain(method.as_str(), url, &e).await),
        };
        let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
        let mut body = BytesMut::new();
        let limit = if status.is_success() { request.limit } else { limits::ERROR_BODY_BYTES };
        loop {
            let chunk = match response.chunk().await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break,
                Err(e) => return Err(go_net::explain(method.as_str(), url, &e).await),
            };
            // The length header is only a promise; what counts is what comes.
            if body.len() + chunk.len() > limit {
                if status.is_success() {
                    let what = request.what;
                    return Err(wrong(url, &format!("the {what} is larger than {limit} bytes")));
                }
                body.extend_from_slice(&chunk[..limit - body.len()]);
                break;
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status, headers, body: body.freeze(), url: url.clone() })
    }

    fn client_for(&self, url: &Url, insecure: bool) -> Result<reqwest::Client, Fault> {
        let host = guard::authority(url);
        let guarded = !self.config.may_be_private(&host);
        if guarded {
            guard::check_literal(url).map_err(|e| Fault::new(Cause::Forbidden, e.to_string()))?;
        }
        let trust = Trust { guarded, insecure, ca_file: self.config.ca_file(&host) };
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&trust) {
            return Ok(client.clone());
        }
        let client = self.build(&trust).map_err(|why| Fault::new(Cause::Unreachable, why))?;
        clients.insert(trust, client.clone());
        Ok(client)
    }

    fn build(&self, trust: &Trust) -> Result<reqwest::Client, String> {
        // Whoever came first has chosen; all of this program chooses the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .user_agent(self.config.user_agent.as_str())
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .connect_timeout(self.timeouts().connect)
            .read_timeout(self.timeouts().read)
            .pool_idle_timeout(Duration::from_secs(30))
            .pool_max_idle_per_host(limits::IDLE_CONNECTIONS)
            .tls_danger_accept_invalid_certs(trust.insecure)
            .dns_resolver(Resolver { guarded: trust.guarded });
        if trust.guarded {
            // A proxy would resolve names for us, out of the guard's sight.
            builder = builder.no_proxy();
        }
        if let Some(file) = &trust.ca_file {
            let pem = std::fs::read(file)
                .map_err(|e| format!("the CA file {} cannot be read: {e}", file.display()))?;
            let certificates = reqwest::Certificate::from_pem_bundle(&pem)
                .map_err(|_| format!("the CA file {} is not a list of PEM certificates", file.display()))?;
            builder = builder.tls_certs_merge(certificates);
        }
        builder.build().map_err(|e| {
            let why = std::error::Error::source(&e).map_or_else(|| e.to_string(), ToString::to_string);
            format!("no TLS client could be made ({why}): are CA certificates installed?")
        })
    }
}

/// Where a redirect leads, or why it is not followed.
fn next_hop(url: &Url, location: &HeaderValue, insecure: bool) -> Result<Url, &'static str> {
    let next = location.to_str().ok().and_then(|location| url.join(location).ok());
    let Some(next) = next.filter(|next| matches!(next.scheme(), "https" | "http")) else {
        return Err("the registry redirects to what is not a web address");
    };
    if url.scheme() == "https" && next.scheme() == "http" && !insecure {
        return Err("the registry redirects from HTTPS to plain HTTP, which is not followed");
    }
    Ok(next)
}

fn wrong(url: &Url, words: &str) -> Fault {
    Fault::new(Cause::BadAnswer, go_net::in_request("GET", url, words))
}

fn same_origin(a: &Url, b: &Url) -> bool {
    a.scheme() == b.scheme() && a.host() == b.host() && a.port_or_known_default() == b.port_or_known_default()
}

fn sensitive(value: &str) -> Result<HeaderValue, Fault> {
    let mut value = HeaderValue::from_str(value).map_err(|_| {
        Fault::new(Cause::BadLogin, "the credentials for this registry hold characters that cannot be sent")
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// Half to one and a half times the delay, so that many clients do not come back together.
fn jitter(delay: Duration) -> Duration {
    let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.subsec_nanos());
    delay / 2 + delay.mul_f64(f64::from(nanos % 1_000) / 1_000.0)
}

/// `Retry-After`, in seconds or as a date (RFC 9110 §10.2.3).
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds.min(limits::LONGEST_HOLD.as_secs())));
    }
    let date = SystemTime::from(chrono::DateTime::parse_from_rfc2822(value).ok()?);
    Some(date.duration_since(now).unwrap_or_default().min(limits::LONGEST_HOLD))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_comes_in_two_forms() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_445_412_440); // 2015-10-21T07:27:20Z
        let check = |value: &str, seconds: Option<u64>| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_str(value).expect(value))]);
            assert_eq!(retry_after(&headers, now), seconds.map(Duration::from_secs), "{value}");
        };
        check("7", Some(7));
        check(" 120 ", Some(120));
        check("Wed, 21 Oct 2015 07:28:00 GMT", Some(40));
        check("Wed, 21 Oct 2015 07:00:00 GMT", Some(0)); // Over already.
        check("99999999999", Some(3600));
        check("soon", None);
        check("-1", None);
    }

    #[test]
    fn a_redirect_leads_to_the_web_and_never_out_of_https() {
        let check = |from: &str, location: &str, insecure: bool, expected: &str| {
            let from = Url::parse(from).expect("a URL");
            let location = HeaderValue::from_str(location).expect("a header");
            let found = next_hop(&from, &location, insecure);
            assert_eq!(found.as_ref().map_or_else(|words| *words, Url::as_str), expected);
        };
        let (plain, other) = (
            "the registry redirects from HTTPS to plain HTTP, which is not followed",
            "the registry redirects to what is not a web address",
        );
        check("https://a/v2/", "/x", false, "https://a/x");
        check("https://a/v2/", "https://b/x", false, "https://b/x");
        check("https://a/v2/", "//b/x", false, "https://b/x");
        check("https://a/v2/", "http://a/x", false, plain);
        check("https://a/v2/", "HTTP://b/x", false, plain);
        check("https://a/v2/", "http://b/x", true, "http://b/x");
        check("http://a/v2/", "http://b/x", false, "http://b/x");
        check("http://a/v2/", "file:///etc/passwd", true, other);
        check("http://a/v2/", "http://[", true, other);
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let check = |a: &str, b: &str, same: bool| {
            let url = |text: &str| Url::parse(text).expect("a URL");
            assert_eq!(same_origin(&url(a), &url(b)), same, "{a} {b}");
        };
        check("https://a/x", "https://a:443/y", true);
        check("https://a/x", "http://a/x", false);
        check("https://a/x", "https://a:444/x", false);
        check("https://a/x", "https://a.evil/x", false);
    }
}
