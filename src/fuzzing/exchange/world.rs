//! One worker with its requests, and the properties that must hold after each callback.

use std::collections::BTreeMap;

use super::request::{CLIENTS, NOW, Request};
use crate::fuzzing::Input;
use crate::shell::host::fake::{self, Call, Entry, Failing, Fake};
use crate::shell::host::{Action, Level, Map};
use crate::shell::{Filter, Root, held_bytes};

/// One endpoint for each kind of host call that a verdict depends on.
const CONFIGURATION: &str = r#"{"environment": "test", "max_held_bytes": 1050000, "unmatched": {"pass": ["/app/"]}, "health_check": {"path": "/healthz"},
    "endpoints": [
    {"name": "plain", "match": {"path": "/plain"}, "max_body_bytes": 1024, "secrets": SECRETS},
    {"name": "watched", "match": {"path": "/watched"}, "max_body_bytes": 1024, "secrets": SECRETS, "mode": "monitor"},
    {"name": "once", "match": {"path": "/once"}, "max_body_bytes": 1024, "secrets": SECRETS,
     "signature": {"header": "x-webhook-signature", "message": "{id}.{timestamp}.{body}",
        "timestamp": {"header": "x-time"}, "id": {"header": "x-id"}}},
    {"name": "listed", "match": {"path": "/listed"}, "max_body_bytes": 1024, "secrets": SECRETS, "allow": ["192.0.2.0/24"],
     "allow_from": [{"cluster": "c", "authority": "a", "path": "/", "pointer": "/list", "refresh": "60s"}]},
    {"name": "state", "match": {"path": "/state"}, "max_body_bytes": 1024,
     "secrets": [{"version": "v1", "filter_state": "key"}]}]}"#;

const SECRETS: &str = r#"[{"version": "new", "value": "the new secret"}, {"version": "old", "value": "the old secret"},
    {"version": "leaked", "value": "the leaked secret", "revoked": true}]"#;

const MAX_HELD: u64 = 1_050_000;
const LEASE: u64 = 20_000;
const WINDOW: u64 = 600_000;
const ROOT: u32 = 1;

/// A request under way.
pub(super) struct Slot {
    pub(super) id: u32,
    filter: Filter,
    request: Request,
    /// How many bytes of the body the client has sent.
    sent: usize,
    /// The last of the request has been sent.
    is_complete: bool,
    is_released: bool,
    /// The guard has seen the headers.
    has_headers: bool,
    /// The last of the request has gone upstream.
    has_ended: bool,
    /// A call failed on which its verdict depends.
    is_doubtful: bool,
    /// There is a configuration.
    is_guarded: bool,
    /// The delivery has a lease.
    claims: bool,
    /// The end of the lease, in milliseconds of the monotonic clock.
    lease_until: u64,
    /// Whether the upstream's answer confirms the delivery, by its headers and trailers. `None` without an answer.
    answer: Option<bool>,
    /// The status of the answer shows a failure.
    has_failed: bool,
}

/// A delivery that the guard must remember. Times are milliseconds of the monotonic clock.
#[derive(Clone, Copy, Debug)]
enum Known {
    InFlight { until: u64 },
    Delivered { until: u64 },
}

/// A worker with its requests.
pub(super) struct World {
    root: Root,
    is_configured: bool,
    pub(super) slots: Vec<Slot>,
    next: u32,
    /// No call has failed yet, and no clock was set back.
    is_clean: bool,
    has_list: bool,
    deliveries: BTreeMap<u8, Known>,
}

/// A callback of the request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Callback {
    Headers,
    Body,
    Trailers,
}

impl World {
    pub(super) fn new() -> Self {
        let lines = CONFIGURATION.replace("SECRETS", SECRETS);
        fake::with(|fake| {
            *fake = Fake {
                configuration: lines.into_bytes(),
                wall: NOW * 1_000,
                monotonic: 1_000_000_000_000,
                level: Some(Level::Debug),
                ..Fake::default()
            };
        });
        let mut world = Self {
            root: Root::new(ROOT),
            is_configured: false,
            slots: Vec::new(),
            next: 100,
            is_clean: true,
            has_list: false,
            deliveries: BTreeMap::new(),
        };
        world.configure();
        assert!(world.is_configured);
        world
    }

