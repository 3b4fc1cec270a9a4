//! `tagtrail rollback STREAM:TAG`: takes a tag back to what it has pointed to, and holds it there.

use tagtrail_api::v1::rollback_request::To;
use tagtrail_api::v1::{RollbackRequest, RollbackResponse};

use crate::commands::hold::HOLDS;
use crate::context::Context;
use crate::failure::Failure;
use crate::flags::{Expect, Receipt, Until};
use crate::places::{Place, beginning_of_digest};
use crate::print::age::rfc3339;
use crate::print::history::pointed_to;

/// Take a tag back to what it has pointed to, and hold it there.
///
/// Until it is released, nothing moves it but another rollback. What it follows, and its schedule, stay as they are. Asked for
/// again, it goes one image further back.
#[derive(clap::Args)]
#[command(after_help = HOLDS)]
pub(crate) struct Args {
    /// The tag
    #[arg(value_name = "STREAM:TAG")]
    tag: String,
    /// Where to: to what it pointed to at this sequence, or to this image, a digest or at least the first 6 digits of one
    /// [default: to what it pointed to before]
    #[arg(long, value_name = "SEQUENCE|DIGEST", value_parser = target)]
    to: Option<To>,
    #[command(flatten)]
    until: Until,
    #[command(flatten)]
    expect: Expect,
    #[command(flatten)]
    receipt: Receipt,
    /// Only check, change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Takes a tag back.
pub(crate) async fn run(args: Args, context: &mut Context) -> Result<(), Failure> {
    args.receipt.for_writes(1)?;
    let place = Place::of_any_tag(&args.tag, &context.namespace)?;
    let name = place.shown(&context.namespace);
    let client = context.client()?;
    let request = RollbackRequest {
        namespace: place.namespace,
        name: place.stream,
        tag: place.tag,
        to: args.to,
        expires_at: args.until.to_wire()?,
        expected_image: args.expect.to_wire(),
        dry_run: args.dry_run,
        write: Some(context.write_options(0)),
    };
    let until = request.expires_at;
    let answer = client.tags().rollback(request).await.map_err(|status| client.refusal(&status))?;
    let (answer, until) = (answer.into_inner(), until.as_ref().map(rfc3339));
    context.print(&message(&name, &answer, until.as_deref(), args.dry_run))?;
    args.receipt.keep(answer.result.as_ref(), &client).await
}

/// Reads where to go back to. Digits alone are a sequence.
fn target(text: &str) -> Result<To, String> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        let sequence = text.parse().map_err(|_| "there is no such sequence".to_owned())?;
        return Ok(To::Sequence(sequence));
    }
    beginning_of_digest(text, 6)
        .map(To::Digest)
        .map_err(|why| format!("it is no sequence, and {why} (digits alone are a sequence)"))
}

fn message(name: &str, answer: &RollbackResponse, until: Option<&str>, dry_run: bool) -> String {
    let held = until.map_or_else(|| "held".into(), |until| format!("held until {until}"));
    let Some(to) = &answer.to else {
        let held = if dry_run { format!("would be {held}") } else { format!("is {held}") };
        return format!("Tag {name} points there already, and {held}.\n");
    };
    let done = if dry_run { "would be rolled back" } else { "rolled back" };
    let was = answer.from.as_ref().map_or("<none>", pointed_to);
    format!("Tag {name} {done} to {} (was {was}) and {held}.\n", to.docker_image_reference)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::print::history::tests::{digest, item};

    #[test]
    fn it_goes_back_to_a_sequence_or_an_image() {
        assert_eq!(target("12345678"), Ok(To::Sequence(12_345_678)));
        assert_eq!(target("1e42ab"), Ok(To::Digest("1e42ab".into())));
        assert_eq!(target("sha256:123456"), Ok(To::Digest("sha256:123456".into())));
        for bad in ["", "-1", "v1", "1e4", "99999999999999999999"] {
            assert!(target(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_line_tells_where_it_is_held() {
        let check = |to, until, dry_run, want: String| {
            let answer = RollbackResponse { from: item("aa"), to, ..RollbackResponse::default() };
            assert_eq!(message("app:prod", &answer, until, dry_run), format!("Tag app:prod {want}.\n"));
        };
        let (aa, bb) = (digest("aa"), format!("quay.io/a/b@{}", digest("bb")));
        check(item("bb"), None, false, format!("rolled back to {bb} (was {aa}) and held"));
        check(item("bb"), Some("T"), false, format!("rolled back to {bb} (was {aa}) and held until T"));
        check(item("bb"), None, true, format!("would be rolled back to {bb} (was {aa}) and held"));
        check(None, None, false, "points there already, and is held".into());
        check(None, Some("T"), true, "points there already, and would be held until T".into());
    }
}
