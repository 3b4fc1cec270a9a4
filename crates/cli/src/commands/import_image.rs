//! `tagtrail import-image NAME[:TAG]` (spec §2.10, §4.8). The server decides what is to be imported from where.

use tagtrail_api::v1::{ImportRequest, ImportResponse, ImportResult};
use tagtrail_domain::{ImageReference, Interval};

use crate::commands::tag::{import_mode, reference_policy};
use crate::context::Context;
use crate::failure::Failure;
use crate::flags::{Receipt, on_off};
use crate::k8s;
use crate::print::age::Now;
use crate::print::image::{self, Presentation};
use crate::print::{describe, json, tabs, yaml};

/// Import images from a registry now: one tag, or with --all all that came from elsewhere, or a whole repository.
#[derive(clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "flags")]
pub(crate) struct Args {
    /// The image stream, and its tag [default: latest]. Further words are not looked at
    #[arg(value_name = "NAME[:TAG]")]
    words: Vec<String>,
    /// Where from: a pull spec
    #[arg(long, value_name = "IMAGE")]
    from: Option<String>,
    /// Create the image stream, or change what it imports
    #[arg(long)]
    confirm: bool,
    /// Import all tags, or all of a repository
    #[arg(long)]
    all: bool,
    /// Look again and again from now on
    #[arg(long)]
    scheduled: bool,
    /// How often to look, for what is scheduled: 1s to 30d, such as 5m [default: as often as the tag or the server says]
    #[arg(long, value_name = "INTERVAL", value_parser = Interval::parse)]
    interval: Option<Interval>,
    /// Allow plain HTTP and unverified certificates
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = on_off)]
    insecure: Option<bool>,
    /// Only look, change nothing
    #[arg(long)]
    dry_run: bool,
    /// How consumers shall pull what this import adds: source or local
    #[arg(long, value_name = "POLICY", default_value = "source")]
    reference_policy: String,
    /// What to make of an image index: Legacy or PreserveOriginal
    #[arg(long, value_name = "MODE", default_value = "Legacy")]
    import_mode: String,
    /// Print the image stream instead: name, json or yaml
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<String>,
    #[command(flatten)]
    receipt: Receipt,
}

/// Imports.
pub(crate) async fn run(args: Args, context: &mut Context) -> Result<(), Failure> {
    args.receipt.for_writes(1)?;
    if !matches!(args.output.as_deref(), None | Some("name" | "json" | "yaml")) {
        let format = args.output.unwrap_or_default();
        return Err(Failure::client(format!("unknown output format \"{format}\": use name, json or yaml")));
    }
    let (name, tag) = target(&args)?;
    if !matches!(&*args.reference_policy, "source" | "local") {
        return Err(Failure::client("valid reference policy values are source or local"));
    }
    if !matches!(&*args.import_mode, "" | "Legacy" | "PreserveOriginal") {
        return Err(Failure::client("valid ImportMode values are Legacy or PreserveOriginal"));
    }
    let client = context.client()?;
    let request = ImportRequest {
        namespace: context.namespace.clone(),
        name: name.clone(),
        tag,
        target_text: args.words[0].clone(),
        from: args.from.unwrap_or_default(),
        all: args.all,
        confirm: args.confirm,
        scheduled: args.scheduled,
        interval_seconds: args.interval.map_or(0, Interval::seconds),
        insecure: args.insecure,
        import_mode: import_mode(Some(&args.import_mode)).into(),
        reference_policy: reference_policy(&args.reference_policy).into(),
        dry_run: args.dry_run,
        write: Some(context.write_options(0)),
    };
    let answer = client.imports().import(request).await.map_err(|status| client.refusal(&status))?;
    let mut answer = answer.into_inner();
    if let Some(stream) = &mut answer.stream {
        client.name_repository(stream);
    }
    match (args.output.as_deref(), &answer.stream) {
        (None, _) => {
            if let Some(description) = &mut answer.description {
                client.complete_description(description).await?;
            }
            context.print(&report(&answer, &name, args.dry_run, Now::by_the_clock()))?;
        }
        (Some("json"), Some(stream)) => context.print(&json::typed(&k8s::image_stream(stream)))?,
        (Some("yaml"), Some(stream)) => context.print(&yaml::document(&k8s::image_stream(stream)))?,
        (Some(_), _) => context.print(&format!("imagestream.image.openshift.io/{name}\n"))?,
    }
    args.receipt.keep(answer.result.as_ref(), &client).await?;
    for note in notes(&answer, &name) {
        context.warn(&note)?;
    }
    for complaint in complaints(&answer) {
        context.warn(&complaint)?;
    }
    if failed(&answer) { Err(Failure::client("imported completed with errors")) } else { Ok(()) }
}

