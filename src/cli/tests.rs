use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use clap::CommandFactory;
use futures_util::stream::Empty;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::*;
use crate::grpc::proto::ticket_service_server::{TicketService, TicketServiceServer};
use crate::grpc::proto::{
    BatchGetSystemTicketsRequest, BatchGetSystemTicketsResponse, GetSystemTicketRequest, GetSystemTicketResponse,
    InvalidateSystemTicketRequest, InvalidateSystemTicketResponse, RefreshAccessTokenRequest,
    RefreshAccessTokenResponse, SystemTicket, TenantState, WatchSystemTicketsRequest, WatchSystemTicketsResponse,
};

const STRONG_KEY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/keys/selfmade2048.pkcs8.pem");
const SEALING_KEY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/keys/sealing.key");
const WEAK_KEY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/keys/selfmade1024.pkcs8.pem");
const JWT: &[u8] = include_bytes!("../../tests/fixtures/verify/system-user.jwt");
const JWKS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/verify/jwks.json");

/// What came of a command.
struct Outcome {
    failure: Option<Failure>,
    output: String,
    errors: String,
}

impl Outcome {
    fn succeeded(self) -> String {
        assert!(self.failure.is_none(), "{:?}", self.failure);
        self.output
    }

    fn failed(self) -> String {
        assert_eq!(self.output, "");
        match self.failure {
            Some(Failure::Failed(message)) => message,
            other => panic!("{other:?}"),
        }
    }

    fn misused(self) -> String {
        assert_eq!(self.output, "");
        match self.failure {
            Some(Failure::Usage(message)) => message,
            other => panic!("{other:?}"),
        }
    }
}

fn ticketd(arguments: &[&str], input: &[u8]) -> Outcome {
    ticketd_in(&Terminal::No, arguments, input)
}

enum Terminal {
    Yes,
    No,
}

fn ticketd_in(terminal: &Terminal, arguments: &[&str], mut input: &[u8]) -> Outcome {
    let arguments = Arguments::try_parse_from([&["ticketd"], arguments].concat()).unwrap();
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    let mut console = Console {
        input: &mut input,
        output: &mut output,
        errors: &mut errors,
        output_is_terminal: matches!(terminal, Terminal::Yes),
        errors_is_terminal: false,
        environment: Vec::<(OsString, OsString)>::new(),
    };
    let failure = execute(arguments, &mut console).err();
    Outcome { failure, output: String::from_utf8(output).unwrap(), errors: String::from_utf8(errors).unwrap() }
}

/// A directory with a configuration that works.
fn configured() -> (TempDir, String) {
    let directory = TempDir::new().unwrap();
    let root = directory.path();
    let secret = |name: &str, content: &[u8]| {
        let path = root.join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    };
    let config = format!(
        "[superoffice]\nenvironment = \"sod\"\nclient_id = \"0123456789abcdef\"\nclient_secret_file = {:?}\nsigning_key_files = [{:?}]\n[store]\nsealing_key_files = [{:?}]\nurl = \"sqlite://{}\"\n[server]\nallow_unidentified_callers = true\n",
        secret("client-secret", b"c4nary5ecret"),
        secret("key.pem", &fs::read(WEAK_KEY).unwrap()),
        secret("sealing.key", &fs::read(SEALING_KEY).unwrap()),
        root.join("ticketd.db").display(),
    );
    let file = root.join("ticketd.toml");
    fs::write(&file, config).unwrap();
    let file = file.to_str().unwrap().to_owned();
    (directory, file)
}

#[test]
fn the_command_line_is_sound() {
    Arguments::command().debug_assert();
}

#[test]
fn no_option_takes_a_secret_as_its_value() {
    fn check(command: &clap::Command) {
        for argument in command.get_arguments().filter(|argument| argument.get_action().takes_values()) {
            let name = argument.get_id().as_str();
            let sounds_secret =
                ["secret", "token", "passphrase", "password", "jwt", "key"].iter().any(|word| name.contains(word));
            assert!(!sounds_secret || name.ends_with("_file"), "{} {name}", command.get_name());
        }
        command.get_subcommands().for_each(check);
    }
    check(&Arguments::command());
}

