//! What is to be done without anybody asking: tags that wait for their import, tags that are checked again, and holds that
//! end. All of it can be read from the read model; this is where it is kept at hand.

mod holds;
mod pending;
mod schedule;

use std::collections::BTreeSet;
use std::time::Instant;

use tagtrail_domain::{Fact, Recorded, StreamKey, StreamState, TagName, Timestamp};
use tagtrail_projection::View;

use crate::config::Intervals;

pub(crate) use holds::{Ending, Holds};
pub(crate) use pending::{Imported, Pending, Task};
pub(crate) use schedule::{Check, Listed, Next, Outcome, Place, Schedule, Seen};

/// What is to be done.
pub(crate) struct Work {
    /// Imports that were asked for.
    pub pending: Pending,
    /// Tags that are checked again.
    pub schedule: Schedule,
    /// Holds that end by themselves.
    pub holds: Holds,
}

impl Work {
    /// No work yet. `draw` gives random numbers of at least 0 and less than 1.
    #[must_use]
    pub(crate) fn new(intervals: Intervals, draw: impl Fn() -> f64 + Send + Sync + 'static) -> Self {
        let schedule = Schedule::new(intervals, draw);
        Self { pending: Pending::default(), schedule, holds: Holds::default() }
    }

    /// Takes up the work that a start finds in the read model. `wall` and `now` are the same moment.
    pub(crate) fn fill(&self, view: &View, wall: Timestamp, now: Instant) {
        self.pending.fill(view.pending(), now);
        for key in view.checked() {
            self.schedule.fill(&key, &view.stream(&key), wall, now);
        }
        for key in view.expiring() {
            self.holds.fill(&key, &view.stream(&key));
        }
    }

    /// A command has changed a stream; `state` is what the stream is now.
    pub(crate) fn changed(&self, key: &StreamKey, events: &[Recorded], state: &StreamState, now: Instant) {
        self.pending.changed(key, state, now);
        let whole = |recorded: &Recorded| {
            matches!(recorded.event.fact, Fact::StreamCreated { .. } | Fact::StreamDeleted { .. })
        };
        let tags: BTreeSet<&TagName> =
            events.iter().filter_map(|recorded| recorded.event.fact.tag()).collect();
        let tags = if events.iter().any(whole) { None } else { Some(&tags) };
        self.schedule.changed(key, state, tags, now);
        self.holds.changed(key, events, state);
    }
}
