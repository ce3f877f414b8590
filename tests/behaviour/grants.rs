//! Access tokens by the grants that users gave by signing in.

use std::time::Duration;

use superoffice_sandbox::Endpoint::{Revoke, Tokens};
use superoffice_sandbox::{Behaviour, IdTokenFlaw, JwtFlaw, WrongTenant};
use ticketd::clock::Clock;
use ticketd::grpc::proto::{GetTenantRequest, ListGrantsRequest, RefreshAccessTokenRequest};
use tonic::Code;

use crate::browser::{administrator, to_any_tenant, to_tenant, user};
use crate::world::{START, TENANT, World, eventually, reason, timestamp, within};

/// As long as the sandbox's access tokens live.
const LIFE: Duration = Duration::from_hours(1);

/// A world with a grant of [`TENANT`]'s administrator, whose first access token is not good any more.
async fn world_with_a_grant() -> (World, String) {
    let world = World::start().await;
    let administrator = administrator(TENANT);
    world.sign_in(to_tenant(), &administrator).await.unwrap();
    world.clock.advance(LIFE);
    world.sandbox.reset_requests();
    (world, administrator)
}

#[tokio::test]
async fn an_access_token_is_kept_until_near_its_expiry_whichever_way_that_is_written() {
    for as_string in [false, true] {
        let (world, administrator) = world_with_a_grant().await;
        world.sandbox.change_settings(|settings| settings.expires_in_as_string = as_string);
        let first = world.access_token_of(TENANT, &administrator).await.unwrap();
        assert_eq!(timestamp(first.expire_time), world.clock.now() + LIFE);
        world.clock.advance(Duration::from_secs(3_539));
        let kept = world.access_token_of(TENANT, &administrator).await.unwrap();
        assert_eq!(kept.access_token, first.access_token);
        assert_eq!(world.sandbox.requests(Tokens), 1);
        world.clock.advance(Duration::from_secs(1));
        let next = world.access_token_of(TENANT, &administrator).await.unwrap();
        assert_ne!(next.access_token, first.access_token);
        assert_eq!(world.sandbox.requests(Tokens), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_callers_share_one_request_and_one_who_gives_up_stops_nothing() {
    let callers = 1_000;
    let (world, administrator) = world_with_a_grant().await;
    let hanging = world.sandbox.set_behaviour(Behaviour::Hang.at(Tokens));
    let request = RefreshAccessTokenRequest {
        context_identifier: TENANT.to_owned(),
        user: administrator,
        ..RefreshAccessTokenRequest::default()
    };
    let client = world.tickets();
    let call = || {
        let (mut client, request) = (client.clone(), request.clone());
        tokio::spawn(async move { client.refresh_access_token(request).await })
    };
    let impatient = call();
    within(world.sandbox.wait_for_requests(Tokens, 1)).await;
    impatient.abort();
    assert!(within(impatient).await.unwrap_err().is_cancelled());
    let calls: Vec<_> = (0..callers).map(|_| call()).collect();
    world.sandbox.clear_behaviour(hanging);
    let mut answers = Vec::new();
    for call in calls {
        answers.push(within(call).await.unwrap().unwrap().into_inner().access_token);
    }
    answers.dedup();
    println!("{callers} callers of one grant: {} request", world.sandbox.requests(Tokens));
    assert_eq!((answers.len(), world.sandbox.requests(Tokens)), (1, 1));
}

#[tokio::test]
async fn a_rotated_refresh_token_is_stored_before_its_access_token_is_handed_out() {
    let (mut world, administrator) = world_with_a_grant().await;
    world.sandbox.change_settings(|settings| settings.rotate_refresh_tokens = true);
    for restart in 0..5 {
        let answer = world.access_token_of(TENANT, &administrator).await.unwrap();
        assert_eq!(answer.refresh_token, "", "a kept refresh token is nobody's business");
        // At once: were it not on the disk yet, the one that is would be worth nothing.
        world = world.killed_and_restarted().await;
        assert_eq!(world.granting_users(TENANT).await, std::slice::from_ref(&administrator), "restart {restart}");
    }
    world.access_token_of(TENANT, &administrator).await.unwrap();
    assert_eq!(world.sandbox.requests(Tokens), 6);
}

#[tokio::test]
async fn a_rotated_refresh_token_of_the_callers_own_reaches_every_caller_that_shares_the_answer() {
    let world = World::start().await;
    let own = world.sandbox.issue_refresh_token(TENANT).unwrap();
    assert_eq!(world.access_token(TENANT, &own).await.unwrap().refresh_token, "", "it stays as it is");
    world.clock.advance(LIFE);
    world.sandbox.change_settings(|settings| settings.rotate_refresh_tokens = true);
    let rotated = world.access_token(TENANT, &own).await.unwrap().refresh_token;
    assert!(world.sandbox.accepts_refresh_token(&rotated) && rotated != own);
    assert_eq!(world.access_token(TENANT, &own).await.unwrap().refresh_token, rotated, "also from the cache");
    world.access_token(TENANT, &rotated).await.unwrap();
    assert_eq!(world.granting_users(TENANT).await, [""; 0], "a caller's own is never kept");
}

#[tokio::test]
async fn a_withdrawn_grant_is_final_until_the_user_signs_in_again() {
    let (world, administrator) = world_with_a_grant().await;
    world.sandbox.set_behaviour(Behaviour::OAuthError("invalid_grant".to_owned()).at(Tokens).times(1));
    for _ in 0..3 {
        let refused = world.access_token_of(TENANT, &administrator).await.unwrap_err();
        assert_eq!(reason(&refused), (Code::FailedPrecondition, "GRANT_REVOKED".to_owned()));
    }
    assert_eq!(world.granting_users(TENANT).await, [""; 0]);
    world.clock.advance(Duration::from_mins(5));
    let refused = world.access_token_of(TENANT, &administrator).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::NotFound, "GRANT_NOT_KEPT".to_owned()));
    assert_eq!(world.sandbox.requests(Tokens), 1, "SuperOffice is asked once");

    world.sign_in(to_tenant(), &administrator).await.unwrap();
    world.clock.advance(LIFE);
    world.access_token_of(TENANT, &administrator).await.expect("the new grant is good");
}

#[tokio::test]
async fn what_may_pass_takes_no_grant_away() {
    let (world, administrator) = world_with_a_grant().await;
    for (behaviour, code, expected) in [
        (Behaviour::Status(500), Code::Unavailable, "UPSTREAM_UNAVAILABLE"),
        (Behaviour::OAuthError("invalid_client".to_owned()), Code::FailedPrecondition, "CLIENT_REFUSED"),
        (Behaviour::OAuthError("temporarily_unavailable".to_owned()), Code::FailedPrecondition, "CLIENT_REFUSED"),
        (Behaviour::Malformed, Code::Unavailable, "UPSTREAM_UNAVAILABLE"),
    ] {
        let failing = world.sandbox.set_behaviour(behaviour.clone().at(Tokens));
        let call = world.access_token_of(TENANT, &administrator);
        let refused = world.while_time_passes(call).await.unwrap_err();
        assert_eq!(reason(&refused), (code, expected.to_owned()), "{behaviour:?}");
        world.sandbox.clear_behaviour(failing);
        world.clock.advance(Duration::from_mins(5));
        assert_eq!(world.granting_users(TENANT).await, std::slice::from_ref(&administrator));
    }
    world.access_token_of(TENANT, &administrator).await.unwrap();
}

#[tokio::test]
async fn a_refreshs_id_token_updates_the_tenant_when_it_verifies_and_is_ignored_when_not() {
    let (world, administrator) = world_with_a_grant().await;
    world.sandbox.add_tenant("Cust54321");
    let before = world.ticket(TENANT).await.unwrap();
    world.sandbox.add_tenant_with_token(TENANT, "Sandbox Application-changed000");
    let id_token_flaws = IdTokenFlaw::ALL.into_iter().filter(|flaw| {
        // A refresh's has neither nonce nor code.
        !matches!(flaw, IdTokenFlaw::WrongNonce | IdTokenFlaw::WithoutNonce | IdTokenFlaw::WrongCodeHash)
    });
    // What is left out cannot be told from the truth, and one is too long to be read at all.
    let jwt_flaws = JwtFlaw::ALL.into_iter().filter(|flaw| {
        use JwtFlaw::{ForeignWebapiUrl, Oversized, WithoutSerial, WithoutTicket};
        !matches!(flaw, ForeignWebapiUrl | Oversized | WithoutSerial | WithoutTicket)
    });
    let mix_ups = WrongTenant::ALL.into_iter().filter(|how| *how != WrongTenant::OtherSystemToken);
    let flaws = id_token_flaws.map(Behaviour::IdToken).chain(jwt_flaws.map(Behaviour::Jwt));
    let flaws = flaws.chain(mix_ups.map(Behaviour::WrongTenant));
    let mut ignored = 0;
    for behaviour in flaws {
        let knob = world.sandbox.set_behaviour(behaviour.clone().at(Tokens));
        world.clock.advance(LIFE);
        world
            .access_token_of(TENANT, &administrator)
            .await
            .unwrap_or_else(|status| panic!("{behaviour:?}: {status:?}"));
        world.sandbox.clear_behaviour(knob);
        let start: jiff::Timestamp = START.parse().unwrap();
        assert_eq!(world.registered_update_time(TENANT).await, start, "{behaviour:?} changed the tenant");
        ignored += 1;
    }
    println!("flawed ID tokens of refreshes ignored, their access tokens handed out: {ignored}");
    assert!(ignored >= 20);
    world.clock.advance(LIFE);
    world.access_token_of(TENANT, &administrator).await.unwrap();
    assert_eq!(world.registered_update_time(TENANT).await, world.clock.now(), "the true one replaces the token");
    assert_ne!(world.ticket(TENANT).await.unwrap().fingerprint, before.fingerprint, "its ticket is dropped");
}

#[tokio::test]
async fn an_access_token_of_another_tenant_is_not_handed_out() {
    let (world, administrator) = world_with_a_grant().await;
    let body = r#"{"token_type":"Bearer","access_token":"8A:Cust54321.abc","expires_in":3600}"#.to_owned();
    let canned = superoffice_sandbox::CannedAnswer { status: 200, body };
    world.sandbox.set_behaviour(Behaviour::Answer(canned).at(Tokens).times(1));
    let refused = world.access_token_of(TENANT, &administrator).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::Internal, "UPSTREAM_TENANT_MISMATCH".to_owned()));
    assert_eq!(world.granting_users(TENANT).await, [administrator]);
}

