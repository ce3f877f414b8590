use serde_json::{Value, json};
use superoffice_sandbox::{ChangeType, JwtFlaw, Webhook, WebhookError, WebhookFlaw, WrongTenant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::partner::{CLAIM, Scene, claims, is_signed};

#[tokio::test]
async fn a_webhook_is_posted_with_a_signed_token() {
    let scene = Scene::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/webhooks/tenant-status", listener.local_addr().unwrap());
    let receive = async {
        let (mut connection, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"}") {
            assert!(connection.read_buf(&mut request).await.unwrap() > 0);
        }
        connection.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        String::from_utf8(request).unwrap()
    };
    let webhook = Webhook::new(ChangeType::Move, "cust12345");
    let (status, request) = tokio::join!(scene.sandbox.send_webhook(&url, &webhook), receive);
    assert_eq!(status.unwrap(), 204);
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /webhooks/tenant-status HTTP/1.1\r\n"), "{head}");
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!((&body["ChangeType"], &body["ContextIdentifier"]), (&json!(5), &json!("Cust12345")));
    assert_eq!(format!("http://{}", body["PublicEndpoint"].as_str().unwrap()), scene.sandbox.host_urls()[0]);
    assert!(body["VersionName"].is_string() && body["FileVersion"].is_string());

    let token = body["Token"].as_str().unwrap();
    assert!(is_signed(token, &scene.jwks().await));
    let claims = claims(token);
    let now = scene.sandbox.clock().now().as_second();
    assert_eq!(claims["iss"], "SuperOffice AS");
    assert_eq!(claims["aud"], format!("spn:{}", scene.sandbox.client_id()));
    assert_eq!((&claims["nbf"], &claims["exp"]), (&json!(now - 60), &json!(now + 300)));
    assert_eq!(claims[format!("{CLAIM}ctx")], "Cust12345");
    scene.sandbox.change_settings(|settings| settings.webhook_issuer_is_environment = true);
    let payload = scene.sandbox.webhook_payload(&webhook).unwrap();
    assert_eq!(self::claims(payload["Token"].as_str().unwrap())["iss"], scene.sandbox.base_url());
}

#[tokio::test]
async fn every_change_has_its_number_and_every_token_is_new() {
    let scene = Scene::new().await;
    let mut tokens = std::collections::HashSet::new();
    for (number, change) in ChangeType::ALL.into_iter().enumerate() {
        let payload = scene.sandbox.webhook_payload(&Webhook::new(change, "Cust12345")).unwrap();
        assert_eq!(payload["ChangeType"], number);
        assert_eq!(payload.get("PublicEndpoint").is_some(), change == ChangeType::Move);
        tokens.insert(payload["Token"].as_str().unwrap().to_owned());
    }
    assert_eq!(tokens.len(), 6);
}

#[tokio::test]
async fn webhooks_can_be_forged() {
    let scene = Scene::new().await;
    let jwks = scene.jwks().await;
    let now = scene.sandbox.clock().now().as_second();
    let payload = |flaw| {
        let webhook = Webhook::new(ChangeType::Delete, "Cust12345").flawed(flaw);
        scene.sandbox.webhook_payload(&webhook).unwrap()
    };
    let forged = payload(WebhookFlaw::Jwt(JwtFlaw::SignedByAnotherKey));
    assert!(!is_signed(forged["Token"].as_str().unwrap(), &jwks));
    let expired = payload(WebhookFlaw::Jwt(JwtFlaw::Expired));
    assert!(claims(expired["Token"].as_str().unwrap())["exp"].as_i64().unwrap() < now);
    let other = payload(WebhookFlaw::WrongTenant(WrongTenant::OtherContext));
    let other = other["Token"].as_str().unwrap();
    assert!(is_signed(other, &jwks) && claims(other)[format!("{CLAIM}ctx")] != "Cust12345");
    assert!(payload(WebhookFlaw::Missing).get("Token").is_none());
}

#[tokio::test]
async fn webhooks_stay_on_this_machine() {
    let scene = Scene::new().await;
    let webhook = Webhook::new(ChangeType::Upgrade, "Cust12345");
    for url in ["https://example.com/", "http://192.168.0.1/", "file:///etc/passwd", "http://localhost.example/", ""] {
        let error = scene.sandbox.send_webhook(url, &webhook).await.unwrap_err();
        assert!(matches!(error, WebhookError::NotLoopback(_)), "{url}");
    }
    let unknown = scene.sandbox.send_webhook("http://127.0.0.1:9/", &Webhook::new(ChangeType::Move, "Cust1")).await;
    assert!(matches!(unknown, Err(WebhookError::UnknownTenant(_))));
}
