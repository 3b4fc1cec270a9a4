//! Which streams a label selector means: Kubernetes' syntax, `a=b,c!=d,e in (f,g),h notin (i),j,!k`.

use tagtrail_domain::tag::Entries;

/// A parsed label selector. All of its requirements must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selector(Vec<Requirement>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Requirement {
    In(String, Vec<String>),
    /// Holds as well where the label is missing.
    NotIn(String, Vec<String>),
    Exists(String),
    Missing(String),
}

/// A text is not a label selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "unable to parse label selector \"{text}\": {why}; write for example `app=web,tier!=db,env in (a,b),!old`"
)]
pub struct SelectorError {
    text: String,
    why: &'static str,
}

impl Selector {
    /// The one door in. An empty text selects everything.
    ///
    /// # Errors
    /// [`SelectorError`] says what is wrong.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let fail = |why| SelectorError { text: text.to_owned(), why };
        let mut requirements = Vec::new();
        for part in split(text).map_err(fail)? {
            requirements.push(requirement(part.trim()).map_err(fail)?);
        }
        Ok(Self(requirements))
    }

    /// Whether labels fulfil every requirement.
    #[must_use]
    pub fn matches(&self, labels: &Entries) -> bool {
        self.0.iter().all(|requirement| match requirement {
            Requirement::In(key, values) => labels.get(key).is_some_and(|value| values.contains(value)),
            Requirement::NotIn(key, values) => !labels.get(key).is_some_and(|value| values.contains(value)),
            Requirement::Exists(key) => labels.contains_key(key),
            Requirement::Missing(key) => !labels.contains_key(key),
        })
    }
}

/// Splits at commas outside of parentheses.
fn split(text: &str) -> Result<Vec<&str>, &'static str> {
    let mut parts = Vec::new();
    let (mut start, mut inside) = (0, false);
    for (at, c) in text.char_indices() {
        match c {
            '(' if inside => return Err("a parenthesis in a parenthesis"),
            '(' => inside = true,
            ')' if !inside => return Err("a parenthesis that was never opened"),
            ')' => inside = false,
            ',' if !inside => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    if inside {
        return Err("a parenthesis that is never closed");
    }
    if !text[start..].trim().is_empty() || !parts.is_empty() {
        parts.push(&text[start..]);
    }
    Ok(parts)
}

fn requirement(part: &str) -> Result<Requirement, &'static str> {
    let one = |text: &str| value(text).map(|value| vec![value]);
    if let Some((head, list)) = part.split_once('(') {
        let list = list.trim_end().strip_suffix(')').ok_or("text after a parenthesis")?;
        let values = list.split(',').map(value).collect::<Result<_, _>>()?;
        let (name, word) = head.trim().rsplit_once(char::is_whitespace).ok_or("no key before a list")?;
        return match word {
            "in" => Ok(Requirement::In(key(name)?, values)),
            "notin" => Ok(Requirement::NotIn(key(name)?, values)),
            _ => Err("a list without `in` or `notin`"),
        };
    }
    if let Some(name) = part.strip_prefix('!') {
        return Ok(Requirement::Missing(key(name)?));
    }
    if let Some((name, value)) = part.split_once("!=") {
        return Ok(Requirement::NotIn(key(name)?, one(value)?));
    }
    if let Some((name, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return Ok(Requirement::In(key(name)?, one(value)?));
    }
    Ok(Requirement::Exists(key(part)?))
}

fn key(text: &str) -> Result<String, &'static str> {
    let text = text.trim();
    let good = !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/'));
    if good { Ok(text.to_owned()) } else { Err("a key is empty or has characters that no label key has") }
}

/// A label's value may be empty.
fn value(text: &str) -> Result<String, &'static str> {
    let text = text.trim();
    if text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')) {
        Ok(text.to_owned())
    } else {
        Err("a value has characters that no label value has")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_means_what_kubernetes_means() {
        let check = |selector: &str, labels: &str, expected: bool| {
            let labels: Entries = labels
                .split_whitespace()
                .filter_map(|l| l.split_once('='))
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .collect();
            let parsed = Selector::parse(selector).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(parsed.matches(&labels), expected, "{selector} on {labels:?}");
        };
        check("", "a=b", true);
        check("a=b", "a=b", true);
        check("a==b", "a=c", false);
        check("a!=b", "", true); // A missing label is not b either.
        check("a!=b", "a=b", false);
        check("a=", "a=", true);
        check("a in (b,c), d", "a=c d=1", true);
        check("a in (b,c),d", "a=c", false);
        check("a notin (b)", "a=b", false);
        check("!a", "a=b", false);
        check("!a", "", true);
    }

    #[test]
    fn what_is_no_selector_is_refused() {
        for bad in
            ["a in b,c)", "a in (b", "=b", ",", "a b (c)", "a b", "ü=1", "a==b==c", "a=b c", "a in (b=)"]
        {
            assert!(Selector::parse(bad).is_err(), "{bad}");
        }
    }
}
