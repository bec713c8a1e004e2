//! A request's path as the upstream may understand it.
//!
//! Envoy and the guard match the bytes of a path. An upstream decodes and normalizes them by its own rules. The guard
//! rejects a path that the two could read differently.

use std::borrow::Cow;

use super::bytes;
use super::percent::{self, Plus};

/// The most layers of percent-encoding that are removed: more than any upstream removes.
const MAX_LAYERS: usize = 4;

/// The most segments of a path that is compared with others.
const MAX_SEGMENTS: usize = 100;

/// The path of a request target, without its query.
pub(crate) fn without_query(target: &[u8]) -> &[u8] {
    target
        .split(|byte| *byte == b'?')
        .next()
        .unwrap_or_default()
}

/// Whether an upstream might read `path` as another path. Examples are an encoded slash, a backslash, a control character,
/// `//`, a dot segment, a fragment, and bytes that are not UTF-8 when decoded.
pub(crate) fn is_ambiguous(path: &[u8]) -> bool {
    !is_plain(path) && may_be_another(path)
}

/// Whether a path is what it looks like, as most are. Such a path has no escapes, no parameters, no empty segment, and no
/// segment that starts with a dot.
fn is_plain(path: &[u8]) -> bool {
    let mut begins = false;
    for byte in path {
        if !bytes::is(*byte, bytes::PATH) || (begins && matches!(byte, b'/' | b'.')) {
            return false;
        }
        begins = *byte == b'/';
    }
    path.starts_with(b"/")
}

fn may_be_another(path: &[u8]) -> bool {
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
        // Here `?` and `#` are encoded: a literal `?` has ended the path, and `#` is never in it.
        || text.contains(['?', '#'])
        || text.contains("//")
        || settle(text).is_none_or(|settled| has_two_meanings(&settled))
}

/// Whether servers resolve a decoded path differently.
fn has_two_meanings(text: &str) -> bool {
    has_wide_escape(text)
        || text.chars().any(|char| char == '\\' || char.is_control())
        || text.split('/').any(|segment| {
            let name = without_parameters(segment);
            // Without its parameters, the segment would be empty, as between two slashes.
            matches!(name.trim(), "." | "..") || (name.is_empty() && !segment.is_empty())
        })
}

/// Whether a text holds `%uXXXX`, which some servers decode to a character of 16 bits.
fn has_wide_escape(text: &str) -> bool {
    text.split('%').skip(1).any(|escape| {
        let digits = escape.bytes().skip(1).take(4);
        escape.starts_with(['u', 'U']) && digits.filter(u8::is_ascii_hexdigit).count() == 4
    })
}

/// Whether folding an unambiguous path leaves it as it is.
pub(crate) fn is_folded(path: &[u8]) -> bool {
    let segments = path.iter().filter(|byte| **byte == b'/').count();
    segments <= MAX_SEGMENTS && bytes::are(path, bytes::FOLDED)
}

/// Folds a path to its segments, as the most tolerant upstream reads them. They are decoded, in lower case, and without
/// `;parameters`, NTFS streams, and dots or white space around a name. A configured path is ASCII, so any path that an
/// upstream treats as the same folds to the same segments. Folding a folded path changes nothing.
///
/// `None` if the path has too many layers or segments to compare.
pub(crate) fn fold(path: &[u8]) -> Option<Vec<String>> {
    let decoded = decode(path)?;
    let settled = settle(std::str::from_utf8(&decoded).ok()?)?;
    let mut segments = Vec::new();
    for segment in settled.split(['/', '\\']) {
        let is_idle = |char: char| char == '.' || char.is_whitespace();
        let name = without_stream(without_parameters(segment));
        let name = name.trim_start().trim_end_matches(is_idle);
        if name.is_empty() {
            continue;
        }
        if segments.len() >= MAX_SEGMENTS {
            return None;
        }
        segments.push(match name.is_ascii() {
            true => name.to_ascii_lowercase(),
            false => name.chars().map(fold_case).collect(),
        });
    }
    Some(segments)
}

/// Narrows characters and removes invisible ones, as some decoders do, until nothing changes. Each step can reveal another
/// layer of percent-encoding. `None` if there are too many layers, or if one is not UTF-8.
fn settle(text: &str) -> Option<Cow<'_, str>> {
    let mut settled = Cow::Borrowed(text);
    for _ in 0..=MAX_LAYERS {
        if settled.is_ascii() && !settled.contains('%') {
            return Some(settled);
        }
        let visible = settled.chars().filter(|char| !is_ignorable(*char));
        let narrowed: String = visible.map(narrow).collect();
        let next = match decode_once(narrowed.as_bytes()) {
            Some(decoded) => String::from_utf8(decoded).ok()?,
            None => narrowed,
        };
        if next == *settled {
            return Some(settled);
        }
        settled = Cow::Owned(next);
    }
    None
}

/// The ASCII character of a full-width one. Best-fit decoders replace these.
fn narrow(char: char) -> char {
    match char {
        '\u{3000}' => ' ',
        '\u{ff01}'..='\u{ff5e}' => {
            char::from_u32(u32::from(char).saturating_sub(0xfee0)).unwrap_or(char)
        }
        _ => char,
    }
}

/// Whether a character is invisible: `Default_Ignorable_Code_Point` in
/// <https://www.unicode.org/Public/UNIDATA/DerivedCoreProperties.txt>.
const fn is_ignorable(char: char) -> bool {
    matches!(char,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fff8}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
}

