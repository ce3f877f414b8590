//! What goes wrong with one request on its way.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, LOCATION, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use futures_util::{StreamExt as _, stream};

use crate::answers::message;
use crate::behaviour::{Behaviour, CannedAnswer, Refusal};
use crate::endpoint::Endpoint;
use crate::jwt_flaw::{IdTokenFlaw, JwtFlaw, WrongTenant};
use crate::knobs::Applied;

/// The connection is to be closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection is closed without an answer, as a behaviour demands")]
pub(crate) struct Closed;

/// What an endpoint's answers are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Json,
    Soap,
}

impl Form {
    pub(crate) fn of(endpoint: Endpoint) -> Self {
        if endpoint == Endpoint::SoapExchange { Self::Soap } else { Self::Json }
    }

    /// A successful exchange, up to where its token begins.
    fn start(self) -> &'static str {
        match self {
            Self::Json => "{\"IsSuccessful\":true,\"Token\":\"",
            Self::Soap => {
                "<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\"><s:Body>\
                 <AuthenticationResponse xmlns=\"http://www.superoffice.com/superid/partnersystemuser/0.1\">\
                 <IsSuccessful>true</IsSuccessful><Token>"
            }
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json; charset=utf-8",
            Self::Soap => "text/xml; charset=utf-8",
        }
    }
}

/// What becomes of an exchange's token, or of a step of a sign-in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Forgery {
    None,
    Refused(Refusal),
    Jwt(JwtFlaw),
    WrongTenant(WrongTenant),
    IdToken(IdTokenFlaw),
    OAuthError(String),
}

/// The behaviours that concern a request, by the moment they act. All waits add up; of the others of a kind the newest
/// counts.
#[derive(Debug)]
pub(crate) struct Faults {
    delay: Duration,
    hangs: Vec<tokio::sync::watch::Receiver<()>>,
    instead: Option<Behaviour>,
    spoiled: Option<Behaviour>,
    forgery: Forgery,
}

impl Faults {
    pub(crate) fn sort(applied: Vec<Applied>) -> Self {
        let mut faults =
            Self { delay: Duration::ZERO, hangs: Vec::new(), instead: None, spoiled: None, forgery: Forgery::None };
        for Applied { behaviour, cleared } in applied {
            match behaviour {
                Behaviour::Slow(delay) => faults.delay = faults.delay.saturating_add(delay),
                Behaviour::Hang => faults.hangs.push(cleared),
                Behaviour::Refused(refusal) => faults.forgery = Forgery::Refused(refusal),
                Behaviour::Jwt(flaw) => faults.forgery = Forgery::Jwt(flaw),
                Behaviour::WrongTenant(how) => faults.forgery = Forgery::WrongTenant(how),
                Behaviour::IdToken(flaw) => faults.forgery = Forgery::IdToken(flaw),
                Behaviour::OAuthError(error) => faults.forgery = Forgery::OAuthError(error),
                Behaviour::TruncatedBody | Behaviour::DrippingBody(_) => faults.spoiled = Some(behaviour),
                _ => faults.instead = Some(behaviour),
            }
        }
        faults
    }

    pub(crate) fn forgery(&self) -> &Forgery {
        &self.forgery
    }

    /// Waits for delays to pass and for hanging to be cleared.
    pub(crate) async fn wait(&self) {
        if !self.delay.is_zero() {
            sleep(self.delay).await;
        }
        for hang in &self.hangs {
            // Nothing is ever sent: the wait ends when the knob, and its sender with it, goes.
            while hang.clone().changed().await.is_ok() {}
        }
    }

    /// The answer in place of the true one.
    pub(crate) fn instead(&self, form: Form) -> Result<Option<Response>, Closed> {
        let Some(behaviour) = &self.instead else { return Ok(None) };
        let failed = |status| failed(status, form);
        Ok(Some(match behaviour {
            Behaviour::Drop => return Err(Closed),
            Behaviour::Status(status) => failed(final_status(*status)),
            Behaviour::Throttled(after) => with_header(failed(StatusCode::TOO_MANY_REQUESTS), RETRY_AFTER, after),
            Behaviour::Unavailable(after) => with_header(failed(StatusCode::SERVICE_UNAVAILABLE), RETRY_AFTER, after),
            Behaviour::Redirect(url) => with_header(failed(StatusCode::FOUND), LOCATION, url),
            Behaviour::Answer(answer) => canned(answer),
            Behaviour::Malformed => begun(form, Body::from(format!("{}eyJhbGci", form.start()))),
            Behaviour::HugeBody(length) => {
                with_header(begun(form, endless(form, Some(*length))), CONTENT_LENGTH, &length.to_string())
            }
            Behaviour::EndlessBody => begun(form, endless(form, None)),
            Behaviour::HugeHeaders => huge_headers(),
            _ => return Ok(None),
        }))
    }

