//! From text to [`Node`]s, with kubectl's mistakes told in kubectl's words.

use serde_json::{Number, Value};

use super::{Node, PathError, Slice, Step, flaw};

/// Parses a whole template.
///
/// # Errors
/// [`PathError`] says what is wrong.
pub(super) fn template(text: &str) -> Result<Vec<Node>, PathError> {
    let mut parser = Parser { rest: text };
    // What was begun, outermost first: the way into each range, and what has been read of it.
    let mut open: Vec<(Vec<Step>, Vec<Node>)> = Vec::new();
    let mut nodes = Vec::new();
    while !parser.rest.is_empty() {
        let (plain, action) = parser.rest.split_at(parser.rest.find('{').unwrap_or(parser.rest.len()));
        if !plain.is_empty() {
            nodes.push(Node::Steps(vec![Step::Literal(plain.into())]));
        }
        let Some(action) = action.strip_prefix('{') else { break };
        parser.rest = action;
        let (steps, word) = parser.action()?;
        match word {
            None => nodes.push(Node::Steps(steps)),
            Some(Word::Range) => open.push((steps, std::mem::take(&mut nodes))),
            Some(Word::End) => match open.pop() {
                Some((steps, before)) => {
                    let body = std::mem::replace(&mut nodes, before);
                    nodes.push(Node::Range(steps, body));
                }
                None => nodes.push(Node::StrayEnd),
            },
        }
    }
    while let Some((steps, before)) = open.pop() {
        let body = std::mem::replace(&mut nodes, before);
        nodes.push(Node::Range(steps, body));
    }
    Ok(nodes)
}

/// What an action begins or ends.
enum Word {
    Range,
    End,
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn next(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.rest = &self.rest[c.len_utf8()..];
        Some(c)
    }

    /// Takes what `belongs`.
    fn take(&mut self, belongs: impl Fn(char) -> bool) -> &'a str {
        let (taken, rest) = self.rest.split_at(self.rest.find(|c| !belongs(c)).unwrap_or(self.rest.len()));
        self.rest = rest;
        taken
    }

    /// Parses an action up to and with its `}`.
    fn action(&mut self) -> Result<(Vec<Step>, Option<Word>), PathError> {
        let (mut steps, mut word) = (Vec::new(), None);
        loop {
            if let Some(rest) = self.rest.strip_prefix("[?(") {
                self.rest = rest;
                steps.push(self.filter()?);
                continue;
            }
            if let Some(rest) = self.rest.strip_prefix("..") {
                if matches!(steps.last(), Some(Step::Recursive)) {
                    return Err(flaw("invalid multiple recursive descent"));
                }
                self.rest = rest;
                steps.push(Step::Recursive);
                if rest.starts_with(is_word) {
                    steps.push(self.field());
                }
                continue;
            }
            let before = self.rest;
            match self.next() {
                Some('}') => return Ok((steps, word)),
                None | Some('\n' | '\r') => return Err(flaw("unclosed action")),
                Some(' ' | '@' | '$') => {}
                Some('.') => steps.push(self.field()),
                Some('[') => steps.extend(self.bracket()?),
                Some(quote @ ('"' | '\'')) => steps.push(Step::Literal(self.quoted(before, quote)?.into())),
                Some(c) if matches!(c, '+' | '-') || c.is_numeric() => {
                    let after_sign = self.rest.trim_start_matches(|c: char| c.is_numeric() || c == '.');
                    let text = &before[..before.len() - after_sign.len()];
                    self.rest = after_sign;
                    steps.push(Step::Literal(number(text)?));
                }
                Some(c) if is_word(c) => {
                    self.rest = before;
                    match self.take(|c| !is_terminator(c)) {
                        "range" => word = Some(Word::Range),
                        "end" => word = Some(Word::End),
                        "true" => steps.push(Step::Literal(true.into())),
                        "false" => steps.push(Step::Literal(false.into())),
                        other => steps.push(Step::Unknown(other.to_owned())),
                    }
                }
                Some(c) => {
                    let shown = if c.is_control() { String::new() } else { format!(" '{c}'") };
                    let code = u32::from(c);
                    return Err(flaw(format!("unrecognized character in action: U+{code:04X}{shown}")));
                }
            }
        }
    }

    /// A name, or `*`. A backslash takes the next character into the name, whatever it is.
    fn field(&mut self) -> Step {
        let start = self.rest;
        while let Some(c) = self.rest.chars().next().filter(|&c| !is_terminator(c)) {
            self.next();
            if c == '\\' {
                self.next();
            }
        }
        match &start[..start.len() - self.rest.len()] {
            "*" => Step::Wildcard,
            name => Step::Field(name.replace('\\', "")),
        }
    }

    /// What stands in brackets, the first of which is behind us.
    fn bracket(&mut self) -> Result<Vec<Step>, PathError> {
        let end = self.rest.find([']', '\n']).filter(|&at| self.rest[at..].starts_with(']'));
        let end = end.ok_or_else(|| flaw("unterminated array"))?;
        let text = &self.rest[..end];
        self.rest = &self.rest[end + 1..];
        if text.contains(',') {
            let parts = text.split(',').map(|part| steps_of(&format!("[{}]", part.trim_matches(' '))));
            return Ok(vec![Step::Union(parts.collect::<Result<_, _>>()?)]);
        }
        let key = text.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
        if let Some(key) = key.filter(|key| !key.contains('\'')) {
            return steps_of(&format!(".{key}"));
        }
        Ok(vec![Step::Slice(slice(text)?)])
    }

    /// What stands in `[?(…)]`, the beginning of which is behind us.
    fn filter(&mut self) -> Result<Step, PathError> {
        let start = self.rest;
        // A bracket within the first quoted text does not close.
        let (mut quote, mut quoted, mut last) = (None, false, ' ');
        loop {
            let c = self.next().filter(|&c| c != '\n').ok_or_else(|| flaw("unterminated filter"))?;
            match (c, quote) {
                ('"' | '\'', None) => quote = Some(c),
                ('"' | '\'', Some(begun)) if c == begun && last != '\\' => quoted = true,
                (')', _) if quote.is_some() == quoted => break,
                _ => {}
            }
            last = c;
        }
        let text = &start[..start.len() - self.rest.len() - 1];
        if self.next() != Some(']') {
            return Err(flaw("unclosed array expect ]"));
        }
        let signs = ['!', '<', '>', '='];
        let Some(at) = text.find(signs).filter(|&at| at > 0) else {
            return Ok(Step::Exists(steps_of(text)?));
        };
        let (left, rest) = text.split_at(at);
        let signed = rest.find(|c| !signs.contains(&c)).unwrap_or(rest.len());
        // What follows the operator has at least one character, if it has to be the operator's last.
        let signed = if signed == rest.len() { signed - 1 } else { signed };
        if signed == 0 {
            return Ok(Step::Exists(steps_of(text)?));
        }
        let (operator, right) = rest.split_at(signed);
        Ok(Step::Compare(steps_of(left)?, operator.to_owned(), steps_of(right)?))
    }

    /// The text in quotes that `from` begins with.
    fn quoted(&mut self, from: &str, quote: char) -> Result<String, PathError> {
        let mut last = quote;
        loop {
            match self.next() {
                None | Some('\n') => return Err(flaw("unterminated quoted string")),
                Some(c) if c == quote && last != '\\' => break,
                Some(c) => last = c,
            }
        }
        let text = &from[..from.len() - self.rest.len()];
        unquoted(&text[1..text.len() - 1], quote)
            .ok_or_else(|| flaw(format!("unquote string {text} error invalid syntax")))
    }
}

