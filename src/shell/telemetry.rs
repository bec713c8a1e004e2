//! Tells of a verdict: metrics, the access log's filter state, and the log. None of them can change it.

use std::rc::Rc;
use std::time::Duration;

use super::Guard;
use super::host::{self, Failure, Level};
use crate::log_line::Line;
use crate::policy::Policy;
use crate::policy::endpoint::Endpoint;
use crate::request::address::{AddressSource, Client};
use crate::secrets::keyring::Keyring;
use crate::verdict::Outcome;
use crate::verify::Verdict;

/// What a verdict is about: a request, as far as it is known.
pub(super) struct Subject {
    pub(super) guard: Rc<Guard>,
    /// The endpoint's place in the policy.
    pub(super) endpoint: Option<usize>,
    /// Read when something needs it: the allow list, or a line in the log.
    pub(super) client: Option<Client>,
    /// When the headers came, in nanoseconds of the monotonic clock.
    pub(super) started: u64,
    /// When its verification ended, by the same clock.
    pub(super) judged: Option<u64>,
    /// How much of the body was looked at.
    pub(super) body_bytes: u64,
}

impl Subject {
    pub(super) fn new(guard: &Rc<Guard>) -> Self {
        Self {
            guard: Rc::clone(guard),
            endpoint: None,
            client: None,
            started: 0,
            judged: None,
            body_bytes: 0,
        }
    }

    pub(super) fn endpoint(&self) -> Option<&Rc<Endpoint>> {
        self.guard.policy.endpoints.get(self.endpoint?)
    }

    /// The endpoint, with its place in the policy.
    pub(super) fn at<'p>(&self, policy: &'p Policy) -> Option<(usize, &'p Endpoint)> {
        let index = self.endpoint?;
        Some((index, policy.endpoints.get(index)?))
    }

    /// The version of the secret that verified the request.
    pub(super) fn version(&self, verdict: &Verdict) -> Option<&str> {
        let secret = verdict.verified()?.secret();
        Some(&self.endpoint()?.secret(secret)?.version)
    }

    /// Tells of secrets in filter state: of those that are missing by a counter, for each request; of all
    /// that is wrong with them in the log, once.
    pub(super) fn report_keyring(&self, keyring: &Keyring, is_new: bool) {
        let Some(endpoint) = self.endpoint() else {
            return;
        };
        let name = &endpoint.name;
        if is_new && endpoint.filter_states().next().is_some() {
            host::log(
                Level::Info,
                format_args!(
                    "webhook-guard: endpoint {name:?}: secrets in filter state have changed"
                ),
            );
        }
        for note in &keyring.notes {
            if note.is_missing {
                self.guard.metrics.count_missing(self.endpoint, note.secret);
            }
            if is_new && let Some(secret) = endpoint.secret(note.secret) {
                let version = &secret.version;
                host::log(
                    Level::Warn,
                    format_args!(
                        "webhook-guard: endpoint {name:?}, version {version:?}: {}",
                        note.text
                    ),
                );
            }
        }
    }

    /// Tells of a request that was verified, whatever came of it, and how long the guard worked on it.
    pub(super) fn report_verified(&self, micros: u64) {
        let metrics = &self.guard.metrics;
        metrics.note_verified(self.endpoint, self.body_bytes, micros);
    }

    /// Tells all of a verdict.
    pub(super) fn report(&self, verdict: &Verdict) {
        let name = self.endpoint().map_or("-", |endpoint| &endpoint.name);
        let metrics = &self.guard.metrics;
        metrics.count(self.endpoint, verdict.reason());
        if let Some(verified) = verdict.verified() {
            metrics.count_secret(self.endpoint, verified.secret());
        }
        self.set_filter_states(verdict, name);
        self.log(verdict, name);
    }

    /// For the access log, which tells of every request.
    fn set_filter_states(&self, verdict: &Verdict, name: &str) {
        let set = |state, value: &[u8]| {
            let _ = host::set_filter_state(state, value);
        };
        set("webhook_guard_endpoint", name.as_bytes());
        set("webhook_guard_verdict", verdict.outcome().name().as_bytes());
        set("webhook_guard_reason", verdict.reason().name().as_bytes());
        if let Some(version) = self.version(verdict) {
            set("webhook_guard_secret_version", version.as_bytes());
        }
        let verified = verdict.verified();
        if let Some(id) = verified.and_then(|verified| verified.delivery_id()) {
            set("webhook_guard_delivery_id", id);
        }
        if let Some(delivery) = verified.and_then(|verified| verified.delivery()) {
            set("webhook_guard_delivery", delivery.to_string().as_bytes());
        }
    }

    fn log(&self, verdict: &Verdict, name: &str) {
        let level = match verdict.outcome() {
            Outcome::Denied | Outcome::Monitored => Level::Warn,
            Outcome::Accepted | Outcome::Challenged => Level::Info,
            Outcome::Passed => Level::Debug,
        };
        if !host::logs(level) {
            return;
        }
        let now = self.judged.or_else(|| host::monotonic_nanos().ok());
        let now = now.unwrap_or(self.started);
        let suppressed = match level {
            Level::Warn => self.admit(now, verdict.verified().is_some()),
            _ => Some(0),
        };
        let Some(suppressed) = suppressed else { return };
        let client = self.client.or_else(|| self.find_client());
        let verified = verdict.verified();
        let line = Line {
            endpoint: name,
            verdict: verdict.outcome(),
            reason: verdict.reason(),
            status: verdict.response().map(|response| response.status),
            duration: Duration::from_nanos(now.saturating_sub(self.started)),
            client: client.and_then(Client::ip),
            client_untrusted: matches!(client, Some(Client::Untrusted(_))),
            secret_version: self.version(verdict),
            delivery_id: verified.and_then(|verified| verified.delivery_id()),
            delivery: verified.and_then(|verified| verified.delivery()),
            body_bytes: self.body_bytes,
            body_unsigned: self
                .endpoint()
                .is_some_and(|endpoint| !endpoint.signs_bodies()),
            parameter: verdict.parameter(),
            suppressed,
        };
        host::log(level, format_args!("{}", line.to_json()));
    }

    /// Whether the endpoint may write another line, and how many it could not.
    fn admit(&self, now: u64, is_verified: bool) -> Option<u64> {
        let last = self.guard.policy.endpoints.len();
        let limiter = self.guard.limiters.get(self.endpoint.unwrap_or(last))?;
        limiter
            .try_borrow_mut()
            .ok()?
            .admit(now / 1_000_000, is_verified)
    }

    /// The client, where its address decides nothing.
    pub(super) fn find_client(&self) -> Option<Client> {
        let source = self.endpoint().map(|endpoint| &endpoint.client_address);
        client(source.unwrap_or(&AddressSource::Direct)).ok()
    }
}

/// The client, as the host tells it by the way that the endpoint trusts.
pub(super) fn client(source: &AddressSource) -> Result<Client, Failure> {
    let text = match source {
        AddressSource::Direct | AddressSource::Forwarded | AddressSource::ProxyProtocol => {
            host::property(&["source", "address"])
        }
        AddressSource::FilterState(key) => host::filter_state(key),
    };
    Ok(source.client(text?.as_deref()))
}
