//! The policy as a whole: what it takes, what it refuses and how, and that it decides as its plain reading does.

mod files;
mod oracle_tests;
mod schema;
mod speed;

use super::*;
use crate::identifiers::{CallerId, ContextIdentifier};

/// A policy with something of everything.
pub(super) const EXAMPLE: &str = r#"
apiVersion: policy/v1
limits: {rps: 200, burst: 400}
callers:
  - name: sync
    id: spiffe://corp/ns/crm/sa/sync
    serviceAccount: crm/sync
    rpcs: [GetSystemTicket, InvalidateSystemTicket]
    tenants: [Cust12345, "group:nordic"]
    limits: {rps: 50, burst: 100}
    appToken: true
  - id: spiffe://corp/ns/portal/*
    rpcs: [CreateAuthorizationUrl, ExchangeAuthorizationCode]
    tenants: ["*"]
  - name: operators
    id: spiffe://corp/ns/ops/sa/admin
    unixUser: 1000
    rpcs: [PutTenant, GetTenant, ListTenants, DeleteTenant]
    tenants: ["*"]
groups:
  nordic: [Cust1, Cust2]
"#;

fn policy(text: &str) -> Policy {
    Policy::parse(text).unwrap_or_else(|error| panic!("{error}"))
}

fn tenant(name: &str) -> ContextIdentifier {
    name.parse().unwrap()
}

fn spiffe(id: &str) -> CallerId {
    CallerId::Spiffe(id.parse().unwrap())
}

/// The rule that allows it.
fn rule(policy: &Policy, caller: &CallerId, method: Method, tenant_name: &str) -> Option<String> {
    let asked = (!tenant_name.is_empty()).then(|| tenant(tenant_name));
    match policy.decide(caller, method, asked) {
        Decision::Allowed(permit) => Some(permit.rule.to_string()),
        Decision::Denied => None,
    }
}

#[test]
fn any_entry_that_allows_a_call_allows_it_and_names_itself() {
    let policy = policy(EXAMPLE);
    let sync = spiffe("spiffe://corp/ns/crm/sa/sync");
    let account = CallerId::ServiceAccount("crm/sync".parse().unwrap());
    for caller in [&sync, &account] {
        for of_sync in ["Cust12345", "cust12345", "CUST1", "Cust2"] {
            assert_eq!(rule(&policy, caller, Method::GetSystemTicket, of_sync).as_deref(), Some("sync"), "{of_sync}");
        }
        assert_eq!(rule(&policy, caller, Method::GetSystemTicket, "Cust3"), None);
        assert_eq!(rule(&policy, caller, Method::GetTenant, "Cust1"), None);
        assert_eq!(rule(&policy, caller, Method::ListTenants, ""), None);
    }
    let admin = CallerId::UnixUser(1000);
    assert_eq!(rule(&policy, &admin, Method::ListTenants, "").as_deref(), Some("operators"));
    assert_eq!(rule(&policy, &admin, Method::PutTenant, "Cust99").as_deref(), Some("operators"));
    assert_eq!(rule(&policy, &admin, Method::GetSystemTicket, "Cust99"), None);
    for stranger in [CallerId::UnixUser(1001), CallerId::Unidentified, CallerId::Dns("sync".into())] {
        assert!(Method::ALL.iter().all(|method| rule(&policy, &stranger, *method, "Cust1").is_none()), "{stranger}");
    }
}

#[test]
fn a_star_names_all_that_go_on_from_its_slash_and_nothing_else() {
    let policy = policy(EXAMPLE);
    let allowed = |id: &str| rule(&policy, &spiffe(id), Method::CreateAuthorizationUrl, "Cust1");
    for below in ["spiffe://corp/ns/portal/a", "spiffe://corp/ns/portal/sa/web"] {
        assert_eq!(allowed(below).as_deref(), Some("callers[1]"), "{below}");
    }
    for beside in [
        "spiffe://corp/ns/portal",
        "spiffe://corp/ns/portals/a",
        "spiffe://corp/ns/Portal/a",
        "spiffe://corp/ns",
        "spiffe://other/ns/portal/a",
        "spiffe://corp.example/ns/portal/a",
    ] {
        assert_eq!(allowed(beside), None, "{beside}");
    }
}

#[test]
fn a_call_without_a_tenant_is_for_all_of_them_or_for_one_that_comes_out_later() {
    let policy = policy(
        "
apiVersion: policy/v1
callers:
  - unixUser: 1
    rpcs: [CreateAuthorizationUrl, ExchangeAuthorizationCode, GetTenant]
    tenants: [Cust1]
",
    );
    let caller = CallerId::UnixUser(1);
    assert!(rule(&policy, &caller, Method::ExchangeAuthorizationCode, "").is_some());
    assert!(rule(&policy, &caller, Method::CreateAuthorizationUrl, "").is_some());
    assert!(rule(&policy, &caller, Method::CreateAuthorizationUrl, "Cust2").is_none());
    // No handler asks so: one that forgot the tenant gets nothing.
    assert!(rule(&policy, &caller, Method::GetTenant, "").is_none());
}

