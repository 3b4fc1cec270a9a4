//! How a registry is talked into answering: the ping and its challenge, Basic and Bearer (distribution
//! specification, "Authentication"; RFC 6750).
//!
//! A [`Connection`] belongs to one repository of one source. Credentials are tried in order, at last none; what
//! has worked is kept for the connection's life.

use std::collections::HashMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use reqwest::header::HeaderMap;
use serde::Deserialize;
use url::Url;

use crate::client::{Answer, Ask, Client, Request};
use crate::credentials::{Credential, Secret};
use crate::failure::{Cause, Fault};
use crate::memory::Memory;
use crate::pace::Turn;
use crate::registry::Source;
use crate::{go_net, limits};

/// What a registry asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// Nothing.
    Open,
    /// A name and a password.
    Basic,
    /// A token from somewhere.
    Bearer { realm: String, service: String },
}

/// What a ping found out.
#[derive(Debug, Clone)]
struct Ping {
    /// `https://host/`, or `http://host/` after an insecure fallback.
    base: Url,
    challenge: Challenge,
}

/// What is remembered between connections. Short-lived on purpose: registries move. A ping is sent without
/// credentials, so its answer is anybody's; a token is only for whoever could have asked for it.
#[derive(Default)]
pub(crate) struct Known {
    pings: Memory<(String, bool), Ping>,
    tokens: Memory<TokenKey, Secret>,
}

#[derive(PartialEq, Eq, Hash)]
struct TokenKey {
    /// The registry that takes the token: another that names the same service is shown none of this one's.
    host: String,
    realm: String,
    service: String,
    scope: String,
    /// What it was got with: of two namespaces, each has its own.
    credential: Credential,
}

/// One repository of one source, with the credentials that may open it.
pub(crate) struct Connection<'a> {
    client: &'a Client,
    known: &'a Known,
    source: &'a Source,
    ping: Ping,
    /// What may be tried, in order; the last is nothing at all.
    credentials: Vec<Credential>,
    /// Which of them is tried now.
    current: usize,
    /// Every `Authorization` header of this connection: whatever comes back is told without them.
    spoken: Vec<Secret>,
    /// Background work has a turn, and comes back by itself: for it, nothing is tried twice.
    turn: Option<&'a Turn>,
}

impl<'a> Connection<'a> {
    /// Pings the source (spec §3.4, step 1). `credentials` are tried in order, and none at last.
    pub(crate) async fn open(
        client: &'a Client,
        known: &'a Known,
        source: &'a Source,
        mut credentials: Vec<Credential>,
        turn: Option<&'a Turn>,
    ) -> Result<Self, Fault> {
        let key = (source.host.clone(), source.insecure);
        let ping = match known.pings.recall(&key) {
            Some(ping) => ping,
            None => {
                let found = ping(client, source, turn).await?;
                known.pings.remember(key, found.clone(), limits::PING_TTL);
                found
            }
        };
        credentials.push(Credential::Anonymous);
        Ok(Self { client, known, source, ping, credentials, current: 0, spoken: Vec::new(), turn })
    }

    /// Fetches `path` below `/v2/<repository>/`.
    pub(crate) async fn get(
        &mut self,
        path: &str,
        accept: &str,
        what: &'static str,
        limit: usize,
    ) -> Result<Answer, Fault> {
        self.get_url(self.url(path)?, accept, what, limit).await
    }

    /// Asks for the headers of `path` below `/v2/<repository>/`.
    pub(crate) async fn head(&mut self, path: &str, accept: &str) -> Result<Answer, Fault> {
        self.ask(self.url(path)?, Ask::Head, accept, "answer", 0).await
    }

    /// Fetches a URL of this registry.
    pub(crate) async fn get_url(
        &mut self,
        url: Url,
        accept: &str,
        what: &'static str,
        limit: usize,
    ) -> Result<Answer, Fault> {
        self.ask(url, Ask::Get, accept, what, limit).await
    }

    fn url(&self, path: &str) -> Result<Url, Fault> {
        let url = self.ping.base.join(&format!("v2/{}/{path}", self.source.repository));
        url.map_err(|e| Fault::new(Cause::BadAnswer, format!("{path} makes no address: {e}")))
    }

