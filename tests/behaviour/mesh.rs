//! A server that knows its callers by their certificates, and callers with one each.

use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
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

use crate::world::{CALLBACK, World, within};

/// The trust domain of all callers.
const DOMAIN: &str = "corp";

pub(crate) struct Mesh {
    pub(crate) world: World,
    pub(crate) clock: ManualClock,
    server: Server,
    authority: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
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
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = authority.self_signed(&key).unwrap();
        let authority = Issuer::new(authority, key);
        let own = KeyPair::generate().unwrap();
        let name = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let file = |name: &str, content: String| -> PathBuf {
            let path = directory.path().join(name);
            std::fs::write(&path, content).unwrap();
            path
        };
        let mut config = world.config();
        config.store.url = format!("sqlite://{}", directory.path().join("ticketd.db").display());
        config.server.allow_unidentified_callers = false;
        config.server.tls = Some(TlsSettings {
            certificate_file: file("tls.crt", name.signed_by(&own, &authority).unwrap().pem()),
            key_file: file("tls.key", own.serialize_pem()),
            client_certificate: ClientCertificate::Required,
            trust_bundles: [(DOMAIN.to_owned(), file("bundle.pem", certificate.pem()))].into(),
            dns_ca_file: None,
            crl_files: Vec::new(),
        });
        config.authorization.policy = Policy::parse(policy).unwrap();
        let clock = world.clock.clone();
        let process = Process { clock: Arc::new(clock.clone()), random: Arc::new(SeededRandom::new(7)) };
        let server = Server::bind_with(config, process).await.unwrap();
        Self { world, clock, server, authority, root: certificate.der().clone(), _directory: directory }
    }

    /// The caller `spiffe://corp/<name>`.
    pub(crate) fn member(&self, name: &str) -> Member {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.subject_alt_names = vec![SanType::URI(format!("spiffe://{DOMAIN}/{name}").try_into().unwrap())];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.authority).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = config.with_root_certificates(roots);
        let mut config = config.with_client_auth_cert(vec![certificate.der().clone()], key).unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let (tls, address) = (TlsConnector::from(Arc::new(config)), self.server.addresses().grpc.unwrap());
        Member(Endpoint::from_static("http://localhost").connect_with_connector_lazy(service_fn(move |_| {
            let tls = tls.clone();
            async move {
                let socket = TcpStream::connect(address).await?;
                socket.set_nodelay(true)?;
                let stream = tls.connect(ServerName::try_from("localhost").unwrap(), socket).await?;
                Ok::<_, std::io::Error>(hyper_util::rt::TokioIo::new(stream))
            }
        })))
    }

    /// Makes the tenant known to the sandbox, and has `admin` register it.
    pub(crate) async fn register(&self, admin: &Member, tenant: &str) {
        let system_user_token = self.world.sandbox.add_tenant(tenant).system_user_token;
        let request =
            PutTenantRequest { context_identifier: tenant.to_owned(), system_user_token, accept_serial: false };
        within(admin.tenants().put_tenant(request)).await.unwrap();
    }
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
