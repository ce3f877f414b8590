use std::ops::{Deref, DerefMut};

use sqlx::pool::PoolConnection;
use sqlx::postgres::PgPool;
use sqlx::{Executor, PgConnection, Postgres};

use super::failure::Failure;

/// The limits go with the transaction: what is set for a session would be another's behind PgBouncer. The last frees what
/// is locked by a ticketd that does not come back.
macro_rules! begin {
    ($begin:literal) => {
        concat!(
            $begin,
            "; SET LOCAL statement_timeout = '2s'; SET LOCAL lock_timeout = '1s'; \
             SET LOCAL idle_in_transaction_session_timeout = '5s'"
        )
    };
}

/// Begins a transaction that reads.
pub(super) const READ: &str = begin!("BEGIN READ ONLY");
/// Begins a transaction that writes, and of which each statement sees what was committed before it. Said aloud: the
/// server's default may be another.
pub(super) const WRITE: &str = begin!("BEGIN READ WRITE, ISOLATION LEVEL READ COMMITTED");

/// Begins a transaction that writes for as long as it takes.
pub(super) const LONG_WRITE: &str = "BEGIN READ WRITE; SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '10s'; \
                                     SET LOCAL idle_in_transaction_session_timeout = '1min'";

/// A transaction on a connection of the pool. One that is not committed takes its connection with it: whatever went wrong,
/// the server rolls back, nobody waits for it, and who comes next does not get a connection to a server that has gone or
/// is read-only now.
pub(super) struct Transaction {
    connection: PoolConnection<Postgres>,
    committed: bool,
}

impl Transaction {
    /// Begins one with these statements.
    pub(super) async fn begin(pool: &PgPool, statements: &'static str) -> Result<Self, Failure> {
        let mut transaction = Self { connection: pool.acquire().await?, committed: false };
        transaction.execute(statements).await?;
        Ok(transaction)
    }

    /// Makes what was done last.
    pub(super) async fn commit(mut self) -> Result<(), Failure> {
        self.execute("COMMIT").await?;
        self.committed = true;
        Ok(())
    }
}

impl Deref for Transaction {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if !self.committed {
            self.connection.close_on_drop();
        }
    }
}