#[test]
fn every_command_shows_an_example_of_itself() {
    fn check(command: &mut clap::Command, path: &str) {
        let path = format!("{path} {}", command.get_name());
        let subcommands: Vec<_> = command.get_subcommands_mut().collect();
        if subcommands.is_empty() {
            let help = command.render_long_help().to_string();
            assert!(help.contains("Examples:\n") && help.contains(path.trim()), "{path}:\n{help}");
            assert!(help.lines().all(|line| line.len() <= 120 || line.starts_with("Usage: ")), "{path}:\n{help}");
        } else {
            for command in subcommands {
                check(command, &path);
            }
        }
    }
    let mut arguments = Arguments::command();
    arguments.build();
    check(&mut arguments, "");
}

#[test]
fn a_configuration_is_checked() {
    let (directory, config) = configured();
    let outcome = ticketd(&["check-config", "--config", &config], b"");
    assert!(outcome.errors.contains("ticketd: warning: superoffice.signing_key_files: "), "{}", outcome.errors);
    assert!(outcome.errors.contains("has 1024 bits"), "{}", outcome.errors);
    assert!(outcome.succeeded().starts_with("The configuration is good.\n"));

    let wrong = directory.path().join("wrong.toml");
    fs::write(&wrong, "[superoffice]\nenvironment = \"prod\"\n[tickets]\nlifetime = 6\n").unwrap();
    let message = ticketd(&["check-config", "--config", wrong.to_str().unwrap()], b"").misused();
    assert!(message.lines().count() >= 5, "{message}");
    assert!(message.contains("superoffice.environment (line 2): expected "), "{message}");
}

#[test]
fn grants_are_listed_and_one_that_is_not_kept_cannot_be_revoked() {
    let (directory, config) = configured();
    let url = format!("sqlite://{}", directory.path().join("ticketd.db").display());
    let sealing = crate::store::Sealing {
        key_files: vec![SEALING_KEY.into()],
        environment: crate::identifiers::Environment::Sod,
        application: crate::identifiers::ApplicationId::new("0123456789abcdef"),
    };
    let postgres = crate::store::PostgresSettings::default();
    let settings = crate::store::Settings { url, tenants_directory: None, postgres, sealing };
    Runtime::new().unwrap().block_on(async {
        let clock = std::sync::Arc::new(crate::clock::SystemClock);
        let store = crate::store::Store::open(&settings, clock).await.unwrap();
        let grant = crate::store::Grant {
            context_identifier: "Cust1".parse().unwrap(),
            user: "Me@example.com".to_owned(),
            refresh_token: crate::identifiers::RefreshToken::new("c4nary"),
            associate_id: Some("10".to_owned()),
            create_time: jiff::Timestamp::UNIX_EPOCH,
            update_time: jiff::Timestamp::UNIX_EPOCH,
        };
        store.grants.put(&grant).await.unwrap();
        store.close().await;
    });
    let list = ticketd(&["tenants", "grants", "cust1", "--config", &config], b"").succeeded();
    let lines: Vec<_> = list.lines().collect();
    assert!(lines[0].starts_with("USER            ASSOCIATE  CREATED"), "{list}");
    assert!(lines[1].starts_with("Me@example.com  10         1970-01-01T00:00:00Z"), "{list}");
    let json = ticketd(&["tenants", "grants", "cust1", "--json", "--config", &config], b"").succeeded();
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap()[0]["user"], "Me@example.com");
    assert!(!format!("{list}{json}").contains("c4nary"));
    let failed = ticketd(&["tenants", "revoke", "Cust1", "you@example.com", "--config", &config], b"").failed();
    assert_eq!(failed, "no grant of the user is kept: the user has to sign in");
}

