use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::crypto::PrivateKey;

/// The keys that sign system user tokens as they are now, in the order in which they are tried: others take their place
/// while exchanges go on. Clones share them.
#[derive(Clone, Debug)]
pub struct CurrentSigningKeys(Arc<ArcSwap<Vec<PrivateKey>>>);

impl CurrentSigningKeys {
    /// The keys for one exchange, which keeps them until it is over.
    pub fn get(&self) -> Arc<Vec<PrivateKey>> {
        self.0.load_full()
    }

    /// Has the next exchanges use other keys.
    pub fn replace(&self, keys: Vec<PrivateKey>) {
        self.0.store(Arc::new(keys));
    }
}

impl From<Vec<PrivateKey>> for CurrentSigningKeys {
    fn from(keys: Vec<PrivateKey>) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(keys)))
    }
}
