//! The metrics, all defined with the configuration: the request path neither names nor makes one,
//! and a rate over a counter sees its first event.

use std::cell::RefCell;
use std::rc::Rc;

use super::host::{self, Failure, MetricKind};
use crate::policy::Policy;
use crate::policy::endpoint::Endpoint;
use crate::policy::generation::Generation;
use crate::replay::Change;
use crate::secrets::keyring::SecretIndex;
use crate::secrets::secret::{Expiry, Secret};
use crate::time::UnixMillis;
use crate::verdict::{Mode, Reason};

/// How often the generation is read anew that another worker has changed meanwhile.
const ATTEMPTS: usize = 64;

/// What became of a fetched allow list.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fetched {
    Taken,
    /// Its content is no allow list that could be taken.
    Refused,
    /// None came.
    Failed,
}

/// The number that the host gave a metric.
type Metric = u32;

/// The metrics of a policy.
pub(super) struct Metrics {
    of: Rc<Defined>,
    /// Of requests that belong to no endpoint.
    elsewhere: Requests,
    /// The bytes that all workers hold.
    held: Metric,
    /// The number of the configuration.
    generation: (Metric, u64),
}

/// The metrics of a policy's endpoints, in their order.
struct Defined {
    root_id: String,
    endpoints: Vec<OfEndpoint>,
}

/// The counters of requests. The reason and the endpoint's mode determine the outcome.
struct Requests(Vec<(Reason, Metric)>);

/// The metrics of an endpoint.
struct OfEndpoint {
    name: String,
    /// Those whose value follows from the configuration, or from a list.
    gauges: Vec<Gauge>,
    requests: Requests,
    /// In the order of its secrets: how often each verified a request, and of those in filter state, how often it
    /// had no value.
    secrets: Vec<(Metric, Option<Metric>)>,
    /// How large the bodies were that were verified, and how many microseconds it took.
    verified: (Metric, Metric),
    /// What its memory has forgotten before its time, and how large it is.
    memory: Option<(Metric, Metric)>,
    lists: Option<OfLists>,
}

/// A gauge whose value does not depend on requests.
struct Gauge {
    name: String,
    metric: Metric,
    /// The value that the configuration gives it, if that does.
    value: Option<u64>,
}

/// The metrics of an endpoint's published lists.
struct OfLists {
    /// By result, in the order of [`Fetched`].
    fetches: [Metric; 3],
    age: Metric,
    prefixes: Metric,
}

thread_local! {
    /// Those of all policies that this module has, in the order in which they were read: an old one while its last
    /// requests go on, and those of other listeners.
    static ALL: RefCell<Vec<Rc<Defined>>> = const { RefCell::new(Vec::new()) };
}

impl Metrics {
    /// Defines the metrics of a policy.
    pub(super) fn define(
        root_id: &str,
        policy: &Policy,
        generation: (Metric, u64),
    ) -> Result<Self, Failure> {
        let mut endpoints = Vec::new();
        for endpoint in &policy.endpoints {
            endpoints.push(OfEndpoint::define(endpoint)?);
        }
        let of = Rc::new(Defined {
            root_id: root_id.to_owned(),
            endpoints,
        });
        let _ = ALL.try_with(|all| {
            if let Ok(mut all) = all.try_borrow_mut() {
                all.push(Rc::clone(&of));
            }
        });
        Ok(Self {
            of,
            elsewhere: Requests::define("-", Mode::Enforce, Reason::is_counted_without_endpoint)?,
            held: host::define_metric(MetricKind::Gauge, "webhook_guard_held_bytes")?,
            generation,
        })
    }

    /// Sets the gauges that follow from the configuration again, unless a later one has taken its place.
    pub(super) fn restate(&self) {
        let is_latest = ALL.try_with(|all| {
            let all = all.try_borrow().ok()?;
            let of_root = |of: &&Rc<Defined>| of.root_id == self.of.root_id;
            let latest = all.iter().rfind(of_root)?;
            Some(Rc::ptr_eq(latest, &self.of))
        });
        if is_latest != Ok(Some(true)) {
            return;
        }
        let gauges = self.of.endpoints.iter().flat_map(|of| &of.gauges);
        for gauge in gauges {
            if let Some(value) = gauge.value {
                set(gauge.metric, value);
            }
        }
        set(self.generation.0, self.generation.1);
    }

    /// Reports that this worker holds `now` bytes of requests, after it reported `before`.
    pub(super) fn hold(&self, before: u64, now: u64) {
        let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        let _ = host::increment(self.held, signed(now).saturating_sub(signed(before)));
    }

    /// Counts a verdict. A counter that fails changes no verdict.
    pub(super) fn count(&self, endpoint: Option<usize>, reason: Reason) {
        let Requests(counters) = match self.of(endpoint) {
            Some(endpoint) => &endpoint.requests,
            None => &self.elsewhere,
        };
        for (_, counter) in counters.iter().filter(|(known, _)| *known == reason) {
            let _ = host::increment(*counter, 1);
        }
    }

