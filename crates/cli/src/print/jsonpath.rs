//! `-o jsonpath=`: kubectl's templates around JSON paths.
//!
//! ```text
//! template = (text | "{" item* "}")*
//! item     = "range" path … "end" | path | "quoted text" | 'quoted text'
//! path     = ("$" | "@")? step+
//! step     = ".name" | "['name']" | "..name" | ".*" | "[*]" | "[1]" | "[-1]" | "[0:2:1]" | "[a,b]" | "[?(@.a=="b")]"
//! ```
//!
//! What is not there prints nothing.

use std::iter::Peekable;
use std::str::Chars;

use serde_json::{Number, Value};

use crate::print::json;

/// Why a template cannot be used, or not on this object.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PathError {
    /// It does not follow the grammar.
    #[error("{0}")]
    Syntax(String),
    /// It asks for an element the list does not have.
    #[error("array index out of bounds: index {index}, length {length}")]
    OutOfBounds {
        /// What was asked for.
        index: i64,
        /// How many there are.
        length: usize,
    },
}

/// A parsed template.
pub(crate) struct Template(Vec<Node>);

/// A parsed path, as `custom-columns` and `--sort-by` use it.
pub(crate) struct Path(Vec<Step>);

enum Node {
    Text(String),
    Path(Path),
    Range(Path, Vec<Node>),
}

enum Step {
    Field(String),
    Wildcard,
    Recursive,
    Slice { start: Option<i64>, end: Option<i64>, step: i64 },
    Index(i64),
    Union(Vec<Step>),
    Filter(Operand, Option<(Comparison, Operand)>),
}

enum Operand {
    Path(Path),
    Literal(Value),
}

#[derive(Clone, Copy)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// [`PathError::Syntax`].
    pub(crate) fn parse(text: &str) -> Result<Self, PathError> {
        let mut parser = Parser { chars: text.chars().peekable() };
        let (nodes, ended) = parser.nodes(true)?;
        if ended { Err(syntax("not in range, nothing to end")) } else { Ok(Self(nodes)) }
    }

    /// Prints what the template says of an object.
    ///
    /// # Errors
    /// [`PathError::OutOfBounds`].
    pub(crate) fn print(&self, root: &Value) -> Result<String, PathError> {
        let mut out = String::new();
        print_nodes(&self.0, root, &mut out)?;
        Ok(out)
    }
}

impl Path {
    /// Parses `.a.b`, `a.b` or `{.a.b}`.
    ///
    /// # Errors
    /// [`PathError::Syntax`].
    pub(crate) fn parse_relaxed(text: &str) -> Result<Self, PathError> {
        let bare = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or(text);
        if bare.is_empty() || bare.contains(['{', '}']) {
            return Err(syntax(&format!(
                "unexpected path string, expected a 'name1.name2' or '.name1.name2' or '{{name1.name2}}' or '{{.name1.name2}}', got \"{text}\""
            )));
        }
        let dotted = if bare.starts_with(['.', '[', '$']) { bare.to_owned() } else { format!(".{bare}") };
        let mut parser = Parser { chars: dotted.chars().peekable() };
        let path = parser.path()?;
        match parser.chars.next() {
            None => Ok(path),
            Some(c) => Err(syntax(&format!("unrecognized character in action: '{c}'"))),
        }
    }

    /// Everything the path leads to.
    ///
    /// # Errors
    /// [`PathError::OutOfBounds`].
    pub(crate) fn find<'a>(&self, from: &'a Value) -> Result<Vec<&'a Value>, PathError> {
        let mut found = vec![from];
        for step in &self.0 {
            let mut next = Vec::new();
            for value in found {
                follow(step, value, &mut next)?;
            }
            found = next;
        }
        Ok(found)
    }
}

fn syntax(text: &str) -> PathError {
    PathError::Syntax(text.to_owned())
}

fn print_nodes(nodes: &[Node], at: &Value, out: &mut String) -> Result<(), PathError> {
    for node in nodes {
        match node {
            Node::Text(text) => out.push_str(text),
            Node::Path(path) => {
                let texts: Vec<String> = path.find(at)?.into_iter().map(text_of).collect();
                out.push_str(&texts.join(" "));
            }
            Node::Range(path, body) => {
                for value in path.find(at)? {
                    print_nodes(body, value, out)?;
                }
            }
        }
    }
    Ok(())
}

/// A value as a template shows it: text bare, objects and lists as JSON.
fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        _ => json::compact(value),
    }
}

