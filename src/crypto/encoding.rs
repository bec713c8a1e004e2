//! How signatures and keys are encoded as text.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::config::Node;
use crate::crypto::{self, Algorithm, Candidate};
use crate::hex;

/// How bytes are encoded as text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Encoding {
    Hex,
    Base64,
    Base64Url,
    /// The bytes themselves.
    Text,
}

/// How a secret's text becomes the key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum KeyEncoding {
    /// The text's own bytes.
    Utf8,
    /// The bytes that the text encodes.
    Encoded(Encoding),
    /// Base64 after an optional `whsec_`, or after `whpk_` for a public key (Standard Webhooks).
    Whsec,
    /// The SHA-1 of the text (Braintree).
    Sha1,
    /// The text's own bytes, which must be ASCII. `EasyPost` signs with the Unicode form NFKD of the text, which leaves
    /// ASCII unchanged. Tables for other characters would make the module too large.
    Ascii,
}

impl Encoding {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("hex", Self::Hex),
        ("base64", Self::Base64),
        ("base64url", Self::Base64Url),
        ("text", Self::Text),
    ];

    pub(crate) fn read(node: Node<'_>) -> Option<Self> {
        node.choice(Self::NAMES)
    }

    /// Decodes a signature: `None` unless the text encodes exactly one candidate of `algorithm`.
    pub(crate) fn decode_candidate(self, algorithm: Algorithm, text: &[u8]) -> Option<Candidate> {
        if algorithm == Algorithm::Token {
            return Candidate::new(algorithm, &self.decode(text)?);
        }
        // Space for the longest code and for the estimates of the base64 decoder. A vector would cost an allocation for
        // each candidate.
        let mut buffer = [0; 80];
        let length = match self {
            Self::Hex => {
                let length = text.len().div_ceil(2);
                hex::decode(text, buffer.get_mut(..length)?)?;
                length
            }
            Self::Base64 => BASE64.decode_slice(text, &mut buffer).ok()?,
            Self::Base64Url => BASE64_URL.decode_slice(text, &mut buffer).ok()?,
            Self::Text => return None,
        };
        Candidate::new(algorithm, buffer.get(..length)?)
    }

    /// Encodes bytes; `None` for [`Self::Text`], since they may not be text.
    pub(crate) fn encode(self, bytes: &[u8]) -> Option<String> {
        match self {
            Self::Hex => {
                let mut digits = vec![0; bytes.len().checked_mul(2)?];
                hex::encode(bytes, &mut digits)?;
                String::from_utf8(digits).ok()
            }
            Self::Base64 => Some(BASE64.encode(bytes)),
            Self::Base64Url => Some(BASE64_URL.encode(bytes)),
            Self::Text => None,
        }
    }

    /// Decodes a text of any length.
    pub(crate) fn decode(self, text: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Hex => {
                let mut bytes = vec![0; text.len().div_ceil(2)];
                hex::decode(text, &mut bytes)?;
                Some(bytes)
            }
            Self::Base64 => BASE64.decode(text).ok(),
            Self::Base64Url => BASE64_URL.decode(text).ok(),
            Self::Text => Some(text.to_vec()),
        }
    }
}

impl KeyEncoding {
    /// Reads one encoding, or a list of encodings to try.
    pub(crate) fn read_list(node: Node<'_>) -> Option<Vec<Self>> {
        match node.is_list() {
            true => node.each(Self::read),
            false => Some(vec![Self::read(node)?]),
        }
    }

    fn read(node: Node<'_>) -> Option<Self> {
        node.choice(&[
            ("utf8", Self::Utf8),
            ("hex", Self::Encoded(Encoding::Hex)),
            ("base64", Self::Encoded(Encoding::Base64)),
            ("base64url", Self::Encoded(Encoding::Base64Url)),
            ("whsec", Self::Whsec),
            ("sha1", Self::Sha1),
            ("ascii", Self::Ascii),
        ])
    }

