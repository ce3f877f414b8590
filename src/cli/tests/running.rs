//! Commands that ask a running ticketd.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::vec::IntoIter;

use futures_util::stream::{self, Iter};
use prost::Message;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::*;
use crate::grpc::proto::system_ticket_outcome::Outcome;
use crate::grpc::proto::ticket_service_server::{TicketService, TicketServiceServer};
use crate::grpc::proto::{
    BatchGetSystemTicketsRequest, BatchGetSystemTicketsResponse, GetSystemTicketRequest, GetSystemTicketResponse,
    InvalidateSystemTicketRequest, InvalidateSystemTicketResponse, RefreshAccessTokenRequest,
    RefreshAccessTokenResponse, SystemTicket, SystemTicketOutcome, TenantState, WatchSystemTicketsRequest,
    WatchSystemTicketsResponse,
};

/// What a running ticketd answers about one tenant. The first watch ends with its connection, the second for good.
#[derive(Default)]
struct Answers {
    watched: AtomicBool,
}

fn refusal(code: Code, reason: &str, message: &str) -> Status {
    let details = ErrorDetails::with_error_info(reason, "ticketd", HashMap::new())
        .set_retry_info(Some(Duration::new(0, 1_000_001)))
        .clone();
    Status::with_error_details(code, message, details)
}

fn ticket(fingerprint: &str) -> SystemTicket {
    SystemTicket {
        context_identifier: "Cust1".to_owned(),
        ticket: "7T:c4nary".to_owned(),
        fingerprint: fingerprint.to_owned(),
        expire_time: Some(prost_types::Timestamp { seconds: 1_800_000_000, nanos: 0 }),
        webapi_url: "https://sod.superoffice.com/Cust1/api/".to_owned(),
        tenant_state: TenantState::Running.into(),
        ..SystemTicket::default()
    }
}

#[async_trait::async_trait]
impl TicketService for Answers {
    async fn get_system_ticket(
        &self,
        request: Request<GetSystemTicketRequest>,
    ) -> Result<Response<GetSystemTicketResponse>, Status> {
        assert!(request.metadata().contains_key("grpc-timeout"));
        let request = request.into_inner();
        if request.context_identifier != "Cust1" {
            return Err(refusal(Code::Unavailable, "TENANT_MAINTENANCE", "in maintenance\nfor now"));
        }
        let ticket = ticket(&format!("{:?}", request.min_validity.map(|duration| duration.seconds)));
        Ok(Response::new(GetSystemTicketResponse { system_ticket: Some(ticket) }))
    }

    async fn batch_get_system_tickets(
        &self,
        _request: Request<BatchGetSystemTicketsRequest>,
    ) -> Result<Response<BatchGetSystemTicketsResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    type WatchSystemTicketsStream = Iter<IntoIter<Result<WatchSystemTicketsResponse, Status>>>;

    async fn watch_system_tickets(
        &self,
        request: Request<WatchSystemTicketsRequest>,
    ) -> Result<Response<Self::WatchSystemTicketsStream>, Status> {
        assert!(!request.metadata().contains_key("grpc-timeout"));
        let [one, other] = request.into_inner().context_identifiers.try_into().unwrap();
        let outcome = |context_identifier, outcome| {
            let outcome = Some(SystemTicketOutcome { context_identifier, outcome: Some(outcome) });
            Ok(WatchSystemTicketsResponse { outcome })
        };
        let unknown = refusal(Code::NotFound, "TENANT_NOT_REGISTERED", "it is not\nregistered");
        let unknown = tonic_types::Status::decode(unknown.details()).unwrap();
        let is_first = !self.watched.swap(true, Ordering::Relaxed);
        let end = if is_first { "WATCH_ENDED" } else { "CALLER_NOT_AUTHORIZED" };
        let messages = vec![
            outcome(one, Outcome::SystemTicket(ticket("f"))),
            outcome(other, Outcome::Status(unknown)),
            Err(refusal(Code::PermissionDenied, end, "that is the end")),
        ];
        Ok(Response::new(stream::iter(messages)))
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
        .add_service(TicketServiceServer::new(Answers::default()))
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
    assert_eq!(refused, "Unavailable TENANT_MAINTENANCE: in maintenance\\u000afor now (try again in 2ms)");
}

#[test]
fn watched_tickets_come_line_by_line_until_the_watch_is_refused() {
    let watch = |arguments: &[&str]| {
        let (_runtime, address) = serving();
        let arguments = [&["ticket", "watch", "Cust1", "Cust2", "--address", &address], arguments].concat();
        let outcome = ticketd(&arguments, b"");
        let Some(Failure::Failed(end)) = outcome.failure else { panic!("{:?}", outcome.failure) };
        assert_eq!(end, "PermissionDenied CALLER_NOT_AUTHORIZED: that is the end (try again in 2ms)");
        (outcome.output, outcome.errors)
    };
    // Twice: the first one ends as its connection does, which is no news.
    let ticket = "Cust1  running  f  expires 2027-01-15T08:00:00Z  https://sod.superoffice.com/Cust1/api/\n";
    let refused = "NotFound TENANT_NOT_REGISTERED: it is not\\u000aregistered (try again in 2ms)";
    assert_eq!(watch(&[]), (format!("{ticket}Cust2  {refused}\n").repeat(2), String::new()));
    let (json, errors) = watch(&["--json"]);
    let lines: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines.len(), errors.as_str()), (4, ""));
    assert_eq!((&lines[0]["context_identifier"], &lines[0]["fingerprint"]), (&"Cust1".into(), &"f".into()));
    assert_eq!(lines[3]["context_identifier"], "Cust2");
    assert_eq!((&lines[3]["reason"], &lines[3]["error"]), (&"TENANT_NOT_REGISTERED".into(), &refused.into()));
    assert!(!json.contains("c4nary"), "{json}");
    let shown = watch(&["--show-ticket"]);
    assert_eq!(shown, ("Cust1 7T:c4nary\nCust2\n".repeat(2), format!("ticketd: Cust2: {refused}\n").repeat(2)));
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
