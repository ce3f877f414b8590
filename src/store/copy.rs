use futures_util::TryStreamExt;
use sqlx::sqlite::SqliteRow;
use sqlx::{Postgres, QueryBuilder, Row, SqliteConnection};

use super::StoreError;

/// How many rows go over at once.
const BATCH: usize = 500;

/// A table that both engines have, column for column.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: &'static str,
    columns: &'static [(&'static str, Kind)],
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Text,
    Bytes,
    Number,
}

/// What moves from one engine to the other. Secrets move as they are sealed, but for what was handed in a moment ago. Changes are told to running processes, of
/// which the other database has none.
pub(super) const TABLES: [Table; 7] = [
    Table {
        name: "tenants",
        columns: &[
            ("tenant", Kind::Text),
            ("context_identifier", Kind::Text),
            ("system_user_token", Kind::Bytes),
            ("create_time", Kind::Text),
            ("update_time", Kind::Text),
        ],
    },
    Table {
        name: "tenant_observations",
        columns: &[("tenant", Kind::Text), ("serial", Kind::Text), ("webapi_url", Kind::Text)],
    },
    Table {
        name: "grants",
        columns: &[
            ("tenant", Kind::Text),
            ("\"user\"", Kind::Text),
            ("name", Kind::Text),
            ("refresh_token", Kind::Bytes),
            ("associate_id", Kind::Text),
            ("create_time", Kind::Text),
            ("update_time", Kind::Text),
        ],
    },
    Table {
        name: "pending_sign_ins",
        columns: &[
            ("state", Kind::Bytes),
            ("browser", Kind::Bytes),
            ("redirect_uri", Kind::Text),
            ("nonce", Kind::Bytes),
            ("code_verifier", Kind::Bytes),
            ("tenant", Kind::Text),
            ("login_hint", Kind::Bytes),
            ("expire_time", Kind::Number),
        ],
    },
    Table { name: "seen_notices", columns: &[("token_id", Kind::Bytes), ("expire_time", Kind::Number)] },
    Table {
        name: "tenant_intake",
        columns: &[("context_identifier", Kind::Text), ("system_user_token", Kind::Text), ("submit_time", Kind::Text)],
    },
    Table {
        name: "tenant_refusals",
        columns: &[
            ("request", Kind::Number),
            ("context_identifier", Kind::Text),
            ("reason", Kind::Text),
            ("submit_time", Kind::Text),
            ("refuse_time", Kind::Text),
        ],
    },
];

/// What was copied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Each table with its rows.
    pub rows: Vec<(&'static str, u64)>,
}

impl Table {
    fn column_list(&self) -> String {
        self.columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    }

    /// Copies every row, and answers how many they were.
    pub(super) async fn copy(
        &self,
        from: &mut SqliteConnection,
        to: &mut sqlx::PgConnection,
    ) -> Result<u64, sqlx::Error> {
        let select = format!("SELECT {} FROM {}", self.column_list(), self.name);
        let mut rows = sqlx::query(sqlx::AssertSqlSafe(select)).fetch(from).try_chunks(BATCH);
        let mut copied = 0;
        while let Some(batch) = rows.try_next().await.map_err(|error| error.1)? {
            copied += self.insert(&batch, to).await?;
        }
        Ok(copied)
    }

    async fn insert(&self, rows: &[SqliteRow], to: &mut sqlx::PgConnection) -> Result<u64, sqlx::Error> {
        let mut statement =
            QueryBuilder::<Postgres>::new(format!("INSERT INTO {} ({}) ", self.name, self.column_list()));
        // Taken out of the rows first: what fails there cannot be told from within the statement.
        let rows = rows.iter().map(|row| self.values(row)).collect::<Result<Vec<_>, _>>()?;
        statement.push_values(rows, |mut values, row| {
            for value in row {
                match value {
                    Value::Text(text) => values.push_bind(text),
                    Value::Bytes(bytes) => values.push_bind(bytes),
                    Value::Number(number) => values.push_bind(number),
                };
            }
        });
        Ok(statement.build().persistent(false).execute(to).await?.rows_affected())
    }

    fn values(&self, row: &SqliteRow) -> Result<Vec<Value>, sqlx::Error> {
        let value = |(index, (_, kind)): (usize, &(&str, Kind))| match kind {
            Kind::Text => row.try_get(index).map(Value::Text),
            Kind::Bytes => row.try_get(index).map(Value::Bytes),
            Kind::Number => row.try_get(index).map(Value::Number),
        };
        self.columns.iter().enumerate().map(value).collect()
    }
}

enum Value {
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
    Number(Option<i64>),
}

/// Copies all that an SQLite database holds into an empty PostgreSQL database, all or nothing. The former is locked
/// meanwhile: nobody writes what would stay behind.
pub(super) async fn copy(from: &super::sqlite::Database, to: &super::postgres::Database) -> Result<Copied, StoreError> {
    let mut source = from.lock().await?;
    let copied = to.fill(&mut source).await?;
    Ok(copied)
}
