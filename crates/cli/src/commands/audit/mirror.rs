//! `tagtrail audit mirror`: follows a log and keeps a copy of it.

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use tagtrail_replay::SourceError;
use tagtrail_replay::mirror::{Follower, Look};

use super::{AuditError, Keys};
use crate::context::Context;
use crate::failure::Failure;

/// Follow a log, keep a copy of it, and raise the alarm if it tells another story.
///
/// Takes over what is new, again and again, after checking that it goes on from what was seen before. If it does not, that is a fork
/// or a rollback: this ends with exit code 1, and the signed checkpoints that show it stay in DIR. The copy can be verified,
/// replayed and compared, and served by any web server.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The log, such as http://127.0.0.1:7401/log
    #[arg(value_name = "URL")]
    url: String,
    /// Where to keep the copy
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    #[command(flatten)]
    keys: Keys,
    /// Look once, and end
    #[arg(long)]
    once: bool,
    /// How long to wait between two looks
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = interval)]
    interval: Duration,
}

/// A log is signed once a second at most.
fn interval(text: &str) -> Result<Duration, String> {
    let interval = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if interval < Duration::from_secs(1) { Err("it must be a second at least".into()) } else { Ok(interval) }
}

pub(super) fn run(args: &Args, context: &mut Context) -> Result<(), AuditError> {
    let mut follower = Follower::open(&args.url, &args.dir, args.keys.policy()?)?;
    context.warn(&format!("Note: {}", follower.trust().in_words()))?;
    let mut reached = true;
    loop {
        match follower.look() {
            Ok(Look::Grown { from, to }) => {
                context.print(&format!("Took the events {} to {to}.\n", from + 1))?;
                reached = true;
            }
            Ok(Look::Same { size }) => {
                if args.once {
                    context.print(&format!("Nothing new: {size} events.\n"))?;
                }
                reached = true;
            }
            // A server may be away for a while. It is told once.
            Err(SourceError::Unreadable(why)) if !args.once => {
                if reached {
                    context.warn(&format!(
                        "{why}; trying again every {}",
                        humantime::format_duration(args.interval)
                    ))?;
                }
                reached = false;
            }
            Err(SourceError::Unreadable(why)) => return Err(Failure::Client(why).into()),
            Err(error @ SourceError::Wrong(_)) => {
                let evidence = args.dir.join("evidence");
                context.warn(&format!(
                    "ALARM. What was signed is kept in {}: show it to others.",
                    evidence.display()
                ))?;
                return Err(error.into());
            }
        }
        context.flush()?;
        if args.once {
            return Ok(());
        }
        thread::sleep(args.interval);
    }
}
