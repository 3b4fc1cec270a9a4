//! JSON as `oc` prints it: four spaces, keys sorted in most places, and `<`, `>`, `&` escaped as Go's encoder does.

use std::io;

use serde_json::Value;
use serde_json::ser::{CharEscape, Formatter, PrettyFormatter, Serializer};

/// Prints a value over several lines, with a newline at the end.
pub(crate) fn pretty(value: &Value) -> String {
    let mut text = write(value, Html(PrettyFormatter::with_indent(b"    ")));
    text.push('\n');
    text
}

/// The same with the keys in the order they have: so `oc` prints an object that it holds in a type of its own.
pub(crate) fn typed(value: &Value) -> String {
    let mut text = serialized(value, Html(PrettyFormatter::with_indent(b"    ")));
    text.push('\n');
    text
}

/// Prints a value on one line, as a template or a JSON path shows an object.
pub(crate) fn compact(value: &Value) -> String {
    write(value, Html(serde_json::ser::CompactFormatter))
}

fn write(value: &Value, formatter: impl Formatter) -> String {
    let mut value = value.clone();
    value.sort_all_objects();
    serialized(&value, formatter)
}

fn serialized(value: &Value, formatter: impl Formatter) -> String {
    let mut bytes = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut bytes, formatter);
    serde::Serialize::serialize(value, &mut serializer).expect("memory takes what is written, keys are text");
    String::from_utf8(bytes).expect("JSON is UTF-8")
}

/// Escapes what Go's `encoding/json` escapes for the sake of HTML, and leaves the layout to another formatter.
struct Html<F>(F);

impl<F: Formatter> Formatter for Html<F> {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, text: &str) -> io::Result<()> {
        for part in text.split_inclusive(['<', '>', '&', '\u{2028}', '\u{2029}']) {
            let last =
                part.chars().next_back().filter(|c| matches!(c, '<' | '>' | '&' | '\u{2028}' | '\u{2029}'));
            let plain = last.map_or(part, |c| &part[..part.len() - c.len_utf8()]);
            self.0.write_string_fragment(writer, plain)?;
            if let Some(c) = last {
                write!(writer, "\\u{:04x}", u32::from(c))?;
            }
        }
        Ok(())
    }

    fn write_char_escape<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        escape: CharEscape,
    ) -> io::Result<()> {
        self.0.write_char_escape(writer, escape)
    }

    fn begin_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_array(writer)
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array(writer)
    }

    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_array_value(writer, first)
    }

    fn end_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array_value(writer)
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object(writer)
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object(writer)
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_object_key(writer, first)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object_value(writer)
    }

    fn end_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object_value(writer)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_is_what_go_would_write() {
        let value = json!({"b": [1, {}], "a": {"x<y": "a & b > c\n\u{8}"}, "n": null, "e": []});
        let want = "{\n    \"a\": {\n        \"x\\u003cy\": \"a \\u0026 b \\u003e c\\n\\b\"\n    },\n    \"b\": [\n        1,\n        {}\n    ],\n    \"e\": [],\n    \"n\": null\n}\n";
        assert_eq!(pretty(&value), want);
        assert_eq!(
            compact(&value),
            r#"{"a":{"x\u003cy":"a \u0026 b \u003e c\n\b"},"b":[1,{}],"e":[],"n":null}"#
        );
        assert_eq!(typed(&json!({"b": 1, "a": "<"})), "{\n    \"b\": 1,\n    \"a\": \"\\u003c\"\n}\n");
    }
}
