//! A client with SuperOffice's own hosts in it, led to the sandbox by its resolver.

use std::time::Duration;

use reqwest::Client;
use superoffice_sandbox::{Sandbox, StartError};

use crate::partner::{Scene, read};

const NAMES: [&str; 3] = ["sod.superoffice.com", "sod2.superoffice.com", "app-sod.superoffice.com"];

/// Its resolver knows one address for all the names, as /etc/hosts would have it.
fn client(sandbox: &Sandbox) -> Client {
    let root = reqwest::Certificate::from_pem(sandbox.ca_pem().unwrap().as_bytes()).unwrap();
    let builder = Client::builder().tls_certs_only([root]).timeout(Duration::from_secs(20));
    let builder = NAMES.iter().fold(builder, |builder, name| builder.resolve(name, sandbox.login_address()));
    builder.build().unwrap()
}

#[tokio::test]
async fn a_client_with_hard_coded_hosts_finds_all_of_them_on_one_port() {
    let mut scene = Scene::with(Sandbox::builder().tls(true).names(NAMES)).await;
    scene.http = client(&scene.sandbox);
    assert_eq!(scene.sandbox.base_url(), "https://sod.superoffice.com");
    let document = scene.get("/login/.well-known/openid-configuration").await.json;
    assert_eq!(document["issuer"], "https://sod.superoffice.com");
    assert_eq!(document["token_endpoint"], "https://sod.superoffice.com/login/common/oauth/tokens");

    let ticket = scene.ticket().await;
    assert_eq!(scene.get("/api/state/Cust12345").await.json["Api"], "https://sod2.superoffice.com/Cust12345/api");
    assert_eq!(scene.use_ticket(&ticket).await, 200);
    scene.sandbox.move_tenant("Cust12345", 1).unwrap();
    assert_eq!(scene.use_ticket(&ticket).await, 200);
    for (host, expected) in [("sod2", 421), ("sod", 421), ("SOD2", 421), ("app-sod", 401), ("APP-SOD", 401)] {
        let url = format!("https://{host}.superoffice.com/Cust12345/api/v1/User/currentPrincipal");
        assert_eq!(scene.http.get(url).send().await.unwrap().status(), expected, "{host}");
    }
    let login_elsewhere = "https://sod2.superoffice.com/login/.well-known/jwks";
    assert_eq!(read(scene.http.get(login_elsewhere).send().await.unwrap()).await.unwrap().status, 404);
}

#[tokio::test]
async fn names_are_trusted_by_the_sandboxes_own_authority_alone() {
    let sandbox = Sandbox::builder().tls(true).names(NAMES).start().await.unwrap();
    let other = Sandbox::builder().tls(true).names(NAMES).start().await.unwrap();
    let root = reqwest::Certificate::from_pem(other.ca_pem().unwrap().as_bytes()).unwrap();
    let stranger = Client::builder().tls_certs_only([root]).resolve(NAMES[0], sandbox.login_address()).build().unwrap();
    assert!(stranger.get("https://sod.superoffice.com/").send().await.unwrap_err().is_connect());
    let nameless = Sandbox::builder().tls(true).start().await.unwrap();
    assert!(client(&nameless).get("https://sod.superoffice.com/").send().await.unwrap_err().is_connect());
}

#[tokio::test]
async fn names_go_with_tls_and_with_hosts() {
    let refused = Sandbox::builder().names(NAMES).start().await;
    assert!(matches!(refused, Err(StartError::NamesWithoutTls)));
    let refused = Sandbox::builder().tls(true).names(["a", "b", "c", "d"]).start().await;
    assert!(matches!(refused, Err(StartError::TooManyNames)));
    let refused = Sandbox::builder().tls(true).names(["sød"]).start().await;
    assert!(matches!(refused, Err(StartError::Tls(_))));
    let one = Sandbox::builder().tls(true).names(["sod.superoffice.com"]).start().await.unwrap();
    assert!(one.host_urls().iter().all(|url| url.starts_with("https://127.0.0.1:")), "{:?}", one.host_urls());
}
