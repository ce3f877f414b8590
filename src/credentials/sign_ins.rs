use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Semaphore;
use tracing::{Instrument, error, info, warn};
use zeroize::Zeroizing;

use super::access_tokens::{FreshAccessToken, tenant_of};
use super::registrar::Occasion;
use super::sign_in::is_login_hint;
use super::{AccessTokens, BegunSignIn, Registrar, SignInAnswer, SignInError, SignInOwner, SignInRequest, SignedIn};
use crate::clock::Clock;
use crate::crypto::{IdTokenClaims, RandomnessError, SecretHash, code_challenge, random_code_verifier, random_token};
use crate::identifiers::{AuthorizationCode, ContextIdentifier, Nonce, RefreshToken, SignInState};
use crate::store::{Grant, PendingSignIn, PendingSignIns, TakenSignIn, user_key};
use crate::superoffice::{AuthorizationRequest, ResponseMode, SuperOffice, TokenSet};

/// How long a sign-in waits for its user. SuperOffice's codes live as long.
const PATIENCE: Duration = Duration::from_mins(10);
/// How many sign-ins may be being finished at once: they outlive their callers, so those do not bound them.
const MOST_FINISHING: usize = 1_000;
/// Ours have 43 characters.
const MAX_STATE_BYTES: usize = 64;
/// Real codes have 64 characters.
const MAX_CODE_BYTES: usize = 512;

/// Users' sign-ins. Clones share them.
#[derive(Clone, Debug)]
pub struct SignIns(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    superoffice: Arc<SuperOffice>,
    pending: Arc<dyn PendingSignIns>,
    registrar: Registrar,
    access_tokens: AccessTokens,
    clock: Arc<dyn Clock>,
    places: Arc<Semaphore>,
}

impl SignIns {
    /// Sign-ins that end at one of SuperOffice's configured redirect URIs.
    pub fn new(
        superoffice: Arc<SuperOffice>,
        pending: Arc<dyn PendingSignIns>,
        registrar: Registrar,
        access_tokens: AccessTokens,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let places = Arc::new(Semaphore::new(MOST_FINISHING));
        Self(Arc::new(Inner { superoffice, pending, registrar, access_tokens, clock, places }))
    }

    /// Begins a sign-in. It waits ten minutes for its user.
    pub async fn begin(&self, request: SignInRequest) -> Result<BegunSignIn, SignInError> {
        let inner = &self.0;
        let SignInRequest { redirect_uri, tenant, login_hint, owner } = request;
        if !inner.superoffice.allows_redirect_uri(&redirect_uri) {
            return Err(SignInError::RedirectUriNotAllowed);
        }
        if !login_hint.as_deref().is_none_or(is_login_hint) {
            return Err(SignInError::LoginHintInvalid);
        }
        let no_randomness = |error: RandomnessError| SignInError::Internal(error.to_string());
        let state = random_token().map(SignInState::new).map_err(no_randomness)?;
        let nonce = random_token().map(Nonce::new).map_err(no_randomness)?;
        let code_verifier = random_code_verifier().map_err(no_randomness)?;
        let authorization_url = inner.superoffice.authorization_url(&AuthorizationRequest {
            redirect_uri: &redirect_uri,
            state: state.expose(),
            nonce: nonce.expose(),
            code_challenge: &code_challenge(&code_verifier),
            response_mode: Some(ResponseMode::Query),
            login_hint: login_hint.as_deref(),
            tenant,
        });
        let now = inner.clock.now();
        let expire_time = now.saturating_add(PATIENCE).unwrap_or(Timestamp::MAX);
        let owner = hash_of_owner(&owner);
        let sign_in = PendingSignIn { redirect_uri, nonce, code_verifier, tenant, login_hint, owner, expire_time };
        inner.pending.add(hash_of_state(&state), &sign_in, now).await?;
        Ok(BegunSignIn { authorization_url: authorization_url.into(), state, expire_time })
    }

    /// Ends a sign-in with what the redirect brought. Once begun it goes on by itself: a caller who goes away after the
    /// code was sent loses nothing. Which tenant it is comes out only then: `is_entitled` says whether whoever asks may have
    /// it, before anything is registered or kept. Whoever went away is not told: `tell` is, as soon as the user is signed
    /// in.
    pub async fn finish(
        &self,
        answer: SignInAnswer,
        is_entitled: impl Fn(ContextIdentifier) -> bool + Send + Sync + 'static,
        tell: impl FnOnce(&SignedIn) + Send + 'static,
    ) -> Result<SignedIn, SignInError> {
        if !is_code(&answer.code) {
            return Err(SignInError::CodeInvalid);
        }
        let inner = Arc::clone(&self.0);
        let place = Arc::clone(&inner.places).try_acquire_owned().map_err(|_| SignInError::Overloaded)?;
        let under_way = inner.access_tokens.under_way();
        let finishing = async move {
            let _until_it_is_done = (place, under_way);
            inner.finish(&answer, is_entitled).await.inspect(tell)
        };
        let finished = tokio::spawn(finishing.in_current_span()).await;
        finished.unwrap_or_else(|_| Err(SignInError::Internal("the sign-in ended without an outcome".into())))
    }

