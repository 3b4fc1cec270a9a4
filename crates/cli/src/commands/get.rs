//! `tagtrail get` (spec §4.4, §4.5): finds objects and prints them in one of many formats.

use std::cmp::Ordering;
use std::fs;

use serde_json::Value;
use tagtrail_api::v1::{ReadEventsRequest, event};

use crate::client::Client;
use crate::context::Context;
use crate::failure::Failure;
use crate::flags::on_off;
use crate::k8s;
use crate::kinds::{Kind, Targets, stream_and_id, stream_and_tag};
use crate::print::age::Now;
use crate::print::columns::{self, Columns};
use crate::print::jsonpath::{self, Path};
use crate::print::table::{self, Layout, Object};
use crate::print::{json, template, yaml};

/// Show objects: is (image streams), istag and itag (tags), isimage (images of a stream), image.
#[derive(clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "flags")]
pub(crate) struct Args {
    /// TYPE[,TYPE...] [NAME...], or TYPE/NAME...
    #[arg(value_name = "TYPE")]
    words: Vec<String>,
    /// wide, name, json, yaml, revision, jsonpath=..., jsonpath-file=..., custom-columns=..., custom-columns-file=...,
    /// go-template=... or go-template-file=...
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<String>,
    /// The template, where -o says only jsonpath or go-template
    #[arg(long, value_name = "TEXT")]
    template: Option<String>,
    /// Look in all namespaces
    #[arg(short = 'A', long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = on_off, hide_default_value = true)]
    all_namespaces: bool,
    /// Only those with these labels: a=b,c!=d,e in (f,g),!h
    #[arg(short = 'l', long, value_name = "SELECTOR", allow_hyphen_values = true)]
    selector: Option<String>,
    /// No headers
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = on_off, hide_default_value = true)]
    no_headers: bool,
    /// With the labels in the last column
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = on_off, hide_default_value = true)]
    show_labels: bool,
    /// In the order of what this path finds, such as .metadata.name
    #[arg(long, value_name = "PATH")]
    sort_by: Option<String>,
    /// Say nothing of what is not there
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = on_off, hide_default_value = true)]
    ignore_not_found: bool,
}

/// How the objects are to be printed.
enum Format {
    Table { wide: bool },
    Name,
    Json,
    Yaml,
    Revision,
    JsonPath(jsonpath::Template),
    Columns(Columns),
    GoTemplate(template::Template),
}

/// Finds objects and prints them.
pub(crate) async fn run(args: Args, context: &mut Context) -> Result<(), Failure> {
    let format = Format::parse(args.output.as_deref(), args.template.as_deref())?;
    let targets = Targets::parse(&args.words).map_err(Failure::client)?;
    let order = args.sort_by.as_deref().map(Path::parse_relaxed).transpose().map_err(Failure::client)?;
    let client = context.client()?;
    let namespace = if args.all_namespaces { "" } else { &context.namespace };
    let finder = Finder { client: &client, namespace, whole: format.wants_history() || order.is_some() };

    let mut objects = Vec::new();
    let mut failures = Vec::new();
    let single = matches!(&targets, Targets::Named { list, .. } if list.len() == 1);
    match &targets {
        Targets::Named { .. } if args.selector.is_some() => {
            return Err(Failure::client("name cannot be provided when a selector is specified"));
        }
        Targets::Named { .. } if args.all_namespaces => {
            return Err(Failure::client("a resource cannot be retrieved by name across all namespaces"));
        }
        Targets::Named { list, .. } => {
            for (kind, name) in list {
                match finder.named(*kind, name).await {
                    Ok(object) => objects.push(object),
                    Err(failure) if failure.is_not_found() && args.ignore_not_found => {}
                    Err(failure) => failures.push(failure),
                }
            }
        }
        Targets::All(kinds) => {
            for kind in kinds {
                objects.extend(finder.all(*kind, args.selector.as_deref().unwrap_or_default()).await?);
            }
        }
    }
    if let Some(order) = &order {
        sort(&mut objects, order)?;
    }
    let several_kinds = objects.iter().any(|object| object.kind() != objects[0].kind())
        || matches!(&targets, Targets::All(kinds) if kinds.len() > 1);
    let text = match &format {
        Format::Table { wide } => {
            let layout = Layout {
                wide: *wide,
                namespaces: args.all_namespaces,
                labels: args.show_labels,
                kinds: several_kinds,
                no_headers: args.no_headers,
            };
            if objects.is_empty() && failures.is_empty() && !args.ignore_not_found {
                let place = match &targets {
                    Targets::All(kinds) if args.all_namespaces || *kinds == [Kind::Image] => String::new(),
                    _ => format!(" in {} namespace.", context.namespace),
                };
                context.warn(&format!("No resources found{place}"))?;
            }
            tables(&objects, layout, Now::by_the_clock())
        }
        _ if objects.is_empty() && single => String::new(),
        format => format.print(&objects, single, args.no_headers)?,
    };
    context.print(&text)?;
    Failure::all(failures)
}

