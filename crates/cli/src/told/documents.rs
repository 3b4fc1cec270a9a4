//! The objects of a document, one after the other: `oc get -o yaml` or `-o json`, a list, several documents with `---`.
//!
//! YAML is read event by event, so that of a list only one item is in memory as an object. Anchors and aliases, with which a
//! short document can stand for an endless one, and tags of its own types are refused: no Kubernetes tool writes them.

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, StrInput, Tag};
use serde_json::{Map, Number, Value};

/// How deep objects may be nested. An image stream needs ten levels.
const DEPTH: usize = 64;

/// The objects in a text, in order. After an error there are no more.
pub(crate) fn objects(text: &str) -> Box<dyn Iterator<Item = Result<Value, String>> + '_> {
    let text = text.trim_start_matches('\u{feff}');
    if text.trim_start().starts_with('{') {
        Box::new(Json::of(text))
    } else {
        Box::new(Yaml { parser: Parser::new_from_str(text), place: Place::Between })
    }
}

/// JSON documents, one behind the other.
struct Json<'t> {
    documents: serde_json::StreamDeserializer<'t, serde_json::de::StrRead<'t>, Value>,
    /// What is left of a list.
    items: std::vec::IntoIter<Value>,
    failed: bool,
}

impl<'t> Json<'t> {
    fn of(text: &'t str) -> Self {
        let documents = serde_json::Deserializer::from_str(text).into_iter();
        Self { documents, items: Vec::new().into_iter(), failed: false }
    }
}

impl Iterator for Json<'_> {
    type Item = Result<Value, String>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(item) = self.items.next() {
                return Some(Ok(item));
            }
            if self.failed {
                return None;
            }
            match self.documents.next()? {
                Err(error) => {
                    self.failed = true;
                    return Some(Err(format!("it is not JSON: {error}")));
                }
                Ok(mut object) => match object.get_mut("items").map(Value::take) {
                    Some(Value::Array(items)) => self.items = items.into_iter(),
                    _ => return Some(Ok(object)),
                },
            }
        }
    }
}

struct Yaml<'t> {
    parser: Parser<'t, StrInput<'t>>,
    place: Place,
}

/// Where the reader stands.
enum Place {
    /// Between two documents.
    Between,
    /// Within the object that a document is; with its fields so far.
    Object(Map<String, Value>),
    /// Within the list of its items.
    Items,
    /// Within that object, behind its items. Its other fields are those of a list.
    List,
    /// Behind the last document, or an error.
    End,
}

impl Iterator for Yaml<'_> {
    type Item = Result<Value, String>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.advance() {
            Ok(object) => object.map(Ok),
            Err(error) => {
                self.place = Place::End;
                Some(Err(error))
            }
        }
    }
}

impl<'t> Yaml<'t> {
    /// Reads up to the end of the next object. `None`: there are no more.
    fn advance(&mut self) -> Result<Option<Value>, String> {
        loop {
            match std::mem::replace(&mut self.place, Place::End) {
                Place::End => return Ok(None),
                Place::Between => match self.event()? {
                    (Event::StreamEnd, _) => return Ok(None),
                    (Event::MappingStart(anchor, tag), at) => {
                        plain(anchor, tag.as_deref(), at)?;
                        self.place = Place::Object(Map::new());
                    }
                    (Event::Scalar(text, ScalarStyle::Plain, 0, None), _) if text.is_empty() => {
                        self.place = Place::Between; // A document with nothing in it.
                    }
                    (Event::Scalar(..) | Event::SequenceStart(..) | Event::Alias(_), at) => {
                        return Err(format!(
                            "{}: there is no object here, such as an image stream",
                            line(at)
                        ));
                    }
                    _ => self.place = Place::Between,
                },
                Place::Object(mut fields) => match self.event()? {
                    (Event::MappingEnd, _) => {
                        self.place = Place::Between;
                        return Ok(Some(Value::Object(fields)));
                    }
                    (event, at) => {
                        let key = key(event, at)?;
                        match self.event()? {
                            (Event::SequenceStart(anchor, tag), at) if key == "items" => {
                                plain(anchor, tag.as_deref(), at)?;
                                self.place = Place::Items;
                            }
                            (event, at) => {
                                let value = self.value(event, at, 0)?;
                                insert(&mut fields, key, value, at)?;
                                self.place = Place::Object(fields);
                            }
                        }
                    }
                },
                Place::Items => match self.event()? {
                    (Event::SequenceEnd, _) => self.place = Place::List,
                    (event, at) => {
                        self.place = Place::Items;
                        return self.value(event, at, 0).map(Some);
                    }
                },
                Place::List => match self.event()? {
                    (Event::MappingEnd, _) => self.place = Place::Between,
                    (event, at) => {
                        key(event, at)?;
                        let (event, at) = self.event()?;
                        self.value(event, at, 0)?;
                        self.place = Place::List;
                    }
                },
            }
        }
    }

