//! The alerts, their pages and the dashboard that come with the chart: promtool takes them, and what they ask for exists.

#![expect(clippy::panic, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

const RULES: &str = "helm/ticketd/alerts/ticketd.yaml";
const RULE_TESTS: &str = "tests/alerts/ticketd.yaml";
const DASHBOARD: &str = "helm/ticketd/dashboards/ticketd.json";
/// What every metric's name begins with.
const PREFIXES: [&str; 5] = ["ticketd_", "rpc_server_", "http_client_", "db_client_", "process_"];

/// Labels that Prometheus gives to every series, and to buckets.
const TARGET_LABELS: [&str; 5] = ["namespace", "job", "instance", "pod", "le"];

/// The values of each label; none where the set is open.
type Labels = BTreeMap<String, BTreeSet<String>>;

/// One alert, by the lines of its rule.
struct Alert {
    name: String,
    lines: Vec<String>,
}

impl Alert {
    fn value(&self, key: &str) -> String {
        let value = self.lines.iter().find_map(|line| line.trim().strip_prefix(&format!("{key}: ")));
        value.unwrap_or_else(|| panic!("{} has no {key}", self.name)).to_owned()
    }
}

fn at(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(at(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn alerts() -> Vec<Alert> {
    let mut alerts: Vec<Alert> = Vec::new();
    for line in read(RULES).lines() {
        if let Some(name) = line.trim().strip_prefix("- alert: ") {
            alerts.push(Alert { name: name.to_owned(), lines: Vec::new() });
        } else if line.trim().starts_with("- name: ") {
            // The next group.
        } else if let Some(alert) = alerts.last_mut() {
            alert.lines.push(line.to_owned());
        }
    }
    assert!(alerts.len() >= 14, "{}", alerts.len());
    alerts
}

/// The metrics that the page has, with their labels.
fn documented() -> BTreeMap<String, Labels> {
    let page = read("docs/metrics.md");
    let rows = page.lines().filter(|line| line.starts_with("| `")).map(|row| row.split('|').collect::<Vec<_>>());
    let metrics: BTreeMap<_, _> = rows
        .map(|cells| {
            let labels = cells[5].split(';').filter_map(|label| {
                let mut names = quoted(label);
                (!names.is_empty()).then(|| (names.remove(0), names.into_iter().collect()))
            });
            (quoted(cells[1]).remove(0), labels.collect())
        })
        .collect();
    assert!(metrics.len() >= 30, "{}", metrics.len());
    metrics
}

/// What is in backticks.
fn quoted(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The metrics that a query asks for.
fn asked_for(query: &str) -> BTreeSet<String> {
    // What is quoted is a label's value.
    let unquoted: String = query.split('"').step_by(2).collect::<Vec<_>>().join(" ");
    let words = unquoted.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| PREFIXES.iter().any(|prefix| word.starts_with(prefix))).map(str::to_owned).collect()
}

/// The labels of a metric; of a histogram's by its name without the end.
fn labels_of<'a>(metric: &str, documented: &'a BTreeMap<String, Labels>) -> Option<&'a Labels> {
    let base = || ["_bucket", "_sum", "_count"].iter().find_map(|end| metric.strip_suffix(end));
    documented.get(metric).or_else(|| documented.get(base()?))
}

/// What a query asks for that the page has not: metrics, labels, and values of labels.
fn undocumented(query: &str, documented: &BTreeMap<String, Labels>) -> Vec<String> {
    let mut problems = Vec::new();
    let mut known: BTreeSet<&str> = TARGET_LABELS.into();
    for metric in asked_for(query) {
        match labels_of(&metric, documented) {
            Some(labels) => known.extend(labels.keys().map(String::as_str)),
            None => problems.push(metric),
        }
    }
    for (metric, label, value) in matchers(query) {
        let Some(labels) = labels_of(&metric, documented) else { continue };
        match labels.get(&label) {
            Some(values) if values.is_empty() || value.split('|').all(|value| is_among(value, values)) => {}
            None if TARGET_LABELS.contains(&label.as_str()) => {}
            _ => problems.push(format!("{metric} by {label} {value:?}")),
        }
    }
    for list in ["by (", "on ("].iter().flat_map(|word| query.split(word).skip(1)) {
        let labels = list.split(')').next().unwrap_or_default().split(',').map(str::trim);
        problems.extend(labels.filter(|label| !known.contains(label)).map(str::to_owned));
    }
    problems
}

/// Of each selector: its metric, and each of its labels with what that has to match.
fn matchers(query: &str) -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    for (before, rest) in query.match_indices('{').map(|(at, _)| (&query[..at], &query[at + 1..])) {
        let metric = before.rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default();
        let parts: Vec<&str> = rest.split('}').next().unwrap_or_default().split('"').collect();
        for pair in parts.chunks_exact(2) {
            let label = pair[0].trim_matches(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            found.push((metric.to_owned(), label.to_owned(), pair[1].to_owned()));
        }
    }
    found
}

/// Whether a value, or one that begins as the pattern does, is in the set. The empty one means that there is no label.
fn is_among(value: &str, values: &BTreeSet<String>) -> bool {
    match value.split_once(".+") {
        Some((beginning, _)) => values.iter().any(|value| value.starts_with(beginning)),
        None => value.is_empty() || values.contains(value),
    }
}

fn assert_documented(of: &str, query: &str, documented: &BTreeMap<String, Labels>) {
    let problems = undocumented(query, documented);
    assert!(problems.is_empty(), "{of} asks for what is not in docs/metrics.md: {problems:?}: {query}");
}

/// What the panels of the dashboard ask.
fn dashboard_queries(dashboard: &Value) -> Vec<(String, String)> {
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().into_iter().flatten() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let query = target["expr"].as_str().unwrap_or_else(|| panic!("a panel has no query: {panel}"));
            queries.push((panel["title"].to_string(), query.to_owned()));
        }
    }
    queries
}

