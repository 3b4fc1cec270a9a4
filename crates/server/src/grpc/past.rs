//! The past: how things were at a moment, and what a repeated request was answered the first time.

use std::panic::resume_unwind;

use tagtrail_api::v1;
use tagtrail_domain::event::{Recorded, Run};
use tagtrail_domain::{Fact, Model, StreamKey};
use tagtrail_event_log::codec;
use tokio::sync::Semaphore;
use tonic::{Response, Status};

use super::{Services, errors};
use crate::convert::Shown;
use crate::moment::At;
use crate::past::{Past, Then, Wanted};
use crate::writer::Written;

/// How many answers about the past are put together at the same time. A long history takes its time and its memory, and
/// those who ask about the present are not to notice.
static TURNS: Semaphore = Semaphore::const_new(4);

impl Services {
    /// Answers at once, or, where the `past` is asked for, in its turn on a thread that may wait for the disk.
    pub(super) async fn in_turn<T: Send + 'static>(
        &self,
        past: bool,
        work: impl FnOnce(&Self) -> Result<T, Status> + Send + 'static,
    ) -> Result<Response<T>, Status> {
        if !past {
            return work(self).map(Response::new);
        }
        let turn = TURNS.acquire().await.expect("turns are never ended");
        let services = self.clone();
        let answer = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work(&services)
        });
        match answer.await {
            Ok(answer) => answer.map(Response::new),
            Err(error) => match error.try_into_panic() {
                // Whoever asked hears of it: see `errors::answer_panics`.
                Ok(panic) => resume_unwind(panic),
                Err(_) => Err(errors::not_ready()),
            },
        }
    }

    /// The moment that is asked for. `None`: now.
    pub(super) fn at(&self, asked: Option<&v1::Moment>) -> Result<Option<At>, Status> {
        let moment = asked.map(|moment| self.past().moment(moment, self.outside.now()));
        moment.transpose().map_err(|error| errors::no_moment(&error))
    }

    /// A stream as it is, or as it was at a moment, in words. Where nothing has happened to it since, it is as it was; else
    /// only what is wanted of its histories is there. The writer may wait until it is dropped.
    pub(super) fn shown_at(
        &self,
        key: &StreamKey,
        at: Option<At>,
        wanted: Wanted<'_>,
    ) -> Result<Shown<'_, Then<'_>>, Status> {
        let look = self.view.look();
        let then = match at {
            Some(at) if look.stream(key).sequence > at.sequence => {
                drop(look);
                let remembered = self.past().remember(key, at.sequence, wanted);
                Then::Past(remembered.map_err(|error| errors::past(&error))?)
            }
            _ => Then::Now(look),
        };
        Ok(Shown { look: then, repository: &self.config.repository })
    }

    /// What a write came to when it was first asked for.
    pub(super) fn recall(&self, key: &StreamKey, run: Run) -> Result<Written, Status> {
        let end = run.first_sequence + u64::from(run.length);
        let past = self.past();
        let events = (run.first_sequence..end).map(|n| past.event(n)).collect::<Result<_, _>>();
        let events = events.map_err(|error| errors::past(&error))?;
        let after = past.state_at(key, end - 1).map_err(|error| errors::past(&error))?;
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
