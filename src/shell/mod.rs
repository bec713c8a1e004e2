//! The shell: what Envoy calls, and what is asked of Envoy. It decides nothing.

mod budget;
mod exchange;
mod hold;
pub(crate) mod host;
mod lists;
mod memory;
mod metrics;
mod stopwatch;
mod telemetry;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use crate::config::Diagnostic;
use crate::log_line::Limiter;
use crate::policy::Policy;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use budget::held_bytes;
use exchange::Exchange;
use hold::Holds;
use host::{Action, Level};
use lists::Lists;
use memory::Memory;
use metrics::Metrics;

/// How often the gauges are set again where there is nothing else to look after.
const IDLE_TICK: Duration = Duration::from_secs(5);

/// What all requests under one configuration share.
struct Guard {
    policy: Policy,
    metrics: Metrics,
    holds: Holds,
    memory: Memory,
    lists: Lists,
    /// One for each endpoint, in their order, and one for requests that belong to none.
    limiters: Vec<RefCell<Limiter>>,
}

/// Why there is no guard.
enum Refusal {
    /// The configuration is faulty.
    Faults(Vec<Diagnostic>),
    /// The host did not do its part.
    Host(&'static str),
}

impl Guard {
    /// Reads the configuration, which has `size` bytes.
    fn configure(size: usize) -> Result<Self, Refusal> {
        let failed = |what| move |_| Refusal::Host(what);
        let text = host::plugin_configuration(size)
            .map_err(failed("the host did not hand the configuration over"))?;
        let policy = Policy::read(&text, &|name| std::env::var(name));
        let (policy, warnings) = policy.map_err(Refusal::Faults)?;
        for warning in warnings {
            host::log(Level::Warn, format_args!("webhook-guard: {warning}"));
        }
        let now = host::now().map_err(failed("the host has no clock"))?;
        for name in policy.stale(now) {
            host::log(
                Level::Warn,
                format_args!(
                    "webhook-guard: no secret of endpoint {name:?} is valid now: add a version"
                ),
            );
        }
        host::log(
            Level::Info,
            format_args!(
                "webhook-guard: {} endpoint{}, environment {:?}",
                policy.endpoints.len(),
                if policy.endpoints.len() == 1 { "" } else { "s" },
                policy.environment
            ),
        );
        let guard = Self::new(policy, &text).map_err(failed(
            "the host did not define the metrics, or share its data",
        ))?;
        host::set_tick_period(guard.tick()).map_err(failed("the host has no timer"))?;
        Ok(guard)
    }

    /// How often the guard looks after what does not depend on requests.
    fn tick(&self) -> Duration {
        match self.holds.are_proven() && self.lists.are_none() {
            true => IDLE_TICK,
            false => hold::TICK,
        }
    }

    fn new(policy: Policy, text: &[u8]) -> Result<Self, host::Failure> {
        let count = policy.endpoints.len().saturating_add(1);
        let root_id = host::property(&["plugin_root_id"])?.unwrap_or_default();
        let root_id = String::from_utf8_lossy(&root_id);
        let generation = metrics::note_generation(&root_id, text)?;
        Ok(Self {
            metrics: Metrics::define(&root_id, &policy, generation)?,
            holds: Holds::new(&root_id),
            memory: Memory::prepare(&root_id, &policy)?,
            lists: Lists::prepare(&root_id, &policy)?,
            limiters: std::iter::repeat_with(RefCell::default)
                .take(count)
                .collect(),
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
            guard.holds.release_overdue(self.id);
        }
        guard.lists.tick(&guard.metrics);
        guard.metrics.restate();
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
    exchange: Option<Rc<RefCell<Exchange>>>,
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

    /// Takes a part of the response, which always goes on.
    fn respond(&self, phase: impl FnOnce(&mut Exchange)) -> Action {
        if let Some(exchange) = &self.exchange
            && let Ok(mut exchange) = exchange.try_borrow_mut()
        {
            phase(&mut exchange);
        }
        Action::Continue
    }

    /// Counts what the request holds after a callback with this action.
    fn counted(&self, action: Action) -> Action {
        if let Some(exchange) = &self.exchange {
            budget::count(exchange);
        }
        action
    }

    /// Takes the request's headers.
    pub(crate) fn request_headers(&self, end_of_stream: bool) -> Action {
        let action = self.with(|exchange| exchange.headers(end_of_stream));
        if let Some(exchange) = &self.exchange {
            exchange::watch(exchange);
        }
        self.counted(action)
    }

    /// Takes the request's body. The host has `size` bytes of it, with those of earlier callbacks.
    pub(crate) fn request_body(&self, size: usize, end_of_stream: bool) -> Action {
        let action = self.with(|exchange| exchange.body(size, end_of_stream));
        self.counted(action)
    }

    /// Takes the request's trailers.
    pub(crate) fn request_trailers(&self) -> Action {
        let action = self.with(Exchange::trailers);
        self.counted(action)
    }

    /// Takes the response's headers.
    pub(crate) fn response_headers(&self, end_of_stream: bool) -> Action {
        self.respond(|exchange| exchange.response_headers(end_of_stream))
    }

    /// Takes a part of the response's body.
    pub(crate) fn response_body(&self, end_of_stream: bool) -> Action {
        self.respond(|exchange| exchange.response_body(end_of_stream))
    }

    /// Takes the response's trailers.
    pub(crate) fn response_trailers(&self) -> Action {
        self.respond(Exchange::response_trailers)
    }

    /// The request is over.
    pub(crate) fn end(&self) {
        self.with(|exchange| {
            exchange.end();
            Action::Continue
        });
        self.counted(Action::Continue);
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        if let Some(exchange) = &self.exchange {
            budget::forget(exchange);
        }
    }
}
