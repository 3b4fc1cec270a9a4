//! What callers hear of a refusal or a failure. The one place that knows gRPC's status codes.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use axum::middleware::Next;
use futures_util::FutureExt;
use tagtrail_domain::Refusal;
use tagtrail_domain::refusal::Subject;
use tagtrail_event_log::ReadError;
use tagtrail_event_log::blobs::BlobError;
use tagtrail_publisher::RepublishError;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::admission::SOON;
use crate::audit::AuditError;
use crate::metrics;
use crate::moment::MomentError;
use crate::past::PastError;
use crate::secrets::SecretError;
use crate::watch::End;
use crate::writer::WriteError;

/// The domain of the `google.rpc.ErrorInfo` that every refusal carries.
const DOMAIN: &str = "tagtrail";
/// Longest message, and longest name beside it, in bytes. They travel in headers, of which clients take 16 KiB, as
/// escaped text and once more in the details; and people type things of any length.
const MESSAGE_BYTES: usize = 2_048;
const NAME_BYTES: usize = 512;

pub(super) fn refused(refusal: &Refusal) -> Status {
    let message = refusal.to_string();
    let (code, reason, subject) = match refusal {
        Refusal::NotFound { resource, name } => (Code::NotFound, "NOT_FOUND", (*resource, name.clone())),
        Refusal::AlreadyExists { resource, name } => {
            (Code::AlreadyExists, "ALREADY_EXISTS", (*resource, name.clone()))
        }
        Refusal::Conflict(_) => (Code::Aborted, "CONFLICT", ("", String::new())),
        Refusal::Moved { image, sequence, .. } => {
            let metadata = [("image", image.clone()), ("sequence", sequence.to_string())];
            let metadata = metadata.map(|(key, value)| (key.to_owned(), value)).into();
            return told(Code::Aborted, "CONFLICT", metadata, message);
        }
        Refusal::Held(_) => (Code::FailedPrecondition, "HELD", ("", String::new())),
        Refusal::RequestIdReused(id) => (Code::AlreadyExists, "USAGE", ("", id.clone())),
        Refusal::Invalid { subject: Subject { kind, name }, .. } => {
            (Code::InvalidArgument, "INVALID", (*kind, name.clone()))
        }
        Refusal::BadRequest(_) => (Code::InvalidArgument, "BAD_REQUEST", ("", String::new())),
        Refusal::Malformed(_) => (Code::InvalidArgument, "USAGE", ("", String::new())),
        Refusal::TooManyTags(_) => {
            metrics::refused("tags_per_stream");
            (Code::FailedPrecondition, "USAGE", ("", String::new()))
        }
        Refusal::Usage(_) => (Code::FailedPrecondition, "USAGE", ("", String::new())),
    };
    status(code, reason, subject, message)
}

pub(super) fn secret(name: &str, error: SecretError) -> Status {
    let subject = || Subject { kind: "Secret", name: name.to_owned() };
    match error {
        SecretError::Exists(name) => refused(&Refusal::AlreadyExists { resource: "secrets", name }),
        SecretError::NotFound(name) => refused(&Refusal::NotFound { resource: "secrets", name }),
        SecretError::Name(message) => refused(&Refusal::Invalid { subject: subject(), message }),
        SecretError::Value(why) => {
            // Kubernetes' words; what was handed over is repeated to nobody.
            let message =
                format!("data[.dockerconfigjson]: Invalid value: \"<secret contents redacted>\": {why}");
            refused(&Refusal::Invalid { subject: subject(), message })
        }
        SecretError::TooMany(_) => refused(&Refusal::Usage(error.to_string())),
        SecretError::Disk(error) => internal(&format!("the secret could not be kept or deleted: {error}")),
    }
}

pub(super) fn not_written(error: &WriteError) -> Status {
    let nothing = || ("", String::new());
    match error {
        WriteError::Refused(refusal) => refused(refusal),
        WriteError::Busy => busy("waiting_writes", error.to_string(), SOON),
        WriteError::TooLate => too_late(),
        WriteError::Full(_) => status(Code::ResourceExhausted, "DISK_FULL", nothing(), error.to_string()),
        WriteError::Stopped => status(Code::Unavailable, "UNAVAILABLE", nothing(), error.to_string()),
    }
}