/// One table for each kind, a blank line between them.
fn tables(objects: &[Object], layout: Layout, now: Now) -> String {
    let of_one_kind = objects.chunk_by(|a, b| a.kind() == b.kind());
    of_one_kind.map(|objects| table::print(objects, layout, now)).collect::<Vec<_>>().join("\n")
}

fn sort(objects: &mut Vec<Object>, order: &Path) -> Result<(), Failure> {
    let mut pairs: Vec<(Value, Object)> =
        objects.drain(..).map(|object| (object.to_json(), object)).collect();
    let mut flaw = None;
    pairs.sort_by(|(a, _), (b, _)| {
        columns::compare(order, a, b).unwrap_or_else(|error| {
            flaw = Some(error);
            Ordering::Equal
        })
    });
    objects.extend(pairs.into_iter().map(|(_, object)| object));
    flaw.map_or(Ok(()), |error| Err(Failure::client(error)))
}

impl Format {
    fn parse(output: Option<&str>, template: Option<&str>) -> Result<Self, Failure> {
        let output = output.unwrap_or(if template.is_some() { "go-template" } else { "" });
        let (word, value) = match output.split_once('=') {
            Some((word, value)) => (word, Some(value)),
            None => (output, template),
        };
        let needs = || {
            Failure::client(format!("template format specified but no template given: write -o {word}=..."))
        };
        let value = || value.filter(|value| !value.is_empty()).ok_or_else(needs);
        let file = || {
            let path = value()?;
            fs::read_to_string(path).map_err(|error| Failure::client(format!("cannot read {path}: {error}")))
        };
        let path = |text: &str| {
            jsonpath::Template::parse(text)
                .map(Self::JsonPath)
                .map_err(|error| Failure::client(format!("error parsing jsonpath {text}, {error}")))
        };
        let go = |text: &str| {
            template::Template::parse(text)
                .map(Self::GoTemplate)
                .map_err(|error| Failure::client(format!("error parsing template {text}, {error}")))
        };
        match word {
            "" => Ok(Self::Table { wide: false }),
            "wide" => Ok(Self::Table { wide: true }),
            "name" => Ok(Self::Name),
            "json" => Ok(Self::Json),
            "yaml" => Ok(Self::Yaml),
            "revision" => Ok(Self::Revision),
            "jsonpath" => path(value()?),
            "jsonpath-file" => path(&file()?),
            "go-template" | "template" => go(value()?),
            "go-template-file" | "templatefile" => go(&file()?),
            "custom-columns" => {
                Columns::parse(value().unwrap_or_default()).map(Self::Columns).map_err(Failure::client)
            }
            "custom-columns-file" => {
                Columns::parse_file(&file()?).map(Self::Columns).map_err(Failure::client)
            }
            _ => Err(Failure::client(format!(
                "unable to match a printer suitable for the output format \"{output}\", allowed formats are: custom-columns,custom-columns-file,go-template,go-template-file,json,jsonpath,jsonpath-file,name,revision,template,templatefile,wide,yaml"
            ))),
        }
    }

    /// Whether all of the history is looked at, not only what is newest.
    fn wants_history(&self) -> bool {
        !matches!(self, Self::Table { .. } | Self::Name | Self::Revision)
    }

    fn print(&self, objects: &[Object], single: bool, no_headers: bool) -> Result<String, Failure> {
        let each = || objects.iter().map(Object::to_json);
        let whole = || match objects {
            [object] if single => object.to_json(),
            _ => k8s::list(each().collect()),
        };
        match self {
            Self::Table { .. } => Ok(String::new()),
            Self::Name => {
                Ok(objects.iter().map(|o| format!("{}/{}\n", o.kind().singular(), o.name())).collect())
            }
            Self::Json => Ok(json::pretty(&whole())),
            Self::Yaml => Ok(yaml::document(&whole())),
            Self::Revision => objects.iter().map(revision).collect(),
            Self::JsonPath(template) => template
                .print(&whole())
                .map_err(|error| Failure::client(format!("error executing jsonpath: {error}"))),
            Self::Columns(columns) => {
                columns.print(&each().collect::<Vec<_>>(), !no_headers).map_err(Failure::client)
            }
            Self::GoTemplate(template) => template
                .print(&whole())
                .map_err(|error| Failure::client(format!("error executing template: {error}"))),
        }
    }
}

