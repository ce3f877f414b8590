use thiserror::Error;
use tonic::{Request, Status};

use super::layers::CallRecord;
use crate::authorization::{Decision, Method, Permit, PolicyInForce};
use crate::identifiers::{Caller, CallerId, ContextIdentifier};

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

/// Who calls.
pub(super) fn caller_of<T>(request: &Request<T>) -> Result<&Caller, PermitError> {
    request.extensions().get().ok_or(PermitError::NoCaller)
}

fn of(tenant: Option<ContextIdentifier>) -> String {
    tenant.map(|tenant| format!(" for {tenant}")).unwrap_or_default()
}