    /// The answer as it goes over the wire.
    pub(crate) async fn deliver(&self, answer: Response) -> Response {
        let Some(behaviour) = &self.spoiled else { return answer };
        let (mut parts, body) = answer.into_parts();
        let Ok(bytes) = axum::body::to_bytes(body, usize::MAX).await else { return Response::new(Body::empty()) };
        parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
        let body = match behaviour {
            Behaviour::DrippingBody(interval) => dripping(bytes, *interval),
            _ => cut(&bytes),
        };
        Response::from_parts(parts, body)
    }
}

/// No server ends a request with a status below 200.
fn final_status(status: u16) -> StatusCode {
    let status = StatusCode::from_u16(status).ok().filter(|status| !status.is_informational());
    status.unwrap_or(StatusCode::BAD_GATEWAY)
}

/// HTML from 500 and to SOAP, as IIS writes it; else JSON.
fn failed(status: StatusCode, form: Form) -> Response {
    if !status.is_server_error() && form == Form::Json {
        return message(status, status.canonical_reason().unwrap_or("An error has occurred."));
    }
    let title = format!("{} - {}", status.as_u16(), status.canonical_reason().unwrap_or("Error"));
    let html = format!(
        "<!DOCTYPE html>\r\n<html><head><title>{title}</title></head>\r\n<body><h1>Server Error</h1><h2>{title}</h2>\
         <p>We are currently experiencing some technical difficulties.</p></body></html>\r\n"
    );
    let mut answer = with_header(Response::new(Body::from(html)), CONTENT_TYPE, "text/html");
    *answer.status_mut() = status;
    answer
}

fn canned(CannedAnswer { status, body }: &CannedAnswer) -> Response {
    let kind = if body.starts_with(['{', '[']) { "application/json; charset=utf-8" } else { "text/html" };
    let mut answer = with_header(Response::new(Body::from(body.clone())), CONTENT_TYPE, kind);
    *answer.status_mut() = final_status(*status);
    answer
}

fn begun(form: Form, body: Body) -> Response {
    with_header(Response::new(body), CONTENT_TYPE, form.content_type())
}

/// An empty or impossible value leaves the header out.
fn with_header(mut answer: Response, name: HeaderName, value: &str) -> Response {
    if let (false, Ok(value)) = (value.is_empty(), HeaderValue::from_str(value)) {
        answer.headers_mut().insert(name, value);
    }
    answer
}

fn huge_headers() -> Response {
    let mut answer = message(StatusCode::OK, "Mind the headers.");
    for number in 0..100 {
        let name = HeaderName::try_from(format!("x-filler-{number}"));
        if let (Ok(name), Ok(value)) = (name, HeaderValue::try_from("f".repeat(8 * 1024))) {
            answer.headers_mut().insert(name, value);
        }
    }
    answer
}

/// The start of a successful exchange whose token goes on for `length` bytes, or for ever.
fn endless(form: Form, length: Option<u64>) -> Body {
    let start = Bytes::from_static(form.start().as_bytes());
    let chunk = Bytes::from(vec![b'A'; 64 * 1024]);
    let chunks = stream::once(std::future::ready(start)).chain(stream::repeat(chunk));
    Body::from_stream(chunks.scan(length, |left, chunk| {
        let chunk = match left {
            Some(left) => chunk.slice(..chunk.len().min(usize::try_from(*left).unwrap_or(usize::MAX))),
            None => chunk,
        };
        if let Some(left) = left {
            *left -= chunk.len() as u64;
        }
        std::future::ready((!chunk.is_empty()).then_some(Ok::<_, Infallible>(chunk)))
    }))
}

fn dripping(bytes: Bytes, interval: Duration) -> Body {
    Body::from_stream(stream::unfold(bytes, move |mut bytes| async move {
        if bytes.is_empty() {
            return None;
        }
        sleep(interval).await;
        Some((Ok::<_, Infallible>(bytes.split_to(1)), bytes))
    }))
}

fn cut(bytes: &Bytes) -> Body {
    let half = bytes.slice(..bytes.len() / 2);
    let broken = Err(io::Error::from(io::ErrorKind::ConnectionAborted));
    // Handed over in two steps, else the first half is never flushed.
    Body::from_stream(stream::iter([Ok(half), broken]).then(|step| async {
        tokio::task::yield_now().await;
        step
    }))
}

async fn sleep(duration: Duration) {
    #[expect(clippy::disallowed_methods, reason = "delays happen on real sockets, in real time")]
    tokio::time::sleep(duration).await;
}
