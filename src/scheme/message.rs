//! The signed bytes: which parts of a request a sender puts together, in which order, and how they are
//! written.
//!
//! What the head tells is written as soon as it is there. What only the body tells stays a part, for
//! when the body is whole; the body itself is no more than a place between two pieces, so that it can
//! be hashed as it arrives.

use std::borrow::Cow;

use super::challenge;
use super::content::Content;
use super::source::{self, Found, Source};
use super::template::{self, Piece};
use super::url;
use crate::config::Node;
use crate::headers::Headers;
use crate::mac::Algorithm;
use crate::verdict::Reason;

/// The most headers that `{signed_headers}` may hold.
const MAX_LISTED: usize = 64;

/// A part of the signed bytes that is no literal.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Part {
    Body,
    BodySha256,
    BodySha256Hex,
    EncodedPath,
    Id,
    Method,
    Path,
    Query,
    Secret,
    SignedHeaders,
    SortedForm,
    SortedQuery,
    Timestamp,
    Url,
    UrlDecoded,
    UrlSorted,
    UrlWithoutQuery,
    /// Any other value of the request.
    Value {
        source: Source,
        /// Where it is absent, nothing is written.
        optional: bool,
        lower_case: bool,
    },
}

/// The parts that need no more than a name.
const NAMES: &[(&str, Part)] = &[
    ("body", Part::Body),
    ("timestamp", Part::Timestamp),
    ("id", Part::Id),
    ("method", Part::Method),
    ("url", Part::Url),
    ("url_without_query", Part::UrlWithoutQuery),
    ("url_decoded", Part::UrlDecoded),
    ("url_sorted", Part::UrlSorted),
    ("path", Part::Path),
    ("encoded_path", Part::EncodedPath),
    ("query", Part::Query),
    ("sorted_query", Part::SortedQuery),
    ("sorted_form", Part::SortedForm),
    ("signed_headers", Part::SignedHeaders),
    ("body_sha256", Part::BodySha256),
    ("body_sha256_hex", Part::BodySha256Hex),
    ("secret", Part::Secret),
];

impl Part {
    /// Reads a placeholder.
    fn parse(name: &str) -> Option<Result<Self, String>> {
        if let Some((_, part)) = NAMES.iter().find(|(known, _)| *known == name) {
            return Some(Ok(part.clone()));
        }
        let (kind, text) = name.split_once(':')?;
        let (kind, lower_case) = match kind.strip_suffix("_lower") {
            Some(kind) => (kind, true),
            None => (kind, false),
        };
        let (text, optional) = match text.strip_suffix('?') {
            Some(text) => (text, true),
            None => (text, false),
        };
        Some(Source::parse(kind, text)?.map(|source| Self::Value {
            source,
            optional,
            lower_case,
        }))
    }

    /// Whether it holds the whole body, or what it comes to.
    pub(crate) const fn covers_body(&self) -> bool {
        matches!(
            self,
            Self::Body
                | Self::BodySha256
                | Self::BodySha256Hex
                | Self::SortedForm
                | Self::UrlSorted
        )
    }

    /// Whether it holds every parameter of the query.
    const fn covers_query(&self) -> bool {
        matches!(
            self,
            Self::Url
                | Self::UrlDecoded
                | Self::UrlSorted
                | Self::Query
                | Self::SortedQuery
                | Self::EncodedPath
        )
    }

    /// Whether it holds the host by which the sender knows us.
    const fn holds_origin(&self) -> bool {
        matches!(
            self,
            Self::Url | Self::UrlDecoded | Self::UrlSorted | Self::UrlWithoutQuery
        )
    }
}

/// The parts of the signed bytes, in their order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Message(Vec<Piece<Part>>);

impl Message {
    /// That of a block that does not say: the body, unless the value is a token or a secret, which covers
    /// itself.
    pub(crate) fn of(algorithm: Algorithm, is_token: bool) -> Self {
        match is_token || algorithm == Algorithm::Token {
            true => Self(Vec::new()),
            false => Self(vec![Piece::Placeholder(Part::Body)]),
        }
    }

