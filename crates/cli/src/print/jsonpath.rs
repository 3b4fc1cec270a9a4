//! `-o jsonpath=`, as kubectl reads and prints it.
//!
//! ```text
//! template = (text | "{" step* "}")*
//! step     = "range" | "end" | "$" | "@" | ".name" | ".*" | "..name" | "['name']" | "[1]" | "[-1]" | "[0:2:1]" | "[*]"
//!          | "[0,2]" | "['a','b']" | "[?(@.a=="b")]" | "quoted text" | 'quoted text' | number | true | false
//! ```
//!
//! Each step is given all that the step before it found. What is not there is nothing; an index that a list does not have, a
//! step that does not fit its value, and a comparison of unlike values are errors, in kubectl's words. `tables/jsonpath.txt`
//! has what kubectl itself says.

mod parse;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::{Map, Value};

use crate::print::{go, json};

/// Why a template cannot be used, or not on this object: one sentence, kubectl's.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct PathError(String);

impl PathError {
    /// A path by which objects were to be put in order.
    pub(crate) fn found_nowhere(path: &str) -> Self {
        flaw(format!("couldn't find any field with path {} in the list of objects", go::quoted(path)))
    }
}

/// A parsed template.
#[derive(Debug)]
pub(crate) struct Template {
    nodes: Vec<Node>,
    /// Whether what is not there is an error.
    strict: bool,
}

#[derive(Debug)]
enum Node {
    Steps(Vec<Step>),
    /// Where to look, and what to do with each value found. Without an `end`, that is all the rest.
    Range(Vec<Step>, Vec<Node>),
    /// An `end` that nothing began.
    StrayEnd,
}

#[derive(Debug)]
enum Step {
    Field(String),
    Wildcard,
    Recursive,
    Slice(Slice),
    Union(Vec<Vec<Step>>),
    Exists(Vec<Step>),
    Compare(Vec<Step>, String, Vec<Step>),
    Literal(Value),
    /// A word that is neither `range` nor `end`.
    Unknown(String),
}

/// Which items of a list: from `start` to before `end`, each `step`th. A negative place counts from the end.
#[derive(Debug)]
struct Slice {
    start: Option<i64>,
    end: Option<i64>,
    step: Option<i64>,
    /// It was one place, and `end` only follows from it.
    single: bool,
}

/// What a step is given, and what it finds. Not all of it stands in the object.
pub(crate) type Found<'v> = Vec<Cow<'v, Value>>;

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// [`PathError`] says what is wrong.
    pub(crate) fn parse(text: &str) -> Result<Self, PathError> {
        Ok(Self { nodes: parse::template(text)?, strict: false })
    }

    /// The same, with an error for what is not there, or without.
    pub(crate) fn strict(self, strict: bool) -> Self {
        Self { strict, ..self }
    }

    /// What each part of the template finds in an object.
    ///
    /// # Errors
    /// [`PathError`] for a part that does not fit the object.
    pub(crate) fn find<'v>(&self, root: &'v Value) -> Result<Vec<Found<'v>>, PathError> {
        let mut found = Vec::new();
        self.walk(&self.nodes, &vec![Cow::Borrowed(root)], &mut found)?;
        Ok(found)
    }

    /// Prints what the template says of an object.
    ///
    /// # Errors
    /// [`PathError`] for a part that does not fit the object.
    #[cfg(test)]
    fn print(&self, root: &Value) -> Result<String, PathError> {
        Ok(self.find(root)?.iter().map(line).collect())
    }

    fn walk<'v>(&self, nodes: &[Node], from: &Found<'v>, out: &mut Vec<Found<'v>>) -> Result<(), PathError> {
        for node in nodes {
            match node {
                Node::Steps(steps) => out.push(follow_all(steps, from, self.strict)?),
                Node::Range(steps, body) => {
                    let values = follow_all(steps, from, self.strict)?;
                    if values.is_empty() {
                        // A mistake in the body is one even if there is nothing to do.
                        self.walk(body, &Vec::new(), &mut Vec::new())?;
                    }
                    for value in values {
                        self.walk(body, &vec![value], out)?;
                    }
                }
                Node::StrayEnd => return Err(flaw("not in range, nothing to end")),
            }
        }
        Ok(())
    }
}

