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
    let unidentified = ("TICKETD_SERVER_ALLOW_UNIDENTIFIED_CALLERS", "true");
    parse_as_it_is(text, &[&[unidentified], environment].concat())
}

fn parse_as_it_is(text: &str, environment: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
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
        ("TICKETD_SERVER_ALLOW_UNIDENTIFIED_CALLERS", "true".to_owned()),
    ];
    let load = |text: &str| {
        let environment = environment.iter().map(|(name, value)| (name.into(), value.into()));
        Config::parse(text, environment).unwrap().config
    };
    let example = load(EXAMPLE);
    assert_eq!(example.superoffice.client_secret.get().expose(), CANARY);
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
fn proxies_are_networks_and_there_may_be_none() {
    let files = Files::new();
    let load = |networks: &str| {
        let text = files.toml(&format!("[server]\nallow_unidentified_callers = true\nproxy_networks = {networks}"));
        parse(&text, &[]).map(|loaded| loaded.config.server.proxy_networks)
    };
    assert_eq!(load("[]").unwrap(), []);
    let networks = ["10.0.0.0/8", "2001:db8::/32", "192.0.2.7/32"];
    assert_eq!(load(&format!("{networks:?}")).unwrap().iter().map(ToString::to_string).collect::<Vec<_>>(), networks);
    for wrong in ["[\"10.0.0.0\"]", "[\"10.0.0.0/33\"]", "[\"example.com/8\"]", "\"10.0.0.0/8\"", "[8]"] {
        let error = load(wrong).unwrap_err().to_string();
        assert!(error.contains("server.proxy_networks") && error.contains("a list of networks"), "{wrong}: {error}");
    }
    let text = files.toml("[server]\nallow_unidentified_callers = true");
    for (variable, count) in [("", 0), ("10.0.0.0/8, fd00::/8", 2)] {
        let loaded = parse(&text, &[("TICKETD_SERVER_PROXY_NETWORKS", variable)]).unwrap();
        assert_eq!(loaded.config.server.proxy_networks.len(), count, "{variable}");
    }
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
    assert_eq!(config.server.address, Some(SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 9443))));
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
fn weak_keys_are_warnings() {
    let files = Files::new();
    let policy = files.write("policy.yaml", b"apiVersion: policy/v1\ncallers: []\n");
    let policy = ("TICKETD_AUTHORIZATION_POLICY_FILE", policy.as_str());
    assert_eq!(parse(&files.toml(""), &[policy]).unwrap().warnings, []);
    let weak = files.write("weak.pem", WEAK_KEY);
    let keys = format!("{}, {weak}", files.path("key.pem"));
    let loaded = parse(&files.toml(""), &[policy, ("TICKETD_SUPEROFFICE_SIGNING_KEY_FILES", &keys)]).unwrap();
    assert_eq!(loaded.config.signing_keys.len(), 2);
    let warnings: Vec<_> = loaded.warnings.iter().map(Warning::to_string).collect();
    assert_eq!(
        warnings,
        [format!("superoffice.signing_key_files: {weak} has 1024 bits: register one of 2048 or more")]
    );
}

