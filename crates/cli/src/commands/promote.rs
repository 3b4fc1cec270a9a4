//! `tagtrail promote`: several tags at once, of whatever streams and namespaces; all of them or none.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};

use tagtrail_api::v1::{PromoteRequest, PromotedTag, Promotion, SourceKind, TagSource};
use tagtrail_domain::{Digest, limits};

use crate::context::Context;
use crate::failure::Failure;
use crate::flags::Receipt;
use crate::places::{Place, expectation, namespaced};
use crate::print::history::pointed_to;

/// What a file looks like.
const EXAMPLE: &str = "\
All tags move at once or none does. A FILE looks like this:
  # what was tested together
  prod/app:live=app:v2,expect=sha256:...
  prod/web:live=web@sha256:...
  prod/db:live=db:v7,expect=none";

/// Point several tags at what others point to: all of them or none.
///
/// They may be of any image streams and namespaces. What a tag is to point to is what its source points to now.
#[derive(clap::Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Args {
    /// A tag, and the tag or image that it is to point to: prod/app:live=app:v2, or app:live=app@sha256:... (without a
    /// stream, or with a registry before it, sha256:... is an image of the tag's own stream); followed by
    /// ",expect=DIGEST" or ",expect=none" if it must point to that, or to nothing, now
    #[arg(value_name = "DESTINATION=SOURCE[,expect=DIGEST|none]")]
    words: Vec<String>,
    /// A file of such promotions, one a line, with empty lines and # comments; - is standard input
    #[arg(short, long, value_name = "FILE")]
    file: Option<String>,
    /// Only check, change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    receipt: Receipt,
}

/// Promotes.
pub(crate) async fn run(args: Args, context: &mut Context) -> Result<(), Failure> {
    args.receipt.for_writes(1)?;
    if context.write.expected_revision.is_some() {
        return Err(Failure::client(
            "--expect-revision is of one image stream: expect an image of each tag instead, as in DESTINATION=SOURCE,expect=DIGEST",
        ));
    }
    let file = args.file.as_deref().map(|path| Ok((name_of(path), read(path)?))).transpose()?;
    let file = file.as_ref().map(|(name, text)| (name.as_str(), text.as_str()));
    let wishes = wishes(&args.words, file, &context.namespace)?;
    let client = context.client()?;
    let request = PromoteRequest {
        promotions: wishes.iter().map(Wish::to_wire).collect(),
        dry_run: args.dry_run,
        write: Some(context.write_options(0)),
    };
    let answer = client.tags().promote(request).await.map_err(|status| client.refusal(&status))?;
    let answer = answer.into_inner();
    for (wish, tag) in wishes.iter().zip(&answer.tags) {
        context.print(&message(wish, tag, args.dry_run, &context.namespace))?;
    }
    args.receipt.keep(answer.result.as_ref(), &client).await
}

/// One tag that is to be promoted.
struct Wish {
    to: Place,
    source: Source,
    expected: String,
}

/// What a tag is to point to.
struct Source {
    kind: SourceKind,
    namespace: String,
    stream: String,
    /// `stream:tag` or `stream@digest`.
    name: String,
}

/// Reads all promotions: those of the file first.
fn wishes(words: &[String], file: Option<(&str, &str)>, namespace: &str) -> Result<Vec<Wish>, Failure> {
    let (path, text) = file.unwrap_or_default();
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    let lines = lines.enumerate().filter(|(_, line)| !line.is_empty());
    let lines = lines.map(|(index, line)| (format!("{path}:{}: ", index + 1), line));
    let arguments = words.iter().map(|word| (String::new(), word.as_str()));
    let mut wishes: Vec<Wish> = Vec::new();
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    for (place, text) in lines.chain(arguments) {
        let refuse = |why: String| Failure::client(format!("{place}{why}"));
        let wish = Wish::parse(text, namespace).map_err(refuse)?;
        let name = wish.to.shown("");
        if let Some(before) = seen.insert(name, place.clone()) {
            let shown = wish.to.shown(namespace);
            let before = match before.trim_end_matches(": ") {
                "" => "among the arguments".into(),
                line => format!("at {line}"),
            };
            return Err(refuse(format!("{shown} is promoted already, {before}: name each tag once")));
        }
        wishes.push(wish);
    }
    match wishes.len() {
        0 => Err(Failure::client(
            "name at least one promotion: DESTINATION=SOURCE, such as prod/app:live=app:v2, or a file of them with -f",
        )),
        count if count > limits::TAGS_PER_COMMAND => Err(Failure::client(format!(
            "{count} tags are too many to be promoted at once: {} are the most",
            limits::TAGS_PER_COMMAND
        ))),
        _ => Ok(wishes),
    }
}

