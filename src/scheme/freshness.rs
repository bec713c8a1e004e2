//! When a signed request is fresh, according to its timestamp or its token.

use std::time::Duration;

use crate::time::UnixMillis;
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

impl Freshness {
    /// The freshness of a request without a signed time.
    pub(crate) const ALWAYS: Self = Self {
        from: UnixMillis(i64::MIN),
        until: UnixMillis(i64::MAX),
    };

    /// The freshness of a request with this timestamp.
    pub(crate) fn around(time: UnixMillis, tolerance: Duration) -> Self {
        Self::between(Some(time), Some(time), tolerance)
    }

    /// The freshness between two optional times, with this tolerance on either side.
    pub(crate) fn between(
        begin: Option<UnixMillis>,
        end: Option<UnixMillis>,
        tolerance: Duration,
    ) -> Self {
        let tolerance = i64::try_from(tolerance.as_millis()).unwrap_or(i64::MAX);
        Self {
            from: begin.map_or(Self::ALWAYS.from, |UnixMillis(begin)| {
                UnixMillis(begin.saturating_sub(tolerance))
            }),
            until: end.map_or(Self::ALWAYS.until, |UnixMillis(end)| {
                UnixMillis(end.saturating_add(tolerance))
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
