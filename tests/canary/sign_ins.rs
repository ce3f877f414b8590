//! Users' sign-ins and their grants, used well, used badly, and with secrets where none belong.

use superoffice_sandbox::{Behaviour, Endpoint, IdTokenFlaw};
use ticketd::grpc::proto::authorization_service_client::AuthorizationServiceClient;
use ticketd::grpc::proto::tenant_service_client::TenantServiceClient;
use ticketd::grpc::proto::ticket_service_client::TicketServiceClient;
use ticketd::grpc::proto::{
    CreateAuthorizationUrlRequest, ExchangeAuthorizationCodeRequest, ListGrantsRequest, RefreshAccessTokenRequest,
    RevokeGrantRequest,
};
use tonic::Status;

use crate::calls::Caller;
use crate::rig::{CALLBACK, Process, Rig, within};

const ADMINISTRATOR: &str = "admin@cust1.example.com";
const USER: &str = "user@cust1.example.com";

impl Caller {
    async fn begin(&self, rig: &Rig, redirect_uri: &str, login_hint: &str) -> Result<(String, String), Status> {
        let request = CreateAuthorizationUrlRequest {
            redirect_uri: redirect_uri.to_owned(),
            context_identifier: "Cust1".to_owned(),
            login_hint: login_hint.to_owned(),
        };
        let mut client = AuthorizationServiceClient::new(self.channel.clone());
        let mut begun = self.note(within(client.create_authorization_url(request)).await)?;
        rig.note_sign_in(&begun.authorization_url);
        let (url, state) = (begun.authorization_url, begun.state);
        (begun.authorization_url, begun.state) = Default::default();
        self.note_answer(&begun);
        Ok((url, state))
    }

    async fn finish(&self, state: &str, code: &str) -> Result<(), Status> {
        let request = ExchangeAuthorizationCodeRequest { state: state.to_owned(), code: code.to_owned() };
        let mut client = AuthorizationServiceClient::new(self.channel.clone());
        let mut answer = self.note(within(client.exchange_authorization_code(request)).await)?;
        assert!(!answer.access_token.is_empty());
        answer.access_token.clear();
        self.note_answer(&answer);
        Ok(())
    }

    /// A whole sign-in. Answers what the redirect brought, too.
    async fn sign_in(&self, rig: &Rig, user: &str, login_hint: &str) -> (Result<(), Status>, String, String) {
        let (url, state) = self.begin(rig, CALLBACK, login_hint).await.unwrap();
        let redirect = rig.sandbox.approve(&url, user).unwrap();
        let (_, code) = redirect.split_once("code=").unwrap();
        (self.finish(&state, code).await, state, code.to_owned())
    }

    async fn access_token_of(&self, tenant: &str, user: &str, refresh_token: &str) -> Result<(), Status> {
        let request = RefreshAccessTokenRequest {
            context_identifier: tenant.to_owned(),
            refresh_token: refresh_token.to_owned(),
            user: user.to_owned(),
            // Whatever it is, it is a secret.
            refused_access_token: refresh_token.to_owned(),
        };
        let mut client = TicketServiceClient::new(self.channel.clone());
        let mut answer = self.note(within(client.refresh_access_token(request)).await)?;
        answer.access_token.clear();
        answer.refresh_token.clear();
        self.note_answer(&answer);
        Ok(())
    }

    async fn grants(&self, tenant: &str, page_token: &str) {
        let (context_identifier, page_token) = (tenant.to_owned(), page_token.to_owned());
        let request = ListGrantsRequest { context_identifier, page_size: 1, page_token };
        let mut client = TenantServiceClient::new(self.channel.clone());
        if let Ok(answer) = self.note(within(client.list_grants(request)).await) {
            self.note_answer(&answer);
        }
    }

    async fn revoke(&self, tenant: &str, user: &str) -> Result<(), Status> {
        let request = RevokeGrantRequest { context_identifier: tenant.to_owned(), user: user.to_owned() };
        self.note(within(TenantServiceClient::new(self.channel.clone()).revoke_grant(request)).await).map(drop)
    }
}

/// Sign-ins that succeed and fail, tokens that are rotated, refused and revoked.
pub(crate) async fn as_they_should(rig: &Rig, process: &Process) {
    let caller = Caller::new(rig, &process.grpc);
    // Lives of seconds, so that each call refreshes.
    rig.sandbox.change_settings(|settings| {
        settings.rotate_refresh_tokens = true;
        settings.access_token_life = std::time::Duration::from_secs(1);
    });
    let (outcome, state, code) = caller.sign_in(rig, ADMINISTRATOR, "").await;
    outcome.unwrap();
    caller.finish(&state, &code).await.expect_err("it is replayed");
    caller.sign_in(rig, USER, USER).await.0.unwrap();
    caller.sign_in(rig, USER, ADMINISTRATOR).await.0.expect_err("another user was asked for");
    for flaw in IdTokenFlaw::ALL.into_iter().filter(|flaw| *flaw != IdTokenFlaw::WithoutSystemToken) {
        rig.sandbox.set_behaviour(Behaviour::IdToken(flaw).at(Endpoint::Tokens).times(1));
        caller.sign_in(rig, ADMINISTRATOR, "").await.0.expect_err("its ID token is flawed");
    }
    let mut refreshes = 0;
    while refreshes < 2 {
        let before = rig.sandbox.requests(Endpoint::Tokens);
        caller.access_token_of("Cust1", ADMINISTRATOR, "").await.unwrap();
        refreshes += rig.sandbox.requests(Endpoint::Tokens) - before;
        tokio::task::yield_now().await;
    }
    let own = rig.sandbox.issue_refresh_token("Cust1").unwrap();
    caller.access_token_of("Cust1", "", &own).await.unwrap();
    caller.grants("Cust1", "").await;
    caller.revoke("Cust1", USER).await.unwrap();
    caller.access_token_of("Cust1", USER, "").await.expect_err("it is revoked");
    rig.sandbox.change_settings(|settings| {
        let fresh = superoffice_sandbox::Settings::default();
        settings.rotate_refresh_tokens = fresh.rotate_refresh_tokens;
        settings.access_token_life = fresh.access_token_life;
    });
    let config = rig.path("ticketd.toml");
    for arguments in [&["tenants", "grants", "Cust1"][..], &["tenants", "revoke", "Cust1", ADMINISTRATOR]] {
        let output = rig.run(&[arguments, &["--config", &config]].concat(), "", false).await;
        assert!(output.status.success(), "{arguments:?}");
    }
}

/// Each secret in each field that it has no business in.
pub(crate) async fn with_secrets_in_wrong_fields(rig: &Rig, process: &Process) {
    let caller = Caller::new(rig, &process.grpc);
    for (_, secret) in rig.secrets() {
        caller.begin(rig, &secret, "").await.unwrap_err();
        // As a hint it goes where it was sent, and may not go anywhere else.
        drop(caller.begin(rig, CALLBACK, &secret).await);
        caller.finish(&secret, &secret).await.unwrap_err();
        caller.access_token_of("Cust1", &secret, "").await.unwrap_err();
        caller.access_token_of("Cust1", &secret, &secret).await.unwrap_err();
        caller.grants("Cust1", &secret).await;
        caller.grants(&secret, "").await;
        caller.revoke("Cust1", &secret).await.unwrap_err();
        caller.revoke(&secret, ADMINISTRATOR).await.unwrap_err();
    }
}
