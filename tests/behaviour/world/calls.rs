//! What tests ask of a world's server.

use std::net::SocketAddr;
use std::time::Duration;

use ticketd::grpc::proto::authorization_service_client::AuthorizationServiceClient;
use ticketd::grpc::proto::invalidate_system_ticket_request::Cause;
use ticketd::grpc::proto::invalidate_system_ticket_response::Outcome;
use ticketd::grpc::proto::tenant_service_client::TenantServiceClient;
use ticketd::grpc::proto::ticket_service_client::TicketServiceClient;
use ticketd::grpc::proto::{
    DeleteTenantRequest, GetSystemTicketRequest, GetTenantRequest, InvalidateSystemTicketRequest, ListGrantsRequest,
    PutTenantRequest, RefreshAccessTokenRequest, RefreshAccessTokenResponse, RevokeGrantRequest, SystemTicket,
};
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use super::{World, within};

impl World {
    /// A connection of its own.
    pub(crate) fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.address())).unwrap().connect_lazy()
    }

    pub(crate) fn tickets(&self) -> TicketServiceClient<Channel> {
        TicketServiceClient::new(self.channel())
    }

    pub(crate) fn authorization(&self) -> AuthorizationServiceClient<Channel> {
        AuthorizationServiceClient::new(self.channel())
    }

    pub(crate) fn tenants(&self) -> TenantServiceClient<Channel> {
        TenantServiceClient::new(self.channel())
    }

    /// The tenant's ticket, or why there is none.
    pub(crate) async fn ticket(&self, tenant: &str) -> Result<SystemTicket, Status> {
        self.ticket_for(tenant, None).await
    }

    pub(crate) async fn ticket_for(
        &self,
        tenant: &str,
        min_validity: Option<Duration>,
    ) -> Result<SystemTicket, Status> {
        ticket_at(self.address(), tenant, min_validity).await
    }

    pub(crate) async fn invalidate(&self, tenant: &str, fingerprint: &str) -> Outcome {
        self.report(tenant, fingerprint, Cause::Refused).await
    }

    pub(crate) async fn report(&self, tenant: &str, fingerprint: &str, cause: Cause) -> Outcome {
        report_at(self.address(), tenant, fingerprint, cause).await
    }

    pub(crate) async fn access_token(
        &self,
        tenant: &str,
        refresh_token: &str,
    ) -> Result<RefreshAccessTokenResponse, Status> {
        let request = RefreshAccessTokenRequest {
            context_identifier: tenant.to_owned(),
            refresh_token: refresh_token.to_owned(),
            ..RefreshAccessTokenRequest::default()
        };
        Ok(within(self.tickets().refresh_access_token(request)).await?.into_inner())
    }

    /// An access token by the grant that is kept of the user.
    pub(crate) async fn access_token_of(&self, tenant: &str, user: &str) -> Result<RefreshAccessTokenResponse, Status> {
        let request = RefreshAccessTokenRequest {
            context_identifier: tenant.to_owned(),
            user: user.to_owned(),
            ..RefreshAccessTokenRequest::default()
        };
        Ok(within(self.tickets().refresh_access_token(request)).await?.into_inner())
    }

    /// The users whose grants are kept.
    pub(crate) async fn granting_users(&self, tenant: &str) -> Vec<String> {
        let request = ListGrantsRequest { context_identifier: tenant.to_owned(), ..Default::default() };
        let grants = within(self.tenants().list_grants(request)).await.unwrap().into_inner().grants;
        grants.into_iter().map(|grant| grant.user).collect()
    }

    pub(crate) async fn revoke(&self, tenant: &str, user: &str) -> Result<(), Status> {
        let request = RevokeGrantRequest { context_identifier: tenant.to_owned(), user: user.to_owned() };
        within(self.tenants().revoke_grant(request)).await.map(drop)
    }

    /// Makes the tenant known to the sandbox and registers it with ticketd.
    pub(crate) async fn add_tenant(&self, tenant: &str) {
        let token = self.sandbox.add_tenant(tenant).system_user_token;
        self.put_tenant(tenant, &token, false).await;
    }

    pub(crate) async fn put_tenant(&self, tenant: &str, system_user_token: &str, accept_serial: bool) {
        let request = PutTenantRequest {
            context_identifier: tenant.to_owned(),
            system_user_token: system_user_token.to_owned(),
            accept_serial,
        };
        within(self.tenants().put_tenant(request)).await.unwrap();
    }

    /// Registers a tenant, if the store can.
    pub(crate) async fn try_put_tenant(&self, tenant: &str, system_user_token: &str) -> Result<(), Status> {
        let request = PutTenantRequest {
            context_identifier: tenant.to_owned(),
            system_user_token: system_user_token.to_owned(),
            accept_serial: false,
        };
        within(self.tenants().put_tenant(request)).await.map(drop)
    }

    /// What is registered about a tenant.
    pub(crate) async fn find_tenant(&self, tenant: &str) -> Result<(), Status> {
        let request = GetTenantRequest { context_identifier: tenant.to_owned() };
        within(self.tenants().get_tenant(request)).await.map(drop)
    }

    pub(crate) async fn delete_tenant(&self, tenant: &str) {
        let request = DeleteTenantRequest { context_identifier: tenant.to_owned() };
        within(self.tenants().delete_tenant(request)).await.unwrap();
    }
}

/// A client of the server at this address, with a connection of its own.
pub(crate) fn tickets_at(address: SocketAddr) -> TicketServiceClient<Channel> {
    TicketServiceClient::new(Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy())
}

/// The tenant's ticket from the server at this address.
pub(crate) async fn ticket_at(
    address: SocketAddr,
    tenant: &str,
    min_validity: Option<Duration>,
) -> Result<SystemTicket, Status> {
    let request = GetSystemTicketRequest {
        context_identifier: tenant.to_owned(),
        min_validity: min_validity.map(|duration| duration.try_into().unwrap()),
    };
    let response = within(tickets_at(address).get_system_ticket(request)).await?;
    Ok(response.into_inner().system_ticket.expect("a response holds a ticket"))
}

pub(super) async fn report_at(address: SocketAddr, tenant: &str, fingerprint: &str, cause: Cause) -> Outcome {
    let request = InvalidateSystemTicketRequest {
        context_identifier: tenant.to_owned(),
        fingerprint: fingerprint.to_owned(),
        cause: cause.into(),
    };
    within(tickets_at(address).invalidate_system_ticket(request)).await.unwrap().into_inner().outcome()
}