#[tokio::test]
async fn a_revoked_grant_is_gone_on_both_sides() {
    let world = World::start().await;
    let (administrator, other) = (administrator(TENANT), user(TENANT));
    for user in [&administrator, &other] {
        world.sign_in(to_tenant(), user).await.unwrap();
    }
    world.sandbox.set_behaviour(Behaviour::Status(503).at(Revoke).times(1));
    let refused = world.revoke(TENANT, &administrator).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::Unavailable, "UPSTREAM_UNAVAILABLE".to_owned()));
    world.access_token_of(TENANT, &administrator).await.expect("it is kept while SuperOffice cannot be reached");

    world.revoke("CUST12345", &administrator.to_uppercase()).await.unwrap();
    let refused = world.access_token_of(TENANT, &administrator).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::NotFound, "GRANT_NOT_KEPT".to_owned()), "its access token is dropped too");
    let refused = world.revoke(TENANT, &administrator).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::NotFound, "GRANT_NOT_KEPT".to_owned()));
    assert_eq!(world.granting_users(TENANT).await, std::slice::from_ref(&other));
    world.access_token_of(TENANT, &other).await.expect("the other user's is as it was");
    assert_eq!(world.sandbox.requests(Revoke), 2);
    let restarted = world.restart().await;
    assert_eq!(restarted.granting_users(TENANT).await, [other]);
}

