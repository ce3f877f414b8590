//! Certificates, keys, authorities, the policy and what the application proves itself with change under a running server.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tempfile::TempDir;
use ticketd::clock::{Clock, ManualClock};
use ticketd::config::Config;
use ticketd::crypto::PrivateKey;
use ticketd::grpc::proto::GetSystemTicketRequest;
use ticketd::grpc::proto::ticket_service_client::TicketServiceClient;
use ticketd::random::SeededRandom;
use ticketd::server::{Process, Server};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::Channel;

use crate::mesh::{channel, connector};
use crate::pki::{self, Authority, Identity};
use crate::world::{TENANT, World, within};

/// Many times what a reload waits for other files to settle, and far less than the half minute after which files are
/// looked at unasked.
const NOTICED_WITHIN: Duration = Duration::from_secs(10);
const POLICY: &str = "apiVersion: policy/v1\ncallers:\n\
    - {id: spiffe://corp/sync, rpcs: [GetSystemTicket], tenants: [\"*\"], limits: {rps: 10000, burst: 10000}}\n";

/// A directory as the kubelet mounts a Secret: it is swapped as a whole.
struct Mount {
    root: PathBuf,
    version: usize,
}

impl Mount {
    fn new(root: PathBuf, files: &[(&str, &str)]) -> Self {
        fs::create_dir(&root).unwrap();
        let mut mount = Self { root, version: 0 };
        mount.swap(files);
        for (name, _) in files {
            symlink(Path::new("..data").join(name), mount.root.join(name)).unwrap();
        }
        mount
    }

    fn swap(&mut self, files: &[(&str, &str)]) {
        self.version += 1;
        let version = format!("..version_{}", self.version);
        fs::create_dir(self.root.join(&version)).unwrap();
        for (name, content) in files {
            let path = self.root.join(&version).join(name);
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        }
        symlink(&version, self.root.join("..data_tmp")).unwrap();
        fs::rename(self.root.join("..data_tmp"), self.root.join("..data")).unwrap();
        let before = self.root.join(format!("..version_{}", self.version - 1));
        if before.exists() {
            fs::remove_dir_all(before).unwrap();
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }
}

struct Rig {
    world: World,
    clock: ManualClock,
    server: Server,
    mount: Mount,
    corp: Authority,
    caller: Identity,
    _directory: TempDir,
}

impl Rig {
    /// A server whose every file is in one mount, and its tenant.
    async fn start() -> Self {
        let world = World::start().await;
        world.ticket(TENANT).await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let corp = Authority::root("corp");
        let own = corp.issue(&pki::server(&["localhost"]));
        let signing_key = world.config().signing_keys[0].to_pkcs8_pem().unwrap();
        let mount = Mount::new(
            directory.path().join("secrets"),
            &[
                ("tls.crt", &own.chain),
                ("tls.key", &own.key),
                ("corp.pem", &corp.pem()),
                ("policy.yaml", POLICY),
                ("client-secret", world.sandbox.client_secret()),
                ("key.pem", &signing_key),
                ("sealing.key", include_str!("../fixtures/keys/sealing.key")),
            ],
        );
        let mut config = configuration(&world, &mount);
        config.store = world.config().store;
        let clock = world.clock.clone();
        let process = Process { clock: Arc::new(clock.clone()), random: Arc::new(SeededRandom::new(7)) };
        let server = Server::bind_with(config, process).await.unwrap();
        let caller = corp.issue(&pki::client([pki::uri("spiffe://corp/sync")]));
        Self { world, clock, server, mount, corp, caller, _directory: directory }
    }

    /// The mount's files with these in their place; one without content is not there.
    fn swap(&mut self, others: &[(&str, Option<&str>)]) {
        let names = ["tls.crt", "tls.key", "corp.pem", "policy.yaml", "client-secret", "key.pem", "sealing.key"];
        let mut files: Vec<(&str, String)> = Vec::new();
        for name in names {
            match others.iter().find(|(other, _)| *other == name) {
                Some((_, Some(content))) => files.push((name, (*content).to_owned())),
                Some((_, None)) => {}
                None => files.push((name, fs::read_to_string(self.mount.file(name)).unwrap())),
            }
        }
        let files: Vec<(&str, &str)> = files.iter().map(|(name, content)| (*name, content.as_str())).collect();
        self.mount.swap(&files);
    }

