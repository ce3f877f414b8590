//! What callers do: as they should, and with secrets where none belong.

use std::collections::HashMap;
use std::time::Duration;

use ticketd::grpc::proto::tenant_service_client::TenantServiceClient;
use ticketd::grpc::proto::ticket_service_client::TicketServiceClient;
use ticketd::grpc::proto::{
    DeleteTenantRequest, GetSystemTicketRequest, GetTenantRequest, InvalidateSystemTicketRequest, ListTenantsRequest,
    PutTenantRequest, RefreshAccessTokenRequest, SystemTicket,
};
use tonic::transport::{Channel, Endpoint};
use tonic::{Response, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;

use crate::channels::Channels;
use crate::rig::{Process, Rig, within};

/// A caller, everything it is answered noted.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) channel: Channel,
    channels: Channels,
}

impl Caller {
    pub(crate) fn new(rig: &Rig, address: &str) -> Self {
        Self::over(rig, Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy())
    }

    pub(crate) fn over(rig: &Rig, channel: Channel) -> Self {
        Self { channel, channels: rig.channels.clone() }
    }

    pub(crate) async fn ticket(&self, tenant: &str, min_validity: Option<Duration>) -> Result<SystemTicket, Status> {
        let min_validity = min_validity.map(|duration| duration.try_into().unwrap());
        let request = GetSystemTicketRequest { context_identifier: tenant.to_owned(), min_validity };
        let answer =
            self.note(within(TicketServiceClient::new(self.channel.clone()).get_system_ticket(request)).await)?;
        let ticket = answer.system_ticket.unwrap();
        // The ticket is the caller's to have, and so is the client secret where the policy grants it: there, and nowhere else
        // in the answer.
        assert_eq!(ticket.request_headers.len(), 2);
        let request_headers = HashMap::new();
        self.note_answer(&SystemTicket { ticket: String::new(), request_headers, ..ticket.clone() });
        self.channels.note("gRPC answers but for their secret", format!("{ticket:?}"));
        Ok(ticket)
    }

    pub(crate) async fn access_token(&self, tenant: &str, refresh_token: &str) -> Result<(), Status> {
        let (context_identifier, refresh_token) = (tenant.to_owned(), refresh_token.to_owned());
        let request =
            RefreshAccessTokenRequest { context_identifier, refresh_token, ..RefreshAccessTokenRequest::default() };
        let mut client = TicketServiceClient::new(self.channel.clone());
        let mut answer = self.note(within(client.refresh_access_token(request)).await)?;
        assert!(!answer.access_token.is_empty());
        answer.access_token.clear();
        answer.refresh_token.clear();
        self.note_answer(&answer);
        Ok(())
    }

    async fn invalidate(&self, tenant: &str, fingerprint: &str) {
        let (context_identifier, fingerprint) = (tenant.to_owned(), fingerprint.to_owned());
        let request = InvalidateSystemTicketRequest { context_identifier, fingerprint, ..Default::default() };
        let mut client = TicketServiceClient::new(self.channel.clone());
        if let Ok(answer) = self.note(within(client.invalidate_system_ticket(request)).await) {
            self.note_answer(&answer);
        }
    }

    pub(crate) async fn put(&self, tenant: &str, system_user_token: &str) -> Result<(), Status> {
        let (context_identifier, system_user_token) = (tenant.to_owned(), system_user_token.to_owned());
        let request = PutTenantRequest { context_identifier, system_user_token, accept_serial: false };
        let answer = self.note(within(TenantServiceClient::new(self.channel.clone()).put_tenant(request)).await)?;
        self.note_answer(&answer);
        Ok(())
    }

    async fn get_and_delete(&self, tenant: &str) {
        let mut client = TenantServiceClient::new(self.channel.clone());
        let request = GetTenantRequest { context_identifier: tenant.to_owned() };
        if let Ok(answer) = self.note(within(client.get_tenant(request)).await) {
            self.note_answer(&answer);
        }
        let request = DeleteTenantRequest { context_identifier: tenant.to_owned() };
        drop(self.note(within(client.delete_tenant(request)).await));
    }

    async fn list(&self, page_size: i32, page_token: &str) {
        let request = ListTenantsRequest { page_size, page_token: page_token.to_owned() };
        let answer = within(TenantServiceClient::new(self.channel.clone()).list_tenants(request)).await;
        if let Ok(answer) = self.note(answer) {
            self.note_answer(&answer);
        }
    }

    async fn health(&self, service: &str) {
        let request = HealthCheckRequest { service: service.to_owned() };
        let answer = within(HealthClient::new(self.channel.clone()).check(request)).await;
        let answer = self.note(answer);
        self.channels.note("health and reflection", format!("{answer:?}"));
    }

