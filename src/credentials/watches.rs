use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

use super::{TicketAnswer, TicketError, TicketOrigin};
use crate::identifiers::ContextIdentifier;

/// What a tenant's watchers are told.
pub(super) type Outcome = Result<TicketAnswer, TicketError>;

/// How many tenants one watcher may have: the bits of its memory of changes.
pub(super) const MOST_PLACES: usize = 128;

/// Who watches which tenants.
///
/// A tenant that is watched has one keeper, however many watch it: a task that asks for the tenant's ticket when something
/// about it has changed, and tells its watchers. A watcher remembers one bit for each of its tenants, so one that does not
/// look for a long time holds nothing up and nothing in memory.
#[derive(Default)]
pub(super) struct Watches {
    tenants: Mutex<HashMap<ContextIdentifier, Kept>>,
    next_watcher: AtomicU64,
}

struct Kept {
    watched: Arc<Watched>,
    _keeper: AbortOnDropHandle<()>,
}

/// A tenant that is watched.
#[derive(Default)]
pub(super) struct Watched {
    told: Mutex<Told>,
    changed: Notify,
}

#[derive(Default)]
struct Told {
    /// What the watchers were woken for last: what comes is compared with it.
    news: Option<Outcome>,
    /// What whoever looks finds.
    latest: Option<Outcome>,
    /// The tenant's ticket was taken away since the keeper last began to ask for it.
    dropped: Option<Dropped>,
    watchers: HashMap<u64, (Arc<Watcher>, usize)>,
}

/// How a ticket was taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dropped {
    /// No other was.
    Alone,
    /// Those of all tenants were.
    WithAll,
}

/// One who watches several tenants, each at a place.
pub(super) struct Watcher {
    id: u64,
    places: Mutex<u128>,
    changed: Notify,
}

impl Watches {
    pub(super) fn watcher(&self) -> Arc<Watcher> {
        let id = self.next_watcher.fetch_add(1, Ordering::Relaxed);
        Arc::new(Watcher { id, places: Mutex::default(), changed: Notify::new() })
    }

    /// Has the watcher told of the tenant, what is known already included. The first one has it kept by a task that
    /// `keep` begins.
    pub(super) fn join(
        &self,
        tenant: ContextIdentifier,
        watcher: &Arc<Watcher>,
        place: usize,
        keep: impl FnOnce(Arc<Watched>) -> AbortOnDropHandle<()>,
    ) -> Arc<Watched> {
        let mut tenants = lock(&self.tenants);
        let kept = tenants.entry(tenant).or_insert_with(|| {
            let tenant = Arc::<Watched>::default();
            Kept { watched: Arc::clone(&tenant), _keeper: keep(tenant) }
        });
        let mut told = lock(&kept.watched.told);
        told.watchers.insert(watcher.id, (Arc::clone(watcher), place));
        if let Some(latest) = &mut told.latest {
            if let Ok(answer) = latest {
                // It is in memory by now.
                answer.origin = TicketOrigin::Cache;
            }
            // That is what this watcher is told.
            let latest = latest.clone();
            told.news = Some(latest);
            watcher.tell(place);
        }
        drop(told);
        Arc::clone(&kept.watched)
    }

    /// Tells the watcher no more of the tenant. When nobody watches it any more, nothing is left of this.
    pub(super) fn leave(&self, tenant: ContextIdentifier, watcher: &Watcher) {
        let mut tenants = lock(&self.tenants);
        let Entry::Occupied(kept) = tenants.entry(tenant) else { return };
        let mut told = lock(&kept.get().watched.told);
        told.watchers.remove(&watcher.id);
        let is_over = told.watchers.is_empty();
        drop(told);
        if is_over {
            kept.remove();
        }
    }

    /// Something about the tenant has changed.
    pub(super) fn touch(&self, tenant: ContextIdentifier) {
        if let Some(kept) = lock(&self.tenants).get(&tenant) {
            kept.watched.changed.notify_one();
        }
    }

    /// The tenant's ticket was taken away.
    pub(super) fn drop_ticket(&self, tenant: ContextIdentifier) {
        if let Some(kept) = lock(&self.tenants).get(&tenant) {
            kept.watched.drop_ticket(Dropped::Alone);
        }
    }

    /// Those of all tenants were.
    pub(super) fn drop_tickets(&self) {
        for kept in lock(&self.tenants).values() {
            kept.watched.drop_ticket(Dropped::WithAll);
        }
    }

