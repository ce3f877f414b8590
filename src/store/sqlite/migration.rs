use std::borrow::Cow;

use sqlx::migrate::{Migrate, MigrateError, Migration, MigrationType};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use sqlx::{ConnectOptions, Connection, SqlSafeStr, SqliteConnection};

use super::failure::Failure;

/// `PRAGMA application_id` of our databases: 'TKTD'.
const APPLICATION_ID: i64 = 0x544b_5444;

/// Where sqlx notes what was applied.
const TABLE: &str = "_sqlx_migrations";

/// What leads from each layout to the next. A released file never changes.
const MIGRATIONS: [(i64, &str, &str); 5] = [
    (1, "tenants", include_str!("migrations/0001_tenants.sql")),
    (2, "sign-ins", include_str!("migrations/0002_sign_ins.sql")),
    (3, "notices", include_str!("migrations/0003_notices.sql")),
    (4, "sealed", include_str!("migrations/0004_sealed.sql")),
    (5, "tenant intake", include_str!("migrations/0005_tenant_intake.sql")),
];

/// Fails unless the database is empty or ours. Changes nothing in it.
pub(super) async fn refuse_foreign(options: &SqliteConnectOptions) -> Result<(), Failure> {
    let mut connection = options.connect().await?;
    // One transaction, or another process could make the database ours between the two questions.
    let mut transaction = connection.begin().await?;
    let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema").fetch_one(&mut *transaction).await?;
    let application_id: i64 = sqlx::query_scalar("PRAGMA application_id").fetch_one(&mut *transaction).await?;
    transaction.rollback().await?;
    connection.close().await?;
    if application_id == APPLICATION_ID || (application_id == 0 && tables == 0) {
        Ok(())
    } else {
        Err(Failure::Foreign)
    }
}

/// Applies what is missing, all or nothing, one process at a time.
pub(super) async fn bring_up_to_date(writer: &SqlitePool) -> Result<(), Failure> {
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
    apply_missing(&mut transaction).await.map_err(|error| match error {
        MigrateError::VersionMissing(version) => Failure::Newer { version, known: newest() },
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => Failure::Sqlx(error),
        error => Failure::Migration(error),
    })?;
    Ok(transaction.commit().await?)
}

/// What `sqlx::migrate::Migrator` does, whose future cannot be sent between threads when it is given a transaction.
async fn apply_missing(connection: &mut SqliteConnection) -> Result<(), MigrateError> {
    connection.ensure_migrations_table(TABLE).await?;
    let applied = connection.list_applied_migrations(TABLE).await?;
    if let Some(unknown) = applied.iter().map(|applied| applied.version).find(|version| *version > newest()) {
        return Err(MigrateError::VersionMissing(unknown));
    }
    for (version, description, sql) in MIGRATIONS {
        let description = Cow::Borrowed(description);
        let migration = Migration::new(version, description, MigrationType::Simple, sql.into_sql_str(), false);
        match applied.iter().find(|applied| applied.version == version) {
            Some(applied) if applied.checksum != migration.checksum => {
                return Err(MigrateError::VersionMismatch(version));
            }
            Some(_) => {}
            None => {
                connection.apply(TABLE, &migration).await?;
            }
        }
    }
    Ok(())
}

fn newest() -> i64 {
    MIGRATIONS.iter().map(|(version, ..)| *version).max().unwrap_or_default()
}
