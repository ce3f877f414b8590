mod address;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, StatusCode, Url};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::breaker::Breaker;
use super::hosts::Hosts;
use super::http::{Lane, Transport};
use super::throttle::Throttle;
use super::{CurrentClientSecret, Settings, Upstream, UpstreamError};
use crate::identifiers::{AccessToken, ClientSecret, ContextIdentifier, Ticket};

const CURRENT_PRINCIPAL: &str = "v1/User/currentPrincipal";
const JSON: &str = "application/json";
const AUTHORIZATION: &str = "Authorization";
const SO_APP_TOKEN: &str = "SO-AppToken";
/// Bounds the memory. SuperOffice has some dozens of hosts.
const MAX_HOSTS: u64 = 1_000;
/// Of so many tenants it is remembered that their APIs asked to wait.
const MAX_TENANTS: u64 = 10_000;

/// What opens a tenant's Web API.
#[derive(Clone, Copy, Debug)]
pub enum WebApiCredential<'a> {
    /// The system user's. The client secret goes along, in `SO-AppToken`.
    Ticket(&'a Ticket),
    /// A user's.
    AccessToken(&'a AccessToken),
}

/// A request to a tenant's Web API.
#[derive(Clone, Copy)]
pub struct WebApiRequest<'a> {
    /// Where the tenant's Web API is. It is checked again before anything is sent there.
    pub webapi_url: &'a str,
    /// GET, HEAD, POST, PUT, PATCH or DELETE.
    pub method: &'a str,
    /// What follows the API's address, with its query if it has one: `v1/Contact/2?$select=name`.
    pub path: &'a str,
    /// What is sent along.
    pub body: Option<WebApiBody<'a>>,
    /// For the whole of it: the wait for a free place, the connection, and the last byte of the answer.
    pub timeout: Duration,
    /// The longest answer taken, in bytes.
    pub max_answer: usize,
}

/// What a request to a Web API carries.
#[derive(Clone, Copy)]
pub struct WebApiBody<'a> {
    /// Its media type.
    pub content_type: &'a str,
    /// The bytes.
    pub bytes: &'a [u8],
}

/// What a Web API answered, whatever its status says: a tenant's data, so it is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct WebApiAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The media type of the body.
    pub content_type: Option<String>,
    /// The bytes as they came.
    pub body: Vec<u8>,
}

/// What the use of a ticket that was to keep it alive showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepAlive {
    /// It was taken, and its life counts anew.
    Prolonged,
    /// It is no longer good (401 or 403).
    Refused,
    /// The tenant is on another host by now (421).
    Misdirected,
}

/// The client of tenants' own APIs, which are on other hosts than the login. Each host has permits and a breaker of its
/// own, and each tenant a throttle, so that none of them holds up an exchange, or another one.
#[derive(Debug)]
pub(super) struct WebApi {
    hosts: Hosts,
    transport: Transport,
    client_secret: CurrentClientSecret,
    /// How many requests to one host may be under way at once.
    max_requests_in_flight: usize,
    gates: Cache<String, Arc<Gate>>,
    /// By host and tenant. What a tenant's API asks of us is about that tenant: its neighbours on the host do not wait.
    throttles: Cache<(String, Option<ContextIdentifier>), Arc<Throttle>>,
}

#[derive(Debug)]
struct Gate {
    permits: Semaphore,
    /// A host serves many tenants, and one of them may be in trouble alone.
    breaker: Breaker,
}

impl WebApi {
    pub(super) fn new(settings: &Settings, hosts: Hosts, transport: Transport) -> Self {
        Self {
            hosts,
            transport,
            client_secret: settings.client_secret.clone(),
            max_requests_in_flight: settings.max_requests_in_flight.clamp(1, Semaphore::MAX_PERMITS),
            gates: Cache::builder().max_capacity(MAX_HOSTS).eviction_policy(EvictionPolicy::lru()).build(),
            throttles: Cache::builder().max_capacity(MAX_TENANTS).eviction_policy(EvictionPolicy::lru()).build(),
        }
    }

    /// See [`super::SuperOffice::call_webapi`].
    pub(super) async fn call(
        &self,
        request: WebApiRequest<'_>,
        credential: WebApiCredential<'_>,
    ) -> Result<WebApiAnswer, UpstreamError> {
        let outgoing = self.outgoing(&request, credential)?;
        let way = self.way(outgoing.url());
        // Somebody wants this very call: it is not kept back for what befell other tenants on the host.
        let lane = Lane { breaker: None, ..way.lane() };
        self.transport
            .ask(outgoing, lane, request.timeout, |head| async move {
                let head = head.wanted(|_| true)?;
                let content_type = head.header(&CONTENT_TYPE).map(str::to_owned);
                let mut answer = head.read(request.max_answer).await?;
                let body = std::mem::take(&mut *answer.body);
                Ok(WebApiAnswer { status: answer.status.as_u16(), content_type, body })
            })
            .await
    }

    /// See [`super::SuperOffice::keep_alive`].
    pub(super) async fn keep_alive(
        &self,
        webapi_url: &str,
        ticket: &Ticket,
        timeout: Duration,
    ) -> Result<KeepAlive, UpstreamError> {
        let request =
            WebApiRequest { webapi_url, method: "GET", path: CURRENT_PRINCIPAL, body: None, timeout, max_answer: 0 };
        let outgoing = self.outgoing(&request, WebApiCredential::Ticket(ticket))?;
        let way = self.way(outgoing.url());
        self.transport
            .ask(outgoing, way.lane(), timeout, |head| async move {
                let head = head.wanted(|status| keep_alive(status).is_some())?;
                // Somebody else's page in front of the API says nothing of the ticket.
                if head.status() == StatusCode::OK && !head.header(&CONTENT_TYPE).is_some_and(is_json) {
                    return Err(UpstreamError::Malformed);
                }
                // Who the system user is concerns nobody: the rest of the answer is not read.
                keep_alive(head.status()).ok_or(UpstreamError::Malformed)
            })
            .await
    }

