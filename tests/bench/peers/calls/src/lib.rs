//! A filter that makes one call to the host many times, at the end of each request's body.
//!
//! The header `x-call` names the call by its number, and says how often the filter makes it: `x-call: 3 100`. Without
//! that, the filter does nothing. The configuration `hold` makes the filter hold requests as the guard does.
//!
//! The filter uses no SDK, so that a module without some of its callbacks is a module without those exports.

use std::cell::{Cell, UnsafeCell};

/// Where the host writes what a call returns. The next call overwrites it.
const MEMORY: usize = 128 * 1024;

const OK: u32 = 0;
const CONTINUE: u32 = 0;
const PAUSE: u32 = 1;
const REQUEST_HEADERS: u32 = 0;
const REQUEST_BODY: u32 = 0;
const COUNTER: u32 = 0;
const GAUGE: u32 = 1;
const HISTOGRAM: u32 = 2;
const MONOTONIC: u32 = 1;
const REALTIME: u32 = 0;
const DEBUG: u32 = 1;
const WARN: u32 = 3;

const LINE: &str = r#"{"event":"webhook_processed","endpoint":"orders","verdict":"accepted","reason":"accepted","duration_ms":0.226,"client":"127.0.0.1","secret_version":"v1","body_bytes":1024}"#;
const KIBIBYTE: [u8; 1024] = [b'x'; 1024];

struct Global {
    memory: UnsafeCell<[u64; MEMORY / 8]>,
    holds: Cell<bool>,
    counter: Cell<u32>,
    gauge: Cell<u32>,
    histogram: Cell<u32>,
}

// SAFETY: a module has one thread.
unsafe impl Sync for Global {}

static GLOBAL: Global = Global {
    memory: UnsafeCell::new([0; MEMORY / 8]),
    holds: Cell::new(false),
    counter: Cell::new(0),
    gauge: Cell::new(0),
    histogram: Cell::new(0),
};

