use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tracing::{info, warn};

use super::{Settings, SystemTicket, TicketError};
use crate::clock::Clock;
use crate::crypto::{Fingerprint, KeptAuditName, issued_for};
use crate::identifiers::ContextIdentifier;
use crate::random::Random;
use crate::store::{Lease, SharedTicket, SharedTickets, Tenant, Tenants};
use crate::superoffice::SuperOffice;

/// How long another process is waited for: longer than the lease of one that is gone, and less than a call may take.
const LONGEST_WAIT: Duration = Duration::from_secs(20);
/// How soon a look is taken whether the other process is done, if nobody tells.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// How much later the looks become.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// What all processes on a store do together: of those who need a tenant's ticket at once, one gets it for all.
#[derive(Debug)]
pub(super) struct Fleet {
    pub(super) shared: Option<Arc<dyn SharedTickets>>,
    pub(super) tenants: Arc<dyn Tenants>,
    pub(super) superoffice: Arc<SuperOffice>,
    pub(super) settings: Settings,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) random: Arc<dyn Random>,
}

/// Who gets a tenant's ticket, or another life for it.
#[derive(Debug)]
pub(super) enum Turn {
    /// This process, alone.
    Alone,
    /// This process, with the lease to do it for all, and the tenant as it was found under that.
    Leased(Lease, Tenant),
    /// Another process did.
    Done(SystemTicket),
}

impl Fleet {
    /// Waits until another process has got a ticket that lives longer than the `current` one, or it is this one's turn.
    pub(super) async fn turn(
        &self,
        tenant: ContextIdentifier,
        current: Option<&SystemTicket>,
    ) -> Result<Turn, TicketError> {
        let Some(shared) = &self.shared else { return Ok(Turn::Alone) };
        let mut news = shared.news();
        let mut patience = self.clock.sleep(LONGEST_WAIT);
        let mut pause = FIRST_PAUSE;
        let mut is_held = false;
        loop {
            match self.look(shared, tenant, current).await {
                Ok(Some(turn)) => return Ok(turn),
                Ok(None) => is_held = true,
                // One failed look is not the end of waiting.
                Err(TicketError::StoreUnavailable { .. }) if is_held => is_held = false,
                Err(error) => return Err(error),
            }
            tokio::select! {
                biased;
                () = news.of(tenant, pause) => pause = LONGEST_PAUSE.min(pause * 2),
                () = &mut patience => return Err(TicketError::HeldElsewhere { retry_after: LONGEST_PAUSE }),
            }
        }
    }

    /// Whose turn it is. Nothing while another process is at it.
    async fn look(
        &self,
        shared: &Arc<dyn SharedTickets>,
        tenant: ContextIdentifier,
        current: Option<&SystemTicket>,
    ) -> Result<Option<Turn>, TicketError> {
        let registered = self.tenants.find(tenant).await?.ok_or(TicketError::NotRegistered)?;
        if let Some(ticket) = self.newer(shared.find(tenant).await?, &registered, current) {
            return Ok(Some(Turn::Done(ticket)));
        }
        // Between the look and the lease another may have finished.
        let Some((lease, found)) = Lease::claim(shared, tenant).await? else { return Ok(None) };
        // The lease may have waited for whoever replaced or deleted the tenant.
        let registered = self.tenants.find(tenant).await?.ok_or(TicketError::NotRegistered)?;
        Ok(Some(match self.newer(found, &registered, current) {
            Some(ticket) => Turn::Done(ticket),
            None => Turn::Leased(lease, registered),
        }))
    }

    /// Lets the other processes have the ticket. Without that it is as good: this process has it.
    pub(super) async fn publish(&self, lease: Lease, ticket: &SystemTicket) {
        let shared = SharedTicket {
            context_identifier: ticket.context_identifier,
            ticket: ticket.ticket.clone(),
            fingerprint: ticket.fingerprint,
            issued_for: ticket.issued_for,
            issue_time: ticket.issue_time,
            expire_time: ticket.expire_time,
            webapi_url: ticket.webapi_url.as_deref().map(ToOwned::to_owned),
            netserver_url: ticket.netserver_url.as_deref().map(ToOwned::to_owned),
        };
        match lease.publish(shared, self.clock.now()).await {
            Ok(true) => {}
            Ok(false) => warn!("the lease was lost meanwhile: the ticket is not shared"),
            Err(error) if error.is_transient() => warn!(%error, "the ticket cannot be shared yet"),
            Err(error) => warn!(%error, "the ticket cannot be shared"),
        }
    }

    /// When the shared ticket with this fingerprint was issued.
    pub(super) async fn issue_time(&self, tenant: ContextIdentifier, fingerprint: Fingerprint) -> Option<Timestamp> {
        let found = self.shared.as_ref()?.find(tenant).await;
        let found = found.inspect_err(|error| warn!(%error, "the shared ticket cannot be looked up")).ok()?;
        let now = self.clock.now();
        found.filter(|it| it.fingerprint == fingerprint && it.expire_time > now).map(|it| it.issue_time)
    }

    /// Takes the ticket with this fingerprint away from all processes. True if it was shared.
    pub(super) async fn withdraw(&self, tenant: ContextIdentifier, fingerprint: Fingerprint) -> bool {
        let Some(shared) = &self.shared else { return false };
        let removed = shared.remove(tenant, fingerprint).await;
        removed.inspect_err(|error| warn!(%error, "the ticket cannot be taken away from all")).unwrap_or(false)
    }

    /// The shared ticket, if it is fit for use, the tenant's own, and lives longer than the `current` one.
    fn newer(
        &self,
        found: Option<SharedTicket>,
        registered: &Tenant,
        current: Option<&SystemTicket>,
    ) -> Option<SystemTicket> {
        let found = found?;
        let comfortable = self.clock.now().saturating_add(self.settings.wait_before_expiry).unwrap_or(Timestamp::MAX);
        let lives = found.expire_time > comfortable;
        let is_newer = current.is_none_or(|current| found.expire_time > current.expire_time);
        let is_its = found.issued_for == issued_for(&found.ticket, found.fingerprint, &registered.system_user_token);
        (lives && is_newer && is_its).then(|| self.adopted(found, registered))
    }

    /// What is not sealed is believed as far as it does no harm: addresses of SuperOffice's, and no longer life than any
    /// ticket has. Each process renews at a time of its own: the first does it for the others.
    fn adopted(&self, found: SharedTicket, registered: &Tenant) -> SystemTicket {
        let now = self.clock.now();
        let longest = now.saturating_add(self.settings.lifetime).unwrap_or(Timestamp::MAX);
        let expire_time = found.expire_time.min(longest);
        let proven = expire_time.saturating_sub(self.settings.lifetime).unwrap_or(now);
        let (_, refresh_time) = self.settings.times_of(proven, &*self.random);
        let checked = |url: Option<String>| url.and_then(|url| self.superoffice.checked_tenant_url(&url));
        info!(fingerprint = %found.fingerprint, %expire_time, "the ticket comes from the store");
        SystemTicket {
            context_identifier: registered.context_identifier,
            ticket: found.ticket,
            fingerprint: found.fingerprint,
            issued_for: found.issued_for,
            issue_time: found.issue_time.min(now),
            expire_time,
            refresh_time,
            webapi_url: checked(found.webapi_url).map(Into::into),
            netserver_url: checked(found.netserver_url).map(Into::into),
            audit_name: KeptAuditName::default(),
        }
    }
}