    /// Of the hosts that were asked lately those that keep failing, and the number of all.
    pub(super) fn failing_hosts(&self) -> (Vec<Upstream>, usize) {
        let upstreams: Vec<_> = self.gates.iter().map(|(_, gate)| Upstream::of(&gate.breaker, None)).collect();
        let hosts = upstreams.len();
        (upstreams.into_iter().filter(|upstream| upstream.open_for.is_some()).collect(), hosts)
    }

    /// See [`super::SuperOffice::ticket_headers`].
    pub(super) fn client_secret(&self) -> Arc<ClientSecret> {
        self.client_secret.get()
    }

    pub(super) fn ticket_headers(&self, ticket: &Ticket) -> [(&'static str, Zeroizing<String>); 2] {
        let authorization = Zeroizing::new(format!("SOTicket {}", ticket.expose()));
        let app_token = Zeroizing::new(self.client_secret.get().expose().to_owned());
        [(AUTHORIZATION, authorization), (SO_APP_TOKEN, app_token)]
    }

    fn outgoing(
        &self,
        request: &WebApiRequest<'_>,
        credential: WebApiCredential<'_>,
    ) -> Result<reqwest::Request, UpstreamError> {
        let base = self.hosts.checked_tenant_url(request.webapi_url).ok_or(UpstreamError::AddressRefused)?;
        let url = address::join(&base, request.path)?;
        let mut outgoing = reqwest::Request::new(method(request.method)?, url);
        let headers = outgoing.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static(JSON));
        match credential {
            WebApiCredential::Ticket(ticket) => {
                for (name, value) in self.ticket_headers(ticket) {
                    insert_secret(headers, name, &value)?;
                }
            }
            WebApiCredential::AccessToken(token) => {
                insert_secret(headers, AUTHORIZATION, &format!("Bearer {}", token.expose()))?;
            }
        }
        if let Some(body) = request.body {
            headers.insert(CONTENT_TYPE, media_type(body.content_type)?);
            *outgoing.body_mut() = Some(body.bytes.to_vec().into());
        }
        Ok(outgoing)
    }

    fn way(&self, url: &Url) -> Way {
        let (host, tenant, clock) = (url.origin().ascii_serialization(), tenant(url), self.transport.clock());
        let gate = self.gates.get_with_by_ref(&host, || {
            Arc::new(Gate {
                permits: Semaphore::new(self.max_requests_in_flight),
                breaker: Breaker::of_tenants(url.host_str().unwrap_or_default(), Arc::clone(clock)),
            })
        });
        let throttle = self.throttles.get_with((host, tenant), || Arc::new(Throttle::new(Arc::clone(clock))));
        Way { gate, throttle, tenant }
    }
}

/// What a request to a tenant's API has to pass.
struct Way {
    gate: Arc<Gate>,
    throttle: Arc<Throttle>,
    tenant: Option<ContextIdentifier>,
}

impl Way {
    fn lane(&self) -> Lane<'_> {
        Lane {
            permit: &self.gate.permits,
            first_permit: None,
            throttle: &self.throttle,
            also_heeded: None,
            breaker: Some(&self.gate.breaker),
            upstream: self.gate.breaker.label(),
            tenant: self.tenant,
        }
    }
}

impl fmt::Debug for WebApiRequest<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("WebApiRequest").field("method", &self.method).finish_non_exhaustive()
    }
}

impl fmt::Debug for WebApiBody<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("WebApiBody(redacted)")
    }
}

impl fmt::Debug for WebApiAnswer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("WebApiAnswer").field("status", &self.status).finish_non_exhaustive()
    }
}

/// Whether these can be sent to a Web API at all, before a credential is asked for.
pub fn check_webapi_request(method_name: &str, path: &str, content_type: &str) -> Result<(), UpstreamError> {
    method(method_name)?;
    media_type(content_type)?;
    address::join("https://app.superoffice.com/", path).map(drop)
}

fn media_type(name: &str) -> Result<HeaderValue, UpstreamError> {
    HeaderValue::from_str(name).map_err(|_| UpstreamError::RequestRefused("the content type is no media type"))
}

/// The tenant in the address of its API: the first part of the path.
fn tenant(url: &Url) -> Option<ContextIdentifier> {
    url.path_segments()?.next()?.parse().ok()
}

fn method(name: &str) -> Result<Method, UpstreamError> {
    let allowed = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
    let refused = UpstreamError::RequestRefused("the method is none of GET, HEAD, POST, PUT, PATCH and DELETE");
    allowed.into_iter().find(|method| method.as_str() == name).ok_or(refused)
}

fn insert_secret(headers: &mut HeaderMap, name: &'static str, value: &str) -> Result<(), UpstreamError> {
    let mut value = HeaderValue::from_str(value)
        .map_err(|_| UpstreamError::RequestRefused("the credential has a character that no header can carry"))?;
    value.set_sensitive(true);
    headers.insert(name, value);
    Ok(())
}

fn keep_alive(status: StatusCode) -> Option<KeepAlive> {
    match status {
        StatusCode::OK => Some(KeepAlive::Prolonged),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Some(KeepAlive::Refused),
        StatusCode::MISDIRECTED_REQUEST => Some(KeepAlive::Misdirected),
        _ => None,
    }
}

fn is_json(content_type: &str) -> bool {
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    media_type.eq_ignore_ascii_case(JSON)
}

#[cfg(test)]
mod tests;
