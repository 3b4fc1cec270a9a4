//! `-o go-template=`: the part of Go's `text/template` that people write on a command line.
//!
//! Fields, variables, literals, parentheses and pipelines; `if`, `range`, `with` with `else` and `end`; the functions
//! `and`, `or`, `not`, `eq`, `ne`, `len`, `index`, `print` and `println`; `{{-` and `-}}` trim spaces.

use serde_json::Value;

/// Why a template cannot be used. One sentence.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct TemplateError(String);

/// A parsed template.
pub(crate) struct Template(Vec<Node>);

enum Node {
    Text(String),
    Print(Pipeline),
    Set(String, Pipeline),
    Block { kind: Block, variables: Vec<String>, pipeline: Pipeline, body: Vec<Node>, otherwise: Vec<Node> },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Block {
    If,
    Range,
    With,
}

/// Calls, each given the result of the one before as its last argument.
type Pipeline = Vec<Vec<Operand>>;

#[derive(Debug)]
enum Operand {
    /// The dot or a variable, and the fields behind it.
    Field(Option<String>, Vec<String>),
    Literal(Value),
    Function(String),
    Nested(Pipeline, Vec<String>),
}

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// [`TemplateError`] says what is wrong.
    pub(crate) fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parts = split(text)?.into_iter();
        match nodes(&mut parts)? {
            (nodes, None) => Ok(Self(nodes)),
            (_, Some(word)) => Err(error(format!("unexpected {{{{{word}}}}}"))),
        }
    }

    /// Prints what the template says of an object.
    ///
    /// # Errors
    /// [`TemplateError`] for what the object cannot answer.
    pub(crate) fn print(&self, root: &Value) -> Result<String, TemplateError> {
        let mut scope = Scope { variables: vec![(String::new(), root.clone())], out: String::new() };
        scope.run(&self.0, root)?;
        Ok(scope.out)
    }
}

/// A value as Go's `fmt` shows it.
pub(crate) fn go_text(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".into(),
        Value::Bool(value) => value.to_string(),
        Value::Number(value) => value.to_string(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(go_text).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let mut pairs: Vec<_> =
                map.iter().map(|(key, value)| format!("{key}:{}", go_text(value))).collect();
            pairs.sort();
            format!("map[{}]", pairs.join(" "))
        }
    }
}

fn error(text: impl Into<String>) -> TemplateError {
    TemplateError(text.into())
}

