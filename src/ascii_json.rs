//! Fields of a JSON object, in printable ASCII: no reader sees a line break, and no terminal sees a control character,
//! whatever a request contained.

use std::fmt::{Display, Write};

/// The most characters of a text that a client chose.
const MAX_TEXT: usize = 200;

/// Adds a field with a value that is JSON.
pub fn add(line: &mut String, name: &str, value: &dyn Display) {
    // Writing to a string cannot fail.
    let _ = write!(line, ",\"{name}\":{value}");
}

/// Adds a field with a number.
#[inline(never)]
pub fn add_number(line: &mut String, name: &str, value: i64) {
    add(line, name, &value);
}

/// Adds a field with the beginning of a text that a client chose, unless it is empty.
#[inline(never)]
pub fn add_text(line: &mut String, name: &str, value: &[u8]) {
    if !value.is_empty() {
        let value = String::from_utf8_lossy(value);
        let end = value.char_indices().nth(MAX_TEXT).map(|(end, _)| end);
        let value = end.and_then(|end| value.get(..end)).unwrap_or(&value);
        add(line, name, &text(value));
    }
}

/// Adds an item to a list, after a comma.
#[inline(never)]
pub fn add_item(list: &mut String, item: &[u8]) {
    if !list.is_empty() {
        list.push_str(", ");
    }
    list.push_str(&String::from_utf8_lossy(item));
}

/// A text as a JSON string.
#[must_use]
pub fn text(text: &str) -> String {
    let mut quoted = String::from('"');
    for unit in text.encode_utf16() {
        match u8::try_from(unit) {
            Ok(special @ (b'"' | b'\\')) => quoted.extend(['\\', special.into()]),
            Ok(plain @ b' '..=b'~') => quoted.push(plain.into()),
            _ => {
                // Writing to a string cannot fail.
                let _ = write!(quoted, "\\u{unit:04x}");
            }
        }
    }
    quoted.push('"');
    quoted
}
