//! The fields of a multipart form (RFC 7578).

use super::form::Form;
use super::media_type::{has_other_charset, is_of_form};
use crate::scheme::parameters;
use crate::scheme::search::Finder;

/// The fields of a `multipart/form-data` body: the names and values of its parts. `None` unless all applications read
/// the body alike. A delimiter counts anywhere, and no text may be outside the parts.
pub(super) fn read(body: &[u8], delimiter: &[u8]) -> Option<Form> {
    let mut form = Form::default();
    let mut rest = body.strip_prefix(delimiter)?;
    let (delimiter, blank) = (Finder::new(delimiter), Finder::new(b"\r\n\r\n"));
    while let Some((part, tail)) = delimiter.split_once(rest) {
        let part = part.strip_prefix(b"\r\n")?.strip_suffix(b"\r\n")?;
        let (head, value) = blank.split_once(part)?;
        let part = part_name(std::str::from_utf8(head).ok()?, value.len())?;
        let name = part.name.as_bytes().to_vec();
        match part.is_file {
            true => form.files.push(name),
            false => form.fields.push((name, value.to_vec())),
        }
        rest = tail;
        if form.fields.len().saturating_add(form.files.len()) > parameters::MAX_PARAMETERS {
            return None;
        }
    }
    matches!(rest, b"--" | b"--\r\n").then_some(form)
}

/// The name of a part. `None` unless its head contains one name, and nothing that changes a value of `length` bytes.
fn part_name(head: &str, length: usize) -> Option<Part<'_>> {
    let mut name = None;
    for line in head.split("\r\n") {
        let (field, value) = line.split_once(':')?;
        let value = value.trim();
        if line.contains(char::is_control) {
            return None;
        }
        match field.to_ascii_lowercase().as_str() {
            "content-disposition" if name.is_none() => name = Some(disposition(value)?),
            "content-type"
                if !is_of_form(value.as_bytes()) && !has_other_charset(value.as_bytes()) => {}
            "content-transfer-encoding" if matches!(value, "8bit" | "binary") => {}
            "content-length" if value == length.to_string() => {}
            _ => return None,
        }
    }
    name
}

/// A part's name and kind, from its disposition.
struct Part<'h> {
    name: &'h str,
    is_file: bool,
}

/// Reads a part's disposition. The only other parameter may be a file's name.
fn disposition(value: &str) -> Option<Part<'_>> {
    let rest = value
        .strip_prefix("form-data; name=\"")?
        .strip_suffix('"')?;
    let (name, file) = match rest.split_once("\"; filename=\"") {
        Some((name, file)) => (name, Some(file)),
        None => (rest, None),
    };
    let is_plain = |text: &str| !text.contains(['"', '\\']);
    let is_clear = is_plain(name) && !name.contains('%') && file.is_none_or(is_plain);
    is_clear.then_some(Part {
        name,
        is_file: file.is_some(),
    })
}
