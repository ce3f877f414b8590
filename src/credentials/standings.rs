use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use super::TicketError;
use crate::clock::Clock;
use crate::identifiers::ContextIdentifier;
use crate::store::{Observations, Tenants};
use crate::superoffice::{KnownTenant, Standing, SuperOffice, TenantState, TenantStatus, UpstreamError};

/// When to ask again about a tenant in maintenance, if SuperOffice does not say.
const MAINTENANCE_PAUSE: Duration = Duration::from_mins(1);

/// How tenants stand at SuperOffice: whether they run, and where. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Standings {
    superoffice: Arc<SuperOffice>,
    tenants: Arc<dyn Tenants>,
    clock: Arc<dyn Clock>,
}

/// Whether a tenant in this state is served. One whose state is not known is.
pub(super) fn may_be_served(state: TenantState) -> bool {
    matches!(state, TenantState::Running | TenantState::OnlineMaintenance | TenantState::Unknown)
}

impl Standings {
    pub(super) fn new(superoffice: Arc<SuperOffice>, tenants: Arc<dyn Tenants>, clock: Arc<dyn Clock>) -> Self {
        Self { superoffice, tenants, clock }
    }

    /// What is known without asking.
    pub(super) fn at_hand(&self, tenant: ContextIdentifier) -> Arc<KnownTenant> {
        self.superoffice.known_tenant(tenant)
    }

    /// Where that stands, for who keeps it with the tenant's ticket.
    pub(super) fn of(&self, tenant: ContextIdentifier) -> Arc<Standing> {
        self.superoffice.standing(tenant)
    }

    /// Asks when that is due. An address that was not known is kept for after a restart.
    pub(super) async fn ask(&self, tenant: ContextIdentifier) -> Result<TenantStatus, UpstreamError> {
        let before = self.at_hand(tenant);
        let status = self.ask_only(tenant).await?;
        if let Some(url) = status.webapi_url.as_ref().filter(|url| before.status.webapi_url.as_ref() != Some(url)) {
            self.record(tenant, url).await;
        }
        Ok(status)
    }

    /// What is known of a tenant after asking, if it can be used. A failed lookup withholds nothing.
    pub(super) async fn usable(&self, tenant: ContextIdentifier) -> Result<TenantStatus, TicketError> {
        self.if_usable(tenant, self.ask(tenant).await)
    }

    /// [`Self::usable`] for who knows which address is kept, and sees to that.
    pub(super) async fn usable_to_keep(&self, tenant: ContextIdentifier) -> Result<TenantStatus, TicketError> {
        self.if_usable(tenant, self.ask_only(tenant).await)
    }

    async fn ask_only(&self, tenant: ContextIdentifier) -> Result<TenantStatus, UpstreamError> {
        let before = self.at_hand(tenant);
        let status = self.superoffice.tenant_state(tenant).await?;
        if let Some(url) = status.webapi_url.as_deref()
            && before.status.webapi_url.as_deref().is_some_and(|before| before != url)
        {
            info!(%tenant, url, "the tenant's API is elsewhere now");
        }
        Ok(status)
    }

    fn if_usable(
        &self,
        tenant: ContextIdentifier,
        asked: Result<TenantStatus, UpstreamError>,
    ) -> Result<TenantStatus, TicketError> {
        match asked {
            Ok(status) => {
                self.check(&status)?;
                Ok(status)
            }
            Err(error) => {
                warn!(%error, "the tenant's state is unknown");
                Ok(self.at_hand(tenant).status.clone())
            }
        }
    }

    /// Whether a tenant's ticket may be handed out and another exchanged for. While the tenant does not run, the ticket
    /// opens nothing, and an exchange would write into a database that is not to be used.
    pub(super) fn check(&self, status: &TenantStatus) -> Result<(), TicketError> {
        match status.state {
            state if may_be_served(state) => Ok(()),
            TenantState::OfflineMaintenance | TenantState::MigrationPending => {
                let left = status.valid_until.duration_since(self.clock.now());
                let retry_after = if left.is_positive() { left.unsigned_abs() } else { MAINTENANCE_PAUSE };
                Err(TicketError::TenantMaintenance { retry_after })
            }
            state => Err(TicketError::TenantNotRunning(state)),
        }
    }

    /// Lets the next lookup ask anew.
    pub(super) fn forget(&self, tenant: ContextIdentifier) {
        self.superoffice.forget_tenant_state(tenant);
    }

    /// Believes the state for a while.
    pub(super) fn note(&self, tenant: ContextIdentifier, state: TenantState) {
        self.superoffice.note_tenant_state(tenant, state);
    }

    /// Waits no more for a state that has lapsed.
    pub(super) fn doubt(&self, tenant: ContextIdentifier) {
        self.superoffice.doubt_tenant_state(tenant);
    }

    /// Keeps the tenant's address for when SuperOffice does not tell it.
    async fn record(&self, tenant: ContextIdentifier, url: &str) {
        let told = Observations { serial: None, webapi_url: Some(url.to_owned()) };
        let outcome = match self.tenants.find(tenant).await {
            Ok(Some(tenant)) => self.tenants.observe(&tenant, &told).await.map(drop),
            // Nobody will ask for it.
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = outcome {
            warn!(%error, "the tenant's API address could not be kept for later");
        }
    }
}
