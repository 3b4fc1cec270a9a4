//! Events into messages, a bounded number of them under way.
//!
//! Each message is sent on the condition that the stream ends with the one before it: at that place
//! (`Nats-Expected-Last-Sequence`), and with that very message (`Nats-Expected-Last-Msg-Id`). The place alone is not enough: where
//! somebody else's message takes the place of one of ours, those behind it would still find the number they expect. So if one
//! fails, all behind it fail too; the whole window is given up, and the stream is asked where it ends. Of the first message after
//! such a look only the place is conditional: the broker does not remember ids for ever, and what stands there was just looked at.

use std::collections::VecDeque;
use std::future::IntoFuture;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::{self, ErrorCode};
use tagtrail_event_log::{Log, Stored};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::Trouble;
use crate::link::Link;
use crate::message::{Form, Message, read_page};
use crate::observer::{Observer, Step};
use crate::resume::Resume;
use crate::session::IDLE_LOOK;
use crate::stream::{self, Taken};

/// Most messages under way. On a broker that syncs each message it is a tenth of a second's work.
pub(crate) const WINDOW: usize = 256;
/// Most events that are read at once.
const PAGE_EVENTS: usize = WINDOW;
/// How long the window may take to be acknowledged when it is time to stop.
const LAST_ACKS: Duration = Duration::from_secs(2);

/// Where events are read and where they go.
pub(crate) struct Outbox<'a> {
    pub(crate) log: &'a Arc<dyn Log>,
    pub(crate) link: &'a Link,
    pub(crate) stream: &'a Taken,
    pub(crate) form: &'a Form,
    pub(crate) observer: &'a dyn Observer,
}

/// Up to where to go.
pub(crate) enum Until {
    /// Follows what becomes visible until told to stop.
    Stopped { visible: watch::Receiver<u64>, stop: watch::Receiver<bool> },
    /// Up to this event.
    Event(u64),
}

/// A page that is being read.
type Reading = JoinHandle<Result<VecDeque<Message>, Trouble>>;

/// An acknowledgement that is waited for.
struct UnderWay {
    event: u64,
    place: u64,
    ack: Pin<Box<dyn Future<Output = Result<PublishAck, PublishError>> + Send>>,
}

