//! Reads captured requests. The form of a capture shows in its content: HTTP/1.1, a curl command, HAR, or the trace of
//! Envoy's tap filter.
//!
//! A capture is untrusted. Its size is bounded, nothing in it is run, and nothing is sent.

mod curl;
mod envoy;
mod har;
mod http;
mod log;
mod tap;
#[cfg(test)]
mod tests;
mod url;
mod words;

use serde_json::Value;

use super::failure::Failure;
use super::request::Request;
use super::source::SourceFile;
use crate::time::UnixMillis;
pub(super) use log::LogLine;
pub(super) use words::in_single_quotes;

/// The most headers of a request.
const MAX_HEADERS: usize = 256;

/// A captured request, and what the capture shows beyond it.
#[derive(Debug)]
pub(super) struct Capture {
    pub(super) request: Request,
    /// The length that the content-length claims, in bytes, if it is more than the capture has.
    pub(super) claimed_length: Option<u64>,
    /// The time at which the request arrived, if the capture has one.
    pub(super) arrived: Option<UnixMillis>,
    /// Envoy answers the request before the guard sees it.
    pub(super) is_refused: bool,
    /// The capture has no x-request-id, so Envoy adds one.
    pub(super) adds_request_id: bool,
    /// Remarks about the capture, for the user.
    pub(super) notes: Vec<String>,
}

/// The arguments about a capture.
#[derive(Clone, Copy, Debug)]
pub(super) struct Options<'a> {
    /// The number of the entry of a HAR file, from 1.
    pub(super) entry: Option<usize>,
    /// The scheme of the URL, where the capture has none.
    pub(super) scheme: &'a str,
}

impl Capture {
    /// Reads a captured request.
    ///
    /// # Errors
    /// The file has none of the known forms, or is not complete.
    pub(super) fn read(file: &SourceFile, options: Options<'_>) -> Result<Self, Failure> {
        let read = read(&file.bytes, options);
        read.map_err(|fault| Failure::new(format!("{}: {fault}", file.name)))
    }

    /// A capture without remarks.
    pub(super) const fn of(request: Request) -> Self {
        Self {
            request,
            claimed_length: None,
            arrived: None,
            is_refused: false,
            adds_request_id: false,
            notes: Vec::new(),
        }
    }
}

/// Why a capture cannot be read, and how to fix it.
type Read<T> = Result<T, String>;

fn read(bytes: &[u8], options: Options<'_>) -> Read<Capture> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let start = bytes.trim_ascii_start();
    if start.is_empty() {
        return Err("the file is empty: capture the request again".to_owned());
    }
    if let Some(line) = LogLine::find(start) {
        return Err(line.is_no_request());
    }
    if let Some(language) = script(start) {
        return Err(format!(
            "this is a command for {language}, which is not read: copy the request as cURL (bash)"
        ));
    }
    if start.starts_with(b"{") {
        return read_json(start, options);
    }
    let mut capture = match curl::is_command(start) {
        true => curl::read(start)?,
        false => http::read(start, options.scheme)?,
    };
    envoy::pass(&mut capture);
    Ok(capture)
}

/// The starts of the other forms in which browsers copy a request, in lower case.
const SCRIPTS: [(&[u8], &str); 7] = [
    (b"fetch(", "JavaScript"),
    (b"await fetch(", "JavaScript"),
    (b"$session", "PowerShell"),
    (b"invoke-webrequest", "PowerShell"),
    (b"invoke-restmethod", "PowerShell"),
    (b"curl ^\"", "cmd"),
    (b"curl.exe ^\"", "cmd"),
];

/// The language of a copied command that is not for bash.
fn script(bytes: &[u8]) -> Option<&'static str> {
    let begins = |start: &[u8]| {
        let same = bytes.get(..start.len());
        same.is_some_and(|same| same.eq_ignore_ascii_case(start))
    };
    let mut scripts = SCRIPTS.iter();
    let (_, language) = scripts.find(|(start, _)| begins(start))?;
    Some(language)
}

fn read_json(bytes: &[u8], options: Options<'_>) -> Read<Capture> {
    let document: Value = serde_json::from_slice(bytes)
        .map_err(|error| format!("not JSON: {error}: save the capture again"))?;
    if let Some(trace) = document.get("http_buffered_trace") {
        return tap::read(trace);
    }
    let mut capture = match document.get("log").and_then(|log| log.get("entries")) {
        Some(entries) => har::read(entries, options.entry)?,
        None if document.get("request").is_some() => har::read_entry(&document)?,
        None => return Err("the JSON is neither HAR nor a buffered trace of Envoy's tap filter: save the request as HTTP/1.1".to_owned()),
    };
    envoy::pass(&mut capture);
    Ok(capture)
}

/// Adds a header with its name in lower case, and its value without blanks around it. `host` is the authority of the request.
fn add_header(request: &mut Request, name: &str, value: &[u8]) {
    let name = name.to_ascii_lowercase();
    let value = value.trim_ascii();
    match name.as_str() {
        "host" | ":authority" => request.authority = text(value),
        ":method" => request.method = text(value),
        ":scheme" => request.scheme = text(value),
        ":path" => request.target = text(value),
        _ => request.headers.push((name, value.to_vec())),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// An empty request.
fn empty(scheme: &str) -> Request {
    Request {
        method: "GET".to_owned(),
        scheme: scheme.to_owned(),
        authority: String::new(),
        target: "/".to_owned(),
        headers: Vec::new(),
        body: Vec::new(),
        trailers: Vec::new(),
    }
}
