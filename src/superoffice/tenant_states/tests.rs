use super::super::test_server::{Peer, TestServer};
use super::*;

fn tenant(number: u32) -> ContextIdentifier {
    format!("Cust{number}").parse().unwrap()
}

fn answer(members: &str) -> String {
    TestServer::response(200, &format!("{{{members}}}"))
}

async fn state_of(peer: &Peer, number: u32) -> Result<TenantStatus, UpstreamError> {
    peer.superoffice.tenant_state(tenant(number)).await
}

fn freshness(peer: &Peer) -> Freshness {
    peer.superoffice.known_tenant(tenant(1)).freshness(peer.clock.now())
}

#[tokio::test]
async fn the_documented_answer_is_read() {
    let peer =
        Peer::answering(TestServer::response(200, include_str!("../../../tests/fixtures/state/state.response.json")))
            .await;
    peer.clock.set_wall_time("2026-02-23T09:22:01.9342965Z".parse().unwrap());
    let status = state_of(&peer, 12345).await.unwrap();
    assert_eq!(status.state, TenantState::Running);
    assert_eq!(status.webapi_url.as_deref(), Some("https://online2.superoffice.com/Cust12345/api/"));
    assert_eq!(status.valid_until, "2026-02-23T09:52:01.9342965Z".parse().unwrap());
    let request = peer.server.requests().pop().unwrap();
    assert!(request.starts_with("GET /api/state/Cust12345 HTTP/1.1\r\n"), "{request}");
}

#[test]
fn an_answer_is_believed_for_ten_seconds_to_an_hour() {
    let now: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
    for (valid_until, seconds) in [
        (Some("2026-11-22T12:00:10.9999999Z"), 10),
        (Some("2026-11-22T12:30:00.0000000Z"), 1800),
        (Some("2026-11-22T12:30:00.1234567"), 1800),
        (Some("2026-11-22T13:30:00+01:00"), 1800),
        (Some("2026-11-22T12:00:01Z"), 10),
        (Some("2020-01-01T00:00:00Z"), 10),
        (Some("9999-12-30T00:00:00.0000000Z"), 3600),
        // .NET's last moment is later than ours.
        (Some("9999-12-31T23:59:59.9999999Z"), 60),
        (Some("0001-01-01T00:00:00"), 10),
        (Some("soon"), 60),
        (Some(""), 60),
        (None, 60),
    ] {
        let believed = believed_until(valid_until, now).duration_since(now);
        assert_eq!(believed.as_secs(), seconds, "{valid_until:?}");
    }
    assert_eq!(believed_until(None, Timestamp::MAX), Timestamp::MAX);
}

