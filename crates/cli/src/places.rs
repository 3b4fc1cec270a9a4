//! Places and images as they are written: `[NAMESPACE/]STREAM[:TAG]`, `sha256:…` or the beginning of it.

use tagtrail_domain::{Digest, TagName};

use crate::failure::Failure;

/// An image stream or a tag of one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    /// Where the stream lives.
    pub(crate) namespace: String,
    /// The stream.
    pub(crate) stream: String,
    /// The tag. Empty: the stream with all of its tags.
    pub(crate) tag: String,
}

impl Place {
    /// Reads `[NAMESPACE/]STREAM` or `[NAMESPACE/]STREAM:TAG`. `current`: the namespace where none is written.
    ///
    /// # Errors
    /// [`Failure::Client`].
    pub(crate) fn parse(text: &str, current: &str) -> Result<Self, Failure> {
        let (namespace, rest) = namespaced(text, current).map_err(Failure::client)?;
        let (stream, tag) = rest.split_once(':').map_or((rest, None), |(stream, tag)| (stream, Some(tag)));
        if stream.is_empty() || tag == Some("") || rest.contains('@') {
            return Err(Failure::client(format!(
                "\"{text}\" is neither an image stream nor a tag of one: write STREAM or STREAM:TAG"
            )));
        }
        if let Some(tag) = tag {
            TagName::parse(tag).map_err(Failure::client)?;
        }
        Ok(Self {
            namespace: namespace.to_owned(),
            stream: stream.to_owned(),
            tag: tag.unwrap_or_default().to_owned(),
        })
    }

    /// Reads `[NAMESPACE/]STREAM:TAG`.
    ///
    /// # Errors
    /// [`Failure::Client`].
    pub(crate) fn of_tag(text: &str, current: &str) -> Result<Self, Failure> {
        match Self::parse(text, current)? {
            place if place.tag.is_empty() => {
                Err(Failure::client(format!("\"{text}\" must be of the form <stream_name>:<tag>")))
            }
            place => Ok(place),
        }
    }

    /// `app:prod`, or `ns/app:prod` where that is another namespace than `current`.
    pub(crate) fn shown(&self, current: &str) -> String {
        let Self { namespace, stream, tag } = self;
        let name = if tag.is_empty() { stream.clone() } else { format!("{stream}:{tag}") };
        if namespace == current { name } else { format!("{namespace}/{name}") }
    }
}

/// Splits `NAMESPACE/REST`. `current`: the namespace where none is written.
///
/// # Errors
/// A sentence in `oc`'s words.
pub(crate) fn namespaced<'t>(text: &'t str, current: &'t str) -> Result<(&'t str, &'t str), String> {
    match text.split('/').collect::<Vec<_>>()[..] {
        [rest] => Ok((current, rest)),
        ["", _] => Err(format!("invalid namespace \"\" for image stream \"{text}\"")),
        [_, ""] => Err(format!("invalid name \"\" for image stream \"{text}\"")),
        [namespace, rest] => Ok((namespace, rest)),
        _ => Err(format!("invalid image stream \"{text}\"")),
    }
}

/// Checks a digest or the beginning of one, with or without its algorithm: so many digits at least.
///
/// # Errors
/// One sentence.
pub(crate) fn beginning_of_digest(text: &str, least: usize) -> Result<String, String> {
    let hex = match text.split_once(':') {
        Some(("sha256" | "sha384" | "sha512", hex)) => Some(hex),
        Some(_) => None,
        None => Some(text),
    };
    let digit = |b| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    match hex {
        Some(hex) if hex.bytes().all(digit) && hex.len() >= least => Ok(text.to_owned()),
        _ => Err(format!(
            "it is no digest: write sha256: and its digits, or at least the first {least} of them, such as sha256:1e42ab or 1e42ab"
        )),
    }
}

/// Reads what a tag is expected to point to: a whole digest, or `none`.
///
/// # Errors
/// One sentence.
pub(crate) fn expectation(text: &str) -> Result<String, String> {
    match text {
        "none" => Ok(text.to_owned()),
        _ => Digest::parse(text).map(|digest| digest.to_string()).map_err(|error| {
            format!("{error}: write the whole digest, sha256: and 64 digits, or none for a tag that points to nothing")
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_stream_or_a_tag() {
        let check = |text: &str, want: &str| {
            let got = match Place::parse(text, "here") {
                Ok(Place { namespace, stream, tag }) => format!("{namespace} {stream} {tag}"),
                Err(failure) => failure.text(),
            };
            assert_eq!(got.trim_end(), want, "{text}");
        };
        let neither = |text| {
            format!(
                "error: \"{text}\" is neither an image stream nor a tag of one: write STREAM or STREAM:TAG"
            )
        };
        check("app", "here app");
        check("app:v1", "here app v1");
        check("prod/app:v1", "prod app v1");
        check("here/app", "here app");
        check("/app", "error: invalid namespace \"\" for image stream \"/app\"");
        check("prod/", "error: invalid name \"\" for image stream \"prod/\"");
        check("a/b/c", "error: invalid image stream \"a/b/c\"");
        for bad in ["", "app:", ":v1", "app@sha256:12"] {
            check(bad, &neither(bad));
        }
        check(
            "app:v:1",
            "error: invalid tag \"v:1\" format, tags must start with an alphanumeric character followed by alphanumeric, '.' or '-' characters, and have a maximum of 128 characters",
        );
    }

    #[test]
    fn a_place_is_shown_as_seen_from_here() {
        let shown = |text: &str| Place::parse(text, "here").expect("a place").shown("here");
        for (text, want) in [("app", "app"), ("here/app:v1", "app:v1"), ("prod/app:v1", "prod/app:v1")] {
            assert_eq!(shown(text), want);
        }
        let refused = Place::of_tag("app", "here").expect_err("no tag").text();
        assert_eq!(refused, "error: \"app\" must be of the form <stream_name>:<tag>\n");
    }

    #[test]
    fn digests_are_whole_or_begun() {
        let whole = format!("sha256:{}", "a".repeat(64));
        for (text, good) in [
            ("1e42ab", true),
            ("sha256:1e42ab", true),
            (&*whole, true),
            ("1e42a", false),
            ("", false),
            ("1E42AB", false),
            ("md5:1e42ab", false),
            ("app:v1", false),
        ] {
            assert_eq!(beginning_of_digest(text, 6).is_ok(), good, "{text}");
        }
        for (text, good) in [(&*whole, true), ("none", true), ("sha256:1e42ab", false), ("", false)] {
            assert_eq!(expectation(text).is_ok(), good, "{text}");
        }
    }
}
