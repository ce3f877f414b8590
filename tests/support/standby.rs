//! A throwaway server that follows another.

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions};

use super::cluster::{Cluster, KEEP, SUPERUSER, as_user, is_installed, keeper, missing, must, scratch};

impl Cluster {
    /// A server that follows this one. None when a program for that is missing.
    pub(crate) fn standby(&self) -> Option<Self> {
        if !is_installed("pg_basebackup") {
            return missing("pg_basebackup (Debian: apt-get install postgresql-client)");
        }
        let directory = scratch("standby");
        let source = format!("host=127.0.0.1 port={} user={SUPERUSER}", self.port);
        let options = ["-c", "fast", "--no-sync", "-R", "-d"];
        must(as_user("pg_basebackup").args(options).arg(source).arg("-D").arg(&directory));
        let mut standby = Self { port: 0, _keeper: keeper(KEEP, &[directory.as_os_str()]), directory };
        standby.start_anywhere();
        Some(standby)
    }

    /// Waits until this standby has all that the primary has.
    pub(crate) async fn has_caught_up_with(&self, primary: &Self) {
        let written: String = primary.ask("SELECT pg_current_wal_lsn()::text").await;
        let has_it = format!("SELECT coalesce(pg_last_wal_replay_lsn() >= '{written}'::pg_lsn, false)::text");
        while self.ask(&has_it).await != "true" {}
    }

    /// Makes this standby the primary.
    pub(crate) fn promote(&self) {
        must(as_user("pg_ctl").args(["promote", "-s", "-w", "-D"]).arg(&self.directory));
    }

    async fn ask(&self, question: &str) -> String {
        let options = PgConnectOptions::new_without_pgpass().host("127.0.0.1").port(self.port);
        let mut connection = options.username(SUPERUSER).database("postgres").connect().await.unwrap();
        sqlx::query_scalar(AssertSqlSafe(question)).fetch_one(&mut connection).await.unwrap()
    }
}