/// The steps of a text that stands for an action.
fn steps_of(text: &str) -> Result<Vec<Step>, PathError> {
    let text = format!("{text}}}");
    let (mut steps, word) = Parser { rest: &text }.action()?;
    steps.extend(word.map(|word| {
        Step::Unknown(match word {
            Word::Range => "range".into(),
            Word::End => "end".into(),
        })
    }));
    Ok(steps)
}

fn number(text: &str) -> Result<Value, PathError> {
    let whole = text.parse::<i64>().ok().map(Value::from);
    let value = whole.or_else(|| text.parse().ok().and_then(Number::from_f64).map(Value::Number));
    value.ok_or_else(|| flaw(format!("cannot parse number {text}")))
}

fn slice(text: &str) -> Result<Slice, PathError> {
    let text = if text == "*" { ":" } else { text };
    let parts: Vec<&str> = text.split(':').collect();
    let is_place =
        |part: &&str| part.strip_prefix('-').unwrap_or(part).bytes().all(|byte| byte.is_ascii_digit());
    if parts.len() > 3 || !parts.iter().all(is_place) {
        return Err(flaw(format!("invalid array index {text}")));
    }
    let place = |part: Option<&&str>| match part {
        None | Some(&"") => Ok(None),
        Some(part) => part.parse().map(Some).map_err(|_| flaw(format!("array index {part} is not a number"))),
    };
    let (start, end, step) = (place(parts.first())?, place(parts.get(1))?, place(parts.get(2))?);
    let single = parts.len() == 1;
    let end = if single { Some(start.unwrap_or(0) + 1) } else { end };
    Ok(Slice { start, end, step, single })
}

/// The text that Go's quotes hold, or `None` for an escape that there is not.
fn unquoted(text: &str, quote: char) -> Option<String> {
    let mut plain = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        if c != '\\' {
            plain.push(c);
            continue;
        }
        let escape = rest.chars().next()?;
        // A number is written with so many digits, from here on.
        let (skipped, digits, radix) = match escape {
            'x' => (1, 2, 16),
            'u' => (1, 4, 16),
            'U' => (1, 8, 16),
            '0'..='7' => (0, 3, 8),
            _ => (escape.len_utf8(), 0, 10),
        };
        plain.push(match escape {
            'a' => '\u{7}',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\u{b}',
            c if c == '\\' || c == quote => c,
            _ if digits > 0 => {
                let code = u32::from_str_radix(rest.get(skipped..skipped + digits)?, radix).ok()?;
                char::from_u32(code)?
            }
            _ => return None,
        });
        rest = &rest[skipped + digits..];
    }
    Some(plain)
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

fn is_terminator(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n' | '.' | ',' | '[' | ']' | '$' | '@' | '{' | '}')
}
