//! Checks of tags on the schedule, and of tags whose import failed. A HEAD tells whether a tag has moved; only then is
//! anything fetched, and only what changed is written.

use std::panic::AssertUnwindSafe;
use std::time::Instant;

use futures_util::FutureExt;
use tagtrail_domain::check::{Reason, unmoved};
use tagtrail_domain::command::ImportOrigin;
use tagtrail_domain::import_plan::{ImportPlan, PlannedImage, plan_tag};
use tagtrail_domain::{Digest, Fact, Stream, TagName, TagState};
use tagtrail_importer::{Probe, Turn, default_platform};

use super::{Background, NotTaken, until};
use crate::importing::{Answer, Question};
use crate::work::{Check, Next, Outcome, Seen};
use crate::writer::Written;

/// How often a registry may put a tag off before that is written down as a failure of the tag.
const PATIENCE: u32 = 2;

impl Background {
    pub(super) async fn check_what_is_due(self) {
        // Dropped with this future, and the checks with it.
        let mut tasks = tokio::task::JoinSet::new();
        let schedule = &self.work.schedule;
        loop {
            let now = Instant::now();
            crate::metrics::schedule(schedule.load(now));
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
        crate::metrics::checked(&outcome, began.elapsed());
        self.work.schedule.done(&check, outcome, seen, self.outside.now(), Instant::now());
    }

    async fn try_check(&self, check: &Check, turn: Turn) -> Result<(Outcome, Option<Seen>), NotTaken> {
        let state = self.view.stream(&check.key);
        let stream = state.life.as_ref();
        let tag = stream.and_then(|stream| stream.tags.get(&check.tag));
        let (Some(stream), Some(tag)) = (stream, tag) else { return Ok((Outcome::Dropped, None)) };
        let Some(image) = plan_tag(&check.tag, tag) else { return Ok((Outcome::Dropped, None)) };

        let mut put_off = None;
        if let Some(named) = named_before(check, &image, tag) {
            match self.importing.probe(&check.key.namespace, &image, turn).await {
                Probe::Digest(digest) if digest == named => return Ok((Outcome::Unchanged, None)),
                Probe::Later(wait, failure) => put_off = Some((wait, failure)),
                Probe::Digest(_) | Probe::Unknown => {}
            }
        }
        match put_off {
            // That a registry has much to do says nothing of the tag, at first.
            Some((wait, failure)) if check.failures < PATIENCE => Ok((Outcome::PutOff(wait, failure), None)),
            Some((wait, failure)) => {
                let answer = Answer::failed(image, stream, failure.clone());
                self.write_down(check, tag, &answer).await?;
                Ok((Outcome::PutOff(wait, failure), None))
            }
            None => self.fetch(check, stream, tag, image).await,
        }
    }

    async fn fetch(
        &self,
        check: &Check,
        stream: &Stream,
        tag: &TagState,
        image: PlannedImage,
    ) -> Result<(Outcome, Option<Seen>), NotTaken> {
        let question = Question::of(&image);
        let uid = Some(stream.uid.clone());
        let plan = ImportPlan { images: vec![image], uid, ..ImportPlan::default() };
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
    let current = tag.current.as_ref().and_then(|current| current.item.image.as_ref());
    let remembered = check.seen.as_ref().filter(|seen| seen.question == Question::of(image));
    // Somebody may have moved the tag since then.
    let remembered = remembered.filter(|seen| Some(&seen.image) == current && !tag.needs_import());
    remembered.map(|seen| &seen.named).or_else(|| unmoved(tag, default_platform())).cloned()
}

/// Where the tag points to now, if what was written moved it.
fn moved(tag: &TagName, written: &Written) -> Option<Digest> {
    written.events.iter().find_map(|recorded| match &recorded.event.fact {
        Fact::TagMoved(moved) if moved.tag == *tag => moved.item.image.clone(),
        _ => None,
    })
}
