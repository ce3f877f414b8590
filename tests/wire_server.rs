//! The whole server over real sockets, as its callers and kubelets see it. SuperOffice is not asked here.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

#[path = "support/configuration.rs"]
mod configuration;
#[path = "support/store_settings.rs"]
mod store_settings;
#[path = "support/superoffice_settings.rs"]
mod superoffice_settings;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tempfile::TempDir;
use ticketd::clock::{Clock, ManualClock, Sleep, SystemClock};
use ticketd::config::Config;
use ticketd::grpc::proto::tenant_service_client::TenantServiceClient;
use ticketd::grpc::proto::ticket_service_client::TicketServiceClient;
use ticketd::grpc::proto::{
    DeleteTenantRequest, GetSystemTicketRequest, GetTenantRequest, InvalidateSystemTicketRequest, ListTenantsRequest,
    PutTenantRequest, RefreshAccessTokenRequest, tenant,
};
use ticketd::random::SeededRandom;
use ticketd::server::{BindError, Process, ServeError, Server, Signals};
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

use self::configuration::configuration;
use self::superoffice_settings::superoffice_settings;

const PATIENCE: Duration = Duration::from_secs(20);
const NAMES: [&str; 4] = ["", "liveness", "readiness", "superoffice.ticket.v1.TicketService"];

#[tokio::test]
async fn callers_that_prove_nothing_are_served_on_the_loopback_interface_only_and_when_it_is_said() {
    let bind = |address: Option<SocketAddr>, allow_unidentified_callers| async move {
        let (config, _directory) = config();
        let settings = server::Settings { address, allow_unidentified_callers, ..config.server };
        Server::bind(Config { server: settings, ..config }).await.unwrap_err()
    };
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let error = bind(address.parse().ok(), true).await;
        assert!(matches!(error, BindError::NotLoopback { .. }), "{error}");
        assert!(error.to_string().contains("set tls.certificate_file"), "{error}");
    }
    for address in ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0"] {
        let error = bind(address.parse().ok(), false).await;
        assert!(matches!(error, BindError::Unidentified { .. }), "{error}");
        assert!(error.to_string().contains("server.allow_unidentified_callers = true"), "{error}");
    }
    assert!(matches!(bind(None, true).await, BindError::Nowhere));
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let rig = Rig::start().await;
    let (config, _directory) = config();
    let settings = server::Settings { address: Some(grpc(&rig)), ..config.server };
    let error = Server::bind(Config { server: settings, ..config }).await.unwrap_err();
    assert!(matches!(error, BindError::Listen { setting: "server.address", .. }), "{error}");
}

