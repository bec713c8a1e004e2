//! One request: reads from the host what the core asks for, and carries out the verdict.

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use super::Guard;
use super::host::{self, Action, Failure, Map};
use super::leases;
use super::memory::NotAcquired;
use super::stopwatch::Stopwatch;
use super::telemetry::{Matched, RequestContext, client};
use crate::held_requests::{self, Network, Place};
use crate::policy::Route;
use crate::policy::endpoint::unwanted_headers;
use crate::policy::outputs::UpstreamHeader;
use crate::replay::Lease;
use crate::request::address::Client;
use crate::request::headers::{Ambiguous, Headers, split_pairs};
use crate::time::{Moment, UnixMillis};
use crate::upstream::{self, Delivered};
use crate::verdict::{Denial, Outcome, Reason};
use crate::verify::{Finish, Head, Verdict, Verification};

/// The most bytes of a body that one call copies from the host.
const CHUNK: usize = 64 * 1024;

/// How the names of the trailers begin that Envoy's decompressor adds to each request that it decompresses.
const DECOMPRESSOR: &[u8] = b"x-envoy-decompressor-";

/// A request, from its headers to its end. Other lists of requests refer to it weakly.
pub(super) type SharedExchange = Rc<RefCell<Exchange>>;

/// A reference of such a list.
pub(super) type WeakExchange = Weak<RefCell<Exchange>>;

/// A request, from its headers to its end.
pub(super) struct Exchange {
    pub(super) id: u32,
    context: RequestContext,
    /// Envoy takes the request for a gRPC call, and sends answers in the form of gRPC: the status 200, with the failure in
    /// `grpc-status`. A sender of webhooks takes that for a success.
    is_grpc: bool,
    /// The lease of the delivery, until the memory knows how the upstream answered.
    lease: Option<Lease>,
    /// How many bytes of the body the host holds.
    buffered: usize,
    /// The request has ended.
    ended: bool,
    stopwatch: Stopwatch,
    /// The memory that the head costs while the request is held, in bytes.
    head_cost: u64,
    /// The request's place among the held requests of the worker.
    pub(super) place: Option<Place>,
    state: State,
}

enum State {
    /// The guard has not seen the headers yet.
    New,
    /// The host holds the request. The number says how many bytes of the body the guard has read.
    Held(Box<Verification>, usize),
    /// The request is on its way upstream.
    Released,
    /// The guard has answered the request.
    Denied,
}

/// The next step for a request whose head does not decide a verdict.
enum Begun {
    /// The guard verifies the request.
    Verification(Box<Verification>),
    /// The guard answers the request, which gets no verdict.
    HealthCheck,
}

/// A request has one method, one path and one host, or the host has failed.
impl From<Ambiguous> for Verdict {
    fn from(Ambiguous: Ambiguous) -> Self {
        Failure.into()
    }
}

/// The host's failure is a denial.
impl From<Failure> for Verdict {
    fn from(Failure: Failure) -> Self {
        Self::deny(Denial::HostError)
    }
}

impl Exchange {
    pub(super) fn new(id: u32, guard: &Rc<Guard>) -> Self {
        Self {
            id,
            context: RequestContext::new(guard),
            is_grpc: false,
            lease: None,
            buffered: 0,
            ended: false,
            stopwatch: Stopwatch::default(),
            head_cost: 0,
            place: None,
            state: State::New,
        }
    }

    pub(super) const fn guard(&self) -> &Rc<Guard> {
        &self.context.guard
    }

    /// The memory that the request costs, in bytes, if it is held.
    pub(super) fn held(&self) -> Option<u64> {
        match self.state {
            State::Held(..) => Some(self.head_cost.saturating_add(bytes(self.buffered))),
            State::New | State::Released | State::Denied => None,
        }
    }

    /// The network of the client. The request must be the host's effective context.
    pub(super) fn network(&self) -> Network {
        let client = self.context.client.or_else(|| self.context.find_client());
        held_requests::network(client.unwrap_or(Client::Absent))
    }

    pub(super) fn headers(&mut self, end_of_stream: bool) -> Action {
        match std::mem::replace(&mut self.state, State::Denied) {
            State::New => {}
            // The host calls once. A second verdict would be counted twice.
            other => return self.unchanged(other, end_of_stream),
        }
        self.ended = end_of_stream;
        match self.begin() {
            Ok(Begun::Verification(verification)) if end_of_stream => self.finish(verification),
            Ok(Begun::Verification(verification)) => self.hold(verification, 0),
            Ok(Begun::HealthCheck) => answer_health_check(),
            Err(verdict) => self.conclude(verdict),
        }
    }