fn follow<'a>(step: &Step, value: &'a Value, found: &mut Vec<&'a Value>) -> Result<(), PathError> {
    match (step, value) {
        (Step::Field(name), Value::Object(map)) => found.extend(map.get(name)),
        (Step::Wildcard, Value::Object(map)) => found.extend(map.values()),
        (Step::Wildcard, Value::Array(items)) => found.extend(items),
        (Step::Recursive, _) => descend(value, found),
        (Step::Index(index), Value::Array(items)) => {
            let at = if *index < 0 { index + length(items) } else { *index };
            let item = usize::try_from(at).ok().and_then(|at| items.get(at));
            found.push(item.ok_or(PathError::OutOfBounds { index: *index, length: items.len() })?);
        }
        (Step::Slice { start, end, step }, Value::Array(items)) => {
            let length = length(items);
            let place = |index: i64| (if index < 0 { index + length } else { index }).clamp(0, length);
            let (start, end) = (place(start.unwrap_or(0)), place(end.unwrap_or(length)));
            let stride = usize::try_from((*step).max(1)).unwrap_or(1);
            let positions = (start..end).step_by(stride);
            found.extend(positions.filter_map(|at| usize::try_from(at).ok().and_then(|at| items.get(at))));
        }
        (Step::Union(steps), _) => {
            for step in steps {
                follow(step, value, found)?;
            }
        }
        (Step::Filter(left, rest), Value::Array(items)) => {
            for item in items {
                if matches(left, rest.as_ref(), item)? {
                    found.push(item);
                }
            }
        }
        _ => {}
    }
    Ok(())
}

fn length(items: &[Value]) -> i64 {
    i64::try_from(items.len()).unwrap_or(i64::MAX)
}

fn descend<'a>(value: &'a Value, found: &mut Vec<&'a Value>) {
    found.push(value);
    match value {
        Value::Object(map) => map.values().for_each(|value| descend(value, found)),
        Value::Array(items) => items.iter().for_each(|value| descend(value, found)),
        _ => {}
    }
}

fn matches(left: &Operand, rest: Option<&(Comparison, Operand)>, item: &Value) -> Result<bool, PathError> {
    let Some((comparison, right)) = rest else {
        return Ok(match left {
            Operand::Path(path) => !path.find(item)?.is_empty(),
            Operand::Literal(value) => *value == Value::Bool(true),
        });
    };
    let value = |operand: &Operand| -> Result<Option<Value>, PathError> {
        Ok(match operand {
            Operand::Path(path) => path.find(item)?.first().map(|value| (*value).clone()),
            Operand::Literal(value) => Some(value.clone()),
        })
    };
    let (Some(left), Some(right)) = (value(left)?, value(right)?) else { return Ok(false) };
    let order = match (&left, &right) {
        (Value::Number(a), Value::Number(b)) => a.as_f64().partial_cmp(&b.as_f64()),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        _ => (left == right).then_some(std::cmp::Ordering::Equal),
    };
    Ok(match comparison {
        Comparison::Equal => order.is_some_and(std::cmp::Ordering::is_eq),
        Comparison::NotEqual => !order.is_some_and(std::cmp::Ordering::is_eq),
        Comparison::Less => order.is_some_and(std::cmp::Ordering::is_lt),
        Comparison::LessOrEqual => order.is_some_and(std::cmp::Ordering::is_le),
        Comparison::Greater => order.is_some_and(std::cmp::Ordering::is_gt),
        Comparison::GreaterOrEqual => order.is_some_and(std::cmp::Ordering::is_ge),
    })
}

struct Parser<'a> {
    chars: Peekable<Chars<'a>>,
}

