use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, RETRY_AFTER};
use reqwest::{Client, Request, Response, StatusCode};
use tokio::sync::{AcquireError, Semaphore, SemaphorePermit};
use tracing::{Instrument, Span};
use zeroize::Zeroizing;

use super::super::breaker::Breaker;
use super::super::error::Trouble;
use super::super::throttle::{self, Throttle};
use super::super::{UpstreamError, message};
use crate::clock::{Clock, Sleep};
use crate::identifiers::ContextIdentifier;
use crate::{metrics, trace_context};

/// The one place that sends. It does not know whom: a [`Lane`] says what a request has to wait for.
#[derive(Clone, Debug)]
pub(in super::super) struct Transport {
    client: Client,
    clock: Arc<dyn Clock>,
}

/// What a request waits for, and what its answer may hold up.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Lane<'a> {
    /// Taken before the permit, and held as long.
    pub(in super::super) first_permit: Option<&'a Semaphore>,
    /// Held until the answer is read.
    pub(in super::super) permit: &'a Semaphore,
    /// While it is shut nothing is sent, but no answer shuts it.
    pub(in super::super) also_heeded: Option<&'a Throttle>,
    /// While it is shut nothing is sent. An answer of 429 shuts it.
    pub(in super::super) throttle: &'a Throttle,
    /// While it is open nothing is sent but its probes, and the request's end tells it how the host is. Absent where
    /// somebody wants the request sent in any case.
    pub(in super::super) breaker: Option<&'a Breaker>,
    /// Who is asked, in metrics.
    pub(in super::super) upstream: &'static str,
    /// Whose trouble it is if the request fails, when it is for one tenant.
    pub(in super::super) tenant: Option<ContextIdentifier>,
}

impl<'a> Lane<'a> {
    fn check(&self) -> Result<(), UpstreamError> {
        self.also_heeded.map_or(Ok(()), Throttle::check)?;
        self.throttle.check()?;
        self.breaker.map_or(Ok(()), Breaker::check)
    }

    async fn permits(&self) -> Result<Permits<'a>, AcquireError> {
        let first = match self.first_permit {
            Some(first) => Some(first.acquire().await?),
            None => None,
        };
        Ok((first, self.permit.acquire().await?))
    }
}

type Permits<'a> = (Option<SemaphorePermit<'a>>, SemaphorePermit<'a>);

/// The head of an answer, with the request's permits and the time it has left.
pub(in super::super) struct Head<'a> {
    response: Response,
    deadline: Sleep,
    retry_after: Option<Duration>,
    throttle: &'a Throttle,
    _permits: Permits<'a>,
}

/// An answer whose status was wanted.
pub(in super::super) struct Answer {
    pub(in super::super) status: StatusCode,
    /// The whole body of a 2xx; of another status, as much as came.
    pub(in super::super) body: Zeroizing<Vec<u8>>,
}

impl Transport {
    pub(super) fn new(client: Client, clock: Arc<dyn Clock>) -> Self {
        Self { client, clock }
    }

    pub(in super::super) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Sends one request, once, and has `read` make sense of its answer. While the lane is shut, it fails at once and
    /// nothing is sent. `timeout` is for the whole of it: the wait for a free place, the connection, and the last byte of
    /// the answer. No secret belongs in the request's path: paths are logged. Its query is not.
    pub(in super::super) async fn ask<'a, T, E: Trouble, Reading: Future<Output = Result<T, E>>>(
        &self,
        mut request: Request,
        lane: Lane<'a>,
        timeout: Duration,
        read: impl FnOnce(Head<'a>) -> Reading,
    ) -> Result<T, E> {
        let span = tracing::info_span!(
            "superoffice.request",
            otel.kind = "client",
            http.request.method = %request.method(),
            server.address = request.url().host_str(),
            url.path = request.url().path(),
            http.response.status_code = tracing::field::Empty,
        );
        async {
            trace_context::hand_on(request.headers_mut());
            let outcome = self.ask_in_time(request, lane, timeout, read).await;
            if let Some(error) = outcome.as_ref().err().and_then(E::upstream) {
                tracing::debug!(%error, "SuperOffice gave no usable answer");
            }
            outcome
        }
        .instrument(span)
        .await
    }

