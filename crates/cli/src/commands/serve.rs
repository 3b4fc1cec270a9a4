//! `tagtrail serve`: the server itself, in this process.

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;

use clap::ValueEnum;
use tagtrail_server::{Accepted, Config, Overrides};
use tracing_subscriber::EnvFilter;

use crate::failure::Failure;

/// Run the server.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The configuration, TOML; every key may also be a variable: TAGTRAIL_IMPORT__SCHEDULED_INTERVAL=2s
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the log is kept [default: ./tagtrail-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where gRPC is served [default: 127.0.0.1:7400]
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// Where /metrics, /healthz and /readyz are served [default: 127.0.0.1:7401]
    #[arg(long, value_name = "HOST:PORT")]
    http_listen: Option<String>,
    /// Listen where others can reach it, although nobody is asked who they are
    #[arg(long)]
    allow_unauthenticated: bool,
    /// Publish every change to this NATS server: nats://127.0.0.1:4222 [default: nowhere]
    #[arg(long, value_name = "URL")]
    nats_url: Option<String>,
    /// Accept that events are lost which a signed checkpoint covers: the log goes on under a new id, and its next event tells
    /// who has accepted this (--as, or TAGTRAIL_ACTOR) and why
    #[arg(long, value_name = "REASON", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    accept_rollback: Option<String>,
    /// How to write the server's own log: `text` for people, `json` for machines
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,
}

#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

/// Serves until it is told to stop. `RUST_LOG` says how much is told on the way.
pub(crate) fn run(args: Args, actor: String) -> Result<(), Failure> {
    start_logging(args.log_format);
    let overrides = Overrides {
        data_dir: args.data_dir,
        listen: args.listen,
        http_listen: args.http_listen,
        allow_unauthenticated: args.allow_unauthenticated,
        nats_url: args.nats_url,
        accept_rollback: args.accept_rollback.map(|reason| Accepted { by: actor, reason }),
    };
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let config = Config::load(args.config.as_deref(), overrides, environment)
        .map_err(|error| Failure::client(error.to_string()))?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::Output)?;
    let served = runtime.block_on(tagtrail_server::serve(config));
    // Everything that matters is closed by now. A look-up that hangs in the operating system is not waited for.
    runtime.shutdown_background();
    served.map_err(|error| Failure::client(error.to_string()))
}

fn start_logging(format: LogFormat) {
    // The NATS client tells of each attempt to connect; ours tells once, and in words.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,async_nats=off"));
    // What it traces of a connection are passwords and tokens, whatever somebody wants to see.
    let filter = filter.add_directive("async_nats::connection=debug".parse().expect("a directive"));
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match format {
        LogFormat::Text => subscriber.with_ansi(io::stderr().is_terminal()).with_target(false).init(),
        LogFormat::Json => subscriber.json().init(),
    }
}
