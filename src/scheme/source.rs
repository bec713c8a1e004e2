//! Where a sender puts a value: into a header, the query, a form's field, the body's JSON, or a token.

use std::borrow::Cow;

use super::body::ParsedBody;
use super::found::Found;
use super::json_pointer::Pointer;
use super::jwt::{self, Token};
use super::parameters;
use crate::config::{Node, Object};
use crate::request::headers::{self, Ambiguous, Headers};

/// Where a value stands in a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Source {
    /// In any of these headers.
    Headers(Vec<HeaderName>),
    /// In a parameter of the query.
    Query(String),
    /// In a field of the form that the body is.
    Form(String),
    /// In the JSON that the body is.
    Json(Pointer),
    /// In a claim of the token.
    Claim(String),
}

/// The name of a header, or of a family of numbered ones.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct HeaderName {
    /// In lower case; for a family up to the number.
    pub(crate) text: String,
    is_family: bool,
}

type Reader = fn(Node<'_>) -> Option<Source>;

/// The fields that name a source, and how each is read.
const KINDS: &[(&str, Reader)] = &[
    ("header", |node| read_names(node).map(Source::Headers)),
    ("query", |node| read_parameter(node).map(Source::Query)),
    ("form", |node| read_parameter(node).map(Source::Form)),
    ("json", |node| node.parse(Pointer::parse).map(Source::Json)),
    ("claim", |node| read_parameter(node).map(Source::Claim)),
];

impl Source {
    /// Reads the source that a block names by one of its fields; `None` where it names none.
    pub(crate) fn read(block: &mut Object<'_>) -> Option<Self> {
        let given: Vec<_> = KINDS
            .iter()
            .filter_map(|(kind, read)| Some((kind, read, block.field(kind)?)))
            .collect();
        match given.as_slice() {
            [] => None,
            [(_, read, node)] => read(*node),
            [_, (kind, _, node), ..] => node.error(format_args!(
                "a value has one source: keep `{kind}`, or what stands before it"
            )),
        }
    }

    /// Reads a source as a placeholder names it: `header:NAME`, `query:NAME`, `form:NAME`, `json:/POINTER`.
    ///
    /// # Errors
    /// Says what is wrong with what follows the kind.
    pub(crate) fn parse(kind: &str, text: &str) -> Option<Result<Self, String>> {
        let parameter = |make: fn(String) -> Self| match text {
            "" => Err(format!("{{{kind}:}} has no name: add one after the colon")),
            _ => Ok(make(text.to_owned())),
        };
        match kind {
            "header" => Some(HeaderName::parse(text).map(|name| Self::Headers(vec![name]))),
            "query" => Some(parameter(Self::Query)),
            "form" => Some(parameter(Self::Form)),
            "json" => Some(Pointer::parse(text).map(Self::Json)),
            _ => None,
        }
    }

    /// The first header that it may stand in, in lower case.
    pub(crate) fn header(&self) -> Option<&str> {
        match self {
            Self::Headers(names) => names.first().map(|name| name.text.as_str()),
            _ => None,
        }
    }

    /// The headers that it may stand in.
    pub(crate) fn headers(&self) -> &[HeaderName] {
        match self {
            Self::Headers(names) => names,
            _ => &[],
        }
    }

    /// Whether the value can be had only once the body is whole.
    pub(crate) const fn is_in_body(&self) -> bool {
        matches!(self, Self::Form(_) | Self::Json(_))
    }

    /// The value, of a source that is not in the body.
    pub(crate) fn in_head<'r>(&self, headers: &Headers<'r>, token: Option<&Token>) -> Found<'r> {
        match self {
            Self::Headers(names) => header(names, headers),
            Self::Query(name) => parameters::parameter(query(headers), name),
            Self::Claim(name) => match token {
                Some(token) => jwt::owned(token.claim(name)),
                None => Ok(None),
            },
            Self::Form(_) | Self::Json(_) => Ok(None),
        }
    }

    /// The value, of a source that is in the body.
    pub(crate) fn in_body<'b>(&self, content: &'b ParsedBody) -> Found<'b> {
        match self {
            Self::Form(name) => content.field(name),
            Self::Json(pointer) => content.json(pointer),
            Self::Headers(_) | Self::Query(_) | Self::Claim(_) => Ok(None),
        }
    }
}

