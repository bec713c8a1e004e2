//! The fields of a multipart form (RFC 7578).
//!
//! A part is a field only if all applications read its name and its value alike. Any other part, such as an attachment,
//! only must not be read as one of the scheme's fields by some application.

use super::form::Form;
use super::media_type::{has_other_charset, is_of_form};
use crate::scheme::parameters;
use crate::scheme::search::{Finder, split_once};

/// The longest head of a field. A longer one is that of another part.
const MAX_HEAD: usize = 1024;

/// The most bytes in the heads of all other parts. A byte there costs several times as much as one in a value.
const MAX_OTHER_HEADS: usize = 32 * 1024;

/// The fields of a `multipart/form-data` body: the names and values of its parts. `None` if applications could divide
/// the body into other parts. A delimiter counts anywhere, and only blank lines may be outside the parts.
pub(super) fn read(body: &[u8], delimiter: &[u8]) -> Option<Form> {
    let mut form = Form::default();
    let (mut count, mut heads) = (0_usize, 0_usize);
    let mut nested = None;
    let mut rest = without_blank_lines(body).strip_prefix(delimiter)?;
    let (delimiter, blank) = (Finder::new(delimiter), Finder::new(b"\r\n\r\n"));
    let words = Words {
        disposition: Finder::new(b"disposition"),
        multipart: Finder::new(b"multipart"),
        message: Finder::new(b"message"),
    };
    while let Some((part, tail)) = delimiter.split_once(rest) {
        let part = part.strip_prefix(b"\r\n")?.strip_suffix(b"\r\n")?;
        let (head, value) = blank.split_once(part)?;
        let lower;
        let name = if let Some(name) = field(head, value) {
            form.fields.push((name.to_vec(), value.to_vec()));
            name
        } else {
            heads = heads.saturating_add(head.len());
            if heads > MAX_OTHER_HEADS {
                return None;
            }
            lower = head.to_ascii_lowercase();
            let (name, kind) = words.other(&lower, value.len())?;
            form.others.push(name.to_vec());
            nested = nested.max(kind);
            name
        };
        if !name.is_ascii() {
            // Some applications drop white space of any script around a name.
            let ascii = name.iter().copied().filter(u8::is_ascii);
            form.others.push(ascii.collect());
        }
        rest = tail;
        count = count.saturating_add(1);
        if count > parameters::MAX_PARAMETERS {
            return None;
        }
    }
    let is_whole = without_blank_lines(rest.strip_prefix(b"--")?).is_empty();
    let is_clear = nested.is_none_or(|nested| words.named_parts(nested, body) == count);
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
    if head.len() > MAX_HEAD {
        return None;
    }
    for line in std::str::from_utf8(head).ok()?.split("\r\n") {
        let (header, text) = line.split_once(':')?;
        let text = text.trim_ascii();
        if line.contains(char::is_control) {
            return None;
        }
        match header.to_ascii_lowercase().as_str() {
            "content-disposition" if name.is_none() => {
                let quoted = text.strip_prefix("form-data; name=\"")?;
                name = Some(quoted.strip_suffix('"')?.as_bytes());
            }
            "content-type" if text.to_ascii_lowercase().starts_with("message") => return None,
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

/// The words that are searched in the heads of all parts, in lower case.
struct Words {
    disposition: Finder<'static>,
    multipart: Finder<'static>,
    message: Finder<'static>,
}

impl Words {
    /// The name of a part other than a field, and whether it contains parts, from its head in lower case. `None` if some
    /// application could find another name in the head, or another end of its value of `length` bytes.
    fn other<'h>(&self, head: &'h [u8], length: usize) -> Option<(&'h [u8], Option<Nested>)> {
        if !has_clear_lines(head) {
            return None;
        }
        let (mut name, mut nested) = (None, None);
        let mut rest = head;
        while !rest.is_empty() {
            let (header, tail) = Nested::Multipart.split_header(rest);
            rest = tail;
            let colon = header.iter().position(|byte| *byte == b':')?;
            let (field, text) = header.split_at_checked(colon)?;
            let text = text.strip_prefix(b":")?.trim_ascii();
            if field == b"content-disposition" && name.is_none() {
                let (found, more) = name_and_more(text)?;
                name = Some(found);
                if has_name(more) || !has_clear_parameters(more) {
                    return None;
                }
                continue;
            }
            if !field.iter().all(is_of_header)
                || self.disposition.split_once(header).is_some()
                || (field == b"content-length" && text != length.to_string().as_bytes())
            {
                return None;
            }
            if field == b"content-type" {
                nested = nested.max(self.nested(text));
            }
        }
        // The charset of all fields, for some applications.
        let name = name.filter(|name| *name != b"_charset_")?;
        Some((name, nested))
    }

    /// Whether a part of this content-type contains parts of its own.
    fn nested(&self, content_type: &[u8]) -> Option<Nested> {
        if self.multipart.split_once(content_type).is_some() {
            Some(Nested::Multipart)
        } else {
            let found = self.message.split_once(content_type);
            found.map(|_| Nested::Message)
        }
    }

    /// How many headers in the whole body could be the disposition of a part with a name.
    fn named_parts(&self, nested: Nested, body: &[u8]) -> usize {
        let body = body.to_ascii_lowercase();
        let (mut count, mut rest) = (0_usize, &body[..]);
        while !rest.is_empty() {
            let (header, tail) = nested.split_header(rest);
            rest = tail;
            let mut text = header;
            while let Some((_, after)) = self.disposition.split_once(text) {
                text = after;
                if after.trim_ascii_start().starts_with(b":") {
                    count = count.saturating_add(has_name(after).into());
                    break;
                }
            }
        }
        count
    }
}

/// Whether a head's lines end with CRLF, and contain no other control characters than tabs.
fn has_clear_lines(head: &[u8]) -> bool {
    let mut is_after_return = false;
    head.iter().all(|byte| {
        let is_clear = match *byte {
            b'\n' => is_after_return,
            b'\t' => !is_after_return,
            byte => !is_after_return && (byte == b'\r' || !byte.is_ascii_control()),
        };
        is_after_return = *byte == b'\r';
        is_clear
    })
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

/// Whether applications divide the parameters alike. Each follows a `;`. Its value is quoted, or of visible ASCII
/// characters. A line may only continue after a `;`.
fn has_clear_parameters(mut text: &[u8]) -> bool {
    while let Some(rest) = text.strip_prefix(b" ").unwrap_or(text).strip_prefix(b";") {
        let rest = rest.trim_ascii_start();
        let length = rest.iter().take_while(|byte| is_of_parameter(byte)).count();
        let Some((name, after)) = rest.split_at_checked(length) else {
            return false;
        };
        text = match after.strip_prefix(b"=") {
            Some(value) if !name.is_empty() => match after_value(value) {
                Some(tail) => tail,
                None => return false,
            },
            _ => after,
        };
    }
    text.is_empty()
}

/// The text after a parameter's value.
fn after_value(value: &[u8]) -> Option<&[u8]> {
    let Some(quoted) = value.strip_prefix(b"\"") else {
        let is_of_value = |byte: &u8| byte.is_ascii_graphic() && !b"\";\\=".contains(byte);
        let length = value.iter().take_while(|byte| is_of_value(byte)).count();
        return value.get(length..);
    };
    let mut is_escaped = false;
    let end = quoted.iter().position(|byte| {
        let is_end = *byte == b'"' && !is_escaped;
        is_escaped = *byte == b'\\' && !is_escaped;
        is_end || *byte == b'\r'
    })?;
    quoted.get(end..)?.strip_prefix(b"\"")
}

/// Whether the name of a parameter may contain this byte.
fn is_of_parameter(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_*".contains(byte)
}

/// Whether some application could find a parameter `name` in this text in lower case, such as in a file's name. Some
/// applications drop white space of any script, quotation marks and backslashes, also within a parameter's name.
fn has_name(text: &[u8]) -> bool {
    let mut values = text.iter().enumerate().filter(|(_, byte)| **byte == b'=');
    values.any(|(at, _)| text.get(..at).is_some_and(ends_with_name))
}

/// Whether a text before a `=` ends with the parameter `name`, backwards. The search ends at another `=` at the latest.
fn ends_with_name(text: &[u8]) -> bool {
    let is_dropped = |byte: &u8| !byte.is_ascii_graphic() || b"\"'\\*".contains(byte);
    let is_word =
        |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    let mut left = text;
    // A continued parameter has a number (RFC 2231).
    while let [rest @ .., last] = left
        && (is_dropped(last) || last.is_ascii_digit())
    {
        left = rest;
    }
    for letter in b"eman" {
        while let [rest @ .., last] = left
            && is_dropped(last)
        {
            left = rest;
        }
        match left {
            [rest @ .., last] if last == letter => left = rest,
            _ => return false,
        }
    }
    !is_word(left.last()) || !is_word(left.iter().rev().find(|byte| !is_dropped(byte)))
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
    /// The first header, and the text after it. A line that starts with white space continues a header.
    fn split_header(self, text: &[u8]) -> (&[u8], &[u8]) {
        let mut end = 0_usize;
        while let Some(rest) = text.get(end..)
            && let Some(at) = rest.iter().position(|byte| *byte == b'\n')
        {
            end = end.saturating_add(at).saturating_add(1);
            let parts = text.split_at_checked(end);
            if let Some((header, tail)) = parts
                && !matches!(tail, [b' ' | b'\t', ..])
                && (self == Self::Message || header.ends_with(b"\r\n"))
            {
                return (header, tail);
            }
        }
        (text, b"")
    }
}
