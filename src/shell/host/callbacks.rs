//! The callbacks that Envoy makes, by the proxy-wasm ABI.
//!
//! Envoy calls what a module exports and nothing else, and each call costs time. So the module exports only the callbacks
//! that it needs. The SDK exports all of them, and panics where a context is unknown.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::Action;
use crate::shell::exchange::deny;
use crate::shell::{Filter, Root};

/// The contexts of this worker, by their ids.
struct Contexts {
    roots: BTreeMap<u32, Rc<RefCell<Root>>>,
    filters: BTreeMap<u32, Rc<Filter>>,
}

thread_local! {
    static CONTEXTS: RefCell<Contexts> = const {
        RefCell::new(Contexts { roots: BTreeMap::new(), filters: BTreeMap::new() })
    };
}

/// Reads or changes the contexts. A callback that Envoy makes during another one finds them free.
fn with<T>(act: impl FnOnce(&mut Contexts) -> T) -> Option<T> {
    let acted =
        CONTEXTS.try_with(|contexts| contexts.try_borrow_mut().ok().map(|mut all| act(&mut all)));
    acted.ok().flatten()
}

fn root<T>(id: u32, act: impl FnOnce(&mut Root) -> T) -> Option<T> {
    let root = with(|contexts| contexts.roots.get(&id).cloned()).flatten()?;
    root.try_borrow_mut().ok().map(|mut root| act(&mut root))
}

// Not inlined: each callback would have its own copy of the search, and so its own place in the caches of the processor.
#[inline(never)]
fn filter(id: u32) -> Option<Rc<Filter>> {
    with(|contexts| contexts.filters.get(&id).cloned()).flatten()
}

/// Runs a callback of a request. A request without a filter is denied.
fn request(id: u32, act: impl FnOnce(&Filter) -> Action) -> u32 {
    number(filter(id).map_or_else(deny, |filter| act(&filter)))
}

const fn number(action: Action) -> u32 {
    match action {
        Action::Continue => 0,
        Action::Pause => 1,
    }
}

unsafe extern "C" {
    /// Runs the constructors of the C library and the standard library.
    fn __wasm_call_ctors();
}

#[unsafe(no_mangle)]
extern "C" fn _initialize() {
    // SAFETY: the host calls this once, before any other function.
    unsafe { __wasm_call_ctors() };
}

/// The version of the ABI.
#[unsafe(no_mangle)]
const extern "C" fn proxy_abi_version_0_2_1() {}

/// Memory for bytes that a call returns. The caller frees it.
#[unsafe(no_mangle)]
extern "C" fn proxy_on_memory_allocate(size: usize) -> *mut u8 {
    let bytes: Box<[std::mem::MaybeUninit<u8>]> = Box::new_uninit_slice(size);
    Box::into_raw(bytes).cast()
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_context_create(id: u32, parent: u32) {
    const NONE: u32 = 0;
    if parent == NONE {
        with(|contexts| {
            contexts
                .roots
                .insert(id, Rc::new(RefCell::new(Root::new(id))))
        });
    } else if let Some(filter) = root(parent, |root| root.filter(id)) {
        with(|contexts| contexts.filters.insert(id, Rc::new(filter)));
    }
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_configure(id: u32, size: usize) -> bool {
    root(id, |root| root.configure(size)).unwrap_or(false)
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_tick(id: u32) {
    root(id, Root::tick);
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_http_call_response(id: u32, call: u32, _: usize, size: usize, _: usize) {
    root(id, |root| root.on_call_response(call, size));
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_headers(id: u32, _: usize, end_of_stream: bool) -> u32 {
    request(id, |filter| filter.request_headers(end_of_stream))
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_body(id: u32, size: usize, end_of_stream: bool) -> u32 {
    request(id, |filter| filter.request_body(size, end_of_stream))
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_trailers(id: u32, _: usize) -> u32 {
    request(id, Filter::request_trailers)
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_log(id: u32) {
    if let Some(filter) = filter(id) {
        filter.end();
    }
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_delete(id: u32) {
    // Dropped outside of the borrow: what a context drops may call the host.
    let filter = with(|contexts| contexts.filters.remove(&id)).flatten();
    if filter.is_none() {
        drop(with(|contexts| contexts.roots.remove(&id)));
    }
}
