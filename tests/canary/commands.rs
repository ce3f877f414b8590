//! Every command of the command line: used well, used badly, and with secrets where none belong.

use std::process::Output;

use serde_json::json;

use crate::rig::{Process, Rig};

/// What operators do.
pub(crate) async fn as_they_should(rig: &Rig, process: &Process) {
    let (config, grpc) = (rig.path("ticketd.toml"), format!("http://{}", process.grpc));
    let run = async |arguments: &[&str], input: &str| succeeded(rig.run(arguments, input, false).await);
    let config = ["--config", config.as_str()];
    let from_stdin = rig.tenant("Stdin1").system_user_token;
    let from_file = rig.write("token.txt", rig.tenant("File1").system_user_token);
    run(&["check-config", config[0], config[1]], "").await;
    run(&["tenants", "put", "Stdin1", "--token-file", "-", config[0], config[1]], &from_stdin).await;
    run(&["tenants", "put", "File1", "--token-file", &from_file, config[0], config[1]], "").await;
    run(&["tenants", "list", config[0], config[1]], "").await;
    run(&["tenants", "list", "--json", config[0], config[1]], "").await;
    run(&["tenants", "show", "File1", config[0], config[1]], "").await;
    run(&["tenants", "show", "Stdin1", "--json", config[0], config[1]], "").await;

    for tenant in ["Stdin1", "File1"] {
        run(&["ticket", "get", tenant, "--address", &grpc], "").await;
        run(&["ticket", "get", tenant, "--address", &grpc, "--json"], "").await;
        let shown = rig.run(&["ticket", "get", tenant, "--address", &grpc, "--show-ticket"], "", true).await;
        assert!(succeeded(shown).stdout.starts_with(b"7T:"));
        let call = ["call", tenant, "--address", &grpc, config[0], config[1]];
        run(&[&call[..], &["GET", "v1/User/currentPrincipal"]].concat(), "").await;
        run(&[&call[..], &["POST", "v1/Contact", "--data", "-"]].concat(), r#"{"Name":"Acme"}"#).await;
        // A refused ticket is on its way back and forth.
        rig.sandbox.revoke_tickets(tenant);
        rig.run(&[&call[..], &["GET", "v1/User/currentPrincipal"]].concat(), "", false).await;
    }
    rig.run(&["call", "--all", "GET", "v1/Contact", "--address", &grpc, config[0], config[1]], "", false).await;
    run(&["tenants", "delete", "Stdin1", config[0], config[1]], "").await;
    let health = format!("http://{}", process.health);
    run(&["healthcheck", "--address", &health], "").await;

    for key in ["registered.pem", "registered.xml"] {
        run(&["keys", "inspect", key], "").await;
        run(&["keys", "convert", key, "--to", "public-pem"], "").await;
        run(&["keys", "convert", key, "--to", "public-xml"], "").await;
        for format in ["pkcs8", "pkcs1", "xml"] {
            let converted = rig.run(&["keys", "convert", key, "--to", format], "", true).await;
            assert!(succeeded(converted).stdout.len() > 1_000);
        }
    }
    run(&["keys", "inspect", "other.pem", "--passphrase-file", "passphrase"], "").await;
    run(&["keys", "inspect", "-"], &rig.canaries.registered_key.pem).await;
    run(&["keys", "convert", "registered.pem", "--to", "xml", "--output", "converted.xml"], "").await;
}

/// What operators do by mistake.
pub(crate) async fn by_mistake(rig: &Rig, process: &Process) {
    let config = rig.path("ticketd.toml");
    let grpc = format!("http://{}", process.grpc);
    rig.write("key.pem", &rig.canaries.registered_key.pem[..800]);
    rig.write("key.xml", rig.canaries.registered_key.xml.replace("<P>", "<P>!"));
    for (_, secret) in rig.few_secrets() {
        let fail = async |arguments: &[&str], input: &str| {
            let output = rig.run(arguments, input, false).await;
            assert!(!output.status.success(), "{arguments:?}");
        };
        let secret = secret.as_str();
        // In an argument's place.
        fail(&[secret], "").await;
        fail(&["tenants", secret], "").await;
        fail(&["tenants", "put", secret, "--token-file", "-", "--config", &config], secret).await;
        fail(&["tenants", "put", "Cust5", secret, "--config", &config], "").await;
        fail(&["tenants", "put", "Cust5", "--token", secret, "--config", &config], "").await;
        fail(&["tenants", "put", "Cust5", &format!("--token={secret}")], "").await;
        fail(&["tenants", "put", "Cust5", &format!("--{secret}")], "").await;
        fail(&["tenants", "put", "Cust5", "--token-file", secret, "--config", &config], "").await;
        fail(&["tenants", "show", secret, "--config", &config], "").await;
        fail(&["tenants", "delete", secret, "--config", &config], "").await;
        fail(&["tenants", "grants", secret, "--config", &config], "").await;
        fail(&["tenants", "revoke", secret, secret, "--config", &config], "").await;
        fail(&["tenants", "revoke", "Cust1", secret, "--config", &config], "").await;
        fail(&["ticket", "get", secret, "--address", &grpc], "").await;
        fail(&["ticket", "get", "Cust1", "--min-validity", secret], "").await;
        fail(&["ticket", "get", "Cust1", "--min-validity", &format!("12{secret}")], "").await;
        fail(&["ticket", "get", "Cust1", "--address", secret], "").await;
        fail(&["ticket", "get", "Cust1", "--address", &format!("http://{secret}:{secret}@127.0.0.1:1")], "").await;
        let call = ["call", "--config", &config, "--address", &grpc];
        fail(&[&call[..], &[secret, "GET", "v1/Contact"]].concat(), "").await;
        fail(&[&call[..], &["Cust1", secret, "v1/Contact"]].concat(), "").await;
        fail(&[&call[..], &["Cust1", "GET", secret]].concat(), "").await;
        fail(&[&call[..], &["Cust1", "GET", "v1/Contact", secret]].concat(), "").await;
        fail(&[&call[..], &["Cust1", "GET", "v1/Contact", "--user", secret]].concat(), "").await;
        fail(&[&call[..], &["Cust1", "GET", "v1/Contact", "--content-type", &format!("{secret}\n")]].concat(), "")
            .await;
        fail(&[&call[..], &["Cust1", "POST", "v1/Contact", "--data", secret]].concat(), "").await;
        fail(&[&call[..], &["Cust1", "POST", "v1/Contact", "--data", &format!("@{secret}")]].concat(), "").await;
        fail(&[&call[..], &["Cust1", "POST", "v1/Contact", "--data", "-"]].concat(), secret).await;
        fail(&[&call[..], &["--all", secret, "v1/Contact"]].concat(), "").await;
        fail(&["keys", "inspect", secret], "").await;
        fail(&["keys", "inspect", "other.pem", "--passphrase-file", secret], "").await;
        fail(&["keys", "convert", "registered.pem", "--to", secret], "").await;
        fail(&["keys", "convert", "registered.pem", "--to", "xml", "--output", &format!("{secret}/{secret}")], "")
            .await;
        fail(&["healthcheck", "--service", secret, "--address", &grpc], "").await;
        fail(&["healthcheck", "--address", secret], "").await;
        fail(&["check-config", "--config", secret], "").await;
        fail(&["serve", "--config", secret], "").await;
        let verify = ["verify", "--environment", "sod", "--context-identifier", "Cust1"];
        let with_token = [&verify[..], &["--system-user-token-file", "token.txt"]].concat();
        fail(&[&verify[..], &["--system-user-token-file", secret]].concat(), secret).await;
        fail(&[&with_token[..], &["--at", secret]].concat(), secret).await;
        fail(&[&with_token[..], &["--at", &format!("2026-01-01T{secret}")]].concat(), secret).await;
        fail(&[&with_token[..], &["--leeway", secret]].concat(), secret).await;
        fail(&[&with_token[..], &["--jwks", secret]].concat(), secret).await;
        fail(&["verify", "--environment", secret], "").await;
        // In a file or on stdin.
        fail(&with_token, secret).await;
        let file = rig.write("garbage", secret);
        fail(&[&with_token[..], &["--jwks", &file]].concat(), secret).await;
        rig.write(
            "jwks.json",
            json!({ "keys": [{ "kty": secret, "kid": secret, "n": secret, "e": secret }] }).to_string(),
        );
        fail(&[&with_token[..], &["--jwks", "jwks.json"]].concat(), secret).await;
        // One of them is the passphrase indeed.
        rig.run(&["keys", "inspect", "other.pem", "--passphrase-file", &file], "", false).await;
        let input = format!("{secret}.{secret}");
        fail(&["tenants", "put", "Cust5", "--token-file", "-", "--config", &config], &input).await;
    }
    for key in ["client-secret", "passphrase", "key.pem", "key.xml", "other.pem"] {
        let output = rig.run(&["keys", "inspect", key], "", false).await;
        assert!(!output.status.success(), "{key}");
    }
    let output = rig.run(&["keys", "convert", "registered.pem", "--to", "xml", "--output", "key.xml"], "", false).await;
    assert!(!output.status.success(), "it is there already");
}

/// Configurations with secrets in them, and in the environment.
pub(crate) async fn with_bad_configurations(rig: &Rig) {
    let good = rig.config();
    for (_, secret) in rig.few_secrets() {
        // TOML knows the escapes of JSON.
        let quoted = json!(secret).to_string();
        let word = word(&secret);
        let mut wrong = vec![
            // The file's syntax is wrong.
            secret.clone(),
            format!("{good}\n{secret}"),
            format!("{good}\nkey = \"{secret}"),
            format!("{good}\nkey = {secret}"),
            format!("{good}\nkey = [{quoted}, {quoted}\n"),
            format!("[superoffice]\nclient_secret_file = {quoted}\nclient_secret_file = {quoted}"),
            format!("[superoffice]\nclient_secret = {quoted} {quoted}"),
        ];
        // Every value is wrong, and a few keys are unknown.
        let every_value = |value: &str| {
            let mut config = Vec::new();
            for line in include_str!("../../ticketd.example.toml").lines() {
                match line.trim_start_matches("# ").split_once(" = ") {
                    Some((key, _)) if !key.contains(' ') => config.push(format!("{key} = {value}\n")),
                    _ if line.starts_with('[') => {
                        config.push(format!("{line}\npassword = {value}\nother = {value}\n"));
                    }
                    _ => {}
                }
            }
            config
                .concat()
                .replace("[superoffice]", &format!("[superoffice]\nclient_secret = {value}\nsigning_keys = [{value}]"))
        };
        wrong.push(every_value(&quoted));
        wrong.push(every_value(&format!("[{quoted}, [{quoted}]]")));
        wrong.push(every_value(&format!("{{ {word} = {quoted} }}")));
        wrong.push(every_value(&format!("\"http://user:{word}@127.0.0.1:1\"")));
        wrong.push(every_value(&format!("\"sqlite://{word}/{word}\"")));
        wrong.push(every_value(&format!("\"{word}=loud\"")));
        wrong.push(every_value(&format!("\"[{word}]=[\"")));
        wrong.push(every_value(&format!("\"12{word}\"")));
        for config in wrong {
            let file = rig.write("wrong.toml", config);
            let output = rig.run(&["check-config", "--config", &file], "", false).await;
            assert!(!output.status.success());
        }
        let names = ["superoffice.client_secret", "superoffice.client_secret_file", "superoffice.environment"];
        let more = ["superoffice.signing_key_files", "tickets.lifetime", "store.url", "server.address", "telemetry.x"];
        let variables: Vec<_> = [&names[..], &more[..]].concat().into_iter().map(variable).collect();
        let variables: Vec<_> = variables.iter().map(|name| (name.as_str(), secret.as_str())).collect();
        let file = rig.path("ticketd.toml");
        let output = rig.run_with(&["check-config", "--config", &file], "", false, &variables).await;
        assert!(!output.status.success());
    }
    // A server that does not start logs why.
    let file = rig.write("foreign.toml", good.replace("sqlite://ticketd.db", "sqlite://registered.pem"));
    let output = rig.run(&["serve", "--config", &file], "", false).await;
    assert!(!output.status.success());
}

fn variable(key: &str) -> String {
    format!("TICKETD_{}", key.replace('.', "_").to_uppercase())
}

/// The secret without what would end a value.
fn word(secret: &str) -> String {
    secret.chars().filter(char::is_ascii_alphanumeric).take(200).collect()
}

fn succeeded(output: Output) -> Output {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}
