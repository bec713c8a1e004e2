//! The metrics of a configuration.
//!
//! The configuration defines all of them: a request neither names nor makes one, and a rate over a counter includes
//! its first event.

use super::gauges::{EndpointGauges, NumberedGeneration, Registration};
use super::host::Failure;
use super::instruments::{Counter, Gauge, Histogram};
use crate::policy::endpoint::Endpoint;
use crate::policy::{EndpointIndex, Policy};
use crate::replay::Change;
use crate::secrets::{Expiry, Secret, SecretIndex};
use crate::time::{Monotonic, UnixMillis};
use crate::verdict::{Mode, Reason};

/// The result of fetching an allow list.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fetched {
    /// The guard uses the list.
    Taken,
    /// A response arrived, but its content is not a usable allow list.
    Refused,
    /// No response arrived, or one that is not 200.
    Failed,
}

/// The metrics of a policy.
pub(super) struct Metrics {
    endpoints: Vec<EndpointMetrics>,
    without_endpoint: RequestCounters,
    /// The bytes that all workers hold.
    held_bytes: Gauge,
    gauges: Registration,
}

/// The metrics of an endpoint.
pub(super) struct EndpointMetrics {
    requests: RequestCounters,
    /// In the order of the endpoint's secrets.
    secrets: Vec<SecretMetrics>,
    /// The sizes of verified bodies.
    body_bytes: Histogram,
    /// How long the guard worked on each verified request.
    verify_microseconds: Histogram,
    memory: Option<MemoryMetrics>,
    lists: Option<ListMetrics>,
}

/// The counters of requests, by reason. The reason and the endpoint's mode determine the verdict.
struct RequestCounters(Vec<(Reason, Counter)>);

/// The metrics of a secret.
struct SecretMetrics {
    /// The requests that the secret signed.
    uses: Counter,
    /// The requests for which the filter state had no value. `None` for other secrets.
    missing: Option<Counter>,
}

/// The metrics of the memory of deliveries.
struct MemoryMetrics {
    /// The deliveries that were forgotten early.
    evictions: Counter,
    bytes: Gauge,
}

/// The metrics of an endpoint's published allow lists.
struct ListMetrics {
    taken: Counter,
    refused: Counter,
    failed: Counter,
    age_seconds: Gauge,
    prefixes: Gauge,
}

impl Metrics {
    /// Defines the metrics of a policy.
    pub(super) fn define(
        root_id: &str,
        policy: &Policy,
        generation: NumberedGeneration,
    ) -> Result<Self, Failure> {
        let mut endpoints = Vec::with_capacity(policy.endpoints.len());
        let mut gauges = Vec::with_capacity(policy.endpoints.len());
        for endpoint in &policy.endpoints {
            let mut own = EndpointGauges::new(&endpoint.name);
            endpoints.push(EndpointMetrics::define(endpoint, &mut own)?);
            gauges.push(own);
        }
        let counts = Reason::is_counted_without_endpoint;
        Ok(Self {
            endpoints,
            gauges: Registration::new(root_id, gauges, generation),
            without_endpoint: RequestCounters::define("-", Mode::Enforce, counts)?,
            held_bytes: Gauge::define("webhook_guard_held_bytes")?,
        })
    }

    /// The metrics of an endpoint.
    pub(super) fn endpoint(&self, EndpointIndex(index): EndpointIndex) -> Option<&EndpointMetrics> {
        self.endpoints.get(index)
    }

    /// Counts a verdict.
    pub(super) fn count(&self, endpoint: Option<EndpointIndex>, reason: Reason) {
        let endpoint = endpoint.and_then(|index| self.endpoint(index));
        let requests = endpoint.map_or(&self.without_endpoint, |endpoint| &endpoint.requests);
        requests.count(reason);
    }

    /// Reports that this worker holds `now` bytes of requests, after it reported `before`.
    pub(super) fn report_held(&self, before: u64, now: u64) {
        let _ = self
            .held_bytes
            .add(signed(now).saturating_sub(signed(before)));
    }

    /// Sets the gauges again that follow from the configuration.
    pub(super) fn restate_gauges(&self) {
        self.gauges.restate();
    }
}

impl EndpointMetrics {
    fn define(endpoint: &Endpoint, gauges: &mut EndpointGauges) -> Result<Self, Failure> {
        let endpoint_name = &endpoint.name;
        let name = |metric| name(metric, endpoint_name, "");
        gauges.define(
            "secrets_expire_seconds",
            "",
            Some(endpoint.expiry().metric_value()),
        )?;
        let mut secrets = Vec::with_capacity(endpoint.secrets.len());
        for secret in &endpoint.secrets {
            secrets.push(SecretMetrics::define(endpoint_name, secret, gauges)?);
        }
        let mut memory = None;
        if endpoint.replay.is_some() {
            memory = Some(MemoryMetrics {
                evictions: Counter::define(&name("replay_evictions_total"))?,
                bytes: Gauge::define(&name("replay_memory_bytes"))?,
            });
        }
        let mut lists = None;
        if !endpoint.allow_from.is_empty() {
            lists = Some(ListMetrics::define(endpoint_name, gauges)?);
        }
        let counts = Reason::is_counted_with_endpoint;
        Ok(Self {
            requests: RequestCounters::define(endpoint_name, endpoint.mode, counts)?,
            secrets,
            body_bytes: Histogram::define(&name("body_bytes"))?,
            verify_microseconds: Histogram::define(&name("verify_microseconds"))?,
            memory,
            lists,
        })
    }

