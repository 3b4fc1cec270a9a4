//! `-o`: objects in the format that was asked for.

use std::fs;
use std::io::ErrorKind;

use serde_json::Value;

use crate::failure::Failure;
use crate::k8s;
use crate::print::age::Now;
use crate::print::columns::{self, Columns, ColumnsError};
use crate::print::jsonpath::{self, PathError};
use crate::print::table::{self, Layout, Object};
use crate::print::{json, template, yaml};

/// How objects are to be shown.
pub(crate) struct View {
    format: Format,
    /// How their table is laid out, if it is one.
    pub(crate) layout: Layout,
    order: Option<String>,
}

/// What the flags say about how to show objects. Each as it was typed; empty where it was not.
#[derive(Clone, Copy, Default)]
pub(crate) struct Wanted<'a> {
    /// `-o`
    pub(crate) output: &'a str,
    /// `--template`
    pub(crate) template: &'a str,
    /// `--sort-by`
    pub(crate) sort_by: &'a str,
    /// `--allow-missing-template-keys=false`
    pub(crate) strict: bool,
}

/// In which of the formats of `-o`.
enum Format {
    Table { wide: bool },
    Name,
    Json,
    Yaml,
    Revision,
    JsonPath { text: String, template: jsonpath::Template, as_json: bool },
    Columns(Columns),
    GoTemplate { text: String, template: template::Template },
}

/// The formats that kubectl names where it knows none of that name.
const FORMATS: &str = "custom-columns,custom-columns-file,go-template,go-template-file,json,jsonpath,jsonpath-as-json,jsonpath-file,name,template,templatefile,wide,yaml";

impl View {
    /// Reads the flags.
    ///
    /// # Errors
    /// [`Failure::Client`] with what is wrong about them.
    pub(crate) fn parse(wanted: Wanted<'_>, layout: Layout) -> Result<Self, Failure> {
        let format = Format::parse(wanted)?;
        if layout.labels && !matches!(format, Format::Table { .. }) {
            let output = wanted.output;
            return Err(Failure::client(format!(
                "--show-labels option cannot be used with {output} printer"
            )));
        }
        let order = Some(wanted.sort_by).filter(|path| !path.is_empty()).map(str::to_owned);
        Ok(Self { format, layout, order })
    }

    /// Whether all of the history is looked at, not only what is newest.
    pub(crate) fn wants_history(&self) -> bool {
        self.order.is_some() || !matches!(self.format, Format::Table { .. } | Format::Name | Format::Revision)
    }

    /// Whether it is for people, who want to be told of nothing too.
    pub(crate) fn is_table(&self) -> bool {
        matches!(self.format, Format::Table { .. })
    }

    /// Shows objects on `out`. `single`: one was asked for by name, so that it stands alone and not in a list.
    ///
    /// # Errors
    /// [`Failure::Client`] for a template that does not fit the objects. What was printed before stays printed.
    pub(crate) fn render(
        &self,
        mut objects: Vec<Object>,
        single: bool,
        now: Now,
        out: &mut String,
    ) -> Result<(), Failure> {
        // What stands alone is in order, whatever the path.
        let alone = if self.is_table() { objects.len() < 2 } else { single };
        if let Some(path) = self.order.as_ref().filter(|_| !alone) {
            objects = sorted(objects, path)?;
        }
        match &self.format {
            Format::Table { wide } => {
                out.push_str(&tables(&objects, &Layout { wide: *wide, ..self.layout.clone() }, now));
                Ok(())
            }
            format => format.print(&objects, single, self.layout.no_headers, out),
        }
    }
}

/// One table for each kind, a blank line between them.
fn tables(objects: &[Object], layout: &Layout, now: Now) -> String {
    let of_one_kind = objects.chunk_by(|a, b| a.kind() == b.kind());
    of_one_kind.map(|objects| table::print(objects, layout, now)).collect::<Vec<_>>().join("\n")
}

fn sorted(objects: Vec<Object>, path: &str) -> Result<Vec<Object>, Failure> {
    let values: Vec<Value> = objects.iter().map(Object::to_json).collect();
    let places = columns::order(path, &values).map_err(Failure::client)?;
    Ok(places.into_iter().map(|place| objects[place].clone()).collect())
}

