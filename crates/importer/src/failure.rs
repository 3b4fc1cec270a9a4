//! What went wrong, and how it is told: one [`Fault`] per thing that can go wrong while talking to a registry,
//! turned into a [`Failure`] with OpenShift's reason and words (spec §3.7) by what was asked for.

use std::time::Duration;

use reqwest::StatusCode;
use serde::Deserialize;
use tagtrail_domain::reference::ReferenceError;
use tagtrail_domain::{Failure, FailureKind, ImageReference, limits};

use crate::go_json;
use crate::scrub::scrub;

/// Most of an unparsable error body that is repeated in a message, in bytes.
const BODY_SHOWN_BYTES: usize = 1024;

/// One thing that went wrong while talking to a registry. Its text never holds a secret.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    pub(crate) cause: Cause,
    /// In Go's or the registry's words, without the reference it happened to.
    pub(crate) text: String,
    /// How long the registry wants to be left alone, if it said so with the fault.
    pub(crate) retry_after: Option<Duration>,
}

/// Faults that are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The registry answered, and the answer is that there is no such manifest.
    ManifestUnknown,
    /// ... that there is no such repository.
    RepositoryUnknown,
    /// ... that something a manifest names is not there.
    BlobUnknown,
    /// A 404 without a word of what is not there: perhaps from something that is no registry.
    NotFoundPage,
    /// 401, or no credentials where some are needed.
    Unauthorized,
    /// 401 with the words "incorrect username or password".
    BadLogin,
    /// 403.
    Denied,
    /// 429.
    RateLimited,
    /// No connection. Trying again at once is no use.
    Unreachable,
    /// A connection that broke or a moment's trouble: worth another try.
    Flaky,
    /// 502, 503, 504: worth another try.
    Unavailable,
    /// Plain HTTP where TLS was spoken, seen as an oversized TLS record.
    HttpOnly,
    /// An answer that is no answer.
    BadAnswer,
    /// A configuration blob that cannot be read. OpenShift names no reference here.
    BadConfig,
    /// A manifest of a type we do not know. OpenShift names no reference here either.
    Unsupported,
    /// Our own configuration forbids the connection.
    Forbidden,
}

impl Fault {
    pub(crate) fn new(cause: Cause, text: impl Into<String>) -> Self {
        Self { cause, text: text.into(), retry_after: None }
    }

    /// Bytes that are not the JSON they should be. Tells the first bad character in Go's words, or what
    /// serde misses in JSON of another shape.
    pub(crate) fn json(cause: Cause, bytes: &[u8], what: &str, error: &serde_json::Error) -> Self {
        let text = go_json::syntax_error(bytes)
            .unwrap_or_else(|| format!("the {what} is not of the form it should have: {error}"));
        Self::new(cause, text)
    }

    /// Whether other credentials might help.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self.cause, Cause::Unauthorized | Cause::BadLogin | Cause::Denied)
    }

    /// The same fault with every occurrence of the secrets taken out: a registry may repeat what it was
    /// sent.
    pub(crate) fn scrubbed<'a>(self, secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let secrets: Vec<_> = secrets.into_iter().collect();
        Self { text: scrub(&self.text, &secrets), ..self }
    }

    fn kind(&self) -> FailureKind {
        match self.cause {
            Cause::ManifestUnknown | Cause::RepositoryUnknown | Cause::BlobUnknown => FailureKind::NotFound,
            Cause::Unauthorized | Cause::BadLogin => FailureKind::Unauthorized,
            Cause::Denied => FailureKind::Denied,
            Cause::RateLimited => FailureKind::RateLimited,
            Cause::Unreachable | Cause::Flaky | Cause::HttpOnly => FailureKind::Unreachable,
            Cause::NotFoundPage | Cause::Unavailable | Cause::BadAnswer | Cause::BadConfig => {
                FailureKind::BadAnswer
            }
            Cause::Unsupported => FailureKind::Unsupported,
            Cause::Forbidden => FailureKind::Forbidden,
        }
    }
}

