//! A test in a process of its own, for what is the whole process's: its memory, its metrics, its processor time, its log.

use std::process::{Command, Stdio};

/// Set for the process that is the test's own.
const ALONE: &str = "TICKETD_TESTS_ALONE";

/// Whether this process runs nothing but the test of this name. Where it does not, such a process has by then, and what
/// it printed is printed here, without its log; the test fails as it did there.
///
/// ```ignore
/// if !is_own_process("module::name_of_the_test") {
///     return;
/// }
/// ```
pub(crate) fn is_own_process(test: &str) -> bool {
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let mut alone = Command::new(std::env::current_exe().unwrap());
    alone.args(["--exact", test, "--nocapture"]).env(ALONE, "1");
    let output = alone.stdin(Stdio::null()).output().unwrap();
    let (told, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let printed: Vec<_> = told.lines().chain(log.lines()).filter(|line| !line.starts_with('{')).collect();
    eprintln!("{}", printed.join("\n"));
    // A name that is not the test's runs none.
    assert!(output.status.success() && told.contains("1 passed"), "{test} failed in its own process, see above");
    false
}
