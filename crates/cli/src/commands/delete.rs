//! `tagtrail delete is|istag` (spec §4.9). What is deleted goes from sight; its events stay.

use tagtrail_api::v1::{DeleteImageStreamRequest, DeleteTagRequest};

use crate::client::Client;
use crate::commands::finder::Finder;
use crate::context::Context;
use crate::failure::Failure;
use crate::fields::FieldSelector;
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
    /// All with these fields: metadata.name=app,metadata.namespace!=test
    #[arg(long, value_name = "SELECTOR")]
    field_selector: Option<String>,
    /// Only print what would be deleted: client, or server to look whether it is there; none to delete
    #[arg(long, value_name = "HOW", num_args = 0..=1, require_equals = true, default_missing_value = "client")]
    dry_run: Option<String>,
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
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<String>,
}

/// Whether it is only tried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Trial {
    /// No: it is done.
    None,
    /// Without asking the server.
    Client,
    /// The server is asked whether it is there.
    Server,
}

impl Trial {
    fn parse(text: Option<&str>) -> Result<Self, Failure> {
        match text {
            None | Some("none") => Ok(Self::None),
            Some("client") => Ok(Self::Client),
            Some("server") => Ok(Self::Server),
            Some(other) => match on_off(other) {
                Ok(true) => Ok(Self::Client),
                Ok(false) => Ok(Self::None),
                Err(_) => Err(Failure::client(format!(
                    "Invalid dry-run value ({other}). Must be \"none\", \"server\", or \"client\"."
                ))),
            },
        }
    }

    /// What is said of it.
    fn remark(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Client => " (dry run)",
            Self::Server => " (server dry run)",
        }
    }
}

/// Deletes objects.
pub(crate) async fn run(args: Args, context: &mut Context) -> Result<(), Failure> {
    let targets = Targets::parse(&args.words).map_err(Failure::client)?;
    let trial = Trial::parse(args.dry_run.as_deref())?;
    if let Some(output) = args.output.as_deref().filter(|output| !matches!(*output, "" | "name")) {
        return Err(Failure::client(format!(
            "unexpected -o output mode: {output}. We only support '-o name'"
        )));
    }
    let client = context.client()?;
    let namespace = context.namespace.clone();
    let selects = args.selector.is_some() || args.field_selector.is_some();
    let list = match targets {
        Targets::Named { .. } if args.all || selects => {
            return Err(Failure::client("name cannot be provided when a selector is specified"));
        }
        Targets::Named { list, .. } => list,
        Targets::All(_) if !args.all && !selects => {
            return Err(Failure::client("resource(s) were provided, but no name was specified"));
        }
        Targets::All(kinds) => {
            let finder = Finder { client: &client, namespace: &namespace, whole: false };
            let mut list = Vec::new();
            let labels = args.selector.as_deref().unwrap_or_default();
            for kind in kinds {
                refuse_images(kind)?;
                let fields = FieldSelector::parse(args.field_selector.as_deref(), kind, labels)?;
                let found = finder.all(kind, labels).await?;
                let meant = found.iter().filter(|object| fields.matches(object));
                list.extend(meant.map(|object| (kind, object.name())));
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
        let outcome = match trial {
            Trial::None => delete(&client, context, index, *kind, name).await,
            Trial::Client => refuse_images(*kind),
            Trial::Server => {
                let finder = Finder { client: &client, namespace: &namespace, whole: false };
                match refuse_images(*kind) {
                    Ok(()) => finder.named(*kind, name).await.map(|_| ()),
                    refused => refused,
                }
            }
        };
        match outcome {
            Ok(()) if args.output.as_deref() == Some("name") => {
                context.print(&format!("{}/{name}\n", kind.singular()))?
            }
            Ok(()) => {
                let (kind, remark) = (kind.singular(), trial.remark());
                context.print(&format!("{kind} \"{name}\" deleted{remark} from {namespace} namespace\n"))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dry_run_is_of_the_client_or_of_the_server() {
        let check =
            |text: Option<&str>, want: Trial| assert_eq!(Trial::parse(text).ok(), Some(want), "{text:?}");
        check(None, Trial::None);
        check(Some("none"), Trial::None);
        check(Some("false"), Trial::None);
        check(Some("client"), Trial::Client);
        check(Some("true"), Trial::Client);
        check(Some("server"), Trial::Server);
        let refused = Trial::parse(Some("maybe")).expect_err("no such way");
        let want = "error: Invalid dry-run value (maybe). Must be \"none\", \"server\", or \"client\".\n";
        assert_eq!(refused.text(), want);
    }
}
