//! A sandbox and the real server, configured as an operator does it, with a clock in the test's hand.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread::JoinHandle;
use std::time::Duration;

use superoffice_sandbox::Sandbox;
use tempfile::TempDir;
use ticketd::clock::{Clock, ManualClock, SystemClock};
use ticketd::config::Config;
use ticketd::grpc::proto::tenant_service_client::TenantServiceClient;
use ticketd::grpc::proto::ticket_service_client::TicketServiceClient;
use ticketd::grpc::proto::{GetSystemTicketRequest, PutTenantRequest, SystemTicket};
use ticketd::random::SeededRandom;
use ticketd::server::{self, ClientCertificate, Process, Server, TlsSettings};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

pub(crate) const TENANT: &str = "Cust12345";
/// No test waits longer than this for anything.
const PATIENCE: Duration = Duration::from_secs(20);

/// One test at a time: they measure what a process needs and how long others wait.
static TURN: LazyLock<Arc<Mutex<()>>> = LazyLock::new(Arc::default);

pub(crate) struct Rig {
    pub(crate) clock: ManualClock,
    server: Server,
    sandbox: Sandbox,
    _directory: TempDir,
    _turn: OwnedMutexGuard<()>,
}

impl Rig {
    /// With [`TENANT`], whose ticket is cached.
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut server::Settings)) -> Self {
        Self::configured(|config, _| change(&mut config.server)).await
    }

    /// With anything of the configuration changed.
    pub(crate) async fn configured(change: impl FnOnce(&mut Config, &Path)) -> Self {
        let rig = Self::without_tenant(change).await;
        let system_user_token = rig.sandbox.add_tenant(TENANT).system_user_token;
        let request =
            PutTenantRequest { context_identifier: TENANT.to_owned(), system_user_token, accept_serial: false };
        TenantServiceClient::new(rig.channel()).put_tenant(request).await.unwrap();
        ticket(&mut rig.tickets()).await.unwrap();
        rig
    }

    /// Over TLS. Nobody is asked for a certificate.
    pub(crate) async fn with_tls() -> Self {
        Self::without_tenant(|config, directory| {
            let rcgen::CertifiedKey { cert, signing_key } =
                rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
            let (certificate_file, key_file) = (directory.join("tls.crt"), directory.join("tls.key"));
            std::fs::write(&certificate_file, cert.pem()).unwrap();
            std::fs::write(&key_file, signing_key.serialize_pem()).unwrap();
            config.server.tls = Some(TlsSettings {
                certificate_file,
                key_file,
                client_certificate: ClientCertificate::Optional,
                trust_bundles: BTreeMap::new(),
                dns_ca_file: None,
                crl_files: Vec::new(),
            });
        })
        .await
    }

    async fn without_tenant(change: impl FnOnce(&mut Config, &Path)) -> Self {
        let turn = Arc::clone(&TURN).lock_owned().await;
        let sandbox = Sandbox::builder().start().await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let mut config = config(&sandbox, &directory);
        change(&mut config, directory.path());
        let clock = ManualClock::new(SystemClock.now());
        let process = Process { clock: Arc::new(clock.clone()), random: Arc::new(SeededRandom::new(7)) };
        let server = Server::bind_with(config, process).await.unwrap();
        Self { clock, server, sandbox, _directory: directory, _turn: turn }
    }

    /// How many waits are open, once nothing goes on any more.
    pub(crate) async fn sleepers_at_rest(&self) -> usize {
        let mut sleepers = self.clock.sleepers();
        loop {
            pass(Duration::from_millis(100)).await;
            if sleepers == self.clock.sleepers() {
                return sleepers;
            }
            sleepers = self.clock.sleepers();
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.addresses().grpc.unwrap()
    }

    pub(crate) fn health_address(&self) -> SocketAddr {
        self.server.addresses().health
    }

    /// A connection of its own.
    pub(crate) fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.address())).unwrap().connect_lazy()
    }

    pub(crate) fn tickets(&self) -> TicketServiceClient<Channel> {
        TicketServiceClient::new(self.channel())
    }
}

/// [`TENANT`]'s ticket.
pub(crate) async fn ticket(tickets: &mut TicketServiceClient<Channel>) -> Result<SystemTicket, Status> {
    let request = GetSystemTicketRequest { context_identifier: TENANT.to_owned(), min_validity: None };
    Ok(within(tickets.get_system_ticket(request)).await?.into_inner().system_ticket.unwrap())
}

/// Runs what blocks, in a thread of its own.
pub(crate) async fn blocking<T: Send + 'static>(attack: impl FnOnce() -> T + Send + 'static) -> T {
    within(tokio::task::spawn_blocking(attack)).await.unwrap()
}

/// Fails the test rather than hang.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("this takes too long")
}

/// Waits until it holds, while sockets have their turn.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let asking = async {
        while !holds() {
            pass(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// Lets real time pass.
pub(crate) async fn pass(duration: Duration) {
    #[expect(clippy::disallowed_methods, reason = "sockets and the kernel go by the machine's clock")]
    tokio::time::sleep(duration).await;
}

/// How much memory this process has, in KiB: server, sandbox, attackers and all.
pub(crate) fn memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// The most memory that the process has had while it was watched.
pub(crate) struct Peak {
    over: Arc<AtomicBool>,
    watching: JoinHandle<usize>,
}

impl Peak {
    pub(crate) fn watch() -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let watching = std::thread::spawn({
            let over = Arc::clone(&over);
            move || {
                let mut peak = memory();
                while !over.load(Ordering::SeqCst) {
                    std::thread::park_timeout(Duration::from_millis(1));
                    peak = peak.max(memory());
                }
                peak
            }
        });
        Self { over, watching }
    }

    pub(crate) fn end(self) -> usize {
        self.over.store(true, Ordering::SeqCst);
        self.watching.join().unwrap()
    }
}

/// The example configuration, with files of its own and the sandbox in SuperOffice's place.
fn config(sandbox: &Sandbox, directory: &TempDir) -> Config {
    let file = |name: &str, content: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path.into_os_string()
    };
    let database = format!("sqlite://{}", directory.path().join("ticketd.db").display());
    let environment = [
        ("TICKETD_SUPEROFFICE_CLIENT_ID", sandbox.client_id().into()),
        ("TICKETD_SUPEROFFICE_CLIENT_SECRET_FILE", file("client-secret", sandbox.client_secret())),
        ("TICKETD_SUPEROFFICE_SIGNING_KEY_FILES", file("key.pem", sandbox.partner_private_key_pem().unwrap())),
        ("TICKETD_SUPEROFFICE_ALLOW_CUSTOM_BASE_URL", "true".into()),
        ("TICKETD_SUPEROFFICE_BASE_URL", sandbox.base_url().into()),
        ("TICKETD_STORE_URL", database.into()),
        ("TICKETD_STORE_SEALING_KEY_FILES", file("sealing.key", include_str!("../fixtures/keys/sealing.key"))),
        ("TICKETD_SERVER_ALLOW_UNIDENTIFIED_CALLERS", "true".into()),
        ("TICKETD_SERVER_ADDRESS", "127.0.0.1:0".into()),
        ("TICKETD_SERVER_HEALTH_ADDRESS", "127.0.0.1:0".into()),
    ];
    let environment = environment.map(|(name, value)| (name.into(), value));
    Config::parse(include_str!("../../ticketd.example.toml"), environment).unwrap().config
}
