use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use tracing::Instrument;

use super::cooldown::Cooldown;
use super::http::{Content, Http, Purpose, Request};
use crate::clock::Clock;
use crate::crypto::{JwtHeader, VerificationKeys};
use crate::metrics;
use crate::random::Random;

const PATH: &str = "/login/.well-known/jwks";

/// When known keys are asked for again, in the background: not all replicas at once.
const REFRESH_AFTER: (Duration, Duration) = (Duration::from_mins(54), Duration::from_hours(1));
/// From one attempt to the next, whether it succeeded or not.
const BETWEEN_ATTEMPTS: Duration = Duration::from_mins(1);

/// The keys SuperOffice signs with: the published key set, over the pinned certificates as a floor.
#[derive(Clone, Debug)]
pub(super) struct SigningKeys(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    http: Arc<Http>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    timeout: Duration,
    floor: VerificationKeys,
    /// Never held across an await.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The last good set.
    keys: VerificationKeys,
    /// When it was read, by monotonic time.
    read: Duration,
    /// While it lasts, known keys are not asked for again. None before the first success.
    fresh: Option<Cooldown>,
    /// While it lasts, no attempt is made.
    attempted: Option<Cooldown>,
    /// The attempt that is under way.
    flight: Option<Shared<BoxFuture<'static, ()>>>,
}

impl SigningKeys {
    pub(super) fn new(
        floor: VerificationKeys,
        http: Arc<Http>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        timeout: Duration,
    ) -> Self {
        let state =
            State { keys: floor.clone(), read: clock.elapsed(), fresh: None, attempted: None, flight: None };
        let inner = Arc::new(Inner { http, clock, random, timeout, floor, state: Mutex::new(state) });
        let looked_at = Arc::downgrade(&inner);
        metrics::before_reading(move || {
            let keys = looked_at.upgrade();
            keys.inspect(|keys| metrics::JWKS_AGE.set(keys.age().as_secs_f64(), &[])).is_some()
        });
        Self(inner)
    }

    /// See [`super::SuperOffice::verification_keys`].
    pub(super) async fn get(&self, header: &JwtHeader) -> VerificationKeys {
        let flight = {
            let mut state = self.0.state();
            let is_known = state.keys.find(header).is_some();
            let is_fresh = state.fresh.as_mut().is_some_and(|fresh| !fresh.is_over());
            let flight = if is_known && is_fresh { None } else { self.flight(&mut state) };
            match flight {
                // A known key never waits for the network; its set is renewed meanwhile.
                Some(flight) if !is_known => flight,
                _ => return state.keys.clone(),
            }
        };
        flight.await;
        self.0.state().keys.clone()
    }

    /// The attempt under way, else a new one if it is time for it.
    fn flight(&self, state: &mut State) -> Option<Shared<BoxFuture<'static, ()>>> {
        if let Some(flight) = state.flight.as_ref().filter(|flight| flight.peek().is_none()) {
            return Some(flight.clone());
        }
        if state.attempted.as_mut().is_some_and(|attempted| !attempted.is_over()) {
            return None;
        }
        state.attempted = Some(Cooldown::start(&*self.0.clock, BETWEEN_ATTEMPTS));
        let inner = Arc::clone(&self.0);
        // A task of its own: it neither stops with a caller that gives up nor starts again for the next.
        let attempt = tokio::spawn(async move { inner.fetch().await }.in_current_span());
        let flight = attempt.map(|_| ()).boxed().shared();
        state.flight = Some(flight.clone());
        Some(flight)
    }
}

impl Inner {
    async fn fetch(&self) {
        let request = Request {
            path: PATH,
            content: Content::Nothing,
            purpose: Purpose::Exchange,
            tenant: None,
            timeout: self.timeout,
        };
        let fetched = match self.http.send(request).await {
            Ok(answer) if answer.status.is_success() => {
                VerificationKeys::from_jwks(&answer.body).map_err(|error| error.to_string())
            }
            Ok(answer) => Err(format!("HTTP status {}", answer.status.as_u16())),
            Err(error) => Err(error.to_string()),
        };
        let is_usable = fetched.as_ref().is_ok_and(|keys| !keys.is_empty());
        metrics::JWKS_FETCH.count(&[if is_usable { "ok" } else { "failed" }]);
        let mut state = self.state();
        state.flight = None;
        match fetched {
            Ok(keys) if !keys.is_empty() => {
                state.read = self.clock.elapsed();
                state.keys = keys.merged_with(self.floor.clone());
                state.fresh =
                    Some(Cooldown::start(&*self.clock, self.random.between(REFRESH_AFTER.0, REFRESH_AFTER.1)));
            }
            Ok(_) => tracing::warn!("SuperOffice's key set is empty: the last good one stays in use"),
            Err(error) => tracing::warn!(error, "SuperOffice's keys cannot be read: the last good ones stay in use"),
        }
    }

