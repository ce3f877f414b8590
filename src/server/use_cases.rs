use std::sync::Arc;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tonic::service::Routes;

use super::Process;
use super::reload::ApplicationInUse;
use super::tasks::Tasks;
use crate::audit::Audit;
use crate::authorization::{Pace, PolicyInForce};
use crate::credentials::{
    AccessTokens, Exchange, KeptGrants, Overviews, Registrar, Settings, SignIns, SystemTickets, TenantNotices,
};
use crate::crypto::{KeyedHasher, RandomnessError};
use crate::grpc::layers::{Conditions, Hits};
use crate::grpc::{self, AuthorizationService, Permits, TenantService, TicketService};
use crate::identifiers::ContextIdentifier;
use crate::store::Store;
use crate::superoffice::SuperOffice;

/// What callers and browsers can ask for, over the store and SuperOffice's side.
pub(super) struct UseCases {
    system_tickets: SystemTickets,
    warm: bool,
    access_tokens: AccessTokens,
    pub(super) kept_grants: KeptGrants,
    pub(super) sign_ins: SignIns,
    pub(super) notices: TenantNotices,
}

impl UseCases {
    pub(super) fn new(
        settings: &Settings,
        superoffice: &Arc<SuperOffice>,
        store: &Store,
        application: &ApplicationInUse,
        audit: &Audit,
        process: &Process,
    ) -> Result<Self, RandomnessError> {
        let superoffice = || Arc::clone(superoffice);
        let (clock, random) = (|| Arc::clone(&process.clock), || Arc::clone(&process.random));
        let tenants = || Arc::clone(&store.tenants);
        let ApplicationInUse { signing_keys, fingerprinter, .. } = application;
        let (keys, fingerprinter) = (signing_keys.clone(), fingerprinter.clone());
        let exchange =
            Exchange::new(settings.clone(), superoffice(), tenants(), keys, fingerprinter, clock(), random())
                .audited_by(audit.clone());
        let system_tickets =
            SystemTickets::new(settings.clone(), exchange, store.shared_tickets.clone(), clock(), random());
        let registrar =
            Registrar::new(superoffice(), tenants(), system_tickets.clone(), settings.clock_leeway, clock())
                .audited_by(audit.clone());
        let kept_grants = KeptGrants::new(Arc::clone(&store.grants), clock());
        let access_tokens = AccessTokens::new(
            settings,
            superoffice(),
            registrar.clone(),
            kept_grants.clone(),
            KeyedHasher::random()?,
            clock(),
            random(),
        );
        let pending = Arc::clone(&store.sign_ins);
        let sign_ins = SignIns::new(superoffice(), pending, registrar, access_tokens.clone(), clock());
        let seen = Arc::clone(&store.notices);
        let (told, kept) = (system_tickets.clone(), kept_grants.clone());
        let notices = TenantNotices::new(superoffice(), tenants(), seen, told, kept, settings.clock_leeway, clock());
        Ok(Self { system_tickets, warm: settings.warm, access_tokens, kept_grants, sign_ins, notices })
    }

    /// Starts what goes on without anybody asking.
    pub(super) fn spawn(&self, tasks: &mut Tasks, store: &Store) {
        tasks.spawn("renewal of tickets", self.system_tickets.clone().run_renewals());
        if self.warm {
            let warming = self.system_tickets.clone().run_warming(Arc::clone(&store.tenants));
            tasks.spawn("warming of tickets", warming);
        }
        tasks.spawn("watch over the store", store.watch_ended());
        let forgetting = forget_changed(store.changes(), self.system_tickets.clone(), self.access_tokens.clone());
        tasks.spawn("watch over changed tenants", forgetting);
    }

    /// What people look at.
    pub(super) fn overviews(&self, store: &Store, superoffice: &Arc<SuperOffice>) -> Overviews {
        let (tenants, shared) = (Arc::clone(&store.tenants), store.shared_tickets.clone());
        Overviews::new(tenants, shared, self.system_tickets.clone(), Arc::clone(superoffice))
    }

    /// What is answered before any service is asked.
    pub(super) fn hits(
        &self,
        conditions: &Conditions,
        policy: PolicyInForce,
        pace: Pace,
        superoffice: &Arc<SuperOffice>,
    ) -> Hits {
        Hits::new(conditions, policy, pace, self.system_tickets.clone(), Arc::clone(superoffice))
    }

    /// The services that callers ask.
    pub(super) fn routes(
        &self,
        store: &Store,
        superoffice: &Arc<SuperOffice>,
        permits: &Permits,
        process: &Process,
    ) -> Routes {
        let tenants = TenantService::new(
            Arc::clone(&store.tenants),
            Arc::clone(&store.grants),
            self.system_tickets.clone(),
            self.access_tokens.clone(),
            Arc::clone(&process.clock),
            permits.clone(),
        );
        let tickets = TicketService::new(
            self.system_tickets.clone(),
            self.access_tokens.clone(),
            Arc::clone(superoffice),
            permits.clone(),
        );
        grpc::routes(tickets, AuthorizationService::new(self.sign_ins.clone(), permits.clone()), tenants)
    }
}

/// Drops what is kept about tenants whose system user token changed or that went away, and of users whose grants did.
async fn forget_changed(mut changes: Receiver<ContextIdentifier>, tickets: SystemTickets, access_tokens: AccessTokens) {
    loop {
        match changes.recv().await {
            Ok(context_identifier) => {
                tickets.forget(context_identifier);
                access_tokens.recheck(context_identifier).await;
            }
            // More changed at once than the channel holds, and which is lost.
            Err(RecvError::Lagged(_)) => {
                tickets.forget_all();
                access_tokens.forget_all();
            }
            Err(RecvError::Closed) => return,
        }
    }
}
