//! What is kept between runs: tenants, with their system user tokens and what their first exchange told.
//!
//! ```text
//! Store::open -> sqlite::Database ---\
//!             -> directory::Directory --> RegisteredTenants (the Tenants that everyone uses)
//!                                    \--> changes(): whose ticket must be forgotten
//! ```

mod changes;
#[cfg(test)]
mod contract;
mod directory;
mod error;
mod registered_tenants;
mod sqlite;
mod system_user_token;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tokio::sync::broadcast;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

pub use directory::TenantFileProblem;
pub use error::StoreError;
pub use system_user_token::{MAX_SYSTEM_USER_TOKEN_LENGTH, TokenProblem, check_system_user_token};

use crate::clock::Clock;
use crate::identifiers::{ContextIdentifier, SystemUserToken};
use changes::ChangeFeed;
use directory::Directory;
use registered_tenants::RegisteredTenants;
use sqlite::Database;

/// How many changes a receiver may be behind before it hears `Lagged`.
const CHANGES_KEPT: usize = 4096;

/// Where things are kept.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `sqlite://PATH`, the path taken literally. Its directory must exist.
    pub url: String,
    /// A directory with one file per tenant. None are read when absent.
    pub tenants_directory: Option<PathBuf>,
}

/// A registered tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// Its name, as it was registered.
    pub context_identifier: ContextIdentifier,
    /// What is signed and exchanged for its tickets.
    pub system_user_token: SystemUserToken,
    /// Where the system user token is kept.
    pub source: TenantSource,
    /// The database serial that its tickets must come from. Absent before the first exchange.
    pub serial: Option<String>,
    /// The last known base URL of its REST API. Absent before the first exchange.
    pub webapi_url: Option<String>,
    /// When it was registered. Absent for a tenant of the directory.
    pub create_time: Option<Timestamp>,
    /// When its system user token was last replaced. Absent for a tenant of the directory.
    pub update_time: Option<Timestamp>,
}

/// Where a tenant's system user token is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TenantSource {
    /// The database, which `put` and `delete` change.
    Database,
    /// The mounted directory, which only its owner changes. It wins over the database.
    Directory,
}

/// The registered tenants.
#[async_trait]
pub trait Tenants: fmt::Debug + Send + Sync {
    /// The tenant as it is this moment, if it is registered.
    async fn find(&self, context_identifier: ContextIdentifier) -> Result<Option<Tenant>, StoreError>;

    /// Up to `limit` tenants that come after `after`, ordered by [`ContextIdentifier`]. Fewer than `limit`, which
    /// counts as 10,000 when it is more, means that there are no others. Tenants of the directory are those of its
    /// last look, at most a second ago. A tenant that cannot be read is left out and logged.
    async fn list(&self, after: Option<ContextIdentifier>, limit: u32) -> Result<Vec<Tenant>, StoreError>;

    /// Registers a tenant or replaces its system user token. `accept_serial` forgets the pinned serial. A tenant of the
    /// directory is [`StoreError::ReadOnly`], unless `accept_serial` comes with the very token that its file holds:
    /// that changes only what the database keeps about it.
    async fn put(
        &self,
        context_identifier: ContextIdentifier,
        system_user_token: SystemUserToken,
        accept_serial: bool,
        now: Timestamp,
    ) -> Result<Tenant, StoreError>;

    /// Removes a tenant with all that is kept about it. False when it was not registered.
    async fn delete(&self, context_identifier: ContextIdentifier) -> Result<bool, StoreError>;

    /// Pins the serial of the tenant's database unless one is pinned, and answers the pinned one.
    async fn pin_serial(&self, context_identifier: ContextIdentifier, serial: &str) -> Result<String, StoreError>;

    /// Remembers the base URL of the tenant's REST API.
    async fn record_webapi_url(&self, context_identifier: ContextIdentifier, url: &str) -> Result<(), StoreError>;
}

/// The open store.
#[derive(Debug)]
pub struct Store {
    /// The registered tenants.
    pub tenants: Arc<dyn Tenants>,
    database: Database,
    changes: broadcast::Sender<ContextIdentifier>,
    background: TaskTracker,
    stop: CancellationToken,
    watch_ended: CancellationToken,
    _stop_when_dropped: DropGuard,
}

impl Store {
    /// Opens the database, which is created or brought up to date when needed, reads the tenants' directory, and starts
    /// to watch both for changes.
    pub async fn open(settings: &Settings, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let directory = match &settings.tenants_directory {
            Some(path) => Some(Arc::new(Directory::open(path.clone()).await?)),
            None => None,
        };
        let database = Database::open(&settings.url).await?;
        let (changes, _) = broadcast::channel(CHANGES_KEPT);
        let feed = Arc::new(ChangeFeed::new(database.clone(), changes.clone()).await?);

        let (background, stop, watch_ended) = (TaskTracker::new(), CancellationToken::new(), CancellationToken::new());
        let watch = |watch: BoxFuture<'static, ()>| {
            let (stop, ended) = (stop.clone(), watch_ended.clone().drop_guard());
            background.spawn(async move {
                let _told_by_a_panic_too = ended;
                stop.run_until_cancelled_owned(watch).await;
            });
        };
        watch(Arc::clone(&feed).watch(Arc::clone(&clock)).boxed());
        if let Some(directory) = directory.clone() {
            watch(directory.watch(clock, changes.clone()).boxed());
        }
        background.close();

        Ok(Self {
            tenants: Arc::new(RegisteredTenants::new(database.clone(), directory, feed)),
            database,
            changes,
            background,
            watch_ended,
            _stop_when_dropped: stop.clone().drop_guard(),
            stop,
        })
    }

    /// From now on, every tenant that appeared, went away, got another system user token or lost its pinned serial:
    /// through this store, another process on the same database, or the directory. After
    /// [`Lagged`](broadcast::error::RecvError::Lagged) any tenant may have changed.
    pub fn changes(&self) -> broadcast::Receiver<ContextIdentifier> {
        self.changes.subscribe()
    }

    /// Ends when a watch has ended: one by itself, which is a fault, or all because the store is closed or dropped. From
    /// then on [`changes`](Self::changes) is not complete.
    pub fn watch_ended(&self) -> impl Future<Output = ()> + Send + use<> {
        self.watch_ended.clone().cancelled_owned()
    }

    /// Stops watching, lets what is being written finish, and closes the database. Whoever still uses
    /// [`Store::tenants`] gets [`StoreError::Closed`]. Takes at most a few seconds.
    pub async fn close(&self) {
        self.stop.cancel();
        self.background.wait().await;
        self.database.close().await;
    }
}

#[cfg(test)]
mod tests;
