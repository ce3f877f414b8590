//! Files that are taken, and those that are not: for each, the lines that an operator reads.

use std::fmt::Write;
use std::time::Duration;

use super::super::{Cases, Policy, PolicyError};
use super::EXAMPLE;
use super::schema::Schema;

/// A policy that begins well, and goes on with these callers.
fn with_callers(callers: &str) -> String {
    format!("apiVersion: policy/v1\ncallers:\n{callers}\ngroups: {{nordic: [Cust1], empty: []}}\n")
}

/// An entry where nothing is wrong but what is put into it.
fn with_entry(fields: &str) -> String {
    let mut text = "  -".to_owned();
    for field in fields.lines().chain(
        ["unixUser: 1", "rpcs: [GetTenant]", "tenants: [\"*\"]"]
            .into_iter()
            .filter(|default| !fields.lines().any(|field| field.starts_with(default.split(':').next().unwrap()))),
    ) {
        write!(text, " {field}\n   ").unwrap();
    }
    with_callers(text.trim_end())
}

#[test]
fn the_documents_examples_are_what_they_say() {
    let document = include_str!("../../../docs/policy.md");
    let blocks: Vec<_> = document.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let [policy, cases] = blocks.as_slice() else { panic!("{blocks:?}") };
    assert_eq!(Schema::new().refuses(policy), None);
    let policy = Policy::parse(policy).unwrap_or_else(|error| panic!("{error}"));
    let cases = Cases::parse(cases).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((policy.entries(), cases.len()), (3, 2));
    assert_eq!(cases.tried_with(&policy).next(), None);
}

#[test]
fn what_is_right_is_taken_and_so_says_the_schema() {
    let schema = Schema::new();
    for text in [
        EXAMPLE.to_owned(),
        "{apiVersion: policy/v1, callers: []}".to_owned(),
        "{\"apiVersion\": \"policy/v1\", \"callers\": [], \"groups\": {}}".to_owned(),
        "---\n# A comment.\napiVersion: policy/v1\ncallers: []\n...\n".to_owned(),
        "\u{feff}apiVersion: policy/v1\ncallers: []\n".to_owned(),
        with_entry("unixUser: 0\ntenants: [\"group:nordic\", 'group:empty', Cust9]"),
        with_entry("id: spiffe://corp/*"),
        with_entry("id: spiffe://corp/ns/a_b.c-D/*"),
        with_entry("dns: sync.crm.example"),
        with_entry("serviceAccount: kube-system/a.b-c"),
        with_entry("unidentified: true"),
        with_entry("appToken: false\nname: a.B-c_1\nlimits: {rps: 1, burst: 1000000}"),
        with_entry("unixUser: 4294967295\nrpcs: [ListTenants]"),
    ] {
        Policy::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(schema.refuses(&text), None, "{text}");
    }
}

