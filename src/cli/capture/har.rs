//! An entry of a HAR file (HTTP Archive 1.2), as browsers and proxies save it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::{Capture, MAX_HEADERS, Read, add_header, empty, url};
use crate::time::UnixMillis;

/// The most entries that an error lists.
const MAX_LISTED: usize = 20;

/// Reads the only entry, or the one with this number.
pub(super) fn read(entries: &Value, number: Option<usize>) -> Read<Capture> {
    let entries = entries.as_array().map(Vec::as_slice).unwrap_or_default();
    match (entries, number) {
        ([], _) => Err("the HAR file has no entries: save it again".to_owned()),
        ([entry], None) => read_entry(entry),
        (_, None) => Err(format!(
            "the HAR file has several entries: choose one by --entry:{}",
            list(entries)
        )),
        (_, Some(number)) => {
            let entry = number.checked_sub(1).and_then(|index| entries.get(index));
            read_entry(entry.ok_or_else(|| {
                format!(
                    "--entry {number}: the HAR file has no such entry:{}",
                    list(entries)
                )
            })?)
        }
    }
}

fn list(entries: &[Value]) -> String {
    let line = |(index, entry): (usize, &Value)| {
        let part = |name| string(entry.get("request"), name).unwrap_or("?");
        let url: String = part("url").chars().take(120).collect();
        format!("\n  {} {} {url}", index.saturating_add(1), part("method"))
    };
    entries
        .iter()
        .enumerate()
        .take(MAX_LISTED)
        .map(line)
        .collect()
}

fn string<'v>(value: Option<&'v Value>, name: &str) -> Option<&'v str> {
    value?.get(name)?.as_str()
}

/// Reads one entry.
pub(super) fn read_entry(entry: &Value) -> Read<Capture> {
    let har = entry.get("request");
    let mut request = empty("https");
    let missing =
        |what: &str| format!("the entry has no {what}: save the HAR file again, with content");
    request.method = string(har, "method")
        .ok_or_else(|| missing("method"))?
        .to_owned();
    url::set(
        &mut request,
        string(har, "url").ok_or_else(|| missing("url"))?,
    )?;
    let headers = har
        .and_then(|har| har.get("headers"))
        .and_then(Value::as_array);
    for header in headers.into_iter().flatten().take(MAX_HEADERS) {
        let (name, value) = (string(Some(header), "name"), string(Some(header), "value"));
        // The URL has these values.
        let is_pseudo = name.is_some_and(|name| name.starts_with(':'));
        if let (Some(name), Some(value), false) = (name, value, is_pseudo) {
            add_header(&mut request, name, value.as_bytes());
        }
    }
    let mut notes = Vec::new();
    match har.and_then(|har| har.get("postData")) {
        None => {}
        Some(data) => match string(Some(data), "text") {
            Some(text) if is_base64(data) => {
                request.body = STANDARD.decode(text).map_err(|_| {
                    "the body is not base64, as the HAR file says: save it again".to_owned()
                })?;
            }
            Some(text) => {
                text.as_bytes().clone_into(&mut request.body);
                if text.contains('\u{fffd}') {
                    notes.push(
                        "the HAR file has lost bytes of the body that are not UTF-8".to_owned(),
                    );
                }
            }
            None => return Err(missing("text of the body")),
        },
    }
    let arrived = string(Some(entry), "startedDateTime").and_then(UnixMillis::from_rfc3339);
    Ok(Capture {
        arrived,
        notes,
        ..Capture::of(request)
    })
}

/// Some tools write the encoding, which is not a field of the standard for requests.
fn is_base64(data: &Value) -> bool {
    ["encoding", "_encoding"]
        .iter()
        .any(|name| string(Some(data), name) == Some("base64"))
}
