//! Time as an argument: what SuperOffice judges is wall time, what we wait for is monotonic.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;
use tokio::sync::oneshot;

/// A wait that a [`Clock`] hands out.
pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The only source of time. Everything that reads or waits for time takes one.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Wall time, for what a peer judges: signatures, token times, a ticket's life.
    fn now(&self) -> Timestamp;

    /// Monotonic time since some moment in the past, for how long something of ours has lasted. It stands still while the
    /// machine sleeps, and no operator or time daemon sets it back.
    fn elapsed(&self) -> Duration;

    /// Both times at once.
    fn moment(&self) -> Moment {
        Moment { wall: self.now(), elapsed: self.elapsed() }
    }

    /// Ends after `duration` of monotonic time, whatever wall time does meanwhile.
    fn sleep(&self, duration: Duration) -> Sleep;
}

/// A point in time by both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// By the wall: [`Clock::now`].
    pub wall: Timestamp,
    /// By monotonic time: [`Clock::elapsed`].
    pub elapsed: Duration,
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "this is the one home of the machine's clock")]
        let now = SystemTime::now();
        // The machine's clock is outside jiff's range only when it is set beyond the year 9999 or before -9999.
        Timestamp::try_from(now).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    fn elapsed(&self) -> Duration {
        static START: LazyLock<Instant> = LazyLock::new(instant);
        instant().saturating_duration_since(*START)
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        #[expect(clippy::disallowed_methods, reason = "this is the one home of the machine's clock")]
        let sleep = tokio::time::sleep(duration);
        Box::pin(sleep)
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the one home of the machine's clock")]
fn instant() -> Instant {
    Instant::now()
}

/// A clock that moves only when told to. Clones share the same time.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<Mutex<ManualState>>);

#[derive(Debug)]
struct ManualState {
    now: Timestamp,
    elapsed: Duration,
    sleepers: BTreeMap<(Duration, u64), oneshot::Sender<()>>,
    next_sleeper: u64,
}

impl ManualClock {
    /// A clock that stands at `now`.
    pub fn new(now: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(ManualState {
            now,
            elapsed: Duration::ZERO,
            sleepers: BTreeMap::new(),
            next_sleeper: 0,
        })))
    }

    /// Moves wall and monotonic time forward together and ends the waits that are due.
    pub fn advance(&self, duration: Duration) {
        let mut state = self.state();
        state.now = state.now.saturating_add(duration).unwrap_or(Timestamp::MAX);
        state.elapsed += duration;
        let first_later = (state.elapsed + Duration::from_nanos(1), 0);
        let later = state.sleepers.split_off(&first_later);
        for sender in std::mem::replace(&mut state.sleepers, later).into_values() {
            // A sleeper that was dropped meanwhile has no one left to wake.
            let _ = sender.send(());
        }
    }

    /// Sets wall time alone, as an operator or a time daemon does. No wait ends by it.
    pub fn set_wall_time(&self, now: Timestamp) {
        self.state().now = now;
    }

    /// How many waits are open, so that a test can await a sleeper before it moves time.
    pub fn sleepers(&self) -> usize {
        self.state().sleepers.values().filter(|sender| !sender.is_closed()).count()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, ManualState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.state().now
    }

    fn elapsed(&self) -> Duration {
        self.state().elapsed
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        if duration.is_zero() {
            return Box::pin(std::future::ready(()));
        }
        let (sender, receiver) = oneshot::channel();
        let mut state = self.state();
        let key = (state.elapsed + duration, state.next_sleeper);
        state.next_sleeper += 1;
        state.sleepers.insert(key, sender);
        Box::pin(async move {
            // The sender is dropped unsent only together with the clock; then time stands still for ever.
            if receiver.await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_wait_ends_when_its_time_has_come_and_not_before() {
        let clock = ManualClock::new(Timestamp::UNIX_EPOCH);
        let mut wait = clock.sleep(Duration::from_secs(10));
        clock.advance(Duration::from_millis(9_999));
        assert!((&mut wait).now_or_never().is_none());
        clock.advance(Duration::from_millis(1));
        assert!(wait.now_or_never().is_some());
        assert_eq!(clock.now().as_second(), 10);
    }

    #[tokio::test]
    async fn a_step_of_wall_time_ends_no_wait() {
        let clock = ManualClock::new(Timestamp::UNIX_EPOCH);
        let mut wait = clock.sleep(Duration::from_secs(10));
        clock.set_wall_time("2026-01-01T00:00:00Z".parse().unwrap());
        assert!((&mut wait).now_or_never().is_none());
        assert_eq!(clock.sleepers(), 1);
    }
}
