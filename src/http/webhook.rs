//! What SuperOffice tells about tenants by itself: its tenant status webhook.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Extension, Router};
use serde::Deserialize;
use serde_json::Value;

use super::audited::{Changed, PageRecord};
use super::failure::Refused;
use super::page::retry_after;
use crate::credentials::{NoticeError, NoticeOutcome, TenantEvent, TenantNotice, TenantNotices};
use crate::identifiers::UnverifiedJwt;

const PATH: &str = "/webhooks/tenant-status";
/// Real ones have under 4 KiB.
const MAX_BODY: usize = 64 * 1024;

pub(super) fn routes(notices: TenantNotices) -> Router {
    Router::new().route(PATH, post(take)).layer(DefaultBodyLimit::max(MAX_BODY)).with_state(notices)
}

/// The documented members. What else is there does not matter.
#[derive(Deserialize)]
struct Payload {
    #[serde(rename = "ChangeType", alias = "changeType")]
    change_type: Value,
    #[serde(rename = "ContextIdentifier", alias = "contextIdentifier")]
    context_identifier: String,
    #[serde(default, rename = "Token", alias = "token")]
    token: Option<String>,
    #[serde(default, rename = "PublicEndpoint", alias = "publicEndpoint")]
    public_endpoint: Option<String>,
}

/// Answers nothing but a status. A tenant that is not registered gets the same as one that is: who our tenants are is
/// nobody's business.
async fn take(
    State(notices): State<TenantNotices>,
    Extension(record): Extension<PageRecord>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let notice = match read(&headers, body) {
        Ok(notice) => notice,
        Err(refusal) => return refusal,
    };
    let changed = Changed::by_notice(&notice);
    match notices.take(notice, move || record.changed(changed)).await {
        Ok(NoticeOutcome::Taken | NoticeOutcome::Unregistered) => StatusCode::ACCEPTED.into_response(),
        Err(error @ NoticeError::Forged(_)) => refuse(StatusCode::UNAUTHORIZED, "NOTICE_FORGED", &error),
        // Who sends it again because our answer got lost learns that it did arrive.
        Err(error @ NoticeError::Replayed) => refuse(StatusCode::CONFLICT, "NOTICE_REPLAYED", &error),
        Err(error) => {
            let mut response = refuse(StatusCode::SERVICE_UNAVAILABLE, "NOTICE_NOT_TAKEN", &error);
            if let NoticeError::Unavailable { retry_after: wait, .. } = error {
                retry_after(response.headers_mut(), wait);
            }
            response
        }
    }
}

/// What a parser says of a body may repeat it, so it stays out of the log.
#[expect(clippy::result_large_err, reason = "the error is the answer, and made once a request")]
fn read(headers: &HeaderMap, body: Result<Bytes, BytesRejection>) -> Result<TenantNotice, Response> {
    let refuse = |status, cause: &'static str| refuse(status, "NOTICE_MALFORMED", &cause);
    let malformed = |cause| refuse(StatusCode::BAD_REQUEST, cause);
    if !headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).is_some_and(is_json) {
        return Err(refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body is not said to be JSON"));
    }
    let body = body.map_err(|rejection| refuse(rejection.status(), "the body is too large or did not come"))?;
    let Payload { change_type, context_identifier, token, public_endpoint } = serde_json::from_slice(&body)
        .map_err(|_| malformed("the body is no JSON object with the documented members"))?;
    Ok(TenantNotice {
        event: event(&change_type).ok_or_else(|| malformed("the change type is none of the documented ones"))?,
        context_identifier: context_identifier.parse().map_err(|_| malformed("the ContextIdentifier is malformed"))?,
        // One that is not there verifies as little as one that is wrong.
        token: UnverifiedJwt::new(token.unwrap_or_default()),
        public_endpoint,
    })
}

fn is_json(content_type: &str) -> bool {
    content_type.split(';').next().is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case("application/json"))
}

/// From a number, a number in a string, or a name in any case.
fn event(change_type: &Value) -> Option<TenantEvent> {
    let number = change_type.as_u64().or_else(|| change_type.as_str()?.parse().ok());
    let is_meant = |event: TenantEvent, name: &str| {
        number == Some(event as u64) || change_type.as_str().is_some_and(|text| text.eq_ignore_ascii_case(name))
    };
    TenantEvent::ALL.into_iter().find(|(event, name)| is_meant(*event, name)).map(|(event, _)| event)
}

fn refuse(status: StatusCode, reason: &'static str, cause: &impl ToString) -> Response {
    let mut response = status.into_response();
    response.extensions_mut().insert(Refused { reason, cause: cause.to_string() });
    response
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_change_type_is_a_number_or_a_name_in_any_case() {
        for (event_, name) in TenantEvent::ALL {
            let number = event_ as u8;
            for written in [
                json!(number),
                json!(number.to_string()),
                json!(name),
                json!(name.to_lowercase()),
                json!(name.to_uppercase()),
            ] {
                assert_eq!(event(&written), Some(event_), "{written}");
            }
        }
        for strange in
            [json!(6), json!(-1), json!(1.5), json!(""), json!("Up"), json!(null), json!([0]), json!({}), json!(true)]
        {
            assert_eq!(event(&strange), None, "{strange}");
        }
    }
}
