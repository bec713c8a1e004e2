//! An event of the guard, which says what the guard saw of a request: a line of Envoy's log or of the access log.

use serde_json::Value;

use crate::cli::failure::Failure;
use crate::cli::output::escaped;
use crate::cli::request::Request;
use crate::cli::source::SourceFile;
use crate::crypto::sha256;
use crate::log_line::EVENT;

/// The longest line that is searched, in bytes. The guard's own lines have at most a few kilobytes.
const MAX_LINE: usize = 64 * 1024;

/// A line of the guard's log.
#[derive(Debug)]
pub(in crate::cli) struct LogLine(Value);

impl LogLine {
    /// Reads the line about a request in a log. Among several lines, the line has the endpoint, and the hash or the length
    /// of the body.
    ///
    /// # Errors
    /// The log has no such line, or several that differ.
    pub(in crate::cli) fn read(
        file: &SourceFile,
        request: &Request,
        endpoint: Option<&str>,
    ) -> Result<Self, Failure> {
        let lines = file.bytes.split(|byte| *byte == b'\n');
        let mut lines: Vec<_> = lines.filter_map(Self::of_line).collect();
        if lines.is_empty() {
            return Err(Failure::new(format!(
                "{}: no line of the guard's log: copy the line with `webhook_processed`",
                file.name
            )));
        }
        let count = lines.len();
        if count > 1 {
            let hash = hex(&sha256(&request.body));
            let length = u64::try_from(request.body.len()).ok();
            let is_own =
                |line: &Self| endpoint.is_none() || line.text("endpoint").as_deref() == endpoint;
            let has_hash = |line: &Self| line.text("body_sha256").as_deref() == Some(&hash);
            let has_length =
                |line: &Self| line.text("body_sha256").is_none() && line.body_bytes() == length;
            match lines.iter().any(|line| is_own(line) && has_hash(line)) {
                true => lines.retain(|line| is_own(line) && has_hash(line)),
                false => lines.retain(|line| is_own(line) && has_length(line)),
            }
        }
        let mut lines = lines.into_iter();
        let first = lines.next().ok_or_else(|| Failure::new(format!(
            "{}: none of the {count} lines of the guard's log is about this body: copy the request's line into a file of its own",
            file.name
        )))?;
        // Each copy of a delivery has a line.
        let notes = first.compare(request);
        match lines.all(|line| {
            line.compare(request) == notes && line.0.get("endpoint") == first.0.get("endpoint")
        }) {
            true => Ok(first),
            false => Err(Failure::new(format!(
                "{}: several lines of the guard's log may be about this request: copy its line into a file of its own",
                file.name
            ))),
        }
    }

    /// The line at the beginning of a text.
    pub(super) fn find(bytes: &[u8]) -> Option<Self> {
        Self::of_line(bytes.split(|byte| *byte == b'\n').next()?)
    }

    /// Envoy writes other fields before the guard's object. Those of the access log are in the order of their names.
    fn of_line(line: &[u8]) -> Option<Self> {
        let line = std::str::from_utf8(line.get(..MAX_LINE.min(line.len()))?).ok()?;
        let own = format!(r#"{{"event":"{EVENT}""#);
        let start = line.find(&own).or_else(|| line.find('{'))?;
        let mut values = serde_json::Deserializer::from_str(line.get(start..)?).into_iter();
        let value: Value = values.next()?.ok()?;
        (value.get("event")?.as_str()? == EVENT).then_some(Self(value))
    }

    /// The length of the body that the guard saw.
    fn body_bytes(&self) -> Option<u64> {
        let logged = self.0.get("body_bytes");
        logged.or_else(|| self.0.get("bytes_received"))?.as_u64()
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
        let bytes = self.body_bytes();
        parts.extend(bytes.map(|bytes| format!("body_bytes {bytes}")));
        format!(
            "a line of the log has neither body nor signature: capture the request with {} by Envoy's tap filter, and pass the line by --log",
            parts.join(", ")
        )
    }

    /// The differences between the request that the guard saw and a captured one.
    pub(in crate::cli) fn compare(&self, request: &Request) -> Vec<String> {
        let mut notes = Vec::new();
        let length = u64::try_from(request.body.len()).unwrap_or(u64::MAX);
        let seen = self.body_bytes();
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    const BODY: &[u8] = b"{\"order\": 42}";

    /// Reads the line about a request in a log with these fields of lines.
    fn read(lines: &[String]) -> Result<Value, String> {
        let lines = lines
            .iter()
            .map(|fields| format!("[info] {{\"event\":\"{EVENT}\",{fields}}}\n"));
        let file = SourceFile {
            name: "guard.log".to_owned(),
            bytes: lines.collect::<String>().into_bytes(),
        };
        let request = Request {
            method: "POST".to_owned(),
            scheme: "https".to_owned(),
            authority: String::new(),
            target: "/".to_owned(),
            headers: Vec::new(),
            body: BODY.to_vec(),
            trailers: Vec::new(),
        };
        LogLine::read(&file, &request, Some("orders"))
            .map(|line| line.0)
            .map_err(|error| error.to_string())
    }

    fn line(endpoint: &str, hash: Option<&str>, bytes: usize, number: u8) -> String {
        let hash = hash.map_or_else(String::new, |hash| format!("\"body_sha256\":\"{hash}\","));
        format!("\"endpoint\":\"{endpoint}\",{hash}\"body_bytes\":{bytes},\"number\":{number}")
    }

    #[test]
    fn the_line_of_the_request_is_found_in_a_log() {
        let own = hex(&sha256(BODY));
        let other = line("orders", Some("00"), 13, 1);
        let number = |lines: &[String]| read(lines).unwrap().get("number").unwrap().clone();
        assert_eq!(number(std::slice::from_ref(&other)), 1);
        assert_eq!(
            number(&[other.clone(), line("orders", Some(&own), 13, 2)]),
            2
        );
        assert_eq!(
            number(&[
                other.clone(),
                line("other", None, 13, 2),
                line("orders", None, 13, 3)
            ]),
            3
        );
        // A retry has the same body.
        let copies = [
            line("orders", Some(&own), 13, 2),
            line("orders", Some(&own), 13, 3),
        ];
        assert_eq!(number(&copies), 2);
    }

    #[test]
    fn the_event_of_an_accepted_request_is_in_the_access_log() {
        let line =
            r#"{"bytes_received":13,"endpoint":"orders","event":"webhook_processed","path":"/{"}"#;
        let found = LogLine::find(line.as_bytes()).unwrap();
        assert_eq!(found.body_bytes(), Some(13));
        let rejected = r#"{"bytes_received":13,"endpoint":"orders","path":"/\"event\":\"webhook_processed\""}"#;
        assert!(LogLine::find(rejected.as_bytes()).is_none());
    }

    #[test]
    fn a_log_without_the_one_line_is_an_error() {
        let other = line("orders", Some("00"), 13, 1);
        let error = read(&[other.clone(), other]).unwrap_err();
        assert!(error.contains("none of the 2 lines"), "{error}");
        let hash = hex(&sha256(BODY));
        let compressed = format!(
            "{},\"content_encoding\":\"gzip\"",
            line("orders", Some(&hash), 13, 2)
        );
        let error = read(&[line("orders", Some(&hash), 13, 1), compressed]).unwrap_err();
        assert!(error.contains("several lines"), "{error}");
    }
}
