//! `tagtrail diff`: two moments of image streams, or two images.

use tagtrail_api::v1::{DiffImagesRequest, DiffStreamsRequest};
use tagtrail_domain::Digest;

use crate::context::Context;
use crate::failure::Failure;
use crate::flags::At;
use crate::kinds::stream_and_id;
use crate::moment::{self, MOMENTS, When};
use crate::places::{Place, namespaced, without_kind};
use crate::print::diff::{self, Sides};
use crate::print::{json, yaml};

/// What can be compared.
const EXAMPLES: &str = "\
Examples:
  tagtrail diff app@120 app                an image stream at a sequence, and now
  tagtrail diff app 'yesterday 9:00' now   the same image stream at two moments
  tagtrail diff app prod/app               two image streams
  tagtrail diff app:prod 120 now           what a tag pointed to at two moments
  tagtrail diff app:prod app:dev           what two tags point to
  tagtrail diff sha256:... sha256:...      two images
  tagtrail diff app@sha256:1e42ab app:v2   an image of an image stream, and what a tag points to";

/// Compare two moments of an image stream, or two images.
///
/// Of image streams it shows which tags came, went and moved; of images the layers, the size, the environment, the labels and
/// more.
#[derive(clap::Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{MOMENTS}"))]
pub(crate) struct Args {
    /// Two of STREAM[@MOMENT], or two of STREAM:TAG[@MOMENT], STREAM@sha256:... and sha256:...; or one STREAM or STREAM:TAG
    /// and two moments
    #[arg(value_name = "WHAT", required = true)]
    words: Vec<String>,
    #[command(flatten)]
    at: At,
    /// json or yaml
    #[arg(short, long, value_name = "FORMAT", value_parser = ["json", "yaml"])]
    output: Option<String>,
}

/// Compares. That there are differences is no failure.
pub(crate) async fn run(args: Args, context: &mut Context) -> Result<(), Failure> {
    let text = match both(&args.words, args.at.when(), &context.namespace)? {
        Both::Streams(from, to) => streams(from, to, args.output.as_deref(), context).await?,
        Both::Images(from, to) => images(from, to, args.output.as_deref(), context).await?,
    };
    context.print(&text)
}

/// What is to be compared.
#[derive(Debug, PartialEq)]
enum Both {
    Streams(StreamThen, StreamThen),
    Images(ImageOf, ImageOf),
}

/// A stream at a moment.
#[derive(Debug, PartialEq)]
struct StreamThen {
    place: Place,
    at: When,
    /// As it was typed.
    text: String,
}

/// An image, by what leads to it.
#[derive(Debug, PartialEq)]
struct ImageOf {
    image: Named,
    /// As it was typed.
    text: String,
}

#[derive(Debug, PartialEq)]
enum Named {
    Digest(String),
    /// What a tag pointed to.
    Tag(Place, When),
    /// An image of a stream, by the beginning of its digest.
    OfStream(Place, String, When),
}

#[derive(Debug)]
enum Side {
    Stream(StreamThen),
    Image(ImageOf),
}

fn both(words: &[String], at: When, namespace: &str) -> Result<Both, Failure> {
    let sides = match words {
        [one, other] => (side(one, at, namespace)?, side(other, at, namespace)?),
        [_, _, _] if at != When::Now => {
            return Err(Failure::client("two moments are given already: leave out --at"));
        }
        [what, one, other] => {
            if what.contains('@') {
                return Err(Failure::client(format!(
                    "\"{what}\" names a moment or an image already: give STREAM or STREAM:TAG and two moments, or two of what is to be compared"
                )));
            }
            let then = |text: &String| {
                let side = side(what, read(text, text)?, namespace)?;
                Ok::<_, Failure>(side.told(&format!("{what}@{text}")))
            };
            (then(one)?, then(other)?)
        }
        _ => {
            return Err(Failure::client(
                "give two of what is to be compared, such as app@120 and app, or one with two moments: see 'tagtrail diff --help'",
            ));
        }
    };
    match sides {
        (Side::Stream(from), Side::Stream(to)) => Ok(Both::Streams(from, to)),
        (Side::Image(from), Side::Image(to)) => Ok(Both::Images(from, to)),
        (Side::Stream(stream), Side::Image(image)) | (Side::Image(image), Side::Stream(stream)) => {
            Err(Failure::client(format!(
                "\"{}\" is an image stream and \"{}\" an image: only like can be compared with like",
                stream.text, image.text
            )))
        }
    }
}