#[test]
fn tenants_are_administered_and_their_tokens_never_shown() {
    let (_directory, config) = configured();
    let tenants = |arguments: &[&str], input: &[u8]| {
        let outcome = ticketd(&[&["tenants"], arguments, &["--config", &config]].concat(), input);
        let all = format!("{}{}{:?}", outcome.output, outcome.errors, outcome.failure);
        assert!(!all.contains("c4nary"), "{all}");
        outcome
    };
    let put = tenants(&["put", "Cust1", "--token-file", "-"], b"App c4nary-1\n");
    assert_eq!(put.succeeded(), "Cust1 is registered\n");
    tenants(&["put", "Customer22", "--token-file", "-", "--accept-serial"], b"App c4nary-2\r\n").succeeded();

    let list = tenants(&["list"], b"").succeeded();
    let lines: Vec<_> = list.lines().collect();
    assert!(lines[0].starts_with("TENANT      SOURCE    SERIAL  UPDATED"), "{list}");
    assert!(lines[1].starts_with("Cust1       database  -       2"), "{list}");
    assert!(lines[2].starts_with("Customer22  database  -       2"), "{list}");
    let list: Value = serde_json::from_str(&tenants(&["list", "--json"], b"").succeeded()).unwrap();
    assert_eq!(list[1]["context_identifier"], "Customer22");

    assert!(tenants(&["show", "cust1"], b"").succeeded().starts_with("tenant:   Cust1\nsource:   database\n"));
    assert_eq!(tenants(&["delete", "Cust1"], b"").succeeded(), "Cust1 is deleted\n");
    assert_eq!(tenants(&["delete", "Cust1"], b"").failed(), "Cust1 is not registered");
    assert_eq!(tenants(&["show", "Cust1"], b"").failed(), "Cust1 is not registered");
    tenants(&["put", "Cust3", "--token-file", "-"], b"\n").failed();
    tenants(&["put", "Cust3", "--token-file", "-"], b"App c4nary-1.202601010000.sig").failed();
    let missing = tenants(&["put", "Cust3", "--token-file", "/nonexistent"], b"").failed();
    assert!(missing.starts_with("cannot read /nonexistent: "), "{missing}");
}

#[test]
fn a_key_is_inspected() {
    let shown = ticketd(&["keys", "inspect", STRONG_KEY], b"").succeeded();
    let expected = "format:       PKCS#8 PEM\nbits:         2048\nfingerprint:  ";
    assert!(shown.starts_with(expected), "{shown}");
    let shown = ticketd(&["keys", "inspect", "-"], &fs::read(WEAK_KEY).unwrap()).succeeded();
    assert!(shown.contains("1024 (weak: register one of 2048 or more)"), "{shown}");
    let refused = ticketd(&["keys", "inspect", "-"], b"c4nary").failed();
    assert!(refused.starts_with("the private key cannot be read: ") && !refused.contains("c4nary"), "{refused}");
}

#[test]
fn a_new_sealing_key_goes_to_a_new_file_or_a_pipe_and_seals_anew_what_another_sealed() {
    let (directory, config) = configured();
    let path = directory.path().join("new-key");
    let said = ticketd(&["keys", "new-sealing-key", "--output", path.to_str().unwrap()], b"").succeeded();
    let key = fs::read_to_string(&path).unwrap();
    assert!(said.contains("new-key has the new sealing key ") && !said.contains(key.trim()), "{said}");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let again = ticketd(&["keys", "new-sealing-key", "--output", path.to_str().unwrap()], b"").failed();
    assert!(again.contains("exists"), "{again}");
    assert_eq!(fs::read_to_string(&path).unwrap(), key);
    let piped = ticketd(&["keys", "new-sealing-key"], b"").succeeded();
    assert!(crate::crypto::SealingKey::read(piped.as_bytes()).is_ok() && piped != key);
    ticketd_in(&Terminal::Yes, &["keys", "new-sealing-key"], b"").misused();

    ticketd(&["tenants", "put", "Cust1", "--token-file", "-", "--config", &config], b"App-1\n").succeeded();
    let nothing = ticketd(&["tenants", "reseal", "--config", &config], b"").succeeded();
    assert_eq!(nothing, "0 secrets are sealed anew\n");
    let text = fs::read_to_string(&config).unwrap();
    let old = directory.path().join("sealing.key");
    let both = format!("[{path:?}, {old:?}]");
    fs::write(&config, text.replace(&format!("[{old:?}]"), &both)).unwrap();
    assert_eq!(ticketd(&["tenants", "reseal", "--config", &config], b"").succeeded(), "1 secrets are sealed anew\n");
    fs::write(&config, text.replace(old.to_str().unwrap(), path.to_str().unwrap())).unwrap();
    assert!(ticketd(&["tenants", "show", "Cust1", "--config", &config], b"").succeeded().contains("Cust1"));
    fs::write(&config, text).unwrap();
    let refused = ticketd(&["tenants", "show", "Cust1", "--config", &config], b"").failed();
    assert!(refused.contains("add its file to store.sealing_key_files"), "{refused}");
}

