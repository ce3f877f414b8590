use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indexmap::IndexMap;

use super::instant::Instant;
use crate::identifiers::ContextIdentifier;
use crate::random::Random;

/// A ticket stays for so long before another may displace it: however many tenants are in use beyond the capacity, no
/// tenant is exchanged more often than this, give or take the exchanges under way when the cache fills.
const LEAST_STAY: Duration = Duration::from_secs(30);
/// How often a ticket to displace is drawn until one has stayed long enough.
const DRAWS: usize = 8;

/// Whose tickets are in memory, and since when.
pub(super) struct Residents {
    list: Mutex<List>,
    capacity: usize,
    random: Arc<dyn Random>,
}

type List = IndexMap<ContextIdentifier, Instant>;

impl Residents {
    pub(super) fn new(capacity: usize, random: Arc<dyn Random>) -> Self {
        Self { list: Mutex::default(), capacity, random }
    }

    /// Notes that the tenant's ticket came at `elapsed` by monotonic time.
    pub(super) fn admit(&self, tenant: ContextIdentifier, elapsed: Duration) {
        self.lock().insert(tenant, elapsed.into());
    }

    /// Strikes the tenant off.
    pub(super) fn strike(&self, tenant: ContextIdentifier) {
        self.lock().swap_remove(&tenant);
    }

    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whose ticket is displaced by one of the tenant, if any has to be, and how long that one should still stay.
    pub(super) fn victim_for(
        &self,
        tenant: ContextIdentifier,
        elapsed: Duration,
    ) -> Option<(ContextIdentifier, Duration)> {
        let list = self.lock();
        if list.len() < self.capacity || list.contains_key(&tenant) {
            return None;
        }
        let mut best: Option<(ContextIdentifier, Duration)> = None;
        for _ in 0..DRAWS {
            let (victim, since) = self.draw(&list)?;
            let left = LEAST_STAY.saturating_sub(elapsed.saturating_sub(since));
            if best.is_none_or(|(_, least)| left < least) {
                best = Some((victim, left));
            }
            if left.is_zero() {
                break;
            }
        }
        best
    }

    fn draw(&self, list: &List) -> Option<(ContextIdentifier, Duration)> {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an index below the length, drawn by a fraction below one: a rounded draw is as good"
        )]
        let index = (list.len() as f64 * self.random.fraction()) as usize;
        list.get_index(index).or_else(|| list.first()).map(|(tenant, since)| (*tenant, since.elapsed()))
    }

    /// No code panics while it holds the lock.
    fn lock(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
