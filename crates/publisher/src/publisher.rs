//! Publishing for as long as the server runs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tagtrail_event_log::Log;
use tokio::sync::{Notify, watch};

use crate::Trouble;
use crate::bucket::Bucket;
use crate::link::Link;
use crate::message::Form;
use crate::observer::{Observer, Step};
use crate::outbox::{Outbox, Until};
use crate::position::{Position, PositionFile};
use crate::resume::look;
use crate::session::{KeptUp, LOOK_AGAIN, keep_trying, pause, turned_true};
use crate::settings::Settings;
use crate::stream;

/// How often the position is remembered while it moves.
const REMEMBER_EVERY: Duration = Duration::from_secs(1);

/// Publishes a log. It never holds up the log, whatever the broker does.
pub struct Publisher {
    settings: Settings,
    log: Arc<dyn Log>,
    visible: watch::Receiver<u64>,
    file: PositionFile,
    observer: Arc<dyn Observer>,
}

impl Publisher {
    /// A publisher of this log, which remembers its position in this file. It goes as far as `visible`: whoever hears of an
    /// event and asks the server is not to be told of the time before. [`Log::follow`] where nothing is shown.
    #[must_use]
    pub fn new(
        settings: Settings,
        log: Arc<dyn Log>,
        visible: watch::Receiver<u64>,
        file: PathBuf,
        observer: Arc<dyn Observer>,
    ) -> Self {
        Self { settings, log, visible, file: PositionFile::new(file), observer }
    }

    /// Publishes until `stop` turns true. Trouble is told to the observer and tried again.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        if let Some(position) = self.file.load(&self.log.id().to_string(), &self.settings.stream.name) {
            self.observer.step(Step::Remembered(position.event));
        }
        let link = loop {
            match Link::open(&self.settings.connection).await {
                Ok(link) => break Arc::new(link),
                Err(problem) => self.trouble(&Trouble::Refused(problem)),
            }
            if pause(LOOK_AGAIN, &mut stop).await {
                return;
            }
        };
        let settings = &self.settings;
        let mut until = stop.clone();
        let bucket = async {
            if let Some(name) = settings.bucket.clone() {
                let (log, visible) = (self.log.clone(), self.visible.clone());
                let replicas = settings.stream.replicas;
                let bucket = Bucket::new(name, replicas, log, visible, link.clone(), self.observer.clone());
                keep_trying(&link, &bucket, &mut until).await;
            }
        };
        let events = Events { publisher: &self, link: &link };
        let both = async { tokio::join!(keep_trying(&link, &events, &mut stop), bucket) };
        tokio::select! {
            _ = both => {}
            () = tell_line(&link, &*self.observer) => {}
        }
    }

    /// Remembers the position now and then, and where it is at the end.
    async fn remember(&self, created: &str, mut position: watch::Receiver<(u64, u64)>, ended: &Notify) {
        loop {
            let over = tokio::select! {
                biased;
                _ = position.changed() => false,
                () = ended.notified() => true,
            };
            if over {
                return;
            }
            let (event, place) = *position.borrow_and_update();
            self.save(created, event, place).await;
            if tokio::time::timeout(REMEMBER_EVERY, ended.notified()).await.is_ok() {
                ended.notify_one(); // Once more around, for what came since.
            }
        }
    }

    fn trouble(&self, trouble: &Trouble) {
        let refused = matches!(trouble, Trouble::Refused(_));
        let problem = trouble.to_string();
        if refused {
            tracing::error!(problem, "nothing is published");
        } else {
            tracing::warn!(problem, "publishing was interrupted");
        }
        self.observer.step(Step::Trouble { problem, refused });
    }

    async fn save(&self, created: &str, event: u64, place: u64) {
        let position = Position {
            log: self.log.id().to_string(),
            stream: self.settings.stream.name.clone(),
            created: created.to_owned(),
            event,
            place,
        };
        let file = self.file.clone();
        self.observer.step(Step::Remembering(event));
        match tokio::task::spawn_blocking(move || file.save(&position)).await {
            Ok(Ok(())) => self.observer.step(Step::Remembered(event)),
            Ok(Err(error)) => {
                tracing::warn!(%error, "could not remember up to where was published; a restart asks the stream");
            }
            Err(error) => tracing::warn!(%error, "could not remember up to where was published"),
        }
    }
}

