//! The hold check: whether the host shows the bodies of the requests that the guard holds.
//!
//! Without `allow_on_headers_stop_iteration`, Envoy holds a request and never calls again. The request would hang until
//! a timeout. No attribute shows the setting. But the first body of a held request proves it, for all workers and for as
//! long as this Envoy runs. Until then, a request is rejected if the host has received a part of its body and not shown it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use super::exchange::{SharedExchange, WeakExchange};
use super::host::{self, Level};
use crate::held_requests::{self, MAX_SELECTED};
use crate::verdict::Denial;

/// How often the check looks at the held requests.
pub(super) const TICK: Duration = Duration::from_millis(500);

/// A held request that has seen no body.
struct Waiting {
    /// The id of its context.
    id: u32,
    exchange: WeakExchange,
    /// When the guard saw the headers, in nanoseconds of the monotonic clock.
    since: u64,
    /// The bytes that the host had received when the guard saw the headers, `None` if the host did not say.
    received: Option<Vec<u8>>,
}

impl Waiting {
    /// Whether the host has received nothing since then, because the sender is slow.
    fn is_senders_turn(&self) -> bool {
        self.received.is_some()
            && host::set_effective_context(self.id).is_ok()
            && received() == self.received
    }
}

/// The number of bytes that the host has received of the effective request, in the host's encoding.
fn received() -> Option<Vec<u8>> {
    host::property("request\0total_size").ok().flatten()
}

/// The held requests that have seen no body, until the host has shown one.
pub(super) struct Holds {
    is_proven: Cell<bool>,
    is_logged: Cell<bool>,
    key: String,
    waiting: RefCell<Vec<Waiting>>,
}

impl Holds {
    pub(super) fn new(root_id: &str) -> Self {
        let key = format!("webhook_guard/{root_id}/held");
        Self {
            is_proven: Cell::new(matches!(host::shared_data(&key), Ok(Some(_)))),
            is_logged: Cell::new(false),
            key,
            waiting: RefCell::default(),
        }
    }

    /// Whether the host is known to show bodies.
    pub(super) const fn are_proven(&self) -> bool {
        self.is_proven.get()
    }

    /// Notes that the host has shown the body of a held request.
    pub(super) fn prove(&self) {
        if !self.is_proven.replace(true) {
            // If the call fails, the other workers find their own proof.
            let _ = host::set_shared_data(&self.key, b"1");
            self.waiting.take();
        }
    }

    /// Forgets a request that has ended.
    pub(super) fn forget(&self, id: u32) {
        if !self.is_proven.get()
            && let Ok(mut waiting) = self.waiting.try_borrow_mut()
        {
            waiting.retain(|held| held.id != id);
        }
    }

    /// Rejects the requests that have waited too long. `root` is the context of the tick.
    pub(super) fn reject_overdue(&self, root: u32) {
        if matches!(host::shared_data(&self.key), Ok(Some(_))) {
            self.is_proven.set(true);
            self.waiting.take();
            return;
        }
        let Ok(now) = host::monotonic_nanos() else {
            return;
        };
        for (id, exchange) in self.take_overdue(now) {
            if host::set_effective_context(id).is_ok()
                && let Ok(mut exchange) = exchange.try_borrow_mut()
                && exchange.is_held()
            {
                self.log();
                exchange.reject_held(Denial::BodyUnavailable);
            }
        }
        let _ = host::set_effective_context(root);
    }

    /// Removes the requests that are overdue at `now` although the host has a part of their body, at most [`MAX_SELECTED`].
    fn take_overdue(&self, now: u64) -> Vec<(u32, SharedExchange)> {
        let mut overdue = Vec::new();
        let Ok(mut waiting) = self.waiting.try_borrow_mut() else {
            return overdue;
        };
        waiting.retain(|held| {
            let Some(exchange) = held.exchange.upgrade() else {
                return false;
            };
            let is_overdue = held_requests::is_overdue(held.since, now);
            let is_taken = is_overdue && overdue.len() < MAX_SELECTED && !held.is_senders_turn();
            if is_taken {
                overdue.push((held.id, exchange));
            }
            !is_taken
        });
        overdue
    }

    fn log(&self) {
        if !self.is_logged.replace(true) {
            host::log(
                Level::Error,
                format_args!(
                    "webhook-guard: Envoy did not show a request body within {} s, so the request is answered 503: set \
                     `allow_on_headers_stop_iteration: true` on the filter (Envoy 1.35 or later). If it is set, a \
                     filter before the guard held the body back",
                    held_requests::PATIENCE.as_secs()
                ),
            );
        }
    }
}

/// Watches a request, if it is held and nothing is proven yet.
pub(super) fn watch(exchange: &SharedExchange) {
    if let Ok(held) = exchange.try_borrow()
        && held.is_held()
    {
        let holds = &held.guard().holds;
        if !holds.are_proven()
            && let Ok(mut waiting) = holds.waiting.try_borrow_mut()
        {
            waiting.push(Waiting {
                id: held.id,
                exchange: Rc::downgrade(exchange),
                since: host::monotonic_nanos().unwrap_or_default(),
                received: received(),
            });
        }
    }
}
