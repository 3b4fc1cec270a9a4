//! Events of the log once more, to another stream of the NATS server.

use std::time::{Duration, Instant};

use tagtrail_api::v1;
use tagtrail_domain::Refusal;
use tagtrail_publisher::{Republish, RepublishError};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::{Services, errors};

/// How often the caller hears how far it is.
const TELL_EVERY: Duration = Duration::from_millis(200);

pub(super) type RepublishStream = ReceiverStream<Result<v1::RepublishResponse, Status>>;

impl Services {
    pub(super) fn begin_republish(&self, request: &v1::RepublishRequest) -> Result<RepublishStream, Status> {
        let Some(publishing) = &self.publishing else {
            let text = "this server publishes nothing: set nats.url, or start it with --nats-url";
            return Err(errors::refused(&Refusal::Usage(text.into())));
        };
        let republish = Republish::new(
            &publishing.settings,
            self.log.clone(),
            (request.from_sequence, request.to_sequence),
            &request.stream,
            &request.subject_prefix,
        );
        let republish = republish.map_err(|error| errors::not_republished(&error))?;
        let (tell, told) = mpsc::channel(1);
        let mut stopped = self.stopped.clone();
        tokio::spawn(async move {
            let ended = tokio::select! {
                ended = run(&republish, &tell) => ended,
                () = tell.closed() => return, // The caller has gone away.
                _ = stopped.wait_for(|stopped| *stopped) => {
                    let text = "the server is stopping".to_owned();
                    Err(errors::not_republished(&RepublishError::Failed(text)))
                }
            };
            // An error means that the caller has gone away meanwhile.
            tell.send(ended).await.ok();
        });
        Ok(ReceiverStream::new(told))
    }
}

async fn run(
    republish: &Republish,
    tell: &mpsc::Sender<Result<v1::RepublishResponse, Status>>,
) -> Result<v1::RepublishResponse, Status> {
    let answer = |sequence, published| v1::RepublishResponse {
        sequence,
        published,
        to_sequence: republish.to(),
        stream: republish.stream().to_owned(),
        subject_prefix: republish.subject_prefix().to_owned(),
    };
    let mut newest = answer(0, 0);
    let mut last_told = Instant::now();
    let progress = |sequence, published| {
        newest = answer(sequence, published);
        if last_told.elapsed() >= TELL_EVERY {
            last_told = Instant::now();
            // One that is still to be taken says as much; the last word is kept for the end.
            tell.try_send(Ok(newest.clone())).ok();
        }
    };
    republish.run(progress).await.map_err(|error: RepublishError| errors::not_republished(&error))?;
    Ok(newest)
}