    async fn ask_in_time<'a, T, E: Trouble, Reading: Future<Output = Result<T, E>>>(
        &self,
        request: Request,
        lane: Lane<'a>,
        timeout: Duration,
        read: impl FnOnce(Head<'a>) -> Reading,
    ) -> Result<T, E> {
        lane.check()?;
        let mut deadline = self.clock.sleep(timeout);
        let permits = tokio::select! {
            permits = lane.permits() => permits.map_err(|_| UpstreamError::Busy)?,
            () = &mut deadline => return Err(UpstreamError::Busy.into()),
        };
        // It may have been shut while this request waited for its place.
        lane.check()?;
        let admission = lane.breaker.map(|breaker| breaker.admit(lane.tenant)).transpose()?;
        let outcome = match self.send(request, lane, permits, deadline).await {
            Ok(head) => read(head).await,
            Err(error) => Err(error.into()),
        };
        if let Some(admission) = admission {
            admission.settle(outcome.as_ref().err().and_then(E::upstream));
        }
        outcome
    }

    /// Waits for the head of the answer.
    async fn send<'a>(
        &self,
        request: Request,
        lane: Lane<'a>,
        permits: Permits<'a>,
        mut deadline: Sleep,
    ) -> Result<Head<'a>, UpstreamError> {
        let began = self.clock.elapsed();
        let method = request.method().clone();
        let response = tokio::select! {
            response = self.client.execute(request) => response.map_err(|error| unanswered(&error)),
            () = &mut deadline => Err(UpstreamError::TimedOut),
        };
        let took = self.clock.elapsed().saturating_sub(began);
        let status = response.as_ref().ok().map(Response::status);
        let outcome = status.as_ref().map(StatusCode::as_str).or(response.as_ref().err().map(UpstreamError::kind));
        let labels = [lane.upstream, method.as_str(), outcome.unwrap_or_default()];
        metrics::HTTP_CLIENT_REQUEST_DURATION.record(took, &labels, None);
        let response = response?;
        Span::current().record("http.response.status_code", response.status().as_u16());
        tracing::debug!(status = response.status().as_u16(), "SuperOffice answered");
        let now = self.clock.now();
        let retry_after = header(response.headers(), &RETRY_AFTER).and_then(|value| throttle::retry_after(value, now));
        Ok(Head { response, deadline, retry_after, throttle: lane.throttle, _permits: permits })
    }
}

impl Head<'_> {
    pub(in super::super) fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub(in super::super) fn header(&self, name: &HeaderName) -> Option<&str> {
        header(self.response.headers(), name)
    }

    /// Lets only those answers through that ask for no other try, and whose status is wanted.
    pub(in super::super) fn wanted(self, wants: impl FnOnce(StatusCode) -> bool) -> Result<Self, UpstreamError> {
        let status = self.status();
        match status {
            StatusCode::TOO_MANY_REQUESTS => Err(self.throttle.shut(self.retry_after)),
            StatusCode::SERVICE_UNAVAILABLE => Err(self.retry_after.map_or(UpstreamError::Status(503), |wait| {
                UpstreamError::Unavailable { retry_after: throttle::clamp(wait) }
            })),
            StatusCode::REQUEST_TIMEOUT => Err(UpstreamError::Status(status.as_u16())),
            _ if wants(status) => {
                self.throttle.answered();
                Ok(self)
            }
            _ => Err(UpstreamError::Status(status.as_u16())),
        }
    }

    /// Reads the body as it comes, and no more of it than is allowed. A refusal counts even when its body does not come.
    pub(in super::super) async fn read(mut self, limit: usize) -> Result<Answer, UpstreamError> {
        let mut answer = Answer { status: self.status(), body: Zeroizing::default() };
        let trouble = loop {
            let chunk = tokio::select! {
                chunk = self.response.chunk() => chunk,
                () = &mut self.deadline => break UpstreamError::TimedOut,
            };
            match chunk {
                Ok(None) => return Ok(answer),
                Ok(Some(chunk)) => {
                    let room = limit.saturating_sub(answer.body.len());
                    append(&mut answer.body, chunk.get(..room).unwrap_or(&chunk));
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
}

/// A buffer that grows by itself leaves copies behind that nobody wipes, and answers hold tickets.
fn append(body: &mut Zeroizing<Vec<u8>>, more: &[u8]) {
    let length = body.len() + more.len();
    if length > body.capacity() {
        let mut larger = Zeroizing::new(Vec::with_capacity(length.max(body.capacity() * 2)));
        larger.extend_from_slice(body);
        *body = larger;
    }
    body.extend_from_slice(more);
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
