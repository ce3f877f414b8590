use std::collections::HashMap;

use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::failure::{Failure, is_locked};
use super::transaction::Transaction;
use super::{Database, changes, query};
use crate::crypto::Fingerprint;
use crate::identifiers::{ContextIdentifier, Ticket};
use crate::metrics;
use crate::store::sealer::SHARED_TICKET;
use crate::store::shared_tickets::{Claim, Fence, LEASE, News, SharedOverview, SharedTicket, SharedTickets};
use crate::store::{StoreError, engine};

/// On which channel whoever listens hears whose ticket was put, or lease given back.
pub(super) const CHANNEL: &str = "ticketd_tickets";

const FIND: &str = "SELECT ticket, fingerprint, issued_for, issue_time, expire_time, webapi_url, netserver_url \
     FROM shared_tickets WHERE tenant = $1";
const OVERVIEW: &str = "SELECT asked.tenant, shared_tickets.expire_time, leases.owner \
     FROM unnest($1::text[]) AS asked (tenant) LEFT JOIN shared_tickets USING (tenant) \
     LEFT JOIN leases ON leases.tenant = asked.tenant AND leases.expire_time > clock_timestamp()";
const CLAIM: &str = "INSERT INTO leases (tenant, owner, fence, expire_time) \
     VALUES ($1, $2, nextval('lease_fences'), clock_timestamp() + make_interval(secs => $3)) \
     ON CONFLICT (tenant) DO UPDATE \
     SET owner = excluded.owner, fence = nextval('lease_fences'), expire_time = clock_timestamp() + make_interval(secs => $3) \
     WHERE leases.expire_time <= clock_timestamp() RETURNING fence, xmax <> 0";
const RENEW: &str = "UPDATE leases SET expire_time = clock_timestamp() + make_interval(secs => $3) \
     WHERE tenant = $1 AND fence = $2 AND expire_time > clock_timestamp()";
const END: &str = "DELETE FROM leases WHERE tenant = $1 AND fence = $2 AND expire_time > clock_timestamp()";
const PUT: &str = "INSERT INTO shared_tickets \
     (tenant, ticket, fingerprint, issued_for, issue_time, expire_time, webapi_url, netserver_url, fence) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) \
     ON CONFLICT (tenant) DO UPDATE SET ticket = excluded.ticket, fingerprint = excluded.fingerprint, \
     issued_for = excluded.issued_for, issue_time = excluded.issue_time, expire_time = excluded.expire_time, \
     webapi_url = excluded.webapi_url, netserver_url = excluded.netserver_url, fence = excluded.fence";
/// Those whom another has locked are left to it: two never wait for each other.
const PURGE_TICKETS: &str = "DELETE FROM shared_tickets WHERE tenant IN (SELECT tenant FROM shared_tickets \
     WHERE expire_time <= $1 LIMIT 100 FOR UPDATE SKIP LOCKED)";
const PURGE_LEASES: &str = "DELETE FROM leases WHERE tenant IN (SELECT tenant FROM leases \
     WHERE expire_time <= clock_timestamp() LIMIT 100 FOR UPDATE SKIP LOCKED)";

#[async_trait]
impl SharedTickets for Database {
    async fn find(&self, tenant: ContextIdentifier) -> Result<Option<SharedTicket>, StoreError> {
        self.bounded(async {
            let mut transaction = self.reading().await?;
            let ticket = self.shared_ticket(&mut transaction, tenant).await?;
            transaction.commit().await?;
            Ok(ticket)
        })
        .await
    }

