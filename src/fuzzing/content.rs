use serde_json::Value as Json;

use super::Input;
use crate::request::headers::Headers;
use crate::scheme::body::{BodyNeeds, MediaType, ParsedBody};
use crate::scheme::json_pointer::Pointer;

/// Any body under any content-type: what is found in it is what another reader finds.
pub fn content(data: &[u8]) {
    let mut input = Input(data);
    let unsigned = input.flag();
    let content_type: &[u8] = match input.below(4) {
        0 => b"application/x-www-form-urlencoded",
        1 => b"multipart/form-data; boundary=x",
        2 => b"application/json",
        _ => input.bytes(),
    };
    let pointer = String::from_utf8_lossy(input.bytes()).into_owned();
    let kind = MediaType::of(&Headers::new(&[(b"content-type", content_type)]));
    let body = input.0;
    json(body, &pointer, unsigned);
    let wanted = BodyNeeds {
        form: true,
        unsigned,
        ..BodyNeeds::default()
    };
    let Some(content) = ParsedBody::read(body, &kind, &wanted) else {
        return;
    };
    let found: Vec<_> = content.fields().collect();
    match kind {
        MediaType::Form => {
            let mut expected = form(body);
            let mut found: Vec<_> = found
                .into_iter()
                .map(|(name, value)| (name.to_vec(), value.to_vec()))
                .collect();
            expected.sort();
            found.sort();
            assert_eq!(found, expected);
        }
        MediaType::Multipart(_) => {
            for (name, value) in found {
                assert!(holds(body, name) && holds(body, value));
            }
        }
        MediaType::Unclear | MediaType::Other => assert_eq!(found.len(), 0),
    }
}

/// A pointer finds the same in a JSON text as the library does.
fn json(body: &[u8], pointer: &str, unsigned: bool) {
    let Ok(steps) = Pointer::parse(pointer) else {
        return;
    };
    let wanted = BodyNeeds {
        json: true,
        unsigned,
        ..BodyNeeds::default()
    };
    let Some(content) = ParsedBody::read(body, &MediaType::Other, &wanted) else {
        return;
    };
    // Where only what the pointer needs is read, the same is found.
    let selected = BodyNeeds {
        pointers: vec![steps.clone()],
        ..wanted
    };
    let selected = ParsedBody::read(body, &MediaType::Other, &selected).expect("less of it");
    assert_eq!(selected.json(&steps), content.json(&steps), "{pointer}");
    let Ok(Some(found)) = content.json(&steps) else {
        return;
    };
    let json: Json = serde_json::from_slice(body).expect("something was found in it");
    // Every item of a list holds the same, so that the first one will do.
    let first: Vec<_> = pointer
        .split('/')
        .map(|step| if step == "*" { "0" } else { step })
        .collect();
    let expected = match json.pointer(&first.join("/")) {
        Some(Json::String(text)) => text.clone(),
        Some(Json::Bool(value)) => value.to_string(),
        Some(Json::Number(number)) => number.as_i64().expect("a whole number").to_string(),
        other => panic!("{pointer} is {other:?}, not {found:?}"),
    };
    assert_eq!(*found, *expected.as_bytes(), "{pointer}");
}

/// The fields of a form, read another way.
pub(super) fn form(body: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut fields = Vec::new();
    for pair in body.split(|byte| *byte == b'&') {
        if !pair.is_empty() {
            let equals = pair.iter().position(|byte| *byte == b'=');
            let (name, value) = match equals {
                Some(at) => (&pair[..at], &pair[at + 1..]),
                None => (pair, &b""[..]),
            };
            fields.push((unescaped(name), unescaped(value)));
        }
    }
    fields
}

fn unescaped(text: &[u8]) -> Vec<u8> {
    let digit = |at: usize| (*text.get(at)? as char).to_digit(16);
    let mut bytes = Vec::new();
    let mut at = 0;
    while at < text.len() {
        match (text[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                at += 2;
            }
            (b'+', ..) => bytes.push(b' '),
            (byte, ..) => bytes.push(byte),
        }
        at += 1;
    }
    bytes
}

fn holds(body: &[u8], part: &[u8]) -> bool {
    part.is_empty() || body.windows(part.len()).any(|window| window == part)
}
