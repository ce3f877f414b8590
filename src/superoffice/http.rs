use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Certificate, Client, Method, Response, StatusCode, redirect};
use tokio::sync::{AcquireError, Semaphore};
use tracing::Instrument;
use zeroize::Zeroizing;

use super::hosts::Hosts;
use super::throttle::{self, Throttle};
use super::{Development, Settings, SetupError, UpstreamError, message};
use crate::clock::{Clock, Sleep};

/// The longest answer read, in bytes. Real ones have under 8 KiB.
pub(super) const MAX_BODY: usize = 64 * 1024;

/// Load balancers drop idle connections later than this, so that we never send into one they have just dropped.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_mins(1);
const JSON: &str = "application/json";
const SOAP_ACTION: HeaderName = HeaderName::from_static("soapaction");
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);
/// A peer that acknowledges nothing for so long is gone.
#[cfg(target_os = "linux")]
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(15);

/// The one HTTP client. It knows the login host and speaks to no other.
#[derive(Debug)]
pub(super) struct Http {
    client: Client,
    hosts: Hosts,
    clock: Arc<dyn Clock>,
    permits: Semaphore,
    /// Taken before a permit by those who refresh access tokens, so that they leave half of the permits to exchanges.
    refresh_permits: Semaphore,
    /// SuperOffice's request to wait, which counts for everything sent to the login host.
    throttle: Throttle,
    /// The state API's own: a ticket does not wait for a state.
    state_throttle: Throttle,
    clock_offset: Mutex<Option<SignedDuration>>,
}

/// One request. No secret belongs in its path: paths are logged.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) path: &'a str,
    pub(super) content: Content,
    pub(super) purpose: Purpose,
    /// For the whole of it: the wait for a free place, the connection, and the last byte of the answer.
    pub(super) timeout: Duration,
}

/// Whom a request may hold up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Exchanges and what they cannot do without.
    Exchange,
    /// Access tokens, whose number callers decide.
    AccessToken,
    /// States, which tickets can do without.
    State,
}

/// What a request carries.
pub(super) enum Content {
    Nothing,
    Json(Vec<u8>),
    /// Credentials may go along in their header.
    Form {
        body: Vec<u8>,
        authorization: Option<HeaderValue>,
    },
    /// A SOAP 1.1 message, with its `SOAPAction`.
    Soap {
        action: &'static str,
        body: Vec<u8>,
    },
}

impl Content {
    /// SOAP 1.1 sends its faults with status 500.
    fn has_answers_of_500(&self) -> bool {
        matches!(self, Self::Soap { .. })
    }
}

impl std::fmt::Debug for Content {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Content(redacted)")
    }
}

/// An answer, or a refusal: a status of 2xx or 4xx, but for those that ask to try again. To a SOAP message, 500 is one
/// as well.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// The whole body of a 2xx; of another status, as much as came.
    pub(super) body: Zeroizing<Vec<u8>>,
}

