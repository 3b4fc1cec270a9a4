//! The workload. A server that publishes to a real broker; eight writers that swap, promote, set and delete, each command with
//! a request id of its own; watchers that resume where they were; a subscriber. And the judge of all that they heard.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tagtrail_api::v1::admin_service_client::AdminServiceClient;
use tagtrail_api::v1::audit_service_client::AuditServiceClient;
use tagtrail_api::v1::event_service_client::EventServiceClient;
use tagtrail_api::v1::image_service_client::ImageServiceClient;
use tagtrail_api::v1::image_stream_service_client::ImageStreamServiceClient;
use tagtrail_api::v1::import_service_client::ImportServiceClient;
use tagtrail_api::v1::tag_service_client::TagServiceClient;
use tagtrail_api::v1::watch_request::Begin;
use tagtrail_api::v1::watch_response::Answer;
use tagtrail_api::v1::*;
use tagtrail_tests::broker::{self, Broker};
use tagtrail_tests::chance::Chance;
use tagtrail_tests::faulty::Faulty;
use tagtrail_tests::port::Port;
use tagtrail_tests::server::{Options, Server};
use tokio::runtime::Runtime;
use tokio::task::{JoinHandle, JoinSet};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::oracle::{Heard, Ledger, Told};

const HERE: &str = "world";
const WRITERS: u64 = 8;
const WATCHERS: usize = 2;
/// So many images, all in the history of `pool:v1`.
const IMAGES: usize = 6;
/// Streams whose tag `live` is only ever moved by compare-and-swap.
const SWAPPED: u64 = 2;
/// Much longer than anything here takes, on a machine that has a lot to do.
const SOON: Duration = Duration::from_secs(60);

/// What a writer does about a command that was not answered.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Stops: what became of it is looked up before anybody asks again.
    GiveUp,
    /// Sends it again, as the same request, until it is answered.
    Insist,
    /// The same; and hangs up on many before they can be answered.
    HangUp,
}

/// Everything that runs during a fault.
pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) broker: Broker,
    ledger: Ledger,
    /// Answers that are not held against the log yet, and all that were.
    fresh: Vec<(Command, Heard)>,
    settled: Vec<Told>,
    /// Checkpoints that somebody kept.
    checkpoints: Vec<PathBuf>,
    images: Arc<Vec<String>>,
    watchers: Vec<Watcher>,
    subscriber: Subscriber,
    storms: u64,
    runtime: Runtime,
    _ports: (Port, Port),
}

impl World {
    pub(crate) fn start(mut options: Options) -> World {
        let runtime = Runtime::new().expect("a runtime");
        let broker = Broker::start(Default::default()).expect("a broker");
        let ports = (Port::reserve().expect("a port"), Port::reserve().expect("a port"));
        options.ports = Some((ports.0.number(), ports.1.number()));
        options.config += &format!(
            "[repository]\ninternal = \"registry.example\"\n[nats]\nurl = \"{}\"\nduplicate_window = \"1s\"\n",
            broker.url()
        );
        let server = Server::start(options).expect("the server starts");
        let images = runtime.block_on(images(&server.url()));
        let watchers = (0..WATCHERS).map(|_| Watcher::start(&runtime, server.url())).collect();
        let subscriber = Subscriber::start(&runtime, broker.url());
        World {
            ledger: Ledger::default(),
            fresh: Vec::new(),
            settled: Vec::new(),
            checkpoints: Vec::new(),
            images: Arc::new(images),
            watchers,
            subscriber,
            storms: 0,
            _ports: ports,
            server,
            broker,
            runtime,
        }
    }

