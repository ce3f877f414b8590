//! The main job from end to end on this machine: a sandbox of SuperOffice's side, the real server on SQLite, one tenant,
//! and a client that gets the tenant's ticket over gRPC and uses it.
//!
//! `cargo run --example quickstart` runs it; with `-- --stay` both keep running, with lines to paste.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it shows a person what happens")]

use std::error::Error;
use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;

use superoffice_sandbox::Sandbox;
use tempfile::TempDir;
use ticketd::config::Config;
use ticketd::crypto::SealingKey;
use ticketd::grpc::proto::tenant_service_client::TenantServiceClient;
use ticketd::grpc::proto::ticket_service_client::TicketServiceClient;
use ticketd::grpc::proto::{GetSystemTicketRequest, PutTenantRequest, SystemTicket, TenantState};
use ticketd::server::Server;
use tonic::transport::Channel;

const TENANT: &str = "Cust12345";

#[tokio::main]
async fn main() -> ExitCode {
    let stay = std::env::args().any(|argument| argument == "--stay");
    match run(stay).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quickstart failed: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(stay: bool) -> Result<(), Box<dyn Error>> {
    let sandbox = Sandbox::builder().start().await?;
    step(1, "SuperOffice's side is simulated", &[("login host", sandbox.base_url())]);

    let directory = tempfile::tempdir()?;
    let config_file = write_config(&directory, &sandbox)?;
    let server = Server::bind(Config::load(&config_file, [])?.config).await?;
    let address = server.addresses().grpc.ok_or("no TCP listener")?;
    step(
        2,
        "ticketd serves on SQLite",
        &[("gRPC", &address.to_string()), ("configuration", &config_file.display().to_string())],
    );

    let channel = Channel::from_shared(format!("http://{address}"))?.connect().await?;
    let system_user_token = sandbox.add_tenant(TENANT).system_user_token;
    let request = PutTenantRequest {
        context_identifier: TENANT.to_owned(),
        system_user_token: system_user_token.clone(),
        accept_serial: false,
    };
    TenantServiceClient::new(channel.clone()).put_tenant(request).await?;
    step(3, "the tenant is registered with its system user token", &[("tenant", TENANT)]);

    let mut tickets = TicketServiceClient::new(channel);
    let first = get_ticket(&mut tickets).await?;
    let state = first.tenant_state().as_str_name();
    step(
        4,
        "the first call exchanges the token: signed, sent, verified, kept",
        &[
            ("fingerprint", &first.fingerprint),
            ("expires", &first.expire_time.map(|time| time.to_string()).unwrap_or_default()),
            ("renewed at", &first.refresh_time.map(|time| time.to_string()).unwrap_or_default()),
            ("web API", &first.webapi_url),
            ("tenant state", state),
        ],
    );
    expect(first.tenant_state() == TenantState::Running, "the tenant should be running")?;

    let principal = current_principal(&first, sandbox.client_secret()).await?;
    step(5, "the ticket opens the tenant's web API", &[("v1/User/currentPrincipal", &principal)]);

    let second = get_ticket(&mut tickets).await?;
    expect(second.fingerprint == first.fingerprint, "the second call should answer the same ticket")?;
    let exchanges = sandbox.exchanges(TENANT);
    expect(exchanges == 1, "two calls should have made one exchange")?;
    step(
        6,
        "the second call is answered from memory",
        &[("rows written into the tenant's database", &exchanges.to_string())],
    );

    let audit = fs::read_to_string(directory.path().join("audit.jsonl"))?;
    let last = audit.lines().last().ok_or("the audit should have an event")?;
    step(7, "each answer was written down before it left", &[("the last event", last)]);

    if stay {
        print_lines_to_paste(address, &config_file, &directory, &sandbox, &first.webapi_url);
        tokio::signal::ctrl_c().await?;
    }
    server.shutdown().await?;
    sandbox.shutdown().await;
    println!("\nDone. Next: README.md, \"Use it\".");
    Ok(())
}

fn write_config(directory: &TempDir, sandbox: &Sandbox) -> Result<std::path::PathBuf, Box<dyn Error>> {
    let path = |name: &str| directory.path().join(name);
    let private_key = sandbox.partner_private_key_pem().ok_or("the sandbox should have made a partner key")?;
    write_secret(&path("client-secret"), sandbox.client_secret())?;
    write_secret(&path("private-key.pem"), private_key)?;
    write_secret(&path("sealing-key"), &SealingKey::random()?.to_text())?;
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

[audit]
output = "file"
path = "{audit}"

[server]
address = "127.0.0.1:0"
allow_unidentified_callers = true
health_address = "127.0.0.1:0"
reflection = true
drain_delay = "0s"
"#,
        client_id = sandbox.client_id(),
        client_secret = path("client-secret").display(),
        private_key = path("private-key.pem").display(),
        base_url = sandbox.base_url(),
        database = path("ticketd.db").display(),
        sealing_key = path("sealing-key").display(),
        audit = path("audit.jsonl").display(),
    );
    let file = path("ticketd.toml");
    fs::write(&file, text)?;
    Ok(file)
}

