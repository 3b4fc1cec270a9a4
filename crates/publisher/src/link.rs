//! The connection, and what becomes of it.
//!
//! The client connects again by itself, for ever. What was on its way when a connection broke is neither sent again nor
//! answered: whoever waits for an acknowledgement has to hear of the break, and ask the stream what arrived.

use std::path::Path;
use std::time::{Duration, Instant};

use async_nats::jetstream::{self, Context};
use async_nats::{Auth, AuthError, Client, ConnectOptions, Event};
use nkeys::KeyPair;
use tokio::sync::watch;

use crate::Trouble;
use crate::settings::Connection;
use crate::stream::told;

/// How long a request, and an acknowledgement, may take.
const ANSWER: Duration = Duration::from_secs(5);
/// How often the broker is asked whether it is there.
const PING: Duration = Duration::from_secs(15);

/// How often a connection that broke is tried again where it is wanted for one piece of work. The pauses grow to four seconds.
const RECONNECTS: usize = 20;
/// For how long what the broker said may explain what does not work.
const RECENT: Duration = Duration::from_secs(20);

/// How the connection is.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Line {
    /// Whether there is one.
    pub(crate) up: bool,
    /// How often one has broken.
    pub(crate) breaks: u64,
    /// What was last said to be wrong, and when.
    pub(crate) error: Option<(String, Instant)>,
}

/// A connection. It ends when this is dropped; one that is being tried for ever ends only after it has come about.
pub(crate) struct Link {
    client: Client,
    /// Where it goes, without secrets.
    pub(crate) url: String,
    pub(crate) jetstream: Context,
    pub(crate) line: watch::Receiver<Line>,
}

impl Link {
    /// Begins to connect, and goes on for as long as it takes.
    ///
    /// # Errors
    /// What is wrong with a file that is named in the settings.
    pub(crate) async fn open(connection: &Connection) -> Result<Self, String> {
        Self::connect(connection, |options| options.retry_on_initial_connect()).await
    }

    /// Connects now, or not at all; a connection that breaks later is tried again for about a minute. The client of one that
    /// cannot connect lives on without its owner, and is not to be left behind.
    ///
    /// # Errors
    /// What is wrong with a file, or that nobody answers.
    pub(crate) async fn open_once(connection: &Connection) -> Result<Self, String> {
        Self::connect(connection, |options| options.max_reconnects(RECONNECTS)).await
    }

    async fn connect(
        connection: &Connection,
        how: impl FnOnce(ConnectOptions) -> ConnectOptions,
    ) -> Result<Self, String> {
        let (says, line) = watch::channel(Line::default());
        let options = how(options(connection)?)
            .name("tagtrail")
            .ping_interval(PING)
            .request_timeout(Some(ANSWER))
            .event_callback(move |event| {
                says.send_modify(|line| line.hear(&event));
                std::future::ready(())
            });
        // Without secrets: the client tells its own log of the addresses.
        let addresses: Vec<String> = connection.addresses().map(|(address, _)| address).collect();
        let client = options.connect(addresses).await.map_err(|error| told(&error))?;
        let jetstream =
            jetstream::ContextBuilder::new().timeout(ANSWER).ack_timeout(ANSWER).build(client.clone());
        Ok(Self { client, url: connection.shown_url(), jetstream, line })
    }

    /// Waits until there is a connection.
    pub(crate) async fn up(&self) {
        // An error means that the client has ended, with its last holder, which is us.
        self.line.clone().wait_for(|line| line.up).await.ok();
    }

    /// Waits until a connection breaks that stood when there had been `breaks`.
    pub(crate) async fn broken(&self, breaks: u64) {
        self.line.clone().wait_for(|line| line.breaks > breaks).await.ok();
    }

    /// How often a connection has broken.
    pub(crate) fn breaks(&self) -> u64 {
        self.line.borrow().breaks
    }

    /// That a connection broke, as trouble.
    pub(crate) fn broke(&self) -> Trouble {
        Trouble::Broken(format!("the connection broke{}", self.error()))
    }

