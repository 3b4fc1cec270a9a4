//! The one writer. A single thread owns deciding and appending, so there are no locks in the domain, writes are
//! linearizable, and everybody who waits shares one sync (group commit).
//!
//! Each round: take what has queued up, decide each command on a state that includes what the round has already
//! decided, append all of it as one batch, make it visible, answer everybody. While one round syncs, the next
//! collects itself; there is no timer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use tagtrail_domain::event::{Actor, Event, Recorded, Run};
use tagtrail_domain::{Command, Context, Refusal, StreamKey, StreamState, Timestamp, World, decide_together};
use tagtrail_event_log::frame::HEADER_BYTES;
use tagtrail_event_log::{AppendError, Log, MAX_APPEND_BYTES, MAX_PAYLOAD_BYTES, codec};
use tagtrail_projection::{Stage, View};
use tokio::sync::{mpsc, oneshot, watch};

use crate::config::Config;
use crate::outside::Outside;
use crate::watch::tail::{Change, Tail};
use crate::work::Work;

/// How many commands and about how many bytes share one sync.
const BATCH_COMMANDS: usize = 512;
const BATCH_BYTES: usize = 1 << 20;
/// The most that one command may add to the log, so that it fits into one append behind what came before it.
const RUN_BYTES: usize = MAX_APPEND_BYTES - BATCH_BYTES;

/// A write: what is wished, and who wishes it.
pub(crate) struct Write {
    /// The wishes, each with the stream it is about: all of them are carried out, in one run of events, or none.
    pub wishes: Vec<(StreamKey, Command)>,
    /// Who, why, and on what condition.
    pub origin: Origin,
}

impl Write {
    /// One wish.
    #[must_use]
    pub(crate) fn one(key: StreamKey, command: Command, origin: Origin) -> Self {
        Self { wishes: vec![(key, command)], origin }
    }
}

/// Where a write comes from.
#[derive(Clone, Default)]
pub(crate) struct Origin {
    /// The command's name in the log, such as `tag`.
    pub name: &'static str,
    /// Who.
    pub actor: Actor,
    /// Why.
    pub reason: String,
    /// The caller's id of the request. Empty: none.
    pub request_id: String,
    /// SHA-256 of the request. Empty without an id.
    pub request_digest: Vec<u8>,
    /// The revision the stream must have.
    pub expected_revision: Option<u64>,
    /// Sequence of the event that asked for this. 0: none.
    pub caused_by: u64,
    /// W3C trace context of the request. Empty: none.
    pub traceparent: String,
    /// When nobody waits for it any more. `None`: it is waited for, however long it takes.
    pub deadline: Option<Instant>,
}

/// What a write came to. Durable, and visible to every later read.
#[derive(Clone)]
pub(crate) struct Written {
    /// The run of events it made. Length 0: nothing had to change.
    pub run: Run,
    /// The events. Empty where the request was a repeat: they are in the log.
    pub events: Vec<Recorded>,
    /// Whether the request id was seen before, with the same request.
    pub repeated: bool,
    /// The stream afterwards, the first of several. For a repeat: now.
    pub after: Arc<StreamState>,
}

/// Why a write came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    /// The domain says no. Nothing was written.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Too many writes are waiting. Nothing was written: try again in a moment.
    #[error("too many writes are waiting; try again in a moment")]
    Busy,
    /// There is no room on the disk. Nothing was written.
    #[error("{0}")]
    Full(String),
    /// Nobody waited any more when its turn came. Nothing was written.
    #[error("the deadline passed before this was begun; nothing was done")]
    TooLate,
    /// The writer has stopped, or stopped before it could answer. Whether the write happened, the log tells after
    /// the next start.
    #[error("the server is stopping; whether this write happened is certain only after it is back")]
    Stopped,
}

enum Job {
    Write(Box<Write>, oneshot::Sender<Result<Written, WriteError>>),
    /// Hold still until the receiver's other end is dropped.
    Pause(oneshot::Sender<()>, oneshot::Receiver<()>),
    /// Finish what is in the queue, take no more, and end.
    Stop,
}

/// The way to the writer.
#[derive(Clone)]
pub(crate) struct Writer {
    jobs: mpsc::Sender<Job>,
}

/// While it lives, the writer holds still.
pub(crate) struct Pause {
    _until: oneshot::Sender<()>,
}

