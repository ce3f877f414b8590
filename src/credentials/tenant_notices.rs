use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tracing::{Instrument, info};

use super::error::STORE_PAUSE;
use super::{KeptGrants, SystemTickets};
use crate::clock::Clock;
use crate::crypto::{JwtRejection, WebhookClaims, WebhookProfile, unverified_header, verify_webhook_token};
use crate::identifiers::{ContextIdentifier, UnverifiedJwt};
use crate::store::{Seen, SeenNotices, StoreError, Tenants};
use crate::superoffice::{SuperOffice, TenantState};

/// When to come again while no more notices can be remembered.
const FULL_PAUSE: Duration = Duration::from_mins(1);

/// What SuperOffice tells about tenants by itself. Clones share it.
#[derive(Clone, Debug)]
pub struct TenantNotices {
    superoffice: Arc<SuperOffice>,
    tenants: Arc<dyn Tenants>,
    seen: Arc<dyn SeenNotices>,
    tickets: SystemTickets,
    kept_grants: KeptGrants,
    leeway: Duration,
    clock: Arc<dyn Clock>,
}

/// A notice as it came. Nothing in it counts before its token is verified.
#[derive(Clone, Debug)]
pub struct TenantNotice {
    /// What happened.
    pub event: TenantEvent,
    /// To whom.
    pub context_identifier: ContextIdentifier,
    /// Who says so.
    pub token: UnverifiedJwt,
    /// Where a tenant moved to. It is shown in the log and goes nowhere: the state API says where the tenant is.
    pub public_endpoint: Option<String>,
}

/// What happened to a tenant, by SuperOffice's names and numbers (`ChangeType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TenantEvent {
    /// It has another version.
    Upgrade = 0,
    /// Its database is an older one.
    BackupRestored = 1,
    /// It was switched off.
    Suspend = 2,
    /// It was switched on again.
    Resume = 3,
    /// It is gone.
    Delete = 4,
    /// It is on another host.
    Move = 5,
}

impl TenantEvent {
    /// Every event with its name.
    pub const ALL: [(Self, &'static str); 6] = [
        (Self::Upgrade, "Upgrade"),
        (Self::BackupRestored, "BackupRestored"),
        (Self::Suspend, "Suspend"),
        (Self::Resume, "Resume"),
        (Self::Delete, "Delete"),
        (Self::Move, "Move"),
    ];
}

/// What became of a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoticeOutcome {
    /// It was acted on.
    Taken,
    /// The tenant is not registered, so there is nothing to do.
    Unregistered,
}

/// Why a notice is not acted on.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoticeError {
    /// SuperOffice does not say so.
    #[error("the notice's token does not verify: {0}")]
    Forged(JwtRejection),
    /// It was acted on before.
    #[error("the notice was acted on before")]
    Replayed,
    /// It cannot be made sure that it is the first time.
    #[error("it cannot be remembered that the notice came: {cause}")]
    Unavailable {
        /// Why.
        cause: String,
        /// When to send it again.
        retry_after: Duration,
    },
}

impl From<StoreError> for NoticeError {
    fn from(error: StoreError) -> Self {
        Self::Unavailable { cause: error.to_string(), retry_after: STORE_PAUSE }
    }
}

impl TenantNotices {
    /// `leeway` is how far SuperOffice's clock may be from ours. Where grants are kept is waited for what is under way.
    pub fn new(
        superoffice: Arc<SuperOffice>,
        tenants: Arc<dyn Tenants>,
        seen: Arc<dyn SeenNotices>,
        tickets: SystemTickets,
        kept_grants: KeptGrants,
        leeway: Duration,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { superoffice, tenants, seen, tickets, kept_grants, leeway, clock }
    }

    /// Verifies a notice and acts on it, once.
    ///
    /// That it came is written down before anything is done. What is done then is done in memory and cannot fail, and
    /// where a process ends in between there is no memory to correct. So a notice that failed can be sent again, and one
    /// that is written down never acts a second time. Once it is verified it goes on without its sender, and
    /// `tell` is called once it is written down.
    pub async fn take(
        &self,
        notice: TenantNotice,
        tell: impl FnOnce() + Send + 'static,
    ) -> Result<NoticeOutcome, NoticeError> {
        let TenantNotice { event, context_identifier: tenant, token, public_endpoint } = notice;
        let claims = self.verify(tenant, &token).await.map_err(NoticeError::Forged)?;
        if !self.is_registered(tenant).await? {
            info!(%tenant, ?event, "SuperOffice tells of a tenant that is not registered");
            return Ok(NoticeOutcome::Unregistered);
        }
        let moved_to = public_endpoint.and_then(|host| self.superoffice.checked_tenant_url(&format!("https://{host}")));
        let notices = self.clone();
        let under_way = self.kept_grants.under_way();
        // What is written down has to be acted on, also when its sender hangs up in between.
        let taking = async move {
            let _until_it_is_done = under_way;
            notices.remember(&claims, event, tenant).await?;
            tell();
            info!(%tenant, ?event, moved_to, "SuperOffice tells of a tenant");
            notices.act(tenant, event);
            Ok(NoticeOutcome::Taken)
        };
        tokio::spawn(taking.in_current_span()).await.unwrap_or_else(|_| {
            let cause = "taking it ended without an outcome".to_owned();
            Err(NoticeError::Unavailable { cause, retry_after: STORE_PAUSE })
        })
    }

    /// Fails unless it is the first time that the notice comes.
    async fn remember(
        &self,
        claims: &WebhookClaims,
        event: TenantEvent,
        tenant: ContextIdentifier,
    ) -> Result<(), NoticeError> {
        let changed = (event == TenantEvent::BackupRestored).then_some(tenant);
        match self.seen.see(claims.token_id, claims.expires, changed, self.clock.now()).await? {
            Seen::First => Ok(()),
            Seen::Before => Err(NoticeError::Replayed),
            Seen::Full => {
                let cause = "too many are remembered already".to_owned();
                Err(NoticeError::Unavailable { cause, retry_after: FULL_PAUSE })
            }
        }
    }

    async fn verify(&self, tenant: ContextIdentifier, token: &UnverifiedJwt) -> Result<WebhookClaims, JwtRejection> {
        let profile = WebhookProfile {
            issuer: self.superoffice.issuer(),
            client_id: self.superoffice.client_id(),
            context_identifier: tenant,
            leeway: self.leeway,
        };
        let keys = self.superoffice.verification_keys(&unverified_header(token)?).await;
        verify_webhook_token(token, &keys, &profile, self.clock.now())
    }

    /// A tenant whose file or record is damaged is registered.
    async fn is_registered(&self, tenant: ContextIdentifier) -> Result<bool, StoreError> {
        match self.tenants.find(tenant).await {
            Ok(found) => Ok(found.is_some()),
            Err(StoreError::TenantFile { .. } | StoreError::BadRecord { .. }) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Changes what is believed of the tenant. Nobody waits for SuperOffice here.
    fn act(&self, tenant: ContextIdentifier, event: TenantEvent) {
        match event {
            TenantEvent::Upgrade | TenantEvent::Move => self.tickets.relocate(tenant),
            // Everything about it is dropped by the store's change, here and in every other process.
            TenantEvent::BackupRestored => {}
            TenantEvent::Suspend => self.tickets.note_tenant_state(tenant, TenantState::Suspended),
            TenantEvent::Delete => self.tickets.note_tenant_state(tenant, TenantState::Deleted),
            TenantEvent::Resume => self.tickets.note_tenant_state(tenant, TenantState::Running),
        }
    }
}