#[test]
fn a_key_is_converted_to_every_format_and_back() {
    let directory = TempDir::new().unwrap();
    let fingerprint = |file: &Path| {
        ticketd(&["keys", "inspect", file.to_str().unwrap()], b"").succeeded().lines().last().unwrap().to_owned()
    };
    for format in ["pkcs8", "pkcs1", "xml"] {
        let file = directory.path().join(format);
        let path = file.to_str().unwrap();
        let convert = ["keys", "convert", STRONG_KEY, "--to", format, "--output", path];
        assert_eq!(ticketd(&convert, b"").succeeded(), "");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fingerprint(&file), fingerprint(Path::new(STRONG_KEY)));
        let again = ticketd(&convert, b"").failed();
        assert!(again.starts_with(&format!("cannot write {path}: ")), "{again}");
    }
    let public = ticketd_in(&Terminal::Yes, &["keys", "convert", STRONG_KEY, "--to", "public-pem"], b"").succeeded();
    assert!(public.starts_with("-----BEGIN PUBLIC KEY-----\n") && public.ends_with("-----END PUBLIC KEY-----\n"));
    let public = ticketd(&["keys", "convert", STRONG_KEY, "--to", "public-xml"], b"").succeeded();
    assert!(public.contains("<RSAKeyValue>") && !public.contains("<D>") && public.ends_with('\n'), "{public}");
}

#[test]
fn a_private_key_is_not_printed_to_a_terminal() {
    let convert = ["keys", "convert", STRONG_KEY, "--to", "pkcs8"];
    ticketd_in(&Terminal::Yes, &convert, b"").misused();
    assert!(ticketd_in(&Terminal::No, &convert, b"").succeeded().starts_with("-----BEGIN PRIVATE KEY-----\n"));
}

#[test]
fn a_jwt_is_verified_and_its_ticket_not_shown() {
    let directory = TempDir::new().unwrap();
    let token = directory.path().join("token");
    fs::write(&token, "Example Application-8k8Q7DmBgo\n").unwrap();
    let verify = |context_identifier: &str, at: &str, more: &[&str]| {
        let arguments = [
            "verify",
            "--environment",
            "sod",
            "--context-identifier",
            context_identifier,
            "--system-user-token-file",
            token.to_str().unwrap(),
            "--at",
            at,
        ];
        ticketd(&[&arguments, more].concat(), JWT)
    };
    let (valid, jwks) = ("2027-01-15T08:00:00Z", ["--jwks", JWKS]);
    let shown = verify("Cust26759", valid, &jwks).succeeded();
    let expected = "The JWT is valid.\ntenant:    Cust26759\nserial:    1801550193\nwebapi:    https://sod.superoffice.com/Cust26759/api/\n";
    assert!(shown.starts_with(expected), "{shown}");
    assert!(!shown.contains("c4nary"), "{shown}");
    for (outcome, reason) in [
        (verify("Cust1", valid, &jwks), "context_identifier_mismatch: "),
        (verify("Cust26759", "2027-01-15T09:00:00Z", &jwks), "expired: "),
        (verify("Cust26759", valid, &[]), "signature_invalid: "),
    ] {
        let message = outcome.failed();
        assert!(message.starts_with(reason), "{message}");
    }
}

/// What a running ticketd answers about one tenant.
struct Answers;

