//! What ends a call whatever its method does.

use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::causes::{SOON, internal, too_many};
use super::refusal::{Detail, refuse};
use crate::audit::AUDIT_UNAVAILABLE;

/// When a place may be free among the watches: streams end with their connections, after minutes.
const WATCH_PAUSE: Duration = Duration::from_secs(30);
/// Nothing has to pass before another watch begins, on another connection.
const WATCH_AGAIN: Duration = Duration::from_millis(100);

/// The reason of a stream's end that is as it should be.
pub const WATCH_ENDED: &str = "WATCH_ENDED";

/// This replica answers as many calls as it may.
pub(in crate::grpc) fn overloaded() -> Status {
    too_many().into()
}

/// Something ended without an outcome, by a panic that is in the log.
pub(in crate::grpc) fn broken() -> Status {
    internal().into()
}

/// The caller calls more often than it may.
pub(in crate::grpc) fn rate_limited(retry_after: Duration) -> Status {
    let message = "this caller calls more often than it may";
    refuse(Code::ResourceExhausted, "CALLER_RATE_LIMITED", message, Detail::Retry(retry_after)).into()
}

/// Streams that watch are as many as they may be.
pub(in crate::grpc) fn too_many_watches() -> Status {
    let message = "this caller, or all callers together, watch as much as they may";
    refuse(Code::ResourceExhausted, "TOO_MANY_WATCHES", message, Detail::Retry(WATCH_PAUSE)).into()
}

/// The stream ends with its connection.
pub(in crate::grpc) fn watch_ended() -> Status {
    let message = "the connection closes: watch again";
    refuse(Code::Unavailable, WATCH_ENDED, message, Detail::Retry(WATCH_AGAIN)).into()
}

/// The call's deadline, or the server's, passed first.
pub(in crate::grpc) fn deadline_exceeded() -> Status {
    let message = "the deadline passed before there was an answer";
    refuse(Code::DeadlineExceeded, "DEADLINE_EXCEEDED", message, Detail::Nothing).into()
}

/// The call's audit event cannot be written: what it tells of must not leave.
pub(in crate::grpc) fn audit_unavailable() -> Status {
    let message = "what is answered cannot be written down at the moment, so it is not";
    refuse(Code::Unavailable, AUDIT_UNAVAILABLE, message, Detail::Retry(SOON)).into()
}

/// A handler panicked.
pub(in crate::grpc) fn panicked() -> Status {
    internal().into()
}

/// What the caller gets in place of a refusal by the library that decodes requests, whose words may repeat the request's;
/// none when the refusal is ours already, or of a protocol that is not ours to describe.
pub(in crate::grpc) fn in_our_words(status: &Status) -> Option<Status> {
    if status.get_details_error_info().is_some() {
        return None;
    }
    let (code, reason, message) = match status.code() {
        // Faults of ours have their reason: this is one that the library found while it read the request.
        Code::Internal | Code::Unknown => {
            (Code::InvalidArgument, "REQUEST_MALFORMED", "the request is not a message of this method")
        }
        Code::OutOfRange => (Code::OutOfRange, "REQUEST_TOO_LARGE", "the request is larger than 64 KiB"),
        Code::Unimplemented => {
            (Code::Unimplemented, "NOT_SUPPORTED", "there is no such method, or the request is compressed")
        }
        _ => return None,
    };
    Some(refuse(code, reason, message, Detail::Nothing).into())
}
