//! The time by which a command judges or signs.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::time::UnixMillis;

/// Numbers of at least this size are milliseconds, as for the unit `s-or-ms`. As seconds, the year would be 5138 or later.
const FIRST_MILLIS: u64 = 100_000_000_000;

/// Reads `--at`: RFC 3339, or seconds since 1970. Senders also write milliseconds, which have 12 or more digits.
///
/// # Errors
/// The text is neither.
pub(super) fn parse(text: &str) -> Result<UnixMillis, String> {
    let number = text.parse::<i64>().ok();
    let millis = number.and_then(|number| match number.unsigned_abs() < FIRST_MILLIS {
        true => number.checked_mul(1_000),
        false => Some(number),
    });
    millis
        .map(UnixMillis)
        .or_else(|| UnixMillis::from_rfc3339(text))
        .ok_or_else(|| {
            "not a time: write 2026-11-29T12:00:00Z, or seconds or milliseconds since 1970"
                .to_owned()
        })
}

/// The present time, unless `at` replaces it.
pub(super) fn now(at: Option<UnixMillis>) -> UnixMillis {
    at.unwrap_or_else(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let millis = since.map_or(0, |since| since.as_millis());
        UnixMillis(i64::try_from(millis).unwrap_or(i64::MAX))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_one_of_three_forms() {
        for (text, millis) in [
            ("2026-11-29T12:00:00Z", 1_795_953_600_000),
            ("2026-11-29T12:00:00.25Z", 1_795_953_600_250),
            ("2026-11-29T13:00:00+01:00", 1_795_953_600_000),
            ("1795953600", 1_795_953_600_000),
            ("1795953600250", 1_795_953_600_250),
            ("99999999999", 99_999_999_999_000),
            ("100000000000", 100_000_000_000),
            ("0", 0),
            ("-1", -1_000),
        ] {
            assert_eq!(parse(text), Ok(UnixMillis(millis)), "{text}");
        }
    }

    #[test]
    fn another_text_is_not_a_time() {
        for text in [
            "",
            "noon",
            "1795953600.5",
            "2026-11-29",
            "9223372036854775808",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
