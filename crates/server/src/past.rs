//! The past, read from the log: streams as they were. The cost grows with a stream's own events alone.

use std::sync::Arc;

use prost::Message;
use tagtrail_api::v1;
use tagtrail_domain::event::Recorded;
use tagtrail_domain::state::Current;
use tagtrail_domain::{Digest, Model, Position, StreamKey, StreamState, TagName, World, apply};
use tagtrail_event_log::codec::{self, DecodeError};
use tagtrail_event_log::{Log, ReadError, Stored};
use tagtrail_projection::{Look, View};

/// How many events are looked for at a time.
const EVENTS: usize = 1_000;
/// How many bytes of events are read at a time.
const READ_BYTES: usize = 1 << 20;
/// Events that lie no farther apart are read in one go: to read what lies between costs less than to look for the next.
const NEAR: u64 = 4;

/// Reads the past. The read model knows which events are a stream's, and the log what they say.
#[derive(Clone)]
pub(crate) struct Past {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) view: Arc<View>,
}

/// Why the past cannot be read. Nothing is made up instead.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PastError {
    /// The log could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The read model names an event that the log does not have.
    #[error("event {0} is not there")]
    Missing(u64),
    /// An event is not one this version can read.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

/// A stream with its histories: as it is, or as it was.
pub(crate) enum Then<'v> {
    /// As the rows have it. The writer waits while it lives.
    Now(Look<'v>),
    /// As its events tell.
    Past(Model),
}

impl Then<'_> {
    /// The state of the stream's name.
    pub(crate) fn stream(&self, key: &StreamKey) -> Arc<StreamState> {
        match self {
            Self::Now(look) => look.stream(key),
            Self::Past(model) => model.stream(key),
        }
    }

    /// All images in the history of the stream, once each.
    pub(crate) fn images(&self, key: &StreamKey) -> Vec<Digest> {
        match self {
            Self::Now(look) => look.stream_images(key),
            Self::Past(model) => model.find_image(key, "").into_iter().map(|(digest, _)| digest).collect(),
        }
    }

    /// A tag's history as OpenShift shows it, newest first: see [`Look::history`].
    pub(crate) fn history(
        &self,
        key: &StreamKey,
        tag: &TagName,
        before: u64,
        limit: usize,
    ) -> Vec<(u64, Current)> {
        match self {
            Self::Now(look) => look.history(key, tag, before, limit),
            Self::Past(model) => {
                let items = model.history(key, tag);
                let items = &items[..items.len().min(usize::try_from(before).unwrap_or(usize::MAX))];
                let numbers = (0..items.len() as u64).rev();
                numbers.zip(items.iter().rev().cloned()).take(limit).collect()
            }
        }
    }
}

impl Past {
    /// A stream as it was before the event `end`, with its histories.
    pub(crate) fn stream_until(&self, key: &StreamKey, end: u64) -> Result<Model, PastError> {
        let mut model = Model::default();
        self.each(key, 1, end, |Recorded { event, sequence, recorded_at, .. }| {
            model.apply(key, &event, Position { sequence, recorded_at });
        })?;
        Ok(model)
    }

    /// A stream as it was before the event `end`, without its histories. `state` is what it was before the event `from`.
    pub(crate) fn state_until(
        &self,
        key: &StreamKey,
        mut state: Arc<StreamState>,
        from: u64,
        end: u64,
    ) -> Result<Arc<StreamState>, PastError> {
        self.each(key, from, end, |Recorded { event, sequence, recorded_at, .. }| {
            let before = Arc::unwrap_or_clone(std::mem::take(&mut state));
            state = Arc::new(apply(before, &event, Position { sequence, recorded_at }));
        })?;
        Ok(state)
    }

    /// A stream as it was right after the event `at`, without its histories. Where nothing has happened to it since, the
    /// read model knows.
    pub(crate) fn state_at(&self, key: &StreamKey, at: u64) -> Result<Arc<StreamState>, PastError> {
        let now = self.view.stream(key);
        if now.sequence <= at { Ok(now) } else { self.state_until(key, Arc::default(), 1, at + 1) }
    }

    /// One event.
    pub(crate) fn event(&self, sequence: u64) -> Result<Recorded, PastError> {
        let stored = self.log.read(sequence, 1, usize::MAX)?;
        let stored = stored.first().ok_or(PastError::Missing(sequence))?;
        Ok(codec::decode(&stored.payload)?)
    }

    /// One event in the words of the wire.
    pub(crate) fn told_one(&self, sequence: u64) -> Result<v1::Event, PastError> {
        self.told(&[sequence])?.pop().ok_or(PastError::Missing(sequence))
    }

    /// Events in the words of the wire, by their sequences, which ascend.
    pub(crate) fn told(&self, sequences: &[u64]) -> Result<Vec<v1::Event>, PastError> {
        let mut events = Vec::with_capacity(sequences.len());
        self.read(sequences, |stored| {
            events.push(v1::Event::decode(stored.payload.clone()).map_err(DecodeError::from)?);
            Ok(())
        })?;
        Ok(events)
    }

    /// The events of a stream from `from` on, before `end`.
    fn each(
        &self,
        key: &StreamKey,
        mut from: u64,
        end: u64,
        mut take: impl FnMut(Recorded),
    ) -> Result<(), PastError> {
        loop {
            let sequences = self.view.events_of(key, from, EVENTS);
            let wanted = sequences.partition_point(|sequence| *sequence < end);
            self.read(&sequences[..wanted], |stored| {
                take(codec::decode(&stored.payload)?);
                Ok(())
            })?;
            match sequences.last() {
                Some(last) if wanted == sequences.len() => from = last + 1,
                _ => return Ok(()),
            }
        }
    }

    /// Reads events by their sequences, which ascend.
    fn read(
        &self,
        sequences: &[u64],
        mut take: impl FnMut(&Stored) -> Result<(), PastError>,
    ) -> Result<(), PastError> {
        for near in sequences.chunk_by(|one, next| next - one <= NEAR) {
            let mut left = near;
            while let (Some(first), Some(last)) = (left.first(), left.last()) {
                let span = usize::try_from(last - first + 1).unwrap_or(usize::MAX);
                let events = self.log.read(*first, span, READ_BYTES)?;
                if events.first().is_none_or(|stored| stored.sequence != *first) {
                    return Err(PastError::Missing(*first));
                }
                for stored in &events {
                    if left.first() == Some(&stored.sequence) {
                        take(stored)?;
                        left = &left[1..];
                    }
                }
            }
        }
        Ok(())
    }
}
