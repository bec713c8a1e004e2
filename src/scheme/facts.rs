//! The text of each component, from a request's head or from its body.

use std::borrow::Cow;

use super::body::ParsedBody;
use super::chunk::Chunk;
use super::component::Component;
use super::found::optional;
use super::public_url::PublicUrl;
use super::search::occurs_once;
use super::{quirks, source};
use crate::request::headers::{Ambiguous, Headers};
use crate::request::path;
use crate::verdict::Denial;

/// The most headers in `{signed_headers}`.
const MAX_LISTED: usize = 64;

/// The most bytes of a request's head in its signed message. The longest signed URLs of known senders have about 2 KiB.
pub(crate) const MAX_HEAD: usize = 16 * 1024;

/// The values of a request's head.
#[derive(Clone, Copy)]
pub(crate) struct HeadFacts<'r> {
    pub(crate) headers: &'r Headers<'r>,
    pub(crate) public_url: &'r PublicUrl,
    /// Which form of a placeholder with several forms to write.
    pub(crate) form: usize,
    pub(crate) timestamp: Option<&'r [u8]>,
    pub(crate) id: Option<&'r [u8]>,
    /// The header that lists the signed headers, and the headers that this list must contain.
    pub(crate) signed_headers: &'r [String],
}

/// The values of a request's body that its message needs.
#[derive(Clone, Copy, Default)]
pub(crate) struct BodyFacts<'r> {
    pub(crate) timestamp: Option<&'r [u8]>,
    pub(crate) id: Option<&'r [u8]>,
}

impl BodyFacts<'_> {
    /// The text of a component. `before` is the chunk before it.
    pub(super) fn text<'t>(
        &'t self,
        component: &Component,
        before: Option<&Chunk>,
        content: &'t ParsedBody,
    ) -> Result<Cow<'t, [u8]>, Denial> {
        match component {
            Component::Timestamp => {
                let text = self.timestamp.map(Cow::Borrowed);
                text.ok_or(Denial::TimestampMissing)
            }
            Component::Id => self.id.map(Cow::Borrowed).ok_or(Denial::SignatureMissing),
            Component::UrlSorted => match before {
                Some(Chunk::Bytes(url)) => {
                    Ok(quirks::sorted_fields_after_url(url, content.fields()).into())
                }
                _ => Err(Denial::InternalError),
            },
            Component::Value {
                source,
                optional: is_optional,
                lower_case,
                around,
            } => {
                // The body's size bounds its values.
                let found = source.in_body(content);
                let found = found.map_err(|Ambiguous| Denial::SignatureDuplicated)?;
                signed(found, *is_optional, *lower_case, around.as_ref())
            }
            _ => Err(Denial::InternalError),
        }
    }
}