enum Part {
    Text(String),
    Action(Vec<Token>),
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    /// `.a.b`, or `.` alone.
    Field(Vec<String>),
    /// `$x.a`, `$` alone being the empty name.
    Variable(String, Vec<String>),
    Literal(Value),
    Word(String),
    Sign(&'static str),
    /// `).a.b`
    Close(Vec<String>),
}

fn split(text: &str) -> Result<Vec<Part>, TemplateError> {
    let mut parts = Vec::new();
    let mut rest = text;
    let mut trim = false;
    loop {
        let (plain, action) = match rest.split_once("{{") {
            Some((plain, action)) => (plain, Some(action)),
            None => (rest, None),
        };
        let mut plain = if trim { plain.trim_start() } else { plain };
        let Some(action) = action else {
            parts.push(Part::Text(plain.to_owned()));
            return Ok(parts);
        };
        let action = match action.strip_prefix("- ") {
            Some(action) => {
                plain = plain.trim_end();
                action
            }
            None => action,
        };
        parts.push(Part::Text(plain.to_owned()));
        let (tokens, after) = tokens(action)?;
        trim = after.starts_with('-');
        rest = after.trim_start_matches('-').strip_prefix("}}").ok_or_else(|| error("unclosed action"))?;
        if !tokens.is_empty() {
            parts.push(Part::Action(tokens));
        }
    }
}

/// Reads tokens up to `}}` or ` -}}`.
fn tokens(action: &str) -> Result<(Vec<Token>, &str), TemplateError> {
    let mut tokens = Vec::new();
    let mut rest = action;
    if let Some(comment) = rest.strip_prefix("/*") {
        let (_, after) = comment.split_once("*/").ok_or_else(|| error("unclosed comment"))?;
        return Ok((tokens, after.trim_start()));
    }
    loop {
        rest = rest.trim_start();
        let Some(c) = rest.chars().next() else { return Err(error("unclosed action")) };
        if rest.starts_with("}}") || rest.starts_with("-}}") {
            return Ok((tokens, rest));
        }
        let name = |text: &str| text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
        let fields = |mut text: &'_ str| {
            let mut fields = Vec::new();
            let start = text.len();
            while let Some(after) = text.strip_prefix('.') {
                let end = name(after);
                if end == 0 {
                    break;
                }
                fields.push(after[..end].to_owned());
                text = &after[end..];
            }
            (fields, start - text.len())
        };
        let used = match c {
            '.' => {
                let (fields, used) = fields(rest);
                tokens.push(Token::Field(fields));
                used.max(1)
            }
            '$' => {
                let end = 1 + name(&rest[1..]);
                let (fields, used) = fields(&rest[end..]);
                tokens.push(Token::Variable(rest[1..end].to_owned(), fields));
                end + used
            }
            ')' => {
                let (fields, used) = fields(&rest[1..]);
                tokens.push(Token::Close(fields));
                1 + used
            }
            '"' => {
                let (text, used) = quoted(rest)?;
                tokens.push(Token::Literal(text.into()));
                used
            }
            '`' => {
                let end = rest[1..].find('`').ok_or_else(|| error("unterminated raw quoted string"))?;
                tokens.push(Token::Literal(rest[1..=end].into()));
                end + 2
            }
            '(' | '|' | ',' | '=' => {
                tokens.push(Token::Sign(match c {
                    '(' => "(",
                    '|' => "|",
                    ',' => ",",
                    _ => "=",
                }));
                1
            }
            ':' if rest.starts_with(":=") => {
                tokens.push(Token::Sign("="));
                2
            }
            c if c.is_ascii_digit() || c == '-' => {
                let end = rest[1..]
                    .find(|c: char| !(c.is_ascii_digit() || c == '.'))
                    .map_or(rest.len(), |at| at + 1);
                let number = serde_json::from_str(&rest[..end]);
                tokens.push(Token::Literal(
                    number.map_err(|_| error(format!("bad number \"{}\"", &rest[..end])))?,
                ));
                end
            }
            c if c.is_alphabetic() => {
                let end = name(rest);
                tokens.push(match &rest[..end] {
                    "true" => Token::Literal(true.into()),
                    "false" => Token::Literal(false.into()),
                    "nil" => Token::Literal(Value::Null),
                    word => Token::Word(word.to_owned()),
                });
                end
            }
            c => return Err(error(format!("unexpected '{c}' in template"))),
        };
        rest = &rest[used..];
    }
}

fn quoted(text: &str) -> Result<(String, usize), TemplateError> {
    let mut out = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((out, at + 1)),
            '\\' => match chars.next() {
                Some((_, 'n')) => out.push('\n'),
                Some((_, 't')) => out.push('\t'),
                Some((_, 'r')) => out.push('\r'),
                Some((_, c)) => out.push(c),
                None => break,
            },
            c => out.push(c),
        }
    }
    Err(error("unterminated quoted string"))
}

