//! The services of `proto/tagtrail/v1/services.proto`, a file each.

mod admin;
mod audit;
pub(crate) mod backup;
pub(crate) mod errors;
mod events;
mod history;
mod holds;
mod images;
mod imports;
mod past;
mod promote;
mod republish;
mod restore;
mod rollback;
mod schedule;
mod secrets;
mod streams;
mod tags;
mod testimony;
mod trace;

use std::sync::Arc;
use std::time::Instant;

use prost::Message;
use sha2::{Digest as _, Sha256};
use tagtrail_api::v1;
use tagtrail_domain::event::{Actor, Event, Run};
use tagtrail_domain::{Command, Refusal, StreamKey, limits};
use tagtrail_event_log::Log;
use tagtrail_projection::View;
use tokio::sync::watch;
use tonic::{Request, Status};

use crate::admission::{Deadline, Places};
use crate::audit::Audit;
use crate::config::Config;
use crate::config::limits::Limits;
use crate::convert::Shown;
use crate::images::Images;
use crate::importing::Importing;
use crate::outside::Outside;
use crate::publishing::Publishing;
use crate::secrets::Secrets;
use crate::watch::Watches;
use crate::work::Work;
use crate::writer::{Origin, Write, Writer, Written};

/// Everything a request may need. Each service is this, seen from its own side.
#[derive(Clone)]
pub(crate) struct Services {
    pub(crate) config: Arc<Config>,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) view: Arc<View>,
    pub(crate) images: Images,
    pub(crate) importing: Importing,
    pub(crate) secrets: Arc<Secrets>,
    pub(crate) work: Arc<Work>,
    /// `None`: nothing is published.
    pub(crate) publishing: Option<Arc<Publishing>>,
    pub(crate) writer: Writer,
    pub(crate) audit: Arc<Audit>,
    /// Where the log is served to auditors.
    pub(crate) http_port: u16,
    pub(crate) watches: Watches,
    pub(crate) outside: Outside,
    pub(crate) started: Instant,
    /// Turns true when the server stops.
    pub(crate) stopped: watch::Receiver<bool>,
    pub(crate) findings: Arc<Vec<String>>,
    /// Held while the read model is being rebuilt: one at a time.
    pub(crate) rebuilding: Arc<tokio::sync::Mutex<()>>,
    pub(crate) places: Lots,
}

/// Of what there may be so much at once.
#[derive(Clone)]
pub(crate) struct Lots {
    /// Each has a thread, and reads the whole log.
    pub(crate) backups: Places,
    /// Requests that wait for a registry.
    pub(crate) imports: Places,
    pub(crate) watches: Places,
}

impl Lots {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            backups: Places::new("backups", limits.backups),
            imports: Places::new("concurrent_imports", limits.concurrent_imports),
            watches: Places::new("watches", limits.watches),
        }
    }
}

impl Services {
    /// How many things a page has: as many as were asked for, 0 being as many as there may be, but at most `most`.
    fn page(&self, asked: u32, most: usize) -> usize {
        let most = most.min(self.config.limits.page_items);
        match asked as usize {
            0 => most,
            asked => {
                if asked > most {
                    crate::metrics::page_cut();
                }
                asked.min(most)
            }
        }
    }

    /// What is true at this moment, in words. The writer waits until it is dropped.
    fn shown(&self) -> Shown<'_> {
        Shown { look: self.view.look(), repository: &self.config.repository }
    }

    /// Writes, and gives for a repeated request what came of it the first time.
    async fn write(&self, key: &StreamKey, command: Command, origin: Origin) -> Result<Written, Status> {
        self.write_together(vec![(key.clone(), command)], origin).await
    }

    /// The same for several wishes, of which all are carried out or none.
    async fn write_together(
        &self,
        wishes: Vec<(StreamKey, Command)>,
        origin: Origin,
    ) -> Result<Written, Status> {
        if let Some(why) = self.audit.suspended() {
            return Err(errors::read_only(format!("nothing can be written: {why}")));
        }
        let first = wishes[0].0.clone();
        let written = self.writer.write(Write { wishes, origin }).await;
        let written = written.map_err(|error| errors::not_written(&error))?;
        if written.repeated { self.recall(&first, written.run) } else { Ok(written) }
    }

    /// What a write with this request id came to, if there was one: for what is looked up before a write, and may no
    /// longer be there when the request is repeated.
    fn written_before(&self, key: &StreamKey, origin: &Origin) -> Result<Option<Written>, Status> {
        if origin.request_id.is_empty() {
            return Ok(None);
        }
        let Some(past) = self.view.request(&origin.request_id) else { return Ok(None) };
        if past.digest != origin.request_digest {
            return Err(errors::refused(&Refusal::RequestIdReused(origin.request_id.clone())));
        }
        self.recall(key, Run { first_sequence: past.first_sequence, length: past.length }).map(Some)
    }

    /// Decides a write as if it were to happen, and forgets it.
    fn try_out(&self, key: &StreamKey, command: &Command, origin: &Origin) -> Result<(), Refusal> {
        self.try_together(&[(key.clone(), command.clone())], origin).map(drop)
    }

    /// The same for several wishes. Gives what would happen.
    fn try_together(
        &self,
        wishes: &[(StreamKey, Command)],
        origin: &Origin,
    ) -> Result<Vec<(StreamKey, Event)>, Refusal> {
        let context = tagtrail_domain::Context {
            now: self.outside.now(),
            next_sequence: self.log.head() + 1,
            fresh_uids: wishes.iter().map(|_| self.outside.fresh_uid()).collect(),
            expected_revision: origin.expected_revision,
            internal_registry: None,
            tags_per_stream: self.config.limits.tags_per_stream,
        };
        tagtrail_domain::decide_together(&self.view.stage(), &context, wishes)
    }
}

