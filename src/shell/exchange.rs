//! One request: reads from the host what the core asks for, and does what its verdict says.

use std::cell::RefCell;
use std::rc::Rc;

use super::Guard;
use super::host::{self, Action, Failure, Map};
use super::stopwatch::Stopwatch;
use super::telemetry::{Subject, client};
use crate::held_requests::{self, Network, Place};
use crate::policy::Route;
use crate::policy::endpoint::unwanted_headers;
use crate::replay::Lease;
use crate::request::address::Client;
use crate::request::headers::{Headers, split_pairs};
use crate::time::{Moment, UnixMillis};
use crate::verdict::{Denial, Outcome, Reason};
use crate::verify::{Finish, Head, Verdict, Verification};

/// How much of a body is copied from the host at once, in bytes.
const CHUNK: usize = 64 * 1024;

/// A request, from its headers to its end.
pub(super) struct Exchange {
    pub(super) id: u32,
    subject: Subject,
    /// Envoy takes it for a gRPC call, and would answer such a one in gRPC's way.
    is_grpc: bool,
    /// The status of a denied call, which gRPC's way would hide.
    hidden_status: Option<u16>,
    /// The delivery that it has taken upstream, until the upstream's answer has ended.
    lease: Option<Lease>,
    /// The upstream has begun an answer by which it takes the delivery.
    is_taken: bool,
    /// The client said how long the body is.
    has_length: bool,
    /// How many bytes of the body the host holds.
    buffered: usize,
    /// The time that the request was judged at last.
    judged: Option<Moment>,
    /// The last of the request has come.
    ended: bool,
    stopwatch: Stopwatch,
    /// The memory that its head costs while it is held, in bytes.
    head_cost: u64,
    /// Its place among the held requests of the worker.
    pub(super) place: Option<Place>,
    state: State,
}

enum State {
    /// The headers have not come yet.
    New,
    /// Held. The number is how many bytes of the body have been read.
    Held(Box<Verification>, usize),
    /// On its way upstream.
    Released,
    /// Answered by the guard.
    Denied,
}

/// A verdict that is there before the body: it, or a request to hold.
type Begun = Result<Box<Verification>, Verdict>;

impl Exchange {
    pub(super) fn new(id: u32, guard: &Rc<Guard>) -> Self {
        Self {
            id,
            subject: Subject::new(guard),
            is_grpc: false,
            hidden_status: None,
            lease: None,
            is_taken: false,
            has_length: false,
            buffered: 0,
            judged: None,
            ended: false,
            stopwatch: Stopwatch::default(),
            head_cost: 0,
            place: None,
            state: State::New,
        }
    }

    pub(super) const fn guard(&self) -> &Rc<Guard> {
        &self.subject.guard
    }

    /// The memory that the request costs, in bytes, if it is held.
    pub(super) fn held(&self) -> Option<u64> {
        match self.state {
            State::Held(_, seen) => Some(self.head_cost.saturating_add(size(seen))),
            State::New | State::Released | State::Denied => None,
        }
    }

    /// The network of the client, of the context that the host takes for the calling one.
    pub(super) fn network(&self) -> Network {
        let client = self.subject.client.or_else(|| self.subject.find_client());
        held_requests::network(client.unwrap_or(Client::Absent))
    }

    /// When the headers came, in nanoseconds of the monotonic clock.
    pub(super) const fn started(&self) -> u64 {
        self.subject.started
    }

    pub(super) fn headers(&mut self, end_of_stream: bool) -> Action {
        match std::mem::replace(&mut self.state, State::Denied) {
            State::New => {}
            // The host calls once. A second verdict would be counted twice.
            other => return self.unchanged(other, end_of_stream),
        }
        self.ended = end_of_stream;
        self.subject.started = self.stopwatch.start().unwrap_or_default();
        match self
            .read_clocks()
            .and_then(|now| Ok((self.begin(now)?, now)))
        {
            Ok((Ok(check), now)) if end_of_stream => self.finish(*check, now),
            Ok((Ok(check), _)) => self.hold(check, 0),
            Ok((Err(verdict), _)) => self.conclude(verdict),
            Err(Failure) => self.fail(),
        }
    }

