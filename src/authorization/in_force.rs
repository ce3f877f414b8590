use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

use super::Policy;

/// The policy that counts now. Clones share it, and see another one from the moment that it takes its place.
#[derive(Clone, Debug)]
pub struct PolicyInForce(Arc<ArcSwap<Policy>>);

impl PolicyInForce {
    /// Begins with this one.
    pub fn new(policy: Policy) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(policy)))
    }

    /// The one that counts at this moment. Not to be kept.
    pub fn current(&self) -> Guard<Arc<Policy>> {
        self.0.load()
    }

    /// Puts another one in its place, for every decision from now on.
    pub fn replace(&self, policy: Policy) {
        self.0.store(Arc::new(policy));
    }
}
