//! `-o`: objects in the format that was asked for.

use std::cmp::Ordering;
use std::fs;

use serde_json::Value;

use crate::failure::Failure;
use crate::k8s;
use crate::print::age::Now;
use crate::print::columns::{self, Columns};
use crate::print::jsonpath::{self, Path};
use crate::print::table::{self, Layout, Object};
use crate::print::{json, template, yaml};

/// How objects are to be shown.
pub(crate) struct View {
    format: Format,
    /// How their table is laid out, if it is one.
    layout: Layout,
    order: Option<Path>,
}

/// In which of the formats of `-o`.
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

impl View {
    /// Reads `-o`, `--template` and `--sort-by`.
    ///
    /// # Errors
    /// [`Failure::Client`] with what is wrong about them.
    pub(crate) fn parse(
        output: Option<&str>,
        template: Option<&str>,
        sort_by: Option<&str>,
        layout: Layout,
    ) -> Result<Self, Failure> {
        let order = sort_by.map(Path::parse_relaxed).transpose().map_err(Failure::client)?;
        Ok(Self { format: Format::parse(output, template)?, layout, order })
    }

    /// The same, with the kind before each name, or without.
    pub(crate) fn naming_kinds(mut self, kinds: bool) -> Self {
        self.layout.kinds = kinds;
        self
    }

    /// Whether all of the history is looked at, not only what is newest.
    pub(crate) fn wants_history(&self) -> bool {
        self.order.is_some() || !matches!(self.format, Format::Table { .. } | Format::Name | Format::Revision)
    }

    /// Whether it is for people, who want to be told of nothing too.
    pub(crate) fn is_table(&self) -> bool {
        matches!(self.format, Format::Table { .. })
    }

    /// Shows objects. `single`: one was asked for by name, so that it stands alone and not in a list.
    ///
    /// # Errors
    /// [`Failure::Client`] for a template that does not fit the objects.
    pub(crate) fn render(&self, mut objects: Vec<Object>, single: bool, now: Now) -> Result<String, Failure> {
        if let Some(order) = &self.order {
            sort(&mut objects, order)?;
        }
        match &self.format {
            Format::Table { wide } => {
                Ok(tables(&objects, &Layout { wide: *wide, ..self.layout.clone() }, now))
            }
            format => format.print(&objects, single, self.layout.no_headers),
        }
    }
}

/// One table for each kind. A blank line stands before the headers of a further one.
fn tables(objects: &[Object], layout: &Layout, now: Now) -> String {
    let of_one_kind = objects.chunk_by(|a, b| a.kind() == b.kind());
    let between = if layout.no_headers { "" } else { "\n" };
    of_one_kind.map(|objects| table::print(objects, layout, now)).collect::<Vec<_>>().join(between)
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