    /// Reads a `message`.
    pub(crate) fn read(node: Node<'_>) -> Option<Self> {
        let mut names: Vec<_> = NAMES.iter().map(|(name, _)| *name).collect();
        names.extend(["header:NAME", "query:NAME", "form:NAME", "json:/POINTER"]);
        let pieces = node.parse(|text| template::parse(text, &names, &Part::parse))?;
        let message = Self(pieces);
        for part in [Part::Body, Part::Secret, Part::UrlSorted] {
            if message.parts().filter(|each| **each == part).count() > 1 {
                return node.fault("a placeholder stands twice that can stand once only");
            }
        }
        Some(message)
    }

    pub(crate) fn parts(&self) -> impl Iterator<Item = &Part> {
        self.0.iter().filter_map(Piece::placeholder)
    }

    /// Whether it holds this part.
    pub(crate) fn has(&self, part: &Part) -> bool {
        self.parts().any(|each| each == part)
    }

    /// Whether it holds a part for which this is true.
    pub(crate) fn any(&self, is: impl Fn(&Part) -> bool) -> bool {
        self.parts().any(is)
    }

    /// Whether it holds what only the body tells, which it also may of the timestamp and the id.
    pub(crate) fn needs_whole_body(&self, late_timestamp: bool, late_id: bool) -> bool {
        self.any(|part| match part {
            Part::Timestamp => late_timestamp,
            Part::Id => late_id,
            Part::Value { source, .. } => source.is_in_body(),
            Part::SortedForm | Part::UrlSorted => true,
            _ => false,
        })
    }

    /// Whether changing the value of this source would change the signed bytes.
    pub(crate) fn covers(&self, source: &Source) -> bool {
        self.any(|part| match (part, source) {
            (Part::Value { source: signed, .. }, _) if signed == source => true,
            (_, Source::Query(_)) => part.covers_query(),
            (_, Source::Form(_)) => part.covers_body(),
            (_, Source::Json(_)) => {
                matches!(part, Part::Body | Part::BodySha256 | Part::BodySha256Hex)
            }
            _ => false,
        })
    }

    /// Whether it holds no more of the body than the fields of a form.
    pub(crate) fn covers_forms(&self) -> bool {
        self.any(|part| matches!(part, Part::SortedForm | Part::UrlSorted))
    }

    /// Whether it may consist of nothing but such characters as stand in texts whose MACs are given back.
    pub(crate) fn may_be_plain(&self) -> bool {
        let mut literals = self.0.iter().filter_map(Piece::literal);
        literals.all(|literal| challenge::is_plain(literal.as_bytes()))
    }

    /// Whether it holds the URL's host, which a client could choose.
    pub(crate) fn holds_origin(&self) -> bool {
        self.any(Part::holds_origin)
    }

    /// The literal that ends the id, if one does.
    pub(crate) fn literal_after_id(&self) -> Option<&str> {
        let mut rest = self
            .0
            .iter()
            .skip_while(|piece| piece.placeholder() != Some(&Part::Id));
        rest.nth(1).and_then(Piece::literal)
    }

    /// Writes what the head tells. What it does not tell are segments of their own.
    pub(crate) fn write(&self, head: &Facts<'_>) -> Result<Vec<Segment>, Reason> {
        let mut segments = Vec::with_capacity(self.0.len());
        for (index, piece) in self.0.iter().enumerate() {
            match piece {
                Piece::Literal(text) => append(&mut segments, text.as_bytes()),
                Piece::Placeholder(part) => head.write(part, index, &mut segments)?,
            }
        }
        Ok(segments)
    }

