//! `tagtrail hold STREAM:TAG` and `tagtrail release STREAM:TAG…`.

use tagtrail_api::v1::{HistoryItem, Hold, HoldRequest, HoldResponse, ReleaseRequest, ReleaseResponse};

use crate::context::Context;
use crate::failure::Failure;
use crate::flags::{Expect, Receipt, Until};
use crate::places::Place;
use crate::print::age::rfc3339;
use crate::print::history::pointed_to;
use crate::print::tabs;

/// What a hold is.
pub(crate) const HOLDS: &str = "\
A held tag stays where it is, whatever it follows: until it is released, imports, its schedule and the tags it follows do \
not move it, and nobody can set it; only a rollback moves it. What would have moved it is kept: see 'tagtrail history'. When \
it is released, or its time is up, an alias follows its tag at once, and a tag on the schedule moves with its next check. A \
held tag can still be deleted. To hold a held tag anew replaces the hold. Give --reason to say why.";

/// Hold a tag where it is.
///
/// It stays there until it is released or its time is up. A held tag can be held anew, with another --reason or for another
/// time.
#[derive(clap::Args)]
#[command(after_help = HOLDS)]
pub(crate) struct HoldArgs {
    /// The tag
    #[arg(value_name = "STREAM:TAG")]
    tag: String,
    #[command(flatten)]
    until: Until,
    #[command(flatten)]
    expect: Expect,
    #[command(flatten)]
    receipt: Receipt,
}

/// Release tags that are held.
///
/// Each follows again what it follows: an alias does so at once, a tag on the schedule with its next check. They are released
/// one after another; the first that fails ends it.
#[derive(clap::Args)]
pub(crate) struct ReleaseArgs {
    /// The tags
    #[arg(value_name = "STREAM:TAG", required = true)]
    tags: Vec<String>,
}

/// Holds a tag.
pub(crate) async fn hold(args: HoldArgs, context: &mut Context) -> Result<(), Failure> {
    args.receipt.for_writes(1)?;
    let place = Place::of_any_tag(&args.tag, &context.namespace)?;
    let name = place.shown(&context.namespace);
    let client = context.client()?;
    let request = HoldRequest {
        namespace: place.namespace,
        name: place.stream,
        tag: place.tag,
        expires_at: args.until.to_wire()?,
        expected_image: args.expect.to_wire(),
        write: Some(context.write_options(0)),
    };
    let until = request.expires_at;
    let answer = client.tags().hold(request).await.map_err(|status| client.refusal(&status))?;
    let answer = answer.into_inner();
    context.print(&held(&name, &answer, until.as_ref().map(rfc3339).as_deref()))?;
    args.receipt.keep(answer.result.as_ref(), &client).await?;
    match answer.replaced.filter(|before| before.held_by != context.write.actor) {
        Some(before) => context.warn(&note(&before)),
        None => Ok(()),
    }
}

/// Releases tags, one after another. The first that fails ends it; those before it stay released.
pub(crate) async fn release(args: ReleaseArgs, context: &mut Context) -> Result<(), Failure> {
    let places = args.tags.iter().map(|tag| Place::of_any_tag(tag, &context.namespace));
    let places = places.collect::<Result<Vec<_>, _>>()?;
    context.expect_writes(places.len())?;
    let client = context.client()?;
    for (index, place) in places.into_iter().enumerate() {
        let name = place.shown(&context.namespace);
        let request = ReleaseRequest {
            namespace: place.namespace,
            name: place.stream,
            tag: place.tag,
            write: Some(context.write_options(index)),
        };
        let answer = client.tags().release(request).await.map_err(|status| client.refusal(&status))?;
        context.print(&released(&name, &answer.into_inner()))?;
    }
    Ok(())
}

fn held(name: &str, answer: &HoldResponse, until: Option<&str>) -> String {
    let until = until.map(|until| format!(" until {until}")).unwrap_or_default();
    let at = reference(answer.item.as_ref());
    match answer.result.as_ref().map(|result| result.sequence) {
        Some(0) => format!("Tag {name} is held at {at}{until} already, for the same reason.\n"),
        _ => format!("Tag {name} held at {at}{until}.\n"),
    }
}

/// Whose hold was replaced by another's.
fn note(before: &Hold) -> String {
    let since = before.since.as_ref().map(|since| format!(" since {}", rfc3339(since))).unwrap_or_default();
    let why = match before.reason.as_str() {
        "" => String::new(),
        reason => format!(" ({})", tabs::one_line(reason)),
    };
    format!("note: it was held by {}{since}{why}", before.held_by)
}

fn released(name: &str, answer: &ReleaseResponse) -> String {
    let (from, to) = (answer.from.as_ref(), answer.item.as_ref());
    if from.is_none() || from.map(pointed_to) == to.map(pointed_to) {
        return format!("Tag {name} released; it points to {}.\n", reference(to));
    }
    format!(
        "Tag {name} released; it moved from {} to {}.\n",
        from.map_or("<none>", pointed_to),
        reference(to)
    )
}

fn reference(item: Option<&HistoryItem>) -> String {
    item.map_or("<none>", |item| &item.docker_image_reference).to_owned()
}

#[cfg(test)]
mod tests {
    use tagtrail_api::v1::WriteResult;

    use super::*;
    use crate::print::history::tests::{digest, item};

    #[test]
    fn a_line_tells_where_and_how_long() {
        let check = |sequence, until, want: String| {
            let result = Some(WriteResult { sequence, ..WriteResult::default() });
            let answer = HoldResponse { item: item("aa"), result, replaced: None };
            assert_eq!(held("app:prod", &answer, until), format!("Tag app:prod {want}.\n"));
        };
        let at = format!("quay.io/a/b@{}", digest("aa"));
        check(7, None, format!("held at {at}"));
        check(7, Some("T"), format!("held at {at} until T"));
        check(0, None, format!("is held at {at} already, for the same reason"));
    }

    #[test]
    fn a_line_tells_whether_a_released_tag_has_moved() {
        let check = |from, to, want: String| {
            let answer = ReleaseResponse { from, item: to, result: None };
            assert_eq!(released("app:prod", &answer), format!("Tag app:prod released; it {want}.\n"));
        };
        let (aa, bb) = (digest("aa"), format!("quay.io/a/b@{}", digest("bb")));
        check(item("bb"), item("bb"), format!("points to {bb}"));
        check(item("aa"), item("bb"), format!("moved from {aa} to {bb}"));
        check(None, item("bb"), format!("points to {bb}"));
    }

    #[test]
    fn a_note_tells_whose_hold_was_replaced() {
        let check = |reason: &str, want: &str| {
            let since = Some(Default::default());
            let before = Hold { held_by: "alice".into(), reason: reason.into(), since, ..Hold::default() };
            assert_eq!(note(&before), want);
        };
        check("", "note: it was held by alice since 1970-01-01T00:00:00Z");
        check("CVE\nand more", "note: it was held by alice since 1970-01-01T00:00:00Z (CVE...)");
    }
}
