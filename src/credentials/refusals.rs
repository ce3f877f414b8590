use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use crate::random::Random;

/// How many refusals that cost SuperOffice nothing are remembered. Past it the least recently used go.
const CAPACITY: u64 = 10_000;
/// The machine's memory is freed of refusals after this long, whatever our clock says.
const BACKSTOP: Duration = Duration::from_mins(15);
/// Between loads that fail in a way that may pass: from the first to the last, with jitter.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What is remembered of failed loads, so that asking again costs SuperOffice nothing.
///
/// What SuperOffice was asked for is kept apart from what was found out without it: whoever asks for ten thousand tenants
/// that are not registered would else make us forget which of the registered ones SuperOffice refuses.
pub(super) struct Refusals<K, E> {
    costly: Memories<K, E>,
    free: Memories<K, E>,
    random: Arc<dyn Random>,
}

type Memories<K, E> = Cache<K, Arc<Refusal<E>>>;

/// How long a failure is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Memory {
    /// For so long: nothing changes by itself, or we were told when to come again.
    For(Duration),
    /// For a pause that grows with each failure in a row.
    Backoff,
    /// Nothing was tried, and whether it may be is known without a load.
    Nothing,
}

/// An error that can be remembered.
pub(super) trait Memorable: Clone {
    /// How long it is remembered.
    fn memory(&self) -> Memory;

    /// Whether it was found out without SuperOffice.
    fn is_free(&self) -> bool;

    /// The same error, telling when the next load is made.
    fn with_retry_after(self, retry_after: Duration) -> Self;
}

#[derive(Debug)]
struct Refusal<E> {
    error: E,
    /// By monotonic time.
    until: Duration,
    failures: u32,
}

impl<K, E> Refusals<K, E>
where
    K: Copy + Eq + Hash + Send + Sync + 'static,
    E: Memorable + Send + Sync + 'static,
{
    /// `capacity` is how many refusals are remembered that SuperOffice was asked for: as many as credentials are kept, or
    /// an outage would be asked about over and over.
    pub(super) fn new(capacity: u64, random: Arc<dyn Random>) -> Self {
        let memories = |capacity| {
            Cache::builder()
                .max_capacity(capacity)
                .eviction_policy(EvictionPolicy::lru())
                .time_to_live(BACKSTOP)
                .build()
        };
        Self { costly: memories(capacity.max(CAPACITY)), free: memories(CAPACITY), random }
    }

    /// The error to answer without a load, if one is in force.
    pub(super) fn in_force(&self, key: K, elapsed: Duration) -> Option<E> {
        [&self.costly, &self.free].into_iter().find_map(|memories| {
            let refusal = memories.get(&key)?;
            let left = refusal.until.saturating_sub(elapsed);
            (!left.is_zero()).then(|| refusal.error.clone().with_retry_after(left))
        })
    }

    /// Remembers a failed load. Answers the error, telling when the next load is made.
    pub(super) fn remember(&self, key: K, error: E, elapsed: Duration) -> E {
        let memories = if error.is_free() { &self.free } else { &self.costly };
        let failures = memories.get(&key).map_or(0, |refusal| refusal.failures).saturating_add(1);
        let pause = match error.memory() {
            Memory::For(pause) => pause,
            Memory::Backoff => self.backoff(failures),
            Memory::Nothing => return error,
        };
        let until = elapsed.saturating_add(pause);
        memories.insert(key, Arc::new(Refusal { error: error.clone(), until, failures }));
        error.with_retry_after(pause)
    }

    /// Forgets the key: a load succeeded, or what was refused has changed.
    pub(super) fn forget(&self, key: K) {
        self.costly.invalidate(&key);
        self.free.invalidate(&key);
    }

    /// About how many are remembered.
    pub(super) fn len(&self) -> u64 {
        self.costly.entry_count() + self.free.entry_count()
    }

    pub(super) fn clear(&self) {
        self.costly.invalidate_all();
        self.free.invalidate_all();
    }

    fn backoff(&self, failures: u32) -> Duration {
        let longest = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(failures)).min(LONGEST_PAUSE);
        self.random.between(FIRST_PAUSE, longest)
    }
}

