//! `tagtrail tag SOURCE DESTINATION…` and `tagtrail tag -d TAG…` (spec §2.5).
//!
//! What can be told wrong without the server is told here, in `oc`'s words and `oc`'s order; then one call for each
//! destination in turn. The first that fails ends it; those before it stay done.

use std::time::Duration;

use tagtrail_api::v1::{
    DeleteTagRequest, DeleteTagResponse, ImportMode, ImportPolicy, ReferencePolicy, SetTagRequest,
    SetTagResponse, SourceKind, TagSource,
};
use tagtrail_domain::{ImageReference, Interval, TagName};

use crate::client::Client;
use crate::context::Context;
use crate::failure::Failure;
use crate::flags::{Expect, Receipt};
use crate::kinds::stream_and_tag;
use crate::places::namespaced;

/// Point a tag at an image: a container image, another tag (its present image, or with --alias whatever it will
/// point to), or an image of a stream. With -d, delete tags.
#[derive(clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "flags")]
pub(crate) struct Args {
    /// SOURCE DESTINATION..., or with -d only DESTINATION...
    #[arg(value_name = "SOURCE|DESTINATION")]
    words: Vec<String>,
    /// Delete the tags
    #[arg(short, long)]
    delete: bool,
    /// Follow the source tag from now on; both must be of one image stream
    #[arg(long)]
    pub(crate) alias: bool,
    /// What SOURCE is: imagestreamtag (istag), imagestreamimage (isimage), docker (dockerimage)
    #[arg(long, value_name = "KIND")]
    source: Option<String>,
    /// Only point at the source, never import it
    #[arg(long)]
    reference: bool,
    /// Look again and again
    #[arg(long)]
    scheduled: bool,
    /// How often to look, together with --scheduled: 1s to 30d, such as 5m [default: as often as the server says]
    #[arg(long, value_name = "INTERVAL", value_parser = Interval::parse)]
    interval: Option<Interval>,
    /// Allow plain HTTP and unverified certificates
    #[arg(long)]
    insecure: bool,
    /// How consumers shall pull: source or local
    #[arg(long, value_name = "POLICY", default_value = "source")]
    reference_policy: String,
    /// What to make of an image index: Legacy or PreserveOriginal
    #[arg(long, value_name = "MODE")]
    import_mode: Option<String>,
    #[command(flatten)]
    expect: Expect,
    #[command(flatten)]
    receipt: Receipt,
    /// Wait until the import has ended, at most this long
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true, default_missing_value = "1m", value_parser = humantime::parse_duration)]
    wait: Option<Duration>,
}

/// Sets or deletes tags.
pub(crate) async fn run(args: Args, context: &mut Context) -> Result<(), Failure> {
    if args.delete {
        return delete(&args, context).await;
    }
    let (source, destinations) = read(&args, &context.namespace)?;
    let client = context.client()?;
    let flaw = |kind: SourceKind| first_flaw(&args, kind, &source, &destinations);
    if let Some(first) = flaw(source.kind) {
        if source.kind != SourceKind::ImageStreamTag || args.alias {
            return Err(first);
        }
        // `oc` looks the tag up before it looks at the rest: a missing source is told first, and what the tag points
        // to may be allowed what the tag is not.
        let kind = present_kind(&client, &source).await?;
        if let Some(flaw) = flaw(kind) {
            return Err(flaw);
        }
    }
    let destinations = destinations.map_err(Failure::client)?;
    context.expect_writes(destinations.len())?;
    args.receipt.for_writes(destinations.len())?;
    for (index, destination) in destinations.iter().enumerate() {
        set(&args, &source, destination, index, &client, context).await?;
    }
    Ok(())
}

/// The places, or a sentence that says which of them is none.
type Destinations = Result<Vec<Destination>, String>;

/// Reads the words.
fn read(args: &Args, namespace: &str) -> Result<(Source, Destinations), Failure> {
    let Some((source, destinations)) = args.words.split_first() else {
        return Err(usage(
            "you must specify a source and at least one destination or one or more tags to delete",
        ));
    };
    let source = Source::parse(source, args.source.as_deref(), namespace)?;
    Ok((source, self::destinations(destinations, namespace)))
}

/// The first thing that cannot be, beyond the source.
fn first_flaw(
    args: &Args,
    kind: SourceKind,
    source: &Source,
    destinations: &Destinations,
) -> Option<Failure> {
    match destinations {
        Ok(destinations) => flaw(args, kind, source, destinations),
        Err(flaw) => Some(Failure::client(flaw)),
    }
}

