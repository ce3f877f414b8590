use std::sync::Arc;

use thiserror::Error;
use tokio::sync::watch;
use tonic::{Request, Status};

use super::layers::CallRecord;
use super::status;
use crate::authorization::{Decision, Method, Permit, PolicyInForce, Uncounted};
use crate::identifiers::{Caller, CallerId, ContextIdentifier};
use crate::metrics;

/// Asks the policy. Every RPC does, once it knows what is asked for and before it looks anything up: whoever may not know
/// whether a tenant exists gets the same answer, as fast, either way.
#[derive(Clone, Debug)]
pub struct Permits {
    policy: PolicyInForce,
}

/// Why a call may not go on.
#[derive(Debug, Error)]
pub(super) enum PermitError {
    /// No entry of the policy allows it. The log is told who wanted what.
    #[error("{caller} may not call {method}{}", of(*tenant))]
    Denied { caller: CallerId, method: Method, tenant: Option<ContextIdentifier> },
    /// No layer has said who calls: a fault of ours.
    #[error("the call has no caller")]
    NoCaller,
}

impl Permits {
    /// By this policy.
    pub fn new(policy: PolicyInForce) -> Self {
        Self { policy }
    }

    /// Whether the request's caller may call the method for the tenant, and what comes with that.
    pub(super) fn permit<T>(
        &self,
        request: &Request<T>,
        method: Method,
        tenant: Option<ContextIdentifier>,
    ) -> Result<Permit, Status> {
        let record = CallRecord::within(request.extensions());
        if let Some(tenant) = tenant {
            record.tenant(tenant);
        }
        let caller = caller_of(request)?;
        match self.policy.current().decide(&caller.id, method, tenant) {
            Decision::Allowed(permit) => {
                record.rule(&permit.rule);
                Ok(permit)
            }
            Decision::Denied => Err(PermitError::Denied { caller: caller.id.clone(), method, tenant }.into()),
        }
    }

    /// Whether a caller may call the method for one of several tenants. A refusal is the tenant's and not the call's.
    pub(super) fn permit_one(
        &self,
        caller: &CallerId,
        method: Method,
        tenant: ContextIdentifier,
    ) -> Result<Permit, Status> {
        self.decide(caller, method, tenant).ok_or_else(|| Self::denied_one(caller, method, tenant))
    }

    /// What a caller is told of one of several tenants for which it may not call the method.
    pub(super) fn denied_one(caller: &CallerId, method: Method, tenant: ContextIdentifier) -> Status {
        // No call ends with it, and is counted by its end.
        metrics::AUTHZ_DENIED.count(&[method.full_name(), "not_authorized"]);
        Self::denied(caller, method, tenant)
    }

    /// What a caller is told that may not call the method for the tenant.
    pub(super) fn denied(caller: &CallerId, method: Method, tenant: ContextIdentifier) -> Status {
        PermitError::Denied { caller: caller.clone(), method, tenant: Some(tenant) }.into()
    }

    /// What the policy says this moment.
    pub(super) fn decide(&self, caller: &CallerId, method: Method, tenant: ContextIdentifier) -> Option<Permit> {
        match self.policy.current().decide(caller, method, Some(tenant)) {
            Decision::Allowed(permit) => Some(permit),
            Decision::Denied => None,
        }
    }

    /// Tells of each replacement of the policy from now on.
    pub(super) fn replacements(&self) -> watch::Receiver<()> {
        self.policy.replacements()
    }

    /// Whether the caller may call the method for a tenant that is not known yet. What comes out is noted in the call's
    /// record.
    pub(super) fn entitlement(
        &self,
        caller: CallerId,
        method: Method,
        record: CallRecord,
    ) -> impl Fn(ContextIdentifier) -> bool + Send + Sync + 'static {
        let policy = self.policy.clone();
        move |tenant| {
            record.tenant(tenant);
            let decision = policy.current().decide(&caller, method, Some(tenant));
            if let Decision::Allowed(permit) = &decision {
                record.rule(&permit.rule);
            }
            matches!(decision, Decision::Allowed(_))
        }
    }
}

/// Counts a call for several tenants as so many calls of its caller, if those are limited.
pub(super) fn admit<T>(request: &Request<T>, tenants: usize) -> Result<(), Status> {
    let Some(uncounted) = request.extensions().get::<Arc<Uncounted>>() else { return Ok(()) };
    uncounted.admit(u32::try_from(tenants).unwrap_or(u32::MAX)).map_err(status::rate_limited)
}

/// Who calls.
pub(super) fn caller_of<T>(request: &Request<T>) -> Result<&Caller, PermitError> {
    request.extensions().get().ok_or(PermitError::NoCaller)
}

fn of(tenant: Option<ContextIdentifier>) -> String {
    tenant.map(|tenant| format!(" for {tenant}")).unwrap_or_default()
}
