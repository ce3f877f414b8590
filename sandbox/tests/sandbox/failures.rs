use std::sync::Arc;
use std::time::{Duration, Instant};

use superoffice_sandbox::{Behaviour, Endpoint, Refusal, Sandbox};

use crate::partner::{Scene, read};

#[tokio::test]
async fn every_status_has_the_body_that_iis_would_send() {
    let scene = Scene::new().await;
    for (behaviour, status, html) in [
        (Behaviour::Status(400), 400, false),
        (Behaviour::Status(401), 401, false),
        (Behaviour::Status(403), 403, false),
        (Behaviour::Status(500), 500, true),
        (Behaviour::Unavailable(String::new()), 503, true),
    ] {
        scene.sandbox.set_behaviour(behaviour.at(Endpoint::Exchange).times(1));
        let answer = scene.exchange().await;
        assert_eq!((answer.status, answer.text.contains("<html>")), (status, html));
        assert!(!answer.headers.contains_key("retry-after"));
    }
    assert_eq!(scene.sandbox.exchanges("Cust12345"), 0);
    scene.jwt().await;
}

#[tokio::test]
async fn throttling_says_when_to_come_back() {
    let scene = Scene::new().await;
    let date = "Wed, 21 Oct 2026 07:28:00 GMT";
    for (behaviour, status, after) in [
        (Behaviour::Throttled("30".to_owned()), 429, "30"),
        (Behaviour::Throttled(date.to_owned()), 429, date),
        (Behaviour::Unavailable("7".to_owned()), 503, "7"),
    ] {
        scene.sandbox.set_behaviour(behaviour.times(1));
        let answer = scene.exchange().await;
        assert_eq!((answer.status, answer.headers["retry-after"].to_str().unwrap()), (status, after));
    }
    scene.sandbox.set_behaviour(Behaviour::Redirect("http://127.0.0.1:9/".to_owned()).times(1));
    let answer = scene.exchange().await;
    assert_eq!((answer.status, answer.headers["location"].to_str().unwrap()), (302, "http://127.0.0.1:9/"));
}

#[tokio::test]
async fn a_refusal_is_for_exchanges_alone_and_makes_no_ticket() {
    let scene = Scene::new().await;
    let id = scene.sandbox.set_behaviour(Behaviour::Refused(Refusal::Code(1)).for_tenant("CUST12345"));
    let answer = scene.exchange().await;
    assert_eq!((answer.status, answer.json["IsSuccessful"].as_bool()), (200, Some(false)));
    assert_eq!(answer.json["ErrorMessage"], "Authorization error: Revoked (1)");
    assert_eq!(scene.get("/api/state/Cust12345").await.json["State"], "Running");
    assert_eq!(scene.sandbox.exchanges("Cust12345"), 0);
    assert!(scene.sandbox.clear_behaviour(id) && !scene.sandbox.clear_behaviour(id));
    scene.jwt().await;
}

#[tokio::test]
async fn behaviours_keep_to_their_endpoint_their_tenant_and_their_number() {
    let scene = Scene::new().await;
    scene.sandbox.set_behaviour(Behaviour::Status(500).at(Endpoint::Jwks));
    scene.sandbox.set_behaviour(Behaviour::Status(502).for_tenant("Cust54321"));
    scene.sandbox.set_behaviour(Behaviour::Status(503).at(Endpoint::TenantState).times(2));
    scene.jwt().await;
    assert_eq!(scene.get("/login/.well-known/jwks").await.status, 500);
    let mut states = Vec::new();
    for tenant in ["Cust12345", "Cust12345", "Cust12345", "Cust54321"] {
        states.push(scene.get(&format!("/api/state/{tenant}")).await.status);
    }
    assert_eq!(states, [503, 503, 200, 502]);
    scene.sandbox.clear_behaviours();
    assert_eq!(scene.get("/login/.well-known/jwks").await.status, 200);
}

#[tokio::test]
async fn slow_answers_come_late() {
    let scene = Scene::new().await;
    scene.sandbox.set_behaviour(Behaviour::Slow(Duration::from_millis(60)));
    scene.sandbox.set_behaviour(Behaviour::Slow(Duration::from_millis(40)));
    #[expect(clippy::disallowed_methods, reason = "the delay is in real time")]
    let begin = Instant::now();
    scene.jwt().await;
    assert!(begin.elapsed() >= Duration::from_millis(100));
}

