use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::UpstreamError;
use super::cooldown::Cooldown;
use crate::clock::Clock;

/// SuperOffice's request to wait counts for the whole application: while it lasts, no request is sent at all.
#[derive(Debug)]
pub(super) struct Throttle {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    shut: Option<Cooldown>,
    /// How many answers in a row asked to wait without saying how long.
    unspecified: u32,
}

impl State {
    fn left(&mut self, now: Timestamp) -> Option<Duration> {
        let left = self.shut.as_mut()?.left(now);
        if left.is_none() {
            self.shut = None;
        }
        left
    }
}

impl Throttle {
    /// The shortest and the longest wait taken from an answer.
    const BOUNDS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(5));
    /// The longest wait of our own making, when the answers do not say how long.
    const LONGEST_UNSPECIFIED: Duration = Duration::from_secs(32);

    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, state: Mutex::default() }
    }

    /// An error that says what is left of the wait, if there is one.
    pub(super) fn check(&self) -> Result<(), UpstreamError> {
        match self.left() {
            Some(left) => Err(UpstreamError::Throttled { retry_after: Some(left) }),
            None => Ok(()),
        }
    }

    /// An answer asked to wait. A later end replaces an earlier one, never the other way round.
    pub(super) fn shut(&self, retry_after: Option<Duration>) -> UpstreamError {
        let now = self.clock.now();
        let mut state = self.state();
        let left = state.left(now).unwrap_or_default();
        let wait = if let Some(asked) = retry_after {
            state.unspecified = 0;
            clamp(asked)
        } else {
            let doubled = Self::BOUNDS.0.saturating_mul(1 << state.unspecified.min(10));
            state.unspecified = state.unspecified.saturating_add(1);
            doubled.min(Self::LONGEST_UNSPECIFIED)
        };
        if wait > left {
            state.shut = Some(Cooldown::start(&*self.clock, wait));
        }
        UpstreamError::Throttled { retry_after: Some(wait.max(left)) }
    }

    /// An answer did not ask to wait.
    pub(super) fn answered(&self) {
        self.state().unspecified = 0;
    }

    /// What is left of the wait, if there is one.
    pub(super) fn left(&self) -> Option<Duration> {
        let now = self.clock.now();
        self.state().left(now)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is taken of a wait that an answer asks for.
pub(super) fn clamp(wait: Duration) -> Duration {
    wait.clamp(Throttle::BOUNDS.0, Throttle::BOUNDS.1)
}

/// Reads `Retry-After`: seconds, or an HTTP date, which is compared with our clock. Anything else is as if absent.
pub(super) fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // Only a number too large to hold fails here; the bounds cut it anyway.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::from(u32::MAX))));
    }
    let date = Timestamp::try_from(httpdate::parse_http_date(value).ok()?).ok()?;
    Some(Duration::try_from(date.duration_since(now)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clock::ManualClock;

    fn throttled(seconds: u64) -> UpstreamError {
        UpstreamError::Throttled { retry_after: Some(Duration::from_secs(seconds)) }
    }

    #[test]
    fn both_forms_of_retry_after_are_read() {
        let now: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
        let seconds = |value: &str| retry_after(value, now).map(|wait| wait.as_secs());
        assert_eq!(seconds("30"), Some(30));
        assert_eq!(seconds(" 0 "), Some(0));
        assert_eq!(seconds("Sun, 22 Nov 2026 12:01:30 GMT"), Some(90));
        assert_eq!(seconds("Sunday, 22-Nov-26 12:01:30 GMT"), Some(90));
        assert_eq!(seconds("Sun, 22 Nov 2026 11:00:00 GMT"), Some(0));
        assert_eq!(seconds(&"9".repeat(400)), Some(u64::from(u32::MAX)));
        for absent in ["", "-1", "1.5", "+3", "soon", "١", "Sun, 99 Nov 2026 12:00:00 GMT", "1e3"] {
            assert_eq!(seconds(absent), None, "{absent}");
        }
    }

    #[tokio::test]
    async fn waits_are_bounded_and_grow_when_they_are_not_told() {
        let clock = ManualClock::new(Timestamp::UNIX_EPOCH);
        let throttle = Throttle::new(Arc::new(clock.clone()));
        assert_eq!(throttle.check(), Ok(()));
        assert_eq!(throttle.shut(Some(Duration::from_hours(24))), throttled(300));
        clock.advance(Duration::from_secs(299));
        assert_eq!(throttle.check(), Err(throttled(1)));
        clock.advance(Duration::from_secs(1));
        assert_eq!(throttle.check(), Ok(()));
        assert_eq!(throttle.shut(Some(Duration::ZERO)), throttled(1));
        for expected in [1, 2, 4, 8, 16, 32, 32] {
            clock.advance(Duration::from_mins(1));
            assert_eq!(throttle.shut(None), throttled(expected));
        }
        clock.advance(Duration::from_mins(1));
        throttle.answered();
        assert_eq!(throttle.shut(None), throttled(1));
    }

    #[tokio::test]
    async fn a_shorter_wait_does_not_cut_a_longer_one() {
        let clock = ManualClock::new(Timestamp::UNIX_EPOCH);
        let throttle = Throttle::new(Arc::new(clock.clone()));
        throttle.shut(Some(Duration::from_mins(1)));
        clock.advance(Duration::from_secs(10));
        assert_eq!(throttle.shut(Some(Duration::from_secs(5))), throttled(50));
        assert_eq!(throttle.check(), Err(throttled(50)));
    }

    proptest! {
        #[test]
        fn no_header_value_is_a_panic(value in "\\PC{0,60}") {
            let _ = retry_after(&value, Timestamp::UNIX_EPOCH);
            let _ = retry_after(&value, Timestamp::MIN);
        }
    }
}