#[tokio::test]
async fn an_answer_is_asked_for_again_when_it_has_lapsed() {
    let peer = Peer::answering(answer(r#""State":"Running","ValidUntil":"2026-11-22T12:10:00.0000000Z""#)).await;
    for _ in 0..100 {
        assert_eq!(state_of(&peer, 1).await.unwrap().state, TenantState::Running);
    }
    peer.server.answer(answer(r#""State":4,"Api":"https://evil.example/Cust1/api""#));
    peer.clock.advance(Duration::from_secs(479));
    assert_eq!(state_of(&peer, 1).await.unwrap().state, TenantState::Running);
    assert_eq!(peer.server.requests().len(), 1, "its last fifth has not begun");
    peer.clock.advance(Duration::from_secs(1));
    let status = state_of(&peer, 1).await.unwrap();
    assert_eq!((status.state, status.webapi_url), (TenantState::Suspended, None));
    peer.clock.set_wall_time("2026-11-22T11:00:00Z".parse().unwrap());
    assert!(state_of(&peer, 1).await.is_ok());
    assert_eq!(peer.server.requests().len(), 3, "a clock set back makes it void");
}

#[tokio::test]
async fn answers_of_no_use_are_typed_errors() {
    let other = answer(r#""ContextIdentifier":"Cust2","State":"Running","Api":"https://a.superoffice.com/Cust2/api""#);
    for (response, expected) in [
        (other, UpstreamError::Malformed),
        (answer(""), UpstreamError::Malformed),
        (answer(r#""State":null"#), UpstreamError::Malformed),
        (TestServer::response(200, "<html>"), UpstreamError::Malformed),
        (TestServer::response(404, "{}"), UpstreamError::Status(404)),
        (TestServer::response(302, ""), UpstreamError::Status(302)),
        (TestServer::response(503, ""), UpstreamError::Status(503)),
    ] {
        let peer = Peer::answering(&response).await;
        assert_eq!(state_of(&peer, 1).await, Err(expected), "{response}");
    }
}

#[tokio::test]
async fn a_failure_is_remembered_for_seconds_only() {
    let peer = Peer::answering(TestServer::response(404, "")).await;
    for _ in 0..10 {
        assert_eq!(state_of(&peer, 1).await, Err(UpstreamError::Status(404)));
    }
    assert_eq!(peer.server.requests().len(), 1);
    peer.server.answer(answer(r#""State":"Running""#));
    peer.clock.advance(AFTER_A_FAILURE);
    assert!(state_of(&peer, 1).await.is_ok());
}

#[tokio::test]
async fn a_dead_state_api_is_not_asked_for_every_tenant() {
    let peer = Peer::answering(TestServer::response(500, "")).await;
    for number in 0..1_000 {
        assert!(state_of(&peer, number).await.is_err());
    }
    assert_eq!(peer.server.requests().len(), 5);
    peer.clock.advance(Duration::from_secs(10));
    for number in 1_000..2_000 {
        assert!(state_of(&peer, number).await.is_err());
    }
    println!("requests for 2,000 tenants' states to a dead API in 10 s: {}", peer.server.requests().len());
    assert_eq!(peer.server.requests().len(), 6);
    peer.server.answer(answer(r#""State":"Running""#));
    peer.clock.advance(Duration::from_secs(10));
    for number in 2_000..2_010 {
        assert!(state_of(&peer, number).await.is_ok());
    }
}

#[tokio::test]
async fn a_failure_takes_nothing_away_that_is_still_believed() {
    let running =
        r#""State":"Running","ValidUntil":"2026-11-22T12:10:00Z","Api":"https://a.superoffice.com/Cust1/api""#;
    let peer = Peer::answering(answer(running)).await;
    let at_hand = || peer.superoffice.known_tenant(tenant(1));
    assert_eq!(freshness(&peer), Freshness::Lapsed);
    let told = state_of(&peer, 1).await.unwrap();
    assert_eq!((&at_hand().status, freshness(&peer)), (&told, Freshness::Fresh));
    peer.server.answer(TestServer::response(503, ""));
    peer.clock.advance(Duration::from_mins(8));
    assert_eq!(freshness(&peer), Freshness::Due);
    assert_eq!(state_of(&peer, 1).await, Ok(told.clone()));
    assert_eq!(freshness(&peer), Freshness::Fresh, "the failure is remembered");
    peer.clock.advance(Duration::from_mins(2));
    assert_eq!(freshness(&peer), Freshness::Lapsed);
    assert_eq!(state_of(&peer, 1).await, Err(UpstreamError::Status(503)));
    let doubted = at_hand();
    assert_eq!((doubted.status.state, freshness(&peer)), (TenantState::Unknown, Freshness::Fresh));
    assert_eq!(doubted.status.webapi_url, told.webapi_url, "the one last known");
    peer.clock.advance(AFTER_A_FAILURE);
    assert_eq!(freshness(&peer), Freshness::Due, "nobody waits for it");
}

#[tokio::test]
async fn what_is_noted_is_believed_at_once_and_briefly() {
    let peer = Peer::answering(answer(r#""State":"Running","Api":"https://a.superoffice.com/Cust1/api""#)).await;
    let told = state_of(&peer, 1).await.unwrap();
    peer.superoffice.note_tenant_state(tenant(1), TenantState::Suspended);
    let noted = state_of(&peer, 1).await.unwrap();
    assert_eq!((noted.state, noted.webapi_url), (TenantState::Suspended, told.webapi_url.clone()));
    assert_eq!(peer.server.requests().len(), 1);
    peer.clock.advance(BELIEVED_BRIEFLY);
    assert_eq!(freshness(&peer), Freshness::Lapsed);
    assert_eq!(state_of(&peer, 1).await.unwrap().state, TenantState::Running);
    peer.superoffice.forget_tenant_state(tenant(1));
    let forgotten = peer.superoffice.known_tenant(tenant(1));
    assert_eq!((freshness(&peer), &forgotten.status.webapi_url), (Freshness::Lapsed, &told.webapi_url));
}

#[tokio::test]
async fn an_answer_to_a_question_from_before_is_not_kept() {
    let peer = Peer::serving(TestServer::hanging("").await);
    let overtaken = async {
        peer.server.wait_for_requests(1).await;
        peer.superoffice.note_tenant_state(tenant(1), TenantState::Suspended);
        peer.clock.advance(Duration::from_secs(2));
    };
    let (outcome, ()) = tokio::join!(state_of(&peer, 1), overtaken);
    assert_eq!(outcome, Err(UpstreamError::TimedOut));
    assert_eq!(state_of(&peer, 1).await.unwrap().state, TenantState::Suspended);
}

#[tokio::test]
async fn a_state_waited_for_in_vain_is_doubted_until_its_answer_comes() {
    let peer = Peer::answering(answer(r#""State":"Running""#)).await;
    peer.superoffice.doubt_tenant_state(tenant(1));
    assert_eq!(freshness(&peer), Freshness::Fresh);
    assert_eq!(state_of(&peer, 1).await, Err(UpstreamError::TimedOut));
    peer.clock.advance(AFTER_A_FAILURE);
    assert_eq!(state_of(&peer, 1).await.unwrap().state, TenantState::Running);
    peer.superoffice.doubt_tenant_state(tenant(1));
    assert_eq!(state_of(&peer, 1).await.unwrap().state, TenantState::Running, "what is believed is not doubted");
}

#[tokio::test]
async fn a_slow_state_api_ends_with_its_own_time_out() {
    let peer = Peer::serving(TestServer::hanging("").await);
    let time_passes = async {
        peer.server.wait_for_requests(1).await;
        peer.clock.advance(Duration::from_secs(2));
    };
    let (outcome, ()) = tokio::join!(state_of(&peer, 1), time_passes);
    assert_eq!(outcome, Err(UpstreamError::TimedOut));
}
