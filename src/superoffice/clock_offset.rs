use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use tracing::{info, warn};

use crate::metrics;

/// From here on somebody has to look at a clock: SuperOffice refuses signatures at minutes.
const WORRYING: SignedDuration = SignedDuration::from_secs(30);
/// Below this it is over. `Date` tells whole seconds and answers take time, so the two are apart.
const FINE: SignedDuration = SignedDuration::from_secs(20);

/// How far SuperOffice's clock is ahead of ours, as the `Date` of its last answer tells.
#[derive(Debug)]
pub(super) struct ClockOffset {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last: Option<SignedDuration>,
    is_worrying: bool,
}

impl ClockOffset {
    pub(super) fn new() -> Self {
        Self { state: Mutex::default() }
    }

    /// See [`super::SuperOffice::clock_offset`].
    pub(super) fn get(&self) -> Option<SignedDuration> {
        self.state().last
    }

    /// Learns from an answer's `Date`, if it has one that can be read.
    pub(super) fn learn(&self, date: Option<&str>, now: Timestamp) {
        let date = date.and_then(|value| httpdate::parse_http_date(value).ok());
        let Some(date) = date.and_then(|date| Timestamp::try_from(date).ok()) else { return };
        let offset = date.duration_since(now);
        metrics::CLOCK_SKEW.set(offset.as_secs_f64(), &[]);
        let (was_worrying, is_worrying) = {
            let mut state = self.state();
            let was_worrying = state.is_worrying;
            state.last = Some(offset);
            state.is_worrying = offset.abs() > if was_worrying { FINE } else { WORRYING };
            (was_worrying, state.is_worrying)
        };
        match (was_worrying, is_worrying) {
            (false, true) => {
                warn!(
                    seconds = offset.as_secs(),
                    "SuperOffice's clock is far from this machine's: is its time daemon running?"
                );
            }
            (true, false) => info!(seconds = offset.as_secs(), "SuperOffice's clock and this machine's agree again"),
            _ => {}
        }
    }

    /// No code panics while it holds the lock.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_worries_over_thirty_seconds_and_no_longer_below_twenty() {
        let offset = ClockOffset::new();
        let date = "Sun, 22 Nov 2026 12:00:00 GMT";
        let noon: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
        for (ahead, is_worrying) in [
            (0, false),
            (30, false),
            (-30, false),
            (31, true),
            (-21, true),
            (25, true),
            (20, false),
            (30, false),
            (-31, true),
            (0, false),
        ] {
            offset.learn(Some(date), noon - SignedDuration::from_secs(ahead));
            assert_eq!(offset.get(), Some(SignedDuration::from_secs(ahead)));
            assert_eq!(offset.state().is_worrying, is_worrying, "{ahead}");
        }
        for nothing in [None, Some(""), Some("soon"), Some("Sun, 99 Nov 2026 12:00:00 GMT")] {
            offset.learn(nothing, noon);
            assert_eq!(offset.get(), Some(SignedDuration::ZERO));
        }
        offset.learn(Some(date), Timestamp::MIN);
        offset.learn(Some("Thu, 01 Jan 1970 00:00:00 GMT"), Timestamp::MAX);
    }
}