/// The stream and the tag to import. The tag is empty only where all are meant.
fn target(args: &Args) -> Result<(String, String), Failure> {
    const NO_REFERENCE: &str = "the image name must be a valid container image pull spec or reference to an image stream (e.g. myregistry/myteam/image:tag)";
    let text = args.words.first().map_or("", String::as_str);
    let reference = ImageReference::parse(text).map_err(|_| Failure::client(NO_REFERENCE))?;
    if reference.digest.is_some() {
        return Err(Failure::client("to import images by ID, use the 'tag' command"));
    }
    if !reference.tag.is_empty() && args.all {
        return Err(Failure::client(format!("cannot specify a tag \"{text}\" as well as --all")));
    }
    let ImageReference { name, mut tag, .. } = reference;
    if name.is_empty() {
        return Err(Failure::client("resource name may not be empty"));
    }
    if name.contains('/') {
        return Err(Failure::client(format!("invalid resource name \"{name}\": [may not contain '/']")));
    }
    if tag.is_empty() && !args.all {
        tag = "latest".into();
    }
    Ok((name, tag))
}

fn failed(answer: &ImportResponse) -> bool {
    answer.repository_failure.is_some() || answer.results.iter().any(|result| result.failure.is_some())
}

/// What an import found, for standard output.
fn report(answer: &ImportResponse, name: &str, dry_run: bool, now: Now) -> String {
    let errors = if failed(answer) { " with errors" } else { "" };
    let dry = if dry_run { " (dry run)" } else { "" };
    let mut text = format!("imagestream.image.openshift.io/{name} imported{errors}{dry}\n\n");
    if let Some(description) = &answer.description {
        text += &describe::stream(description, now);
        text.push('\n');
    }
    for ImportResult { source_tag, image, .. } in &answer.results {
        let Some(image) = image else { continue };
        // The image goes by the tag it has at its source; one that was named by its digest by the usual one.
        let tag = if source_tag.is_empty() { "latest" } else { source_tag };
        let shown = Presentation { name: &format!("{name}:{tag}"), ..Presentation::default() };
        text += &image::block(image, &shown, now);
        text.push('\n');
    }
    if !answer.additional_tags.is_empty() {
        text += &format!(
            "\ninfo: The remote repository contained {} additional tags which were not imported: {}\n",
            answer.additional_tags.len(),
            answer.additional_tags.join(", ")
        );
    }
    text.push('\n');
    text
}

/// A line for each tag that did not move because it is held, for standard error.
fn notes(answer: &ImportResponse, name: &str) -> Vec<String> {
    let note = |result: &ImportResult| {
        let (hold, image) = (result.hold.as_ref()?, result.image.as_ref()?);
        let why = match hold.reason.as_str() {
            "" => String::new(),
            reason => format!(" ({})", tabs::one_line(reason)),
        };
        Some(format!(
            "note: {name}:{} is held by {}{why} and stays where it is: it would have moved to {}",
            result.tag, hold.held_by, image.docker_image_reference
        ))
    };
    // What it points to already would not have moved it: then nothing is withheld.
    let moved = |result: &&ImportResult| result.hold.as_ref().is_some_and(|hold| hold.withheld.is_some());
    answer.results.iter().filter(moved).filter_map(note).collect()
}