impl Parser<'_> {
    /// Parses up to the end, or up to the `end` of a range; says which it was.
    fn nodes(&mut self, outside: bool) -> Result<(Vec<Node>, bool), PathError> {
        let mut nodes = Vec::new();
        let mut outside = outside;
        loop {
            if outside {
                let mut text = String::new();
                while let Some(c) = self.chars.next_if(|&c| c != '{') {
                    text.push(c);
                }
                if !text.is_empty() {
                    nodes.push(Node::Text(text));
                }
                if self.chars.next().is_none() {
                    return Ok((nodes, false));
                }
                outside = false;
            }
            self.spaces();
            match self.chars.peek().copied() {
                None => return Err(syntax("unclosed action")),
                Some('}') => {
                    self.chars.next();
                    outside = true;
                }
                Some(quote @ ('"' | '\'')) => nodes.push(Node::Text(self.quoted(quote)?)),
                Some(c) if c.is_alphabetic() => match &*self.word() {
                    "end" => {
                        self.spaces();
                        return match self.chars.next() {
                            Some('}') => Ok((nodes, true)),
                            _ => Err(syntax("unclosed action")),
                        };
                    }
                    "range" => {
                        self.spaces();
                        let path = self.path()?;
                        let (body, ended) = self.nodes(false)?;
                        if !ended {
                            return Err(syntax("range without end"));
                        }
                        nodes.push(Node::Range(path, body));
                        outside = true;
                    }
                    word => return Err(syntax(&format!("unrecognized identifier {word}"))),
                },
                Some(_) => nodes.push(Node::Path(self.path()?)),
            }
        }
    }

    fn path(&mut self) -> Result<Path, PathError> {
        let mut steps = Vec::new();
        self.chars.next_if(|&c| matches!(c, '$' | '@'));
        loop {
            match self.chars.peek() {
                Some('.') => {
                    self.chars.next();
                    if self.chars.next_if_eq(&'.').is_some() {
                        steps.push(Step::Recursive);
                    }
                    if self.chars.next_if_eq(&'*').is_some() {
                        steps.push(Step::Wildcard);
                        continue;
                    }
                    let name = self.field();
                    if !name.is_empty() {
                        steps.push(Step::Field(name));
                    }
                }
                Some('[') => {
                    self.chars.next();
                    steps.push(self.bracket()?);
                }
                Some(' ' | '}' | ')' | '=' | '!' | '<' | '>') | None => return Ok(Path(steps)),
                Some(c) => return Err(syntax(&format!("unrecognized character in action: '{c}'"))),
            }
        }
    }

    /// A name after a dot. A backslash takes the next character as it is.
    fn field(&mut self) -> String {
        let mut name = String::new();
        while let Some(c) = self.chars.next_if(|&c| {
            !matches!(c, '.' | '[' | ']' | '{' | '}' | ' ' | '|' | ',' | ')' | '=' | '!' | '<' | '>')
        }) {
            name.extend(if c == '\\' { self.chars.next() } else { Some(c) });
        }
        name
    }

    fn bracket(&mut self) -> Result<Step, PathError> {
        let mut steps = Vec::new();
        loop {
            self.spaces();
            let step = match self.chars.peek().copied() {
                Some('*') => {
                    self.chars.next();
                    Step::Wildcard
                }
                Some('?') => self.filter()?,
                Some(quote @ ('"' | '\'')) => Step::Field(self.quoted(quote)?),
                _ => self.slice()?,
            };
            steps.push(step);
            self.spaces();
            match self.chars.next() {
                Some(',') => {}
                Some(']') if steps.len() == 1 => return Ok(steps.remove(0)),
                Some(']') => return Ok(Step::Union(steps)),
                _ => return Err(syntax("unterminated array")),
            }
        }
    }

    fn slice(&mut self) -> Result<Step, PathError> {
        let mut text = String::new();
        while let Some(c) = self.chars.next_if(|&c| c.is_ascii_digit() || matches!(c, '-' | ':')) {
            text.push(c);
        }
        let bad = || syntax(&format!("invalid array index {text}"));
        let number = |part: &str| match part {
            "" => Ok(None),
            part => part.parse::<i64>().map(Some).map_err(|_| bad()),
        };
        let parts: Vec<&str> = text.split(':').collect();
        match *parts {
            [index] => Ok(Step::Index(number(index)?.ok_or_else(bad)?)),
            [start, end] => Ok(Step::Slice { start: number(start)?, end: number(end)?, step: 1 }),
            [start, end, step] => {
                Ok(Step::Slice { start: number(start)?, end: number(end)?, step: number(step)?.unwrap_or(1) })
            }
            _ => Err(bad()),
        }
    }

    fn filter(&mut self) -> Result<Step, PathError> {
        self.chars.next();
        if self.chars.next() != Some('(') {
            return Err(syntax("unterminated filter"));
        }
        self.spaces();
        let left = self.operand()?;
        self.spaces();
        let equals = |parser: &mut Self| parser.chars.next_if_eq(&'=').is_some();
        let comparison = match self.chars.next() {
            Some(')') => return Ok(Step::Filter(left, None)),
            Some('=') if equals(self) => Comparison::Equal,
            Some('!') if equals(self) => Comparison::NotEqual,
            Some('<') if equals(self) => Comparison::LessOrEqual,
            Some('<') => Comparison::Less,
            Some('>') if equals(self) => Comparison::GreaterOrEqual,
            Some('>') => Comparison::Greater,
            _ => return Err(syntax("unterminated filter")),
        };
        self.spaces();
        let right = self.operand()?;
        self.spaces();
        match self.chars.next() {
            Some(')') => Ok(Step::Filter(left, Some((comparison, right)))),
            _ => Err(syntax("unterminated filter")),
        }
    }

    fn operand(&mut self) -> Result<Operand, PathError> {
        match self.chars.peek().copied() {
            Some(quote @ ('"' | '\'')) => Ok(Operand::Literal(self.quoted(quote)?.into())),
            Some('@' | '$' | '.' | '[') => Ok(Operand::Path(self.path()?)),
            _ => {
                let mut word = String::new();
                while let Some(c) = self.chars.next_if(|&c| c.is_alphanumeric() || matches!(c, '-' | '.')) {
                    word.push(c);
                }
                let number = || word.parse::<f64>().ok().and_then(Number::from_f64);
                match &*word {
                    "true" => Ok(Operand::Literal(true.into())),
                    "false" => Ok(Operand::Literal(false.into())),
                    "null" | "nil" => Ok(Operand::Literal(Value::Null)),
                    _ => number()
                        .map(|number| Operand::Literal(Value::Number(number)))
                        .ok_or_else(|| syntax(&format!("unrecognized identifier {word}"))),
                }
            }
        }
    }

    fn word(&mut self) -> String {
        let mut word = String::new();
        while let Some(c) = self.chars.next_if(|c| c.is_alphanumeric()) {
            word.push(c);
        }
        word
    }

    fn quoted(&mut self, quote: char) -> Result<String, PathError> {
        self.chars.next();
        let mut text = String::new();
        loop {
            match self.chars.next() {
                None => return Err(syntax("unterminated quoted string")),
                Some(c) if c == quote => return Ok(text),
                Some('\\') => text.push(match self.chars.next() {
                    Some('n') => '\n',
                    Some('t') => '\t',
                    Some('r') => '\r',
                    Some(c) => c,
                    None => return Err(syntax("unterminated quoted string")),
                }),
                Some(c) => text.push(c),
            }
        }
    }

    fn spaces(&mut self) {
        while self.chars.next_if(|c| c.is_whitespace()).is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn print(template: &str) -> String {
        let root = json!({
            "name": "app",
            "labels": {"app.io/tier": "back"},
            "none": null,
            "tags": [
                {"tag": "v1", "n": 1, "items": [{"image": "a"}, {"image": "b"}]},
                {"tag": "v2", "n": 2, "items": [{"image": "c"}]},
                {"tag": "v9", "n": 9, "items": null, "bad": true}
            ]
        });
        match Template::parse(template).and_then(|template| template.print(&root)) {
            Ok(text) => text,
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn paths_lead_where_kubectl_goes() {
        let check = |template: &str, want: &str| assert_eq!(print(template), want, "{template}");
        check("{.name}", "app");
        check("{$.name}", "app");
        check("{.tags[*].tag}", "v1 v2 v9");
        check("{.tags[*]['tag','n']}", "v1 1 v2 2 v9 9");
        check("{.tags[0].items}", r#"[{"image":"a"},{"image":"b"}]"#);
        check("{.tags[-1].tag}", "v9");
        check("{.tags[0:2].tag}", "v1 v2");
        check("{.tags[1:].tag}", "v2 v9");
        check("{.tags[::2].tag}", "v1 v9");
        check("{.tags[0,2].tag}", "v1 v9");
        check("{..image}", "a b c");
        check("{.labels.app\\.io/tier}", "back");
        check("{.labels['app.io/tier']}", "back");
        check("{.labels.*}", "back");
        check("{.none}", "null");
        check("{.nothing.here}", "");
        check("{.tags[?(@.tag==\"v2\")].n}", "2");
        check("{.tags[?(@.n>=2)].tag}", "v2 v9");
        check("{.tags[?(@.bad)].tag}", "v9");
        check("{.tags[?(@.bad==true)].tag}", "v9");
        check("{.tags[?(@.tag!='v1')].tag}", "v2 v9");
    }

    #[test]
    fn templates_mix_text_paths_and_ranges() {
        let check = |template: &str, want: &str| assert_eq!(print(template), want, "{template}");
        check("name is {.name}!", "name is app!");
        check(r#"{range .tags[*]}{.tag}{" "}{.items[0].image}{"\n"}{end}"#, "v1 a\nv2 c\nv9 \n");
        check(r"{range .tags[*]}{range .items[*]}{.image},{end}{.tag};{end}", "a,b,v1;c,v2;v9;");
    }

    #[test]
    fn mistakes_are_named() {
        let check =
            |template: &str, want: &str| assert_eq!(print(template), format!("error: {want}"), "{template}");
        check("{.tags[7].tag}", "array index out of bounds: index 7, length 3");
        check("{.name", "unclosed action");
        check("{range .tags[*]}{.tag}", "range without end");
        check("{end}", "not in range, nothing to end");
        check("{.tags[x]}", "invalid array index ");
        check("{foo}", "unrecognized identifier foo");
        check("{\"a}", "unterminated quoted string");
    }

    #[test]
    fn columns_take_paths_in_four_spellings() {
        let value = json!({"a": {"b": 1}});
        for text in [".a.b", "a.b", "{.a.b}", "{a.b}"] {
            assert_eq!(
                Path::parse_relaxed(text).and_then(|path| path.find(&value)),
                Ok(vec![&json!(1)]),
                "{text}"
            );
        }
        assert!(Path::parse_relaxed("{.a}{.b}").is_err());
    }
}
