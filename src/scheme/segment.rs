//! The signed bytes of one request: what its head tells is written as soon as it is there, what its body
//! tells once that is whole.

use std::borrow::Cow;

use super::content::Content;
use super::message::{Message, Part};
use super::source::{self, Found};
use super::url;
use crate::request::headers::Headers;
use crate::verdict::Reason;

/// The most headers that `{signed_headers}` may hold.
const MAX_LISTED: usize = 64;

/// The most bytes that the head of a request adds to its signed message. No sender comes near: the longest
/// signed URLs have some 2 KiB.
pub(crate) const MAX_HEAD: usize = 16 * 1024;

/// A piece of the signed bytes of one request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Segment {
    /// These.
    Bytes(Vec<u8>),
    /// The body as it came.
    Body,
    /// The body's SHA-256, raw or in hexadecimal digits.
    BodySha256 { hex: bool },
    /// The secret's own bytes.
    Secret,
    /// The part at this place of the message, which the body tells.
    Late(usize),
}

impl Segment {
    /// The bytes of the head that this segment keeps.
    pub(crate) const fn kept(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Body | Self::BodySha256 { .. } | Self::Secret | Self::Late(_) => 0,
        }
    }
}

/// The segments of one message while they are written.
pub(super) struct Segments {
    list: Vec<Segment>,
    /// How many more bytes may be added.
    left: usize,
}

impl Segments {
    /// No segments yet, for `count` of them and at most `limit` bytes.
    pub(super) fn with_capacity(count: usize, limit: usize) -> Self {
        Self {
            list: Vec::with_capacity(count),
            left: limit,
        }
    }

    /// Adds a segment that is not made of bytes.
    pub(super) fn push(&mut self, segment: Segment) {
        self.list.push(segment);
    }

    /// Adds bytes to the last segment, if that is one of bytes.
    ///
    /// # Errors
    /// `SignatureMalformed`: the message would be longer than its limit.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), Reason> {
        let left = self.left.checked_sub(bytes.len());
        self.left = left.ok_or(Reason::SignatureMalformed)?;
        match self.list.last_mut() {
            Some(Segment::Bytes(text)) => text.extend(bytes),
            _ => self.list.push(Segment::Bytes(bytes.to_vec())),
        }
        Ok(())
    }

    /// The segment that was added last.
    pub(super) fn last(&self) -> Option<&Segment> {
        self.list.last()
    }

    /// The segments, without spare memory.
    pub(super) fn finish(mut self) -> Vec<Segment> {
        for segment in &mut self.list {
            if let Segment::Bytes(bytes) = segment {
                bytes.shrink_to_fit();
            }
        }
        self.list
    }
}

/// Whether a message holds the body's hash.
pub(crate) fn has_digest(message: &[Segment]) -> bool {
    let is_digest = |segment: &Segment| matches!(segment, Segment::BodySha256 { .. });
    message.iter().any(is_digest)
}

/// What the head of a request tells.
#[derive(Clone, Copy)]
pub(crate) struct Facts<'r> {
    pub(crate) headers: &'r Headers<'r>,
    pub(crate) origin: Option<&'r str>,
    pub(crate) timestamp: Option<&'r [u8]>,
    pub(crate) id: Option<&'r [u8]>,
    /// The header that lists those which `{signed_headers}` holds, and others that must be among them.
    pub(crate) signed_headers: &'r [String],
}

/// What the body of a request told before its message could be written.
#[derive(Clone, Copy, Default)]
pub(crate) struct Late<'r> {
    pub(crate) timestamp: Option<&'r [u8]>,
    pub(crate) id: Option<&'r [u8]>,
}

impl Late<'_> {
    /// What a part comes to. `before` is what stands before it.
    pub(super) fn text(
        &self,
        part: &Part,
        before: Option<&Segment>,
        content: &Content,
    ) -> Result<Vec<u8>, Reason> {
        match part {
            Part::Timestamp => self
                .timestamp
                .map(<[u8]>::to_vec)
                .ok_or(Reason::TimestampMissing),
            Part::Id => self.id.map(<[u8]>::to_vec).ok_or(Reason::SignatureMissing),
            Part::SortedForm => Ok(url::concatenated(content.fields(), true)),
            Part::UrlSorted => match before {
                Some(Segment::Bytes(url)) => Ok(sorted_parameters(url, content)),
                _ => Err(Reason::HostError),
            },
            Part::Value {
                source,
                optional,
                lower_case,
            } => Ok(cased(
                &required(source.in_body(content), *optional)?,
                *lower_case,
            )),
            _ => Err(Reason::HostError),
        }
    }
}