/// Reads one side. `at`: the moment where none is written.
fn side(text: &str, at: When, namespace: &str) -> Result<Side, Failure> {
    let image = |image| Ok(Side::Image(ImageOf { image, text: text.to_owned() }));
    if let Ok(digest) = Digest::parse(text) {
        return image(Named::Digest(digest.to_string()));
    }
    let (place, behind) = text.split_once('@').map_or((text, None), |(place, rest)| (place, Some(rest)));
    // What stands behind the @ is a digest where it says so, and a moment otherwise.
    if let Some(id) = behind.filter(|rest| is_digest(rest)) {
        let (namespace, rest) = namespaced(without_kind(text).1, namespace).map_err(Failure::client)?;
        let stream = stream_and_id(rest).map(|(stream, _)| stream).filter(|stream| !stream.contains(':'));
        let stream = stream.ok_or_else(|| {
            Failure::client(format!("\"{text}\" is no image of an image stream: write STREAM@sha256:..."))
        })?;
        let place = Place { namespace: namespace.into(), stream: stream.into(), tag: String::new() };
        return image(Named::OfStream(place, id.to_owned(), at));
    }
    if is_digest(place) {
        return Err(Failure::client(format!(
            "\"{text}\" is no whole digest: write all of it, or STREAM@sha256:... with the beginning of it"
        )));
    }
    let at = behind.map_or(Ok(at), |moment| read(moment, text))?;
    match Place::of_any(place, namespace)? {
        place if place.tag.is_empty() => Ok(Side::Stream(StreamThen { place, at, text: text.to_owned() })),
        place => image(Named::Tag(place, at)),
    }
}

impl Side {
    /// The same, told in other words.
    fn told(self, text: &str) -> Self {
        let text = text.to_owned();
        match self {
            Self::Stream(stream) => Self::Stream(StreamThen { text, ..stream }),
            Self::Image(image) => Self::Image(ImageOf { text, ..image }),
        }
    }
}

fn is_digest(text: &str) -> bool {
    ["sha256:", "sha384:", "sha512:"].iter().any(|algorithm| text.starts_with(algorithm))
}

fn read(moment: &str, text: &str) -> Result<When, Failure> {
    moment::past(moment).map_err(|why| Failure::client(format!("\"{text}\" names no moment: {why}")))
}

async fn streams(
    from: StreamThen,
    to: StreamThen,
    output: Option<&str>,
    context: &Context,
) -> Result<String, Failure> {
    let client = context.client()?;
    let request = DiffStreamsRequest {
        namespace: from.place.namespace.clone(),
        name: from.place.stream.clone(),
        from: from.at.to_wire(),
        to: to.at.to_wire(),
        to_namespace: to.place.namespace.clone(),
        to_name: to.place.stream.clone(),
    };
    let answer = client.histories().diff_streams(request).await.map_err(|status| {
        let failure = client.refusal(&status);
        // Of two streams, one may have been there.
        if failure.is_not_found() && from.place == to.place && (from.at, to.at) != (When::Now, When::Now) {
            return failure.with_moment(&format!("neither at {} nor at {}", from.at, to.at));
        }
        failure
    })?;
    let answer = answer.into_inner();
    let sides = Sides { from: &from.text, to: &to.text };
    Ok(match output {
        None => diff::streams(&answer, sides, &context.namespace),
        Some("json") => json::typed(&diff::streams_in_json(&answer, &from.place, &to.place)),
        Some(_) => yaml::document(&diff::streams_in_json(&answer, &from.place, &to.place)),
    })
}

async fn images(
    from: ImageOf,
    to: ImageOf,
    output: Option<&str>,
    context: &Context,
) -> Result<String, Failure> {
    let request = DiffImagesRequest {
        from: digest(&from.image, context).await?,
        to: digest(&to.image, context).await?,
    };
    let client = context.client()?;
    let answer = client.histories().diff_images(request).await.map_err(|status| client.refusal(&status))?;
    let answer = answer.into_inner();
    let sides = Sides { from: &from.text, to: &to.text };
    Ok(match output {
        None => diff::images(&answer, sides),
        Some("json") => json::typed(&diff::images_in_json(&answer)),
        Some(_) => yaml::document(&diff::images_in_json(&answer)),
    })
}

