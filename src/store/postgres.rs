//! PostgreSQL, for more than one ticketd.
//!
//! Everything works through PgBouncer in transaction mode: each operation is one transaction, no statement is kept prepared
//! and nothing is set for longer than a transaction. Only to hear of changes at once takes a connection of its own.

mod address;
mod changes;
mod failure;
mod filling;
mod grants;
mod intake;
mod layout;
mod listener;
mod notices;
mod sealed_records;
mod shared_tickets;
mod sign_ins;
mod tenants;
mod transaction;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::postgres::{PgArguments, PgPool, PgPoolOptions};
use sqlx::query::Query;
use tokio::sync::{Notify, broadcast};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::engine::{Engine, measured};
use super::sealer::Sealer;
use super::{Settings, SharedTickets, StoreError};
use crate::crypto::random_token;
use crate::identifiers::ContextIdentifier;
pub(super) use address::Address;
use failure::Failure;
use transaction::Transaction;

/// How long an operation waits for a connection, also for a new one. So soon callers hear that the database is gone.
const ACQUIRE_LIMIT: Duration = Duration::from_millis(500);
/// How long a whole operation takes at most: a connection, and statements that the server itself ends after two seconds.
const OPERATION_LIMIT: Duration = Duration::from_secs(3);
/// How long a connection is used. After a failover those that lead to the former primary are gone by then.
const MAX_LIFETIME: Duration = Duration::from_mins(5);
/// How much news a waiting load may be behind before it looks for itself.
const NEWS_KEPT: usize = 1024;
/// How long closing takes at most.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// The open database. Clones share it.
#[derive(Clone)]
pub(super) struct Database {
    place: Arc<str>,
    sealer: Arc<Sealer>,
    pool: PgPool,
    /// Told when somebody has changed something.
    changed: Arc<Notify>,
    /// Told whose tickets others put.
    news: broadcast::Sender<ContextIdentifier>,
    /// Names this process in leases.
    owner: Arc<str>,
    stop: CancellationToken,
    _stop_when_dropped: Arc<DropGuard>,
}

impl Database {
    /// Opens the database that the settings name, and brings it up to date. Its secrets are sealed by `sealer`.
    pub(super) async fn open(settings: &Settings, sealer: Arc<Sealer>) -> Result<Self, StoreError> {
        let address = Address::parse(&settings.url).map_err(StoreError::Url)?;
        let session =
            settings.postgres.session_url.as_deref().map(Address::parse).transpose().map_err(StoreError::Url)?;
        let owner: Arc<str> = random_token().map_err(StoreError::Randomness)?.into();
        let place: Arc<str> = address.to_string().into();
        let options = address.options(&settings.postgres);
        let session = session.map(|session| session.options(&settings.postgres));

        layout::bring_up_to_date(session.as_ref().unwrap_or(&options)).await.map_err(|failure| failure.at(&place))?;
        let pool = PgPoolOptions::new()
            .max_connections(settings.postgres.max_connections)
            .acquire_timeout(ACQUIRE_LIMIT)
            .max_lifetime(MAX_LIFETIME)
            .connect_lazy_with(options);
        let (changed, stop) = (Arc::new(Notify::new()), CancellationToken::new());
        let (news, _) = broadcast::channel(NEWS_KEPT);
        if let Some(session) = session {
            let listening = listener::listen(session, Arc::clone(&changed), news.clone());
            tokio::spawn(stop.clone().run_until_cancelled_owned(listening));
        }
        let stop_when_dropped = Arc::new(stop.clone().drop_guard());
        Ok(Self { place, sealer, pool, changed, news, owner, stop, _stop_when_dropped: stop_when_dropped })
    }

    /// Runs one operation within its limit. The limit is one of the machine's time: it guards against a server or a network
    /// that hangs, which no test clock moves.
    async fn bounded<T>(&self, operation: impl Future<Output = Result<T, Failure>>) -> Result<T, StoreError> {
        let bounded = async {
            match tokio::time::timeout(OPERATION_LIMIT, operation).await {
                Ok(outcome) => outcome.map_err(|failure| failure.at(&self.place)),
                Err(_) => Err(Failure::TimedOut.at(&self.place)),
            }
        };
        measured("postgresql", bounded).await
    }

    /// A transaction that reads.
    async fn reading(&self) -> Result<Transaction, Failure> {
        Transaction::begin(&self.pool, transaction::READ).await
    }

    /// A transaction that writes and changes nobody's ticket.
    async fn writing(&self) -> Result<Transaction, Failure> {
        Transaction::begin(&self.pool, transaction::WRITE).await
    }
}

#[async_trait]
impl Engine for Database {
    fn shared_tickets(self: Arc<Self>) -> Option<Arc<dyn SharedTickets>> {
        Some(self)
    }

    async fn close(&self) {
        self.stop.cancel();
        if let Err(error) = self.release_all().await {
            tracing::warn!(%error, "leases cannot be given back: they lapse");
        }
        if tokio::time::timeout(CLOSE_LIMIT, self.pool.close()).await.is_err() {
            tracing::warn!(database = %self.place, "the database's connections did not close in time; nothing is lost");
        }
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Database").field("place", &self.place).finish_non_exhaustive()
    }
}

/// A statement that is not kept prepared: the next transaction may be another server connection's.
fn query(statement: &'static str) -> Query<'static, sqlx::Postgres, PgArguments> {
    sqlx::query(statement).persistent(false)
}

#[cfg(test)]
mod tests;
