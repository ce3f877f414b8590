use reqwest::Method;
use serde_json::{Value, json};
use superoffice_sandbox::Endpoint;

use crate::partner::{Answer, Scene, read};

async fn control(scene: &Scene, method: Method, path: &str, body: Value) -> Answer {
    let url = format!("{}{path}", scene.sandbox.control_url());
    read(scene.http.request(method, url).json(&body).send().await.unwrap()).await.unwrap()
}

#[tokio::test]
async fn behaviours_are_set_and_cleared_as_text_and_as_json() {
    let scene = Scene::new().await;
    let first = control(&scene, Method::POST, "/knobs", json!("status=503,endpoint=exchange,times=1")).await;
    assert_eq!(first.status, 200, "{}", first.text);
    assert_eq!(scene.exchange().await.status, 503);
    let knob = json!({ "behaviour": { "refused": 3 }, "tenant": "Cust12345" });
    let second = control(&scene, Method::POST, "/knobs", knob).await;
    assert_eq!(scene.exchange().await.json["ErrorMessage"], "Authorization error: Expired (3)");

    let list = control(&scene, Method::GET, "/knobs", Value::Null).await.json;
    assert_eq!(list[0]["times"], 0);
    assert_eq!(list[1]["behaviour"], json!({ "refused": 3 }));
    let path = format!("/knobs/{}", second.json["id"]);
    assert_eq!(control(&scene, Method::DELETE, &path, Value::Null).await.status, 204);
    assert_eq!(control(&scene, Method::DELETE, &path, Value::Null).await.status, 404);
    scene.jwt().await;
    assert_eq!(control(&scene, Method::DELETE, "/knobs", Value::Null).await.status, 204);
    assert_eq!(control(&scene, Method::GET, "/knobs", Value::Null).await.json, json!([]));
    for wrong in [json!("sideways"), json!({ "behaviour": "sideways" })] {
        assert_eq!(control(&scene, Method::POST, "/knobs", wrong).await.status, 422);
    }
}

#[tokio::test]
async fn tenants_settings_clock_and_keys_are_changed() {
    let scene = Scene::new().await;
    let tenant = control(&scene, Method::POST, "/tenants", json!({ "context_identifier": "Cust777" })).await.json;
    assert!(tenant["system_user_token"].as_str().unwrap().starts_with("Sandbox Application-"));
    let change = json!({ "state": "Suspended", "host": 1 });
    assert_eq!(control(&scene, Method::PUT, "/tenants/cust777", change).await.status, 204);
    let state = scene.get("/api/state/Cust777").await.json;
    assert_eq!(state["State"], "Suspended");
    assert!(state["Api"].as_str().unwrap().starts_with(&scene.sandbox.host_urls()[1]));
    assert_eq!(control(&scene, Method::PUT, "/tenants/Cust000", json!({})).await.status, 404);

    let refresh = control(&scene, Method::POST, "/tenants/Cust777/refresh-tokens", Value::Null).await.json;
    assert_eq!(refresh["refresh_token"].as_str().unwrap().len(), 64);
    scene.jwt().await;
    let revoked = control(&scene, Method::DELETE, "/tenants/Cust12345/tickets", Value::Null).await.json;
    assert_eq!(revoked["revoked"], 1);

    let settings = control(&scene, Method::PATCH, "/settings", json!({ "ticket_life": "20s" })).await.json;
    assert_eq!((&settings["ticket_life"], &settings["jwt_life"]), (&json!("20s"), &json!("5m")));
    assert_eq!(control(&scene, Method::PATCH, "/settings", json!({ "tiket_life": "20s" })).await.status, 422);

    let clock = control(&scene, Method::PUT, "/clock", json!({ "advance": "1h" })).await.json;
    assert_eq!(clock["now"], "2026-03-01T13:00:30Z");
    let clock = control(&scene, Method::PUT, "/clock", json!({ "offset": "-90s" })).await.json;
    assert_eq!(clock["now"], "2026-03-01T11:59:00Z");

    let kid = scene.jwks().await["keys"][0]["kid"].clone();
    assert_eq!(control(&scene, Method::POST, "/keys/rotate", json!({ "rotation": "overlap" })).await.status, 204);
    let keys = scene.jwks().await;
    assert_eq!(keys["keys"].as_array().unwrap().len(), 2);
    assert_ne!(keys["keys"][0]["kid"], kid);
}