    /// Reads the wall clock, once for all that a callback judges. The monotonic clock was read at its begin.
    fn read_clocks(&mut self) -> Result<UnixMillis, Failure> {
        let wall = host::now()?;
        self.judged = Some(Moment {
            monotonic: self.stopwatch.since().ok_or(Failure)? / 1_000_000,
            wall,
        });
        Ok(wall)
    }

    fn begin(&mut self, now: UnixMillis) -> Result<Begun, Failure> {
        let map = host::header_map(Map::RequestHeaders)?;
        let pairs = split_pairs(&map).ok_or(Failure)?;
        let headers = Headers(&pairs);
        let mut types = headers.values("content-type");
        self.is_grpc = types.any(|value| value.starts_with(b"application/grpc"));
        self.has_length = headers.values("content-length").next().is_some();
        let guard = Rc::clone(&self.subject.guard);
        let one = |name| headers.one(name).map_err(|_| Failure);
        let route = guard.policy.route(
            one(":method")?.unwrap_or_default(),
            one(":path")?,
            one(":authority")?.unwrap_or_default(),
            headers.upgrades(),
        );
        let (index, endpoint) = match route {
            Route::Guarded(index, endpoint) => (index, endpoint),
            Route::Pass => {
                scrub(Map::RequestHeaders, &unwanted_headers(&headers, None))?;
                return Ok(Err(Verdict::Pass));
            }
            Route::Deny(reason) => return Ok(Err(Verdict::deny(reason))),
        };
        self.subject.endpoint = Some(index);
        scrub(
            Map::RequestHeaders,
            &unwanted_headers(&headers, Some(endpoint)),
        )?;
        if endpoint.lists_clients() {
            self.subject.client = Some(client(&endpoint.client_address)?);
        }
        let mut values = Vec::new();
        for key in endpoint.filter_states() {
            values.push(host::filter_state(key)?);
        }
        let (keyring, is_new) = endpoint.keyring(values);
        self.subject.report_keyring(&keyring, is_new);
        let client = self.subject.client.unwrap_or(Client::Absent);
        let begun = guard.lists.with(index, |published| {
            let head = Head {
                headers,
                client,
                now,
                published,
                keyring: &keyring,
            };
            Verification::begin(endpoint, &head).map(Box::new)
        });
        if let Ok(check) = &begun {
            self.head_cost = held_requests::head_cost(pairs.len(), map.len(), check.kept());
        }
        Ok(begun)
    }

    /// `size` is how much of the body the host has, all that came before included.
    pub(super) fn body(&mut self, size: usize, end_of_stream: bool) -> Action {
        let (mut check, seen) = match std::mem::replace(&mut self.state, State::Denied) {
            State::Held(check, seen) => (check, seen),
            other => return self.unchanged(other, end_of_stream),
        };
        self.ended = end_of_stream;
        self.buffered = size;
        self.stopwatch.start();
        self.subject.guard.holds.prove();
        match self.read(&mut check, seen, size) {
            Ok(Ok(())) if end_of_stream => match self.read_clocks() {
                Ok(now) => self.finish(*check, now),
                Err(Failure) => self.fail(),
            },
            Ok(Ok(())) => self.hold(check, size),
            Ok(Err(verdict)) => self.conclude(verdict),
            Err(Failure) => self.fail(),
        }
    }

    fn hold(&mut self, check: Box<Verification>, seen: usize) -> Action {
        self.state = State::Held(check, seen);
        self.stopwatch.stop();
        Action::Pause
    }

    fn read(
        &mut self,
        check: &mut Verification,
        seen: usize,
        size: usize,
    ) -> Result<Result<(), Verdict>, Failure> {
        for (start, length) in chunks(seen, size) {
            let chunk = check.body(&host::body(start, length)?);
            self.subject.body_bytes = check.received();
            if chunk.is_err() {
                return Ok(chunk);
            }
        }
        Ok(Ok(()))
    }

