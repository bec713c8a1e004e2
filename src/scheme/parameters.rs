//! The parameters of a query or a form.

use std::borrow::Cow;

use super::found::Found;
use crate::request::headers::Ambiguous;
use crate::request::percent::{self, Plus};

/// Names and values of a query or a form, decoded.
pub(crate) type Parameters<'r> = Vec<(Cow<'r, [u8]>, Cow<'r, [u8]>)>;

/// The parameters of a query or of an `application/x-www-form-urlencoded` body
/// (<https://url.spec.whatwg.org/#urlencoded-parsing>), byte for byte: bytes that
/// are not UTF-8 stay unchanged.
pub(crate) fn parameters(text: &[u8]) -> Parameters<'_> {
    separated(text, b"&")
}

fn separated<'r>(text: &'r [u8], separators: &[u8]) -> Parameters<'r> {
    text.split(|byte| separators.contains(byte))
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let mut parts = pair.splitn(2, |byte| *byte == b'=');
            let mut part = || decode(parts.next().unwrap_or_default());
            (part(), part())
        })
        .collect()
}

/// The most parameters of a query or a form. PHP and `qs` of Node.js ignore further ones.
pub(crate) const MAX_PARAMETERS: usize = 1_000;

/// Whether a query or a form exceeds this limit. Empty parameters count, as in `qs`.
pub(crate) fn has_too_many(text: &[u8]) -> bool {
    let separators = text.iter().filter(|byte| matches!(byte, b'&' | b';'));
    separators.count() >= MAX_PARAMETERS
}

/// The value of the parameter `name`.
pub(crate) fn parameter<'r>(query: &'r [u8], name: &str) -> Found<'r> {
    let found = one(parameters(query), name);
    // Some applications also split at `;`.
    match !has_too_many(query) && found == one(separated(query, b"&;"), name) {
        true => found,
        false => Err(Ambiguous),
    }
}

/// Whether some application reads a parameter of the query under one of these names.
pub(crate) fn has_any(query: &[u8], names: &[String]) -> bool {
    let parameters = separated(query, b"&;");
    let is_named = |name: &[u8]| names.iter().any(|wanted| is_like(name, wanted));
    parameters.iter().any(|(name, _)| is_named(name))
}

/// Whether some application reads a name as `wanted`. Some ignore case, and some replace characters that a variable's
/// name cannot have by `_`. Some drop brackets or a leading `?`, and some end a name at a bracket or a NUL byte. Some
/// convert between `dataId`, `data_id`, `data-id` and `data.id`. So only letters and digits count.
pub(crate) fn is_like(name: &[u8], wanted: &str) -> bool {
    let mut rest = before(name, 0).iter();
    let mut letters = rest.by_ref().filter_map(folded);
    let mut wanted = wanted.as_bytes().iter().filter_map(folded);
    wanted.all(|byte| letters.next() == Some(byte))
        && (matches!(rest.as_slice(), [b'[' | b']', ..]) || rest.find_map(folded).is_none())
}

/// A byte of a name as compared; `None` if it is ignored.
const fn folded(byte: &u8) -> Option<u8> {
    match *byte {
        b'.' | b'_' | b'-' | b'[' | b']' | b'?' => None,
        byte if byte.is_ascii_whitespace() => None,
        // The last UTF-8 bytes of letters whose other case is ASCII in some mappings. Go treats the long s and the
        // kelvin sign as letters. The others are an i with and without its dot.
        0xbf => Some(b's'),
        0xaa => Some(b'k'),
        0xb0 | 0xb1 => Some(b'i'),
        0xc4 | 0xc5 | 0xe2 | 0x84 => None,
        byte => Some(byte.to_ascii_lowercase()),
    }
}

/// The value of the parameter `name` among these.
pub(crate) fn one<'r>(parameters: Parameters<'r>, name: &str) -> Found<'r> {
    let mut named = parameters
        .into_iter()
        .filter(|(each, _)| is_like(each, name));
    match (named.next(), named.next()) {
        (Some((each, value)), None) if *each == *name.as_bytes() => Ok(Some(value)),
        (None, _) => Ok(None),
        (Some(_), _) => Err(Ambiguous),
    }
}

/// Decodes `+` and `%XX`. A `%` without two hexadecimal digits is copied.
fn decode(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.iter().any(|byte| matches!(byte, b'+' | b'%')) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(percent::decode(text, Plus::Space, |_| true))
}

/// The text before the first `byte`.
pub(super) fn before(text: &[u8], byte: u8) -> &[u8] {
    text.split(|each| *each == byte).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_split_and_decoded_byte_for_byte() {
        let text = |text: &'static [u8]| {
            parameters(text)
                .into_iter()
                .map(|(name, value)| (name.into_owned(), value.into_owned()))
                .collect::<Vec<_>>()
        };
        let pair = |name: &[u8], value: &[u8]| (name.to_vec(), value.to_vec());
        assert_eq!(
            text(b"a=1&b=x+y%20z&&c&=d&e=%ff%2&a=2=3"),
            [
                pair(b"a", b"1"),
                pair(b"b", b"x y z"),
                pair(b"c", b""),
                pair(b"", b"d"),
                pair(b"e", b"\xff%2"),
                pair(b"a", b"2=3"),
            ]
        );
        assert_eq!(
            parameter(b"a=1&b=2", "b"),
            Ok(Some(Cow::Borrowed(&b"2"[..])))
        );
        assert_eq!(parameter(b"a=1&%61=2", "a"), Err(Ambiguous));
        assert_eq!(parameter(b"", "a"), Ok(None));
    }
}
