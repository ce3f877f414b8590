//! A server that knows its callers by their certificates, and callers with one each.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use ticketd::admin;
use ticketd::authorization::{Method, Policy};
use ticketd::clock::ManualClock;
use ticketd::grpc::proto::authorization_service_client::AuthorizationServiceClient;
use ticketd::grpc::proto::tenant_service_client::TenantServiceClient;
use ticketd::grpc::proto::ticket_service_client::TicketServiceClient;
use ticketd::grpc::proto::{
    CreateAuthorizationUrlRequest, DeleteTenantRequest, ExchangeAuthorizationCodeRequest, GetSystemTicketRequest,
    GetTenantRequest, InvalidateSystemTicketRequest, ListGrantsRequest, ListTenantsRequest, PutTenantRequest,
    RefreshAccessTokenRequest, RevokeGrantRequest, SystemTicket,
};
use ticketd::random::SeededRandom;
use ticketd::server::{ClientCertificate, Process, Server, TlsSettings};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use crate::pki::{self, Authority, Identity};
use crate::several::{Watch, batch};
use crate::world::{CALLBACK, World, within};

/// The trust domain of all callers.
const DOMAIN: &str = "corp";

pub(crate) struct Mesh {
    pub(crate) world: World,
    pub(crate) clock: ManualClock,
    server: Server,
    corp: Authority,
    _directory: TempDir,
}

/// A caller with its connection. Clones share it.
#[derive(Clone)]
pub(crate) struct Member(Channel);

impl Mesh {
    /// A server under this policy, with a database of its own beside a world's sandbox.
    pub(crate) async fn under(policy: &str) -> Self {
        let world = World::start().await;
        let directory = tempfile::tempdir().unwrap();
        let corp = Authority::root(DOMAIN);
        let (certificate_file, key_file) = corp.issue(&pki::server(&["localhost"])).write(directory.path(), "tls");
        let bundle = directory.path().join("bundle.pem");
        std::fs::write(&bundle, corp.pem()).unwrap();
        let mut config = world.config();
        config.store.url = format!("sqlite://{}", directory.path().join("ticketd.db").display());
        config.server.allow_unidentified_callers = false;
        config.server.tls = Some(TlsSettings {
            certificate_file,
            key_file,
            client_certificate: ClientCertificate::Required,
            trust_bundles: [(DOMAIN.to_owned(), bundle)].into(),
            dns_ca_file: None,
            crl_files: Vec::new(),
        });
        config.authorization.policy = Policy::parse(policy).unwrap();
        config.admin = Some(admin::Settings { address: "127.0.0.1:0".parse().unwrap() });
        let clock = world.clock.clone();
        let process = Process { clock: Arc::new(clock.clone()), random: Arc::new(SeededRandom::new(7)) };
        let server = Server::bind_with(config, process).await.unwrap();
        Self { world, clock, server, corp, _directory: directory }
    }

    /// Where the admin port is.
    pub(crate) fn admin(&self) -> SocketAddr {
        self.server.addresses().admin.unwrap()
    }

    /// The caller `spiffe://corp/<name>`.
    pub(crate) fn member(&self, name: &str) -> Member {
        let identity = self.corp.issue(&pki::client([pki::uri(&format!("spiffe://{DOMAIN}/{name}"))]));
        Member(channel(connector(&self.corp, &identity), self.server.addresses().grpc.unwrap()))
    }

    /// Makes the tenant known to the sandbox, and has `admin` register it.
    pub(crate) async fn register(&self, admin: &Member, tenant: &str) {
        let system_user_token = self.world.sandbox.add_tenant(tenant).system_user_token;
        let request =
            PutTenantRequest { context_identifier: tenant.to_owned(), system_user_token, accept_serial: false };
        within(admin.tenants().put_tenant(request)).await.unwrap();
    }
}

/// Shakes hands as `identity`, with servers that `authority` vouches for.
pub(crate) fn connector(authority: &Authority, identity: &Identity) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
    let chain = CertificateDer::pem_slice_iter(identity.chain.as_bytes()).collect::<Result<_, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_root_certificates(roots).with_client_auth_cert(chain, key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    TlsConnector::from(Arc::new(config))
}

