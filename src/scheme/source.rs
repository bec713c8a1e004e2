//! Where a sender puts a value: a header, the query, a form's field, the body's JSON, or a token.

use std::borrow::Cow;

use super::body::ParsedBody;
use super::found::Found;
use super::json_pointer::Pointer;
use super::jwt::{self, Token};
use super::parameters;
use crate::config::{Node, Object};
use crate::request::headers::{self, Ambiguous, Headers};

/// Where a value is in a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Source {
    /// Any of these headers.
    Headers(Vec<HeaderName>),
    /// A parameter of the query.
    Query(String),
    /// A field of the form in the body.
    Form(String),
    /// A place in the JSON of the body.
    Json(Pointer),
    /// A claim of the token.
    Claim(String),
}

/// The name of a header, or of a family of numbered headers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct HeaderName {
    /// The name in lower case. For a family, the part before the number.
    pub(crate) text: String,
    /// The name is that of a family.
    pub(crate) is_family: bool,
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
    /// Reads the source in a block; `None` if the block has none.
    pub(crate) fn read(block: &mut Object<'_>) -> Option<Self> {
        let given: Vec<_> = KINDS
            .iter()
            .filter_map(|(kind, read)| Some((kind, read, block.field(kind)?)))
            .collect();
        match given.as_slice() {
            [] => None,
            [(_, read, node)] => read(*node),
            [(first, ..), (kind, _, node), ..] => node.error(format_args!(
                "a value has one source: keep either `{kind}` or `{first}`"
            )),
        }
    }

    /// Reads a source in a placeholder: `header:NAME`, `query:NAME`, `form:NAME`, `json:/POINTER`.
    ///
    /// # Errors
    /// The text after the kind is not a name or a pointer.
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

    /// The first header, in lower case.
    pub(crate) fn header(&self) -> Option<&str> {
        match self {
            Self::Headers(names) => names.first().map(|name| name.text.as_str()),
            _ => None,
        }
    }

    /// The headers.
    pub(crate) fn headers(&self) -> &[HeaderName] {
        match self {
            Self::Headers(names) => names,
            _ => &[],
        }
    }

    /// Whether the value is in the body.
    pub(crate) const fn is_in_body(&self) -> bool {
        matches!(self, Self::Form(_) | Self::Json(_))
    }

    /// The value, if it is not in the body.
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

    /// The value, if it is in the body.
    pub(crate) fn in_body<'b>(&self, content: &'b ParsedBody) -> Found<'b> {
        match self {
            Self::Form(name) => content.field(name),
            Self::Json(pointer) => content.json(pointer),
            Self::Headers(_) | Self::Query(_) | Self::Claim(_) => Ok(None),
        }
    }
}

impl HeaderName {
    /// Reads a header's name. With `-*` at its end, the name means `NAME-1`, `NAME-2` and so on.
    ///
    /// # Errors
    /// The text is not a header's name.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (name, is_family) = match text.strip_suffix('*') {
            Some(family) if family.ends_with('-') => (family, true),
            _ => (text, false),
        };
        // A star is valid in a name, but a typing error here.
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

    /// Whether a name of this length can be this one, or fold to it. Few names of a request pass this cheap check.
    #[inline]
    const fn has_length(&self, length: usize) -> bool {
        match length.checked_sub(self.text.len()) {
            Some(longer) if self.is_family => matches!(longer, 1 | 2),
            Some(longer) => longer == 0,
            None => false,
        }
    }

    /// Whether a header has this name.
    #[inline]
    fn is(&self, header: &[u8]) -> bool {
        self.has_length(header.len()) && self.fits(header, <[u8]>::eq_ignore_ascii_case)
    }

    /// Whether PHP or CGI could read a header under this name.
    fn folds(&self, header: &[u8]) -> bool {
        self.has_length(header.len()) && self.fits(header, headers::folds_to)
    }

    #[inline(never)]
    fn fits(&self, header: &[u8], is_same: fn(&[u8], &[u8]) -> bool) -> bool {
        if !self.is_family {
            return is_same(header, self.text.as_bytes());
        }
        let Some((name, number)) = header.split_at_checked(self.text.len()) else {
            return false;
        };
        is_same(name, self.text.as_bytes()) && number.iter().all(u8::is_ascii_digit)
    }
}

/// Reads one header's name, or a list of them.
pub(crate) fn read_names(node: Node<'_>) -> Option<Vec<HeaderName>> {
    if !node.is_list() {
        return Some(vec![read_name(node)?]);
    }
    let names = node.each(read_name)?;
    match names.is_empty() {
        true => node.error("the list is empty: add the name of a header"),
        false => Some(names),
    }
}

fn read_name(node: Node<'_>) -> Option<HeaderName> {
    let name = node.parse(HeaderName::parse)?;
    // The shipped configurations drop such headers, so that no application reads one as its twin with a dash.
    if name.text.contains('_') {
        node.warn("Envoy drops headers with an underscore: set `headers_with_underscores_action: ALLOW`, or let a proxy rename the header");
    }
    Some(name)
}

/// Reads a block that contains only a source.
pub(super) fn read_source(node: Node<'_>) -> Option<Source> {
    let mut block = node.object("{header: NAME}")?;
    let source = read_in(&mut block);
    block.close()?;
    source
}

/// Reads the source of a block that must have one.
pub(super) fn read_in(block: &mut Object<'_>) -> Option<Source> {
    let source = Source::read(block);
    if source.is_none() && !block.has_errors() {
        block
            .node
            .error::<()>("no source is set: add `header`, `query`, `form`, `json` or `claim`");
    }
    source
}

pub(super) fn read_parameter(node: Node<'_>) -> Option<String> {
    match node.text()? {
        "" => node.error("the name is empty: write the name of a parameter"),
        text => Some(text.to_owned()),
    }
}

/// Whether a header has one of these names.
#[inline]
pub(crate) fn has(names: &[HeaderName], header: &[u8]) -> bool {
    names.iter().any(|name| name.is(header))
}

/// Whether PHP or CGI could read a header under one of these names, which it does not have.
pub(crate) fn has_folded(names: &[HeaderName], header: &[u8]) -> bool {
    names.iter().any(|name| name.folds(header)) && !has(names, header)
}

/// Every value of these headers, with the name in the request.
pub(crate) fn values<'r>(
    names: &[HeaderName],
    headers: &Headers<'r>,
) -> impl Iterator<Item = (&'r [u8], &'r [u8])> {
    let named = headers.pairs.iter();
    named.filter(|(header, _)| has(names, header)).copied()
}

/// The query of a request, without its `?`.
pub(crate) fn query<'r>(headers: &Headers<'r>) -> &'r [u8] {
    let target = headers.target().ok().flatten().unwrap_or_default();
    let mut parts = target.splitn(2, |byte| *byte == b'?');
    parts.nth(1).unwrap_or_default()
}

/// The one value of these headers. Aliases may repeat it, but none of them may come twice.
pub(super) fn header<'r>(names: &[HeaderName], headers: &Headers<'r>) -> Found<'r> {
    let mut values = values(names, headers);
    let Some((first, value)) = values.next() else {
        return Ok(None);
    };
    // Most requests have one value, which needs no list.
    let mut others = Vec::new();
    for (name, same) in values {
        if name == first || others.contains(&name) || same != value {
            return Err(Ambiguous);
        }
        others.push(name);
    }
    Ok(Some(Cow::Borrowed(value)))
}