#[test]
fn a_secret_that_everybody_can_read_or_change_is_refused() {
    const SECRETS: [&str; 5] = ["client-secret", "key.pem", "sealing.key", "password", "tenants/Cust1"];
    let files = Files::new();
    let passphrase = files.write("passphrase", b"c4nary5ecret");
    let password = files.write("password", b"c4nary5ecret");
    fs::create_dir(files.path("tenants")).unwrap();
    files.write("tenants/Cust1", b"c4nary5ecret");
    let text = files.toml(&format!("tenants_directory = {:?}\npassword_file = {password:?}", files.path("tenants")));
    let environment = [
        ("TICKETD_STORE_URL", "postgres://t@db/t"),
        ("TICKETD_SUPEROFFICE_SIGNING_KEY_PASSPHRASE_FILE", passphrase.as_str()),
    ];
    let with_mode = |secrets: &[&str], mode: u32| {
        for secret in secrets {
            fs::set_permissions(files.path(secret), fs::Permissions::from_mode(mode)).unwrap();
        }
    };
    // To its owner or its group alone, as Kubernetes mounts it for a pod with an fsGroup.
    for mode in [0o400, 0o440, 0o600, 0o640, 0o660] {
        with_mode(&SECRETS, mode);
        assert!(parse(&text, &environment).is_ok(), "{mode:o}");
    }
    for mode in [0o444, 0o644, 0o604, 0o602, 0o666] {
        with_mode(&SECRETS, mode);
        let found = mistakes(&text, &environment);
        assert_eq!(found.len(), SECRETS.len(), "{found:?}");
        for secret in SECRETS {
            let expected = format!(
                "{} is open to everybody (mode 0{mode:o}): take that away (chmod o-rw), \
                 or mount its Kubernetes Secret with defaultMode 0440",
                files.path(secret)
            );
            assert!(found.iter().any(|mistake| mistake.ends_with(&expected)), "{secret} {found:?}");
        }
    }
    with_mode(&SECRETS, 0o600);
    with_mode(&["passphrase"], 0o644);
    let found = mistakes(&text, &environment);
    assert!(found.len() == 1 && found[0].contains("passphrase is open to everybody (mode 0644)"), "{found:?}");
}

