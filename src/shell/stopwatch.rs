//! How long the guard works on a request: the time in its callbacks, not the time between them.

use super::host;

/// Runs while a callback does.
#[derive(Default)]
pub(super) struct Stopwatch {
    nanos: u64,
    /// When it was started; absent also where the host has no such clock.
    since: Option<u64>,
}

impl Stopwatch {
    /// Starts it, and returns the reading of the monotonic clock, in nanoseconds.
    pub(super) fn start(&mut self) -> Option<u64> {
        self.since = host::monotonic_nanos().ok();
        self.since
    }

    /// When it was started, in nanoseconds of the monotonic clock.
    pub(super) const fn since(&self) -> Option<u64> {
        self.since
    }

    /// Stops it. Returns the reading of the monotonic clock, in nanoseconds.
    pub(super) fn stop(&mut self) -> Option<u64> {
        let now = host::monotonic_nanos().ok()?;
        let ran = now.saturating_sub(self.since.take()?);
        self.nanos = self.nanos.saturating_add(ran);
        Some(now)
    }

    /// The microseconds for which it has run altogether.
    pub(super) const fn micros(&self) -> u64 {
        self.nanos / 1_000
    }
}
