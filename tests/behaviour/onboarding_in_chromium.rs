use std::time::Duration;

use serde_json::json;
use superoffice_sandbox::{Behaviour, Endpoint};
use tokio_util::task::AbortOnDropHandle;

use crate::chromium::Browser;
use crate::front::Front;
use crate::world::World;

const NEWCOMER: &str = "Cust777";
const ADMINISTRATOR: &str = "admin@cust777.example.com";

/// A world whose pages a browser can find.
struct Scene {
    world: World,
    url: String,
    _front: AbortOnDropHandle<()>,
}

impl Scene {
    async fn new(front: Front, tls: bool) -> Self {
        let url = front.url();
        let world = World::builder().pages(&url).sandbox(|sandbox| sandbox.tls(tls)).start().await;
        world.sandbox.add_tenant(NEWCOMER);
        let front = front.lead_to(world.pages());
        Self { world, url, _front: front }
    }

    /// From the first page to the sandbox's.
    async fn go_to_sign_in(&self, browser: &Browser, invitation: &str) {
        browser.open(&format!("{}/onboarding/start{invitation}", self.url)).await;
        assert_eq!(browser.heading().await, "Connect SuperOffice");
        browser.press("Continue to SuperOffice").await;
        assert_eq!(browser.heading().await, "Sign in to SuperOffice", "{}", browser.url().await);
        assert!(browser.url().await.as_str().starts_with(self.world.sandbox.base_url()));
    }

    async fn sign_in(&self, browser: &Browser, invitation: &str, button: &str) {
        self.go_to_sign_in(browser, invitation).await;
        choose(browser, NEWCOMER, ADMINISTRATOR).await;
        browser.press(button).await;
    }
}

async fn choose(browser: &Browser, tenant: &str, user: &str) {
    browser.execute(&format!("document.getElementById('account').value = '{tenant}/{user}'")).await;
}

#[tokio::test]
async fn an_administrator_walks_through_the_pages() {
    let Some(browser) = Browser::start().await else { return };
    let scene = Scene::new(Front::with_tls().await, true).await;
    browser.open(&format!("{}/onboarding/start?tenant={NEWCOMER}&login_hint={ADMINISTRATOR}", scene.url)).await;
    browser.inspect("start").await;
    assert!(scene.world.ticket(NEWCOMER).await.is_err(), "not registered");

    scene.sign_in(&browser, &format!("?tenant={NEWCOMER}&login_hint={ADMINISTRATOR}"), "Approve").await;
    assert_eq!(browser.heading().await, "SuperOffice is connected");
    assert_eq!(browser.execute("return document.activeElement.tagName").await, json!("H1"), "it is read aloud first");
    browser.inspect("connected").await;
    assert!(browser.text().await.contains(&format!("You signed in as {ADMINISTRATOR}.")));
    let ticket = scene.world.ticket(NEWCOMER).await.unwrap();
    assert!(ticket.ticket.starts_with("7T:"), "and the ticket comes over gRPC");

    let url = browser.url().await;
    assert_eq!((url.path(), url.query_pairs().count()), ("/onboarding/done", 1), "no code in the address bar");
    browser.driver.refresh().await.unwrap();
    assert_eq!(browser.heading().await, "SuperOffice is connected");
    browser.driver.back().await.unwrap();
    assert_eq!(browser.heading().await, "Sign in to SuperOffice", "nor in the history");
    browser.open(url.as_ref()).await;
    let cookies = browser.driver.get_all_cookies().await.unwrap();
    assert_eq!(cookies.len(), 2, "one ties the sign-in to the browser, one says how it ended");
    for cookie in cookies {
        assert!(cookie.name.starts_with("__Host-ticketd-"), "{}", cookie.name);
        assert_eq!((cookie.secure, cookie.path.as_deref()), (Some(true), Some("/")));
    }
    failures(&scene, &browser).await;
    browser.quit().await;
}