/// Makes `{.a.b}` of `.a.b`, `a.b` and `{a.b}`, as columns and `--sort-by` may be written.
///
/// # Errors
/// [`PathError`] for what is none of these.
pub(crate) fn relaxed(text: &str) -> Result<String, PathError> {
    let bare = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or(text);
    let bare = bare.strip_prefix('.').filter(|rest| !rest.is_empty()).unwrap_or(bare);
    match bare {
        "" if text.is_empty() => Ok(String::new()),
        _ if bare.is_empty() || bare.contains(['{', '}']) => Err(flaw(
            "unexpected path string, expected a 'name1.name2' or '.name1.name2' or '{name1.name2}' or '{.name1.name2}'",
        )),
        _ => Ok(format!("{{.{bare}}}")),
    }
}

fn flaw(text: impl Into<String>) -> PathError {
    PathError(text.into())
}

/// What one part of a template found, as the template shows it.
pub(crate) fn line(found: &Found<'_>) -> String {
    found.iter().map(|value| text_of(value)).collect::<Vec<_>>().join(" ")
}

/// A value as a template shows it: text bare, objects and lists as JSON.
fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        _ => json::compact(value),
    }
}

fn follow_all<'v>(steps: &[Step], from: &Found<'v>, strict: bool) -> Result<Found<'v>, PathError> {
    steps.iter().try_fold(from.clone(), |found, step| follow(step, found, strict))
}

fn follow<'v>(step: &Step, from: Found<'v>, strict: bool) -> Result<Found<'v>, PathError> {
    match step {
        Step::Field(name) => {
            let asked = !from.is_empty();
            let field = |value: Cow<'v, Value>| match value {
                Cow::Borrowed(value) => value.get(name).map(Cow::Borrowed),
                Cow::Owned(value) => value.get(name).cloned().map(Cow::Owned),
            };
            let found: Found<'v> = from.into_iter().filter_map(field).collect();
            if strict && asked && found.is_empty() {
                Err(flaw(format!("{name} is not found")))
            } else {
                Ok(found)
            }
        }
        Step::Wildcard => Ok(from.iter().flat_map(children).collect()),
        Step::Recursive => {
            let mut found = Vec::new();
            from.into_iter().for_each(|value| descend(value, &mut found));
            Ok(found)
        }
        Step::Slice(slice) => slice.of(&from),
        Step::Union(lists) => {
            let parts = lists.iter().map(|steps| follow_all(steps, &from, strict));
            Ok(parts.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
        }
        Step::Exists(steps) => {
            let there = |item: &Cow<'v, Value>| {
                // Here what cannot be looked for is not there.
                Ok(follow_all(steps, &vec![item.clone()], strict).is_ok_and(|found| !found.is_empty()))
            };
            filter(&from, there)
        }
        Step::Compare(left, operator, right) => {
            let one = |steps: &[Step], item: &Cow<'v, Value>| {
                let mut found = follow_all(steps, &vec![item.clone()], strict)?;
                let last = found.pop();
                if found.is_empty() { Ok(last) } else { Err(flaw("can only compare one element at a time")) }
            };
            filter(&from, |item| {
                let Some(left) = one(left, item)? else { return Ok(false) };
                let Some(right) = one(right, item)? else { return Ok(false) };
                compare(&left, operator, &right)
            })
        }
        Step::Literal(text @ Value::String(_)) => Ok(vec![Cow::Owned(text.clone())]),
        Step::Literal(value) => Ok(from.iter().map(|_| Cow::Owned(value.clone())).collect()),
        Step::Unknown(word) => Err(flaw(format!("unrecognized identifier {word}"))),
    }
}

/// What stands directly in a value: the values of an object by key, the items of a list, the bytes of a text.
fn children<'v>(value: &Cow<'v, Value>) -> Found<'v> {
    match value {
        Cow::Borrowed(Value::Object(map)) => by_key(map).into_iter().map(Cow::Borrowed).collect(),
        Cow::Borrowed(Value::Array(items)) => items.iter().map(Cow::Borrowed).collect(),
        Cow::Owned(Value::Object(map)) => by_key(map).into_iter().cloned().map(Cow::Owned).collect(),
        Cow::Owned(Value::Array(items)) => items.iter().cloned().map(Cow::Owned).collect(),
        Cow::Borrowed(Value::String(text)) => bytes(text),
        Cow::Owned(Value::String(text)) => bytes(text),
        _ => Vec::new(),
    }
}

