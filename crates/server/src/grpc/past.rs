//! The past: what a repeated request was answered the first time.

use std::sync::Arc;

use tagtrail_api::v1;
use tagtrail_domain::event::Recorded;
use tagtrail_domain::{Fact, Model, Position, StreamKey, StreamState, World};
use tagtrail_event_log::codec;
use tonic::Status;

use super::{Services, errors};
use crate::writer::Written;

/// How many events are read at a time.
const EVENTS: usize = 1_000;

impl Services {
    /// The events of a write: those it made now, or those it made when it was first asked for.
    pub(super) fn events_of(&self, written: &Written) -> Result<Vec<Recorded>, Status> {
        if !written.repeated {
            return Ok(written.events.clone());
        }
        let run = written.run;
        (run.first_sequence..run.first_sequence + u64::from(run.length)).map(|n| self.event(n)).collect()
    }

    /// A stream as it was after a write, from its own events. The cost grows with the stream's history alone.
    pub(super) fn stream_after(
        &self,
        key: &StreamKey,
        written: &Written,
    ) -> Result<Arc<StreamState>, Status> {
        if !written.repeated {
            return Ok(written.after.clone());
        }
        let mut model = Model::default();
        let mut from = 1;
        loop {
            let sequences = self.view.events_of(key, from, EVENTS);
            for sequence in &sequences {
                if *sequence > written.sequence() {
                    return Ok(model.stream(key));
                }
                let recorded = self.event(*sequence)?;
                let at = Position { sequence: recorded.sequence, recorded_at: recorded.recorded_at };
                model.apply(key, &recorded.event, at);
            }
            match sequences.last() {
                Some(last) if sequences.len() == EVENTS => from = last + 1,
                _ => return Ok(model.stream(key)),
            }
        }
    }

    fn event(&self, sequence: u64) -> Result<Recorded, Status> {
        let stored = self.log.read(sequence, 1, usize::MAX).map_err(|error| errors::unreadable(&error))?;
        let stored =
            stored.first().ok_or_else(|| errors::internal(&format!("event {sequence} is not there")))?;
        codec::decode(&stored.payload).map_err(|error| errors::internal(&error))
    }
}

/// The source that a write gave a tag, if it set one.
pub(super) fn source_set(events: &[Recorded]) -> Option<v1::TagSource> {
    events.iter().find_map(|recorded| match &recorded.event.fact {
        Fact::TagSet { spec, .. } => spec.source.as_ref().map(codec::to_proto::tag_source),
        _ => None,
    })
}
