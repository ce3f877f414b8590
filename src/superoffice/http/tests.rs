use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::super::test_server::{Peer, TestServer, settings};
use super::super::{ClientAuthentication, ExchangeError, ExchangeTransport, Settings, SetupError, UpstreamError};
use crate::clock::ManualClock;
use crate::identifiers::{
    AuthorizationCode, CodeVerifier, ContextIdentifier, RefreshToken, SignedSystemToken, UnverifiedJwt,
};

fn signed() -> SignedSystemToken {
    SignedSystemToken::new("My App-8k8Q7DmBgo.202611221200.dErddLx+u6BeJM/aaaaBBBB==")
}

fn tenant() -> ContextIdentifier {
    "Cust12345".parse().unwrap()
}

async fn exchange_with(peer: &Peer) -> Result<UnverifiedJwt, ExchangeError> {
    peer.superoffice.exchange(tenant(), &signed()).await
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = TestServer::answering(TestServer::response(200, "{}")).await;
    let response = format!("HTTP/1.1 307 Go\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n", elsewhere.url());
    let peer = Peer::answering(response).await;
    assert_eq!(exchange_with(&peer).await, Err(UpstreamError::Status(307).into()));
    assert_eq!(elsewhere.requests().len(), 0);
}

#[tokio::test]
async fn broken_answers_are_typed_errors() {
    for (raw, expected) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"IsSuccessful\":true", UpstreamError::Interrupted),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{\"IsSuccessful\":true,\"Token\":\"e.y.J\"}",
            UpstreamError::Malformed,
        ),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"IsS", UpstreamError::Interrupted),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", UpstreamError::Interrupted),
        ("HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", UpstreamError::Interrupted),
        ("HTTP/1.1 200 OK\r\nContent-Le", UpstreamError::Interrupted),
        ("SSH-2.0-OpenSSH\r\n", UpstreamError::Interrupted),
        ("", UpstreamError::Interrupted),
    ] {
        let peer = Peer::answering(raw).await;
        assert_eq!(exchange_with(&peer).await, Err(expected.into()), "{raw}");
    }
    let gzip = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\u{8}\0\0";
    assert_eq!(exchange_with(&Peer::answering(gzip).await).await, Err(UpstreamError::Malformed.into()));
}

#[tokio::test]
async fn an_endless_body_is_cut_off() {
    let peer = Peer::serving(TestServer::endless("HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n").await);
    assert_eq!(exchange_with(&peer).await, Err(UpstreamError::BodyTooLarge.into()));
    let written = peer.server.written_until_hung_up().await;
    println!("an endless body was cut off after the peer had written {} KiB", written / 1024);
    assert!(written < 16 << 20, "{written}");

    let peer = Peer::serving(TestServer::endless("HTTP/1.1 403 No\r\n\r\n").await);
    let error = exchange_with(&peer).await.unwrap_err();
    assert!(matches!(error, ExchangeError::Refused { status: Some(403), .. }), "{error:?}");
}

#[tokio::test]
async fn silence_and_dripping_end_with_the_time_out() {
    for head in ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"IsSucc"] {
        let peer = Peer::serving(TestServer::hanging(head).await);
        let exchange = exchange_with(&peer);
        let time_passes = async {
            peer.server.wait_for_requests(1).await;
            peer.clock.advance(Duration::from_secs(10));
        };
        let (outcome, ()) = tokio::join!(exchange, time_passes);
        assert_eq!(outcome, Err(UpstreamError::TimedOut.into()), "{head}");
    }
}

#[tokio::test]
async fn a_refusal_counts_though_its_body_never_comes() {
    let head = "HTTP/1.1 403 No\r\nDate: Sun, 22 Nov 2026 12:00:00 GMT\r\nContent-Length: 50\r\n\r\nbecause";
    let peer = Peer::serving(TestServer::hanging(head).await);
    let time_passes = async {
        // The head has been read when its date is known.
        while peer.superoffice.clock_offset().is_none() {
            tokio::task::yield_now().await;
        }
        peer.clock.advance(Duration::from_secs(10));
    };
    let (outcome, ()) = tokio::join!(exchange_with(&peer), time_passes);
    let error = outcome.unwrap_err();
    assert!(matches!(error, ExchangeError::Refused { status: Some(403), .. }), "{error:?}");
}

#[tokio::test]
async fn nobody_there_is_a_connect_error_without_the_url() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let clock = ManualClock::new("2026-11-22T12:00:00Z".parse().unwrap());
    let superoffice = Peer::superoffice(&url, &clock).unwrap();
    let error = superoffice.exchange(tenant(), &signed()).await.unwrap_err();
    assert!(matches!(&error, ExchangeError::Upstream(UpstreamError::Connect { cause }) if cause.contains("refused")));
    assert!(error.is_transient() && !error.to_string().contains("127.0.0.1"), "{error}");
}