/// The number that `--expect-revision` compares with.
fn revision(object: &Object) -> Result<String, Failure> {
    let stream =
        object.stream().ok_or_else(|| Failure::client("an image has no revision: it never changes"))?;
    Ok(format!("{}\n", stream.revision))
}

/// Asks the server for objects.
pub(crate) struct Finder<'a> {
    /// The server.
    pub(crate) client: &'a Client,
    /// Where to look. Empty: everywhere.
    pub(crate) namespace: &'a str,
    /// Whether to fetch all of the history.
    pub(crate) whole: bool,
}

impl Finder<'_> {
    /// The object of that name.
    pub(crate) async fn named(&self, kind: Kind, name: &str) -> Result<Object, Failure> {
        let Self { client, namespace, whole } = self;
        match kind {
            Kind::Stream if *whole => Ok(Object::Stream(client.whole_stream(namespace, name).await?)),
            Kind::Stream => Ok(Object::Stream(client.stream(namespace, name, 1).await?)),
            Kind::StreamTag | Kind::ImageTag => {
                let (stream, tag) = stream_and_tag(name).ok_or_else(|| bad_name(kind))?;
                let mut found = client.tag(namespace, stream, tag, kind == Kind::ImageTag).await?;
                if let (true, Some(stream)) = (whole, &mut found.stream) {
                    client.fill_history(stream).await?;
                }
                Ok(if kind == Kind::ImageTag { Object::ImageTag(found) } else { Object::StreamTag(found) })
            }
            Kind::StreamImage => {
                let (stream, id) = stream_and_id(name).ok_or_else(|| bad_name(kind))?;
                let (stream, image) = client.stream_image(namespace, stream, id).await?;
                Ok(Object::StreamImage { stream, image, name: name.to_owned() })
            }
            Kind::Image => Ok(Object::Image(client.image(name).await?)),
        }
    }

    /// All objects of a kind.
    pub(crate) async fn all(&self, kind: Kind, selector: &str) -> Result<Vec<Object>, Failure> {
        match kind {
            Kind::StreamImage => {
                return Err(Failure::server(
                    "NotFound",
                    "Unable to list \"image.openshift.io/v1, Resource=imagestreamimages\": the server could not find the requested resource",
                ));
            }
            Kind::Image => return self.all_images().await,
            Kind::Stream | Kind::StreamTag | Kind::ImageTag => {}
        }
        let mut streams = self.client.list_streams(self.namespace, selector, u32::from(!self.whole)).await?;
        if self.whole {
            for stream in &mut streams {
                self.client.fill_history(stream).await?;
            }
        }
        Ok(match kind {
            Kind::Stream => streams.into_iter().map(Object::Stream).collect(),
            Kind::StreamTag => {
                streams.iter().flat_map(|s| table::tags_of(s, true)).map(Object::StreamTag).collect()
            }
            _ => streams.iter().flat_map(|s| table::tags_of(s, false)).map(Object::ImageTag).collect(),
        })
    }

    /// All images ever recorded, by digest. The log is the one list of them.
    async fn all_images(&self) -> Result<Vec<Object>, Failure> {
        let mut digests = Vec::new();
        let mut request = ReadEventsRequest::default();
        loop {
            let page = self.client.events().read_events(request.clone()).await;
            let page = page.map_err(|status| self.client.refusal(&status))?.into_inner();
            let recorded = page.events.into_iter().filter_map(|event| match event.fact {
                Some(event::Fact::ImageRecorded(image)) => Some(image.digest),
                _ => None,
            });
            digests.extend(recorded);
            if page.next_sequence > page.head {
                break;
            }
            request.from_sequence = page.next_sequence;
        }
        digests.sort_unstable();
        digests.dedup();
        let mut images = Vec::with_capacity(digests.len());
        for digest in digests {
            images.push(Object::Image(self.client.image(&digest).await?));
        }
        Ok(images)
    }
}

fn bad_name(kind: Kind) -> Failure {
    let form = if kind == Kind::StreamImage { "<name>@<id>" } else { "<name>:<tag>" };
    Failure::server("BadRequest", &format!("{} must be retrieved with {form}", kind.plural_words()))
}