#[async_trait::async_trait]
impl TicketService for Answers {
    async fn get_system_ticket(
        &self,
        request: Request<GetSystemTicketRequest>,
    ) -> Result<Response<GetSystemTicketResponse>, Status> {
        assert!(request.metadata().contains_key("grpc-timeout"));
        let request = request.into_inner();
        if request.context_identifier != "Cust1" {
            let details = ErrorDetails::with_error_info("TENANT_MAINTENANCE", "ticketd", HashMap::new())
                .set_retry_info(Some(Duration::new(5, 1_000_001)))
                .clone();
            return Err(Status::with_error_details(Code::Unavailable, "in maintenance\nfor now", details));
        }
        let ticket = SystemTicket {
            context_identifier: "Cust1".to_owned(),
            ticket: "7T:c4nary".to_owned(),
            fingerprint: format!("{:?}", request.min_validity.map(|duration| duration.seconds)),
            expire_time: Some(prost_types::Timestamp { seconds: 1_800_000_000, nanos: 0 }),
            webapi_url: "https://sod.superoffice.com/Cust1/api/".to_owned(),
            tenant_state: TenantState::Running.into(),
            ..SystemTicket::default()
        };
        Ok(Response::new(GetSystemTicketResponse { system_ticket: Some(ticket) }))
    }

    async fn batch_get_system_tickets(
        &self,
        _request: Request<BatchGetSystemTicketsRequest>,
    ) -> Result<Response<BatchGetSystemTicketsResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    type WatchSystemTicketsStream = Empty<Result<WatchSystemTicketsResponse, Status>>;

    async fn watch_system_tickets(
        &self,
        _request: Request<WatchSystemTicketsRequest>,
    ) -> Result<Response<Self::WatchSystemTicketsStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn invalidate_system_ticket(
        &self,
        _request: Request<InvalidateSystemTicketRequest>,
    ) -> Result<Response<InvalidateSystemTicketResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn refresh_access_token(
        &self,
        _request: Request<RefreshAccessTokenRequest>,
    ) -> Result<Response<RefreshAccessTokenResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

/// Serves tickets, and health with one service that does not serve.
fn serving() -> (Runtime, String) {
    let runtime = Runtime::new().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (reporter, health) = tonic_health::server::health_reporter();
    runtime.block_on(reporter.set_service_status("readiness", tonic_health::ServingStatus::NotServing));
    let server = tonic::transport::Server::builder()
        .add_service(TicketServiceServer::new(Answers))
        .add_service(health)
        .serve_with_incoming(TcpListenerStream::new(listener));
    runtime.spawn(server);
    (runtime, address)
}

#[test]
fn a_ticket_is_shown_only_when_asked_for() {
    let (_runtime, address) = serving();
    let get = |arguments: &[&str]| ticketd(&[&["ticket", "get", "--address", &address], arguments].concat(), b"");
    let shown = get(&["Cust1", "--min-validity", "1h 30m"]).succeeded();
    let expected = "tenant:       Cust1\nstate:        running\nfingerprint:  Some(5400)\nexpires:      2027-01-15T08:00:00Z\nwebapi:       https://sod.superoffice.com/Cust1/api/\n";
    assert_eq!(shown, expected);
    let json = get(&["Cust1", "--json"]).succeeded();
    let shown: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(shown["expire_time"], "2027-01-15T08:00:00Z");
    assert!(!json.contains("c4nary"), "{json}");
    assert_eq!(get(&["Cust1", "--show-ticket"]).succeeded(), "7T:c4nary\n");
    let refused = get(&["Cust2"]).failed();
    assert_eq!(refused, "Unavailable TENANT_MAINTENANCE: in maintenance\\u000afor now (try again in 5s 2ms)");
}

#[test]
fn health_is_told_by_the_exit_code() {
    let (_runtime, address) = serving();
    assert_eq!(ticketd(&["healthcheck", "--address", &address], b"").succeeded(), "SERVING\n");
    let asked = |service| ticketd(&["healthcheck", "--address", &address, "--service", service], b"");
    assert_eq!(asked("readiness").failed(), "NOT_SERVING");
    assert!(asked("unheard-of").failed().starts_with("NotFound: "));
}

#[test]
fn health_that_is_never_told_is_not_waited_for() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", silent.local_addr().unwrap());
    let failed = ticketd(&["healthcheck", "--address", &address, "--timeout", "50ms"], b"").failed();
    assert!(failed.ends_with(" does not answer"), "{failed}");
}

