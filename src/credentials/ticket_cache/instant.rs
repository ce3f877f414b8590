use std::time::Duration;

/// A moment of monotonic time in one word, as there are two for each ticket: nanoseconds, which last for 584 years.
#[derive(Clone, Copy, Debug)]
pub(super) struct Instant(u64);

impl From<Duration> for Instant {
    fn from(elapsed: Duration) -> Self {
        Self(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX))
    }
}

impl Instant {
    /// As the clock tells it.
    pub(super) fn elapsed(self) -> Duration {
        Duration::from_nanos(self.0)
    }
}
