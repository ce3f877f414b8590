//! Whether what is exported is what docs/metrics.md says, and what Prometheus takes.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::process::{Command, Stdio};

use ticketd::metrics;

use super::ELSEWHERE;
use super::scrape::Scrape;

/// What is exported is what docs/metrics.md has, by names, types and labels; and all of that is exported.
pub(super) fn documented(scrape: &Scrape) {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md")).unwrap();
    let rows: BTreeSet<String> = page.lines().filter(|line| line.starts_with("| `")).map(str::to_owned).collect();
    let expected: BTreeSet<String> = metrics::ALL.iter().map(|metric| row(*metric)).collect();
    let missing: Vec<&String> = expected.difference(&rows).collect();
    assert!(
        missing.is_empty(),
        "docs/metrics.md lacks:\n{}",
        expected.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    );
    assert_eq!(
        rows.difference(&expected).collect::<Vec<_>>(),
        [] as [&String; 0],
        "docs/metrics.md has what is not there"
    );

    let types = scrape.text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let types: BTreeMap<&str, &str> = types.collect();
    for metric in metrics::ALL {
        let (about, labels) = (metric.about(), metric.labels());
        let name = about.prometheus_name();
        if ELSEWHERE.contains(&name.as_str()) {
            continue;
        }
        assert_eq!(types.get(name.as_str()), Some(&about.kind.to_string().as_str()), "{name} is not exported");
        for (of, series, _) in scrape.series().filter(|(of, ..)| base(of, &types) == name) {
            for (label, value) in series.iter().filter(|(label, _)| label != "le") {
                let known = labels.iter().find(|(name, _)| name.replace('.', "_") == *label);
                let (_, values) = known.unwrap_or_else(|| panic!("{of} has the label {label}"));
                assert!(values.is_empty() || values.contains(&value.as_str()), "{of} has {label}={value}");
            }
        }
    }
    for name in types.keys() {
        assert!(
            metrics::ALL.iter().any(|metric| metric.about().prometheus_name() == **name),
            "{name} is not documented"
        );
    }
}

fn row(metric: &dyn metrics::Metric) -> String {
    let about = metric.about();
    let labels = metric.labels().into_iter().map(|(name, values)| match values {
        [] => format!("`{}`", name.replace('.', "_")),
        values => {
            let shown = values.iter().filter(|value| !value.is_empty()).map(|value| format!("`{value}`"));
            format!("`{}`: {}", name.replace('.', "_"), shown.collect::<Vec<_>>().join(" "))
        }
    });
    let unit = match about.unit {
        metrics::Unit::None => "",
        metrics::Unit::Seconds => "s",
    };
    let labels = labels.collect::<Vec<_>>().join("; ");
    format!(
        "| `{}` | `{}` | {} | {unit} | {labels} | {} |",
        about.prometheus_name(),
        about.name,
        about.kind,
        about.description
    )
}

/// The metric that a sample belongs to.
fn base<'a>(name: &'a str, types: &BTreeMap<&str, &str>) -> &'a str {
    let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
    of_histogram.filter(|base| types.get(base) == Some(&"histogram")).unwrap_or(name)
}

/// promtool finds nothing to complain about.
pub(super) fn promtool(text: &str) {
    let spawned = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = spawned else {
        assert!(std::env::var_os("CI").is_none(), "promtool is not installed, and CI is set");
        eprintln!("SKIPPED promtool check metrics: promtool is not installed (Debian: apt-get install prometheus)");
        return;
    };
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let complaints = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && complaints.is_empty(), "{}", String::from_utf8_lossy(&complaints));
}
