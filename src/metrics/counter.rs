use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{About, Kind, Label, Metric, Series, Unit, Value, label};

/// Counts what happens. Every series is there from the start, at zero: the first event shows as an increase.
#[derive(Debug)]
pub struct Counter {
    about: About,
    labels: &'static [Label],
    cells: OnceLock<Box<[AtomicU64]>>,
}

impl Counter {
    pub(super) const fn new(name: &'static str, description: &'static str, labels: &'static [Label]) -> Self {
        Self { about: About::new(name, description, Unit::None, Kind::Counter), labels, cells: OnceLock::new() }
    }

    /// Counts one, with a value for each label.
    pub fn count(&self, values: &[&str]) {
        self.add(1, values);
    }

    /// Counts so many.
    pub fn add(&self, more: u64, values: &[&str]) {
        if let Some(cell) = self.cells().get(label::index(self.labels, values)) {
            cell.fetch_add(more, Ordering::Relaxed);
        }
    }

    fn cells(&self) -> &[AtomicU64] {
        self.cells.get_or_init(|| (0..label::combinations(self.labels)).map(|_| AtomicU64::default()).collect())
    }
}

impl Metric for Counter {
    fn about(&self) -> About {
        self.about
    }

    fn labels(&self) -> Vec<(&'static str, &'static [&'static str])> {
        label::described(self.labels)
    }

    fn series(&self) -> Vec<Series> {
        let series = self.cells().iter().enumerate().map(|(index, cell)| Series {
            labels: label::shown(self.labels, index),
            value: Value::Count(cell.load(Ordering::Relaxed)),
        });
        series.collect()
    }
}
