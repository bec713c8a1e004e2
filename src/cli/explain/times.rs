//! Mistakes in the time: the clock, an old capture, and the unit of the timestamp.

use serde_json::{Value, json};

use super::hypothesis::Cause;
use super::search::Search;
use super::trial::Setup;
use crate::policy::endpoint::Endpoint;
use crate::request::headers::Headers;
use crate::scheme::timestamp::Unit;
use crate::time::UnixMillis;
use crate::verdict::Denial;
use crate::verify::Verdict;

/// A timestamp that is off by more milliseconds than this may have another unit: ten years.
const OTHER_UNIT: u64 = 10 * 365 * 24 * 60 * 60 * 1_000;

/// A request that is older than this, in milliseconds, is rather an old capture than a wrong clock: a day.
const OLD: i64 = 24 * 60 * 60 * 1_000;

/// The units of a timestamp, by their names in a configuration.
const UNITS: [(&str, Unit, &str); 4] = [
    ("s", Unit::Seconds, "seconds"),
    ("ms", Unit::Millis, "milliseconds"),
    ("rfc3339", Unit::Rfc3339, "RFC 3339"),
    ("http-date", Unit::HttpDate, "an HTTP date"),
];

/// Tries the time that the request claims.
pub(super) fn try_clock(search: &mut Search<'_>) {
    let setup = search.setup.clone();
    if search.try_setup(&setup, search.subject.request).is_none() {
        return;
    }
    search.is_only_time = true;
    let claimed = search.time;
    if !is_near(search, claimed) {
        search.time = None;
        try_units(search);
        search.time = search.time.or(claimed);
    }
}

/// Tries other units of the timestamp.
pub(super) fn try_units(search: &mut Search<'_>) {
    let Some(timestamp) = &search.subject.endpoint.scheme.spec.timestamp else {
        return;
    };
    let configured = timestamp.unit;
    for (name, unit, words) in UNITS {
        if unit == configured {
            continue;
        }
        let setup = with_unit(search, name);
        let success = search.try_setup(&setup, search.subject.request);
        if success.is_some_and(|success| is_near(search, success.time)) {
            search.add(
                Cause::TimestampUnit,
                format!("the timestamp is in {words}, and the endpoint reads it in another unit"),
                fix_unit(name),
            );
            return;
        }
    }
}

/// Suspects the unit if the timestamp makes sense only in another one.
pub(super) fn suspect_unit(search: &mut Search<'_>, verdict: &Verdict) {
    let Verdict::Fail(rejection) = verdict else {
        return;
    };
    let is_about_time = matches!(
        rejection.denial,
        Denial::TimestampMalformed | Denial::TimestampExpired | Denial::TimestampFuture
    );
    let pairs = search.subject.request.pairs();
    let headers = Headers::new(&pairs);
    let claimed = search.subject.endpoint.scheme.claimed_time(&headers);
    if !is_about_time || is_near(search, claimed) {
        return;
    }
    for (name, _, words) in UNITS {
        let policy = search.policy(&with_unit(search, name));
        let endpoint = policy.as_ref().and_then(|policy| policy.endpoints.first());
        let time = endpoint.and_then(|endpoint| endpoint.scheme.claimed_time(&headers));
        if is_near(search, time) {
            search.suspect(
                Cause::TimestampUnit,
                format!(
                    "the timestamp may be in {words}: in the endpoint's unit, it is many years away"
                ),
                fix_unit(name),
            );
            return;
        }
    }
}

fn fix_unit(name: &str) -> String {
    format!("copy the scheme to a `signature` block, and set `timestamp.unit: {name}`")
}

/// Whether a time is so near that its unit makes sense.
fn is_near(search: &Search<'_>, time: Option<UnixMillis>) -> bool {
    time.is_some_and(|time| search.subject.now.since(time).unsigned_abs() < OTHER_UNIT)
}

/// The setup with another unit.
fn with_unit(search: &Search<'_>, name: &str) -> Setup {
    let timestamp = search.setup.signature.get("timestamp");
    let mut timestamp = timestamp
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    timestamp.insert("unit".to_owned(), json!(name));
    search
        .setup
        .with_field("timestamp", Value::Object(timestamp))
}

/// Adds the clock, if the rejection is about time and the signature itself verifies.
pub(super) fn add_clock(search: &mut Search<'_>, verdict: &Verdict) {
    let Verdict::Fail(rejection) = verdict else {
        return;
    };
    let is_stale = matches!(
        rejection.denial,
        Denial::TimestampExpired | Denial::TimestampFuture
    );
    let Some(time) = search.time.filter(|_| is_stale) else {
        return;
    };
    let age = search.subject.now.since(time);
    let allowed = allowed(search.subject.endpoint, age);
    if search.has(Cause::TimestampUnit)
        && allowed.is_none_or(|allowed| age.saturating_abs() <= allowed)
    {
        return;
    }
    let detail = detail(search.subject.endpoint, age);
    let fix = match age {
        _ if age > OLD => format!(
            "if the request is an old capture, use `--at {}`, otherwise compare the clocks of Envoy and of the sender",
            time.0.div_euclid(1_000)
        ),
        _ if age > 0 => format!(
            "compare the clocks of Envoy and of the sender, or set `tolerance: {{past: {}}}` in the endpoint. For a request that was captured earlier, use `--at {}`",
            longer(age),
            time.0.div_euclid(1_000)
        ),
        _ => "compare the clocks of Envoy and of the sender, and let NTP set both".to_owned(),
    };
    search.add(Cause::Clock, detail, fix);
}

/// The tolerance on the side of an age, in milliseconds.
fn allowed(endpoint: &Endpoint, age: i64) -> Option<i64> {
    let tolerance = &endpoint.scheme.spec.timestamp.as_ref()?.tolerance;
    let side = match age > 0 {
        true => tolerance.past,
        false => tolerance.future,
    };
    Some(i64::try_from(side.as_millis()).unwrap_or(i64::MAX))
}

/// The age of a request, and the tolerance.
pub(super) fn detail(endpoint: &Endpoint, age: i64) -> String {
    let side = if age > 0 { "past" } else { "future" };
    let limit = allowed(endpoint, age).map_or(String::new(), |allowed| {
        format!(", and the endpoint accepts {}", words(allowed))
    });
    format!("the request's time is {} in the {side}{limit}", words(age))
}

/// A tolerance that accepts an age in milliseconds, in the form of a configuration.
fn longer(age: i64) -> String {
    let minutes = (age / 60_000).saturating_add(1);
    match minutes {
        ..=59 => format!("{minutes}m"),
        _ => format!("{}h", (minutes / 60).saturating_add(1)),
    }
}

/// A duration in its two largest units, such as "4 minutes 10 seconds".
pub(super) fn words(millis: i64) -> String {
    let seconds = millis.unsigned_abs() / 1_000;
    let parts = [
        (seconds / 86_400, "day"),
        (seconds / 3_600 % 24, "hour"),
        (seconds / 60 % 60, "minute"),
        (seconds % 60, "second"),
    ];
    let from_first = parts.iter().skip_while(|(count, _)| *count == 0).take(2);
    let named: Vec<_> = from_first
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| match count {
            1 => format!("1 {unit}"),
            _ => format!("{count} {unit}s"),
        })
        .collect();
    match named.is_empty() {
        true => "less than a second".to_owned(),
        false => named.join(" "),
    }
}
