//! Which requests the guard measures, and how long it works on one of them: the time in its callbacks, not the time
//! between them.

use std::cell::Cell;

use super::host;
use crate::time::UnixNanos;

/// The least time between two requests that a worker measures, in nanoseconds. A measured request costs some more calls to
/// the host. With fewer requests than one in this time, the guard measures them all.
const INTERVAL: u64 = 10_000_000;

/// Selects the requests that a worker measures.
#[derive(Default)]
pub(super) struct Sampler(Cell<Option<UnixNanos>>);

impl Sampler {
    /// Whether to measure a request that arrives at `now`. A change of the wall clock only selects one more request.
    pub(super) fn selects(&self, now: UnixNanos) -> bool {
        let UnixNanos(nanos) = now;
        let is_due = self
            .0
            .get()
            .is_none_or(|UnixNanos(last)| nanos.abs_diff(last) >= INTERVAL);
        if is_due {
            self.0.set(Some(now));
        }
        is_due
    }
}

/// Runs while a callback does, if the request is measured.
#[derive(Default)]
pub(super) struct Stopwatch {
    is_used: bool,
    nanos: u64,
    /// When it was started; absent also where the host has no such clock.
    since: Option<u64>,
}

impl Stopwatch {
    /// Starts it for the first time.
    pub(super) fn use_and_start(&mut self) {
        self.is_used = true;
        self.start();
    }

    /// Starts it again.
    pub(super) fn start(&mut self) {
        if self.is_used {
            self.since = host::monotonic_nanos().ok();
        }
    }

    /// Stops it.
    pub(super) fn stop(&mut self) {
        if let Some(since) = self.since.take() {
            let ran = host::monotonic_nanos().map_or(0, |now| now.saturating_sub(since));
            self.nanos = self.nanos.saturating_add(ran);
        }
    }

    /// The microseconds for which it has run altogether, if it is used.
    pub(super) fn micros(&self) -> Option<u64> {
        self.is_used.then_some(self.nanos / 1_000)
    }
}