/// What the first argument names.
struct Source {
    text: String,
    reference: ImageReference,
    kind: SourceKind,
    /// The namespace a stream is looked for in, where none is written.
    current: String,
}

impl Source {
    fn parse(text: &str, kind: Option<&str>, namespace: &str) -> Result<Self, Failure> {
        let explicit = kind.filter(|word| !word.is_empty()).map(explicit_kind).transpose()?;
        let mut reference = ImageReference::parse(text)
            .map_err(|error| Failure::client(format!("invalid SOURCE: {error}")))?;
        let kind = explicit.unwrap_or_else(|| implied_kind(&reference));
        if kind != SourceKind::DockerImage {
            if !reference.registry.is_empty() {
                return Err(Failure::client(
                    "server in SOURCE is only allowed when providing a container image",
                ));
            }
            // Where the kind was not said, Docker Hub's own namespace may as well be a namespace here.
            if explicit.is_some() && reference.namespace == "library" {
                reference.namespace = namespace.to_owned();
            }
            if kind == SourceKind::ImageStreamTag && reference.tag.is_empty() {
                return Err(Failure::client(
                    "--source=ImageStreamTag requires a valid <name>:<tag> in SOURCE",
                ));
            }
            if kind == SourceKind::ImageStreamImage && reference.digest.is_none() {
                return Err(Failure::client(
                    "--source=ImageStreamImage requires a valid <name>@<id> in SOURCE",
                ));
            }
            if reference.name.contains('/') {
                let name = &reference.name;
                return Err(Failure::client(format!(
                    "invalid resource name \"{name}\": [may not contain '/']"
                )));
            }
        }
        Ok(Self { text: text.to_owned(), reference, kind, current: namespace.to_owned() })
    }

    /// The namespace its stream lives in.
    fn namespace(&self) -> &str {
        if self.reference.namespace.is_empty() { &self.current } else { &self.reference.namespace }
    }

    /// It, without its namespace, as it goes to the server.
    fn name(&self) -> String {
        match self.kind {
            SourceKind::DockerImage | SourceKind::Unspecified => self.reference.to_string(),
            SourceKind::ImageStreamTag => format!("{}:{}", self.reference.name, self.reference.tag),
            SourceKind::ImageStreamImage => {
                let digest = self.reference.digest.as_ref().map(ToString::to_string).unwrap_or_default();
                format!("{}@{digest}", self.reference.name)
            }
        }
    }
}

fn explicit_kind(word: &str) -> Result<SourceKind, Failure> {
    match word.to_lowercase().as_str() {
        "imagestreamtag" | "imagestreamtags" | "istag" => Ok(SourceKind::ImageStreamTag),
        "imagestreamimage" | "imagestreamimages" | "isimage" => Ok(SourceKind::ImageStreamImage),
        "docker" | "dockerimage" => Ok(SourceKind::DockerImage),
        _ => Err(usage(&format!(
            "invalid source \"{word}\"; valid values are docker, dockerimage, imagestreamimage, imagestreamtag, isimage, istag"
        ))),
    }
}

fn implied_kind(reference: &ImageReference) -> SourceKind {
    if !reference.registry.is_empty() {
        SourceKind::DockerImage
    } else if reference.digest.is_some() {
        SourceKind::ImageStreamImage
    } else if reference.tag.is_empty() {
        // A bare name is a name on Docker Hub.
        SourceKind::DockerImage
    } else {
        SourceKind::ImageStreamTag
    }
}

/// A place a tag is to be set.
struct Destination {
    namespace: String,
    /// `stream:tag`, as typed.
    text: String,
}

fn destinations(words: &[String], namespace: &str) -> Destinations {
    let parse = |word: &String| {
        let (namespace, text) = namespaced(word, namespace)?;
        Ok(Destination { namespace: namespace.to_owned(), text: text.to_owned() })
    };
    words.iter().map(parse).collect()
}

