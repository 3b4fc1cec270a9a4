//! Following the log for as long as it takes: over lost connections and restarts of the server, from where it was.

use std::time::Duration;

use tagtrail_api::v1::watch_request::Begin;
use tagtrail_api::v1::watch_response::Answer;
use tagtrail_api::v1::{GetStatusRequest, StreamChange, WatchRequest, WatchResponse};
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt as _;

use crate::client::Client;
use crate::context::Context;
use crate::failure::Failure;

/// The first pause before another attempt, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// A watch that goes on.
pub(crate) struct Follow<'a> {
    client: &'a Client,
    request: WatchRequest,
    /// `None`: the connection is lost.
    answers: Option<Streaming<WatchResponse>>,
    /// Up to where everything was heard. `None`: it would have to begin anew.
    position: Option<u64>,
    pause: Duration,
}

impl<'a> Follow<'a> {
    /// Begins a watch.
    ///
    /// # Errors
    /// Whatever the server says, or that it cannot be reached: at the beginning nobody wants to wait for that.
    pub(crate) async fn begin(client: &'a Client, mut request: WatchRequest) -> Result<Self, Failure> {
        // Another log may stand behind the same address one day, and its sequences would mean other events.
        let status = client.admin().get_status(GetStatusRequest {}).await;
        request.log_id = status.map_err(|status| client.refusal(&status))?.into_inner().log_id;
        let answers = client.events().watch(request.clone()).await;
        let answers = answers.map_err(|status| client.refusal(&status))?.into_inner();
        let position = match request.begin {
            Some(Begin::AfterSequence(sequence)) => Some(sequence),
            Some(Begin::Snapshot(_)) | None => None,
        };
        Ok(Self { client, request, answers: Some(answers), position, pause: PAUSES.0 })
    }

    /// Waits for the next answer. What interrupts the watch is told on standard error.
    ///
    /// # Errors
    /// What will not pass, and what comes before there is a position to go on from.
    pub(crate) async fn next(&mut self, context: &mut Context) -> Result<Answer, Failure> {
        loop {
            let ended = match &mut self.answers {
                Some(answers) => match answers.message().await {
                    Ok(Some(WatchResponse { answer: Some(answer) })) => {
                        self.heard(&answer);
                        return Ok(answer);
                    }
                    // A newer server tells something that this client does not know.
                    Ok(Some(WatchResponse { answer: None })) => continue,
                    Ok(None) => Status::unavailable("the server has ended the watch without a word"),
                    Err(status) => status,
                },
                None => match self.client.events().watch(self.request.clone()).await {
                    Ok(answers) => {
                        self.answers = Some(answers.into_inner());
                        let after = self.position.unwrap_or_default();
                        context.warn(&format!("the watch goes on after sequence {after}"))?;
                        continue;
                    }
                    Err(status) => status,
                },
            };
            let Some(position) = self.position.filter(|_| passes(&ended)) else {
                return Err(self.client.refusal(&ended));
            };
            // Told once, however long it takes.
            if self.answers.take().is_some() {
                let why = self.client.why(&ended);
                context.warn(&format!("the watch is interrupted after sequence {position}: {why}"))?;
                self.request.begin = Some(Begin::AfterSequence(position));
            }
            // Not all at once: of a thousand who lost the same server, each comes back a little later than another.
            tokio::time::sleep(self.pause + self.pause * (std::process::id() % 64) / 128).await;
            self.pause = (self.pause * 2).min(PAUSES.1);
        }
    }

    fn heard(&mut self, answer: &Answer) {
        self.pause = PAUSES.0;
        match answer {
            Answer::Event(event) => self.position = Some(event.sequence),
            // Half a snapshot is none: what it lacks would never come.
            Answer::Stream(stream) if stream.change() == StreamChange::Listed => {}
            Answer::Stream(stream) => self.position = Some(stream.sequence),
            Answer::Bookmark(bookmark) => self.position = Some(bookmark.sequence),
        }
    }
}

/// Whether the same may be asked again: the server is away, has cut off a watcher that was too slow, or has said when to come
/// back.
fn passes(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable => true,
        Code::ResourceExhausted => {
            let told = status.get_error_details();
            let slow = told.error_info().is_some_and(|info| info.reason == "SLOW_WATCHER");
            slow || told.retry_info().is_some()
        }
        // The connection broke, and the transport says how.
        Code::Unknown | Code::Cancelled | Code::Internal => std::error::Error::source(status).is_some(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn what_passes_is_waited_for() {
        assert!(passes(&Status::unavailable("stopping")));
        let lost = Status::from_error(std::io::Error::from(std::io::ErrorKind::ConnectionReset).into());
        assert!(passes(&lost), "{lost:?}");
        let exhausted = |reason| {
            let details = ErrorDetails::with_error_info(reason, "tagtrail", HashMap::new());
            Status::with_error_details(Code::ResourceExhausted, "words", details)
        };
        assert!(passes(&exhausted("SLOW_WATCHER")));
        assert!(!passes(&exhausted("USAGE")));
        let later = ErrorDetails::with_retry_info(Some(Duration::from_secs(5)));
        assert!(passes(&Status::with_error_details(Code::ResourceExhausted, "words", later)));
        assert!(!passes(&Status::internal("a bug")));
        assert!(!passes(&Status::out_of_range("there is no such event")));
        assert!(!passes(&Status::data_loss("the log is damaged")));
    }
}
