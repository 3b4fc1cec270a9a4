//! The log itself.

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use prost::Message;
use tagtrail_api::v1;
use tagtrail_api::v1::event_service_server::EventService;
use tagtrail_domain::{Refusal, StreamKey};
use tagtrail_event_log::Stored;
use tokio::sync::OwnedSemaphorePermit;
use tonic::{Request, Response, Status};

use super::{Services, check, errors};
use crate::convert;
use crate::watch::Watcher;
use crate::watch::filter::{Begin, Wish};

/// Most events in one answer, and most that are looked at for one.
const PAGE: usize = 1_000;
const SCANNED: usize = 20_000;
const BYTES: usize = 3 << 20;
/// When to come back while as many watch as may.
const RETRY: Duration = Duration::from_secs(5);

#[tonic::async_trait]
impl EventService for Services {
    type WatchStream = BoxStream<'static, Result<v1::WatchResponse, Status>>;

    async fn watch(&self, request: Request<v1::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let request = request.into_inner();
        self.same_log(&request.log_id)?;
        let wish = Wish::parse(request).map_err(errors::usage)?;
        let head = self.log.head();
        if let Begin::After(after) = wish.begin
            && after > head
        {
            return Err(errors::out_of_range(format!(
                "the log ends at sequence {head}; after {after} nothing can be watched yet"
            )));
        }
        let full = |most| format!("{most} watches are open already; try again later");
        let place = self.places.watches.take(full, RETRY)?;
        let next = |watching: Option<(Watcher, OwnedSemaphorePermit)>| async move {
            let (mut watcher, place) = watching?;
            Some(match watcher.next().await {
                Ok(answer) => (Ok(answer), Some((watcher, place))),
                Err(end) => (Err(errors::watch_ended(&end)), None),
            })
        };
        Ok(Response::new(stream::unfold(Some((self.watches.watch(wish), place)), next).boxed()))
    }

    async fn read_events(
        &self,
        request: Request<v1::ReadEventsRequest>,
    ) -> Result<Response<v1::ReadEventsResponse>, Status> {
        let request = request.into_inner();
        let head = self.log.head();
        let from = request.from_sequence.max(1);
        if from > head + 1 {
            return Err(errors::out_of_range(format!(
                "the log ends at sequence {head}; {from} lies beyond it"
            )));
        }
        let size = self.page(request.page_size, PAGE);
        let (events, next_sequence) = if request.stream.is_empty() {
            self.scan(from, head, size, &request.namespace)?
        } else {
            if request.namespace.is_empty() {
                return Err(errors::usage("a stream needs its namespace".into()));
            }
            let key = check(convert::existing(&request.namespace, &request.stream))?;
            self.of_stream(&key, from, size)?
        };
        Ok(Response::new(v1::ReadEventsResponse { events, next_sequence, head }))
    }
}

impl Services {
    /// Refuses a position in another log.
    fn same_log(&self, asked: &str) -> Result<(), Status> {
        let ours = self.log.id().to_string();
        if asked.is_empty() || asked == ours {
            return Ok(());
        }
        let text = format!(
            "this server has the log {ours}, not {asked}: a position in one is none in the other; begin anew"
        );
        Err(errors::refused(&Refusal::Usage(text)))
    }

    /// Reads on until the page is full, the log ends, or enough was looked at for one answer.
    fn scan(
        &self,
        from: u64,
        head: u64,
        size: usize,
        namespace: &str,
    ) -> Result<(Vec<v1::Event>, u64), Status> {
        let (mut events, mut next, mut scanned) = (Vec::new(), from, 0);
        while events.len() < size && next <= head && scanned < SCANNED {
            let stored = self.log.read(next, size, BYTES).map_err(|error| errors::unreadable(&error))?;
            if stored.is_empty() {
                break;
            }
            for stored in &stored {
                if events.len() == size {
                    break;
                }
                let event = decode(stored)?;
                if namespace.is_empty() || event.namespace == namespace {
                    events.push(event);
                }
                (next, scanned) = (stored.sequence + 1, scanned + 1);
            }
            if namespace.is_empty() {
                break;
            }
        }
        Ok((events, next))
    }

    /// The events of one stream. The read model knows which they are, and may be a moment behind the log: only as far
    /// as it has come is nothing left out.
    fn of_stream(&self, key: &StreamKey, from: u64, size: usize) -> Result<(Vec<v1::Event>, u64), Status> {
        let known = self.view.position();
        let (mut events, mut bytes) = (Vec::new(), 0);
        let sequences = self.view.events_of(key, from, size + 1);
        for sequence in &sequences {
            if events.len() == size || bytes >= BYTES {
                return Ok((events, *sequence));
            }
            let event = self.stored(*sequence)?;
            bytes += event.encoded_len();
            events.push(event);
        }
        let next = sequences.last().map_or(from, |last| last + 1);
        Ok((events, next.max(known + 1)))
    }

    fn stored(&self, sequence: u64) -> Result<v1::Event, Status> {
        let stored = self.log.read(sequence, 1, BYTES).map_err(|error| errors::unreadable(&error))?;
        let stored =
            stored.first().ok_or_else(|| errors::internal(&format!("event {sequence} is not there")))?;
        decode(stored)
    }
}

fn decode(stored: &Stored) -> Result<v1::Event, Status> {
    v1::Event::decode(stored.payload.clone()).map_err(|error| errors::internal(&error))
}