    /// Notes when the headers arrived. Of the requests that are measured, the first callback starts the stopwatch.
    fn arrive(&mut self) -> Result<UnixMillis, Failure> {
        let now = host::now()?;
        self.context.arrived = Some(now);
        self.context.now = Some(now.millis());
        if self.guard().sampler.selects(now) {
            self.stopwatch.use_and_start();
            self.guard().read_level();
        }
        Ok(now.millis())
    }

    /// Reads the wall clock, by which the last callback judges everything that depends on time.
    fn read_clock(&mut self) -> Result<(), Failure> {
        self.context.now = Some(host::now()?.millis());
        Ok(())
    }

    /// Judges the head of the request. The error is a verdict that does not need the body.
    fn begin(&mut self) -> Result<Begun, Verdict> {
        let now = self.arrive()?;
        let map = host::header_map(Map::RequestHeaders)?;
        let pairs = split_pairs(&map).ok_or(Failure)?;
        let headers = Headers::new(&pairs);
        self.is_grpc = headers.is_grpc();
        self.context.has_length = headers.has_length();
        let guard = Rc::clone(self.guard());
        let route = guard.policy.route(
            headers.method()?.unwrap_or_default(),
            headers.target()?,
            headers.authority()?.unwrap_or_default(),
            headers.upgrades(),
        );
        let (index, endpoint) = match route {
            Route::Guarded(index, endpoint) => (index, endpoint),
            Route::HealthCheck => return Ok(Begun::HealthCheck),
            Route::Pass => {
                scrub(Map::RequestHeaders, &unwanted_headers(&headers, None))?;
                return Err(Verdict::Pass);
            }
            Route::Deny(denial) => return Err(Verdict::deny(denial)),
        };
        self.context.matched = Some(Matched {
            index,
            endpoint: Rc::clone(endpoint),
        });
        scrub(
            Map::RequestHeaders,
            &unwanted_headers(&headers, Some(endpoint)),
        )?;
        if endpoint.lists_clients() {
            self.context.client = Some(client(&endpoint.client_address)?);
        }
        let mut values = Vec::new();
        for key in endpoint.filter_states() {
            values.push(host::filter_state(key)?);
        }
        let (keyring, is_new) = endpoint.keyring(values);
        self.context.report_keyring(&keyring, is_new);
        let client = self.context.client.unwrap_or(Client::Absent);
        let verification = guard.lists.with(index, |published| {
            let head = Head {
                headers,
                client,
                now,
                published,
                keyring: &keyring,
            };
            Verification::begin(endpoint, &head)
        })?;
        self.head_cost = held_requests::head_cost(pairs.len(), map.len(), verification.kept());
        Ok(Begun::Verification(verification))
    }

    /// Takes a part of the body. The host has `size` bytes of it, with those of earlier callbacks.
    pub(super) fn body(&mut self, size: usize, end_of_stream: bool) -> Action {
        let (mut verification, seen) = match std::mem::replace(&mut self.state, State::Denied) {
            State::Held(verification, seen) => (verification, seen),
            other => return self.unchanged(other, end_of_stream),
        };
        self.ended = end_of_stream;
        self.buffered = size;
        self.guard().holds.prove();
        if !end_of_stream && can_wait(&verification, seen, size) {
            self.context.body_bytes = bytes(size);
            return self.hold(verification, seen);
        }
        self.stopwatch.start();
        match self.read_body(&mut verification, seen, size) {
            Ok(()) if end_of_stream => match self.read_clock() {
                Ok(()) => self.finish(verification),
                Err(failure) => self.conclude(failure.into()),
            },
            Ok(()) => self.hold(verification, size),
            Err(verdict) => self.conclude(verdict),
        }
    }

    fn hold(&mut self, verification: Box<Verification>, seen: usize) -> Action {
        self.state = State::Held(verification, seen);
        self.stopwatch.stop();
        Action::Pause
    }

    /// Reads the bytes of the body from `seen` to `size`.
    fn read_body(
        &mut self,
        verification: &mut Verification,
        seen: usize,
        size: usize,
    ) -> Result<(), Verdict> {
        for (start, length) in chunks(seen, size) {
            let result = verification.body(&host::body(start, length)?);
            self.context.body_bytes = verification.received();
            result?;
        }
        Ok(())
    }

