//! Callers of three kinds side by side, set up as docs/clients.md tells: grpc-core, grpc-js and tonic.

pub(crate) mod retries;

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Deserialize;
use ticketd::grpc::proto::GetSystemTicketRequest;
use ticketd::grpc::proto::ticket_service_client::TicketServiceClient;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::task::{JoinHandle, JoinSet};
use tonic::transport::Channel;
use tonic::{Request, Status};

use crate::cluster::missing;
use crate::place::{channel, pass, within};

/// Whom they ask for tickets, in turns.
pub(crate) fn tenants() -> Vec<String> {
    (0..10).map(|number| format!("Tenant{number}")).collect()
}

const DEADLINE: Duration = Duration::from_secs(10);
/// From one call of a worker to its next.
const PAUSE: Duration = Duration::from_millis(20);
/// Each kind has workers that keep their connection, and one that opens another after so many calls.
const KEEPING: usize = 2;
const CALLS_PER_CHANNEL: usize = 2;

const CLIENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fleet/clients");

/// Callers that call until they are stopped.
pub(crate) struct Callers {
    programs: Vec<Program>,
    tonic: Tonic,
}

/// How the calls of one kind went.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Outcome {
    #[serde(skip)]
    pub(crate) client: &'static str,
    pub(crate) calls: u64,
    pub(crate) failures: Vec<String>,
    #[serde(skip)]
    pub(crate) retries: u64,
}

/// A client that is a program of its own.
struct Program {
    client: &'static str,
    process: Child,
    retries: JoinHandle<u64>,
}

struct Tonic {
    workers: JoinSet<Outcome>,
    is_over: Arc<AtomicBool>,
}

impl Callers {
    /// Has them call at an address. Those that are not installed are left out, and it says so.
    pub(crate) fn at(address: SocketAddr) -> Self {
        let core = python().map(|python| {
            let mut command = Command::new(python);
            command.arg(format!("{CLIENTS}/grpc_core.py")).env("GRPC_TRACE", "retry");
            Program::start("grpc-core", command, address, "retrying failed call")
        });
        let js = node().map(|modules| {
            let mut command = Command::new("node");
            command.arg(format!("{CLIENTS}/grpc_js.cjs")).env("NODE_PATH", modules).env("GRPC_TRACE", "retrying_call");
            Program::start("grpc-js", command, address, "state=RETRY")
        });
        Self { programs: [core, js].into_iter().flatten().collect(), tonic: Tonic::start(address) }
    }

    /// Has them finish, and tells how it went.
    pub(crate) async fn stop(self) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for program in self.programs {
            outcomes.push(program.stop().await);
        }
        outcomes.push(self.tonic.stop().await);
        outcomes
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client, calls, failures, retries } = self;
        write!(formatter, "{client}: {} of {calls} calls failed, {retries} retries", failures.len())
    }
}

impl Program {
    /// Its retries are the lines of its trace that say so.
    fn start(client: &'static str, mut command: Command, address: SocketAddr, retry: &'static str) -> Self {
        let mut process = command
            .args([&address.to_string(), &format!("{CLIENTS}/service_config.json")])
            .env("GRPC_VERBOSITY", "debug")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut trace = BufReader::new(process.stderr.take().unwrap()).split(b'\n');
        let retries = tokio::spawn(async move {
            let mut retries = 0;
            while let Ok(Some(line)) = trace.next_segment().await {
                retries += u64::from(String::from_utf8_lossy(&line).contains(retry));
            }
            retries
        });
        Self { client, process, retries }
    }

    async fn stop(mut self) -> Outcome {
        drop(self.process.stdin.take());
        let mut said = String::new();
        within(self.process.stdout.take().unwrap().read_to_string(&mut said)).await.unwrap();
        let outcome: Outcome = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{}: {error}", self.client));
        Outcome { client: self.client, retries: within(self.retries).await.unwrap(), ..outcome }
    }
}

impl Tonic {
    fn start(address: SocketAddr) -> Self {
        let is_over = Arc::<AtomicBool>::default();
        let mut workers = JoinSet::new();
        for worker in 0..=KEEPING {
            let calls_per_channel = if worker < KEEPING { usize::MAX } else { CALLS_PER_CHANNEL };
            workers.spawn(work(address, calls_per_channel, Arc::clone(&is_over)));
        }
        Self { workers, is_over }
    }

