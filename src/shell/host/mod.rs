//! The boundary to the host: the calls that the shell makes, and the types in them.
//!
//! Two files define the same functions. `envoy` calls Envoy. With `callbacks`, which Envoy calls, it is all that knows the
//! proxy-wasm ABI. `fake` is a host in memory: native tests and fuzzing run the whole shell on it. The target selects one of them
//! when the crate is compiled, so the boundary costs the module nothing.

#[cfg(target_arch = "wasm32")]
#[expect(
    unsafe_code,
    reason = "an exported name has to be unique in the module"
)]
mod callbacks;
#[cfg(target_arch = "wasm32")]
#[expect(unsafe_code, reason = "the one place where the host is called")]
mod envoy;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) mod fake;

#[cfg(target_arch = "wasm32")]
pub(super) use envoy::*;
#[cfg(not(target_arch = "wasm32"))]
pub(super) use fake::calls::*;

use crate::time::{Moment, UnixMillis};

/// Milliseconds of the monotonic clock.
pub(super) fn monotonic() -> Result<u64, Failure> {
    Ok(monotonic_nanos()? / 1_000_000)
}

/// A reading of both clocks.
pub(super) fn moment() -> Result<Moment, Failure> {
    moment_at(now()?.millis())
}

/// Both clocks, at the time `wall` that the caller has read.
pub(super) fn moment_at(wall: UnixMillis) -> Result<Moment, Failure> {
    let monotonic = monotonic()?;
    Ok(Moment { monotonic, wall })
}

/// The host refused a call, or returned bytes that are not as expected.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Failure;

/// The filter's answer to a callback.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Action {
    /// The host sends on what it has of the message.
    Continue,
    /// The host holds the message.
    Pause,
}

/// A header map.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Map {
    /// The request's headers.
    RequestHeaders,
    /// The request's trailers.
    RequestTrailers,
    /// The response's headers.
    ResponseHeaders,
    /// The response's trailers.
    ResponseTrailers,
    /// The headers of the response to a call that the module made.
    CallHeaders,
}

/// The kind of a metric.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum MetricKind {
    /// A number that only grows.
    Counter,
    /// A number that is set.
    Gauge,
    /// A distribution of values.
    Histogram,
}

/// The level of a log line.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Level {
    /// Requests that passed unchecked.
    Debug,
    /// Requests that were accepted, and changes of the configuration.
    Info,
    /// Requests that failed, and faults that an operator has to fix soon.
    Warn,
    /// Faults that stop requests.
    Error,
}