#[tokio::test]
async fn a_deleted_tenants_grants_are_forgotten_and_do_not_come_back() {
    let world = World::start().await;
    let token = world.sandbox.add_tenant(TENANT).system_user_token;
    let administrator = administrator(TENANT);
    world.sign_in(to_tenant(), &administrator).await.unwrap();
    world.delete_tenant(TENANT).await;
    let refused = world.access_token_of(TENANT, &administrator).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::NotFound, "TENANT_NOT_REGISTERED".to_owned()));
    world.put_tenant(TENANT, &token, false).await;
    let refused = world.access_token_of(TENANT, &administrator).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::NotFound, "GRANT_NOT_KEPT".to_owned()));
    assert_eq!(world.sandbox.requests(Revoke), 0);
}

#[tokio::test]
async fn grants_are_listed_by_pages_and_without_secrets() {
    let world = World::start().await;
    for user in [administrator(TENANT), user(TENANT)] {
        world.sign_in(to_any_tenant(), &user).await.unwrap();
    }
    let mut client = world.tenants();
    let mut list = async |page_token: String| {
        let request = ListGrantsRequest { context_identifier: TENANT.to_owned(), page_size: 1, page_token };
        within(client.list_grants(request)).await.unwrap().into_inner()
    };
    let first = list(String::new()).await;
    let second = list(first.next_page_token.clone()).await;
    assert_eq!((first.grants[0].user.clone(), second.grants[0].user.clone()), (administrator(TENANT), user(TENANT)));
    assert_eq!((first.grants[0].associate_id.as_str(), second.next_page_token.as_str()), ("10", ""));
    assert_eq!(timestamp(first.grants[0].create_time), world.clock.now());
}

