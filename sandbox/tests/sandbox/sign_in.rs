use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use superoffice_sandbox::{Behaviour, Endpoint, IdTokenFlaw, Sandbox, SandboxUser, SignInError};
use url::Url;

use crate::partner::{Answer, CLAIM, Scene, claims, is_signed, read};

const CALLBACK: &str = "https://ticketd.example/onboarding/callback?kept=1";
const ADMINISTRATOR: &str = "admin@cust12345.example.com";
const USER: &str = "user@cust12345.example.com";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

async fn scene() -> Scene {
    Scene::with(Sandbox::builder().redirect_uri(CALLBACK)).await
}

/// An authorization URL with everything right, and with these parameters in place of its own; an empty one is gone.
fn authorize(scene: &Scene, changed: &[(&str, &str)]) -> String {
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(VERIFIER));
    let mut parameters = vec![
        ("client_id", scene.sandbox.client_id()),
        ("response_type", "code"),
        ("scope", "openid profile"),
        ("redirect_uri", CALLBACK),
        ("state", "st at+e"),
        ("nonce", "no+nce"),
        ("code_challenge", challenge.as_str()),
        ("code_challenge_method", "S256"),
    ];
    parameters.retain(|(name, _)| changed.iter().all(|(other, _)| other != name));
    parameters.extend(changed.iter().filter(|(_, value)| !value.is_empty()));
    let mut url = Url::parse(scene.sandbox.base_url()).unwrap();
    url.set_path("/login/common/oauth/authorize");
    url.query_pairs_mut().extend_pairs(parameters);
    url.into()
}

fn pairs(url: &str) -> Vec<(String, String)> {
    Url::parse(url).unwrap().query_pairs().into_owned().collect()
}

fn parameter(url: &str, name: &str) -> Option<String> {
    pairs(url).into_iter().find_map(|(other, value)| (other == name).then_some(value))
}

/// The code that the sign-in of `user` brings.
fn code(scene: &Scene, user: &str) -> String {
    let redirect = scene.sandbox.approve(&authorize(scene, &[]), user).unwrap();
    parameter(&redirect, "code").unwrap()
}

async fn redeem(scene: &Scene, code: &str, changed: &[(&str, &str)]) -> Answer {
    let mut form = vec![
        ("grant_type", "authorization_code"),
        ("client_id", scene.sandbox.client_id()),
        ("client_secret", scene.sandbox.client_secret()),
        ("redirect_uri", CALLBACK),
        ("code", code),
        ("code_verifier", VERIFIER),
    ];
    form.retain(|(name, _)| changed.iter().all(|(other, _)| other != name));
    form.extend(changed);
    let url = format!("{}/login/common/oauth/tokens", scene.sandbox.base_url());
    read(scene.http.post(url).form(&form).send().await.unwrap()).await.unwrap()
}

async fn refresh(scene: &Scene, token: &str) -> Answer {
    redeem(scene, "", &[("grant_type", "refresh_token"), ("refresh_token", token)]).await
}

fn own<'a>(claims: &'a Value, name: &str) -> &'a Value {
    &claims[format!("{CLAIM}{name}")]
}

