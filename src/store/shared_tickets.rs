use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::runtime::Handle;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::StoreError;
use crate::crypto::Fingerprint;
use crate::identifiers::{ContextIdentifier, Ticket};
use crate::metrics;

/// How long a lease lasts that is not renewed: so long a tenant waits whose lease's holder is gone, and so long the
/// database may be away without a holder losing it.
pub(super) const LEASE: Duration = Duration::from_secs(15);

/// From one try to put a ticket to the next.
const PUBLISH_PAUSE: Duration = Duration::from_millis(500);

/// Tickets that all processes on a store share, and the leases under which one of them at a time gets a tenant's.
#[async_trait]
pub trait SharedTickets: fmt::Debug + Send + Sync {
    /// The ticket that was put last. One that cannot be used counts as absent.
    async fn find(&self, tenant: ContextIdentifier) -> Result<Option<SharedTicket>, StoreError>;

    /// Takes the tenant's lease, unless somebody has it, and then looks for the ticket: nobody puts another one meanwhile.
    async fn claim(&self, tenant: ContextIdentifier) -> Result<Option<Claim>, StoreError>;

    /// Lets the lease last anew. False when it is lost.
    async fn renew(&self, tenant: ContextIdentifier, fence: Fence) -> Result<bool, StoreError>;

    /// Gives the lease back, if it is not lost.
    async fn release(&self, tenant: ContextIdentifier, fence: Fence) -> Result<(), StoreError>;

    /// Puts the tenant's ticket in place of any before and gives the lease back. False when the lease is lost, which
    /// changes nothing. What has expired by `now` is removed.
    async fn publish(&self, ticket: &SharedTicket, fence: Fence, now: Timestamp) -> Result<bool, StoreError>;

    /// Removes the tenant's ticket if it has this fingerprint, and lets every process know that the tenant changed. Who
    /// has the lease loses it: what it is about to put may be the same ticket.
    async fn remove(&self, tenant: ContextIdentifier, fingerprint: Fingerprint) -> Result<bool, StoreError>;

    /// What the processes share of each of these tenants at this moment, but for the tickets themselves.
    async fn overview(&self, tenants: &[ContextIdentifier]) -> Result<Vec<SharedOverview>, StoreError>;

    /// What this process is called in leases.
    fn process_name(&self) -> &str;

    /// Tells from now on whose tickets were put, and whose leases were given back.
    fn news(&self) -> News;
}

/// A verified ticket as it is kept for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedTicket {
    /// The tenant.
    pub context_identifier: ContextIdentifier,
    /// The secret.
    pub ticket: Ticket,
    /// Names the ticket.
    pub fingerprint: Fingerprint,
    /// Says for which system user token it was issued, to whom has both.
    pub issued_for: Fingerprint,
    /// When the exchange that gave it was sent.
    pub issue_time: Timestamp,
    /// When it expires.
    pub expire_time: Timestamp,
    /// Where the tenant's REST API was. Not sealed: to be checked.
    pub webapi_url: Option<String>,
    /// Where the tenant's SOAP services were. Not sealed: to be checked.
    pub netserver_url: Option<String>,
}

/// What processes share of a tenant, for people to look at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SharedOverview {
    /// When the ticket expires that they share, if they do.
    pub expire_time: Option<Timestamp>,
    /// What the process is called that gets or renews the tenant's ticket, if one does.
    pub lease_holder: Option<String>,
}

/// Tells a lease from every other, before and after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fence(pub(super) i64);

/// What comes with a tenant's lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Tells the lease from others.
    pub fence: Fence,
    /// The ticket that was put last. One that cannot be used counts as absent.
    pub ticket: Option<SharedTicket>,
}

/// Whose tickets were put, and whose leases were given back.
#[derive(Debug)]
pub struct News(pub(super) broadcast::Receiver<ContextIdentifier>);

impl News {
    /// Ends when there is news of the tenant or, as some may be missed, after `pause` of the machine's time.
    pub async fn of(&mut self, tenant: ContextIdentifier, pause: Duration) {
        let heard = async {
            loop {
                match self.0.recv().await {
                    Ok(other) if other != tenant => {}
                    Ok(_) | Err(RecvError::Lagged(_)) => return,
                    // The database is closed, and says so to whoever asks.
                    Err(RecvError::Closed) => std::future::pending().await,
                }
            }
        };
        tokio::select! {
            () = heard => {}
            () = wait(pause) => {}
        }
    }
}

