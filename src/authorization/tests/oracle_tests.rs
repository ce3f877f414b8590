//! Random policies, callers and calls: what the compiled policy decides is what its plain reading says.

use std::collections::BTreeMap;
use std::fmt::Write;

use fastrand::Rng;

use super::super::{Decision, Method, Policy};
use crate::identifiers::{CallerId, ContextIdentifier};

/// A policy as its author thinks of it: texts.
#[derive(Debug, Default)]
struct Plain {
    entries: Vec<PlainEntry>,
    groups: BTreeMap<String, Vec<String>>,
}

#[derive(Debug, Default)]
struct PlainEntry {
    fields: Vec<(&'static str, String)>,
    rpcs: Vec<&'static str>,
    tenants: Vec<String>,
    app_token: bool,
}

/// The plain reading, in twenty lines: the place of the entry that allows it, and whether it grants the client secret.
fn oracle(policy: &Plain, caller: &str, rpc: &str, tenant: Option<&str>) -> Option<(usize, bool)> {
    let names = |(field, value): &(&str, String)| match (*field, value.strip_suffix("/*")) {
        ("id", Some(above)) => caller.strip_prefix(above).is_some_and(|rest| rest.starts_with('/')),
        ("id", None) => caller == value,
        ("serviceAccount", _) => caller == format!("serviceaccount:{value}"),
        ("dns", _) => caller == format!("dns:{value}"),
        ("unixUser", _) => caller == format!("unix:{value}"),
        (_, _) => caller == "unidentified",
    };
    let holds = |listed: &String, tenant: &str| match listed.strip_prefix("group:") {
        Some(group) => policy.groups[group].iter().any(|member| member.eq_ignore_ascii_case(tenant)),
        None => listed == "*" || listed.eq_ignore_ascii_case(tenant),
    };
    let allows = |entry: &PlainEntry| {
        let for_tenant = match tenant {
            Some(tenant) => entry.tenants.iter().any(|listed| holds(listed, tenant)),
            None => rpc.contains("Authorization") || entry.tenants == ["*"],
        };
        entry.fields.iter().any(names) && entry.rpcs.contains(&rpc) && for_tenant
    };
    let allowing = policy.entries.iter().enumerate().filter(|(_, entry)| allows(entry));
    allowing.map(|(place, entry)| (!entry.app_token, place)).min().map(|(without, place)| (place, !without))
}

#[test]
fn random_decisions_are_those_of_the_plain_reading() {
    let full = std::env::var("PROOFS").is_ok_and(|value| value == "full");
    let (cases, each) = (if full { 1_000_000 } else { 100_000 }, 100);
    let mut random = Rng::with_seed(5);
    let (mut allowed, mut with_secret) = (0, 0);
    for _ in 0..cases / each {
        let plain = Plain::draw(&mut random);
        let text = plain.to_yaml(&mut random);
        let policy = Policy::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        for _ in 0..each {
            let caller = caller(&mut random);
            let method = Method::ALL[random.usize(..Method::ALL.len())];
            let tenant = random.u8(..8).gt(&0).then(|| tenant(&mut random));
            let expected = oracle(&plain, &caller.to_string(), method.name(), tenant.as_deref());
            let asked = tenant.as_deref().map(|name| name.parse::<ContextIdentifier>().unwrap());
            let decided = match policy.decide(&caller, method, asked) {
                Decision::Allowed(permit) => Some((permit.rule.to_string(), permit.app_token)),
                Decision::Denied => None,
            };
            let expected = expected.map(|(place, app_token)| (format!("callers[{place}]"), app_token));
            assert_eq!(decided, expected, "{caller} {method} {tenant:?}\n{text}");
            allowed += usize::from(decided.is_some());
            with_secret += usize::from(decided.is_some_and(|(_, app_token)| app_token));
        }
    }
    println!(
        "{cases} random decisions equal the oracle's: {allowed} allowed, {with_secret} of them with the client secret"
    );
    assert!(allowed > cases / 20 && allowed < cases / 2 && with_secret > cases / 200, "too one-sided to show anything");
}

impl Plain {
    fn draw(random: &mut Rng) -> Self {
        let groups: BTreeMap<_, _> = (0..random.usize(..4))
            .map(|number| (format!("g{number}"), (0..random.usize(..5)).map(|_| tenant(random)).collect::<Vec<_>>()))
            .map(|(name, members)| (name, without_doubles(members)))
            .collect();
        let entries = (0..random.usize(..12)).map(|_| PlainEntry::draw(random, groups.len())).collect();
        Self { entries, groups }
    }

