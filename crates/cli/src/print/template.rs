//! `-o go-template=`: the part of Go's `text/template` that people write on a command line.
//!
//! Fields, variables, literals, parentheses and pipelines; `if`, `range`, `with` with `else`, `else if`, `else with` and `end`;
//! the functions in `functions.rs`; `{{-` and `-}}` trim spaces. `tables/go_template.txt` has what kubectl itself prints.

mod functions;

use serde_json::Value;

use functions::is_true;

use crate::print::go;

/// Why a template cannot be used. One sentence.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct TemplateError(String);

/// A parsed template.
pub(crate) struct Template {
    nodes: Vec<Node>,
    /// Whether what is not there is an error.
    strict: bool,
}

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
        Self::parsed(text).map_err(|TemplateError(why)| error(format!("template: output:1: {why}")))
    }

    fn parsed(text: &str) -> Result<Self, TemplateError> {
        let mut parts = split(text)?.into_iter();
        match nodes(&mut parts, 0)? {
            (nodes, None) => Ok(Self { nodes, strict: false }),
            (_, Some(Stop::End)) => Err(error("unexpected {{end}}")),
            (_, Some(Stop::Else(_))) => Err(error("unexpected {{else}}")),
        }
    }

    /// The same, with an error for what is not there, or without.
    pub(crate) fn strict(self, strict: bool) -> Self {
        Self { strict, ..self }
    }

    /// Prints what the template says of an object.
    ///
    /// # Errors
    /// [`TemplateError`] for what the object cannot answer.
    pub(crate) fn print(&self, root: &Value) -> Result<String, TemplateError> {
        let variables = vec![(String::new(), root.clone())];
        let mut scope = Scope { variables, strict: self.strict, out: String::new() };
        scope.run(&self.nodes, root)?;
        Ok(scope.out)
    }
}

/// How deep blocks, and parentheses, stand within one another at most: each takes some of the stack.
const DEPTH: usize = 100;

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
        if tokens.is_empty() && !action.starts_with("/*") {
            return Err(error("missing value for command"));
        }
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
                    number.map_err(|_| error(format!("bad number syntax: \"{}\"", &rest[..end])))?,
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
            c => return Err(error(format!("unexpected \"{c}\" in command"))),
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

/// What ends a list of nodes, if not the end of the template.
enum Stop {
    End,
    /// With what stands behind it: `if …`, `with …`, or nothing.
    Else(Vec<Token>),
}

/// Parses up to the end, or up to an `end` or `else`, and says which it was.
/// `depth`: within how many blocks they stand.
fn nodes(
    parts: &mut std::vec::IntoIter<Part>,
    depth: usize,
) -> Result<(Vec<Node>, Option<Stop>), TemplateError> {
    let mut list = Vec::new();
    while let Some(part) = parts.next() {
        let tokens = match part {
            Part::Text(text) => {
                list.push(Node::Text(text));
                continue;
            }
            Part::Action(tokens) => tokens,
        };
        match &tokens[..] {
            [Token::Word(word)] if word == "end" => return Ok((list, Some(Stop::End))),
            [Token::Word(word), rest @ ..] if word == "else" => {
                return Ok((list, Some(Stop::Else(rest.to_vec()))));
            }
            tokens => list.push(match block_kind(tokens) {
                Some(kind) => block(kind, &tokens[1..], parts, depth + 1)?,
                None => {
                    let (variables, rest) = assigned(tokens);
                    let pipeline = whole_pipeline(rest, "command")?;
                    match variables.into_iter().next() {
                        Some(name) => Node::Set(name, pipeline),
                        None => Node::Print(pipeline),
                    }
                }
            }),
        }
    }
    Ok((list, None))
}

fn block_kind(tokens: &[Token]) -> Option<Block> {
    match tokens.first() {
        Some(Token::Word(word)) if word == "if" => Some(Block::If),
        Some(Token::Word(word)) if word == "range" => Some(Block::Range),
        Some(Token::Word(word)) if word == "with" => Some(Block::With),
        _ => None,
    }
}