    /// How many tenants are watched.
    pub(super) fn len(&self) -> usize {
        lock(&self.tenants).len()
    }
}

impl Watched {
    /// What there is to tell, unless that was taken away.
    pub(super) fn latest(&self) -> Option<Outcome> {
        lock(&self.told).latest.clone()
    }

    /// How the ticket was taken away, if it was since this was last asked.
    pub(super) fn take_dropped(&self) -> Option<Dropped> {
        lock(&self.told).dropped.take()
    }

    /// Wakes all who watch the tenant, if `is_news` beside what they were told last; else whoever looks later finds it, unless
    /// it is a failure and there is a ticket. An outcome from before the ticket was taken away is none.
    pub(super) fn tell(&self, mut outcome: Outcome, is_news: impl FnOnce(&Outcome, &Outcome) -> bool) {
        let mut told = lock(&self.told);
        if told.dropped.is_some() {
            return;
        }
        if told.news.as_ref().is_some_and(|news| !is_news(news, &outcome)) {
            match (&told.latest, &mut outcome) {
                (Some(Ok(_)), Err(_)) => return,
                // Not all have looked yet, and to them it comes as it came.
                (Some(Ok(before)), Ok(new)) if Arc::ptr_eq(&before.ticket, &new.ticket) => new.origin = before.origin,
                _ => {}
            }
            told.latest = Some(outcome);
            return;
        }
        told.news = Some(outcome.clone());
        told.latest = Some(outcome);
        for (watcher, place) in told.watchers.values() {
            watcher.tell(*place);
        }
    }

    /// Ends when something about the tenant has changed since it last did.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    fn drop_ticket(&self, dropped: Dropped) {
        let mut told = lock(&self.told);
        told.news = None;
        told.latest = None;
        told.dropped = Some(dropped);
        drop(told);
        self.changed.notify_one();
    }
}

impl Watcher {
    /// Has the watcher look at a place.
    pub(super) fn tell(&self, place: usize) {
        let mut places = lock(&self.places);
        let was_told = *places != 0;
        *places |= bit(place);
        drop(places);
        if !was_told {
            self.changed.notify_one();
        }
    }

    /// The next place to look at. Nothing is lost when this is dropped.
    pub(super) async fn next(&self) -> usize {
        loop {
            if let Some(place) = self.take() {
                return place;
            }
            self.changed.notified().await;
        }
    }

    fn take(&self) -> Option<usize> {
        let mut places = lock(&self.places);
        let place = usize::try_from(places.trailing_zeros()).ok().filter(|place| *place < MOST_PLACES)?;
        *places &= !bit(place);
        Some(place)
    }
}

fn bit(place: usize) -> u128 {
    u32::try_from(place).ok().and_then(|place| 1_u128.checked_shl(place)).unwrap_or_default()
}

