//! The fields of a multipart form (RFC 7578).
//!
//! A part is a field only if all applications read its name and its value alike. Any other part, such as an attachment,
//! only must not be read as one of the scheme's fields by some application.

use super::form::Form;
use super::media_type::{has_other_charset, is_of_form};
use crate::scheme::parameters;
use crate::scheme::search::{Finder, split_once};

/// The fields of a `multipart/form-data` body: the names and values of its parts. `None` if applications could divide
/// the body into other parts. A delimiter counts anywhere, and only blank lines may be outside the parts.
pub(super) fn read(body: &[u8], delimiter: &[u8]) -> Option<Form> {
    let mut form = Form::default();
    let mut count = 0_usize;
    let mut nested = None;
    let mut rest = without_blank_lines(body).strip_prefix(delimiter)?;
    let (delimiter, blank) = (Finder::new(delimiter), Finder::new(b"\r\n\r\n"));
    while let Some((part, tail)) = delimiter.split_once(rest) {
        let part = part.strip_prefix(b"\r\n")?.strip_suffix(b"\r\n")?;
        let (head, value) = blank.split_once(part)?;
        let lower = head.to_ascii_lowercase();
        match field(head, value) {
            Some(name) => form.fields.push((name.to_vec(), value.to_vec())),
            None => form
                .others
                .push(name_of_other(&lower, value.len())?.to_vec()),
        }
        nested = nested.max(Nested::of(&lower));
        rest = tail;
        count = count.saturating_add(1);
        if count > parameters::MAX_PARAMETERS {
            return None;
        }
    }
    let is_whole = without_blank_lines(rest.strip_prefix(b"--")?).is_empty();
    let is_clear = nested.is_none_or(|nested| nested.named_parts(body) == count);
    (is_whole && is_clear).then_some(form)
}

fn without_blank_lines(mut text: &[u8]) -> &[u8] {
    while let Some(rest) = text.strip_prefix(b"\r\n") {
        text = rest;
    }
    text
}

/// The name of a field. `None` if its head contains more than its name and what leaves its value unchanged.
fn field<'h>(head: &'h [u8], value: &[u8]) -> Option<&'h [u8]> {
    let mut name = None;
    for line in std::str::from_utf8(head).ok()?.split("\r\n") {
        let (header, text) = line.split_once(':')?;
        let text = text.trim();
        if line.contains(char::is_control) {
            return None;
        }
        match header.to_ascii_lowercase().as_str() {
            "content-disposition" if name.is_none() => {
                let quoted = text.strip_prefix("form-data; name=\"")?;
                name = Some(quoted.strip_suffix('"')?.as_bytes());
            }
            "content-type"
                if !is_of_form(text.as_bytes()) && !has_other_charset(text.as_bytes()) => {}
            "content-type" if value.is_ascii() && is_ascii_based(text) => {}
            "content-transfer-encoding" if matches!(text, "7bit" | "8bit" | "binary") => {}
            "content-length" if text == value.len().to_string() => {}
            _ => return None,
        }
    }
    let name = name.filter(|name| is_plain(name))?;
    let is_charset = name.eq_ignore_ascii_case(b"_charset_");
    (!is_charset || value.eq_ignore_ascii_case(b"utf-8")).then_some(name)
}

/// Whether a content-type's only parameter is a charset in which ASCII text is the same as in UTF-8.
fn is_ascii_based(content_type: &str) -> bool {
    let (kind, charset) = content_type.split_once(';').unwrap_or_default();
    let charset = charset.trim().to_ascii_lowercase();
    !is_of_form(kind.as_bytes()) && matches!(&*charset, "charset=us-ascii" | "charset=iso-8859-1")
}

/// Whether applications read a name alike, even if they split at `;` or `=`, or decode the name.
fn is_plain(name: &[u8]) -> bool {
    !name.is_empty()
        && !name
            .iter()
            .any(|byte| b"\"\\%;=".contains(byte) || byte.is_ascii_control())
}

