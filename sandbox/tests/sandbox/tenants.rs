use std::time::Duration;

use serde_json::json;
use superoffice_sandbox::{Sandbox, TenantState};

use crate::partner::{Scene, read};

#[tokio::test]
async fn each_use_slides_a_tickets_life() {
    let scene = Scene::new().await;
    let ticket = scene.ticket().await;
    for _ in 0..3 {
        scene.sandbox.clock().advance(Duration::from_secs(6 * 3600 - 1));
        assert_eq!(scene.use_ticket(&ticket).await, 200);
    }
    scene.sandbox.clock().advance(Duration::from_hours(6));
    assert_eq!(scene.use_ticket(&ticket).await, 401);
    assert_eq!(scene.sandbox.exchanges("Cust12345"), 1);
}

#[tokio::test]
async fn a_tickets_life_is_a_setting() {
    let scene = Scene::with(Sandbox::builder().ticket_life(Duration::from_secs(20))).await;
    let ticket = scene.ticket().await;
    scene.sandbox.clock().advance(Duration::from_secs(19));
    assert_eq!(scene.use_ticket(&ticket).await, 200);
    scene.sandbox.clock().advance(Duration::from_secs(20));
    assert_eq!(scene.use_ticket(&ticket).await, 401);
}

#[tokio::test]
async fn the_web_api_wants_a_living_ticket_of_its_tenant_and_the_application_token() {
    let scene = Scene::new().await;
    let other = scene.sandbox.add_tenant("Cust54321");
    let ticket = scene.ticket().await;
    let call = |url: String, authorization: String, application: &str| {
        scene.http.get(url).header("Authorization", authorization).header("SO-AppToken", application).send()
    };
    let url = |tenant: &str| format!("{}{tenant}", scene.sandbox.host_urls()[0]);
    let principal = url("/cust12345/API/v1/User/currentPrincipal");
    let secret = scene.sandbox.client_secret();

    let answer = read(call(principal.clone(), format!("soticket {ticket}"), secret).await.unwrap()).await.unwrap();
    assert_eq!((answer.status, &answer.json["DatabaseContextIdentifier"]), (200, &json!("Cust12345")));
    let root = read(scene.http.get(url("/Cust12345/api/")).send().await.unwrap()).await.unwrap();
    assert_eq!(root.json["v1"], format!("{}v1/", scene.tenant.webapi_url));

    let theirs = format!("{}v1/User/currentPrincipal", other.webapi_url);
    for (url, authorization, application) in [
        (principal.clone(), format!("SOTicket {ticket}"), "wrong"),
        (principal.clone(), format!("Basic {ticket}"), secret),
        (principal.clone(), "SOTicket 7T:AAAA".to_owned(), secret),
        (theirs, format!("SOTicket {ticket}"), secret),
    ] {
        let answer = read(call(url, authorization, application).await.unwrap()).await.unwrap();
        assert_eq!((answer.status, &answer.json["ErrorType"]), (401, &json!("SoSessionException")));
        assert!(answer.headers.contains_key("www-authenticate"));
    }
    scene.sandbox.change_settings(|settings| settings.stale_ticket_status = 403);
    assert!(scene.sandbox.revoke_ticket(&ticket));
    assert!(!scene.sandbox.revoke_ticket(&ticket));
    let answer = call(principal, format!("SOTicket {ticket}"), secret).await.unwrap();
    assert_eq!(answer.status(), 403);
}

#[tokio::test]
async fn after_a_move_the_old_host_answers_421() {
    let scene = Scene::new().await;
    let ticket = scene.ticket().await;
    let old = format!("{}v1/User/currentPrincipal", scene.tenant.webapi_url);
    scene.sandbox.move_tenant("Cust12345", 1).unwrap();
    assert!(scene.sandbox.move_tenant("Cust12345", 2).is_err());
    let answer = read(scene.http.get(old).send().await.unwrap()).await.unwrap();
    assert_eq!((answer.status, &answer.json["ErrorMessage"]), (421, &json!("Wrong subdomain used to access tenant")));
    assert_eq!(scene.get("/Cust12345/api/v1/User/currentPrincipal").await.status, 421);
    assert_eq!(scene.use_ticket(&ticket).await, 200, "the state API names the new host");
}

#[tokio::test]
async fn the_state_api_tells_states_and_seven_digits() {
    let scene = Scene::new().await;
    let running = scene.get("/API/State/cust12345").await;
    assert_eq!(running.json["State"], "Running");
    assert_eq!(running.json["IsRunning"], true);
    assert_eq!(running.json["ValidUntil"], "2026-03-01T13:00:30.0000000Z");
    assert_eq!(format!("{}/", running.json["Api"].as_str().unwrap()), scene.tenant.webapi_url);

    let ticket = scene.ticket().await;
    for (state, name, is_running) in [
        (TenantState::Suspended, "Suspended", false),
        (TenantState::OnlineMaintenance, "OnlineMaintenance", true),
        (TenantState::Deleted, "Deleted", false),
    ] {
        scene.sandbox.set_tenant_state("Cust12345", state).unwrap();
        let answer = scene.get("/api/state/Cust12345").await.json;
        assert_eq!((&answer["State"], &answer["IsRunning"]), (&json!(name), &json!(is_running)));
        assert_eq!(scene.use_ticket(&ticket).await, if is_running { 200 } else { 503 });
        assert_eq!(scene.exchange().await.json["IsSuccessful"], true, "signing in does not depend on the tenant");
    }
    scene.sandbox.change_settings(|settings| settings.exchange_needs_running_tenant = true);
    assert_eq!(scene.exchange().await.json["IsSuccessful"], false);
    assert_eq!(scene.get("/api/state/Cust00000").await.json["State"], "Unknown");
}
