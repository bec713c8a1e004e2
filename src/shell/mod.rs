//! The shell: the callbacks that the host makes, and the calls to the host.
//!
//! The shell decides the order of calls, and what a failed call means: a denial, where a verdict depends on it. The core
//! decides everything else.

mod budget;
mod builds;
mod exchange;
mod gauges;
mod hold;
pub(crate) mod host;
mod instruments;
mod leases;
mod lists;
mod memory;
mod metrics;
mod stopwatch;
mod telemetry;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use crate::config::Diagnostic;
use crate::log_line::Limiter;
use crate::policy::Policy;
use crate::version;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use budget::held_bytes;
use builds::BuildInfo;
use exchange::{Exchange, SharedExchange};
use gauges::NumberedGeneration;
use hold::Holds;
use host::{Action, Level};
use lists::Lists;
use memory::Memory;
use metrics::Metrics;
use stopwatch::Sampler;

/// How often the guard sets its gauges again if it has no other periodic task.
const IDLE_TICK: Duration = Duration::from_secs(5);

/// The state that all requests under one configuration share.
struct Guard {
    policy: Policy,
    metrics: Metrics,
    build: BuildInfo,
    holds: Holds,
    memory: Memory,
    lists: Lists,
    sampler: Sampler,
    /// The lowest level of the lines that the host writes, as of the last measured or failed request.
    least_level: Cell<Level>,
    /// The limits of log lines, in the order of the endpoints.
    limiters: Vec<RefCell<Limiter>>,
    limiter_without_endpoint: RefCell<Limiter>,
}

/// Why there is no guard.
enum Refusal {
    /// The configuration is faulty.
    Faults(Vec<Diagnostic>),
    /// A call to the host failed.
    Host(&'static str),
}

impl Guard {
    /// Reads the configuration, which has `size` bytes.
    fn configure(size: usize) -> Result<Self, Refusal> {
        let failed = |what| move |_| Refusal::Host(what);
        let text = host::plugin_configuration(size)
            .map_err(failed("the host did not return the configuration"))?;
        let policy = Policy::read(&text, &|name| std::env::var(name));
        let (policy, warnings) = policy.map_err(Refusal::Faults)?;
        host::log(
            Level::Info,
            format_args!(
                "webhook-guard {}: {} endpoint{}, environment {:?}",
                version::TEXT,
                policy.endpoints.len(),
                if policy.endpoints.len() == 1 { "" } else { "s" },
                policy.environment
            ),
        );
        for warning in warnings {
            host::log(Level::Warn, format_args!("webhook-guard: {warning}"));
        }
        let now = host::now().map_err(failed("the host has no clock"))?;
        for name in policy.stale(now.millis()) {
            host::log(
                Level::Warn,
                format_args!(
                    "webhook-guard: no secret of endpoint {name:?} is valid now: add a version"
                ),
            );
        }
        let guard = Self::new(policy, &text).map_err(failed(
            "the host did not define the metrics, or did not store shared data",
        ))?;
        host::set_tick_period(guard.tick()).map_err(failed("the host has no timer"))?;
        Ok(guard)
    }

    /// Asks the host for its level, which an operator may change at any time.
    fn read_level(&self) {
        self.least_level.set(host::least_level());
    }

    /// Whether the host writes lines of this level.
    fn logs(&self, level: Level) -> bool {
        level >= self.least_level.get()
    }

    /// The period of the tasks that no request triggers.
    fn tick(&self) -> Duration {
        match self.holds.are_proven() && self.lists.are_none() {
            // A lease is renewed when half of it has passed, and so in time even if a tick is late.
            true => {
                let quarter = self.policy.shortest_lease().checked_div(4);
                quarter.unwrap_or_default().clamp(hold::TICK, IDLE_TICK)
            }
            false => hold::TICK,
        }
    }

    fn new(policy: Policy, text: &[u8]) -> Result<Self, host::Failure> {
        let root_id = host::property("plugin_root_id")?.unwrap_or_default();
        let root_id = String::from_utf8_lossy(&root_id);
        let generation = NumberedGeneration::count(&root_id, text)?;
        Ok(Self {
            metrics: Metrics::define(&root_id, &policy, generation)?,
            build: BuildInfo::report(&root_id)?,
            holds: Holds::new(&root_id),
            memory: Memory::prepare(&root_id, &policy)?,
            lists: Lists::prepare(&root_id, &policy)?,
            sampler: Sampler::default(),
            least_level: Cell::new(host::least_level()),
            limiters: policy
                .endpoints
                .iter()
                .map(|_| RefCell::default())
                .collect(),
            limiter_without_endpoint: RefCell::default(),
            policy,
        })
    }
}

/// One configuration in one worker, with the callbacks that belong to no request.
pub(crate) struct Root {
    id: u32,
    guard: Option<Rc<Guard>>,
    /// The period of the host's timer.
    tick: Duration,
}

impl Root {
    /// A root context without a configuration.
    pub(crate) const fn new(id: u32) -> Self {
        Self {
            id,
            guard: None,
            tick: IDLE_TICK,
        }
    }