    /// Refuses trailers. No sender uses them and no signature covers them. Where filters behind the guard pass a
    /// body on in pieces and wait, Envoy cuts the body of a request that has trailers.
    pub(super) fn trailers(&mut self) -> Action {
        match std::mem::replace(&mut self.state, State::Denied) {
            State::Held(..) => {
                self.ended = true;
                self.conclude(Verdict::deny(Denial::TrailersRefused))
            }
            // What belongs to no endpoint keeps its trailers, but for names that may not reach the upstream.
            State::Released if scrub_trailers().is_err() => deny(),
            other => self.unchanged(other, true),
        }
    }

    /// What a callback answers that has nothing left to decide.
    fn unchanged(&mut self, state: State, end_of_stream: bool) -> Action {
        let action = match state {
            // Envoy 1.36 takes trailers after the end of an HTTP/2 request, and would append them to the
            // whole one that the upstream has: there they begin another.
            State::Released if self.ended => deny(),
            State::Released => Action::Continue,
            State::New | State::Held(..) | State::Denied => Action::Pause,
        };
        self.ended |= end_of_stream;
        self.state = state;
        action
    }

    fn finish(&mut self, check: Verification, now: UnixMillis) -> Action {
        let Ok(verdict) = verify(check, now) else {
            return self.fail();
        };
        self.subject.judged = self.stopwatch.stop();
        if self.subject.judged.is_some() {
            self.subject.report_verified(self.stopwatch.micros());
        }
        self.conclude(verdict)
    }

    /// The host's failure is a denial.
    fn fail(&mut self) -> Action {
        self.conclude(Verdict::deny(Denial::HostError))
    }

    /// Rejects the request if it is still held.
    pub(super) fn reject_held(&mut self, denial: Denial) {
        if matches!(self.state, State::Held(..)) {
            self.conclude(Verdict::deny(denial));
        }
    }

    /// The request is over, with or without a verdict.
    pub(super) fn end(&mut self) {
        self.subject.guard.holds.forget(self.id);
        if matches!(self.state, State::New) {
            // It never came here: Envoy or an earlier filter answered it.
            self.subject.started = host::monotonic_nanos().unwrap_or_default();
        }
        if matches!(self.state, State::New | State::Held(..)) {
            self.conclude(Verdict::deny(Denial::Incomplete));
        }
        if self.is_taken && self.lease.is_some() {
            // The answer broke off.
            match breaker() {
                Some(Breaker::Client) => self.settle(true),
                Some(Breaker::Upstream) => self.settle(false),
                None => {}
            }
        }
        // In all other cases, what the upstream has of the delivery is unknown. The claim holds until its lease ends, so
        // that copies whose clients leave do not multiply.
    }

    /// Asks the memory whether a verified delivery may go upstream, and claims it.
    fn remember(&mut self, verdict: Verdict) -> Result<Verdict, Failure> {
        let guard = Rc::clone(&self.subject.guard);
        let Some((index, endpoint)) = self.subject.at(&guard.policy) else {
            return Ok(verdict);
        };
        let Some(check) = verdict.replay_check(endpoint) else {
            return Ok(verdict);
        };
        let now = self.judged.ok_or(Failure)?;
        let reason = if check.acquires {
            match guard
                .memory
                .acquire((index, endpoint), &check, now, &guard.metrics)?
            {
                Ok(lease) => {
                    self.lease = Some(lease);
                    None
                }
                Err(reason) => Some(reason),
            }
        } else {
            guard.memory.lookup(&endpoint.name, &check, now)?
        };
        Ok(match reason {
            Some(reason) => verdict.reject_duplicate(endpoint, reason),
            None => verdict,
        })
    }

    /// Completes the lease of a delivery that the upstream took, or else releases it.
    fn settle(&mut self, delivered: bool) {
        let Some(lease) = self.lease.take() else {
            return;
        };
        let guard = &self.subject.guard;
        if let Some(of) = self.subject.at(&guard.policy) {
            match delivered {
                true => guard.memory.complete(of, &lease, &guard.metrics),
                false => guard.memory.release(of, &lease, &guard.metrics),
            }
        }
    }

