use std::fs;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use issuer::{AUDIENCE, ISSUER, Key, POD_UID};
use serde_json::json;
use tempfile::TempDir;
use tonic::Code;
use tonic_types::StatusExt;
use tower::{ServiceExt, service_fn};

use super::*;
use crate::clock::{Clock, ManualClock};
use crate::crypto::JwtRejection;
use crate::identity::{KeySource, Settings};
use crate::random::SeededRandom;

#[path = "../../../../tests/support/issuer.rs"]
mod issuer;

const START: i64 = 1_800_000_000;
const METHOD: &str = "/superoffice.ticket.v1.TicketService/GetSystemTicket";
const RSA: &str = "the other one";
const SPIFFE: &str = "spiffe://corp.example/ns/crm/sa/sync";

/// A layer that takes a cluster's tokens, over a handler that answers with the caller it was given.
struct Rig {
    key: Key,
    clock: ManualClock,
    callers: Callers,
    _directory: TempDir,
}

impl Rig {
    fn new() -> Self {
        let key = Key::p256("the one");
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("jwks.json");
        fs::write(&file, issuer::jwks([&key, &Key::rsa(RSA)])).unwrap();
        let clock = ManualClock::new(jiff::Timestamp::from_second(START).unwrap());
        let settings = Settings {
            issuer: ISSUER.to_owned(),
            audience: AUDIENCE.to_owned(),
            keys: KeySource::File(file),
            token_review: false,
        };
        let tokens = ServiceAccounts::new(settings, Arc::new(clock.clone()), Arc::new(SeededRandom::new(7))).unwrap();
        let callers = Callers { tokens: Some(tokens), allow_unidentified: false };
        Self { key, clock, callers, _directory: directory }
    }

    fn token(&self) -> String {
        self.key.sign(&issuer::claims("crm/sync", self.clock.now().as_second()))
    }

    async fn caller(&self, connection: ConnectionIdentity, authorization: &[&str]) -> Result<Caller, Status> {
        caller_by(Some(self.callers.clone()), METHOD, Some(connection), authorization).await.map(Option::unwrap)
    }
}

async fn caller_by(
    callers: Option<Callers>,
    path: &str,
    connection: Option<ConnectionIdentity>,
    authorization: &[&str],
) -> Result<Option<Caller>, Status> {
    let response = respond(callers, path, connection, authorization).await;
    match Status::from_header_map(response.headers()) {
        Some(status) if status.code() != Code::Ok => Err(status),
        _ => Ok(response.extensions().get::<Caller>().cloned()),
    }
}

