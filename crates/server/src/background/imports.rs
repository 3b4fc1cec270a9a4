//! Imports of tags that were set. The tags of a stream are imported together, those of each registry by themselves, so
//! that a silent one holds up no other.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use futures_util::FutureExt;
use futures_util::future::join_all;
use tagtrail_domain::command::ImportOrigin;
use tagtrail_domain::import_plan::{ImportPlan, PlannedImage, plan_pending};
use tagtrail_domain::{Stream, StreamKey};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Background, NotTaken, until};
use crate::work::{Imported, Task};
use crate::writer::WriteError;

/// How many streams are imported at a time (OpenShift's import controller has as many workers).
const STREAMS_AT_ONCE: usize = 50;
/// How many tags of a stream are asked for before what they gave is written.
const TAGS_AT_ONCE: usize = 100;

impl Background {
    pub(super) async fn import_what_waits(self) {
        let permits = Arc::new(Semaphore::new(STREAMS_AT_ONCE));
        // Dropped with this future, and the imports with it.
        let mut tasks = tokio::task::JoinSet::new();
        let pending = &self.work.pending;
        loop {
            crate::metrics::pending(pending.size());
            let permit = permits.clone().acquire_owned().await.expect("the semaphore is never closed");
            // A ring that comes before we listen is kept: `arrived` is rung for one.
            let arrived = pending.arrived.notified();
            match pending.next(Instant::now()) {
                Task::Import(key) => {
                    tasks.spawn(self.clone().import(key, permit));
                }
                Task::WaitUntil(moment) => {
                    drop(permit);
                    tokio::select! {
                        () = arrived => {}
                        () = until(moment) => {}
                    }
                }
            }
            while tasks.try_join_next().is_some() {}
        }
    }

    /// Imports what waits in a stream, and says when it is done, whatever happens.
    async fn import(self, key: StreamKey, _permit: OwnedSemaphorePermit) {
        let imported = AssertUnwindSafe(self.try_import(&key)).catch_unwind().await;
        let outcome = match imported.unwrap_or(Err(NotTaken::Panicked)) {
            // What is refused now would be refused again.
            Ok(()) | Err(NotTaken::Write(WriteError::Refused(_))) => Imported::Answered,
            Err(_) => Imported::Failed,
        };
        self.work.pending.done(&key, &self.view.stream(&key), outcome, Instant::now());
    }

    async fn try_import(&self, key: &StreamKey) -> Result<(), NotTaken> {
        let state = self.view.stream(key);
        let Some(stream) = &state.life else { return Ok(()) };
        self.work.pending.trying(key, stream);
        let mut registries: BTreeMap<String, Vec<PlannedImage>> = BTreeMap::new();
        for image in plan_pending(stream).images {
            registries.entry(image.reference.with_defaults().registry).or_default().push(image);
        }
        let imports = registries.into_values().map(|images| self.import_from_one(key, stream, images));
        join_all(imports).await.into_iter().collect()
    }

    async fn import_from_one(
        &self,
        key: &StreamKey,
        stream: &Stream,
        images: Vec<PlannedImage>,
    ) -> Result<(), NotTaken> {
        for images in images.chunks(TAGS_AT_ONCE) {
            // The wish that is being carried out, for the record: the newest one, where several are.
            let wishes =
                images.iter().filter_map(|image| stream.tags.get(&image.tag)).map(|tag| tag.spec_sequence);
            let caused_by = wishes.max().unwrap_or(0);
            let uid = Some(stream.uid.clone());
            let plan = ImportPlan { images: images.to_vec(), uid, ..ImportPlan::default() };
            let answer = self.importing.ask(&key.namespace, plan, Some(stream)).await;
            let taken = self.take_over(key, &answer, ImportOrigin::Background, caused_by).await;
            if let Err(error) = &taken {
                tracing::warn!(stream = %key, %error, "an import came to nothing");
            }
            taken?;
        }
        Ok(())
    }
}
