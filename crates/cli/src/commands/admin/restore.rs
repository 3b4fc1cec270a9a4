//! `tagtrail admin restore`: backups, as a new data directory.

use std::fs;
use std::path::{Path, PathBuf};

use tagtrail_event_log::backup::{RestoreError, Restored, Restoring};
use tagtrail_transparency::SigningKey;

use super::backup::open;
use super::{Key, blobs_in_words};
use crate::context::Context;
use crate::failure::Failure;
use crate::progress::Progress;

/// Restore backups into an empty directory.
///
/// Everything is read back from the disk and compared with the signed checkpoint before the directory becomes one that a server
/// serves; what fails leaves nothing behind. No server is asked. The key that signs and pull secrets are not in a backup: without the
/// key the server only reads the log.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The backup of everything, then those that go on from it, in order
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// The directory to make: it must be empty, or not there
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// The file of the log's key (log.key), to be put into the directory
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    #[command(flatten)]
    vkey: Key,
}

/// Restores.
pub(super) fn run(args: &Args, context: &mut Context) -> Result<(), Failure> {
    let vkey = args.vkey.read()?;
    let key = args.key.as_deref().map(read_key).transpose()?;
    let mut restoring = None;
    let mut progress = Progress::new();
    for path in &args.files {
        let reader = open(path, vkey.as_ref())?;
        let restoring = match &mut restoring {
            Some(restoring) => restoring,
            none => none.insert(begin(&args.data_dir, reader.header().log_id)?),
        };
        let taken = restoring.take(reader, |at| progress.say(&format!("Restoring event {at}")));
        taken.map_err(|error| about(path, &error))?;
    }
    let Some(restoring) = restoring else {
        return Err(Failure::client("there is no backup to restore"));
    };
    let restored = commit(restoring, key.as_ref(), &mut progress)?;
    drop(progress);
    tell(&restored, &args.data_dir, key.is_some(), context)
}

/// Takes the directory.
pub(super) fn begin(dir: &Path, log_id: tagtrail_event_log::LogId) -> Result<Restoring, Failure> {
    Restoring::begin(dir, log_id).map_err(Failure::client)
}

/// Reads everything back, and makes it a data directory.
pub(super) fn commit(
    restoring: Restoring,
    key: Option<&SigningKey>,
    progress: &mut Progress,
) -> Result<Restored, Failure> {
    restoring.commit(key, |at| progress.say(&format!("Checking event {at}"))).map_err(Failure::client)
}

/// The log's key.
pub(super) fn read_key(path: &Path) -> Result<SigningKey, Failure> {
    let shown = path.display();
    let text =
        fs::read_to_string(path).map_err(|error| Failure::client(format!("cannot read {shown}: {error}")))?;
    text.trim()
        .parse()
        .map_err(|error| Failure::client(format!("{shown} holds no key that could be used ({error})")))
}

/// What is about a backup names it.
fn about(path: &Path, error: &RestoreError) -> Failure {
    match error {
        RestoreError::Backup(_) | RestoreError::Unfit(_) => {
            Failure::client(format!("{}: {error}", path.display()))
        }
        RestoreError::NotEmpty { .. }
        | RestoreError::Directory(_)
        | RestoreError::ReadBack(_)
        | RestoreError::Io(_) => Failure::client(error),
    }
}

/// Says what there is now, and what is not.
pub(super) fn tell(restored: &Restored, dir: &Path, key: bool, context: &mut Context) -> Result<(), Failure> {
    let (checkpoint, blobs, dir) = (&restored.checkpoint, restored.blobs, dir.display());
    context.print(&format!(
        "{dir} holds the {} events of {} and {blobs} {}. All was read back, and is what was signed: root {}.\n",
        checkpoint.size(),
        checkpoint.origin(),
        blobs_in_words(blobs),
        checkpoint.root()
    ))?;
    if let [first, ..] = restored.lost.as_slice() {
        context.warn(&format!(
            "Warning: {} manifests or configurations had been lost before the backup was taken, the first of them {first}",
            restored.lost.len()
        ))?;
    }
    if !key {
        context.warn(&format!(
            "Note: the key that signs is not in a backup. Put it into {dir}/log.key before the server starts, or where \
             audit.key_file says; without it the server only reads, until it is started with --accept-rollback"
        ))?;
    }
    context.warn("Note: pull secrets are not in a backup: create them again")?;
    context.warn(
        "Note: if the log has gone on since that backup was taken, it must not go on from here under the same name as well: the \
         server looks for a newer checkpoint where audit.checkpoint_copy says, and then only reads",
    )
}
