//! A request's URL as senders sign it, and the parameters in a query or a form.

use std::borrow::Cow;
use std::collections::BinaryHeap;

use super::source::{Ambiguous, Found};

/// Names and values of a query or a form, decoded.
pub(crate) type Parameters<'r> = Vec<(Cow<'r, [u8]>, Cow<'r, [u8]>)>;

/// The parameters of a query or of an `application/x-www-form-urlencoded` body
/// (<https://url.spec.whatwg.org/#urlencoded-parsing>), each byte for byte: nothing is replaced that
/// is no UTF-8.
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

/// The most parameters that a query or a form is read with. PHP and the `qs` of Node.js read no more, so a later one
/// would count for some readers only.
pub(crate) const MAX_PARAMETERS: usize = 1_000;

/// Whether a query or a form has more parameters than are read. Empty ones count, as they do for `qs`.
pub(crate) fn has_too_many(text: &[u8]) -> bool {
    let separators = text.iter().filter(|byte| matches!(byte, b'&' | b';'));
    separators.count() >= MAX_PARAMETERS
}

/// The value of the parameter `name`.
pub(crate) fn parameter<'r>(query: &'r [u8], name: &str) -> Found<'r> {
    let found = one(parameters(query), name);
    // To some readers a `;` separates parameters too.
    match !has_too_many(query) && found == one(separated(query, b"&;"), name) {
        true => found,
        false => Err(Ambiguous),
    }
}

/// Whether some application takes a parameter of the query for one of these names.
pub(crate) fn has_any(query: &[u8], names: &[String]) -> bool {
    let parameters = separated(query, b"&;");
    let is_named = |name: &[u8]| names.iter().any(|wanted| is_like(name, wanted));
    parameters.iter().any(|(name, _)| is_named(name))
}

/// Whether some application takes a name for `wanted`. Some know no case, and some write `_` for what stands in no
/// name of a variable. Some drop brackets or a `?` at the beginning, and some end a name at a bracket or a zero byte.
/// Some convert between `dataId`, `data_id`, `data-id` and `data.id`. So letters and digits alone count.
pub(crate) fn is_like(name: &[u8], wanted: &str) -> bool {
    let mut rest = before(name, 0).iter();
    let mut letters = rest.by_ref().filter_map(folded);
    let mut wanted = wanted.as_bytes().iter().filter_map(folded);
    wanted.all(|byte| letters.next() == Some(byte))
        && (matches!(rest.as_slice(), [b'[' | b']', ..]) || rest.find_map(folded).is_none())
}

