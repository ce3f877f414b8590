use std::time::Duration;

use futures_util::future::join_all;
use superoffice_sandbox::{Behaviour, Endpoint, IdTokenFlaw, SandboxUser};

use crate::log::Log;
use crate::visitor::{Answer, Begun, PUBLIC_URL, Visitor, parameter, target};
use crate::world::{TENANT, World, eventually, reason, within};

const NEWCOMER: &str = "Cust777";
const ADMINISTRATOR: &str = "admin@cust777.example.com";

/// A world with pages, and a tenant at SuperOffice that ticketd has not heard of.
async fn world() -> World {
    let world = World::builder().pages(PUBLIC_URL).start().await;
    world.sandbox.add_tenant(NEWCOMER);
    world
}

/// The user approves, and the browser follows the redirect.
async fn approve(world: &World, visitor: &mut Visitor, begun: &Begun) -> Answer {
    let redirect = world.sandbox.approve(&begun.authorization_url, ADMINISTRATOR).unwrap();
    visitor.get(world, &target(&redirect)).await
}

#[tokio::test]
async fn an_administrator_connects_a_tenant() {
    let world = world().await;
    assert_eq!(reason(&world.ticket(NEWCOMER).await.unwrap_err()).1, "TENANT_NOT_REGISTERED");
    let mut visitor = Visitor::default();
    let invitation = format!("tenant={NEWCOMER}&login_hint=admin%40cust777.example.com");
    let page = visitor.get(&world, &format!("/onboarding/start?{invitation}")).await;
    assert_eq!((page.status, page.heading()), (200, "Connect SuperOffice"));
    assert!(page.body.contains(ADMINISTRATOR) && page.body.contains(NEWCOMER), "{}", page.body);
    assert!(visitor.cookies.is_empty() && page.header("location").is_none(), "a look begins nothing");

    let begun = visitor.begin(&world, &invitation).await;
    let url = &begun.authorization_url;
    assert!(url.starts_with(&format!("{}/login/common/oauth/authorize?", world.sandbox.base_url())), "{url}");
    for (name, value) in [
        ("redirect_uri", "https://tickets.example.com/onboarding/callback"),
        ("response_mode", "query"),
        ("response_type", "code"),
        ("code_challenge_method", "S256"),
        ("acr_values", "tenant:Cust777"),
        ("login_hint", ADMINISTRATOR),
    ] {
        assert_eq!(parameter(url, name).as_deref(), Some(value));
    }
    assert_eq!(begun.state.len(), 43, "256 bits");

    let redirect = approve(&world, &mut visitor, &begun).await;
    assert_eq!((redirect.status, redirect.body.as_str()), (303, ""));
    let clean = redirect.header("location").unwrap();
    assert_eq!(clean, format!("/onboarding/done?sign_in={}", &begun.state[..16]));
    for _ in 0..2 {
        let done = visitor.get(&world, clean).await;
        assert_eq!((done.status, done.heading()), (200, "SuperOffice is connected"));
        assert!(done.body.contains(NEWCOMER) && done.body.contains(ADMINISTRATOR), "{}", done.body);
    }
    assert_eq!(Visitor::default().get(&world, clean).await.reason(), Some("OUTCOME_UNKNOWN"));
    let ticket = world.ticket(NEWCOMER).await.unwrap();
    assert!(ticket.ticket.starts_with("7T:"));

    let again = visitor.begin(&world, "").await;
    let again = approve(&world, &mut visitor, &again).await;
    let done = visitor.get(&world, again.header("location").unwrap()).await;
    assert!(done.body.contains("was connected before, and still is"), "{}", done.body);
}

#[tokio::test]
async fn every_answer_is_kept_from_caches_frames_and_other_sites() {
    let world = world().await;
    let mut visitor = Visitor::default();
    let begin = visitor.post(&world, "").await;
    let cookie = begin.header("set-cookie").unwrap().to_owned();
    let (name, rest) = cookie.split_once('=').unwrap();
    assert!(name.starts_with("__Host-ticketd-"), "{cookie}");
    let (value, attributes) = rest.split_once("; ").unwrap();
    assert_eq!((value.len(), attributes), (43, "Path=/; Max-Age=3600; Secure; HttpOnly; SameSite=Lax"));
    let answers = [
        begin,
        visitor.get(&world, "/onboarding/start").await,
        visitor.get(&world, "/onboarding/callback").await,
        visitor.get(&world, "/onboarding/done").await,
        visitor.get(&world, "/nothing").await,
        visitor.send(&world, "PUT", "/onboarding/start", "", "").await,
    ];
    let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [303, 200, 400, 404, 404, 405]);
    for answer in &answers {
        for (name, value) in [
            ("cache-control", "no-store"),
            ("referrer-policy", "no-referrer"),
            ("x-content-type-options", "nosniff"),
            ("strict-transport-security", "max-age=31536000"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{answer:?}");
        }
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; ") && policy.contains("frame-ancestors 'none'"), "{policy}");
    }
    assert_eq!(answers[5].header("allow"), Some("GET,HEAD,POST"));
    assert_eq!(answers[4].header("allow"), None);
}