/// What is decided by, beside the rules of the domain.
#[derive(Clone)]
pub(crate) struct Rules {
    /// Host of the internal registry, if there is one.
    pub internal_registry: Option<String>,
    /// Most tags that a stream may get.
    pub tags_per_stream: usize,
}

impl Rules {
    /// What the configuration says.
    pub(crate) fn of(config: &Config) -> Self {
        let internal = config.repository.internal.clone();
        Self {
            internal_registry: Some(internal).filter(|host| !host.is_empty()),
            tags_per_stream: config.limits.tags_per_stream,
        }
    }
}

/// Where a commit goes, in this order.
#[derive(Clone)]
pub(crate) struct Commits {
    /// It is durable.
    pub log: Arc<dyn Log>,
    /// Every read sees it.
    pub view: Arc<View>,
    /// Watchers hear of it.
    pub tail: Arc<Tail>,
    /// What follows from it is done.
    pub work: Arc<Work>,
}

/// Where the writes wait until the writer takes them.
pub(crate) struct Queue(mpsc::Receiver<Job>);

impl Writer {
    /// The way to a writer that is yet to be started. Writes wait until it is.
    ///
    /// So many writes may wait. More are turned away with a word, instead of waiting without end.
    #[must_use]
    pub(crate) fn new(waiting: usize) -> (Self, Queue) {
        let (jobs, queue) = mpsc::channel(waiting);
        (Self { jobs }, Queue(queue))
    }

    /// Carries out a write. When it answers, the write is durable and every later read sees it.
    ///
    /// # Errors
    /// [`WriteError`].
    pub(crate) async fn write(&self, write: Write) -> Result<Written, WriteError> {
        let (reply, answer) = oneshot::channel();
        self.jobs.try_send(Job::Write(Box::new(write), reply)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => WriteError::Busy,
            mpsc::error::TrySendError::Closed(_) => WriteError::Stopped,
        })?;
        answer.await.unwrap_or(Err(WriteError::Stopped))
    }

    /// Makes the writer hold still as soon as it has answered what it is at.
    ///
    /// # Errors
    /// [`WriteError::Stopped`].
    pub(crate) async fn pause(&self) -> Result<Pause, WriteError> {
        let (started, starting) = oneshot::channel();
        let (until, end) = oneshot::channel();
        self.jobs.send(Job::Pause(started, end)).await.map_err(|_| WriteError::Stopped)?;
        starting.await.map_err(|_| WriteError::Stopped)?;
        Ok(Pause { _until: until })
    }

    /// Makes the writer end once it has answered what waits by now. Later writes hear [`WriteError::Stopped`].
    pub(crate) async fn stop(&self) {
        // An error means that it has ended already.
        self.jobs.send(Job::Stop).await.ok();
    }
}

impl Queue {
    /// Starts the writer on a read model that has caught up with the log. It ends when it is told to, or when every
    /// [`Writer`] is gone. If it ends otherwise, by a failing disk or a panic, everybody who waits is answered, and
    /// `alive` turns false.
    ///
    /// # Errors
    /// If the operating system gives no thread.
    pub(crate) fn start(
        self,
        commits: Commits,
        outside: Outside,
        rules: Rules,
        alive: watch::Sender<bool>,
    ) -> std::io::Result<JoinHandle<()>> {
        let Commits { log, view, tail, work } = commits;
        let last_time = view.recorded_at();
        tail.begin(view.position());
        let end = End { view: view.clone(), alive, well: false };
        let thread = Thread { log, view, work, tail, outside, rules, last_time };
        let run = move || match thread.run(self.0) {
            Ok(()) => end.well(),
            Err(reason) => {
                tracing::error!(reason, "the writer takes no more writes; the server stops");
                drop(end);
            }
        };
        std::thread::Builder::new().name("writer".into()).spawn(run)
    }
}

/// Tells the server how the writer ended. A panic passes through here too.
struct End {
    view: Arc<View>,
    alive: watch::Sender<bool>,
    well: bool,
}

impl End {
    fn well(mut self) {
        self.well = true;
    }
}

impl Drop for End {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // If it was the read model that misled the writer, the next start is not to meet the same again.
            self.view.suspect("the writer panicked");
        }
        if !self.well {
            self.alive.send_replace(false);
        }
    }
}

