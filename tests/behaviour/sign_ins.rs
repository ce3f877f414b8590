//! Users' sign-ins over gRPC: whom they register, and what they refuse.

use std::time::Duration;

use superoffice_sandbox::Endpoint::Tokens;
use superoffice_sandbox::{Behaviour, IdTokenFlaw, JwtFlaw, SandboxUser, WrongTenant};
use ticketd::clock::Clock;
use ticketd::grpc::proto::exchange_authorization_code_response::TenantChange;
use ticketd::grpc::proto::{CreateAuthorizationUrlRequest, ExchangeAuthorizationCodeRequest};
use tonic::Code;

use crate::browser::{administrator, to_any_tenant, to_tenant, user};
use crate::world::{CALLBACK, TENANT, World, reason, timestamp, within};

/// A tenant that the sandbox knows and ticketd does not.
const NEWCOMER: &str = "Cust54321";

#[tokio::test]
async fn an_administrators_sign_in_registers_the_tenant_and_keeps_the_grant() {
    let world = World::start().await;
    world.sandbox.add_tenant(NEWCOMER);
    assert_eq!(reason(&world.ticket(NEWCOMER).await.unwrap_err()).1, "TENANT_NOT_REGISTERED");

    let signed_in = world.sign_in(to_any_tenant(), &administrator(NEWCOMER)).await.unwrap();
    assert_eq!(signed_in.context_identifier, NEWCOMER);
    assert_eq!(signed_in.user, administrator(NEWCOMER));
    assert_eq!(signed_in.tenant_change(), TenantChange::Registered);
    assert!(signed_in.grant_kept);
    assert!(signed_in.access_token.starts_with("8A:Cust54321."));
    assert_eq!(timestamp(signed_in.expire_time), world.clock.now() + Duration::from_hours(1));

    world.ticket(NEWCOMER).await.expect("the tenant is registered, and what was refused before is forgotten");
    let requests = world.sandbox.requests(Tokens);
    let again = world.access_token_of("cust54321", &administrator(NEWCOMER).to_uppercase()).await.unwrap();
    assert_eq!((again.access_token, again.refresh_token.as_str()), (signed_in.access_token, ""));
    assert_eq!(world.sandbox.requests(Tokens), requests, "the sign-in's own access token is in the cache");
    assert_eq!(world.granting_users(NEWCOMER).await, [administrator(NEWCOMER)]);
}

#[tokio::test]
async fn the_authorization_url_is_made_for_one_sign_in() {
    let world = World::start().await;
    let request = CreateAuthorizationUrlRequest { login_hint: "a&b@example.com".to_owned(), ..to_tenant() };
    let another = || async {
        within(world.authorization().create_authorization_url(request.clone())).await.unwrap().into_inner()
    };
    let (begun, other) = (another().await, another().await);
    assert_eq!(timestamp(begun.expire_time), world.clock.now() + Duration::from_mins(10));
    let parameters = |url: &str| -> Vec<(String, String)> {
        let url = url::Url::parse(url).unwrap();
        url.query_pairs().into_owned().collect()
    };
    let (of_begun, of_other) = (parameters(&begun.authorization_url), parameters(&other.authorization_url));
    let get = |of: &[(String, String)], name: &str| {
        let found: Vec<_> = of.iter().filter(|(key, _)| key == name).map(|(_, value)| value.clone()).collect();
        assert_eq!(found.len(), 1, "{name}");
        found[0].clone()
    };
    for (name, value) in [
        ("response_type", "code"),
        ("response_mode", "query"),
        ("redirect_uri", CALLBACK),
        ("code_challenge_method", "S256"),
        ("login_hint", "a&b@example.com"),
        ("acr_values", "tenant:Cust12345"),
        ("state", &begun.state),
    ] {
        assert_eq!(get(&of_begun, name), value, "{name}");
    }
    for name in ["state", "nonce", "code_challenge"] {
        assert_ne!(get(&of_begun, name), get(&of_other, name), "{name}");
        assert_eq!(get(&of_begun, name).len(), 43, "256 bits: {name}");
    }
    assert!(!begun.authorization_url.contains(world.sandbox.client_secret()));
}