fn respond(
    callers: Option<Callers>,
    path: &str,
    connection: Option<ConnectionIdentity>,
    authorization: &[&str],
) -> impl Future<Output = Response<Body>> {
    let handler = service_fn(|request: Request<Body>| async move {
        assert!(!request.headers().contains_key(AUTHORIZATION) || request.uri().path() != METHOD);
        let mut response = Response::new(Body::empty());
        if let Some(caller) = request.extensions().get::<Caller>() {
            response.extensions_mut().insert(caller.clone());
        }
        Ok::<_, Infallible>(response)
    });
    let mut request = Request::post(path).body(Body::empty()).unwrap();
    for value in authorization {
        request.headers_mut().append(AUTHORIZATION, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    if let Some(connection) = connection {
        request.extensions_mut().insert(connection);
    }
    Identify::new(handler, callers).oneshot(request).map(Result::unwrap)
}

fn peer() -> Peer {
    Peer::Tcp("192.0.2.7:40000".parse().unwrap())
}

fn tls(id: Option<CallerId>) -> ConnectionIdentity {
    ConnectionIdentity { peer: peer(), id, is_private: true }
}

fn plaintext() -> ConnectionIdentity {
    ConnectionIdentity { peer: peer(), id: None, is_private: false }
}

fn unix(user: u32) -> ConnectionIdentity {
    let id = Some(CallerId::UnixUser(user));
    ConnectionIdentity { peer: Peer::Unix { pid: Some(1) }, id, is_private: true }
}

fn spiffe(id: &str) -> CallerId {
    CallerId::Spiffe(id.parse().unwrap())
}

fn account(name: &str) -> CallerId {
    CallerId::ServiceAccount(name.parse().unwrap())
}

fn refusal(status: &Status) -> (Code, String) {
    (status.code(), status.get_details_error_info().unwrap().reason)
}

#[tokio::test]
async fn a_caller_is_who_its_connection_or_its_token_says() {
    let rig = Rig::new();
    let bearer = format!("Bearer {}", rig.token());
    let pod_uid = Some(POD_UID.into());
    for (connection, authorization, id, pod_uid) in [
        (tls(Some(spiffe(SPIFFE))), &[][..], spiffe(SPIFFE), None),
        (tls(Some(CallerId::Dns("sync.example".into()))), &[], CallerId::Dns("sync.example".into()), None),
        (unix(1000), &[], CallerId::UnixUser(1000), None),
        (tls(None), &[bearer.as_str()], account("crm/sync"), pod_uid.clone()),
        (tls(None), &[&bearer.replacen("Bearer", "bEARER", 1)], account("crm/sync"), pod_uid.clone()),
        // Both name one caller: the certificate's name stands, and the token says which pod.
        (tls(Some(spiffe(SPIFFE))), &[&bearer], spiffe(SPIFFE), pod_uid),
    ] {
        let caller = rig.caller(connection.clone(), authorization).await.unwrap();
        assert_eq!(caller, Caller { id, pod_uid, peer: connection.peer });
    }
}

#[tokio::test]
async fn what_names_two_callers_or_none_is_refused() {
    let rig = Rig::new();
    let good = rig.token();
    let bearer = format!("Bearer {good}");
    let stale = format!("Bearer {}", rig.key.sign(&issuer::claims("crm/sync", START - 700)));
    let mut claims = issuer::claims("crm/sync", START);
    claims["aud"] = json!(["vault"]);
    let for_vault = format!("Bearer {}", rig.key.sign(&claims));
    let forged = format!("Bearer {}", Key::p256("the one").sign(&issuer::claims("crm/sync", START)));
    let endless = format!("Bearer {}", "A".repeat(1 << 20));
    let two = "names another caller";
    for (connection, authorization, says) in [
        (tls(None), &[][..], "without a client certificate"),
        (plaintext(), &[], "without a client certificate"),
        (tls(Some(spiffe("spiffe://corp.example/ns/crm/sa/admin"))), &[bearer.as_str()], two),
        (tls(Some(spiffe("spiffe://corp.example/ns/ops/sa/sync"))), &[&bearer], two),
        (tls(Some(spiffe("spiffe://corp.example/ns/crm/sa/sync/x"))), &[&bearer], two),
        (tls(Some(spiffe("spiffe://corp.example/x/ns/crm/sa/sync"))), &[&bearer], two),
        (tls(Some(spiffe("spiffe://corp.example/crm/sync"))), &[&bearer], two),
        (tls(Some(CallerId::Dns("sync.crm".into()))), &[&bearer], two),
        (unix(0), &[&bearer], two),
        (plaintext(), &[&bearer], "not encrypted"),
        (plaintext(), &["Bearer nonsense"], "not encrypted"),
        (tls(None), &[&bearer, &bearer], "more than one authorization header"),
        (tls(Some(spiffe(SPIFFE))), &[&bearer, "Basic eDp5"], "more than one authorization header"),
        (tls(None), &[&good], "not Bearer and a token"),
        (tls(None), &["Bearer"], "not Bearer and a token"),
        (tls(None), &["Bearer "], "not Bearer and a token"),
        (tls(None), &["Basic eDp5"], "not Bearer and a token"),
        (tls(Some(spiffe(SPIFFE))), &["Basic eDp5"], "not Bearer and a token"),
        (tls(None), &[&format!("Bearer  {good}")], "not Bearer and a token"),
        (tls(None), &[&format!("Bearer {good}, Bearer {good}")], "not Bearer and a token"),
        (tls(None), &[&format!("Bearer\t{good}")], "not Bearer and a token"),
        (tls(None), &["Bearer ä"], "not Bearer and a token"),
        (tls(None), &["Bearer x"], "not three parts"),
        (tls(None), &[&endless], "too long"),
        (tls(None), &[&stale], "expired"),
        (tls(None), &[&for_vault], "another audience"),
        (tls(None), &[&forged], "signature"),
        // A certificate does not make up for a bad token beside it.
        (tls(Some(spiffe(SPIFFE))), &[&stale], "expired"),
    ] {
        let status = rig.caller(connection.clone(), authorization).await.unwrap_err();
        assert_eq!(refusal(&status), (Code::Unauthenticated, "CALLER_UNKNOWN".to_owned()), "{says}");
        assert!(status.message().contains(says), "{says}: {}", status.message());
        assert!(!status.message().contains(&good[..20]) && !format!("{status:?}").contains(&good[..20]), "{status:?}");
    }
}

#[tokio::test]
async fn the_unidentified_may_call_only_where_that_is_allowed() {
    let rig = Rig::new();
    let allowed = Callers { allow_unidentified: true, ..rig.callers.clone() };
    for peer in ["127.0.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"].map(|peer| Peer::Tcp(peer.parse().unwrap())) {
        let connection = ConnectionIdentity { peer, ..plaintext() };
        let caller = caller_by(Some(allowed.clone()), METHOD, Some(connection), &[]).await.unwrap().unwrap();
        assert_eq!(caller.id, CallerId::Unidentified);
    }
    for far in [plaintext(), tls(None)] {
        let refused = caller_by(Some(allowed.clone()), METHOD, Some(far), &[]).await.unwrap_err();
        assert!(refused.message().contains("without a client certificate"), "{}", refused.message());
    }
    // Who says something about itself is held to it.
    let bearer = format!("Bearer {}", rig.token());
    for (connection, authorization) in [(plaintext(), bearer.as_str()), (tls(None), "Bearer x")] {
        let refused = caller_by(Some(allowed.clone()), METHOD, Some(connection), &[authorization]).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated);
    }
    let without_tokens = Callers { tokens: None, allow_unidentified: true };
    let refused = caller_by(Some(without_tokens), METHOD, Some(tls(None)), &[&bearer]).await.unwrap_err();
    assert!(refused.message().contains("not accepted here"), "{}", refused.message());
}

#[tokio::test]
async fn health_needs_no_caller_and_everything_else_does() {
    let rig = Rig::new();
    for path in ["/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"] {
        let answered = caller_by(Some(rig.callers.clone()), path, Some(plaintext()), &["Basic x", "y"]).await;
        assert_eq!(answered.unwrap(), None, "{path}");
    }
    for path in [
        METHOD,
        "/superoffice.ticket.v1.TenantService/ListTenants",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/grpc.health.v1.HealthX/Check",
        "/grpc.health.v1/Health/Check",
        "/GRPC.health.v1.Health/Check",
        "//grpc.health.v1.Health/Check",
        "/",
        "/x/y",
    ] {
        let refused = caller_by(Some(rig.callers.clone()), path, Some(plaintext()), &[]).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated, "{path}");
    }
    assert_eq!(caller_by(None, "/x/y", None, &[]).await.unwrap(), None);
    let fault = caller_by(Some(rig.callers.clone()), METHOD, None, &[]).await.unwrap_err();
    assert_eq!(refusal(&fault), (Code::Internal, "INTERNAL".to_owned()));
}

