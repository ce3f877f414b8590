use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use tempfile::TempDir;

use super::*;

const EXAMPLE: &str = include_str!("../../ticketd.example.toml");
const STRONG_KEY: &[u8] = include_bytes!("../../tests/fixtures/keys/selfmade2048.pkcs8.pem");
const WEAK_KEY: &[u8] = include_bytes!("../../tests/fixtures/keys/selfmade1024.pkcs8.pem");
const SEALING_KEY: &[u8] = include_bytes!("../../tests/fixtures/keys/sealing.key");
const CANARY: &str = "c4nary5ecret";

/// A directory with the files that a configuration names.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        let files = Self(TempDir::new().unwrap());
        files.write("client-secret", b"c4nary5ecret\n");
        files.write("key.pem", STRONG_KEY);
        files.write("sealing.key", SEALING_KEY);
        files
    }

    fn write(&self, name: &str, content: &[u8]) -> String {
        let path = self.0.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        self.path(name)
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    /// The least that works, with `more` behind it.
    fn toml(&self, more: &str) -> String {
        format!(
            "[superoffice]\nenvironment = \"sod\"\nclient_id = \"0123456789abcdef\"\nclient_secret_file = {:?}\nsigning_key_files = [{:?}]\n[store]\nsealing_key_files = [{:?}]\nurl = {:?}\n{more}",
            self.path("client-secret"),
            self.path("key.pem"),
            self.path("sealing.key"),
            format!("sqlite://{}", self.path("ticketd.db")),
        )
    }
}

fn parse(text: &str, environment: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    Config::parse(text, environment.iter().map(|(name, value)| (name.into(), value.into())))
}

fn mistakes(text: &str, environment: &[(&str, &str)]) -> Vec<String> {
    let error = parse(text, environment).unwrap_err();
    assert!(!format!("{error} {error:?}").contains(CANARY), "{error}");
    error.to_string().lines().map(str::to_owned).collect()
}

#[test]
fn the_example_parses_and_shows_the_defaults() {
    let files = Files::new();
    let environment = [
        ("TICKETD_SUPEROFFICE_CLIENT_SECRET_FILE", files.path("client-secret")),
        ("TICKETD_SUPEROFFICE_SIGNING_KEY_FILES", files.path("key.pem")),
        ("TICKETD_STORE_URL", format!("sqlite://{}", files.path("ticketd.db"))),
        ("TICKETD_STORE_SEALING_KEY_FILES", files.path("sealing.key")),
    ];
    let load = |text: &str| {
        let environment = environment.iter().map(|(name, value)| (name.into(), value.into()));
        Config::parse(text, environment).unwrap().config
    };
    let example = load(EXAMPLE);
    assert_eq!(example.superoffice.client_secret.expose(), CANARY);
    assert_eq!(example.superoffice.request_timeout, Duration::from_secs(10));
    assert_eq!(example.tickets.lifetime, Duration::from_hours(6));
    assert_eq!(example.tickets.renewal, credentials::Renewal::KeepAlive);
    assert_eq!(example.server.max_calls, 20_000);
    let short = load("[superoffice]\nenvironment = \"sod\"\nclient_id = \"0123456789abcdef0123456789abcdef\"");
    assert_eq!(format!("{example:?}"), format!("{short:?}"));
    assert!(!format!("{example:?}").contains(CANARY));
}

#[test]
fn the_example_has_every_key_and_no_other() {
    let mut section = String::new();
    let mut shown = BTreeSet::new();
    for line in EXAMPLE.lines().map(|line| line.trim_start_matches("# ")) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            name.clone_into(&mut section);
        } else if let Some((key, _)) = line.split_once(" = ") {
            shown.insert(format!("{section}.{key}"));
        }
    }
    let mut reader = Reader::new("", []).unwrap();
    assert!(assemble(&mut reader).is_err());
    assert_eq!(shown, reader.asked_for());
}

