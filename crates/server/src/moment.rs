//! Moments: which events count, where somebody asks how things were.

use tagtrail_api::v1;
use tagtrail_api::v1::moment::When;
use tagtrail_domain::Timestamp;
use tagtrail_event_log::codec::to_proto;

use crate::convert::rfc3339;
use crate::past::{Past, PastError};

/// A moment of the past. It ends a command: half of one is never shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct At {
    /// The last event that counts. 0: none does.
    pub(crate) sequence: u64,
    /// From when ages are counted. `None`: nothing had happened, so nothing has an age.
    pub(crate) time: Option<Timestamp>,
}

impl At {
    /// In the words of the wire.
    pub(crate) fn shown(self) -> v1::ShownMoment {
        v1::ShownMoment { sequence: self.sequence, time: self.time.map(to_proto::timestamp) }
    }
}

/// Why there is no such moment.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MomentError {
    /// The log does not go so far.
    #[error("the log ends at sequence {end}; {asked} lies beyond it")]
    Beyond {
        /// What was asked for.
        asked: u64,
        /// Where the log ends.
        end: u64,
    },
    /// Nobody knows what will be.
    #[error("{} is yet to come: here it is {}; give a time that has passed", rfc3339(*asked), rfc3339(*now))]
    YetToCome {
        /// What was asked for.
        asked: Timestamp,
        /// The time on the server's clock.
        now: Timestamp,
    },
    /// It says nothing, or a time that is none.
    #[error("{0}")]
    Malformed(&'static str),
    /// The log could not be read.
    #[error(transparent)]
    Past(#[from] PastError),
}

impl Past {
    /// Finds a moment, among what every read sees. `now` is the time on the server's clock.
    pub(crate) fn moment(&self, asked: &v1::Moment, now: Timestamp) -> Result<At, MomentError> {
        match &asked.when {
            Some(When::Sequence(sequence)) => self.moment_after(*sequence),
            Some(When::Time(time)) => {
                let time = timestamp(time.seconds, time.nanos).ok_or(MomentError::Malformed(
                    "the nanoseconds of a time must be at least 0 and less than a second",
                ))?;
                self.moment_of(time, now)
            }
            None => Err(MomentError::Malformed("a moment needs a sequence or a time")),
        }
    }

    /// This moment: up to where every read sees.
    pub(crate) fn present(&self, now: Timestamp) -> At {
        At { sequence: self.view.position(), time: Some(now) }
    }

    fn moment_after(&self, sequence: u64) -> Result<At, MomentError> {
        let end = self.view.position();
        if sequence > end {
            return Err(MomentError::Beyond { asked: sequence, end });
        }
        if sequence == 0 {
            return Ok(At { sequence, time: None });
        }
        let (sequence, recorded_at) = self.end_of_command(sequence)?;
        Ok(At { sequence, time: Some(recorded_at) })
    }

    /// The log is in order of time, so about twenty looks find the last event that was recorded by then.
    fn moment_of(&self, time: Timestamp, now: Timestamp) -> Result<At, MomentError> {
        if time > now.max(self.view.recorded_at()) {
            return Err(MomentError::YetToCome { asked: time, now });
        }
        // All up to `past` was recorded by then, and nothing from `later` on.
        let (mut past, mut later) = (0, self.view.position() + 1);
        while past + 1 < later {
            let middle = past + (later - past) / 2;
            if self.event(middle)?.recorded_at <= time { past = middle } else { later = middle }
        }
        let sequence = if past == 0 { 0 } else { self.end_of_command(past)?.0 };
        Ok(At { sequence, time: Some(time) })
    }

    /// The last event of the command that made an event, and when it was recorded.
    fn end_of_command(&self, sequence: u64) -> Result<(u64, Timestamp), PastError> {
        let event = self.event(sequence)?;
        let length = u64::from(event.run.length).max(1);
        Ok(((event.run.first_sequence + length - 1).max(sequence), event.recorded_at))
    }
}

pub(crate) fn timestamp(seconds: i64, nanos: i32) -> Option<Timestamp> {
    let nanos = u32::try_from(nanos).ok().filter(|nanos| *nanos < 1_000_000_000)?;
    Some(Timestamp::new(seconds, nanos))
}