    /// Uses a sign-in up that SuperOffice ended with an error.
    pub async fn abandon(&self, state: &SignInState, owner: &SignInOwner) -> Result<(), SignInError> {
        self.0.take(state, owner).await.map(drop)
    }
}

impl Inner {
    async fn finish(
        &self,
        answer: &SignInAnswer,
        is_entitled: impl Fn(ContextIdentifier) -> bool + Send + Sync,
    ) -> Result<SignedIn, SignInError> {
        // Before the code is sent: whoever has lost the race has nothing to send it with.
        let pending = self.take(&answer.state, &answer.owner).await?;
        let sent = self.clock.moment();
        let tokens =
            self.superoffice.exchange_code(&answer.code, &pending.redirect_uri, &pending.code_verifier).await?;
        let claims = self.registrar.verify(&tokens, Some((&pending.nonce, &answer.code))).await.map_err(|reason| {
            error!(reason, security = true, "the ID token of a sign-in cannot be used");
            SignInError::TokenInvalid(reason)
        })?;
        check(&pending, &tokens, &claims)?;
        if !is_entitled(claims.context_identifier) {
            warn!(tenant = %claims.context_identifier, security = true, "a sign-in to a tenant that its caller may not use");
            return Err(SignInError::NotEntitled);
        }
        let (context_identifier, tenant) = self.registrar.adopt(&claims, Occasion::SignIn).await?;
        let grant = grant(context_identifier, &claims, tokens.refresh_token, self.clock.now());
        let fresh = FreshAccessToken {
            tenant: context_identifier,
            user: &claims.user,
            sent,
            access_token: &tokens.access_token,
            expires_in: tokens.expires_in,
        };
        let grant_kept = self.access_tokens.keep(grant.as_ref(), fresh).await;
        info!(tenant = %context_identifier, user = claims.user, change = ?tenant, grant_kept, "a user signed in");
        Ok(SignedIn {
            context_identifier,
            user: claims.user,
            access_token: tokens.access_token,
            expire_time: sent.wall.saturating_add(tokens.expires_in).unwrap_or(Timestamp::MAX),
            tenant,
            grant_kept,
        })
    }

    async fn take(&self, state: &SignInState, owner: &SignInOwner) -> Result<PendingSignIn, SignInError> {
        if state.expose().len() > MAX_STATE_BYTES {
            return Err(SignInError::Unknown);
        }
        match self.pending.take(hash_of_state(state), hash_of_owner(owner), self.clock.now()).await? {
            TakenSignIn::Taken(pending) => Ok(*pending),
            TakenSignIn::OtherOwner => Err(SignInError::OtherOwner),
            TakenSignIn::Nothing => Err(SignInError::Unknown),
        }
    }
}

/// Whether those signed in who were asked to, and all tokens are of one tenant.
fn check(pending: &PendingSignIn, tokens: &TokenSet, claims: &IdTokenClaims) -> Result<(), SignInError> {
    if tenant_of(&tokens.access_token) != Some(claims.context_identifier) {
        let tenant = claims.context_identifier;
        error!(%tenant, security = true, "the access token of a sign-in is not for the ID token's tenant");
        return Err(SignInError::TenantMismatch("access_token_of_another_tenant"));
    }
    if pending.tenant.is_some_and(|tenant| tenant != claims.context_identifier) {
        return Err(SignInError::WrongTenant);
    }
    if pending.login_hint.as_deref().is_some_and(|hint| user_key(hint) != user_key(&claims.user)) {
        return Err(SignInError::WrongUser);
    }
    Ok(())
}

fn grant(
    context_identifier: ContextIdentifier,
    claims: &IdTokenClaims,
    refresh_token: Option<RefreshToken>,
    now: Timestamp,
) -> Option<Grant> {
    Some(Grant {
        context_identifier,
        user: claims.user.clone(),
        refresh_token: refresh_token?,
        associate_id: claims.associate_id.clone(),
        create_time: now,
        update_time: now,
    })
}

fn is_code(code: &AuthorizationCode) -> bool {
    let code = code.expose();
    (1..=MAX_CODE_BYTES).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_graphic())
}

fn hash_of_state(state: &SignInState) -> SecretHash {
    SecretHash::of(state.expose())
}

/// No browser passes for a caller: what it has may be anything, and is told apart from any caller's name.
fn hash_of_owner(owner: &SignInOwner) -> SecretHash {
    let own = match owner {
        SignInOwner::Browser(secret) => Zeroizing::new(format!("browser {}", secret.expose())),
        SignInOwner::Caller(id) => Zeroizing::new(format!("caller {id}")),
    };
    SecretHash::of(&own)
}
