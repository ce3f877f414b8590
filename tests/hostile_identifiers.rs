//! Hostile tenant names by the hundred thousand against the real program: its memory does not grow, SuperOffice is
//! not asked once, and the callers of registered tenants notice nothing.
//!
//! `PROOFS=full` sends a million.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{BufRead, BufReader};
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use superoffice_sandbox::{Behaviour, Endpoint, Refusal, Sandbox};
use tempfile::TempDir;
use ticketd::grpc::proto::tenant_service_client::TenantServiceClient;
use ticketd::grpc::proto::ticket_service_client::TicketServiceClient;
use ticketd::grpc::proto::{GetSystemTicketRequest, InvalidateSystemTicketRequest, PutTenantRequest};
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint as Peer};
use tonic::{Code, Status};

/// How many identifiers are sent, the first of them before the memory is first measured: the allocator has what it needs
/// then, and in the full length every bounded memory is full.
const SHORT: (usize, usize) = (24_000, 10_000);
const FULL: (usize, usize) = (1_000_000, 20_000);
const MAX_GROWTH_KIB: i64 = 20 * 1024;

/// The hostile callers' connections, and the calls under way on each.
const CONNECTIONS: usize = 8;
const CALLS: usize = 32;
/// Asked for all the time.
const WARM_TENANT: &str = "Cust12345";
/// Registered and refused by SuperOffice; asked for before the flood and after it.
const REVOKED_TENANT: &str = "Cust54321";
/// Asked for the first time in the middle of it.
const COLD_TENANTS: usize = 40;
/// A registered tenant's caller gives up after this, whatever the server would say later.
const PATIENCE: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_identifiers_cost_neither_memory_nor_upstream_calls_nor_other_callers() {
    let full = std::env::var("PROOFS").is_ok_and(|value| value == "full");
    let (hostile, warm_up) = if full { FULL } else { SHORT };
    let sandbox = Sandbox::builder().start().await.unwrap();
    let program = Program::start(&sandbox);
    let cold: Vec<_> = (0..COLD_TENANTS).map(|number| format!("Cold{number}")).collect();
    for tenant in cold.iter().map(String::as_str).chain([WARM_TENANT, REVOKED_TENANT]) {
        program.register(&sandbox, tenant).await;
    }
    let revoked = Behaviour::Refused(Refusal::Code(1)).at(Endpoint::Exchange).for_tenant(REVOKED_TENANT);
    sandbox.set_behaviour(revoked);
    ticket(&mut program.tickets(), WARM_TENANT).await.unwrap();

    let refused_first = Instant::now();
    program.refused(REVOKED_TENANT).await;

    let flood = Flood::default();
    flood.run(&program, 0..warm_up).await;
    let before = program.resident_kib();

    let over = AtomicBool::new(false);
    let registered =
        async { tokio::join!(keep_asking(&program, &over), ask_along(&program, &flood, &cold, warm_up..hostile)) };
    let started = Instant::now();
    let flooding = async {
        flood.run(&program, warm_up..hostile).await;
        over.store(true, Ordering::Relaxed);
        started.elapsed()
    };
    let (took, (warm, cold_calls)) = tokio::join!(flooding, registered);
    let growth = program.resident_kib() - before;
    program.refused(REVOKED_TENANT).await;
    let minutes = refused_first.elapsed().as_secs() / 60;

    let answers = flood.answers();
    println!("{hostile} hostile ContextIdentifiers, {took:.1?} after the warm-up: {answers:?}");
    println!("resident: {} MiB after the warm-up, grown by {growth} KiB since", before / 1024);
    println!("calls for a registered tenant meanwhile: {warm}");
    println!("first calls for registered tenants meanwhile: {cold_calls}");
    let asked = |endpoint| {
        let log = sandbox.request_log().into_iter().filter(move |request| request.endpoint == endpoint);
        log.filter_map(|request| request.context_identifier).fold(BTreeMap::new(), |mut asked, tenant| {
            *asked.entry(tenant).or_insert(0_u64) += 1;
            asked
        })
    };
    let (mut exchanges, states) = (asked(Endpoint::Exchange), asked(Endpoint::TenantState));
    let for_revoked = exchanges.remove(REVOKED_TENANT).unwrap_or_default();
    let registered: BTreeMap<_, _> =
        cold.iter().map(String::as_str).chain([WARM_TENANT]).map(|it| (it.to_owned(), 1)).collect();
    let upstream = sandbox.requests(Endpoint::Exchange) - for_revoked - registered.len() as u64;
    println!("exchanges for hostile ones: {upstream}; for a tenant that SuperOffice refuses: {for_revoked}");
    println!("lines logged: {}", program.lines.load(Ordering::Relaxed));

    assert_eq!(answers.keys().copied().collect::<Vec<_>>(), ["InvalidArgument", "NotFound", "Ok"], "{answers:?}");
    assert_eq!((warm.failed, cold_calls.failed), (Vec::new(), Vec::new()));
    assert_eq!((upstream, exchanges), (0, registered));
    assert_eq!(states.len(), COLD_TENANTS + 2, "{states:?}");
    assert!(for_revoked <= 1 + minutes, "the flood displaced the memory of the refusal: {for_revoked}");
    assert!(growth < MAX_GROWTH_KIB, "{growth} KiB");
    assert!(program.lines.load(Ordering::Relaxed) < 1_000, "the flood floods the log");
}

