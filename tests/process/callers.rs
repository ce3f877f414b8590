use std::fs;
use std::os::unix::fs::PermissionsExt;

use rustix::process::Signal;

use crate::pki::{self, Authority};
use crate::place::{Place, TENANT};

/// A place whose callers come over TLS, with the files of one that is accepted.
async fn place_with_tls() -> (Place, Authority) {
    let place = Place::new().await;
    let corp = Authority::root("corp");
    let directory = place.path("ticketd.toml").parent().unwrap().to_owned();
    corp.issue(&pki::server(&["localhost"])).write(&directory, "tls");
    corp.issue(&pki::client([pki::uri("spiffe://corp.example/ns/crm/sa/sync")])).write(&directory, "sync");
    place.write("corp.pem", &corp.pem());
    place.write("stranger.pem", &Authority::root("stranger").pem());
    for name in ["tls.key", "sync.key"] {
        fs::set_permissions(place.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    place.write("policy.yaml", &policy());
    let path = |name: &str| format!("\"{}\"", place.path(name).display());
    for (key, value) in [
        ("allow_unidentified_callers", "false".to_owned()),
        ("certificate_file", path("tls.crt")),
        ("key_file", path("tls.key")),
        ("trust_bundles", format!("[\"corp.example={}\"]", place.path("corp.pem").display())),
        ("unix_socket", path("ticketd.sock")),
        ("policy_file", path("policy.yaml")),
    ] {
        place.configure(key, &value);
    }
    (place, corp)
}

/// Both callers may have tickets: the one with the certificate, and whoever runs the test.
fn policy() -> String {
    let user = rustix::process::getuid().as_raw();
    format!(
        "apiVersion: policy/v1\ncallers:\n\
         - {{id: spiffe://corp.example/ns/crm/sa/sync, rpcs: [GetSystemTicket], tenants: [\"*\"]}}\n\
         - {{unixUser: {user}, rpcs: [GetSystemTicket], tenants: [\"*\"]}}\n"
    )
}

#[tokio::test]
async fn tickets_are_got_over_tls_with_a_certificate_and_over_a_unix_socket() {
    let (place, _corp) = place_with_tls().await;
    place.put_tenant().await;
    let mut server = place.serve().await;
    let [https, http] = ["https", "http"].map(|scheme| format!("{scheme}://localhost:{}", server.address.port()));
    let get = async |arguments: &[&str]| place.run(&[&["ticket", "get", TENANT], arguments].concat()).await;
    let identified = ["--client-certificate-file", "sync.crt", "--client-key-file", "sync.key"];
    let over_tls = ["--address", https.as_str(), "--ca-file", "corp.pem"];
    for arguments in [[over_tls, identified].concat(), vec!["--address", "unix:ticketd.sock"]] {
        let got = get(&arguments).await;
        assert!(got.code == Some(0) && got.output.contains(TENANT), "{arguments:?}: {got:?}");
    }
    let stranger = ["--address", https.as_str(), "--ca-file", "stranger.pem"];
    for arguments in [over_tls.to_vec(), vec!["--address", &http], [stranger, identified].concat()] {
        let refused = get(&arguments).await;
        assert!(refused.code != Some(0) && refused.output.is_empty(), "{arguments:?}: {refused:?}");
    }
    let misused = get(&["--address", &https]).await;
    assert!(misused.code == Some(64) && misused.errors.contains("--ca-file is missing"), "{misused:?}");

    assert!(place.path("ticketd.sock").exists());
    server.signal(Signal::TERM);
    assert!(server.exit().await.success());
    let log = server.log();
    assert!(
        log.contains("the peer shows no client certificate") && log.contains("the peer does not speak TLS"),
        "{log}"
    );
    let key = fs::read_to_string(place.path("tls.key")).unwrap();
    let secret = key.lines().filter(|line| !line.starts_with('-')).collect::<String>();
    let leaks =
        secret.as_bytes().windows(12).skip(28).filter(|piece| log.contains(std::str::from_utf8(piece).unwrap()));
    assert_eq!(leaks.count(), 0, "no piece of the key is in the log");
    assert!(!place.path("ticketd.sock").exists(), "the socket goes with its server");
}

#[tokio::test]
async fn check_config_tells_how_callers_come_in_and_reads_what_they_are_verified_with() {
    let (place, corp) = place_with_tls().await;
    let check = || place.run(&["check-config"]);
    let good = check().await;
    assert!(good.code == Some(0), "{good:?}");
    assert!(good.output.contains("127.0.0.1:0 (TLS)") && good.output.contains("ticketd.sock"), "{good:?}");

    let directory = place.path("ticketd.toml").parent().unwrap().to_owned();
    let other = corp.issue(&pki::server(&["localhost"]));
    fs::write(directory.join("tls.key"), &other.key).unwrap();
    let bad = check().await;
    assert!(bad.code != Some(0) && bad.errors.contains("is not that of the certificate"), "{bad:?}");
    assert!(!bad.errors.contains("PRIVATE KEY"), "{bad:?}");
}
