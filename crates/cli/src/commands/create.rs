//! `tagtrail create imagestream|imagestreamtag` (spec §4.9).

use std::collections::BTreeMap;

use tagtrail_api::v1::{CreateImageStreamRequest, ImportPolicy, SetTagRequest, SourceKind, TagSource};
use tagtrail_domain::ImageReference;

use crate::commands::tag::{import_mode, reference_policy};
use crate::context::Context;
use crate::failure::Failure;
use crate::kinds::stream_and_tag;

/// What to create.
#[derive(clap::Subcommand)]
pub(crate) enum Create {
    /// Create an empty image stream
    #[command(visible_alias = "is")]
    Imagestream(StreamArgs),
    /// Create a tag
    #[command(visible_alias = "istag")]
    Imagestreamtag(TagArgs),
}

/// An empty image stream.
#[derive(clap::Args)]
pub(crate) struct StreamArgs {
    /// Its name
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Let unqualified image names resolve to its tags
    #[arg(long)]
    lookup_local: bool,
    /// Only check, change nothing
    #[arg(long)]
    dry_run: bool,
}

/// A tag.
#[derive(clap::Args)]
pub(crate) struct TagArgs {
    /// STREAM:TAG
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// A tag (stream:tag) or image (stream@digest) to point at
    #[arg(long, value_name = "NAME")]
    from: Option<String>,
    /// A container image to point at
    #[arg(long, value_name = "IMAGE")]
    from_image: Option<String>,
    /// Only point at the source, never import it
    #[arg(long)]
    reference: bool,
    /// Look again and again
    #[arg(long)]
    scheduled: bool,
    /// Allow plain HTTP and unverified certificates
    #[arg(long)]
    insecure: bool,
    /// How consumers shall pull: Source or Local
    #[arg(long, value_name = "POLICY", default_value = "Source")]
    reference_policy: String,
    /// What to make of an image index: Legacy or PreserveOriginal
    #[arg(long, value_name = "MODE", default_value = "Legacy")]
    import_mode: String,
    /// An annotation of the tag, KEY=VALUE; may be given several times
    #[arg(long = "annotation", value_name = "KEY=VALUE", action = clap::ArgAction::Append)]
    annotations: Vec<String>,
    /// The old way to say --annotation
    #[arg(short = 'A', value_name = "KEY=VALUE", hide = true, action = clap::ArgAction::Append)]
    old_annotations: Vec<String>,
}

/// Creates something.
pub(crate) async fn run(create: Create, context: &mut Context) -> Result<(), Failure> {
    match create {
        Create::Imagestream(args) => stream(args, context).await,
        Create::Imagestreamtag(args) => tag(args, context).await,
    }
}

async fn stream(args: StreamArgs, context: &mut Context) -> Result<(), Failure> {
    let name = one_name(&args.names, "imagestream")?;
    let client = context.client()?;
    let request = CreateImageStreamRequest {
        namespace: context.namespace.clone(),
        name: name.clone(),
        lookup_local: args.lookup_local,
        dry_run: args.dry_run,
        write: Some(context.write_options(0)),
        ..CreateImageStreamRequest::default()
    };
    client.streams().create_image_stream(request).await.map_err(|status| client.refusal(&status))?;
    let dry = if args.dry_run { " (dry run)" } else { "" };
    context.print(&format!("imagestream.image.openshift.io/{name} created{dry}\n"))
}

async fn tag(args: TagArgs, context: &mut Context) -> Result<(), Failure> {
    let name = one_name(&args.names, "imagestreamtag")?;
    for _ in &args.old_annotations {
        context.warn("Flag shorthand -A has been deprecated, please use --annotation instead.")?;
    }
    let Some((stream, tag)) = stream_and_tag(&name) else {
        let text = format!("Error from server: \"{name}\" must be of the form <stream_name>:<tag>");
        return Err(Failure::Server { text, not_found: false });
    };
    let invalid = |field: &str, value: &str, valid: &str| {
        Failure::invalid(
            "ImageStream",
            stream,
            &format!("spec.tags[{tag}].{field}: Invalid value: \"{value}\": {valid}"),
        )
    };
    if !matches!(&*args.reference_policy.to_lowercase(), "source" | "local") {
        let valid = "valid values are \"Source\", \"Local\"";
        return Err(invalid("referencePolicy.type", &args.reference_policy, valid));
    }
    if !matches!(&*args.import_mode, "" | "Legacy" | "PreserveOriginal") {
        let valid = "invalid import mode, valid modes are '', 'Legacy', 'PreserveOriginal'";
        return Err(invalid("importPolicy.importMode", &args.import_mode, valid));
    }
    let client = context.client()?;
    let request = SetTagRequest {
        namespace: context.namespace.clone(),
        name: stream.to_owned(),
        tag: tag.to_owned(),
        source: source(&args)?,
        // What is named here is followed, not copied, as far as it is in the same stream.
        alias: args.from.is_some(),
        reference: args.reference,
        import_policy: Some(ImportPolicy {
            insecure: args.insecure,
            scheduled: args.scheduled,
            import_mode: import_mode(Some(&args.import_mode)).into(),
            interval_seconds: 0,
        }),
        reference_policy: reference_policy(&args.reference_policy).into(),
        create: true,
        annotations: annotations(args.annotations.iter().chain(&args.old_annotations))?,
        write: Some(context.write_options(0)),
        ..SetTagRequest::default()
    };
    client.tags().set_tag(request).await.map_err(|status| client.refusal(&status))?;
    context.print(&format!("imagestreamtag.image.openshift.io/{name} created\n"))
}

fn one_name(names: &[String], kind: &str) -> Result<String, Failure> {
    match names {
        [name] => Ok(name.clone()),
        _ => Err(Failure::Usage {
            message: format!("exactly one NAME is required, got {}", names.len()),
            hint: format!("See 'tagtrail create {kind} -h' for help and examples"),
        }),
    }
}

fn source(args: &TagArgs) -> Result<Option<TagSource>, Failure> {
    let given = |flag: &Option<String>| flag.clone().filter(|text| !text.is_empty());
    match (given(&args.from), given(&args.from_image)) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(Failure::client("--from and --from-image may not be used together")),
        (None, Some(name)) => {
            Ok(Some(TagSource { kind: SourceKind::DockerImage.into(), namespace: String::new(), name }))
        }
        (Some(text), None) => {
            let reference = ImageReference::parse(&text)
                .map_err(|error| Failure::client(format!("invalid --from: {error}")))?;
            let ImageReference { registry, namespace, name, tag, digest } = reference;
            if !registry.is_empty() {
                return Err(Failure::client(
                    "--from must name a tag or an image of an image stream; for others use --from-image",
                ));
            }
            Ok(Some(match (digest, &*tag) {
                (Some(digest), _) => TagSource {
                    kind: SourceKind::ImageStreamImage.into(),
                    namespace,
                    name: format!("{name}@{digest}"),
                },
                (None, "") => {
                    return Err(Failure::client(format!(
                        "\"{text}\" must be of the form <stream_name>:<tag>"
                    )));
                }
                (None, tag) => TagSource {
                    kind: SourceKind::ImageStreamTag.into(),
                    namespace,
                    name: format!("{name}:{tag}"),
                },
            }))
        }
    }
}

fn annotations<'a>(list: impl Iterator<Item = &'a String>) -> Result<BTreeMap<String, String>, Failure> {
    let pair = |text: &String| match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(Failure::client(format!("--annotation \"{text}\" must be of the form KEY=VALUE"))),
    };
    list.map(pair).collect()
}
