use std::sync::Arc;

use jiff::Timestamp;

use super::standings::may_be_served;
use super::{Statistics, SystemTickets, TicketError};
use crate::crypto::Fingerprint;
use crate::identifiers::ContextIdentifier;
use crate::store::{SharedOverview, SharedTickets, StoreError, Tenant, TenantSource, Tenants};
use crate::superoffice::{Freshness, SuperOffice, TenantState, Upstreams};

/// What there is to see of tenants and their tickets, for people. It changes nothing, asks SuperOffice nothing, and holds
/// no secret.
#[derive(Clone, Debug)]
pub struct Overviews {
    tenants: Arc<dyn Tenants>,
    shared: Option<Arc<dyn SharedTickets>>,
    tickets: SystemTickets,
    superoffice: Arc<SuperOffice>,
}

/// A tenant, as this process knows it.
#[derive(Clone, Debug)]
pub struct TenantOverview {
    /// Its name.
    pub context_identifier: ContextIdentifier,
    /// Where its system user token is kept.
    pub source: TenantSource,
    /// When it was registered, if that is known.
    pub create_time: Option<Timestamp>,
    /// When its system user token was last replaced, if that is known.
    pub update_time: Option<Timestamp>,
    /// What it is in, as far as that still counts.
    pub state: TenantState,
    /// Where its REST API is or was last, if that is known.
    pub webapi_url: Option<String>,
    /// Its ticket in this process's memory.
    pub ticket: Option<TicketOverview>,
    /// What its last load failed with.
    pub failure: Option<LastFailure>,
    /// What processes share of it, if they share anything.
    pub shared: Option<SharedOverview>,
}

/// How a tenant does, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Its ticket is in memory, and nothing is wrong.
    Served,
    /// No ticket of it is in memory, since nobody has asked for one lately.
    Idle,
    /// Its ticket is good, and its renewal fails.
    RenewalFails,
    /// There is no ticket of it to be had.
    Fails,
    /// It does not run, so that its ticket is withheld.
    NotRunning,
}

/// A ticket, without the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TicketOverview {
    /// Names it.
    pub fingerprint: Fingerprint,
    /// When the exchange that gave it was sent.
    pub issue_time: Timestamp,
    /// When SuperOffice last took it: at the exchange, or at the last keep-alive.
    pub proven_time: Timestamp,
    /// When it expires.
    pub expire_time: Timestamp,
    /// When it is renewed; past while that is under way. Nothing when nobody has asked for it since the last time: then it lapses.
    pub next_renewal: Option<Timestamp>,
}

/// What a tenant's last load failed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastFailure {
    /// Why there was no ticket, or no renewal of one.
    pub error: TicketError,
    /// When.
    pub time: Timestamp,
    /// How many loads have failed in a row.
    pub in_a_row: u32,
    /// Whether another one has succeeded since.
    pub is_over: bool,
}

/// A tenant whose last load failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailingTenant {
    /// Its name.
    pub context_identifier: ContextIdentifier,
    /// What it failed with.
    pub failure: LastFailure,
    /// Until when it is served nevertheless, with the ticket that is in memory.
    pub expire_time: Option<Timestamp>,
}

/// Which tenants are wanted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Selection {
    /// Those whose names begin so, in either case. A name's beginning has a name's form.
    pub prefix: Option<ContextIdentifier>,
    /// Those that come after this one, in the order of names.
    pub after: Option<ContextIdentifier>,
}

/// Some of the tenants, in the order of their names.
#[derive(Clone, Debug, Default)]
pub struct TenantsPage {
    /// Which.
    pub tenants: Vec<TenantOverview>,
    /// After which there are more, if there are.
    pub next: Option<ContextIdentifier>,
}

impl TenantOverview {
    /// How it does.
    pub fn condition(&self) -> Condition {
        let is_failing = self.failure.as_ref().is_some_and(|failure| !failure.is_over);
        match (&self.ticket, is_failing) {
            _ if !may_be_served(self.state) => Condition::NotRunning,
            (Some(_), true) => Condition::RenewalFails,
            (None, true) => Condition::Fails,
            (Some(_), false) => Condition::Served,
            (None, false) => Condition::Idle,
        }
    }
}

impl Condition {
    /// In snake case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::Idle => "idle",
            Self::RenewalFails => "renewal_fails",
            Self::Fails => "fails",
            Self::NotRunning => "not_running",
        }
    }
}

