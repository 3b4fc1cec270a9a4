//! `tagtrail hold STREAM:TAG` and `tagtrail release STREAM:TAG…`.

use tagtrail_api::v1::{HistoryItem, HoldRequest, HoldResponse, ReleaseRequest};

use crate::context::Context;
use crate::failure::Failure;
use crate::flags::{Expect, Until};
use crate::places::Place;
use crate::print::age::rfc3339;

/// What a hold is.
pub(crate) const HOLDS: &str = "\
A held tag stays where it is, whatever it follows: until it is released, imports, its schedule and the tags it follows do \
not move it, and nobody can set it; only a rollback moves it. What would have moved it is kept: see 'tagtrail history'. Give \
--reason to say why.";

/// Hold a tag where it is: until it is released, imports, the schedule and the tags it follows do not move it, and nobody
/// can set it. A held tag can be held anew, with another --reason or for another time.
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
}

/// Release tags: each follows again what it follows. An alias does so at once, a tag on the schedule with its next check.
#[derive(clap::Args)]
pub(crate) struct ReleaseArgs {
    /// The tags
    #[arg(value_name = "STREAM:TAG", required = true)]
    tags: Vec<String>,
}

/// Holds a tag.
pub(crate) async fn hold(args: HoldArgs, context: &mut Context) -> Result<(), Failure> {
    let place = Place::of_tag(&args.tag, &context.namespace)?;
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
    context.print(&held(&name, &answer.into_inner(), until.as_ref().map(rfc3339).as_deref()))
}

/// Releases tags, one after another. The first that fails ends it; those before it stay released.
pub(crate) async fn release(args: ReleaseArgs, context: &mut Context) -> Result<(), Failure> {
    let places = args.tags.iter().map(|tag| Place::of_tag(tag, &context.namespace));
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
        let at = reference(answer.into_inner().item.as_ref());
        context.print(&format!("Tag {name} released; it points to {at}.\n"))?;
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
            let answer = HoldResponse { item: item("aa"), result };
            assert_eq!(held("app:prod", &answer, until), format!("Tag app:prod {want}.\n"));
        };
        let at = format!("quay.io/a/b@{}", digest("aa"));
        check(7, None, format!("held at {at}"));
        check(7, Some("T"), format!("held at {at} until T"));
        check(0, None, format!("is held at {at} already, for the same reason"));
    }
}