#[tokio::test]
async fn who_is_known_waits_for_nothing() {
    let rig = Rig::new();
    let bearer = format!("Bearer {}", rig.token());
    let at_once = |connection, authorization: &[&str]| {
        let answered = respond(Some(rig.callers.clone()), METHOD, Some(connection), authorization).now_or_never();
        answered.is_some_and(|response| response.extensions().get::<Caller>().is_some())
    };
    assert!(at_once(tls(Some(spiffe(SPIFFE))), &[]));
    assert!(!at_once(tls(None), &[&bearer]), "the cluster's keys are read first");
    rig.caller(tls(None), &[&bearer]).await.unwrap();
    assert!(at_once(tls(None), &[&bearer]));
    rig.clock.advance(Duration::from_secs(59));
    let tokens = rig.callers.tokens.as_ref().unwrap();
    assert!(tokens.known(&bearer[7..]).is_some());
    rig.clock.advance(Duration::from_secs(1));
    assert!(tokens.known(&bearer[7..]).is_none(), "it is looked at again after a minute");
    rig.caller(tls(None), &[&bearer]).await.unwrap();
    rig.clock.set_wall_time(jiff::Timestamp::from_second(START + 631).unwrap());
    assert!(tokens.known(&bearer[7..]).is_none(), "it has expired");
    let expired = BearerError::Rejected(JwtRejection::Expired);
    assert_eq!(tokens.identify(UnverifiedJwt::new(&bearer[7..])).await, Err(expired));
}

#[tokio::test]
async fn a_known_token_costs_no_signature() {
    const TIMES: u32 = 2_000;
    let rig = Rig::new();
    let tokens = rig.callers.tokens.clone().unwrap();
    let token = rig.token();
    tokens.identify(UnverifiedJwt::new(token.as_str())).await.unwrap();
    let clock = crate::clock::SystemClock;
    let began = clock.elapsed();
    for _ in 0..TIMES {
        assert!(tokens.known(&token).is_some());
    }
    let hits = clock.elapsed().saturating_sub(began);
    let began = clock.elapsed();
    for _ in 0..TIMES / 10 {
        tokens.identify(UnverifiedJwt::new(token.as_str())).await.unwrap();
    }
    let es256 = clock.elapsed().saturating_sub(began);
    let token = Key::rsa(RSA).sign(&issuer::claims("crm/sync", START));
    let began = clock.elapsed();
    for _ in 0..TIMES / 10 {
        tokens.identify(UnverifiedJwt::new(token.as_str())).await.unwrap();
    }
    let rs256 = clock.elapsed().saturating_sub(began);
    let (hit, es256, rs256) = (hits / TIMES, es256 / (TIMES / 10), rs256 / (TIMES / 10));
    println!("a token of {} bytes: known {hit:?}, verified ES256 {es256:?} and RS256 {rs256:?}", token.len());
    assert!(hit < es256 && hit < rs256);
}