    async fn claim(&self, tenant: ContextIdentifier) -> Result<Option<Claim>, StoreError> {
        self.bounded(async {
            let mut transaction = self.writing().await?;
            let claim = query(CLAIM).bind(tenant.key()).bind(&*self.owner).bind(LEASE.as_secs_f64());
            let row = match claim.fetch_optional(&mut *transaction).await {
                // Who has locked the row is about to take the lease or to give it back, and may have been stopped meanwhile.
                Err(error) if is_locked(&error) => return Ok(None),
                row => row?,
            };
            let Some(row) = row else {
                transaction.commit().await?;
                return Ok(None);
            };
            // This sees what was committed before the lease was free.
            let ticket = self.shared_ticket(&mut transaction, tenant).await?;
            transaction.commit().await?;
            // A row that was there before was another's lease, never given back.
            if row.try_get(1)? {
                metrics::LEASE_STOLEN.count(&[]);
            }
            Ok(Some(Claim { fence: Fence(row.try_get(0)?), ticket }))
        })
        .await
    }

    async fn renew(&self, tenant: ContextIdentifier, fence: Fence) -> Result<bool, StoreError> {
        self.bounded(async {
            let mut transaction = self.writing().await?;
            let renew = query(RENEW).bind(tenant.key()).bind(fence.0).bind(LEASE.as_secs_f64());
            let renewed = renew.execute(&mut *transaction).await?;
            transaction.commit().await?;
            Ok(renewed.rows_affected() > 0)
        })
        .await
    }

    async fn release(&self, tenant: ContextIdentifier, fence: Fence) -> Result<(), StoreError> {
        self.bounded(async {
            let mut transaction = self.writing().await?;
            if end(&mut transaction, tenant, fence).await? {
                announce(&mut transaction, tenant).await?;
            }
            transaction.commit().await
        })
        .await
    }

    async fn publish(&self, shared: &SharedTicket, fence: Fence, now: Timestamp) -> Result<bool, StoreError> {
        let tenant = shared.context_identifier;
        self.bounded(async {
            let mut transaction = self.writing().await?;
            // The lease's row is locked until the end: nobody takes it over meanwhile.
            if !end(&mut transaction, tenant, fence).await? {
                transaction.commit().await?;
                return Ok(false);
            }
            query(PURGE_LEASES).execute(&mut *transaction).await?;
            let key = tenant.key();
            query(PUT)
                .bind(&key)
                .bind(self.sealer.seal(SHARED_TICKET, &[&key], shared.ticket.expose())?)
                .bind(shared.fingerprint.to_string())
                .bind(shared.issued_for.to_string())
                .bind(shared.issue_time.as_millisecond())
                .bind(shared.expire_time.as_millisecond())
                .bind(&shared.webapi_url)
                .bind(&shared.netserver_url)
                .bind(fence.0)
                .execute(&mut *transaction)
                .await?;
            query(PURGE_TICKETS).bind(now.as_millisecond()).execute(&mut *transaction).await?;
            announce(&mut transaction, tenant).await?;
            transaction.commit().await?;
            Ok(true)
        })
        .await
    }

    async fn remove(&self, tenant: ContextIdentifier, fingerprint: Fingerprint) -> Result<bool, StoreError> {
        self.bounded(async {
            let mut transaction = self.changing().await?;
            let found = query("SELECT 1 FROM shared_tickets WHERE tenant = $1 AND fingerprint = $2")
                .bind(tenant.key())
                .bind(fingerprint.to_string());
            let found = found.fetch_optional(&mut *transaction).await?.is_some();
            if found {
                changes::note(&mut transaction, &tenant.key()).await?;
            }
            transaction.commit().await?;
            Ok(found)
        })
        .await
    }

    async fn overview(&self, tenants: &[ContextIdentifier]) -> Result<Vec<SharedOverview>, StoreError> {
        let keys: Vec<_> = tenants.iter().map(ContextIdentifier::key).collect();
        self.bounded(async {
            let mut transaction = self.reading().await?;
            let rows = query(OVERVIEW).bind(&keys).fetch_all(&mut *transaction).await?;
            transaction.commit().await?;
            let mut found = HashMap::new();
            for row in rows {
                let expire_time: Option<i64> = row.try_get(1)?;
                // A time that is none is a record that cannot be used, which counts as absent.
                let expire_time = expire_time.and_then(|time| Timestamp::from_millisecond(time).ok());
                let lease_holder = row.try_get(2)?;
                found.insert(row.try_get::<String, _>(0)?, SharedOverview { expire_time, lease_holder });
            }
            Ok(keys.iter().map(|key| found.remove(key).unwrap_or_default()).collect())
        })
        .await
    }

