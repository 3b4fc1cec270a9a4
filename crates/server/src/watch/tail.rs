//! The newest events, kept in memory once for all watchers: whoever keeps up never reads the log.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use prost::Message;
use tagtrail_api::kind::Kind;
use tagtrail_api::v1;
use tagtrail_domain::StreamState;
use tagtrail_event_log::Run;
use tagtrail_event_log::codec::DecodeError;
use tokio::sync::watch;

/// How many events are kept, and about how many bytes of memory they may take.
const EVENTS: usize = 4_096;
const BYTES: usize = 16 << 20;
/// What an event takes beside its text, about; and what a stream takes for each of its tags.
const EVENT_BYTES: usize = 1 << 10;
const TAG_BYTES: usize = 96;
/// Of how many moments it is known how far the log was.
const MARKS: usize = 64;

/// An event of the log, decoded once.
pub(crate) struct Told {
    /// The event.
    pub(crate) event: Arc<v1::Event>,
    /// What it is about. `None`: only a newer version knows.
    pub(crate) kind: Option<Kind>,
    /// The bytes it takes in the log.
    pub(crate) size: usize,
    /// What its command made of the stream. `None`: to be read from the log.
    pub(crate) change: Option<Arc<Change>>,
}

/// A stream before and after a command.
pub(crate) struct Change {
    /// Before its first event.
    pub(crate) before: Arc<StreamState>,
    /// After its last event.
    pub(crate) after: Arc<StreamState>,
    /// How many events of the command are the stream's. They stand together.
    pub(crate) events: usize,
    /// Sequence of the last of them.
    pub(crate) last: u64,
}

impl Told {
    /// Decodes an event as the log keeps it.
    pub(crate) fn decode(stored: &Bytes, change: Option<Arc<Change>>) -> Result<Self, DecodeError> {
        let event = v1::Event::decode(stored.clone())?;
        Ok(Self { kind: Kind::of(&event), size: stored.len(), event: Arc::new(event), change })
    }

    /// The first and the last sequence of its command.
    pub(crate) fn run(&self) -> (u64, u64) {
        let run = self.event.run.unwrap_or_default();
        (run.first_sequence, run.first_sequence + u64::from(run.length.max(1)) - 1)
    }

    /// Whether both are of one stream and one command.
    pub(crate) fn is_of_one_change(&self, other: &Self) -> bool {
        let (this, that) = (&self.event, &other.event);
        self.run() == other.run() && (&this.namespace, &this.stream) == (&that.namespace, &that.stream)
    }

    /// The event alone. Whoever holds it for long is not to hold two states of a stream of ten thousand tags with it.
    pub(crate) fn without_change(&self) -> Self {
        Self { event: self.event.clone(), kind: self.kind, size: self.size, change: None }
    }

    /// About what the states of its stream take in memory.
    pub(crate) fn states(&self) -> usize {
        let lives = self.change.iter().flat_map(|change| [&change.before, &change.after]);
        lives.flat_map(|state| &state.life).map(|stream| stream.tags.len() * TAG_BYTES).sum()
    }

    fn weight(&self) -> usize {
        // All events that a command made of a stream share its states.
        let is_last = self.change.as_ref().is_some_and(|change| change.last == self.event.sequence);
        let states = if is_last { self.states() } else { 0 };
        // Decoded, each text is an allocation of its own.
        EVENT_BYTES + 2 * self.size + states
    }
}

/// The end of the log, as far as everybody may hear of it.
pub(crate) struct Tail {
    ring: Mutex<Ring>,
    position: watch::Sender<u64>,
    /// How exactly it is known when an event came.
    step: Duration,
}

struct Ring {
    /// Without gaps, the newest last.
    told: VecDeque<Arc<Told>>,
    weight: usize,
    /// Up to where the log was at some moments, or at most a step later.
    marks: VecDeque<(u64, Instant)>,
}

impl Tail {
    /// The tail of a log that nobody has looked at yet. It will be asked when an event came, to within `step`.
    pub(crate) fn new(step: Duration) -> Self {
        let ring = Ring { told: VecDeque::new(), weight: 0, marks: VecDeque::new() };
        Self { ring: Mutex::new(ring), position: watch::Sender::new(0), step }
    }

    /// Begins at the end of a log whose read model has caught up.
    pub(crate) fn begin(&self, position: u64) {
        self.ring().mark(position, Instant::now(), self.step);
        self.position.send_replace(position);
    }

    /// Tells of runs that follow the position, and of what they made of their streams, in the order of the events. To be
    /// called when they are durable and every read sees them: from here on watchers hear of them.
    pub(crate) fn tell(&self, runs: &[Run], changes: Vec<Change>) {
        let mut ring = self.ring();
        let mut position = *self.position.borrow();
        let mut events = runs.iter().flatten();
        for change in changes {
            let change = Arc::new(change);
            for stored in events.by_ref().take(change.events) {
                let told = Told::decode(stored, Some(change.clone()));
                let told = told.expect("it was encoded by this process a moment ago");
                position += 1;
                debug_assert_eq!(told.event.sequence, position, "runs come in order");
                ring.weight += told.weight();
                ring.told.push_back(Arc::new(told));
            }
        }
        while ring.told.len() > EVENTS || ring.weight > BYTES && ring.told.len() > 1 {
            let oldest = ring.told.pop_front().expect("it is not empty");
            ring.weight -= oldest.weight();
        }
        ring.mark(position, Instant::now(), self.step);
        drop(ring);
        self.position.send_replace(position);
    }

