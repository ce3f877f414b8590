use std::sync::Arc;

use tokio::sync::Semaphore;
use tonic::{Request, Response, Status, async_trait};
use tracing::Instrument;

use super::layers::CallRecord;
use super::permits::Permits;
use super::proto::{
    DeleteTenantRequest, DeleteTenantResponse, GetTenantRequest, GetTenantResponse, ListGrantsRequest,
    ListGrantsResponse, ListTenantsRequest, ListTenantsResponse, PutTenantRequest, PutTenantResponse,
    RevokeGrantRequest, RevokeGrantResponse, tenant_service_server,
};
use super::{convert, status};
use crate::authorization::Method;
use crate::clock::Clock;
use crate::credentials::{AccessTokens, SystemTickets, TicketError};
use crate::identifiers::{ContextIdentifier, SystemUserToken};
use crate::store::{Grants, Tenant, Tenants};

/// How many changes may be under way at once: they outlive their callers, so those do not bound them.
const MOST_CHANGES: usize = 1_000;

/// Administers tenants. What it changes holds for the next call already; other replicas and what is changed elsewhere
/// are told by way of the store.
#[derive(Clone, Debug)]
pub struct TenantService {
    tenants: Arc<dyn Tenants>,
    grants: Arc<dyn Grants>,
    tickets: SystemTickets,
    access_tokens: AccessTokens,
    clock: Arc<dyn Clock>,
    permits: Permits,
    places: Arc<Semaphore>,
}

impl TenantService {
    /// Administers these for whom `permits` lets ask.
    pub fn new(
        tenants: Arc<dyn Tenants>,
        grants: Arc<dyn Grants>,
        tickets: SystemTickets,
        access_tokens: AccessTokens,
        clock: Arc<dyn Clock>,
        permits: Permits,
    ) -> Self {
        let places = Arc::new(Semaphore::new(MOST_CHANGES));
        Self { tenants, grants, tickets, access_tokens, clock, permits, places }
    }

    /// Does what changes something to its end, though its caller gives up in between: what is committed is told of, and
    /// counts here at once.
    async fn see_through<T: Send + 'static>(
        &self,
        change: impl Future<Output = Result<T, Status>> + Send + 'static,
    ) -> Result<T, Status> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| status::overloaded())?;
        let under_way = self.access_tokens.under_way();
        let change = async move {
            let _until_it_is_done = (place, under_way);
            change.await
        };
        tokio::spawn(change.in_current_span()).await.unwrap_or_else(|_| Err(status::broken()))
    }

    async fn put(
        &self,
        tenant: ContextIdentifier,
        system_user_token: SystemUserToken,
        accept_serial: bool,
        record: &CallRecord,
    ) -> Result<Tenant, Status> {
        let before = match self.tenants.find(tenant).await {
            Err(error) if error.is_transient() => return Err(error.into()),
            // What is there may be unreadable: putting the tenant sets it right, or says why it cannot.
            found => found.ok().flatten(),
        };
        let now = self.clock.now();
        let put = self.tenants.put(tenant, system_user_token, accept_serial, now).await?;
        record.change("tenant_put");
        if before.is_some_and(|before| before.system_user_token == put.system_user_token) && !accept_serial {
            self.tickets.pardon(tenant);
        } else {
            self.tickets.forget(tenant);
        }
        Ok(put)
    }

    async fn delete(&self, tenant: ContextIdentifier, record: &CallRecord) -> Result<(), Status> {
        if !self.tenants.delete(tenant).await? {
            return Err(TicketError::NotRegistered.into());
        }
        record.change("tenant_deleted");
        self.tickets.forget(tenant);
        self.access_tokens.recheck(tenant).await;
        Ok(())
    }
}

