//! The time by which a command judges or signs.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::time::UnixMillis;

/// Reads `--at`: RFC 3339, or seconds since 1970.
///
/// # Errors
/// The text is neither.
pub(super) fn parse(text: &str) -> Result<UnixMillis, String> {
    let seconds = text.parse::<i64>().ok();
    let millis = seconds.and_then(|seconds| seconds.checked_mul(1_000));
    millis
        .map(UnixMillis)
        .or_else(|| UnixMillis::from_rfc3339(text))
        .ok_or_else(|| "not a time: write 2026-11-29T12:00:00Z or seconds since 1970".to_owned())
}

/// The present time, unless `at` replaces it.
pub(super) fn now(at: Option<UnixMillis>) -> UnixMillis {
    at.unwrap_or_else(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let millis = since.map_or(0, |since| since.as_millis());
        UnixMillis(i64::try_from(millis).unwrap_or(i64::MAX))
    })
}
