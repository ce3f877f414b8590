use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::engine::Engine;
use super::sealer::{self, Sealer};
use super::{StoreError, reseal};
use crate::clock::Clock;
use crate::crypto::{KeyRing, SealingKey, SealingKeyError};
use crate::regular_file;

/// Several times the longest key file.
const MAX_FILE_BYTES: usize = 4096;
/// How often the files are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);

/// Reads the key ring: the first file's key seals and opens, the others' open only.
pub(super) fn read(files: &[PathBuf]) -> Result<KeyRing, StoreError> {
    let keys = files.iter().map(|file| read_file(file)).collect::<Result<Vec<_>, _>>()?;
    let twice = keys.iter().enumerate().find(|(at, key)| keys.iter().skip(at + 1).any(|other| other.id() == key.id()));
    if let Some((_, key)) = twice {
        // A mounted Secret that is swapped between two reads looks like this, and lacks a key.
        return Err(StoreError::SealingKeyTwice { id: key.id() });
    }
    let mut keys = keys.into_iter();
    let primary = keys.next().ok_or(StoreError::NoSealingKey)?;
    Ok(KeyRing::new(primary, keys.collect()))
}

/// Reads the files again and again, until it is dropped, and has the sealer use what they hold then: a Secret that is
/// mounted changes under a running process. Files that cannot be used, or lack a key that is in use, change nothing.
pub(super) async fn watch(files: Vec<PathBuf>, sealer: Arc<Sealer>, engine: Arc<dyn Engine>, clock: Arc<dyn Clock>) {
    let mut failing = false;
    loop {
        clock.sleep(LOOK_INTERVAL).await;
        let outcome = reload(&files, &sealer, &*engine).await;
        match &outcome {
            Err(error) if !failing => tracing::error!(%error, "the sealing keys stay as they are"),
            Ok(true) => tracing::info!(keys = ?sealer.keys(), "the sealing keys are replaced"),
            _ => {}
        }
        failing = outcome.is_err();
    }
}

/// Whether the keys were replaced.
async fn reload(files: &[PathBuf], sealer: &Sealer, engine: &dyn Engine) -> Result<bool, StoreError> {
    // A mounted file that hangs must not hold the thread.
    let files = files.to_owned();
    let Ok(keys) = tokio::task::spawn_blocking(move || read(&files)).await else { return Ok(false) };
    let keys = keys?;
    if keys.ids().eq(sealer.keys().ids()) {
        return Ok(false);
    }
    sealer::check_keys(&keys, &reseal::keys_in_use(engine).await?)?;
    sealer.replace_keys(keys);
    Ok(true)
}

fn read_file(path: &Path) -> Result<SealingKey, StoreError> {
    let failed = |source| StoreError::SealingKeyFile { path: path.to_owned(), source };
    let content =
        regular_file::read(path, MAX_FILE_BYTES).map_err(|error| failed(KeyFileProblem::Unreadable(error)))?;
    SealingKey::read(&content.bytes).map_err(|error| failed(KeyFileProblem::Content(error)))
}

/// Why a file gives no sealing key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileProblem {
    /// It cannot be read.
    #[error("{0}")]
    Unreadable(io::Error),
    /// It holds something else.
    #[error("{0}")]
    Content(SealingKeyError),
}
