//! `tagtrail audit prove` and `audit check`: one event with its proof in a file.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::PathBuf;

use tagtrail_replay::Trust;
use tagtrail_replay::receipt::{self, ReceiptFailure};

use super::{AuditError, HELP, Keys, What, read};
use crate::context::Context;
use crate::failure::Failure;
use crate::print::age::rfc3339;
use crate::print::events;

/// Write the proof that an event is in the log into a file.
///
/// The file (C2SP tlog-proof) holds the event, its place in the tree and the signed checkpoint: 'audit check' needs nothing else
/// but the log's key, which has to come from elsewhere.
#[derive(clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct ProveArgs {
    /// The event
    #[arg(value_name = "SEQUENCE")]
    sequence: u64,
    #[command(flatten)]
    what: What,
    /// The file to write [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    keys: Keys,
}

/// Check the proof of an event, without its log.
#[derive(clap::Args)]
pub(crate) struct CheckArgs {
    /// The file, such as 17.tlog-proof
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    keys: Keys,
    /// The stored bytes of the event, if the proof does not hold them
    #[arg(long, value_name = "FILE")]
    entry: Option<PathBuf>,
}

pub(super) fn prove(args: ProveArgs, context: &mut Context) -> Result<(), AuditError> {
    let source = args.what.open(context)?;
    let trust = Trust::of(args.keys.policy()?, &*source)?;
    let receipt = receipt::prove(&*source, &trust, args.sequence).map_err(told)?;
    let Some(path) = args.output else {
        context.print(&receipt.to_string())?;
        return Ok(());
    };
    let written = File::create_new(&path).and_then(|mut file| file.write_all(receipt.to_string().as_bytes()));
    written.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Failure::client(format!(
            "{} is there already, and a proof is not written over: give another name",
            path.display()
        )),
        _ => {
            // Half a proof is none, and would be in the way of a whole one.
            fs::remove_file(&path).ok();
            Failure::client(format!("cannot write {}: {error}", path.display()))
        }
    })?;
    context.print(&format!("Wrote the proof of event {} to {}.\n", args.sequence, path.display()))?;
    Ok(())
}

pub(super) fn check(args: &CheckArgs, context: &mut Context) -> Result<(), AuditError> {
    let policy = args.keys.policy()?.ok_or_else(|| {
        Failure::client("whose proof it must be has to be said: give the log's key with --vkey, or a policy with --policy")
    })?;
    let entry = args.entry.as_deref().map(read).transpose()?;
    let proven = receipt::check(&read(&args.file)?, &policy, entry.map(Into::into)).map_err(told)?;
    let checkpoint = &proven.checkpoint;
    context.print(&format!(
        "{}\nThis is event {} of the log {}, as it was signed at {} events (root {}).\n",
        events::line(&proven.event),
        proven.sequence,
        checkpoint.origin(),
        checkpoint.size(),
        checkpoint.root()
    ))?;
    for (name, time) in &proven.witnesses {
        let time = prost_types::Timestamp { seconds: i64::try_from(*time).unwrap_or(i64::MAX), nanos: 0 };
        context.print(&format!("The witness {name} saw that checkpoint at {}.\n", rfc3339(&time)))?;
    }
    Ok(())
}

/// Only what shows that something is wrong is an alarm.
fn told(failure: ReceiptFailure) -> AuditError {
    match failure {
        ReceiptFailure::Source(error) => error.into(),
        ReceiptFailure::Proves(_) | ReceiptFailure::NotAnEvent { .. } => {
            AuditError::Found(failure.to_string())
        }
        ReceiptFailure::NoSuchEvent { .. }
        | ReceiptFailure::NoCheckpoint(_)
        | ReceiptFailure::NotAReceipt(_)
        | ReceiptFailure::NoEntry => AuditError::Unchecked(Failure::client(failure)),
    }
}
