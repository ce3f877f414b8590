use std::time::Duration;

use reqwest::RequestBuilder;
use serde_json::{Value, json};
use superoffice_sandbox::{Caller, Sandbox};

use crate::partner::{Answer, Scene, read};

impl Scene {
    fn as_system_user(&self, ticket: &str) -> impl Fn(RequestBuilder) -> RequestBuilder {
        let (authorization, secret) = (format!("SOTicket {ticket}"), self.sandbox.client_secret().to_owned());
        move |request| request.header("Authorization", &authorization).header("SO-AppToken", &secret)
    }

    async fn access_token(&self) -> String {
        let token = self.sandbox.issue_refresh_token("Cust12345").unwrap();
        let form = [
            ("grant_type", "refresh_token"),
            ("client_id", self.sandbox.client_id()),
            ("client_secret", self.sandbox.client_secret()),
            ("refresh_token", &token),
        ];
        let url = format!("{}/login/common/oauth/tokens", self.sandbox.base_url());
        let answer = read(self.http.post(url).form(&form).send().await.unwrap()).await.unwrap();
        answer.json["access_token"].as_str().unwrap().to_owned()
    }

    async fn post_contact(&self, by: impl Fn(RequestBuilder) -> RequestBuilder, body: &Value) -> Answer {
        let url = format!("{}v1/Contact", self.tenant.webapi_url);
        read(by(self.http.post(url)).json(body).send().await.unwrap()).await.unwrap()
    }

    async fn get_contact(&self, by: impl Fn(RequestBuilder) -> RequestBuilder, path: &str) -> Answer {
        let url = format!("{}v1/{path}", self.tenant.webapi_url);
        read(by(self.http.get(url)).send().await.unwrap()).await.unwrap()
    }
}

#[tokio::test]
async fn companies_are_kept_with_who_made_them() {
    let scene = Scene::new().await;
    let other = scene.sandbox.add_tenant("Cust54321");
    let ticket = scene.ticket().await;
    let token = scene.access_token().await;
    let system_user = scene.as_system_user(&ticket);
    let user = |request: RequestBuilder| request.bearer_auth(&token);

    let body = json!({ "Name": "Acme", "Department": "Anvils", "ContactId": 99, "CreatedBy": { "AssociateId": 5 } });
    let first = scene.post_contact(&system_user, &body).await;
    assert_eq!((first.status, &first.json["Name"], &first.json["Department"]), (200, &json!("Acme"), &json!("Anvils")));
    assert_eq!(first.json["CreatedBy"]["Type"], "SystemAssociate");
    assert_eq!(first.json["CreatedDate"], "2026-03-01T12:00:30Z");
    let second = scene.post_contact(user, &json!({ "Name": "Road Runner" })).await;
    assert_eq!(second.json["CreatedBy"]["Name"], "admin@cust12345.example.com");
    assert_eq!(second.json["CreatedBy"]["AssociateId"], 10);
    assert_ne!(first.json["ContactId"], second.json["ContactId"]);
    assert_ne!(first.json["ContactId"], 99);

    let again = scene.get_contact(user, &format!("Contact/{}", first.json["ContactId"])).await;
    assert_eq!((again.status, again.json), (200, first.json));
    let list = scene.get_contact(&system_user, "contact").await.json;
    let names: Vec<&Value> = list["value"].as_array().unwrap().iter().map(|row| &row["name"]).collect();
    assert_eq!(names, ["Acme", "Road Runner"]);
    let principal = scene.get_contact(user, "User/currentPrincipal").await.json;
    assert_eq!(principal["EMailAddress"], "admin@cust12345.example.com");

    let kept = scene.sandbox.contacts("Cust12345");
    assert_eq!((kept[0].name.as_str(), &kept[0].created_by), ("Acme", &Caller::SystemUser));
    assert_eq!(kept[1].created_by, Caller::User(scene.tenant.users[0].clone()));
    assert!(scene.sandbox.contacts(&other.context_identifier).is_empty());
}

#[tokio::test]
async fn what_is_no_company_is_refused() {
    let scene = Scene::new().await;
    let ticket = scene.ticket().await;
    let system_user = scene.as_system_user(&ticket);
    for body in [json!({}), json!([]), json!("x"), json!({ "Name": "" }), json!({ "Name": 5 })] {
        let answer = scene.post_contact(&system_user, &body).await;
        assert_eq!((answer.status, &answer.json["Error"]), (400, &json!(true)), "{body}");
    }
    assert_eq!(scene.post_contact(|request| request, &json!({ "Name": "Acme" })).await.status, 401);
    for path in ["Contact/2", "Contact/x", "Contact/-1", "Contact/2/3"] {
        assert_eq!(scene.get_contact(&system_user, path).await.status, 404, "{path}");
    }
    let url = format!("{}v1/Contact", scene.tenant.webapi_url);
    assert_eq!(system_user(scene.http.delete(url)).send().await.unwrap().status(), 405);
    assert!(scene.sandbox.contacts("Cust12345").is_empty());
}

#[tokio::test]
async fn an_access_tokens_life_is_a_setting() {
    let scene = Scene::with(Sandbox::builder()).await;
    scene.sandbox.change_settings(|settings| settings.access_token_life = Duration::from_secs(20));
    let token = scene.access_token().await;
    let user = |request: RequestBuilder| request.bearer_auth(&token);
    scene.sandbox.clock().advance(Duration::from_secs(19));
    assert_eq!(scene.post_contact(user, &json!({ "Name": "Acme" })).await.status, 200);
    scene.sandbox.clock().advance(Duration::from_secs(1));
    assert_eq!(scene.post_contact(user, &json!({ "Name": "Acme" })).await.status, 401);
    assert_eq!(scene.sandbox.contacts("Cust12345").len(), 1);
}
