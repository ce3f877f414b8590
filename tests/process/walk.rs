//! The whole walk: an administrator signs in at one ticketd, and another one on the same database gets the tenant's
//! credentials, with which two companies are made in the tenant.

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, COOKIE, LOCATION, SET_COOKIE};
use reqwest::{Client, Response, redirect};
use superoffice_sandbox::{Behaviour, Caller, Endpoint, IdTokenFlaw};
use url::Url;

use crate::place::{Outcome, Place, Running, TENANT, until};

const PUBLIC_URL: &str = "https://tickets.example.com";
const ADMINISTRATOR: &str = "admin@cust12345.example.com";
/// Shorter than the drift that signatures may have, so that the sandbox's time can pass alone.
const ACCESS_TOKEN_LIFE: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread")]
async fn from_a_sign_in_to_companies_made_as_the_user_and_as_the_system_user() {
    let place = Place::new().await;
    place.sandbox.add_redirect_uri(format!("{PUBLIC_URL}/onboarding/callback"));
    place.sandbox.change_settings(|settings| settings.access_token_life = ACCESS_TOKEN_LIFE);
    let mut command = place.ticketd(["serve"]);
    command.env("TICKETD_HTTP_ADDRESS", "127.0.0.1:0").env("TICKETD_HTTP_PUBLIC_URL", PUBLIC_URL);
    let onboarding = Running::start(command).await;

    // What signs in with a forged ID token is nobody.
    place.sandbox.set_behaviour(Behaviour::IdToken(IdTokenFlaw::WrongNonce).times(1));
    let refused = sign_in(&place, &onboarding).await;
    assert!(!refused.status().is_success() && !refused.status().is_redirection(), "{refused:?}");
    let tenants = async || place.output(&["tenants", "list", "--json"]).await;
    assert_eq!(tenants().await.trim(), "[]");

    let done = sign_in(&place, &onboarding).await;
    assert_eq!(done.status(), 303, "{done:?}");
    assert!(tenants().await.contains(TENANT));

    // The other one has no page and has never seen the administrator.
    let other = place.serve().await;
    assert_ne!(other.address, onboarding.address);
    let url = other.url();
    let call = async |more: &[&str]| -> Outcome {
        place.run(&[&["call", TENANT, "--address", &url][..], more].concat()).await
    };
    let as_user = ["--user", ADMINISTRATOR];
    let principal = call(&[&["GET", "v1/User/currentPrincipal"], &as_user[..]].concat()).await;
    assert_eq!(principal.code, Some(0), "{principal:?}");
    assert!(principal.output.contains(ADMINISTRATOR), "{principal:?}");

    // The access token expires at SuperOffice, and is replaced once it is old enough to be believed refused.
    let (refreshed, refusals) = (Endpoint::Tokens, Endpoint::WebApi);
    let before = (place.sandbox.requests(refreshed), place.sandbox.requests(refusals));
    place.sandbox.clock().advance(ACCESS_TOKEN_LIFE);
    until(async || {
        call(&[&["POST", "v1/Contact", "--data", r#"{"Name":"By the user"}"#], &as_user[..]].concat()).await.code
            == Some(0)
    })
    .await;
    assert_eq!(place.sandbox.requests(refreshed) - before.0, 1);
    assert!(place.sandbox.requests(refusals) - before.1 >= 2);

    assert_eq!(place.sandbox.exchanges(TENANT), 0);
    let made = call(&["POST", "v1/Contact", "--data", r#"{"Name":"By the system user"}"#]).await;
    assert_eq!(made.code, Some(0), "{made:?}");
    assert_eq!(place.sandbox.exchanges(TENANT), 1);

    let contacts = place.sandbox.contacts(TENANT);
    let made: Vec<_> = contacts.iter().map(|contact| (contact.name.as_str(), who(&contact.created_by))).collect();
    assert_eq!(made, [("By the user", ADMINISTRATOR), ("By the system user", "the system user")]);
    for text in [onboarding.log(), other.log()] {
        for secret in ["7T:", "8A:", place.sandbox.client_secret()] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
}

fn who(caller: &Caller) -> &str {
    match caller {
        Caller::SystemUser => "the system user",
        Caller::User(user) => &user.upn,
    }
}

/// What the administrator's browser does, up to the answer to SuperOffice's redirect.
async fn sign_in(place: &Place, onboarding: &Running) -> Response {
    let browser = Client::builder().redirect(redirect::Policy::none()).build().unwrap();
    let pages = onboarding.http_url();
    let form =
        browser.post(format!("{pages}/onboarding/start")).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
    let begun = form.body(format!("tenant={TENANT}")).send().await.unwrap();
    let header = |name| begun.headers()[name].to_str().unwrap();
    let cookie = header(SET_COOKIE).split(';').next().unwrap();
    let callback: Url = place.sandbox.approve(header(LOCATION), ADMINISTRATOR).unwrap().parse().unwrap();
    assert!(callback.as_str().starts_with(&format!("{PUBLIC_URL}/onboarding/callback?")), "{callback}");
    let callback = format!("{pages}{}?{}", callback.path(), callback.query().unwrap());
    browser.get(callback).header(COOKIE, cookie).send().await.unwrap()
}