/// The name of a part other than a field, from its head in lower case. `None` if some application could find another name
/// in the head, or another end of its value of `length` bytes.
fn name_of_other(head: &[u8], length: usize) -> Option<&[u8]> {
    let mut name = None;
    let mut is_disposition = false;
    let mut lines = head.split(|byte| *byte == b'\n').peekable();
    while let Some(line) = lines.next() {
        let line = match lines.peek() {
            Some(_) => line.strip_suffix(b"\r")?,
            None => line,
        };
        if line
            .iter()
            .any(|byte| byte.is_ascii_control() && *byte != b'\t')
        {
            return None;
        }
        let is_continued = matches!(line, [b' ' | b'\t', ..]);
        let (header, text) = match split_once(line, b":") {
            _ if is_continued => (&b""[..], line),
            Some((header, text)) => (header, text.trim_ascii()),
            None => return None,
        };
        if !is_continued {
            is_disposition = header == b"content-disposition" && name.is_none();
        }
        if is_disposition {
            let more = match is_continued {
                true => text,
                false => {
                    let (found, more) = name_and_more(text)?;
                    name = Some(found);
                    more
                }
            };
            if has_name(more) {
                return None;
            }
        } else if split_once(line, b"disposition").is_some()
            || !header.iter().all(is_of_header)
            || (header == b"content-length" && text != length.to_string().as_bytes())
        {
            return None;
        }
    }
    // The charset of all fields, for some applications.
    name.filter(|name| *name != b"_charset_")
}

/// Whether a header's name may contain this byte.
fn is_of_header(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.".contains(byte)
}

/// The name in a disposition, which must be its first parameter, and the parameters after it.
fn name_and_more(disposition: &[u8]) -> Option<(&[u8], &[u8])> {
    let parameters = disposition.strip_prefix(b"form-data;")?.trim_ascii_start();
    let value = parameters.strip_prefix(b"name=")?;
    let (name, more) = match value.strip_prefix(b"\"") {
        Some(quoted) => split_once(quoted, b"\"")?,
        None => {
            let length = value.iter().take_while(|byte| is_of_header(byte)).count();
            value.split_at_checked(length)?
        }
    };
    let is_clear = is_plain(name) && matches!(more.trim_ascii_start(), [] | [b';', ..]);
    is_clear.then_some((name, more))
}

/// Whether some application could find a parameter `name` in this text in lower case, such as in a file's name. Some
/// applications drop white space, quotation marks and backslashes, also within a parameter's name.
fn has_name(text: &[u8]) -> bool {
    let kept = |byte: &&u8| !b" \t\r\n\"'\\*".contains(byte);
    let joined: Vec<u8> = text.iter().filter(kept).copied().collect();
    [text, &joined].into_iter().any(|text| {
        let name = Finder::new(b"name");
        let mut rest = text;
        while let Some((before, after)) = name.split_once(rest) {
            let is_inside =
                matches!(before, [.., last] if last.is_ascii_alphanumeric() || *last == b'_');
            let mut after_name = after.iter().filter(kept);
            let next = after_name.find(|byte| !byte.is_ascii_digit());
            if !is_inside && next == Some(&b'=') {
                return true;
            }
            rest = after;
        }
        false
    })
}

/// A part that contains parts of its own. Some applications search for fields in it.
#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
enum Nested {
    /// A mail.
    Message,
    /// A list of parts. With its end, some applications lose their place in the body. They could then find a field in
    /// any later value.
    Multipart,
}

impl Nested {
    /// The format that a part's head, in lower case, announces.
    fn of(head: &[u8]) -> Option<Self> {
        let has = |text: &[u8]| split_once(head, text).is_some();
        match () {
            () if has(b"multipart") => Some(Self::Multipart),
            () if has(b"message/") => Some(Self::Message),
            () => None,
        }
    }

    /// How many headers in the whole body could be the disposition of a part with a name.
    fn named_parts(self, body: &[u8]) -> usize {
        let body = body.to_ascii_lowercase();
        let disposition = Finder::new(b"disposition");
        let (mut count, mut rest) = (0_usize, &body[..]);
        while !rest.is_empty() {
            let (header, tail) = self.split_header(rest);
            rest = tail;
            let mut text = header;
            while let Some((_, after)) = disposition.split_once(text) {
                text = after;
                if after.trim_ascii_start().starts_with(b":") {
                    count = count.saturating_add(has_name(after).into());
                    break;
                }
            }
        }
        count
    }

    /// The first header, and the text after it. A line that starts with white space continues a header.
    fn split_header(self, text: &[u8]) -> (&[u8], &[u8]) {
        let is_end = |bytes: &[u8]| match bytes {
            [_, _, b' ' | b'\t'] => false,
            [before, b'\n', _] => self == Self::Message || *before == b'\r',
            _ => false,
        };
        let end = text.windows(3).position(is_end);
        let end = end.map_or(text.len(), |at| at.saturating_add(2));
        text.split_at_checked(end).unwrap_or((text, b""))
    }
}
