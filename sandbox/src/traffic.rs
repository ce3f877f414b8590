//! What came in: counters and a log without secrets.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::Notify;

use crate::endpoint::Endpoint;
use crate::world::lock;

/// The log keeps the newest, this many.
const LOG_CAPACITY: usize = 10_000;

/// One request, without its query, headers and body: those hold secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RequestRecord {
    /// When it came in, by the sandbox's clock.
    #[serde(serialize_with = "as_text")]
    pub time: Timestamp,
    /// The HTTP method.
    pub method: String,
    /// The path, cut at 200 characters.
    pub path: String,
    /// Where it was routed to.
    pub endpoint: Endpoint,
    /// The tenant it named, as it named it.
    pub context_identifier: Option<String>,
}

/// The requests of one endpoint.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Count {
    pub(crate) total: u64,
    pub(crate) in_flight: u64,
    pub(crate) peak: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Traffic {
    state: Mutex<State>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct State {
    endpoints: BTreeMap<Endpoint, Count>,
    all: Count,
    log: VecDeque<RequestRecord>,
}

/// A request that is under way until this is dropped.
#[derive(Debug)]
pub(crate) struct InFlight {
    traffic: Arc<Traffic>,
    endpoint: Endpoint,
}

impl Traffic {
    pub(crate) fn record(self: &Arc<Self>, request: RequestRecord) -> InFlight {
        let endpoint = request.endpoint;
        let mut state = lock(&self.state);
        state.all.enter();
        state.endpoints.entry(endpoint).or_default().enter();
        if state.log.len() == LOG_CAPACITY {
            state.log.pop_front();
        }
        state.log.push_back(request);
        drop(state);
        self.arrived.notify_waiters();
        InFlight { traffic: Arc::clone(self), endpoint }
    }

    pub(crate) fn count(&self, endpoint: Endpoint) -> Count {
        lock(&self.state).endpoints.get(&endpoint).copied().unwrap_or_default()
    }

    pub(crate) fn counts(&self) -> (Count, BTreeMap<Endpoint, Count>) {
        let state = lock(&self.state);
        (state.all, state.endpoints.clone())
    }

    pub(crate) fn log(&self) -> Vec<RequestRecord> {
        lock(&self.state).log.iter().cloned().collect()
    }

    /// Starts counting anew. What is under way stays counted as such.
    pub(crate) fn reset(&self) {
        let mut state = lock(&self.state);
        state.log.clear();
        state.all.reset();
        state.endpoints.values_mut().for_each(Count::reset);
    }

    pub(crate) async fn wait_for(&self, endpoint: Endpoint, total: u64) {
        loop {
            let mut arrived = std::pin::pin!(self.arrived.notified());
            // Enabled before the look at the counter, so that no arrival falls between the two.
            arrived.as_mut().enable();
            if self.count(endpoint).total >= total {
                return;
            }
            arrived.await;
        }
    }
}

impl Count {
    fn enter(&mut self) {
        self.total += 1;
        self.in_flight += 1;
        self.peak = self.peak.max(self.in_flight);
    }

    fn reset(&mut self) {
        *self = Self { total: 0, in_flight: self.in_flight, peak: self.in_flight };
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut state = lock(&self.traffic.state);
        state.all.in_flight = state.all.in_flight.saturating_sub(1);
        if let Some(count) = state.endpoints.get_mut(&self.endpoint) {
            count.in_flight = count.in_flight.saturating_sub(1);
        }
    }
}

fn as_text<S: serde::Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}