    /// Trouble with what was last said to be wrong: who may not ask is told so beside the answer that does not come.
    pub(crate) fn explained(&self, trouble: Trouble) -> Trouble {
        match trouble {
            Trouble::Broken(why) => Trouble::Broken(why + &self.error()),
            refused @ Trouble::Refused(_) => refused,
        }
    }

    /// What was last said to be wrong, to stand behind a sentence. Empty: nothing was.
    pub(crate) fn error(&self) -> String {
        match &self.line.borrow().error {
            Some((error, at)) if at.elapsed() < RECENT => format!(": {error}"),
            _ => String::new(),
        }
    }

    /// The most bytes that the broker takes in one message.
    pub(crate) fn max_payload(&self) -> usize {
        self.client.server_info().max_payload
    }
}

impl Line {
    fn hear(&mut self, event: &Event) {
        match event {
            Event::Connected => {
                self.up = true;
                self.error = None;
            }
            Event::Disconnected | Event::Closed => {
                self.up = false;
                self.breaks += 1;
            }
            Event::ServerError(error) => self.error = Some((error.to_string(), Instant::now())),
            Event::ClientError(error) => {
                let text = error.to_string();
                let said = match text.strip_prefix("nats: ").unwrap_or(&text) {
                    "IO error" => "nobody answers there, or the answer broke off",
                    other => other,
                };
                self.error = Some((said.to_owned(), Instant::now()));
            }
            Event::LameDuckMode | Event::Draining | Event::SlowConsumer(_) => {}
        }
    }
}

fn options(connection: &Connection) -> Result<ConnectOptions, String> {
    let mut options = match &connection.credentials_file {
        Some(file) => {
            credentials(file)?;
            let file = file.clone();
            // Read again for each connection: credentials are renewed in place.
            ConnectOptions::with_auth_callback(move |nonce| {
                std::future::ready(signed(&file, &nonce).map_err(AuthError::new))
            })
        }
        None => ConnectOptions::new(),
    };
    let named = connection.addresses().find_map(|(_, named)| named);
    let in_address = |text: Option<&str>| text.map(str::to_owned);
    let user = connection.user.clone().or(named.as_ref().and_then(|named| in_address(named.username())));
    let password =
        connection.password.clone().or(named.as_ref().and_then(|named| in_address(named.password())));
    match (user, password) {
        (Some(user), Some(password)) => options = options.user_and_password(user, password),
        // NATS' own way to write a token into an address.
        (Some(token), None) => options = options.token(token),
        (None, _) => {}
    }
    if let Some(token) = &connection.token {
        options = options.token(token.clone());
    }
    if let Some(file) = &connection.ca_file {
        options = options.add_root_certificates(file.clone()).require_tls(true);
    }
    if let (Some(cert), Some(key)) = (&connection.client_cert_file, &connection.client_key_file) {
        options = options.add_client_certificate(cert.clone(), key.clone()).require_tls(true);
    }
    Ok(options)
}

/// Who we are by a credentials file, with the broker's challenge signed.
fn signed(file: &Path, nonce: &[u8]) -> Result<Auth, String> {
    let (token, key) = credentials(file)?;
    let mut auth = Auth::new();
    auth.signature = Some(key.sign(nonce).map_err(|error| format!("{}: {error}", file.display()))?);
    auth.jwt = Some(token);
    Ok(auth)
}

/// The token and the key in a credentials file: the lines after those that announce them (NATS' own format).
fn credentials(file: &Path) -> Result<(String, KeyPair), String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let after = |title: &str| {
        let mut lines = text.lines().skip_while(|line| !(line.starts_with("---") && line.contains(title)));
        lines.nth(1).map(str::trim)
    };
    let (token, seed) = (after("BEGIN NATS USER JWT"), after("BEGIN USER NKEY SEED"));
    let key = seed.and_then(|seed| KeyPair::from_seed(seed).ok());
    let missing = || format!("{} holds no user JWT and seed, as `nsc` writes them", file.display());
    Ok((token.ok_or_else(missing)?.to_owned(), key.ok_or_else(missing)?))
}
