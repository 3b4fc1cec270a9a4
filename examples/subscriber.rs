//! Follows Tagtrail's events on NATS: in order, none missed, none twice, whatever becomes of the broker or of this program.
//! The same as `subscriber.py`, with async-nats.
//!
//! ```text
//! subscriber 'tagtrail.events.*.*.prod.tag-moved' --state prod.json
//! ```
#![allow(clippy::print_stdout)] // Printing is all that this subscriber does.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process;
use std::time::Duration;

use anyhow::{Context as _, Result};
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::{self, Message};
use clap::Parser;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::{sleep, timeout};
use tokio_stream::StreamExt as _;

/// When nothing has come for so long, we look whether our consumer is still there.
const QUIET: Duration = Duration::from_secs(2);

#[derive(Parser)]
struct Arguments {
    /// Such as 'tagtrail.events.>', which is everything.
    subjects: String,
    /// The file that remembers how far we are.
    #[arg(long, default_value = "tagtrail-subscriber.json")]
    state: PathBuf,
    /// As in nats://user:password@host:port.
    #[arg(long, default_value = "nats://127.0.0.1:4222")]
    server: String,
    #[arg(long, default_value = "TAGTRAIL")]
    stream: String,
}

/// How far we are, in a small file. Delete it to begin from the start.
#[derive(Default, Serialize, Deserialize)]
struct State {
    /// The log that the sequence is of.
    log: String,
    /// The sequence of the newest event that was handled.
    sequence: u64,
    /// When the stream was made in which that was. A stream that is made again counts from 1, whatever it holds.
    stream: String,
    /// The same place as that stream counts it: only good to begin near it.
    place: u64,
}

impl State {
    fn load(path: &Path) -> Result<State> {
        match fs::read(path) {
            Ok(text) => serde_json::from_slice(&text).with_context(|| path.display().to_string()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(State::default()),
            Err(error) => Err(error).with_context(|| path.display().to_string()),
        }
    }

    fn save(&self, path: &Path) -> Result<()> {
        let new = path.with_added_extension("new");
        let mut file = File::create(&new)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_all()?;
        // The old state or the new one, never half of one.
        Ok(fs::rename(new, path)?)
    }
}

/// What you do with an event. A crash right after it makes it come once more: keep the sequence with what you do.
fn handle(kind: &str, about: &str, event: &Value) {
    let image = event["tagMoved"]["item"]["image"].as_str().unwrap_or_default();
    println!("{} {kind} {about} {image}", event["sequence"]);
}

/// Handles a message unless it was handled before.
fn take(message: &Message, state: &mut State, arguments: &Arguments) -> Result<()> {
    let header = |name: &str| {
        let headers = message.headers.as_ref().and_then(|headers| headers.get(name));
        headers.map(ToString::to_string).with_context(|| format!("{} has no {name}", message.subject))
    };
    let (log, sequence) = (header("ce-source")?, header("ce-sequence")?.parse()?);
    if !state.log.is_empty() && state.log != log {
        let file = arguments.state.display();
        eprintln!("{file} is of {}, and the stream tells of {log}: delete the file to begin anew", state.log);
        process::exit(1);
    }
    // A lost stream is filled again from the first event on: what we have seen comes again, with the same sequence.
    if sequence > state.sequence {
        if arguments.subjects.ends_with(".events.>") && sequence > state.sequence + 1 {
            say_missing(state.sequence + 1, &format!("the next one in the stream is {sequence}"));
        }
        let kind = header("ce-type")?;
        let kind = kind.rsplit('.').next().unwrap_or_default();
        handle(kind, &header("ce-subject")?, &serde_json::from_slice(&message.payload)?);
        (state.log, state.sequence) = (log, sequence);
    }
    state.place = message.info().map_err(anyhow::Error::from_boxed)?.stream_sequence;
    state.save(&arguments.state)
}

/// Follows the stream until something is wrong with it, the connection, or our consumer.
async fn follow(jetstream: &jetstream::Context, arguments: &Arguments, state: &mut State) -> Result<()> {
    let stream = jetstream.get_stream(&arguments.stream).await?;
    let info = stream.cached_info();
    let created = info.created.to_string();
    if state.stream != created {
        (state.stream, state.place) = (created, 0);
    }
    if info.state.first_sequence > state.place + 1 {
        let gone = info.state.first_sequence - 1 - state.place;
        say_missing(state.sequence + 1, &format!("{gone} messages of the stream are gone unread"));
    }
    let consumer = stream
        .create_consumer(pull::Config {
            filter_subject: arguments.subjects.clone(),
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: state.place + 1 },
            // We know how far we are, and the broker need not.
            ack_policy: AckPolicy::None,
            // Until the broker removes a consumer that nobody asks any more.
            inactive_threshold: Duration::from_secs(60),
            ..pull::Config::default()
        })
        .await?;
    let mut messages = consumer.messages().await?;
    loop {
        if let Ok(message) = timeout(QUIET, messages.next()).await {
            take(&message.context("the consumer has ended")??, state, arguments)?;
            continue;
        }
        // Nothing new, or nobody there: this fails if the stream was deleted, for that took our consumer with it.
        let end = stream.get_info().await?.state.last_sequence;
        let told = consumer.get_info().await?;
        if told.num_pending == 0 && told.delivered.stream_sequence <= state.place && state.place < end {
            // All that is for us was handled, so we have come to the end of the stream.
            state.place = end;
            state.save(&arguments.state)?;
        }
    }
}

fn say_missing(first: u64, why: &str) {
    eprintln!("events from {first} on are missing ({why}): `tagtrail events -A --from {first}` has them");
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut state = State::load(&arguments.state)?;
    let options = async_nats::ConnectOptions::new().retry_on_initial_connect();
    let jetstream = jetstream::new(options.connect(&arguments.server).await?);
    loop {
        if let Err(error) = follow(&jetstream, &arguments, &mut state).await {
            // Whatever it was: begin again from the state, which is right at every moment.
            eprintln!("{error:#}");
        }
        sleep(Duration::from_millis(500)).await;
    }
}