    fn configure(&mut self) {
        self.root = Root::new(ROOT);
        let size = fake::with(|fake| {
            fake.context = ROOT;
            fake.configuration.len()
        });
        assert!(self.root.configure(size), "Envoy would let requests pass");
        self.is_configured = self.root.has_guard();
        assert!(self.is_configured || !self.is_clean);
    }

    pub(super) fn step(&mut self, input: &mut Input<'_>) {
        let op = input.byte();
        if op & 0x80 > 0 {
            // A call of this step fails, or all of them.
            self.is_clean = false;
            let number = u32::from(input.byte());
            fake::with(|fake| {
                fake.failing = match number {
                    255 => Failing::All,
                    number => Failing::After(number % 48),
                }
            });
        }
        let slot = usize::from(op >> 4 & 7) % self.slots.len().max(1);
        match op & 15 {
            0 if self.slots.len() < 8 => {
                let request = Request::read(input);
                let kind = input.byte();
                let slot = self.open(request);
                // Of some requests the guard sees no headers: an earlier filter answers them.
                if kind == 255 {
                    self.is_clean = false;
                } else {
                    self.headers(slot, kind & 1 == 1);
                }
            }
            1..=4 => {
                let (size, end) = (usize::from(input.byte()), input.flag());
                self.body(slot, size, end);
            }
            5 => self.body(slot, usize::MAX, true),
            6 => self.trailers(slot),
            7 | 8 => self.response(slot, input),
            9 => self.end(slot, input),
            10 => self.tick(),
            11 => self.pass_time(input),
            12 => {
                let races = u32::from(input.byte() % 70);
                self.is_clean &= races < 60;
                fake::with(|fake| fake.races = races);
            }
            13 => self.answer_call(input),
            14 => self.configure(),
            _ => self.any_callback(slot, input),
        }
        fake::with(|fake| {
            fake.failing = Failing::None;
            fake.races = 0;
        });
        assert!(held_bytes() <= MAX_HELD || !self.is_clean);
    }

    pub(super) fn open(&mut self, request: Request) -> usize {
        let id = self.next;
        self.next += 1;
        let stream = request.stream();
        fake::with(|fake| fake.streams.insert(id, stream));
        self.slots.push(Slot {
            id,
            filter: self.root.filter(id),
            request,
            sent: 0,
            is_complete: false,
            is_released: false,
            has_headers: false,
            has_ended: false,
            is_doubtful: false,
            is_guarded: self.is_configured,
            claims: false,
            lease_until: 0,
            answer: None,
            has_failed: false,
        });
        self.slots.len() - 1
    }

    pub(super) fn headers(&mut self, slot: usize, end: bool) {
        let one = &mut self.slots[slot];
        let end = end && one.request.body.is_empty();
        one.is_complete = end;
        self.run(slot, Callback::Headers, |filter| {
            filter.request_headers(end)
        });
    }

    /// Sends so many bytes of the body, and the end of the request if `end`, however much of the body is left.
    pub(super) fn body(&mut self, slot: usize, size: usize, end: bool) {
        let Some(one) = self.slots.get_mut(slot) else {
            return;
        };
        if one.is_complete {
            return;
        }
        let rest = &one.request.body[one.sent..];
        let part = rest[..size.min(rest.len())].to_vec();
        one.sent += part.len();
        one.is_complete = end;
        let is_released = one.is_released;
        let size = fake::with(|fake| {
            let stream = fake.streams.get_mut(&one.id).expect("a stream");
            if is_released {
                stream.body.clear();
            }
            stream.body.extend(part);
            stream.body.len()
        });
        self.run(slot, Callback::Body, |filter| {
            filter.request_body(size, end)
        });
    }

    fn trailers(&mut self, slot: usize) {
        let Some(one) = self.slots.get_mut(slot) else {
            return;
        };
        if one.is_complete {
            return;
        }
        one.is_complete = true;
        fake::with(|fake| {
            let stream = fake.streams.get_mut(&one.id).expect("a stream");
            let names = ["x-trailer", "x-webhook-guard-endpoint"];
            stream.request_trailers = names
                .map(|name| (name.to_owned(), b"forged".to_vec()))
                .into();
        });
        self.run(slot, Callback::Trailers, Filter::request_trailers);
    }