impl Format {
    fn parse(wanted: Wanted<'_>) -> Result<Self, Failure> {
        let Wanted { output, template, strict, .. } = wanted;
        let output = if output.is_empty() && !template.is_empty() { "go-template" } else { output };
        // Only these may be written in any case, and take nothing behind them.
        match &*output.to_lowercase() {
            "json" => return Ok(Self::Json),
            "yaml" => return Ok(Self::Yaml),
            "name" => return Ok(Self::Name),
            _ => {}
        }
        let (word, value) = output.split_once('=').unwrap_or((output, template));
        let value = || match value {
            "" => Err(Failure::client("template format specified but no template given")),
            value => Ok(value),
        };
        let file = || read("error reading --template", value()?);
        let path = |text: &str, as_json: bool| {
            let template = jsonpath::Template::parse(text)
                .map_err(|error| Failure::client(format!("error parsing jsonpath {text}, {error}")))?;
            Ok(Self::JsonPath { text: text.to_owned(), template: template.strict(strict), as_json })
        };
        let go = |text: &str| {
            let template = template::Template::parse(text)
                .map_err(|error| Failure::client(format!("error parsing template {text}, {error}")))?;
            Ok(Self::GoTemplate { text: text.to_owned(), template })
        };
        let columns =
            |columns: Result<Columns, ColumnsError>| columns.map(Self::Columns).map_err(Failure::client);
        match word {
            _ if output.is_empty() => Ok(Self::Table { wide: false }),
            "wide" if output == word => Ok(Self::Table { wide: true }),
            "revision" if output == word => Ok(Self::Revision),
            "jsonpath" => path(value()?, false),
            "jsonpath-as-json" => path(value()?, true),
            "jsonpath-file" => path(&file()?, false),
            "go-template" | "template" => go(value()?),
            "go-template-file" | "templatefile" => go(&file()?),
            "custom-columns" => columns(Columns::parse(value().unwrap_or_default())),
            "custom-columns-file" => match value() {
                Ok(path) => columns(Columns::parse_file(&read("error reading template", path)?)),
                Err(_) => columns(Err(ColumnsError::Empty)),
            },
            _ => Err(Failure::client(format!(
                "unable to match a printer suitable for the output format {}, allowed formats are: {FORMATS}",
                jsonpath::go_quoted(output)
            ))),
        }
    }

    fn print(
        &self,
        objects: &[Object],
        single: bool,
        no_headers: bool,
        out: &mut String,
    ) -> Result<(), Failure> {
        let each = || objects.iter().map(Object::to_json);
        let whole = || match objects {
            [object] if single => object.to_json(),
            _ => k8s::list(each().collect()),
        };
        match self {
            Self::Table { .. } => {}
            Self::Name => {
                out.extend(objects.iter().map(|o| format!("{}/{}\n", o.kind().singular(), o.name())));
            }
            Self::Json => out.push_str(&json::pretty(&whole())),
            Self::Yaml => out.push_str(&yaml::document(&whole())),
            Self::Revision => {
                for object in objects {
                    out.push_str(&revision(object)?);
                }
            }
            Self::JsonPath { text, template, as_json } => {
                let root = whole();
                let found = template.find(&root).map_err(|error| unfit(text, &error, &root))?;
                if *as_json {
                    out.extend(found.iter().map(|values| {
                        json::pretty(&values.iter().map(|value| value.clone().into_owned()).collect())
                    }));
                } else {
                    out.extend(found.iter().map(jsonpath::line));
                }
            }
            Self::Columns(columns) => {
                columns.print(&each().collect::<Vec<_>>(), no_headers, out).map_err(Failure::client)?;
            }
            Self::GoTemplate { text, template } => {
                let printed = template.print(&whole());
                let quoted = jsonpath::go_quoted(text);
                out.push_str(&printed.map_err(|error| {
                    Failure::client(format!("error executing template {quoted}: {error}"))
                })?);
            }
        }
        Ok(())
    }
}

/// What kubectl says where a JSON path does not fit: the object too, as Go has it.
fn unfit(text: &str, error: &PathError, root: &Value) -> Failure {
    Failure::client(format!(
        "error executing jsonpath {}: Error executing template: {error}. Printing more information for debugging the template:\n\ttemplate was:\n\t\t{text}\n\tobject given to jsonpath engine was:\n\t\t{}\n\n",
        jsonpath::go_quoted(text),
        jsonpath::go_syntax(root)
    ))
}

fn read(doing: &str, path: &str) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| {
        let why = match error.kind() {
            ErrorKind::NotFound => "no such file or directory".to_owned(),
            ErrorKind::PermissionDenied => "permission denied".to_owned(),
            _ => error.to_string(),
        };
        Failure::client(format!("{doing} {path}, open {path}: {why}"))
    })
}

/// The number that `--expect-revision` compares with.
fn revision(object: &Object) -> Result<String, Failure> {
    let stream =
        object.stream().ok_or_else(|| Failure::client("an image has no revision: it never changes"))?;
    Ok(format!("{}\n", stream.revision))
}