/// No code panics while it holds the lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Watches {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Watches").field("tenants", &self.len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Watched").field("watchers", &lock(&self.told).watchers.len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Watcher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Watcher").field("id", &self.id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use jiff::Timestamp;

    use super::*;
    use crate::credentials::SystemTicket;
    use crate::crypto::KeptAuditName;
    use crate::identifiers::Ticket;
    use crate::superoffice::{KnownTenant, TenantState, TenantStatus};

    fn answer(state: TenantState) -> TicketAnswer {
        let fingerprint = "00000000000000000000000000000001".parse().unwrap();
        let ticket = SystemTicket {
            context_identifier: tenant("Cust1"),
            ticket: Ticket::new("7T:1".to_owned()),
            fingerprint,
            issued_for: fingerprint,
            issue_time: Timestamp::UNIX_EPOCH,
            expire_time: Timestamp::MAX,
            refresh_time: Timestamp::MAX,
            webapi_url: None,
            netserver_url: None,
            audit_name: KeptAuditName::default(),
        };
        let status = TenantStatus { state, webapi_url: None, valid_until: Timestamp::MAX };
        let tenant = Arc::new(KnownTenant::told(status, Timestamp::UNIX_EPOCH));
        TicketAnswer { ticket: Arc::new(ticket), origin: TicketOrigin::Exchange, tenant, refresh_warning: None }
    }

    fn tenant(text: &str) -> ContextIdentifier {
        text.parse().unwrap()
    }

    fn idle(_: Arc<Watched>) -> AbortOnDropHandle<()> {
        AbortOnDropHandle::new(tokio::spawn(std::future::pending()))
    }

    fn refusal() -> Outcome {
        Err(TicketError::NotRegistered)
    }

    #[tokio::test]
    async fn only_those_who_watch_a_tenant_are_woken_and_once_for_all_that_came() {
        let registry = Watches::default();
        let (first, second) = (registry.watcher(), registry.watcher());
        let one = registry.join(tenant("Cust1"), &first, 0, idle);
        let two = registry.join(tenant("Cust2"), &first, 127, idle);
        registry.join(tenant("CUST2"), &second, 0, idle);
        assert_eq!(registry.len(), 2);
        for _ in 0..1_000 {
            one.tell(refusal(), |_, _| true);
        }
        assert_eq!((first.next().now_or_never(), first.next().now_or_never()), (Some(0), None));
        assert_eq!(second.next().now_or_never(), None);
        two.tell(refusal(), |_, _| true);
        assert_eq!((first.next().now_or_never(), second.next().now_or_never()), (Some(127), Some(0)));
        two.tell(refusal(), |_, _| false);
        assert_eq!(first.next().now_or_never(), None, "it is no news");
        let late = registry.watcher();
        registry.join(tenant("Cust2"), &late, 3, idle);
        assert_eq!(late.next().now_or_never(), Some(3), "it is told what the others were");
    }

    #[tokio::test]
    async fn whoever_comes_late_is_told_the_latest_and_that_it_was_there() {
        let registry = Watches::default();
        let (first, late) = (registry.watcher(), registry.watcher());
        let state = registry.join(tenant("Cust1"), &first, 0, idle);
        state.tell(Ok(answer(TenantState::Running)), |_, _| true);
        assert_eq!(first.next().now_or_never(), Some(0));
        let origin = || state.latest().unwrap().unwrap().origin;
        assert_eq!(origin(), TicketOrigin::Exchange);
        state.tell(Ok(answer(TenantState::Unknown)), |told, _| {
            assert!(told.as_ref().is_ok_and(|told| told.tenant.status.state == TenantState::Running), "what was told");
            false
        });
        state.tell(refusal(), |_, _| false);
        assert_eq!(first.next().now_or_never(), None);
        registry.join(tenant("Cust1"), &late, 0, idle);
        assert_eq!(late.next().now_or_never(), Some(0));
        assert_eq!(state.latest().unwrap().unwrap().tenant.status.state, TenantState::Unknown);
        assert_eq!(origin(), TicketOrigin::Cache);
        // Between refusals that are the same to who was told the later one counts.
        state.tell(refusal(), |_, _| true);
        state.tell(Err(TicketError::Overloaded), |_, _| false);
        assert_eq!(state.latest().unwrap().unwrap_err(), TicketError::Overloaded);
    }

    #[tokio::test]
    async fn nothing_is_left_when_the_last_has_left() {
        let registry = Watches::default();
        let (first, second) = (registry.watcher(), registry.watcher());
        let state = registry.join(tenant("Cust1"), &first, 0, idle);
        registry.join(tenant("Cust1"), &second, 0, idle);
        registry.leave(tenant("Cust1"), &first);
        state.tell(refusal(), |_, _| true);
        assert_eq!((first.next().now_or_never(), second.next().now_or_never()), (None, Some(0)));
        registry.leave(tenant("Cust1"), &second);
        registry.leave(tenant("Cust1"), &second);
        assert_eq!((registry.len(), Arc::strong_count(&state), Arc::strong_count(&first)), (0, 1, 1));
    }

    #[tokio::test]
    async fn what_was_taken_away_is_told_to_nobody() {
        let registry = Watches::default();
        let watcher = registry.watcher();
        let state = registry.join(tenant("Cust1"), &watcher, 0, idle);
        state.tell(refusal(), |_, _| true);
        watcher.next().await;
        registry.drop_ticket(tenant("Cust1"));
        state.changed().await;
        assert!(state.latest().is_none());
        state.tell(refusal(), |_, _| true);
        assert_eq!(watcher.next().now_or_never(), None, "it was asked for before");
        assert_eq!((state.take_dropped(), state.take_dropped()), (Some(Dropped::Alone), None));
        state.tell(refusal(), |_, _| true);
        assert_eq!(watcher.next().now_or_never(), Some(0));
    }
}
