//! The real binary as a process, with the sandbox and a collector in the test's.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use superoffice_sandbox::{Sandbox, SandboxTenant};
use tempfile::TempDir;
use ticketd::authorization::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::canaries::Canaries;
use crate::channels::Channels;
use crate::collector;
use crate::needles::Needles;

const BINARY: &str = env!("CARGO_BIN_EXE_ticketd");
/// More than any run takes.
const LIMITS: &str = "{rps: 1000000, burst: 1000000}";
/// No test waits longer than this for anything.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a run is set up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Variant {
    pub(crate) log_format: &'static str,
    pub(crate) tls: bool,
}

pub(crate) struct Rig {
    pub(crate) canaries: Canaries,
    pub(crate) sandbox: Sandbox,
    pub(crate) channels: Channels,
    pub(crate) directory: TempDir,
    endpoint: String,
    variant: Variant,
    /// Every system user token that the sandbox or ticketd was given.
    tokens: Mutex<Vec<String>>,
    /// The state and the nonce of every sign-in.
    sign_ins: Mutex<Vec<String>>,
}

/// Where sign-ins end.
pub(crate) const CALLBACK: &str = "https://caller.example/signed-in";

/// ticketd, serving.
pub(crate) struct Process {
    child: Child,
    log: Log,
    stdout: Log,
    readers: Vec<JoinHandle<()>>,
    /// Where callers connect.
    pub(crate) grpc: String,
    /// Where kubelets ask.
    pub(crate) health: String,
    /// Where operators ask, if they may.
    pub(crate) admin: Option<String>,
}

/// What the process wrote so far. Clones share it.
#[derive(Clone, Default)]
struct Log {
    text: Arc<Mutex<Vec<u8>>>,
    grown: Arc<Notify>,
}

impl Rig {
    pub(crate) async fn new(variant: Variant) -> Self {
        let canaries = Canaries::draw();
        let sandbox = Sandbox::builder()
            .client_secret(&canaries.client_secret)
            .application_name(&canaries.application_name)
            .partner_public_key(&canaries.registered_key.public_pem)
            .tls(variant.tls)
            .redirect_uri(CALLBACK)
            .remember_secrets(true)
            .start()
            .await
            .unwrap();
        let channels = Channels::default();
        let endpoint = collector::start(&channels).await;
        let directory = tempfile::tempdir().unwrap();
        let rig = Self {
            canaries,
            sandbox,
            channels,
            directory,
            endpoint,
            variant,
            tokens: Mutex::default(),
            sign_ins: Mutex::default(),
        };
        rig.write_files();
        rig
    }

    /// A file of this run, as the command line wants it.
    pub(crate) fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        // The configuration refuses a secret that others can read.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// Makes the tenant known to the sandbox.
    pub(crate) fn tenant(&self, name: &str) -> SandboxTenant {
        let tenant = self.sandbox.add_tenant(name);
        self.tokens.lock().unwrap().push(tenant.system_user_token.clone());
        tenant
    }

    /// The same, and puts its token into the mounted directory.
    pub(crate) fn mounted_tenant(&self, name: &str) {
        let token = self.tenant(name).system_user_token;
        self.write(&format!("tenants/{name}"), token + "\n");
    }

    /// Starts ticketd and waits until it serves.
    pub(crate) async fn start(&self) -> Process {
        self.start_with("ticketd.toml").await
    }

    /// The same, with another configuration.
    pub(crate) async fn start_with(&self, config: &str) -> Process {
        let mut child = self.command(&["serve", "--config", &self.path(config)]).spawn().unwrap();
        let (log, stdout) = (Log::default(), Log::default());
        let readers = vec![
            tokio::spawn(read(child.stderr.take().unwrap(), log.clone())),
            tokio::spawn(read(child.stdout.take().unwrap(), stdout.clone())),
        ];
        let line = log.line_with("serving").await;
        let mut addresses = line.split("127.0.0.1:").skip(1).map(|rest| {
            let end = rest.find(|character: char| !character.is_ascii_digit()).unwrap_or(rest.len());
            format!("127.0.0.1:{}", &rest[..end])
        });
        let (grpc, health) = (addresses.next().unwrap(), addresses.next().unwrap());
        let admin = addresses.next();
        let process = Process { child, log, stdout, readers, grpc, health, admin };
        let proc = Path::new("/proc").join(process.child.id().unwrap().to_string());
        for name in ["cmdline", "environ"] {
            self.channels.note("command line and environment", fs::read(proc.join(name)).unwrap());
        }
        process
    }

