//! What a cached ticket's call, a signature and a verification cost in instructions and memory: numbers that another load
//! on the machine does not change, so that a change for the worse is seen when it is made.
//!
//! `cargo bench --profile instructions --bench instructions` counts under valgrind, compares with
//! `benches/instructions/baseline.txt` and fails where that is left by more than the tolerance. After a change for good
//! reasons `UPDATE_BASELINE=1` writes the new numbers.
#![expect(clippy::print_stdout, reason = "printing is what a bench is for")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a bench stops where its surroundings are broken")]

mod caller;
mod hits;
#[path = "../crypto/operations.rs"]
mod operations;
#[path = "../../tests/support/pki.rs"]
mod pki;
#[path = "../contenders/setup.rs"]
mod setup;

use std::fmt::Write as _;
use std::process::{Command, ExitCode};

/// Numbers differ from run to run by hashes' random keys, and with the compiler's version.
const TOLERANCE: f64 = 0.05;
const BASELINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions/baseline.txt");

/// What is counted: its name, and how many of it are run.
const SUBJECTS: [(&str, u32); 3] = [("hit", 2_000), ("signature", 20), ("verification", 50)];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["run", subject, number] => {
            run(subject, number.parse().unwrap());
            ExitCode::SUCCESS
        }
        arguments if arguments.contains(&"--list") => ExitCode::SUCCESS,
        arguments => {
            hits::assert_allocations();
            if arguments.contains(&"--bench") { compare() } else { ExitCode::SUCCESS }
        }
    }
}

fn run(subject: &str, number: u32) {
    match subject {
        "hit" => hits::run(number),
        "signature" => run_again_and_again(&operations::sign(operations::PEM_2048), number),
        _ => run_again_and_again(&operations::verify_jwt(operations::PEM_2048), number),
    }
}

fn run_again_and_again(operation: &dyn Fn(), number: u32) {
    // What is made once is made before.
    operation();
    counted(|| (0..number).for_each(|_| operation()));
}

/// Runs what is counted, and nothing else: only what happens in here, on this thread, counts.
#[inline(never)]
fn counted(run: impl FnOnce()) {
    run();
}

fn compare() -> ExitCode {
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("SKIPPED: instructions are not counted, there is no valgrind (Debian: apt-get install valgrind)");
        return if std::env::var_os("CI").is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    let baseline = std::fs::read_to_string(BASELINE).unwrap_or_default();
    let (mut new, mut is_left) = (String::new(), false);
    println!("{:<14} {:>14} {:>14} {:>8}", "", "instructions", "baseline", "change");
    for (subject, number) in SUBJECTS {
        let counted = count(subject, number) / u64::from(number);
        let line = baseline.lines().find_map(|line| line.strip_prefix(subject)?.trim().parse::<u64>().ok());
        let _ = writeln!(new, "{subject} {counted}");
        let Some(before) = line else {
            println!("{subject:<14} {counted:>14}");
            is_left = true;
            continue;
        };
        #[expect(clippy::cast_precision_loss, reason = "a ratio of counts far below 2^52")]
        let change = counted as f64 / before as f64 - 1.0;
        println!("{subject:<14} {counted:>14} {before:>14} {:>+7.1} %", change * 100.0);
        is_left |= change.abs() > TOLERANCE;
    }
    if std::env::var_os("UPDATE_BASELINE").is_some() {
        std::fs::write(BASELINE, new).unwrap();
        return ExitCode::SUCCESS;
    }
    if is_left {
        println!(
            "the baseline is left by more than {:.0} %: see what the change costs, and if it is worth that, or if it costs \
             less now, run this with UPDATE_BASELINE=1",
            TOLERANCE * 100.0
        );
    }
    if is_left { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// The instructions of so many runs.
fn count(subject: &str, number: u32) -> u64 {
    let directory = tempfile::tempdir().unwrap();
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no", "--toggle-collect=instructions::counted*"])
        .arg(format!("--callgrind-out-file={}", directory.path().join("callgrind").display()))
        .arg(std::env::current_exe().unwrap())
        .args(["run", subject, &number.to_string()])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let collected = said.lines().find_map(|line| line.split("Collected :").nth(1)?.trim().parse().ok());
    collected.unwrap_or_else(|| panic!("valgrind counted nothing: {said}"))
}
