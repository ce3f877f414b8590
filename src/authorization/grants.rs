//! The compiled form: for each caller that a policy names, the best entry for each method and tenant.

use std::collections::{BTreeSet, HashMap};

use super::caller_pattern::CallerPattern;
use super::document::Entry;
use super::method::{Method, WithoutTenant};
use super::policy::Limits;
use crate::identifiers::{CallerId, ContextIdentifier};

/// A place in the policy's rules. Of two that allow a call the smaller counts.
pub(super) type RuleIndex = u32;

/// Every caller that a policy names.
#[derive(Debug, Default)]
pub(super) struct Callers {
    exactly: HashMap<CallerId, Grants>,
    /// Those whose SPIFFE IDs go on from this with a slash.
    below: HashMap<Box<str>, Grants>,
    /// How long the keys of `below` are, each length once.
    lengths: BTreeSet<usize>,
}

/// What the entries that name a caller allow together.
#[derive(Debug, Default)]
pub(super) struct Grants {
    everywhere: PerMethod,
    /// For one tenant at least.
    anywhere: PerMethod,
    tenants: HashMap<ContextIdentifier, PerMethod>,
    groups: HashMap<usize, PerMethod>,
    pub(super) limits: Option<Limits>,
}

/// The rule that allows each method.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PerMethod([Option<RuleIndex>; Method::ALL.len()]);

impl Callers {
    pub(super) fn add(&mut self, caller: &CallerPattern, entry: &Entry, rule: RuleIndex) {
        let grants = match caller {
            CallerPattern::Exactly(caller) => self.exactly.entry(caller.clone()).or_default(),
            CallerPattern::Below(above) => {
                self.lengths.insert(above.len());
                self.below.entry(above.as_str().into()).or_default()
            }
        };
        grants.add(entry, rule);
    }

    /// What the policy grants this caller, in one piece for each way in which it is named.
    pub(super) fn of<'a>(&'a self, caller: &'a CallerId) -> impl Iterator<Item = &'a Grants> {
        let id = match caller {
            CallerId::Spiffe(id) => id.as_str(),
            _ => "",
        };
        let above = self.lengths.iter().filter_map(|length| Some((id.get(..*length)?, id.get(*length..)?)));
        let above = above.filter(|(_, rest)| rest.starts_with('/')).filter_map(|(above, _)| self.below.get(above));
        above.chain(self.exactly.get(caller))
    }
}

impl Grants {
    fn add(&mut self, entry: &Entry, rule: RuleIndex) {
        for method in &entry.methods {
            self.anywhere.offer(*method, rule);
            if entry.tenants.every {
                self.everywhere.offer(*method, rule);
            }
        }
        for tenant in &entry.tenants.named {
            let rules = self.tenants.entry(*tenant).or_default();
            entry.methods.iter().for_each(|method| rules.offer(*method, rule));
        }
        for group in &entry.tenants.groups {
            let rules = self.groups.entry(*group).or_default();
            entry.methods.iter().for_each(|method| rules.offer(*method, rule));
        }
        self.limits = match (self.limits, entry.limits) {
            (Some(limits), Some(more)) => Some(limits.or_more(more)),
            (limits, more) => limits.or(more),
        };
    }

    /// The rule that allows the method for the tenant, which is in these groups.
    pub(super) fn rule(
        &self,
        method: Method,
        tenant: Option<ContextIdentifier>,
        groups: &[usize],
    ) -> Option<RuleIndex> {
        let Some(tenant) = tenant else {
            return match method.without_tenant() {
                WithoutTenant::Every => self.everywhere.get(method),
                WithoutTenant::Any => self.anywhere.get(method),
            };
        };
        // Most callers name neither tenants nor groups that have to be looked for.
        self.anywhere.get(method)?;
        let named = self.tenants.get(&tenant);
        let groups = groups.iter().filter_map(|group| self.groups.get(group));
        let rules = named.into_iter().chain(groups).chain([&self.everywhere]);
        rules.filter_map(|rules| rules.get(method)).min()
    }
}

impl PerMethod {
    fn get(&self, method: Method) -> Option<RuleIndex> {
        self.0.get(method.index()).copied().flatten()
    }

    fn offer(&mut self, method: Method, rule: RuleIndex) {
        if let Some(best) = self.0.get_mut(method.index()) {
            *best = Some(best.map_or(rule, |best| best.min(rule)));
        }
    }
}
