//! The host is Envoy: every call to it, by the proxy-wasm ABI.
//!
//! The wrappers of the proxy-wasm SDK panic on a status that they do not expect and on text that is not UTF-8. One of
//! them cannot pass response code details. A panic costs the worker all its requests, so this file makes the calls
//! itself. A status or a value that is not as expected becomes a [`Failure`].
//!
//! The ABI: <https://github.com/proxy-wasm/spec/tree/main/abi-versions/v0.2.1>.

use std::fmt::Arguments;
use std::ptr::{null, null_mut};
use std::time::Duration;

use super::{Failure, Level, Map, MetricKind};
use crate::request::headers::join_pairs;
use crate::time::UnixNanos;

impl Map {
    const fn number(self) -> u32 {
        match self {
            Self::RequestHeaders => 0,
            Self::RequestTrailers => 1,
            Self::ResponseHeaders => 2,
            Self::ResponseTrailers => 3,
            Self::CallHeaders => 6,
        }
    }
}

/// The bytes of a header map, for [`crate::request::headers::split_pairs`].
pub(crate) fn header_map(map: Map) -> Result<Vec<u8>, Failure> {
    optional_header_map(map)?.ok_or(Failure)
}

/// The same for a map that may be absent, such as the trailers of a response: `None` where it is absent or empty.
pub(crate) fn optional_header_map(map: Map) -> Result<Option<Vec<u8>>, Failure> {
    owned(|data, size| unsafe { proxy_get_header_map_pairs(map.number(), data, size) })
}

/// Sets a header.
pub(crate) fn set_header(map: Map, name: &str, value: &str) -> Result<(), Failure> {
    done(unsafe {
        proxy_replace_header_map_value(
            map.number(),
            name.as_ptr(),
            name.len(),
            value.as_ptr(),
            value.len(),
        )
    })
}

/// Removes all headers of this name.
pub(crate) fn remove_header(map: Map, name: &[u8]) -> Result<(), Failure> {
    done(unsafe { proxy_remove_header_map_value(map.number(), name.as_ptr(), name.len()) })
}

/// Exactly `size` bytes of the request's body, from `start`.
pub(crate) fn body(start: usize, size: usize) -> Result<Vec<u8>, Failure> {
    const REQUEST_BODY: u32 = 0;
    buffer(REQUEST_BODY, start, size)
}

/// Empties the request's body. The host holds `size` bytes of it.
pub(crate) fn clear_body(size: usize) -> Result<(), Failure> {
    const REQUEST_BODY: u32 = 0;
    done(unsafe { proxy_set_buffer_bytes(REQUEST_BODY, 0, size, null(), 0) })
}

/// The body of the response to a call, which has `size` bytes.
pub(crate) fn call_body(size: usize) -> Result<Vec<u8>, Failure> {
    const CALL_RESPONSE_BODY: u32 = 4;
    buffer(CALL_RESPONSE_BODY, 0, size)
}

/// Sends a GET request to a cluster, and returns the call's number.
pub(crate) fn get(cluster: &str, authority: &str, path: &str) -> Result<u32, Failure> {
    const TIMEOUT_MILLIS: u32 = 10_000;
    let headers = [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", authority),
        (":path", path),
        ("accept", "application/json"),
        ("user-agent", "webhook-guard"),
    ];
    let headers = join_pairs(&headers).ok_or(Failure)?;
    let trailers = join_pairs(&[]).ok_or(Failure)?;
    let mut call = 0;
    done(unsafe {
        proxy_http_call(
            cluster.as_ptr(),
            cluster.len(),
            headers.as_ptr(),
            headers.len(),
            null(),
            0,
            trailers.as_ptr(),
            trailers.len(),
            TIMEOUT_MILLIS,
            &raw mut call,
        )
    })?;
    Ok(call)
}

/// The plugin's configuration, which has `size` bytes.
pub(crate) fn plugin_configuration(size: usize) -> Result<Vec<u8>, Failure> {
    const PLUGIN_CONFIGURATION: u32 = 7;
    buffer(PLUGIN_CONFIGURATION, 0, size)
}

fn buffer(buffer: u32, start: usize, size: usize) -> Result<Vec<u8>, Failure> {
    if size == 0 {
        // For an empty buffer the host returns neither bytes nor an address.
        return Ok(Vec::new());
    }
    let bytes =
        owned(|data, length| unsafe { proxy_get_buffer_bytes(buffer, start, size, data, length) })?;
    bytes.filter(|bytes| bytes.len() == size).ok_or(Failure)
}

