use std::time::Duration;

use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use zeroize::Zeroizing;

use super::{EXIT_NO_CREDENTIAL, EXIT_UNAVAILABLE, unanswered};
use crate::cli::connection::refused;
use crate::cli::failure::{EXIT_USAGE, Failure};
use crate::grpc::proto::invalidate_system_ticket_request::Cause;
use crate::grpc::proto::invalidate_system_ticket_response::Outcome;
use crate::grpc::proto::ticket_service_client::TicketServiceClient;
use crate::grpc::proto::{
    GetSystemTicketRequest, InvalidateSystemTicketRequest, RefreshAccessTokenRequest, TenantState,
};
use crate::identifiers::{AccessToken, ContextIdentifier, Ticket};
use crate::superoffice::{self, SuperOffice, WebApiAnswer, WebApiBody, WebApiCredential, WebApiRequest};

/// Calls tenants' APIs with credentials of a running ticketd.
pub(super) struct Caller {
    tickets: TicketServiceClient<Channel>,
    superoffice: SuperOffice,
    user: Option<String>,
    request: Request,
}

/// What is sent to whichever tenant.
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) body: Option<Body>,
    pub(super) timeout: Duration,
    pub(super) max_answer: usize,
}

/// What is sent along.
pub(super) struct Body {
    pub(super) bytes: Zeroizing<Vec<u8>>,
    pub(super) content_type: String,
}

/// Why there is no answer.
pub(super) struct Trouble {
    pub(super) failure: Failure,
    /// The tenant is suspended, in maintenance or gone: calling it makes no sense at present.
    pub(super) is_not_running: bool,
}

/// What opens a tenant's API, and where that is.
struct Access {
    credential: Credential,
    webapi_url: String,
}

enum Credential {
    Ticket { ticket: Ticket, fingerprint: String },
    AccessToken(AccessToken),
}

impl Caller {
    pub(super) fn new(channel: Channel, superoffice: SuperOffice, user: Option<String>, request: Request) -> Self {
        Self { tickets: TicketServiceClient::new(channel), superoffice, user, request }
    }

    /// What the tenant's API answers. A refused credential is replaced, and a tenant that has moved is looked for, each
    /// once: neither answer means that anything was done.
    pub(super) async fn call(&self, tenant: ContextIdentifier) -> Result<WebApiAnswer, Trouble> {
        let mut access = self.access(tenant).await?;
        let (mut may_replace, mut may_move) = (true, true);
        loop {
            let answer = self.send(&access).await?;
            let other = match answer.status {
                401 | 403 if std::mem::take(&mut may_replace) => self.with_another_credential(tenant, access).await?,
                421 if std::mem::take(&mut may_move) => self.at_another_address(tenant, access).await?,
                _ => None,
            };
            match other {
                Some(other) => access = other,
                None => return Ok(answer),
            }
        }
    }

    async fn send(&self, access: &Access) -> Result<WebApiAnswer, Trouble> {
        let Request { method, path, body, timeout, max_answer } = &self.request;
        let request = WebApiRequest {
            webapi_url: &access.webapi_url,
            method,
            path,
            body: body.as_ref().map(|body| WebApiBody { content_type: &body.content_type, bytes: &body.bytes }),
            timeout: *timeout,
            max_answer: *max_answer,
        };
        let credential = match &access.credential {
            Credential::Ticket { ticket, .. } => WebApiCredential::Ticket(ticket),
            Credential::AccessToken(token) => WebApiCredential::AccessToken(token),
        };
        Ok(self.superoffice.call_webapi(request, credential).await.map_err(|error| unanswered(&error))?)
    }

    async fn access(&self, tenant: ContextIdentifier) -> Result<Access, Trouble> {
        match &self.user {
            Some(user) => {
                let token = self.access_token(tenant, user, None).await?;
                let webapi_url = self.address(tenant).await?;
                Ok(Access { credential: Credential::AccessToken(token), webapi_url })
            }
            None => self.system_ticket(tenant).await,
        }
    }

    async fn with_another_credential(
        &self,
        tenant: ContextIdentifier,
        refused: Access,
    ) -> Result<Option<Access>, Trouble> {
        match (refused.credential, &self.user) {
            (Credential::AccessToken(token), Some(user)) => {
                let another = self.access_token(tenant, user, Some(&token)).await?;
                Ok((another != token).then(|| Access { credential: Credential::AccessToken(another), ..refused }))
            }
            (Credential::Ticket { fingerprint, .. }, None)
                if self.report(tenant, &fingerprint, Cause::Refused).await? =>
            {
                self.system_ticket(tenant).await.map(Some)
            }
            _ => Ok(None),
        }
    }