#[tokio::test]
async fn only_configured_redirect_uris_are_taken() {
    let world = World::start().await;
    let hostile = [
        "",
        "https://caller.example/signed-in/",
        "https://caller.example/signed-in?x=1",
        "https://caller.example/signed-in#f",
        "https://CALLER.example/signed-in",
        "https://caller.example:443/signed-in",
        "https://caller.example@evil.example/signed-in",
        "https://caller.example.evil.example/signed-in",
        "https://caller.example/x/../signed-in",
        "https://caller.example/signed-in\n",
        " https://caller.example/signed-in",
        "http://caller.example/signed-in",
        "//caller.example/signed-in",
        "javascript:alert(1)//https://caller.example/signed-in",
    ];
    for redirect_uri in hostile.into_iter().map(str::to_owned).chain(["x".repeat(60_000)]) {
        let request = CreateAuthorizationUrlRequest { redirect_uri, ..to_tenant() };
        let refused = within(world.authorization().create_authorization_url(request)).await.unwrap_err();
        assert_eq!(reason(&refused), (Code::InvalidArgument, "REDIRECT_URI_NOT_ALLOWED".to_owned()));
    }
    for login_hint in ["x".repeat(321), "a\nb".to_owned(), "a\u{202e}b".to_owned()] {
        let request = CreateAuthorizationUrlRequest { login_hint, ..to_tenant() };
        let refused = within(world.authorization().create_authorization_url(request)).await.unwrap_err();
        assert_eq!(reason(&refused), (Code::InvalidArgument, "LOGIN_HINT_INVALID".to_owned()));
    }
}