/// An attribute by its path, whose parts end with a zero byte each, but for the last one. `None` where it is absent.
pub(crate) fn property(path: &str) -> Result<Option<Vec<u8>>, Failure> {
    owned(|data, size| unsafe { proxy_get_property(path.as_ptr(), path.len(), data, size) })
}

/// The value of the filter state of this key, `None` where it is absent.
pub(crate) fn filter_state(key: &str) -> Result<Option<Vec<u8>>, Failure> {
    property(&["filter_state\0", key].concat())
}

/// Sets the filter state `wasm.<name>`.
pub(crate) fn set_filter_state(name: &str, value: &[u8]) -> Result<(), Failure> {
    done(unsafe { proxy_set_property(name.as_ptr(), name.len(), value.as_ptr(), value.len()) })
}

/// Answers the request. `details` become the response code details.
pub(crate) fn respond(
    status: u16,
    details: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Result<(), Failure> {
    const NO_GRPC_STATUS: i32 = -1;
    let headers = join_pairs(headers).ok_or(Failure)?;
    done(unsafe {
        proxy_send_local_response(
            status.into(),
            details.as_ptr(),
            details.len(),
            body.as_ptr(),
            body.len(),
            headers.as_ptr(),
            headers.len(),
            NO_GRPC_STATUS,
        )
    })
}

/// Resets the request: its client gets no response.
pub(crate) fn reset_request() -> Result<(), Failure> {
    const REQUEST: u32 = 0;
    done(unsafe { proxy_close_stream(REQUEST) })
}

/// The wall clock.
pub(crate) fn now() -> Result<UnixNanos, Failure> {
    let mut nanos: u64 = 0;
    done(unsafe { proxy_get_current_time_nanoseconds(&raw mut nanos) })?;
    Ok(UnixNanos(nanos))
}

/// The lowest level of the lines that the host writes. A host that does not report it gets all lines.
pub(crate) fn least_level() -> Level {
    let mut least = 0;
    let least = done(unsafe { proxy_get_log_level(&raw mut least) }).map(|()| least);
    match least {
        Err(Failure) | Ok(0 | 1) => Level::Debug,
        Ok(2) => Level::Info,
        Ok(3) => Level::Warn,
        // Also where the host writes only more urgent lines than the guard has: the host drops them.
        Ok(_) => Level::Error,
    }
}

/// Writes a line to the host's log. The host filters by its own level.
pub(crate) fn log(level: Level, line: Arguments<'_>) {
    log_text(level, &line.to_string());
}

/// The same for a line that is a text already.
pub(crate) fn log_text(level: Level, line: &str) {
    // A lost line cannot be reported anywhere.
    let _ = unsafe { proxy_log(number(level), line.as_ptr(), line.len()) };
}

const fn number(level: Level) -> u32 {
    match level {
        Level::Debug => 1,
        Level::Info => 2,
        Level::Warn => 3,
        Level::Error => 4,
    }
}

/// Defines a metric, or finds the one of this name.
pub(crate) fn define_metric(kind: MetricKind, name: &str) -> Result<u32, Failure> {
    let kind = match kind {
        MetricKind::Counter => 0,
        MetricKind::Gauge => 1,
        MetricKind::Histogram => 2,
    };
    let mut metric = 0;
    done(unsafe { proxy_define_metric(kind, name.as_ptr(), name.len(), &raw mut metric) })?;
    Ok(metric)
}

/// Adds to a counter, or to a gauge that all workers share.
pub(crate) fn increment(metric: u32, by: i64) -> Result<(), Failure> {
    done(unsafe { proxy_increment_metric(metric, by) })
}

/// Sets a gauge, or adds a value to a histogram.
pub(crate) fn record(metric: u32, value: u64) -> Result<(), Failure> {
    done(unsafe { proxy_record_metric(metric, value) })
}

/// The value of a counter or a gauge.
pub(crate) fn metric(metric: u32) -> Result<u64, Failure> {
    let mut value = 0;
    done(unsafe { proxy_get_metric(metric, &raw mut value) })?;
    Ok(value)
}

/// The shared data of this key, and their version. `None` where they are absent or empty.
pub(crate) fn shared_data(key: &str) -> Result<Option<(Vec<u8>, u32)>, Failure> {
    let mut version = 0;
    let data = owned(|data, size| unsafe {
        proxy_get_shared_data(key.as_ptr(), key.len(), data, size, &raw mut version)
    })?;
    Ok(data.map(|data| (data, version)))
}

/// Sets data that all workers share.
pub(crate) fn set_shared_data(key: &str, value: &[u8]) -> Result<(), Failure> {
    const ANY_VERSION: u32 = 0;
    swap_shared_data(key, value, ANY_VERSION).map(drop)
}

/// Sets data that all workers share, if they still have this version.
pub(crate) fn swap_shared_data(key: &str, value: &[u8], version: u32) -> Result<bool, Failure> {
    let status = unsafe {
        proxy_set_shared_data(
            key.as_ptr(),
            key.len(),
            value.as_ptr(),
            value.len(),
            version,
        )
    };
    match status {
        CAS_MISMATCH => Ok(false),
        other => done(other).map(|()| true),
    }
}

/// Nanoseconds of a clock that all workers share and that is never set.
pub(crate) fn monotonic_nanos() -> Result<u64, Failure> {
    const MONOTONIC: u32 = 1;
    let mut nanos = 0;
    done(unsafe { clock_time_get(MONOTONIC, 1, &raw mut nanos) })?;
    Ok(nanos)
}

/// Applies the next calls to another context.
pub(crate) fn set_effective_context(id: u32) -> Result<(), Failure> {
    done(unsafe { proxy_set_effective_context(id) })
}

/// How often the root context ticks; zero stops it.
pub(crate) fn set_tick_period(period: Duration) -> Result<(), Failure> {
    let millis = u32::try_from(period.as_millis()).map_err(|_| Failure)?;
    done(unsafe { proxy_set_tick_period_milliseconds(millis) })
}

fn done(status: u32) -> Result<(), Failure> {
    match status {
        OK => Ok(()),
        _ => Err(Failure),
    }
}

/// The bytes that a call returns in memory that `proxy_on_memory_allocate` made for it, `None` where it found nothing.
fn owned(call: impl FnOnce(*mut *mut u8, *mut usize) -> u32) -> Result<Option<Vec<u8>>, Failure> {
    let mut data: *mut u8 = null_mut();
    let mut size = 0;
    match call(&raw mut data, &raw mut size) {
        OK if data.is_null() => Ok(None),
        // SAFETY: the host got `data` from `proxy_on_memory_allocate(size)`, a boxed slice of `size`
        // bytes which that callback gave away and the host has filled.
        OK => Ok(Some(unsafe { Vec::from_raw_parts(data, size, size) })),
        NOT_FOUND => Ok(None),
        _ => Err(Failure),
    }
}

const OK: u32 = 0;
const NOT_FOUND: u32 = 1;
const CAS_MISMATCH: u32 = 8;

#[link(wasm_import_module = "wasi_snapshot_preview1")]
unsafe extern "C" {
    fn clock_time_get(clock: u32, precision: u64, nanos: *mut u64) -> u32;
}

// Statuses are read as plain numbers: a host may return one that no enumeration knows.
#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_close_stream(stream: u32) -> u32;
    fn proxy_define_metric(kind: u32, name: *const u8, name_size: usize, metric: *mut u32) -> u32;
    fn proxy_get_buffer_bytes(
        buffer: u32,
        start: usize,
        max: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_get_current_time_nanoseconds(nanos: *mut u64) -> u32;
    fn proxy_get_header_map_pairs(map: u32, data: *mut *mut u8, size: *mut usize) -> u32;
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
    fn proxy_http_call(
        cluster: *const u8,
        cluster_size: usize,
        headers: *const u8,
        headers_size: usize,
        body: *const u8,
        body_size: usize,
        trailers: *const u8,
        trailers_size: usize,
        timeout_millis: u32,
        call: *mut u32,
    ) -> u32;
    fn proxy_increment_metric(metric: u32, offset: i64) -> u32;
    fn proxy_log(level: u32, line: *const u8, line_size: usize) -> u32;
    fn proxy_record_metric(metric: u32, value: u64) -> u32;
    fn proxy_remove_header_map_value(map: u32, name: *const u8, name_size: usize) -> u32;
    fn proxy_replace_header_map_value(
        map: u32,
        name: *const u8,
        name_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
    fn proxy_send_local_response(
        status: u32,
        details: *const u8,
        details_size: usize,
        body: *const u8,
        body_size: usize,
        headers: *const u8,
        headers_size: usize,
        grpc_status: i32,
    ) -> u32;
    fn proxy_set_buffer_bytes(
        buffer: u32,
        start: usize,
        length: usize,
        data: *const u8,
        size: usize,
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
    fn proxy_set_tick_period_milliseconds(millis: u32) -> u32;
}