    /// Rejects trailers, except for those of Envoy's decompressor. No sender uses them and no signature covers them. Where
    /// filters behind the guard pass a body on in pieces and wait, Envoy cuts the body of a request that has trailers.
    pub(super) fn trailers(&mut self) -> Action {
        match std::mem::replace(&mut self.state, State::Denied) {
            State::Held(mut verification, seen) => {
                self.ended = true;
                self.stopwatch.start();
                let read = self
                    .remove_decompressor_trailers()
                    .and_then(|()| self.read_body(&mut verification, seen, self.buffered));
                match read {
                    Ok(()) => self.finish(verification),
                    Err(verdict) => self.conclude(verdict),
                }
            }
            // A request without an endpoint keeps its trailers, except for names that must not reach the upstream.
            State::Released if scrub_trailers().is_err() => deny(),
            other => self.unchanged(other, true),
        }
    }

    /// Removes the trailers in which Envoy's decompressor reports its counts. The error is the verdict on all others.
    fn remove_decompressor_trailers(&mut self) -> Result<(), Verdict> {
        let endpoint = self.context.endpoint();
        if !endpoint.is_some_and(|endpoint| endpoint.is_decompressed) {
            return Err(Verdict::deny(Denial::TrailersRefused));
        }
        let map = host::header_map(Map::RequestTrailers)?;
        let pairs = split_pairs(&map).ok_or(Failure)?;
        let names: Vec<_> = pairs.iter().map(|(name, _)| *name).collect();
        if !names.iter().all(|name| name.starts_with(DECOMPRESSOR)) {
            return Err(Verdict::deny(Denial::TrailersRefused));
        }
        scrub(Map::RequestTrailers, &names)?;
        self.read_clock()?;
        Ok(())
    }

    /// The action of a callback that leaves the state as it is.
    fn unchanged(&mut self, state: State, end_of_stream: bool) -> Action {
        let action = match state {
            // Envoy 1.36 accepts trailers after the end of an HTTP/2 request. It would append them to the complete
            // request that the upstream has, where they begin another one.
            State::Released if self.ended => deny(),
            State::Released => Action::Continue,
            State::New | State::Held(..) | State::Denied => Action::Pause,
        };
        self.ended |= end_of_stream;
        self.state = state;
        action
    }

    /// Judges a request whose body has ended.
    fn finish(&mut self, verification: Box<Verification>) -> Action {
        self.context.has_whole_body = true;
        match self.verify(verification) {
            Ok(verdict) => {
                self.stopwatch.stop();
                if let Some(micros) = self.stopwatch.micros() {
                    self.context.report_verified(micros);
                }
                self.conclude(verdict)
            }
            Err(failure) => self.conclude(failure.into()),
        }
    }

    /// The verdict on a request. Some need its body once more.
    fn verify(&self, verification: Box<Verification>) -> Result<Verdict, Failure> {
        let now = self.context.now.ok_or(Failure)?;
        let mut second_pass = match verification.finish(now) {
            Finish::Done(verdict) => return Ok(verdict),
            Finish::NeedsBody(second_pass) => second_pass,
        };
        let size = usize::try_from(second_pass.missing()).unwrap_or(usize::MAX);
        for (start, length) in chunks(0, size) {
            second_pass.body(&host::body(start, length)?);
        }
        Ok(second_pass.finish())
    }

    /// Rejects the request if it is still held.
    pub(super) fn reject_held(&mut self, denial: Denial) {
        if self.is_held() {
            self.conclude(Verdict::deny(denial));
        }
    }

    pub(super) const fn is_held(&self) -> bool {
        matches!(self.state, State::Held(..))
    }

    /// The request is over, with or without a verdict.
    pub(super) fn end(&mut self) {
        self.guard().holds.forget(self.id);
        leases::forget(self.id);
        if matches!(self.state, State::New) {
            // Envoy or an earlier filter answered the request before the guard saw it.
            self.context.arrived = host::now().ok();
        }
        if matches!(self.state, State::New | State::Held(..)) {
            self.conclude(Verdict::deny(Denial::Incomplete));
        }
        if self.lease.is_some() {
            match delivered() {
                Ok(Delivered::Yes) => self.complete_lease(),
                Ok(Delivered::No) => self.release_lease(),
                // The lease stays until it expires, so that copies whose clients leave do not multiply.
                Ok(Delivered::Unknown) | Err(Failure) => {}
            }
        }
    }

