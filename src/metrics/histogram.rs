use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use super::{About, Kind, Label, Metric, Series, Unit, Value, label};

/// Upper ends of the buckets, in microseconds: those that OpenTelemetry advises for durations, and three below for what
/// is answered from memory.
const BOUNDS: [u64; 17] = [
    500, 1_000, 2_000, 5_000, 10_000, 25_000, 50_000, 75_000, 100_000, 250_000, 500_000, 750_000, 1_000_000, 2_500_000,
    5_000_000, 7_500_000, 10_000_000,
];
const BUCKETS: usize = BOUNDS.len() + 1;

/// How long things take. A series is there from its first measurement on.
#[derive(Debug)]
pub struct Histogram {
    about: About,
    labels: &'static [Label],
    series: OnceLock<Box<[OnceLock<Box<Cells>>]>>,
}

/// The trace that a measurement belongs to, if it is kept somewhere. It shows as the trace's hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace.
    pub trace_id: [u8; 16],
    /// The span within it.
    pub span_id: [u8; 8],
}

/// One measurement, with the trace that shows how it came about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exemplar {
    /// Its trace.
    pub context: TraceContext,
    /// What was measured, in seconds.
    pub value: f64,
}

/// What a histogram has measured.
#[derive(Debug)]
pub struct Measured {
    /// The buckets' upper ends, in seconds. The last bucket has none.
    pub bounds: Vec<f64>,
    /// How many measurements fell into each bucket.
    pub buckets: Vec<u64>,
    /// What they add up to, in seconds.
    pub sum: f64,
    /// The last exemplar of each bucket that has one.
    pub exemplars: Vec<Option<Exemplar>>,
}

#[derive(Debug, Default)]
struct Cells {
    buckets: [AtomicU64; BUCKETS],
    nanoseconds: AtomicU64,
    exemplars: [Mutex<Option<Exemplar>>; BUCKETS],
}

impl fmt::Display for TraceContext {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.trace_id.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl Histogram {
    pub(super) const fn new(name: &'static str, description: &'static str, labels: &'static [Label]) -> Self {
        let about = About::new(name, description, Unit::Seconds, Kind::Histogram);
        Self { about, labels, series: OnceLock::new() }
    }

    /// Notes how long something took. `trace` is looked at only when it is kept somewhere, so a measurement without one
    /// costs two additions to atomics.
    pub fn record(&self, took: Duration, values: &[&str], trace: Option<TraceContext>) {
        let Some(series) = self.cells().get(label::index(self.labels, values)) else { return };
        let cells = series.get_or_init(Box::default);
        let bucket = BOUNDS.partition_point(|bound| Duration::from_micros(*bound) < took);
        let Some(count) = cells.buckets.get(bucket) else { return };
        count.fetch_add(1, Ordering::Relaxed);
        cells.nanoseconds.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        // Another measurement's exemplar is as good: nobody waits to leave one.
        if let Some(context) = trace
            && let Some(Ok(mut exemplar)) = cells.exemplars.get(bucket).map(Mutex::try_lock)
        {
            *exemplar = Some(Exemplar { context, value: took.as_secs_f64() });
        }
    }

    fn cells(&self) -> &[OnceLock<Box<Cells>>] {
        self.series.get_or_init(|| (0..label::combinations(self.labels)).map(|_| OnceLock::new()).collect())
    }
}

impl Metric for Histogram {
    fn about(&self) -> About {
        self.about
    }

    fn labels(&self) -> Vec<(&'static str, &'static [&'static str])> {
        label::described(self.labels)
    }

    fn series(&self) -> Vec<Series> {
        let touched = self.cells().iter().enumerate().filter_map(|(index, series)| Some((index, series.get()?)));
        let series = touched.map(|(index, cells)| Series {
            labels: label::shown(self.labels, index),
            value: Value::Histogram(cells.measured()),
        });
        series.collect()
    }
}

impl Cells {
    fn measured(&self) -> Measured {
        let exemplars = self.exemplars.iter().map(|it| *it.lock().unwrap_or_else(PoisonError::into_inner));
        Measured {
            bounds: BOUNDS.iter().map(|bound| Duration::from_micros(*bound).as_secs_f64()).collect(),
            buckets: self.buckets.iter().map(|count| count.load(Ordering::Relaxed)).collect(),
            sum: Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed)).as_secs_f64(),
            exemplars: exemplars.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static TEST: Histogram = Histogram::new("test", "", &[Label::new("one", &["a", "b"])]);

    #[test]
    fn a_measurement_falls_into_the_bucket_whose_end_it_does_not_pass() {
        let trace = TraceContext { trace_id: [1; 16], span_id: [2; 8] };
        for (microseconds, trace) in [(500, None), (501, Some(trace)), (10_000_000, None), (10_000_001, None)] {
            TEST.record(Duration::from_micros(microseconds), &["b"], trace);
        }
        let series = Metric::series(&TEST);
        let [Series { labels, value: Value::Histogram(measured) }] = series.as_slice() else { panic!("{series:?}") };
        assert_eq!(labels[..], [("one", "b".to_owned())]);
        assert_eq!(measured.bounds[..3], [0.0005, 0.001, 0.002]);
        let filled = measured.buckets.iter().enumerate().filter(|(_, count)| **count > 0).map(|(bucket, _)| bucket);
        assert_eq!(filled.collect::<Vec<_>>(), [0, 1, 16, 17]);
        assert!((measured.sum - 20.001_002).abs() < 1e-9, "{}", measured.sum);
        assert_eq!(measured.exemplars[1].map(|exemplar| exemplar.context), Some(trace));
        assert_eq!(measured.exemplars.iter().flatten().count(), 1);
    }
}