/// The first thing that cannot be, in the order in which `oc` looks.
fn flaw(args: &Args, kind: SourceKind, source: &Source, destinations: &[Destination]) -> Option<Failure> {
    let importing = args.scheduled || args.insecure || args.interval.is_some();
    if let Some(flaw) = flaw_of_policies(args) {
        return Some(flaw);
    }
    if destinations.is_empty() {
        return Some(Failure::client("at least a destination is required"));
    }
    for destination in destinations {
        let tag = destination.text.split_once(':').map_or("", |(_, tag)| tag);
        if let Some(error) = (!tag.is_empty()).then(|| TagName::parse(tag).err()).flatten() {
            return Some(Failure::client(error));
        }
    }
    if kind != SourceKind::DockerImage && importing {
        return Some(Failure::client("only container images can have importing flags set"));
    }
    if args.alias && importing {
        return Some(Failure::client(
            "cannot set a container image tag as an alias and also set import flags",
        ));
    }
    if args.alias {
        // Where the source lives is not looked at: a stream of the same name elsewhere is copied once (spec §2.4).
        for to in destinations {
            let across = Failure::client("cannot set alias across different Image Streams");
            if to.namespace != source.current {
                return Some(across);
            }
            match to.text.split_once(':') {
                None => return Some(no_stream_and_tag(&to.text)),
                Some((stream, _)) if stream != source.reference.name => return Some(across),
                Some(_) => {}
            }
        }
    }
    // A dotted name alone reads as a registry: there is nothing left to pull from it.
    let nameless = source.reference.name.is_empty();
    nameless
        .then(|| Failure::invalid("ImageStreamTag", &destinations[0].text, "tag.from.name: Required value"))
}

fn flaw_of_policies(args: &Args) -> Option<Failure> {
    if !matches!(&*args.reference_policy, "source" | "local") {
        return Some(Failure::client("reference policy must be set to 'source' or 'local'"));
    }
    if !matches!(args.import_mode.as_deref(), None | Some("" | "Legacy" | "PreserveOriginal")) {
        return Some(Failure::client("valid ImportMode values are Legacy or PreserveOriginal"));
    }
    None
}

/// What a source tag points to at present: an image, or for a reference tag a name in a registry.
async fn present_kind(client: &Client, source: &Source) -> Result<SourceKind, Failure> {
    let reference = &source.reference;
    let stream = client.stream(source.namespace(), &reference.name, 1).await?;
    let status = stream.statuses.iter().find(|status| status.tag == reference.tag);
    match status.and_then(|status| status.items.first()) {
        None => Err(Failure::client(format!(
            "\"{}\" is not currently pointing to an image, cannot use it as the source of a tag",
            source.text
        ))),
        Some(item) if item.image.is_empty() => Ok(SourceKind::DockerImage),
        Some(_) => Ok(SourceKind::ImageStreamImage),
    }
}

async fn set(
    args: &Args,
    source: &Source,
    destination: &Destination,
    index: usize,
    client: &Client,
    context: &mut Context,
) -> Result<(), Failure> {
    let (name, tag) = stream_and_tag_of(&destination.text)?;
    let elsewhere = destination.namespace != context.namespace;
    let from_namespace = match (source.kind, elsewhere) {
        (SourceKind::DockerImage, _) => String::new(),
        (_, true) => source.namespace().to_owned(),
        (_, false) => source.reference.namespace.clone(),
    };
    let request = SetTagRequest {
        namespace: destination.namespace.clone(),
        name: name.to_owned(),
        tag: tag.to_owned(),
        source: Some(TagSource { kind: source.kind.into(), namespace: from_namespace, name: source.name() }),
        alias: args.alias,
        reference: args.reference,
        import_policy: Some(ImportPolicy {
            insecure: args.insecure,
            scheduled: args.scheduled,
            import_mode: import_mode(args.import_mode.as_deref()).into(),
            interval_seconds: args.interval.map_or(0, Interval::seconds),
        }),
        reference_policy: reference_policy(&args.reference_policy).into(),
        wait_ms: args.wait.map_or(0, |wait| u32::try_from(wait.as_millis()).unwrap_or(u32::MAX)),
        expected_image: args.expect.to_wire(),
        write: Some(context.write_options(index)),
        ..SetTagRequest::default()
    };
    let answer = client.tags().set_tag(request).await.map_err(|status| client.refusal(&status))?.into_inner();
    let shown = shown_source(source, answer.source.as_ref());
    context.print(&message(args, destination, &context.namespace, &shown))?;
    args.receipt.keep(answer.result.as_ref(), client).await?;
    match args.wait {
        Some(wait) => outcome(&answer, &destination.text, wait),
        None => Ok(()),
    }
}