    /// Asks, with one credential after the other.
    async fn ask(
        &mut self,
        url: Url,
        ask: Ask<'_>,
        accept: &str,
        what: &'static str,
        limit: usize,
    ) -> Result<Answer, Fault> {
        let mut first_refusal: Option<Fault> = None;
        loop {
            let fault = match self.try_once(&url, ask, accept, what, limit).await {
                Ok(answer) => return Ok(answer),
                Err(fault) => fault,
            };
            let fault = self.scrubbed(fault);
            if self.current + 1 == self.credentials.len() {
                // To strangers many registries deny what they have: the first complaint says more.
                return Err(first_refusal.unwrap_or(fault));
            }
            if !fault.is_refusal() {
                return Err(fault);
            }
            first_refusal.get_or_insert(fault);
            self.current += 1;
        }
    }

    /// A fault without the secrets that the registry may have repeated in it.
    pub(crate) fn scrubbed(&self, fault: Fault) -> Fault {
        fault.scrubbed(self.secrets())
    }

    fn secrets(&self) -> Vec<&str> {
        let held = self.credentials.iter().flat_map(Credential::secrets);
        held.chain(self.spoken.iter().filter_map(spoken)).collect()
    }

    async fn try_once(
        &mut self,
        url: &Url,
        ask: Ask<'_>,
        accept: &str,
        what: &'static str,
        limit: usize,
    ) -> Result<Answer, Fault> {
        let mut fresh = false;
        loop {
            let (authorization, remembered) = self.authorization(fresh).await?;
            let request = Request {
                url: url.clone(),
                accept,
                authorization: authorization.as_ref(),
                ask,
                insecure: self.source.insecure,
                limit,
                what,
                retries: retries(self.turn),
                turn: self.turn,
            };
            let answer = self.client.send(&request).await;
            let said = authorization.filter(|header| !self.spoken.contains(header));
            self.spoken.extend(said);
            let answer = answer?;
            if answer.status == reqwest::StatusCode::UNAUTHORIZED && !fresh {
                // A remembered token may have run out, and some registries tell only here what they want.
                let challenge = Challenge::of(&answer.headers);
                let news = self.ping.challenge == Challenge::Open && challenge != Challenge::Open;
                if news {
                    self.ping.challenge = challenge;
                }
                if news || remembered {
                    fresh = true;
                    continue;
                }
            }
            return match ask {
                Ask::Head => answer.success_of_head(),
                Ask::Get | Ask::Post(_) => answer.success(&self.secrets()),
            };
        }
    }

    /// The `Authorization` header for the current credential, and whether it is from memory.
    async fn authorization(&self, fresh: bool) -> Result<(Option<Secret>, bool), Fault> {
        let credential = &self.credentials[self.current];
        match (&self.ping.challenge, credential) {
            (Challenge::Basic, Credential::Password { user, password }) => {
                Ok((Some(basic(user, password)), false))
            }
            (Challenge::Open, _) | (Challenge::Basic, Credential::Anonymous | Credential::Identity(_)) => {
                Ok((None, false))
            }
            (Challenge::Bearer { realm, service }, credential) => {
                let key = TokenKey {
                    host: self.source.host.clone(),
                    realm: realm.clone(),
                    service: service.clone(),
                    scope: format!("repository:{}:pull", self.source.repository),
                    credential: credential.clone(),
                };
                if !fresh && let Some(token) = self.known.tokens.recall(&key) {
                    return Ok((Some(token), true));
                }
                let (token, ttl) = self.fetch_token(&key).await?;
                let token = Secret::new(format!("Bearer {}", token.expose()));
                self.known.tokens.remember(key, token.clone(), ttl);
                Ok((Some(token), false))
            }
        }
    }

