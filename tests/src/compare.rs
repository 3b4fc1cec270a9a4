//! Says whether two outputs of the same command are the same, where the real system leaves some things to chance.
//!
//! Both sides are brought into one [`canonical`] form and then have to be equal. Each thing evened out is listed in
//! `tests/conformance/README.md`.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;
use similar::TextDiff;

use crate::case::State;
use crate::normalise;

/// What has happened before a command that leaves something in its output to chance.
#[derive(Clone, Copy, Default, Debug)]
pub struct Chance {
    /// Several tags changed in one second, or in two: the order of TAGS in `get is` depends on it.
    pub tag_order: bool,
    /// One command set several tags to be imported: one import raises generations less than two.
    pub generations: bool,
    /// The stream named by `import-image --all` was there: the blocks are printed in random order.
    pub block_order: bool,
}

/// The form of a command's output in which all runs of the command agree.
pub fn canonical(argv: &[String], output: &str, chance: Chance) -> String {
    let mut text = normalise::lenient(output);
    if chance.generations {
        text = GENERATION.replace_all(&text, "${1}<GENERATION>").into_owned();
    }
    match argv.first().map(String::as_str) {
        // Rows of tags without a heading that says so.
        Some("get") if lists_tags(argv) && headless(argv) => sorted_lines(&text),
        Some("get") => table_blocks(&text, chance),
        Some("import-image") if chance.block_order => image_blocks(&text),
        _ => text,
    }
}

static GENERATION: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r#"(generation"?: )\d+"#).expect("the pattern is a constant"));

/// A state in the form in which all runs agree, as text to be compared line by line.
pub fn canonical_state(state: &State, chance: Chance) -> String {
    let mut text = String::new();
    for (name, stream) in state {
        let stream = sorted(normalise::stream(stream.clone()));
        text += &format!("{name} {stream:#}\n");
    }
    if chance.generations { GENERATION.replace_all(&text, "${1}<GENERATION>").into_owned() } else { text }
}

/// Where `ours` differs from `recorded`, as a unified diff with tabs and trailing blanks made visible; `None` where equal.
pub fn difference(recorded: &str, ours: &str) -> Option<String> {
    if recorded == ours {
        return None;
    }
    let visible = |text: &str| -> String {
        let line = |line: &str| {
            let kept = line.trim_end_matches(' ');
            kept.replace('\t', "→") + &"·".repeat(line.len() - kept.len())
        };
        let mut lines: Vec<String> = text.split('\n').map(line).collect();
        // What follows the last line break is a line of its own only when there is something.
        if lines.last().is_some_and(String::is_empty) {
            lines.pop();
        } else if let Some(last) = lines.last_mut() {
            last.push('⊣');
        }
        lines.join("\n") + "\n"
    };
    let (recorded, ours) = (visible(recorded), visible(ours));
    let diff = TextDiff::from_lines(&recorded, &ours);
    Some(diff.unified_diff().context_radius(2).header("recorded", "tagtrail").to_string())
}

fn lists_tags(argv: &[String]) -> bool {
    let kind = argv.get(1).map_or("", |kind| kind.split('.').next().unwrap_or(kind));
    ["istag", "imagestreamtag", "imagestreamtags", "itag", "imagetag", "imagetags"].contains(&kind)
}

fn headless(argv: &[String]) -> bool {
    argv.iter().any(|argument| argument.contains("custom-columns") || argument == "--no-headers")
}

/// Tables come in blocks, one for each kind that was asked for.
fn table_blocks(text: &str, chance: Chance) -> String {
    let blocks: Vec<String> = text.split("\n\n").map(|block| table(block, chance)).collect();
    blocks.join("\n\n")
}

fn table(block: &str, chance: Chance) -> String {
    let (head, rows) = block.split_once('\n').unwrap_or((block, ""));
    let columns = |names: &[&str]| names.iter().all(|name| head.contains(name));
    if columns(&["NAME", "IMAGE REFERENCE"]) || columns(&["NAME", "SPEC", "HISTORY"]) {
        let rows = without_cells(head, rows, "SPEC", |_| "<SPEC>".into());
        return format!("{head}\n{}", sorted_lines(&rows));
    }
    if chance.tag_order && columns(&["IMAGE REPOSITORY", "TAGS"]) {
        let rows = without_cells(head, rows, "TAGS", set_of_tags);
        return format!("{}\n{rows}", narrow(head));
    }
    // `-o name` of tags: no heading, every row says what it is.
    if block.lines().all(|line| line.starts_with("imagestreamtag.") || line.starts_with("imagetag.")) {
        return sorted_lines(block);
    }
    block.to_owned()
}

/// `rows` with the cells of the column called `name` changed, and without the padding of that column.
fn without_cells(head: &str, rows: &str, name: &str, change: impl Fn(&str) -> String) -> String {
    let Some(start) = head.find(name) else { return rows.to_owned() };
    let rest = head[start..].trim_start_matches(name).trim_start_matches(' ');
    let end = head.len() - rest.len();
    let line = |row: &str| match (row.get(..start), row.get(start..end), row.get(end..)) {
        (Some(before), Some(cell), Some(after)) => {
            format!("{before}{}   {after}", change(cell.trim_end_matches(' ')))
        }
        _ => row.to_owned(),
    };
    let changed: Vec<String> = rows.split('\n').map(line).collect();
    changed.join("\n")
}

