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
    pub(super) fn start(&mut self) {
        self.since = host::monotonic_nanos().ok();
    }

    /// The microseconds for which it has run altogether.
    pub(super) fn stop(&mut self) -> Option<u64> {
        let ran = host::monotonic_nanos()
            .ok()?
            .saturating_sub(self.since.take()?);
        self.nanos = self.nanos.saturating_add(ran);
        Some(self.nanos / 1_000)
    }
}