    /// Notes the size of a body whose request was verified, whatever came of it, and how long that took.
    pub(super) fn note_verified(&self, endpoint: Option<usize>, bytes: u64, micros: u64) {
        if let Some(OfEndpoint { verified, .. }) = self.of(endpoint) {
            let _ = host::record(verified.0, bytes);
            let _ = host::record(verified.1, micros);
        }
    }

    /// Counts a secret that verified a request, also one that may no longer be used.
    pub(super) fn count_secret(&self, endpoint: Option<usize>, secret: SecretIndex) {
        if let Some((uses, _)) = self.secret(endpoint, secret) {
            let _ = host::increment(uses, 1);
        }
    }

    /// Counts a request that came while a secret had no value.
    pub(super) fn count_missing(&self, endpoint: Option<usize>, secret: SecretIndex) {
        if let Some((_, Some(missing))) = self.secret(endpoint, secret) {
            let _ = host::increment(missing, 1);
        }
    }

    /// Counts what became of a bucket that had `before` bytes.
    pub(super) fn remember(&self, endpoint: usize, before: usize, change: &Change) {
        let memory = self.of(Some(endpoint)).and_then(|of| of.memory);
        let Some((evictions, size)) = memory else {
            return;
        };
        let signed = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let grown = signed(change.bucket.len()).saturating_sub(signed(before));
        let _ = host::increment(size, grown);
        if change.evicted > 0 {
            let _ = host::increment(evictions, signed(change.evicted));
        }
    }

    /// Counts a fetched list.
    pub(super) fn fetched(&self, endpoint: usize, result: Fetched) {
        if let Some(lists) = self.lists(endpoint) {
            let [taken, refused, failed] = lists.fetches;
            let counter = match result {
                Fetched::Taken => taken,
                Fetched::Refused => refused,
                Fetched::Failed => failed,
            };
            let _ = host::increment(counter, 1);
        }
    }

    /// Tells how old an endpoint's lists are, in milliseconds, and how large.
    pub(super) fn age(&self, endpoint: usize, age: u64, prefixes: usize) {
        if let Some(lists) = self.lists(endpoint) {
            set(lists.age, age / 1_000);
            set(lists.prefixes, u64::try_from(prefixes).unwrap_or(u64::MAX));
        }
    }

    fn of(&self, endpoint: Option<usize>) -> Option<&OfEndpoint> {
        self.of.endpoints.get(endpoint?)
    }

    fn secret(
        &self,
        endpoint: Option<usize>,
        secret: SecretIndex,
    ) -> Option<(Metric, Option<Metric>)> {
        self.of(endpoint)?.secrets.get(secret.0).copied()
    }

    fn lists(&self, endpoint: usize) -> Option<&OfLists> {
        self.of(Some(endpoint))?.lists.as_ref()
    }
}

impl Drop for Metrics {
    /// Sets the gauges that tell of this policy alone to 0, where a later one has come into its place: else they, and
    /// alerts with them, would tell of what was removed until Envoy ends. Where none has, the module ends, and another
    /// may tell by the same gauges.
    fn drop(&mut self) {
        let _ = ALL.try_with(|all| {
            let Ok(mut all) = all.try_borrow_mut() else {
                return;
            };
            let Some(place) = all.iter().position(|of| Rc::ptr_eq(of, &self.of)) else {
                return;
            };
            all.remove(place);
            let mut later = all.iter().skip(place);
            if later.any(|other| other.root_id == self.of.root_id) {
                for endpoint in &self.of.endpoints {
                    endpoint.set_back(&all);
                }
            }
        });
    }
}

impl OfEndpoint {
    fn set_back(&self, all: &[Rc<Defined>]) {
        let others = || all.iter().flat_map(|of| &of.endpoints);
        for gauge in &self.gauges {
            let has = |other: &Self| other.gauges.iter().any(|known| known.name == gauge.name);
            if !others().any(|other| other.name == self.name && has(other)) {
                let _ = host::record(gauge.metric, 0);
            }
        }
    }

    fn define(endpoint: &Endpoint) -> Result<Self, Failure> {
        let name = &endpoint.name;
        let mut gauges = Vec::new();
        let define = |kind, metric| define(kind, metric, name, "");
        let expires = Some(endpoint.expiry().metric_value());
        gauge(&mut gauges, "secrets_expire_seconds", name, "", expires)?;
        let mut secrets = Vec::new();
        for secret in &endpoint.secrets {
            secrets.push(define_secret(name, secret, &mut gauges)?);
        }
        let mut memory = None;
        if endpoint.replay.is_some() {
            memory = Some((
                define(MetricKind::Counter, "replay_evictions_total")?,
                define(MetricKind::Gauge, "replay_memory_bytes")?,
            ));
        }
        let mut lists = None;
        if !endpoint.allow_from.is_empty() {
            lists = Some(OfLists::define(name, &mut gauges)?);
        }
        Ok(Self {
            name: name.clone(),
            gauges,
            requests: Requests::define(name, endpoint.mode, Reason::is_counted_with_endpoint)?,
            secrets,
            verified: (
                define(MetricKind::Histogram, "body_bytes")?,
                define(MetricKind::Histogram, "verify_microseconds")?,
            ),
            memory,
            lists,
        })
    }
}

