//! When a signed request is fresh, according to its timestamp or its token.

use std::time::Duration;

use crate::config::Node;
use crate::time::{self, UnixMillis};
use crate::verdict::Denial;

/// The time during which a request is fresh, both ends included.
///
/// The guard checks a request when its headers arrive, so that a stale one costs no body. A body may take long, so the
/// guard checks again at the verdict.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Freshness {
    from: UnixMillis,
    until: UnixMillis,
}

/// How far a timestamp may be from the clock.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Tolerance {
    /// How old a request may be.
    pub(crate) past: Duration,
    /// How far the sender's clock may be ahead.
    pub(crate) future: Duration,
}

impl Freshness {
    /// The freshness of a request without a signed time.
    pub(crate) const ALWAYS: Self = Self {
        from: UnixMillis(i64::MIN),
        until: UnixMillis(i64::MAX),
    };

    /// The freshness of a request with this timestamp.
    pub(crate) fn around(time: UnixMillis, tolerance: Tolerance) -> Self {
        Self::between(Some(time), Some(time), tolerance)
    }

    /// The freshness between two optional times, with this tolerance around them.
    pub(crate) fn between(
        begin: Option<UnixMillis>,
        end: Option<UnixMillis>,
        tolerance: Tolerance,
    ) -> Self {
        let millis = |side: Duration| i64::try_from(side.as_millis()).unwrap_or(i64::MAX);
        Self {
            from: begin.map_or(Self::ALWAYS.from, |UnixMillis(begin)| {
                UnixMillis(begin.saturating_sub(millis(tolerance.future)))
            }),
            until: end.map_or(Self::ALWAYS.until, |UnixMillis(end)| {
                UnixMillis(end.saturating_add(millis(tolerance.past)))
            }),
        }
    }

    /// The time during which both are fresh.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            from: self.from.max(other.from),
            until: self.until.min(other.until),
        }
    }

    /// Judges a request at `now`.
    ///
    /// # Errors
    /// `TimestampExpired` after its time, `TimestampFuture` before it.
    pub(crate) fn judge(self, now: UnixMillis) -> Result<(), Denial> {
        if now > self.until {
            return Err(Denial::TimestampExpired);
        }
        if now < self.from {
            return Err(Denial::TimestampFuture);
        }
        Ok(())
    }

    /// The last moment at which the request is fresh. `None` if the request stays fresh.
    pub(crate) fn end(self) -> Option<UnixMillis> {
        (self.until != Self::ALWAYS.until).then_some(self.until)
    }
}

impl Tolerance {
    /// The same on both sides.
    pub(crate) const fn both(side: Duration) -> Self {
        Self {
            past: side,
            future: side,
        }
    }

    /// Reads a `tolerance`: a duration for both sides, or an object. A side that the object omits is that of `default`.
    pub(crate) fn read(node: Node<'_>, default: Self) -> Option<Self> {
        if !node.is_object() {
            return read_side(node).map(Self::both);
        }
        let mut block = node.object("{past: 8h, future: 5m}")?;
        let past = block.optional("past", read_side);
        let future = block.optional("future", read_side);
        block.close()?;
        Some(Self {
            past: past.unwrap_or(default.past),
            future: future.unwrap_or(default.future),
        })
    }

    /// The time for which a request can be fresh: from the first clock that accepts it to the last one.
    pub(crate) const fn span(self) -> Duration {
        self.past.saturating_add(self.future)
    }

    /// Whether a retry may repeat the signed bytes: old requests are then genuine, and those from the future are not.
    pub(crate) fn takes_retries(self) -> bool {
        self.past > self.future
    }
}

/// Reads one side of a tolerance.
fn read_side(node: Node<'_>) -> Option<Duration> {
    let side = node.parse(time::parse)?;
    match side.is_zero() {
        true => node.error(
            "a tolerance of 0s rejects genuine requests: write 5m, or the sender's recommendation",
        ),
        false => Some(side),
    }
}
