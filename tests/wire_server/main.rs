//! The whole server over real sockets, as its callers and kubelets see it. SuperOffice is not asked here.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

mod addresses;
#[path = "../support/configuration.rs"]
mod configuration;
mod requests;
mod stopping;
#[path = "../support/store_settings.rs"]
mod store_settings;
#[path = "../support/superoffice_settings.rs"]
mod superoffice_settings;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tempfile::TempDir;
use ticketd::clock::ManualClock;
use ticketd::config::Config;
use ticketd::grpc::proto::PutTenantRequest;
use ticketd::grpc::proto::tenant_service_client::TenantServiceClient;
use ticketd::grpc::proto::ticket_service_client::TicketServiceClient;
use ticketd::random::SeededRandom;
use ticketd::server::{Process, Server};
use ticketd::{admin, server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_stream::StreamExt;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_types::StatusExt;

use crate::configuration::configuration;
use crate::superoffice_settings::superoffice_settings;

const PATIENCE: Duration = Duration::from_secs(20);
const NAMES: [&str; 4] = ["", "liveness", "readiness", "superoffice.ticket.v1.TicketService"];

struct Rig {
    server: Server,
    clock: ManualClock,
    _directory: TempDir,
}

impl Rig {
    async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    async fn start_with(change: impl FnOnce(&mut server::Settings)) -> Self {
        Self::start_configured(|config| change(&mut config.server)).await
    }

    async fn start_configured(change: impl FnOnce(&mut Config)) -> Self {
        let (mut config, directory) = config();
        change(&mut config);
        let clock = ManualClock::new("2026-11-22T12:00:00Z".parse::<Timestamp>().unwrap());
        let process = Process { clock: Arc::new(clock.clone()), random: Arc::new(SeededRandom::new(7)) };
        let server = Server::bind_with(config, process).await.unwrap();
        Self { server, clock, _directory: directory }
    }

    fn tickets(&self) -> TicketServiceClient<Channel> {
        TicketServiceClient::new(channel(grpc(self)))
    }

    fn tenants(&self) -> TenantServiceClient<Channel> {
        TenantServiceClient::new(channel(grpc(self)))
    }
}

fn config() -> (Config, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    // Nobody listens there.
    let superoffice = superoffice_settings("http://127.0.0.1:1", "0123456789abcdef0123456789abcdef", "secret");
    let mut config = configuration(superoffice, Vec::new(), directory.path());
    config.server.drain_delay = server::Settings::default().drain_delay;
    (config, directory)
}

fn grpc(rig: &Rig) -> SocketAddr {
    rig.server.addresses().grpc.expect("it serves over TCP")
}

fn with_admin_port(config: &mut Config) {
    config.admin = Some(admin::Settings { address: "127.0.0.1:0".parse().unwrap() });
}

/// An answer over HTTP/1.1.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

/// What is answered to a request for this method and path, over a connection of its own.
async fn get(address: SocketAddr, request: &str) -> std::io::Result<Answer> {
    let mut connection = TcpStream::connect(address).await?;
    let request = format!("{request} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Ok(Answer { status, head: head.to_owned(), body: body.to_owned() })
}

fn channel(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy()
}

async fn health(address: SocketAddr, service: &str) -> Result<ServingStatus, Status> {
    let request = HealthCheckRequest { service: service.to_owned() };
    Ok(HealthClient::new(channel(address)).check(request).await?.into_inner().status())
}

async fn services(address: SocketAddr) -> Result<Vec<String>, Status> {
    let message_request = Some(MessageRequest::ListServices(String::new()));
    let request = tonic_reflection::pb::v1::ServerReflectionRequest { host: String::new(), message_request };
    let requests = tokio_stream::once(request);
    let mut answers =
        ServerReflectionClient::new(channel(address)).server_reflection_info(requests).await?.into_inner();
    let answer = answers.next().await.expect("an answer")?;
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else { panic!("{answer:?}") };
    Ok(list.service.into_iter().map(|service| service.name).collect())
}

async fn put(tenants: &mut TenantServiceClient<Channel>, name: &str) -> ticketd::grpc::proto::Tenant {
    let request = PutTenantRequest {
        context_identifier: name.to_owned(),
        system_user_token: "Application Name-8k8Q7DmBgo".to_owned(),
        accept_serial: false,
    };
    tenants.put_tenant(request).await.unwrap().into_inner().tenant.unwrap()
}

fn refused<T: std::fmt::Debug>(answer: Result<T, Status>, reason: &str, field: &str) {
    let status = answer.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert_eq!(status.get_details_error_info().unwrap().reason, reason);
    assert_eq!(status.get_details_bad_request().unwrap().field_violations[0].field, field);
}

fn not_registered<T: std::fmt::Debug>(answer: Result<T, Status>) {
    let status = answer.unwrap_err();
    assert_eq!(status.code(), Code::NotFound, "{status}");
    let info = status.get_details_error_info().unwrap();
    assert_eq!((info.domain.as_str(), info.reason.as_str()), ("ticketd", "TENANT_NOT_REGISTERED"));
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it happens in time")
}
