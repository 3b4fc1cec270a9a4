//! `tagtrail watch`: the events as they happen.

use std::time::Duration;

use tagtrail_api::kind::{Kind, NO_TAG};
use tagtrail_api::v1::watch_request::Begin;
use tagtrail_api::v1::watch_response::Answer;
use tagtrail_api::v1::{Event, WatchRequest};

use crate::context::Context;
use crate::failure::Failure;
use crate::follow::Follow;
use crate::print::events;

/// Print the events of the namespace as they happen, from now on, until Ctrl-C. If the server goes away, it goes on where
/// it was when the server is back.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only events of this image stream, or of this tag of it
    #[arg(value_name = "STREAM[:TAG]")]
    target: Option<String>,
    /// The events of all namespaces
    #[arg(short = 'A', long, conflicts_with = "target")]
    all_namespaces: bool,
    /// Only events about the tag of this name, whichever the image stream
    #[arg(long, value_name = "NAME")]
    tag: Option<String>,
    /// Only events of these kinds: stream-created, stream-deleted, stream-changed, tag-set, tag-moved, tag-confirmed,
    /// tag-deleted, tag-held, tag-released, tag-restored, move-withheld, import-failed, import-recovered, import-finished,
    /// image-recorded, testimony-taken, log-continued
    #[arg(long = "kind", value_name = "KIND,...", value_delimiter = ',')]
    kinds: Vec<Kind>,
    /// Begin with the event after this sequence instead of now; 0: with the first one
    #[arg(long, value_name = "SEQUENCE")]
    after: Option<u64>,
    /// End after so many events
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after so long. With --count: fail if there were fewer events by then
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
    /// json: one object a line
    #[arg(short, long, value_name = "FORMAT", value_parser = ["json"])]
    output: Option<String>,
}

/// Prints events as they happen.
pub(crate) async fn run(args: Args, context: &mut Context) -> Result<(), Failure> {
    let request = request(&args, &context.namespace)?;
    let line: fn(&Event) -> String = if args.output.is_some() { events::json_line } else { events::line };
    let watching = print(request, line, args.count, context);
    let Some(timeout) = args.timeout else { return watching.await };
    match tokio::time::timeout(timeout, watching).await {
        Ok(ended) => ended,
        Err(_) if args.count.is_none() => Ok(()),
        Err(_) => Err(Failure::client(format!(
            "timed out after {}: there were fewer events than asked for",
            humantime::format_duration(timeout)
        ))),
    }
}

async fn print(
    request: WatchRequest,
    line: fn(&Event) -> String,
    count: Option<u64>,
    context: &mut Context,
) -> Result<(), Failure> {
    let client = context.client()?;
    let mut follow = Follow::begin(&client, request).await?;
    let mut left = count.unwrap_or(u64::MAX);
    while left > 0 {
        if let Answer::Event(event) = follow.next(context).await? {
            context.print(&line(&event))?;
            // Whoever reads this waits for it.
            context.flush()?;
            left -= 1;
        }
    }
    Ok(())
}

fn request(args: &Args, namespace: &str) -> Result<WatchRequest, Failure> {
    let (stream, tag) = match args.target.as_deref().map(|target| target.split_once(':').ok_or(target)) {
        None => ("", None),
        Some(Err(stream)) => (stream, None),
        Some(Ok((stream, tag))) if !stream.is_empty() && !tag.is_empty() => (stream, Some(tag)),
        Some(Ok(_)) => {
            return Err(Failure::client("give an image stream or a tag of one: STREAM or STREAM:TAG"));
        }
    };
    let tag = match (tag, args.tag.as_deref()) {
        (Some(_), Some(_)) => return Err(Failure::client("give the tag once: as STREAM:TAG or with --tag")),
        (tag, other) => tag.or(other).unwrap_or_default(),
    };
    // In subjects it stands where no tag is meant, so it may come from there.
    if tag == NO_TAG {
        return Err(Failure::client(format!("no tag can be named \"{NO_TAG}\"")));
    }
    Ok(WatchRequest {
        begin: args.after.map(Begin::AfterSequence),
        namespace: if args.all_namespaces { String::new() } else { namespace.to_owned() },
        stream: stream.to_owned(),
        tag: tag.to_owned(),
        kinds: args.kinds.iter().map(Kind::to_string).collect(),
        ..WatchRequest::default()
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn asked(line: &str) -> Result<WatchRequest, String> {
        let words = std::iter::once("watch").chain(line.split_whitespace());
        let line = Line::try_parse_from(words).map_err(|error| error.to_string())?;
        request(&line.args, "test").map_err(|failure| failure.text())
    }

    #[test]
    fn the_words_say_what_is_watched() {
        let check = |line: &str, want: WatchRequest| {
            assert_eq!(asked(line), Ok(want), "{line}");
        };
        let here = || WatchRequest { namespace: "test".into(), ..WatchRequest::default() };
        check("", here());
        check("-A", WatchRequest::default());
        check("app", WatchRequest { stream: "app".into(), ..here() });
        check("app:v1", WatchRequest { stream: "app".into(), tag: "v1".into(), ..here() });
        check("app --tag v1", WatchRequest { stream: "app".into(), tag: "v1".into(), ..here() });
        check("-A --tag prod", WatchRequest { tag: "prod".into(), ..WatchRequest::default() });
        check("--after 0", WatchRequest { begin: Some(Begin::AfterSequence(0)), ..here() });
        check(
            "--kind tag-moved,tag-deleted --kind tag-set",
            WatchRequest {
                kinds: ["tag-moved", "tag-deleted", "tag-set"].map(String::from).into(),
                ..here()
            },
        );
    }

    #[test]
    fn help_names_every_kind() {
        let help = <Line as clap::CommandFactory>::command().render_long_help().to_string();
        for kind in Kind::ALL {
            assert!(help.contains(kind.as_str()), "{kind} is not named");
        }
    }

    #[test]
    fn what_means_nothing_is_refused() {
        let check = |line: &str, words: &str| {
            let refused = asked(line).expect_err(line);
            assert!(refused.contains(words), "{line}: {refused}");
        };
        check("app:", "STREAM or STREAM:TAG");
        check(":v1", "STREAM or STREAM:TAG");
        check("app:v1 --tag v2", "give the tag once");
        check("--kind moved", "there is no kind \"moved\"");
        check("--count 0", "0 is not in 1..");
        check("app -A", "cannot be used with");
    }
}
