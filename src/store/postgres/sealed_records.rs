use async_trait::async_trait;
use sqlx::Row;
use sqlx::postgres::PgRow;
use sqlx::query::Query;

use super::{Database, query};
use crate::store::StoreError;
use crate::store::engine::{SealedRecord, SealedRecords};
use crate::store::sealed::{SEALED_AND_SHARED, Sealed};

#[async_trait]
impl SealedRecords for Database {
    fn columns(&self) -> &'static [Sealed] {
        &SEALED_AND_SHARED
    }

    async fn next_prefix(&self, sealed: &Sealed, after: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.bounded(async {
            let mut transaction = self.reading().await?;
            let row = query(sealed.next_key).bind(after).fetch_optional(&mut *transaction).await?;
            transaction.commit().await?;
            Ok(row.map(|row| row.try_get(0)).transpose()?)
        })
        .await
    }

    async fn count_others(&self, sealed: &Sealed, prefix: &[u8]) -> Result<u64, StoreError> {
        self.bounded(async {
            let mut transaction = self.reading().await?;
            let row = query(sealed.count).bind(prefix).fetch_one(&mut *transaction).await?;
            transaction.commit().await?;
            Ok(row.try_get::<i64, _>(0)?.unsigned_abs())
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
        self.bounded(async {
            let skip = i64::try_from(skip).unwrap_or(i64::MAX);
            let mut transaction = self.reading().await?;
            let page = query(sealed.page).bind(prefix).bind(i64::from(limit)).bind(skip);
            let rows = page.fetch_all(&mut *transaction).await?;
            transaction.commit().await?;
            let record = |row: &PgRow| SealedRecord {
                content: row.try_get(0).unwrap_or_default(),
                row: (1..row.len()).map(|column| row.try_get(column).unwrap_or_default()).collect(),
            };
            Ok(rows.iter().map(record).collect())
        })
        .await
    }

    async fn replace(&self, sealed: &Sealed, record: &SealedRecord, content: Vec<u8>) -> Result<(), StoreError> {
        self.bounded(async {
            let mut transaction = self.writing().await?;
            let statement = query(sealed.replace).bind(content).bind(&record.content);
            record.row.iter().fold(statement, Query::bind).execute(&mut *transaction).await?;
            transaction.commit().await
        })
        .await
    }
}
