//! A log in, the bytes of a backup out. The log may grow meanwhile.

use std::io::{self, Write};

use sha2::{Digest as _, Sha256};
use zstd::stream::write::Encoder;

use super::format::{self, MAGIC, VERSION};
use super::parts::{Check, Contents, Contradiction, Header, Part};
use crate::blobs::{BlobError, BlobStore};
use crate::journal::Runs;
use crate::{Log, ReadError, Stored};

/// How much is read from the log at once: events, bytes.
const PAGE: (usize, usize) = (1024, 1 << 20);
/// zstd's own default.
const LEVEL: i32 = 3;

/// Why a backup was not written. What was written of it is worthless.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// It cannot be put where it was to go.
    #[error("it cannot be written: {0}")]
    Io(#[from] io::Error),
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] ReadError),
    /// A blob cannot be read.
    #[error(transparent)]
    Blob(BlobError),
    /// The log is not what was signed.
    #[error("the log is damaged: {0}")]
    Contradiction(#[from] Contradiction),
}

/// Writes the backup of a log that the header describes. `progress` is told the newest sequence in it now and then.
///
/// # Errors
/// [`WriteError`].
pub fn write<W: Write>(
    out: W,
    header: &Header,
    log: &dyn Log,
    blobs: &BlobStore,
    mut progress: impl FnMut(u64),
) -> Result<(W, Contents), WriteError> {
    let mut writer = Writer::begin(out, header)?;
    let last = writer.check.so_far().checkpoint.size();
    let mut next = header.first;
    let mut runs = Runs::default();
    while next <= last {
        let page = log.read(next, PAGE.0, PAGE.1)?;
        if page.is_empty() {
            return Err(
                Contradiction(format!("it ends before event {next}, and was signed at {last}")).into()
            );
        }
        for stored in page.into_iter().take_while(|stored| stored.sequence <= last) {
            next = stored.sequence + 1;
            if let Some(group) = runs.push(stored) {
                writer.events(group, blobs)?;
                progress(next - 1);
            }
        }
    }
    let group = runs.finish().map_err(|error| Contradiction(error.to_string()))?;
    if !group.is_empty() {
        writer.events(group, blobs)?;
    }
    progress(last);
    writer.finish()
}

struct Writer<W: Write> {
    zstd: Encoder<'static, Summed<W>>,
    check: Check,
    record: Vec<u8>,
}

impl<W: Write> Writer<W> {
    fn begin(out: W, header: &Header) -> Result<Writer<W>, WriteError> {
        let check = Check::new(header, None)?;
        let mut out = Summed { out, sum: Sha256::new() };
        out.write_all(&MAGIC)?;
        out.write_all(&VERSION.to_be_bytes())?;
        let mut writer = Writer { zstd: Encoder::new(out, LEVEL)?, check, record: Vec::new() };
        format::header(&mut writer.record, header);
        writer.zstd.write_all(&writer.record)?;
        Ok(writer)
    }

    /// Whole runs of events, and the blobs they name.
    fn events(&mut self, events: Vec<Stored>, blobs: &BlobStore) -> Result<(), WriteError> {
        self.part(&Part::Events(events))?;
        while let Some(digest) = self.check.due() {
            let part = match blobs.get(&digest) {
                Ok(bytes) => Part::Blob { digest, bytes },
                Err(why @ (BlobError::Missing { .. } | BlobError::Damaged { .. })) => {
                    Part::Lost { digest, why: why.to_string() }
                }
                Err(why @ (BlobError::InvalidDigest(_) | BlobError::Io { .. })) => {
                    return Err(WriteError::Blob(why));
                }
            };
            self.part(&part)?;
        }
        Ok(())
    }

    fn part(&mut self, part: &Part) -> Result<(), WriteError> {
        self.check.part(part)?;
        format::part(&mut self.record, part);
        Ok(self.zstd.write_all(&self.record)?)
    }

    fn finish(mut self) -> Result<(W, Contents), WriteError> {
        let contents = self.check.end()?;
        format::end(&mut self.record, &contents);
        self.zstd.write_all(&self.record)?;
        let Summed { mut out, sum } = self.zstd.finish()?;
        out.write_all(&sum.finalize())?;
        out.flush()?;
        Ok((out, contents))
    }
}

/// Adds up what is written.
struct Summed<W> {
    out: W,
    sum: Sha256,
}

impl<W: Write> Write for Summed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.sum.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
