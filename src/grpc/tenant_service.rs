use std::sync::Arc;

use tonic::{Request, Response, Status, async_trait};

use super::convert;
use super::layers::CallRecord;
use super::permits::Permits;
use super::proto::{
    DeleteTenantRequest, DeleteTenantResponse, GetTenantRequest, GetTenantResponse, ListGrantsRequest,
    ListGrantsResponse, ListTenantsRequest, ListTenantsResponse, PutTenantRequest, PutTenantResponse,
    RevokeGrantRequest, RevokeGrantResponse, tenant_service_server,
};
use crate::authorization::Method;
use crate::clock::Clock;
use crate::credentials::{AccessTokens, SystemTickets, TicketError};
use crate::store::{Grants, Tenants};

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
        Self { tenants, grants, tickets, access_tokens, clock, permits }
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
        let before = match self.tenants.find(context_identifier).await {
            Err(error) if error.is_transient() => return Err(error.into()),
            // What is there may be unreadable: putting the tenant sets it right, or says why it cannot.
            found => found.ok().flatten(),
        };
        let now = self.clock.now();
        let tenant = self.tenants.put(context_identifier, system_user_token, accept_serial, now).await?;
        record.change("tenant_put");
        if before.is_some_and(|before| before.system_user_token == tenant.system_user_token) && !accept_serial {
            self.tickets.pardon(context_identifier);
        } else {
            self.tickets.forget(context_identifier);
        }
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
        if !self.tenants.delete(context_identifier).await? {
            return Err(TicketError::NotRegistered.into());
        }
        record.change("tenant_deleted");
        self.tickets.forget(context_identifier);
        self.access_tokens.recheck(context_identifier).await;
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
        self.access_tokens.revoke(context_identifier, &user).await?;
        record.user(&user);
        record.change("grant_revoked");
        Ok(Response::new(RevokeGrantResponse {}))
    }
}