/// Parses up to the end, or up to an `end` or `else`, and says which it was.
fn nodes(parts: &mut std::vec::IntoIter<Part>) -> Result<(Vec<Node>, Option<String>), TemplateError> {
    let mut list = Vec::new();
    while let Some(part) = parts.next() {
        let tokens = match part {
            Part::Text(text) => {
                list.push(Node::Text(text));
                continue;
            }
            Part::Action(tokens) => tokens,
        };
        let block = match &tokens[0] {
            Token::Word(word) => match &**word {
                "end" | "else" if tokens.len() == 1 => return Ok((list, Some(word.clone()))),
                "if" => Some(Block::If),
                "range" => Some(Block::Range),
                "with" => Some(Block::With),
                _ => None,
            },
            _ => None,
        };
        let (variables, rest) = assigned(&tokens[usize::from(block.is_some())..]);
        let pipeline = whole_pipeline(rest)?;
        let Some(kind) = block else {
            list.push(match variables.into_iter().next() {
                Some(name) => Node::Set(name, pipeline),
                None => Node::Print(pipeline),
            });
            continue;
        };
        let (body, stop) = nodes(parts)?;
        let (otherwise, stop) = match stop.as_deref() {
            Some("else") => nodes(parts)?,
            _ => (Vec::new(), stop),
        };
        if stop.as_deref() != Some("end") {
            return Err(error("unexpected EOF: a block has no {{end}}"));
        }
        list.push(Node::Block { kind, variables, pipeline, body, otherwise });
    }
    Ok((list, None))
}

/// Takes `$i, $x :=` off the front.
fn assigned(tokens: &[Token]) -> (Vec<String>, &[Token]) {
    match tokens {
        [Token::Variable(a, _), Token::Sign(","), Token::Variable(b, _), Token::Sign("="), rest @ ..] => {
            (vec![a.clone(), b.clone()], rest)
        }
        [Token::Variable(a, _), Token::Sign("="), rest @ ..] => (vec![a.clone()], rest),
        _ => (Vec::new(), tokens),
    }
}

fn whole_pipeline(tokens: &[Token]) -> Result<Pipeline, TemplateError> {
    let mut tokens = tokens.iter();
    let (pipeline, closed) = parse_pipeline(&mut tokens)?;
    if closed.is_some() { Err(error("unexpected right paren")) } else { Ok(pipeline) }
}

/// Parses a pipeline up to the end or up to a `)`; gives the fields behind that.
fn parse_pipeline(
    tokens: &mut std::slice::Iter<'_, Token>,
) -> Result<(Pipeline, Option<Vec<String>>), TemplateError> {
    let mut pipeline = vec![Vec::new()];
    let mut closed = None;
    while let Some(token) = tokens.next() {
        let call = pipeline.last_mut().expect("a pipeline begins with a call");
        match token {
            Token::Field(fields) => call.push(Operand::Field(None, fields.clone())),
            Token::Variable(name, fields) => call.push(Operand::Field(Some(name.clone()), fields.clone())),
            Token::Literal(value) => call.push(Operand::Literal(value.clone())),
            Token::Word(word) => call.push(Operand::Function(word.clone())),
            Token::Sign("(") => match parse_pipeline(tokens)? {
                (nested, Some(fields)) => call.push(Operand::Nested(nested, fields)),
                (_, None) => return Err(error("unclosed left paren")),
            },
            Token::Sign("|") => pipeline.push(Vec::new()),
            Token::Sign(sign) => return Err(error(format!("unexpected \"{sign}\" in operand"))),
            Token::Close(fields) => {
                closed = Some(fields.clone());
                break;
            }
        }
    }
    if pipeline.iter().any(Vec::is_empty) {
        return Err(error("missing value for command"));
    }
    Ok((pipeline, closed))
}

struct Scope {
    variables: Vec<(String, Value)>,
    out: String,
}

impl Scope {
    fn run(&mut self, nodes: &[Node], dot: &Value) -> Result<(), TemplateError> {
        let depth = self.variables.len();
        for node in nodes {
            match node {
                Node::Text(text) => self.out.push_str(text),
                Node::Print(pipeline) => match self.value(pipeline, dot)? {
                    Value::Null => self.out.push_str("<no value>"),
                    value => self.out.push_str(&go_text(&value)),
                },
                Node::Set(name, pipeline) => {
                    let value = self.value(pipeline, dot)?;
                    match self.variables.iter_mut().rev().find(|(known, _)| known == name) {
                        Some((_, known)) => *known = value,
                        None => self.variables.push((name.clone(), value)),
                    }
                }
                Node::Block { kind, variables, pipeline, body, otherwise } => {
                    let value = self.value(pipeline, dot)?;
                    self.block(*kind, variables, &value, dot, body, otherwise)?;
                }
            }
        }
        self.variables.truncate(depth);
        Ok(())
    }

