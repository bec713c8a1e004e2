//! The memory of held requests: counts it for this worker, and rejects requests if they use too much.

use std::cell::RefCell;
use std::rc::Rc;

use super::Guard;
use super::exchange::{SharedExchange, WeakExchange};
use super::host;
use crate::held_requests::Ledger;
use crate::verdict::Denial;

/// How far the gauge may lag behind, in bytes: most requests change it without a call to the host.
const GAUGE_STEP: u64 = 64 * 1024;

/// A held request, by the id of its context.
#[derive(Clone)]
struct Held {
    id: u32,
    exchange: WeakExchange,
}

/// The held requests of this worker, under every configuration that the module has.
#[derive(Default)]
struct Budget {
    ledger: Ledger<Held>,
    /// The bytes that this worker has added to the gauge.
    reported: u64,
}

thread_local! {
    static BUDGET: RefCell<Budget> = RefCell::default();
}

fn with<T>(act: impl FnOnce(&mut Budget) -> T) -> Option<T> {
    let acted = BUDGET.try_with(|budget| {
        budget
            .try_borrow_mut()
            .ok()
            .map(|mut budget| act(&mut budget))
    });
    acted.ok().flatten()
}

/// The bytes that this worker holds.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn held_bytes() -> u64 {
    with(|budget| budget.ledger.total()).unwrap_or_default()
}

/// Counts what a request holds after a callback, and rejects requests if the worker holds too much.
pub(super) fn count(exchange: &SharedExchange) {
    let Some((id, guard)) = note(exchange) else {
        return;
    };
    let limit = guard.policy.max_held;
    let excess = with(|budget| {
        budget.report(&guard);
        budget.ledger.select(limit, |held| {
            // The host reads properties of the effective context.
            let _ = host::set_effective_context(held.id);
            let exchange = held.exchange.upgrade();
            exchange.map_or(0, |exchange| {
                exchange
                    .try_borrow()
                    .map_or(0, |exchange| exchange.network())
            })
        })
    });
    let excess = excess.unwrap_or_default();
    for held in &excess {
        if let Some(exchange) = held.exchange.upgrade()
            && host::set_effective_context(held.id).is_ok()
        {
            if let Ok(mut exchange) = exchange.try_borrow_mut() {
                exchange.reject_held(Denial::Overloaded);
            }
            note(&exchange);
        }
    }
    if !excess.is_empty() {
        let _ = host::set_effective_context(id);
        with(|budget| budget.report(&guard));
    }
}

/// Forgets a request whose context ends.
pub(super) fn forget(exchange: &SharedExchange) {
    if let Ok(mut exchange) = exchange.try_borrow_mut()
        && let Some(place) = exchange.place.take()
    {
        with(|budget| budget.ledger.remove(place));
    }
}

/// Updates the ledger for a request. `None` if the request neither is nor was held.
fn note(exchange: &SharedExchange) -> Option<(u32, Rc<Guard>)> {
    let mut one = exchange.try_borrow_mut().ok()?;
    let bytes = one.held();
    if bytes.is_none() && one.place.is_none() {
        return None;
    }
    let place = one.place.take();
    one.place = with(|budget| match (bytes, place) {
        (Some(bytes), Some(place)) => {
            budget.ledger.resize(&place, bytes);
            Some(place)
        }
        (Some(bytes), None) => {
            let held = Held {
                id: one.id,
                exchange: Rc::downgrade(exchange),
            };
            Some(budget.ledger.add(held, bytes))
        }
        (None, place) => {
            place
                .into_iter()
                .for_each(|place| budget.ledger.remove(place));
            None
        }
    })
    .flatten();
    Some((one.id, Rc::clone(one.guard())))
}

impl Budget {
    /// Adds the change since the last report to the gauge, which all workers share.
    fn report(&mut self, guard: &Guard) {
        let total = self.ledger.total();
        let is_near = total.abs_diff(self.reported) < GAUGE_STEP;
        if total == self.reported || (is_near && total > 0) {
            return;
        }
        guard.metrics.report_held(self.reported, total);
        self.reported = total;
    }
}
