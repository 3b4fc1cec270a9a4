//! The past: what a repeated request was answered the first time.

use std::collections::BTreeSet;
use std::sync::Arc;

use tagtrail_api::v1;
use tagtrail_domain::event::Recorded;
use tagtrail_domain::{Fact, HistoryItem, Model, Position, StreamKey, StreamState, TagName, World};
use tagtrail_event_log::codec;
use tonic::Status;

use super::{Services, errors};
use crate::convert::{Histories, Shown};
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

    /// What every write answers. A repeat answers with the revision of then, not with that of now.
    pub(super) fn result(&self, written: &Written) -> Result<v1::WriteResult, Status> {
        let revision = match written.repeated {
            true => self.event(written.sequence())?.revision,
            false => written.after.revision,
        };
        Ok(v1::WriteResult { sequence: written.sequence(), revision, repeated: written.repeated })
    }

    /// A stream as it was after a write. After a repeat it is made of its own events, so the cost grows with the
    /// stream's history alone.
    pub(super) fn after(&self, key: &StreamKey, written: &Written) -> Result<After, Status> {
        if !written.repeated {
            return Ok(After::now(written.after.clone()));
        }
        let mut model = Model::default();
        let mut from = 1;
        'pages: loop {
            let sequences = self.view.events_of(key, from, EVENTS);
            for sequence in &sequences {
                if *sequence > written.sequence() {
                    break 'pages;
                }
                let recorded = self.event(*sequence)?;
                let at = Position { sequence: recorded.sequence, recorded_at: recorded.recorded_at };
                model.apply(key, &recorded.event, at);
            }
            match sequences.last() {
                Some(last) if sequences.len() == EVENTS => from = last + 1,
                _ => break,
            }
        }
        Ok(After { state: model.stream(key), then: Some(model) })
    }

    /// How to show what [`Services::after`] gave.
    pub(super) fn shown_after<'a>(&'a self, after: &'a After) -> Shown<'a> {
        match &after.then {
            Some(model) => Shown { histories: model, ..self.shown() },
            None => self.shown(),
        }
    }

    fn event(&self, sequence: u64) -> Result<Recorded, Status> {
        let stored = self.log.read(sequence, 1, usize::MAX).map_err(|error| errors::unreadable(&error))?;
        let stored =
            stored.first().ok_or_else(|| errors::internal(&format!("event {sequence} is not there")))?;
        codec::decode(&stored.payload).map_err(|error| errors::internal(&error))
    }
}

/// A stream after a write.
pub(super) struct After {
    /// Its state.
    pub(super) state: Arc<StreamState>,
    /// Its histories, where they are not those of now.
    then: Option<Model>,
}

impl After {
    /// The present.
    pub(super) fn now(state: Arc<StreamState>) -> Self {
        Self { state, then: None }
    }
}

impl Histories for Model {
    fn items(&self, key: &StreamKey, tag: &TagName, before: u64, limit: usize) -> Vec<HistoryItem> {
        let items = self.history(key, tag);
        let older = items.len().min(usize::try_from(before).unwrap_or(usize::MAX));
        items[..older].iter().rev().take(limit).map(|current| current.item.clone()).collect()
    }

    fn unique_images(&self, key: &StreamKey) -> u64 {
        let state = self.stream(key);
        let tags = state.life.iter().flat_map(|stream| stream.tags.keys());
        let items = tags.flat_map(|tag| self.history(key, tag));
        items.map(|current| &current.item.image).collect::<BTreeSet<_>>().len() as u64
    }
}

/// The source that a write gave a tag, if it set one.
pub(super) fn source_set(events: &[Recorded]) -> Option<v1::TagSource> {
    events.iter().find_map(|recorded| match &recorded.event.fact {
        Fact::TagSet { spec, .. } => spec.source.as_ref().map(codec::to_proto::tag_source),
        _ => None,
    })
}
