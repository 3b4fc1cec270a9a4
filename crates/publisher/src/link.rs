//! The connection, and what becomes of it.
//!
//! The client connects again by itself, for ever. What was on its way when a connection broke is neither sent again nor
//! answered: whoever waits for an acknowledgement has to hear of the break, and ask the stream what arrived.

use std::time::Duration;

use async_nats::jetstream::{self, Context};
use async_nats::{Client, ConnectOptions, Event};
use tokio::sync::watch;

use crate::Trouble;
use crate::settings::Connection;

/// How long a request, and an acknowledgement, may take.
const ANSWER: Duration = Duration::from_secs(5);
/// How often the broker is asked whether it is there.
const PING: Duration = Duration::from_secs(15);

/// How the connection is.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Line {
    /// Whether there is one.
    pub(crate) up: bool,
    /// How often one has broken.
    pub(crate) breaks: u64,
    /// What was last said to be wrong.
    pub(crate) error: String,
}

/// A connection. It ends when this is dropped.
pub(crate) struct Link {
    client: Client,
    /// Where it goes, without secrets.
    pub(crate) url: String,
    pub(crate) jetstream: Context,
    pub(crate) line: watch::Receiver<Line>,
}

impl Link {
    /// Begins to connect.
    ///
    /// # Errors
    /// What is wrong with a file that is named in the settings.
    pub(crate) async fn open(connection: &Connection) -> Result<Self, String> {
        let (says, line) = watch::channel(Line::default());
        let options = options(connection)?
            .name("tagtrail")
            .retry_on_initial_connect()
            .ping_interval(PING)
            .request_timeout(Some(ANSWER))
            .event_callback(move |event| {
                says.send_modify(|line| line.hear(&event));
                std::future::ready(())
            });
        let urls: Vec<&str> = connection.url.split(',').map(str::trim).collect();
        let client = options.connect(urls).await.map_err(|error| error.to_string())?;
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
        match self.line.borrow().error.as_str() {
            "" => String::new(),
            error => format!(": {error}"),
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
                self.error.clear();
            }
            Event::Disconnected | Event::Closed => {
                self.up = false;
                self.breaks += 1;
            }
            Event::ServerError(error) => self.error = error.to_string(),
            Event::ClientError(error) => {
                let text = error.to_string();
                self.error = match text.strip_prefix("nats: ").unwrap_or(&text) {
                    "IO error" => "nobody answers there, or the answer broke off".into(),
                    other => other.to_owned(),
                };
            }
            Event::LameDuckMode | Event::Draining | Event::SlowConsumer(_) => {}
        }
    }
}

fn options(connection: &Connection) -> Result<ConnectOptions, String> {
    let mut options = ConnectOptions::new();
    if let (Some(user), Some(password)) = (&connection.user, &connection.password) {
        options = options.user_and_password(user.clone(), password.clone());
    }
    if let Some(token) = &connection.token {
        options = options.token(token.clone());
    }
    if let Some(file) = &connection.credentials_file {
        let said = |error: std::io::Error| format!("{}: {error}", file.display());
        let text = std::fs::read_to_string(file).map_err(said)?;
        options = options.credentials(&text).map_err(said)?;
    }
    if let Some(file) = &connection.ca_file {
        options = options.add_root_certificates(file.clone()).require_tls(true);
    }
    if let (Some(cert), Some(key)) = (&connection.client_cert_file, &connection.client_key_file) {
        options = options.add_client_certificate(cert.clone(), key.clone()).require_tls(true);
    }
    Ok(options)
}
