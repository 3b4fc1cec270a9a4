//! `tagtrail delete is|istag|secret` (spec §4.9). What is deleted goes from sight; its events stay. Secrets have none.

use tagtrail_api::v1::{DeleteImageStreamRequest, DeleteTagRequest};

use crate::client::Client;
use crate::commands::finder::{self, Finder};
use crate::commands::secret;
use crate::context::Context;
use crate::failure::Failure;
use crate::fields::FieldSelector;
use crate::flags::{DryRun, dry_run, on_off};
use crate::kinds::{Kind, Targets, stream_and_tag};

/// Delete image streams or tags, of which the log keeps what they were, or secrets, which are gone.
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
    /// All with these fields: metadata.name=app,metadata.namespace!=test
    #[arg(long, value_name = "SELECTOR")]
    field_selector: Option<String>,
    /// Taken because scripts give it: a deletion is done when this command ends, waited for or not
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = on_off)]
    wait: Option<bool>,
    /// Taken because scripts give it: nothing has to be ended before a deletion
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = on_off)]
    now: Option<bool>,
    /// Say nothing of what is not there
    #[arg(long)]
    ignore_not_found: bool,
    /// Only say what would be deleted: none, client or server
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "none", default_missing_value = "client", value_name = "KIND", value_parser = dry_run)]
    dry_run: DryRun,
    /// Print only the name of what was deleted: name
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<String>,
}

/// Deletes objects.
pub(crate) async fn run(args: Args, context: &mut Context) -> Result<(), Failure> {
    if args.all && args.selector.is_some() {
        return Err(Failure::Usage {
            message: "cannot set --all and --selector at the same time".into(),
            hint: "See 'tagtrail delete -h' for help and examples".into(),
        });
    }
    let targets = Targets::parse(&args.words).map_err(Failure::client)?;
    if let Some(output) = args.output.as_deref().filter(|output| !matches!(*output, "" | "name")) {
        return Err(Failure::client(format!(
            "unexpected -o output mode: {output}. We only support '-o name'"
        )));
    }
    let selects = args.selector.is_some() || args.field_selector.is_some();
    if let (true, Some(error)) = (args.all || selects, targets.with_selector()) {
        return Err(Failure::client(error));
    }
    let client = context.client()?;
    let namespace = context.namespace.clone();
    let finder = Finder { client: &client, namespace: &namespace, whole: false };
    let mut failures = Vec::new();
    let mut written = 0;
    match targets {
        Targets::Named { list, .. } => {
            context.expect_writes(list.len())?;
            delete_each(&args, &finder, &list, &mut written, &mut failures, context).await?;
        }
        Targets::All(_) if !args.all && !selects => {
            return Err(Failure::client("resource(s) were provided, but no name was specified"));
        }
        Targets::All(kinds) => {
            for kind in kinds {
                refuse_images(kind)?;
                // Looked up when its turn has come: tags may have gone with their streams.
                let labels = args.selector.as_deref().unwrap_or_default();
                let fields = FieldSelector::parse(args.field_selector.as_deref(), kind, labels)?;
                let found = finder.all(kind, labels).await?;
                let meant = found.iter().filter(|object| fields.matches(object));
                let list: Vec<(Kind, String)> = meant.map(|object| (kind, object.name())).collect();
                context.expect_writes(written + list.len())?;
                delete_each(&args, &finder, &list, &mut written, &mut failures, context).await?;
            }
            if written == 0 {
                context.print("No resources found\n")?;
            }
        }
    }
    Failure::all(failures)
}

/// Deletes what is listed and says so; what cannot be deleted is added to the failures.
async fn delete_each(
    args: &Args,
    finder: &Finder<'_>,
    list: &[(Kind, String)],
    written: &mut usize,
    failures: &mut Vec<Failure>,
    context: &mut Context,
) -> Result<(), Failure> {
    for (kind, name) in list {
        let deleted = match args.dry_run {
            DryRun::No => delete(finder.client, context, *written, *kind, name).await,
            DryRun::Client => refuse_images(*kind),
            DryRun::Server if *kind == Kind::Secret => {
                secret::delete(finder.client, context, name, true).await
            }
            DryRun::Server => would_delete(finder, *kind, name).await,
        };
        *written += 1;
        match deleted {
            Ok(()) if args.output.as_deref() == Some("name") => {
                context.print(&format!("{}/{name}\n", kind.singular()))?
            }
            Ok(()) => {
                let (kind, namespace, remark) = (kind.singular(), finder.namespace, args.dry_run.remark());
                context.print(&format!("{kind} \"{name}\" deleted{remark} from {namespace} namespace\n"))?;
            }
            Err(failure) if failure.is_not_found() && args.ignore_not_found => {}
            Err(failure) => failures.push(failure),
        }
    }
    Ok(())
}

async fn delete(
    client: &Client,
    context: &Context,
    index: usize,
    kind: Kind,
    name: &str,
) -> Result<(), Failure> {
    refuse_images(kind)?;
    if kind == Kind::Secret {
        return secret::delete(client, context, name, false).await;
    }
    let namespace = context.namespace.clone();
    let write = Some(context.write_options(index));
    if kind == Kind::Stream {
        let request = DeleteImageStreamRequest { namespace, name: name.to_owned(), write };
        return match client.streams().delete_image_stream(request).await {
            Ok(_) => Ok(()),
            Err(status) => Err(client.refusal(&status)),
        };
    }
    let (stream, tag) = stream_and_tag(name).ok_or_else(|| finder::bad_name(kind))?;
    let request = DeleteTagRequest {
        namespace,
        name: stream.to_owned(),
        tag: tag.to_owned(),
        write,
        ..DeleteTagRequest::default()
    };
    match client.tags().delete_tag(request).await {
        Ok(_) => Ok(()),
        Err(status) => Err(finder::of_kind(client.refusal(&status), kind)),
    }
}

/// Whether there is something to delete.
async fn would_delete(finder: &Finder<'_>, kind: Kind, name: &str) -> Result<(), Failure> {
    refuse_images(kind)?;
    // Any tag can be deleted, also one without an image.
    let (stream, tag) = match kind {
        Kind::Stream => return finder.named(kind, name).await.map(drop),
        _ => stream_and_tag(name).ok_or_else(|| finder::bad_name(kind))?,
    };
    let found = finder.client.tag(finder.namespace, stream, tag, true).await;
    found.map(drop).map_err(|failure| finder::of_kind(failure, kind))
}

fn refuse_images(kind: Kind) -> Result<(), Failure> {
    match kind {
        Kind::Stream | Kind::StreamTag | Kind::ImageTag | Kind::Secret => Ok(()),
        Kind::StreamImage | Kind::Image => {
            Err(Failure::client("images are never deleted: delete the tags that point to them"))
        }
        Kind::Scheduled => Err(Failure::client(
            "the schedule is what tags say of themselves: set the tag again without --scheduled, or delete it",
        )),
    }
}