/// What becomes of a byte of a name, if anything.
const fn folded(byte: &u8) -> Option<u8> {
    match *byte {
        b'.' | b'_' | b'-' | b'[' | b']' | b'?' => None,
        byte if byte.is_ascii_whitespace() => None,
        // In UTF-8, the last bytes of letters that are others in another case: a long s and the sign for kelvin,
        // which are letters like others to Go, and an i with and without its dot.
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

/// Decodes `+` and `%XX`; a `%` without two hexadecimal digits stands for itself.
fn decode(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.iter().any(|byte| matches!(byte, b'+' | b'%')) {
        return Cow::Borrowed(text);
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        match (byte, escaped(tail)) {
            (b'%', Some((value, tail))) => {
                decoded.push(value);
                rest = tail;
            }
            (b'+', _) => decoded.push(b' '),
            _ => decoded.push(*byte),
        }
    }
    Cow::Owned(decoded)
}

/// The byte that two hexadecimal digits stand for, and what follows them.
fn escaped(text: &[u8]) -> Option<(u8, &[u8])> {
    let (digits, tail) = text.split_first_chunk::<2>()?;
    let mut value = [0];
    hex::decode_to_slice(digits, &mut value).ok()?;
    let [value] = value;
    Some((value, tail))
}

/// Sorts by name, then by value: one sort for all, and by a heap, since the standard one costs the module five
/// kilobytes.
pub(crate) fn sort(pairs: &mut Vec<(&[u8], &[u8])>) {
    *pairs = BinaryHeap::from(std::mem::take(pairs)).into_sorted_vec();
}

/// A query's parameters sorted by name, as they are written (MessageBird).
pub(crate) fn sorted(query: &[u8]) -> Vec<u8> {
    let named = |pair| (before(pair, b'='), pair);
    let pairs = query.split(|byte| *byte == b'&');
    let mut pairs: Vec<_> = pairs.filter(|pair| !pair.is_empty()).map(named).collect();
    sort(&mut pairs);
    let pairs: Vec<_> = pairs.into_iter().map(|(_, pair)| pair).collect();
    pairs.join(&b'&')
}

/// What stands before the first `byte`.
fn before(text: &[u8], byte: u8) -> &[u8] {
    text.split(|each| *each == byte).next().unwrap_or_default()
}

/// A form's parameters, sorted by name and then value, name and value one after the other.
/// `distinct`: what came twice counts once (Twilio).
pub(crate) fn concatenated<'r>(
    parameters: impl IntoIterator<Item = (&'r [u8], &'r [u8])>,
    distinct: bool,
) -> Vec<u8> {
    let mut pairs: Vec<_> = parameters.into_iter().collect();
    sort(&mut pairs);
    if distinct {
        pairs.dedup();
    }
    let mut text = Vec::new();
    for (name, value) in pairs {
        text.extend(name);
        text.extend(value);
    }
    text
}

/// A query's decoded parameters sorted by name and value, as Plivo's SDK writes them anew.
pub(crate) fn rewritten(query: &[u8]) -> Vec<u8> {
    let parameters = parameters(query);
    let mut pairs: Vec<_> = parameters
        .iter()
        .map(|(name, value)| (&**name, &**value))
        .collect();
    sort(&mut pairs);
    let mut text = Vec::new();
    for (name, value) in pairs {
        if !text.is_empty() {
            text.push(b'&');
        }
        text.extend(name.iter().chain(b"=").chain(value.iter()));
    }
    text
}

/// A URL with the escapes decoded that HubSpot decodes before it signs
/// (<https://developers.hubspot.com/docs/api/webhooks/validating-requests>).
pub(crate) fn decoded(url: &[u8]) -> Vec<u8> {
    const DECODED: &[u8] = b":/?@!$'()*,;";
    let mut text = Vec::with_capacity(url.len());
    let mut rest = url;
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        match escaped(tail) {
            Some((value, tail)) if *byte == b'%' && DECODED.contains(&value) => {
                text.push(value);
                rest = tail;
            }
            _ => text.push(*byte),
        }
    }
    text
}

/// A query as Contentful signs it: encoded as a component and once more as a URI, so that `?x=1` is
/// signed as `?x%253D1`.
pub(crate) fn encoded_twice(query: &[u8]) -> Vec<u8> {
    // What the two functions of ECMAScript leave as it is, besides letters and digits.
    let component = encoded(query, b"-_.!~*'()");
    encoded(&component, b"-_.!~*'();/?:@&=+$,#")
}

fn encoded(text: &[u8], kept: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(text.len());
    for byte in text {
        if byte.is_ascii_alphanumeric() || kept.contains(byte) {
            encoded.push(*byte);
        } else {
            let mut digits = [0; 2];
            // Two digits always fit.
            let _ = hex::encode_to_slice([*byte], &mut digits);
            encoded.push(b'%');
            encoded.extend(digits.to_ascii_uppercase());
        }
    }
    encoded
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

    #[test]
    fn urls_are_written_as_each_sender_writes_them() {
        assert_eq!(sorted(b"b=2&a=%20&b=1"), b"a=%20&b=1&b=2");
        assert_eq!(rewritten(b"b=2&a=%20&b=1"), b"a= &b=1&b=2");
        assert_eq!(
            decoded(b"https://x/a?b=%3A%2Fc%20%26"),
            b"https://x/a?b=:/c%20%26"
        );
        assert_eq!(encoded_twice(b"x=1"), b"x%253D1");
        assert_eq!(encoded_twice(b"a=b c&d"), b"a%253Db%2520c%2526d");
        let form = [
            (&b"b"[..], &b"2"[..]),
            (b"a", b"1"),
            (b"b", b"1"),
            (b"b", b"2"),
        ];
        assert_eq!(concatenated(form, true), b"a1b1b2");
        assert_eq!(concatenated(form, false), b"a1b1b2b2");
    }
}
