use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::{info, warn};

use super::UpstreamError;
use crate::clock::Clock;
use crate::identifiers::ContextIdentifier;
use crate::metrics;

/// So many failures in a row open it.
const FAILURES: u32 = 5;
/// From one probe that failed to the next.
const BETWEEN_PROBES: Duration = Duration::from_secs(10);
/// When to come again while a probe is under way.
const UNTIL_THE_PROBE_TELLS: Duration = Duration::from_secs(1);
/// Whoever gives up on a request after this has seen it fail; before, nothing.
const LONG_SILENCE: Duration = Duration::from_secs(3);

/// Spares an upstream that fails, and those who would wait for it in vain.
///
/// It opens after five failures in a row, of two tenants at least: one tenant's own trouble, however often it is met, does
/// not stop the others. Requests that are for no tenant count together as one tenant's. While it is open nothing is sent but one probe at a time, ten seconds after the
/// last one failed. Any answer to a probe closes it.
#[derive(Debug)]
pub(super) struct Breaker {
    /// Its name in the log.
    upstream: String,
    /// Its name in metrics.
    label: &'static str,
    clock: Arc<dyn Clock>,
    circuit: Mutex<Circuit>,
}

#[derive(Debug)]
struct Circuit {
    state: State,
    /// How often it was opened: what was sent before tells nothing of what came after.
    era: u64,
}

#[derive(Debug)]
enum State {
    Closed(Row),
    Open { since: Duration, probe_from: Duration, is_probing: bool },
}

/// The failures since the last answer.
#[derive(Debug, Default)]
struct Row {
    failures: u32,
    first: Option<Source>,
    has_several_sources: bool,
}

/// Whom a request is for.
type Source = Option<ContextIdentifier>;

/// Leave to send one request. Dropped, the request was given up.
#[derive(Debug)]
#[must_use = "its end has to be told"]
pub(super) struct Admission<'a> {
    breaker: &'a Breaker,
    source: Source,
    is_probe: bool,
    era: u64,
    admitted: Duration,
    is_settled: bool,
}

/// What the end of a request tells of the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It works, whatever it said.
    Answered,
    Failed,
    /// Nothing: it asked to wait, said more than its caller wanted to hear, or was not asked at all.
    Silent,
    /// The probe was given up before it could tell.
    GivenUp,
}

impl Breaker {
    /// A closed one. `upstream` is its name in the log and in the metric.
    pub(super) fn new(upstream: &'static str, clock: Arc<dyn Clock>) -> Self {
        Self::named(upstream.to_owned(), upstream, clock)
    }

    /// A closed one for a host of tenants. They are many: in the metric they are counted together.
    pub(super) fn of_tenants(host: &str, clock: Arc<dyn Clock>) -> Self {
        Self::named(host.to_owned(), "tenants", clock)
    }

    fn named(upstream: String, label: &'static str, clock: Arc<dyn Clock>) -> Self {
        metrics::BREAKER_STATE.add(0.0, &[label]);
        let circuit = Mutex::new(Circuit { state: State::Closed(Row::default()), era: 0 });
        Self { upstream, label, clock, circuit }
    }