#[tokio::test]
async fn a_sign_in_is_for_once_and_for_ten_minutes() {
    let world = World::start().await;
    let redirect = world.approved(to_tenant(), &administrator(TENANT)).await;
    for code in ["", "a b", "a\u{fc}", &"x".repeat(513)] {
        let hostile = ExchangeAuthorizationCodeRequest { code: code.to_owned(), ..redirect.clone() };
        let refused = world.exchange_code(hostile).await.unwrap_err();
        assert_eq!(reason(&refused), (Code::InvalidArgument, "AUTHORIZATION_CODE_INVALID".to_owned()));
    }
    for state in ["", "x", &"x".repeat(65), &format!("{} ", redirect.state), &redirect.state.to_lowercase()] {
        let hostile = ExchangeAuthorizationCodeRequest { state: state.to_owned(), ..redirect.clone() };
        let refused = world.exchange_code(hostile).await.unwrap_err();
        assert_eq!(reason(&refused), (Code::FailedPrecondition, "SIGN_IN_UNKNOWN".to_owned()));
    }
    world.exchange_code(redirect.clone()).await.expect("none of it used the sign-in up");
    let requests = world.sandbox.requests(Tokens);
    let replayed = world.exchange_code(redirect).await.unwrap_err();
    assert_eq!(reason(&replayed), (Code::FailedPrecondition, "SIGN_IN_UNKNOWN".to_owned()));

    let in_time = world.approved(to_tenant(), &administrator(TENANT)).await;
    let late = world.approved(to_tenant(), &administrator(TENANT)).await;
    world.clock.advance(Duration::from_mins(10) - Duration::from_millis(1));
    world.exchange_code(in_time).await.expect("ten minutes are not over");
    assert_eq!(world.sandbox.requests(Tokens), requests + 1);
    world.clock.advance(Duration::from_millis(1));
    let expired = world.exchange_code(late).await.unwrap_err();
    assert_eq!(reason(&expired), (Code::FailedPrecondition, "SIGN_IN_UNKNOWN".to_owned()));
    assert_eq!(world.sandbox.requests(Tokens), requests + 1, "neither code was sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_raced_by_two_has_exactly_one_winner() {
    let rounds = 200;
    let world = World::start().await;
    let (one, other) = (world.authorization(), world.authorization());
    let mut winners = [0, 0];
    for _ in 0..rounds {
        let redirect = world.approved(to_tenant(), &administrator(TENANT)).await;
        let race = [one.clone(), other.clone()].map(|mut client| {
            let redirect = redirect.clone();
            tokio::spawn(async move { client.exchange_authorization_code(redirect).await })
        });
        let [first, second] = race.map(within);
        let (first, second) = (first.await.unwrap(), second.await.unwrap());
        assert!(first.is_ok() != second.is_ok(), "{first:?} {second:?}");
        winners[usize::from(second.is_ok())] += 1;
        let loser = first.err().or(second.err()).unwrap();
        assert_eq!(reason(&loser), (Code::FailedPrecondition, "SIGN_IN_UNKNOWN".to_owned()));
    }
    println!("{rounds} raced replays: one winner each, the first {} times", winners[0]);
    assert_eq!(world.sandbox.requests(Tokens), rounds, "each code was sent once");
}

#[tokio::test]
async fn no_flawed_id_token_registers_or_changes_anything() {
    let world = World::start().await;
    world.sandbox.add_tenant(NEWCOMER);
    let token_flaws = IdTokenFlaw::ALL.into_iter().filter(|flaw| *flaw != IdTokenFlaw::WithoutSystemToken);
    let behaviours = token_flaws
        .map(Behaviour::IdToken)
        .chain(JwtFlaw::ALL.map(Behaviour::Jwt))
        .chain(WrongTenant::ALL.map(Behaviour::WrongTenant));
    let (mut refused, mut harmless) = (0, Vec::new());
    for behaviour in behaviours {
        world.sandbox.set_behaviour(behaviour.clone().at(Tokens).times(1));
        let outcome = world.sign_in(to_tenant(), &administrator(TENANT)).await;
        match outcome {
            Err(status) => {
                let (code, reason) = reason(&status);
                let known = ["UPSTREAM_TOKEN_INVALID", "UPSTREAM_TENANT_MISMATCH", "UPSTREAM_UNAVAILABLE"];
                assert!(known.contains(&reason.as_str()), "{behaviour:?}: {code:?} {reason}");
                assert_eq!(world.granting_users(TENANT).await, [""; 0], "{behaviour:?}");
                refused += 1;
            }
            Ok(signed_in) => {
                assert_eq!(signed_in.context_identifier, TENANT, "{behaviour:?}");
                world.revoke(TENANT, &administrator(TENANT)).await.unwrap();
                harmless.push(behaviour.clone());
            }
        }
        let request = ticketd::grpc::proto::GetTenantRequest { context_identifier: NEWCOMER.to_owned() };
        assert!(within(world.tenants().get_tenant(request)).await.is_err(), "{behaviour:?} registered another tenant");
    }
    println!("flawed ID tokens refused: {refused}; not to be told from true ones: {harmless:?}");
    // They say nothing that is used of an ID token, or what only SuperOffice can know.
    let expected = [
        Behaviour::Jwt(JwtFlaw::WithoutTicket),
        Behaviour::Jwt(JwtFlaw::WithoutSerial),
        Behaviour::Jwt(JwtFlaw::ForeignWebapiUrl),
        Behaviour::WrongTenant(WrongTenant::OtherSystemToken),
        Behaviour::WrongTenant(WrongTenant::OtherSerial),
    ];
    assert_eq!(harmless, expected);
    assert_eq!(refused, 37);
}

#[tokio::test]
async fn whoever_was_not_asked_for_is_refused() {
    let world = World::start().await;
    world.sandbox.add_tenant(NEWCOMER);
    // The sandbox lets nobody in to another tenant than the one in the URL; a user at SuperOffice may find a way.
    let begun = within(world.authorization().create_authorization_url(to_tenant())).await.unwrap().into_inner();
    let elsewhere = begun.authorization_url.replace("tenant%3ACust12345", "tenant%3ACust54321");
    assert_ne!(elsewhere, begun.authorization_url);
    let redirect = world.sandbox.approve(&elsewhere, &administrator(NEWCOMER)).unwrap();
    let code = redirect.split_once("code=").unwrap().1.to_owned();
    let refused = world.exchange_code(ExchangeAuthorizationCodeRequest { state: begun.state, code }).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::FailedPrecondition, "SIGN_IN_WRONG_TENANT".to_owned()));
    assert_eq!(reason(&world.ticket(NEWCOMER).await.unwrap_err()).1, "TENANT_NOT_REGISTERED");

    let request = CreateAuthorizationUrlRequest { login_hint: administrator(TENANT), ..to_tenant() };
    let refused = world.sign_in(request, &user(TENANT)).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::FailedPrecondition, "SIGN_IN_WRONG_USER".to_owned()));
    assert_eq!(world.granting_users(TENANT).await, [""; 0]);
    let request = CreateAuthorizationUrlRequest { login_hint: administrator(TENANT).to_uppercase(), ..to_tenant() };
    world.sign_in(request, &administrator(TENANT)).await.expect("case means nothing");
}

