//! What the contenders need: SuperOffice's side, a collector of telemetry, tenants, certificates and configurations.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use superoffice_sandbox::{Sandbox, ThrowawayPartnerKey};
use tempfile::TempDir;
use ticketd::crypto::SealingKey;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, async_trait};

use crate::pki::{self, Authority};

pub(crate) struct Setup {
    pub(crate) directory: TempDir,
    pub(crate) tenants: Vec<Arc<str>>,
    pub(crate) sandbox: Sandbox,
    collector: String,
}

impl Setup {
    pub(crate) async fn new(tenants: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let sandbox = Sandbox::builder().throwaway_partner_key(ThrowawayPartnerKey::Bits2048).start().await.unwrap();
        let tokens = directory.path().join("tenants");
        fs::create_dir(&tokens).unwrap();
        let tenants: Vec<Arc<str>> = (1..=tenants).map(|number| format!("Cust{number}").into()).collect();
        for tenant in &tenants {
            write(&tokens, tenant, &sandbox.add_tenant(tenant).system_user_token);
        }
        let here = directory.path();
        let authority = Authority::root("bench");
        write(here, "authority.pem", authority.pem());
        authority.issue(&pki::server(&["localhost"])).write(here, "server");
        authority.issue(&pki::client([pki::uri("spiffe://bench/caller")])).write(here, "client");
        Self { directory, tenants, sandbox, collector: collector().await }
    }

    /// ticketd with everything on: its callers' identity, a policy, the audit in a file, and telemetry.
    pub(crate) fn ticketd_toml(&self, name: &str, address: SocketAddr, is_over_tls: bool) -> String {
        let here = self.directory.path().join(name);
        // The directory of what is followed changes with nothing else.
        fs::create_dir_all(here.join("audit")).unwrap();
        fs::create_dir_all(here.join("data")).unwrap();
        let (allowed, caller, tls) = if is_over_tls {
            let file = |name| self.directory.path().join(name).display().to_string();
            let bundle = file("authority.pem");
            let (certificate, key) = (file("server.crt"), file("server.key"));
            let tls = format!(
                "[tls]\ncertificate_file = {certificate:?}\nkey_file = {key:?}\ntrust_bundles = [\"bench={bundle}\"]\n"
            );
            (false, "id: spiffe://bench/caller", tls)
        } else {
            (true, "unidentified: true", String::new())
        };
        let policy = format!(
            "apiVersion: policy/v1\nlimits: {{rps: 1000000, burst: 1000000}}\ncallers:\n  - {caller}\n    \
             rpcs: [GetSystemTicket]\n    tenants: [\"*\"]\n"
        );
        let text = format!(
            r#"[superoffice]
environment = "sod"
client_id = {client_id:?}
client_secret_file = {client_secret:?}
signing_key_files = [{private_key:?}]
allow_custom_base_url = true
base_url = {base_url:?}

[store]
url = "sqlite://{database}"
sealing_key_files = [{sealing_key:?}]
tenants_directory = {tenants:?}

[server]
address = "{address}"
health_address = "127.0.0.1:0"
allow_unidentified_callers = {allowed}
max_connection_age = "1h"
{tls}
[authorization]
policy_file = {policy:?}

[audit]
output = "file"
path = {audit:?}

[telemetry]
log_filter = "warn"
otlp_endpoint = {collector:?}
"#,
            client_id = self.sandbox.client_id(),
            client_secret = write(&here, "client-secret", self.sandbox.client_secret()),
            private_key = write(&here, "private-key.pem", self.sandbox.partner_private_key_pem().unwrap()),
            base_url = self.sandbox.base_url(),
            database = here.join("data").join("ticketd.db").display(),
            sealing_key = write(&here, "sealing-key", SealingKey::random().unwrap().to_text()),
            tenants = self.directory.path().join("tenants").display().to_string(),
            policy = write(&here, "policy.yaml", &policy),
            audit = here.join("audit").join("audit.jsonl").display().to_string(),
            collector = self.collector,
        );
        write(&here, "ticketd.toml", &text)
    }
}

/// Writes a file that nobody else can read, and answers its path.
pub(crate) fn write(directory: &Path, name: &str, content: impl AsRef<[u8]>) -> String {
    let path = directory.join(name);
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path.display().to_string()
}

/// Takes what it is sent and forgets it.
struct Collector;

#[async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        _request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        _request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

async fn collector() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let server = tonic::transport::Server::builder()
        .add_service(TraceServiceServer::new(Collector))
        .add_service(MetricsServiceServer::new(Collector));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    endpoint
}