#[tokio::test]
async fn a_look_uses_nothing_up() {
    let world = world().await;
    let mut visitor = Visitor::default();
    let look = visitor.send(&world, "HEAD", "/onboarding/start?tenant=Cust777", "sec-purpose: prefetch\r\n", "").await;
    assert_eq!((look.status, look.body.as_str(), look.header("set-cookie")), (200, "", None));
    let begun = visitor.begin(&world, "").await;
    let redirect = target(&world.sandbox.approve(&begun.authorization_url, ADMINISTRATOR).unwrap());
    assert_eq!(visitor.send(&world, "HEAD", &redirect, "", "").await.status, 405);
    assert_eq!(visitor.get(&world, &redirect).await.status, 303);
}

#[tokio::test]
async fn another_site_begins_no_sign_in_in_a_visitors_browser() {
    let world = world().await;
    let form = "content-type: application/x-www-form-urlencoded\r\n";
    for (headers, status) in [
        (format!("{form}sec-fetch-site: cross-site\r\n"), 403),
        (format!("{form}sec-fetch-site: same-site\r\n"), 403),
        (form.to_owned(), 303),
        ("content-type: text/plain\r\n".to_owned(), 415),
        (String::new(), 415),
    ] {
        let answer = Visitor::default().send(&world, "POST", "/onboarding/start", &headers, "").await;
        assert_eq!(answer.status, status, "{headers}");
        assert_eq!(answer.header("set-cookie").is_some(), status == 303);
    }
}

#[tokio::test]
async fn only_the_browser_that_began_a_sign_in_ends_it() {
    let world = world().await;
    let mut visitor = Visitor::default();
    let (begun, other) = (visitor.begin(&world, "").await, visitor.begin(&world, "").await);
    assert_eq!(visitor.cookies.len(), 2, "two tabs");
    let name = format!("__Host-ticketd-{}", &begun.state[..16]);
    let others = visitor.cookies[&format!("__Host-ticketd-{}", &other.state[..16])].clone();
    let own = visitor.cookies[&name].clone();
    let redirect = target(&world.sandbox.approve(&begun.authorization_url, ADMINISTRATOR).unwrap());

    for cookies in [
        vec![],
        vec![(name.clone(), String::new())],
        vec![(name.clone(), others)],
        vec![(name.clone(), own.to_ascii_lowercase())],
        vec![(name.clone(), own[..42].to_owned())],
        vec![(name.clone(), format!("\"{own}\""))],
        vec![(name.replace("__Host-", "__Secure-"), own.clone())],
        vec![(name.replace("__Host-", ""), own.clone())],
        vec![(name.to_ascii_lowercase(), own.clone())],
        vec![(name.clone(), format!("{own}; {name}={own}"))],
    ] {
        let mut stranger = Visitor { cookies: cookies.into_iter().collect() };
        let refused = stranger.get(&world, &redirect).await;
        assert_eq!(
            (refused.status, refused.reason()),
            (403, Some("SIGN_IN_OF_OTHER_BROWSER")),
            "{:?}",
            stranger.cookies
        );
    }
    let mut error = Visitor::default();
    let refused = error.get(&world, &format!("/onboarding/callback?state={}&error=access_denied", begun.state)).await;
    assert_eq!(refused.reason(), Some("SIGN_IN_OF_OTHER_BROWSER"), "nor does a stranger use it up");

    assert_eq!(visitor.get(&world, &redirect).await.status, 303);
    assert_eq!(approve(&world, &mut visitor, &other).await.status, 303);
    assert_eq!(world.sandbox.requests(Endpoint::Tokens), 2);
}