/// Parses a block, whose own `{{if …}}` or the like is behind us, up to and with its `end`.
fn block(
    kind: Block,
    tokens: &[Token],
    parts: &mut std::vec::IntoIter<Part>,
    depth: usize,
) -> Result<Node, TemplateError> {
    if depth > DEPTH {
        return Err(error(format!("blocks stand within one another more than {DEPTH} deep")));
    }
    let (variables, rest) = assigned(tokens);
    let word = match kind {
        Block::If => "if",
        Block::Range => "range",
        Block::With => "with",
    };
    let pipeline = whole_pipeline(rest, word)?;
    let (body, stop) = nodes(parts, depth)?;
    let otherwise = match stop {
        Some(Stop::End) => Vec::new(),
        // `else if` is an `if` in the `else`, and their `end` is one.
        Some(Stop::Else(tokens)) if block_kind(&tokens) == Some(kind) && kind != Block::Range => {
            vec![block(kind, &tokens[1..], parts, depth + 1)?]
        }
        Some(Stop::Else(tokens)) if tokens.is_empty() => match nodes(parts, depth)? {
            (otherwise, Some(Stop::End)) => otherwise,
            (_, Some(Stop::Else(_))) => return Err(error("expected end; found {{else}}")),
            (_, None) => return Err(error("unexpected EOF")),
        },
        Some(Stop::Else(_)) => return Err(error("unexpected what stands behind {{else")),
        None => return Err(error("unexpected EOF")),
    };
    Ok(Node::Block { kind, variables, pipeline, body, otherwise })
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

/// Parses a pipeline that is all of `tokens`. `place`: what it belongs to, for where there is none.
fn whole_pipeline(tokens: &[Token], place: &str) -> Result<Pipeline, TemplateError> {
    if tokens.is_empty() {
        return Err(error(format!("missing value for {place}")));
    }
    let mut tokens = tokens.iter();
    let (pipeline, closed) = parse_pipeline(&mut tokens, 0)?;
    if closed.is_some() { Err(error("unexpected right paren")) } else { Ok(pipeline) }
}

/// Parses a pipeline up to the end or up to a `)`; gives the fields behind that. `depth`: within how many parentheses.
fn parse_pipeline(
    tokens: &mut std::slice::Iter<'_, Token>,
    depth: usize,
) -> Result<(Pipeline, Option<Vec<String>>), TemplateError> {
    if depth > DEPTH {
        return Err(error(format!("parentheses stand within one another more than {DEPTH} deep")));
    }
    let mut pipeline = vec![Vec::new()];
    let mut closed = None;
    while let Some(token) = tokens.next() {
        let call = pipeline.last_mut().expect("a pipeline begins with a call");
        match token {
            Token::Field(fields) => call.push(Operand::Field(None, fields.clone())),
            Token::Variable(name, fields) => call.push(Operand::Field(Some(name.clone()), fields.clone())),
            Token::Literal(value) => call.push(Operand::Literal(value.clone())),
            Token::Word(word) if functions::NAMES.contains(&&**word) => {
                call.push(Operand::Function(word.clone()));
            }
            Token::Word(word) => return Err(error(format!("function \"{word}\" not defined"))),
            Token::Sign("(") => match parse_pipeline(tokens, depth + 1)? {
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
    strict: bool,
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
                    value => self.out.push_str(&go::text(&value)),
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
                value => return Err(error(format!("range can't iterate over {}", go::text(value)))),
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
            piped = Some(functions::call(name, &arguments)?);
        }
        Ok(piped.unwrap_or_default())
    }

    fn operand(&self, operand: &Operand, dot: &Value) -> Result<Value, TemplateError> {
        let (from, fields) = match operand {
            Operand::Literal(value) => return Ok(value.clone()),
            Operand::Function(name) => return functions::call(name, &[]),
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
                Value::Object(map) => match map.get(field) {
                    None if self.strict => {
                        return Err(error(format!("map has no entry for key \"{field}\"")));
                    }
                    found => value = found.unwrap_or(&Value::Null),
                },
                Value::Null => return Ok(Value::Null),
                value => return Err(error(format!("can't evaluate field {field} in {}", go::text(value)))),
            }
        }
        Ok(value.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::print::rows;

    #[test]
    fn templates_print_what_kubectl_prints() {
        let root = &rows::objects()[0];
        let checked =
            rows::check(include_str!("tables/go_template.txt"), |template| {
                match Template::parse(template).and_then(|template| template.print(root)) {
                    Ok(text) => text,
                    Err(error) => format!("error: {error}"),
                }
            });
        assert!(checked >= 100, "only {checked} rows");
    }

    #[test]
    fn what_stands_too_deep_is_refused() {
        let nested = |open: &str, inner: &str, close: &str, depth: usize| {
            Template::parse(&[open.repeat(depth), inner.into(), close.repeat(depth)].concat())
        };
        let blocks = |depth| nested("{{if .a}}", "x", "{{end}}", depth);
        let parentheses =
            |depth: usize| Template::parse(&format!("{{{{{}.a{}}}}}", "(".repeat(depth), ")".repeat(depth)));
        let chain = |depth: usize| {
            Template::parse(&format!("{{{{if .a}}}}{}{{{{end}}}}", "{{else if .b}}".repeat(depth)))
        };
        for what in [&blocks as &dyn Fn(usize) -> Result<Template, TemplateError>, &parentheses, &chain] {
            assert!(what(DEPTH - 1).is_ok());
            let refused = what(50_000).err().expect("too deep").to_string();
            assert!(refused.ends_with("within one another more than 100 deep"), "{refused}");
        }
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let root = &rows::objects()[0];
        let check = |template: &str, want: &str| {
            let template = Template::parse(template).expect(template);
            assert_eq!(template.print(root), Err(error(want)));
        };
        check("{{.metadata.name.x}}", "can't evaluate field x in app");
        check("{{range .kind}}{{end}}", "range can't iterate over ImageStream");
        check("{{$y}}", "undefined variable \"$y\"");
        check("{{index .spec.tags 7}}", "index out of range: 7");
        check("{{lt 1 .kind}}", "error calling lt: incompatible types for comparison");
        check("{{.kind .kind}}", "can't give argument to non-function");
    }
}
