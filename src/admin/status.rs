use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use jiff::Timestamp;
use tokio::sync::Semaphore;
use tracing::warn;

use super::parameters::{Parameters, Wanted};
use super::{Admin, Certificate, Readiness, Replica, status_json, status_page, tenant_page};
use crate::clock::{Clock, Moment};
use crate::credentials::{FailingTenant, Overviews, Statistics, TenantOverview, TenantsPage, TicketError};
use crate::identifiers::ContextIdentifier;
use crate::log_pace::LogPace;
use crate::store::StoreError;
use crate::superoffice::Upstreams;

/// How many looks are taken at the tenants at once: what callers wait for comes first.
const LOOKS: usize = 2;
/// How many of the tenants whose last load failed are shown.
const FAILING: usize = 10;

/// How this replica and its tenants do, for people and for their programs.
pub(super) fn routes(admin: Admin, clock: Arc<dyn Clock>) -> Router {
    let start = clock.moment();
    let pace = Arc::new(LogPace::new(Arc::clone(&clock)));
    let view = View { admin, clock, start, looks: Arc::new(Semaphore::new(LOOKS)), pace };
    Router::new()
        .route("/", get(page))
        .route("/status.json", get(json))
        .route("/tenants/{context_identifier}", get(tenant))
        .with_state(view)
}

#[derive(Clone, Debug)]
struct View {
    admin: Admin,
    clock: Arc<dyn Clock>,
    start: Moment,
    looks: Arc<Semaphore>,
    pace: Arc<LogPace>,
}

/// Everything at one moment.
pub(super) struct Status {
    pub(super) replica: Replica,
    pub(super) readiness: Readiness,
    pub(super) now: Timestamp,
    pub(super) start: Timestamp,
    pub(super) uptime: Duration,
    pub(super) certificates: Vec<Certificate>,
    /// From when the store is open.
    pub(super) work: Option<Work>,
    pub(super) reason: fn(&TicketError) -> &'static str,
}

/// What this replica has to do with.
pub(super) struct Work {
    /// What it is called in leases.
    pub(super) process_name: Option<String>,
    pub(super) upstreams: Upstreams,
    pub(super) statistics: Statistics,
    /// The tenants whose last load failed, the latest first, and the number of all.
    pub(super) failing: (Vec<FailingTenant>, usize),
    /// The tenants that were asked for.
    pub(super) tenants: Tenants,
}

/// What became of a look at the tenants.
pub(super) enum Tenants {
    Page(TenantsPage),
    /// No tenant could be called as was asked.
    NoSuchName,
    /// The store could not be read.
    Unreadable,
}

/// What became of a look at one tenant.
pub(super) enum Tenant {
    Found(Box<TenantOverview>),
    NotRegistered,
    Unreadable,
    /// The store is not open yet.
    Starting,
}

impl View {
    fn status(&self, work: Option<Work>) -> Status {
        let now = self.clock.moment();
        Status {
            replica: self.admin.replica.clone(),
            readiness: *self.admin.readiness.borrow(),
            now: now.wall,
            start: self.start.wall,
            uptime: now.elapsed.saturating_sub(self.start.elapsed),
            certificates: self.admin.certificates.as_ref().map(|source| source.certificates()).unwrap_or_default(),
            work,
            reason: self.admin.reason,
        }
    }

    async fn look(&self, wanted: Option<Wanted>) -> Status {
        let Some(overviews) = self.overviews() else { return self.status(None) };
        let work = async {
            let tenants = match wanted {
                None => Tenants::NoSuchName,
                Some(Wanted { selection, limit }) => match overviews.page(selection, limit).await {
                    Ok(page) => Tenants::Page(page),
                    Err(error) => self.unreadable(&error, Tenants::Unreadable),
                },
            };
            Work {
                process_name: overviews.process_name().map(str::to_owned),
                upstreams: overviews.upstreams(),
                // These two go through all tenants, whichever were asked for.
                statistics: overviews.statistics(),
                failing: overviews.failing(FAILING),
                tenants,
            }
        };
        self.status(Some(self.in_turn(work).await))
    }

    async fn look_at(&self, tenant: ContextIdentifier) -> Tenant {
        let Some(overviews) = self.overviews() else { return Tenant::Starting };
        match self.in_turn(overviews.find(tenant)).await {
            Ok(Some(tenant)) => Tenant::Found(Box::new(tenant)),
            Ok(None) => Tenant::NotRegistered,
            Err(error) => self.unreadable(&error, Tenant::Unreadable),
        }
    }

    fn overviews(&self) -> Option<&Overviews> {
        self.admin.overviews.get()
    }

    /// Whoever looks is told no more than that, and the log the rest.
    fn unreadable<T>(&self, error: &StoreError, told: T) -> T {
        if let Some(unlogged) = self.pace.admit("status") {
            warn!(%error, unlogged, "the status page cannot show tenants");
        }
        told
    }

    async fn in_turn<T>(&self, look: impl Future<Output = T>) -> T {
        // It is never closed.
        let _turn = self.looks.acquire().await;
        look.await
    }
}

async fn page(State(view): State<View>, RawQuery(query): RawQuery) -> Response {
    let parameters = Parameters::of(query.as_deref());
    status_page::page(&view.look(parameters.wanted()).await, &parameters).into_response()
}

async fn json(State(view): State<View>, RawQuery(query): RawQuery) -> Response {
    status_json::answer(&view.look(Parameters::of(query.as_deref()).wanted()).await)
}

async fn tenant(State(view): State<View>, name: Result<Path<String>, PathRejection>) -> Response {
    let name = name.ok().and_then(|Path(name)| name.parse().ok());
    let found = match name {
        Some(name) => view.look_at(name).await,
        None => Tenant::NotRegistered,
    };
    let process_name = view.overviews().and_then(Overviews::process_name);
    tenant_page::page(&view.status(None), name, &found, process_name).into_response()
}