#[tokio::test]
async fn of_a_replay_raced_by_two_exactly_one_wins() {
    const ROUNDS: usize = 50;
    let world = world().await;
    let mut won = Vec::new();
    for _ in 0..ROUNDS {
        let mut visitor = Visitor::default();
        let begun = visitor.begin(&world, "").await;
        let redirect = target(&world.sandbox.approve(&begun.authorization_url, ADMINISTRATOR).unwrap());
        let answers = join_all([visitor.clone(), visitor.clone()].map(|mut visitor| {
            let (world, redirect) = (&world, &redirect);
            async move { visitor.get(world, redirect).await }
        }))
        .await;
        won.push(answers.iter().filter(|answer| answer.status == 303).count());
        let lost: Vec<_> = answers.iter().filter_map(Answer::reason).collect();
        assert_eq!(lost, ["SIGN_IN_UNKNOWN"]);
        assert_eq!(visitor.get(&world, &redirect).await.status, 410, "and later nobody");
    }
    println!("{ROUNDS} replays raced by two had {} winners", won.iter().sum::<usize>());
    assert!(won.iter().all(|winners| *winners == 1), "{won:?}");
    assert_eq!(world.sandbox.requests(Endpoint::Tokens), ROUNDS as u64);
}

#[tokio::test]
async fn a_sign_in_waits_ten_minutes() {
    let world = world().await;
    world.sandbox.change_settings(|settings| settings.code_life = Duration::from_hours(1));
    let mut visitor = Visitor::default();
    let (early, late) = (visitor.begin(&world, "").await, visitor.begin(&world, "").await);
    world.clock.advance(Duration::from_secs(599));
    assert_eq!(approve(&world, &mut visitor, &early).await.status, 303);
    world.clock.advance(Duration::from_secs(1));
    let refused = approve(&world, &mut visitor, &late).await;
    assert_eq!((refused.status, refused.reason()), (410, Some("SIGN_IN_UNKNOWN")));
}

#[tokio::test]
async fn a_sign_in_outlives_a_restart() {
    let world = world().await;
    let mut visitor = Visitor::default();
    let begun = visitor.begin(&world, &format!("tenant={NEWCOMER}")).await;
    let world = world.restart().await;
    let redirect = approve(&world, &mut visitor, &begun).await;
    assert_eq!(redirect.status, 303, "{}", redirect.body);
    let clean = redirect.header("location").unwrap().to_owned();
    let world = world.restart().await;
    assert!(visitor.get(&world, &clean).await.body.contains(NEWCOMER));
    world.ticket(NEWCOMER).await.unwrap();
}

/// What is set up, and what comes of a sign-in then.
type Case = (&'static str, fn(&World), u16, &'static str);

#[tokio::test]
async fn each_failure_has_its_page() {
    let cases: [Case; 12] = [
        ("", |world| world.sandbox.set_system_token_claim(NEWCOMER, false).unwrap(), 403, "SYSTEM_USER_TOKEN_MISSING"),
        ("login_hint=user@cust777.example.com", |_| {}, 403, "SIGN_IN_OF_WRONG_USER"),
        ("", |world| knob(world, Behaviour::IdToken(IdTokenFlaw::WrongNonce), Endpoint::Tokens), 502, "TOKEN_INVALID"),
        ("", |world| oauth_error(world, "access_denied", Endpoint::Authorize), 403, "ACCESS_DENIED"),
        (
            "",
            |world| oauth_error(world, "temporarily_unavailable", Endpoint::Authorize),
            503,
            "SUPEROFFICE_UNAVAILABLE",
        ),
        ("", |world| oauth_error(world, "unauthorized_client", Endpoint::Authorize), 502, "SIGN_IN_REFUSED"),
        ("", |world| oauth_error(world, "<script>canary", Endpoint::Authorize), 502, "SIGN_IN_REFUSED"),
        ("", |world| oauth_error(world, "invalid_grant", Endpoint::Tokens), 400, "CODE_REFUSED"),
        ("", |world| oauth_error(world, "invalid_client", Endpoint::Tokens), 502, "CLIENT_REFUSED"),
        ("", |world| knob(world, Behaviour::Drop, Endpoint::Tokens), 503, "SUPEROFFICE_UNAVAILABLE"),
        ("", |world| knob(world, Behaviour::Status(500), Endpoint::Tokens), 503, "SUPEROFFICE_UNAVAILABLE"),
        (
            "",
            |world| knob(world, Behaviour::Throttled("90".to_owned()), Endpoint::Tokens),
            503,
            "SUPEROFFICE_THROTTLED",
        ),
    ];
    for (form, set_up, status, expected) in cases {
        let world = world().await;
        set_up(&world);
        let mut visitor = Visitor::default();
        let begun = visitor.begin(&world, form).await;
        let log = Log::start();
        let answer = approve(&world, &mut visitor, &begun).await;
        assert_eq!((answer.status, answer.reason().unwrap_or_default()), (status, expected), "{}", answer.body);
        assert!(answer.body.contains("lang=\"en\"") && answer.body.contains("<main") && !answer.heading().is_empty());
        assert!(answer.body.contains("What to do next") && !answer.body.contains("canary"), "{}", answer.body);
        assert_eq!(status == 503, answer.header("retry-after").is_some(), "{answer:?}");
        let lines = log.lines_with(&format!("\"reason\":\"{expected}\""));
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert_eq!(lines[0]["span"]["http.route"], "/onboarding/callback");
        for secret in [&begun.state, "canary"] {
            assert_eq!(log.lines_with(secret), [] as [serde_json::Value; 0]);
        }
        assert_eq!(reason(&world.ticket(NEWCOMER).await.unwrap_err()).1, "TENANT_NOT_REGISTERED");
    }
}