impl Wish {
    fn parse(text: &str, namespace: &str) -> Result<Self, String> {
        let (to, rest) = text.split_once('=').ok_or_else(|| {
            format!("\"{text}\" is no promotion: write DESTINATION=SOURCE, such as prod/app:live=app:v2")
        })?;
        let to = Place::of_tag(to.trim(), namespace).map_err(words)?;
        let mut parts = rest.split(',').map(str::trim);
        let source = Source::parse(parts.next().unwrap_or_default(), &to, namespace)?;
        let mut expected = String::new();
        for part in parts {
            match part.split_once('=') {
                Some(("expect", text)) => {
                    expected =
                        expectation(text).map_err(|why| format!("\"{text}\" cannot be expected: {why}"))?;
                }
                _ => {
                    return Err(format!(
                        "\"{part}\" is not understood: after the source comes expect=DIGEST or expect=none"
                    ));
                }
            }
        }
        Ok(Self { to, source, expected })
    }

    fn to_wire(&self) -> Promotion {
        let Self { to, source, expected } = self;
        // Named only where it is another one, as it is kept.
        let elsewhere = source.namespace != to.namespace;
        let namespace = if elsewhere { source.namespace.clone() } else { String::new() };
        Promotion {
            namespace: to.namespace.clone(),
            name: to.stream.clone(),
            tag: to.tag.clone(),
            source: Some(TagSource { kind: source.kind.into(), namespace, name: source.name.clone() }),
            expected_image: expected.clone(),
        }
    }
}

impl Source {
    /// `to`: the tag that is to be promoted. An image that is not named by its stream is one of that tag's.
    fn parse(text: &str, to: &Place, namespace: &str) -> Result<Self, String> {
        let split = text.rsplit_once('@').or_else(|| Digest::parse(text).is_ok().then_some(("", text)));
        let Some((place, digest)) = split else {
            let Place { namespace, stream, tag } = Place::of_tag(text, namespace).map_err(words)?;
            let name = format!("{stream}:{tag}");
            return Ok(Self { kind: SourceKind::ImageStreamTag, namespace, stream, name });
        };
        let (namespace, stream) = if place.is_empty() || is_in_a_registry(place) {
            (&*to.namespace, &*to.stream)
        } else {
            namespaced(place, namespace)?
        };
        if stream.is_empty() || stream.contains(':') {
            return Err(format!("\"{text}\" is no image of an image stream: write STREAM@sha256:..."));
        }
        let digest = Digest::parse(digest).map_err(|why| format!("\"{digest}\" is no digest: {why}"))?;
        Ok(Self {
            kind: SourceKind::ImageStreamImage,
            namespace: namespace.to_owned(),
            stream: stream.to_owned(),
            name: format!("{stream}@{digest}"),
        })
    }
}

/// Whether it is a repository of a registry, as in `quay.io/team/app`, and no image stream.
fn is_in_a_registry(place: &str) -> bool {
    let (first, rest) = place.split_once('/').unwrap_or(("", place));
    rest.contains('/') || first.contains(['.', ':'])
}

/// What a failure says, without what introduces it.
fn words(failure: Failure) -> String {
    let text = failure.text();
    text.trim_end().trim_start_matches("error: ").to_owned()
}

fn name_of(path: &str) -> String {
    if path == "-" { "standard input".into() } else { path.to_owned() }
}

fn read(path: &str) -> Result<String, Failure> {
    let text = match path {
        "-" => {
            let mut text = String::new();
            io::stdin().read_to_string(&mut text).map(|_| text)
        }
        path => fs::read_to_string(path),
    };
    text.map_err(|error| Failure::client(format!("cannot read {}: {error}", name_of(path))))
}