/// Each page of a failure that an administrator can meet.
async fn failures(scene: &Scene, browser: &Browser) {
    let (url, sandbox) = (&scene.url, &scene.world.sandbox);
    let meets = async |heading: &str, name: &str| {
        assert_eq!(browser.heading().await, heading, "{name}");
        assert_eq!(browser.execute("return document.activeElement.tagName").await, json!("H1"), "{name}");
        browser.inspect(name).await;
    };
    scene.sign_in(browser, "", "Deny").await;
    meets("SuperOffice was not connected", "denied").await;
    browser.press("Begin again").await;
    assert_eq!(browser.heading().await, "Connect SuperOffice");

    scene.sign_in(browser, "?tenant=Cust777&login_hint=somebody@else.example", "Approve").await;
    meets("You signed in as another user", "wrong-user").await;
    browser.driver.refresh().await.unwrap();
    meets("This sign-in has expired or was used already", "replayed").await;

    scene.go_to_sign_in(browser, "").await;
    let own = browser.url().await;
    choose(browser, NEWCOMER, ADMINISTRATOR).await;
    scene.world.clock.advance(Duration::from_mins(10));
    browser.press("Approve").await;
    meets("This sign-in has expired or was used already", "expired").await;

    scene.go_to_sign_in(browser, "?tenant=Cust12345").await;
    let elsewhere = browser.url().await.as_str().replace("tenant%3ACust12345", "tenant%3ACust777");
    assert_ne!(elsewhere, own.as_str());
    browser.open(&elsewhere).await;
    choose(browser, NEWCOMER, ADMINISTRATOR).await;
    browser.press("Approve").await;
    meets("You signed in to another tenant", "wrong-tenant").await;

    sandbox.add_tenant("Cust888");
    sandbox.set_system_token_claim("Cust888", false).unwrap();
    scene.go_to_sign_in(browser, "").await;
    choose(browser, "Cust888", "user@cust888.example.com").await;
    browser.press("Approve").await;
    meets("SuperOffice has not given access to your tenant", "no-system-user-token").await;

    for (behaviour, heading, name) in [
        (Behaviour::Drop, "SuperOffice cannot be reached", "unavailable"),
        (Behaviour::Throttled("90".to_owned()), "SuperOffice is busy", "throttled"),
        (
            Behaviour::OAuthError("invalid_client".to_owned()),
            "SuperOffice does not accept this service",
            "client-refused",
        ),
        (Behaviour::OAuthError("invalid_grant".to_owned()), "SuperOffice did not confirm the sign-in", "code-refused"),
    ] {
        sandbox.set_behaviour(behaviour.at(Endpoint::Tokens));
        scene.sign_in(browser, "", "Approve").await;
        meets(heading, name).await;
        sandbox.clear_behaviours();
        scene.world.clock.advance(Duration::from_mins(2));
    }

    scene.go_to_sign_in(browser, "").await;
    let sign_in = browser.url().await;
    browser.open(&format!("{url}/onboarding/start")).await;
    browser.driver.delete_all_cookies().await.unwrap();
    browser.open(sign_in.as_str()).await;
    choose(browser, NEWCOMER, ADMINISTRATOR).await;
    browser.press("Approve").await;
    meets("This sign-in was not begun in this browser", "other-browser").await;

    browser.open(&format!("{url}/onboarding/start?tenant=%00")).await;
    meets("This link is not complete", "malformed").await;
    browser.open(&format!("{url}/nothing")).await;
    meets("There is no such page", "not-found").await;
    browser.open(&format!("{url}/onboarding/done?sign_in=0123456789abcdef")).await;
    meets("There is nothing to show", "nothing-to-show").await;
}

#[tokio::test]
async fn a_developers_browser_keeps_the_cookie_without_tls_on_localhost() {
    let Some(browser) = Browser::start().await else { return };
    let scene = Scene::new(Front::without_tls().await, false).await;
    scene.sign_in(&browser, "", "Approve").await;
    assert_eq!(browser.heading().await, "SuperOffice is connected");
    browser.quit().await;
}
