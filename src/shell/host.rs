//! Every call to the host: bytes in, `Result` out.
//!
//! The SDK's wrappers panic on a status they do not expect and on text that is not UTF-8, and one of
//! them cannot pass response code details. A panic costs the worker all it holds, so the calls are
//! made here, and whatever is not as expected is a [`Failure`].
//!
//! The ABI: <https://github.com/proxy-wasm/spec/tree/main/abi-versions/v0.2.1>.

use std::ptr::{null, null_mut};
use std::time::Duration;

use crate::request::headers::join_pairs;
use crate::time::Moment;
use crate::time::UnixMillis;

/// The host did not do, or did not have, what it was asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Failure;

/// A header map.
#[derive(Clone, Copy, Debug)]
pub(super) enum Map {
    RequestHeaders,
    RequestTrailers,
    ResponseHeaders,
    ResponseTrailers,
    CallHeaders,
}

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
pub(super) fn header_map(map: Map) -> Result<Vec<u8>, Failure> {
    owned(|data, size| unsafe { proxy_get_header_map_pairs(map.number(), data, size) })?
        .ok_or(Failure)
}

/// Sets a header.
pub(super) fn set_header(map: Map, name: &str, value: &str) -> Result<(), Failure> {
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
pub(super) fn remove_header(map: Map, name: &[u8]) -> Result<(), Failure> {
    done(unsafe { proxy_remove_header_map_value(map.number(), name.as_ptr(), name.len()) })
}

/// Exactly `size` bytes of the request's body, from `start`.
pub(super) fn body(start: usize, size: usize) -> Result<Vec<u8>, Failure> {
    const REQUEST_BODY: u32 = 0;
    buffer(REQUEST_BODY, start, size)
}

/// Empties the request's body, of which the host holds `size` bytes.
pub(super) fn clear_body(size: usize) -> Result<(), Failure> {
    const REQUEST_BODY: u32 = 0;
    done(unsafe { proxy_set_buffer_bytes(REQUEST_BODY, 0, size, null(), 0) })
}

/// The body of the response to a call, which has `size` bytes.
pub(super) fn call_body(size: usize) -> Result<Vec<u8>, Failure> {
    const CALL_RESPONSE_BODY: u32 = 4;
    buffer(CALL_RESPONSE_BODY, 0, size)
}

/// Asks a cluster by GET; returns the call's number, under which the SDK hands the response on.
pub(super) fn get(cluster: &str, authority: &str, path: &str) -> Result<u32, Failure> {
    const TIMEOUT: Duration = Duration::from_secs(10);
    let headers = vec![
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", authority),
        (":path", path),
        ("accept", "application/json"),
        ("user-agent", "webhook-guard"),
    ];
    // By the SDK, which has to know the call. Envoy answers it with one of the statuses that do not panic.
    proxy_wasm::hostcalls::dispatch_http_call(cluster, headers, None, Vec::new(), TIMEOUT)
        .map_err(|_| Failure)
}

/// The plugin's configuration, which has `size` bytes.
pub(super) fn plugin_configuration(size: usize) -> Result<Vec<u8>, Failure> {
    const PLUGIN_CONFIGURATION: u32 = 7;
    buffer(PLUGIN_CONFIGURATION, 0, size)
}

fn buffer(buffer: u32, start: usize, size: usize) -> Result<Vec<u8>, Failure> {
    if size == 0 {
        // Of an empty buffer the host gives nothing, not even nothing's address.
        return Ok(Vec::new());
    }
    let bytes =
        owned(|data, length| unsafe { proxy_get_buffer_bytes(buffer, start, size, data, length) })?;
    bytes.filter(|bytes| bytes.len() == size).ok_or(Failure)
}

/// An attribute by its path; `None` where the host has none.
pub(super) fn property(path: &[&str]) -> Result<Option<Vec<u8>>, Failure> {
    let path = path.join("\0");
    owned(|data, size| unsafe { proxy_get_property(path.as_ptr(), path.len(), data, size) })
}

/// What the filter state of this key holds; `None` where there is none.
pub(super) fn filter_state(key: &str) -> Result<Option<Vec<u8>>, Failure> {
    property(&["filter_state", key])
}

/// Sets the filter state `wasm.<name>`.
pub(super) fn set_filter_state(name: &str, value: &[u8]) -> Result<(), Failure> {
    done(unsafe { proxy_set_property(name.as_ptr(), name.len(), value.as_ptr(), value.len()) })
}

/// Answers the request in the upstream's stead; `details` become the response code details.
pub(super) fn respond(
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

/// The wall clock.
pub(super) fn now() -> Result<UnixMillis, Failure> {
    let mut nanos: u64 = 0;
    done(unsafe { proxy_get_current_time_nanoseconds(&raw mut nanos) })?;
    // The millisecond's place takes so many bits that the sign bit is free.
    Ok(UnixMillis((nanos / 1_000_000).cast_signed()))
}

/// Whether the host writes lines of this level.
pub(super) fn logs(level: log::Level) -> bool {
    let mut least = 0;
    // A host that does not tell gets the line.
    done(unsafe { proxy_get_log_level(&raw mut least) }).is_err() || number(level) >= least
}

const fn number(level: log::Level) -> u32 {
    match level {
        log::Level::Trace => 0,
        log::Level::Debug => 1,
        log::Level::Info => 2,
        log::Level::Warn => 3,
        log::Level::Error => 4,
    }
}

/// The host's log.
struct Log;

impl log::Log for Log {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        // The host filters by its own level.
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let line = record.args().to_string();
        // There is nowhere to say that a line was lost.
        let _ = unsafe { proxy_log(number(record.level()), line.as_ptr(), line.len()) };
    }

    fn flush(&self) {}
}

/// Has the host write what is logged.
pub(super) fn log() {
    // It fails where that was done before.
    let _ = log::set_logger(&Log);
    log::set_max_level(log::LevelFilter::Trace);
}

/// What a metric's number stands for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// Defines a metric, or finds the one of this name.
pub(super) fn define_metric(kind: Kind, name: &str) -> Result<u32, Failure> {
    let kind = match kind {
        Kind::Counter => 0,
        Kind::Gauge => 1,
        Kind::Histogram => 2,
    };
    let mut metric = 0;
    done(unsafe { proxy_define_metric(kind, name.as_ptr(), name.len(), &raw mut metric) })?;
    Ok(metric)
}

/// Adds to a counter, or to a gauge that all workers share.
pub(super) fn increment(metric: u32, by: i64) -> Result<(), Failure> {
    done(unsafe { proxy_increment_metric(metric, by) })
}

/// Sets a gauge, or adds a value to a histogram.
pub(super) fn record(metric: u32, value: u64) -> Result<(), Failure> {
    done(unsafe { proxy_record_metric(metric, value) })
}

/// The value of a counter or a gauge.
pub(super) fn metric(metric: u32) -> Result<u64, Failure> {
    let mut value = 0;
    done(unsafe { proxy_get_metric(metric, &raw mut value) })?;
    Ok(value)
}

/// Data that all workers share, by key, and their version; `None` where there are none, nor any bytes.
pub(super) fn shared_data(key: &str) -> Result<Option<(Vec<u8>, u32)>, Failure> {
    let mut version = 0;
    let data = owned(|data, size| unsafe {
        proxy_get_shared_data(key.as_ptr(), key.len(), data, size, &raw mut version)
    })?;
    Ok(data.map(|data| (data, version)))
}

/// Sets data that all workers share.
pub(super) fn set_shared_data(key: &str, value: &[u8]) -> Result<(), Failure> {
    const ANY_VERSION: u32 = 0;
    swap_shared_data(key, value, ANY_VERSION).map(drop)
}

/// Sets data that all workers share, if they still have this version.
pub(super) fn swap_shared_data(key: &str, value: &[u8], version: u32) -> Result<bool, Failure> {
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

/// Milliseconds of a clock that is the same for all workers and that nobody sets.
pub(super) fn monotonic() -> Result<u64, Failure> {
    Ok(monotonic_nanos()? / 1_000_000)
}

/// A reading of both clocks.
pub(super) fn moment() -> Result<Moment, Failure> {
    Ok(Moment {
        monotonic: monotonic()?,
        wall: now()?,
    })
}

/// Nanoseconds of this clock.
pub(super) fn monotonic_nanos() -> Result<u64, Failure> {
    const MONOTONIC: u32 = 1;
    let mut nanos = 0;
    done(unsafe { clock_time_get(MONOTONIC, 1, &raw mut nanos) })?;
    Ok(nanos)
}

/// Makes the next calls about another context.
pub(super) fn set_effective_context(id: u32) -> Result<(), Failure> {
    done(unsafe { proxy_set_effective_context(id) })
}

/// How often the root context ticks; zero stops it.
pub(super) fn set_tick_period(period: Duration) -> Result<(), Failure> {
    let millis = u32::try_from(period.as_millis()).map_err(|_| Failure)?;
    done(unsafe { proxy_set_tick_period_milliseconds(millis) })
}

fn done(status: u32) -> Result<(), Failure> {
    match status {
        OK => Ok(()),
        _ => Err(Failure),
    }
}

/// What a call hands over in memory that the SDK allocated for it; `None` where it found nothing.
fn owned(call: impl FnOnce(*mut *mut u8, *mut usize) -> u32) -> Result<Option<Vec<u8>>, Failure> {
    let mut data: *mut u8 = null_mut();
    let mut size = 0;
    match call(&raw mut data, &raw mut size) {
        OK if data.is_null() => Ok(None),
        // SAFETY: the host got `data` from `proxy_on_memory_allocate(size)`, a boxed slice of `size`
        // bytes which the SDK gave away and the host has filled.
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
