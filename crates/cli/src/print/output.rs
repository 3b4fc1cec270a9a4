//! `-o`: objects in the format that was asked for.

pub(crate) mod changes;

use std::fs;
use std::io::ErrorKind;

use serde_json::Value;

use crate::failure::Failure;
use crate::k8s;
use crate::kinds::Kind;
use crate::print::age::Now;
use crate::print::columns::{self, Columns, ColumnsError};
use crate::print::jsonpath::{self, PathError};
use crate::print::table::{self, Layout, Object};
use crate::print::{go, json, template, yaml};

/// How objects are to be shown.
pub(crate) struct View {
    format: Format,
    /// How their table is laid out, if it is one.
    layout: Layout,
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

    /// Shows objects on `out`. `single`: one was asked for by name, so that it stands alone and not in a list.
    ///
    /// # Errors
    /// [`Failure::Client`] for a template that does not fit the objects. What was printed before stays printed.
    pub(crate) fn render(
        &self,
        objects: Vec<Object>,
        single: bool,
        now: Now,
        out: &mut String,
    ) -> Result<(), Failure> {
        match &self.format {
            Format::Table { wide } => {
                let layout = Layout { wide: *wide, ..self.layout.clone() };
                // One table for each kind, in its own order. A blank line stands before the headers of a further one.
                let between = if layout.no_headers { "" } else { "\n" };
                let tables = objects.chunk_by(|a, b| a.kind() == b.kind()).map(|objects| {
                    let objects = self.sorted(objects.to_vec(), objects.len() == 1)?;
                    Ok(table::print(&objects, &layout, now))
                });
                out.push_str(&tables.collect::<Result<Vec<_>, Failure>>()?.join(between));
                Ok(())
            }
            format => format.print(&self.sorted(objects, single)?, single, self.layout.no_headers, out),
        }
    }

    /// The objects in the order that is wanted. What stands `alone` is in order, whatever the path.
    fn sorted(&self, objects: Vec<Object>, alone: bool) -> Result<Vec<Object>, Failure> {
        let Some(path) = self.order.as_ref().filter(|_| !alone) else { return Ok(objects) };
        let values: Vec<Value> = objects.iter().map(Object::to_json).collect();
        let places = columns::order(path, &values).map_err(Failure::client)?;
        Ok(places.into_iter().map(|place| objects[place].clone()).collect())
    }
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
            Ok(Self::GoTemplate { text: text.to_owned(), template: template.strict(strict) })
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
                go::quoted(output)
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
            Self::JsonPath { .. } | Self::GoTemplate { .. } => self.fill(&whole(), out)?,
            Self::Columns(columns) => {
                columns.print(&each().collect::<Vec<_>>(), no_headers, out).map_err(Failure::client)?;
            }
        }
        Ok(())
    }

    /// Prints a value by a template, if this is one.
    fn fill(&self, root: &Value, out: &mut String) -> Result<(), Failure> {
        match self {
            Self::JsonPath { text, template, as_json } => {
                let found = template.find(root).map_err(|error| unfit(text, &error, root))?;
                if *as_json {
                    out.extend(found.iter().map(|values| {
                        json::pretty(&values.iter().map(|value| value.clone().into_owned()).collect())
                    }));
                } else {
                    out.extend(found.iter().map(jsonpath::line));
                }
            }
            Self::GoTemplate { text, template } => {
                let printed = template.print(root);
                let quoted = go::quoted(text);
                out.push_str(&printed.map_err(|error| {
                    Failure::client(format!("error executing template {quoted}: {error}"))
                })?);
            }
            Self::Table { .. } | Self::Name | Self::Json | Self::Yaml | Self::Revision | Self::Columns(_) => {
            }
        }
        Ok(())
    }
}