    /// Writes from all sides while `fault` happens, and until it is over.
    pub(crate) fn storm<T>(&mut self, manner: Manner, fault: impl FnOnce(&mut World) -> T) -> T {
        let over = Arc::new(AtomicBool::new(false));
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            let (url, images, over) = (self.server.url(), self.images.clone(), over.clone());
            let name = format!("{}-{writer}", self.storms);
            let writer = Writer::new(self.storms * WRITERS + writer + 1, name, images, manner);
            writers.spawn_on(writer.write(url, over), self.runtime.handle());
        }
        self.storms += 1;
        let came = fault(self);
        over.store(true, Ordering::Relaxed);
        self.fresh.extend(self.runtime.block_on(writers.join_all()).into_iter().flatten());
        came
    }

    /// Writes for a while, without any fault.
    pub(crate) fn write_for(&mut self, time: Duration) {
        self.storm(Manner::Insist, |_| std::thread::sleep(time));
    }

    /// How many commands were acknowledged with an event, of those that are held against the log.
    pub(crate) fn acknowledged(&self) -> usize {
        self.settled.iter().filter(|told| matches!(told.heard, Heard::Done(1..))).count()
    }

    /// How many commands were never answered by whoever they were first sent to, of those not held against the log yet.
    pub(crate) fn unanswered(&self) -> usize {
        self.fresh.iter().filter(|(_, heard)| *heard == Heard::Nothing).count()
    }

    pub(crate) fn head(&self) -> u64 {
        self.ledger.head()
    }

    /// Holds everything that was heard since the last time against the log, and sends again what was not answered.
    pub(crate) fn settle(&mut self, after: &str) {
        let fresh = std::mem::take(&mut self.fresh);
        let url = self.server.url();
        let World { runtime, ledger, settled, .. } = self;
        let done: Result<(), String> = runtime.block_on(async {
            let channel = lazily(&url);
            read_on(&channel, ledger).await?;
            let mut told: Vec<Told> = fresh.iter().map(|(command, heard)| command.told(*heard)).collect();
            ledger.account(&told)?;
            for ((command, heard), told) in fresh.iter().zip(&mut told) {
                if *heard != Heard::Nothing {
                    continue;
                }
                let before = ledger.run_of(&command.id);
                let (again, _) = command.send(&channel, LONG).await;
                match (before, again) {
                    (_, Heard::Nothing) => {
                        return Err(format!("{}: no answer from a living server", command.id));
                    }
                    (Some(last), again) if again != Heard::Done(last) => {
                        return Err(format!("{} ended at {last}, and is answered {again:?}", command.id));
                    }
                    _ => told.heard = again,
                }
            }
            read_on(&channel, ledger).await?;
            ledger.account(&told)?;
            settled.extend(told);
            Ok(())
        });
        done.unwrap_or_else(|why| panic!("after {after}: {why}\n{}", last_words(&self.server)));
    }

    /// The whole oracle: the log from its beginning, every answer that was ever given, the watchers, the subscriber, the read
    /// model, and the signatures.
    pub(crate) fn check(&mut self, after: &str) {
        self.settle(after);
        let said = self.all_of_it();
        said.unwrap_or_else(|why| panic!("after {after}: {why}\n{}", last_words(&self.server)));
    }

    fn all_of_it(&mut self) -> Result<(), String> {
        let (url, head) = (self.server.url(), self.head());
        let mut anew = Ledger::default();
        self.runtime.block_on(async { read_on(&lazily(&url), &mut anew).await })?;
        self.ledger.same("the log, read anew,", &anew.events)?;
        anew.account(&self.settled)?;
        for watcher in &self.watchers {
            self.runtime.block_on(watcher.has(head));
            self.ledger.same("a watcher", &watcher.heard())?;
        }
        self.runtime.block_on(self.subscriber.has(head));
        self.ledger.published(&self.subscriber.heard())?;
        let differences = self.runtime.block_on(async {
            let mut admin = AdminServiceClient::new(lazily(&url));
            let answer = admin.rebuild_view(RebuildViewRequest { verify: true }).await;
            answer.map(|answer| answer.into_inner().differences).map_err(|status| status.to_string())
        })?;
        if !differences.is_empty() {
            return Err(format!("the read model is not what a rebuild gives: {differences:?}"));
        }
        self.compare_checkpoints(head)
    }

    /// The newest checkpoint goes on from all that were kept, and is kept from now on.
    fn compare_checkpoints(&mut self, head: u64) -> Result<(), String> {
        let url = self.server.url();
        let signed = self.runtime.block_on(signed(&url, head)).map_err(|status| status.to_string())?;
        let log = self.server.log_url();
        let mut words = ["audit", "verify", &log, "--vkey", &signed.verifier_key].map(str::to_owned).to_vec();
        for kept in &self.checkpoints {
            words.extend(["--checkpoint".to_owned(), kept.display().to_string()]);
        }
        let printed = self.server.client().run(&words).map_err(|error| error.to_string())?;
        if printed.rc != 0 {
            return Err(format!("the audit ends with {}: {}{}", printed.rc, printed.stdout, printed.stderr));
        }
        let file = self.server.files().join(format!("kept-{}", self.checkpoints.len()));
        fs::write(&file, signed.checkpoint).map_err(|error| error.to_string())?;
        self.checkpoints.push(file);
        Ok(())
    }

    /// The log as it was seen last.
    pub(crate) fn events(&self) -> &[Event] {
        &self.ledger.events
    }

    /// The images that tags are moved between.
    pub(crate) fn images(&self) -> &[String] {
        &self.images
    }

    /// Asks for an image over a connection that is open, while `meanwhile` holds.
    pub(crate) fn image_while<T>(&self, meanwhile: impl FnOnce() -> T) -> (T, Result<(), Status>) {
        let (url, digest) = (self.server.url(), self.images[0].clone());
        let mut client =
            self.runtime.block_on(async { ImageServiceClient::connect(url).await.expect("it serves") });
        let held = meanwhile();
        let request = GetImageRequest { digest, include_manifest: true };
        let answer = self.runtime.block_on(client.get_image(request)).map(drop);
        (held, answer)
    }

    /// When the events were recorded, in seconds since 1970, by sequence.
    pub(crate) fn times(&self) -> Vec<i64> {
        let times = self.ledger.events.iter().map(|event| event.recorded_at.map_or(0, |at| at.seconds));
        times.collect()
    }

    /// How often a message came that had come before.
    pub(crate) fn repeated(&self) -> u64 {
        self.subscriber.repeated.load(Ordering::Relaxed)
    }

    /// What `status` says of what the start found.
    pub(crate) fn findings(&self) -> Vec<String> {
        let url = self.server.url();
        let status = self.runtime.block_on(async {
            AdminServiceClient::new(lazily(&url)).get_status(GetStatusRequest {}).await.expect("a status")
        });
        status.into_inner().findings
    }

    /// Sends one harmless command and gives what came of it.
    pub(crate) fn try_to_write(&self, id: &str) -> Result<u64, Status> {
        let command = Command { id: id.into(), what: What::Set { stream: "try".into(), number: 1 } };
        self.runtime.block_on(async { command.call(&lazily(&self.server.url()), LONG).await })
    }

    /// Whether reading goes on: a list, and the newest events.
    pub(crate) fn read(&self) -> Result<(), Status> {
        let url = self.server.url();
        self.runtime.block_on(async {
            let channel = lazily(&url);
            let mut streams = ImageStreamServiceClient::new(channel.clone());
            streams.list_image_streams(ListImageStreamsRequest::default()).await?;
            let from_sequence = self.ledger.head().max(1);
            let request = ReadEventsRequest { from_sequence, ..ReadEventsRequest::default() };
            EventServiceClient::new(channel).read_events(request).await.map(drop)
        })
    }
}

