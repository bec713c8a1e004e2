//! Reports a verdict: metrics, filter state for the access log, and the log. A failing report changes no verdict.

use std::rc::Rc;
use std::time::Duration;

use super::Guard;
use super::exchange::chunks;
use super::host::{self, Failure, Level, Map};
use super::metrics::EndpointMetrics;
use crate::ascii_json::add_text;
use crate::crypto::BodyHash;
use crate::crypto::encoding::Encoding;
use crate::diagnosis::{self, Seen};
use crate::log_line::{EVENT, Line};
use crate::policy::EndpointIndex;
use crate::policy::endpoint::Endpoint;
use crate::policy::outputs::FilterState;
use crate::request::address::{AddressSource, Client};
use crate::request::headers::{Headers, split_pairs};
use crate::secrets::Keyring;
use crate::time::{UnixMillis, UnixNanos};
use crate::verdict::Outcome;
use crate::verify::Verdict;

/// The part of a request that reports of its verdict need.
pub(super) struct RequestContext {
    pub(super) guard: Rc<Guard>,
    pub(super) matched: Option<Matched>,
    /// Read when something needs it: the allow list, or a line in the log.
    pub(super) client: Option<Client>,
    /// When the headers arrived.
    pub(super) arrived: Option<UnixNanos>,
    /// The time of the last judgement.
    pub(super) now: Option<UnixMillis>,
    /// The client sent a content-length.
    pub(super) has_length: bool,
    /// How many bytes of the body the guard has read.
    pub(super) body_bytes: u64,
    /// The guard has read the body to its end.
    pub(super) has_whole_body: bool,
}

/// The endpoint that a request belongs to.
pub(super) struct Matched {
    pub(super) index: EndpointIndex,
    pub(super) endpoint: Rc<Endpoint>,
}

impl RequestContext {
    pub(super) fn new(guard: &Rc<Guard>) -> Self {
        Self {
            guard: Rc::clone(guard),
            matched: None,
            client: None,
            arrived: None,
            now: None,
            has_length: false,
            body_bytes: 0,
            has_whole_body: false,
        }
    }

    pub(super) fn endpoint(&self) -> Option<&Endpoint> {
        Some(&self.matched.as_ref()?.endpoint)
    }

    fn index(&self) -> Option<EndpointIndex> {
        Some(self.matched.as_ref()?.index)
    }

    fn metrics(&self) -> Option<&EndpointMetrics> {
        self.guard.metrics.endpoint(self.index()?)
    }

    /// The version of the secret that verified the request.
    pub(super) fn version(&self, verdict: &Verdict) -> Option<&str> {
        let secret = verdict.verified()?.secret();
        Some(&self.endpoint()?.secret(secret)?.version)
    }