impl HeaderName {
    /// Reads a header's name; with `-*` at its end it stands for `NAME-1`, `NAME-2` and so on.
    ///
    /// # Errors
    /// Says how a header's name is written.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (name, is_family) = match text.strip_suffix('*') {
            Some(family) if family.ends_with('-') => (family, true),
            _ => (text, false),
        };
        // A star is a letter of names, but nobody means it so.
        if !headers::is_token(name) || name.contains('*') {
            return Err(format!(
                "{text:?} is not a header name: use letters, digits and dashes"
            ));
        }
        Ok(Self {
            text: name.to_ascii_lowercase(),
            is_family,
        })
    }

    /// Whether a header bears this name.
    fn is(&self, header: &[u8]) -> bool {
        self.fits(header, <[u8]>::eq_ignore_ascii_case)
    }

    /// Whether PHP or CGI could read a header as one of this name.
    fn folds(&self, header: &[u8]) -> bool {
        self.fits(header, headers::folds_to)
    }

    fn fits(&self, header: &[u8], is_same: fn(&[u8], &[u8]) -> bool) -> bool {
        if !self.is_family {
            return is_same(header, self.text.as_bytes());
        }
        let Some((name, number)) = header.split_at_checked(self.text.len()) else {
            return false;
        };
        is_same(name, self.text.as_bytes())
            && (1..=2).contains(&number.len())
            && number.iter().all(u8::is_ascii_digit)
    }
}

/// Reads one header's name, or a list of them.
pub(crate) fn read_names(node: Node<'_>) -> Option<Vec<HeaderName>> {
    if !node.is_list() {
        return Some(vec![node.parse(HeaderName::parse)?]);
    }
    let names = node.each(|node| node.parse(HeaderName::parse))?;
    match names.is_empty() {
        true => node.error("the list is empty: add the name of a header"),
        false => Some(names),
    }
}

/// Reads a block that names nothing but a source.
pub(super) fn read_source(node: Node<'_>) -> Option<Source> {
    let mut block = node.object("{header: NAME}")?;
    let source = Source::read(&mut block);
    if source.is_none() && !block.has_errors() {
        node.error::<()>("no source is set: add `header`, `query`, `form`, `json` or `claim`");
    }
    block.close()?;
    source
}

pub(super) fn read_parameter(node: Node<'_>) -> Option<String> {
    match node.text()? {
        "" => node.error("the name is empty: write the name of a parameter"),
        text => Some(text.to_owned()),
    }
}

/// Whether a header has one of these names.
pub(crate) fn has(names: &[HeaderName], header: &[u8]) -> bool {
    names.iter().any(|name| name.is(header))
}

/// Whether a header has none of these names, but PHP or CGI could read it as one of them.
pub(crate) fn has_folded(names: &[HeaderName], header: &[u8]) -> bool {
    names.iter().any(|name| name.folds(header)) && !has(names, header)
}

/// Every value of these headers, with the name that each came under.
pub(crate) fn values<'r>(
    names: &[HeaderName],
    headers: &Headers<'r>,
) -> impl Iterator<Item = (&'r [u8], &'r [u8])> {
    let named = headers.0.iter();
    named.filter(|(header, _)| has(names, header)).copied()
}

/// The query of a request, without its `?`.
pub(crate) fn query<'r>(headers: &Headers<'r>) -> &'r [u8] {
    let target = headers.one(":path").ok().flatten().unwrap_or_default();
    let mut parts = target.splitn(2, |byte| *byte == b'?');
    parts.nth(1).unwrap_or_default()
}

/// The one value of these headers. Aliases may repeat it, but none of them may come twice.
pub(super) fn header<'r>(names: &[HeaderName], headers: &Headers<'r>) -> Found<'r> {
    let mut values = values(names, headers);
    let Some((first, value)) = values.next() else {
        return Ok(None);
    };
    let mut names = vec![first];
    for (name, same) in values {
        if names.contains(&name) || same != value {
            return Err(Ambiguous);
        }
        names.push(name);
    }
    Ok(Some(Cow::Borrowed(value)))
}
