//! Checks of tags on the schedule, and of tags whose import failed. A HEAD tells whether a tag has moved; only then is
//! anything fetched, and only what changed is written.

use std::iter;
use std::panic::AssertUnwindSafe;
use std::time::Instant;

use futures_util::FutureExt;
use tagtrail_domain::check::{Reason, unmoved};
use tagtrail_domain::command::ImportOrigin;
use tagtrail_domain::event::HistoryChange;
use tagtrail_domain::import_plan::{ImportPlan, PlannedImage, is_scheduled, plan_tag};
use tagtrail_domain::{Digest, Fact, ImageReference, Stream, StreamKey, TagName, TagState};
use tagtrail_importer::{Probe, Turn, default_platform};

use super::{Background, NotTaken, until};
use crate::importing::{Answer, Question};
use crate::work::{Check, Next, Outcome, Seen};
use crate::writer::Written;

/// How often a registry may put a tag off before that is written down as a failure of the tag.
const PATIENCE: u32 = 2;
/// How many other tags of a stream are asked about when one has moved.
const MOST_ALONG: usize = 16;

impl Background {
    pub(super) async fn check_what_is_due(self) {
        // Dropped with this future, and the checks with it.
        let mut tasks = tokio::task::JoinSet::new();
        let schedule = &self.work.schedule;
        loop {
            let now = Instant::now();
            // A ring that comes before we listen is kept: `arrived` is rung for one.
            let arrived = schedule.arrived.notified();
            match schedule.next(now, |reference| self.importing.turn(reference)) {
                Next::Check(check, turn) => {
                    tasks.spawn(self.clone().check(check, turn));
                }
                Next::WaitUntil(moment) => {
                    tokio::select! {
                        () = arrived => {}
                        () = until(moment) => {}
                    }
                }
            }
            while tasks.try_join_next().is_some() {}
        }
    }

    /// Checks one tag, and says when it is done, whatever happens.
    async fn check(self, check: Box<Check>, turn: Turn) {
        let began = Instant::now();
        let checked = AssertUnwindSafe(self.try_check(&check, turn)).catch_unwind().await;
        let (outcome, seen) = checked.unwrap_or(Err(NotTaken::Panicked)).unwrap_or_else(|error| {
            tracing::warn!(stream = %check.key, tag = %check.tag, %error, "a check came to nothing");
            (Outcome::Ours(error.to_string()), None)
        });
        crate::metrics::checked(outcome.word(), began.elapsed());
        self.work.schedule.done(&check, outcome, seen, self.outside.now(), Instant::now());
    }

    async fn try_check(&self, check: &Check, turn: Turn) -> Result<(Outcome, Option<Seen>), NotTaken> {
        let state = self.view.stream(&check.key);
        let stream = state.life.as_ref();
        let tag = stream.and_then(|stream| stream.tags.get(&check.tag));
        let (Some(stream), Some(tag)) = (stream, tag) else { return Ok((Outcome::Dropped, None)) };
        let Some(image) = plan_tag(&check.tag, tag) else { return Ok((Outcome::Dropped, None)) };

        let Some(named) = named_before(check, &image, tag) else {
            // Fetching is charged by itself.
            self.importing.give_back(turn);
            return self.fetch(check, stream, tag, image, Vec::new()).await;
        };
        match self.importing.probe(&check.key.namespace, &image, turn).await {
            Probe::Digest(digest) if digest == named => Ok((Outcome::Unchanged, None)),
            Probe::Digest(_) => {
                let along = self.moved_along(&check.key, &check.tag, stream, &image).await;
                self.fetch(check, stream, tag, image, along).await
            }
            Probe::Unknown => self.fetch(check, stream, tag, image, Vec::new()).await,
            Probe::Later(wait, failure) => {
                // That a registry has much to do says nothing of the tag, at first.
                if check.failures >= PATIENCE {
                    let answer = Answer::failed(image, stream, failure.clone());
                    self.write_down(check, tag, &answer).await?;
                }
                Ok((Outcome::PutOff(wait, failure), None))
            }
        }
    }

