//! `-o custom-columns=HEADER:.path,…` and the order of `--sort-by`, as kubectl has them.

use std::cmp::Ordering;

use serde_json::Value;

use crate::print::jsonpath::{PathError, Template, relaxed};
use crate::print::{go, tabs};

/// A parsed `custom-columns` specification.
pub(crate) struct Columns {
    /// Each with its path as a template. That is parsed only where a row is printed, below the headers.
    columns: Vec<(String, String)>,
    /// Whether headers may be left out. Those of a file never are.
    from_file: bool,
}

/// Why columns cannot be printed, in kubectl's words.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ColumnsError {
    /// Nothing was given.
    #[error("custom-columns format specified but no custom columns given")]
    Empty,
    /// A column is not `HEADER:PATH`.
    #[error("unexpected custom-columns spec: {0}, expected <header>:<json-path-expr>")]
    Spec(String),
    /// A file lacks one of its two lines.
    #[error(
        "invalid template, missing {0} line. Expected format is one line of space separated headers, one line of space separated column specs."
    )]
    Missing(&'static str),
    /// The two lines of a file do not belong together.
    #[error("number of headers ({headers}) and field specifications ({paths}) don't match")]
    Unequal {
        /// Words in the first line.
        headers: usize,
        /// Words in the second line.
        paths: usize,
    },
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
        let column = |part: &str| -> Result<(String, String), ColumnsError> {
            let (header, path) = part.split_once(':').ok_or_else(|| ColumnsError::Spec(part.to_owned()))?;
            Ok((header.to_owned(), relaxed(path)?))
        };
        Ok(Self { columns: text.split(',').map(column).collect::<Result<_, _>>()?, from_file: false })
    }

    /// Parses a file of two lines: the headers, and below them the paths.
    ///
    /// # Errors
    /// [`ColumnsError`] for what is no such file.
    pub(crate) fn parse_file(text: &str) -> Result<Self, ColumnsError> {
        let mut lines = text.lines();
        let mut words = |which| {
            let line = lines.next().ok_or(ColumnsError::Missing(which))?;
            Ok::<Vec<&str>, ColumnsError>(line.split_whitespace().collect())
        };
        let (headers, paths) = (words("header")?, words("spec")?);
        if headers.len() != paths.len() {
            return Err(ColumnsError::Unequal { headers: headers.len(), paths: paths.len() });
        }
        let column = |(header, path): (&&str, &&str)| Ok((String::from(*header), relaxed(path)?));
        let columns = headers.iter().zip(&paths).map(column).collect::<Result<_, PathError>>()?;
        Ok(Self { columns, from_file: true })
    }

    /// Prints the objects as a table to `out`. The headers, and the rows before one that cannot be filled, are printed
    /// whatever happens.
    ///
    /// # Errors
    /// [`PathError`] where a path does not fit an object.
    pub(crate) fn print(
        &self,
        objects: &[Value],
        no_headers: bool,
        out: &mut String,
    ) -> Result<(), PathError> {
        let (rows, filled) = self.rows(objects, self.has_headers(no_headers));
        out.push_str(&tabs::table(&rows, tabs::GET));
        filled
    }

    /// Whether there are headers.
    pub(crate) fn has_headers(&self, no_headers: bool) -> bool {
        self.from_file || !no_headers
    }

    /// The headers, if they are wanted, and the cells of the objects, up to one that a path does not fit.
    pub(crate) fn rows(&self, objects: &[Value], headers: bool) -> (Vec<Vec<String>>, Result<(), PathError>) {
        let mut rows = Vec::new();
        if headers {
            rows.push(self.columns.iter().map(|(header, _)| header.clone()).collect());
        }
        let filled = self.fill(objects, &mut rows);
        (rows, filled)
    }

    fn fill(&self, objects: &[Value], rows: &mut Vec<Vec<String>>) -> Result<(), PathError> {
        let parse = |(_, path): &(String, String)| Template::parse(path);
        let paths = self.columns.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
        for object in objects {
            let cells = paths.iter().map(|path| {
                let found = path.find(object)?;
                let texts: Vec<String> = found.iter().flatten().map(|value| shown(value)).collect();
                Ok(if texts.is_empty() { "<none>".to_owned() } else { texts.join(",") })
            });
            rows.push(cells.collect::<Result<_, PathError>>()?);
        }
        Ok(())
    }
}

