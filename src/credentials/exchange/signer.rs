use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use jiff::Timestamp;
use tokio::sync::Semaphore;

use super::{AttemptError, CurrentSigningKeys};
use crate::crypto::{PrivateKey, sign_system_user_token};
use crate::identifiers::{SignedSystemToken, SystemUserToken};

/// The keys that one exchange tries, whatever takes their place meanwhile.
pub(super) type SigningKeys = Arc<Vec<PrivateKey>>;

/// Signs off the async threads, one signature at a time: signing is the costliest thing ticketd does.
#[derive(Debug)]
pub(super) struct Signer {
    keys: CurrentSigningKeys,
    preferred: AtomicUsize,
    turn: Arc<Semaphore>,
}

impl Signer {
    pub(super) fn new(keys: CurrentSigningKeys) -> Self {
        Self { keys, preferred: AtomicUsize::new(0), turn: Arc::new(Semaphore::new(1)) }
    }

    /// The keys as they are now.
    pub(super) fn keys(&self) -> SigningKeys {
        self.keys.get()
    }

    /// The indices of `keys`: the one that was last taken, then the others as configured.
    pub(super) fn in_order(&self, keys: &SigningKeys) -> impl Iterator<Item = usize> + use<> {
        let (preferred, count) = (self.preferred.load(Ordering::Relaxed), keys.len());
        let first = (preferred < count).then_some(preferred);
        first.into_iter().chain((0..count).filter(move |key| *key != preferred))
    }

    pub(super) fn prefer(&self, key: usize) {
        self.preferred.store(key, Ordering::Relaxed);
    }

    pub(super) async fn sign(
        &self,
        keys: &SigningKeys,
        key: usize,
        token: SystemUserToken,
        now: Timestamp,
    ) -> Result<SignedSystemToken, AttemptError> {
        // The semaphore is never closed; were it, signatures would only no longer be paced.
        let turn = Arc::clone(&self.turn).acquire_owned().await;
        let keys = Arc::clone(keys);
        let signing = tokio::task::spawn_blocking(move || {
            // Whoever gave up meanwhile leaves a signature under way, and it keeps its turn.
            let _turn = turn;
            keys.get(key).map(|key| sign_system_user_token(key, &token, now))
        });
        match signing.await {
            Ok(Some(Ok(signed))) => Ok(signed),
            Ok(Some(Err(error))) => Err(AttemptError::Signing(error.to_string())),
            Ok(None) => Err(AttemptError::NoSigningKey),
            Err(crash) => Err(AttemptError::Signing(crash.to_string())),
        }
    }
}
