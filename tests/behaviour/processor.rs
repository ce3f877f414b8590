//! What this process has had of the processor.

use std::fs;
use std::time::Duration;

/// How long this process has used a processor.
pub(crate) fn processor_time() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    // In user and kernel mode, in hundredths of a second. <https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html>
    let ticks: u64 = fields[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}
