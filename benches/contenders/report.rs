//! The table, and the page with the plots.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use indexmap::IndexMap;

use crate::contender::Measured;
use crate::load::LOADS;
use crate::{YARDSTICK, plot};

/// Every round of every contender under every load, in the order in which they came.
#[derive(Default)]
pub(crate) struct Report(IndexMap<&'static str, IndexMap<&'static str, Vec<Measured>>>);

/// A line of the table.
struct Line {
    contender: &'static str,
    /// Microseconds a call.
    cost: f64,
    ratio: f64,
    median: Duration,
    p99: Duration,
}

impl Report {
    pub(crate) fn add(&mut self, load: &'static str, contender: &'static str, measured: Measured) {
        self.0.entry(load).or_default().entry(contender).or_default().push(measured);
    }

    fn lines(&self, load: &str) -> Vec<Line> {
        let contenders = &self.0[load];
        let yardstick = &contenders[YARDSTICK];
        let line = |(contender, rounds): (&&'static str, &Vec<Measured>)| {
            let ratios = rounds.iter().zip(yardstick).map(|(one, other)| micros(one.cost) / micros(other.cost));
            Line {
                contender,
                cost: median(rounds.iter().map(|round| micros(round.cost)).collect(), f64::total_cmp),
                ratio: median(ratios.collect(), f64::total_cmp),
                median: median(rounds.iter().map(|round| round.median).collect(), Ord::cmp),
                p99: median(rounds.iter().map(|round| round.p99).collect(), Ord::cmp),
            }
        };
        contenders.iter().map(line).collect()
    }

    pub(crate) fn table(&self) -> String {
        let mut table = String::from(
            "| load | server | processor time a call | calls a processor-second | beside tonic | median | p99 |\n\
             |---|---|---:|---:|---:|---:|---:|\n",
        );
        for load in self.0.keys() {
            for Line { contender, cost, ratio, median, p99 } in self.lines(load) {
                let (calls, median, p99) = (1e6 / cost, micros(median) / 1e3, micros(p99) / 1e3);
                let _ = writeln!(
                    table,
                    "| {load} | {contender} | {cost:.1} us | {calls:.0} | {ratio:.2} | {median:.2} ms | {p99:.2} ms |"
                );
            }
        }
        table
    }

    /// Writes `docs/benchmarks.md` and its plots.
    pub(crate) fn write(&self) {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
        fs::create_dir_all(docs.join("benchmarks")).unwrap();
        let mut page = String::from(PREFACE);
        page.push_str(&self.table());
        for (number, load) in LOADS.iter().enumerate() {
            let bars: Vec<_> = self.lines(load.name).iter().map(|line| (line.contender, line.cost)).collect();
            let file = format!("benchmarks/{}.svg", number + 1);
            fs::write(docs.join(&file), plot::bars(load.name, "microseconds of processor time a call", &bars)).unwrap();
            let _ = write!(page, "\n![{}]({file})\n", load.name);
        }
        fs::write(docs.join("benchmarks.md"), page).unwrap();
    }
}

const PREFACE: &str = "# Benchmarks

Written by `cargo bench --profile instructions --bench contenders`: what a call of a cached ticket costs the server's processor, beside what
HTTP/2 itself costs. Each server is a process of its own and is called over real sockets, 64 calls at once; they take turns
in short rounds, and medians are printed. \"Beside tonic\" is the median of a round's cost over that of tonic's own server in
the same round, which answers the same bytes each time. ticketd has everything on: its callers' identity, a policy, the audit
in a file, and telemetry. Tenants are asked for by Zipf's law. Ratios carry over to other machines, times do not.

";

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

fn median<T: Copy>(mut values: Vec<T>, order: impl FnMut(&T, &T) -> std::cmp::Ordering) -> T {
    values.sort_by(order);
    values[values.len() / 2]
}
