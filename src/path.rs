//! A request's path as the upstream may understand it.
//!
//! Envoy routes and the guard matches on the path's bytes; an upstream decodes, folds and tidies
//! them by rules of its own. A path on which the two could differ is refused, not interpreted.

use std::borrow::Cow;

/// How often a path is decoded: more layers than any upstream takes off.
const MAX_LAYERS: usize = 4;

/// The path of a request target, without its query.
pub(crate) fn without_query(target: &[u8]) -> &[u8] {
    target
        .split(|byte| *byte == b'?')
        .next()
        .unwrap_or_default()
}

/// Whether an upstream might take `path` for another path than its bytes say: an encoded slash,
/// backslash or control character, `//`, a dot segment, a fragment, or bytes that decode to no text.
pub(crate) fn is_ambiguous(path: &[u8]) -> bool {
    if !path.starts_with(b"/") {
        // `OPTIONS *` means the server as a whole.
        return path != b"*";
    }
    let Some(decoded) = decode(path) else {
        return true;
    };
    let Ok(text) = std::str::from_utf8(&decoded) else {
        return true;
    };
    let slashes = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'/').count();
    slashes(path) != slashes(&decoded)
        // As they are, `?` would have ended the path and `#` is none of it: here they are encoded.
        || text.contains(['?', '#'])
        || has_wide_escape(text)
        || text.contains("//")
        || text.chars().any(|char| char == '\\' || char.is_control())
        || text.split('/').any(|segment| match without_parameters(segment) {
            "." | ".." => true,
            // Without its parameters it would be the nothing between two slashes.
            "" => !segment.is_empty(),
            _ => false,
        })
}

/// Whether a text holds `%uXXXX`, which some servers decode to a character of 16 bits.
fn has_wide_escape(text: &str) -> bool {
    text.split('%').skip(1).any(|escape| {
        let digits = escape.bytes().skip(1).take(4);
        escape.starts_with(['u', 'U']) && digits.filter(u8::is_ascii_hexdigit).count() == 4
    })
}

/// What `path` comes to for the most tolerant upstream: decoded, letter case folded, without
/// `;parameters`, and without dots or white space at the end of a segment, or slashes at its own. An endpoint's
/// path is ASCII, so a path that may be taken for it folds to the same.
pub(crate) fn fold(path: &[u8]) -> String {
    let decoded = decode(path).unwrap_or(Cow::Borrowed(path));
    let text = String::from_utf8_lossy(&decoded);
    let is_idle = |char: char| char == '.' || char.is_whitespace();
    let segments: Vec<_> = text
        .split('/')
        .map(|segment| without_parameters(segment).trim_end_matches(is_idle))
        .collect();
    let mut folded: String = segments.join("/").chars().map(fold_char).collect();
    folded.truncate(folded.trim_end_matches('/').len());
    folded
}

/// Folds a character's case, as far as the result is ASCII: the four beyond ASCII that some upper or
/// lower case mapping takes there are from <https://www.unicode.org/Public/UNIDATA/UnicodeData.txt>.
fn fold_char(char: char) -> char {
    match char {
        // The full-width forms of ASCII, which best-fit decoders narrow.
        '\u{ff01}'..='\u{ff5e}' => {
            let narrow = u32::from(char).saturating_sub(0xfee0);
            char::from_u32(narrow).map_or(char, |char| char.to_ascii_lowercase())
        }
        '\u{130}' | '\u{131}' => 'i',
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        _ => char.to_ascii_lowercase(),
    }
}

/// A segment without the `;parameters` that servlet containers take off.
fn without_parameters(segment: &str) -> &str {
    segment.split(';').next().unwrap_or_default()
}

/// Takes off every layer of percent-encoding; `None` where there are more than [`MAX_LAYERS`].
fn decode(path: &[u8]) -> Option<Cow<'_, [u8]>> {
    let mut decoded = Cow::Borrowed(path);
    for _ in 0..=MAX_LAYERS {
        match decode_once(&decoded) {
            Some(next) => decoded = Cow::Owned(next),
            None => return Some(decoded),
        }
    }
    None
}

/// Takes off one layer of percent-encoding; `None` where there is none.
fn decode_once(path: &[u8]) -> Option<Vec<u8>> {
    if !path.contains(&b'%') {
        return None;
    }
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((byte, tail)) = rest.split_first() {
        let escape = tail.split_first_chunk::<2>().filter(|_| *byte == b'%');
        let mut value = [0];
        match escape {
            Some((digits, tail)) if hex::decode_to_slice(digits, &mut value).is_ok() => {
                decoded.extend(value);
                rest = tail;
            }
            _ => {
                decoded.push(*byte);
                rest = tail;
            }
        }
    }
    (decoded.len() < path.len()).then_some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_mean_what_they_say() {
        for path in [
            "/",
            "/webhook",
            "/hooks/github",
            "/a%20b",
            "/caf%C3%A9",
            "/100%",
            "/%zz",
            "/%user",
            "/a.b/..c/...",
            "/~x",
            "/a;b=c",
            "*",
        ] {
            assert!(!is_ambiguous(path.as_bytes()), "{path}");
        }
    }

    #[test]
    fn paths_that_may_mean_another() {
        for path in [
            "",
            "webhook",
            "//webhook",
            "/a//b",
            "/webhook%2f",
            "/hooks%2Fgithub",
            "/hooks%5cgithub",
            "/hooks\\github",
            "/webhook%00",
            "/webhook\0",
            "/./webhook",
            "/a/../webhook",
            "/a/..",
            "/%2e%2e/webhook",
            "/.%2E/webhook",
            "/a/..;x=1/webhook",
            "/;a/webhook",
            "/%3b/webhook",
            "/a/;",
            "/.;/webhook",
            "/%252e%252e/webhook",
            "/webhook%252f",
            "/webhook%25252f",
            "/webhook%c0%af",
            "/web\x7fhook",
            "/web%0ahook",
            "/webhook#x",
            "/webhook%23x",
            "/webhook%3fx=1",
            "/webhook%253f",
            "/%u0077ebhook",
            "/%25U0077ebhook",
            "/%25252525252525252f",
            "http://x/webhook",
            "/a%2f%2fb",
            "/web%C2%85hook",
        ] {
            assert!(is_ambiguous(path.as_bytes()), "{path}");
        }
        assert!(is_ambiguous(b"/caf\xe9"));
    }

    #[test]
    fn paths_that_may_be_taken_for_webhook() {
        for path in [
            "/webhook",
            "/webhook/",
            "/WebHook",
            "/%77ebhook",
            "/%2577ebhook",
            "/webhook;jsessionid=1",
            "/webhook;/",
            "/webhoo%E2%84%AA",
            "/webhook%20",
            "/webhook.",
            "/webhook%C2%A0/",
            "/%EF%BD%97ebhook",
            "/Webhoo\u{212a}",
        ] {
            assert_eq!(fold(path.as_bytes()), "/webhook", "{path}");
        }
        for path in [
            "/hooks./webhook",
            "/Hooks%20/webhook ",
            "/hooks;a. /webhook./",
        ] {
            assert_eq!(fold(path.as_bytes()), "/hooks/webhook", "{path}");
        }
        assert_eq!(fold("/\u{17f}ecret".as_bytes()), "/secret");
        assert_ne!(fold(b"/webhooks"), "/webhook");
        assert_eq!(fold(b"/"), "");
    }

    #[test]
    fn the_query_is_no_part_of_the_path() {
        assert_eq!(without_query(b"/a?b=/c?d"), b"/a");
        assert_eq!(without_query(b"/a"), b"/a");
    }
}