pub(super) fn not_republished(error: &RepublishError) -> Status {
    match error {
        RepublishError::Refused(text) => refused(&Refusal::Usage(text.clone())),
        RepublishError::OutOfRange(text) => out_of_range(text.clone()),
        RepublishError::Failed(_) => {
            status(Code::Unavailable, "UNAVAILABLE", ("", String::new()), error.to_string())
        }
    }
}

pub(super) fn not_proven(error: &AuditError) -> Status {
    match error {
        AuditError::Suspended(_) => read_only(error.to_string()),
        AuditError::Unsigned(_) => {
            status(Code::Unavailable, "UNAVAILABLE", ("", String::new()), error.to_string())
        }
        AuditError::OutOfRange(text) => out_of_range(text.clone()),
        AuditError::Malformed(text) => usage(text.clone()),
        AuditError::NotReady => not_ready(),
        AuditError::Log(error) => unreadable(error),
        AuditError::Tree(_) => internal(error),
    }
}

/// The log does not go on from what was signed.
pub(super) fn read_only(why: String) -> Status {
    status(Code::FailedPrecondition, "READ_ONLY", ("", String::new()), why)
}

pub(super) fn unreadable(error: &ReadError) -> Status {
    tracing::error!(%error, "the log could not be read");
    status(Code::DataLoss, "INTERNAL_ERROR", ("", String::new()), error.to_string())
}

/// The log is not what was signed.
pub(super) fn damaged(why: &dyn std::fmt::Display) -> Status {
    tracing::error!(%why, "the log is damaged");
    let text = format!("the log is damaged: {why}; see tagtrail audit verify");
    status(Code::DataLoss, "INTERNAL_ERROR", ("", String::new()), text)
}

pub(super) fn past(error: &PastError) -> Status {
    match error {
        PastError::Read(error) => unreadable(error),
        PastError::Missing(_) | PastError::Decode(_) => internal(error),
    }
}

pub(super) fn no_moment(error: &MomentError) -> Status {
    match error {
        MomentError::Beyond { .. } => out_of_range(error.to_string()),
        MomentError::YetToCome { .. } | MomentError::Malformed(_) => usage(error.to_string()),
        MomentError::Past(error) => past(error),
    }
}

/// How a watch ended, with the position to resume from.
pub(crate) fn watch_ended(end: &End) -> Status {
    let (code, reason, after) = match end {
        End::Slow { after, .. } => (Code::ResourceExhausted, "SLOW_WATCHER", after),
        End::Stopping { after } => (Code::Unavailable, "UNAVAILABLE", after),
        End::Unreadable(error) => return past(error),
        End::Broken(why) => return internal(why),
    };
    let metadata = after.map(|after| ("after_sequence".to_owned(), after.to_string())).into_iter().collect();
    told(code, reason, metadata, end.to_string())
}

pub(super) fn no_bytes(error: &BlobError) -> Status {
    tracing::error!(%error, "a blob could not be read");
    let (code, reason, remedy) = match error {
        BlobError::Missing { .. } | BlobError::Damaged { .. } => (
            Code::DataLoss,
            "INTERNAL_ERROR",
            "; import the image again, or put the file back from a copy of the data directory",
        ),
        BlobError::InvalidDigest(_) => (Code::DataLoss, "INTERNAL_ERROR", ""),
        // Too many open files, say: that says nothing about the blob.
        BlobError::Io { .. } => (Code::Unavailable, "UNAVAILABLE", ""),
    };
    status(code, reason, ("", String::new()), format!("{error}{remedy}"))
}

/// Turned away until the read model is complete: an answer from half of it would be wrong.
pub(crate) fn not_ready() -> Status {
    let text =
        "the server is starting or stopping, and its read model is not complete; try again in a moment";
    status(Code::Unavailable, "UNAVAILABLE", ("", String::new()), text.to_owned())
}

pub(super) fn out_of_range(text: String) -> Status {
    status(Code::OutOfRange, "USAGE", ("", String::new()), text)
}

pub(super) fn too_large(text: String) -> Status {
    status(Code::ResourceExhausted, "USAGE", ("", String::new()), text)
}

