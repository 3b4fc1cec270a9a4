//! The bytes of a backup from the server, as they come: read by a thread of its own, so that the other one may wait.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use tagtrail_api::v1::BackupRequest;

use crate::context::Context;
use crate::failure::Failure;
use crate::progress::Progress;

/// How many chunks may wait.
const WAITING: usize = 8;

/// Gives the bytes of a backup to `sink`, one chunk after the other.
pub(super) async fn receive(
    from_sequence: u64,
    context: &Context,
    mut sink: impl FnMut(Vec<u8>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let client = context.client()?;
    let chunks = client.admin().backup(BackupRequest { from_sequence }).await;
    let mut chunks = chunks.map_err(|status| client.refusal(&status))?.into_inner();
    let mut progress = Progress::new();
    let mut bytes = 0;
    while let Some(chunk) = chunks.message().await.map_err(|status| client.refusal(&status))? {
        bytes += chunk.data.len();
        progress.say(&format!("Event {} of {}, {bytes} bytes", chunk.sequence, chunk.to_sequence));
        sink(chunk.data)?;
    }
    Ok(())
}

/// The same, read by `work` in another thread while they come. `tee` sees each of them before.
pub(super) async fn receive_into<T: Send + 'static>(
    from_sequence: u64,
    context: &Context,
    mut tee: impl FnMut(&[u8]) -> Result<(), Failure>,
    work: impl FnOnce(Bytes) -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let (sender, receiver) = sync_channel(WAITING);
    let working = thread::spawn(move || work(Bytes { receiver, chunk: Vec::new(), at: 0 }));
    let mut listens = true;
    let received = receive(from_sequence, context, |chunk| {
        tee(&chunk)?;
        // One that has ended says why, and needs no more.
        listens = listens && give(&sender, chunk);
        if listens { Ok(()) } else { Err(Failure::Undecided(String::new())) }
    })
    .await;
    drop(sender);
    let worked = working.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    // If the server broke off, that is why the other end found it too short.
    match received {
        Err(failure) if listens => Err(failure),
        Ok(()) | Err(_) => worked,
    }
}

fn give(sender: &SyncSender<Vec<u8>>, chunk: Vec<u8>) -> bool {
    sender.send(chunk).is_ok()
}

/// What was received, to be read.
pub(super) struct Bytes {
    receiver: Receiver<Vec<u8>>,
    chunk: Vec<u8>,
    at: usize,
}

impl BufRead for Bytes {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.at == self.chunk.len() {
            // The end is when nobody sends any more.
            let Ok(chunk) = self.receiver.recv() else { return Ok(&[]) };
            (self.chunk, self.at) = (chunk, 0);
        }
        Ok(&self.chunk[self.at..])
    }

    fn consume(&mut self, count: usize) {
        self.at += count;
    }
}

impl Read for Bytes {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(out)?;
        self.consume(read);
        Ok(read)
    }
}
