use async_trait::async_trait;
use sqlx::Row;
use sqlx::query::Query;

use super::Database;
use crate::store::StoreError;
use crate::store::engine::{SealedRecord, SealedRecords};
use crate::store::sealed::{SEALED, Sealed};

#[async_trait]
impl SealedRecords for Database {
    fn columns(&self) -> &'static [Sealed] {
        &SEALED
    }

    async fn next_prefix(&self, sealed: &Sealed, after: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(async { Ok(sqlx::query_scalar(sealed.next_key).bind(after).fetch_optional(&self.readers).await?) })
            .await
    }

    async fn count_others(&self, sealed: &Sealed, prefix: &[u8]) -> Result<u64, StoreError> {
        self.read(async {
            let count: i64 = sqlx::query_scalar(sealed.count).bind(prefix).fetch_one(&self.readers).await?;
            Ok(count.unsigned_abs())
        })
        .await
    }

    async fn page_of_others(
        &self,
        sealed: &Sealed,
        prefix: &[u8],
        limit: u32,
        skip: u64,
    ) -> Result<Vec<SealedRecord>, StoreError> {
        let skip = i64::try_from(skip).unwrap_or(i64::MAX);
        let page = sqlx::query(sealed.page).bind(prefix).bind(limit).bind(skip);
        let rows = self.read(async { Ok(page.fetch_all(&self.readers).await?) }).await?;
        let record = |row: &sqlx::sqlite::SqliteRow| SealedRecord {
            content: row.try_get(0).unwrap_or_default(),
            row: (1..row.len()).map(|column| row.try_get(column).unwrap_or_default()).collect(),
        };
        Ok(rows.iter().map(record).collect())
    }

    async fn replace(&self, sealed: &Sealed, record: &SealedRecord, content: Vec<u8>) -> Result<(), StoreError> {
        let statement = sqlx::query(sealed.replace).bind(content).bind(&record.content);
        let statement = record.row.iter().fold(statement, Query::bind);
        self.write(async { Ok(statement.execute(&self.writer).await.map(drop)?) }).await
    }
}
