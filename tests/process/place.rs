//! A fresh directory with a configuration, and ticketd run in it.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use superoffice_sandbox::Sandbox;
use tempfile::TempDir;
use ticketd::grpc::proto::tenant_service_client::TenantServiceClient;
use ticketd::grpc::proto::ticket_service_client::TicketServiceClient;
use ticketd::grpc::proto::{GetSystemTicketRequest, SystemTicket};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// The sandbox knows it; ticketd is told by the tests.
pub(crate) const TENANT: &str = "Cust12345";
/// No test waits longer than this for anything.
const PATIENCE: Duration = Duration::from_secs(30);

/// A sandbox, and a directory with what an operator writes before the first start.
pub(crate) struct Place {
    pub(crate) sandbox: Sandbox,
    directory: TempDir,
}

/// What came of a command.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) output: String,
    pub(crate) errors: String,
}

/// A server that has said where it serves. Dropped, it is killed.
pub(crate) struct Running {
    process: Child,
    log: Arc<Mutex<String>>,
    pub(crate) address: SocketAddr,
    pub(crate) health_address: SocketAddr,
}

impl Place {
    /// The example configuration, with the sandbox in SuperOffice's place and any free ports.
    pub(crate) async fn new() -> Self {
        let sandbox = Sandbox::builder().start().await.unwrap();
        let token = sandbox.add_tenant(TENANT).system_user_token;
        let place = Self { sandbox, directory: tempfile::tempdir().unwrap() };
        place.write("client-secret", place.sandbox.client_secret());
        place.write("private-key.pem", place.sandbox.partner_private_key_pem().unwrap());
        place.write("cust12345.token", &format!("{token}\n"));
        place.write("sealing.key", include_str!("../fixtures/keys/sealing.key"));
        place.write("ticketd.toml", include_str!("../../ticketd.example.toml"));
        let path = |name| format!("\"{}\"", place.path(name).display());
        let base_url = format!("{:?}", place.sandbox.base_url());
        for (key, value) in [
            ("client_secret_file", path("client-secret").as_str()),
            ("signing_key_files", &format!("[{}]", path("private-key.pem"))),
            ("allow_custom_base_url", "true"),
            ("base_url", &base_url),
            ("sealing_key_files", &format!("[{}]", path("sealing.key"))),
            ("url", &format!("\"sqlite://{}\"", place.path("ticketd.db").display())),
            ("server.address", "\"127.0.0.1:0\""),
            ("allow_unidentified_callers", "true"),
            ("health_address", "\"127.0.0.1:0\""),
            ("drain_delay", "\"0s\""),
        ] {
            place.configure(key, value);
        }
        place
    }