    /// Asks the token service: with a refresh token by POST (OAuth2), else by GET.
    async fn fetch_token(&self, key: &TokenKey) -> Result<(Secret, Duration), Fault> {
        let mut url = Url::parse(&key.realm)
            .ok()
            .filter(|url| matches!(url.scheme(), "https" | "http"))
            .ok_or_else(|| Fault::new(Cause::BadAnswer, "the registry's token service is no web address"))?;
        if url.scheme() == "http" && !self.source.insecure {
            return Err(Fault::new(
                Cause::BadAnswer,
                format!(
                    "the registry's token service {} does not use HTTPS",
                    url.origin().ascii_serialization()
                ),
            ));
        }
        let mut query = vec![("service", key.service.as_str()), ("scope", key.scope.as_str())];
        let (authorization, form) = match &key.credential {
            Credential::Anonymous => (None, None),
            Credential::Password { user, password } => (Some(basic(user, password)), None),
            Credential::Identity(token) => {
                query.extend([
                    ("grant_type", "refresh_token"),
                    ("client_id", "tagtrail"),
                    ("refresh_token", token.expose()),
                ]);
                let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&query).finish();
                (None, Some(Secret::new(form)))
            }
        };
        if form.is_none() {
            url.query_pairs_mut().extend_pairs(&query);
        }
        let request = Request {
            url,
            accept: "application/json",
            authorization: authorization.as_ref(),
            ask: form.as_ref().map_or(Ask::Get, Ask::Post),
            insecure: self.source.insecure,
            limit: limits::TOKEN_BYTES,
            what: "token",
            retries: retries(self.turn),
            turn: self.turn,
        };
        let secrets: Vec<_> =
            key.credential.secrets().chain(authorization.as_ref().and_then(spoken)).collect();
        let answer =
            self.client.send(&request).await.map_err(|fault| fault.scrubbed(secrets.iter().copied()))?;
        let answer = answer.success(&secrets).inspect_err(|fault| {
            if fault.cause == Cause::RateLimited {
                // Without its token service the registry cannot be asked either: not for any of its repositories.
                let time = fault.retry_after.unwrap_or(limits::USUAL_HOLD);
                self.client.hold(&self.source.host, time);
            }
        })?;
        parse_token(&answer.body)
    }

    /// The host that answers, for cross-checks of links.
    pub(crate) fn base(&self) -> &Url {
        &self.ping.base
    }
}

fn retries(turn: Option<&Turn>) -> u32 {
    if turn.is_some() { 0 } else { limits::RETRIES }
}

/// What an `Authorization` header gives away: the part behind the scheme.
fn spoken(authorization: &Secret) -> Option<&str> {
    authorization.expose().split_once(' ').map(|(_, secret)| secret)
}

fn basic(user: &str, password: &Secret) -> Secret {
    Secret::new(format!("Basic {}", BASE64.encode(format!("{user}:{}", password.expose()))))
}

pub(crate) fn parse_token(body: &[u8]) -> Result<(Secret, Duration), Fault> {
    #[derive(Deserialize)]
    struct Token {
        #[serde(default)]
        token: String,
        #[serde(default)]
        access_token: String,
        /// Seconds; 60 unless told (token specification).
        #[serde(default)]
        expires_in: Option<u64>,
    }
    // serde's message is not repeated: it may quote the token.
    let parsed: Token = serde_json::from_slice(body).map_err(|_| {
        Fault::new(Cause::BadAnswer, "the registry's token service sent something that is no token")
    })?;
    let token = if parsed.token.is_empty() { parsed.access_token } else { parsed.token };
    if token.is_empty() {
        let text = "authorization server did not include a token in the response";
        return Err(Fault::new(Cause::BadAnswer, text));
    }
    // A little early, so that it does not run out on the way.
    let ttl = Duration::from_secs(parsed.expires_in.unwrap_or(60).clamp(10, 3600) - 5);
    Ok((Secret::new(token), ttl))
}

/// `GET /v2/`, over HTTPS, and over HTTP if that fails and insecure is allowed.
async fn ping(client: &Client, source: &Source, turn: Option<&Turn>) -> Result<Ping, Fault> {
    match ping_base(client, source, turn, "https").await {
        Err(Fault { cause: Cause::Unreachable | Cause::Flaky | Cause::HttpOnly, .. }) if source.insecure => {
            ping_base(client, source, turn, "http").await
        }
        result => result,
    }
}

async fn ping_base(
    client: &Client,
    source: &Source,
    turn: Option<&Turn>,
    scheme: &str,
) -> Result<Ping, Fault> {
    let base = format!("{scheme}://{}/", source.host);
    let base = Url::parse(&base)
        .map_err(|e| Fault::new(Cause::Unreachable, format!("{:?} is not an address: {e}", source.host)))?;
    let request = Request {
        url: base.join("v2/").expect("a constant path joins any base"),
        accept: "*/*",
        authorization: None,
        ask: Ask::Get,
        insecure: source.insecure,
        limit: limits::ERROR_BODY_BYTES,
        what: "answer",
        // Over HTTPS an insecure registry may be silent because it speaks HTTP: do not insist.
        retries: if source.insecure && scheme == "https" { 0 } else { retries(turn) },
        turn,
    };
    let answer = client.send(&request).await?;
    let speaks_v2 = answer.status.is_success()
        || matches!(answer.status.as_u16(), 401 | 403)
        || answer.header("docker-distribution-api-version").is_some();
    if !speaks_v2 {
        let endpoint = base.as_str().trim_end_matches('/');
        let status = answer.status;
        let text = format!("endpoint {endpoint:?} does not support v2 API (got {status})");
        // The status still says more than "no": busy is busy.
        return Err(match answer.success(&[]) {
            Err(fault) if matches!(fault.cause, Cause::RateLimited | Cause::Unavailable) => {
                Fault { text, ..fault }
            }
            _ => Fault::new(Cause::BadAnswer, text),
        });
    }
    tracing::debug!(host = %source.host, scheme, status = %answer.status, "registry answers");
    Ok(Ping { challenge: Challenge::of(&answer.headers), base })
}

