//! The status page as operators see it, on their phones as well.

use serde_json::json;
use thirtyfour::prelude::*;

use crate::chromium::{Browser, Look};
use crate::status::troubled;
use crate::world::TENANT;

const LOOKS: [Look; 4] = [
    ("phone", 390, 844, "light"),
    ("phone-dark", 390, 844, "dark"),
    ("narrow", 320, 1_000, "light"),
    ("wide", 1_100, 800, "light"),
];

#[tokio::test]
async fn an_operator_finds_a_tenant_by_phone() {
    let Some(browser) = Browser::start().await else { return };
    let world = troubled().await;
    // Over gRPC, one after the other: enough for two pages.
    for number in 0..60 {
        world.add_tenant(&format!("Cust3{number:04}")).await;
    }
    let home = format!("http://{}/", world.admin());
    browser.open(&home).await;
    assert_eq!(browser.heading().await, "Ready");
    browser.inspect_as("status", &LOOKS).await;
    let text = browser.text().await;
    assert!(text.contains("TENANT_AUTHORIZATION_REVOKED") && text.contains("Cust30044"), "{text}");
    assert!(!text.contains("Cust30045"), "{text}");

    browser.press("Next 50").await;
    let text = browser.text().await;
    assert!(text.contains("Cust30045") && text.contains("Cust30059") && !text.contains("Cust30044"), "{text}");
    browser.inspect_as("status-second-page", &LOOKS[..1]).await;
    browser.press("From the beginning").await;

    let search = browser.driver.find(By::Id("prefix")).await.unwrap();
    search.send_keys("cust3001").await.unwrap();
    browser.press("Find").await;
    assert_eq!(browser.driver.find_all(By::Css("#tenants .tenants a")).await.unwrap().len(), 10);
    assert_eq!(browser.execute("return document.getElementById('prefix').value").await, json!("cust3001"));
    browser.inspect_as("status-search", &LOOKS[..1]).await;

    browser.open(&format!("{home}?prefix=%22%3E%3Cimg%20src=x%3E")).await;
    assert!(browser.text().await.contains("No tenant is called so"));
    browser.inspect_as("status-no-such-name", &LOOKS[..1]).await;

    browser.open(&home).await;
    let row = browser.driver.find(By::Css(format!("#tenants a[href='/tenants/{TENANT}']"))).await.unwrap();
    row.click().await.unwrap();
    assert_eq!(browser.heading().await, TENANT);
    browser.inspect_as("tenant", &LOOKS).await;
    browser.open(&format!("{home}tenants/Cust20001")).await;
    browser.inspect_as("tenant-failing", &LOOKS[..1]).await;
    browser.press("All tenants").await;
    assert_eq!(browser.heading().await, "Ready");
    world.sandbox.clear_behaviours();
    browser.quit().await;
}