    /// How the store seals, for a test that opens it beside ticketd.
    pub(crate) fn sealing(&self) -> ticketd::store::Sealing {
        ticketd::store::Sealing {
            key_files: vec![self.path("sealing.key")],
            environment: ticketd::identifiers::Environment::Sod,
            application: ticketd::identifiers::ApplicationId::new("0123456789abcdef0123456789abcdef"),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file that only its owner can read.
    pub(crate) fn write(&self, name: &str, content: &str) {
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(self.path(name)).unwrap();
        file.write_all(content.as_bytes()).unwrap();
    }

    /// Gives a key of the example another value, in TOML. One that several sections have is named with its section.
    pub(crate) fn configure(&self, key: &str, value: &str) {
        let text = fs::read_to_string(self.path("ticketd.toml")).unwrap();
        let (section, key) = key.rsplit_once('.').map_or((None, key), |(section, key)| (Some(section), key));
        let (mut current, mut lines, mut found) = (None, Vec::new(), 0);
        for line in text.lines() {
            current = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')).or(current);
            let is_meant = line.trim_start_matches("# ").starts_with(&format!("{key} = "))
                && section.is_none_or(|section| current == Some(section));
            found += usize::from(is_meant);
            lines.push(if is_meant { format!("{key} = {value}") } else { line.to_owned() });
        }
        assert_eq!(found, 1, "{key} is once in ticketd.example.toml");
        self.write("ticketd.toml", &lines.join("\n"));
    }

    /// ticketd in this directory, with its configuration and no other environment.
    pub(crate) fn ticketd(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        self.ticketd_at(Path::new(env!("CARGO_BIN_EXE_ticketd")), arguments)
    }

    /// A copy of the program.
    pub(crate) fn ticketd_at(&self, program: &Path, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let mut command = self.command(program);
        command.args(arguments);
        command
    }

    /// A line for the shell, which finds ticketd.
    pub(crate) fn shell(&self, line: &str) -> Command {
        let ticketd = Path::new(env!("CARGO_BIN_EXE_ticketd")).parent().unwrap().to_owned();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(std::iter::once(ticketd).chain(std::env::split_paths(&path))).unwrap();
        let mut command = self.command("sh");
        command.args(["-c", line]).env("PATH", path);
        command
    }

    fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.directory.path())
            .env_clear()
            .env("TICKETD_CONFIG", self.path("ticketd.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Runs ticketd to its end.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Outcome {
        finish(self.ticketd(arguments)).await
    }

    /// Runs ticketd, which has to succeed, and answers what it prints.
    pub(crate) async fn output(&self, arguments: &[&str]) -> String {
        let outcome = self.run(arguments).await;
        assert_eq!(outcome.code, Some(0), "{arguments:?} {outcome:?}");
        outcome.output
    }

    /// Registers a tenant by the command line.
    pub(crate) async fn put_tenant(&self) {
        self.output(&["tenants", "put", TENANT, "--token-file", "cust12345.token"]).await;
    }

    /// Starts the server and waits until it serves.
    pub(crate) async fn serve(&self) -> Running {
        Running::start(self.ticketd(["serve"])).await
    }
}

impl Running {
    pub(crate) async fn start(mut command: Command) -> Self {
        let mut process = command.spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let serving = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                keep(&log, &line);
                let event: serde_json::Value = serde_json::from_str(&line).unwrap();
                if event["message"] == "serving" {
                    let address = |name: &str| event[name].as_str().unwrap().parse().unwrap();
                    return (address("address"), address("health_address"));
                }
            }
            panic!("the server did not start: {}", log.lock().unwrap());
        };
        let (address, health_address) = within(serving).await;
        tokio::spawn({
            let log = Arc::clone(&log);
            async move {
                while let Ok(Some(line)) = lines.next_line().await {
                    keep(&log, &line);
                }
            }
        });
        // Where nobody reads what it hands out nothing is handed out: a crowd of tasks must not hold this up.
        if let Some(audit) = process.stdout.take() {
            let mut audit = File::from(audit.into_owned_fd().unwrap());
            std::thread::spawn(move || io::copy(&mut audit, &mut io::sink()));
        }
        Self { process, log, address, health_address }
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it serves its pages.
    pub(crate) fn http_url(&self) -> String {
        let log = self.log();
        let address = log.split("\"http_address\":\"").nth(1).and_then(|rest| rest.split('"').next());
        format!("http://{}", address.expect("it serves pages"))
    }

    pub(crate) fn health_url(&self) -> String {
        format!("http://{}", self.health_address)
    }

    /// A connection of its own.
    pub(crate) fn tickets(&self) -> TicketServiceClient<Channel> {
        TicketServiceClient::new(channel(self.address))
    }

    pub(crate) fn tenants(&self) -> TenantServiceClient<Channel> {
        TenantServiceClient::new(channel(self.address))
    }

    pub(crate) fn process(&self) -> rustix::process::Pid {
        let id = self.process.id().expect("it runs").try_into().unwrap();
        rustix::process::Pid::from_raw(id).unwrap()
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(self.process(), signal).unwrap();
    }

    /// Lets it stop in order.
    pub(crate) async fn stop_well(mut self) {
        self.signal(rustix::process::Signal::TERM);
        assert!(self.exit().await.success(), "{}", self.log());
    }

    /// Waits for its end.
    pub(crate) async fn exit(&mut self) -> ExitStatus {
        within(self.process.wait()).await.unwrap()
    }

    /// Takes its life as the kernel does when memory is short.
    pub(crate) async fn kill(mut self) {
        self.process.kill().await.unwrap();
    }
}

/// Runs a command to its end.
pub(crate) async fn finish(mut command: Command) -> Outcome {
    let output = within(command.output()).await.unwrap();
    Outcome {
        code: output.status.code(),
        output: String::from_utf8(output.stdout).unwrap(),
        errors: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Runs a command to its end, with something on stdin.
pub(crate) async fn feed(mut command: Command, input: &[u8]) -> Outcome {
    let mut process = command.stdin(Stdio::piped()).spawn().unwrap();
    // A command that fails early does not read.
    drop(process.stdin.take().unwrap().write_all(input).await);
    let (output, errors) = (process.stdout.take().unwrap(), process.stderr.take().unwrap());
    let (output, errors, status) = within(async { tokio::join!(all(output), all(errors), process.wait()) }).await;
    Outcome { code: status.unwrap().code(), output, errors }
}

/// The tenant's ticket, or why there is none.
pub(crate) async fn ticket(tickets: &mut TicketServiceClient<Channel>) -> Result<SystemTicket, Status> {
    let mut request =
        Request::new(GetSystemTicketRequest { context_identifier: TENANT.to_owned(), min_validity: None });
    request.set_timeout(PATIENCE);
    Ok(tickets.get_system_ticket(request).await?.into_inner().system_ticket.unwrap())
}

pub(crate) async fn health(address: SocketAddr, service: &str) -> Result<ServingStatus, Status> {
    let request = HealthCheckRequest { service: service.to_owned() };
    Ok(within(HealthClient::new(channel(address)).check(request)).await?.into_inner().status())
}

pub(crate) fn channel(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy()
}

/// Fails the test rather than hang.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("this takes too long")
}

/// Asks again and again until it holds.
pub(crate) async fn until(mut holds: impl AsyncFnMut() -> bool) {
    let asking = async {
        while !holds().await {
            pass(Duration::from_millis(10)).await;
        }
    };
    within(asking).await;
}

/// Lets time pass that a test is about.
pub(crate) async fn pass(duration: Duration) {
    #[expect(clippy::disallowed_methods, reason = "another process goes by the machine's clock")]
    tokio::time::sleep(duration).await;
}

async fn all(mut reader: impl AsyncRead + Unpin) -> String {
    let mut text = String::new();
    reader.read_to_string(&mut text).await.unwrap();
    text
}

fn keep(log: &Mutex<String>, line: &str) {
    let mut log = log.lock().unwrap();
    log.push_str(line);
    log.push('\n');
}