    /// Runs a callback of the request, and checks what the guard did.
    fn run(&mut self, slot: usize, callback: Callback, act: impl FnOnce(&Filter) -> Action) {
        let Some(one) = self.slots.get_mut(slot) else {
            return;
        };
        let id = one.id;
        let before = fake::with(|fake| {
            fake.context = id;
            fake.journal.len()
        });
        let was_denied = is_denied(id);
        let action = act(&one.filter);
        let failed = fake::with(|fake| {
            let entries = &fake.journal[before..];
            // The memory needs the monotonic clock, too. A delivery that is forwarded has changed the memory: see below.
            let is_decisive = |entry: &Entry| {
                entry.failed && entry.context == id && decides(entry.call, one.request.target)
            };
            // The report of a verdict begins with the filter state. Its calls decide nothing.
            let is_report = |entry: &&Entry| entry.call == Call::SetFilterState;
            let mut decided = entries.iter().take_while(|entry| !is_report(entry));
            decided.any(is_decisive)
        });
        if !one.is_released {
            one.is_doubtful |= failed;
        }
        let was_released = one.is_released;
        let (is_right, is_known) = self.is_right(slot);
        let one = &mut self.slots[slot];
        one.has_headers |= callback == Callback::Headers;
        one.check_health_check();
        match action {
            Action::Continue => {
                assert!(one.is_guarded && !was_denied && !is_denied(id), "{one:?}");
                assert!(!one.has_ended, "more goes upstream after the end: {one:?}");
                one.has_ended = one.is_complete;
                one.is_released = true;
                if was_released {
                    return;
                }
                assert!(!one.is_doubtful, "a failed call forwarded {one:?}");
                match one.request.target {
                    "/watched" | "/app/x" => {}
                    _ => assert!(
                        is_right && !is_known && one.is_complete && callback != Callback::Trailers,
                        "{one:?}"
                    ),
                }
                let headers = fake::with(|fake| fake.streams[&id].request_headers.clone());
                assert!(headers.iter().all(|(_, value)| value != b"forged"));
                // Headers that end the request after a part of its body say that there is no body.
                let has_body = one.sent > 0 && callback != Callback::Headers;
                if one.is_complete && has_body && one.request.target != "/app/x" {
                    let is_length = |(name, _): &&(String, Vec<u8>)| name == "content-length";
                    assert!(headers.iter().any(|pair| is_length(&pair)), "{one:?}");
                }
                if one.request.target == "/once" {
                    one.claims = true;
                    let until = fake::with(|fake| fake.monotonic) / 1_000_000 + LEASE;
                    one.lease_until = until;
                    assert_eq!(changes_of_memory(id), 1, "{one:?}");
                    self.deliveries
                        .insert(one.request.id, Known::InFlight { until });
                }
            }
            Action::Pause => {
                // A valid request is forwarded, if nothing has failed and a published list does not matter.
                let is_sure = is_right && !is_known && one.request.client == CLIENTS[0];
                let is_late = was_denied || was_released || !one.is_complete;
                let is_stopped =
                    !self.is_clean || callback == Callback::Trailers || !one.is_guarded;
                assert!(is_late || is_stopped || !is_sure, "{one:?}");
                // A request that stays here after its lease was acquired has released the lease.
                let is_kept = fake::with(|fake| {
                    let entries = &fake.journal[before..];
                    let is_of_memory = |call| {
                        matches!(call, Call::SharedData | Call::SwapSharedData)
                            || matches!(call, Call::WallClock | Call::MonotonicClock)
                    };
                    let failed = entries
                        .iter()
                        .any(|one| one.failed && is_of_memory(one.call));
                    // If the guard cannot return to its request, the fake counts a change for another one.
                    let is_lost = |one: &Entry| one.failed && one.call == Call::SetContext;
                    !failed && fake.races < 60 && !fake.journal.iter().any(is_lost)
                });
                let is_even = changes_of_memory(id).is_multiple_of(2);
                assert!(was_released || !is_kept || is_even, "{one:?}");
            }
        }
        self.check_counts();
    }

