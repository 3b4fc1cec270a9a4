//! The log goes on as another one, after somebody has accepted that events are lost. A log never signs two histories: what was
//! signed under the old name stays true of the old log, and the new one tells where it comes from in its first event.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tagtrail_domain::event::{Actor, Event, LogContinued, Recorded, Run};
use tagtrail_domain::{Fact, StreamKey, limits};
use tagtrail_event_log::continuation::continue_as;
use tagtrail_event_log::{Log, LogId, ReadError, SledLog, codec};
use tagtrail_projection::View;

use super::Opened;
use super::kept::sync_parent;
use crate::config::{Accepted, Config};
use crate::outside::Outside;
use crate::start::{ServeError, catch_up_whole, open_audit, open_log, system};

/// What the event says made it.
const COMMAND: &str = "accept-rollback";

/// Lets the log go on under a new id, if it does not go on from what was signed. The server is not running yet.
///
/// A kill in the middle leaves the old log, which is asked for again, or the new one.
pub(crate) async fn go_on(config: &Config, accepted: &Accepted, outside: &Outside) -> Result<(), ServeError> {
    let (log, opening, _) = open_log(config, outside).await?;
    let opened = open_audit(config, log.clone(), opening).await?;
    let Some(why) = opened.audit.suspended() else {
        tracing::warn!(
            "there is no rollback to accept: the log goes on from what was signed; start without --accept-rollback"
        );
        return close(log, opened);
    };
    let old_id = log.id();
    if !opened.kept.is_of(old_id)
        && continued_before(&*log).map_err(|error| system("cannot read the log")(io::Error::other(error)))?
    {
        // Killed after the log had become another one, and before what belongs to the old one was set aside. Had it been
        // signed as what it is now, that would be kept, and could be lost like anything else.
        close(log, opened)?;
        return set_aside(config, "before").map_err(system("cannot set the old key aside"));
    }
    let event = event(config, accepted, outside, &log, &opened).await?;
    close(log, opened)?;
    let new_id = LogId::from_bytes(outside.fresh_bits());
    let (directory, bytes, head) = (config.data_dir.clone(), codec::encode(&event), event.sequence - 1);
    let done = tokio::task::spawn_blocking(move || continue_as(&directory, new_id, head, bytes)).await;
    done.map_err(|error| system("cannot continue the log")(io::Error::other(error)))?
        .map_err(|error| system("cannot continue the log")(io::Error::other(error.to_string())))?;
    set_aside(config, &old_id.to_string()).map_err(system("cannot set the old key aside"))?;
    tracing::warn!(old = %old_id, new = %new_id, why, "the log goes on under a new id");
    Ok(())
}

fn close(log: Arc<SledLog>, opened: Opened) -> Result<(), ServeError> {
    drop(opened);
    match Arc::try_unwrap(log) {
        Ok(log) => log.close().map_err(system("cannot close the log")),
        Err(_) => Err(system("cannot close the log")(io::Error::other("it is still in use"))),
    }
}

/// Whether the newest event tells that the log goes on from another one.
pub(super) fn continued_before(log: &dyn Log) -> Result<bool, ReadError> {
    let head = log.head();
    let newest = log.read(head.max(1), 1, usize::MAX)?;
    let newest = newest.first().and_then(|stored| codec::decode(&stored.payload).ok());
    Ok(newest.is_some_and(|recorded| matches!(recorded.event.fact, Fact::LogContinued(_))))
}

async fn event(
    config: &Config,
    accepted: &Accepted,
    outside: &Outside,
    log: &Arc<SledLog>,
    opened: &Opened,
) -> Result<Recorded, ServeError> {
    // The read model knows how many events the name has had.
    let (view, _) = View::open(&config.data_dir.join("view"), &**log)?;
    let view = Arc::new(view);
    catch_up_whole(view.clone(), log.clone()).await?;
    let stream = StreamKey::of_log();
    let sequence = log.head() + 1;
    let newest = opened.kept.newest(log.id());
    let (last_origin, last_checkpoint) = match newest {
        Some((checkpoint, note)) if note.len() <= limits::CHECKPOINT_BYTES => {
            (checkpoint.origin().to_owned(), note)
        }
        Some((checkpoint, _)) => (checkpoint.origin().to_owned(), String::new()),
        None => (opened.audit.key.name().to_owned(), String::new()),
    };
    Ok(Recorded {
        sequence,
        revision: view.stream(&stream).revision + 1,
        recorded_at: outside.now().max(view.recorded_at()),
        run: Run { first_sequence: sequence, length: 1 },
        stream,
        actor: Actor { name: accepted.by.clone(), authenticated: false },
        reason: accepted.reason.clone(),
        command: COMMAND.to_owned(),
        request_id: String::new(),
        request_digest: Vec::new(),
        caused_by: 0,
        traceparent: String::new(),
        event: Event {
            stream_uid: String::new(),
            generation: 0,
            fact: Fact::LogContinued(Box::new(LogContinued {
                old_log_id: log.id().to_string(),
                old_origin: last_origin,
                old_checkpoint: last_checkpoint,
                head: log.head(),
            })),
        },
    })
}

/// Sets the key and the checkpoints of the old log aside; nothing is deleted.
fn set_aside(config: &Config, of: &str) -> io::Result<()> {
    let data_dir = &config.data_dir;
    let files = [
        Some(config.audit.key_file(data_dir)),
        Some(data_dir.join(super::kept::BESIDE)),
        config.audit.checkpoint_copy.clone(),
    ];
    for path in files.into_iter().flatten().filter(|path| path.exists()) {
        fs::rename(&path, free(&path, of))?;
        sync_parent(&path)?;
    }
    Ok(())
}

fn free(path: &Path, of: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let named = |end: String| path.with_file_name(format!("{name}.{of}{end}"));
    let ends = std::iter::once(String::new()).chain((2..).map(|n| format!("-{n}")));
    ends.map(named).find(|path| !path.exists()).expect("a directory has fewer entries than there are numbers")
}
