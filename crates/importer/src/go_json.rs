//! The words in which Go's `encoding/json` complains. People search for these texts, and recorded runs hold
//! them (spec §3.7), so a registry's garbage is described in the same words here.
//!
//! [`syntax_error`] only finds the first bad character; parsing is serde's.

/// Deepest nesting Go accepts.
const MAX_DEPTH: usize = 10_000;

/// What Go's `json.Unmarshal` says about bytes that are not JSON; `None` for well-formed JSON.
pub(crate) fn syntax_error(bytes: &[u8]) -> Option<String> {
    let mut scanner = Scanner { bytes, at: 0, open: Vec::new() };
    scanner.document().err().map(|stop| match stop {
        Stop::End => "unexpected end of JSON input".to_owned(),
        Stop::Depth => "exceeded max depth".to_owned(),
        Stop::Bad { byte, context } => format!("invalid character {} {context}", quote_byte(byte)),
    })
}

/// Text in double quotes with Go's escapes, as its `%q` prints bytes.
pub(crate) fn quote(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() + 2);
    out.push('"');
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c == '"' { out.push_str("\\\"") } else { escape(c, &mut out) }
        }
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out.push('"');
    out
}

/// One byte in single quotes. Go takes the byte for a Latin-1 character here.
fn quote_byte(byte: u8) -> String {
    let mut out = String::from("'");
    match byte {
        b'\'' => out.push_str("\\'"),
        _ => escape(char::from(byte), &mut out),
    }
    out.push('\'');
    out
}

