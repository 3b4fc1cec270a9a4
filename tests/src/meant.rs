//! Where Tagtrail is meant to differ from the recorded runs.
//!
//! Each entry turns what was recorded into what Tagtrail has to show instead, so that it is compared to the letter all the
//! same. Only what waits for users and rights is not compared at all. `docs/differences-from-openshift.md` tells why.

use std::ops::RangeInclusive;

use serde::Serialize;
use serde_json::{Value, json};

use crate::case::State;

/// A difference that is meant.
#[derive(Debug)]
pub struct Meant {
    /// The case's name.
    case: &'static str,
    /// The steps in which it shows, counted from 1.
    steps: RangeInclusive<usize>,
    /// What is different.
    what: What,
    /// Words of `docs/differences-from-openshift.md` that explain it.
    pub because: &'static str,
}

/// What is different.
#[derive(Debug)]
enum What {
    /// These fields (`rc`, `stdout`, `stderr`) wait for something that is not there.
    NotThere(&'static [&'static str]),
    /// A tag has gone the whole way with the one it follows; each has its own oldest item.
    Follows { tag: &'static str, source: &'static str },
    /// Where the recorded output has this text, ours has another.
    Text { recorded: &'static str, ours: &'static str },
    /// What was accepted is refused: nothing on standard output, this on standard error, exit code 1.
    Refused { stderr: &'static str },
    /// The stream's generation: a command that is refused does not raise it.
    Generation(u64),
    /// A tag follows this since that generation, and its newest history item has another.
    Since { tag: &'static str, kind: &'static str, name: &'static str, generation: u64, newest: u64 },
}

const USERS: &str = "Users and their rights";
const ALIAS_OF_AN_ALIAS: &str = "An alias of an alias";
const ALIAS_OF_ITSELF: &str = "An alias that leads back to itself";
const LAST: usize = usize::MAX;

const fn not_there(case: &'static str, step: usize, fields: &'static [&'static str]) -> Meant {
    Meant { case, steps: step..=step, what: What::NotThere(fields), because: USERS }
}

const fn circle(from: usize, to: usize, what: What) -> Meant {
    Meant { case: "058-tag-self-reference", steps: from..=to, what, because: ALIAS_OF_ITSELF }
}

/// Everything that is meant to differ.
pub static MEANT: &[Meant] = &[
    // Logging in, and projects one is a member of.
    not_there("001-login-project", 1, &["rc", "stdout", "stderr"]),
    not_there("001-login-project", 2, &["rc", "stdout", "stderr"]),
    not_there("001-login-project", 6, &["rc", "stdout", "stderr"]),
    not_there("001-login-project", 7, &["rc", "stdout", "stderr"]),
    not_there("001-login-project", 8, &["stdout", "stderr"]),
    // A namespace that one may not look into: ours has no stream of that name, or gets it.
    not_there("044-tag-docker", 3, &["stderr"]),
    not_there("060-tag-bad-names", 14, &["rc", "stdout", "stderr"]),
    // The tag keeps the image it was set to in step 3, and the one that follows it goes on doing so.
    circle(
        5,
        5,
        What::Refused {
            stderr: "The ImageStreamTag \"app:v1\" is invalid: tag.from.name: Invalid value: \"app:v1\": a tag cannot follow itself: it would never move again; let it follow an image or another tag\n",
        },
    ),
    circle(
        7,
        7,
        What::Refused {
            stderr: "The ImageStreamTag \"app:v1\" is invalid: tag.from.name: Invalid value: \"app:a\": it leads back to \"app:v1\" (app:v1 -> app:a -> app:v1), so none of these tags would ever move again; let one of them follow an image instead\n",
        },
    ),
    circle(5, 5, What::Generation(3)),
    circle(6, LAST, What::Generation(4)),
    circle(
        5,
        5,
        What::Since {
            tag: "v1",
            kind: "ImageStreamImage",
            name: "app@sha256:1f7f8887b3597c84bc576e6cb64faeb33d6ed3a9c780ea0945fa7e37bd9c0281",
            generation: 3,
            newest: 3,
        },
    ),
    circle(
        6,
        LAST,
        What::Since {
            tag: "v1",
            kind: "ImageStreamImage",
            name: "app@sha256:1f7f8887b3597c84bc576e6cb64faeb33d6ed3a9c780ea0945fa7e37bd9c0281",
            generation: 3,
            newest: 4,
        },
    ),
    circle(
        6,
        LAST,
        What::Since { tag: "a", kind: "ImageStreamTag", name: "app:v1", generation: 4, newest: 4 },
    ),
    circle(
        8,
        8,
        What::Text {
            recorded: "\na\n  tagged from app:v1\n\n  * team/app@sha256:1f7f8887b3597c84bc576e6cb64faeb33d6ed3a9c780ea0945fa7e37bd9c0281\n      1 second ago\n\nv1\n  tagged from app:a\n",
            ours: "\nv1 (a)\n  tagged from app@sha256:1f7f8887b3597c84bc576e6cb64faeb33d6ed3a9c780ea0945fa7e37bd9c0281\n",
        },
    ),
    Meant {
        case: "087-alias-chain",
        steps: 6..=LAST,
        what: What::Follows { tag: "b", source: "a" },
        because: ALIAS_OF_AN_ALIAS,
    },
];

impl Meant {
    /// What is meant to differ in a step of a case.
    pub fn of<'a>(case: &'a str, step: usize) -> impl Iterator<Item = &'static Meant> + 'a {
        MEANT.iter().filter(move |meant| meant.case == case && meant.steps.contains(&step))
    }

    /// What is meant to differ in any step of a case.
    pub fn in_case<'a>(case: &'a str) -> impl Iterator<Item = &'static Meant> + 'a {
        MEANT.iter().filter(move |meant| meant.case == case)
    }

    /// Whether fields are not compared, where others are compared with what is meant instead.
    pub fn sets_aside(&self) -> bool {
        matches!(self.what, What::NotThere(_))
    }

    /// Whether the field is not compared.
    pub fn leaves_out(&self, field: &str) -> bool {
        matches!(self.what, What::NotThere(fields) if fields.contains(&field))
    }

    /// What the exit code has to be instead.
    pub fn exit_code(&self, recorded: i32) -> i32 {
        if matches!(self.what, What::Refused { .. }) { 1 } else { recorded }
    }

    /// What standard error has to be instead.
    pub fn complaint(&self, recorded: String) -> String {
        if let What::Refused { stderr } = self.what { stderr.to_owned() } else { recorded }
    }

    /// What standard output has to be instead.
    pub fn output(&self, recorded: &str) -> String {
        match self.what {
            What::Text { recorded: from, ours } => return recorded.replacen(from, ours, 1),
            What::Refused { .. } => return String::new(),
            _ => {}
        }
        // One stream as JSON, which is printed as it was where nothing is changed in it.
        match serde_json::from_str::<Value>(recorded) {
            Ok(mut stream) if stream["kind"] == "ImageStream" && printed(&stream) == recorded => {
                self.change(&mut stream);
                printed(&stream)
            }
            _ => recorded.to_owned(),
        }
    }

    /// What the state has to be instead.
    pub fn state(&self, mut recorded: State) -> State {
        recorded.values_mut().for_each(|stream| self.change(stream));
        recorded
    }

    fn change(&self, stream: &mut Value) {
        match self.what {
            What::NotThere(_) | What::Text { .. } | What::Refused { .. } => {}
            What::Generation(generation) => stream["metadata"]["generation"] = json!(generation),
            What::Since { tag, kind, name, generation, newest: of_item } => {
                if let Some(spec) = named(&mut stream["spec"]["tags"], "name", tag) {
                    spec["from"] = json!({ "kind": kind, "name": name });
                    spec["generation"] = json!(generation);
                }
                if let Some(newest) = items(stream, tag).and_then(|items| items.get_mut(0)) {
                    newest["generation"] = json!(of_item);
                }
            }
            What::Follows { tag, source } => {
                let Some(Value::Array(mut followed)) = items(stream, source).map(|items| items.take()) else {
                    return;
                };
                *items(stream, source).expect("it was there just now") = json!(followed);
                let Some(Value::Array(own)) = items(stream, tag) else { return };
                if let (Some(last), Some(oldest)) = (followed.last_mut(), own.pop()) {
                    *last = oldest;
                }
                *own = followed;
            }
        }
    }
}

