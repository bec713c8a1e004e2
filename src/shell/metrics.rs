//! The counters, all defined with the configuration: the request path neither names nor makes one,
//! and a rate over a counter sees its first event.

use super::host::{self, Failure};
use crate::policy::Policy;
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

/// The numbers that the host gave the counters.
pub(super) struct Metrics {
    /// By reason, which with the endpoint's mode determines the outcome: for each endpoint in their
    /// order, and last for requests that belong to none.
    requests: Vec<Vec<(Reason, u32)>>,
    /// By endpoint and secret, in their orders.
    secret_uses: Vec<Vec<u32>>,
}

impl Metrics {
    /// Defines the counters of a policy.
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
        let secret_uses = policy.endpoints.iter().map(|endpoint| {
            let define = |secret: &crate::secret::Secret| {
                host::define_counter(&format!(
                    "webhook_guard_secret_uses_total.endpoint={}.version={}",
                    endpoint.name, secret.version
                ))
            };
            endpoint.secrets.iter().map(define).collect()
        });
        Ok(Self {
            requests,
            secret_uses: secret_uses.collect::<Result<_, _>>()?,
        })
    }

    /// Counts a verdict. A counter that fails changes no verdict.
    pub(super) fn count(&self, endpoint: Option<usize>, reason: Reason) {
        let last = self.secret_uses.len();
        let counters = self
            .requests
            .get(endpoint.unwrap_or(last))
            .into_iter()
            .flatten();
        for (_, counter) in counters.filter(|(known, _)| *known == reason) {
            let _ = host::increment(*counter);
        }
    }

    /// Counts a secret that verified a request, also one that may no longer be used.
    pub(super) fn count_secret(&self, endpoint: Option<usize>, secret: usize) {
        let counters = endpoint.and_then(|index| self.secret_uses.get(index));
        if let Some(counter) = counters.and_then(|counters| counters.get(secret)) {
            let _ = host::increment(*counter);
        }
    }
}

fn define_requests<'r>(
    endpoint: &str,
    mode: Mode,
    reasons: impl Iterator<Item = &'r Reason>,
) -> Result<Vec<(Reason, u32)>, Failure> {
    let define = |reason: &Reason| {
        let counter = host::define_counter(&format!(
            "webhook_guard_requests_total.endpoint={endpoint}.verdict={}.reason={}",
            mode.outcome(*reason).name(),
            reason.name()
        ))?;
        Ok((*reason, counter))
    };
    reasons.map(define).collect()
}