    fn to_yaml(&self, random: &mut Rng) -> String {
        let mut text = "apiVersion: policy/v1\n".to_owned();
        if random.bool() {
            writeln!(text, "groups: {:?}", self.groups).unwrap();
        }
        text.push_str(if self.entries.is_empty() { "callers: []\n" } else { "callers:\n" });
        for entry in &self.entries {
            writeln!(text, "  - rpcs: {:?}\n    tenants: {:?}", entry.rpcs, entry.tenants).unwrap();
            for (field, value) in &entry.fields {
                writeln!(text, "    {field}: {value}").unwrap();
            }
            if entry.app_token || random.bool() {
                writeln!(text, "    appToken: {}", entry.app_token).unwrap();
            }
        }
        if !text.contains("groups: ") {
            writeln!(text, "groups: {:?}", self.groups).unwrap();
        }
        text
    }
}

impl PlainEntry {
    fn draw(random: &mut Rng, groups: usize) -> Self {
        let mut fields = Vec::new();
        while fields.is_empty() {
            let candidates = [
                ("id", if random.bool() { spiffe(random) } else { format!("{}/*", above(random)) }),
                ("serviceAccount", format!("n{}/s{}", random.u8(..2), random.u8(..2))),
                ("dns", format!("h{}.example", random.u8(..3))),
                ("unixUser", random.u8(..3).to_string()),
                ("unidentified", "true".to_owned()),
            ];
            fields.extend(candidates.into_iter().filter(|_| random.u8(..4) == 0));
        }
        let every = random.u8(..4) == 0;
        let mut tenants: Vec<_> = (0..random.usize(1..4)).map(|_| tenant(random)).collect();
        if groups > 0 && random.bool() {
            tenants.push(format!("group:g{}", random.usize(..groups)));
        }
        let tenants = if every { vec!["*".to_owned()] } else { without_doubles(tenants) };
        let rpcs = Method::ALL.map(Method::name).into_iter();
        let rpcs: Vec<_> = rpcs.filter(|rpc| random.bool() && (every || *rpc != "ListTenants")).collect();
        let rpcs = if rpcs.is_empty() { vec!["GetTenant"] } else { rpcs };
        Self { fields, rpcs, tenants, app_token: random.u8(..4) == 0 }
    }
}

fn without_doubles(mut names: Vec<String>) -> Vec<String> {
    names.sort_by_key(|name| name.to_ascii_lowercase());
    names.dedup_by_key(|name| name.to_ascii_lowercase());
    names
}

fn tenant(random: &mut Rng) -> String {
    format!("{}{}", if random.bool() { "Cust" } else { "cUST" }, random.u8(..9))
}

fn above(random: &mut Rng) -> String {
    let segments: Vec<_> = (0..random.usize(..3)).map(|_| segment(random)).collect();
    ["spiffe://corp".to_owned()].into_iter().chain(segments).collect::<Vec<_>>().join("/")
}

fn spiffe(random: &mut Rng) -> String {
    format!("{}/{}", above(random), segment(random))
}

fn segment(random: &mut Rng) -> String {
    ["a", "ab", "b"][random.usize(..3)].to_owned()
}

fn caller(random: &mut Rng) -> CallerId {
    match random.u8(..8) {
        0 => CallerId::Unidentified,
        1 => CallerId::UnixUser(random.u32(..3)),
        2 => CallerId::Dns(format!("h{}.example", random.u8(..3)).into()),
        3 => CallerId::ServiceAccount(format!("n{}/s{}", random.u8(..2), random.u8(..2)).parse().unwrap()),
        _ => CallerId::Spiffe(spiffe(random).parse().unwrap()),
    }
}