    /// Reports secrets in filter state: a counter counts each request for which one is missing, and the log names
    /// faults when they change.
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
            if note.is_missing
                && let Some(metrics) = self.metrics()
            {
                metrics.count_missing(note.secret);
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

    /// Reports a verified request, whatever its verdict, and how long the guard worked on it.
    pub(super) fn report_verified(&self, micros: u64) {
        if let Some(metrics) = self.metrics() {
            metrics.record_verified(self.body_bytes, micros);
        }
    }

    /// Reports a verdict.
    pub(super) fn report(&self, verdict: &Verdict) {
        let name = self.endpoint().map_or("-", |endpoint| &endpoint.name);
        self.guard.metrics.count(self.index(), verdict.reason());
        if let Some(verified) = verdict.verified()
            && let Some(metrics) = self.metrics()
        {
            metrics.count_use(verified.secret());
        }
        self.set_filter_states(verdict, name);
        self.log(verdict, name);
    }

    /// Sets the filter state for the access log.
    fn set_filter_states(&self, verdict: &Verdict, name: &str) {
        let set = |state, value: &[u8]| {
            let _ = host::set_filter_state(state, value);
        };
        let outputs = &self.guard.policy.outputs;
        if outputs.has_state(FilterState::Verdict) {
            set("webhook_guard_verdict", verdict.outcome().name().as_bytes());
        }
        if outputs.has_state(FilterState::Endpoint) {
            set("webhook_guard_endpoint", name.as_bytes());
        }
        if outputs.has_state(FilterState::Reason) {
            set("webhook_guard_reason", verdict.reason().name().as_bytes());
        }
        if outputs.has_state(FilterState::SecretVersion)
            && let Some(version) = self.version(verdict)
        {
            set("webhook_guard_secret_version", version.as_bytes());
        }
        let verified = verdict.verified();
        if outputs.has_state(FilterState::DeliveryId)
            && let Some(id) = verified.and_then(|verified| verified.delivery_id())
        {
            set("webhook_guard_delivery_id", id);
        }
        if outputs.has_state(FilterState::Delivery)
            && let Some(delivery) = verified.and_then(|verified| verified.delivery())
        {
            set("webhook_guard_delivery", delivery.to_string().as_bytes());
        }
    }

    /// Writes the verdict's line, or else marks the request for the access log.
    fn log(&self, verdict: &Verdict, name: &str) {
        let settings = self.guard.policy.log;
        let level = match verdict.outcome() {
            Outcome::Denied | Outcome::Monitored => Level::Warn,
            Outcome::Accepted | Outcome::Challenged if !settings.accepted_at_debug => Level::Info,
            Outcome::Accepted | Outcome::Challenged | Outcome::Passed => Level::Debug,
        };
        // The level may have changed since the guard read it. The host drops a line below it, and the access log then needs
        // the mark.
        let is_marked = settings.accepted_at_debug && self.guard.logs(level);
        if level == Level::Warn || is_marked {
            self.guard.read_level();
        }
        let is_written = self.guard.logs(level) && self.write_line(level, verdict, name).is_some();
        if settings.accepted_at_debug && !is_written {
            let _ = host::set_filter_state("webhook_guard_event", EVENT.as_bytes());
        }
    }

    /// Writes the verdict's line, unless the endpoint has too many.
    fn write_line(&self, level: Level, verdict: &Verdict, name: &str) -> Option<()> {
        let suppressed = match level {
            Level::Warn => self.admit(verdict.verified().is_some()),
            _ => Some(0),
        }?;
        let client = self.client.or_else(|| self.find_client());
        let verified = verdict.verified();
        let line = Line {
            endpoint: name,
            verdict: verdict.outcome(),
            reason: verdict.reason(),
            status: verdict.response().map(|response| response.status),
            duration: self.duration().unwrap_or_default(),
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
            diagnosis: self.diagnosis(verdict).unwrap_or_default(),
            suppressed,
        };
        host::log_text(level, &line.to_json());
        Some(())
    }

    /// The evidence for the cause of a rejection. Only lines that are written cost the calls for it.
    fn diagnosis(&self, verdict: &Verdict) -> Option<String> {
        let Verdict::Fail(rejection) = verdict else {
            return None;
        };
        if !diagnosis::explains(rejection.denial) {
            return None;
        }
        let endpoint = self.endpoint()?;
        let map = host::header_map(Map::RequestHeaders).ok()?;
        let pairs = split_pairs(&map)?;
        let seen = Seen {
            headers: Headers::new(&pairs),
            has_length: self.has_length,
            body: self.has_whole_body.then_some(self.body_bytes),
            now: self.now?,
        };
        let mut fields = diagnosis::diagnose(endpoint, rejection, &seen);
        let hash = match self.guard.logs(Level::Debug) {
            true => seen.body.and_then(body_sha256).unwrap_or_default(),
            false => String::new(),
        };
        add_text(&mut fields, "body_sha256", hash.as_bytes());
        Some(fields)
    }

    /// The number of lines that the endpoint left out, `None` if it must leave out this one too.
    fn admit(&self, is_verified: bool) -> Option<u64> {
        let limiter = match self.index() {
            Some(EndpointIndex(index)) => self.guard.limiters.get(index)?,
            None => &self.guard.limiter_without_endpoint,
        };
        // Without a clock, the limit stays as it is.
        let now = host::monotonic().unwrap_or_default();
        limiter.try_borrow_mut().ok()?.admit(now, is_verified)
    }

    /// The time since the headers arrived.
    fn duration(&self) -> Option<Duration> {
        Some(host::now().ok()?.since(self.arrived?))
    }

    /// The client, if its address does not decide the verdict.
    pub(super) fn find_client(&self) -> Option<Client> {
        let source = self.endpoint().map(|endpoint| &endpoint.client_address);
        client(source.unwrap_or(&AddressSource::Direct)).ok()
    }
}

/// The client, by the source of addresses that the endpoint trusts.
pub(super) fn client(source: &AddressSource) -> Result<Client, Failure> {
    let text = match source {
        AddressSource::Direct | AddressSource::Forwarded | AddressSource::ProxyProtocol => {
            host::property("source\0address")
        }
        AddressSource::FilterState(key) => host::filter_state(key),
    };
    Ok(source.client(text?.as_deref()))
}

/// The SHA-256 of the body that the host buffers, for an operator who compares it with the sender's. Computed only if the
/// host writes debug lines, since a large body costs milliseconds.
fn body_sha256(size: u64) -> Option<String> {
    let mut hash = BodyHash::default();
    for (start, length) in chunks(0, usize::try_from(size).ok()?) {
        hash.update(&host::body(start, length).ok()?);
    }
    Encoding::Hex.encode(&hash.finish())
}
