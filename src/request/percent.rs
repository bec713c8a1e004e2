//! Percent-encoding (RFC 3986, 2.1), in the variants that senders and forms use.

use crate::hex;

/// How a literal `+` is decoded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Plus {
    /// Unchanged, as in a path.
    Literal,
    /// To a space, as in a form.
    Space,
}

/// Decodes each `%XX` whose byte satisfies `is_decoded`. Any other `%` is copied.
pub(crate) fn decode(text: &[u8], plus: Plus, is_decoded: fn(u8) -> bool) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        match (byte, escaped(tail)) {
            (b'%', Some((value, tail))) if is_decoded(value) => {
                decoded.push(value);
                rest = tail;
            }
            (b'+', _) if plus == Plus::Space => decoded.push(b' '),
            _ => decoded.push(*byte),
        }
    }
    decoded
}

/// The byte that two hexadecimal digits encode, and the text after them.
fn escaped(text: &[u8]) -> Option<(u8, &[u8])> {
    let (digits, tail) = text.split_first_chunk::<2>()?;
    let mut value = [0];
    hex::decode(digits, &mut value)?;
    let [value] = value;
    Some((value, tail))
}

/// Encodes every byte but ASCII letters, digits and those in `kept`, with digits in upper case.
pub(crate) fn encode(text: &[u8], kept: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(text.len());
    for byte in text {
        if byte.is_ascii_alphanumeric() || kept.contains(byte) {
            encoded.push(*byte);
        } else {
            let mut digits = [0; 2];
            // Two digits always fit.
            let _ = hex::encode(&[*byte], &mut digits);
            encoded.push(b'%');
            encoded.extend(digits.to_ascii_uppercase());
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(_: u8) -> bool {
        true
    }

    #[test]
    fn incomplete_and_excluded_escapes_are_copied() {
        let text = b"a%41%4%zz%%41+%2b%";
        assert_eq!(decode(text, Plus::Literal, all), b"aA%4%zz%A++%");
        assert_eq!(decode(text, Plus::Space, all), b"aA%4%zz%A +%");
        assert_eq!(decode(b"%41%42", Plus::Space, |byte| byte == 0x42), b"%41B");
    }

    proptest! {
        #[test]
        fn decoding_reverses_encoding(text in prop::collection::vec(any::<u8>(), 0..40)) {
            let encoded = encode(&text, b"-_.");
            prop_assert!(encoded.is_ascii());
            prop_assert_eq!(decode(&encoded, Plus::Space, all), text);
        }
    }
}
