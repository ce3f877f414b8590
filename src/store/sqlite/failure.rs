use std::path::Path;

use crate::store::StoreError;

/// Why an operation failed, before the database's path is added.
#[derive(Debug)]
pub(super) enum Failure {
    Sqlx(sqlx::Error),
    Store(StoreError),
    Foreign,
    Newer { version: i64, known: i64 },
    Migration(sqlx::migrate::MigrateError),
}

impl Failure {
    /// Whether another connection holds a lock.
    pub(super) fn is_busy(&self) -> bool {
        matches!(self, Self::Sqlx(error) if matches!(primary_code(error), Some(5 | 6)))
    }

    pub(super) fn at(self, path: &Path) -> StoreError {
        let path = path.to_owned();
        let source = match self {
            Self::Store(error) => return error,
            Self::Foreign => return StoreError::ForeignDatabase { path },
            Self::Newer { version, known } => return StoreError::NewerDatabase { path, version, known },
            Self::Migration(source) => return StoreError::Migration { path, source: Box::new(source) },
            Self::Sqlx(source) => source,
        };
        match source {
            sqlx::Error::PoolTimedOut => StoreError::Busy { path },
            sqlx::Error::PoolClosed => StoreError::Closed,
            source => match primary_code(&source) {
                // SQLITE_BUSY, SQLITE_LOCKED
                Some(5 | 6) => StoreError::Busy { path },
                // SQLITE_PERM, SQLITE_READONLY, SQLITE_CANTOPEN
                Some(3 | 8 | 14) => StoreError::Unwritable { path, source },
                // SQLITE_CORRUPT
                Some(11) => StoreError::Damaged { path },
                // SQLITE_FULL
                Some(13) => StoreError::Full { path },
                // SQLITE_NOTADB
                Some(26) => StoreError::NotADatabase { path },
                _ => StoreError::Database { path, source },
            },
        }
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Sqlx(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// SQLite's result code without its extension. <https://www.sqlite.org/rescode.html>
fn primary_code(error: &sqlx::Error) -> Option<i32> {
    let extended: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(extended & 0xff)
}