/// As much is being done as may be at once. Nothing was done; the same may be asked again when `retry` has passed.
pub(crate) fn busy(limit: &'static str, text: String, retry: Duration) -> Status {
    metrics::refused(limit);
    let mut details = ErrorDetails::with_retry_info(Some(retry));
    details.set_error_info("TOO_MANY_REQUESTS", DOMAIN, [("limit".to_owned(), limit.to_owned())]);
    Status::with_error_details(Code::ResourceExhausted, text, details)
}

/// The request does not fit. `sizes` are tonic's words for how large it is, and may be.
pub(crate) fn request_too_large(sizes: &str) -> Status {
    metrics::refused("request_bytes");
    status(
        Code::ResourceExhausted,
        "USAGE",
        ("", String::new()),
        format!("the request is too large: {sizes}"),
    )
}

/// Nobody waited any more when it was its turn.
pub(crate) fn too_late() -> Status {
    metrics::refused("deadline");
    let text = "the deadline passed before this was begun; nothing was done";
    status(Code::DeadlineExceeded, "DEADLINE_EXCEEDED", ("", String::new()), text.to_owned())
}

/// Nobody waits any more, and it was begun.
pub(crate) fn out_of_time() -> Status {
    metrics::refused("deadline");
    let text = "the deadline passed before there was an answer; whether a write happened, a repeat with the same request id tells";
    status(Code::DeadlineExceeded, "DEADLINE_EXCEEDED", ("", String::new()), text.to_owned())
}

/// Lets whoever asked hear of a panic, instead of breaking off the connection and all that others asked on it.
pub(crate) async fn answer_panics(request: axum::extract::Request, next: Next) -> axum::response::Response {
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            internal(&text.unwrap_or("the server's own log says more")).into_http()
        }
    }
}

/// A request that is malformed in itself, whatever the state of the streams.
pub(crate) fn usage(text: String) -> Status {
    status(Code::InvalidArgument, "USAGE", ("", String::new()), text)
}

pub(super) fn bad_page_token(text: &str) -> Status {
    usage(format!("\"{text}\" is not a page token: give the next_page_token of the page before"))
}

pub(super) fn internal(error: &dyn std::fmt::Display) -> Status {
    tracing::error!(%error, "a request failed");
    status(Code::Internal, "INTERNAL_ERROR", ("", String::new()), format!("Internal error occurred: {error}"))
}

fn status(code: Code, reason: &str, subject: (&str, String), message: String) -> Status {
    let (kind, name) = subject;
    let name = shortened(name, NAME_BYTES);
    let metadata = HashMap::from([("kind".to_owned(), kind.to_owned()), ("name".to_owned(), name)]);
    told(code, reason, metadata, message)
}

fn told(code: Code, reason: &str, metadata: HashMap<String, String>, message: String) -> Status {
    let details = ErrorDetails::with_error_info(reason, DOMAIN, metadata);
    Status::with_error_details(code, shortened(message, MESSAGE_BYTES), details)
}

/// Cut in the middle, where what was typed stands: what is wrong with it comes last.
fn shortened(text: String, bytes: usize) -> String {
    if text.len() <= bytes {
        return text;
    }
    let start = text.floor_char_boundary(bytes / 2);
    let end = text.ceil_char_boundary(text.len() - bytes / 2);
    format!("{} ... {}", &text[..start], &text[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name of a megabyte once came back in a header that no client takes.
    #[test]
    fn what_is_said_fits_into_headers() {
        for name in ["x".repeat(1 << 20), "ü".repeat(1 << 19)] {
            let refusal = Refusal::NotFound { resource: "imagestreams.image.openshift.io", name };
            let headers = refused(&refusal).into_http::<()>();
            let size: usize =
                headers.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
            assert!(size < 12_000, "{size}");
            assert!(refused(&refusal).message().ends_with("\" not found"), "what is wrong is still said");
        }
    }

    #[test]
    fn a_missing_blob_is_named_and_what_to_do() {
        let (digest, path) = ("sha256:abc".to_owned(), "/data/blobs/sha256/abc".into());
        let status = no_bytes(&BlobError::Missing { digest, path });
        assert_eq!(status.code(), Code::DataLoss);
        assert_eq!(
            status.message(),
            "blob sha256:abc is missing: there is no /data/blobs/sha256/abc; import the image again, or put the file back from a copy of the data directory"
        );
    }
}