/// What kubectl says where a JSON path does not fit: the object too, as Go has it.
fn unfit(text: &str, error: &PathError, root: &Value) -> Failure {
    Failure::client(format!(
        "error executing jsonpath {}: Error executing template: {error}. Printing more information for debugging the template:\n\ttemplate was:\n\t\t{text}\n\tobject given to jsonpath engine was:\n\t\t{}\n\n",
        go::quoted(text),
        go::syntax(root)
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
    let stream = object.stream().ok_or_else(|| {
        Failure::client(match object.kind() {
            Kind::Scheduled => "the schedule has no revision: ask for that of the image stream",
            _ => "an image has no revision: it never changes",
        })
    })?;
    Ok(format!("{}\n", stream.revision))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(wanted: Wanted<'_>, layout: Layout) -> String {
        match View::parse(wanted, layout) {
            Ok(_) => "taken".into(),
            Err(failure) => failure.text(),
        }
    }

    #[test]
    fn formats_are_those_of_kubectl() {
        let check = |output: &str, want: &str| {
            assert_eq!(refused(Wanted { output, ..Wanted::default() }, Layout::default()), want, "{output}");
        };
        for output in [
            "",
            "wide",
            "name",
            "json",
            "yaml",
            "NAME",
            "JSON",
            "Yaml",
            "revision",
            "jsonpath={.kind}",
            "jsonpath=plain",
            "jsonpath-as-json={.kind}",
            "go-template={{.kind}}",
            "template={{.kind}}",
            "custom-columns=N:.kind",
        ] {
            check(output, "taken");
        }
        for output in
            ["nope", "WIDE", "JSONPATH={.kind}", "json=x", "name=x", "yaml=x", "wide=x", "jsonpath "]
        {
            check(
                output,
                &format!(
                    "error: unable to match a printer suitable for the output format \"{output}\", allowed formats are: custom-columns,custom-columns-file,go-template,go-template-file,json,jsonpath,jsonpath-as-json,jsonpath-file,name,template,templatefile,wide,yaml\n"
                ),
            );
        }
        for output in [
            "jsonpath",
            "jsonpath=",
            "jsonpath-as-json",
            "jsonpath-file",
            "go-template",
            "go-template=",
            "go-template-file",
            "template",
            "templatefile",
        ] {
            check(output, "error: template format specified but no template given\n");
        }
        for output in ["custom-columns", "custom-columns=", "custom-columns-file"] {
            check(output, "error: custom-columns format specified but no custom columns given\n");
        }
        check("jsonpath={.kind", "error: error parsing jsonpath {.kind, unclosed action\n");
        check(
            "go-template={{.kind",
            "error: error parsing template {{.kind, template: output:1: unclosed action\n",
        );
        for output in ["jsonpath-file=none", "go-template-file=none", "templatefile=none"] {
            check(output, "error: error reading --template none, open none: no such file or directory\n");
        }
        check(
            "custom-columns-file=none",
            "error: error reading template none, open none: no such file or directory\n",
        );
    }

    #[test]
    fn labels_are_for_tables() {
        let check = |output: &str, want: &str| {
            let layout = Layout { labels: true, ..Layout::default() };
            assert_eq!(refused(Wanted { output, ..Wanted::default() }, layout), want, "{output}");
        };
        check("", "taken");
        check("wide", "taken");
        check("name", "error: --show-labels option cannot be used with name printer\n");
        check(
            "jsonpath={.kind}",
            "error: --show-labels option cannot be used with jsonpath={.kind} printer\n",
        );
    }

    fn print(wanted: Wanted<'_>, names: &[&str]) -> String {
        let stream = |name: &&str| {
            let labels = [("app.io/tier".to_owned(), format!("of-{name}"))].into();
            Object::Stream(tagtrail_api::v1::ImageStream {
                namespace: "test".into(),
                name: (*name).to_owned(),
                labels,
                ..Default::default()
            })
        };
        let layout = Layout { label_columns: vec!["app.io/tier".into(), "none".into()], ..Layout::default() };
        let mut out = String::new();
        let view = View::parse(wanted, layout).unwrap_or_else(|failure| panic!("{}", failure.text()));
        let shown = view.render(names.iter().map(stream).collect(), false, Now::by_the_clock(), &mut out);
        out + &shown.err().map_or(String::new(), |failure| failure.text())
    }

    #[test]
    fn a_path_that_nothing_has_orders_nothing() {
        let sort_by = ".metadata.nothing";
        let why = "error: couldn't find any field with path \"{.metadata.nothing}\" in the list of objects\n";
        assert_eq!(print(Wanted { sort_by, ..Wanted::default() }, &["b", "a"]), why);
        assert_eq!(print(Wanted { sort_by, output: "name", ..Wanted::default() }, &["b"]), why);
        // One row is in order.
        assert!(print(Wanted { sort_by, ..Wanted::default() }, &["b"]).starts_with("NAME "));
        let wanted = Wanted { sort_by: "metadata.name", output: "name", ..Wanted::default() };
        let kind = "imagestream.image.openshift.io";
        assert_eq!(print(wanted, &["b", "a"]), format!("{kind}/a\n{kind}/b\n"));
    }

    #[test]
    fn each_kind_is_in_its_own_order() {
        let stream = |name: &str| tagtrail_api::v1::ImageStream { name: name.into(), ..Default::default() };
        let tag = |name: &str| {
            Object::ImageTag(tagtrail_api::v1::ImageStreamTag {
                stream: Some(stream(name)),
                tag: "1".into(),
                ..Default::default()
            })
        };
        let objects = vec![Object::Stream(stream("d")), Object::Stream(stream("b")), tag("c"), tag("a")];
        let wanted = Wanted { sort_by: ".metadata.name", ..Wanted::default() };
        let view = View::parse(wanted, Layout { no_headers: true, ..Layout::default() }).expect("valid");
        let mut out = String::new();
        view.render(objects, false, Now::by_the_clock(), &mut out).expect("they have names");
        let names: Vec<&str> = out.lines().map(|line| line.split(' ').next().unwrap_or_default()).collect();
        assert_eq!(names, ["b", "d", "a:1", "c:1"]);
    }

    #[test]
    fn labels_can_have_columns() {
        assert_eq!(
            print(Wanted::default(), &["a"]),
            "NAME   IMAGE REPOSITORY   TAGS   UPDATED   TIER   NONE\na                                          of-a   \n"
        );
    }

    #[test]
    fn a_template_that_does_not_fit_is_shown_with_the_object() {
        let output = "jsonpath={.kind[0]}";
        let text = print(Wanted { output, ..Wanted::default() }, &[]);
        let want = "error: error executing jsonpath \"{.kind[0]}\": Error executing template: string is not array or slice. Printing more information for debugging the template:\n\ttemplate was:\n\t\t{.kind[0]}\n\tobject given to jsonpath engine was:\n\t\tmap[string]interface {}{\"apiVersion\":\"v1\", \"items\":[]interface {}{}, \"kind\":\"List\", \"metadata\":map[string]interface {}{\"resourceVersion\":\"\"}}\n\n\n";
        assert_eq!(text, want);
        // Values found stand one list below the other.
        let output = "jsonpath-as-json={.kind}{.nothing}{.metadata}";
        let want = "[\n    \"List\"\n]\n[]\n[\n    {\n        \"resourceVersion\": \"\"\n    }\n]\n";
        assert_eq!(print(Wanted { output, ..Wanted::default() }, &[]), want);
        let wanted = Wanted { output: "jsonpath={.nothing}", strict: true, ..Wanted::default() };
        assert!(print(wanted, &[]).contains("Error executing template: nothing is not found. Printing"));
        let wanted = Wanted { output: "go-template={{.nothing}}", strict: true, ..Wanted::default() };
        let want = "error: error executing template \"{{.nothing}}\": map has no entry for key \"nothing\"\n";
        assert_eq!(print(wanted, &[]), want);
    }
}
