//! For operators.

use std::sync::Arc;
use std::time::Instant;

use tagtrail_api::v1;
use tagtrail_api::v1::admin_service_server::AdminService;
use tagtrail_event_log::codec::to_proto;
use tagtrail_projection::{View, ViewError};
use tonic::{Request, Response, Status};

use super::{Services, errors};

/// How far behind a read model that is being built may be when the writer is asked to hold still.
const NEARLY: u64 = 1_000;
/// How many differences are told.
const DIFFERENCES: usize = 100;

#[tonic::async_trait]
impl AdminService for Services {
    async fn get_status(
        &self,
        _request: Request<v1::GetStatusRequest>,
    ) -> Result<Response<v1::GetStatusResponse>, Status> {
        let head = self.log.head();
        Ok(Response::new(v1::GetStatusResponse {
            head,
            projected: self.view.position(),
            published: None,
            log_id: self.log.id().to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds: self.started.elapsed().as_secs(),
            findings: self.findings.to_vec(),
            pending_imports: self.work.size() as u64,
            last_event_at: (head > 0).then(|| to_proto::timestamp(self.view.recorded_at())),
        }))
    }

    async fn rebuild_view(
        &self,
        request: Request<v1::RebuildViewRequest>,
    ) -> Result<Response<v1::RebuildViewResponse>, Status> {
        let verify = request.into_inner().verify;
        let _one_at_a_time = self.rebuilding.try_lock().map_err(|_| {
            errors::usage("the read model is being rebuilt already; wait until that has ended".into())
        })?;
        let began = Instant::now();
        let rebuilt = self.blocking(|services| services.build_beside()).await?;
        // What little is missing is caught up while nothing moves, so that both stand at the same event.
        let _still = self.writer.pause().await.map_err(|error| errors::not_written(&error))?;
        let (events, rows, differences) =
            self.blocking(move |services| services.finish_rebuild(rebuilt, verify)).await?;
        Ok(Response::new(v1::RebuildViewResponse {
            events,
            rows,
            elapsed_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            differences,
        }))
    }
}

impl Services {
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, ViewError> + Send + 'static,
    ) -> Result<T, Status> {
        let services = Arc::new(self.clone());
        let done = tokio::task::spawn_blocking(move || work(&services)).await;
        done.map_err(|error| errors::internal(&error))?.map_err(|error| errors::internal(&error))
    }

    fn build_beside(&self) -> Result<View, ViewError> {
        let directory = self.config.data_dir.join("view.new");
        if directory.exists() {
            std::fs::remove_dir_all(&directory).map_err(|error| ViewError::Database {
                directory: directory.clone(),
                reason: error.to_string(),
            })?;
        }
        let (rebuilt, _) = View::open(&directory, &*self.log)?;
        while self.log.head() - rebuilt.position() > NEARLY {
            let head = self.log.head();
            rebuilt.catch_up(&*self.log, head, &mut |at| {
                tracing::info!(at, head, "rebuilding the read model")
            })?;
        }
        Ok(rebuilt)
    }

    fn finish_rebuild(&self, rebuilt: View, verify: bool) -> Result<(u64, u64, Vec<String>), ViewError> {
        rebuilt.catch_up(&*self.log, self.log.head(), &mut |_| {})?;
        let events = rebuilt.position();
        let (rows, differences) = self.view.compare(&rebuilt, DIFFERENCES);
        if verify {
            rebuilt.discard()?;
            Ok((events, rows, differences))
        } else {
            self.view.replace(rebuilt)?;
            Ok((events, rows, Vec::new()))
        }
    }
}
