//! A user's browser, as far as a sign-in needs one.

use ticketd::grpc::proto::{
    CreateAuthorizationUrlRequest, ExchangeAuthorizationCodeRequest, ExchangeAuthorizationCodeResponse,
};
use tonic::Status;

use crate::world::{CALLBACK, TENANT, World, within};

/// The administrator of a tenant of the sandbox.
pub(crate) fn administrator(tenant: &str) -> String {
    format!("admin@{}.example.com", tenant.to_ascii_lowercase())
}

/// Its other user.
pub(crate) fn user(tenant: &str) -> String {
    format!("user@{}.example.com", tenant.to_ascii_lowercase())
}

/// Begins a sign-in to [`TENANT`].
pub(crate) fn to_tenant() -> CreateAuthorizationUrlRequest {
    CreateAuthorizationUrlRequest { context_identifier: TENANT.to_owned(), ..to_any_tenant() }
}

/// Begins a sign-in to the tenant that the user chooses.
pub(crate) fn to_any_tenant() -> CreateAuthorizationUrlRequest {
    CreateAuthorizationUrlRequest { redirect_uri: CALLBACK.to_owned(), ..Default::default() }
}

impl World {
    /// Begins a sign-in and lets `user` approve it. Answers what the redirect brings.
    pub(crate) async fn approved(
        &self,
        request: CreateAuthorizationUrlRequest,
        user: &str,
    ) -> ExchangeAuthorizationCodeRequest {
        let begun = within(self.authorization().create_authorization_url(request)).await.unwrap().into_inner();
        let redirect = self.sandbox.approve(&begun.authorization_url, user).unwrap();
        let redirect = url::Url::parse(&redirect).unwrap();
        let parameter = |name: &str| {
            let found = redirect.query_pairs().find(|(key, _)| key == name);
            found.map_or_else(|| panic!("no {name} in {redirect}"), |(_, value)| value.into_owned())
        };
        assert_eq!(parameter("state"), begun.state);
        ExchangeAuthorizationCodeRequest { state: begun.state, code: parameter("code") }
    }

    pub(crate) async fn exchange_code(
        &self,
        redirect: ExchangeAuthorizationCodeRequest,
    ) -> Result<ExchangeAuthorizationCodeResponse, Status> {
        Ok(within(self.authorization().exchange_authorization_code(redirect)).await?.into_inner())
    }

    /// A whole sign-in.
    pub(crate) async fn sign_in(
        &self,
        request: CreateAuthorizationUrlRequest,
        user: &str,
    ) -> Result<ExchangeAuthorizationCodeResponse, Status> {
        self.exchange_code(self.approved(request, user).await).await
    }
}