/// The `number`th hostile identifier: what a tenant could be called, and what none could.
fn identifier(number: usize) -> String {
    match number % 8 {
        0..4 => format!("Cust9{number}"),
        4 => format!("x{:023x}", number.wrapping_mul(0x9E37_79B9_7F4A_7C15)),
        5 => format!("../Cust{number}\r\n\0{{}}"),
        6 => format!("Cust1' OR {number}=1;--\u{202e}\u{1f512}"),
        _ => format!("{number}{}", "A".repeat(900)),
    }
}

/// Hostile callers, and what they were answered.
#[derive(Default)]
struct Flood {
    sent: AtomicUsize,
    answers: std::sync::Mutex<BTreeMap<&'static str, usize>>,
}

impl Flood {
    async fn run(&self, program: &Program, numbers: Range<usize>) {
        let next = AtomicUsize::new(numbers.start);
        let clients: Vec<_> = (0..CONNECTIONS).map(|_| program.tickets()).collect();
        let callers = clients.iter().flat_map(|client| std::iter::repeat_n(client, CALLS)).map(|client| {
            let (next, end) = (&next, numbers.end);
            async move {
                let mut client = client.clone();
                let mut answers = BTreeMap::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= end {
                        break answers;
                    }
                    *answers.entry(send(&mut client, number).await).or_insert(0) += 1;
                    self.sent.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        for answers in futures_util::future::join_all(callers).await {
            for (code, times) in answers {
                *self.answers.lock().unwrap().entry(code).or_insert(0) += times;
            }
        }
    }

    fn answers(&self) -> BTreeMap<&'static str, usize> {
        self.answers.lock().unwrap().clone()
    }
}

async fn send(client: &mut TicketServiceClient<Channel>, number: usize) -> &'static str {
    let context_identifier = identifier(number);
    let outcome = if number / 8 % 8 == 7 {
        let request = InvalidateSystemTicketRequest {
            context_identifier,
            fingerprint: format!("{number:032x}"),
            ..Default::default()
        };
        client.invalidate_system_ticket(request).await.map(drop)
    } else {
        client.get_system_ticket(GetSystemTicketRequest { context_identifier, min_validity: None }).await.map(drop)
    };
    match outcome.map_err(|status| status.code()) {
        Ok(()) => "Ok",
        Err(Code::InvalidArgument) => "InvalidArgument",
        Err(Code::NotFound) => "NotFound",
        Err(Code::Unavailable) => "Unavailable",
        Err(Code::ResourceExhausted) => "ResourceExhausted",
        Err(_) => "another error",
    }
}

/// Asks for the warm tenant's ticket, call after call, until it is over.
async fn keep_asking(program: &Program, over: &AtomicBool) -> Tally {
    let mut client = program.tickets();
    let mut tally = Tally::default();
    while !over.load(Ordering::Relaxed) {
        tally.time(ticket(&mut client, WARM_TENANT)).await;
    }
    tally
}

/// Asks for one cold tenant after another, evenly over the flood.
async fn ask_along(program: &Program, flood: &Flood, cold: &[String], numbers: Range<usize>) -> Tally {
    let mut client = program.tickets();
    let mut tally = Tally::default();
    for (number, tenant) in cold.iter().enumerate() {
        let due = numbers.start + numbers.len() * number / cold.len();
        while flood.sent.load(Ordering::Relaxed) < due {
            settle().await;
        }
        tally.time(ticket(&mut client, tenant)).await;
    }
    tally
}

async fn ticket(client: &mut TicketServiceClient<Channel>, tenant: &str) -> Result<(), Status> {
    let request = GetSystemTicketRequest { context_identifier: tenant.to_owned(), min_validity: None };
    let call = tokio::time::timeout(PATIENCE, client.get_system_ticket(request));
    call.await.unwrap_or_else(|_| Err(Status::deadline_exceeded("the caller gave up"))).map(drop)
}

/// How calls went.
#[derive(Debug, Default)]
struct Tally {
    took: Vec<Duration>,
    failed: Vec<String>,
}

impl Tally {
    async fn time(&mut self, call: impl Future<Output = Result<(), Status>>) {
        let started = Instant::now();
        let outcome = call.await;
        self.took.push(started.elapsed());
        if let Err(status) = outcome {
            self.failed.push(format!("{:?}: {}", status.code(), status.message()));
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut took = self.took.clone();
        took.sort_unstable();
        let at = |part: usize| took.get(took.len() * part / 100).copied().unwrap_or_default();
        let (median, slow, slowest) = (at(50), at(99), took.last().copied().unwrap_or_default());
        let failed = self.failed.len();
        write!(
            formatter,
            "{} calls, {failed} failed, p50 {median:.1?}, p99 {slow:.1?}, slowest {slowest:.1?}",
            took.len()
        )
    }
}

/// The real program, in a process of its own: what is measured is its memory alone.
struct Program {
    child: Child,
    address: String,
    lines: Arc<AtomicUsize>,
    _directory: TempDir,
}

impl Program {
    fn start(sandbox: &Sandbox) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let secret = |name: &str, content: &str| {
            fs::write(path(name), content).unwrap();
            fs::set_permissions(path(name), fs::Permissions::from_mode(0o600)).unwrap();
            path(name)
        };
        secret("client-secret", sandbox.client_secret());
        secret("private-key.pem", sandbox.partner_private_key_pem().unwrap());
        let superoffice = format!(
            "[superoffice]\nenvironment = \"sod\"\nclient_id = {:?}\nclient_secret_file = \"{}\"\n\
             signing_key_files = [\"{}\"]\nallow_custom_base_url = true\nbase_url = {:?}\n",
            sandbox.client_id(),
            path("client-secret").display(),
            path("private-key.pem").display(),
            sandbox.base_url(),
        );
        let sealing_key = secret("sealing.key", include_str!("fixtures/keys/sealing.key")).display().to_string();
        let database = path("ticketd.db");
        let store =
            format!("[store]\nurl = \"sqlite://{}\"\nsealing_key_files = [{sealing_key:?}]\n", database.display());
        let server = "[server]\naddress = \"127.0.0.1:0\"\nallow_unidentified_callers = true\nhealth_address = \"127.0.0.1:0\"\n";
        fs::write(path("ticketd.toml"), [&superoffice, &store, server].concat()).unwrap();