#[test]
fn nothing_answers_where_nothing_listens() {
    // Port 1 is tcpmux: nothing has listened there for decades.
    let failed = ticketd(&["healthcheck", "--address", "http://127.0.0.1:1"], b"").failed();
    assert!(failed.starts_with("cannot connect to http://127.0.0.1:1/: "), "{failed}");
    assert!(failed.contains("refused"), "{failed}");
    let failed = ticketd(&["ticket", "get", "Cust1", "--address", "http://127.0.0.1:1"], b"").failed();
    assert!(failed.starts_with("cannot connect to "), "{failed}");
}

#[test]
fn a_closed_output_is_no_error_and_failures_stay_on_their_lines() {
    let mut errors = Vec::new();
    let mut console = Console {
        input: &mut std::io::empty(),
        output: &mut std::io::sink(),
        errors: &mut errors,
        output_is_terminal: false,
        errors_is_terminal: false,
        environment: Vec::new(),
    };
    let closed = Failure::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
    assert_eq!(closed.report(&mut console), ExitCode::SUCCESS);
    let code = Failure::Usage("one\ntwo \u{1b}[2J".to_owned()).report(&mut console);
    assert_eq!(code, ExitCode::from(64));
    assert_eq!(String::from_utf8(errors).unwrap(), "ticketd: one\nticketd: two \\u001b[2J\n");
}

#[test]
fn policies_are_checked_and_tried() {
    let directory = TempDir::new().unwrap();
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let entry = "{name: sync, unixUser: 7, rpcs: [GetSystemTicket], tenants: [Cust1], appToken: true}";
    let policy = write("policy.yaml", &format!("apiVersion: policy/v1\ncallers:\n  - {entry}\n"));
    assert_eq!(
        ticketd(&["policy", "check", &policy], b"").succeeded(),
        "The policy is good.\nentries:  1\ngroups:   0\n"
    );
    let call = ["policy", "test", &policy, "--caller", "unix:7", "--rpc", "GetSystemTicket", "--tenant"];
    let allowed = ticketd(&[&call[..], &["cust1"]].concat(), b"").succeeded();
    assert_eq!(allowed, "allowed by sync (line 3)\nSO-AppToken: granted\n");
    let denied = ticketd(&[&call[..], &["Cust2"]].concat(), b"");
    let Some(Failure::Coded(2, told)) = denied.failure else { panic!("{:?}", denied.failure) };
    assert_eq!(told, "denied: no entry allows it\nnear: sync (line 3): its tenants do not include Cust2");

    let right = "cases: [{caller: unix:7, rpc: GetSystemTicket, tenant: Cust1, expect: allow}]";
    let tried = ticketd(&["policy", "test", &policy, "--cases", &write("right.yaml", right)], b"").succeeded();
    assert_eq!(tried, "All cases are decided as expected: 1.\n");
    let wrong = write("wrong.yaml", &right.replace("unix:7", "unix:8"));
    let tried = ticketd(&["policy", "test", &policy, "--cases", &wrong], b"");
    assert!(
        matches!(tried.failure, Some(Failure::Coded(2, told)) if told.starts_with("line 1: expected allow, but denied"))
    );

    let bad = write("bad.yaml", "apiVersion: policy/v1\ncallers: [{unixUser: 7, rpcs: [Get]}]\n");
    let told = ticketd(&["policy", "check", &bad], b"").failed();
    assert_eq!(told.lines().count(), 2, "{told}");
    assert!(told.lines().all(|line| line.contains("bad.yaml: line 2: callers[0].")), "{told}");
    for misused in [
        &["policy", "test", &policy][..],
        &["policy", "test", &policy, "--caller", "unix:7"],
        &["policy", "test", &policy, "--caller", "crm", "--rpc", "GetTenant"],
        &["policy", "test", &policy, "--caller", "unix:7", "--rpc", "Check"],
        &["policy", "test", &policy, "--cases", &wrong, "--caller", "unix:7", "--rpc", "GetTenant"],
    ] {
        assert!(Arguments::try_parse_from([&["ticketd"], misused].concat()).is_err(), "{misused:?}");
    }
}