    fn caller(&self) -> Caller {
        Caller { tls: connector(&self.corp, &self.caller), address: self.server.addresses().grpc.unwrap() }
    }

    /// Moves time until `is_so`, which it has to be long before files are looked at unasked. Answers how long it took.
    async fn until(&self, is_so: impl AsyncFn() -> bool) -> Duration {
        let begun = self.clock.elapsed();
        loop {
            if is_so().await {
                return self.clock.elapsed().saturating_sub(begun);
            }
            assert!(self.clock.elapsed().saturating_sub(begun) < NOTICED_WITHIN, "it is noticed in time");
            self.clock.advance(Duration::from_millis(100));
        }
    }
}

/// A configuration that names the mount's files.
fn configuration(world: &World, mount: &Mount) -> Config {
    let path = |name: &str| mount.file(name).display().to_string();
    let sandbox = &world.sandbox;
    let text = format!(
        "[superoffice]\nenvironment = \"sod\"\nclient_id = {:?}\nclient_secret_file = {:?}\nsigning_key_files = [{:?}]\n\
         allow_custom_base_url = true\nbase_url = {:?}\n\
         [store]\nurl = \"sqlite://unused.db\"\nsealing_key_files = [{:?}]\n\
         [tls]\ncertificate_file = {:?}\nkey_file = {:?}\ntrust_bundles = [\"corp={}\"]\n\
         [server]\naddress = \"127.0.0.1:0\"\nhealth_address = \"127.0.0.1:0\"\n\
         [authorization]\npolicy_file = {:?}\n[audit]\noutput = \"off\"\n",
        sandbox.client_id(),
        path("client-secret"),
        path("key.pem"),
        sandbox.base_url(),
        path("sealing.key"),
        path("tls.crt"),
        path("tls.key"),
        path("corp.pem"),
        path("policy.yaml"),
    );
    Config::parse(&text, []).unwrap_or_else(|error| panic!("{error}")).config
}

#[derive(Clone)]
struct Caller {
    tls: TlsConnector,
    address: std::net::SocketAddr,
}

impl Caller {
    /// The certificate that a new connection is shown.
    async fn shown(&self) -> CertificateDer<'static> {
        let socket = TcpStream::connect(self.address).await.unwrap();
        let stream = self.tls.connect(ServerName::try_from("localhost").unwrap(), socket).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
    }

    fn channel(&self) -> Channel {
        channel(self.tls.clone(), self.address)
    }
}

async fn ticket(channel: Channel) -> Result<(), tonic::Status> {
    ticket_of(TENANT, channel).await
}

async fn ticket_of(tenant: &str, channel: Channel) -> Result<(), tonic::Status> {
    let request = GetSystemTicketRequest { context_identifier: tenant.to_owned(), min_validity: None };
    within(TicketServiceClient::new(channel).get_system_ticket(request)).await.map(drop)
}

