//! `tagtrail create imagestream|imagestreamtag` (spec §4.9); `create secret` is in [`secret`].

use std::collections::BTreeMap;

use serde_json::Value;
use tagtrail_api::v1::{
    CreateImageStreamRequest, Entry, ImageStream, ImageStreamTag, ImportPolicy, ReferencePolicy,
    SetTagRequest, SourceKind, TagSource, TagSpec,
};
use tagtrail_domain::ImageReference;

use crate::commands::secret;
use crate::commands::tag::{import_mode, reference_policy};
use crate::context::Context;
use crate::failure::Failure;
use crate::flags::{DryRun, dry_run};
use crate::k8s;
use crate::kinds::stream_and_tag;
use crate::print::{json, yaml};

/// What to create.
#[derive(clap::Subcommand)]
pub(crate) enum Create {
    /// Create an empty image stream
    #[command(visible_alias = "is")]
    Imagestream(StreamArgs),
    /// Create a tag
    #[command(visible_alias = "istag")]
    Imagestreamtag(TagArgs),
    /// Create a pull secret: credentials for registries
    #[command(subcommand)]
    Secret(secret::Create),
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
    /// Only check, change nothing: none, client or server
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "none", default_missing_value = "client", value_name = "KIND", value_parser = dry_run)]
    dry_run: DryRun,
    /// Print what was created: name, json or yaml
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<String>,
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
    /// How consumers shall pull: Source or Local [default: Source]
    #[arg(long, value_name = "POLICY", default_value = "", hide_default_value = true)]
    reference_policy: String,
    /// What to make of an image index: Legacy or PreserveOriginal
    #[arg(long, value_name = "MODE", default_value = "Legacy")]
    import_mode: String,
    /// Annotations of the tag, KEY=VALUE,KEY=VALUE...; may be given several times
    #[arg(long = "annotation", value_name = "KEY=VALUE", value_delimiter = ',', action = clap::ArgAction::Append)]
    annotations: Vec<String>,
    /// Only check, change nothing: none, client or server
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "none", default_missing_value = "client", value_name = "KIND", value_parser = dry_run)]
    dry_run: DryRun,
    /// Print what was created: name, json or yaml
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<String>,
    /// The old way to say --annotation
    #[arg(short = 'A', value_name = "KEY=VALUE", value_delimiter = ',', hide = true, action = clap::ArgAction::Append)]
    old_annotations: Vec<String>,
}

/// Creates something.
pub(crate) async fn run(create: Create, context: &mut Context) -> Result<(), Failure> {
    match create {
        Create::Imagestream(args) => stream(args, context).await,
        Create::Imagestreamtag(args) => tag(args, context).await,
        Create::Secret(create) => secret::run(create, context).await,
    }
}

async fn stream(args: StreamArgs, context: &mut Context) -> Result<(), Failure> {
    let name = one_name(&args.names, "imagestream")?;
    let output = Output::parse(args.output.as_deref())?;
    let wished =
        ImageStream { name: name.clone(), lookup_local: args.lookup_local, ..ImageStream::default() };
    let created = if args.dry_run == DryRun::Client {
        None
    } else {
        let client = context.client()?;
        let request = CreateImageStreamRequest {
            namespace: context.namespace.clone(),
            name: name.clone(),
            lookup_local: args.lookup_local,
            dry_run: args.dry_run.is_dry(),
            write: Some(context.write_options(0)),
            ..CreateImageStreamRequest::default()
        };
        let answer = client.streams().create_image_stream(request).await;
        answer.map_err(|status| client.refusal(&status))?.into_inner().stream
    };
    let object = k8s::image_stream(created.as_ref().unwrap_or(&wished));
    context.print(&output.print(&format!("imagestream.image.openshift.io/{name}"), args.dry_run, || object))
}

async fn tag(args: TagArgs, context: &mut Context) -> Result<(), Failure> {
    for _ in &args.old_annotations {
        context.warn("Flag shorthand -A has been deprecated, please use --annotation instead.")?;
    }
    if !matches!(&*args.reference_policy.to_lowercase(), "" | "source" | "local") {
        return Err(Failure::client("valid values for --reference-policy are: source, local"));
    }
    if !matches!(&*args.import_mode, "" | "Legacy" | "PreserveOriginal") {
        return Err(Failure::client("valid ImportMode values are Legacy or PreserveOriginal"));
    }
    let name = one_name(&args.names, "imagestreamtag")?;
    let output = Output::parse(args.output.as_deref())?;
    let annotations = annotations(args.annotations.iter().chain(&args.old_annotations))?;
    let source = source(&args)?;
    let spec = TagSpec {
        source,
        reference: args.reference,
        import_policy: Some(ImportPolicy {
            insecure: args.insecure,
            scheduled: args.scheduled,
            import_mode: import_mode(Some(&args.import_mode)).into(),
            interval_seconds: 0,
        }),
        reference_policy: if args.reference_policy.is_empty() {
            ReferencePolicy::Unspecified.into()
        } else {
            reference_policy(&args.reference_policy).into()
        },
        annotations: annotations.into_iter().map(|(key, value)| Entry { key, value }).collect(),
        ..TagSpec::default()
    };
    let object = if args.dry_run == DryRun::Client {
        k8s::wished_tag(&name, &spec)
    } else {
        // What is named here is followed, not copied, as far as it is in the same stream.
        let alias = args.from.is_some();
        k8s::image_stream_tag(&create(&name, spec, alias, args.dry_run, context).await?)
    };
    let name = format!("imagestreamtag.image.openshift.io/{name}");
    context.print(&output.print(&name, args.dry_run, || object))
}

