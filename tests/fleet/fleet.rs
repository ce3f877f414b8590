//! A sandbox, a database, and ticketd processes that share it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use ticketd::grpc::proto::tenant_service_client::TenantServiceClient;
use ticketd::grpc::proto::ticket_service_client::TicketServiceClient;
use ticketd::grpc::proto::{GetSystemTicketRequest, PutTenantRequest, SystemTicket};
use tonic::transport::Channel;
use tonic::{Request, Status};

use crate::cluster::Cluster;
use crate::place::{Place, Running, until};

/// Longer than a load lasts that waits for another's lease, on a machine that has much else to do.
const CALL_LIMIT: Duration = Duration::from_mins(2);

pub(crate) struct Fleet {
    pub(crate) place: Place,
    /// Where PostgreSQL is.
    pub(crate) database: SocketAddr,
    pub(crate) database_name: String,
    pub(crate) url: String,
    /// The test's own connections to it.
    pub(crate) pool: PgPool,
}

impl Fleet {
    /// A fresh database and nobody on it yet. None where PostgreSQL is not installed.
    pub(crate) async fn new() -> Option<Self> {
        let cluster = Cluster::shared()?;
        let url = cluster.create_database().await;
        let place = Place::new().await;
        place.configure("store.url", &format!("{url:?}"));
        place.configure("server.request_timeout", "\"2m\"");
        let pool = PgPoolOptions::new().max_connections(4).connect_lazy(&url).unwrap();
        let database_name = url.rsplit_once('/').unwrap().1.to_owned();
        Some(Self { place, database: ([127, 0, 0, 1], cluster.port).into(), database_name, url, pool })
    }

    /// Starts so many replicas.
    pub(crate) async fn serve(&self, replicas: usize) -> Vec<Running> {
        stream::iter(0..replicas).then(|_| self.start()).collect().await
    }

    /// Starts a replica that hears of what the others do.
    pub(crate) async fn start(&self) -> Running {
        let mut command = self.place.ticketd(["serve"]);
        command.env("TICKETD_STORE_SESSION_URL", &self.url);
        Running::start(command).await
    }

    /// Makes tenants at SuperOffice and registers them.
    pub(crate) async fn register(&self, at: &Running, tenants: &[String]) {
        let registered = stream::iter(tenants).map(|tenant| {
            let token = self.place.sandbox.add_tenant(tenant).system_user_token;
            let mut client = at.tenants();
            async move { until(async || put(&mut client, tenant, &token).await.is_ok()).await }
        });
        registered.buffer_unordered(8).collect::<Vec<()>>().await;
    }

    /// The number of the tenant's lease, held or lapsed.
    pub(crate) async fn lease(&self, tenant: &str) -> Option<i64> {
        let lease = sqlx::query_scalar("SELECT fence FROM leases WHERE tenant = lower($1)").bind(tenant);
        lease.fetch_optional(&self.pool).await.unwrap()
    }

    /// The fingerprint of the tenant's shared ticket, and the number of the lease under which it was put.
    pub(crate) async fn shared(&self, tenant: &str) -> Option<(String, i64)> {
        let shared = "SELECT fingerprint, fence FROM shared_tickets WHERE tenant = lower($1)";
        sqlx::query_as(shared).bind(tenant).fetch_optional(&self.pool).await.unwrap()
    }

    /// How many leases there are, and how many of them still hold.
    pub(crate) async fn leases(&self) -> (i64, i64) {
        let leases = "SELECT count(*), count(*) FILTER (WHERE expire_time > clock_timestamp()) FROM leases";
        sqlx::query_as(leases).fetch_one(&self.pool).await.unwrap()
    }
}

/// Registers a tenant.
pub(crate) async fn put(client: &mut TenantServiceClient<Channel>, tenant: &str, token: &str) -> Result<(), Status> {
    let (context_identifier, system_user_token) = (tenant.to_owned(), token.to_owned());
    let message = PutTenantRequest { context_identifier, system_user_token, accept_serial: false };
    let mut request = Request::new(message);
    request.set_timeout(CALL_LIMIT);
    client.put_tenant(request).await.map(drop)
}

/// The tenant's ticket.
pub(crate) async fn ticket(client: &mut TicketServiceClient<Channel>, tenant: &str) -> Result<SystemTicket, Status> {
    let message = GetSystemTicketRequest { context_identifier: tenant.to_owned(), min_validity: None };
    let mut request = Request::new(message);
    request.set_timeout(CALL_LIMIT);
    Ok(client.get_system_ticket(request).await?.into_inner().system_ticket.expect("a response holds a ticket"))
}

pub(crate) fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "other processes go by the machine's clock")]
    Instant::now()
}