    fn event(&mut self) -> Result<(Event<'t>, Marker), String> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => Ok((event, span.start)),
            Some(Err(error)) => Err(format!("it is not YAML: {}: {}", line(*error.marker()), error.info())),
            None => Ok((Event::StreamEnd, Marker::default())),
        }
    }

    /// The value that begins with an event.
    fn value(&mut self, event: Event<'t>, at: Marker, depth: usize) -> Result<Value, String> {
        if depth > DEPTH {
            return Err(format!("{}: this is nested more than {DEPTH} levels deep", line(at)));
        }
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let text_only = tag.as_deref().is_some_and(is_text);
                plain(anchor, tag.as_deref().filter(|tag| !is_text(tag)), at)?;
                Ok(if style == ScalarStyle::Plain && !text_only { scalar(&text) } else { text.into() })
            }
            Event::SequenceStart(anchor, tag) => {
                plain(anchor, tag.as_deref(), at)?;
                let mut items = Vec::new();
                loop {
                    match self.event()? {
                        (Event::SequenceEnd, _) => return Ok(items.into()),
                        (event, at) => items.push(self.value(event, at, depth + 1)?),
                    }
                }
            }
            Event::MappingStart(anchor, tag) => {
                plain(anchor, tag.as_deref(), at)?;
                let mut fields = Map::new();
                loop {
                    match self.event()? {
                        (Event::MappingEnd, _) => return Ok(fields.into()),
                        (event, at) => {
                            let key = key(event, at)?;
                            let (event, at) = self.event()?;
                            let value = self.value(event, at, depth + 1)?;
                            insert(&mut fields, key, value, at)?;
                        }
                    }
                }
            }
            Event::Alias(_) => Err(no_anchors(at)),
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::SequenceEnd
            | Event::MappingEnd => Err(format!("{}: a value is missing", line(at))),
        }
    }
}

fn key(event: Event<'_>, at: Marker) -> Result<String, String> {
    match event {
        Event::Scalar(text, _, 0, None) => Ok(text.into_owned()),
        Event::Alias(_) => Err(no_anchors(at)),
        _ => Err(format!("{}: a key has to be a text", line(at))),
    }
}

fn insert(fields: &mut Map<String, Value>, key: String, value: Value, at: Marker) -> Result<(), String> {
    if fields.contains_key(&key) {
        return Err(format!("{}: \"{key}\" is there twice", line(at)));
    }
    fields.insert(key, value);
    Ok(())
}

/// Refuses what no Kubernetes tool writes.
fn plain(anchor: usize, tag: Option<&Tag>, at: Marker) -> Result<(), String> {
    match tag {
        _ if anchor != 0 => Err(no_anchors(at)),
        Some(tag) => Err(format!("{}: the tag {}{} is not read here", line(at), tag.handle, tag.suffix)),
        None => Ok(()),
    }
}

fn is_text(tag: &Tag) -> bool {
    tag.is_yaml_core_schema() && tag.suffix == "str"
}

fn no_anchors(at: Marker) -> String {
    format!("{}: anchors (&) and aliases (*) are not read here", line(at))
}

fn line(at: Marker) -> String {
    format!("line {}", at.line())
}

