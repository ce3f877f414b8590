use std::sync::Arc;

use futures_util::future::join_all;
use tonic::{Request, Response, Status, async_trait};

use super::convert::{self, GrantOf};
use super::layers::{CallRecord, Closing, PartLog};
use super::permits::{self, Permits, caller_of};
use super::proto::invalidate_system_ticket_request::Cause;
use super::proto::{
    BatchGetSystemTicketsRequest, BatchGetSystemTicketsResponse, GetSystemTicketRequest, GetSystemTicketResponse,
    InvalidateSystemTicketRequest, InvalidateSystemTicketResponse, RefreshAccessTokenRequest,
    RefreshAccessTokenResponse, WatchSystemTicketsRequest, ticket_service_server,
};
use super::status;
use super::ticket_stream::{TicketStream, Watching};
use super::watch_places::WatchPlaces;
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
    watch_places: WatchPlaces,
}

impl TicketService {
    /// Answers from these whom `permits` lets ask. `superoffice` knows how its tickets are used.
    pub fn new(
        system_tickets: SystemTickets,
        access_tokens: AccessTokens,
        superoffice: Arc<SuperOffice>,
        permits: Permits,
    ) -> Self {
        Self { system_tickets, access_tokens, superoffice, permits, watch_places: WatchPlaces::new() }
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

    async fn batch_get_system_tickets(
        &self,
        request: Request<BatchGetSystemTicketsRequest>,
    ) -> Result<Response<BatchGetSystemTicketsResponse>, Status> {
        let (record, caller) = (CallRecord::of(&request), &caller_of(&request)?.id);
        let tenants = convert::context_identifiers(&request.get_ref().context_identifiers)?;
        let min_validity = convert::min_validity(request.get_ref().min_validity)?;
        self.system_tickets.check_min_validity(min_validity)?;
        permits::admit(&request, tenants.len())?;
        record.parts(&tenants);
        let permits = tenants.into_iter().map(|tenant| {
            let permit = self.permits.permit_one(caller, Method::BatchGetSystemTickets, tenant);
            (tenant, permit)
        });
        let permits: Vec<_> = permits.collect();
        let answers = join_all(permits.into_iter().map(async |(tenant, permit)| {
            let answer = match &permit {
                Ok(_) => self.system_tickets.get(tenant, min_validity).await.map_err(Status::from),
                Err(denied) => Err(denied.clone()),
            };
            (tenant, permit.ok(), answer)
        }));
        let log = request.extensions().get::<PartLog>();
        let outcomes = answers.await.into_iter().enumerate().map(|(place, (tenant, permit, answer))| {
            record.part(place, tenant, permit.as_ref().map(|permit| &permit.rule), answer.as_ref());
            if let (Some(log), Err(refusal)) = (log, &answer) {
                log.refused(tenant, refusal);
            }
            convert::system_ticket_outcome(tenant, permit.as_ref(), answer.as_ref(), &self.superoffice)
        });
        Ok(Response::new(BatchGetSystemTicketsResponse { outcomes: outcomes.collect() }))
    }

    type WatchSystemTicketsStream = TicketStream;

    async fn watch_system_tickets(
        &self,
        request: Request<WatchSystemTicketsRequest>,
    ) -> Result<Response<TicketStream>, Status> {
        let (record, caller) = (CallRecord::of(&request), &caller_of(&request)?.id);
        let tenants = convert::context_identifiers(&request.get_ref().context_identifiers)?;
        let (permits, superoffice) = (self.permits.clone(), Arc::clone(&self.superoffice));
        let replaced = permits.replacements();
        let is_permitted = |tenant: &_| permits.decide(caller, Method::WatchSystemTickets, *tenant).is_some();
        if let Some(first) = tenants.first().filter(|_| !tenants.iter().any(is_permitted)) {
            // Who may have none of them has nothing to wait for, and holds no place.
            record.parts(&tenants);
            return Err(Permits::denied(caller, Method::WatchSystemTickets, *first));
        }
        let place = self.watch_places.take(caller, tenants.len()).ok_or_else(status::too_many_watches)?;
        permits::admit(&request, tenants.len())?;
        let closing = request.extensions().get::<Closing>().cloned().unwrap_or_default();
        record.stream();
        let watch = self.system_tickets.watch(tenants.iter().copied());
        let (caller, log) = (caller.clone(), request.extensions().get().cloned());
        let watching = Watching { watch, tenants, caller, permits, replaced, record, log, superoffice, closing };
        Ok(Response::new(watching.stream(place)))
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
