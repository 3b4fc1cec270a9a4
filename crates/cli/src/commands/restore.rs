//! `tagtrail restore STREAM[:TAG]`: brings back what was deleted.

use tagtrail_api::v1::{RestoreRequest, RestoreResponse};
use tonic::Code;

use crate::context::Context;
use crate::failure::Failure;
use crate::flags::{At, Receipt};
use crate::moment::MOMENTS;
use crate::places::Place;
use crate::print::age::rfc3339;

/// Bring back a deleted tag or image stream.
///
/// An image stream comes back with all of its tags. It is as it was before it was deleted, or with --at as it was at that
/// moment.
#[derive(clap::Args)]
#[command(after_help = MOMENTS)]
pub(crate) struct Args {
    /// The image stream, or one tag of it
    #[arg(value_name = "STREAM[:TAG]")]
    target: String,
    #[command(flatten)]
    at: At,
    /// Only check, change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    receipt: Receipt,
}

/// Brings something back.
pub(crate) async fn run(args: Args, context: &mut Context) -> Result<(), Failure> {
    args.receipt.for_writes(1)?;
    let place = Place::of_any(&args.target, &context.namespace)?;
    let at = args.at.when();
    let client = context.client()?.at(at);
    let request = RestoreRequest {
        namespace: place.namespace.clone(),
        name: place.stream.clone(),
        tag: place.tag.clone(),
        at: at.to_wire(),
        dry_run: args.dry_run,
        write: Some(context.write_options(0)),
    };
    let answer = client.tags().restore(request).await.map_err(|status| {
        let failure = client.refusal(&status);
        match status.code() {
            Code::AlreadyExists => failure.with_advice(&instead(&place, &context.namespace)),
            _ => failure,
        }
    })?;
    let answer = answer.into_inner();
    context.print(&message(&place, &answer, args.dry_run, &context.namespace))?;
    args.receipt.keep(answer.result.as_ref(), &client).await
}

/// What to do about what is there already.
fn instead(place: &Place, current: &str) -> String {
    let name = place.shown(current);
    if place.tag.is_empty() {
        format!(
            "bring back its deleted tags one by one ('tagtrail restore {name}:TAG'), or delete it first and name the moment to go back to with --at"
        )
    } else {
        format!("'tagtrail rollback {name} --to SEQUENCE' takes it back")
    }
}

/// The names of tags, or how many there are.
fn named(tags: &[String]) -> String {
    const MOST: usize = 10;
    if tags.len() > MOST { format!("{} tags", tags.len()) } else { tags.join(", ") }
}

fn message(place: &Place, answer: &RestoreResponse, dry_run: bool, current: &str) -> String {
    let name = place.shown(current);
    let done = if dry_run { "would be restored" } else { "restored" };
    let at = answer.at.as_ref().map(|at| {
        let time = at.time.as_ref().map(|time| format!(" ({})", rfc3339(time))).unwrap_or_default();
        format!(", as it was at sequence {}{time}", at.sequence)
    });
    let at = at.unwrap_or_default();
    match (place.tag.as_str(), answer.tags.as_slice()) {
        ("", []) => format!("Image stream {name} {done} without tags{at}.\n"),
        ("", tags) => format!("Image stream {name} {done} with {}{at}.\n", named(tags)),
        _ => format!("Tag {name} {done}{at}.\n"),
    }
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;
    use tagtrail_api::v1::ShownMoment;

    use super::*;

    #[test]
    fn what_is_there_can_be_taken_back_otherwise() {
        let check = |target: &str, want: &str| {
            let place = Place::parse(target, "here").expect("a place");
            assert!(instead(&place, "here").contains(want), "{target}");
        };
        check("app:prod", "'tagtrail rollback app:prod --to SEQUENCE' takes it back");
        check("prod/app", "'tagtrail restore prod/app:TAG'");
    }

    #[test]
    fn a_line_tells_what_is_back() {
        let check = |target: &str, tags: &[&str], dry_run, want: &str| {
            let at = Some(ShownMoment { sequence: 7, time: Some(Timestamp::default()) });
            let tags = tags.iter().map(ToString::to_string).collect();
            let answer = RestoreResponse { tags, at, result: None };
            let place = Place::parse(target, "here").expect("a place");
            let want = format!("{want}, as it was at sequence 7 (1970-01-01T00:00:00Z).\n");
            assert_eq!(message(&place, &answer, dry_run, "here"), want);
        };
        check("app", &["v1", "v2"], false, "Image stream app restored with v1, v2");
        check("prod/app", &[], false, "Image stream prod/app restored without tags");
        check("app:v1", &["v1"], false, "Tag app:v1 restored");
        check("app:v1", &["v1"], true, "Tag app:v1 would be restored");
        let ten = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
        check("app", &ten, false, "Image stream app restored with a, b, c, d, e, f, g, h, i, j");
        check("app", &[&ten[..], &["k"]].concat(), false, "Image stream app restored with 11 tags");
    }
}
