//! Tenants from a mounted directory: one file per tenant, named by ContextIdentifier and holding its system user token.
//! Names that begin with a dot are skipped, among them the `..data` of a Kubernetes mount.
//!
//! [`Directory::find`] reads the file, so that an exchange uses what is mounted this moment; a file that is new takes the
//! place of the database's tenant of the same name from the next look on. A look every second finds what changed, for the
//! list and for whoever holds a ticket. What cannot be read takes nothing away: the last look that succeeded stands, and a
//! file that has become unusable is not news.

mod file;
mod look;

use std::collections::HashSet;
use std::fs;
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{Semaphore, broadcast};

pub use file::TenantFileProblem;

use super::StoreError;
use super::changes::LOOK_INTERVAL;
use crate::clock::Clock;
use crate::identifiers::{ContextIdentifier, SystemUserToken};
use look::Look;

/// How long reading a tenant's file may take.
const READ_LIMIT: Duration = Duration::from_secs(2);
/// After so many changes those who hear of them get a turn.
const RECEIVERS_TURN: usize = 256;
/// A look that takes long is followed by a pause this many times as long, within a bound.
const LOOK_SHARE: u32 = 20;
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How many threads may be held up by a mount that does not answer.
const READERS: usize = 8;

/// The directory, and what its last look found.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    last_look: RwLock<Arc<Look>>,
    readers: Arc<Semaphore>,
}

/// A tenant whose file is usable.
#[derive(Debug)]
pub(super) struct DirectoryTenant {
    /// Spelled like the file's name.
    pub(super) context_identifier: ContextIdentifier,
    pub(super) system_user_token: SystemUserToken,
}

