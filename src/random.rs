//! Randomness as an argument: jitter only. What must not be guessed comes from `crypto`.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Where jitter comes from.
pub trait Random: fmt::Debug + Send + Sync + 'static {
    /// A number from 0 up to, and not including, 1.
    fn fraction(&self) -> f64;

    /// A duration between `shortest` and `longest`, each as likely as another.
    fn between(&self, shortest: Duration, longest: Duration) -> Duration {
        shortest + longest.saturating_sub(shortest).mul_f64(self.fraction())
    }
}

/// Random numbers that differ from run to run.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn fraction(&self) -> f64 {
        fastrand::f64()
    }
}

/// Random numbers that a test can repeat.
#[derive(Debug)]
pub struct SeededRandom(Mutex<fastrand::Rng>);

impl SeededRandom {
    /// The same `seed` gives the same numbers.
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(fastrand::Rng::with_seed(seed)))
    }
}

impl Random for SeededRandom {
    fn fraction(&self) -> f64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_stay_within_their_bounds() {
        let random = SeededRandom::new(7);
        let (shortest, longest) = (Duration::from_secs(30), Duration::from_mins(1));
        for _ in 0..1_000 {
            let drawn = random.between(shortest, longest);
            assert!((shortest..longest).contains(&drawn), "{drawn:?}");
        }
        assert_eq!(random.between(longest, longest), longest);
    }
}
