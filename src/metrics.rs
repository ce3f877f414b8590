//! Every metric there is: what is counted and measured, and under which names. This module imports nothing of ours.
//!
//! The values are atomics. Whoever counts takes no lock and allocates nothing, and `telemetry` reads them for Prometheus
//! and for the collector, so that both are told the same. The values of labels come out of closed sets: a metric has as
//! many series as its sets allow, whatever callers and peers send. No tenant is a label. docs/metrics.md has the table,
//! and docs/decisions/0005-own-metrics.md why these are no instruments of the OpenTelemetry SDK.

mod catalog;
mod counter;
mod gauge;
mod histogram;
mod label;

use std::fmt;
use std::sync::{Mutex, PoisonError};

pub use catalog::*;
pub use counter::Counter;
pub use gauge::{Gauge, NamedGauge};
pub use histogram::{Exemplar, Histogram, Measured, TraceContext};
pub use label::Label;

/// A metric with all of its series, as they are this moment.
#[derive(Debug)]
pub struct Family {
    /// What it is called and means.
    pub about: About,
    /// Its series, those that were never touched left out.
    pub series: Vec<Series>,
}

/// What a metric is called, and what it means.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// Its name in OpenTelemetry.
    pub name: &'static str,
    /// What it tells, in a sentence without its full stop.
    pub description: &'static str,
    /// What it is measured in.
    pub unit: Unit,
    /// How its values behave.
    pub kind: Kind,
}

/// What a metric is measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// It counts.
    None,
    /// It measures time, or tells one since 1970.
    Seconds,
}

/// How a metric's values behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Measured values in buckets.
    Histogram,
}

/// One series of a metric.
#[derive(Debug)]
pub struct Series {
    /// Its labels, by their names in OpenTelemetry.
    pub labels: Vec<(&'static str, String)>,
    /// Its value.
    pub value: Value,
}

/// The value of a series.
#[derive(Debug)]
pub enum Value {
    /// A counter's.
    Count(u64),
    /// A gauge's.
    Number(f64),
    /// A histogram's.
    Histogram(Measured),
}

/// A metric of the catalogue.
pub trait Metric: Sync {
    /// What it is called and means.
    fn about(&self) -> About;

    /// Its labels with all the values that each may have; none for one that is not known beforehand.
    fn labels(&self) -> Vec<(&'static str, &'static [&'static str])>;

    /// Its series.
    fn series(&self) -> Vec<Series>;
}

type Hook = Box<dyn Fn() -> bool + Send>;

/// What looks up gauges that nobody keeps up to date meanwhile.
static HOOKS: Mutex<Vec<Hook>> = Mutex::new(Vec::new());

/// Has `look` set gauges each time before they are read. It answers false when what it looks at is gone.
pub fn before_reading(look: impl Fn() -> bool + Send + 'static) {
    HOOKS.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(look));
}

/// All metrics as they are this moment. It may take some milliseconds: no place for it is a thread that others wait for.
pub fn read() -> Vec<Family> {
    HOOKS.lock().unwrap_or_else(PoisonError::into_inner).retain(|look| look());
    let families = ALL.iter().map(|metric| Family { about: metric.about(), series: metric.series() });
    families.collect()
}

impl About {
    const fn new(name: &'static str, description: &'static str, unit: Unit, kind: Kind) -> Self {
        Self { name, description, unit, kind }
    }

    /// Its name in Prometheus: with the unit, and `_total` for a counter.
    pub fn prometheus_name(&self) -> String {
        let mut name = self.name.replace('.', "_");
        if self.unit == Unit::Seconds {
            name.push_str("_seconds");
        }
        if self.kind == Kind::Counter {
            name.push_str("_total");
        }
        name
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_metrics_share_a_name() {
        let names: HashSet<_> = ALL.iter().map(|metric| metric.about().prometheus_name()).collect();
        assert_eq!(names.len(), ALL.len());
    }

    #[test]
    fn a_look_that_has_nothing_to_look_at_any_more_is_forgotten() {
        let looks = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
        let counted = std::sync::Arc::clone(&looks);
        before_reading(move || counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < 1);
        for _ in 0..4 {
            assert_eq!(read().len(), ALL.len());
        }
        assert_eq!(looks.load(std::sync::atomic::Ordering::Relaxed), 2);
    }
}
