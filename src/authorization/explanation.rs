use std::fmt;

use super::caller_pattern::CallerPattern;
use super::document::{Document, Entry};
use super::method::{Method, WithoutTenant};
use super::policy::{Decision, Permit};
use crate::identifiers::{CallerId, ContextIdentifier};

/// So many entries that nearly allow a call are told.
const MOST_NEAR: usize = 3;

/// Why a policy decides as it does, a line for each thing to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// What it decides.
    pub decision: Decision,
    /// For people. Not empty, and without a final line end.
    text: String,
}

/// What an entry lacks to allow a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lack {
    caller: bool,
    method: bool,
    tenant: bool,
}

impl Explanation {
    pub(super) fn new(
        document: &Document,
        decision: Decision,
        caller: &CallerId,
        method: Method,
        tenant: Option<ContextIdentifier>,
    ) -> Self {
        let entries = &document.entries;
        let text = match &decision {
            Decision::Allowed(Permit { rule, app_token }) => {
                let line = entries.iter().find(|entry| entry.rule == *rule).map_or(0, |entry| entry.line);
                let app_token = if *app_token { "granted" } else { "not granted" };
                format!("allowed by {rule} (line {line})\nSO-AppToken: {app_token}")
            }
            Decision::Denied => {
                let lacks = entries.iter().map(|entry| (lack(document, entry, caller, method, tenant), entry));
                denied(lacks.collect(), caller, method, tenant)
            }
        };
        Self { decision, text }
    }
}

/// What is nearest: entries that lack one thing, those of the caller first.
fn denied(
    mut lacks: Vec<(Lack, &Entry)>,
    caller: &CallerId,
    method: Method,
    tenant: Option<ContextIdentifier>,
) -> String {
    let mut lines = vec!["denied: no entry allows it".to_owned()];
    if lacks.iter().all(|(lack, _)| lack.caller) {
        lines.push(format!("no entry names the caller {caller}{}", misspelt(&lacks, caller)));
    }
    lacks.sort_by_key(|(lack, entry)| (lack.things(), lack.caller, entry.line));
    for (lack, entry) in lacks.into_iter().filter(|(lack, _)| lack.things() < 2 || !lack.caller).take(MOST_NEAR) {
        let Entry { rule, line, .. } = entry;
        let mut missing = Vec::new();
        if lack.caller {
            missing.push(format!("its callers do not include {caller}"));
        }
        if lack.method {
            missing.push(format!("its rpcs do not include {method}"));
        }
        if lack.tenant {
            missing.push(match tenant {
                Some(tenant) => format!("its tenants do not include {tenant}"),
                None => "its tenants are not \"*\"".to_owned(),
            });
        }
        lines.push(format!("near: {rule} (line {line}): {}", missing.join(", and ")));
    }
    lines.join("\n")
}

fn lack(
    document: &Document,
    entry: &Entry,
    caller: &CallerId,
    method: Method,
    tenant: Option<ContextIdentifier>,
) -> Lack {
    let tenants = &entry.tenants;
    let has_tenant = tenants.every
        || match tenant {
            None => method.without_tenant() == WithoutTenant::Any,
            Some(tenant) => {
                let mut groups = tenants.groups.iter().filter_map(|group| document.groups.get(*group));
                tenants.named.contains(&tenant) || groups.any(|group| group.tenants.contains(&tenant))
            }
        };
    Lack {
        caller: !entry.callers.iter().any(|pattern| pattern.names(caller)),
        method: !entry.methods.contains(&method),
        tenant: !has_tenant,
    }
}

/// The caller that was probably meant.
fn misspelt(lacks: &[(Lack, &Entry)], caller: &CallerId) -> String {
    let caller = caller.to_string();
    let names = lacks.iter().flat_map(|(_, entry)| entry.callers.iter().map(CallerPattern::to_string));
    let near = names.map(|name| (strsim::damerau_levenshtein(&name, &caller), name)).min();
    match near {
        Some((distance, name)) if distance <= 3 => format!("; did you mean {name}?"),
        _ => String::new(),
    }
}

impl Lack {
    fn things(self) -> usize {
        [self.caller, self.method, self.tenant].into_iter().filter(|lacks| *lacks).count()
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}