/// A connection over TLS, made when it is needed and again when it is lost.
pub(crate) fn channel(tls: TlsConnector, address: SocketAddr) -> Channel {
    Endpoint::from_static("http://localhost").connect_with_connector_lazy(service_fn(move |_| {
        let tls = tls.clone();
        async move {
            let socket = TcpStream::connect(address).await?;
            socket.set_nodelay(true)?;
            let stream = tls.connect(ServerName::try_from("localhost").unwrap(), socket).await?;
            Ok::<_, std::io::Error>(hyper_util::rt::TokioIo::new(stream))
        }
    }))
}

impl Member {
    pub(crate) fn tickets(&self) -> TicketServiceClient<Channel> {
        TicketServiceClient::new(self.0.clone())
    }

    pub(crate) fn authorization(&self) -> AuthorizationServiceClient<Channel> {
        AuthorizationServiceClient::new(self.0.clone())
    }

    pub(crate) fn tenants(&self) -> TenantServiceClient<Channel> {
        TenantServiceClient::new(self.0.clone())
    }

    pub(crate) async fn ticket(&self, tenant: &str) -> Result<SystemTicket, Status> {
        let request = GetSystemTicketRequest { context_identifier: tenant.to_owned(), min_validity: None };
        Ok(within(self.tickets().get_system_ticket(request)).await?.into_inner().system_ticket.unwrap())
    }

    /// A call of the method, for the tenant if it takes one, that is otherwise as it should be.
    pub(crate) async fn call(&self, method: Method, tenant: &str) -> Result<(), Status> {
        let context_identifier = tenant.to_owned();
        let (mut tickets, mut authorization, mut tenants) = (self.tickets(), self.authorization(), self.tenants());
        let (user, text) = ("user@example.com".to_owned(), "some-text".to_owned());
        let call = async {
            match method {
                Method::GetSystemTicket => {
                    let request = GetSystemTicketRequest { context_identifier, min_validity: None };
                    tickets.get_system_ticket(request).await.map(drop)
                }
                Method::BatchGetSystemTickets => {
                    batch(tickets, &[tenant], None).await.and_then(|mut outcomes| outcomes.remove(0).1.map(drop))
                }
                Method::WatchSystemTickets => match Watch::begin(tickets, &[tenant]).await {
                    Ok(mut watch) => watch.next().await.and_then(|(_, outcome)| outcome.map(drop)),
                    Err(refused) => Err(refused),
                },
                Method::InvalidateSystemTicket => {
                    let fingerprint = "0".repeat(32);
                    let request =
                        InvalidateSystemTicketRequest { context_identifier, fingerprint, ..Default::default() };
                    tickets.invalidate_system_ticket(request).await.map(drop)
                }
                Method::RefreshAccessToken => {
                    let request = RefreshAccessTokenRequest { context_identifier, user, ..Default::default() };
                    tickets.refresh_access_token(request).await.map(drop)
                }
                Method::CreateAuthorizationUrl => {
                    let redirect_uri = CALLBACK.to_owned();
                    let request =
                        CreateAuthorizationUrlRequest { context_identifier, redirect_uri, ..Default::default() };
                    authorization.create_authorization_url(request).await.map(drop)
                }
                Method::ExchangeAuthorizationCode => {
                    let request = ExchangeAuthorizationCodeRequest { state: text.clone(), code: text };
                    authorization.exchange_authorization_code(request).await.map(drop)
                }
                Method::PutTenant => {
                    let system_user_token = text;
                    let request = PutTenantRequest { context_identifier, system_user_token, accept_serial: false };
                    tenants.put_tenant(request).await.map(drop)
                }
                Method::GetTenant => tenants.get_tenant(GetTenantRequest { context_identifier }).await.map(drop),
                Method::ListTenants => tenants.list_tenants(ListTenantsRequest::default()).await.map(drop),
                Method::DeleteTenant => {
                    tenants.delete_tenant(DeleteTenantRequest { context_identifier }).await.map(drop)
                }
                Method::ListGrants => {
                    let request = ListGrantsRequest { context_identifier, ..Default::default() };
                    tenants.list_grants(request).await.map(drop)
                }
                Method::RevokeGrant => {
                    tenants.revoke_grant(RevokeGrantRequest { context_identifier, user }).await.map(drop)
                }
            }
        };
        within(call).await
    }
}