#[test]
fn redirect_uris_are_kept_letter_for_letter_and_have_to_be_protected() {
    let files = Files::new();
    let load = |uris: &str| parse(&files.toml("").replace("[store]", &format!("redirect_uris = {uris}\n[store]")), &[]);
    assert_eq!(load("[\"https://a.example/\"]").unwrap().config.superoffice.redirect_uris, ["https://a.example/"]);
    let given = "[\"https://A.example:443/x?y=%41\", \"http://127.0.0.1:8080/in\", \"http://localhost/in\"]";
    let kept = load(given).unwrap().config.superoffice.redirect_uris;
    assert_eq!(format!("{kept:?}"), given);
    for wrong in [
        "http://a.example/",
        "http://127.0.0.1.a.example/",
        "javascript:alert(1)",
        "https://a.example/#f",
        "https://c4nary5ecret@a.example/",
        "https://a.example/ x",
        "https://",
        "/signed-in",
        "",
        &format!("https://a.example/{}", "x".repeat(2_048)),
    ] {
        let error = load(&format!("[{wrong:?}]")).unwrap_err().to_string();
        assert!(error.contains("superoffice.redirect_uris") && !error.contains(CANARY), "{wrong}: {error}");
    }
    assert!(load("[]").is_err() && load("\"https://a.example/\"").is_err());
    let environment = [("TICKETD_SUPEROFFICE_REDIRECT_URIS", "https://a.example/, http://[::1]:1/in")];
    let config = parse(&files.toml(""), &environment).unwrap().config;
    assert_eq!(config.superoffice.redirect_uris, ["https://a.example/", "http://[::1]:1/in"]);
}

#[test]
fn a_variable_wins_over_the_file() {
    let files = Files::new();
    let text = files.toml("[server]\nmax_calls = 7\nreflection = false\n[tickets]\nexchange_budget = \"5s\"");
    let environment = [
        ("TICKETD_SERVER_MAX_CALLS", "9"),
        ("TICKETD_SERVER_REFLECTION", "true"),
        ("TICKETD_SERVER_ADDRESS", "[::1]:9443"),
        ("TICKETD_CONFIG", "/elsewhere"),
        ("PATH", "/bin"),
        // A Kubernetes Service named ticketd, and one named ticketd-server.
        ("TICKETD_SERVICE_HOST", "10.0.0.1"),
        ("TICKETD_SERVICE_PORT", "8443"),
        ("TICKETD_SERVICE_PORT_GRPC", "8443"),
        ("TICKETD_PORT", "tcp://10.0.0.1:8443"),
        ("TICKETD_PORT_8443_TCP", "tcp://10.0.0.1:8443"),
        ("TICKETD_PORT_8443_TCP_ADDR", "10.0.0.1"),
        ("TICKETD_SERVER_SERVICE_HOST", "10.0.0.1"),
        ("TICKETD_SERVER_PORT_8443_TCP_PROTO", "tcp"),
    ];
    let config = parse(&text, &environment).unwrap().config;
    assert_eq!(config.server.max_calls, 9);
    assert!(config.server.reflection);
    assert_eq!(config.server.address, SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 9443)));
    assert_eq!(config.tickets.exchange_budget, Duration::from_secs(5));
}

#[test]
fn a_life_of_20_seconds_works_with_windows_to_match() {
    let windows =
        "lifetime = \"20s\"\nrenew_before_min = \"5s\"\nrenew_before_max = \"8s\"\nwait_before_expiry = \"1s\"";
    let config = parse(&Files::new().toml(&format!("[tickets]\n{windows}")), &[]).unwrap().config;
    assert_eq!(config.tickets.lifetime, Duration::from_secs(20));
}