/// A TAGS cell without its order. Where it is cut off (`a,b,c + 4 more...`), which tags are shown depends on the order.
fn set_of_tags(cell: &str) -> String {
    if let Some((shown, more)) = cell.split_once(" + ") {
        let more: usize = more.trim_end_matches(" more...").parse().unwrap_or_default();
        return format!("<{} tags>", shown.split(',').count() + more);
    }
    let mut tags: Vec<&str> = cell.split(',').collect();
    tags.sort_unstable();
    tags.join(",")
}

/// The blocks of `import-image --all` that start with `Image Name:`, in order of their text.
fn image_blocks(text: &str) -> String {
    let mut parts = text.split("Image Name:");
    let before = parts.next().unwrap_or_default();
    let mut blocks: Vec<&str> = parts.map(str::trim_end).collect();
    blocks.sort_unstable();
    let blocks: Vec<String> = blocks.iter().map(|block| format!("Image Name:{block}\n\n")).collect();
    before.to_owned() + &blocks.concat()
}

fn narrow(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn sorted_lines(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    let end = if text.ends_with('\n') { "\n" } else { "" };
    lines.join("\n") + end
}

/// The same value with the fields of every object in order of their names.
fn sorted(value: Value) -> Value {
    match value {
        Value::Array(values) => values.into_iter().map(sorted).collect(),
        Value::Object(fields) => {
            let mut fields: Vec<(String, Value)> = fields.into_iter().collect();
            fields.sort_by(|a, b| a.0.cmp(&b.0));
            fields.into_iter().map(|(name, value)| (name, sorted(value))).collect()
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNPACED: Chance = Chance { tag_order: true, generations: false, block_order: false };
    const NONE: Chance = Chance { tag_order: false, generations: false, block_order: false };

    fn check(argv: &str, chance: Chance, one: &str, other: &str, same: bool) {
        let argv: Vec<String> = argv.split(' ').map(String::from).collect();
        let (one, other) = (canonical(&argv, one, chance), canonical(&argv, other, chance));
        assert_eq!(one == other, same, "{argv:?}\n{one}\n{other}");
    }

    #[test]
    fn what_is_left_to_chance_is_evened_out() {
        let istag = |a, b| format!("NAME    IMAGE REFERENCE   UPDATED\n{a}\n{b}\n");
        let (v1, v2) = ("app:v1   a@sha256:1   3 seconds ago", "app:v2   a@sha256:2   1 second ago");
        check("get istag", NONE, &istag(v1, v2), &istag(v2, v1), true);
        check("get istag", NONE, &istag(v1, v2), &istag(v2, v2), false);

        let is = |tags: &str, age| {
            format!(
                "NAME   IMAGE REPOSITORY   TAGS{}UPDATED\napp    here/app           {tags}   {age}\n",
                " ".repeat(tags.len() - 1)
            )
        };
        check("get is", UNPACED, &is("v1,v2", "1 second ago"), &is("v2,v1", "9 seconds ago"), true);
        check("get is", UNPACED, &is("v1,v2", "1 second ago"), &is("v2,v3", "1 second ago"), false);
        check("get is", NONE, &is("v1,v2", "1 second ago"), &is("v2,v1", "1 second ago"), false);
        check("get is", UNPACED, &is("a,b,c + 3 more...", ""), &is("c,d + 4 more...", ""), true);
        check("get is", UNPACED, &is("a,b,c + 3 more...", ""), &is("c,d + 3 more...", ""), false);

        check(
            "get is -o name",
            NONE,
            "imagestream.x/b\nimagestream.x/a\n",
            "imagestream.x/a\nimagestream.x/b\n",
            false,
        );
        check(
            "get istag -o name",
            NONE,
            "imagestreamtag.x/b\nimagestreamtag.x/a\n",
            "imagestreamtag.x/a\nimagestreamtag.x/b\n",
            true,
        );

        check("get istag -o custom-columns=N:.metadata.name", NONE, "N\na\nb\n", "N\nb\na\n", true);

        let itag = |spec| {
            format!(
                "NAME   SPEC   STATUS   HISTORY   UPDATED\nx:1    {spec}   image    1         1 second ago\n"
            )
        };
        check("get itag", NONE, &itag("Tag "), &itag("Push"), true);
    }

    #[test]
    fn addresses_and_names_are_evened_out() {
        check(
            "project",
            NONE,
            "on server \"https://127.0.0.1:6443\".",
            "on server \"http://127.0.0.1:7400\".",
            true,
        );
        check("tag", NONE, "See 'oc tag -h' for help", "See 'tagtrail tag -h' for help", true);
        check("tag", NONE, "dial 127.0.0.1:5999", "dial 127.0.0.1:5998", false);
    }

    #[test]
    fn a_difference_shows_tabs_and_trailing_blanks() {
        let shown = difference("a\tb\nc\n", "a b \nc\n").expect("they differ");
        assert!(shown.contains("-a→b\n") && shown.contains("+a b·\n"), "{shown}");
        assert_eq!(difference("a\n", "a\n"), None);
        assert!(difference("a\n", "a").expect("they differ").contains("+a⊣"));
    }
}