impl<K, E> fmt::Debug for Refusals<K, E>
where
    K: Eq + Hash + Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let remembered = self.costly.entry_count() + self.free.entry_count();
        formatter.debug_struct("Refusals").field("remembered", &remembered).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SeededRandom;

    #[derive(Clone, Debug, PartialEq)]
    struct Failure(Memory, Duration);

    impl Memorable for Failure {
        fn memory(&self) -> Memory {
            self.0
        }

        fn is_free(&self) -> bool {
            self.1 == FREE
        }

        fn with_retry_after(self, retry_after: Duration) -> Self {
            Self(self.0, retry_after)
        }
    }

    /// Marks a failure that SuperOffice was not asked for.
    const FREE: Duration = Duration::from_secs(1_000);

    fn refusals() -> Refusals<u32, Failure> {
        Refusals::new(CAPACITY, Arc::new(SeededRandom::new(1)))
    }

    fn at(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn a_fixed_memory_ends_to_the_millisecond_and_tells_what_is_left() {
        let refusals = refusals();
        let failure = Failure(Memory::For(Duration::from_mins(1)), Duration::ZERO);
        assert_eq!(refusals.remember(1, failure, at(0)).1, Duration::from_mins(1));
        assert_eq!(refusals.in_force(1, at(59_999)).unwrap().1, Duration::from_millis(1));
        assert_eq!(refusals.in_force(1, at(60_000)), None);
        assert_eq!(refusals.in_force(2, at(0)), None);
    }

    #[test]
    fn pauses_grow_within_their_bounds_until_forgotten() {
        let refusals = refusals();
        let failure = Failure(Memory::Backoff, Duration::ZERO);
        let mut longest = Duration::ZERO;
        for failures in 1..=20_u32 {
            let pause = refusals.remember(1, failure.clone(), at(0)).1;
            let bound = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(failures)).min(LONGEST_PAUSE);
            assert!((FIRST_PAUSE..=bound).contains(&pause), "{failures}: {pause:?}");
            longest = longest.max(pause);
        }
        assert!(longest > Duration::from_secs(10), "{longest:?}");
        refusals.forget(1);
        assert!(refusals.remember(1, failure, at(0)).1 <= FIRST_PAUSE * 2);
    }

    #[test]
    fn what_was_not_tried_is_neither_remembered_nor_counted() {
        let refusals = refusals();
        let untried = Failure(Memory::Nothing, Duration::from_secs(7));
        for _ in 0..20 {
            assert_eq!(refusals.remember(1, untried.clone(), at(0)), untried);
        }
        assert_eq!(refusals.in_force(1, at(0)), None);
        assert!(refusals.remember(1, Failure(Memory::Backoff, Duration::ZERO), at(0)).1 <= FIRST_PAUSE * 2);
    }

    #[test]
    fn memory_is_bounded_and_what_is_free_displaces_nothing_that_is_costly() {
        let refusals = refusals();
        let memory = Memory::For(Duration::from_secs(30));
        let costly = u32::MAX;
        refusals.remember(costly, Failure(memory, Duration::ZERO), at(0));
        for key in 0..50_000 {
            refusals.remember(key, Failure(memory, FREE), at(0));
        }
        refusals.free.run_pending_tasks();
        assert!(refusals.free.entry_count() <= CAPACITY, "{}", refusals.free.entry_count());
        assert!(refusals.in_force(costly, at(0)).is_some());
        for key in 0..50_000 {
            refusals.remember(key, Failure(memory, Duration::ZERO), at(0));
        }
        refusals.costly.run_pending_tasks();
        assert!(refusals.costly.entry_count() <= CAPACITY, "{}", refusals.costly.entry_count());
    }
}
