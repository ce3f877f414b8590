use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use super::Limits;
use crate::clock::Clock;
use crate::identifiers::CallerId;

/// Of so many callers it is remembered how much they asked for, of the others nothing: those who asked last count.
const MAX_CALLERS: u64 = 10_000;
const SECOND: u64 = 1_000_000_000;

/// Holds each caller to its limits, by the generic cell rate algorithm: of a caller one number is kept, the moment at which
/// its next call is due if it kept to its rate. It may come as much earlier as its burst takes.
#[derive(Clone, Debug)]
pub struct Pace {
    due: Cache<CallerId, Arc<AtomicU64>>,
    clock: Arc<dyn Clock>,
}

impl Pace {
    /// Nobody has asked for anything yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let due = Cache::builder().max_capacity(MAX_CALLERS).eviction_policy(EvictionPolicy::lru()).build();
        Self { due, clock }
    }

    /// Counts so many calls of the caller, all or none of them. The error is how long it has to wait.
    pub fn admit(&self, caller: &CallerId, limits: Limits, calls: u32) -> Result<(), Duration> {
        let due = self.due.get_with_by_ref(caller, Arc::default);
        let now = self.now();
        let cost = interval(limits).saturating_mul(calls.into());
        let next = |due: u64| due.max(now).saturating_add(cost);
        let latest = now.saturating_add(early(limits, calls));
        match due
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |due| Some(next(due)).filter(|next| *next <= latest))
        {
            Ok(_) => Ok(()),
            Err(due) => Err(Duration::from_nanos(next(due).saturating_sub(latest))),
        }
    }

    /// Lets a call begin that counts as several, how many of which is not known yet. It is refused if not even one may come.
    pub fn begin(&self, caller: &CallerId, limits: Limits) -> Result<Uncounted, Duration> {
        let (due, now) = (self.due.get_with_by_ref(caller, Arc::default), self.now());
        let next = due.load(Ordering::Relaxed).max(now).saturating_add(interval(limits));
        let wait = next.saturating_sub(now.saturating_add(early(limits, 1)));
        if wait > 0 {
            return Err(Duration::from_nanos(wait));
        }
        Ok(Uncounted { pace: self.clone(), caller: caller.clone(), limits, is_counted: AtomicBool::new(false) })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.clock.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// A call that counts as several, and is not counted yet. Dropped as such it counts as one.
#[derive(Debug)]
pub struct Uncounted {
    pace: Pace,
    caller: CallerId,
    limits: Limits,
    is_counted: AtomicBool,
}

impl Uncounted {
    /// Counts it as so many, all or none of them: what others of the same caller have begun is no part of that. The error
    /// is how long it has to wait.
    pub fn admit(&self, calls: u32) -> Result<(), Duration> {
        self.is_counted.store(true, Ordering::Relaxed);
        self.pace.admit(&self.caller, self.limits, calls)
    }
}

impl Drop for Uncounted {
    fn drop(&mut self) {
        if !*self.is_counted.get_mut() {
            // It is over: there is nothing to refuse any more.
            let _ = self.pace.admit(&self.caller, self.limits, 1);
        }
    }
}

/// How much earlier than due so many at once may be, in nanoseconds. More than the burst are let through when the whole burst
/// is there: they could else never be.
fn early(limits: Limits, at_once: u32) -> u64 {
    interval(limits).saturating_mul(limits.burst.get().max(at_once).into())
}

/// Between two calls of a caller that keeps to its rate, in nanoseconds.
fn interval(limits: Limits) -> u64 {
    SECOND / u64::from(limits.rps.get())
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::clock::ManualClock;

    fn pace() -> (Pace, ManualClock) {
        let clock = ManualClock::new(Timestamp::UNIX_EPOCH);
        (Pace::new(Arc::new(clock.clone())), clock)
    }

    fn limits(rps: u32, burst: u32) -> Limits {
        Limits { rps: rps.try_into().unwrap(), burst: burst.try_into().unwrap() }
    }

    #[test]
    fn a_burst_passes_and_then_one_at_a_time() {
        let ((pace, clock), caller) = (pace(), CallerId::UnixUser(1));
        let admit = |calls| pace.admit(&caller, limits(10, 3), calls);
        for _ in 0..3 {
            assert_eq!(admit(1), Ok(()));
        }
        assert_eq!(admit(1), Err(Duration::from_millis(100)));
        clock.advance(Duration::from_millis(99));
        assert_eq!(admit(1), Err(Duration::from_millis(1)));
        clock.advance(Duration::from_millis(1));
        assert_eq!(admit(1), Ok(()));
        assert_eq!(admit(1), Err(Duration::from_millis(100)));
        assert_eq!(pace.admit(&CallerId::UnixUser(2), limits(10, 3), 1), Ok(()), "another caller has its own");
        // Several are counted together, or not at all.
        clock.advance(Duration::from_millis(200));
        assert_eq!(admit(3), Err(Duration::from_millis(100)));
        assert_eq!(admit(2), Ok(()));
        // More than a burst pass when nothing was asked for.
        clock.advance(Duration::from_secs(1));
        assert_eq!(admit(5), Ok(()));
        assert_eq!(admit(1), Err(Duration::from_millis(300)));
    }

    #[test]
    fn of_two_calls_that_are_larger_than_the_burst_and_come_together_one_passes() {
        let ((pace, clock), caller) = (pace(), CallerId::UnixUser(1));
        let begin = || pace.begin(&caller, limits(10, 20));
        let (first, second) = (begin().unwrap(), begin().unwrap());
        assert_eq!((first.admit(100), second.admit(100)), (Ok(()), Err(Duration::from_secs(10))));
        drop((first, second));
        assert_eq!(begin().unwrap_err(), Duration::from_millis(8_100), "neither counts once more when it ends");
        clock.advance(Duration::from_secs(10));
        // What is never counted as several, because it cannot be read, counts as one.
        for _ in 0..20 {
            drop(begin().unwrap());
        }
        assert_eq!(begin().unwrap_err(), Duration::from_millis(100));
    }

    #[test]
    fn many_callers_take_no_more_memory_than_ten_thousand() {
        let (pace, _clock) = pace();
        for user in 0..30_000 {
            pace.admit(&CallerId::UnixUser(user), limits(1, 1), 1).unwrap();
        }
        pace.due.run_pending_tasks();
        assert!(pace.due.entry_count() <= MAX_CALLERS, "{}", pace.due.entry_count());
    }

    proptest! {
        #[test]
        fn no_one_gets_more_than_its_burst_and_its_rate(
            rps in 1_u32..2_000,
            burst in 1_u32..50,
            steps in proptest::collection::vec(0_u64..200, 1..200),
        ) {
            let ((pace, clock), caller) = (pace(), CallerId::Unidentified);
            let (mut admitted, mut passed) = (0_u64, 0);
            for step in steps {
                clock.advance(Duration::from_millis(step));
                passed += step;
                admitted += u64::from(pace.admit(&caller, limits(rps, burst), 1).is_ok());
                prop_assert!(admitted * 1_000 <= u64::from(burst) * 1_000 + passed * u64::from(rps) + 1_000);
            }
        }

        #[test]
        fn whoever_comes_with_several_as_one_and_waits_as_told_passes(
            rps in 1_u32..1_000_000,
            burst in 1_u32..50,
            calls in 1_u32..101,
        ) {
            let ((pace, clock), caller) = (pace(), CallerId::Unidentified);
            let come = || pace.begin(&caller, limits(rps, burst))?.admit(calls);
            prop_assert_eq!(come(), Ok(()), "nothing was asked for before");
            for _ in 0..100 {
                let mut waits = 0;
                while let Err(wait) = come() {
                    clock.advance(wait);
                    waits += 1;
                    prop_assert!(waits <= 2, "for one of them, and for all");
                }
            }
        }

        #[test]
        fn whoever_waits_as_told_passes(rps in 1_u32..1_000_000, burst in 1_u32..50, calls in 1_u32..60) {
            let ((pace, clock), caller) = (pace(), CallerId::Unidentified);
            for _ in 0..100 {
                if let Err(wait) = pace.admit(&caller, limits(rps, burst), calls) {
                    prop_assert!(!wait.is_zero());
                    clock.advance(wait);
                    prop_assert_eq!(pace.admit(&caller, limits(rps, burst), calls), Ok(()));
                }
            }
        }
    }
}
