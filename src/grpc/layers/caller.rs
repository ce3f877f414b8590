use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use futures_util::future::{BoxFuture, Either};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Request, Response};
use thiserror::Error;
use tonic::Status;
use tonic::body::Body;
use tower::Service;

use super::CallRecord;
use super::span::record_caller;
use crate::identifiers::{Caller, CallerId, Peer, UnverifiedJwt};
use crate::identity::{Bearer, BearerError, ConnectionIdentity, ServiceAccounts};

/// Nobody needs to say who asks for health: kubelets and load balancers cannot.
const HEALTH: &str = "/grpc.health.v1.Health/";
/// A longer token is no service account's, and is not even copied.
const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// Who may call, as far as it is known by now: what each may do is for others to say.
#[derive(Clone, Debug, Default)]
pub struct Callers {
    /// Whose tokens are taken; nobody's without it.
    pub tokens: Option<ServiceAccounts>,
    /// Whether those on this machine who prove nothing may call: then they are [`CallerId::Unidentified`].
    pub allow_unidentified: bool,
}

/// Why it is not known who calls.
#[derive(Debug, Error)]
pub enum CallerError {
    /// Neither the connection nor the call proves anything.
    #[error("the call comes without a client certificate and without a service account's token")]
    Nobody,
    /// More than one `authorization` header.
    #[error("the call has more than one authorization header")]
    SeveralCredentials,
    /// An `authorization` header that is not `Bearer` and a token.
    #[error("the authorization header is not Bearer and a token")]
    Malformed,
    /// A token that everybody on the way could read.
    #[error("a token came over a connection that is not encrypted, and counts as stolen: use TLS, and another token")]
    NotPrivate,
    /// There is nothing to verify tokens by.
    #[error("service accounts' tokens are not accepted here")]
    TokensNotAccepted,
    /// The token proves nothing.
    #[error("the bearer token is not accepted: {0}")]
    Bearer(#[from] BearerError),
    /// Connection and token name different callers.
    #[error("the client's certificate or socket names another caller than its token")]
    Disagreement,
    /// It is not even known what the call came over: a fault of ours.
    #[error("the call has no connection")]
    NoConnection,
}

/// Puts the [`Caller`] into each request's extensions, or refuses the call. What the token was is not passed on.
#[derive(Clone, Debug)]
pub(super) struct Identify<S> {
    inner: S,
    callers: Option<Callers>,
}

/// What is known of a call's caller without waiting.
enum Known {
    Caller(Caller),
    /// A token that has to be verified first.
    Unverified(ServiceAccounts, UnverifiedJwt, ConnectionIdentity),
}

impl<S> Identify<S> {
    /// Without `callers` it lets everybody through as they come.
    pub(super) fn new(inner: S, callers: Option<Callers>) -> Self {
        Self { inner, callers }
    }
}

type Answer = Result<Response<Body>, Infallible>;

impl<S> Service<Request<Body>> for Identify<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>,
    S: Clone + Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<S::Future, Either<Ready<Answer>, BoxFuture<'static, Answer>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let Some(callers) = self.callers.as_ref().filter(|_| !request.uri().path().starts_with(HEALTH)) else {
            return Either::Left(self.inner.call(request));
        };
        let known = callers.look_at(request.headers(), request.extensions().get());
        request.headers_mut().remove(AUTHORIZATION);
        match known {
            Ok(Known::Caller(caller)) => Either::Left(self.inner.call(called_by(caller, request))),
            Ok(Known::Unverified(tokens, token, connection)) => {
                // The one that is ready serves this call, its clone the next.
                let next = self.inner.clone();
                let mut inner = std::mem::replace(&mut self.inner, next);
                Either::Right(Either::Right(Box::pin(async move {
                    let bearer = tokens.identify(token).await.map_err(CallerError::from);
                    match bearer.and_then(|bearer| of_both(&connection, bearer)) {
                        Ok(caller) => inner.call(called_by(caller, request)).await,
                        Err(error) => Ok(refused(error)),
                    }
                })))
            }
            Err(error) => Either::Right(Either::Left(ready(Ok(refused(error))))),
        }
    }
}