    fn block(
        &mut self,
        kind: Block,
        variables: &[String],
        value: &Value,
        dot: &Value,
        body: &[Node],
        otherwise: &[Node],
    ) -> Result<(), TemplateError> {
        if !is_true(value) {
            return self.run(otherwise, dot);
        }
        let depth = self.variables.len();
        if kind == Block::Range {
            let items: Vec<(Value, &Value)> = match value {
                Value::Array(items) => items.iter().enumerate().map(|(at, item)| (at.into(), item)).collect(),
                Value::Object(map) => {
                    let mut items: Vec<_> = map.iter().collect();
                    items.sort_by_key(|(key, _)| *key);
                    items.into_iter().map(|(key, item)| (key.clone().into(), item)).collect()
                }
                value => return Err(error(format!("range can't iterate over {}", go_text(value)))),
            };
            for (key, item) in items {
                match variables {
                    [] => {}
                    [one] => self.variables.push((one.clone(), item.clone())),
                    [first, second, ..] => {
                        self.variables.push((first.clone(), key));
                        self.variables.push((second.clone(), item.clone()));
                    }
                }
                self.run(body, item)?;
                self.variables.truncate(depth);
            }
            return Ok(());
        }
        self.variables.extend(variables.iter().map(|name| (name.clone(), value.clone())));
        self.run(body, if kind == Block::With { value } else { dot })?;
        self.variables.truncate(depth);
        Ok(())
    }

    fn value(&self, pipeline: &Pipeline, dot: &Value) -> Result<Value, TemplateError> {
        let mut piped: Option<Value> = None;
        for call in pipeline {
            let Operand::Function(name) = &call[0] else {
                if call.len() > 1 || piped.is_some() {
                    return Err(error("can't give argument to non-function"));
                }
                piped = Some(self.operand(&call[0], dot)?);
                continue;
            };
            let mut arguments =
                call[1..].iter().map(|operand| self.operand(operand, dot)).collect::<Result<Vec<_>, _>>()?;
            arguments.extend(piped.take());
            piped = Some(call_function(name, &arguments)?);
        }
        Ok(piped.unwrap_or_default())
    }

    fn operand(&self, operand: &Operand, dot: &Value) -> Result<Value, TemplateError> {
        let (from, fields) = match operand {
            Operand::Literal(value) => return Ok(value.clone()),
            Operand::Function(name) => return call_function(name, &[]),
            Operand::Nested(pipeline, fields) => (self.value(pipeline, dot)?, fields),
            Operand::Field(None, fields) => (dot.clone(), fields),
            Operand::Field(Some(name), fields) => {
                let known = self.variables.iter().rev().find(|(known, _)| known == name);
                (known.ok_or_else(|| error(format!("undefined variable \"${name}\"")))?.1.clone(), fields)
            }
        };
        let mut value = &from;
        for field in fields {
            match value {
                Value::Object(map) => value = map.get(field).unwrap_or(&Value::Null),
                Value::Null => return Ok(Value::Null),
                value => return Err(error(format!("can't evaluate field {field} in {}", go_text(value)))),
            }
        }
        Ok(value.clone())
    }
}

fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(value) => value.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

