//! `tagtrail audit replay`: what the log says up to a moment.

use std::io::{self, IsTerminal as _};

use tagtrail_domain::{StreamKey, Timestamp};
use tagtrail_replay::replay::{Replayed, Until, cloud_event, replay};
use tagtrail_replay::{Trust, shown};

use super::{AuditError, HELP, Keys, Progress, What};
use crate::context::Context;
use crate::failure::Failure;
use crate::k8s;
use crate::moment::{self, MOMENTS, When};
use crate::places::Place;
use crate::print::age::{Now, rfc3339};
use crate::print::{describe, events, json};

/// Print the image streams that the events make, or the events.
///
/// What is printed comes from the events alone. Each is checked to be one that the rules allow where it stands, and together they must
/// lead to the root that the log's checkpoint was signed for, also where less of them is asked for: what was printed is to be believed
/// only if this ends with exit code 0.
#[derive(clap::Args)]
#[command(after_help = format!("{HELP}\n\n{MOMENTS}"))]
pub(crate) struct Args {
    #[command(flatten)]
    what: What,
    #[command(flatten)]
    keys: Keys,
    /// Up to this moment [default: the end]
    #[arg(long, value_name = "MOMENT", value_parser = moment::past, allow_hyphen_values = true)]
    until: Option<When>,
    /// Only this image stream
    #[arg(long, value_name = "[NAMESPACE/]STREAM")]
    stream: Option<String>,
    /// state: the image streams in words; json: the same as 'get is -o json' has them, with every history whole; jsonl: each event
    /// as JSON; cloudevents: each as a CloudEvent
    #[arg(
        short,
        long,
        value_name = "FORMAT",
        default_value = "state",
        value_parser = ["state", "json", "jsonl", "cloudevents"]
    )]
    output: String,
    /// Stop after each command, and show what it changed
    #[arg(long)]
    step: bool,
}

pub(super) fn run(args: &Args, context: &mut Context) -> Result<(), AuditError> {
    let wanted = match &args.stream {
        Some(text) => Some(stream(text, context)?),
        None => None,
    };
    if args.step && args.output == "json" {
        return Err(
            Failure::client("--step goes with -o state, jsonl or cloudevents: json is one document").into()
        );
    }
    let until = match args.until {
        None | Some(When::Now) => Until::End,
        Some(When::Sequence(sequence)) => Until::Sequence(sequence),
        Some(When::Time(time)) => {
            Until::Time(Timestamp::new(time.timestamp(), time.timestamp_subsec_nanos()))
        }
    };
    let source = args.what.open(context)?;
    let trust = Trust::of(args.keys.policy()?, &*source)?;
    let log = source.log_id().map(|id| id.to_string()).unwrap_or_default();
    let stops = args.step && io::stdin().is_terminal();
    let started = std::time::Instant::now();
    let mut progress = Progress::new();
    let mut last = None;
    let replayed = replay::<AuditError>(&*source, &trust, until, |step, model| {
        let sequence = step.recorded.sequence;
        last = step.event.recorded_at.or(last);
        if wanted.as_ref().is_some_and(|wanted| *wanted != step.recorded.stream) {
            return Ok(());
        }
        match args.output.as_str() {
            "jsonl" => context.print(&events::json_line(&step.event))?,
            "cloudevents" => {
                let line = cloud_event(&log, &step.event).map_err(Failure::client)?;
                context.print(&format!("{line}\n"))?;
            }
            _ if args.step => context.print(&events::line(&step.event))?,
            _ if sequence.is_multiple_of(1024) => {
                let of = source.about();
                progress.say(tagtrail_replay::verify::Progress {
                    done: sequence,
                    of,
                    elapsed: started.elapsed(),
                });
            }
            _ => {}
        }
        if args.step && step.ends_run {
            if let Some(description) = shown::description(model, &step.recorded.stream) {
                let now = now(step.event.recorded_at);
                context.print(&format!("\n{}\n\n", describe::stream(&description, now)))?;
            }
            if stops {
                context.flush()?;
                let mut line = String::new();
                let read = io::stdin().read_line(&mut line);
                read.map_err(|error| Failure::client(format!("cannot read the terminal: {error}")))?;
            }
        }
        Ok(())
    })?;
    drop(progress);
    let Replayed { model, last: end, signed } = replayed;
    let (end, at) = end.unwrap_or_default();
    if let Until::Sequence(asked) = until
        && asked > end
    {
        let text = format!("the log ends at sequence {end}; {asked} lies beyond it");
        return Err(Failure::client(text).into());
    }
    let at = prost_types::Timestamp { seconds: at.seconds, nanos: i32::try_from(at.nanos).unwrap_or(0) };
    context.warn(&format!("As of event {end}, recorded at {}.", rfc3339(&at)))?;
    context.warn(&format!("Note: {}", trust.in_words()))?;
    if signed < end {
        let unsigned = end - signed;
        context.warn(&format!("Note: nobody has signed the newest {unsigned} of these events."))?;
    }
    if args.step || !matches!(args.output.as_str(), "state" | "json") {
        return Ok(());
    }
    let keys: Vec<StreamKey> = match wanted {
        Some(key) if !model.streams().any(|(known, _)| *known == key) => {
            return Err(Failure::client(format!("no event up to there is of an image stream {key}")).into());
        }
        Some(key) => vec![key],
        None => model.streams().map(|(key, _)| key.clone()).collect(),
    };
    if args.output == "json" {
        let streams = keys.iter().filter_map(|key| shown::whole(&model, key));
        let list = k8s::list(streams.map(|stream| k8s::image_stream(&stream)).collect());
        return Ok(context.print(&json::pretty(&list))?);
    }
    let shown = keys.iter().filter_map(|key| shown::description(&model, key));
    let texts: Vec<String> = shown.map(|description| describe::stream(&description, now(last))).collect();
    if texts.is_empty() {
        context.warn("No image stream was there then.")?;
    }
    context.print(&texts.join("\n\n"))?;
    Ok(())
}

fn stream(text: &str, context: &Context) -> Result<StreamKey, Failure> {
    let place = Place::of_any(text, &context.namespace)?;
    if !place.tag.is_empty() {
        return Err(Failure::client("--stream takes an image stream, without a tag"));
    }
    StreamKey::parse(&place.namespace, &place.stream).map_err(Failure::client)
}

/// Ages count from the last event: the log knows no other time.
fn now(last: Option<prost_types::Timestamp>) -> Now {
    last.as_ref().and_then(moment::of_timestamp).map_or_else(Now::by_the_clock, Now)
}
