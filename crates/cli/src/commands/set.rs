//! `tagtrail set image-lookup` (spec §4.9).

use clap::ArgAction;
use tagtrail_api::v1::{ImageStream, SetLookupPolicyRequest};

use crate::context::Context;
use crate::failure::Failure;
use crate::flags::on_off;
use crate::kinds::Kind;
use crate::print::tabs;

/// What to set.
#[derive(clap::Subcommand)]
pub(crate) enum Set {
    /// Turn local lookup on or off, or show where it is on
    ImageLookup(Args),
}

/// Let unqualified image names resolve to the tags of image streams. Without names: show where they do.
#[derive(clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "flags")]
pub(crate) struct Args {
    /// Image streams, NAME or is/NAME
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// On or off
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", value_parser = on_off)]
    pub(crate) enabled: bool,
    /// All image streams of the namespace
    #[arg(long)]
    all: bool,
    /// Only show
    #[arg(long)]
    list: bool,
    /// All with these labels: a=b,c!=d,e in (f,g),!h
    #[arg(short = 'l', long, value_name = "SELECTOR", allow_hyphen_values = true)]
    selector: Option<String>,
    /// Only check, change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Sets something.
pub(crate) async fn run(set: Set, context: &mut Context) -> Result<(), Failure> {
    let Set::ImageLookup(args) = set;
    let names = args.names.iter().map(|word| name(word)).collect::<Result<Vec<_>, _>>()?;
    let by_name = !names.is_empty();
    if by_name && (args.all || args.selector.is_some()) {
        return Err(Failure::client("name cannot be provided when a selector is specified"));
    }
    let client = context.client()?;
    let selector = args.selector.as_deref().unwrap_or_default();
    let show = args.list || !(by_name || args.all || args.selector.is_some());
    if show {
        let mut streams = client.list_streams(&context.namespace, selector, 1).await?;
        streams.retain(|stream| !by_name || names.contains(&stream.name));
        return context.print(&table(&streams));
    }
    let names = if by_name {
        names
    } else {
        let streams = client.list_streams(&context.namespace, selector, 1).await?;
        streams.into_iter().map(|stream| stream.name).collect()
    };
    context.expect_writes(names.len())?;
    let mut failures = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let request = SetLookupPolicyRequest {
            namespace: context.namespace.clone(),
            name: name.clone(),
            local: args.enabled,
            dry_run: args.dry_run,
            write: Some(context.write_options(index)),
        };
        match client.streams().set_lookup_policy(request).await {
            Ok(answer) if answer.get_ref().result.is_some_and(|result| result.sequence == 0) => {}
            Ok(_) => {
                let dry = if args.dry_run { " (dry run)" } else { "" };
                context
                    .print(&format!("imagestream.image.openshift.io/{name} image lookup updated{dry}\n"))?;
            }
            Err(status) => failures.push(client.refusal(&status)),
        }
    }
    Failure::all(failures)
}

fn name(word: &str) -> Result<String, Failure> {
    match word.split_once('/') {
        None => Ok(word.to_owned()),
        Some((kind, name)) if Kind::of(kind) == Some(Kind::Stream) && !name.is_empty() => Ok(name.to_owned()),
        Some(_) => Err(Failure::client(format!("\"{word}\" is no image stream: write NAME or is/NAME"))),
    }
}

fn table(streams: &[ImageStream]) -> String {
    let mut rows = vec![vec!["NAME".to_owned(), "LOCAL".to_owned()]];
    rows.extend(streams.iter().map(|stream| vec![stream.name.clone(), stream.lookup_local.to_string()]));
    tabs::table(&rows, tabs::LOOKUP)
}