impl World {
    async fn registered_update_time(&self, tenant: &str) -> jiff::Timestamp {
        let request = GetTenantRequest { context_identifier: tenant.to_owned() };
        let tenant = within(self.tenants().get_tenant(request)).await.unwrap().into_inner().tenant.unwrap();
        timestamp(tenant.update_time)
    }

    /// Moves time on until the call, which waits for it, has its answer.
    async fn while_time_passes<T>(&self, call: impl Future<Output = T>) -> T {
        let mut call = std::pin::pin!(call);
        loop {
            tokio::select! {
                outcome = &mut call => return outcome,
                () = self.pass(Duration::from_millis(100), Duration::from_millis(100)) => {}
            }
        }
    }
}

#[tokio::test]
async fn two_revocations_and_a_refresh_at_once_leave_no_grant() {
    let (world, administrator) = world_with_a_grant().await;
    world.sandbox.change_settings(|settings| settings.rotate_refresh_tokens = true);
    let hanging = world.sandbox.set_behaviour(Behaviour::Hang.at(Tokens));
    let refresh = world.access_token_of(TENANT, &administrator);
    let revoking = async {
        within(world.sandbox.wait_for_requests(Tokens, 1)).await;
        let both = async { tokio::join!(world.revoke(TENANT, &administrator), world.revoke(TENANT, &administrator)) };
        let release = async {
            eventually("a moment passes", || true).await;
            world.sandbox.clear_behaviour(hanging);
        };
        tokio::join!(both, release).0
    };
    let (refreshed, (one, other)) = tokio::join!(refresh, revoking);
    assert!(refreshed.is_ok(), "it was there first: {refreshed:?}");
    assert!(one.is_ok() != other.is_ok(), "one of them found a grant: {one:?} {other:?}");
    assert_eq!(world.granting_users(TENANT).await, [""; 0]);
    let refused = world.access_token_of(TENANT, &administrator).await.unwrap_err();
    assert_eq!(reason(&refused).1, "GRANT_NOT_KEPT");
    assert_eq!(world.sandbox.requests(Revoke), 1);
}

#[tokio::test]
async fn a_server_that_stops_stores_what_nobody_waits_for() {
    let (world, administrator) = world_with_a_grant().await;
    world.sandbox.change_settings(|settings| settings.rotate_refresh_tokens = true);
    let hanging = world.sandbox.set_behaviour(Behaviour::Hang.at(Tokens));
    let call = tokio::spawn({
        let (mut client, user) = (world.tickets(), administrator.clone());
        let request = RefreshAccessTokenRequest { context_identifier: TENANT.to_owned(), user, ..Default::default() };
        async move { client.refresh_access_token(request).await }
    });
    within(world.sandbox.wait_for_requests(Tokens, 1)).await;
    call.abort();
    assert!(within(call).await.unwrap_err().is_cancelled());
    let knob = hanging;
    let world = world
        .restarted_while(|sandbox| {
            sandbox.clear_behaviour(knob);
        })
        .await;
    world.access_token_of(TENANT, &administrator).await.expect("the rotated refresh token is stored");
}
