//! Texts that something decoded by one charset and encoded by another.

use super::change::{Change, Changes, header};
use super::text::{BOM, find, join};
use crate::cli::explain::hypothesis::{Case, Cause};

const FIX: &str = "Pass the body on as bytes: find the code that decodes it as text, and set the charset of both sides to UTF-8.";
const TYPE_FIX: &str = "Send the content-type without another charset than UTF-8: the guard does not read a body in other charsets.";

/// The characters of the bytes from 0x80 to 0x9f in Windows-1252.
const WINDOWS: [u16; 32] = [
    0x20ac, 0x81, 0x201a, 0x0192, 0x201e, 0x2026, 0x2020, 0x2021, 0x02c6, 0x2030, 0x0160, 0x2039,
    0x0152, 0x8d, 0x017d, 0x8f, 0x90, 0x2018, 0x2019, 0x201c, 0x201d, 0x2022, 0x2013, 0x2014,
    0x02dc, 0x2122, 0x0161, 0x203a, 0x0153, 0x9d, 0x017e, 0x0178,
];

/// A charset with one byte a character.
#[derive(Clone, Copy)]
enum Single {
    Latin1,
    Windows,
}

impl Single {
    const ALL: [(Self, &'static str); 2] = [
        (Self::Windows, "Windows-1252"),
        (Self::Latin1, "ISO-8859-1"),
    ];

    fn decode(self, bytes: &[u8]) -> String {
        let char = |byte: &u8| match (self, byte.checked_sub(0x80)) {
            (Self::Windows, Some(high)) => {
                let unit = WINDOWS.get(usize::from(high)).copied();
                char::from_u32(unit.unwrap_or(u16::from(*byte)).into()).unwrap_or_default()
            }
            _ => char::from(*byte),
        };
        bytes.iter().map(char).collect()
    }

    fn encode(self, text: &str) -> Option<Vec<u8>> {
        let byte = |char: char| {
            let windows = WINDOWS
                .iter()
                .position(|unit| u32::from(*unit) == u32::from(char));
            match (self, windows) {
                (Self::Windows, Some(index)) => u8::try_from(index).ok()?.checked_add(0x80),
                _ => u8::try_from(u32::from(char)).ok(),
            }
        };
        text.chars().map(byte).collect()
    }
}

/// The bodies in other charsets.
pub(super) fn changes(case: Case<'_>) -> Changes<'_> {
    let body = &case.request.body[..];
    let mut changes = Vec::new();
    if let Some(value) =
        header(case.request, "content-type").filter(|value| value.contains("charset"))
    {
        let kept = value
            .split(';')
            .map(str::trim)
            .filter(|part| !part.starts_with("charset"));
        let kept = kept.collect::<Vec<_>>().join("; ");
        let detail = "The content-type names another charset than UTF-8, which hides the values of the body.";
        let change = Change::new(Cause::Charset, detail, TYPE_FIX, body.to_vec());
        changes.push(change.with("content-type", Some(&kept)));
    }
    let mut add = |detail: String, body: Vec<u8>| {
        let bare = body.strip_suffix(b"\n").map(<[u8]>::to_vec);
        if let Some(bare) = bare {
            let detail = join(&detail, " without the line break at its end.");
            changes.push(Change::new(Cause::Charset, detail, FIX, bare));
        }
        changes.push(Change::new(Cause::Charset, detail, FIX, body));
    };
    match std::str::from_utf8(body) {
        Ok(text) if text.is_ascii() => {}
        Ok(text) => {
            for (charset, name) in Single::ALL {
                if let Some(bytes) = charset.encode(text) {
                    let detail = match std::str::from_utf8(&bytes) {
                        Ok(_) => format!(
                            "The sender signed UTF-8, which something read as {name} and encoded as UTF-8 again."
                        ),
                        Err(_) => format!("The sender signed the body in {name}, not in UTF-8."),
                    };
                    add(detail, bytes);
                }
                let detail = format!(
                    "The sender signed the body with its UTF-8 read as {name} and encoded again."
                );
                add(detail, charset.decode(body).into_bytes());
            }
        }
        Err(_) => {
            for (charset, name) in Single::ALL {
                let detail = format!("The sender signed the body in UTF-8, not in {name}.");
                add(detail, charset.decode(body).into_bytes());
            }
        }
    }
    for text in from_utf16(body) {
        add(
            "The sender signed the body in UTF-8, not in UTF-16.".to_owned(),
            text.into_bytes(),
        );
    }
    if let Ok(text) = std::str::from_utf8(body.strip_prefix(BOM).unwrap_or(body)) {
        for (mark, name) in [
            ("", "without a byte order mark"),
            ("\u{feff}", "with a byte order mark"),
        ] {
            let units: Vec<_> = mark.encode_utf16().chain(text.encode_utf16()).collect();
            let little = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
            let big = units.iter().flat_map(|unit| unit.to_be_bytes()).collect();
            add(
                format!("The sender signed the body in UTF-16 (little-endian) {name}."),
                little,
            );
            add(
                format!("The sender signed the body in UTF-16 (big-endian) {name}."),
                big,
            );
        }
    }
    Box::new(changes.into_iter())
}

/// The text of a body in UTF-16. Only text with some ASCII counts.
fn from_utf16(body: &[u8]) -> Vec<String> {
    let mut texts = Vec::new();
    let is_even = body.len().is_multiple_of(2);
    if !is_even || !body.contains(&0) {
        return texts;
    }
    let decoders: [fn([u8; 2]) -> u16; 2] = [u16::from_le_bytes, u16::from_be_bytes];
    for decode in decoders {
        let units = body.chunks_exact(2).filter_map(|pair| pair.try_into().ok());
        let units: Vec<_> = units.map(decode).collect();
        if let Ok(text) = String::from_utf16(&units) {
            if let Some(bare) = text.strip_prefix('\u{feff}') {
                texts.push(bare.to_owned());
            }
            texts.push(text);
        }
    }
    texts
}

/// The limits of the search in this body.
pub(super) fn limits(body: &[u8]) -> Vec<&'static str> {
    let mut limits = Vec::new();
    if find(body, "\u{fffd}".as_bytes()).is_some() {
        limits.push("The body has the character U+FFFD, which replaces bytes that are lost.");
    }
    if !body.is_ascii() {
        limits.push("Something may have normalised the Unicode text of the body (NFC or NFD), which explain does not try.");
    }
    limits
}
