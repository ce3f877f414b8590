mod addresses;
mod callers;
mod mistakes;
mod reference;
mod secrets;

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
    assert_eq!(shown, reader.asked_for().keys().cloned().collect());
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
fn a_file_that_is_not_there_is_named() {
    let error = Config::load(Path::new("/nonexistent/ticketd.toml"), []).unwrap_err();
    assert!(error.to_string().starts_with("the configuration /nonexistent/ticketd.toml cannot be read: "), "{error}");
}
