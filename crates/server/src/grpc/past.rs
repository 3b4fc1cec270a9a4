//! The past: what a repeated request was answered the first time.

use tagtrail_api::v1;
use tagtrail_domain::event::{Recorded, Run};
use tagtrail_domain::{Fact, Model, Position, StreamKey, World};
use tagtrail_event_log::codec;
use tonic::Status;

use super::{Services, errors};
use crate::writer::Written;

/// How many events are looked for at a time.
const EVENTS: usize = 1_000;

impl Services {
    /// What a write came to when it was first asked for.
    pub(super) fn recall(&self, key: &StreamKey, run: Run) -> Result<Written, Status> {
        let end = run.first_sequence + u64::from(run.length);
        let events = (run.first_sequence..end).map(|n| self.event(n)).collect::<Result<_, _>>()?;
        let after = self.stream_until(key, end)?.stream(key);
        Ok(Written { run, events, repeated: true, after })
    }

    /// A stream as it was before the event `end`, with its histories. The cost grows with its own events alone.
    pub(super) fn stream_until(&self, key: &StreamKey, end: u64) -> Result<Model, Status> {
        let mut model = Model::default();
        let mut from = 1;
        loop {
            let sequences = self.view.events_of(key, from, EVENTS);
            for sequence in sequences.iter().filter(|sequence| **sequence < end) {
                let Recorded { event, sequence, recorded_at, .. } = self.event(*sequence)?;
                model.apply(key, &event, Position { sequence, recorded_at });
            }
            match sequences.last() {
                Some(last) if *last < end => from = last + 1,
                _ => return Ok(model),
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
