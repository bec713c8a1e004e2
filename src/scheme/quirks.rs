//! How single senders write a part of the signed bytes. Each function serves the presets that its heading names.

use std::collections::BinaryHeap;

use super::parameters::{before, parameters};
use crate::request::percent::{self, Plus};

/// Sorts by name, then by value. The heap serves every sender, since the standard sort adds five kilobytes to the
/// module.
pub(super) fn sort(pairs: &mut Vec<(&[u8], &[u8])>) {
    *pairs = BinaryHeap::from(std::mem::take(pairs)).into_sorted_vec();
}

fn with_query(mut url: Vec<u8>, query: &[u8]) -> Vec<u8> {
    if !query.is_empty() {
        url.push(b'?');
        url.extend(query);
    }
    url
}

// MessageBird: `{sorted_query}`

/// Sorts a query's parameters by name, without decoding them.
pub(super) fn sorted_query(query: &[u8]) -> Vec<u8> {
    let named = |pair| (before(pair, b'='), pair);
    let pairs = query.split(|byte| *byte == b'&');
    let mut pairs: Vec<_> = pairs.filter(|pair| !pair.is_empty()).map(named).collect();
    sort(&mut pairs);
    let mut text = Vec::with_capacity(query.len());
    for (name, pair) in pairs {
        if !text.is_empty() {
            text.push(b'&');
        }
        text.extend(pair);
        // The sender writes a name without a value as an empty value.
        if name.len() == pair.len() {
            text.push(b'=');
        }
    }
    text
}

// Twilio: `{sorted_form}`

/// Joins the names and values of a form's fields, sorted and without repeated pairs.
pub(super) fn sorted_form<'r>(fields: impl IntoIterator<Item = (&'r [u8], &'r [u8])>) -> Vec<u8> {
    let mut pairs: Vec<_> = fields.into_iter().collect();
    sort(&mut pairs);
    pairs.dedup();
    concatenated(&pairs)
}

fn concatenated(pairs: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut text = Vec::new();
    for (name, value) in pairs {
        text.extend(*name);
        text.extend(*value);
    }
    text
}

// Plivo: `{url_sorted}`

/// Adds the query's decoded parameters to a URL, sorted by name and value.
pub(super) fn url_with_sorted_query(url: Vec<u8>, query: &[u8]) -> Vec<u8> {
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
        text.extend(name.iter().chain(b"=").chain(value));
    }
    with_query(url, &text)
}

/// The text that follows such a URL: the form's fields, sorted and joined.
pub(super) fn sorted_fields_after_url<'r>(
    url: &[u8],
    fields: impl IntoIterator<Item = (&'r [u8], &'r [u8])>,
) -> Vec<u8> {
    let mut pairs: Vec<_> = fields.into_iter().collect();
    if pairs.is_empty() {
        return Vec::new();
    }
    sort(&mut pairs);
    let mark: &[u8] = if url.contains(&b'?') { b"." } else { b"?" };
    [mark, &concatenated(&pairs)].concat()
}

// Twilio: `{url_any_port}`

/// A form of a URL: without its port or with it, and with the apostrophes in its query as `'` or as `%27`. Twilio signs
/// any of these, and its packages try them (<https://github.com/twilio/twilio-node/blob/main/src/webhooks/webhooks.ts>).
///
/// The first form has no port and no `%27`. It is the same for all requests that one signature covers, since their other
/// forms differ in nothing else.
pub(super) fn url_form(origin: &[u8], target: &[u8], form: usize) -> Vec<u8> {
    let digits = origin.iter().rev().take_while(|byte| byte.is_ascii_digit());
    let at = origin.len().saturating_sub(digits.count());
    let (host, port) = origin.split_at_checked(at).unwrap_or_default();
    let (host, port) = match host.strip_suffix(b":") {
        Some(host) => (host, port),
        None if origin.starts_with(b"https:") => (origin, &b"443"[..]),
        None => (origin, &b"80"[..]),
    };
    let (colon, port): (&[u8], _) = match form {
        0 | 2 => (b"", &b""[..]),
        _ => (b":", port),
    };
    let path = before(target, b'?');
    let query = target.strip_prefix(path).unwrap_or_default();
    let plain = without_escaped_apostrophes(query);
    let mut escaped = Vec::new();
    let query = match form {
        0 | 1 => &plain,
        _ if plain != query => query,
        // As received, there is nothing to decode.
        _ => {
            for byte in &plain {
                match byte {
                    b'\'' => escaped.extend(b"%27"),
                    byte => escaped.push(*byte),
                }
            }
            &escaped
        }
    };
    [host, colon, port, path, query].concat()
}

/// How many forms a URL with this query has.
pub(super) fn url_forms(query: &[u8]) -> usize {
    match without_escaped_apostrophes(query).contains(&b'\'') {
        true => 4,
        false => 2,
    }
}

fn without_escaped_apostrophes(query: &[u8]) -> Vec<u8> {
    percent::decode(query, Plus::Literal, |byte| byte == b'\'')
}

// HubSpot: `{url_decoded}`

/// Decodes the characters that HubSpot decodes before it signs
/// (<https://developers.hubspot.com/docs/api/webhooks/validating-requests>).
pub(super) fn decoded_url(url: &[u8]) -> Vec<u8> {
    percent::decode(url, Plus::Literal, |byte| b":/?@!$'()*,;".contains(&byte))
}

// Contentful: `{encoded_path}`

/// Encodes the query as a component and once more as a URI, so that `?x=1` is signed as `?x%253D1`.
pub(super) fn path_with_encoded_query(path: &[u8], query: &[u8]) -> Vec<u8> {
    // The characters that these two functions of ECMAScript keep, besides letters and digits.
    let component = percent::encode(query, b"-_.!~*'()");
    let query = percent::encode(&component, b"-_.!~*'();/?:@&=+$,#");
    with_query(path.to_vec(), &query)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_written_as_each_sender_writes_them() {
        assert_eq!(sorted_query(b"b=2&a=%20&b=1"), b"a=%20&b=1&b=2");
        assert_eq!(sorted_query(b"b&&a=&="), b"=&a=&b=");
        let sorted = |query| url_with_sorted_query(b"https://x/".to_vec(), query);
        assert_eq!(sorted(b"b=2&a=%20&b=1"), b"https://x/?a= &b=1&b=2");
        assert_eq!(sorted(b""), b"https://x/");
        assert_eq!(
            decoded_url(b"https://x/a?b=%3A%2Fc%20%26"),
            b"https://x/a?b=:/c%20%26"
        );
        let encoded = |query| path_with_encoded_query(b"/a", query);
        assert_eq!(encoded(b""), b"/a");
        assert_eq!(encoded(b"x=1"), b"/a?x%253D1");
        assert_eq!(encoded(b"a=b c&d"), b"/a?a%253Db%2520c%2526d");
    }

    #[test]
    fn forms_are_written_as_each_sender_writes_them() {
        let form = [
            (&b"b"[..], &b"2"[..]),
            (b"a", b"1"),
            (b"b", b"1"),
            (b"b", b"2"),
        ];
        assert_eq!(sorted_form(form), b"a1b1b2");
        let plivo = |url: &[u8]| sorted_fields_after_url(url, form);
        assert_eq!(plivo(b"https://x/"), b"?a1b1b2b2");
        assert_eq!(plivo(b"https://x/?c=3"), b".a1b1b2b2");
        assert_eq!(sorted_fields_after_url(b"https://x/", []), b"");
    }
}
