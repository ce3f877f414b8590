use tonic::{Request, Response, Status, async_trait};

use super::convert::{self, GrantOf};
use super::layers::record_tenant;
use super::proto::invalidate_system_ticket_request::Cause;
use super::proto::{
    GetSystemTicketRequest, GetSystemTicketResponse, InvalidateSystemTicketRequest, InvalidateSystemTicketResponse,
    RefreshAccessTokenRequest, RefreshAccessTokenResponse, ticket_service_server,
};
use crate::credentials::{AccessTokens, SystemTickets};
use crate::identifiers::AccessToken;

/// Hands out credentials.
#[derive(Clone, Debug)]
pub struct TicketService {
    system_tickets: SystemTickets,
    access_tokens: AccessTokens,
}

impl TicketService {
    /// Answers from these.
    pub fn new(system_tickets: SystemTickets, access_tokens: AccessTokens) -> Self {
        Self { system_tickets, access_tokens }
    }
}

#[async_trait]
impl ticket_service_server::TicketService for TicketService {
    async fn get_system_ticket(
        &self,
        request: Request<GetSystemTicketRequest>,
    ) -> Result<Response<GetSystemTicketResponse>, Status> {
        let GetSystemTicketRequest { context_identifier, min_validity } = request.into_inner();
        let context_identifier = convert::context_identifier(&context_identifier)?;
        record_tenant(context_identifier);
        let min_validity = convert::min_validity(min_validity)?;
        let answer = self.system_tickets.get(context_identifier, min_validity).await?;
        Ok(Response::new(GetSystemTicketResponse { system_ticket: Some(convert::system_ticket(&answer)) }))
    }

    async fn invalidate_system_ticket(
        &self,
        request: Request<InvalidateSystemTicketRequest>,
    ) -> Result<Response<InvalidateSystemTicketResponse>, Status> {
        let request = request.into_inner();
        let context_identifier = convert::context_identifier(&request.context_identifier)?;
        record_tenant(context_identifier);
        let fingerprint = convert::fingerprint(&request.fingerprint)?;
        let outcome = match request.cause() {
            Cause::Misdirected => self.system_tickets.report_moved(context_identifier, fingerprint),
            Cause::Unspecified | Cause::Refused => {
                self.system_tickets.invalidate(context_identifier, fingerprint).await
            }
        };
        let outcome = convert::invalidate_outcome(outcome).into();
        Ok(Response::new(InvalidateSystemTicketResponse { outcome }))
    }

    async fn refresh_access_token(
        &self,
        request: Request<RefreshAccessTokenRequest>,
    ) -> Result<Response<RefreshAccessTokenResponse>, Status> {
        let RefreshAccessTokenRequest { context_identifier, refresh_token, user, refused_access_token } =
            request.into_inner();
        let refused = (!refused_access_token.is_empty()).then(|| AccessToken::new(refused_access_token));
        let context_identifier = convert::context_identifier(&context_identifier)?;
        record_tenant(context_identifier);
        let tokens = &self.access_tokens;
        let answer = match convert::grant_of(refresh_token, user)? {
            GrantOf::Caller(refresh_token) => {
                if let Some(refused) = refused {
                    tokens.note_refused(context_identifier, &refresh_token, &refused);
                }
                tokens.refresh(context_identifier, refresh_token).await?
            }
            GrantOf::User(user) => {
                if let Some(refused) = refused {
                    tokens.note_refused_of_user(context_identifier, &user, &refused);
                }
                tokens.of_user(context_identifier, &user).await?
            }
        };
        Ok(Response::new(convert::access_token(&answer)))
    }
}