#[tokio::test]
async fn while_superoffice_wants_us_to_wait_nothing_is_sent() {
    let throttled = |seconds| Err(UpstreamError::Throttled { retry_after: Some(Duration::from_secs(seconds)) }.into());
    for response in [
        "HTTP/1.1 429 Slow\r\nRetry-After: 30\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 429 Slow\r\nRetry-After: Sun, 22 Nov 2026 12:00:30 GMT\r\nContent-Length: 0\r\n\r\n",
    ] {
        let peer = Peer::answering(response).await;
        assert_eq!(exchange_with(&peer).await, throttled(30));
        peer.server.answer(TestServer::response(200, r#"{"IsSuccessful":true,"Token":"e.y.J"}"#));
        for second in 1..30 {
            peer.clock.advance(Duration::from_secs(1));
            for _ in 0..10 {
                assert_eq!(exchange_with(&peer).await, throttled(30 - second));
            }
            let state = peer.superoffice.tenant_state(tenant()).await;
            assert_eq!(state.map_err(ExchangeError::from).map(|_| UnverifiedJwt::new("")), throttled(30 - second));
        }
        assert_eq!(peer.server.requests().len(), 1);
        peer.clock.advance(Duration::from_secs(1));
        assert_eq!(exchange_with(&peer).await, Ok(UnverifiedJwt::new("e.y.J")));
        assert_eq!(peer.server.requests().len(), 2);
    }
    println!("requests sent in the 30 s of a Retry-After: 0");
}

#[tokio::test]
async fn an_outage_that_says_how_long_it_takes_shuts_nothing() {
    let outage = "HTTP/1.1 503 Down\r\nRetry-After: 30\r\nContent-Length: 0\r\n\r\n";
    let peer = Peer::answering(outage).await;
    let unavailable = UpstreamError::Unavailable { retry_after: Duration::from_secs(30) };
    assert_eq!(exchange_with(&peer).await, Err(unavailable.into()));
    peer.server.answer(TestServer::response(200, r#"{"IsSuccessful":true,"Token":"e.y.J"}"#));
    assert_eq!(exchange_with(&peer).await, Ok(UnverifiedJwt::new("e.y.J")));
}

#[tokio::test]
async fn a_state_api_that_asks_to_wait_holds_up_no_exchange() {
    let peer = Peer::answering("HTTP/1.1 429 Slow\r\nRetry-After: 30\r\nContent-Length: 0\r\n\r\n").await;
    let throttled = UpstreamError::Throttled { retry_after: Some(Duration::from_secs(30)) };
    assert_eq!(peer.superoffice.tenant_state(tenant()).await, Err(throttled.clone()));
    peer.server.answer(TestServer::response(200, r#"{"IsSuccessful":true,"Token":"e.y.J"}"#));
    assert_eq!(exchange_with(&peer).await, Ok(UnverifiedJwt::new("e.y.J")));
    assert_eq!(peer.superoffice.tenant_state(tenant()).await, Err(throttled));
    assert_eq!(peer.server.requests().len(), 2);
}

#[tokio::test]
async fn a_request_that_waits_for_its_place_is_bounded_too() {
    let server = TestServer::hanging("").await;
    let clock = ManualClock::new("2026-11-22T12:00:00Z".parse().unwrap());
    let mut settings = settings(&server.url());
    settings.max_requests_in_flight = 1;
    let superoffice = Peer::with_settings(settings, &clock).unwrap();
    let token = signed();
    let second = async {
        server.wait_for_requests(1).await;
        let time_passes = async {
            while clock.sleepers() < 2 {
                tokio::task::yield_now().await;
            }
            clock.advance(Duration::from_secs(2));
        };
        let (waited, ()) = tokio::join!(superoffice.tenant_state(tenant()), time_passes);
        clock.advance(Duration::from_secs(8));
        waited
    };
    let (first, waited) = tokio::join!(superoffice.exchange(tenant(), &token), second);
    assert_eq!(first, Err(UpstreamError::TimedOut.into()));
    assert_eq!(waited, Err(UpstreamError::Busy));
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn connections_are_kept_for_the_next_request() {
    let peer = Peer::answering(TestServer::response(200, r#"{"IsSuccessful":true,"Token":"e.y.J"}"#)).await;
    for _ in 0..5 {
        assert!(exchange_with(&peer).await.is_ok());
    }
    assert_eq!((peer.server.requests().len(), peer.server.connections()), (5, 1));
}

#[tokio::test]
async fn the_peers_clock_is_read_from_its_date() {
    let peer =
        Peer::answering("HTTP/1.1 403 No\r\nDate: Sun, 22 Nov 2026 12:20:00 GMT\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(peer.superoffice.clock_offset(), None);
    assert!(exchange_with(&peer).await.is_err());
    assert_eq!(peer.superoffice.clock_offset().map(|offset| offset.as_secs()), Some(20 * 60));
}

#[test]
fn settings_that_would_send_secrets_elsewhere_are_refused() {
    let clock = ManualClock::new("2026-11-22T12:00:00Z".parse().unwrap());
    assert!(matches!(Peer::superoffice("http://192.0.2.1/", &clock), Err(SetupError::BaseUrlRefused)));
    let mut unreadable = settings("https://127.0.0.1:1/");
    unreadable.development.as_mut().unwrap().extra_ca_file = Some("/nonexistent/ca.pem".into());
    assert!(matches!(Peer::with_settings(unreadable, &clock), Err(SetupError::ExtraCaUnreadable { .. })));
    let mut malformed = settings("https://127.0.0.1:1/");
    malformed.development.as_mut().unwrap().extra_ca_file = Some("/dev/null".into());
    assert!(matches!(Peer::with_settings(malformed, &clock), Err(SetupError::ExtraCaMalformed { .. })));
    assert!(Peer::superoffice("http://127.0.0.1:1/", &clock).is_ok());
}

#[tokio::test]
async fn nothing_logged_holds_a_secret() {
    let logged = Arc::new(Mutex::new(Vec::new()));
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer({
        let logged = Arc::clone(&logged);
        move || Log(Arc::clone(&logged))
    });
    let _guard = tracing::subscriber::set_default(subscriber.finish());
    let (secret, refresh) = ("0123456789abcdef0123456789abcdef", "4PIk1KQ8f6Rt0123456789RtRtRtRt99");
    let body = format!(r#"{{"IsSuccessful":false,"ErrorMessage":"{} {secret}"}}"#, signed().expose());
    let peer = Peer::answering(TestServer::response(200, &body)).await;
    let refused = exchange_with(&peer).await.unwrap_err();
    peer.server.answer(TestServer::response(400, &format!(r#"{{"error":"{refresh}"}}"#)));
    let soap =
        Peer::serving_over(ExchangeTransport::Soap, TestServer::answering(TestServer::response(200, &body)).await);
    let unread = exchange_with(&soap).await.unwrap_err();
    let fault = format!(
        "<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\"><s:Body><s:Fault><faultcode>s:Server</faultcode>\
         <faultstring>{} {secret}</faultstring></s:Fault></s:Body></s:Envelope>",
        signed().expose()
    );
    soap.server.answer(TestServer::response(500, &fault));
    let failed = exchange_with(&soap).await.unwrap_err();
    tracing::info!(%unread, ?unread, %failed, ?failed, "shown");
    let not_refreshed = peer.superoffice.refresh_access_token(&RefreshToken::new(refresh)).await.unwrap_err();
    let settings = Settings { client_authentication: ClientAuthentication::Basic, ..settings(&peer.server.url()) };
    let basic = Peer::with_settings(settings, &peer.clock).unwrap();
    let (code, verifier) = ("C0deAbCdEfGhIjKlMnOpQrStUvWxYz012345", "V3rifierAbCdEfGhIjKlMnOpQrStUvWxYz0");
    peer.server.answer(TestServer::response(400, &format!(r#"{{"error":"{code}"}}"#)));
    let (given_code, given_verifier) = (AuthorizationCode::new(code), CodeVerifier::new(verifier));
    let not_exchanged = basic.exchange_code(&given_code, "https://x/", &given_verifier).await.unwrap_err();
    tracing::info!(%refused, ?refused, %not_refreshed, ?not_refreshed, superoffice = ?peer.superoffice, "shown");
    tracing::info!(%not_exchanged, ?not_exchanged, superoffice = ?basic, "shown");
    let logged = String::from_utf8(logged.lock().unwrap().clone()).unwrap();
    assert!(logged.contains("/Login/api/PartnerSystemUser/Authenticate") && logged.contains("masked"), "{logged}");
    assert!(logged.contains("/login/common/oauth/tokens"), "{logged}");
    // `client_id:client_secret` in Base64, computed with Python.
    let header = "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA6MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    for canary in [secret, refresh, signed().expose(), code, verifier, header] {
        for piece in canary.as_bytes().windows(12) {
            let piece = std::str::from_utf8(piece).unwrap();
            assert!(!logged.contains(piece), "{piece}: {logged}");
        }
    }
}

struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
