//! Keys, and what they signed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempDir;

use super::*;

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