        let mut child = Command::new(env!("CARGO_BIN_EXE_ticketd"))
            .arg("serve")
            .arg("--config")
            .arg(path("ticketd.toml"))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let serving = log.find(|line| line.contains("\"serving\"")).expect("the program serves");
        let serving: serde_json::Value = serde_json::from_str(&serving).unwrap();
        let address = format!("http://{}", serving["address"].as_str().unwrap());
        let lines = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&lines);
        std::thread::spawn(move || log.for_each(|_| _ = counted.fetch_add(1, Ordering::Relaxed)));
        Self { child, address, lines, _directory: directory }
    }

    fn channel(&self) -> Channel {
        Peer::from_shared(self.address.clone()).unwrap().connect_lazy()
    }

    fn tickets(&self) -> TicketServiceClient<Channel> {
        TicketServiceClient::new(self.channel())
    }

    async fn register(&self, sandbox: &Sandbox, tenant: &str) {
        let request = PutTenantRequest {
            context_identifier: tenant.to_owned(),
            system_user_token: sandbox.add_tenant(tenant).system_user_token,
            accept_serial: false,
        };
        TenantServiceClient::new(self.channel()).put_tenant(request).await.unwrap();
    }

    /// Asks for a tenant that SuperOffice refuses.
    async fn refused(&self, tenant: &str) {
        let refused = ticket(&mut self.tickets(), tenant).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition, "{refused:?}");
    }

    /// What the process occupies of the machine's memory.
    fn resident_kib(&self) -> i64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Gives the sockets a turn.
async fn settle() {
    #[expect(clippy::disallowed_methods, reason = "a turn for the sockets, not a wait for time to pass")]
    tokio::time::sleep(Duration::from_millis(1)).await;
}