/// A value in a cell. What would move a terminal's cursor is made visible.
fn shown(value: &Value) -> String {
    go::text(value).replace('\u{1b}', "^[").replace('\r', "\\r")
}

/// The places of objects in the order of what a path finds in each.
///
/// Numbers go by value, text with its numbers by value. Objects in which it finds nothing come first, the last of them
/// first of all, as they do in kubectl.
///
/// # Errors
/// [`PathError`] for a path that finds nothing in any object, or does not fit one.
pub(crate) fn order(path: &str, objects: &[Value]) -> Result<Vec<usize>, PathError> {
    let path = relaxed(path)?;
    let template = Template::parse(&path)?;
    let mut missing = Vec::new();
    let mut found: Vec<(usize, Value)> = Vec::new();
    for (place, object) in objects.iter().enumerate() {
        let values = template.find(object)?;
        match values.first().and_then(|values| values.first()) {
            Some(value) => found.push((place, value.clone().into_owned())),
            None => missing.push(place),
        }
    }
    if found.is_empty() && !objects.is_empty() {
        return Err(PathError::found_nowhere(&path));
    }
    found.sort_by(|(_, a), (_, b)| compare(a, b));
    Ok(missing.into_iter().rev().chain(found.into_iter().map(|(place, _)| place)).collect())
}

fn compare(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            a.as_f64().partial_cmp(&b.as_f64()).unwrap_or(Ordering::Equal)
        }
        (Value::String(a), Value::String(b)) => natural(a, b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (a, b) => b.is_null().cmp(&a.is_null()),
    }
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
    use crate::print::rows;

    #[test]
    fn columns_are_those_of_kubectl() {
        let objects = rows::objects();
        let checked = rows::check(include_str!("tables/custom_columns.txt"), |spec| {
            let mut out = String::new();
            let result = match Columns::parse(spec) {
                Ok(columns) => columns.print(&objects, false, &mut out).map_err(ColumnsError::Path),
                Err(error) => Err(error),
            };
            out + &result.err().map_or(String::new(), |error| format!("error: {error}"))
        });
        assert!(checked >= 54, "only {checked} rows");
    }

    #[test]
    fn a_file_has_a_line_of_headers_and_a_line_of_paths() {
        let print = |text: &str| {
            let mut out = String::new();
            match Columns::parse_file(text) {
                Ok(columns) => columns.print(&rows::objects(), true, &mut out).expect("it fits"),
                Err(error) => out = error.to_string(),
            }
            out
        };
        // Its headers are printed even with --no-headers.
        assert_eq!(
            print("NAME KIND\nmetadata.name {.kind}\n"),
            "NAME   KIND\napp    ImageStream\nweb    ImageStream\n"
        );
        let form = "Expected format is one line of space separated headers, one line of space separated column specs.";
        assert_eq!(print(""), format!("invalid template, missing header line. {form}"));
        assert_eq!(print("NAME\n"), format!("invalid template, missing spec line. {form}"));
        assert_eq!(
            print("NAME KIND\nmetadata.name\n"),
            "number of headers (2) and field specifications (1) don't match"
        );
    }

    #[test]
    fn objects_are_put_in_order() {
        let check = |values: Value, want: &str| {
            let objects: Vec<Value> = values.as_array().expect("a list").clone();
            let got = match order(".n", &objects) {
                Ok(places) => places.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
                Err(error) => error.to_string(),
            };
            assert_eq!(got, want, "{values}");
        };
        check(json!([{"n": "v10"}, {"n": "v9"}]), "1 0");
        check(json!([{"n": "a1b"}, {"n": "a01b"}]), "0 1");
        check(json!([{"n": "b"}, {"n": "a"}, {"n": "b"}, {"n": "a"}]), "1 3 0 2");
        check(json!([{"n": 10}, {"n": 9}, {"n": 9.5}]), "1 2 0");
        check(json!([{"n": 1}, {}, {"n": 0}, {}]), "3 1 2 0"); // Those without it: kubectl turns them round.
        check(json!([]), "");
        check(json!([{}, {"m": 1}]), "couldn't find any field with path \"{.n}\" in the list of objects");
        assert_eq!(
            order("{.n}x", &[]).expect_err("no path").to_string(),
            relaxed("{.n}x").expect_err("the same").to_string()
        );
    }
}
