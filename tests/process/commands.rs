//! The commands, from a fresh directory to a ticket.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use ticketd::clock::{Clock, SystemClock};
use ticketd::crypto::{PrivateKey, sign_system_user_token};
use ticketd::identifiers::{SystemUserToken, UnverifiedJwt};
use ticketd::random::SystemRandom;
use ticketd::superoffice::SuperOffice;
use tokio::time::Instant;
use tonic::Code;

use crate::place::{Place, TENANT, feed, finish, ticket, until};
use crate::superoffice_settings::superoffice_settings;

const KEYS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/keys");

#[tokio::test]
async fn a_configuration_is_good_or_all_its_mistakes_are_listed() {
    let place = Place::new().await;
    let good = place.run(&["check-config"]).await;
    let without_policy = "ticketd: warning: authorization.policy_file is not set: every caller without an identity may do \
        everything, which is for development only\n";
    assert_eq!((good.code, good.errors.as_str()), (Some(0), without_policy));
    assert!(good.output.starts_with("The configuration is good.\nenvironment:     sod\n"), "{}", good.output);

    for (key, value) in [
        ("environment", "\"production\""),
        ("client_secret_file", "\"/nonexistent/client-secret\""),
        ("lifetime", "6"),
        ("url", "\"postgres://localhost\""),
        ("server.address", "\"0.0.0.0:8443\""),
        ("log_filter", "\"ticketd=loud\""),
    ] {
        place.configure(key, value);
    }
    let mut command = place.ticketd(["check-config"]);
    command.env("TICKETD_SERVER_MAX_CALL", "1");
    let wrong = finish(command).await;
    assert_eq!((wrong.code, wrong.output.as_str()), (Some(64), ""));
    for key in [
        "superoffice.environment (line ",
        "superoffice.client_secret_file (line ",
        "tickets.lifetime (line ",
        "store.url (line ",
        "server.address (line ",
        "telemetry.log_filter (line ",
        "server.max_call (TICKETD_SERVER_MAX_CALL): is unknown: did you mean server.max_calls?",
    ] {
        assert_eq!(wrong.errors.matches(&format!("ticketd: {key}")).count(), 1, "{key} in {}", wrong.errors);
    }
    assert_eq!(wrong.errors.lines().count(), 7, "{}", wrong.errors);
    let serving = place.run(&["serve"]).await;
    assert_eq!(serving.code, Some(64), "{serving:?}");
}

#[tokio::test]
async fn tenants_are_administered_before_a_server_runs_and_beside_it() {
    let place = Place::new().await;
    let put = place.output(&["tenants", "put", TENANT, "--token-file", "cust12345.token"]).await;
    assert_eq!(put, "Cust12345 is registered\n");
    let token = place.sandbox.add_tenant("Cust2").system_user_token;
    let put = feed(place.ticketd(["tenants", "put", "cust2", "--token-file", "-"]), token.as_bytes()).await;
    assert_eq!((put.code, put.output.as_str()), (Some(0), "cust2 is registered\n"), "{}", put.errors);

    let server = place.serve().await;
    let mut tickets = server.tickets();
    let first = ticket(&mut tickets).await.unwrap();

    let shown = place.output(&["tenants", "show", TENANT]).await;
    assert!(shown.starts_with("tenant:   Cust12345\nsource:   database\nserial:   "), "{shown}");
    let shown: serde_json::Value =
        serde_json::from_str(&place.output(&["tenants", "show", TENANT, "--json"]).await).unwrap();
    assert_eq!(shown["webapi_url"], first.webapi_url);
    let list = place.output(&["tenants", "list"]).await;
    assert_eq!(list.lines().count(), 3, "{list}");
    let list: serde_json::Value = serde_json::from_str(&place.output(&["tenants", "list", "--json"]).await).unwrap();
    assert_eq!(list[1]["context_identifier"], "cust2");
    assert!(!list.to_string().contains(&token), "{list}");

    let token = "Sandbox Application-0123456789";
    place.sandbox.add_tenant_with_token(TENANT, token);
    place.write("new.token", token);
    place.output(&["tenants", "put", TENANT, "--token-file", "new.token"]).await;
    let began = Instant::now();
    until(async || ticket(&mut tickets).await.unwrap().fingerprint != first.fingerprint).await;
    let put = began.elapsed();

    assert_eq!(place.output(&["tenants", "delete", TENANT]).await, "Cust12345 is deleted\n");
    let began = Instant::now();
    until(async || ticket(&mut tickets).await.is_err()).await;
    let delete = began.elapsed();
    assert_eq!(ticket(&mut tickets).await.unwrap_err().code(), Code::NotFound);

    // A refusal that is remembered for 30 seconds does not outlive its cause either.
    place.output(&["tenants", "put", TENANT, "--token-file", "new.token"]).await;
    let began = Instant::now();
    until(async || ticket(&mut tickets).await.is_ok()).await;
    let put_again = began.elapsed();
    println!(
        "a running server noticed a put after {put:?}, a delete after {delete:?}, a put again after {put_again:?}"
    );
    assert!(put.max(delete).max(put_again) < Duration::from_secs(3));

    let gone = place.run(&["tenants", "show", "Cust404"]).await;
    assert_eq!((gone.code, gone.errors.as_str()), (Some(1), "ticketd: Cust404 is not registered\n"));
}