#[test]
fn each_mistake_is_named_with_its_key_and_what_is_expected() {
    let files = Files::new();
    let empty = files.write("empty", b"\r\n");
    let spaced = files.write("spaced", b"c4nary5ecret and more");
    let directory = files.0.path().to_str().unwrap();
    let missing = files.path("missing");
    let table: &[(&str, &str)] = &[
        (
            "[tickets]\nlifetime = 6",
            "tickets.lifetime (line 10): expected a duration from \"1s\" to \"1day\", with its unit",
        ),
        ("[tickets]\nlifetime = \"6 lightyears\"", "tickets.lifetime (line 10): expected a duration"),
        ("[tickets]\nlifetime = \"70m\"", "tickets.renew_before_max: must be shorter than tickets.lifetime"),
        (
            "[tickets]\nrenew_before_min = \"71m\"",
            "tickets.renew_before_min (line 10): must not be longer than tickets.renew_before_max",
        ),
        (
            "[tickets]\nwait_before_expiry = \"40m\"",
            "tickets.wait_before_expiry (line 10): must be shorter than tickets.renew_before_min",
        ),
        (
            "[tickets]\nclock_leeway = \"61s\"",
            "tickets.clock_leeway (line 10): expected a duration from \"0s\" to \"1m\"",
        ),
        ("[tickets]\ncapacity = 0", "tickets.capacity (line 10): expected a whole number from 1 to 10000000"),
        ("[tickets]\ncapacity = 1.5", "tickets.capacity (line 10): expected a whole number"),
        ("[tickets]\ncapacity = 99999999999999999999", "tickets.capacity (line 10): expected a whole number"),
        ("[tickets]\nrenewal = \"never\"", "tickets.renewal (line 10): expected \"keep-alive\" or \"exchange\""),
        ("[tickets]\nlivetime = \"6h\"", "tickets.livetime (line 10): is unknown: did you mean tickets.lifetime?"),
        ("[tickes]", "tickes (line 9): is unknown: did you mean [tickets]?"),
        ("[ticket]\nlifetime = \"6h\"", "ticket.lifetime (line 10): is unknown: did you mean tickets.lifetime?"),
        ("[server]\nreflection = \"yes\"", "server.reflection (line 10): expected true or false"),
        (
            "[server]\naddress = \"localhost\"",
            "server.address (line 10): expected an IP address and port, like \"127.0.0.1:8443\"",
        ),
        ("[server]\naddress = \"0.0.0.0:8443\"", "server.address (line 10): must be on the loopback interface"),
        (
            "[server]\naddress = \"[::ffff:192.0.2.1]:8443\"",
            "server.address (line 10): must be on the loopback interface",
        ),
        ("[server.tls]\nfile = 1", "server.tls (line 9): is unknown"),
        ("[http]\naddress = \"0.0.0.0:8085\"", "http.public_url: must be set as http.address is"),
        ("[http]\npublic_url = \"https://a.example\"", "http.address: must be set as http.public_url is"),
        (
            "[http]\naddress = \"0.0.0.0:8085\"\npublic_url = \"http://tickets.example.com\"",
            "http.public_url (line 11): expected https://, a host and perhaps a port",
        ),
        (
            "[http]\naddress = \"0.0.0.0:8085\"\npublic_url = \"https://c4nary5ecret@tickets.example.com\"",
            "http.public_url (line 11): expected https://",
        ),
        ("[telemetry]\nlog_filter = \"ticketd=loud\"", "telemetry.log_filter (line 10): is no log filter"),
        ("[telemetry]\nlog_format = \"xml\"", "telemetry.log_format (line 10): expected \"json\" or \"text\""),
        (
            "[telemetry]\notlp_endpoint = \"https://c4nary5ecret@collector\"",
            "telemetry.otlp_endpoint (line 10): expected a collector's",
        ),
    ];
    for (more, expected) in table {
        let found = mistakes(&files.toml(more), &[]);
        assert_eq!(found.len(), 1, "{more}: {found:?}");
        assert!(found[0].contains(expected), "{more}: {found:?}");
    }

    let variables: &[(&str, &str, String)] = &[
        ("ENVIRONMENT", "stage", "superoffice.environment (TICKETD_SUPEROFFICE_ENVIRONMENT): expected \"sod\", \"qaonline\" or \"online\"".to_owned()),
        ("CLIENT_ID", "c4nary5ecret ", "superoffice.client_id (TICKETD_SUPEROFFICE_CLIENT_ID): expected the application's client id".to_owned()),
        ("CLIENT_SECRET", CANARY, "superoffice.client_secret (TICKETD_SUPEROFFICE_CLIENT_SECRET): a secret is read from a file only: set superoffice.client_secret_file to its path".to_owned()),
        ("SIGNING_KEY", CANARY, "a secret is read from a file only: set superoffice.signing_key_files to its path".to_owned()),
        ("PRIVATE_KEY", CANARY, "(TICKETD_SUPEROFFICE_PRIVATE_KEY): a secret is read from a file only".to_owned()),
        ("CLIENT_SECRET_FILE", CANARY, "cannot read the path (not shown: it does not begin with / or ./): No such file".to_owned()),
        ("CLIENT_SECRET_FILE", &missing, format!("cannot read {missing}: No such file")),
        ("CLIENT_SECRET_FILE", directory, format!("cannot read {directory}: it is not a regular file")),
        ("CLIENT_SECRET_FILE", "/dev/zero", "cannot read /dev/zero: it is not a regular file".to_owned()),
        ("CLIENT_SECRET_FILE", &empty, format!("{empty} is empty: write the secret into it")),
        ("CLIENT_SECRET_FILE", &spaced, format!("{spaced} holds something else than a client secret")),
        ("SIGNING_KEY_FILES", "", "expected a list of paths of private key files, 1 to 16 of them".to_owned()),
        ("SIGNING_KEY_FILES", &spaced, format!("superoffice.signing_key_files (TICKETD_SUPEROFFICE_SIGNING_KEY_FILES): {spaced} is no usable signing key: ")),
        ("SIGNING_KEY_PASSPHRASE_FILE", &missing, format!("cannot read {missing}: No such file")),
        ("BASE_URL", "http://127.0.0.1:8400", "superoffice.base_url (TICKETD_SUPEROFFICE_BASE_URL): is for development: it is refused unless".to_owned()),
        ("BASE_URL", "https://sod.superoffice.com.attacker.example", "expected a scheme, a loopback host and a port".to_owned()),
        ("BASE_URL", "http://127.0.0.1:8400/path", "expected a scheme, a loopback host and a port".to_owned()),
        ("EXTRA_CA_FILE", "/etc/hostname", "is for superoffice.base_url, which is not set".to_owned()),
        ("REGION", "eu", "superoffice.region (TICKETD_SUPEROFFICE_REGION): is unknown".to_owned()),
    ];
    for (name, value, expected) in variables {
        let found = mistakes(&files.toml(""), &[(&format!("TICKETD_SUPEROFFICE_{name}"), value)]);
        assert_eq!(found.len(), 1, "{name}: {found:?}");
        assert!(found[0].contains(expected), "{name}: {found:?}\n{expected}");
    }
}

