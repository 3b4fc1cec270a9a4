//! `tagtrail admin`: for operators.

mod backup;
mod export;
mod import;
mod place;
mod received;
mod restore;
mod salvage;

#[cfg(feature = "fuzz")]
pub(crate) use import::is_export;

use std::io::IsTerminal as _;

use tagtrail_api::v1::{RebuildViewRequest, RepublishRequest};
use tagtrail_event_log::backup::Contents;
use tagtrail_transparency::VerifierKey;

use crate::context::Context;
use crate::failure::Failure;

/// For operators.
#[derive(clap::Subcommand)]
pub(crate) enum Admin {
    /// Build the read model anew from the log
    Rebuild(RebuildArgs),
    /// Publish events once more, to another stream of the NATS server
    Republish(RepublishArgs),
    Salvage(salvage::Args),
    Backup(backup::Args),
    Restore(restore::Args),
    Export(export::Args),
    Import(import::Args),
}

/// Build the read model anew from the log.
#[derive(clap::Args)]
pub(crate) struct RebuildArgs {
    /// Build it beside the live one and compare, instead of keeping it; differences are a failure
    #[arg(long)]
    verify: bool,
}

/// Publish events once more, to another stream of the NATS server than the one the server publishes to.
#[derive(clap::Args)]
pub(crate) struct RepublishArgs {
    /// The first sequence
    #[arg(long, value_name = "SEQUENCE", default_value_t = 1)]
    from: u64,
    /// The last sequence [default: the newest there is]
    #[arg(long, value_name = "SEQUENCE", default_value_t = 0, hide_default_value = true)]
    to: u64,
    /// What the subjects begin with [default: the stream's name in small letters]
    #[arg(long, value_name = "PREFIX", required_unless_present = "stream")]
    prefix: Option<String>,
    /// The stream, created if there is none [default: the prefix in capital letters]
    #[arg(long, value_name = "NAME")]
    stream: Option<String>,
}

/// Serves operators.
pub(crate) async fn run(admin: Admin, context: &mut Context) -> Result<(), Failure> {
    match admin {
        Admin::Rebuild(args) => rebuild(&args, context).await,
        Admin::Republish(args) => republish(args, context).await,
        Admin::Salvage(args) => salvage::run(&args, context),
        Admin::Backup(args) => backup::run(&args, context).await,
        Admin::Restore(args) => restore::run(&args, context),
        Admin::Export(args) => export::run(&args, context).await,
        Admin::Import(args) => import::run(&args, context),
    }
}

/// Whose signature the checkpoint of a backup must have.
#[derive(clap::Args)]
struct Key {
    /// The public key of the log, as 'audit key' prints it [default: the one that the backup itself names]
    #[arg(long, value_name = "KEY")]
    vkey: Option<String>,
}

impl Key {
    fn read(&self) -> Result<Option<VerifierKey>, Failure> {
        let key = self.vkey.as_ref().map(|text| text.trim().parse());
        key.transpose().map_err(|why| Failure::client(format!("--vkey: {why}")))
    }
}

/// What was taken, for people: `events 1 to 20, 4 manifests and configurations`.
fn in_words(contents: &Contents) -> String {
    let blobs = contents.blobs;
    format!("{}, {blobs} {}", contents.range(), blobs_in_words(blobs))
}

fn blobs_in_words(count: u64) -> &'static str {
    if count == 1 { "manifest or configuration" } else { "manifests and configurations" }
}

/// That something is there, and not everything that should be in it.
fn lost(what: &str, lost: &[String]) -> Result<(), Failure> {
    match lost {
        [] => Ok(()),
        [first, ..] => Err(Failure::client(format!(
            "{what} is whole, and lacks {} manifests or configurations that the log itself has lost, the first of them {first}: \
             put them back into blobs/sha256 of the server's data directory, from an older backup, and do it again",
            lost.len()
        ))),
    }
}

async fn republish(args: RepublishArgs, context: &mut Context) -> Result<(), Failure> {
    let client = context.client()?;
    let request = RepublishRequest {
        from_sequence: args.from,
        to_sequence: args.to,
        stream: args.stream.unwrap_or_default(),
        subject_prefix: args.prefix.unwrap_or_default(),
    };
    let answers = client.admin().republish(request).await;
    let mut answers = answers.map_err(|status| client.refusal(&status))?.into_inner();
    let watched = std::io::stderr().is_terminal();
    let mut last = None;
    while let Some(answer) = answers.message().await.map_err(|status| client.refusal(&status))? {
        if watched {
            eprint!("\rEvent {} of {}", answer.sequence, answer.to_sequence);
        }
        last = Some(answer);
    }
    if watched {
        eprintln!();
    }
    let done = last.ok_or_else(|| client.nonsense())?;
    context.print(&format!(
        "Published {} events; the stream {} holds them up to {} under {}.events.>\n",
        done.published, done.stream, done.sequence, done.subject_prefix
    ))
}

async fn rebuild(args: &RebuildArgs, context: &mut Context) -> Result<(), Failure> {
    let verify = args.verify;
    let client = context.client()?;
    let answer = client.admin().rebuild_view(RebuildViewRequest { verify }).await;
    let answer = answer.map_err(|status| client.refusal(&status))?.into_inner();
    let (events, rows, took) = (answer.events, answer.rows, answer.elapsed_ms);
    context.print(&format!("Replayed {events} events into {rows} rows in {took} ms.\n"))?;
    for difference in &answer.differences {
        context.print(&format!("{difference}\n"))?;
    }
    match (verify, answer.differences.len()) {
        (true, 0) => context.print("The live read model is the same.\n"),
        (_, 0) => Ok(()),
        (_, differences) => Err(Failure::client(format!(
            "the live read model differs from the log in at least {differences} places"
        ))),
    }
}
