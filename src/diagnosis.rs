//! The evidence for the cause of a rejection, for its line in the log. Nothing here is verified, and nothing is secret:
//! neither an expected code, nor a received one, nor a value of the query, nor the body.

use crate::ascii_json::{add_item, add_number, add_text};
use crate::policy::endpoint::Endpoint;
use crate::request::headers::{Headers, plain_length};
use crate::scheme::body::MediaType;
use crate::time::UnixMillis;
use crate::verdict::Denial;
use crate::verify::{Evidence, Rejection};

/// The fields of a diagnosis. A field without a value is absent.
pub const FIELDS: [&str; 12] = [
    // The headers of the request. The length is there if it is a plain number.
    "content_type",
    "content_encoding",
    "content_length",
    // The SHA-256 of the whole body, in hex.
    "body_sha256",
    // The places of the signatures with the shape of each value, and the shape that a value must have.
    "signatures",
    "signature_expected",
    // The values that the scheme requires in the head and the request lacks, and other headers that may contain a signature.
    "missing",
    "other_signatures",
    // The versions whose keys did not make the signature.
    "versions_tried",
    // The age of the timestamp in seconds, negative if it is in the future.
    "timestamp_age_s",
    // The URL that the sender must have signed, without its query.
    "signed_url",
    // The cause, where the guard knows it, and the fix.
    "hint",
];

/// A timestamp that is off by more seconds than this has another unit: ten years.
const OTHER_UNIT: u64 = 10 * 365 * 24 * 60 * 60;

/// A rejected request, as the guard saw it.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// The headers at the verdict.
    pub headers: Headers<'a>,
    /// Whether the client sent the content-length.
    pub has_length: bool,
    /// The length of the body, if the guard read it to its end.
    pub body: Option<u64>,
    /// The time of the verdict.
    pub now: UnixMillis,
}

/// Whether rejections with this denial have a diagnosis.
#[must_use]
pub const fn explains(denial: Denial) -> bool {
    matches!(
        denial,
        Denial::BodyTooLarge
            | Denial::SignatureMissing
            | Denial::SignatureMalformed
            | Denial::SignatureDuplicated
            | Denial::SignatureInvalid
            | Denial::TimestampMissing
            | Denial::TimestampMalformed
            | Denial::TimestampExpired
            | Denial::TimestampFuture
    )
}

/// The fields of [`FIELDS`] for a rejection, except for the hash of the body, as JSON.
#[must_use]
pub fn diagnose(endpoint: &Endpoint, rejection: &Rejection, seen: &Seen<'_>) -> String {
    let headers = &seen.headers;
    let scheme = &endpoint.scheme;
    let one = |name| headers.one(name).ok().flatten().unwrap_or_default();
    let mut line = String::new();
    add_text(&mut line, "content_type", one("content-type"));
    add_text(&mut line, "content_encoding", one("content-encoding"));
    let mut length = None;
    if seen.has_length {
        length = plain_length(one("content-length"));
        if let Some(length) = length {
            add_number(
                &mut line,
                "content_length",
                i64::try_from(length).unwrap_or(i64::MAX),
            );
        }
    }
    if rejection.denial == Denial::BodyTooLarge {
        if seen.has_length && length.is_none() {
            let hint = "the content-length is not a plain number of at most 19 digits: find the client or proxy that writes it";
            add_text(&mut line, "hint", hint.as_bytes());
        }
        return line;
    }
    add_text(
        &mut line,
        "signatures",
        scheme.signatures_seen(headers).as_bytes(),
    );
    let url = scheme.signed_url(headers, &endpoint.public_url);
    add_text(&mut line, "signed_url", &url.unwrap_or_default());
    let mut age = 0;
    if let Some(time) = scheme.claimed_time(headers) {
        age = seen.now.since(time) / 1_000;
        add_number(&mut line, "timestamp_age_s", age);
    }
    if let Some(Evidence::NoMatch(tried)) = &rejection.evidence {
        let mut versions = String::new();
        let mut last = None;
        for index in tried {
            // A secret has several keys if its scheme has several encodings.
            if let Some(secret) = endpoint.secret(*index).filter(|_| last != Some(index)) {
                add_item(&mut versions, secret.version.as_bytes());
                last = Some(index);
            }
        }
        add_text(&mut line, "versions_tried", versions.as_bytes());
    } else {
        add_text(
            &mut line,
            "signature_expected",
            scheme.expected_shape().as_bytes(),
        );
        add_text(&mut line, "missing", scheme.missing(headers).as_bytes());
        add_text(
            &mut line,
            "other_signatures",
            scheme.other_signatures(headers).as_bytes(),
        );
    }
    let is_off = age.unsigned_abs() > OTHER_UNIT;
    let hint = hint(endpoint, rejection, seen, length, is_off);
    add_text(&mut line, "hint", hint.as_bytes());
    line
}

/// The cause, where it is certain or probable, and the fix. Empty if it is unknown.
fn hint(
    endpoint: &Endpoint,
    rejection: &Rejection,
    seen: &Seen<'_>,
    length: Option<u64>,
    is_off: bool,
) -> &'static str {
    let scheme = &endpoint.scheme;
    let coding = seen.headers.one("content-encoding").ok().flatten();
    let is_compressed = coding.is_some_and(|coding| coding != b"identity");
    match rejection.denial {
        Denial::SignatureInvalid => match (&rejection.evidence, seen.body) {
            (Some(Evidence::OtherBody), _) => {
                "a secret made the signature, but for another body: a proxy or a filter before the guard changes the body"
            }
            (Some(Evidence::NoMatch(tried)), _) if tried.is_empty() && scheme.has_key_ids() => {
                "no secret has the key id that the request names: set `key_id`"
            }
            (_, Some(body)) if length.is_some_and(|length| length != body) => {
                "the content-length differs from the body: a filter before the guard changes the body"
            }
            _ if is_compressed && endpoint.is_decompressed => {
                "the body is compressed although `decompressed` is set: enable Envoy's decompressor for this route"
            }
            _ if is_compressed => {
                "the body is compressed: if the sender signs the uncompressed body, set `decompressed` and Envoy's decompressor"
            }
            (_, Some(0)) if length.is_some() && endpoint.signs_bodies() => {
                "the body is empty: a redirect or a proxy may have dropped it"
            }
            _ => "",
        },
        Denial::SignatureMalformed if scheme.reads_body() && is_compressed => {
            "the guard must read this body, but it is compressed: turn off compression at the sender"
        }
        Denial::SignatureMalformed
            if scheme.body_needs.json
                && scheme.body_needs.json_in_form.is_none()
                && MediaType::of(&seen.headers) != MediaType::Other =>
        {
            "the guard must read JSON, but the body is a form: set the content type application/json at the sender, or use a preset for forms"
        }
        Denial::TimestampExpired | Denial::TimestampFuture if is_off => {
            "the timestamp is in another unit: set `timestamp.unit`"
        }
        _ => "",
    }
}
