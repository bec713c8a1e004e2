//! Whether the upstream's answer confirms a delivery.
//!
//! An answer that has begun may still break off, and a sender that sees this sends again. So a delivery is confirmed
//! only once its answer has ended.

use crate::request::headers::Headers;

/// Whether the answer's headers confirm the delivery, if the answer then ends: the status is 2xx.
#[must_use]
pub fn headers_confirm(headers: &Headers<'_>) -> bool {
    matches!(headers.one(":status"), Ok(Some([b'2', _, _]))) && is_grpc_success(headers)
}

/// Whether the answer's trailers confirm the delivery. Its headers have confirmed it before.
#[must_use]
pub fn trailers_confirm(trailers: &Headers<'_>) -> bool {
    is_grpc_success(trailers)
}

/// Envoy answers a failed gRPC call 200, and reports the failure in `grpc-status`.
fn is_grpc_success(headers: &Headers<'_>) -> bool {
    matches!(headers.one("grpc-status"), Ok(None | Some(b"0")))
}

/// Which side broke off an answer that had begun.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Breaker {
    /// The client left. The upstream has processed the delivery.
    Client,
    /// The upstream stopped. The delivery may arrive again.
    Upstream,
}

/// Which side broke off an answer, by Envoy's response code details. `None` if they do not show it.
///
/// A client's `RST_STREAM` is `http2.remote_reset` up to Envoy 1.39. In 1.40 it leaves the details of the answer.
#[must_use]
pub fn breaker(details: &[u8]) -> Option<Breaker> {
    match details {
        b"downstream_remote_disconnect" | b"http2.remote_reset" | b"via_upstream" => {
            Some(Breaker::Client)
        }
        _ if details.starts_with(b"upstream") => Some(Breaker::Upstream),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers<'a>(pairs: &'a [(&'a [u8], &'a [u8])]) -> Headers<'a> {
        Headers::of_answer(pairs)
    }

    #[test]
    fn a_2xx_answer_confirms_a_delivery() {
        for (status, confirms) in [
            (&b"200"[..], true),
            (b"204", true),
            (b"302", false),
            (b"409", false),
            (b"500", false),
            (b"2", false),
            (b"2000", false),
            (b"", false),
        ] {
            assert_eq!(headers_confirm(&headers(&[(b":status", status)])), confirms);
        }
        assert!(!headers_confirm(&headers(&[])));
        let twice: [(&[u8], &[u8]); 2] = [(b":status", b"200"), (b":status", b"200")];
        assert!(!headers_confirm(&headers(&twice)));
    }

    #[test]
    fn a_failed_grpc_call_confirms_nothing() {
        let failed: [(&[u8], &[u8]); 2] = [(b":status", b"200"), (b"grpc-status", b"14")];
        assert!(!headers_confirm(&headers(&failed)));
        assert!(!trailers_confirm(&headers(&[(b"grpc-status", b"14")])));
        assert!(trailers_confirm(&headers(&[(b"grpc-status", b"0")])));
        assert!(trailers_confirm(&headers(&[])));
    }

    #[test]
    fn the_details_show_which_side_broke_off() {
        assert_eq!(breaker(b"via_upstream"), Some(Breaker::Client));
        assert_eq!(breaker(b"http2.remote_reset"), Some(Breaker::Client));
        let reset = b"upstream_reset_after_response_started{connection_termination}";
        assert_eq!(breaker(reset), Some(Breaker::Upstream));
        assert_eq!(breaker(b"response_timeout"), None);
        assert_eq!(breaker(b""), None);
    }
}
