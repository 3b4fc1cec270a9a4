//! `tagtrail admin import`: what 'admin export' wrote, as a new data directory.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use tagtrail_event_log::backup::{Check, Contents, Header, Part};
use tagtrail_event_log::{LogId, MAX_APPEND_BYTES, Stored, codec};

use super::Key;
use super::export::{FORMAT, VERSION};
use super::restore::{begin, commit, read_key, tell};
use crate::context::Context;
use crate::failure::Failure;
use crate::progress::Progress;

/// The longest line: the largest configuration in base64, many times over.
const LINE_BYTES: u64 = 64 << 20;
/// Whole commands are written together until they have so many bytes.
const TOGETHER: usize = 1 << 20;

/// Make a log of what 'admin export' wrote, in an empty directory.
///
/// It is the same log: the same id, the same bytes, the same root. The stored bytes of each event count; how the line shows the event is
/// not looked at. No server is asked. Everything is read back and compared with the signed checkpoint before a server would serve it.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The file; - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The directory to make: it must be empty, or not there
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// The file of the log's key (log.key), to be put into the directory
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    #[command(flatten)]
    vkey: Key,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "the first line of an export of tagtrail")]
struct First {
    format: String,
    version: u32,
    log_id: String,
    first_sequence: u64,
    last_sequence: u64,
    verifier_key: String,
    checkpoint: String,
}

/// Every line but the first.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    /// How the event reads: for people and other programs.
    event: Option<serde::de::IgnoredAny>,
    last_of_run: Option<bool>,
    bytes: Option<String>,
    blob: Option<String>,
    lost_blob: Option<String>,
    why: Option<String>,
    end: Option<End>,
}

#[derive(Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
struct End {
    events: u64,
    blobs: u64,
    lost_blobs: u64,
}

/// Imports.
pub(super) fn run(args: &Args, context: &mut Context) -> Result<(), Failure> {
    let vkey = args.vkey.read()?;
    let key = args.key.as_deref().map(read_key).transpose()?;
    let mut lines = Lines::open(&args.file)?;
    let header = lines.header()?;
    let check = Check::new(&header, vkey.as_ref()).map_err(|why| lines.wrong(&why))?;
    let mut restoring = begin(&args.data_dir, header.log_id)?;
    let mut progress = Progress::new();
    let keep = |part: &Part| restoring.part(part).map_err(Failure::client);
    let contents = take(&mut lines, check, keep, &mut progress)?;
    restoring.end(header, contents);
    let restored = commit(restoring, key.as_ref(), &mut progress)?;
    drop(progress);
    tell(&restored, &args.data_dir, key.is_some(), context)
}

fn take(
    lines: &mut Lines,
    mut check: Check,
    mut keep: impl FnMut(&Part) -> Result<(), Failure>,
    progress: &mut Progress,
) -> Result<Contents, Failure> {
    let mut events: Vec<Stored> = Vec::new();
    let mut size = 0;
    let mut next = 1;
    loop {
        let line = lines.line()?;
        let whole = events.last().is_some_and(|last| last.last_of_run);
        // What follows the events of a command, or makes them too many.
        if !events.is_empty() && (line.event.is_none() || (whole && size >= TOGETHER)) {
            if !whole {
                return Err(lines.wrong(&"the command of the event before has more events, and here is none"));
            }
            let part = Part::Events(std::mem::take(&mut events));
            size = 0;
            check.part(&part).map_err(|why| lines.wrong(&why))?;
            keep(&part)?;
            progress.say(&format!("Importing event {}", next - 1));
        }
        match line {
            Line { event: Some(_), last_of_run: Some(last_of_run), bytes: Some(bytes), .. } => {
                let payload = lines.bytes(&bytes)?;
                let recorded = codec::decode(&payload).map_err(|error| lines.wrong(&error))?;
                if recorded.sequence != next {
                    let found = recorded.sequence;
                    return Err(lines.wrong(&format!("event {found} stands where event {next} is due")));
                }
                size += payload.len();
                if size > MAX_APPEND_BYTES {
                    return Err(lines.wrong(&"the command of this event is larger than one may be"));
                }
                events.push(Stored { sequence: next, last_of_run, payload });
                next += 1;
            }
            Line { blob: Some(digest), bytes: Some(bytes), .. } => {
                let bytes = lines.bytes(&bytes)?;
                let part = Part::Blob { digest, bytes };
                check.part(&part).map_err(|why| lines.wrong(&why))?;
                keep(&part)?;
            }
            Line { lost_blob: Some(digest), why, .. } => {
                let why = why.unwrap_or_default();
                let part = Part::Lost { digest, why };
                check.part(&part).map_err(|why| lines.wrong(&why))?;
                keep(&part)?;
            }
            Line { end: Some(end), .. } => {
                let contents = check.end().map_err(|why| lines.wrong(&why))?;
                let (events, blobs) = (contents.events, contents.blobs);
                if end != (End { events, blobs, lost_blobs: contents.lost.len() as u64 }) {
                    return Err(lines.wrong(&"it says another number of events or of blobs than there were"));
                }
                lines.nothing_more()?;
                return Ok(contents);
            }
            _ => return Err(lines.wrong(&"it is neither an event, nor a blob, nor the end")),
        }
    }
}

