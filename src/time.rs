//! Durations in the format of the Gateway API, and points in time.

use std::ops::RangeInclusive;
use std::time::Duration;

/// A point in time: milliseconds since 1970 in UTC, the finest unit that a sender signs.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct UnixMillis(pub i64);

/// A reading of the wall clock: nanoseconds since 1970 in UTC.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct UnixNanos(pub u64);

impl UnixNanos {
    /// The milliseconds since 1970.
    #[must_use]
    pub const fn millis(self) -> UnixMillis {
        // The division frees more bits than the sign takes.
        UnixMillis((self.0 / 1_000_000).cast_signed())
    }

    /// The time since `earlier`; none if the clock was set back meanwhile.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// A time that only grows, in milliseconds since an unknown start. Changes of the wall clock do not affect it.
pub type Monotonic = u64;

/// One reading of both clocks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Moment {
    /// The clock for durations.
    pub monotonic: Monotonic,
    /// The clock for signed timestamps. An operator or time synchronization may set it back.
    pub wall: UnixMillis,
}

impl Moment {
    /// The wall clock's seconds since 1970, rounded down.
    pub(crate) fn seconds(self) -> u32 {
        u32::try_from(self.wall.0.div_euclid(1_000).max(0)).unwrap_or(u32::MAX)
    }
}

/// The time after this duration. The highest bit of the result is always 0, which a bucket of the replay memory uses.
pub(crate) fn later(now: Monotonic, by: Duration) -> Monotonic {
    let by = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
    now.saturating_add(by).min(u64::MAX >> 1)
}

impl UnixMillis {
    /// The milliseconds from `other` to this time.
    #[must_use]
    pub const fn since(self, other: Self) -> i64 {
        self.0.saturating_sub(other.0)
    }

    /// Reads an RFC 3339 time, to the millisecond. A leap second is read as the second after it.
    #[must_use]
    pub fn from_rfc3339(text: &str) -> Option<Self> {
        let mut text = Digits(text.as_bytes());
        let year = text.number(4, 0..=9999)?;
        text.literal(b"-")?;
        let month = text.number(2, 1..=12)?;
        text.literal(b"-")?;
        let day = text.number(2, 1..=days_in(year, month))?;
        text.literal(b"Tt ")?;
        let hour = text.number(2, 0..=23)?;
        text.literal(b":")?;
        let minute = text.number(2, 0..=59)?;
        text.literal(b":")?;
        let second = text.number(2, 0..=60)?;
        let millis = match text.literal(b".") {
            Some(_) => text.fraction()?,
            None => 0,
        };
        let offset = text.offset()?;
        let minutes = days_since_1970(year, month, day)
            .checked_mul(1_440)?
            .checked_add(hour.checked_mul(60)?)?
            .checked_add(minute.checked_sub(offset)?)?;
        let seconds = minutes.checked_mul(60)?.checked_add(second)?;
        text.0.is_empty().then_some(())?;
        Some(Self(seconds.checked_mul(1_000)?.checked_add(millis)?))
    }

    /// Reads an HTTP date in its current form, `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, 5.6.7). The day of the week is not
    /// compared with the date.
    #[must_use]
    pub fn from_http_date(text: &str) -> Option<Self> {
        const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
        let (weekday, date) = text.split_once(", ")?;
        let is_weekday =
            weekday.len() == 3 && weekday.bytes().all(|byte| byte.is_ascii_alphabetic());
        let mut parts = date.split(' ');
        let (day, month, year) = (parts.next()?, parts.next()?, parts.next()?);
        let (time, zone) = (parts.next()?, parts.next()?);
        let at = MONTHS
            .find(month)
            .filter(|at| month.len() == 3 && at % 3 == 0)?;
        let month = at.checked_div(3)?.checked_add(1)?;
        let is_whole = is_weekday && day.len() == 2 && time.len() == 8 && zone == "GMT";
        let is_whole = is_whole && parts.next().is_none();
        is_whole.then(|| Self::from_rfc3339(&format!("{year}-{month:02}-{day}T{time}Z")))?
    }
}

/// The rest of the text of a time.
struct Digits<'t>(&'t [u8]);

impl Digits<'_> {
    /// A number with this many digits, in this range.
    fn number(&mut self, digits: usize, range: RangeInclusive<i64>) -> Option<i64> {
        let (number, rest) = self.0.split_at_checked(digits)?;
        let all_digits = number.iter().all(u8::is_ascii_digit);
        let number = std::str::from_utf8(number).ok()?.parse().ok()?;
        self.0 = rest;
        (all_digits && range.contains(&number)).then_some(number)
    }

    /// One of these bytes.
    fn literal(&mut self, bytes: &[u8]) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        bytes.contains(first).then(|| self.0 = rest)?;
        Some(*first)
    }

    /// The milliseconds in the digits of a fraction, at least one.
    fn fraction(&mut self) -> Option<i64> {
        let digits = self
            .0
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        let (fraction, rest) = self.0.split_at_checked(digits)?;
        self.0 = rest;
        let padded: Vec<u8> = fraction.iter().copied().chain(*b"00").take(3).collect();
        Digits(&padded).number(3, 0..=999)
    }

    /// The offset from UTC, in minutes.
    fn offset(&mut self) -> Option<i64> {
        let sign = match self.literal(b"Zz+-")? {
            b'+' => 1,
            b'-' => -1,
            _ => return Some(0),
        };
        let hours = self.number(2, 0..=23)?;
        self.literal(b":")?;
        let minutes = self.number(2, 0..=59)?;
        hours
            .checked_mul(60)?
            .checked_add(minutes)?
            .checked_mul(sign)
    }
}

