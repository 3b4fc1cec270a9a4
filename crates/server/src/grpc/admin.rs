//! For operators.

use std::time::Instant;

use tagtrail_api::v1;
use tagtrail_api::v1::admin_service_server::AdminService;
use tagtrail_domain::Refusal;
use tagtrail_event_log::codec::to_proto;
use tagtrail_projection::{View, ViewError};
use tonic::{Request, Response, Status};

use super::backup::BackupStream;
use super::republish::RepublishStream;
use super::{Services, errors};

/// How far behind a read model that is being built may be when the writer is asked to hold still.
const NEARLY: u64 = 1_000;
/// How many events are applied between two looks at whether to go on.
const STEP: u64 = 20_000;
/// Where it is built, in the data directory.
const BESIDE: &str = "view.new";
/// How many differences are told.
const DIFFERENCES: usize = 100;

#[tonic::async_trait]
impl AdminService for Services {
    type RepublishStream = RepublishStream;
    type BackupStream = BackupStream;

    async fn backup(
        &self,
        request: Request<v1::BackupRequest>,
    ) -> Result<Response<Self::BackupStream>, Status> {
        self.begin_backup(request.into_inner()).await.map(Response::new)
    }

    async fn republish(
        &self,
        request: Request<v1::RepublishRequest>,
    ) -> Result<Response<Self::RepublishStream>, Status> {
        self.begin_republish(&request.into_inner()).map(Response::new)
    }

    async fn get_status(
        &self,
        _request: Request<v1::GetStatusRequest>,
    ) -> Result<Response<v1::GetStatusResponse>, Status> {
        // In this order: what is shown, and published, is never ahead of what is durable.
        let published = self.publishing.as_ref().and_then(|publishing| publishing.published());
        let projected = self.view.position();
        let head = self.log.head();
        Ok(Response::new(v1::GetStatusResponse {
            head,
            projected,
            published,
            publisher: self.publishing.as_ref().map(|publishing| publishing.status()),
            log_id: self.log.id().to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds: self.started.elapsed().as_secs(),
            findings: self.findings.to_vec(),
            audit: Some(self.audit.status()),
            http_port: self.http_port.into(),
            pending_imports: self.work.pending.size() as u64,
            last_event_at: (head > 0).then(|| to_proto::timestamp(self.view.recorded_at())),
        }))
    }

    async fn rebuild_view(
        &self,
        request: Request<v1::RebuildViewRequest>,
    ) -> Result<Response<v1::RebuildViewResponse>, Status> {
        let verify = request.into_inner().verify;
        let one_at_a_time = self.rebuilding.clone().try_lock_owned().map_err(|_| {
            let text = "the read model is being rebuilt already; wait until that has ended";
            errors::refused(&Refusal::Usage(text.into()))
        })?;
        let services = self.clone();
        // In a task of its own: a caller that goes away must not let the writer go on while rows are exchanged.
        let rebuilt = tokio::spawn(async move {
            let rebuilt = services.rebuild(verify).await;
            drop(one_at_a_time);
            rebuilt
        });
        Ok(Response::new(rebuilt.await.map_err(|error| errors::internal(&error))??))
    }
}

impl Services {
    async fn rebuild(&self, verify: bool) -> Result<v1::RebuildViewResponse, Status> {
        let began = Instant::now();
        let rebuilt = self.blocking(|services| services.build_beside()).await?;
        if *self.stopped.borrow() {
            return Err(errors::not_ready());
        }
        // What little is missing is caught up while nothing moves, so that both stand at the same event.
        let still = self.writer.pause().await.map_err(|error| errors::not_written(&error))?;
        let finished = self.blocking(move |services| services.finish_rebuild(rebuilt, verify)).await;
        drop(still);
        let (events, rows, differences) = finished?;
        Ok(v1::RebuildViewResponse {
            events,
            rows,
            elapsed_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            differences,
        })
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, ViewError> + Send + 'static,
    ) -> Result<T, Status> {
        let services = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&services)).await;
        done.map_err(|error| errors::internal(&error))?.map_err(|error| errors::internal(&error))
    }

    fn build_beside(&self) -> Result<View, ViewError> {
        let directory = self.config.data_dir.join(BESIDE);
        if directory.exists() {
            std::fs::remove_dir_all(&directory).map_err(|error| ViewError::Database {
                directory: directory.clone(),
                reason: error.to_string(),
            })?;
        }
        let (rebuilt, _) = View::open(&directory, &*self.log)?;
        // In steps, so that a stopping server need not wait for all of them.
        while self.log.head() - rebuilt.position() > NEARLY && !*self.stopped.borrow() {
            let head = self.log.head();
            rebuilt.catch_up(&*self.log, head.min(rebuilt.position() + STEP), &mut |_| {})?;
            tracing::info!(at = rebuilt.position(), head, "rebuilding the read model");
        }
        Ok(rebuilt)
    }

    fn finish_rebuild(&self, rebuilt: View, verify: bool) -> Result<(u64, u64, Vec<String>), ViewError> {
        rebuilt.catch_up(&*self.log, self.log.head(), &mut |_| {})?;
        let events = rebuilt.position();
        if verify {
            let (rows, differences) = self.view.compare(&rebuilt, DIFFERENCES);
            rebuilt.discard()?;
            Ok((events, rows, differences))
        } else {
            // Nothing is asked of the live one: it may be damaged, which is what this is for.
            let rows = rebuilt.row_count();
            self.view.replace(rebuilt)?;
            Ok((events, rows, Vec::new()))
        }
    }
}
