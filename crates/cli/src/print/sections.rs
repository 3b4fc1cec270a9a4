//! `Label:   value`, line by line: what `describe` is made of.

use std::collections::BTreeMap;

/// Lines of `label:<TAB>value`, before their columns are lined up.
#[derive(Default)]
pub(crate) struct Sections(pub(crate) String);

impl Sections {
    /// A line as it is.
    pub(crate) fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    /// A label and its value. Further lines of the value stand below its first.
    pub(crate) fn pair(&mut self, label: &str, value: &str) {
        let value = if value.is_empty() { "<none>" } else { value };
        self.line(&format!("{label}:\t{}", value.replace('\n', "\n\t")));
    }

    /// A value that goes on below the one before it. Printed raw: its own newlines start at column 0.
    pub(crate) fn more(&mut self, value: &str) {
        self.line(&format!("\t{value}"));
    }

    /// Keys and values, sorted by key.
    pub(crate) fn map(&mut self, label: &str, map: &BTreeMap<String, String>) {
        if map.is_empty() {
            self.pair(label, "");
        }
        for (index, (key, value)) in map.iter().enumerate() {
            let entry = format!("{key}={value}");
            if index == 0 { self.pair(label, &entry) } else { self.more(&entry) }
        }
    }

    /// Annotations, with the description on a line of its own.
    pub(crate) fn annotations(&mut self, annotations: &BTreeMap<String, String>) {
        let mut rest = annotations.clone();
        if let Some(description) = rest.remove("description").filter(|text| !text.is_empty()) {
            self.pair("Description", &description);
        }
        self.map("Annotations", &rest);
    }
}
