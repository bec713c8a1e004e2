//! The shape of a request's signature without the signature itself, for the log line of a rejection.

use super::Scheme;
use super::component::Component;
use super::facts::HeadFacts;
use super::public_url::PublicUrl;
use super::search::split_once;
use super::signature_field::{Placeholder, SignatureEncoding};
use super::source::{self, Source};
use super::template::Piece;
use crate::ascii_json::add_item;
use crate::crypto::Algorithm;
use crate::crypto::encoding::Encoding;
use crate::request::headers::Headers;
use crate::time::UnixMillis;

/// The most items of a list in a log line.
const MAX_ITEMS: usize = 4;

/// The length from which a shape is cut.
const MAX_SHAPE: usize = 128;

/// Words in senders' signatures that a shape may quote. They are public.
const WORDS: [&str; 22] = [
    "sha1",
    "sha256",
    "sha384",
    "sha512",
    "md5",
    "hmac",
    "hmacsha256",
    "hmac-sha256",
    "t",
    "ts",
    "time",
    "timestamp",
    "s",
    "sig1",
    "signature",
    "h1",
    "v0",
    "v1",
    "v1a",
    "v2",
    "Bearer",
    "Basic",
];

/// Parts of the names of headers with signatures: `x-hub-signature`, `x-shopify-hmac-sha256`, `verif-hash`.
const MARKS: [&[u8]; 4] = [b"sig", b"hmac", b"token", b"hash"];

impl Scheme {
    /// Each value with signatures in the head, as its place and its shape: `x-hub-signature-256: sha256=<64 hex>`.
    pub(crate) fn signatures_seen(&self, headers: &Headers<'_>) -> String {
        let mut seen = String::new();
        let mut add = |name: &[u8], value: &[u8]| {
            if seen.len() > MAX_SHAPE {
                return;
            }
            add_item(&mut seen, name);
            seen.push_str(": ");
            match self.spec.signature.algorithm {
                Algorithm::Token => push_shape(&mut seen, value.len(), "bytes"),
                _ => shape(&mut seen, value),
            }
        };
        let source = &self.spec.signature_field.source;
        if let Source::Query(name) = source
            && let Ok(Some(value)) = source.in_head(headers, None)
        {
            add(name.as_bytes(), &value);
        }
        for (name, value) in headers.pairs {
            if source::has(source.headers(), name) {
                add(name, value);
            }
        }
        seen
    }

    /// The shape that a signature's value must have: `t=<timestamp>,v1=<64 hex>`.
    pub(crate) fn expected_shape(&self) -> String {
        let field = &self.spec.signature_field;
        let mut text = String::new();
        for (index, format) in field.formats.iter().enumerate() {
            if index > 0 {
                text.push_str(field.separator.as_deref().unwrap_or(" or "));
            }
            for piece in format {
                text.push_str(match piece {
                    Piece::Literal(literal) => literal,
                    Piece::Placeholder(Placeholder::Signature) => {
                        code_shape(&mut text, self.spec.signature);
                        continue;
                    }
                    Piece::Placeholder(Placeholder::Timestamp) => "<timestamp>",
                    Piece::Placeholder(Placeholder::KeyId) => "<key id>",
                    Piece::Placeholder(Placeholder::Token) => "<JWT>",
                    Piece::Placeholder(Placeholder::Ignored) => "<any>",
                });
            }
        }
        text
    }

    /// The headers and query parameters that the scheme requires and the request lacks.
    pub(crate) fn missing(&self, headers: &Headers<'_>) -> String {
        let spec = &self.spec;
        let mut missing = String::new();
        let others = [
            Some(&spec.signature_field.source),
            spec.id.as_ref().filter(|_| !spec.id_optional),
            spec.key_id.as_ref(),
            spec.timestamp_source(),
        ];
        for source in others.into_iter().flatten() {
            add_missing(&mut missing, source, headers);
        }
        for component in spec.message.components() {
            if let Component::Value {
                source,
                optional: false,
                ..
            } = component
            {
                add_missing(&mut missing, source, headers);
            }
        }
        missing
    }

    /// The names of other headers that may contain a signature.
    pub(crate) fn other_signatures(&self, headers: &Headers<'_>) -> String {
        let mut others = String::new();
        let mut left = MAX_ITEMS;
        for (name, _) in headers.pairs {
            if left > 0
                && MARKS.iter().any(|mark| split_once(name, mark).is_some())
                && !source::has(&self.header_names, name)
            {
                add_item(&mut others, name);
                left = left.saturating_sub(1);
            }
        }
        others
    }

    /// The time that the request claims, if it is in the head.
    pub(crate) fn claimed_time(&self, headers: &Headers<'_>) -> Option<UnixMillis> {
        let rule = self.spec.timestamp.as_ref()?;
        if let Some(source) = &rule.source {
            return rule.unit.parse(&source.in_head(headers, None).ok()??);
        }
        let field = &self.spec.signature_field;
        let items = field.in_head(headers, self.spec.signature).ok()?;
        rule.unit.parse(items.timestamp?)
    }

