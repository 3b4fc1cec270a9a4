//! `tagtrail why STREAM:TAG`: from what a tag points to back to what was seen in a registry.

use tagtrail_api::v1::{WhyRequest, WhyResponse};

use crate::client::Client;
use crate::context::Context;
use crate::failure::Failure;
use crate::flags::At;
use crate::moment::{MOMENTS, When};
use crate::places::Place;
use crate::print::{json, why, yaml};

/// Tell why a tag points to what it points to.
///
/// Each cause of its last move is shown, back to what was seen in a registry, or told by a document.
#[derive(clap::Args)]
#[command(after_help = MOMENTS)]
pub(crate) struct Args {
    /// The tag
    #[arg(value_name = "STREAM:TAG")]
    tag: String,
    #[command(flatten)]
    at: At,
    /// json or yaml
    #[arg(short, long, value_name = "FORMAT", value_parser = ["json", "yaml"])]
    output: Option<String>,
}

/// Tells why.
pub(crate) async fn run(args: Args, context: &mut Context) -> Result<(), Failure> {
    let place = Place::of_any_tag(&args.tag, &context.namespace)?;
    let answer = asked(&place, args.at.when(), context.client()?).await?;
    context.print(&match args.output.as_deref() {
        None => why::in_words(&place, &answer, &context.namespace),
        Some("json") => json::typed(&why::in_json(&place, &answer)),
        Some(_) => yaml::document(&why::in_json(&place, &answer)),
    })
}

/// Asks why a tag points, or pointed, to what it does.
///
/// # Errors
/// Whatever the server says.
pub(super) async fn asked(place: &Place, at: When, client: Client) -> Result<WhyResponse, Failure> {
    let client = client.at(at);
    let request = WhyRequest {
        namespace: place.namespace.clone(),
        name: place.stream.clone(),
        tag: place.tag.clone(),
        at: at.to_wire(),
    };
    let answer = client.histories().why(request).await.map_err(|status| client.refusal(&status))?;
    Ok(answer.into_inner())
}
