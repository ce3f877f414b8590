use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use tokio::sync::watch;

use super::Policy;

/// The policy that counts now. Clones share it, and see another one from the moment that it takes its place.
#[derive(Clone, Debug)]
pub struct PolicyInForce {
    policy: Arc<ArcSwap<Policy>>,
    replaced: watch::Sender<()>,
}

impl PolicyInForce {
    /// Begins with this one.
    pub fn new(policy: Policy) -> Self {
        Self { policy: Arc::new(ArcSwap::from_pointee(policy)), replaced: watch::Sender::new(()) }
    }

    /// The one that counts at this moment. Not to be kept.
    pub fn current(&self) -> Guard<Arc<Policy>> {
        self.policy.load()
    }

    /// Puts another one in its place, for every decision from now on.
    pub fn replace(&self, policy: Policy) {
        self.policy.store(Arc::new(policy));
        self.replaced.send_replace(());
    }

    /// Tells of each replacement from now on, for whoever acts for longer than a decision.
    pub fn replacements(&self) -> watch::Receiver<()> {
        self.replaced.subscribe()
    }
}