    /// The key that a secret's text encodes.
    ///
    /// # Errors
    /// How the text should be written, without quoting the text.
    pub(crate) fn decode(self, text: &str) -> Result<Vec<u8>, &'static str> {
        match self {
            Self::Utf8 => Ok(text.as_bytes().to_vec()),
            Self::Sha1 => Ok(crypto::sha1(text.as_bytes())),
            Self::Ascii if text.is_ascii() => Ok(text.as_bytes().to_vec()),
            Self::Ascii => {
                Err("the secret is not ASCII, which this scheme requires: choose another")
            }
            Self::Encoded(Encoding::Text) => Err("the secret is not text"),
            Self::Encoded(Encoding::Hex) => Encoding::Hex.decode(text.as_bytes()).ok_or(
                "the secret is not hex, which this scheme requires: copy the sender's secret unchanged",
            ),
            Self::Encoded(Encoding::Base64 | Encoding::Base64Url) if text.starts_with("whsec_") => {
                Err("the secret starts with `whsec_`, which is not base64: set `key` to whsec")
            }
            Self::Encoded(Encoding::Base64) => decode_key(text).ok_or(
                "the secret is not base64, which this scheme requires: copy the sender's secret unchanged",
            ),
            Self::Encoded(Encoding::Base64Url) => decode_key(text).ok_or(
                "the secret is not base64url, which this scheme requires: copy the sender's secret unchanged",
            ),
            Self::Whsec => decode_key(
                ["whsec_", "whpk_"]
                    .into_iter()
                    .find_map(|prefix| text.strip_prefix(prefix))
                    .unwrap_or(text),
            )
            .ok_or("the secret is not base64 after `whsec_`: copy the sender's secret unchanged"),
        }
    }
}

/// Decodes a key in base64. As in the libraries of senders, unused bits may have any value. Either alphabet is accepted,
/// as in Node.js. The configuration contains keys, so a client cannot choose between two texts of one key.
fn decode_key(text: &str) -> Option<Vec<u8>> {
    let standard = text.bytes().map(|byte| match byte {
        b'-' => b'+',
        b'_' => b'/',
        byte => byte,
    });
    KEY_BASE64.decode(standard.collect::<Vec<u8>>()).ok()
}

/// Padding is optional, since senders differ. Unused bits must be zero, so that a signature has one spelling.
const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const BASE64: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);
const KEY_BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    LENIENT.with_decode_allow_trailing_bits(true),
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_what_the_libraries_of_senders_decode() {
        let decode = |encoding: KeyEncoding, text: &str| encoding.decode(text);
        let base64 = KeyEncoding::Encoded(Encoding::Base64);
        // The same bytes as in Python, Go and Node.js: the last digit has four unused bits.
        let key = decode(
            KeyEncoding::Whsec,
            "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oEQQ==",
        );
        for text in [
            "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oEQR==",
            "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oEQf",
            "C2FVsBQIhrscChlQIMV-b5sSYspob7oEQQ",
        ] {
            assert_eq!(decode(KeyEncoding::Whsec, text), key, "{text}");
        }
        assert_eq!(key.as_ref().map(Vec::len), Ok(25));
        let plain = "C2FVsBQIhrscChlQIMV+b5sSYspob7oEQR==";
        assert_eq!(decode(base64, plain), key);
        let url_safe = KeyEncoding::Encoded(Encoding::Base64Url);
        assert_eq!(decode(url_safe, plain), key);
        for bad in ["C2F VsBQ", "C2FVsBQIh", "C2FV=sBQ", "C2FVsBQI===", "C2FV!"] {
            assert!(decode(base64, bad).is_err(), "{bad}");
        }
        assert!(decode(base64, "whsec_C2FVsBQIhrscChlQIMV").is_err());
    }

    #[test]
    fn a_signature_has_one_form_per_encoding() {
        let decode = |encoding: Encoding, text: &str| {
            encoding
                .decode_candidate(Algorithm::HmacSha256, text.as_bytes())
                .is_some()
        };
        let hex = "0123456789abcdef".repeat(4);
        assert!(decode(Encoding::Hex, &hex));
        assert!(decode(Encoding::Hex, &hex.to_uppercase()));
        assert!(!decode(Encoding::Hex, hex.split_at(1).1));
        assert!(!decode(Encoding::Hex, hex.split_at(2).1));
        assert!(!decode(Encoding::Hex, &format!("{hex}00")));
        assert!(!decode(Encoding::Hex, &hex.replace('0', " ")));
        assert!(!decode(Encoding::Hex, &hex.repeat(1000)));

        let base64 = "gICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIA=";
        assert!(decode(Encoding::Base64, base64));
        assert!(decode(Encoding::Base64, base64.trim_end_matches('=')));
        assert!(
            !decode(Encoding::Base64, &base64.replace("IA=", "IB=")),
            "unused bits"
        );
        assert!(!decode(Encoding::Base64, base64.split_at(4).1));
        assert!(!decode(Encoding::Base64, &format!("gICA{base64}")));
        assert!(!decode(Encoding::Base64, ""));
        let url_safe = "gICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg_8";
        assert!(decode(Encoding::Base64Url, url_safe));
        assert!(!decode(Encoding::Base64, url_safe));
    }
}
