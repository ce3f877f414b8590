//! Prints what the audit costs of a cached call, in processor time of the server's threads.
//!
//! `cargo bench --bench audit`. Servers without audit, with one into a pipe and with one into a file take turns, many
//! short rounds, and medians are printed, so that another load on the machine touches all alike. A ratio is that of one
//! round's neighbours.
#![expect(clippy::print_stdout, reason = "printing is what a bench is for")]
#![expect(clippy::unwrap_used, reason = "a bench stops where its surroundings are broken")]
#![expect(clippy::disallowed_methods, reason = "a bench measures real time")]

use std::fs::{self, File};
use std::io::Read;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use superoffice_sandbox::Sandbox;
use tempfile::TempDir;
use ticketd::config::Config;
use ticketd::crypto::SealingKey;
use ticketd::grpc::proto::tenant_service_client::TenantServiceClient;
use ticketd::grpc::proto::ticket_service_client::TicketServiceClient;
use ticketd::grpc::proto::{GetSystemTicketRequest, PutTenantRequest};
use ticketd::server::Server;
use tokio::runtime::{Builder, Runtime};
use tonic::transport::Channel;

const TENANT: &str = "Cust12345";
/// The name of every audit's thread. Only one is at work at a time.
const AUDIT_THREAD: &str = "audit";
const OUTPUTS: [&str; 3] = ["off", "pipe", "file"];
/// Calls at once, and the connections that they come over.
const LOADS: [(usize, usize); 4] = [(64, 1), (64, 8), (8, 1), (1, 1)];

/// A server whose threads have a name of their own.
struct Case {
    output: &'static str,
    _runtime: Runtime,
    _server: Server,
    _directory: TempDir,
    tickets: Vec<TicketServiceClient<Channel>>,
    /// Microseconds of processor time a call, one figure a round.
    costs: Vec<f64>,
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.iter().any(|argument| argument == "--list") {
        return;
    }
    // Without `--bench` a test runner asks whether this works at all.
    let measured = arguments.iter().any(|argument| argument == "--bench");
    let (rounds, round) = if measured { (41, Duration::from_millis(250)) } else { (1, Duration::ZERO) };

    let client = runtime("client");
    let sandbox = client.block_on(Sandbox::builder().start()).unwrap();
    let token = sandbox.add_tenant(TENANT).system_user_token;
    let mut cases: Vec<_> = OUTPUTS.iter().map(|output| Case::new(output, &sandbox, &token, &client)).collect();
    for (calls, connections) in LOADS {
        for _ in 0..rounds {
            for case in &mut cases {
                client.block_on(case.measure(calls, connections, round));
            }
        }
        println!("calls at once: {calls}, connections: {connections}");
        let without = cases[0].costs.clone();
        for case in &mut cases {
            let shares = case.costs.iter().zip(&without).map(|(cost, without)| (cost / without - 1.0) * 100.0);
            let (output, share) = (case.output, median(shares.collect()));
            println!(
                "  audit {output:5} {:7.2} us of processor time a call, {share:+6.2} %",
                median(case.costs.clone())
            );
            case.costs.clear();
        }
    }
}

impl Case {
    fn new(output: &'static str, sandbox: &Sandbox, token: &str, client: &Runtime) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let sink = directory.path().join("audit");
        if output == "pipe" {
            drain(&sink);
        }
        let runtime = runtime(output);
        let config = config(&directory, sandbox, output, &sink);
        let server = runtime.block_on(Server::bind(config)).unwrap();
        let tickets = client.block_on(connected(server.addresses().grpc.unwrap(), token));
        Self { output, _runtime: runtime, _server: server, _directory: directory, tickets, costs: Vec::new() }
    }

    async fn measure(&mut self, calls: usize, connections: usize, round: Duration) {
        let before = processor_time(self.output);
        let start = Instant::now();
        let connections = self.tickets.iter().take(connections).cycle().take(calls);
        let callers: Vec<_> = connections.map(|tickets| tokio::spawn(call(tickets.clone(), start, round))).collect();
        let mut calls = 0;
        for caller in callers {
            calls += caller.await.unwrap();
        }
        let spent = processor_time(self.output).saturating_sub(before);
        self.costs.push(spent.as_secs_f64() * 1e6 / f64::from(calls));
    }
}

