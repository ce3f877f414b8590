use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use jiff::Timestamp;
use tokio::sync::Semaphore;

use super::AttemptError;
use crate::crypto::{PrivateKey, sign_system_user_token};
use crate::identifiers::{SignedSystemToken, SystemUserToken};

/// Signs off the async threads, one signature at a time: signing is the costliest thing ticketd does.
#[derive(Debug)]
pub(super) struct Signer {
    keys: Arc<[PrivateKey]>,
    preferred: AtomicUsize,
    turn: Semaphore,
}

impl Signer {
    pub(super) fn new(keys: Vec<PrivateKey>) -> Self {
        Self { keys: keys.into(), preferred: AtomicUsize::new(0), turn: Semaphore::new(1) }
    }

    /// The keys' indices: the one that was last taken, then the others as configured.
    pub(super) fn in_order(&self) -> impl Iterator<Item = usize> + use<> {
        let preferred = self.preferred.load(Ordering::Relaxed);
        let first = (preferred < self.keys.len()).then_some(preferred);
        first.into_iter().chain((0..self.keys.len()).filter(move |key| *key != preferred))
    }

    pub(super) fn prefer(&self, key: usize) {
        self.preferred.store(key, Ordering::Relaxed);
    }

    pub(super) async fn sign(
        &self,
        key: usize,
        token: SystemUserToken,
        now: Timestamp,
    ) -> Result<SignedSystemToken, AttemptError> {
        // The semaphore is never closed; were it, signatures would only no longer be paced.
        let _turn = self.turn.acquire().await;
        let keys = Arc::clone(&self.keys);
        let signing =
            tokio::task::spawn_blocking(move || keys.get(key).map(|key| sign_system_user_token(key, &token, now)));
        match signing.await {
            Ok(Some(Ok(signed))) => Ok(signed),
            Ok(Some(Err(error))) => Err(AttemptError::Signing(error.to_string())),
            Ok(None) => Err(AttemptError::NoSigningKey),
            Err(crash) => Err(AttemptError::Signing(crash.to_string())),
        }
    }
}
