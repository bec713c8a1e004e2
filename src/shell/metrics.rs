//! The metrics, all defined with the configuration: the request path neither names nor makes one,
//! and a rate over a counter sees its first event.

use super::host::{self, Failure, Kind};
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

/// What became of a fetched allow list.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fetched {
    Taken,
    /// Its content is no allow list that could be taken.
    Refused,
    /// None came.
    Failed,
}

/// The metrics of an endpoint's published lists.
struct OfLists {
    /// By result, in the order of [`Fetched`].
    fetches: [u32; 3],
    age: u32,
    prefixes: u32,
}

/// How often the generation is read anew that another worker has changed meanwhile.
const ATTEMPTS: usize = 64;

/// The numbers that the host gave the metrics.
pub(super) struct Metrics {
    /// By reason, which with the endpoint's mode determines the outcome: for each endpoint in their
    /// order, and last for requests that belong to none.
    requests: Vec<Vec<(Reason, u32)>>,
    /// By endpoint and secret, in their orders: how often each verified a request, and how often it had no
    /// value; the latter of those in filter state alone.
    secrets: Vec<Vec<(u32, Option<u32>)>>,
    /// By endpoint: what its memory has forgotten before its time, and how large it is.
    memory: Vec<Option<(u32, u32)>>,
    /// By endpoint.
    lists: Vec<Option<OfLists>>,
    /// By endpoint: how large the bodies were that were verified, and how many microseconds it took.
    verified: Vec<(u32, u32)>,
}

impl Metrics {
    /// Defines the metrics of a policy.
    pub(super) fn define(policy: &Policy) -> Result<Self, Failure> {
        let endpoints = policy.endpoints.iter().map(|endpoint| {
            let elsewhere = [Reason::Passed, Reason::PathAmbiguous, Reason::Unmatched];
            let reasons = Reason::ALL
                .iter()
                .filter(|reason| !elsewhere.contains(reason));
            define_requests(&endpoint.name, endpoint.mode, reasons)
        });
        let none = define_requests("-", Mode::Enforce, WITHOUT_ENDPOINT.iter());
        let requests = endpoints.chain([none]).collect::<Result<_, _>>()?;
        let secrets = policy.endpoints.iter().map(|endpoint| {
            let define = |secret: &Secret| {
                let version = &secret.version;
                let define = |what| {
                    let name = format!(
                        "webhook_guard_secret_{what}_total.endpoint={}.version={version}",
                        endpoint.name
                    );
                    host::define_metric(Kind::Counter, &name)
                };
                let missing = secret.filter_state().map(|_| define("missing"));
                Ok((define("uses")?, missing.transpose()?))
            };
            endpoint.secrets.iter().map(define).collect()
        });
        let define = |kind, name: &str, endpoint: &str| {
            host::define_metric(kind, &[name, ".endpoint=", endpoint].concat())
        };
        let verified = policy.endpoints.iter().map(|endpoint| {
            let define = |name| define(Kind::Histogram, name, &endpoint.name);
            Ok((
                define("webhook_guard_body_bytes")?,
                define("webhook_guard_verify_microseconds")?,
            ))
        });
        let memory = policy.endpoints.iter().map(|endpoint| {
            let define = |kind, name| define(kind, name, &endpoint.name);
            let end = define(Kind::Gauge, "webhook_guard_secrets_expire_seconds")?;
            host::record(end, endpoint.expires())?;
            Ok(match endpoint.replay {
                Some(_) => Some((
                    define(Kind::Counter, "webhook_guard_replay_evictions_total")?,
                    define(Kind::Gauge, "webhook_guard_replay_memory_bytes")?,
                )),
                None => None,
            })
        });
        let lists = policy.endpoints.iter().map(|endpoint| {
            Ok(match endpoint.allow_from.is_empty() {
                true => None,
                false => Some(OfLists::define(&endpoint.name)?),
            })
        });
        Ok(Self {
            requests,
            secrets: secrets.collect::<Result<_, _>>()?,
            memory: memory.collect::<Result<_, _>>()?,
            lists: lists.collect::<Result<_, _>>()?,
            verified: verified.collect::<Result<_, _>>()?,
        })
    }

    /// Counts a verdict. A counter that fails changes no verdict.
    pub(super) fn count(&self, endpoint: Option<usize>, reason: Reason) {
        let last = self.secrets.len();
        let counters = self
            .requests
            .get(endpoint.unwrap_or(last))
            .into_iter()
            .flatten();
        for (_, counter) in counters.filter(|(known, _)| *known == reason) {
            let _ = host::increment(*counter, 1);
        }
    }

    /// Counts what became of a bucket that had `before` bytes.
    pub(super) fn remember(&self, endpoint: usize, before: usize, change: &Change) {
        let Some(Some((evictions, size))) = self.memory.get(endpoint) else {
            return;
        };
        let signed = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let grown = signed(change.bucket.len()).saturating_sub(signed(before));
        let _ = host::increment(*size, grown);
        if change.evicted > 0 {
            let _ = host::increment(*evictions, signed(change.evicted));
        }
    }

    /// Counts a fetched list.
    pub(super) fn fetched(&self, endpoint: usize, result: Fetched) {
        if let Some(Some(lists)) = self.lists.get(endpoint) {
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
        if let Some(Some(lists)) = self.lists.get(endpoint) {
            let _ = host::record(lists.age, age / 1_000);
            let _ = host::record(lists.prefixes, u64::try_from(prefixes).unwrap_or(u64::MAX));
        }
    }

    /// Notes the size of a body whose request was verified, whatever came of it, and how long that took.
    pub(super) fn note_verified(&self, endpoint: Option<usize>, bytes: u64, micros: u64) {
        let histograms = endpoint.and_then(|index| self.verified.get(index));
        if let Some((sizes, times)) = histograms {
            let _ = host::record(*sizes, bytes);
            let _ = host::record(*times, micros);
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

    fn secret(&self, endpoint: Option<usize>, secret: usize) -> Option<(u32, Option<u32>)> {
        self.secrets.get(endpoint?)?.get(secret).copied()
    }
}

impl OfLists {
    fn define(endpoint: &str) -> Result<Self, Failure> {
        let define = |kind, name: &str, result: &str| {
            host::define_metric(kind, &[name, ".endpoint=", endpoint, result].concat())
        };
        let fetches = |result| {
            let name = "webhook_guard_allow_list_fetches_total";
            define(Kind::Counter, name, result)
        };
        Ok(Self {
            fetches: [
                fetches(".result=taken")?,
                fetches(".result=refused")?,
                fetches(".result=failed")?,
            ],
            age: define(Kind::Gauge, "webhook_guard_allow_list_age_seconds", "")?,
            prefixes: define(Kind::Gauge, "webhook_guard_allow_list_prefixes", "")?,
        })
    }
}

fn define_requests<'r>(
    endpoint: &str,
    mode: Mode,
    reasons: impl Iterator<Item = &'r Reason>,
) -> Result<Vec<(Reason, u32)>, Failure> {
    let define = |reason: &Reason| {
        let name = format!(
            "webhook_guard_requests_total.endpoint={endpoint}.verdict={}.reason={}",
            mode.outcome(*reason).name(),
            reason.name()
        );
        Ok((*reason, host::define_metric(Kind::Counter, &name)?))
    };
    reasons.map(define).collect()
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
