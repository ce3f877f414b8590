//! What is kept between runs: tenants, with their system user tokens and what their first exchange told; the users'
//! grants; the sign-ins that wait for their users; which notices came lately; and, on PostgreSQL, the tickets that
//! processes share. What operators hand in by SQL becomes tenants by way of `intake`.
//!
//! ```text
//! Store::open -> Engine -------------\
//!             -> directory::Directory --> RegisteredTenants (the Tenants that everyone uses)
//!                  |                 \--> changes(): whose ticket must be forgotten
//!                  \--> Grants, PendingSignIns, SeenNotices, SharedTickets
//! ```

mod changes;
#[cfg(test)]
mod contract;
mod copy;
mod directory;
mod engine;
mod error;
mod grants;
mod intake;
mod notices;
mod postgres;
mod records;
mod registered_tenants;
mod reseal;
mod sealed;
mod sealer;
mod sealing_keys;
mod shared_tickets;
mod sign_ins;
mod sqlite;
mod system_user_token;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::broadcast;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

pub use copy::Copied;
pub use directory::TenantFileProblem;
pub use error::StoreError;
pub use grants::{Grant, Grants, user_key};
pub use notices::{MAX_SEEN_NOTICES, Seen, SeenNotices};
pub use sealed::Resealed;
pub use sealing_keys::KeyFileProblem;
pub use shared_tickets::{Claim, Fence, Lease, News, SharedOverview, SharedTicket, SharedTickets};
pub use sign_ins::{MAX_PENDING_SIGN_INS, PendingSignIn, PendingSignIns, TakenSignIn};
pub use system_user_token::{MAX_SYSTEM_USER_TOKEN_LENGTH, TokenProblem, check_system_user_token};

use crate::clock::Clock;
use crate::identifiers::{ApplicationId, ContextIdentifier, DatabasePassword, Environment, SystemUserToken};
use changes::ChangeFeed;
use directory::Directory;
use engine::Engine;
use intake::Intake;
use notices::PublishedNotices;
use registered_tenants::RegisteredTenants;
use sealer::Sealer;

/// How many changes a receiver may be behind before it hears `Lagged`.
const CHANGES_KEPT: usize = 4096;
/// How many records are sealed again between two looks for others.
const RESEAL_STEP: u32 = 100;

/// Where things are kept.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `sqlite://PATH`, the path taken literally, where the directory must exist; or `postgres://USER@HOST:PORT/DATABASE`.
    pub url: String,
    /// A directory with one file per tenant. None are read when absent.
    pub tenants_directory: Option<PathBuf>,
    /// What a PostgreSQL database needs beside its URL.
    pub postgres: PostgresSettings,
    /// How secrets are sealed.
    pub sealing: Sealing,
}

impl Settings {
    /// Whether they name an SQLite database. Else it is one of PostgreSQL's.
    pub fn is_sqlite(&self) -> bool {
        engine::is_sqlite(&self.url)
    }
}

/// How a PostgreSQL database is connected to.
#[derive(Clone, Debug)]
pub struct PostgresSettings {
    /// The user's password.
    pub password: Option<DatabasePassword>,
    /// Root certificates in PEM that are trusted as well.
    pub ca_file: Option<PathBuf>,
    /// The same database without PgBouncer, to hear of changes at once and to bring it up to date.
    pub session_url: Option<String>,
    /// How many connections are open at once.
    pub max_connections: u32,
}

impl PostgresSettings {
    /// Says what is wrong with a URL that should name a database of PostgreSQL's.
    pub fn check_url(url: &str) -> Result<(), &'static str> {
        postgres::Address::parse(url).map(drop)
    }
}

impl Default for PostgresSettings {
    fn default() -> Self {
        Self { password: None, ca_file: None, session_url: None, max_connections: 10 }
    }
}

/// With what secrets are sealed, and for whom.
#[derive(Clone, Debug)]
pub struct Sealing {
    /// Files with sealing keys: the first one's seals and opens, the others' open only.
    pub key_files: Vec<PathBuf>,
    /// Whose environment's secrets are kept.
    pub environment: Environment,
    /// Whose application's secrets are kept.
    pub application: ApplicationId,
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

/// What SuperOffice told about a tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Observations {
    /// The serial of its database.
    pub serial: Option<String>,
    /// The base URL of its REST API.
    pub webapi_url: Option<String>,
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

    /// Keeps what SuperOffice told about a tenant that was found, in one write at most, and answers what is kept of it
    /// now. The first serial is pinned. A base URL takes the place of the one before, unless it came with another
    /// serial than the pinned one.
    async fn observe(&self, tenant: &Tenant, told: &Observations) -> Result<Observations, StoreError>;
}

/// Brings the database that the settings name up to date, which opening it does as well.
pub async fn bring_up_to_date(settings: &Settings) -> Result<(), StoreError> {
    let engine = engine::open(settings, Arc::new(Sealer::open(&settings.sealing)?)).await?;
    engine.close().await;
    Ok(())
}

