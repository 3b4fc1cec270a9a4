//! What texts mean, straight from the spec: some hundreds of rows in `tables/`, each group headed by the section it is from.

use tagtrail_domain::order::prioritize;
use tagtrail_domain::{ImageReference, StreamName, TagName};

/// The rows of a table: no comments, no blank lines.
fn rows(table: &str) -> impl Iterator<Item = &str> {
    table.lines().filter(|line| !line.starts_with('#') && !line.is_empty())
}

/// Splits a row that starts with a text in quotes, which may hold `\"` and `\\`.
fn quoted(row: &str) -> (String, &str) {
    let mut text = String::new();
    let mut chars = row.strip_prefix('"').expect("a row starts with a quoted text").char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (text, &row[at + 2..]),
            '\\' => text.extend(chars.next().map(|(_, c)| c)),
            c => text.push(c),
        }
    }
    panic!("a quoted text has no end: {row}");
}

#[test]
fn references_are_parsed_or_refused() {
    let (mut parsed, mut refused) = (0, 0);
    for row in rows(include_str!("tables/references.txt")) {
        let (text, want) = quoted(row);
        let got = match ImageReference::parse(&text) {
            Ok(reference) => {
                // What was typed is what is printed.
                assert_eq!(reference.to_string(), text, "{row}");
                parsed += 1;
                let digest = reference.digest.as_ref().map(ToString::to_string).unwrap_or_default();
                let ImageReference { registry, namespace, name, tag, .. } = reference;
                let parts = [registry, namespace, name, tag, digest];
                parts.map(|part| if part.is_empty() { "-".to_owned() } else { part }).join(" ")
            }
            Err(error) => {
                refused += 1;
                format!("refused: {error}")
            }
        };
        assert_eq!(got, want.trim_start(), "{text}");
    }
    assert!(parsed >= 300 && refused >= 90, "only {parsed} and {refused} rows");
}

#[test]
fn what_is_not_typed_is_filled_in_as_docker_does() {
    let mut seen = 0;
    for row in rows(include_str!("tables/defaults.txt")) {
        let (text, want) = row.split_once("  ").expect("two columns");
        let reference = ImageReference::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(reference.with_defaults().to_string(), want, "{text}");
        seen += 1;
    }
    assert!(seen >= 25, "only {seen} rows");
}

#[test]
fn names_of_streams_and_tags_follow_their_patterns() {
    let mut seen = 0;
    for row in rows(include_str!("tables/names.txt")) {
        let (kind, rest) = row.split_once(' ').expect("a kind");
        let (text, want) = quoted(rest);
        let good = match kind {
            "stream" => StreamName::parse(&text).is_ok(),
            "tag" => TagName::parse(&text).is_ok(),
            other => panic!("{other} is no kind of name"),
        };
        assert_eq!(if good { "ok" } else { "no" }, want.trim_start(), "{kind} {text}");
        seen += 1;
    }
    assert!(seen >= 70, "only {seen} rows");
}

#[test]
fn tags_stand_in_their_order() {
    let mut seen = 0;
    for row in rows(include_str!("tables/tag_order.txt")) {
        let sorted: Vec<&str> = row.split(' ').collect();
        // Whatever order they come in: backwards, as text, and from every place on.
        let backwards = sorted.iter().rev().copied().collect();
        let mut as_text = sorted.clone();
        as_text.sort_unstable();
        let turned = (0..sorted.len()).map(|by| [&sorted[by..], &sorted[..by]].concat());
        for mut tags in turned.chain([backwards, as_text]) {
            prioritize(&mut tags);
            assert_eq!(tags.join(" "), row);
        }
        seen += 1;
    }
    assert!(seen >= 80, "only {seen} rows");
}
