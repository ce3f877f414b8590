use std::fmt;
use std::path::Path;
use std::time::Duration;

use crate::fleet::now;
use crate::place::{Running, pass};

/// How much of everything a process has at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) rss_kib: i64,
    pub(super) fds: i64,
    pub(super) tasks: i64,
}

/// How much more of everything there is in the last quarter than in the first.
#[derive(Clone, Debug)]
pub(super) struct Growth {
    pub(super) rss_kib: i64,
    pub(super) fds: i64,
    pub(super) tasks: i64,
    said: String,
}

/// What may have grown.
pub(super) struct Allowed {
    pub(super) rss_kib: i64,
    pub(super) fds: i64,
    pub(super) tasks: i64,
}

/// Takes samples for so long, with the time since the first in seconds.
pub(super) async fn take(server: &Running, tasks: &Path, soak: Duration, pause: Duration) -> Vec<(f64, Sample)> {
    let (start, mut samples) = (now(), Vec::new());
    while start.elapsed() < soak {
        if let Some(sample) = Sample::of(server, tasks) {
            samples.push((start.elapsed().as_secs_f64(), sample));
        }
        pass(pause).await;
    }
    samples
}

impl Sample {
    fn of(server: &Running, tasks: &Path) -> Option<Self> {
        let process = format!("/proc/{}", server.process().as_raw_nonzero());
        let status = std::fs::read_to_string(format!("{process}/status")).unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        Some(Self {
            rss_kib: resident.trim().trim_end_matches(" kB").parse().unwrap(),
            fds: std::fs::read_dir(format!("{process}/fd")).unwrap().count().try_into().unwrap(),
            // Now and then it is read while it is being written.
            tasks: std::fs::read_to_string(tasks).ok()?.parse().ok()?,
        })
    }
}

impl Growth {
    pub(super) fn of(samples: &[(f64, Sample)]) -> Self {
        let quarter = samples.len() / 4;
        assert!(quarter > 2, "there are too few samples: {}", samples.len());
        let (first, last) = (&samples[..quarter], &samples[samples.len() - quarter..]);
        let change = |of: fn(&Sample) -> i64| median(last, of) - median(first, of);
        let said = [("RSS in KiB", rss as fn(&Sample) -> i64), ("file descriptors", fds), ("tasks", tasks)].map(
            |(name, of)| {
                let all = || samples.iter().map(|(_, sample)| of(sample));
                format!(
                    "{name}: {} in the first quarter, {} in the last, {} to {} in all",
                    median(first, of),
                    median(last, of),
                    all().min().unwrap_or_default(),
                    all().max().unwrap_or_default(),
                )
            },
        );
        let said = format!("{}; RSS slope {:.2} MiB/h", said.join("; "), slope(samples) * 3_600.0 / 1_024.0);
        Self { rss_kib: change(rss), fds: change(fds), tasks: change(tasks), said }
    }

    pub(super) fn is_within(&self, allowed: &Allowed) -> bool {
        self.rss_kib <= allowed.rss_kib && self.fds <= allowed.fds && self.tasks <= allowed.tasks
    }
}

impl fmt::Display for Growth {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.said)
    }
}

fn rss(sample: &Sample) -> i64 {
    sample.rss_kib
}

fn fds(sample: &Sample) -> i64 {
    sample.fds
}

fn tasks(sample: &Sample) -> i64 {
    sample.tasks
}

fn median(samples: &[(f64, Sample)], of: fn(&Sample) -> i64) -> i64 {
    let mut values: Vec<_> = samples.iter().map(|(_, sample)| of(sample)).collect();
    values.sort_unstable();
    values[values.len() / 2]
}

/// Of the line through the resident memory that is nearest to all samples: KiB a second.
#[expect(clippy::cast_precision_loss, reason = "of kibibytes, and of thousands of samples")]
fn slope(samples: &[(f64, Sample)]) -> f64 {
    let count = samples.len() as f64;
    let mean = |values: &dyn Fn(&(f64, Sample)) -> f64| samples.iter().map(values).sum::<f64>() / count;
    let (time, memory) = (mean(&|(time, _)| *time), mean(&|(_, sample)| sample.rss_kib as f64));
    let together: f64 = samples.iter().map(|(at, sample)| (at - time) * (sample.rss_kib as f64 - memory)).sum();
    let alone: f64 = samples.iter().map(|(at, _)| (at - time).powi(2)).sum();
    together / alone
}