#[tokio::test]
async fn without_a_system_user_token_only_a_registered_tenant_is_signed_in_to() {
    let world = World::start().await;
    world.sandbox.add_tenant(NEWCOMER);
    for tenant in [NEWCOMER, TENANT] {
        world.sandbox.set_system_token_claim(tenant, false).unwrap();
    }
    let refused = world.sign_in(to_any_tenant(), &administrator(NEWCOMER)).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::FailedPrecondition, "SYSTEM_USER_TOKEN_MISSING".to_owned()));
    let signed_in = world.sign_in(to_tenant(), &user(TENANT)).await.unwrap();
    assert_eq!((signed_in.tenant_change(), signed_in.grant_kept), (TenantChange::Unchanged, true));
}

#[tokio::test]
async fn a_changed_system_user_token_replaces_the_old_one_and_an_unchanged_one_costs_nothing() {
    let world = World::start().await;
    let ticket = world.ticket(TENANT).await.unwrap();
    let signed_in = world.sign_in(to_tenant(), &administrator(TENANT)).await.unwrap();
    assert_eq!(signed_in.tenant_change(), TenantChange::Unchanged);
    assert_eq!(world.ticket(TENANT).await.unwrap().fingerprint, ticket.fingerprint);
    assert_eq!(world.sandbox.exchanges(TENANT), 1);

    world.sandbox.add_tenant_with_token(TENANT, "Sandbox Application-changed000");
    let signed_in = world.sign_in(to_tenant(), &administrator(TENANT)).await.unwrap();
    assert_eq!(signed_in.tenant_change(), TenantChange::TokenReplaced);
    assert_ne!(world.ticket(TENANT).await.unwrap().fingerprint, ticket.fingerprint);
    assert_eq!(world.sandbox.exchanges(TENANT), 2);
}

#[tokio::test]
async fn a_sign_in_does_not_pin_another_database() {
    let world = World::start().await;
    world.ticket(TENANT).await.expect("its serial is pinned");
    world.sandbox.set_tenant_serial(TENANT, "9999999999").unwrap();
    world.sandbox.add_tenant_with_token(TENANT, "Sandbox Application-cloned0000");
    world.sandbox.set_tenant_serial(TENANT, "9999999999").unwrap();
    let refused = world.sign_in(to_tenant(), &administrator(TENANT)).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::Internal, "UPSTREAM_TENANT_MISMATCH".to_owned()));
    assert_eq!(world.granting_users(TENANT).await, [""; 0]);
    world.put_tenant(TENANT, "Sandbox Application-cloned0000", true).await;
    world.sign_in(to_tenant(), &administrator(TENANT)).await.expect("an operator accepted it");
}

#[tokio::test]
async fn what_superoffice_says_of_the_code_is_told() {
    let world = World::start().await;
    for (behaviour, code, expected) in [
        (Behaviour::OAuthError("invalid_grant".to_owned()), Code::FailedPrecondition, "AUTHORIZATION_CODE_REFUSED"),
        (Behaviour::OAuthError("invalid_client".to_owned()), Code::FailedPrecondition, "CLIENT_REFUSED"),
        (Behaviour::Status(500), Code::Unavailable, "UPSTREAM_UNAVAILABLE"),
        (Behaviour::Drop, Code::Unavailable, "UPSTREAM_UNAVAILABLE"),
        (Behaviour::Malformed, Code::Unavailable, "UPSTREAM_UNAVAILABLE"),
        (Behaviour::Throttled("1".to_owned()), Code::ResourceExhausted, "UPSTREAM_THROTTLED"),
    ] {
        world.sandbox.set_behaviour(behaviour.clone().at(Tokens).times(1));
        let requests = world.sandbox.requests(Tokens);
        let redirect = world.approved(to_tenant(), &administrator(TENANT)).await;
        let refused = world.exchange_code(redirect.clone()).await.unwrap_err();
        assert_eq!(reason(&refused), (code, expected.to_owned()), "{behaviour:?}");
        assert_eq!(world.sandbox.requests(Tokens), requests + 1, "{behaviour:?}: a code is sent once");
        let replayed = world.exchange_code(redirect).await.unwrap_err();
        assert_eq!(reason(&replayed).1, "SIGN_IN_UNKNOWN", "{behaviour:?}: used up");
    }
}

