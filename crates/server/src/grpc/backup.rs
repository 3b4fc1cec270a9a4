//! A backup, as fast as the caller takes it: a thread of its own reads the log, and waits whenever a few chunks are not taken yet.

use std::cell::Cell;
use std::io::{self, Write};
use std::pin::Pin;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _, stream};
use tagtrail_api::v1;
use tagtrail_event_log::backup::{self, Header, WriteError};
use tagtrail_transparency::source;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::{Services, errors};
use crate::audit::Signed;

/// When to come back while as many are taken as may be.
const RETRY: Duration = Duration::from_secs(10);
/// How many bytes go out at once, and how many such chunks may wait.
const CHUNK: (usize, usize) = (64 << 10, 4);

pub(super) type BackupStream = Pin<Box<dyn Stream<Item = Result<v1::BackupChunk, Status>> + Send>>;

impl Services {
    pub(super) async fn begin_backup(&self, request: v1::BackupRequest) -> Result<BackupStream, Status> {
        let full = |most| format!("{most} backups are being taken already; wait until one has ended");
        let turn = self.places.backups.take(full, RETRY)?;
        // Everything that was acknowledged before this was asked is in it.
        let signed =
            self.audit.covering(self.log.head()).await.map_err(|error| errors::not_proven(&error))?;
        let first = request.from_sequence.max(1);
        let header = self.in_turn(true, move |services| services.header(first, &signed)).await?.into_inner();
        Ok(self.stream(header, turn))
    }

    /// What the backup says of itself.
    fn header(&self, first: u64, signed: &Signed) -> Result<(Header, u64), Status> {
        let size = signed.checkpoint.size();
        let before = first - 1;
        if before > size {
            return Err(errors::out_of_range(format!(
                "the log ends at sequence {size}; a backup cannot begin with {first}"
            )));
        }
        if before > 0 {
            let newest = self.log.read(before, 1, usize::MAX).map_err(|error| errors::unreadable(&error))?;
            if newest.first().is_some_and(|stored| !stored.last_of_run) {
                return Err(errors::usage(format!(
                    "event {first} is in the middle of a command, and a backup begins with a whole one: begin after the last \
                     event of the backup before"
                )));
            }
        }
        let peaks = source::frontier(self.audit.tree(), before).map_err(|error| errors::internal(&error))?;
        let header = Header {
            log_id: self.log.id(),
            first,
            peaks: peaks.peaks().to_vec(),
            vkey: self.audit.status().verifier_key,
            checkpoint: signed.note.clone(),
        };
        Ok((header, size))
    }

    fn stream(&self, (header, size): (Header, u64), turn: OwnedSemaphorePermit) -> BackupStream {
        let (sender, receiver) = mpsc::channel(CHUNK.1);
        let services = self.clone();
        tokio::task::spawn_blocking(move || {
            let _turn = turn;
            if let Some(failure) = services.write_backup(&header, size, &sender) {
                // An error means that the caller has gone away.
                sender.blocking_send(Err(failure)).ok();
            }
        });
        // A caller who takes nothing must not hold up a server that stops: the thread ends with the channel.
        let (mut stopped, after) = (self.stopped.clone(), self.stopped.clone());
        let stopping = async move {
            _ = stopped.wait_for(|stopped| *stopped).await;
        };
        let end = stream::once(async move { after.borrow().then(|| Err(errors::not_ready())) });
        let end = end.filter_map(std::future::ready);
        Box::pin(ReceiverStream::new(receiver).take_until(stopping).chain(end))
    }

    /// Gives what to tell the caller, if it failed.
    fn write_backup(&self, header: &Header, size: u64, sender: &Sender) -> Option<Status> {
        let at = Cell::new(header.goes_on_from());
        let out = Chunks { sender, chunk: Vec::with_capacity(CHUNK.0), at: &at, size };
        match backup::write(out, header, &*self.log, &self.images.blobs, |sequence| at.set(sequence)) {
            Ok((_, contents)) => {
                let (events, blobs, lost) = (contents.events, contents.blobs, contents.lost.len());
                tracing::info!(first = contents.first, events, blobs, lost, "a backup was taken");
                None
            }
            Err(WriteError::Io(_)) => None, // The caller has gone away.
            Err(WriteError::Log(error)) => Some(errors::unreadable(&error)),
            Err(WriteError::Blob(error)) => Some(errors::internal(&error)),
            Err(WriteError::Contradiction(why)) => Some(errors::damaged(&why)),
        }
    }
}

type Sender = mpsc::Sender<Result<v1::BackupChunk, Status>>;

/// Sends on what is written, a chunk at a time.
struct Chunks<'a> {
    sender: &'a Sender,
    chunk: Vec<u8>,
    /// How far whoever reads the log is.
    at: &'a Cell<u64>,
    size: u64,
}

impl Chunks<'_> {
    fn send(&mut self) -> io::Result<()> {
        let data = std::mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK.0));
        let chunk = v1::BackupChunk { data, sequence: self.at.get(), to_sequence: self.size };
        self.sender.blocking_send(Ok(chunk)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for Chunks<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(CHUNK.0 - self.chunk.len());
        self.chunk.extend_from_slice(&bytes[..taken]);
        if self.chunk.len() == CHUNK.0 {
            self.send()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.chunk.is_empty() { Ok(()) } else { self.send() }
    }
}