/// kubectl's order is random; ours is that of the keys.
fn by_key(map: &Map<String, Value>) -> Vec<&Value> {
    let mut pairs: Vec<(&String, &Value)> = map.iter().collect();
    pairs.sort_by_key(|(key, _)| *key);
    pairs.into_iter().map(|(_, value)| value).collect()
}

fn bytes<'v>(text: &str) -> Found<'v> {
    text.bytes().map(|byte| Cow::Owned(byte.into())).collect()
}

/// The value and all in it, but only what has something in it.
fn descend<'v>(value: Cow<'v, Value>, found: &mut Found<'v>) {
    let inside = children(&value);
    if !inside.is_empty() {
        let is_text = value.is_string();
        found.push(value);
        if !is_text {
            inside.into_iter().for_each(|child| descend(child, found));
        }
    }
}

impl Slice {
    fn of<'v>(&self, from: &Found<'v>) -> Result<Found<'v>, PathError> {
        let mut found = Vec::new();
        for value in from {
            let items = match &**value {
                Value::Null => continue,
                Value::Array(items) => items,
                other => return Err(flaw(format!("{} is not array or slice", go::type_of(other)))),
            };
            let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
            let mut start = self.start.unwrap_or(0);
            if start < 0 {
                start += length;
            }
            let mut end = self.end.unwrap_or(length);
            if end < 0 || (end == 0 && self.single) {
                end += length;
            }
            if start == end {
                // Odd, but kubectl's: behind an empty list it looks at no other.
                return Ok(found);
            }
            let outside = |index| flaw(format!("array index out of bounds: index {index}, length {length}"));
            if !(0..length).contains(&start) {
                return Err(outside(start));
            }
            if !(0..=length).contains(&end) {
                return Err(outside(end - 1));
            }
            if start > end {
                return Err(flaw(format!("starting index {start} is greater than ending index {end}")));
            }
            let step = self.step.unwrap_or(1);
            let step = usize::try_from(step).ok().filter(|step| *step > 0);
            let step = step.ok_or_else(|| flaw("step must be > 0"))?;
            let place = |index: i64| usize::try_from(index).expect("it was found to be within the list");
            found.extend(children(value)[place(start)..place(end)].iter().step_by(step).cloned());
        }
        Ok(found)
    }
}

fn filter<'v>(
    from: &Found<'v>,
    passes: impl Fn(&Cow<'v, Value>) -> Result<bool, PathError>,
) -> Result<Found<'v>, PathError> {
    let mut found = Vec::new();
    for value in from {
        if !value.is_array() {
            let text = go::text(value);
            return Err(flaw(format!("{text} is not array or slice and cannot be filtered")));
        }
        for item in children(value) {
            if passes(&item)? {
                found.push(item);
            }
        }
    }
    Ok(found)
}

fn compare(left: &Value, operator: &str, right: &Value) -> Result<bool, PathError> {
    let equal = || match (left, right) {
        (Value::Null | Value::Array(_) | Value::Object(_), _)
        | (_, Value::Null | Value::Array(_) | Value::Object(_)) => Err(flaw("invalid type for comparison")),
        (Value::Bool(a), Value::Bool(b)) => Ok(a == b),
        _ => Ok(order(left, right)?.is_eq()),
    };
    let less = || match (left, right) {
        (Value::Bool(_), Value::Bool(_)) => Err(flaw("invalid type for comparison")),
        _ => equal().and_then(|_| Ok(order(left, right)?.is_lt())),
    };
    match operator {
        "==" => equal(),
        "!=" => Ok(!equal()?),
        "<" => less(),
        "<=" => Ok(less()? || equal()?),
        ">" => Ok(!(less()? || equal()?)),
        ">=" => Ok(!less()?),
        _ => Err(flaw(format!("unrecognized filter operator {operator}"))),
    }
}

fn order(left: &Value, right: &Value) -> Result<Ordering, PathError> {
    let unlike = || flaw("incompatible types for comparison");
    match (left, right) {
        (Value::String(a), Value::String(b)) => Ok(a.cmp(b)),
        (Value::Number(a), Value::Number(b)) => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => Ok(a.cmp(&b)),
            (None, None) => a.as_f64().partial_cmp(&b.as_f64()).ok_or_else(unlike),
            _ => Err(unlike()),
        },
        _ => Err(unlike()),
    }
}