#[test]
fn a_policy_is_needed_and_read_unless_everybody_may_do_everything() {
    let files = Files::new();
    let socket = ("TICKETD_SERVER_UNIX_SOCKET", "/tmp/ticketd.sock");
    let error = parse_as_it_is(&files.toml(""), &[socket]).unwrap_err().to_string();
    assert!(error.starts_with("authorization.policy_file: must be set"), "{error}");

    let loaded = parse(&files.toml(""), &[]).unwrap();
    let warnings: Vec<_> = loaded.warnings.iter().map(Warning::to_string).collect();
    assert!(warnings[0].starts_with("authorization.policy_file is not set: every caller"), "{warnings:?}");
    assert_eq!(loaded.config.authorization.policy_file, None);

    let path = files.write("policy.yaml", b"apiVersion: policy/v1\ncallers: []\n");
    let more = format!("[authorization]\npolicy_file = {path:?}\n");
    let loaded = parse_as_it_is(&files.toml(&more), &[socket]).unwrap();
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.config.authorization.policy.entries(), 0);
    assert_eq!(loaded.config.authorization.policy_file, Some(path.clone().into()));

    files.write("policy.yaml", b"apiVersion: c4nary5ecret\ncalers: []\n");
    let told = mistakes(&files.toml(&more), &[]);
    assert_eq!(told.len(), 3, "{told:#?}");
    assert!(told.iter().all(|line| line.starts_with("authorization.policy_file (line 10): /")), "{told:#?}");
    assert!(told[0].ends_with("policy.yaml: line 1: apiVersion: expected apiVersion: policy/v1"), "{told:#?}");
    fs::remove_file(&path).unwrap();
    let told = mistakes(&files.toml(&more), &[]);
    assert!(told[0].contains("cannot read") && told[0].contains("No such file"), "{told:?}");
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
fn the_admin_port_is_where_its_address_says_also_beyond_this_machine() {
    let files = Files::new();
    assert!(parse(&files.toml("[admin]"), &[]).unwrap().config.admin.is_none());
    let admin = |text: &str| parse(&files.toml(text), &[]).map(|loaded| loaded.config.admin.unwrap().address);
    let everywhere = SocketAddr::from(([0, 0, 0, 0], 8082));
    assert_eq!(admin("[admin]\naddress = \"0.0.0.0:8082\"").unwrap(), everywhere);
    let variable = [("TICKETD_ADMIN_ADDRESS", "0.0.0.0:8082")];
    assert_eq!(parse(&files.toml(""), &variable).unwrap().config.admin.unwrap().address, everywhere);
    let error = admin("[admin]\naddress = \"8082\"").unwrap_err().to_string();
    assert!(error.contains("admin.address (line 10): expected"), "{error}");
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

#[test]
fn service_accounts_are_accepted_over_tls_by_keys_from_one_place() {
    let files = Files::new();
    let (ca, token) = (files.write("ca.crt", b"x"), files.write("token", b"x"));
    let tls = [
        ("TICKETD_TLS_CERTIFICATE_FILE", files.write("tls.crt", b"x")),
        ("TICKETD_TLS_KEY_FILE", files.write("tls.key", b"x")),
    ];
    let tls: Vec<(&str, &str)> = tls.iter().map(|(name, path)| (*name, path.as_str())).collect();
    let identity = |keys: &str| files.toml(&format!("[identity]\n{keys}"));
    assert!(parse(&identity(""), &tls).unwrap().config.identity.is_none());

    let url = "issuer = \"https://cluster\"\naudience = \"ticketd\"\njwks_url = \"https://api/openid/v1/jwks\"\n";
    let of_api_server = format!("{url}ca_file = {ca:?}\ntoken_file = {token:?}\ntoken_review = true");
    let settings = parse(&identity(&of_api_server), &tls).unwrap().config.identity.unwrap();
    assert_eq!((settings.issuer.as_str(), settings.audience.as_str()), ("https://cluster", "ticketd"));
    assert!(settings.token_review);
    let crate::identity::KeySource::Url { url: address, ca_file, token_file } = settings.keys else { panic!("a URL") };
    assert_eq!(address.as_str(), "https://api/openid/v1/jwks");
    assert_eq!((ca_file, token_file), (Some(ca.clone().into()), Some(token.into())));
    let settings = parse(
        &identity(&url.replace("jwks_url = \"https://api/openid/v1/jwks\"", &format!("jwks_file = {ca:?}"))),
        &tls,
    );
    assert!(matches!(settings.unwrap().config.identity.unwrap().keys, crate::identity::KeySource::File(_)));

    for (keys, mistake) in [
        ("audience = \"ticketd\"".to_owned(), "identity.issuer: must be set"),
        ("token_review = true".to_owned(), "identity.issuer: must be set"),
        (url.replace("audience = \"ticketd\"\n", ""), "identity.audience: must be set as identity.issuer is"),
        ("issuer = \"a\"\naudience = \"b\"".to_owned(), "identity.jwks_url: must be set as identity.issuer is"),
        (format!("{url}jwks_file = {ca:?}"), "one of the two"),
        (format!("{url}token_review = true"), "identity.token_review (line 13): needs identity.jwks_url"),
        (format!("{url}ca_file = \"/nonexistent\""), "identity.ca_file (line 13): cannot read /nonexistent"),
        (url.replace("https://api", "http://api"), "identity.jwks_url (line 12): expected https://"),
        (url.replace("https://api", "https://c4nary5ecret@api"), "identity.jwks_url (line 12): expected https://"),
        (url.replace("https://api", "https://:c4nary5ecret@api"), "identity.jwks_url (line 12): expected https://"),
        (url.replace("\"ticketd\"", "\"\""), "identity.audience (line 11): expected"),
        (url.replace("https://cluster", "two words"), "identity.issuer (line 10): expected"),
    ] {
        let mistakes = mistakes(&identity(&keys), &tls);
        assert!(mistakes.iter().any(|line| line.contains(mistake)), "{keys}: {mistakes:?}");
    }
    let in_plaintext = mistakes(&identity(url), &[]);
    assert!(in_plaintext.iter().any(|line| line.contains("tokens are taken over TLS only")), "{in_plaintext:?}");
}

#[test]
fn callers_that_cannot_identify_themselves_are_served_only_where_it_is_said() {
    let files = Files::new();
    let policy = files.write("policy.yaml", b"apiVersion: policy/v1\ncallers: []\n");
    let address = |text: &str| {
        let loaded = parse_as_it_is(&files.toml(text), &[("TICKETD_AUTHORIZATION_POLICY_FILE", &policy)]);
        loaded.map(|loaded| loaded.config.server.address).map_err(|error| error.to_string())
    };
    let default = Some(SocketAddr::from(([127, 0, 0, 1], 8443)));
    for text in ["", "[server]\naddress = \"127.0.0.1:8443\"", "[server]\nallow_unidentified_callers = false"] {
        let refused = address(text).unwrap_err();
        assert!(
            refused.contains("server.address") && refused.contains("callers cannot identify themselves"),
            "{refused}"
        );
    }
    assert_eq!(address("[server]\nallow_unidentified_callers = true"), Ok(default));
    assert_eq!(address("[server]\nunix_socket = \"t.sock\""), Ok(None), "a Unix socket alone will do");
    assert!(address("[server]\nunix_socket = \"t.sock\"\naddress = \"127.0.0.1:1\"").is_err());
    let [certificate, key] = ["tls.crt", "tls.key"].map(|name| files.write(name, b"read by whoever serves"));
    let tls = format!("[tls]\ncertificate_file = {certificate:?}\nkey_file = {key:?}\n");
    assert_eq!(address(&tls), Ok(default));
    assert_eq!(address(&format!("{tls}[server]\naddress = \"0.0.0.0:1\"")), Ok(Some(SocketAddr::from(([0; 4], 1)))));
    assert_eq!(address(&format!("{tls}[server]\nunix_socket = \"t.sock\"")), Ok(default), "both");
}

#[test]
fn tls_has_all_that_it_needs_or_says_what_is_missing() {
    let files = Files::new();
    let [certificate, key, bundle] =
        ["tls.crt", "tls.key", "corp.pem"].map(|name| files.write(name, b"read by whoever serves"));
    let tls = format!("[tls]\ncertificate_file = {certificate:?}\nkey_file = {key:?}\n");
    let bundles = format!("trust_bundles = [\"corp.example={bundle}\", \"other.example={bundle}\"]\n");
    let loaded = parse(&files.toml(&format!("{tls}{bundles}client_certificate = \"optional\"")), &[]).unwrap();
    let settings = loaded.config.server.tls.unwrap();
    assert_eq!(settings.trust_bundles.keys().collect::<Vec<_>>(), ["corp.example", "other.example"]);
    assert_eq!(settings.client_certificate, crate::server::ClientCertificate::Optional);

    let one = |bundle: &str| format!("{tls}trust_bundles = [{bundle:?}]");
    for (wrong, expected) in [
        (format!("[tls]\ncertificate_file = {certificate:?}"), "tls.key_file: must be set as tls.certificate_file is"),
        (format!("[tls]\nkey_file = {key:?}"), "tls.certificate_file: must be set as tls.key_file is"),
        (format!("[tls]\n{bundles}"), "tls.trust_bundles (line 10): is for TLS"),
        (
            format!("{tls}client_certificate = \"required\""),
            "tls.client_certificate (line 12): needs tls.trust_bundles",
        ),
        (format!("{tls}client_certificate = \"never\""), "tls.client_certificate (line 12): expected \"required\""),
        (format!("{tls}crl_files = [{bundle:?}]"), "tls.crl_files (line 12): needs tls.trust_bundles"),
        (one("corp.example"), "tls.trust_bundles (line 12): expected a list of trust domains and files"),
        (one(&format!("Corp={bundle}")), "tls.trust_bundles (line 12): expected a list of trust domains and files"),
        (one(&format!("={bundle}")), "tls.trust_bundles (line 12): expected a list of trust domains and files"),
        (one("corp.example=/none.pem"), "tls.trust_bundles (line 12): cannot read /none.pem"),
        (
            format!("{tls}trust_bundles = [\"a={bundle}\", \"a={bundle}\"]"),
            "tls.trust_bundles (line 12): names a trust domain twice",
        ),
        (format!("{tls}dns_ca_file = \"/none.pem\""), "tls.dns_ca_file (line 12): cannot read /none.pem"),
        ("[server]\nunix_socket_mode = \"0888\"".to_owned(), "server.unix_socket_mode (line 10): expected a file mode"),
        ("[server]\nunix_socket_mode = \"4755\"".to_owned(), "server.unix_socket_mode (line 10): expected a file mode"),
    ] {
        let found = mistakes(&files.toml(&wrong), &[]);
        assert!(found.iter().any(|mistake| mistake.starts_with(expected)), "{expected}: {found:?}");
    }
}