    /// The credential is as good there: it is the tenant's, and no host's.
    async fn at_another_address(&self, tenant: ContextIdentifier, refused: Access) -> Result<Option<Access>, Trouble> {
        if let Credential::Ticket { fingerprint, .. } = &refused.credential {
            // For others' sake, who ask ticketd for the address.
            drop(self.report(tenant, fingerprint, Cause::Misdirected).await);
        }
        self.superoffice.forget_tenant_state(tenant);
        let webapi_url = self.address(tenant).await?;
        Ok((webapi_url != refused.webapi_url).then_some(Access { webapi_url, ..refused }))
    }

    async fn system_ticket(&self, tenant: ContextIdentifier) -> Result<Access, Trouble> {
        let request = GetSystemTicketRequest { context_identifier: tenant.to_string(), min_validity: None };
        let answer = self.tickets.clone().get_system_ticket(self.timed(request)).await?.into_inner();
        let ticket = answer.system_ticket.ok_or_else(|| Failure::failed(&"ticketd's answer holds no ticket"))?;
        if !may_run(ticket.tenant_state()) {
            return Err(not_running(ticket.tenant_state().as_str_name().trim_start_matches("TENANT_STATE_")));
        }
        let webapi_url =
            if ticket.webapi_url.is_empty() { self.address(tenant).await? } else { ticket.webapi_url.clone() };
        let credential =
            Credential::Ticket { ticket: Ticket::new(ticket.ticket.clone()), fingerprint: ticket.fingerprint.clone() };
        Ok(Access { credential, webapi_url })
    }

    async fn access_token(
        &self,
        tenant: ContextIdentifier,
        user: &str,
        refused: Option<&AccessToken>,
    ) -> Result<AccessToken, Trouble> {
        let request = RefreshAccessTokenRequest {
            context_identifier: tenant.to_string(),
            user: user.to_owned(),
            refused_access_token: refused.map(|token| token.expose().to_owned()).unwrap_or_default(),
            ..RefreshAccessTokenRequest::default()
        };
        let answer = self.tickets.clone().refresh_access_token(self.timed(request)).await?.into_inner();
        Ok(AccessToken::new(answer.access_token))
    }

    /// Tells ticketd what the tenant's API said to the ticket, and answers whether another ticket is to be had.
    async fn report(&self, tenant: ContextIdentifier, fingerprint: &str, cause: Cause) -> Result<bool, Trouble> {
        let request = InvalidateSystemTicketRequest {
            context_identifier: tenant.to_string(),
            fingerprint: fingerprint.to_owned(),
            cause: cause.into(),
        };
        let answer = self.tickets.clone().invalidate_system_ticket(self.timed(request)).await?.into_inner();
        Ok(matches!(answer.outcome(), Outcome::Invalidated | Outcome::NotCurrent))
    }

    /// Where SuperOffice says that the tenant's API is.
    async fn address(&self, tenant: ContextIdentifier) -> Result<String, Trouble> {
        let status = self.superoffice.tenant_state(tenant).await.map_err(|error| unanswered(&error))?;
        let may_run = status.state.is_running() || status.state == superoffice::TenantState::Unknown;
        match status.webapi_url {
            _ if !may_run => Err(not_running(status.state.as_str())),
            Some(webapi_url) => Ok(webapi_url.to_string()),
            None => Err(Failure::failed(&"SuperOffice does not tell where the tenant's API is").into()),
        }
    }

    /// A call of ticketd's, which may take as long as the command line says.
    pub(super) fn timed<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        request.set_timeout(self.request.timeout);
        request
    }
}

/// SuperOffice need not have told.
fn may_run(state: TenantState) -> bool {
    matches!(state, TenantState::Unspecified | TenantState::Running | TenantState::OnlineMaintenance)
}

fn not_running(state: &str) -> Trouble {
    let state = state.to_ascii_lowercase();
    let failure = Failure::Coded(EXIT_NO_CREDENTIAL, format!("the tenant does not run: its state is {state}"));
    Trouble { failure, is_not_running: true }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self { failure, is_not_running: false }
    }
}

impl From<Status> for Trouble {
    fn from(status: Status) -> Self {
        let details = status.get_error_details();
        let reason = details.error_info().map_or("", |info| info.reason.as_str());
        let code = match status.code() {
            Code::Unavailable | Code::ResourceExhausted | Code::DeadlineExceeded | Code::Cancelled => EXIT_UNAVAILABLE,
            Code::NotFound | Code::FailedPrecondition | Code::PermissionDenied | Code::Unauthenticated => {
                EXIT_NO_CREDENTIAL
            }
            Code::InvalidArgument => EXIT_USAGE,
            _ => 1,
        };
        let is_not_running = matches!(reason, "TENANT_NOT_RUNNING" | "TENANT_MAINTENANCE");
        Self { failure: refused(&status).with_code(code), is_not_running }
    }
}
