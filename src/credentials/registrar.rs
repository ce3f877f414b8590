use std::sync::Arc;
use std::time::Duration;

use tracing::{error, info, warn};

use super::{SignInError, SystemTickets, TenantChange};
use crate::audit::{Audit, Event};
use crate::clock::Clock;
use crate::crypto::{IdTokenClaims, IdTokenProfile, JwtRejection, unverified_header, verify_id_token};
use crate::identifiers::{AuthorizationCode, ContextIdentifier, Nonce};
use crate::metrics;
use crate::store::{StoreError, Tenants, check_system_user_token};
use crate::superoffice::{SuperOffice, TokenSet};

/// Verifies ID tokens, and keeps the registered tenants up to what they say. Clones share everything.
#[derive(Clone, Debug)]
pub struct Registrar {
    superoffice: Arc<SuperOffice>,
    tenants: Arc<dyn Tenants>,
    tickets: SystemTickets,
    audit: Audit,
    leeway: Duration,
    clock: Arc<dyn Clock>,
}

/// What an ID token came with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Occasion {
    /// A user's sign-in, which may register the tenant.
    SignIn,
    /// A refresh, which changes what is registered only.
    Refresh,
}

impl Registrar {
    /// `leeway` is how far SuperOffice's clock may be from ours.
    pub fn new(
        superoffice: Arc<SuperOffice>,
        tenants: Arc<dyn Tenants>,
        tickets: SystemTickets,
        leeway: Duration,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { superoffice, tenants, tickets, audit: Audit::off(), leeway, clock }
    }

    /// Writes down what is changed without anybody asking for it.
    #[must_use]
    pub fn audited_by(self, audit: Audit) -> Self {
        Self { audit, ..self }
    }

    /// Where that is written.
    pub(super) fn audit(&self) -> &Audit {
        &self.audit
    }

    /// Whether the tenant is registered.
    pub(super) async fn knows(&self, tenant: ContextIdentifier) -> Result<bool, StoreError> {
        Ok(self.tenants.find(tenant).await?.is_some())
    }

    /// What the ID token says, once it is proven to be this environment's, for this application and of the same sign-in as
    /// what came with it. Without a `sign_in` it came with a refresh. The error is the reason, in snake case.
    pub(super) async fn verify(
        &self,
        tokens: &TokenSet,
        sign_in: Option<(&Nonce, &AuthorizationCode)>,
    ) -> Result<IdTokenClaims, &'static str> {
        let id_token = tokens.id_token.as_ref().ok_or("id_token_missing")?;
        let header = unverified_header(id_token).map_err(|rejection| rejection.reason())?;
        let keys = self.superoffice.verification_keys(&header).await;
        let profile = IdTokenProfile {
            issuer: self.superoffice.issuer(),
            client_id: self.superoffice.client_id(),
            nonce: sign_in.map(|(nonce, _)| nonce.expose()),
            access_token: Some(&tokens.access_token),
            code: sign_in.map(|(_, code)| code),
            leeway: self.leeway,
        };
        let now = self.clock.now();
        let mut outcome = verify_id_token(id_token, &keys, &profile, now);
        // As with tickets: where the clocks are too far apart, the token is judged by the clock that it was made by.
        let skew = self.superoffice.clock_offset().unwrap_or_default();
        if outcome.as_ref().is_err_and(JwtRejection::is_about_time) && skew.unsigned_abs() > self.leeway {
            warn!(seconds = skew.as_secs(), "SuperOffice's clock is not ours: its ID token is checked by its own");
            outcome = verify_id_token(id_token, &keys, &profile, now.saturating_add(skew).unwrap_or(now));
        }
        outcome.map_err(|rejection| {
            metrics::JWT_REJECTED.count(&[rejection.reason()]);
            rejection.reason()
        })
    }

    /// Registers the tenant, or replaces its system user token, as the verified ID token has it. Answers the tenant as it
    /// is registered.
    ///
    /// An ID token may carry several system user tokens. The tenant keeps its own when it is among them; else the first
    /// one counts, as in SuperOffice's own samples. One that brings none changes nothing: not every user's does.
    pub(super) async fn adopt(
        &self,
        claims: &IdTokenClaims,
        occasion: Occasion,
    ) -> Result<(ContextIdentifier, TenantChange), SignInError> {
        let asked = claims.context_identifier;
        let registered = self.tenants.find(asked).await?;
        let delivered = claims.system_user_tokens.iter().filter(|token| check_system_user_token(token).is_ok());
        let delivered: Vec<_> = delivered.collect();
        let Some(tenant) = registered else {
            if occasion == Occasion::Refresh {
                return Ok((asked, TenantChange::Unchanged));
            }
            let first = *delivered.first().ok_or(SignInError::NoSystemUserToken)?;
            self.tenants.put(asked, first.clone(), false, self.clock.now()).await?;
            self.tickets.forget(asked);
            info!(tenant = %asked, "a sign-in registered the tenant");
            return Ok((asked, TenantChange::Registered));
        };
        let tenant_name = tenant.context_identifier;
        if let (Some(pinned), Some(serial)) = (&tenant.serial, &claims.serial)
            && pinned != serial
        {
            metrics::JWT_REJECTED.count(&[JwtRejection::SerialMismatch.reason()]);
            error!(tenant = %tenant_name, security = true, "an ID token is of another database than the tenant's");
            return Err(SignInError::TenantMismatch(JwtRejection::SerialMismatch.reason()));
        }
        match delivered.first() {
            Some(first) if !delivered.contains(&&tenant.system_user_token) => {
                self.tenants.put(tenant_name, (*first).clone(), false, self.clock.now()).await?;
                self.tickets.forget(tenant_name);
                if occasion == Occasion::Refresh {
                    self.audit.note(&Event::of_change(tenant_name, &claims.user, "tenant_token_replaced"));
                }
                info!(tenant = %tenant_name, ?occasion, "the tenant has another system user token; it replaces the old one");
                Ok((tenant_name, TenantChange::TokenReplaced))
            }
            _ => {
                if occasion == Occasion::SignIn {
                    // The user may just have approved what was refused a moment ago.
                    self.tickets.pardon(tenant_name);
                }
                Ok((tenant_name, TenantChange::Unchanged))
            }
        }
    }
}