/// What is wrong, what is told, and whether the schema sees it too. It cannot see what a name means, nor lines.
#[test]
#[expect(clippy::too_many_lines, reason = "it is a table")]
fn what_is_wrong_is_told_with_its_line_and_what_to_do() {
    let (seen, unseen) = (true, false);
    let schema = Schema::new();
    for (text, told, is_seen) in [
        (String::new(), "line 1: expected the fields apiVersion, limits, callers, groups", seen),
        ("callers: []".to_owned(), "line 1: apiVersion: is missing: expected apiVersion: policy/v1", seen),
        (
            "apiVersion: policy/v1".to_owned(),
            "line 1: callers: is missing: expected a list of callers and what they may do",
            seen,
        ),
        ("apiVersion: policy/v2\ncallers: []".to_owned(), "line 1: apiVersion: expected apiVersion: policy/v1", seen),
        (
            "apiVersion: policy/v1\ncallers: []\ngrous: {}".to_owned(),
            "line 3: there is no such field here: did you mean groups?; the fields are apiVersion, limits, callers, groups",
            seen,
        ),
        (
            "apiVersion: policy/v1\ncallers: {}".to_owned(),
            "line 2: callers: expected a list of callers and what they may do",
            seen,
        ),
        ("apiVersion: policy/v1\ncallers: [x]".to_owned(), "line 2: callers[0]: expected the fields name, id,", seen),
        (
            "apiVersion: policy/v1\ncallers: []\ncallers: []".to_owned(),
            "line 3: callers: stands in line 2 already: keep one of the two",
            unseen,
        ),
        (
            "apiVersion: policy/v1\ncallers: []\ngroups: {a: [Cust1], a: [Cust2]}".to_owned(),
            "line 3: groups.a: stands in line 3 already: keep one of the two",
            unseen,
        ),
        (
            "apiVersion: policy/v1\ncallers: []\ngroups: {a b: []}".to_owned(),
            "line 3: groups: expected a name of 1 to 64 letters",
            seen,
        ),
        (
            "apiVersion: policy/v1\ncallers: []\ngroups: {a: [\"*\"]}".to_owned(),
            "line 3: groups.a[0]: expected a tenant like Cust12345",
            seen,
        ),
        (
            "apiVersion: policy/v1\ncallers: []\ngroups: {a: [Cust1, Cust1]}".to_owned(),
            "line 3: groups.a: stands in line 3 already",
            seen,
        ),
        (
            "apiVersion: policy/v1\ncallers: []\ngroups: [a]".to_owned(),
            "line 3: groups: expected names of groups",
            seen,
        ),
        (
            "apiVersion: policy/v1\ncallers: []\nlimits: {rps: 1}".to_owned(),
            "line 3: limits.burst: is missing: expected a whole number from 1 to 1000000",
            seen,
        ),
        (
            "apiVersion: policy/v1\ncallers: []\nlimits: {rps: 0, burst: 1}".to_owned(),
            "line 3: limits.rps: expected a whole number from 1 to 1000000",
            seen,
        ),
        (
            "apiVersion: policy/v1\ncallers: []\nlimits: {rps: 1.5, burst: 1}".to_owned(),
            "line 3: limits.rps: expected a whole number",
            seen,
        ),
        (
            "apiVersion: policy/v1\ncallers: []\nlimits: {rps: \"1\", burst: 1}".to_owned(),
            "line 3: limits.rps: expected a whole number",
            seen,
        ),
        (
            with_callers("  - rpcs: [GetTenant]\n    tenants: [Cust1]"),
            "line 3: callers[0]: is missing: expected whom it is about",
            seen,
        ),
        (with_callers("  - {unixUser: 1, tenants: [Cust1]}"), "line 3: callers[0].rpcs: is missing", seen),
        (with_callers("  - {unixUser: 1, rpcs: [GetTenant]}"), "line 3: callers[0].tenants: is missing", seen),
        (
            with_entry("rpcs: [GetSystemTickets]"),
            "line 3: callers[0].rpcs[0]: no RPC has this name: did you mean GetSystemTicket?",
            seen,
        ),
        (with_entry("rpcs: [getTenant]"), "no RPC has this name: did you mean GetTenant?", seen),
        (with_entry("rpcs: [Check]"), "line 3: callers[0].rpcs[0]: no RPC has this name", seen),
        (with_entry("rpcs: [\"*\"]"), "line 3: callers[0].rpcs[0]: there is no \"*\" for RPCs: name each", seen),
        (
            with_entry("rpcs: []"),
            "line 3: callers[0].rpcs: expected a list of RPCs, like [GetSystemTicket], with something in it",
            seen,
        ),
        (with_entry("rpcs: GetTenant"), "line 3: callers[0].rpcs: expected a list of RPCs", seen),
        (with_entry("rpcs: [GetTenant, GetTenant]"), "line 3: callers[0].rpcs: stands in line 3 already", seen),
        (with_entry("tenants: []"), "line 3: callers[0].tenants: expected a list of tenants", seen),
        (
            with_entry("tenants: [\"*\", Cust1]"),
            "line 3: callers[0].tenants[0]: \"*\" is every tenant: it stands alone",
            seen,
        ),
        (with_entry("tenants: [*]"), "this is no YAML", unseen),
        (with_entry("tenants: [Cust1, cust1]"), "line 3: callers[0].tenants: stands in line 3 already", unseen),
        (
            with_entry("tenants: [\"group:nodric\"]"),
            "line 3: callers[0].tenants[0]: no group has this name: did you mean nordic?",
            unseen,
        ),
        (
            with_entry("tenants: [\"Cust*\"]"),
            "line 3: callers[0].tenants[0]: expected a tenant like Cust12345, a group",
            seen,
        ),
        (with_entry("tenants: [12345]"), "put a text that looks like a number in quotes", seen),
        (with_entry("tenants: [null]"), "line 3: callers[0].tenants[0]: expected a tenant", seen),
        (with_entry("tenants: [[Cust1]]"), "line 3: callers[0].tenants[0]: expected a tenant", seen),
        (
            with_entry("rpcs: [ListTenants]\ntenants: [Cust1]"),
            "callers[0].rpcs: ListTenants tells about every tenant",
            seen,
        ),
        (with_entry("id: https://corp/a"), "line 3: callers[0].id: expected a SPIFFE ID", seen),
        (with_entry("id: spiffe://corp"), "line 3: callers[0].id: expected a SPIFFE ID", seen),
        (with_entry("id: spiffe://*"), "line 3: callers[0].id: expected a SPIFFE ID", seen),
        (with_entry("id: spiffe://corp/a*"), "line 3: callers[0].id: expected a SPIFFE ID", seen),
        (with_entry("id: spiffe://corp/*/a"), "line 3: callers[0].id: expected a SPIFFE ID", seen),
        (with_entry("id: spiffe://corp/a/../b"), "line 3: callers[0].id: expected a SPIFFE ID", seen),
        (
            with_entry("serviceAccount: sync"),
            "line 3: callers[0].serviceAccount: expected a service account, NAMESPACE/NAME",
            seen,
        ),
        (with_entry("serviceAccount: crm/*"), "line 3: callers[0].serviceAccount: expected a service account", seen),
        (with_entry("dns: \"*.example\""), "line 3: callers[0].dns: expected a DNS name in lower case", seen),
        (with_entry("dns: Sync.example"), "line 3: callers[0].dns: expected a DNS name in lower case", seen),
        (
            with_entry("unixUser: root"),
            "line 3: callers[0].unixUser: expected a whole number from 0 to 4294967295",
            seen,
        ),
        (with_entry("unixUser: 4294967296"), "line 3: callers[0].unixUser: expected a whole number", seen),
        (with_entry("unixUser: -1"), "line 3: callers[0].unixUser: expected a whole number", seen),
        (
            with_entry("unidentified: false"),
            "line 3: callers[0].unidentified: expected true, or the field left out",
            seen,
        ),
        (with_entry("unidentified: yes"), "line 3: callers[0].unidentified: expected true or false", seen),
        (with_entry("appToken: \"true\""), "line 3: callers[0].appToken: expected true or false", seen),
        (with_entry("apptoken: true"), "there is no such field here: did you mean appToken?", seen),
        (with_entry("name: a b"), "line 3: callers[0].name: expected a name of 1 to 64", seen),
        (with_entry("name: callers[0]"), "line 3: callers[0].name: expected a name of 1 to 64", seen),
        (with_entry("deny: [Cust1]"), "line 3: callers[0]: there is no such field here", seen),
        (
            with_callers(
                "  - {name: a, unixUser: 1, rpcs: [GetTenant], tenants: [Cust1]}\n  - {name: a, unixUser: 2, rpcs: [GetTenant], tenants: [Cust1]}",
            ),
            "line 4: callers[1].name: stands in line 3 already",
            unseen,
        ),
        (with_entry("unixUser: &user 1"), "line 3: anchors and aliases are not taken: write the value out", unseen),
        (with_entry("unixUser: !!int 1"), "line 3: tags are not taken: leave it out", unseen),
        (with_entry("<<: {unixUser: 1}"), "line 3: callers[0]: there is no such field here", seen),
        (
            "apiVersion: policy/v1\ncallers: []\n---\napiVersion: policy/v1\n".to_owned(),
            "line 3: one file is one policy",
            unseen,
        ),
        ("apiVersion: policy/v1\ncallers: []\n? [a]\n: 1\n".to_owned(), "line 3: a field's name is a text", unseen),
        ("apiVersion: policy/v1\ncallers: [}".to_owned(), "line 2: this is no YAML", unseen),
    ] {
        let error = Policy::parse(&text).err().unwrap_or_else(|| panic!("taken:\n{text}")).to_string();
        assert!(error.lines().any(|line| line.contains(told)), "expected {told:?} among\n{error}\nfor\n{text}");
        if is_seen {
            assert!(schema.refuses(&text).is_some(), "the schema takes\n{text}");
        }
    }
}

