//! One SQLite file: WAL, one writer, a few readers, every commit on the disk before it is answered.

mod changes;
mod failure;
mod file;
mod grants;
mod intake;
mod migration;
mod notices;
mod sealed_records;
mod sign_ins;
mod tenants;
mod told;

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Sqlite};

use super::engine::{Engine, Operation};
use super::sealer::Sealer;
use super::{SharedTickets, StoreError};
use failure::Failure;
use told::Gathered;

/// How long a read waits for a connection: in the order they came, so that in a flood of callers who ask for tenants
/// that are not registered one who asks for a registered tenant waits for its turn, and gets it.
const READ_ACQUIRE_LIMIT: Duration = Duration::from_secs(2);
/// How long a whole read takes at most.
const READ_LIMIT: Duration = Duration::from_secs(3);
/// How long a write takes at most, most of it waiting for the writes before it: each waits for the disk.
const WRITE_LIMIT: Duration = Duration::from_secs(5);
/// How long SQLite waits for another process's lock.
const BUSY_LIMIT: Duration = Duration::from_secs(2);
/// How long closing takes at most.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);
/// How often opening is tried while others open the database: SQLite does not wait for the lock that the switch to WAL
/// takes.
const OPEN_ATTEMPTS: u32 = 10;
const READERS: u32 = 4;

/// The open database. Clones share it.
#[derive(Clone)]
pub(super) struct Database {
    path: PathBuf,
    sealer: Arc<Sealer>,
    writer: SqlitePool,
    readers: SqlitePool,
    /// The reader that looks tenants up, kept from one to the next: whoever gives a connection back to the pool has its
    /// thread woken to ask whether it is well.
    finder: Arc<Mutex<Option<PoolConnection<Sqlite>>>>,
    gathered: Arc<Gathered>,
}

impl Database {
    /// Opens the database that `url` names, makes it when it is missing, and brings it up to date. Its secrets are sealed
    /// by `sealer`.
    pub(super) async fn open(url: &str, sealer: Arc<Sealer>) -> Result<Self, StoreError> {
        let path = file::path(url)?;
        file::create_if_missing(&path)?;
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .busy_timeout(BUSY_LIMIT)
            .foreign_keys(true)
            .synchronous(SqliteSynchronous::Full)
            // What is deleted or replaced is overwritten: it was a secret.
            .pragma("secure_delete", "ON")
            // The file may come from elsewhere: what its schema says must not run functions.
            .pragma("trusted_schema", "OFF")
            .disable_statement_logging();

        let opening = async {
            for _ in 1..OPEN_ATTEMPTS {
                match connect(&options).await {
                    Err(failure) if failure.is_busy() => {}
                    outcome => return outcome,
                }
            }
            connect(&options).await
        };
        let (writer, readers) = bounded(&path, WRITE_LIMIT, opening).await?;
        Ok(Self { path, sealer, writer, readers, finder: Arc::default(), gathered: Arc::default() })
    }

    /// Opens a database that is there, as [`open`](Self::open) does.
    pub(super) async fn open_existing(url: &str, sealer: Arc<Sealer>) -> Result<Self, StoreError> {
        let path = file::path(url)?;
        if let Err(source) = path.metadata() {
            return Err(StoreError::Create { path, source });
        }
        Self::open(url, sealer).await
    }

    /// A transaction in which nobody else writes.
    pub(super) async fn lock(&self) -> Result<sqlx::Transaction<'static, Sqlite>, StoreError> {
        self.write(async { Ok(self.writer.begin_with("BEGIN IMMEDIATE").await?) }).await
    }

    /// A reader to look a tenant up with.
    async fn finder(&self) -> Result<PoolConnection<Sqlite>, sqlx::Error> {
        let kept = self.kept_finder().take();
        match kept {
            Some(connection) => Ok(connection),
            None => self.readers.acquire().await,
        }
    }

    /// Keeps a reader that is well for the next who looks a tenant up.
    fn keep_finder(&self, connection: PoolConnection<Sqlite>) {
        let mut kept = self.kept_finder();
        // Whoever waits for a reader waits in the pool, and then there is none there and none to be opened.
        let is_waited_for = self.readers.num_idle() == 0 && self.readers.size() >= READERS;
        if kept.is_none() && !is_waited_for && !self.readers.is_closed() {
            *kept = Some(connection);
        }
    }

    fn kept_finder(&self) -> MutexGuard<'_, Option<PoolConnection<Sqlite>>> {
        self.finder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read<T>(&self, operation: impl Future<Output = Result<T, Failure>>) -> Result<T, StoreError> {
        bounded(&self.path, READ_LIMIT, operation).await
    }

    async fn write<T>(&self, operation: impl Future<Output = Result<T, Failure>>) -> Result<T, StoreError> {
        bounded(&self.path, WRITE_LIMIT, operation).await
    }
}

#[async_trait]
impl Engine for Database {
    fn shared_tickets(self: Arc<Self>) -> Option<Arc<dyn SharedTickets>> {
        None
    }

    async fn close(&self) {
        let closing = async {
            // Closed from here on, so that no other is kept.
            let closing = self.readers.close();
            drop(self.kept_finder().take());
            closing.await;
            // Last, so that SQLite moves the write-ahead log into the database and removes it.
            self.writer.close().await;
        };
        if tokio::time::timeout(CLOSE_LIMIT, closing).await.is_err() {
            tracing::warn!(path = %self.path.display(), "the database did not close in time; nothing written is lost");
        }
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Database").field("path", &self.path).finish_non_exhaustive()
    }
}

async fn connect(options: &SqliteConnectOptions) -> Result<(SqlitePool, SqlitePool), Failure> {
    migration::refuse_foreign(options).await?;
    let writer = pool(1, WRITE_LIMIT).connect_with(options.clone().journal_mode(SqliteJournalMode::Wal)).await?;
    migration::bring_up_to_date(&writer).await?;
    let readers = pool(READERS, READ_ACQUIRE_LIMIT).connect_lazy_with(options.clone().pragma("query_only", "ON"));
    Ok((writer, readers))
}

fn pool(connections: u32, acquire_limit: Duration) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections)
        // A file does not hang up, and each look whether it has would change threads twice.
        .test_before_acquire(false)
        .acquire_timeout(acquire_limit)
        // A file does not fall over to another server: its connections need not be replaced.
        .idle_timeout(None)
        .max_lifetime(None)
}

/// The limit is one of the machine's time: it guards against a disk or a lock that hangs, which no test clock moves.
async fn bounded<T>(
    path: &std::path::Path,
    limit: Duration,
    operation: impl Future<Output = Result<T, Failure>>,
) -> Result<T, StoreError> {
    let measured = Operation::begin("sqlite");
    measured.end(match tokio::time::timeout(limit, operation).await {
        Ok(outcome) => outcome.map_err(|failure| failure.at(path)),
        Err(_) => Err(StoreError::TimedOut { path: path.to_owned() }),
    })
}

#[cfg(test)]
mod intake_tests;
#[cfg(test)]
mod sealing_tests;
#[cfg(test)]
mod tests;