    /// Its name in metrics.
    pub(super) fn label(&self) -> &'static str {
        self.label
    }

    /// Whether a request would be admitted now.
    pub(super) fn check(&self) -> Result<(), UpstreamError> {
        match &self.circuit().state {
            State::Closed(_) => Ok(()),
            State::Open { is_probing: true, .. } => refuse(UNTIL_THE_PROBE_TELLS),
            State::Open { probe_from, .. } => match probe_from.saturating_sub(self.clock.elapsed()) {
                Duration::ZERO => Ok(()),
                left => refuse(left),
            },
        }
    }

    /// For how long it has been open, if it is.
    pub(super) fn open_for(&self) -> Option<Duration> {
        match self.circuit().state {
            State::Closed(_) => None,
            State::Open { since, .. } => Some(self.clock.elapsed().saturating_sub(since)),
        }
    }

    /// Its name in the log and in the metric.
    pub(super) fn upstream(&self) -> &str {
        &self.upstream
    }

    /// Leave to send a request for a tenant, or for none.
    pub(super) fn admit(&self, source: Source) -> Result<Admission<'_>, UpstreamError> {
        let admitted = self.clock.elapsed();
        let mut circuit = self.circuit();
        let is_probe = match &mut circuit.state {
            State::Closed(_) => false,
            State::Open { is_probing: true, .. } => return refuse(UNTIL_THE_PROBE_TELLS),
            State::Open { probe_from, .. } if *probe_from > admitted => {
                return refuse(probe_from.saturating_sub(admitted));
            }
            State::Open { is_probing, .. } => {
                *is_probing = true;
                true
            }
        };
        Ok(Admission { breaker: self, source, is_probe, era: circuit.era, admitted, is_settled: false })
    }

    fn note(&self, admission: &Admission<'_>, verdict: Verdict) {
        let now = self.clock.elapsed();
        let mut circuit = self.circuit();
        let is_stale = circuit.era != admission.era;
        match &mut circuit.state {
            _ if is_stale => {}
            State::Closed(row) => match verdict {
                Verdict::Answered => *row = Row::default(),
                Verdict::Failed if row.add(admission.source) => {
                    circuit.state =
                        State::Open { since: now, probe_from: now.saturating_add(BETWEEN_PROBES), is_probing: false };
                    circuit.era += 1;
                    drop(circuit);
                    metrics::BREAKER_STATE.add(1.0, &[self.label]);
                    warn!(upstream = self.upstream, "SuperOffice keeps failing: it is asked every ten seconds only");
                }
                Verdict::Failed | Verdict::Silent | Verdict::GivenUp => {}
            },
            State::Open { since, probe_from, is_probing } if admission.is_probe => {
                *is_probing = false;
                match verdict {
                    Verdict::Answered => {
                        let seconds = now.saturating_sub(*since).as_secs();
                        circuit.state = State::Closed(Row::default());
                        drop(circuit);
                        metrics::BREAKER_STATE.add(-1.0, &[self.label]);
                        info!(upstream = self.upstream, seconds, "SuperOffice answers again");
                    }
                    Verdict::Failed | Verdict::Silent => *probe_from = now.saturating_add(BETWEEN_PROBES),
                    Verdict::GivenUp => {}
                }
            }
            State::Open { .. } => {}
        }
    }

    /// No code panics while it holds the lock.
    fn circuit(&self) -> MutexGuard<'_, Circuit> {
        self.circuit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Breaker {
    fn drop(&mut self) {
        if matches!(self.circuit().state, State::Open { .. }) {
            metrics::BREAKER_STATE.add(-1.0, &[self.label]);
        }
    }
}

fn refuse<T>(retry_after: Duration) -> Result<T, UpstreamError> {
    Err(UpstreamError::CircuitOpen { retry_after })
}

impl Row {
    /// Answers whether that is too much.
    fn add(&mut self, source: Source) -> bool {
        self.failures = self.failures.saturating_add(1);
        self.has_several_sources |= self.failures > 1 && self.first != Some(source);
        self.first.get_or_insert(source);
        self.failures >= FAILURES && self.has_several_sources
    }
}

impl Admission<'_> {
    /// The request ended, with this trouble or with none.
    pub(super) fn settle(mut self, trouble: Option<&UpstreamError>) {
        self.is_settled = true;
        self.breaker.note(&self, trouble.map_or(Verdict::Answered, Verdict::of));
    }
}

impl Drop for Admission<'_> {
    fn drop(&mut self) {
        if !self.is_settled {
            let waited = self.breaker.clock.elapsed().saturating_sub(self.admitted);
            let verdict = if waited >= LONG_SILENCE { Verdict::Failed } else { Verdict::GivenUp };
            self.breaker.note(self, verdict);
        }
    }
}

impl Verdict {
    fn of(trouble: &UpstreamError) -> Self {
        match trouble {
            UpstreamError::Connect { .. }
            | UpstreamError::TimedOut
            | UpstreamError::Interrupted
            | UpstreamError::Malformed
            | UpstreamError::Fault { .. } => Self::Failed,
            // What does not exist there may exist under another address of the same host.
            UpstreamError::Status(501) => Self::Answered,
            UpstreamError::Status(status) if *status == 408 || *status >= 500 => Self::Failed,
            UpstreamError::Status(_) | UpstreamError::Misunderstood { .. } => Self::Answered,
            UpstreamError::Throttled { .. }
            | UpstreamError::Unavailable { .. }
            | UpstreamError::CircuitOpen { .. }
            | UpstreamError::Busy
            | UpstreamError::BodyTooLarge
            | UpstreamError::Unsendable
            | UpstreamError::AddressRefused
            | UpstreamError::RequestRefused(_) => Self::Silent,
        }
    }
}

#[cfg(test)]
mod tests;
