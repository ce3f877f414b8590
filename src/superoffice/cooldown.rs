use std::fmt;
use std::time::Duration;

use futures_util::FutureExt;
use jiff::Timestamp;

use crate::clock::{Clock, Sleep};

/// A span of monotonic time that can be asked about without waiting for it: a step of the wall clock neither ends nor
/// prolongs it.
pub(super) struct Cooldown {
    /// Gone when it has ended, since a finished future must not be polled again.
    wait: Option<Sleep>,
    started: Timestamp,
    length: Duration,
}

impl Cooldown {
    pub(super) fn start(clock: &dyn Clock, length: Duration) -> Self {
        Self { wait: Some(clock.sleep(length)), started: clock.now(), length }
    }

    pub(super) fn is_over(&mut self) -> bool {
        // Unconstrained: a task that has used up its share of polls would be told that time stands still.
        if self.wait.as_mut().is_some_and(|wait| tokio::task::unconstrained(wait).now_or_never().is_some()) {
            self.wait = None;
        }
        self.wait.is_none()
    }

    /// What is left, as near as the wall clock tells; nothing when it is over.
    pub(super) fn left(&mut self, now: Timestamp) -> Option<Duration> {
        if self.is_over() {
            return None;
        }
        let elapsed = Duration::try_from(now.duration_since(self.started)).unwrap_or_default();
        Some(self.length.saturating_sub(elapsed).max(SHORTEST_LEFT.min(self.length)))
    }
}

/// What is said to be left when the wall clock was set forward past the end.
const SHORTEST_LEFT: Duration = Duration::from_millis(100);

impl fmt::Debug for Cooldown {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Cooldown")
            .field("started", &self.started)
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{ManualClock, SystemClock};

    #[tokio::test]
    async fn it_ends_by_elapsed_time_and_not_by_the_wall_clock() {
        let clock = ManualClock::new(Timestamp::UNIX_EPOCH);
        let mut cooldown = Cooldown::start(&clock, Duration::from_mins(1));
        clock.advance(Duration::from_secs(20));
        assert_eq!(cooldown.left(clock.now()), Some(Duration::from_secs(40)));
        clock.set_wall_time("2030-01-01T00:00:00Z".parse().unwrap());
        assert_eq!(cooldown.left(clock.now()), Some(SHORTEST_LEFT));
        clock.set_wall_time("1960-01-01T00:00:00Z".parse().unwrap());
        assert_eq!(cooldown.left(clock.now()), Some(Duration::from_mins(1)));
        clock.advance(Duration::from_millis(39_999));
        assert!(!cooldown.is_over());
        clock.advance(Duration::from_millis(1));
        assert!(cooldown.is_over());
        assert_eq!(cooldown.left(clock.now()), None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_machines_clock_ends_it_though_nobody_waits() {
        let mut cooldown = Cooldown::start(&SystemClock, Duration::from_mins(1));
        assert!(!cooldown.is_over());
        tokio::time::advance(Duration::from_secs(61)).await;
        assert!(cooldown.is_over());
    }
}