    /// Whether a request may go upstream, and whether its delivery is known.
    fn is_right(&self, slot: usize) -> (bool, bool) {
        let one = &self.slots[slot];
        let now = fake::with(|fake| fake.monotonic) / 1_000_000;
        let is_known = match self.deliveries.get(&one.request.id) {
            Some(Known::InFlight { until } | Known::Delivered { until }) => *until >= now,
            None => false,
        };
        let wall = fake::with(|fake| fake.wall);
        let body = &one.request.body[..one.sent];
        (
            one.request.is_right(body, wall, self.has_list),
            is_known && one.request.target == "/once",
        )
    }

    /// One verdict is counted at most for each request, and one change of the memory follows its claim at most.
    fn check_counts(&self) {
        for one in &self.slots {
            assert!(Self::counted(one.id).len() <= 1, "{one:?}");
            assert!(changes_of_memory(one.id) <= 2, "{one:?}");
        }
    }

    /// The verdicts that were counted for a request.
    pub(super) fn counted(id: u32) -> Vec<String> {
        fake::with(|fake| {
            let names = fake.journal.iter().filter_map(|entry| match entry.call {
                Call::Increment(metric) if entry.context == id => {
                    Some(fake.metrics[metric as usize].name.clone())
                }
                _ => None,
            });
            names
                .filter(|name| name.starts_with("webhook_guard_requests_total"))
                .collect()
        })
    }

    /// The answer of the upstream arrives, or its trailers. The guard reads them when the request ends.
    fn response(&mut self, slot: usize, input: &mut Input<'_>) {
        let Some(one) = self.slots.get_mut(slot) else {
            return;
        };
        let are_trailers = input.flag();
        let grpc = [None, Some("0"), Some("14")][input.below(3)];
        let status = ["200", "204", "500", "409", "2"][input.below(5)];
        let is_good = grpc != Some("14");
        let status = (":status".to_owned(), status.as_bytes().to_vec());
        let grpc = grpc.map(|grpc| ("grpc-status".to_owned(), grpc.into()));
        let answer = one.answer.get_or_insert(true);
        fake::with(|fake| {
            let stream = fake.streams.get_mut(&one.id).expect("a stream");
            let is_first = stream.response_headers.is_empty();
            match are_trailers && !is_first {
                true if stream.response_trailers.is_empty() => {
                    *answer &= is_good;
                    stream.response_trailers.extend(grpc);
                }
                false if is_first => {
                    *answer &= is_good && matches!(&*status.1, b"200" | b"204");
                    let code = [("200", 200_i64), ("204", 204), ("500", 500), ("409", 409)];
                    let code = code.iter().find(|(text, _)| text.as_bytes() == status.1);
                    let code = code.map_or(0, |(_, code)| *code);
                    one.has_failed = code >= 300;
                    let key = "response.code".to_owned();
                    stream.properties.insert(key, code.to_le_bytes().into());
                    stream.response_headers.push(status);
                    stream.response_headers.extend(grpc);
                }
                // Envoy sends headers and trailers once.
                _ => {}
            }
        });
    }

    /// Notes what the memory must know after the end of a request.
    fn settle(&mut self, slot: usize, settled: Option<bool>, before: usize) {
        let one = &mut self.slots[slot];
        let (failed, now) = fake::with(|fake| {
            let failed = fake.journal[before..].iter().any(|entry| entry.failed);
            (failed || fake.races >= 60, fake.monotonic / 1_000_000)
        });
        if !one.claims {
            return;
        }
        if failed {
            // Whether the claim was settled is not known.
            one.claims = false;
            self.deliveries.remove(&one.request.id);
            return;
        }
        if now <= one.lease_until {
            let expected = 1 + usize::from(settled.is_some());
            assert_eq!(changes_of_memory(one.id), expected, "{one:?}");
        }
        let Some(is_delivered) = settled else { return };
        one.claims = false;
        if is_delivered {
            let until = now + WINDOW;
            self.deliveries
                .insert(one.request.id, Known::Delivered { until });
        } else {
            self.deliveries.remove(&one.request.id);
        }
    }

