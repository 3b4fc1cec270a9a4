//! `tagtrail admin salvage`: puts a damaged data directory in order, and says exactly what that costs.

use std::path::PathBuf;

use tagtrail_event_log::{LogId, Options, SledLog, salvage};
use tagtrail_replay::{Against, Trust, source, verify};

use crate::commands::audit::verify::in_words;
use crate::context::Context;
use crate::failure::Failure;

/// Put a damaged data directory in order, as far as it can be done without a backup.
///
/// The log stands in it twice, as a journal and in sled, and each is rebuilt from the other. What neither has is lost, with
/// everything behind it: then the longest beginning that is whole is kept, and the damaged copies are set aside. Afterwards all of
/// it is checked, and manifests and configurations that are missing are named. The server must not be running.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The data directory
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

pub(crate) fn run(args: &Args, context: &mut Context) -> Result<(), Failure> {
    let dir = &args.data_dir;
    if !dir.is_dir() {
        return Err(Failure::client(format!("there is no directory {}", dir.display())));
    }
    let fail = |error: &dyn std::fmt::Display| Failure::client(error.to_string());
    if args.dry_run {
        let report = salvage::examine(dir).map_err(|error| fail(&error))?;
        return context.print(&format!("{report}\nNothing was changed.\n"));
    }
    let report = salvage::salvage(dir).map_err(|error| fail(&error))?;
    context.print(&format!("{report}\n"))?;
    // Opening rebuilds either copy from the other. The id is that of the log which is there.
    let options = Options::new(LogId::from_bytes(*report.id.as_bytes()));
    let (log, opened) = SledLog::open(dir, options).map_err(|error| fail(&error))?;
    log.close().map_err(|error| fail(&error))?;
    context.print(&format!("{opened}\n\n"))?;
    let source = source::open(&dir.display().to_string()).map_err(|error| fail(&error))?;
    let trust = Trust::of(None, &*source).map_err(|error| fail(&error))?;
    let verdict = verify(&*source, Against { trust, checkpoints: Vec::new() }, &mut |_| {});
    let verdict = verdict.map_err(|error| fail(&error))?;
    context.print(&in_words(&verdict, None, false))?;
    match verdict.is_fine() {
        Some(true) => Ok(()),
        _ => Err(Failure::client(format!(
            "the log can be opened, and what is named above is still wrong with it; a backup has what is missing ('tagtrail audit diff {} BACKUP' compares)",
            dir.display()
        ))),
    }
}
