use std::collections::HashMap;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;

use super::caller_pattern::CallerPattern;
use super::document::{self, Document, Entry, Tenants};
use super::file;
use super::grants::Callers;
use super::{Explanation, Method, PolicyError};
use crate::identifiers::{CallerId, ContextIdentifier};

/// Who may do what, compiled so that a decision takes a few look-ups however many entries there are.
#[derive(Debug)]
pub struct Policy {
    document: Document,
    rules: Vec<Rule>,
    callers: Callers,
    /// The groups that a tenant is in.
    groups: HashMap<ContextIdentifier, Vec<usize>>,
    default_limits: Option<Limits>,
}

#[derive(Debug)]
struct Rule {
    id: Arc<str>,
    app_token: bool,
}

/// What the policy says to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It may go on.
    Allowed(Permit),
    /// It may not.
    Denied,
}

/// That a call may go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permit {
    /// The entry that allows it: its name, or its place, like `callers[2]`.
    pub rule: Arc<str>,
    /// Whether its caller may have the client secret, which goes along with tickets as `SO-AppToken`.
    pub app_token: bool,
}

/// How much a caller may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Calls a second, in the long run.
    pub rps: NonZeroU32,
    /// Calls at once, after a while without any.
    pub burst: NonZeroU32,
}

impl Limits {
    /// Of callers for whom the policy has none.
    pub const DEFAULT: Self = Self { rps: limit(1_000), burst: limit(2_000) };

    /// The larger of each.
    pub(super) fn or_more(self, other: Self) -> Self {
        Self { rps: self.rps.max(other.rps), burst: self.burst.max(other.burst) }
    }
}

const fn limit(number: u32) -> NonZeroU32 {
    match NonZeroU32::new(number) {
        Some(number) => number,
        None => NonZeroU32::MIN,
    }
}

impl Policy {
    /// Reads a policy's file.
    pub fn read(file: &Path) -> Result<Self, PolicyError> {
        Self::parse(&file::read(file)?)
    }

    /// Reads a policy, or tells everything that is wrong with it.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let document = document::read(text).map_err(PolicyError::Mistakes)?;
        let limits = document.limits.unwrap_or(Limits::DEFAULT);
        Ok(Self::compile(document, Some(limits)))
    }

    /// For development: whoever calls without an identity may do everything, as often as it likes, but for having the
    /// client secret. Callers that have an identity may do nothing.
    pub fn development() -> Self {
        let entry = Entry {
            rule: "development".into(),
            line: 0,
            callers: vec![CallerPattern::Exactly(CallerId::Unidentified)],
            methods: Method::ALL.to_vec(),
            tenants: Tenants { every: true, ..Tenants::default() },
            limits: None,
            app_token: false,
        };
        Self::compile(Document { entries: vec![entry], ..Document::default() }, None)
    }

    fn compile(mut document: Document, default_limits: Option<Limits>) -> Self {
        // Of several entries that allow a call the first counts, before the others one that grants the client secret.
        document.entries.sort_by_key(|entry| !entry.app_token);
        let mut callers = Callers::default();
        let mut rules = Vec::with_capacity(document.entries.len());
        for (entry, rule) in document.entries.iter().zip(0..) {
            for caller in &entry.callers {
                callers.add(caller, entry, rule);
            }
            rules.push(Rule { id: Arc::clone(&entry.rule), app_token: entry.app_token });
        }
        let mut groups: HashMap<_, Vec<_>> = HashMap::new();
        for (place, group) in document.groups.iter().enumerate() {
            for tenant in &group.tenants {
                groups.entry(*tenant).or_default().push(place);
            }
        }
        document.entries.sort_by_key(|entry| entry.line);
        Self { document, rules, callers, groups, default_limits }
    }

    /// Whether the caller may call the method for the tenant. A call that names no tenant is for every one of them, or, for
    /// those of a sign-in, for one that is known later: then this has to be asked again.
    ///
    /// It takes as long whether the tenant is registered or not, and whether another caller may use it or not.
    pub fn decide(&self, caller: &CallerId, method: Method, tenant: Option<ContextIdentifier>) -> Decision {
        let groups = tenant.and_then(|tenant| self.groups.get(&tenant)).map_or(&[][..], Vec::as_slice);
        let rule = self.callers.of(caller).filter_map(|grants| grants.rule(method, tenant, groups)).min();
        match rule.and_then(|rule| self.rules.get(rule as usize)) {
            Some(Rule { id, app_token }) => Decision::Allowed(Permit { rule: Arc::clone(id), app_token: *app_token }),
            None => Decision::Denied,
        }
    }

    /// How much the caller may ask for: the most that an entry gives it, else what the policy gives everybody. No limit
    /// in development.
    pub fn limits(&self, caller: &CallerId) -> Option<Limits> {
        let own = self.callers.of(caller).filter_map(|grants| grants.limits).reduce(Limits::or_more);
        own.or(self.default_limits)
    }

    /// Why it decides so, for people.
    pub fn explain(&self, caller: &CallerId, method: Method, tenant: Option<ContextIdentifier>) -> Explanation {
        Explanation::new(&self.document, self.decide(caller, method, tenant), caller, method, tenant)
    }

    /// How many entries there are.
    pub fn entries(&self) -> usize {
        self.document.entries.len()
    }

    /// How many groups of tenants there are.
    pub fn groups(&self) -> usize {
        self.document.groups.len()
    }
}