    /// Whether it has a configuration.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) const fn has_guard(&self) -> bool {
        self.guard.is_some()
    }

    /// Reads the configuration, which has `size` bytes, and returns whether the host may use it.
    pub(crate) fn configure(&mut self, size: usize) -> bool {
        match Guard::configure(size) {
            Ok(guard) => {
                self.tick = guard.tick();
                self.guard = Some(Rc::new(guard));
                true
            }
            Err(Refusal::Faults(faults)) => {
                // A configuration for a newer version is faulty for an older one.
                host::log(
                    Level::Error,
                    format_args!(
                        "webhook-guard {}: the configuration has {} error{}",
                        version::TEXT,
                        faults.len(),
                        if faults.len() == 1 { "" } else { "s" }
                    ),
                );
                for fault in faults {
                    host::log(
                        Level::Error,
                        format_args!("webhook-guard: configuration refused: {fault}"),
                    );
                }
                false
            }
            Err(Refusal::Host(why)) => {
                // Envoy takes a configuration that its main thread has taken. If a worker then refuses it, Envoy lets
                // requests pass that worker, whatever `failure_policy` says. So the worker takes it too, and denies
                // every request.
                host::log(
                    Level::Error,
                    format_args!("webhook-guard: every request is denied: {why}"),
                );
                true
            }
        }
    }

    /// Runs the tasks that no request triggers.
    pub(crate) fn tick(&mut self) {
        let Some(guard) = &self.guard else { return };
        if !guard.holds.are_proven() {
            guard.holds.reject_overdue(self.id);
        }
        leases::renew(self.id);
        guard.lists.tick(&guard.metrics);
        guard.metrics.restate_gauges();
        guard.build.restate();
        let tick = guard.tick();
        if tick != self.tick {
            self.tick = tick;
            // A timer that cannot be set costs a look at empty lists.
            let _ = host::set_tick_period(tick);
        }
    }

    /// Takes the response to a call that the module made. Its body has `size` bytes.
    pub(crate) fn on_call_response(&self, call: u32, size: usize) {
        if let Some(guard) = &self.guard {
            guard.lists.answered(call, size, &guard.metrics);
        }
    }

    /// The filter of a new request.
    pub(crate) fn filter(&self, id: u32) -> Filter {
        let exchange = self.guard.as_ref().map(|guard| Exchange::new(id, guard));
        Filter {
            exchange: exchange.map(|exchange| Rc::new(RefCell::new(exchange))),
        }
    }
}

/// The callbacks of one request.
pub(crate) struct Filter {
    /// Shared with the hold check and the memory budget. Without a valid configuration it is `None`, and every request
    /// is denied.
    exchange: Option<SharedExchange>,
}

impl Filter {
    fn with(&self, phase: impl FnOnce(&mut Exchange) -> Action) -> Action {
        match self
            .exchange
            .as_ref()
            .and_then(|exchange| exchange.try_borrow_mut().ok())
        {
            Some(mut exchange) => phase(&mut exchange),
            None => exchange::deny(),
        }
    }

    /// Notes the request's lease and what it holds, after a callback with this action.
    fn watched(&self, action: Action) -> Action {
        if let Some(exchange) = &self.exchange {
            leases::watch(exchange);
            budget::count(exchange);
        }
        action
    }

    /// Takes the request's headers.
    pub(crate) fn request_headers(&self, end_of_stream: bool) -> Action {
        let action = self.with(|exchange| exchange.headers(end_of_stream));
        if let Some(exchange) = &self.exchange {
            hold::watch(exchange);
        }
        self.watched(action)
    }

    /// Takes the request's body. The host has `size` bytes of it, with those of earlier callbacks.
    pub(crate) fn request_body(&self, size: usize, end_of_stream: bool) -> Action {
        let action = self.with(|exchange| exchange.body(size, end_of_stream));
        self.watched(action)
    }

    /// Takes the request's trailers.
    pub(crate) fn request_trailers(&self) -> Action {
        let action = self.with(Exchange::trailers);
        self.watched(action)
    }

    /// The request is over.
    pub(crate) fn end(&self) {
        // Without a configuration, there is nothing to end. An answer here would make Envoy end the request again, and so
        // on until its stack overflows.
        if let Some(exchange) = &self.exchange {
            if let Ok(mut exchange) = exchange.try_borrow_mut() {
                exchange.end();
            }
            budget::count(exchange);
        }
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        if let Some(exchange) = &self.exchange {
            budget::forget(exchange);
        }
    }
}