/// Has the server create a tag.
async fn create(
    name: &str,
    spec: TagSpec,
    alias: bool,
    dry_run: DryRun,
    context: &mut Context,
) -> Result<ImageStreamTag, Failure> {
    let refused = |text: String| Failure::Server { text, not_found: false };
    if let Some(c) = name.chars().find(|c| matches!(c, '/' | '%')) {
        let why = format!("metadata.name: Invalid value: \"{name}\": may not contain '{c}'");
        return Err(refused(format!("The ImageStreamTag \"{name}\" is invalid: {why}")));
    }
    let Some((stream, tag)) = stream_and_tag(name) else {
        let text = format!("Error from server: \"{name}\" must be of the form <stream_name>:<tag>");
        return Err(refused(text));
    };
    let client = context.client()?;
    let request = SetTagRequest {
        namespace: context.namespace.clone(),
        name: stream.to_owned(),
        tag: tag.to_owned(),
        source: spec.source,
        alias,
        reference: spec.reference,
        import_policy: spec.import_policy,
        reference_policy: spec.reference_policy,
        create: true,
        annotations: spec.annotations.into_iter().map(|entry| (entry.key, entry.value)).collect(),
        dry_run: dry_run.is_dry(),
        write: Some(context.write_options(0)),
        ..SetTagRequest::default()
    };
    let answer = client.tags().set_tag(request).await.map_err(|status| client.refusal(&status))?;
    Ok(answer.into_inner().tag.unwrap_or_default())
}

/// How what was created is shown.
pub(super) enum Output {
    Sentence,
    Name,
    Json,
    Yaml,
}

impl Output {
    pub(super) fn parse(format: Option<&str>) -> Result<Self, Failure> {
        match format {
            None | Some("") => Ok(Self::Sentence),
            Some("name") => Ok(Self::Name),
            Some("json") => Ok(Self::Json),
            Some("yaml") => Ok(Self::Yaml),
            Some(other) => Err(Failure::client(format!(
                "unable to match a printer suitable for the output format \"{other}\", allowed formats are: json,name,yaml"
            ))),
        }
    }

    pub(super) fn print(&self, name: &str, dry_run: DryRun, object: impl FnOnce() -> Value) -> String {
        match self {
            Self::Sentence => format!("{name} created{}\n", dry_run.remark()),
            Self::Name => format!("{name}\n"),
            Self::Json => json::typed(&object()),
            Self::Yaml => yaml::document(&object()),
        }
    }
}

pub(super) fn one_name(names: &[String], kind: &str) -> Result<String, Failure> {
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
            let kind = |digest: bool| {
                if digest { SourceKind::ImageStreamImage } else { SourceKind::ImageStreamTag }.into()
            };
            // `:tag` alone is a tag of the same stream, and so is a bare name.
            if let Some(tag) = text.strip_prefix(':') {
                return Ok(Some(TagSource {
                    kind: kind(false),
                    namespace: String::new(),
                    name: tag.to_owned(),
                }));
            }
            let reference = ImageReference::parse(&text).map_err(|error| {
                Failure::client(format!(
                    "Invalid --from, must be a valid image stream tag or image stream image: {error}"
                ))
            })?;
            let ImageReference { registry, namespace, name, tag, digest } = reference;
            if !registry.is_empty() {
                return Err(Failure::client("Invalid --from, registry may not be specified"));
            }
            let name = match (&digest, &*tag) {
                (Some(digest), _) => format!("{name}@{digest}"),
                (None, "") => name,
                (None, tag) => format!("{name}:{tag}"),
            };
            Ok(Some(TagSource { kind: kind(digest.is_some()), namespace, name }))
        }
    }
}

fn annotations<'a>(list: impl Iterator<Item = &'a String>) -> Result<BTreeMap<String, String>, Failure> {
    let pair = |text: &String| match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(Failure::client("annotations must be of the form name=value")),
    };
    list.map(pair).collect()
}