/// A line for each image that could not be imported, for standard error.
fn complaints(answer: &ImportResponse) -> Vec<String> {
    let complaint = |result: &ImportResult| {
        let failure = result.failure.as_ref()?;
        let what = if result.from_repository { "repository tag" } else { "tag" };
        Some(format!("error: {what} {} failed: {}", result.source_tag, failure.message))
    };
    answer.results.iter().filter_map(complaint).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use tagtrail_api::v1::{Failure as Trouble, HistoryItem, Hold, Image};

    use super::*;
    use crate::print::describe::tests::described;
    use crate::recorded::{self, Step};

    #[test]
    fn targets_are_refused_in_the_words_of_oc() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            args: Args,
        }
        let check = |words: &str, want: Result<(&str, &str), &str>| {
            let words = ["import-image"].into_iter().chain(words.split_whitespace());
            let line = <Line as clap::Parser>::parse_from(words);
            let got = target(&line.args).map_err(|failure| failure.text());
            let want = want
                .map(|(name, tag)| (name.to_owned(), tag.to_owned()))
                .map_err(|why| format!("error: {why}\n"));
            assert_eq!(got, want);
        };
        let no_reference = "the image name must be a valid container image pull spec or reference to an image stream (e.g. myregistry/myteam/image:tag)";
        check("app", Ok(("app", "latest")));
        check("app:v1", Ok(("app", "v1")));
        check("app --all", Ok(("app", "")));
        check("quay.io/org/many:1.0", Ok(("many", "1.0")));
        check("localhost/foo", Ok(("foo", "latest")));
        check("a b", Ok(("a", "latest")));
        check("", Err(no_reference));
        check("App:v1", Err(no_reference));
        check("app:", Err(no_reference));
        check("x:1 --all", Err("cannot specify a tag \"x:1\" as well as --all"));
        check("my.app:1", Err("resource name may not be empty"));
        check("a/b/many:1.1", Err("invalid resource name \"b/many\": [may not contain '/']"));
        check(&format!("x@sha256:{}", "a".repeat(64)), Err("to import images by ID, use the 'tag' command"));
    }

    /// What the server would have answered, by the state afterwards and by what was complained about.
    fn answer(step: &Step, images: Vec<ImportResult>) -> ImportResponse {
        let name = step.stdout.lines().next().and_then(|line| line.split(['/', ' ']).nth(1)).expect("a name");
        let stream = step.state.iter().find(|stream| stream.name == name && stream.namespace == "test");
        let described = stream.filter(|_| !step.stdout.contains("(dry run)")).map(|stream| {
            let text = step.stdout.split_once("\n\n").map_or("", |(_, text)| text);
            described(stream, text)
        });
        let failed = step.stderr.lines().filter_map(|line| {
            let (source, message) = line.strip_prefix("error: ")?.split_once(" failed: ")?;
            let failure = Trouble { message: message.to_owned(), ..Trouble::default() };
            let repository_tag = source.strip_prefix("repository tag ");
            let source_tag = repository_tag.or(source.strip_prefix("tag "))?.to_owned();
            Some(ImportResult {
                source_tag,
                from_repository: repository_tag.is_some(),
                failure: Some(failure),
                ..ImportResult::default()
            })
        });
        let results: Vec<ImportResult> = failed.chain(images).collect();
        let whole = step.stderr.contains("completed with errors") && results.is_empty();
        ImportResponse {
            description: described,
            results,
            repository_failure: whole.then(Trouble::default),
            ..ImportResponse::default()
        }
    }

    #[test]
    fn failed_imports_are_reported_the_same() {
        let mut seen = 0;
        for step in recorded::steps() {
            if step.argv[0] != "import-image" || step.stdout.is_empty() || step.stdout.contains("Image Name:")
            {
                continue;
            }
            let answer = answer(&step, Vec::new());
            let got =
                report(&answer, step.argv[1].split(':').next().expect("a name"), false, recorded::now());
            assert_eq!(recorded::normalised(&got), step.stdout, "{}", step.place);
            let complaints: String = complaints(&answer).iter().map(|line| format!("{line}\n")).collect();
            assert_eq!(complaints + "error: imported completed with errors\n", step.stderr, "{}", step.place);
            seen += 1;
        }
        assert!(seen >= 10, "only {seen} recorded imports were replayed");
    }

    #[test]
    fn imported_images_are_reported_the_same() {
        let steps = recorded::steps();
        let find = |place: &str| steps.iter().find(|step| step.place == place).expect("recorded");
        let check = |import: &str, source_tag: &str, with_image: &str| {
            let object: Value = serde_json::from_str(&find(with_image).raw).expect("JSON");
            let mut image = recorded::image(&object["image"]);
            let fresh = find(import).state[0].created;
            (image.created, image.built_at) = (fresh, fresh);
            let result =
                ImportResult { source_tag: source_tag.into(), image: Some(image), ..ImportResult::default() };
            let step = find(import);
            let got = report(
                &answer(step, vec![result]),
                step.argv[1].split(':').next().expect("a name"),
                false,
                recorded::now(),
            );
            assert_eq!(recorded::normalised(&got), step.stdout, "{import}");
        };
        check("070-get-istag[0]", "v1.0.0", "070-get-istag[7]");
        check("019-import-mode-preserve[0]", "3.20", "019-import-mode-preserve[3]");
        check("020-import-mode-legacy[0]", "3.20", "020-import-mode-legacy[2]");
    }

    #[test]
    fn a_held_tag_is_noted() {
        let check = |reason: &str, withheld: bool, want: &[&str]| {
            let image = Image { docker_image_reference: "quay.io/a/b@sha256:1".into(), ..Image::default() };
            let hold = Hold {
                held_by: "ana".into(),
                reason: reason.into(),
                withheld: withheld.then(HistoryItem::default),
                ..Hold::default()
            };
            let held = ImportResult {
                tag: "prod".into(),
                image: Some(image.clone()),
                hold: Some(hold),
                ..ImportResult::default()
            };
            let free = ImportResult { tag: "dev".into(), image: Some(image), ..ImportResult::default() };
            let answer = ImportResponse { results: vec![free, held], ..ImportResponse::default() };
            assert_eq!(notes(&answer, "app"), want);
            assert!(complaints(&answer).is_empty());
        };
        let stays = "and stays where it is: it would have moved to quay.io/a/b@sha256:1";
        check("", true, &[&format!("note: app:prod is held by ana {stays}")]);
        check("CVE-1", true, &[&format!("note: app:prod is held by ana (CVE-1) {stays}")]);
        check("", false, &[]);
    }

    #[test]
    fn an_image_named_by_its_digest_goes_by_the_usual_tag() {
        let image = |source_tag: &str| {
            let image = Some(tagtrail_api::v1::Image::default());
            let result = ImportResult { source_tag: source_tag.into(), image, ..ImportResult::default() };
            let answer = ImportResponse { results: vec![result], ..ImportResponse::default() };
            let text = report(&answer, "app", false, recorded::now());
            text.lines().find(|line| line.starts_with("Image Name:")).map(str::to_owned)
        };
        assert_eq!(image("v1").as_deref(), Some("Image Name:\tapp:v1"));
        assert_eq!(image("").as_deref(), Some("Image Name:\tapp:latest"));
    }

    #[test]
    fn what_was_left_out_is_told_at_the_end() {
        let answer =
            ImportResponse { additional_tags: vec!["dev".into(), "v2".into()], ..ImportResponse::default() };
        let want = "imagestream.image.openshift.io/many imported (dry run)\n\n\ninfo: The remote repository contained 2 additional tags which were not imported: dev, v2\n\n";
        assert_eq!(report(&answer, "many", true, recorded::now()), want);
    }
}
