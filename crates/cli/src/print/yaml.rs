//! YAML as `sigs.k8s.io/yaml` writes it: block style, lists not indented below their key, long plain text folded
//! behind column 80, and quotes only where the text would otherwise read as something else.
//!
//! The rules are libyaml's, as Go's yaml.v2 carries them.

use std::cmp::Ordering;
use std::fmt::Write;

use serde_json::{Map, Value};

/// Prints a value as one YAML document.
pub(crate) fn document(value: &Value) -> String {
    let mut writer = Writer { out: String::new() };
    match value {
        Value::Object(map) if !map.is_empty() => writer.mapping(map, 0, false),
        Value::Array(items) if !items.is_empty() => writer.sequence(items, 0),
        _ => {
            writer.scalar(value, 0);
            writer.out.push('\n');
        }
    }
    writer.out
}

/// Lines are folded at the first space behind this column.
const WIDTH: usize = 80;

struct Writer {
    out: String,
}

impl Writer {
    /// Writes the pairs of a mapping. `inline`: the first stands behind a list's dash.
    fn mapping(&mut self, map: &Map<String, Value>, indent: usize, inline: bool) {
        let mut keys: Vec<&String> = map.keys().collect();
        keys.sort_by(|a, b| natural_order(a, b));
        for (index, key) in keys.into_iter().enumerate() {
            if index > 0 || !inline {
                self.indent(indent);
            }
            self.text(key, indent, true);
            self.out.push(':');
            match &map[key] {
                Value::Object(inner) if !inner.is_empty() => {
                    self.out.push('\n');
                    self.mapping(inner, indent + 2, false);
                }
                Value::Array(items) if !items.is_empty() => {
                    self.out.push('\n');
                    self.sequence(items, indent);
                }
                value => {
                    self.out.push(' ');
                    self.scalar(value, indent);
                    self.out.push('\n');
                }
            }
        }
    }

    fn sequence(&mut self, items: &[Value], indent: usize) {
        for item in items {
            self.indent(indent);
            self.out.push_str("- ");
            match item {
                Value::Object(map) if !map.is_empty() => self.mapping(map, indent + 2, true),
                Value::Array(inner) if !inner.is_empty() => {
                    // The first item of an inner list stands behind the outer dash.
                    let from = self.out.len();
                    self.sequence(inner, indent + 2);
                    self.out.replace_range(from..from + indent + 2, "");
                }
                value => {
                    self.scalar(value, indent);
                    self.out.push('\n');
                }
            }
        }
    }

    fn scalar(&mut self, value: &Value, indent: usize) {
        match value {
            Value::Null => self.out.push_str("null"),
            Value::Bool(value) => write!(self.out, "{value}").expect("memory takes what is written"),
            Value::Number(value) => write!(self.out, "{value}").expect("memory takes what is written"),
            Value::String(text) => self.text(text, indent, false),
            Value::Array(_) => self.out.push_str("[]"),
            Value::Object(_) => self.out.push_str("{}"),
        }
    }

    fn text(&mut self, text: &str, indent: usize, key: bool) {
        let shape = Shape::of(text);
        let fold = !key;
        if text.contains('\n') {
            if shape.block && !key {
                self.literal(text, indent)
            } else {
                self.double_quoted(text, indent, fold)
            }
        } else if reads_as_something_else(text) {
            self.double_quoted(text, indent, fold);
        } else if shape.plain {
            self.folded(text, indent, fold);
        } else if shape.single_quoted {
            self.out.push('\'');
            self.folded(&text.replace('\'', "''"), indent, fold);
            self.out.push('\'');
        } else {
            self.double_quoted(text, indent, fold);
        }
    }

    /// Writes text of one line, going on in the next at a lone space behind the width.
    fn folded(&mut self, text: &str, indent: usize, fold: bool) {
        let mut column = self.column();
        let mut after_space = false;
        for (index, c) in text.char_indices() {
            let rest = &text[index + c.len_utf8()..];
            let inside = index > 0 && !rest.is_empty();
            if c == ' ' && fold && inside && !after_space && column > WIDTH && !rest.starts_with(' ') {
                self.out.push('\n');
                self.indent(indent + 2);
                column = indent + 2;
            } else {
                self.out.push(c);
                column += 1;
            }
            after_space = c == ' ';
        }
    }

