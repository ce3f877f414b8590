//! Who may call, and how callers prove who they are.

use std::fs;
use std::net::SocketAddr;

use super::*;

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
