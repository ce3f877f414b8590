use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indexmap::IndexMap;
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

/// Each tenant's name stands in it once, and a time takes one word, as there is one of these for each ticket.
#[derive(Default)]
struct Plan {
    tenants: IndexMap<ContextIdentifier, Due>,
    /// When, and at which place among the tenants.
    by_time: BTreeSet<(Due, usize)>,
}

/// In nanoseconds since 1970: until 2262, which is never.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Due(i64);

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
            !plan.tenants.contains_key(&tenant) && plan.put(tenant, due)
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
        if plan.tenants.get(&tenant) == Some(&Due::from(due)) {
            plan.drop_tenant(tenant);
        }
    }

    pub(super) fn clear(&self) {
        *self.lock() = Plan::default();
    }

    /// When the tenant's renewal is planned, if it is.
    pub(super) fn due(&self, tenant: ContextIdentifier) -> Option<Timestamp> {
        self.lock().tenants.get(&tenant).map(|due| due.time())
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
        let (due, place) = *plan.by_time.first().ok_or(None)?;
        let left = due.time().duration_since(now);
        if left.is_positive() {
            return Err(Some(left.unsigned_abs()));
        }
        let tenant = *plan.tenants.get_index(place).ok_or(None)?.0;
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
        let due = Due::from(due);
        let (place, _) = self.tenants.insert_full(tenant, due);
        self.by_time.insert((due, place));
        self.by_time.first() == Some(&(due, place))
    }

    fn drop_tenant(&mut self, tenant: ContextIdentifier) {
        let Some((place, _, due)) = self.tenants.swap_remove_full(&tenant) else { return };
        self.by_time.remove(&(due, place));
        // The last one has its place now.
        if let Some((_, due)) = self.tenants.get_index(place) {
            self.by_time.remove(&(*due, self.tenants.len()));
            self.by_time.insert((*due, place));
        }
    }
}

impl From<Timestamp> for Due {
    fn from(time: Timestamp) -> Self {
        Self(i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX))
    }
}

impl Due {
    fn time(self) -> Timestamp {
        Timestamp::from_nanosecond(self.0.into()).unwrap_or(Timestamp::MAX)
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

    #[test]
    fn a_plan_of_many_stays_in_order_whoever_leaves_it() {
        let schedule = Schedule::default();
        let mut random = fastrand::Rng::with_seed(1);
        let mut expected = std::collections::BTreeMap::new();
        for _ in 0..2_000 {
            let number = random.u32(..200);
            if random.bool() {
                let due = random.i64(0..1_000_000);
                schedule.plan(tenant(&format!("Cust{number}")), Timestamp::from_microsecond(due).unwrap());
                expected.insert(number, due);
            } else {
                schedule.cancel(tenant(&format!("Cust{number}")));
                expected.remove(&number);
            }
        }
        for (number, due) in &expected {
            assert_eq!(schedule.due(tenant(&format!("Cust{number}"))), Timestamp::from_microsecond(*due).ok());
        }
        assert_eq!(schedule.take_due(second(-1)).map_err(|left| left.is_some()), Err(true));
        let mut last = Timestamp::MIN;
        for _ in 0..expected.len() {
            let due = schedule.lock().by_time.first().unwrap().0.time();
            assert!(due >= last && schedule.take_due(second(2)).is_ok());
            last = due;
        }
        assert_eq!(schedule.take_due(second(2)), Err(None));
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