impl Overviews {
    /// Over what the use cases work with.
    pub fn new(
        tenants: Arc<dyn Tenants>,
        shared: Option<Arc<dyn SharedTickets>>,
        tickets: SystemTickets,
        superoffice: Arc<SuperOffice>,
    ) -> Self {
        Self { tenants, shared, tickets, superoffice }
    }

    /// Up to `limit` of the selected tenants. It reads those from the store and no others.
    pub async fn page(&self, selection: Selection, limit: u32) -> Result<TenantsPage, StoreError> {
        let Selection { prefix, after } = selection;
        let after = after.filter(|after| prefix.is_none_or(|prefix| *after >= prefix));
        let mut tenants = Vec::new();
        // A name that is no longer than what it should begin with is not found after it.
        if let (Some(prefix), None) = (prefix, after) {
            match self.tenants.find(prefix).await {
                Ok(found) => tenants.extend(found),
                // As in a list, where it is left out and logged.
                Err(StoreError::BadRecord { .. } | StoreError::TenantFile { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        // One more than the page holds tells whether another page follows.
        tenants.extend(self.tenants.list(after.or(prefix), limit.saturating_add(1)).await?);
        let is_selected = |tenant: &Tenant| prefix.is_none_or(|prefix| begins_with(tenant.context_identifier, prefix));
        let mut selected: Vec<_> = tenants.into_iter().take_while(is_selected).collect();
        let has_more = selected.len() > usize::try_from(limit).unwrap_or(usize::MAX);
        selected.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        let next = selected.last().map(|tenant| tenant.context_identifier).filter(|_| has_more);
        Ok(TenantsPage { tenants: self.overviews(selected).await?, next })
    }

    /// The tenant, if it is registered.
    pub async fn find(&self, tenant: ContextIdentifier) -> Result<Option<TenantOverview>, StoreError> {
        let found = self.tenants.find(tenant).await?;
        Ok(self.overviews(found.into_iter().collect()).await?.pop())
    }

    /// The tenants whose last load failed, the latest first: up to `limit` of them, and the number of all.
    pub fn failing(&self, limit: usize) -> (Vec<FailingTenant>, usize) {
        let (latest, total) = self.tickets.failing(limit);
        let failing = latest.into_iter().map(|(context_identifier, failure)| FailingTenant {
            context_identifier,
            failure,
            expire_time: self.tickets.overview(context_identifier).map(|ticket| ticket.expire_time),
        });
        (failing.collect(), total)
    }

    /// What the cache has done since the start.
    pub fn statistics(&self) -> Statistics {
        self.tickets.statistics()
    }

    /// How SuperOffice's side does.
    pub fn upstreams(&self) -> Upstreams {
        self.superoffice.upstreams()
    }

    /// What this process is called in leases, if there are any.
    pub fn process_name(&self) -> Option<&str> {
        self.shared.as_ref().map(|shared| shared.process_name())
    }

    async fn overviews(&self, tenants: Vec<Tenant>) -> Result<Vec<TenantOverview>, StoreError> {
        let names: Vec<_> = tenants.iter().map(|tenant| tenant.context_identifier).collect();
        let shared = match &self.shared {
            Some(shared) => shared.overview(&names).await?.into_iter().map(Some).collect(),
            None => vec![None; names.len()],
        };
        Ok(tenants.into_iter().zip(shared).map(|(tenant, shared)| self.overview(tenant, shared)).collect())
    }

    fn overview(&self, tenant: Tenant, shared: Option<SharedOverview>) -> TenantOverview {
        let Tenant { context_identifier, source, webapi_url, create_time, update_time, .. } = tenant;
        let (standing, freshness) = self.tickets.standing(context_identifier);
        TenantOverview {
            context_identifier,
            source,
            create_time,
            update_time,
            webapi_url: standing.status.webapi_url.as_deref().map(ToOwned::to_owned).or(webapi_url),
            state: match freshness {
                Freshness::Fresh | Freshness::Due => standing.status.state,
                Freshness::Lapsed => TenantState::Unknown,
            },
            ticket: self.tickets.overview(context_identifier),
            failure: self.tickets.last_failure(context_identifier),
            shared,
        }
    }
}

fn begins_with(name: ContextIdentifier, prefix: ContextIdentifier) -> bool {
    let (name, prefix) = (name.as_str().as_bytes(), prefix.as_str().as_bytes());
    name.get(..prefix.len()).is_some_and(|beginning| beginning.eq_ignore_ascii_case(prefix))
}
