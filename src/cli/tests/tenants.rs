//! Tenants and their grants.

use serde_json::Value;
use tokio::runtime::Runtime;

use super::*;

#[test]
fn grants_are_listed_and_one_that_is_not_kept_cannot_be_revoked() {
    let (directory, config) = configured();
    let url = format!("sqlite://{}", directory.path().join("ticketd.db").display());
    let sealing = crate::store::Sealing {
        key_files: vec![SEALING_KEY.into()],
        environment: crate::identifiers::Environment::Sod,
        application: crate::identifiers::ApplicationId::new("0123456789abcdef"),
    };
    let postgres = crate::store::PostgresSettings::default();
    let settings = crate::store::Settings { url, tenants_directory: None, postgres, sealing };
    Runtime::new().unwrap().block_on(async {
        let clock = std::sync::Arc::new(crate::clock::SystemClock);
        let store = crate::store::Store::open(&settings, clock).await.unwrap();
        let grant = crate::store::Grant {
            context_identifier: "Cust1".parse().unwrap(),
            user: "Me@example.com".to_owned(),
            refresh_token: crate::identifiers::RefreshToken::new("c4nary"),
            associate_id: Some("10".to_owned()),
            create_time: jiff::Timestamp::UNIX_EPOCH,
            update_time: jiff::Timestamp::UNIX_EPOCH,
        };
        store.grants.put(&grant).await.unwrap();
        store.close().await;
    });
    let list = ticketd(&["tenants", "grants", "cust1", "--config", &config], b"").succeeded();
    let lines: Vec<_> = list.lines().collect();
    assert!(lines[0].starts_with("USER            ASSOCIATE  CREATED"), "{list}");
    assert!(lines[1].starts_with("Me@example.com  10         1970-01-01T00:00:00Z"), "{list}");
    let json = ticketd(&["tenants", "grants", "cust1", "--json", "--config", &config], b"").succeeded();
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap()[0]["user"], "Me@example.com");
    assert!(!format!("{list}{json}").contains("c4nary"));
    let failed = ticketd(&["tenants", "revoke", "Cust1", "you@example.com", "--config", &config], b"").failed();
    assert_eq!(failed, "no grant of the user is kept: the user has to sign in");
}

#[test]
fn tenants_are_administered_and_their_tokens_never_shown() {
    let (_directory, config) = configured();
    let tenants = |arguments: &[&str], input: &[u8]| {
        let outcome = ticketd(&[&["tenants"], arguments, &["--config", &config]].concat(), input);
        let all = format!("{}{}{:?}", outcome.output, outcome.errors, outcome.failure);
        assert!(!all.contains("c4nary"), "{all}");
        outcome
    };
    let put = tenants(&["put", "Cust1", "--token-file", "-"], b"App c4nary-1\n");
    assert_eq!(put.succeeded(), "Cust1 is registered\n");
    tenants(&["put", "Customer22", "--token-file", "-", "--accept-serial"], b"App c4nary-2\r\n").succeeded();

    let list = tenants(&["list"], b"").succeeded();
    let lines: Vec<_> = list.lines().collect();
    assert!(lines[0].starts_with("TENANT      SOURCE    SERIAL  UPDATED"), "{list}");
    assert!(lines[1].starts_with("Cust1       database  -       2"), "{list}");
    assert!(lines[2].starts_with("Customer22  database  -       2"), "{list}");
    let list: Value = serde_json::from_str(&tenants(&["list", "--json"], b"").succeeded()).unwrap();
    assert_eq!(list[1]["context_identifier"], "Customer22");

    assert!(tenants(&["show", "cust1"], b"").succeeded().starts_with("tenant:   Cust1\nsource:   database\n"));
    assert_eq!(tenants(&["delete", "Cust1"], b"").succeeded(), "Cust1 is deleted\n");
    assert_eq!(tenants(&["delete", "Cust1"], b"").failed(), "Cust1 is not registered");
    assert_eq!(tenants(&["show", "Cust1"], b"").failed(), "Cust1 is not registered");
    tenants(&["put", "Cust3", "--token-file", "-"], b"\n").failed();
    tenants(&["put", "Cust3", "--token-file", "-"], b"App c4nary-1.202601010000.sig").failed();
    let missing = tenants(&["put", "Cust3", "--token-file", "/nonexistent"], b"").failed();
    assert!(missing.starts_with("cannot read /nonexistent: "), "{missing}");
}
