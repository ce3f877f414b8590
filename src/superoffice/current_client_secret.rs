use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::identifiers::ClientSecret;

/// The application's client secret as it is now: a new one takes its place while requests go on. Clones share it.
#[derive(Clone, Debug)]
pub struct CurrentClientSecret(Arc<ArcSwap<ClientSecret>>);

impl CurrentClientSecret {
    /// The secret for one request, which keeps it until it is sent.
    pub fn get(&self) -> Arc<ClientSecret> {
        self.0.load_full()
    }

    /// Has the next requests use another secret.
    pub fn replace(&self, secret: ClientSecret) {
        self.0.store(Arc::new(secret));
    }
}

impl From<ClientSecret> for CurrentClientSecret {
    fn from(secret: ClientSecret) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(secret)))
    }
}