/// The source as the message names it: what the server made of it, with the namespace that was typed.
fn shown_source(source: &Source, made: Option<&TagSource>) -> String {
    let made = made.filter(|made| !made.name.is_empty());
    let (kind, name) =
        made.map_or_else(|| (source.kind, source.name()), |made| (made.kind(), made.name.clone()));
    if kind == SourceKind::DockerImage || source.reference.namespace.is_empty() {
        name
    } else {
        format!("{}/{name}", source.reference.namespace)
    }
}

fn message(args: &Args, destination: &Destination, current: &str, source: &str) -> String {
    let here = destination.namespace == current;
    let tag = if here {
        destination.text.clone()
    } else {
        format!("{}/{}", destination.namespace, destination.text)
    };
    match (args.alias, args.scheduled) {
        (true, _) => format!("Tag {tag} set up to track {source}.\n"),
        (false, true) if here => format!("Tag {tag} set to import {source} periodically.\n"),
        (false, true) => format!("Tag {tag} set to {source} periodically.\n"),
        (false, false) => format!("Tag {tag} set to {source}.\n"),
    }
}

/// What became of the import that was waited for.
fn outcome(answer: &SetTagResponse, tag: &str, wait: Duration) -> Result<(), Failure> {
    if answer.importing {
        let wait = humantime::format_duration(wait);
        return Err(Failure::client(format!(
            "the import of {tag} is still under way after {wait}; it goes on"
        )));
    }
    let stream = answer.tag.as_ref().and_then(|tag| tag.stream.as_ref());
    let condition = stream.and_then(|stream| stream.statuses.first()?.import_failure.as_ref());
    match condition.and_then(|condition| condition.failure.as_ref()) {
        Some(failure) => Err(Failure::client(format!("the import of {tag} failed: {}", failure.message))),
        None => Ok(()),
    }
}

async fn delete(args: &Args, context: &mut Context) -> Result<(), Failure> {
    let destinations = destinations(&args.words, &context.namespace).map_err(Failure::client)?;
    if let Some(flaw) = flaw_of_delete(args) {
        return Err(flaw);
    }
    context.expect_writes(destinations.len())?;
    args.receipt.for_writes(destinations.len())?;
    let client = context.client()?;
    for (index, destination) in destinations.iter().enumerate() {
        // Only here a tag that is not written is the usual one.
        let text = match destination.text.strip_suffix(':') {
            Some(name) if !name.contains(':') => &format!("{name}:latest"),
            _ => &destination.text,
        };
        let (name, tag) = stream_and_tag_of(text)?;
        let request = DeleteTagRequest {
            namespace: destination.namespace.clone(),
            name: name.to_owned(),
            tag: tag.to_owned(),
            expected_image: args.expect.to_wire(),
            write: Some(context.write_options(index)),
        };
        let answer = client.tags().delete_tag(request).await.map_err(|status| client.refusal(&status))?;
        let DeleteTagResponse { hold, result } = answer.into_inner();
        context.print(&format!("Deleted tag {}/{}.\n", destination.namespace, destination.text))?;
        if let Some(hold) = hold {
            let why = if hold.reason.is_empty() { String::new() } else { format!(" ({})", hold.reason) };
            context.warn(&format!(
                "note: it was held by {}{why}; the hold is gone with it, and comes back with 'tagtrail restore'",
                hold.held_by
            ))?;
        }
        args.receipt.keep(result.as_ref(), &client).await?;
    }
    Ok(())
}

fn flaw_of_delete(args: &Args) -> Option<Failure> {
    let given = |flag: &Option<String>| flag.as_deref().is_some_and(|text| !text.is_empty());
    let refuse = |message: &str| Some(Failure::client(message));
    if args.alias {
        return refuse("--alias and --delete may not be both specified");
    }
    if let Some(flaw) = flaw_of_policies(args) {
        return Some(flaw);
    }
    if given(&args.source) {
        return refuse("cannot specify a source kind when deleting");
    }
    if args.scheduled || args.insecure || args.interval.is_some() {
        return refuse("cannot set flags for importing images when deleting a tag");
    }
    if given(&args.import_mode) {
        return refuse("cannot specify an import mode when deleting");
    }
    if args.words.is_empty() {
        return refuse("at least a destination is required");
    }
    None
}

fn stream_and_tag_of(text: &str) -> Result<(&str, &str), Failure> {
    if !text.contains(':') {
        return Err(no_stream_and_tag(text));
    }
    stream_and_tag(text)
        .ok_or_else(|| Failure::server("BadRequest", "ImageStreamTags must be retrieved with <name>:<tag>"))
}