impl Challenge {
    /// Reads `WWW-Authenticate`. Bearer wins over Basic, as with Docker.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut found = Self::Open;
        for value in headers.get_all("www-authenticate") {
            let Ok(text) = value.to_str() else { continue };
            let (scheme, parameters) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
            match scheme.to_ascii_lowercase().as_str() {
                "bearer" => {
                    let mut parameters = parse_parameters(parameters);
                    let mut take = |name: &str| parameters.remove(name).unwrap_or_default();
                    return Self::Bearer { realm: take("realm"), service: take("service") };
                }
                "basic" => found = Self::Basic,
                _ => {}
            }
        }
        found
    }
}

/// `key="value", key=value`, with backslash escapes in quotes (RFC 9110 §11.2).
fn parse_parameters(text: &str) -> HashMap<String, String> {
    let mut parameters = HashMap::new();
    let mut chars = text.chars().peekable();
    loop {
        while chars.next_if(|c| *c == ',' || c.is_whitespace()).is_some() {}
        let mut key = String::new();
        while let Some(c) = chars.next_if(|c| *c != '=' && *c != ',') {
            key.push(c.to_ascii_lowercase());
        }
        if chars.next_if_eq(&'=').is_none() {
            if chars.peek().is_none() {
                return parameters;
            }
            continue; // A word without a value.
        }
        let mut value = String::new();
        if chars.next_if_eq(&'"').is_some() {
            while let Some(c) = chars.next() {
                match c {
                    '"' => break,
                    '\\' => value.extend(chars.next()),
                    c => value.push(c),
                }
            }
        } else {
            while let Some(c) = chars.next_if(|c| *c != ',') {
                value.push(c);
            }
        }
        parameters.insert(key.trim().to_owned(), value.trim().to_owned());
    }
}

/// Puts a fault of a request on its URL, as Go does for what happens below HTTP.
pub(crate) fn on(url: &Url, cause: Cause, words: &str) -> Fault {
    Fault::new(cause, go_net::in_request("GET", url, words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read_in_all_their_spellings() {
        let check = |text: &str, expected: &[(&str, &str)]| {
            let mut found: Vec<_> = parse_parameters(text).into_iter().collect();
            found.sort();
            let expected: Vec<_> = expected.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            assert_eq!(found, expected, "{text}");
        };
        check(
            r#"realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#,
            &[
                ("realm", "https://auth.docker.io/token"),
                ("scope", "repository:a/b:pull,push"),
                ("service", "registry.docker.io"),
            ],
        );
        check(r#"Realm=plain , service="a \"b\"""#, &[("realm", "plain"), ("service", "a \"b\"")]);
        check(r#"realm="unended"#, &[("realm", "unended")]);
        check("", &[]);
        check(",,junk,=,", &[("", "")]);
    }

    #[test]
    fn a_token_has_two_names_and_a_life() {
        let check = |body: &str, token: &str, seconds: u64| {
            let (found, ttl) = parse_token(body.as_bytes()).expect(body);
            assert_eq!((found.expose(), ttl.as_secs()), (token, seconds), "{body}");
        };
        check(r#"{"token":"a"}"#, "a", 55);
        check(r#"{"access_token":"b","expires_in":300}"#, "b", 295);
        check(r#"{"token":"c","expires_in":0}"#, "c", 5);
        check(r#"{"token":"d","expires_in":99999999999}"#, "d", 3595);
        assert!(parse_token(b"{}").is_err());
        let garbage = parse_token(br#"{"token": 5, "secret": "canary"}"#).expect_err("no token");
        assert!(!garbage.text.contains("canary"));
    }
}
