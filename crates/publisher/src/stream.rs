//! The stream: that it is there, is as it should be, and is ours.

use std::collections::HashMap;
use std::time::Duration;

use async_nats::jetstream::stream::{
    Config, DiscardPolicy, Info, LastRawMessageErrorKind, PersistenceMode, RetentionPolicy, StorageType,
    Stream,
};
use async_nats::jetstream::{Context, ErrorCode, context};
use tagtrail_event_log::LogId;

use crate::message::{Seen, source};
use crate::settings::StreamSettings;
use crate::{Trouble, subject};

/// The stream's own note of whose it is.
pub(crate) const LOG: &str = "tagtrail-log";

/// How long a stream has to keep still: a broker works off what a broken connection has left in less.
const STILL: Duration = Duration::from_secs(1);

/// A stream that may be published to.
pub(crate) struct Taken {
    pub(crate) stream: Stream<Info>,
    /// Its newest message.
    pub(crate) newest: Option<Seen>,
    /// The place of the last message there ever was.
    pub(crate) last_place: u64,
}

impl Taken {
    /// When it was created: which life of its name it is.
    pub(crate) fn created(&self) -> String {
        self.stream.cached_info().created.to_string()
    }
}

/// How a stream shall be.
pub(crate) struct Wanted {
    pub(crate) config: Config,
    /// What to do if one of that name is somebody else's.
    pub(crate) remedy: &'static str,
}

/// How the stream for a log's events shall be.
pub(crate) fn wanted(log: LogId, settings: &StreamSettings) -> Wanted {
    let config = Config {
        name: settings.name.clone(),
        description: Some("Every change of Tagtrail's image streams, in order".into()),
        subjects: vec![subject::of_all_events(&settings.subject_prefix)],
        storage: StorageType::File,
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::Old,
        num_replicas: settings.replicas,
        max_age: settings.max_age,
        max_bytes: limit(settings.max_bytes),
        max_messages: -1,
        max_messages_per_subject: -1,
        max_consumers: -1,
        duplicate_window: settings.duplicate_window,
        // What is in the middle never goes; the whole stream can still be deleted.
        deny_delete: true,
        deny_purge: true,
        allow_direct: true,
        metadata: HashMap::from([(LOG.to_owned(), log.to_string())]),
        ..Config::default()
    };
    Wanted { config, remedy: "set nats.stream and nats.subject_prefix to names that nothing else uses" }
}

/// A limit of ours, where 0 is none, as JetStream has it, where that is -1.
fn limit(limit: u64) -> i64 {
    if limit == 0 { -1 } else { i64::try_from(limit).unwrap_or(i64::MAX) }
}

/// Creates the stream, or checks the one that is there and brings it in line with the settings.
pub(crate) async fn take(jetstream: &Context, log: LogId, wanted: Wanted) -> Result<Taken, Trouble> {
    let stream = match get(jetstream, &wanted.config.name).await? {
        Some(stream) => stream,
        None => create(jetstream, &wanted).await?,
    };
    let info = stream.cached_info();
    let newest = newest(&stream, info).await?;
    check(log, &wanted, info, newest.as_ref())?;
    let last_place = info.state.last_sequence;
    bring_in_line(jetstream, info, &wanted.config).await?;
    Ok(Taken { stream, newest, last_place })
}

/// Whether the stream still ends where it should. Nothing else tells that it was deleted while nothing was to be sent.
pub(crate) async fn still_ends_with(stream: &Stream<Info>, place: u64) -> Result<(), Trouble> {
    let name = &stream.cached_info().config.name;
    match stream.get_info().await {
        Ok(info) if info.state.last_sequence == place => Ok(()),
        Ok(info) => Err(Trouble::Broken(format!(
            "the stream {name} ends with message {}, not with {place}: it was made anew, or somebody else publishes to it",
            info.state.last_sequence
        ))),
        Err(error) => {
            Err(Trouble::Broken(format!("the stream {name} cannot be looked at: {}", told(&error))))
        }
    }
}

