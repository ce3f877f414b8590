use tonic::{Request, Response, Status, async_trait};

use super::convert;
use super::layers::record_tenant;
use super::proto::{
    GetSystemTicketRequest, GetSystemTicketResponse, InvalidateSystemTicketRequest, InvalidateSystemTicketResponse,
    RefreshAccessTokenRequest, RefreshAccessTokenResponse, ticket_service_server,
};
use crate::credentials::{AccessTokens, SystemTickets};

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
        let InvalidateSystemTicketRequest { context_identifier, fingerprint } = request.into_inner();
        let context_identifier = convert::context_identifier(&context_identifier)?;
        record_tenant(context_identifier);
        let fingerprint = convert::fingerprint(&fingerprint)?;
        let outcome = convert::invalidate_outcome(self.system_tickets.invalidate(context_identifier, fingerprint));
        Ok(Response::new(InvalidateSystemTicketResponse { outcome: outcome.into() }))
    }

    async fn refresh_access_token(
        &self,
        request: Request<RefreshAccessTokenRequest>,
    ) -> Result<Response<RefreshAccessTokenResponse>, Status> {
        let RefreshAccessTokenRequest { context_identifier, refresh_token } = request.into_inner();
        let context_identifier = convert::context_identifier(&context_identifier)?;
        record_tenant(context_identifier);
        let refresh_token = convert::refresh_token(refresh_token)?;
        let answer = self.access_tokens.refresh(context_identifier, refresh_token).await?;
        Ok(Response::new(convert::access_token(&answer)))
    }
}
