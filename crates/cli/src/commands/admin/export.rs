//! `tagtrail admin export`: the log as lines of JSON, for other programs and other versions. Made of a backup, so that it is
//! checked on the way.

use std::io::{self, BufRead, BufWriter, Write};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost::Message as _;
use serde::Serialize;
use tagtrail_api::v1;
use tagtrail_event_log::backup::{Part, Reader};

use super::backup::{open, told};
use super::lost;
use super::place::Place;
use super::received::receive_into;
use crate::context::Context;
use crate::failure::Failure;

/// What the first line calls this.
pub(super) const FORMAT: &str = "tagtrail-export";
/// The version of the lines.
pub(super) const VERSION: u32 = 1;

/// Write the log as lines of JSON.
///
/// The first line says which log it is, and of which signed checkpoint. Then comes a line for each event, as 'events -o json' shows it,
/// with the stored bytes in base64; a line for each manifest and configuration, behind the events that name it; and a last line with how
/// many there were. 'admin import' makes the same log of it, byte for byte.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The file to write [default: standard output]
    #[arg(value_name = "FILE", default_value = "-", hide_default_value = true)]
    file: PathBuf,
    /// The first sequence; what does not begin with 1 cannot be imported
    #[arg(long, value_name = "SEQUENCE")]
    from: Option<u64>,
    /// The last sequence [default: the newest there is]; less cannot be imported
    #[arg(long, value_name = "SEQUENCE")]
    to: Option<u64>,
    /// Make it of this backup, and ask no server
    #[arg(long, value_name = "FILE")]
    backup: Option<PathBuf>,
}

/// What the first line says.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct First<'a> {
    format: &'a str,
    version: u32,
    log_id: String,
    first_sequence: u64,
    last_sequence: u64,
    verifier_key: &'a str,
    checkpoint: &'a str,
}

/// What was written.
struct Exported {
    events: u64,
    blobs: u64,
    lost: Vec<String>,
}

/// Exports.
pub(super) async fn run(args: &Args, context: &mut Context) -> Result<(), Failure> {
    let (from, to) = (args.from.unwrap_or(1).max(1), args.to.unwrap_or(u64::MAX));
    if to < from {
        return Err(Failure::client(format!("--to {to} lies before --from {from}")));
    }
    let place = if args.file == Path::new("-") { None } else { Some(Place::take(&args.file)?) };
    let out: Box<dyn Write + Send> = match &place {
        Some(place) => Box::new(place.writer()?),
        None => Box::new(io::stdout()),
    };
    let exported = match &args.backup {
        Some(path) => lines(open(path, None)?, &path.display().to_string(), out, (from, to))?,
        None => {
            let work = move |bytes| {
                let reader = Reader::open(bytes, None).map_err(|error| told("the backup", &error))?;
                lines(reader, "the backup", out, (from, to))
            };
            receive_into(from, context, |_| Ok(()), work).await?
        }
    };
    let Exported { events, blobs, lost: missing } = &exported;
    let Some(place) = place else { return lost("the export", missing) };
    place.keep()?;
    let shown = args.file.display();
    context
        .print(&format!("Wrote {events} events and {blobs} manifests and configurations to {shown}.\n"))?;
    lost(&shown.to_string(), missing)
}

fn lines<R: BufRead>(
    mut reader: Reader<R>,
    shown: &str,
    out: Box<dyn Write + Send>,
    (from, to): (u64, u64),
) -> Result<Exported, Failure> {
    let mut out = BufWriter::new(out);
    let header = reader.header().clone();
    let size = header.opened(None).map_err(|error| told(shown, &error.into()))?.size();
    let first = First {
        format: FORMAT,
        version: VERSION,
        log_id: header.log_id.to_string(),
        first_sequence: from.max(header.first),
        last_sequence: to.min(size),
        verifier_key: &header.vkey,
        checkpoint: &header.checkpoint,
    };
    line(&mut out, &serde_json::to_string(&first).map_err(Failure::client)?)?;
    let mut exported = Exported { events: 0, blobs: 0, lost: Vec::new() };
    // Of a part that ends in the middle of what was read together, the manifests that later events name may be there too.
    let mut over = false;
    for part in reader.by_ref() {
        match part.map_err(|error| told(shown, &error))? {
            Part::Events(_) if over => break,
            Part::Events(events) => {
                over = events.last().is_some_and(|last| last.sequence >= to);
                for stored in events.iter().filter(|stored| (from..=to).contains(&stored.sequence)) {
                    let event = v1::Event::decode(stored.payload.clone()).map_err(Failure::client)?;
                    let (event, bytes) =
                        (tagtrail_api::json::event(&event), STANDARD.encode(&stored.payload));
                    let last = stored.last_of_run;
                    line(&mut out, &format!(r#"{{"event":{event},"lastOfRun":{last},"bytes":"{bytes}"}}"#))?;
                    exported.events += 1;
                }
            }
            Part::Blob { digest, bytes } => {
                line(&mut out, &format!(r#"{{"blob":"{digest}","bytes":"{}"}}"#, STANDARD.encode(&bytes)))?;
                exported.blobs += 1;
            }
            Part::Lost { digest, why } => {
                let why = serde_json::to_string(&why).map_err(Failure::client)?;
                line(&mut out, &format!(r#"{{"lostBlob":"{digest}","why":{why}}}"#))?;
                exported.lost.push(digest);
            }
        }
    }
    let (events, blobs, lost) = (exported.events, exported.blobs, exported.lost.len());
    line(&mut out, &format!(r#"{{"end":{{"events":{events},"blobs":{blobs},"lostBlobs":{lost}}}}}"#))?;
    out.flush().map_err(Failure::Output)?;
    Ok(exported)
}

fn line(out: &mut impl Write, text: &str) -> Result<(), Failure> {
    writeln!(out, "{text}").map_err(Failure::Output)
}