fn is_leap(year: i64) -> bool {
    let divides = |number| year.rem_euclid(number) == 0;
    divides(4) && (!divides(100) || divides(400))
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar in the years 0 to 9999.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let before = year.saturating_sub(1);
    let leap_days = [4, -100, 400].iter().map(|cycle| before.div_euclid(*cycle));
    let years = year.saturating_mul(365).saturating_add(leap_days.sum());
    let months = (1..month).map(|month| days_in(year, month)).sum::<i64>();
    // 719,527 days lie between the first days of the years 0 and 1970, less the one of year 0.
    years
        .saturating_add(months)
        .saturating_add(day)
        .saturating_sub(719_528)
}

/// Reads a duration such as `1h30m` or `300s` (Gateway API, GEP-2257). The format is one to four pairs of a number and a
/// unit of `h`, `m`, `s` and `ms`.
///
/// # Errors
/// The text is not a duration. The message describes the format.
pub fn parse(text: &str) -> Result<Duration, String> {
    pairs(text).map(Duration::from_millis).ok_or_else(|| {
        format!("{text:?} is not a duration: write 30s, 5m or 1h30m, with the units h, m, s and ms")
    })
}

fn pairs(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut total = 0_u64;
    for _ in 0..4 {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at_checked(digits)?;
        if !(1..=5).contains(&digits) {
            return None;
        }
        // `ms` before `m`, which it begins with.
        let units = [("ms", 1), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)];
        let (tail, millis) = units
            .iter()
            .find_map(|(unit, millis)| Some((tail.strip_prefix(unit)?, *millis)))?;
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(millis)?)?;
        rest = tail;
        if rest.is_empty() {
            return Some(total);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_of_the_gateway_api() {
        for (text, millis) in [
            ("0s", 0),
            ("300s", 300_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("1h2m3s4ms", 3_723_004),
            ("99999h", 359_996_400_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_a_fault() {
        for text in [
            "",
            "5",
            "m",
            "5 m",
            "-5m",
            "1.5h",
            "5d",
            "100000s",
            "5M",
            "1s1s1s1s1s",
            "+5s",
            "٥s",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_of_rfc_3339() {
        let millis = |text| UnixMillis::from_rfc3339(text).map(|time| time.0);
        assert_eq!(millis("1970-01-01T00:00:01Z"), Some(1_000));
        assert_eq!(
            millis("2026-12-24T01:00:00.5+01:00"),
            Some(1_798_070_400_500)
        );
        assert_eq!(
            millis("2023-11-14T22:13:20.123456789Z"),
            Some(1_700_000_000_123)
        );
        assert_eq!(
            millis("2016-12-31T23:59:60Z"),
            millis("2017-01-01T00:00:00Z")
        );
        for text in [
            "",
            "2026-12-24",
            "2026-12-24T00:00:00",
            "2026-12-24T00:00:00Z ",
            "2026-12-24T00:00Z",
            "2026-12-24T24:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-12-24T00:00:00.Z",
            "2026-12-24T00:00:00+1:00",
            "+026-12-24T00:00:00Z",
            "2026-12-24T00:00:+1Z",
        ] {
            assert_eq!(millis(text), None, "{text}");
        }
    }

    #[test]
    fn http_dates() {
        let millis = |text| UnixMillis::from_http_date(text).map(|time| time.0);
        assert_eq!(
            millis("Sun, 06 Nov 1994 08:49:37 GMT"),
            Some(784_111_777_000)
        );
        assert_eq!(
            millis("Tue, 14 Nov 2023 22:13:20 GMT"),
            Some(1_700_000_000_000)
        );
        for text in [
            "",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37.5 GMT",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 06 Nov 1994 08:49:37 GMT ",
            "Sun, 06 anF 1994 08:49:37 GMT",
            "Sun, 31 Feb 1994 08:49:37 GMT",
        ] {
            assert_eq!(millis(text), None, "{text}");
        }
    }

    #[test]
    fn every_day_has_its_number() {
        let mut day = i64::from(
            time::Date::from_calendar_date(0, time::Month::January, 1)
                .expect("a date")
                .to_julian_day(),
        );
        let epoch = 2_440_588;
        for year in 0..=9999 {
            for month in 1..=12 {
                for date in 1..=days_in(year, month) {
                    assert_eq!(
                        days_since_1970(year, month, date),
                        day - epoch,
                        "{year}-{month}-{date}"
                    );
                    day += 1;
                }
            }
        }
        assert_eq!(
            day - 1,
            i64::from(
                time::Date::from_calendar_date(9999, time::Month::December, 31)
                    .expect("a date")
                    .to_julian_day()
            )
        );
    }
}