    /// Other tags of the stream on the same schedule that follow the same repository and have moved as well: what was
    /// pushed together arrives in one commit, as OpenShift's one import for all of them has it (spec §3.8). Asked as
    /// far as the registry's budget goes; the rest comes when it is due.
    async fn moved_along(
        &self,
        key: &StreamKey,
        tag: &TagName,
        stream: &Stream,
        image: &PlannedImage,
    ) -> Vec<PlannedImage> {
        let others = stream.tags.iter().filter(|(name, state)| *name != tag && is_scheduled(state));
        let candidates = others.filter_map(|(name, state)| {
            let other = plan_tag(name, state)?;
            let alike = other.policy.interval == image.policy.interval && same_repository(&other, image);
            Some((other, unmoved(state, default_platform())?)).filter(|_| alike)
        });
        let mut moved = Vec::new();
        for (other, named) in candidates.take(MOST_ALONG) {
            let Ok(turn) = self.importing.turn(&other.reference) else { break };
            if matches!(self.importing.probe(&key.namespace, &other, turn).await, Probe::Digest(digest) if digest != *named)
            {
                moved.push(other);
            }
        }
        moved
    }

    async fn fetch(
        &self,
        check: &Check,
        stream: &Stream,
        tag: &TagState,
        image: PlannedImage,
        along: Vec<PlannedImage>,
    ) -> Result<(Outcome, Option<Seen>), NotTaken> {
        let question = Question::of(&image);
        let uid = Some(stream.uid.clone());
        let images = iter::once(image).chain(along).collect();
        let plan = ImportPlan { images, uid, ..ImportPlan::default() };
        let answer = self.importing.ask(&check.key.namespace, plan, Some(stream)).await;
        let written = self.write_down(check, tag, &answer).await?;
        match answer.images.first().map(|image| &image.outcome) {
            Some(Ok(fetched)) => {
                let image = fetched.image.digest.clone();
                let named = fetched.index.clone().unwrap_or_else(|| image.clone());
                let moved = moved(&check.tag, &written);
                let seen = Seen { question, named, image };
                Ok((moved.map_or(Outcome::Unchanged, Outcome::Moved), Some(seen)))
            }
            Some(Err(failure)) => Ok((Outcome::Failed(failure.clone()), None)),
            None => Ok((Outcome::Dropped, None)),
        }
    }

    async fn write_down(&self, check: &Check, tag: &TagState, answer: &Answer) -> Result<Written, NotTaken> {
        let (origin, caused_by) = match check.reason {
            // A schedule is no wish.
            Reason::Scheduled => (ImportOrigin::Schedule, 0),
            Reason::Failed => (ImportOrigin::Background, tag.spec_sequence),
        };
        self.take_over(&check.key, answer, origin, caused_by).await
    }
}

/// What the registry has to name if the tag has not moved. `None`: a HEAD would not tell.
fn named_before(check: &Check, image: &PlannedImage, tag: &TagState) -> Option<Digest> {
    // A failure that holds is only taken back by the image itself.
    if tag.condition.is_some() {
        return None;
    }
    // A held tag stays where it is; what would have moved it is known.
    let withheld = tag.hold.as_ref().and_then(|hold| hold.withheld.as_ref());
    let current = withheld.or(tag.current.as_ref().map(|current| &current.item));
    let current = current.and_then(|item| item.image.as_ref());
    let remembered = check.seen.as_ref().filter(|seen| seen.question == Question::of(image));
    // Somebody may have moved the tag since then.
    let remembered = remembered.filter(|seen| Some(&seen.image) == current && !tag.needs_import());
    // Whether what would have moved it still would, nobody knows who does not remember it.
    let unmoved = || if withheld.is_some() { None } else { unmoved(tag, default_platform()) };
    remembered.map(|seen| &seen.named).or_else(unmoved).cloned()
}

fn same_repository(one: &PlannedImage, other: &PlannedImage) -> bool {
    let repository = |image: &PlannedImage| {
        let ImageReference { registry, namespace, name, .. } = image.reference.with_defaults();
        (registry, namespace, name)
    };
    repository(one) == repository(other)
}

/// Where the tag points to now, if what was written took it to another image. After a failure the image it had is
/// renewed, which is no move.
fn moved(tag: &TagName, written: &Written) -> Option<Digest> {
    written.events.iter().find_map(|recorded| match &recorded.event.fact {
        Fact::TagMoved(moved) if moved.tag == *tag && moved.change != HistoryChange::Renewed => {
            moved.item.image.clone()
        }
        _ => None,
    })
}
