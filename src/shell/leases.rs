//! The leases of this worker, which it renews while Envoy has their requests.
//!
//! The guard learns how the upstream answered when the request ends. A client that reads its answer slowly delays the end.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::exchange::{SharedExchange, WeakExchange};
use super::host;
use crate::upstream;

/// The requests with a lease under every configuration that the module has, by the ids of their contexts.
type Leases = BTreeMap<u32, WeakExchange>;

thread_local! {
    static LEASES: RefCell<Leases> = const { RefCell::new(Leases::new()) };
}

fn with(act: impl FnOnce(&mut Leases)) {
    let _ = LEASES.try_with(|leases| leases.try_borrow_mut().map(|mut leases| act(&mut leases)));
}

/// Watches a request, if it has a lease.
pub(super) fn watch(exchange: &SharedExchange) {
    if let Ok(one) = exchange.try_borrow()
        && one.has_lease()
    {
        with(|leases| drop(leases.insert(one.id, Rc::downgrade(exchange))));
    }
}

/// Forgets the request of a context.
pub(super) fn forget(id: u32) {
    with(|leases| drop(leases.remove(&id)));
}

/// Renews the leases that are half over, and ends those of failed deliveries. A client that leaves the answer of a failure
/// unread must not block the next delivery. `root` is the context of the tick.
pub(super) fn renew(root: u32) {
    with(|leases| {
        leases.retain(|_, exchange| exchange.strong_count() > 0);
        if leases.is_empty() {
            return;
        }
        // Without a clock, the leases are renewed at the next tick.
        let Ok(now) = host::moment() else { return };
        let judged = leases.iter().filter_map(|(id, exchange)| {
            let exchange = exchange.upgrade()?;
            Some((exchange, has_failed(*id)))
        });
        let judged: Vec<_> = judged.collect();
        let _ = host::set_effective_context(root);
        for (exchange, has_failed) in judged {
            if let Ok(mut exchange) = exchange.try_borrow_mut() {
                match has_failed {
                    true => exchange.release_lease(),
                    false => exchange.renew_lease(now),
                }
            }
        }
    });
}

/// Whether the upstream has answered a request by another status than 2xx.
fn has_failed(id: u32) -> bool {
    // The host reads attributes of the effective context.
    host::set_effective_context(id).is_ok()
        && host::property("response\0code")
            .is_ok_and(|code| code.is_some_and(|code| upstream::is_failure(&code)))
}