    /// Records the size of a body that the guard verified, and how long the guard worked on the request.
    pub(super) fn record_verified(&self, bytes: u64, micros: u64) {
        self.body_bytes.record(bytes);
        self.verify_microseconds.record(micros);
    }

    /// Counts a request that a secret signed, also one that is no longer valid.
    pub(super) fn count_use(&self, SecretIndex(secret): SecretIndex) {
        if let Some(secret) = self.secrets.get(secret) {
            secret.uses.increment();
        }
    }

    /// Counts a request during which a secret had no value.
    pub(super) fn count_missing(&self, SecretIndex(secret): SecretIndex) {
        let secret = self.secrets.get(secret);
        if let Some(missing) = secret.and_then(|secret| secret.missing) {
            missing.increment();
        }
    }

    /// Reports the change of a bucket that had `before` bytes.
    pub(super) fn report_memory(&self, before: usize, change: &Change) {
        let Some(memory) = &self.memory else { return };
        let signed = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let grown = signed(change.bucket.len()).saturating_sub(signed(before));
        let _ = memory.bytes.add(grown);
        if change.evicted > 0 {
            memory.evictions.add(change.evicted);
        }
    }

    /// Counts a fetched allow list.
    pub(super) fn count_fetch(&self, result: Fetched) {
        let Some(lists) = &self.lists else { return };
        match result {
            Fetched::Taken => lists.taken,
            Fetched::Refused => lists.refused,
            Fetched::Failed => lists.failed,
        }
        .increment();
    }

    /// Reports the age of the oldest published list, in milliseconds, and the number of prefixes in all of them.
    pub(super) fn report_lists(&self, age: Monotonic, prefixes: usize) {
        let Some(lists) = &self.lists else { return };
        lists.age_seconds.restate(age / 1_000);
        let prefixes = u64::try_from(prefixes).unwrap_or(u64::MAX);
        lists.prefixes.restate(prefixes);
    }
}

impl RequestCounters {
    fn define(endpoint: &str, mode: Mode, counts: fn(Reason) -> bool) -> Result<Self, Failure> {
        let mut counters = Vec::new();
        for &reason in Reason::ALL.iter().filter(|reason| counts(**reason)) {
            let verdict = reason.outcome(mode).name();
            let labels = [".verdict=", verdict, ".reason=", reason.name()].concat();
            let counter = Counter::define(&name("requests_total", endpoint, &labels))?;
            counters.push((reason, counter));
        }
        Ok(Self(counters))
    }

    fn count(&self, reason: Reason) {
        if let Some((_, counter)) = self.0.iter().find(|(known, _)| *known == reason) {
            counter.increment();
        }
    }
}

impl SecretMetrics {
    fn define(
        endpoint: &str,
        secret: &Secret,
        gauges: &mut EndpointGauges,
    ) -> Result<Self, Failure> {
        let version = [".version=", &secret.version].concat();
        let end = match secret.expiry() {
            Expiry::At(UnixMillis(end)) => end.max(0).unsigned_abs() / 1_000,
            Expiry::Never | Expiry::Revoked => 0,
        };
        gauges.define("secret_not_after_seconds", &version, Some(end))?;
        let counter = |metric| Counter::define(&name(metric, endpoint, &version));
        let missing = match secret.filter_state() {
            Some(_) => Some(counter("secret_missing_total")?),
            None => None,
        };
        Ok(Self {
            uses: counter("secret_uses_total")?,
            missing,
        })
    }
}

impl ListMetrics {
    fn define(endpoint: &str, gauges: &mut EndpointGauges) -> Result<Self, Failure> {
        let fetches = |result| Counter::define(&name("allow_list_fetches_total", endpoint, result));
        Ok(Self {
            taken: fetches(".result=taken")?,
            refused: fetches(".result=refused")?,
            failed: fetches(".result=failed")?,
            age_seconds: gauges.define("allow_list_age_seconds", "", None)?,
            prefixes: gauges.define("allow_list_prefixes", "", None)?,
        })
    }
}

/// The name of an endpoint's metric.
pub(super) fn name(metric: &str, endpoint: &str, labels: &str) -> String {
    ["webhook_guard_", metric, ".endpoint=", endpoint, labels].concat()
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
