//! Users' grants: kept over kill -9, and revoked by a command beside a running server.

use ticketd::grpc::proto::authorization_service_client::AuthorizationServiceClient;
use ticketd::grpc::proto::{
    CreateAuthorizationUrlRequest, ExchangeAuthorizationCodeRequest, RefreshAccessTokenRequest,
};
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::place::{Place, Running, TENANT, channel, until, within};

const CALLBACK: &str = "https://caller.example/signed-in";
const USER: &str = "user@cust12345.example.com";

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_loses_no_refresh_token_whose_access_token_it_handed_out() {
    let rounds = if std::env::var("PROOFS").is_ok_and(|proofs| proofs == "full") { 200 } else { 20 };
    let place = place().await;
    place.sandbox.change_settings(|settings| settings.rotate_refresh_tokens = true);
    let mut server = place.serve().await;
    sign_in(&place, &server).await;
    for round in 0..rounds {
        server.kill().await;
        server = place.serve().await;
        access_token(&server).await.unwrap_or_else(|status| panic!("lost in round {round}: {status:?}"));
    }
    println!("{rounds} kills, each right after a rotated refresh token's answer: none lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_is_revoked_by_a_command_beside_a_running_server() {
    let place = place().await;
    let server = place.serve().await;
    sign_in(&place, &server).await;
    access_token(&server).await.unwrap();
    let listed = place.output(&["tenants", "grants", TENANT]).await;
    assert!(listed.contains(USER) && listed.contains(" 11 "), "{listed}");

    assert_eq!(place.output(&["tenants", "revoke", "cust12345", USER]).await, "the grant is revoked\n");
    let began = Instant::now();
    until(async || access_token(&server).await.is_err()).await;
    println!("a running server noticed a revocation after {:?}", began.elapsed());
    assert_eq!(access_token(&server).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(place.output(&["tenants", "grants", TENANT]).await.lines().count(), 1);
    let again = place.run(&["tenants", "revoke", TENANT, USER]).await;
    assert_eq!(again.code, Some(1), "{again:?}");
    assert_eq!(again.errors, "ticketd: no grant of the user is kept: the user has to sign in\n");
}

async fn place() -> Place {
    let place = Place::new().await;
    place.sandbox.add_redirect_uri(CALLBACK);
    place.configure("redirect_uris", &format!("[\"{CALLBACK}\"]"));
    place
}

async fn sign_in(place: &Place, server: &Running) {
    let mut client = AuthorizationServiceClient::new(channel(server.address));
    let request = CreateAuthorizationUrlRequest { redirect_uri: CALLBACK.to_owned(), ..Default::default() };
    let begun = within(client.create_authorization_url(request)).await.unwrap().into_inner();
    let redirect = place.sandbox.approve(&begun.authorization_url, USER).unwrap();
    let (_, code) = redirect.split_once("code=").unwrap();
    let request = ExchangeAuthorizationCodeRequest { state: begun.state, code: code.to_owned() };
    assert!(within(client.exchange_authorization_code(request)).await.unwrap().into_inner().grant_kept);
}

async fn access_token(server: &Running) -> Result<String, Status> {
    let request = RefreshAccessTokenRequest {
        context_identifier: TENANT.to_owned(),
        refresh_token: String::new(),
        user: USER.to_owned(),
        ..Default::default()
    };
    Ok(within(server.tickets().refresh_access_token(request)).await?.into_inner().access_token)
}
