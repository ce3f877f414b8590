use sqlx::{AssertSqlSafe, Executor, Row, SqliteConnection};

use super::failure::Failure;
use super::{Database, transaction};
use crate::store::StoreError;
use crate::store::copy::{Copied, TABLES};

impl Database {
    /// Takes over all that an SQLite database holds, in one transaction. This one must be empty.
    pub(in crate::store) async fn fill(&self, source: &mut SqliteConnection) -> Result<Copied, StoreError> {
        let fill = async {
            let mut transaction = transaction::Transaction::begin(&self.pool, transaction::LONG_WRITE).await?;
            // Of two who fill it the second finds it full.
            transaction.execute("SELECT revision FROM tenant_revision FOR UPDATE").await?;
            let mut copied = Copied::default();
            for table in &TABLES {
                let count = format!("SELECT count(*) FROM {}", table.name);
                let count = sqlx::query(AssertSqlSafe(count)).persistent(false).fetch_one(&mut *transaction).await?;
                if count.try_get::<i64, _>(0)? > 0 {
                    return Err(Failure::Layout("it holds tenants, grants or sign-ins already: nothing is copied"));
                }
                copied.rows.push((table.name, table.copy(source, &mut transaction).await?));
            }
            transaction.commit().await?;
            Ok(copied)
        };
        fill.await.map_err(|failure: Failure| failure.at(&self.place))
    }
}
