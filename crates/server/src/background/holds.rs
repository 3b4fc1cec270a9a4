//! Releasing tags whose time is up.

use std::time::Duration;

use tagtrail_domain::event::Actor;
use tagtrail_domain::{Command, Timestamp};

use super::Background;
use crate::work::Ending;
use crate::writer::{Origin, Write, WriteError};

/// The longest sleep: a clock that is set is noticed this soon.
const LONGEST: Duration = Duration::from_secs(30);
/// After which time a release is tried again that came to nothing for a reason of our own.
const RETRY_AFTER: Duration = Duration::from_secs(1);

impl Background {
    pub(super) async fn release_what_is_over(self) {
        let holds = &self.work.holds;
        loop {
            // A ring that comes before we listen is kept: `changed` is rung for one.
            let changed = holds.changed.notified();
            let wait = match holds.next() {
                Some(ending) if ending.at <= self.outside.now() => {
                    if self.release(&ending).await {
                        continue;
                    }
                    RETRY_AFTER
                }
                Some(ending) => until(ending.at, self.outside.now()),
                None => LONGEST,
            };
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Gives whether there is nothing left to do about it.
    async fn release(&self, ending: &Ending) -> bool {
        let Ending { key, tag, .. } = ending;
        let actor = Actor { name: "tagtrail".into(), authenticated: true };
        let origin = Origin { name: "release", actor, caused_by: self.held_by(ending), ..Origin::default() };
        let command = Command::Release { tag: tag.clone(), expired: true };
        match self.writer.write(Write::one(key.clone(), command, origin)).await {
            Ok(_) | Err(WriteError::Refused(_)) => {
                // Nothing happened, if it was released or held anew meanwhile: then it is looked at again.
                self.work.holds.fill(key, &self.view.stream(key));
                true
            }
            Err(
                error @ (WriteError::Busy | WriteError::TooLate | WriteError::Full(_) | WriteError::Stopped),
            ) => {
                tracing::warn!(stream = %key, %tag, %error, "a tag whose time is up could not be released");
                false
            }
        }
    }

    /// The event that put a hold on its tag.
    fn held_by(&self, ending: &Ending) -> u64 {
        let state = self.view.stream(&ending.key);
        state.tag(&ending.tag).and_then(|tag| tag.hold.as_ref()).map_or(0, |hold| hold.sequence)
    }
}

fn until(at: Timestamp, now: Timestamp) -> Duration {
    let nanos = |at: Timestamp| i128::from(at.seconds) * 1_000_000_000 + i128::from(at.nanos);
    let left = u64::try_from((nanos(at) - nanos(now)).max(0)).unwrap_or(u64::MAX);
    Duration::from_nanos(left).min(LONGEST)
}
