//! Callers with tokens of Kubernetes service accounts: a real server over TLS, and an API server that behaves or not.

mod keys;
mod reviews;

use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tempfile::TempDir;
use ticketd::authorization::Policy;
use ticketd::clock::Clock;
use ticketd::grpc::proto::tenant_service_client::TenantServiceClient;
use ticketd::grpc::proto::ticket_service_client::TicketServiceClient;
use ticketd::grpc::proto::{GetSystemTicketRequest, PutTenantRequest, SystemTicket};
use ticketd::random::SeededRandom;
use ticketd::server::{ClientCertificate, Process, Server, TlsSettings};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tower::service_fn;

use crate::api_server::{ApiServer, Mood};
use crate::issuer::{self, Key};
use crate::world::{TENANT, World, eventually, reason, within};

const ACCOUNT: &str = "crm/sync";

const POLICY: &str = r#"
apiVersion: policy/v1
callers:
  - {serviceAccount: ops/admin, rpcs: [PutTenant], tenants: ["*"]}
  - {serviceAccount: crm/sync, rpcs: [GetSystemTicket], tenants: ["*"]}
  - {serviceAccount: crm/late, rpcs: [GetSystemTicket], tenants: ["*"]}
"#;

/// A server that lets nobody in unidentified, beside a world's.
struct Guarded {
    world: World,
    api: ApiServer,
    channel: Channel,
    _server: Server,
    _directory: TempDir,
}

impl Guarded {
    /// With tenants, and the cluster's keys read.
    async fn start(token_review: bool) -> Self {
        let guarded = Self::bare(token_review, Mood::Well).await;
        eventually("the cluster's keys are read", || guarded.api.key_requests() == 1).await;
        let system_user_token = guarded.world.sandbox.add_tenant(TENANT).system_user_token;
        let request =
            PutTenantRequest { context_identifier: TENANT.to_owned(), system_user_token, accept_serial: false };
        let token = guarded.token("ops/admin");
        let mut tenants = TenantServiceClient::new(guarded.channel.clone());
        within(tenants.put_tenant(with_bearer(request, &token))).await.unwrap();
        guarded
    }

    async fn bare(token_review: bool, mood: Mood) -> Self {
        let (world, api) = (World::start().await, ApiServer::start().await);
        api.set_mood(mood);
        let directory = tempfile::tempdir().unwrap();
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let file = |name: &str, content: String| {
            let path = directory.path().join(name);
            std::fs::write(&path, content).unwrap();
            path
        };
        let mut config = world.config();
        config.store.url = format!("sqlite://{}", directory.path().join("ticketd.db").display());
        config.server.allow_unidentified_callers = false;
        config.server.tls = Some(TlsSettings {
            certificate_file: file("tls.crt", cert.pem()),
            key_file: file("tls.key", signing_key.serialize_pem()),
            client_certificate: ClientCertificate::Optional,
            trust_bundles: [].into(),
            dns_ca_file: None,
            crl_files: Vec::new(),
        });
        config.identity = Some(api.settings(token_review));
        config.authorization.policy = Policy::parse(POLICY).unwrap();
        let process = Process { clock: Arc::new(world.clock.clone()), random: Arc::new(SeededRandom::new(7)) };
        let server = Server::bind_with(config, process).await.unwrap();
        let channel = channel(&server, cert.der());
        Self { world, api, channel, _server: server, _directory: directory }
    }

    fn now(&self) -> i64 {
        self.world.clock.now().as_second()
    }

    fn token(&self, account: &str) -> String {
        self.api.token(account, self.now())
    }

    async fn ticket(&self, token: &str) -> Result<SystemTicket, Status> {
        let request = GetSystemTicketRequest { context_identifier: TENANT.to_owned(), min_validity: None };
        let mut tickets = TicketServiceClient::new(self.channel.clone());
        let answer = within(tickets.get_system_ticket(with_bearer(request, token))).await?;
        Ok(answer.into_inner().system_ticket.unwrap())
    }

    /// A claim set with something else in it, signed by the cluster.
    fn changed(&self, change: impl FnOnce(&mut Value)) -> String {
        let mut claims = issuer::claims(ACCOUNT, self.now());
        change(&mut claims);
        self.api.sign(&claims)
    }
}

fn channel(server: &Server, root: &CertificateDer<'static>) -> Channel {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let (tls, address) = (TlsConnector::from(Arc::new(config)), server.addresses().grpc.unwrap());
    Endpoint::from_static("http://localhost").connect_with_connector_lazy(service_fn(move |_| {
        let tls = tls.clone();
        async move {
            let socket = TcpStream::connect(address).await?;
            let stream = tls.connect(ServerName::try_from("localhost").unwrap(), socket).await?;
            Ok::<_, std::io::Error>(hyper_util::rt::TokioIo::new(stream))
        }
    }))
}

fn with_bearer<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    if !token.is_empty() {
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    request
}

fn unknown() -> (Code, String) {
    (Code::Unauthenticated, "CALLER_UNKNOWN".to_owned())
}

fn unavailable() -> (Code, String) {
    (Code::Unavailable, "IDENTITY_UNAVAILABLE".to_owned())
}

#[tokio::test]
async fn a_pod_gets_tickets_by_its_token_and_nobody_without() {
    let guarded = Guarded::start(false).await;
    guarded.ticket(&guarded.token(ACCOUNT)).await.unwrap();
    // The cluster's other key is of another kind.
    let by_rsa = Key::rsa("second").sign(&issuer::claims(ACCOUNT, guarded.now()));
    guarded.ticket(&by_rsa).await.unwrap();

    let refused = guarded.ticket("").await.unwrap_err();
    assert_eq!(reason(&refused), unknown());
    let check = HealthCheckRequest { service: String::new() };
    within(HealthClient::new(guarded.channel.clone()).check(check)).await.expect("health needs no caller");
    assert_eq!(guarded.api.reviews(), 0);
}

#[tokio::test]
async fn stolen_and_forged_tokens_are_worth_nothing() {
    let guarded = Guarded::start(false).await;
    let now = guarded.now();
    let stranger = Key::p256("first");
    for (what, token) in [
        ("made for another service", guarded.changed(|claims| claims["aud"] = json!(["vault"]))),
        ("made for the API server", guarded.changed(|claims| claims["aud"] = json!([issuer::ISSUER]))),
        ("expired", guarded.api.token(ACCOUNT, now - 631)),
        ("of another cluster", guarded.changed(|claims| claims["iss"] = json!("https://other.example"))),
        ("of two namespaces", guarded.changed(|claims| claims["sub"] = json!("system:serviceaccount:ops:sync"))),
        ("without an end", guarded.changed(|claims| drop(claims.as_object_mut().unwrap().remove("exp")))),
        ("signed by a stranger", stranger.sign(&issuer::claims(ACCOUNT, now))),
        ("no token", "7T:AAAAAAAAAAAAAAAA".to_owned()),
        ("of 12 KiB", "A".repeat(12 * 1024)),
    ] {
        let refused = guarded.ticket(&token).await.unwrap_err();
        assert_eq!(reason(&refused), unknown(), "{what}: {}", refused.message());
    }
    // hyper refuses headers of that size before anybody looks at them.
    guarded.ticket(&"A".repeat(1 << 20)).await.unwrap_err();
    guarded.ticket(&guarded.token(ACCOUNT)).await.expect("the others change nothing for the good one");
    assert_eq!(guarded.api.key_requests(), 1);
}