impl HeadFacts<'_> {
    /// The text of a component; `None` if only the body contains it.
    pub(super) fn text(&self, component: &Component) -> Result<Option<Cow<'_, [u8]>>, Denial> {
        Ok(Some(match component {
            Component::Timestamp => return Ok(self.timestamp.map(Cow::Borrowed)),
            Component::Id => return Ok(self.id.map(Cow::Borrowed)),
            Component::Value { source, .. } if source.is_in_body() => return Ok(None),
            Component::Value {
                source,
                optional: is_optional,
                lower_case,
                around,
            } => {
                let found = optional(source.in_head(self.headers, None))?;
                let lower_case = *lower_case && self.form == 0;
                signed(found, *is_optional, lower_case, around.as_ref())?
            }
            Component::Method => self.pseudo(":method")?.into(),
            Component::Path => self.path()?.into(),
            Component::Query => self.query()?.into(),
            Component::Url => self.url()?.into(),
            Component::UrlAnyPort => {
                quirks::url_form(&self.at_origin(b"")?, &self.target()?, self.form).into()
            }
            Component::UrlWithoutQuery => self.url_without_query()?.into(),
            Component::UrlDecoded => quirks::decoded_url(&self.url()?).into(),
            Component::UrlSorted => {
                quirks::url_with_sorted_query(self.url_without_query()?, self.query()?).into()
            }
            Component::SortedQuery => quirks::sorted_query(self.query()?).into(),
            Component::EncodedPath => {
                quirks::path_with_encoded_query(&self.path()?, self.query()?).into()
            }
            Component::SignedHeaders => self.listed_headers()?.into(),
            Component::Body
            | Component::BodySha256
            | Component::BodySha256Hex
            | Component::Secret
            | Component::SortedForm => return Ok(None),
        }))
    }

    /// A pseudo-header. One longer than [`MAX_HEAD`] is rejected before it is copied.
    fn pseudo(&self, name: &str) -> Result<&[u8], Denial> {
        match self.headers.one(name) {
            Ok(Some(value)) if value.len() > MAX_HEAD => Err(Denial::SignatureMalformed),
            Ok(Some(value)) => Ok(value),
            Ok(None) | Err(_) => Err(Denial::HostError),
        }
    }

    fn query(&self) -> Result<&[u8], Denial> {
        self.pseudo(":path")?;
        Ok(source::query(self.headers))
    }

    /// How many forms the URL has.
    pub(super) fn url_forms(&self) -> usize {
        quirks::url_forms(source::query(self.headers))
    }

    /// The path and the query, as the sender writes them.
    fn target(&self) -> Result<Cow<'_, [u8]>, Denial> {
        Ok(self.public_url.target(self.pseudo(":path")?))
    }

    pub(super) fn path(&self) -> Result<Vec<u8>, Denial> {
        Ok(path::without_query(&self.target()?).to_vec())
    }

    /// The sender's origin, followed by `target`.
    fn at_origin(&self, target: &[u8]) -> Result<Vec<u8>, Denial> {
        let mut url = match &self.public_url.origin {
            Some(origin) => origin.as_bytes().to_vec(),
            None => [self.pseudo(":scheme")?, b"://", self.pseudo(":authority")?].concat(),
        };
        url.extend(target);
        Ok(url)
    }

    /// The URL as the sender writes it.
    pub(crate) fn url(&self) -> Result<Vec<u8>, Denial> {
        self.at_origin(&self.target()?)
    }

    pub(super) fn url_without_query(&self) -> Result<Vec<u8>, Denial> {
        self.at_origin(&self.path()?)
    }

    /// `name:value` of each header that the request lists as signed, joined by `;`. The list must contain its own
    /// header, and those of the id and the timestamp. Otherwise they would not be signed.
    fn listed_headers(&self) -> Result<Vec<u8>, Denial> {
        let one = |name: &str| match self.headers.one(name) {
            Ok(Some(_)) if self.headers.has_lookalike(name) => Err(Denial::SignatureDuplicated),
            Ok(Some(value)) => Ok(value),
            Ok(None) => Err(Denial::SignatureMissing),
            Err(Ambiguous) => Err(Denial::SignatureDuplicated),
        };
        let list = self.signed_headers.first().ok_or(Denial::InternalError)?;
        let names = std::str::from_utf8(one(list)?).map_err(|_| Denial::SignatureMalformed)?;
        let names: Vec<_> = names.split(',').map(str::trim).collect();
        let has = |name: &String| names.contains(&name.as_str());
        let is_repeated = |(at, name): (usize, &&str)| {
            let mut before = names.iter().take(at);
            before.any(|other| other.eq_ignore_ascii_case(name))
        };
        if !self.signed_headers.iter().all(has)
            || names.len() > MAX_LISTED
            || names.iter().enumerate().any(is_repeated)
        {
            return Err(Denial::SignatureMalformed);
        }
        let mut pairs = Vec::with_capacity(names.len());
        for name in names {
            pairs.push((name.as_bytes(), one(name)?.trim_ascii()));
        }
        quirks::sort(&mut pairs);
        let mut text = Vec::new();
        for (name, value) in pairs {
            if !text.is_empty() {
                text.push(b';');
            }
            text.extend(name.iter().chain(b":").chain(value));
        }
        Ok(text)
    }
}

/// A value as signed.
fn signed<'v>(
    found: Option<Cow<'v, [u8]>>,
    is_optional: bool,
    lower_case: bool,
    around: Option<&(String, String)>,
) -> Result<Cow<'v, [u8]>, Denial> {
    let value = match found {
        Some(value) => value,
        None if is_optional => Cow::Borrowed(&b""[..]),
        None => return Err(Denial::SignatureMissing),
    };
    let value = match lower_case {
        true => value.to_ascii_lowercase().into(),
        false => value,
    };
    match around {
        Some((before, after)) if !value.is_empty() => {
            // Otherwise the value could contain the next one, which would seem absent.
            if !occurs_once(&value, after.as_bytes(), false) {
                return Err(Denial::SignatureMalformed);
            }
            Ok([before.as_bytes(), &value, after.as_bytes()]
                .concat()
                .into())
        }
        _ => Ok(value),
    }
}