    async fn stop(self) -> Outcome {
        self.is_over.store(true, Ordering::Relaxed);
        let outcomes = within(self.workers.join_all()).await;
        let mut sum = Outcome { client: "tonic", ..Outcome::default() };
        for outcome in outcomes {
            sum.calls += outcome.calls;
            sum.retries += outcome.retries;
            sum.failures.extend(outcome.failures);
        }
        sum
    }
}

/// Calls one tenant after the other, over one channel or over a new one every few calls.
async fn work(address: SocketAddr, calls_per_channel: usize, is_over: Arc<AtomicBool>) -> Outcome {
    let mut outcome = Outcome::default();
    let tenants = tenants();
    let mut next = tenants.iter().cycle();
    while !is_over.load(Ordering::Relaxed) {
        let client = TicketServiceClient::new(channel(address));
        for _ in 0..calls_per_channel {
            let tenant = next.next().expect("a cycle");
            outcome.calls += 1;
            let answer = retries::with_retries(|| {
                outcome.retries += 1;
                get_system_ticket(client.clone(), tenant.clone())
            });
            if let Err(status) = answer.await {
                outcome.failures.push(format!("{status:?}"));
            }
            pass(PAUSE).await;
            if is_over.load(Ordering::Relaxed) {
                break;
            }
        }
    }
    outcome.retries -= outcome.calls;
    outcome
}

async fn get_system_ticket(mut client: TicketServiceClient<Channel>, tenant: String) -> Result<(), Status> {
    let message = GetSystemTicketRequest { context_identifier: tenant, min_validity: None };
    let mut request = Request::new(message);
    request.set_timeout(DEADLINE);
    client.get_system_ticket(request).await.map(drop)
}

/// A Python that has grpcio.
fn python() -> Option<PathBuf> {
    let has_grpc = |python: &PathBuf| succeeds(std::process::Command::new(python).args(["-c", "import grpc"]));
    let candidates = std::iter::once(PathBuf::from("python3")).chain(cached("python-", "bin/python"));
    candidates.into_iter().find(has_grpc).or_else(|| missing("grpcio, for python3 or by .ci/tools.sh,"))
}

/// Where Node.js finds grpc-js.
fn node() -> Option<OsString> {
    let has_grpc = |modules: &OsString| {
        let mut node = std::process::Command::new("node");
        succeeds(node.args(["-e", "require('@grpc/grpc-js')"]).env("NODE_PATH", modules))
    };
    let own = std::env::var_os("NODE_PATH").unwrap_or_default();
    let candidates = std::iter::once(own).chain(cached("grpc-js-", "node_modules").map(PathBuf::into_os_string));
    candidates.into_iter().find(has_grpc).or_else(|| missing("grpc-js, in NODE_PATH or by .ci/tools.sh,"))
}

fn succeeds(command: &mut std::process::Command) -> bool {
    let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// What .ci/tools.sh has installed.
fn cached(beginning: &'static str, path: &'static str) -> impl Iterator<Item = PathBuf> {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home).unwrap_or_default();
    let entries = fs::read_dir(cache.join("ticketd-ci")).into_iter().flatten().flatten();
    let named = entries.filter(move |entry| entry.file_name().to_string_lossy().starts_with(beginning));
    named.map(move |entry| entry.path().join(path))
}

#[test]
fn the_documented_clients_are_those_that_call() {
    let documented = include_str!("../../docs/clients.md");
    assert!(documented.contains(include_str!("clients/service_config.json")));
    let retries = include_str!("callers/retries.rs").replace("pub(crate) ", "");
    let is_shown = |line: &&str| !line.starts_with("//!") && !line.contains("#[expect(");
    let retries: Vec<_> = retries.lines().filter(is_shown).collect();
    assert!(documented.contains(retries.join("\n").trim()));
    for (program, channel) in [
        (include_str!("clients/grpc_core.py"), r#"("grpc.service_config", SERVICE_CONFIG)"#),
        (include_str!("clients/grpc_js.cjs"), r#""grpc.service_config": serviceConfig,"#),
    ] {
        assert!(program.contains(channel) && documented.contains(channel), "{channel}");
    }
}
