//! The order in which tags are shown and imported (spec §4.3, PrioritizeTags). `tests/tables/tag_order.txt` has examples.
//!
//! Class first: `latest`; then `N.N` and `vN.N`, with an optional `-word`; then full semantic versions; then the
//! rest. Versions descend, the rest ascends as text.

use std::cmp::{Ordering, Reverse};

/// Sorts tags by priority.
pub fn prioritize<T: AsRef<str>>(tags: &mut [T]) {
    tags.sort_by(|a, b| key(a.as_ref()).cmp(&key(b.as_ref())));
}

/// What a tag is sorted by.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Key<'a> {
    Latest,
    Minor(Reverse<Version>, bool, &'a str),
    Full(Reverse<Version>, bool, &'a str),
    Other(&'a str),
}

fn key(tag: &str) -> Key<'_> {
    if tag == "latest" {
        return Key::Latest;
    }
    let (bare, with_v) = match tag.strip_prefix('v') {
        Some(bare) => (bare, true),
        None => (tag, false),
    };
    if let Some(version) = minor(bare) {
        Key::Minor(Reverse(version), with_v, tag)
    } else if let Some(version) = Version::parse(bare) {
        Key::Full(Reverse(version), with_v, tag)
    } else {
        Key::Other(tag)
    }
}

/// `N.N` or `N.N-word`, read as `N.N.0[-word]`. A word has no dots or dashes.
fn minor(text: &str) -> Option<Version> {
    let (numbers, word) = match text.split_once('-') {
        Some((numbers, word)) => (numbers, Some(word)),
        None => (text, None),
    };
    let (major, minor) = numbers.split_once('.')?;
    let is_word = |w: &str| !w.is_empty() && w.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !word.is_none_or(is_word) {
        return None;
    }
    let suffix = word.map_or(String::new(), |w| format!("-{w}"));
    Version::parse(&format!("{major}.{minor}.0{suffix}"))
}

/// A semantic version (semver.org 2.0.0). Build metadata does not order.
#[derive(PartialEq, Eq)]
struct Version {
    numbers: [u64; 3],
    pre: Vec<Identifier>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Identifier {
    Number(u64),
    Text(String),
}

impl Version {
    fn parse(text: &str) -> Option<Self> {
        let (text, build) = match text.split_once('+') {
            Some((text, build)) => (text, Some(build)),
            None => (text, None),
        };
        let (numbers, pre) = match text.split_once('-') {
            Some((numbers, pre)) => (numbers, Some(pre)),
            None => (text, None),
        };
        let mut parts = numbers.split('.').map(number);
        let numbers = [parts.next()??, parts.next()??, parts.next()??];
        if parts.next().is_some() {
            return None;
        }
        let is_identifier =
            |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if build.is_some_and(|build| !build.split('.').all(is_identifier)) {
            return None;
        }
        let identifier = |text: &str| {
            if !is_identifier(text) {
                None
            } else if text.bytes().all(|b| b.is_ascii_digit()) {
                number(text).map(Identifier::Number)
            } else {
                Some(Identifier::Text(text.to_owned()))
            }
        };
        let pre = pre.map_or(Some(Vec::new()), |pre| pre.split('.').map(identifier).collect())?;
        Some(Self { numbers, pre })
    }
}

/// Digits without a leading zero.
fn number(text: &str) -> Option<u64> {
    let plain = !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_digit())
        && (text == "0" || !text.starts_with('0'));
    plain.then(|| text.parse().ok())?
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        self.numbers.cmp(&other.numbers).then_with(|| match (self.pre.is_empty(), other.pre.is_empty()) {
            // A release is above its pre-releases.
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            _ => self.pre.cmp(&other.pre),
        })
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
