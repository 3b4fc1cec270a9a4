//! `-o custom-columns=HEADER:.path,…` and the order of `--sort-by`.

use std::cmp::Ordering;

use serde_json::Value;

use crate::print::jsonpath::{Path, PathError};
use crate::print::{tabs, template};

/// A parsed `custom-columns` specification.
pub(crate) struct Columns(Vec<(String, Path)>);

/// Why columns cannot be printed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ColumnsError {
    /// Nothing was given.
    #[error("custom-columns format specified but no custom columns given")]
    Empty,
    /// A column is not `HEADER:PATH`.
    #[error("unexpected custom-columns spec: {0}, expected <header>:<json-path-expr>")]
    Spec(String),
    /// A path is wrong.
    #[error(transparent)]
    Path(#[from] PathError),
}

impl Columns {
    /// Parses `NAME:.metadata.name,TAGS:.spec.tags[*].name`.
    ///
    /// # Errors
    /// [`ColumnsError`] for what is no such list.
    pub(crate) fn parse(text: &str) -> Result<Self, ColumnsError> {
        if text.is_empty() {
            return Err(ColumnsError::Empty);
        }
        let column = |part: &str| -> Result<(String, Path), ColumnsError> {
            let (header, path) = part.split_once(':').ok_or_else(|| ColumnsError::Spec(part.to_owned()))?;
            Ok((header.to_owned(), Path::parse_relaxed(path)?))
        };
        text.split(',').map(column).collect::<Result<_, _>>().map(Self)
    }

    /// Parses a file of two lines: the headers, and below them the paths.
    ///
    /// # Errors
    /// [`ColumnsError`] for what is no such file.
    pub(crate) fn parse_file(text: &str) -> Result<Self, ColumnsError> {
        let mut lines = text.lines();
        let (Some(headers), Some(paths)) = (lines.next(), lines.next()) else {
            return Err(ColumnsError::Spec(text.to_owned()));
        };
        let (headers, paths): (Vec<_>, Vec<_>) =
            (headers.split_whitespace().collect(), paths.split_whitespace().collect());
        if headers.len() != paths.len() {
            return Err(ColumnsError::Spec(text.to_owned()));
        }
        let column = |(header, path): (&&str, &&str)| Ok(((*header).to_owned(), Path::parse_relaxed(path)?));
        headers.iter().zip(&paths).map(column).collect::<Result<_, _>>().map(Self)
    }

    /// Prints the objects as a table.
    ///
    /// # Errors
    /// [`ColumnsError::Path`] where a path leaves a list.
    pub(crate) fn print(&self, objects: &[Value], headers: bool) -> Result<String, ColumnsError> {
        let mut rows = Vec::new();
        if headers {
            rows.push(self.0.iter().map(|(header, _)| header.clone()).collect());
        }
        for object in objects {
            let cell = |(_, path): &(String, Path)| {
                let found = path.find(object)?;
                let texts: Vec<String> = found.into_iter().map(template::go_text).collect();
                Ok(if texts.is_empty() { "<none>".to_owned() } else { texts.join(",") })
            };
            rows.push(self.0.iter().map(cell).collect::<Result<_, PathError>>()?);
        }
        Ok(tabs::table(&rows, tabs::GET))
    }
}

/// Compares two objects by what a path finds: numbers by value, text with its numbers by value, nothing first.
pub(crate) fn compare(path: &Path, a: &Value, b: &Value) -> Result<Ordering, PathError> {
    let (a, b) = (path.find(a)?, path.find(b)?);
    Ok(match (a.first(), b.first()) {
        (Some(Value::Number(a)), Some(Value::Number(b))) => {
            a.as_f64().partial_cmp(&b.as_f64()).unwrap_or(Ordering::Equal)
        }
        (Some(Value::String(a)), Some(Value::String(b))) => natural(a, b),
        (Some(Value::Bool(a)), Some(Value::Bool(b))) => a.cmp(b),
        (a, b) => a.is_some().cmp(&b.is_some()),
    })
}

/// `v9` before `v10`.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    loop {
        let digits = |text: &[u8]| text.iter().take_while(|b| b.is_ascii_digit()).count();
        match (digits(a), digits(b)) {
            (0, _) | (_, 0) => match (a.split_first(), b.split_first()) {
                (Some((x, rest_a)), Some((y, rest_b))) if x == y => (a, b) = (rest_a, rest_b),
                (x, y) => return x.map(|x| x.0).cmp(&y.map(|y| y.0)),
            },
            (len_a, len_b) => {
                let number = |digits: &[u8]| digits.iter().position(|&b| b != b'0').unwrap_or(digits.len());
                let (x, y) = (&a[number(&a[..len_a])..len_a], &b[number(&b[..len_b])..len_b]);
                match x.len().cmp(&y.len()).then(x.cmp(y)).then(len_a.cmp(&len_b)) {
                    Ordering::Equal => (a, b) = (&a[len_a..], &b[len_b..]),
                    order => return order,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_are_filled_from_paths() {
        let objects =
            [json!({"name": "lab", "tags": [{"t": "1"}, {"t": "2"}], "gone": null}), json!({"name": "w2"})];
        let print = |spec: &str, headers| match Columns::parse(spec).and_then(|c| c.print(&objects, headers))
        {
            Ok(text) => text,
            Err(error) => error.to_string(),
        };
        assert_eq!(print("N:.name,T:.tags[*].t", true), "N     T\nlab   1,2\nw2    <none>\n");
        assert_eq!(print("N:.name,G:.gone", false), "lab   <nil>\nw2    <none>\n");
        assert_eq!(print("T:.tags", false), "[map[t:1] map[t:2]]\n<none>\n");
        assert_eq!(print("N", true), "unexpected custom-columns spec: N, expected <header>:<json-path-expr>");
        assert_eq!(print("", true), "custom-columns format specified but no custom columns given");
    }

    #[test]
    fn sorting_takes_numbers_by_value() {
        let path = Path::parse_relaxed(".n").expect("valid");
        let check = |a: Value, b: Value, want: Ordering| {
            assert_eq!(compare(&path, &json!({ "n": a }), &json!({ "n": b })), Ok(want));
        };
        check(json!("v9"), json!("v10"), Ordering::Less);
        check(json!("a1b"), json!("a01b"), Ordering::Less);
        check(json!("app"), json!("app"), Ordering::Equal);
        check(json!(10), json!(9), Ordering::Greater);
        assert_eq!(compare(&path, &json!({}), &json!({"n": 1})), Ok(Ordering::Less));
    }
}
