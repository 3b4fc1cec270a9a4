//! Who is let in. A request is turned away at once, with a word when to come back, rather than to wait in a queue that grows:
//! what was let in is answered as fast as ever, and when the storm is over nothing is left of it.
//!
//! | module        | the one idea                                          |
//! |---------------|-------------------------------------------------------|
//! | `connections` | so many connections, and no spinning without files    |
//! | `deadline`    | until when a caller waits                             |
//! | `rate`        | how often each client may ask                         |
//!
//! tower has layers that limit and shed, and tonic puts them before each connection: they know nothing of gRPC's statuses, of
//! callers, or of the whole server. A semaphore does all there is to it.

mod connections;
mod deadline;
mod rate;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::transport::server::TcpConnectInfo;
use tonic::{Code, Status};

use crate::config::limits::Limits;
use crate::grpc::errors;

pub(crate) use connections::connections;
pub(crate) use deadline::Deadline;
use rate::{Client, Rates};

/// When to come back to what may be free again in a moment.
pub(crate) const SOON: Duration = Duration::from_millis(250);

/// What is asked when nothing else works any more, and answered from memory without waiting.
const ALWAYS: [&str; 2] = ["/grpc.health.v1.Health/", "/tagtrail.v1.AdminService/GetStatus"];

/// How tonic begins to say that a request is too large.
const TOO_LARGE: &str = "Error, decoded message length too large: ";
/// And that it is no message.
const NO_MESSAGE: &str = "failed to decode Protobuf message: ";

/// So many at the same time.
#[derive(Clone)]
pub(crate) struct Places {
    limit: &'static str,
    most: usize,
    free: Arc<Semaphore>,
}

impl Places {
    /// `most` of what the configuration calls `limit`.
    pub(crate) fn new(limit: &'static str, most: usize) -> Self {
        Self { limit, most, free: Arc::new(Semaphore::new(most)) }
    }

    /// A place until it is dropped, or why there is none.
    pub(crate) fn take(
        &self,
        full: impl FnOnce(usize) -> String,
        retry: Duration,
    ) -> Result<OwnedSemaphorePermit, Status> {
        self.try_take().ok_or_else(|| errors::busy(self.limit, full(self.most), retry))
    }

    /// A place until it is dropped, if there is one.
    pub(crate) fn try_take(&self) -> Option<OwnedSemaphorePermit> {
        self.free.clone().try_acquire_owned().ok()
    }
}

/// Decides who is let in.
pub(crate) struct Admission {
    places: Places,
    rates: Option<Rates>,
    longest: Duration,
}

impl Admission {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            places: Places::new("concurrent_requests", limits.concurrent_requests),
            rates: limits.client_rate.map(Rates::new),
            longest: limits.request_timeout,
        }
    }

    /// A place for a request until it is dropped, or why there is none.
    fn enter(&self, request: &Request, now: Instant) -> Result<Option<OwnedSemaphorePermit>, Status> {
        let path = request.uri().path();
        if ALWAYS.iter().any(|always| path.starts_with(always)) {
            return Ok(None);
        }
        if let Some(rates) = &self.rates
            && let Some(client) = client(request)
            && let Err(wait) = rates.take(client, now)
        {
            return Err(errors::busy("client_requests_per_second", rates.text(), wait));
        }
        let full = |most| format!("{most} requests are being answered already; try again in a moment");
        self.places.take(full, SOON).map(Some)
    }
}

/// Whose turn a request takes. Nobody is asked who they are (`docs/threat-model.md`), so it is where they come from; a name that
/// has been checked would go before that.
fn client(request: &Request) -> Option<Client> {
    let connection = request.extensions().get::<TcpConnectInfo>()?;
    connection.remote_addr().map(|address| Client::of(address.ip()))
}

/// Lets a request in, and answers it within its time.
pub(crate) async fn admit(
    State(admission): State<Arc<Admission>>,
    mut request: Request,
    next: Next,
) -> Response {
    let now = Instant::now();
    let deadline = match Deadline::of(request.headers(), now, admission.longest) {
        Ok(deadline) => deadline,
        Err(text) => return errors::usage(text).into_http(),
    };
    if deadline.is_over(now) {
        return errors::too_late().into_http();
    }
    let _place = match admission.enter(&request, now) {
        Ok(place) => place,
        Err(status) => return status.into_http(),
    };
    request.extensions_mut().insert(deadline);
    match tokio::time::timeout_at(deadline.instant().into(), next.run(request)).await {
        Ok(answer) => in_our_words(answer),
        Err(_) => errors::out_of_time().into_http(),
    }
}

/// tonic says of a request that is too large that it is out of range, as nobody else does, and of one that is no message at all
/// that it is our fault.
fn in_our_words(answer: Response) -> Response {
    let Some(status) = answer.extensions().get::<Status>() else { return answer };
    let message = status.message();
    match (status.code(), message.strip_prefix(TOO_LARGE), message.strip_prefix(NO_MESSAGE)) {
        (Code::OutOfRange, Some(sizes), _) => errors::request_too_large(sizes).into_http(),
        (Code::Internal, _, Some(why)) => {
            errors::usage(format!("the request is not the message of this call: {why}")).into_http()
        }
        _ => answer,
    }
}
