use std::time::Duration;

use crate::scheme::timestamp::Unit;
use crate::time;

/// Reads any text as a time of each unit, and as a duration. Another reader must read the same.
pub fn times(data: &[u8]) {
    for unit in [Unit::Seconds, Unit::Millis, Unit::SecondsOrMillis] {
        if let Some(time) = unit.parse(data) {
            assert!(data.iter().all(u8::is_ascii_digit) && !data.is_empty());
            let number = data.iter().fold(0_i128, |number, digit| {
                number * 10 + i128::from(digit - b'0')
            });
            let is_millis = unit == Unit::Millis
                || (unit == Unit::SecondsOrMillis && number >= 100_000_000_000);
            let millis = number * if is_millis { 1 } else { 1_000 };
            assert_eq!(i128::from(time.0), millis.min(i128::from(i64::MAX)));
        }
    }
    if let Some(time) = Unit::Rfc3339.parse(data) {
        assert_eq!(time.0, rfc3339(std::str::from_utf8(data).expect("text")));
    }
    if let Some(time) = Unit::HttpDate.parse(data) {
        assert_eq!(data.len(), 29);
        let text = std::str::from_utf8(data).expect("text");
        let month = "JanFebMarAprMayJunJulAugSepOctNovDec".find(&text[8..11]);
        let month = month.expect("a month") / 3 + 1;
        let (day, year, at) = (&text[5..7], &text[12..16], &text[17..25]);
        assert_eq!(time.0, rfc3339(&format!("{year}-{month:02}-{day}T{at}Z")));
    }
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(duration) = time::parse(text)
    {
        assert_eq!(duration, sum(text));
    }
}

/// The milliseconds of a valid RFC 3339 time: day by day from 1970.
fn rfc3339(text: &str) -> i64 {
    let number = |from: usize, to: usize| text[from..to].parse::<i64>().expect("digits");
    let leap = |year: i64| (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let year_days = |year| if leap(year) { 366 } else { 365 };
    let (year, month, day) = (number(0, 4), number(5, 7), number(8, 10));
    let mut days = day - 1;
    days += (1970..year).map(year_days).sum::<i64>();
    days -= (year..1970).map(year_days).sum::<i64>();
    for (index, length) in [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
        .iter()
        .enumerate()
    {
        if (index as i64) < month - 1 {
            days += length + i64::from(index == 1 && leap(year));
        }
    }
    let seconds = days * 86_400 + number(11, 13) * 3_600 + number(14, 16) * 60 + number(17, 19);
    let rest = &text[19..];
    let digits: String = rest
        .chars()
        .skip(1)
        .take_while(char::is_ascii_digit)
        .collect();
    let (fraction, zone) = match rest.starts_with('.') {
        true => (format!("{digits:0<3}"), &rest[1 + digits.len()..]),
        false => ("000".to_owned(), rest),
    };
    let millis: i64 = fraction[..3].parse().expect("digits");
    let offset = match zone.as_bytes() {
        // A signed time without a zone is in UTC.
        [] | [b'Z' | b'z'] => 0,
        [sign, ..] => {
            let minutes = zone[1..3].parse::<i64>().expect("hours") * 60
                + zone[4..6].parse::<i64>().expect("minutes");
            if *sign == b'-' { -minutes } else { minutes }
        }
    };
    (seconds - offset * 60) * 1_000 + millis
}

/// A duration's parts, added up.
fn sum(text: &str) -> Duration {
    let mut sum = Duration::ZERO;
    let mut number = 0;
    let mut rest = text.chars().peekable();
    while let Some(char) = rest.next() {
        match char {
            'h' => sum += Duration::from_secs(number * 3_600),
            'm' if rest.next_if_eq(&'s').is_some() => sum += Duration::from_millis(number),
            'm' => sum += Duration::from_secs(number * 60),
            's' => sum += Duration::from_secs(number),
            digit => {
                number = number * 10 + u64::from(digit.to_digit(10).expect("a digit"));
                continue;
            }
        }
        number = 0;
    }
    sum
}
