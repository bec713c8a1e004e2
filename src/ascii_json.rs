//! Fields of a JSON object, in printable ASCII: no reader sees a line break, and no terminal sees a control character,
//! whatever a request contained.

use std::fmt::{Display, Write};

/// The most bytes of a text that a client chose, as they are in the line.
const MAX_TEXT: usize = 200;

/// Adds a field's name. Its value follows.
pub fn add_name(line: &mut String, name: &str) {
    line.push_str(",\"");
    line.push_str(name);
    line.push_str("\":");
}

/// Adds a field with a value that is JSON.
pub fn add(line: &mut String, name: &str, value: &dyn Display) {
    add_name(line, name);
    // Writing to a string cannot fail.
    let _ = write!(line, "{value}");
}

/// Adds a field with a number.
#[inline(never)]
pub fn add_number(line: &mut String, name: &str, value: i64) {
    add(line, name, &value);
}

/// Adds a field with a string.
#[inline(never)]
pub fn add_string(line: &mut String, name: &str, value: &str) {
    add_name(line, name);
    push_string(line, value);
}

/// Adds a field with the beginning of a text that a client chose, unless it is empty.
#[inline(never)]
pub fn add_text(line: &mut String, name: &str, value: &[u8]) {
    if !value.is_empty() {
        let value = String::from_utf8_lossy(value);
        let mut left = MAX_TEXT;
        let fits = |char: &char| {
            let units = char.len_utf16();
            let length = match char {
                ' '..='~' => units,
                _ => units.saturating_mul(6),
            };
            let rest = left.checked_sub(length);
            left = rest.unwrap_or_default();
            rest.is_some()
        };
        let value: String = value.chars().take_while(fits).collect();
        add_string(line, name, &value);
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

/// Adds a text as a JSON string.
fn push_string(line: &mut String, text: &str) {
    line.push('"');
    // Most texts have nothing to escape, and need one copy.
    match text.bytes().all(is_plain) {
        true => line.push_str(text),
        false => push_escaped(line, text),
    }
    line.push('"');
}

#[inline(never)]
fn push_escaped(line: &mut String, text: &str) {
    for unit in text.encode_utf16() {
        match u8::try_from(unit) {
            Ok(special @ (b'"' | b'\\')) => line.extend(['\\', special.into()]),
            Ok(plain @ b' '..=b'~') => line.push(plain.into()),
            _ => {
                // Writing to a string cannot fail.
                let _ = write!(line, "\\u{unit:04x}");
            }
        }
    }
}

const fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_a_client_has_a_bounded_length_in_the_line() {
        for (char, count) in [("a", 200), ("é", 33), ("\n", 33), ("😀", 16)] {
            let mut line = String::new();
            add_text(&mut line, "x", char.repeat(300).as_bytes());
            let mut expected = String::new();
            add_string(&mut expected, "x", &char.repeat(count));
            assert_eq!(line, expected);
        }
    }
}
