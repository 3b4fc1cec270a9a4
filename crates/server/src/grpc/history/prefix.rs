//! A digest, or the beginning of one, as somebody typed it.

use tagtrail_domain::Refusal;

/// The fewest digits that are taken: with fewer, much that is not meant would be found.
const LEAST_DIGITS: usize = 6;
/// The algorithms there are, in the order of their names, and how many digits each gives.
const ALGORITHMS: [(&str, usize); 3] = [("sha256", 64), ("sha384", 96), ("sha512", 128)];

/// The beginning of a digest.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Prefix(Vec<String>);

impl Prefix {
    /// The one door in: at least 6 hex digits, with or without the algorithm.
    pub(super) fn parse(text: &str) -> Result<Self, Refusal> {
        let bad = |why: &str| {
            Refusal::Malformed(format!(
                "\"{text}\" is no digest or the beginning of one: {why}; give at least {LEAST_DIGITS} digits, such as sha256:0123ab"
            ))
        };
        let (algorithm, digits) = match text.split_once(':') {
            Some((algorithm, digits)) => (Some(algorithm), digits),
            None => (None, text),
        };
        let mut algorithms =
            ALGORITHMS.iter().filter(|(name, _)| algorithm.is_none_or(|a| a == *name)).peekable();
        if algorithms.peek().is_none() {
            return Err(bad("the algorithm is none of sha256, sha384 and sha512"));
        }
        if !digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(bad("the digits are 0 to 9 and a to f"));
        }
        if digits.len() < LEAST_DIGITS {
            return Err(bad("it is too short"));
        }
        let texts: Vec<String> = algorithms
            .filter(|(_, length)| digits.len() <= *length)
            .map(|(name, _)| format!("{name}:{digits}"))
            .collect();
        if texts.is_empty() { Err(bad("it is too long")) } else { Ok(Self(texts)) }
    }

    /// What the digests that are meant start with, in their order.
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Whether a digest is meant.
    pub(super) fn matches(&self, digest: &str) -> bool {
        self.texts().any(|text| digest.starts_with(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_or_the_beginning_of_one() {
        let check = |text: &str, expected: Result<&[&str], &str>| match Prefix::parse(text) {
            Ok(prefix) => assert_eq!(Ok(&*prefix.texts().collect::<Vec<_>>()), expected, "{text}"),
            Err(error) => {
                let why = expected.expect_err(text);
                assert!(error.to_string().contains(why), "{text}: {error}");
            }
        };
        let (whole, long) = ("a".repeat(64), "a".repeat(97));
        check("sha256:0123ab", Ok(&["sha256:0123ab"]));
        check("0123ab", Ok(&["sha256:0123ab", "sha384:0123ab", "sha512:0123ab"]));
        check(&format!("sha256:{whole}"), Ok(&[&format!("sha256:{whole}")]));
        check(&long, Ok(&[&format!("sha512:{long}")]));
        check("", Err("too short"));
        check("0123a", Err("too short"));
        check("sha256:", Err("too short"));
        check("0123AB", Err("0 to 9 and a to f"));
        check("latest", Err("0 to 9 and a to f"));
        check("md5:0123ab", Err("the algorithm"));
        check(&format!("sha256:{long}"), Err("too long"));
    }
}