/// The stream of events, kept up.
struct Events<'a> {
    publisher: &'a Publisher,
    link: &'a Link,
}

impl KeptUp for Events<'_> {
    /// From one look at the stream until something breaks.
    async fn session(&self, mut stop: watch::Receiver<bool>, moved: &mut bool) -> Result<(), Trouble> {
        let Self { publisher, link } = *self;
        let Publisher { settings, log, visible, file, observer } = publisher;
        let settings = &settings.stream;
        let form =
            Form { log: log.id(), prefix: settings.subject_prefix.clone(), encoding: settings.encoding };
        let breaks = link.breaks();
        let taken = tokio::select! {
            taken = stream::take(&link.jetstream, log.id(), stream::wanted(log.id(), settings)) => {
                taken.map_err(|trouble| link.explained(trouble))?
            }
            () = link.broken(breaks) => return Err(link.broke()),
            () = turned_true(&mut stop) => return Ok(()),
        };
        let remembered = file.load(&log.id().to_string(), &settings.name);
        let created = taken.created();
        let known = remembered.as_ref().filter(|position| position.created == created);
        let known = known.map(|position| (position.event, position.place));
        let resume = look(log, &form, settings, &taken, remembered)?;
        if resume.lost > 0 {
            tracing::warn!(
                stream = settings.name,
                events = resume.lost,
                "the broker no longer has what it had acknowledged; sending it again from the log"
            );
        }
        tracing::info!(stream = settings.name, after = resume.published, head = log.head(), "publishing");
        observer.step(Step::Resumed(resume.published));

        let (told, position) = watch::channel(known.unwrap_or_default());
        let found = (resume.published, resume.last_place);
        // Of a lost stream it is remembered how far it had been, until it holds something again.
        told.send_if_modified(|known| found.0 > 0 && std::mem::replace(known, found) != found);
        let ended = Notify::new();
        let outbox = Outbox { log, link, stream: &taken, form: &form, observer: &**observer };
        let mut acknowledged = |event, place| {
            *moved = true;
            told.send_replace((event, place));
        };
        let publishing = async {
            let outcome = outbox
                .publish(resume, Until::Stopped { visible: visible.clone(), stop }, &mut acknowledged)
                .await;
            ended.notify_one();
            outcome
        };
        let (outcome, ()) = tokio::join!(publishing, publisher.remember(&created, position, &ended));
        outcome
    }

    fn trouble(&self, trouble: &Trouble) {
        self.publisher.trouble(trouble);
    }
}

/// Tells of connections that come and go, for as long as it is polled.
async fn tell_line(link: &Link, observer: &dyn Observer) {
    let mut line = link.line.clone();
    let (mut up, mut told) = (false, String::new());
    loop {
        let now = line.borrow_and_update().clone();
        if now.up != up {
            up = now.up;
            observer.step(if up { Step::Connected } else { Step::Disconnected });
            if up {
                tracing::info!("connected to NATS");
            } else {
                tracing::warn!("the connection to NATS broke");
            }
        }
        let error = now.error.map(|(error, _)| error).unwrap_or_default();
        if !up && !error.is_empty() && error != told {
            let problem = format!("cannot connect to {}: {error}", link.url);
            tracing::warn!(problem, "trying again");
            observer.step(Step::Trouble { problem, refused: false });
        }
        told = error;
        if line.changed().await.is_err() {
            std::future::pending::<()>().await; // The client has ended: nothing more will be said.
        }
    }
}