#[tokio::test]
async fn health_answers_on_both_addresses_and_the_one_for_kubelets_has_nothing_else() {
    let rig = Rig::start().await;
    let addresses = rig.server.addresses();
    for address in [grpc(&rig), addresses.health] {
        for name in NAMES {
            assert_eq!(health(address, name).await.unwrap(), ServingStatus::Serving, "{name}");
        }
        assert_eq!(health(address, "unheard.of").await.unwrap_err().code(), Code::NotFound);
    }
    let mut tickets = TicketServiceClient::new(channel(addresses.health));
    let status = tickets.get_system_ticket(GetSystemTicketRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
}

#[tokio::test]
async fn the_admin_port_is_there_when_it_has_an_address_and_says_what_health_says() {
    assert_eq!(Rig::start().await.server.addresses().admin, None);
    let rig = Rig::start_configured(with_admin_port).await;
    let addresses = rig.server.addresses();
    let admin = addresses.admin.unwrap();
    assert_eq!(get(admin, "GET /livez").await.unwrap().status, 200);
    let ready = get(admin, "GET /readyz").await.unwrap();
    assert_eq!((ready.status, ready.body.as_str()), (200, "ready\n"));
    for header in
        ["cache-control: no-store", "x-content-type-options: nosniff", "content-security-policy: default-src 'none'"]
    {
        assert!(ready.head.contains(header), "{header}: {}", ready.head);
    }
    assert_eq!(get(admin, "HEAD /readyz").await.unwrap().status, 200);
    assert_eq!(get(admin, "GET /elsewhere").await.unwrap().status, 404);
    assert_eq!(get(admin, "POST /readyz").await.unwrap().status, 405);

    // Somebody that holds the drain up, and who comes to the admin port and says nothing.
    let mut holds_up = TcpStream::connect(grpc(&rig)).await.unwrap();
    holds_up.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    holds_up.read_exact(&mut [0; 9]).await.unwrap();
    let _says_nothing = TcpStream::connect(admin).await.unwrap();
    rig.server.stop().request();
    while health(addresses.health, "readiness").await.unwrap() == ServingStatus::Serving {}
    rig.clock.advance(Duration::from_secs(5));
    let draining = get(admin, "GET /readyz").await.unwrap();
    assert_eq!((draining.status, draining.body.as_str()), (503, "draining\n"));
    assert_eq!(get(admin, "GET /livez").await.unwrap().status, 200, "until the very end");
    drop(holds_up);
    within(rig.server.join()).await.unwrap();
    assert!(get(admin, "GET /livez").await.is_err());
}

#[tokio::test]
async fn idle_connections_to_the_admin_port_make_room_within_seconds() {
    let rig = Rig::start_configured(|config| {
        with_admin_port(config);
        config.server.max_connections = 2;
    })
    .await;
    let admin = rig.server.addresses().admin.unwrap();
    let mut idle = Vec::new();
    for _ in 0..2 {
        let mut connection = TcpStream::connect(admin).await.unwrap();
        connection.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        connection.read_exact(&mut [0; 12]).await.unwrap();
        idle.push(connection);
    }
    let probe = tokio::spawn(get(admin, "GET /livez"));
    rig.clock.advance(Duration::from_secs(17));
    assert_eq!(within(probe).await.unwrap().unwrap().status, 200);
}

#[tokio::test]
async fn reflection_answers_only_when_switched_on() {
    let rig = Rig::start().await;
    assert_eq!(services(grpc(&rig)).await.unwrap_err().code(), Code::Unimplemented);

    let rig = Rig::start_with(|settings| settings.reflection = true).await;
    let services = services(grpc(&rig)).await.unwrap();
    for service in
        ["grpc.health.v1.Health", "superoffice.ticket.v1.TenantService", "superoffice.ticket.v1.TicketService"]
    {
        assert!(services.iter().any(|name| name == service), "{service} in {services:?}");
    }
}

#[tokio::test]
async fn requests_that_cannot_be_meant_are_refused_with_the_field_at_fault() {
    let rig = Rig::start().await;
    let mut tickets = rig.tickets();
    let context_identifier = || "Cust12345".to_owned();

    let hostile = GetSystemTicketRequest { context_identifier: "Cust1/../x".to_owned(), min_validity: None };
    refused(tickets.get_system_ticket(hostile).await, "CONTEXT_IDENTIFIER_INVALID", "context_identifier");

    let min_validity = Some(prost_types::Duration { seconds: -1, nanos: 0 });
    let request = GetSystemTicketRequest { context_identifier: context_identifier(), min_validity };
    refused(tickets.get_system_ticket(request).await, "MIN_VALIDITY_INVALID", "min_validity");

    let fingerprint = "not a fingerprint".to_owned();
    let request =
        InvalidateSystemTicketRequest { context_identifier: context_identifier(), fingerprint, ..Default::default() };
    refused(tickets.invalidate_system_ticket(request).await, "FINGERPRINT_INVALID", "fingerprint");

    let refresh_token = String::new();
    let request = RefreshAccessTokenRequest {
        context_identifier: context_identifier(),
        refresh_token,
        ..RefreshAccessTokenRequest::default()
    };
    refused(tickets.refresh_access_token(request).await, "REFRESH_TOKEN_INVALID", "refresh_token");

    let mut tenants = rig.tenants();
    let system_user_token = "a.b".to_owned();
    let request =
        PutTenantRequest { context_identifier: context_identifier(), system_user_token, accept_serial: false };
    refused(tenants.put_tenant(request).await, "SYSTEM_USER_TOKEN_INVALID", "system_user_token");

    let request = ListTenantsRequest { page_size: -1, page_token: String::new() };
    refused(tenants.list_tenants(request).await, "PAGE_SIZE_INVALID", "page_size");
    let request = ListTenantsRequest { page_size: 0, page_token: "Cust1".to_owned() };
    refused(tenants.list_tenants(request).await, "PAGE_TOKEN_INVALID", "page_token");
}

#[tokio::test]
async fn a_tenant_that_is_not_registered_is_not_found() {
    let rig = Rig::start().await;
    let context_identifier = || "Cust404".to_owned();
    let request = GetSystemTicketRequest { context_identifier: context_identifier(), min_validity: None };
    not_registered(rig.tickets().get_system_ticket(request).await);
    not_registered(rig.tenants().get_tenant(GetTenantRequest { context_identifier: context_identifier() }).await);
    not_registered(rig.tenants().delete_tenant(DeleteTenantRequest { context_identifier: context_identifier() }).await);
}

#[tokio::test]
async fn tenants_are_put_got_listed_by_pages_and_deleted() {
    let rig = Rig::start().await;
    let mut tenants = rig.tenants();
    for number in 1..=5 {
        let put = put(&mut tenants, &format!("Cust{number}")).await;
        assert_eq!(put.context_identifier, format!("Cust{number}"));
        assert_eq!(put.source(), tenant::Source::Database);
        assert!(put.create_time.is_some() && put.update_time.is_some());
    }
    let got = tenants.get_tenant(GetTenantRequest { context_identifier: "CUST3".to_owned() }).await.unwrap();
    assert_eq!(got.into_inner().tenant.unwrap().context_identifier, "Cust3");

    let mut names = Vec::new();
    let mut page_token = String::new();
    loop {
        let page = tenants.list_tenants(ListTenantsRequest { page_size: 2, page_token }).await.unwrap().into_inner();
        assert!(page.tenants.len() <= 2);
        names.extend(page.tenants.into_iter().map(|tenant| tenant.context_identifier));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(names, ["Cust1", "Cust2", "Cust3", "Cust4", "Cust5"]);

    let delete = || DeleteTenantRequest { context_identifier: "Cust3".to_owned() };
    tenants.delete_tenant(delete()).await.unwrap();
    not_registered(tenants.delete_tenant(delete()).await);
}

#[tokio::test]
async fn messages_over_64_kib_and_compressed_ones_are_refused() {
    let rig = Rig::start().await;
    let request = |length| GetSystemTicketRequest { context_identifier: "C".repeat(length), min_validity: None };
    let status = rig.tickets().get_system_ticket(request(65 * 1024)).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status}");
    assert_eq!(status.get_details_error_info().unwrap().reason, "REQUEST_TOO_LARGE");
    // Under the limit it is read, and found wrong for what it says.
    let status = rig.tickets().get_system_ticket(request(60 * 1024)).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");

    let mut compressed = tonic::Request::new(request(5));
    compressed.metadata_mut().insert("grpc-encoding", "canary".parse().unwrap());
    let status = rig.tickets().get_system_ticket(compressed).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented, "{status}");
    assert_eq!(status.get_details_error_info().unwrap().reason, "NOT_SUPPORTED");
    assert_eq!(status.metadata().get("grpc-accept-encoding").unwrap(), "identity");
    assert!(!format!("{status:?}").contains("canary"), "{status:?}");
}

