//! What callers hear of a refusal or a failure. The one place that knows gRPC's status codes.

use std::collections::HashMap;

use tagtrail_domain::Refusal;
use tagtrail_domain::refusal::Subject;
use tagtrail_event_log::ReadError;
use tagtrail_event_log::blobs::BlobError;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::writer::WriteError;

/// The domain of the `google.rpc.ErrorInfo` that every refusal carries.
const DOMAIN: &str = "tagtrail";

pub(super) fn refused(refusal: &Refusal) -> Status {
    let message = refusal.to_string();
    let (code, reason, subject) = match refusal {
        Refusal::NotFound { resource, name } => (Code::NotFound, "NOT_FOUND", (*resource, name.clone())),
        Refusal::AlreadyExists { resource, name } => {
            (Code::AlreadyExists, "ALREADY_EXISTS", (*resource, name.clone()))
        }
        Refusal::Conflict(_) => (Code::Aborted, "CONFLICT", ("", String::new())),
        Refusal::RequestIdReused(id) => (Code::AlreadyExists, "USAGE", ("", id.clone())),
        Refusal::Invalid { subject: Subject { kind, name }, .. } => {
            (Code::InvalidArgument, "INVALID", (*kind, name.clone()))
        }
        Refusal::BadRequest(_) => (Code::InvalidArgument, "BAD_REQUEST", ("", String::new())),
        Refusal::Usage(_) => (Code::FailedPrecondition, "USAGE", ("", String::new())),
    };
    status(code, reason, subject, message)
}

pub(super) fn not_written(error: &WriteError) -> Status {
    let nothing = || ("", String::new());
    match error {
        WriteError::Refused(refusal) => refused(refusal),
        WriteError::Busy => {
            status(Code::ResourceExhausted, "TOO_MANY_REQUESTS", nothing(), error.to_string())
        }
        WriteError::Stopped => status(Code::Unavailable, "UNAVAILABLE", nothing(), error.to_string()),
    }
}

pub(super) fn unreadable(error: &ReadError) -> Status {
    tracing::error!(%error, "the log could not be read");
    status(Code::DataLoss, "INTERNAL_ERROR", ("", String::new()), error.to_string())
}

pub(super) fn no_bytes(error: &BlobError) -> Status {
    tracing::error!(%error, "a blob could not be read");
    status(Code::DataLoss, "INTERNAL_ERROR", ("", String::new()), error.to_string())
}

/// A request that is malformed in itself, whatever the state of the streams.
pub(super) fn usage(text: String) -> Status {
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
    let metadata = HashMap::from([("kind".to_owned(), kind.to_owned()), ("name".to_owned(), name)]);
    Status::with_error_details(code, message, ErrorDetails::with_error_info(reason, DOMAIN, metadata))
}
