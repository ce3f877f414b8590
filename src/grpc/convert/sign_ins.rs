//! Sign-ins, as they are asked for and answered.

use super::timestamp;
use crate::credentials::{BegunSignIn, SignInAnswer, SignInOwner, SignInRequest, SignedIn, TenantChange};
use crate::grpc::proto;
use crate::identifiers::{AuthorizationCode, CallerId, ContextIdentifier, SignInState};

pub(in crate::grpc) fn sign_in_request(
    request: proto::CreateAuthorizationUrlRequest,
    tenant: Option<ContextIdentifier>,
    caller: CallerId,
) -> SignInRequest {
    let proto::CreateAuthorizationUrlRequest { redirect_uri, context_identifier: _, login_hint } = request;
    let login_hint = Some(login_hint).filter(|hint| !hint.is_empty());
    SignInRequest { redirect_uri, tenant, login_hint, owner: SignInOwner::Caller(caller) }
}

pub(in crate::grpc) fn begun_sign_in(begun: BegunSignIn) -> proto::CreateAuthorizationUrlResponse {
    proto::CreateAuthorizationUrlResponse {
        authorization_url: begun.authorization_url,
        state: begun.state.expose().to_owned(),
        expire_time: Some(timestamp(begun.expire_time)),
    }
}

pub(in crate::grpc) fn sign_in_answer(
    request: proto::ExchangeAuthorizationCodeRequest,
    caller: CallerId,
) -> SignInAnswer {
    let proto::ExchangeAuthorizationCodeRequest { state, code } = request;
    let (state, code) = (SignInState::new(state), AuthorizationCode::new(code));
    SignInAnswer { state, code, owner: SignInOwner::Caller(caller) }
}

pub(in crate::grpc) fn signed_in(signed_in: SignedIn) -> proto::ExchangeAuthorizationCodeResponse {
    use proto::exchange_authorization_code_response::TenantChange as Change;
    let change = match signed_in.tenant {
        TenantChange::Registered => Change::Registered,
        TenantChange::TokenReplaced => Change::TokenReplaced,
        TenantChange::Unchanged => Change::Unchanged,
    };
    proto::ExchangeAuthorizationCodeResponse {
        context_identifier: signed_in.context_identifier.to_string(),
        user: signed_in.user,
        access_token: signed_in.access_token.expose().to_owned(),
        expire_time: Some(timestamp(signed_in.expire_time)),
        tenant_change: change.into(),
        grant_kept: signed_in.grant_kept,
    }
}
