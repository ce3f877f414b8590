//! Keeps a flood out of the log.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use crate::clock::Clock;

/// Of one reason, one line in so long is logged.
const INTERVAL: Duration = Duration::from_secs(1);

/// Keeps an overload, or a caller that asks for nonsense as fast as it can, from flooding the log.
///
/// The reasons come from our own table and gRPC's codes, so there are few.
#[derive(Debug)]
pub struct LogPace {
    clock: Arc<dyn Clock>,
    reasons: Mutex<HashMap<String, Logged>>,
}

#[derive(Debug)]
struct Logged {
    last: Timestamp,
    unlogged: u64,
}

impl LogPace {
    /// Nothing is logged yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, reasons: Mutex::default() }
    }

    /// Whether to log a line of this `reason`: if so, how many went unlogged since the last one.
    pub fn admit(&self, reason: &str) -> Option<u64> {
        let now = self.clock.now();
        // No code panics while it holds the lock.
        let mut reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(logged) = reasons.get_mut(reason) else {
            reasons.insert(reason.to_owned(), Logged { last: now, unlogged: 0 });
            return Some(0);
        };
        // A clock that was set back counts as time that has passed.
        if now.duration_since(logged.last).unsigned_abs() < INTERVAL {
            logged.unlogged += 1;
            return None;
        }
        logged.last = now;
        Some(std::mem::take(&mut logged.unlogged))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn each_reason_is_logged_once_a_second_and_the_rest_is_counted() {
        let clock = ManualClock::new("2026-11-22T12:00:00Z".parse().unwrap());
        let pace = LogPace::new(Arc::new(clock.clone()));
        assert_eq!(pace.admit("OVERLOADED"), Some(0));
        assert_eq!(pace.admit("OVERLOADED"), None);
        assert_eq!(pace.admit("TENANT_NOT_REGISTERED"), Some(0));
        clock.advance(Duration::from_millis(999));
        assert_eq!(pace.admit("OVERLOADED"), None);
        clock.advance(Duration::from_millis(1));
        assert_eq!(pace.admit("OVERLOADED"), Some(2));
        clock.set_wall_time("2026-11-22T11:00:00Z".parse().unwrap());
        assert_eq!(pace.admit("OVERLOADED"), Some(0));
    }
}
