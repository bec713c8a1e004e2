//! The format of a body, from the request's headers.

use crate::request::headers::Headers;

/// The longest boundary of a multipart body (RFC 2046, 5.1.1). The search costs its length for each byte.
const MAX_BOUNDARY: usize = 70;

/// The format of a body, from its content-type.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum MediaType {
    /// `application/x-www-form-urlencoded`.
    Form,
    /// `multipart/form-data`, with the boundary before each part.
    Multipart(Vec<u8>),
    /// Ambiguous: a form for some applications only, or a coding or charset in which `"` or `&` are other bytes. The
    /// guard does not parse such a body.
    Unclear,
    /// Anything else.
    Other,
}

impl MediaType {
    /// The format of a request's body.
    pub(crate) fn of(headers: &Headers<'_>) -> Self {
        let mut codings = headers.values("content-encoding");
        let is_coded = codings.any(|coding| !coding.eq_ignore_ascii_case(b"identity"));
        let values: Vec<_> = headers.values("content-type").collect();
        match values.as_slice() {
            _ if is_coded || values.iter().any(|value| has_other_charset(value)) => Self::Unclear,
            values if !values.iter().any(|value| is_of_form(value)) => Self::Other,
            [value] => Self::of_form(value).unwrap_or(Self::Unclear),
            _ => Self::Unclear,
        }
    }

    /// A form's format, if its content-type is unambiguous.
    fn of_form(value: &[u8]) -> Option<Self> {
        // In a charset not based on ASCII, `&` and `=` would be other bytes.
        let is_charset = |part: &&[u8]| part.eq_ignore_ascii_case(b"charset=utf-8");
        let parts = value.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let mut parts = parts.filter(|part| !is_charset(part));
        let name = parts.next()?;
        let parameter = parts.next().unwrap_or_default();
        if parts.next().is_some() {
            return None;
        }
        if name.eq_ignore_ascii_case(b"application/x-www-form-urlencoded") {
            return parameter.is_empty().then_some(Self::Form);
        }
        let boundary = parameter.strip_prefix(b"boundary=")?;
        let quoted = boundary
            .strip_prefix(b"\"")
            .and_then(|rest| rest.strip_suffix(b"\""));
        let boundary = quoted.unwrap_or(boundary);
        // The characters of RFC 2046 that end a parameter for no application.
        let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || b"_=.+-".contains(byte);
        let is_boundary = boundary.iter().all(is_letter)
            && (1..=MAX_BOUNDARY).contains(&boundary.len())
            && name.eq_ignore_ascii_case(b"multipart/form-data");
        is_boundary.then(|| Self::Multipart([b"--", boundary].concat()))
    }
}

/// Whether a content-type is a form's, or some application could read it so.
pub(super) fn is_of_form(value: &[u8]) -> bool {
    after_word(value, b"form-urlencoded").is_some() || after_word(value, b"multipart").is_some()
}

/// Whether a content-type has another charset than UTF-8, or some application could read it so.
pub(super) fn has_other_charset(value: &[u8]) -> bool {
    let mut rest = value;
    while let Some(after) = after_word(rest, b"charset") {
        let name = after.split(|byte| *byte == b';').next();
        let name = name.unwrap_or_default().trim_ascii();
        let is_name = |known: &&[u8]| name.eq_ignore_ascii_case(known);
        if ![&b"=utf-8"[..], b"=\"utf-8\"", b"=utf8"]
            .iter()
            .any(is_name)
        {
            return true;
        }
        rest = after;
    }
    false
}

/// The text after a word, in upper or lower case. Words are short, so the search needs no table.
fn after_word<'v>(value: &'v [u8], word: &[u8]) -> Option<&'v [u8]> {
    let mut places = value.windows(word.len());
    let at = places.position(|place| place.eq_ignore_ascii_case(word))?;
    value.get(at.checked_add(word.len())?..)
}
