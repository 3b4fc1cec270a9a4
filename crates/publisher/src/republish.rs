//! A part of the log once more, into another stream: for a subscriber that begins later, a second broker's copy, a look at
//! the past. Never into the live stream, where old events would stand behind new ones.

use std::sync::Arc;
use std::time::Duration;

use tagtrail_event_log::Log;

use crate::link::Link;
use crate::message::Form;
use crate::observer::{Observer, Step};
use crate::outbox::{Outbox, Until};
use crate::resume::look;
use crate::settings::{Settings, SettingsError, StreamSettings};
use crate::{Trouble, stream};

/// How long to wait for a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// The target's own note of the first event that it is for.
const FROM: &str = "tagtrail-from";
/// How often in a row it is tried again without coming further, and after which pause: a broker that restarts is back by then.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);

/// Why events were not published once more.
#[derive(Debug, thiserror::Error)]
pub enum RepublishError {
    /// The target cannot be: the live stream, no name, somebody else's.
    #[error("{0}")]
    Refused(String),
    /// The log has no such events.
    #[error("{0}")]
    OutOfRange(String),
    /// The broker failed. Asked again, it goes on where it ended.
    #[error("{0}; ask again to go on from there")]
    Failed(String),
}

/// What is published once more.
pub struct Republish {
    settings: Settings,
    target: StreamSettings,
    log: Arc<dyn Log>,
    from: u64,
    to: u64,
}

/// How far it is is told by acknowledgements alone.
struct Nobody;

impl Observer for Nobody {
    fn step(&self, _: Step) {}
}

impl Republish {
    /// Events `from` (0: the first) to `to` (0: the newest there is now), into the stream and under the prefix of these
    /// names. One that is empty follows from the other: `STAGING` and `staging`.
    ///
    /// # Errors
    /// [`RepublishError`]; nothing was published.
    pub fn new(
        settings: &Settings,
        log: Arc<dyn Log>,
        (from, to): (u64, u64),
        stream: &str,
        prefix: &str,
    ) -> Result<Self, RepublishError> {
        let head = log.head();
        let from = from.max(1);
        let to = if to == 0 { head } else { to };
        if from > head || to > head || from > to {
            return Err(RepublishError::OutOfRange(format!(
                "there are no events {from} to {to}: the log has 1 to {head}"
            )));
        }
        let live = &settings.stream;
        let name =
            if stream.is_empty() { prefix.to_uppercase().replace('.', "_") } else { stream.to_owned() };
        let subject_prefix = if prefix.is_empty() { stream.to_lowercase() } else { prefix.to_owned() };
        if name.is_empty() {
            return Err(RepublishError::Refused("name the stream, or the prefix of its subjects".into()));
        }
        if name == live.name || subject_prefix == live.subject_prefix {
            return Err(RepublishError::Refused(format!(
                "the server publishes to the stream {} under {} itself: old events would stand behind new ones; name another stream \
                 and another prefix",
                live.name, live.subject_prefix
            )));
        }
        let target = StreamSettings { name, subject_prefix, ..live.clone() };
        target.check().map_err(|SettingsError { reason, .. }| RepublishError::Refused(reason))?;
        Ok(Self { settings: settings.clone(), target, log, from, to })
    }

    /// The stream it goes to.
    #[must_use]
    pub fn stream(&self) -> &str {
        &self.target.name
    }

    /// What its subjects begin with.
    #[must_use]
    pub fn subject_prefix(&self) -> &str {
        &self.target.subject_prefix
    }

    /// The last event that will be in it.
    #[must_use]
    pub fn to(&self) -> u64 {
        self.to
    }

    /// Publishes. `progress` hears up to which event everything is stored, and how many this call has stored.
    ///
    /// # Errors
    /// [`RepublishError`]; what was told to `progress` is stored.
    pub async fn run(&self, mut progress: impl FnMut(u64, u64) + Send) -> Result<(), RepublishError> {
        let connection = &self.settings.connection;
        let failed = |why: String| {
            RepublishError::Failed(format!("cannot connect to {}: {why}", connection.shown_url()))
        };
        let connected = tokio::time::timeout(CONNECT, Link::open_once(connection)).await;
        let link = connected.map_err(|_| failed("it does not answer".into()))?.map_err(failed)?;
        let (mut published, mut tries) = (0, 0);
        loop {
            let before = published;
            let count = |event| {
                published += 1;
                progress(event, published);
            };
            match self.session(&link, count).await {
                Ok(event) => {
                    progress(event, published);
                    return Ok(());
                }
                Err(Trouble::Refused(why)) => return Err(RepublishError::Refused(why)),
                Err(Trouble::Broken(why)) => {
                    tries = if published > before { 1 } else { tries + 1 };
                    if tries == TRIES {
                        return Err(RepublishError::Failed(why));
                    }
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn session(&self, link: &Link, mut count: impl FnMut(u64) + Send) -> Result<u64, Trouble> {
        let log = self.log.id();
        let form = Form { log, prefix: self.target.subject_prefix.clone(), encoding: self.target.encoding };
        let mut wanted = stream::wanted(log, &self.target);
        wanted.config.metadata.insert(FROM.to_owned(), self.from.to_string());
        wanted.remedy = "give --stream and --prefix names that nothing else uses";
        let taken =
            stream::take(&link.jetstream, log, wanted).await.map_err(|trouble| link.explained(trouble))?;
        let mut resume = look(&self.log, &form, &self.target, &taken, None)?;
        let begins = taken.stream.cached_info().config.metadata.get(FROM);
        let begins = begins.and_then(|from| from.parse().ok()).unwrap_or(self.from);
        if resume.published == 0 {
            resume.published = begins - 1;
        }
        // It holds everything from where it begins to where it ends, and that is how it stays.
        if self.from < begins || self.from > resume.published + 1 {
            return Err(Trouble::Refused(format!(
                "the stream {} is for events from {begins} on, and ends with {}: begin between {begins} and {}, or name another \
                 stream",
                self.target.name,
                resume.published,
                resume.published + 1
            )));
        }
        let published = resume.published;
        if published < self.to {
            let outbox = Outbox { log: &self.log, link, stream: &taken, form: &form, observer: &Nobody };
            outbox.publish(resume, Until::Event(self.to), &mut |event, _| count(event)).await?;
        }
        Ok(published.max(self.to))
    }
}