fn call_function(name: &str, arguments: &[Value]) -> Result<Value, TemplateError> {
    let wrong = || error(format!("wrong number of args for {name}"));
    let first = arguments.first();
    let last = || arguments.last().cloned().ok_or_else(wrong);
    match name {
        "and" => arguments.iter().find(|value| !is_true(value)).cloned().map_or_else(last, Ok),
        "or" => arguments.iter().find(|value| is_true(value)).cloned().map_or_else(last, Ok),
        "not" => Ok((!is_true(first.ok_or_else(wrong)?)).into()),
        "eq" => Ok(arguments.get(1..).ok_or_else(wrong)?.iter().any(|value| Some(value) == first).into()),
        "ne" => Ok((arguments.get(1).ok_or_else(wrong)? != &arguments[0]).into()),
        "len" => match first.ok_or_else(wrong)? {
            Value::Array(items) => Ok(items.len().into()),
            Value::Object(map) => Ok(map.len().into()),
            Value::String(text) => Ok(text.len().into()),
            value => Err(error(format!("len of {}", go_text(value)))),
        },
        "index" => {
            let (from, keys) = arguments.split_first().ok_or_else(wrong)?;
            keys.iter().try_fold(from.clone(), |value, key| match (value, key) {
                (Value::Object(map), Value::String(key)) => Ok(map.get(key).cloned().unwrap_or_default()),
                (Value::Array(items), Value::Number(at)) => {
                    let item = at.as_u64().and_then(|at| items.get(usize::try_from(at).ok()?)).cloned();
                    item.ok_or_else(|| error(format!("index out of range: {at}")))
                }
                (value, key) => Err(error(format!("can't index {} with {}", go_text(&value), go_text(key)))),
            })
        }
        "print" | "println" => {
            let texts: Vec<String> = arguments.iter().map(go_text).collect();
            Ok(if name == "print" { texts.concat() } else { texts.join(" ") + "\n" }.into())
        }
        _ => Err(error(format!("function \"{name}\" not defined"))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn print(template: &str) -> String {
        let root = json!({"name": "app", "n": 2, "empty": [], "tags": [{"name": "v1", "from": {"name": "a"}}, {"name": "v2"}], "labels": {"x/y": "z", "a": "b"}});
        match Template::parse(template).and_then(|template| template.print(&root)) {
            Ok(text) => text,
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn templates_print_what_go_prints() {
        let check = |template: &str, want: &str| assert_eq!(print(template), want, "{template}");
        check("{{.name}} has {{.n}}", "app has 2");
        check(r#"{{range .tags}}{{.name}}={{.from.name}}{{"\n"}}{{end}}"#, "v1=a\nv2=<no value>\n");
        check("{{range $i, $t := .tags}}{{$i}}:{{$t.name}} {{end}}", "0:v1 1:v2 ");
        check("{{range $k, $v := .labels}}{{$k}}={{$v}};{{end}}", "a=b;x/y=z;");
        check("{{range .empty}}x{{else}}none{{end}}", "none");
        check("{{if .empty}}yes{{else}}no{{end}}", "no");
        check("{{if eq .n 2}}two{{end}}", "two");
        check("{{if and .name (not .empty)}}both{{end}}", "both");
        check("{{with .labels}}{{.a}} of {{$.name}}{{end}}", "b of app");
        check(r#"{{index .labels "x/y"}} {{(index .tags 1).name}} {{.tags | len}}"#, "z v2 2");
        check("a {{- `b` -}} c", "abc");
        check("{{$x := .name}}{{$x}}", "app");
        check("{{.labels}}", "map[a:b x/y:z]");
    }

    #[test]
    fn mistakes_are_named() {
        let check =
            |template: &str, want: &str| assert_eq!(print(template), format!("error: {want}"), "{template}");
        check("{{.name", "unclosed action");
        check("{{range .tags}}", "unexpected EOF: a block has no {{end}}");
        check("{{end}}", "unexpected {{end}}");
        check("{{nope .name}}", "function \"nope\" not defined");
        check("{{.name.x}}", "can't evaluate field x in app");
        check("{{$y}}", "undefined variable \"$y\"");
    }
}
