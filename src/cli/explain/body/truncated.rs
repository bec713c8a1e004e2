//! Bodies that were cut, dropped or joined with other bytes.

use serde::de::IgnoredAny;

use super::change::{Change, Changes, header};
use super::json;
use crate::cli::explain::hypothesis::{Case, Cause};

const LONGER: &str = "Pass on exactly the bytes of one request: find what appends to the body, or capture the request again.";
const EMPTY: &str = "Send a body only where the sender signed one, or capture the request again.";
const SHORT: &str = "Raise the limit that cuts the body (a buffer, a log or a capture), or capture the request again.";
const DROPPED: &str = "Register the final URL at the sender, since a redirect drops the body, or capture the request again.";

/// The shorter bodies that the sender may have signed, which a signature proves.
pub(super) fn changes(case: Case<'_>) -> Changes<'_> {
    let body = &case.request.body[..];
    let mut changes = Vec::new();
    let mut add = |detail: &str, fix, body: &[u8]| {
        changes.push(Change::new(
            Cause::BodyTruncated,
            detail,
            fix,
            body.to_vec(),
        ));
    };
    if let Some(signed) = claimed(case).and_then(|length| body.get(..length)) {
        let detail = "The sender signed only as many bytes as the content-length says, and other bytes follow.";
        add(detail, LONGER, signed);
    }
    let text = std::str::from_utf8(body).ok();
    if let Some((_, end)) = text.and_then(json::parse) {
        let detail =
            "The sender signed only the JSON at the start of the body, and other bytes follow.";
        add(detail, LONGER, body.get(..end).unwrap_or_default());
    }
    add(
        "The sender signed an empty body, but this one is not empty.",
        EMPTY,
        b"",
    );
    Box::new(changes.into_iter())
}

/// The mistakes that the request shows, although the lost bytes leave no proof.
pub(super) fn suspicions(case: Case<'_>) -> Vec<Change> {
    let body = &case.request.body;
    let claimed = claimed(case);
    let is_coded =
        header(case.request, "content-encoding").is_some() || case.endpoint.is_decompressed;
    let content_type = header(case.request, "content-type").unwrap_or_default();
    let found = match claimed {
        _ if !case.endpoint.signs_bodies() || is_coded => None,
        Some(claimed) if body.is_empty() && claimed > 0 => Some((
            format!("The body is empty, but its content-length says {claimed} bytes."),
            DROPPED,
        )),
        Some(claimed) if claimed > body.len() => Some((
            format!(
                "The body has {} bytes, but its content-length says {claimed}.",
                body.len()
            ),
            SHORT,
        )),
        _ if body.is_empty() && content_type.contains("json") => Some((
            "The body is empty, although its content-type says JSON.".to_owned(),
            DROPPED,
        )),
        _ if is_limit(body.len()) && is_cut_json(body) => Some((
            format!(
                "The JSON ends in the middle, after {} bytes, which is a common limit.",
                body.len()
            ),
            SHORT,
        )),
        _ => None,
    };
    let found = found.into_iter();
    found
        .map(|(detail, fix)| Change::new(Cause::BodyTruncated, detail, fix, body.clone()))
        .collect()
}

/// The length that the request claims.
fn claimed(case: Case<'_>) -> Option<usize> {
    header(case.request, "content-length")?.parse().ok()
}

/// Whether a buffer may have this size.
fn is_limit(length: usize) -> bool {
    let decimal = [1_000, 10_000, 100_000, 1_000_000, 10_000_000];
    let binary = [100, 200, 500, 1_000];
    let binary = binary.map(|kibibytes: usize| kibibytes.saturating_mul(1024));
    let is_power = |length: usize| length >= 1024 && length.is_power_of_two();
    decimal.contains(&length)
        || binary.contains(&length)
        || is_power(length)
        || length.checked_add(1).is_some_and(is_power)
}

/// Whether the text is JSON up to its end, where something is missing.
fn is_cut_json(body: &[u8]) -> bool {
    let is_start = body.starts_with(b"{") || body.starts_with(b"[");
    let read = serde_json::from_slice::<IgnoredAny>(body);
    is_start && read.is_err_and(|error| error.is_eof())
}