struct Thread {
    log: Arc<dyn Log>,
    view: Arc<View>,
    work: Arc<Work>,
    tail: Arc<Tail>,
    outside: Outside,
    rules: Rules,
    /// When the newest event was recorded. Time never goes back in the log, whatever the clock does.
    last_time: Timestamp,
}

type Reply = oneshot::Sender<Result<Written, WriteError>>;

impl Thread {
    /// The error is fatal: what is on the disk is known only after opening it again. Whoever waits then hears
    /// [`WriteError::Stopped`], because the other end of the answer is dropped.
    fn run(mut self, mut queue: mpsc::Receiver<Job>) -> Result<(), String> {
        let mut left = None;
        while let Some(job) = left.take().or_else(|| queue.blocking_recv()) {
            match job {
                Job::Write(first, reply) => left = self.round(*first, reply, &mut queue)?,
                Job::Pause(started, end) => {
                    if started.send(()).is_ok() {
                        // An error is the signal: the other end is gone.
                        end.blocking_recv().ok();
                    }
                }
                Job::Stop => queue.close(),
            }
        }
        Ok(())
    }

    /// One group commit. Gives the job that ended it before it was full, which is still to be done.
    fn round(
        &mut self,
        first: Write,
        reply: Reply,
        queue: &mut mpsc::Receiver<Job>,
    ) -> Result<Option<Job>, String> {
        let view = self.view.clone();
        let log = self.log.clone();
        let head = log.head();
        let mut round = Round {
            stage: view.stage(),
            runs: Vec::new(),
            changes: Vec::new(),
            next: head + 1,
            bytes: 0,
            answers: Vec::new(),
        };
        self.decide(&mut round, first, reply);
        let mut left = None;
        for _ in 1..BATCH_COMMANDS {
            if round.bytes >= BATCH_BYTES {
                break;
            }
            match queue.try_recv() {
                Ok(Job::Write(write, reply)) => self.decide(&mut round, *write, reply),
                Ok(other) => {
                    left = Some(other);
                    break;
                }
                Err(_) => break,
            }
        }
        let Round { stage, runs, changes, answers, .. } = round;
        if !runs.is_empty() {
            let began = Instant::now();
            let events: usize = runs.iter().map(Vec::len).sum();
            // The commit point is in here. Before it nothing happened; after it, it happened for ever.
            match log.append(head, &runs) {
                Ok(_) => {}
                Err(error @ AppendError::Full { .. }) => {
                    // Also what was refused or needed no event: it was decided on a state that did not come about.
                    for (reply, _) in answers {
                        reply.send(Err(WriteError::Full(error.to_string()))).ok();
                    }
                    return Ok(left);
                }
                Err(error) => return Err(error.to_string()),
            }
            // Only now may anybody see it; and everybody does, before the first caller hears that it is done.
            view.commit(stage, &*log).map_err(|error| error.to_string())?;
            // Watchers too: what they hear of, they can read.
            self.tail.tell(&runs, changes);
            crate::metrics::committed(runs.len(), events, log.head(), began.elapsed());
        }
        for (reply, answer) in answers {
            let events = answer.as_ref().map(|written| &*written.events).unwrap_or_default();
            for events in events.chunk_by(|one, next| one.stream == next.stream) {
                let key = &events[0].stream;
                self.work.changed(key, events, &view.stream(key), Instant::now());
            }
            // A caller that has gone away does not need its answer.
            reply.send(answer).ok();
        }
        Ok(left)
    }

    fn decide(&mut self, round: &mut Round<'_>, write: Write, reply: Reply) {
        // Whoever has gone away, or was told that it took too long, must be able to rely on it that nothing happens now.
        let late = write.origin.deadline.is_some_and(|deadline| deadline <= Instant::now());
        if late || reply.is_closed() {
            round.answers.push((reply, Err(WriteError::TooLate)));
            return;
        }
        let name = write.origin.name;
        let answer = self.decide_one(round, write);
        crate::metrics::decided(name, answer.as_ref().map(|written| written.run.length).map_err(drop));
        round.answers.push((reply, answer));
    }