#[tokio::test]
async fn a_user_of_another_tenant_connects_nothing() {
    let world = world().await;
    let mut visitor = Visitor::default();
    let begun = visitor.begin(&world, &format!("tenant={TENANT}")).await;
    // SuperOffice takes a hint for a hint.
    let elsewhere = begun.authorization_url.replace(&format!("tenant%3A{TENANT}"), &format!("tenant%3A{NEWCOMER}"));
    let begun = Begun { authorization_url: elsewhere, ..begun };
    let refused = approve(&world, &mut visitor, &begun).await;
    assert_eq!((refused.status, refused.reason()), (403, Some("SIGN_IN_OF_WRONG_TENANT")));
    assert_eq!(reason(&world.ticket(NEWCOMER).await.unwrap_err()).1, "TENANT_NOT_REGISTERED");
}

#[tokio::test]
async fn a_user_without_rights_connects_nothing_new() {
    let world = world().await;
    world.sandbox.set_system_token_claim(NEWCOMER, false).unwrap();
    let user = SandboxUser { upn: "<b>\u{e5}@x".to_owned(), associate_id: 12, is_administrator: false };
    world.sandbox.add_user(NEWCOMER, user).unwrap();
    let mut visitor = Visitor::default();
    let begun = visitor.begin(&world, "").await;
    let redirect = target(&world.sandbox.approve(&begun.authorization_url, "<b>\u{e5}@x").unwrap());
    assert_eq!(visitor.get(&world, &redirect).await.reason(), Some("SYSTEM_USER_TOKEN_MISSING"));

    world.sandbox.set_system_token_claim(NEWCOMER, true).unwrap();
    let begun = visitor.begin(&world, "").await;
    let redirect = target(&world.sandbox.approve(&begun.authorization_url, "<b>\u{e5}@x").unwrap());
    let redirect = visitor.get(&world, &redirect).await;
    let done = visitor.get(&world, redirect.header("location").unwrap()).await;
    assert!(done.body.contains("&lt;b&gt;\u{e5}@x"), "{}", done.body);
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_answered_and_its_sign_in_goes_on() {
    let limit = Duration::from_secs(1);
    let world = World::builder().pages(PUBLIC_URL);
    let world = world.config(move |config| config.http.as_mut().unwrap().request_timeout = limit).start().await;
    world.sandbox.add_tenant(NEWCOMER);
    let hang = world.sandbox.set_behaviour(Behaviour::Hang.at(Endpoint::Tokens));
    let mut visitor = Visitor::default();
    let begun = visitor.begin(&world, "").await;
    let (answer, ()) = tokio::join!(approve(&world, &mut visitor, &begun), async {
        eventually("the code is sent", || world.sandbox.requests(Endpoint::Tokens) == 1).await;
        world.clock.advance(limit);
    });
    assert_eq!((answer.status, answer.reason()), (503, Some("DEADLINE_EXCEEDED")));
    assert!(world.sandbox.clear_behaviour(hang));
    within(async { while world.ticket(NEWCOMER).await.is_err() {} }).await;
}

fn knob(world: &World, behaviour: Behaviour, endpoint: Endpoint) {
    world.sandbox.set_behaviour(behaviour.at(endpoint));
}

fn oauth_error(world: &World, error: &str, endpoint: Endpoint) {
    knob(world, Behaviour::OAuthError(error.to_owned()), endpoint);
}
