use std::time::Duration;

use reqwest::RequestBuilder;
use serde_json::json;
use superoffice_sandbox::Behaviour;

use crate::partner::{Answer, Scene, read};

async fn refresh(scene: &Scene, build: impl FnOnce(RequestBuilder) -> RequestBuilder) -> Answer {
    let url = format!("{}/login/common/oauth/tokens", scene.sandbox.base_url());
    read(build(scene.http.post(url)).send().await.unwrap()).await.unwrap()
}

async fn refresh_by_form(scene: &Scene, token: &str) -> Answer {
    let form = [
        ("grant_type", "refresh_token"),
        ("client_id", scene.sandbox.client_id()),
        ("client_secret", scene.sandbox.client_secret()),
        ("refresh_token", token),
    ];
    refresh(scene, |request| request.form(&form)).await
}

#[tokio::test]
async fn a_refresh_token_brings_access_tokens_again_and_again() {
    let scene = Scene::new().await;
    let token = scene.sandbox.issue_refresh_token("Cust12345").unwrap();
    assert!(token.len() == 64 && token.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    let first = refresh_by_form(&scene, &token).await;
    assert_eq!((first.status, &first.json["expires_in"]), (200, &json!(3600)));
    assert!(first.json.get("refresh_token").is_none());
    let access = first.json["access_token"].as_str().unwrap();
    assert!(access.starts_with("8A:Cust12345."), "{access}");
    assert_ne!(refresh_by_form(&scene, &token).await.json["access_token"], *access);

    let url = format!("{}v1/User/currentPrincipal", scene.tenant.webapi_url);
    assert_eq!(scene.http.get(&url).bearer_auth(access).send().await.unwrap().status(), 200);
    scene.sandbox.clock().advance(Duration::from_hours(1));
    assert_eq!(scene.http.get(&url).bearer_auth(access).send().await.unwrap().status(), 401);
}

#[tokio::test]
async fn parameters_may_be_in_the_query_and_the_client_in_basic() {
    let scene = Scene::new().await;
    let token = scene.sandbox.issue_refresh_token("Cust12345").unwrap();
    let base = scene.sandbox.base_url();
    let url = format!("{base}/login/common/oauth/tokens?grant_type=refresh_token&refresh_token={token}");
    let request = scene.http.post(url).basic_auth(scene.sandbox.client_id(), Some(scene.sandbox.client_secret()));
    let answer = read(request.send().await.unwrap()).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text);
    let log = format!("{:?}", scene.sandbox.request_log());
    assert!(log.contains("/login/common/oauth/tokens") && !log.contains(&token), "{log}");
}

#[tokio::test]
async fn what_is_wrong_is_said_in_oauths_words() {
    let scene = Scene::new().await;
    let token = scene.sandbox.issue_refresh_token("Cust12345").unwrap();
    let client = [("client_id", scene.sandbox.client_id()), ("client_secret", scene.sandbox.client_secret())];
    let with = |more: &[(&'static str, &str)]| -> Vec<(&'static str, String)> {
        client.iter().chain(more).map(|(name, value)| (*name, (*value).to_owned())).collect()
    };
    for (form, status, error) in [
        (with(&[("grant_type", "refresh_token"), ("refresh_token", "x")]), 400, "invalid_grant"),
        (with(&[("grant_type", "password")]), 400, "unsupported_grant_type"),
        (with(&[]), 400, "invalid_request"),
        (vec![("grant_type", "refresh_token".to_owned()), ("refresh_token", token.clone())], 401, "invalid_client"),
    ] {
        let answer = refresh(&scene, |request| request.form(&form)).await;
        assert_eq!((answer.status, &answer.json["error"]), (status, &json!(error)));
    }
    assert!(scene.sandbox.issue_refresh_token("Cust00000").is_err());
    assert!(scene.sandbox.revoke_refresh_token(&token));
    assert_eq!(refresh_by_form(&scene, &token).await.json["error"], "invalid_grant");
}

#[tokio::test]
async fn rotation_and_the_form_of_expires_in_can_be_switched() {
    let scene = Scene::new().await;
    scene.sandbox.change_settings(|settings| {
        settings.rotate_refresh_tokens = true;
        settings.expires_in_as_string = true;
    });
    let token = scene.sandbox.issue_refresh_token("Cust12345").unwrap();
    let answer = refresh_by_form(&scene, &token).await;
    assert_eq!(answer.json["expires_in"], "3600");
    assert_eq!(refresh_by_form(&scene, &token).await.json["error"], "invalid_grant");
    assert_eq!(refresh_by_form(&scene, answer.json["refresh_token"].as_str().unwrap()).await.status, 200);
}

#[tokio::test]
async fn a_behaviour_can_be_limited_to_the_tenant_of_a_refresh_token() {
    let scene = Scene::new().await;
    scene.sandbox.add_tenant("Cust54321");
    scene.sandbox.set_behaviour(Behaviour::Status(503).for_tenant("cust54321"));
    let ours = scene.sandbox.issue_refresh_token("Cust12345").unwrap();
    let theirs = scene.sandbox.issue_refresh_token("Cust54321").unwrap();
    assert_eq!(refresh_by_form(&scene, &ours).await.status, 200);
    assert_eq!(refresh_by_form(&scene, &theirs).await.status, 503);
}
