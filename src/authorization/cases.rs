use std::path::Path;

use super::document;
use super::file;
use super::mistake::Problem;
use super::reader::Reader;
use super::yaml::{self, Node};
use super::{Decision, Method, Permit, Policy, PolicyError};
use crate::identifiers::{CallerId, ContextIdentifier};

const CASES: &str = "a list of calls, each with what to expect";

/// Calls, and how a policy should decide them: what a change of a policy is tested by.
#[derive(Debug)]
pub struct Cases(Vec<Case>);

#[derive(Debug)]
struct Case {
    line: usize,
    caller: CallerId,
    method: Method,
    tenant: Option<ContextIdentifier>,
    is_allowed: bool,
    /// Whether the caller should have the client secret, if that matters.
    app_token: Option<bool>,
}

impl Cases {
    /// Reads a file of cases.
    pub fn read(file: &Path) -> Result<Self, PolicyError> {
        Self::parse(&file::read(file)?)
    }

    /// Reads cases, or tells everything that is wrong with them.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let mut reader = Reader::default();
        let cases = yaml::read(text, &mut reader.mistakes).and_then(|root| cases(&mut reader, &root));
        reader.finish(cases).map(Self).map_err(PolicyError::Mistakes)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Tries each, and tells those that the policy decides otherwise.
    pub fn tried_with<'a>(&'a self, policy: &'a Policy) -> impl Iterator<Item = String> + 'a {
        self.0.iter().filter_map(|case| case.try_with(policy))
    }
}

impl Case {
    fn try_with(&self, policy: &Policy) -> Option<String> {
        let Self { line, caller, method, tenant, is_allowed, app_token } = self;
        let explanation = policy.explain(caller, *method, *tenant);
        let is_right = match &explanation.decision {
            Decision::Allowed(Permit { app_token: granted, .. }) => {
                *is_allowed && app_token.is_none_or(|expected| expected == *granted)
            }
            Decision::Denied => !is_allowed,
        };
        let expected = match (is_allowed, app_token) {
            (false, _) => "deny",
            (true, None) => "allow",
            (true, Some(true)) => "allow with SO-AppToken",
            (true, Some(false)) => "allow without SO-AppToken",
        };
        let decided = explanation.to_string().replace('\n', "; ");
        (!is_right).then(|| format!("line {line}: expected {expected}, but {decided}"))
    }
}

fn cases(reader: &mut Reader, root: &Node) -> Option<Vec<Case>> {
    let fields = reader.fields(root, String::new(), &["cases"])?;
    let nodes = reader.required_list(&fields, "cases", CASES)?;
    let mut cases = Vec::new();
    for (index, node) in nodes.iter().enumerate() {
        cases.extend(case(reader, node, index));
    }
    Some(cases)
}

fn case(reader: &mut Reader, node: &Node, index: usize) -> Option<Case> {
    let fields = reader.fields(node, format!("cases[{index}]"), &["caller", "rpc", "tenant", "expect", "appToken"])?;
    let caller = "spiffe://…, serviceaccount:NAMESPACE/NAME, dns:NAME, unix:NUMBER or unidentified";
    let caller_node = reader.required(&fields, "caller", caller);
    let caller =
        caller_node.and_then(|node| reader.text(node, fields.path("caller"), caller, |text| text.parse().ok()));
    let method = reader.required(&fields, "rpc", "the name of an RPC");
    let method = method.and_then(|node| document::method(reader, node, fields.path("rpc")));
    let tenant = fields.get("tenant").map(|node| {
        reader
            .text(node, fields.path("tenant"), "a tenant like Cust12345", |text| text.parse::<ContextIdentifier>().ok())
    });
    let expect = reader.required(&fields, "expect", "allow or deny");
    let is_allowed = |text: &str| match text {
        "allow" => Some(true),
        "deny" => Some(false),
        _ => None,
    };
    let is_allowed = expect.and_then(|node| reader.text(node, fields.path("expect"), "allow or deny", is_allowed));
    let app_token = fields.get("appToken").and_then(|node| reader.switch(node, fields.path("appToken")));
    if app_token.is_some() && is_allowed == Some(false) {
        let why = "nothing comes with a call that is denied: leave it out";
        reader.note(fields.line, fields.path("appToken"), Problem::Conflict(why));
    }
    Some(Case {
        line: fields.line,
        caller: caller?,
        method: method?,
        tenant: match tenant {
            Some(tenant) => Some(tenant?),
            None => None,
        },
        is_allowed: is_allowed?,
        app_token,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authorization::tests::EXAMPLE;

    fn tried(cases: &str) -> Vec<String> {
        let (cases, policy) = (Cases::parse(cases).unwrap(), Policy::parse(EXAMPLE).unwrap());
        cases.tried_with(&policy).collect()
    }

    #[test]
    fn cases_that_are_decided_otherwise_are_told_with_the_reason() {
        let right = "
cases:
  - {caller: spiffe://corp/ns/crm/sa/sync, rpc: GetSystemTicket, tenant: Cust1, expect: allow, appToken: true}
  - {caller: serviceaccount:crm/sync, rpc: GetSystemTicket, tenant: Cust3, expect: deny}
  - {caller: unix:1000, rpc: ListTenants, expect: allow, appToken: false}
  - {caller: unidentified, rpc: ListTenants, expect: deny}
";
        assert_eq!(tried(right), Vec::<String>::new());
        let wrong = "
cases:
  - {caller: spiffe://corp/ns/crm/sa/sync, rpc: GetSystemTicket, tenant: Cust3, expect: allow}
  - {caller: unix:1000, rpc: ListTenants, expect: allow, appToken: true}
  - {caller: unix:1000, rpc: ListTenants, expect: deny}
";
        assert_eq!(
            tried(wrong),
            [
                "line 3: expected allow, but denied: no entry allows it; near: sync (line 5): its tenants do not \
                 include Cust3",
                "line 4: expected allow with SO-AppToken, but allowed by operators (line 15); SO-AppToken: not granted",
                "line 5: expected deny, but allowed by operators (line 15); SO-AppToken: not granted",
            ]
        );
    }

    #[test]
    fn every_mistake_in_a_file_of_cases_is_told() {
        let error = Cases::parse(
            "cases:\n  - {caller: nobody, rpc: Get, tenant: \"*\", expect: perhaps}\n  - {}\n  - {caller: unix:1, rpc: \
             PutTenant, expect: deny, appToken: true}\n",
        )
        .unwrap_err()
        .to_string();
        assert_eq!(error.lines().count(), 8, "{error}");
        for empty in ["", "cases: []", "cases: {}", "[]"] {
            assert!(Cases::parse(empty).is_err(), "{empty}");
        }
    }
}
