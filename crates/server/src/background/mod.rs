//! What is done without anybody waiting for it: imports of tags that were set (`imports`), checks of tags that are on the
//! schedule or have failed (`checks`), and releases of tags whose time is up (`holds`). All go through the same writer as everything else, and are found again
//! after a restart.

mod checks;
mod holds;
mod imports;

use std::sync::Arc;
use std::time::Instant;

use tagtrail_domain::command::ImportOrigin;
use tagtrail_domain::event::Actor;
use tagtrail_domain::{Command, Fact, StreamKey};
use tagtrail_projection::View;
use tokio::sync::watch;

use crate::importing::{Answer, Importing};
use crate::outside::Outside;
use crate::work::Work;
use crate::writer::{Origin, Write, WriteError, Writer, Written};

/// Carries out what is to be done.
#[derive(Clone)]
pub(crate) struct Background {
    /// What is to be done.
    pub work: Arc<Work>,
    /// What is true.
    pub view: Arc<View>,
    /// The way to registries.
    pub importing: Importing,
    /// The way into the log.
    pub writer: Writer,
    /// The time.
    pub outside: Outside,
}

/// Why an answer of a registry was not taken over.
#[derive(Debug, thiserror::Error)]
enum NotTaken {
    #[error("the image's bytes could not be kept: {0}")]
    Bytes(#[from] std::io::Error),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error("it panicked")]
    Panicked,
}

impl Background {
    /// Runs until `stop` turns true. What is under way is then dropped: it stands in the read model.
    pub(crate) async fn run(self, mut stop: watch::Receiver<bool>) {
        let work = self.work.clone();
        tokio::select! {
            () = self.clone().import_what_waits() => {}
            () = self.clone().release_what_is_over() => {}
            () = self.check_what_is_due() => {}
            // An error means that nobody can tell any more, which is as good as being told.
            _ = stop.wait_for(|stop| *stop) => {}
        }
        work.pending.stop();
    }

    /// Keeps what an answer brought, and writes what it means.
    async fn take_over(
        &self,
        key: &StreamKey,
        answer: &Answer,
        origin: ImportOrigin,
        caused_by: u64,
    ) -> Result<Written, NotTaken> {
        let import = self.importing.keep(answer, origin).await?;
        let name = if origin == ImportOrigin::Schedule { "scheduled-import" } else { "background-import" };
        let actor = Actor { name: "tagtrail".into(), authenticated: true };
        let origin = Origin { name, actor, caused_by, ..Origin::default() };
        let write = Write::one(key.clone(), Command::Import(import), origin);
        let written = self.writer.write(write).await?;
        tell(key, &written);
        Ok(written)
    }
}

/// Nobody waits for what is done here, so the server's own log says what came of it. What repeats is not written, and so
/// not told again.
fn tell(key: &StreamKey, written: &Written) {
    for recorded in &written.events {
        match &recorded.event.fact {
            Fact::TagMoved(moved) => {
                tracing::info!(stream = %key, tag = %moved.tag, to = moved.item.reference, "moved")
            }
            Fact::MoveWithheld(withheld) => {
                tracing::info!(stream = %key, tag = %withheld.tag, to = withheld.item.reference, "held, not moved");
            }
            Fact::ImportFailed { tag, failure, .. } => {
                tracing::warn!(stream = %key, %tag, kind = ?failure.kind, "an import failed: {}", failure.message);
            }
            _ => {}
        }
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}