    fn process_name(&self) -> &str {
        &self.owner
    }

    fn news(&self) -> News {
        News(self.news.subscribe())
    }
}

impl Database {
    /// Gives back all leases of this process.
    pub(super) async fn release_all(&self) -> Result<(), StoreError> {
        self.bounded(async {
            let mut transaction = self.writing().await?;
            let rows = query("DELETE FROM leases WHERE owner = $1 RETURNING tenant")
                .bind(&*self.owner)
                .fetch_all(&mut *transaction)
                .await?;
            for row in rows {
                announce_key(&mut transaction, row.try_get(0)?).await?;
            }
            transaction.commit().await
        })
        .await
    }

    /// The tenant's ticket. One that cannot be used is logged: the next exchange replaces it.
    async fn shared_ticket(
        &self,
        connection: &mut PgConnection,
        tenant: ContextIdentifier,
    ) -> Result<Option<SharedTicket>, Failure> {
        let row = query(FIND).bind(tenant.key()).fetch_optional(connection).await?;
        let read =
            |row| self.read_shared_ticket(tenant, &row).inspect_err(|problem| engine::log_bad_ticket(tenant, problem));
        Ok(row.and_then(|row| read(row).ok()))
    }

    fn read_shared_ticket(&self, tenant: ContextIdentifier, row: &PgRow) -> Result<SharedTicket, &'static str> {
        let unreadable = |_| "a column has another type";
        let fingerprint = |column| {
            let text: &str = row.try_get(column).map_err(unreadable)?;
            text.parse::<Fingerprint>().map_err(|_| "a fingerprint in it is none")
        };
        let time = |column| {
            let time = row.try_get(column).map_err(unreadable)?;
            Timestamp::from_millisecond(time).map_err(|_| "a time in it is none")
        };
        let ticket = self.sealer.unseal(SHARED_TICKET, &[&tenant.key()], row.try_get("ticket").map_err(unreadable)?)?;
        Ok(SharedTicket {
            context_identifier: tenant,
            ticket: Ticket::new(ticket.as_str()),
            fingerprint: fingerprint("fingerprint")?,
            issued_for: fingerprint("issued_for")?,
            issue_time: time("issue_time")?,
            expire_time: time("expire_time")?,
            webapi_url: row.try_get("webapi_url").map_err(unreadable)?,
            netserver_url: row.try_get("netserver_url").map_err(unreadable)?,
        })
    }
}

/// Takes away what is shared of a tenant that changes. The lease comes first, as whoever puts a ticket locks it first.
pub(super) async fn forget(connection: &mut PgConnection, key: &str) -> Result<(), Failure> {
    query("DELETE FROM leases WHERE tenant = $1").bind(key).execute(&mut *connection).await?;
    query("DELETE FROM shared_tickets WHERE tenant = $1").bind(key).execute(connection).await?;
    Ok(())
}

/// Ends a lease. False if it was lost.
async fn end(transaction: &mut Transaction, tenant: ContextIdentifier, fence: Fence) -> Result<bool, Failure> {
    let ended = query(END).bind(tenant.key()).bind(fence.0).execute(&mut **transaction).await?;
    Ok(ended.rows_affected() > 0)
}

async fn announce(transaction: &mut Transaction, tenant: ContextIdentifier) -> Result<(), Failure> {
    announce_key(transaction, &tenant.key()).await
}

async fn announce_key(transaction: &mut Transaction, key: &str) -> Result<(), Failure> {
    query("SELECT pg_notify($1, $2)").bind(CHANNEL).bind(key).execute(&mut **transaction).await?;
    Ok(())
}