#[test]
fn what_belongs_to_no_section_is_reported() {
    let files = Files::new();
    let expected: &[(&str, &str)] = &[
        ("environment = \"sod\"", "environment (line 1): is unknown: did you mean superoffice.environment?"),
        (
            "client_secret = \"c4nary5ecret\"",
            "client_secret (line 1): a secret is read from a file only: set superoffice.client_secret_file",
        ),
        ("tickets = 3", "tickets (line 1): is unknown: did you mean [tickets]?"),
        ("\"\\u001b[2J\" = 1", "\\u{1b}[2J (line 1): is unknown"),
    ];
    for (top, expected) in expected {
        let found = mistakes(&format!("{top}\n{}", files.toml("")), &[]);
        assert_eq!(found.len(), 1, "{top}: {found:?}");
        assert!(found[0].contains(expected), "{top}: {found:?}");
    }
    let found = mistakes(&files.toml(""), &[("TICKETD_LIFETIME", "6h")]);
    assert_eq!(found, ["lifetime (TICKETD_LIFETIME): is unknown: did you mean tickets.lifetime?"]);
}

#[test]
fn wrong_syntax_is_reported_by_line_without_the_line() {
    let found = mistakes("[superoffice]\nclient_secret = c4nary5ecret\n[store\nurl = \"c4nary5ecret\n", &[]);
    assert!(found.len() >= 2, "{found:?}");
    assert!(found[0].starts_with("line 2: "), "{found:?}");
    let found = mistakes("[store]\nurl = \"c4nary5ecret\"\nurl = \"\"", &[]);
    assert!(found[0].starts_with("line 3: duplicate key"), "{found:?}");
}

