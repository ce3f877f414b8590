//! What every database engine does for the store. Each engine has its own statements; what is decided above them is
//! decided once.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::time::Instant;

use super::intake::IntakeRecords;
use super::sealed::Sealed;
use super::sealer::Sealer;
use super::{
    Grants, Observations, PendingSignIns, SeenNotices, Settings, SharedTickets, StoreError, Tenant, postgres, sqlite,
};
use crate::identifiers::{ContextIdentifier, SystemUserToken};
use crate::metrics;

const SQLITE: &str = "sqlite:";

/// Whether a URL names an SQLite database.
pub(super) fn is_sqlite(url: &str) -> bool {
    url.starts_with(SQLITE)
}

/// Opens the database that the settings name.
pub(super) async fn open(settings: &Settings, sealer: Arc<Sealer>) -> Result<Arc<dyn Engine>, StoreError> {
    if is_sqlite(&settings.url) {
        Ok(Arc::new(sqlite::Database::open(&settings.url, sealer).await?))
    } else {
        Ok(Arc::new(postgres::Database::open(settings, sealer).await?))
    }
}

/// An open database.
#[async_trait]
pub(super) trait Engine:
    TenantRecords + IntakeRecords + ChangeLog + SealedRecords + Grants + PendingSignIns + SeenNotices
{
    /// What processes on this database share, if it is one that they may.
    fn shared_tickets(self: Arc<Self>) -> Option<Arc<dyn SharedTickets>>;

    /// Lets what is being done finish and closes the database. Takes at most a few seconds.
    async fn close(&self);
}

/// The tenants that the database holds, and what is observed about these and others.
#[async_trait]
pub(super) trait TenantRecords: fmt::Debug + Send + Sync {
    /// The tenant's record.
    async fn find(&self, context_identifier: ContextIdentifier) -> Result<Option<Tenant>, StoreError>;

    /// Up to `limit` tenants whose keys come after `after`. A record that cannot be used is left out and logged.
    async fn page(&self, after: &str, limit: u32) -> Result<Page, StoreError>;

    /// Registers or changes a tenant, and notes that when its token or its pinned serial changed.
    async fn put(
        &self,
        context_identifier: ContextIdentifier,
        token: &SystemUserToken,
        accept_serial: bool,
        now: Timestamp,
    ) -> Result<Tenant, StoreError>;

    /// Removes all that is kept about a tenant, and notes that when it was registered here.
    async fn delete(&self, context_identifier: ContextIdentifier) -> Result<bool, StoreError>;

    /// What is known about each of some tenants.
    async fn observations(&self, context_identifiers: &[ContextIdentifier]) -> Result<Vec<Observations>, StoreError>;

    /// Forgets the pinned serial, and notes that when one was pinned.
    async fn accept_serial(&self, context_identifier: ContextIdentifier) -> Result<(), StoreError>;

    /// See [`Tenants::observe`](super::Tenants::observe). Nothing for a tenant that is neither here nor, as `elsewhere`
    /// says, registered elsewhere.
    async fn observe(
        &self,
        context_identifier: ContextIdentifier,
        told: &Observations,
        elsewhere: bool,
    ) -> Result<Option<Observations>, StoreError>;
}

/// A part of the tenants, in their order.
pub(super) struct Page {
    pub(super) tenants: Vec<Tenant>,
    /// Where the next page begins. Absent on the last one.
    pub(super) next: Option<String>,
}

/// The changes of tenants, numbered in the order in which they were committed: whoever has seen one misses none before it.
#[async_trait]
pub(super) trait ChangeLog: fmt::Debug + Send + Sync {
    /// The number of the last change.
    async fn revision(&self) -> Result<i64, StoreError>;

    /// Up to `limit` changes after `revision`, oldest first, each with its number. A row that names no tenant has none.
    async fn changes_after(
        &self,
        revision: i64,
        limit: u32,
    ) -> Result<Vec<(i64, Option<ContextIdentifier>)>, StoreError>;

    /// How long a look for changes may be put off while [`changed`](Self::changed) says nothing.
    fn look_interval(&self) -> Duration;

    /// Ends soon after somebody has changed something, if the engine hears of it. Never ends otherwise.
    async fn changed(&self);
}

/// The records that hold secrets, as they are sealed.
#[async_trait]
pub(super) trait SealedRecords: fmt::Debug + Send + Sync {
    /// The columns that hold them.
    fn columns(&self) -> &'static [Sealed];

    /// The first prefix after this one that a record of the column has.
    async fn next_prefix(&self, sealed: &Sealed, after: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// How many records of the column have another prefix.
    async fn count_others(&self, sealed: &Sealed, prefix: &[u8]) -> Result<u64, StoreError>;

    /// Up to `limit` records of the column that have another prefix, past the first `skip` of them.
    async fn page_of_others(
        &self,
        sealed: &Sealed,
        prefix: &[u8],
        limit: u32,
        skip: u64,
    ) -> Result<Vec<SealedRecord>, StoreError>;

    /// Puts `content` in the record's place, if it is still what it was.
    async fn replace(&self, sealed: &Sealed, record: &SealedRecord, content: Vec<u8>) -> Result<(), StoreError>;
}

/// A record that holds a secret.
pub(super) struct SealedRecord {
    pub(super) content: Vec<u8>,
    /// What names its row.
    pub(super) row: Vec<String>,
}

/// A record that cannot be used is left out. Its key is shown escaped and short: a broken database may hold anything in its
/// place.
pub(super) fn log_bad_record(key: &str, problem: &str) {
    let tenant: String = key.chars().take(ContextIdentifier::MAX_LENGTH).collect();
    tracing::warn!(?tenant, problem, "a tenant's record cannot be used and is left out: put the tenant again");
}

/// A shared ticket that cannot be used counts as absent.
pub(super) fn log_bad_ticket(tenant: ContextIdentifier, problem: &str) {
    tracing::warn!(%tenant, problem, "a shared ticket cannot be used: it is not");
}

/// An operation of the database, measured by the machine's time as its limit is.
pub(super) struct Operation {
    system: &'static str,
    began: Instant,
}

impl Operation {
    /// It begins.
    pub(super) fn begin(system: &'static str) -> Self {
        Self { system, began: Instant::now() }
    }

    /// It has come to this.
    pub(super) fn end<T>(self, outcome: Result<T, StoreError>) -> Result<T, StoreError> {
        let error = match &outcome {
            Ok(_) => "",
            Err(StoreError::TimedOut { .. }) => "timeout",
            Err(_) => metrics::OTHER,
        };
        metrics::DB_CLIENT_OPERATION_DURATION.record(self.began.elapsed(), &[self.system, error], None);
        outcome
    }
}