/// Calls without a pause, by a connection that stays and by new ones, until told to stop. Answers how many it made, and
/// how those ended that failed.
async fn load(caller: Caller, over: Arc<AtomicBool>) -> (u64, Vec<tonic::Status>) {
    let (steady, mut calls, mut failed) = (caller.channel(), 0, Vec::new());
    while !over.load(Ordering::Relaxed) {
        for channel in [steady.clone(), steady.clone(), caller.channel()] {
            failed.extend(ticket(channel).await.err());
            calls += 1;
        }
    }
    (calls, failed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_swaps_under_load_fail_no_call_and_show_no_wrong_pair() {
    let mut rig = Rig::start().await;
    let caller = rig.caller();
    ticket(caller.channel()).await.unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let loads: Vec<_> = (0..8).map(|_| tokio::spawn(load(caller.clone(), Arc::clone(&over)))).collect();
    let (mut slowest, mut bad) = (Duration::ZERO, 0);
    for swap in 0..100 {
        let new = rig.corp.issue(&pki::server(&["localhost"]));
        let other = rig.corp.issue(&pki::server(&["localhost"]));
        let before = caller.shown().await;
        // Each good pair comes after one that cannot be used, which must not be shown for a moment.
        let unusable: &[(&str, Option<&str>)] = match swap % 5 {
            0 => &[("tls.crt", Some(&new.chain)), ("tls.key", Some(&other.key))],
            1 => &[("tls.crt", Some("")), ("tls.key", Some(""))],
            2 => &[("tls.key", None)],
            3 => &[("corp.pem", Some("no authority"))],
            _ => &[("policy.yaml", Some("callers: nobody")), ("client-secret", None), ("key.pem", Some(""))],
        };
        if swap % 2 == 0 {
            let whole: Vec<_> =
                ["tls.crt", "tls.key", "corp.pem", "policy.yaml", "client-secret", "key.pem", "sealing.key"]
                    .map(|name| (name, fs::read_to_string(rig.mount.file(name)).unwrap()))
                    .to_vec();
            rig.swap(unusable);
            bad += 1;
            let begun = rig.clock.elapsed();
            while rig.clock.elapsed().saturating_sub(begun) < Duration::from_secs(1) {
                rig.clock.advance(Duration::from_millis(100));
                assert_eq!(caller.shown().await, before, "{unusable:?}");
            }
            let whole: Vec<_> = whole.iter().map(|(name, content)| (*name, Some(content.as_str()))).collect();
            rig.swap(&whole);
        }
        rig.swap(&[("tls.crt", Some(&new.chain)), ("tls.key", Some(&new.key))]);
        let certificate = CertificateDer::from_pem_slice(new.chain.as_bytes()).unwrap();
        let noticed = rig.until(async || caller.shown().await == certificate).await;
        slowest = slowest.max(noticed);
    }
    over.store(true, Ordering::Relaxed);
    let (mut calls, mut failed) = (0, Vec::new());
    for load in loads {
        let (made, ended) = within(load).await.unwrap();
        calls += made;
        failed.extend(ended);
    }
    let failures = failed.len();
    println!(
        "100 swaps and {bad} that could not be used: {failures} of {calls} calls failed; shown within {slowest:?}"
    );
    assert!(failed.is_empty(), "{:?}", failed.first());
    assert!(slowest <= Duration::from_secs(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_that_changes_counts_for_the_next_call() {
    let mut rig = Rig::start().await;
    let channel = rig.caller().channel();
    ticket(channel.clone()).await.unwrap();
    rig.swap(&[("policy.yaml", Some("apiVersion: policy/v1\ncallers: []\n"))]);
    rig.until(async || ticket(channel.clone()).await.is_err()).await;
    rig.swap(&[("policy.yaml", Some(POLICY))]);
    rig.until(async || ticket(channel.clone()).await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_that_is_withdrawn_lets_nobody_in_any_more() {
    let mut rig = Rig::start().await;
    let caller = rig.caller();
    ticket(caller.channel()).await.unwrap();
    rig.swap(&[("corp.pem", Some(&Authority::root("other").pem()))]);
    rig.until(async || ticket(caller.channel()).await.is_err()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_client_secret_and_signing_key_are_used_for_the_next_exchange() {
    let mut rig = Rig::start().await;
    let channel = rig.caller().channel();
    // Refusals are remembered: each exchange is for a tenant of its own.
    let tenants = AtomicU64::new(0);
    let exchanged = async |rig: &Rig| {
        let tenant = format!("Cust{}", tenants.fetch_add(1, Ordering::Relaxed));
        rig.world.add_tenant(&tenant).await;
        ticket_of(&tenant, channel.clone()).await.is_ok()
    };
    assert!(exchanged(&rig).await);
    let secret = rig.world.sandbox.client_secret().to_owned();
    rig.swap(&[("client-secret", Some("ffffffffffffffffffffffffffffffff"))]);
    rig.until(async || !exchanged(&rig).await).await;
    rig.swap(&[("client-secret", Some(&secret))]);
    rig.until(async || exchanged(&rig).await).await;

    let other = include_str!("../fixtures/keys/other2048.pkcs8.pem");
    let public_key = PrivateKey::read(other.as_bytes(), None).unwrap().public_pem();
    rig.world.sandbox.replace_partner_public_key(&public_key).unwrap();
    assert!(!exchanged(&rig).await);
    rig.swap(&[("key.pem", Some(other))]);
    rig.until(async || exchanged(&rig).await).await;
}