#[tokio::test]
async fn two_hundred_hanging_requests_are_all_answered_once_it_is_cleared() {
    let scene = Arc::new(Scene::new().await);
    let id = scene.sandbox.set_behaviour(Behaviour::Hang.at(Endpoint::Exchange).times(200));
    let requests: Vec<_> = (0..200)
        .map(|_| {
            let scene = Arc::clone(&scene);
            tokio::spawn(async move { scene.exchange().await.json["IsSuccessful"] == true })
        })
        .collect();
    scene.sandbox.wait_for_requests(Endpoint::Exchange, 200).await;
    assert_eq!(scene.sandbox.peak_concurrency_at(Endpoint::Exchange), 200);
    assert_eq!(scene.sandbox.exchanges("Cust12345"), 0);
    scene.jwt().await;
    scene.sandbox.clear_behaviour(id);
    for request in requests {
        assert!(request.await.unwrap());
    }
    assert_eq!(scene.sandbox.exchanges("Cust12345"), 201);
    scene.sandbox.reset_requests();
    assert_eq!((scene.sandbox.requests(Endpoint::Exchange), scene.sandbox.peak_concurrency()), (0, 0));
}

#[tokio::test]
async fn bodies_break_off_go_on_and_on_or_drip() {
    let scene = Scene::new().await;
    scene.sandbox.set_behaviour(Behaviour::TruncatedBody.times(1));
    let response = scene.send(&scene.request()).await.unwrap();
    assert!(response.status().is_success() && read(response).await.is_err());
    assert_eq!(scene.sandbox.exchanges("Cust12345"), 1, "the answer was lost, the row was not");

    scene.sandbox.set_behaviour(Behaviour::HugeBody(1 << 30).times(1));
    let mut response = scene.send(&scene.request()).await.unwrap();
    assert_eq!(response.content_length(), Some(1 << 30));
    assert!(response.chunk().await.unwrap().unwrap().starts_with(b"{\"IsSuccessful\":true,"));
    scene.sandbox.set_behaviour(Behaviour::HugeBody(200_000).times(1));
    assert_eq!(read(scene.send(&scene.request()).await.unwrap()).await.unwrap().text.len(), 200_000);

    scene.sandbox.set_behaviour(Behaviour::EndlessBody.times(1));
    let mut response = scene.send(&scene.request()).await.unwrap();
    assert_eq!(response.content_length(), None);
    let mut received = 0;
    while received < 8 << 20 {
        received += response.chunk().await.unwrap().unwrap().len();
    }

    scene.sandbox.set_behaviour(Behaviour::DrippingBody(Duration::from_millis(1)).times(1));
    let mut response = scene.send(&scene.request()).await.unwrap();
    assert!(response.content_length().unwrap() > 1000);
    assert_eq!(response.chunk().await.unwrap().unwrap().len(), 1);

    scene.sandbox.set_behaviour(Behaviour::Malformed.times(1));
    let answer = scene.exchange().await;
    assert!(answer.status == 200 && answer.json.is_null());
    scene.sandbox.set_behaviour(Behaviour::HugeHeaders.times(1));
    assert!(scene.send(&scene.request()).await.is_err(), "more headers than a client takes");
}

#[tokio::test]
async fn a_dropped_connection_and_a_closed_port_look_like_that() {
    let scene = Scene::new().await;
    scene.sandbox.set_behaviour(Behaviour::Drop.times(1));
    let error = scene.send(&scene.request()).await.err().unwrap();
    assert!(error.is_request() && !error.is_connect(), "{error:?}");

    scene.sandbox.go_down().await.unwrap();
    scene.sandbox.go_down().await.unwrap();
    let error = scene.send(&scene.request()).await.err().unwrap();
    assert!(error.is_connect(), "{error:?}");
    scene.sandbox.come_up().await.unwrap();
    scene.sandbox.come_up().await.unwrap();
    scene.jwt().await;
}

#[tokio::test]
async fn going_down_cuts_what_is_under_way() {
    let scene = Arc::new(Scene::new().await);
    scene.sandbox.set_behaviour(Behaviour::Hang);
    let request = tokio::spawn({
        let scene = Arc::clone(&scene);
        async move { scene.send(&scene.request()).await.is_err() }
    });
    scene.sandbox.wait_for_requests(Endpoint::Exchange, 1).await;
    scene.sandbox.go_down().await.unwrap();
    assert!(request.await.unwrap());
}

#[tokio::test]
async fn after_a_shutdown_nobody_listens() {
    let scene = Scene::new().await;
    let urls = [scene.sandbox.base_url().to_owned(), scene.sandbox.control_url()];
    let Scene { sandbox, http, .. } = scene;
    sandbox.shutdown().await;
    for url in urls {
        assert!(http.get(&url).send().await.err().unwrap().is_connect(), "{url}");
    }
}

#[tokio::test]
async fn no_secret_is_in_what_debug_prints() {
    let scene = Scene::new().await;
    let ticket = scene.ticket().await;
    let printed = format!("{:?} {:?} {:?}", scene.sandbox, scene.tenant, Sandbox::builder().client_secret("hidden"));
    for secret in [scene.sandbox.client_secret(), &scene.tenant.system_user_token, &ticket, "hidden"] {
        assert!(!printed.contains(secret), "{printed}");
    }
}