    /// Writes what only the body told, now that it is whole.
    pub(crate) fn write_late(
        &self,
        segments: &[Segment],
        content: &Content,
        late: Late<'_>,
    ) -> Result<Vec<Segment>, Reason> {
        let mut written: Vec<Segment> = Vec::with_capacity(segments.len());
        for segment in segments {
            match segment {
                Segment::Late(index) => {
                    let part = self.0.get(*index).and_then(Piece::placeholder);
                    let text =
                        late.text(part.ok_or(Reason::HostError)?, written.last(), content)?;
                    append(&mut written, &text);
                }
                Segment::Bytes(bytes) => append(&mut written, bytes),
                other => written.push(other.clone()),
            }
        }
        Ok(written)
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

fn append(segments: &mut Vec<Segment>, bytes: &[u8]) {
    match segments.last_mut() {
        Some(Segment::Bytes(text)) => text.extend(bytes),
        _ => segments.push(Segment::Bytes(bytes.to_vec())),
    }
}

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
    fn text(
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
    fn write(&self, part: &Part, index: usize, segments: &mut Vec<Segment>) -> Result<(), Reason> {
        match part {
            Part::Body => segments.push(Segment::Body),
            Part::BodySha256 => segments.push(Segment::BodySha256 { hex: false }),
            Part::BodySha256Hex => segments.push(Segment::BodySha256 { hex: true }),
            Part::Secret => segments.push(Segment::Secret),
            Part::SortedForm => segments.push(Segment::Late(index)),
            Part::UrlSorted => {
                append(segments, &self.url_sorted()?);
                segments.push(Segment::Late(index));
            }
            Part::Timestamp => match self.timestamp {
                Some(text) => append(segments, text),
                None => segments.push(Segment::Late(index)),
            },
            Part::Id => match self.id {
                Some(text) => append(segments, text),
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
                append(segments, &cased(&value, *lower_case));
            }
            Part::Method => append(segments, self.pseudo(":method")?),
            Part::Path => append(segments, self.path()?),
            Part::Query => append(segments, source::query(self.headers)),
            Part::SortedQuery => append(segments, &url::sorted(source::query(self.headers))),
            Part::EncodedPath => append(segments, &self.encoded_path()?),
            Part::Url => append(segments, &self.url()?),
            Part::UrlDecoded => append(segments, &url::decoded(&self.url()?)),
            Part::UrlWithoutQuery => append(segments, &self.url_without_query()?),
            Part::SignedHeaders => append(segments, &self.listed_headers()?),
        }
        Ok(())
    }

    fn pseudo(&self, name: &str) -> Result<&[u8], Reason> {
        self.headers
            .one(name)
            .ok()
            .flatten()
            .ok_or(Reason::HostError)
    }

    fn path(&self) -> Result<&[u8], Reason> {
        Ok(crate::path::without_query(self.pseudo(":path")?))
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
            &url::rewritten(source::query(self.headers)),
        ))
    }

    fn encoded_path(&self) -> Result<Vec<u8>, Reason> {
        let query = url::encoded_twice(source::query(self.headers));
        Ok(with_query(self.path()?.to_vec(), &query))
    }

    /// `name:value` of each header that the request lists as signed, joined by `;`. The list itself must
    /// be among them, and whatever else the scheme relies on: else it would not be signed.
    fn listed_headers(&self) -> Result<Vec<u8>, Reason> {
        let one = |name: &str| match self.headers.one(name) {
            Ok(Some(value)) => Ok(value),
            Ok(None) => Err(Reason::SignatureMissing),
            Err(_) => Err(Reason::SignatureDuplicated),
        };
        let list = self.signed_headers.first().ok_or(Reason::HostError)?;
        let names = std::str::from_utf8(one(list)?).map_err(|_| Reason::SignatureMalformed)?;
        let names: Vec<_> = names.split(',').map(str::trim).collect();
        let has = |name: &String| names.contains(&name.as_str());
        if !self.signed_headers.iter().all(has) || names.len() > MAX_LISTED {
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
