//! The alerts, their pages and the dashboard that come with the chart: promtool takes them, and what they ask for exists.

#![expect(clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

const RULES: &str = "helm/ticketd/alerts/ticketd.yaml";
const RULE_TESTS: &str = "tests/alerts/ticketd.yaml";
const DASHBOARD: &str = "helm/ticketd/dashboards/ticketd.json";
/// What every metric's name begins with.
const PREFIXES: [&str; 5] = ["ticketd_", "rpc_server_", "http_client_", "db_client_", "process_"];

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

/// The metrics that the page has.
fn documented() -> BTreeSet<String> {
    let page = read("docs/metrics.md");
    let names = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    names.map(|(name, _)| name.to_owned()).collect()
}

/// The metrics that a query asks for.
fn asked_for(query: &str) -> BTreeSet<String> {
    // What is quoted is a label's value.
    let unquoted: String = query.split('"').step_by(2).collect::<Vec<_>>().join(" ");
    let words = unquoted.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| PREFIXES.iter().any(|prefix| word.starts_with(prefix))).map(str::to_owned).collect()
}

fn assert_documented(of: &str, query: &str, documented: &BTreeSet<String>) {
    for metric in asked_for(query) {
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| metric.strip_suffix(end));
        let exists = documented.contains(&metric) || base.is_some_and(|base| documented.contains(base));
        assert!(exists, "{of} asks for {metric}, which is not in docs/metrics.md: {query}");
    }
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
            let exists = documented.iter().any(|known| known.starts_with(base));
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
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let query = target["expr"].as_str().unwrap();
            assert_documented(&panel["title"].to_string(), query, &documented);
            asked.extend(asked_for(query));
        }
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        assert_documented("a variable", &variable["query"].to_string().replace("\\\"", "\""), &documented);
    }
    let shown = |metric: &String| asked.iter().any(|name| name.starts_with(metric.as_str()));
    let unshown: Vec<_> = documented.iter().filter(|metric| !shown(metric)).collect();
    assert!(unshown.len() <= 1, "the dashboard does not show {unshown:?}");
}

#[test]
fn promtool_takes_the_rules_and_their_tests() {
    for arguments in [["check", "rules", RULES], ["test", "rules", RULE_TESTS]] {
        let Ok(output) = Command::new("promtool").args(arguments).current_dir(at("")).output() else {
            assert!(std::env::var_os("CI").is_none(), "promtool is not installed, and CI is set");
            eprintln!("SKIPPED promtool {arguments:?}: promtool is not installed (Debian: apt-get install prometheus)");
            continue;
        };
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "promtool {arguments:?}: {said}");
    }
}
