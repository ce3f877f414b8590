use std::borrow::Borrow;
use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use jiff::Timestamp;

use super::KnownTenant;
use crate::clock::Clock;
use crate::identifiers::ContextIdentifier;

/// In so many parts the memory is, each with a lock of its own: whoever goes through all of it holds nobody up for long.
const PARTS: usize = 64;

/// The tenants of which something is known. There is one [`Standing`] of a tenant at most: one that somebody has stays.
/// When there is no more room, every other one of those that nobody has goes.
pub(super) struct Memory {
    parts: Box<[Mutex<Part>]>,
    hasher: RandomState,
    /// How many tenants a part has room for, unless more of them are held.
    room: usize,
}

#[derive(Default)]
struct Part {
    standings: HashSet<Named>,
    /// How many somebody had when there was no more room last.
    held: usize,
}

/// Where what is known of one tenant stands, now and later. Whoever has it reads it without a lock and without looking for
/// the tenant.
#[derive(Debug)]
pub struct Standing {
    context_identifier: ContextIdentifier,
    known: ArcSwap<KnownTenant>,
}

/// Found by its tenant's name.
struct Named(Arc<Standing>);

impl Standing {
    /// Of a tenant of which nothing is known yet.
    pub fn new(context_identifier: ContextIdentifier, now: Timestamp) -> Self {
        Self { context_identifier, known: ArcSwap::from_pointee(KnownTenant::nothing(now)) }
    }

    /// What is known.
    pub fn known(&self) -> Arc<KnownTenant> {
        self.known.load_full()
    }
}

impl Memory {
    pub(super) fn new(room: u64) -> Self {
        let parts = (0..PARTS).map(|_| Mutex::default()).collect();
        let each = usize::try_from(room).unwrap_or(usize::MAX).div_ceil(PARTS);
        // The tenants are not spread evenly.
        let room = each.saturating_add(each / 8);
        Self { parts, hasher: RandomState::new(), room }
    }

    pub(super) fn known(&self, tenant: ContextIdentifier) -> Option<Arc<KnownTenant>> {
        self.part(tenant).standings.get(&tenant).map(|named| named.0.known())
    }

    pub(super) fn standing(&self, tenant: ContextIdentifier, now: Timestamp) -> Arc<Standing> {
        self.part(tenant).standing(tenant, now, self.room)
    }

    /// Puts what `change` makes of what is known in its place, at once for everybody. It is told the time, which is no
    /// earlier than that of any change before.
    pub(super) fn change(
        &self,
        tenant: ContextIdentifier,
        clock: &dyn Clock,
        change: impl FnOnce(&KnownTenant, Timestamp) -> Option<KnownTenant>,
    ) {
        let mut part = self.part(tenant);
        let now = clock.now();
        let standing = part.standing(tenant, now, self.room);
        // Nothing else changes it while its part is locked.
        if let Some(next) = change(&standing.known(), now) {
            standing.known.store(Arc::new(next));
        }
    }

    pub(super) fn for_each(&self, mut told: impl FnMut(&KnownTenant)) {
        for part in &self.parts {
            lock(part).standings.iter().for_each(|named| told(&named.0.known.load()));
        }
    }

    fn part(&self, tenant: ContextIdentifier) -> MutexGuard<'_, Part> {
        #[expect(clippy::cast_possible_truncation, reason = "any of its bits will do")]
        let number = self.hasher.hash_one(tenant) as usize % self.parts.len();
        lock(&self.parts[number])
    }
}

impl Part {
    fn standing(&mut self, tenant: ContextIdentifier, now: Timestamp, room: usize) -> Arc<Standing> {
        if let Some(Named(standing)) = self.standings.get(&tenant) {
            let known = standing.known();
            if known.is_forgotten(now) {
                standing.known.store(Arc::new(known.forgotten(now)));
            }
            return Arc::clone(standing);
        }
        // At least a sixth of them has come since it was looked through: that costs little beside their coming.
        if self.standings.len() >= room.max(self.held + self.held / 2) {
            let (mut held, mut stays) = (0, false);
            self.standings.retain(|named| {
                let is_held = Arc::strong_count(&named.0) > 1;
                held += usize::from(is_held);
                stays ^= !is_held;
                is_held || stays
            });
            self.held = held;
        }
        let standing = Arc::new(Standing::new(tenant, now));
        self.standings.insert(Named(Arc::clone(&standing)));
        standing
    }
}

impl Borrow<ContextIdentifier> for Named {
    fn borrow(&self) -> &ContextIdentifier {
        &self.0.context_identifier
    }
}

impl Hash for Named {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.context_identifier.hash(state);
    }
}

impl PartialEq for Named {
    fn eq(&self, other: &Self) -> bool {
        self.0.context_identifier == other.0.context_identifier
    }
}

impl Eq for Named {}

impl fmt::Debug for Memory {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Memory").field("room", &self.room).finish_non_exhaustive()
    }
}

/// No code panics while it holds the lock.
fn lock(part: &Mutex<Part>) -> MutexGuard<'_, Part> {
    part.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::ManualClock;
    use crate::superoffice::tenant_states::Freshness;

    fn tenant(number: usize) -> ContextIdentifier {
        format!("Cust{number}").parse().unwrap()
    }

    #[test]
    fn a_tenant_has_one_standing_for_as_long_as_somebody_has_it_and_the_others_are_bounded() {
        let (memory, now) = (Memory::new(1_000), Timestamp::UNIX_EPOCH);
        let count = || {
            let mut count = 0;
            memory.for_each(|_| count += 1);
            count
        };
        let held: Vec<_> = (0..2_000).map(|number| memory.standing(tenant(number), now)).collect();
        for number in 2_000..20_000 {
            memory.standing(tenant(number), now);
        }
        let kept = count();
        println!("{kept} are known while 2,000 are held and there is room for 1,000");
        assert!((2_000..=3_000 + PARTS).contains(&kept), "{kept}");
        for (number, standing) in held.iter().enumerate() {
            assert!(Arc::ptr_eq(standing, &memory.standing(tenant(number), now)), "{number}");
        }
        drop(held);
        for number in 20_000..40_000 {
            memory.standing(tenant(number), now);
        }
        println!("{} are known when none is held", count());
        assert!((500..=1_200).contains(&count()), "{}", count());
    }

    #[test]
    fn whoever_has_a_standing_sees_what_changes() {
        let (memory, clock) = (Memory::new(1), ManualClock::new(Timestamp::UNIX_EPOCH));
        let standing = memory.standing(tenant(1), clock.now());
        assert!(memory.known(tenant(2)).is_none());
        memory
            .change(tenant(1), &clock, |known, now| Some(known.overridden_by(known.status.state, now, Timestamp::MAX)));
        assert_eq!((standing.known().overridden, standing.known().status.valid_until), (1, Timestamp::MAX));
        memory.change(tenant(1), &clock, |_, _| None);
        assert_eq!(memory.known(tenant(1)).map(|known| known.overridden), Some(1));
        clock.advance(Duration::from_hours(25));
        assert_eq!(standing.known().freshness(clock.now()), Freshness::Lapsed, "whatever it said");
        assert_eq!(memory.standing(tenant(1), clock.now()).known().status.valid_until, clock.now(), "forgotten");
    }
}