    fn end(&mut self, slot: usize, input: &mut Input<'_>) {
        if self.slots.is_empty() {
            return;
        }
        let details = [
            "via_upstream",
            "upstream_reset_after_response_started",
            "other",
        ];
        let details = details[input.below(3)];
        let flags = i64::from(input.flag());
        let is_whole = input.flag();
        let one = &mut self.slots[slot];
        let before = fake::with(|fake| {
            fake.context = one.id;
            let stream = fake.streams.get_mut(&one.id).expect("a stream");
            let key = "response.code_details".to_owned();
            stream.properties.insert(key, details.into());
            let key = "response.flags".to_owned();
            stream.properties.insert(key, flags.to_le_bytes().into());
            if is_whole {
                let key = "response.backend_latency".to_owned();
                stream.properties.insert(key, b"1ms".to_vec());
            }
            fake.journal.len()
        });
        let settled = match (one.answer, details) {
            _ if !one.claims => None,
            (None, _) => None,
            (Some(false), _) => Some(false),
            (Some(true), "via_upstream") => Some(true),
            (Some(true), "other") => (flags == 0 || is_whole).then_some(true),
            (Some(true), _) => Some(false),
        };
        one.filter.end();
        let answers = fake::with(|fake| {
            let mut entries = fake.journal[before..].iter();
            entries.any(|entry| matches!(entry.call, Call::Respond | Call::Reset))
        });
        assert!(!answers, "an answer to a request that has ended");
        self.settle(slot, settled, before);
        self.check_counts();
        let one = self.slots.swap_remove(slot);
        assert_eq!(
            Self::counted(one.id).len(),
            usize::from(one.is_guarded && !one.is_health_check()),
            "{one:?}"
        );
        fake::with(|fake| fake.streams.remove(&one.id));
    }

    fn tick(&mut self) {
        let before = fake::with(|fake| {
            fake.context = ROOT;
            fake.journal.len()
        });
        self.root.tick();
        self.renew(before);
        self.check_counts();
    }

    /// Notes what the memory must know after a tick: leases that are half over are renewed, and those of failures end.
    fn renew(&mut self, before: usize) {
        let (failed, now) = fake::with(|fake| {
            let failed = fake.journal[before..].iter().any(|entry| entry.failed);
            (failed, fake.monotonic / 1_000_000)
        });
        for one in self.slots.iter_mut().filter(|one| one.claims) {
            let is_live = now <= one.lease_until;
            let is_due = is_live && now + LEASE / 2 >= one.lease_until;
            if !one.has_failed && !is_due {
                continue;
            }
            if failed || one.has_failed {
                // The lease has ended, or whether it was renewed is not known.
                one.claims = false;
                if is_live {
                    self.deliveries.remove(&one.request.id);
                }
                continue;
            }
            one.lease_until = now + LEASE;
            let until = one.lease_until;
            self.deliveries
                .insert(one.request.id, Known::InFlight { until });
        }
    }

    fn pass_time(&mut self, input: &mut Input<'_>) {
        let millis = [10, 600, 2_500, 12_000, 25_000, 90_000, 700_000][input.below(7)];
        let is_set_back = input.byte() == 255;
        self.is_clean &= !is_set_back;
        fake::with(|fake| {
            fake.monotonic += millis * 1_000_000;
            if is_set_back {
                fake.wall -= 1_000_000;
            } else {
                fake.wall += millis;
            }
        });
    }