    /// Does what the verdict says, and says so.
    fn conclude(&mut self, verdict: Verdict) -> Action {
        let marked = self.remember(verdict).and_then(|verdict| {
            self.mark(&verdict)?;
            Ok(verdict)
        });
        let verdict = marked.unwrap_or_else(|_| {
            self.settle(false);
            Verdict::deny(Denial::HostError)
        });
        let answered = matches!(verdict.outcome(), Outcome::Denied | Outcome::Challenged);
        self.state = if answered {
            State::Denied
        } else {
            State::Released
        };
        if answered && self.buffered > 0 {
            // A client that takes no answer keeps the request alive. Its body would stay with it, and is in no account
            // any more. Should it fail, Envoy's timeouts end the request.
            let _ = host::clear_body(self.buffered);
        }
        if let Some(answer) = verdict.answer() {
            let headers = [
                ("content-type", answer.content_type),
                // What a sender wrote is no page, whatever it looks like.
                ("x-content-type-options", "nosniff"),
                ("cache-control", "no-store"),
            ];
            let details = verdict.reason().name();
            let _ = host::respond(200, details, &headers, &answer.body);
        }
        if let Some(response) = verdict.response() {
            self.hidden_status = self.is_grpc.then_some(response.status);
            let allow = match verdict.reason() {
                Reason::MethodNotAllowed => self
                    .subject
                    .endpoint()
                    .map(|endpoint| endpoint.allowed_methods()),
                _ => None,
            };
            let allow = allow.as_deref().map(|methods| ("allow", methods));
            let retry = response.retry_after.map(|seconds| ("retry-after", seconds));
            let headers: Vec<_> = allow.into_iter().chain(retry).collect();
            // Should it fail, the request stays held: nothing goes on.
            let _ = host::respond(
                response.status,
                verdict.reason().name(),
                &headers,
                response.body,
            );
        }
        self.subject.report(&verdict);
        if answered {
            Action::Pause
        } else {
            Action::Continue
        }
    }

    /// The upstream has the delivery once its answer has ended: a sender that sees it break off tries again.
    pub(super) fn response_body(&mut self, end_of_stream: bool) {
        if end_of_stream && self.is_taken {
            self.settle(true);
        }
    }

    pub(super) fn response_trailers(&mut self) {
        if self.is_taken {
            self.settle(took(Map::ResponseTrailers, |_| true));
        }
    }

    /// Gives a denied call its status back: Envoy answers calls 200 and puts the failure into
    /// `grpc-status`, which a sender of webhooks takes for a success.
    pub(super) fn response_headers(&mut self, end_of_stream: bool) {
        if self.lease.is_some() {
            self.is_taken = took(Map::ResponseHeaders, |headers| {
                matches!(headers.one(":status"), Ok(Some([b'2', _, _])))
            });
            if end_of_stream || !self.is_taken {
                self.settle(self.is_taken);
            }
        }
        let Some(status) = self.hidden_status else {
            return;
        };
        let map = Map::ResponseHeaders;
        // Should it fail, the sender is told a falsehood, but nothing goes on.
        let _ = host::set_header(map, ":status", &status.to_string());
        let _ = host::set_header(map, "content-type", "text/plain");
        for name in ["grpc-status", "grpc-message"] {
            let _ = host::remove_header(map, name.as_bytes());
        }
    }

    /// Sets the headers by which the upstream knows the verdict.
    fn mark(&self, verdict: &Verdict) -> Result<(), Failure> {
        match verdict {
            Verdict::Accept(proof) => {
                let endpoint = self.subject.endpoint().ok_or(Failure)?;
                let version = self.subject.version(verdict).ok_or(Failure)?;
                host::set_header(
                    Map::RequestHeaders,
                    "x-webhook-guard-endpoint",
                    &endpoint.name,
                )?;
                host::set_header(
                    Map::RequestHeaders,
                    "x-webhook-guard-secret-version",
                    version,
                )?;
                self.set_length()?;
                let verified = proof.verified();
                let (name, value) = match (verified.delivery(), verified.message()) {
                    (Some(delivery), _) => ("x-webhook-guard-delivery", delivery.to_string()),
                    (None, Some(digest)) => ("x-webhook-guard-message", digest.to_string()),
                    (None, None) => return Ok(()),
                };
                host::set_header(Map::RequestHeaders, name, &value)
            }
            Verdict::Fail(_) if verdict.outcome() == Outcome::Monitored => {
                self.set_length()?;
                host::set_header(Map::RequestHeaders, "x-webhook-guard-verdict", "monitored")
            }
            Verdict::Fail(_) | Verdict::Pass | Verdict::Answer { .. } => Ok(()),
        }
    }

