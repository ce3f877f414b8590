//! What a caller gets for one cause, and how it is said on the wire.

use std::borrow::Cow;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::DOMAIN;

/// What a caller gets for one cause.
pub(super) struct Refusal {
    pub(super) code: Code,
    pub(super) reason: &'static str,
    pub(super) message: String,
    pub(super) detail: Detail,
}

/// What comes with it beside `ErrorInfo`.
pub(super) enum Detail {
    Nothing,
    Retry(Duration),
    /// The request's field that is wrong.
    Field(Cow<'static, str>),
    /// What must be done, and by whom, before the call can succeed.
    Precondition(&'static str),
}

#[expect(clippy::needless_pass_by_value, reason = "takes texts as well as errors that are passed by reference")]
pub(super) fn refuse(code: Code, reason: &'static str, message: impl ToString, detail: Detail) -> Refusal {
    Refusal { code, reason, message: message.to_string(), detail }
}

impl Refusal {
    pub(super) fn caused_by(self, error: impl Error + Send + Sync + 'static) -> Status {
        let mut status = Status::from(self);
        status.set_source(Arc::new(error));
        status
    }
}

impl From<Refusal> for Status {
    fn from(Refusal { code, reason, message, detail }: Refusal) -> Self {
        let mut details = ErrorDetails::with_error_info(reason, DOMAIN, []);
        match detail {
            Detail::Nothing => {}
            Detail::Retry(after) => {
                details.set_retry_info(Some(after));
            }
            Detail::Field(field) => {
                details.add_bad_request_violation(field, &message);
            }
            Detail::Precondition(advice) => {
                details.add_precondition_failure_violation(reason, DOMAIN, advice);
            }
        }
        Self::with_error_details(code, message, details)
    }
}
