//! Publishing to NATS, as the rest of the server sees it: how far it is, and what is wrong.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prost::Message as _;
use tagtrail_api::v1;
use tagtrail_domain::Timestamp;
use tagtrail_event_log::Log;
use tagtrail_publisher::{Observer, Publisher, Settings, Step};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::config::Config;
use crate::metrics;
use crate::outside::Outside;

/// The file in the data directory that remembers up to where was published.
const POSITION: &str = "published";

/// How publishing is.
pub(crate) struct Publishing {
    pub(crate) settings: Settings,
    log: Arc<dyn Log>,
    outside: Outside,
    state: Mutex<State>,
}

#[derive(Clone, Default)]
struct State {
    /// Everything up to here was acknowledged. `None`: not known yet.
    published: Option<u64>,
    connected: bool,
    /// How often there was a connection.
    connections: u64,
    /// Why nothing is published.
    problem: String,
    /// Whether that needs somebody.
    refused: bool,
    /// The bucket holds what all events up to here made of it.
    bucket: u64,
    /// Why it is not kept up.
    bucket_problem: String,
}

impl Publishing {
    /// `None` where no broker is configured.
    pub(crate) fn of(config: &Config, log: Arc<dyn Log>, outside: Outside) -> Option<Arc<Self>> {
        let settings = config.nats.clone()?;
        Some(Arc::new(Self { settings, log, outside, state: Mutex::default() }))
    }

    /// Starts to publish what is up to `visible`, until `stop` turns true.
    pub(crate) fn start(
        self: Arc<Self>,
        config: &Config,
        visible: watch::Receiver<u64>,
        stop: watch::Receiver<bool>,
    ) -> JoinHandle<()> {
        let file = config.data_dir.join(POSITION);
        tracing::info!(nats = self.settings.connection.shown_url(), "publishing to NATS");
        let publisher = Publisher::new(self.settings.clone(), self.log.clone(), visible, file, self);
        tokio::spawn(publisher.run(stop))
    }

    /// Up to where was published, if it is known.
    pub(crate) fn published(&self) -> Option<u64> {
        self.state().published
    }

    /// How it is, in the words of the wire.
    pub(crate) fn status(&self) -> v1::PublisherStatus {
        let State { connected, problem, bucket_problem, .. } = self.state();
        v1::PublisherStatus {
            stream: self.settings.stream.name.clone(),
            subject_prefix: self.settings.stream.subject_prefix.clone(),
            connected,
            problem: match (problem.as_str(), bucket_problem.as_str()) {
                ("", "") => String::new(),
                ("", bucket) => format!("the bucket is not kept up: {bucket}"),
                _ => problem,
            },
            lag_ms: u64::try_from(self.lag().1.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// Tells `/metrics`. When somebody looks: what waits waits longer while nothing happens.
    pub(crate) fn measure(&self) {
        let State { published, connected, refused, bucket, .. } = self.state();
        if self.settings.bucket.is_some() {
            metrics::bucket(bucket);
        }
        metrics::publishing(published.unwrap_or(0), self.lag(), connected, refused);
    }

    /// How many events are not published yet, and how long the oldest of them has been waiting.
    fn lag(&self) -> (u64, Duration) {
        let published = self.state().published.unwrap_or(0);
        let events = self.log.head().saturating_sub(published);
        let oldest = (events > 0).then(|| self.log.read(published + 1, 1, usize::MAX).ok()).flatten();
        let recorded_at = oldest.and_then(|events| {
            let event = v1::Event::decode(events.first()?.payload.clone()).ok()?;
            let at = event.recorded_at?;
            Some(Timestamp::new(at.seconds, u32::try_from(at.nanos).ok()?))
        });
        (events, recorded_at.map_or(Duration::ZERO, |at| between(at, self.outside.now())))
    }

    fn state(&self) -> State {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Publishing {
    fn step(&self, step: Step) {
        let mut state = self.lock();
        match step {
            Step::Connected => {
                state.connected = true;
                state.connections += 1;
                if state.connections > 1 {
                    metrics::reconnected();
                }
            }
            Step::Disconnected => state.connected = false,
            Step::Resumed(event) => {
                state.published = Some(event);
                (state.problem, state.refused) = (String::new(), false);
            }
            Step::Acknowledged(event) => state.published = Some(event),
            // At the start, before the broker could be asked.
            Step::Remembered(event) => _ = state.published.get_or_insert(event),
            Step::Trouble { problem, refused } => (state.problem, state.refused) = (problem, refused),
            Step::BucketTrouble(problem) => state.bucket_problem = problem,
            Step::BucketAt(event) => state.bucket = event,
            Step::Sending(_) | Step::Sent(_) | Step::Remembering(_) => {}
        }
    }
}

fn between(earlier: Timestamp, later: Timestamp) -> Duration {
    let ms = |at: Timestamp| i128::from(at.seconds) * 1_000 + i128::from(at.nanos) / 1_000_000;
    Duration::from_millis(u64::try_from(ms(later) - ms(earlier)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_went_back_is_no_lag() {
        let at = |seconds, nanos| Timestamp::new(seconds, nanos);
        assert_eq!(between(at(10, 900_000_000), at(12, 100_000_000)), Duration::from_millis(1_200));
        assert_eq!(between(at(12, 0), at(10, 0)), Duration::ZERO);
    }
}
