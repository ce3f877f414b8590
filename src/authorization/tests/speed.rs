//! How long a decision takes: the figure is for a release build, and holds here with room.

use std::fmt::Write;
use std::hint::black_box;
use std::time::{Duration, Instant};

use super::super::{Decision, Method, Policy};
use super::{policy, spiffe, tenant};
use crate::identifiers::CallerId;

const ENTRIES: usize = 1_000;
const DECISIONS: u32 = 20_000;

/// An optimised build decides in under a microsecond, ours for tests in a few.
const LIMIT: Duration = Duration::from_micros(if cfg!(debug_assertions) { 25 } else { 1 });

#[test]
fn a_decision_among_a_thousand_entries_takes_no_time_to_speak_of() {
    let mut text = "apiVersion: policy/v1\ncallers:\n".to_owned();
    for entry in 0..ENTRIES {
        writeln!(text, "  - id: spiffe://corp.example/ns/team-{}/sa/service-{entry}", entry % 50).unwrap();
        writeln!(text, "    rpcs: [GetSystemTicket]\n    tenants: [Cust{entry}, \"group:nordic\"]").unwrap();
    }
    writeln!(
        text,
        "groups: {{nordic: {:?}}}",
        (5_000..6_000).map(|tenant| format!("Cust{tenant}")).collect::<Vec<_>>()
    )
    .unwrap();
    let policy = policy(&text);
    let caller = spiffe("spiffe://corp.example/ns/team-7/sa/service-557");
    measure("its own tenant", &policy, &caller, "Cust557", true);
    measure("a tenant of its group", &policy, &caller, "Cust5500", true);
    measure("another's tenant", &policy, &caller, "Cust558", false);
    measure("nobody's tenant", &policy, &caller, "Cust999999", false);
    measure("a stranger", &policy, &spiffe("spiffe://corp.example/ns/team-7/sa/other"), "Cust1", false);
}

#[test]
fn a_caller_whom_every_entry_names_waits_no_longer() {
    let mut text = "apiVersion: policy/v1\ncallers:\n".to_owned();
    for entry in 0..ENTRIES {
        writeln!(text, "  - {{unixUser: 7, rpcs: [GetSystemTicket], tenants: [Cust{entry}, \"group:g{entry}\"]}}")
            .unwrap();
    }
    text.push_str("groups:\n");
    for group in 0..ENTRIES {
        writeln!(text, "  g{group}: [Cust{}]", 10_000 + group).unwrap();
    }
    let policy = policy(&text);
    let caller = CallerId::UnixUser(7);
    measure("the last entry's tenant", &policy, &caller, "Cust999", true);
    measure("the last group's tenant", &policy, &caller, "Cust10999", true);
    measure("no entry's tenant", &policy, &caller, "Cust20000", false);
}

fn measure(what: &str, policy: &Policy, caller: &CallerId, asked: &str, is_allowed: bool) {
    let asked = Some(tenant(asked));
    let decided = policy.decide(caller, Method::GetSystemTicket, asked);
    assert_eq!(matches!(decided, Decision::Allowed(_)), is_allowed, "{what}");
    let best = (0..5).map(|_| round(policy, caller, asked)).min().unwrap();
    println!(
        "{ENTRIES} entries, {what}: {best:?} a decision{}",
        if cfg!(debug_assertions) { " (unoptimised)" } else { "" }
    );
    assert!(best < LIMIT, "{what}: {best:?}");
}

#[expect(clippy::disallowed_methods, reason = "the machine's speed is what is measured")]
fn round(policy: &Policy, caller: &CallerId, asked: Option<crate::identifiers::ContextIdentifier>) -> Duration {
    let start = Instant::now();
    for _ in 0..DECISIONS {
        black_box(policy.decide(black_box(caller), Method::GetSystemTicket, black_box(asked)));
    }
    start.elapsed() / DECISIONS
}
