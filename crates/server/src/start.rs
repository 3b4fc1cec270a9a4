//! Starting and stopping. The order matters: what is opened first is closed last.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::middleware::Next;
use tagtrail_api::v1;
use tagtrail_event_log::blobs::BlobStore;
use tagtrail_event_log::{Log, LogId, OpenError, Options, SledLog};
use tagtrail_importer::Importer;
use tagtrail_projection::{Opened, View, ViewError};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tonic::service::interceptor::InterceptedService;
use tonic::service::{Interceptor, Routes};
use tonic::{Request, Status};
use tonic_health::ServingStatus;

use crate::admission::{self, Admission, Places};
use crate::audit::{Audit, Opening};
use crate::background::Background;
use crate::config::Config;
use crate::config::limits::Limits;
use crate::grpc::{Lots, Services, errors};
use crate::images::Images;
use crate::importing::Importing;
use crate::outside::Outside;
use crate::past::Past;
use crate::publishing::Publishing;
use crate::secrets::Secrets;
use crate::watch::Watches;
use crate::work::Work;
use crate::writer::{Commits, Rules, Writer};

/// How long requests under way may take after a signal.
const GRACE: Duration = Duration::from_secs(10);
/// How long an answer may then lie with a client that does not take it, when nothing else is under way: a watcher that
/// has stopped does not hold up the server.
const UNTAKEN: Duration = Duration::from_secs(2);
/// How many events are applied between two looks at whether to go on.
const CATCH_UP_STEP: u64 = 20_000;
/// How much room is kept back on the disk, in bytes: more than what is under way at any time.
const RESERVE_BYTES: u64 = 16 << 20;

