use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;

use crate::clock::Clock;
use crate::identifiers::ContextIdentifier;

/// Wall time can be set and machines sleep, so due times are compared with the wall at least this often.
const LONGEST_NAP: Duration = Duration::from_secs(30);

/// When each tenant's ticket is renewed.
#[derive(Default)]
pub(super) struct Schedule {
    plan: Mutex<Plan>,
    changed: Notify,
}

#[derive(Default)]
struct Plan {
    by_tenant: HashMap<ContextIdentifier, Timestamp>,
    by_time: BTreeSet<(Timestamp, ContextIdentifier)>,
}

impl Schedule {
    /// Plans the tenant's renewal at `due`, in place of any planned before.
    pub(super) fn plan(&self, tenant: ContextIdentifier, due: Timestamp) {
        let is_next = self.lock().put(tenant, due);
        if is_next {
            self.changed.notify_one();
        }
    }

    /// Plans the tenant's renewal at `due` unless one is planned.
    pub(super) fn plan_if_absent(&self, tenant: ContextIdentifier, due: Timestamp) {
        let is_next = {
            let mut plan = self.lock();
            !plan.by_tenant.contains_key(&tenant) && plan.put(tenant, due)
        };
        if is_next {
            self.changed.notify_one();
        }
    }

    pub(super) fn cancel(&self, tenant: ContextIdentifier) {
        self.lock().drop_tenant(tenant);
    }

    /// Takes the tenant's renewal off the plan unless another than the one at `due` is planned.
    pub(super) fn cancel_at(&self, tenant: ContextIdentifier, due: Timestamp) {
        let mut plan = self.lock();
        if plan.by_tenant.get(&tenant) == Some(&due) {
            plan.drop_tenant(tenant);
        }
    }

    pub(super) fn clear(&self) {
        *self.lock() = Plan::default();
    }

    /// When the tenant's renewal is planned, if it is.
    pub(super) fn due(&self, tenant: ContextIdentifier) -> Option<Timestamp> {
        self.lock().by_tenant.get(&tenant).copied()
    }

    /// Waits for the next renewal that is due and takes it off the plan.
    pub(super) async fn next_due(&self, clock: &dyn Clock) -> ContextIdentifier {
        loop {
            let changed = self.changed.notified();
            let nap = match self.take_due(clock.now()) {
                Ok(tenant) => return tenant,
                Err(None) => LONGEST_NAP,
                Err(Some(left)) => left.min(LONGEST_NAP),
            };
            tokio::select! {
                () = changed => {}
                () = clock.sleep(nap) => {}
            }
        }
    }

    /// The first due tenant, or else how long it is until one is.
    fn take_due(&self, now: Timestamp) -> Result<ContextIdentifier, Option<Duration>> {
        let mut plan = self.lock();
        let (due, tenant) = *plan.by_time.first().ok_or(None)?;
        let left = due.duration_since(now);
        if left.is_positive() {
            return Err(Some(left.unsigned_abs()));
        }
        plan.drop_tenant(tenant);
        Ok(tenant)
    }

    /// No code panics while it holds the lock.
    fn lock(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Plan {
    /// Answers whether it comes first now.
    fn put(&mut self, tenant: ContextIdentifier, due: Timestamp) -> bool {
        self.drop_tenant(tenant);
        self.by_tenant.insert(tenant, due);
        self.by_time.insert((due, tenant));
        self.by_time.first() == Some(&(due, tenant))
    }

    fn drop_tenant(&mut self, tenant: ContextIdentifier) {
        if let Some(due) = self.by_tenant.remove(&tenant) {
            self.by_time.remove(&(due, tenant));
        }
    }
}

impl fmt::Debug for Schedule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Schedule").field("planned", &self.lock().by_time.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::ManualClock;

    fn tenant(text: &str) -> ContextIdentifier {
        text.parse().unwrap()
    }

    fn second(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[tokio::test]
    async fn tenants_come_when_due_in_order_and_once() {
        let clock = ManualClock::new(second(0));
        let schedule = Schedule::default();
        schedule.plan(tenant("Cust2"), second(20));
        schedule.plan(tenant("Cust1"), second(10));
        schedule.plan(tenant("Cust3"), second(5));
        schedule.plan(tenant("Cust3"), second(30));
        schedule.plan_if_absent(tenant("Cust3"), second(1));
        schedule.plan(tenant("Cust4"), second(12));
        schedule.cancel(tenant("Cust4"));
        assert_eq!(schedule.take_due(clock.now()), Err(Some(Duration::from_secs(10))));
        clock.advance(Duration::from_secs(30));
        for expected in ["Cust1", "Cust2", "Cust3"] {
            assert_eq!(schedule.next_due(&clock).await, tenant(expected));
        }
        assert_eq!(schedule.take_due(clock.now()), Err(None));
    }

    #[tokio::test]
    async fn an_earlier_plan_wakes_the_waiter() {
        let clock = ManualClock::new(second(0));
        let schedule = Arc::new(Schedule::default());
        schedule.plan(tenant("Cust1"), second(1_000));
        let waiter = tokio::spawn({
            let (schedule, clock) = (Arc::clone(&schedule), clock.clone());
            async move { schedule.next_due(&clock).await }
        });
        schedule.plan(tenant("Cust2"), second(0));
        assert_eq!(waiter.await.unwrap(), tenant("Cust2"));
    }
}
