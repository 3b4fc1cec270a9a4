//! `tagtrail describe` (spec §4.6, §4.7): all about an object, in words.

use std::collections::BTreeMap;

use crate::client::Client;
use crate::commands::finder::Finder;
use crate::context::Context;
use crate::failure::Failure;
use crate::flags::At;
use crate::k8s;
use crate::kinds::{Kind, Targets};
use crate::moment::MOMENTS;
use crate::print::describe;
use crate::print::image::{self, Presentation};
use crate::print::schedule;
use crate::print::secret;
use crate::print::table::Object;

/// Tell all about objects. A name that fits none stands for all that begin with it.
#[derive(clap::Args)]
#[command(after_help = MOMENTS)]
pub(crate) struct Args {
    /// TYPE [NAME...], or TYPE/NAME...
    #[arg(value_name = "TYPE")]
    words: Vec<String>,
    /// In all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Only those with these labels: a=b,c!=d,e in (f,g),!h
    #[arg(short = 'l', long, value_name = "SELECTOR", allow_hyphen_values = true)]
    selector: Option<String>,
    #[command(flatten)]
    at: At,
}

/// Describes objects.
pub(crate) async fn run(args: Args, context: &mut Context) -> Result<(), Failure> {
    let targets = Targets::parse(&args.words).map_err(Failure::client)?;
    let at = args.at.when();
    targets.have_a_past(at)?;
    let client = context.client()?.at(at);
    let namespace = if args.all_namespaces { String::new() } else { context.namespace.clone() };
    let finder = Finder { client: &client, namespace: &namespace, whole: false };
    let mut failures = Vec::new();
    let mut found = Vec::new();
    if let (Some(_), Some(error)) = (&args.selector, targets.with_selector()) {
        return Err(Failure::client(error));
    }
    match &targets {
        Targets::Named { list, slashed } => {
            for (kind, name) in list {
                match of_name(&client, &finder, *kind, name).await {
                    Ok(text) => found.push(text),
                    Err(failure) if failure.is_not_found() && list.len() == 1 && !slashed => {
                        return of_prefix(&client, &finder, *kind, name, failure, context).await;
                    }
                    Err(failure) => failures.push(failure),
                }
            }
            // Two words that do not both lead to something: kubectl takes them for a type and the beginning of a
            // name, finds nothing, and says only what it missed.
            if args.words.len() == 2 && failures.len() == 1 && failures[0].is_not_found() {
                found.clear();
            }
        }
        Targets::All(kinds) => {
            for kind in kinds {
                for object in finder.all(*kind, args.selector.as_deref().unwrap_or_default()).await? {
                    found.push(of_object(&client, &finder, &object).await?);
                }
            }
            if found.is_empty() {
                let place =
                    if args.all_namespaces { String::new() } else { format!(" in {namespace} namespace.") };
                context.warn(&format!("No resources found{place}"))?;
            }
        }
    }
    context.print(&found.join("\n\n"))?;
    Failure::all(failures)
}

/// Describes everything whose name begins with a word, or tells what was wrong with the word.
async fn of_prefix(
    client: &Client,
    finder: &Finder<'_>,
    kind: Kind,
    prefix: &str,
    failure: Failure,
    context: &mut Context,
) -> Result<(), Failure> {
    let mut any = false;
    for object in finder.all(kind, "").await? {
        if object.name().starts_with(prefix) {
            let text = of_object(client, finder, &object).await?;
            context.print(&format!("{text}\n"))?;
            any = true;
        }
    }
    if any { Ok(()) } else { Err(failure) }
}

async fn of_object(client: &Client, finder: &Finder<'_>, object: &Object) -> Result<String, Failure> {
    let namespace = match object.namespace() {
        "" => finder.namespace,
        own => own,
    };
    let there = Finder { namespace, ..*finder };
    of_name(client, &there, object.kind(), &object.name()).await
}

async fn of_name(client: &Client, finder: &Finder<'_>, kind: Kind, name: &str) -> Result<String, Failure> {
    if kind == Kind::Stream {
        let description = client.description(finder.namespace, name).await?;
        return Ok(describe::stream(&description, client.now()));
    }
    let found = finder.named(kind, name).await?;
    let now = client.now();
    match found {
        Object::StreamTag(tag) | Object::ImageTag(tag) => {
            let Some(found) = &tag.image else {
                return Err(Failure::server(
                    "NotFound",
                    &format!("imagetags.image.openshift.io \"{name}\" not found"),
                ));
            };
            let spec = tag.stream.as_ref().and_then(|stream| stream.tags.first()?.spec.as_ref());
            let annotations = match kind {
                Kind::StreamTag => spec.map(|spec| k8s::entries(&spec.annotations)).unwrap_or_default(),
                _ => BTreeMap::new(),
            };
            let status = tag.stream.as_ref().and_then(|stream| stream.statuses.first());
            let shown = Presentation {
                name: &found.digest,
                reference: Some(&tag.resolved_reference),
                annotations,
                hold: status.and_then(|status| status.hold.as_ref()),
            };
            Ok(image::block(found, &shown, now))
        }
        Object::StreamImage { image: found, .. } => {
            Ok(image::block(&found, &Presentation { name: &found.digest, ..Presentation::default() }, now))
        }
        Object::Image(found) => Ok(image::block(&found, &Presentation::default(), now)),
        Object::Scheduled(tag) => Ok(schedule::in_words(&tag, now)),
        Object::Secret(found) => Ok(secret::in_words(&found)),
        Object::Stream(_) => Err(client.nonsense()),
    }
}
