//! Repeats what may succeed on another try, within a budget of time and one of tries.

use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Clock;
use crate::random::Random;

/// An error that knows whether another try makes sense.
pub trait Retryable {
    /// Whether another try may succeed without anybody doing anything.
    fn is_transient(&self) -> bool;
    /// How long the peer asked to wait.
    fn retry_after(&self) -> Option<Duration>;
    /// Whether the try ended because its time was up.
    fn is_time_out(&self) -> bool;
    /// What is reported when the budget ends in the middle of a try.
    fn timed_out() -> Self;
}

/// How long to wait before the next try: exponential with full jitter, so that those who failed together do not come
/// back together.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// The longest wait after the first failure. It doubles with each further one.
    pub base: Duration,
    /// The longest wait of all.
    pub cap: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { base: Duration::from_millis(500), cap: Duration::from_secs(30) }
    }
}

impl Backoff {
    /// A wait drawn for the time after so many `failures`.
    pub fn delay(&self, failures: u32, random: &dyn Random) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        random.between(Duration::ZERO, self.base.saturating_mul(1 << doublings).min(self.cap))
    }
}

/// The tries that all callers may make beyond their first ones. An outage empties it, and then nobody retries until
/// successes have filled it again: the figures are those of the AWS SDKs.
#[derive(Debug)]
pub struct RetryBucket(Mutex<u32>);

impl RetryBucket {
    const CAPACITY: u32 = 500;
    const RETRY_COST: u32 = 5;
    /// After a time-out a retry costs more: the peer may still be at work on the try before.
    const TIME_OUT_COST: u32 = 10;
    const SUCCESS_REFUND: u32 = 1;

    /// A full one.
    pub fn new() -> Self {
        Self(Mutex::new(Self::CAPACITY))
    }

    fn take(&self, after_time_out: bool) -> bool {
        let cost = if after_time_out { Self::TIME_OUT_COST } else { Self::RETRY_COST };
        let mut tokens = self.tokens();
        let left = tokens.checked_sub(cost);
        *tokens = left.unwrap_or(*tokens);
        left.is_some()
    }

    fn refund(&self) {
        let mut tokens = self.tokens();
        *tokens = tokens.saturating_add(Self::SUCCESS_REFUND).min(Self::CAPACITY);
    }

    fn tokens(&self) -> std::sync::MutexGuard<'_, u32> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for RetryBucket {
    fn default() -> Self {
        Self::new()
    }
}

