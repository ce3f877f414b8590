//! The command line.

use std::error::Error;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Parser;
use jiff::SignedDuration;
use superoffice_sandbox::{Builder, Knob, Sandbox, SandboxTenant, Settings, ThrowawayPartnerKey};
use tokio::signal::unix::{SignalKind, signal};

use crate::guide::Guide;

/// SuperOffice's side of the system user flow, on loopback addresses, with throwaway keys.
#[derive(Parser)]
#[command(version)]
pub(crate) struct Arguments {
    /// Where the login host listens. The control API takes the next port and the tenant hosts those after it.
    #[arg(long, default_value = "127.0.0.1:8400")]
    listen: SocketAddr,
    /// How many tenant hosts there are, each on a port of its own.
    #[arg(long, default_value_t = 2)]
    hosts: u16,
    /// A tenant, with its system user token after an equals sign if it is not to be made up. Repeatable.
    #[arg(long = "tenant", value_name = "TENANT[=TOKEN]", default_value = "Cust12345")]
    tenants: Vec<String>,
    /// A URI that sign-ins may redirect to. Repeatable.
    #[arg(long = "redirect-uri", value_name = "URI")]
    redirect_uris: Vec<String>,
    /// Speak TLS, with a certificate authority made at the start.
    #[arg(long)]
    tls: bool,
    /// A name that clients know the hosts by, for example sod.superoffice.com: the login host's first, then the tenant
    /// hosts' in their order. All of them answer on --listen's port, with certificates for these names. Repeatable.
    #[arg(long = "tls-name", value_name = "NAME", requires = "tls")]
    tls_names: Vec<String>,
    /// The application's client id.
    #[arg(long, default_value = "0123456789abcdef0123456789abcdef")]
    client_id: String,
    /// File with the application's client secret. A throwaway one is made up otherwise.
    #[arg(long, value_name = "FILE")]
    client_secret_file: Option<PathBuf>,
    /// File with the public key to check system user tokens with: RSAKeyValue XML or PEM.
    #[arg(long, value_name = "FILE")]
    partner_public_key: Option<PathBuf>,
    /// Length of the throwaway partner key that is used otherwise: 1024 or 2048.
    #[arg(long, default_value_t = 2048, value_parser = parse_bits)]
    partner_key_bits: u16,
    /// File with the key to sign JWTs with: PKCS#8 PEM, 2048 bits or more.
    #[arg(long, value_name = "FILE")]
    jwt_signing_key: Option<PathBuf>,
    /// A setting, for example `ticket_life=20s`. Repeatable; `GET /settings` of the control API lists them.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// A behaviour: NAME[=VALUE][,endpoint=ENDPOINT][,tenant=TENANT][,times=N], for example `slow=500ms`. Repeatable.
    #[arg(long = "knob", value_name = "KNOB")]
    knobs: Vec<Knob>,
    /// How far the sandbox's clock is ahead of the machine's, for example `-90s`.
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    clock_offset: Option<SignedDuration>,
    /// Where to write the secrets and the example configuration. A directory for temporary files otherwise.
    #[arg(long, value_name = "DIRECTORY")]
    write_config: Option<PathBuf>,
}

/// Runs until SIGINT or SIGTERM.
pub(crate) async fn run(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    // Installed first: a signal that comes during the start must not be lost.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;

    let sandbox = builder(&arguments)?.start().await?;
    if let Some(offset) = arguments.clock_offset {
        sandbox.clock().set_offset(offset);
    }
    let tenants: Vec<SandboxTenant> = arguments.tenants.iter().map(|tenant| add_tenant(&sandbox, tenant)).collect();
    let temporary = std::env::temp_dir().join(format!("superoffice-sandbox-{}", std::process::id()));
    let directory = arguments.write_config.as_ref().unwrap_or(&temporary);
    Guide::write(&sandbox, &tenants, directory)?.print();

    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    sandbox.shutdown().await;
    if *directory == temporary {
        fs::remove_dir_all(&temporary)?;
    }
    Ok(())
}

fn builder(arguments: &Arguments) -> Result<Builder, Box<dyn Error>> {
    let mut settings = Settings::default();
    for assignment in &arguments.settings {
        settings = settings.with_assignment(assignment)?;
    }
    let port = |number: u16| {
        // Port 0 takes any free one, and so do those beside it.
        let port = if arguments.listen.port() == 0 { Some(0) } else { arguments.listen.port().checked_add(number) };
        port.map(|port| SocketAddr::new(arguments.listen.ip(), port)).ok_or("there are no ports after --listen's")
    };
    let hosts: Vec<SocketAddr> = (0..arguments.hosts).map(|host| port(2 + host)).collect::<Result<_, _>>()?;
    let bits =
        if arguments.partner_key_bits == 1024 { ThrowawayPartnerKey::Bits1024 } else { ThrowawayPartnerKey::Bits2048 };
    let mut builder = Sandbox::builder()
        .listen(arguments.listen)
        .control(port(1)?)
        .hosts(hosts)
        .client_id(&arguments.client_id)
        .throwaway_partner_key(bits)
        .settings(settings)
        .tls(arguments.tls)
        .names(&arguments.tls_names);
    if let Some(file) = &arguments.client_secret_file {
        builder = builder.client_secret(read(file)?.trim());
    }
    if let Some(file) = &arguments.partner_public_key {
        builder = builder.partner_public_key(read(file)?);
    }
    if let Some(file) = &arguments.jwt_signing_key {
        builder = builder.jwt_signing_key(read(file)?);
    }
    builder = arguments.redirect_uris.iter().fold(builder, Builder::redirect_uri);
    Ok(arguments.knobs.iter().cloned().fold(builder, Builder::behaviour))
}

fn add_tenant(sandbox: &Sandbox, text: &str) -> SandboxTenant {
    match text.split_once('=') {
        Some((context_identifier, token)) => sandbox.add_tenant_with_token(context_identifier, token),
        None => sandbox.add_tenant(text),
    }
}

fn read(file: &Path) -> Result<String, String> {
    fs::read_to_string(file).map_err(|error| format!("cannot read {}: {error}", file.display()))
}

fn parse_bits(text: &str) -> Result<u16, String> {
    match text {
        "1024" => Ok(1024),
        "2048" => Ok(2048),
        _ => Err("there are throwaway keys of 1024 and of 2048 bits".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
