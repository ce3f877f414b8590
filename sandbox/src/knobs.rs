//! The behaviours in force.

use std::sync::Mutex;

use serde::Serialize;
use tokio::sync::watch;

use crate::behaviour::{Behaviour, Knob};
use crate::endpoint::Endpoint;
use crate::world::lock;

/// Names a behaviour in force, so that it can be cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct KnobId(pub(crate) u64);

/// A knob in force and how often it still applies.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ActiveKnob {
    id: KnobId,
    #[serde(flatten)]
    knob: Knob,
    /// Those who hang on it wake when its sender goes.
    #[serde(skip)]
    cleared: watch::Sender<()>,
}

/// A behaviour that concerns a request.
pub(crate) struct Applied {
    pub(crate) behaviour: Behaviour,
    /// Closed when the knob is cleared.
    pub(crate) cleared: watch::Receiver<()>,
}

#[derive(Debug, Default)]
pub(crate) struct Knobs(Mutex<(u64, Vec<ActiveKnob>)>);

impl Knobs {
    pub(crate) fn set(&self, knob: Knob) -> KnobId {
        let mut knobs = lock(&self.0);
        knobs.0 += 1;
        let id = KnobId(knobs.0);
        knobs.1.push(ActiveKnob { id, knob, cleared: watch::Sender::new(()) });
        id
    }

    pub(crate) fn clear(&self, id: KnobId) -> bool {
        let mut knobs = lock(&self.0);
        let before = knobs.1.len();
        knobs.1.retain(|active| active.id != id);
        knobs.1.len() < before
    }

    pub(crate) fn clear_all(&self) {
        lock(&self.0).1.clear();
    }

    pub(crate) fn list(&self) -> Vec<ActiveKnob> {
        lock(&self.0).1.clone()
    }

    /// What goes wrong with a request, oldest knob first. A knob that applies a number of times is used up by one; used
    /// up, it stays until it is cleared, since requests may hang on it.
    pub(crate) fn apply(&self, endpoint: Endpoint, context_identifier: Option<&str>) -> Vec<Applied> {
        lock(&self.0)
            .1
            .iter_mut()
            .filter(|active| concerns(&active.knob, endpoint, context_identifier))
            .map(|active| {
                active.knob.times = active.knob.times.map(|times| times.saturating_sub(1));
                Applied { behaviour: active.knob.behaviour.clone(), cleared: active.cleared.subscribe() }
            })
            .collect()
    }
}

fn concerns(knob: &Knob, endpoint: Endpoint, context_identifier: Option<&str>) -> bool {
    let tenant = |wanted: &String| context_identifier.is_some_and(|named| named.eq_ignore_ascii_case(wanted));
    knob.times != Some(0)
        && knob.endpoint.is_none_or(|wanted| wanted == endpoint)
        && knob.behaviour.is_possible_at(endpoint)
        && knob.tenant.as_ref().is_none_or(tenant)
}