    /// Sets the length of a body that was held to its end and came without one. The upstream then sees if a filter
    /// behind the guard cuts the body, which some versions of Envoy allow.
    fn set_length(&self) -> Result<(), Failure> {
        if self.has_length || !self.ended || self.subject.body_bytes == 0 {
            return Ok(());
        }
        let length = self.subject.body_bytes.to_string();
        host::set_header(Map::RequestHeaders, "content-length", &length)
    }
}

/// Verifies a request whose body has come, reading it again where that is needed.
fn verify(check: Verification, now: UnixMillis) -> Result<Verdict, Failure> {
    let mut again = match check.finish(now) {
        Finish::Done(verdict) => return Ok(verdict),
        Finish::NeedsBody(again) => again,
    };
    let size = usize::try_from(again.missing()).unwrap_or(usize::MAX);
    for (start, length) in chunks(0, size) {
        again.body(&host::body(start, length)?);
    }
    Ok(again.finish())
}

/// Has the hold check look after a request, if it is held.
pub(super) fn watch(exchange: &Rc<RefCell<Exchange>>) {
    if let Ok(held) = exchange.try_borrow()
        && matches!(held.state, State::Held(..))
    {
        held.subject.guard.holds.watch(held.id, exchange);
    }
}

/// Denies a request that there is no way to judge.
pub(super) fn deny() -> Action {
    let reason = Reason::HostError;
    if let Some(response) = reason.response() {
        // Should it fail, the request stays held: nothing goes on.
        let _ = host::respond(response.status, reason.name(), &[], response.body);
    }
    Action::Pause
}

/// Whether this part of the response says that the upstream takes the delivery. One that can't be read does not.
fn took(map: Map, is_good: impl FnOnce(&Headers<'_>) -> bool) -> bool {
    let Ok(map) = host::header_map(map) else {
        return false;
    };
    let pairs = split_pairs(&map).unwrap_or_default();
    let headers = Headers(&pairs);
    // Of a gRPC call Envoy answers 200 where it failed, and says so here.
    let went_well = matches!(headers.one("grpc-status"), Ok(None | Some(b"0")));
    went_well && is_good(&headers)
}

/// Who broke off an answer that had begun.
enum Breaker {
    Client,
    Upstream,
}

/// Who broke off an answer, by Envoy's response code details; `None` where they do not say.
///
/// A client's `RST_STREAM` is `http2.remote_reset` up to 1.39, and leaves the details of the answer as they are in 1.40.
fn breaker() -> Option<Breaker> {
    const CLIENT: [&[u8]; 3] = [
        b"downstream_remote_disconnect",
        b"http2.remote_reset",
        b"via_upstream",
    ];
    let details = host::property(&["response", "code_details"]).ok()??;
    if CLIENT.contains(&&*details) {
        Some(Breaker::Client)
    } else if details.starts_with(b"upstream") {
        Some(Breaker::Upstream)
    } else {
        None
    }
}

fn scrub_trailers() -> Result<(), Failure> {
    let map = host::header_map(Map::RequestTrailers)?;
    let pairs = split_pairs(&map).ok_or(Failure)?;
    scrub(
        Map::RequestTrailers,
        &unwanted_headers(&Headers(&pairs), None),
    )
}

/// Removes the headers, or trailers, that may not reach the upstream.
fn scrub(map: Map, names: &[&[u8]]) -> Result<(), Failure> {
    let mut names = names.iter();
    names.try_for_each(|name| host::remove_header(map, name))
}

/// The pieces, as start and length, in which the host's bytes from `start` to `end` are read.
fn chunks(start: usize, end: usize) -> impl Iterator<Item = (usize, usize)> {
    (start..end)
        .step_by(CHUNK)
        .map(move |at| (at, end.saturating_sub(at).min(CHUNK)))
}

/// A size as the core counts it.
fn size(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
