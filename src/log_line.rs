//! The log line of a verdict: one JSON object.

use std::net::IpAddr;
use std::time::Duration;

use crate::ascii_json::{add, add_string};
use crate::delivery::DeliveryHash;
use crate::verdict::{Outcome, Reason};

/// How many lines an endpoint's denials may write at once.
const BURST: u32 = 100;

/// How often another line may follow, in milliseconds.
const REFILL_MILLIS: u64 = 100;

/// The name of the event.
pub const EVENT: &str = "webhook_processed";

/// The length of most lines without a diagnosis, in bytes.
const LENGTH: usize = 384;

/// How an operator fixes [`Reason::QueryNotSigned`].
const QUERY_HINT: &str = "the sender does not sign this parameter: if you or the sender put it into the URL, add its name to the endpoint's `query` list";

/// A verdict's line in the log.
#[derive(Clone, Debug)]
pub struct Line<'a> {
    /// The endpoint's name, `-` where the request belongs to none.
    pub endpoint: &'a str,
    /// The fate of the request.
    pub verdict: Outcome,
    /// The reason for it.
    pub reason: Reason,
    /// The status of the guard's answer.
    pub status: Option<u16>,
    /// From the request's headers to its verdict.
    pub duration: Duration,
    /// The client's address, if it is known.
    pub client: Option<IpAddr>,
    /// The address did not arrive in the way that the endpoint's `client_address` names.
    pub client_untrusted: bool,
    /// The version of the secret that verified the signature.
    pub secret_version: Option<&'a str>,
    /// The delivery's id, where the sender signed one.
    pub delivery_id: Option<&'a [u8]>,
    /// The hash of the delivery, where the endpoint remembers deliveries.
    pub delivery: Option<DeliveryHash>,
    /// How many bytes of the body the guard read.
    pub body_bytes: u64,
    /// The sender does not sign the body, or not all of it.
    pub body_unsigned: bool,
    /// The name of the parameter that was rejected.
    pub parameter: Option<&'a [u8]>,
    /// The evidence for the cause of a rejection, as fields in JSON.
    pub diagnosis: String,
    /// How many lines of this endpoint were left out since its last one.
    pub suppressed: u64,
}

impl Line<'_> {
    /// The line as JSON. Unknown values have no field. The line contains printable ASCII only, whatever the request
    /// contained: no reader sees a line break, and no terminal sees a control character.
    #[must_use]
    pub fn to_json(&self) -> String {
        let micros = u64::try_from(self.duration.as_micros()).unwrap_or(u64::MAX);
        // One allocation serves most lines.
        let mut line = String::with_capacity(LENGTH.saturating_add(self.diagnosis.len()));
        line.push_str(r#"{"event":""#);
        line.push_str(EVENT);
        line.push('"');
        add_string(&mut line, "endpoint", self.endpoint);
        add_string(&mut line, "verdict", self.verdict.name());
        add_string(&mut line, "reason", self.reason.name());
        if let Some(status) = self.status {
            add(&mut line, "status", &status);
        }
        add(
            &mut line,
            "duration_ms",
            &format_args!("{}.{:03}", micros / 1_000, micros % 1_000),
        );
        if let Some(client) = self.client {
            add(&mut line, "client", &format_args!("\"{client}\""));
        }
        if self.client_untrusted {
            add(&mut line, "client_untrusted", &true);
        }
        if let Some(version) = self.secret_version {
            add_string(&mut line, "secret_version", version);
        }
        if let Some(id) = self.delivery_id {
            add_string(&mut line, "delivery_id", &String::from_utf8_lossy(id));
        }
        if let Some(delivery) = self.delivery {
            add(&mut line, "delivery", &format_args!("\"{delivery}\""));
        }
        add(&mut line, "body_bytes", &self.body_bytes);
        if self.body_unsigned {
            add(&mut line, "body_signed", &false);
        }
        if let Some(name) = self.parameter {
            add_string(&mut line, "parameter", &String::from_utf8_lossy(name));
        }
        if self.reason == Reason::QueryNotSigned {
            add_string(&mut line, "hint", QUERY_HINT);
        }
        line.push_str(&self.diagnosis);
        if self.suppressed > 0 {
            add(&mut line, "suppressed", &self.suppressed);
        }
        line.push('}');
        line
    }
}