fn no_stream_and_tag(text: &str) -> Failure {
    Failure::client(format!("\"{text}\" must be of the form <stream_name>:<tag>"))
}

/// The import mode for a word that was checked.
pub(crate) fn import_mode(word: Option<&str>) -> ImportMode {
    if word == Some("PreserveOriginal") { ImportMode::PreserveOriginal } else { ImportMode::Legacy }
}

/// The reference policy for a word that was checked.
pub(crate) fn reference_policy(word: &str) -> ReferencePolicy {
    if word.eq_ignore_ascii_case("local") { ReferencePolicy::Local } else { ReferencePolicy::Source }
}

fn usage(message: &str) -> Failure {
    Failure::Usage { message: message.to_owned(), hint: "See 'tagtrail tag -h' for help and examples".into() }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::recorded;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
        #[arg(short, long, default_value = "test")]
        namespace: String,
    }

    fn line(words: &str) -> Line {
        Line::try_parse_from(["tag"].into_iter().chain(words.split_whitespace())).expect("flags")
    }

    /// What is told without asking the server. Empty: nothing.
    fn refusal(line: &Line) -> String {
        let Line { args, namespace } = line;
        let flaw = if args.delete {
            destinations(&args.words, namespace).err().map(Failure::client).or_else(|| flaw_of_delete(args))
        } else {
            match read(args, namespace) {
                Ok((source, destinations)) => first_flaw(args, source.kind, &source, &destinations),
                Err(failure) => Some(failure),
            }
        };
        let words = if args.delete { &args.words[..] } else { args.words.get(1..).unwrap_or_default() };
        let targets = destinations(words, namespace).unwrap_or_default();
        let form = || targets.iter().find_map(|to| stream_and_tag_of(&to.text).err());
        flaw.or_else(form).map(|failure| failure.text()).unwrap_or_default()
    }

    #[test]
    fn mistakes_are_told_in_the_words_of_oc() {
        let check =
            |words: &str, want: &str| assert_eq!(refusal(&line(words)), format!("{want}\n"), "{words}");
        check(
            "",
            "error: you must specify a source and at least one destination or one or more tags to delete\nSee 'tagtrail tag -h' for help and examples",
        );
        check("a", "error: at least a destination is required");
        check("quay.io/o/a:1 x", "error: \"x\" must be of the form <stream_name>:<tag>");
        check("quay.io/o/a:1 a/b/c:1", "error: invalid image stream \"a/b/c:1\"");
        check("quay.io/o/a:1 /c:1", "error: invalid namespace \"\" for image stream \"/c:1\"");
        check("quay.io/o/a:1 c/", "error: invalid name \"\" for image stream \"c/\"");
        check(
            "quay.io/o/a:1 c/:1",
            "Error from server (BadRequest): ImageStreamTags must be retrieved with <name>:<tag>",
        );
        check("Bad:Ref:: x:1", "error: invalid SOURCE: invalid reference format");
        check("p@7866 p:zero", "error: invalid SOURCE: invalid reference format");
        check(
            "--source=foo a:1 x:1",
            "error: invalid source \"foo\"; valid values are docker, dockerimage, imagestreamimage, imagestreamtag, isimage, istag\nSee 'tagtrail tag -h' for help and examples",
        );
        check(
            "--source=istag quay.io/o/a:1 x:1",
            "error: server in SOURCE is only allowed when providing a container image",
        );
        check(
            "--source=istag my.app:1 x:2",
            "error: server in SOURCE is only allowed when providing a container image",
        );
        check(
            "--source=istag a x:1",
            "error: --source=ImageStreamTag requires a valid <name>:<tag> in SOURCE",
        );
        check(
            "--source=isimage a:1 x:1",
            "error: --source=ImageStreamImage requires a valid <name>@<id> in SOURCE",
        );
        check("a:1 x:1 --alias", "error: cannot set alias across different Image Streams");
        check("x:1 x --alias", "error: \"x\" must be of the form <stream_name>:<tag>");
        check("x:1 y --alias", "error: \"y\" must be of the form <stream_name>:<tag>");
        check("x:1 x:2 y:1 z --alias", "error: cannot set alias across different Image Streams");
        check("o/x:1 o/x:2 --alias", "error: cannot set alias across different Image Streams");
        check("quay.io/o/a:1 x:1 --alias", "error: cannot set alias across different Image Streams");
        check("x:1 x:2 --alias --scheduled", "error: only container images can have importing flags set");
        check("x:1 x:2 --alias --interval=5m", "error: only container images can have importing flags set");
        check("-d --alias x:1", "error: --alias and --delete may not be both specified");
        check("-d --scheduled x:1", "error: cannot set flags for importing images when deleting a tag");
        check("-d --interval=5m x:1", "error: cannot set flags for importing images when deleting a tag");
        check("-d --source=docker x:1", "error: cannot specify a source kind when deleting");
        check("-d --import-mode=Legacy x:1", "error: cannot specify an import mode when deleting");
        check(
            "--reference-policy=foo quay.io/o/a:1 x:1",
            "error: reference policy must be set to 'source' or 'local'",
        );
        check(
            "--import-mode=foo quay.io/o/a:1 x:1",
            "error: valid ImportMode values are Legacy or PreserveOriginal",
        );
        check("my.app:1 x:1", "The ImageStreamTag \"x:1\" is invalid: tag.from.name: Required value");
    }

    #[test]
    fn recorded_mistakes_are_told_the_same() {
        let mut seen = 0;
        for step in recorded::steps() {
            // What only the server can know is told by the server.
            let ours = step.stderr.starts_with("error: ") || step.stderr.contains("(BadRequest)");
            if step.argv[0] != "tag"
                || step.rc == 0
                || !ours
                || step.stderr.contains("not currently pointing")
            {
                continue;
            }
            let line = Line::try_parse_from(&step.argv).expect("recorded words");
            assert_eq!(refusal(&line), step.stderr.replace("'oc tag", "'tagtrail tag"), "{}", step.place);
            seen += 1;
        }
        assert!(seen > 15, "only {seen} recorded mistakes were replayed");
    }

    #[test]
    fn recorded_answers_are_told_the_same() {
        let mut seen = 0;
        for step in recorded::steps() {
            if step.argv[0] != "tag" || step.rc != 0 || step.stdout.starts_with("Deleted") {
                continue;
            }
            let Line { args, namespace } = Line::try_parse_from(&step.argv).expect("recorded words");
            let (source, destinations) = read(&args, &namespace).expect("recorded words");
            assert!(first_flaw(&args, source.kind, &source, &destinations).is_none(), "{}", step.place);
            let destinations = destinations.expect("recorded words");
            let told = destinations.iter().map(|to| {
                let (name, tag) = stream_and_tag_of(&to.text).expect("recorded words");
                let stream = step.state.iter().find(|s| s.name == name && s.namespace == to.namespace);
                let made = stream
                    .and_then(|s| s.tags.iter().find(|t| t.name == tag)?.spec.as_ref()?.source.as_ref());
                message(&args, to, &namespace, &shown_source(&source, made))
            });
            assert_eq!(told.collect::<String>(), step.stdout, "{}", step.place);
            seen += 1;
        }
        assert!(seen > 40, "only {seen} recorded answers were replayed");
    }

    #[test]
    fn a_source_names_its_namespace_as_typed() {
        let check = |words: &str, made: (SourceKind, &str), want: &str| {
            let Line { args, namespace } = line(words);
            let (source, destinations) = read(&args, &namespace).expect("words");
            let destinations = destinations.expect("words");
            let made = TagSource { kind: made.0.into(), namespace: String::new(), name: made.1.into() };
            let shown = shown_source(&source, Some(&made));
            assert_eq!(message(&args, &destinations[0], &namespace, &shown), format!("{want}\n"));
        };
        check("nope x:1", (SourceKind::DockerImage, "nope"), "Tag x:1 set to nope.");
        check(
            "p:refd p:copy",
            (SourceKind::DockerImage, "quay.io/org/many:dev"),
            "Tag p:copy set to quay.io/org/many:dev.",
        );
        check("test/a:1 x:1", (SourceKind::ImageStreamImage, "a@d"), "Tag x:1 set to test/a@d.");
        check(
            "q/a:1 other/z:3 --scheduled --source=docker",
            (SourceKind::DockerImage, "q/a:1"),
            "Tag other/z:3 set to q/a:1 periodically.",
        );
        let image = (SourceKind::ImageStreamImage, "a@d");
        check("library/a:1 x:1", image, "Tag x:1 set to library/a@d.");
        check("library/a:1 x:1 --source=istag", image, "Tag x:1 set to test/a@d.");
        check("p:a p:alias --alias", (SourceKind::ImageStreamTag, "p:a"), "Tag p:alias set up to track p:a.");
    }
}
