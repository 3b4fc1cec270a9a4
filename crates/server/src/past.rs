//! The past, read from the log: streams as they were. The cost grows with a stream's own events alone.

use std::sync::Arc;

use tagtrail_domain::event::Recorded;
use tagtrail_domain::{Model, Position, StreamKey, StreamState, apply};
use tagtrail_event_log::codec::{self, DecodeError};
use tagtrail_event_log::{Log, ReadError};
use tagtrail_projection::View;

/// How many events are looked for at a time.
const EVENTS: usize = 1_000;

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

    /// One event.
    pub(crate) fn event(&self, sequence: u64) -> Result<Recorded, PastError> {
        let stored = self.log.read(sequence, 1, usize::MAX)?;
        let stored = stored.first().ok_or(PastError::Missing(sequence))?;
        Ok(codec::decode(&stored.payload)?)
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
            for sequence in sequences.iter().filter(|sequence| **sequence < end) {
                take(self.event(*sequence)?);
            }
            match sequences.last() {
                Some(last) if *last < end => from = last + 1,
                _ => return Ok(()),
            }
        }
    }
}
