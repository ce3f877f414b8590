use std::fmt;

use jiff::Timestamp;

use crate::crypto::is_invisible;
use crate::identifiers::{AccessToken, AuthorizationCode, BrowserSecret, CallerId, ContextIdentifier, SignInState};

/// Begins a sign-in.
#[derive(Clone, Debug)]
pub struct SignInRequest {
    /// Where SuperOffice sends the browser afterwards: exactly one of `superoffice.redirect_uris`.
    pub redirect_uri: String,
    /// The only tenant that may be signed in to. The user chooses when it is absent.
    pub tenant: Option<ContextIdentifier>,
    /// The only user that may sign in, by the name at SuperID. Anyone may when it is absent.
    pub login_hint: Option<String>,
    /// Who begins it.
    pub owner: SignInOwner,
}

/// Who began a sign-in. Nobody else can end it.
#[derive(Clone, Debug)]
pub enum SignInOwner {
    /// The browser that has this.
    Browser(BrowserSecret),
    /// A caller that owns the browser's redirect.
    Caller(CallerId),
}

/// As long as an e-mail address can be, with room.
const MAX_LOGIN_HINT_BYTES: usize = 320;

/// Whether a text can be a login hint: no user whose name is none can sign in, and whoever reads it reads what it is.
pub fn is_login_hint(text: &str) -> bool {
    (1..=MAX_LOGIN_HINT_BYTES).contains(&text.len()) && !text.chars().any(is_invisible)
}

/// A sign-in that waits for its user.
#[derive(Clone)]
pub struct BegunSignIn {
    /// Where the browser goes.
    pub authorization_url: String,
    /// Names the sign-in. It comes back with the redirect.
    pub state: SignInState,
    /// From then on the sign-in is forgotten.
    pub expire_time: Timestamp,
}

/// What the redirect brought.
#[derive(Clone, Debug)]
pub struct SignInAnswer {
    /// Its `state`, which may be anything.
    pub state: SignInState,
    /// Its `code`, which may be anything.
    pub code: AuthorizationCode,
    /// Who brought it.
    pub owner: SignInOwner,
}

/// A sign-in that succeeded.
#[derive(Clone, Debug)]
pub struct SignedIn {
    /// The tenant that the user signed in to.
    pub context_identifier: ContextIdentifier,
    /// The user's name at SuperID.
    pub user: String,
    /// The user's access token.
    pub access_token: AccessToken,
    /// When it expires, counted from the moment the code was sent.
    pub expire_time: Timestamp,
    /// What became of the tenant.
    pub tenant: TenantChange,
    /// Whether access tokens can be had for the user from now on. Not when SuperOffice gave no refresh token, or when
    /// it could not be stored.
    pub grant_kept: bool,
}

/// What a sign-in or a refresh did to the tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TenantChange {
    /// It was not registered before.
    Registered,
    /// It had another system user token.
    TokenReplaced,
    /// It is as it was.
    Unchanged,
}

impl SignedIn {
    /// What the sign-in changed, in snake case.
    pub fn change(&self) -> Option<&'static str> {
        Some(match (self.tenant, self.grant_kept) {
            (TenantChange::Registered, false) => "tenant_registered",
            (TenantChange::Registered, true) => "tenant_registered,grant_kept",
            (TenantChange::TokenReplaced, false) => "tenant_token_replaced",
            (TenantChange::TokenReplaced, true) => "tenant_token_replaced,grant_kept",
            (TenantChange::Unchanged, true) => "grant_kept",
            (TenantChange::Unchanged, false) => return None,
        })
    }
}

impl fmt::Debug for BegunSignIn {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL holds the state and the nonce.
        formatter.debug_struct("BegunSignIn").field("expire_time", &self.expire_time).finish_non_exhaustive()
    }
}