#[tokio::test]
async fn a_ticket_and_health_are_asked_for_over_the_wire() {
    let place = Place::new().await;
    place.put_tenant().await;
    let server = place.serve().await;
    let url = server.url();
    let get = |more: &[&str]| {
        let arguments = [&["ticket", "get", TENANT, "--address", &url], more].concat();
        finish(place.ticketd(arguments))
    };
    let text = get(&[]).await.output;
    assert!(text.starts_with("tenant:       Cust12345\nstate:        running\nfingerprint:  "), "{text}");
    assert!(!text.contains("7T:"), "{text}");
    let json = get(&["--json"]).await.output;
    assert!(!json.contains("7T:"), "{json}");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["tenant_state"], "running");
    let shown = get(&["--show-ticket"]).await.output;
    assert!(shown.starts_with("7T:") && shown.lines().count() == 1, "a ticket and nothing else");
    let piped = place.shell(&format!("ticketd ticket get {TENANT} --address {url} --show-ticket | wc -c"));
    assert_eq!(finish(piped).await.output.trim(), shown.len().to_string());
    assert_eq!(place.sandbox.exchanges(TENANT), 1);

    let refused = place.run(&["ticket", "get", "Cust404", "--address", &url]).await;
    assert_eq!((refused.code, refused.output.as_str()), (Some(1), ""));
    assert!(refused.errors.starts_with("ticketd: NotFound TENANT_NOT_REGISTERED: "), "{}", refused.errors);

    let expected = ["ticket", "get", "Cust404", "--address", &url, "--expect", "TENANT_NOT_REGISTERED"];
    assert_eq!(place.output(&expected).await, "refused with TENANT_NOT_REGISTERED\n");
    let for_another_reason = get(&["--expect", "CALLER_NOT_AUTHORIZED"]).await;
    assert_eq!(for_another_reason.code, Some(1), "{for_another_reason:?}");

    for address in [server.url(), server.health_url()] {
        for service in ["liveness", "readiness", "superoffice.ticket.v1.TicketService", ""] {
            let answer = place.output(&["healthcheck", "--address", &address, "--service", service]).await;
            assert_eq!(answer, "SERVING\n");
        }
        let unknown = place.run(&["healthcheck", "--address", &address, "--service", "unheard.of"]).await;
        assert_eq!(unknown.code, Some(1), "{unknown:?}");
    }
    let (url, log) = (server.url(), server.log());
    server.kill().await;
    let nobody = place.run(&["healthcheck", "--address", &url]).await;
    assert_eq!(nobody.code, Some(1), "{nobody:?}");
    assert!(nobody.errors.starts_with(&format!("ticketd: cannot connect to {url}/: ")), "{}", nobody.errors);
    assert!(!log.contains("7T:"), "{log}");
}

