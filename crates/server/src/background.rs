//! Imports that nobody waits for: of tags that were set, and of tags on the schedule. They go through the same
//! writer as everything else, and are found again after a restart.

use std::sync::Arc;
use std::time::Instant;

use tagtrail_domain::command::ImportOrigin;
use tagtrail_domain::event::Actor;
use tagtrail_domain::import_plan::plan_pending;
use tagtrail_domain::{Command, StreamKey};
use tagtrail_projection::View;
use tokio::sync::{Semaphore, watch};

use crate::importing::Importing;
use crate::work::{Task, Work};
use crate::writer::{Origin, Write, WriteError, Writer};

/// How many streams are imported at a time (OpenShift's import controller has as many workers).
const STREAMS_AT_ONCE: usize = 50;

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

impl Background {
    /// Runs until `stop` turns true. Imports under way are then dropped: they wait in the read model.
    pub(crate) async fn run(self, mut stop: watch::Receiver<bool>) {
        let permits = Arc::new(Semaphore::new(STREAMS_AT_ONCE));
        let mut tasks = tokio::task::JoinSet::new();
        loop {
            crate::metrics::pending(self.work.size());
            let Ok(permit) = permits.clone().acquire_owned().await else { return };
            // Asked for before looking, so that nothing that arrives in between is missed.
            let arrived = self.work.arrived.notified();
            let until = match self.work.next(Instant::now()) {
                Task::Pending(key) => {
                    tasks.spawn(self.clone().import(key, ImportOrigin::Background, permit));
                    continue;
                }
                Task::Scheduled(key) => {
                    tasks.spawn(self.clone().import(key, ImportOrigin::Schedule, permit));
                    continue;
                }
                Task::WaitUntil(until) => until,
            };
            drop(permit);
            let timer = async {
                match until {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = arrived => {}
                () = timer => {}
                Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    async fn import(self, key: StreamKey, origin: ImportOrigin, _permit: tokio::sync::OwnedSemaphorePermit) {
        let state = self.view.stream(&key);
        if origin == ImportOrigin::Background {
            self.work.trying(&key, &state);
        }
        if let Some(stream) = &state.life {
            let plan = plan_pending(stream, origin == ImportOrigin::Schedule);
            if !plan.images.is_empty() {
                // The wish that is being carried out, for the record: the newest event of the stream so far.
                let caused_by = state.sequence;
                let answer = self.importing.ask(plan, Some(stream)).await;
                if let Err(error) = self.write(&key, &answer, origin, caused_by).await {
                    tracing::warn!(stream = %key, %error, "an import came to nothing; it is tried again after a restart");
                }
            }
        }
        self.work.done(&key, &self.view.stream(&key));
    }

    async fn write(
        &self,
        key: &StreamKey,
        answer: &crate::importing::Answer,
        origin: ImportOrigin,
        caused_by: u64,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let import = self.importing.keep(answer, origin).await?;
        let name = if origin == ImportOrigin::Schedule { "scheduled-import" } else { "background-import" };
        let origin = Origin {
            name,
            actor: Actor { name: "tagtrail".into(), authenticated: true },
            caused_by,
            ..Origin::default()
        };
        let write = Write { key: key.clone(), command: Command::Import(import), origin };
        match self.writer.write(write).await {
            Ok(_) => Ok(()),
            // A full queue empties itself; what waits is found again.
            Err(error @ (WriteError::Refused(_) | WriteError::Busy | WriteError::Stopped)) => {
                Err(error.into())
            }
        }
    }
}
