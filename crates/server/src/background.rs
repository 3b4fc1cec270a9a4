//! Imports that nobody waits for: of tags that were set, and of tags on the schedule. They go through the same
//! writer as everything else, and are found again after a restart.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use futures_util::FutureExt;
use tagtrail_domain::command::ImportOrigin;
use tagtrail_domain::event::Actor;
use tagtrail_domain::import_plan::{ImportPlan, plan_pending};
use tagtrail_domain::{Command, Stream, StreamKey};
use tagtrail_projection::View;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::importing::Importing;
use crate::work::{Outcome, Task, Work};
use crate::writer::{Origin, Write, WriteError, Writer};

/// How many streams are imported at a time (OpenShift's import controller has as many workers).
const STREAMS_AT_ONCE: usize = 50;
/// How many tags of a stream are asked for before what they gave is written.
const TAGS_AT_ONCE: usize = 100;

/// Carries out what is to be done, until `stop` says so.
#[derive(Clone)]
pub(crate) struct Background {
    /// What is to be done.
    pub work: Arc<Work>,
    /// What is true.
    pub view: Arc<View>,
    /// The way to registries.
    pub importing: Importing,
    /// The way into the log.
    pub writer: Writer,
}

/// Why an answer of a registry was not taken over.
#[derive(Debug, thiserror::Error)]
enum NotTaken {
    #[error("the image's bytes could not be kept: {0}")]
    Bytes(#[from] std::io::Error),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error("it panicked")]
    Panicked,
}

impl Background {
    /// Runs until `stop` turns true. Imports under way are then dropped: they wait in the read model.
    pub(crate) async fn run(self, mut stop: watch::Receiver<bool>) {
        let work = self.work.clone();
        tokio::select! {
            () = self.carry_out() => {}
            // An error means that nobody can tell any more, which is as good as being told.
            _ = stop.wait_for(|stop| *stop) => {}
        }
        work.stop();
    }

    async fn carry_out(self) {
        let permits = Arc::new(Semaphore::new(STREAMS_AT_ONCE));
        // Dropped with this future, and the imports with it.
        let mut tasks = tokio::task::JoinSet::new();
        loop {
            crate::metrics::pending(self.work.size());
            let permit = permits.clone().acquire_owned().await.expect("the semaphore is never closed");
            // A ring that comes before we listen is kept: `arrived` is rung for one.
            let arrived = self.work.arrived.notified();
            match self.work.next(Instant::now()) {
                Task::Pending(key) => {
                    tasks.spawn(self.clone().import(key, ImportOrigin::Background, permit));
                }
                Task::Scheduled(key) => {
                    tasks.spawn(self.clone().import(key, ImportOrigin::Schedule, permit));
                }
                Task::WaitUntil(until) => {
                    drop(permit);
                    tokio::select! {
                        () = arrived => {}
                        () = due(until) => {}
                    }
                }
            }
            while tasks.try_join_next().is_some() {}
        }
    }

    /// Imports what waits in a stream, or what is on its schedule, and says when it is done, whatever happens.
    async fn import(self, key: StreamKey, origin: ImportOrigin, _permit: OwnedSemaphorePermit) {
        let imported = AssertUnwindSafe(self.try_import(&key, origin)).catch_unwind().await;
        let outcome = match imported.unwrap_or(Err(NotTaken::Panicked)) {
            // What is refused now would be refused again.
            Ok(()) | Err(NotTaken::Write(WriteError::Refused(_))) => Outcome::Answered,
            Err(_) => Outcome::Failed,
        };
        self.work.done(&key, &self.view.stream(&key), outcome, Instant::now());
    }

    async fn try_import(&self, key: &StreamKey, origin: ImportOrigin) -> Result<(), NotTaken> {
        let state = self.view.stream(key);
        let Some(stream) = &state.life else { return Ok(()) };
        if origin == ImportOrigin::Background {
            self.work.trying(key, stream);
        }
        let plan = plan_pending(stream, origin == ImportOrigin::Schedule);
        for images in plan.images.chunks(TAGS_AT_ONCE) {
            let part = ImportPlan { images: images.to_vec(), uid: plan.uid.clone(), ..ImportPlan::default() };
            let taken = self.import_part(key, stream, part, origin).await;
            if let Err(error) = &taken {
                tracing::warn!(stream = %key, %error, "an import came to nothing");
            }
            taken?;
        }
        Ok(())
    }

    async fn import_part(
        &self,
        key: &StreamKey,
        stream: &Stream,
        plan: ImportPlan,
        origin: ImportOrigin,
    ) -> Result<(), NotTaken> {
        // The wish that is being carried out, for the record: the newest one, where several are. A schedule is no wish.
        let wishes =
            plan.images.iter().filter_map(|image| stream.tags.get(&image.tag)).map(|tag| tag.spec_sequence);
        let caused_by = if origin == ImportOrigin::Background { wishes.max().unwrap_or(0) } else { 0 };
        let answer = self.importing.ask(plan, Some(stream)).await;
        let import = self.importing.keep(&answer, origin).await?;
        let name = if origin == ImportOrigin::Schedule { "scheduled-import" } else { "background-import" };
        let actor = Actor { name: "tagtrail".into(), authenticated: true };
        let origin = Origin { name, actor, caused_by, ..Origin::default() };
        let write = Write { key: key.clone(), command: Command::Import(import), origin };
        self.writer.write(write).await?;
        Ok(())
    }
}

async fn due(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