/// Why the server could not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The log cannot be opened.
    #[error(transparent)]
    Log(#[from] OpenError),
    /// The read model cannot be made.
    #[error(transparent)]
    View(#[from] ViewError),
    /// The log cannot be proved.
    #[error("cannot prove the log: {0}")]
    Audit(#[from] crate::audit::OpenError),
    /// The importer's configuration is wrong.
    #[error(transparent)]
    Importer(#[from] tagtrail_importer::ConfigError),
    /// An address is taken, or not this machine's.
    #[error("cannot listen on {address}: {source}{}", remedy(source))]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The operating system refused something.
    #[error("{doing}: {source}")]
    System {
        /// What could not be done.
        doing: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// gRPC failed.
    #[error("the gRPC server failed: {0}")]
    Grpc(#[from] tonic::transport::Error),
    /// The writer has stopped.
    #[error("the log could not be written any more; start the server again, and it tells what it finds")]
    WriterFailed,
}

/// Serves until a signal (SIGTERM, SIGINT) or a failure of the disk.
///
/// # Errors
/// [`ServeError`]. Whatever was acknowledged before is safe.
pub async fn serve(config: Config) -> Result<(), ServeError> {
    // One provider of cryptography, chosen once. An error means that it was chosen before, which is as good.
    rustls::crypto::ring::default_provider().install_default().ok();
    let metrics = crate::metrics::install();
    let outside = Outside::real();
    let started = Instant::now();
    let mut signals = Signals::new()?;
    let importer = importer(&config)?;
    // First of all, so that a second server on the same directory hears that, and not of a port that is taken.
    if let Some(accepted) = &config.accept_rollback {
        crate::audit::go_on(&config, accepted, &outside).await?;
    }
    let (log, opening, mut findings) = open_log(&config, &outside).await?;
    let grpc_listener = listen(config.listen).await?;
    let http_listener = listen(config.http_listen).await?;
    // Where port 0 was asked for, these say which one it became.
    let listens = grpc_listener.local_addr().map_err(system("cannot listen"))?;
    let http_listens = http_listener.local_addr().map_err(system("cannot listen"))?;
    let blobs = Arc::new(BlobStore::open(&config.data_dir).map_err(system("cannot open the blobs"))?);
    let (secrets, damaged) =
        Secrets::open(&config.data_dir).map_err(system("cannot read the pull secrets"))?;
    let secrets = Arc::new(secrets);
    for finding in &damaged {
        tracing::warn!("{finding}");
    }
    findings.extend(damaged);
    let (view, opened) = View::open(&config.data_dir.join("view"), &*log)?;
    let view = Arc::new(view);
    findings.extend(found(&opened, log.head()));
    remove_leftovers(&config.data_dir);
    crate::metrics::head(log.head());

    let (ready, is_ready) = watch::channel(false);
    let (stop, stopped) = watch::channel(false);
    let (alive, mut writer_alive) = watch::channel(true);
    let chance = outside.clone();
    let work = Arc::new(Work::new(config.import.intervals, move || chance.fraction()));
    let (writer, queue) = Writer::new(config.limits.waiting_writes);
    let importing = Importing::new(
        importer,
        blobs.clone(),
        secrets.clone(),
        outside.clone(),
        config.import.max_images_per_repository,
    );
    let audit = open_audit(&config, log.clone(), opening).await?;
    findings.extend(audit.findings.iter().cloned());
    let past = Past { log: log.clone(), view: view.clone() };
    let watches =
        Watches::new(past, config.repository.clone(), stopped.clone(), config.limits.watcher_patience);
    let publishing = Publishing::of(&config, log.clone(), outside.clone());
    let config = Arc::new(config);
    let services = Services {
        config: config.clone(),
        log: log.clone(),
        view: view.clone(),
        images: Images { view: view.clone(), blobs },
        importing: importing.clone(),
        secrets,
        work: work.clone(),
        publishing: publishing.clone(),
        writer: writer.clone(),
        audit: audit.audit.clone(),
        http_port: http_listens.port(),
        watches: watches.clone(),
        outside: outside.clone(),
        started,
        stopped: stopped.clone(),
        findings: Arc::new(findings),
        rebuilding: Arc::default(),
        places: Lots::new(&config.limits),
    };
    let (health_reporter, health) = tonic_health::server::health_reporter();
    health_reporter.set_service_status("", ServingStatus::NotServing).await;
    // Answered before the read model is complete: who calls meanwhile is told so.
    let limits = config.limits.clone();
    let routes = routes(services, &limits, Gate(is_ready.clone())).add_service(health).into_axum_router();
    let (underway, is_underway) = watch::channel(0);
    let underway = Arc::new(underway);
    let routes = routes
        .layer(axum::middleware::from_fn(errors::answer_panics))
        .layer(axum::middleware::from_fn_with_state(underway, count))
        // Outermost: whoever is not let in costs nothing more.
        .layer(axum::middleware::from_fn_with_state(Arc::new(Admission::new(&limits)), admission::admit));
    let routes = Routes::from(routes);
    let grpc_stop = turned_true(stopped.clone());
    let mut grpc = tokio::spawn(async move {
        let places = Places::new("connections", limits.connections);
        let incoming = admission::connections(grpc_listener, places);
        transport(&limits).add_routes(routes).serve_with_incoming_shutdown(incoming, grpc_stop).await
    });
    let watched = crate::http::routes(metrics, work.clone(), publishing.clone(), is_ready.clone());
    let watched = watched.merge(crate::audit::routes(audit.audit.clone()));
    let http = axum::serve(http_listener, watched).with_graceful_shutdown(turned_true(stopped.clone()));
    let http = tokio::spawn(async move { http.await });

    let going_on = Arc::new(AtomicBool::new(true));
    tokio::select! {
        caught_up = catch_up(view.clone(), log.clone(), going_on.clone()) => caught_up?,
        () = signals.any() => {
            going_on.store(false, Ordering::Relaxed);
            return Ok(()); // What was built so far is kept.
        }
    }
    work.fill(&view, outside.now(), Instant::now());
    let commits = Commits { log: log.clone(), view: view.clone(), tail: watches.tail(), work: work.clone() };
    let writer_thread = queue
        .start(commits, outside.clone(), Rules::of(&config), alive)
        .map_err(system("cannot start the writer"))?;
    // A log that does not go on from what was signed is only read: nothing is added to it, and nobody is told of it as if it did.
    // That may also turn out later.
    let goes_on = audit.audit.suspended().is_none();
    let idle = stopped_or_suspended(stopped.clone(), audit.audit.clone());
    let background = Background { work, view: view.clone(), importing, writer: writer.clone(), outside };
    let background = match goes_on {
        true => tokio::spawn(background.run(idle.clone())),
        false => tokio::spawn(async {}),
    };
    let signing = audit.start(stopped);
    let publishing = match publishing.filter(|_| goes_on) {
        Some(publishing) => publishing.start(&config, watches.tail().follow(), idle),
        None => tokio::spawn(async {}),
    };
    ready.send_replace(true);
    health_reporter.set_service_status("", ServingStatus::Serving).await;
    tracing::info!(grpc = %listens, http = %http_listens, head = log.head(), "serving");

    let outcome = tokio::select! {
        () = signals.any() => Ok(()),
        _ = writer_alive.wait_for(|alive| !alive) => Err(ServeError::WriterFailed),
        ended = &mut grpc => match ended {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.into()),
            Err(error) => Err(system("gRPC stopped")(std::io::Error::other(error))),
        },
    };
    tracing::info!("stopping");
    ready.send_replace(false);
    health_reporter.set_service_status("", ServingStatus::NotServing).await;
    stop.send_replace(true);
    // New requests are turned away; those under way may end.
    let deadline = tokio::time::Instant::now() + GRACE;
    let grpc = tokio::spawn(until_answered(flattened(grpc), is_underway));
    for mut task in
        [background, publishing, signing].map(flattened).into_iter().chain([flattened(http), flattened(grpc)])
    {
        if tokio::time::timeout_at(deadline, &mut task).await.is_err() {
            tracing::warn!("something was still under way after {GRACE:?} and was cut off");
            task.abort();
            task.await.ok();
        }
    }
    // Whoever was cut off may still hold a way to the writer; it ends all the same.
    writer.stop().await;
    if outcome.is_err() {
        // sled syncs as it is dropped, and panics where the disk does not let it. The process ends; the next start looks at what
        // is there.
        std::mem::forget((view.clone(), log.clone()));
    }
    outcome?;
    tokio::task::spawn_blocking(move || close(writer_thread, &view, log))
        .await
        .map_err(|error| system("cannot close the log")(std::io::Error::other(error)))?
}

/// Waits for the last write, and writes out what sled has in memory. Nothing would be lost without it; the next start
/// would take longer.
fn close(writer: std::thread::JoinHandle<()>, view: &View, log: Arc<SledLog>) -> Result<(), ServeError> {
    writer.join().map_err(|_| ServeError::WriterFailed)?;
    view.flush()?;
    if let Ok(log) = Arc::try_unwrap(log) {
        log.close().map_err(system("cannot close the log"))?;
    }
    tracing::info!("stopped");
    Ok(())
}

fn importer(config: &Config) -> Result<Importer, ServeError> {
    Ok(Importer::new(tagtrail_importer::Config {
        registries: config.registries.clone(),
        allow_private_networks: config.import.allow_private_networks,
        docker_config_dir: config.docker_config_dir.clone(),
        requests_per_second: config.import.requests_per_second,
        ..tagtrail_importer::Config::default()
    })?)
}

/// Opens the log, mends what can be mended, and says what it found.
pub(crate) async fn open_log(
    config: &Config,
    outside: &Outside,
) -> Result<(Arc<SledLog>, Opening, Vec<String>), ServeError> {
    let mut options = Options::new(LogId::from_bytes(outside.fresh_bits()));
    options.reserve_bytes = RESERVE_BYTES;
    options.progress = Some(Box::new(|done, all| {
        if done.is_multiple_of(100_000) {
            tracing::info!(done, all, "filling sled from the journal");
        }
    }));
    let directory = config.data_dir.clone();
    let opened = tokio::task::spawn_blocking(move || SledLog::open(&directory, options)).await;
    let (log, report) =
        opened.map_err(|error| system("cannot open the log")(std::io::Error::other(error)))??;
    let findings: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    for finding in &findings {
        tracing::warn!("{finding}");
    }
    tracing::info!(id = %report.id, head = report.head, created = report.created, "log open");
    let opening = Opening { created: report.created, doubtful: report.is_doubtful() };
    Ok((Arc::new(log), opening, findings))
}

/// Opens what proves the log, and brings it up to it.
pub(crate) async fn open_audit(
    config: &Config,
    log: Arc<SledLog>,
    opening: Opening,
) -> Result<crate::audit::Opened, ServeError> {
    let config = config.clone();
    let open = move || crate::audit::Audit::open(&config, log, opening, crate::outside::secret);
    let opened = tokio::task::spawn_blocking(open).await;
    let opened = opened.map_err(|error| system("cannot hash the log")(std::io::Error::other(error)))?;
    let opened = opened?;
    for finding in &opened.findings {
        tracing::warn!("{finding}");
    }
    Ok(opened)
}

/// What is to be told of the read model, if anything.
fn found(opened: &Opened, head: u64) -> Option<String> {
    let finding = match opened {
        Opened::Kept(position) => {
            if *position < head {
                tracing::info!(position, head, "the read model is behind; catching up");
            }
            return None;
        }
        Opened::New if head == 0 => return None,
        Opened::New => "there was no read model; it was built from the log".to_owned(),
        Opened::Discarded(why) => {
            format!("the read model could not be used ({why}); it was rebuilt from the log")
        }
    };
    tracing::warn!(head, "{finding}");
    Some(finding)
}

/// What a rebuild leaves behind that was broken off in the middle.
fn remove_leftovers(data_dir: &Path) {
    for directory in ["view.new", "view.old"].map(|name| data_dir.join(name)) {
        if directory.exists()
            && let Err(error) = std::fs::remove_dir_all(&directory)
        {
            tracing::warn!(%error, directory = %directory.display(), "could not remove what a rebuild left");
        }
    }
}

/// Brings the read model up to the log.
pub(crate) async fn catch_up_whole(view: Arc<View>, log: Arc<SledLog>) -> Result<(), ServeError> {
    catch_up(view, log, Arc::new(AtomicBool::new(true))).await
}

/// Brings the read model up to the log, in steps, so that a signal in the meantime is heard.
async fn catch_up(view: Arc<View>, log: Arc<SledLog>, going_on: Arc<AtomicBool>) -> Result<(), ServeError> {
    let steps = move || -> Result<(), ViewError> {
        let head = log.head();
        while view.position() < head && going_on.load(Ordering::Relaxed) {
            view.catch_up(&*log, head.min(view.position() + CATCH_UP_STEP), &mut |_| {})?;
            tracing::info!(at = view.position(), head, "building the read model");
        }
        Ok(())
    };
    let done = tokio::task::spawn_blocking(steps).await;
    Ok(done.map_err(|error| system("cannot build the read model")(std::io::Error::other(error)))??)
}

/// Turns requests away before the read model is complete, and when the server stops.
#[derive(Clone)]
struct Gate(watch::Receiver<bool>);

impl Interceptor for Gate {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        if *self.0.borrow() { Ok(request) } else { Err(errors::not_ready()) }
    }
}

/// HTTP/2 as far as tonic lets one set it. What is not set here has defaults of h2 that are bounds too.
fn transport(limits: &Limits) -> tonic::transport::Server {
    let server = tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(limits.keepalive_interval))
        .http2_keepalive_timeout(Some(limits.keepalive_timeout))
        .http2_max_header_list_size(limits.header_bytes)
        .http2_max_pending_accept_reset_streams(Some(limits.pending_resets))
        .http2_max_local_error_reset_streams(Some(limits.error_resets))
        .max_concurrent_streams(limits.streams_per_connection);
    match limits.connection_age {
        None => server,
        Some(age) => server.max_connection_age(age).max_connection_age_grace(limits.connection_age_grace),
    }
}

fn routes(services: Services, limits: &Limits, gate: Gate) -> Routes {
    use v1::admin_service_server::AdminServiceServer;
    use v1::audit_service_server::AuditServiceServer;
    use v1::event_service_server::EventServiceServer;
    use v1::history_service_server::HistoryServiceServer;
    use v1::image_service_server::ImageServiceServer;
    use v1::image_stream_service_server::ImageStreamServiceServer;
    use v1::import_service_server::ImportServiceServer;
    use v1::schedule_service_server::ScheduleServiceServer;
    use v1::secret_service_server::SecretServiceServer;
    use v1::tag_service_server::TagServiceServer;

    macro_rules! gated {
        ($server:ident) => {
            gated!($server, limits.request_bytes)
        };
        ($server:ident, $bytes:expr) => {
            InterceptedService::new(
                $server::new(services.clone()).max_decoding_message_size($bytes),
                gate.clone(),
            )
        };
    }
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(v1::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .expect("the descriptors are those this program was built with");
    Routes::new(reflection)
        .add_service(gated!(ImageStreamServiceServer))
        .add_service(gated!(TagServiceServer))
        .add_service(gated!(HistoryServiceServer))
        .add_service(gated!(ImportServiceServer, limits.testimony_bytes))
        .add_service(gated!(ScheduleServiceServer))
        .add_service(gated!(ImageServiceServer))
        .add_service(gated!(SecretServiceServer))
        .add_service(gated!(EventServiceServer))
        .add_service(gated!(AuditServiceServer))
        .add_service(gated!(AdminServiceServer))
}

async fn listen(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).await.map_err(|source| ServeError::Listen { address, source })
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self, ServeError> {
        let on = |kind| signal(kind).map_err(system("cannot listen for signals"));
        Ok(Self { terminate: on(SignalKind::terminate())?, interrupt: on(SignalKind::interrupt())? })
    }

    async fn any(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Counts a request while its answer is being found. What is left of it then is bytes for the client to take.
async fn count(
    State(underway): State<Arc<watch::Sender<usize>>>,
    request: axum::extract::Request,
    next: Next,
) -> axum::response::Response {
    struct Under<'a>(&'a watch::Sender<usize>);

    impl Drop for Under<'_> {
        fn drop(&mut self) {
            crate::metrics::requests(-1.0);
            self.0.send_modify(|requests| *requests -= 1);
        }
    }

    crate::metrics::requests(1.0);
    underway.send_modify(|requests| *requests += 1);
    let _under = Under(&underway);
    next.run(request).await
}

/// Waits for the end of gRPC, but not for clients that do not take the answers they have.
async fn until_answered(mut grpc: tokio::task::JoinHandle<()>, mut underway: watch::Receiver<usize>) {
    let answered = async {
        // An error means that nobody can ask any more, which is as good.
        underway.wait_for(|requests| *requests == 0).await.ok();
        tokio::time::sleep(UNTAKEN).await;
    };
    tokio::select! {
        _ = &mut grpc => {}
        () = answered => grpc.abort(),
    }
}

async fn turned_true(mut told: watch::Receiver<bool>) {
    // An error means that nobody can tell any more, which is as good as being told.
    told.wait_for(|told| *told).await.ok();
}

/// Turns true when the server stops, and when its log is only read from here on.
fn stopped_or_suspended(stopped: watch::Receiver<bool>, audit: Arc<Audit>) -> watch::Receiver<bool> {
    let (tell, told) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            () = turned_true(stopped) => {}
            () = audit.until_suspended() => {}
        }
        tell.send_replace(true);
    });
    told
}

/// A task of which only the end matters.
fn flattened<T: Send + 'static>(task: tokio::task::JoinHandle<T>) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let abort = AbortOnDrop(task.abort_handle());
        task.await.ok();
        drop(abort);
    })
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn remedy(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            "; another program listens there: stop it, or choose another address"
        }
        std::io::ErrorKind::AddrNotAvailable => "; this machine has no such address",
        _ => "",
    }
}

pub(crate) fn system(doing: &'static str) -> impl Fn(std::io::Error) -> ServeError {
    move |source| ServeError::System { doing, source }
}
