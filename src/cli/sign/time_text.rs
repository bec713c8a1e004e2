//! Points in time, as senders write them.

use crate::scheme::timestamp::Unit;
use crate::time::UnixMillis;

const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];
const DAY: i64 = 86_400;

/// A time in the unit of a scheme.
pub(super) fn written(UnixMillis(millis): UnixMillis, unit: Unit) -> String {
    let seconds = millis.div_euclid(1_000);
    match unit {
        Unit::Seconds | Unit::SecondsOrMillis => seconds.to_string(),
        Unit::Millis => millis.to_string(),
        Unit::Rfc3339 => {
            let Date { year, month, day } = Date::of(seconds.div_euclid(DAY));
            let time = time_of_day(seconds);
            match millis.rem_euclid(1_000) {
                0 => format!("{year:04}-{month:02}-{day:02}T{time}Z"),
                rest => format!("{year:04}-{month:02}-{day:02}T{time}.{rest:03}Z"),
            }
        }
        Unit::HttpDate => {
            let days = seconds.div_euclid(DAY);
            let Date { year, month, day } = Date::of(days);
            let weekday = name(&WEEKDAYS, days.rem_euclid(7));
            let month = name(&MONTHS, month.saturating_sub(1));
            format!(
                "{weekday}, {day:02} {month} {year:04} {} GMT",
                time_of_day(seconds)
            )
        }
    }
}

fn name(names: &[&'static str], index: i64) -> &'static str {
    let index = usize::try_from(index).ok();
    index
        .and_then(|index| names.get(index))
        .copied()
        .unwrap_or_default()
}

fn time_of_day(seconds: i64) -> String {
    let second = seconds.rem_euclid(DAY);
    let (hour, minute) = (second.div_euclid(3_600), second.div_euclid(60));
    format!(
        "{hour:02}:{:02}:{:02}",
        minute.rem_euclid(60),
        second.rem_euclid(60)
    )
}

/// A date of the Gregorian calendar.
struct Date {
    year: i64,
    month: i64,
    day: i64,
}

impl Date {
    /// The date of a day, counted from 1970-01-01. Years begin in March here, so that a leap day is the last day of its
    /// year. A cycle of 400 years has 146,097 days.
    fn of(days: i64) -> Self {
        let days = days.saturating_add(719_468);
        let cycle = days.div_euclid(146_097);
        let day_of_cycle = days.rem_euclid(146_097);
        let leaps = day_of_cycle
            .div_euclid(1_460)
            .saturating_sub(day_of_cycle.div_euclid(36_524))
            .saturating_add(day_of_cycle.div_euclid(146_096));
        let year_of_cycle = day_of_cycle.saturating_sub(leaps).div_euclid(365);
        let before = year_of_cycle
            .saturating_mul(365)
            .saturating_add(year_of_cycle.div_euclid(4))
            .saturating_sub(year_of_cycle.div_euclid(100));
        let day_of_year = day_of_cycle.saturating_sub(before);
        // Five months from March on, or from August on, have 153 days.
        let month = day_of_year
            .saturating_mul(5)
            .saturating_add(2)
            .div_euclid(153);
        let month_start = month.saturating_mul(153).saturating_add(2).div_euclid(5);
        let year = cycle.saturating_mul(400).saturating_add(year_of_cycle);
        let is_next_year = month >= 10;
        Self {
            year: year.saturating_add(i64::from(is_next_year)),
            month: month.saturating_add(if is_next_year { -9 } else { 3 }),
            day: day_of_year.saturating_sub(month_start).saturating_add(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_time_is_read_as_the_same_time() {
        let units = [Unit::Millis, Unit::Rfc3339, Unit::HttpDate, Unit::Seconds];
        let mut days = 1;
        while days < 2_932_896 {
            let seconds = days * DAY + 45_296;
            for unit in units {
                let time = UnixMillis(seconds * 1_000);
                let text = written(time, unit);
                assert_eq!(unit.parse(text.as_bytes()), Some(time), "{text}");
            }
            days += 7;
        }
        let written = |millis, unit| written(UnixMillis(millis), unit);
        assert_eq!(
            written(784_111_777_000, Unit::HttpDate),
            "Sun, 06 Nov 1994 08:49:37 GMT"
        );
        assert_eq!(
            written(951_782_400_500, Unit::Rfc3339),
            "2000-02-29T00:00:00.500Z"
        );
    }
}
