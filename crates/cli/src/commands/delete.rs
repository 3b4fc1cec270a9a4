//! `tagtrail delete is|istag` (spec §4.9). What is deleted goes from sight; its events stay.

use tagtrail_api::v1::{DeleteImageStreamRequest, DeleteTagRequest};

use crate::client::Client;
use crate::commands::finder::Finder;
use crate::context::Context;
use crate::failure::Failure;
use crate::flags::on_off;
use crate::kinds::{Kind, Targets, stream_and_tag};

/// Delete image streams or tags. The log keeps what they were.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// TYPE NAME..., or TYPE/NAME...
    #[arg(value_name = "TYPE")]
    words: Vec<String>,
    /// All of the kind in the namespace
    #[arg(long)]
    all: bool,
    /// All with these labels: a=b,c!=d,e in (f,g),!h
    #[arg(short = 'l', long, value_name = "SELECTOR", allow_hyphen_values = true)]
    selector: Option<String>,
    /// Taken because scripts give it: a deletion is done when this command ends, waited for or not
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = on_off)]
    wait: Option<bool>,
    /// Taken because scripts give it: nothing has to be ended before a deletion
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = on_off)]
    now: Option<bool>,
    /// Say nothing of what is not there
    #[arg(long)]
    ignore_not_found: bool,
    /// Print only the name of what was deleted: name
    #[arg(short, long, value_name = "FORMAT", value_parser = ["name"])]
    output: Option<String>,
}

/// Deletes objects.
pub(crate) async fn run(args: Args, context: &mut Context) -> Result<(), Failure> {
    let targets = Targets::parse(&args.words).map_err(Failure::client)?;
    let client = context.client()?;
    let namespace = context.namespace.clone();
    let list = match targets {
        Targets::Named { .. } if args.all || args.selector.is_some() => {
            return Err(Failure::client("name cannot be provided when a selector is specified"));
        }
        Targets::Named { list, .. } => list,
        Targets::All(_) if !args.all && args.selector.is_none() => {
            return Err(Failure::client("resource(s) were provided, but no name was specified"));
        }
        Targets::All(kinds) => {
            let finder = Finder { client: &client, namespace: &namespace, whole: false };
            let mut list = Vec::new();
            for kind in kinds {
                refuse_images(kind)?;
                let found = finder.all(kind, args.selector.as_deref().unwrap_or_default()).await?;
                list.extend(found.iter().map(|object| (kind, object.name())));
            }
            if list.is_empty() {
                context.print("No resources found\n")?;
            }
            list
        }
    };
    context.expect_writes(list.len())?;
    let mut failures = Vec::new();
    for (index, (kind, name)) in list.iter().enumerate() {
        match delete(&client, context, index, *kind, name).await {
            Ok(()) if args.output.is_some() => context.print(&format!("{}/{name}\n", kind.singular()))?,
            Ok(()) => {
                let kind = kind.singular();
                context.print(&format!("{kind} \"{name}\" deleted from {namespace} namespace\n"))?;
            }
            Err(failure) if failure.is_not_found() && args.ignore_not_found => {}
            Err(failure) => failures.push(failure),
        }
    }
    Failure::all(failures)
}

async fn delete(
    client: &Client,
    context: &Context,
    index: usize,
    kind: Kind,
    name: &str,
) -> Result<(), Failure> {
    refuse_images(kind)?;
    let namespace = context.namespace.clone();
    let write = Some(context.write_options(index));
    if kind == Kind::Stream {
        let request = DeleteImageStreamRequest { namespace, name: name.to_owned(), write };
        return match client.streams().delete_image_stream(request).await {
            Ok(_) => Ok(()),
            Err(status) => Err(client.refusal(&status)),
        };
    }
    let (stream, tag) = stream_and_tag(name).ok_or_else(|| {
        Failure::server("BadRequest", &format!("{} must be retrieved with <name>:<tag>", kind.plural_words()))
    })?;
    let request = DeleteTagRequest { namespace, name: stream.to_owned(), tag: tag.to_owned(), write };
    match client.tags().delete_tag(request).await {
        Ok(_) => Ok(()),
        Err(status) => Err(client.refusal(&status)),
    }
}

fn refuse_images(kind: Kind) -> Result<(), Failure> {
    match kind {
        Kind::Stream | Kind::StreamTag | Kind::ImageTag => Ok(()),
        Kind::StreamImage | Kind::Image => {
            Err(Failure::client("images are never deleted: delete the tags that point to them"))
        }
        Kind::Scheduled => Err(Failure::client(
            "the schedule is what tags say of themselves: set the tag again without --scheduled, or delete it",
        )),
    }
}
