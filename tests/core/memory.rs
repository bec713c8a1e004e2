//! The memory that a held request keeps, counted by the allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use webhook_guard::verdict::Reason;

use crate::presets::accepted;
use crate::support::{Request, endpoint};

/// The most bytes that one held request may keep. The head adds at most 24 KiB. The rest is the state of the hash,
/// the signatures of one header and their bookkeeping.
const BOUND: usize = 32 * 1024;

thread_local! {
    static ALLOCATED: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator, which counts the bytes that each thread has in use.
struct Counting;

fn note(freed: usize, allocated: usize) {
    // A thread that ends frees after its counter is gone.
    let _ = ALLOCATED.try_with(|count| {
        count.set(count.get().wrapping_sub(freed).wrapping_add(allocated));
    });
}

// SAFETY: every call goes to the system's allocator as it came.
#[expect(unsafe_code, reason = "an allocator is unsafe to implement")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(0, layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        note(layout.size(), 0);
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(layout.size(), size);
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocated() -> usize {
    ALLOCATED.with(Cell::get)
}

/// The request with 32 kB more in every place that its sender may sign.
fn inflated(request: &Request) -> Vec<Request> {
    let filler = "a".repeat(32_000);
    let mut all = vec![
        Request {
            path: request.path.as_ref().map(|path| {
                let mark = if path.contains('?') { '&' } else { '?' };
                format!("{path}{mark}{}", "=".repeat(32_000))
            }),
            ..request.clone()
        },
        request.clone().with("x-filler", filler.clone()),
    ];
    for (name, value) in &request.headers {
        let mut longer = request.clone();
        let value = String::from_utf8_lossy(value);
        longer.set(name, &format!("{value}{filler}"));
        all.push(longer);
        let mut repeated = request.clone();
        let listed = format!("{value}{}", ",x-filler".repeat(60));
        repeated.set(name, &listed);
        all.push(repeated.with("x-filler", filler.clone()));
    }
    all
}

#[test]
fn a_held_request_of_any_preset_keeps_no_more_than_the_bound() {
    for (name, _, policy, request) in accepted() {
        for request in inflated(&request) {
            // The first one makes what all requests share.
            drop(request.begin(&policy));
            let before = allocated();
            let held: Vec<_> = (0..4).map(|_| request.begin(&policy)).collect();
            let kept = (allocated() - before) / held.len();
            assert!(kept <= BOUND, "{name}: {kept} bytes");
        }
    }
}

#[test]
fn a_header_that_is_listed_twice_is_malformed() {
    let block =
        r#"{"header": "X-S", "message": "{signed_headers}{body}", "signed_headers": "X-L"}"#;
    let policy = endpoint(&format!(r#""signature": {block}"#));
    let request = |list: &str| {
        let request = Request::new(b"").with("X-S", "00".repeat(32));
        request.with("X-L", list).with("X-B", "b")
    };
    assert_eq!(request("x-l,x-b").reason(&policy), Reason::SignatureInvalid);
    for list in ["x-l,x-b,x-b", "x-l,x-l", "x-l,x-b,X-B", "x-l,x-b, x-b"] {
        let reason = request(list).reason(&policy);
        assert_eq!(reason, Reason::SignatureMalformed, "{list}");
    }
}

#[test]
fn the_head_adds_at_most_16_kib_to_the_message() {
    let block = r#"{"header": "X-S", "message": "{header:X-A}.{query:a}.{body}"}"#;
    let policy = endpoint(&format!(r#""signature": {block}"#));
    let reason = |header: usize, query: usize| {
        let request = Request::new(b"").with("X-S", "00".repeat(32));
        let mut request = request.with("X-A", "a".repeat(header));
        request.path = Some(format!("/webhook?a={}", "b".repeat(query)));
        request.reason(&policy)
    };
    assert_eq!(reason(8_000, 8_000), Reason::SignatureInvalid);
    assert_eq!(reason(8_191, 8_191), Reason::SignatureInvalid);
    assert_eq!(reason(8_192, 8_191), Reason::SignatureMalformed);
    assert_eq!(reason(17_000, 0), Reason::SignatureMalformed);
}

#[test]
fn more_key_names_than_signatures_may_come_are_malformed() {
    let block = r#"{"header": "X-S", "separator": ",", "format": ["k={key_id}", "{signature}"]}"#;
    let policy = endpoint(&format!(
        r#""signature": {block}, "secrets": [{{"version": "v1", "env": "SECRET", "key_id": "k"}}]"#
    ));
    let reason = |names: usize| {
        let value = format!("{}{}", "k=k,".repeat(names), "00".repeat(32));
        Request::new(b"").with("X-S", value).reason(&policy)
    };
    assert_eq!(reason(16), Reason::SignatureInvalid);
    assert_eq!(reason(17), Reason::SignatureMalformed);
}

#[test]
fn the_kept_bytes_of_a_head_are_those_of_its_message_its_id_and_its_key_names() {
    let block = r#"{"header": "X-S", "message": "{id}.{header:X-A}.{body}", "id": {"header": "X-Id"}, "key_id": {"header": "X-Key"}}"#;
    let policy = endpoint(&format!(r#""signature": {block}"#));
    let kept = |value: &str| {
        let request = Request::new(b"body").with("X-S", "00".repeat(32));
        let request = request.with("X-Id", "id").with("X-Key", "key");
        let held = request.with("X-A", value).begin(&policy);
        held.unwrap().kept()
    };
    // The id is a part of the message and is also kept for the verdict.
    assert_eq!(kept("value"), "id.value.".len() + "id".len() + "key".len());
    assert_eq!(kept(&"a".repeat(1_000)), kept("") + 1_000);
}

#[test]
fn a_head_that_needs_more_than_24_kib_is_rejected() {
    let block = r#"{"header": "X-S", "message": "{id}.{header:X-A}.{body}", "id": {"header": "X-Id"}, "key_id": {"header": "X-Key"}}"#;
    let policy = endpoint(&format!(r#""signature": {block}"#));
    let begin = |key: usize| {
        let request = Request::new(b"body").with("X-S", "00".repeat(32));
        let request = request.with("X-Id", "i".repeat(8_000));
        let request = request.with("X-A", "a".repeat(7_998));
        request.with("X-Key", "k".repeat(key)).begin(&policy)
    };
    // The message has 16,000 bytes, and the id 8,000.
    let held = begin(576).map(|held| held.kept());
    assert_eq!(held.ok(), Some(24 * 1024));
    let verdict = begin(577).unwrap_err();
    assert_eq!(verdict.reason(), Reason::SignatureMalformed);
}