fn called_by(caller: Caller, mut request: Request<Body>) -> Request<Body> {
    record_caller(&caller.id);
    CallRecord::within(request.extensions()).caller(&caller);
    request.extensions_mut().insert(caller);
    request
}

fn refused(error: CallerError) -> Response<Body> {
    Status::from(error).into_http()
}

impl Callers {
    /// Who calls with these headers over a connection, as far as that is known without waiting.
    pub(super) fn known(&self, headers: &HeaderMap, connection: &ConnectionIdentity) -> Option<Caller> {
        match self.look_at(headers, Some(connection)) {
            Ok(Known::Caller(caller)) => Some(caller),
            Ok(Known::Unverified(..)) | Err(_) => None,
        }
    }

    fn look_at(&self, headers: &HeaderMap, connection: Option<&ConnectionIdentity>) -> Result<Known, CallerError> {
        let token = bearer_token(headers)?;
        let connection = connection.ok_or(CallerError::NoConnection)?;
        let Some(header) = token else {
            let id = match &connection.id {
                Some(id) => id.clone(),
                None if self.allow_unidentified && is_near(connection.peer) => CallerId::Unidentified,
                None => return Err(CallerError::Nobody),
            };
            return Ok(Known::Caller(Caller { id, pod_uid: None, peer: connection.peer }));
        };
        if !connection.is_private {
            return Err(CallerError::NotPrivate);
        }
        let tokens = self.tokens.as_ref().ok_or(CallerError::TokensNotAccepted)?;
        let token = token_in(header)?;
        match tokens.known(token) {
            Some(bearer) => of_both(connection, bearer).map(Known::Caller),
            None => Ok(Known::Unverified(tokens.clone(), UnverifiedJwt::new(token), connection.clone())),
        }
    }
}

/// Whether the peer is on this machine.
fn is_near(peer: Peer) -> bool {
    match peer {
        Peer::Tcp(address) => address.ip().to_canonical().is_loopback(),
        Peer::Unix { .. } => true,
    }
}

/// The one `authorization` header, if there is one.
fn bearer_token(headers: &HeaderMap) -> Result<Option<&HeaderValue>, CallerError> {
    let mut headers = headers.get_all(AUTHORIZATION).iter();
    let first = headers.next();
    if headers.next().is_some() { Err(CallerError::SeveralCredentials) } else { Ok(first) }
}

/// The token behind `Bearer`, which may be written in any case (RFC 9110, 11.1). What it consists of shows later.
fn token_in(header: &HeaderValue) -> Result<&str, CallerError> {
    let text = header.to_str().map_err(|_| CallerError::Malformed)?;
    let (scheme, token) = text.split_once(' ').ok_or(CallerError::Malformed)?;
    if !scheme.eq_ignore_ascii_case("Bearer") || token.is_empty() || token.bytes().any(|byte| byte == b' ') {
        return Err(CallerError::Malformed);
    }
    if token.len() > MAX_TOKEN_BYTES {
        return Err(BearerError::from(crate::crypto::JwtRejection::TooLarge).into());
    }
    Ok(token)
}

/// The caller that connection and token name together.
///
/// A certificate whose SPIFFE ID has the path `/ns/<namespace>/sa/<name>` names the service account that this says, in
/// the manner of every mesh: with that account's token the caller is the certificate's. Any other two names are two
/// callers, and nobody knows which of them calls.
fn of_both(connection: &ConnectionIdentity, bearer: Bearer) -> Result<Caller, CallerError> {
    let Bearer { account, pod_uid } = bearer;
    let id = match &connection.id {
        None => CallerId::ServiceAccount(account),
        Some(CallerId::Spiffe(id)) if names(id.path(), account.as_str()) => CallerId::Spiffe(id.clone()),
        Some(_) => return Err(CallerError::Disagreement),
    };
    Ok(Caller { id, pod_uid, peer: connection.peer })
}

/// Whether a SPIFFE ID's path is `/ns/<namespace>/sa/<name>` of this account.
fn names(path: &str, account: &str) -> bool {
    let named = path.strip_prefix("/ns/").and_then(|rest| rest.split_once("/sa/"));
    named.is_some() && named == account.split_once('/')
}
#[cfg(test)]
mod tests;
