mod client;
mod transport;

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, DATE, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode};
use tokio::sync::Semaphore;

use super::breaker::Breaker;
use super::clock_offset::ClockOffset;
use super::error::Trouble;
use super::hosts::Hosts;
use super::throttle::Throttle;
use super::{Settings, SetupError, Upstream, UpstreamError};
use crate::clock::Clock;
use crate::identifiers::ContextIdentifier;

pub(super) use transport::{Answer, Lane, Transport};

/// The longest answer read, in bytes. Real ones have under 8 KiB.
pub(super) const MAX_BODY: usize = 64 * 1024;

const JSON: &str = "application/json";
const SOAP_ACTION: HeaderName = HeaderName::from_static("soapaction");

/// The client of the login host. It speaks to no other.
#[derive(Debug)]
pub(super) struct Http {
    transport: Transport,
    hosts: Hosts,
    permits: Semaphore,
    /// Taken before a permit by those who refresh access tokens, so that they leave half of the permits to exchanges.
    refresh_permits: Semaphore,
    /// The same for states, which are looked up for cached tickets too: a ticket does not wait for a state.
    state_permits: Semaphore,
    /// SuperOffice's request to wait, which counts for everything sent to the login host.
    throttle: Throttle,
    /// The state API's own: a ticket does not wait for a state.
    state_throttle: Throttle,
    /// For everything that is sent to the login host, but for the state API, which fails by itself.
    breaker: Breaker,
    state_breaker: Breaker,
    clock_offset: ClockOffset,
}

/// One request. No secret belongs in its path: paths are logged.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) path: &'a str,
    pub(super) content: Content,
    pub(super) purpose: Purpose,
    /// Whose trouble it is if it fails, when it is for one tenant.
    pub(super) tenant: Option<ContextIdentifier>,
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
    /// SOAP 1.1 sends its faults with status 500, and ASP.NET may do so with a refusal in JSON.
    fn has_answers_of_500(&self) -> bool {
        matches!(self, Self::Soap { .. } | Self::Json(_))
    }
}

impl std::fmt::Debug for Content {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Content(redacted)")
    }
}

impl Http {
    pub(super) fn new(settings: &Settings, hosts: Hosts, clock: Arc<dyn Clock>) -> Result<Self, SetupError> {
        let client = client::client(settings, &hosts)?;
        let permits = settings.max_requests_in_flight.clamp(1, Semaphore::MAX_PERMITS);
        Ok(Self {
            transport: Transport::new(client, Arc::clone(&clock)),
            hosts,
            permits: Semaphore::new(permits),
            refresh_permits: Semaphore::new(permits.div_ceil(2)),
            state_permits: Semaphore::new(permits.div_ceil(2)),
            throttle: Throttle::new(Arc::clone(&clock)),
            state_throttle: Throttle::new(Arc::clone(&clock)),
            breaker: Breaker::new("login", Arc::clone(&clock)),
            state_breaker: Breaker::new("state", clock),
            clock_offset: ClockOffset::new(),
        })
    }

    /// What requests to other hosts are sent with.
    pub(super) fn transport(&self) -> &Transport {
        &self.transport
    }

    /// See [`super::SuperOffice::check_circuit`].
    pub(super) fn check_circuit(&self) -> Result<(), UpstreamError> {
        self.breaker.check()
    }

    /// How the login host and its state API do.
    pub(super) fn upstreams(&self) -> [Upstream; 2] {
        [
            Upstream::of(&self.breaker, self.throttle.left()),
            Upstream::of(&self.state_breaker, self.state_throttle.left()),
        ]
    }

    /// Sends one request, once. While SuperOffice wants us to wait, or keeps failing, it fails at once and nothing is
    /// sent. An answer is a status of 2xx or 4xx, but for those that ask to try again; to an exchange, 500 is one as
    /// well.
    pub(super) async fn send(&self, request: Request<'_>) -> Result<Answer, UpstreamError> {
        self.ask(request, Ok).await
    }

    /// Sends one request, once, as [`Self::send`] does, and has `read` make sense of the answer: one that makes none
    /// counts as a failure of SuperOffice's.
    pub(super) async fn ask<T, E: Trouble>(
        &self,
        request: Request<'_>,
        read: impl FnOnce(Answer) -> Result<T, E>,
    ) -> Result<T, E> {
        let has_answers_of_500 = request.content.has_answers_of_500();
        let wants = |status: StatusCode| {
            let is_answer_of_500 = has_answers_of_500 && status == StatusCode::INTERNAL_SERVER_ERROR;
            status.is_success() || status.is_client_error() || is_answer_of_500
        };
        let (lane, timeout) = (self.lane(request.purpose, request.tenant), request.timeout);
        let request = self.request(request.path, request.content);
        self.transport
            .ask(request, lane, timeout, |head| async move {
                self.clock_offset.learn(head.header(&DATE), self.transport.clock().now());
                read(head.wanted(wants)?.read(MAX_BODY).await?)
            })
            .await
    }

    /// See [`super::SuperOffice::clock_offset`].
    pub(super) fn clock_offset(&self) -> Option<SignedDuration> {
        self.clock_offset.get()
    }

    fn lane(&self, purpose: Purpose, tenant: Option<ContextIdentifier>) -> Lane<'_> {
        let lane = Lane {
            permit: &self.permits,
            first_permit: None,
            throttle: &self.throttle,
            also_heeded: None,
            breaker: Some(&self.breaker),
            upstream: self.breaker.label(),
            tenant,
        };
        match purpose {
            Purpose::Exchange => lane,
            Purpose::AccessToken => Lane { first_permit: Some(&self.refresh_permits), ..lane },
            // While the login host wants us to wait nothing is sent to it, for whatever purpose.
            Purpose::State => Lane {
                first_permit: Some(&self.state_permits),
                throttle: &self.state_throttle,
                also_heeded: Some(&self.throttle),
                breaker: Some(&self.state_breaker),
                upstream: self.state_breaker.label(),
                ..lane
            },
        }
    }

    fn request(&self, path: &str, content: Content) -> reqwest::Request {
        let method = if matches!(content, Content::Nothing) { Method::GET } else { Method::POST };
        let mut request = reqwest::Request::new(method, self.hosts.login_url(path));
        let json = HeaderValue::from_static(JSON);
        let (accept, content_type, authorization, body) = match content {
            Content::Nothing => (json, None, None, None),
            Content::Json(body) => (json.clone(), Some(json), None, Some(body)),
            Content::Form { body, authorization } => {
                let form = HeaderValue::from_static("application/x-www-form-urlencoded");
                (json, Some(form), authorization, Some(body))
            }
            Content::Soap { action, body } => {
                request.headers_mut().insert(SOAP_ACTION, HeaderValue::from_static(action));
                let xml = HeaderValue::from_static("text/xml;charset=UTF-8");
                (HeaderValue::from_static("text/xml"), Some(xml), None, Some(body))
            }
        };
        let headers = [(ACCEPT, Some(accept)), (CONTENT_TYPE, content_type), (AUTHORIZATION, authorization)];
        request.headers_mut().extend(headers.into_iter().filter_map(|(name, value)| Some((name, value?))));
        *request.body_mut() = body.map(Into::into);
        request
    }
}

#[cfg(test)]
mod tests;