    /// The URL as the sender must have signed it, without its query, which may contain secrets. A scheme that signs no
    /// host has only the path.
    pub(crate) fn signed_url(
        &self,
        headers: &Headers<'_>,
        public_url: &PublicUrl,
    ) -> Option<Vec<u8>> {
        let facts = HeadFacts {
            headers,
            public_url,
            form: 0,
            timestamp: None,
            id: None,
            signed_headers: &[],
        };
        let is_path = |each: &Component| matches!(each, Component::Path | Component::EncodedPath);
        let mut url = if self.signs_origin() {
            facts.url_without_query().ok()?
        } else if self.spec.message.any(is_path) {
            facts.path().ok()?
        } else {
            return None;
        };
        if !source::query(headers).is_empty() {
            url.extend(b"?...");
        }
        Some(url)
    }
}

/// Adds the name of a value that the head should contain and does not.
#[inline(never)]
fn add_missing(missing: &mut String, source: &Source, headers: &Headers<'_>) {
    let name = match source {
        Source::Headers(names) => names.first().map(|name| &name.text),
        Source::Query(name) => Some(name),
        _ => None,
    };
    if let Some(name) = name
        && matches!(source.in_head(headers, None), Ok(None))
    {
        add_item(missing, name.as_bytes());
    }
}

/// Adds a word's shape.
#[inline(never)]
fn push_shape(text: &mut String, length: usize, kind: &str) {
    text.push('<');
    text.push_str(&length.to_string());
    text.push(' ');
    text.push_str(kind);
    text.push('>');
}

/// Adds the shape of a code: its length and encoding.
fn code_shape(text: &mut String, signature: SignatureEncoding) {
    let length = signature.algorithm.length();
    match (signature.algorithm, signature.encoding) {
        (Algorithm::Token, _) | (_, Encoding::Text) => text.push_str("<token>"),
        (Algorithm::EcdsaP256Sha256, _) => text.push_str("<DER>"),
        (_, Encoding::Hex) => push_shape(text, length.saturating_mul(2), "hex"),
        (_, Encoding::Base64 | Encoding::Base64Url) => {
            push_shape(text, length.div_ceil(3).saturating_mul(4), "base64");
        }
    }
}

/// Adds the shape of a value: its separators, and the length and kind of each word between them.
fn shape(shape: &mut String, value: &[u8]) {
    let end = shape.len().saturating_add(MAX_SHAPE);
    let is_separator = |byte: Option<&u8>| byte.is_none_or(|byte| b",;:. ".contains(byte));
    let mut rest = value;
    let mut length = 0_usize;
    while shape.len() < end {
        let byte = rest.get(length);
        let next = rest.get(length.saturating_add(1));
        // A `=` at the end of a word is its padding.
        let is_end = is_separator(byte)
            || (byte == Some(&b'=') && next != Some(&b'=') && !is_separator(next));
        if !is_end {
            length = length.saturating_add(1);
            continue;
        }
        let (word, tail) = rest.split_at_checked(length).unwrap_or_default();
        push_word(shape, word);
        let Some((separator, after)) = tail.split_first() else {
            break;
        };
        shape.push(char::from(*separator));
        rest = after;
        length = 0;
    }
}

/// Adds a word: itself if it is public, otherwise its length and kind. A sender may send the secret itself.
#[inline(never)]
fn push_word(shape: &mut String, word: &[u8]) {
    if let Some(known) = WORDS.iter().find(|known| known.as_bytes() == word) {
        shape.push_str(known);
    } else if !word.is_empty() {
        let mut kind = "digits";
        for byte in word {
            match byte {
                b'0'..=b'9' => {}
                b'a'..=b'f' | b'A'..=b'F' if matches!(kind, "digits" | "hex") => kind = "hex",
                b'+' | b'/' | b'-' | b'_' | b'=' | b'a'..=b'z' | b'A'..=b'Z' if kind != "text" => {
                    kind = "base64";
                }
                _ => kind = "text",
            }
        }
        push_shape(shape, word.len(), kind);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape_of(value: &[u8]) -> String {
        let mut text = String::new();
        shape(&mut text, value);
        text
    }

    #[test]
    fn a_shape_shows_lengths_and_kinds_and_quotes_only_public_words() {
        let hex = "0123456789abcdef".repeat(4);
        let base64 = "gICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIA=";
        for (value, expected) in [
            (hex.clone(), "<64 hex>"),
            (format!("sha256={hex}"), "sha256=<64 hex>"),
            (format!("sha1={}", hex.split_at(24).1), "sha1=<40 hex>"),
            (
                format!("t=1700000000,v1={hex}"),
                "t=<10 digits>,v1=<64 hex>",
            ),
            (
                format!("v1,{base64} v1,{base64}"),
                "v1,<44 base64> v1,<44 base64>",
            ),
            (base64.to_owned(), "<44 base64>"),
            (
                "Bearer a.b.c-_".to_owned(),
                "Bearer <1 hex>.<1 hex>.<3 base64>",
            ),
            ("hunter2 horse".to_owned(), "<7 base64> <5 base64>"),
            ("p@ss=w0rd!".to_owned(), "<4 text>=<5 text>"),
            ("==".to_owned(), "<2 base64>"),
            ("t=,v1=".to_owned(), "<2 base64>,<3 base64>"),
            (String::new(), ""),
        ] {
            assert_eq!(shape_of(value.as_bytes()), expected);
        }
        assert_eq!(shape_of(b"\xff\n"), "<2 text>");
        assert!(shape_of("a,".repeat(4_000).as_bytes()).len() < 2 * MAX_SHAPE);
    }
}
