//! The changes of Envoy to a request before the guard sees it, as measured with Envoy 1.40 and the shipped files. A capture
//! is from in front of Envoy, unless Envoy's tap filter made it.

use super::{Capture, text};
use crate::cli::output::escaped;

/// The most headers that Envoy accepts, unless `max_headers_count` says otherwise.
const MAX_COUNT: usize = 100;

/// Headers about one connection.
const HOP_BY_HOP: &[&str] = &[
    "connection",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "transfer-encoding",
];

/// The id of an example. Envoy's own ids are random.
const REQUEST_ID: &str = "00000000-0000-4000-8000-000000000000";

/// Changes a request as Envoy does.
pub(super) fn pass(capture: &mut Capture) {
    refuse(capture);
    remove_hop_by_hop(capture);
    remove_underscores(capture);
    let headers = &mut capture.request.headers;
    if !headers.iter().any(|(name, _)| name == "x-request-id") {
        headers.push(("x-request-id".to_owned(), REQUEST_ID.into()));
        capture.adds_request_id = true;
    }
}

/// Notes why Envoy itself answers a request. The guard then never sees the request.
fn refuse(capture: &mut Capture) {
    let request = &capture.request;
    let count = |name: &str| {
        let headers = request.headers.iter();
        headers.filter(|(known, _)| known == name).count()
    };
    let lengths = count("content-length");
    if request.authority.is_empty() {
        // Many tools show a request without it.
        capture.notes.push(
            "the capture has no Host header, and Envoy answers 400 to a request without one"
                .to_owned(),
        );
    }
    let request = &capture.request;
    let why = if lengths > 1 {
        Some("400, because the request has several content-lengths")
    } else if lengths > 0 && count("transfer-encoding") > 0 {
        Some("400, because the request has a content-length and chunks")
    } else if request.headers.len() > MAX_COUNT {
        Some("431, because the request has more than 100 headers")
    } else {
        None
    };
    if let Some(why) = why {
        capture.is_refused = true;
        capture
            .notes
            .push(format!("Envoy answers before the guard: {why}"));
    }
}

/// Removes the headers about one connection, and those that `connection` names. Envoy ignores an upgrade that `connection`
/// does not name, and one to `h2c`.
fn remove_hop_by_hop(capture: &mut Capture) {
    let headers = &mut capture.request.headers;
    let named: Vec<String> = headers
        .iter()
        .filter(|(name, _)| name == "connection")
        .flat_map(|(_, value)| {
            let value = text(value);
            let tokens = value.split(',');
            tokens
                .map(|token| token.trim().to_ascii_lowercase())
                .collect::<Vec<_>>()
        })
        .collect();
    let is_named = |name: &str| named.iter().any(|token| token == name);
    headers.retain(|(name, value)| match name.as_str() {
        "upgrade" => is_named("upgrade") && !value.eq_ignore_ascii_case(b"h2c"),
        name => !HOP_BY_HOP.contains(&name) && !is_named(name),
    });
}

/// Removes headers with an underscore, as `headers_with_underscores_action: DROP_HEADER` does.
fn remove_underscores(capture: &mut Capture) {
    let headers = &mut capture.request.headers;
    let (dropped, kept) = std::mem::take(headers)
        .into_iter()
        .partition(|(name, _)| name.contains('_'));
    *headers = kept;
    let dropped: Vec<(String, Vec<u8>)> = dropped;
    if let Some((name, _)) = dropped.first() {
        capture.notes.push(format!(
            "Envoy's shipped configurations drop headers with an underscore, such as {}",
            escaped(name)
        ));
    }
}