impl Http {
    pub(super) fn new(settings: &Settings, hosts: Hosts, clock: Arc<dyn Clock>) -> Result<Self, SetupError> {
        let builder = Client::builder()
            .user_agent(concat!("ticketd/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate()
            // Repeating a request is the caller's decision.
            .retry(reqwest::retry::never())
            // An attempt that is given up closes its connection, so the next one never waits on the same dead one.
            .http1_only()
            .connect_timeout(settings.connect_timeout)
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .tcp_keepalive(TCP_KEEPALIVE)
            .tls_backend_rustls()
            .https_only(!hosts.is_development());
        #[cfg(target_os = "linux")]
        let builder = builder.tcp_user_timeout(TCP_USER_TIMEOUT);
        let builder = match &settings.development {
            Some(development) if hosts.is_https() => builder.tls_certs_merge(extra_certificates(development)?),
            // Plain HTTP needs no certificates, and a bare machine has none.
            Some(_) => builder.tls_certs_only([]),
            None => builder,
        };
        let permits = settings.max_requests_in_flight.clamp(1, Semaphore::MAX_PERMITS);
        Ok(Self {
            client: builder.build().map_err(SetupError::Client)?,
            hosts,
            permits: Semaphore::new(permits),
            refresh_permits: Semaphore::new(permits.div_ceil(2)),
            throttle: Throttle::new(Arc::clone(&clock)),
            state_throttle: Throttle::new(Arc::clone(&clock)),
            clock,
            clock_offset: Mutex::default(),
        })
    }

    /// Sends one request, once. While SuperOffice wants us to wait, it fails at once and nothing is sent.
    pub(super) async fn send(&self, request: Request<'_>) -> Result<Answer, UpstreamError> {
        let method = if matches!(request.content, Content::Nothing) { Method::GET } else { Method::POST };
        let span = tracing::info_span!(
            "superoffice.request",
            otel.kind = "client",
            http.request.method = %method,
            url.path = request.path,
            http.response.status_code = tracing::field::Empty,
        );
        async {
            let outcome = self.send_in_time(method, request).await;
            match &outcome {
                Ok(answer) => tracing::debug!(status = answer.status.as_u16(), "SuperOffice answered"),
                Err(error) => tracing::debug!(%error, "SuperOffice gave no usable answer"),
            }
            outcome
        }
        .instrument(span)
        .await
    }

    /// See [`super::SuperOffice::clock_offset`].
    pub(super) fn clock_offset(&self) -> Option<SignedDuration> {
        *self.clock_offset.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn send_in_time(&self, method: Method, request: Request<'_>) -> Result<Answer, UpstreamError> {
        self.check(request.purpose)?;
        let mut deadline = self.clock.sleep(request.timeout);
        let _permits = tokio::select! {
            permits = self.permits(request.purpose) => permits.map_err(|_| UpstreamError::Busy)?,
            () = &mut deadline => return Err(UpstreamError::Busy),
        };
        // It may have been shut while this request waited for its place.
        self.check(request.purpose)?;
        let has_answers_of_500 = request.content.has_answers_of_500();
        let builder = self.client.request(method, self.hosts.login_url(request.path));
        let builder = match request.content {
            Content::Nothing => builder.header(ACCEPT, JSON),
            Content::Json(body) => builder.header(ACCEPT, JSON).header(CONTENT_TYPE, JSON).body(body),
            Content::Form { body, authorization } => {
                let builder = builder.header(ACCEPT, JSON).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
                authorization
                    .into_iter()
                    .fold(builder.body(body), |builder, value| builder.header(AUTHORIZATION, value))
            }
            Content::Soap { action, body } => builder
                .header(ACCEPT, "text/xml")
                .header(CONTENT_TYPE, "text/xml;charset=UTF-8")
                .header(SOAP_ACTION, action)
                .body(body),
        };
        let response = tokio::select! {
            response = builder.send() => response.map_err(|error| unanswered(&error))?,
            () = &mut deadline => return Err(UpstreamError::TimedOut),
        };
        self.judge(&response, request.purpose, has_answers_of_500)?;
        read(response, &mut deadline).await
    }

    fn gate(&self, purpose: Purpose) -> &Throttle {
        if purpose == Purpose::State { &self.state_throttle } else { &self.throttle }
    }

    /// While the login host wants us to wait nothing is sent to it, for whatever purpose.
    fn check(&self, purpose: Purpose) -> Result<(), UpstreamError> {
        self.throttle.check()?;
        self.gate(purpose).check()
    }

    async fn permits(&self, purpose: Purpose) -> Result<impl Sized, AcquireError> {
        let refresh = match purpose {
            Purpose::AccessToken => Some(self.refresh_permits.acquire().await?),
            Purpose::Exchange | Purpose::State => None,
        };
        Ok((refresh, self.permits.acquire().await?))
    }

    /// Learns from the head of an answer, and lets only those through whose body counts.
    fn judge(&self, response: &Response, purpose: Purpose, has_answers_of_500: bool) -> Result<(), UpstreamError> {
        let now = self.clock.now();
        let status = response.status();
        let is_answer_of_500 = has_answers_of_500 && status == StatusCode::INTERNAL_SERVER_ERROR;
        tracing::Span::current().record("http.response.status_code", status.as_u16());
        self.learn_clock_offset(response.headers(), now);
        let retry_after = header(response.headers(), &RETRY_AFTER).and_then(|value| throttle::retry_after(value, now));
        match status {
            StatusCode::TOO_MANY_REQUESTS => Err(self.gate(purpose).shut(retry_after)),
            StatusCode::SERVICE_UNAVAILABLE => Err(retry_after.map_or(UpstreamError::Status(503), |wait| {
                UpstreamError::Unavailable { retry_after: throttle::clamp(wait) }
            })),
            StatusCode::REQUEST_TIMEOUT => Err(UpstreamError::Status(status.as_u16())),
            _ if status.is_success() || status.is_client_error() || is_answer_of_500 => {
                self.gate(purpose).answered();
                Ok(())
            }
            _ => Err(UpstreamError::Status(status.as_u16())),
        }
    }

    fn learn_clock_offset(&self, headers: &HeaderMap, now: Timestamp) {
        let date = header(headers, &DATE).and_then(|value| httpdate::parse_http_date(value).ok());
        if let Some(date) = date.and_then(|date| Timestamp::try_from(date).ok()) {
            *self.clock_offset.lock().unwrap_or_else(PoisonError::into_inner) = Some(date.duration_since(now));
        }
    }
}

fn extra_certificates(development: &Development) -> Result<Vec<Certificate>, SetupError> {
    let Some(path) = &development.extra_ca_file else { return Ok(Vec::new()) };
    let pem = std::fs::read(path).map_err(|source| SetupError::ExtraCaUnreadable { path: path.clone(), source })?;
    match Certificate::from_pem_bundle(&pem) {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(SetupError::ExtraCaMalformed { path: path.clone() }),
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Why there is no head of an answer. reqwest's own text is left out, since it repeats the URL.
fn unanswered(error: &reqwest::Error) -> UpstreamError {
    if error.is_connect() {
        let mut cause: &dyn std::error::Error = error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        return UpstreamError::Connect { cause: message::presentable(&cause.to_string(), &[]) };
    }
    if error.is_timeout() { UpstreamError::TimedOut } else { UpstreamError::Interrupted }
}

/// Reads the body as it comes, and no more of it than is allowed. A refusal counts even when its body does not come.
async fn read(mut response: Response, deadline: &mut Sleep) -> Result<Answer, UpstreamError> {
    let mut answer = Answer { status: response.status(), body: Zeroizing::default() };
    let trouble = loop {
        let chunk = tokio::select! {
            chunk = response.chunk() => chunk,
            () = &mut *deadline => break UpstreamError::TimedOut,
        };
        match chunk {
            Ok(None) => return Ok(answer),
            Ok(Some(chunk)) => {
                let room = MAX_BODY - answer.body.len();
                answer.body.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
                if chunk.len() > room {
                    break UpstreamError::BodyTooLarge;
                }
            }
            Err(error) if error.is_timeout() => break UpstreamError::TimedOut,
            Err(_) => break UpstreamError::Interrupted,
        }
    };
    if answer.status.is_success() { Err(trouble) } else { Ok(answer) }
}

#[cfg(test)]
mod tests;
