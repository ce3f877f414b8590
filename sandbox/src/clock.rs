//! The sandbox's time, which a test can share with the program under test, skew and step.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use jiff::{SignedDuration, Timestamp};

/// What the sandbox takes for now: a source of time plus an offset that can be moved. Clones share both.
///
/// Only what SuperOffice judges by its clock follows it: drift, the life of tickets and tokens, `ValidUntil`, the `Date`
/// header. Delays of answers are real time, since they happen on real sockets.
#[derive(Clone)]
pub struct SandboxClock {
    source: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    offset_nanoseconds: Arc<AtomicI64>,
}

impl SandboxClock {
    /// The machine's clock.
    #[must_use]
    pub fn system() -> Self {
        Self::from_fn(|| {
            #[expect(clippy::disallowed_methods, reason = "this is the sandbox's one home of the machine's clock")]
            let now = SystemTime::now();
            Timestamp::try_from(now).unwrap_or(Timestamp::UNIX_EPOCH)
        })
    }

    /// A clock that stands at `now` until it is advanced.
    #[must_use]
    pub fn standing_at(now: Timestamp) -> Self {
        Self::from_fn(move || now)
    }

    /// Somebody else's clock, for example that of the program under test.
    pub fn from_fn(source: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self { source: Arc::new(source), offset_nanoseconds: Arc::default() }
    }

    /// The sandbox's time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.source)().saturating_add(self.offset()).unwrap_or(Timestamp::MAX)
    }

    /// How far the sandbox's time is ahead of its source.
    #[must_use]
    pub fn offset(&self) -> SignedDuration {
        SignedDuration::from_nanos(self.offset_nanoseconds.load(Ordering::SeqCst))
    }

    /// Skews the sandbox's time against its source.
    pub fn set_offset(&self, offset: SignedDuration) {
        self.offset_nanoseconds.store(nanoseconds(offset), Ordering::SeqCst);
    }

    /// Moves the sandbox's time forward.
    pub fn advance(&self, duration: Duration) {
        let step = nanoseconds(SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX));
        self.offset_nanoseconds.fetch_add(step, Ordering::SeqCst);
    }
}

impl fmt::Debug for SandboxClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SandboxClock").field("now", &self.now()).field("offset", &self.offset()).finish_non_exhaustive()
    }
}

/// Saturates at 292 years.
fn nanoseconds(duration: SignedDuration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(if duration.is_negative() { i64::MIN } else { i64::MAX })
}