    /// Asks the memory whether a verified delivery may go upstream, and acquires its lease.
    fn reject_duplicate(&mut self, verdict: Verdict) -> Result<Verdict, Failure> {
        let Some(matched) = &self.context.matched else {
            return Ok(verdict);
        };
        let Some(check) = verdict.replay_check(&matched.endpoint) else {
            return Ok(verdict);
        };
        let now = host::moment_at(self.context.now.ok_or(Failure)?)?;
        let guard = self.guard();
        let denial = if check.acquires {
            match guard.memory.acquire(matched, &check, now, &guard.metrics) {
                Ok(lease) => {
                    self.lease = Some(lease);
                    return Ok(verdict);
                }
                Err(NotAcquired::Rejected(denial)) => Some(denial),
                Err(NotAcquired::Host(failure)) => return Err(failure),
            }
        } else {
            guard.memory.lookup(&matched.endpoint.name, &check, now)?
        };
        Ok(match denial {
            Some(denial) => verdict.reject_duplicate(&matched.endpoint, denial),
            None => verdict,
        })
    }

    pub(super) const fn has_lease(&self) -> bool {
        self.lease.is_some()
    }

    /// Renews the lease if half of it has passed.
    pub(super) fn renew_lease(&mut self, now: Moment) {
        if let Some(lease) = &mut self.lease
            && let Some(matched) = &self.context.matched
        {
            let guard = &self.context.guard;
            guard.memory.renew(matched, lease, now, &guard.metrics);
        }
    }

    /// The upstream has confirmed the delivery: copies are rejected from now on.
    fn complete_lease(&mut self) {
        if let Some(lease) = self.lease.take()
            && let Some(matched) = &self.context.matched
        {
            let guard = self.guard();
            guard.memory.complete(matched, &lease, &guard.metrics);
        }
    }

    /// The upstream has not taken the delivery, which may arrive again.
    pub(super) fn release_lease(&mut self) {
        if let Some(lease) = self.lease.take()
            && let Some(matched) = &self.context.matched
        {
            let guard = self.guard();
            guard.memory.release(matched, &lease, &guard.metrics);
        }
    }

    /// Carries out the verdict, and reports it.
    fn conclude(&mut self, verdict: Verdict) -> Action {
        let verdict = self.reject_duplicate(verdict).and_then(|verdict| {
            self.mark(&verdict)?;
            Ok(verdict)
        });
        let verdict = verdict.unwrap_or_else(|failure| {
            self.release_lease();
            failure.into()
        });
        // The answer drops the body, whose hash the report may need.
        self.context.report(&verdict);
        if matches!(verdict.outcome(), Outcome::Denied | Outcome::Challenged) {
            self.state = State::Denied;
            self.answer(&verdict);
            Action::Pause
        } else {
            self.state = State::Released;
            Action::Continue
        }
    }

    /// Sends the answer to a handshake or to a denied sender.
    fn answer(&mut self, verdict: &Verdict) {
        if self.buffered > 0 {
            // A client that reads no answer keeps the request alive, with a body that no account counts any longer. If
            // the call fails, Envoy's timeouts end the request.
            let _ = host::clear_body(self.buffered);
        }
        if let Some(answer) = verdict.answer() {
            let mut headers = vec![
                ("content-type", answer.content_type),
                // Browsers must not show text from a sender as a page.
                ("x-content-type-options", "nosniff"),
                ("cache-control", "no-store"),
            ];
            let own = answer.headers.iter();
            headers.extend(own.map(|(name, value)| (name.as_str(), value.as_str())));
            let details = verdict.reason().name();
            let _ = host::respond(answer.status, details, &headers, &answer.body);
        }
        if let Some(response) = verdict.response() {
            if self.is_grpc {
                // If the call fails, the request stays held.
                let _ = host::reset_request();
                return;
            }
            let endpoint = self.context.endpoint();
            let allow = match verdict.reason() {
                Reason::MethodNotAllowed => endpoint.map(|endpoint| endpoint.allowed_methods()),
                _ => None,
            };
            let allow = allow.as_deref().map(|methods| ("allow", methods));
            let retry = response.retry_after.map(|seconds| ("retry-after", seconds));
            let headers: Vec<_> = allow.into_iter().chain(retry).collect();
            let body = match endpoint.is_some_and(|endpoint| endpoint.has_empty_answers()) {
                true => "",
                false => response.body,
            };
            // If the call fails, the request stays held.
            let details = verdict.reason().name();
            let _ = host::respond(response.status, details, &headers, body);
        }
    }