    /// Runs a command to its end. What it is meant to print in secret stays out of the search.
    pub(crate) async fn run(&self, arguments: &[&str], input: &str, prints_a_secret: bool) -> Output {
        self.run_with(arguments, input, prints_a_secret, &[]).await
    }

    pub(crate) async fn run_with(
        &self,
        arguments: &[&str],
        input: &str,
        prints_a_secret: bool,
        variables: &[(&str, &str)],
    ) -> Output {
        let mut child = self.command(arguments).envs(variables.iter().copied()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // A command that does not read its input closes it.
        drop(stdin.write_all(input.as_bytes()).await);
        drop(stdin);
        let output = within(child.wait_with_output()).await.unwrap();
        self.channels.note("stderr of commands", &output.stderr);
        if !prints_a_secret {
            self.channels.note("stdout of commands", &output.stdout);
        }
        output
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command
            .args(arguments)
            .env_clear()
            .env("TICKETD_TELEMETRY_LOG_FILTER", "trace")
            .env("TICKETD_TELEMETRY_LOG_FORMAT", self.variant.log_format)
            .env("RUST_BACKTRACE", "full")
            .current_dir(self.directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// One secret of each kind that has come up so far.
    pub(crate) fn secrets(&self) -> Vec<(&'static str, String)> {
        let canaries = &self.canaries;
        let seen = self.sandbox.seen_secrets();
        let last = |secrets: &[String]| secrets.last().expect("one of each kind has come up").clone();
        vec![
            ("client secret", canaries.client_secret.clone()),
            ("system user token", last(&self.tokens.lock().unwrap())),
            ("signed token", last(&seen.signed_system_tokens)),
            ("JWT", last(&seen.jwts)),
            ("ticket", last(&seen.tickets)),
            ("access token", last(&seen.access_tokens)),
            ("refresh token", last(&seen.refresh_tokens)),
            ("authorization code", last(&seen.codes)),
            ("code verifier", last(&seen.code_verifiers)),
            ("nonce", last(&self.sign_ins.lock().unwrap())),
            ("passphrase", canaries.passphrase.clone()),
            ("PEM", canaries.registered_key.pem.clone()),
            ("XML", canaries.registered_key.xml.clone()),
        ]
    }

    /// Those of different shapes.
    pub(crate) fn few_secrets(&self) -> Vec<(&'static str, String)> {
        let shapes = ["client secret", "system user token", "JWT", "ticket", "PEM"];
        self.secrets().into_iter().filter(|(name, _)| shapes.contains(name)).collect()
    }

    /// Takes note of the secrets in an authorization URL.
    pub(crate) fn note_sign_in(&self, authorization_url: &str) {
        let url = url::Url::parse(authorization_url).unwrap();
        for name in ["state", "nonce"] {
            let (_, secret) = url.query_pairs().find(|(key, _)| key == name).unwrap();
            self.sign_ins.lock().unwrap().push(secret.into_owned());
        }
    }

    pub(crate) fn needles(&self) -> Needles {
        let mut needles = self.canaries.needles(&self.tokens.lock().unwrap(), &self.sandbox.seen_secrets());
        for (number, secret) in self.sign_ins.lock().unwrap().iter().enumerate() {
            needles.add(&format!("state or nonce {number}"), secret);
        }
        needles
    }

    /// Notes what is in the database's files at this moment.
    pub(crate) fn note_database(&self) {
        for name in ["ticketd.db", "ticketd.db-wal", "ticketd.db-shm"] {
            if let Ok(content) = fs::read(self.path(name)) {
                self.channels.note("files of the database", content);
            }
        }
    }

    fn write_files(&self) {
        let Canaries { client_secret, passphrase, sealing_key, registered_key, other_key, .. } = &self.canaries;
        fs::create_dir(self.path("tenants")).unwrap();
        self.write("client-secret", client_secret);
        self.write("passphrase", passphrase);
        self.write("sealing-key", sealing_key);
        self.write("registered.xml", &registered_key.xml);
        self.write("registered.pem", &registered_key.pem);
        self.write("other.pem", other_key.encrypted_pem(passphrase));
        let trust = self.sandbox.ca_pem().map(|pem| format!("extra_ca_file = {:?}\n", self.write("ca.pem", pem)));
        let config = format!(
            r#"
[superoffice]
environment = "sod"
client_id = "{client_id}"
client_secret_file = "./client-secret"
# The first is not the registered one: its signature is refused, and the next is tried.
signing_key_files = ["./other.pem", "./registered.xml"]
signing_key_passphrase_file = "./passphrase"
connect_timeout = "700ms"
request_timeout = "700ms"
redirect_uris = ["{CALLBACK}"]
state_timeout = "700ms"
allow_custom_base_url = true
base_url = "{base_url}"
{trust}
[tickets]
# A ticket that is asked for is renewed about three seconds after it was issued.
lifetime = "5s"
renew_before_min = "2s"
renew_before_max = "2400ms"
wait_before_expiry = "1s"
exchange_budget = "1s"
[store]
url = "sqlite://ticketd.db"
sealing_key_files = ["./sealing-key"]
tenants_directory = "./tenants"
[server]
address = "127.0.0.1:0"
allow_unidentified_callers = true
health_address = "127.0.0.1:0"
reflection = true
drain_delay = "0s"
drain_timeout = "2s"
[admin]
address = "127.0.0.1:0"
[authorization]
policy_file = "./policy.yaml"
[telemetry]
otlp_endpoint = "{endpoint}"
"#,
            client_id = self.sandbox.client_id(),
            base_url = self.sandbox.base_url(),
            trust = trust.unwrap_or_default(),
            endpoint = self.endpoint,
        );
        self.write("ticketd.toml", config);
        // Everybody may do everything here, and has the client secret along with tickets.
        let rpcs = Method::ALL.map(Method::name);
        let everybody = format!(
            "{{unidentified: true, serviceAccount: crm/sync, rpcs: {rpcs:?}, tenants: [\"*\"], appToken: true, limits: {LIMITS}}}"
        );
        self.write("policy.yaml", format!("apiVersion: policy/v1\ncallers:\n  - {everybody}\n"));
    }

    /// The configuration that works.
    pub(crate) fn config(&self) -> String {
        fs::read_to_string(PathBuf::from(self.path("ticketd.toml"))).unwrap()
    }
}

impl Process {
    /// Waits until the log has a line with `text`.
    pub(crate) async fn logged(&self, text: &str) {
        self.log.line_with(text).await;
    }

    /// Drains it and hands everything it wrote over.
    pub(crate) async fn stop(mut self, channels: &Channels) {
        if let Some(admin) = &self.admin {
            for accept in ["text/plain", "application/openmetrics-text"] {
                channels.note("scraped metrics", within(scrape(admin, accept)).await);
            }
        }
        let pid = Pid::from_raw(self.child.id().unwrap().try_into().unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        let status = within(self.child.wait()).await.unwrap();
        for reader in self.readers.drain(..) {
            within(reader).await.unwrap();
        }
        channels.note("audit on stdout", self.stdout.text.lock().unwrap().as_slice());
        channels.note("log", self.log.text.lock().unwrap().as_slice());
        assert!(status.success(), "{status}");
    }
}

/// What Prometheus would read.
async fn scrape(admin: &str, accept: &str) -> Vec<u8> {
    let mut connection = TcpStream::connect(admin).await.unwrap();
    let request = format!("GET /metrics HTTP/1.1\r\nhost: x\r\naccept: {accept}\r\nconnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).await.unwrap();
    answer
}

impl Log {
    async fn line_with(&self, text: &str) -> String {
        let waiting = async {
            loop {
                let mut grown = std::pin::pin!(self.grown.notified());
                grown.as_mut().enable();
                if let Some(line) = self.find(text) {
                    return line;
                }
                grown.await;
            }
        };
        let Ok(line) = tokio::time::timeout(PATIENCE, waiting).await else {
            let log = String::from_utf8_lossy(&self.text.lock().unwrap()).into_owned();
            let last = log.len().saturating_sub(2_000);
            panic!("never logged: {text}\n...{}", log.get(last..).unwrap_or(&log));
        };
        line
    }

    fn find(&self, text: &str) -> Option<String> {
        let log = self.text.lock().unwrap();
        // A line is whole once another one begins.
        let (whole, _) = std::str::from_utf8(&log).ok()?.rsplit_once('\n')?;
        whole.lines().find(|line| line.contains(text)).map(str::to_owned)
    }
}

async fn read(mut output: impl AsyncReadExt + Unpin, log: Log) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = output.read(&mut buffer).await {
        log.text.lock().unwrap().extend_from_slice(&buffer[..length]);
        log.grown.notify_waiters();
    }
}

/// Fails the test rather than hang.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("this takes too long")
}