impl Outbox<'_> {
    /// Publishes what comes after `resume`. `acknowledged` hears of each event and its place, in order, no gap between.
    ///
    /// # Errors
    /// [`Trouble`]; what was acknowledged before is in the stream.
    pub(crate) async fn publish(
        &self,
        resume: Resume,
        mut until: Until,
        acknowledged: &mut (dyn FnMut(u64, u64) + Send),
    ) -> Result<(), Trouble> {
        let breaks = self.link.breaks();
        // Each is ahead of the next: what is read, what is ready to be sent, what is under way.
        let mut next = resume.published + 1;
        let mut reading: Option<Reading> = None;
        let mut ready: VecDeque<Message> = VecDeque::new();
        let mut under_way: VecDeque<UnderWay> = VecDeque::new();
        let mut place = resume.last_place;
        let mut before: Option<String> = None;
        loop {
            let last = until.last();
            if reading.is_none() && ready.len() < WINDOW && next <= last {
                reading = Some(self.read(next, last));
            }
            while under_way.len() < WINDOW
                && let Some(message) = ready.pop_front()
            {
                place += 1;
                let behind = before.replace(message.id.clone());
                under_way.push_back(self.send(message, place, behind).await?);
            }
            let idle = under_way.is_empty() && reading.is_none();
            if idle && matches!(until, Until::Event(_)) {
                return Ok(());
            }
            tokio::select! {
                news = until.news(next > last) => match news {
                    News::Events => {}
                    News::Stop => break,
                },
                () = self.link.broken(breaks) => return Err(self.link.broke()),
                page = read(&mut reading), if reading.is_some() => {
                    let page = page?;
                    next += page.len() as u64;
                    ready.extend(page);
                }
                done = oldest(&mut under_way), if !under_way.is_empty() => self.heard(done, acknowledged)?,
                () = tokio::time::sleep(IDLE_LOOK), if idle => {
                    stream::still_ends_with(&self.stream.stream, place).await?;
                }
            }
        }
        // What is under way may arrive or not; to know of it spares a look at the next start.
        let rest = async {
            while !under_way.is_empty() {
                let done = oldest(&mut under_way).await;
                self.heard(done, acknowledged)?;
            }
            Ok(())
        };
        tokio::time::timeout(LAST_ACKS, rest).await.unwrap_or(Ok(()))
    }

    /// Begins to read a page of messages. Reading sled and encoding are work for a thread of their own.
    fn read(&self, from: u64, last: u64) -> Reading {
        let (log, form) = (self.log.clone(), self.form.clone());
        let count = usize::try_from(last + 1 - from).unwrap_or(usize::MAX).min(PAGE_EVENTS);
        tokio::task::spawn_blocking(move || {
            let events: Vec<Stored> = read_page(&*log, from, count)?;
            events.iter().map(|stored| form.message(stored)).collect()
        })
    }

    /// Sends a message to a place, behind the message of an id.
    async fn send(&self, message: Message, place: u64, behind: Option<String>) -> Result<UnderWay, Trouble> {
        let Message { event, subject, headers, payload, .. } = message;
        let mut publish = PublishMessage::build()
            .headers(headers)
            .payload(payload)
            .expected_stream(self.name())
            .expected_last_sequence(place - 1);
        if let Some(id) = behind {
            publish = publish.expected_last_message_id(id);
        }
        self.observer.step(Step::Sending(event));
        let sent = self.link.jetstream.send_publish(subject, publish).await;
        let ack = sent.map_err(|error| self.not_sent(event, &error))?;
        self.observer.step(Step::Sent(event));
        Ok(UnderWay { event, place, ack: ack.into_future() })
    }

    fn heard(
        &self,
        done: (u64, u64, Result<PublishAck, PublishError>),
        acknowledged: &mut (dyn FnMut(u64, u64) + Send),
    ) -> Result<(), Trouble> {
        let (event, place, ack) = done;
        let ack = ack.map_err(|error| self.not_stored(event, &error))?;
        if ack.duplicate || ack.sequence != place {
            // Stored before, and then removed: the broker still knows its id. It forgets after the duplicate window.
            return Err(Trouble::Broken(format!(
                "event {event} was taken for a repeat of message {} and not stored again; trying until the broker has forgotten it",
                ack.sequence
            )));
        }
        self.observer.step(Step::Acknowledged(event));
        acknowledged(event, place);
        Ok(())
    }

    fn not_sent(&self, event: u64, error: &PublishError) -> Trouble {
        match error.kind() {
            PublishErrorKind::MaxPayloadExceeded => Trouble::Refused(format!(
                "event {event} makes a message that is larger than the {} bytes the NATS server takes: raise its max_payload",
                self.link.max_payload()
            )),
            _ => Trouble::Broken(format!("event {event} was not sent: {}", stream::told(error))),
        }
    }

    fn not_stored(&self, event: u64, error: &PublishError) -> Trouble {
        let refusal =
            std::error::Error::source(error).and_then(|error| error.downcast_ref::<jetstream::Error>());
        if refusal.is_some_and(|error| error.error_code() == ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM) {
            let limit = self.stream.stream.cached_info().config.max_message_size;
            return Trouble::Refused(format!(
                "event {event} makes a message that is larger than the {limit} bytes the stream {} takes: raise its max_msg_size",
                self.name()
            ));
        }
        let why = match error.kind() {
            PublishErrorKind::TimedOut => format!("no acknowledgement came{}", self.link.error()),
            PublishErrorKind::StreamNotFound => format!("the stream {} is not there", self.name()),
            PublishErrorKind::WrongLastSequence | PublishErrorKind::WrongLastMessageId => {
                format!(
                    "the stream {} does not end where it should; somebody else may publish to it",
                    self.name()
                )
            }
            _ => stream::told(error),
        };
        Trouble::Broken(format!("event {event} was not stored: {why}"))
    }

    fn name(&self) -> &str {
        &self.stream.stream.cached_info().config.name
    }
}

/// What may happen while acknowledgements are waited for.
enum News {
    Events,
    Stop,
}

impl Until {
    /// The last event to go to, for now.
    fn last(&mut self) -> u64 {
        match self {
            Self::Stopped { visible, .. } => *visible.borrow_and_update(),
            Self::Event(last) => *last,
        }
    }

    /// Waits for events, if all that there were are read, or for the end.
    async fn news(&mut self, caught_up: bool) -> News {
        match self {
            // An error means that nobody can tell any more, which is as good as being told to stop.
            Self::Stopped { visible, stop } => tokio::select! {
                _ = stop.wait_for(|stop| *stop) => News::Stop,
                changed = visible.changed(), if caught_up => match changed {
                    Ok(()) => News::Events,
                    Err(_) => News::Stop,
                },
            },
            Self::Event(_) => std::future::pending().await,
        }
    }
}

/// Waits for the page that is being read, and takes it out when it is there.
async fn read(reading: &mut Option<Reading>) -> Result<VecDeque<Message>, Trouble> {
    let page = reading.as_mut().expect("asked only while something is read").await;
    *reading = None;
    page.map_err(|error| Trouble::Broken(error.to_string()))?
}

/// Waits for the oldest acknowledgement, and takes it out when it is there.
async fn oldest(under_way: &mut VecDeque<UnderWay>) -> (u64, u64, Result<PublishAck, PublishError>) {
    let front = under_way.front_mut().expect("asked only while something is under way");
    let ack = front.ack.as_mut().await;
    let UnderWay { event, place, .. } = under_way.pop_front().expect("it is still there");
    (event, place, ack)
}
