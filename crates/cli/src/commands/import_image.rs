//! `tagtrail import-image NAME[:TAG]` (spec §2.10, §4.8). The server decides what is to be imported from where.

use tagtrail_api::v1::{ImportRequest, ImportResponse, ImportResult};
use tagtrail_domain::ImageReference;

use crate::commands::tag::{import_mode, reference_policy};
use crate::context::Context;
use crate::failure::Failure;
use crate::flags::on_off;
use crate::k8s;
use crate::print::age::Now;
use crate::print::image::{self, Presentation};
use crate::print::{describe, json, yaml};

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
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = on_off, hide_default_value = true)]
    confirm: bool,
    /// Import all tags, or all of a repository
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = on_off, hide_default_value = true)]
    all: bool,
    /// Look again and again from now on
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = on_off, hide_default_value = true)]
    scheduled: bool,
    /// Allow plain HTTP and unverified certificates
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = on_off)]
    insecure: Option<bool>,
    /// Only look, change nothing
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = on_off, hide_default_value = true)]
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
}

/// Imports.
pub(crate) async fn run(args: Args, context: &mut Context) -> Result<(), Failure> {
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
        insecure: args.insecure,
        import_mode: import_mode(Some(&args.import_mode)).into(),
        reference_policy: reference_policy(&args.reference_policy).into(),
        dry_run: args.dry_run,
        write: Some(context.write_options(0)),
    };
    let answer = client.imports().import(request).await.map_err(|status| client.refusal(&status))?;
    let mut answer = answer.into_inner();
    match (args.output.as_deref(), &answer.stream) {
        (None, _) => {
            if let Some(description) = &mut answer.description {
                client.fill_description(description).await?;
            }
            context.print(&report(&answer, &name, args.dry_run, Now::by_the_clock()))?;
        }
        (Some("json"), Some(stream)) => context.print(&json::pretty(&k8s::image_stream(stream)))?,
        (Some("yaml"), Some(stream)) => context.print(&yaml::document(&k8s::image_stream(stream)))?,
        (Some(_), _) => context.print(&format!("imagestream.image.openshift.io/{name}\n"))?,
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
        // The image goes by the tag it has at its source.
        let shown = Presentation { name: &format!("{name}:{source_tag}"), ..Presentation::default() };
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

/// A line for each image that could not be imported, for standard error.
fn complaints(answer: &ImportResponse) -> Vec<String> {
    let complaint = |result: &ImportResult| {
        let failure = result.failure.as_ref()?;
        let what = if result.from_repository { "repository tag" } else { "tag" };
        Some(format!("error: {what} {} failed: {}", result.source_tag, failure.message))
    };
    answer.results.iter().filter_map(complaint).collect()
}
