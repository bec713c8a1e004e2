//! How a body is written, by the request's headers.

use crate::request::headers::Headers;
use crate::scheme::search::split_once;

/// The longest boundary of a multipart body (RFC 2046, 5.1.1): a longer one would cost its length for each byte.
const MAX_BOUNDARY: usize = 70;

/// How a body is written, by its content-type.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum MediaType {
    /// `application/x-www-form-urlencoded`.
    Form,
    /// `multipart/form-data`, with the boundary before each part.
    Multipart(Vec<u8>),
    /// Not the same to all readers: a form to some, or in a coding or a charset in which other bytes would be its
    /// `"` or its `&`. Nothing is read of it.
    Unclear,
    /// Anything else.
    Other,
}

impl MediaType {
    /// The kind of a request's body.
    pub(crate) fn of(headers: &Headers<'_>) -> Self {
        let mut codings = headers.values("content-encoding");
        let is_coded = codings.any(|coding| !coding.eq_ignore_ascii_case(b"identity"));
        let values: Vec<_> = headers.values("content-type").collect();
        match values.as_slice() {
            _ if is_coded || values.iter().any(|value| has_other_charset(value)) => Self::Unclear,
            [value] if is_of_form(value) => Self::of_form(value).unwrap_or(Self::Unclear),
            values if values.iter().any(|value| is_of_form(value)) => Self::Unclear,
            _ => Self::Other,
        }
    }

    /// A form's kind, if its content-type can be read in one way only.
    fn of_form(value: &[u8]) -> Option<Self> {
        let mut parts = value.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let name = parts.next()?;
        let parameter = parts.next().unwrap_or_default();
        if parts.next().is_some() {
            return None;
        }
        if name.eq_ignore_ascii_case(b"application/x-www-form-urlencoded") {
            // In a charset that is not ASCII's, other bytes would be the form's `&` and `=`.
            let is_ascii = parameter.is_empty() || parameter.eq_ignore_ascii_case(b"charset=utf-8");
            return is_ascii.then_some(Self::Form);
        }
        let boundary = parameter.strip_prefix(b"boundary=")?;
        let quoted = boundary
            .strip_prefix(b"\"")
            .and_then(|rest| rest.strip_suffix(b"\""));
        let boundary = quoted.unwrap_or(boundary);
        // Of the characters of RFC 2046 those that end no parameter, for whatever reader.
        let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || b"_=.+-".contains(byte);
        let is_boundary = boundary.iter().all(is_letter)
            && (1..=MAX_BOUNDARY).contains(&boundary.len())
            && name.eq_ignore_ascii_case(b"multipart/form-data");
        is_boundary.then(|| Self::Multipart([b"--", boundary].concat()))
    }
}

/// Whether a content-type is that of a form, or could be taken for one.
pub(super) fn is_of_form(value: &[u8]) -> bool {
    let value = value.to_ascii_lowercase();
    split_once(&value, b"form-urlencoded").is_some() || split_once(&value, b"multipart").is_some()
}

/// Whether a content-type names another charset than UTF-8, or could be taken to do so.
pub(super) fn has_other_charset(value: &[u8]) -> bool {
    let value = value.to_ascii_lowercase();
    let mut rest = &value[..];
    while let Some((_, after)) = split_once(rest, b"charset") {
        let name = after.split(|byte| *byte == b';').next();
        let name = name.unwrap_or_default().trim_ascii();
        if !matches!(name, b"=utf-8" | b"=\"utf-8\"" | b"=utf8") {
            return true;
        }
        rest = after;
    }
    false
}