    /// Answers a call for a published list.
    fn answer_call(&mut self, input: &mut Input<'_>) {
        let (status, body) = match input.below(4) {
            0 => ("503", ""),
            1 => ("200", r#"{"list": ["0.0.0.0/0"]}"#),
            _ => ("200", r#"{"list": ["198.51.100.0/24"]}"#),
        };
        let call = fake::with(|fake| {
            fake.context = ROOT;
            fake.call_headers = vec![(":status".to_owned(), status.into())];
            fake.call_body = body.into();
            fake.gets.pop()
        });
        self.has_list |= call.is_some() && body.contains("198");
        self.root
            .on_call_response(call.unwrap_or(9_999), body.len());
    }

    /// A callback that Envoy would not make now, such as a second end or a body that the host does not have.
    fn any_callback(&mut self, slot: usize, input: &mut Input<'_>) {
        let Some(one) = self.slots.get_mut(slot) else {
            return;
        };
        let (kind, end) = (input.byte(), input.flag());
        self.is_clean = false;
        match kind % 3 {
            0 => {
                one.is_complete |= end;
                let size = one.sent.saturating_add(usize::from(kind));
                self.run(slot, Callback::Body, |filter| {
                    filter.request_body(size, end)
                });
            }
            1 => {
                one.is_complete = true;
                self.run(slot, Callback::Trailers, Filter::request_trailers);
            }
            _ => {
                one.is_complete |= end;
                self.run(slot, Callback::Headers, |filter| {
                    filter.request_headers(end)
                });
            }
        }
    }

    pub(super) fn close(mut self) {
        while !self.slots.is_empty() {
            self.end(0, &mut Input(&[]));
        }
        assert_eq!(held_bytes(), 0);
        let is_reported = fake::with(|fake| {
            let gauge = fake
                .metrics
                .iter()
                .position(|metric| metric.name == "webhook_guard_held_bytes");
            let gauge = gauge.expect("the gauge");
            let is_gauge = |entry: &Entry| entry.call == Call::Increment(gauge as u32);
            let failed = fake
                .journal
                .iter()
                .any(|entry| entry.failed && is_gauge(entry));
            failed || fake.metrics[gauge].value == 0
        });
        assert!(is_reported, "the gauge of held bytes is not back at 0");
    }
}

impl Slot {
    /// The guard has answered the request as a health check. Without a failed call, it answers each one.
    fn is_health_check(&self) -> bool {
        self.is_guarded && self.has_headers && !self.is_doubtful && self.request.is_health_check()
    }

    /// A health check gets its one answer and no verdict, and no other request gets that answer.
    fn check_health_check(&self) {
        let (answers, is_failed) = fake::with(|fake| {
            let answers = &fake.streams[&self.id].answers;
            let health_checks = answers.iter().filter(|answer| {
                assert!(answer.details != "health_check" || answer.status == 200);
                answer.details == "health_check"
            });
            let is_failed = fake.journal.iter().any(|entry| {
                entry.context == self.id && entry.call == Call::Respond && entry.failed
            });
            (health_checks.count(), is_failed)
        });
        match self.is_health_check() {
            true => {
                assert!(answers == usize::from(!is_failed), "{self:?}");
                assert!(World::counted(self.id).is_empty(), "{self:?}");
            }
            false => assert!(answers == 0, "{self:?}"),
        }
    }
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let answers = fake::with(|fake| fake.streams.get(&self.id).map(|one| one.answers.clone()));
        let Self { request, sent, .. } = self;
        let (is_complete, is_released) = (self.is_complete, self.is_released);
        write!(
            f,
            "{request:?}, {sent} bytes sent, complete: {is_complete}, released: {is_released}, {answers:?}"
        )
    }
}

/// How often a request changed the replay memory.
fn changes_of_memory(id: u32) -> usize {
    fake::with(|fake| fake.swaps.iter().filter(|other| **other == id).count())
}

/// Whether the guard has answered a request itself, or has counted it as denied.
fn is_denied(id: u32) -> bool {
    fake::with(|fake| {
        let is_answered = fake
            .streams
            .get(&id)
            .is_some_and(|one| one.is_reset || !one.answers.is_empty());
        let is_counted = fake.journal.iter().any(|entry| match entry.call {
            Call::Increment(metric) if entry.context == id => fake.metrics[metric as usize]
                .name
                .contains(".verdict=denied"),
            _ => false,
        });
        is_answered || is_counted
    })
}

/// Whether a call of this kind decides the verdict of a request to this path.
fn decides(call: Call, target: &str) -> bool {
    match call {
        Call::HeaderMap(map) | Call::SetHeader(map) | Call::RemoveHeader(map) => {
            matches!(map, Map::RequestHeaders | Map::RequestTrailers)
        }
        Call::Body | Call::WallClock | Call::FilterState => true,
        Call::Property => target == "/listed",
        Call::SharedData | Call::SwapSharedData => target == "/once",
        _ => false,
    }
}