/// What was asked for when a fault came. The words depend on it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Asked<'a> {
    /// One image. The reference has its defaults filled in.
    Image(&'a ImageReference),
    /// A repository's tags. The reference is as typed.
    Tags(&'a ImageReference),
}

/// A fault in OpenShift's words.
pub(crate) fn explain(asked: Asked<'_>, fault: &Fault) -> Failure {
    let reference = match asked {
        Asked::Image(reference) => most_specific(reference),
        Asked::Tags(reference) => reference.repository(),
    };
    let named = format!("{reference}: {}", fault.text);
    let (reason, message) = match (fault.cause, asked) {
        (Cause::ManifestUnknown, Asked::Image(_)) | (Cause::RepositoryUnknown, Asked::Tags(_)) => {
            ("NotFound", format!("dockerimage.image.openshift.io {reference:?} not found"))
        }
        (Cause::Unauthorized, _) => {
            ("Unauthorized", format!("you may not have access to the container image {reference:?}"))
        }
        (Cause::BadLogin, _) => {
            ("Unauthorized", format!("incorrect username or password for image {reference:?}"))
        }
        (Cause::HttpOnly, Asked::Image(r) | Asked::Tags(r)) => (
            "BadRequest",
            format!(
                "the repository {} is HTTP only and requires the insecure flag to import",
                r.repository()
            ),
        ),
        (Cause::Forbidden, _) => ("Forbidden", format!("forbidden: {}", fault.text)),
        (Cause::BadConfig | Cause::Unsupported, _) => internal(&fault.text),
        (
            Cause::ManifestUnknown
            | Cause::RepositoryUnknown
            | Cause::BlobUnknown
            | Cause::NotFoundPage
            | Cause::Denied
            | Cause::RateLimited
            | Cause::Unreachable
            | Cause::Flaky
            | Cause::Unavailable
            | Cause::BadAnswer,
            _,
        ) => internal(&named),
    };
    failure(fault.kind(), reason, message)
}

/// What several sources of one image (mirrors, then the host itself) answered. One failure passes unchanged;
/// different ones are joined (spec §3.7, last paragraph).
pub(crate) fn join(mut failures: Vec<Failure>) -> Failure {
    failures.dedup();
    let Some(last) = failures.pop() else {
        return failure(FailureKind::BadAnswer, "InternalError", internal("no source to ask").1);
    };
    if failures.is_empty() {
        return last;
    }
    let texts: Vec<_> = failures
        .iter()
        .chain([&last])
        .map(|f| f.message.strip_prefix(INTERNAL).unwrap_or(&f.message))
        .collect();
    // The host itself comes last, and its word on what kind of failure this is counts most.
    failure(last.kind, "InternalError", format!("{INTERNAL}[{}]", texts.join(", ")))
}

/// A source that is no image reference.
#[must_use]
pub fn invalid_reference(typed: &str, error: &ReferenceError) -> Failure {
    failure(
        FailureKind::InvalidReference,
        "Invalid",
        format!(" \"\" is invalid: from.name: Invalid value: {typed:?}: invalid name: {error}"),
    )
}

/// Whether a failure says that the configuration blocks the registry, and is not a refusal of the guard.
#[must_use]
pub fn is_blocked(failure: &Failure) -> bool {
    failure.kind == FailureKind::Forbidden && failure.message.ends_with(" blocked")
}

/// The configuration blocks this registry.
pub(crate) fn blocked(host: &str) -> Failure {
    failure(FailureKind::Forbidden, "Forbidden", format!("forbidden: registry {host} blocked"))
}

const INTERNAL: &str = "Internal error occurred: ";

fn internal(text: &str) -> (&'static str, String) {
    ("InternalError", format!("{INTERNAL}{text}"))
}

fn failure(kind: FailureKind, reason: &str, mut message: String) -> Failure {
    if message.len() > limits::FAILURE_MESSAGE_BYTES {
        let mut end = limits::FAILURE_MESSAGE_BYTES - 3;
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        message.truncate(end);
        message.push_str("...");
    }
    Failure { kind, reason: reason.to_owned(), message }
}

/// The exact form without the tag if there is a digest.
fn most_specific(reference: &ImageReference) -> String {
    match &reference.digest {
        Some(digest) => reference.at_digest(digest).to_string(),
        None => reference.to_string(),
    }
}

/// What an error status means: the registry's own codes if its body has some (distribution specification,
/// "Error Codes"), else the status.
pub(crate) fn from_status(status: StatusCode, body: &[u8]) -> Fault {
    let cause = match status {
        StatusCode::UNAUTHORIZED => Cause::Unauthorized,
        StatusCode::FORBIDDEN => Cause::Denied,
        StatusCode::TOO_MANY_REQUESTS => Cause::RateLimited,
        StatusCode::NOT_FOUND => Cause::NotFoundPage,
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
            Cause::Unavailable
        }
        _ => Cause::BadAnswer,
    };
    if !status.is_client_error() {
        let status = status.to_string();
        return Fault::new(cause, format!("received unexpected HTTP status: {}", status.trim_end()));
    }
    match registry_errors(status, body) {
        Ok(errors) => {
            let text = match errors.as_slice() {
                [one] => one.text(),
                // One a line, as OpenShift's client library has them.
                several => {
                    several.iter().fold("errors:\n".to_owned(), |text, error| text + &error.text() + "\n")
                }
            };
            let causes = || errors.iter().filter_map(|error| cause_of_code(&error.code));
            // Docker Hub says "denied" and "unauthorized" at once; these two are looked for first.
            let telling = [Cause::ManifestUnknown, Cause::Unauthorized];
            let telling = telling.into_iter().find(|telling| causes().any(|cause| cause == *telling));
            let cause = if text.ends_with("incorrect username or password") {
                Cause::BadLogin
            } else {
                telling.or_else(|| causes().next()).unwrap_or(cause)
            };
            Fault::new(cause, text)
        }
        // A 401 is clear enough without a body.
        Err(_) if status == StatusCode::UNAUTHORIZED => {
            Fault::new(cause, "unauthorized: authentication required")
        }
        Err(why) => {
            let shown = &body[..body.len().min(BODY_SHOWN_BYTES)];
            let text = format!(
                "error parsing HTTP {} response body: {why}: {}",
                status.as_u16(),
                go_json::quote(shown)
            );
            Fault::new(cause, text)
        }
    }
}