    async fn reflection(&self, request: MessageRequest) {
        let request = ServerReflectionRequest { host: String::new(), message_request: Some(request) };
        let mut client = ServerReflectionClient::new(self.channel.clone());
        let answer = within(client.server_reflection_info(tokio_stream::iter([request]))).await;
        if let Ok(mut answers) = self.note(answer) {
            let answer = self.note(within(answers.message()).await.map(Response::new));
            self.channels.note("health and reflection", format!("{answer:?}"));
        }
    }

    pub(crate) fn note<T>(&self, outcome: Result<Response<T>, Status>) -> Result<T, Status> {
        match outcome {
            Ok(response) => {
                self.channels.note("gRPC answers but for their secret", format!("{:?}", response.metadata()));
                Ok(response.into_inner())
            }
            Err(status) => {
                self.channels.note("gRPC errors", format!("{:?} {}", status.code(), status.message()));
                self.channels.note("gRPC errors", status.details());
                self.channels.note("gRPC errors", format!("{:?}", status.metadata()));
                Err(status)
            }
        }
    }

    pub(crate) fn note_answer(&self, answer: &(impl prost::Message + std::fmt::Debug)) {
        self.channels.note("gRPC answers but for their secret", answer.encode_to_vec());
        self.channels.note("gRPC answers but for their secret", format!("{answer:?}"));
    }
}

/// Tickets and access tokens, fresh and from memory, reported and refused ones.
pub(crate) async fn as_they_should(rig: &Rig, process: &Process) {
    let caller = Caller::new(rig, &process.grpc);
    caller.put("Cust1", &rig.tenant("Cust1").system_user_token).await.unwrap();
    let first = caller.ticket("Cust1", None).await.unwrap();
    let cached = caller.ticket("cust1", None).await.unwrap();
    assert_eq!(first.ticket, cached.ticket);
    assert!(rig.sandbox.seen_secrets().tickets.contains(&first.ticket));
    caller.invalidate("Cust1", &first.fingerprint).await;
    caller.invalidate("Cust1", &"0".repeat(32)).await;
    caller.ticket("Cust1", Some(Duration::from_secs(1))).await.unwrap();

    let refresh_token = rig.sandbox.issue_refresh_token("Cust1").unwrap();
    caller.access_token("Cust1", &refresh_token).await.unwrap();
    caller.access_token("Cust1", &refresh_token).await.unwrap();
    caller.access_token("Cust1", &rig.canaries.unknown_refresh_token).await.unwrap_err();
    rig.mounted_tenant("Cust2");
    caller.access_token("Cust2", &refresh_token).await.expect_err("it is another tenant's");
    rig.sandbox.revoke_refresh_token(&refresh_token);

    // Registered with a token that SuperOffice does not know.
    caller.put("Cust3", &rig.canaries.stray_token).await.unwrap();
    caller.ticket("Cust3", None).await.unwrap_err();
    caller.get_and_delete("Cust3").await;
    caller.list(2, "").await;
    for address in [&process.grpc, &process.health] {
        for service in ["", "liveness", "readiness", "superoffice.ticket.v1.TicketService"] {
            Caller::new(rig, address).health(service).await;
        }
    }
    caller.reflection(MessageRequest::ListServices(String::new())).await;
    let service = "superoffice.ticket.v1.TicketService".to_owned();
    caller.reflection(MessageRequest::FileContainingSymbol(service)).await;
}

/// Each secret in each field that it has no business in.
pub(crate) async fn with_secrets_in_wrong_fields(rig: &Rig, process: &Process) {
    let caller = Caller::new(rig, &process.grpc);
    for (_, secret) in rig.secrets() {
        caller.ticket(&secret, None).await.unwrap_err();
        caller.invalidate("Cust1", &secret).await;
        caller.invalidate(&secret, &secret).await;
        caller.access_token(&secret, &secret).await.unwrap_err();
        // One of them is a refresh token indeed.
        drop(caller.access_token("Cust1", &secret).await);
        caller.get_and_delete(&secret).await;
        caller.list(0, &secret).await;
        caller.list(-1, &secret).await;
        // Some are as good a token as any: what is put is no leak, what is refused must not be one.
        drop(caller.put("Cust4", &secret).await);
        caller.put("Cust4", &format!("{secret}.{secret}")).await.unwrap_err();
        caller.put(&secret, &secret).await.ok();
        caller.put("Cust2", &secret).await.expect_err("it comes from the directory");
        caller.health(&secret).await;
        caller.reflection(MessageRequest::FileContainingSymbol(secret.clone())).await;
        caller.reflection(MessageRequest::FileByFilename(secret)).await;
    }
    caller.ticket("Cust1", Some(Duration::from_hours(24))).await.unwrap_err();
}