/// What became of a tag, in a line.
fn message(wish: &Wish, tag: &PromotedTag, dry_run: bool, current: &str) -> String {
    let name = wish.to.shown(current);
    let to = match &tag.to {
        // A reference tag has no image in the stream.
        Some(item) if item.image.is_empty() => item.docker_image_reference.clone(),
        Some(item) => {
            let Source { namespace, stream, .. } = &wish.source;
            let stream = Place { namespace: namespace.clone(), stream: stream.clone(), tag: String::new() };
            format!("{}@{}", stream.shown(current), item.image)
        }
        None => wish.source.name.clone(),
    };
    let was = tag.from.as_ref().map_or("<none>", pointed_to);
    if tag.to.as_ref().map(pointed_to) == Some(was) {
        return format!("Tag {name} points to {to} already.\n");
    }
    let done = if dry_run { "would be promoted" } else { "promoted" };
    format!("Tag {name} {done} to {to} (was {was}).\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::print::history::tests::{digest, item};

    #[test]
    fn a_promotion_is_a_tag_and_its_source() {
        let check = |text: &str, want: Promotion| {
            let wish = Wish::parse(text, "here").unwrap_or_else(|why| panic!("{text}: {why}"));
            assert_eq!(wish.to_wire(), want, "{text}");
        };
        let promotion = |namespace: &str, kind: SourceKind, from: &str, name: &str| Promotion {
            namespace: namespace.into(),
            name: "app".into(),
            tag: "live".into(),
            source: Some(TagSource { kind: kind.into(), namespace: from.into(), name: name.into() }),
            expected_image: String::new(),
        };
        let tag = SourceKind::ImageStreamTag;
        check("app:live=app:v2", promotion("here", tag, "", "app:v2"));
        check("app:live = app:v2", promotion("here", tag, "", "app:v2"));
        check("here/app:live=here/app:v2", promotion("here", tag, "", "app:v2"));
        check("prod/app:live=web:v2", promotion("prod", tag, "here", "web:v2"));
        check("prod/app:live=prod/web:v2", promotion("prod", tag, "", "web:v2"));
        let aa = digest("aa");
        let image = promotion("here", SourceKind::ImageStreamImage, "prod", &format!("web@{aa}"));
        check(&format!("app:live=prod/web@{aa}"), image);
        let own = promotion("prod", SourceKind::ImageStreamImage, "", &format!("app@{aa}"));
        check(&format!("prod/app:live=quay.io/team/app@{aa}"), own.clone());
        check(&format!("prod/app:live=localhost:5000/app@{aa}"), own.clone());
        check(&format!("prod/app:live={aa}"), own.clone());
        check(
            &format!("prod/app:live={aa},expect=quay.io/a/b@{aa}"),
            Promotion { expected_image: aa.clone(), ..own },
        );
        check(
            "app:live=app:v2,expect=none",
            Promotion { expected_image: "none".into(), ..promotion("here", tag, "", "app:v2") },
        );
        check(
            &format!("app:live=app:v2, expect={aa}"),
            Promotion { expected_image: aa, ..promotion("here", tag, "", "app:v2") },
        );
    }

    #[test]
    fn mistakes_name_their_line() {
        let check = |arguments: &str, file: &str, want: &str| {
            let words: Vec<String> = arguments.split_whitespace().map(str::to_owned).collect();
            let refused = match wishes(&words, Some(("f", file)), "here") {
                Ok(wishes) => format!("{} wishes", wishes.len()),
                Err(failure) => failure.text(),
            };
            assert!(refused.starts_with(want), "{arguments} {file}: {refused}");
        };
        check("app:live=app:v2", "# all of it\n\na:1=b:1 # this too\n  c:1=b:1\n", "3 wishes");
        check("", "\n# nothing\n", "error: name at least one promotion");
        check("app:live", "", "error: \"app:live\" is no promotion: write DESTINATION=SOURCE");
        check("", "a:1=b:1\n\nc:1\n", "error: f:3: \"c:1\" is no promotion");
        check("", "a=b:1\n", "error: f:1: \"a\" must be of the form <stream_name>:<tag>\n");
        check("", "a:1=b\n", "error: f:1: \"b\" must be of the form <stream_name>:<tag>\n");
        check("a:1=b@sha256:12", "", "error: \"sha256:12\" is no digest: invalid checksum digest length");
        check("a:1=b:1@sha256:12", "", "error: \"b:1@sha256:12\" is no image of an image stream");
        check("a:1=b:1,expect=x", "", "error: \"x\" cannot be expected: ");
        check("a:1=b:1,when=now", "", "error: \"when=now\" is not understood");
        check("here/a:1=b:2", "a:1=b:1\n", "error: a:1 is promoted already, at f:1: name each tag once\n");
        check("a:1=b:1 a:1=b:2", "", "error: a:1 is promoted already, among the arguments");
        let many: String = (0..1001).map(|number| format!("a:{number}=b:1\n")).collect();
        check("", &many, "error: 1001 tags are too many to be promoted at once: 1000 are the most\n");
    }

    #[test]
    fn a_line_tells_what_became_of_a_tag() {
        let check = |from, to, dry_run, want: String| {
            let wish = Wish::parse("prod/app:live=app:v2", "here").expect("a promotion");
            let tag = PromotedTag { from, to, ..PromotedTag::default() };
            assert_eq!(message(&wish, &tag, dry_run, "here"), want);
        };
        let (aa, bb) = (digest("aa"), digest("bb"));
        let name = "Tag prod/app:live";
        check(item("aa"), item("bb"), false, format!("{name} promoted to app@{bb} (was {aa}).\n"));
        check(None, item("bb"), false, format!("{name} promoted to app@{bb} (was <none>).\n"));
        check(item("aa"), item("bb"), true, format!("{name} would be promoted to app@{bb} (was {aa}).\n"));
        check(item("bb"), item("bb"), false, format!("{name} points to app@{bb} already.\n"));
    }
}