#[test]
fn the_client_secret_goes_to_those_whom_an_entry_grants_it_with_the_call() {
    let policy = policy(
        r#"
apiVersion: policy/v1
callers:
  - {name: wide, unixUser: 1, rpcs: [GetSystemTicket], tenants: ["*"]}
  - {name: narrow, unixUser: 1, rpcs: [GetSystemTicket], tenants: [Cust1], appToken: true}
"#,
    );
    let decide = |name| policy.decide(&CallerId::UnixUser(1), Method::GetSystemTicket, Some(tenant(name)));
    assert_eq!(decide("Cust1"), Decision::Allowed(Permit { rule: "narrow".into(), app_token: true }));
    assert_eq!(decide("Cust2"), Decision::Allowed(Permit { rule: "wide".into(), app_token: false }));
}

#[test]
fn a_caller_has_the_largest_limits_that_an_entry_gives_it_or_those_of_everybody() {
    let limited = policy(
        r#"
apiVersion: policy/v1
limits: {rps: 5, burst: 6}
callers:
  - {unixUser: 1, rpcs: [GetTenant], tenants: ["*"], limits: {rps: 10, burst: 1}}
  - {unixUser: 1, rpcs: [PutTenant], tenants: ["*"], limits: {rps: 1, burst: 10}}
  - {id: spiffe://corp/*, rpcs: [GetTenant], tenants: ["*"], limits: {rps: 7, burst: 7}}
"#,
    );
    let limits = |caller: &CallerId| limited.limits(caller).map(|limits| (limits.rps.get(), limits.burst.get()));
    assert_eq!(limits(&CallerId::UnixUser(1)), Some((10, 10)));
    assert_eq!(limits(&spiffe("spiffe://corp/a/b")), Some((7, 7)));
    assert_eq!(limits(&CallerId::UnixUser(2)), Some((5, 6)));
    assert_eq!(Policy::development().limits(&CallerId::Unidentified), None);
    let bare = Policy::parse("apiVersion: policy/v1\ncallers: []\n").unwrap();
    assert_eq!(bare.limits(&CallerId::Unidentified), Some(Limits::DEFAULT));
}

#[test]
fn in_development_nobody_in_particular_may_do_everything_but_have_the_client_secret() {
    let policy = Policy::development();
    for method in Method::ALL {
        for asked in [None, Some(tenant("Cust1"))] {
            let permit = Permit { rule: "development".into(), app_token: false };
            assert_eq!(policy.decide(&CallerId::Unidentified, method, asked), Decision::Allowed(permit));
            assert_eq!(policy.decide(&CallerId::UnixUser(0), method, asked), Decision::Denied);
        }
    }
}

#[test]
fn an_explanation_names_the_entry_or_what_is_nearest() {
    let policy = policy(EXAMPLE);
    let explain = |caller: &CallerId, method, name| policy.explain(caller, method, Some(tenant(name))).to_string();
    let sync = spiffe("spiffe://corp/ns/crm/sa/sync");
    assert_eq!(explain(&sync, Method::GetSystemTicket, "Cust1"), "allowed by sync (line 5)\nSO-AppToken: granted");
    assert_eq!(
        explain(&sync, Method::GetSystemTicket, "Cust3"),
        "denied: no entry allows it\nnear: sync (line 5): its tenants do not include Cust3"
    );
    assert_eq!(
        explain(&sync, Method::PutTenant, "Cust3"),
        "denied: no entry allows it\n\
         near: operators (line 15): its callers do not include spiffe://corp/ns/crm/sa/sync\n\
         near: sync (line 5): its rpcs do not include PutTenant, and its tenants do not include Cust3"
    );
    let misspelt = explain(&spiffe("spiffe://corp/ns/crm/sa/snyc"), Method::GetSystemTicket, "Cust1");
    assert!(misspelt.contains("did you mean spiffe://corp/ns/crm/sa/sync?"), "{misspelt}");
}

#[test]
fn another_policy_takes_the_place_of_the_one_in_force() {
    let in_force = PolicyInForce::new(Policy::development());
    let shared = in_force.clone();
    let allows = || in_force.current().decide(&CallerId::Unidentified, Method::GetTenant, None) != Decision::Denied;
    assert!(allows());
    shared.replace(policy(EXAMPLE));
    assert!(!allows());
}