#[test]
fn each_alert_waits_has_a_severity_and_a_page() {
    for alert in alerts() {
        let wait = alert.value("for");
        let minutes: u32 = wait.strip_suffix('m').and_then(|minutes| minutes.parse().ok()).unwrap();
        assert!(minutes >= 2, "{} waits for {wait}", alert.name);
        assert!(["page", "ticket"].contains(&alert.value("severity").as_str()), "{}", alert.name);
        let page = format!("docs/runbooks/{}.md", alert.name);
        assert_eq!(alert.value("runbook_url"), page);
        let text = read(&page);
        for heading in ["## Symptom", "## What it means", "## What to look at", "## What to do"] {
            assert!(text.contains(heading), "{page} has no {heading}");
        }
        assert!(text.contains(&format!("Severity: {}.", alert.value("severity"))), "{page} tells another severity");
    }
}

#[test]
fn each_page_is_an_alerts_and_its_links_and_metrics_exist() {
    let names: BTreeSet<String> = alerts().into_iter().map(|alert| alert.name).collect();
    let documented = documented();
    for entry in fs::read_dir(at("docs/runbooks")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        assert!(names.contains(&name), "{name} is no alert");
        let text = fs::read_to_string(&path).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link) {
            let target = path.parent().unwrap().join(link);
            assert!(target.exists(), "{name} has a link to {link}");
        }
        for metric in asked_for(&text).iter().filter(|metric| !metric.ends_with('_')) {
            let base = metric.strip_suffix("_count").unwrap_or(metric);
            let exists = documented.keys().any(|known| known.starts_with(base));
            assert!(exists, "{name} has {metric}, which is not in docs/metrics.md");
        }
    }
}

#[test]
fn each_alert_is_tested_both_ways() {
    let tests = read(RULE_TESTS);
    for Alert { name, .. } in alerts() {
        for way in ["fires", "does not fire"] {
            assert!(tests.contains(&format!("- name: {name} {way}\n")), "no test that {name} {way}");
        }
    }
}

#[test]
fn what_alerts_and_dashboard_ask_for_exists() {
    let documented = documented();
    for alert in alerts() {
        let lines = alert.lines.iter().take_while(|line| !line.trim().starts_with("for: "));
        let query: String = lines.map(String::as_str).collect::<Vec<_>>().join(" ");
        assert!(!asked_for(&query).is_empty(), "{}", alert.name);
        assert_documented(&alert.name, &query, &documented);
    }
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)).unwrap();
    let mut asked = BTreeSet::new();
    for (title, query) in dashboard_queries(&dashboard) {
        assert_documented(&title, &query, &documented);
        asked.extend(asked_for(&query));
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        assert_documented("a variable", &variable["query"].to_string().replace("\\\"", "\""), &documented);
    }
    let shown = |metric: &String| asked.iter().any(|name| name.starts_with(metric.as_str()));
    let unshown: Vec<_> = documented.keys().filter(|metric| !shown(metric)).collect();
    assert!(unshown.len() <= 1, "the dashboard does not show {unshown:?}");
}

#[test]
fn metrics_labels_and_values_that_do_not_exist_are_found() {
    let documented = documented();
    for query in [
        "ticketd_misspelt",
        r#"ticketd_jwks_fetch_total{outcom="ok"}"#,
        r#"ticketd_jwks_fetch_total{job="a",outcome="okay"}"#,
        r#"ticketd_ticket_requests_total{result=~"hit|stale"}"#,
        r#"ticketd_upstream_exchanges_total{outcome=~"authorisation_.+"}"#,
        r#"rpc_server_call_duration_seconds_count{job="a",rpc_method="GetSystemTicket"}"#,
        "sum by (outcome) (ticketd_jwt_rejected_total)",
        "max(ticketd_jwks_age_seconds and on (replica) ticketd_build_info)",
    ] {
        assert_eq!(undocumented(query, &documented).len(), 1, "{query}");
    }
}

#[test]
fn promtool_takes_the_rules_their_tests_and_the_dashboard() {
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)).unwrap();
    let queries = dashboard_queries(&dashboard).into_iter().enumerate();
    let rules: Vec<_> = queries
        .map(|(index, (_, query))| {
            json!({"record": format!("dashboard:{index}"), "expr": query.replace("$__rate_interval", "5m")})
        })
        .collect();
    assert!(rules.len() >= 40, "{}", rules.len());
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("dashboard.yaml");
    // JSON is YAML.
    fs::write(&file, json!({"groups": [{"name": "dashboard", "rules": rules}]}).to_string()).unwrap();
    for arguments in
        [["check", "rules", RULES], ["test", "rules", RULE_TESTS], ["check", "rules", file.to_str().unwrap()]]
    {
        let Ok(output) = Command::new("promtool").args(arguments).current_dir(at("")).output() else {
            assert!(std::env::var_os("CI").is_none(), "promtool is not installed, and CI is set");
            eprintln!("SKIPPED promtool {arguments:?}: promtool is not installed (Debian: apt-get install prometheus)");
            continue;
        };
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "promtool {arguments:?}: {said}");
    }
}
