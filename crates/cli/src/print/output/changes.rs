//! Objects one after the other, as they change: what `get --watch` prints, in every format of `-o`.

use serde_json::json as value;

use super::{Format, View, revision};
use crate::failure::Failure;
use crate::print::age::Now;
use crate::print::table::{self, Layout, Object};
use crate::print::tabs::{self, Widths};
use crate::print::{json, yaml};

/// Shows objects as they change. Headers come once, and columns get wider only.
pub(crate) struct Changes {
    view: View,
    /// With what happened to each.
    events: bool,
    widths: Widths,
    /// Whether something was shown.
    begun: bool,
}

/// What happened to an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Change {
    Added,
    Modified,
    Deleted,
}

impl Change {
    fn word(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

impl Changes {
    /// Gets ready to show changes. `events`: with what happened to each object.
    pub(crate) fn new(view: View, events: bool) -> Self {
        Self { view, events, widths: Widths::new(tabs::GET), begun: false }
    }

    /// Shows objects of one kind to which the same has happened.
    ///
    /// # Errors
    /// [`Failure::Client`] for a template that does not fit the objects. What was printed before stays printed.
    pub(crate) fn show(
        &mut self,
        change: Change,
        objects: Vec<Object>,
        now: Now,
        out: &mut String,
    ) -> Result<(), Failure> {
        if objects.is_empty() {
            return Ok(());
        }
        match &self.view.format {
            Format::Table { wide } => {
                let no_headers = self.view.layout.no_headers || self.begun;
                let layout = Layout { wide: *wide, no_headers, ..self.view.layout.clone() };
                let alone = objects.len() == 1;
                let mut rows = table::rows(&self.view.sorted(objects, alone)?, &layout, now);
                if self.events {
                    for (index, row) in rows.iter_mut().enumerate() {
                        let header = index == 0 && !no_headers;
                        // As wide as the longest of them, whichever comes.
                        let cell = if header { "EVENT".into() } else { format!("{:8}", change.word()) };
                        row.insert(0, cell);
                    }
                }
                self.begun = true;
                out.push_str(&self.widths.table(&rows));
            }
            _ => objects.iter().try_for_each(|object| self.one(change, object, out))?,
        }
        Ok(())
    }

    fn one(&mut self, change: Change, object: &Object, out: &mut String) -> Result<(), Failure> {
        let begun = std::mem::replace(&mut self.begun, true);
        let whole = || match self.events {
            true => value!({ "type": change.word(), "object": object.to_json() }),
            false => object.to_json(),
        };
        match &self.view.format {
            Format::Table { .. } => {}
            Format::Name => out.push_str(&format!("{}/{}\n", object.kind().singular(), object.name())),
            // Kubernetes' own type, in its own order, and on one line.
            Format::Json if self.events => {
                let object = json::compact(&object.to_json());
                out.push_str(&format!("{{\"type\":\"{}\",\"object\":{object}}}\n", change.word()));
            }
            Format::Json => out.push_str(&json::pretty(&whole())),
            Format::Yaml => {
                out.push_str(if begun { "---\n" } else { "" });
                out.push_str(&yaml::document(&whole()));
            }
            Format::Revision => out.push_str(&revision(object)?),
            Format::Columns(columns) => {
                let headers = !begun && columns.has_headers(self.view.layout.no_headers);
                let (rows, filled) = columns.rows(&[whole()], headers);
                out.push_str(&self.widths.table(&rows));
                filled.map_err(Failure::client)?;
            }
            format @ (Format::JsonPath { .. } | Format::GoTemplate { .. }) => format.fill(&whole(), out)?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use tagtrail_api::v1::ImageStream;

    use super::*;
    use crate::print::output::Wanted;

    fn stream(name: &str) -> Object {
        let (namespace, repository) = ("test".into(), format!("registry/test/{name}"));
        let stream = ImageStream { namespace, name: name.into(), repository, ..ImageStream::default() };
        Object::Stream(stream)
    }

    /// What is printed for a list, for a change of another object, and for the end of that.
    fn print(output: &str, events: bool, layout: Layout) -> String {
        let view = View::parse(Wanted { output, ..Wanted::default() }, layout);
        let view = view.unwrap_or_else(|failure| panic!("{}", failure.text()));
        let (mut changes, mut out, now) = (Changes::new(view, events), String::new(), Now::by_the_clock());
        for (change, names) in [
            (Change::Added, &["a", "b"][..]),
            (Change::Modified, &["a-longer-name"]),
            (Change::Deleted, &["b"]),
        ] {
            let objects = names.iter().map(|name| stream(name)).collect();
            changes.show(change, objects, now, &mut out).unwrap_or_else(|e| panic!("{}", e.text()));
        }
        out
    }

    #[test]
    fn a_table_goes_on() {
        let want = "NAME   IMAGE REPOSITORY   TAGS   UPDATED\na      registry/test/a           \nb      registry/test/b           \na-longer-name   registry/test/a-longer-name          \nb               registry/test/b                      \n";
        assert_eq!(print("", false, Layout::default()), want);
        let bare = print("", false, Layout { no_headers: true, ..Layout::default() });
        assert_eq!(bare.lines().count(), 4, "{bare}");
        let labels = print("", false, Layout { labels: true, namespaces: true, ..Layout::default() });
        assert!(labels.starts_with("NAMESPACE   NAME ") && labels.ends_with("<none>\n"), "{labels}");
    }

    #[test]
    fn what_happened_has_a_column() {
        let text = print("", true, Layout::default());
        let events: Vec<&str> = text.lines().map(|line| &line[..11]).collect();
        assert_eq!(events, ["EVENT      ", "ADDED      ", "ADDED      ", "MODIFIED   ", "DELETED    "]);
    }

    #[test]
    fn every_format_shows_each_object_on_its_own() {
        let check = |output: &str, events, want: &str| {
            assert_eq!(print(output, events, Layout::default()), want, "{output}");
        };
        let kind = "imagestream.image.openshift.io";
        let names = format!("{kind}/a\n{kind}/b\n{kind}/a-longer-name\n{kind}/b\n");
        check("name", false, &names);
        check("name", true, &names);
        check("jsonpath={.metadata.name};", false, "a;b;a-longer-name;b;");
        check("go-template={{.metadata.name}};", false, "a;b;a-longer-name;b;");
        check(
            "jsonpath={.type} {.object.metadata.name};",
            true,
            "ADDED a;ADDED b;MODIFIED a-longer-name;DELETED b;",
        );
        check("custom-columns=N:.metadata.name", false, "N\na\nb\na-longer-name\nb\n");
        check(
            "custom-columns=N:.metadata.name,K:.kind",
            false,
            "N     K\na     ImageStream\nb     ImageStream\na-longer-name   ImageStream\nb               ImageStream\n",
        );
        let documents = print("yaml", false, Layout::default());
        let documents: Vec<&str> = documents.split("---\n").collect();
        assert_eq!(documents.len(), 4);
        assert!(
            documents
                .iter()
                .all(|text| text.starts_with("apiVersion: image.openshift.io/v1\nkind: ImageStream\n"))
        );
        assert!(print("yaml", true, Layout::default()).starts_with("object:\n  apiVersion: "));
        let objects = print("json", false, Layout::default());
        let names = serde_json::Deserializer::from_str(&objects).into_iter::<Value>();
        let names: Vec<Value> =
            names.map(|object| object.expect("JSON")["metadata"]["name"].clone()).collect();
        assert_eq!(names, ["a", "b", "a-longer-name", "b"]);
        let lines = print("json", true, Layout::default());
        assert!(
            lines
                .lines()
                .last()
                .is_some_and(|line| line.starts_with(r#"{"type":"DELETED","object":{"apiVersion""#)),
            "{lines}"
        );
    }
}