/// A request that writes.
trait Writes: Message + Clone {
    /// The command's name in the log.
    const NAME: &'static str;

    fn write_mut(&mut self) -> &mut Option<v1::WriteOptions>;

    /// Takes out what does not change what is asked for, before the request is compared with another.
    fn without_circumstances(&mut self) {}

    /// Who, why, and on what condition; and what tells this request from another under the same id.
    fn origin(&self) -> Result<Origin, Status> {
        let mut body = self.clone();
        let options = body.write_mut().take().unwrap_or_default();
        bounded("the reason", &options.reason, limits::REASON_BYTES)?;
        bounded("the actor", &options.actor, limits::ACTOR_BYTES)?;
        bounded("the request id", &options.request_id, limits::REQUEST_ID_BYTES)?;
        if options.request_id.contains(char::is_control) {
            return Err(errors::usage("the request id must not have control characters".into()));
        }
        body.without_circumstances();
        *body.write_mut() = Some(v1::WriteOptions {
            expected_revision: options.expected_revision,
            reason: options.reason.clone(),
            ..v1::WriteOptions::default()
        });
        let request_digest = if options.request_id.is_empty() {
            Vec::new()
        } else {
            Sha256::new()
                .chain_update(Self::NAME)
                .chain_update([0])
                .chain_update(body.encode_to_vec())
                .finalize()
                .to_vec()
        };
        Ok(Origin {
            name: Self::NAME,
            actor: Actor { name: options.actor, authenticated: false },
            reason: options.reason,
            request_id: options.request_id,
            request_digest,
            expected_revision: options.expected_revision,
            caused_by: 0,
            traceparent: String::new(),
            deadline: None,
        })
    }
}

/// A request that writes, and where it comes from.
fn opened<W: Writes>(request: Request<W>) -> Result<(W, Origin), Status> {
    let traceparent = trace::parent(request.metadata());
    let deadline = request.extensions().get().copied().map(Deadline::instant);
    let request = request.into_inner();
    let origin = Origin { traceparent, deadline, ..request.origin()? };
    Ok((request, origin))
}

fn bounded(what: &str, text: &str, limit: usize) -> Result<(), Status> {
    if text.len() > limit {
        crate::metrics::refused("text_bytes");
        return Err(errors::usage(format!("{what} has {} bytes; at most {limit} are kept", text.len())));
    }
    Ok(())
}

macro_rules! writes {
    ($($request:ident $name:literal $(without $field:ident)?;)*) => {$(
        impl Writes for v1::$request {
            const NAME: &'static str = $name;

            fn write_mut(&mut self) -> &mut Option<v1::WriteOptions> {
                &mut self.write
            }
            $(fn without_circumstances(&mut self) {
                self.$field = Default::default();
            })?
        }
    )*};
}

writes! {
    CreateImageStreamRequest "create-stream";
    // The same bytes are the same document, whatever they were called the second time.
    TakeTestimonyRequest "import-openshift" without document;
    DeleteImageStreamRequest "delete-stream";
    SetLookupPolicyRequest "set-lookup-policy";
    UpdateMetadataRequest "update-metadata";
    SetTagRequest "tag" without wait_ms;
    DeleteTagRequest "delete-tag";
    PromoteRequest "promote";
    // When a hold ends is told as a time, and often meant from now on: a repeat comes later.
    RollbackRequest "rollback" without expires_at;
    HoldRequest "hold" without expires_at;
    ReleaseRequest "release";
    RestoreRequest "restore";
    ImportRequest "import";
}

fn result(written: &Written) -> v1::WriteResult {
    v1::WriteResult {
        sequence: written.sequence(),
        revision: written.after.revision,
        repeated: written.repeated,
    }
}

fn check<T>(result: Result<T, Refusal>) -> Result<T, Status> {
    result.map_err(|refusal| errors::refused(&refusal))
}