/// Writes a file that only its owner may read, as secrets are to be kept.
fn write_secret(path: &Path, secret: &str) -> std::io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(secret.as_bytes())
}

async fn get_ticket(tickets: &mut TicketServiceClient<Channel>) -> Result<SystemTicket, Box<dyn Error>> {
    let request = GetSystemTicketRequest { context_identifier: TENANT.to_owned(), min_validity: None };
    let response = tickets.get_system_ticket(request).await?.into_inner();
    Ok(response.system_ticket.ok_or("the response should hold a ticket")?)
}

/// Asks the tenant's web API who the ticket stands for, as a caller's service would.
async fn current_principal(ticket: &SystemTicket, client_secret: &str) -> Result<String, Box<dyn Error>> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    let request = client
        .get(format!("{}v1/User/currentPrincipal", ticket.webapi_url))
        .header("authorization", format!("SOTicket {}", ticket.ticket))
        .header("so-apptoken", client_secret)
        .header("accept", "application/json");
    let response = request.send().await?.error_for_status()?;
    #[expect(clippy::disallowed_methods, reason = "the sandbox's answer is small, and this is not ticketd's client")]
    let body: serde_json::Value = response.json().await?;
    Ok(format!("tenant {}, person {}", body["DatabaseContextIdentifier"], body["PersonId"]))
}

fn expect(holds: bool, otherwise: &str) -> Result<(), Box<dyn Error>> {
    if holds { Ok(()) } else { Err(otherwise.into()) }
}

fn step(number: u32, what: &str, facts: &[(&str, &str)]) {
    println!("\n{number}. {what}");
    for (name, value) in facts {
        println!("   {name}: {value}");
    }
}

fn print_lines_to_paste(
    address: SocketAddr,
    config_file: &Path,
    directory: &TempDir,
    sandbox: &Sandbox,
    webapi_url: &str,
) {
    let config_file = config_file.display();
    println!("\nBoth keep running until Ctrl-C. Other clients can ask too:");
    println!("\n   cargo run -- ticket get {TENANT} --address http://{address}");
    println!("   cargo run -- tenants list --config {config_file}");
    println!(
        "   grpcurl -plaintext -d '{{\"context_identifier\":\"{TENANT}\"}}' {address} \
         superoffice.ticket.v1.TicketService/GetSystemTicket"
    );
    println!(
        "   (echo \"header = \\\"SO-AppToken: $(cat {}/client-secret)\\\"\"; echo \"header = \\\"Authorization: SOTicket \
         $(cargo run -q -- ticket get {TENANT} --address http://{address} --show-ticket)\\\"\") | \
         curl -K - {webapi_url}v1/User/currentPrincipal",
        directory.path().display()
    );
    println!("   curl {}/api/state/{TENANT}", sandbox.base_url());
    println!("\nWhat goes wrong at SuperOffice can be set while it runs: {}", sandbox.control_url());
}
