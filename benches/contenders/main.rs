//! What a call of a cached ticket costs a server's processor, beside what HTTP/2 itself costs.
//!
//! `cargo bench --profile instructions --bench contenders` starts each contender as a process of its own, calls them in turns over real sockets,
//! prints a table of medians, and writes `docs/benchmarks.md` with its plots. Rounds are short and interleaved, so that
//! another load on the machine touches all alike; a ratio is that of one round's neighbours. With `-- --quick LOADS` there
//! are few rounds, of the loads whose names have that in them, and nothing is written.
#![expect(clippy::print_stdout, reason = "printing is what a bench is for")]
#![expect(clippy::unwrap_used, reason = "a bench stops where its surroundings are broken")]
#![expect(clippy::disallowed_methods, reason = "a bench measures real time")]

mod contender;
mod fixed_reply;
mod load;
#[path = "../../tests/support/pki.rs"]
mod pki;
mod plot;
mod process;
mod report;
mod setup;
mod tls;

use std::time::Duration;

use self::contender::Contender;
use self::load::{LOADS, Tenants};
use self::report::Report;
use self::setup::Setup;

/// What all others are compared with: tonic's own server, which answers the same bytes each time.
const YARDSTICK: &str = "tonic, fixed reply";

/// How much is measured.
struct Extent {
    tenants: usize,
    rounds: usize,
    round: Duration,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["serve", kind, address, directory] => fixed_reply::serve(kind, address, directory),
        arguments if arguments.contains(&"--list") => {}
        // Without `--bench` a test runner asks whether this works at all.
        arguments if !arguments.contains(&"--bench") => {
            measure(&Extent { tenants: 3, rounds: 1, round: Duration::ZERO }, "");
        }
        arguments if arguments.contains(&"--quick") => {
            let only = arguments.iter().find(|argument| !argument.starts_with("--")).copied().unwrap_or_default();
            measure(&Extent { tenants: 1_000, rounds: 7, round: Duration::from_millis(200) }, only);
        }
        _ => measure(&Extent { tenants: 10_000, rounds: 21, round: Duration::from_millis(300) }, "").write(),
    }
}

fn measure(extent: &Extent, only: &str) -> Report {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let setup = Setup::new(extent.tenants).await;
        let mut contenders = Contender::start_all(&setup).await;
        let mut report = Report::default();
        for load in LOADS.into_iter().filter(|load| load.name.contains(only)) {
            let tenants = Tenants::new(&setup.tenants[..load.tenants.min(setup.tenants.len())]);
            for _ in 0..extent.rounds {
                for contender in &mut contenders {
                    let measured = contender.measure(&load, &tenants, extent.round).await;
                    report.add(load.name, contender.name, measured);
                }
            }
        }
        println!("{}", report.table());
        report
    })
}