#[tokio::test]
async fn what_is_no_message_is_the_callers_fault_and_says_so() {
    let rig = Rig::start().await;
    let socket = TcpStream::connect(grpc(&rig)).await.unwrap();
    let (mut client, connection) = h2::client::handshake(socket).await.unwrap();
    tokio::spawn(connection);
    for message in [&b""[..], b"\0\0\0\0\x02\xff\xff", b"\x05\0\0\0\0", b"\0\0\0\0\x05a"] {
        let request = http::Request::post("http://ticketd/superoffice.ticket.v1.TicketService/GetSystemTicket")
            .header("content-type", "application/grpc");
        let (answer, mut body) = client.send_request(request.body(()).unwrap(), false).unwrap();
        body.send_data(message.into(), true).unwrap();
        let status = Status::from_header_map(within(answer).await.unwrap().headers()).unwrap();
        assert_eq!(status.code(), Code::InvalidArgument, "{message:?}: {status}");
        assert_eq!(status.get_details_error_info().unwrap().reason, "REQUEST_MALFORMED");
    }
}

#[tokio::test]
async fn a_drain_says_so_first_and_ends_streams_that_watch_health() {
    let rig = Rig::start().await;
    let addresses = rig.server.addresses();
    let grpc_address = grpc(&rig);
    let mut watching = HealthClient::new(channel(grpc(&rig)));
    let watch = watching.watch(HealthCheckRequest { service: "readiness".to_owned() }).await.unwrap();
    let mut watch = watch.into_inner();
    assert_eq!(watch.next().await.unwrap().unwrap().status(), ServingStatus::Serving);
    let clock = rig.clock.clone();

    rig.server.stop().request();
    assert_eq!(within(watch.next()).await.unwrap().unwrap().status(), ServingStatus::NotServing);
    for address in [grpc(&rig), addresses.health] {
        for name in ["", "readiness", "superoffice.ticket.v1.TicketService"] {
            assert_eq!(health(address, name).await.unwrap(), ServingStatus::NotServing, "{name}");
        }
        assert_eq!(health(address, "liveness").await.unwrap(), ServingStatus::Serving);
    }

    let request = HealthCheckRequest { service: "liveness".to_owned() };
    let mut alive = HealthClient::new(channel(grpc(&rig))).watch(request).await.unwrap().into_inner();
    assert_eq!(alive.next().await.unwrap().unwrap().status(), ServingStatus::Serving);
    let mut holds_up = TcpStream::connect(grpc_address).await.unwrap();
    holds_up.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    holds_up.read_exact(&mut [0; 9]).await.unwrap();

    clock.advance(Duration::from_secs(5));
    assert!(within(watch.next()).await.is_none_or(|last| last.is_err()));
    assert!(within(alive.next()).await.is_none_or(|last| last.is_err()));
    assert_eq!(health(addresses.health, "readiness").await.unwrap(), ServingStatus::NotServing, "while it waits");
    drop((watching, holds_up));
    within(rig.server.join()).await.unwrap();
    assert!(TcpStream::connect(grpc_address).await.is_err());
    assert!(TcpStream::connect(addresses.health).await.is_err());
}

