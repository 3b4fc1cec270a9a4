//! `tagtrail audit diff`: two logs, and where they part.

use tagtrail_api::v1;
use tagtrail_replay::diff::{Parting, diff};
use tagtrail_replay::source;

use super::{AuditError, HELP, Progress};
use crate::context::Context;
use crate::print::events;

/// Find the first event in which two logs differ.
#[derive(clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// One log: a URL, a data directory, a mirror or a backup
    #[arg(value_name = "WHAT")]
    one: String,
    /// The other
    #[arg(value_name = "WHAT")]
    other: String,
}

pub(super) fn run(args: &Args, context: &mut Context) -> Result<(), AuditError> {
    let (one, other) = (source::open(&args.one)?, source::open(&args.other)?);
    let mut progress = Progress::new();
    let parting = diff(&*one, &*other, &mut |at| progress.say(at))?;
    drop(progress);
    match parting {
        Parting::Never { size } => {
            context.print(&format!("Both have the same {size} events.\n"))?;
            Ok(())
        }
        Parting::Longer { size, second } => {
            let (longer, shorter) = if second { (&args.other, &args.one) } else { (&args.one, &args.other) };
            context.print(&format!(
                "The {size} events of {shorter} are the first {size} of {longer}, which goes on from there.\n"
            ))?;
            Ok(())
        }
        Parting::At { sequence, payloads } => {
            let [one, other] = payloads.map(|payload| in_words(&payload));
            context.print(&format!(
                "The first {} events are the same. Then:\n\n{}:\n  {one}\n{}:\n  {other}\n",
                sequence - 1,
                args.one,
                args.other
            ))?;
            Err(AuditError::Found(format!("the two logs part at event {sequence}")))
        }
    }
}

/// The event in a line, or why there is none.
fn in_words(payload: &[u8]) -> String {
    match <v1::Event as prost::Message>::decode(payload) {
        Ok(event) => events::line(&event).trim_end().to_owned(),
        Err(error) => format!("{} bytes that are no event ({error})", payload.len()),
    }
}