/// The digest of an image, for which the server may have to be asked.
async fn digest(image: &Named, context: &Context) -> Result<String, Failure> {
    match image {
        Named::Digest(digest) => Ok(digest.clone()),
        Named::Tag(place, at) => {
            let client = context.client()?.at(*at);
            let found = client.tag(&place.namespace, &place.stream, &place.tag, true).await?;
            found.image.map(|image| image.digest).ok_or_else(|| {
                let name = place.shown(&context.namespace);
                Failure::client(format!(
                    "\"{name}\" points to no image there that could be compared; 'tagtrail history {name}' shows what it has pointed to"
                ))
            })
        }
        Named::OfStream(place, id, at) => {
            let client = context.client()?.at(*at);
            Ok(client.stream_image(&place.namespace, &place.stream, id).await?.1.digest)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::print::history::tests::digest;

    fn read(line: &[&str], at: When) -> String {
        let words: Vec<String> = line.iter().map(ToString::to_string).collect();
        let place = |place: &Place| place.shown("here");
        let image = |of: &ImageOf| match &of.image {
            Named::Digest(digest) => digest[..10].to_owned(),
            Named::Tag(of, at) => format!("{}@{at:?}", place(of)),
            Named::OfStream(of, id, at) => format!("{}@{id}@{at:?}", place(of)),
        };
        match both(&words, at, "here") {
            Ok(Both::Streams(from, to)) => {
                format!("{}@{:?} {}@{:?}", place(&from.place), from.at, place(&to.place), to.at)
            }
            Ok(Both::Images(from, to)) => format!("image {} {}", image(&from), image(&to)),
            Err(failure) => failure.text(),
        }
    }

    #[test]
    fn two_things_are_compared() {
        let (aa, bb) = (digest("aa"), digest("bb"));
        let check = |line: &[&str], want: &str| assert_eq!(read(line, When::Now), want, "{line:?}");
        check(&["app@7", "app"], "app@Sequence(7) app@Now");
        check(&["app", "prod/app@now"], "app@Now prod/app@Now");
        check(&["app", "7", "9"], "app@Sequence(7) app@Sequence(9)");
        check(&["prod/app:v1", "7", "now"], "image prod/app:v1@Sequence(7) prod/app:v1@Now");
        check(&["is/app@7", "imagestream/prod/app"], "app@Sequence(7) prod/app@Now");
        check(&["istag/app:v1", "is/app@sha256:1e42"], "image app:v1@Now app@sha256:1e42@Now");
        check(&["app:v1", "app:v2@7"], "image app:v1@Now app:v2@Sequence(7)");
        check(&[&aa, &bb], "image sha256:aa0 sha256:bb0");
        check(&[&aa, "app:v1"], "image sha256:aa0 app:v1@Now");
        check(&["prod/app@sha256:1e42", "app:v1"], "image prod/app@sha256:1e42@Now app:v1@Now");
        assert_eq!(read(&["app", "app@9"], When::Sequence(7)), "app@Sequence(7) app@Sequence(9)");
    }

    #[test]
    fn what_cannot_be_compared_is_refused() {
        let check = |line: &[&str], want: &str| {
            let refused = read(line, When::Now);
            assert!(refused.starts_with(&format!("error: {want}")), "{line:?}: {refused}");
        };
        check(&["app"], "give two of what is to be compared");
        check(&["app", "7", "8", "9"], "give two of what is to be compared");
        check(&["app", "app:v1"], "\"app\" is an image stream and \"app:v1\" an image: only like");
        check(&["app@x", "app"], "\"app@x\" names no moment: write a sequence such as 1234");
        check(&["app@", "app"], "\"app@\" names no moment: write a sequence such as 1234");
        check(&["app", "7", "x"], "\"x\" names no moment: write");
        check(&["app@7", "7", "9"], "\"app@7\" names a moment or an image already");
        check(&["sha256:12", "app:v1"], "\"sha256:12\" is no whole digest");
        check(&["app:v1@sha256:12", "app:v1"], "\"app:v1@sha256:12\" is no image of an image stream");
        let twice = read(&["app", "7", "9"], When::Sequence(3));
        assert_eq!(twice, "error: two moments are given already: leave out --at\n");
    }
}
