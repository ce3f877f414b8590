//! The database's layout: what leads from each to the next, and who can work with it.
//!
//! Two versions of ticketd may share a database while one takes the other's place. So a layout says which earlier ones'
//! programs can work with it: it adds at first (they can), and takes away only in a later release (those before that one
//! cannot, and do not start).

use std::time::Duration;

use sqlx::migrate::{Migration, MigrationType};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection, Row, SqlSafeStr};

use super::failure::Failure;
use super::query;

/// A step from one layout to the next.
struct Step {
    version: i64,
    description: &'static str,
    /// The earliest layout whose programs can work with this one.
    compatible_from: i64,
    statements: &'static str,
}

/// What leads from each layout to the next. A released file never changes.
const STEPS: [Step; 5] = [
    Step {
        version: 1,
        description: "tenants",
        compatible_from: 1,
        statements: include_str!("migrations/0001_tenants.sql"),
    },
    Step {
        version: 2,
        description: "sign-ins",
        compatible_from: 1,
        statements: include_str!("migrations/0002_sign_ins.sql"),
    },
    Step {
        version: 3,
        description: "notices",
        compatible_from: 1,
        statements: include_str!("migrations/0003_notices.sql"),
    },
    Step {
        version: 4,
        description: "shared tickets",
        compatible_from: 1,
        statements: include_str!("migrations/0004_shared_tickets.sql"),
    },
    Step {
        version: 5,
        description: "tenant intake",
        compatible_from: 1,
        statements: include_str!("migrations/0005_tenant_intake.sql"),
    },
];

/// How long connecting and looking takes at most.
const LOOK_LIMIT: Duration = Duration::from_secs(5);
/// How long the steps take at most, and the wait for another process that takes them.
const STEPS_LIMIT: Duration = Duration::from_mins(10);
/// 'ticketd' and a number: the advisory lock under which one process at a time changes the layout.
const LOCK: &str = "SELECT pg_advisory_xact_lock(x'7469636b65746401'::bit(64)::bigint)";

/// Takes the steps that are missing, all or nothing, one process at a time. Needs no right to change a layout that is up
/// to date.
pub(super) async fn bring_up_to_date(options: &PgConnectOptions) -> Result<(), Failure> {
    let look = async {
        let mut connection = options.connect().await?;
        let up_to_date = is_up_to_date(&mut connection).await?;
        Ok::<_, Failure>((connection, up_to_date))
    };
    let (mut connection, up_to_date) =
        tokio::time::timeout(LOOK_LIMIT, look).await.map_err(|_| Failure::TimedOut)??;
    if !up_to_date {
        tokio::time::timeout(STEPS_LIMIT, take_missing(&mut connection)).await.map_err(|_| Failure::TimedOut)??;
    }
    // Nothing hangs on its goodbye.
    drop(tokio::time::timeout(LOOK_LIMIT, connection.close()).await);
    Ok(())
}

async fn is_up_to_date(connection: &mut PgConnection) -> Result<bool, Failure> {
    connection.execute("BEGIN READ ONLY; SET LOCAL statement_timeout = '2s'").await?;
    let exists = query("SELECT to_regclass('ticketd_layouts') IS NOT NULL").fetch_one(&mut *connection).await?;
    let up_to_date = if exists.try_get(0)? { missing(connection).await?.is_empty() } else { false };
    connection.execute("COMMIT").await?;
    Ok(up_to_date)
}

async fn take_missing(connection: &mut PgConnection) -> Result<(), Failure> {
    // What the role or the database sets for short statements is not meant for these.
    connection.execute("BEGIN READ WRITE; SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0").await?;
    connection.execute(LOCK).await?;
    connection
        .execute(
            "CREATE TABLE IF NOT EXISTS ticketd_layouts (version BIGINT NOT NULL PRIMARY KEY, description TEXT NOT NULL, \
             checksum BYTEA NOT NULL, compatible_from BIGINT NOT NULL, apply_time TIMESTAMPTZ NOT NULL DEFAULT now())",
        )
        .await?;
    for step in missing(connection).await? {
        connection.execute(AssertSqlSafe(step.statements)).await?;
        query("INSERT INTO ticketd_layouts (version, description, checksum, compatible_from) VALUES ($1, $2, $3, $4)")
            .bind(step.version)
            .bind(step.description)
            .bind(step.checksum())
            .bind(step.compatible_from)
            .execute(&mut *connection)
            .await?;
        tracing::info!(version = step.version, step.description, "the database's layout is brought up to date");
    }
    connection.execute("COMMIT").await?;
    Ok(())
}

/// The steps that were not taken, unless the database is another's or too new.
async fn missing(connection: &mut PgConnection) -> Result<Vec<&'static Step>, Failure> {
    let rows = query("SELECT version, checksum, compatible_from FROM ticketd_layouts ORDER BY version")
        .fetch_all(connection)
        .await?;
    let known = STEPS.iter().map(|step| step.version).max().unwrap_or_default();
    let mut missing: Vec<&Step> = STEPS.iter().collect();
    for row in rows {
        let (version, compatible_from): (i64, i64) = (row.try_get("version")?, row.try_get("compatible_from")?);
        if compatible_from > known {
            return Err(Failure::Newer { version, known });
        }
        let checksum: Vec<u8> = row.try_get("checksum")?;
        if missing.iter().any(|step| step.version == version && step.checksum() != checksum) {
            return Err(Failure::Layout("its layout was made by something else than a release of ticketd"));
        }
        missing.retain(|step| step.version != version);
    }
    Ok(missing)
}

impl Step {
    fn checksum(&self) -> Vec<u8> {
        let statements = self.statements.into_sql_str();
        Migration::new(self.version, self.description.into(), MigrationType::Simple, statements, false).checksum.into()
    }
}
