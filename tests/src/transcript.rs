//! Command lines and what they print, as text that people can read and write:
//!
//! ```text
//! Whatever stands before the first command, and after the end of one, is for people.
//! === $ oc tag app
//! [stderr] error: at least a destination is required
//! [rc=1]
//! ```
//!
//! `<TAB>` is a tab, `\n` in a command line a line break, and quotes hold words together. A line `SETTLE` waits for the
//! imports under way, `FILL words` calls `fill_registry.py`, `WAIT` for a new second. Digests are compared by the order in
//! which they come, so that a transcript tells of the same images under other digests.

use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use regex::Regex;

use crate::client::Client;
use crate::compare::difference;
use crate::normalise;
use crate::registry::Registry;
use crate::wait;

/// How long background imports may take.
const SETTLED_WITHIN: Duration = Duration::from_secs(30);

/// One thing of a transcript.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Step {
    /// A command, and all it prints, in one text.
    Command { words: Vec<String>, printed: String },
    /// A call of `fill_registry.py`.
    Fill(Vec<String>),
    /// Imports under way come to an end.
    Settle,
    /// A new second begins.
    Wait,
}

/// Does what a transcript says and gives each place where something else is printed.
pub fn play(text: &str, client: &Client, registry: &Registry) -> Result<Vec<String>> {
    let mut differences = Vec::new();
    let (mut theirs, mut ours) = (Digests::default(), Digests::default());
    for step in steps(text)? {
        match step {
            Step::Command { words, printed } => {
                let words: Vec<String> = words.iter().map(|word| theirs.known_to(&ours, word)).collect();
                let got = client.run(&words)?;
                let mut lines = got.stdout.replace('\t', "<TAB>");
                for line in got.stderr.lines() {
                    lines += &format!("[stderr] {line}\n");
                }
                lines += &format!("[rc={}]\n", got.rc);
                let want = normalise::lenient(&theirs.named(&printed));
                let got = normalise::lenient(&ours.named(&lines));
                if let Some(diff) = difference(&want, &got) {
                    differences.push(format!("tagtrail {}\n{diff}", words.join(" ")));
                }
            }
            Step::Fill(words) => {
                let output = registry.fill(&words)?;
                ensure!(output.status.success(), "fill_registry.py {words:?}: {output:?}");
            }
            Step::Settle => {
                let settled = || client.json(&["status", "-o", "json"]).ok();
                wait::until(SETTLED_WITHIN, || settled().filter(|status| status["pendingImports"] == 0))
                    .context("imports are still under way")?;
            }
            Step::Wait => wait::for_a_new_second(),
        }
    }
    Ok(differences)
}

fn steps(text: &str) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let command = line.strip_prefix("=== $ oc").or_else(|| line.strip_prefix("=== $ tagtrail"));
        if let Some(words) = command {
            let mut printed = String::new();
            loop {
                let line = lines.next().with_context(|| format!("the end of \"{line}\" is missing"))?;
                // What does not end its last line has the exit code on it.
                printed += line;
                printed.push('\n');
                if line.ends_with(']') && line.contains("[rc=") {
                    break;
                }
            }
            steps.push(Step::Command { words: words_of(words), printed });
        } else if let Some(words) = line.strip_prefix("FILL ") {
            steps.push(Step::Fill(words_of(words)));
        } else if line == "SETTLE" {
            steps.push(Step::Settle);
        } else if line == "WAIT" {
            steps.push(Step::Wait);
        }
    }
    Ok(steps)
}

/// Words as a shell would split them, as far as transcripts need it.
fn words_of(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in line.chars() {
        match (c, quote) {
            ('\'' | '"', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, Some(q)) if c == q => quote = None,
            (' ', None) => words.extend(word.take()),
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words.into_iter().map(|word| word.replace("\\n", "\n")).collect()
}

/// Digests by the order in which they came.
#[derive(Default)]
struct Digests(HashMap<String, usize>);

static DIGEST: LazyLock<Regex> =
    LazyLock::new(|| Regex::new("sha256:[0-9a-f]{64}").expect("the pattern is a constant"));

impl Digests {
    /// The text with a number in place of each digest.
    fn named(&mut self, text: &str) -> String {
        let name = |found: &regex::Captures<'_>| {
            let next = self.0.len() + 1;
            format!("<DIGEST {}>", self.0.entry(found[0].to_owned()).or_insert(next))
        };
        DIGEST.replace_all(text, name).into_owned()
    }

    /// A word of theirs with the digests that ours has in their place.
    fn known_to(&self, ours: &Digests, word: &str) -> String {
        let same = |found: &regex::Captures<'_>| {
            let number = self.0.get(&found[0]);
            let known = ours.0.iter().find(|(_, ours)| Some(*ours) == number);
            known.map_or_else(|| found[0].to_owned(), |(digest, _)| digest.clone())
        };
        DIGEST.replace_all(word, same).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transcript_is_read_as_it_is_written() {
        let text = "About a tag.\n=== $ oc get is -o 'a b' \"c'd\" e\\nf ''\n1[rc=0]\n\nFILL push x:1\nSETTLE\n=== $ oc tag\n[stderr] no\n[rc=1]\n";
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let want = [
            Step::Command {
                words: words(&["get", "is", "-o", "a b", "c'd", "e\nf", ""]),
                printed: "1[rc=0]\n".into(),
            },
            Step::Fill(words(&["push", "x:1"])),
            Step::Settle,
            Step::Command { words: words(&["tag"]), printed: "[stderr] no\n[rc=1]\n".into() },
        ];
        assert_eq!(steps(text).expect("a transcript"), want);
        assert!(steps("=== $ oc tag\n[stderr] no\n").is_err());
    }

    #[test]
    fn digests_are_told_apart_by_their_order() {
        let digest = |c: &str| format!("sha256:{}", c.repeat(64));
        let (mut theirs, mut ours) = (Digests::default(), Digests::default());
        let text = |a: &str, b: &str| format!("{} {} {}", digest(a), digest(b), digest(a));
        assert_eq!(theirs.named(&text("a", "b")), ours.named(&text("c", "d")));
        assert_ne!(theirs.named(&text("b", "a")), ours.named(&text("c", "d")));
        assert_eq!(theirs.known_to(&ours, &format!("x@{}", digest("b"))), format!("x@{}", digest("d")));
        assert_eq!(theirs.known_to(&ours, &digest("e")), digest("e"));
    }
}