/// Calls `attempt` until it succeeds, fails for good, or one of the budgets is used up: `budget` of time for everything
/// together, which ends an attempt that hangs too, `attempts` tries, and the shared `bucket`. A wait that would outlast
/// the budget is not begun.
pub async fn with_retries<T, E, F, Fut>(
    clock: &dyn Clock,
    random: &dyn Random,
    budget: Duration,
    attempts: u32,
    bucket: &RetryBucket,
    mut attempt: F,
) -> Result<T, E>
where
    E: Retryable,
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    let backoff = Backoff::default();
    let started = clock.now();
    let mut budget_end = clock.sleep(budget);
    let mut failures = 0;
    loop {
        let outcome = tokio::select! {
            biased;
            outcome = attempt() => outcome,
            () = &mut budget_end => return Err(E::timed_out()),
        };
        let error = match outcome {
            Ok(value) => {
                bucket.refund();
                return Ok(value);
            }
            Err(error) => error,
        };
        failures += 1;
        // The wall clock only spares a wait in vain here; what ends the budget is the monotonic one.
        let elapsed = Duration::try_from(clock.now().duration_since(started)).unwrap_or_default();
        let delay = backoff.delay(failures, random).max(error.retry_after().unwrap_or_default());
        let makes_sense = error.is_transient() && failures < attempts && delay < budget.saturating_sub(elapsed);
        if !makes_sense || !bucket.take(error.is_time_out()) {
            return Err(error);
        }
        tokio::select! {
            biased;
            () = clock.sleep(delay) => {}
            () = &mut budget_end => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures_util::FutureExt;
    use jiff::Timestamp;

    use super::super::UpstreamError;
    use super::*;
    use crate::clock::ManualClock;
    use crate::random::SeededRandom;

    const BUDGET: Duration = Duration::from_secs(10);

    /// Draws the longest wait each time.
    #[derive(Debug)]
    struct Longest;

    impl Random for Longest {
        fn fraction(&self) -> f64 {
            1.0
        }
    }

    /// Runs a failing attempt with time standing still but for the waits; returns the outcome, the tries, the time.
    fn run(error: &UpstreamError, attempts: u32, bucket: &RetryBucket) -> (UpstreamError, u32, Duration) {
        let clock = ManualClock::new(Timestamp::UNIX_EPOCH);
        let tries = AtomicU32::new(0);
        let attempt = || {
            tries.fetch_add(1, Ordering::Relaxed);
            std::future::ready(Err::<(), _>(error.clone()))
        };
        let mut retries = Box::pin(with_retries(&clock, &Longest, BUDGET, attempts, bucket, attempt));
        loop {
            if let Some(outcome) = (&mut retries).now_or_never() {
                let elapsed = clock.now().duration_since(Timestamp::UNIX_EPOCH);
                return (outcome.unwrap_err(), tries.load(Ordering::Relaxed), elapsed.try_into().unwrap());
            }
            clock.advance(Duration::from_millis(100));
        }
    }

    #[test]
    fn waits_grow_to_the_cap_and_are_spread_from_nothing() {
        let backoff = Backoff::default();
        let longest: Vec<_> = [1, 2, 3, 4, 5, 6, 7, 8, u32::MAX].map(|n| backoff.delay(n, &Longest).as_millis()).into();
        assert_eq!(longest, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
        let random = SeededRandom::new(1);
        let drawn: Vec<_> = (0..1_000).map(|_| backoff.delay(2, &random)).collect();
        assert!(drawn.iter().any(|delay| *delay < Duration::from_millis(100)));
        assert!(drawn.iter().any(|delay| *delay > Duration::from_millis(900)));
    }

    #[test]
    fn transient_errors_are_retried_within_the_number_of_tries() {
        let bucket = RetryBucket::new();
        let error = UpstreamError::Status(503);
        assert_eq!(run(&error, 3, &bucket), (error.clone(), 3, Duration::from_millis(1_500)));
        assert_eq!(run(&error, 1, &bucket), (error.clone(), 1, Duration::ZERO));
        assert_eq!(run(&error, 0, &bucket), (error, 1, Duration::ZERO));
    }

    #[test]
    fn lasting_errors_are_not_retried() {
        let bucket = RetryBucket::new();
        let error = UpstreamError::Malformed;
        assert_eq!(run(&error, 3, &bucket), (error, 1, Duration::ZERO));
    }

    #[test]
    fn retry_after_is_kept_to_unless_it_outlasts_the_budget() {
        let bucket = RetryBucket::new();
        let throttled = |seconds| UpstreamError::Throttled { retry_after: Some(Duration::from_secs(seconds)) };
        assert_eq!(run(&throttled(4), 3, &bucket), (throttled(4), 3, Duration::from_secs(8)));
        assert_eq!(run(&throttled(6), 3, &bucket), (throttled(6), 2, Duration::from_secs(6)));
        assert_eq!(run(&throttled(10), 3, &bucket), (throttled(10), 1, Duration::ZERO));
    }

    #[test]
    fn a_hung_try_ends_with_the_budget() {
        let clock = ManualClock::new(Timestamp::UNIX_EPOCH);
        let bucket = RetryBucket::new();
        let mut calls = 0;
        let attempt = || {
            calls += 1;
            let hangs = calls == 2;
            async move { if hangs { std::future::pending().await } else { Err::<(), _>(UpstreamError::Interrupted) } }
        };
        let mut retries = Box::pin(with_retries(&clock, &Longest, BUDGET, 3, &bucket, attempt));
        assert!((&mut retries).now_or_never().is_none());
        clock.advance(Duration::from_millis(500));
        assert!((&mut retries).now_or_never().is_none());
        clock.advance(Duration::from_millis(9_499));
        assert!((&mut retries).now_or_never().is_none());
        clock.advance(Duration::from_millis(1));
        assert_eq!((&mut retries).now_or_never(), Some(Err(UpstreamError::TimedOut)));
    }

    #[test]
    fn a_success_ends_it() {
        let clock = ManualClock::new(Timestamp::UNIX_EPOCH);
        let bucket = RetryBucket::new();
        let mut calls = 0;
        let attempt = || {
            calls += 1;
            std::future::ready(if calls < 3 { Err(UpstreamError::TimedOut) } else { Ok(calls) })
        };
        let mut retries = Box::pin(with_retries(&clock, &Longest, BUDGET, 3, &bucket, attempt));
        for _ in 0..20 {
            if let Some(outcome) = (&mut retries).now_or_never() {
                assert_eq!(outcome, Ok(3));
                assert_eq!(*bucket.tokens(), 500 - 10 - 10 + 1);
                return;
            }
            clock.advance(Duration::from_millis(100));
        }
        panic!("it never ended");
    }

    #[test]
    fn an_outage_uses_the_bucket_up_and_successes_fill_it() {
        let bucket = RetryBucket::new();
        let error = UpstreamError::Status(503);
        let mut tries = 0;
        for _ in 0..1_000 {
            tries += run(&error, 3, &bucket).1;
        }
        println!("tries for 1,000 calls in an outage, three allowed each: {tries}");
        assert_eq!(tries, 1_100);
        (0..4).for_each(|_| bucket.refund());
        assert_eq!(run(&error, 3, &bucket).1, 1);
        bucket.refund();
        assert_eq!(run(&error, 3, &bucket).1, 2);
        (0..1_000).for_each(|_| bucket.refund());
        assert_eq!(*bucket.tokens(), 500);
    }
}
