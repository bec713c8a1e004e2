//! A buffered trace of Envoy's tap filter (`envoy.data.tap.v3.HttpBufferedTrace`) as JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::{Capture, MAX_HEADERS, Read, add_header, empty};

/// Reads the request of a trace.
pub(super) fn read(trace: &Value) -> Read<Capture> {
    let tapped = trace.get("request");
    let tapped = tapped.ok_or("the trace has no request: match requests in the tap filter")?;
    let mut request = empty("https");
    let headers = tapped.get("headers").and_then(Value::as_array);
    for header in headers.into_iter().flatten().take(MAX_HEADERS) {
        let text = |name| header.get(name).and_then(Value::as_str);
        // Envoy writes both fields, and one of them is empty.
        let raw = text("raw_value").filter(|raw| !raw.is_empty());
        let raw = raw.and_then(|raw| STANDARD.decode(raw).ok());
        let value = raw.or_else(|| text("value").map(|value| value.as_bytes().to_vec()));
        if let Some(name) = text("key") {
            add_header(&mut request, name, &value.unwrap_or_default());
        }
    }
    let trailers = tapped.get("trailers").and_then(Value::as_array);
    let names = trailers.into_iter().flatten().take(MAX_HEADERS);
    let names = names.filter_map(|trailer| trailer.get("key")?.as_str());
    request.trailers = names.map(str::to_ascii_lowercase).collect();
    let mut notes = Vec::new();
    if let Some(body) = tapped.get("body") {
        let text = |name| body.get(name).and_then(Value::as_str);
        request.body = match (text("as_bytes"), text("as_string")) {
            (Some(bytes), _) => STANDARD.decode(bytes).map_err(|_| {
                "the trace's `as_bytes` is not base64: save the trace again".to_owned()
            })?,
            (None, Some(text)) => text.as_bytes().to_vec(),
            (None, None) => Vec::new(),
        };
        if body.get("truncated").and_then(Value::as_bool) == Some(true) {
            notes.push(
                "the tap filter has cut the body: raise its `max_buffered_rx_bytes`, and capture again".to_owned(),
            );
        }
    }
    Ok(Capture {
        notes,
        ..Capture::of(request)
    })
}
