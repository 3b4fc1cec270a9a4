//! The past: what a repeated request was answered the first time.

use tagtrail_api::v1;
use tagtrail_domain::event::{Recorded, Run};
use tagtrail_domain::{Fact, Model, StreamKey, World};
use tagtrail_event_log::codec;
use tonic::Status;

use super::{Services, errors};
use crate::past::Past;
use crate::writer::Written;

impl Services {
    /// What a write came to when it was first asked for.
    pub(super) fn recall(&self, key: &StreamKey, run: Run) -> Result<Written, Status> {
        let end = run.first_sequence + u64::from(run.length);
        let past = self.past();
        let events = (run.first_sequence..end).map(|n| past.event(n)).collect::<Result<_, _>>();
        let events = events.map_err(|error| errors::past(&error))?;
        let after = self.stream_until(key, end)?.stream(key);
        Ok(Written { run, events, repeated: true, after })
    }

    /// A stream as it was before the event `end`, with its histories. The cost grows with its own events alone.
    pub(super) fn stream_until(&self, key: &StreamKey, end: u64) -> Result<Model, Status> {
        self.past().stream_until(key, end).map_err(|error| errors::past(&error))
    }

    pub(super) fn past(&self) -> Past {
        Past { log: self.log.clone(), view: self.view.clone() }
    }
}

/// The source that a write gave a tag, if it set one.
pub(super) fn source_set(events: &[Recorded]) -> Option<v1::TagSource> {
    events.iter().find_map(|recorded| match &recorded.event.fact {
        Fact::TagSet { spec, .. } => spec.source.as_ref().map(codec::to_proto::tag_source),
        _ => None,
    })
}
