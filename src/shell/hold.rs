//! The hold check: whether the host shows the body of a request that the guard holds.
//!
//! Without `allow_on_headers_stop_iteration` Envoy holds the request and never calls again, so that it
//! would hang until some timeout. No attribute tells; but one body seen while its request is held
//! proves the setting, for all workers and for as long as this Envoy runs.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use super::exchange::Exchange;
use super::host;
use crate::verdict::Denial;

/// How often the held requests are looked at.
pub(super) const TICK: Duration = Duration::from_millis(500);

/// The most requests that one tick answers. The host answers them one within the other, and some five
/// hundred are more than its stack holds.
const MAX_RELEASED: usize = 64;

/// How long a held request may wait for its first byte while nothing is proven.
const PATIENCE: Duration = Duration::from_secs(2);

/// A held request, by the id of its context.
type Waiting = (u32, Rc<RefCell<Exchange>>);

/// The held requests that have seen no body, until the host has proven itself.
pub(super) struct Holds {
    proven: Cell<bool>,
    told: Cell<bool>,
    key: String,
    waiting: Cell<Vec<Waiting>>,
}

impl Holds {
    pub(super) fn new(root_id: &str) -> Self {
        let key = format!("webhook_guard/{root_id}/held");
        Self {
            proven: Cell::new(matches!(host::shared_data(&key), Ok(Some(_)))),
            told: Cell::new(false),
            key,
            waiting: Cell::default(),
        }
    }

    /// Whether the host is known to show bodies.
    pub(super) fn are_proven(&self) -> bool {
        self.proven.get()
    }

    /// Notes that the host showed the body of a held request.
    pub(super) fn prove(&self) {
        if !self.proven.replace(true) {
            // Should it fail, the other workers find their own proof.
            let _ = host::set_shared_data(&self.key, b"1");
            self.waiting.take();
        }
    }

    /// Watches a held request.
    pub(super) fn watch(&self, id: u32, exchange: &Rc<RefCell<Exchange>>) {
        if !self.proven.get() {
            self.change(|waiting| waiting.push((id, Rc::clone(exchange))));
        }
    }

    /// Forgets a request that has ended.
    pub(super) fn forget(&self, id: u32) {
        if !self.proven.get() {
            self.change(|waiting| waiting.retain(|(held, _)| *held != id));
        }
    }

    /// Answers the requests that waited too long. `root` is the context that ticks.
    pub(super) fn release_overdue(&self, root: u32) {
        if matches!(host::shared_data(&self.key), Ok(Some(_))) {
            self.proven.set(true);
            self.waiting.take();
            return;
        }
        let Ok(now) = host::monotonic_nanos() else {
            return;
        };
        let since = now.saturating_sub(u64::try_from(PATIENCE.as_nanos()).unwrap_or(u64::MAX));
        let overdue = |exchange: &RefCell<Exchange>| {
            exchange
                .try_borrow()
                .is_ok_and(|exchange| exchange.started() <= since)
        };
        let (mut overdue, mut waiting): (Vec<_>, Vec<_>) = self
            .waiting
            .take()
            .into_iter()
            .partition(|(_, exchange)| overdue(exchange));
        waiting.extend(overdue.drain(overdue.len().min(MAX_RELEASED)..));
        self.waiting.set(waiting);
        for (id, exchange) in overdue {
            if host::set_effective_context(id).is_ok()
                && let Ok(mut exchange) = exchange.try_borrow_mut()
            {
                self.tell();
                exchange.reject_held(Denial::BodyUnavailable);
            }
        }
        let _ = host::set_effective_context(root);
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Waiting>)) {
        let mut waiting = self.waiting.take();
        change(&mut waiting);
        self.waiting.set(waiting);
    }

    fn tell(&self) {
        if !self.told.replace(true) {
            host::log(
                host::Level::Error,
                format_args!(
                    "webhook-guard: a held request got no body within {} s and is answered 503: either the \
                 filter lacks `allow_on_headers_stop_iteration: true` (Envoy 1.35 or later), and every \
                 request with a body will be, or its sender was slow, which the first body seen settles",
                    PATIENCE.as_secs()
                ),
            );
        }
    }
}