#[tokio::test]
async fn every_key_format_is_inspected_and_converted_there_and_back() {
    let place = Place::new().await;
    place.write("passphrase", "correct-horse\n");
    let mut formats = 0;
    let mut names: Vec<_> = fs::read_dir(KEYS).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    for name in names.iter().map(|name| name.to_str().unwrap()) {
        let file = format!("{KEYS}/{name}");
        let inspected = place.run(&["keys", "inspect", &file, "--passphrase-file", "passphrase"]).await;
        let is_usable = name.starts_with("selfmade") || name.starts_with("other2048");
        let is_foreign =
            ["public", "costly", "des3", "legacy", "openssh", "pfx"].iter().any(|word| name.contains(word));
        if !is_usable || is_foreign {
            assert_eq!((inspected.code, inspected.output.as_str()), (Some(1), ""), "{name}");
            assert!(inspected.errors.starts_with("ticketd: the private key cannot be read: "), "{}", inspected.errors);
            continue;
        }
        formats += 1;
        assert_eq!(inspected.code, Some(0), "{name}: {inspected:?}");
        let fingerprint = inspected.output.lines().last().unwrap().to_owned();
        for format in ["pkcs8", "pkcs1", "xml"] {
            let there = format!("{name}.{format}");
            place
                .output(&[
                    "keys",
                    "convert",
                    &file,
                    "--passphrase-file",
                    "passphrase",
                    "--to",
                    format,
                    "--output",
                    &there,
                ])
                .await;
            let converted = place.output(&["keys", "inspect", &there]).await;
            assert_eq!(converted.lines().last().unwrap(), fingerprint, "{name} as {format}");
        }
    }
    println!("{formats} key files read, each converted to 3 formats and read again");
    assert_eq!(formats, 14);
}

#[tokio::test]
async fn a_jwt_of_the_sandbox_is_verified_for_its_tenant_and_no_other() {
    let place = Place::new().await;
    let jwt = exchanged(&place).await;
    place.write("jwks.json", &key_set(&place).await);
    let now = SystemClock.now();
    let verify = |tenant: &str, at: jiff::Timestamp, keys: &[&str]| {
        let at = at.to_string();
        let arguments = ["verify", "--environment", "sod", "--context-identifier", tenant, "--at", &at];
        let mut command = place.ticketd([&arguments, keys].concat());
        command.args(["--system-user-token-file", "cust12345.token"]);
        let jwt = jwt.clone();
        async move { feed(command, jwt.expose().as_bytes()).await }
    };
    let jwks = ["--jwks", "jwks.json"];
    let valid = verify(TENANT, now, &jwks).await;
    assert_eq!((valid.code, valid.errors.as_str()), (Some(0), ""));
    assert!(valid.output.starts_with("The JWT is valid.\ntenant:    Cust12345\n"), "{}", valid.output);
    assert!(!valid.output.contains("7T:"), "{}", valid.output);

    for (outcome, reason) in [
        (verify("Cust54321", now, &jwks).await, "context_identifier_mismatch"),
        (verify(TENANT, now + Duration::from_mins(10), &jwks).await, "expired"),
        (verify(TENANT, now, &[]).await, ""),
    ] {
        assert_eq!((outcome.code, outcome.output.as_str()), (Some(1), ""), "{outcome:?}");
        assert!(outcome.errors.starts_with(&format!("ticketd: {reason}")), "{}", outcome.errors);
    }
}

/// A JWT that the sandbox has issued for the tenant.
async fn exchanged(place: &Place) -> UnverifiedJwt {
    let sandbox = &place.sandbox;
    let settings = superoffice_settings(sandbox.base_url(), sandbox.client_id(), sandbox.client_secret());
    let key = PrivateKey::read(place.sandbox.partner_private_key_pem().unwrap().as_bytes(), None).unwrap();
    let token = SystemUserToken::new(place.sandbox.add_tenant(TENANT).system_user_token);
    let signed = sign_system_user_token(&key, &token, SystemClock.now()).unwrap();
    let superoffice = SuperOffice::new(settings, Arc::new(SystemClock), Arc::new(SystemRandom)).unwrap();
    superoffice.exchange(TENANT.parse().unwrap(), &signed).await.unwrap()
}

#[expect(clippy::disallowed_methods, reason = "the sandbox's answer is small, and this is not ticketd's client")]
async fn key_set(place: &Place) -> String {
    let url = format!("{}/login/.well-known/jwks", place.sandbox.base_url());
    reqwest::get(url).await.unwrap().text().await.unwrap()
}