    fn literal(&mut self, text: &str, indent: usize) {
        self.out.push('|');
        if text.starts_with([' ', '\n']) {
            self.out.push('2');
        }
        let body = text.strip_suffix('\n');
        match body {
            None => self.out.push('-'),
            Some(body) if body.is_empty() || body.ends_with('\n') => self.out.push('+'),
            Some(_) => {}
        }
        for line in body.unwrap_or(text).split('\n') {
            self.out.push('\n');
            if !line.is_empty() {
                self.indent(indent + 2);
                self.out.push_str(line);
            }
        }
    }

    fn double_quoted(&mut self, text: &str, indent: usize, fold: bool) {
        self.out.push('"');
        let mut column = self.column();
        let mut after_space = false;
        for (index, c) in text.char_indices() {
            let rest = &text[index + c.len_utf8()..];
            let inside = index > 0 && !rest.is_empty();
            if c == ' ' && fold && inside && !after_space && column > WIDTH {
                self.out.push('\n');
                self.indent(indent + 2);
                column = indent + 2;
                if rest.starts_with(' ') {
                    self.out.push('\\');
                    column += 1;
                }
            } else {
                let from = self.out.len();
                self.escaped(c);
                column += self.out[from..].chars().count();
            }
            after_space = c == ' ';
        }
        self.out.push('"');
    }

    fn escaped(&mut self, c: char) {
        let short = match c {
            '\0' => '0',
            '\u{7}' => 'a',
            '\u{8}' => 'b',
            '\t' => 't',
            '\n' => 'n',
            '\u{b}' => 'v',
            '\u{c}' => 'f',
            '\r' => 'r',
            '\u{1b}' => 'e',
            '"' => '"',
            '\\' => '\\',
            '\u{85}' => 'N',
            '\u{a0}' => '_',
            '\u{2028}' => 'L',
            '\u{2029}' => 'P',
            c if is_printable(c) => return self.out.push(c),
            c => {
                let code = u32::from(c);
                let written = match code {
                    0..=0xff => write!(self.out, "\\x{code:02X}"),
                    0x100..=0xffff => write!(self.out, "\\u{code:04X}"),
                    _ => write!(self.out, "\\U{code:08X}"),
                };
                return written.expect("memory takes what is written");
            }
        };
        self.out.push('\\');
        self.out.push(short);
    }

    fn indent(&mut self, indent: usize) {
        self.out.extend(std::iter::repeat_n(' ', indent));
    }

    fn column(&self) -> usize {
        self.out.rsplit('\n').next().map_or(0, |line| line.chars().count())
    }
}

/// Which styles can carry a text (libyaml's `analyze_scalar`).
struct Shape {
    plain: bool,
    single_quoted: bool,
    block: bool,
}

impl Shape {
    fn of(text: &str) -> Self {
        let mut indicators = text.starts_with("---") || text.starts_with("...");
        let (mut special, mut breaks, mut break_space, mut space_break) = (false, false, false, false);
        let mut before: Option<char> = None;
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            let before_blank = chars.peek().is_none_or(|&next| is_blank(next));
            indicators |= match before {
                None => match c {
                    '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%'
                    | '@' | '`' => true,
                    '?' | ':' | '-' => before_blank,
                    _ => false,
                },
                Some(before) => match c {
                    ':' => before_blank,
                    '#' => is_blank(before),
                    _ => false,
                },
            };
            special |= !is_printable(c);
            breaks |= is_break(c);
            break_space |= c == ' ' && before.is_some_and(is_break);
            space_break |= is_break(c) && before == Some(' ');
            before = Some(c);
        }
        let edge = |c: char| c == ' ' || is_break(c);
        let odd = space_break || special;
        Self {
            plain: !(indicators || odd || breaks || text.starts_with(edge) || text.ends_with(edge)),
            single_quoted: !(odd || break_space),
            block: !(odd || text.ends_with(' ')),
        }
    }
}