/// Copies all that the SQLite database `from` holds into the PostgreSQL database that the settings name, which must be
/// empty: all or nothing.
pub async fn copy_from_sqlite(from: &str, settings: &Settings) -> Result<Copied, StoreError> {
    let sealer = Arc::new(Sealer::open(&settings.sealing)?);
    let source = sqlite::Database::open_existing(from, Arc::clone(&sealer)).await?;
    let target = postgres::Database::open(settings, Arc::clone(&sealer)).await?;
    let copied = async {
        sealer::check_keys(&sealer.keys(), &reseal::keys_in_use(&source).await?)?;
        copy::copy(&source, &target).await
    };
    let copied = copied.await;
    source.close().await;
    target.close().await;
    copied
}

/// The open store.
#[derive(Debug)]
pub struct Store {
    /// The registered tenants.
    pub tenants: Arc<dyn Tenants>,
    /// The users' grants.
    pub grants: Arc<dyn Grants>,
    /// The sign-ins that wait for their users.
    pub sign_ins: Arc<dyn PendingSignIns>,
    /// The tenant status notices that were taken.
    pub notices: Arc<dyn SeenNotices>,
    /// What the processes on this store share. Nothing on SQLite, which is one process's.
    pub shared_tickets: Option<Arc<dyn SharedTickets>>,
    engine: Arc<dyn Engine>,
    sealer: Arc<Sealer>,
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
        let sealer = Arc::new(Sealer::open(&settings.sealing)?);
        let engine = engine::open(settings, Arc::clone(&sealer)).await?;
        sealer::check_keys(&sealer.keys(), &reseal::keys_in_use(&*engine).await?)?;
        let (changes, _) = broadcast::channel(CHANGES_KEPT);
        let feed = Arc::new(ChangeFeed::new(engine.clone(), changes.clone()).await?);
        let intake = Intake::new(engine.clone(), directory.clone());

        let (background, stop, watch_ended) = (TaskTracker::new(), CancellationToken::new(), CancellationToken::new());
        let watch = |watch: BoxFuture<'static, ()>| {
            let (stop, ended) = (stop.clone(), watch_ended.clone().drop_guard());
            background.spawn(async move {
                let _told_by_a_panic_too = ended;
                stop.run_until_cancelled_owned(watch).await;
            });
        };
        watch(Arc::clone(&feed).watch(intake, Arc::clone(&clock)).boxed());
        let key_files = settings.sealing.key_files.clone();
        watch(sealing_keys::watch(key_files, Arc::clone(&sealer), engine.clone(), Arc::clone(&clock)).boxed());
        if let Some(directory) = directory.clone() {
            watch(directory.watch(clock, changes.clone()).boxed());
        }
        background.close();

        Ok(Self {
            notices: Arc::new(PublishedNotices { records: engine.clone(), feed: Arc::clone(&feed) }),
            tenants: Arc::new(RegisteredTenants::new(engine.clone(), directory, feed)),
            grants: engine.clone(),
            sign_ins: engine.clone(),
            shared_tickets: engine.clone().shared_tickets(),
            engine,
            sealer,
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

    /// How many secrets other keys than the primary one sealed.
    pub async fn count_to_reseal(&self) -> Result<u64, StoreError> {
        reseal::count_to_reseal(&*self.engine, &self.sealer).await
    }

    /// Counts how many secrets each sealing key sealed, by the keys' names. It reads whole tables.
    pub fn counting(
        &self,
    ) -> impl Fn() -> BoxFuture<'static, Result<BTreeMap<String, u64>, StoreError>> + Send + use<> {
        let engine = Arc::clone(&self.engine);
        move || {
            let engine = Arc::clone(&engine);
            async move { reseal::count_by_key(&*engine).await }.boxed()
        }
    }

    /// Seals every secret with the primary key that another one sealed, and tells what became of each. What is done is
    /// done: stopped and started again, it goes on with the rest. Others may use the store meanwhile.
    pub async fn reseal(&self, mut tell: impl FnMut(Resealed)) -> Result<(), StoreError> {
        for sealed in self.engine.columns() {
            let mut skip = 0;
            loop {
                let outcomes = reseal::reseal(&*self.engine, &self.sealer, sealed, RESEAL_STEP, skip).await?;
                if outcomes.is_empty() {
                    break;
                }
                for outcome in outcomes {
                    // One that cannot be opened is found again: it is skipped by its number.
                    skip += u64::from(outcome != Resealed::Done);
                    tell(outcome);
                }
            }
        }
        Ok(())
    }

    /// Stops watching, lets what is being written finish, and closes the database. Whoever still uses
    /// [`Store::tenants`] gets [`StoreError::Closed`]. Takes at most a few seconds.
    pub async fn close(&self) {
        self.stop.cancel();
        self.background.wait().await;
        self.engine.close().await;
    }
}

#[cfg(test)]
mod tests;
