//! How signatures and keys are written as text.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::config::Node;
use crate::mac::{Algorithm, Tag};

/// How bytes are written as text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Encoding {
    Hex,
    Base64,
    Base64Url,
}

/// How a secret's text becomes the key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum KeyEncoding {
    /// The text's own bytes.
    Utf8,
    /// The bytes that the text encodes.
    Encoded(Encoding),
    /// Base64 after an optional `whsec_`, as Standard Webhooks has it.
    Whsec,
}

impl Encoding {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("hex", Self::Hex),
        ("base64", Self::Base64),
        ("base64url", Self::Base64Url),
    ];

    pub(crate) fn read(node: Node<'_>) -> Option<Self> {
        node.choice(Self::NAMES)
    }

    /// Decodes a signature: `None` unless it is the encoding of exactly one code of `algorithm`.
    pub(crate) fn decode_tag(self, algorithm: Algorithm, text: &[u8]) -> Option<Tag> {
        // Room for the longest code, and for the estimates of the base64 decoder.
        let mut buffer = [0; 72];
        let length = match self {
            Self::Hex => {
                let length = text.len().div_ceil(2);
                hex::decode_to_slice(text, buffer.get_mut(..length)?).ok()?;
                length
            }
            Self::Base64 => BASE64.decode_slice(text, &mut buffer).ok()?,
            Self::Base64Url => BASE64_URL.decode_slice(text, &mut buffer).ok()?,
        };
        Tag::new(algorithm, buffer.get(..length)?)
    }

    /// Decodes a secret's text.
    fn decode(self, text: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Hex => {
                let mut bytes = vec![0; text.len().div_ceil(2)];
                hex::decode_to_slice(text, &mut bytes).ok()?;
                Some(bytes)
            }
            Self::Base64 => BASE64.decode(text).ok(),
            Self::Base64Url => BASE64_URL.decode(text).ok(),
        }
    }
}

impl KeyEncoding {
    pub(crate) fn read(node: Node<'_>) -> Option<Self> {
        node.choice(&[
            ("utf8", Self::Utf8),
            ("hex", Self::Encoded(Encoding::Hex)),
            ("base64", Self::Encoded(Encoding::Base64)),
            ("base64url", Self::Encoded(Encoding::Base64Url)),
            ("whsec", Self::Whsec),
        ])
    }

    /// The key that a secret's text means.
    ///
    /// # Errors
    /// Says how the text should be written, and nothing of what it is.
    pub(crate) fn decode(self, text: &str) -> Result<Vec<u8>, &'static str> {
        match self {
            Self::Utf8 => Ok(text.as_bytes().to_vec()),
            Self::Encoded(encoding) => encoding.decode(text.as_bytes()).ok_or(match encoding {
                Encoding::Hex => "the secret is not hex, as this scheme's keys are",
                Encoding::Base64 => "the secret is not base64, as this scheme's keys are",
                Encoding::Base64Url => "the secret is not base64url, as this scheme's keys are",
            }),
            Self::Whsec => Encoding::Base64
                .decode(text.strip_prefix("whsec_").unwrap_or(text).as_bytes())
                .ok_or("the secret is not base64 after `whsec_`, as this scheme's keys are"),
        }
    }
}

/// Padding may be there or not, senders differ; unused bits must be zero, so that no signature can be
/// written in two ways.
const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const BASE64: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_has_one_form_per_encoding() {
        let decode = |encoding: Encoding, text: &str| {
            encoding
                .decode_tag(Algorithm::HmacSha256, text.as_bytes())
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