/// Keeps a flood of an endpoint's denials from flooding the log. Those that a secret vouches for have lines of
/// their own: who knows no secret hides none of them.
#[derive(Debug, Default)]
pub struct Limiter {
    verified: Bucket,
    others: Bucket,
    suppressed: u64,
}

/// A bucket of lines that refills with time.
#[derive(Debug)]
struct Bucket {
    tokens: u32,
    refilled_millis: u64,
}

impl Limiter {
    /// Whether a line may be written at `now`, in milliseconds of any clock, and how many were not
    /// since the last one. `is_verified` where a secret made the signature, be it a revoked one.
    pub fn admit(&mut self, now: u64, is_verified: bool) -> Option<u64> {
        let bucket = match is_verified {
            true => &mut self.verified,
            false => &mut self.others,
        };
        if bucket.take(now) {
            return Some(std::mem::take(&mut self.suppressed));
        }
        self.suppressed = self.suppressed.saturating_add(1);
        None
    }
}

impl Default for Bucket {
    fn default() -> Self {
        Self {
            tokens: BURST,
            refilled_millis: 0,
        }
    }
}

impl Bucket {
    fn take(&mut self, now: u64) -> bool {
        let earned = now.saturating_sub(self.refilled_millis) / REFILL_MILLIS;
        if earned > 0 {
            let earned = u32::try_from(earned).unwrap_or(BURST);
            self.tokens = self.tokens.saturating_add(earned).min(BURST);
            self.refilled_millis = now;
        } else if now < self.refilled_millis {
            // The clock was set back: count from here, or the log would stay silent until it caught up.
            self.refilled_millis = now;
        }
        let left = self.tokens.checked_sub(1);
        self.tokens = left.unwrap_or_default();
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_json_object_whatever_it_holds() {
        let line = Line {
            endpoint: "orders",
            verdict: Outcome::Denied,
            reason: Reason::SignatureInvalid,
            status: None,
            duration: Duration::from_micros(12_034),
            client: Some("::1".parse().expect("an address")),
            client_untrusted: false,
            secret_version: Some("v1"),
            delivery_id: Some(b"a\"\\\n\x7f\xff\xc2\x9b\xe2\x80\xa8\xf0\x9f\x98\x80\0b"),
            delivery: None,
            body_bytes: 5,
            body_unsigned: false,
            parameter: None,
            diagnosis: String::new(),
            suppressed: 3,
        }
        .to_json();
        assert!(
            line.bytes().all(|byte| matches!(byte, b' '..=b'~')),
            "{line}"
        );
        let parsed: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(parsed["event"], "webhook_processed");
        assert_eq!(parsed["reason"], "signature_invalid");
        assert_eq!(parsed["client"], "::1");
        assert_eq!(
            parsed["delivery_id"],
            "a\"\\\n\x7f\u{fffd}\u{9b}\u{2028}\u{1f600}\0b"
        );
        assert_eq!(parsed["duration_ms"], 12.034);
        assert_eq!(parsed["suppressed"], 3);
        assert!(parsed.get("status").is_none());
    }

    #[test]
    fn a_flood_writes_a_burst_and_then_ten_lines_a_second() {
        let mut limiter = Limiter::default();
        let written = (0..1_000)
            .filter(|_| limiter.admit(1_000_000, false).is_some())
            .count();
        assert_eq!(written, 100);
        assert_eq!(limiter.admit(1_000_050, false), None);
        assert_eq!(limiter.admit(1_000_100, false), Some(901));
        assert_eq!(limiter.admit(1_000_150, false), None);
        let second = (1_000_200..1_001_200)
            .filter(|now| limiter.admit(*now, false).is_some())
            .count();
        assert_eq!(second, 10);
    }

    #[test]
    fn a_flood_without_a_secret_hides_no_line_of_one_with_it() {
        let mut limiter = Limiter::default();
        while limiter.admit(1_000_000, false).is_some() {}
        assert_eq!(limiter.admit(1_000_000, true), Some(1));
        assert_eq!(limiter.admit(1_000_000, false), None);
        assert_eq!(limiter.admit(1_000_000, true), Some(1));
    }

    #[test]
    fn a_clock_set_back_does_not_silence_the_log() {
        let mut limiter = Limiter::default();
        while limiter.admit(1_000_000, false).is_some() {}
        assert_eq!(limiter.admit(5_000, false), None);
        assert!(limiter.admit(5_100, false).is_some());
    }
}