fn cause_of_code(code: &str) -> Option<Cause> {
    Some(match code {
        "MANIFEST_UNKNOWN" => Cause::ManifestUnknown,
        "NAME_UNKNOWN" => Cause::RepositoryUnknown,
        "BLOB_UNKNOWN" => Cause::BlobUnknown,
        "UNAUTHORIZED" => Cause::Unauthorized,
        "DENIED" => Cause::Denied,
        "TOOMANYREQUESTS" => Cause::RateLimited,
        "UNAVAILABLE" => Cause::Unavailable,
        _ => return None,
    })
}

#[derive(Deserialize)]
struct RegistryError {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

impl RegistryError {
    /// `denied: requested access to the resource is denied`.
    fn text(&self) -> String {
        let code = self.code.to_lowercase().replace('_', " ");
        let code = if code.is_empty() { "unknown" } else { &code };
        if self.message.is_empty() { code.to_owned() } else { format!("{code}: {}", self.message) }
    }
}

/// The errors in an error body, or why there are none.
fn registry_errors(status: StatusCode, body: &[u8]) -> Result<Vec<RegistryError>, String> {
    #[derive(Deserialize)]
    struct Body {
        #[serde(default)]
        errors: Vec<RegistryError>,
        /// What Docker Hub and some proxies send instead.
        #[serde(default, alias = "detail")]
        details: Option<String>,
    }
    match serde_json::from_slice::<Body>(body) {
        Ok(Body { details: Some(message), errors }) if errors.is_empty() => {
            let code = match status {
                StatusCode::UNAUTHORIZED => "UNAUTHORIZED",
                StatusCode::TOO_MANY_REQUESTS => "TOOMANYREQUESTS",
                _ => "",
            };
            Ok(vec![RegistryError { code: code.to_owned(), message }])
        }
        Ok(Body { errors, .. }) if !errors.is_empty() => Ok(errors),
        Ok(_) => Err("no error details found in HTTP response body".to_owned()),
        Err(e) => Err(go_json::syntax_error(body).unwrap_or_else(|| e.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(text: &str) -> ImageReference {
        ImageReference::parse(text).expect(text).with_defaults()
    }

    fn check(status: u16, body: &str, reason: &str, kind: FailureKind, message: &str) {
        let fault = from_status(StatusCode::from_u16(status).expect("a status"), body.as_bytes());
        let got = explain(Asked::Image(&image("q.io/o/a:1")), &fault);
        assert_eq!((got.message.as_str(), got.reason.as_str(), got.kind), (message, reason, kind));
    }

    #[test]
    fn what_a_registry_answers_becomes_openshifts_words() {
        use FailureKind as K;
        let errors = |code: &str, message: &str| {
            format!(r#"{{"errors":[{{"code":"{code}","message":"{message}","detail":{{}}}}]}}"#)
        };
        check(
            404,
            &errors("MANIFEST_UNKNOWN", "manifest unknown"),
            "NotFound",
            K::NotFound,
            r#"dockerimage.image.openshift.io "q.io/o/a:1" not found"#,
        );
        check(
            401,
            &errors("UNAUTHORIZED", "authentication required"),
            "Unauthorized",
            K::Unauthorized,
            r#"you may not have access to the container image "q.io/o/a:1""#,
        );
        check(
            401,
            "",
            "Unauthorized",
            K::Unauthorized,
            r#"you may not have access to the container image "q.io/o/a:1""#,
        );
        check(
            401,
            r#"{"details":"incorrect username or password"}"#,
            "Unauthorized",
            K::Unauthorized,
            r#"incorrect username or password for image "q.io/o/a:1""#,
        );
        check(
            403,
            &errors("DENIED", "requested access to the resource is denied"),
            "InternalError",
            K::Denied,
            "Internal error occurred: q.io/o/a:1: denied: requested access to the resource is denied",
        );
        check(
            429,
            &errors("TOOMANYREQUESTS", "You have reached your pull rate limit."),
            "InternalError",
            K::RateLimited,
            "Internal error occurred: q.io/o/a:1: toomanyrequests: You have reached your pull rate limit.",
        );
        check(
            429,
            r#"{"details":"come back later"}"#,
            "InternalError",
            K::RateLimited,
            "Internal error occurred: q.io/o/a:1: toomanyrequests: come back later",
        );
        check(
            403,
            r#"{"details":"no"}"#,
            "InternalError",
            K::Denied,
            "Internal error occurred: q.io/o/a:1: unknown: no",
        );
        let several = |codes: [&str; 2]| {
            let errors = codes.map(|code| format!(r#"{{"code":"{code}","message":"m"}}"#));
            format!(r#"{{"errors":[{}]}}"#, errors.join(","))
        };
        check(
            401,
            &several(["DENIED", "UNAUTHORIZED"]),
            "Unauthorized",
            K::Unauthorized,
            r#"you may not have access to the container image "q.io/o/a:1""#,
        );
        check(
            403,
            &several(["DENIED", "UNSUPPORTED"]),
            "InternalError",
            K::Denied,
            "Internal error occurred: q.io/o/a:1: errors:\ndenied: m\nunsupported: m\n",
        );
        check(
            500,
            "whatever",
            "InternalError",
            K::BadAnswer,
            "Internal error occurred: q.io/o/a:1: received unexpected HTTP status: 500 Internal Server Error",
        );
        check(
            404,
            "nope",
            "InternalError",
            K::BadAnswer,
            "Internal error occurred: q.io/o/a:1: error parsing HTTP 404 response body: invalid character 'o' in \
             literal null (expecting 'u'): \"nope\"",
        );
        check(
            404,
            "{}",
            "InternalError",
            K::BadAnswer,
            "Internal error occurred: q.io/o/a:1: error parsing HTTP 404 response body: no error details found \
             in HTTP response body: \"{}\"",
        );
        check(
            400,
            &format!("x{}", "y".repeat(9000)),
            "InternalError",
            K::BadAnswer,
            &format!(
                "Internal error occurred: q.io/o/a:1: error parsing HTTP 400 response body: invalid character \
                 'x' looking for beginning of value: \"x{}\"",
                "y".repeat(1023)
            ),
        );
    }

    #[test]
    fn faults_without_a_status_have_their_own_words() {
        let check = |cause, text: &str, message: &str| {
            let fault = Fault::new(cause, text);
            assert_eq!(explain(Asked::Image(&image("python")), &fault).message, message);
        };
        check(
            Cause::Unreachable,
            "Get \"https://registry-1.docker.io/v2/\": EOF",
            "Internal error occurred: docker.io/library/python:latest: Get \"https://registry-1.docker.io/v2/\": \
             EOF",
        );
        check(
            Cause::BadConfig,
            "invalid character 'h' in literal true (expecting 'r')",
            "Internal error occurred: invalid character 'h' in literal true (expecting 'r')",
        );
        check(
            Cause::BlobUnknown,
            "unknown blob",
            "Internal error occurred: docker.io/library/python:latest: unknown blob",
        );
        check(
            Cause::Unsupported,
            "unsupported image manifest type: x/y",
            "Internal error occurred: unsupported image manifest type: x/y",
        );
        check(
            Cause::HttpOnly,
            "",
            "the repository docker.io/library/python is HTTP only and requires the insecure flag to import",
        );
    }

    #[test]
    fn several_sources_are_joined_unless_they_agree() {
        let not_found = || {
            explain(
                Asked::Image(&image("q.io/o/a:1")),
                &Fault::new(Cause::ManifestUnknown, "manifest unknown"),
            )
        };
        let down =
            || explain(Asked::Image(&image("q.io/o/a:1")), &Fault::new(Cause::Unreachable, "Get \"x\": EOF"));
        assert_eq!(join(vec![not_found()]), not_found());
        assert_eq!(join(vec![not_found(), not_found()]), not_found());
        let both = join(vec![down(), not_found()]);
        assert_eq!(both.reason, "InternalError");
        assert_eq!(both.kind, FailureKind::NotFound);
        assert_eq!(
            both.message,
            "Internal error occurred: [q.io/o/a:1: Get \"x\": EOF, dockerimage.image.openshift.io \"q.io/o/a:1\" \
             not found]"
        );
    }

    #[test]
    fn a_reference_that_does_not_parse_is_invalid() {
        let error = ImageReference::parse("Bad:Ref::").expect_err("invalid");
        assert_eq!(
            invalid_reference("Bad:Ref::", &error).message,
            " \"\" is invalid: from.name: Invalid value: \"Bad:Ref::\": invalid name: invalid reference format"
        );
    }

    #[test]
    fn a_message_is_never_longer_than_its_limit() {
        let fault = Fault::new(Cause::BadAnswer, "ü".repeat(9000));
        let message = explain(Asked::Image(&image("a")), &fault).message;
        assert!(message.len() <= limits::FAILURE_MESSAGE_BYTES && message.ends_with("ü..."));
    }
}
