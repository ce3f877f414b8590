use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use super::{About, Kind, Label, Metric, Series, Unit, Value, label};

/// No value: its series is left out.
const ABSENT: u64 = f64::NAN.to_bits();

/// Tells how something is. A series without a value is left out.
#[derive(Debug)]
pub struct Gauge {
    about: About,
    labels: &'static [Label],
    cells: OnceLock<Box<[AtomicU64]>>,
}

/// A gauge with one label whose values are few and not known beforehand: versions, names of keys.
#[derive(Debug)]
pub struct NamedGauge {
    about: About,
    label: &'static str,
    values: Mutex<BTreeMap<String, f64>>,
}

impl Gauge {
    pub(super) const fn new(
        name: &'static str,
        description: &'static str,
        unit: Unit,
        labels: &'static [Label],
    ) -> Self {
        Self { about: About::new(name, description, unit, Kind::Gauge), labels, cells: OnceLock::new() }
    }

    /// Tells a value.
    pub fn set(&self, number: f64, values: &[&str]) {
        self.cell(values, |cell| cell.store(number.to_bits(), Ordering::Relaxed));
    }

    /// Tells a count. Past 2^53 it is rounded.
    pub fn set_count(&self, count: usize, values: &[&str]) {
        #[expect(clippy::cast_precision_loss, reason = "a rounded count of that size is as good")]
        self.set(count as f64, values);
    }

    /// Adds to what was told, or to nothing.
    pub fn add(&self, difference: f64, values: &[&str]) {
        self.cell(values, |cell| {
            let sum = |bits| Some((plain(bits).unwrap_or_default() + difference).to_bits());
            // It never answers None.
            let (Ok(_) | Err(_)) = cell.fetch_update(Ordering::Relaxed, Ordering::Relaxed, sum);
        });
    }

    /// Takes the value away.
    pub fn clear(&self, values: &[&str]) {
        self.cell(values, |cell| cell.store(ABSENT, Ordering::Relaxed));
    }

    fn cell(&self, values: &[&str], change: impl FnOnce(&AtomicU64)) {
        if let Some(cell) = self.cells().get(label::index(self.labels, values)) {
            change(cell);
        }
    }

    fn cells(&self) -> &[AtomicU64] {
        self.cells.get_or_init(|| (0..label::combinations(self.labels)).map(|_| AtomicU64::new(ABSENT)).collect())
    }
}

impl Metric for Gauge {
    fn about(&self) -> About {
        self.about
    }

    fn labels(&self) -> Vec<(&'static str, &'static [&'static str])> {
        label::described(self.labels)
    }

    fn series(&self) -> Vec<Series> {
        let numbers = self.cells().iter().map(|cell| plain(cell.load(Ordering::Relaxed)));
        let series = numbers.enumerate().filter_map(|(index, number)| {
            Some(Series { labels: label::shown(self.labels, index), value: Value::Number(number?) })
        });
        series.collect()
    }
}

impl NamedGauge {
    pub(super) const fn new(name: &'static str, description: &'static str, label: &'static str) -> Self {
        let about = About::new(name, description, Unit::None, Kind::Gauge);
        Self { about, label, values: Mutex::new(BTreeMap::new()) }
    }

    /// Puts these values in the place of all before.
    pub fn replace(&self, values: BTreeMap<String, f64>) {
        *self.values.lock().unwrap_or_else(PoisonError::into_inner) = values;
    }
}

impl Metric for NamedGauge {
    fn about(&self) -> About {
        self.about
    }

    fn labels(&self) -> Vec<(&'static str, &'static [&'static str])> {
        vec![(self.label, &[])]
    }

    fn series(&self) -> Vec<Series> {
        let values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        let series = values.iter().map(|(name, number)| Series {
            labels: vec![(self.label, name.clone())],
            value: Value::Number(*number),
        });
        series.collect()
    }
}

fn plain(bits: u64) -> Option<f64> {
    let number = f64::from_bits(bits);
    (!number.is_nan()).then_some(number)
}