    fn decide_one(&mut self, round: &mut Round<'_>, write: Write) -> Result<Written, WriteError> {
        let Write { wishes, origin } = write;
        let (first, _) = wishes.first().expect("a write has a wish");
        if !origin.request_id.is_empty()
            && let Some(past) = round.stage.request(&origin.request_id)
        {
            if past.digest != origin.request_digest {
                return Err(Refusal::RequestIdReused(origin.request_id).into());
            }
            let run = Run { first_sequence: past.first_sequence, length: past.length };
            return Ok(Written { run, events: Vec::new(), repeated: true, after: round.stage.stream(first) });
        }
        let now = self.outside.now().max(self.last_time);
        let context = Context {
            now,
            next_sequence: round.next,
            fresh_uids: wishes.iter().map(|_| self.outside.fresh_uid()).collect(),
            expected_revision: origin.expected_revision,
            internal_registry: self.rules.internal_registry.clone(),
            tags_per_stream: self.rules.tags_per_stream,
        };
        let events = decide_together(&round.stage, &context, &wishes)?;
        let recorded = envelopes(&round.stage, &origin, now, round.next, events);
        let stored: Vec<_> = recorded.iter().map(codec::encode).collect();
        // Checked before anything is staged: a round is not to fail for one command that is too large.
        if let Some(bytes) = stored.iter().map(bytes::Bytes::len).find(|bytes| *bytes > MAX_PAYLOAD_BYTES) {
            return Err(Refusal::Usage(format!(
                "this would make an event of {bytes} bytes; at most {MAX_PAYLOAD_BYTES} can be kept"
            ))
            .into());
        }
        let bytes: usize = stored.iter().map(|bytes| HEADER_BYTES + bytes.len()).sum();
        if bytes > RUN_BYTES {
            return Err(Refusal::Usage(format!(
                "this would make {} events of {bytes} bytes together; at most {RUN_BYTES} can be kept at once, so do it in smaller steps",
                stored.len()
            ))
            .into());
        }
        let mut stored_events = stored.iter();
        for events in recorded.chunk_by(|one, next| one.stream == next.stream) {
            let (key, last) = (&events[0].stream, events[events.len() - 1].sequence);
            let before = round.stage.stream(key);
            for (event, bytes) in events.iter().zip(stored_events.by_ref()) {
                round.stage.apply(event, bytes);
            }
            round.changes.push(Change { before, after: round.stage.stream(key), events: events.len(), last });
        }
        let after = round.stage.stream(first);
        round.bytes += bytes;
        let length = u32::try_from(stored.len()).expect("a command makes few events");
        let run = Run { first_sequence: round.next, length };
        if !stored.is_empty() {
            self.last_time = now;
            round.next += u64::from(length);
            round.runs.push(stored);
        }
        Ok(Written { run, events: recorded, repeated: false, after })
    }
}

struct Round<'v> {
    stage: Stage<'v>,
    runs: Vec<tagtrail_event_log::Run>,
    /// What the runs made of their streams, in the order of the events.
    changes: Vec<Change>,
    next: u64,
    bytes: usize,
    answers: Vec<(Reply, Result<Written, WriteError>)>,
}

/// Puts the facts of one command into their envelopes.
fn envelopes(
    world: &impl World,
    origin: &Origin,
    now: Timestamp,
    first_sequence: u64,
    events: Vec<(StreamKey, Event)>,
) -> Vec<Recorded> {
    let run =
        Run { first_sequence, length: u32::try_from(events.len()).expect("a command makes few events") };
    let mut revisions: BTreeMap<StreamKey, u64> = BTreeMap::new();
    let mut revision = |key: &StreamKey| {
        let newest = revisions.entry(key.clone()).or_insert_with(|| world.stream(key).revision);
        *newest += 1;
        *newest
    };
    let envelope = |(sequence, (stream, event)): (u64, (StreamKey, Event))| Recorded {
        sequence,
        revision: revision(&stream),
        recorded_at: now,
        run,
        stream,
        actor: origin.actor.clone(),
        reason: origin.reason.clone(),
        command: origin.name.to_owned(),
        request_id: origin.request_id.clone(),
        request_digest: origin.request_digest.clone(),
        caused_by: origin.caused_by,
        traceparent: origin.traceparent.clone(),
        event,
    };
    (first_sequence..).zip(events).map(envelope).collect()
}

impl Written {
    /// Sequence of the last event, 0 if there was none.
    #[must_use]
    pub(crate) fn sequence(&self) -> u64 {
        match self.run.length {
            0 => 0,
            length => self.run.first_sequence + u64::from(length) - 1,
        }
    }
}

#[cfg(test)]
mod tests;