#[tokio::test]
async fn idle_connections_to_the_health_address_make_room_within_seconds() {
    let rig = Rig::start_with(|settings| settings.max_connections = 2).await;
    let address = rig.server.addresses().health;
    let mut idle = Vec::new();
    for _ in 0..2 {
        let channel = channel(address);
        let request = HealthCheckRequest { service: "liveness".to_owned() };
        HealthClient::new(channel.clone()).check(request).await.unwrap();
        idle.push(channel);
    }
    let probe = tokio::spawn(health(address, "liveness"));
    rig.clock.advance(Duration::from_secs(17));
    assert_eq!(within(probe).await.unwrap().unwrap(), ServingStatus::Serving);
}

#[tokio::test]
async fn a_second_request_to_stop_aborts() {
    let rig = Rig::start().await;
    let address = grpc(&rig);
    let stop = rig.server.stop();
    let mut open = TcpStream::connect(address).await.unwrap();
    stop.request();
    let joined = tokio::spawn(rig.server.join());
    while health(address, "readiness").await.unwrap() != ServingStatus::NotServing {}
    assert!(!joined.is_finished());
    stop.request();
    assert_eq!(within(joined).await.unwrap(), Err(ServeError::Aborted));
    assert!(matches!(within(open.read(&mut [0; 64])).await, Ok(0) | Err(_)));
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn the_first_signal_drains_and_the_second_aborts() {
    let rig = Rig::start().await;
    let address = grpc(&rig);
    rig.server.stop_on(Signals::install().unwrap());
    let signal = || rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM).unwrap();
    signal();
    while health(address, "readiness").await.unwrap() != ServingStatus::NotServing {}
    assert_eq!(health(address, "liveness").await.unwrap(), ServingStatus::Serving);
    signal();
    assert_eq!(within(rig.server.join()).await, Err(ServeError::Aborted));
}

/// The machine's clock, at which nobody can wait as long as the store's watch does between two looks.
#[derive(Debug)]
struct NoHalfSeconds;

impl Clock for NoHalfSeconds {
    fn elapsed(&self) -> Duration {
        SystemClock.elapsed()
    }

    fn now(&self) -> Timestamp {
        SystemClock.now()
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        assert_ne!(duration, Duration::from_millis(500), "no wait of half a second");
        SystemClock.sleep(duration)
    }
}

#[tokio::test]
async fn a_server_whose_store_is_no_longer_watched_drains_and_fails() {
    let (mut config, _directory) = config();
    config.server.drain_delay = Duration::ZERO;
    let process = Process { clock: Arc::new(NoHalfSeconds), random: Arc::new(SeededRandom::new(7)) };
    let server = Server::bind_with(config, process).await.unwrap();
    assert_eq!(within(server.join()).await, Err(ServeError::TaskEnded("watch over the store")));
}

#[tokio::test]
async fn a_dropped_server_leaves_nothing_behind() {
    let rig = Rig::start().await;
    let address = grpc(&rig);
    let mut open = TcpStream::connect(address).await.unwrap();
    drop(rig);
    assert!(matches!(within(open.read(&mut [0; 64])).await, Ok(0) | Err(_)));
    within(async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

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
