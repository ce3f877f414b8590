//! One refresh from end to end.

use tracing::{error, warn};

use super::super::error::UpstreamTrouble;
use super::super::registrar::Occasion;
use super::{AccessTokenError, Inner, Kept};
use crate::clock::Moment;
use crate::identifiers::{AccessToken, ContextIdentifier, RefreshToken};
use crate::store::user_key;
use crate::superoffice::retry::with_retries;
use crate::superoffice::{OAuthError, TokenSet};

/// How often one refresh is tried in its budget.
const ATTEMPTS: u32 = 3;
/// How many grants of one user are tried, each of which took the place of the one before while that was refused.
const GRANTS_TRIED: u32 = 3;

impl Inner {
    /// By a refresh token of the caller's, which is not kept; nor is one that takes its place, beyond the answer.
    pub(super) async fn by_refresh_token(
        &self,
        tenant: ContextIdentifier,
        refresh_token: &RefreshToken,
    ) -> Result<Kept, AccessTokenError> {
        let (sent, tokens) = self.send(refresh_token).await?;
        check_tenant(tenant, &tokens.access_token)?;
        self.learn(tenant, None, &tokens).await;
        let mut kept = Kept::new(sent, tokens.access_token, tokens.expires_in);
        kept.answer.refresh_token = tokens.refresh_token.filter(|new| new != refresh_token);
        Ok(kept)
    }

    /// By the grant that is kept of the user. One that SuperOffice refuses is removed.
    pub(super) async fn by_kept_grant(&self, tenant: ContextIdentifier, user: &str) -> Result<Kept, AccessTokenError> {
        if !self.registrar.knows(tenant).await? {
            return Err(AccessTokenError::TenantNotRegistered);
        }
        for _ in 0..GRANTS_TRIED {
            let grant = self.kept_grants.find(tenant, user).await?.ok_or(AccessTokenError::GrantNotKept)?;
            let (sent, tokens) = match self.send(&grant.refresh_token).await {
                Ok(answered) => answered,
                Err(AccessTokenError::RefreshTokenRefused) if self.kept_grants.remove_refused(&grant).await? => {
                    return Err(AccessTokenError::GrantRevoked);
                }
                // The user has signed in again meanwhile, and what was refused is not kept any more.
                Err(AccessTokenError::RefreshTokenRefused) => continue,
                Err(error) => return Err(error),
            };
            // First of all: the old one may be worth nothing from now on.
            if let Some(new) = tokens.refresh_token.as_ref().filter(|new| **new != grant.refresh_token) {
                self.kept_grants.rotate(&grant, new.clone()).await;
            }
            check_tenant(tenant, &tokens.access_token)?;
            self.learn(tenant, Some(&grant.user), &tokens).await;
            let mut kept = Kept::new(sent, tokens.access_token, tokens.expires_in);
            kept.user = Some(grant.user);
            return Ok(kept);
        }
        Err(AccessTokenError::GrantRevoked)
    }

    async fn send(&self, refresh_token: &RefreshToken) -> Result<(Moment, TokenSet), AccessTokenError> {
        let attempt = || async {
            let sent = self.clock.moment();
            self.superoffice.refresh_access_token(refresh_token).await.map(|tokens| (sent, tokens))
        };
        Ok(with_retries(&*self.clock, &*self.random, self.budget, ATTEMPTS, &self.retries, attempt).await?)
    }

    /// Takes over what the ID token of a refresh says of the tenant, when there is one. Whatever is wrong with it, nothing
    /// of it is used, and the access token, which is proven by its own tenant, is not withheld for it.
    async fn learn(&self, tenant: ContextIdentifier, user: Option<&str>, tokens: &TokenSet) {
        if tokens.id_token.is_none() {
            return;
        }
        let claims = match self.registrar.verify(tokens, None).await {
            Ok(claims) => claims,
            Err(reason) => {
                return error!(reason, security = true, "the ID token of a refresh does not verify and is not used");
            }
        };
        let same_user = user.is_none_or(|user| user_key(user) == user_key(&claims.user));
        if claims.context_identifier != tenant || !same_user {
            return error!(security = true, "the ID token of a refresh is another tenant's or user's and is not used");
        }
        if let Err(error) = self.registrar.adopt(&claims, Occasion::Refresh).await {
            warn!(%error, "what the ID token of a refresh says of the tenant is not taken over");
        }
    }
}

fn check_tenant(tenant: ContextIdentifier, access_token: &AccessToken) -> Result<(), AccessTokenError> {
    if tenant_of(access_token) == Some(tenant) {
        return Ok(());
    }
    error!(%tenant, security = true, "SuperOffice's access token is not for the tenant asked for");
    Err(AccessTokenError::TenantMismatch)
}

/// The tenant in `8A:<ContextIdentifier>.<base64>`.
pub(in crate::credentials) fn tenant_of(access_token: &AccessToken) -> Option<ContextIdentifier> {
    let (_, rest) = access_token.expose().split_once(':')?;
    let (tenant, _) = rest.split_once('.')?;
    tenant.parse().ok()
}

impl From<OAuthError> for AccessTokenError {
    fn from(error: OAuthError) -> Self {
        match error {
            OAuthError::InvalidGrant => Self::RefreshTokenRefused,
            OAuthError::Authorization(code) => Self::Authorization(code),
            OAuthError::Refused(message) => Self::ClientRefused(message),
            OAuthError::Upstream(error) => UpstreamTrouble::from(error).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tenant_is_read_from_between_colon_and_dot() {
        let tenant = |token: &str| tenant_of(&AccessToken::new(token));
        assert_eq!(tenant("8A:Cust12345.AbC+/="), "cust12345".parse().ok());
        for strange in ["", "8A:", "8A:Cust12345", "Cust12345.x", "8A:.x", "8A:Cust 1.x", "8A:Cust1/..x"] {
            assert_eq!(tenant(strange), None, "{strange}");
        }
    }
}
