//! Whether the upstream took a delivery, by what Envoy shows of its answer when the request has ended.
//!
//! An answer that has begun may break off, and a sender that sees this sends again. So a 2xx status alone confirms no
//! delivery.

use crate::request::headers::Headers;

/// Whether the upstream took a delivery.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Delivered {
    /// The upstream has processed the delivery.
    Yes,
    /// The delivery may arrive again.
    No,
    /// The client left before the answer, or Envoy does not show which side broke off the answer.
    Unknown,
}

/// Whether the upstream took the delivery, by the headers of its answer. `None` if these confirm the delivery and the rest
/// of the answer decides: the status is 2xx.
#[must_use]
pub fn by_headers(headers: &Headers<'_>) -> Option<Delivered> {
    match headers.one(":status") {
        Ok(None) => Some(Delivered::Unknown),
        Ok(Some([b'2', _, _])) => by_trailers(headers),
        Ok(Some(_)) | Err(_) => Some(Delivered::No),
    }
}

/// The same for the trailers of the answer. Envoy answers a failed gRPC call 200, and reports the failure in
/// `grpc-status`.
#[must_use]
pub fn by_trailers(trailers: &Headers<'_>) -> Option<Delivered> {
    match trailers.one("grpc-status") {
        Ok(None | Some(b"0")) => None,
        Ok(Some(_)) | Err(_) => Some(Delivered::No),
    }
}

/// The same by Envoy's response code details: whether the answer is whole, or which side broke it off.
///
/// A client's `RST_STREAM` is `http2.remote_reset` up to Envoy 1.39. In 1.40 it leaves the details of the answer.
#[must_use]
pub fn by_details(details: &[u8]) -> Option<Delivered> {
    match details {
        b"via_upstream" | b"downstream_remote_disconnect" | b"http2.remote_reset" => {
            Some(Delivered::Yes)
        }
        _ if details.starts_with(b"upstream") => Some(Delivered::No),
        _ => None,
    }
}

/// The same by Envoy's response flags, a 64-bit number. They are zero if a filter or a route answered, and nothing broke
/// the answer off.
#[must_use]
pub fn by_flags(flags: &[u8]) -> Option<Delivered> {
    (flags == [0; 8]).then_some(Delivered::Yes)
}

/// The same by Envoy's time from the request to the end of the upstream's answer. Envoy has none if that answer has no end.
/// If a client breaks the protocol while it leaves its answer unread, nothing else shows that the upstream took the delivery.
#[must_use]
pub const fn by_backend_latency(latency: Option<&[u8]>) -> Delivered {
    match latency {
        Some(_) => Delivered::Yes,
        None => Delivered::Unknown,
    }
}

/// Whether the status of an answer shows that the upstream has not taken the delivery. `code` is Envoy's 64-bit number.
#[must_use]
pub fn is_failure(code: &[u8]) -> bool {
    let code = code.try_into().map(i64::from_le_bytes);
    code.is_ok_and(|code| code >= 300)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers<'a>(pairs: &'a [(&'a [u8], &'a [u8])]) -> Headers<'a> {
        Headers::of_answer(pairs)
    }

    #[test]
    fn a_2xx_answer_can_confirm_a_delivery() {
        for (status, delivered) in [
            (&b"200"[..], None),
            (b"204", None),
            (b"302", Some(Delivered::No)),
            (b"409", Some(Delivered::No)),
            (b"500", Some(Delivered::No)),
            (b"2", Some(Delivered::No)),
            (b"2000", Some(Delivered::No)),
            (b"", Some(Delivered::No)),
        ] {
            assert_eq!(by_headers(&headers(&[(b":status", status)])), delivered);
        }
        let twice: [(&[u8], &[u8]); 2] = [(b":status", b"200"), (b":status", b"200")];
        assert_eq!(by_headers(&headers(&twice)), Some(Delivered::No));
    }

    #[test]
    fn without_an_answer_nothing_is_known() {
        assert_eq!(by_headers(&headers(&[])), Some(Delivered::Unknown));
    }

    #[test]
    fn a_failed_grpc_call_confirms_nothing() {
        let no = Some(Delivered::No);
        let failed: [(&[u8], &[u8]); 2] = [(b":status", b"200"), (b"grpc-status", b"14")];
        assert_eq!(by_headers(&headers(&failed)), no);
        assert_eq!(by_trailers(&headers(&[(b"grpc-status", b"14")])), no);
        assert_eq!(by_trailers(&headers(&[(b"grpc-status", b"0")])), None);
        assert_eq!(by_trailers(&headers(&[])), None);
    }

    #[test]
    fn the_details_show_which_side_broke_off() {
        assert_eq!(by_details(b"via_upstream"), Some(Delivered::Yes));
        assert_eq!(by_details(b"http2.remote_reset"), Some(Delivered::Yes));
        let reset = b"upstream_reset_after_response_started{connection_termination}";
        assert_eq!(by_details(reset), Some(Delivered::No));
        assert_eq!(by_details(b"response_timeout"), None);
        assert_eq!(by_details(b""), None);
    }

    #[test]
    fn without_flags_an_answer_is_whole() {
        assert_eq!(by_flags(&0_i64.to_le_bytes()), Some(Delivered::Yes));
        assert_eq!(by_flags(&4_i64.to_le_bytes()), None);
        assert_eq!(by_flags(&[]), None);
    }

    #[test]
    fn an_answer_with_an_end_is_whole() {
        assert_eq!(by_backend_latency(Some(b"1ms")), Delivered::Yes);
        assert_eq!(by_backend_latency(None), Delivered::Unknown);
    }

    #[test]
    fn another_status_than_2xx_is_a_failure() {
        for (code, is) in [
            (200, false),
            (299, false),
            (302, true),
            (500, true),
            (0, false),
        ] {
            assert_eq!(is_failure(&i64::to_le_bytes(code)), is, "{code}");
        }
        assert!(!is_failure(b"500"));
    }
}
