use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use super::Database;
use super::failure::Failure;
use crate::store::Observations;

/// How long whoever writes waits for others. An exchange takes longer, and each commit waits for the disk.
const GATHERING: Duration = Duration::from_millis(5);

/// What is said of the old row is as it was before.
const OBSERVE: &str = "INSERT INTO tenant_observations (tenant, serial, webapi_url) \
     SELECT value ->> 'tenant', value ->> 'serial', value ->> 'webapi_url' FROM json_each(?1) \
     WHERE value ->> 'elsewhere' OR EXISTS (SELECT 1 FROM tenants WHERE tenant = value ->> 'tenant') \
     ON CONFLICT (tenant) DO UPDATE SET serial = coalesce(serial, excluded.serial), \
     webapi_url = CASE WHEN serial <> excluded.serial THEN webapi_url ELSE coalesce(excluded.webapi_url, webapi_url) END \
     RETURNING tenant, serial, webapi_url";

/// What was told about a tenant.
#[derive(Clone, Serialize)]
pub(super) struct Told {
    /// The tenant's key.
    pub(super) tenant: String,
    #[serde(flatten)]
    pub(super) observations: Observations,
    /// Whether the tenant is registered elsewhere.
    pub(super) elsewhere: bool,
}

/// What waits to be written: all of it by one statement. Who comes first writes for everybody.
#[derive(Default)]
pub(super) struct Gathered {
    waiting: Mutex<Vec<(Told, oneshot::Sender<Option<Observations>>)>>,
    turn: tokio::sync::Mutex<()>,
}

impl Database {
    /// Writes what was told together with what others were, and answers when it is on the disk: with what is kept now, or
    /// nothing for a tenant that is not registered.
    pub(super) async fn write_told(&self, told: Told) -> Result<Option<Observations>, Failure> {
        let mut answer = self.gathered.add(told.clone());
        let _turn = tokio::select! {
            biased;
            Ok(kept) = &mut answer => return Ok(kept),
            turn = self.gathered.turn.lock() => turn,
        };
        match answer.try_recv() {
            Ok(kept) => return Ok(kept),
            Err(TryRecvError::Empty) => {}
            // Who had the turn before could not write it.
            Err(TryRecvError::Closed) => answer = self.gathered.add(told),
        }
        #[expect(clippy::disallowed_methods, reason = "the disk's time is not the tests'")]
        tokio::time::sleep(GATHERING).await;
        // What somebody told who gave up since may be wrong by now, and is told again where it is not.
        let waiting = std::mem::take(&mut *self.gathered.waiting()).into_iter();
        let (told, answers): (Vec<_>, Vec<_>) = waiting.filter(|(_, answer)| !answer.is_closed()).unzip();
        let told_as_json = serde_json::to_string(&told).map_err(|error| sqlx::Error::Encode(error.into()))?;
        let rows = sqlx::query(OBSERVE).bind(told_as_json).fetch_all(&self.writer).await?;
        let kept = rows.iter().map(|row| Ok((row.try_get("tenant")?, observed(row)?)));
        let kept: HashMap<String, Observations> = kept.collect::<Result<_, sqlx::Error>>()?;
        for (told, answer) in told.iter().zip(answers) {
            // Who gave up meanwhile needs no answer.
            drop(answer.send(kept.get(&told.tenant).cloned()));
        }
        answer.await.map_err(|_| sqlx::Error::WorkerCrashed.into())
    }
}

impl Gathered {
    fn add(&self, told: Told) -> oneshot::Receiver<Option<Observations>> {
        let (sender, receiver) = oneshot::channel();
        self.waiting().push((told, sender));
        receiver
    }

