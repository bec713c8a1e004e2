//! The gauges whose values follow from a configuration. They return to 0 once a later configuration no longer has them.
//!
//! A module may have several configurations at a time: an old one while its last requests go on, and those of other
//! listeners. Each thread registers its configurations here, in the order in which it read them.

use std::cell::RefCell;
use std::rc::Rc;

use super::host::{self, Failure};
use super::instruments::Gauge;
use super::metrics::name;
use crate::policy::generation::Generation;

/// How often a worker retries to change shared data when another worker changes the same at the same time.
pub(super) const ATTEMPTS: usize = 64;

thread_local! {
    static REGISTERED: RefCell<Vec<Rc<Registered>>> = const { RefCell::new(Vec::new()) };
}

/// The gauges of one configuration.
struct Registered {
    root_id: String,
    endpoints: Vec<EndpointGauges>,
    generation: NumberedGeneration,
}

/// The gauges of one endpoint.
pub(super) struct EndpointGauges {
    endpoint: String,
    gauges: Vec<ConfiguredGauge>,
}

struct ConfiguredGauge {
    name: String,
    gauge: Gauge,
    /// The value by the configuration. Published allow lists set the others.
    value: Option<u64>,
}

/// The number of a configuration, and its gauge.
pub(super) struct NumberedGeneration {
    gauge: Gauge,
    number: u64,
}

/// Keeps the gauges of a configuration registered.
pub(super) struct Registration(Rc<Registered>);

impl EndpointGauges {
    /// No gauges yet.
    pub(super) fn new(endpoint: &str) -> Self {
        Self {
            endpoint: endpoint.to_owned(),
            gauges: Vec::new(),
        }
    }

    /// Defines a gauge, and sets its value if the configuration gives it.
    pub(super) fn define(
        &mut self,
        metric: &str,
        labels: &str,
        value: Option<u64>,
    ) -> Result<Gauge, Failure> {
        let name = name(metric, &self.endpoint, labels);
        let gauge = Gauge::define(&name)?;
        if let Some(value) = value {
            gauge.set(value)?;
        }
        self.gauges.push(ConfiguredGauge { name, gauge, value });
        Ok(gauge)
    }

    /// Sets the gauges to 0 that no other configuration has.
    fn reset(&self, others: &[Rc<Registered>]) {
        let others = || others.iter().flat_map(|other| &other.endpoints);
        for gauge in &self.gauges {
            let has = |other: &Self| other.gauges.iter().any(|known| known.name == gauge.name);
            if !others().any(|other| other.endpoint == self.endpoint && has(other)) {
                let _ = gauge.gauge.set(0);
            }
        }
    }
}

impl NumberedGeneration {
    /// Counts this configuration among those that the threads of this Envoy have read, and reports its number.
    pub(super) fn count(root_id: &str, configuration: &[u8]) -> Result<Self, Failure> {
        let gauge = Gauge::define("webhook_guard_configuration_generation")?;
        let loads = Gauge::define("webhook_guard_configuration_loads")?;
        let key = format!("webhook_guard/{root_id}/generation");
        for _ in 0..ATTEMPTS {
            let (before, version) = host::shared_data(&key)?.unwrap_or_default();
            let generation = Generation::after(&before, configuration);
            if host::swap_shared_data(&key, &generation.to_bytes(), version)? {
                gauge.set(generation.number)?;
                // Only the first thread that reads a configuration is alone.
                match generation.loads {
                    1 => loads.set(1)?,
                    _ => loads.add(1)?,
                }
                let number = generation.number;
                return Ok(Self { gauge, number });
            }
        }
        Err(Failure)
    }
}

impl Registration {
    /// Registers the gauges of a configuration.
    pub(super) fn new(
        root_id: &str,
        endpoints: Vec<EndpointGauges>,
        generation: NumberedGeneration,
    ) -> Self {
        let registered = Rc::new(Registered {
            root_id: root_id.to_owned(),
            endpoints,
            generation,
        });
        let _ = REGISTERED.try_with(|all| {
            if let Ok(mut all) = all.try_borrow_mut() {
                all.push(Rc::clone(&registered));
            }
        });
        Self(registered)
    }

    /// Sets the gauges again, unless a later configuration of this root has replaced this one.
    pub(super) fn restate(&self) {
        let is_latest = REGISTERED.try_with(|all| {
            let all = all.try_borrow().ok()?;
            let latest = all.iter().rfind(|each| each.root_id == self.0.root_id)?;
            Some(Rc::ptr_eq(latest, &self.0))
        });
        if is_latest != Ok(Some(true)) {
            return;
        }
        let endpoints = self.0.endpoints.iter();
        for gauge in endpoints.flat_map(|endpoint| &endpoint.gauges) {
            if let Some(value) = gauge.value {
                gauge.gauge.restate(value);
            }
        }
        let NumberedGeneration { gauge, number } = self.0.generation;
        gauge.restate(number);
    }
}

impl Drop for Registration {
    /// Resets the gauges that only this configuration has, if a later one has replaced it. Otherwise they, and alerts
    /// on them, would report what an operator removed until Envoy ends. If none has replaced it, the module ends, and
    /// another module may report by the same gauges.
    fn drop(&mut self) {
        let _ = REGISTERED.try_with(|all| {
            let Ok(mut all) = all.try_borrow_mut() else {
                return;
            };
            let Some(place) = all.iter().position(|each| Rc::ptr_eq(each, &self.0)) else {
                return;
            };
            all.remove(place);
            let mut later = all.iter().skip(place);
            if later.any(|other| other.root_id == self.0.root_id) {
                for endpoint in &self.0.endpoints {
                    endpoint.reset(&all);
                }
            }
        });
    }
}