#[tokio::test]
async fn a_caller_who_goes_away_loses_nothing() {
    let world = World::start().await;
    let redirect = world.approved(to_tenant(), &administrator(TENANT)).await;
    let hanging = world.sandbox.set_behaviour(Behaviour::Hang.at(Tokens));
    let mut client = world.authorization();
    let call = tokio::spawn(async move { client.exchange_authorization_code(redirect).await });
    within(world.sandbox.wait_for_requests(Tokens, 1)).await;
    call.abort();
    assert!(within(call).await.unwrap_err().is_cancelled());
    world.sandbox.clear_behaviour(hanging);
    within(async { while world.granting_users(TENANT).await.is_empty() {} }).await;
    world.access_token_of(TENANT, &administrator(TENANT)).await.unwrap();
    assert_eq!(world.sandbox.requests(Tokens), 1, "the sign-in went on");
}

#[tokio::test]
async fn a_begun_sign_in_survives_a_restart() {
    let world = World::start().await;
    let redirect = world.approved(to_tenant(), &administrator(TENANT)).await;
    let world = world.restart().await;
    world.exchange_code(redirect).await.unwrap();
}

#[tokio::test]
async fn a_tenant_of_the_directory_is_signed_in_to_as_long_as_its_file_holds_the_same_token() {
    let mount = tempfile::tempdir().unwrap();
    let path = mount.path().to_owned();
    let world =
        World::builder().config(move |config| config.store.tenants_directory = Some(path.clone())).start().await;
    let token = world.sandbox.add_tenant(NEWCOMER).system_user_token;
    std::fs::write(mount.path().join(NEWCOMER), &token).unwrap();
    let signed_in = world.sign_in(to_any_tenant(), &administrator(NEWCOMER)).await.unwrap();
    assert_eq!((signed_in.tenant_change(), signed_in.grant_kept), (TenantChange::Unchanged, true));

    world.sandbox.add_tenant_with_token(NEWCOMER, "Sandbox Application-changed000");
    let refused = world.sign_in(to_any_tenant(), &administrator(NEWCOMER)).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::FailedPrecondition, "TENANT_READ_ONLY".to_owned()));
    world.clock.advance(Duration::from_hours(1));
    world.access_token_of(NEWCOMER, &administrator(NEWCOMER)).await.expect("a refresh is not withheld for it");

    std::fs::remove_file(mount.path().join(NEWCOMER)).unwrap();
    world.clock.advance(Duration::from_hours(1));
    let refused = world.access_token_of(NEWCOMER, &administrator(NEWCOMER)).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::NotFound, "TENANT_NOT_REGISTERED".to_owned()));
}

#[tokio::test]
async fn a_user_with_any_name_can_be_kept() {
    let world = World::start().await;
    for (number, upn) in
        ["Zoë.Ünlaut@example.com", "o'neil+\"x\"@example.com", "a b@example.com"].into_iter().enumerate()
    {
        let user = SandboxUser {
            upn: upn.to_owned(),
            associate_id: u32::try_from(number).unwrap() + 50,
            is_administrator: false,
        };
        world.sandbox.add_user(TENANT, user).unwrap();
        let signed_in = world.sign_in(to_tenant(), upn).await.unwrap();
        assert_eq!(signed_in.user, upn);
        assert_eq!(
            world.access_token_of(TENANT, &upn.to_lowercase()).await.unwrap().access_token,
            signed_in.access_token
        );
    }
    assert_eq!(world.granting_users(TENANT).await.len(), 3);
}
