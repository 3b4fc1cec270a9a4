//! `tagtrail set image-lookup` (spec §4.9).

use clap::ArgAction;
use tagtrail_api::v1::{ImageStream, SetLookupPolicyRequest};

use crate::client::Client;
use crate::context::Context;
use crate::failure::Failure;
use crate::flags::{DryRun, dry_run, on_off};
use crate::kinds::{Kind, Targets};
use crate::print::tabs;

/// What to set.
#[derive(clap::Subcommand)]
pub(crate) enum Set {
    /// Turn local lookup on or off, or show where it is on
    ImageLookup(Args),
}

/// Let unqualified image names resolve to the tags of image streams. Without names: show where they do.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Image streams, NAME or is/NAME; with --list is NAME or is/NAME
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
    /// Only those with these labels: a=b,c!=d,e in (f,g),!h
    #[arg(short = 'l', long, value_name = "SELECTOR", allow_hyphen_values = true)]
    selector: Option<String>,
    /// Only check, change nothing: none, client or server
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "none", default_missing_value = "client", value_name = "KIND", value_parser = dry_run)]
    pub(crate) dry_run: DryRun,
}

/// Sets something.
pub(crate) async fn run(set: Set, context: &mut Context) -> Result<(), Failure> {
    let Set::ImageLookup(args) = set;
    let targets = targets(&args)?;
    if let (true, Some(error)) = (args.all || args.selector.is_some(), targets.with_selector()) {
        return Err(Failure::client(error));
    }
    let client = context.client()?;
    let streams = find(&client, &context.namespace, &targets, args.selector.as_deref()).await?;
    if args.list || (args.names.is_empty() && !args.all) {
        return context.print(&table(&streams));
    }
    context.expect_writes(streams.len())?;
    let mut failures = Vec::new();
    for (index, stream) in streams.iter().enumerate() {
        let request = SetLookupPolicyRequest {
            namespace: context.namespace.clone(),
            name: stream.name.clone(),
            local: args.enabled,
            dry_run: args.dry_run.is_dry(),
            write: Some(context.write_options(index)),
        };
        match client.streams().set_lookup_policy(request).await {
            Ok(_) if stream.lookup_local == args.enabled => {}
            Ok(_) => {
                let (name, remark) = (&stream.name, args.dry_run.remark());
                context.print(&format!(
                    "imagestream.image.openshift.io/{name} image lookup updated{remark}\n"
                ))?;
            }
            Err(status) => failures.push(client.refusal(&status)),
        }
    }
    Failure::all(failures)
}

/// The streams that are meant. Names are names of streams, unless they are only to be shown: then a word alone is a
/// type, as everywhere else.
fn targets(args: &Args) -> Result<Targets, Failure> {
    let targets = if args.names.is_empty() {
        Targets::All(vec![Kind::Stream])
    } else if args.list {
        Targets::parse(&args.names).map_err(Failure::client)?
    } else {
        let pair = |name: &String| if name.contains('/') { name.clone() } else { format!("is/{name}") };
        Targets::parse(&args.names.iter().map(pair).collect::<Vec<_>>()).map_err(Failure::client)?
    };
    let other = match &targets {
        Targets::All(kinds) => {
            kinds.iter().find(|kind| **kind != Kind::Stream).map(|kind| kind.singular().to_owned())
        }
        Targets::Named { list, .. } => {
            let other = list.iter().find(|(kind, _)| *kind != Kind::Stream);
            other.map(|(kind, name)| format!("{}/{name}", kind.singular()))
        }
    };
    match other {
        None => Ok(targets),
        Some(other) => Err(Failure::client(format!("{other} is no image stream: write NAME or is/NAME"))),
    }
}

/// Looks all streams up before any is changed: if one is missing, nothing happens.
async fn find(
    client: &Client,
    namespace: &str,
    targets: &Targets,
    selector: Option<&str>,
) -> Result<Vec<ImageStream>, Failure> {
    let Targets::Named { list, .. } = targets else {
        return client.list_streams(namespace, selector.unwrap_or_default(), 1).await;
    };
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for (_, name) in list {
        match client.stream(namespace, name, 1).await {
            Ok(stream) => found.push(stream),
            Err(failure) => failures.push(failure),
        }
    }
    Failure::all(failures).map(|()| found)
}

fn table(streams: &[ImageStream]) -> String {
    let mut rows = vec![vec!["NAME".to_owned(), "LOCAL".to_owned()]];
    rows.extend(streams.iter().map(|stream| vec![stream.name.clone(), stream.lookup_local.to_string()]));
    tabs::table(&rows, tabs::LOOKUP)
}
