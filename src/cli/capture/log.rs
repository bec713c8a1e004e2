//! A line of the guard's log, which says what the guard saw of a request.

use serde_json::Value;

use crate::cli::failure::Failure;
use crate::cli::output::escaped;
use crate::cli::request::Request;
use crate::cli::source::SourceFile;
use crate::crypto::sha256;

const EVENT: &str = "webhook_processed";

/// The longest line that is searched, in bytes. The guard's own lines have at most a few kilobytes.
const MAX_LINE: usize = 64 * 1024;

/// A line of the guard's log.
#[derive(Debug)]
pub(in crate::cli) struct LogLine(Value);

impl LogLine {
    /// Reads the first line about a verdict in a log.
    ///
    /// # Errors
    /// The log has no such line.
    pub(in crate::cli) fn read(file: &SourceFile) -> Result<Self, Failure> {
        let lines = file.bytes.split(|byte| *byte == b'\n');
        lines.filter_map(Self::of_line).next().ok_or_else(|| {
            Failure::new(format!(
                "{}: no line of the guard's log: copy the line with `webhook_processed`",
                file.name
            ))
        })
    }

    /// The line at the beginning of a text.
    pub(super) fn find(bytes: &[u8]) -> Option<Self> {
        Self::of_line(bytes.split(|byte| *byte == b'\n').next()?)
    }

    /// Envoy writes other fields before the object.
    fn of_line(line: &[u8]) -> Option<Self> {
        let line = std::str::from_utf8(line.get(..MAX_LINE.min(line.len()))?).ok()?;
        let (_, object) = line.split_once(r#"{"event":"webhook_processed""#)?;
        let object = format!(r#"{{"event":"{EVENT}"{object}"#);
        let mut values = serde_json::Deserializer::from_str(&object).into_iter::<Value>();
        values.next()?.ok().map(Self)
    }

    fn text(&self, name: &str) -> Option<String> {
        self.0.get(name)?.as_str().map(escaped)
    }

    /// Why the line cannot be explained alone.
    pub(super) fn is_no_request(&self) -> String {
        let mut parts = Vec::new();
        for name in ["endpoint", "reason", "body_sha256"] {
            parts.extend(self.text(name).map(|value| format!("{name} {value}")));
        }
        parts.extend(
            self.0
                .get("body_bytes")
                .map(|bytes| format!("body_bytes {bytes}")),
        );
        format!(
            "a line of the log has neither body nor signature: capture the request with {} by Envoy's tap filter, and pass the line by --log",
            parts.join(", ")
        )
    }

    /// The differences between the request that the guard saw and a captured one.
    pub(in crate::cli) fn compare(&self, request: &Request) -> Vec<String> {
        let mut notes = Vec::new();
        let length = u64::try_from(request.body.len()).unwrap_or(u64::MAX);
        let seen = self.0.get("body_bytes").and_then(Value::as_u64);
        match (self.text("body_sha256"), seen) {
            (Some(hash), _) if hash == hex(&sha256(&request.body)) => {
                notes.push("log: the guard saw the same body".to_owned());
            }
            (Some(_), _) => notes.push(
                "log: the guard saw another body: the body was changed on the way, or the capture is of another request".to_owned(),
            ),
            (None, Some(seen)) if seen != length => notes.push(format!(
                "log: the guard read {seen} bytes of the body, and the capture has {length}"
            )),
            (None, _) => notes.push(
                "log: the line has no hash of the body: set the guard's log level to debug to get `body_sha256`".to_owned(),
            ),
        }
        for (field, header) in [
            ("content_type", "content-type"),
            ("content_encoding", "content-encoding"),
        ] {
            let mut values = request.headers.iter().filter(|(name, _)| name == header);
            let captured = values
                .next()
                .map(|(_, value)| escaped(&String::from_utf8_lossy(value)));
            let seen = self.text(field);
            if seen.is_some() && seen != captured {
                notes.push(format!("log: the guard saw another {header}"));
            }
        }
        notes
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