impl OfLists {
    fn define(endpoint: &str, gauges: &mut Vec<Gauge>) -> Result<Self, Failure> {
        let fetches = |result| {
            let name = "allow_list_fetches_total";
            define(MetricKind::Counter, name, endpoint, result)
        };
        Ok(Self {
            fetches: [
                fetches(".result=taken")?,
                fetches(".result=refused")?,
                fetches(".result=failed")?,
            ],
            age: gauge(gauges, "allow_list_age_seconds", endpoint, "", None)?,
            prefixes: gauge(gauges, "allow_list_prefixes", endpoint, "", None)?,
        })
    }
}

impl Requests {
    fn define(endpoint: &str, mode: Mode, can_be: fn(Reason) -> bool) -> Result<Self, Failure> {
        let mut counters = Vec::new();
        for &reason in Reason::ALL.iter().filter(|reason| can_be(**reason)) {
            let outcome = reason.outcome(mode).name();
            let labels = [".verdict=", outcome, ".reason=", reason.name()].concat();
            let counter = define(MetricKind::Counter, "requests_total", endpoint, &labels)?;
            counters.push((reason, counter));
        }
        Ok(Self(counters))
    }
}

fn define_secret(
    endpoint: &str,
    secret: &Secret,
    gauges: &mut Vec<Gauge>,
) -> Result<(Metric, Option<Metric>), Failure> {
    let version = [".version=", &secret.version].concat();
    let define = |kind, metric| define(kind, metric, endpoint, &version);
    let end = Some(match secret.expiry() {
        Expiry::At(UnixMillis(end)) => end.max(0).unsigned_abs() / 1_000,
        Expiry::Never | Expiry::Revoked => 0,
    });
    gauge(gauges, "secret_not_after_seconds", endpoint, &version, end)?;
    let missing = match secret.filter_state() {
        Some(_) => Some(define(MetricKind::Counter, "secret_missing_total")?),
        None => None,
    };
    Ok((define(MetricKind::Counter, "secret_uses_total")?, missing))
}

/// Defines a metric, whose labels stand in its name: see `stats_config` in envoy/.
fn define(kind: MetricKind, metric: &str, endpoint: &str, labels: &str) -> Result<Metric, Failure> {
    host::define_metric(kind, &name(metric, endpoint, labels))
}

/// Defines a gauge that is set back with its configuration.
fn gauge(
    gauges: &mut Vec<Gauge>,
    metric: &str,
    endpoint: &str,
    labels: &str,
    value: Option<u64>,
) -> Result<Metric, Failure> {
    let name = name(metric, endpoint, labels);
    let metric = host::define_metric(MetricKind::Gauge, &name)?;
    if let Some(value) = value {
        host::record(metric, value)?;
    }
    gauges.push(Gauge {
        name,
        metric,
        value,
    });
    Ok(metric)
}

/// Sets a gauge to a value of which a part may be another process's. During a hot restart Envoy adds the parent's
/// value of a gauge to the child's.
fn set(gauge: Metric, value: u64) {
    let _ = host::record(gauge, value);
    if let Ok(sum) = host::metric(gauge)
        && sum > value
    {
        let of_parent = sum.saturating_sub(value);
        let _ = host::record(gauge, value.saturating_sub(of_parent));
    }
}

fn name(metric: &str, endpoint: &str, labels: &str) -> String {
    ["webhook_guard_", metric, ".endpoint=", endpoint, labels].concat()
}

/// Notes that this thread has read a configuration. Returns the gauge of its number, and the number.
pub(super) fn note_generation(
    root_id: &str,
    configuration: &[u8],
) -> Result<(Metric, u64), Failure> {
    let number = host::define_metric(MetricKind::Gauge, "webhook_guard_configuration_generation")?;
    let loads = host::define_metric(MetricKind::Gauge, "webhook_guard_configuration_loads")?;
    let key = format!("webhook_guard/{root_id}/generation");
    for _ in 0..ATTEMPTS {
        let (before, version) = host::shared_data(&key)?.unwrap_or_default();
        let generation = Generation::after(&before, configuration);
        if host::swap_shared_data(&key, &generation.to_bytes(), version)? {
            host::record(number, generation.number)?;
            // The first to read one is alone, those after it are not.
            match generation.loads {
                1 => host::record(loads, 1)?,
                _ => host::increment(loads, 1)?,
            }
            return Ok((number, generation.number));
        }
    }
    Err(Failure)
}