/// Reads an export without making anything of it. Gives whether all of it is well.
#[cfg(feature = "fuzz")]
pub(crate) fn is_export(bytes: &[u8]) -> bool {
    let mut lines = Lines::over(Box::new(io::Cursor::new(bytes.to_vec())), "export".into());
    let Ok(header) = lines.header() else { return false };
    let Ok(check) = Check::new(&header, None) else { return false };
    take(&mut lines, check, |_| Ok(()), &mut Progress::new()).is_ok()
}

/// The lines of the file, one at a time.
struct Lines {
    from: Box<dyn BufRead>,
    shown: String,
    number: u64,
    buffer: Vec<u8>,
}

impl Lines {
    fn open(path: &Path) -> Result<Self, Failure> {
        let shown = path.display().to_string();
        let from: Box<dyn BufRead> = if path == Path::new("-") {
            Box::new(BufReader::new(io::stdin()))
        } else {
            let file =
                File::open(path).map_err(|error| Failure::client(format!("cannot read {shown}: {error}")))?;
            Box::new(BufReader::new(file))
        };
        Ok(Self::over(from, shown))
    }

    fn over(from: Box<dyn BufRead>, shown: String) -> Self {
        Self { from, shown, number: 0, buffer: Vec::new() }
    }

    /// Says in which line something is wrong.
    fn wrong(&self, why: &dyn std::fmt::Display) -> Failure {
        let Self { shown, number, .. } = self;
        Failure::client(format!(
            "{shown}, line {number}: {why}. Nothing was imported: export it again, or take another copy"
        ))
    }

    /// Reads the next line. `false`: there is none.
    fn read(&mut self) -> Result<bool, Failure> {
        self.number += 1;
        self.buffer.clear();
        let mut limited = self.from.by_ref().take(LINE_BYTES);
        let read = limited.read_until(b'\n', &mut self.buffer);
        read.map_err(|error| Failure::client(format!("cannot read {}: {error}", self.shown)))?;
        if self.buffer.is_empty() {
            return Ok(false);
        }
        if self.buffer.last() != Some(&b'\n') {
            let why = if self.buffer.len() as u64 == LINE_BYTES { "it is too long" } else { "it is cut off" };
            return Err(self.wrong(&why));
        }
        Ok(true)
    }

    fn parsed<'a, T: Deserialize<'a>>(&'a mut self) -> Result<T, Failure> {
        if !self.read()? {
            return Err(self.wrong(&"the file ends here, without a last line that says so"));
        }
        serde_json::from_slice(&self.buffer).map_err(|error| self.wrong(&error))
    }

    fn header(&mut self) -> Result<Header, Failure> {
        let first: First = self.parsed()?;
        if first.format != FORMAT {
            return Err(self.wrong(&format!("it is \"{}\", not \"{FORMAT}\"", first.format)));
        }
        if first.version != VERSION {
            let version = first.version;
            return Err(self.wrong(&format!(
                "it has version {version}, and this program knows {VERSION}: use a newer tagtrail"
            )));
        }
        let log_id: LogId = first.log_id.parse().map_err(|error| self.wrong(&error))?;
        let header = Header {
            log_id,
            first: first.first_sequence,
            peaks: Vec::new(),
            vkey: first.verifier_key,
            checkpoint: first.checkpoint,
        };
        let size = header.opened(None).map_err(|why| self.wrong(&why))?.size();
        if first.first_sequence != 1 || first.last_sequence != size {
            return Err(self.wrong(&format!(
                "it has the events {} to {} of {size}, and a log is imported whole or not at all: export it without --from and \
                 --to",
                first.first_sequence, first.last_sequence
            )));
        }
        Ok(header)
    }

    fn line(&mut self) -> Result<Line, Failure> {
        self.parsed()
    }

    fn bytes(&self, text: &str) -> Result<Bytes, Failure> {
        STANDARD
            .decode(text)
            .map(Bytes::from)
            .map_err(|error| self.wrong(&format!("its bytes are no base64: {error}")))
    }

    fn nothing_more(&mut self) -> Result<(), Failure> {
        if self.read()? { Err(self.wrong(&"something follows the end")) } else { Ok(()) }
    }
}
