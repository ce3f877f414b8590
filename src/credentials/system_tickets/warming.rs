use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tracing::{info, warn};

use super::{Inner, SystemTickets};
use crate::credentials::TicketError;
use crate::credentials::renewal::Schedule;
use crate::identifiers::ContextIdentifier;
use crate::store::Tenants;

/// A change is told twice: by who made it, and by the store. A ticket under way between the two would be forgotten, and its
/// exchange wasted.
const SETTLING: Duration = Duration::from_millis(200);
/// How many tenants are read at once.
const PAGE: u32 = 1000;
/// How often SuperOffice is asked for a tenant's ticket while it fails.
const TRIES: u32 = 3;
/// The shortest pause after a failure. The longest is twice as long, or what was asked for and as much.
const PAUSE: Duration = Duration::from_secs(1);

/// What is to be warmed.
#[derive(Debug, Default)]
pub(super) struct Warming {
    changed: Schedule,
    all: Notify,
}

impl SystemTickets {
    /// Gets tickets before anybody asks for them, for ever: those of the tenants that are registered at first, and then of
    /// each that appears or changes. Does so without haste: a few at once, and none while SuperOffice wants none. A ticket
    /// that nobody asks for then lapses.
    pub async fn run_warming(self, tenants: Arc<dyn Tenants>) {
        let places = Arc::new(Semaphore::new(self.0.settings.warm_in_flight));
        tokio::join!(self.warm_all(&*tenants, &places), self.warm_changed(&places));
    }

    /// Those that are registered, and again when any of them may have changed.
    async fn warm_all(&self, tenants: &dyn Tenants, places: &Arc<Semaphore>) {
        loop {
            let mut under_way = JoinSet::new();
            let mut after = None;
            loop {
                let Some(page) = self.page(tenants, after).await else { continue };
                let is_last = page.len() < usize::try_from(PAGE).unwrap_or(usize::MAX);
                after = page.last().copied();
                if !self.warm_each(page, places, &mut under_way).await || is_last {
                    break;
                }
            }
            while under_way.join_next().await.is_some() {}
            info!(tickets = self.0.cache.len(), "the tenants that are registered have been warmed");
            self.0.warming.all.notified().await;
        }
    }

    /// Some tenants in their order; nothing, after a pause, while they cannot be read.
    async fn page(&self, tenants: &dyn Tenants, after: Option<ContextIdentifier>) -> Option<Vec<ContextIdentifier>> {
        match tenants.list(after, PAGE).await {
            Ok(page) => Some(page.into_iter().map(|tenant| tenant.context_identifier).collect()),
            Err(error) => {
                warn!(%error, "the tenants to warm cannot be read: it is tried again");
                self.0.pause(PAUSE).await;
                None
            }
        }
    }

    /// In an order of its own, so that replicas that start together do not wait for each other at every tenant. False when
    /// the cache has no more room.
    async fn warm_each(
        &self,
        mut page: Vec<ContextIdentifier>,
        places: &Arc<Semaphore>,
        under_way: &mut JoinSet<()>,
    ) -> bool {
        page.sort_by_cached_key(|_| self.0.random.fraction().to_bits());
        for tenant in page {
            // The semaphore is never closed.
            let Ok(place) = Arc::clone(places).acquire_owned().await else { return false };
            if !self.0.has_room_to_warm() {
                let capacity = self.0.settings.capacity;
                warn!(
                    capacity,
                    "the ticket cache is as good as full: the other tenants' tickets wait for their callers"
                );
                return false;
            }
            under_way.spawn(Arc::clone(&self.0).warm(tenant, place));
            while under_way.try_join_next().is_some() {}
        }
        true
    }

    async fn warm_changed(&self, places: &Arc<Semaphore>) {
        let mut under_way = JoinSet::new();
        loop {
            let tenant = self.0.warming.changed.next_due(&*self.0.clock).await;
            let Ok(place) = Arc::clone(places).acquire_owned().await else { return };
            if self.0.has_room_to_warm() {
                under_way.spawn(Arc::clone(&self.0).warm(tenant, place));
            }
            while under_way.try_join_next().is_some() {}
        }
    }
}

impl Inner {
    /// Has the tenant's ticket got soon, if tickets are got ahead of callers.
    pub(super) fn warm_soon(&self, tenant: ContextIdentifier) {
        if self.settings.warm {
            let due = self.clock.now().saturating_add(SETTLING).unwrap_or(Timestamp::MAX);
            self.warming.changed.plan(tenant, due);
        }
    }

    /// The same for every tenant.
    pub(super) fn warm_all_soon(&self) {
        self.warming.all.notify_one();
    }

    /// Whoever waits here keeps its place: while SuperOffice throttles or fails, all places are soon taken, and nothing more
    /// is asked of it. A refusal is not tried again.
    async fn warm(self: Arc<Self>, tenant: ContextIdentifier, _place: OwnedSemaphorePermit) {
        let mut failures = 0;
        loop {
            while self.exchange.is_crowded() {
                self.pause(PAUSE).await;
            }
            let comfortable = self.settings.wait_before_expiry;
            let (Err(error), _) = self.fly(tenant, |entry, now| entry.lives(now, comfortable)).await else { return };
            failures += 1;
            let Some(pause) = pause_after(&error).filter(|_| failures < TRIES || asks_for_nothing(&error)) else {
                return;
            };
            self.pause(pause).await;
        }
    }

    /// The last few places are left to callers: a ticket that is in use is not displaced by one that may never be.
    fn has_room_to_warm(&self) -> bool {
        let warming = u64::try_from(self.settings.warm_in_flight).unwrap_or(u64::MAX);
        (self.cache.len() as u64).saturating_add(warming) <= self.settings.capacity
    }

    /// Longer than asked for, and not as long for all.
    async fn pause(&self, least: Duration) {
        let least = least.max(PAUSE);
        self.clock.sleep(self.random.between(least, least.saturating_add(least))).await;
    }
}

/// When it makes sense to try again; nothing for a refusal.
fn pause_after(error: &TicketError) -> Option<Duration> {
    match error {
        TicketError::Throttled { retry_after }
        | TicketError::CircuitOpen { retry_after }
        | TicketError::Unavailable { retry_after, .. }
        | TicketError::StoreUnavailable { retry_after, .. }
        | TicketError::HeldElsewhere { retry_after } => Some(*retry_after),
        TicketError::Overloaded => Some(PAUSE),
        _ => None,
    }
}

/// Whether trying again and again costs SuperOffice nothing, or is what it asked for.
fn asks_for_nothing(error: &TicketError) -> bool {
    !matches!(error, TicketError::Unavailable { .. })
}