#[tokio::test]
async fn it_goes_down_and_up_and_tells_what_it_saw() {
    let scene = Scene::new().await;
    scene.jwt().await;
    let status = control(&scene, Method::GET, "/status", Value::Null).await.json;
    assert_eq!(status["tenants"]["Cust12345"]["exchanges"], 1);
    assert_eq!(status["requests"]["endpoints"]["exchange"]["total"], 1);
    let log = control(&scene, Method::GET, "/requests", Value::Null).await;
    assert_eq!(log.json[0]["path"], "/Login/api/PartnerSystemUser/Authenticate");
    assert_eq!(log.json[0]["context_identifier"], "Cust12345");
    assert!(!log.text.contains(scene.sandbox.client_secret()) && !log.text.contains("Sandbox Application"));

    assert_eq!(control(&scene, Method::POST, "/down", Value::Null).await.status, 204);
    assert!(scene.send(&scene.request()).await.is_err());
    assert_eq!(control(&scene, Method::POST, "/up", Value::Null).await.status, 204);
    scene.jwt().await;
    assert_eq!(control(&scene, Method::DELETE, "/requests", Value::Null).await.status, 204);
    assert_eq!(scene.sandbox.requests(Endpoint::Exchange), 0);
}

#[tokio::test]
async fn sign_ins_and_webhooks_are_ordered() {
    let scene = Scene::new().await;
    let callback = "https://ticketd.example/callback";
    let registered = json!({ "redirect_uri": callback });
    assert_eq!(control(&scene, Method::POST, "/redirect-uris", registered).await.status, 204);
    assert_eq!(control(&scene, Method::GET, "/redirect-uris", Value::Null).await.json, json!([callback]));
    let user = json!({ "upn": "x@example.com", "associate_id": 7, "is_administrator": true });
    assert_eq!(control(&scene, Method::POST, "/tenants/Cust12345/users", user.clone()).await.status, 204);
    assert_eq!(control(&scene, Method::POST, "/tenants/Cust000/users", user).await.status, 404);
    let url = format!(
        "{}/login/common/oauth/authorize?client_id={}&response_type=code&scope=openid&redirect_uri={callback}&state=s",
        scene.sandbox.base_url(),
        scene.sandbox.client_id()
    );
    let order = json!({ "authorization_url": url, "user": "X@example.com" });
    let approved = control(&scene, Method::POST, "/approve", order).await.json;
    let redirect = approved["redirect_url"].as_str().unwrap();
    assert!(redirect.starts_with(&format!("{callback}?state=s&code=")), "{redirect}");
    let denied = control(&scene, Method::POST, "/approve", json!({ "authorization_url": url })).await.json;
    assert!(denied["redirect_url"].as_str().unwrap().contains("&error=access_denied"));
    let order = json!({ "authorization_url": url, "user": "nobody@example.com" });
    assert_eq!(control(&scene, Method::POST, "/approve", order).await.status, 422);
    let change = json!({ "system_token_claim": false });
    assert_eq!(control(&scene, Method::PUT, "/tenants/Cust12345", change).await.status, 204);

    // Any port of ours answers; what it answers does not matter here.
    let to = format!("{}/nowhere", scene.sandbox.base_url());
    let order =
        json!({ "url": to, "change_type": "Move", "context_identifier": "Cust12345", "flaw": { "jwt": "expired" } });
    assert_eq!(control(&scene, Method::POST, "/webhooks", order).await.json, json!({ "status": 404 }));
    assert_eq!(scene.sandbox.request_log()[0].method, "POST");
    for (order, status) in [
        (json!({ "url": to, "change_type": "Move", "context_identifier": "Cust000" }), 404),
        (json!({ "url": "https://example.com/", "change_type": "Move", "context_identifier": "Cust12345" }), 422),
        (json!({ "url": to, "change_type": "Sideways", "context_identifier": "Cust12345" }), 422),
    ] {
        assert_eq!(control(&scene, Method::POST, "/webhooks", order.clone()).await.status, status, "{order}");
    }
}
