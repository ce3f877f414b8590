use std::sync::Arc;

use tonic::{Request, Response, Status, async_trait};

use super::convert::{self, GrantOf};
use super::layers::CallRecord;
use super::permits::Permits;
use super::proto::invalidate_system_ticket_request::Cause;
use super::proto::{
    GetSystemTicketRequest, GetSystemTicketResponse, InvalidateSystemTicketRequest, InvalidateSystemTicketResponse,
    RefreshAccessTokenRequest, RefreshAccessTokenResponse, ticket_service_server,
};
use crate::authorization::Method;
use crate::credentials::{AccessTokens, SystemTickets};
use crate::identifiers::AccessToken;
use crate::superoffice::SuperOffice;

/// Hands out credentials.
#[derive(Clone, Debug)]
pub struct TicketService {
    system_tickets: SystemTickets,
    access_tokens: AccessTokens,
    superoffice: Arc<SuperOffice>,
    permits: Permits,
}

impl TicketService {
    /// Answers from these whom `permits` lets ask. `superoffice` knows how its tickets are used.
    pub fn new(
        system_tickets: SystemTickets,
        access_tokens: AccessTokens,
        superoffice: Arc<SuperOffice>,
        permits: Permits,
    ) -> Self {
        Self { system_tickets, access_tokens, superoffice, permits }
    }
}

#[async_trait]
impl ticket_service_server::TicketService for TicketService {
    async fn get_system_ticket(
        &self,
        request: Request<GetSystemTicketRequest>,
    ) -> Result<Response<GetSystemTicketResponse>, Status> {
        let record = CallRecord::of(&request);
        let context_identifier = convert::context_identifier(&request.get_ref().context_identifier)?;
        let permit = self.permits.permit(&request, Method::GetSystemTicket, Some(context_identifier))?;
        let min_validity = convert::min_validity(request.get_ref().min_validity)?;
        let answer = self.system_tickets.get(context_identifier, min_validity).await?;
        record.ticket(&answer);
        let headers = permit.app_token.then(|| self.superoffice.ticket_headers(&answer.ticket.ticket));
        let system_ticket = convert::system_ticket(&answer, headers.into_iter().flatten());
        Ok(Response::new(GetSystemTicketResponse { system_ticket: Some(system_ticket) }))
    }

    async fn invalidate_system_ticket(
        &self,
        request: Request<InvalidateSystemTicketRequest>,
    ) -> Result<Response<InvalidateSystemTicketResponse>, Status> {
        let record = CallRecord::of(&request);
        let context_identifier = convert::context_identifier(&request.get_ref().context_identifier)?;
        self.permits.permit(&request, Method::InvalidateSystemTicket, Some(context_identifier))?;
        let fingerprint = convert::fingerprint(&request.get_ref().fingerprint)?;
        let outcome = match request.get_ref().cause() {
            Cause::Misdirected => self.system_tickets.report_moved(context_identifier, fingerprint),
            Cause::Unspecified | Cause::Refused => {
                self.system_tickets.invalidate(context_identifier, fingerprint).await
            }
        };
        record.change(convert::change_by_invalidation(outcome));
        let outcome = convert::invalidate_outcome(outcome).into();
        Ok(Response::new(InvalidateSystemTicketResponse { outcome }))
    }

    async fn refresh_access_token(
        &self,
        request: Request<RefreshAccessTokenRequest>,
    ) -> Result<Response<RefreshAccessTokenResponse>, Status> {
        let record = CallRecord::of(&request);
        let context_identifier = convert::context_identifier(&request.get_ref().context_identifier)?;
        self.permits.permit(&request, Method::RefreshAccessToken, Some(context_identifier))?;
        let RefreshAccessTokenRequest { context_identifier: _, refresh_token, user, refused_access_token } =
            request.into_inner();
        let refused = (!refused_access_token.is_empty()).then(|| AccessToken::new(refused_access_token));
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
                let answer = tokens.of_user(context_identifier, &user).await?;
                record.user(&user);
                answer
            }
        };
        let source = if answer.from_memory { "cache" } else { "refresh" };
        record.access_token(&answer.access_token, answer.expire_time, source);
        Ok(Response::new(convert::access_token(&answer)))
    }
}