/// Folds the case of a character if the result is ASCII. Some case mappings also turn four other characters into ASCII:
/// see <https://www.unicode.org/Public/UNIDATA/UnicodeData.txt>.
const fn fold_case(char: char) -> char {
    match char {
        '\u{130}' | '\u{131}' => 'i',
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        _ => char.to_ascii_lowercase(),
    }
}

/// A segment without the `;parameters` that servlet containers remove.
fn without_parameters(segment: &str) -> &str {
    segment.split(';').next().unwrap_or_default()
}

/// A segment without an NTFS stream, such as `::$DATA`.
fn without_stream(segment: &str) -> &str {
    let streams = ["::", ":$"].into_iter();
    let end = streams.filter_map(|mark| segment.find(mark)).min();
    let name = end.and_then(|end| segment.get(..end));
    name.unwrap_or(segment)
}

/// Removes every layer of percent-encoding. `None` if there are more than [`MAX_LAYERS`].
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

/// Removes one layer of percent-encoding. `None` if there is none.
fn decode_once(path: &[u8]) -> Option<Vec<u8>> {
    if !path.contains(&b'%') {
        return None;
    }
    let decoded = percent::decode(path, Plus::Literal, |_| true);
    (decoded.len() < path.len()).then_some(decoded)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
            "/%E4%BD%95%EF%BC%9F",
            "/\u{1f468}\u{200d}\u{1f469}",
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
            "/x/%EF%BC%8E%EF%BC%8E/webhook",
            "/x/.%E2%80%8B./webhook",
            "/x/..%20/webhook",
            "/x/%EF%BC%85%EF%BC%92e./webhook",
            "/x%EF%BC%BCwebhook",
            "/%EF%BC%85u0077ebhook",
            "/%EF%BC%85ff",
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
            "/%20webhook",
            "/webhook.",
            "/webhook. .;x",
            "/webhook%C2%A0/",
            "/webhook::$DATA",
            "/webhook:$i30:$INDEX_ALLOCATION",
            "/%EF%BD%97ebhook",
            "/%EF%BC%B7ebhook",
            "/Webhoo\u{212a}",
            "/webhook\u{ff1b}x",
            "/webhook\u{ff0e}",
            "/webhook\u{3000}",
            "/webhook\u{ff1a}\u{ff1a}$data",
            "/\u{ff05}77ebhook",
            "/%7\u{ad}7ebhook",
            "/\u{ff05}25\u{ff17}7ebhook",
            "/\u{ff0f}webhook",
            "/webhook%E2%80%8B",
            "/web%C2%ADhook",
            "/%EF%BB%BFwebhook",
            "/webhook\u{2060}/\u{200b}",
        ] {
            assert_eq!(folded(path), "/webhook", "{path}");
        }
        for path in [
            "/hooks./webhook",
            "/Hooks%20/webhook ",
            "/hooks;a. /webhook./",
            "/hooks\u{ff0f}webhook",
            "/hooks/\u{200b}/webhook",
        ] {
            assert_eq!(folded(path), "/hooks/webhook", "{path}");
        }
        assert_eq!(folded("/\u{17f}ecret"), "/secret");
        assert_ne!(folded("/webhooks"), "/webhook");
        assert_eq!(folded("/"), "");
        // Too many segments, and too many layers of different kinds.
        assert!(fold("/a".repeat(MAX_SEGMENTS).as_bytes()).is_some());
        assert_eq!(fold("/a".repeat(101).as_bytes()), None);
        let layered = format!("/\u{ff05}{}77ebhook", "25".repeat(9));
        assert_eq!(fold(layered.as_bytes()), None);
        assert!(is_ambiguous(layered.as_bytes()));
    }

    fn folded(path: &str) -> String {
        let segments = fold(path.as_bytes()).unwrap();
        segments.iter().map(|name| format!("/{name}")).collect()
    }

    proptest! {
        #[test]
        fn folding_ends_where_nothing_changes(
            text in ".{0,40}",
            pieces in prop::collection::vec(prop::sample::select(vec![
                "%", "25", "2f", "2e", "\u{ff05}", "\u{ff12}", "\u{ff0e}", "\u{ff0f}", "\u{ad}", "\u{200b}", "\u{130}",
                "/", "\\", ".", ";", ":", "$", " ", "\u{3000}", "a", "K", "%C2", "%AD", "%EF%BC%8E",
            ]), 0..24),
        ) {
            for path in [text, pieces.concat()] {
                if let Some(once) = fold(path.as_bytes()) {
                    let again = fold(once.join("/").as_bytes());
                    prop_assert_eq!(again, Some(once));
                }
            }
        }
    }

    proptest! {
        #[test]
        fn a_plain_path_is_not_another_one(path in "[/.]{0,3}([!-~]|[a-z.]{1,3}|[/.]|[^a]){0,12}") {
            for path in [path.clone(), format!("/{path}")] {
                let path = path.as_bytes();
                prop_assert!(!is_plain(path) || !may_be_another(path));
            }
        }
    }

    proptest! {
        #[test]
        fn a_folded_path_stays_as_it_is(path in "(/([!-~]|[a-z.]{1,3}){1,4}){0,4}/?") {
            let path = path.as_bytes();
            if !is_ambiguous(path) && is_folded(path) {
                let segments = fold(path).map(|segments| segments.join("/"));
                let text = std::str::from_utf8(path).unwrap().trim_matches('/');
                prop_assert_eq!(segments.as_deref(), Some(text));
            }
        }
    }

    #[test]
    fn the_query_is_not_part_of_the_path() {
        assert_eq!(without_query(b"/a?b=/c?d"), b"/a");
        assert_eq!(without_query(b"/a"), b"/a");
    }
}
