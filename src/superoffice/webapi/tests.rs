use super::super::test_server::{Peer, TestServer};
use super::*;
use crate::identifiers::SignedSystemToken;

const TICKET: &str = "7T:MAA3AGYAMQBlAGQAZAAxAA==";

fn request(url: &str) -> WebApiRequest<'_> {
    WebApiRequest {
        webapi_url: url,
        method: "GET",
        path: "v1/Contact",
        body: None,
        timeout: Duration::from_secs(10),
        max_answer: 1024,
    }
}

async fn call(peer: &Peer, request: WebApiRequest<'_>) -> Result<WebApiAnswer, UpstreamError> {
    peer.superoffice.call_webapi(request, WebApiCredential::Ticket(&Ticket::new(TICKET))).await
}

async fn keep_alive(peer: &Peer, url: &str) -> Result<KeepAlive, UpstreamError> {
    peer.superoffice.keep_alive(url, &Ticket::new(TICKET)).await
}

fn api(server: &TestServer) -> String {
    format!("{}Cust12345/api", server.url())
}

#[tokio::test]
async fn a_ticket_goes_with_the_application_token_and_an_access_token_alone() {
    let peer = Peer::answering(TestServer::response(201, r#"{"ContactId":7}"#)).await;
    let url = api(&peer.server);
    let body = WebApiBody { content_type: "application/json", bytes: br#"{"Name":"Acme"}"# };
    let post = WebApiRequest { method: "POST", path: "v1/Contact?$x=a b", body: Some(body), ..request(&url) };
    let answer = call(&peer, post).await.unwrap();
    assert_eq!((answer.status, answer.content_type.as_deref()), (201, Some("application/json")));
    assert_eq!(answer.body, br#"{"ContactId":7}"#);
    let sent = peer.server.requests().pop().unwrap();
    assert!(sent.starts_with("POST /Cust12345/api/v1/Contact?$x=a%20b HTTP/1.1\r\n"), "{sent}");
    for line in [
        format!("\r\nauthorization: SOTicket {TICKET}\r\n"),
        "\r\nso-apptoken: 0123456789abcdef0123456789abcdef\r\n".to_owned(),
        "\r\naccept: application/json\r\n".to_owned(),
        "\r\ncontent-type: application/json\r\n".to_owned(),
        "\r\n\r\n{\"Name\":\"Acme\"}".to_owned(),
    ] {
        assert!(sent.contains(&line), "{line}: {sent}");
    }
    let token = AccessToken::new("8A:Cust12345.abc+/=");
    let get = peer.superoffice.call_webapi(request(&url), WebApiCredential::AccessToken(&token)).await.unwrap();
    assert_eq!(get.status, 201);
    let sent = peer.server.requests().pop().unwrap().to_lowercase();
    assert!(sent.contains("\r\nauthorization: bearer 8a:cust12345.abc+/=\r\n"), "{sent}");
    assert!(!sent.contains("so-apptoken") && !sent.contains("content-type"), "{sent}");
}

#[tokio::test]
async fn every_status_that_asks_for_no_other_try_is_an_answer() {
    for status in [200, 204, 302, 400, 401, 403, 404, 409, 421, 500, 502] {
        let peer = Peer::answering(TestServer::response(status, r#"{"Error":true}"#)).await;
        let answer = call(&peer, request(&api(&peer.server))).await.unwrap();
        assert_eq!(answer.status, status);
        assert_eq!(answer.body.is_empty(), status == 204, "{status}");
    }
    for status in [408, 503] {
        let peer = Peer::answering(TestServer::response(status, "")).await;
        assert_eq!(call(&peer, request(&api(&peer.server))).await, Err(UpstreamError::Status(status)));
    }
}

#[tokio::test]
async fn keep_alive_tells_a_good_ticket_from_a_refused_one_and_from_a_move() {
    for (status, expected) in [
        (200, Ok(KeepAlive::Prolonged)),
        (401, Ok(KeepAlive::Refused)),
        (403, Ok(KeepAlive::Refused)),
        (421, Ok(KeepAlive::Misdirected)),
        (204, Err(UpstreamError::Status(204))),
        (302, Err(UpstreamError::Status(302))),
        (404, Err(UpstreamError::Status(404))),
        (500, Err(UpstreamError::Status(500))),
        (503, Err(UpstreamError::Status(503))),
    ] {
        let peer = Peer::answering(TestServer::response(status, r#"{"ContactId":2}"#)).await;
        assert_eq!(keep_alive(&peer, &api(&peer.server)).await, expected, "{status}");
        let sent = peer.server.requests().pop().unwrap();
        assert!(sent.starts_with("GET /Cust12345/api/v1/User/currentPrincipal HTTP/1.1\r\n"), "{sent}");
    }
    let page = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>";
    let peer = Peer::answering(page).await;
    assert_eq!(keep_alive(&peer, &api(&peer.server)).await, Err(UpstreamError::Malformed));
}

#[tokio::test]
async fn keep_alive_waits_for_no_body_and_a_call_for_no_endless_one() {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: 1073741824\r\n\r\n";
    let peer = Peer::serving(TestServer::hanging(head).await);
    assert_eq!(keep_alive(&peer, &api(&peer.server)).await, Ok(KeepAlive::Prolonged));
    let peer = Peer::serving(TestServer::endless(head).await);
    assert_eq!(call(&peer, request(&api(&peer.server))).await, Err(UpstreamError::BodyTooLarge));
    let written = peer.server.written_until_hung_up().await;
    assert!(written < 16 << 20, "{written}");
}

#[tokio::test]
async fn silence_ends_with_the_requests_own_time_out() {
    let peer = Peer::serving(TestServer::hanging("").await);
    let url = api(&peer.server);
    let time_passes = async {
        peer.server.wait_for_requests(1).await;
        peer.clock.advance(Duration::from_secs(3));
    };
    let in_three_seconds = WebApiRequest { timeout: Duration::from_secs(3), ..request(&url) };
    let (outcome, ()) = tokio::join!(call(&peer, in_three_seconds), time_passes);
    assert_eq!(outcome, Err(UpstreamError::TimedOut));
}

#[tokio::test]
async fn a_tenants_api_that_asks_to_wait_holds_up_neither_exchanges_nor_other_tenants() {
    let peer = Peer::answering(TestServer::response(200, r#"{"IsSuccessful":true,"Token":"e.y.J"}"#)).await;
    let busy = TestServer::answering("HTTP/1.1 429 Slow\r\nRetry-After: 30\r\nContent-Length: 0\r\n\r\n").await;
    let other = TestServer::answering(TestServer::response(200, "{}")).await;
    let throttled = |seconds| Err(UpstreamError::Throttled { retry_after: Some(Duration::from_secs(seconds)) });
    assert_eq!(keep_alive(&peer, &api(&busy)).await, throttled(30));
    peer.clock.advance(Duration::from_secs(10));
    for _ in 0..100 {
        assert_eq!(call(&peer, request(&api(&busy))).await.map(|answer| answer.status), throttled(20).map(|_| 0));
    }
    assert_eq!(busy.requests().len(), 1);
    assert_eq!(keep_alive(&peer, &api(&other)).await, Ok(KeepAlive::Prolonged));
    // Nor other tenants on the same host.
    busy.answer(TestServer::response(200, "{}"));
    assert_eq!(keep_alive(&peer, &format!("{}Cust2/api/", busy.url())).await, Ok(KeepAlive::Prolonged));
    let signed = SignedSystemToken::new("App-8k8Q7DmBgo.202611221200.dErddLx+u6BeJM==");
    assert!(peer.superoffice.exchange("Cust12345".parse().unwrap(), &signed).await.is_ok());
    // The login host's own throttle is not the tenants'.
    peer.server.answer("HTTP/1.1 429 Slow\r\nRetry-After: 30\r\nContent-Length: 0\r\n\r\n");
    assert!(peer.superoffice.exchange("Cust12345".parse().unwrap(), &signed).await.is_err());
    assert_eq!(keep_alive(&peer, &api(&other)).await, Ok(KeepAlive::Prolonged));
}

#[tokio::test]
async fn hanging_tenants_hosts_take_no_exchanges_place() {
    let login = TestServer::answering(TestServer::response(200, r#"{"IsSuccessful":true,"Token":"e.y.J"}"#)).await;
    let clock = crate::clock::ManualClock::new("2026-11-22T12:00:00Z".parse().unwrap());
    let settings = Settings { max_requests_in_flight: 1, ..super::super::test_server::settings(&login.url()) };
    let superoffice = Peer::with_settings(settings, &clock).unwrap();
    let peer = Peer { server: login, clock, superoffice };
    let hanging = TestServer::hanging("").await;
    let url = api(&hanging);
    let exchange = async {
        hanging.wait_for_requests(1).await;
        let signed = SignedSystemToken::new("App-8k8Q7DmBgo.202611221200.dErddLx+u6BeJM==");
        let exchanged = peer.superoffice.exchange("Cust12345".parse().unwrap(), &signed).await;
        peer.clock.advance(Duration::from_secs(10));
        exchanged
    };
    let (outcome, exchanged) = tokio::join!(keep_alive(&peer, &url), exchange);
    assert_eq!(outcome, Err(UpstreamError::TimedOut));
    assert!(exchanged.is_ok());
}

#[tokio::test]
async fn nothing_is_sent_where_a_ticket_may_not_go() {
    let peer = Peer::answering(TestServer::response(200, "{}")).await;
    let port = peer.server.url().rsplit(':').next().unwrap().to_owned();
    for url in [
        "",
        "http://app.superoffice.com/Cust12345/api/",
        "https://evil.example/Cust12345/api/",
        "https://app.superoffice.com.evil.example/api/",
        "https://app.superoffice.com@evil.example/api/",
        "http://192.0.2.1/api/",
        &format!("http://user@127.0.0.1:{port}api"),
        &format!("https://127.0.0.1:{port}api"),
    ] {
        assert_eq!(call(&peer, request(url)).await, Err(UpstreamError::AddressRefused), "{url}");
        assert_eq!(keep_alive(&peer, url).await, Err(UpstreamError::AddressRefused), "{url}");
    }
    let url = api(&peer.server);
    for method in ["", "get", "CONNECT", "TRACE", "OPTIONS", "GET /", "G\r\nET", "É"] {
        let outcome = call(&peer, WebApiRequest { method, ..request(&url) }).await;
        assert!(matches!(outcome, Err(UpstreamError::RequestRefused(_))), "{method}");
    }
    let outcome = call(&peer, WebApiRequest { path: "../../Cust2/api/v1/Contact", ..request(&url) }).await;
    assert!(matches!(outcome, Err(UpstreamError::RequestRefused(_))));
    let body = WebApiBody { content_type: "a\r\nX-Header: y", bytes: b"" };
    let outcome = call(&peer, WebApiRequest { body: Some(body), ..request(&url) }).await;
    assert!(matches!(outcome, Err(UpstreamError::RequestRefused(_))));
    let broken = Ticket::new("7T:a\r\nX-Header: y");
    let outcome = peer.superoffice.call_webapi(request(&url), WebApiCredential::Ticket(&broken)).await;
    assert!(matches!(outcome, Err(UpstreamError::RequestRefused(_))));
    assert_eq!(peer.server.requests().len(), 0);
}

#[tokio::test]
async fn the_memory_for_hosts_is_bounded() {
    let peer = Peer::answering(TestServer::response(200, "{}")).await;
    let webapi = &peer.superoffice.webapi;
    for port in 1..=60_000 {
        webapi.way(&Url::parse(&format!("http://127.0.0.1:{port}/Cust{port}/api/")).unwrap());
    }
    webapi.gates.run_pending_tasks();
    assert_eq!(webapi.gates.entry_count(), MAX_HOSTS);
    webapi.throttles.run_pending_tasks();
    assert_eq!(webapi.throttles.entry_count(), MAX_TENANTS);
}

#[test]
fn nothing_shown_holds_a_tenants_data_or_a_secret() {
    let ticket = Ticket::new("canary");
    let body = WebApiBody { content_type: "canary", bytes: b"canary" };
    let request = WebApiRequest { body: Some(body), path: "canary", ..request("canary") };
    let answer = WebApiAnswer { status: 200, content_type: None, body: b"canary".to_vec() };
    let shown = format!("{request:?} {body:?} {answer:?} {:?}", WebApiCredential::Ticket(&ticket));
    assert!(!shown.contains("canary") && !shown.contains("99, 97, 110"), "{shown}");
}

#[tokio::test]
async fn a_dead_tenants_host_is_asked_once_in_ten_seconds_and_no_other_host_is_spared() {
    let peer = Peer::answering(TestServer::response(500, "")).await;
    let of = |tenant: u32| format!("{}Cust{tenant}/api", peer.server.url());
    for tenant in 0..100 {
        keep_alive(&peer, &of(tenant)).await.unwrap_err();
    }
    assert_eq!(peer.server.requests().len(), 5);
    let refused = keep_alive(&peer, &of(1)).await.unwrap_err();
    assert_eq!(refused, UpstreamError::CircuitOpen { retry_after: Duration::from_secs(10) });
    let other = TestServer::answering(TestServer::response(200, "{}")).await;
    assert_eq!(keep_alive(&peer, &api(&other)).await, Ok(KeepAlive::Prolonged));
    let signed = SignedSystemToken::new("App-8k8Q7DmBgo.202611221200.dErddLx+u6BeJM==");
    let exchange = peer.superoffice.exchange("Cust1".parse().unwrap(), &signed).await;
    assert_eq!(exchange, Err(UpstreamError::Status(500).into()), "it is sent");

    peer.server.answer(TestServer::response(401, ""));
    peer.clock.advance(Duration::from_secs(10));
    assert_eq!(keep_alive(&peer, &of(1)).await, Ok(KeepAlive::Refused), "which is an answer");
    assert_eq!(keep_alive(&peer, &of(2)).await, Ok(KeepAlive::Refused));
}

#[tokio::test]
async fn one_tenants_own_trouble_stops_nobody_else_on_its_host() {
    let peer = Peer::answering(TestServer::response(500, "")).await;
    for _ in 0..20 {
        keep_alive(&peer, &api(&peer.server)).await.unwrap_err();
    }
    peer.server.answer(TestServer::response(200, "{}"));
    assert_eq!(keep_alive(&peer, &format!("{}Cust2/api", peer.server.url())).await, Ok(KeepAlive::Prolonged));
}
