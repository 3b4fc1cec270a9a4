//! `tagtrail audit key`: the public half of the key that signs for the log.

use tagtrail_replay::source;

use super::{AuditError, status};
use crate::context::Context;
use crate::failure::Failure;

/// Print the public key of the log, which checks its signatures.
///
/// Hand it on by a way that does not lead through the server: whoever audits gives it with --vkey.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A data directory, of which the server need not be running [default: the server]
    #[arg(value_name = "DIR")]
    directory: Option<String>,
}

pub(super) fn run(args: &Args, context: &mut Context) -> Result<(), AuditError> {
    let key = match &args.directory {
        Some(directory) => source::open(directory)?.own_key()?.map(|key| key.to_string()),
        None => Some(of_server(context)?).filter(|key| !key.is_empty()),
    };
    let Some(key) = key else {
        let text = match &args.directory {
            Some(directory) => format!(
                "there is no key in {directory}: it is made when the server starts on it first, or stands where audit.key_file says"
            ),
            None => "the log is not signed at present; 'tagtrail status' says why".to_owned(),
        };
        return Err(Failure::client(text).into());
    };
    Ok(context.print(&format!("{key}\n"))?)
}

fn of_server(context: &Context) -> Result<String, Failure> {
    Ok(status(context)?.audit.map(|audit| audit.verifier_key).unwrap_or_default())
}
