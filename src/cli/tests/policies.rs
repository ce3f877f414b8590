//! Policies.

use std::fs;

use tempfile::TempDir;

use super::*;

#[test]
fn policies_are_checked_and_tried() {
    let directory = TempDir::new().unwrap();
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let entry = "{name: sync, unixUser: 7, rpcs: [GetSystemTicket], tenants: [Cust1], appToken: true}";
    let policy = write("policy.yaml", &format!("apiVersion: policy/v1\ncallers:\n  - {entry}\n"));
    assert_eq!(
        ticketd(&["policy", "check", &policy], b"").succeeded(),
        "The policy is good.\nentries:  1\ngroups:   0\n"
    );
    let call = ["policy", "test", &policy, "--caller", "unix:7", "--rpc", "GetSystemTicket", "--tenant"];
    let allowed = ticketd(&[&call[..], &["cust1"]].concat(), b"").succeeded();
    assert_eq!(allowed, "allowed by sync (line 3)\nSO-AppToken: granted\n");
    let denied = ticketd(&[&call[..], &["Cust2"]].concat(), b"");
    let Some(Failure::Coded(2, told)) = denied.failure else { panic!("{:?}", denied.failure) };
    assert_eq!(told, "denied: no entry allows it\nnear: sync (line 3): its tenants do not include Cust2");

    let right = "cases: [{caller: unix:7, rpc: GetSystemTicket, tenant: Cust1, expect: allow}]";
    let tried = ticketd(&["policy", "test", &policy, "--cases", &write("right.yaml", right)], b"").succeeded();
    assert_eq!(tried, "All cases are decided as expected: 1.\n");
    let wrong = write("wrong.yaml", &right.replace("unix:7", "unix:8"));
    let tried = ticketd(&["policy", "test", &policy, "--cases", &wrong], b"");
    assert!(
        matches!(tried.failure, Some(Failure::Coded(2, told)) if told.starts_with("line 1: expected allow, but denied"))
    );

    let bad = write("bad.yaml", "apiVersion: policy/v1\ncallers: [{unixUser: 7, rpcs: [Get]}]\n");
    let told = ticketd(&["policy", "check", &bad], b"").failed();
    assert_eq!(told.lines().count(), 2, "{told}");
    assert!(told.lines().all(|line| line.contains("bad.yaml: line 2: callers[0].")), "{told}");
    for misused in [
        &["policy", "test", &policy][..],
        &["policy", "test", &policy, "--caller", "unix:7"],
        &["policy", "test", &policy, "--caller", "crm", "--rpc", "GetTenant"],
        &["policy", "test", &policy, "--caller", "unix:7", "--rpc", "Check"],
        &["policy", "test", &policy, "--cases", &wrong, "--caller", "unix:7", "--rpc", "GetTenant"],
    ] {
        assert!(Arguments::try_parse_from([&["ticketd"], misused].concat()).is_err(), "{misused:?}");
    }
}
