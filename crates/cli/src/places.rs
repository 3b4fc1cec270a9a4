//! Places and images as they are written: `[NAMESPACE/]STREAM[:TAG]`, `sha256:…` or the beginning of it.

use tagtrail_domain::{Digest, TagName};

use crate::failure::Failure;
use crate::kinds::Kind;

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

    /// Reads what [`Place::parse`] reads, also behind a kind as other commands write it: `is/app`, `istag/app:v1`.
    ///
    /// # Errors
    /// [`Failure::Client`].
    pub(crate) fn of_any(text: &str, current: &str) -> Result<Self, Failure> {
        match without_kind(text) {
            (Some(Kind::StreamTag | Kind::ImageTag), rest) => Self::of_tag(rest, current),
            (_, rest) => Self::parse(rest, current),
        }
    }

    /// Reads what [`Place::of_tag`] reads, also behind a kind: `istag/app:v1`.
    ///
    /// # Errors
    /// [`Failure::Client`].
    pub(crate) fn of_any_tag(text: &str, current: &str) -> Result<Self, Failure> {
        Self::of_tag(without_kind(text).1, current)
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

/// Takes off the kind of a stream or a tag: `is/app`, `istag/app:v1`, `imagestream/NAMESPACE/app`. A namespace that is called
/// like a kind has to stand behind one.
pub(crate) fn without_kind(text: &str) -> (Option<Kind>, &str) {
    let (word, rest) = text.split_once('/').unwrap_or(("", text));
    match Kind::of(word) {
        // A category, and no word for one stream.
        Some(Kind::Stream) if word.eq_ignore_ascii_case("all") => (None, text),
        Some(kind @ (Kind::Stream | Kind::StreamTag | Kind::ImageTag)) => (Some(kind), rest),
        Some(Kind::StreamImage | Kind::Image | Kind::Scheduled | Kind::Secret) | None => (None, text),
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

/// The digest in what this tool prints: what follows the last `@` of a reference such as `quay.io/a/b@sha256:…`.
fn printed_digest(text: &str) -> &str {
    match text.rsplit_once('@') {
        Some((_, digest)) if digest.contains(':') => digest,
        _ => text,
    }
}

/// Reads a digest or the beginning of one, with or without its algorithm: so many digits at least. It may stand behind the `@`
/// of a reference, or end in the `…` of a table.
///
/// # Errors
/// One sentence.
pub(crate) fn beginning_of_digest(text: &str, least: usize) -> Result<String, String> {
    let text = printed_digest(text);
    let text = text.strip_suffix('…').unwrap_or(text);
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

/// Reads what a tag is expected to point to: a whole digest, which may stand behind the `@` of a reference, or `none`.
///
/// # Errors
/// One sentence.
pub(crate) fn expectation(text: &str) -> Result<String, String> {
    match text {
        "none" => Ok(text.to_owned()),
        _ => Digest::parse(printed_digest(text)).map(|digest| digest.to_string()).map_err(|error| {
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
    fn a_kind_may_stand_before_a_place() {
        let check = |text: &str, want: &str| {
            let got = match Place::of_any(text, "here") {
                Ok(place) => place.shown(""),
                Err(failure) => failure.text(),
            };
            assert_eq!(got.trim_end(), want, "{text}");
        };
        check("app", "here/app");
        check("prod/app:v1", "prod/app:v1");
        check("is/app", "here/app");
        check("imagestream/app", "here/app");
        check("istag/app:v1", "here/app:v1");
        check("istag/prod/app:v1", "prod/app:v1");
        check("istag/app", "error: \"app\" must be of the form <stream_name>:<tag>");
        check("is/", "error: \"\" is neither an image stream nor a tag of one: write STREAM or STREAM:TAG");
        // Kinds win, and the full form names such a namespace nevertheless. Other kinds are no streams.
        check("is/is/app", "is/app");
        check("all/app", "all/app");
        check("secret/app", "secret/app");
        let tag = Place::of_any_tag("istag/app:v1", "here").expect("a tag");
        assert_eq!(tag.shown("here"), "app:v1");
        assert!(Place::of_any_tag("is/app", "here").is_err());
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
        for (text, want) in [
            (format!("quay.io/a/b@{whole}"), &*whole),
            (format!("app@{whole}"), &whole),
            ("app@sha256:1e42ab".into(), "sha256:1e42ab"),
            ("sha256:1e42ab0c…".into(), "sha256:1e42ab0c"),
        ] {
            assert_eq!(beginning_of_digest(&text, 6).as_deref(), Ok(want), "{text}");
        }
        assert_eq!(expectation(&format!("quay.io/a/b@{whole}")), Ok(whole.clone()));
        for (text, good) in [(&*whole, true), ("none", true), ("sha256:1e42ab", false), ("", false)] {
            assert_eq!(expectation(text).is_ok(), good, "{text}");
        }
    }
}