/// What a text without quotes stands for (YAML 1.2, core schema). Other notations of numbers than the decimal one stay texts.
fn scalar(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return true.into(),
        "false" | "False" | "FALSE" => return false.into(),
        _ => {}
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let is_number = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && digits.contains(|c: char| c.is_ascii_digit())
        && digits.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'));
    if !is_number {
        return text.into();
    }
    let number = match text.parse::<i64>() {
        Ok(whole) => Some(whole.into()),
        Err(_) => text.parse().ok().and_then(Number::from_f64),
    };
    number.map_or_else(|| text.into(), Value::Number)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Result<Vec<Value>, String> {
        objects(text).collect()
    }

    #[test]
    fn objects_come_one_by_one() {
        let check = |text: &str, want: Value| assert_eq!(read(text).map(Value::from), Ok(want), "{text}");
        check("", json!([]));
        check("---\n---\n", json!([]));
        check("# nothing\n", json!([]));
        check("a: 1\n", json!([{ "a": 1 }]));
        check("a: 1\n---\nb: 2\n...\n", json!([{ "a": 1 }, { "b": 2 }]));
        check("\u{feff}a: 1\n", json!([{ "a": 1 }]));
        // As `oc` writes a list: what it is comes last.
        let list = "apiVersion: v1\nitems:\n- a: 1\n  b:\n  - 2\n- a: 3\nkind: List\nmetadata:\n  x: ''\n";
        check(list, json!([{ "a": 1, "b": [2] }, { "a": 3 }]));
        check("items: []\nkind: List\n", json!([]));
        check("kind: List\nitems:\n", json!([{ "kind": "List", "items": null }]));
        check(r#"{"kind": "List", "items": [{"a": 1}, {"b": 2}]}"#, json!([{ "a": 1 }, { "b": 2 }]));
        check("{\"a\": 1}\n{\"b\": 2}\n", json!([{ "a": 1 }, { "b": 2 }]));
    }

    #[test]
    fn words_are_read_as_kubernetes_reads_them() {
        let check = |text: &str, want: Value| {
            assert_eq!(read(&format!("a: {text}\n")), Ok(vec![json!({ "a": want })]), "{text}");
        };
        check("hello", json!("hello"));
        check("'3.6'", json!("3.6"));
        check("\"3.6\\n\"", json!("3.6\n"));
        check("3.5", json!(3.5));
        check("-12", json!(-12));
        check("1.2.3", json!("1.2.3"));
        check("2018-01-02T03:04:05Z", json!("2018-01-02T03:04:05Z"));
        check("3-alpine", json!("3-alpine"));
        check("0x10", json!("0x10"));
        check("true", json!(true));
        check("yes", json!("yes"));
        check("null", json!(null));
        check("~", json!(null));
        check("", json!(null));
        check("!!str 12", json!("12"));
        check("|\n  one\n  two\n", json!("one\ntwo\n"));
        check(">-\n  one\n  two\n", json!("one two"));
        check("{}", json!({}));
    }

    #[test]
    fn what_cannot_be_read_says_where() {
        let check = |text: &str, want: &str| {
            let error = read(text).expect_err(text);
            assert!(error.starts_with(want), "{text}: {error}");
        };
        check("a: 1\n b: 2\n", "it is not YAML: line 2: ");
        check("hello\n", "line 1: there is no object here");
        check("- a\n", "line 1: there is no object here");
        check("a: 1\na: 2\n", "line 2: \"a\" is there twice");
        check("a: &x 1\nb: 2\n", "line 1: anchors (&) and aliases (*) are not read here");
        check("a: 1\nb: !mine 2\n", "line 2: the tag !mine is not read here");
        check("? [a]\n: 1\n", "line 1: a key has to be a text");
        check(&format!("a: {}1{}\n", "[".repeat(70), "]".repeat(70)), "line 1: this is nested more than");
        check("{\"a\": }", "it is not JSON: expected value at line 1 column 7");
        check("NAME   TAGS\npython 3.5\n", "line 1: there is no object here");
    }

    #[test]
    fn what_came_before_an_error_is_read() {
        let read: Vec<_> = objects("items:\n- a: 1\n- a: *x\n").collect();
        assert_eq!(read.len(), 2);
        assert_eq!(read[0], Ok(json!({ "a": 1 })));
        assert!(read[1].is_err());
    }
}