#[test]
fn every_mistake_is_told_at_once_in_the_order_of_lines_and_nothing_is_repeated() {
    const CANARY: &str = "canary-3f9a61c2 x";
    let text = format!(
        "apiVersion: {CANARY:?}\ncallers:\n  - {{id: {CANARY:?}, rpcs: [{CANARY:?}], tenants: [{CANARY:?}, \"group:{CANARY}\"]}}\n  \
         - {{{CANARY:?}: {CANARY:?}, name: {CANARY:?}, limits: {CANARY:?}, appToken: {CANARY:?}}}\ngroups: {{{CANARY:?}: {CANARY:?}}}\n"
    );
    let Err(PolicyError::Mistakes(mistakes)) = Policy::parse(&text) else { panic!("taken") };
    let told: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 13, "{told:#?}");
    assert!(mistakes.is_sorted_by_key(|mistake| mistake.line), "{told:#?}");
    assert!(told.iter().all(|line| !line.contains("canary") && !line.contains("3f9a")), "{told:#?}");
    let again = format!("apiVersion: policy/v1\ncallers: [{}]\n", "x, ".repeat(10_000));
    let Err(PolicyError::Mistakes(mistakes)) = Policy::parse(&again) else { panic!("taken") };
    assert_eq!(mistakes.len(), 101);
    assert!(mistakes.last().unwrap().to_string().contains("more mistakes than these"));
}

