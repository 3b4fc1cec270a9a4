//! The bytes of a backup in, its parts out. Each was checked when it is given; that nothing is missing shows at the end.

use std::io::{self, BufRead, Read};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tagtrail_transparency::VerifierKey;
use zstd::stream::read::Decoder;

use super::format::{
    self, END, HEADER, MAGIC, MAX_BODY_BYTES, PREFIX_BYTES, RECORD_HEADER_BYTES, SUM_BYTES, VERSION,
    WINDOW_LOG,
};
use super::parts::{Check, Contents, Contradiction, Header, Part};

/// Why a backup cannot be read any further. What came before is not to be relied on either.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// It does not begin as a backup does.
    #[error("it is no backup of tagtrail")]
    NotOne,
    /// A later version of this program has written it.
    #[error("it is a backup of format {0}, and this program knows format {VERSION}: use a newer tagtrail")]
    Newer(u32),
    /// These are not the bytes that were written, or not all of them.
    #[error("it is damaged or cut off: {0}. Take another copy of it")]
    Damaged(String),
    /// It is whole, and says what is not so.
    #[error("it is not what it says it is: {0}")]
    Contradiction(#[from] Contradiction),
    /// The disk did not answer.
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// The parts of a backup in order. After an error there are no more.
pub struct Reader<R: BufRead> {
    header: Header,
    // `None` at the end, and after an error.
    state: Option<(Decoder<'static, Summed<R>>, Check)>,
    contents: Option<Contents>,
}

impl<R: BufRead> Reader<R> {
    /// Reads the beginning. The checkpoint must be signed with `key`, or the key that the backup itself names.
    ///
    /// # Errors
    /// [`BackupError`].
    pub fn open(from: R, key: Option<&VerifierKey>) -> Result<Reader<R>, BackupError> {
        let mut from = Summed { from, sum: Sha256::new(), failed: false };
        let mut prefix = Vec::with_capacity(PREFIX_BYTES);
        from.by_ref().take(PREFIX_BYTES as u64).read_to_end(&mut prefix)?;
        if prefix.len() < PREFIX_BYTES || !prefix.starts_with(&MAGIC) {
            let begun = !prefix.is_empty() && MAGIC.starts_with(&prefix[..prefix.len().min(MAGIC.len())]);
            return Err(if begun { cut_off() } else { BackupError::NotOne });
        }
        let version = prefix[MAGIC.len()..].iter().fold(0, |version, byte| version << 8 | u32::from(*byte));
        if version != VERSION {
            return Err(BackupError::Newer(version));
        }
        let mut zstd = Decoder::with_buffer(from)?.single_frame();
        zstd.window_log_max(WINDOW_LOG)?;
        let (kind, body) = record(&mut zstd)?;
        let header = (kind == HEADER).then(|| format::read_header(body)).flatten();
        let header = header.ok_or_else(|| BackupError::Damaged("it has no header".into()))?;
        let check = Check::new(&header, key)?;
        Ok(Reader { header, state: Some((zstd, check)), contents: None })
    }

    /// What it is a backup of.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// What it has, once its end was reached and everything was well.
    #[must_use]
    pub fn contents(&self) -> Option<&Contents> {
        self.contents.as_ref()
    }

    /// Reads what is left, and gives what the whole has. `progress` is told the newest sequence now and then.
    ///
    /// # Errors
    /// [`BackupError`].
    pub fn verify(mut self, mut progress: impl FnMut(u64)) -> Result<Contents, BackupError> {
        for part in self.by_ref() {
            if let Part::Events(events) = part? {
                progress(events.last().map_or(0, |last| last.sequence));
            }
        }
        self.contents.ok_or_else(cut_off)
    }

    fn advance(&mut self) -> Result<Option<Part>, BackupError> {
        let Some((mut zstd, mut check)) = self.state.take() else { return Ok(None) };
        let (kind, body) = record(&mut zstd)?;
        match format::read_part(kind, body).map_err(BackupError::Damaged)? {
            Ok(part) => {
                check.part(&part)?;
                self.state = Some((zstd, check));
                Ok(Some(part))
            }
            Err(counts) => {
                debug_assert_eq!(kind, END);
                end(zstd)?;
                let contents = check.end()?;
                if counts != format::counts(&contents) {
                    return Err(BackupError::Damaged(
                        "it has another number of parts than its end says".into(),
                    ));
                }
                self.contents = Some(contents);
                Ok(None)
            }
        }
    }
}

impl<R: BufRead> Iterator for Reader<R> {
    type Item = Result<Part, BackupError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.advance().transpose()
    }
}

fn cut_off() -> BackupError {
    BackupError::Damaged("it ends too early".into())
}

/// Tells a bad file from a disk that does not answer.
fn told<R: BufRead>(zstd: &Decoder<'static, Summed<R>>, error: io::Error) -> BackupError {
    if zstd.get_ref().failed {
        BackupError::Io(error)
    } else if error.kind() == io::ErrorKind::UnexpectedEof {
        cut_off()
    } else {
        BackupError::Damaged(error.to_string())
    }
}

/// Reads a record: its kind and its body.
fn record<R: BufRead>(zstd: &mut Decoder<'static, Summed<R>>) -> Result<(u8, Bytes), BackupError> {
    let mut head = [0; RECORD_HEADER_BYTES];
    zstd.read_exact(&mut head).map_err(|error| told(zstd, error))?;
    let [kind, length @ .., _, _, _, _] = head;
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_BODY_BYTES {
        return Err(BackupError::Damaged(format!("a record claims {length} bytes, more than one may have")));
    }
    // No more memory than there are bytes.
    let mut body = Vec::new();
    zstd.take(length as u64).read_to_end(&mut body).map_err(|error| told(zstd, error))?;
    if body.len() < length {
        return Err(cut_off());
    }
    if format::crc(&head[..5], &body).to_be_bytes() != head[5..] {
        return Err(BackupError::Damaged("a record fails its checksum".into()));
    }
    Ok((kind, body.into()))
}

/// Nothing follows but the sum of everything, and it is the right one.
fn end<R: BufRead>(mut zstd: Decoder<'static, Summed<R>>) -> Result<(), BackupError> {
    let mut more = [0];
    if zstd.read(&mut more).map_err(|error| told(&zstd, error))? > 0 {
        return Err(BackupError::Damaged("something follows its end".into()));
    }
    let Summed { mut from, sum, .. } = zstd.finish();
    let mut there = Vec::with_capacity(SUM_BYTES + 1);
    from.by_ref().take(SUM_BYTES as u64 + 1).read_to_end(&mut there)?;
    match there.len() {
        0..SUM_BYTES => Err(cut_off()),
        SUM_BYTES if there[..] == sum.finalize()[..] => Ok(()),
        SUM_BYTES => Err(BackupError::Damaged("the sum of its bytes is another one".into())),
        _ => Err(BackupError::Damaged("something follows its end".into())),
    }
}

/// Adds up what is read.
struct Summed<R> {
    from: R,
    sum: Sha256,
    failed: bool,
}

impl<R: BufRead> Read for Summed<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut there = self.fill_buf()?;
        let read = there.read(out)?;
        self.consume(read);
        Ok(read)
    }
}

impl<R: BufRead> BufRead for Summed<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        // Asked twice, because what the first gives may not be looked at and given on.
        if let Err(error) = self.from.fill_buf() {
            self.failed = true;
            return Err(error);
        }
        self.from.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        // What is consumed was given before, and is still there.
        if let Ok(there) = self.from.fill_buf() {
            self.sum.update(&there[..count.min(there.len())]);
        }
        self.from.consume(count);
    }
}