fn is_break(c: char) -> bool {
    matches!(c, '\r' | '\n' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t') || is_break(c)
}

fn is_printable(c: char) -> bool {
    matches!(c, '\n' | '\u{20}'..='\u{7e}' | '\u{85}' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fefe}' | '\u{ff00}'..='\u{fffd}')
}

/// Whether a reader would take the bare text for null, a truth value, a number or a time (yaml.v2's `resolve`).
fn reads_as_something_else(text: &str) -> bool {
    const WORDS: [&str; 13] =
        ["true", "false", "y", "yes", "on", "n", "no", "off", "null", ".nan", ".inf", "+.inf", "-.inf"];
    const PLAIN: [&str; 3] = ["", "~", "<<"];
    if PLAIN.contains(&text) {
        return true;
    }
    // `true`, `True` and `TRUE`, but not `tRue`.
    let cased = |word: &str| {
        let mut title = word.to_owned();
        if let Some(letter) = title.find(|c: char| c.is_ascii_alphabetic()) {
            title[letter..=letter].make_ascii_uppercase();
        }
        text == word || text == title || text == word.to_uppercase()
    };
    if WORDS.iter().any(|word| cased(word)) || text == ".NaN" {
        return true;
    }
    text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.'))
        && (is_time(text) || is_integer(text) || is_float(text) || is_base_sixty(text))
}

fn is_integer(text: &str) -> bool {
    let plain = text.replace('_', "");
    let digits = plain.strip_prefix(['+', '-']).unwrap_or(&plain);
    let lower = digits.to_ascii_lowercase();
    let (rest, radix) = match lower.get(..2) {
        Some("0x") => (&lower[2..], 16),
        Some("0b") => (&lower[2..], 2),
        Some("0o") => (&lower[2..], 8),
        _ if lower.len() > 1 && lower.starts_with('0') => (&lower[1..], 8),
        _ => (&*lower, 10),
    };
    !rest.starts_with(['+', '-'])
        && (i64::from_str_radix(rest, radix).is_ok() || u64::from_str_radix(rest, radix).is_ok())
}

/// `[-+]?[0-9]*\.?[0-9]+([eE][-+][0-9]+)?`, and `.5` in any way Go reads it.
fn is_float(text: &str) -> bool {
    let plain = text.replace('_', "");
    let digits = plain.strip_prefix(['+', '-']).unwrap_or(&plain);
    let (mantissa, exponent) = match digits.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (digits, None),
    };
    let all_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let number = |text: &str| !text.is_empty() && all_digits(text);
    let mantissa_ok = match mantissa.split_once('.') {
        Some((whole, fraction)) => all_digits(whole) && number(fraction),
        None => number(mantissa),
    };
    mantissa_ok && exponent.is_none_or(|e| e.strip_prefix(['+', '-']).is_some_and(number))
}

/// `1:30`: ninety seconds, once.
fn is_base_sixty(text: &str) -> bool {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let mut parts = digits.split(':');
    let first = parts.next().unwrap_or_default();
    let rest: Vec<&str> = parts.collect();
    let sixtieth = |part: &str| {
        let part = part.split('.').next().unwrap_or_default();
        matches!(part.len(), 1 | 2) && part.parse::<u8>().is_ok_and(|number| number < 60)
    };
    first.starts_with(|c: char| c.is_ascii_digit())
        && first.bytes().all(|b| b.is_ascii_digit() || b == b'_')
        && !rest.is_empty()
        && rest.iter().all(|part| sixtieth(part))
}

fn is_time(text: &str) -> bool {
    use chrono::{DateTime, NaiveDate, NaiveDateTime};
    let four_digits =
        text.len() > 4 && text.bytes().take(4).all(|b| b.is_ascii_digit()) && text.as_bytes()[4] == b'-';
    four_digits
        && (NaiveDate::parse_from_str(text, "%Y-%m-%d").is_ok()
            || NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f").is_ok()
            || DateTime::parse_from_rfc3339(text).is_ok())
}