async fn call(mut tickets: TicketServiceClient<Channel>, start: Instant, round: Duration) -> u32 {
    let mut calls = 0;
    loop {
        tickets.get_system_ticket(request()).await.unwrap();
        calls += 1;
        if start.elapsed() >= round {
            return calls;
        }
    }
}

fn request() -> GetSystemTicketRequest {
    GetSystemTicketRequest { context_identifier: TENANT.to_owned(), min_validity: None }
}

async fn connected(address: SocketAddr, token: &str) -> Vec<TicketServiceClient<Channel>> {
    let endpoint = Channel::from_shared(format!("http://{address}")).unwrap();
    let most = LOADS.iter().map(|(_, connections)| *connections).max().unwrap();
    let mut channels = Vec::new();
    for _ in 0..most {
        channels.push(endpoint.connect().await.unwrap());
    }
    let request = PutTenantRequest {
        context_identifier: TENANT.to_owned(),
        system_user_token: token.to_owned(),
        accept_serial: false,
    };
    TenantServiceClient::new(channels[0].clone()).put_tenant(request).await.unwrap();
    channels.into_iter().map(TicketServiceClient::new).collect()
}

fn runtime(name: &str) -> Runtime {
    Builder::new_multi_thread().worker_threads(2).thread_name(name).enable_all().build().unwrap()
}

/// A named pipe, and a thread that reads it as a container's runtime reads stdout.
fn drain(path: &Path) {
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let path = path.to_owned();
    let opened = std::thread::spawn(move || {
        // To write as well: then it neither waits for a writer nor ends with one.
        let mut pipe = File::options().read(true).write(true).open(path).unwrap();
        std::thread::spawn(move || {
            let mut buffer = vec![0; 64 * 1024];
            while pipe.read(&mut buffer).is_ok() {}
        });
    });
    opened.join().unwrap();
}

fn config(directory: &TempDir, sandbox: &Sandbox, output: &str, sink: &Path) -> Config {
    let write = |name: &str, content: &str| {
        let path = directory.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path.display().to_string()
    };
    let audit = if output == "off" {
        "output = \"off\"".to_owned()
    } else {
        format!("output = \"file\"\npath = \"{}\"", sink.display())
    };
    let text = format!(
        r#"[superoffice]
environment = "sod"
client_id = "{client_id}"
client_secret_file = "{client_secret}"
signing_key_files = ["{private_key}"]
allow_custom_base_url = true
base_url = "{base_url}"

[store]
url = "sqlite://{database}"
sealing_key_files = ["{sealing_key}"]

[server]
address = "127.0.0.1:0"
health_address = "127.0.0.1:0"
allow_unidentified_callers = true

[audit]
{audit}
"#,
        client_id = sandbox.client_id(),
        client_secret = write("client-secret", sandbox.client_secret()),
        private_key = write("private-key.pem", sandbox.partner_private_key_pem().unwrap()),
        base_url = sandbox.base_url(),
        database = directory.path().join("ticketd.db").display(),
        sealing_key = write("sealing-key", &SealingKey::random().unwrap().to_text()),
    );
    Config::parse(&text, []).unwrap().config
}

/// Of the threads of this process that have this name, and of the audits'.
fn processor_time(name: &str) -> Duration {
    let tasks = fs::read_dir("/proc/self/task").unwrap().filter_map(Result::ok).map(|task| task.path());
    let ours = tasks.filter(|task| {
        let comm = fs::read_to_string(task.join("comm")).unwrap_or_default();
        comm.trim_end() == name || comm.trim_end() == AUDIT_THREAD
    });
    let nanoseconds = ours.filter_map(|task| {
        let statistics = fs::read_to_string(task.join("schedstat")).ok()?;
        statistics.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanoseconds.sum())
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
