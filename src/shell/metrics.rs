//! The metrics, all defined with the configuration: the request path neither names nor makes one,
//! and a rate over a counter sees its first event.

use super::host::{self, Failure, Kind};
use crate::duration::UnixMillis;
use crate::endpoint::Endpoint;
use crate::generation::Generation;
use crate::policy::Policy;
use crate::replay::Change;
use crate::secret::Secret;
use crate::verdict::{Mode, Reason};

/// What requests that belong to no endpoint can come to.
const WITHOUT_ENDPOINT: &[Reason] = &[
    Reason::Passed,
    Reason::PathAmbiguous,
    Reason::Unmatched,
    Reason::UpgradeRefused,
    Reason::HostError,
    Reason::Incomplete,
];

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
    /// In the order of the policy.
    endpoints: Vec<OfEndpoint>,
    /// Of requests that belong to no endpoint.
    elsewhere: Requests,
}

/// The counters of requests. The reason and the endpoint's mode determine the outcome.
struct Requests(Vec<(Reason, Metric)>);

/// The metrics of an endpoint.
struct OfEndpoint {
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

/// The metrics of an endpoint's published lists.
struct OfLists {
    /// By result, in the order of [`Fetched`].
    fetches: [Metric; 3],
    age: Metric,
    prefixes: Metric,
}

impl Metrics {
    /// Defines the metrics of a policy.
    pub(super) fn define(policy: &Policy) -> Result<Self, Failure> {
        let mut endpoints = Vec::new();
        for endpoint in &policy.endpoints {
            endpoints.push(OfEndpoint::define(endpoint)?);
        }
        Ok(Self {
            endpoints,
            elsewhere: Requests::define("-", Mode::Enforce, |reason| {
                WITHOUT_ENDPOINT.contains(&reason)
            })?,
        })
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
    pub(super) fn count_secret(&self, endpoint: Option<usize>, secret: usize) {
        if let Some((uses, _)) = self.secret(endpoint, secret) {
            let _ = host::increment(uses, 1);
        }
    }

    /// Counts a request that came while a secret had no value.
    pub(super) fn count_missing(&self, endpoint: Option<usize>, secret: usize) {
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
            let _ = host::record(lists.age, age / 1_000);
            let _ = host::record(lists.prefixes, u64::try_from(prefixes).unwrap_or(u64::MAX));
        }
    }

    fn of(&self, endpoint: Option<usize>) -> Option<&OfEndpoint> {
        self.endpoints.get(endpoint?)
    }

    fn secret(&self, endpoint: Option<usize>, secret: usize) -> Option<(Metric, Option<Metric>)> {
        self.of(endpoint)?.secrets.get(secret).copied()
    }

    fn lists(&self, endpoint: usize) -> Option<&OfLists> {
        self.of(Some(endpoint))?.lists.as_ref()
    }
}

impl OfEndpoint {
    fn define(endpoint: &Endpoint) -> Result<Self, Failure> {
        let name = &endpoint.name;
        let define = |kind, metric| define(kind, metric, name, "");
        let end = define(Kind::Gauge, "secrets_expire_seconds")?;
        host::record(end, endpoint.expires())?;
        let mut secrets = Vec::new();
        for secret in &endpoint.secrets {
            secrets.push(define_secret(name, secret)?);
        }
        let mut memory = None;
        if endpoint.replay.is_some() {
            memory = Some((
                define(Kind::Counter, "replay_evictions_total")?,
                define(Kind::Gauge, "replay_memory_bytes")?,
            ));
        }
        let mut lists = None;
        if !endpoint.allow_from.is_empty() {
            lists = Some(OfLists::define(name)?);
        }
        Ok(Self {
            requests: Requests::define(name, endpoint.mode, |reason| {
                let elsewhere = [Reason::Passed, Reason::PathAmbiguous, Reason::Unmatched];
                !elsewhere.contains(&reason)
            })?,
            secrets,
            verified: (
                define(Kind::Histogram, "body_bytes")?,
                define(Kind::Histogram, "verify_microseconds")?,
            ),
            memory,
            lists,
        })
    }
}

impl OfLists {
    fn define(endpoint: &str) -> Result<Self, Failure> {
        let fetches = |result| {
            let name = "allow_list_fetches_total";
            define(Kind::Counter, name, endpoint, result)
        };
        Ok(Self {
            fetches: [
                fetches(".result=taken")?,
                fetches(".result=refused")?,
                fetches(".result=failed")?,
            ],
            age: define(Kind::Gauge, "allow_list_age_seconds", endpoint, "")?,
            prefixes: define(Kind::Gauge, "allow_list_prefixes", endpoint, "")?,
        })
    }
}

impl Requests {
    fn define(endpoint: &str, mode: Mode, can_be: fn(Reason) -> bool) -> Result<Self, Failure> {
        let mut counters = Vec::new();
        for &reason in Reason::ALL.iter().filter(|reason| can_be(**reason)) {
            let outcome = mode.outcome(reason).name();
            let labels = [".verdict=", outcome, ".reason=", reason.name()].concat();
            let counter = define(Kind::Counter, "requests_total", endpoint, &labels)?;
            counters.push((reason, counter));
        }
        Ok(Self(counters))
    }
}

fn define_secret(endpoint: &str, secret: &Secret) -> Result<(Metric, Option<Metric>), Failure> {
    let version = [".version=", &secret.version].concat();
    let define = |kind, metric| define(kind, metric, endpoint, &version);
    let end = secret.end().map_or(0, |UnixMillis(end)| end.max(0));
    let gauge = define(Kind::Gauge, "secret_not_after_seconds")?;
    host::record(gauge, end.unsigned_abs() / 1_000)?;
    let missing = match secret.filter_state() {
        Some(_) => Some(define(Kind::Counter, "secret_missing_total")?),
        None => None,
    };
    Ok((define(Kind::Counter, "secret_uses_total")?, missing))
}

/// Defines a metric, whose labels stand in its name: see `stats_config` in envoy/.
fn define(kind: Kind, metric: &str, endpoint: &str, labels: &str) -> Result<Metric, Failure> {
    let name = ["webhook_guard_", metric, ".endpoint=", endpoint, labels].concat();
    host::define_metric(kind, &name)
}

/// Notes that this thread has read a configuration.
pub(super) fn note_generation(root_id: &str, configuration: &[u8]) -> Result<(), Failure> {
    let number = host::define_metric(Kind::Gauge, "webhook_guard_configuration_generation")?;
    let loads = host::define_metric(Kind::Gauge, "webhook_guard_configuration_loads")?;
    let key = format!("webhook_guard/{root_id}/generation");
    for _ in 0..ATTEMPTS {
        let (before, version) = host::shared_data(&key)?.unwrap_or_default();
        let generation = Generation::after(&before, configuration);
        if host::swap_shared_data(&key, &generation.to_bytes(), version)? {
            host::record(number, generation.number)?;
            // The first to read one is alone, those after it are not.
            return match generation.loads {
                1 => host::record(loads, 1),
                _ => host::increment(loads, 1),
            };
        }
    }
    Err(Failure)
}