/// Whoever may write the policy may do worse; an accident must not take the server's memory or time.
#[test]
fn files_that_are_bombs_are_refused_in_no_time() {
    // As large as a file may be, or a sixteenth of that where nothing is optimised.
    let size = if cfg!(debug_assertions) { 1 << 16 } else { 1 << 20 };
    let many_keys = (0..size / 12).fold(String::new(), |mut text, number| {
        writeln!(text, "k{number}: 1").unwrap();
        text
    });
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n";
    for (name, text) in [
        ("billion laughs", bomb.to_owned()),
        ("open lists", "[".repeat(size)),
        ("open mappings", "{".repeat(size)),
        ("nested lists", "- ".repeat(size / 2)),
        ("nested keys", "? ".repeat(size / 2)),
        ("anchors", "- &a a\n".repeat(size / 7)),
        ("aliases", format!("- &a a\n{}", "- *a\n".repeat(size / 5))),
        ("a long list", format!("apiVersion: policy/v1\ncallers: [{}]", "a,".repeat(size / 2))),
        ("a long key", format!("{}: 1", "k".repeat(size - 8))),
        ("many keys", "a: 1\n".repeat(size / 5)),
        ("many unknown keys", many_keys),
        ("a long name of an RPC", with_entry(&format!("rpcs: [{}]", "G".repeat(size - 200)))),
        ("unknown groups", with_entry(&format!("tenants: [{}]", "group:x, ".repeat(size / 10)))),
        ("doubles", with_entry(&format!("tenants: [{}]", "Cust1, ".repeat(size / 8)))),
    ] {
        #[expect(clippy::disallowed_methods, reason = "the machine's speed is what is measured")]
        let start = std::time::Instant::now();
        assert!(Policy::parse(&text).is_err(), "{name}");
        let taken = start.elapsed();
        println!("{name}, {} KiB: refused in {taken:?}", text.len() / 1024);
        assert!(taken < Duration::from_secs(10), "{name}: {taken:?}");
    }
}

#[test]
fn the_largest_policy_is_read() {
    let mut text = "apiVersion: policy/v1\ngroups:\n  all:\n".to_owned();
    for tenant in 0..45_000 {
        writeln!(text, "  - Cust{tenant}").unwrap();
    }
    text.push_str("callers:\n");
    for user in 0..3_000 {
        writeln!(text, "  - {{unixUser: {user}, rpcs: [GetSystemTicket], tenants: [\"group:all\"]}}").unwrap();
    }
    assert!(text.len() < 1 << 20);
    let policy = Policy::parse(&text).unwrap();
    assert_eq!((policy.entries(), policy.groups()), (3_000, 1));
}

#[test]
fn a_file_that_cannot_be_read_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    std::fs::write(path("large"), "#".repeat((1 << 20) + 1)).unwrap();
    std::fs::write(path("binary"), [0xff, 0xfe, 0x00]).unwrap();
    std::fs::write(path("good"), EXAMPLE).unwrap();
    for (name, told) in
        [("large", "larger than 1 MiB"), ("absent", "No such file"), ("", "not a regular file"), ("binary", "UTF-8")]
    {
        let error = Policy::read(&path(name)).unwrap_err();
        assert!(matches!(error, PolicyError::Unreadable(_)) && error.to_string().contains(told), "{error}");
    }
    assert_eq!(Policy::read(&path("good")).unwrap().entries(), 3);
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in "[ -~\n\t]{0,200}") {
        let _ = Policy::parse(&text);
    }

    #[test]
    fn no_change_of_a_policy_panics(at in 0..EXAMPLE.len(), by in "[-{}\\[\\]:,?*&!|>'\"%@`# \n\ta]{0,3}", cut in 0_usize..4) {
        let end = (at + cut).min(EXAMPLE.len());
        let text = format!("{}{by}{}", &EXAMPLE[..at], &EXAMPLE[end..]);
        let _ = Policy::parse(&text);
    }
}
