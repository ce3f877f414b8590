use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use tracing::Instrument;

use super::BearerError;
use super::cluster::{self, Cluster};
use crate::clock::Clock;
use crate::crypto::{JwtHeader, VerificationKeys};
use crate::random::Random;

/// When the keys are read again without anybody asking: a key that the cluster withdraws is good no longer than this.
/// Not all replicas at once.
const REFRESH_AFTER: (Duration, Duration) = (Duration::from_secs(270), Duration::from_mins(5));
/// From one attempt to the next, whether it succeeded or not.
const BETWEEN_ATTEMPTS: Duration = Duration::from_mins(1);
/// The same, until the first success: nobody with a token can call before.
const BETWEEN_FIRST_ATTEMPTS: Duration = Duration::from_secs(5);

/// The keys that a cluster signs service accounts' tokens with.
#[derive(Clone, Debug)]
pub(super) struct ClusterKeys(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    source: Source,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    /// Never held across an await.
    state: Mutex<State>,
}

/// Where the keys are read.
#[derive(Debug)]
pub(super) enum Source {
    Url(Arc<Cluster>),
    File(PathBuf),
}

#[derive(Debug, Default)]
struct State {
    /// The last good set; none before the first success.
    keys: Option<Arc<VerificationKeys>>,
    /// When the last attempt began, by the monotonic clock.
    attempted: Option<Duration>,
    /// Why the last attempt failed.
    failure: Option<Arc<str>>,
    /// The attempt that is under way.
    flight: Option<Shared<BoxFuture<'static, ()>>>,
}

impl ClusterKeys {
    pub(super) fn new(source: Source, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Self {
        Self(Arc::new(Inner { source, clock, random, state: Mutex::default() }))
    }

    /// A set with the key that the header names. A known key never waits for the network. For an unknown one the keys
    /// are read again, at most once a minute; who cannot be told then whether it is the cluster's is told so.
    pub(super) async fn with(&self, header: &JwtHeader) -> Result<Arc<VerificationKeys>, BearerError> {
        let flight = {
            let mut state = self.0.state();
            if let Some(keys) = state.with(header) {
                return Ok(keys);
            }
            self.flight(&mut state)
        };
        if let Some(flight) = flight {
            flight.await;
        }
        let state = self.0.state();
        match (state.with(header), &state.keys, &state.failure) {
            (Some(keys), _, _) => Ok(keys),
            // As of less than a minute ago there is no such key.
            (None, Some(keys), None) => Ok(Arc::clone(keys)),
            (None, _, failure) => Err(BearerError::Unavailable {
                cause: failure.clone().unwrap_or_else(|| "its keys have not been read yet".into()),
                retry_after: self.until_next(&state).max(Duration::from_secs(1)),
            }),
        }
    }

    /// Reads the keys now, and again and again, so that those withdrawn are forgotten. Never ends.
    pub(super) async fn keep_fresh(self) {
        loop {
            let flight = self.flight(&mut self.0.state());
            if let Some(flight) = flight {
                flight.await;
            }
            let pause = if self.0.state().failure.is_some() {
                self.until_next(&self.0.state())
            } else {
                self.0.random.between(REFRESH_AFTER.0, REFRESH_AFTER.1)
            };
            // An attempt that a call began meanwhile puts the next one off, and time may stand still in between.
            self.0.clock.sleep(pause.max(Duration::from_millis(100))).await;
        }
    }

    /// The attempt under way, else a new one if it is time for it.
    fn flight(&self, state: &mut State) -> Option<Shared<BoxFuture<'static, ()>>> {
        if let Some(flight) = state.flight.as_ref().filter(|flight| flight.peek().is_none()) {
            return Some(flight.clone());
        }
        if !self.until_next(state).is_zero() {
            return None;
        }
        state.attempted = Some(self.0.clock.elapsed());
        let inner = Arc::clone(&self.0);
        // A task of its own: it neither stops with a caller that gives up nor starts again for the next.
        let attempt = tokio::spawn(async move { inner.read().await }.in_current_span());
        let flight = attempt.map(|_| ()).boxed().shared();
        state.flight = Some(flight.clone());
        Some(flight)
    }

    /// How long until the keys may be read again.
    fn until_next(&self, state: &State) -> Duration {
        let pause = if state.keys.is_some() { BETWEEN_ATTEMPTS } else { BETWEEN_FIRST_ATTEMPTS };
        state.attempted.map_or(Duration::ZERO, |began| (began + pause).saturating_sub(self.0.clock.elapsed()))
    }
}

impl State {
    fn with(&self, header: &JwtHeader) -> Option<Arc<VerificationKeys>> {
        self.keys.as_ref().filter(|keys| keys.find(header).is_some()).map(Arc::clone)
    }
}

impl Inner {
    async fn read(&self) {
        let read = match &self.source {
            Source::Url(cluster) => cluster.get().await,
            Source::File(file) => cluster::read(file).await.map(|content| content.to_vec()),
        };
        let read = read.map_err(|error| error.to_string());
        let read = read.and_then(|json| VerificationKeys::from_cluster_jwks(&json).map_err(|error| error.to_string()));
        let mut state = self.state();
        state.flight = None;
        match read {
            Ok(keys) => {
                tracing::debug!(keys = keys.len(), "the cluster's keys were read");
                state.keys = Some(Arc::new(keys));
                state.failure = None;
            }
            Err(error) => {
                let kept = state.keys.as_ref().map_or(0, |keys| keys.len());
                tracing::warn!(error, kept, "the cluster's keys cannot be read: the last good ones stay in use");
                state.failure = Some(error.into());
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
