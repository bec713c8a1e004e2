//! Tries what may have gone wrong, and collects the causes that were found.

use serde_json::Value;

use super::hypothesis::{Case, Cause};
use super::trial::{self, KnownSecret, Setup, Success};
use crate::cli::request::Request;
use crate::policy::Policy;
use crate::policy::endpoint::Endpoint;
use crate::time::UnixMillis;

/// A cause of a rejection.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) cause: Cause,
    /// The mistake. Never contains a secret or a signature.
    pub(super) detail: String,
    /// How to fix it.
    pub(super) fix: String,
    /// Whether the request verified without the mistake.
    pub(super) is_proven: bool,
}

/// The request to explain, and what is known about it.
#[derive(Clone, Copy)]
pub(super) struct Subject<'a> {
    pub(super) configuration: &'a Value,
    /// The secrets of all endpoints.
    pub(super) secrets: &'a [KnownSecret],
    pub(super) endpoint: &'a Endpoint,
    pub(super) request: &'a Request,
    pub(super) now: UnixMillis,
}

/// The trials of one request.
pub(super) struct Search<'a> {
    pub(super) subject: Subject<'a>,
    /// The endpoint as configured, with the secrets that are valid.
    pub(super) setup: Setup,
    pub(super) found: Vec<Finding>,
    /// How many trials there were.
    pub(super) trials: usize,
    /// The kinds of changes that were tried.
    pub(super) tried: Vec<&'static str>,
    /// The time that the request claims, once a trial has verified it.
    pub(super) time: Option<UnixMillis>,
    /// Whether the request verifies at the time that it claims, so that only that time is wrong.
    pub(super) is_only_time: bool,
    /// The limits of the search in the body, where no body verified.
    pub(super) limits: Vec<&'static str>,
}

impl<'a> Search<'a> {
    pub(super) fn new(subject: Subject<'a>) -> Option<Self> {
        let endpoint = subject.endpoint;
        let is_valid = |known: &&KnownSecret| {
            let mut secrets = endpoint.secrets.iter();
            known.endpoint == endpoint.name
                && secrets.any(|secret| {
                    secret.version == known.version && secret.validity(subject.now).is_ok()
                })
        };
        let valid = subject.secrets.iter().filter(is_valid).cloned();
        let setup = Setup::new(subject.configuration, &endpoint.name, valid.collect())?;
        Some(Self {
            subject,
            setup,
            found: Vec::new(),
            trials: 0,
            tried: Vec::new(),
            time: None,
            is_only_time: false,
            limits: Vec::new(),
        })
    }

    /// The request and its endpoint.
    pub(super) const fn case(&self) -> Case<'a> {
        Case {
            request: self.subject.request,
            endpoint: self.subject.endpoint,
        }
    }

    /// The policy of a setup for the request's method.
    pub(super) fn policy(&self, setup: &Setup) -> Option<Policy> {
        setup.policy(&self.subject.request.method)
    }

    /// Whether a request verifies by a policy.
    pub(super) fn verify(&mut self, policy: &Policy, request: &Request) -> Option<Success> {
        self.trials = self.trials.saturating_add(1);
        let success = trial::verify(policy, request, self.subject.now)?;
        self.time = self.time.or(success.time);
        Some(success)
    }

    /// Whether a request verifies by a setup.
    pub(super) fn try_setup(&mut self, setup: &Setup, request: &Request) -> Option<Success> {
        let policy = self.policy(setup)?;
        self.verify(&policy, request)
    }

    /// Adds a cause that a trial proved.
    pub(super) fn add(&mut self, cause: Cause, detail: impl Into<String>, fix: impl Into<String>) {
        self.found.push(Finding {
            cause,
            detail: detail.into(),
            fix: fix.into(),
            is_proven: true,
        });
    }

    /// Adds a cause that the request shows, and no trial can prove.
    pub(super) fn suspect(
        &mut self,
        cause: Cause,
        detail: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.found.push(Finding {
            cause,
            detail: detail.into(),
            fix: fix.into(),
            is_proven: false,
        });
    }

    /// Sorts the causes, the likeliest first: those with a proof, then the clock, then those without a proof.
    pub(super) fn sort(&mut self) {
        self.found.sort_by_key(|finding| {
            let is_clock = finding.cause == Cause::Clock;
            (!finding.is_proven, is_clock, finding.cause)
        });
    }

    /// Whether a trial has verified the request.
    pub(super) fn is_done(&self) -> bool {
        self.is_only_time || self.found.iter().any(|finding| finding.is_proven)
    }

    /// Whether a cause was found.
    pub(super) fn has(&self, cause: Cause) -> bool {
        self.found.iter().any(|finding| finding.cause == cause)
    }
}