/// The order of keys in yaml.v2: letters after everything else, digits as numbers.
fn natural_order(a: &str, b: &str) -> Ordering {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let Some(at) = a.iter().zip(&b).position(|(a, b)| a != b) else {
        return a.len().cmp(&b.len());
    };
    let (left, right) = (a[at], b[at]);
    match (left.is_alphabetic(), right.is_alphabetic()) {
        (true, true) => return left.cmp(&right),
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    // A number that began before the difference is not made shorter by a leading zero.
    let in_number = (left == '0' || right == '0')
        && a[..at].iter().rev().take_while(|c| c.is_ascii_digit()).any(|&c| c != '0');
    let number = |text: &[char]| {
        let digits: Vec<u64> = text[at..].iter().map_while(|c| c.to_digit(10)).map(u64::from).collect();
        let value = digits
            .iter()
            .fold(u64::from(in_number), |sum, digit| sum.saturating_mul(10).saturating_add(*digit));
        (value, digits.len())
    };
    number(&a).cmp(&number(&b)).then(left.cmp(&right))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn text_is_quoted_only_where_it_must_be() {
        let check = |text: &str, want: &str| {
            assert_eq!(document(&json!({ "k": text })), format!("k: {want}\n"), "{text:?}");
        };
        check("team/app:v1.0.0", "team/app:v1.0.0");
        check("18.09.1", "18.09.1");
        check("PATH=/bin:/usr/bin", "PATH=/bin:/usr/bin");
        check("https://example.com/r.git", "https://example.com/r.git");
        check(
            "dockerimage.image.openshift.io \"a:1\" not found",
            "dockerimage.image.openshift.io \"a:1\" not found",
        );
        for quoted in [
            "1",
            "1.0",
            "3.20",
            "true",
            "No",
            "OFF",
            "null",
            "~",
            "",
            "2026-11-23T12:48:05Z",
            "2021-01-01",
            "0x1f",
            "017",
            "1_000",
            "1:30",
            "+1",
            "-1.5e+3",
            ".5",
            "y",
        ] {
            check(quoted, &format!("\"{quoted}\""));
        }
        for plain in
            ["v1", "1.2.3", "nope", "tRue", "1e3", "2021-13-01x", "a#b", "-x", "sha256:0e1", "<none>", "a, b"]
        {
            check(plain, plain);
        }
        check("Error: it broke", "'Error: it broke'");
        check("it's: odd", "'it''s: odd'");
        check("*", "'*'");
        check("- x", "'- x'");
        check("a # b", "'a # b'");
        check(" x", "' x'");
        check("[x]", "'[x]'");
        check("a\tb", "\"a\\tb\"");
        check("ü", "ü");
    }

    #[test]
    fn text_of_several_lines_is_a_block() {
        let check = |text: &str, want: &str| assert_eq!(document(&json!({ "k": text })), want, "{text:?}");
        check("A multi\nline", "k: |-\n  A multi\n  line\n");
        check("a\nb\n", "k: |\n  a\n  b\n");
        check("a\n\n", "k: |+\n  a\n\n");
        check(" a\nb", "k: |2-\n   a\n  b\n");
        check("a \nb", "k: \"a \\nb\"\n");
    }

    #[test]
    fn long_text_goes_on_in_the_next_line() {
        let words = ["0123456789"; 10].join(" ");
        let half = ["0123456789"; 8].join(" ");
        assert_eq!(document(&json!({ "k": words })), format!("k: {half}\n  0123456789 0123456789\n"));
    }

    #[test]
    fn nesting_is_by_two_and_lists_stand_below_their_key() {
        let value = json!({"items": [{"b": [], "a": {}}, [1, [2]], "x"], "apiVersion": "v1", "Id": null});
        let want = "Id: null\napiVersion: v1\nitems:\n- a: {}\n  b: []\n- - 1\n  - - 2\n- x\n";
        assert_eq!(document(&value), want);
    }

    #[test]
    fn keys_are_in_their_natural_order() {
        let mut keys = vec!["b10", "b9", "a.b", "ab", "B", "a", "a-b", "a_b", "1"];
        keys.sort_by(|a, b| natural_order(a, b));
        assert_eq!(keys, ["1", "B", "a", "a-b", "a.b", "a_b", "ab", "b9", "b10"]);
    }
}