#[tokio::test]
async fn a_browser_signs_in_and_comes_back() {
    let scene = scene().await;
    scene.sandbox.add_tenant("Cust54321");
    let url = authorize(&scene, &[("login_hint", USER)]);
    let page = read(scene.http.get(&url).send().await.unwrap()).await.unwrap();
    assert_eq!(page.status, 200, "{}", page.text);
    for part in [
        "<html lang=\"en\">",
        "<label for=\"account\">",
        "<select id=\"account\" name=\"account\" required>",
        "<optgroup label=\"Cust54321\">",
        "value=\"Cust12345/admin@cust12345.example.com\">",
        "value=\"Cust12345/user@cust12345.example.com\" selected>",
        "<button name=\"decision\" value=\"approve\">Approve</button>",
        "<button name=\"decision\" value=\"deny\">Deny</button>",
    ] {
        assert!(page.text.contains(part), "{part}: {}", page.text);
    }
    assert_eq!(page.text.matches("<form").count(), 1);

    let decide = async |account: &str, decision: &str| {
        let form = [("account", account), ("decision", decision)];
        read(scene.http.post(&url).form(&form).send().await.unwrap()).await.unwrap()
    };
    let approved = decide("Cust12345/admin@cust12345.example.com", "approve").await;
    assert_eq!(approved.status, 302);
    let location = approved.headers["location"].to_str().unwrap();
    assert!(location.starts_with(&format!("{CALLBACK}&state=st+at%2Be&code=")), "{location}");
    let code = parameter(location, "code").unwrap();
    assert!(code.len() == 64 && code.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{code}");
    assert_eq!(redeem(&scene, &code, &[]).await.status, 200);

    let denied = decide("Cust12345/admin@cust12345.example.com", "deny").await;
    let location = denied.headers["location"].to_str().unwrap();
    assert!(location.starts_with(&format!("{CALLBACK}&state=st+at%2Be&error=access_denied&error_description=")));
    for account in ["Cust12345/nobody@example.com", "Cust54321/admin@cust12345.example.com", "", "Cust12345"] {
        let failed = decide(account, "approve").await;
        assert_eq!(failed.status, 400, "{account}");
        assert!(failed.text.contains("Your account does not have access to this application."), "{}", failed.text);
    }
    assert_eq!(scene.sandbox.requests(Endpoint::Authorize), 7);
    let log = format!("{:?}", scene.sandbox.request_log());
    assert!(!log.contains(&code) && !log.contains("nonce"), "{log}");
}

#[tokio::test]
async fn nothing_redirects_to_where_it_is_not_registered() {
    let scene = scene().await;
    for redirect_uri in [
        "https://evil.example/",
        "https://ticketd.example/onboarding/callback",
        "https://ticketd.example/onboarding/callback?kept=1&more=1",
        "https://TICKETD.example/onboarding/callback?kept=1",
        "https://ticketd.example/onboarding/callback?kept=1#",
        "<script>alert(1)</script>",
        "",
    ] {
        let url = authorize(&scene, &[("redirect_uri", redirect_uri)]);
        let answer = read(scene.http.get(&url).send().await.unwrap()).await.unwrap();
        assert_eq!(answer.status, 400, "{redirect_uri}");
        assert!(answer.headers.get("location").is_none());
        assert!(answer.text.contains("Authorization error: InvalidRedirectUrl (2)"), "{}", answer.text);
        assert!(!answer.text.contains("<script>"));
        let refused = scene.sandbox.approve(&url, ADMINISTRATOR);
        assert_eq!(refused, Err(SignInError("Authorization error: InvalidRedirectUrl (2)".to_owned())));
    }
    let url = authorize(&scene, &[("client_id", "ffffffffffffffffffffffffffffffff")]);
    assert_eq!(scene.http.get(&url).send().await.unwrap().status(), 400);
    assert!(scene.sandbox.approve("https://sod.superoffice.com/login/common/oauth/authorize", USER).is_err());
    assert!(scene.sandbox.approve(&format!("{}/login", scene.sandbox.base_url()), USER).is_err());
}

#[tokio::test]
async fn other_mistakes_are_told_to_the_application() {
    let scene = scene().await;
    for (changed, error) in [
        (("response_type", "token"), "unsupported_response_type"),
        (("response_type", ""), "unsupported_response_type"),
        (("scope", "profile"), "invalid_scope"),
        (("code_challenge_method", "S512"), "invalid_request"),
        (("response_mode", "form_data"), "invalid_request"),
    ] {
        let url = authorize(&scene, &[changed]);
        let answer = read(scene.http.get(&url).send().await.unwrap()).await.unwrap();
        assert_eq!(answer.status, 302, "{changed:?}");
        let location = answer.headers["location"].to_str().unwrap();
        assert_eq!(parameter(location, "error").as_deref(), Some(error), "{changed:?}");
        assert_eq!(parameter(location, "state").as_deref(), Some("st at+e"));
    }
}

#[tokio::test]
async fn the_redirect_goes_by_query_form_or_fragment() {
    let scene = scene().await;
    let fragment = authorize(&scene, &[("response_mode", "fragment")]);
    let redirect = scene.sandbox.approve(&fragment, USER).unwrap();
    assert!(redirect.starts_with(&format!("{CALLBACK}#state=st+at%2Be&code=")), "{redirect}");

    let post = authorize(&scene, &[("response_mode", "form_post"), ("state", "\"><script>")]);
    let form = [("account", "Cust12345/user@cust12345.example.com"), ("decision", "approve")];
    let page = read(scene.http.post(&post).form(&form).send().await.unwrap()).await.unwrap();
    assert_eq!(page.status, 200);
    assert!(page.text.contains(&format!("<form method=\"post\" action=\"{CALLBACK}\">")), "{}", page.text);
    assert!(page.text.contains("name=\"state\" value=\"&quot;&gt;&lt;script&gt;\">"), "{}", page.text);
    assert!(page.text.contains("name=\"code\""));
    assert!(parameter(&scene.sandbox.approve(&post, USER).unwrap(), "code").is_some());
}

#[tokio::test]
async fn the_tenant_can_be_given_by_path_or_by_acr_values() {
    let scene = scene().await;
    scene.sandbox.add_tenant("Cust54321");
    let both = SandboxUser { upn: "both@example.com".to_owned(), associate_id: 77, is_administrator: true };
    for tenant in ["Cust12345", "Cust54321"] {
        scene.sandbox.add_user(tenant, both.clone()).unwrap();
    }
    let by_path = authorize(&scene, &[]).replace("/common/", "/cust54321/");
    let by_acr = authorize(&scene, &[("acr_values", "urn:x tenant:Cust54321")]);
    for url in [by_path, by_acr] {
        let redirect = scene.sandbox.approve(&url, "both@example.com").unwrap();
        let tokens = redeem(&scene, &parameter(&redirect, "code").unwrap(), &[]).await.json;
        let claims = claims(tokens["id_token"].as_str().unwrap());
        assert_eq!((own(&claims, "ctx"), own(&claims, "associateid")), (&json!("Cust54321"), &json!("77")));
        let page = read(scene.http.get(&url).send().await.unwrap()).await.unwrap();
        assert!(page.text.contains("Cust54321/") && !page.text.contains("Cust12345/"), "{}", page.text);
        assert!(scene.sandbox.approve(&url, ADMINISTRATOR).is_err());
    }
}

#[tokio::test]
async fn a_code_brings_everything_once() {
    let scene = scene().await;
    let code = code(&scene, ADMINISTRATOR);
    let answer = redeem(&scene, &code, &[]).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let tokens = &answer.json;
    assert_eq!((&tokens["token_type"], &tokens["expires_in"]), (&json!("Bearer"), &json!(3600)));
    let refresh_token = tokens["refresh_token"].as_str().unwrap();
    assert!(refresh_token.len() == 64 && scene.sandbox.accepts_refresh_token(refresh_token));
    let id_token = tokens["id_token"].as_str().unwrap();
    assert!(is_signed(id_token, &scene.jwks().await));
    let claims = claims(id_token);
    let now = scene.sandbox.clock().now().as_second();
    for (name, value) in [
        ("iss", json!(scene.sandbox.base_url())),
        ("aud", json!(scene.sandbox.client_id())),
        ("sub", json!(ADMINISTRATOR)),
        ("nonce", json!("no+nce")),
        ("iat", json!(now)),
        ("nbf", json!(now - 60)),
        ("exp", json!(now + 300)),
        ("at_hash", json!(URL_SAFE_NO_PAD.encode(&Sha256::digest(tokens["access_token"].as_str().unwrap())[..16]))),
        ("c_hash", json!(URL_SAFE_NO_PAD.encode(&Sha256::digest(&code)[..16]))),
    ] {
        assert_eq!(claims[name], value, "{name}");
    }
    for (name, value) in [
        ("ctx", "Cust12345"),
        ("associateid", "10"),
        ("upn", ADMINISTRATOR),
        ("email", ADMINISTRATOR),
        ("is_administrator", "True"),
        ("serial", &scene.tenant.serial),
        ("system_token", &scene.tenant.system_user_token),
    ] {
        assert_eq!(*own(&claims, name), *value, "{name}");
    }
    assert!(own(&claims, "webapi_url").is_null() && own(&claims, "ticket").is_null());
    assert_eq!(redeem(&scene, &code, &[]).await.json["error"], "invalid_grant");
}

#[tokio::test]
async fn a_code_is_refused_to_whoever_did_not_begin() {
    let scene = scene().await;
    for (what, changed) in [
        ("another verifier", ("code_verifier", "other")),
        ("no verifier", ("code_verifier", "")),
        ("another redirect", ("redirect_uri", "https://ticketd.example/onboarding/callback")),
        ("no redirect", ("redirect_uri", "")),
    ] {
        let code = code(&scene, USER);
        assert_eq!(redeem(&scene, &code, &[changed]).await.json["error"], "invalid_grant", "{what}");
        assert_eq!(redeem(&scene, &code, &[]).await.json["error"], "invalid_grant", "{what}, then the right one");
    }
    let kept = code(&scene, USER);
    let stranger = redeem(&scene, &kept, &[("client_secret", "x")]).await;
    assert_eq!((stranger.status, &stranger.json["error"]), (401, &json!("invalid_client")));
    assert_eq!(redeem(&scene, &kept, &[]).await.status, 200, "a stranger does not use it up");

    let late = code(&scene, USER);
    scene.sandbox.clock().advance(Duration::from_secs(599));
    assert_eq!(redeem(&scene, &late, &[]).await.status, 200);
    let late = code(&scene, USER);
    scene.sandbox.clock().advance(Duration::from_mins(10));
    assert_eq!(redeem(&scene, &late, &[]).await.json["error"], "invalid_grant");
}

#[tokio::test]
async fn a_challenge_without_a_method_is_the_verifier() {
    let scene = scene().await;
    let code_of = |changed: &[(&str, &str)]| {
        parameter(&scene.sandbox.approve(&authorize(&scene, changed), USER).unwrap(), "code").unwrap()
    };
    let plain = [("code_challenge", VERIFIER), ("code_challenge_method", "")];
    assert_eq!(redeem(&scene, &code_of(&plain), &[]).await.status, 200);
    assert_eq!(redeem(&scene, &code_of(&plain), &[("code_verifier", "other")]).await.status, 400);
    let none = [("code_challenge", ""), ("code_challenge_method", "")];
    assert_eq!(redeem(&scene, &code_of(&none), &[("code_verifier", "")]).await.status, 200);
    assert_eq!(redeem(&scene, &code_of(&none), &[]).await.status, 400, "a challenge was taken away");
}

#[tokio::test]
async fn a_code_raced_by_many_has_one_winner() {
    let scene = scene().await;
    let code = code(&scene, USER);
    let answers = futures_util::future::join_all((0..16).map(|_| redeem(&scene, &code, &[]))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
}

#[tokio::test]
async fn the_system_user_token_can_be_left_out_and_changed() {
    let scene = scene().await;
    let tokens = redeem(&scene, &code(&scene, USER), &[]).await.json;
    let of = |answer: &Value| claims(answer["id_token"].as_str().unwrap());
    assert_eq!(*own(&of(&tokens), "is_administrator"), "False");
    let refresh_token = tokens["refresh_token"].as_str().unwrap();

    scene.sandbox.add_tenant_with_token("Cust12345", "Sandbox Application-changed000");
    let refreshed = refresh(&scene, refresh_token).await.json;
    let now = of(&refreshed);
    assert_eq!(*own(&now, "system_token"), "Sandbox Application-changed000");
    assert_eq!(*own(&now, "upn"), USER);
    assert!(now.get("nonce").is_none() && now.get("c_hash").is_none() && now.get("at_hash").is_some());
    assert!(refreshed.get("refresh_token").is_none());

    scene.sandbox.set_system_token_claim("Cust12345", false).unwrap();
    assert!(own(&of(&refresh(&scene, refresh_token).await.json), "system_token").is_null());
    scene.sandbox.set_system_token_claim("Cust12345", true).unwrap();
    scene.sandbox.change_settings(|settings| {
        settings.id_token_system_token = false;
        settings.id_token_webapi_url = true;
        settings.issuer = Some("https://sod.superoffice.com".to_owned());
    });
    let now = of(&refresh(&scene, refresh_token).await.json);
    assert!(own(&now, "system_token").is_null());
    assert_eq!(*own(&now, "webapi_url"), *scene.tenant.webapi_url);
    assert_eq!(now["iss"], "https://sod.superoffice.com");
    assert_eq!(scene.get("/login/.well-known/openid-configuration").await.json["issuer"], now["iss"]);
    scene.sandbox.change_settings(|settings| settings.refresh_with_id_token = false);
    assert!(refresh(&scene, refresh_token).await.json.get("id_token").is_none());
}

#[tokio::test]
async fn every_flaw_of_an_id_token_is_there() {
    let scene = scene().await;
    let jwks = scene.jwks().await;
    for flaw in IdTokenFlaw::ALL {
        scene.sandbox.set_behaviour(Behaviour::IdToken(flaw).times(1));
        let code = code(&scene, ADMINISTRATOR);
        let tokens = redeem(&scene, &code, &[]).await.json;
        if flaw == IdTokenFlaw::Missing {
            assert!(tokens.get("id_token").is_none());
            continue;
        }
        let jwt = tokens["id_token"].as_str().unwrap();
        let claims = claims(jwt);
        assert!(is_signed(jwt, &jwks), "{flaw:?}");
        let half = |text: &str| json!(URL_SAFE_NO_PAD.encode(&Sha256::digest(text)[..16]));
        let there = match flaw {
            IdTokenFlaw::Missing => false,
            IdTokenFlaw::WrongNonce => claims["nonce"] != "no+nce",
            IdTokenFlaw::WithoutNonce => claims.get("nonce").is_none(),
            IdTokenFlaw::OtherEnvironment | IdTokenFlaw::SystemUserIssuer => claims["iss"] != scene.sandbox.base_url(),
            IdTokenFlaw::OtherApplication => claims["aud"] != scene.sandbox.client_id(),
            IdTokenFlaw::TwoApplications => claims["aud"].is_array(),
            IdTokenFlaw::WrongAccessTokenHash => claims["at_hash"] != half(tokens["access_token"].as_str().unwrap()),
            IdTokenFlaw::WrongCodeHash => claims["c_hash"] != half(&code),
            IdTokenFlaw::WithoutSystemToken => own(&claims, "system_token").is_null(),
        };
        assert!(there, "{flaw:?}: {claims}");
    }
}

#[tokio::test]
async fn oauth_errors_come_at_every_step() {
    let scene = scene().await;
    let knob = |error: &str, endpoint| {
        scene.sandbox.set_behaviour(Behaviour::OAuthError(error.to_owned()).at(endpoint).times(1));
    };
    knob("server_error", Endpoint::Authorize);
    let redirect = scene.sandbox.approve(&authorize(&scene, &[]), USER).unwrap();
    assert_eq!(parameter(&redirect, "error").as_deref(), Some("server_error"));
    knob("temporarily_unavailable", Endpoint::Authorize);
    let answer = read(scene.http.get(authorize(&scene, &[])).send().await.unwrap()).await.unwrap();
    assert!(answer.headers["location"].to_str().unwrap().contains("error=temporarily_unavailable"));
    assert!(scene.sandbox.deny(&authorize(&scene, &[])).unwrap().contains("error=access_denied"));

    let code = code(&scene, USER);
    for (error, status) in [("invalid_grant", 400), ("invalid_client", 401)] {
        knob(error, Endpoint::Tokens);
        let answer = redeem(&scene, &code, &[]).await;
        assert_eq!((answer.status, &answer.json["error"]), (status, &json!(error)));
    }
    assert_eq!(redeem(&scene, &code, &[]).await.status, 200);
}

#[tokio::test]
async fn tokens_are_revoked_by_form_or_query() {
    let scene = scene().await;
    let url = format!("{}/login/common/oauth/Revoke", scene.sandbox.base_url());
    let client = [("client_id", scene.sandbox.client_id()), ("client_secret", scene.sandbox.client_secret())];
    let tokens = redeem(&scene, &code(&scene, USER), &[]).await.json;
    let (first, access) = (tokens["refresh_token"].as_str().unwrap(), tokens["access_token"].as_str().unwrap());
    let second = scene.sandbox.issue_refresh_token("Cust12345").unwrap();

    let stranger = scene.http.post(&url).form(&[("token", first)]).send().await.unwrap();
    assert_eq!(stranger.status(), 401);
    assert!(scene.sandbox.accepts_refresh_token(first));
    let by_form = client.into_iter().chain([("token", first), ("token_type_hint", "refresh_token")]);
    let by_form = scene.http.post(&url).form(&by_form.collect::<Vec<_>>()).send().await.unwrap();
    assert_eq!(by_form.status(), 200);
    assert!(!scene.sandbox.accepts_refresh_token(first));
    assert_eq!(refresh(&scene, first).await.json["error"], "invalid_grant");

    let basic = |query: &str| {
        let request = scene.http.post(format!("{url}?{query}"));
        request.basic_auth(scene.sandbox.client_id(), Some(scene.sandbox.client_secret())).send()
    };
    assert_eq!(basic(&format!("token={second}&token_type_hint=JWT")).await.unwrap().status(), 200);
    assert!(!scene.sandbox.accepts_refresh_token(&second));
    assert_eq!(basic("token=unknown").await.unwrap().status(), 200);
    assert_eq!(basic("").await.unwrap().status(), 400);
    assert_eq!(scene.http.get(&url).send().await.unwrap().status(), 405);

    let api = format!("{}v1/User/currentPrincipal", scene.tenant.webapi_url);
    let call = async || scene.http.get(&api).bearer_auth(access).send().await.unwrap().status();
    assert_eq!(call().await, 200);
    let token: String = url::form_urlencoded::byte_serialize(access.as_bytes()).collect();
    assert_eq!(basic(&format!("token={token}")).await.unwrap().status(), 200);
    assert_eq!(call().await, 401);
    assert_eq!(scene.sandbox.requests(Endpoint::Revoke), 7);
}
