//! Secrets: from files that are not open to everybody, and never shown.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;

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
fn the_applications_files_are_all_read_again() {
    let files = Files::new();
    let passphrase = files.write("passphrase", b"c4nary5ecret");
    let environment = [("TICKETD_SUPEROFFICE_SIGNING_KEY_PASSPHRASE_FILE", passphrase.as_str())];
    let source = parse(&files.toml(""), &environment).unwrap().config.source.unwrap();
    let read: BTreeSet<_> = source.application_files().iter().map(|file| file.to_str().unwrap().to_owned()).collect();
    assert_eq!(read, BTreeSet::from([files.path("client-secret"), files.path("key.pem"), passphrase]));
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
