//! What an exchange costs beside its signature and verification, and what many tenants cost the calls of the others.
//!
//! `cargo bench --bench scale` starts the real server and SuperOffice's simulator, measures in short windows that take
//! turns, prints medians, and fails when a figure of docs/measurements.md no longer holds. `cold` or another part's name
//! after `--` runs that part alone.
#![expect(clippy::print_stdout, reason = "printing is what a bench is for")]
#![expect(clippy::unwrap_used, reason = "a bench stops where its surroundings are broken")]
#![expect(clippy::disallowed_methods, reason = "a bench measures real time")]

mod callers;
mod cold;
mod isolation;
#[path = "../../tests/support/pki.rs"]
mod pki;
#[path = "../contenders/process.rs"]
mod process;
mod reference;
mod registered;
mod server;
#[path = "../contenders/setup.rs"]
mod setup;
mod starts;

use std::time::Duration;

use self::callers::Callers;

/// How much is measured.
#[derive(Clone, Copy)]
pub(crate) struct Extent {
    /// Whether the figures count: without `--bench` a test runner asks whether this works at all.
    pub(crate) is_measured: bool,
    /// Whose tickets are in memory while others' are got.
    pub(crate) live: usize,
    /// Whose tickets are got meanwhile.
    pub(crate) cold: usize,
    /// How many of these in one window.
    pub(crate) chunk: usize,
    pub(crate) rounds: usize,
    pub(crate) window: Duration,
    /// Tenants in a database that a server starts with.
    pub(crate) registered: usize,
}

const SHORT: Extent = Extent {
    is_measured: false,
    live: 2,
    cold: 6,
    chunk: 2,
    rounds: 1,
    window: Duration::from_millis(1),
    registered: 10,
};

const FULL: Extent = Extent {
    is_measured: true,
    live: 1_000,
    cold: 10_000,
    chunk: 50,
    rounds: 21,
    window: Duration::from_millis(400),
    registered: 100_000,
};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        return;
    }
    let extent = if arguments.iter().any(|argument| argument == "--bench") { FULL } else { SHORT };
    let parts: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let is_wanted = |part: &str| parts.is_empty() || parts.iter().any(|wanted| *wanted == part);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let callers = Callers::new();
    runtime.block_on(async {
        if is_wanted("starts") {
            starts::measure(extent).await;
        }
        if is_wanted("isolation") {
            isolation::measure(extent, &callers).await;
        }
        if is_wanted("cold") {
            cold::measure(extent, &callers, true).await;
        }
        // In no run by itself: it is a part of `cold`.
        if parts.iter().any(|wanted| *wanted == "exchanges") {
            cold::measure(extent, &callers, false).await;
        }
    });
}

/// The middle one. Sorts them.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

pub(crate) fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// Fails where a measured figure does not hold.
pub(crate) fn check(extent: Extent, holds: bool, what: &str) {
    assert!(holds || !extent.is_measured, "{what}");
}
