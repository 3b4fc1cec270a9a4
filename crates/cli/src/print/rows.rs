//! Tables for tests: what is asked in one line, what has to come out below it, indented.
//!
//! ```text
//! # A heading, or where the rows are from.
//! {.kind}{"\n"}
//!     ImageStream\n
//! ```
//!
//! What comes out is one line: a line break is written `\n`, a tab `\t`, a backslash `\\`. Nothing at all is `<nothing>`.

use serde_json::Value;

/// The two image streams that most tables are about.
pub(crate) fn objects() -> Vec<Value> {
    serde_json::from_str(include_str!("tables/objects.json")).expect("JSON")
}

/// Asks each row's question and compares. Gives the number of rows.
pub(crate) fn check(table: &str, answer: impl Fn(&str) -> String) -> usize {
    let mut lines = table.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let (mut checked, mut wrong) = (0, String::new());
    while let Some(asked) = lines.next() {
        let want = lines.next().and_then(|line| line.strip_prefix("    "));
        let want = want.unwrap_or_else(|| panic!("no answer below {asked}"));
        let got = answer(asked).replace('\\', "\\\\").replace('\n', "\\n").replace('\t', "\\t");
        let got = if got.is_empty() { "<nothing>" } else { &got };
        if got != want {
            wrong += &format!("{asked}\n    {got}\n  not\n    {want}\n");
        }
        checked += 1;
    }
    assert!(wrong.is_empty(), "{wrong}");
    checked
}
