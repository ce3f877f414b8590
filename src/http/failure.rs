use std::fmt::Write as _;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use maud::html;

use super::page::{Forms, Page, Tone, retry_after};
use crate::audit::AUDIT_UNAVAILABLE;

/// Something that did not work.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) told: &'static Told,
    pub(super) again: Again,
    /// For the log only.
    pub(super) cause: String,
}

/// What the person in front of a failure is told: what happened and what to do next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    pub(super) status: StatusCode,
    /// What the operator looks for in the log.
    pub(super) reason: &'static str,
    pub(super) title: &'static str,
    pub(super) happened: &'static str,
    pub(super) next: &'static str,
}

/// Whether it helps to begin again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// Somebody has to do something first.
    No,
    /// Right away.
    Now,
    /// After so long.
    In(Duration),
}

/// A wait that nobody needs to be told the length of.
const A_MOMENT: Duration = Duration::from_secs(10);

/// Why a request was refused, for the log.
#[derive(Clone, Debug)]
pub(super) struct Refused {
    pub(super) reason: &'static str,
    pub(super) cause: String,
}

impl Failure {
    pub(super) fn not_found() -> Self {
        Self::final_one(&NOT_FOUND, &"no such page")
    }

    pub(super) fn method_not_allowed() -> Self {
        Self::final_one(&METHOD_NOT_ALLOWED, &"no such method")
    }

    /// The request is not one that our pages or SuperOffice make.
    pub(super) fn malformed(cause: &impl ToString) -> Self {
        Self::final_one(&MALFORMED, cause)
    }

    pub(super) fn too_slow() -> Self {
        let wait = Duration::from_mins(1);
        Self { told: &TOO_SLOW, again: Again::In(wait), cause: "the answer was not there in time".to_owned() }
    }

    /// What would be changed cannot be written down.
    pub(super) fn unaudited() -> Self {
        Self { told: &UNAUDITED, again: Again::In(Duration::from_mins(1)), cause: AUDIT_UNAVAILABLE.to_owned() }
    }

    pub(super) fn internal(cause: &impl ToString) -> Self {
        Self::final_one(&INTERNAL, cause)
    }

    pub(super) fn final_one(told: &'static Told, cause: &impl ToString) -> Self {
        Self { told, again: Again::No, cause: cause.to_string() }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let Self { told, again, cause } = self;
        let Told { status, reason, title, happened, next } = *told;
        let content = html! {
            p { (happened) }
            h2 { "What to do next" }
            p { (next) }
            @if let Again::In(wait) = again && wait > A_MOMENT {
                p { "It should be possible again in " (in_words(wait)) "." }
            }
            @if again != Again::No {
                p { a.button href="/onboarding/start" { "Begin again" } }
            }
            p.quiet { "If you ask somebody for help, tell them this reference: " code { (reason) } }
        };
        let page = Page { status, title, tone: Tone::Failure, forms: Forms::Nowhere, content };
        let mut response = page.into_response();
        if let Again::In(wait) = again {
            retry_after(response.headers_mut(), wait);
        }
        response.extensions_mut().insert(Refused { reason, cause });
        response
    }
}

/// About so long: never less.
fn in_words(wait: Duration) -> String {
    let (number, unit) = match wait.as_secs().max(1) {
        seconds @ ..60 => (seconds, "second"),
        seconds => (seconds.div_ceil(60), "minute"),
    };
    let mut words = format!("{number} {unit}");
    if number != 1 {
        let _ = words.write_char('s');
    }
    words
}

const NOT_FOUND: Told = Told {
    status: StatusCode::NOT_FOUND,
    reason: "NOT_FOUND",
    title: "There is no such page",
    happened: "The address is not one of this service.",
    next: "Check that you have the whole link, or ask whoever sent it to you for a new one.",
};
const METHOD_NOT_ALLOWED: Told = Told {
    status: StatusCode::METHOD_NOT_ALLOWED,
    reason: "METHOD_NOT_ALLOWED",
    title: "This page cannot be asked for like that",
    happened: "The request has a method that this page does not take.",
    next: "Open the link that you were sent in a browser.",
};
const MALFORMED: Told = Told {
    status: StatusCode::BAD_REQUEST,
    reason: "REQUEST_MALFORMED",
    title: "This link is not complete",
    happened: "Something in the address is missing, or is not as it was made. Nothing has been changed.",
    next: "Open the link that you were sent once more, whole. If that does not help, ask whoever sent it to you for a \
           new one.",
};
const TOO_SLOW: Told = Told {
    status: StatusCode::SERVICE_UNAVAILABLE,
    reason: "DEADLINE_EXCEEDED",
    title: "This takes too long",
    happened: "The answer was not there in time. Perhaps your sign-in still succeeds.",
    next: "Begin again. Nothing breaks when you sign in twice.",
};
const UNAUDITED: Told = Told {
    status: StatusCode::SERVICE_UNAVAILABLE,
    reason: "AUDIT_UNAVAILABLE",
    title: "This cannot be done at the moment",
    happened: "This service cannot write down what it does, so it does not go on. It is not about anything that you did.",
    next: "Begin again later. Nothing breaks when you sign in twice.",
};
const INTERNAL: Told = Told {
    status: StatusCode::INTERNAL_SERVER_ERROR,
    reason: "INTERNAL",
    title: "Something went wrong here",
    happened: "This service has a fault. It is not about anything that you did.",
    next: "Tell the people who run this service. They find the cause in its log.",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_said_in_words() {
        for (seconds, words) in
            [(0, "1 second"), (1, "1 second"), (59, "59 seconds"), (60, "1 minute"), (61, "2 minutes")]
        {
            assert_eq!(in_words(Duration::from_secs(seconds)), words);
        }
    }

    #[test]
    fn every_reference_is_explained_to_the_operator() {
        let document = include_str!("../../docs/onboarding.md");
        let sources = [include_str!("failure.rs"), include_str!("onboarding/texts.rs")];
        let reasons =
            sources.iter().flat_map(|source| source.lines()).filter_map(|line| line.trim().strip_prefix("reason: \""));
        let reasons: Vec<_> = reasons.filter_map(|rest| rest.split('"').next()).collect();
        assert!(reasons.len() > 20, "{reasons:?}");
        for reason in reasons {
            assert!(document.contains(&format!("`{reason}`")), "{reason}");
        }
    }

    #[test]
    fn the_cause_is_for_the_log_only() {
        let response = Failure::internal(&"canary-3f9a61c2").into_response();
        assert_eq!(response.extensions().get::<Refused>().unwrap().cause, "canary-3f9a61c2");
        assert!(!format!("{:?}", response.headers()).contains("canary"));
    }
}