/// The history items of a tag, newest first.
fn items<'v>(stream: &'v mut Value, tag: &str) -> Option<&'v mut Value> {
    named(&mut stream["status"]["tags"], "tag", tag)?.get_mut("items")
}

/// The entry of a list whose `field` is `name`.
fn named<'v>(list: &'v mut Value, field: &str, name: &str) -> Option<&'v mut Value> {
    list.as_array_mut()?.iter_mut().find(|entry| entry[field] == name)
}

/// JSON as `-o json` prints it.
fn printed(value: &Value) -> String {
    let mut text = Vec::new();
    let indent = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, indent);
    value.serialize(&mut serializer).expect("keys are text");
    text.push(b'\n');
    String::from_utf8(text).expect("JSON is text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_stands_in_the_document() {
        let document = include_str!("../../docs/differences-from-openshift.md");
        for meant in MEANT {
            assert!(document.contains(meant.because), "{} is not explained", meant.because);
        }
    }

    #[test]
    fn a_follower_keeps_its_oldest_item() {
        let items = |generations: &[u64]| -> Vec<Value> {
            generations.iter().map(|generation| json!({ "generation": generation })).collect()
        };
        let stream = |a: &[u64], b: &[u64]| {
            let tags = json!([{ "tag": "a", "items": items(a) }, { "tag": "b", "items": items(b) }]);
            State::from([("test/app".to_owned(), json!({ "status": { "tags": tags } }))])
        };
        let follows = MEANT.last().expect("it is the last");
        assert_eq!(follows.state(stream(&[5, 4, 2], &[3])), stream(&[5, 4, 2], &[5, 4, 3]));
    }
}