async fn get(jetstream: &Context, name: &str) -> Result<Option<Stream<Info>>, Trouble> {
    match jetstream.get_stream(name).await {
        Ok(stream) => Ok(Some(stream)),
        Err(error) => match error.kind() {
            context::GetStreamErrorKind::JetStream(inner) => match inner.error_code() {
                ErrorCode::STREAM_NOT_FOUND => Ok(None),
                _ => Err(said(&inner)),
            },
            _ => Err(Trouble::Broken(told(&error))),
        },
    }
}

async fn create(jetstream: &Context, wanted: &Wanted) -> Result<Stream<Info>, Trouble> {
    let Wanted { config, remedy } = wanted;
    match jetstream.create_stream(config).await {
        Ok(stream) => {
            tracing::info!(stream = config.name, "created the stream");
            Ok(stream)
        }
        Err(error) => Err(match error.kind() {
            context::CreateStreamErrorKind::JetStream(inner) => match inner.error_code() {
                // Somebody was quicker; the next look tells who.
                ErrorCode::STREAM_NAME_EXIST => Trouble::Broken(inner.to_string()),
                ErrorCode::STREAM_SUBJECT_OVERLAP => Trouble::Refused(format!(
                    "the stream {} cannot be created: another one takes messages on {}; {remedy}",
                    config.name,
                    config.subjects.join(", ")
                )),
                ErrorCode::JETSTREAM_NOT_ENABLED | ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT => {
                    said(&inner)
                }
                _ => Trouble::Refused(format!("the stream {} cannot be created: {inner}", config.name)),
            },
            _ => Trouble::Broken(told(&error)),
        }),
    }
}

/// The newest message, which goes with the last place that `info` tells: a pair of another moment is no pair. Of late messages
/// of a publisher that has just died some would be stored, and some of ours behind them, on conditions that come true for the
/// wrong ones.
async fn newest(stream: &Stream<Info>, info: &Info) -> Result<Option<Seen>, Trouble> {
    if info.state.messages == 0 {
        if info.state.last_sequence > 0 {
            keeps_still(stream, info.state.last_sequence).await?;
        }
        return Ok(None);
    }
    // Asked of the leader: a replica may not have the newest yet.
    match stream.get_raw_message(info.state.last_sequence).await {
        Ok(message) => Ok(Some(Seen::of(&message))),
        Err(error) => match error.kind() {
            LastRawMessageErrorKind::NoMessageFound => newest_left(stream, info).await,
            LastRawMessageErrorKind::JetStream(inner) => Err(said(&inner)),
            _ => Err(Trouble::Broken(told(&error))),
        },
    }
}

/// The newest message where the last one was purged, in a stream that keeps still meanwhile.
async fn newest_left(stream: &Stream<Info>, info: &Info) -> Result<Option<Seen>, Trouble> {
    let any = info.config.subjects.first().map_or(">", String::as_str);
    let left = match stream.get_last_raw_message_by_subject(any).await {
        Ok(message) => Some(Seen::of(&message)),
        Err(error) => match error.kind() {
            LastRawMessageErrorKind::NoMessageFound => None,
            LastRawMessageErrorKind::JetStream(inner) => return Err(said(&inner)),
            _ => return Err(Trouble::Broken(told(&error))),
        },
    };
    keeps_still(stream, info.state.last_sequence).await?;
    Ok(left)
}

/// Makes sure that nothing comes into a stream any more of what somebody sent before he died: a place and an event that stand
/// apart in it are then a pair all the same.
pub(crate) async fn keeps_still(stream: &Stream<Info>, place: u64) -> Result<(), Trouble> {
    tokio::time::sleep(STILL).await;
    still_ends_with(stream, place).await
}

