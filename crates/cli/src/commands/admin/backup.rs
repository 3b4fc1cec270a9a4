//! `tagtrail admin backup`: the log at one checkpoint, in one file, while the server goes on.

use std::fs::File;
use std::io::{self, BufReader, Write as _};
use std::path::{Path, PathBuf};

use tagtrail_event_log::backup::{BackupError, Contents, Header, Reader};
use tagtrail_transparency::VerifierKey;

use super::place::Place;
use super::received::{receive, receive_into};
use super::{Key, in_words, lost};
use crate::context::Context;
use crate::failure::Failure;
use crate::progress::Progress;

/// Back the log up into a file, while the server goes on.
///
/// The file holds every event up to a signed checkpoint, with all manifests and configurations. It is read again and checked before it
/// gets its name, and never takes the place of another. The 'audit' commands take it as they take a data directory. It holds no
/// secrets: back up the key that signs (log.key) by itself, once, and where fewer can read it; pull secrets are to be created again.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The file to write; - for standard output
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Only what came after this backup, which may itself be such a one
    #[arg(long, value_name = "BACKUP")]
    since: Option<PathBuf>,
    /// Only the events from this sequence on
    #[arg(long, value_name = "SEQUENCE", conflicts_with = "since")]
    incremental_from: Option<u64>,
    #[command(flatten)]
    key: Key,
}

/// Takes a backup.
pub(super) async fn run(args: &Args, context: &mut Context) -> Result<(), Failure> {
    let key = args.key.read()?;
    let since = args.since.as_deref().map(|path| Since::read(path, key.as_ref())).transpose()?;
    let first = since.as_ref().map_or(args.incremental_from.unwrap_or(1), |since| since.size + 1);
    if args.file == Path::new("-") {
        let mut out = io::stdout();
        let contents = receive_into(
            first,
            context,
            |chunk| out.write_all(chunk).map_err(Failure::Output),
            move |bytes| {
                let reader = Reader::open(bytes, key.as_ref()).map_err(|error| told("the backup", &error))?;
                check(reader, since.as_ref(), "the backup", |_| ())
            },
        )
        .await?;
        io::stdout().flush().map_err(Failure::Output)?;
        context.warn(&format!("Backed up {}.", said(&contents)))?;
        return lost("the backup", &contents.lost);
    }
    let mut place = Place::take(&args.file)?;
    receive(first, context, |chunk| place.write(&chunk)).await?;
    place.sync()?;
    // What is on the disk is what counts.
    let contents = {
        let mut progress = Progress::new();
        let reader = open(place.partial(), key.as_ref())?;
        check(reader, since.as_ref(), &args.file.display().to_string(), |at| {
            progress.say(&format!("Checking event {at}"))
        })?
    };
    let bytes = place.partial().metadata().map_err(|error| Failure::client(error.to_string()))?.len();
    place.keep()?;
    let shown = args.file.display();
    context.print(&format!("Backed up {} into {shown} ({bytes} bytes).\n", said(&contents)))?;
    lost(&shown.to_string(), &contents.lost)
}

fn said(contents: &Contents) -> String {
    let (origin, root) = (contents.checkpoint.origin(), contents.checkpoint.root());
    let size = contents.checkpoint.size();
    format!(
        "{} of {origin}, consistent with its checkpoint at {size} events, root {root}",
        in_words(contents)
    )
}

/// Opens the file of a backup.
pub(super) fn open(path: &Path, key: Option<&VerifierKey>) -> Result<Reader<BufReader<File>>, Failure> {
    let shown = path.display().to_string();
    let file = File::open(path).map_err(|error| told(&shown, &error.into()))?;
    Reader::open(BufReader::new(file), key).map_err(|error| told(&shown, &error))
}

/// Reads a backup through.
fn check<R: io::BufRead>(
    reader: Reader<R>,
    since: Option<&Since>,
    shown: &str,
    progress: impl FnMut(u64),
) -> Result<Contents, Failure> {
    if let Some(since) = since {
        since.goes_on(reader.header())?;
    }
    reader.verify(progress).map_err(|error| told(shown, &error))
}

pub(super) fn told(shown: &str, error: &BackupError) -> Failure {
    Failure::client(format!("{shown}: {error}"))
}

/// The backup that another one goes on from.
struct Since {
    path: PathBuf,
    header: Header,
    size: u64,
    root: tagtrail_transparency::Hash,
}

impl Since {
    fn read(path: &Path, key: Option<&VerifierKey>) -> Result<Self, Failure> {
        let header = open(path, key)?.header().clone();
        let checkpoint =
            header.opened(key).map_err(|error| told(&path.display().to_string(), &error.into()))?;
        Ok(Self { path: path.to_owned(), size: checkpoint.size(), root: *checkpoint.root(), header })
    }

    /// Whether a backup is of the same log, with the same events before.
    fn goes_on(&self, header: &Header) -> Result<(), Failure> {
        let before = self.path.display();
        if header.log_id != self.header.log_id {
            let (log, other) = (header.log_id, self.header.log_id);
            return Err(Failure::client(format!(
                "{before} is of the log {other}, and the server has {log}: take a backup of everything"
            )));
        }
        let base = header.base().map_err(|error| Failure::client(error.to_string()))?;
        if base.root() != self.root {
            return Err(Failure::client(format!(
                "the first {} events of the server are not those that {before} was signed with: this is another history. Compare \
                 them with 'tagtrail audit diff', and keep that backup",
                self.size
            )));
        }
        Ok(())
    }
}