    /// Sets the headers by which the upstream knows the verdict.
    fn mark(&self, verdict: &Verdict) -> Result<(), Failure> {
        let set = |name, value: &str| host::set_header(Map::RequestHeaders, name, value);
        match verdict {
            Verdict::Accept(proof) => {
                let endpoint = self.context.endpoint().ok_or(Failure)?;
                let version = self.context.version(verdict).ok_or(Failure)?;
                let outputs = &self.guard().policy.outputs;
                if outputs.has_header(UpstreamHeader::Endpoint) {
                    set("x-webhook-guard-endpoint", &endpoint.name)?;
                }
                if outputs.has_header(UpstreamHeader::SecretVersion) {
                    set("x-webhook-guard-secret-version", version)?;
                }
                self.set_length()?;
                let verified = proof.verified();
                match (verified.delivery(), verified.message()) {
                    (Some(hash), _) if outputs.has_header(UpstreamHeader::Delivery) => {
                        set("x-webhook-guard-delivery", &hash.to_string())
                    }
                    (None, Some(digest)) => set("x-webhook-guard-message", &digest.to_string()),
                    (Some(_) | None, _) => Ok(()),
                }
            }
            Verdict::Fail(_) if verdict.outcome() == Outcome::Monitored => {
                self.set_length()?;
                set("x-webhook-guard-verdict", "monitored")
            }
            Verdict::Fail(_) | Verdict::Pass | Verdict::Answer { .. } => Ok(()),
        }
    }

    /// Sets the length of a body that was held to its end and has no content-length. The upstream then sees if a
    /// filter behind the guard cuts the body, which some versions of Envoy allow.
    fn set_length(&self) -> Result<(), Failure> {
        if self.context.has_length || !self.ended || self.context.body_bytes == 0 {
            return Ok(());
        }
        let length = self.context.body_bytes.to_string();
        host::set_header(Map::RequestHeaders, "content-length", &length)
    }
}

/// Denies a request that the guard cannot judge.
pub(super) fn deny() -> Action {
    let reason = Reason::HostError;
    if let Some(response) = reason.response() {
        // If the call fails, the request stays held.
        let _ = host::respond(response.status, reason.name(), &[], response.body);
    }
    Action::Pause
}

/// Answers a health check. If the call fails, the request stays held until Envoy's timeout, which is unhealthy too.
fn answer_health_check() -> Action {
    let headers = [("cache-control", "no-store")];
    let _ = host::respond(200, "health_check", &headers, "OK");
    Action::Pause
}

/// Whether the upstream took the delivery of a request that has ended.
fn delivered() -> Result<Delivered, Failure> {
    let headers = host::header_map(Map::ResponseHeaders)?;
    let headers = split_pairs(&headers).ok_or(Failure)?;
    if let Some(delivered) = upstream::by_headers(&Headers::of_answer(&headers)) {
        return Ok(delivered);
    }
    if let Some(trailers) = host::optional_header_map(Map::ResponseTrailers)? {
        let trailers = split_pairs(&trailers).ok_or(Failure)?;
        if let Some(delivered) = upstream::by_trailers(&Headers::of_answer(&trailers)) {
            return Ok(delivered);
        }
    }
    let details = host::property("response\0code_details")?.unwrap_or_default();
    if let Some(delivered) = upstream::by_details(&details) {
        return Ok(delivered);
    }
    let flags = host::property("response\0flags")?.ok_or(Failure)?;
    if let Some(delivered) = upstream::by_flags(&flags) {
        return Ok(delivered);
    }
    let latency = host::property("response\0backend_latency")?;
    Ok(upstream::by_backend_latency(latency.as_deref()))
}

fn scrub_trailers() -> Result<(), Failure> {
    let map = host::header_map(Map::RequestTrailers)?;
    let pairs = split_pairs(&map).ok_or(Failure)?;
    scrub(
        Map::RequestTrailers,
        &unwanted_headers(&Headers::new(&pairs), None),
    )
}

/// Removes the headers, or trailers, that must not reach the upstream.
fn scrub(map: Map, names: &[&[u8]]) -> Result<(), Failure> {
    let mut names = names.iter();
    names.try_for_each(|name| host::remove_header(map, name))
}

/// The pieces, as start and length, in which the guard reads the host's bytes from `start` to `end`.
pub(super) fn chunks(start: usize, end: usize) -> impl Iterator<Item = (usize, usize)> {
    (start..end)
        .step_by(CHUNK)
        .map(move |at| (at, end.saturating_sub(at).min(CHUNK)))
}

/// Whether the guard can read the next bytes of a body later, with those that follow. Each call to the host costs as much
/// as the hash of a hundred bytes.
fn can_wait(verification: &Verification, seen: usize, size: usize) -> bool {
    size.saturating_sub(seen) < CHUNK && bytes(size) <= verification.undecided_length()
}

/// A size as the core counts it.
fn bytes(size: usize) -> u64 {
    u64::try_from(size).unwrap_or(u64::MAX)
}
