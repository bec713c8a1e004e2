//! Line breaks and byte order marks, which editors, shells and version control change.

use super::change::{Change, Changes};
use crate::cli::explain::hypothesis::{Case, Cause};
use crate::request::headers::Headers;
use crate::scheme::body::MediaType;

pub(super) const BOM: &[u8] = b"\xef\xbb\xbf";

const NEWLINE_ADDED: &str = "Pass the body on as it arrives: `echo` and editors add a line break, `printf %s` and `curl --data-binary @FILE` do not.";
const NEWLINE_LOST: &str = "Pass the body on as it arrives: `curl -d @FILE` and functions such as `trim` remove line breaks, `curl --data-binary @FILE` does not.";
const ENDINGS: &str = "Pass the body on as bytes: a text mode, an editor or `core.autocrlf` of Git changes line endings.";
const BOM_ADDED: &str =
    "Save the body as UTF-8 without a byte order mark, or remove the code that adds one.";
const BOM_LOST: &str = "Pass the body on as bytes: a decoder of text removes its byte order mark.";

/// A mistake of this module, with the body without it.
type Edit = (Cause, &'static str, &'static str, Vec<u8>);

/// Each single mistake, then two of them together.
pub(super) fn changes(case: Case<'_>) -> Changes<'_> {
    let body = &case.request.body;
    let first = singles(case, body).into_iter();
    let pairs = singles(case, body).into_iter().flat_map(move |first| {
        let second = singles(case, &first.3).into_iter();
        let (cause, detail, fix, _) = first;
        second
            .filter(move |(other, ..)| *other != cause)
            .map(move |(_, other, _, body)| Change::new(cause, join(detail, other), fix, body))
    });
    let first = first.map(|(cause, detail, fix, body)| Change::new(cause, detail, fix, body));
    Box::new(first.chain(pairs))
}

/// One sentence of two.
pub(super) fn join(first: &str, second: &str) -> String {
    let second = second
        .strip_prefix("The sender signed the body")
        .unwrap_or(second);
    format!("{}, and{second}", first.trim_end_matches('.'))
}

fn singles(case: Case<'_>, body: &[u8]) -> Vec<Edit> {
    let mut edits = Vec::new();
    at_end(body, &mut edits);
    endings(body, &mut edits);
    in_parts(case, body, &mut edits);
    mark(body, &mut edits);
    edits.retain(|(.., changed)| changed != body);
    edits
}

/// Line breaks and spaces at the end.
pub(super) fn at_end(body: &[u8], edits: &mut Vec<Edit>) {
    let cause = Cause::TrailingNewline;
    let bare = body.trim_ascii_end();
    let shorter = body.strip_suffix(b"\r\n").or(body.strip_suffix(b"\n"));
    let removed = [Some(bare), shorter, body.strip_suffix(b"\r")];
    for without in removed.into_iter().flatten() {
        let detail = match body.get(without.len()..).unwrap_or_default() {
            b"\n" => "The sender signed the body without the line break (\\n) at its end.",
            b"\r\n" => "The sender signed the body without the line break (\\r\\n) at its end.",
            blank if blank.iter().all(|byte| matches!(byte, b' ' | b'\t')) => {
                "The sender signed the body without the spaces at its end."
            }
            _ => "The sender signed the body without the line breaks and spaces at its end.",
        };
        edits.push((cause, detail, NEWLINE_ADDED, without.to_vec()));
    }
    let added: [(&[u8], _); 5] = [
        (
            b"\n",
            "The sender signed the body with a line break (\\n) at its end.",
        ),
        (
            b"\r\n",
            "The sender signed the body with a line break (\\r\\n) at its end.",
        ),
        (
            b"\n\n",
            "The sender signed the body with two line breaks (\\n) at its end.",
        ),
        (
            b"\r\n\r\n",
            "The sender signed the body with two line breaks (\\r\\n) at its end.",
        ),
        (b" ", "The sender signed the body with a space at its end."),
    ];
    for (end, detail) in added {
        edits.push((cause, detail, NEWLINE_LOST, [bare, end].concat()));
    }
}

/// A byte order mark at the start.
fn mark(body: &[u8], edits: &mut Vec<Edit>) {
    edits.push(match body.strip_prefix(BOM) {
        Some(rest) => (
            Cause::ByteOrderMark,
            "The sender signed the body without the byte order mark at its start.",
            BOM_ADDED,
            rest.to_vec(),
        ),
        None => (
            Cause::ByteOrderMark,
            "The sender signed the body with a byte order mark at its start.",
            BOM_LOST,
            [BOM, body].concat(),
        ),
    });
}

/// Line endings in all of the body, also those that JSON or a form escapes.
fn endings(body: &[u8], edits: &mut Vec<Edit>) {
    let cause = Cause::LineEndings;
    let lines = with_endings(body, b"\n");
    let details: [(&[u8], _); 4] = [
        (b"\n", "The sender signed the body with LF line endings."),
        (
            b"\r\n",
            "The sender signed the body with CRLF line endings.",
        ),
        (b"\r", "The sender signed the body with CR line endings."),
        (b"", "The sender signed the body without line breaks."),
    ];
    for (ending, detail) in details {
        edits.push((cause, detail, ENDINGS, replace(&lines, b"\n", ending)));
    }
    for (crlf, lf) in [
        (&b"\\r\\n"[..], &b"\\n"[..]),
        (b"%0D%0A", b"%0A"),
        (b"%0d%0a", b"%0a"),
    ] {
        let short = replace(body, crlf, lf);
        let long = replace(&short, lf, crlf);
        let detail = "The sender signed the body with LF line endings in its values.";
        edits.push((cause, detail, ENDINGS, short));
        let detail = "The sender signed the body with CRLF line endings in its values.";
        edits.push((cause, detail, ENDINGS, long));
    }
}

/// Line endings in the parts of a multipart form, whose structure keeps its own.
fn in_parts(case: Case<'_>, body: &[u8], edits: &mut Vec<Edit>) {
    let pairs = case.request.pairs();
    let MediaType::Multipart(delimiter) = MediaType::of(&Headers::new(&pairs)) else {
        return;
    };
    let between = [b"\r\n", &delimiter[..]].concat();
    let details: [(&[u8], _); 2] = [
        (
            b"\n",
            "The sender signed the body with LF line endings in its parts.",
        ),
        (
            b"\r\n",
            "The sender signed the body with CRLF line endings in its parts.",
        ),
    ];
    for (ending, detail) in details {
        let mut changed = Vec::with_capacity(body.len());
        let mut rest = body;
        loop {
            let end = find(rest, &between).unwrap_or(rest.len());
            let (part, after) = rest.split_at_checked(end).unwrap_or((rest, b""));
            let content = find(part, b"\r\n\r\n").map_or(0, |at| at.saturating_add(4));
            let (head, content) = part.split_at_checked(content).unwrap_or((part, b""));
            changed.extend(head);
            changed.extend(with_endings(content, ending));
            let Some(after) = after.strip_prefix(&between[..]) else {
                break;
            };
            changed.extend(&between);
            rest = after;
        }
        edits.push((Cause::LineEndings, detail, ENDINGS, changed));
    }
}

/// The text with this line ending for each CRLF, CR and LF.
fn with_endings(text: &[u8], ending: &[u8]) -> Vec<u8> {
    let lines = replace(text, b"\r\n", b"\n");
    replace(&replace(&lines, b"\r", b"\n"), b"\n", ending)
}

/// The index of the first occurrence.
pub(super) fn find(text: &[u8], sought: &[u8]) -> Option<usize> {
    let (first, _) = sought.split_first()?;
    let mut from = 0_usize;
    loop {
        let rest = text.get(from..)?;
        let at = from.checked_add(rest.iter().position(|byte| byte == first)?)?;
        if text.get(at..)?.starts_with(sought) {
            return Some(at);
        }
        from = at.checked_add(1)?;
    }
}

/// Replaces each occurrence.
pub(super) fn replace(text: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut replaced = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = find(rest, from).and_then(|at| rest.split_at_checked(at)) {
        replaced.extend(before);
        replaced.extend(to);
        rest = after.get(from.len()..).unwrap_or_default();
    }
    replaced.extend(rest);
    replaced
}
