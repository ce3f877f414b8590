//! Where a server listens, and who gets in.

use std::net::SocketAddr;
use std::time::Duration;

use ticketd::config::Config;
use ticketd::grpc::proto::GetSystemTicketRequest;
use ticketd::grpc::proto::ticket_service_client::TicketServiceClient;
use ticketd::server::{self, BindError, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::{NAMES, Rig, channel, config, get, grpc, health, with_admin_port, within};

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