/// A tenant's lease, renewed as long as this is kept, and given back when it is dropped.
#[derive(Debug)]
pub struct Lease {
    tickets: Arc<dyn SharedTickets>,
    tenant: ContextIdentifier,
    fence: Fence,
    is_over: bool,
    _renewing: DropGuard,
}

impl Lease {
    /// Takes the tenant's lease, unless somebody has it, with the ticket that is shared then.
    pub async fn claim(
        tickets: &Arc<dyn SharedTickets>,
        tenant: ContextIdentifier,
    ) -> Result<Option<(Self, Option<SharedTicket>)>, StoreError> {
        let Some(Claim { fence, ticket }) = tickets.claim(tenant).await? else { return Ok(None) };
        metrics::LEASE_ACQUIRED.count(&[]);
        let stop = CancellationToken::new();
        tokio::spawn(stop.clone().run_until_cancelled_owned(keep(Arc::clone(tickets), tenant, fence)));
        let tickets = Arc::clone(tickets);
        let lease = Self { tickets, tenant, fence, is_over: false, _renewing: stop.drop_guard() };
        Ok(Some((lease, ticket)))
    }

    /// Puts the tenant's ticket for all. False when the lease was lost: another process is at it, or the tenant changed.
    ///
    /// While the database is away this fails, and is tried again in the background for as long as the lease may last: the
    /// others wait for it rather than get another ticket.
    pub async fn publish(mut self, ticket: SharedTicket, now: Timestamp) -> Result<bool, StoreError> {
        let outcome = self.try_to_publish(&ticket, now).await;
        if outcome.as_ref().is_err_and(StoreError::is_transient) {
            tokio::spawn(self.publish_later(ticket, now));
        }
        outcome
    }

    async fn publish_later(mut self, ticket: SharedTicket, now: Timestamp) {
        let trying = async {
            loop {
                wait(PUBLISH_PAUSE).await;
                match self.try_to_publish(&ticket, now).await {
                    Err(error) if error.is_transient() => {}
                    outcome => return outcome,
                }
            }
        };
        let tenant = ticket.context_identifier;
        match tokio::time::timeout(LEASE, trying).await {
            Ok(Ok(true)) => tracing::info!(%tenant, "the ticket is shared after all"),
            Ok(Ok(false)) => tracing::warn!(%tenant, "the lease was lost meanwhile: the ticket is not shared"),
            Ok(Err(error)) => tracing::warn!(%tenant, %error, "the ticket cannot be shared"),
            Err(_) => tracing::warn!(%tenant, "the ticket could not be shared for as long as a lease lasts"),
        }
    }

    async fn try_to_publish(&mut self, ticket: &SharedTicket, now: Timestamp) -> Result<bool, StoreError> {
        let outcome = self.tickets.publish(ticket, self.fence, now).await;
        self.is_over = outcome.is_ok();
        if matches!(outcome, Ok(false)) {
            metrics::LEASE_FENCED.count(&[]);
        }
        outcome
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // Without a runtime the process ends, and the store gives back all its leases.
        if !self.is_over
            && let Ok(runtime) = Handle::try_current()
        {
            let (tickets, tenant, fence) = (Arc::clone(&self.tickets), self.tenant, self.fence);
            runtime.spawn(async move {
                if let Err(error) = tickets.release(tenant, fence).await {
                    tracing::warn!(%tenant, %error, "a lease cannot be given back: it lapses");
                }
            });
        }
    }
}

/// Renews the lease until it is lost. While the database is away it may yet last.
async fn keep(tickets: Arc<dyn SharedTickets>, tenant: ContextIdentifier, fence: Fence) {
    loop {
        wait(LEASE / 3).await;
        match tickets.renew(tenant, fence).await {
            Ok(true) => {}
            Ok(false) => {
                metrics::LEASE_LOST.count(&[]);
                return tracing::warn!(%tenant, "the lease is lost");
            }
            Err(error) => tracing::warn!(%tenant, %error, "the lease cannot be renewed"),
        }
    }
}

/// Of the machine's time: the leases' clock is the database's.
async fn wait(duration: Duration) {
    #[expect(clippy::disallowed_methods, reason = "the database's clock is not the tests'")]
    tokio::time::sleep(duration).await;
}
