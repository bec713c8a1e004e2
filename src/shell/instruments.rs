//! The kinds of metrics. A metric's labels are in its name: see `stats_config` in envoy/.
//!
//! A call that fails after the metric is defined loses a value. It never changes a verdict.

use super::host::{self, Failure, MetricKind};

/// A number that only grows.
#[derive(Clone, Copy)]
pub(super) struct Counter(u32);

impl Counter {
    /// Defines the counter, or finds the one of this name.
    pub(super) fn define(name: &str) -> Result<Self, Failure> {
        host::define_metric(MetricKind::Counter, name).map(Self)
    }

    /// Adds 1.
    pub(super) fn increment(self) {
        self.add(1);
    }

    /// Adds a number of events.
    pub(super) fn add(self, events: usize) {
        let _ = host::increment(self.0, i64::try_from(events).unwrap_or(i64::MAX));
    }
}

/// A number that is set. All workers share it.
#[derive(Clone, Copy)]
pub(super) struct Gauge(u32);

impl Gauge {
    /// Defines the gauge, or finds the one of this name.
    pub(super) fn define(name: &str) -> Result<Self, Failure> {
        host::define_metric(MetricKind::Gauge, name).map(Self)
    }

    /// Sets the value.
    pub(super) fn set(self, value: u64) -> Result<(), Failure> {
        host::record(self.0, value)
    }

    /// Sets the value again. During a hot restart, Envoy adds the parent's value of a gauge to the child's. This
    /// subtracts it.
    pub(super) fn restate(self, value: u64) {
        let _ = self.set(value);
        if let Ok(sum) = host::metric(self.0)
            && sum > value
        {
            let of_parent = sum.saturating_sub(value);
            let _ = self.set(value.saturating_sub(of_parent));
        }
    }

    /// Adds a difference to the value.
    pub(super) fn add(self, difference: i64) -> Result<(), Failure> {
        host::increment(self.0, difference)
    }
}

/// A distribution of values.
#[derive(Clone, Copy)]
pub(super) struct Histogram(u32);

impl Histogram {
    /// Defines the histogram, or finds the one of this name.
    pub(super) fn define(name: &str) -> Result<Self, Failure> {
        host::define_metric(MetricKind::Histogram, name).map(Self)
    }

    /// Adds a value.
    pub(super) fn record(self, value: u64) {
        let _ = host::record(self.0, value);
    }
}