#[test]
fn ten_mistakes_are_ten_reports() {
    let text = "
        [superoffice]
        environment = \"prod\"
        client_secret = \"c4nary5ecret\"
        signing_key_files = [\"/nonexistent/key.xml\", \"/nonexistent/other.xml\"]
        connect_timeout = 3
        [tickets]
        lifetime = \"1h\"
        capacity = -1
        [store]
        url = \"postgres://user:c4nary5ecret@db/ticketd\"
        [server]
        adress = \"127.0.0.1:8443\"
    ";
    let found = mistakes(text, &[("TICKETD_TELEMETRY_LOG_FORMAT", "yaml")]);
    let starts = [
        "superoffice.environment (line 3): expected \"sod\"",
        "superoffice.client_id: is missing: expected the application's client id",
        "superoffice.client_secret_file: is missing: expected the path of a file",
        "superoffice.signing_key_files (line 5): cannot read /nonexistent/key.xml: No such file",
        "superoffice.signing_key_files (line 5): cannot read /nonexistent/other.xml: No such file",
        "superoffice.connect_timeout (line 6): expected a duration",
        "tickets.capacity (line 9): expected a whole number",
        "tickets.renew_before_max: must be shorter than tickets.lifetime",
        "store.url (line 11): a password does not belong in a URL: name its file in store.password_file",
        "store.sealing_key_files: is missing: expected a list of paths of sealing key files",
        "telemetry.log_format (TICKETD_TELEMETRY_LOG_FORMAT): expected \"json\" or \"text\"",
        "server.adress (line 13): is unknown: did you mean server.address?",
        "superoffice.client_secret (line 4): a secret is read from a file only",
    ];
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for start in starts {
        assert!(found.iter().any(|line| line.starts_with(start)), "{start} is not in {found:#?}");
    }
}

#[test]
fn loose_permissions_and_weak_keys_are_warnings() {
    let files = Files::new();
    assert_eq!(parse(&files.toml(""), &[]).unwrap().warnings, []);
    let weak = files.write("weak.pem", WEAK_KEY);
    fs::set_permissions(files.path("client-secret"), fs::Permissions::from_mode(0o644)).unwrap();
    let keys = format!("{}, {weak}", files.path("key.pem"));
    let loaded = parse(&files.toml(""), &[("TICKETD_SUPEROFFICE_SIGNING_KEY_FILES", &keys)]).unwrap();
    assert_eq!(loaded.config.signing_keys.len(), 2);
    let warnings: Vec<_> = loaded.warnings.iter().map(Warning::to_string).collect();
    let expected = [
        format!(
            "superoffice.client_secret_file: {} can be read by everybody: take the permission away (chmod o-r)",
            files.path("client-secret")
        ),
        format!("superoffice.signing_key_files: {weak} has 1024 bits: register one of 2048 or more"),
    ];
    assert_eq!(warnings, expected);
}

#[test]
fn a_custom_base_url_needs_the_switch() {
    let files = Files::new();
    let switch = ("TICKETD_SUPEROFFICE_ALLOW_CUSTOM_BASE_URL", "true");
    for url in ["http://127.0.0.1:8400", "https://localhost:8400", "http://[::1]:8400/"] {
        let config = parse(&files.toml(""), &[switch, ("TICKETD_SUPEROFFICE_BASE_URL", url)]).unwrap().config;
        assert!(config.superoffice.development.unwrap().base_url.as_str().starts_with(url));
    }
}

#[test]
fn pages_are_served_where_the_address_and_the_public_url_say() {
    let files = Files::new();
    assert!(parse(&files.toml("[http]"), &[]).unwrap().config.http.is_none());
    let address = ("TICKETD_HTTP_ADDRESS", "0.0.0.0:8085");
    let public_url = ("TICKETD_HTTP_PUBLIC_URL", "https://tickets.example.com/");
    let pages = parse(&files.toml("[http]\nmax_connections = 9"), &[address, public_url]).unwrap().config.http.unwrap();
    assert_eq!(pages.address, SocketAddr::from(([0, 0, 0, 0], 8085)));
    assert_eq!(pages.public_url.redirect_uri(), "https://tickets.example.com/onboarding/callback");
    assert_eq!((pages.max_connections, pages.request_timeout), (9, Duration::from_secs(30)));
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Config::load(Path::new("/nonexistent/ticketd.toml"), []).unwrap_err();
    assert!(error.to_string().starts_with("the configuration /nonexistent/ticketd.toml cannot be read: "), "{error}");
}

#[test]
fn a_postgresql_database_has_its_password_in_a_file() {
    let files = Files::new();
    let password = files.write("password", b"c4nary5ecret\n");
    let sealing_key = files.toml("").lines().find(|line| line.starts_with("sealing_key_files")).unwrap().to_owned();
    let with_url = |url: &str, more: &str| {
        let text = files.toml("");
        let (before, _) = text.split_once("[store]").unwrap();
        format!("{before}[store]\n{sealing_key}\nurl = {url:?}\n{more}")
    };
    let more = format!("password_file = {password:?}\nsession_url = \"postgres://t@db:5433/t\"\nmax_connections = 3");
    let store = parse(&with_url("postgres://t@db/t", &more), &[]).unwrap().config.store;
    assert_eq!(store.postgres.password.as_ref().unwrap().expose(), CANARY);
    assert_eq!(
        (store.postgres.session_url.as_deref(), store.postgres.max_connections),
        (Some("postgres://t@db:5433/t"), 3)
    );
    assert!(!format!("{store:?}").contains(CANARY));

    let refused = mistakes(&with_url("postgres://t:c4nary5ecret@db/t", "session_url = \"mysql://db\""), &[]);
    assert!(refused.iter().any(|mistake| mistake.contains("store.password_file")), "{refused:?}");
    assert!(refused.iter().any(|mistake| mistake.starts_with("store.session_url")), "{refused:?}");
    let refused = mistakes(&files.toml(&format!("password_file = {password:?}")), &[]);
    assert!(refused.iter().any(|mistake| mistake.starts_with("store.password_file")), "{refused:?}");
}