    /// How long ago the last good set was read, or the process began without one.
    fn age(&self) -> Duration {
        self.clock.elapsed().saturating_sub(self.state().read)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::super::test_server::{Peer, TestServer};
    use super::*;
    use crate::crypto::unverified_header;
    use crate::identifiers::UnverifiedJwt;

    // Published keys of three environments stand for three generations of one environment's: sod's are the floor.
    const SOD: &str = "16B7FB8C3F9AB06885A800C64E64C97C4AB5E98C";
    const QAONLINE: &str = "484903A7732B928C7980A39D38E947EA119F1089";
    const ONLINE: &str = "60B61583DBB2B7EEC46FD01EC0056E62451D61F3";
    const ONLINE_X5T: &str = "YLYVg9uyt-7Eb9AewAVuYkUdYfM";

    fn qaonline_set() -> String {
        TestServer::response(200, include_str!("../../tests/fixtures/oidc/jwks.qaonline.json"))
    }

    fn online_set() -> String {
        TestServer::response(200, include_str!("../../tests/fixtures/oidc/jwks.online.json"))
    }

    fn header(members: &str) -> JwtHeader {
        let encoded = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"RS256",{members}}}"#));
        unverified_header(&UnverifiedJwt::new(format!("{encoded}.e30.c2ln"))).unwrap()
    }

    fn kid(kid: &str) -> JwtHeader {
        header(&format!(r#""kid":"{kid}""#))
    }

    async fn knows(peer: &Peer, header: &JwtHeader) -> bool {
        peer.superoffice.verification_keys(header).await.find(header).is_some()
    }

    #[tokio::test]
    async fn a_pinned_key_does_not_wait_for_the_network() {
        let peer = Peer::serving(TestServer::hanging("").await);
        assert!(knows(&peer, &kid(SOD)).await);
        // An attempt hangs in the background and holds nobody up.
        peer.server.wait_for_requests(1).await;
        assert!(knows(&peer, &kid(SOD)).await);
    }

    #[tokio::test]
    async fn an_unknown_key_is_looked_for_and_kept() {
        let peer = Peer::answering(online_set()).await;
        assert!(knows(&peer, &kid(ONLINE)).await);
        assert!(knows(&peer, &header(&format!(r#""x5t":"{ONLINE_X5T}""#))).await);
        assert!(knows(&peer, &kid(SOD)).await);
        assert!(!knows(&peer, &kid(QAONLINE)).await);
        let requests = peer.server.requests();
        assert_eq!(requests.len(), 1);
        assert!(requests[0].starts_with("GET /login/.well-known/jwks HTTP/1.1\r\n"), "{requests:?}");
    }

    #[tokio::test]
    async fn rotation_is_noticed_within_a_minute_and_failures_keep_the_last_good_set() {
        let peer = Peer::answering(online_set()).await;
        assert!(knows(&peer, &kid(ONLINE)).await);
        peer.server.answer(TestServer::response(500, ""));
        for bad in [
            TestServer::response(500, ""),
            TestServer::response(404, ""),
            TestServer::response(200, "<html>"),
            TestServer::response(200, r#"{"keys":[]}"#),
            "HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{\"keys\":[".to_owned(),
        ] {
            peer.server.answer(bad);
            peer.clock.advance(Duration::from_mins(1));
            assert!(!knows(&peer, &kid(QAONLINE)).await);
            assert!(knows(&peer, &kid(ONLINE)).await);
        }
        peer.server.answer(qaonline_set());
        peer.clock.advance(Duration::from_secs(59));
        assert!(!knows(&peer, &kid(QAONLINE)).await, "the failed attempt counts");
        peer.clock.advance(Duration::from_secs(1));
        assert!(knows(&peer, &kid(QAONLINE)).await);
        assert!(!knows(&peer, &kid(ONLINE)).await, "a key that is withdrawn is gone");
        assert!(knows(&peer, &kid(SOD)).await, "the floor stays");
    }

    #[tokio::test]
    async fn known_keys_are_renewed_after_an_hour_in_the_background() {
        let peer = Peer::answering(online_set()).await;
        assert!(knows(&peer, &kid(ONLINE)).await);
        peer.server.answer(qaonline_set());
        peer.clock.advance(Duration::from_mins(53));
        assert!(knows(&peer, &kid(ONLINE)).await);
        assert_eq!(peer.server.requests().len(), 1);
        peer.clock.advance(Duration::from_mins(7));
        assert!(knows(&peer, &kid(ONLINE)).await);
        peer.server.wait_for_requests(2).await;
        while knows(&peer, &kid(ONLINE)).await {
            tokio::task::yield_now().await;
        }
        assert_eq!(peer.server.requests().len(), 2);
    }

    #[tokio::test]
    async fn ten_thousand_random_kids_are_one_fetch_a_minute() {
        let peer = Peer::answering(online_set()).await;
        for minute in 1..=3 {
            for number in 0..10_000 {
                assert!(!knows(&peer, &kid(&format!("{minute:020X}{number:020X}"))).await);
            }
            assert_eq!(peer.server.requests().len(), minute);
            peer.clock.advance(Duration::from_mins(1));
        }
        println!("JWKS fetches for 10,000 random kids a minute, three minutes: {}", peer.server.requests().len());
    }

    #[tokio::test]
    async fn all_who_miss_a_key_share_one_fetch() {
        let peer = Peer::answering(online_set()).await;
        let header = kid(ONLINE);
        let found = futures_util::future::join_all((0..100).map(|_| knows(&peer, &header))).await;
        assert!(found.into_iter().all(|found| found));
        assert_eq!(peer.server.requests().len(), 1);
    }

    #[tokio::test]
    async fn a_caller_that_gives_up_does_not_stop_the_fetch() {
        let peer = Peer::answering(online_set()).await;
        let header = kid(ONLINE);
        assert!(knows(&peer, &header).now_or_never().is_none());
        assert!(knows(&peer, &header).await);
        assert_eq!(peer.server.requests().len(), 1);
    }
}