impl Facts<'_> {
    /// Writes a part, or leaves its place to what the body will tell.
    pub(super) fn write(
        &self,
        part: &Part,
        index: usize,
        message: &Message,
        segments: &mut Segments,
    ) -> Result<(), Reason> {
        match part {
            Part::Body => segments.push(Segment::Body),
            Part::BodySha256 => segments.push(Segment::BodySha256 { hex: false }),
            Part::BodySha256Hex => segments.push(Segment::BodySha256 { hex: true }),
            Part::Secret => segments.push(Segment::Secret),
            Part::SortedForm => segments.push(Segment::Late(index)),
            Part::UrlSorted => {
                segments.append(&self.url_sorted()?)?;
                segments.push(Segment::Late(index));
            }
            Part::Timestamp => match self.timestamp {
                Some(text) => segments.append(text)?,
                None => segments.push(Segment::Late(index)),
            },
            Part::Id => match self.id {
                Some(text) => {
                    message.check_cut(index, text)?;
                    segments.append(text)?;
                }
                None => segments.push(Segment::Late(index)),
            },
            Part::Value { source, .. } if source.is_in_body() => {
                segments.push(Segment::Late(index));
            }
            Part::Value {
                source,
                optional,
                lower_case,
            } => {
                let value = required(source.in_head(self.headers, None), *optional)?;
                let value = cased(&value, *lower_case);
                message.check_cut(index, &value)?;
                segments.append(&value)?;
            }
            Part::Method => segments.append(self.pseudo(":method")?)?,
            Part::Path => segments.append(self.path()?)?,
            Part::Query => segments.append(self.query()?)?,
            Part::SortedQuery => segments.append(&url::sorted(self.query()?))?,
            Part::EncodedPath => segments.append(&self.encoded_path()?)?,
            Part::Url => segments.append(&self.url()?)?,
            Part::UrlDecoded => segments.append(&url::decoded(&self.url()?))?,
            Part::UrlWithoutQuery => segments.append(&self.url_without_query()?)?,
            Part::SignedHeaders => segments.append(&self.listed_headers()?)?,
        }
        Ok(())
    }

    /// A pseudo-header. What is longer than [`MAX_HEAD`] is refused before anything is made of it.
    fn pseudo(&self, name: &str) -> Result<&[u8], Reason> {
        match self.headers.one(name) {
            Ok(Some(value)) if value.len() > MAX_HEAD => Err(Reason::SignatureMalformed),
            Ok(Some(value)) => Ok(value),
            Ok(None) | Err(_) => Err(Reason::HostError),
        }
    }

    fn query(&self) -> Result<&[u8], Reason> {
        self.pseudo(":path")?;
        Ok(source::query(self.headers))
    }

    fn path(&self) -> Result<&[u8], Reason> {
        Ok(crate::request::path::without_query(self.pseudo(":path")?))
    }

    /// The origin that the sender knows, and what follows it.
    fn at_origin(&self, target: &[u8]) -> Result<Vec<u8>, Reason> {
        let mut url = match self.origin {
            Some(origin) => origin.as_bytes().to_vec(),
            None => [self.pseudo(":scheme")?, b"://", self.pseudo(":authority")?].concat(),
        };
        url.extend(target);
        Ok(url)
    }

    /// The URL as the sender knows it.
    pub(crate) fn url(&self) -> Result<Vec<u8>, Reason> {
        self.at_origin(self.pseudo(":path")?)
    }

    fn url_without_query(&self) -> Result<Vec<u8>, Reason> {
        self.at_origin(self.path()?)
    }

    fn url_sorted(&self) -> Result<Vec<u8>, Reason> {
        Ok(with_query(
            self.url_without_query()?,
            &url::rewritten(self.query()?),
        ))
    }

    fn encoded_path(&self) -> Result<Vec<u8>, Reason> {
        let query = url::encoded_twice(self.query()?);
        Ok(with_query(self.path()?.to_vec(), &query))
    }

    /// `name:value` of each header that the request lists as signed, joined by `;`. The list itself must
    /// be among them, and whatever else the scheme relies on: else it would not be signed.
    fn listed_headers(&self) -> Result<Vec<u8>, Reason> {
        let one = |name: &str| match self.headers.one(name) {
            Ok(Some(_)) if self.headers.has_twin(name) => Err(Reason::SignatureDuplicated),
            Ok(Some(value)) => Ok(value),
            Ok(None) => Err(Reason::SignatureMissing),
            Err(_) => Err(Reason::SignatureDuplicated),
        };
        let list = self.signed_headers.first().ok_or(Reason::HostError)?;
        let names = std::str::from_utf8(one(list)?).map_err(|_| Reason::SignatureMalformed)?;
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
            return Err(Reason::SignatureMalformed);
        }
        let mut pairs = Vec::with_capacity(names.len());
        for name in names {
            pairs.push((name.as_bytes(), one(name)?.trim_ascii()));
        }
        url::sort(&mut pairs);
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

fn with_query(mut url: Vec<u8>, query: &[u8]) -> Vec<u8> {
    if !query.is_empty() {
        url.push(b'?');
        url.extend(query);
    }
    url
}

fn required(found: Found<'_>, optional: bool) -> Result<Cow<'_, [u8]>, Reason> {
    match found {
        Ok(Some(value)) => Ok(value),
        Ok(None) if optional => Ok(Cow::Borrowed(b"")),
        Ok(None) => Err(Reason::SignatureMissing),
        Err(source::Ambiguous) => Err(Reason::SignatureDuplicated),
    }
}

fn cased(value: &[u8], lower_case: bool) -> Vec<u8> {
    if lower_case {
        value.to_ascii_lowercase()
    } else {
        value.to_vec()
    }
}

/// The form's parameters as Plivo's SDK puts them after a URL.
fn sorted_parameters(url: &[u8], content: &Content) -> Vec<u8> {
    let parameters = url::concatenated(content.fields(), false);
    if content.fields().next().is_none() {
        return parameters;
    }
    let mut text = if url.contains(&b'?') {
        b".".to_vec()
    } else {
        b"?".to_vec()
    };
    text.extend(parameters);
    text
}
