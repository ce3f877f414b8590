//! Tells people and programs how to use the sandbox that runs.
#![expect(clippy::print_stdout, reason = "what to paste elsewhere belongs on standard output")]

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use superoffice_sandbox::{Sandbox, SandboxTenant};

/// The files of a running sandbox and the lines that point at them.
pub(crate) struct Guide {
    text: String,
}

impl Guide {
    /// Writes the secrets, one file each, and a configuration of ticketd that names them.
    pub(crate) fn write(sandbox: &Sandbox, tenants: &[SandboxTenant], directory: &Path) -> io::Result<Self> {
        fs::create_dir_all(directory.join("tenants"))?;
        let directory = directory.canonicalize()?;
        let file = |name: &str| directory.join(name);
        write(&file("client-secret"), sandbox.client_secret())?;
        // As everything here: for nothing but a try, and known to everybody.
        write(&file("sealing-key"), "c2FuZGJveCBrZXksIG5vdCBmb3IgcmVhbCBzZWNyZXQ=\n")?;
        let private_key = sandbox.partner_private_key_pem();
        if let Some(pem) = private_key {
            write(&file("private-key.pem"), pem)?;
        }
        if let Some(pem) = sandbox.ca_pem() {
            write(&file("ca.pem"), pem)?;
        }
        for tenant in tenants {
            // The tenant's name came from the command line: as a file it stays in its directory.
            let name = tenant.context_identifier.replace(['/', '.'], "_");
            write(&file("tenants").join(name), &tenant.system_user_token)?;
        }
        write(&file("ticketd.toml"), &configuration(sandbox, &directory))?;
        Ok(Self { text: text(sandbox, tenants, &directory) })
    }

    pub(crate) fn print(&self) {
        println!("{}", self.text);
    }
}

/// Readable by its owner alone: throwaway or not, a secret's file should look like one.
fn write(file: &Path, content: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(file)?;
    file.write_all(content.as_bytes())
}

fn configuration(sandbox: &Sandbox, directory: &Path) -> String {
    let path = |name: &str| directory.join(name).display().to_string();
    let place = match (environment(sandbox), sandbox.ca_pem()) {
        // As for SuperOffice itself: names lead to the sandbox, and SSL_CERT_FILE to its authority.
        (Some(_), _) => String::new(),
        (None, Some(_)) => format!("{}extra_ca_file = {:?}\n", custom_base_url(sandbox), path("ca.pem")),
        (None, None) => custom_base_url(sandbox),
    };
    format!(
        "# ticketd against a sandbox of SuperOffice. Nothing in here works anywhere else.\n\
         [superoffice]\n\
         environment = {environment:?}\n\
         client_id = {client_id:?}\n\
         client_secret_file = {client_secret:?}\n\
         # The private half of the key that the sandbox checks signatures with.\n\
         signing_key_files = [{private_key:?}]\n\
         {place}\n\
         [store]\n\
         sealing_key_files = [{sealing_key:?}]\n\
         url = \"sqlite://{database}\"\n\
         tenants_directory = {tenants:?}\n",
        environment = environment(sandbox).unwrap_or("sod"),
        client_id = sandbox.client_id(),
        client_secret = path("client-secret"),
        private_key = path("private-key.pem"),
        sealing_key = path("sealing-key"),
        database = path("ticketd.db"),
        tenants = path("tenants"),
    )
}

/// The environment of SuperOffice that the sandbox stands in for by name, if it does.
fn environment(sandbox: &Sandbox) -> Option<&str> {
    let label = sandbox.names().first()?.strip_suffix(".superoffice.com")?;
    matches!(label, "sod" | "qaonline" | "online").then_some(label)
}

fn custom_base_url(sandbox: &Sandbox) -> String {
    let scheme = if sandbox.ca_pem().is_some() { "https" } else { "http" };
    format!("allow_custom_base_url = true\nbase_url = \"{scheme}://{}\"\n", sandbox.login_address())
}