impl Directory {
    /// Looks at the directory for the first time. It must be there.
    pub(super) async fn open(path: PathBuf) -> Result<Self, StoreError> {
        let readers = Arc::new(Semaphore::new(READERS));
        let directory = Self { path, last_look: RwLock::default(), readers };
        match directory.look().await {
            Ok(_) => Ok(directory),
            Err(source) => Err(StoreError::TenantsDirectory { path: directory.path, source }),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The tenant as its file is this moment. A file that is there and cannot be used is an error, so that the
    /// database's tenant of the same name does not silently take its place.
    pub(super) async fn find(
        &self,
        context_identifier: ContextIdentifier,
    ) -> Result<Option<DirectoryTenant>, StoreError> {
        let last_look = self.last_look();
        let (path, known) = (self.path.clone(), Arc::clone(&last_look));
        match self.blocking(READ_LIMIT, move || read(&path, &known, context_identifier)).await {
            Ok(Reading::Tenant(tenant)) => Ok(Some(tenant)),
            Ok(Reading::Nothing) => Ok(None),
            Ok(Reading::Unusable(path, problem)) => Err(StoreError::TenantFile { path, problem }),
            Ok(Reading::DirectoryGone) => self.last_known(&last_look, context_identifier),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                Err(StoreError::TimedOut { path: self.path.clone() })
            }
            Err(source) => Err(StoreError::TenantsDirectory { path: self.path.clone(), source }),
        }
    }

    /// Whether the last look found a file for the tenant, be it usable or not.
    pub(super) fn knows(&self, context_identifier: ContextIdentifier) -> bool {
        self.last_look().files.contains_key(&context_identifier)
    }

    /// Up to `limit` usable tenants after `after`, as the last look found them.
    pub(super) fn page(&self, after: Option<ContextIdentifier>, limit: usize) -> Vec<DirectoryTenant> {
        let last_look = self.last_look();
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        last_look
            .files
            .range((after, Bound::Unbounded))
            .filter(|(_, file)| file.problem.is_none())
            .filter_map(|(context_identifier, _)| last_look.tenant(*context_identifier))
            .take(limit)
            .collect()
    }

    /// Looks every second and publishes what changed, until it is dropped. Looks at a huge directory are rarer.
    pub(super) async fn watch(self: Arc<Self>, clock: Arc<dyn Clock>, changes: broadcast::Sender<ContextIdentifier>) {
        let (mut failing, mut pause) = (false, LOOK_INTERVAL);
        loop {
            clock.sleep(pause).await;
            let began = clock.now();
            let outcome = self.look().await;
            let took = Duration::try_from(clock.now().duration_since(began)).unwrap_or_default();
            pause = took.saturating_mul(LOOK_SHARE).clamp(LOOK_INTERVAL, LONGEST_PAUSE);
            match &outcome {
                Err(error) if !failing => tracing::warn!(
                    path = %self.path.display(), %error,
                    "the tenants' directory cannot be read; what was read last stays in use",
                ),
                Ok(_) if failing => tracing::info!(path = %self.path.display(), "the tenants' directory is read again"),
                _ => {}
            }
            failing = outcome.is_err();
            for (number, context_identifier) in outcome.unwrap_or_default().into_iter().enumerate() {
                if number % RECEIVERS_TURN == 0 {
                    // Thousands of changes at once: a receiver that is behind would have to forget every tenant.
                    tokio::task::yield_now().await;
                }
                // Without a receiver there is no one to forget anything.
                drop(changes.send(context_identifier));
            }
        }
    }

    /// Answers the tenants whose token is another than before.
    async fn look(&self) -> io::Result<HashSet<ContextIdentifier>> {
        let (path, before) = (self.path.clone(), self.last_look());
        // No limit: nobody waits for it, and the next look begins after this one.
        let (look, changed) = self.blocking(Duration::MAX, move || Look::again(&path, &before)).await??;
        *self.last_look.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(look);
        Ok(changed)
    }

    fn last_look(&self) -> Arc<Look> {
        Arc::clone(&self.last_look.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What stands in for a directory that is away. A file that was never usable hides the database's tenant still.
    fn last_known(
        &self,
        last_look: &Look,
        context_identifier: ContextIdentifier,
    ) -> Result<Option<DirectoryTenant>, StoreError> {
        let Some(file) = last_look.files.get(&context_identifier) else { return Ok(None) };
        match (last_look.tenant(context_identifier), &file.problem) {
            (None, Some(problem)) => {
                Err(StoreError::TenantFile { path: self.path.join(file.name.as_str()), problem: problem.clone() })
            }
            (tenant, _) => Ok(tenant),
        }
    }

    /// Runs file work on a thread of its own kind. One that hangs keeps its permit, so that few threads ever do.
    async fn blocking<T: Send + 'static>(
        &self,
        limit: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let run = async {
            let permit = Arc::clone(&self.readers).acquire_owned().await.map_err(io::Error::other)?;
            let work = move || {
                let outcome = work();
                drop(permit);
                outcome
            };
            tokio::task::spawn_blocking(work).await.map_err(io::Error::other)
        };
        // A limit of the machine's time: it guards against a mount that hangs, which no test clock moves.
        tokio::time::timeout(limit, run).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }
}

/// What reading a tenant's file gave.
enum Reading {
    Tenant(DirectoryTenant),
    Nothing,
    Unusable(PathBuf, TenantFileProblem),
    DirectoryGone,
}

/// Tries the names that the tenant's file can have without listing the directory: the one seen last, the spelling asked
/// for, and lower case. Another spelling is known after the next look.
fn read(directory: &Path, last_look: &Look, asked: ContextIdentifier) -> Reading {
    let known = last_look.files.get(&asked);
    if let Some(file) = known
        && let Some(problem @ TenantFileProblem::SameTenant { .. }) = &file.problem
    {
        return Reading::Unusable(directory.join(file.name.as_str()), problem.clone());
    }
    let lower_case = asked.key().parse().unwrap_or(asked);
    let mut names: Vec<ContextIdentifier> =
        known.map(|file| file.name).into_iter().chain([asked, lower_case]).collect();
    names.dedup_by_key(|name| name.as_str().to_owned());
    for name in names {
        let path = directory.join(name.as_str());
        match file::read(&path) {
            Ok(Some(system_user_token)) => {
                return Reading::Tenant(DirectoryTenant { context_identifier: name, system_user_token });
            }
            Err(problem) if is_there(directory) => return Reading::Unusable(path, problem),
            Ok(None) | Err(_) => {}
        }
    }
    if is_there(directory) { Reading::Nothing } else { Reading::DirectoryGone }
}

/// The dot makes it fail as well when the directory's files cannot be reached for want of permission.
fn is_there(directory: &Path) -> bool {
    fs::metadata(directory.join(".")).is_ok()
}

#[cfg(test)]
mod tests;