#[async_trait]
impl tenant_service_server::TenantService for TenantService {
    async fn put_tenant(&self, request: Request<PutTenantRequest>) -> Result<Response<PutTenantResponse>, Status> {
        let record = CallRecord::of(&request);
        let context_identifier = convert::context_identifier(&request.get_ref().context_identifier)?;
        self.permits.permit(&request, Method::PutTenant, Some(context_identifier))?;
        let PutTenantRequest { context_identifier: _, system_user_token, accept_serial } = request.into_inner();
        let system_user_token = convert::system_user_token(system_user_token)?;
        let service = self.clone();
        let putting = async move { service.put(context_identifier, system_user_token, accept_serial, &record).await };
        let tenant = self.see_through(putting).await?;
        Ok(Response::new(PutTenantResponse { tenant: Some(convert::tenant(tenant)) }))
    }

    async fn get_tenant(&self, request: Request<GetTenantRequest>) -> Result<Response<GetTenantResponse>, Status> {
        CallRecord::of(&request);
        let context_identifier = convert::context_identifier(&request.get_ref().context_identifier)?;
        self.permits.permit(&request, Method::GetTenant, Some(context_identifier))?;
        let tenant = self.tenants.find(context_identifier).await?.ok_or(TicketError::NotRegistered)?;
        Ok(Response::new(GetTenantResponse { tenant: Some(convert::tenant(tenant)) }))
    }

    async fn list_tenants(
        &self,
        request: Request<ListTenantsRequest>,
    ) -> Result<Response<ListTenantsResponse>, Status> {
        CallRecord::of(&request);
        self.permits.permit(&request, Method::ListTenants, None)?;
        let ListTenantsRequest { page_size, page_token } = request.into_inner();
        let page_size = convert::page_size(page_size)?;
        let after = convert::page_token(&page_token)?;
        // One more than the page holds tells whether another page follows.
        let tenants = self.tenants.list(after, page_size + 1).await?;
        Ok(Response::new(convert::page(tenants, page_size)))
    }

    async fn delete_tenant(
        &self,
        request: Request<DeleteTenantRequest>,
    ) -> Result<Response<DeleteTenantResponse>, Status> {
        let record = CallRecord::of(&request);
        let context_identifier = convert::context_identifier(&request.get_ref().context_identifier)?;
        self.permits.permit(&request, Method::DeleteTenant, Some(context_identifier))?;
        let service = self.clone();
        self.see_through(async move { service.delete(context_identifier, &record).await }).await?;
        Ok(Response::new(DeleteTenantResponse {}))
    }

    async fn list_grants(&self, request: Request<ListGrantsRequest>) -> Result<Response<ListGrantsResponse>, Status> {
        CallRecord::of(&request);
        let context_identifier = convert::context_identifier(&request.get_ref().context_identifier)?;
        self.permits.permit(&request, Method::ListGrants, Some(context_identifier))?;
        let ListGrantsRequest { context_identifier: _, page_size, page_token } = request.into_inner();
        let page_size = convert::page_size(page_size)?;
        let after = convert::grants_page_token(&page_token)?;
        let grants = self.grants.list(context_identifier, after.as_deref(), page_size + 1).await?;
        Ok(Response::new(convert::grants_page(grants, page_size)))
    }

    async fn revoke_grant(
        &self,
        request: Request<RevokeGrantRequest>,
    ) -> Result<Response<RevokeGrantResponse>, Status> {
        let record = CallRecord::of(&request);
        let context_identifier = convert::context_identifier(&request.get_ref().context_identifier)?;
        self.permits.permit(&request, Method::RevokeGrant, Some(context_identifier))?;
        let RevokeGrantRequest { context_identifier: _, user } = request.into_inner();
        let user = convert::user(user)?;
        let access_tokens = self.access_tokens.clone();
        let revoking = async move {
            access_tokens.revoke(context_identifier, &user).await?;
            record.user(&user);
            record.change("grant_revoked");
            Ok(())
        };
        self.see_through(revoking).await?;
        Ok(Response::new(RevokeGrantResponse {}))
    }
}