    /// Whole after every single operation.
    fn waiting(&self) -> MutexGuard<'_, Vec<(Told, oneshot::Sender<Option<Observations>>)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a row says.
pub(super) fn observed(row: &SqliteRow) -> Result<Observations, sqlx::Error> {
    Ok(Observations { serial: row.try_get("serial")?, webapi_url: row.try_get("webapi_url")? })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::ops::Range;
    use std::path::Path;
    use std::sync::Arc;

    use tempfile::TempDir;
    use tokio::task::JoinHandle;

    use super::*;
    use crate::store::StoreError;
    use crate::store::contract::{at, named, observations, sealing, token};
    use crate::store::engine::TenantRecords;
    use crate::store::sealer::Sealer;

    async fn open(directory: &Path) -> Database {
        let url = format!("sqlite://{}/t.db", directory.display());
        Database::open(&url, Arc::new(Sealer::open(&sealing()).unwrap())).await.unwrap()
    }

    async fn with_tenants(directory: &Path, numbers: Range<usize>) -> Database {
        let database = open(directory).await;
        for number in numbers {
            database.put(named(&format!("Cust{number}")), &token("App-1"), false, at(0)).await.unwrap();
        }
        database
    }

    fn told(number: usize) -> Observations {
        observations(&number.to_string(), &format!("https://sod{number}/"))
    }

    fn tell(database: &Database, number: usize) -> JoinHandle<Result<Option<Observations>, StoreError>> {
        let database = database.clone();
        tokio::spawn(async move { database.observe(named(&format!("Cust{number}")), &told(number), false).await })
    }

    /// How many commits the write-ahead log has. <https://www.sqlite.org/fileformat2.html#the_write_ahead_log>
    fn commits(directory: &Path) -> usize {
        let log = fs::read(directory.join("t.db-wal")).unwrap();
        let page_size = usize::try_from(u32::from_be_bytes(log[8..12].try_into().unwrap())).unwrap();
        let frames = log[32..].chunks_exact(24 + page_size);
        frames.filter(|frame| frame[8..16] == log[16..24] && frame[4..8] != [0; 4]).count()
    }

    async fn until(condition: impl Fn() -> bool) {
        while !condition() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn what_is_told_at_once_is_one_commit_and_each_hears_of_its_own() {
        let directory = TempDir::new().unwrap();
        let database = with_tenants(directory.path(), 1..20).await;
        let somebody_writes = database.gathered.turn.lock().await;
        let telling: Vec<_> = (0..20).map(|number| tell(&database, number)).collect();
        until(|| database.gathered.waiting().len() == 20).await;
        let before = commits(directory.path());
        drop(somebody_writes);
        for (number, telling) in telling.into_iter().enumerate() {
            let kept = telling.await.unwrap().unwrap();
            assert_eq!(kept, (number > 0).then(|| told(number)), "the first is not registered");
        }
        assert_eq!(commits(directory.path()) - before, 1);
    }

    #[tokio::test]
    async fn what_somebody_told_who_gave_up_is_not_written_by_others() {
        let directory = TempDir::new().unwrap();
        let database = with_tenants(directory.path(), 0..2).await;
        let somebody_writes = database.gathered.turn.lock().await;
        let telling = tell(&database, 0);
        until(|| database.gathered.waiting().len() == 1).await;
        telling.abort();
        assert!(telling.await.unwrap_err().is_cancelled());
        drop(somebody_writes);
        assert_eq!(tell(&database, 1).await.unwrap().unwrap(), Some(told(1)));
        let kept = database.observations(&[named("Cust0")]).await.unwrap();
        assert_eq!(kept[0], Observations::default());
    }

    #[tokio::test]
    async fn when_who_writes_for_others_gives_up_or_fails_they_write_themselves() {
        let directory = TempDir::new().unwrap();
        let database = with_tenants(directory.path(), 0..3).await;
        let first = tell(&database, 0);
        until(|| database.gathered.turn.try_lock().is_err()).await;
        let second = tell(&database, 1);
        until(|| database.gathered.waiting().len() == 2).await;
        first.abort();
        assert_eq!(second.await.unwrap().unwrap(), Some(told(1)));

        let other = open(directory.path()).await;
        let lock = other.lock().await.unwrap();
        let first = tell(&database, 0);
        until(|| database.gathered.turn.try_lock().is_err()).await;
        let second = tell(&database, 2);
        let refusal = first.await.unwrap().unwrap_err();
        assert!(matches!(refusal, StoreError::Busy { .. }), "{refusal:?}");
        lock.rollback().await.unwrap();
        assert_eq!(second.await.unwrap().unwrap(), Some(told(2)));
    }
}