fn text(sandbox: &Sandbox, tenants: &[SandboxTenant], directory: &Path) -> String {
    let base = sandbox.base_url();
    let control = sandbox.control_url();
    let path = |name: &str| directory.join(name).display().to_string();
    let mut lines = vec![
        "SuperOffice's side is up. Its keys and secrets are throwaway: trust them nowhere else.".to_owned(),
        String::new(),
        format!("login host      {base}"),
        format!("tenant hosts    {}", sandbox.host_urls().join(" ")),
        format!("control API     {control}"),
        format!("client id       {}", sandbox.client_id()),
        format!("client secret   {} (in {})", sandbox.client_secret(), path("client-secret")),
    ];
    match sandbox.partner_private_key_pem() {
        Some(_) => lines.push(format!("private key     {}", path("private-key.pem"))),
        None => lines.push(format!("private key     yours; put it at {} for ticketd", path("private-key.pem"))),
    }
    for tenant in tenants {
        lines.push(format!(
            "tenant          {}  system user token \"{}\"  serial {}",
            tenant.context_identifier, tenant.system_user_token, tenant.serial
        ));
    }
    let mut curl = "curl -s".to_owned();
    if sandbox.ca_pem().is_some() {
        lines.push(format!("authority       {}", path("ca.pem")));
        curl = format!("{curl} --cacert {}", path("ca.pem"));
    }
    if !sandbox.names().is_empty() {
        let address = sandbox.login_address();
        curl = format!("{curl} --connect-to ::{address}");
        lines.extend([String::new(), by_name(address)]);
        lines.extend(sandbox.names().iter().map(|name| format!("  {} {name}", address.ip())));
    }
    lines.extend([String::new(), "Try it:".to_owned(), format!("  {curl} {base}/login/.well-known/jwks")]);
    if let Some(tenant) = tenants.first() {
        let context_identifier = &tenant.context_identifier;
        lines.extend([
            format!("  {curl} {base}/api/state/{context_identifier}"),
            format!("  T=\"{}.$(date -u +%Y%m%d%H%M)\"", tenant.system_user_token),
            format!(
                "  S=$(printf %s \"$T\" | openssl dgst -sha256 -sign {} | openssl base64 -A)",
                path("private-key.pem")
            ),
            format!(
                "  {curl} {base}/Login/api/PartnerSystemUser/Authenticate -H 'Content-Type: application/json' -d \
                 \"{{\\\"SignedSystemToken\\\":\\\"$T.$S\\\",\\\"ApplicationToken\\\":\\\"{}\\\",\
                 \\\"ContextIdentifier\\\":\\\"{context_identifier}\\\",\\\"ReturnTokenType\\\":\\\"JWT\\\"}}\"",
                sandbox.client_secret()
            ),
            format!("  curl -s -X POST {control}/tenants/{context_identifier}/refresh-tokens"),
        ]);
    }
    lines.extend([
        String::new(),
        "Let things go wrong, and right again:".to_owned(),
        format!("  curl -s {control}/knobs -H 'Content-Type: application/json' -d '\"slow=500ms,endpoint=exchange\"'"),
        format!("  curl -s -X DELETE {control}/knobs"),
        format!("  curl -s {control}/status"),
        String::new(),
        "Point ticketd at it:".to_owned(),
        match environment(sandbox) {
            Some(_) => format!("  SSL_CERT_FILE={} ticketd serve --config {}", path("ca.pem"), path("ticketd.toml")),
            None => format!("  ticketd serve --config {}", path("ticketd.toml")),
        },
    ]);
    lines.join("\n")
}

/// How clients with the names in them find the sandbox.
fn by_name(address: SocketAddr) -> String {
    let port = if address.port() == 443 {
        String::new()
    } else {
        format!(", and port 443 to port {} (or --listen on port 443)", address.port())
    };
    format!(
        "Clients with the hosts' names in them trust the authority's file and find them by these lines of /etc/hosts{port}:"
    )
}