#[unsafe(no_mangle)]
pub extern "C" fn proxy_abi_version_0_2_1() {}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_memory_allocate(_: usize) -> *mut u8 {
    GLOBAL.memory.get().cast()
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_vm_start(_: u32, _: usize) -> u32 {
    1
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_configure(_: u32, size: usize) -> u32 {
    const CONFIGURATION: u32 = 7;
    let (mut data, mut length) = (std::ptr::null_mut(), 0);
    let status =
        unsafe { proxy_get_buffer_bytes(CONFIGURATION, 0, size, &raw mut data, &raw mut length) };
    let text = unsafe { std::slice::from_raw_parts(data, length) };
    GLOBAL.holds.set(status == OK && text == b"hold");
    let define = |kind, name: &str, metric: &Cell<u32>| {
        let mut number = 0;
        let status =
            unsafe { proxy_define_metric(kind, name.as_ptr(), name.len(), &raw mut number) };
        assert_eq!(status, OK);
        metric.set(number);
    };
    define(COUNTER, "calls_counter", &GLOBAL.counter);
    define(GAUGE, "calls_gauge", &GLOBAL.gauge);
    define(HISTOGRAM, "calls_histogram", &GLOBAL.histogram);
    let key = "calls";
    let status = unsafe {
        proxy_set_shared_data(
            key.as_ptr(),
            key.len(),
            KIBIBYTE.as_ptr(),
            KIBIBYTE.len(),
            0,
        )
    };
    u32::from(status == OK)
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_context_create(_: u32, _: u32) {}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_request_headers(_: u32, _: usize, is_end: u32) -> u32 {
    match GLOBAL.holds.get() && is_end == 0 {
        true => PAUSE,
        false => CONTINUE,
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_request_body(context: u32, size: usize, is_end: u32) -> u32 {
    if !GLOBAL.holds.get() {
        return CONTINUE;
    }
    if is_end == 0 {
        return PAUSE;
    }
    if let Some((call, times)) = chosen() {
        for number in 0..times {
            assert_eq!(make(call, number, context, size), OK);
        }
    }
    CONTINUE
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_request_trailers(_: u32, _: usize) -> u32 {
    CONTINUE
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_response_headers(_: u32, _: usize, _: u32) -> u32 {
    CONTINUE
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_response_body(_: u32, _: usize, _: u32) -> u32 {
    CONTINUE
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_response_trailers(_: u32, _: usize) -> u32 {
    CONTINUE
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_done(_: u32) -> u32 {
    1
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_log(_: u32) {}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_delete(_: u32) {}

/// The call and how often, as the request's header says.
fn chosen() -> Option<(u32, u32)> {
    let mut text = [0; 16];
    let size = {
        let value = header("x-call").ok()?;
        let text = text.get_mut(..value.len())?;
        text.copy_from_slice(value);
        value.len()
    };
    let text = std::str::from_utf8(text.get(..size)?).ok()?;
    let (call, times) = text.split_once(' ')?;
    Some((call.parse().ok()?, times.parse().ok()?))
}

fn header(name: &str) -> Result<&'static [u8], u32> {
    returned(|data, size| unsafe {
        proxy_get_header_map_value(REQUEST_HEADERS, name.as_ptr(), name.len(), data, size)
    })
}

fn property(path: &str) -> u32 {
    let found =
        returned(|data, size| unsafe { proxy_get_property(path.as_ptr(), path.len(), data, size) });
    status(found.map(|value| !value.is_empty()))
}

/// The bytes that a call returns, until the next call.
fn returned(call: impl FnOnce(*mut *mut u8, *mut usize) -> u32) -> Result<&'static [u8], u32> {
    let (mut data, mut size) = (std::ptr::null_mut(), 0);
    match call(&raw mut data, &raw mut size) {
        OK if data.is_null() => Ok(&[]),
        OK => Ok(unsafe { std::slice::from_raw_parts(data, size) }),
        other => Err(other),
    }
}

/// A status that is also an error if the call did not do what the benchmark measures.
fn status(found: Result<bool, u32>) -> u32 {
    match found {
        Ok(true) => OK,
        Ok(false) => u32::MAX,
        Err(status) => status,
    }
}

/// Makes a call for the time with this number.
fn make(call: u32, number: u32, context: u32, size: usize) -> u32 {
    let mut nanos = 0;
    match call {
        0 => OK,
        1 => unsafe { clock_time_get(MONOTONIC, 1, &raw mut nanos) },
        2 => unsafe { clock_time_get(REALTIME, 1, &raw mut nanos) },
        3 => unsafe { proxy_get_current_time_nanoseconds(&raw mut nanos) },
        4 => status(
            returned(|data, size| unsafe {
                proxy_get_header_map_pairs(REQUEST_HEADERS, data, size)
            })
            .map(|map| !map.is_empty()),
        ),
        5 => status(header("x-call").map(|value| !value.is_empty())),
        6 => status(header("x-absent").map(<[u8]>::is_empty).or(Ok(true))),
        7 => property("source\0address"),
        8 => property("filter_state\0calls.peer"),
        9 => {
            let [low, ..] = number.to_le_bytes();
            set_property(&[b"calls_", &[b'0' + low / 16, b'0' + low % 16][..]].concat())
        }
        10 => set_property(b"calls_same"),
        11 => replace("x-calls-verdict", "accepted"),
        12 => status(Ok(
            replace("x-calls-added", "v1") == OK && remove("x-calls-added") == OK
        )),
        13 => remove("x-calls-absent"),
        14 => unsafe { proxy_increment_metric(GLOBAL.counter.get(), 1) },
        15 => unsafe { proxy_record_metric(GLOBAL.gauge.get(), u64::from(number)) },
        16 => unsafe { proxy_record_metric(GLOBAL.histogram.get(), u64::from(number)) },
        17 => unsafe { proxy_get_metric(GLOBAL.counter.get(), &raw mut nanos) },
        18 => unsafe { proxy_get_log_level((&raw mut nanos).cast()) },
        19 => status(
            returned(|data, length| unsafe {
                proxy_get_buffer_bytes(REQUEST_BODY, 0, size, data, length)
            })
            .map(|body| body.len() == size),
        ),
        20 => unsafe { proxy_log(DEBUG, LINE.as_ptr(), LINE.len()) },
        21 => unsafe { proxy_log(WARN, LINE.as_ptr(), LINE.len()) },
        22 => status(get_shared().map(|_| true)),
        23 => get_shared().map_or_else(|status| status, set_shared),
        24 => unsafe { proxy_set_effective_context(context) },
        _ => u32::MAX,
    }
}

fn set_property(name: &[u8]) -> u32 {
    let value = "accepted";
    unsafe { proxy_set_property(name.as_ptr(), name.len(), value.as_ptr(), value.len()) }
}

fn replace(name: &str, value: &str) -> u32 {
    unsafe {
        proxy_replace_header_map_value(
            REQUEST_HEADERS,
            name.as_ptr(),
            name.len(),
            value.as_ptr(),
            value.len(),
        )
    }
}

fn remove(name: &str) -> u32 {
    unsafe { proxy_remove_header_map_value(REQUEST_HEADERS, name.as_ptr(), name.len()) }
}

/// The version of the shared data.
fn get_shared() -> Result<u32, u32> {
    let key = "calls";
    let mut version = 0;
    returned(|data, size| unsafe {
        proxy_get_shared_data(key.as_ptr(), key.len(), data, size, &raw mut version)
    })
    .map(|_| version)
}

fn set_shared(version: u32) -> u32 {
    let key = "calls";
    unsafe {
        proxy_set_shared_data(
            key.as_ptr(),
            key.len(),
            KIBIBYTE.as_ptr(),
            KIBIBYTE.len(),
            version,
        )
    }
}

#[link(wasm_import_module = "wasi_snapshot_preview1")]
unsafe extern "C" {
    fn clock_time_get(clock: u32, precision: u64, nanos: *mut u64) -> u32;
}

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_define_metric(kind: u32, name: *const u8, size: usize, metric: *mut u32) -> u32;
    fn proxy_get_buffer_bytes(
        buffer: u32,
        start: usize,
        max: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_get_current_time_nanoseconds(nanos: *mut u64) -> u32;
    fn proxy_get_header_map_pairs(map: u32, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_get_header_map_value(
        map: u32,
        name: *const u8,
        name_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_get_log_level(level: *mut u32) -> u32;
    fn proxy_get_metric(metric: u32, value: *mut u64) -> u32;
    fn proxy_get_property(
        path: *const u8,
        path_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_get_shared_data(
        key: *const u8,
        key_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
        version: *mut u32,
    ) -> u32;
    fn proxy_increment_metric(metric: u32, offset: i64) -> u32;
    fn proxy_log(level: u32, line: *const u8, size: usize) -> u32;
    fn proxy_record_metric(metric: u32, value: u64) -> u32;
    fn proxy_remove_header_map_value(map: u32, name: *const u8, size: usize) -> u32;
    fn proxy_replace_header_map_value(
        map: u32,
        name: *const u8,
        name_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
    fn proxy_set_effective_context(context: u32) -> u32;
    fn proxy_set_property(
        path: *const u8,
        path_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
    fn proxy_set_shared_data(
        key: *const u8,
        key_size: usize,
        value: *const u8,
        value_size: usize,
        version: u32,
    ) -> u32;
}