fn escape(c: char, out: &mut String) {
    match c {
        '\\' => out.push_str("\\\\"),
        '\x07' => out.push_str("\\a"),
        '\x08' => out.push_str("\\b"),
        '\x0c' => out.push_str("\\f"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\x0b' => out.push_str("\\v"),
        ' ' => out.push(' '),
        c if c < ' ' || c == '\x7f' => out.push_str(&format!("\\x{:02x}", u32::from(c))),
        c if c.is_control() || c.is_whitespace() || c == '\u{ad}' || c == '\u{feff}' => {
            out.push_str(&format!("\\u{:04x}", u32::from(c)));
        }
        c => out.push(c),
    }
}

enum Stop {
    End,
    Depth,
    Bad { byte: u8, context: &'static str },
}

type Step<T = ()> = Result<T, Stop>;

#[derive(Clone, Copy)]
enum Open {
    Object,
    Array,
}

/// Walks the bytes with a stack of its own: a registry decides how deep its JSON nests.
struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    open: Vec<Open>,
}

const VALUE: &str = "looking for beginning of value";
const KEY: &str = "looking for beginning of object key string";

impl Scanner<'_> {
    fn document(&mut self) -> Step {
        loop {
            // Here a value begins; afterwards brackets close until the next one has to begin.
            let opened = self.value_or_bracket()?;
            if !opened && !self.close_up_to_next_value()? {
                break;
            }
        }
        match self.after_space() {
            Err(_) => Ok(()),
            Ok(byte) => Err(Stop::Bad { byte, context: "after top-level value" }),
        }
    }

    /// Reads a scalar or an empty bracket pair (`false`), or steps into a bracket up to the place of its
    /// first value (`true`).
    fn value_or_bracket(&mut self) -> Step<bool> {
        let byte = self.after_space()?;
        match byte {
            b'{' => {
                self.enter(Open::Object)?;
                match self.after_space()? {
                    b'}' => self.leave(),
                    b'"' => {
                        self.key()?;
                        return Ok(true);
                    }
                    byte => return Err(Stop::Bad { byte, context: KEY }),
                }
            }
            b'[' => {
                self.enter(Open::Array)?;
                if self.after_space()? != b']' {
                    return Ok(true);
                }
                self.leave();
            }
            b'"' => self.string()?,
            b'-' | b'0'..=b'9' => self.number()?,
            b't' => self.literal(b"rue", TRUE)?,
            b'f' => self.literal(b"alse", FALSE)?,
            b'n' => self.literal(b"ull", NULL)?,
            byte => return Err(Stop::Bad { byte, context: VALUE }),
        }
        Ok(false)
    }

    /// After a value: `true` if another one has to follow, `false` at the end of the outermost.
    fn close_up_to_next_value(&mut self) -> Step<bool> {
        while let Some(open) = self.open.last().copied() {
            let byte = self.after_space()?;
            match (open, byte) {
                (Open::Array, b',') => {
                    self.at += 1;
                    return Ok(true);
                }
                (Open::Object, b',') => {
                    self.at += 1;
                    match self.after_space()? {
                        b'"' => self.key()?,
                        byte => return Err(Stop::Bad { byte, context: KEY }),
                    }
                    return Ok(true);
                }
                (Open::Array, b']') | (Open::Object, b'}') => self.leave(),
                (Open::Array, byte) => return Err(Stop::Bad { byte, context: "after array element" }),
                (Open::Object, byte) => {
                    return Err(Stop::Bad { byte, context: "after object key:value pair" });
                }
            }
        }
        Ok(false)
    }

    fn enter(&mut self, open: Open) -> Step {
        self.at += 1;
        self.open.push(open);
        if self.open.len() > MAX_DEPTH { Err(Stop::Depth) } else { Ok(()) }
    }

    fn leave(&mut self) {
        self.at += 1;
        self.open.pop();
    }

    fn key(&mut self) -> Step {
        self.string()?;
        match self.after_space()? {
            b':' => {
                self.at += 1;
                Ok(())
            }
            byte => Err(Stop::Bad { byte, context: "after object key" }),
        }
    }

    fn string(&mut self) -> Step {
        self.at += 1;
        loop {
            match self.next()? {
                b'"' => return Ok(()),
                b'\\' => match self.next()? {
                    b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"' => {}
                    b'u' => {
                        for _ in 0..4 {
                            let byte = self.next()?;
                            if !byte.is_ascii_hexdigit() {
                                return Err(Stop::Bad {
                                    byte,
                                    context: "in \\u hexadecimal character escape",
                                });
                            }
                        }
                    }
                    byte => return Err(Stop::Bad { byte, context: "in string escape code" }),
                },
                byte if byte < b' ' => return Err(Stop::Bad { byte, context: "in string literal" }),
                _ => {}
            }
        }
    }

    fn number(&mut self) -> Step {
        if self.bytes[self.at] == b'-' {
            self.at += 1;
        }
        match self.next()? {
            b'0' => {}
            b'1'..=b'9' => self.digits(),
            byte => return Err(Stop::Bad { byte, context: "in numeric literal" }),
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digit("after decimal point in numeric literal")?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digit("in exponent of numeric literal")?;
        }
        Ok(())
    }

    fn digit(&mut self, context: &'static str) -> Step {
        match self.next()? {
            b'0'..=b'9' => {
                self.digits();
                Ok(())
            }
            byte => Err(Stop::Bad { byte, context }),
        }
    }

    fn digits(&mut self) {
        while self.peek().is_some_and(|b| b.is_ascii_digit()) {
            self.at += 1;
        }
    }

    fn literal(&mut self, rest: &[u8], contexts: [&'static str; 4]) -> Step {
        self.at += 1;
        for (&expected, context) in rest.iter().zip(contexts) {
            let byte = self.next()?;
            if byte != expected {
                return Err(Stop::Bad { byte, context });
            }
        }
        Ok(())
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn next(&mut self) -> Step<u8> {
        let byte = self.peek().ok_or(Stop::End)?;
        self.at += 1;
        Ok(byte)
    }

    /// The next byte that is no white space, not yet consumed.
    fn after_space(&mut self) -> Step<u8> {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
        self.peek().ok_or(Stop::End)
    }
}

const TRUE: [&str; 4] = [
    "in literal true (expecting 'r')",
    "in literal true (expecting 'u')",
    "in literal true (expecting 'e')",
    "",
];
const FALSE: [&str; 4] = [
    "in literal false (expecting 'a')",
    "in literal false (expecting 'l')",
    "in literal false (expecting 's')",
    "in literal false (expecting 'e')",
];
const NULL: [&str; 4] = [
    "in literal null (expecting 'u')",
    "in literal null (expecting 'l')",
    "in literal null (expecting 'l')",
    "",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn garbage_is_described_in_gos_words() {
        let check = |text: &str, error: &str| {
            assert_eq!(syntax_error(text.as_bytes()).unwrap_or_default(), error, "{text}");
        };
        check(r#" {"a": [1, -2.5e+3, {"b": null}], "c": "\u00e9\n"} "#, "");
        check("[]", "");
        check("[[], {}, [0]]", "");
        check("this is not a json document\n", "invalid character 'h' in literal true (expecting 'r')");
        check("nope", "invalid character 'o' in literal null (expecting 'u')");
        check("falsy", "invalid character 'y' in literal false (expecting 'e')");
        check("<html>", "invalid character '<' looking for beginning of value");
        check("404 page not found\n", "invalid character 'p' after top-level value");
        check("Not found", "invalid character 'N' looking for beginning of value");
        check("", "unexpected end of JSON input");
        check("{\"a\":", "unexpected end of JSON input");
        check("{\"a\"", "unexpected end of JSON input");
        check("[1,", "unexpected end of JSON input");
        check("\"abc", "unexpected end of JSON input");
        check("{a:1}", "invalid character 'a' looking for beginning of object key string");
        check("{\"a\" 1}", "invalid character '1' after object key");
        check("{\"a\":1 \"b\"}", "invalid character '\"' after object key:value pair");
        check("{\"a\":1,}", "invalid character '}' looking for beginning of object key string");
        check("[1 2]", "invalid character '2' after array element");
        check("[1,]", "invalid character ']' looking for beginning of value");
        check("[01]", "invalid character '1' after array element");
        check("-x", "invalid character 'x' in numeric literal");
        check("1.x", "invalid character 'x' after decimal point in numeric literal");
        check("1ex", "invalid character 'x' in exponent of numeric literal");
        check("\"\\x\"", "invalid character 'x' in string escape code");
        check("\"\\u00g0\"", "invalid character 'g' in \\u hexadecimal character escape");
        check("\"a\nb\"", "invalid character '\\n' in string literal");
        check("'a'", "invalid character '\\'' looking for beginning of value");
        check("\x1b[0m", "invalid character '\\x1b' looking for beginning of value");
        check("é", "invalid character 'Ã' looking for beginning of value");
        check(&"[".repeat(10_001), "exceeded max depth");
    }

    #[test]
    fn bytes_are_quoted_as_go_quotes_them() {
        let check = |bytes: &[u8], quoted: &str| assert_eq!(quote(bytes), quoted);
        check(b"nope", r#""nope""#);
        check(b"a \"b\"\n\t\x00\\", r#""a \"b\"\n\t\x00\\""#);
        check("grün".as_bytes(), "\"grün\"");
        check(b"\xff\xfe", r#""\xff\xfe""#);
    }

    proptest::proptest! {
        /// What this scanner lets pass is what serde lets pass, limits of depth and number size aside.
        #[test]
        fn agrees_with_serde(text in r#"[\[\]{}:,"a\\u0-9.eE+\- tfnrulse]{0,24}"#) {
            let ours = syntax_error(text.as_bytes()).is_none();
            let serde = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
            // Lone surrogates are Go's to accept.
            proptest::prop_assert!(ours == serde || text.contains("\\u"), "{} {ours} {serde}", text);
        }
    }
}
