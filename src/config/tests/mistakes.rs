//! What is wrong in a configuration: each mistake with its key and what is expected, and all of them at once.

use super::*;

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