    /// Follows the position.
    pub(crate) fn follow(&self) -> watch::Receiver<u64> {
        self.position.subscribe()
    }

    /// The events after a sequence, at most `events` and about `bytes`, but at least one if there is one. `None`: they
    /// are older than what is kept.
    pub(crate) fn after(&self, sequence: u64, events: usize, bytes: usize) -> Option<Vec<Arc<Told>>> {
        let ring = self.ring();
        let first = ring.told.front().map_or(u64::MAX, |told| told.event.sequence);
        let skip = usize::try_from((sequence + 1).checked_sub(first)?).ok()?;
        let mut size = 0;
        let fits = |told: &&Arc<Told>| {
            let first = size == 0;
            size += told.size;
            first || size <= bytes
        };
        Some(ring.told.iter().skip(skip).take(events).take_while(fits).cloned().collect())
    }

    /// When an event came, about. `None`: long ago.
    pub(crate) fn came(&self, sequence: u64) -> Option<Instant> {
        let ring = self.ring();
        let before = ring.marks.partition_point(|(up_to, _)| *up_to < sequence);
        // Of what the first mark covers nobody knows how much earlier it came.
        ring.marks.get(before).filter(|_| before > 0).map(|(_, at)| *at)
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ring {
    fn mark(&mut self, position: u64, now: Instant, step: Duration) {
        match self.marks.back_mut() {
            Some((up_to, at)) if now.duration_since(*at) < step => *up_to = position,
            // The first one stays as it is: it covers what was there before.
            _ => self.marks.push_back((position, now)),
        }
        if self.marks.len() > MARKS {
            self.marks.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use tagtrail_domain::event::{Actor, Event, Fact, Recorded, Run};
    use tagtrail_domain::{StreamKey, Timestamp};
    use tagtrail_event_log::codec;

    use super::*;

    /// An event with a reason of so many bytes.
    fn stored(sequence: u64, bytes: usize) -> Bytes {
        codec::encode(&Recorded {
            sequence,
            revision: sequence,
            recorded_at: Timestamp::default(),
            run: Run { first_sequence: sequence, length: 1 },
            stream: StreamKey::parse("test", "app").expect("valid"),
            actor: Actor::default(),
            reason: "x".repeat(bytes),
            command: "test".into(),
            request_id: String::new(),
            request_digest: Vec::new(),
            caused_by: 0,
            traceparent: String::new(),
            event: Event {
                stream_uid: String::new(),
                generation: 1,
                fact: Fact::LookupPolicySet { local: true },
            },
        })
    }

    fn change(last: u64) -> Change {
        Change { before: Arc::default(), after: Arc::default(), events: 1, last }
    }

    fn told(events: u64, bytes: usize) -> Tail {
        let tail = Tail::new(Duration::from_millis(20));
        tail.begin(10);
        for sequence in 11..=10 + events {
            tail.tell(&[vec![stored(sequence, bytes)]], vec![change(sequence)]);
        }
        tail
    }

    fn sequences(tail: &Tail, after: u64, events: usize, bytes: usize) -> Option<Vec<u64>> {
        Some(tail.after(after, events, bytes)?.iter().map(|told| told.event.sequence).collect())
    }

    #[test]
    fn it_gives_what_it_has() {
        let tail = told(5, 100);
        assert_eq!(sequences(&tail, 10, 3, 10_000), Some(vec![11, 12, 13]));
        assert_eq!(sequences(&tail, 13, 3, 10_000), Some(vec![14, 15]));
        assert_eq!(sequences(&tail, 15, 3, 10_000), Some(vec![]));
        assert_eq!(sequences(&tail, 9, 3, 10_000), None);
        assert_eq!(sequences(&tail, 10, 3, 1), Some(vec![11]), "one always fits");
        assert_eq!(sequences(&Tail::new(Duration::ZERO), 0, 3, 1), None);
        assert_eq!(*tail.follow().borrow(), 15);
    }

    #[test]
    fn it_keeps_the_newest_within_its_bounds() {
        let tail = told(EVENTS as u64 + 5, 1);
        assert_eq!(sequences(&tail, 14, 1, 1), None);
        assert_eq!(sequences(&tail, 15, 1, 1), Some(vec![16]));
        // Large events: fewer of them.
        let tail = told(200, 60_000);
        let ring = tail.ring();
        assert!(
            ring.weight <= BYTES && ring.told.len() < 200,
            "{} in {} bytes",
            ring.told.len(),
            ring.weight
        );
        assert_eq!(ring.weight, ring.told.iter().map(|told| told.weight()).sum::<usize>());
        assert_eq!(ring.told.back().expect("the newest").event.sequence, 210);
    }

    #[test]
    fn it_knows_when_an_event_came() {
        let tail = told(1, 1);
        let began = Instant::now();
        std::thread::sleep(Duration::from_millis(50));
        tail.tell(&[vec![stored(12, 1)]], vec![change(12)]);
        assert_eq!(tail.came(10), None, "before anybody looked");
        assert!(tail.came(12).is_some_and(|came| came.duration_since(began) >= Duration::from_millis(50)));
    }
}