fn last_words(server: &Server) -> String {
    let log = server.log();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

/// A channel that connects when it is used, and again when the server is back.
fn lazily(url: &str) -> Channel {
    let endpoint = Endpoint::from_shared(url.to_owned()).expect("a URL");
    endpoint.connect_timeout(Duration::from_secs(2)).connect_lazy()
}

/// Reads what the log has beyond the ledger, up to its head.
async fn read_on(channel: &Channel, ledger: &mut Ledger) -> Result<(), String> {
    let mut client = EventServiceClient::new(channel.clone());
    loop {
        let request = ReadEventsRequest { from_sequence: ledger.head() + 1, ..ReadEventsRequest::default() };
        let page = client.read_events(request).await.map_err(|status| status.to_string())?.into_inner();
        let empty = page.events.is_empty();
        ledger.extend(page.events)?;
        if empty || ledger.head() >= page.head {
            return ledger.ends(page.head);
        }
    }
}

/// A checkpoint that covers so much. After a failure of the disk the server waits a little before it signs again.
async fn signed(url: &str, covers_sequence: u64) -> Result<GetCheckpointResponse, Status> {
    let began = Instant::now();
    loop {
        let request = GetCheckpointRequest { covers_sequence };
        match AuditServiceClient::new(lazily(url)).get_checkpoint(request).await {
            Err(status) if status.code() == Code::Unavailable && began.elapsed() < SOON => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            answer => return answer.map(tonic::Response::into_inner),
        }
    }
}

/// Imports the images that tags are moved between.
async fn images(url: &str) -> Vec<String> {
    let registry = Faulty::start().expect("a registry");
    let mut client = ImportServiceClient::new(lazily(url));
    let mut digests = Vec::new();
    for _ in 0..IMAGES {
        registry.rebuild();
        let request = ImportRequest {
            namespace: HERE.into(),
            name: "pool".into(),
            tag: "v1".into(),
            from: format!("{}/team/app:v1", registry.host()),
            confirm: true,
            insecure: Some(true),
            ..ImportRequest::default()
        };
        let answer = client.import(request).await.expect("it is imported").into_inner();
        let image = answer.results.into_iter().next().and_then(|result| result.image);
        digests.push(image.expect("the registry is honest").digest);
    }
    digests
}

/// How long a writer waits for an answer.
const LONG: Duration = Duration::from_secs(20);

/// One command: everything that makes a repeat of it the same request.
#[derive(Clone)]
struct Command {
    id: String,
    what: What,
}

#[derive(Clone)]
enum What {
    /// Moves `live` of a stream from one image to another: a compare-and-swap.
    Swap { stream: String, from: String, to: String },
    /// Moves a tag of three streams in one run of events.
    Promote { image: String },
    /// Points a tag at something that is never imported; makes the stream where there is none, in the same run.
    Set { stream: String, number: u64 },
    /// Changes a stream that has to be at a revision.
    Annotate { stream: String, number: u64, revision: u64 },
    /// Deletes a stream.
    Delete { stream: String },
}

/// What a writer learns from an answer: what a tag points to, or a stream's revision.
#[derive(Default)]
struct Learned {
    image: Option<String>,
    revision: Option<u64>,
}

impl Command {
    fn told(&self, heard: Heard) -> Told {
        let expected = match &self.what {
            What::Swap { stream, from, .. } => {
                let from = if from == "none" { "" } else { from };
                Some((format!("{stream}:live"), from.to_owned()))
            }
            _ => None,
        };
        Told { id: self.id.clone(), expected, heard }
    }

    async fn send(&self, channel: &Channel, patience: Duration) -> (Heard, Learned) {
        match self.answer(channel, patience).await {
            Ok(result) => {
                let learned = Learned { revision: Some(result.revision), ..Learned::default() };
                (Heard::Done(result.sequence), learned)
            }
            Err(status) => match status.code() {
                Code::Aborted => {
                    let image =
                        status.get_details_error_info().and_then(|info| info.metadata.get("image").cloned());
                    (Heard::Refused, Learned { image, ..Learned::default() })
                }
                Code::NotFound | Code::AlreadyExists | Code::FailedPrecondition | Code::InvalidArgument => {
                    (Heard::Refused, Learned::default())
                }
                _ => (Heard::Nothing, Learned::default()),
            },
        }
    }

    async fn call(&self, channel: &Channel, patience: Duration) -> Result<u64, Status> {
        self.answer(channel, patience).await.map(|result| result.sequence)
    }

    async fn answer(&self, channel: &Channel, patience: Duration) -> Result<WriteResult, Status> {
        let late = |_| Err(Status::deadline_exceeded("the client hung up"));
        tokio::time::timeout(patience, self.result(channel.clone())).await.unwrap_or_else(late)
    }

    async fn result(&self, channel: Channel) -> Result<WriteResult, Status> {
        let options = |expected_revision| {
            Some(WriteOptions { request_id: self.id.clone(), expected_revision, ..WriteOptions::default() })
        };
        let (namespace, write) = (HERE.to_owned(), options(None));
        let pool = |image: &str| TagSource {
            kind: SourceKind::ImageStreamImage.into(),
            namespace: HERE.into(),
            name: format!("pool@{image}"),
        };
        let mut tags = TagServiceClient::new(channel.clone());
        let mut streams = ImageStreamServiceClient::new(channel);
        let result = match &self.what {
            What::Swap { stream, from, to } => {
                let request = SetTagRequest {
                    namespace,
                    name: stream.clone(),
                    tag: "live".into(),
                    source: Some(pool(to)),
                    expected_image: from.clone(),
                    write,
                    ..SetTagRequest::default()
                };
                tags.set_tag(request).await?.into_inner().result
            }
            What::Promote { image } => {
                let promotion = |name: &str| Promotion {
                    namespace: HERE.into(),
                    name: name.into(),
                    tag: "live".into(),
                    source: Some(pool(image)),
                    ..Promotion::default()
                };
                let promotions = ["web", "api", "jobs"].map(promotion).to_vec();
                let request = PromoteRequest { promotions, write, ..PromoteRequest::default() };
                tags.promote(request).await?.into_inner().result
            }
            What::Set { stream, number } => {
                let source = TagSource {
                    kind: SourceKind::DockerImage.into(),
                    name: format!("registry.example/team/app:{number}"),
                    ..TagSource::default()
                };
                let request = SetTagRequest {
                    namespace,
                    name: stream.clone(),
                    tag: "v1".into(),
                    source: Some(source),
                    reference: true,
                    write,
                    ..SetTagRequest::default()
                };
                tags.set_tag(request).await?.into_inner().result
            }
            What::Annotate { stream, number, revision } => {
                let request = UpdateMetadataRequest {
                    namespace,
                    name: stream.clone(),
                    set_annotations: BTreeMap::from([("number".to_owned(), number.to_string())]),
                    overwrite: true,
                    write: options(Some(*revision)),
                    ..UpdateMetadataRequest::default()
                };
                streams.update_metadata(request).await?.into_inner().result
            }
            What::Delete { stream } => {
                let request = DeleteImageStreamRequest { namespace, name: stream.clone(), write };
                streams.delete_image_stream(request).await?.into_inner().result
            }
        };
        Ok(result.expect("every write answers with its result"))
    }
}

/// Someone who writes: remembers what a tag points to and which revision a stream has, as far as answers told.
struct Writer {
    chance: Chance,
    name: String,
    images: Arc<Vec<String>>,
    manner: Manner,
    points_to: HashMap<String, String>,
    revisions: HashMap<String, u64>,
}

impl Writer {
    fn new(seed: u64, name: String, images: Arc<Vec<String>>, manner: Manner) -> Writer {
        let chance = Chance(seed);
        Writer { chance, name, images, manner, points_to: HashMap::new(), revisions: HashMap::new() }
    }

    async fn write(mut self, url: String, over: Arc<AtomicBool>) -> Vec<(Command, Heard)> {
        let mut channel = lazily(&url);
        let mut answers = Vec::new();
        for number in 0.. {
            if over.load(Ordering::Relaxed) {
                break;
            }
            let command = self.think(format!("{}-{number}", self.name), number);
            let heard = loop {
                let hang_up = self.manner == Manner::HangUp && self.chance.below(2) == 0;
                let patience = if hang_up { Duration::from_micros(self.chance.below(6_000)) } else { LONG };
                let (heard, learned) = command.send(&channel, patience).await;
                self.learn(&command, learned);
                if heard != Heard::Nothing || self.manner == Manner::GiveUp || over.load(Ordering::Relaxed) {
                    break heard;
                }
                if hang_up {
                    channel = lazily(&url);
                } else {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            answers.push((command, heard));
            if heard == Heard::Nothing {
                break;
            }
        }
        answers
    }

    fn think(&mut self, id: String, number: u64) -> Command {
        let loose = format!("loose-{}", self.chance.below(4));
        let image = self.images[self.chance.below(IMAGES as u64) as usize].clone();
        let what = match self.chance.below(10) {
            0..=3 => {
                let stream = format!("app-{}", self.chance.below(SWAPPED));
                let from = self.points_to.get(&stream).cloned().unwrap_or_else(|| "none".into());
                What::Swap { stream, from, to: image }
            }
            4 => What::Promote { image },
            5..=7 => What::Set { stream: loose, number },
            8 => {
                let revision = self.revisions.get(&loose).copied().unwrap_or(1);
                What::Annotate { stream: loose, number, revision }
            }
            _ => What::Delete { stream: loose },
        };
        Command { id, what }
    }

    fn learn(&mut self, command: &Command, learned: Learned) {
        match &command.what {
            What::Swap { stream, to, .. } => {
                // Done: it points to what was wished. Refused: to what the refusal names.
                let now = if learned.revision.is_some() { Some(to.clone()) } else { learned.image };
                self.points_to.extend(now.map(|image| (stream.clone(), image)));
            }
            What::Set { stream, .. } | What::Annotate { stream, .. } => {
                self.revisions.extend(learned.revision.map(|revision| (stream.clone(), revision)));
            }
            _ => {}
        }
    }
}

/// Follows the log over gRPC, and resumes where it was whenever that breaks off.
struct Watcher {
    heard: Arc<Mutex<Vec<Event>>>,
    task: JoinHandle<()>,
}

impl Watcher {
    fn start(runtime: &Runtime, url: String) -> Watcher {
        let heard = Arc::<Mutex<Vec<Event>>>::default();
        let page = heard.clone();
        let task = runtime.spawn(async move {
            loop {
                // Whatever ends it, it is begun again.
                _ = watch(&url, &page).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        Watcher { heard, task }
    }

    fn heard(&self) -> Vec<Event> {
        locked(&self.heard).clone()
    }

    /// Waits until so many events came; whoever asks looks at which.
    async fn has(&self, head: u64) {
        until(|| locked(&self.heard).len() as u64 >= head).await;
    }
}

async fn watch(url: &str, heard: &Mutex<Vec<Event>>) -> Result<(), Status> {
    let after = locked(heard).last().map_or(0, |event| event.sequence);
    let request = WatchRequest { begin: Some(Begin::AfterSequence(after)), ..WatchRequest::default() };
    let mut answers = EventServiceClient::new(lazily(url)).watch(request).await?.into_inner();
    while let Some(answer) = answers.message().await? {
        if let Some(Answer::Event(event)) = answer.answer {
            locked(heard).push(event);
        }
    }
    Ok(())
}

/// Follows the events on NATS, from the beginning whenever that breaks off, and drops what it has.
struct Subscriber {
    heard: Arc<Mutex<BTreeMap<u64, Vec<u8>>>>,
    repeated: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Subscriber {
    fn start(runtime: &Runtime, url: String) -> Subscriber {
        let (heard, repeated) = <(Arc<Mutex<BTreeMap<u64, Vec<u8>>>>, Arc<AtomicU64>)>::default();
        let (page, twice) = (heard.clone(), repeated.clone());
        let task = runtime.spawn(async move {
            loop {
                // Whatever ends it, it is begun again.
                _ = subscribe(&url, &page, &twice).await;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        Subscriber { heard, repeated, task }
    }

    fn heard(&self) -> BTreeMap<u64, Vec<u8>> {
        locked(&self.heard).clone()
    }

    async fn has(&self, head: u64) {
        until(|| locked(&self.heard).len() as u64 >= head).await;
    }
}

async fn subscribe(
    url: &str,
    heard: &Mutex<BTreeMap<u64, Vec<u8>>>,
    repeated: &AtomicU64,
) -> Result<(), async_nats::Error> {
    broker::follow(url, |message| {
        let headers = message.headers.as_ref().ok_or("a message without headers")?;
        let sequence: u64 =
            headers.get("ce-sequence").ok_or("a message without sequence")?.as_str().parse()?;
        let payload = message.payload.to_vec();
        let mut heard = locked(heard);
        match heard.get(&sequence) {
            // Kept, so that the judge sees it: one id, two events.
            Some(before) if *before != payload => drop(heard.insert(0, payload)),
            Some(_) => drop(repeated.fetch_add(1, Ordering::Relaxed)),
            None => drop(heard.insert(sequence, payload)),
        }
        Ok(())
    })
    .await
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until it is so, but not for ever: whoever asked looks for himself.
async fn until(so: impl Fn() -> bool) {
    let began = Instant::now();
    while !so() && began.elapsed() < SOON {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