/// Whether the stream is ours, and such that nothing gets lost or out of order.
fn check(log: LogId, wanted: &Wanted, info: &Info, newest: Option<&Seen>) -> Result<(), Trouble> {
    let Wanted { config: wanted, remedy } = wanted;
    let (name, config) = (&wanted.name, &info.config);
    let refused = |why: String| Err(Trouble::Refused(format!("the stream {name} {why}")));
    let foreign = newest.filter(|newest| newest.source != source(log) || newest.event == 0);
    match (config.metadata.get(LOG), foreign) {
        (Some(other), _) if *other != log.to_string() => {
            return refused(format!(
                "belongs to another server: it is kept for the log {other}, and this server's is {log}; {remedy}"
            ));
        }
        // Also one that was made by hand for us: it holds nothing, or what we have put there.
        (_, None) => {}
        (_, Some(newest)) => {
            let from = match newest.source.as_str() {
                "" => format!("on {} and no event of Tagtrail", newest.subject),
                source => format!("from {source}"),
            };
            return refused(format!("is somebody else's: its newest message is {from}; {remedy}"));
        }
    }
    let delete = "delete it, and it is created anew and filled from the log";
    if config.subjects != wanted.subjects {
        return refused(format!(
            "takes messages on {}, not on {}; {remedy}",
            config.subjects.join(", "),
            wanted.subjects.join(", ")
        ));
    }
    if config.storage != wanted.storage {
        return refused(format!("is kept in memory and goes with its broker; {delete}"));
    }
    if config.retention != wanted.retention {
        return refused(format!("drops messages once they are consumed, whoever else wants them; {delete}"));
    }
    if config.no_ack || config.sealed || config.mirror.is_some() || config.sources.is_some() {
        return refused(format!("is sealed, acknowledges nothing, or copies from other streams; {delete}"));
    }
    if config.persist_mode == Some(PersistenceMode::Async) {
        return refused(format!("acknowledges what it has not stored (persist_mode async); {delete}"));
    }
    if config.subject_transform.is_some() {
        return refused(format!("changes the subjects of its messages; {delete}"));
    }
    if wanted.max_messages_per_subject < 0 && config.max_messages_per_subject > 0 {
        return refused(format!(
            "keeps only {} messages of each subject, and drops the others whoever has not read them; {delete}",
            config.max_messages_per_subject
        ));
    }
    Ok(())
}

/// Changes what the settings say otherwise and can be changed.
async fn bring_in_line(jetstream: &Context, info: &Info, wanted: &Config) -> Result<(), Trouble> {
    let mut config = info.config.clone();
    config.num_replicas = wanted.num_replicas;
    config.max_age = wanted.max_age;
    config.max_bytes = wanted.max_bytes;
    config.duplicate_window = wanted.duplicate_window;
    config.discard = wanted.discard;
    // These two cannot be taken back, and need not be.
    config.deny_delete |= wanted.deny_delete;
    config.deny_purge |= wanted.deny_purge;
    for (name, value) in &wanted.metadata {
        config.metadata.entry(name.clone()).or_insert_with(|| value.clone());
    }
    if config == info.config {
        return Ok(());
    }
    match jetstream.update_stream(&config).await {
        Ok(_) => {
            tracing::info!(stream = wanted.name, "changed the stream to what the configuration says");
            Ok(())
        }
        Err(error) => Err(match error.kind() {
            context::CreateStreamErrorKind::JetStream(inner) if !passes(&inner) => Trouble::Refused(format!(
                "the stream {} cannot be changed to what the configuration says: {inner}",
                wanted.name
            )),
            _ => Trouble::Broken(told(&error)),
        }),
    }
}

/// Whether an error is of a cluster that is still finding itself, or of a server in need, and no answer to what was asked.
fn passes(error: &async_nats::jetstream::Error) -> bool {
    error.code() >= 500 || error.error_code() == ErrorCode::CLUSTER_NO_PEERS
}

/// What JetStream says, sorted by whether waiting may help.
pub(crate) fn said(error: &async_nats::jetstream::Error) -> Trouble {
    match error.error_code() {
        ErrorCode::JETSTREAM_NOT_ENABLED | ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT => Trouble::Refused(
            "the NATS server has no JetStream for this account: start it with JetStream, file storage and \
             `sync_interval: always`"
                .into(),
        ),
        _ => Trouble::Broken(error.to_string()),
    }
}

/// An error with what it came from.
pub(crate) fn told(error: &dyn std::error::Error) -> String {
    let (mut text, mut cause) = (error.to_string(), error.source());
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}
