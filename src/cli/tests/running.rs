//! Commands that ask a running ticketd.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::stream::Empty;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::*;
use crate::grpc::proto::ticket_service_server::{TicketService, TicketServiceServer};
use crate::grpc::proto::{
    BatchGetSystemTicketsRequest, BatchGetSystemTicketsResponse, GetSystemTicketRequest, GetSystemTicketResponse,
    InvalidateSystemTicketRequest, InvalidateSystemTicketResponse, RefreshAccessTokenRequest,
    RefreshAccessTokenResponse, SystemTicket, TenantState, WatchSystemTicketsRequest, WatchSystemTicketsResponse,
};

/// What a running ticketd answers about one tenant.
struct Answers;

#[async_trait::async_trait]
impl TicketService for Answers {
    async fn get_system_ticket(
        &self,
        request: Request<GetSystemTicketRequest>,
    ) -> Result<Response<GetSystemTicketResponse>, Status> {
        assert!(request.metadata().contains_key("grpc-timeout"));
        let request = request.into_inner();
        if request.context_identifier != "Cust1" {
            let details = ErrorDetails::with_error_info("TENANT_MAINTENANCE", "ticketd", HashMap::new())
                .set_retry_info(Some(Duration::new(5, 1_000_001)))
                .clone();
            return Err(Status::with_error_details(Code::Unavailable, "in maintenance\nfor now", details));
        }
        let ticket = SystemTicket {
            context_identifier: "Cust1".to_owned(),
            ticket: "7T:c4nary".to_owned(),
            fingerprint: format!("{:?}", request.min_validity.map(|duration| duration.seconds)),
            expire_time: Some(prost_types::Timestamp { seconds: 1_800_000_000, nanos: 0 }),
            webapi_url: "https://sod.superoffice.com/Cust1/api/".to_owned(),
            tenant_state: TenantState::Running.into(),
            ..SystemTicket::default()
        };
        Ok(Response::new(GetSystemTicketResponse { system_ticket: Some(ticket) }))
    }

    async fn batch_get_system_tickets(
        &self,
        _request: Request<BatchGetSystemTicketsRequest>,
    ) -> Result<Response<BatchGetSystemTicketsResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    type WatchSystemTicketsStream = Empty<Result<WatchSystemTicketsResponse, Status>>;

    async fn watch_system_tickets(
        &self,
        _request: Request<WatchSystemTicketsRequest>,
    ) -> Result<Response<Self::WatchSystemTicketsStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn invalidate_system_ticket(
        &self,
        _request: Request<InvalidateSystemTicketRequest>,
    ) -> Result<Response<InvalidateSystemTicketResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn refresh_access_token(
        &self,
        _request: Request<RefreshAccessTokenRequest>,
    ) -> Result<Response<RefreshAccessTokenResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

/// Serves tickets, and health with one service that does not serve.
fn serving() -> (Runtime, String) {
    let runtime = Runtime::new().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (reporter, health) = tonic_health::server::health_reporter();
    runtime.block_on(reporter.set_service_status("readiness", tonic_health::ServingStatus::NotServing));
    let server = tonic::transport::Server::builder()
        .add_service(TicketServiceServer::new(Answers))
        .add_service(health)
        .serve_with_incoming(TcpListenerStream::new(listener));
    runtime.spawn(server);
    (runtime, address)
}

#[test]
fn a_ticket_is_shown_only_when_asked_for() {
    let (_runtime, address) = serving();
    let get = |arguments: &[&str]| ticketd(&[&["ticket", "get", "--address", &address], arguments].concat(), b"");
    let shown = get(&["Cust1", "--min-validity", "1h 30m"]).succeeded();
    let expected = "tenant:       Cust1\nstate:        running\nfingerprint:  Some(5400)\nexpires:      2027-01-15T08:00:00Z\nwebapi:       https://sod.superoffice.com/Cust1/api/\n";
    assert_eq!(shown, expected);
    let json = get(&["Cust1", "--json"]).succeeded();
    let shown: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(shown["expire_time"], "2027-01-15T08:00:00Z");
    assert!(!json.contains("c4nary"), "{json}");
    assert_eq!(get(&["Cust1", "--show-ticket"]).succeeded(), "7T:c4nary\n");
    let refused = get(&["Cust2"]).failed();
    assert_eq!(refused, "Unavailable TENANT_MAINTENANCE: in maintenance\\u000afor now (try again in 5s 2ms)");
}

#[test]
fn health_is_told_by_the_exit_code() {
    let (_runtime, address) = serving();
    assert_eq!(ticketd(&["healthcheck", "--address", &address], b"").succeeded(), "SERVING\n");
    let asked = |service| ticketd(&["healthcheck", "--address", &address, "--service", service], b"");
    assert_eq!(asked("readiness").failed(), "NOT_SERVING");
    assert!(asked("unheard-of").failed().starts_with("NotFound: "));
}

#[test]
fn health_that_is_never_told_is_not_waited_for() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", silent.local_addr().unwrap());
    let failed = ticketd(&["healthcheck", "--address", &address, "--timeout", "50ms"], b"").failed();
    assert!(failed.ends_with(" does not answer"), "{failed}");
}

#[test]
fn nothing_answers_where_nothing_listens() {
    // Port 1 is tcpmux: nothing has listened there for decades.
    let failed = ticketd(&["healthcheck", "--address", "http://127.0.0.1:1"], b"").failed();
    assert!(failed.starts_with("cannot connect to http://127.0.0.1:1/: "), "{failed}");
    assert!(failed.contains("refused"), "{failed}");
    let failed = ticketd(&["ticket", "get", "Cust1", "--address", "http://127.0.0.1:1"], b"").failed();
    assert!(failed.starts_with("cannot connect to "), "{failed}");
}
